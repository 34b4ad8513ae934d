// RUN: rlx-opt %s -split-input-file --rlx-fuse-glu | filecheck %s
// RUN: rlx-opt %s -split-input-file --rlx-fuse-glu --rlx-fuse-glu | filecheck %s
// RUN: rlx-opt %s -split-input-file --rlx-fuse-glu --rlx-remarks -verify-diagnostics

// As torch-mlir lowers silu(gate) * up.
// CHECK-LABEL: func.func @silu(
// CHECK: %[[Y:.*]] = "rlx.glu"(%arg0, %arg1) {activation = "silu"} : (tensor<2x?x6xf32>, tensor<2x?x6xf32>) -> tensor<2x?x6xf32>
// CHECK-NEXT: return %[[Y]]
func.func @silu(%g: tensor<2x?x6xf32>, %u: tensor<2x?x6xf32>) -> tensor<2x?x6xf32> {
  %c1 = arith.constant 1 : index
  %n = tensor.dim %g, %c1 : tensor<2x?x6xf32>
  %e = tensor.empty(%n) : tensor<2x?x6xf32>
  %one = arith.constant 1.000000e+00 : f32
  %s = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%g : tensor<2x?x6xf32>) outs(%e : tensor<2x?x6xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.negf %a : f32
    %1 = math.exp %0 : f32
    %2 = arith.addf %1, %one : f32
    %3 = arith.divf %one, %2 : f32
    linalg.yield %3 : f32
  } -> tensor<2x?x6xf32>
  %m = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%g, %s : tensor<2x?x6xf32>, tensor<2x?x6xf32>) outs(%e : tensor<2x?x6xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %0 = arith.mulf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x6xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%m, %u : tensor<2x?x6xf32>, tensor<2x?x6xf32>) outs(%e : tensor<2x?x6xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %0 = arith.mulf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x6xf32>
  return %y : tensor<2x?x6xf32>
}

// -----

// x / (1 + exp(-x)), in arith and math on tensors.
// CHECK-LABEL: func.func @silu_divided(
// CHECK: %[[Y:.*]] = "rlx.glu"(%arg0, %arg1) {activation = "silu"} : (tensor<4x6xf32>, tensor<4x6xf32>) -> tensor<4x6xf32>
// CHECK-NEXT: return %[[Y]]
func.func @silu_divided(%g: tensor<4x6xf32>, %u: tensor<4x6xf32>) -> tensor<4x6xf32> {
  %one = arith.constant dense<1.000000e+00> : tensor<4x6xf32>
  %0 = arith.negf %g : tensor<4x6xf32>
  %1 = math.exp %0 : tensor<4x6xf32>
  %2 = arith.addf %one, %1 : tensor<4x6xf32>
  %3 = arith.divf %g, %2 : tensor<4x6xf32>
  %y = arith.mulf %u, %3 : tensor<4x6xf32>
  return %y : tensor<4x6xf32>
}

// -----

// The same function, spelled x / 2 * (1 + tanh(x / 2)).
// CHECK-LABEL: func.func @silu_of_tanh(
// CHECK: %[[Y:.*]] = "rlx.glu"(%arg0, %arg1) {activation = "silu"} : (tensor<4x6xf32>, tensor<4x6xf32>) -> tensor<4x6xf32>
// CHECK-NEXT: return %[[Y]]
func.func @silu_of_tanh(%g: tensor<4x6xf32>, %u: tensor<4x6xf32>) -> tensor<4x6xf32> {
  %one = arith.constant dense<1.000000e+00> : tensor<4x6xf32>
  %half = arith.constant dense<5.000000e-01> : tensor<4x6xf32>
  %0 = arith.mulf %g, %half : tensor<4x6xf32>
  %1 = math.tanh %0 : tensor<4x6xf32>
  %2 = arith.addf %1, %one : tensor<4x6xf32>
  %3 = arith.mulf %2, %0 : tensor<4x6xf32>
  %y = arith.mulf %3, %u : tensor<4x6xf32>
  return %y : tensor<4x6xf32>
}

// -----

// (sigmoid(gate) * up) * gate, in one op.
// CHECK-LABEL: func.func @silu_in_one_body(
// CHECK: %[[Y:.*]] = "rlx.glu"(%arg0, %arg1) {activation = "silu"} : (tensor<2x?x6xf32>, tensor<2x?x6xf32>) -> tensor<2x?x6xf32>
// CHECK-NEXT: return %[[Y]]
func.func @silu_in_one_body(%g: tensor<2x?x6xf32>, %u: tensor<2x?x6xf32>) -> tensor<2x?x6xf32> {
  %c1 = arith.constant 1 : index
  %n = tensor.dim %g, %c1 : tensor<2x?x6xf32>
  %e = tensor.empty(%n) : tensor<2x?x6xf32>
  %one = arith.constant 1.000000e+00 : f32
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%g, %u : tensor<2x?x6xf32>, tensor<2x?x6xf32>) outs(%e : tensor<2x?x6xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %0 = arith.negf %a : f32
    %1 = math.exp %0 : f32
    %2 = arith.addf %1, %one : f32
    %3 = arith.divf %one, %2 : f32
    %4 = arith.mulf %3, %b : f32
    %5 = arith.mulf %4, %a : f32
    linalg.yield %5 : f32
  } -> tensor<2x?x6xf32>
  return %y : tensor<2x?x6xf32>
}

