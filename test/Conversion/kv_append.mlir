// RUN: rlx-opt %s --pass-pipeline='builtin.module(convert-rlx-to-linalg,canonicalize,cse)' | filecheck %s
// RUN: rlx-opt %s --pass-pipeline='builtin.module(convert-rlx-to-linalg,canonicalize,cse,one-shot-bufferize{bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map},canonicalize,cse)' | filecheck %s --check-prefix=BUFFER

// CHECK-LABEL: func.func @donated
// CHECK-SAME: %[[CACHE:[^:]*]]: tensor<2x9x4xf32> {{{[^}]*}}}, %[[UPDATE:[^:]*]]: tensor<2x3x4xf32> {{{[^}]*}}}, %[[LENGTHS:[^:]*]]: tensor<2xi64>
// CHECK-DAG: %[[FIRST:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[LAST:.*]] = arith.constant 6 : index
// CHECK: arith.cmpi sge, %{{.*}}, %[[FIRST]]
// CHECK: arith.cmpi sle, %{{.*}}, %[[LAST]]
// CHECK: cf.assert %{{.*}}, "rlx.kv_append: lengths must be >= 0 and leave room for update in cache"
// CHECK: scf.for %[[B:.*]] = %{{.*}} iter_args(%[[C:.*]] = %[[CACHE]])
// CHECK: %[[LENGTH:.*]] = tensor.extract %[[LENGTHS]][%[[B]]]
// CHECK: arith.minsi %{{.*}}, %[[LAST]]
// CHECK: %[[AT:.*]] = arith.maxsi %{{.*}}, %[[FIRST]]
// CHECK: %[[ROWS:.*]] = tensor.extract_slice %[[UPDATE]][%[[B]], 0, 0] [1, 3, 4] [1, 1, 1]
// CHECK: tensor.insert_slice %[[ROWS]] into %[[C]][%[[B]], %[[AT]], 0] [1, 3, 4] [1, 1, 1]

// A cache that may be written is not copied: the only copy is that of the new rows.
// BUFFER-LABEL: func.func @donated
// BUFFER-SAME: %[[CACHE:[^:]*]]: memref<2x9x4xf32>
// BUFFER-NOT: memref<2x9x4xf32> to memref<2x9x4xf32>
// BUFFER-NOT: memref.alloc() {{.*}}memref<2x9x4xf32>
// BUFFER: memref.copy %{{.*}} : memref<1x3x4xf32, {{.*}} to memref<1x3x4xf32
// BUFFER-NOT: memref.copy
// BUFFER: return %[[CACHE]]
func.func @donated(%cache: tensor<2x9x4xf32> {bufferization.writable = true}, %update: tensor<2x3x4xf32> {bufferization.writable = false}, %lengths: tensor<2xi64> {bufferization.writable = false}) -> tensor<2x9x4xf32> {
  %0 = "rlx.kv_append"(%cache, %update, %lengths) : (tensor<2x9x4xf32>, tensor<2x3x4xf32>, tensor<2xi64>) -> tensor<2x9x4xf32>
  return %0 : tensor<2x9x4xf32>
}

// A cache that may not be written is copied once.
// BUFFER-LABEL: func.func @kept
// BUFFER-SAME: %[[CACHE:[^:]*]]: memref<2x9x4xf32>
// BUFFER: %[[NEW:.*]] = memref.alloc() {{.*}}memref<2x9x4xf32>
// BUFFER: memref.copy %[[CACHE]], %[[NEW]]
// BUFFER: return %[[NEW]]
func.func @kept(%cache: tensor<2x9x4xf32> {bufferization.writable = false}, %update: tensor<2x3x4xf32> {bufferization.writable = false}, %lengths: tensor<2xi64> {bufferization.writable = false}) -> tensor<2x9x4xf32> {
  %0 = "rlx.kv_append"(%cache, %update, %lengths) : (tensor<2x9x4xf32>, tensor<2x3x4xf32>, tensor<2xi64>) -> tensor<2x9x4xf32>
  return %0 : tensor<2x9x4xf32>
}

// CHECK-LABEL: func.func @dynamic
// CHECK: cf.assert %{{.*}}, "rlx.kv_append: update must have the batch and width of cache"
// CHECK: cf.assert %{{.*}}, "rlx.kv_append: lengths must have one element per batch"
// BUFFER-LABEL: func.func @dynamic
// BUFFER-SAME: %[[CACHE:[^:]*]]: memref<?x?x4xbf16>
// BUFFER-NOT: memref.copy %[[CACHE]]
// BUFFER: scf.for
// BUFFER: return %[[CACHE]]
func.func @dynamic(%cache: tensor<?x?x4xbf16> {bufferization.writable = true}, %update: tensor<?x?x4xbf16> {bufferization.writable = false}, %lengths: tensor<?xi32> {bufferization.writable = false}) -> tensor<?x?x4xbf16> {
  %0 = "rlx.kv_append"(%cache, %update, %lengths) : (tensor<?x?x4xbf16>, tensor<?x?x4xbf16>, tensor<?xi32>) -> tensor<?x?x4xbf16>
  return %0 : tensor<?x?x4xbf16>
}
