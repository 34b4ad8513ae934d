// RUN: rlx-opt %s -split-input-file --rlx-fuse-partial-rotary | filecheck %s
// RUN: rlx-opt %s -split-input-file --rlx-fuse-partial-rotary --rlx-fuse-partial-rotary | filecheck %s
// RUN: rlx-opt %s -split-input-file --rlx-fuse-partial-rotary --rlx-remarks -verify-diagnostics

// CHECK-LABEL: func.func @one_head(
// CHECK-NEXT: %[[Y:.*]] = "rlx.rope"(%arg0, %arg1, %arg2) {head_dim = 8 : i64, n_rot = 4 : i64}
// CHECK-NEXT: return %[[Y]]
func.func @one_head(%x: tensor<1x6x8xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> tensor<1x6x8xf32> {
  %r = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p = "rlx.narrow"(%x) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t = "rlx.rope"(%r, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  %y = "rlx.concat"(%t, %p) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  return %y : tensor<1x6x8xf32>
}

// -----

// CHECK-LABEL: func.func @per_head(
// CHECK-NEXT: %[[Y:.*]] = "rlx.rope"(%arg0, %arg1, %arg2) {head_dim = 8 : i64, n_rot = 4 : i64}
// CHECK-NEXT: return %[[Y]]
func.func @per_head(%x: tensor<1x?x16xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> tensor<1x?x16xf32> {
  %h0 = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 8 : i64} : (tensor<1x?x16xf32>) -> tensor<1x?x8xf32>
  %h1 = "rlx.narrow"(%x) {axis = 2 : i64, start = 8 : i64, length = 8 : i64} : (tensor<1x?x16xf32>) -> tensor<1x?x8xf32>
  %r0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x?x8xf32>) -> tensor<1x?x4xf32>
  %p0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x?x8xf32>) -> tensor<1x?x4xf32>
  %t0 = "rlx.rope"(%r0, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x?x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x?x4xf32>
  %y0 = "rlx.concat"(%t0, %p0) {axis = 2 : i64} : (tensor<1x?x4xf32>, tensor<1x?x4xf32>) -> tensor<1x?x8xf32>
  %r1 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x?x8xf32>) -> tensor<1x?x4xf32>
  %p1 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x?x8xf32>) -> tensor<1x?x4xf32>
  %t1 = "rlx.rope"(%r1, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x?x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x?x4xf32>
  %y1 = "rlx.concat"(%t1, %p1) {axis = 2 : i64} : (tensor<1x?x4xf32>, tensor<1x?x4xf32>) -> tensor<1x?x8xf32>
  %y = "rlx.concat"(%y0, %y1) {axis = 2 : i64} : (tensor<1x?x8xf32>, tensor<1x?x8xf32>) -> tensor<1x?x16xf32>
  return %y : tensor<1x?x16xf32>
}

// -----

