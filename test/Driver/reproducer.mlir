// RUN: rm -f %t.repro
// RUN: not rlx-opt %s --cse --transform-interpreter --mlir-pass-pipeline-crash-reproducer=%t.repro 2>&1 | filecheck %s --check-prefix=FIRST
// RUN: filecheck %s < %t.repro
// RUN: not rlx-opt %t.repro --run-reproducer 2>&1 | filecheck %s --check-prefix=AGAIN
// RUN: not rlx-opt %s --cse --transform-interpreter --mlir-pass-pipeline-crash-reproducer=%t.local --mlir-pass-pipeline-local-reproducer 2>&1 | filecheck %s --check-prefix=FIRST
// RUN: filecheck %s --check-prefix=LOCAL < %t.local
// RUN: rm -f %t.none
// RUN: rlx-opt %s --cse --mlir-pass-pipeline-crash-reproducer=%t.none -o %t
// RUN: not cat %t.none
// RUN: rlx-opt %s --cse --mlir-generate-reproducer=%t.always --verify-each=0 -o %t
// RUN: rlx-opt %t.always --run-reproducer --dump-pass-pipeline 2>&1 | filecheck %s --check-prefix=ALWAYS
// RUN: not rlx-opt %s --run-reproducer 2>&1 | filecheck %s --check-prefix=NONE
// RUN: not rlx-opt %t.always --run-reproducer --cse 2>&1 | filecheck %s --check-prefix=BOTH

// FIRST: error: could not find a nested named sequence with name: __transform_main
// FIRST: note: a reproducer is in {{.*}}reproducer.mlir.tmp
// FIRST: note: pass 'transform-interpreter' failed; to reproduce: rlx-opt {{.*}}reproducer.mlir '--pass-pipeline=builtin.module(cse,transform-interpreter)'

// CHECK: arith.constant
// CHECK: arith.constant
// CHECK: mlir_reproducer: {
// CHECK-NEXT: pipeline: "builtin.module(cse,transform-interpreter)",
// CHECK-NEXT: disable_threading: false,
// CHECK-NEXT: verify_each: true

// AGAIN-NOT: warning
// AGAIN: reproducer.mlir.tmp.repro:1:1: error: could not find a nested named sequence

// The local one begins where the pass does, after cse.
// LOCAL-NOT: arith.constant
// LOCAL: pipeline: "builtin.module(transform-interpreter)",

// ALWAYS: builtin.module(cse)
// NONE: rlx-opt: error: --run-reproducer: the input holds no reproducer
// BOTH: rlx-opt: error: --run-reproducer takes the pipeline from the input, but passes are given
func.func @f() {
  %0 = arith.constant 1 : i32
  %1 = arith.constant 1 : i32
  return
}
