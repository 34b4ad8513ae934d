// RUN: rlx-opt %s --pass-pipeline='builtin.module(convert-rlx-to-linalg,canonicalize,cse)' | filecheck %s

// CHECK-LABEL: func.func @static
// CHECK-SAME: %[[X:[^:]*]]: tensor<2x6xf32>
// CHECK-NEXT: %[[Y:.*]] = tensor.extract_slice %[[X]][0, 2] [2, 3] [1, 1] : tensor<2x6xf32> to tensor<2x3xf32>
// CHECK-NEXT: return %[[Y]]
func.func @static(%x: tensor<2x6xf32>) -> tensor<2x3xf32> {
  %0 = "rlx.narrow"(%x) {axis = -1 : i64, start = 2 : i64, length = 3 : i64} : (tensor<2x6xf32>) -> tensor<2x3xf32>
  return %0 : tensor<2x3xf32>
}

// CHECK-LABEL: func.func @other_axis_dynamic
// CHECK-NOT: cf.assert
// CHECK: tensor.extract_slice %{{.*}}[0, 2] [%{{.*}}, 3] [1, 1] : tensor<?x6xi64> to tensor<?x3xi64>
func.func @other_axis_dynamic(%x: tensor<?x6xi64>) -> tensor<?x3xi64> {
  %0 = "rlx.narrow"(%x) {axis = 1 : i64, start = 2 : i64, length = 3 : i64} : (tensor<?x6xi64>) -> tensor<?x3xi64>
  return %0 : tensor<?x3xi64>
}

// CHECK-LABEL: func.func @dynamic
// CHECK-DAG: %[[END:.*]] = arith.constant 5 : index
// CHECK: %[[SIZE:.*]] = tensor.dim %{{.*}}, %{{.*}} : tensor<?xf32>
// CHECK: %[[OK:.*]] = arith.cmpi sge, %[[SIZE]], %[[END]]
// CHECK: cf.assert %[[OK]], "rlx.narrow: start + length must be within axis 0"
// CHECK: %[[SAFE:.*]] = scf.if %[[OK]] -> (tensor<?xf32>)
// CHECK: tensor.extract_slice %[[SAFE]][2] [3] [1]
func.func @dynamic(%x: tensor<?xf32>) -> tensor<3xf32> {
  %0 = "rlx.narrow"(%x) {axis = 0 : i64, start = 2 : i64, length = 3 : i64} : (tensor<?xf32>) -> tensor<3xf32>
  return %0 : tensor<3xf32>
}
