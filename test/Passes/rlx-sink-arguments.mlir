// RUN: rlx-opt %s --rlx-sink-arguments | filecheck %s

// Fields are loaded from the descriptor where they are used; what nobody uses is not loaded. Scalars
// are passed on.

// CHECK-LABEL: llvm.func @main
// CHECK-SAME: (%[[X:[^:]*]]: !llvm.ptr, %[[N:[^:]*]]: i64) -> i64
// CHECK: llvm.br ^[[NEXT:.*]]
// CHECK: ^[[NEXT]]:
// CHECK: %[[P:.*]] = llvm.getelementptr %[[X]][0, 1] : (!llvm.ptr) -> !llvm.ptr, !llvm.struct<(ptr, ptr, i64, array<1 x i64>, array<1 x i64>)>
// CHECK: %[[DATA:.*]] = llvm.load %[[P]] invariant : !llvm.ptr -> !llvm.ptr
// CHECK: %[[V:.*]] = llvm.load %[[DATA]] : !llvm.ptr -> i64
// CHECK: %[[Q:.*]] = llvm.getelementptr %[[X]][0, 3, 0]
// CHECK: %[[SIZE:.*]] = llvm.load %[[Q]] invariant : !llvm.ptr -> i64
// CHECK: llvm.mul %[[SIZE]], %[[N]]
// CHECK-NOT: llvm.load
// CHECK: llvm.return
llvm.func @main(%a: !llvm.ptr, %b: !llvm.ptr, %o: i64, %s: i64, %t: i64, %n: i64) -> i64 {
  llvm.br ^bb1
^bb1:
  %0 = llvm.load %b : !llvm.ptr -> i64
  %1 = llvm.mul %s, %n : i64
  %2 = llvm.add %0, %1 : i64
  llvm.return %2 : i64
}

// CHECK-LABEL: llvm.func @_mlir_ciface_main
// CHECK-SAME: (%[[X:[^:]*]]: !llvm.ptr {llvm.nonnull}, %[[N:[^:]*]]: i64) -> i64
// CHECK-NEXT: %[[R:.*]] = llvm.call @main(%[[X]], %[[N]]) : (!llvm.ptr, i64) -> i64
// CHECK-NEXT: llvm.return %[[R]]
llvm.func @_mlir_ciface_main(%x: !llvm.ptr {llvm.nonnull, rlx.name = "x"}, %n: i64 {rlx.name = "n"}) -> i64 {
  %0 = llvm.load %x : !llvm.ptr -> !llvm.struct<(ptr, ptr, i64, array<1 x i64>, array<1 x i64>)>
  %1 = llvm.extractvalue %0[0] : !llvm.struct<(ptr, ptr, i64, array<1 x i64>, array<1 x i64>)>
  %2 = llvm.extractvalue %0[1] : !llvm.struct<(ptr, ptr, i64, array<1 x i64>, array<1 x i64>)>
  %3 = llvm.extractvalue %0[2] : !llvm.struct<(ptr, ptr, i64, array<1 x i64>, array<1 x i64>)>
  %4 = llvm.extractvalue %0[3, 0] : !llvm.struct<(ptr, ptr, i64, array<1 x i64>, array<1 x i64>)>
  %5 = llvm.extractvalue %0[4, 0] : !llvm.struct<(ptr, ptr, i64, array<1 x i64>, array<1 x i64>)>
  %6 = llvm.call @main(%1, %2, %3, %4, %5, %n) : (!llvm.ptr, !llvm.ptr, i64, i64, i64, i64) -> i64
  llvm.return %6 : i64
}

// Somebody else calls it: it stays as it is.
// CHECK-LABEL: llvm.func @called(%{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr, %{{.*}}: i64)
llvm.func @called(%a: !llvm.ptr, %b: !llvm.ptr, %o: i64) {
  llvm.return
}

// CHECK-LABEL: llvm.func @_mlir_ciface_called
// CHECK: llvm.call @called(%{{.*}}, %{{.*}}, %{{.*}}) : (!llvm.ptr, !llvm.ptr, i64) -> ()
llvm.func @_mlir_ciface_called(%x: !llvm.ptr) {
  %0 = llvm.load %x : !llvm.ptr -> !llvm.struct<(ptr, ptr, i64)>
  %1 = llvm.extractvalue %0[0] : !llvm.struct<(ptr, ptr, i64)>
  %2 = llvm.extractvalue %0[1] : !llvm.struct<(ptr, ptr, i64)>
  %3 = llvm.extractvalue %0[2] : !llvm.struct<(ptr, ptr, i64)>
  llvm.call @called(%1, %2, %3) : (!llvm.ptr, !llvm.ptr, i64) -> ()
  llvm.return
}

llvm.func @other(%a: !llvm.ptr, %o: i64) {
  llvm.call @called(%a, %a, %o) : (!llvm.ptr, !llvm.ptr, i64) -> ()
  llvm.return
}
