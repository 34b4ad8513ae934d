"""What else computes the same, in PyTorch and in Triton."""

from collections.abc import Callable
from typing import Any

from bench.cuda.references import Case, turned

__all__ = ["peers"]

Call = Callable[[], Any]


def peers(case: Case, arrays: list[Any], torch: Any) -> dict[str, Call]:
    """Other implementations by name; some may fail when they are called."""
    attrs, kind = case["attrs"], case["kind"]
    functional = torch.nn.functional
    torch._dynamo.reset()  # else what was compiled for other sizes is made to take these, too

    def compiled(function: Callable[..., Any]) -> Call:
        made = torch.compile(function, dynamic=False)
        return lambda: made(*arrays)

    if kind == "matmul":
        a, w = arrays
        return {"cublas": (lambda: a @ w.T) if attrs["transpose_weight"] else (lambda: a @ w)}
    if kind == "rms_norm":

        def norm(x: Any, w: Any) -> Any:
            return functional.rms_norm(x, (x.shape[-1],), w, 1e-5)

        return {"torch": lambda: norm(*arrays), "inductor": compiled(norm)}
    if kind == "glu":
        return {"inductor": compiled(lambda x, y: functional.silu(x) * y)}
    if kind == "rope":
        return {"inductor": compiled(lambda x, c, s: turned(x, c, s, attrs["head_dim"], torch.cat))}
    if attrs.get("left_window", -1) >= 0 or attrs.get("softcap"):
        return _flex(attrs, arrays, torch)
    return _attention(attrs, arrays, torch)


def _heads(array: Any, dims: int) -> Any:
    """[B, S, H * D] as a view [B, H, S, D]."""
    return array.reshape(*array.shape[:2], -1, dims).transpose(1, 2)


def _flex(attrs: dict[str, Any], arrays: list[Any], torch: Any) -> dict[str, Call]:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    q, k, v = (_heads(x, attrs["head_dim"]) for x in arrays[:3])
    rows, keys = q.shape[2], k.shape[2]
    window, cap = attrs.get("left_window", keys), attrs.get("softcap", 0.0)

    def seen(b: Any, h: Any, i: Any, j: Any) -> Any:
        return (j <= i) & (i - j <= window)

    def score(s: Any, b: Any, h: Any, i: Any, j: Any) -> Any:
        return cap * torch.tanh(s / cap) if cap else s

    mask = create_block_mask(seen, None, None, rows, keys, device="cuda")
    compiled = torch.compile(flex_attention, dynamic=False)
    return {"flex": lambda: compiled(q, k, v, score_mod=score, block_mask=mask, enable_gqa=True)}


def _attention(attrs: dict[str, Any], arrays: list[Any], torch: Any) -> dict[str, Call]:
    """PyTorch's back ends and Triton: after rotation, and with it where we rotate, too."""
    dims, heads, groups = attrs["head_dim"], attrs["num_heads"], attrs["num_kv_heads"]
    found: dict[str, Callable[..., Any]] = {}
    for name in ("flash", "cudnn", "efficient"):
        found[name] = _back_end(name, dims, heads // groups, torch)
    if arrays[0].shape[1] > 1:  # its blocks are of many queries
        try:
            from bench.cuda.triton_attention import attention

            found["triton"] = lambda q, k, v: attention(q, k, v, heads, groups)
        except ImportError as error:
            print(f"    triton: {error}")
    calls: dict[str, Call] = {
        name: lambda call=call: call(*arrays[:3])  # type: ignore[misc]
        for name, call in found.items()
    }
    if attrs["rope"]:
        turn = torch.compile(lambda x, c, s: turned(x, c, s, dims, torch.cat), dynamic=False)

        def both(call: Callable[..., Any]) -> Any:
            q, k, v, cos, sin = arrays
            return call(turn(q, cos, sin), turn(k, cos, sin), v)

        for name in ("flash", "cudnn"):
            calls[f"rope+{name}"] = lambda call=found[name]: both(call)  # type: ignore[misc]
    return calls


def _back_end(name: str, dims: int, shared: int, torch: Any) -> Callable[..., Any]:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    backend = getattr(SDPBackend, f"{name.upper()}_ATTENTION")
    repeated: dict[int, Any] = {}

    def repeat(x: Any) -> Any:
        """This back end has no groups; it does not pay for the copies."""
        if x.data_ptr() not in repeated:
            repeated[x.data_ptr()] = x.repeat_interleave(shared, 1)
        return repeated[x.data_ptr()]

    def attend(q: Any, k: Any, v: Any) -> Any:
        q, k, v = (_heads(x, dims) for x in (q, k, v))
        if name == "efficient":
            k, v = repeat(k), repeat(v)
        with sdpa_kernel(backend):
            return torch.nn.functional.scaled_dot_product_attention(
                q, k, v, is_causal=q.shape[2] == k.shape[2], enable_gqa=name != "efficient"
            )

    return attend
