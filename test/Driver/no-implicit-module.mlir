// RUN: rlx-opt %s | filecheck %s
// RUN: rlx-opt %s --no-implicit-module --pass-pipeline="func.func(cse)" | filecheck %s --check-prefix=BARE
// RUN: not rlx-opt %s --no-implicit-module --pass-pipeline="builtin.module(cse)" 2>&1 | filecheck %s --check-prefix=ROOT
// RUN: not rlx-opt %S/Inputs/two.mlir --no-implicit-module 2>&1 | filecheck %s --check-prefix=TWO

// CHECK: module {
// CHECK-NEXT: func.func @f()
// BARE-NOT: module
// BARE: {{^}}func.func @f()
// ROOT: error: the pipeline is for 'builtin.module', but runs on 'func.func'
// TWO: error: source must contain a single top-level operation, found: 2
func.func @f() { return }
