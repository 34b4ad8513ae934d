// RUN: rlx-opt %s -split-input-file -verify-diagnostics

func.func @no_lengths(%a: tensor<2x9x4xf32>, %b: tensor<2x3x4xf32>) {
  // expected-error @+1 {{'rlx.kv_append' op expects operands (cache, update, lengths), but got 2 operands}}
  %0 = "rlx.kv_append"(%a, %b) : (tensor<2x9x4xf32>, tensor<2x3x4xf32>) -> tensor<2x9x4xf32>
  return
}

// -----

func.func @attribute(%a: tensor<2x9x4xf32>, %b: tensor<2x3x4xf32>, %c: tensor<2xi64>) {
  // expected-error @+1 {{'rlx.kv_append' op has no attribute 'axis'; its attributes: none}}
  %0 = "rlx.kv_append"(%a, %b, %c) {axis = 1 : i64} : (tensor<2x9x4xf32>, tensor<2x3x4xf32>, tensor<2xi64>) -> tensor<2x9x4xf32>
  return
}

// -----

func.func @memref(%a: memref<2x9x4xf32>, %b: tensor<2x3x4xf32>, %c: tensor<2xi64>) {
  // expected-error @+1 {{'rlx.kv_append' op expects cache to be a ranked tensor, but got memref<2x9x4xf32>}}
  %0 = "rlx.kv_append"(%a, %b, %c) : (memref<2x9x4xf32>, tensor<2x3x4xf32>, tensor<2xi64>) -> tensor<2x9x4xf32>
  return
}

// -----

func.func @cache_rank(%a: tensor<9x4xf32>, %b: tensor<2x3x4xf32>, %c: tensor<2xi64>) {
  // expected-error @+1 {{'rlx.kv_append' op expects cache of rank 3, but got tensor<9x4xf32>}}
  %0 = "rlx.kv_append"(%a, %b, %c) : (tensor<9x4xf32>, tensor<2x3x4xf32>, tensor<2xi64>) -> tensor<9x4xf32>
  return
}

// -----

func.func @cache_of_integers(%a: tensor<2x9x4xi8>, %b: tensor<2x3x4xi8>, %c: tensor<2xi64>) {
  // expected-error @+1 {{'rlx.kv_append' op expects cache of f16, bf16, f32 or f64, but got tensor<2x9x4xi8>}}
  %0 = "rlx.kv_append"(%a, %b, %c) : (tensor<2x9x4xi8>, tensor<2x3x4xi8>, tensor<2xi64>) -> tensor<2x9x4xi8>
  return
}

// -----

func.func @update_rank(%a: tensor<2x9x4xf32>, %b: tensor<2x4xf32>, %c: tensor<2xi64>) {
  // expected-error @+1 {{'rlx.kv_append' op expects update of rank 3, but got tensor<2x4xf32>}}
  %0 = "rlx.kv_append"(%a, %b, %c) : (tensor<2x9x4xf32>, tensor<2x4xf32>, tensor<2xi64>) -> tensor<2x9x4xf32>
  return
}

// -----

func.func @update_element_type(%a: tensor<2x9x4xf32>, %b: tensor<2x3x4xbf16>, %c: tensor<2xi64>) {
  // expected-error @+1 {{'rlx.kv_append' op expects update with element type f32, but got tensor<2x3x4xbf16>}}
  %0 = "rlx.kv_append"(%a, %b, %c) : (tensor<2x9x4xf32>, tensor<2x3x4xbf16>, tensor<2xi64>) -> tensor<2x9x4xf32>
  return
}

// -----

func.func @update_batch(%a: tensor<2x9x4xf32>, %b: tensor<1x3x4xf32>, %c: tensor<2xi64>) {
  // expected-error @+1 {{'rlx.kv_append' op expects update with batch and width of cache tensor<2x9x4xf32>, but got tensor<1x3x4xf32>}}
  %0 = "rlx.kv_append"(%a, %b, %c) : (tensor<2x9x4xf32>, tensor<1x3x4xf32>, tensor<2xi64>) -> tensor<2x9x4xf32>
  return
}

// -----

func.func @update_width(%a: tensor<2x9x4xf32>, %b: tensor<2x3x5xf32>, %c: tensor<2xi64>) {
  // expected-error @+1 {{'rlx.kv_append' op expects update with batch and width of cache tensor<2x9x4xf32>, but got tensor<2x3x5xf32>}}
  %0 = "rlx.kv_append"(%a, %b, %c) : (tensor<2x9x4xf32>, tensor<2x3x5xf32>, tensor<2xi64>) -> tensor<2x9x4xf32>
  return
}

// -----

func.func @update_rows(%a: tensor<2x9x4xf32>, %b: tensor<2x10x4xf32>, %c: tensor<2xi64>) {
  // expected-error @+1 {{'rlx.kv_append' op expects update of at most 9 rows, but got tensor<2x10x4xf32>}}
  %0 = "rlx.kv_append"(%a, %b, %c) : (tensor<2x9x4xf32>, tensor<2x10x4xf32>, tensor<2xi64>) -> tensor<2x9x4xf32>
  return
}

// -----

func.func @lengths_rank(%a: tensor<2x9x4xf32>, %b: tensor<2x3x4xf32>, %c: tensor<i64>) {
  // expected-error @+1 {{'rlx.kv_append' op expects lengths of rank 1, but got tensor<i64>}}
  %0 = "rlx.kv_append"(%a, %b, %c) : (tensor<2x9x4xf32>, tensor<2x3x4xf32>, tensor<i64>) -> tensor<2x9x4xf32>
  return
}

// -----

func.func @lengths_size(%a: tensor<2x9x4xf32>, %b: tensor<2x3x4xf32>, %c: tensor<3xi64>) {
  // expected-error @+1 {{'rlx.kv_append' op expects lengths of size 2, but got tensor<3xi64>}}
  %0 = "rlx.kv_append"(%a, %b, %c) : (tensor<2x9x4xf32>, tensor<2x3x4xf32>, tensor<3xi64>) -> tensor<2x9x4xf32>
  return
}

// -----

func.func @lengths_kind(%a: tensor<2x9x4xf32>, %b: tensor<2x3x4xf32>, %c: tensor<2xf32>) {
  // expected-error @+1 {{'rlx.kv_append' op expects lengths of i32 or i64, but got tensor<2xf32>}}
  %0 = "rlx.kv_append"(%a, %b, %c) : (tensor<2x9x4xf32>, tensor<2x3x4xf32>, tensor<2xf32>) -> tensor<2x9x4xf32>
  return
}

// -----

func.func @result(%a: tensor<2x9x4xf32>, %b: tensor<2x3x4xf32>, %c: tensor<2xi64>) {
  // expected-error @+1 {{'rlx.kv_append' op expects result of type tensor<2x9x4xf32>, but got tensor<2x3x4xf32>}}
  %0 = "rlx.kv_append"(%a, %b, %c) : (tensor<2x9x4xf32>, tensor<2x3x4xf32>, tensor<2xi64>) -> tensor<2x3x4xf32>
  return
}
