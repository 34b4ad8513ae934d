"""What each stage emits, and what it says when it cannot."""

from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from rlx.flow import (
    BuiltModel,
    FlowError,
    FlowValue,
    MaskKind,
    MissingRopeError,
    MissingWeightError,
    ModelFlow,
    WeightError,
)
from rlx.flow.stages import (
    CustomStage,
    EmbedStage,
    GeGluStage,
    GemmaKvTapStage,
    HeadNorm,
    LinearStage,
    LogitSoftcapStage,
    NamedRopeTablesStage,
    OutputStage,
    PositionsStage,
    ResidualAddStage,
    ResidualSaveStage,
    RmsNormStage,
    RopeTablesStage,
    ScaleStage,
    SelfAttnPrefillSpec,
    SelfAttnPrefillStage,
    SideOutputs,
    SwiGluStage,
)
from rlx.host import ir

PREFIX = "model.layers.3"
HIDDEN, HEADS, KV_HEADS, DIM = 24, 6, 2, 8
Q, K, V = (f"{PREFIX}.self_attn.{x}_proj.weight" for x in "qkv")
SPEC = SelfAttnPrefillSpec.hf_layer(PREFIX, HEADS, DIM, KV_HEADS)
TABLE = np.ones((16, DIM // 2), np.float32)


def weights() -> dict[str, np.ndarray]:
    shapes = {
        Q: (HEADS * DIM, HIDDEN),
        K: (KV_HEADS * DIM, HIDDEN),
        V: (KV_HEADS * DIM, HIDDEN),
        "norm.weight": (HIDDEN,),
        "head.weight": (DIM,),
    }
    random = np.random.default_rng(0)
    return {key: random.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}


def hidden_flow() -> ModelFlow:
    return ModelFlow("block").input("x", ["B", "S", HIDDEN])


def ops(built: BuiltModel, name: str = "") -> list[ir.OpView]:
    body = built.module.body.operations[0].regions[0].blocks[0]
    return [op for op in body.operations if op.operation.name.startswith(name)]


def names(built: BuiltModel) -> list[str]:
    return [op.operation.name.removeprefix("rlx.") for op in ops(built)]


def attribute(op: Any, name: str) -> Any:
    attributes = op.operation.attributes
    return attributes[name].value if name in attributes else None


def build_attention(spec: SelfAttnPrefillSpec = SPEC, **extra: Any) -> BuiltModel:
    return (
        hidden_flow()
        .rope_tables(TABLE, TABLE)
        .self_attn_prefill(spec)
        .build({**weights(), **extra})
    )


# -- self-attention ------------------------------------------------------------------------------


def test_attention_repeats_heads_in_a_row() -> None:
    built = build_attention()
    assert names(built) == [
        *["matmul"] * 3,
        *["rope"] * 2,
        *["narrow"] * 2,
        "concat",
        *["narrow"] * 2,
        "concat",
        "attention",
        "func.return",
    ]
    q, k, v = ops(built, "rlx.matmul")
    slices = ops(built, "rlx.narrow")
    turned = ops(built, "rlx.rope")[1]
    for slice_, source, head in zip(slices, [turned, turned, v, v], [0, 1, 0, 1], strict=True):
        assert slice_.operation.operands[0] == source.operation.results[0]
        assert attribute(slice_, "axis") == 2
        assert attribute(slice_, "start") == head * DIM
        assert attribute(slice_, "length") == DIM
    for concat, (a, b) in zip(ops(built, "rlx.concat"), [slices[:2], slices[2:]], strict=True):
        a, b = a.operation.results[0], b.operation.results[0]
        assert list(concat.operation.operands) == [a, a, a, b, b, b]
    (attention,) = ops(built, "rlx.attention")
    assert attribute(attention, "num_heads") == HEADS
    assert attribute(attention, "num_kv_heads") is None
    assert attribute(attention, "causal") is True
    assert attribute(attention, "scale") is None
    # The real type: heads * head_dim, not the hidden size.
    assert built.outputs[0].shape == (None, None, HEADS * DIM)
    assert ops(built, "rlx.rope")[0].operation.operands[0] == q.operation.results[0]
    assert turned.operation.operands[0] == k.operation.results[0]


def test_one_group_repeats_nothing() -> None:
    spec = replace(SPEC, num_heads=KV_HEADS)
    built = build_attention(spec, **{Q: weights()[K]})
    assert names(built) == [*["matmul"] * 3, *["rope"] * 2, "attention", "func.return"]


def test_keys_as_values_are_not_turned() -> None:
    built = build_attention(SPEC.with_k_eq_v())
    assert list(built.parameters) == ["rope.cos", "rope.sin", Q, K]
    key = ops(built, "rlx.matmul")[1].operation.results[0]
    sources = [op.operation.operands[0] for op in ops(built, "rlx.narrow")]
    assert sources == [ops(built, "rlx.rope")[1].operation.results[0]] * 2 + [key] * 2


def test_parameters_are_loaded_in_order_once_and_carry_names() -> None:
    built = build_attention()
    assert list(built.parameters) == ["rope.cos", "rope.sin", Q, K, V]
    function = built.module.body.operations[0]
    for index, attributes in enumerate(function.attributes["arg_attrs"]):
        found = (
            {entry.name: entry.attr for entry in attributes}
            if not isinstance(attributes, ir.DictAttr)
            else {key: attributes[key] for key in ("rlx.name", "rlx.param") if key in attributes}
        )
        expected = [*(spec.name for spec in built.inputs), *built.parameters][index]
        assert ir.StringAttr(found["rlx.name"]).value == expected
        assert ("rlx.param" in found) == (index >= len(built.inputs))
    assert built.parameters[Q] is not None


def test_options_reach_the_ops() -> None:
    spec = (
        SPEC.with_n_rot(4)
        .with_score_scale(0.25)
        .with_attn_logit_softcap(30.0)
        .with_mask(MaskKind.sliding_window(5))
    )
    built = build_attention(replace(spec, pairing="interleaved"))
    for rope in ops(built, "rlx.rope"):
        assert attribute(rope, "n_rot") == 4 and attribute(rope, "pairing") == "interleaved"
    (attention,) = ops(built, "rlx.attention")
    assert attribute(attention, "scale") == 0.25 and attribute(attention, "softcap") == 30.0
    # Five keys, the query's own included.
    assert attribute(attention, "left_window") == 4 and attribute(attention, "causal") is True


def test_no_rotation_needs_no_tables() -> None:
    built = hidden_flow().self_attn_prefill(SPEC.with_n_rot(0)).build(weights())
    assert "rope" not in names(built)


def test_norms_and_biases() -> None:
    norm = HeadNorm("head.weight", 1e-5, 1.0)
    spec = SPEC.with_hf_bias().with_norms(norm, norm, HeadNorm(None, 1e-5)).with_k_eq_v()
    biases = {
        key.replace("weight", "bias"): np.ones(size, np.float32)
        for key, size in ((Q, HEADS * DIM), (K, KV_HEADS * DIM))
    }
    built = build_attention(spec, **biases)
    norms = ops(built, "rlx.rms_norm")
    assert [len(op.operation.operands) for op in norms] == [1, 2, 2]
    assert all(attribute(op, "group") == DIM for op in norms)
    assert [attribute(op, "weight_offset") for op in norms] == [None, 1.0, 1.0]
    # The value norm reads the raw keys, bias included.
    raw = norms[0].operation.operands[0]
    assert norms[2].operation.operands[0] == raw
    assert raw.owner.name == "linalg.generic"
    assert V.replace("weight", "bias") not in built.parameters


def test_builders_exist_on_stages_too() -> None:
    stage = SelfAttnPrefillStage.hf_layer(PREFIX, HEADS, DIM, KV_HEADS)
    stage = stage.with_n_rot(4).with_rope_table("local").with_k_eq_v()
    assert stage.spec == SPEC.with_n_rot(4).with_rope_table("local").with_k_eq_v()
    tap = GemmaKvTapStage.hf_layer(PREFIX, KV_HEADS, DIM)
    tap = tap.with_n_rot(4).with_rope_table("local").with_k_eq_v()
    assert (tap.spec.n_rot, tap.spec.rope_table, tap.spec.k_eq_v) == (4, "local", True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_kv_heads": 0}, "num_heads, num_kv_heads and head_dim of at least 1, but got 6, 0"),
        ({"num_heads": 0}, "of at least 1"),
        ({"num_kv_heads": 4}, "num_heads to be a multiple of num_kv_heads, but got 6 and 4"),
        ({"num_heads": 1, "num_kv_heads": 2}, "multiple of num_kv_heads, but got 1 and 2"),
        ({"n_rot": 3}, "n_rot even and at most head_dim 8, but got 3"),
        ({"n_rot": 10}, "n_rot even and at most head_dim 8, but got 10"),
        ({"n_rot": -2}, "n_rot even and at most head_dim 8, but got -2"),
        ({"mask": MaskKind.sliding_window(0)}, "sliding window of at least 1 key, but got 0"),
        ({"attn_logit_softcap": -1.0}, "expects softcap >= 0"),
        ({"pairing": "sideways"}, "pairing"),
    ],
)
def test_attention_hazards(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FlowError, match=message) as caught:
        build_attention(replace(SPEC, **changes))
    assert "SelfAttnPrefillStage(layer 3)" in str(caught.value)


def test_query_width_must_be_heads_times_head_dim() -> None:
    with pytest.raises(WeightError) as caught:
        build_attention(replace(SPEC, num_heads=4))
    assert str(caught.value) == (
        f"SelfAttnPrefillStage(layer 3): expects weight '{Q}' of shape [32, 24] "
        "(num_heads 4 * head_dim 8, hidden 24), but it is [48, 24] in the given arrays"
    )


@pytest.mark.parametrize("shape", [["S", HIDDEN], ["B", "S", 1, HIDDEN], ["B", "S", None]])
def test_attention_wants_hidden_states(shape: list) -> None:
    flow = ModelFlow("f").input("x", shape).rope_tables(TABLE, TABLE).self_attn_prefill(SPEC)
    with pytest.raises(FlowError, match=r"expects hidden states \[B, S, hidden\], but got tensor"):
        flow.build(weights())


def test_tables_of_the_wrong_width_are_a_diagnostic_of_the_stage() -> None:
    flow = hidden_flow().rope_tables(TABLE[:, :3], TABLE[:, :3]).self_attn_prefill(SPEC)
    with pytest.raises(FlowError, match=r"SelfAttnPrefillStage\(layer 3\).*cos with 4 columns"):
        flow.build(weights())


# -- order of errors -----------------------------------------------------------------------------


def set_rope(name: str) -> CustomStage:
    def leave(ctx, value):
        ctx.state.rope[name] = ctx.constant(name, TABLE)
        return value

    return CustomStage(leave)


@pytest.mark.parametrize("stage", [SelfAttnPrefillStage, GemmaKvTapStage])
def test_rope_errors_come_before_weight_errors_and_cosines_first(stage: type) -> None:
    local = SPEC.with_rope_table("local")

    def error(*before: Any, spec: SelfAttnPrefillSpec = local) -> Exception:
        with pytest.raises(FlowError) as caught:
            hidden_flow().stages(before).stage(stage(spec)).build({})
        return caught.value

    label = f"{stage.__name__}(layer 3)"
    found = error()
    assert isinstance(found, MissingRopeError) and isinstance(found, KeyError)
    assert str(found) == (
        f"{label}: requires the RoPE tables of slot 'local', but 'local_cos' is not set; "
        "emit a NamedRopeTablesStage for 'local' first"
    )
    assert "'local_sin' is not set" in str(error(set_rope("local_cos")))
    assert "'local_cos' is not set" in str(error(set_rope("local_sin")))
    assert "'rope_cos' is not set; emit a RopeTablesStage first" in str(error(spec=SPEC))
    # Tables of another slot do not help.
    assert "'local_cos'" in str(error(RopeTablesStage(TABLE, TABLE)))
    assert "'local_cos'" in str(error(NamedRopeTablesStage("global", TABLE, TABLE)))
    assert isinstance(error(NamedRopeTablesStage("local", TABLE, TABLE)), MissingWeightError)


def test_weights_are_asked_for_in_order() -> None:
    def missing(stage: Any, *have: str) -> str:
        some = {key: array for key, array in weights().items() if key in have}
        with pytest.raises(MissingWeightError) as caught:
            hidden_flow().rope_tables(TABLE, TABLE).stage(stage).build(some)
        return str(caught.value)

    label = "SelfAttnPrefillStage(layer 3): missing weight "
    attention = SelfAttnPrefillStage(SPEC)
    assert missing(attention).startswith(f"{label}'{Q}' in the given arrays")
    assert missing(attention, Q, V).startswith(f"{label}'{K}'")
    assert missing(attention, Q, K).startswith(f"{label}'{V}'")
    label = "GemmaKvTapStage(layer 3): missing weight "
    assert missing(GemmaKvTapStage(SPEC), V).startswith(f"{label}'{K}'")
    assert missing(GemmaKvTapStage(SPEC), K).startswith(f"{label}'{V}'")


# -- the tap -------------------------------------------------------------------------------------


def tap_flow(stage: GemmaKvTapStage) -> ModelFlow:
    return hidden_flow().rope_tables(TABLE, TABLE).stage(stage)


def test_tap_exports_turned_keys_and_values_and_passes_the_flow_on() -> None:
    sink = SideOutputs()
    flow = tap_flow(GemmaKvTapStage(SPEC, sink=sink))
    built = flow.build(weights())
    assert names(built) == ["matmul", "matmul", "rope", "func.return"]
    assert [spec.name for spec in built.outputs] == ["output", "present.0.key", "present.0.value"]
    assert [spec.shape for spec in built.outputs[1:]] == [(None, None, KV_HEADS * DIM)] * 2
    assert list(built.parameters) == ["rope.cos", "rope.sin", K, V]
    returned = list(ops(built, "func.return")[0].operation.operands)
    key, value = ops(built, "rlx.matmul")
    assert returned[0] == ops(built)[0].operation.operands[0]
    assert returned[1] == ops(built, "rlx.rope")[0].operation.results[0]
    assert ops(built, "rlx.rope")[0].operation.operands[0] == key.operation.results[0]
    assert returned[2] == value.operation.results[0]
    assert sink.names == ("present.0.key", "present.0.value")


def test_tap_sees_norms_and_raw_keys_as_values() -> None:
    tap = GemmaKvTapStage(SPEC).with_k_eq_v().with_norms(HeadNorm("head.weight", 1e-6))
    built = tap_flow(tap).build(weights())
    assert names(built) == ["matmul", "rms_norm", "rope", "func.return"]
    returned = list(ops(built, "func.return")[0].operation.operands)
    assert returned[2] == ops(built, "rlx.matmul")[0].operation.results[0]


def test_a_sink_is_fresh_in_every_build_and_drains() -> None:
    sink = SideOutputs()
    seen = []

    def look(ctx, value):
        seen.append([found.shape for found in sink.values(ctx)])
        return value

    other = GemmaKvTapStage(replace(SPEC, k_key=V, v_key=K), name="present.last", sink=sink)
    flow = hidden_flow().custom(look).rope_tables(TABLE, TABLE)
    flow.stage(GemmaKvTapStage(SPEC, sink=sink)).custom(look).stage(other).custom(look)
    expected = ["present.0.key", "present.0.value", "present.last.key", "present.last.value"]
    first = flow.build(weights())
    second = flow.build(weights())
    assert str(first) == str(second)
    assert [spec.name for spec in second.outputs] == ["output", *expected]
    assert list(sink.names) == expected
    shape = (None, None, KV_HEADS * DIM)
    assert seen == [[], [shape] * 2, [shape] * 4] * 2
    assert sink.drain() == expected
    assert sink.names == () and sink.drain() == []


def test_tap_names_must_differ() -> None:
    tap = GemmaKvTapStage(SPEC, name="kv")
    with pytest.raises(FlowError, match=r"layer 3\): there is already an output 'kv.key'"):
        tap_flow(tap).stage(tap).build(weights())


# -- masks ---------------------------------------------------------------------------------------


def masked(mask: MaskKind, shape: list, dtype: str) -> tuple[list[str], bool, int]:
    """Types of the mask operand, and the attributes causal and left_window, of the attention."""
    flow = hidden_flow().input("m", shape, dtype).rope_tables(TABLE, TABLE)
    built = flow.self_attn_prefill(SPEC.with_mask(mask)).build(weights())
    (attention,) = ops(built, "rlx.attention")
    types = [str(operand.type) for operand in list(attention.operation.operands)[3:]]
    window = attribute(attention, "left_window")
    return types, bool(attribute(attention, "causal")), -1 if window is None else window


def test_mask_kinds() -> None:
    assert masked(MaskKind.none(), [1], "i1") == ([], False, -1)
    assert masked(MaskKind.causal(), [1], "i1") == ([], True, -1)
    assert masked(MaskKind.sliding_window(1), [1], "i1") == ([], True, 0)
    padding, full = "tensor<?x1x1x?xi1>", "tensor<?x1x?x?xi1>"
    for dtype in ("i1", "i8", "i32", "i64"):
        assert masked(MaskKind.custom("m"), ["B", "S"], dtype) == ([padding], True, -1)
        assert masked(MaskKind.custom("m"), ["B", 1, "S", "S"], dtype) == ([full], True, -1)
    bias = f"tensor<?x{HEADS}x?x?xf32>"
    assert masked(MaskKind.bias("m"), ["B", HEADS, "S", "S"], "f32") == ([bias], False, -1)
    assert masked(MaskKind.bias("m"), ["S", "S"], "f32") == (["tensor<?x?xf32>"], False, -1)
    window = MaskKind.custom("m") & MaskKind.sliding_window(3)
    assert masked(window, ["B", "S"], "i32") == ([padding], True, 2)


def test_masks_combine() -> None:
    three = MaskKind.sliding_window(7) & MaskKind.sliding_window(3) & MaskKind.bias("b")
    assert three == MaskKind(is_causal=True, window=3, add="b")
    assert MaskKind.none() & MaskKind.causal() == MaskKind.causal()
    assert str(MaskKind.custom("m") & MaskKind.sliding_window(3)) == "custom(m) & sliding_window(3)"
    assert str(MaskKind.none()) == "none" and str(MaskKind.causal()) == "causal"
    with pytest.raises(ValueError, match="cannot combine masks from inputs 'a' and 'b'"):
        MaskKind.custom("a") & MaskKind.custom("b")


@pytest.mark.parametrize(
    ("mask", "shape", "dtype", "message"),
    [
        (MaskKind.custom("n"), [1], "i1", r"requires the model input 'n' \(mask custom\(n\)"),
        (MaskKind.bias("n"), [1], "f32", r"requires the model input 'n' \(mask bias\(n\)\)"),
        (MaskKind.custom("m"), ["B", "S"], "f32", "i1 or integer tensor"),
        (MaskKind.custom("m"), ["B", "S", "S"], "i1", "i1 or integer tensor"),
        (MaskKind.bias("m"), ["B", 1, "S", "S"], "i1", "to be a float tensor"),
        (MaskKind.bias("m"), ["S"], "f32", "to be a float tensor"),
        (MaskKind.bias("m"), ["B", 5, "S", "S"], "f32", "broadcasts"),
        (MaskKind.custom("m") & MaskKind.bias("x"), ["B", "S"], "i1", "expects one mask input"),
    ],
)
def test_masks_without_fitting_operands(
    mask: MaskKind, shape: list, dtype: str, message: str
) -> None:
    with pytest.raises(FlowError, match=message) as caught:
        masked(mask, shape, dtype)
    assert "SelfAttnPrefillStage(layer 3)" in str(caught.value)


def test_layers_share_a_converted_mask() -> None:
    flow = hidden_flow().input("m", ["B", "S"], "i64").rope_tables(TABLE, TABLE)
    spec = replace(SPEC.with_mask(MaskKind.custom("m")), num_heads=HEADS)
    flow.residual_save().self_attn_prefill(spec).linear("back.weight").residual_add()
    flow.self_attn_prefill(spec)
    back = np.zeros((HIDDEN, HEADS * DIM), np.float32)
    built = flow.build({**weights(), "back.weight": back})
    assert len(ops(built, "linalg.generic")) == 1


def test_positions() -> None:
    flow = hidden_flow().input("p", ["B", "S"], "i64").positions("p")
    built = flow.rope_tables(TABLE, TABLE).self_attn_prefill(SPEC).build(weights())
    for rope in ops(built, "rlx.rope"):
        assert str(rope.operation.operands[3].type) == "tensor<?x?xi64>"
    flow = hidden_flow().input("p", ["B", "S"], "f32").stage(PositionsStage("p"))
    with pytest.raises(FlowError, match="i32 or i64 tensor"):
        flow.build({})


# -- tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cos", "sin"),
    [
        (TABLE, TABLE[:-1]),
        (TABLE.ravel(), TABLE.ravel()),
        (TABLE, TABLE.astype(np.float64)),
    ],
)
def test_tables_that_do_not_fit_each_other(cos: np.ndarray, sin: np.ndarray) -> None:
    for stage in (RopeTablesStage(cos, sin), NamedRopeTablesStage("local", cos, sin)):
        with pytest.raises(FlowError, match=r"RopeTablesStage.*: expects cosine and sine tables"):
            hidden_flow().stage(stage).build({})


