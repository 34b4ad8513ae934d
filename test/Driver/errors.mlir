// RUN: not rlx-opt %s 2>&1 | filecheck %s
// RUN: not rlx-opt %s --mlir-disable-diagnostic-notes 2>&1 | filecheck %s --check-prefix=QUIET
// RUN: not rlx-opt - < %s 2>&1 | filecheck %s --check-prefix=STDIN
// RUN: not rlx-opt %s -o %t.never 2>&1 | filecheck %s
// RUN: not cat %t.never
// RUN: not rlx-opt %t.missing 2>&1 | filecheck %s --check-prefix=MISSING
// RUN: not rlx-opt %S 2>&1 | filecheck %s --check-prefix=FOLDER
// RUN: not rlx-opt %s %s 2>&1 | filecheck %s --check-prefix=INPUTS
// RUN: not rlx-opt --no-such-flag 2>&1 | filecheck %s --check-prefix=UNKNOWN
// RUN: not rlx-opt %s -o 2>&1 | filecheck %s --check-prefix=VALUE
// RUN: not rlx-opt %s --verify-each=maybe 2>&1 | filecheck %s --check-prefix=SWITCH
// RUN: not rlx-opt %s --verify-diagnostics=some 2>&1 | filecheck %s --check-prefix=CHOICE
// RUN: not rlx-opt %S/Inputs/good.mlir -o %t.dir/none/out 2>&1 | filecheck %s --check-prefix=OUTPUT

// CHECK: errors.mlir:[[# @LINE + 2]]:{{[0-9]+}}: error: redefinition of symbol named 'f'
func.func @f() { return }
	func.func @f() { return }
// CHECK-NEXT: {{^}}	func.func @f() { return }
// CHECK-NEXT: {{^}}	^
// CHECK: errors.mlir:[[# @LINE - 4]]:1: note: see existing symbol definition here
// CHECK-NEXT: {{^}}func.func @f() { return }
// CHECK-NEXT: {{^\^$}}

// QUIET-NOT: note:
// STDIN: <stdin>:{{[0-9]+}}:2: error: redefinition
// MISSING: rlx-opt: error: cannot open input file '{{.*}}missing': No such file or directory
// FOLDER: rlx-opt: error: cannot open input file '{{.*}}Driver': Is a directory
// INPUTS: rlx-opt: error: one input file expected, but got 2
// UNKNOWN: rlx-opt: error: unknown command line argument '--no-such-flag'; see 'rlx-opt --help'
// VALUE: rlx-opt: error: argument '-o' requires a value
// SWITCH: rlx-opt: error: argument '--verify-each' takes true or false, but got 'maybe'
// CHOICE: rlx-opt: error: argument '--verify-diagnostics' takes all or only-expected, but got 'some'
// OUTPUT: rlx-opt: error: cannot write output file '{{.*}}out': No such file or directory
