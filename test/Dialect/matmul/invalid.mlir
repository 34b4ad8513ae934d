// RUN: rlx-opt %s -split-input-file -verify-diagnostics

func.func @one_operand(%a: tensor<2x3x8xf32>) {
  // expected-error @+1 {{'rlx.matmul' op expects operands (input, weight), but got 1 operand}}
  %0 = "rlx.matmul"(%a) : (tensor<2x3x8xf32>) -> tensor<2x3x4xf32>
  return
}

// -----

func.func @three_operands(%a: tensor<2x3x8xf32>, %b: tensor<8x4xf32>, %c: tensor<8x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op expects operands (input, weight), but got 3 operands}}
  %0 = "rlx.matmul"(%a, %b, %c) : (tensor<2x3x8xf32>, tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<2x3x4xf32>
  return
}

// -----

func.func @no_result(%a: tensor<2x3x8xf32>, %b: tensor<8x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op expects 1 result, but got 0}}
  "rlx.matmul"(%a, %b) : (tensor<2x3x8xf32>, tensor<8x4xf32>) -> ()
  return
}

// -----

func.func @two_results(%a: tensor<2x3x8xf32>, %b: tensor<8x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op expects 1 result, but got 2}}
  %0:2 = "rlx.matmul"(%a, %b) : (tensor<2x3x8xf32>, tensor<8x4xf32>) -> (tensor<2x3x4xf32>, tensor<2x3x4xf32>)
  return
}

// -----

func.func @memref(%a: memref<2x3x8xf32>, %b: tensor<8x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op expects input to be a ranked tensor, but got memref<2x3x8xf32>}}
  %0 = "rlx.matmul"(%a, %b) : (memref<2x3x8xf32>, tensor<8x4xf32>) -> tensor<2x3x4xf32>
  return
}

// -----

func.func @unranked(%a: tensor<2x3x8xf32>, %b: tensor<*xf32>) {
  // expected-error @+1 {{'rlx.matmul' op expects weight to be a ranked tensor, but got tensor<*xf32>}}
  %0 = "rlx.matmul"(%a, %b) : (tensor<2x3x8xf32>, tensor<*xf32>) -> tensor<2x3x4xf32>
  return
}

// -----

func.func @layout(%a: tensor<2x3x8xf32>, %b: tensor<8x4xf32, "layout">) {
  // expected-error @+1 {{'rlx.matmul' op expects weight to be a ranked tensor, but got tensor<8x4xf32, "layout">}}
  %0 = "rlx.matmul"(%a, %b) : (tensor<2x3x8xf32>, tensor<8x4xf32, "layout">) -> tensor<2x3x4xf32>
  return
}

// -----

func.func @vector_result(%a: tensor<2x3x8xf32>, %b: tensor<8x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op expects result to be a ranked tensor, but got vector<4xf32>}}
  %0 = "rlx.matmul"(%a, %b) : (tensor<2x3x8xf32>, tensor<8x4xf32>) -> vector<4xf32>
  return
}

// -----

func.func @typo(%a: tensor<2x3x8xf32>, %b: tensor<8x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op has no attribute 'transposed_weight'; did you mean 'transpose_weight'?}}
  %0 = "rlx.matmul"(%a, %b) {transposed_weight = true} : (tensor<2x3x8xf32>, tensor<8x4xf32>) -> tensor<2x3x4xf32>
  return
}

// -----

func.func @segments(%a: tensor<2x3x8xf32>, %b: tensor<8x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op has no attribute 'operandSegmentSizes'; its attributes: 'transpose_weight'}}
  %0 = "rlx.matmul"(%a, %b) {operandSegmentSizes = array<i32: 1, 1>} : (tensor<2x3x8xf32>, tensor<8x4xf32>) -> tensor<2x3x4xf32>
  return
}

// -----

func.func @kind(%a: tensor<2x3x8xf32>, %b: tensor<8x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op attribute 'transpose_weight' must be a bool, but got 1 : i64}}
  %0 = "rlx.matmul"(%a, %b) {transpose_weight = 1 : i64} : (tensor<2x3x8xf32>, tensor<8x4xf32>) -> tensor<2x3x4xf32>
  return
}

// -----

func.func @unit(%a: tensor<2x3x8xf32>, %b: tensor<8x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op attribute 'transpose_weight' must be a bool, but got unit}}
  %0 = "rlx.matmul"(%a, %b) {transpose_weight} : (tensor<2x3x8xf32>, tensor<8x4xf32>) -> tensor<2x3x4xf32>
  return
}

// -----

