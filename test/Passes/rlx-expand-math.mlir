// RUN: rlx-opt %s --rlx-expand-math | filecheck %s

// CHECK-LABEL: func.func @exp
// CHECK-NOT: math.exp
// CHECK: math.fma
// CHECK: arith.shli
func.func @exp(%x: f32) -> f32 {
  %0 = math.exp %x : f32
  return %0 : f32
}

// CHECK-LABEL: func.func @vector
// CHECK-NOT: math.tanh
// CHECK: math.fma {{.*}} : vector<4xf32>
// CHECK: math.copysign {{.*}} : vector<4xf32>
func.func @vector(%x: vector<4xf32>) -> vector<4xf32> {
  %0 = math.tanh %x : vector<4xf32>
  return %0 : vector<4xf32>
}

// CHECK-LABEL: func.func @erf
// CHECK-NOT: {{math.erf|arith.divf}}
// CHECK: math.copysign
func.func @erf(%x: f32) -> f32 {
  %0 = math.erf %x : f32
  return %0 : f32
}

// f64 is left to libm, and so are other functions and tensors.
// CHECK-LABEL: func.func @stays
// CHECK: math.exp %{{.*}} : f64
// CHECK: math.log %{{.*}} : f32
// CHECK: math.exp %{{.*}} : tensor<4xf32>
func.func @stays(%x: f64, %y: f32, %z: tensor<4xf32>) -> (f64, f32, tensor<4xf32>) {
  %0 = math.exp %x : f64
  %1 = math.log %y : f32
  %2 = math.exp %z : tensor<4xf32>
  return %0, %1, %2 : f64, f32, tensor<4xf32>
}
