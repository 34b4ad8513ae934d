// RUN: rlx-opt %s --rlx-huge-pages -split-input-file | filecheck %s

// Allocations ask for huge pages, from 32 MiB on; the name of the function is one that is free.

// CHECK: llvm.func @aligned_alloc(i64, i64) -> !llvm.ptr
// CHECK: llvm.func @rlx_allocate()
// CHECK-LABEL: llvm.func @user
//       CHECK: llvm.call @rlx_allocate_(%arg0, %arg1)
//       CHECK: llvm.call @malloc(
// CHECK: llvm.func @madvise(!llvm.ptr, i64, i32) -> i32
// CHECK: llvm.func internal @rlx_allocate_(%[[ALIGN:.*]]: i64, %[[SIZE:.*]]: i64) -> (!llvm.ptr {llvm.noalias})
// CHECK: %[[LEAST:.*]] = llvm.mlir.constant(33554432 : i64)
// CHECK: %[[PAST:.*]] = llvm.sub %[[SIZE]], %[[LEAST]]
// CHECK: llvm.icmp "ult" %[[PAST]]
// CHECK: llvm.call @aligned_alloc(%[[ALIGN]], %[[SIZE]])
// CHECK: %[[WHOLE:.*]] = llvm.and
// CHECK: %[[PAGES:.*]] = llvm.call @aligned_alloc(%{{.*}}, %[[WHOLE]])
// CHECK: llvm.call @madvise(%[[PAGES]], %[[WHOLE]], %{{.*}})
// CHECK: llvm.return %[[PAGES]]
llvm.func @aligned_alloc(i64, i64) -> !llvm.ptr
llvm.func @malloc(i64) -> !llvm.ptr
llvm.func @rlx_allocate()
llvm.func @user(%a: i64, %b: i64) -> !llvm.ptr {
  %0 = llvm.call @aligned_alloc(%a, %b) : (i64, i64) -> !llvm.ptr
  %1 = llvm.call @malloc(%b) : (i64) -> !llvm.ptr
  llvm.return %0 : !llvm.ptr
}

// -----

// Nothing is allocated, nothing is added.

// CHECK-LABEL: llvm.func @none
//   CHECK-NOT: llvm.func
llvm.func @none() {
  llvm.return
}
