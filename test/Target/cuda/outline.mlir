// RUN: rlx-opt %s --rlx-cuda-outline --canonicalize --split-input-file | filecheck %s

// Elementwise work: neighbours in vectors, and one kernel for two equal ops.
// CHECK-LABEL: gpu.module @kernels
// CHECK: gpu.func @elementwise_0(%[[A:.*]]: memref<?x64xbf16>, %[[B:.*]]: memref<?x64xbf16>) kernel
// CHECK: vector.load %[[A]]{{.*}} {alignment = 16 : i64} : memref<?x64xbf16>, vector<8xbf16>
// CHECK: vector.store {{.*}} %[[B]]{{.*}} {alignment = 16 : i64} : memref<?x64xbf16>, vector<8xbf16>
// CHECK-NOT: gpu.func
// CHECK-LABEL: func.func @twice
// CHECK: gpu.launch_func @kernels::@elementwise_0
// CHECK: gpu.launch_func @kernels::@elementwise_0
// CHECK-NOT: linalg
#id = affine_map<(i, j) -> (i, j)>
func.func @twice(%a: memref<?x64xbf16>, %b: memref<?x64xbf16>) {
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%a : memref<?x64xbf16>) outs(%b : memref<?x64xbf16>) {
  ^bb0(%x: bf16, %y: bf16):
    %0 = arith.negf %x : bf16
    linalg.yield %0 : bf16
  }
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%b : memref<?x64xbf16>) outs(%a : memref<?x64xbf16>) {
  ^bb0(%x: bf16, %y: bf16):
    %0 = arith.negf %x : bf16
    linalg.yield %0 : bf16
  }
  return
}

// -----

// Rows that may begin anywhere: one element at a time.
// CHECK-LABEL: gpu.module @kernels
// CHECK: gpu.func @elementwise_0
// CHECK-NOT: vector
// CHECK-LABEL: func.func @odd_rows
#id = affine_map<(i, j) -> (i, j)>
func.func @odd_rows(%a: memref<?x7xf32>, %b: memref<?x7xf32>) {
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%a : memref<?x7xf32>) outs(%b : memref<?x7xf32>) {
  ^bb0(%x: f32, %y: f32):
    linalg.yield %x : f32
  }
  return
}

// -----

// Rows of which only the run time tells whether they are aligned: vectors if so.
// CHECK-LABEL: gpu.module @kernels
// CHECK: gpu.func @elementwise_0
// CHECK: scf.if
// CHECK: vector.load {{.*}} {alignment = 16 : i64} : memref<?x?xbf16>, vector<8xbf16>
// CHECK: vector.store {{.*}} {alignment = 16 : i64} : memref<?x?xbf16, strided<[?, 1], offset: ?>>, vector<8xbf16>
// CHECK: else
// CHECK: scf.for
// CHECK: memref.load
// CHECK: memref.store
// CHECK-LABEL: func.func @any_rows
#id = affine_map<(i, j) -> (i, j)>
func.func @any_rows(%a: memref<?x?xbf16>, %b: memref<?x?xbf16, strided<[?, 1], offset: ?>>) {
  linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%a : memref<?x?xbf16>) outs(%b : memref<?x?xbf16, strided<[?, 1], offset: ?>>) {
  ^bb0(%x: bf16, %y: bf16):
    %0 = arith.negf %x : bf16
    linalg.yield %0 : bf16
  }
  return
}

// -----

// A reduction along contiguous elements is shared by a warp, and begins with what a fill would have
// written.
// CHECK-LABEL: gpu.module @kernels
// CHECK: gpu.func @reduce_0(%[[A:.*]]: memref<?x?xf32>, %[[B:.*]]: memref<?xf32>)
// CHECK: gpu.shuffle xor
// CHECK-COUNT-1: memref.store
// CHECK-NOT: gpu.func
// CHECK-LABEL: func.func @sums
// CHECK: gpu.launch_func @kernels::@reduce_0
// CHECK-NOT: gpu.launch_func
func.func @sums(%a: memref<?x?xf32>, %n: index) -> memref<?xf32> {
  %zero = arith.constant 0.0 : f32
  %b = memref.alloc(%n) : memref<?xf32>
  linalg.generic {indexing_maps = [affine_map<(i) -> (i)>], iterator_types = ["parallel"]}
      outs(%b : memref<?xf32>) {
  ^bb0(%y: f32):
    linalg.yield %zero : f32
  }
  linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>],
                  iterator_types = ["parallel", "reduction"]}
      ins(%a : memref<?x?xf32>) outs(%b : memref<?xf32>) {
  ^bb0(%x: f32, %y: f32):
    %0 = arith.addf %x, %y fastmath<reassoc> : f32
    linalg.yield %0 : f32
  }
  return %b : memref<?xf32>
}

