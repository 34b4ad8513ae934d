// RUN: rlx-opt %s -split-input-file -verify-diagnostics

func.func @rank_1(%x: tensor<16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects input of rank 2 or 3, but got tensor<16xf32>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<16xf32>
  return
}

// -----

func.func @rank_4(%x: tensor<2x5x2x8xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects input of rank 2 or 3, but got tensor<2x5x2x8xf32>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<2x5x2x8xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x2x8xf32>
  return
}

// -----

func.func @integer_input(%x: tensor<2x5x16xi32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects input of f16, bf16, f32 or f64, but got tensor<2x5x16xi32>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<2x5x16xi32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xi32>
  return
}

// -----

func.func @no_head_dim(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op requires attribute 'head_dim' (an i64 integer)}}
  %0 = "rlx.rope"(%x, %c, %s) {} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @head_dim_kind(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op attribute 'head_dim' must be an i64 integer, but got 8 : i32}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i32} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @head_dim_zero(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects head_dim >= 1, but got 0}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 0 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @head_dim_negative(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects head_dim >= 1, but got -8}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = -8 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @width(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects the last dimension of input to be a multiple of head_dim 6, but got tensor<2x5x16xf32>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 6 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @dynamic_width(%x: tensor<2x5x?xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects the last dimension of input to be a multiple of head_dim 8, but got tensor<2x5x?xf32>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<2x5x?xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x?xf32>
  return
}

// -----

func.func @odd_n_rot(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects n_rot even, at least 2 and at most head_dim 8, but got 3}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64, n_rot = 3 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @n_rot_zero(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects n_rot even, at least 2 and at most head_dim 8, but got 0}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64, n_rot = 0 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @n_rot_negative(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects n_rot even, at least 2 and at most head_dim 8, but got -2}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64, n_rot = -2 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @n_rot_past_head_dim(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects n_rot even, at least 2 and at most head_dim 8, but got 10}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64, n_rot = 10 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

// n_rot is head_dim where it is left out.
func.func @odd_head_dim(%x: tensor<2x5x15xf32>, %c: tensor<9x2xf32>, %s: tensor<9x2xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects n_rot even, at least 2 and at most head_dim 5, but got 5}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 5 : i64} : (tensor<2x5x15xf32>, tensor<9x2xf32>, tensor<9x2xf32>) -> tensor<2x5x15xf32>
  return
}

// -----

func.func @odd_proportional(%x: tensor<2x5x15xf32>, %c: tensor<9x2xf32>, %s: tensor<9x2xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects an even head_dim for pairing "proportional", but got 5}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 5 : i64, n_rot = 4 : i64, pairing = "proportional"} : (tensor<2x5x15xf32>, tensor<9x2xf32>, tensor<9x2xf32>) -> tensor<2x5x15xf32>
  return
}

// -----

