// RUN: rlx-opt %s -split-input-file --rlx-fuse-norm | filecheck %s
// RUN: rlx-opt %s -split-input-file --rlx-fuse-norm --rlx-fuse-norm | filecheck %s
// RUN: rlx-opt %s -split-input-file --rlx-fuse-norm --rlx-remarks -verify-diagnostics

// Hugging Face's LlamaRMSNorm, as torch-mlir lowers it.
// CHECK-LABEL: func.func @llama(
// CHECK: %[[Y:.*]] = "rlx.rms_norm"(%arg0, %arg1) {epsilon = 9.9999999999999995E-7 : f64} : (tensor<2x?x8xf32>, tensor<8xf32>) -> tensor<2x?x8xf32>
// CHECK-NEXT: return %[[Y]]
func.func @llama(%x: tensor<2x?x8xf32>, %w: tensor<8xf32>) -> tensor<2x?x8xf32> {
  %c1 = arith.constant 1 : index
  %n = tensor.dim %x, %c1 : tensor<2x?x8xf32>
  %e = tensor.empty(%n) : tensor<2x?x8xf32>
  %k = tensor.empty(%n) : tensor<2x?x1xf32>
  %c2 = arith.constant 2 : i64
  %zero = arith.constant 0.000000e+00 : f32
  %count = arith.constant 8.000000e+00 : f32
  %eps = arith.constant 9.9999999999999995E-7 : f64
  %s = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%x : tensor<2x?x8xf32>) outs(%e : tensor<2x?x8xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = math.fpowi %a, %c2 : f32, i64
    linalg.yield %0 : f32
  } -> tensor<2x?x8xf32>
  %i = linalg.fill ins(%zero : f32) outs(%k : tensor<2x?x1xf32>) -> tensor<2x?x1xf32>
  %t = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, 0)>], iterator_types = ["parallel", "parallel", "reduction"]} ins(%s : tensor<2x?x8xf32>) outs(%i : tensor<2x?x1xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.addf %a, %out : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x1xf32>
  %m = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%t : tensor<2x?x1xf32>) outs(%k : tensor<2x?x1xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.divf %a, %count : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x1xf32>
  %p = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%m : tensor<2x?x1xf32>) outs(%k : tensor<2x?x1xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.truncf %eps : f64 to f32
    %1 = arith.addf %a, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<2x?x1xf32>
  %r = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%p : tensor<2x?x1xf32>) outs(%k : tensor<2x?x1xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = math.rsqrt %a : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x1xf32>
  %xn = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, 0)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%x, %r : tensor<2x?x8xf32>, tensor<2x?x1xf32>) outs(%e : tensor<2x?x8xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %0 = arith.mulf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x8xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%w, %xn : tensor<8xf32>, tensor<2x?x8xf32>) outs(%e : tensor<2x?x8xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %0 = arith.mulf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x8xf32>
  return %y : tensor<2x?x8xf32>
}

// -----

// CHECK-LABEL: func.func @no_weight(
// CHECK: %[[Y:.*]] = "rlx.rms_norm"(%arg0) {epsilon = 9.9999999999999995E-7 : f64}
// CHECK-NEXT: return %[[Y]]
func.func @no_weight(%x: tensor<2x?x8xf32>) -> tensor<2x?x8xf32> {
  %c1 = arith.constant 1 : index
  %n = tensor.dim %x, %c1 : tensor<2x?x8xf32>
  %e = tensor.empty(%n) : tensor<2x?x8xf32>
  %k = tensor.empty(%n) : tensor<2x?x1xf32>
  %c2 = arith.constant 2 : i64
  %zero = arith.constant 0.000000e+00 : f32
  %count = arith.constant 8.000000e+00 : f32
  %eps = arith.constant 9.9999999999999995E-7 : f64
  %s = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%x : tensor<2x?x8xf32>) outs(%e : tensor<2x?x8xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = math.fpowi %a, %c2 : f32, i64
    linalg.yield %0 : f32
  } -> tensor<2x?x8xf32>
  %i = linalg.fill ins(%zero : f32) outs(%k : tensor<2x?x1xf32>) -> tensor<2x?x1xf32>
  %t = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, 0)>], iterator_types = ["parallel", "parallel", "reduction"]} ins(%s : tensor<2x?x8xf32>) outs(%i : tensor<2x?x1xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.addf %a, %out : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x1xf32>
  %m = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%t : tensor<2x?x1xf32>) outs(%k : tensor<2x?x1xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.divf %a, %count : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x1xf32>
  %p = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%m : tensor<2x?x1xf32>) outs(%k : tensor<2x?x1xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.truncf %eps : f64 to f32
    %1 = arith.addf %a, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<2x?x1xf32>
  %r = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%p : tensor<2x?x1xf32>) outs(%k : tensor<2x?x1xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = math.rsqrt %a : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x1xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, 0)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%x, %r : tensor<2x?x8xf32>, tensor<2x?x1xf32>) outs(%e : tensor<2x?x8xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %0 = arith.mulf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x8xf32>
  return %y : tensor<2x?x8xf32>
}

