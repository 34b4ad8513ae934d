"""Launching a kernel."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlx.host import ir
from rlx.testing.gpu_interpreter import access, control, hopper, tensor_cores, values, vectors
from rlx.testing.gpu_interpreter.memory import (
    Buffer,
    Counters,
    KernelError,
    TensorMap,
    View,
    byte_view,
    root_of,
)
from rlx.testing.gpu_interpreter.order import Order
from rlx.testing.gpu_interpreter.program import Compiler, dtype_of
from rlx.testing.gpu_interpreter.threads import Block, Threads

__all__ = ["Report", "run", "values_of"]

# Imported for what they register.
_HANDLERS = (access, control, hopper, tensor_cores, values, vectors)


@dataclass(frozen=True)
class Report:
    """What a launch did.

    Attributes:
        counts: passes of shared memory accesses, ``"ldmatrix.passes"``, and how few there could
            be, ``"ldmatrix.ideal"``; the same for ``cp.async``, ``shared.load``, ``shared.store``.
        ops: the kinds of ops in the kernel.
    """

    counts: Counter
    ops: frozenset[str]

    def conflicts(self, what: str) -> float:
        """Passes per access without conflicts: 1.0 is best."""
        return self.counts[f"{what}.passes"] / max(self.counts[f"{what}.ideal"], 1)


def run(
    module: ir.Module | ir.Operation,
    kernel: str,
    grid: Sequence[int],
    block: Sequence[int],
    arguments: Sequence[Any],
    shared: int = 0,
    blocks: Iterable[tuple[int, int, int]] | None = None,
) -> Report:
    """Runs a kernel.

    Args:
        module: holds the gpu.module with the kernel somewhere.
        kernel: name of a gpu.func.
        grid, block: blocks and threads along x, y, z; missing ones are 1.
        arguments: arrays for memrefs (read and written in place; of the memref's rank, or of
            another shape where the memref has one axis), numbers, and tensor maps for pointers.
        shared: bytes of dynamic shared memory.
        blocks: which blocks to run, in this order; all when not given.

    Raises:
        KernelError: the kernel does what must not be done.
        NotImplementedError: it has ops that the interpreter does not know.
        ValueError: the arguments do not fit the kernel.
    """
    grid, size = _three(grid), _three(block)
    function = _find(module, kernel)
    compiler = Compiler(function.operation)
    entry = function.regions[0].blocks[0]
    slots = [compiler.slot(a) for a in entry.arguments]
    inputs = ir.FunctionType(ir.TypeAttr(function.attributes["function_type"]).value).inputs
    own = list(entry.arguments)[len(inputs) :]
    places = [compiler.shared(access.size_of(a.type), 1024) for a in own]
    code = control.Region(compiler, function.regions[0])
    given = values_of(list(inputs), arguments)
    groups = hopper.group_size(compiler.ops, size)

    counters = Counters()
    everything = ((x, y, z) for z in range(grid[2]) for y in range(grid[1]) for x in range(grid[0]))
    for number, index in enumerate(everything if blocks is None else blocks):
        # Static shared memory lies behind the dynamic one.
        end = -(-shared // 1024) * 1024
        here = Block(
            number, index, grid, size, end + compiler.shared_size, compiler.granule, counters
        )
        here.dynamic, here.dynamic_end = shared, end
        if groups is not None:
            here.order = Order(here.threads // groups, here.memory)
        team = []
        for first in range(0, here.threads, groups or here.threads):
            threads = Threads(here, first, groups or here.threads, len(compiler.slots))
            for slot, value in zip(slots, given, strict=False):
                threads.env[slot] = value
            for slot, argument, place in zip(slots[len(inputs) :], own, places, strict=True):
                threads.env[slot] = access.shared_view(threads, argument.type, end + place)
            team.append(threads)
        with np.errstate(all="ignore"):
            _schedule(code, team, index)
    return Report(counters.ops, frozenset(compiler.ops))


def _schedule(code: control.Region, team: list[Threads], index: tuple[int, int, int]) -> None:
    """Runs each group until it waits for what another one does."""
    running = [(threads, code.run(threads)) for threads in team]
    waiting: dict[int, Any] = {}
    try:
        while running:
            progress = False
            for entry in list(running):
                threads, steps = entry
                wait = waiting.get(threads.first)
                if wait is not None and not wait[0]():
                    continue
                progress = True
                try:
                    waiting[threads.first] = next(steps)
                except StopIteration:
                    running.remove(entry)
            if not progress:
                stuck = ", ".join(
                    f"threads {t.first}.. at {waiting[t.first][1]}" for t, _ in running
                )
                raise KernelError(f"deadlock: {stuck}")
    except KernelError as error:
        raise KernelError(f"block {index}: {error}") from None


def _three(sizes: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (*sizes, 1, 1, 1)[:3]
    return int(x), int(y), int(z)


def _find(module: Any, name: str) -> Any:
    found = []

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.name == "gpu.func" and ir.StringAttr(op.attributes["sym_name"]).value == name:
            found.append(op)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    if len(found) != 1:
        raise ValueError(f"expects one gpu.func named {name}, found {len(found)}")
    return found[0].opview


def values_of(types: Sequence[ir.Type], arguments: Sequence[Any]) -> list[Any]:
    """What stands for arguments inside of kernels; arrays that share memory share a buffer."""
    if len(arguments) != len(types):
        raise ValueError(f"expects {len(types)} arguments, got {len(arguments)}")
    data = [_bytes_of(argument) for argument in arguments]
    granule: dict[int, int] = {}
    for argument, bytes_ in zip(arguments, data, strict=True):
        if bytes_ is not None:
            size = min(np.dtype(argument.dtype).itemsize, 4)
            granule[_place(bytes_)] = min(size, granule.get(_place(bytes_), size))
    buffers: dict[int, Buffer] = {}
    made: list[Any] = []
    for number, (type_, argument, bytes_) in enumerate(zip(types, arguments, data, strict=True)):
        if isinstance(argument, TensorMap):
            made.append(argument)
        elif bytes_ is None:
            made.append(np.array([argument]).astype(dtype_of(type_)))
        elif not isinstance(type_, ir.MemRefType):
            raise ValueError(f"argument {number}: expects {type_}, got an array")
        else:
            place = _place(bytes_)
            if place not in buffers:
                buffers[place] = Buffer(bytes_, granule[place], True, f"argument {number}")
            made.append(_view(type_, argument, buffers[place], number))
    return made


def _place(bytes_: np.ndarray) -> int:
    return bytes_.ctypes.data if len(bytes_) else id(bytes_)


def _bytes_of(argument: Any) -> np.ndarray | None:
    """All of the memory that an argument is a part of."""
    if isinstance(argument, View):
        return argument.buffer.data
    return byte_view(root_of(argument)) if isinstance(argument, np.ndarray) else None


def _view(type_: ir.MemRefType, argument: Any, buffer: Buffer, number: int) -> View:
    wrong = f"argument {number}: expects {type_}, got {argument.dtype} of shape {argument.shape}"
    shape = tuple(argument.shape)
    fits = argument.dtype == dtype_of(type_) and len(shape) == type_.rank
    if not fits or any(
        want not in (access.DYNAMIC, size) for want, size in zip(type_.shape, shape, strict=True)
    ):
        raise ValueError(wrong)
    if isinstance(argument, View):
        return View(
            buffer, argument.offset, shape, argument.strides, argument.dtype, origin=argument.origin
        )
    offset = argument.ctypes.data - root_of(argument).ctypes.data if argument.size else 0
    strides = tuple(s // argument.itemsize for s in argument.strides)
    return View(buffer, np.array([offset]), shape, strides, argument.dtype)
