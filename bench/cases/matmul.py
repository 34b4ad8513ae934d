"""A product with a weight matrix."""

from dataclasses import dataclass

import numpy as np

from bench.cases.base import BYTES, Arrays, Case, Reference, normal

__all__ = ["Matmul"]


@dataclass(frozen=True)
class Matmul(Case):
    """Activations [m, k] times the transpose of a weight [n, k]."""

    m: int = 0
    k: int = 0
    n: int = 0

    def inputs(self) -> Arrays:
        w = normal(1, self.n, self.k, scale=self.k**-0.5)
        return {"x": normal(0, self.m, self.k), "w": w}

    def parameters(self) -> frozenset[str]:
        return frozenset("w")

    def rows(self) -> int:
        return self.m

    def reference(self, rows: np.ndarray) -> Reference:
        x, w = (array.astype(np.float64) for array in self.inputs().values())
        return {"matmul": x[rows] @ w.T}

    def flops(self) -> float:
        return 2.0 * self.m * self.k * self.n

    def bytes(self, dtype: str) -> float:
        return float((self.m * self.k + self.n * self.k + self.m * self.n) * BYTES[dtype])
