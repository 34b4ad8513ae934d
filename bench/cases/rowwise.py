"""What reads each element once: norms, gated units, rotary embedding."""

from dataclasses import dataclass

import numpy as np

from bench.cases.attention import rope_tables, rotate
from bench.cases.base import BYTES, Arrays, Case, Reference, normal

__all__ = ["Glu", "LayerNorm", "RmsNorm", "Rope"]


@dataclass(frozen=True)
class _Rowwise(Case):
    """Rows [length, width] to rows [length, width]."""

    length: int = 0
    width: int = 0
    reads = 1

    def rows(self) -> int:
        return self.length

    def flops(self) -> float:
        return 0.0

    def bytes(self, dtype: str) -> float:
        return float((self.reads + 1) * self.length * self.width * BYTES[dtype])


@dataclass(frozen=True)
class RmsNorm(_Rowwise):
    def inputs(self) -> Arrays:
        return {"x": normal(0, self.length, self.width), "w": normal(1, self.width)}

    def parameters(self) -> frozenset[str]:
        return frozenset("w")

    def reference(self, rows: np.ndarray) -> Reference:
        x, w = (array.astype(np.float64) for array in self.inputs().values())
        x = x[rows]
        return {"norm": x / np.sqrt(np.mean(x * x, -1, keepdims=True) + 1e-6) * w}


@dataclass(frozen=True)
class LayerNorm(_Rowwise):
    def inputs(self) -> Arrays:
        shape = self.length, self.width
        return {"x": normal(0, *shape), "w": normal(1, self.width), "b": normal(2, self.width)}

    def parameters(self) -> frozenset[str]:
        return frozenset("wb")

    def reference(self, rows: np.ndarray) -> Reference:
        x, w, b = (array.astype(np.float64) for array in self.inputs().values())
        x = x[rows] - x[rows].mean(-1, keepdims=True)
        return {"norm": x / np.sqrt(np.mean(x * x, -1, keepdims=True) + 1e-5) * w + b}


@dataclass(frozen=True)
class Glu(_Rowwise):
    """The activation is silu."""

    reads = 2

    def inputs(self) -> Arrays:
        shape = self.length, self.width
        return {"gate": normal(0, *shape), "up": normal(1, *shape)}

    def reference(self, rows: np.ndarray) -> Reference:
        gate, up = (array.astype(np.float64)[rows] for array in self.inputs().values())
        return {"glu": gate / (1 + np.exp(-gate)) * up}


@dataclass(frozen=True)
class Rope(_Rowwise):
    """All dims of heads of 128 turn."""

    dim = 128

    def inputs(self) -> Arrays:
        cos, sin = rope_tables(self.length, self.dim)
        return {"x": normal(0, self.length, self.width), "cos": cos, "sin": sin}

    def parameters(self) -> frozenset[str]:
        return frozenset(["cos", "sin"])

    def reference(self, rows: np.ndarray) -> Reference:
        x, cos, sin = (array.astype(np.float64) for array in self.inputs().values())
        x = x[rows].reshape(-1, self.width // self.dim, self.dim)
        return {"turned": rotate(x, cos[rows], sin[rows]).reshape(len(rows), -1)}
