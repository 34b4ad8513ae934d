"""PyTorch compiled by Inductor: as it is by default, and with all that it offers."""

from collections.abc import Callable
from typing import Any

from bench.cases import Attention, Block, Case
from bench.peers.base import Variant, Variants
from bench.peers.torch_eager import (
    Program,
    TorchEager,
    attention,
    block,
    programs,
    tensors,
    variant,
)

__all__ = ["TorchCompile"]


class TorchCompile(TorchEager):
    name = "torch.compile"

    def variants(self, case: Case, dtype: str) -> Variants:
        if dtype not in ("f32", "bf16"):
            return {}
        found: Variants = {}

        def add(name: str, make: Callable[[], Program], **options: Any) -> None:
            found[f"torch.compile {name}"] = lambda: compiled(case, make, **options)

        if isinstance(case, Attention):
            if case.softcap:
                add("maths", lambda: attention(case, dtype, False, True))
            else:
                add("rope + SDPA", lambda: attention(case, dtype, True, False))
            add("flex", lambda: _flex(case, dtype))
        elif isinstance(case, Block):
            for name in ("SDPA gqa",):
                add(name, programs(case, dtype)[name])
                add(f"{name}, freezing", programs(case, dtype)[name], freezing=True)
                tuned = {"freezing": True, "autotune": True}
                add(f"{name}, freezing, max-autotune", programs(case, dtype)[name], **tuned)
            add("flex, freezing", lambda: _flex_block(case, dtype), freezing=True)
        else:
            for name, make in programs(case, dtype).items():
                add(name, make)
                if case.parameters() and name == "linear":
                    constant = _constant_weight(case, dtype)
                    add("linear, freezing, max-autotune", constant, freezing=True, autotune=True)
        return found


def compiled(
    case: Case, make: Callable[[], Program], *, freezing: bool = False, autotune: bool = False
) -> Variant:
    """A program, compiled on its first run, which happens here."""
    import torch
    from torch._inductor import config

    torch._dynamo.reset()
    problem, function, inputs = make()
    mode = "max-autotune-no-cudagraphs" if autotune else None
    fast = torch.compile(function, dynamic=False, mode=mode)
    with config.patch(freezing=freezing):
        fast(*inputs)
    return variant(case, problem, fast, inputs)


def _constant_weight(case: Case, dtype: str) -> Callable[[], Program]:
    def make() -> Program:
        import torch

        found = tensors(case, dtype)
        layer = torch.nn.Linear(*reversed(found["w"].shape), bias=False, dtype=found["w"].dtype)
        layer.weight.copy_(found["w"])
        return "", layer.eval(), [found["x"]]

    return make


def _flex_core(case: Any, queries: int, keys: int, window: int, softcap: float) -> Any:
    import torch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    start = keys - queries

    def visible(batch: Any, head: Any, q: Any, k: Any) -> Any:
        seen = q + start >= k
        return seen & (q + start - k < window) if window else seen

    def bound(score: Any, *_: Any) -> Any:
        return torch.tanh(score / softcap) * softcap

    mask = None
    if queries > 1:
        mask = create_block_mask(visible, None, None, queries, keys, device="cpu")
    options = {"score_mod": bound if softcap else None, "block_mask": mask}

    def run(q: Any, k: Any, v: Any) -> Any:
        return flex_attention(q, k, v, enable_gqa=case.heads > case.kv_heads, **options)

    return run


def _flex(case: Attention, dtype: str) -> Program:
    core = _flex_core(case, case.queries, case.keys, case.window, case.softcap)
    _, _, inputs = attention(case, dtype, False, bool(case.softcap))
    return "bare", core, inputs


def _flex_block(case: Block, dtype: str) -> Program:
    core = _flex_core(case, case.length, case.length, 0, 0.0)
    return "", block(case, dtype, False, core), [tensors(case, dtype)["x"]]