// Parts of all heads in one concatenation, of tensor ops.
// CHECK-LABEL: func.func @one_join(
// CHECK-NEXT: %[[Y:.*]] = "rlx.rope"(%arg0, %arg1, %arg2) {head_dim = 8 : i64, n_rot = 4 : i64}
// CHECK-NEXT: return %[[Y]]
func.func @one_join(%x: tensor<2x6x16xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> tensor<2x6x16xf32> {
  %r0 = tensor.extract_slice %x[0, 0, 0] [2, 6, 4] [1, 1, 1] : tensor<2x6x16xf32> to tensor<2x6x4xf32>
  %p0 = tensor.extract_slice %x[0, 0, 4] [2, 6, 4] [1, 1, 1] : tensor<2x6x16xf32> to tensor<2x6x4xf32>
  %t0 = "rlx.rope"(%r0, %cos, %sin) {head_dim = 4 : i64} : (tensor<2x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<2x6x4xf32>
  %r1 = tensor.extract_slice %x[0, 0, 8] [2, 6, 4] [1, 1, 1] : tensor<2x6x16xf32> to tensor<2x6x4xf32>
  %p1 = tensor.extract_slice %x[0, 0, 12] [2, 6, 4] [1, 1, 1] : tensor<2x6x16xf32> to tensor<2x6x4xf32>
  %t1 = "rlx.rope"(%r1, %cos, %sin) {head_dim = 4 : i64} : (tensor<2x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<2x6x4xf32>
  %y = tensor.concat dim(2) %t0, %p0, %t1, %p1 : (tensor<2x6x4xf32>, tensor<2x6x4xf32>, tensor<2x6x4xf32>, tensor<2x6x4xf32>) -> tensor<2x6x16xf32>
  return %y : tensor<2x6x16xf32>
}

// -----

// All heads at once, as an axis of their own.
// CHECK-LABEL: func.func @whole_tensor(
// CHECK-NOT: rlx.concat
// CHECK: %[[Y:.*]] = "rlx.rope"(%arg0, %arg1, %arg2) {head_dim = 8 : i64, n_rot = 4 : i64}
// CHECK-NEXT: return %[[Y]]
func.func @whole_tensor(%x: tensor<1x?x16xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> tensor<1x?x16xf32> {
  %c1 = arith.constant 1 : index
  %n = tensor.dim %x, %c1 : tensor<1x?x16xf32>
  %x4 = tensor.expand_shape %x [[0], [1], [2, 3]] output_shape [1, %n, 2, 8] : tensor<1x?x16xf32> into tensor<1x?x2x8xf32>
  %r4 = tensor.extract_slice %x4[0, 0, 0, 0] [1, %n, 2, 4] [1, 1, 1, 1] : tensor<1x?x2x8xf32> to tensor<1x?x2x4xf32>
  %p = tensor.extract_slice %x4[0, 0, 0, 4] [1, %n, 2, 4] [1, 1, 1, 1] : tensor<1x?x2x8xf32> to tensor<1x?x2x4xf32>
  %r = tensor.collapse_shape %r4 [[0], [1], [2, 3]] : tensor<1x?x2x4xf32> into tensor<1x?x8xf32>
  %t3 = "rlx.rope"(%r, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x?x8xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x?x8xf32>
  %t = tensor.expand_shape %t3 [[0], [1], [2, 3]] output_shape [1, %n, 2, 4] : tensor<1x?x8xf32> into tensor<1x?x2x4xf32>
  %y4 = "rlx.concat"(%t, %p) {axis = 3 : i64} : (tensor<1x?x2x4xf32>, tensor<1x?x2x4xf32>) -> tensor<1x?x2x8xf32>
  %y = tensor.collapse_shape %y4 [[0], [1], [2, 3]] : tensor<1x?x2x8xf32> into tensor<1x?x16xf32>
  return %y : tensor<1x?x16xf32>
}

// -----

// CHECK-LABEL: func.func @interleaved_and_positions(
// CHECK-NEXT: %[[Y:.*]] = "rlx.rope"(%arg0, %arg1, %arg2, %arg3) {head_dim = 8 : i64, n_rot = 4 : i64, pairing = "interleaved"}
// CHECK-NEXT: return %[[Y]]
func.func @interleaved_and_positions(%x: tensor<1x6x16xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>, %pos: tensor<1x6xi64>)
    -> tensor<1x6x16xf32> {
  %h0 = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %h1 = "rlx.narrow"(%x) {axis = 2 : i64, start = 8 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %r0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p0 = "rlx.narrow"(%h0) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t0 = "rlx.rope"(%r0, %cos, %sin, %pos) {head_dim = 4 : i64, pairing = "interleaved"} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>, tensor<1x6xi64>) -> tensor<1x6x4xf32>
  %y0 = "rlx.concat"(%t0, %p0) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %r1 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p1 = "rlx.narrow"(%h1) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t1 = "rlx.rope"(%r1, %cos, %sin, %pos) {head_dim = 4 : i64, pairing = "interleaved"} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>, tensor<1x6xi64>) -> tensor<1x6x4xf32>
  %y1 = "rlx.concat"(%t1, %p1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %y = "rlx.concat"(%y0, %y1) {axis = 2 : i64} : (tensor<1x6x8xf32>, tensor<1x6x8xf32>) -> tensor<1x6x16xf32>
  return %y : tensor<1x6x16xf32>
}

// -----

// Nothing passes: heads are rotated one by one.
// CHECK-LABEL: func.func @whole_heads(
// CHECK-NEXT: %[[Y:.*]] = "rlx.rope"(%arg0, %arg1, %arg2) {head_dim = 8 : i64}
// CHECK-NEXT: return %[[Y]]
func.func @whole_heads(%x: tensor<1x6x16xf32>, %cos: tensor<32x4xf32>, %sin: tensor<32x4xf32>)
    -> tensor<1x6x16xf32> {
  %h0 = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %h1 = "rlx.narrow"(%x) {axis = 2 : i64, start = 8 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %t0 = "rlx.rope"(%h0, %cos, %sin) {head_dim = 8 : i64} : (tensor<1x6x8xf32>, tensor<32x4xf32>, tensor<32x4xf32>) -> tensor<1x6x8xf32>
  %t1 = "rlx.rope"(%h1, %cos, %sin) {head_dim = 8 : i64} : (tensor<1x6x8xf32>, tensor<32x4xf32>, tensor<32x4xf32>) -> tensor<1x6x8xf32>
  %y = "rlx.concat"(%t0, %t1) {axis = 2 : i64} : (tensor<1x6x8xf32>, tensor<1x6x8xf32>) -> tensor<1x6x16xf32>
  return %y : tensor<1x6x16xf32>
}

// -----

// The rotated part has a part that passes; its tables are wider than the angles.
// CHECK-LABEL: func.func @part_of_part(
// CHECK-NEXT: %[[C:.*]] = "rlx.narrow"(%arg1) {axis = 1 : i64, length = 2 : i64, start = 0 : i64}
// CHECK-NEXT: %[[S:.*]] = "rlx.narrow"(%arg2) {axis = 1 : i64, length = 2 : i64, start = 0 : i64}
// CHECK-NEXT: "rlx.rope"(%arg0, %[[C]], %[[S]]) {head_dim = 12 : i64, n_rot = 4 : i64}
func.func @part_of_part(%x: tensor<1x6x12xf32>, %cos: tensor<32x3xf32>, %sin: tensor<32x3xf32>)
    -> tensor<1x6x12xf32> {
  %r = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 6 : i64} : (tensor<1x6x12xf32>) -> tensor<1x6x6xf32>
  %p = "rlx.narrow"(%x) {axis = 2 : i64, start = 6 : i64, length = 6 : i64} : (tensor<1x6x12xf32>) -> tensor<1x6x6xf32>
  %t = "rlx.rope"(%r, %cos, %sin) {head_dim = 6 : i64, n_rot = 4 : i64} : (tensor<1x6x6xf32>, tensor<32x3xf32>, tensor<32x3xf32>) -> tensor<1x6x6xf32>
  %y = "rlx.concat"(%t, %p) {axis = 2 : i64} : (tensor<1x6x6xf32>, tensor<1x6x6xf32>) -> tensor<1x6x12xf32>
  return %y : tensor<1x6x12xf32>
}

// -----

// Two runs of a head rotate, half a head apart.
// CHECK-LABEL: func.func @proportional(
// CHECK-NEXT: "rlx.rope"(%arg0, %arg1, %arg2) {head_dim = 8 : i64, n_rot = 4 : i64, pairing = "proportional"}
func.func @proportional(%x: tensor<1x6x8xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> tensor<1x6x8xf32> {
  %a = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 2 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x2xf32>
  %p = "rlx.narrow"(%x) {axis = 2 : i64, start = 2 : i64, length = 2 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x2xf32>
  %b = "rlx.narrow"(%x) {axis = 2 : i64, start = 4 : i64, length = 2 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x2xf32>
  %q = "rlx.narrow"(%x) {axis = 2 : i64, start = 6 : i64, length = 2 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x2xf32>
  %r = "rlx.concat"(%a, %b) {axis = 2 : i64} : (tensor<1x6x2xf32>, tensor<1x6x2xf32>) -> tensor<1x6x4xf32>
  %t = "rlx.rope"(%r, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  %ta = "rlx.narrow"(%t) {axis = 2 : i64, start = 0 : i64, length = 2 : i64} : (tensor<1x6x4xf32>) -> tensor<1x6x2xf32>
  %tb = "rlx.narrow"(%t) {axis = 2 : i64, start = 2 : i64, length = 2 : i64} : (tensor<1x6x4xf32>) -> tensor<1x6x2xf32>
  %y = "rlx.concat"(%ta, %p, %tb, %q) {axis = 2 : i64} : (tensor<1x6x2xf32>, tensor<1x6x2xf32>, tensor<1x6x2xf32>, tensor<1x6x2xf32>) -> tensor<1x6x8xf32>
  return %y : tensor<1x6x8xf32>
}

// -----

// CHECK-LABEL: func.func @no_batch(
// CHECK-NEXT: %[[Y:.*]] = "rlx.rope"(%arg0, %arg1, %arg2) {head_dim = 8 : i64, n_rot = 4 : i64}
// CHECK-NEXT: return %[[Y]]
func.func @no_batch(%x: tensor<6x16xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> tensor<6x16xf32> {
  %h0 = "rlx.narrow"(%x) {axis = 1 : i64, start = 0 : i64, length = 8 : i64} : (tensor<6x16xf32>) -> tensor<6x8xf32>
  %h1 = "rlx.narrow"(%x) {axis = 1 : i64, start = 8 : i64, length = 8 : i64} : (tensor<6x16xf32>) -> tensor<6x8xf32>
  %r0 = "rlx.narrow"(%h0) {axis = 1 : i64, start = 0 : i64, length = 4 : i64} : (tensor<6x8xf32>) -> tensor<6x4xf32>
  %p0 = "rlx.narrow"(%h0) {axis = 1 : i64, start = 4 : i64, length = 4 : i64} : (tensor<6x8xf32>) -> tensor<6x4xf32>
  %t0 = "rlx.rope"(%r0, %cos, %sin) {head_dim = 4 : i64} : (tensor<6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<6x4xf32>
  %y0 = "rlx.concat"(%t0, %p0) {axis = 1 : i64} : (tensor<6x4xf32>, tensor<6x4xf32>) -> tensor<6x8xf32>
  %r1 = "rlx.narrow"(%h1) {axis = 1 : i64, start = 0 : i64, length = 4 : i64} : (tensor<6x8xf32>) -> tensor<6x4xf32>
  %p1 = "rlx.narrow"(%h1) {axis = 1 : i64, start = 4 : i64, length = 4 : i64} : (tensor<6x8xf32>) -> tensor<6x4xf32>
  %t1 = "rlx.rope"(%r1, %cos, %sin) {head_dim = 4 : i64} : (tensor<6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<6x4xf32>
  %y1 = "rlx.concat"(%t1, %p1) {axis = 1 : i64} : (tensor<6x4xf32>, tensor<6x4xf32>) -> tensor<6x8xf32>
  %y = "rlx.concat"(%y0, %y1) {axis = 1 : i64} : (tensor<6x8xf32>, tensor<6x8xf32>) -> tensor<6x16xf32>
  return %y : tensor<6x16xf32>
}

// -----

// A whole head that is used elsewhere is no part.
// CHECK-LABEL: func.func @head_used_elsewhere(
// CHECK-NEXT: %[[H:.*]] = "rlx.narrow"
// CHECK-NEXT: %[[Y:.*]] = "rlx.rope"(%arg0, %arg1, %arg2) {head_dim = 8 : i64, n_rot = 4 : i64}
// CHECK-NEXT: return %[[Y]], %[[H]]
func.func @head_used_elsewhere(%x: tensor<1x6x16xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> (tensor<1x6x16xf32>, tensor<1x6x8xf32>) {
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
  %y = "rlx.concat"(%y0, %y1) {axis = 2 : i64} : (tensor<1x6x8xf32>, tensor<1x6x8xf32>) -> tensor<1x6x16xf32>
  return %y, %h0 : tensor<1x6x16xf32>, tensor<1x6x8xf32>
}

// -----

// Hugging Face's form, as torch-mlir lowers it: x * cos + rotate_half(x) * sin on [B, H, S, D].
// CHECK-LABEL: func.func @written_out(
// CHECK-DAG: %[[C:.*]] = tensor.collapse_shape %arg1 {{\[}}[0, 1], [2]] : tensor<1x6x4xf32> into tensor<6x4xf32>
// CHECK-DAG: %[[S:.*]] = tensor.collapse_shape %arg2 {{\[}}[0, 1], [2]] : tensor<1x6x4xf32> into tensor<6x4xf32>
// CHECK: %[[Y:.*]] = "rlx.rope"(%arg0, %[[C]], %[[S]]) {head_dim = 8 : i64} :
// CHECK-NEXT: return %[[Y]]
func.func @written_out(%x: tensor<1x6x16xf32>, %cos: tensor<1x6x4xf32>, %sin: tensor<1x6x4xf32>)
    -> tensor<1x6x16xf32> {
  %cc3 = tensor.concat dim(2) %cos, %cos : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %cc = tensor.expand_shape %cc3 [[0], [1, 2], [3]] output_shape [1, 1, 6, 8] : tensor<1x6x8xf32> into tensor<1x1x6x8xf32>
  %ss3 = tensor.concat dim(2) %sin, %sin : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %ss = tensor.expand_shape %ss3 [[0], [1, 2], [3]] output_shape [1, 1, 6, 8] : tensor<1x6x8xf32> into tensor<1x1x6x8xf32>
  %x4 = tensor.expand_shape %x [[0], [1], [2, 3]] output_shape [1, 6, 2, 8] : tensor<1x6x16xf32> into tensor<1x6x2x8xf32>
  %ex = tensor.empty() : tensor<1x2x6x8xf32>
  %xt = linalg.transpose ins(%x4 : tensor<1x6x2x8xf32>) outs(%ex : tensor<1x2x6x8xf32>) permutation = [0, 2, 1, 3]
  %e_m1 = tensor.empty() : tensor<1x2x6x8xf32>
  %m1 = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (0, 0, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%xt, %cc : tensor<1x2x6x8xf32>, tensor<1x1x6x8xf32>) outs(%e_m1 : tensor<1x2x6x8xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.mulf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x8xf32>
  %x1 = tensor.extract_slice %xt[0, 0, 0, 0] [1, 2, 6, 4] [1, 1, 1, 1] : tensor<1x2x6x8xf32> to tensor<1x2x6x4xf32>
  %x2 = tensor.extract_slice %xt[0, 0, 0, 4] [1, 2, 6, 4] [1, 1, 1, 1] : tensor<1x2x6x8xf32> to tensor<1x2x6x4xf32>
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
  %e_y4 = tensor.empty() : tensor<1x2x6x8xf32>
  %y4 = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%m1, %m2 : tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>) outs(%e_y4 : tensor<1x2x6x8xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.addf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x8xf32>
  %ey = tensor.empty() : tensor<1x6x2x8xf32>
  %yt = linalg.transpose ins(%y4 : tensor<1x2x6x8xf32>) outs(%ey : tensor<1x6x2x8xf32>) permutation = [0, 2, 1, 3]
  %y = tensor.collapse_shape %yt [[0], [1], [2, 3]] : tensor<1x6x2x8xf32> into tensor<1x6x16xf32>
  return %y : tensor<1x6x16xf32>
}

// -----

// Input and result stay in [B, H, S, D].
// CHECK-LABEL: func.func @written_out_heads_first(
// CHECK-DAG: linalg.transpose ins(%arg0 : tensor<1x2x6x8xf32>) {{.*}} permutation = [0, 2, 1, 3]
// CHECK: %[[Y3:.*]] = "rlx.rope"({{.*}}) {head_dim = 8 : i64} : (tensor<1x6x16xf32>
// CHECK-NEXT: %[[Y4:.*]] = tensor.expand_shape %[[Y3]]
// CHECK: %[[Y:.*]] = linalg.transpose ins(%[[Y4]] : tensor<1x6x2x8xf32>) {{.*}} permutation = [0, 2, 1, 3]
// CHECK-NEXT: return %[[Y]]
func.func @written_out_heads_first(%x: tensor<1x2x6x8xf32>, %cos: tensor<1x6x4xf32>, %sin: tensor<1x6x4xf32>)
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
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%m1, %m2 : tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>) outs(%e_y : tensor<1x2x6x8xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.addf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x8xf32>
  return %y : tensor<1x2x6x8xf32>
}

// -----

// The same on the first half of each head.
// CHECK-LABEL: func.func @written_out_part(
// CHECK: %[[Y:.*]] = "rlx.rope"(%arg0, %{{.*}}, %{{.*}}) {head_dim = 8 : i64, n_rot = 4 : i64} : (tensor<1x6x16xf32>, tensor<6x2xf32>, tensor<6x2xf32>)
// CHECK-NEXT: return %[[Y]]
func.func @written_out_part(%x: tensor<1x6x16xf32>, %cos: tensor<1x6x2xf32>, %sin: tensor<1x6x2xf32>)
    -> tensor<1x6x16xf32> {
  %cc3 = tensor.concat dim(2) %cos, %cos : (tensor<1x6x2xf32>, tensor<1x6x2xf32>) -> tensor<1x6x4xf32>
  %cc = tensor.expand_shape %cc3 [[0], [1, 2], [3]] output_shape [1, 1, 6, 4] : tensor<1x6x4xf32> into tensor<1x1x6x4xf32>
  %ss3 = tensor.concat dim(2) %sin, %sin : (tensor<1x6x2xf32>, tensor<1x6x2xf32>) -> tensor<1x6x4xf32>
  %ss = tensor.expand_shape %ss3 [[0], [1, 2], [3]] output_shape [1, 1, 6, 4] : tensor<1x6x4xf32> into tensor<1x1x6x4xf32>
  %x4 = tensor.expand_shape %x [[0], [1], [2, 3]] output_shape [1, 6, 2, 8] : tensor<1x6x16xf32> into tensor<1x6x2x8xf32>
  %ex = tensor.empty() : tensor<1x2x6x8xf32>
  %xt = linalg.transpose ins(%x4 : tensor<1x6x2x8xf32>) outs(%ex : tensor<1x2x6x8xf32>) permutation = [0, 2, 1, 3]
  %rx = tensor.extract_slice %xt[0, 0, 0, 0] [1, 2, 6, 4] [1, 1, 1, 1] : tensor<1x2x6x8xf32> to tensor<1x2x6x4xf32>
  %px = tensor.extract_slice %xt[0, 0, 0, 4] [1, 2, 6, 4] [1, 1, 1, 1] : tensor<1x2x6x8xf32> to tensor<1x2x6x4xf32>
  %e_m1 = tensor.empty() : tensor<1x2x6x4xf32>
  %m1 = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (0, 0, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%rx, %cc : tensor<1x2x6x4xf32>, tensor<1x1x6x4xf32>) outs(%e_m1 : tensor<1x2x6x4xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.mulf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x4xf32>
  %x1 = tensor.extract_slice %rx[0, 0, 0, 0] [1, 2, 6, 2] [1, 1, 1, 1] : tensor<1x2x6x4xf32> to tensor<1x2x6x2xf32>
  %x2 = tensor.extract_slice %rx[0, 0, 0, 2] [1, 2, 6, 2] [1, 1, 1, 1] : tensor<1x2x6x4xf32> to tensor<1x2x6x2xf32>
  %e_nx = tensor.empty() : tensor<1x2x6x2xf32>
  %nx = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%x2 : tensor<1x2x6x2xf32>) outs(%e_nx : tensor<1x2x6x2xf32>) {
  ^bb0(%l: f32, %out: f32):
    %0 = arith.negf %l : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x2xf32>
  %rh = tensor.concat dim(3) %nx, %x1 : (tensor<1x2x6x2xf32>, tensor<1x2x6x2xf32>) -> tensor<1x2x6x4xf32>
  %e_m2 = tensor.empty() : tensor<1x2x6x4xf32>
  %m2 = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (0, 0, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%rh, %ss : tensor<1x2x6x4xf32>, tensor<1x1x6x4xf32>) outs(%e_m2 : tensor<1x2x6x4xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.mulf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x4xf32>
  %e_ry = tensor.empty() : tensor<1x2x6x4xf32>
  %ry = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%m1, %m2 : tensor<1x2x6x4xf32>, tensor<1x2x6x4xf32>) outs(%e_ry : tensor<1x2x6x4xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.addf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x4xf32>
  %y4 = tensor.concat dim(3) %ry, %px : (tensor<1x2x6x4xf32>, tensor<1x2x6x4xf32>) -> tensor<1x2x6x8xf32>
  %ey = tensor.empty() : tensor<1x6x2x8xf32>
  %yt = linalg.transpose ins(%y4 : tensor<1x2x6x8xf32>) outs(%ey : tensor<1x6x2x8xf32>) permutation = [0, 2, 1, 3]
  %y = tensor.collapse_shape %yt [[0], [1], [2, 3]] : tensor<1x6x2x8xf32> into tensor<1x6x16xf32>
  return %y : tensor<1x6x16xf32>
}

// -----

// A row for each batch and position: positions number them.
// CHECK-LABEL: func.func @table_per_batch(
// CHECK: %[[P:.*]] = linalg.generic {{.*}} outs(%{{.*}} : tensor<2x6xi64>)
// CHECK: "rlx.rope"(%{{.*}}, %{{.*}}, %{{.*}}, %[[P]]) {head_dim = 8 : i64} : (tensor<2x6x16xf32>, tensor<12x4xf32>, tensor<12x4xf32>, tensor<2x6xi64>)
func.func @table_per_batch(%x: tensor<2x2x6x8xf32>, %cos: tensor<2x6x4xf32>, %sin: tensor<2x6x4xf32>)
    -> tensor<2x2x6x8xf32> {
  %cc3 = tensor.concat dim(2) %cos, %cos : (tensor<2x6x4xf32>, tensor<2x6x4xf32>) -> tensor<2x6x8xf32>
  %cc = tensor.expand_shape %cc3 [[0], [1, 2], [3]] output_shape [2, 1, 6, 8] : tensor<2x6x8xf32> into tensor<2x1x6x8xf32>
  %ss3 = tensor.concat dim(2) %sin, %sin : (tensor<2x6x4xf32>, tensor<2x6x4xf32>) -> tensor<2x6x8xf32>
  %ss = tensor.expand_shape %ss3 [[0], [1, 2], [3]] output_shape [2, 1, 6, 8] : tensor<2x6x8xf32> into tensor<2x1x6x8xf32>
  %e_m1 = tensor.empty() : tensor<2x2x6x8xf32>
  %m1 = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, 0, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%x, %cc : tensor<2x2x6x8xf32>, tensor<2x1x6x8xf32>) outs(%e_m1 : tensor<2x2x6x8xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.mulf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<2x2x6x8xf32>
  %x1 = tensor.extract_slice %x[0, 0, 0, 0] [2, 2, 6, 4] [1, 1, 1, 1] : tensor<2x2x6x8xf32> to tensor<2x2x6x4xf32>
  %x2 = tensor.extract_slice %x[0, 0, 0, 4] [2, 2, 6, 4] [1, 1, 1, 1] : tensor<2x2x6x8xf32> to tensor<2x2x6x4xf32>
  %e_nx = tensor.empty() : tensor<2x2x6x4xf32>
  %nx = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%x2 : tensor<2x2x6x4xf32>) outs(%e_nx : tensor<2x2x6x4xf32>) {
  ^bb0(%l: f32, %out: f32):
    %0 = arith.negf %l : f32
    linalg.yield %0 : f32
  } -> tensor<2x2x6x4xf32>
  %rh = tensor.concat dim(3) %nx, %x1 : (tensor<2x2x6x4xf32>, tensor<2x2x6x4xf32>) -> tensor<2x2x6x8xf32>
  %e_m2 = tensor.empty() : tensor<2x2x6x8xf32>
  %m2 = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, 0, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%rh, %ss : tensor<2x2x6x8xf32>, tensor<2x1x6x8xf32>) outs(%e_m2 : tensor<2x2x6x8xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.mulf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<2x2x6x8xf32>
  %e_y = tensor.empty() : tensor<2x2x6x8xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%m1, %m2 : tensor<2x2x6x8xf32>, tensor<2x2x6x8xf32>) outs(%e_y : tensor<2x2x6x8xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.addf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<2x2x6x8xf32>
  return %y : tensor<2x2x6x8xf32>
}

// -----

// The two halves one by one, in arith on tensors, with tables of half the width.
// CHECK-LABEL: func.func @halves(
// CHECK: %[[Y:.*]] = "rlx.rope"(%arg0, %{{.*}}, %{{.*}}) {head_dim = 8 : i64} : (tensor<1x?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>)
// CHECK-NEXT: return %[[Y]]
func.func @halves(%x: tensor<1x?x8xf32>, %cos: tensor<1x?x4xf32>, %sin: tensor<1x?x4xf32>)
    -> tensor<1x?x8xf32> {
  %c1 = arith.constant 1 : index
  %n = tensor.dim %x, %c1 : tensor<1x?x8xf32>
  %x1 = tensor.extract_slice %x[0, 0, 0] [1, %n, 4] [1, 1, 1] : tensor<1x?x8xf32> to tensor<1x?x4xf32>
  %x2 = tensor.extract_slice %x[0, 0, 4] [1, %n, 4] [1, 1, 1] : tensor<1x?x8xf32> to tensor<1x?x4xf32>
  %m1 = arith.mulf %x1, %cos : tensor<1x?x4xf32>
  %m2 = arith.mulf %x2, %sin : tensor<1x?x4xf32>
  %m3 = arith.mulf %cos, %x2 : tensor<1x?x4xf32>
  %m4 = arith.mulf %sin, %x1 : tensor<1x?x4xf32>
  %y1 = arith.subf %m1, %m2 : tensor<1x?x4xf32>
  %y2 = arith.addf %m4, %m3 : tensor<1x?x4xf32>
  %y = tensor.concat dim(2) %y1, %y2 : (tensor<1x?x4xf32>, tensor<1x?x4xf32>) -> tensor<1x?x8xf32>
  return %y : tensor<1x?x8xf32>
}

// -----

// Pairs (2i, 2i + 1), taken apart and stacked.
// CHECK-LABEL: func.func @written_out_interleaved(
// CHECK-NEXT: %[[Y:.*]] = "rlx.rope"(%arg0, %arg1, %arg2) {head_dim = 8 : i64, pairing = "interleaved"}
// CHECK-NEXT: return %[[Y]]
func.func @written_out_interleaved(%x: tensor<6x8xf32>, %cos: tensor<6x4xf32>, %sin: tensor<6x4xf32>)
    -> tensor<6x8xf32> {
  %x3 = tensor.expand_shape %x [[0], [1, 2]] output_shape [6, 4, 2] : tensor<6x8xf32> into tensor<6x4x2xf32>
  %a = tensor.extract_slice %x3[0, 0, 0] [6, 4, 1] [1, 1, 1] : tensor<6x4x2xf32> to tensor<6x4xf32>
  %b = tensor.extract_slice %x3[0, 0, 1] [6, 4, 1] [1, 1, 1] : tensor<6x4x2xf32> to tensor<6x4xf32>
  %m1 = arith.mulf %a, %cos : tensor<6x4xf32>
  %m2 = arith.mulf %b, %sin : tensor<6x4xf32>
  %m3 = arith.mulf %b, %cos : tensor<6x4xf32>
  %m4 = arith.mulf %a, %sin : tensor<6x4xf32>
  %u = arith.subf %m1, %m2 : tensor<6x4xf32>
  %v = arith.addf %m3, %m4 : tensor<6x4xf32>
  %u3 = tensor.expand_shape %u [[0], [1, 2]] output_shape [6, 4, 1] : tensor<6x4xf32> into tensor<6x4x1xf32>
  %v3 = tensor.expand_shape %v [[0], [1, 2]] output_shape [6, 4, 1] : tensor<6x4xf32> into tensor<6x4x1xf32>
  %y3 = tensor.concat dim(2) %u3, %v3 : (tensor<6x4x1xf32>, tensor<6x4x1xf32>) -> tensor<6x4x2xf32>
  %y = tensor.collapse_shape %y3 [[0], [1, 2]] : tensor<6x4x2xf32> into tensor<6x8xf32>
  return %y : tensor<6x8xf32>
}

// -----

// All arithmetic in the body of one op.
// CHECK-LABEL: func.func @one_body(
// CHECK: "rlx.rope"(%{{.*}}, %arg1, %arg2) {head_dim = 8 : i64} : (tensor<1x6x16xf32>, tensor<6x4xf32>, tensor<6x4xf32>)
func.func @one_body(%x: tensor<1x2x6x8xf32>, %cos: tensor<6x4xf32>, %sin: tensor<6x4xf32>)
    -> tensor<1x2x6x8xf32> {
  %cc = tensor.concat dim(1) %cos, %cos : (tensor<6x4xf32>, tensor<6x4xf32>) -> tensor<6x8xf32>
  %ss = tensor.concat dim(1) %sin, %sin : (tensor<6x4xf32>, tensor<6x4xf32>) -> tensor<6x8xf32>
  %x1 = tensor.extract_slice %x[0, 0, 0, 0] [1, 2, 6, 4] [1, 1, 1, 1] : tensor<1x2x6x8xf32> to tensor<1x2x6x4xf32>
  %x2 = tensor.extract_slice %x[0, 0, 0, 4] [1, 2, 6, 4] [1, 1, 1, 1] : tensor<1x2x6x8xf32> to tensor<1x2x6x4xf32>
  %e_nx = tensor.empty() : tensor<1x2x6x4xf32>
  %nx = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%x2 : tensor<1x2x6x4xf32>) outs(%e_nx : tensor<1x2x6x4xf32>) {
  ^bb0(%l: f32, %out: f32):
    %0 = arith.negf %l : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x4xf32>
  %rh = tensor.concat dim(3) %nx, %x1 : (tensor<1x2x6x4xf32>, tensor<1x2x6x4xf32>) -> tensor<1x2x6x8xf32>
  %e = tensor.empty() : tensor<1x2x6x8xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%x, %rh, %cc, %ss : tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>, tensor<6x8xf32>, tensor<6x8xf32>) outs(%e : tensor<1x2x6x8xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32, %s: f32, %out: f32):
    %0 = arith.mulf %c, %a : f32
    %1 = arith.mulf %b, %s : f32
    %2 = arith.addf %1, %0 : f32
    linalg.yield %2 : f32
  } -> tensor<1x2x6x8xf32>
  return %y : tensor<1x2x6x8xf32>
}

// -----

// Computed in f32, stored in bf16, with f32 tables.
// CHECK-LABEL: func.func @widened(
// CHECK: %[[YF:.*]] = "rlx.rope"(%{{.*}}, %{{.*}}, %{{.*}}) {head_dim = 8 : i64} : (tensor<1x6x8xf32>, tensor<6x4xf32>, tensor<6x4xf32>) -> tensor<1x6x8xf32>
// CHECK-NEXT: arith.truncf %[[YF]]
func.func @widened(%x: tensor<1x6x8xbf16>, %cos: tensor<1x6x4xf32>, %sin: tensor<1x6x4xf32>)
    -> tensor<1x6x8xbf16> {
  %xf = arith.extf %x : tensor<1x6x8xbf16> to tensor<1x6x8xf32>
  %cc = tensor.concat dim(2) %cos, %cos : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %ss = tensor.concat dim(2) %sin, %sin : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %x1 = tensor.extract_slice %xf[0, 0, 0] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %x2 = tensor.extract_slice %xf[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %nx = arith.negf %x2 : tensor<1x6x4xf32>
  %rh = tensor.concat dim(2) %nx, %x1 : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %m1 = arith.mulf %xf, %cc : tensor<1x6x8xf32>
  %m2 = arith.mulf %rh, %ss : tensor<1x6x8xf32>
  %yf = arith.addf %m1, %m2 : tensor<1x6x8xf32>
  %y = arith.truncf %yf : tensor<1x6x8xf32> to tensor<1x6x8xbf16>
  return %y : tensor<1x6x8xbf16>
}

// -----

// The tables are computed from angles that are there twice.
// CHECK-LABEL: func.func @tables_of_doubled_angles(
// CHECK: %[[C:.*]] = "rlx.narrow"(%{{.*}}) {axis = 3 : i64, length = 4 : i64, start = 0 : i64}
// CHECK: %[[S:.*]] = "rlx.narrow"(%{{.*}}) {axis = 3 : i64, length = 4 : i64, start = 0 : i64}
// CHECK: "rlx.rope"({{.*}}) {head_dim = 8 : i64} : (tensor<1x6x16xf32>, tensor<6x4xf32>, tensor<6x4xf32>)
func.func @tables_of_doubled_angles(%x: tensor<1x2x6x8xf32>, %angles: tensor<1x6x4xf32>)
    -> tensor<1x2x6x8xf32> {
  %aa = tensor.concat dim(2) %angles, %angles : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %cc3 = math.cos %aa : tensor<1x6x8xf32>
  %cc = tensor.expand_shape %cc3 [[0], [1, 2], [3]] output_shape [1, 1, 6, 8] : tensor<1x6x8xf32> into tensor<1x1x6x8xf32>
  %ss3 = math.sin %aa : tensor<1x6x8xf32>
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
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%m1, %m2 : tensor<1x2x6x8xf32>, tensor<1x2x6x8xf32>) outs(%e_y : tensor<1x2x6x8xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.addf %l, %m : f32
    linalg.yield %0 : f32
  } -> tensor<1x2x6x8xf32>
  return %y : tensor<1x2x6x8xf32>
}

// -----

// Interleaved pairs by slices of stride 2; every other column of the tables is read.
// CHECK-LABEL: func.func @interleaved_doubled_angles(
// CHECK: %[[C:.*]] = tensor.extract_slice %{{.*}}[0, 0] [6, 4] [1, 2] : tensor<6x8xf32> to tensor<6x4xf32>
// CHECK-NEXT: %[[S:.*]] = tensor.extract_slice %{{.*}}[0, 0] [6, 4] [1, 2] : tensor<6x8xf32> to tensor<6x4xf32>
// CHECK-NEXT: "rlx.rope"(%arg0, %[[C]], %[[S]]) {head_dim = 8 : i64, pairing = "interleaved"}
func.func @interleaved_doubled_angles(%x: tensor<6x8xf32>, %angles: tensor<6x4xf32>)
    -> tensor<6x8xf32> {
  %e = tensor.empty() : tensor<6x4x2xf32>
  %a2 = linalg.broadcast ins(%angles : tensor<6x4xf32>) outs(%e : tensor<6x4x2xf32>) dimensions = [2]
  %aa = tensor.collapse_shape %a2 [[0], [1, 2]] : tensor<6x4x2xf32> into tensor<6x8xf32>
  %cos = math.cos %aa : tensor<6x8xf32>
  %sin = math.sin %aa : tensor<6x8xf32>
  %a = tensor.extract_slice %x[0, 0] [6, 4] [1, 2] : tensor<6x8xf32> to tensor<6x4xf32>
  %b = tensor.extract_slice %x[0, 1] [6, 4] [1, 2] : tensor<6x8xf32> to tensor<6x4xf32>
  %nb = arith.negf %b : tensor<6x4xf32>
  %u = tensor.expand_shape %nb [[0], [1, 2]] output_shape [6, 4, 1] : tensor<6x4xf32> into tensor<6x4x1xf32>
  %v = tensor.expand_shape %a [[0], [1, 2]] output_shape [6, 4, 1] : tensor<6x4xf32> into tensor<6x4x1xf32>
  %uv = tensor.concat dim(2) %u, %v : (tensor<6x4x1xf32>, tensor<6x4x1xf32>) -> tensor<6x4x2xf32>
  %r = tensor.collapse_shape %uv [[0], [1, 2]] : tensor<6x4x2xf32> into tensor<6x8xf32>
  %m1 = arith.mulf %x, %cos : tensor<6x8xf32>
  %m2 = arith.mulf %r, %sin : tensor<6x8xf32>
  %y = arith.addf %m1, %m2 : tensor<6x8xf32>
  return %y : tensor<6x8xf32>
}

// -----

// Repeated afterwards: the rotation is found below.
// CHECK-LABEL: func.func @below_a_repeat(
// CHECK-NEXT: %[[R:.*]] = "rlx.rope"(%arg0, %arg1, %arg2) {head_dim = 8 : i64, n_rot = 4 : i64}
// CHECK-NEXT: "rlx.narrow"(%[[R]])
// CHECK-NEXT: "rlx.concat"
func.func @below_a_repeat(%x: tensor<1x6x8xf32>, %cos: tensor<32x2xf32>, %sin: tensor<32x2xf32>)
    -> tensor<1x6x16xf32> {
  %r = "rlx.narrow"(%x) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %p = "rlx.narrow"(%x) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %t = "rlx.rope"(%r, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x6x4xf32>, tensor<32x2xf32>, tensor<32x2xf32>) -> tensor<1x6x4xf32>
  %y0 = "rlx.concat"(%t, %p) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %h = "rlx.narrow"(%y0) {axis = 2 : i64, start = 0 : i64, length = 8 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x8xf32>
  %y = "rlx.concat"(%h, %h) {axis = 2 : i64} : (tensor<1x6x8xf32>, tensor<1x6x8xf32>) -> tensor<1x6x16xf32>
  return %y : tensor<1x6x16xf32>
}
