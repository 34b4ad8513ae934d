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

// With groups, one output channel at a time: as many floats as a row has, whatever the rows.
// BUFFERS-LABEL: func.func @groups
// BUFFERS: memref.alloc() {{.*}} : memref<3x4xf32>
// BUFFERS: scf.for
// BUFFERS: memref.subview %{{.*}} : memref<8x4xi8>
// BUFFERS: memref.alloc() {{.*}} : memref<1x2x4xf32>
// BUFFERS: arith.sitofp %{{.*}} : i8 to f32
// BUFFERS-NOT: memref<8x4xf32>
// BUFFERS: return

// CHECK-LABEL: func.func @groups
// CHECK-SAME: %[[X:[^:]*]]: tensor<3x8xf32>, %[[W:[^:]*]]: tensor<8x4xi8>, %[[S:[^:]*]]: tensor<4x2xf32>
// CHECK: scf.for %[[N:.*]] = %c0 to %c4 step %c1
// CHECK-DAG: %[[COL:.*]] = tensor.extract_slice %[[W]][0, %[[N]]] [8, 1] [1, 1]
// CHECK-DAG: tensor.expand_shape %[[COL]] {{.*}} into tensor<2x4x1xi8>
// CHECK-DAG: tensor.extract_slice %[[S]][%[[N]], 0] [1, 2] [1, 1]
// CHECK: linalg.generic {{.*}}iterator_types = ["parallel", "parallel", "parallel"]
// CHECK: arith.sitofp
// CHECK: linalg.generic {{.*}}iterator_types = ["parallel", "parallel", "reduction"]{{.*}} ins(%[[X]],
// CHECK: tensor.insert_slice {{.*}}[0, %[[N]]] [3, 1] [1, 1]
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
