// RUN: rlx-opt %s --split-input-file --verify-diagnostics --rlx-simulate-x86 | filecheck %s

// What a loop carries is copied at its end: first aside, as it may change places.

// CHECK-LABEL: func.func private @rlx_tdpbf16ps_16x16x16(
// CHECK-SAME:    memref<16x16xf32>, %{{.*}}: memref<16x16xi32>, %{{.*}}: memref<16x16xi32>)
// CHECK-LABEL: func.func @tiles
//   CHECK-NOT: x86.amx
//       CHECK: scf.for
//       CHECK:   llvm.intr.trap
//       CHECK:   vector.load %{{.*}} : memref<?x?xbf16, strided<[?, 1]>>, vector<32xbf16>
//       CHECK:   call @rlx_tdpbf16ps_16x16x16(
//       CHECK:   memref.copy %{{.*}}, %[[ASIDE:.*]] :
//       CHECK:   memref.copy %[[ASIDE]], %[[CARRIED:.*]] :
//       CHECK:   scf.yield %[[CARRIED]] : memref<16x16xf32>
//       CHECK: vector.store %{{.*}} : memref<16x16xf32>, vector<16xf32>
func.func @tiles(%a: memref<?x?xbf16, strided<[?, 1]>>, %b: memref<?x16x32xbf16>, %c: memref<16x16xf32>, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c32 = arith.constant 32 : index
  %zero = x86.amx.tile_zero : !x86.amx.tile<16x16xf32>
  %sum = scf.for %k = %c0 to %n step %c1 iter_args(%before = %zero) -> (!x86.amx.tile<16x16xf32>) {
    %at = arith.muli %k, %c32 : index
    %x = x86.amx.tile_load %a[%c0, %at] : memref<?x?xbf16, strided<[?, 1]>> into !x86.amx.tile<16x32xbf16>
    %y = x86.amx.tile_load %b[%k, %c0, %c0] : memref<?x16x32xbf16> into !x86.amx.tile<16x32xbf16>
    %after = x86.amx.tile_mulf %x, %y, %before : !x86.amx.tile<16x32xbf16>, !x86.amx.tile<16x32xbf16>, !x86.amx.tile<16x16xf32>
    scf.yield %after : !x86.amx.tile<16x16xf32>
  }
  x86.amx.tile_store %c[%c0, %c0], %sum : memref<16x16xf32>, !x86.amx.tile<16x16xf32>
  return
}

// CHECK-LABEL: func.func @dot
//   CHECK-NOT: x86.avx512.dot
//       CHECK: vector.fma
//       CHECK: vector.fma
func.func @dot(%c: vector<16xf32>, %a: vector<32xbf16>, %b: vector<32xbf16>) -> vector<16xf32> {
  %d = x86.avx512.dot %c, %a, %b : vector<32xbf16> -> vector<16xf32>
  return %d : vector<16xf32>
}

// -----

func.func @other_types(%a: memref<16x64xi8>) {
  %c0 = arith.constant 0 : index
  // expected-error @below {{expected a tile of bf16 or f32, got '!x86.amx.tile<16x64xi8>'}}
  %x = x86.amx.tile_load %a[%c0, %c0] : memref<16x64xi8> into !x86.amx.tile<16x64xi8>
  return
}

// -----

func.func @branches(%a: memref<16x32xbf16>) {
  %c0 = arith.constant 0 : index
  %x = x86.amx.tile_load %a[%c0, %c0] : memref<16x32xbf16> into !x86.amx.tile<16x32xbf16>
  // expected-error @below {{tiles of 'cf.br' cannot be simulated}}
  cf.br ^next(%x : !x86.amx.tile<16x32xbf16>)
^next(%y: !x86.amx.tile<16x32xbf16>):
  return
}

// -----

func.func @stride(%a: memref<512xbf16>, %stride: index) {
  %c0 = arith.constant 0 : index
  // expected-error @below {{expected a tile whose rows lie as those of its buffer, got a stride}}
  %x = x86.amx.tile_load %a[%c0], %stride : memref<512xbf16> into !x86.amx.tile<16x32xbf16>
  return
}
