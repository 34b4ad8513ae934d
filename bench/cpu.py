"""One thread on one core: rlx, its plain path and PyTorch, in turns, on the same inputs.

Every result is compared with a float64 reference on some rows. Times are medians; a ratio is the
time of the fastest peer over that of rlx. Writes ``bench/results/cpu.md``.
"""

import os
import platform
import statistics
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results" / "cpu.md"
# Largest error over the root mean square; PyTorch rounds scores to bf16 on the way.
TOLERANCE = {"f32": 5e-5, "bf16": 1e-1}


@dataclass(frozen=True)
class Case:
    """A benchmark: one function of rlx and the same in NumPy and PyTorch."""

    name: str
    label: str

    def inputs(self) -> list[np.ndarray]:
        raise NotImplementedError

    def text(self, dtype: str) -> str:
        """The module that rlx compiles."""
        raise NotImplementedError

    def flops(self) -> float:
        raise NotImplementedError

    def peers(self, tensors: list) -> dict[str, Callable]:
        raise NotImplementedError

    def reference(self, arrays: list[np.ndarray], rows: np.ndarray) -> np.ndarray:
        """These rows of the result, [rows, width], from arrays of float64."""
        raise NotImplementedError


def _normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@dataclass(frozen=True)
class Matmul(Case):
    m: int = 0
    k: int = 0
    n: int = 0

    def inputs(self):
        return [_normal(0, self.m, self.k), _normal(1, self.n, self.k)]

    def text(self, dtype):
        x, w = f"tensor<{self.m}x{self.k}x{dtype}>", f"tensor<{self.n}x{self.k}x{dtype}>"
        y = f"tensor<{self.m}x{self.n}x{dtype}>"
        return f"""func.func @main(%x: {x}, %w: {w}) -> {y} {{
          %y = "rlx.matmul"(%x, %w) {{transpose_weight = true}} : ({x}, {w}) -> {y}
          return %y : {y}
        }}"""

    def flops(self):
        return 2.0 * self.m * self.k * self.n

    def peers(self, tensors):
        from torch.nn.functional import linear

        return {"torch linear": lambda: linear(*tensors)}

    def reference(self, arrays, rows):
        x, w = arrays
        return x[rows] @ w.T


@dataclass(frozen=True)
class Attention(Case):
    heads: int = 0
    groups: int = 0
    dim: int = 0
    queries: int = 0
    keys: int = 0
    window: int = 0
    softcap: float = 0.0

    def inputs(self):
        q = _normal(0, 1, self.queries, self.heads * self.dim)
        k, v = (_normal(n, 1, self.keys, self.groups * self.dim) for n in (1, 2))
        return [q, k, v]

    def text(self, dtype):
        q = f"tensor<1x{self.queries}x{self.heads * self.dim}x{dtype}>"
        k = f"tensor<1x{self.keys}x{self.groups * self.dim}x{dtype}>"
        return f"""func.func @main(%q: {q}, %k: {k}, %v: {k}) -> {q} {{
          %o = "rlx.attention"(%q, %k, %v) {{num_heads = {self.heads} : i64,
            num_kv_heads = {self.groups} : i64, head_dim = {self.dim} : i64, causal = true,
            left_window = {self.window - 1} : i64, softcap = {self.softcap:e} : f64,
            operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}} : ({q}, {k}, {k}) -> {q}
          return %o : {q}
        }}"""

    def visible(self) -> np.ndarray:
        p = np.arange(self.queries)[:, None] + self.keys - self.queries
        j = np.arange(self.keys)
        return (j <= p) & (j > p - (self.window or self.keys + 1))

    def flops(self):
        return 4.0 * self.heads * self.dim * self.visible().sum()

    def peers(self, tensors):
        import torch

        def heads(x, count):
            return x.view(1, -1, count, self.dim).transpose(1, 2).contiguous()

        q = heads(tensors[0], self.heads)
        k, v = heads(tensors[1], self.groups), heads(tensors[2], self.groups)
        visible = torch.from_numpy(self.visible())
        hidden = torch.where(visible, 0.0, -torch.inf).to(q.dtype)
        repeat = self.heads // self.groups

        def join(x):
            return x.transpose(1, 2).reshape(1, self.queries, -1)

        def sdpa():
            options = {"is_causal": True} if self.queries == self.keys else {}
            if self.window:
                options = {"attn_mask": visible}
            return torch.nn.functional.scaled_dot_product_attention(
                q, k, v, enable_gqa=True, **options
            )

        def maths():
            kr, vr = (x.repeat_interleave(repeat, 1) for x in (k, v))
            scores = q @ kr.transpose(2, 3) * self.dim**-0.5
            if self.softcap:
                scores = self.softcap * torch.tanh(scores / self.softcap)
            return torch.softmax((scores + hidden).float(), -1).to(q.dtype) @ vr

        found = {"torch maths": maths}
        if not self.softcap:
            found["torch SDPA"] = sdpa
        # The layout of the result is put right only where it is looked at, as it is free for us.
        return {name: _after(function, join) for name, function in found.items()}

    def reference(self, arrays, rows):
        q, k, v = arrays
        out = np.zeros((len(rows), self.heads * self.dim))
        for h in range(self.heads):
            own = slice(h * self.dim, (h + 1) * self.dim)
            g = h // (self.heads // self.groups)
            shared = slice(g * self.dim, (g + 1) * self.dim)
            scores = q[0, rows, own] @ k[0, :, shared].T * self.dim**-0.5
            if self.softcap:
                scores = self.softcap * np.tanh(scores / self.softcap)
            scores = np.where(self.visible()[rows], scores, -np.inf)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, own] = weights / weights.sum(-1, keepdims=True) @ v[0, :, shared]
        return out