// -----

// The weight is stored less one.
// CHECK-LABEL: func.func @gemma(
// CHECK: %[[Y:.*]] = "rlx.rms_norm"(%arg0, %arg1) {epsilon = 9.9999999999999995E-7 : f64, weight_offset = 1.000000e+00 : f64}
// CHECK-NEXT: return %[[Y]]
func.func @gemma(%x: tensor<2x?x8xf32>, %w: tensor<8xf32>) -> tensor<2x?x8xf32> {
  %c1 = arith.constant 1 : index
  %n = tensor.dim %x, %c1 : tensor<2x?x8xf32>
  %e = tensor.empty(%n) : tensor<2x?x8xf32>
  %k = tensor.empty(%n) : tensor<2x?x1xf32>
  %c2 = arith.constant 2 : i64
  %zero = arith.constant 0.000000e+00 : f32
  %count = arith.constant 8.000000e+00 : f32
  %eps = arith.constant 9.9999999999999995E-7 : f64
  %ew = tensor.empty() : tensor<8xf32>
  %one = arith.constant 1.000000e+00 : f32
  %w1 = linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} ins(%w : tensor<8xf32>) outs(%ew : tensor<8xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.addf %a, %one : f32
    linalg.yield %0 : f32
  } -> tensor<8xf32>
  %s = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%x : tensor<2x?x8xf32>) outs(%e : tensor<2x?x8xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = math.fpowi %a, %c2 : f32, i64
    linalg.yield %0 : f32
  } -> tensor<2x?x8xf32>
  %i = linalg.fill ins(%zero : f32) outs(%k : tensor<2x?x1xf32>) -> tensor<2x?x1xf32>
  %t = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, 0)>], iterator_types = ["parallel", "parallel", "reduction"]} ins(%s : tensor<2x?x8xf32>) outs(%i : tensor<2x?x1xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.addf %a, %out : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x1xf32>
  %m = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%t : tensor<2x?x1xf32>) outs(%k : tensor<2x?x1xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.divf %a, %count : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x1xf32>
  %p = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%m : tensor<2x?x1xf32>) outs(%k : tensor<2x?x1xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.truncf %eps : f64 to f32
    %1 = arith.addf %a, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<2x?x1xf32>
  %r = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%p : tensor<2x?x1xf32>) outs(%k : tensor<2x?x1xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = math.rsqrt %a : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x1xf32>
  %xn = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, 0)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%x, %r : tensor<2x?x8xf32>, tensor<2x?x1xf32>) outs(%e : tensor<2x?x8xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %0 = arith.mulf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x8xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%xn, %w1 : tensor<2x?x8xf32>, tensor<8xf32>) outs(%e : tensor<2x?x8xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %0 = arith.mulf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x8xf32>
  return %y : tensor<2x?x8xf32>
}

// -----

