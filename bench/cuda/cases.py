"""What is compiled, checked and timed."""

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["CASES", "Case"]


@dataclass(frozen=True)
class Case:
    """A module, and sizes to run it with.

    Attributes:
        name: of the case, and of its folder.
        kind: which reference, peers and counts of work `run.py` uses.
        text: the module; its function is ``main``.
        small: letters to sizes, for a check against NumPy.
        sizes: the same, to be checked against PyTorch and timed.
        attrs: what the reference needs to know.
    """

    name: str
    kind: str
    text: str
    small: dict[str, int]
    sizes: list[dict[str, int]]
    attrs: dict[str, Any] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """What `run.py` reads."""
        facts = asdict(self)
        del facts["text"]
        return facts


def _function(arguments: list[str], body: str, result: str) -> str:
    signature = ", ".join(f"%{n}: {type_}" for n, type_ in enumerate(arguments))
    return f"func.func @main({signature}) -> {result} {{\n{body}\n  return %r : {result}\n}}\n"


def _attributes(attrs: dict[str, Any], extra: str = "") -> str:
    def text(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return f"{value} : i64" if isinstance(value, int) else f"{value:e} : f64"

    parts = [f"{k} = {text(v)}" for k, v in attrs.items()]
    return "{" + ", ".join([*parts, extra] if extra else parts) + "}"


def _attention(
    name: str,
    dims: int,
    heads: int,
    groups: int,
    lengths: tuple[int, ...],
    *,
    dtype: str = "bf16",
    rope: bool = False,
    **more: Any,
) -> Case:
    attrs = {
        "num_heads": heads,
        "num_kv_heads": groups,
        "head_dim": dims,
        "causal": True,
        **more,
    }
    q, k = (f"tensor<?x?x{n * dims}x{dtype}>" for n in (heads, groups))
    table = f"tensor<?x{dims // 2}x{dtype}>"
    segments = "operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>"
    body, query, key = "", "%0", "%1"
    arguments = [q, k, k]
    if rope:
        arguments += [table, table]
        turn = f"{{head_dim = {dims} : i64}}"
        body = (
            f'  %q = "rlx.rope"(%0, %3, %4) {turn} : ({q}, {table}, {table}) -> {q}\n'
            f'  %k = "rlx.rope"(%1, %3, %4) {turn} : ({k}, {table}, {table}) -> {k}\n'
        )
        query, key = "%q", "%k"
    body += (
        f'  %r = "rlx.attention"({query}, {key}, %2) {_attributes(attrs, segments)} : '
        f"({q}, {k}, {k}) -> {q}"
    )
    return Case(
        name,
        "attention",
        _function(arguments, body, q),
        {"B": 2, "S": 150, "K": 150},
        [{"B": max(1, 16384 // n // 2), "S": n, "K": n} for n in lengths],
        {**attrs, "dtype": dtype, "rope": rope},
    )


def _decode(dims: int, heads: int, groups: int, *, lengths: bool = True) -> Case:
    q = f"tensor<?x1x{heads * dims}xbf16>"
    arguments = [q, *[f"tensor<?x?x{groups * dims}xbf16>"] * 2, *["tensor<?xi32>"] * lengths]
    attrs = {"num_heads": heads, "num_kv_heads": groups, "head_dim": dims, "causal": True}
    segments = f"operandSegmentSizes = array<i32: 1, 1, 1, 0, {int(lengths)}>"
    operands = ", ".join(f"%{n}" for n in range(len(arguments)))
    body = (
        f'  %r = "rlx.attention"({operands}) {_attributes(attrs, segments)} : '
        f"({', '.join(arguments)}) -> {q}"
    )
    sizes = [(1, 4096), (1, 16384), (1, 65536), (8, 8192), (64, 4096)]
    return Case(
        f"decode_d{dims}" + ("_lengths" if lengths else ""),
        "attention",
        _function(arguments, body, q),
        {"B": 2, "S": 1, "K": 300},
        [{"B": b, "S": 1, "K": keys} for b, keys in sizes],
        {**attrs, "dtype": "bf16", "rope": False, "lengths": lengths},
    )


def _matmul(name: str, transposed: bool, columns: int, inner: int, rows: tuple[int, ...]) -> Case:
    a = f"tensor<{'?' if len(rows) > 1 else rows[0]}x{inner}xbf16>"
    shape = (columns, inner) if transposed else (inner, columns)
    w = f"tensor<{shape[0]}x{shape[1]}xbf16>"
    r = f"tensor<{'?' if len(rows) > 1 else rows[0]}x{columns}xbf16>"
    attrs = {"transpose_weight": transposed}
    body = f'  %r = "rlx.matmul"(%0, %1) {_attributes(attrs)} : ({a}, {w}) -> {r}'
    sizes = [{"M": m, "N": columns, "X": inner} for m in rows]
    small = {**sizes[0], "M": min(rows[0], 150)}
    return Case(
        name, "matmul", _function([a, w], body, r), small, sizes, {**attrs, "dtype": "bf16"}
    )


def _rope() -> Case:
    x, table = "tensor<?x?x4096xbf16>", "tensor<?x64xbf16>"
    body = (
        f'  %r = "rlx.rope"(%0, %1, %2) {{head_dim = 128 : i64}} : ({x}, {table}, {table}) -> {x}'
    )
    return Case(
        "rope",
        "rope",
        _function([x, table, table], body, x),
        {"B": 2, "S": 33, "W": 4096},
        [{"B": 4, "S": 4096, "W": 4096}],
        {"head_dim": 128, "dtype": "bf16"},
    )


def _norm() -> Case:
    x, w = "tensor<?x4096xbf16>", "tensor<4096xbf16>"
    body = f'  %r = "rlx.rms_norm"(%0, %1) {{epsilon = 1.0e-05 : f64}} : ({x}, {w}) -> {x}'
    return Case(
        "rms_norm",
        "rms_norm",
        _function([x, w], body, x),
        {"M": 33, "N": 4096},
        [{"M": 16384, "N": 4096}],
        {"dtype": "bf16"},
    )


def _glu() -> Case:
    x = "tensor<?x14336xbf16>"
    body = f'  %r = "rlx.glu"(%0, %1) {{activation = "silu"}} : ({x}, {x}) -> {x}'
    return Case(
        "glu",
        "glu",
        _function([x, x], body, x),
        {"M": 9, "N": 14336},
        [{"M": 8192, "N": 14336}],
        {"dtype": "bf16"},
    )


CASES = (
    _attention("attention_d128", 128, 32, 8, (4096, 8192, 16384)),
    _attention("attention_d128_rope", 128, 32, 8, (4096, 16384), rope=True),
    _attention("attention_d64", 64, 32, 8, (4096, 16384)),
    _attention("attention_d256", 256, 16, 8, (4096, 16384)),
    _attention("attention_d128_f16", 128, 32, 8, (4096,), dtype="f16"),
    _decode(128, 32, 8, lengths=False),
    _decode(128, 32, 8),
    _matmul("matmul_nk", True, 4096, 4096, (4096, 8192)),
    _matmul("matmul_nk_8192", True, 8192, 8192, (8192, 4096)),
    _matmul("matmul_kn", False, 4096, 4096, (4096, 8192)),
    _matmul("matmul_few", True, 4096, 4096, (1,)),
    _rope(),
    _norm(),
    _glu(),
    # Last, since its peer takes long to compile.
    _attention("attention_window", 128, 32, 8, (4096, 16384), left_window=1023, softcap=50.0),
)
