// RUN: rlx-opt %s -split-input-file -verify-diagnostics

func.func @no_ids(%a: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.embedding' op expects operands (table, ids), but got 1 operand}}
  %0 = "rlx.embedding"(%a) : (tensor<9x4xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @attribute(%a: tensor<9x4xf32>, %b: tensor<3xi64>) {
  // expected-error @+1 {{'rlx.embedding' op has no attribute 'axis'; its attributes: none}}
  %0 = "rlx.embedding"(%a, %b) {axis = 0 : i64} : (tensor<9x4xf32>, tensor<3xi64>) -> tensor<3x4xf32>
  return
}

// -----

func.func @table_rank(%a: tensor<9x4x2xf32>, %b: tensor<3xi64>) {
  // expected-error @+1 {{'rlx.embedding' op expects table of rank 2, but got tensor<9x4x2xf32>}}
  %0 = "rlx.embedding"(%a, %b) : (tensor<9x4x2xf32>, tensor<3xi64>) -> tensor<3x4xf32>
  return
}

// -----

func.func @integer_table(%a: tensor<9x4xi32>, %b: tensor<3xi64>) {
  // expected-error @+1 {{'rlx.embedding' op expects table of f16, bf16, f32 or f64, but got tensor<9x4xi32>}}
  %0 = "rlx.embedding"(%a, %b) : (tensor<9x4xi32>, tensor<3xi64>) -> tensor<3x4xi32>
  return
}

// -----

func.func @float_ids(%a: tensor<9x4xf32>, %b: tensor<3xf32>) {
  // expected-error @+1 {{'rlx.embedding' op expects ids of i32 or i64, but got tensor<3xf32>}}
  %0 = "rlx.embedding"(%a, %b) : (tensor<9x4xf32>, tensor<3xf32>) -> tensor<3x4xf32>
  return
}

// -----

func.func @index_ids(%a: tensor<9x4xf32>, %b: tensor<3xindex>) {
  // expected-error @+1 {{'rlx.embedding' op expects ids of i32 or i64, but got tensor<3xindex>}}
  %0 = "rlx.embedding"(%a, %b) : (tensor<9x4xf32>, tensor<3xindex>) -> tensor<3x4xf32>
  return
}

// -----

func.func @small_ids(%a: tensor<9x4xf32>, %b: tensor<3xi8>) {
  // expected-error @+1 {{'rlx.embedding' op expects ids of i32 or i64, but got tensor<3xi8>}}
  %0 = "rlx.embedding"(%a, %b) : (tensor<9x4xf32>, tensor<3xi8>) -> tensor<3x4xf32>
  return
}

// -----

func.func @unsigned_ids(%a: tensor<9x4xf32>, %b: tensor<3xui32>) {
  // expected-error @+1 {{'rlx.embedding' op expects ids of i32 or i64, but got tensor<3xui32>}}
  %0 = "rlx.embedding"(%a, %b) : (tensor<9x4xf32>, tensor<3xui32>) -> tensor<3x4xf32>
  return
}

// -----

func.func @scalar_id_that_is_no_tensor(%a: tensor<9x4xf32>, %b: i64) {
  // expected-error @+1 {{'rlx.embedding' op expects ids to be a ranked tensor, but got i64}}
  %0 = "rlx.embedding"(%a, %b) : (tensor<9x4xf32>, i64) -> tensor<4xf32>
  return
}

// -----

func.func @swapped(%a: tensor<3xi64>, %b: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.embedding' op expects table of rank 2, but got tensor<3xi64>}}
  %0 = "rlx.embedding"(%a, %b) : (tensor<3xi64>, tensor<9x4xf32>) -> tensor<3x4xf32>
  return
}

// -----

func.func @empty_table(%a: tensor<0x4xf32>, %b: tensor<3xi64>) {
  // expected-error @+1 {{'rlx.embedding' op expects table with at least one row, but got tensor<0x4xf32>}}
  %0 = "rlx.embedding"(%a, %b) : (tensor<0x4xf32>, tensor<3xi64>) -> tensor<3x4xf32>
  return
}

// -----

func.func @result_width(%a: tensor<9x4xf32>, %b: tensor<3xi64>) {
  // expected-error @+1 {{'rlx.embedding' op expects result of type tensor<3x4xf32>, but got tensor<3x9xf32>}}
  %0 = "rlx.embedding"(%a, %b) : (tensor<9x4xf32>, tensor<3xi64>) -> tensor<3x9xf32>
  return
}

// -----

func.func @result_rank(%a: tensor<9x4xf32>, %b: tensor<2x3xi64>) {
  // expected-error @+1 {{'rlx.embedding' op expects result of type tensor<2x3x4xf32>, but got tensor<6x4xf32>}}
  %0 = "rlx.embedding"(%a, %b) : (tensor<9x4xf32>, tensor<2x3xi64>) -> tensor<6x4xf32>
  return
}
