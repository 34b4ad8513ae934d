// RUN: rlx-opt %s --split-input-file --rlx-cuda-select-kernels=arch=sm_90a --rlx-remarks --verify-diagnostics
// RUN: rlx-opt %s --split-input-file --rlx-cuda-select-kernels=arch=sm_90a | filecheck %s
// RUN: rlx-opt %s --split-input-file --rlx-cuda-select-kernels=arch=sm_80 | filecheck %s --check-prefix=AMPERE

// A product becomes one of two matrices, and is marked.
// CHECK-LABEL: @product
//       CHECK: tensor.collapse_shape %arg0 {{\[\[}}0, 1], [2]] : tensor<?x70x64xbf16> into tensor<?x64xbf16>
//       CHECK: rlx.kernel = "wgmma"
// AMPERE-LABEL: @product
//       AMPERE: rlx.kernel = "mma"
func.func @product(%x: tensor<?x70x64xbf16>, %w: tensor<96x64xbf16>) -> tensor<?x70x96xbf16> {
  %y = "rlx.matmul"(%x, %w) {transpose_weight = true} : (tensor<?x70x64xbf16>, tensor<96x64xbf16>) -> tensor<?x70x96xbf16>
  return %y : tensor<?x70x96xbf16>
}

// -----

// CHECK-LABEL: @few
//       CHECK: rlx.kernel = "mma"
func.func @few(%x: tensor<1x64xf16>, %w: tensor<64x96xf16>) -> tensor<1x96xf16> {
  // expected-remark @+1 {{'rlx.matmul' takes the kernel 'mma': wgmma: there are few rows}}
  %y = "rlx.matmul"(%x, %w) : (tensor<1x64xf16>, tensor<64x96xf16>) -> tensor<1x96xf16>
  return %y : tensor<1x96xf16>
}

// -----

// Columns that are cut off at an odd place.
// CHECK-LABEL: @odd
//       CHECK: rlx.kernel = "mma"
func.func @odd(%x: tensor<?x100xf16>, %w: tensor<64x96xf16>) -> tensor<?x96xf16> {
  %c = "rlx.narrow"(%x) {axis = 1 : i64, start = 3 : i64, length = 64 : i64} : (tensor<?x100xf16>) -> tensor<?x64xf16>
  // expected-remark @+1 {{'rlx.matmul' takes the kernel 'mma': wgmma: rows may not be aligned to 16 bytes}}
  %y = "rlx.matmul"(%c, %w) : (tensor<?x64xf16>, tensor<64x96xf16>) -> tensor<?x96xf16>
  return %y : tensor<?x96xf16>
}

// -----

// CHECK-LABEL: @even
//       CHECK: rlx.kernel = "wgmma"
func.func @even(%x: tensor<?x104xf16>, %w: tensor<64x96xf16>) -> tensor<?x96xf16> {
  %c = "rlx.narrow"(%x) {axis = 1 : i64, start = 8 : i64, length = 64 : i64} : (tensor<?x104xf16>) -> tensor<?x64xf16>
  %y = "rlx.matmul"(%c, %w) : (tensor<?x64xf16>, tensor<64x96xf16>) -> tensor<?x96xf16>
  return %y : tensor<?x96xf16>
}

// -----

// What a loop hands on may be a part of something.
// CHECK-LABEL: @handed_on
//       CHECK: rlx.kernel = "mma"
func.func @handed_on(%x: tensor<100x72xf16>, %w: tensor<64x64xf16>, %n: index) -> tensor<100x64xf16> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %p = tensor.extract_slice %x[0, 4] [100, 64] [1, 1] : tensor<100x72xf16> to tensor<100x64xf16>
  %z = scf.for %i = %c0 to %n step %c1 iter_args(%a = %p) -> tensor<100x64xf16> {
    // expected-remark @+1 {{'rlx.matmul' takes the kernel 'mma': wgmma: rows may not be aligned to 16 bytes}}
    %y = "rlx.matmul"(%a, %w) : (tensor<100x64xf16>, tensor<64x64xf16>) -> tensor<100x64xf16>
    scf.yield %y : tensor<100x64xf16>
  }
  // expected-remark @+1 {{'rlx.matmul' takes the kernel 'mma': wgmma: rows may not be aligned to 16 bytes}}
  %y = "rlx.matmul"(%z, %w) : (tensor<100x64xf16>, tensor<64x64xf16>) -> tensor<100x64xf16>
  return %y : tensor<100x64xf16>
}

