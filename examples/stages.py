"""A model of one's own, put together from stages, with a stage of one's own.

    python examples/stages.py

Builds one transformer block that returns its keys and values too, shows the IR that the stages
emit and what the fusions make of it, and runs it.
"""

from dataclasses import dataclass

import numpy as np

import rlx
from rlx.dialects.layer_norm import layer_norm
from rlx.flow import FlowContext, FlowValue, MaskKind, ModelFlow
from rlx.flow.rope import RopeSpec, rope_tables
from rlx.flow.stages import SelfAttnPrefillSpec

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, MLP = 32, 4, 2, 16, 64


@dataclass(frozen=True)
class LayerNormStage:
    """A stage is any object with such an ``emit``."""

    key: str

    def emit(self, ctx: FlowContext, value: FlowValue | None) -> FlowValue:
        x = ctx.need(value)
        weight = ctx.param(f"{self.key}.weight", [HIDDEN])
        bias = ctx.param(f"{self.key}.bias", [HIDDEN])
        return FlowValue(layer_norm(x.value, weight, bias, epsilon=1e-5))


def make_weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = {
        "layers.0.norm.weight": (HIDDEN,),
        "layers.0.norm.bias": (HIDDEN,),
        "layers.0.self_attn.q_proj.weight": (HEADS * HEAD_DIM, HIDDEN),
        "layers.0.self_attn.k_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
        "layers.0.self_attn.v_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
        "layers.0.self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD_DIM),
        "layers.0.mlp.gate_proj.weight": (MLP, HIDDEN),
        "layers.0.mlp.up_proj.weight": (MLP, HIDDEN),
        "layers.0.mlp.down_proj.weight": (HIDDEN, MLP),
    }
    return {
        key: (random.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32)
        for key, shape in shapes.items()
    }


def make_flow() -> ModelFlow:
    attention = (
        SelfAttnPrefillSpec.hf_layer("layers.0", HEADS, HEAD_DIM, KV_HEADS)
        .with_n_rot(HEAD_DIM // 2)
        .with_mask(MaskKind.sliding_window(8))
    )
    return (
        ModelFlow("block")
        .input("hidden_states", ["B", "S", HIDDEN])
        .rope_tables(*rope_tables(RopeSpec(dim=HEAD_DIM // 2, theta=10000.0), 128))
        .residual_save()
        .stage(LayerNormStage("layers.0.norm"))
        .kv_tap(attention)
        .self_attn_prefill(attention)
        .linear("layers.0.self_attn.o_proj.weight")
        .residual_add()
        .residual_save()
        .swiglu("layers.0")
        .residual_add()
        .output("hidden_states_out")
    )


def main() -> None:
    built = make_flow().build(make_weights())
    print(built)
    rlx.run_pipeline(built.module, "rlx-fuse")
    print("// after rlx-fuse", built, sep="\n")
    block = rlx.compile(built)
    x = np.random.default_rng(1).standard_normal((2, 10, HIDDEN)).astype(np.float32)
    for name, array in block.run({"hidden_states": x}).items():
        print(f"{name}: {array.dtype}{list(array.shape)}")


if __name__ == "__main__":
    main()
