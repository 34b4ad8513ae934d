// RUN: rlx-opt %s --cse --verify-each=1 | filecheck %s
// RUN: rlx-opt %s --cse --verify-each=0 | filecheck %s
// RUN: rlx-opt %s --cse -mlir-disable-threading | filecheck %s

// CHECK: func.func @f
func.func @f() { return }
