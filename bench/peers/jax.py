"""JAX, compiled by XLA."""

from typing import Any

import numpy as np

from bench.cases import Attention, Block, Case, Matmul, Prefill
from bench.cases.base import DTYPES
from bench.peers.base import Peer, Variant, Variants

__all__ = ["Jax", "rope"]


class Jax(Peer):
    name = "jax"
    modules = ("jax",)
    distributions = ("jax",)

    def variants(self, case: Case, dtype: str) -> Variants:
        if dtype not in ("f32", "bf16"):
            return {}
        if isinstance(case, Attention) and not case.softcap:
            return {
                "JAX dot_product_attention": lambda: _attention(case, dtype, False),
                "JAX rope + dot_product_attention": lambda: _attention(case, dtype, True),
            }
        if isinstance(case, Block):
            return {"JAX block": lambda: _block(case, dtype)}
        if isinstance(case, Matmul):
            return {"JAX matmul": lambda: _matmul(case, dtype)}
        if isinstance(case, Prefill):
            return {"JAX model": lambda: _prefill(case, dtype)}
        return {}


def _arrays(case: Case, dtype: str) -> dict[str, Any]:
    import jax.numpy as jnp

    return {name: jnp.asarray(array, DTYPES[dtype]) for name, array in case.inputs().items()}


def _variant(case: Case, function: Any, inputs: list[Any], problem: str = "") -> Variant:
    import jax

    fast = jax.jit(function)

    def result(found: Any) -> np.ndarray:
        return np.asarray(found, np.float32).reshape(case.rows(), -1)

    return Variant(lambda: fast(*inputs).block_until_ready(), result, problem)


def rope(x: Any, cos: Any, sin: Any) -> Any:
    """``x`` [B, S, H, D] turned by tables [S, n_rot / 2]."""
    import jax.numpy as jnp

    half = cos.shape[-1]
    cos, sin = cos[:, None], sin[:, None]
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return jnp.concatenate((a * cos - b * sin, b * cos + a * sin, rest), -1)


def _attention(case: Attention, dtype: str, with_rope: bool) -> Variant:
    import jax

    found = _arrays(case, dtype)
    start = case.keys - case.queries
    q, k, v = (
        found[n].reshape(case.batch, -1, heads, case.dim)
        for n, heads in (("q", case.heads), ("k", case.kv_heads), ("v", case.kv_heads))
    )
    masked = bool(case.window) or 1 < case.queries < case.keys
    mask = case.visible()[None, None] if masked else None
    cos, sin = found["cos"], found["sin"]

    def run(q: Any, k: Any, v: Any, cos: Any, sin: Any) -> Any:
        if with_rope:
            q = rope(q, cos[start:], sin[start:])
            k = k if case.queries == 1 else rope(k, cos, sin)
        causal = not masked and case.queries > 1
        return jax.nn.dot_product_attention(q, k, v, mask=mask, is_causal=causal)

    return _variant(case, run, [q, k, v, cos, sin], "rope" if with_rope else "bare")


def _block(case: Block, dtype: str) -> Variant:
    import jax

    def run(x: Any, wq: Any, wk: Any, wv: Any, wo: Any, cos: Any, sin: Any) -> Any:
        shape = (1, case.length, -1, case.dim)
        q, k, v = ((x @ w.T).reshape(shape) for w in (wq, wk, wv))
        q, k = rope(q, cos, sin), rope(k, cos, sin)
        out = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        return out.reshape(1, case.length, -1) @ wo.T

    return _variant(case, run, list(_arrays(case, dtype).values()))


def _prefill(case: Prefill, dtype: str) -> Variant:
    from bench.peers.jax_model import make_prefill

    return _variant(case, *make_prefill(case, DTYPES[dtype]))


def _matmul(case: Matmul, dtype: str) -> Variant:
    return _variant(case, lambda x, w: x @ w.T, list(_arrays(case, dtype).values()))
