"""What torch.export and torch-mlir make of Transformers' layers is fused, with the same numbers."""

import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from transformers import Gemma3TextConfig, GPTNeoXConfig, LlamaConfig
from transformers.models.gemma3.modeling_gemma3 import Gemma3DecoderLayer
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXLayer
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

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

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, angles):
        doubled = torch.cat([angles, angles], -1)
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


CASES = {
    "llama": (llama, {"rlx.rms_norm": 2, "rlx.rope": 2, "rlx.glu": 1}),
    "gemma3": (gemma3, {"rlx.rms_norm": 6, "rlx.rope": 2, "rlx.glu": 1}),
    "gpt_neox": (gpt_neox, {"rlx.rope": 2}),
}


@pytest.mark.parametrize("length", ["static", pytest.param("dynamic", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CASES)
def test_layer(name, length):
    make, expected = CASES[name]
    torch.manual_seed(0)
    layer, columns = make()
    model = Layer(layer.eval())
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
        compiled = rlx.compile(str(module))
    with torch.no_grad():
        wanted = model(x, angles).numpy()
    actual = compiled(x.numpy(), angles.numpy())
    assert np.abs(actual - wanted).max() <= 1e-4 * np.abs(wanted).max()
