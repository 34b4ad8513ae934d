// RUN: rlx-opt %s | rlx-opt | filecheck %s

// CHECK-LABEL: func.func @whole_head
// CHECK: "rlx.rope"(%{{.*}}, %{{.*}}, %{{.*}}) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xf32>
func.func @whole_head(%x: tensor<2x5x16xf32>, %t: tensor<9x4xf32>) -> tensor<2x5x16xf32> {
  %0 = "rlx.rope"(%x, %t, %t) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xf32>
  return %0 : tensor<2x5x16xf32>
}

// A table may have a column per rotated pair, or one per pair of the whole head.
// CHECK-LABEL: func.func @partial
// CHECK: "rlx.rope"{{.*}} {head_dim = 8 : i64, n_rot = 2 : i64} : (tensor<5x8xf32>, tensor<5x1xf32>, tensor<5x1xf32>)
// CHECK: "rlx.rope"{{.*}} {head_dim = 8 : i64, n_rot = 2 : i64} : (tensor<5x8xf32>, tensor<5x4xf32>, tensor<5x4xf32>)
func.func @partial(%x: tensor<5x8xf32>, %narrow: tensor<5x1xf32>, %wide: tensor<5x4xf32>) -> tensor<5x8xf32> {
  %0 = "rlx.rope"(%x, %narrow, %narrow) {head_dim = 8 : i64, n_rot = 2 : i64} : (tensor<5x8xf32>, tensor<5x1xf32>, tensor<5x1xf32>) -> tensor<5x8xf32>
  %1 = "rlx.rope"(%0, %wide, %wide) {head_dim = 8 : i64, n_rot = 2 : i64} : (tensor<5x8xf32>, tensor<5x4xf32>, tensor<5x4xf32>) -> tensor<5x8xf32>
  return %1 : tensor<5x8xf32>
}

// Pass-through dims may be odd in number, and so may the head.
// CHECK-LABEL: func.func @odd_head
// CHECK: head_dim = 5 : i64, n_rot = 4 : i64, pairing = "interleaved"
func.func @odd_head(%x: tensor<1x3x10xf32>, %t: tensor<3x2xf32>) -> tensor<1x3x10xf32> {
  %0 = "rlx.rope"(%x, %t, %t) {head_dim = 5 : i64, n_rot = 4 : i64, pairing = "interleaved"} : (tensor<1x3x10xf32>, tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<1x3x10xf32>
  return %0 : tensor<1x3x10xf32>
}

// With positions the table may have fewer rows than the input.
// CHECK-LABEL: func.func @positions
// CHECK: "rlx.rope"{{.*}}tensor<5xi64>
// CHECK: "rlx.rope"{{.*}}tensor<2x5xi32>
func.func @positions(%x: tensor<2x5x8xf32>, %t: tensor<1x4xf32>, %row: tensor<5xi64>, %each: tensor<2x5xi32>) -> tensor<2x5x8xf32> {
  %0 = "rlx.rope"(%x, %t, %t, %row) {head_dim = 8 : i64, pairing = "proportional"} : (tensor<2x5x8xf32>, tensor<1x4xf32>, tensor<1x4xf32>, tensor<5xi64>) -> tensor<2x5x8xf32>
  %1 = "rlx.rope"(%0, %t, %t, %each) {head_dim = 8 : i64, pairing = "half"} : (tensor<2x5x8xf32>, tensor<1x4xf32>, tensor<1x4xf32>, tensor<2x5xi32>) -> tensor<2x5x8xf32>
  return %1 : tensor<2x5x8xf32>
}

// CHECK-LABEL: func.func @dynamic
// CHECK: "rlx.rope"{{.*}} : (tensor<?x?x8xbf16>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x?xi64>) -> tensor<?x?x8xbf16>
// CHECK: "rlx.rope"{{.*}} : (tensor<?x?x8xbf16>, tensor<6x4xbf16>, tensor<6x4xbf16>) -> tensor<?x?x8xbf16>
func.func @dynamic(%x: tensor<?x?x8xbf16>, %t: tensor<?x4xf32>, %p: tensor<?x?xi64>, %u: tensor<6x4xbf16>) -> tensor<?x?x8xbf16> {
  %0 = "rlx.rope"(%x, %t, %t, %p) {head_dim = 8 : i64} : (tensor<?x?x8xbf16>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x?xi64>) -> tensor<?x?x8xbf16>
  %1 = "rlx.rope"(%0, %u, %u) {head_dim = 8 : i64} : (tensor<?x?x8xbf16>, tensor<6x4xbf16>, tensor<6x4xbf16>) -> tensor<?x?x8xbf16>
  return %1 : tensor<?x?x8xbf16>
}

// Equal ropes are one: the op is pure.
// RUN: rlx-opt %s -cse | filecheck %s --check-prefix=CSE
// CSE-LABEL: func.func @twice
// CSE: %[[R:.*]] = "rlx.rope"
// CSE-NOT: "rlx.rope"
// CSE: return %[[R]], %[[R]]
func.func @twice(%x: tensor<5x8xf64>, %t: tensor<5x4xf64>) -> (tensor<5x8xf64>, tensor<5x8xf64>) {
  %0 = "rlx.rope"(%x, %t, %t) {head_dim = 8 : i64} : (tensor<5x8xf64>, tensor<5x4xf64>, tensor<5x4xf64>) -> tensor<5x8xf64>
  %1 = "rlx.rope"(%x, %t, %t) {head_dim = 8 : i64} : (tensor<5x8xf64>, tensor<5x4xf64>, tensor<5x4xf64>) -> tensor<5x8xf64>
  return %0, %1 : tensor<5x8xf64>, tensor<5x8xf64>
}
