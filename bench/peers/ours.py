"""rlx itself."""

import os
from functools import lru_cache
from typing import Any

import numpy as np

from bench.cases import (
    Attention,
    Block,
    Case,
    Decode,
    Glu,
    LayerNorm,
    Matmul,
    Prefill,
    RmsNorm,
    Rope,
)
from bench.cases.base import DTYPES
from bench.cases.model import CAPACITY, Model
from bench.peers.base import Peer, Variant, Variants

__all__ = ["Rlx", "module_text"]


class Rlx(Peer):
    name = "rlx"
    modules = ("rlx",)

    target = os.environ.get("RLX_BENCH_TARGET", "cpu")

    def versions(self) -> dict[str, str]:
        import rlx
        from rlx.host import version
        from rlx.schedules.cpu.isa import best
        from rlx.targets.cpu import host_features

        isa = self.target.partition(":")[2] or best(host_features())
        return {"rlx": f"{rlx.__version__} ({version()}, {isa})"}

    def variants(self, case: Case, dtype: str) -> Variants:
        if isinstance(case, Model):
            return {"rlx": lambda: self._model(case, dtype)}
        found: Variants = {}
        problems: tuple[str, ...] = ("",)
        if isinstance(case, Attention):
            # The queries of a chunk would have to turn by positions.
            chunk = 1 < case.queries < case.keys
            problems = ("bare",) if chunk else ("rope", "bare")
        for problem in problems:
            name = "rlx, rope fused" if problem == "rope" else "rlx"
            found[name] = lambda problem=problem: self._compiled(case, dtype, problem)
        return found

    def _compiled(self, case: Case, dtype: str, problem: str) -> Variant:
        import rlx

        text = module_text(case, dtype, problem)
        compiled = rlx.compile(text, self.target, threads=self.threads)
        arrays = {name: as_stored(name, a, dtype) for name, a in case.inputs().items()}
        compiled.bind({name: arrays[name] for name in case.parameters()})
        inputs = [arrays[spec.name] for spec in compiled.inputs]
        return Variant(lambda: compiled(*inputs), lambda y: y.reshape(case.rows(), -1), problem)

    def _model(self, case: Model, dtype: str) -> Variant:
        ids = case.inputs()["ids"]
        model = _loaded(case.geometry, dtype, self.target, self.threads)
        cache = model.new_cache(1)
        prompt, token = ids[:, : case.prompt], ids[:, case.prompt :]

        def prefill() -> Any:
            return model.prefill(prompt, cache, last_only=True)

        def result(logits: Any) -> np.ndarray:
            return np.asarray(logits)[:, -1]

        if isinstance(case, Prefill):
            return Variant(prefill, result, after=lambda: cache.drop(case.prompt))
        assert isinstance(case, Decode)
        prefill()
        return Variant(lambda: model.decode(token, cache), result, after=lambda: cache.drop(1))


@lru_cache(maxsize=3)
def _loaded(geometry: Any, dtype: str, target: str, threads: int) -> Any:
    import rlx

    kind = {"dtype": "bf16", "quantize": "int8"} if dtype == "int8" else {"dtype": dtype}
    options = {"capacity": CAPACITY, "target": target, "threads": threads}
    return rlx.load_model(geometry.checkpoint(), **options, **kind)


