"""PyTorch, op by op."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases import Attention, Block, Case, Glu, LayerNorm, Matmul, RmsNorm, Rope
from bench.peers.base import Peer, Variant, Variants

__all__ = ["TorchEager", "programs", "variant"]

Program = tuple[str, Callable[..., Any], list[Any]]
"""A problem, a function (or module) on tensors, and what it is called with."""


class TorchEager(Peer):
    name = "torch"
    modules = ("torch",)
    distributions = ("torch",)

    def __init__(self, threads: int):
        super().__init__(threads)
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)

    def variants(self, case: Case, dtype: str) -> Variants:
        makers = programs(case, dtype)
        return {
            f"torch {name}": lambda make=make: variant(case, *make())
            for name, make in makers.items()
        }


def variant(case: Case, problem: str, function: Callable[..., Any], inputs: list[Any]) -> Variant:
    """``function`` on ``inputs``; what it gives is brought into the shape of the reference."""

    def result(found: Any) -> np.ndarray:
        if isinstance(case, Attention):
            found = found.transpose(1, 2)
        return found.float().reshape(case.rows(), -1).numpy()

    return Variant(lambda: function(*inputs), result, problem)


def programs(case: Case, dtype: str) -> dict[str, Callable[[], Program]]:
    """Ways to write a case in PyTorch, each made when it is called; none for what it lacks."""
    if dtype not in ("f32", "bf16"):
        return {}
    if isinstance(case, Attention):
        ways = {} if case.softcap else {"SDPA": (False, False), "rope + SDPA": (True, False)}
        if case.softcap:
            ways["maths"] = (False, True)
        return {
            name: lambda rope=rope, maths=maths: attention(case, dtype, rope, maths)
            for name, (rope, maths) in ways.items()
        }
    if isinstance(case, Block):
        return {
            "SDPA gqa": lambda: ("", block(case, dtype, False), [tensors(case, dtype)["x"]]),
            "SDPA repeat_kv": lambda: ("", block(case, dtype, True), [tensors(case, dtype)["x"]]),
        }
    simple = _simple(case)
    if simple is None:
        return {}
    name, function = simple
    return {name: lambda: ("", function, list(tensors(case, dtype).values()))}


def _simple(case: Case) -> tuple[str, Callable[..., Any]] | None:
    from torch.nn import functional

    if isinstance(case, Matmul):
        return "linear", functional.linear
    if isinstance(case, RmsNorm):
        return "rms_norm", lambda x, w: functional.rms_norm(x, w.shape, w, 1e-6)
    if isinstance(case, LayerNorm):
        return "layer_norm", lambda x, w, b: functional.layer_norm(x, w.shape, w, b, 1e-5)
    if isinstance(case, Glu):
        return "silu * up", lambda gate, up: functional.silu(gate) * up
    if isinstance(case, Rope):
        shape = (case.length, -1, case.dim)

        def turn(x: Any, cos: Any, sin: Any) -> Any:
            # Tables of [S, 1, dim] would be made ahead, as Transformers does for all layers.
            return rope(x.view(shape), cos[:, None], sin[:, None]).view(x.shape)

        return "rope", lambda x, cos, sin: turn(x, cos, sin)
    return None


def tensors(case: Case, dtype: str) -> dict[str, Any]:
    """The case's inputs; tables of angles are as wide as what they turn."""
    import torch

    kind = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
    found = {name: torch.from_numpy(array).to(kind) for name, array in case.inputs().items()}
    for name in {"cos", "sin"} & set(found):
        found[name] = torch.cat((found[name], found[name]), -1)
    return found


def rope(x: Any, cos: Any, sin: Any) -> Any:
    """The first dims of ``x`` turned, first half against second half."""
    import torch

    width = cos.shape[-1]
    turned, rest = x[..., :width], x[..., width:]
    a, b = turned.chunk(2, -1)
    turned = turned * cos + torch.cat((-b, a), -1) * sin
    return torch.cat((turned, rest), -1) if rest.shape[-1] else turned


def repeat(x: Any, group: int) -> Any:
    """Each head of [B, H, S, D] ``group`` times."""
    b, h, s, d = x.shape
    return x[:, :, None].expand(b, h, group, s, d).reshape(b, h * group, s, d)


def attention(case: Attention, dtype: str, with_rope: bool, maths: bool) -> Program:
    """Scaled dot product attention of heads that lie apart, as the library wants them."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    found = tensors(case, dtype)
    q, k, v = (
        found[name].view(case.batch, length, heads, case.dim).transpose(1, 2).contiguous()
        for name, length, heads in (
            ("q", case.queries, case.heads),
            ("k", case.keys, case.kv_heads),
            ("v", case.keys, case.kv_heads),
        )
    )
    cos, sin = found["cos"], found["sin"]
    start = case.keys - case.queries
    masked = bool(case.window) or 1 < case.queries < case.keys
    visible = torch.from_numpy(case.visible())
    causal = not masked and case.queries > 1
    group = case.heads // case.kv_heads
    hidden = torch.where(visible, 0.0, torch.finfo(q.dtype).min).to(q.dtype)

    def run(q: Any, k: Any, v: Any) -> Any:
        if with_rope:
            q = rope(q, cos[start:], sin[start:])
            k = k if case.queries == 1 else rope(k, cos, sin)
        if not maths:
            mask = visible if masked else None
            return sdpa(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=group > 1)
        scores = torch.matmul(q, repeat(k, group).transpose(2, 3)) * case.dim**-0.5
        scores = torch.tanh(scores / case.softcap) * case.softcap + hidden
        weights = torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype)
        return torch.matmul(weights, repeat(v, group))

    return "rope" if with_rope else "bare", run, [q, k, v]


def block(case: Block, dtype: str, repeated: bool, core: Callable[..., Any] | None = None) -> Any:
    """The block as a module; ``core`` takes the place of the library's attention."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    found = tensors(case, dtype)
    group = case.heads // case.kv_heads

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name in ("wq", "wk", "wv", "wo"):
                rows, columns = found[name].shape
                layer = torch.nn.Linear(columns, rows, bias=False, dtype=found[name].dtype)
                layer.weight.copy_(found[name])
                setattr(self, name, layer)
            self.register_buffer("cos", found["cos"])
            self.register_buffer("sin", found["sin"])

        def forward(self, x: Any) -> Any:
            b, s, _ = x.shape
            q, k, v = (
                layer(x).view(b, s, -1, case.dim).transpose(1, 2)
                for layer in (self.wq, self.wk, self.wv)
            )
            q, k = rope(q, self.cos, self.sin), rope(k, self.cos, self.sin)
            if core is not None:
                out = core(q, k, v)
            elif repeated:
                out = sdpa(q, repeat(k, group), repeat(v, group), is_causal=True)
            else:
                out = sdpa(q, k, v, is_causal=True, enable_gqa=group > 1)
            return self.wo(out.transpose(1, 2).reshape(b, s, -1))

    return Module().eval()
