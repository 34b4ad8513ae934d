// RUN: rlx-opt %s --rlx-cpu-select-kernels --convert-rlx-to-linalg --rlx-cpu-emit-kernels | filecheck %s

// Attention of prompts, of decoding, and of any length.

// CHECK-LABEL: func.func @attention
//       CHECK: call @rlx_attention.0(
//       CHECK: call @rlx_attention_few.0(
//       CHECK: call @rlx_attention_few.1(
//       CHECK: scf.if
//       CHECK: call @rlx_attention_few.1(
//       CHECK: else
//       CHECK: call @rlx_attention.1(
func.func @attention(%q: tensor<2x30x64xf32>, %p: tensor<2x1x64xf32>, %k: tensor<2x?x32xf32>, %a: tensor<2x?x64xf32>) -> (tensor<2x30x64xf32>, tensor<2x1x64xf32>, tensor<2x1x64xf32>, tensor<2x?x64xf32>) {
  %0 = "rlx.attention"(%q, %k, %k) {num_heads = 2 : i64, num_kv_heads = 1 : i64, head_dim = 32 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}
    : (tensor<2x30x64xf32>, tensor<2x?x32xf32>, tensor<2x?x32xf32>) -> tensor<2x30x64xf32>
  %1 = "rlx.attention"(%p, %k, %k) {num_heads = 2 : i64, num_kv_heads = 1 : i64, head_dim = 32 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}
    : (tensor<2x1x64xf32>, tensor<2x?x32xf32>, tensor<2x?x32xf32>) -> tensor<2x1x64xf32>
  %2 = "rlx.attention"(%p, %k, %k) {num_heads = 2 : i64, num_kv_heads = 1 : i64, head_dim = 32 : i64, left_window = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}
    : (tensor<2x1x64xf32>, tensor<2x?x32xf32>, tensor<2x?x32xf32>) -> tensor<2x1x64xf32>
  %3 = "rlx.attention"(%a, %k, %k) {num_heads = 2 : i64, num_kv_heads = 1 : i64, head_dim = 32 : i64, left_window = 4 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}
    : (tensor<2x?x64xf32>, tensor<2x?x32xf32>, tensor<2x?x32xf32>) -> tensor<2x?x64xf32>
  return %0, %1, %2, %3 : tensor<2x30x64xf32>, tensor<2x1x64xf32>, tensor<2x1x64xf32>, tensor<2x?x64xf32>
}

// The rotation is part of the kernel, which takes the tables.

// CHECK-LABEL: func.func @rope
//   CHECK-NOT: rlx.rope
//       CHECK: %[[X:.*]] = bufferization.to_buffer %arg0 read_only
//       CHECK: %[[K:.*]] = bufferization.to_buffer %arg1 read_only
//       CHECK: %[[T:.*]] = bufferization.to_buffer %arg2 read_only
//       CHECK: call @rlx_attention{{.*}} : (memref<?x?x?xf32, {{.*}}>, memref<?x?x?xf32, {{.*}}>, memref<?x?x?xf32, {{.*}}>, memref<?x?xf32, {{.*}}>, memref<?x?xf32, {{.*}}>, memref<?x?x?xf32, {{.*}}>) -> ()
func.func @rope(%q: tensor<2x30x64xf32>, %k: tensor<2x30x32xf32>, %t: tensor<50x16xf32>) -> tensor<2x30x64xf32> {
  %0 = "rlx.rope"(%q, %t, %t) {head_dim = 32 : i64} : (tensor<2x30x64xf32>, tensor<50x16xf32>, tensor<50x16xf32>) -> tensor<2x30x64xf32>
  %1 = "rlx.attention"(%0, %k, %k) {num_heads = 2 : i64, num_kv_heads = 1 : i64, head_dim = 32 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}
    : (tensor<2x30x64xf32>, tensor<2x30x32xf32>, tensor<2x30x32xf32>) -> tensor<2x30x64xf32>
  return %1 : tensor<2x30x64xf32>
}
