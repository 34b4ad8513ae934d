// RUN: rlx-opt %s -split-input-file -verify-diagnostics

func.func @no_num_heads(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op requires attribute 'num_heads' (an i64 integer)}}
  %0 = "rlx.attention"(%q, %k, %v) {head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @no_head_dim(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op requires attribute 'head_dim' (an i64 integer)}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @num_heads_zero(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects num_heads >= 1, but got 0}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 0 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @num_kv_heads_zero(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects num_kv_heads >= 1, but got 0}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 0 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @head_dim_zero(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects head_dim >= 1, but got 0}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, head_dim = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @head_dim_negative(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects head_dim >= 1, but got -8}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, head_dim = -8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @v_head_dim_zero(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects v_head_dim >= 1, but got 0}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, v_head_dim = 0 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @fewer_heads_than_kv_heads(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects num_heads to be a multiple of num_kv_heads, but got 2 and 4}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 2 : i64, num_kv_heads = 4 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @heads_do_not_divide(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects num_heads to be a multiple of num_kv_heads, but got 4 and 3}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 3 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @query_rank(%q: tensor<2x5x4x8xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects query of rank 3, but got tensor<2x5x4x8xf32>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x4x8xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x4x8xf32>
  return
}

// -----

func.func @key_rank(%q: tensor<2x5x32xf32>, %k: tensor<7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects key of rank 3, but got tensor<7x16xf32>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @value_rank(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects value of rank 3, but got tensor<7x16xf32>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @query_width(%q: tensor<2x5x24xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects query with last dimension num_heads * head_dim = 32, but got tensor<2x5x24xf32>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x24xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x24xf32>
  return
}

// -----

func.func @query_width_dynamic(%q: tensor<2x5x?xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects query with last dimension num_heads * head_dim = 32, but got tensor<2x5x?xf32>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x?xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x?xf32>
  return
}

// -----

// A key whose heads were repeated already.
func.func @key_width(%q: tensor<2x5x32xf32>, %k: tensor<2x7x32xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects key with last dimension num_kv_heads * head_dim = 16, but got tensor<2x7x32xf32>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x32xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @value_width(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x12xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects value with last dimension num_kv_heads * v_head_dim = 8, but got tensor<2x7x12xf32>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, v_head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x12xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

// num_kv_heads is num_heads where it is left out.
func.func @kv_heads_default(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects key with last dimension num_kv_heads * head_dim = 32, but got tensor<2x7x16xf32>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @query_type(%q: tensor<2x5x32xi8>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects query of f16, bf16, f32 or f64, but got tensor<2x5x32xi8>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xi8>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xi8>
  return
}

// -----

func.func @key_type(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xbf16>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects key with element type f32, but got tensor<2x7x16xbf16>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xbf16>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @value_type(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xbf16>) {
  // expected-error @+1 {{'rlx.attention' op expects value with element type f32, but got tensor<2x7x16xbf16>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xbf16>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @batch(%q: tensor<2x5x32xf32>, %k: tensor<1x7x16xf32>, %v: tensor<1x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects query and key with the same batch, but got tensor<2x5x32xf32> and tensor<1x7x16xf32>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<1x7x16xf32>, tensor<1x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @value_batch(%q: tensor<?x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<3x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects key and value with the same batch and length, but got tensor<2x7x16xf32> and tensor<3x7x16xf32>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<?x5x32xf32>, tensor<2x7x16xf32>, tensor<3x7x16xf32>) -> tensor<?x5x32xf32>
  return
}

// -----

func.func @value_length(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x6x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects key and value with the same batch and length, but got tensor<2x7x16xf32> and tensor<2x6x16xf32>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x6x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @mask_type(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>, %m: tensor<5x7xi8>) {
  // expected-error @+1 {{'rlx.attention' op expects mask with element type i1 or f32, but got tensor<5x7xi8>}}
  %0 = "rlx.attention"(%q, %k, %v, %m) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>, tensor<5x7xi8>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @mask_type_bf16(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>, %m: tensor<5x7xbf16>) {
  // expected-error @+1 {{'rlx.attention' op expects mask with element type i1 or f32, but got tensor<5x7xbf16>}}
  %0 = "rlx.attention"(%q, %k, %v, %m) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>, tensor<5x7xbf16>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @mask_type_f16(%q: tensor<2x5x32xf16>, %k: tensor<2x7x16xf16>, %v: tensor<2x7x16xf16>, %m: tensor<5x7xf64>) {
  // expected-error @+1 {{'rlx.attention' op expects mask with element type i1 or f16 or f32, but got tensor<5x7xf64>}}
  %0 = "rlx.attention"(%q, %k, %v, %m) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>} : (tensor<2x5x32xf16>, tensor<2x7x16xf16>, tensor<2x7x16xf16>, tensor<5x7xf64>) -> tensor<2x5x32xf16>
  return
}

// -----

func.func @mask_keys(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>, %m: tensor<5x6xi1>) {
  // expected-error @+1 {{'rlx.attention' op expects mask that broadcasts to [B, H, S, K] = 2x4x5x7, but got tensor<5x6xi1>}}
  %0 = "rlx.attention"(%q, %k, %v, %m) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>, tensor<5x6xi1>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @mask_queries(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>, %m: tensor<7x5xi1>) {
  // expected-error @+1 {{'rlx.attention' op expects mask that broadcasts to [B, H, S, K] = 2x4x5x7, but got tensor<7x5xi1>}}
  %0 = "rlx.attention"(%q, %k, %v, %m) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>, tensor<7x5xi1>) -> tensor<2x5x32xf32>
  return
}

// -----

// The third axis from the right is that of query heads, not of kv heads or the batch.
func.func @mask_heads(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>, %m: tensor<2x5x7xi1>) {
  // expected-error @+1 {{'rlx.attention' op expects mask that broadcasts to [B, H, S, K] = 2x4x5x7, but got tensor<2x5x7xi1>}}
  %0 = "rlx.attention"(%q, %k, %v, %m) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>, tensor<2x5x7xi1>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @mask_batch(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>, %m: tensor<3x1x1x7xi1>) {
  // expected-error @+1 {{'rlx.attention' op expects mask that broadcasts to [B, H, S, K] = 2x4x5x7, but got tensor<3x1x1x7xi1>}}
  %0 = "rlx.attention"(%q, %k, %v, %m) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>, tensor<3x1x1x7xi1>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @mask_rank(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>, %m: tensor<1x2x4x5x7xi1>) {
  // expected-error @+1 {{'rlx.attention' op expects mask that broadcasts to [B, H, S, K] = 2x4x5x7, but got tensor<1x2x4x5x7xi1>}}
  %0 = "rlx.attention"(%q, %k, %v, %m) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>, tensor<1x2x4x5x7xi1>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @mask_dynamic(%q: tensor<?x?x32xf32>, %k: tensor<?x?x16xf32>, %v: tensor<?x?x16xf32>, %m: tensor<5x?x?xi1>) {
  // expected-error @+1 {{'rlx.attention' op expects mask that broadcasts to [B, H, S, K] = ?x4x?x?, but got tensor<5x?x?xi1>}}
  %0 = "rlx.attention"(%q, %k, %v, %m) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>} : (tensor<?x?x32xf32>, tensor<?x?x16xf32>, tensor<?x?x16xf32>, tensor<5x?x?xi1>) -> tensor<?x?x32xf32>
  return
}

// -----

func.func @lengths_type(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>, %l: tensor<2xi8>) {
  // expected-error @+1 {{'rlx.attention' op expects kv_lengths of i32 or i64, but got tensor<2xi8>}}
  %0 = "rlx.attention"(%q, %k, %v, %l) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 1>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>, tensor<2xi8>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @lengths_rank(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>, %l: tensor<2x1xi64>) {
  // expected-error @+1 {{'rlx.attention' op expects kv_lengths of rank 1, but got tensor<2x1xi64>}}
  %0 = "rlx.attention"(%q, %k, %v, %l) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 1>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>, tensor<2x1xi64>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @lengths_batch(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>, %l: tensor<1xi64>) {
  // expected-error @+1 {{'rlx.attention' op expects kv_lengths with one entry per batch, but got tensor<1xi64> for query tensor<2x5x32xf32>}}
  %0 = "rlx.attention"(%q, %k, %v, %l) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 1>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>, tensor<1xi64>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @left_window(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects left_window >= -1, but got -2}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, left_window = -2 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @right_window(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects right_window >= -1, but got -5}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, right_window = -5 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @window_kind(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op attribute 'left_window' must be an i64 integer, but got 4.000000e+00 : f64}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, left_window = 4.0 : f64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @softcap(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects softcap >= 0, but got -1.0}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, softcap = -1.0 : f64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @softcap_nan(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op attribute 'softcap' must be finite, but got}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, softcap = 0x7FF8000000000000 : f64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @scale_infinite(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op attribute 'scale' must be finite, but got}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, scale = 0x7FF0000000000000 : f64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @scale_kind(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op attribute 'scale' must be a float, but got 1 : i64}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, scale = 1 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @causal_kind(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op attribute 'causal' must be a bool, but got 1 : i64}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, causal = 1 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @q_offset(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects q_offset between -2^61 and 2^61, but got 2305843009213693952}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, q_offset = 2305843009213693952 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @no_segments(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects operandSegmentSizes with 5 i32 elements (query, key, value, mask, kv_lengths), but got none}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @segments_short(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects operandSegmentSizes with 5 i32 elements (query, key, value, mask, kv_lengths), but got array<i32: 1, 1, 1>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @segments_two_masks(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>, %m: tensor<5x7xi1>, %l: tensor<2xi64>) {
  // expected-error @+1 {{'rlx.attention' op expects 0 or 1 operands for mask in operandSegmentSizes, but got 2}}
  %0 = "rlx.attention"(%q, %k, %v, %m, %l) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 2, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>, tensor<5x7xi1>, tensor<2xi64>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @segments_lost(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>, %m: tensor<5x7xi1>) {
  // expected-error @+1 {{'rlx.attention' op expects as many operands as operandSegmentSizes adds up to, but got 4}}
  %0 = "rlx.attention"(%q, %k, %v, %m) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>, tensor<5x7xi1>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @mask_as_lengths(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>, %m: tensor<5x7xi1>) {
  // expected-error @+1 {{'rlx.attention' op expects kv_lengths of rank 1, but got tensor<5x7xi1>}}
  %0 = "rlx.attention"(%q, %k, %v, %m) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 1>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>, tensor<5x7xi1>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @unknown_attribute(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op has no attribute 'sliding_window'}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, sliding_window = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @result_width(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x8xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects result of type tensor<2x5x16xf32>, but got tensor<2x5x32xf32>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, v_head_dim = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x8xf32>) -> tensor<2x5x32xf32>
  return
}

// -----

func.func @result_length(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects result of type tensor<2x5x32xf32>, but got tensor<2x7x32xf32>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>) -> tensor<2x7x32xf32>
  return
}

// -----

func.func @unranked(%q: tensor<2x5x32xf32>, %k: tensor<*xf32>, %v: tensor<2x7x16xf32>) {
  // expected-error @+1 {{'rlx.attention' op expects key to be a ranked tensor, but got tensor<*xf32>}}
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<*xf32>, tensor<2x7x16xf32>) -> tensor<2x5x32xf32>
  return
}
