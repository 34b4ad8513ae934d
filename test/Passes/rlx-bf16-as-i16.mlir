// RUN: rlx-opt %s --rlx-bf16-as-i16 | filecheck %s

// CHECK: llvm.mlir.global private constant @data(dense<[1.000000e+00, 2.000000e+00]> : tensor<2xbf16>)
llvm.mlir.global private constant @data(dense<[1.0, 2.0]> : tensor<2xbf16>) : !llvm.array<2 x bf16>

// CHECK-LABEL: llvm.func @everything
// CHECK-SAME: (%{{.*}}: i16, %{{.*}}: !llvm.ptr, %{{.*}}: f32) -> i16
// CHECK: llvm.mlir.constant(16320 : i16) : i16
// CHECK: llvm.mlir.constant(dense<16256> : vector<2xi16>) : vector<2xi16>
// CHECK: %[[LIST:.*]] = llvm.mlir.constant(dense<[1.000000e+00, -2.000000e+00]> : vector<2xbf16>)
// CHECK: llvm.bitcast %[[LIST]] : vector<2xbf16> to vector<2xi16>
// CHECK: llvm.getelementptr {{.*}} -> !llvm.ptr, i16
// CHECK: llvm.load {{.*}} : !llvm.ptr -> i16
// CHECK: llvm.br ^bb1({{.*}} : i16)
// CHECK: ^bb1(%{{.*}}: i16):
// CHECK: llvm.return {{.*}} : i16
llvm.func @everything(%a: bf16, %p: !llvm.ptr, %other: f32) -> bf16 {
  %c = llvm.mlir.constant(1.5 : bf16) : bf16
  %s = llvm.mlir.constant(dense<1.0> : vector<2xbf16>) : vector<2xbf16>
  llvm.store %s, %p : vector<2xbf16>, !llvm.ptr
  %d = llvm.mlir.constant(dense<[1.0, -2.0]> : vector<2xbf16>) : vector<2xbf16>
  llvm.store %d, %p : vector<2xbf16>, !llvm.ptr
  %g = llvm.getelementptr %p[1] : (!llvm.ptr) -> !llvm.ptr, bf16
  %l = llvm.load %g : !llvm.ptr -> bf16
  llvm.store %c, %p : bf16, !llvm.ptr
  llvm.br ^exit(%l : bf16)
^exit(%x: bf16):
  llvm.return %x : bf16
}

// CHECK-LABEL: llvm.func @pair
// CHECK-SAME: -> !llvm.struct<(i16, f32)>
// CHECK: llvm.call @everything({{.*}}) : (i16, !llvm.ptr, f32) -> i16
llvm.func @pair(%a: bf16, %p: !llvm.ptr, %b: f32) -> !llvm.struct<(bf16, f32)> {
  %r = llvm.call @everything(%a, %p, %b) : (bf16, !llvm.ptr, f32) -> bf16
  %u = llvm.mlir.undef : !llvm.struct<(bf16, f32)>
  %0 = llvm.insertvalue %r, %u[0] : !llvm.struct<(bf16, f32)>
  %1 = llvm.insertvalue %b, %0[1] : !llvm.struct<(bf16, f32)>
  llvm.return %1 : !llvm.struct<(bf16, f32)>
}

// f16, f32 and names that look like the type stay.
// CHECK-LABEL: llvm.func @bf16_looks
// CHECK-SAME: (%{{.*}}: f16) -> f16
llvm.func @bf16_looks(%a: f16) -> f16 {
  llvm.return %a : f16
}
