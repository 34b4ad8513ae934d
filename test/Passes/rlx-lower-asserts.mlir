// RUN: rlx-opt %s -split-input-file --rlx-lower-asserts | filecheck %s

// One check: what follows becomes conditional, and there is a status.
// CHECK: module attributes {rlx.messages = ["too small"]}
// CHECK-LABEL: func.func @one
// CHECK-SAME: (%[[X:arg[0-9]+]]: tensor<?xf32>, %[[OK:arg[0-9]+]]: i1, %[[STATUS:arg[0-9]+]]: memref<1xi64> {rlx.status})
// CHECK-NEXT: %[[R:.*]] = scf.if %[[OK]] -> (tensor<?xf32>) {
// CHECK-NEXT:   %[[E:.*]] = math.exp %[[X]]
// CHECK-NEXT:   scf.yield %[[E]]
// CHECK-NEXT: } else {
// CHECK:        %[[OLD:.*]] = memref.load %[[STATUS]]
// CHECK:        %[[FIRST:.*]] = arith.cmpi eq, %[[OLD]]
// CHECK:        %[[NEW:.*]] = arith.select %[[FIRST]], %{{.*}}, %[[OLD]]
// CHECK:        memref.store %[[NEW]], %[[STATUS]]
// CHECK:        %[[SPARE:.*]] = tensor.empty(%{{.*}}) : tensor<?xf32>
// CHECK:        scf.yield %[[SPARE]]
// CHECK:      return %[[R]]
func.func @one(%x: tensor<?xf32>, %ok: i1) -> tensor<?xf32> {
  cf.assert %ok, "too small"
  %0 = math.exp %x : tensor<?xf32>
  return %0 : tensor<?xf32>
}

// -----

// Nothing to do, nothing changes.
// CHECK-NOT: rlx.messages
// CHECK-LABEL: func.func @none(%{{.*}}: f32) -> f32 {
func.func @none(%x: f32) -> f32 {
  return %x : f32
}

// -----

// What was known before the check needs no substitute.
// CHECK-LABEL: func.func @known
// CHECK-SAME: (%[[X:arg[0-9]+]]: f32, %[[OK:arg[0-9]+]]: i1,
// CHECK: scf.if %[[OK]] {
// CHECK-NEXT: } else {
// CHECK: return %[[X]]
func.func @known(%x: f32, %ok: i1) -> f32 {
  cf.assert %ok, "m"
  return %x : f32
}

// -----

// Checks that only need sizes move up to the first one and join it.
// CHECK: rlx.messages = ["first", "second"]
// CHECK-LABEL: func.func @gathered
// CHECK: %[[D:.*]] = tensor.dim
// CHECK: %[[OK:.*]] = arith.cmpi eq, %[[D]]
// CHECK: %[[BOTH:.*]] = arith.andi %{{.*}}, %[[OK]]
// CHECK: scf.if %[[BOTH]]
// CHECK: math.exp
// CHECK-NOT: scf.if
// CHECK: return
func.func @gathered(%x: tensor<?xf32>, %ok: i1, %n: index) -> tensor<?xf32> {
  cf.assert %ok, "first"
  %0 = math.exp %x : tensor<?xf32>
  %c0 = arith.constant 0 : index
  %d = tensor.dim %x, %c0 : tensor<?xf32>
  %same = arith.cmpi eq, %d, %n : index
  cf.assert %same, "second"
  return %0 : tensor<?xf32>
}

// -----

// So does one that reduces a single tensor.
// CHECK-LABEL: func.func @reduced
// CHECK: linalg.generic
// CHECK: arith.andi
// CHECK: scf.if
// CHECK-NOT: scf.if
// CHECK: return
func.func @reduced(%ids: tensor<?xi64>, %ok: i1, %x: f32) -> f32 {
  cf.assert %ok, "first"
  %y = arith.mulf %x, %x : f32
  %true = arith.constant true
  %c9 = arith.constant 9 : i64
  %e = tensor.empty() : tensor<i1>
  %f = linalg.fill ins(%true : i1) outs(%e : tensor<i1>) -> tensor<i1>
  %r = linalg.generic {
    indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> ()>],
    iterator_types = ["reduction"]
  } ins(%ids : tensor<?xi64>) outs(%f : tensor<i1>) {
  ^bb0(%id: i64, %so_far: i1):
    %small = arith.cmpi ult, %id, %c9 : i64
    %both = arith.andi %small, %so_far : i1
    linalg.yield %both : i1
  } -> tensor<i1>
  %all = tensor.extract %r[] : tensor<i1>
  cf.assert %all, "second"
  return %y : f32
}

// -----

// Near misses: reading at an index, dividing, and reducing two tensors may go wrong unless the
// first check holds.
// CHECK-LABEL: func.func @reads
// CHECK: scf.if
// CHECK: tensor.extract
// CHECK: scf.if
// CHECK: return
func.func @reads(%x: tensor<?xi1>, %ok: i1, %i: index) {
  cf.assert %ok, "in range"
  %v = tensor.extract %x[%i] : tensor<?xi1>
  cf.assert %v, "second"
  return
}

// CHECK-LABEL: func.func @divides
// CHECK: scf.if
// CHECK: arith.divsi
// CHECK: scf.if
// CHECK: return
func.func @divides(%ok: i1, %i: index, %j: index) {
  cf.assert %ok, "not zero"
  %q = arith.divsi %i, %j : index
  %same = arith.cmpi eq, %q, %i : index
  cf.assert %same, "second"
  return
}

