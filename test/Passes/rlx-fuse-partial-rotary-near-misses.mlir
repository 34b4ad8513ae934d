// The IR stays as it is, and a remark says why.
// RUN: rlx-opt %s -split-input-file > %t.before
// RUN: rlx-opt %s -split-input-file --rlx-fuse-partial-rotary > %t.after
// RUN: diff %t.before %t.after
// RUN: rlx-opt %s -split-input-file --rlx-fuse-partial-rotary --rlx-remarks -verify-diagnostics

// The last dims rotate: in their place, but not where rlx.rope rotates.
func.func @passed_part_first(%x: tensor<1x6x8xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> tensor<1x6x8xf32> {
  %p = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %r = "rlx.narrow"(%x) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t = "rlx.rope"(%r, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  // expected-remark @+1 {{rotation stays in parts: columns 0 to 3 pass, 4 to 7 rotate with columns 6, 7, 4, ..., which is no pairing of rlx.rope}}
  %y = "rlx.concat"(%p, %t) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  return %y : tensor<1x6x8xf32>
}

// -----

// The parts change places.
func.func @swapped_parts(%x: tensor<1x6x8xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> tensor<1x6x8xf32> {
  %r = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p = "rlx.narrow"(%x) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t = "rlx.rope"(%r, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  // expected-remark @+1 {{rotation stays in parts: column 0 of the result is column 4 of the input}}
  %y = "rlx.concat"(%p, %t) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  return %y : tensor<1x6x8xf32>
}

// -----

func.func @rotated_part_used(%x: tensor<1x6x8xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> (tensor<1x6x8xf32>, tensor<1x6x4xf32>) {
  %r = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p = "rlx.narrow"(%x) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t = "rlx.rope"(%r, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  // expected-remark @+1 {{rotation stays in parts: a part of it is used elsewhere}}
  %y = "rlx.concat"(%t, %p) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  return %y, %t : tensor<1x6x8xf32>, tensor<1x6x4xf32>
}

// -----

func.func @passed_part_used(%x: tensor<1x6x8xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> (tensor<1x6x8xf32>, tensor<1x6x4xf32>) {
  %r = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p = "rlx.narrow"(%x) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t = "rlx.rope"(%r, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  // expected-remark @+1 {{rotation stays in parts: a part of it is used elsewhere}}
  %y = "rlx.concat"(%t, %p) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  return %y, %p : tensor<1x6x8xf32>, tensor<1x6x4xf32>
}

// -----

func.func @different_n_rot(%x: tensor<1x6x16xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>, %cos1: tensor<32x1xf32>, %sin1: tensor<32x1xf32>)
    -> tensor<1x6x16xf32> {
  %h0 = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %h1 = "rlx.narrow"(%x) {axis = 2 : i64, start = 8 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %r0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t0 = "rlx.rope"(%r0, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  %y0 = "rlx.concat"(%t0, %p0) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %r1 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 0 : i64, length = 2 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x2xf32>
  %p1 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 2 : i64, length = 6 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x6xf32>
  %t1 = "rlx.rope"(%r1, %cos1, %sin1) {head_dim = 2 : i64} : (tensor<1x6x2xf32>, tensor<32x1xf32>, tensor<32x1xf32>) -> tensor<1x6x2xf32>
  %y1 = "rlx.concat"(%t1, %p1) {axis = 2 : i64} : (tensor<1x6x2xf32>, tensor<1x6x6xf32>) -> tensor<1x6x8xf32>
  // expected-remark @+1 {{rotation stays in parts: its rotations use different tables or positions}}
  %y = "rlx.concat"(%y0, %y1) {axis = 2 : i64} : (tensor<1x6x8xf32>, tensor<1x6x8xf32>) -> tensor<1x6x16xf32>
  return %y : tensor<1x6x16xf32>
}

// -----

func.func @different_n_rot_same_table(%x: tensor<1x6x16xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> tensor<1x6x16xf32> {
  %h0 = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %h1 = "rlx.narrow"(%x) {axis = 2 : i64, start = 8 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %r0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t0 = "rlx.rope"(%r0, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  %y0 = "rlx.concat"(%t0, %p0) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %r1 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p1 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t1 = "rlx.rope"(%r1, %cos, %sin) {head_dim = 4 : i64, n_rot = 2 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  %y1 = "rlx.concat"(%t1, %p1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  // expected-remark @+1 {{rotation stays in parts: columns 0 to 3 rotate, 4 to 7 pass, 8 to 9 rotate, 10 to 15 pass with columns 2, 3, 0, ..., which is no pairing of rlx.rope}}
  %y = "rlx.concat"(%y0, %y1) {axis = 2 : i64} : (tensor<1x6x8xf32>, tensor<1x6x8xf32>) -> tensor<1x6x16xf32>
  return %y : tensor<1x6x16xf32>
}

// -----

func.func @different_tables(%x: tensor<1x6x16xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>, %cos1: tensor<32x2xf32>)
    -> tensor<1x6x16xf32> {
  %h0 = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %h1 = "rlx.narrow"(%x) {axis = 2 : i64, start = 8 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %r0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t0 = "rlx.rope"(%r0, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  %y0 = "rlx.concat"(%t0, %p0) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %r1 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p1 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t1 = "rlx.rope"(%r1, %cos1, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  %y1 = "rlx.concat"(%t1, %p1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  // expected-remark @+1 {{rotation stays in parts: its rotations use different tables or positions}}
  %y = "rlx.concat"(%y0, %y1) {axis = 2 : i64} : (tensor<1x6x8xf32>, tensor<1x6x8xf32>) -> tensor<1x6x16xf32>
  return %y : tensor<1x6x16xf32>
}

// -----

func.func @different_positions(%x: tensor<1x6x16xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>, %pos: tensor<1x6xi64>, %pos1: tensor<1x6xi64>)
    -> tensor<1x6x16xf32> {
  %h0 = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %h1 = "rlx.narrow"(%x) {axis = 2 : i64, start = 8 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %r0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t0 = "rlx.rope"(%r0, %cos, %sin, %pos) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>, tensor<1x6xi64>) -> tensor<1x6x4xf32>
  %y0 = "rlx.concat"(%t0, %p0) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %r1 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p1 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t1 = "rlx.rope"(%r1, %cos, %sin, %pos1) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>, tensor<1x6xi64>) -> tensor<1x6x4xf32>
  %y1 = "rlx.concat"(%t1, %p1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  // expected-remark @+1 {{rotation stays in parts: its rotations use different tables or positions}}
  %y = "rlx.concat"(%y0, %y1) {axis = 2 : i64} : (tensor<1x6x8xf32>, tensor<1x6x8xf32>) -> tensor<1x6x16xf32>
  return %y : tensor<1x6x16xf32>
}

// -----

// Two of three heads.
func.func @missing_head(%x: tensor<1x6x24xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> tensor<1x6x16xf32> {
  %h0 = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 8 : i64} : (tensor<1x6x24xf32>) -> tensor<1x6x8xf32>
  %h1 = "rlx.narrow"(%x) {axis = 2 : i64, start = 8 : i64, length = 8 : i64} : (tensor<1x6x24xf32>) -> tensor<1x6x8xf32>
  %r0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t0 = "rlx.rope"(%r0, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  %y0 = "rlx.concat"(%t0, %p0) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %r1 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p1 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t1 = "rlx.rope"(%r1, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  %y1 = "rlx.concat"(%t1, %p1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  // expected-remark @+1 {{rotation stays in parts: it has 16 columns, its input 24}}
  %y = "rlx.concat"(%y0, %y1) {axis = 2 : i64} : (tensor<1x6x8xf32>, tensor<1x6x8xf32>) -> tensor<1x6x16xf32>
  return %y : tensor<1x6x16xf32>
}

// -----

func.func @swapped_heads(%x: tensor<1x6x16xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> tensor<1x6x16xf32> {
  %h0 = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %h1 = "rlx.narrow"(%x) {axis = 2 : i64, start = 8 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %r0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t0 = "rlx.rope"(%r0, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  %y0 = "rlx.concat"(%t0, %p0) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %r1 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p1 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t1 = "rlx.rope"(%r1, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  %y1 = "rlx.concat"(%t1, %p1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  // expected-remark @+1 {{rotation stays in parts: column 0 of the result is column 8 of the input}}
  %y = "rlx.concat"(%y1, %y0) {axis = 2 : i64} : (tensor<1x6x8xf32>, tensor<1x6x8xf32>) -> tensor<1x6x16xf32>
  return %y : tensor<1x6x16xf32>
}

// -----

// The second head passes as a whole.
func.func @head_not_rotated(%x: tensor<1x6x16xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> tensor<1x6x16xf32> {
  %h0 = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %h1 = "rlx.narrow"(%x) {axis = 2 : i64, start = 8 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %r0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t0 = "rlx.rope"(%r0, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  %y0 = "rlx.concat"(%t0, %p0) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  // expected-remark @+1 {{rotation stays in parts: a head of 8 columns rotates, but not every one does}}
  %y = "rlx.concat"(%y0, %h1) {axis = 2 : i64} : (tensor<1x6x8xf32>, tensor<1x6x8xf32>) -> tensor<1x6x16xf32>
  return %y : tensor<1x6x16xf32>
}

// -----

func.func @first_head_not_rotated(%x: tensor<1x6x16xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> tensor<1x6x16xf32> {
  %h0 = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %h1 = "rlx.narrow"(%x) {axis = 2 : i64, start = 8 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %r0 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p0 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t0 = "rlx.rope"(%r0, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  %y0 = "rlx.concat"(%t0, %p0) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  // expected-remark @+1 {{rotation stays in parts: columns 0 to 7 pass, 8 to 11 rotate, 12 to 15 pass with columns 10, 11, 8, ..., which is no pairing of rlx.rope}}
  %y = "rlx.concat"(%h0, %y0) {axis = 2 : i64} : (tensor<1x6x8xf32>, tensor<1x6x8xf32>) -> tensor<1x6x16xf32>
  return %y : tensor<1x6x16xf32>
}

// -----

func.func @different_tensors(%x: tensor<1x6x8xf32>, %z: tensor<1x6x8xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> tensor<1x6x8xf32> {
  %r = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p = "rlx.narrow"(%z) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t = "rlx.rope"(%r, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  // expected-remark @+1 {{rotation stays in parts: its parts come from different tensors}}
  %y = "rlx.concat"(%t, %p) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  return %y : tensor<1x6x8xf32>
}

// -----

// The part that passes is that of another row, which is in the same tensor.
func.func @transposed_part(%x: tensor<6x6x8xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> tensor<6x6x8xf32> {
  %r = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<6x6x8xf32>) -> tensor<6x6x4xf32>
  %p = "rlx.narrow"(%x) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<6x6x8xf32>) -> tensor<6x6x4xf32>
  %t = "rlx.rope"(%r, %cos, %sin) {head_dim = 4 : i64} : (tensor<6x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<6x6x4xf32>
  %e = tensor.empty() : tensor<6x6x4xf32>
  %pt = linalg.transpose ins(%p : tensor<6x6x4xf32>) outs(%e : tensor<6x6x4xf32>) permutation = [1, 0, 2]
  // expected-remark @+1 {{rotation stays in parts: its parts come from different tensors}}
  %y = "rlx.concat"(%t, %pt) {axis = 2 : i64} : (tensor<6x6x4xf32>, tensor<6x6x4xf32>) -> tensor<6x6x8xf32>
  return %y : tensor<6x6x8xf32>
}

// -----

// Tables as wide as a head: nobody says that their halves are equal.
func.func @whole_tables(%x: tensor<1x2x6x8xf32>, %cos: tensor<1x6x8xf32>, %sin: tensor<1x6x8xf32>)
    -> tensor<1x2x6x8xf32> {
  %cc = tensor.expand_shape %cos [[0], [1, 2], [3]] output_shape [1, 1, 6, 8] : tensor<1x6x8xf32> into tensor<1x1x6x8xf32>
  %ss = tensor.expand_shape %sin [[0], [1, 2], [3]] output_shape [1, 1, 6, 8] : tensor<1x6x8xf32> into tensor<1x1x6x8xf32>
  %e_m1 = tensor.empty() : tensor<1x2x6x8xf32>
  %m1 = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (0, 0, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%x, %cc : tensor<1x2x6x8xf32>, tensor<1x1x6x8xf32>) outs(%e_m1 : tensor<1x2x6x8xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.mulf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x8xf32>
  %x1 = tensor.extract_slice %x[0, 0, 0, 0] [1, 2, 6, 4] [1, 1, 1, 1] : tensor<1x2x6x8xf32> to tensor<1x2x6x4xf32>
  %x2 = tensor.extract_slice %x[0, 0, 0, 4] [1, 2, 6, 4] [1, 1, 1, 1] : tensor<1x2x6x8xf32> to tensor<1x2x6x4xf32>
  %e_nx = tensor.empty() : tensor<1x2x6x4xf32>
  %nx = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%x2 : tensor<1x2x6x4xf32>) outs(%e_nx : tensor<1x2x6x4xf32>) {
  ^bb0(%l: f32, %out: f32):
    %0 = arith.negf %l : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x4xf32>
  %rh = tensor.concat dim(3) %nx, %x1 : (tensor<1x2x6x4xf32>, tensor<1x2x6x4xf32>) -> tensor<1x2x6x8xf32>
  %e_m2 = tensor.empty() : tensor<1x2x6x8xf32>
  %m2 = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (0, 0, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%rh, %ss : tensor<1x2x6x8xf32>, tensor<1x1x6x8xf32>) outs(%e_m2 : tensor<1x2x6x8xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.mulf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x8xf32>
  %e_y = tensor.empty() : tensor<1x2x6x8xf32>
  // expected-remark @+1 {{rotation stays in parts: the dims of a pair, or the heads, are not known to share their angles}}
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%m1, %m2 : tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>) outs(%e_y : tensor<1x2x6x8xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.addf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x8xf32>
  return %y : tensor<1x2x6x8xf32>
}

// -----

// rotate_half with tables for interleaved pairs.
func.func @interleaved_tables(%x: tensor<1x2x6x8xf32>, %cos: tensor<1x6x4xf32>, %sin: tensor<1x6x4xf32>)
    -> tensor<1x2x6x8xf32> {
  %cce = tensor.empty() : tensor<1x6x4x2xf32>
  %ccb = linalg.broadcast ins(%cos : tensor<1x6x4xf32>) outs(%cce : tensor<1x6x4x2xf32>) dimensions = [3]
  %cc3 = tensor.collapse_shape %ccb [[0], [1], [2, 3]] : tensor<1x6x4x2xf32> into tensor<1x6x8xf32>
  %cc = tensor.expand_shape %cc3 [[0], [1, 2], [3]] output_shape [1, 1, 6, 8] : tensor<1x6x8xf32> into tensor<1x1x6x8xf32>
  %sse = tensor.empty() : tensor<1x6x4x2xf32>
  %ssb = linalg.broadcast ins(%sin : tensor<1x6x4xf32>) outs(%sse : tensor<1x6x4x2xf32>) dimensions = [3]
  %ss3 = tensor.collapse_shape %ssb [[0], [1], [2, 3]] : tensor<1x6x4x2xf32> into tensor<1x6x8xf32>
  %ss = tensor.expand_shape %ss3 [[0], [1, 2], [3]] output_shape [1, 1, 6, 8] : tensor<1x6x8xf32> into tensor<1x1x6x8xf32>
  %e_m1 = tensor.empty() : tensor<1x2x6x8xf32>
  %m1 = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (0, 0, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%x, %cc : tensor<1x2x6x8xf32>, tensor<1x1x6x8xf32>) outs(%e_m1 : tensor<1x2x6x8xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.mulf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x8xf32>
  %x1 = tensor.extract_slice %x[0, 0, 0, 0] [1, 2, 6, 4] [1, 1, 1, 1] : tensor<1x2x6x8xf32> to tensor<1x2x6x4xf32>
  %x2 = tensor.extract_slice %x[0, 0, 0, 4] [1, 2, 6, 4] [1, 1, 1, 1] : tensor<1x2x6x8xf32> to tensor<1x2x6x4xf32>
  %e_nx = tensor.empty() : tensor<1x2x6x4xf32>
  %nx = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%x2 : tensor<1x2x6x4xf32>) outs(%e_nx : tensor<1x2x6x4xf32>) {
  ^bb0(%l: f32, %out: f32):
    %0 = arith.negf %l : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x4xf32>
  %rh = tensor.concat dim(3) %nx, %x1 : (tensor<1x2x6x4xf32>, tensor<1x2x6x4xf32>) -> tensor<1x2x6x8xf32>
  %e_m2 = tensor.empty() : tensor<1x2x6x8xf32>
  %m2 = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (0, 0, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%rh, %ss : tensor<1x2x6x8xf32>, tensor<1x1x6x8xf32>) outs(%e_m2 : tensor<1x2x6x8xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.mulf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x8xf32>
  %e_y = tensor.empty() : tensor<1x2x6x8xf32>
  // expected-remark @+1 {{rotation stays in parts: all columns rotate with columns 4, 5, 6, ..., which is no pairing of rlx.rope}}
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%m1, %m2 : tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>) outs(%e_y : tensor<1x2x6x8xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.addf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x8xf32>
  return %y : tensor<1x2x6x8xf32>
}

// -----

// rotate_half with the other sign turns the other way.
func.func @backwards(%x: tensor<1x2x6x8xf32>, %cos: tensor<1x6x4xf32>, %sin: tensor<1x6x4xf32>)
    -> tensor<1x2x6x8xf32> {
  %cc3 = tensor.concat dim(2) %cos, %cos : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %cc = tensor.expand_shape %cc3 [[0], [1, 2], [3]] output_shape [1, 1, 6, 8] : tensor<1x6x8xf32> into tensor<1x1x6x8xf32>
  %ss3 = tensor.concat dim(2) %sin, %sin : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %ss = tensor.expand_shape %ss3 [[0], [1, 2], [3]] output_shape [1, 1, 6, 8] : tensor<1x6x8xf32> into tensor<1x1x6x8xf32>
  %e_m1 = tensor.empty() : tensor<1x2x6x8xf32>
  %m1 = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (0, 0, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%x, %cc : tensor<1x2x6x8xf32>, tensor<1x1x6x8xf32>) outs(%e_m1 : tensor<1x2x6x8xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.mulf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x8xf32>
  %x1 = tensor.extract_slice %x[0, 0, 0, 0] [1, 2, 6, 4] [1, 1, 1, 1] : tensor<1x2x6x8xf32> to tensor<1x2x6x4xf32>
  %x2 = tensor.extract_slice %x[0, 0, 0, 4] [1, 2, 6, 4] [1, 1, 1, 1] : tensor<1x2x6x8xf32> to tensor<1x2x6x4xf32>
  %e_nx = tensor.empty() : tensor<1x2x6x4xf32>
  %nx = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%x1 : tensor<1x2x6x4xf32>) outs(%e_nx : tensor<1x2x6x4xf32>) {
  ^bb0(%l: f32, %out: f32):
    %0 = arith.negf %l : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x4xf32>
  %rh = tensor.concat dim(3) %x2, %nx : (tensor<1x2x6x4xf32>, tensor<1x2x6x4xf32>) -> tensor<1x2x6x8xf32>
  %e_m2 = tensor.empty() : tensor<1x2x6x8xf32>
  %m2 = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (0, 0, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%rh, %ss : tensor<1x2x6x8xf32>, tensor<1x1x6x8xf32>) outs(%e_m2 : tensor<1x2x6x8xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.mulf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x8xf32>
  %e_y = tensor.empty() : tensor<1x2x6x8xf32>
  // expected-remark @+1 {{rotation stays in parts: all columns rotate with columns 4, 5, 6, ..., which is no pairing of rlx.rope}}
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%m1, %m2 : tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>) outs(%e_y : tensor<1x2x6x8xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.addf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x8xf32>
  return %y : tensor<1x2x6x8xf32>
}

// -----

// Interleaved pairs, mirrored instead of turned.
func.func @mirrored(%x: tensor<6x8xf32>, %cos: tensor<6x4xf32>, %sin: tensor<6x4xf32>)
    -> tensor<6x8xf32> {
  %x3 = tensor.expand_shape %x [[0], [1, 2]] output_shape [6, 4, 2] : tensor<6x8xf32> into tensor<6x4x2xf32>
  %a = tensor.extract_slice %x3[0, 0, 0] [6, 4, 1] [1, 1, 1] : tensor<6x4x2xf32> to tensor<6x4xf32>
  %b = tensor.extract_slice %x3[0, 0, 1] [6, 4, 1] [1, 1, 1] : tensor<6x4x2xf32> to tensor<6x4xf32>
  %m1 = arith.mulf %a, %cos : tensor<6x4xf32>
  %m2 = arith.mulf %b, %sin : tensor<6x4xf32>
  %m3 = arith.mulf %b, %cos : tensor<6x4xf32>
  %m4 = arith.mulf %a, %sin : tensor<6x4xf32>
  %u = arith.addf %m1, %m2 : tensor<6x4xf32>
  %v = arith.addf %m3, %m4 : tensor<6x4xf32>
  %u3 = tensor.expand_shape %u [[0], [1, 2]] output_shape [6, 4, 1] : tensor<6x4xf32> into tensor<6x4x1xf32>
  %v3 = tensor.expand_shape %v [[0], [1, 2]] output_shape [6, 4, 1] : tensor<6x4xf32> into tensor<6x4x1xf32>
  // expected-remark @+1 {{rotation stays in parts: its columns rotate backwards}}
  %y3 = tensor.concat dim(2) %u3, %v3 : (tensor<6x4x1xf32>, tensor<6x4x1xf32>) -> tensor<6x4x2xf32>
  %y = tensor.collapse_shape %y3 [[0], [1, 2]] : tensor<6x4x2xf32> into tensor<6x8xf32>
  return %y : tensor<6x8xf32>
}

// -----

// Interleaved pairs, turned and mirrored: the first column of each counts negative.
func.func @subtracted(%x: tensor<6x8xf32>, %cos: tensor<6x4xf32>, %sin: tensor<6x4xf32>)
    -> tensor<6x8xf32> {
  %x3 = tensor.expand_shape %x [[0], [1, 2]] output_shape [6, 4, 2] : tensor<6x8xf32> into tensor<6x4x2xf32>
  %a = tensor.extract_slice %x3[0, 0, 0] [6, 4, 1] [1, 1, 1] : tensor<6x4x2xf32> to tensor<6x4xf32>
  %b = tensor.extract_slice %x3[0, 0, 1] [6, 4, 1] [1, 1, 1] : tensor<6x4x2xf32> to tensor<6x4xf32>
  %na = arith.negf %a : tensor<6x4xf32>
  %m1 = arith.mulf %na, %cos : tensor<6x4xf32>
  %m2 = arith.mulf %b, %sin : tensor<6x4xf32>
  %m3 = arith.mulf %b, %cos : tensor<6x4xf32>
  %m4 = arith.mulf %a, %sin : tensor<6x4xf32>
  %u = arith.subf %m1, %m2 : tensor<6x4xf32>
  %v = arith.addf %m3, %m4 : tensor<6x4xf32>
  %u3 = tensor.expand_shape %u [[0], [1, 2]] output_shape [6, 4, 1] : tensor<6x4xf32> into tensor<6x4x1xf32>
  %v3 = tensor.expand_shape %v [[0], [1, 2]] output_shape [6, 4, 1] : tensor<6x4xf32> into tensor<6x4x1xf32>
  // expected-remark @+1 {{rotation stays in parts: a column is subtracted from the other one of its pair}}
  %y3 = tensor.concat dim(2) %u3, %v3 : (tensor<6x4x1xf32>, tensor<6x4x1xf32>) -> tensor<6x4x2xf32>
  %y = tensor.collapse_shape %y3 [[0], [1, 2]] : tensor<6x4x2xf32> into tensor<6x8xf32>
  return %y : tensor<6x8xf32>
}

// -----

// The input has no batch, the tables have: no remark.
func.func @no_batch(%x: tensor<6x8xf32>, %cos: tensor<2x6x4xf32>, %sin: tensor<2x6x4xf32>)
    -> tensor<2x6x8xf32> {
  %e = tensor.empty() : tensor<2x6x4xf32>
  %xa = tensor.extract_slice %x[0, 0] [6, 4] [1, 1] : tensor<6x8xf32> to tensor<6x4xf32>
  %xb = tensor.extract_slice %x[0, 4] [6, 4] [1, 1] : tensor<6x8xf32> to tensor<6x4xf32>
  %a = linalg.broadcast ins(%xa : tensor<6x4xf32>) outs(%e : tensor<2x6x4xf32>) dimensions = [0]
  %b = linalg.broadcast ins(%xb : tensor<6x4xf32>) outs(%e : tensor<2x6x4xf32>) dimensions = [0]
  %m1 = arith.mulf %a, %cos : tensor<2x6x4xf32>
  %m2 = arith.mulf %b, %sin : tensor<2x6x4xf32>
  %m3 = arith.mulf %b, %cos : tensor<2x6x4xf32>
  %m4 = arith.mulf %a, %sin : tensor<2x6x4xf32>
  %u = arith.subf %m1, %m2 : tensor<2x6x4xf32>
  %v = arith.addf %m3, %m4 : tensor<2x6x4xf32>
  %y = tensor.concat dim(2) %u, %v : (tensor<2x6x4xf32>, tensor<2x6x4xf32>) -> tensor<2x6x8xf32>
  return %y : tensor<2x6x8xf32>
}

// -----

// Three dims: the halves are not alike.
func.func @odd(%x: tensor<6x3xf32>, %cos: tensor<6x3xf32>, %sin: tensor<6x3xf32>)
    -> tensor<6x3xf32> {
  %x1 = tensor.extract_slice %x[0, 0] [6, 1] [1, 1] : tensor<6x3xf32> to tensor<6x1xf32>
  %x2 = tensor.extract_slice %x[0, 1] [6, 2] [1, 1] : tensor<6x3xf32> to tensor<6x2xf32>
  %nx = arith.negf %x2 : tensor<6x2xf32>
  %rh = tensor.concat dim(1) %nx, %x1 : (tensor<6x2xf32>, tensor<6x1xf32>) -> tensor<6x3xf32>
  %m1 = arith.mulf %x, %cos : tensor<6x3xf32>
  %m2 = arith.mulf %rh, %sin : tensor<6x3xf32>
  // expected-remark @+1 {{rotation stays in parts: all columns rotate with columns 1, 2, 0, ..., which is no pairing of rlx.rope}}
  %y = arith.addf %m1, %m2 : tensor<6x3xf32>
  return %y : tensor<6x3xf32>
}

// -----

// Sums of products that are nothing like a rotation: no remark.
func.func @other_sum(%x: tensor<6x8xf32>, %z: tensor<6x8xf32>, %cos: tensor<6x8xf32>, %sin: tensor<6x8xf32>)
    -> tensor<6x8xf32> {
  %m1 = arith.mulf %x, %cos : tensor<6x8xf32>
  %m2 = arith.mulf %z, %sin : tensor<6x8xf32>
  %y = arith.addf %m1, %m2 : tensor<6x8xf32>
  return %y : tensor<6x8xf32>
}

// -----

// The rotated half without its sign: no remark.
func.func @absolute(%x: tensor<6x8xf32>, %cos: tensor<6x8xf32>, %sin: tensor<6x8xf32>)
    -> tensor<6x8xf32> {
  %x1 = tensor.extract_slice %x[0, 0] [6, 4] [1, 1] : tensor<6x8xf32> to tensor<6x4xf32>
  %x2 = tensor.extract_slice %x[0, 4] [6, 4] [1, 1] : tensor<6x8xf32> to tensor<6x4xf32>
  %nx = arith.negf %x2 : tensor<6x4xf32>
  %rh = tensor.concat dim(1) %nx, %x1 : (tensor<6x4xf32>, tensor<6x4xf32>) -> tensor<6x8xf32>
  %m1 = arith.mulf %x, %cos : tensor<6x8xf32>
  %m2 = arith.mulf %rh, %sin : tensor<6x8xf32>
  %m3 = math.absf %m2 : tensor<6x8xf32>
  %y = arith.addf %m1, %m3 : tensor<6x8xf32>
  return %y : tensor<6x8xf32>
}

// -----

func.func @same_column(%x: tensor<6x8xf32>, %cos: tensor<6x8xf32>, %sin: tensor<6x8xf32>)
    -> tensor<6x8xf32> {
  %m1 = arith.mulf %x, %cos : tensor<6x8xf32>
  %m2 = arith.mulf %x, %sin : tensor<6x8xf32>
  %y = arith.addf %m1, %m2 : tensor<6x8xf32>
  return %y : tensor<6x8xf32>
}

// -----

// What both products share is computed within a body.
func.func @twice(%x: tensor<6x8xf32>, %u: tensor<6xf32>, %w: tensor<8xf32>, %e: tensor<6x8xf32>)
    -> tensor<6x8xf32> {
  %0 = linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>,
      affine_map<(i, j) -> (j)>, affine_map<(i, j) -> (i, j)>],
      iterator_types = ["parallel", "parallel"]}
      ins(%x, %u, %w : tensor<6x8xf32>, tensor<6xf32>, tensor<8xf32>) outs(%e : tensor<6x8xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32, %out: f32):
    %p = arith.mulf %a, %b : f32
    %q = arith.mulf %p, %c : f32
    linalg.yield %q : f32
  } -> tensor<6x8xf32>
  %y = arith.addf %0, %0 : tensor<6x8xf32>
  return %y : tensor<6x8xf32>
}