// -----

// Sums whose order matters stay in one thread.
// CHECK-LABEL: gpu.module @kernels
// CHECK: gpu.func @reduce_0
// CHECK-NOT: gpu.shuffle
// CHECK-LABEL: func.func @ordered
func.func @ordered(%a: memref<?x?xf32>, %b: memref<?xf32>) {
  linalg.generic {indexing_maps = [affine_map<(i, j) -> (i, j)>, affine_map<(i, j) -> (i)>],
                  iterator_types = ["parallel", "reduction"]}
      ins(%a : memref<?x?xf32>) outs(%b : memref<?xf32>) {
  ^bb0(%x: f32, %y: f32):
    %0 = arith.addf %x, %y : f32
    linalg.yield %0 : f32
  }
  return
}

// -----

// A check of sizes stays on the host; one of data becomes a kernel, and what uses the data later
// does nothing once the check has failed.
// CHECK: memref.global "private" @rlx_status : memref<1xi64> = uninitialized
// CHECK-LABEL: gpu.module @kernels
// CHECK: gpu.func @load_0
// CHECK: gpu.func @check_1
// CHECK: memref.store %{{.*}} : memref<1xi64>
// CHECK: gpu.func @load_2(
// CHECK: arith.cmpi eq
// CHECK-NEXT: scf.if
// CHECK-LABEL: func.func @checks
// CHECK: cf.assert %{{.*}}, "sizes"
// CHECK-NOT: cf.assert
func.func @checks(%a: memref<?xf32>, %i: memref<index>, %b: memref<f32>) {
  %c0 = arith.constant 0 : index
  %n = memref.dim %a, %c0 : memref<?xf32>
  %some = arith.cmpi sgt, %n, %c0 : index
  cf.assert %some, "sizes"
  %at = memref.load %i[] : memref<index>
  %inside = arith.cmpi ult, %at, %n : index
  cf.assert %inside, "index out of bounds"
  %x = memref.load %a[%at] : memref<?xf32>
  memref.store %x, %b[] : memref<f32>
  return
}

// -----

// Where checks alone read what a reduction finds, its kernel makes them, once.
// CHECK-LABEL: gpu.module @kernels
// CHECK: gpu.func @check_all_0(%[[A:.*]]: memref<?xi32>, %[[B:.*]]: memref<i1>, %[[S:.*]]: memref<1xi64>)
// CHECK: gpu.shuffle xor
// CHECK: %[[T:.*]] = gpu.thread_id x
// CHECK: %[[FIRST:.*]] = arith.cmpi eq, %[[T]]
// CHECK-NEXT: scf.if %[[FIRST]]
// CHECK-NEXT: memref.load %[[B]][]
// CHECK-NEXT: memref.load %[[S]]
// CHECK: memref.store %{{.*}}, %[[S]]
// CHECK-NOT: gpu.func
// CHECK-LABEL: func.func @in_one
// CHECK-COUNT-1: gpu.launch_func
// CHECK-NOT: gpu.launch_func
func.func @in_one(%a: memref<?xi32>, %b: memref<i1>) {
  %zero = arith.constant 0 : i32
  linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> ()>],
                  iterator_types = ["reduction"]}
      ins(%a : memref<?xi32>) outs(%b : memref<i1>) {
  ^bb0(%x: i32, %y: i1):
    %0 = arith.cmpi sge, %x, %zero : i32
    %1 = arith.andi %y, %0 : i1
    linalg.yield %1 : i1
  }
  %found = memref.load %b[] : memref<i1>
  cf.assert %found, "negative"
  cf.assert %found, "negative"
  return
}

// -----

