// RUN: rlx-opt %s -split-input-file --rlx-fuse-qkv | filecheck %s
// RUN: rlx-opt %s -split-input-file --rlx-fuse-qkv --rlx-fuse-qkv | filecheck %s
// RUN: rlx-opt %s -split-input-file --rlx-fuse-qkv --rlx-remarks -verify-diagnostics
// RUN: rlx-opt %s -split-input-file --rlx-fuse-qkv=min-matmuls=3 | filecheck %s --check-prefix=THREE

// Weights [N, X]. The packed weight stands where the first one stood.
// CHECK-LABEL: func.func @rows(
// CHECK-SAME: %[[W:.*]]: tensor<16x8xf32> {rlx.name = "q+k+v", rlx.param, rlx.parts = ["q", "k", "v"], rlx.parts_axis = 0 : i64}, %[[X:.*]]: tensor<1x?x8xf32> {rlx.name = "x"}, %[[N:.*]]: tensor<2xf32>)
// CHECK-NEXT: %[[Y:.*]] = "rlx.matmul"(%[[X]], %[[W]]) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<16x8xf32>) -> tensor<1x?x16xf32>
// CHECK-NEXT: %[[Q:.*]] = "rlx.narrow"(%[[Y]]) {axis = 2 : i64, length = 8 : i64, start = 0 : i64}
// CHECK-NEXT: %[[K:.*]] = "rlx.narrow"(%[[Y]]) {axis = 2 : i64, length = 4 : i64, start = 8 : i64}
// CHECK-NEXT: %[[V:.*]] = "rlx.narrow"(%[[Y]]) {axis = 2 : i64, length = 4 : i64, start = 12 : i64}
// CHECK-NEXT: return %[[Q]], %[[K]], %[[V]], %[[N]]
// THREE-LABEL: func.func @rows
// THREE-SAME: rlx.parts = ["q", "k", "v"]
func.func @rows(%q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}, %x: tensor<1x?x8xf32> {rlx.name = "x"}, %k: tensor<4x8xf32> {rlx.param, rlx.name = "k"}, %v: tensor<4x8xf32> {rlx.param, rlx.name = "v"}, %n: tensor<2xf32>)
    -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>, tensor<2xf32>) {
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  %2 = "rlx.matmul"(%x, %v) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  return %0, %1, %2, %n : tensor<1x?x8xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>, tensor<2xf32>
}

// -----

// Weights [X, N]. Parts come in program order, not in that of the arguments.
// CHECK-LABEL: func.func @columns(
// CHECK-SAME: %[[X:.*]]: tensor<1x?x8xf32>, %[[W:.*]]: tensor<8x24xf32> {rlx.name = "gate+up", rlx.param, rlx.parts = ["gate", "up"], rlx.parts_axis = 1 : i64})
// CHECK-NEXT: %[[Y:.*]] = "rlx.matmul"(%[[X]], %[[W]]) : (tensor<1x?x8xf32>, tensor<8x24xf32>) -> tensor<1x?x24xf32>
// CHECK-NEXT: %[[G:.*]] = "rlx.narrow"(%[[Y]]) {axis = 2 : i64, length = 12 : i64, start = 0 : i64}
// CHECK-NEXT: %[[U:.*]] = "rlx.narrow"(%[[Y]]) {axis = 2 : i64, length = 12 : i64, start = 12 : i64}
// CHECK-NEXT: return %[[G]], %[[U]]
// THREE-LABEL: func.func @columns
// THREE-NOT: rlx.parts
func.func @columns(%x: tensor<1x?x8xf32>, %up: tensor<8x12xf32> {rlx.param, rlx.name = "up"}, %gate: tensor<8x12xf32> {rlx.param, rlx.name = "gate"})
    -> (tensor<1x?x12xf32>, tensor<1x?x12xf32>) {
  %0 = "rlx.matmul"(%x, %gate) : (tensor<1x?x8xf32>, tensor<8x12xf32>) -> tensor<1x?x12xf32>
  %1 = "rlx.matmul"(%x, %up) : (tensor<1x?x8xf32>, tensor<8x12xf32>) -> tensor<1x?x12xf32>
  return %0, %1 : tensor<1x?x12xf32>, tensor<1x?x12xf32>
}

// -----

// The key projection is there twice, as with a tap: computed once.
// CHECK-LABEL: func.func @computed_twice(
// CHECK-SAME: rlx.parts = ["k", "q"]
// CHECK-NEXT: "rlx.matmul"
// CHECK-NEXT: %[[K:.*]] = "rlx.narrow"
// CHECK-NEXT: %[[Q:.*]] = "rlx.narrow"
// CHECK-NEXT: return %[[K]], %[[Q]], %[[K]]
// THREE-LABEL: func.func @computed_twice
// THREE-COUNT-2: "rlx.matmul"
// THREE-NOT: "rlx.matmul"
func.func @computed_twice(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<4x8xf32> {rlx.param, rlx.name = "k"})
    -> (tensor<1x?x4xf32>, tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  %1 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %2 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  return %0, %1, %2 : tensor<1x?x4xf32>, tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

// -----

// CHECK-LABEL: func.func @two_groups(
// CHECK-SAME: rlx.parts = ["q", "k"]
// CHECK-SAME: rlx.parts = ["g", "u"]
// CHECK-SAME: {rlx.name = "d", rlx.param}
// CHECK-COUNT-3: "rlx.matmul"
// CHECK-NOT: "rlx.matmul"
// THREE-LABEL: func.func @two_groups(
func.func @two_groups(%x: tensor<1x?x8xf32>, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<8x8xf32> {rlx.param, rlx.name = "k"}, %g: tensor<8x8xf32> {rlx.param, rlx.name = "g"}, %u: tensor<8x8xf32> {rlx.param, rlx.name = "u"}, %d: tensor<8x8xf32> {rlx.param, rlx.name = "d"})
    -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x8xf32>) {
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %2 = "rlx.matmul"(%0, %g) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %3 = "rlx.matmul"(%0, %u) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %4 = "rlx.matmul"(%2, %d) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  return %1, %3, %4 : tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x8xf32>
}

