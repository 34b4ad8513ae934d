// RUN: rlx-opt %s -split-input-file -verify-diagnostics

func.func @no_up(%a: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.glu' op expects operands (gate, up), but got 1 operand}}
  %0 = "rlx.glu"(%a) {activation = "silu"} : (tensor<2x6xf32>) -> tensor<2x6xf32>
  return
}

// -----

func.func @no_activation(%a: tensor<2x6xf32>, %b: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.glu' op requires attribute 'activation' (one of "silu", "gelu", "gelu_tanh", "relu")}}
  %0 = "rlx.glu"(%a, %b) : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<2x6xf32>
  return
}

// -----

func.func @activation(%a: tensor<2x6xf32>, %b: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.glu' op attribute 'activation' must be one of "silu", "gelu", "gelu_tanh", "relu", but got "swish"}}
  %0 = "rlx.glu"(%a, %b) {activation = "swish"} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<2x6xf32>
  return
}

// -----

func.func @capitals(%a: tensor<2x6xf32>, %b: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.glu' op attribute 'activation' must be one of "silu", "gelu", "gelu_tanh", "relu", but got "SiLU"}}
  %0 = "rlx.glu"(%a, %b) {activation = "SiLU"} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<2x6xf32>
  return
}

// -----

func.func @no_string(%a: tensor<2x6xf32>, %b: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.glu' op attribute 'activation' must be one of "silu", "gelu", "gelu_tanh", "relu", but got 1 : i64}}
  %0 = "rlx.glu"(%a, %b) {activation = 1 : i64} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<2x6xf32>
  return
}

// -----

func.func @integers(%a: tensor<2xi32>, %b: tensor<2xi32>) {
  // expected-error @+1 {{'rlx.glu' op expects gate of f16, bf16, f32 or f64, but got tensor<2xi32>}}
  %0 = "rlx.glu"(%a, %b) {activation = "silu"} : (tensor<2xi32>, tensor<2xi32>) -> tensor<2xi32>
  return
}

// -----

func.func @sizes(%a: tensor<2x6xf32>, %b: tensor<2x5xf32>) {
  // expected-error @+1 {{'rlx.glu' op expects up of type tensor<2x6xf32>, but got tensor<2x5xf32>}}
  %0 = "rlx.glu"(%a, %b) {activation = "silu"} : (tensor<2x6xf32>, tensor<2x5xf32>) -> tensor<2x6xf32>
  return
}

// -----

func.func @broadcast(%a: tensor<2x6xf32>, %b: tensor<6xf32>) {
  // expected-error @+1 {{'rlx.glu' op expects up of type tensor<2x6xf32>, but got tensor<6xf32>}}
  %0 = "rlx.glu"(%a, %b) {activation = "silu"} : (tensor<2x6xf32>, tensor<6xf32>) -> tensor<2x6xf32>
  return
}

// -----

func.func @element_types(%a: tensor<2x6xf32>, %b: tensor<2x6xbf16>) {
  // expected-error @+1 {{'rlx.glu' op expects up of type tensor<2x6xf32>, but got tensor<2x6xbf16>}}
  %0 = "rlx.glu"(%a, %b) {activation = "silu"} : (tensor<2x6xf32>, tensor<2x6xbf16>) -> tensor<2x6xf32>
  return
}

// -----

func.func @result(%a: tensor<2x6xf32>, %b: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.glu' op expects result of type tensor<2x6xf32>, but got tensor<2x3xf32>}}
  %0 = "rlx.glu"(%a, %b) {activation = "silu"} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<2x3xf32>
  return
}
