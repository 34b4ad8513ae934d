// RUN: rlx-opt %s --rlx-target-processor=processor=x86-64-v3 | filecheck %s
// RUN: rlx-opt %s --rlx-target-processor | filecheck %s --check-prefix=NONE

// Functions with a body get the name; without one, nothing changes.

// NONE: llvm.func @free
// NONE-NOT: target_cpu

// CHECK: llvm.func @free(!llvm.ptr)
// CHECK-NEXT: llvm.func @main() attributes {target_cpu = "x86-64-v3", target_features = #llvm.target_features<[]>}
llvm.func @free(!llvm.ptr)

llvm.func @main() {
  llvm.return
}

// CHECK: llvm.func internal @other() attributes {no_inline, target_cpu = "x86-64-v3", target_features
llvm.func internal @other() attributes {no_inline} {
  llvm.return
}
