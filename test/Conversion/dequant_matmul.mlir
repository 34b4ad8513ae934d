// RUN: rlx-opt %s --pass-pipeline='builtin.module(convert-rlx-to-linalg,canonicalize,cse)' | filecheck %s
// RUN: rlx-opt %s --rlx-cpu --mlir-print-ir-after=rlx-return-donated -o /dev/null 2>&1 | filecheck %s --check-prefix=BUFFERS

// CHECK-DAG: #[[ROW:.*]] = affine_map<(d0, d1, d2) -> (d1, d2)>
// CHECK-DAG: #[[COLUMN:.*]] = affine_map<(d0, d1, d2) -> (d0, d2)>
// CHECK-DAG: #[[DOT:.*]] = affine_map<(d0, d1, d2) -> (d1, d0)>

// No buffer but the sum and the result: an integer becomes a float where it is multiplied.
// BUFFERS-LABEL: func.func @per_channel
// BUFFERS: memref.alloc() {{.*}} : memref<3x4xf32>
// BUFFERS-NOT: memref.alloc
// BUFFERS: linalg.generic
// BUFFERS-SAME: memref<4x8xi8>
// BUFFERS: arith.sitofp %{{.*}} : i8 to f32
// BUFFERS: memref.alloc() {{.*}} : memref<3x4xbf16>
// BUFFERS-NOT: memref.alloc

// CHECK-LABEL: func.func @per_channel
// CHECK-SAME: %[[X:[^:]*]]: tensor<3x8xbf16>, %[[W:[^:]*]]: tensor<4x8xi8>, %[[S:[^:]*]]: tensor<4xf32>
// CHECK: %[[ZERO:.*]] = linalg.fill {{.*}} -> tensor<3x4xf32>
// CHECK: %[[SUM:.*]] = linalg.generic {indexing_maps = [#[[ROW]], #[[COLUMN]], #[[DOT]]], iterator_types = ["parallel", "parallel", "reduction"]} ins(%[[X]], %[[W]]
// CHECK-SAME: outs(%[[ZERO]]
// CHECK: arith.sitofp %{{.*}} : i8 to f32
// CHECK: arith.extf %{{.*}} : bf16 to f32
// CHECK: arith.mulf {{.*}} fastmath<reassoc,contract> : f32
// CHECK: arith.addf {{.*}} fastmath<reassoc,contract> : f32
// CHECK: linalg.generic {{.*}} ins(%[[SUM]], %[[S]]
// CHECK: arith.mulf {{.*}} : f32
// CHECK: arith.truncf {{.*}} : f32 to bf16
// CHECK-NOT: linalg.generic
// CHECK: return
func.func @per_channel(%x: tensor<3x8xbf16>, %w: tensor<4x8xi8>, %s: tensor<4xf32>) -> tensor<3x4xbf16> {
  %0 = "rlx.dequant_matmul"(%x, %w, %s) {transpose_weight = true} : (tensor<3x8xbf16>, tensor<4x8xi8>, tensor<4xf32>) -> tensor<3x4xbf16>
  return %0 : tensor<3x4xbf16>
}

// BUFFERS-LABEL: func.func @groups
// BUFFERS: memref.alloc() {{.*}} : memref<3x4xf32>
// BUFFERS-NOT: memref.alloc
// BUFFERS: return

// CHECK-LABEL: func.func @groups
// CHECK-SAME: %[[X:[^:]*]]: tensor<3x8xf32>, %[[W:[^:]*]]: tensor<8x4xi8>, %[[S:[^:]*]]: tensor<4x2xf32>
// CHECK-DAG: %[[XG:.*]] = tensor.expand_shape %[[X]] {{.*}} into tensor<3x2x4xf32>
// CHECK-DAG: %[[WG:.*]] = tensor.expand_shape %[[W]] {{.*}} into tensor<2x4x4xi8>
// CHECK: linalg.generic {{.*}}iterator_types = ["parallel", "reduction", "reduction", "parallel"]} ins(%[[XG]], %[[WG]], %[[S]]
// CHECK: arith.sitofp
// CHECK-NOT: linalg.generic
// CHECK: return
func.func @groups(%x: tensor<3x8xf32>, %w: tensor<8x4xi8>, %s: tensor<4x2xf32>) -> tensor<3x4xf32> {
  %0 = "rlx.dequant_matmul"(%x, %w, %s) {group = 4 : i64} : (tensor<3x8xf32>, tensor<8x4xi8>, tensor<4x2xf32>) -> tensor<3x4xf32>
  return %0 : tensor<3x4xf32>
}

// CHECK-LABEL: func.func @unknown_sizes
// CHECK: cf.assert %{{.*}}, "rlx.dequant_matmul: scales must fit weight"
// CHECK: cf.assert %{{.*}}, "rlx.dequant_matmul: the inner sizes of input, weight and scales must agree"
func.func @unknown_sizes(%x: tensor<?x?xf32>, %w: tensor<?x?xi8>, %s: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %0 = "rlx.dequant_matmul"(%x, %w, %s) {group = 4 : i64} : (tensor<?x?xf32>, tensor<?x?xi8>, tensor<?x?xf32>) -> tensor<?x?xf32>
  return %0 : tensor<?x?xf32>
}
