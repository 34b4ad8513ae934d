"""Functions that launch kernels: what a runtime would do, on NumPy arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlx.host import ir
from rlx.testing.gpu_interpreter import access, launch
from rlx.testing.gpu_interpreter.control import Region
from rlx.testing.gpu_interpreter.hopper import as_array
from rlx.testing.gpu_interpreter.memory import Buffer, Counters, KernelError, TensorMap, View
from rlx.testing.gpu_interpreter.program import Compiler, Step, attribute, dtype_of, handles
from rlx.testing.gpu_interpreter.threads import Block, Threads

__all__ = ["run_function"]

_STATUS, _MESSAGES = "rlx_status", "rlx.messages"
"""As in `rlx-cuda-outline`: the number of a check that failed, and what they say."""


def run_function(module: ir.Module, name: str, arguments: Sequence[Any]) -> list[Any]:
    """Runs a function on buffers whose kernels have been outlined.

    Args:
        module: holds the function and its kernels.
        name: the function.
        arguments: arrays, which are used in place, and numbers.

    Returns:
        Its results: arrays and numbers.

    Raises:
        KernelError: a kernel does what must not be done, or a check fails.
    """
    functions = [op for op in module.body.operations if op.operation.name == "func.func"]
    function = next(f for f in functions if attribute(f, "sym_name") == name)
    compiler = Compiler(module.operation)
    entry = function.regions[0].blocks[0]
    slots = [compiler.slot(a) for a in entry.arguments]
    code = Region(compiler, function.regions[0])
    given = launch.values_of([a.type for a in entry.arguments], arguments)
    one = (1, 1, 1)
    block = Block(0, (0, 0, 0), one, one, 0, 4, Counters())
    thread = Threads(block, 0, 1, len(compiler.slots))
    for slot, value in zip(slots, given, strict=True):
        thread.env[slot] = value
    steps = code.run(thread)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            status = compiler.globals.get(_STATUS)
            if status is not None and status.flat[0]:
                text = attribute(module.operation, _MESSAGES)[int(status.flat[0]) - 1]
                raise KernelError(f"assertion: {text}") from None
            return [_result(value) for value in end.value]


def _result(value: Any) -> Any:
    if not isinstance(value, View):
        return value[0].item()
    return as_array(value)


@handles("memref.alloc")
def _alloc(c: Compiler, op: Any) -> Step:
    type_, output = op.results[0].type, c.slot(op.results[0])
    slots = c.inputs(op)

    def run(threads: Threads) -> None:
        rest = iter(slots)
        shape = [int(threads.env[next(rest)][0]) if n == access.DYNAMIC else n for n in type_.shape]
        array = np.full(
            max(int(np.prod(shape)) * np.dtype(dtype_of(type_)).itemsize, 0), 0xFF, np.uint8
        )
        buffer = Buffer(array, 1, False, "a buffer")
        strides = access.row_major(shape)
        threads.env[output] = View(buffer, np.zeros(1, int), tuple(shape), strides, dtype_of(type_))

    return run


@handles("memref.dealloc", "memref.assume_alignment")
def _nothing(c: Compiler, op: Any) -> Step:
    return lambda threads: None


@handles("cf.assert")
def _assert(c: Compiler, op: Any) -> Step:
    condition, message = c.slot(op.operands[0]), attribute(op, "msg")

    def run(threads: Threads) -> None:
        if not threads.env[condition].all():
            raise KernelError(f"assertion: {message}")

    return run


@handles("gpu.launch_func")
def _launch(c: Compiler, op: Any) -> Step:
    sizes = attribute(op, "operandSegmentSizes")
    slots = iter(c.inputs(op))
    parts = [[next(slots) for _ in range(size)] for size in sizes]
    grid, block = [s for p in parts[1:4] for s in p], [s for p in parts[4:7] for s in p]
    shared, arguments = parts[10], parts[11]
    name = str(op.operation.attributes["kernel"]).split("@")[-1]

    def run(threads: Threads) -> None:
        env = threads.env
        dims = [int(env[slot][0]) for slot in grid]
        if 0 in dims:
            return
        given = [env[s] if isinstance(env[s], (View, TensorMap)) else env[s][0] for s in arguments]
        size = int(env[shared[0]][0]) if shared else 0
        launch.run(c.module, name, dims, [int(env[s][0]) for s in block], given, size)

    return run
