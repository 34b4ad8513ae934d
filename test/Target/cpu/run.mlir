// RUN: rlx-run %s --random-inputs --dim=3 --seed=1 | filecheck %s
// RUN: rlx-run %s --emit=linalg | filecheck %s --check-prefix=LINALG
// RUN: not rlx-run %s --random-inputs --shape=x=3 2>&1 | filecheck %s --check-prefix=ERROR

// CHECK: doubled: tensor<3x2xf32> = [
// LINALG: linalg.generic
// ERROR: rlx-run: error: --shape: 'x=3' does not fit x: tensor<?x2xf32>
func.func @main(%x: tensor<?x2xf32> {rlx.name = "x"}) -> (tensor<?x2xf32> {rlx.name = "doubled"}) {
  %0 = arith.addf %x, %x : tensor<?x2xf32>
  return %0 : tensor<?x2xf32>
}
