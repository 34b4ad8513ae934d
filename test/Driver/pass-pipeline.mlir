// RUN: rlx-opt %s --pass-pipeline="builtin.module(convert-rlx-to-linalg,func.func(canonicalize,cse))" | filecheck %s
// RUN: rlx-opt %s -pass-pipeline " convert-rlx-to-linalg , func.func ( canonicalize , cse{} ) " | filecheck %s
// RUN: rlx-opt %s --pass-pipeline="any(convert-rlx-to-linalg,any(canonicalize,cse))" | filecheck %s
// RUN: rlx-opt %s --pass-pipeline="builtin.module()" | filecheck %s --check-prefix=SAME
// RUN: rlx-opt %s --pass-pipeline="" | filecheck %s --check-prefix=SAME
// RUN: not rlx-opt %s --pass-pipeline="builtin.module(func.func(canonicalize,symbol-dce,sparsifier))" 2>&1 | filecheck %s --check-prefix=NESTING
// RUN: not rlx-opt %s --pass-pipeline="builtin.module(rlx-export,func.func(rlx-export))" 2>&1 | filecheck %s --check-prefix=OURS
// RUN: not rlx-opt %s --pass-pipeline="func.func(cse" 2>&1 | filecheck %s --check-prefix=OPEN
// RUN: not rlx-opt %s --pass-pipeline="builtin.module(fun.func(cse))" 2>&1 | filecheck %s --check-prefix=OP

// CHECK: func.func @f
// CHECK-NOT: rlx.narrow
// CHECK: tensor.extract_slice
// SAME: rlx.narrow

// A wrong nesting would end the process inside the host; it is refused before anything runs.
// NESTING: <pass-pipeline>:1:50: error: pass 'sparsifier' runs on 'builtin.module', but is nested in 'func.func'
// NESTING-NEXT: builtin.module(func.func(canonicalize,symbol-dce,sparsifier))
// NESTING-NEXT: {{^ +\^$}}
// OURS: error: pass 'rlx-export' runs on 'builtin.module', but is nested in 'func.func'
// OPEN: <pass-pipeline>:1:10: error: '(' is never closed
// OP: error: unknown op 'fun.func'; did you mean 'func.func'?
func.func @f(%x: tensor<4xf32>) -> tensor<2xf32> {
  %0 = "rlx.narrow"(%x) {axis = 0 : i64, start = 1 : i64, length = 2 : i64} : (tensor<4xf32>) -> tensor<2xf32>
  return %0 : tensor<2xf32>
}