// -----

// CHECK-LABEL: @single
//       CHECK: rlx.kernel = "fma"
func.func @single(%x: tensor<?x64xf32>, %w: tensor<64x96xf32>) -> tensor<?x96xf32> {
  // expected-remark @+1 {{'rlx.matmul' takes the kernel 'fma': wgmma: tensor cores would round f32; mma: tensor cores would round f32}}
  %y = "rlx.matmul"(%x, %w) : (tensor<?x64xf32>, tensor<64x96xf32>) -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

// -----

// CHECK-LABEL: @double
//   CHECK-NOT: rlx.kernel
func.func @double(%x: tensor<?x64xf64>, %w: tensor<64x96xf64>) -> tensor<?x96xf64> {
  // expected-remark @+1 {{takes the plain path: wgmma: tensor cores would round f64; mma: tensor cores would round f64; fma: there is no kernel for f64}}
  %y = "rlx.matmul"(%x, %w) : (tensor<?x64xf64>, tensor<64x96xf64>) -> tensor<?x96xf64>
  return %y : tensor<?x96xf64>
}

// -----

// CHECK-LABEL: @attention
//       CHECK: rlx.kernel = "wgmma"
// AMPERE-LABEL: @attention
//       AMPERE: rlx.kernel = "mma"
func.func @attention(%q: tensor<?x?x256xbf16>, %k: tensor<?x?x128xbf16>, %v: tensor<?x?x128xbf16>) -> tensor<?x?x256xbf16> {
  %o = "rlx.attention"(%q, %k, %v) {num_heads = 2 : i64, num_kv_heads = 1 : i64, head_dim = 128 : i64, causal = true, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<?x?x256xbf16>, tensor<?x?x128xbf16>, tensor<?x?x128xbf16>) -> tensor<?x?x256xbf16>
  return %o : tensor<?x?x256xbf16>
}

// -----

// CHECK-LABEL: @decoding
//       CHECK: rlx.kernel = "mma"
func.func @decoding(%q: tensor<?x1x256xbf16>, %k: tensor<?x?x128xbf16>, %v: tensor<?x?x128xbf16>, %n: tensor<?xi32>) -> tensor<?x1x256xbf16> {
  // expected-remark @+1 {{takes the kernel 'mma': wgmma: there are few rows}}
  %o = "rlx.attention"(%q, %k, %v, %n) {num_heads = 2 : i64, num_kv_heads = 1 : i64, head_dim = 128 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 1>} : (tensor<?x1x256xbf16>, tensor<?x?x128xbf16>, tensor<?x?x128xbf16>, tensor<?xi32>) -> tensor<?x1x256xbf16>
  return %o : tensor<?x1x256xbf16>
}

// -----

// CHECK-LABEL: @heads
//       CHECK: rlx.kernel = "mma"
func.func @heads(%q: tensor<?x?x100xbf16>, %k: tensor<?x?x100xbf16>, %v: tensor<?x?x100xbf16>) -> tensor<?x?x100xbf16> {
  // expected-remark @+1 {{takes the kernel 'mma': wgmma: head_dim, 100, is above 256 or no multiple of 8}}
  %o = "rlx.attention"(%q, %k, %v) {num_heads = 1 : i64, head_dim = 100 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<?x?x100xbf16>, tensor<?x?x100xbf16>, tensor<?x?x100xbf16>) -> tensor<?x?x100xbf16>
  return %o : tensor<?x?x100xbf16>
}
