// RUN: rlx-opt %s --rlx-propagate-asserts | filecheck %s

// The condition is true in what follows the check, wherever that is nested.
// CHECK-LABEL: func.func @after
// CHECK-SAME: (%[[C:.*]]: i1, %[[A:.*]]: tensor<?xf32>, %[[B:.*]]: tensor<?xf32>, %[[N:.*]]: index)
// CHECK: arith.extui %[[C]]
// CHECK: %[[TRUE:.*]] = arith.constant true
// CHECK: cf.assert %[[C]], "m"
// CHECK: arith.select %[[TRUE]], %[[A]], %[[B]]
// CHECK: scf.for
// CHECK:   arith.extui %[[TRUE]]
// CHECK: cf.assert %[[TRUE]], "again"
func.func @after(%c: i1, %a: tensor<?xf32>, %b: tensor<?xf32>, %n: index) -> tensor<?xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %before = arith.extui %c : i1 to i32
  cf.assert %c, "m"
  %0 = arith.select %c, %a, %b : tensor<?xf32>
  scf.for %i = %c0 to %n step %c1 {
    %in = arith.extui %c : i1 to i32
    func.call @use(%in) : (i32) -> ()
  }
  cf.assert %c, "again"
  func.call @use(%before) : (i32) -> ()
  return %0 : tensor<?xf32>
}

func.func private @use(i32)

// A check inside a loop says nothing about what comes after the loop.
// CHECK-LABEL: func.func @inside
// CHECK-SAME: (%[[C:.*]]: i1,
// CHECK: scf.for
// CHECK:   cf.assert %[[C]], "m"
// CHECK:   arith.extui %true
// CHECK: }
// CHECK: arith.extui %[[C]]
func.func @inside(%c: i1, %n: index) -> i32 {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  scf.for %i = %c0 to %n step %c1 {
    cf.assert %c, "m"
    %in = arith.extui %c : i1 to i32
    func.call @use(%in) : (i32) -> ()
  }
  %after = arith.extui %c : i1 to i32
  return %after : i32
}
