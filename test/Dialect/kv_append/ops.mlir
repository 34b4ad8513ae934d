// RUN: rlx-opt %s | rlx-opt | filecheck %s

// CHECK-LABEL: func.func @plain
// CHECK: "rlx.kv_append"(%{{.*}}, %{{.*}}, %{{.*}}) : (tensor<2x9x4xf32>, tensor<2x3x4xf32>, tensor<2xi64>) -> tensor<2x9x4xf32>
// CHECK: "rlx.kv_append"(%{{.*}}, %{{.*}}, %{{.*}}) : (tensor<2x9x4xf32>, tensor<2x3x4xf32>, tensor<2xi32>) -> tensor<2x9x4xf32>
func.func @plain(%a: tensor<2x9x4xf32>, %b: tensor<2x3x4xf32>, %c: tensor<2xi64>, %d: tensor<2x9x4xf32>, %e: tensor<2x3x4xf32>, %f: tensor<2xi32>) {
  %0 = "rlx.kv_append"(%a, %b, %c) : (tensor<2x9x4xf32>, tensor<2x3x4xf32>, tensor<2xi64>) -> tensor<2x9x4xf32>
  %1 = "rlx.kv_append"(%d, %e, %f) : (tensor<2x9x4xf32>, tensor<2x3x4xf32>, tensor<2xi32>) -> tensor<2x9x4xf32>
  return
}

// CHECK-LABEL: func.func @whole_cache
// CHECK: "rlx.kv_append"(%{{.*}}, %{{.*}}, %{{.*}}) : (tensor<2x9x4xf32>, tensor<2x9x4xf32>, tensor<2xi64>) -> tensor<2x9x4xf32>
func.func @whole_cache(%a: tensor<2x9x4xf32>, %b: tensor<2x9x4xf32>, %c: tensor<2xi64>) {
  %0 = "rlx.kv_append"(%a, %b, %c) : (tensor<2x9x4xf32>, tensor<2x9x4xf32>, tensor<2xi64>) -> tensor<2x9x4xf32>
  return
}

// CHECK-LABEL: func.func @dynamic
// CHECK: "rlx.kv_append"(%{{.*}}, %{{.*}}, %{{.*}}) : (tensor<?x?x4xbf16>, tensor<?x?x4xbf16>, tensor<?xi64>) -> tensor<?x?x4xbf16>
// CHECK: "rlx.kv_append"(%{{.*}}, %{{.*}}, %{{.*}}) : (tensor<2x9x4xf32>, tensor<?x?x?xf32>, tensor<?xi32>) -> tensor<2x9x4xf32>
func.func @dynamic(%a: tensor<?x?x4xbf16>, %b: tensor<?x?x4xbf16>, %c: tensor<?xi64>, %d: tensor<2x9x4xf32>, %e: tensor<?x?x?xf32>, %f: tensor<?xi32>) {
  %0 = "rlx.kv_append"(%a, %b, %c) : (tensor<?x?x4xbf16>, tensor<?x?x4xbf16>, tensor<?xi64>) -> tensor<?x?x4xbf16>
  %1 = "rlx.kv_append"(%d, %e, %f) : (tensor<2x9x4xf32>, tensor<?x?x?xf32>, tensor<?xi32>) -> tensor<2x9x4xf32>
  return
}
