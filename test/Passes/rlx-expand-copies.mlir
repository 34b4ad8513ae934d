// RUN: rlx-opt %s --rlx-expand-copies | filecheck %s

// CHECK-LABEL: func.func @strided
// CHECK: linalg.copy {{.*}}ins(%{{.*}} : memref<?xf32, strided<[?], offset: ?>>) outs(%{{.*}} : memref<?xf32>)
// CHECK: linalg.copy {{.*}}ins(%{{.*}} : memref<?xf32>) outs(%{{.*}} : memref<?xf32, strided<[?], offset: ?>>)
// CHECK-NOT: memref.copy
func.func @strided(%a: memref<?xf32, strided<[?], offset: ?>>, %b: memref<?xf32>) {
  memref.copy %a, %b : memref<?xf32, strided<[?], offset: ?>> to memref<?xf32>
  memref.copy %b, %a : memref<?xf32> to memref<?xf32, strided<[?], offset: ?>>
  return
}

// Contiguous copies become `memcpy` later on.
// CHECK-LABEL: func.func @contiguous
// CHECK: memref.copy
// CHECK: memref.copy
// CHECK-NOT: linalg.copy
func.func @contiguous(%a: memref<?x4xf32>, %b: memref<?x4xf32>, %c: memref<f32>, %d: memref<f32>) {
  memref.copy %a, %b : memref<?x4xf32> to memref<?x4xf32>
  memref.copy %c, %d : memref<f32> to memref<f32>
  return
}

// CHECK-LABEL: func.func @unranked
// CHECK: memref.copy
func.func @unranked(%a: memref<*xf32>, %b: memref<*xf32>) {
  memref.copy %a, %b : memref<*xf32> to memref<*xf32>
  return
}
