// RUN: rlx-opt %s | rlx-opt | filecheck %s

// CHECK-LABEL: func.func @plain
// CHECK: "rlx.layer_norm"(%{{.*}}, %{{.*}}, %{{.*}}) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<2x3x12xf32>, tensor<12xf32>, tensor<12xf32>) -> tensor<2x3x12xf32>
// CHECK: "rlx.layer_norm"(%{{.*}}, %{{.*}}, %{{.*}}) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<12xf32>, tensor<12xf32>, tensor<12xf32>) -> tensor<12xf32>
func.func @plain(%a: tensor<2x3x12xf32>, %b: tensor<12xf32>, %c: tensor<12xf32>, %d: tensor<12xf32>, %e: tensor<12xf32>, %f: tensor<12xf32>) {
  %0 = "rlx.layer_norm"(%a, %b, %c) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<2x3x12xf32>, tensor<12xf32>, tensor<12xf32>) -> tensor<2x3x12xf32>
  %1 = "rlx.layer_norm"(%d, %e, %f) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<12xf32>, tensor<12xf32>, tensor<12xf32>) -> tensor<12xf32>
  return
}

// CHECK-LABEL: func.func @f32_parameters
// CHECK: "rlx.layer_norm"(%{{.*}}, %{{.*}}, %{{.*}}) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<3x12xbf16>, tensor<12xf32>, tensor<12xbf16>) -> tensor<3x12xbf16>
func.func @f32_parameters(%a: tensor<3x12xbf16>, %b: tensor<12xf32>, %c: tensor<12xbf16>) {
  %0 = "rlx.layer_norm"(%a, %b, %c) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<3x12xbf16>, tensor<12xf32>, tensor<12xbf16>) -> tensor<3x12xbf16>
  return
}

// CHECK-LABEL: func.func @dynamic
// CHECK: "rlx.layer_norm"(%{{.*}}, %{{.*}}, %{{.*}}) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<?x?xf32>, tensor<?xf32>, tensor<12xf32>) -> tensor<?x?xf32>
func.func @dynamic(%a: tensor<?x?xf32>, %b: tensor<?xf32>, %c: tensor<12xf32>) {
  %0 = "rlx.layer_norm"(%a, %b, %c) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<?x?xf32>, tensor<?xf32>, tensor<12xf32>) -> tensor<?x?xf32>
  return
}
