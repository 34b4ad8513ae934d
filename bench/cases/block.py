"""The attention block of a decoder layer: projections, rotary embedding, attention, projection."""

from dataclasses import dataclass

import numpy as np

from bench.cases.attention import Attention, attend, rope_tables, rotate
from bench.cases.base import BYTES, Arrays, Case, Reference, normal

__all__ = ["Block"]


@dataclass(frozen=True)
class Block(Case):
    """Hidden states [1, S, hidden] to [1, S, hidden], without norms and residual.

    Attributes:
        hidden: width of the hidden states.
        heads, kv_heads, dim: query heads, key heads, and how wide they are.
        length: S.
    """

    hidden: int = 0
    heads: int = 0
    kv_heads: int = 0
    dim: int = 0
    length: int = 0

    def widths(self) -> dict[str, tuple[int, int]]:
        """Shapes of the weights, [out, in]."""
        q, k = self.heads * self.dim, self.kv_heads * self.dim
        return {
            "wq": (q, self.hidden),
            "wk": (k, self.hidden),
            "wv": (k, self.hidden),
            "wo": (self.hidden, q),
        }

    def inputs(self) -> Arrays:
        arrays = {"x": normal(0, 1, self.length, self.hidden)}
        for seed, (name, shape) in enumerate(self.widths().items(), 1):
            arrays[name] = normal(seed, *shape, scale=shape[1] ** -0.5)
        arrays["cos"], arrays["sin"] = rope_tables(self.length, self.dim)
        return arrays

    def parameters(self) -> frozenset[str]:
        return frozenset([*self.widths(), "cos", "sin"])

    def rows(self) -> int:
        return self.length

    def reference(self, rows: np.ndarray) -> Reference:
        arrays = {name: array.astype(np.float64) for name, array in self.inputs().items()}
        x, tables = arrays["x"][0], (arrays["cos"], arrays["sin"])
        q = (x[rows] @ arrays["wq"].T).reshape(-1, self.heads, self.dim)
        k, v = ((x @ arrays[n].T).reshape(-1, self.kv_heads, self.dim) for n in ("wk", "wv"))
        visible = np.arange(self.length) <= rows[:, None]
        q = rotate(q, *(table[rows] for table in tables))
        return {"block": attend(q, rotate(k, *tables), v, visible) @ arrays["wo"].T}

    def _attention(self) -> Attention:
        s = self.length
        return Attention("", "", self.heads, self.kv_heads, self.dim, s, s)

    def _weights(self) -> int:
        return sum(rows * columns for rows, columns in self.widths().values())

    def flops(self) -> float:
        return 2.0 * self.length * self._weights() + self._attention().flops()

    def bytes(self, dtype: str) -> float:
        return float((self._weights() + 2 * self.length * self.hidden) * BYTES[dtype])
