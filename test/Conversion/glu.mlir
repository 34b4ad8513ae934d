// RUN: rlx-opt %s --pass-pipeline='builtin.module(convert-rlx-to-linalg,canonicalize,cse)' | filecheck %s

// CHECK-LABEL: func.func @silu
// CHECK-NOT: cf.assert
// CHECK: linalg.generic
// CHECK: arith.negf
// CHECK: math.exp
// CHECK: arith.divf
// CHECK: arith.mulf
func.func @silu(%g: tensor<2x8xf32>, %u: tensor<2x8xf32>) -> tensor<2x8xf32> {
  %0 = "rlx.glu"(%g, %u) {activation = "silu"} : (tensor<2x8xf32>, tensor<2x8xf32>) -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}

// CHECK-LABEL: func.func @gelu(
// CHECK-DAG: arith.constant 0.707106769 : f32
// CHECK: math.erf
func.func @gelu(%g: tensor<2x8xf32>, %u: tensor<2x8xf32>) -> tensor<2x8xf32> {
  %0 = "rlx.glu"(%g, %u) {activation = "gelu"} : (tensor<2x8xf32>, tensor<2x8xf32>) -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}

// CHECK-LABEL: func.func @gelu_tanh
// CHECK-DAG: arith.constant 4.471500e-02 : f32
// CHECK-DAG: arith.constant 0.797884583 : f32
// CHECK: math.tanh
func.func @gelu_tanh(%g: tensor<2x8xf32>, %u: tensor<2x8xf32>) -> tensor<2x8xf32> {
  %0 = "rlx.glu"(%g, %u) {activation = "gelu_tanh"} : (tensor<2x8xf32>, tensor<2x8xf32>) -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}

// CHECK-LABEL: func.func @relu
// CHECK: arith.maximumf
func.func @relu(%g: tensor<2x8xf32>, %u: tensor<2x8xf32>) -> tensor<2x8xf32> {
  %0 = "rlx.glu"(%g, %u) {activation = "relu"} : (tensor<2x8xf32>, tensor<2x8xf32>) -> tensor<2x8xf32>
  return %0 : tensor<2x8xf32>
}

// Two projections of one input have the same rows: nothing is checked.
// CHECK-LABEL: func.func @mlp
// CHECK-NOT: cf.assert
// CHECK-NOT: scf.if
// CHECK: return
func.func @mlp(%x: tensor<1x?x8xbf16>, %g: tensor<16x8xbf16>, %u: tensor<16x8xbf16>) -> tensor<1x?x16xbf16> {
  %0 = "rlx.matmul"(%x, %g) {transpose_weight = true} : (tensor<1x?x8xbf16>, tensor<16x8xbf16>) -> tensor<1x?x16xbf16>
  %1 = "rlx.matmul"(%x, %u) {transpose_weight = true} : (tensor<1x?x8xbf16>, tensor<16x8xbf16>) -> tensor<1x?x16xbf16>
  %2 = "rlx.glu"(%0, %1) {activation = "silu"} : (tensor<1x?x16xbf16>, tensor<1x?x16xbf16>) -> tensor<1x?x16xbf16>
  return %2 : tensor<1x?x16xbf16>
}

// CHECK-LABEL: func.func @rows_may_differ
// CHECK: cf.assert %[[OK:.*]], "rlx.glu: gate and up must have the same sizes"
// CHECK: scf.if %[[OK]] -> (tensor<?x8xf32>)
// CHECK: scf.yield %arg1
func.func @rows_may_differ(%g: tensor<?x8xf32>, %u: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = "rlx.glu"(%g, %u) {activation = "silu"} : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}