// -----

// A packed weight becomes part of a larger one, part by part.
// CHECK-LABEL: func.func @packed_before(
// CHECK-SAME: rlx.name = "k+v+q", rlx.param, rlx.parts = ["k", "v", "q"], rlx.parts_axis = 0 : i64
func.func @packed_before(%x: tensor<1x?x8xf32>, %kv: tensor<8x8xf32> {rlx.param, rlx.name = "k+v", rlx.parts = ["k", "v"], rlx.parts_axis = 0 : i64}, %q: tensor<8x8xf32> {rlx.param, rlx.name = "q"})
    -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>) {
  %0 = "rlx.matmul"(%x, %kv) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %1 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  return %0, %1 : tensor<1x?x8xf32>, tensor<1x?x8xf32>
}

// -----

// Result types stay as they are.
// CHECK-LABEL: func.func @result_types(
// CHECK: %[[Q:.*]] = "rlx.narrow"
// CHECK: %[[C:.*]] = tensor.cast %[[Q]] : tensor<2x8xbf16> to tensor<?x8xbf16>
// CHECK: return %[[C]]
func.func @result_types(%x: tensor<2x8xbf16>, %q: tensor<8x8xbf16> {rlx.param, rlx.name = "q"}, %k: tensor<8x8xbf16> {rlx.param, rlx.name = "k"})
    -> (tensor<?x8xbf16>, tensor<2x8xbf16>) {
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<2x8xbf16>, tensor<8x8xbf16>) -> tensor<?x8xbf16>
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<2x8xbf16>, tensor<8x8xbf16>) -> tensor<2x8xbf16>
  return %0, %1 : tensor<?x8xbf16>, tensor<2x8xbf16>
}

// -----

// Layers that share a function pack their own parameters each. Other arguments keep their order, and
// so do the parts, which is that of the products.

// CHECK-LABEL: func.func @layers
// CHECK-SAME: %[[X:[^:]*]]: tensor<1x?x8xf32>,
// CHECK-SAME: %[[W0:[^:]*]]: tensor<12x8xf32> {rlx.name = "0.q+0.k", rlx.param, rlx.parts = ["0.q", "0.k"], rlx.parts_axis = 0 : i64},
// CHECK-SAME: %[[O0:[^:]*]]: tensor<4xf32> {rlx.name = "0.o", rlx.param},
// CHECK-SAME: %[[O1:[^:]*]]: tensor<4xf32> {rlx.name = "1.o", rlx.param},
// CHECK-SAME: %[[W1:[^:]*]]: tensor<12x8xf32> {rlx.name = "1.q+1.k", rlx.param, rlx.parts = ["1.q", "1.k"], rlx.parts_axis = 0 : i64}) ->
// CHECK: %[[Y:.*]]:2 = call @layer(%[[W0]], %[[O0]], %[[X]])
// CHECK: call @layer(%[[W1]], %[[O1]], %[[Y]]#0)
// CHECK-LABEL: func.func private @layer
// CHECK-SAME: (%[[W:[^:]*]]: tensor<12x8xf32>, %{{[^:]*}}: tensor<4xf32>, %[[Z:[^:]*]]: tensor<1x?x8xf32>)
// CHECK: "rlx.matmul"(%[[Z]], %[[W]]) {transpose_weight = true}
func.func @layers(%x: tensor<1x?x8xf32>, %k0: tensor<4x8xf32> {rlx.param, rlx.name = "0.k"}, %o0: tensor<4xf32> {rlx.param, rlx.name = "0.o"}, %q0: tensor<8x8xf32> {rlx.param, rlx.name = "0.q"},
    %o1: tensor<4xf32> {rlx.param, rlx.name = "1.o"}, %q1: tensor<8x8xf32> {rlx.param, rlx.name = "1.q"}, %k1: tensor<4x8xf32> {rlx.param, rlx.name = "1.k"}) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0:2 = call @layer(%k0, %o0, %q0, %x) : (tensor<4x8xf32>, tensor<4xf32>, tensor<8x8xf32>, tensor<1x?x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>)
  %1:2 = call @layer(%k1, %o1, %q1, %0#0) : (tensor<4x8xf32>, tensor<4xf32>, tensor<8x8xf32>, tensor<1x?x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>)
  return %1#0, %1#1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}

func.func private @layer(%k: tensor<4x8xf32>, %o: tensor<4xf32>, %q: tensor<8x8xf32>, %x: tensor<1x?x8xf32>) -> (tensor<1x?x8xf32>, tensor<1x?x4xf32>) {
  %0 = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %1 = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<4x8xf32>) -> tensor<1x?x4xf32>
  return %0, %1 : tensor<1x?x8xf32>, tensor<1x?x4xf32>
}
