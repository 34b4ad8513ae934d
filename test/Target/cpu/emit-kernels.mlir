// RUN: rlx-opt %s --rlx-cpu-select-kernels="isa=avx2" --convert-rlx-to-linalg --rlx-cpu-emit-kernels | filecheck %s

// Two matmuls of different sizes share their kernels; the other orientation has its own, but for
// the microkernel.

//     CHECK: func.func private @rlx_matmul_kn_f32_avx2_packing_6_2x1(%arg0: memref<?x?xf32, strided<[?, 1], offset: ?>>
// CHECK-DAG: func.func private @rlx_matmul_nk_f32_avx2_packing_6_2x1(
// CHECK-DAG: func.func private @rlx_matmul_f32_avx2_6x1_of
// CHECK-NOT: func.func private @rlx_matmul_f32_avx2_6x1_of

// CHECK-LABEL: func.func @main
//       CHECK: %[[OUT:.*]] = memref.alloc() {alignment = 64 : i64} : memref<50x96xf32>
//       CHECK: %[[X:.*]] = bufferization.to_buffer %arg0 read_only
//       CHECK: %[[W:.*]] = bufferization.to_buffer %arg1 read_only
//       CHECK: call @rlx_matmul_nk_f32_avx2_packing_6_2x1(
//       CHECK: bufferization.to_tensor %[[OUT]] restrict writable
//       CHECK: call @rlx_matmul_nk_f32_avx2_packing_6_2x1(
//       CHECK: call @rlx_matmul_kn_f32_avx2_packing_6_2x1(
func.func @main(%x: tensor<50x64xf32>, %w: tensor<96x64xf32>, %v: tensor<48x96xf32>, %u: tensor<48x32xf32>) -> tensor<50x32xf32> {
  %0 = "rlx.matmul"(%x, %w) {transpose_weight = true} : (tensor<50x64xf32>, tensor<96x64xf32>) -> tensor<50x96xf32>
  %1 = "rlx.matmul"(%0, %v) {transpose_weight = true} : (tensor<50x96xf32>, tensor<48x96xf32>) -> tensor<50x48xf32>
  %2 = "rlx.matmul"(%1, %u) : (tensor<50x48xf32>, tensor<48x32xf32>) -> tensor<50x32xf32>
  return %2 : tensor<50x32xf32>
}
