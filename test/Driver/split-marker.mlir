// RUN: rlx-opt %s --split-input-file="//@@" | filecheck %s

// CHECK: func.func @f
func.func @f() { return }
//@@
// CHECK: // -----
// CHECK: func.func @f
func.func @f() { return }
