// RUN: rlx-opt %s --split-input-file --rlx-cpu-pack-weights --rlx-remarks --verify-diagnostics
// RUN: rlx-opt %s --split-input-file --rlx-cpu-pack-weights | filecheck %s

// Parameters become panels of 16 columns, whichever way around they are; others stay.

// CHECK-LABEL: @both
//  CHECK-SAME:   %arg1: tensor<7x32x16xf32> {rlx.name = "w", rlx.param, rlx.tiling = {inner_dims_pos = array<i64: 0>, inner_tiles = array<i64: 16>, outer_dims_perm = array<i64: 0, 1>, shape = array<i64: 100, 32>}}
//  CHECK-SAME:   %arg2: tensor<2x100x16xf32> {rlx.param, rlx.tiling = {inner_dims_pos = array<i64: 1>, inner_tiles = array<i64: 16>, outer_dims_perm = array<i64: 1, 0>, shape = array<i64: 100, 32>}}
//  CHECK-SAME:   %arg3: tensor<32x48xf32>)
//       CHECK: %[[W:.*]] = linalg.unpack %arg1 outer_dims_perm = [0, 1] inner_dims_pos = [0] inner_tiles = [16]
//  CHECK-SAME:   tensor<7x32x16xf32> -> tensor<100x32xf32>
//       CHECK: "rlx.matmul"(%arg0, %[[W]])
//       CHECK: %[[V:.*]] = linalg.unpack %arg2 outer_dims_perm = [1, 0] inner_dims_pos = [1] inner_tiles = [16]
//  CHECK-SAME:   tensor<2x100x16xf32> -> tensor<100x32xf32>
//       CHECK: "rlx.matmul"(%{{.*}}, %[[V]])
//       CHECK: "rlx.matmul"(%{{.*}}, %arg3)
func.func @both(%x: tensor<?x32xf32>, %w: tensor<100x32xf32> {rlx.param, rlx.name = "w"}, %v: tensor<100x32xf32> {rlx.param}, %u: tensor<32x48xf32>) -> tensor<?x48xf32> {
  %0 = "rlx.matmul"(%x, %w) {rlx.kernel = "avx512", transpose_weight = true} : (tensor<?x32xf32>, tensor<100x32xf32>) -> tensor<?x100xf32>
  %1 = "rlx.matmul"(%0, %v) {rlx.kernel = "avx512"} : (tensor<?x100xf32>, tensor<100x32xf32>) -> tensor<?x32xf32>
  %2 = "rlx.matmul"(%1, %u) {rlx.kernel = "avx512"} : (tensor<?x32xf32>, tensor<32x48xf32>) -> tensor<?x48xf32>
  return %2 : tensor<?x48xf32>
}

// -----

// Packed parameters and layers that share a function.

// CHECK-LABEL: @layers
//  CHECK-SAME:   %arg1: tensor<4x64x16xbf16> {rlx.name = "a+b", rlx.param, rlx.parts = ["a", "b"], rlx.parts_axis = 0 : i64, rlx.tiling
//  CHECK-SAME:   %arg2: tensor<4x64x16xbf16> {rlx.name = "c", rlx.param, rlx.tiling
//       CHECK: call @layer(%arg0, %arg1) : (tensor<8x64xbf16>, tensor<4x64x16xbf16>)
//       CHECK: call @layer(%{{.*}}, %arg2)
// CHECK-LABEL: func.func private @layer
//  CHECK-SAME:   %arg1: tensor<4x64x16xbf16>)
//       CHECK: linalg.unpack %arg1
func.func @layers(%x: tensor<8x64xbf16>, %w: tensor<64x64xbf16> {rlx.param, rlx.name = "a+b", rlx.parts = ["a", "b"], rlx.parts_axis = 0 : i64}, %v: tensor<64x64xbf16> {rlx.param, rlx.name = "c"}) -> tensor<8x64xbf16> {
  %0 = call @layer(%x, %w) : (tensor<8x64xbf16>, tensor<64x64xbf16>) -> tensor<8x64xbf16>
  %1 = call @layer(%0, %v) : (tensor<8x64xbf16>, tensor<64x64xbf16>) -> tensor<8x64xbf16>
  return %1 : tensor<8x64xbf16>
}
func.func private @layer(%x: tensor<8x64xbf16>, %w: tensor<64x64xbf16>) -> tensor<8x64xbf16> {
  %0 = "rlx.matmul"(%x, %w) {rlx.kernel = "avx512", transpose_weight = true} : (tensor<8x64xbf16>, tensor<64x64xbf16>) -> tensor<8x64xbf16>
  return %0 : tensor<8x64xbf16>
}

