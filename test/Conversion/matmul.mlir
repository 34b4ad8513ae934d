// RUN: rlx-opt %s --pass-pipeline='builtin.module(convert-rlx-to-linalg,canonicalize,cse)' | filecheck %s

// The loop over the axis that is contiguous in the weight is innermost. Transposed, each row of the
// weight is read once.
// CHECK-DAG: #[[X:.*]] = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2)>
// CHECK-DAG: #[[W:.*]] = affine_map<(d0, d1, d2, d3) -> (d2, d3)>
// CHECK-DAG: #[[Y:.*]] = affine_map<(d0, d1, d2, d3) -> (d0, d1, d3)>
// CHECK-DAG: #[[ROW:.*]] = affine_map<(d0, d1, d2) -> (d1, d2)>
// CHECK-DAG: #[[COLUMN:.*]] = affine_map<(d0, d1, d2) -> (d0, d2)>
// CHECK-DAG: #[[DOT:.*]] = affine_map<(d0, d1, d2) -> (d1, d0)>

// CHECK-LABEL: func.func @plain
// CHECK-NOT: cf.assert
// CHECK: %[[ZERO:.*]] = linalg.fill {{.*}} -> tensor<2x3x4xf32>
// CHECK: linalg.generic {indexing_maps = [#[[X]], #[[W]], #[[Y]]], iterator_types = ["parallel", "parallel", "reduction", "parallel"]}
// CHECK-SAME: outs(%[[ZERO]]
// CHECK: arith.mulf {{.*}} fastmath<reassoc,contract> : f32
// CHECK: arith.addf {{.*}} fastmath<reassoc,contract> : f32
// CHECK-NOT: linalg.generic
// CHECK: return
func.func @plain(%x: tensor<2x3x8xf32>, %w: tensor<8x4xf32>) -> tensor<2x3x4xf32> {
  %0 = "rlx.matmul"(%x, %w) : (tensor<2x3x8xf32>, tensor<8x4xf32>) -> tensor<2x3x4xf32>
  return %0 : tensor<2x3x4xf32>
}

// The sum is in f32 and rounded once.
// CHECK-LABEL: func.func @transposed
// CHECK-NOT: cf.assert
// CHECK: linalg.generic {indexing_maps = [#[[ROW]], #[[COLUMN]], #[[DOT]]], iterator_types = ["parallel", "parallel", "reduction"]}
// CHECK: arith.extf %{{.*}} : bf16 to f32
// CHECK: arith.extf %{{.*}} : bf16 to f32
// CHECK: arith.mulf {{.*}} : f32
// CHECK: linalg.yield {{.*}} : f32
// CHECK: linalg.generic {{.*}} ins(%{{.*}} : tensor<?x4xf32>) outs(%{{.*}} : tensor<?x4xbf16>)
// CHECK: arith.truncf %{{.*}} : f32 to bf16
func.func @transposed(%x: tensor<?x8xbf16>, %w: tensor<4x8xbf16>) -> tensor<?x4xbf16> {
  %0 = "rlx.matmul"(%x, %w) {transpose_weight = true} : (tensor<?x8xbf16>, tensor<4x8xbf16>) -> tensor<?x4xbf16>
  return %0 : tensor<?x4xbf16>
}

// CHECK-LABEL: func.func @f64
// CHECK: arith.mulf {{.*}} : f64
// CHECK-NOT: arith.truncf
// CHECK: return
func.func @f64(%x: tensor<3x8xf64>, %w: tensor<8x4xf64>) -> tensor<3x4xf64> {
  %0 = "rlx.matmul"(%x, %w) : (tensor<3x8xf64>, tensor<8x4xf64>) -> tensor<3x4xf64>
  return %0 : tensor<3x4xf64>
}

// CHECK-LABEL: func.func @unknown_inner_size
// CHECK-SAME: %[[X:[^:]*]]: tensor<2x?xf32>
// CHECK-DAG: %[[C8:.*]] = arith.constant 8 : index
// CHECK: %[[INNER:.*]] = tensor.dim %[[X]], %{{.*}}
// CHECK: %[[OK:.*]] = arith.cmpi eq, %[[INNER]], %[[C8]]
// CHECK: cf.assert %[[OK]], "rlx.matmul: the inner sizes of input and weight must agree"
// CHECK: %[[SAFE:.*]] = scf.if %[[OK]] -> (tensor<2x8xf32>)
// CHECK: %[[CAST:.*]] = tensor.cast %[[X]]
// CHECK: scf.yield %[[CAST]]
// CHECK: tensor.empty() : tensor<2x8xf32>
// CHECK: linalg.generic {{.*}} ins(%[[SAFE]], %{{.*}}
func.func @unknown_inner_size(%x: tensor<2x?xf32>, %w: tensor<8x4xf32>) -> tensor<2x4xf32> {
  %0 = "rlx.matmul"(%x, %w) : (tensor<2x?xf32>, tensor<8x4xf32>) -> tensor<2x4xf32>
  return %0 : tensor<2x4xf32>
}

// A result that claims more than the operands promise is checked.
// CHECK-LABEL: func.func @claimed_size
// CHECK: cf.assert %{{.*}}, "the result must be of type tensor<3x4xf32>"
// CHECK: return %{{.*}} : tensor<3x4xf32>
func.func @claimed_size(%x: tensor<?x8xf32>, %w: tensor<8x4xf32>) -> tensor<3x4xf32> {
  %0 = "rlx.matmul"(%x, %w) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<3x4xf32>
  return %0 : tensor<3x4xf32>
}