def test_two_tables_of_one_name() -> None:
    flow = hidden_flow().rope_tables(TABLE, TABLE).rope_tables(TABLE, TABLE)
    with pytest.raises(FlowError, match=r"the name 'rope\.cos' is already taken"):
        flow.build({})


def test_named_tables_live_beside_the_default_ones() -> None:
    flow = hidden_flow().rope_tables(TABLE, TABLE).rope_tables(TABLE, TABLE, "local")
    built = flow.build({})
    expected = ["rope.cos", "rope.sin", "rope.local.cos", "rope.local.sin"]
    assert list(built.parameters) == expected


# -- small stages --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stage",
    [
        EmbedStage(),
        ScaleStage(2.0),
        RmsNormStage("n"),
        LinearStage("w"),
        ResidualSaveStage(),
        ResidualAddStage(),
        SwiGluStage.hf_layer(PREFIX),
        LogitSoftcapStage(3.0),
        SelfAttnPrefillStage(SPEC),
        GemmaKvTapStage(SPEC),
        OutputStage("x"),
    ],
    ids=lambda stage: type(stage).__name__,
)
def test_stages_that_need_a_value(stage: Any) -> None:
    with pytest.raises(FlowError, match=rf"{type(stage).__name__}.*: requires a value to flow in"):
        ModelFlow("f").stage(stage).build(weights())


