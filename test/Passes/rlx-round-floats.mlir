// RUN: rlx-opt %s --rlx-round-floats | filecheck %s

// CHECK-LABEL: func.func @scalar
// CHECK-SAME: (%[[X:.*]]: f64)
// CHECK: %[[N:.*]] = arith.truncf %[[X]] : f64 to f32
// CHECK: %[[B:.*]] = arith.extf %[[N]] : f32 to f64
// CHECK: arith.cmpf one, %[[B]], %[[X]]
// CHECK: %[[O:.*]] = arith.bitcast %{{.*}} : i32 to f32
// CHECK: arith.truncf %[[O]] : f32 to bf16
// CHECK-NOT: f64 to bf16
func.func @scalar(%x: f64) -> bf16 {
  %0 = arith.truncf %x : f64 to bf16
  return %0 : bf16
}

// CHECK-LABEL: func.func @vector
// CHECK: arith.truncf %{{.*}} : vector<4xf64> to vector<4xf32>
// CHECK: arith.truncf %{{.*}} : vector<4xf32> to vector<4xf16>
func.func @vector(%x: vector<4xf64>) -> vector<4xf16> {
  %0 = arith.truncf %x : vector<4xf64> to vector<4xf16>
  return %0 : vector<4xf16>
}

// One step is exact here.
// CHECK-LABEL: func.func @others
// CHECK-NEXT: arith.truncf %{{.*}} : f64 to f32
// CHECK-NEXT: arith.truncf %{{.*}} : f32 to bf16
// CHECK-NEXT: return
func.func @others(%x: f64, %y: f32) -> (f32, bf16) {
  %0 = arith.truncf %x : f64 to f32
  %1 = arith.truncf %y : f32 to bf16
  return %0, %1 : f32, bf16
}
