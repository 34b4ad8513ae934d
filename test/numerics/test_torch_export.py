"""What torch.export and torch-mlir make of Transformers' layers is fused, with the same numbers."""

import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from transformers import (
    CohereConfig,
    Gemma3TextConfig,
    GlmConfig,
    GPTNeoXConfig,
    LlamaConfig,
    Phi3Config,
)
from transformers.models.cohere.modeling_cohere import CohereDecoderLayer
from transformers.models.gemma3.modeling_gemma3 import Gemma3DecoderLayer
from transformers.models.glm.modeling_glm import GlmDecoderLayer
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXLayer
from transformers.models.llama.modeling_llama import LlamaDecoderLayer
from transformers.models.phi3.modeling_phi3 import Phi3DecoderLayer

import rlx
from rlx.host import ir
from rlx.passes.base import walk
from rlx.pipeline import run_pipeline

fx = pytest.importorskip("torch_mlir.fx")

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "attn_implementation": "eager",
    "num_hidden_layers": 1,
}


class Layer(torch.nn.Module):
    """A decoder layer on hidden states [B, S, 32] and angles [1 or B, S, n_rot / 2]."""

    def __init__(self, layer, interleaved):
        super().__init__()
        self.layer, self.interleaved = layer, interleaved

    def forward(self, x, angles):
        doubled = torch.cat([angles, angles], -1)
        if self.interleaved:
            doubled = torch.repeat_interleave(angles, 2, dim=-1)
        tables = (doubled.cos(), doubled.sin())
        out = self.layer(x, position_embeddings=tables, attention_mask=None)
        return out[0] if isinstance(out, tuple) else out


def llama():
    return LlamaDecoderLayer(LlamaConfig(**SIZES, num_key_value_heads=2), 0), 4


def gemma3():
    config = Gemma3TextConfig(**SIZES, num_key_value_heads=1, head_dim=16, query_pre_attn_scalar=16)
    return Gemma3DecoderLayer(config, 0), 8


def gpt_neox():
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    return GPTNeoXLayer(GPTNeoXConfig(**SIZES, rope_parameters=rope), 0), 2


def phi3():
    config = Phi3Config(**SIZES, num_key_value_heads=2, pad_token_id=0, partial_rotary_factor=0.5)
    return Phi3DecoderLayer(config, 0), 2


def glm():
    config = GlmConfig(**SIZES, num_key_value_heads=2, head_dim=8, pad_token_id=0)
    return GlmDecoderLayer(config, 0), 2


def cohere():
    return CohereDecoderLayer(CohereConfig(**SIZES, num_key_value_heads=2), 0), 4


GATED = {"rlx.rms_norm": 2, "rlx.rope": 2, "rlx.glu": 1}
CASES = {
    "llama": (llama, GATED),
    "gemma3": (gemma3, {**GATED, "rlx.rms_norm": 6}),
    "gpt_neox": (gpt_neox, {"rlx.rope": 2}),
}
SLOW = {
    "phi3": (phi3, GATED),
    "glm": (glm, GATED),
    "cohere": (cohere, {**GATED, "rlx.rms_norm": 1}),
}
slow = pytest.mark.slow


# Interleaved tables of dynamic length are gathered, from a length that is not known to be the same.
DYNAMIC = ["llama", "gemma3", "gpt_neox", "phi3"]


@pytest.mark.parametrize(
    ("name", "length"),
    [
        *((name, "static") for name in CASES),
        *(pytest.param(name, "static", marks=slow) for name in SLOW),
        *(pytest.param(name, "dynamic", marks=slow) for name in DYNAMIC),
    ],
)
def test_layer(name, length):
    make, expected = {**CASES, **SLOW}[name]
    torch.manual_seed(0)
    layer, columns = make()
    model = Layer(layer.eval(), name == "cohere")
    x, angles = torch.randn(2, 6, 32), torch.randn(1, 6, columns)
    shapes = None
    if length == "dynamic":
        size = torch.export.Dim("S", min=2, max=64)
        shapes = {"x": {1: size}, "angles": {1: size}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = str(
            fx.export_and_import(
                model,
                x,
                angles,
                output_type=fx.OutputType.LINALG_ON_TENSORS,
                dynamic_shapes=shapes,
            )
        )
    with ir.Context() as context:
        rlx.load_dialects(context)
        module = ir.Module.parse(exported)
        run_pipeline(module, "rlx-fuse")
        names = Counter(op.name for op in walk(module.operation))
        assert {op: names[op] for op in ("rlx.rms_norm", "rlx.rope", "rlx.glu") if names[op]} == (
            expected
        )
        compiled = rlx.compile(str(module), threads=1)
    with torch.no_grad():
        wanted = model(x, angles).numpy()
    actual = compiled(x.numpy(), angles.numpy())
    assert np.abs(actual - wanted).max() <= 1e-4 * np.abs(wanted).max()
