// RUN: rlx-opt %s --irdl-file=%S/Inputs/example.irdl | filecheck %s
// RUN: not rlx-opt %s 2>&1 | filecheck %s --check-prefix=WITHOUT
// RUN: not rlx-opt %s --irdl-file=%S/Inputs/mismatch.mlir 2>&1 | filecheck %s --check-prefix=BAD

// CHECK: "example.op"() : () -> ()
// WITHOUT: error: operation being parsed with an unregistered dialect
// BAD: rlx-opt: error: --irdl-file={{.*}}mismatch.mlir:
func.func @f() {
  "example.op"() : () -> ()
  return
}
