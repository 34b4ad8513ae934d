// The dialect's IRDL loads in a stock mlir-opt, which then parses and prints the same text as we do.

// REQUIRES: mlir-opt-22
// RUN: rlx-opt --emit-irdl > %t.irdl.mlir
// RUN: filecheck %s --check-prefix=IRDL --input-file=%t.irdl.mlir
// RUN: mlir-opt-22 --irdl-file=%t.irdl.mlir %S/attention/ops.mlir -o %t.mlir && filecheck %S/attention/ops.mlir --input-file=%t.mlir
// RUN: mlir-opt-22 --irdl-file=%t.irdl.mlir %S/concat/ops.mlir -o %t.mlir && filecheck %S/concat/ops.mlir --input-file=%t.mlir
// RUN: mlir-opt-22 --irdl-file=%t.irdl.mlir %S/dequant_matmul/ops.mlir -o %t.mlir && filecheck %S/dequant_matmul/ops.mlir --input-file=%t.mlir
// RUN: mlir-opt-22 --irdl-file=%t.irdl.mlir %S/embedding/ops.mlir -o %t.mlir && filecheck %S/embedding/ops.mlir --input-file=%t.mlir
// RUN: mlir-opt-22 --irdl-file=%t.irdl.mlir %S/glu/ops.mlir -o %t.mlir && filecheck %S/glu/ops.mlir --input-file=%t.mlir
// RUN: mlir-opt-22 --irdl-file=%t.irdl.mlir %S/kv_append/ops.mlir -o %t.mlir && filecheck %S/kv_append/ops.mlir --input-file=%t.mlir
// RUN: mlir-opt-22 --irdl-file=%t.irdl.mlir %S/layer_norm/ops.mlir -o %t.mlir && filecheck %S/layer_norm/ops.mlir --input-file=%t.mlir
// RUN: mlir-opt-22 --irdl-file=%t.irdl.mlir %S/matmul/ops.mlir -o %t.mlir && filecheck %S/matmul/ops.mlir --input-file=%t.mlir
// RUN: mlir-opt-22 --irdl-file=%t.irdl.mlir %S/narrow/ops.mlir -o %t.mlir && filecheck %S/narrow/ops.mlir --input-file=%t.mlir
// RUN: mlir-opt-22 --irdl-file=%t.irdl.mlir %S/rms_norm/ops.mlir -o %t.mlir && filecheck %S/rms_norm/ops.mlir --input-file=%t.mlir
// RUN: mlir-opt-22 --irdl-file=%t.irdl.mlir %S/rope/ops.mlir -o %t.mlir && filecheck %S/rope/ops.mlir --input-file=%t.mlir
// RUN: mlir-opt-22 --irdl-file=%t.irdl.mlir %s -split-input-file -verify-diagnostics

// IRDL: irdl.dialect @rlx
// IRDL: irdl.operation @narrow
// IRDL: irdl.operands(input: %
// IRDL: irdl.attributes {"axis" = %{{.*}}, "start" = %{{.*}}, "length" = %{{.*}}}
// IRDL: irdl.operation @attention
// IRDL: mask: optional %

func.func @missing_attribute(%x: tensor<2x6xf32>) {
  // expected-error @+1 {{attribute "length" is expected but not provided}}
  %0 = "rlx.narrow"(%x) {axis = 1 : i64, start = 0 : i64} : (tensor<2x6xf32>) -> tensor<2x1xf32>
  return
}

// -----

func.func @kind_of_attribute(%x: tensor<2x6xf32>) {
  // expected-error @+1 {{expected base attribute 'builtin.float' but got 'builtin.string'}}
  %0 = "rlx.rms_norm"(%x) {epsilon = "small"} : (tensor<2x6xf32>) -> tensor<2x6xf32>
  return
}

// -----

func.func @kind_of_operand(%x: memref<2x6xf32>) {
  // expected-error @+1 {{expected base type 'builtin.tensor' but got 'builtin.memref'}}
  %0 = "rlx.rms_norm"(%x) {epsilon = 1.0e-6} : (memref<2x6xf32>) -> memref<2x6xf32>
  return
}