def as_stored(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    """An input in the dtype that is compared; tables of angles stay f32."""
    return array if name in ("cos", "sin") else array.astype(DTYPES[dtype])


def module_text(case: Case, dtype: str, problem: str = "") -> str:
    """The function that rlx compiles, with parameters where the case has them."""
    shapes = {name: array.shape for name, array in case.inputs().items()}
    types = {
        name: _tensor(shape, "f32" if name in ("cos", "sin") else dtype)
        for name, shape in shapes.items()
    }
    lines = _Lines(types)
    result = _emit(case, problem, lines)
    used = [name for name in types if any(f"%{name}," in x or f"%{name})" in x for x in lines.text)]
    parameter = ", rlx.param"
    arguments = ", ".join(
        f'%{name}: {types[name]} {{rlx.name = "{name}"'
        f"{parameter if name in case.parameters() else ''}}}"
        for name in used
    )
    body = "\n  ".join(lines.text)
    return (
        f"func.func @main({arguments}) -> {lines.types[result]} {{\n  {body}\n"
        f"  return %{result} : {lines.types[result]}\n}}\n"
    )


def _tensor(shape: tuple[int, ...], dtype: str) -> str:
    return f"tensor<{'x'.join(map(str, shape))}x{dtype}>"


class _Lines:
    """Ops of the `rlx` dialect as text.

    Attributes:
        types: of values by name.
        text: the lines so far.
    """

    def __init__(self, types: dict[str, str]):
        self.types = dict(types)
        self.text: list[str] = []

    def op(self, result: str, kind: str, operands: list[str], type_: str, **attributes: Any) -> str:
        given = ", ".join(f"{name} = {_attribute(value)}" for name, value in attributes.items())
        names = ", ".join(f"%{name}" for name in operands)
        types = ", ".join(self.types[name] for name in operands)
        self.text.append(f'%{result} = "rlx.{kind}"({names}) {{{given}}} : ({types}) -> {type_}')
        self.types[result] = type_
        return result


def _attribute(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value} : i64"
    if isinstance(value, float):
        return f"{value:e} : f64"
    return value if value.startswith("array") else f'"{value}"'


def _emit(case: Case, problem: str, lines: _Lines) -> str:
    types = lines.types
    if isinstance(case, Attention):
        return _attention(case, problem, lines)
    if isinstance(case, Block):
        return _block(case, lines)
    if isinstance(case, Matmul):
        type_ = _tensor((case.m, case.n), types["x"].rsplit("x", 1)[1][:-1])
        return lines.op("y", "matmul", ["x", "w"], type_, transpose_weight=True)
    if isinstance(case, RmsNorm):
        return lines.op("y", "rms_norm", ["x", "w"], types["x"], epsilon=1e-6)
    if isinstance(case, LayerNorm):
        return lines.op("y", "layer_norm", ["x", "w", "b"], types["x"], epsilon=1e-5)
    if isinstance(case, Glu):
        return lines.op("y", "glu", ["gate", "up"], types["up"], activation="silu")
    if isinstance(case, Rope):
        return lines.op("y", "rope", ["x", "cos", "sin"], types["x"], head_dim=case.dim)
    raise TypeError(f"no module for a {type(case).__name__}")


def _attention(case: Attention, problem: str, lines: _Lines) -> str:
    query, key = "q", "k"
    if problem == "rope":
        turn = {"head_dim": case.dim, "n_rot": case.n_rot}
        operands = ["q", "cos", "sin"]
        if case.queries == 1:
            # The only query stands behind all keys.
            position = "tensor<1xi64>"
            lines.text.append(f"%at = arith.constant dense<{case.keys - 1}> : {position}")
            lines.types["at"] = position
            operands.append("at")
        query = lines.op("qr", "rope", operands, lines.types["q"], **turn)
        if case.queries > 1:
            key = lines.op("kr", "rope", ["k", "cos", "sin"], lines.types["k"], **turn)
    return lines.op(
        "y",
        "attention",
        [query, key, "v"],
        lines.types["q"],
        num_heads=case.heads,
        num_kv_heads=case.kv_heads,
        head_dim=case.dim,
        causal=True,
        left_window=case.window - 1,
        softcap=case.softcap,
        operandSegmentSizes="array<i32: 1, 1, 1, 0, 0>",
    )


def _block(case: Block, lines: _Lines) -> str:
    dtype = lines.types["x"].rsplit("x", 1)[1][:-1]
    for name in "qkv":
        width = case.widths()[f"w{name}"][0]
        type_ = _tensor((1, case.length, width), dtype)
        lines.op(name, "matmul", ["x", f"w{name}"], type_, transpose_weight=True)
    for name in "qk":
        operands = [name, "cos", "sin"]
        lines.op(f"{name}r", "rope", operands, lines.types[name], head_dim=case.dim)
    lines.op(
        "a",
        "attention",
        ["qr", "kr", "v"],
        lines.types["q"],
        num_heads=case.heads,
        num_kv_heads=case.kv_heads,
        head_dim=case.dim,
        causal=True,
        operandSegmentSizes="array<i32: 1, 1, 1, 0, 0>",
    )
    return lines.op("y", "matmul", ["a", "wo"], lines.types["x"], transpose_weight=True)
