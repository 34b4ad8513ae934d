// One attention step as a front end without knowledge of grouped heads writes it: 4 query heads
// share 2 key/value heads of 8 dims, and only the first 4 dims of a head rotate.
func.func @attention(%q: tensor<1x?x32xf32>, %k: tensor<1x?x16xf32>, %v: tensor<1x?x16xf32>,
                     %cos: tensor<64x2xf32>, %sin: tensor<64x2xf32>) -> tensor<1x?x32xf32> {
  // Partial rotary of the keys: split each head, rotate one part, put the head together again.
  %k0r = "rlx.narrow"(%k) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x?x16xf32>) -> tensor<1x?x4xf32>
  %k0p = "rlx.narrow"(%k) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x?x16xf32>) -> tensor<1x?x4xf32>
  %k1r = "rlx.narrow"(%k) {axis = 2 : i64, start = 8 : i64, length = 4 : i64} : (tensor<1x?x16xf32>) -> tensor<1x?x4xf32>
  %k1p = "rlx.narrow"(%k) {axis = 2 : i64, start = 12 : i64, length = 4 : i64} : (tensor<1x?x16xf32>) -> tensor<1x?x4xf32>
  %k0t = "rlx.rope"(%k0r, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x?x4xf32>, tensor<64x2xf32>, tensor<64x2xf32>) -> tensor<1x?x4xf32>
  %k1t = "rlx.rope"(%k1r, %cos, %sin) {head_dim = 4 : i64} : (tensor<1x?x4xf32>, tensor<64x2xf32>, tensor<64x2xf32>) -> tensor<1x?x4xf32>
  %kr = "rlx.concat"(%k0t, %k0p, %k1t, %k1p) {axis = 2 : i64} : (tensor<1x?x4xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>) -> tensor<1x?x16xf32>
  // Every key and value head is repeated for the query heads that share it.
  %k0 = "rlx.narrow"(%kr) {axis = 2 : i64, start = 0 : i64, length = 8 : i64} : (tensor<1x?x16xf32>) -> tensor<1x?x8xf32>
  %k1 = "rlx.narrow"(%kr) {axis = 2 : i64, start = 8 : i64, length = 8 : i64} : (tensor<1x?x16xf32>) -> tensor<1x?x8xf32>
  %kk = "rlx.concat"(%k0, %k0, %k1, %k1) {axis = 2 : i64} : (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x8xf32>) -> tensor<1x?x32xf32>
  %v0 = "rlx.narrow"(%v) {axis = 2 : i64, start = 0 : i64, length = 8 : i64} : (tensor<1x?x16xf32>) -> tensor<1x?x8xf32>
  %v1 = "rlx.narrow"(%v) {axis = 2 : i64, start = 8 : i64, length = 8 : i64} : (tensor<1x?x16xf32>) -> tensor<1x?x8xf32>
  %vv = "rlx.concat"(%v0, %v0, %v1, %v1) {axis = 2 : i64} : (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x8xf32>) -> tensor<1x?x32xf32>
  %out = "rlx.attention"(%q, %kk, %vv) {num_heads = 4 : i64, head_dim = 8 : i64, causal = true, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x?x32xf32>, tensor<1x?x32xf32>, tensor<1x?x32xf32>) -> tensor<1x?x32xf32>
  return %out : tensor<1x?x32xf32>
}
