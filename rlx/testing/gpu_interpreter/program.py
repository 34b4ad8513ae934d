"""A gpu.func as Python closures, which run far faster than the IR can be walked."""

from collections.abc import Callable, Generator, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from rlx.host import ir
from rlx.testing.gpu_interpreter.memory import KernelError
from rlx.testing.gpu_interpreter.threads import Threads, Wait

__all__ = ["Code", "Compiler", "Step", "attribute", "dtype_of", "handles"]

Step = Callable[[Threads], Any]
"""Does one op; a generator function if it may have to wait."""

Handler = Callable[["Compiler", Any], Step]

HANDLERS: dict[str, Handler] = {}

_DTYPES = {
    "f16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "f32": np.float32,
    "f64": np.float64,
    "i1": np.bool_,
    "i8": np.int8,
    "i16": np.int16,
    "i32": np.int32,
    "i64": np.int64,
    "index": np.int64,
}


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Makes a function the one that compiles ops of these names."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


def dtype_of(type_: ir.Type) -> Any:
    """The NumPy type of a scalar or of a vector's elements."""
    if isinstance(type_, (ir.VectorType, ir.MemRefType)):
        type_ = type_.element_type
    try:
        return _DTYPES[str(type_)]
    except KeyError:
        raise NotImplementedError(f"values of type {type_}") from None


def attribute(op: Any, name: str) -> Any:
    """An attribute as a Python value, or None."""
    attributes = op.attributes
    if name not in attributes:
        return None
    value = attributes[name]
    if isinstance(value, (ir.DenseI64ArrayAttr, ir.DenseI32ArrayAttr, ir.ArrayAttr)):
        return [getattr(item, "value", item) for item in value]
    if isinstance(value, (ir.BoolAttr, ir.IntegerAttr, ir.FloatAttr, ir.StringAttr)):
        return value.value
    if isinstance(value, ir.FlatSymbolRefAttr):
        return value.value
    return value


class Code:
    """Steps of a block of ops."""

    def __init__(self, steps: list[tuple[Step, bool]], results: list[int]):
        self.steps, self.results = steps, results

    def run(self, threads: Threads) -> Generator[Wait, None, list[Any]]:
        for step, waits in self.steps:
            if waits:
                yield from step(threads)
            else:
                step(threads)
        return [threads.env[slot] for slot in self.results]


class Compiler:
    """Compiles one function."""

    def __init__(self, module: ir.Operation):
        self.module = module
        self.slots: dict[Any, int] = {}
        self.shared_size = 0
        self.shared_globals: dict[str, int] = {}
        self.globals: dict[str, np.ndarray] = {}
        self.ops: set[str] = set()
        self.granule = 4

    def slot(self, value: ir.Value) -> int:
        return self.slots.setdefault(value, len(self.slots))

    def inputs(self, op: Any) -> list[int]:
        return [self.slot(value) for value in op.operands]

    def outputs(self, op: Any) -> list[int]:
        return [self.slot(value) for value in op.results]

    def shared(self, size: int, alignment: int = 16) -> int:
        """Place of static shared memory."""
        start = -(-self.shared_size // alignment) * alignment
        self.shared_size = start + size
        return start

    def step(self, op: Any) -> Step:
        name = op.operation.name
        if name not in HANDLERS:
            raise NotImplementedError(f"the interpreter does not know {name}")
        self.ops.add(name)
        return HANDLERS[name](self, op)

    def block(self, block: ir.Block, terminators: Sequence[str] = ()) -> Code:
        """A block that ends in a yield, or something like it."""
        steps, results = [], []
        for op in block.operations:
            name = op.operation.name
            if name in ("scf.yield", "gpu.return", "gpu.yield", "affine.yield", *terminators):
                results = self.inputs(op)
                break
            step = self.step(op)
            steps.append((step, _waits(step)))
        return Code(steps, results)


def _waits(step: Step) -> bool:
    return bool(step.__code__.co_flags & 0x20)  # a generator function


def fail(message: str) -> None:
    raise KernelError(message)
