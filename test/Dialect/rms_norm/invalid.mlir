// RUN: rlx-opt %s -split-input-file -verify-diagnostics

func.func @no_epsilon(%a: tensor<2x3x12xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op requires attribute 'epsilon' (a float)}}
  %0 = "rlx.rms_norm"(%a) : (tensor<2x3x12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @integer_epsilon(%a: tensor<2x3x12xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op attribute 'epsilon' must be a float, but got 1 : i64}}
  %0 = "rlx.rms_norm"(%a) {epsilon = 1 : i64} : (tensor<2x3x12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @negative_epsilon(%a: tensor<2x3x12xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op expects epsilon >= 0, but got -1.0}}
  %0 = "rlx.rms_norm"(%a) {epsilon = -1.0} : (tensor<2x3x12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @infinite_epsilon(%a: tensor<2x3x12xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op attribute 'epsilon' must be finite, but got 0x7FF0000000000000 : f64}}
  %0 = "rlx.rms_norm"(%a) {epsilon = 0x7FF0000000000000 : f64} : (tensor<2x3x12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @typo(%a: tensor<2x3x12xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op has no attribute 'eps'; did you mean 'epsilon'?}}
  %0 = "rlx.rms_norm"(%a) {epsilon = 1.0e-6 : f64, eps = 1.0} : (tensor<2x3x12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @offset_kind(%a: tensor<2x3x12xf32>, %b: tensor<12xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op attribute 'weight_offset' must be a float, but got true}}
  %0 = "rlx.rms_norm"(%a, %b) {epsilon = 1.0e-6 : f64, weight_offset = true} : (tensor<2x3x12xf32>, tensor<12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @offset_nan(%a: tensor<2x3x12xf32>, %b: tensor<12xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op attribute 'weight_offset' must be finite, but got 0x7FF8000000000000 : f64}}
  %0 = "rlx.rms_norm"(%a, %b) {epsilon = 1.0e-6 : f64, weight_offset = 0x7FF8000000000000 : f64} : (tensor<2x3x12xf32>, tensor<12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @offset_without_weight(%a: tensor<2x3x12xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op expects weight for weight_offset 1.0, but got none}}
  %0 = "rlx.rms_norm"(%a) {epsilon = 1.0e-6 : f64, weight_offset = 1.0} : (tensor<2x3x12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @scalar(%a: tensor<f32>) {
  // expected-error @+1 {{'rlx.rms_norm' op expects input of rank 1 or more, but got tensor<f32>}}
  %0 = "rlx.rms_norm"(%a) {epsilon = 1.0e-6 : f64} : (tensor<f32>) -> tensor<f32>
  return
}

// -----

func.func @integers(%a: tensor<2x12xi64>) {
  // expected-error @+1 {{'rlx.rms_norm' op expects input of f16, bf16, f32 or f64, but got tensor<2x12xi64>}}
  %0 = "rlx.rms_norm"(%a) {epsilon = 1.0e-6 : f64} : (tensor<2x12xi64>) -> tensor<2x12xi64>
  return
}

// -----

func.func @weight_rank(%a: tensor<2x3x12xf32>, %b: tensor<1x12xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op expects weight of rank 1, but got tensor<1x12xf32>}}
  %0 = "rlx.rms_norm"(%a, %b) {epsilon = 1.0e-6 : f64} : (tensor<2x3x12xf32>, tensor<1x12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @weight_size(%a: tensor<2x3x12xf32>, %b: tensor<8xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op expects weight of size 12, but got tensor<8xf32>}}
  %0 = "rlx.rms_norm"(%a, %b) {epsilon = 1.0e-6 : f64} : (tensor<2x3x12xf32>, tensor<8xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @weight_of_group_without_group(%a: tensor<2x3x12xf32>, %b: tensor<4xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op expects weight of size 12, but got tensor<4xf32>}}
  %0 = "rlx.rms_norm"(%a, %b) {epsilon = 1.0e-6 : f64} : (tensor<2x3x12xf32>, tensor<4xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @weight_size_with_group(%a: tensor<2x3x12xf32>, %b: tensor<3xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op expects weight of size 12 or 4, but got tensor<3xf32>}}
  %0 = "rlx.rms_norm"(%a, %b) {epsilon = 1.0e-6 : f64, group = 4 : i64} : (tensor<2x3x12xf32>, tensor<3xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @dynamic_weight_with_group(%a: tensor<2x3x12xf32>, %b: tensor<?xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op expects weight of static size with group, but got tensor<?xf32>}}
  %0 = "rlx.rms_norm"(%a, %b) {epsilon = 1.0e-6 : f64, group = 4 : i64} : (tensor<2x3x12xf32>, tensor<?xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @weight_f16(%a: tensor<2x12xbf16>, %b: tensor<12xf16>) {
  // expected-error @+1 {{'rlx.rms_norm' op expects weight with element type bf16 or f32, but got tensor<12xf16>}}
  %0 = "rlx.rms_norm"(%a, %b) {epsilon = 1.0e-6 : f64} : (tensor<2x12xbf16>, tensor<12xf16>) -> tensor<2x12xbf16>
  return
}

// -----

func.func @weight_bf16(%a: tensor<2x3x12xf32>, %b: tensor<12xbf16>) {
  // expected-error @+1 {{'rlx.rms_norm' op expects weight with element type f32, but got tensor<12xbf16>}}
  %0 = "rlx.rms_norm"(%a, %b) {epsilon = 1.0e-6 : f64} : (tensor<2x3x12xf32>, tensor<12xbf16>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @group_divides(%a: tensor<2x3x12xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op expects group >= 1 that divides 12, but got 5}}
  %0 = "rlx.rms_norm"(%a) {epsilon = 1.0e-6 : f64, group = 5 : i64} : (tensor<2x3x12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @group_larger(%a: tensor<2x3x12xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op expects group >= 1 that divides 12, but got 24}}
  %0 = "rlx.rms_norm"(%a) {epsilon = 1.0e-6 : f64, group = 24 : i64} : (tensor<2x3x12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @group_zero(%a: tensor<2x3x12xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op expects group >= 1 that divides 12, but got 0}}
  %0 = "rlx.rms_norm"(%a) {epsilon = 1.0e-6 : f64, group = 0 : i64} : (tensor<2x3x12xf32>) -> tensor<2x3x12xf32>
  return
}

// -----

func.func @group_negative(%a: tensor<2x?xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op expects group >= 1 that divides the last axis, but got -4}}
  %0 = "rlx.rms_norm"(%a) {epsilon = 1.0e-6 : f64, group = -4 : i64} : (tensor<2x?xf32>) -> tensor<2x?xf32>
  return
}

// -----

func.func @result(%a: tensor<2x3x12xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op expects result of type tensor<2x3x12xf32>, but got tensor<2x3x4xf32>}}
  %0 = "rlx.rms_norm"(%a) {epsilon = 1.0e-6 : f64} : (tensor<2x3x12xf32>) -> tensor<2x3x4xf32>
  return
}

// -----

func.func @three_operands(%a: tensor<2x3x12xf32>, %b: tensor<12xf32>, %c: tensor<12xf32>) {
  // expected-error @+1 {{'rlx.rms_norm' op expects operands (input, [weight]), but got 3 operands}}
  %0 = "rlx.rms_norm"(%a, %b, %c) {epsilon = 1.0e-6 : f64} : (tensor<2x3x12xf32>, tensor<12xf32>, tensor<12xf32>) -> tensor<2x3x12xf32>
  return
}