def test_residuals() -> None:
    def error(*stages: Any) -> str:
        with pytest.raises(FlowError) as caught:
            hidden_flow().stages(stages).build({"w": np.zeros((3, HIDDEN), np.float32)})
        return str(caught.value)

    assert "slot 'residual' is empty" in error(ResidualAddStage())
    assert "never added" in error(ResidualSaveStage(), ResidualSaveStage())
    save, add = ResidualSaveStage(), ResidualAddStage()
    assert "is empty" in error(save, add, add)
    assert "one type" in error(save, LinearStage("w"), add)
    flow = hidden_flow().residual_save("a").residual_save("b").residual_add("a").residual_add("b")
    assert names(flow.build({})) == ["arith.addf", "arith.addf", "func.return"]


def test_weights_of_the_wrong_shape() -> None:
    w = {
        "w": np.zeros((5, 3), np.float32),
        "b": np.zeros(4, np.float32),
        "v": np.zeros(HIDDEN, np.float32),
    }

    def error(stage: Any) -> str:
        with pytest.raises(WeightError) as caught:
            hidden_flow().stage(stage).build(w)
        return str(caught.value)

    assert "LinearStage(w): expects weight 'w' of shape [?, 24]" in error(LinearStage("w"))
    assert "but it is [24] in" in error(LinearStage("v"))
    assert "RmsNormStage(b): expects weight 'b' of shape [24]" in error(RmsNormStage("b"))
    w["w"] = np.zeros((5, HIDDEN), np.float32)
    assert "expects weight 'b' of shape [5]" in error(LinearStage("w", "b"))
    assert "of shape [7, 24]" in error(LinearStage("w", out_features=7))


