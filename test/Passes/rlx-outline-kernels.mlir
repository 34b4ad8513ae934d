// RUN: rlx-opt %s -split-input-file --rlx-outline-kernels | filecheck %s
// RUN: rlx-opt %s -split-input-file --rlx-outline-kernels=vector-width=512 | filecheck %s --check-prefix=WIDE

// Equal loop nests become one function, even where they capture other values.
// CHECK-LABEL: func.func private @rlx_kernel_0
// CHECK-SAME: (%[[A:.*]]: memref<?xf32>, %[[B:.*]]: memref<?xf32>, %[[S:.*]]: f32)
// CHECK-SAME: attributes {llvm.linkage = #llvm.linkage<internal>, llvm.no_inline}
// CHECK: %[[TWO:.*]] = arith.constant 2.0
// CHECK: linalg.generic {{.*}} ins(%[[A]] : memref<?xf32>) outs(%[[B]] : memref<?xf32>)
// CHECK:   %[[P:.*]] = arith.mulf %{{.*}}, %[[S]]
// CHECK:   arith.addf %[[P]], %[[TWO]]
// CHECK: return
// CHECK-NOT: rlx_kernel_1
// CHECK-LABEL: func.func @equal
// CHECK-SAME: (%[[X:.*]]: memref<?xf32>, %[[Y:.*]]: memref<?xf32>, %[[V:.*]]: f32, %[[W:.*]]: f32)
// CHECK: call @rlx_kernel_0(%[[X]], %[[Y]], %[[V]])
// CHECK: call @rlx_kernel_0(%[[Y]], %[[X]], %[[W]])
// CHECK-NOT: linalg
// CHECK: return

// WIDE: llvm.prefer_vector_width = "512"
func.func @equal(%x: memref<?xf32>, %y: memref<?xf32>, %v: f32, %w: f32) {
  %two = arith.constant 2.0 : f32
  linalg.generic {
    indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]
  } ins(%x : memref<?xf32>) outs(%y : memref<?xf32>) {
  ^bb0(%a: f32, %b: f32):
    %p = arith.mulf %a, %v : f32
    %s = arith.addf %p, %two : f32
    linalg.yield %s : f32
  }
  linalg.generic {
    indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]
  } ins(%y : memref<?xf32>) outs(%x : memref<?xf32>) {
  ^bb0(%a: f32, %b: f32):
    %p = arith.mulf %a, %w : f32
    %s = arith.addf %p, %two : f32
    linalg.yield %s : f32
  }
  return
}

// -----

// Different types, and different constants, make different functions.
// CHECK-DAG: @rlx_kernel_0
// CHECK-DAG: @rlx_kernel_1
// CHECK-DAG: @rlx_kernel_2
// CHECK-LABEL: func.func @different
// CHECK: call @rlx_kernel_0
// CHECK: call @rlx_kernel_1
// CHECK: call @rlx_kernel_2
func.func @different(%x: memref<?xf32>, %y: memref<4xf32>) {
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  linalg.fill ins(%zero : f32) outs(%x : memref<?xf32>)
  linalg.fill ins(%zero : f32) outs(%y : memref<4xf32>)
  linalg.fill ins(%one : f32) outs(%x : memref<?xf32>)
  return
}

// -----

// LLVM is told that a fresh buffer is not part of another one; of two arguments nothing is known.
// CHECK-LABEL: func.func private @rlx_kernel_1
// CHECK: memref.distinct_objects
// CHECK-LABEL: func.func private @rlx_kernel_0
// CHECK-NOT: memref.distinct_objects
// CHECK-LABEL: func.func @overlap
func.func @overlap(%x: memref<4xf32>, %y: memref<4xf32>) {
  linalg.exp ins(%x : memref<4xf32>) outs(%y : memref<4xf32>)
  %a = memref.alloc() : memref<4xf32>
  linalg.exp ins(%x : memref<4xf32>) outs(%a : memref<4xf32>)
  memref.dealloc %a : memref<4xf32>
  return
}
