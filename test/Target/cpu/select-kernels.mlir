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