def test_mixed_dtypes_are_a_diagnostic() -> None:
    w = np.zeros((5, HIDDEN), ml_dtypes.bfloat16)
    with pytest.raises(FlowError, match=r"LinearStage\(w\).*element type f32"):
        hidden_flow().linear("w").build({"w": w})


def test_unsupported_dtype() -> None:
    with pytest.raises(FlowError, match=r"LinearStage\(w\): parameter 'w': no MLIR element type"):
        hidden_flow().linear("w").build({"w": np.zeros((5, HIDDEN), np.complex64)})


def test_embedding_wants_ids() -> None:
    with pytest.raises(FlowError, match="expects i32 or i64 ids"):
        hidden_flow().embed("w").build({"w": np.zeros((5, 3), np.float32)})
    stage = EmbedStage("w", (7, 3))
    flow = ModelFlow("f").input("ids", ["B", "S"], "i32").stage(stage)
    with pytest.raises(WeightError, match=r"of shape \[7, 3\] \(vocab_size, hidden_size\)"):
        flow.build({"w": np.zeros((5, 3), np.float32)})


def test_gated_blocks() -> None:
    sizes = {"gate": (40, HIDDEN), "up": (40, HIDDEN), "down": (HIDDEN, 40)}
    w = {
        f"{PREFIX}.mlp.{name}_proj.weight": np.zeros(size, np.float32)
        for name, size in sizes.items()
    }
    for stage, activation in ((SwiGluStage, "silu"), (GeGluStage, "gelu_tanh")):
        built = hidden_flow().stage(stage.hf_layer(PREFIX)).build(w)
        assert names(built) == ["matmul", "matmul", "glu", "matmul", "func.return"]
        assert attribute(ops(built, "rlx.glu")[0], "activation") == activation
        gate, up, _ = ops(built, "rlx.matmul")
        assert list(ops(built, "rlx.glu")[0].operation.operands) == [
            gate.operation.results[0],
            up.operation.results[0],
        ]
        assert list(built.parameters) == list(w)
        assert built.outputs[0].shape == (None, None, HIDDEN)