func.func @scalar(%a: tensor<f32>, %b: tensor<8x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op expects input of rank 1 or more, but got tensor<f32>}}
  %0 = "rlx.matmul"(%a, %b) : (tensor<f32>, tensor<8x4xf32>) -> tensor<2x3x4xf32>
  return
}

// -----

func.func @batched_weight(%a: tensor<2x3x8xf32>, %b: tensor<2x8x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op expects weight of rank 2, but got tensor<2x8x4xf32>}}
  %0 = "rlx.matmul"(%a, %b) : (tensor<2x3x8xf32>, tensor<2x8x4xf32>) -> tensor<2x3x4xf32>
  return
}

// -----

func.func @integers(%a: tensor<2x3x8xi32>, %b: tensor<8x4xi32>) {
  // expected-error @+1 {{'rlx.matmul' op expects input of f16, bf16, f32 or f64, but got tensor<2x3x8xi32>}}
  %0 = "rlx.matmul"(%a, %b) : (tensor<2x3x8xi32>, tensor<8x4xi32>) -> tensor<2x3x4xi32>
  return
}

// -----

func.func @narrow_float(%a: tensor<2x3x8xf8E5M2>, %b: tensor<8x4xf8E5M2>) {
  // expected-error @+1 {{'rlx.matmul' op expects input of f16, bf16, f32 or f64, but got tensor<2x3x8xf8E5M2>}}
  %0 = "rlx.matmul"(%a, %b) : (tensor<2x3x8xf8E5M2>, tensor<8x4xf8E5M2>) -> tensor<2x3x4xf8E5M2>
  return
}

// -----

func.func @mixed(%a: tensor<2x3x8xf32>, %b: tensor<8x4xbf16>) {
  // expected-error @+1 {{'rlx.matmul' op expects weight with element type f32, but got tensor<8x4xbf16>}}
  %0 = "rlx.matmul"(%a, %b) : (tensor<2x3x8xf32>, tensor<8x4xbf16>) -> tensor<2x3x4xf32>
  return
}

// -----

func.func @inner(%a: tensor<2x3x8xf32>, %b: tensor<7x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op expects the inner dimensions to agree, but got tensor<2x3x8xf32> and tensor<7x4xf32>}}
  %0 = "rlx.matmul"(%a, %b) : (tensor<2x3x8xf32>, tensor<7x4xf32>) -> tensor<2x3x4xf32>
  return
}

// -----

func.func @inner_transposed(%a: tensor<2x3x8xf32>, %b: tensor<8x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op expects the inner dimensions to agree, but got tensor<2x3x8xf32> and tensor<8x4xf32> with transpose_weight}}
  %0 = "rlx.matmul"(%a, %b) {transpose_weight = true} : (tensor<2x3x8xf32>, tensor<8x4xf32>) -> tensor<2x3x4xf32>
  return
}

// -----

func.func @result_size(%a: tensor<2x3x8xf32>, %b: tensor<8x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op expects result of type tensor<2x3x4xf32>, but got tensor<2x3x8xf32>}}
  %0 = "rlx.matmul"(%a, %b) : (tensor<2x3x8xf32>, tensor<8x4xf32>) -> tensor<2x3x8xf32>
  return
}

// -----

func.func @result_rows(%a: tensor<?x3x8xf32>, %b: tensor<8x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op expects result of type tensor<?x3x4xf32>, but got tensor<2x4x4xf32>}}
  %0 = "rlx.matmul"(%a, %b) : (tensor<?x3x8xf32>, tensor<8x4xf32>) -> tensor<2x4x4xf32>
  return
}

// -----

func.func @result_rank(%a: tensor<2x3x8xf32>, %b: tensor<8x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op expects result of type tensor<2x3x4xf32>, but got tensor<6x4xf32>}}
  %0 = "rlx.matmul"(%a, %b) : (tensor<2x3x8xf32>, tensor<8x4xf32>) -> tensor<6x4xf32>
  return
}

// -----

func.func @result_element_type(%a: tensor<2x3x8xf32>, %b: tensor<8x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op expects result of type tensor<2x3x4xf32>, but got tensor<2x3x4xf64>}}
  %0 = "rlx.matmul"(%a, %b) : (tensor<2x3x8xf32>, tensor<8x4xf32>) -> tensor<2x3x4xf64>
  return
}

// -----

func.func @region(%a: tensor<2x3x8xf32>, %b: tensor<8x4xf32>) {
  // expected-error @+1 {{'rlx.matmul' op expects no regions, but got 1}}
  %0 = "rlx.matmul"(%a, %b) ({}) : (tensor<2x3x8xf32>, tensor<8x4xf32>) -> tensor<2x3x4xf32>
  return
}