func.func @pairing(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op attribute 'pairing' must be one of "half", "proportional", "interleaved", but got "neox"}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64, pairing = "neox"} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @pairing_kind(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op attribute 'pairing' must be one of "half", "proportional", "interleaved", but got 1 : i64}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64, pairing = 1 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @table_rank(%x: tensor<2x5x16xf32>, %c: tensor<2x9x4xf32>, %s: tensor<2x9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects cos of rank 2, but got tensor<2x9x4xf32>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<2x9x4xf32>, tensor<2x9x4xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

// A table of Hugging Face's, which holds every angle twice.
func.func @table_columns(%x: tensor<2x5x16xf32>, %c: tensor<9x8xf32>, %s: tensor<9x8xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects cos with 4 columns, but got tensor<9x8xf32>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<9x8xf32>, tensor<9x8xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @table_columns_partial(%x: tensor<2x5x16xf32>, %c: tensor<9x3xf32>, %s: tensor<9x3xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects cos with 2 or 4 columns, but got tensor<9x3xf32>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64, n_rot = 4 : i64} : (tensor<2x5x16xf32>, tensor<9x3xf32>, tensor<9x3xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @table_columns_dynamic(%x: tensor<2x5x16xf32>, %c: tensor<9x?xf32>, %s: tensor<9x?xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects cos with 4 columns, but got tensor<9x?xf32>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<9x?xf32>, tensor<9x?xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @table_rows(%x: tensor<2x5x16xf32>, %c: tensor<4x4xf32>, %s: tensor<4x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects cos with a row for each of 5 positions, but got tensor<4x4xf32>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @sin_rows(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<4x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects sin with a row for each of 5 positions, but got tensor<4x4xf32>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<4x4xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @no_rows(%x: tensor<2x?x16xf32>, %c: tensor<0x4xf32>, %s: tensor<0x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects cos with at least one row, but got tensor<0x4xf32>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<2x?x16xf32>, tensor<0x4xf32>, tensor<0x4xf32>) -> tensor<2x?x16xf32>
  return
}

// -----

func.func @different_rows(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<8x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects cos and sin of the same shape, but got tensor<9x4xf32> and tensor<8x4xf32>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<8x4xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @different_columns(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x2xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects cos and sin of the same shape, but got tensor<9x4xf32> and tensor<9x2xf32>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64, n_rot = 4 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x2xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @table_type(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf16>, %s: tensor<9x4xf16>) {
  // expected-error @+1 {{'rlx.rope' op expects cos with element type f32, but got tensor<9x4xf16>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf16>, tensor<9x4xf16>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @table_type_bf16(%x: tensor<2x5x16xbf16>, %c: tensor<9x4xf32>, %s: tensor<9x4xf16>) {
  // expected-error @+1 {{'rlx.rope' op expects sin with element type bf16 or f32, but got tensor<9x4xf16>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<2x5x16xbf16>, tensor<9x4xf32>, tensor<9x4xf16>) -> tensor<2x5x16xbf16>
  return
}

// -----

func.func @table_type_f64(%x: tensor<2x5x16xf64>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects cos with element type f64, but got tensor<9x4xf32>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<2x5x16xf64>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xf64>
  return
}

// -----

func.func @position_type(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>, %p: tensor<5xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects positions of i32 or i64, but got tensor<5xf32>}}
  %0 = "rlx.rope"(%x, %c, %s, %p) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>, tensor<5xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @position_index(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>, %p: tensor<5xindex>) {
  // expected-error @+1 {{'rlx.rope' op expects positions of i32 or i64, but got tensor<5xindex>}}
  %0 = "rlx.rope"(%x, %c, %s, %p) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>, tensor<5xindex>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @position_length(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>, %p: tensor<4xi64>) {
  // expected-error @+1 {{'rlx.rope' op expects positions of shape [S] or [B, S] for input tensor<2x5x16xf32>, but got tensor<4xi64>}}
  %0 = "rlx.rope"(%x, %c, %s, %p) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>, tensor<4xi64>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @position_batch(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>, %p: tensor<1x5xi64>) {
  // expected-error @+1 {{'rlx.rope' op expects positions of shape [S] or [B, S] for input tensor<2x5x16xf32>, but got tensor<1x5xi64>}}
  %0 = "rlx.rope"(%x, %c, %s, %p) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>, tensor<1x5xi64>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @position_scalar(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>, %p: tensor<i64>) {
  // expected-error @+1 {{'rlx.rope' op expects positions of shape [S] or [B, S] for input tensor<2x5x16xf32>, but got tensor<i64>}}
  %0 = "rlx.rope"(%x, %c, %s, %p) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>, tensor<i64>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @position_rank(%x: tensor<5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>, %p: tensor<1x5xi64>) {
  // expected-error @+1 {{'rlx.rope' op expects positions of shape [S] for input tensor<5x16xf32>, but got tensor<1x5xi64>}}
  %0 = "rlx.rope"(%x, %c, %s, %p) {head_dim = 8 : i64} : (tensor<5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>, tensor<1x5xi64>) -> tensor<5x16xf32>
  return
}

// -----

func.func @segments(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op has no attribute 'operandSegmentSizes'}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0>} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @unknown_attribute(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op has no attribute 'rotary_dim'}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64, rotary_dim = 4 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xf32>
  return
}

// -----

func.func @result_shape(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects result of type tensor<2x5x16xf32>, but got tensor<2x6x16xf32>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x6x16xf32>
  return
}

// -----

func.func @result_type(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects result of type tensor<2x5x16xf32>, but got tensor<2x5x16xbf16>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xbf16>
  return
}

// -----

func.func @unranked(%x: tensor<*xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>) {
  // expected-error @+1 {{'rlx.rope' op expects input to be a ranked tensor, but got tensor<*xf32>}}
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<*xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<*xf32>
  return
}