// -----

// CHECK-LABEL: func.func @gelu(
// CHECK: %[[Y:.*]] = "rlx.glu"(%arg0, %arg1) {activation = "gelu"} : (tensor<2x?x6xf32>, tensor<2x?x6xf32>) -> tensor<2x?x6xf32>
// CHECK-NEXT: return %[[Y]]
func.func @gelu(%g: tensor<2x?x6xf32>, %u: tensor<2x?x6xf32>) -> tensor<2x?x6xf32> {
  %c1 = arith.constant 1 : index
  %n = tensor.dim %g, %c1 : tensor<2x?x6xf32>
  %e = tensor.empty(%n) : tensor<2x?x6xf32>
  %one = arith.constant 1.000000e+00 : f32
  %half = arith.constant 5.000000e-01 : f32
  %root = arith.constant 1.41421354 : f32
  %act = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%g : tensor<2x?x6xf32>) outs(%e : tensor<2x?x6xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.divf %a, %root : f32
    %1 = math.erf %0 : f32
    %2 = arith.addf %1, %one : f32
    %3 = arith.mulf %2, %half : f32
    %4 = arith.mulf %a, %3 : f32
    linalg.yield %4 : f32
  } -> tensor<2x?x6xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%act, %u : tensor<2x?x6xf32>, tensor<2x?x6xf32>) outs(%e : tensor<2x?x6xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %0 = arith.mulf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x6xf32>
  return %y : tensor<2x?x6xf32>
}

// -----

// With torch-mlir's constant for sqrt(2 / pi).
// CHECK-LABEL: func.func @gelu_tanh(
// CHECK: %[[Y:.*]] = "rlx.glu"(%arg0, %arg1) {activation = "gelu_tanh"} : (tensor<2x?x6xf32>, tensor<2x?x6xf32>) -> tensor<2x?x6xf32>
// CHECK-NEXT: return %[[Y]]
func.func @gelu_tanh(%g: tensor<2x?x6xf32>, %u: tensor<2x?x6xf32>) -> tensor<2x?x6xf32> {
  %c1 = arith.constant 1 : index
  %n = tensor.dim %g, %c1 : tensor<2x?x6xf32>
  %e = tensor.empty(%n) : tensor<2x?x6xf32>
  %one = arith.constant 1.000000e+00 : f32
  %c3 = arith.constant 3 : i64
  %half = arith.constant 5.000000e-01 : f32
  %k = arith.constant 7.977240e-01 : f32
  %c = arith.constant 4.471500e-02 : f32
  %act = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%g : tensor<2x?x6xf32>) outs(%e : tensor<2x?x6xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = math.fpowi %a, %c3 : f32, i64
    %1 = arith.mulf %0, %c : f32
    %2 = arith.addf %a, %1 : f32
    %3 = arith.mulf %2, %k : f32
    %4 = math.tanh %3 : f32
    %5 = arith.addf %4, %one : f32
    %6 = arith.mulf %5, %half : f32
    %7 = arith.mulf %a, %6 : f32
    linalg.yield %7 : f32
  } -> tensor<2x?x6xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%act, %u : tensor<2x?x6xf32>, tensor<2x?x6xf32>) outs(%e : tensor<2x?x6xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %0 = arith.mulf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x6xf32>
  return %y : tensor<2x?x6xf32>
}

// -----

// CHECK-LABEL: func.func @relu(
// CHECK: %[[Y:.*]] = "rlx.glu"(%arg0, %arg1) {activation = "relu"} : (tensor<2x?x6xf32>, tensor<2x?x6xf32>) -> tensor<2x?x6xf32>
// CHECK-NEXT: return %[[Y]]
func.func @relu(%g: tensor<2x?x6xf32>, %u: tensor<2x?x6xf32>) -> tensor<2x?x6xf32> {
  %c1 = arith.constant 1 : index
  %n = tensor.dim %g, %c1 : tensor<2x?x6xf32>
  %e = tensor.empty(%n) : tensor<2x?x6xf32>
  %zero = arith.constant 0.000000e+00 : f32
  %act = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%g : tensor<2x?x6xf32>) outs(%e : tensor<2x?x6xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.cmpf ugt, %a, %zero : f32
    %1 = arith.select %0, %a, %zero : f32
    linalg.yield %1 : f32
  } -> tensor<2x?x6xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%act, %u : tensor<2x?x6xf32>, tensor<2x?x6xf32>) outs(%e : tensor<2x?x6xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %0 = arith.mulf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x6xf32>
  return %y : tensor<2x?x6xf32>
}

// -----

