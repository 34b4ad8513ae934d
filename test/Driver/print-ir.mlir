// RUN: rlx-opt %s --cse --convert-rlx-to-linalg -o %t --mlir-print-ir-after-all 2>&1 | filecheck %s --check-prefix=AFTER
// RUN: rlx-opt %s --cse --convert-rlx-to-linalg -o %t -mlir-print-ir-before-all 2>&1 | filecheck %s --check-prefix=BEFORE
// RUN: rlx-opt %s --cse --convert-rlx-to-linalg -o %t --mlir-print-ir-before=convert-rlx-to-linalg --mlir-print-ir-after=cse,canonicalize 2>&1 | filecheck %s --check-prefix=NAMED
// RUN: rlx-opt %s --cse --convert-rlx-to-linalg --canonicalize --canonicalize -o %t --mlir-print-ir-after-all --mlir-print-ir-after-change 2>&1 | filecheck %s --check-prefix=CHANGE
// RUN: rlx-opt %s --cse --convert-rlx-to-linalg --canonicalize --canonicalize -o %t --mlir-print-ir-after-change 2>&1 | filecheck %s --check-prefix=CHANGE
// RUN: not rlx-opt %s --cse --transform-interpreter -o %t --mlir-print-ir-after-failure 2>&1 | filecheck %s --check-prefix=FAILURE
// RUN: rlx-opt %s --pass-pipeline="builtin.module(func.func(cse))" -o %t --mlir-print-ir-after-all 2>&1 | filecheck %s --check-prefix=FUNCTION
// RUN: rlx-opt %s --pass-pipeline="builtin.module(func.func(cse))" -o %t --mlir-print-ir-after-all --mlir-print-ir-module-scope 2>&1 | filecheck %s --check-prefix=MODULE
// RUN: rlx-opt %s --cse -o %t --mlir-print-ir-after-all --mlir-print-op-generic --mlir-print-debuginfo 2>&1 | filecheck %s --check-prefix=FORM
// RUN: not rlx-opt %s --cse --mlir-print-ir-after=cse,canonicalise 2>&1 | filecheck %s --check-prefix=TYPO
// RUN: not rlx-opt %s --cse --mlir-print-ir-before=rlx-fuse 2>&1 | filecheck %s --check-prefix=PIPELINE

// AFTER: // -----// IR Dump After CSEPass (cse) //----- //
// AFTER-NEXT: module {
// AFTER: rlx.narrow
// AFTER: // -----// IR Dump After ConvertRlxToLinalg (convert-rlx-to-linalg) //----- //
// AFTER-NOT: rlx.narrow
// AFTER: tensor.extract_slice

// BEFORE: // -----// IR Dump Before CSEPass (cse) //----- //
// BEFORE: rlx.narrow
// BEFORE: // -----// IR Dump Before ConvertRlxToLinalg (convert-rlx-to-linalg) //----- //
// BEFORE: rlx.narrow
// BEFORE-NOT: extract_slice

// NAMED-NOT: Before CSEPass
// NAMED: IR Dump After CSEPass (cse)
// NAMED: IR Dump Before ConvertRlxToLinalg (convert-rlx-to-linalg)
// NAMED-NOT: IR Dump

// CHANGE-NOT: CSEPass
// CHANGE: IR Dump After ConvertRlxToLinalg
// CHANGE-NOT: IR Dump

// FAILURE-NOT: IR Dump After CSEPass
// FAILURE: // -----// IR Dump After InterpreterPass Failed (transform-interpreter) //----- //
// FAILURE-NEXT: module {

// FUNCTION: // -----// IR Dump After CSEPass (cse) //----- //
// FUNCTION-NEXT: {{^}}func.func @f
// FUNCTION: // -----// IR Dump After CSEPass (cse) //----- //
// FUNCTION-NEXT: {{^}}func.func @g

// MODULE: // -----// IR Dump After CSEPass (cse) ('func.func' operation: @f) //----- //
// MODULE-NEXT: module {
// MODULE: // -----// IR Dump After CSEPass (cse) ('func.func' operation: @g) //----- //
// MODULE-NEXT: module {

// TYPO: rlx-opt: error: --mlir-print-ir-after: unknown pass 'canonicalise'; did you mean 'canonicalize'?
// PIPELINE: rlx-opt: error: --mlir-print-ir-before: 'rlx-fuse' is a pipeline; name a pass of it

// FORM: "builtin.module"() ({
// FORM: loc(
func.func @f(%x: tensor<4xf32>) -> tensor<2xf32> {
  %0 = "rlx.narrow"(%x) {axis = 0 : i64, start = 1 : i64, length = 2 : i64} : (tensor<4xf32>) -> tensor<2xf32>
  return %0 : tensor<2xf32>
}
func.func @g() { return }
