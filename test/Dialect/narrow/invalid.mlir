// RUN: rlx-opt %s -split-input-file -verify-diagnostics

func.func @no_axis(%a: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.narrow' op requires attribute 'axis' (an i64 integer)}}
  %0 = "rlx.narrow"(%a) {start = 0 : i64, length = 1 : i64} : (tensor<2x6xf32>) -> tensor<2x1xf32>
  return
}

// -----

func.func @no_start(%a: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.narrow' op requires attribute 'start' (an i64 integer)}}
  %0 = "rlx.narrow"(%a) {axis = 1 : i64, length = 1 : i64} : (tensor<2x6xf32>) -> tensor<2x1xf32>
  return
}

// -----

func.func @no_length(%a: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.narrow' op requires attribute 'length' (an i64 integer)}}
  %0 = "rlx.narrow"(%a) {axis = 1 : i64, start = 0 : i64} : (tensor<2x6xf32>) -> tensor<2x1xf32>
  return
}

// -----

func.func @index_axis(%a: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.narrow' op attribute 'axis' must be an i64 integer, but got 1 : index}}
  %0 = "rlx.narrow"(%a) {axis = 1 : index, start = 0 : i64, length = 1 : i64} : (tensor<2x6xf32>) -> tensor<2x1xf32>
  return
}

// -----

func.func @float_start(%a: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.narrow' op attribute 'start' must be an i64 integer, but got 0.000000e+00 : f64}}
  %0 = "rlx.narrow"(%a) {axis = 1 : i64, start = 0.0, length = 1 : i64} : (tensor<2x6xf32>) -> tensor<2x1xf32>
  return
}

// -----

func.func @axis_too_large(%a: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.narrow' op expects axis in [-2, 2) for rank 2, but got 2}}
  %0 = "rlx.narrow"(%a) {axis = 2 : i64, start = 0 : i64, length = 1 : i64} : (tensor<2x6xf32>) -> tensor<2x1xf32>
  return
}

// -----

func.func @axis_too_small(%a: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.narrow' op expects axis in [-2, 2) for rank 2, but got -3}}
  %0 = "rlx.narrow"(%a) {axis = -3 : i64, start = 0 : i64, length = 1 : i64} : (tensor<2x6xf32>) -> tensor<2x1xf32>
  return
}

// -----

func.func @scalar(%a: tensor<f32>) {
  // expected-error @+1 {{'rlx.narrow' op expects axis in [0, 0) for rank 0, but got 0}}
  %0 = "rlx.narrow"(%a) {axis = 0 : i64, start = 0 : i64, length = 1 : i64} : (tensor<f32>) -> tensor<f32>
  return
}

// -----

func.func @negative_start(%a: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.narrow' op expects start >= 0 and length >= 1, but got start -1 and length 1}}
  %0 = "rlx.narrow"(%a) {axis = 1 : i64, start = -1 : i64, length = 1 : i64} : (tensor<2x6xf32>) -> tensor<2x1xf32>
  return
}

// -----

func.func @no_rows(%a: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.narrow' op expects start >= 0 and length >= 1, but got start 0 and length 0}}
  %0 = "rlx.narrow"(%a) {axis = 1 : i64, start = 0 : i64, length = 0 : i64} : (tensor<2x6xf32>) -> tensor<2x0xf32>
  return
}

// -----

func.func @past_the_end(%a: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.narrow' op expects start + length <= 6 on axis 1, but got 4 + 3}}
  %0 = "rlx.narrow"(%a) {axis = -1 : i64, start = 4 : i64, length = 3 : i64} : (tensor<2x6xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @overflow(%a: tensor<?xf32>) {
  // expected-error @+1 {{'rlx.narrow' op expects start + length <= 9223372036854775807 on axis 0, but got 9223372036854775807 + 1}}
  %0 = "rlx.narrow"(%a) {axis = 0 : i64, start = 9223372036854775807 : i64, length = 1 : i64} : (tensor<?xf32>) -> tensor<1xf32>
  return
}

// -----

func.func @result(%a: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.narrow' op expects result of type tensor<2x3xf32>, but got tensor<2x4xf32>}}
  %0 = "rlx.narrow"(%a) {axis = 1 : i64, start = 0 : i64, length = 3 : i64} : (tensor<2x6xf32>) -> tensor<2x4xf32>
  return
}

// -----

func.func @two_inputs(%a: tensor<2x6xf32>, %b: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.narrow' op expects operands (input), but got 2 operands}}
  %0 = "rlx.narrow"(%a, %b) {axis = 1 : i64, start = 0 : i64, length = 3 : i64} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<2x3xf32>
  return
}
