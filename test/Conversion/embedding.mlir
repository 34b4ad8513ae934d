// RUN: rlx-opt %s --pass-pipeline='builtin.module(convert-rlx-to-linalg,canonicalize,cse)' | filecheck %s

// All ids are checked before the first row is read, and what is read stays inside the table.
// CHECK-LABEL: func.func @checked_and_clamped
// CHECK-SAME: %[[TABLE:[^:]*]]: tensor<9x4xbf16>, %[[IDS:[^:]*]]: tensor<2x3xi32>
// CHECK-DAG: %[[ROWS:.*]] = arith.constant 9 : index
// CHECK-DAG: %[[LAST:.*]] = arith.constant 8 : index
// CHECK-DAG: %[[FIRST:.*]] = arith.constant 0 : index
// CHECK: %[[ALL:.*]] = linalg.generic {{.*}}["reduction", "reduction"]{{.*}} ins(%[[IDS]] :
// CHECK: arith.cmpi ult, %{{.*}}, %[[ROWS]] : index
// CHECK: %[[OK:.*]] = tensor.extract %[[ALL]][] : tensor<i1>
// CHECK: cf.assert %[[OK]], "rlx.embedding: ids must be in [0, rows of table)"
// CHECK: linalg.generic {{.*}} ins(%[[IDS]] : tensor<2x3xi32>) outs(%{{.*}} : tensor<2x3x4xbf16>)
// CHECK: %[[LOW:.*]] = arith.minsi %{{.*}}, %[[LAST]] : index
// CHECK: %[[ROW:.*]] = arith.maxsi %[[LOW]], %[[FIRST]] : index
// CHECK: %[[COLUMN:.*]] = linalg.index 2 : index
// CHECK: tensor.extract %[[TABLE]][%[[ROW]], %[[COLUMN]]]
func.func @checked_and_clamped(%table: tensor<9x4xbf16>, %ids: tensor<2x3xi32>) -> tensor<2x3x4xbf16> {
  %0 = "rlx.embedding"(%table, %ids) : (tensor<9x4xbf16>, tensor<2x3xi32>) -> tensor<2x3x4xbf16>
  return %0 : tensor<2x3x4xbf16>
}

// CHECK-LABEL: func.func @table_may_be_empty
// CHECK: cf.assert %{{.*}}, "rlx.embedding: table must have at least one row"
// CHECK: scf.if {{.*}} -> (tensor<?x4xf32>)
func.func @table_may_be_empty(%table: tensor<?x4xf32>, %ids: tensor<?xi64>) -> tensor<?x4xf32> {
  %0 = "rlx.embedding"(%table, %ids) : (tensor<?x4xf32>, tensor<?xi64>) -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}
