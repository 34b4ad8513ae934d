// RUN: rlx-opt %s --split-input-file --rlx-cuda-emit-kernels=arch=sm_90a | filecheck %s

// Operands in shared memory are read as fragments, which tensor cores multiply. One kernel serves
// two products whose sizes differ.
// CHECK-LABEL: gpu.func @rlx_matmul_nk_bf16_0
//  CHECK-SAME:   %{{.*}}: memref<?x?xbf16, strided<[?, 1], offset: ?>>, {{.*}}known_block_size = array<i32: 64, 1, 1>
//       CHECK:   nvgpu.device_async_copy
//       CHECK:   nvvm.cp.async.commit.group
//       CHECK:   scf.for
//       CHECK:     nvvm.cp.async.wait.group 3
//       CHECK:     gpu.barrier
//       CHECK:     nvgpu.ldmatrix
//       CHECK:     nvgpu.mma.sync
//   CHECK-NOT: gpu.func
// CHECK-LABEL: func.func @products
//       CHECK:   gpu.launch_func @kernels::@rlx_matmul_nk_bf16_0
//       CHECK:   gpu.launch_func @kernels::@rlx_matmul_nk_bf16_0
func.func @products(%x: tensor<1x64xbf16>, %w: tensor<96x64xbf16>, %v: tensor<32x96xbf16>) -> tensor<1x32xbf16> {
  %y = "rlx.matmul"(%x, %w) {transpose_weight = true, rlx.kernel = "mma"} : (tensor<1x64xbf16>, tensor<96x64xbf16>) -> tensor<1x96xbf16>
  %z = "rlx.matmul"(%y, %v) {transpose_weight = true, rlx.kernel = "mma"} : (tensor<1x96xbf16>, tensor<32x96xbf16>) -> tensor<1x32xbf16>
  return %z : tensor<1x32xbf16>
}

// -----

// One warp group copies, with barriers in memory; the others multiply.
// CHECK-LABEL: gpu.func @rlx_matmul_wgmma_kn_f16_0
//  CHECK-SAME:   {{.*}}!nvgpu.tensormap.descriptor<tensor = memref<128x64xf16, {{.*}}>, swizzle = swizzle_128b
//  CHECK-SAME:   {{.*}}known_block_size = array<i32: 384, 1, 1>
//       CHECK:   nvgpu.mbarrier.init
//       CHECK:   nvvm.setmaxregister decrease 24
//       CHECK:   nvgpu.tma.async.load
//       CHECK:   nvvm.setmaxregister increase 240
//       CHECK:   wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16
//       CHECK:   wgmma.wait_group.sync.aligned 0
// CHECK-LABEL: func.func @hopper
//       CHECK:   nvgpu.tma.create.descriptor
//       CHECK:   nvgpu.tma.create.descriptor
//       CHECK:   gpu.launch_func @kernels::@rlx_matmul_wgmma_kn_f16_0
func.func @hopper(%x: tensor<?x64xf16>, %w: tensor<64x512xf16>) -> tensor<?x512xf16> {
  %y = "rlx.matmul"(%x, %w) {rlx.kernel = "wgmma"} : (tensor<?x64xf16>, tensor<64x512xf16>) -> tensor<?x512xf16>
  return %y : tensor<?x512xf16>
}

// -----

// What reads nothing but the product becomes a part of its kernel.
// CHECK-LABEL: gpu.func @rlx_matmul_kn_bf16_fused_0
//       CHECK:   arith.maximumf
// CHECK-LABEL: func.func @activation
//       CHECK:   gpu.launch_func @kernels::@rlx_matmul_kn_bf16_fused_0
//   CHECK-NOT:   linalg.generic
#id = affine_map<(i, j) -> (i, j)>
func.func @activation(%x: tensor<20x64xbf16>, %w: tensor<64x96xbf16>) -> tensor<20x96xbf16> {
  %y = "rlx.matmul"(%x, %w) {rlx.kernel = "mma"} : (tensor<20x64xbf16>, tensor<64x96xbf16>) -> tensor<20x96xbf16>
  %e = tensor.empty() : tensor<20x96xbf16>
  %z = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]}
      ins(%y : tensor<20x96xbf16>) outs(%e : tensor<20x96xbf16>) {
  ^bb0(%a: bf16, %b: bf16):
    %zero = arith.constant 0.0 : bf16
    %0 = arith.maximumf %a, %zero : bf16
    linalg.yield %0 : bf16
  } -> tensor<20x96xbf16>
  return %z : tensor<20x96xbf16>
}

// -----

// With few rows the keys are split over blocks, and a second kernel merges.
// CHECK-LABEL: gpu.func @rlx_attention_bf16_0
//       CHECK: gpu.func @rlx_attention_bf16_0_merge
// CHECK-LABEL: func.func @decoding
//       CHECK:   memref.alloc({{.*}}) {{.*}} : memref<?x?x1x128xf32>
//       CHECK:   gpu.launch_func @kernels::@rlx_attention_bf16_0
//       CHECK:   gpu.launch_func @kernels::@rlx_attention_bf16_0_merge
func.func @decoding(%q: tensor<?x1x256xbf16>, %k: tensor<?x?x128xbf16>, %v: tensor<?x?x128xbf16>) -> tensor<?x1x256xbf16> {
  %o = "rlx.attention"(%q, %k, %v) {rlx.kernel = "mma", num_heads = 2 : i64, num_kv_heads = 1 : i64, head_dim = 128 : i64, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>} : (tensor<?x1x256xbf16>, tensor<?x?x128xbf16>, tensor<?x?x128xbf16>) -> tensor<?x1x256xbf16>
  return %o : tensor<?x1x256xbf16>
}
