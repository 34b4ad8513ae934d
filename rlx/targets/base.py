"""What a target is, and how to get one by name."""

import abc
import difflib
import importlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rlx import options

if TYPE_CHECKING:
    from rlx.host import ir

__all__ = ["BUFFERIZE", "Stage", "Target", "TargetError", "get"]

BUFFERIZE = (
    "eliminate-empty-tensors,"
    "empty-tensor-to-alloc-tensor,"
    "one-shot-bufferize{allow-return-allocs-from-loops bufferize-function-boundaries "
    "function-boundary-type-conversion=identity-layout-map},"
    "canonicalize,cse,"
    "drop-equivalent-buffer-results,"
    "canonicalize,"
    "rlx-return-donated"
)
"""Tensors to buffers. Results of branches get plain layouts only if no tensor.empty is left."""

_TARGETS = {"cpu": "rlx.targets.cpu:CpuTarget", "cuda": "rlx.targets.cuda:CudaTarget"}


class TargetError(ValueError):
    """There is no such target, or its options are wrong."""


@dataclass(frozen=True)
class Stage:
    """A step of the way down, after which the IR has a name.

    Attributes:
        name: what the IR is called afterwards, as in ``rlx-run --emit=linalg``.
        pipeline: the passes that lead there from the stage before.
    """

    name: str
    pipeline: str


@dataclass(frozen=True)
class Target(abc.ABC):
    """A machine to compile for. Its fields are its options.

    Modules of targets import the bindings only where they make code: the key of the cache is
    computed without them.
    """

    name: ClassVar[str] = ""
    positional: ClassVar[str] = ""
    """The option that the text after a colon stands for, as in ``"cuda:sm_90a"``."""

    @abc.abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """The way from rlx ops to code, in order; the first stage is named ``"rlx"``."""

    @abc.abstractmethod
    def machine(self) -> str:
        """What distinguishes the machine that the code will run on."""

    @abc.abstractmethod
    def object_code(self, module: "ir.Module", function: str) -> bytes:
        """Machine code for a module that has passed all stages, with ``function`` as its entry."""

    @property
    def key(self) -> str:
        """Two targets with equal keys produce the same code."""
        stages = ";".join(f"{stage.name}={stage.pipeline}" for stage in self.stages())
        return f"{self.name}{options.render(self)} {self.machine()} {stages}"


def get(target: str | Target) -> Target:
    """A target from text such as ``"cpu"``, ``"cpu{opt-level=2}"`` or ``"cuda:sm_90a"``.

    What follows a colon is the value of the target's main option: the instruction set of kernels on
    a CPU (``"cpu:avx2"``), the architecture of a GPU.

    Raises:
        TargetError: the name or an option is unknown.
    """
    if isinstance(target, Target):
        return target
    if not isinstance(target, str):
        raise TargetError(f"expected the name of a target, or a target, got {target!r}")
    head, brace, text = target.partition("{")
    name, colon, main = head.partition(":")
    if name not in _TARGETS:
        near = difflib.get_close_matches(name, _TARGETS, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(_TARGETS))}"
        raise TargetError(f"unknown target '{name}'; {hint}")
    if brace and not text.endswith("}"):
        raise TargetError(f"target '{target}': '{{' is never closed")
    module, _, attribute = _TARGETS[name].partition(":")
    cls = getattr(importlib.import_module(module), attribute)
    text = text.removesuffix("}")
    if colon:
        if re.search(rf"(^|\s){cls.positional}\s*=", text):
            raise TargetError(f"target '{target}': option '{cls.positional}' is given twice")
        text = f"{cls.positional}={main} {text}".strip()
    try:
        return options.parse(cls, text, name)
    except options.OptionError as error:
        raise TargetError(str(error)) from None
