// The IR stays as it is; a remark says why where it comes close.
// RUN: rlx-opt %s -split-input-file > %t.before
// RUN: rlx-opt %s -split-input-file --rlx-fuse-glu > %t.after
// RUN: diff %t.before %t.after
// RUN: rlx-opt %s -split-input-file --rlx-fuse-glu --rlx-remarks -verify-diagnostics

// The gate itself is not a factor.
func.func @sigmoid(%g: tensor<4x6xf32>, %u: tensor<4x6xf32>) -> tensor<4x6xf32> {
  %one = arith.constant dense<1.000000e+00> : tensor<4x6xf32>
  %0 = arith.negf %g : tensor<4x6xf32>
  %1 = math.exp %0 : tensor<4x6xf32>
  %2 = arith.addf %1, %one : tensor<4x6xf32>
  %3 = arith.divf %one, %2 : tensor<4x6xf32>
  // expected-remark @+1 {{gated unit stays in parts: rlx.glu has no activation sigmoid}}
  %y = arith.mulf %3, %u : tensor<4x6xf32>
  return %y : tensor<4x6xf32>
}

// -----

func.func @relu_squared(%g: tensor<4x6xf32>, %u: tensor<4x6xf32>) -> tensor<4x6xf32> {
  %zero = arith.constant dense<0.000000e+00> : tensor<4x6xf32>
  %0 = arith.maximumf %g, %zero : tensor<4x6xf32>
  %1 = arith.mulf %0, %0 : tensor<4x6xf32>
  // expected-remark @+1 {{gated unit stays in parts: rlx.glu has no activation relu squared}}
  %y = arith.mulf %1, %u : tensor<4x6xf32>
  return %y : tensor<4x6xf32>
}

// -----

func.func @quick_gelu(%g: tensor<4x6xf32>, %u: tensor<4x6xf32>) -> tensor<4x6xf32> {
  %one = arith.constant dense<1.000000e+00> : tensor<4x6xf32>
  %k = arith.constant dense<1.702000e+00> : tensor<4x6xf32>
  %k0 = arith.mulf %g, %k : tensor<4x6xf32>
  %0 = arith.negf %k0 : tensor<4x6xf32>
  %1 = math.exp %0 : tensor<4x6xf32>
  %2 = arith.addf %1, %one : tensor<4x6xf32>
  %3 = arith.divf %g, %2 : tensor<4x6xf32>
  // expected-remark @+1 {{gated unit stays in parts: rlx.glu has no activation x * sigmoid(1.702 x)}}
  %y = arith.mulf %3, %u : tensor<4x6xf32>
  return %y : tensor<4x6xf32>
}

// -----

// Twice relu.
func.func @scaled(%g: tensor<4x6xf32>, %u: tensor<4x6xf32>) -> tensor<4x6xf32> {
  %two = arith.constant dense<2.000000e+00> : tensor<4x6xf32>
  %zero = arith.constant dense<0.000000e+00> : tensor<4x6xf32>
  %0 = arith.maximumf %g, %zero : tensor<4x6xf32>
  %1 = arith.mulf %0, %two : tensor<4x6xf32>
  %y = arith.mulf %1, %u : tensor<4x6xf32>
  return %y : tensor<4x6xf32>
}

// -----

// The sigmoid of one tensor times another one.
func.func @another_argument(%g: tensor<4x6xf32>, %u: tensor<4x6xf32>, %z: tensor<4x6xf32>) -> tensor<4x6xf32> {
  %one = arith.constant dense<1.000000e+00> : tensor<4x6xf32>
  %0 = arith.negf %g : tensor<4x6xf32>
  %1 = math.exp %0 : tensor<4x6xf32>
  %2 = arith.addf %1, %one : tensor<4x6xf32>
  // expected-remark @+1 {{gated unit stays in parts: rlx.glu has no activation sigmoid}}
  %3 = arith.divf %z, %2 : tensor<4x6xf32>
  %y = arith.mulf %3, %u : tensor<4x6xf32>
  return %y : tensor<4x6xf32>
}

// -----

// Divided by the partner.
func.func @divided(%g: tensor<4x6xf32>, %u: tensor<4x6xf32>) -> tensor<4x6xf32> {
  %one = arith.constant dense<1.000000e+00> : tensor<4x6xf32>
  %0 = arith.negf %g : tensor<4x6xf32>
  %1 = math.exp %0 : tensor<4x6xf32>
  %2 = arith.addf %1, %one : tensor<4x6xf32>
  %3 = arith.divf %g, %2 : tensor<4x6xf32>
  %y = arith.divf %3, %u : tensor<4x6xf32>
  return %y : tensor<4x6xf32>
}

// -----

// An activation without a partner.
func.func @alone(%g: tensor<4x6xf32>) -> tensor<4x6xf32> {
  %one = arith.constant dense<1.000000e+00> : tensor<4x6xf32>
  %0 = arith.negf %g : tensor<4x6xf32>
  %1 = math.exp %0 : tensor<4x6xf32>
  %2 = arith.addf %1, %one : tensor<4x6xf32>
  %y = arith.divf %g, %2 : tensor<4x6xf32>
  return %y : tensor<4x6xf32>
}

// -----

// The partner is broadcast.
func.func @broadcast(%g: tensor<2x4x6xf32>, %u: tensor<2x1x6xf32>) -> tensor<2x4x6xf32> {
  %e = tensor.empty() : tensor<2x4x6xf32>
  %zero = arith.constant 0.000000e+00 : f32
  %act = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%g : tensor<2x4x6xf32>) outs(%e : tensor<2x4x6xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.maximumf %a, %zero : f32
    linalg.yield %0 : f32
  } -> tensor<2x4x6xf32>
  // expected-remark @+1 {{gated unit stays in parts: tensor<2x1x6xf32> is multiplied with tensor<2x4x6xf32>}}
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, 0, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%act, %u : tensor<2x4x6xf32>, tensor<2x1x6xf32>) outs(%e : tensor<2x4x6xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %0 = arith.mulf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<2x4x6xf32>
  return %y : tensor<2x4x6xf32>
}

// -----

// The partner is transposed.
func.func @transposed(%g: tensor<4x4xf32>, %u: tensor<4x4xf32>) -> tensor<4x4xf32> {
  %e = tensor.empty() : tensor<4x4xf32>
  %zero = arith.constant 0.000000e+00 : f32
  %act = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%g : tensor<4x4xf32>) outs(%e : tensor<4x4xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.maximumf %a, %zero : f32
    linalg.yield %0 : f32
  } -> tensor<4x4xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d1, d0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%act, %u : tensor<4x4xf32>, tensor<4x4xf32>) outs(%e : tensor<4x4xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %0 = arith.mulf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<4x4xf32>
  return %y : tensor<4x4xf32>
}

// -----

// The partner is a scalar argument of the function.
func.func @scalar_argument(%g: tensor<2x?x6xf32>, %s: f32) -> tensor<2x?x6xf32> {
  %c1 = arith.constant 1 : index
  %n = tensor.dim %g, %c1 : tensor<2x?x6xf32>
  %e = tensor.empty(%n) : tensor<2x?x6xf32>
  %zero = arith.constant 0.000000e+00 : f32
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%g : tensor<2x?x6xf32>) outs(%e : tensor<2x?x6xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.maximumf %a, %zero : f32
    %1 = arith.mulf %0, %s : f32
    linalg.yield %1 : f32
  } -> tensor<2x?x6xf32>
  return %y : tensor<2x?x6xf32>
}
