// RUN: rlx-opt %s | rlx-opt | filecheck %s

// CHECK-LABEL: func.func @plain
// CHECK: "rlx.matmul"(%{{.*}}, %{{.*}}) : (tensor<2x3x8xf32>, tensor<8x4xf32>) -> tensor<2x3x4xf32>
// CHECK: "rlx.matmul"(%{{.*}}, %{{.*}}) {transpose_weight = true} : (tensor<2x3x8xf32>, tensor<4x8xf32>) -> tensor<2x3x4xf32>
func.func @plain(%a: tensor<2x3x8xf32>, %b: tensor<8x4xf32>, %c: tensor<2x3x8xf32>, %d: tensor<4x8xf32>) {
  %0 = "rlx.matmul"(%a, %b) : (tensor<2x3x8xf32>, tensor<8x4xf32>) -> tensor<2x3x4xf32>
  %1 = "rlx.matmul"(%c, %d) {transpose_weight = true} : (tensor<2x3x8xf32>, tensor<4x8xf32>) -> tensor<2x3x4xf32>
  return
}

// CHECK-LABEL: func.func @ranks
// CHECK: "rlx.matmul"(%{{.*}}, %{{.*}}) : (tensor<8xf32>, tensor<8x4xf32>) -> tensor<4xf32>
// CHECK: "rlx.matmul"(%{{.*}}, %{{.*}}) : (tensor<1x2x3x4x8xf32>, tensor<8x4xf32>) -> tensor<1x2x3x4x4xf32>
func.func @ranks(%a: tensor<8xf32>, %b: tensor<8x4xf32>, %c: tensor<1x2x3x4x8xf32>, %d: tensor<8x4xf32>) {
  %0 = "rlx.matmul"(%a, %b) : (tensor<8xf32>, tensor<8x4xf32>) -> tensor<4xf32>
  %1 = "rlx.matmul"(%c, %d) : (tensor<1x2x3x4x8xf32>, tensor<8x4xf32>) -> tensor<1x2x3x4x4xf32>
  return
}

// CHECK-LABEL: func.func @element_types
// CHECK: "rlx.matmul"(%{{.*}}, %{{.*}}) : (tensor<3x8xbf16>, tensor<8x4xbf16>) -> tensor<3x4xbf16>
// CHECK: "rlx.matmul"(%{{.*}}, %{{.*}}) : (tensor<3x8xf16>, tensor<8x4xf16>) -> tensor<3x4xf16>
// CHECK: "rlx.matmul"(%{{.*}}, %{{.*}}) : (tensor<3x8xf64>, tensor<8x4xf64>) -> tensor<3x4xf64>
func.func @element_types(%a: tensor<3x8xbf16>, %b: tensor<8x4xbf16>, %c: tensor<3x8xf16>, %d: tensor<8x4xf16>, %e: tensor<3x8xf64>, %f: tensor<8x4xf64>) {
  %0 = "rlx.matmul"(%a, %b) : (tensor<3x8xbf16>, tensor<8x4xbf16>) -> tensor<3x4xbf16>
  %1 = "rlx.matmul"(%c, %d) : (tensor<3x8xf16>, tensor<8x4xf16>) -> tensor<3x4xf16>
  %2 = "rlx.matmul"(%e, %f) : (tensor<3x8xf64>, tensor<8x4xf64>) -> tensor<3x4xf64>
  return
}

// Every size may be dynamic, and the result may know less or more than the operands.
// CHECK-LABEL: func.func @dynamic
// CHECK: "rlx.matmul"(%{{.*}}, %{{.*}}) : (tensor<?x?x?xf32>, tensor<?x?xf32>) -> tensor<?x?x?xf32>
// CHECK: "rlx.matmul"(%{{.*}}, %{{.*}}) : (tensor<2x?x8xf32>, tensor<?x4xf32>) -> tensor<2x?x4xf32>
// CHECK: "rlx.matmul"(%{{.*}}, %{{.*}}) : (tensor<3x8xf32>, tensor<8x4xf32>) -> tensor<?x?xf32>
// CHECK: "rlx.matmul"(%{{.*}}, %{{.*}}) : (tensor<?x8xf32>, tensor<8x?xf32>) -> tensor<3x4xf32>
func.func @dynamic(%a: tensor<?x?x?xf32>, %b: tensor<?x?xf32>, %c: tensor<2x?x8xf32>, %d: tensor<?x4xf32>, %e: tensor<3x8xf32>, %f: tensor<8x4xf32>, %g: tensor<?x8xf32>, %h: tensor<8x?xf32>) {
  %0 = "rlx.matmul"(%a, %b) : (tensor<?x?x?xf32>, tensor<?x?xf32>) -> tensor<?x?x?xf32>
  %1 = "rlx.matmul"(%c, %d) : (tensor<2x?x8xf32>, tensor<?x4xf32>) -> tensor<2x?x4xf32>
  %2 = "rlx.matmul"(%e, %f) : (tensor<3x8xf32>, tensor<8x4xf32>) -> tensor<?x?xf32>
  %3 = "rlx.matmul"(%g, %h) : (tensor<?x8xf32>, tensor<8x?xf32>) -> tensor<3x4xf32>
  return
}

// CHECK-LABEL: func.func @no_elements
// CHECK: "rlx.matmul"(%{{.*}}, %{{.*}}) : (tensor<0x8xf32>, tensor<8x4xf32>) -> tensor<0x4xf32>
// CHECK: "rlx.matmul"(%{{.*}}, %{{.*}}) : (tensor<3x0xf32>, tensor<0x4xf32>) -> tensor<3x4xf32>
func.func @no_elements(%a: tensor<0x8xf32>, %b: tensor<8x4xf32>, %c: tensor<3x0xf32>, %d: tensor<0x4xf32>) {
  %0 = "rlx.matmul"(%a, %b) : (tensor<0x8xf32>, tensor<8x4xf32>) -> tensor<0x4xf32>
  %1 = "rlx.matmul"(%c, %d) : (tensor<3x0xf32>, tensor<0x4xf32>) -> tensor<3x4xf32>
  return
}

// CHECK-LABEL: func.func @attributes_of_other_dialects
// CHECK: "rlx.matmul"(%{{.*}}, %{{.*}}) {my.note = 1 : i64} : (tensor<3x8xf32>, tensor<8x4xf32>) -> tensor<3x4xf32>
func.func @attributes_of_other_dialects(%a: tensor<3x8xf32>, %b: tensor<8x4xf32>) {
  %0 = "rlx.matmul"(%a, %b) {my.note = 1 : i64} : (tensor<3x8xf32>, tensor<8x4xf32>) -> tensor<3x4xf32>
  return
}