// -----

// A table that is looked up in, too, stays as it is.

// CHECK-LABEL: @tied
//   CHECK-NOT: rlx.tiling
func.func @tied(%ids: tensor<8xi64>, %t: tensor<100x64xf32> {rlx.param, rlx.name = "t"}) -> tensor<8x100xf32> {
  %0 = "rlx.embedding"(%t, %ids) : (tensor<100x64xf32>, tensor<8xi64>) -> tensor<8x64xf32>
  // expected-remark @+1 {{weight is not laid out for the kernel: 'rlx.embedding' uses it, too}}
  %1 = "rlx.matmul"(%0, %t) {rlx.kernel = "avx512", transpose_weight = true} : (tensor<8x64xf32>, tensor<100x64xf32>) -> tensor<8x100xf32>
  return %1 : tensor<8x100xf32>
}

// -----

// CHECK-LABEL: @both_ways
//   CHECK-NOT: rlx.tiling
func.func @both_ways(%x: tensor<8x64xf32>, %w: tensor<64x64xf32> {rlx.param}) -> tensor<8x64xf32> {
  // expected-remark @+1 {{weight is not laid out for the kernel: it is used both as it is and transposed}}
  %0 = "rlx.matmul"(%x, %w) {rlx.kernel = "avx512"} : (tensor<8x64xf32>, tensor<64x64xf32>) -> tensor<8x64xf32>
  %1 = "rlx.matmul"(%0, %w) {rlx.kernel = "avx512", transpose_weight = true} : (tensor<8x64xf32>, tensor<64x64xf32>) -> tensor<8x64xf32>
  return %1 : tensor<8x64xf32>
}

// -----

// The input of a product is not its weight, and an op without a kernel reads a weight as it is.

// CHECK-LABEL: @other_uses
//   CHECK-NOT: rlx.tiling
func.func @other_uses(%w: tensor<64x64xf32> {rlx.param}, %v: tensor<64x64xf32> {rlx.param}) -> tensor<64x64xf32> {
  // expected-remark @+1 {{weight is not laid out for the kernel: 'rlx.matmul' uses it, too}}
  %0 = "rlx.matmul"(%w, %w) {rlx.kernel = "avx512"} : (tensor<64x64xf32>, tensor<64x64xf32>) -> tensor<64x64xf32>
  %1 = "rlx.matmul"(%0, %v) : (tensor<64x64xf32>, tensor<64x64xf32>) -> tensor<64x64xf32>
  return %1 : tensor<64x64xf32>
}

// -----

// A parameter for one caller only.

// CHECK-LABEL: @one_caller
//   CHECK-NOT: rlx.tiling
func.func @one_caller(%x: tensor<8x64xf32>, %w: tensor<64x64xf32> {rlx.param}) -> tensor<8x64xf32> {
  %c = arith.constant dense<1.0> : tensor<64x64xf32>
  %0 = call @product(%x, %w) : (tensor<8x64xf32>, tensor<64x64xf32>) -> tensor<8x64xf32>
  %1 = call @product(%0, %c) : (tensor<8x64xf32>, tensor<64x64xf32>) -> tensor<8x64xf32>
  return %1 : tensor<8x64xf32>
}
func.func private @product(%x: tensor<8x64xf32>, %w: tensor<64x64xf32>) -> tensor<8x64xf32> {
  // expected-remark @+1 {{weight is not laid out for the kernel: it is computed}}
  %0 = "rlx.matmul"(%x, %w) {rlx.kernel = "avx512"} : (tensor<8x64xf32>, tensor<64x64xf32>) -> tensor<8x64xf32>
  return %0 : tensor<8x64xf32>
}
