// RUN: rlx-opt %s | rlx-opt | filecheck %s

// CHECK-LABEL: func.func @plain
// CHECK: "rlx.attention"(%{{.*}}, %{{.*}}, %{{.*}}) {head_dim = 8 : i64, num_heads = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x32xf32>, tensor<2x7x32xf32>) -> tensor<2x5x32xf32>
func.func @plain(%q: tensor<2x5x32xf32>, %k: tensor<2x7x32xf32>) -> tensor<2x5x32xf32> {
  %0 = "rlx.attention"(%q, %k, %k) {num_heads = 4 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x32xf32>, tensor<2x7x32xf32>) -> tensor<2x5x32xf32>
  return %0 : tensor<2x5x32xf32>
}

// CHECK-LABEL: func.func @every_attribute
// CHECK: causal = true, head_dim = 8 : i64, left_window = 3 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64, {{.*}}q_offset = -2 : i64, right_window = 0 : i64, scale = 5.000000e-01 : f64, softcap = 3.000000e+01 : f64, v_head_dim = 3 : i64
func.func @every_attribute(%q: tensor<2x5x32xbf16>, %k: tensor<2x7x16xbf16>, %v: tensor<2x7x6xbf16>) -> tensor<2x5x12xbf16> {
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, v_head_dim = 3 : i64, causal = true, left_window = 3 : i64, right_window = 0 : i64, scale = 0.5 : f64, softcap = 30.0 : f64, q_offset = -2 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xbf16>, tensor<2x7x16xbf16>, tensor<2x7x6xbf16>) -> tensor<2x5x12xbf16>
  return %0 : tensor<2x5x12xbf16>
}

// A mask has any rank up to 4 and broadcasts; a float one is of the query's type or f32.
// CHECK-LABEL: func.func @masks
// CHECK: tensor<7xi1>)
// CHECK: tensor<5x1xf16>)
// CHECK: tensor<4x1x7xi1>)
// CHECK: tensor<2x1x5x7xf32>)
// CHECK: tensor<i1>)
func.func @masks(%q: tensor<2x5x32xf16>, %k: tensor<2x7x32xf16>, %m0: tensor<7xi1>, %m1: tensor<5x1xf16>, %m2: tensor<4x1x7xi1>, %m3: tensor<2x1x5x7xf32>, %m4: tensor<i1>) {
  %0 = "rlx.attention"(%q, %k, %k, %m0) {num_heads = 4 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>} : (tensor<2x5x32xf16>, tensor<2x7x32xf16>, tensor<2x7x32xf16>, tensor<7xi1>) -> tensor<2x5x32xf16>
  %1 = "rlx.attention"(%q, %k, %k, %m1) {num_heads = 4 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>} : (tensor<2x5x32xf16>, tensor<2x7x32xf16>, tensor<2x7x32xf16>, tensor<5x1xf16>) -> tensor<2x5x32xf16>
  %2 = "rlx.attention"(%q, %k, %k, %m2) {num_heads = 4 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>} : (tensor<2x5x32xf16>, tensor<2x7x32xf16>, tensor<2x7x32xf16>, tensor<4x1x7xi1>) -> tensor<2x5x32xf16>
  %3 = "rlx.attention"(%q, %k, %k, %m3) {num_heads = 4 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>} : (tensor<2x5x32xf16>, tensor<2x7x32xf16>, tensor<2x7x32xf16>, tensor<2x1x5x7xf32>) -> tensor<2x5x32xf16>
  %4 = "rlx.attention"(%q, %k, %k, %m4) {num_heads = 4 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>} : (tensor<2x5x32xf16>, tensor<2x7x32xf16>, tensor<2x7x32xf16>, tensor<i1>) -> tensor<2x5x32xf16>
  return
}

// The segment sizes tell a mask from lengths.
// CHECK-LABEL: func.func @lengths
// CHECK: operandSegmentSizes = array<i32: 1, 1, 1, 0, 1>{{.*}}tensor<2xi64>) -> tensor<2x5x32xf32>
// CHECK: operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>{{.*}}tensor<5x7xi1>, tensor<2xi32>) -> tensor<2x5x32xf32>
func.func @lengths(%q: tensor<2x5x32xf32>, %k: tensor<2x7x32xf32>, %m: tensor<5x7xi1>, %long: tensor<2xi64>, %short: tensor<2xi32>) {
  %0 = "rlx.attention"(%q, %k, %k, %long) {num_heads = 4 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 1>} : (tensor<2x5x32xf32>, tensor<2x7x32xf32>, tensor<2x7x32xf32>, tensor<2xi64>) -> tensor<2x5x32xf32>
  %1 = "rlx.attention"(%q, %k, %k, %m, %short) {num_heads = 4 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>} : (tensor<2x5x32xf32>, tensor<2x7x32xf32>, tensor<2x7x32xf32>, tensor<5x7xi1>, tensor<2xi32>) -> tensor<2x5x32xf32>
  return
}

// CHECK-LABEL: func.func @dynamic
// CHECK: (tensor<?x?x32xf64>, tensor<?x?x16xf64>, tensor<?x?x16xf64>, tensor<?x?x?x?xf64>, tensor<?xi32>) -> tensor<?x?x32xf64>
func.func @dynamic(%q: tensor<?x?x32xf64>, %k: tensor<?x?x16xf64>, %m: tensor<?x?x?x?xf64>, %l: tensor<?xi32>) -> tensor<?x?x32xf64> {
  %0 = "rlx.attention"(%q, %k, %k, %m, %l) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 1>} : (tensor<?x?x32xf64>, tensor<?x?x16xf64>, tensor<?x?x16xf64>, tensor<?x?x?x?xf64>, tensor<?xi32>) -> tensor<?x?x32xf64>
  return %0 : tensor<?x?x32xf64>
}
