// RUN: rlx-opt %s --rlx-check-shapes | filecheck %s

// CHECK-LABEL: func.func @elementwise
// CHECK-SAME: (%[[X:.*]]: tensor<?x4xf32>, %[[Y:.*]]: tensor<?x4xf32>)
// CHECK-DAG: %[[A:.*]] = tensor.dim %[[X]]
// CHECK-DAG: %[[B:.*]] = tensor.dim %[[Y]]
// CHECK: %[[SAME:.*]] = arith.cmpi eq, %[[A]], %[[B]]
// CHECK-NEXT: cf.assert %[[SAME]], "arith.addf: sizes do not agree"
// CHECK-NEXT: arith.addf
// CHECK-NEXT: arith.mulf
func.func @elementwise(%x: tensor<?x4xf32>, %y: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = arith.addf %x, %y : tensor<?x4xf32>
  %1 = arith.mulf %0, %0 : tensor<?x4xf32>
  return %1 : tensor<?x4xf32>
}

// CHECK-LABEL: func.func @matmul
// CHECK: cf.assert %{{.*}}, "linalg.matmul: sizes do not agree"
// CHECK-NEXT: linalg.matmul
func.func @matmul(%x: tensor<4x?xf32>, %y: tensor<?x4xf32>, %z: tensor<4x4xf32>) -> tensor<4x4xf32> {
  %0 = linalg.matmul ins(%x, %y : tensor<4x?xf32>, tensor<?x4xf32>) outs(%z : tensor<4x4xf32>)
      -> tensor<4x4xf32>
  return %0 : tensor<4x4xf32>
}

// CHECK-LABEL: func.func @access
// CHECK: cf.assert %{{.*}}, "tensor.extract: index out of bounds"
// CHECK-NEXT: tensor.extract
// CHECK: cf.assert %{{.*}}, "tensor.insert: index out of bounds"
// CHECK-NEXT: tensor.insert
// CHECK: cf.assert %{{.*}}, "tensor.extract_slice: slice out of bounds"
// CHECK-NEXT: tensor.extract_slice
// CHECK: cf.assert %{{.*}}, "tensor.cast: a size is not the one that the type says"
// CHECK-NEXT: tensor.cast
func.func @access(%x: tensor<?xf32>, %i: index) -> tensor<4xf32> {
  %0 = tensor.extract %x[%i] : tensor<?xf32>
  %1 = tensor.insert %0 into %x[%i] : tensor<?xf32>
  %2 = tensor.extract_slice %1[%i] [%i] [1] : tensor<?xf32> to tensor<?xf32>
  %3 = tensor.cast %2 : tensor<?xf32> to tensor<4xf32>
  return %3 : tensor<4xf32>
}

// Nothing to check: static sizes, our own ops, and bodies of linalg ops.
// CHECK-LABEL: func.func @nothing
// CHECK-NOT: cf.assert
func.func @nothing(%x: tensor<4xf32>, %y: tensor<4xf32>, %t: tensor<?x8xf32>, %w: tensor<8x2xf32>)
    -> (tensor<4xf32>, tensor<2xf32>, tensor<?xf32>, tensor<?x2xf32>) {
  %c1 = arith.constant 1 : index
  %0 = arith.addf %x, %y : tensor<4xf32>
  %1 = tensor.extract_slice %0[1] [2] [1] : tensor<4xf32> to tensor<2xf32>
  %2 = tensor.cast %0 : tensor<4xf32> to tensor<?xf32>
  %3 = "rlx.matmul"(%t, %w) : (tensor<?x8xf32>, tensor<8x2xf32>) -> tensor<?x2xf32>
  %4 = linalg.generic {
    indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]
  } ins(%x : tensor<4xf32>) outs(%y : tensor<4xf32>) {
  ^bb0(%a: f32, %b: f32):
    %i = linalg.index 0 : index
    %v = tensor.extract %t[%i, %c1] : tensor<?x8xf32>
    linalg.yield %v : f32
  } -> tensor<4xf32>
  return %4, %1, %2, %3 : tensor<4xf32>, tensor<2xf32>, tensor<?xf32>, tensor<?x2xf32>
}
