// RUN: rlx-opt %s | rlx-opt | filecheck %s

// CHECK-LABEL: func.func @first_and_last
// CHECK: "rlx.narrow"(%{{.*}}) {axis = 1 : i64, length = 1 : i64, start = 0 : i64} : (tensor<2x6xf32>) -> tensor<2x1xf32>
// CHECK: "rlx.narrow"(%{{.*}}) {axis = 1 : i64, length = 1 : i64, start = 5 : i64} : (tensor<2x6xf32>) -> tensor<2x1xf32>
// CHECK: "rlx.narrow"(%{{.*}}) {axis = 1 : i64, length = 6 : i64, start = 0 : i64} : (tensor<2x6xf32>) -> tensor<2x6xf32>
func.func @first_and_last(%a: tensor<2x6xf32>, %b: tensor<2x6xf32>, %c: tensor<2x6xf32>) {
  %0 = "rlx.narrow"(%a) {axis = 1 : i64, length = 1 : i64, start = 0 : i64} : (tensor<2x6xf32>) -> tensor<2x1xf32>
  %1 = "rlx.narrow"(%b) {axis = 1 : i64, length = 1 : i64, start = 5 : i64} : (tensor<2x6xf32>) -> tensor<2x1xf32>
  %2 = "rlx.narrow"(%c) {axis = 1 : i64, length = 6 : i64, start = 0 : i64} : (tensor<2x6xf32>) -> tensor<2x6xf32>
  return
}

// CHECK-LABEL: func.func @negative_axis
// CHECK: "rlx.narrow"(%{{.*}}) {axis = -2 : i64, length = 4 : i64, start = 2 : i64} : (tensor<2x6x3xf32>) -> tensor<2x4x3xf32>
// CHECK: "rlx.narrow"(%{{.*}}) {axis = -3 : i64, length = 1 : i64, start = 1 : i64} : (tensor<2x6x3xf32>) -> tensor<1x6x3xf32>
func.func @negative_axis(%a: tensor<2x6x3xf32>, %b: tensor<2x6x3xf32>) {
  %0 = "rlx.narrow"(%a) {axis = -2 : i64, length = 4 : i64, start = 2 : i64} : (tensor<2x6x3xf32>) -> tensor<2x4x3xf32>
  %1 = "rlx.narrow"(%b) {axis = -3 : i64, length = 1 : i64, start = 1 : i64} : (tensor<2x6x3xf32>) -> tensor<1x6x3xf32>
  return
}

// CHECK-LABEL: func.func @any_element_type
// CHECK: "rlx.narrow"(%{{.*}}) {axis = 0 : i64, length = 2 : i64, start = 2 : i64} : (tensor<6xi1>) -> tensor<2xi1>
// CHECK: "rlx.narrow"(%{{.*}}) {axis = 0 : i64, length = 2 : i64, start = 2 : i64} : (tensor<6xi64>) -> tensor<2xi64>
func.func @any_element_type(%a: tensor<6xi1>, %b: tensor<6xi64>) {
  %0 = "rlx.narrow"(%a) {axis = 0 : i64, length = 2 : i64, start = 2 : i64} : (tensor<6xi1>) -> tensor<2xi1>
  %1 = "rlx.narrow"(%b) {axis = 0 : i64, length = 2 : i64, start = 2 : i64} : (tensor<6xi64>) -> tensor<2xi64>
  return
}

// CHECK-LABEL: func.func @dynamic
// CHECK: "rlx.narrow"(%{{.*}}) {axis = 0 : i64, length = 2 : i64, start = 3 : i64} : (tensor<?x?xbf16>) -> tensor<2x?xbf16>
// CHECK: "rlx.narrow"(%{{.*}}) {axis = 1 : i64, length = 2 : i64, start = 3 : i64} : (tensor<?x6xbf16>) -> tensor<?x2xbf16>
func.func @dynamic(%a: tensor<?x?xbf16>, %b: tensor<?x6xbf16>) {
  %0 = "rlx.narrow"(%a) {axis = 0 : i64, length = 2 : i64, start = 3 : i64} : (tensor<?x?xbf16>) -> tensor<2x?xbf16>
  %1 = "rlx.narrow"(%b) {axis = 1 : i64, length = 2 : i64, start = 3 : i64} : (tensor<?x6xbf16>) -> tensor<?x2xbf16>
  return
}
