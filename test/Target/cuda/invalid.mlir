// RUN: rlx-opt %s --rlx-cuda-outline --split-input-file --verify-diagnostics

func.func @loop(%a: memref<4xf32>, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %x = arith.constant 1.0 : f32
  // expected-error@+1 {{'scf.for' op has no lowering to a GPU outside of a kernel: how many steps it takes is not known before it runs}}
  scf.for %i = %c0 to %n step %c1 {
    memref.store %x, %a[%i] : memref<4xf32>
  }
  return
}

// -----

func.func @size(%n: memref<index>) {
  %size = memref.load %n[] : memref<index>
  // expected-error@+1 {{'memref.alloc' op takes a value that only the device knows}}
  %a = memref.alloc(%size) : memref<?xf32>
  return
}