def test_a_bound_of_zero_is_refused() -> None:
    with pytest.raises(FlowError, match="expects cap above 0"):
        hidden_flow().stage(LogitSoftcapStage(0.0)).build({})


def test_custom_stages() -> None:
    from rlx.host import arith

    def double(ctx, value: FlowValue) -> Any:
        return arith.addf(value.value, value.value)

    built = hidden_flow().custom(double).build({})
    assert names(built) == ["arith.addf", "func.return"]
    assert 'loc("CustomStage(double)")' in built.text(locations=True)

    @dataclass(frozen=True)
    class Mine:
        """Any object with emit is a stage."""

        def emit(self, ctx, value):
            return FlowValue(arith.mulf(value.value, value.value))

    assert names(hidden_flow().stage(Mine()).build({})) == ["arith.mulf", "func.return"]
    with pytest.raises(FlowError, match=r"CustomStage\(bad\): expects the function to return"):
        hidden_flow().custom(lambda ctx, value: 3, "bad").build({})
    with pytest.raises(TypeError, match="expected a stage"):
        hidden_flow().stage(3)


# -- the flow ------------------------------------------------------------------------------------


def test_locations_and_errors_name_stage_and_layer() -> None:
    flow = hidden_flow().repeat_layers(2, lambda index: [ScaleStage(float(index)), ScaleStage(1)])
    text = flow.build({}).text(locations=True)
    assert 'loc("ScaleStage(layer 0)")' in text and 'loc("ScaleStage(layer 1)")' in text
    flow = hidden_flow().repeat_layers(2, lambda index: LinearStage(f"w{index}"))
    with pytest.raises(MissingWeightError, match=r"^LinearStage\(layer 1\): missing weight 'w1'"):
        flow.build({"w0": np.zeros((HIDDEN, HIDDEN), np.float32)})
    inner = ModelFlow("inner").named_layer("mlp", LinearStage("w"))
    flow = hidden_flow().named_layer("layer 7", inner)
    with pytest.raises(MissingWeightError, match=r"^LinearStage\(layer 7, mlp\): missing"):
        flow.build({})


