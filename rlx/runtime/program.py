"""Compiled code as data: machine code, and how to call it."""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rlx.runtime.tiles import Tiling

if TYPE_CHECKING:
    from rlx.runtime.cuda.plan import Plan

__all__ = ["Program", "Spec"]


@dataclass(frozen=True)
class Spec:
    """One argument or result of a compiled function.

    Attributes:
        name: its `rlx.name`, or ``arg0``, ``result0`` and so on.
        dtype: MLIR's spelling of the element type, such as ``"bf16"``.
        shape: its dimensions; None for a dynamic one. A scalar has none.
        scalar: whether the function has it as a scalar and not as a tensor.
        param: whether it is a parameter: bound once, constant across calls.
        parts: names of the original parameters that a packed parameter concatenates.
        parts_axis: the axis along which they are concatenated.
        quantized: ``"int8"`` or ``"int8-scales"`` for what :func:`rlx.runtime.quantize.quantize`
            makes of the parts, whose output channels lie along ``parts_axis``.
        group: how many elements share a scale; 0 for a whole channel.
        tiling: how the array is laid out for the compiled code; None for as it is.
        writable: whether the function may write into the caller's array.
        alias: of a result, the number of the argument whose array it is after the call.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    scalar: bool = False
    param: bool = False
    parts: tuple[str, ...] = ()
    parts_axis: int = 0
    quantized: str = ""
    group: int = 0
    tiling: Tiling | None = None
    writable: bool = False
    alias: int | None = None

    @property
    def type(self) -> str:
        """The MLIR type it stands for."""
        if self.scalar:
            return self.dtype
        dims = "".join("?x" if dim is None else f"{dim}x" for dim in self.shape)
        return f"tensor<{dims}{self.dtype}>"

    @property
    def rank(self) -> int:
        """How many axes compiled code sees."""
        return len(self.shape) + (0 if self.tiling is None else len(self.tiling.inner_tiles))

    def __str__(self) -> str:
        return f"{self.name}: {self.type}"

    @staticmethod
    def from_json(fields: dict[str, Any]) -> "Spec":
        tiling = fields["tiling"]
        if tiling is not None:
            tiling = Tiling(**{key: tuple(value) for key, value in tiling.items()})
        return Spec(
            **{
                **fields,
                "shape": tuple(fields["shape"]),
                "parts": tuple(fields["parts"]),
                "tiling": tiling,
            }
        )


@dataclass(frozen=True)
class Program:
    """A compiled function.

    Attributes:
        object_code: a relocatable object file; PTX or a cubin for a GPU.
        entry: the function's name in the source.
        symbol: what to call in the object file, ``void(void **slots)``; see
            :mod:`rlx.runtime.frame` for the slots.
        arguments: the function's arguments, in order.
        results: the function's results, in order.
        messages: texts of the run-time checks: status ``i + 1`` says that check ``i`` failed.
            Without any, the code takes no status.
        plan: for a GPU: what the host does.
    """

    object_code: bytes
    entry: str
    symbol: str
    arguments: tuple[Spec, ...]
    results: tuple[Spec, ...]
    messages: tuple[str, ...] = ()
    plan: "Plan | None" = None

    @cached_property
    def writable(self) -> frozenset[int]:
        """Numbers of the arguments that a call may write to."""
        return frozenset(number for number, spec in enumerate(self.arguments) if spec.writable)

    def manifest(self, indent: int | None = None) -> str:
        """Everything but the object code, as JSON."""
        fields: dict[str, Any] = {
            "entry": self.entry,
            "symbol": self.symbol,
            "arguments": [asdict(spec) for spec in self.arguments],
            "results": [asdict(spec) for spec in self.results],
            "messages": list(self.messages),
            "plan": None if self.plan is None else self.plan.to_json(),
        }
        return json.dumps(fields, indent=indent)

    @staticmethod
    def from_manifest(manifest: str, object_code: bytes) -> "Program":
        fields = json.loads(manifest)
        plan = None
        if fields["plan"] is not None:
            from rlx.runtime.cuda.plan import Plan

            plan = Plan.from_json(fields["plan"])
        return Program(
            object_code=object_code,
            entry=fields["entry"],
            symbol=fields["symbol"],
            arguments=tuple(map(Spec.from_json, fields["arguments"])),
            results=tuple(map(Spec.from_json, fields["results"])),
            messages=tuple(fields["messages"]),
            plan=plan,
        )
