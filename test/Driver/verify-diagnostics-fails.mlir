// RUN: not rlx-opt %S/Inputs/mismatch.mlir -split-input-file -verify-diagnostics 2>&1 | filecheck %s
// RUN: not rlx-opt %S/Inputs/mismatch.mlir -split-input-file -verify-diagnostics=only-expected 2>&1 | filecheck %s --check-prefix=ONLY

// CHECK: mismatch.mlir:1:36: error: expected error "something else" was not produced
// CHECK-NEXT: func.func @missing() { return } // expected-error {{[{]}}{something else}}
// CHECK-NEXT: {{^ +\^$}}
// CHECK: mismatch.mlir:6:3: error: unexpected error: custom op 'nothing' is unknown
// CHECK-NEXT: {{^  nothing$}}
// CHECK-NEXT: {{^  \^$}}
// CHECK: mismatch.mlir:12:14: error: 'error' diagnostic emitted when expecting a 'warning': custom op
// CHECK: mismatch.mlir:12:14: error: expected warning "custom op" was not produced
// CHECK: mismatch.mlir:18:14: error: expected error "custom op" was not produced, only 1 of 2 times
// CHECK: mismatch.mlir:23:1: error: unexpected note: see existing symbol definition here

// ONLY-NOT: unexpected
// ONLY-NOT: diagnostic emitted when
// ONLY: expected error "something else" was not produced
// ONLY-NOT: unexpected
// ONLY: expected warning "custom op" was not produced
// ONLY: only 1 of 2 times
// ONLY-NOT: unexpected
