"""Decoding with keys and values as inputs and outputs, against Transformers with eager attention.

Differences are at most 1e-4 of the largest magnitude.
"""

from typing import Any

import numpy as np
import pytest
import torch
from test_parity import FAST, GEMMA, LLAMA3, SIZES, llama
from transformers import (
    DynamicCache,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaForCausalLM,
)

import rlx
from rlx.flow import FlowError, MaskKind, ModelFlow
from rlx.flow.rope import RopeSpec, rope_tables
from rlx.flow.stages import (
    BindDecodeInputsStage,
    GemmaDecodeLayerStage,
    LlamaDecodeLayerStage,
    SelfAttnPrefillSpec,
    SideOutputs,
    TapStage,
)
from rlx.runtime import Executable

IDS = np.random.default_rng(4).integers(0, SIZES["vocab_size"], (2, 12))


def random_model(kind: Any, config: Any) -> Any:
    torch.manual_seed(0)
    model = kind._from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.2 if parameter.dim() == 1 else parameter.shape[-1] ** -0.5
            noise = torch.randn_like(parameter) * scale
            parameter.copy_(parameter + noise if parameter.dim() == 1 else noise)
    return model.eval()


def run_reference(model: Any, ids: np.ndarray, mask: np.ndarray | None = None) -> dict[str, Any]:
    """Logits, keys and values, and the hidden states in front of each layer."""
    cache = DynamicCache()
    with torch.no_grad():
        output = model(
            torch.from_numpy(ids),
            attention_mask=None if mask is None else torch.from_numpy(mask),
            past_key_values=cache,
            output_hidden_states=True,
        )
    found = {"logits": output.logits.numpy()}
    for index, layer in enumerate(cache.layers):
        for part, x in (("k", layer.keys), ("v", layer.values)):
            found[f"{part}_{index}"] = x.transpose(1, 2).flatten(2).numpy()
        found[f"hidden_{index}"] = output.hidden_states[index].numpy()
    return found


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


def begin(width: int, layers: int, *, tables: bool = True) -> ModelFlow:
    flow = ModelFlow("decode").input("input_ids", ["B", "S"], "i64")
    if tables:
        for part in ("cos", "sin"):
            flow.input(f"rope_{part}", ["S", 4])
    for index in range(layers):
        for part in "kv":
            flow.input(f"past_{part}_{index}", ["B", "P", width])
    return flow


def compiled(flow: ModelFlow, weights: Any) -> Executable:
    if isinstance(weights, torch.nn.Module):
        weights = {name: value.numpy() for name, value in weights.state_dict().items()}
    return rlx.compile(flow, FAST, weights=weights, cache=False)


def split(reference: dict[str, Any], at: int) -> dict[str, np.ndarray]:
    """What came before position ``at``, as inputs."""
    return {
        f"past_{name}": np.ascontiguousarray(array[:, :at])
        for name, array in reference.items()
        if name[:2] in ("k_", "v_")
    }


def check(results: dict[str, Any], reference: dict[str, Any], at: int, live: Any = ...) -> None:
    close(results["logits"][live], reference["logits"][:, at:][live])
    for name, array in reference.items():
        if name[:2] in ("k_", "v_"):
            # Rows of the past come out as they went in.
            np.testing.assert_array_equal(results[name][:, :at], array[:, :at])
            close(results[name][:, at:][live], array[:, at:][live])


def test_llama() -> None:
    config = llama(num_key_value_heads=2, rope_parameters=LLAMA3)
    model = random_model(LlamaForCausalLM, config)
    reference = run_reference(model, IDS)
    spec = RopeSpec.from_hf(LLAMA3, 8, 500.0, 48, "the test")
    cos, sin = rope_tables(spec, 48)
    sink = SideOutputs()

    def layer(index: int) -> list[Any]:
        own = LlamaDecodeLayerStage.hf_layer(index, 4, 8, 2)
        stage = LlamaDecodeLayerStage(own.prefix, index, own.attention, 1e-6, sink=sink)
        return [TapStage(f"hidden_{index}"), stage]

    flow = begin(16, 2).stage(BindDecodeInputsStage(2)).embed().repeat_layers(2, layer)
    flow.final_norm(1e-6).lm_head()
    executable = compiled(flow, model)
    assert sink.names == ("k_0", "v_0", "k_1", "v_1")
    for at in (0, 9, 11):
        inputs = {
            "input_ids": IDS[:, at:],
            "rope_cos": cos[at:12],
            "rope_sin": sin[at:12],
            **split(reference, at),
        }
        results = executable.run(inputs)
        check(results, reference, at)
        for index in range(2):
            close(results[f"hidden_{index}"], reference[f"hidden_{index}"][:, at:])


