// RUN: rlx-opt %s | rlx-opt | filecheck %s

// CHECK-LABEL: func.func @plain
// CHECK: "rlx.rms_norm"(%{{.*}}) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<2x3x12xf32>) -> tensor<2x3x12xf32>
// CHECK: "rlx.rms_norm"(%{{.*}}, %{{.*}}) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<2x3x12xf32>, tensor<12xf32>) -> tensor<2x3x12xf32>
func.func @plain(%a: tensor<2x3x12xf32>, %b: tensor<2x3x12xf32>, %c: tensor<12xf32>) {
  %0 = "rlx.rms_norm"(%a) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<2x3x12xf32>) -> tensor<2x3x12xf32>
  %1 = "rlx.rms_norm"(%b, %c) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<2x3x12xf32>, tensor<12xf32>) -> tensor<2x3x12xf32>
  return
}

// CHECK-LABEL: func.func @offset
// CHECK: "rlx.rms_norm"(%{{.*}}, %{{.*}}) {epsilon = 9.9999999999999995E-7 : f64, weight_offset = 1.000000e+00 : f64} : (tensor<2x3x12xf32>, tensor<12xf32>) -> tensor<2x3x12xf32>
func.func @offset(%a: tensor<2x3x12xf32>, %b: tensor<12xf32>) {
  %0 = "rlx.rms_norm"(%a, %b) {epsilon = 9.9999999999999995E-7 : f64, weight_offset = 1.000000e+00 : f64} : (tensor<2x3x12xf32>, tensor<12xf32>) -> tensor<2x3x12xf32>
  return
}

// The weight covers the last axis, or one group.
// CHECK-LABEL: func.func @groups
// CHECK: "rlx.rms_norm"(%{{.*}}) {epsilon = 9.9999999999999995E-7 : f64, group = 4 : i64} : (tensor<2x3x12xf32>) -> tensor<2x3x12xf32>
// CHECK: "rlx.rms_norm"(%{{.*}}, %{{.*}}) {epsilon = 9.9999999999999995E-7 : f64, group = 4 : i64} : (tensor<2x3x12xf32>, tensor<4xf32>) -> tensor<2x3x12xf32>
// CHECK: "rlx.rms_norm"(%{{.*}}, %{{.*}}) {epsilon = 9.9999999999999995E-7 : f64, group = 4 : i64} : (tensor<2x3x12xf32>, tensor<12xf32>) -> tensor<2x3x12xf32>
// CHECK: "rlx.rms_norm"(%{{.*}}, %{{.*}}) {epsilon = 9.9999999999999995E-7 : f64, group = 12 : i64} : (tensor<2x3x12xf32>, tensor<12xf32>) -> tensor<2x3x12xf32>
// CHECK: "rlx.rms_norm"(%{{.*}}, %{{.*}}) {epsilon = 9.9999999999999995E-7 : f64, group = 1 : i64} : (tensor<2x3x12xf32>, tensor<1xf32>) -> tensor<2x3x12xf32>
func.func @groups(%a: tensor<2x3x12xf32>, %b: tensor<2x3x12xf32>, %c: tensor<4xf32>, %d: tensor<2x3x12xf32>, %e: tensor<12xf32>, %f: tensor<2x3x12xf32>, %g: tensor<12xf32>, %h: tensor<2x3x12xf32>, %i: tensor<1xf32>) {
  %0 = "rlx.rms_norm"(%a) {epsilon = 9.9999999999999995E-7 : f64, group = 4 : i64} : (tensor<2x3x12xf32>) -> tensor<2x3x12xf32>
  %1 = "rlx.rms_norm"(%b, %c) {epsilon = 9.9999999999999995E-7 : f64, group = 4 : i64} : (tensor<2x3x12xf32>, tensor<4xf32>) -> tensor<2x3x12xf32>
  %2 = "rlx.rms_norm"(%d, %e) {epsilon = 9.9999999999999995E-7 : f64, group = 4 : i64} : (tensor<2x3x12xf32>, tensor<12xf32>) -> tensor<2x3x12xf32>
  %3 = "rlx.rms_norm"(%f, %g) {epsilon = 9.9999999999999995E-7 : f64, group = 12 : i64} : (tensor<2x3x12xf32>, tensor<12xf32>) -> tensor<2x3x12xf32>
  %4 = "rlx.rms_norm"(%h, %i) {epsilon = 9.9999999999999995E-7 : f64, group = 1 : i64} : (tensor<2x3x12xf32>, tensor<1xf32>) -> tensor<2x3x12xf32>
  return
}

// CHECK-LABEL: func.func @f32_weight
// CHECK: "rlx.rms_norm"(%{{.*}}, %{{.*}}) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<12xbf16>, tensor<12xf32>) -> tensor<12xbf16>
// CHECK: "rlx.rms_norm"(%{{.*}}, %{{.*}}) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<12xf64>, tensor<12xf32>) -> tensor<12xf64>
func.func @f32_weight(%a: tensor<12xbf16>, %b: tensor<12xf32>, %c: tensor<12xf64>, %d: tensor<12xf32>) {
  %0 = "rlx.rms_norm"(%a, %b) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<12xbf16>, tensor<12xf32>) -> tensor<12xbf16>
  %1 = "rlx.rms_norm"(%c, %d) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<12xf64>, tensor<12xf32>) -> tensor<12xf64>
  return
}

// CHECK-LABEL: func.func @dynamic
// CHECK: "rlx.rms_norm"(%{{.*}}, %{{.*}}) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<?x?xf16>, tensor<?xf16>) -> tensor<?x?xf16>
// CHECK: "rlx.rms_norm"(%{{.*}}, %{{.*}}) {epsilon = 9.9999999999999995E-7 : f64, group = 4 : i64} : (tensor<2x?xf16>, tensor<4xf16>) -> tensor<2x?xf16>
func.func @dynamic(%a: tensor<?x?xf16>, %b: tensor<?xf16>, %c: tensor<2x?xf16>, %d: tensor<4xf16>) {
  %0 = "rlx.rms_norm"(%a, %b) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<?x?xf16>, tensor<?xf16>) -> tensor<?x?xf16>
  %1 = "rlx.rms_norm"(%c, %d) {epsilon = 9.9999999999999995E-7 : f64, group = 4 : i64} : (tensor<2x?xf16>, tensor<4xf16>) -> tensor<2x?xf16>
  return
}

// CHECK-LABEL: func.func @no_epsilon
// CHECK: "rlx.rms_norm"(%{{.*}}) {epsilon = 0.000000e+00 : f64} : (tensor<2x3x12xf32>) -> tensor<2x3x12xf32>
func.func @no_epsilon(%a: tensor<2x3x12xf32>) {
  %0 = "rlx.rms_norm"(%a) {epsilon = 0.000000e+00 : f64} : (tensor<2x3x12xf32>) -> tensor<2x3x12xf32>
  return
}
