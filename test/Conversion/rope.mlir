// RUN: rlx-opt %s -convert-rlx-to-linalg -canonicalize -cse | filecheck %s

// One loop nest, whose innermost loop runs along the head; the partner of an element is at the
// other index of the pair's axis.

// CHECK-DAG: #[[OWN:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3, d4)>
// CHECK-DAG: #[[HALF:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, -d3 + 1, d4)>
// CHECK-DAG: #[[HALF_ANGLE:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d1, d4)>
// CHECK-DAG: #[[EACH_ANGLE:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d4)>
// CHECK-DAG: #[[TURN:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, d3, -d4 + 1)>
// CHECK-DAG: #[[TURN_ANGLE:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d1, d3)>

// CHECK-LABEL: func.func @whole_head
// CHECK-SAME: %[[X:.*]]: tensor<2x5x16xf32>, %[[COS:.*]]: tensor<5x4xf32>, %[[SIN:.*]]: tensor<5x4xf32>
// CHECK-NOT: cf.assert
// CHECK-NOT: extract_slice
// CHECK: %[[PAIRS:.*]] = tensor.expand_shape %[[X]] {{.*}} into tensor<2x5x2x2x4xf32>
// CHECK: linalg.generic
// CHECK-SAME: indexing_maps = [#[[OWN]], #[[HALF]], #[[HALF_ANGLE]], #[[HALF_ANGLE]], #[[OWN]]]
// CHECK-SAME: ins(%[[PAIRS]], %[[PAIRS]], %[[COS]], %[[SIN]]
// CHECK: ^bb0(%[[A:.*]]: f32, %[[B:.*]]: f32, %[[C:.*]]: f32, %[[S:.*]]: f32, %{{.*}}: f32):
// CHECK: %[[T:.*]] = linalg.index 3
// CHECK: %[[FIRST:.*]] = arith.cmpi eq, %[[T]], %{{.*}}
// CHECK: %[[MINUS:.*]] = arith.negf %[[B]]
// CHECK: %[[SIGNED:.*]] = arith.select %[[FIRST]], %[[MINUS]], %[[B]]
// CHECK: %[[AC:.*]] = arith.mulf %[[A]], %[[C]]
// CHECK: %[[BS:.*]] = arith.mulf %[[SIGNED]], %[[S]]
// CHECK: arith.addf %[[AC]], %[[BS]]
// CHECK: tensor.collapse_shape
// CHECK-SAME: into tensor<2x5x16xf32>
func.func @whole_head(%x: tensor<2x5x16xf32>, %c: tensor<5x4xf32>, %s: tensor<5x4xf32>) -> tensor<2x5x16xf32> {
  %0 = "rlx.rope"(%x, %c, %s) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<5x4xf32>, tensor<5x4xf32>) -> tensor<2x5x16xf32>
  return %0 : tensor<2x5x16xf32>
}

