// RUN: rlx-opt %s -convert-rlx-to-linalg -canonicalize -cse | filecheck %s

// Grouped heads are an axis of the query: keys and values are read where they are, never repeated.
// Scores run over the head dim innermost, the average over the value dim: both lie contiguous.

// CHECK-DAG: #[[Q:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d3, d1, d2, d5)>
// CHECK-DAG: #[[K:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d4, d1, d5)>
// CHECK-DAG: #[[P:.*]] = affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d1, d2, d3, d4)>
// CHECK-DAG: #[[CELL:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3, d4)>
// CHECK-DAG: #[[ROW:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3)>
// CHECK-DAG: #[[HEAD_MASK:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d1 * 2 + d2, 0, d4)>
// CHECK-DAG: #[[BATCH:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0)>
// CHECK-DAG: #[[BOTTOM:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d3, d4)>

// CHECK-LABEL: func.func @grouped
// CHECK-SAME: %[[Q0:.*]]: tensor<2x5x32xf32>, %[[K0:.*]]: tensor<2x7x16xf32>, %[[V0:.*]]: tensor<2x7x6xf32>
// CHECK-NOT: cf.assert
// CHECK-DAG: %[[Q1:.*]] = tensor.expand_shape %[[Q0]] {{.*}} into tensor<2x5x2x2x8xf32>
// CHECK-DAG: %[[K1:.*]] = tensor.expand_shape %[[K0]] {{.*}} into tensor<2x7x2x8xf32>
// CHECK-DAG: %[[V1:.*]] = tensor.expand_shape %[[V0]] {{.*}} into tensor<2x7x2x3xf32>
// CHECK: %[[DOT:.*]] = linalg.generic {indexing_maps = [#[[Q]], #[[K]], #[[P]]]
// CHECK-SAME: "parallel", "parallel", "parallel", "parallel", "parallel", "reduction"
// CHECK-SAME: ins(%[[Q1]], %[[K1]]
// CHECK: arith.mulf {{.*}} fastmath<reassoc,contract>
// CHECK: arith.addf {{.*}} fastmath<reassoc,contract>
// CHECK: -> tensor<2x2x2x5x7xf32>
// The scores are scaled in place. Nothing can hide here.
// CHECK: %[[SCORES:.*]] = linalg.generic {indexing_maps = [#[[CELL]]]
// CHECK-SAME: outs(%[[DOT]]
// CHECK-NOT: arith.select
// CHECK: linalg.yield
// CHECK: %[[MAX:.*]] = linalg.generic {indexing_maps = [#[[CELL]], #[[ROW]]]
// CHECK-SAME: ins(%[[SCORES]]
// CHECK: arith.maximumf
// CHECK: %[[EXP:.*]] = linalg.generic {indexing_maps = [#[[ROW]], #[[CELL]]]
// CHECK-SAME: ins(%[[MAX]] {{.*}} outs(%[[SCORES]]
// CHECK: math.exp
// CHECK: %[[MIX:.*]] = linalg.generic {indexing_maps = [#[[P]], #[[K]], #[[Q]]]
// CHECK-SAME: "parallel", "parallel", "parallel", "parallel", "reduction", "parallel"
// CHECK-SAME: ins(%[[EXP]], %[[V1]]
// CHECK: ^bb0(%[[W:.*]]: f32, %[[V:.*]]: f32, %[[OUT:.*]]: f32):
// CHECK: %[[SEEN:.*]] = arith.cmpf une, %[[W]], %{{.*}}
// CHECK: %[[MORE:.*]] = arith.addf %[[OUT]]
// CHECK: arith.select %[[SEEN]], %[[MORE]], %[[OUT]]
// CHECK: linalg.generic {indexing_maps = [#[[CELL]], #[[ROW]]]
// CHECK-SAME: ins(%[[EXP]]
// CHECK: arith.divf
// CHECK: tensor.collapse_shape {{.*}} into tensor<2x5x12xf32>
func.func @grouped(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %v: tensor<2x7x6xf32>) -> tensor<2x5x12xf32> {
  %0 = "rlx.attention"(%q, %k, %v) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, v_head_dim = 3 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x6xf32>) -> tensor<2x5x12xf32>
  return %0 : tensor<2x5x12xf32>
}

// Scale, softcap, float mask, and only then what is hidden: query i stands at i + 7 - 5.
// CHECK-LABEL: func.func @order
// CHECK-SAME: %[[M:[a-z0-9]+]]: tensor<4x1x7xf32>)
// CHECK-DAG: %[[LOWEST:.*]] = arith.constant 0xFF800000 : f32
// CHECK: linalg.generic {indexing_maps = [#[[HEAD_MASK]], #[[CELL]]]
// CHECK-SAME: ins(%[[M]]
// CHECK: ^bb0(%[[MASK:.*]]: f32, %[[S:.*]]: f32):
// CHECK: %[[J:.*]] = linalg.index 4
// CHECK: %[[I:.*]] = linalg.index 3
// CHECK: %[[POS:.*]] = arith.addi %[[I]], %c2
// CHECK: %[[CAUSAL:.*]] = arith.cmpi sle, %[[J]], %[[POS]]
// CHECK: %[[REACH:.*]] = arith.addi %[[J]], %c3
// CHECK: %[[NEAR:.*]] = arith.cmpi sle, %[[POS]], %[[REACH]]
// CHECK: %[[SCALED:.*]] = arith.mulf %[[S]], %{{.*}}
// CHECK: %[[RATIO:.*]] = arith.divf %[[SCALED]], %{{.*}}
// CHECK: %[[TANH:.*]] = math.tanh %[[RATIO]]
// CHECK: %[[CAPPED:.*]] = arith.mulf %[[TANH]], %{{.*}}
// CHECK: %[[BIASED:.*]] = arith.addf %[[CAPPED]], %[[MASK]]
// CHECK: %[[KEPT:.*]] = arith.cmpf une, %[[MASK]], %[[LOWEST]]
// CHECK: %[[S1:.*]] = arith.select %[[CAUSAL]], %[[BIASED]], %[[LOWEST]]
// CHECK: %[[S2:.*]] = arith.select %[[NEAR]], %[[S1]], %[[LOWEST]]
// CHECK: arith.select %[[KEPT]], %[[S2]], %[[LOWEST]]
func.func @order(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %m: tensor<4x1x7xf32>) -> tensor<2x5x32xf32> {
  %0 = "rlx.attention"(%q, %k, %k, %m) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, causal = true, left_window = 3 : i64, softcap = 50.0 : f64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>, tensor<4x1x7xf32>) -> tensor<2x5x32xf32>
  return %0 : tensor<2x5x32xf32>
}

