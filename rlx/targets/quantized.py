"""A target whose code multiplies with quantized weights."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rlx import options
from rlx.options import option
from rlx.targets.base import Stage, Target, TargetError

if TYPE_CHECKING:
    from rlx.host import ir

__all__ = ["quantized"]

_AFTER = "fused"


@dataclass(frozen=True)
class _Int8:
    """Options of ``"int8"``."""

    group: int = option(0, "how many elements in a row share a scale; 0 for a whole channel")


@dataclass(frozen=True)
class _Quantized(Target):
    """Another target, with weights quantized after fusions."""

    inner: Target
    passes: str

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.inner.name

    def stages(self) -> tuple[Stage, ...]:
        return tuple(
            replace(stage, pipeline=",".join(filter(None, [stage.pipeline, self.passes])))
            if stage.name == _AFTER
            else stage
            for stage in self.inner.stages()
        )

    def machine(self) -> str:
        return self.inner.machine()

    def object_code(self, module: "ir.Module", function: str) -> bytes:
        return self.inner.object_code(module, function)

    @property
    def key(self) -> str:
        return f"{self.inner.key} {self.passes}"


def quantized(target: Target, how: str | None) -> Target:
    """``target`` with weights stored as ``how`` says.

    Args:
        target: what to compile for.
        how: ``"int8"``, ``"int8{group=64}"``, or None for weights as they are.

    Raises:
        TargetError: ``how`` is something else.
    """
    if how is None:
        return target
    name, brace, text = how.partition("{") if isinstance(how, str) else (how, "", "")
    if name != "int8" or (brace and not text.endswith("}")):
        raise TargetError(f"expected quantize 'int8' or 'int8{{group=64}}', got {how!r}")
    try:
        group = options.parse(_Int8, text.removesuffix("}"), name).group
    except options.OptionError as error:
        raise TargetError(f"quantize: {error}") from None
    if group < 0:
        raise TargetError(f"quantize: expected a group of at least 0, got {group}")
    return _Quantized(target, f"rlx-quantize-weights{{bits=8 group={group}}}")