// CHECK-LABEL: func.func @two_tensors
// CHECK: scf.if
// CHECK: linalg.generic
// CHECK: scf.if
// CHECK: return
func.func @two_tensors(%ok: i1, %x: tensor<?xi1>, %y: tensor<?xi1>, %t: tensor<i1>) {
  cf.assert %ok, "same size"
  %r = linalg.generic {
    indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>, affine_map<(i) -> ()>],
    iterator_types = ["reduction"]
  } ins(%x, %y : tensor<?xi1>, tensor<?xi1>) outs(%t : tensor<i1>) {
  ^bb0(%a: i1, %b: i1, %so_far: i1):
    %c = arith.andi %a, %b : i1
    linalg.yield %c : i1
  } -> tensor<i1>
  %all = tensor.extract %r[] : tensor<i1>
  cf.assert %all, "second"
  return
}

// -----

// A caller looks at the status and goes no further.
// CHECK-LABEL: func.func private @callee
// CHECK-SAME: memref<1xi64> {rlx.status}
func.func private @callee(%ok: i1) -> f32 {
  %0 = arith.constant 1.0 : f32
  cf.assert %ok, "in callee"
  return %0 : f32
}

// CHECK-LABEL: func.func @caller
// CHECK-SAME: %[[STATUS:arg[0-9]+]]: memref<1xi64> {rlx.status})
// CHECK: %[[V:.*]] = call @callee(%{{.*}}, %[[STATUS]])
// CHECK: %[[S:.*]] = memref.load %[[STATUS]]
// CHECK: %[[OK:.*]] = arith.cmpi eq, %[[S]]
// CHECK: scf.if %[[OK]] -> (f32) {
// CHECK:   math.exp %[[V]]
func.func @caller(%ok: i1) -> f32 {
  %0 = func.call @callee(%ok) : (i1) -> f32
  %1 = math.exp %0 : f32
  return %1 : f32
}

// CHECK-LABEL: func.func @bystander(%{{.*}}: f32) -> f32
func.func @bystander(%x: f32) -> f32 {
  return %x : f32
}

// -----

// Later iterations of a loop do nothing, and keep what the loop carries.
// CHECK-LABEL: func.func @loop
// CHECK: %[[L:.*]] = scf.for {{.*}} iter_args(%[[A:.*]] = %{{.*}}) -> (tensor<?xf32>) {
// CHECK:   memref.load
// CHECK:   %[[OUTER:.*]] = scf.if
// CHECK:     %[[INNER:.*]] = scf.if
// CHECK:       math.exp
// CHECK:     } else {
// CHECK:       scf.yield %[[A]]
// CHECK:     scf.yield %[[INNER]]
// CHECK:   } else {
// CHECK-NEXT: scf.yield %[[A]]
// CHECK:   scf.yield %[[OUTER]]
// CHECK: memref.load
// CHECK: scf.if
// CHECK: math.sqrt
func.func @loop(%x: tensor<?xf32>, %ok: i1, %n: index) -> tensor<?xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %0 = scf.for %i = %c0 to %n step %c1 iter_args(%a = %x) -> (tensor<?xf32>) {
    cf.assert %ok, "in loop"
    %b = math.exp %a : tensor<?xf32>
    scf.yield %b : tensor<?xf32>
  }
  %1 = math.sqrt %0 : tensor<?xf32>
  return %1 : tensor<?xf32>
}

// -----

// `linalg.index` stays immediately inside its op.
// CHECK-LABEL: func.func @gather
// CHECK: linalg.generic
// CHECK-NEXT: ^bb0
// CHECK-NEXT: %[[J:.*]] = linalg.index 1
// CHECK: scf.if
// CHECK-NEXT: tensor.extract %{{.*}}[%{{.*}}, %[[J]]]
func.func @gather(%t: tensor<?x4xf32>, %ids: tensor<?xindex>, %e: tensor<?x4xf32>, %n: index)
    -> tensor<?x4xf32> {
  %r = linalg.generic {
    indexing_maps = [affine_map<(i, j) -> (i)>, affine_map<(i, j) -> (i, j)>],
    iterator_types = ["parallel", "parallel"]
  } ins(%ids : tensor<?xindex>) outs(%e : tensor<?x4xf32>) {
  ^bb0(%id: index, %o: f32):
    %ok = arith.cmpi ult, %id, %n : index
    cf.assert %ok, "no such row"
    %j = linalg.index 1 : index
    %v = tensor.extract %t[%id, %j] : tensor<?x4xf32>
    linalg.yield %v : f32
  } -> tensor<?x4xf32>
  return %r : tensor<?x4xf32>
}

// -----

// A buffer that may be updated in place takes the place of its own update.
// CHECK-LABEL: func.func @donated
// CHECK-SAME: (%[[C:arg[0-9]+]]: tensor<4xf32> {bufferization.writable = true}
// CHECK: scf.if
// CHECK:   tensor.insert
// CHECK: } else {
// CHECK:   memref.store
// CHECK:   scf.yield %[[C]]
func.func @donated(%c: tensor<4xf32> {bufferization.writable = true}, %i: index, %v: f32, %ok: i1)
    -> tensor<4xf32> {
  cf.assert %ok, "m"
  %0 = tensor.insert %v into %c[%i] : tensor<4xf32>
  return %0 : tensor<4xf32>
}
