// RUN: rlx-opt %s --rlx-export | filecheck %s

// CHECK-LABEL: func.func @public
// CHECK-SAME: (%{{.*}}: tensor<4xf32> {bufferization.writable = false, rlx.name = "x"},
// CHECK-SAME:  %{{.*}}: tensor<4xf32> {bufferization.writable = true, rlx.donated},
// CHECK-SAME:  %{{.*}}: tensor<4xf32> {bufferization.writable = false}, %{{.*}}: f32)
// CHECK-SAME: attributes {llvm.emit_c_interface}
func.func @public(%a: tensor<4xf32> {rlx.name = "x"},
    %b: tensor<4xf32> {bufferization.writable = true},
    %c: tensor<4xf32> {bufferization.writable = false}, %d: f32) {
  return
}

// CHECK-LABEL: func.func @nothing() attributes {llvm.emit_c_interface}
func.func @nothing() {
  return
}

// CHECK-LABEL: func.func private @private(%{{.*}}: tensor<4xf32>) attributes {llvm.linkage = #llvm.linkage<internal>} {
func.func private @private(%a: tensor<4xf32>) {
  return
}

// CHECK: func.func private @declared(tensor<4xf32>){{$}}
func.func private @declared(tensor<4xf32>)
