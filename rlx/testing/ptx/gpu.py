"""A simulated GPU that runs the code that a real one would get."""

from collections.abc import Sequence

import numpy as np

from rlx.runtime.cuda.parameters import Packed
from rlx.testing.gpu_interpreter import KernelError, TensorMap
from rlx.testing.ptx import arithmetic, control, hopper, matrices, memory
from rlx.testing.ptx.text import Kernel, parse
from rlx.testing.ptx.warp import Block, Step, compile_kernel
from rlx.testing.simulated_gpu import SimulatedGpu, read

__all__ = ["PtxGpu"]

_MODULES = arithmetic, control, hopper, matrices, memory  # have the instructions


class PtxGpu(SimulatedGpu):
    """A simulated GPU for programs with PTX."""

    def __init__(self, capability: tuple[int, int] = (8, 0)):
        super().__init__(None, capability)
        self._kernels: dict[str, Kernel] = {}
        self._steps: dict[str, list[Step]] = {}

    def load(self, code: bytes) -> bytes:
        self._kernels = parse(code.decode())
        return code

    def launch(
        self,
        function: str,
        grid: Sequence[int],
        block: Sequence[int],
        cluster: Sequence[int],
        shared: int,
        stream: int,
        parameters: Packed,
    ) -> None:
        self.launched.append(function)
        kernel, values = self._kernels[function], read(parameters)
        if [len(value) for value in values] != list(kernel.parameters.values()):
            raise KernelError(f"{function}: parameters of {[len(v) for v in values]} bytes")
        threads = int(np.prod(block))
        if threads > kernel.threads or list(grid[1:]) != [1, 1] or cluster:
            raise KernelError(f"{function}: grid {grid}, block {block}")
        if function not in self._steps:
            self._steps[function] = compile_kernel(kernel)
        named = dict(zip(kernel.parameters, values, strict=True))
        for number in range(grid[0]):
            steps = self._steps[function]
            Block(self, kernel, steps, named, number, threads, shared).run()

    def map_of(self, token: bytes) -> TensorMap:
        """What a TMA descriptor describes."""
        return self._maps[token]

    def find(self, at: int, size: int) -> tuple[np.ndarray, int]:
        """The allocation around an address, and where in it that is."""
        return self._find(at, size)
