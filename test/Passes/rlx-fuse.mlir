// RUN: rlx-opt %s --rlx-fuse | filecheck %s
// RUN: rlx-opt %s --rlx-fuse --rlx-fuse | filecheck %s
// RUN: rlx-opt %s --rlx-fuse=pack-parameters=false | filecheck %s --check-prefix=APART
// RUN: rlx-opt %s --pass-pipeline='builtin.module(rlx-fuse{pack-parameters=false},rlx-fuse-qkv)' | filecheck %s

// A tap and attention with partial rotary embedding of each head and repeated heads, then an MLP.
// CHECK-LABEL: func.func @block(
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<1x?x8xf32>, %[[W:[a-z0-9]+]]: tensor<32x8xf32> {rlx.name = "k+v+q", rlx.param, rlx.parts = ["k", "v", "q"], rlx.parts_axis = 0 : i64}, %[[C:[a-z0-9]+]]: tensor<32x1xf32> {rlx.name = "cos", rlx.param}, %[[S:[a-z0-9]+]]: tensor<32x1xf32> {rlx.name = "sin", rlx.param}, %[[O:[a-z0-9]+]]: tensor<8x16xf32> {rlx.name = "o", rlx.param}, %[[GU:[a-z0-9]+]]: tensor<24x8xf32> {rlx.name = "g+u", {{.*}}}, %[[D:[a-z0-9]+]]: tensor<8x12xf32>
// CHECK-NEXT: %[[M:.*]] = "rlx.matmul"(%[[X]], %[[W]])
// CHECK-NEXT: %[[K:.*]] = "rlx.narrow"(%[[M]]) {axis = 2 : i64, length = 8 : i64, start = 0 : i64}
// CHECK-NEXT: %[[V:.*]] = "rlx.narrow"(%[[M]]) {axis = 2 : i64, length = 8 : i64, start = 8 : i64}
// CHECK-NEXT: %[[Q:.*]] = "rlx.narrow"(%[[M]]) {axis = 2 : i64, length = 16 : i64, start = 16 : i64}
// CHECK-NEXT: %[[KR:.*]] = "rlx.rope"(%[[K]], %[[C]], %[[S]]) {head_dim = 4 : i64, n_rot = 2 : i64}
// CHECK-NEXT: %[[QR:.*]] = "rlx.rope"(%[[Q]], %[[C]], %[[S]]) {head_dim = 4 : i64, n_rot = 2 : i64}
// CHECK-NEXT: %[[A:.*]] = "rlx.attention"(%[[QR]], %[[KR]], %[[V]]) {causal = true, head_dim = 4 : i64, num_heads = 4 : i64, num_kv_heads = 2 : i64
// CHECK-NEXT: %[[AO:.*]] = "rlx.matmul"(%[[A]], %[[O]])
// CHECK-NEXT: %[[P:.*]] = "rlx.matmul"(%[[AO]], %[[GU]])
// CHECK-NEXT: %[[G:.*]] = "rlx.narrow"(%[[P]])
// CHECK-NEXT: %[[U:.*]] = "rlx.narrow"(%[[P]])
// CHECK-NEXT: %[[Y:.*]] = "rlx.glu"(%[[G]], %[[U]]) {activation = "silu"}
// CHECK-NEXT: %[[R:.*]] = "rlx.matmul"(%[[Y]], %[[D]])
// CHECK-NEXT: return %[[R]], %[[KR]], %[[V]]

