"""What a kernel needs to know about the instruction set."""

from collections.abc import Collection
from dataclasses import dataclass

__all__ = ["ISAS", "Isa", "best"]


@dataclass(frozen=True)
class Isa:
    """An instruction set with fused multiply-add.

    Attributes:
        name: what it is called in options.
        features: what the machine must have, in LLVM's spelling.
        lanes: f32 elements of a vector register.
        registers: how many vector registers there are.
        base: the instruction set that it adds to, whose kernels serve what has none of its own.
        processor: LLVM's name of one that has this and nothing beyond; empty if it knows none.
    """

    name: str
    features: frozenset[str]
    lanes: int
    registers: int
    base: str = ""
    processor: str = ""


_AVX512 = frozenset({"avx512f", "avx512vl", "avx512bw", "fma"})
_BF16 = _AVX512 | {"avx512bf16"}

ISAS = {
    isa.name: isa
    for isa in (
        Isa("amx", _BF16 | {"amx-tile", "amx-bf16"}, 16, 32, base="avx512_bf16"),
        Isa("avx512_bf16", _BF16, 16, 32, base="avx512"),
        Isa("avx512", _AVX512, 16, 32, processor="x86-64-v4"),
        Isa("avx2", frozenset({"avx2", "fma", "f16c"}), 8, 16, processor="x86-64-v3"),
    )
}
"""Known instruction sets, best first."""


def best(features: Collection[str]) -> str:
    """The name of the best of `ISAS` that a machine with these features has; "none" without."""
    return next((isa.name for isa in ISAS.values() if isa.features <= set(features)), "none")