// The rest of a head is copied, not computed; of the tables only what is needed is looked at.
// CHECK-LABEL: func.func @partial
// CHECK-SAME: %[[X:.*]]: tensor<2x5x16xbf16>
// CHECK-DAG: %[[HEADS:.*]] = tensor.expand_shape %[[X]] {{.*}} into tensor<2x5x2x8xbf16>
// CHECK-DAG: tensor.extract_slice %[[HEADS]][0, 0, 0, 0] [2, 5, 2, 4]
// CHECK-DAG: tensor.extract_slice %{{.*}}[0, 0] [5, 2] [1, 1] : tensor<9x4xf32> to tensor<5x2xf32>
// CHECK: %[[TURNED:.*]] = linalg.generic
// CHECK: arith.truncf {{.*}} : f32 to bf16
// CHECK: -> tensor<2x5x2x2x2xbf16>
// CHECK: %[[HEAD:.*]] = tensor.collapse_shape %[[TURNED]]
// CHECK: %[[TAIL:.*]] = tensor.extract_slice %[[HEADS]][0, 0, 0, 4] [2, 5, 2, 4]
// CHECK: %[[BOTH:.*]] = tensor.insert_slice %[[HEAD]] into %{{.*}}[0, 0, 0, 0] [2, 5, 2, 4]
// CHECK: tensor.insert_slice %[[TAIL]] into %[[BOTH]][0, 0, 0, 4] [2, 5, 2, 4]
func.func @partial(%x: tensor<2x5x16xbf16>, %t: tensor<9x4xf32>) -> tensor<2x5x16xbf16> {
  %0 = "rlx.rope"(%x, %t, %t) {head_dim = 8 : i64, n_rot = 4 : i64} : (tensor<2x5x16xbf16>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<2x5x16xbf16>
  return %0 : tensor<2x5x16xbf16>
}

// Proportional: the pair's axis splits the whole head, and the leading columns of both halves turn.
// CHECK-LABEL: func.func @proportional
// CHECK: %[[PAIRS:.*]] = tensor.expand_shape %{{.*}} into tensor<2x5x2x2x4xf32>
// CHECK: tensor.extract_slice %[[PAIRS]][0, 0, 0, 0, 0] [2, 5, 2, 2, 2]
// CHECK: tensor.extract_slice %[[PAIRS]][0, 0, 0, 0, 2] [2, 5, 2, 2, 2]
func.func @proportional(%x: tensor<2x5x16xf32>, %t: tensor<5x4xf32>) -> tensor<2x5x16xf32> {
  %0 = "rlx.rope"(%x, %t, %t) {head_dim = 8 : i64, n_rot = 4 : i64, pairing = "proportional"} : (tensor<2x5x16xf32>, tensor<5x4xf32>, tensor<5x4xf32>) -> tensor<2x5x16xf32>
  return %0 : tensor<2x5x16xf32>
}

// CHECK-LABEL: func.func @interleaved
// CHECK: linalg.generic
// CHECK-SAME: indexing_maps = [#[[OWN]], #[[TURN]], #[[TURN_ANGLE]], #[[TURN_ANGLE]], #[[OWN]]]
// CHECK: linalg.index 4
func.func @interleaved(%x: tensor<2x5x16xf32>, %t: tensor<5x4xf32>) -> tensor<2x5x16xf32> {
  %0 = "rlx.rope"(%x, %t, %t) {head_dim = 8 : i64, pairing = "interleaved"} : (tensor<2x5x16xf32>, tensor<5x4xf32>, tensor<5x4xf32>) -> tensor<2x5x16xf32>
  return %0 : tensor<2x5x16xf32>
}

// Positions are checked once for all, before the rows are gathered; and a row outside of the table
// is not read even then.
// CHECK-LABEL: func.func @positions
// CHECK-SAME: %[[X:.*]]: tensor<2x5x16xf32>, %[[COS:.*]]: tensor<9x4xf32>, %[[SIN:.*]]: tensor<9x4xf32>, %[[P:.*]]: tensor<2x5xi32>
// CHECK: %[[ALL:.*]] = linalg.generic {{.*}} iterator_types = ["reduction", "reduction"]} ins(%[[P]]
// CHECK: %[[I:.*]] = arith.index_cast %{{.*}} : i32 to index
// CHECK: arith.cmpi ult, %[[I]], %c9
// CHECK: %[[OK:.*]] = tensor.extract %[[ALL]][]
// CHECK: cf.assert %[[OK]], "rlx.rope: positions must be in [0, P), where P is the number of rows of cos and sin"
// CHECK: %[[C:.*]] = linalg.generic {{.*}} ins(%[[P]]
// CHECK: scf.if
// CHECK-NEXT: tensor.extract %[[COS]]
// CHECK: -> tensor<2x5x4xf32>
// CHECK: %[[S:.*]] = linalg.generic {{.*}} ins(%[[P]]
// CHECK: tensor.extract %[[SIN]]
// CHECK: linalg.generic
// CHECK-SAME: indexing_maps = [#[[OWN]], #[[HALF]], #[[EACH_ANGLE]], #[[EACH_ANGLE]], #[[OWN]]]
// CHECK-SAME: ins(%{{.*}}, %{{.*}}, %[[C]], %[[S]]
func.func @positions(%x: tensor<2x5x16xf32>, %c: tensor<9x4xf32>, %s: tensor<9x4xf32>, %p: tensor<2x5xi32>) -> tensor<2x5x16xf32> {
  %0 = "rlx.rope"(%x, %c, %s, %p) {head_dim = 8 : i64} : (tensor<2x5x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>, tensor<2x5xi32>) -> tensor<2x5x16xf32>
  return %0 : tensor<2x5x16xf32>
}

// CHECK-LABEL: func.func @dynamic
// CHECK-SAME: %[[X:.*]]: tensor<1x?x16xf32>, %[[T:.*]]: tensor<9x4xf32>
// CHECK: %[[N:.*]] = tensor.dim %[[X]], %c1
// CHECK: %[[OK:.*]] = arith.cmpi ule, %[[N]], %c9
// CHECK: cf.assert %[[OK]], "rlx.rope: cos and sin must have a row for every position"
// CHECK: linalg.generic
// CHECK: %[[ROW:.*]] = linalg.index 0
// CHECK: arith.cmpi ult, %[[ROW]], %c9
// CHECK: scf.if
// CHECK-NEXT: tensor.extract %[[T]]
func.func @dynamic(%x: tensor<1x?x16xf32>, %t: tensor<9x4xf32>) -> tensor<1x?x16xf32> {
  %0 = "rlx.rope"(%x, %t, %t) {head_dim = 8 : i64} : (tensor<1x?x16xf32>, tensor<9x4xf32>, tensor<9x4xf32>) -> tensor<1x?x16xf32>
  return %0 : tensor<1x?x16xf32>
}
