// The IR stays as it is; a remark says why where it comes close.
// RUN: rlx-opt %s -split-input-file > %t.before
// RUN: rlx-opt %s -split-input-file --rlx-fuse-norm > %t.after
// RUN: diff %t.before %t.after
// RUN: rlx-opt %s -split-input-file --rlx-fuse-norm --rlx-remarks -verify-diagnostics

// Not a mean.
func.func @wrong_count(%x: tensor<2x?x8xf32>) -> tensor<2x?x8xf32> {
  %c1 = arith.constant 1 : index
  %n = tensor.dim %x, %c1 : tensor<2x?x8xf32>
  %e = tensor.empty(%n) : tensor<2x?x8xf32>
  %k = tensor.empty(%n) : tensor<2x?x1xf32>
  %c2 = arith.constant 2 : i64
  %zero = arith.constant 0.000000e+00 : f32
  %count = arith.constant 8.000000e+00 : f32
  %eps = arith.constant 9.9999999999999995E-7 : f64
  %other = arith.constant 7.000000e+00 : f32
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
    %0 = arith.divf %a, %other : f32
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
  // expected-remark @+1 {{norm stays in parts: it divides by 7 and has 8 columns}}
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, 0)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%x, %r : tensor<2x?x8xf32>, tensor<2x?x1xf32>) outs(%e : tensor<2x?x8xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %0 = arith.mulf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x8xf32>
  return %y : tensor<2x?x8xf32>
}

// -----

func.func @another_tensor(%x: tensor<2x?x8xf32>, %z: tensor<2x?x8xf32>) -> tensor<2x?x8xf32> {
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
  // expected-remark @+1 {{norm stays in parts: it does not scale the tensor that it squares}}
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, 0)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%z, %r : tensor<2x?x8xf32>, tensor<2x?x1xf32>) outs(%e : tensor<2x?x8xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %0 = arith.mulf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x8xf32>
  return %y : tensor<2x?x8xf32>
}

// -----

// The number of columns is not known.
func.func @unknown_count(%x: tensor<2x?x?xf32>) -> tensor<2x?x?xf32> {
  %c2i = arith.constant 2 : index
  %c1 = arith.constant 1 : index
  %n = tensor.dim %x, %c1 : tensor<2x?x?xf32>
  %n2 = tensor.dim %x, %c2i : tensor<2x?x?xf32>
  %e = tensor.empty(%n, %n2) : tensor<2x?x?xf32>
  %k = tensor.empty(%n) : tensor<2x?x1xf32>
  %c2 = arith.constant 2 : i64
  %zero = arith.constant 0.000000e+00 : f32
  %count = arith.constant 8.000000e+00 : f32
  %eps = arith.constant 9.9999999999999995E-7 : f64
  %s = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%x : tensor<2x?x?xf32>) outs(%e : tensor<2x?x?xf32>) {
  ^bb0(%a: f32, %out: f32):
    %0 = math.fpowi %a, %c2 : f32, i64
    linalg.yield %0 : f32
  } -> tensor<2x?x?xf32>
  %i = linalg.fill ins(%zero : f32) outs(%k : tensor<2x?x1xf32>) -> tensor<2x?x1xf32>
  %t = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, 0)>], iterator_types = ["parallel", "parallel", "reduction"]} ins(%s : tensor<2x?x?xf32>) outs(%i : tensor<2x?x1xf32>) {
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
  // expected-remark @+1 {{norm stays in parts: it divides by 8 and has an unknown number of columns}}
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, 0)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%x, %r : tensor<2x?x?xf32>, tensor<2x?x1xf32>) outs(%e : tensor<2x?x?xf32>) {
  ^bb0(%a: f32, %b: f32, %out: f32):
    %0 = arith.mulf %a, %b : f32
    linalg.yield %0 : f32
  } -> tensor<2x?x?xf32>
  return %y : tensor<2x?x?xf32>
}