// Computed in f32, weighed in bf16; the sum drops its axis, and the root divides.
// CHECK-LABEL: func.func @bf16(
// CHECK: %[[Y:.*]] = "rlx.rms_norm"(%arg0, %arg1) {epsilon = {{.*}} : f64} : (tensor<2x4x8xbf16>, tensor<8xbf16>) -> tensor<2x4x8xbf16>
// CHECK-NEXT: return %[[Y]]
func.func @bf16(%x: tensor<2x4x8xbf16>, %w: tensor<8xbf16>) -> tensor<2x4x8xbf16> {
  %zero = arith.constant 0.000000e+00 : f32
  %part = arith.constant 1.250000e-01 : f32
  %eps = arith.constant 1.000000e-05 : f32
  %e = tensor.empty() : tensor<2x4x8xf32>
  %eb = tensor.empty() : tensor<2x4x8xbf16>
  %k = tensor.empty() : tensor<2x4xf32>
  %i = linalg.fill ins(%zero : f32) outs(%k : tensor<2x4xf32>) -> tensor<2x4xf32>
  %f = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%x : tensor<2x4x8xbf16>) outs(%e : tensor<2x4x8xf32>) {
  ^bb0(%a: bf16, %out: f32):
    %0 = arith.extf %a : bf16 to f32
    linalg.yield %0 : f32
  } -> tensor<2x4x8xf32>
  %t = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1)>], iterator_types = ["parallel", "parallel", "reduction"]} ins(%f : tensor<2x4x8xf32>) outs(%i : tensor<2x4xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.mulf %a, %a : f32
    %1 = arith.addf %out, %0 : f32
    linalg.yield %1 : f32
  } -> tensor<2x4xf32>
  %m = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%t : tensor<2x4xf32>) outs(%k : tensor<2x4xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = arith.mulf %a, %part : f32
    %1 = arith.addf %eps, %0 : f32
    %2 = math.sqrt %1 : f32
    linalg.yield %2 : f32
  } -> tensor<2x4xf32>
  %n = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%f, %m : tensor<2x4x8xf32>, tensor<2x4xf32>) outs(%eb : tensor<2x4x8xbf16>) {
  ^bb0(%a: f32, %b: f32, %out: bf16):
    %0 = arith.divf %a, %b : f32
    %1 = arith.truncf %0 : f32 to bf16
    linalg.yield %1 : bf16
  } -> tensor<2x4x8xbf16>
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%n, %w : tensor<2x4x8xbf16>, tensor<8xbf16>) outs(%eb : tensor<2x4x8xbf16>) {
  ^bb0(%a: bf16, %b: bf16, %out: bf16):
    %0 = arith.mulf %a, %b : bf16
    linalg.yield %0 : bf16
  } -> tensor<2x4x8xbf16>
  return %y : tensor<2x4x8xbf16>
}

// -----

