"""Equal layers are one function, and caches are updated in place in it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlx
from rlx.compiler import lower
from rlx.flow import BuiltModel, FlowValue, MissingWeightError, ModelFlow, WeightError
from rlx.flow.elementwise import add, scale
from rlx.host import func, ir
from rlx.passes.base import walk

TINY = Path(__file__).resolve().parents[2] / "examples" / "tiny-gemma3"


def weights(layers: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        f"layers.{index}.{name}.weight": random.standard_normal(shape).astype(np.float32)
        for index in range(layers)
        for name, shape in (("norm", (6,)), ("proj", (6, 6)))
    }


def flow_of(layers: int) -> ModelFlow:
    def layer(index: int) -> ModelFlow:
        line = ModelFlow("layer").residual_save().rms_norm(f"layers.{index}.norm.weight")
        line.linear(f"layers.{index}.proj.weight")
        return line.residual_add()

    return ModelFlow("stack").input("x", ["B", "S", 6]).repeat_layers(layers, layer)


def functions(built: BuiltModel) -> dict[str, Any]:
    return {op.name.value: op for op in built.module.body.operations}


def calls(built: BuiltModel) -> list[str]:
    return [call.callee.value for call in walk(functions(built)["main"], "func.call")]


def reference(x: np.ndarray, arrays: dict[str, np.ndarray], layers: int) -> np.ndarray:
    for index in range(layers):
        norm, proj = (arrays[f"layers.{index}.{name}.weight"] for name in ("norm", "proj"))
        y = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * norm
        x = x + y @ proj.T
    return x


def test_one_function_for_equal_layers() -> None:
    arrays = weights(5)
    built = flow_of(5).build(arrays)
    assert list(functions(built)) == ["main", "layer_0"]
    assert calls(built) == ["layer_0"] * 5
    assert list(built.parameters) == list(arrays)
    x = np.random.default_rng(1).standard_normal((2, 3, 6)).astype(np.float32)
    found = rlx.compile(built, cache=False)(x)
    np.testing.assert_allclose(found, reference(x, arrays, 5), rtol=1e-5, atol=1e-5)


def test_layers_that_differ() -> None:
    arrays = weights(4)
    flow = ModelFlow("stack").input("x", ["B", "S", 6])
    for index, epsilon in enumerate((1e-6, 1e-5, 1e-6, 1e-6)):
        line = ModelFlow("layer").rms_norm(f"layers.{index}.norm.weight", epsilon)
        flow.named_layer(f"block {index}", line)
    built = flow.rms_norm("layers.0.norm.weight").build(arrays)
    assert sorted(functions(built)) == ["block_0", "block_1", "main"]
    assert calls(built) == ["block_0", "block_1", "block_0", "block_0"]


def test_stages_outside_of_layers_stay_where_they_are() -> None:
    arrays = weights(1)
    built = ModelFlow("plain").input("x", [2, 6]).rms_norm("layers.0.norm.weight").build(arrays)
    assert list(functions(built)) == ["main"]


def test_what_leaves_a_layer() -> None:
    """Side outputs, outputs in the middle, and values that a later layer remembers."""

    def tap(ctx: Any, value: FlowValue) -> FlowValue:
        ctx.side_output(f"tap.{len(ctx.side_outputs)}", value)
        before = ctx.state.named.get("memory")
        ctx.state.named["memory"] = FlowValue(scale(value.value, 3.0))
        return value if before is None else FlowValue(add(value.value, before.value))

    flow = ModelFlow("taps").input("x", ["N"])
    flow.repeat_layers(3, lambda index: ModelFlow("layer").custom(tap)).output("y")
    built = flow.build({})
    assert [spec.name for spec in built.outputs] == ["y", "tap.0", "tap.1", "tap.2"]
    assert len(functions(built)) > 1
    x = np.array([1.0, -2.0], np.float32)
    results = rlx.compile(built, cache=False).run({"x": x})
    # A layer adds three times what the layer before it saw.
    np.testing.assert_allclose(results["tap.0"], x)
    np.testing.assert_allclose(results["tap.1"], x)
    np.testing.assert_allclose(results["tap.2"], 4 * x)
    np.testing.assert_allclose(results["y"], 7 * x)


def test_shared_weights() -> None:
    """Two layers with the same weights, one of them used twice in a layer."""
    arrays = weights(1)
    flow = ModelFlow("shared").input("x", ["B", 6])
    flow.repeat_layers(3, lambda _: ModelFlow("layer").linear("layers.0.proj.weight"))
    built = flow.build(arrays)
    assert calls(built) == ["layer_0"] * 3
    x = np.ones((2, 6), np.float32)
    w = arrays["layers.0.proj.weight"]
    found = rlx.compile(built, cache=False)(x)
    np.testing.assert_allclose(found, x @ w.T @ w.T @ w.T, rtol=1e-4)


def test_errors_name_the_layer() -> None:
    arrays = weights(3)
    del arrays["layers.2.proj.weight"]
    with pytest.raises(MissingWeightError, match=r"^LinearStage\(layer 2\): missing weight 'layer"):
        flow_of(3).build(arrays)
    arrays["layers.2.proj.weight"] = np.ones((6, 7), np.float32)
    with pytest.raises(WeightError, match=r"^LinearStage\(layer 2\): expects weight 'layers\.2"):
        flow_of(3).build(arrays)


# -- caches --------------------------------------------------------------------------------------


def root(value: ir.Value) -> ir.Value:
    views = ("memref.subview", "memref.cast", "memref.expand_shape", "memref.collapse_shape")
    while not isinstance(value.owner, ir.Block) and value.owner.name in views:
        value = value.owner.operation.operands[0]
    return value


@pytest.mark.parametrize("target", ["cpu", "cpu{kernels=none}"])
def test_no_copy_of_a_cache(target: str) -> None:
    model = rlx.load_model(TINY)
    built = model.build(model.make_cached_flow())
    module = lower(built, "bufferized", target)
    by_name = {op.name.value: op for op in module.body.operations if isinstance(op, func.FuncOp)}
    main = by_name["main"]
    names = [dict_of(entry).get("rlx.name") for entry in main.attributes["arg_attrs"]]
    caches = [n for n, name in enumerate(names) if name is not None and "cache" in str(name)]
    assert len(caches) == 8
    # Results that are caches are the callers' own arrays: only the logits are returned.
    assert len(main.type.results) == 1
    entry = main.regions[0].blocks[0]
    owned = [entry.arguments[number] for number in caches]
    passed: dict[str, set[int]] = {}
    for call in walk(main, "func.call"):
        for number, operand in enumerate(call.operation.operands):
            if operand in owned:
                passed.setdefault(call.callee.value, set()).add(number)
    assert {name: len(numbers) for name, numbers in passed.items()} == {"layer_0": 2, "layer_3": 2}
    for copy in walk(main, "memref.copy"):
        assert not {root(value) for value in copy.operation.operands} & set(owned)
    for name, numbers in passed.items():
        arguments = by_name[name].regions[0].blocks[0].arguments
        inside = {arguments[number] for number in numbers}
        writes = 0
        for copy in walk(by_name[name], "memref.copy"):
            source, into = copy.operation.operands
            assert root(source) not in inside, "a cache is copied"
            if root(into) in inside:
                # New rows of one sequence.
                assert into.type.shape[0] == 1
                writes += 1
        assert writes == 2


def dict_of(entry: ir.DictAttr) -> dict[str, Any]:
    return {named.name: named.attr for named in entry}
