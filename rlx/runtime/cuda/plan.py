"""What a GPU program does: kernels to launch, in order, and the memory that they work on."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rlx.runtime.cuda.expressions import Expression, evaluate

__all__ = [
    "ALIGNMENT",
    "Buffer",
    "Check",
    "Layout",
    "Parameter",
    "Plan",
    "Place",
    "Result",
    "Step",
    "arrange",
]

ALIGNMENT = 256
"""Bytes that every buffer of the workspace is aligned to."""

Place = tuple[str, int]
"""Where a buffer is: ``("argument", n)``, ``("workspace", n)``, ``("result", n)``,
``("constant", n)`` or ``("status", 0)``."""


@dataclass(frozen=True)
class Parameter:
    """What a kernel is passed. Sizes, strides, offset and value are numbers of expressions.

    Attributes:
        kind: ``"buffer"``, ``"number"`` or ``"tensor_map"``.
        dtype: of the buffer's elements, or of the number, in MLIR's spelling.
        place: where the buffer is.
        offset: in elements, of the buffer's first one.
        sizes, strides: of the buffer, in elements.
        advanced: whether the pointer leads to the first element; else to the place itself.
        passed_sizes, passed_strides: axes whose sizes and strides follow the pointer, as i64.
        value: of a number.
        box, swizzle: of a tensor map: elements that a copy moves, and bytes of the pattern.
    """

    kind: str
    dtype: str
    place: Place = ("", 0)
    offset: int = 0
    sizes: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    advanced: bool = False
    passed_sizes: tuple[int, ...] = ()
    passed_strides: tuple[int, ...] = ()
    value: int = 0
    box: tuple[int, ...] = ()
    swizzle: int = 0


@dataclass(frozen=True)
class Step:
    """A launch. Sizes are numbers of expressions.

    Attributes:
        kernel: its name in the code.
        grid, block: blocks, and threads of a block, along x, y and z.
        cluster: blocks of a cluster; none without clusters.
        shared: bytes of dynamic shared memory.
        parameters: what the kernel is passed.
        once: whether another step that is equal but for its own buffers need not be done again.
    """

    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared: int
    parameters: tuple[Parameter, ...]
    cluster: tuple[int, ...] = ()
    once: bool = False


@dataclass(frozen=True)
class Buffer:
    """Memory of the workspace.

    Attributes:
        size: expression: bytes.
        first, last: the steps between which it is in use, both included.
    """

    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Result:
    """Memory that a call returns.

    Attributes:
        size: expression: bytes.
        shape: expressions.
    """

    size: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Check:
    """What must hold of the sizes: an expression, and the number of the message."""

    condition: int
    message: int


@dataclass(frozen=True)
class Plan:
    """A GPU program without its code.

    Attributes:
        arch: what the code is for, as in ``"sm_90a"``.
        expressions: a table, see :mod:`rlx.runtime.cuda.expressions`.
        checks: made before anything runs.
        buffers: of the workspace.
        results: of those results that are no arguments updated in place.
        constants: contents of buffers that are only read, as base64.
        steps: launches, in order.
    """

    arch: str
    expressions: tuple[Expression, ...]
    checks: tuple[Check, ...]
    buffers: tuple[Buffer, ...]
    results: tuple[Result, ...]
    constants: tuple[str, ...]
    steps: tuple[Step, ...]

    def to_json(self) -> dict[str, Any]:
        fields = asdict(self)
        for step in fields["steps"]:
            step["parameters"] = [
                {key: value for key, value in p.items() if value != _DEFAULTS.get(key)}
                for p in step["parameters"]
            ]
        return fields

    @staticmethod
    def from_json(fields: Mapping[str, Any]) -> "Plan":
        return Plan(
            arch=fields["arch"],
            expressions=tuple(fields["expressions"]),
            checks=tuple(Check(**check) for check in fields["checks"]),
            buffers=tuple(Buffer(**buffer) for buffer in fields["buffers"]),
            results=tuple(Result(**_tuples(result)) for result in fields["results"]),
            constants=tuple(fields["constants"]),
            steps=tuple(
                Step(
                    **{
                        **_tuples(step),
                        "parameters": tuple(Parameter(**_tuples(p)) for p in step["parameters"]),
                    }
                )
                for step in fields["steps"]
            ),
        )

    def constant(self, number: int) -> bytes:
        return base64.b64decode(self.constants[number])


_DEFAULTS = {
    key: value for key, value in asdict(Parameter("", "")).items() if key not in ("kind", "dtype")
}


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}


@dataclass(frozen=True)
class Layout:
    """A plan for arguments of certain sizes.

    Attributes:
        values: of the plan's expressions.
        offsets: where each buffer begins in the workspace.
        workspace: how many bytes the workspace takes.
    """

    values: list[Any]
    offsets: list[int]
    workspace: int
    failed: int | None = field(default=None)


def arrange(plan: Plan, shapes: Mapping[int, Sequence[int]], scalars: Mapping[int, Any]) -> Layout:
    """Computes all sizes, and where in the workspace each buffer lies.

    ``failed`` of the result is the message of the first check that does not hold, and then nothing
    else may be used.
    """
    values = evaluate(plan.expressions, shapes, scalars)
    for check in plan.checks:
        if not values[check.condition]:
            return Layout(values, [], 0, check.message)
    sizes = [values[buffer.size] for buffer in plan.buffers]
    offsets, workspace = _pack(plan.buffers, sizes)
    return Layout(values, offsets, workspace)


def _pack(buffers: Sequence[Buffer], sizes: Sequence[int]) -> tuple[list[int], int]:
    """Offsets so that buffers that are in use at the same time do not overlap.

    The largest are placed first, each as low as the buffers placed before allow.
    """
    offsets = [0] * len(buffers)
    placed: list[tuple[int, int, Buffer]] = []  # begin, end, buffer
    total = 0
    for number in sorted(range(len(buffers)), key=lambda n: (-sizes[n], n)):
        buffer, size = buffers[number], -(-sizes[number] // ALIGNMENT) * ALIGNMENT
        at = 0
        for begin, end, other in placed:
            apart = other.last < buffer.first or buffer.last < other.first
            if apart or end <= at:
                continue
            if begin >= at + size:
                break
            at = end
        offsets[number] = at
        placed.append((at, at + size, buffer))
        placed.sort(key=lambda entry: entry[0])
        total = max(total, at + size)
    return offsets, total