def test_one_key_is_one_parameter() -> None:
    flow = hidden_flow().linear("w")
    flow.stage(LinearStage("w", transpose=False))
    built = flow.build({"w": np.zeros((40, HIDDEN), np.float32)})
    assert list(built.parameters) == ["w"]
    first, second = ops(built, "rlx.matmul")
    assert first.operation.operands[1] == second.operation.operands[1]
    assert attribute(first, "transpose_weight") is True
    assert built.outputs[0].shape == (None, None, HIDDEN)


def test_each_key_is_loaded_once() -> None:
    class Counting:
        asked: list[str] = []

        def keys(self):
            return ["w"]

        def get(self, key):
            self.asked.append(key)
            return np.zeros((HIDDEN, HIDDEN), np.float32)

        def origin(self, key):
            return "memory"

    source = Counting()
    hidden_flow().linear("w").linear("w").linear("w").build(source)
    assert source.asked == ["w"]


def test_inputs_and_outputs() -> None:
    flow = hidden_flow().output("first").stage(ScaleStage(2.0)).output("second")
    built = flow.build({})
    assert [str(spec) for spec in built.outputs] == ["first: ?x?x24xf32", "second: ?x?x24xf32"]
    assert [str(spec) for spec in built.inputs] == ["x: BxSx24xf32"]
    text = str(built)
    assert 'rlx.name = "first"' in text and 'rlx.name = "x"' in text
    with pytest.raises(FlowError, match="there is already an output 'first'"):
        flow.output("first").build({})
    with pytest.raises(FlowError, match="there is already an input 'x'"):
        hidden_flow().input("x", [1])
    with pytest.raises(FlowError, match="unknown dtype 'float'"):
        ModelFlow("f").input("x", [1], "float")
    with pytest.raises(FlowError, match="expected sizes, symbols or None, but got -1"):
        ModelFlow("f").input("x", [-1])
    with pytest.raises(FlowError, match="flow 'f' produces no output"):
        ModelFlow("f").build({})
    with pytest.raises(FlowError, match="the name 'x' is already taken"):
        hidden_flow().linear("x").build({"x": np.zeros((HIDDEN, HIDDEN), np.float32)})


def test_builders_that_change_a_flow() -> None:
    flow = hidden_flow()
    flow.when(False, lambda f: f.stage(ScaleStage(2.0))).when(True, lambda f: f.residual_save())
    flow.patch(lambda f: f.residual_add())
    assert [type(stage) for stage in flow] == [ResidualSaveStage, ResidualAddStage]
    other = flow.copy().stage(ScaleStage(2.0))
    assert len(flow) == 2 and len(other) == 3


def test_a_context_of_the_caller() -> None:
    context = ir.Context()
    built = hidden_flow().stage(ScaleStage(2.0)).build({}, context=context)
    assert built.module.context == context
