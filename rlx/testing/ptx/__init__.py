"""Runs kernels from their PTX, on the memory of a simulated GPU.

The interpreter of the gpu dialect looks at what comes out of the schedules; this one at what comes
out of LLVM: addresses, conversions, the layout of parameters, inline assembly, descriptors. A warp
is 32 lanes in NumPy arrays. Lanes go their own ways after branches, and meet where an instruction
needs all of them. What is copied or multiplied asynchronously lands when it is waited for; races
are left to the other interpreter.

Known are the instructions that our kernels have, written after the PTX manual, and the layouts of
operands of `wgmma` after CUTLASS.

    executable = CudaExecutable(program, gpu=PtxGpu((9, 0)))
"""

from rlx.testing.ptx.gpu import PtxGpu

__all__ = ["PtxGpu"]
