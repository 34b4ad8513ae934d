// RUN: rlx-opt %s --pass-pipeline='builtin.module(convert-rlx-to-linalg,canonicalize,cse)' | filecheck %s

// CHECK-LABEL: func.func @plain
// CHECK-SAME: %[[X:[^:]*]]: tensor<2x8xf32>, %[[W:[^:]*]]: tensor<8xf32>
// CHECK-NOT: cf.assert
// CHECK: %[[SUM:.*]] = linalg.generic {{.*}}["parallel", "reduction"]{{.*}} ins(%[[X]] : tensor<2x8xf32>)
// CHECK: arith.mulf %[[V:.*]], %[[V]] fastmath<reassoc,contract>
// CHECK: %[[FACTOR:.*]] = linalg.generic {{.*}} ins(%[[SUM]] : tensor<2xf32>)
// CHECK: arith.divf {{.*}}%cst
// CHECK: math.sqrt
// CHECK: linalg.generic {{.*}}["parallel", "parallel"]{{.*}} ins(%[[X]], %[[FACTOR]], %[[W]] :
// CHECK-NOT: arith.addf
// CHECK: return
func.func @plain(%x: tensor<2x8xf32>, %w: tensor<8xf32>) -> tensor<2x8xf32> {
  %0 = "rlx.rms_norm"(%x, %w) {epsilon = 1.0e-6} : (tensor<2x8xf32>, tensor<8xf32>) -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}

// The offset is added in f32, and the result is rounded once.
// CHECK-LABEL: func.func @offset
// CHECK: math.sqrt
// CHECK: ^bb0(%[[X:.*]]: bf16, %[[FACTOR:.*]]: f32, %[[W:.*]]: bf16, %{{.*}}: bf16):
// CHECK-DAG: %[[XW:.*]] = arith.extf %[[X]] : bf16 to f32
// CHECK-DAG: %[[SCALED:.*]] = arith.mulf %[[XW]], %[[FACTOR]] : f32
// CHECK-DAG: %[[WW:.*]] = arith.extf %[[W]] : bf16 to f32
// CHECK-DAG: %[[W1:.*]] = arith.addf %[[WW]], %{{.*}} : f32
// CHECK: %[[Y:.*]] = arith.mulf %[[SCALED]], %[[W1]] : f32
// CHECK-NEXT: arith.truncf %[[Y]] : f32 to bf16
func.func @offset(%x: tensor<?x8xbf16>, %w: tensor<8xbf16>) -> tensor<?x8xbf16> {
  %0 = "rlx.rms_norm"(%x, %w) {epsilon = 1.0e-6, weight_offset = 1.0} : (tensor<?x8xbf16>, tensor<8xbf16>) -> tensor<?x8xbf16>
  return %0 : tensor<?x8xbf16>
}

// CHECK-LABEL: func.func @groups
// CHECK-NOT: cf.assert
// CHECK: tensor.expand_shape %arg0 {{.*}}[%{{.*}}, 3, 4] : tensor<?x12xf32> into tensor<?x3x4xf32>
// CHECK: linalg.generic {{.*}}["parallel", "parallel", "reduction"]
// CHECK: linalg.generic {{.*}} ins(%{{.*}} : tensor<?x3x4xf32>, tensor<?x3xf32>, tensor<4xf32>)
// CHECK: tensor.collapse_shape %{{.*}} : tensor<?x3x4xf32> into tensor<?x12xf32>
func.func @groups(%x: tensor<?x12xf32>, %w: tensor<4xf32>) -> tensor<?x12xf32> {
  %0 = "rlx.rms_norm"(%x, %w) {epsilon = 1.0e-6, group = 4 : i64} : (tensor<?x12xf32>, tensor<4xf32>) -> tensor<?x12xf32>
  return %0 : tensor<?x12xf32>
}

// CHECK-LABEL: func.func @weight_for_all_groups
// CHECK: tensor.expand_shape %arg1 {{.*}} : tensor<12xf32> into tensor<3x4xf32>
func.func @weight_for_all_groups(%x: tensor<2x12xf32>, %w: tensor<12xf32>) -> tensor<2x12xf32> {
  %0 = "rlx.rms_norm"(%x, %w) {epsilon = 1.0e-6, group = 4 : i64} : (tensor<2x12xf32>, tensor<12xf32>) -> tensor<2x12xf32>
  return %0 : tensor<2x12xf32>
}

// CHECK-LABEL: func.func @groups_of_unknown_number
// CHECK: cf.assert %{{.*}}, "rlx.rms_norm: group must divide the last axis of input"
func.func @groups_of_unknown_number(%x: tensor<2x?xf32>) -> tensor<2x?xf32> {
  %0 = "rlx.rms_norm"(%x) {epsilon = 1.0e-6, group = 4 : i64} : (tensor<2x?xf32>) -> tensor<2x?xf32>
  return %0 : tensor<2x?xf32>
}
