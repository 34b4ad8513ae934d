"""Runs kernels of the gpu dialect on NumPy arrays, and looks for what a GPU would not tell.

The threads of a block run in lock step (on Hopper: those of each warp group), every SSA value being
an array with one row per thread. What is modelled beyond values:

* shared and global memory accesses of different threads, or blocks, that no barrier separates, and
  of which one is a write, are races;
* what ``cp.async``, TMA and ``wgmma`` write lands as late as allowed: when it is waited for.
  Before, memory and registers hold NaN, and reading such memory is an error;
* indices outside of a buffer, misaligned vectors and copies;
* barriers that some threads of a block do not reach, and waits that nothing ends;
* bank conflicts, which are counted.

It interprets what lies above the lowering to NVVM, so errors of LLVM (which `rlx.testing.ptx` may
find) and of ptxas are out of its reach; lock step hides most of what divergence inside of a warp
does; and the behaviour of tensor cores is written after the PTX manual, so a wrong reading of it
would pass.

    report = run(module, "kernel", grid=(4, 1, 1), block=(128, 1, 1), arguments=[x, y, 7])
    results = run_function(module, "main", [x, y])  # a function that launches kernels
"""

from rlx.testing.gpu_interpreter.host import run_function
from rlx.testing.gpu_interpreter.launch import Report, run
from rlx.testing.gpu_interpreter.memory import KernelError, TensorMap

__all__ = ["KernelError", "Report", "TensorMap", "run", "run_function"]
