"""How the time to compile a model grows with the number of its layers.

    python bench/compile_depth.py [--width 256] [--layers 4 8 16 32]

Builds Gemma 3 models (every second layer with a window) and compiles the function that prefills and
decodes, from the flow to machine code in memory, without the cache of compiled code. Times are CPU
seconds of the process, which other work on the machine hardly changes.

On two cores of a Xeon with AVX-512, width 256:

    4 layers: 3.32 s      8 layers: 3.51 s, 1.06 x
   16 layers: 3.71 s, 1.12 x     32 layers: 5.14 s, 1.55 x

Most of it is machine code, which is for as many threads as there are and for one.
"""

import argparse
import time

import numpy as np

import rlx
from rlx.flow import DictWeights
from rlx.flow.recipes import HfConfig, read_config
from rlx.models import Model


def make_model(layers: int, width: int) -> Model:
    """A model of weights that are all zero: nobody looks at them."""
    fields = {
        "model_type": "gemma3_text",
        "vocab_size": 1000,
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": width // 4,
        "sliding_window": 128,
        "sliding_window_pattern": 2,
        "max_position_embeddings": 1024,
    }
    config = read_config(HfConfig(fields, "the benchmark"))
    heads = {"q": 4, "k": 1, "v": 1}
    weights = {"model.embed_tokens.weight": (1000, width), "model.norm.weight": (width,)}
    for index in range(layers):
        prefix = f"model.layers.{index}"
        for name, count in heads.items():
            weights[f"{prefix}.self_attn.{name}_proj.weight"] = (count * width // 4, width)
        weights[f"{prefix}.self_attn.o_proj.weight"] = (width, width)
        for name in ("q_norm", "k_norm"):
            weights[f"{prefix}.self_attn.{name}.weight"] = (width // 4,)
        for name in ("gate", "up"):
            weights[f"{prefix}.mlp.{name}_proj.weight"] = (3 * width, width)
        weights[f"{prefix}.mlp.down_proj.weight"] = (width, 3 * width)
        for name in (
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
        ):
            weights[f"{prefix}.{name}.weight"] = (width,)
    arrays = {key: np.zeros(shape, np.float32) for key, shape in weights.items()}
    return Model(config, DictWeights(arrays))


def measure(layers: int, width: int) -> tuple[float, dict[str, float], int]:
    """CPU seconds in all, wall seconds per step, and the number of lines of the IR."""
    model = make_model(layers, width)
    start, clock = time.process_time(), time.perf_counter()
    built = model.build(model.make_cached_flow())
    build = time.perf_counter() - clock
    executable = rlx.compile(built, cache=False)
    total = time.process_time() - start
    return total, {"flow": build, **executable.timings}, str(built).count("\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, nargs="+", default=[4, 8, 16, 32])
    arguments = parser.parse_args()
    measure(2, 64)  # imports
    first = None
    for layers in arguments.layers:
        total, steps, size = measure(layers, arguments.width)
        first = first or total
        listed = ", ".join(f"{name} {seconds:.2f}" for name, seconds in steps.items())
        print(f"{layers:3} layers: {total:.2f} s, {total / first:.2f} x, {size} lines ({listed})")


if __name__ == "__main__":
    main()
