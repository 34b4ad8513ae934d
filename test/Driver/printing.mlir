// RUN: rlx-opt %s | filecheck %s --check-prefix=PLAIN
// RUN: rlx-opt %s --mlir-print-op-generic | filecheck %s --check-prefix=GENERIC
// RUN: rlx-opt %s --mlir-print-debuginfo | filecheck %s --check-prefix=LOC
// RUN: rlx-opt %s --mlir-print-debuginfo --mlir-print-local-scope | filecheck %s --check-prefix=LOCAL
// RUN: rlx-opt %s -split-input-file -mlir-print-debuginfo | filecheck %s --check-prefix=LOC
// RUN: rlx-opt - --mlir-print-debuginfo < %s | filecheck %s --check-prefix=STDIN
// RUN: rlx-opt %s --mlir-elide-elementsattrs-if-larger=4 | filecheck %s --check-prefix=ELIDE
// RUN: rlx-opt %s --mlir-elide-elementsattrs-if-larger 16 | filecheck %s --check-prefix=PLAIN
// RUN: rlx-opt %s --mlir-print-skip-regions | filecheck %s --check-prefix=SKIP
// RUN: rlx-opt %s --emit-bytecode -o %t.mlirbc
// RUN: rlx-opt %t.mlirbc | filecheck %s --check-prefix=PLAIN
// RUN: rlx-opt --emit-bytecode < %s | rlx-opt - | filecheck %s --check-prefix=PLAIN
// RUN: rlx-opt %t.mlirbc --mlir-print-debuginfo | filecheck %s --check-prefix=LOC
// RUN: not rlx-opt %s --mlir-elide-elementsattrs-if-larger=some 2>&1 | filecheck %s --check-prefix=NUMBER

// PLAIN-NOT: loc(
// PLAIN: #map = affine_map
// PLAIN: func.func @f
// PLAIN: dense<[0, 1, 2, 3, 4, 5, 6, 7]>
// GENERIC: "func.func"()
// LOC: printing.mlir":[[# @LINE + 12]]:1)
// LOCAL: loc("{{.*}}printing.mlir":[[# @LINE + 12]]:8)
// STDIN: loc("<stdin>":
// ELIDE: dense_resource<__elided__>
// SKIP: module {...}
// NUMBER: rlx-opt: error: argument '--mlir-elide-elementsattrs-if-larger' takes a number, but got 'some'






func.func @f(%x: memref<8x8xi32, affine_map<(d0, d1) -> (d1, d0)>>) -> tensor<8xi32> {
  %c = arith.constant dense<[0, 1, 2, 3, 4, 5, 6, 7]> : tensor<8xi32>
  return %c : tensor<8xi32>
}
