"""Runs compiled kernels on a GPU: checks them, and times them beside their peers.

Lies in a folder of its own, with what was compiled and with the runtime; needs NumPy, PyTorch and
cuda-bindings. Times are medians over rounds in which all take turns, by CUDA events; each is the
time of a call, with what it takes to launch. Where a peer cannot be had, its column stays empty.

    python run.py            check, and time
    python run.py --quick    check only
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
TOLERANCE = {"bf16": 2e-2, "f16": 4e-3, "f32": 1e-5}
"""Largest error, relative to the expected element and the root mean square of all."""

Sizes = dict[str, int]
Case = dict[str, Any]


# -- arrays: the same inputs for all ---------------------------------------------------------------


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


def inputs(case: Case, sizes: Sizes, seed: int = 0) -> list[np.ndarray]:
    """Random f32 arrays, and lengths."""
    rng = np.random.default_rng(seed)
    made = []
    for shape, kind in shapes(case, sizes):
        if kind == "lengths":
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
    """The largest error, relative to the element and the root mean square; NaN counts as inf."""
    scale = (wanted * wanted).mean() ** 0.5
    error = (xp.abs(actual - wanted) / (xp.abs(wanted) + scale + 1e-30)).max()
    return float(error) if math.isfinite(float(error)) else math.inf


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


# -- PyTorch ---------------------------------------------------------------------------------------


def peers(case: Case, arrays: list[Any], torch: Any) -> dict[str, Callable[[], Any]]:
    """What else computes the same, by name."""
    attrs, kind = case["attrs"], case["kind"]
    functional = torch.nn.functional
    if kind == "matmul":
        a, w = arrays
        return {"cublas": (lambda: a @ w.T) if attrs["transpose_weight"] else (lambda: a @ w)}
    if kind == "rms_norm":
        a, w = arrays
        return {"torch": lambda: functional.rms_norm(a, (a.shape[-1],), w, 1e-5)}
    if kind == "glu":
        gate, up = arrays
        compiled = torch.compile(lambda x, y: functional.silu(x) * y)
        return {"inductor": lambda: compiled(gate, up)}
    if kind == "rope":
        compiled = torch.compile(lambda x, c, s: turned(x, c, s, attrs["head_dim"], torch.cat))
        return {"inductor": lambda: compiled(*arrays)}
    return _attention_peers(attrs, arrays, torch)


def _attention_peers(attrs: dict[str, Any], arrays: list[Any], torch: Any) -> dict[str, Any]:
    q, k, v = (x.reshape(*x.shape[:2], -1, attrs["head_dim"]).transpose(1, 2) for x in arrays[:3])
    rows, keys = q.shape[2], k.shape[2]
    if attrs.get("left_window", -1) >= 0 or attrs.get("softcap"):
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        window, cap = attrs.get("left_window", keys), attrs.get("softcap", 0.0)

        def seen(b: Any, h: Any, i: Any, j: Any) -> Any:
            return (j <= i) & (i - j <= window)

        def score(s: Any, b: Any, h: Any, i: Any, j: Any) -> Any:
            return cap * torch.tanh(s / cap) if cap else s

        mask = create_block_mask(seen, None, None, rows, keys, device="cuda")
        compiled = torch.compile(flex_attention)
        return {
            "flex": lambda: compiled(q, k, v, score_mod=score, block_mask=mask, enable_gqa=True)
        }
    from torch.nn.attention import SDPBackend, sdpa_kernel

    found = {}
    for name, backend in (
        ("flash", SDPBackend.FLASH_ATTENTION),
        ("cudnn", SDPBackend.CUDNN_ATTENTION),
        ("efficient", SDPBackend.EFFICIENT_ATTENTION),
    ):

        def attend(backend: Any = backend) -> Any:
            with sdpa_kernel(backend):
                return torch.nn.functional.scaled_dot_product_attention(
                    q, k, v, is_causal=rows == keys, enable_gqa=True
                )

        found[name] = attend
    return found


class Clock:
    """Times calls on the GPU."""

    def __init__(self, torch: Any, rounds: int):
        self.torch, self.rounds = torch, rounds
        self.scratch = torch.empty(2**30, dtype=torch.uint8, device="cuda")

    def once(self, call: Callable[[], Any]) -> float:
        """Seconds, with a cold cache; clearing it takes longer than a launch from Python."""
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.scratch.zero_()
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    def compare(self, calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
        """Medians in seconds, of those that work; all take turns."""
        working = {}
        for name, call in calls.items():
            try:
                call()
                self.torch.cuda.synchronize()
                call()
                self.torch.cuda.synchronize()
                working[name] = call
            except Exception as error:
                if name == "rlx":
                    raise
                print(f"    {name}: {type(error).__name__}: {str(error).splitlines()[0][:80]}")
        times: dict[str, list[float]] = {name: [] for name in working}
        for _ in range(self.rounds):
            for name, call in working.items():
                times[name].append(self.once(call))
        return {name: float(np.median(found)) for name, found in times.items()}

    def peaks(self) -> tuple[float, float]:
        """Measured: operations per second of a product, bytes per second of a copy."""
        torch = self.torch
        a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
        b = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
        x, y = (torch.empty(2**30, dtype=torch.uint8, device="cuda") for _ in range(2))
        seconds = self.compare({"product": lambda: a @ b, "copy": lambda: y.copy_(x)})
        return 2 * 8192**3 / seconds["product"], 2 * 2**30 / seconds["copy"]


def on_gpu(case: Case, arrays: list[np.ndarray], sizes: Sizes, torch: Any) -> list[Any]:
    dtypes = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
    made = []
    for array, (_, kind) in zip(arrays, shapes(case, sizes), strict=True):
        value = torch.from_numpy(array).cuda()
        if kind != "lengths":
            value = value.to(dtypes[case["attrs"]["dtype"] if kind in ("cos", "sin") else kind])
        made.append(value)
    return made


# -- all of it -------------------------------------------------------------------------------------


def check_small(case: Case, call: Callable[..., Any], to_dtype: Callable[..., Any]) -> float:
    """The error of a small call, in NumPy; ``to_dtype`` rounds an array to a storage type."""
    sizes, dtype = case["small"], case["attrs"]["dtype"]
    arrays = [a if a.dtype == np.int32 else to_dtype(a, dtype) for a in inputs(case, sizes)]
    actual = np.asarray(call(*arrays)).astype(np.float32)
    wide = [a if a.dtype == np.int32 else a.astype(np.float32) for a in arrays]
    return difference(actual, expected(case, wide, np), np)


def run_case(case: Case, executable: Any, torch: Any, clock: Clock | None, peak: Any) -> bool:
    ok = True
    tolerance = TOLERANCE[case["attrs"]["dtype"]]
    for sizes in [case["small"], *case["sizes"]]:
        arrays = on_gpu(case, inputs(case, sizes), sizes, torch)
        call = executable.on(torch.cuda.current_stream())
        actual = torch.from_dlpack(call(*arrays)).float()
        wanted = expected(case, [a if a.dtype == torch.int32 else a.float() for a in arrays], torch)
        error = difference(actual, wanted, torch)
        del actual, wanted
        good = error <= tolerance
        ok &= good
        line = f"{case['name']:22s} {sizes!s:42s} error {error:.1e} {'ok' if good else 'WRONG'}"
        if clock is not None and sizes in case["sizes"]:
            others = peers(case, arrays, torch)
            seconds = clock.compare({"rlx": lambda c=call, a=arrays: c(*a), **others})
            line += "\n    " + describe(case, sizes, seconds, peak)
        print(line, flush=True)
        del arrays
        torch.cuda.empty_cache()
    return ok


def describe(case: Case, sizes: Sizes, seconds: dict[str, float], peak: Any) -> str:
    flops, moved = work(case, sizes)
    ours = seconds["rlx"]
    parts = [f"rlx {ours * 1e6:.1f} us"]
    if flops:
        parts.append(f"{flops / ours / 1e12:.0f} TFLOP/s ({flops / ours / peak[0]:.0%} of peak)")
    parts.append(f"{moved / ours / 1e9:.0f} GB/s ({moved / ours / peak[1]:.0%} of copy)")
    for name, other in seconds.items():
        if name != "rlx":
            parts.append(f"{name} {other * 1e6:.1f} us (ratio {other / ours:.2f})")
    return ", ".join(parts)


def arch_of(capability: tuple[int, int], archs: list[str]) -> str:
    """The best of ``archs`` for a GPU."""
    number = capability[0] * 10 + capability[1]
    if f"sm_{number}a" in archs:
        return f"sm_{number}a"
    fitting = [a for a in archs if not a.endswith("a") and int(a[3:]) <= number]
    if not fitting:
        raise SystemExit(f"nothing was compiled for sm_{number}: there is {', '.join(archs)}")
    return max(fitting, key=lambda a: int(a[3:]))


def main(arguments: list[str] | None = None, folder: Path = HERE) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="check only, no times")
    parser.add_argument("--cases", help="comma-separated beginnings of names")
    parser.add_argument("--arch", help="use the code for this architecture")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each (default: 30)")
    options = parser.parse_args(arguments)
    facts = json.loads((folder / "cases.json").read_text())
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    from rlx.runtime.cuda import available, load, why_not

    if not available():
        print(f"there is no GPU to run on: {why_not()}", file=sys.stderr)
        return 2
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    arch = options.arch or arch_of(torch.cuda.get_device_capability(), facts["archs"])
    clock = None if options.quick else Clock(torch, options.rounds)
    peak = clock.peaks() if clock is not None else None
    print(f"{torch.cuda.get_device_name()}, code for {arch}, torch {torch.__version__}")
    if peak is not None:
        print(f"measured: product {peak[0] / 1e12:.0f} TFLOP/s, copy {peak[1] / 1e9:.0f} GB/s")
    ok = True
    for case in facts["cases"]:
        if options.cases and not case["name"].startswith(tuple(options.cases.split(","))):
            continue
        executable = load(folder / "code" / arch / case["name"])
        try:
            ok &= run_case(case, executable, torch, clock, peak)
        except Exception as error:
            ok = False
            print(f"{case['name']:22s} FAILED: {type(error).__name__}: {error}", flush=True)
    print("all right" if ok else "something is wrong")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
