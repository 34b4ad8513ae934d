"""Attention, perhaps with rotary embedding of queries and keys on its way in."""

from dataclasses import dataclass

import numpy as np

from bench.cases.base import BYTES, Arrays, Case, Reference, normal

__all__ = ["Attention", "attend", "rope_tables", "rotate"]

BARE, ROPE = "bare", "rope"


def rope_tables(positions: int, n_rot: int, theta: float = 10000.0) -> tuple[np.ndarray, ...]:
    """Cosines and sines [positions, n_rot / 2], f32."""
    speed = theta ** -(np.arange(0, n_rot, 2, dtype=np.float64) / n_rot)
    angles = np.arange(positions)[:, None] * speed
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """``x`` [..., S, heads, D] turned by tables [S, n_rot / 2], first half against second half."""
    half = cos.shape[-1]
    cos, sin = cos[:, None], sin[:, None]
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], -1)


def attend(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, visible: np.ndarray, softcap: float = 0.0
) -> np.ndarray:
    """Queries [R, Hq, D] over keys and values [K, Hkv, D] where ``visible`` [R, K]: [R, Hq * D]."""
    group = q.shape[1] // k.shape[1]
    out = np.empty(q.shape)
    for h in range(q.shape[1]):
        scores = q[:, h] @ k[:, h // group].T * q.shape[2] ** -0.5
        if softcap:
            scores = softcap * np.tanh(scores / softcap)
        scores = np.where(visible, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        out[:, h] = weights / weights.sum(-1, keepdims=True) @ v[:, h // group]
    return out.reshape(len(q), -1)


@dataclass(frozen=True)
class Attention(Case):
    """Causal attention.

    Attributes:
        heads, kv_heads, dim: query heads, key heads, and how wide they are.
        queries, keys: rows; the queries are the last ones.
        window: how many keys a query sees; 0 for all.
        softcap: bound of the scores; 0 for none.
        scale: of the queries' elements.
        batch: how many sequences.
    """

    heads: int = 0
    kv_heads: int = 0
    dim: int = 0
    queries: int = 0
    keys: int = 0
    window: int = 0
    softcap: float = 0.0
    scale: float = 1.0
    batch: int = 1

    @property
    def n_rot(self) -> int:
        return self.dim // 2 // 2 * 2

    def inputs(self) -> Arrays:
        b, d = self.batch, self.dim
        cos, sin = rope_tables(self.keys, self.n_rot)
        return {
            "q": normal(0, b, self.queries, self.heads * d, scale=self.scale),
            "k": normal(1, b, self.keys, self.kv_heads * d),
            "v": normal(2, b, self.keys, self.kv_heads * d),
            "cos": cos,
            "sin": sin,
        }

    def parameters(self) -> frozenset[str]:
        return frozenset(["cos", "sin"])

    def rows(self) -> int:
        return self.batch * self.queries

    def visible(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Which keys query rows see, [rows, K]."""
        rows = np.arange(self.queries) if rows is None else rows
        position = rows[:, None] + self.keys - self.queries
        key = np.arange(self.keys)
        return (key <= position) & (key > position - (self.window or self.keys + 1))

    def reference(self, rows: np.ndarray) -> Reference:
        arrays = {name: array.astype(np.float64) for name, array in self.inputs().items()}
        q = arrays["q"].reshape(-1, self.queries, self.heads, self.dim)
        k, v = (arrays[n].reshape(-1, self.keys, self.kv_heads, self.dim) for n in "kv")
        tables = arrays["cos"], arrays["sin"]
        last = [table[self.keys - self.queries :] for table in tables]
        turned_q = rotate(q, *last)
        # When decoding, the cache holds keys that have been turned before.
        turned_k = k if self.queries == 1 else rotate(k, *tables)
        found = {}
        for problem, queries, keys in ((BARE, q, k), (ROPE, turned_q, turned_k)):
            out = np.empty((len(rows), self.heads * self.dim))
            for number, row in enumerate(rows):
                batch, at = divmod(row, self.queries)
                one = np.array([at])
                out[number] = attend(
                    queries[batch, one], keys[batch], v[batch], self.visible(one), self.softcap
                )
            found[problem] = out
        return found

    def pairs(self) -> int:
        """How many pairs of a query and a key see each other."""
        seen = np.arange(self.queries) + self.keys - self.queries + 1
        return int((np.minimum(seen, self.window) if self.window else seen).sum())

    def flops(self) -> float:
        return 4.0 * self.batch * self.heads * self.dim * self.pairs()

    def bytes(self, dtype: str) -> float:
        seen = min(self.keys, self.window + self.queries) if self.window else self.keys
        rows = 2 * self.queries * self.heads + 2 * seen * self.kv_heads
        return float(self.batch * rows * self.dim * BYTES[dtype])
