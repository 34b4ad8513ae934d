// RUN: rlx-opt %s --rlx-cuda=arch=sm_80 | filecheck %s
// RUN: rlx-opt %s --rlx-cuda=arch=sm_90a | filecheck %s

// Every op in a form that plain kernels take goes down to the LLVM dialect, with launches and
// arithmetic on sizes outside of kernels, and nothing else.

// CHECK: gpu.container_module
// CHECK: gpu.module @kernels
// CHECK-NOT: {{(= |  )"?(rlx|linalg|memref|scf|cf|arith|tensor|vector|math|gpu)\.[a-z]}}
// CHECK: attributes {gpu.kernel, {{.*}}nvvm.kernel, nvvm.maxntid = array<i32: 128, 1, 1>
// CHECK-NOT: {{(= |  )"?(rlx|linalg|memref|scf|cf|arith|tensor|vector|math|gpu)\.[a-z]}}
// CHECK-LABEL: func.func @main
// CHECK-NOT: {{(= |  )"?(rlx|linalg|tensor|scf|func)\.[a-z_]+}}
// CHECK: gpu.launch_func @kernels::@rlx_rms_norm_bf16_0
// CHECK: gpu.launch_func @kernels::@rlx_rope_bf16_0
// CHECK: gpu.launch_func @kernels::@rlx_kv_append_bf16_0
// CHECK: gpu.launch_func @kernels::@elementwise_
// CHECK: gpu.launch_func @kernels::@rlx_layer_norm_bf16_0
// CHECK: gpu.launch_func @kernels::@reduce_
// CHECK: gpu.launch_func @kernels::@rlx_plain_attention_f32_0
// CHECK: return
func.func @main(%x: tensor<?x?x512xbf16>, %w: tensor<512xbf16>, %b: tensor<512xbf16>,
                %cos: tensor<64x32xf32>, %sin: tensor<64x32xf32>, %at: tensor<?x?xi64>,
                %cache: tensor<?x?x512xbf16> {bufferization.writable = true},
                %lengths: tensor<?xi32>, %table: tensor<100x512xbf16>,
                %q: tensor<512x64xi8>, %s: tensor<512x4xf32>, %f: tensor<?x?x64xf32>)
    -> (tensor<?x?x512xbf16>, tensor<?x?x512xbf16>, tensor<?x?x512xf32>, tensor<?x?x64xf32>) {
  %0 = "rlx.rms_norm"(%x, %w) {epsilon = 1.0e-06 : f64}
      : (tensor<?x?x512xbf16>, tensor<512xbf16>) -> tensor<?x?x512xbf16>
  %1 = "rlx.rope"(%0, %cos, %sin, %at) {head_dim = 64 : i64}
      : (tensor<?x?x512xbf16>, tensor<64x32xf32>, tensor<64x32xf32>, tensor<?x?xi64>)
      -> tensor<?x?x512xbf16>
  %2 = "rlx.kv_append"(%cache, %1, %lengths)
      : (tensor<?x?x512xbf16>, tensor<?x?x512xbf16>, tensor<?xi32>) -> tensor<?x?x512xbf16>
  %3 = "rlx.embedding"(%table, %at)
      : (tensor<100x512xbf16>, tensor<?x?xi64>) -> tensor<?x?x512xbf16>
  %4 = "rlx.glu"(%1, %3) {activation = "gelu"}
      : (tensor<?x?x512xbf16>, tensor<?x?x512xbf16>) -> tensor<?x?x512xbf16>
  %5 = "rlx.layer_norm"(%4, %w, %b) {epsilon = 1.0e-05 : f64}
      : (tensor<?x?x512xbf16>, tensor<512xbf16>, tensor<512xbf16>) -> tensor<?x?x512xbf16>
  %6 = "rlx.dequant_matmul"(%f, %q, %s) {group = 16 : i64, transpose_weight = true}
      : (tensor<?x?x64xf32>, tensor<512x64xi8>, tensor<512x4xf32>) -> tensor<?x?x512xf32>
  %7 = "rlx.attention"(%f, %f, %f, %lengths)
      {num_heads = 2 : i64, head_dim = 32 : i64, causal = true, softcap = 5.0e+01 : f64,
       operandSegmentSizes = array<i32: 1, 1, 1, 0, 1>}
      : (tensor<?x?x64xf32>, tensor<?x?x64xf32>, tensor<?x?x64xf32>, tensor<?xi32>)
      -> tensor<?x?x64xf32>
  return %2, %5, %6, %7
      : tensor<?x?x512xbf16>, tensor<?x?x512xbf16>, tensor<?x?x512xf32>, tensor<?x?x64xf32>
}
