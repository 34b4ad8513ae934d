// RUN: not rlx-opt %s -split-input-file > %t.out 2> %t.err
// RUN: filecheck %s < %t.out
// RUN: filecheck %s --check-prefix=ERR < %t.err
// RUN: rlx-opt %s --split-input-file --verify-diagnostics | filecheck %s
// RUN: rlx-opt %s --split-input-file --verify-diagnostics --output-split-marker="// next" | filecheck %s --check-prefix=NEXT
// RUN: not rlx-opt %s 2>&1 | filecheck %s --check-prefix=WHOLE

// Every part is a module of its own; the others do not suffer from one that is wrong.

// CHECK: func.func @first()
// CHECK: // -----
// CHECK-NOT: @wrong
// CHECK: func.func @third()
// CHECK-NOT: // -----
// NEXT: func.func @first()
// NEXT: // next
// NEXT: func.func @third()
// WHOLE: error: custom op 'nothing' is unknown
func.func @first() { return }

// -----

func.func @wrong() {
  // ERR: split-input-file.mlir:[[# @LINE + 2]]:3: error: custom op 'nothing' is unknown
  // expected-error @+1 {{custom op 'nothing' is unknown}}
  nothing
  return
}

// ----- the rest of a marker line is a comment

// Longer lines of dashes are no markers.
// ------------------------------------------

func.func @third() { return }
