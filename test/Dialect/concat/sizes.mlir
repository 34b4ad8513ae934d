// RUN: rlx-opt %s | filecheck %s
// RUN: rlx-opt - < %s | filecheck %s

// The host demands one type for all inputs after the first: casts give them one, and the op looks
// through them.
// CHECK-LABEL: func.func @sizes_differ
// CHECK: %[[B:.*]] = tensor.cast %{{.*}} : tensor<2x2xf32> to tensor<2x?xf32>
// CHECK: %[[C:.*]] = tensor.cast %{{.*}} : tensor<2x3xf32> to tensor<2x?xf32>
// CHECK: "rlx.concat"(%{{.*}}, %[[B]], %[[C]]) {axis = 1 : i64} : (tensor<2x1xf32>, tensor<2x?xf32>, tensor<2x?xf32>) -> tensor<2x6xf32>
func.func @sizes_differ(%a: tensor<2x1xf32>, %b: tensor<2x2xf32>, %c: tensor<2x3xf32>) -> tensor<2x6xf32> {
  %0 = "rlx.concat"(%a, %b, %c) {axis = 1 : i64} : (tensor<2x1xf32>, tensor<2x2xf32>, tensor<2x3xf32>) -> tensor<2x6xf32>
  return %0 : tensor<2x6xf32>
}
