// RUN: rlx-opt %s -split-input-file -verify-diagnostics

func.func @no_input() {
  // expected-error @+1 {{'rlx.concat' op expects operands (first, [rest]), but got no operands}}
  %0 = "rlx.concat"() {axis = 0 : i64} : () -> tensor<2x6xf32>
  return
}

// -----

func.func @no_axis(%a: tensor<2x6xf32>, %b: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.concat' op requires attribute 'axis' (an i64 integer)}}
  %0 = "rlx.concat"(%a, %b) : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<4x6xf32>
  return
}

// -----

func.func @typo(%a: tensor<2x6xf32>, %b: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.concat' op has no attribute 'dim'; its attributes: 'axis'}}
  %0 = "rlx.concat"(%a, %b) {dim = 0 : i64, axis = 0 : i64} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<4x6xf32>
  return
}

// -----

func.func @axis(%a: tensor<2x6xf32>, %b: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.concat' op expects axis in [-2, 2) for rank 2, but got 2}}
  %0 = "rlx.concat"(%a, %b) {axis = 2 : i64} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<4x6xf32>
  return
}

// -----

func.func @scalars(%a: tensor<f32>, %b: tensor<f32>) {
  // expected-error @+1 {{'rlx.concat' op expects axis in [0, 0) for rank 0, but got 0}}
  %0 = "rlx.concat"(%a, %b) {axis = 0 : i64} : (tensor<f32>, tensor<f32>) -> tensor<2xf32>
  return
}

// -----

func.func @element_types(%a: tensor<2x6xf32>, %b: tensor<2x6xf64>) {
  // expected-error @+1 {{'rlx.concat' op expects inputs that agree except along axis 0, but got tensor<2x6xf32> and tensor<2x6xf64> (input #1)}}
  %0 = "rlx.concat"(%a, %b) {axis = 0 : i64} : (tensor<2x6xf32>, tensor<2x6xf64>) -> tensor<4x6xf32>
  return
}

// -----

func.func @ranks(%a: tensor<2x6xf32>, %b: tensor<2x6x1xf32>) {
  // expected-error @+1 {{'rlx.concat' op expects inputs that agree except along axis 0, but got tensor<2x6xf32> and tensor<2x6x1xf32> (input #1)}}
  %0 = "rlx.concat"(%a, %b) {axis = 0 : i64} : (tensor<2x6xf32>, tensor<2x6x1xf32>) -> tensor<4x6xf32>
  return
}

// -----

func.func @other_size(%a: tensor<2x6xf32>, %b: tensor<2x5xf32>) {
  // expected-error @+1 {{'rlx.concat' op expects inputs that agree except along axis 0, but got tensor<2x6xf32> and tensor<2x5xf32> (input #1)}}
  %0 = "rlx.concat"(%a, %b) {axis = 0 : i64} : (tensor<2x6xf32>, tensor<2x5xf32>) -> tensor<4x6xf32>
  return
}

// -----

func.func @types_of_rest(%a: tensor<2x6xf32>, %b: tensor<2x6xf32>, %c: tensor<3x6xf16>) {
  // expected-error @+1 {{'rlx.concat' op expects inputs that have one type from the second on (tensor.cast to a dynamic size gives them one), but got tensor<2x6xf32> and tensor<3x6xf16>}}
  %0 = "rlx.concat"(%a, %b, %c) {axis = 0 : i64} : (tensor<2x6xf32>, tensor<2x6xf32>, tensor<3x6xf16>) -> tensor<7x6xf32>
  return
}

// -----

func.func @sum(%a: tensor<2x6xf32>, %b: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.concat' op expects result of type tensor<4x6xf32>, but got tensor<5x6xf32>}}
  %0 = "rlx.concat"(%a, %b) {axis = 0 : i64} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<5x6xf32>
  return
}

// -----

func.func @kept(%a: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.concat' op expects result of type tensor<2x6xf32>, but got tensor<2x7xf32>}}
  %0 = "rlx.concat"(%a) {axis = -1 : i64} : (tensor<2x6xf32>) -> tensor<2x7xf32>
  return
}

// -----

func.func @known_size(%a: tensor<?x?xf32>, %b: tensor<2x6xf32>) {
  // expected-error @+1 {{'rlx.concat' op expects result of type tensor<?x6xf32>, but got tensor<?x5xf32>}}
  %0 = "rlx.concat"(%a, %b) {axis = 0 : i64} : (tensor<?x?xf32>, tensor<2x6xf32>) -> tensor<?x5xf32>
  return
}

// -----

func.func @huge(%a: tensor<9223372036854775807x1xf32>, %b: tensor<9223372036854775807x1xf32>) {
  // expected-error @+1 {{'rlx.concat' op expects sizes up to 9223372036854775807, but got 18446744073709551614}}
  %0 = "rlx.concat"(%a, %b) {axis = 0 : i64} : (tensor<9223372036854775807x1xf32>, tensor<9223372036854775807x1xf32>) -> tensor<?x1xf32>
  return
}