// linalg.reduce, the power -0.5, and linalg.broadcast.
// CHECK-LABEL: func.func @arith_on_tensors(
// CHECK: %[[Y:.*]] = "rlx.rms_norm"(%arg0, %arg1) {epsilon = {{.*}}} : (tensor<4x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
// CHECK-NEXT: return %[[Y]]
func.func @arith_on_tensors(%x: tensor<4x8xf32>, %w: tensor<8xf32>) -> tensor<4x8xf32> {
  %z = arith.constant dense<0.000000e+00> : tensor<4xf32>
  %q = arith.mulf %x, %x : tensor<4x8xf32>
  %t = linalg.reduce ins(%q : tensor<4x8xf32>) outs(%z : tensor<4xf32>) dimensions = [1]
    (%in: f32, %init: f32) {
      %0 = arith.addf %in, %init : f32
      linalg.yield %0 : f32
    }
  %count = arith.constant dense<8.000000e+00> : tensor<4xf32>
  %eps = arith.constant dense<1.000000e-06> : tensor<4xf32>
  %h = arith.constant dense<-5.000000e-01> : tensor<4xf32>
  %m = arith.divf %t, %count : tensor<4xf32>
  %p = arith.addf %m, %eps : tensor<4xf32>
  %r = math.powf %p, %h : tensor<4xf32>
  %e = tensor.empty() : tensor<4x8xf32>
  %rb = linalg.broadcast ins(%r : tensor<4xf32>) outs(%e : tensor<4x8xf32>) dimensions = [1]
  %wb = linalg.broadcast ins(%w : tensor<8xf32>) outs(%e : tensor<4x8xf32>) dimensions = [0]
  %xn = arith.mulf %x, %rb : tensor<4x8xf32>
  %y = arith.mulf %xn, %wb : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

// (root * weight) * x.
// CHECK-LABEL: func.func @weight_first(
// CHECK: %[[Y:.*]] = "rlx.rms_norm"(%arg0, %arg1)
// CHECK-NEXT: return %[[Y]]
func.func @weight_first(%x: tensor<4x8xf32>, %w: tensor<8xf32>) -> tensor<4x8xf32> {
  %z = arith.constant dense<0.000000e+00> : tensor<4xf32>
  %q = arith.mulf %x, %x : tensor<4x8xf32>
  %t = linalg.reduce ins(%q : tensor<4x8xf32>) outs(%z : tensor<4xf32>) dimensions = [1]
    (%in: f32, %init: f32) {
      %0 = arith.addf %in, %init : f32
      linalg.yield %0 : f32
    }
  %count = arith.constant dense<8.000000e+00> : tensor<4xf32>
  %eps = arith.constant dense<1.000000e-06> : tensor<4xf32>
  %h = arith.constant dense<-5.000000e-01> : tensor<4xf32>
  %m = arith.divf %t, %count : tensor<4xf32>
  %p = arith.addf %m, %eps : tensor<4xf32>
  %r = math.powf %p, %h : tensor<4xf32>
  %e = tensor.empty() : tensor<4x8xf32>
  %rb = linalg.broadcast ins(%r : tensor<4xf32>) outs(%e : tensor<4x8xf32>) dimensions = [1]
  %wb = linalg.broadcast ins(%w : tensor<8xf32>) outs(%e : tensor<4x8xf32>) dimensions = [0]
  %rw = arith.mulf %rb, %wb : tensor<4x8xf32>
  %y = arith.mulf %rw, %x : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

// The input is a product itself.
// CHECK-LABEL: func.func @of_a_product(
// CHECK: %[[X:.*]] = arith.mulf %arg0, %arg1
// CHECK-NEXT: "rlx.rms_norm"(%[[X]], %arg2)
func.func @of_a_product(%a: tensor<4x8xf32>, %b: tensor<4x8xf32>, %w: tensor<8xf32>) -> tensor<4x8xf32> {
  %x = arith.mulf %a, %b : tensor<4x8xf32>
  %z = arith.constant dense<0.000000e+00> : tensor<4xf32>
  %q = arith.mulf %x, %x : tensor<4x8xf32>
  %t = linalg.reduce ins(%q : tensor<4x8xf32>) outs(%z : tensor<4xf32>) dimensions = [1]
    (%in: f32, %init: f32) {
      %0 = arith.addf %in, %init : f32
      linalg.yield %0 : f32
    }
  %count = arith.constant dense<8.000000e+00> : tensor<4xf32>
  %eps = arith.constant dense<1.000000e-06> : tensor<4xf32>
  %h = arith.constant dense<-5.000000e-01> : tensor<4xf32>
  %m = arith.divf %t, %count : tensor<4xf32>
  %p = arith.addf %m, %eps : tensor<4xf32>
  %r = math.powf %p, %h : tensor<4xf32>
  %e = tensor.empty() : tensor<4x8xf32>
  %rb = linalg.broadcast ins(%r : tensor<4xf32>) outs(%e : tensor<4x8xf32>) dimensions = [1]
  %wb = linalg.broadcast ins(%w : tensor<8xf32>) outs(%e : tensor<4x8xf32>) dimensions = [0]
  %xn = arith.mulf %x, %rb : tensor<4x8xf32>
  %y = arith.mulf %xn, %wb : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

// What is multiplied with the norm afterwards stays outside.
// CHECK-LABEL: func.func @gated(
// CHECK: %[[N:.*]] = "rlx.rms_norm"(%arg0, %arg1)
// CHECK-NEXT: %[[Y:.*]] = arith.mulf %[[N]], %arg2
// CHECK-NEXT: return %[[Y]]
func.func @gated(%x: tensor<4x8xf32>, %w: tensor<8xf32>, %g: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %z = arith.constant dense<0.000000e+00> : tensor<4xf32>
  %q = arith.mulf %x, %x : tensor<4x8xf32>
  %t = linalg.reduce ins(%q : tensor<4x8xf32>) outs(%z : tensor<4xf32>) dimensions = [1]
    (%in: f32, %init: f32) {
      %0 = arith.addf %in, %init : f32
      linalg.yield %0 : f32
    }
  %count = arith.constant dense<8.000000e+00> : tensor<4xf32>
  %eps = arith.constant dense<1.000000e-06> : tensor<4xf32>
  %h = arith.constant dense<-5.000000e-01> : tensor<4xf32>
  %m = arith.divf %t, %count : tensor<4xf32>
  %p = arith.addf %m, %eps : tensor<4xf32>
  %r = math.powf %p, %h : tensor<4xf32>
  %e = tensor.empty() : tensor<4x8xf32>
  %rb = linalg.broadcast ins(%r : tensor<4xf32>) outs(%e : tensor<4x8xf32>) dimensions = [1]
  %wb = linalg.broadcast ins(%w : tensor<8xf32>) outs(%e : tensor<4x8xf32>) dimensions = [0]
  %xn = arith.mulf %x, %rb : tensor<4x8xf32>
  %xw = arith.mulf %xn, %wb : tensor<4x8xf32>
  %y = arith.mulf %xw, %g : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}
