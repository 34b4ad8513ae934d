"""What the kernels are given, what they should make of it, and how much work that is.

References are in f32, in NumPy or in PyTorch.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = [
    "TOLERANCE",
    "Case",
    "Sizes",
    "difference",
    "expected",
    "inputs",
    "shapes",
    "turned",
    "work",
]

TOLERANCE = {"bf16": 2e-2, "f16": 4e-3, "f32": 1e-5}
"""Largest error that :func:`difference` may find."""

Sizes = dict[str, int]
Case = dict[str, Any]


def shapes(case: Case, sizes: Sizes) -> list[tuple[tuple[int, ...], str]]:
    """Shape and dtype of each argument; ``int`` for lengths."""
    attrs, dtype = case["attrs"], case["attrs"]["dtype"]
    if case["kind"] == "attention":
        dims, b = attrs["head_dim"], sizes["B"]
        q = (b, sizes["S"], attrs["num_heads"] * dims)
        k = (b, sizes["K"], attrs["num_kv_heads"] * dims)
        found = [(q, dtype), (k, dtype), (k, dtype)]
        if attrs["rope"]:
            found += [((sizes["S"], dims // 2), "cos"), ((sizes["S"], dims // 2), "sin")]
        if attrs.get("lengths"):
            found.append(((b,), "lengths"))
        return found
    if case["kind"] == "matmul":
        m, n, x = (sizes[letter] for letter in "MNX")
        weight = (n, x) if attrs["transpose_weight"] else (x, n)
        return [((m, x), dtype), (weight, dtype)]
    if case["kind"] == "rope":
        half = attrs["head_dim"] // 2
        x = (sizes["B"], sizes["S"], sizes["W"])
        return [(x, dtype), ((sizes["S"], half), "cos"), ((sizes["S"], half), "sin")]
    shape = (sizes["M"], sizes["N"])
    second = (sizes["N"],) if case["kind"] == "rms_norm" else shape
    return [(shape, dtype), (second, dtype)]


def angles(shape: tuple[int, ...]) -> np.ndarray:
    rows, columns = shape
    return np.arange(rows)[:, None] * 10000.0 ** (-np.arange(columns) / columns)


def inputs(case: Case, sizes: Sizes, seed: int = 0, without: str | None = None) -> list[Any]:
    """Random f32 arrays, and lengths; None in place of those for the dtype ``without``."""
    rng = np.random.default_rng(seed)
    made: list[Any] = []
    for shape, kind in shapes(case, sizes):
        if kind == without:
            made.append(None)
        elif kind == "lengths":
            # All of the cache while it is timed; otherwise any part of it.
            full = np.full(shape, sizes["K"], np.int32)
            made.append(full if sizes["K"] > 1000 else full - np.arange(*shape, dtype=np.int32))
        elif kind in ("cos", "sin"):
            made.append(getattr(np, kind)(angles(shape)).astype(np.float32))
        else:
            made.append(rng.standard_normal(shape, np.float32))
    return made


# -- references, in NumPy or in PyTorch: f32 -------------------------------------------------------


def turned(x: Any, cos: Any, sin: Any, dims: int, concat: Callable[..., Any]) -> Any:
    shape = x.shape
    x = x.reshape(*shape[:2], -1, dims)
    a, b = x[..., : dims // 2], x[..., dims // 2 :]
    cos, sin = cos[:, None], sin[:, None]
    return concat([a * cos - b * sin, b * cos + a * sin], -1).reshape(shape)


def attended(attrs: dict[str, Any], q: Any, k: Any, v: Any, length: int, xp: Any) -> Any:
    """One row of the batch: [S, H * D] and [K, G * D]; ``xp`` is NumPy or PyTorch."""
    dims, heads, groups = attrs["head_dim"], attrs["num_heads"], attrs["num_kv_heads"]
    rows, keys = q.shape[0], k.shape[0]
    out = xp.zeros_like(q)
    device = {} if xp is np else {"device": q.device}
    i = xp.arange(rows, **device)[:, None] + (length - rows)
    j = xp.arange(keys, **device)[None]
    seen = (j <= i) & (j < length)
    if attrs.get("left_window", -1) >= 0:
        seen = seen & (i - j <= attrs["left_window"])
    for head in range(heads):
        group = head // (heads // groups)
        at, from_ = slice(head * dims, (head + 1) * dims), slice(group * dims, (group + 1) * dims)
        scores = q[:, at] @ k[:, from_].T * dims**-0.5
        if cap := attrs.get("softcap", 0.0):
            scores = cap * xp.tanh(scores / cap)
        scores = xp.where(seen, scores, scores * 0 - math.inf)
        weights = xp.exp(
            scores - (scores.max(-1).values if xp is not np else scores.max(-1))[:, None]
        )
        out[:, at] = weights @ v[:, from_] / weights.sum(-1)[:, None]
    return out


def expected(case: Case, arrays: list[Any], xp: Any) -> Any:
    """The reference; ``arrays`` hold f32 values."""
    attrs, kind = case["attrs"], case["kind"]
    concat = np.concatenate if xp is np else xp.cat
    if kind == "attention":
        q, k, v, *rest = arrays
        if attrs["rope"]:
            q, k = (turned(x, *rest[:2], attrs["head_dim"], concat) for x in (q, k))
        lengths = rest[-1] if attrs.get("lengths") else [k.shape[1]] * len(q)
        rows = [attended(attrs, q[b], k[b], v[b], int(lengths[b]), xp) for b in range(len(q))]
        return xp.stack(rows)
    if kind == "matmul":
        a, w = arrays
        return a @ (w.T if attrs["transpose_weight"] else w)
    if kind == "rope":
        return turned(*arrays, attrs["head_dim"], concat)
    a, b = arrays
    if kind == "rms_norm":
        square = (a * a).mean(-1)[:, None]
        return a * (square + 1e-5) ** -0.5 * b
    return a / (1 + xp.exp(-a)) * b


def difference(actual: Any, wanted: Any, xp: Any) -> float:
    """The largest error of a row, as a norm relative to the row's; NaN counts as infinite.

    A single element may be wrong by five times as much, relative to itself and the root mean square
    of its row.
    """
    error, square = actual - wanted, wanted * wanted
    rms = square.mean(-1) ** 0.5 + 1e-30
    rows = ((error * error).mean(-1) ** 0.5 / rms).max()
    elements = (xp.abs(error) / (xp.abs(wanted) + rms[..., None])).max()
    worst = max(float(rows), float(elements) / 5)
    return worst if math.isfinite(float(rows) + float(elements)) else math.inf


# -- work, for shares of peaks ---------------------------------------------------------------------


def work(case: Case, sizes: Sizes) -> tuple[float, float]:
    """Floating-point operations, and bytes that must be moved."""
    attrs = case["attrs"]
    if case["kind"] == "attention":
        rows, keys, dims = sizes["S"], sizes["K"], attrs["head_dim"]
        window = attrs.get("left_window", -1) + 1 or keys
        seen = sum(min(keys - rows + i + 1, window) for i in range(rows))
        flops = 4.0 * sizes["B"] * attrs["num_heads"] * dims * seen
    elif case["kind"] == "matmul":
        flops = 2.0 * sizes["M"] * sizes["N"] * sizes["X"]
    else:
        flops = 0.0
    size = {"bf16": 2, "f16": 2, "f32": 4, "lengths": 4, "cos": 2, "sin": 2}
    moved = [math.prod(shape) * size[kind] for shape, kind in shapes(case, sizes)]
    out = sizes["M"] * sizes["N"] * 2 if case["kind"] == "matmul" else moved[0]
    return flops, float(sum(moved) + out)
