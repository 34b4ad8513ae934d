"""Cases whose results are computed, on the CPU, when they are packed: the kernels that the other
cases leave out, and a small model. In f16, which NumPy has on any machine."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["STORED", "Stored"]

ROOT = Path(__file__).resolve().parents[2]
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Stored:
    """A module, and what it is called with.

    Attributes:
        name: of the case, and of its folder.
        make: returns what is compiled, and arguments by name.
        tolerance: largest error that :func:`bench.cuda.references.difference` may find.
        options: further ones of the compiler.
    """

    name: str
    make: Callable[[], tuple[Any, Arrays]]
    tolerance: float = 4e-3
    options: dict[str, Any] = field(default_factory=dict)

    def facts(self, results: int) -> dict[str, Any]:
        """What `run.py` reads."""
        attrs = {"dtype": "f16", "tolerance": self.tolerance, "results": results}
        return {"name": self.name, "kind": "stored", "small": {}, "sizes": [], "attrs": attrs}


_NAMES = {"float16": "f16", "float32": "f32", "int8": "i8", "int32": "i32", "int64": "i64"}


def _op(name: str, op: str, attrs: str, result: str, *arrays: Any, fixed: int = 1) -> Stored:
    """One op. Arrays are given as they are, or as the shape of random ones in f16.

    Sizes are dynamic, but the last one, and but those of arrays from number ``fixed`` on.
    """
    rng = np.random.default_rng(0)
    values = [
        rng.standard_normal(a, np.float32).astype(np.float16) if isinstance(a, tuple) else a
        for a in arrays
    ]

    def type_of(n: int, array: np.ndarray) -> str:
        sizes = ["?" if n < fixed else str(size) for size in array.shape[:-1]]
        return f"tensor<{'x'.join([*sizes, str(array.shape[-1])])}x{_NAMES[str(array.dtype)]}>"

    types = [type_of(n, a) for n, a in enumerate(values)]
    names = [f"arg{n}" for n in range(len(values))]
    signature = ", ".join(f"%{n}: {t}" for n, t in zip(names, types, strict=True))
    operands = ", ".join(f"%{n}" for n in names)
    text = (
        f"func.func @main({signature}) -> {result} {{\n"
        f'  %r = "rlx.{op}"({operands}) {{{attrs}}} : ({", ".join(types)}) -> {result}\n'
        f"  return %r : {result}\n}}\n"
    )
    return Stored(name, lambda: (text, dict(zip(names, values, strict=True))))


def _dequant(name: str, rows: int, group: int, transposed: bool) -> Stored:
    columns, inner = 192, 320
    rng = np.random.default_rng(1)
    weight = rng.integers(-127, 128, (columns, inner) if transposed else (inner, columns), np.int8)
    scales = rng.uniform(0.5, 1.5, (columns, inner // group) if group else columns)
    attrs = f"transpose_weight = {str(transposed).lower()}, group = {group} : i64"
    scales = scales.astype(np.float32) / 128
    result = f"tensor<{rows}x{columns}xf16>"
    return _op(name, "dequant_matmul", attrs, result, (rows, inner), weight, scales, fixed=0)


def _attention(
    name: str, dims: int, *more: np.ndarray, rows: int = 100, attrs: str = "", dtype: Any = "f16"
) -> Stored:
    rng = np.random.default_rng(2)
    arrays = [
        rng.standard_normal((2, n, heads * dims)).astype(
            {"f16": np.float16, "f32": np.float32}[dtype]
        )
        for n, heads in ((rows, 4), (100, 2), (100, 2))
    ]
    masked = len(more) and more[0].ndim == 2
    segments = f"array<i32: 1, 1, 1, {int(masked)}, {int(len(more) > 0 and not masked)}>"
    given = (
        f"num_heads = 4 : i64, num_kv_heads = 2 : i64, head_dim = {dims} : i64, causal = true, "
        f"operandSegmentSizes = {segments}{attrs}"
    )
    few = rows == 1  # which has a kernel of its own where that is known
    result = f"tensor<{'2x1' if few else '?x?'}x{4 * dims}x{dtype}>"
    return _op(name, "attention", given, result, *arrays, *more, fixed=0 if few else 3)


def _gated() -> Stored:
    """Two products, and what makes one of them: one kernel."""
    rng = np.random.default_rng(3)
    arrays = {"x": (150, 128), "gate": (192, 128), "up": (192, 128), "added": (150, 192)}
    x, w, y = "tensor<?x128xf16>", "tensor<192x128xf16>", "tensor<?x192xf16>"
    types = dict(zip(arrays, (x, w, w, y), strict=True))
    params = [f'%{n}: {t} {{rlx.name = "{n}"}}' for n, t in types.items()]
    product = f"{{transpose_weight = true}} : ({x}, {w}) -> {y}"
    text = (
        f"func.func @main({', '.join(params)}) -> {y} {{\n"
        f'  %a = "rlx.matmul"(%x, %gate) {product}\n  %b = "rlx.matmul"(%x, %up) {product}\n'
        f'  %c = "rlx.glu"(%a, %b) {{activation = "gelu_tanh"}} : ({y}, {y}) -> {y}\n'
        f"  %d = arith.addf %c, %added : {y}\n  return %d : {y}\n}}\n"
    )
    values = {n: (rng.standard_normal(s) / 4).astype(np.float16) for n, s in arrays.items()}
    return Stored("gated_unit", lambda: (text, values))


def _model(name: str, tokens: int, **options: Any) -> Stored:
    def make() -> tuple[Any, Arrays]:
        import rlx

        model = rlx.load_model(ROOT / "examples" / "tiny-gemma3", dtype="f16")
        ids = np.random.default_rng(4).integers(0, model.config.vocab_size, (2, tokens))
        return model.built, {"input_ids": ids}

    return Stored(name, make, 2e-2, options)


_LENGTHS = np.array([100, 37], np.int32)
_MASK = np.where(np.random.default_rng(5).random((100, 100)) < 0.3, -np.inf, 0.5).astype(np.float32)

STORED = (
    _op("layer_norm", "layer_norm", "epsilon = 1.0e-05 : f64", "tensor<?x520xf16>", (33, 520),
        (520,), (520,)),
    _op("embedding", "embedding", "", "tensor<?x?x96xf16>", (50, 96),
        np.arange(14).reshape(2, 7) * 3, fixed=2),
    _op("kv_append", "kv_append", "", "tensor<?x?x96xf16>", (2, 20, 96), (2, 3, 96),
        np.array([4, 17], np.int32), fixed=2),
    _op("rope_positions", "rope", 'head_dim = 64 : i64, n_rot = 32 : i64, pairing = "interleaved"',
        "tensor<?x?x192xf16>", (2, 7, 192), (40, 16), (40, 16),
        np.arange(14).reshape(2, 7) * 2),
    _op("matmul_f32", "matmul", "transpose_weight = true", "tensor<?x72xf32>",
        np.random.default_rng(6).standard_normal((50, 129), np.float32),
        np.random.default_rng(7).standard_normal((72, 129), np.float32)),
    _op("matmul_odd", "matmul", "transpose_weight = false", "tensor<?x75xf16>", (131, 67),
        (67, 75)),
    _gated(),
    _dequant("dequant_few", 4, 0, True),
    _dequant("dequant_many", 300, 0, True),
    _dequant("dequant_groups", 100, 64, True),
    _dequant("dequant_groups_kn", 100, 64, False),
    _attention("attention_f32", 32, dtype="f32"),
    _attention("attention_mask", 64, _MASK),
    _attention("attention_lengths", 64, _LENGTHS),
    _attention("attention_d80", 80, attrs=", softcap = 2.0e+01 : f64, left_window = 40 : i64"),
    _attention("attention_d512", 512),
    _attention("decode_mask", 128, _MASK[:1], rows=1),
    _model("model", 90),
    _model("model_few", 3),
    _model("model_int8", 90, quantize="int8{group=16}"),
)  # fmt: skip
