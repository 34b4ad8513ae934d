// RUN: rlx-opt %s -split-input-file -verify-diagnostics
// RUN: not rlx-opt %s -split-input-file -canonicalize 2>&1 | filecheck %s

// expected-error @+3 {{custom op 'nothing' is unknown}}
// CHECK: 7:3: error: custom op 'nothing' is unknown
func.func @bad() {
  nothing
}

// -----

func.func @good(%x: tensor<2xf32>) -> tensor<2xf32> {
  return %x : tensor<2xf32>
}
