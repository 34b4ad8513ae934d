// RUN: rlx-opt %s -split-input-file --rlx-lower-asserts -verify-diagnostics

// expected-error @below {{expected one block in a function with run-time checks, but got 3; lift-cf-to-scf makes one of them}}
func.func @blocks(%a: i1) {
  cf.assert %a, "m"
  cf.cond_br %a, ^one, ^two
^one:
  return
^two:
  return
}

// -----

func.func @forall(%a: i1, %n: index) {
  // expected-error @below {{a run-time check inside 'scf.forall' is not supported}}
  scf.forall (%i) in (%n) {
    cf.assert %a, "m"
  }
  return
}

// -----

func.func private @checked(%a: i1) {
  cf.assert %a, "m"
  return
}
func.func @address(%a: i1) {
  // expected-error @below {{cannot take the address of 'checked', which has run-time checks}}
  %f = func.constant @checked : (i1) -> ()
  func.call_indirect %f(%a) : (i1) -> ()
  return
}

// -----

func.func @values(%a: i1, %m: memref<?xf32>, %n: index) -> memref<?xf32> {
  cf.assert %a, "m"
  %s = memref.subview %m[%n] [4] [1] : memref<?xf32> to memref<4xf32, strided<[1], offset: ?>>
  %e = memref.alloc(%n) : memref<?xf32>
  // expected-error @below {{a run-time check cannot skip what makes a value of type memref<?xf32>}}
  return %e : memref<?xf32>
}
