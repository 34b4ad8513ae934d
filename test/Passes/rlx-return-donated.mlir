// RUN: rlx-opt %s -split-input-file --rlx-return-donated | filecheck %s

// CHECK-LABEL: func.func @donated
// CHECK-SAME: (%{{.*}}: memref<4xf32>, %{{.*}}: memref<?xf32> {rlx.donated}) -> (f32 {rlx.name = "s"})
// CHECK-SAME: attributes {rlx.aliases = array<i64: 1, -1>}
// CHECK: return %{{.*}} : f32
func.func @donated(%a: memref<4xf32>, %b: memref<?xf32> {rlx.donated})
    -> (memref<4xf32> {rlx.name = "b"}, f32 {rlx.name = "s"}) {
  %c = memref.cast %b : memref<?xf32> to memref<4xf32>
  %s = arith.constant 1.0 : f32
  return %c, %s : memref<4xf32>, f32
}

// -----

// CHECK-LABEL: func.func @all
// CHECK-SAME: (%{{.*}}: memref<4xf32> {rlx.donated}) attributes {rlx.aliases = array<i64: 0, 0>}
// CHECK: return{{$}}
func.func @all(%a: memref<4xf32> {rlx.donated}) -> (memref<4xf32>, memref<4xf32>) {
  return %a, %a : memref<4xf32>, memref<4xf32>
}

// -----

// Near misses: an argument that is not donated, a part of one that is, a private function, one
// that is called.
// CHECK-NOT: rlx.aliases
// CHECK-LABEL: func.func @plain
// CHECK: return %{{.*}} : memref<4xf32>
func.func @plain(%a: memref<4xf32>, %b: memref<4xf32> {rlx.donated}) -> memref<4xf32> {
  return %a : memref<4xf32>
}

// CHECK-LABEL: func.func @part
// CHECK: return %{{.*}} : memref<2xf32, strided<[1]>>
func.func @part(%a: memref<4xf32> {rlx.donated}) -> memref<2xf32, strided<[1]>> {
  %s = memref.subview %a[0] [2] [1] : memref<4xf32> to memref<2xf32, strided<[1]>>
  return %s : memref<2xf32, strided<[1]>>
}

// CHECK-LABEL: func.func private @private
// CHECK: return %{{.*}} : memref<4xf32>
func.func private @private(%a: memref<4xf32> {rlx.donated}) -> memref<4xf32> {
  return %a : memref<4xf32>
}

// CHECK-LABEL: func.func @called
// CHECK: return %{{.*}} : memref<4xf32>
func.func @called(%a: memref<4xf32> {rlx.donated}) -> memref<4xf32> {
  return %a : memref<4xf32>
}
func.func @calls(%a: memref<4xf32>) -> memref<4xf32> {
  %0 = func.call @called(%a) : (memref<4xf32>) -> memref<4xf32>
  return %0 : memref<4xf32>
}
