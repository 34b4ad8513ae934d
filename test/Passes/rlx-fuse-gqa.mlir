// RUN: rlx-opt %s -split-input-file --rlx-fuse-gqa | filecheck %s
// RUN: rlx-opt %s -split-input-file --rlx-fuse-gqa --rlx-fuse-gqa | filecheck %s
// RUN: rlx-opt %s -split-input-file --rlx-fuse-gqa --rlx-remarks -verify-diagnostics

// Heads are named by the column they start at. head_dim is 4 unless said otherwise.

// The form of the stages.
// CHECK-LABEL: func.func @narrow_concat
// CHECK-SAME: (%[[Q:.*]]: tensor<1x6x16xf32>, %[[K:.*]]: tensor<1x6x8xf32>, %[[V:.*]]: tensor<1x6x8xf32>)
// CHECK-NEXT: %[[O:.*]] = "rlx.attention"(%[[Q]], %[[K]], %[[V]]) {head_dim = 4 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, {{.*}}}
// CHECK-NEXT: return %[[O]]
func.func @narrow_concat(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>)
    -> tensor<1x6x16xf32> {
  %kr_h0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr_h1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%kr_h0, %kr_h0, %kr_h1, %kr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %vr_h0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr_h1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr = "rlx.concat"(%vr_h0, %vr_h0, %vr_h1, %vr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

// All other attributes stay.
// CHECK-LABEL: func.func @attributes
// CHECK: "rlx.attention"(%arg0, %arg1, %arg2) {causal = true, head_dim = 4 : i64, left_window = 2 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>, q_offset = 3 : i64, right_window = 1 : i64, scale = 5.000000e-01 : f64, softcap = 3.000000e+01 : f64}
func.func @attributes(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>)
    -> tensor<1x6x16xf32> {
  %kr_h0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr_h1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%kr_h0, %kr_h0, %kr_h1, %kr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %vr_h0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr_h1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr = "rlx.concat"(%vr_h0, %vr_h0, %vr_h1, %vr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, num_kv_heads = 4 : i64, causal = true, left_window = 2 : i64, right_window = 1 : i64, scale = 5.000000e-01 : f64, softcap = 3.000000e+01 : f64, q_offset = 3 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

// CHECK-LABEL: func.func @tensor_slices
// CHECK-SAME: (%[[Q:.*]]: tensor<1x6x16xf32>, %[[K:.*]]: tensor<1x6x8xf32>, %[[V:.*]]: tensor<1x6x8xf32>)
// CHECK-NEXT: %[[O:.*]] = "rlx.attention"(%[[Q]], %[[K]], %[[V]]) {head_dim = 4 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, {{.*}}}
// CHECK-NEXT: return %[[O]]
func.func @tensor_slices(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>)
    -> tensor<1x6x16xf32> {
  %k0 = tensor.extract_slice %k[0, 0, 0] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %k1 = tensor.extract_slice %k[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %kr = tensor.concat dim(2) %k0, %k0, %k1, %k1 : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %v0 = tensor.extract_slice %v[0, 0, 0] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %v1 = tensor.extract_slice %v[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %vr = tensor.concat dim(2) %v0, %v0, %v1, %v1 : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

// CHECK-LABEL: func.func @insert_slices
// CHECK-SAME: (%[[Q:.*]]: tensor<1x6x16xf32>, %[[K:.*]]: tensor<1x6x8xf32>, %[[V:.*]]: tensor<1x6x8xf32>)
// CHECK-NEXT: %[[O:.*]] = "rlx.attention"(%[[Q]], %[[K]], %[[V]]) {head_dim = 4 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, {{.*}}}
// CHECK-NEXT: return %[[O]]
func.func @insert_slices(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>)
    -> tensor<1x6x16xf32> {
  %ke = tensor.empty() : tensor<1x6x16xf32>
  %ks0 = tensor.extract_slice %k[0, 0, 0] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %ki0 = tensor.insert_slice %ks0 into %ke[0, 0, 0] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %ks1 = tensor.extract_slice %k[0, 0, 0] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %ki1 = tensor.insert_slice %ks1 into %ki0[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %ks2 = tensor.extract_slice %k[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %ki2 = tensor.insert_slice %ks2 into %ki1[0, 0, 8] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %ks3 = tensor.extract_slice %k[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %ki3 = tensor.insert_slice %ks3 into %ki2[0, 0, 12] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %ve = tensor.empty() : tensor<1x6x16xf32>
  %vs0 = tensor.extract_slice %v[0, 0, 0] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %vi0 = tensor.insert_slice %vs0 into %ve[0, 0, 0] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %vs1 = tensor.extract_slice %v[0, 0, 0] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %vi1 = tensor.insert_slice %vs1 into %vi0[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %vs2 = tensor.extract_slice %v[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %vi2 = tensor.insert_slice %vs2 into %vi1[0, 0, 8] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %vs3 = tensor.extract_slice %v[0, 0, 4] [1, 6, 4] [1, 1, 1] : tensor<1x6x8xf32> to tensor<1x6x4xf32>
  %vi3 = tensor.insert_slice %vs3 into %vi2[0, 0, 12] [1, 6, 4] [1, 1, 1] : tensor<1x6x4xf32> into tensor<1x6x16xf32>
  %o = "rlx.attention"(%q, %ki3, %vi3) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

// One key/value head: narrow is absent, or takes everything.
// CHECK-LABEL: func.func @single_head
// CHECK-NEXT: %[[O:.*]] = "rlx.attention"(%arg0, %arg1, %arg2) {head_dim = 4 : i64, num_heads = 4 : i64, num_kv_heads = 1 : i64, {{.*}}}
// CHECK-NEXT: return %[[O]]
func.func @single_head(%q: tensor<1x6x16xf32>, %k: tensor<1x6x4xf32>, %v: tensor<1x6x4xf32>)
    -> tensor<1x6x16xf32> {
  %kr = "rlx.concat"(%k, %k, %k, %k) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %v0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x4xf32>) -> tensor<1x6x4xf32>
  %vr = "rlx.concat"(%v0, %v0, %v0, %v0) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

// CHECK-LABEL: func.func @dynamic
// CHECK-NEXT: "rlx.attention"(%arg0, %arg1, %arg2) {{{.*}}num_kv_heads = 2{{.*}}} : (tensor<?x?x16xf32>, tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x16xf32>
func.func @dynamic(%q: tensor<?x?x16xf32>, %k: tensor<?x?x8xf32>, %v: tensor<?x?x8xf32>)
    -> tensor<?x?x16xf32> {
  %kr_h0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<?x?x8xf32>) -> tensor<?x?x4xf32>
  %kr_h1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<?x?x8xf32>) -> tensor<?x?x4xf32>
  %kr = "rlx.concat"(%kr_h0, %kr_h0, %kr_h1, %kr_h1) {axis = 2 : i64} : (tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x16xf32>
  %vr_h0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<?x?x8xf32>) -> tensor<?x?x4xf32>
  %vr_h1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<?x?x8xf32>) -> tensor<?x?x4xf32>
  %vr = "rlx.concat"(%vr_h0, %vr_h0, %vr_h1, %vr_h1) {axis = 2 : i64} : (tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?x4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x16xf32>
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<?x?x16xf32>, tensor<?x?x16xf32>, tensor<?x?x16xf32>) -> tensor<?x?x16xf32>
  return %o : tensor<?x?x16xf32>
}

// -----

// CHECK-LABEL: func.func @v_head_dim
// CHECK-NEXT: "rlx.attention"(%arg0, %arg1, %arg2) {head_dim = 4 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, {{.*}}v_head_dim = 3 : i64} : (tensor<1x6x16xf32>, tensor<1x6x8xf32>, tensor<1x6x6xf32>) -> tensor<1x6x12xf32>
func.func @v_head_dim(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x6xf32>)
    -> tensor<1x6x12xf32> {
  %kr_h0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr_h1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%kr_h0, %kr_h0, %kr_h1, %kr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %vr_h0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 3 : i64} : (tensor<1x6x6xf32>) -> tensor<1x6x3xf32>
  %vr_h1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 3 : i64, length = 3 : i64} : (tensor<1x6x6xf32>) -> tensor<1x6x3xf32>
  %vr = "rlx.concat"(%vr_h0, %vr_h0, %vr_h1, %vr_h1) {axis = 2 : i64} : (tensor<1x6x3xf32>, tensor<1x6x3xf32>, tensor<1x6x3xf32>, tensor<1x6x3xf32>) -> tensor<1x6x12xf32>
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, v_head_dim = 3 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x12xf32>) -> tensor<1x6x12xf32>
  return %o : tensor<1x6x12xf32>
}

// -----

// Attention with 4 key/value heads, repeated from 2.
// CHECK-LABEL: func.func @grouped_already
// CHECK-NEXT: "rlx.attention"(%arg0, %arg1, %arg2) {head_dim = 4 : i64, num_heads = 8 : i64, num_kv_heads = 2 : i64, {{.*}}}
func.func @grouped_already(%q: tensor<1x6x32xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>)
    -> tensor<1x6x32xf32> {
  %kr_h0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr_h1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%kr_h0, %kr_h0, %kr_h1, %kr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %vr_h0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr_h1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr = "rlx.concat"(%vr_h0, %vr_h0, %vr_h1, %vr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 8 : i64, head_dim = 4 : i64, num_kv_heads = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x32xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x32xf32>
  return %o : tensor<1x6x32xf32>
}

// -----

// Keys in two steps, values in one.
// CHECK-LABEL: func.func @repeated_twice
// CHECK-NEXT: "rlx.attention"(%arg0, %arg1, %arg2) {head_dim = 4 : i64, num_heads = 8 : i64, num_kv_heads = 2 : i64, {{.*}}}
func.func @repeated_twice(%q: tensor<1x6x32xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>)
    -> tensor<1x6x32xf32> {
  %kr_h0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr_h1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%kr_h0, %kr_h0, %kr_h1, %kr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %ks_h0 = "rlx.narrow"(%kr) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x4xf32>
  %ks_h1 = "rlx.narrow"(%kr) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x4xf32>
  %ks_h2 = "rlx.narrow"(%kr) {axis = 2 : i64, start = 8 : i64, length = 4 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x4xf32>
  %ks_h3 = "rlx.narrow"(%kr) {axis = 2 : i64, start = 12 : i64, length = 4 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x4xf32>
  %ks = "rlx.concat"(%ks_h0, %ks_h0, %ks_h1, %ks_h1, %ks_h2, %ks_h2, %ks_h3, %ks_h3) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x32xf32>
  %vr_h0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr_h1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr = "rlx.concat"(%vr_h0, %vr_h0, %vr_h0, %vr_h0, %vr_h1, %vr_h1, %vr_h1, %vr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x32xf32>
  %o = "rlx.attention"(%q, %ks, %vr) {num_heads = 8 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x32xf32>, tensor<1x6x32xf32>, tensor<1x6x32xf32>) -> tensor<1x6x32xf32>
  return %o : tensor<1x6x32xf32>
}

// -----

// The un-repeated tensors may be slices themselves.
// CHECK-LABEL: func.func @slices_of_one
// CHECK-NEXT: %[[K:.*]] = "rlx.narrow"(%arg1) {{{.*}}start = 0 : i64}
// CHECK-NEXT: %[[V:.*]] = "rlx.narrow"(%arg1) {{{.*}}start = 8 : i64}
// CHECK-NEXT: "rlx.attention"(%arg0, %[[K]], %[[V]]) {{{.*}}num_kv_heads = 2
func.func @slices_of_one(%q: tensor<1x6x16xf32>, %kv: tensor<1x6x16xf32>)
    -> tensor<1x6x16xf32> {
  %kh = "rlx.narrow"(%kv) {axis = 2 : i64, start = 0 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %vh = "rlx.narrow"(%kv) {axis = 2 : i64, start = 8 : i64, length = 8 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x8xf32>
  %kr_h0 = "rlx.narrow"(%kh) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr_h1 = "rlx.narrow"(%kh) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%kr_h0, %kr_h0, %kr_h1, %kr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %vr_h0 = "rlx.narrow"(%vh) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr_h1 = "rlx.narrow"(%vh) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr = "rlx.concat"(%vr_h0, %vr_h0, %vr_h1, %vr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

// expand_shape, broadcast, collapse_shape, as repeat_interleave becomes.
// CHECK-LABEL: func.func @broadcast
// CHECK-NOT: broadcast
// CHECK: "rlx.attention"(%arg0, %arg1, %arg2) {{{.*}}num_kv_heads = 2
func.func @broadcast(%q: tensor<1x?x16xf32>, %k: tensor<1x?x8xf32>, %v: tensor<1x?x8xf32>)
    -> tensor<1x?x16xf32> {
  %c1 = arith.constant 1 : index
  %kn = tensor.dim %k, %c1 : tensor<1x?x8xf32>
  %k4 = tensor.expand_shape %k [[0], [1], [2, 3]] output_shape [1, %kn, 2, 4] : tensor<1x?x8xf32> into tensor<1x?x2x4xf32>
  %ke = tensor.empty(%kn) : tensor<1x?x2x2x4xf32>
  %kb = linalg.broadcast ins(%k4 : tensor<1x?x2x4xf32>) outs(%ke : tensor<1x?x2x2x4xf32>) dimensions = [3]
  %kr = tensor.collapse_shape %kb [[0], [1], [2, 3, 4]] : tensor<1x?x2x2x4xf32> into tensor<1x?x16xf32>
  %vn = tensor.dim %v, %c1 : tensor<1x?x8xf32>
  %v4 = tensor.expand_shape %v [[0], [1], [2, 3]] output_shape [1, %vn, 2, 4] : tensor<1x?x8xf32> into tensor<1x?x2x4xf32>
  %ve = tensor.empty(%vn) : tensor<1x?x2x2x4xf32>
  %vb = linalg.broadcast ins(%v4 : tensor<1x?x2x4xf32>) outs(%ve : tensor<1x?x2x2x4xf32>) dimensions = [3]
  %vr = tensor.collapse_shape %vb [[0], [1], [2, 3, 4]] : tensor<1x?x2x2x4xf32> into tensor<1x?x16xf32>
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  return %o : tensor<1x?x16xf32>
}

// -----

// Hugging Face's repeat_kv on [B, H, S, D], as torch-mlir lowers it.
// CHECK-LABEL: func.func @repeat_kv
// CHECK-NEXT: %[[O:.*]] = "rlx.attention"(%arg0, %arg1, %arg2) {{{.*}}num_kv_heads = 2
// CHECK-NEXT: return %[[O]]
func.func @repeat_kv(%q: tensor<2x6x16xf32>, %k: tensor<2x6x8xf32>, %v: tensor<2x6x8xf32>)
    -> tensor<2x6x16xf32> {
  %k4 = tensor.expand_shape %k [[0], [1], [2, 3]] output_shape [2, 6, 2, 4] : tensor<2x6x8xf32> into tensor<2x6x2x4xf32>
  %ke0 = tensor.empty() : tensor<2x2x6x4xf32>
  %kt = linalg.transpose ins(%k4 : tensor<2x6x2x4xf32>) outs(%ke0 : tensor<2x2x6x4xf32>) permutation = [0, 2, 1, 3]
  %ke = tensor.empty() : tensor<2x2x2x6x4xf32>
  %kr5 = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d3, d4)>, affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3, d4)>], iterator_types = ["parallel", "parallel", "parallel", "parallel", "parallel"]} ins(%kt : tensor<2x2x6x4xf32>) outs(%ke : tensor<2x2x2x6x4xf32>) {
  ^bb0(%in: f32, %out: f32):
    linalg.yield %in : f32
  } -> tensor<2x2x2x6x4xf32>
  %kc = tensor.collapse_shape %kr5 [[0], [1, 2], [3], [4]] : tensor<2x2x2x6x4xf32> into tensor<2x4x6x4xf32>
  %ke1 = tensor.empty() : tensor<2x6x4x4xf32>
  %ku = linalg.transpose ins(%kc : tensor<2x4x6x4xf32>) outs(%ke1 : tensor<2x6x4x4xf32>) permutation = [0, 2, 1, 3]
  %kr = tensor.collapse_shape %ku [[0], [1], [2, 3]] : tensor<2x6x4x4xf32> into tensor<2x6x16xf32>
  %v4 = tensor.expand_shape %v [[0], [1], [2, 3]] output_shape [2, 6, 2, 4] : tensor<2x6x8xf32> into tensor<2x6x2x4xf32>
  %ve0 = tensor.empty() : tensor<2x2x6x4xf32>
  %vt = linalg.transpose ins(%v4 : tensor<2x6x2x4xf32>) outs(%ve0 : tensor<2x2x6x4xf32>) permutation = [0, 2, 1, 3]
  %ve = tensor.empty() : tensor<2x2x2x6x4xf32>
  %vr5 = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d3, d4)>, affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3, d4)>], iterator_types = ["parallel", "parallel", "parallel", "parallel", "parallel"]} ins(%vt : tensor<2x2x6x4xf32>) outs(%ve : tensor<2x2x2x6x4xf32>) {
  ^bb0(%in: f32, %out: f32):
    linalg.yield %in : f32
  } -> tensor<2x2x2x6x4xf32>
  %vc = tensor.collapse_shape %vr5 [[0], [1, 2], [3], [4]] : tensor<2x2x2x6x4xf32> into tensor<2x4x6x4xf32>
  %ve1 = tensor.empty() : tensor<2x6x4x4xf32>
  %vu = linalg.transpose ins(%vc : tensor<2x4x6x4xf32>) outs(%ve1 : tensor<2x6x4x4xf32>) permutation = [0, 2, 1, 3]
  %vr = tensor.collapse_shape %vu [[0], [1], [2, 3]] : tensor<2x6x4x4xf32> into tensor<2x6x16xf32>
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x6x16xf32>, tensor<2x6x16xf32>, tensor<2x6x16xf32>) -> tensor<2x6x16xf32>
  return %o : tensor<2x6x16xf32>
}

// -----

// As torch-mlir lowers a broadcast of dynamic shape: elements are read at computed places.
// CHECK-LABEL: func.func @gathered
// CHECK-NOT: tensor.extract
// CHECK: "rlx.attention"(%arg0, %[[K:.*]], %{{.*}}) {{{.*}}num_kv_heads = 2{{.*}}} : (tensor<2x?x16xf32>, tensor<2x?x8xf32>, tensor<2x?x8xf32>)
func.func @gathered(%q: tensor<2x?x16xf32>, %k: tensor<2x2x?x4xf32>)
    -> tensor<2x?x16xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %n = tensor.dim %k, %c2 : tensor<2x2x?x4xf32>
  %e = tensor.empty(%n) : tensor<2x2x2x?x4xf32>
  %r = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3, d4)>], iterator_types = ["parallel", "parallel", "parallel", "parallel", "parallel"]} outs(%e : tensor<2x2x2x?x4xf32>) {
  ^bb0(%out: f32):
    %0 = linalg.index 0 : index
    %1 = linalg.index 1 : index
    %2 = linalg.index 3 : index
    %3 = linalg.index 4 : index
    %4 = arith.cmpi eq, %n, %c1 : index
    %5 = arith.select %4, %c0, %2 : index
    %6 = tensor.extract %k[%0, %1, %5, %3] : tensor<2x2x?x4xf32>
    linalg.yield %6 : f32
  } -> tensor<2x2x2x?x4xf32>
  %c = tensor.collapse_shape %r [[0], [1, 2], [3], [4]] : tensor<2x2x2x?x4xf32> into tensor<2x4x?x4xf32>
  %et = tensor.empty(%n) : tensor<2x?x4x4xf32>
  %t = linalg.transpose ins(%c : tensor<2x4x?x4xf32>) outs(%et : tensor<2x?x4x4xf32>) permutation = [0, 2, 1, 3]
  %kr = tensor.collapse_shape %t [[0], [1], [2, 3]] : tensor<2x?x4x4xf32> into tensor<2x?x16xf32>
  %o = "rlx.attention"(%q, %kr, %kr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x?x16xf32>, tensor<2x?x16xf32>, tensor<2x?x16xf32>) -> tensor<2x?x16xf32>
  return %o : tensor<2x?x16xf32>
}

// -----

// Un-repeated tensors in [B, H, S, D] are brought into the layout of attention.
// CHECK-LABEL: func.func @heads_first
// CHECK-NOT: linalg.generic
// CHECK-COUNT-2: linalg.transpose ins({{.*}}) permutation = [0, 2, 1, 3]
// CHECK-NOT: linalg.generic
// CHECK: "rlx.attention"({{.*}}) {{{.*}}num_kv_heads = 2{{.*}}} : (tensor<2x6x16xf32>, tensor<2x6x8xf32>, tensor<2x6x8xf32>)
func.func @heads_first(%q: tensor<2x6x16xf32>, %k: tensor<2x2x6x4xf32>, %v: tensor<2x2x6x4xf32>)
    -> tensor<2x6x16xf32> {
  %s = arith.constant dense<[2, 6, 16]> : tensor<3xi64>
  %ke = tensor.empty() : tensor<2x6x2x2x4xf32>
  %kr5 = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3, d4) -> (d0, d2, d1, d4)>, affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3, d4)>], iterator_types = ["parallel", "parallel", "parallel", "parallel", "parallel"]} ins(%k : tensor<2x2x6x4xf32>) outs(%ke : tensor<2x6x2x2x4xf32>) {
  ^bb0(%in: f32, %out: f32):
    linalg.yield %in : f32
  } -> tensor<2x6x2x2x4xf32>
  %kr = tensor.reshape %kr5(%s) : (tensor<2x6x2x2x4xf32>, tensor<3xi64>) -> tensor<2x6x16xf32>
  %ve = tensor.empty() : tensor<2x6x2x2x4xf32>
  %vr5 = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3, d4) -> (d0, d2, d1, d4)>, affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3, d4)>], iterator_types = ["parallel", "parallel", "parallel", "parallel", "parallel"]} ins(%v : tensor<2x2x6x4xf32>) outs(%ve : tensor<2x6x2x2x4xf32>) {
  ^bb0(%in: f32, %out: f32):
    linalg.yield %in : f32
  } -> tensor<2x6x2x2x4xf32>
  %vr = tensor.reshape %vr5(%s) : (tensor<2x6x2x2x4xf32>, tensor<3xi64>) -> tensor<2x6x16xf32>
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x6x16xf32>, tensor<2x6x16xf32>, tensor<2x6x16xf32>) -> tensor<2x6x16xf32>
  return %o : tensor<2x6x16xf32>
}

