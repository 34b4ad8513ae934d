// RUN: rlx-opt %s | rlx-opt | filecheck %s

// CHECK-LABEL: func.func @per_channel
// CHECK: "rlx.dequant_matmul"(%{{.*}}, %{{.*}}, %{{.*}}) : (tensor<2x3x8xf32>, tensor<8x4xi8>, tensor<4xf32>) -> tensor<2x3x4xf32>
// CHECK: "rlx.dequant_matmul"(%{{.*}}, %{{.*}}, %{{.*}}) {transpose_weight = true} : (tensor<2x3x8xf32>, tensor<4x8xi8>, tensor<4xf32>) -> tensor<2x3x4xf32>
func.func @per_channel(%x: tensor<2x3x8xf32>, %a: tensor<8x4xi8>, %b: tensor<4x8xi8>, %s: tensor<4xf32>) {
  %0 = "rlx.dequant_matmul"(%x, %a, %s) : (tensor<2x3x8xf32>, tensor<8x4xi8>, tensor<4xf32>) -> tensor<2x3x4xf32>
  %1 = "rlx.dequant_matmul"(%x, %b, %s) {transpose_weight = true} : (tensor<2x3x8xf32>, tensor<4x8xi8>, tensor<4xf32>) -> tensor<2x3x4xf32>
  return
}

// The scales lie by output channel, whichever way the weight does.
// CHECK-LABEL: func.func @groups
// CHECK: "rlx.dequant_matmul"(%{{.*}}, %{{.*}}, %{{.*}}) {group = 2 : i64} : (tensor<3x8xf32>, tensor<8x4xi8>, tensor<4x4xf32>) -> tensor<3x4xf32>
// CHECK: "rlx.dequant_matmul"(%{{.*}}, %{{.*}}, %{{.*}}) {group = 8 : i64, transpose_weight = true} : (tensor<3x8xf32>, tensor<4x8xi8>, tensor<4x1xf32>) -> tensor<3x4xf32>
func.func @groups(%x: tensor<3x8xf32>, %a: tensor<8x4xi8>, %b: tensor<4x8xi8>, %s: tensor<4x4xf32>, %t: tensor<4x1xf32>) {
  %0 = "rlx.dequant_matmul"(%x, %a, %s) {group = 2 : i64} : (tensor<3x8xf32>, tensor<8x4xi8>, tensor<4x4xf32>) -> tensor<3x4xf32>
  %1 = "rlx.dequant_matmul"(%x, %b, %t) {group = 8 : i64, transpose_weight = true} : (tensor<3x8xf32>, tensor<4x8xi8>, tensor<4x1xf32>) -> tensor<3x4xf32>
  return
}

// CHECK-LABEL: func.func @element_types
// CHECK: (tensor<8xbf16>, tensor<8x4xi8>, tensor<4xf32>) -> tensor<4xbf16>
// CHECK: (tensor<8xf16>, tensor<8x4xi8>, tensor<4xf32>) -> tensor<4xf16>
// CHECK: (tensor<8xf64>, tensor<8x4xi8>, tensor<4xf64>) -> tensor<4xf64>
func.func @element_types(%a: tensor<8xbf16>, %b: tensor<8xf16>, %c: tensor<8xf64>, %w: tensor<8x4xi8>, %s: tensor<4xf32>, %t: tensor<4xf64>) {
  %0 = "rlx.dequant_matmul"(%a, %w, %s) : (tensor<8xbf16>, tensor<8x4xi8>, tensor<4xf32>) -> tensor<4xbf16>
  %1 = "rlx.dequant_matmul"(%b, %w, %s) : (tensor<8xf16>, tensor<8x4xi8>, tensor<4xf32>) -> tensor<4xf16>
  %2 = "rlx.dequant_matmul"(%c, %w, %t) : (tensor<8xf64>, tensor<8x4xi8>, tensor<4xf64>) -> tensor<4xf64>
  return
}

// CHECK-LABEL: func.func @dynamic
// CHECK: (tensor<?x?x?xf32>, tensor<?x?xi8>, tensor<?x?xf32>) -> tensor<?x?x?xf32>
// CHECK: (tensor<?x8xf32>, tensor<?x?xi8>, tensor<4xf32>) -> tensor<?x?xf32>
func.func @dynamic(%x: tensor<?x?x?xf32>, %y: tensor<?x8xf32>, %w: tensor<?x?xi8>, %s: tensor<?x?xf32>, %t: tensor<4xf32>) {
  %0 = "rlx.dequant_matmul"(%x, %w, %s) {group = 3 : i64} : (tensor<?x?x?xf32>, tensor<?x?xi8>, tensor<?x?xf32>) -> tensor<?x?x?xf32>
  %1 = "rlx.dequant_matmul"(%y, %w, %t) {transpose_weight = true} : (tensor<?x8xf32>, tensor<?x?xi8>, tensor<4xf32>) -> tensor<?x?xf32>
  return
}

// CHECK-LABEL: func.func @no_elements
// CHECK: (tensor<0x8xf32>, tensor<8x4xi8>, tensor<4xf32>) -> tensor<0x4xf32>
// CHECK: (tensor<3x0xf32>, tensor<0x4xi8>, tensor<4x0xf32>) -> tensor<3x4xf32>
func.func @no_elements(%x: tensor<0x8xf32>, %a: tensor<8x4xi8>, %s: tensor<4xf32>, %y: tensor<3x0xf32>, %b: tensor<0x4xi8>, %t: tensor<4x0xf32>) {
  %0 = "rlx.dequant_matmul"(%x, %a, %s) : (tensor<0x8xf32>, tensor<8x4xi8>, tensor<4xf32>) -> tensor<0x4xf32>
  %1 = "rlx.dequant_matmul"(%y, %b, %t) {group = 4 : i64} : (tensor<3x0xf32>, tensor<0x4xi8>, tensor<4x0xf32>) -> tensor<3x4xf32>
  return
}
