// RUN: rlx-opt %s --rlx-cpu | filecheck %s

// The named pipeline leads from rlx ops to the LLVM dialect, with nothing left in between.
// CHECK: module attributes {rlx.messages = ["rlx.embedding: ids must be in [0, rows of table)"]}
// CHECK-NOT: {{ (rlx|linalg|memref|scf|cf|arith|tensor|func)\.[a-z]}}
// CHECK: llvm.func @aligned_alloc
// CHECK: llvm.func internal @rlx_kernel_
// CHECK-LABEL: llvm.func @main
// CHECK: llvm.func @_mlir_ciface_main
func.func @main(%table: tensor<16x8xf32>, %ids: tensor<?xi64>, %w: tensor<8x4xf32>)
    -> tensor<?x4xf32> {
  %0 = "rlx.embedding"(%table, %ids) : (tensor<16x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %1 = "rlx.matmul"(%0, %w) : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %1 : tensor<?x4xf32>
}