// -----

// Whatever else uses the repeated keys keeps them; the values are gone.
// CHECK-LABEL: func.func @other_users
// CHECK-COUNT-2: "rlx.narrow"(%arg1)
// CHECK-NEXT: %[[KR:.*]] = "rlx.concat"
// CHECK-NEXT: %[[O:.*]] = "rlx.attention"(%arg0, %arg1, %arg2) {{{.*}}num_kv_heads = 2
// CHECK-NEXT: return %[[O]], %[[KR]]
func.func @other_users(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>)
    -> (tensor<1x6x16xf32>, tensor<1x6x16xf32>) {
  %kr_h0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr_h1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%kr_h0, %kr_h0, %kr_h1, %kr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %vr_h0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr_h1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr = "rlx.concat"(%vr_h0, %vr_h0, %vr_h1, %vr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o, %kr : tensor<1x6x16xf32>, tensor<1x6x16xf32>
}

// -----

// CHECK-LABEL: func.func @two_attentions
// CHECK-NEXT: "rlx.attention"(%arg0, %arg1, %arg2) {head_dim
// CHECK-NEXT: "rlx.attention"(%arg0, %arg1, %arg2) {causal
// CHECK-NEXT: return
func.func @two_attentions(%q: tensor<1x6x16xf32>, %k: tensor<1x6x8xf32>, %v: tensor<1x6x8xf32>)
    -> (tensor<1x6x16xf32>, tensor<1x6x16xf32>) {
  %kr_h0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr_h1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%kr_h0, %kr_h0, %kr_h1, %kr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %vr_h0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr_h1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x8xf32>) -> tensor<1x6x4xf32>
  %vr = "rlx.concat"(%vr_h0, %vr_h0, %vr_h1, %vr_h1) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %o1 = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, causal = true, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o, %o1 : tensor<1x6x16xf32>, tensor<1x6x16xf32>
}

