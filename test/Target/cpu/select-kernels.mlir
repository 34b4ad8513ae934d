// RUN: rlx-opt %s --split-input-file --rlx-cpu-select-kernels --rlx-remarks --verify-diagnostics
// RUN: rlx-opt %s --split-input-file --rlx-cpu-select-kernels | filecheck %s

// A matmul becomes one of two matrices, and is marked.
// CHECK-LABEL: @batched
//       CHECK: %[[X:.*]] = tensor.collapse_shape %arg0 {{\[\[}}0, 1], [2]] : tensor<?x7x64xf32> into tensor<?x64xf32>
//       CHECK: %[[Y:.*]] = "rlx.matmul"(%[[X]], %arg1) {rlx.kernel = "avx512", transpose_weight = true} : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32>
//       CHECK: tensor.expand_shape %[[Y]] {{\[\[}}0, 1], [2]]
func.func @batched(%x: tensor<?x7x64xf32>, %w: tensor<96x64xf32>) -> tensor<?x7x96xf32> {
  %y = "rlx.matmul"(%x, %w) {transpose_weight = true} : (tensor<?x7x64xf32>, tensor<96x64xf32>) -> tensor<?x7x96xf32>
  return %y : tensor<?x7x96xf32>
}

// -----

// CHECK-LABEL: @f64
//   CHECK-NOT: rlx.kernel
func.func @f64(%x: tensor<7x64xf64>, %w: tensor<64x96xf64>) -> tensor<7x96xf64> {
  // expected-remark @+1 {{'rlx.matmul' takes the plain path: there is no kernel for f64}}
  %y = "rlx.matmul"(%x, %w) : (tensor<7x64xf64>, tensor<64x96xf64>) -> tensor<7x96xf64>
  return %y : tensor<7x96xf64>
}

// -----

// CHECK-LABEL: @small
//   CHECK-NOT: rlx.kernel
func.func @small(%x: tensor<7x31xf32>, %w: tensor<31x96xf32>, %v: tensor<96x31xf32>) -> tensor<7x31xf32> {
  // expected-remark @+1 {{'rlx.matmul' takes the plain path: the inner dimension, 31, is below 32}}
  %y = "rlx.matmul"(%x, %w) : (tensor<7x31xf32>, tensor<31x96xf32>) -> tensor<7x96xf32>
  // expected-remark @+1 {{'rlx.matmul' takes the plain path: the number of columns, 31, is below 32}}
  %z = "rlx.matmul"(%y, %v) : (tensor<7x96xf32>, tensor<96x31xf32>) -> tensor<7x31xf32>
  return %z : tensor<7x31xf32>
}

// -----

// CHECK-LABEL: @unknown
//   CHECK-NOT: rlx.kernel
func.func @unknown(%x: tensor<7x64xf32>, %w: tensor<64x?xf32>) -> tensor<7x?xf32> {
  // expected-remark @+1 {{'rlx.matmul' takes the plain path: the number of columns is not known}}
  %y = "rlx.matmul"(%x, %w) : (tensor<7x64xf32>, tensor<64x?xf32>) -> tensor<7x?xf32>
  return %y : tensor<7x?xf32>
}

// -----

// A mask becomes one of f32, and what is checked is checked here.
// CHECK-LABEL: @attention
//       CHECK: cf.assert {{.*}} "rlx.attention: kv_lengths must be in [0, K]
//       CHECK: %[[M:.*]] = linalg.generic {{.*}} ins(%arg3 : tensor<9xi1>) outs({{.*}} : tensor<9xf32>)
//       CHECK: "rlx.attention"(%arg0, %arg1, %arg2, %[[M]], %arg4) {{.*}}rlx.kernel = "avx512"
func.func @attention(%q: tensor<2x3x64xf32>, %k: tensor<2x9x32xf32>, %v: tensor<2x9x32xf32>, %m: tensor<9xi1>, %n: tensor<2xi32>) -> tensor<2x3x64xf32> {
  %o = "rlx.attention"(%q, %k, %v, %m, %n) {num_heads = 2 : i64, num_kv_heads = 1 : i64, head_dim = 32 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>}
    : (tensor<2x3x64xf32>, tensor<2x9x32xf32>, tensor<2x9x32xf32>, tensor<9xi1>, tensor<2xi32>) -> tensor<2x3x64xf32>
  return %o : tensor<2x3x64xf32>
}

