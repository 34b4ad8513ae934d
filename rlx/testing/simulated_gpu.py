"""A GPU that is none: memory in NumPy arrays, kernels run by the interpreter.

It has what :class:`rlx.runtime.cuda.driver.Driver` has, so that a whole program runs as on a GPU:
from its plan, with addresses, and with parameters in the bytes that a driver would get. What a
kernel is passed is read back from these bytes, after the types of its arguments.

    executable = CudaExecutable(program, gpu=SimulatedGpu(module))
"""

import bisect
import contextlib
import ctypes
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from rlx import dtypes
from rlx.host import ir
from rlx.runtime.cuda.driver import OutOfMemoryError
from rlx.runtime.cuda.parameters import Packed
from rlx.runtime.errors import ExecutionError
from rlx.testing.gpu_interpreter import TensorMap, run
from rlx.testing.gpu_interpreter.hopper import expect_mappable

__all__ = ["SimulatedGpu", "read"]

_SHARED = {(8, 0): 163, (8, 7): 163, (9, 0): 227, (10, 0): 227, (10, 3): 227, (11, 0): 227}
"""KiB of shared memory that a block can have, by compute capability; 99 on all others from 8.0 on,
as the table of technical specifications in CUDA's programming guide says."""

_FIRST_ADDRESS = 1 << 30
_GAP = 4096
_ALIGNMENT = 512