// APART-NOT: rlx.parts
// APART-COUNT-7: "rlx.matmul"
// APART-NOT: "rlx.matmul"
func.func @block(%x: tensor<1x?x8xf32>, %q: tensor<16x8xf32> {rlx.param, rlx.name = "q"}, %k: tensor<8x8xf32> {rlx.param, rlx.name = "k"}, %v: tensor<8x8xf32> {rlx.param, rlx.name = "v"}, %cos: tensor<32x1xf32> {rlx.param, rlx.name = "cos"}, %sin: tensor<32x1xf32> {rlx.param, rlx.name = "sin"}, %o: tensor<8x16xf32> {rlx.param, rlx.name = "o"}, %g: tensor<12x8xf32> {rlx.param, rlx.name = "g"}, %u: tensor<12x8xf32> {rlx.param, rlx.name = "u"}, %d: tensor<8x12xf32> {rlx.param, rlx.name = "d"})
    -> (tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x8xf32>) {
  // The tap: rotated keys, and values.
  %tk = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %tv = "rlx.matmul"(%x, %v) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %ah0 = "rlx.narrow"(%tk) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x?x8xf32>) -> tensor<1x?x4xf32>
  %ar0 = "rlx.narrow"(%ah0) {axis = 2 : i64, start = 0 : i64, length = 2 : i64} : (tensor<1x?x4xf32>) -> tensor<1x?x2xf32>
  %ap0 = "rlx.narrow"(%ah0) {axis = 2 : i64, start = 2 : i64, length = 2 : i64} : (tensor<1x?x4xf32>) -> tensor<1x?x2xf32>
  %at0 = "rlx.rope"(%ar0, %cos, %sin) {head_dim = 2 : i64} : (tensor<1x?x2xf32>, tensor<32x1xf32>, tensor<32x1xf32>) -> tensor<1x?x2xf32>
  %ay0 = "rlx.concat"(%at0, %ap0) {axis = 2 : i64} : (tensor<1x?x2xf32>, tensor<1x?x2xf32>) -> tensor<1x?x4xf32>
  %ah1 = "rlx.narrow"(%tk) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x?x8xf32>) -> tensor<1x?x4xf32>
  %ar1 = "rlx.narrow"(%ah1) {axis = 2 : i64, start = 0 : i64, length = 2 : i64} : (tensor<1x?x4xf32>) -> tensor<1x?x2xf32>
  %ap1 = "rlx.narrow"(%ah1) {axis = 2 : i64, start = 2 : i64, length = 2 : i64} : (tensor<1x?x4xf32>) -> tensor<1x?x2xf32>
  %at1 = "rlx.rope"(%ar1, %cos, %sin) {head_dim = 2 : i64} : (tensor<1x?x2xf32>, tensor<32x1xf32>, tensor<32x1xf32>) -> tensor<1x?x2xf32>
  %ay1 = "rlx.concat"(%at1, %ap1) {axis = 2 : i64} : (tensor<1x?x2xf32>, tensor<1x?x2xf32>) -> tensor<1x?x4xf32>
  %tkr = "rlx.concat"(%ay0, %ay1) {axis = 2 : i64} : (tensor<1x?x4xf32>, tensor<1x?x4xf32>) -> tensor<1x?x8xf32>
  // Attention projects them again.
  %mq = "rlx.matmul"(%x, %q) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<16x8xf32>) -> tensor<1x?x16xf32>
  %mk = "rlx.matmul"(%x, %k) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %mv = "rlx.matmul"(%x, %v) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x8xf32>
  %bh0 = "rlx.narrow"(%mq) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x?x16xf32>) -> tensor<1x?x4xf32>
  %br0 = "rlx.narrow"(%bh0) {axis = 2 : i64, start = 0 : i64, length = 2 : i64} : (tensor<1x?x4xf32>) -> tensor<1x?x2xf32>
  %bp0 = "rlx.narrow"(%bh0) {axis = 2 : i64, start = 2 : i64, length = 2 : i64} : (tensor<1x?x4xf32>) -> tensor<1x?x2xf32>
  %bt0 = "rlx.rope"(%br0, %cos, %sin) {head_dim = 2 : i64} : (tensor<1x?x2xf32>, tensor<32x1xf32>, tensor<32x1xf32>) -> tensor<1x?x2xf32>
  %by0 = "rlx.concat"(%bt0, %bp0) {axis = 2 : i64} : (tensor<1x?x2xf32>, tensor<1x?x2xf32>) -> tensor<1x?x4xf32>
  %bh1 = "rlx.narrow"(%mq) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x?x16xf32>) -> tensor<1x?x4xf32>
  %br1 = "rlx.narrow"(%bh1) {axis = 2 : i64, start = 0 : i64, length = 2 : i64} : (tensor<1x?x4xf32>) -> tensor<1x?x2xf32>
  %bp1 = "rlx.narrow"(%bh1) {axis = 2 : i64, start = 2 : i64, length = 2 : i64} : (tensor<1x?x4xf32>) -> tensor<1x?x2xf32>
  %bt1 = "rlx.rope"(%br1, %cos, %sin) {head_dim = 2 : i64} : (tensor<1x?x2xf32>, tensor<32x1xf32>, tensor<32x1xf32>) -> tensor<1x?x2xf32>
  %by1 = "rlx.concat"(%bt1, %bp1) {axis = 2 : i64} : (tensor<1x?x2xf32>, tensor<1x?x2xf32>) -> tensor<1x?x4xf32>
  %bh2 = "rlx.narrow"(%mq) {axis = 2 : i64, start = 8 : i64, length = 4 : i64} : (tensor<1x?x16xf32>) -> tensor<1x?x4xf32>
  %br2 = "rlx.narrow"(%bh2) {axis = 2 : i64, start = 0 : i64, length = 2 : i64} : (tensor<1x?x4xf32>) -> tensor<1x?x2xf32>
  %bp2 = "rlx.narrow"(%bh2) {axis = 2 : i64, start = 2 : i64, length = 2 : i64} : (tensor<1x?x4xf32>) -> tensor<1x?x2xf32>
  %bt2 = "rlx.rope"(%br2, %cos, %sin) {head_dim = 2 : i64} : (tensor<1x?x2xf32>, tensor<32x1xf32>, tensor<32x1xf32>) -> tensor<1x?x2xf32>
  %by2 = "rlx.concat"(%bt2, %bp2) {axis = 2 : i64} : (tensor<1x?x2xf32>, tensor<1x?x2xf32>) -> tensor<1x?x4xf32>
  %bh3 = "rlx.narrow"(%mq) {axis = 2 : i64, start = 12 : i64, length = 4 : i64} : (tensor<1x?x16xf32>) -> tensor<1x?x4xf32>
  %br3 = "rlx.narrow"(%bh3) {axis = 2 : i64, start = 0 : i64, length = 2 : i64} : (tensor<1x?x4xf32>) -> tensor<1x?x2xf32>
  %bp3 = "rlx.narrow"(%bh3) {axis = 2 : i64, start = 2 : i64, length = 2 : i64} : (tensor<1x?x4xf32>) -> tensor<1x?x2xf32>
  %bt3 = "rlx.rope"(%br3, %cos, %sin) {head_dim = 2 : i64} : (tensor<1x?x2xf32>, tensor<32x1xf32>, tensor<32x1xf32>) -> tensor<1x?x2xf32>
  %by3 = "rlx.concat"(%bt3, %bp3) {axis = 2 : i64} : (tensor<1x?x2xf32>, tensor<1x?x2xf32>) -> tensor<1x?x4xf32>
  %qr = "rlx.concat"(%by0, %by1, %by2, %by3) {axis = 2 : i64} : (tensor<1x?x4xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>) -> tensor<1x?x16xf32>
  %ch0 = "rlx.narrow"(%mk) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x?x8xf32>) -> tensor<1x?x4xf32>
  %cr0 = "rlx.narrow"(%ch0) {axis = 2 : i64, start = 0 : i64, length = 2 : i64} : (tensor<1x?x4xf32>) -> tensor<1x?x2xf32>
  %cp0 = "rlx.narrow"(%ch0) {axis = 2 : i64, start = 2 : i64, length = 2 : i64} : (tensor<1x?x4xf32>) -> tensor<1x?x2xf32>
  %ct0 = "rlx.rope"(%cr0, %cos, %sin) {head_dim = 2 : i64} : (tensor<1x?x2xf32>, tensor<32x1xf32>, tensor<32x1xf32>) -> tensor<1x?x2xf32>
  %cy0 = "rlx.concat"(%ct0, %cp0) {axis = 2 : i64} : (tensor<1x?x2xf32>, tensor<1x?x2xf32>) -> tensor<1x?x4xf32>
  %ch1 = "rlx.narrow"(%mk) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x?x8xf32>) -> tensor<1x?x4xf32>
  %cr1 = "rlx.narrow"(%ch1) {axis = 2 : i64, start = 0 : i64, length = 2 : i64} : (tensor<1x?x4xf32>) -> tensor<1x?x2xf32>
  %cp1 = "rlx.narrow"(%ch1) {axis = 2 : i64, start = 2 : i64, length = 2 : i64} : (tensor<1x?x4xf32>) -> tensor<1x?x2xf32>
  %ct1 = "rlx.rope"(%cr1, %cos, %sin) {head_dim = 2 : i64} : (tensor<1x?x2xf32>, tensor<32x1xf32>, tensor<32x1xf32>) -> tensor<1x?x2xf32>
  %cy1 = "rlx.concat"(%ct1, %cp1) {axis = 2 : i64} : (tensor<1x?x2xf32>, tensor<1x?x2xf32>) -> tensor<1x?x4xf32>
  %kr = "rlx.concat"(%cy0, %cy1) {axis = 2 : i64} : (tensor<1x?x4xf32>, tensor<1x?x4xf32>) -> tensor<1x?x8xf32>
  %e0 = "rlx.narrow"(%kr) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x?x8xf32>) -> tensor<1x?x4xf32>
  %e1 = "rlx.narrow"(%kr) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x?x8xf32>) -> tensor<1x?x4xf32>
  %krr = "rlx.concat"(%e0, %e0, %e1, %e1) {axis = 2 : i64} : (tensor<1x?x4xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>) -> tensor<1x?x16xf32>
  %h0 = "rlx.narrow"(%mv) {axis = 2 : i64, start = 0 : i64, length = 4 : i64} : (tensor<1x?x8xf32>) -> tensor<1x?x4xf32>
  %h1 = "rlx.narrow"(%mv) {axis = 2 : i64, start = 4 : i64, length = 4 : i64} : (tensor<1x?x8xf32>) -> tensor<1x?x4xf32>
  %vrr = "rlx.concat"(%h0, %h0, %h1, %h1) {axis = 2 : i64} : (tensor<1x?x4xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>, tensor<1x?x4xf32>) -> tensor<1x?x16xf32>
  %a = "rlx.attention"(%qr, %krr, %vrr) {num_heads = 4 : i64, head_dim = 4 : i64, causal = true, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<1x?x16xf32>, tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %ao = "rlx.matmul"(%a, %o) {transpose_weight = true} : (tensor<1x?x16xf32>, tensor<8x16xf32>) -> tensor<1x?x8xf32>
  // An MLP.
  %gg = "rlx.matmul"(%ao, %g) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<12x8xf32>) -> tensor<1x?x12xf32>
  %uu = "rlx.matmul"(%ao, %u) {transpose_weight = true} : (tensor<1x?x8xf32>, tensor<12x8xf32>) -> tensor<1x?x12xf32>
  %one = arith.constant 1.000000e+00 : f32
  %c1 = arith.constant 1 : index
  %n = tensor.dim %gg, %c1 : tensor<1x?x12xf32>
  %e = tensor.empty(%n) : tensor<1x?x12xf32>
  %y = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%gg, %uu : tensor<1x?x12xf32>, tensor<1x?x12xf32>) outs(%e : tensor<1x?x12xf32>) {
  ^bb0(%l: f32, %m: f32, %out: f32):
    %0 = arith.negf %l : f32
    %1 = math.exp %0 : f32
    %2 = arith.addf %1, %one : f32
    %3 = arith.divf %l, %2 : f32
    %4 = arith.mulf %3, %m : f32
    linalg.yield %4 : f32
  } -> tensor<1x?x12xf32>
  %r = "rlx.matmul"(%y, %d) {transpose_weight = true} : (tensor<1x?x12xf32>, tensor<8x12xf32>) -> tensor<1x?x8xf32>
  return %r, %tkr, %tv : tensor<1x?x8xf32>, tensor<1x?x8xf32>, tensor<1x?x8xf32>
}
