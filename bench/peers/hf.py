"""Transformers on PyTorch: op by op, and compiled by Inductor."""

from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np

from bench.cases import Case, Decode, Prefill
from bench.cases.model import CAPACITY, Model
from bench.peers.base import Variant, Variants
from bench.peers.torch_eager import TorchEager

__all__ = ["Transformers", "load"]


class Transformers(TorchEager):
    name = "transformers"
    modules = ("torch", "transformers")
    distributions = ("transformers",)

    def variants(self, case: Case, dtype: str) -> Variants:
        if not isinstance(case, Model) or dtype not in ("f32", "bf16"):
            return {}
        ways = {
            "transformers": {},
            "transformers compiled": {"compiled": True},
            "transformers compiled, freezing": {"compiled": True, "freezing": True},
        }
        return {
            name: lambda options=options: _variant(case, dtype, **options)
            for name, options in ways.items()
        }


def _variant(case: Model, dtype: str, compiled: bool = False, freezing: bool = False) -> Variant:
    import torch
    from torch._inductor import config
    from transformers import DynamicCache, StaticCache

    torch._dynamo.reset()
    model = load(case.geometry, dtype)
    ids = torch.from_numpy(case.inputs()["ids"])

    def new_cache() -> Any:
        if compiled:
            return StaticCache(config=model.config, max_cache_len=CAPACITY)
        return DynamicCache(config=model.config)

    def step(tokens: Any, past: Any, positions: Any) -> Any:
        options = {"past_key_values": past, "position_ids": positions, "use_cache": True}
        return model(input_ids=tokens, logits_to_keep=1, **options).logits

    cache = new_cache()
    if compiled:
        # Lazy allocation of the cache must not be traced.
        step(ids[:, :8], cache, torch.arange(8)[None])
        cache.reset()

    def prefill(run: Callable[..., Any]) -> Any:
        return run(ids[:, : case.prompt], cache, torch.arange(case.prompt)[None])

    def reset() -> None:
        nonlocal cache
        if compiled:
            cache.reset()
        else:
            cache = new_cache()

    def result(logits: Any) -> np.ndarray:
        return logits[:, -1].float().numpy()

    with config.patch(freezing=freezing):
        # A static size for decoding would recompile on each step: a window's fill is an integer.
        fast = torch.compile(_copy(step), dynamic=False if isinstance(case, Prefill) else None)
        run = fast if compiled else step
        if isinstance(case, Prefill):
            if compiled:
                prefill(run)
                reset()
            return Variant(lambda: prefill(run), result, after=reset)
        assert isinstance(case, Decode)
        prefill(step)
        token = ids[:, case.prompt :]
        position = torch.tensor([[case.prompt]])
        # The compiler learns from the second length that lengths change.
        for _ in range(2 if compiled else 0):
            run(token, cache, position)
        reset()
        prefill(step)

    steps = 0

    def after() -> None:
        """Starts again after the first step, so that the next one is exact, and when full."""
        nonlocal steps
        steps += 1
        if steps == 1 or steps % (CAPACITY - case.prompt - 2) == 0:
            reset()
            prefill(step)

    return Variant(lambda: run(token, cache, position), result, after=after)


def _copy(function: FunctionType) -> Callable[..., Any]:
    """The same function for a compiler that remembers by code what it made, of other caches too."""
    code = function.__code__.replace()
    return FunctionType(code, function.__globals__, closure=function.__closure__)


@lru_cache(maxsize=2)
def load(geometry: Any, dtype: str) -> Any:
    """The model in ``"f32"`` or ``"bf16"``; the last two are kept."""
    import torch
    from transformers import AutoModelForCausalLM

    kind = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
    model = AutoModelForCausalLM.from_pretrained(geometry.checkpoint(), dtype=kind)
    return model.eval()