class SimulatedGpu:
    """Kernels of a module, on simulated memory.

    Attributes:
        launched: names of kernels, in the order of their launches.
        reports: what the interpreter found in each.
        in_use: bytes that are allocated.
        entered: how many calls at present have made it the current GPU.
        orders: pairs of streams, the first of which was told to wait for the second.
    """

    device = 0
    name = "a simulated GPU"

    def __init__(
        self, module: ir.Module | None, capability: tuple[int, int] = (9, 0), limit: int = 2**33
    ):
        """Args:
        module: holds the kernels, in the gpu dialect.
        capability: what it claims to be.
        limit: how much memory it has, in bytes.
        """
        self.module, self.capability, self.limit = module, capability, limit
        self.launched: list[str] = []
        self.reports: list[Any] = []
        self.in_use = 0
        self.capturing = False
        self.entered = 0
        self.orders: list[tuple[int, int]] = []
        self._starts: list[int] = []
        self._memory: dict[int, np.ndarray] = {}
        self._next = _FIRST_ADDRESS
        self._maps: dict[bytes, TensorMap] = {}

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        self.entered += 1
        try:
            yield
        finally:
            self.entered -= 1

    # -- code

    def load(self, code: bytes) -> bytes:
        return code

    def function(self, module: bytes, name: str, shared: int) -> str:
        if shared > (most := _most_shared(*self.capability)):
            raise ExecutionError(f"a block of {self.name} can have {most} bytes, not {shared}")
        return name

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
        assert self.entered, "another GPU may be the current one"
        self.launched.append(function)
        arguments = self._arguments(function, read(parameters))
        self.reports.append(run(self.module, function, grid, block, arguments, shared))

    def tensor_map(
        self,
        dtype: str,
        address: int,
        sizes: Sequence[int],
        strides: Sequence[int],
        box: Sequence[int],
        swizzle: int,
    ) -> bytes:
        if 0 not in sizes:
            expect_mappable(address, strides, box, dtypes.NAMES[dtype].itemsize, swizzle)
        array = self._array(dtype, address, sizes, strides)
        token = len(self._maps).to_bytes(128, "little")
        self._maps[token] = TensorMap(array, list(box))
        return token

    # -- memory

    def allocate(self, size: int, stream: int) -> int:
        if self.in_use + size > self.limit:
            raise OutOfMemoryError(
                f"cannot allocate {size} bytes on {self.name}: the GPU is out of memory"
            )
        address = self._next
        # Whatever was not written reads as NaN.
        self._memory[address] = np.full(max(size, 1), 0xFF, np.uint8)
        self._starts.append(address)
        self._next = -(-(address + size + _GAP) // _ALIGNMENT) * _ALIGNMENT
        self.in_use += size
        return address

    def free(self, address: int, stream: int, others: Collection[int] = ()) -> None:
        self.in_use -= len(self._memory.pop(address))
        self._starts.remove(address)

    def copy_in(self, address: int, source: int, size: int, stream: int) -> None:
        if size:
            root, offset = self._find(address, size)
            ctypes.memmove(root.ctypes.data + offset, source, size)

    def copy_out(self, target: int, address: int, size: int, stream: int) -> None:
        if size:
            root, offset = self._find(address, size)
            ctypes.memmove(target, root.ctypes.data + offset, size)

    def clear(self, address: int, size: int, stream: int) -> None:
        root, offset = self._find(address, size)
        root[offset : offset + size] = 0

    def synchronize(self, stream: int) -> None:
        pass

    def order(self, stream: int, after: int) -> None:
        if stream != after:
            self.orders.append((stream, after))

    def device_of(self, address: int) -> int:
        self._find(address, 1)
        return self.device

    def is_capturing(self, stream: int) -> bool:
        return self.capturing

    def _find(self, address: int, size: int) -> tuple[np.ndarray, int]:
        """The allocation around an address, and where in it that is."""
        at = bisect.bisect_right(self._starts, address) - 1
        if at >= 0:
            root = self._memory[self._starts[at]]
            offset = address - self._starts[at]
            if offset + size <= len(root):
                return root, offset
        raise ValueError(f"{size} bytes at {address:#x} are not allocated")

    def _array(
        self, dtype: str, address: int, sizes: Sequence[int], strides: Sequence[int]
    ) -> np.ndarray:
        kind = dtypes.NAMES[dtype]
        if 0 in sizes:
            return np.empty(tuple(sizes), kind)
        last = sum((n - 1) * stride for n, stride in zip(sizes, strides, strict=True))
        root, offset = self._find(address, (last + 1) * kind.itemsize)
        steps = tuple(stride * kind.itemsize for stride in strides)
        return np.ndarray(tuple(sizes), kind, root, offset, steps)

    # -- parameters

    def _arguments(self, kernel: str, values: list[bytes]) -> list[Any]:
        """What the kernel takes, after the types of its arguments."""
        left = iter(values)
        return [self._argument(type_, left) for type_ in _types(self.module, kernel)]

    def _argument(self, type_: ir.Type, left: Any) -> Any:
        if not isinstance(type_, ir.MemRefType):
            if str(type_).startswith("!nvgpu.tensormap"):
                return self._maps[next(left)]
            dtype = dtypes.NAMES.get(str(type_), np.dtype(np.int64))
            return np.frombuffer(next(left), dtype)[0]
        address = _integer(next(left))
        marker = ir.ShapedType.get_dynamic_stride_or_offset()
        sizes = [
            _integer(next(left)) if type_.is_dynamic_dim(axis) else type_.shape[axis]
            for axis in range(type_.rank)
        ]
        strides, offset = type_.get_strides_and_offset()
        if type_.affine_map == ir.AffineMap.get_identity(type_.rank, type_.context):
            strides = [int(np.prod(sizes[axis + 1 :])) for axis in range(type_.rank)]
        else:
            strides = [_integer(next(left)) if s == marker else s for s in strides]
        element = str(type_.element_type)
        name = "i64" if element == "index" else element
        start = 0 if offset == marker else offset * dtypes.NAMES[name].itemsize
        return self._array(name, address + start, sizes, strides)


def _most_shared(major: int, minor: int) -> int:
    return _SHARED.get((major, minor), 99) * 1024


def _types(module: ir.Module, kernel: str) -> list[ir.Type]:
    found: list[Any] = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.name == "gpu.func" and ir.StringAttr(op.attributes["sym_name"]).value == kernel:
            found.append(op.attributes["function_type"])
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    return list(ir.FunctionType(ir.TypeAttr(found[0]).value).inputs)


def read(parameters: Packed) -> list[bytes]:
    """The values behind the pointers that a driver would follow."""
    pointers = (ctypes.c_void_p * len(parameters.values)).from_address(parameters.address)
    return [
        ctypes.string_at(pointer, len(value))
        for pointer, value in zip(pointers, parameters.values, strict=True)
    ]


def _integer(value: bytes) -> int:
    return int.from_bytes(value, "little", signed=True)
