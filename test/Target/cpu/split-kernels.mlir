// RUN: rlx-opt %s --rlx-outline-kernels=vector-width=512 --rlx-cpu-split-kernels=threads=4 -split-input-file | filecheck %s
// RUN: rlx-opt %s --rlx-outline-kernels --rlx-cpu-split-kernels=threads=0 -split-input-file | filecheck %s --check-prefix=ASK
// RUN: rlx-opt %s --rlx-outline-kernels --rlx-cpu-split-kernels=threads=1 -split-input-file | filecheck %s --check-prefix=ONE

// The rows of a sum are split; the loops themselves lie in a function of their own, that LLVM
// treats as the one they come from.

// ONE-NOT: scf.parallel
// ASK: call @omp_get_max_threads() : () -> i32

// CHECK-LABEL: func.func private @rlx_kernel_0_part
//  CHECK-SAME: %[[LOW:[^:]*]]: index, %[[HIGH:[^:]*]]: index, %[[X:[^:]*]]: memref<?x64xf32>, %[[Y:[^:]*]]: memref<?xf32>
//  CHECK-SAME: llvm.prefer_vector_width = "512"
//       CHECK: %[[COUNT:.*]] = arith.subi %[[HIGH]], %[[LOW]]
//       CHECK: memref.subview %[[X]][%[[LOW]], 0] [%[[COUNT]], 64] [1, 1]
//       CHECK: memref.subview %[[Y]][%[[LOW]]] [%[[COUNT]]] [1]
//       CHECK: linalg.generic
//  CHECK-SAME: iterator_types = ["parallel", "reduction"]
// CHECK-LABEL: func.func private @rlx_kernel_0(
//       CHECK: %[[ROWS:.*]] = memref.dim
//   CHECK-NOT: omp_get_max_threads
//       CHECK: scf.parallel
//       CHECK: func.call @rlx_kernel_0_part
//       CHECK: } {rlx.parallel}
//       CHECK: else
//       CHECK: func.call @rlx_kernel_0_part
//   CHECK-NOT: linalg
// CHECK-LABEL: func.func @rows
//       CHECK: call @rlx_kernel_0(
func.func @rows(%x: memref<?x64xf32>, %y: memref<?xf32>) {
  linalg.generic {
    indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>],
    iterator_types = ["parallel", "reduction"]
  } ins(%x : memref<?x64xf32>) outs(%y : memref<?xf32>) {
  ^bb0(%a: f32, %b: f32):
    %s = arith.addf %a, %b : f32
    linalg.yield %s : f32
  }
  return
}

// -----

// Two loops are split as if they were one where the first may be short. Indices count from the
// start of the whole.

// CHECK-LABEL: func.func private @rlx_kernel_0_part
//  CHECK-SAME: %[[LOW:[^:]*]]: index, %[[HIGH:[^:]*]]: index, %[[X:[^:]*]]: memref<?x?x64xf32>
//       CHECK: %[[FIRST:.*]] = arith.divui %[[LOW]], %[[LENGTH:.*]] : index
//       CHECK: %[[END:.*]] = arith.ceildivui %[[HIGH]], %[[LENGTH]] : index
//       CHECK: scf.for %[[I:.*]] = %[[FIRST]] to %[[END]]
//       CHECK: %[[BEGIN:.*]] = arith.maxsi
//       CHECK: %[[STOP:.*]] = arith.minsi
//       CHECK: %[[SIZE:.*]] = arith.subi %[[STOP]], %[[BEGIN]]
//       CHECK: memref.subview %{{.*}}[%[[I]], %[[BEGIN]], 0] [1, %[[SIZE]], 64] [1, 1, 1]
//       CHECK: %[[OWN:.*]] = linalg.index 1 : index
//       CHECK: arith.addi %[[OWN]], %[[BEGIN]]
func.func @two(%x: memref<?x?x64xf32>) {
  linalg.generic {
    indexing_maps = [affine_map<(i, j, k) -> (i, j, k)>],
    iterator_types = ["parallel", "parallel", "parallel"]
  } outs(%x : memref<?x?x64xf32>) {
  ^bb0(%a: f32):
    %j = linalg.index 1 : index
    %n = arith.index_cast %j : index to i32
    %f = arith.sitofp %n : i32 to f32
    linalg.yield %f : f32
  }
  return
}

// -----

// An axis of size 1 and the innermost one are not split, nor is what all rows add to.

// CHECK-LABEL: func.func @near_misses
// CHECK-NOT: scf.parallel
func.func @near_misses(%x: memref<1x4096xf32>, %y: memref<4096xf32>, %z: memref<?x4096xf32>) {
  linalg.generic {
    indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>],
    iterator_types = ["parallel", "parallel"]
  } ins(%x : memref<1x4096xf32>) outs(%y : memref<4096xf32>) {
  ^bb0(%a: f32, %b: f32):
    linalg.yield %a : f32
  }
  linalg.generic {
    indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (j)>],
    iterator_types = ["reduction", "parallel"]
  } ins(%z : memref<?x4096xf32>) outs(%y : memref<4096xf32>) {
  ^bb0(%a: f32, %b: f32):
    %s = arith.addf %a, %b : f32
    linalg.yield %s : f32
  }
  return
}

// -----

// What is known to be little work stays together.

// CHECK-LABEL: func.func @little
// CHECK-NOT: scf.parallel
func.func @little(%x: memref<64x64xf32>) {
  linalg.generic {
    indexing_maps = [affine_map<(i, j) -> (i, j)>], iterator_types = ["parallel", "parallel"]
  } outs(%x : memref<64x64xf32>) {
  ^bb0(%a: f32):
    %s = arith.addf %a, %a : f32
    linalg.yield %s : f32
  }
  return
}

// -----

// Elements of any type.

// CHECK: memref.subview {{.*}}complex<f32>
// CHECK-LABEL: func.func @other_elements
// CHECK-COUNT-2: call @rlx_kernel
func.func @other_elements(%x: memref<?x4xcomplex<f32>>, %y: memref<?x4xcomplex<f32>>,
    %u: memref<?x4xf80>, %v: memref<?x4xf80>) {
  linalg.generic {
    indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>],
    iterator_types = ["parallel", "parallel"]
  } ins(%x : memref<?x4xcomplex<f32>>) outs(%y : memref<?x4xcomplex<f32>>) {
  ^bb0(%a: complex<f32>, %o: complex<f32>):
    linalg.yield %a : complex<f32>
  }
  linalg.generic {
    indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i, j)>],
    iterator_types = ["parallel", "parallel"]
  } ins(%u : memref<?x4xf80>) outs(%v : memref<?x4xf80>) {
  ^bb0(%a: f80, %o: f80):
    linalg.yield %a : f80
  }
  return
}
