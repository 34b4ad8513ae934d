// RUN: rlx-opt %s --allow-unregistered-dialect | filecheck %s
// RUN: not rlx-opt %s 2>&1 | filecheck %s --check-prefix=REFUSED
// RUN: rlx-opt %s --allow-unregistered-dialect=true | filecheck %s
// RUN: not rlx-opt %s --allow-unregistered-dialect=0 2>&1 | filecheck %s --check-prefix=REFUSED

// CHECK: "other.op"()
// REFUSED: error: operation being parsed with an unregistered dialect
func.func @f() {
  "other.op"() : () -> ()
  return
}
