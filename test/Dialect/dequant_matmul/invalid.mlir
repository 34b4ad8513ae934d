// RUN: rlx-opt %s -split-input-file -verify-diagnostics

func.func @without_scales(%x: tensor<3x8xf32>, %w: tensor<8x4xi8>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op expects operands (input, weight, scales), but got 2 operands}}
  %0 = "rlx.dequant_matmul"(%x, %w) : (tensor<3x8xf32>, tensor<8x4xi8>) -> tensor<3x4xf32>
  return
}

// -----

func.func @float_weight(%x: tensor<3x8xf32>, %w: tensor<8x4xf32>, %s: tensor<4xf32>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op expects weight with element type i8, but got tensor<8x4xf32>}}
  %0 = "rlx.dequant_matmul"(%x, %w, %s) : (tensor<3x8xf32>, tensor<8x4xf32>, tensor<4xf32>) -> tensor<3x4xf32>
  return
}

// -----

func.func @unsigned_weight(%x: tensor<3x8xf32>, %w: tensor<8x4xui8>, %s: tensor<4xf32>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op expects weight with element type i8, but got tensor<8x4xui8>}}
  %0 = "rlx.dequant_matmul"(%x, %w, %s) : (tensor<3x8xf32>, tensor<8x4xui8>, tensor<4xf32>) -> tensor<3x4xf32>
  return
}

// -----

func.func @integer_input(%x: tensor<3x8xi8>, %w: tensor<8x4xi8>, %s: tensor<4xf32>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op expects input of f16, bf16, f32 or f64, but got tensor<3x8xi8>}}
  %0 = "rlx.dequant_matmul"(%x, %w, %s) : (tensor<3x8xi8>, tensor<8x4xi8>, tensor<4xf32>) -> tensor<3x4xi8>
  return
}

// -----

func.func @scalar_input(%x: tensor<f32>, %w: tensor<8x4xi8>, %s: tensor<4xf32>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op expects input of rank 1 or more, but got tensor<f32>}}
  %0 = "rlx.dequant_matmul"(%x, %w, %s) : (tensor<f32>, tensor<8x4xi8>, tensor<4xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @weight_of_rank_3(%x: tensor<3x8xf32>, %w: tensor<1x8x4xi8>, %s: tensor<4xf32>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op expects weight of rank 2, but got tensor<1x8x4xi8>}}
  %0 = "rlx.dequant_matmul"(%x, %w, %s) : (tensor<3x8xf32>, tensor<1x8x4xi8>, tensor<4xf32>) -> tensor<3x4xf32>
  return
}

// -----

func.func @inner(%x: tensor<3x8xf32>, %w: tensor<4x8xi8>, %s: tensor<8xf32>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op expects the inner dimensions to agree, but got tensor<3x8xf32> and tensor<4x8xi8>}}
  %0 = "rlx.dequant_matmul"(%x, %w, %s) : (tensor<3x8xf32>, tensor<4x8xi8>, tensor<8xf32>) -> tensor<3x8xf32>
  return
}

// -----

func.func @inner_transposed(%x: tensor<3x8xf32>, %w: tensor<8x4xi8>, %s: tensor<8xf32>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op expects the inner dimensions to agree, but got tensor<3x8xf32> and tensor<8x4xi8> with transpose_weight}}
  %0 = "rlx.dequant_matmul"(%x, %w, %s) {transpose_weight = true} : (tensor<3x8xf32>, tensor<8x4xi8>, tensor<8xf32>) -> tensor<3x8xf32>
  return
}

// -----

func.func @scales_of_the_input_type(%x: tensor<3x8xbf16>, %w: tensor<8x4xi8>, %s: tensor<4xbf16>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op expects scales with element type f32, but got tensor<4xbf16>}}
  %0 = "rlx.dequant_matmul"(%x, %w, %s) : (tensor<3x8xbf16>, tensor<8x4xi8>, tensor<4xbf16>) -> tensor<3x4xbf16>
  return
}

