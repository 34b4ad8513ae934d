// RUN: rlx-opt %s --rlx-cpu-select-kernels --convert-rlx-to-linalg --rlx-cpu-emit-kernels | filecheck %s

// Rows are normalised one by one; norms that differ in nothing but their number of rows share a
// kernel. Groups of elements are normalised on their own, a factor for each element of a group.

// CHECK: func.func private @rlx_layer_norm.0(
// CHECK: func.func private @rlx_rms_norm.1(
// CHECK: func.func private @rlx_rms_norm.0(%{{.*}}: index, %[[LOW:[^:]*]]: index, %[[HIGH:[^:]*]]: index, %[[X:.*]]: memref<?x?x?xf32, strided<[?, ?, 1], offset: ?>>, %[[W:.*]]: memref<?xf32, strided<[1], offset: ?>>, %[[Y:.*]]: memref<?x?x?xf32, strided<[?, ?, 1], offset: ?>>)
// CHECK: scf.for %{{.*}} = %[[LOW]] to %[[HIGH]]
// CHECK: vector.load %[[X]]
// CHECK: vector.fma
// CHECK: vector.reduction <add>
// CHECK: math.sqrt
// CHECK: vector.load %[[X]]
// CHECK: vector.load %[[W]]
// CHECK: vector.store %{{.*}}, %[[Y]]

// CHECK-LABEL: func.func @main
//       CHECK: call @rlx_rms_norm.0(
//       CHECK: call @rlx_rms_norm.0(
//       CHECK: call @rlx_rms_norm.1(
//       CHECK: call @rlx_layer_norm.0(
func.func @main(%x: tensor<2x?x64xf32>, %y: tensor<5x64xf32>, %w: tensor<64xf32>, %v: tensor<16xf32>) -> (tensor<2x?x64xf32>, tensor<5x64xf32>, tensor<5x64xf32>, tensor<5x64xf32>) {
  %0 = "rlx.rms_norm"(%x, %w) {epsilon = 1.0e-5 : f64} : (tensor<2x?x64xf32>, tensor<64xf32>) -> tensor<2x?x64xf32>
  %1 = "rlx.rms_norm"(%y, %w) {epsilon = 1.0e-5 : f64} : (tensor<5x64xf32>, tensor<64xf32>) -> tensor<5x64xf32>
  %2 = "rlx.rms_norm"(%1, %v) {epsilon = 1.0e-5 : f64, group = 16 : i64} : (tensor<5x64xf32>, tensor<16xf32>) -> tensor<5x64xf32>
  %3 = "rlx.layer_norm"(%2, %w, %w) {epsilon = 1.0e-5 : f64} : (tensor<5x64xf32>, tensor<64xf32>, tensor<64xf32>) -> tensor<5x64xf32>
  return %0, %1, %2, %3 : tensor<2x?x64xf32>, tensor<5x64xf32>, tensor<5x64xf32>, tensor<5x64xf32>
}

// Too few elements in a row: the plain path.

// CHECK-LABEL: func.func @near_miss
//   CHECK-NOT: call
//       CHECK: linalg.generic
func.func @near_miss(%x: tensor<4x15xf32>, %w: tensor<15xf32>) -> tensor<4x15xf32> {
  %0 = "rlx.rms_norm"(%x, %w) {epsilon = 1.0e-5 : f64} : (tensor<4x15xf32>, tensor<15xf32>) -> tensor<4x15xf32>
  return %0 : tensor<4x15xf32>
}
