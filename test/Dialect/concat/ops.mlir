// RUN: rlx-opt %s | rlx-opt | filecheck %s

// CHECK-LABEL: func.func @one
// CHECK: "rlx.concat"(%{{.*}}) {axis = 0 : i64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
func.func @one(%a: tensor<2x3xf32>) {
  %0 = "rlx.concat"(%a) {axis = 0 : i64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return
}

// CHECK-LABEL: func.func @same_types
// CHECK: "rlx.concat"(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) {axis = 1 : i64} : (tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x12xf32>
// CHECK: "rlx.concat"(%{{.*}}, %{{.*}}) {axis = -2 : i64} : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<4x3xf32>
func.func @same_types(%a: tensor<2x3xf32>, %b: tensor<2x3xf32>, %c: tensor<2x3xf32>, %d: tensor<2x3xf32>, %e: tensor<2x3xf32>, %f: tensor<2x3xf32>) {
  %0 = "rlx.concat"(%a, %b, %c, %d) {axis = 1 : i64} : (tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x12xf32>
  %1 = "rlx.concat"(%e, %f) {axis = -2 : i64} : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<4x3xf32>
  return
}

// CHECK-LABEL: func.func @first_differs
// CHECK: "rlx.concat"(%{{.*}}, %{{.*}}) {axis = 1 : i64} : (tensor<2x3xf32>, tensor<2x5xf32>) -> tensor<2x8xf32>
// CHECK: "rlx.concat"(%{{.*}}, %{{.*}}, %{{.*}}) {axis = 1 : i64} : (tensor<2x3xf32>, tensor<2x1xf32>, tensor<2x1xf32>) -> tensor<2x5xf32>
func.func @first_differs(%a: tensor<2x3xf32>, %b: tensor<2x5xf32>, %c: tensor<2x3xf32>, %d: tensor<2x1xf32>, %e: tensor<2x1xf32>) {
  %0 = "rlx.concat"(%a, %b) {axis = 1 : i64} : (tensor<2x3xf32>, tensor<2x5xf32>) -> tensor<2x8xf32>
  %1 = "rlx.concat"(%c, %d, %e) {axis = 1 : i64} : (tensor<2x3xf32>, tensor<2x1xf32>, tensor<2x1xf32>) -> tensor<2x5xf32>
  return
}

// CHECK-LABEL: func.func @any_element_type
// CHECK: "rlx.concat"(%{{.*}}, %{{.*}}) {axis = 0 : i64} : (tensor<2xi1>, tensor<3xi1>) -> tensor<5xi1>
func.func @any_element_type(%a: tensor<2xi1>, %b: tensor<3xi1>) {
  %0 = "rlx.concat"(%a, %b) {axis = 0 : i64} : (tensor<2xi1>, tensor<3xi1>) -> tensor<5xi1>
  return
}

// Sizes that one input knows hold for all.
// CHECK-LABEL: func.func @dynamic
// CHECK: "rlx.concat"(%{{.*}}, %{{.*}}) {axis = 0 : i64} : (tensor<?x?xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
// CHECK: "rlx.concat"(%{{.*}}, %{{.*}}) {axis = 1 : i64} : (tensor<2x?xf32>, tensor<?x3xf32>) -> tensor<2x?xf32>
func.func @dynamic(%a: tensor<?x?xf32>, %b: tensor<?x3xf32>, %c: tensor<2x?xf32>, %d: tensor<?x3xf32>) {
  %0 = "rlx.concat"(%a, %b) {axis = 0 : i64} : (tensor<?x?xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  %1 = "rlx.concat"(%c, %d) {axis = 1 : i64} : (tensor<2x?xf32>, tensor<?x3xf32>) -> tensor<2x?xf32>
  return
}

// CHECK-LABEL: func.func @no_elements
// CHECK: "rlx.concat"(%{{.*}}, %{{.*}}) {axis = 1 : i64} : (tensor<2x0xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
func.func @no_elements(%a: tensor<2x0xf32>, %b: tensor<2x3xf32>) {
  %0 = "rlx.concat"(%a, %b) {axis = 1 : i64} : (tensor<2x0xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  return
}

// The op looks through casts that forget sizes: the result is known to be 2x11.
// CHECK-LABEL: func.func @casts
// CHECK: "rlx.concat"{{.*}} : (tensor<2x3xf32>, tensor<2x?xf32>, tensor<2x?xf32>) -> tensor<2x11xf32>
func.func @casts(%a: tensor<2x3xf32>, %b: tensor<2x6xf32>, %c: tensor<2x2xf32>) {
  %0 = tensor.cast %b : tensor<2x6xf32> to tensor<2x?xf32>
  %1 = tensor.cast %c : tensor<2x2xf32> to tensor<2x?xf32>
  %2 = "rlx.concat"(%a, %0, %1) {axis = 1 : i64} : (tensor<2x3xf32>, tensor<2x?xf32>, tensor<2x?xf32>) -> tensor<2x11xf32>
  return
}
