// The IR stays as it is, and a remark says why.
// RUN: rlx-opt %s -split-input-file > %t.before
// RUN: rlx-opt %s -split-input-file --rlx-fuse-qkv > %t.after
// RUN: diff %t.before %t.after
// RUN: rlx-opt %s -split-input-file --rlx-fuse-qkv --rlx-remarks -verify-diagnostics

// Weights that may change from call to call.
func.func @no_parameters(%x: tensor<1x?x8xf32>, %z: tensor<1x?x8xf32>, %q: tensor<8x8xf32>, %k: tensor<4x8xf32>)
    -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  return %0, %1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

// -----

func.func @one_parameter(%x: tensor<1x?x8xf32>, %z: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<4x8xf32>)
    -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  return %0, %1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

// -----

func.func @another_input(%x: tensor<1x?x8xf32>, %z: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<4x8xf32> {rlx.param, rlx.name = "k"})
    -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>) {
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  // expected-remark @+1 {{projection stays on its own: its weight is also used with another input}}
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  %2 = "rlx.matmul"(%z, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  return %0, %1, %2 : tensor<1x?x8xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>
}

// -----

func.func @used_otherwise(%x: tensor<1x?x8xf32>, %z: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<4x8xf32> {rlx.param, rlx.name = "k"})
    -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>, tensor<8x8xf32>) {
  // expected-remark @+1 {{projection stays on its own: its weight is also used otherwise}}
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  return %0, %1, %q : tensor<1x?x8xf32>, tensor<1x?x4xf32>, tensor<8x8xf32>
}

// -----

func.func @no_name(%x: tensor<1x?x8xf32>, %z: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<4x8xf32> {rlx.param})
    -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  // expected-remark @+1 {{projection stays on its own: its weight has no rlx.name}}
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  return %0, %1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

// -----

func.func @donated(%x: tensor<1x?x8xf32>, %z: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<4x8xf32> {rlx.param, rlx.name = "k", bufferization.writable = true})
    -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  // expected-remark @+1 {{projection stays on its own: its weight has bufferization.writable}}
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  return %0, %1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

// -----

func.func @both_layouts(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<8x4xf32> {rlx.param, rlx.name = "k"})
    -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %1 = "rlx.matmul"(%x, %k) : (tensor<1x?x8xf32>, tensor<8x4xf32>) -> tensor<1x?x4xf32>
  return %0, %1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

// -----

func.func @dynamic_weight(%x: tensor<1x?x8xf32>, %q: tensor<?x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<4x8xf32> {rlx.param, rlx.name = "k"})
    -> (tensor<1x?x?xf32>, tensor<1x?x4xf32>) {
  // expected-remark @+1 {{projection stays on its own: its weight has a dynamic shape, tensor<?x8xf32>}}
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<?x8xf32>) -> tensor<1x?x?xf32>
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  return %0, %1 : tensor<1x?x?xf32>, tensor<1x?x4xf32>
}

// -----

func.func @other_axis(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<8x8xf32> {rlx.param, rlx.name = "k", rlx.parts = ["a", "b"], rlx.parts_axis = 1 : i64})
    -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>) {
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  // expected-remark @+1 {{projection stays on its own: its weight is packed along the other axis}}
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  return %0, %1 : tensor<1x?x8xf32>, tensor<1x?x8xf32>
}

// -----

// What a private function is given may be anything, whatever its arguments say.
func.func private @not_called(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<4x8xf32> {rlx.param, rlx.name = "k"})
    -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  return %0, %1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

// -----

// One of the callers passes something else.
func.func @good(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<4x8xf32> {rlx.param, rlx.name = "k"}) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0:2 = call @layer(%x, %q, %k) : (tensor<1x?x8xf32>, tensor<8x8xf32>, tensor<4x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>)
  return %0#0, %0#1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

func.func @bad(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<4x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0:2 = call @layer(%x, %q, %k) : (tensor<1x?x8xf32>, tensor<8x8xf32>, tensor<4x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>)
  return %0#0, %0#1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

func.func private @layer(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32>, %k: tensor<4x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  return %0, %1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

// -----

// Two layers have one weight, which must not be there twice.
func.func @shares(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<8x8xf32> {rlx.param, rlx.name = "k"}, %k1: tensor<8x8xf32> {rlx.param, rlx.name = "k1"}) -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>) {
  %0:2 = call @layer(%x, %q, %k) : (tensor<1x?x8xf32>, tensor<8x8xf32>, tensor<8x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>)
  %1:2 = call @layer(%0#0, %q, %k1) : (tensor<1x?x8xf32>, tensor<8x8xf32>, tensor<8x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>)
  return %1#0, %1#1 : tensor<1x?x8xf32>, tensor<1x?x8xf32>
}

func.func private @layer(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32>, %k: tensor<8x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>) {
  // expected-remark @+1 {{projection stays on its own: its weight is also used by a caller}}
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  return %0, %1 : tensor<1x?x8xf32>, tensor<1x?x8xf32>
}

// -----

// The name is missing where it matters, in the caller.
func.func @no_name(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param}, %k: tensor<4x8xf32> {rlx.param, rlx.name = "k"}) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0:2 = call @layer(%x, %q, %k) : (tensor<1x?x8xf32>, tensor<8x8xf32>, tensor<4x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>)
  return %0#0, %0#1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

func.func private @layer(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32>, %k: tensor<4x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  // expected-remark @+1 {{projection stays on its own: its weight has no rlx.name}}
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  return %0, %1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

// -----

// The caller is called itself.
func.func @outer(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32>, %k: tensor<4x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0:2 = call @middle(%x, %q, %k) : (tensor<1x?x8xf32>, tensor<8x8xf32>, tensor<4x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>)
  return %0#0, %0#1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

func.func @middle(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<4x8xf32> {rlx.param, rlx.name = "k"}) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0:2 = call @layer(%x, %q, %k) : (tensor<1x?x8xf32>, tensor<8x8xf32>, tensor<4x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>)
  return %0#0, %0#1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

// expected-remark @+1 {{projections stay on their own: the module refers to @middle, which calls @layer}}
func.func private @layer(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32>, %k: tensor<4x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  return %0, %1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

// -----

// expected-remark @+1 {{projections stay on their own: the module refers to @called}}
func.func @called(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<4x8xf32> {rlx.param, rlx.name = "k"})
    -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  return %0, %1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

func.func @caller(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32>, %k: tensor<4x8xf32>) -> tensor<1x?x8xf32> {
  %0:2 = call @called(%x, %q, %k) : (tensor<1x?x8xf32>, tensor<8x8xf32>, tensor<4x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>)
  return %0#0 : tensor<1x?x8xf32>
}

// -----

// A product that is not always computed.
func.func @conditional(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<4x8xf32> {rlx.param, rlx.name = "k"}, %c: i1, %d: tensor<1x?x4xf32>)
    -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %1 = scf.if %c -> (tensor<1x?x4xf32>) {
    %2 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
    scf.yield %2 : tensor<1x?x4xf32>
  } else {
    scf.yield %d : tensor<1x?x4xf32>
  }
  return %0, %1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

// -----

func.func private @declared(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}) -> tensor<1x?x8xf32>
