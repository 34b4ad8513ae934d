// RUN: rlx-opt %s --pass-pipeline='builtin.module(convert-rlx-to-linalg,canonicalize,cse)' | filecheck %s

// Two passes over the data: the variance is that of the differences.
// CHECK-LABEL: func.func @two_passes
// CHECK-SAME: %[[X:[^:]*]]: tensor<2x8xf32>, %[[W:[^:]*]]: tensor<8xf32>, %[[B:[^:]*]]: tensor<8xf32>
// CHECK: %[[SUM:.*]] = linalg.generic {{.*}}["parallel", "reduction"]{{.*}} ins(%[[X]] :
// CHECK: %[[MEAN:.*]] = linalg.generic {{.*}} ins(%[[SUM]] :
// CHECK: %[[SQUARES:.*]] = linalg.generic {{.*}}["parallel", "reduction"]{{.*}} ins(%[[X]], %[[MEAN]] :
// CHECK: %[[D:.*]] = arith.subf
// CHECK-NEXT: arith.mulf %[[D]], %[[D]]
// CHECK: %[[FACTOR:.*]] = linalg.generic {{.*}} ins(%[[SQUARES]] :
// CHECK: math.sqrt
// CHECK: linalg.generic {{.*}} ins(%[[X]], %[[MEAN]], %[[FACTOR]], %[[W]], %[[B]] :
func.func @two_passes(%x: tensor<2x8xf32>, %w: tensor<8xf32>, %b: tensor<8xf32>) -> tensor<2x8xf32> {
  %0 = "rlx.layer_norm"(%x, %w, %b) {epsilon = 1.0e-6} : (tensor<2x8xf32>, tensor<8xf32>, tensor<8xf32>) -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}

// CHECK-LABEL: func.func @mixed_types
// CHECK: math.sqrt
// CHECK: ^bb0(%{{.*}}: f16, %{{.*}}: f32, %{{.*}}: f32, %{{.*}}: f32, %{{.*}}: f16, %{{.*}}: f16):
// CHECK: arith.truncf %{{.*}} : f32 to f16
func.func @mixed_types(%x: tensor<?x8xf16>, %w: tensor<8xf32>, %b: tensor<8xf16>) -> tensor<?x8xf16> {
  %0 = "rlx.layer_norm"(%x, %w, %b) {epsilon = 1.0e-6} : (tensor<?x8xf16>, tensor<8xf32>, tensor<8xf16>) -> tensor<?x8xf16>
  return %0 : tensor<?x8xf16>
}

// CHECK-LABEL: func.func @unknown_size
// CHECK: cf.assert %{{.*}}, "rlx.layer_norm: bias must have the size of the last axis of input"
func.func @unknown_size(%x: tensor<2x8xf32>, %w: tensor<8xf32>, %b: tensor<?xf32>) -> tensor<2x8xf32> {
  %0 = "rlx.layer_norm"(%x, %w, %b) {epsilon = 1.0e-6} : (tensor<2x8xf32>, tensor<8xf32>, tensor<?xf32>) -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}