def _after(function: Callable, finish: Callable) -> Callable:
    def run():
        return function()

    run.finish = finish  # type: ignore[attr-defined]
    return run


CASES = [
    Matmul("M512", "512 x 512 x 512", 512, 512, 512),
    Matmul("M1024", "1024 x 1024 x 1024", 1024, 1024, 1024),
    Matmul("M2048", "2048 x 2048 x 2048", 2048, 2048, 2048),
    Matmul("M129", "129 x 2048 x 1000", 129, 2048, 1000),
    Matmul("M32", "32 x 2048 x 2048", 32, 2048, 2048),
    Matmul("M7", "7 x 2048 x 2048", 7, 2048, 2048),
    Matmul("M1", "1 x 4096 x 4096", 1, 4096, 4096),
    Attention("A1", "8/2 heads, D 128, S 1024, causal", 8, 2, 128, 1024, 1024),
    Attention("A2", "8/4 heads, D 256, S 1024, window 256, cap 50", 8, 4, 256, 1024, 1024, 256, 50),
    Attention("A3", "16/8 heads, D 256, S 1024, causal", 16, 8, 256, 1024, 1024),
    Attention("A4", "32/8 heads, D 128, S 2048, causal", 32, 8, 128, 2048, 2048),
    Attention("A5", "32/8 heads, D 128, decoding at 4096", 32, 8, 128, 1, 4096),
    Attention("A6", "9/3 heads, D 80, S 333, causal", 9, 3, 80, 333, 333),
]


def measure(functions: dict[str, Callable], seconds: float) -> dict[str, float]:
    """Median times, taken in turns so that a slow moment of the machine is shared."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, times.values())) < 3:
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def _check(case: Case, dtype: str, name: str, result: np.ndarray, expected: np.ndarray, rows):
    actual = result.reshape(-1, expected.shape[1])[rows].astype(np.float64)
    error = np.abs(actual - expected).max() / np.sqrt(np.mean(expected**2))
    if not error < TOLERANCE[dtype]:
        raise SystemExit(f"{case.name} {dtype}: {name} is off by {error:.1e}")


def run_case(case: Case, dtype: str, target: str, seconds: float) -> dict[str, float]:
    import ml_dtypes
    import torch

    import rlx

    kind, torch_kind = {
        "f32": (np.float32, torch.float32),
        "bf16": (ml_dtypes.bfloat16, torch.bfloat16),
    }[dtype]
    arrays = [array.astype(kind) for array in case.inputs()]
    tensors = [torch.from_numpy(array.astype(np.float32)).to(torch_kind) for array in arrays]
    functions: dict[str, Callable] = {}
    for name, own in (("rlx", target), ("rlx plain", "cpu{kernels=none}")):
        compiled = rlx.compile(case.text(dtype), own)
        functions[name] = lambda compiled=compiled: compiled(*arrays)
    functions |= case.peers(tensors)

    count = arrays[0].shape[-2]
    rows = np.unique(np.r_[0, count - 1, np.random.default_rng(0).integers(0, count, 6)])
    expected = case.reference([array.astype(np.float64) for array in arrays], rows)
    for name, function in functions.items():
        result = getattr(function, "finish", lambda x: x)(function())
        if isinstance(result, torch.Tensor):
            result = result.float().numpy()
        _check(case, dtype, name, result, expected, rows)
    if measure({"rlx plain": functions["rlx plain"]}, 0)["rlx plain"] > seconds:
        del functions["rlx plain"]
    return measure(functions, seconds)


def _machine() -> str:
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(": ")[2] for line in info.splitlines() if "model name" in line]
    return models[0] if models else platform.processor()


def main(args: Namespace) -> None:
    core = max(os.sched_getaffinity(0)) if args.core is None else args.core
    os.sched_setaffinity(0, {core})
    import torch

    from rlx.host import version
    from rlx.schedules.cpu.isa import best
    from rlx.targets.cpu import host_features

    torch.set_num_threads(1)
    names = args.cases.split(",") if args.cases else [case.name for case in CASES]
    if unknown := set(names) - {case.name for case in CASES}:
        raise SystemExit(f"unknown cases: {', '.join(sorted(unknown))}")
    lines = [
        "# One thread",
        "",
        f"{time.strftime('%Y-%m-%d')}, {_machine()}, {best(host_features())}, "
        f"target `{args.target}`; {version()}, torch {metadata.version('torch')}, "
        f"Python {platform.python_version()}; "
        f"load at the start {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.",
        "",
        "Median times in ms. The ratio is the best peer's time over ours.",
        "",
        "| case | | dtype | rlx | GF/s | best peer | its time | ratio | plain path |",
        "|---|---|---|---:|---:|---|---:|---:|---:|",
    ]
    print("\n".join(lines))
    for case in CASES:
        for dtype in args.dtypes.split(",") if case.name in names else ():
            times = run_case(case, dtype, args.target, args.seconds)
            ours, plain = times.pop("rlx"), times.pop("rlx plain", None)
            peer = min(times, key=times.__getitem__)
            cells = [
                case.name,
                case.label,
                dtype,
                f"{ours * 1e3:.3g}",
                f"{case.flops() / ours / 1e9:.0f}",
                peer,
                f"{times[peer] * 1e3:.3g}",
                f"{times[peer] / ours:.2f}",
                "" if plain is None else f"{plain * 1e3:.3g}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    if args.cases is None:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("\n".join(lines) + "\n")