// CHECK-LABEL: func.func @relu_of_maximum(
// CHECK: %[[Y:.*]] = "rlx.glu"(%arg0, %arg1) {activation = "relu"} : (tensor<4x6xf32>, tensor<4x6xf32>) -> tensor<4x6xf32>
// CHECK-NEXT: return %[[Y]]
func.func @relu_of_maximum(%g: tensor<4x6xf32>, %u: tensor<4x6xf32>) -> tensor<4x6xf32> {
  %zero = arith.constant dense<0.000000e+00> : tensor<4x6xf32>
  %0 = arith.maximumf %zero, %g : tensor<4x6xf32>
  %y = arith.mulf %0, %u : tensor<4x6xf32>
  return %y : tensor<4x6xf32>
}

// -----

// Activated in f32, multiplied in bf16.
// CHECK-LABEL: func.func @bf16(
// CHECK: %[[Y:.*]] = "rlx.glu"(%arg0, %arg1) {activation = "silu"} : (tensor<4x6xbf16>, tensor<4x6xbf16>) -> tensor<4x6xbf16>
// CHECK-NEXT: return %[[Y]]
func.func @bf16(%g: tensor<4x6xbf16>, %u: tensor<4x6xbf16>) -> tensor<4x6xbf16> {
  %one = arith.constant dense<1.000000e+00> : tensor<4x6xf32>
  %f = arith.extf %g : tensor<4x6xbf16> to tensor<4x6xf32>
  %0 = arith.negf %f : tensor<4x6xf32>
  %1 = math.exp %0 : tensor<4x6xf32>
  %2 = arith.addf %1, %one : tensor<4x6xf32>
  %3 = arith.divf %f, %2 : tensor<4x6xf32>
  %4 = arith.truncf %3 : tensor<4x6xf32> to tensor<4x6xbf16>
  %y = arith.mulf %4, %u : tensor<4x6xbf16>
  return %y : tensor<4x6xbf16>
}

// -----

// Gate and partner are sums themselves.
// CHECK-LABEL: func.func @biases(
// CHECK-DAG: %[[G:.*]] = arith.addf %arg0, %arg2
// CHECK-DAG: %[[U:.*]] = arith.addf %arg1, %arg3
// CHECK: %[[Y:.*]] = "rlx.glu"(%[[G]], %[[U]]) {activation = "silu"}
// CHECK-NEXT: return %[[Y]]
func.func @biases(%g: tensor<4x6xf32>, %u: tensor<4x6xf32>, %b: tensor<4x6xf32>, %c: tensor<4x6xf32>) -> tensor<4x6xf32> {
  %one = arith.constant dense<1.000000e+00> : tensor<4x6xf32>
  %gb = arith.addf %g, %b : tensor<4x6xf32>
  %uc = arith.addf %u, %c : tensor<4x6xf32>
  %0 = arith.negf %gb : tensor<4x6xf32>
  %1 = math.exp %0 : tensor<4x6xf32>
  %2 = arith.addf %1, %one : tensor<4x6xf32>
  %3 = arith.divf %gb, %2 : tensor<4x6xf32>
  %y = arith.mulf %3, %uc : tensor<4x6xf32>
  return %y : tensor<4x6xf32>
}

// -----

// Gate and partner are products themselves.
// CHECK-LABEL: func.func @products(
// CHECK-DAG: %[[G:.*]] = arith.mulf %arg0, %arg2
// CHECK-DAG: %[[U:.*]] = arith.mulf %arg1, %arg3
// CHECK: %[[Y:.*]] = "rlx.glu"(%[[G]], %[[U]]) {activation = "silu"}
func.func @products(%g: tensor<4x6xf32>, %u: tensor<4x6xf32>, %b: tensor<4x6xf32>, %c: tensor<4x6xf32>) -> tensor<4x6xf32> {
  %one = arith.constant dense<1.000000e+00> : tensor<4x6xf32>
  %gb = arith.mulf %g, %b : tensor<4x6xf32>
  %uc = arith.mulf %u, %c : tensor<4x6xf32>
  %0 = arith.negf %gb : tensor<4x6xf32>
  %1 = math.exp %0 : tensor<4x6xf32>
  %2 = arith.addf %1, %one : tensor<4x6xf32>
  %3 = arith.divf %gb, %2 : tensor<4x6xf32>
  %y = arith.mulf %3, %uc : tensor<4x6xf32>
  return %y : tensor<4x6xf32>
}

// -----

// Whatever else uses the activation keeps it.
// CHECK-LABEL: func.func @activation_used(
// CHECK: %[[A:.*]] = arith.divf
// CHECK-NEXT: %[[Y:.*]] = "rlx.glu"
// CHECK-NEXT: return %[[Y]], %[[A]]
func.func @activation_used(%g: tensor<4x6xf32>, %u: tensor<4x6xf32>) -> (tensor<4x6xf32>, tensor<4x6xf32>) {
  %one = arith.constant dense<1.000000e+00> : tensor<4x6xf32>
  %0 = arith.negf %g : tensor<4x6xf32>
  %1 = math.exp %0 : tensor<4x6xf32>
  %2 = arith.addf %one, %1 : tensor<4x6xf32>
  %3 = arith.divf %g, %2 : tensor<4x6xf32>
  %y = arith.mulf %u, %3 : tensor<4x6xf32>
  return %y, %3 : tensor<4x6xf32>, tensor<4x6xf32>
}