// -----

// No repetition: nothing to do, nothing to say.
// CHECK-LABEL: func.func @nothing_repeated
// CHECK-NEXT: "rlx.attention"(%arg0, %arg1, %arg2) {head_dim = 4 : i64, num_heads = 4 : i64, operandSegmentSizes
func.func @nothing_repeated(%q: tensor<1x6x16xf32>, %k: tensor<1x6x16xf32>, %v: tensor<1x6x16xf32>)
    -> tensor<1x6x16xf32> {
  %o = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}

// -----

// Each head once: not a repetition.
// CHECK-LABEL: func.func @split_and_joined
// CHECK: "rlx.concat"
// CHECK: "rlx.attention"({{.*}}) {head_dim = 4 : i64, num_heads = 4 : i64, operandSegmentSizes
func.func @split_and_joined(%q: tensor<1x6x16xf32>, %k: tensor<1x6x16xf32>, %v: tensor<1x6x32xf32>)
    -> tensor<1x6x16xf32> {
  %kr_h0 = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x4xf32>
  %kr_h1 = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x4xf32>
  %kr_h2 = "rlx.narrow"(%k) {axis = 2 : i64, start = 8 : i64, length = 4 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x4xf32>
  %kr_h3 = "rlx.narrow"(%k) {axis = 2 : i64, start = 12 : i64, length = 4 : i64} : (tensor<1x6x16xf32>) -> tensor<1x6x4xf32>
  %kr = "rlx.concat"(%kr_h0, %kr_h1, %kr_h2, %kr_h3) {axis = 2 : i64} : (tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>, tensor<1x6x4xf32>) -> tensor<1x6x16xf32>
  %vr = "rlx.narrow"(%v) {axis = 2 : i64, start = 16 : i64, length = 16 : i64} : (tensor<1x6x32xf32>) -> tensor<1x6x16xf32>
  %o = "rlx.attention"(%q, %kr, %vr) {num_heads = 4 : i64, head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x6x16xf32>, tensor<1x6x16xf32>, tensor<1x6x16xf32>) -> tensor<1x6x16xf32>
  return %o : tensor<1x6x16xf32>
}
