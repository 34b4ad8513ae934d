// RUN: rlx-opt %s -split-input-file -verify-diagnostics

func.func @no_bias(%a: tensor<2x3x12xf32>, %b: tensor<12xf32>) {
  // expected-error @+1 {{'rlx.layer_norm' op expects operands (input, weight, bias), but got 2 operands}}
  %0 = "rlx.layer_norm"(%a, %b) {epsilon = 1.0e-6 : f64} : (tensor<2x3x12xf32>, tensor<12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @no_epsilon(%a: tensor<2x3x12xf32>, %b: tensor<12xf32>, %c: tensor<12xf32>) {
  // expected-error @+1 {{'rlx.layer_norm' op requires attribute 'epsilon' (a float)}}
  %0 = "rlx.layer_norm"(%a, %b, %c) : (tensor<2x3x12xf32>, tensor<12xf32>, tensor<12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @negative_epsilon(%a: tensor<2x3x12xf32>, %b: tensor<12xf32>, %c: tensor<12xf32>) {
  // expected-error @+1 {{'rlx.layer_norm' op expects epsilon >= 0, but got -1e-05}}
  %0 = "rlx.layer_norm"(%a, %b, %c) {epsilon = -1.0e-5} : (tensor<2x3x12xf32>, tensor<12xf32>, tensor<12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @scalar(%a: tensor<f32>, %b: tensor<12xf32>, %c: tensor<12xf32>) {
  // expected-error @+1 {{'rlx.layer_norm' op expects input of rank 1 or more, but got tensor<f32>}}
  %0 = "rlx.layer_norm"(%a, %b, %c) {epsilon = 1.0e-6 : f64} : (tensor<f32>, tensor<12xf32>, tensor<12xf32>) -> tensor<f32>
  return
}

// -----

func.func @integers(%a: tensor<12xi8>, %b: tensor<12xf32>, %c: tensor<12xf32>) {
  // expected-error @+1 {{'rlx.layer_norm' op expects input of f16, bf16, f32 or f64, but got tensor<12xi8>}}
  %0 = "rlx.layer_norm"(%a, %b, %c) {epsilon = 1.0e-6 : f64} : (tensor<12xi8>, tensor<12xf32>, tensor<12xf32>) -> tensor<12xi8>
  return
}

// -----

func.func @weight_rank(%a: tensor<2x3x12xf32>, %b: tensor<f32>, %c: tensor<12xf32>) {
  // expected-error @+1 {{'rlx.layer_norm' op expects weight of rank 1, but got tensor<f32>}}
  %0 = "rlx.layer_norm"(%a, %b, %c) {epsilon = 1.0e-6 : f64} : (tensor<2x3x12xf32>, tensor<f32>, tensor<12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @weight_size(%a: tensor<2x3x12xf32>, %b: tensor<3xf32>, %c: tensor<12xf32>) {
  // expected-error @+1 {{'rlx.layer_norm' op expects weight of size 12, but got tensor<3xf32>}}
  %0 = "rlx.layer_norm"(%a, %b, %c) {epsilon = 1.0e-6 : f64} : (tensor<2x3x12xf32>, tensor<3xf32>, tensor<12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @bias_size(%a: tensor<2x3x12xf32>, %b: tensor<12xf32>, %c: tensor<1xf32>) {
  // expected-error @+1 {{'rlx.layer_norm' op expects bias of size 12, but got tensor<1xf32>}}
  %0 = "rlx.layer_norm"(%a, %b, %c) {epsilon = 1.0e-6 : f64} : (tensor<2x3x12xf32>, tensor<12xf32>, tensor<1xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @bias_element_type(%a: tensor<12xf16>, %b: tensor<12xf16>, %c: tensor<12xbf16>) {
  // expected-error @+1 {{'rlx.layer_norm' op expects bias with element type f16 or f32, but got tensor<12xbf16>}}
  %0 = "rlx.layer_norm"(%a, %b, %c) {epsilon = 1.0e-6 : f64} : (tensor<12xf16>, tensor<12xf16>, tensor<12xbf16>) -> tensor<12xf16>
  return
}

// -----

func.func @f64_weight(%a: tensor<2x3x12xf32>, %b: tensor<12xf64>, %c: tensor<12xf32>) {
  // expected-error @+1 {{'rlx.layer_norm' op expects weight with element type f32, but got tensor<12xf64>}}
  %0 = "rlx.layer_norm"(%a, %b, %c) {epsilon = 1.0e-6 : f64} : (tensor<2x3x12xf32>, tensor<12xf64>, tensor<12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @result(%a: tensor<2x3x12xf32>, %b: tensor<12xf32>, %c: tensor<12xf32>) {
  // expected-error @+1 {{'rlx.layer_norm' op expects result of type tensor<2x3x12xf32>, but got tensor<2x3x12xf64>}}
  %0 = "rlx.layer_norm"(%a, %b, %c) {epsilon = 1.0e-6 : f64} : (tensor<2x3x12xf32>, tensor<12xf32>, tensor<12xf32>) -> tensor<2x3x12xf64>
  return
}