// Storage of 16 bits: read, widened, summed in f32, rounded once. A window too wide to hide
// anything is not looked at.
// CHECK-LABEL: func.func @bf16
// CHECK: arith.extf {{.*}} : bf16 to f32
// CHECK: -> tensor<2x2x2x5x7xf32>
// CHECK-NOT: linalg.index
// CHECK: arith.truncf {{.*}} : f32 to bf16
// CHECK-NOT: arith.truncf
// CHECK: return
func.func @bf16(%q: tensor<2x5x32xbf16>, %k: tensor<2x7x16xbf16>) -> tensor<2x5x32xbf16> {
  %0 = "rlx.attention"(%q, %k, %k) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, left_window = 9223372036854775807 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<2x5x32xbf16>, tensor<2x7x16xbf16>, tensor<2x7x16xbf16>) -> tensor<2x5x32xbf16>
  return %0 : tensor<2x5x32xbf16>
}

// Lengths are checked, end the keys, and place the queries.
// CHECK-LABEL: func.func @lengths
// CHECK-SAME: %[[K:[a-z0-9]+]]: tensor<2x7x16xf32>, %[[L:[a-z0-9]+]]: tensor<2xi32>
// CHECK: linalg.generic {{.*}} iterator_types = ["reduction"]} ins(%[[L]]
// CHECK: arith.cmpi ule, %{{.*}}, %c7
// CHECK: cf.assert %{{.*}}, "rlx.attention: kv_lengths must be in [0, K], where K is the length of key"
// No key past the longest length is looked at.
// CHECK: linalg.generic {{.*}} iterator_types = ["reduction"]} ins(%[[L]]
// CHECK: arith.maxsi
// CHECK: tensor.extract_slice %[[K]][0, 0, 0] [2, %{{.*}}, 16]
// CHECK: linalg.generic {indexing_maps = [#[[BATCH]], #[[CELL]]]
// CHECK-SAME: ins(%[[L]]
// CHECK: %[[J:.*]] = linalg.index 4
// CHECK: %[[I:.*]] = linalg.index 3
// CHECK: %[[N:.*]] = arith.index_cast %{{.*}} : i32 to index
// CHECK: arith.cmpi slt, %[[J]], %[[N]]
// CHECK: %[[OFF:.*]] = arith.subi %[[N]], %c5
// CHECK: %[[POS:.*]] = arith.addi %[[I]], %[[OFF]]
// CHECK: arith.cmpi sle, %[[J]], %[[POS]]
func.func @lengths(%q: tensor<2x5x32xf32>, %k: tensor<2x7x16xf32>, %l: tensor<2xi32>) -> tensor<2x5x32xf32> {
  %0 = "rlx.attention"(%q, %k, %k, %l) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, causal = true, operandSegmentSizes = array<i32: 1, 1, 1, 0, 1>} : (tensor<2x5x32xf32>, tensor<2x7x16xf32>, tensor<2x7x16xf32>, tensor<2xi32>) -> tensor<2x5x32xf32>
  return %0 : tensor<2x5x32xf32>
}

// Whether a dynamic axis of the mask is 1 shows at run time; a copy has the full size.
// CHECK-LABEL: func.func @dynamic
// CHECK-SAME: %[[Q0:[a-z0-9]+]]: tensor<?x?x32xf32>, %[[K0:[a-z0-9]+]]: tensor<?x?x16xf32>, %[[M:[a-z0-9]+]]: tensor<?x?xi1>
// CHECK-DAG: cf.assert %{{.*}}, "rlx.attention: query and key must have the same batch"
// CHECK-DAG: cf.assert %{{.*}}, "rlx.attention: mask must broadcast to [B, H, S, K]"
// CHECK: %[[COPY:.*]] = linalg.generic
// CHECK: tensor.extract %[[M]]
// CHECK: -> tensor<?x?xi1>
// CHECK: linalg.generic {indexing_maps = [#[[BOTTOM]], #[[CELL]]]
// CHECK-SAME: ins(%[[COPY]]
func.func @dynamic(%q: tensor<?x?x32xf32>, %k: tensor<?x?x16xf32>, %m: tensor<?x?xi1>) -> tensor<?x?x32xf32> {
  %0 = "rlx.attention"(%q, %k, %k, %m) {num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = 8 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 1, 0>} : (tensor<?x?x32xf32>, tensor<?x?x16xf32>, tensor<?x?x16xf32>, tensor<?x?xi1>) -> tensor<?x?x32xf32>
  return %0 : tensor<?x?x32xf32>
}
