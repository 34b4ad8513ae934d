// RUN: rlx-opt %s --rlx-cuda="arch=sm_90a to=linalg" | filecheck %s --check-prefix=LINALG
// RUN: rlx-opt %s --rlx-cuda="arch=sm_90a to=gpu" | filecheck %s --check-prefix=GPU
// RUN: rlx-opt %s --rlx-cuda="arch=sm_90a to=gpu" | rlx-opt - --rlx-cuda-outline | filecheck %s --check-prefix=GPU
// RUN: rlx-opt %s --rlx-cuda="arch=sm_90a to=nvvm" | filecheck %s --check-prefix=NVVM
// RUN: rlx-opt %s --rlx-cuda=arch=sm_90a | filecheck %s --check-prefix=LLVM
// RUN: not rlx-opt %s --rlx-cuda=arch=sm_70 2>&1 | filecheck %s --check-prefix=OLD

// LINALG: linalg.generic
// LINALG-NOT: gpu.module
// GPU: gpu.func @elementwise_0(%{{.*}}: memref<?x64xf32>, %{{.*}}: memref<?x64xf32>) kernel
// GPU: math.exp
// GPU: func.func @main
// GPU: gpu.launch_func
// NVVM: llvm.func @elementwise_0
// NVVM: nvvm.read.ptx.sreg.tid.x
// NVVM: llvm.call_intrinsic "llvm.nvvm.ex2.approx"
// LLVM: llvm.func @elementwise_0
// LLVM-NOT: builtin.unrealized_conversion_cast
// OLD: arch=sm_70: expected an architecture from sm_80 on
func.func @main(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = math.exp %x : tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}
