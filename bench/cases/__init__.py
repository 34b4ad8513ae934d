"""The rows of the table: what is measured, and the exact answers."""

import fnmatch

from bench.cases.attention import Attention
from bench.cases.base import Case
from bench.cases.block import Block
from bench.cases.matmul import Matmul
from bench.cases.model import GEMMA, LLAMA, Decode, Prefill
from bench.cases.rowwise import Glu, LayerNorm, RmsNorm, Rope

__all__ = [
    "CASES",
    "Attention",
    "Block",
    "Case",
    "Decode",
    "Glu",
    "LayerNorm",
    "Matmul",
    "Prefill",
    "RmsNorm",
    "Rope",
    "select",
]

CASES: tuple[Case, ...] = (
    Attention("A1", "8/2 heads, D 128, S 1024, causal", 8, 2, 128, 1024, 1024),
    Attention(
        "A2", "8/4 heads, D 256, S 1024, window 256, cap 50", 8, 4, 256, 1024, 1024, 256, 50.0, 4.0
    ),
    Attention("A3", "16/8 heads, D 256, S 1024, causal", 16, 8, 256, 1024, 1024),
    Attention("A4", "32/8 heads, D 128, S 2048, causal", 32, 8, 128, 2048, 2048),
    Attention("A5", "32/8 heads, D 128, decoding at 4096", 32, 8, 128, 1, 4096),
    Attention("A6", "9/3 heads, D 80, S 333, causal", 9, 3, 80, 333, 333),
    Block("B1", "Llama-3.2-1B block, 32/8 heads, D 64, S 512", 2048, 32, 8, 64, 512),
    Block("B2", "Gemma-3-1B block, 4/1 heads, D 256, S 512", 1152, 4, 1, 256, 512),
    Matmul("M512", "512 x 512 x 512", 512, 512, 512),
    Matmul("M1024", "1024 x 1024 x 1024", 1024, 1024, 1024),
    Matmul("M2048", "2048 x 2048 x 2048", 2048, 2048, 2048),
    Matmul("M129", "129 x 2048 x 1000", 129, 2048, 1000),
    Matmul("M32", "32 x 2048 x 2048", 32, 2048, 2048),
    Matmul("M7", "7 x 2048 x 2048", 7, 2048, 2048),
    Matmul("M1", "1 x 4096 x 4096", 1, 4096, 4096),
    RmsNorm("N1", "RMS norm, 512 x 2048", 512, 2048),
    LayerNorm("N2", "layer norm, 512 x 768", 512, 768),
    Glu("G1", "SiLU-gated unit, 512 x 8192", 512, 8192),
    Rope("R1", "rope, 1024 x 32 heads of 128", 1024, 4096),
    Prefill("CL512", "Llama-3.2-1B, 4 layers, 512 tokens", LLAMA, 512),
    Decode("CL1", "Llama-3.2-1B, 4 layers, 1 token at 512", LLAMA, 512),
    Prefill("CG512", "Gemma-3-1B, 4 layers, 512 tokens", GEMMA, 512),
    Decode("CG1", "Gemma-3-1B, 4 layers, 1 token at 512", GEMMA, 512),
)


def select(patterns: str | None) -> list[Case]:
    """Cases that comma-separated patterns such as ``"A1,B*"`` name, in order; all for None.

    Raises:
        ValueError: a pattern names none.
    """
    if patterns is None:
        return list(CASES)
    wanted = patterns.split(",")
    for pattern in wanted:
        if not fnmatch.filter([case.name for case in CASES], pattern):
            known = ", ".join(case.name for case in CASES)
            raise ValueError(f"no row is named '{pattern}'; known: {known}")
    return [case for case in CASES if any(fnmatch.fnmatch(case.name, w) for w in wanted)]