def test_gemma2_with_mask_window_scale_and_softcap() -> None:
    """All at once, with padding on the left."""
    fields = {**GEMMA, "num_hidden_layers": 3, "attn_logit_softcapping": 2.0}
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    config = Gemma2Config(**fields, layer_types=kinds, final_logit_softcapping=3.0)
    model = random_model(Gemma2ForCausalLM, config)
    mask = np.ones_like(IDS)
    mask[1, :4] = 0
    reference = run_reference(model, IDS, mask)

    def layer(index: int) -> GemmaDecodeLayerStage:
        own = GemmaDecodeLayerStage.hf_layer(index, 4, 12, 2)
        kind = MaskKind.custom("mask")
        if kinds[index] == "sliding_attention":
            kind = kind & MaskKind.sliding_window(5)
        attention = own.attention.with_mask(kind).with_score_scale(24**-0.5)
        return GemmaDecodeLayerStage(
            own.prefix, index, attention.with_attn_logit_softcap(2.0), style="gemma2"
        )

    flow = begin(24, 3, tables=False).input("mask", ["B", "K"], "i64")
    flow.input("position_ids", ["B", "S"], "i64").positions()
    flow.rope_tables(*rope_tables(RopeSpec(12, 10000.0), 48)).stage(
        BindDecodeInputsStage(3, "mask")
    )
    flow.embed(scale=32**0.5).repeat_layers(3, layer).final_norm(weight_offset=1.0)
    flow.lm_head("model.embed_tokens.weight", softcap=3.0)
    at = 8
    inputs = {
        "input_ids": IDS[:, at:],
        "mask": mask,
        "position_ids": np.tile(np.arange(at, 12), (2, 1)),
        **split(reference, at),
    }
    check(compiled(flow, model).run(inputs), reference, at)


def test_gemma1_style_and_no_past() -> None:
    """The first call of a sequence has no past, and makes what a later call continues."""
    random = np.random.default_rng(0)
    weights = {"model.embed_tokens.weight": (20, 16), "model.norm.weight": (16,)}
    prefix = "model.layers.0"
    for name, shape in (
        ("self_attn.q_proj", (16, 16)),
        ("self_attn.k_proj", (8, 16)),
        ("self_attn.v_proj", (8, 16)),
        ("self_attn.o_proj", (16, 16)),
        ("mlp.gate_proj", (24, 16)),
        ("mlp.up_proj", (24, 16)),
        ("mlp.down_proj", (16, 24)),
        ("input_layernorm", (16,)),
        ("post_attention_layernorm", (16,)),
    ):
        weights[f"{prefix}.{name}.weight"] = shape
    arrays = {
        key: random.standard_normal(shape).astype(np.float32) for key, shape in weights.items()
    }
    cos, sin = rope_tables(RopeSpec(8, 100.0), 10)

    def flow(past: bool) -> ModelFlow:
        attention = SelfAttnPrefillSpec.hf_layer(prefix, 2, 8, 1)
        line = begin(8, int(past)).stage(BindDecodeInputsStage(int(past))).embed()
        line.stage(GemmaDecodeLayerStage(prefix, 0, attention, style="gemma", past=past))
        return line.final_norm().lm_head("model.embed_tokens.weight")

    ids = np.arange(10)[None] % 7
    first, later = (compiled(flow(past), arrays) for past in (False, True))
    whole = first.run({"input_ids": ids, "rope_cos": cos, "rope_sin": sin})
    start = first.run({"input_ids": ids[:, :6], "rope_cos": cos[:6], "rope_sin": sin[:6]})
    end = later.run(
        {
            "input_ids": ids[:, 6:],
            "rope_cos": cos[6:],
            "rope_sin": sin[6:],
            "past_k_0": start["k_0"],
            "past_v_0": start["v_0"],
        }
    )
    close(np.concatenate([start["logits"], end["logits"]], axis=1), whole["logits"])
    close(end["k_0"], whole["k_0"])
    close(end["v_0"], whole["v_0"])


@pytest.mark.parametrize(
    ("inputs", "stage", "message"),
    [
        ({}, BindDecodeInputsStage(1), r"requires the model input 'past_k_0' \(decoding\)"),
        ({"past_k_0": ["B", "P", 8]}, BindDecodeInputsStage(1), "requires the model input 'past_v"),
        ({}, BindDecodeInputsStage(0, "mask"), r"the model input 'mask' \(a mask of one's own\)"),
        ({"rope_cos": ["S", 4]}, BindDecodeInputsStage(0), "the model input 'rope_sin'"),
        (
            {"rope_cos": ["S", 4], "rope_sin": ["S", 3]},
            BindDecodeInputsStage(0),
            "expects the inputs 'rope_cos' and 'rope_sin' to be of one type",
        ),
        (
            {},
            GemmaDecodeLayerStage(
                "l", 0, SelfAttnPrefillSpec.hf_layer("l", 1, 8, 1), style="gemma9"
            ),
            "expects a style of gemma, gemma2, gemma3, but got 'gemma9'",
        ),
    ],
)
def test_errors(inputs: dict, stage: Any, message: str) -> None:
    flow = ModelFlow("decode").input("x", ["B", "S", 8])
    for name, shape in inputs.items():
        flow.input(name, shape)
    with pytest.raises(FlowError, match=message):
        flow.stage(stage).build({})


def test_a_past_of_another_width() -> None:
    weights = {
        f"model.layers.0.{name}.weight": np.ones(shape, np.float32)
        for name, shape in (
            ("input_layernorm", (8,)),
            ("self_attn.q_proj", (8, 8)),
            ("self_attn.k_proj", (8, 8)),
            ("self_attn.v_proj", (8, 8)),
        )
    }
    flow = ModelFlow("decode").input("x", ["B", "S", 8]).rope_tables(*[np.ones((4, 4))] * 2)
    flow.input("past_k_0", ["B", "P", 6]).input("past_v_0", ["B", "P", 8])
    flow.named_layer("layer 0", [LlamaDecodeLayerStage.hf_layer(0, 1, 8, 1)])
    message = (
        r"^SelfAttnDecodeStage\(layer 0\): expects the input 'past_k_0' to be a tensor "
        r"\[B, P, 8\], but got tensor<\?x\?x6xf32>"
    )
    with pytest.raises(FlowError, match=message):
        flow.build(weights)
