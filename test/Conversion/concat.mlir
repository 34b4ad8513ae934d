// RUN: rlx-opt %s --pass-pipeline='builtin.module(convert-rlx-to-linalg,canonicalize,cse)' | filecheck %s

// CHECK-LABEL: func.func @static
// CHECK-SAME: %[[A:[^:]*]]: tensor<2x3xf32>, %[[B:[^:]*]]: tensor<2x5xf32>
// CHECK: %[[E:.*]] = tensor.empty() : tensor<2x11xf32>
// CHECK-NEXT: %[[R0:.*]] = tensor.insert_slice %[[A]] into %[[E]][0, 0] [2, 3] [1, 1]
// CHECK-NEXT: %[[R1:.*]] = tensor.insert_slice %[[B]] into %[[R0]][0, 3] [2, 5] [1, 1]
// CHECK-NEXT: %[[R2:.*]] = tensor.insert_slice %[[A]] into %[[R1]][0, 8] [2, 3] [1, 1]
// CHECK-NEXT: return %[[R2]]
func.func @static(%a: tensor<2x3xf32>, %b: tensor<2x5xf32>) -> tensor<2x11xf32> {
  %0 = tensor.cast %b : tensor<2x5xf32> to tensor<2x?xf32>
  %1 = tensor.cast %a : tensor<2x3xf32> to tensor<2x?xf32>
  %2 = "rlx.concat"(%a, %0, %1) {axis = -1 : i64} : (tensor<2x3xf32>, tensor<2x?xf32>, tensor<2x?xf32>) -> tensor<2x11xf32>
  return %2 : tensor<2x11xf32>
}

// CHECK-LABEL: func.func @one
// CHECK-SAME: %[[A:[^:]*]]: tensor<2x3xf32>
// CHECK-NEXT: return %[[A]]
func.func @one(%a: tensor<2x3xf32>) -> tensor<2x3xf32> {
  %0 = "rlx.concat"(%a) {axis = 1 : i64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return %0 : tensor<2x3xf32>
}

// CHECK-LABEL: func.func @along_dynamic_axis
// CHECK-NOT: cf.assert
// CHECK: %[[A:.*]] = tensor.dim %arg0
// CHECK: %[[B:.*]] = tensor.dim %arg1
// CHECK: %[[SUM:.*]] = arith.addi %[[A]], %[[B]]
// CHECK: tensor.empty(%[[SUM]]) : tensor<?x3xf32>
// CHECK: tensor.insert_slice %{{.*}}[0, 0] [%[[A]], 3]
// CHECK: tensor.insert_slice %{{.*}}[%[[A]], 0] [%[[B]], 3]
func.func @along_dynamic_axis(%a: tensor<?x3xf32>, %b: tensor<?x3xf32>) -> tensor<?x3xf32> {
  %0 = "rlx.concat"(%a, %b) {axis = 0 : i64} : (tensor<?x3xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  return %0 : tensor<?x3xf32>
}

// Never more than the result has room for is written.
// CHECK-LABEL: func.func @other_size_unknown
// CHECK: %[[SIZE:.*]] = tensor.dim %arg0, %c1
// CHECK: %[[OK:.*]] = arith.cmpi eq, %[[SIZE]], %c3
// CHECK: cf.assert %[[OK]], "rlx.concat: inputs must have the same size on axis 1"
// CHECK: %[[LEAST:.*]] = arith.minsi %[[SIZE]], %c3
// CHECK: tensor.extract_slice %arg0[0, 0] [%{{.*}}, %[[LEAST]]]
func.func @other_size_unknown(%a: tensor<?x?xf32>, %b: tensor<?x3xf32>) -> tensor<?x3xf32> {
  %0 = "rlx.concat"(%a, %b) {axis = 0 : i64} : (tensor<?x?xf32>, tensor<?x3xf32>) -> tensor<?x3xf32>
  return %0 : tensor<?x3xf32>
}

// Two slices of one tensor have the same rows: nothing is checked.
// CHECK-LABEL: func.func @same_rows
// CHECK-NOT: cf.assert
// CHECK: return
func.func @same_rows(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = "rlx.narrow"(%x) {axis = 1 : i64, start = 0 : i64, length = 3 : i64} : (tensor<?x8xf32>) -> tensor<?x3xf32>
  %1 = "rlx.narrow"(%x) {axis = 1 : i64, start = 3 : i64, length = 5 : i64} : (tensor<?x8xf32>) -> tensor<?x5xf32>
  %2 = "rlx.concat"(%1, %0) {axis = 1 : i64} : (tensor<?x5xf32>, tensor<?x3xf32>) -> tensor<?x8xf32>
  return %2 : tensor<?x8xf32>
}
