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

// CHECK-LABEL: func.func @division
// CHECK-SAME: (%[[N:.*]]: i32, %[[M:.*]]: i32
// CHECK-DAG: %[[NONZERO:.*]] = arith.cmpi ne, %[[M]], %c0_i32
// CHECK-DAG: %[[LEAST:.*]] = arith.cmpi ne, %[[N]], %c-2147483648_i32
// CHECK-DAG: %[[MINUS:.*]] = arith.cmpi ne, %[[M]], %c-1_i32
// CHECK: %[[FITS:.*]] = arith.ori %[[LEAST]], %[[MINUS]]
// CHECK: %[[ALL:.*]] = arith.andi %[[NONZERO]], %[[FITS]]
// CHECK-NEXT: cf.assert %[[ALL]], "arith.divsi: division by zero, or overflow"
// CHECK-NEXT: arith.divsi
// CHECK-NOT: arith.ori
// CHECK: cf.assert %{{.*}}, "arith.remui: division by zero, or overflow"
// CHECK-NEXT: arith.remui
// CHECK: cf.assert %{{.*}}, "arith.ceildivui: sizes do not agree"
// CHECK: linalg.generic
// CHECK: cf.assert %{{.*}}, "arith.ceildivui: division by zero, or overflow"
// CHECK-NEXT: arith.ceildivui
func.func @division(%n: i32, %m: i32, %x: tensor<?xi8>, %y: tensor<?xi8>)
    -> (i32, i32, tensor<?xi8>) {
  %0 = arith.divsi %n, %m : i32
  %1 = arith.remui %n, %m : i32
  %2 = arith.ceildivui %x, %y : tensor<?xi8>
  return %0, %1, %2 : i32, i32, tensor<?xi8>
}

// Constants that everything may be divided by, floats, and bodies of linalg ops.
// CHECK-LABEL: func.func @harmless_division
// CHECK-NOT: cf.assert
// CHECK: return
// CHECK-LABEL: func.func @minus_one
// CHECK: cf.assert
// CHECK-NEXT: arith.floordivsi
// CHECK-NOT: cf.assert
func.func @harmless_division(%n: index, %x: tensor<2xi8>, %f: f32) -> (index, tensor<2xi8>, f32) {
  %c3 = arith.constant 3 : index
  %c2 = arith.constant dense<-2> : tensor<2xi8>
  %0 = arith.ceildivsi %n, %c3 : index
  %1 = arith.divsi %x, %c2 : tensor<2xi8>
  %2 = arith.divf %f, %f : f32
  %3 = linalg.map ins(%1, %x : tensor<2xi8>, tensor<2xi8>) outs(%x : tensor<2xi8>)
      (%a: i8, %b: i8, %o: i8) {
    %q = arith.divui %a, %b : i8
    linalg.yield %q : i8
  }
  return %0, %3, %2 : index, tensor<2xi8>, f32
}
func.func @minus_one(%n: i64) -> (i64, i64) {
  %c-1 = arith.constant -1 : i64
  %0 = arith.floordivsi %n, %c-1 : i64
  %1 = arith.divui %n, %c-1 : i64
  return %0, %1 : i64, i64
}

// CHECK-LABEL: func.func @making
// CHECK: cf.assert %{{.*}}, "tensor.empty: negative size"
// CHECK-NEXT: tensor.empty
// CHECK: cf.assert %{{.*}}, "tensor.pad: negative padding, or a size that is not the one that the type says"
// CHECK-NEXT: tensor.pad
// CHECK: cf.assert %{{.*}}, "tensor.concat: sizes do not agree"
// CHECK-NEXT: tensor.concat
// CHECK-NOT: arith.index_cast
// CHECK: cf.assert %{{.*}}, "tensor.reshape: the sizes are not for that many elements"
// CHECK-NEXT: tensor.reshape
// CHECK: arith.index_cast
// CHECK: cf.assert %{{.*}}, "tensor.reshape: the sizes are not for that many elements"
// CHECK-NEXT: tensor.reshape
// CHECK-NOT: cf.assert
func.func @making(%x: tensor<?xf32>, %i: index, %s: tensor<2xindex>, %t: tensor<1xi32>)
    -> (tensor<?xf32>, tensor<?x?xf32>, tensor<4xf32>, tensor<?xf32>, tensor<?xf32>) {
  %c0 = arith.constant 0 : index
  %c2 = arith.constant 2 : index
  %f = arith.constant 1.0 : f32
  %0 = tensor.empty(%i) : tensor<?xf32>
  %1 = tensor.pad %x low[%i] high[0] {
  ^bb0(%k: index):
    tensor.yield %f : f32
  } : tensor<?xf32> to tensor<7xf32>
  %2 = tensor.concat dim(0) %x, %0 : (tensor<?xf32>, tensor<?xf32>) -> tensor<4xf32>
  %3 = tensor.reshape %x(%s) : (tensor<?xf32>, tensor<2xindex>) -> tensor<?x?xf32>
  %4 = tensor.reshape %x(%t) : (tensor<?xf32>, tensor<1xi32>) -> tensor<?xf32>
  // A size that is made of sizes.
  %d = tensor.dim %x, %c0 : tensor<?xf32>
  %e = arith.muli %d, %c2 : index
  %5 = tensor.empty(%e) : tensor<?xf32>
  return %0, %3, %2, %4, %5 : tensor<?xf32>, tensor<?x?xf32>, tensor<4xf32>, tensor<?xf32>, tensor<?xf32>
}

// Indices that are sums of loops, where every loop runs at least once.
// CHECK-LABEL: func.func @windows
// CHECK: %[[LAST:.*]] = arith.addi
// CHECK: arith.cmpi ult, %[[LAST]], %{{.*}} : index
// CHECK: cf.assert %{{.*}}, "linalg.conv_1d: sizes do not agree"
// CHECK-NEXT: linalg.conv_1d
func.func @windows(%x: tensor<?xf32>, %k: tensor<4xf32>, %y: tensor<?xf32>) -> tensor<?xf32> {
  %0 = linalg.conv_1d ins(%x, %k : tensor<?xf32>, tensor<4xf32>) outs(%y : tensor<?xf32>)
      -> tensor<?xf32>
  return %0 : tensor<?xf32>
}