// -----

// Not squared: the mean itself.
func.func @mean_of_values(%x: tensor<2x?x8xf32>) -> tensor<2x?x8xf32> {
  %c1 = arith.constant 1 : index
  %n = tensor.dim %x, %c1 : tensor<2x?x8xf32>
  %e = tensor.empty(%n) : tensor<2x?x8xf32>
  %k = tensor.empty(%n) : tensor<2x?x1xf32>
  %c2 = arith.constant 2 : i64
  %zero = arith.constant 0.000000e+00 : f32
  %count = arith.constant 8.000000e+00 : f32
  %eps = arith.constant 9.9999999999999995E-7 : f64
  %i = linalg.fill ins(%zero : f32) outs(%k : tensor<2x?x1xf32>) -> tensor<2x?x1xf32>
  %t = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, 0)>], iterator_types = ["parallel", "parallel", "reduction"]} ins(%x : tensor<2x?x8xf32>) outs(%i : tensor<2x?x1xf32>) {
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

// The mean over rows.
func.func @over_rows(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %z = arith.constant dense<0.000000e+00> : tensor<8xf32>
  %q = arith.mulf %x, %x : tensor<4x8xf32>
  %t = linalg.reduce ins(%q : tensor<4x8xf32>) outs(%z : tensor<8xf32>) dimensions = [0]
    (%in: f32, %init: f32) {
      %0 = arith.addf %in, %init : f32
      linalg.yield %0 : f32
    }
  %count = arith.constant dense<4.000000e+00> : tensor<8xf32>
  %m = arith.divf %t, %count : tensor<8xf32>
  %r = math.rsqrt %m : tensor<8xf32>
  %e = tensor.empty() : tensor<4x8xf32>
  %rb = linalg.broadcast ins(%r : tensor<8xf32>) outs(%e : tensor<4x8xf32>) dimensions = [0]
  // expected-remark @+1 {{norm stays in parts: it does not average over the last axis}}
  %y = arith.mulf %x, %rb : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

// The sum starts at one.
func.func @started_at_one(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %z = arith.constant dense<1.000000e+00> : tensor<4xf32>
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
  %y = arith.mulf %x, %rb : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

// The weight runs along the rows.
func.func @weight_per_row(%x: tensor<4x8xf32>, %v: tensor<4xf32>) -> tensor<4x8xf32> {
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
  %vb = linalg.broadcast ins(%v : tensor<4xf32>) outs(%e : tensor<4x8xf32>) dimensions = [1]
  %rv = arith.mulf %rb, %vb : tensor<4x8xf32>
  // expected-remark @+1 {{norm stays in parts: its weight is no vector along the last axis}}
  %y = arith.mulf %x, %rv : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// -----

// A layer norm, here one that does not scale what it squares.
func.func @layer_norm(%x: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %z0 = arith.constant dense<0.000000e+00> : tensor<4xf32>
  %count0 = arith.constant dense<8.000000e+00> : tensor<4xf32>
  %m0 = linalg.reduce ins(%x : tensor<4x8xf32>) outs(%z0 : tensor<4xf32>) dimensions = [1]
    (%in: f32, %init: f32) {
      %0 = arith.addf %in, %init : f32
      linalg.yield %0 : f32
    }
  %mu = arith.divf %m0, %count0 : tensor<4xf32>
  %e0 = tensor.empty() : tensor<4x8xf32>
  %mub = linalg.broadcast ins(%mu : tensor<4xf32>) outs(%e0 : tensor<4x8xf32>) dimensions = [1]
  %c = arith.subf %x, %mub : tensor<4x8xf32>
  %z = arith.constant dense<0.000000e+00> : tensor<4xf32>
  %q = arith.mulf %c, %c : tensor<4x8xf32>
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
  // expected-remark @+1 {{norm stays in parts: it subtracts the mean, as a layer norm does}}
  %y = arith.mulf %x, %rb : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}
