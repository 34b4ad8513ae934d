// RUN: rlx-opt %s --cse --llvm-request-c-wrappers --mlir-timing -o %t 2>&1 | filecheck %s

// CHECK: ... Execution time report ...
// CHECK: Total Execution Time: {{[0-9.]+}} seconds
// CHECK: ----Wall Time----  ----Name----
// CHECK-NEXT: {{ +[0-9.]+ \( *[0-9.]+%\)}}  Parser
// CHECK-NEXT: {{ +[0-9.]+ \( *[0-9.]+%\)}}  CSEPass
// CHECK-NEXT: {{ +[0-9.]+ \( *[0-9.]+%\)}}  'func.func' Pipeline
// CHECK-NEXT: {{ +[0-9.]+ \( *[0-9.]+%\)}}    LLVMRequestCWrappersPass
// CHECK: Output
// CHECK: Rest
// CHECK-NEXT: (100.0%)  Total
func.func @f() { return }
