// RUN: rlx-opt %s | rlx-opt | filecheck %s

// CHECK-LABEL: func.func @activations
// CHECK: "rlx.glu"(%{{.*}}, %{{.*}}) {activation = "silu"} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<2x6xf32>
// CHECK: "rlx.glu"(%{{.*}}, %{{.*}}) {activation = "gelu"} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<2x6xf32>
// CHECK: "rlx.glu"(%{{.*}}, %{{.*}}) {activation = "gelu_tanh"} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<2x6xf32>
// CHECK: "rlx.glu"(%{{.*}}, %{{.*}}) {activation = "relu"} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<2x6xf32>
func.func @activations(%a: tensor<2x6xf32>, %b: tensor<2x6xf32>, %c: tensor<2x6xf32>, %d: tensor<2x6xf32>, %e: tensor<2x6xf32>, %f: tensor<2x6xf32>, %g: tensor<2x6xf32>, %h: tensor<2x6xf32>) {
  %0 = "rlx.glu"(%a, %b) {activation = "silu"} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<2x6xf32>
  %1 = "rlx.glu"(%c, %d) {activation = "gelu"} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<2x6xf32>
  %2 = "rlx.glu"(%e, %f) {activation = "gelu_tanh"} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<2x6xf32>
  %3 = "rlx.glu"(%g, %h) {activation = "relu"} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<2x6xf32>
  return
}

// CHECK-LABEL: func.func @ranks
// CHECK: "rlx.glu"(%{{.*}}, %{{.*}}) {activation = "silu"} : (tensor<bf16>, tensor<bf16>) -> tensor<bf16>
func.func @ranks(%a: tensor<bf16>, %b: tensor<bf16>) {
  %0 = "rlx.glu"(%a, %b) {activation = "silu"} : (tensor<bf16>, tensor<bf16>) -> tensor<bf16>
  return
}

// CHECK-LABEL: func.func @dynamic
// CHECK: "rlx.glu"(%{{.*}}, %{{.*}}) {activation = "silu"} : (tensor<?x6xf16>, tensor<2x?xf16>) -> tensor<?x6xf16>
func.func @dynamic(%a: tensor<?x6xf16>, %b: tensor<2x?xf16>) {
  %0 = "rlx.glu"(%a, %b) {activation = "silu"} : (tensor<?x6xf16>, tensor<2x?xf16>) -> tensor<?x6xf16>
  return
}