// -----

// CHECK-LABEL: @narrow_heads
//   CHECK-NOT: rlx.kernel
func.func @narrow_heads(%q: tensor<2x3x8xf32>, %v: tensor<2x3x1024xf32>, %w: tensor<2x3x32xf32>) -> (tensor<2x3x8xf32>, tensor<2x3x1024xf32>) {
  // expected-remark @+1 {{'rlx.attention' takes the plain path: head_dim, 8, is below 16}}
  %0 = "rlx.attention"(%q, %q, %q) {num_heads = 1 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}
    : (tensor<2x3x8xf32>, tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>
  // expected-remark @+1 {{'rlx.attention' takes the plain path: v_head_dim, 1024, is above 512}}
  %1 = "rlx.attention"(%w, %w, %v) {num_heads = 1 : i64, head_dim = 32 : i64, v_head_dim = 1024 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}
    : (tensor<2x3x32xf32>, tensor<2x3x32xf32>, tensor<2x3x1024xf32>) -> tensor<2x3x1024xf32>
  return %0, %1 : tensor<2x3x8xf32>, tensor<2x3x1024xf32>
}

// -----

// Attention turns what feeds nothing else; checks of sizes and positions are made here.
// CHECK-LABEL: @rope
//       CHECK: cf.assert {{.*}} "rlx.rope: cos and sin must have a row for every position"
//       CHECK: %[[Q:.*]] = "rlx.rope"(%arg0, %arg3, %arg3) {head_dim = 32 : i64, rlx.kernel = "avx512"}
//       CHECK: cf.assert {{.*}} "rlx.rope: positions must be in [0, P)
//       CHECK: %[[K:.*]] = "rlx.rope"(%arg1, %arg3, %arg3, %arg4) {head_dim = 32 : i64, rlx.kernel = "avx512"}
//       CHECK: "rlx.attention"(%[[Q]], %[[K]], %arg2) {{.*}}rlx.kernel = "avx512"
func.func @rope(%q: tensor<2x?x64xf32>, %k: tensor<2x9x32xf32>, %v: tensor<2x9x32xf32>, %t: tensor<50x16xf32>, %p: tensor<9xi32>) -> tensor<2x?x64xf32> {
  %0 = "rlx.rope"(%q, %t, %t) {head_dim = 32 : i64} : (tensor<2x?x64xf32>, tensor<50x16xf32>, tensor<50x16xf32>) -> tensor<2x?x64xf32>
  %1 = "rlx.rope"(%k, %t, %t, %p) {head_dim = 32 : i64} : (tensor<2x9x32xf32>, tensor<50x16xf32>, tensor<50x16xf32>, tensor<9xi32>) -> tensor<2x9x32xf32>
  %o = "rlx.attention"(%0, %1, %v) {num_heads = 2 : i64, num_kv_heads = 1 : i64, head_dim = 32 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}
    : (tensor<2x?x64xf32>, tensor<2x9x32xf32>, tensor<2x9x32xf32>) -> tensor<2x?x64xf32>
  return %o : tensor<2x?x64xf32>
}

// -----

// The keys go to a cache as well.
// CHECK-LABEL: @rope_with_two_uses
//       CHECK: %[[K:.*]] = "rlx.rope"(%arg1, %arg3, %arg3) {head_dim = 32 : i64} :
//       CHECK: "rlx.attention"(%arg0, %[[K]], %arg2) {{.*}}rlx.kernel = "avx512"
func.func @rope_with_two_uses(%q: tensor<2x3x64xf32>, %k: tensor<2x9x32xf32>, %v: tensor<2x9x32xf32>, %t: tensor<50x16xf32>) -> (tensor<2x3x64xf32>, tensor<2x9x32xf32>) {
  // expected-remark @+1 {{'rlx.rope' takes the plain path: it does not feed one attention op alone}}
  %0 = "rlx.rope"(%k, %t, %t) {head_dim = 32 : i64} : (tensor<2x9x32xf32>, tensor<50x16xf32>, tensor<50x16xf32>) -> tensor<2x9x32xf32>
  %o = "rlx.attention"(%q, %0, %v) {num_heads = 2 : i64, num_kv_heads = 1 : i64, head_dim = 32 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}
    : (tensor<2x3x64xf32>, tensor<2x9x32xf32>, tensor<2x9x32xf32>) -> tensor<2x3x64xf32>
  return %o, %0 : tensor<2x3x64xf32>, tensor<2x9x32xf32>
}

// -----

// CHECK-LABEL: @rope_elsewhere
//   CHECK-NOT: rlx.rope{{.*}}rlx.kernel
func.func @rope_elsewhere(%q: tensor<2x9x64xf32>, %c: i1, %t: tensor<50x16xf32>, %u: tensor<50x32xf32>, %w: tensor<2x9x8xf32>, %s: tensor<50x4xf32>) -> (tensor<2x9x64xf32>, tensor<2x9x64xf32>, tensor<2x9x8xf32>) {
  // expected-remark @+1 {{'rlx.rope' takes the plain path: attention is in another block}}
  %0 = "rlx.rope"(%q, %t, %t) {head_dim = 32 : i64} : (tensor<2x9x64xf32>, tensor<50x16xf32>, tensor<50x16xf32>) -> tensor<2x9x64xf32>
  %a = scf.if %c -> tensor<2x9x64xf32> {
    %o = "rlx.attention"(%0, %q, %q) {num_heads = 2 : i64, head_dim = 32 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}
      : (tensor<2x9x64xf32>, tensor<2x9x64xf32>, tensor<2x9x64xf32>) -> tensor<2x9x64xf32>
    scf.yield %o : tensor<2x9x64xf32>
  } else {
    scf.yield %q : tensor<2x9x64xf32>
  }
  // expected-remark @+1 {{'rlx.rope' takes the plain path: heads of 64 dims are not those of attention}}
  %1 = "rlx.rope"(%q, %u, %u) {head_dim = 64 : i64} : (tensor<2x9x64xf32>, tensor<50x32xf32>, tensor<50x32xf32>) -> tensor<2x9x64xf32>
  %b = "rlx.attention"(%q, %1, %q) {num_heads = 2 : i64, head_dim = 32 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}
    : (tensor<2x9x64xf32>, tensor<2x9x64xf32>, tensor<2x9x64xf32>) -> tensor<2x9x64xf32>
  // expected-remark @+1 {{'rlx.rope' takes the plain path: attention takes the plain path}}
  %2 = "rlx.rope"(%w, %s, %s) {head_dim = 8 : i64} : (tensor<2x9x8xf32>, tensor<50x4xf32>, tensor<50x4xf32>) -> tensor<2x9x8xf32>
  // expected-remark @+1 {{'rlx.attention' takes the plain path: head_dim, 8, is below 16}}
  %d = "rlx.attention"(%2, %w, %w) {num_heads = 1 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}
    : (tensor<2x9x8xf32>, tensor<2x9x8xf32>, tensor<2x9x8xf32>) -> tensor<2x9x8xf32>
  return %a, %b, %d : tensor<2x9x64xf32>, tensor<2x9x64xf32>, tensor<2x9x8xf32>
}

// -----

// CHECK-LABEL: @dequant
//       CHECK: "rlx.dequant_matmul"(%{{.*}}) {group = 32 : i64, rlx.kernel = "avx512", transpose_weight = true} : (tensor<?x64xbf16>, tensor<96x64xi8>, tensor<96x2xf32>) -> tensor<?x96xbf16>
//       CHECK: "rlx.dequant_matmul"(%{{.*}}) {group = 8 : i64, transpose_weight = true}
func.func @dequant(%x: tensor<?x7x64xbf16>, %w: tensor<96x64xi8>, %s: tensor<96x2xf32>, %t: tensor<96x8xf32>) -> (tensor<?x7x96xbf16>, tensor<?x7x96xbf16>) {
  %0 = "rlx.dequant_matmul"(%x, %w, %s) {transpose_weight = true, group = 32 : i64} : (tensor<?x7x64xbf16>, tensor<96x64xi8>, tensor<96x2xf32>) -> tensor<?x7x96xbf16>
  // expected-remark @+1 {{'rlx.dequant_matmul' takes the plain path: groups of 8 are not a multiple of 16}}
  %1 = "rlx.dequant_matmul"(%x, %w, %t) {transpose_weight = true, group = 8 : i64} : (tensor<?x7x64xbf16>, tensor<96x64xi8>, tensor<96x8xf32>) -> tensor<?x7x96xbf16>
  return %0, %1 : tensor<?x7x96xbf16>, tensor<?x7x96xbf16>
}
