// The IR stays as it is, and a remark says why.
// RUN: rlx-opt %s -split-input-file > %t.before
// RUN: rlx-opt %s -split-input-file --rlx-fuse-gqa > %t.after
// RUN: diff %t.before %t.after
// RUN: rlx-opt %s -split-input-file --rlx-fuse-gqa --rlx-remarks -verify-diagnostics

func.func @tiled(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>)
    -> tensor<1x6x16xf32> {
  %kr_h0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr_h1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%kr_h0, %kr_h1, %kr_h0, %kr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %vr_h0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr_h1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr = "rlx.concat"(%vr_h0, %vr_h1, %vr_h0, %vr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  // expected-remark @+1 {{key and value heads stay repeated: key heads come in the order 0, 1, 0, 1}}
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

func.func @values_tiled(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>)
    -> tensor<1x6x16xf32> {
  %kr_h0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr_h1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%kr_h0, %kr_h0, %kr_h1, %kr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %vr_h0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr_h1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr = "rlx.concat"(%vr_h0, %vr_h1, %vr_h0, %vr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  // expected-remark @+1 {{key and value heads stay repeated: value heads come in the order 0, 1, 0, 1}}
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

func.func @out_of_order(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>)
    -> tensor<1x6x16xf32> {
  %kr_h1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr_h0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%kr_h1, %kr_h1, %kr_h0, %kr_h0) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %vr_h1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr_h0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr = "rlx.concat"(%vr_h1, %vr_h1, %vr_h0, %vr_h0) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  // expected-remark @+1 {{key and value heads stay repeated: key heads come in the order 1, 1, 0, 0}}
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

func.func @uneven(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>)
    -> tensor<1x6x16xf32> {
  %kr_h0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr_h1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%kr_h0, %kr_h0, %kr_h0, %kr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %vr_h0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr_h1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr = "rlx.concat"(%vr_h0, %vr_h0, %vr_h0, %vr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  // expected-remark @+1 {{key and value heads stay repeated: key heads come in the order 0, 0, 0, 1}}
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

// Two of three heads.
func.func @partial(%q: tensor<1x6x16xf32>, %k: tensor<1x6x12xf32>, %v: tensor<1x6x12xf32>)
    -> tensor<1x6x16xf32> {
  %kr_h0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x12xf32>) -> tensor<1x6x4xf32>
  %kr_h1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x12xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%kr_h0, %kr_h0, %kr_h1, %kr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %vr_h0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x12xf32>) -> tensor<1x6x4xf32>
  %vr_h1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x12xf32>) -> tensor<1x6x4xf32>
  %vr = "rlx.concat"(%vr_h0, %vr_h0, %vr_h1, %vr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  // expected-remark @+1 {{key and value heads stay repeated: key heads are only 0, 1 of a tensor with 12 columns}}
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

// One of three heads.
func.func @one_head(%q: tensor<1x6x8xf32>, %k: tensor<1x6x12xf32>, %v: tensor<1x6x12xf32>)
    -> tensor<1x6x8xf32> {
  %kr_h0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x12xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%kr_h0, %kr_h0) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  %vr_h0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x12xf32>) -> tensor<1x6x4xf32>
  %vr = "rlx.concat"(%vr_h0, %vr_h0) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x8xf32>
  // expected-remark @+1 {{key and value heads stay repeated: key heads are only 0 of a tensor with 12 columns}}
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 2 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x8xf32>, tensor<1x6x8xf32>, tensor<1x6x8xf32>) -> tensor<1x6x8xf32>
  return %o : tensor<1x6x8xf32>
}

// -----

// Slices of 2 repeated, in heads of 4.
func.func @shorter_than_head(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>)
    -> tensor<1x6x16xf32> {
  %k0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 2 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x2xf32>
  %k1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 2 : i64, length = 2 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x2xf32>
  %k2 = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 2 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x2xf32>
  %k3 = "rlx.narrow"(%k) {axis = 2 : i64, start = 6 : i64, length = 2 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x2xf32>
  %kr = "rlx.concat"(%k0, %k0, %k1, %k1, %k2, %k2, %k3, %k3) {axis = 2 : i64} : (tensor<1x6x2xf32>, tensor<1x6x2xf32>, tensor<1x6x2xf32>, tensor<1x6x2xf32>, tensor<1x6x2xf32>, tensor<1x6x2xf32>, tensor<1x6x2xf32>, tensor<1x6x2xf32>) -> tensor<1x6x16xf32>
  %v0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 2 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x2xf32>
  %v1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 2 : i64, length = 2 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x2xf32>
  %v2 = "rlx.narrow"(%v) {axis = 2 : i64, start = 4 : i64, length = 2 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x2xf32>
  %v3 = "rlx.narrow"(%v) {axis = 2 : i64, start = 6 : i64, length = 2 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x2xf32>
  %vr = "rlx.concat"(%v0, %v0, %v1, %v1, %v2, %v2, %v3, %v3) {axis = 2 : i64} : (tensor<1x6x2xf32>, tensor<1x6x2xf32>, tensor<1x6x2xf32>, tensor<1x6x2xf32>, tensor<1x6x2xf32>, tensor<1x6x2xf32>, tensor<1x6x2xf32>, tensor<1x6x2xf32>) -> tensor<1x6x16xf32>
  // expected-remark @+1 {{key and value heads stay repeated: key head 0 is not 4 columns in a row of one tensor}}
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

// Slices that start in the middle of a head.
func.func @shifted(%q: tensor<1x6x16xf32>, %k: tensor<1x6x9xf32>, %v: tensor<1x6x9xf32>)
    -> tensor<1x6x16xf32> {
  %k0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 1 : i64, length = 4 : i64} : (tensor<1x6x9xf32>) -> tensor<1x6x4xf32>
  %k1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 5 : i64, length = 4 : i64} : (tensor<1x6x9xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%k0, %k0, %k1, %k1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %v0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 1 : i64, length = 4 : i64} : (tensor<1x6x9xf32>) -> tensor<1x6x4xf32>
  %v1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 5 : i64, length = 4 : i64} : (tensor<1x6x9xf32>) -> tensor<1x6x4xf32>
  %vr = "rlx.concat"(%v0, %v0, %v1, %v1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  // expected-remark @+1 {{key and value heads stay repeated: key head 0 starts at column 1, which is no multiple of its size 4}}
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

func.func @values_not_repeated(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x16xf32>)
    -> tensor<1x6x16xf32> {
  %kr_h0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr_h1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%kr_h0, %kr_h0, %kr_h1, %kr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  // expected-remark @+1 {{key and value heads stay repeated: value heads are not repeated but key heads are}}
  %o = "rlx.attention"(%q, %kr, %v) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

func.func @keys_not_repeated(%q: tensor<1x6x16xf32>, %k: tensor<1x6x16xf32>, %v: tensor<1x6x8xf32>)
    -> tensor<1x6x16xf32> {
  %vr_h0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr_h1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr = "rlx.concat"(%vr_h0, %vr_h0, %vr_h1, %vr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  // expected-remark @+1 {{key and value heads stay repeated: key heads are not repeated but value heads are}}
  %o = "rlx.attention"(%q, %k, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

func.func @different_groups(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x4xf32>)
    -> tensor<1x6x16xf32> {
  %kr_h0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr_h1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%kr_h0, %kr_h0, %kr_h1, %kr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %vr = "rlx.concat"(%v, %v, %v, %v) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  // expected-remark @+1 {{key and value heads stay repeated: key heads are repeated 2 times but value heads 4 times}}
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

// Heads that are tensors of their own.
func.func @different_sources(%q: tensor<1x6x16xf32>, %k0: tensor<1x6x4xf32>, %k1: tensor<1x6x4xf32>, %v: tensor<1x6x8xf32>)
    -> tensor<1x6x16xf32> {
  %kr = "rlx.concat"(%k0, %k0, %k1, %k1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %vr_h0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr_h1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr = "rlx.concat"(%vr_h0, %vr_h0, %vr_h1, %vr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  // expected-remark @+1 {{key and value heads stay repeated: key heads come from different tensors}}
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

// Broadcast in front of the heads repeats the whole: 0, 1, 0, 1.
func.func @broadcast_in_front(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>)
    -> tensor<1x6x16xf32> {
  %k4 = tensor.expand_shape %k [[0], [1], [2, 3]] output_shape [1, 6, 2, 4] : tensor<1x6x8xf32> into tensor<1x6x2x4xf32>
  %ke = tensor.empty() : tensor<1x6x2x2x4xf32>
  %kb = linalg.broadcast ins(%k4 : tensor<1x6x2x4xf32>) outs(%ke : tensor<1x6x2x2x4xf32>) dimensions = [2]
  %kr = tensor.collapse_shape %kb [[0], [1], [2, 3, 4]] : tensor<1x6x2x2x4xf32> into tensor<1x6x16xf32>
  %v4 = tensor.expand_shape %v [[0], [1], [2, 3]] output_shape [1, 6, 2, 4] : tensor<1x6x8xf32> into tensor<1x6x2x4xf32>
  %ve = tensor.empty() : tensor<1x6x2x2x4xf32>
  %vb = linalg.broadcast ins(%v4 : tensor<1x6x2x4xf32>) outs(%ve : tensor<1x6x2x2x4xf32>) dimensions = [2]
  %vr = tensor.collapse_shape %vb [[0], [1], [2, 3, 4]] : tensor<1x6x2x2x4xf32> into tensor<1x6x16xf32>
  // expected-remark @+1 {{key and value heads stay repeated: key heads come in the order 0, 1, 0, 1}}
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

// Broadcast inside the heads repeats single columns.
func.func @broadcast_inside(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>)
    -> tensor<1x6x16xf32> {
  %k4 = tensor.expand_shape %k [[0], [1], [2, 3]] output_shape [1, 6, 2, 4] : tensor<1x6x8xf32> into tensor<1x6x2x4xf32>
  %ke = tensor.empty() : tensor<1x6x2x4x2xf32>
  %kb = linalg.broadcast ins(%k4 : tensor<1x6x2x4xf32>) outs(%ke : tensor<1x6x2x4x2xf32>) dimensions = [4]
  %kr = tensor.collapse_shape %kb [[0], [1], [2, 3, 4]] : tensor<1x6x2x4x2xf32> into tensor<1x6x16xf32>
  %v4 = tensor.expand_shape %v [[0], [1], [2, 3]] output_shape [1, 6, 2, 4] : tensor<1x6x8xf32> into tensor<1x6x2x4xf32>
  %ve = tensor.empty() : tensor<1x6x2x4x2xf32>
  %vb = linalg.broadcast ins(%v4 : tensor<1x6x2x4xf32>) outs(%ve : tensor<1x6x2x4x2xf32>) dimensions = [4]
  %vr = tensor.collapse_shape %vb [[0], [1], [2, 3, 4]] : tensor<1x6x2x4x2xf32> into tensor<1x6x16xf32>
  // expected-remark @+1 {{key and value heads stay repeated: key head 0 is not 4 columns in a row of one tensor}}
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

// Rows and columns in one axis: nothing is known about heads.
func.func @rows_and_columns_mixed(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>)
    -> tensor<1x6x16xf32> {
  %k2 = tensor.collapse_shape %k [[0, 1], [2]] : tensor<1x6x8xf32> into tensor<6x8xf32>
  %kf = tensor.collapse_shape %k2 [[0, 1]] : tensor<6x8xf32> into tensor<48xf32>
  %ke = tensor.empty() : tensor<48x2xf32>
  %kb = linalg.broadcast ins(%kf : tensor<48xf32>) outs(%ke : tensor<48x2xf32>) dimensions = [1]
  %kg = tensor.collapse_shape %kb [[0, 1]] : tensor<48x2xf32> into tensor<96xf32>
  %kr = tensor.expand_shape %kg [[0, 1, 2]] output_shape [1, 6, 16] : tensor<96xf32> into tensor<1x6x16xf32>
  %v2 = tensor.collapse_shape %v [[0, 1], [2]] : tensor<1x6x8xf32> into tensor<6x8xf32>
  %vf = tensor.collapse_shape %v2 [[0, 1]] : tensor<6x8xf32> into tensor<48xf32>
  %ve = tensor.empty() : tensor<48x2xf32>
  %vb = linalg.broadcast ins(%vf : tensor<48xf32>) outs(%ve : tensor<48x2xf32>) dimensions = [1]
  %vg = tensor.collapse_shape %vb [[0, 1]] : tensor<48x2xf32> into tensor<96xf32>
  %vr = tensor.expand_shape %vg [[0, 1, 2]] output_shape [1, 6, 16] : tensor<96xf32> into tensor<1x6x16xf32>
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

// The last head is that of another tensor, which the others are inserted into.
func.func @not_all_inserted(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>, %base: tensor<1x6x16xf32>)
    -> tensor<1x6x16xf32> {
  %k0 = tensor.extract_slice %k[0, 0, 0] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %k1 = tensor.extract_slice %k[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %v0 = tensor.extract_slice %v[0, 0, 0] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %v1 = tensor.extract_slice %v[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %ki0 = tensor.insert_slice %k0 into %base[0, 0, 0] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %ki1 = tensor.insert_slice %k0 into %ki0[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %ki2 = tensor.insert_slice %k1 into %ki1[0, 0, 8] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %vi0 = tensor.insert_slice %v0 into %base[0, 0, 0] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %vi1 = tensor.insert_slice %v0 into %vi0[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %vi2 = tensor.insert_slice %v1 into %vi1[0, 0, 8] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  // expected-remark @+1 {{key and value heads stay repeated: key heads come from different tensors}}
  %o = "rlx.attention"(%q, %ki2, %vi2) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

// The last insertion wins.
func.func @inserted_twice(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>)
    -> tensor<1x6x16xf32> {
  %e = tensor.empty() : tensor<1x6x16xf32>
  %k0 = tensor.extract_slice %k[0, 0, 0] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %k1 = tensor.extract_slice %k[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %v0 = tensor.extract_slice %v[0, 0, 0] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %v1 = tensor.extract_slice %v[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %ki0 = tensor.insert_slice %k0 into %e[0, 0, 0] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %ki1 = tensor.insert_slice %k0 into %ki0[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %ki2 = tensor.insert_slice %k1 into %ki1[0, 0, 8] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %ki3 = tensor.insert_slice %k1 into %ki2[0, 0, 12] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %ki4 = tensor.insert_slice %k1 into %ki3[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %vi0 = tensor.insert_slice %v0 into %e[0, 0, 0] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %vi1 = tensor.insert_slice %v0 into %vi0[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %vi2 = tensor.insert_slice %v1 into %vi1[0, 0, 8] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %vi3 = tensor.insert_slice %v1 into %vi2[0, 0, 12] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %vi4 = tensor.insert_slice %v1 into %vi3[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  // expected-remark @+1 {{key and value heads stay repeated: key heads come in the order 0, 1, 1, 1}}
  %o = "rlx.attention"(%q, %ki4, %vi4) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

// Where the heads are in their tensor is not known.
func.func @unknown_offset(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>, %n: index)
    -> tensor<1x6x16xf32> {
  %k0 = tensor.extract_slice %k[0, 0, %n] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %k1 = tensor.extract_slice %k[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %kr = tensor.concat dim(2) %k0, %k0, %k1, %k1 : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %v0 = tensor.extract_slice %v[0, 0, %n] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %v1 = tensor.extract_slice %v[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %vr = tensor.concat dim(2) %v0, %v0, %v1, %v1 : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  // expected-remark @+1 {{key and value heads stay repeated: key heads come from different tensors}}
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}
