// RUN: rlx-opt %s --rlx-free-results | filecheck %s

func.func private @layer(%x: memref<?xf32>) -> memref<?xf32>
func.func private @two(%x: memref<?xf32>) -> (memref<?xf32>, memref<?xf32>)

// What a call returned is freed after its last use, and so is a buffer that nothing else can be.
// CHECK-LABEL: func.func @chain
// CHECK-SAME: (%[[X:[^:]*]]: memref<?xf32>, %[[N:[^:]*]]: index,
// CHECK: %[[A:.*]] = call @layer(%[[X]])
// CHECK-NEXT: %[[B:.*]] = call @layer(%[[A]])
// CHECK-NEXT: memref.dealloc %[[A]]
// CHECK-NEXT: %[[C:.*]] = memref.alloc(%[[N]])
// CHECK-NEXT: %[[I:.*]] = scf.if
// CHECK: memref.load %[[B]]
// CHECK: else
// CHECK-NEXT: scf.yield
// CHECK-NEXT: }
// CHECK-NEXT: memref.dealloc %[[B]]
// CHECK: memref.store %[[I]], %[[C]]
// CHECK-NEXT: memref.dealloc %[[C]]
// CHECK-NOT: dealloc (%
// CHECK: return
func.func @chain(%x: memref<?xf32>, %n: index, %c: i1) -> f32 {
  %true = arith.constant true
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %0 = call @layer(%x) : (memref<?xf32>) -> memref<?xf32>
  %1 = call @layer(%0) : (memref<?xf32>) -> memref<?xf32>
  %2 = memref.alloc(%n) : memref<?xf32>
  %3 = scf.if %c -> f32 {
    %4 = memref.load %1[%c0] : memref<?xf32>
    scf.yield %4 : f32
  } else {
    scf.yield %zero : f32
  }
  memref.store %3, %2[%c0] : memref<?xf32>
  %base, %offset, %size, %stride = memref.extract_strided_metadata %0 : memref<?xf32> -> memref<f32>, index, index, index
  %base1, %offset1, %size1, %stride1 = memref.extract_strided_metadata %1 : memref<?xf32> -> memref<f32>, index, index, index
  bufferization.dealloc (%base, %base1, %2 : memref<f32>, memref<f32>, memref<?xf32>) if (%true, %true, %true)
  return %3 : f32
}

// What is kept is not freed. Views are followed.
// CHECK-LABEL: func.func @kept
// CHECK: %[[A:.*]] = call @layer
// CHECK: %[[B:.*]] = call @layer
// CHECK: %[[R:.*]] = scf.if
// CHECK: memref.load
// CHECK-NEXT: memref.dealloc %[[A]]
// CHECK: %[[O:.*]] = bufferization.dealloc (%[[B]] : memref<?xf32>) if (%{{.*}}) retain (%[[R]] : memref<?xf32>)
// CHECK: return %[[R]], %[[O]]
func.func @kept(%x: memref<?xf32>, %c: i1) -> (memref<?xf32>, i1) {
  %true = arith.constant true
  %0 = call @layer(%x) : (memref<?xf32>) -> memref<?xf32>
  %1 = call @layer(%0) : (memref<?xf32>) -> memref<?xf32>
  %v = memref.subview %0[0] [1] [1] : memref<?xf32> to memref<1xf32, strided<[1]>>
  %2 = scf.if %c -> memref<?xf32> {
    scf.yield %1 : memref<?xf32>
  } else {
    scf.yield %x : memref<?xf32>
  }
  %c0 = arith.constant 0 : index
  %3 = memref.load %v[%c0] : memref<1xf32, strided<[1]>>
  memref.store %3, %x[%c0] : memref<?xf32>
  %4 = bufferization.dealloc (%0, %1 : memref<?xf32>, memref<?xf32>) if (%true, %true) retain (%2 : memref<?xf32>)
  return %2, %4 : memref<?xf32>, i1
}

// A pointer may be used anywhere: the buffer is freed where it was.
// CHECK-LABEL: func.func @escapes
// CHECK: arith.addi
// CHECK: memref.dealloc
// CHECK: return
func.func @escapes(%n: index) -> index {
  %true = arith.constant true
  %0 = memref.alloc(%n) : memref<?xf32>
  %1 = memref.extract_aligned_pointer_as_index %0 : memref<?xf32> -> index
  %2 = arith.addi %1, %n : index
  bufferization.dealloc (%0 : memref<?xf32>) if (%true)
  return %2 : index
}

// Two results may be one buffer; a condition may be false; and values of unknown origin may be any.
// CHECK-LABEL: func.func @unknown
// CHECK-NOT: memref.dealloc
// CHECK: bufferization.dealloc (%{{.*}}, %{{.*}} : memref<?xf32>, memref<?xf32>) if
// CHECK: bufferization.dealloc (%{{.*}} : memref<?xf32>) if
// CHECK: bufferization.dealloc (%{{.*}}, %{{.*}} : memref<?xf32>, memref<?xf32>) if
// CHECK: bufferization.dealloc (%{{.*}} : memref<?xf32>) if (%{{.*}}) retain
// CHECK: return
func.func @unknown(%x: memref<?xf32>, %y: memref<?xf32>, %c: i1) {
  %true = arith.constant true
  %0:2 = call @two(%x) : (memref<?xf32>) -> (memref<?xf32>, memref<?xf32>)
  bufferization.dealloc (%0#0, %0#1 : memref<?xf32>, memref<?xf32>) if (%true, %true)
  %1 = call @layer(%x) : (memref<?xf32>) -> memref<?xf32>
  bufferization.dealloc (%1 : memref<?xf32>) if (%c)
  %2 = call @layer(%x) : (memref<?xf32>) -> memref<?xf32>
  %3 = arith.select %c, %2, %y : memref<?xf32>
  bufferization.dealloc (%2, %3 : memref<?xf32>, memref<?xf32>) if (%true, %c)
  %4 = call @layer(%x) : (memref<?xf32>) -> memref<?xf32>
  %5 = scf.if %c -> memref<?xf32> {
    %6 = arith.select %c, %4, %y : memref<?xf32>
    scf.yield %6 : memref<?xf32>
  } else {
    scf.yield %x : memref<?xf32>
  }
  %7 = bufferization.dealloc (%4 : memref<?xf32>) if (%true) retain (%5 : memref<?xf32>)
  return
}