// -----

func.func @narrow_scales(%x: tensor<3x8xf64>, %w: tensor<8x4xi8>, %s: tensor<4xf32>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op expects scales with element type f64, but got tensor<4xf32>}}
  %0 = "rlx.dequant_matmul"(%x, %w, %s) : (tensor<3x8xf64>, tensor<8x4xi8>, tensor<4xf32>) -> tensor<3x4xf64>
  return
}

// -----

func.func @scales_by_input_channel(%x: tensor<3x8xf32>, %w: tensor<8x4xi8>, %s: tensor<8xf32>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op expects a scale for each output channel of weight, but got tensor<8xf32> and tensor<8x4xi8>}}
  %0 = "rlx.dequant_matmul"(%x, %w, %s) : (tensor<3x8xf32>, tensor<8x4xi8>, tensor<8xf32>) -> tensor<3x4xf32>
  return
}

// -----

func.func @groups_without_group(%x: tensor<3x8xf32>, %w: tensor<8x4xi8>, %s: tensor<4x2xf32>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op expects scales of rank 1, but got tensor<4x2xf32>}}
  %0 = "rlx.dequant_matmul"(%x, %w, %s) : (tensor<3x8xf32>, tensor<8x4xi8>, tensor<4x2xf32>) -> tensor<3x4xf32>
  return
}

// -----

func.func @group_without_groups(%x: tensor<3x8xf32>, %w: tensor<8x4xi8>, %s: tensor<4xf32>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op expects scales of rank 2, but got tensor<4xf32>}}
  %0 = "rlx.dequant_matmul"(%x, %w, %s) {group = 8 : i64} : (tensor<3x8xf32>, tensor<8x4xi8>, tensor<4xf32>) -> tensor<3x4xf32>
  return
}

// -----

func.func @negative_group(%x: tensor<3x8xf32>, %w: tensor<8x4xi8>, %s: tensor<4x2xf32>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op expects group of at least 0, but got -4}}
  %0 = "rlx.dequant_matmul"(%x, %w, %s) {group = -4 : i64} : (tensor<3x8xf32>, tensor<8x4xi8>, tensor<4x2xf32>) -> tensor<3x4xf32>
  return
}

// -----

func.func @group_does_not_divide(%x: tensor<3x8xf32>, %w: tensor<?x4xi8>, %s: tensor<4x2xf32>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op expects group to divide the inner size 8, but got 3}}
  %0 = "rlx.dequant_matmul"(%x, %w, %s) {group = 3 : i64} : (tensor<3x8xf32>, tensor<?x4xi8>, tensor<4x2xf32>) -> tensor<3x4xf32>
  return
}

// -----

func.func @number_of_groups(%x: tensor<?x?xf32>, %w: tensor<8x4xi8>, %s: tensor<4x4xf32>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op expects 2 groups of 4 in scales, but got tensor<4x4xf32>}}
  %0 = "rlx.dequant_matmul"(%x, %w, %s) {group = 4 : i64} : (tensor<?x?xf32>, tensor<8x4xi8>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @result(%x: tensor<3x8xf32>, %w: tensor<8x4xi8>, %s: tensor<4xf32>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op expects result of type tensor<3x4xf32>, but got tensor<3x8xf32>}}
  %0 = "rlx.dequant_matmul"(%x, %w, %s) : (tensor<3x8xf32>, tensor<8x4xi8>, tensor<4xf32>) -> tensor<3x8xf32>
  return
}

// -----

func.func @misspelled(%x: tensor<3x8xf32>, %w: tensor<8x4xi8>, %s: tensor<4xf32>) {
  // expected-error @+1 {{'rlx.dequant_matmul' op has no attribute 'groups'; did you mean 'group'?}}
  %0 = "rlx.dequant_matmul"(%x, %w, %s) {groups = 0 : i64} : (tensor<3x8xf32>, tensor<8x4xi8>, tensor<4xf32>) -> tensor<3x4xf32>
  return
}