// Not where something else reads it, where messages differ, or where another kernel comes between.
// CHECK-LABEL: gpu.module @kernels
// CHECK-NOT: check_all
// CHECK-LABEL: func.func @apart
// CHECK-COUNT-4: gpu.launch_func @kernels::@check_
func.func @apart(%a: memref<?xi1>, %b: memref<i1>, %c: memref<i1>, %d: memref<i1>, %e: memref<i1>) {
  linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> ()>],
                  iterator_types = ["reduction"]}
      ins(%a : memref<?xi1>) outs(%b : memref<i1>) {
  ^bb0(%x: i1, %y: i1):
    %z = arith.andi %y, %x : i1
    linalg.yield %z : i1
  }
  %0 = memref.load %b[] : memref<i1>
  cf.assert %0, "read again"
  memref.store %0, %e[] : memref<i1>
  linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> ()>],
                  iterator_types = ["reduction"]}
      ins(%a : memref<?xi1>) outs(%c : memref<i1>) {
  ^bb0(%x: i1, %y: i1):
    %z = arith.ori %y, %x : i1
    linalg.yield %z : i1
  }
  %1 = memref.load %c[] : memref<i1>
  cf.assert %1, "one"
  cf.assert %1, "another"
  linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> ()>],
                  iterator_types = ["reduction"]}
      ins(%a : memref<?xi1>) outs(%d : memref<i1>) {
  ^bb0(%x: i1, %y: i1):
    %z = arith.xori %y, %x : i1
    linalg.yield %z : i1
  }
  memref.copy %c, %d : memref<i1> to memref<i1>
  %2 = memref.load %d[] : memref<i1>
  cf.assert %2, "written since"
  return
}

// -----

// What comes back to the caller is memory of its own.
// CHECK-LABEL: func.func @same
// CHECK: %[[NEW:.*]] = memref.alloc
// CHECK: gpu.launch_func {{.*}} args(%{{.*}}, %[[NEW]] :
// CHECK: return %[[NEW]]
func.func @same(%a: memref<?x7xf32>) -> memref<?x7xf32> {
  return %a : memref<?x7xf32>
}

// -----

// Numbers come back in memory, whoever knows them.
// CHECK-LABEL: gpu.module @kernels
// CHECK: gpu.func @load_0(%[[A:.*]]: memref<4xf32>, %[[CELL:.*]]: memref<f32>)
// CHECK: gpu.func @store_1(%[[N:.*]]: i64, %[[CELL:.*]]: memref<i64>)
// CHECK-NEXT: memref.store %[[N]], %[[CELL]][]
// CHECK: gpu.func @store_2(%[[A:.*]]: memref<f32>, %[[CELL:.*]]: memref<f32>)
// CHECK-NEXT: %[[LOADED:.*]] = memref.load %[[A]][]
// CHECK-NEXT: memref.store %[[LOADED]], %[[CELL]][]
// CHECK-LABEL: func.func @numbers
// CHECK-SAME: -> (memref<i64>, memref<f32>)
// CHECK: return %{{.*}}, %{{.*}} : memref<i64>, memref<f32>
func.func @numbers(%n: i64, %a: memref<4xf32>) -> (i64, f32) {
  %c1 = arith.constant 1 : index
  %x = memref.load %a[%c1] : memref<4xf32>
  return %n, %x : i64, f32
}

// -----

// A check need not be made again while nobody writes to what it reads: the first one here must,
// as what it reads is written later, and so must what another launch has a use for.
// CHECK-LABEL: func.func @once
// CHECK: gpu.launch_func @kernels::@check_all_1 {{.*}} args(%arg0 :
// CHECK-NOT: rlx.once
// CHECK: gpu.launch_func @kernels::@elementwise_0 {{.*}}
// CHECK: gpu.launch_func @kernels::@check_all_1 {{.*}} args(%arg0 : {{.*}}) {rlx.once}
// CHECK: gpu.launch_func @kernels::@check_all_1 {{.*}} args(%arg0 :
// CHECK-NOT: rlx.once
// CHECK: return
func.func @once(%a: memref<?xi1>, %new: memref<?xi1>, %mine: memref<i1>) {
  %own = memref.alloc() : memref<i1>
  call @check(%a, %mine) : (memref<?xi1>, memref<i1>) -> ()
  memref.copy %new, %a : memref<?xi1> to memref<?xi1>
  call @check(%a, %own) : (memref<?xi1>, memref<i1>) -> ()
  call @check(%a, %mine) : (memref<?xi1>, memref<i1>) -> ()
  return
}
func.func private @check(%a: memref<?xi1>, %b: memref<i1>) {
  linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> ()>],
                  iterator_types = ["reduction"]}
      ins(%a : memref<?xi1>) outs(%b : memref<i1>) {
  ^bb0(%x: i1, %y: i1):
    %z = arith.andi %y, %x : i1
    linalg.yield %z : i1
  }
  %0 = memref.load %b[] : memref<i1>
  cf.assert %0, "a"
  return
}
