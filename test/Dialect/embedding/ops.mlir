// RUN: rlx-opt %s | rlx-opt | filecheck %s

// CHECK-LABEL: func.func @ids
// CHECK: "rlx.embedding"(%{{.*}}, %{{.*}}) : (tensor<9x4xf32>, tensor<2x3xi64>) -> tensor<2x3x4xf32>
// CHECK: "rlx.embedding"(%{{.*}}, %{{.*}}) : (tensor<9x4xf32>, tensor<i32>) -> tensor<4xf32>
// CHECK: "rlx.embedding"(%{{.*}}, %{{.*}}) : (tensor<9x4xf32>, tensor<0xi32>) -> tensor<0x4xf32>
func.func @ids(%a: tensor<9x4xf32>, %b: tensor<2x3xi64>, %c: tensor<9x4xf32>, %d: tensor<i32>, %e: tensor<9x4xf32>, %f: tensor<0xi32>) {
  %0 = "rlx.embedding"(%a, %b) : (tensor<9x4xf32>, tensor<2x3xi64>) -> tensor<2x3x4xf32>
  %1 = "rlx.embedding"(%c, %d) : (tensor<9x4xf32>, tensor<i32>) -> tensor<4xf32>
  %2 = "rlx.embedding"(%e, %f) : (tensor<9x4xf32>, tensor<0xi32>) -> tensor<0x4xf32>
  return
}

// CHECK-LABEL: func.func @element_types
// CHECK: "rlx.embedding"(%{{.*}}, %{{.*}}) : (tensor<9x4xbf16>, tensor<3xi32>) -> tensor<3x4xbf16>
func.func @element_types(%a: tensor<9x4xbf16>, %b: tensor<3xi32>) {
  %0 = "rlx.embedding"(%a, %b) : (tensor<9x4xbf16>, tensor<3xi32>) -> tensor<3x4xbf16>
  return
}

// CHECK-LABEL: func.func @dynamic
// CHECK: "rlx.embedding"(%{{.*}}, %{{.*}}) : (tensor<?x?xf32>, tensor<?x?xi64>) -> tensor<?x?x?xf32>
// CHECK: "rlx.embedding"(%{{.*}}, %{{.*}}) : (tensor<?x4xf32>, tensor<1x?xi64>) -> tensor<1x?x4xf32>
func.func @dynamic(%a: tensor<?x?xf32>, %b: tensor<?x?xi64>, %c: tensor<?x4xf32>, %d: tensor<1x?xi64>) {
  %0 = "rlx.embedding"(%a, %b) : (tensor<?x?xf32>, tensor<?x?xi64>) -> tensor<?x?x?xf32>
  %1 = "rlx.embedding"(%c, %d) : (tensor<?x4xf32>, tensor<1x?xi64>) -> tensor<1x?x4xf32>
  return
}
