"""The CPU this process runs on."""

import warnings
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

from rlx.options import option
from rlx.schedules.cpu import isa as isas
from rlx.targets import tiles
from rlx.targets.base import BUFFERIZE, Stage, Target, TargetError

if TYPE_CHECKING:
    from rlx.host import ir

__all__ = ["CpuTarget", "host_features"]

_FUSED = "rlx-fuse"

# Ops guard themselves with a check and with a selection that it makes superfluous. Checks go before
# elementwise ops become loops: selections between whole tensors would be costly.
_LINALG = (
    "rlx-check-shapes,"
    "{select}"
    "convert-rlx-to-linalg,"
    "func.func(lift-cf-to-scf),"
    "cse,"
    "rlx-propagate-asserts,"
    "canonicalize,"
    "resolve-ranked-shaped-type-result-dims,"
    "cse,canonicalize,"
    "rlx-lower-asserts,"
    "canonicalize,"
    "func.func(convert-elementwise-to-linalg),"
    "canonicalize,cse,"
    "rlx-fuse-elementwise,"
    "canonicalize,cse"
)

_BUFFERIZED = (
    "rlx-export,"
    "{emit}"
    "{bufferize},"
    "expand-realloc,"
    "canonicalize,"
    "ownership-based-buffer-deallocation,"
    "canonicalize,"
    "buffer-deallocation-simplification,"
    "rlx-free-results,"
    "bufferization-lower-deallocations,"
    "cse,canonicalize,"
    "convert-bufferization-to-memref,"
    "canonicalize,cse"
)

# LLVM knows that aligned_alloc returns fresh memory; MLIR's default, malloc and pointer
# arithmetic, hides it.
_LLVM = (
    "{simulate}"
    "rlx-expand-copies,"
    "{generalize}"
    "rlx-outline-kernels{{vector-width={vector_width}}},"
    "{split}"
    "func.func(convert-linalg-to-loops,scf-forall-to-for,convert-vector-to-scf),"
    "fold-memref-alias-ops,"
    "expand-strided-metadata,"
    "lower-affine,"
    "{parallel}"
    "convert-scf-to-cf,"
    "arith-emulate-unsupported-floats{{source-types=bf16,f16 target-type=f32}},"
    "math-extend-to-supported-types{{target-type=f32}},"
    "rlx-expand-math,"
    "rlx-round-floats,"
    "arith-expand{{include-bf16={expand_bf16}}},"
    "convert-vector-to-llvm,"
    "convert-math-to-llvm,"
    "convert-math-to-libm,"
    "finalize-memref-to-llvm{{use-aligned-alloc=true}},"
    "convert-to-llvm,"
    "{openmp}"
    "reconcile-unrealized-casts,"
    "{bf16}"
    "canonicalize,cse,"
    "rlx-huge-pages,"
    "rlx-sink-arguments"
    "{processor}"
)


_NO_TILES = "the system does not let this process use the tiles of AMX"
_NO_KERNELS = "there are kernels for {}, and this machine has none of them"


@cache
def _host() -> tuple[str, dict[str, bool]]:
    import llvmlite.binding as llvm

    return llvm.get_host_cpu_name(), dict(llvm.get_host_cpu_features())


def host_features() -> frozenset[str]:
    """The instruction set extensions of this machine, in LLVM's spelling."""
    return frozenset(name for name, present in _host()[1].items() if present)


@dataclass(frozen=True)
class CpuTarget(Target):
    """Code for the CPU of this machine, with all of its instruction set extensions."""

    name = "cpu"
    positional = "kernels"

    opt_level: Literal["0", "1", "2", "3"] = option("3", "LLVM's optimisation level")
    kernels: Literal["host", "amx", "avx512_bf16", "avx512", "avx2", "none"] = option(
        "host", "instruction set of kernels for heavy ops; none: everything takes the plain path"
    )
    simulate: bool = option(
        False,
        "compute step by step what instructions for bf16 do in one, so that kernels made of them "
        "run on machines that lack them; slow, for tests",
    )

    threads: int = option(
        0,
        "how many threads to use; 0 for all cores that the process may use, or as many as "
        "OMP_NUM_THREADS says, found out at run time",
    )

    def stages(self) -> tuple[Stage, ...]:
        if self.threads < 0:
            raise TargetError(f"threads: expected at least 0, but found {self.threads}")
        features = host_features()
        isa = self._isa(features)
        processor = ""
        if isa in isas.ISAS and isa != isas.best(features) and not self.simulate:
            # Nothing else than a machine without the better ones would run.
            processor = isas.ISAS[isa].processor
            features = isas.ISAS[isa].features if processor else features
        native_bf16 = "avx512bf16" in features
        # LLVM would use half of the registers, with an eye on the clock of older machines.
        vector_width = 512 if "avx512f" in features else 0
        select = emit = ""
        if isa != "none":
            select = f"rlx-cpu-select-kernels{{isa={isa}}},rlx-cpu-pack-weights,"
            emit = f"rlx-cpu-emit-kernels{{threads={self.threads}}},"
        # One thread means code without any trace of OpenMP.
        threaded = isa != "none" and self.threads != 1
        return (
            Stage("rlx", ""),
            Stage("fused", _FUSED),
            Stage("linalg", _LINALG.format(select=select)),
            Stage("bufferized", _BUFFERIZED.format(bufferize=BUFFERIZE, emit=emit)),
            Stage(
                "llvm",
                _LLVM.format(
                    simulate="rlx-simulate-x86," if self.simulate else "",
                    bf16="" if native_bf16 else "rlx-bf16-as-i16,",
                    expand_bf16=str(not native_bf16).lower(),
                    vector_width=vector_width,
                    generalize="func.func(linalg-generalize-named-ops)," if threaded else "",
                    split=f"rlx-cpu-split-kernels{{threads={self.threads}}}," if threaded else "",
                    parallel="rlx-cpu-parallel-to-openmp," if threaded else "",
                    openmp="convert-openmp-to-llvm," if threaded else "",
                    processor=processor and f",rlx-target-processor{{processor={processor}}}",
                ),
            ),
        )

    def _isa(self, features: frozenset[str]) -> str:
        if self.kernels == "host":
            isa = isas.best(features)
            if isa == "amx" and not tiles.permitted():
                isa = isas.ISAS[isa].base
                warnings.warn(_NO_TILES + f"; kernels={isa} is used", RuntimeWarning, stacklevel=2)
            if isa == "none":
                message = _NO_KERNELS.format(", ".join(isas.ISAS))
                warnings.warn(message + "; kernels=none is used", RuntimeWarning, stacklevel=2)
            return isa
        if self.kernels == "none" or self.simulate:
            return self.kernels
        if lacking := isas.ISAS[self.kernels].features - features:
            missing = ", ".join(sorted(lacking))
            raise TargetError(f"kernels={self.kernels}: this machine has no {missing}")
        if self.kernels == "amx" and not tiles.permitted():
            raise TargetError(f"kernels=amx: {_NO_TILES}")
        return self.kernels

    def object_code(self, module: "ir.Module", function: str) -> bytes:
        from rlx.targets import codegen

        return codegen.object_code(module, function, int(self.opt_level))

    def machine(self) -> str:
        return f"{_host()[0]} {' '.join(sorted(host_features()))}"
