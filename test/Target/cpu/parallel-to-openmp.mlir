// RUN: rlx-opt %s --rlx-cpu-parallel-to-openmp | filecheck %s

// One thread per iteration, and no barrier but the one at the end.

// CHECK-DAG: func.func private @omp_get_num_threads() -> i32
// CHECK-DAG: func.func private @omp_get_thread_num() -> i32

// CHECK-LABEL: func.func @marked
//   CHECK-DAG: %[[ZERO:.*]] = arith.constant 0 : index
//   CHECK-DAG: %[[ONE:.*]] = arith.constant 1 : index
//       CHECK: %[[COUNT:.*]] = arith.index_cast %arg0 : index to i32
//       CHECK: omp.parallel num_threads(%[[COUNT]] : i32) {
//       CHECK: %[[NUMBER:.*]] = func.call @omp_get_thread_num() : () -> i32
//       CHECK: %[[OWN:.*]] = arith.index_cast %[[NUMBER]] : i32 to index
//       CHECK: %[[FIRST:.*]] = arith.addi %[[ZERO]], %[[OWN]] : index
//       CHECK: %[[TEAM:.*]] = func.call @omp_get_num_threads() : () -> i32
//       CHECK: %[[STEP:.*]] = arith.index_cast %[[TEAM]] : i32 to index
//       CHECK: scf.for %[[I:.*]] = %[[FIRST]] to %arg0 step %[[STEP]] {
//       CHECK: %[[NEXT:.*]] = arith.addi %[[I]], %[[ONE]]
//       CHECK: func.call @part(%[[I]], %[[NEXT]])
//       CHECK: omp.terminator
//   CHECK-NOT: scf.parallel
func.func private @part(index, index)
func.func @marked(%count: index) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  scf.parallel (%i) = (%zero) to (%count) step (%one) {
    %next = arith.addi %i, %one : index
    func.call @part(%i, %next) : (index, index) -> ()
    scf.reduce
  } {rlx.parallel}
  return
}

// Loops of others stay.

// CHECK-LABEL: func.func @others
//   CHECK-NOT: omp
//       CHECK: scf.parallel
func.func @others(%count: index) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  scf.parallel (%i) = (%zero) to (%count) step (%one) {
    func.call @part(%i, %i) : (index, index) -> ()
    scf.reduce
  }
  return
}
