"""Whole models on a simulated GPU, against the same models on the CPU."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "numerics"))
import test_architectures as architectures
import test_experts as moe
from cuda_programs import program

import rlx
from rlx.flow import ModelFlow
from rlx.flow.stages import MoeStage
from rlx.runtime.cuda import DeviceArray
from rlx.runtime.cuda.arrays import Memory
from rlx.runtime.kv_cache import KvCache, LayerSpec
from rlx.testing.simulated_gpu import SimulatedGpu

CHECKPOINT = Path(__file__).parents[2] / "examples" / "tiny-gemma3"


def on_simulated_gpu(model, **options):
    """The model, with everything that it compiles on a simulated GPU; and these GPUs."""
    gpus = []

    def compile(built):
        executable, gpu = program(built, **options)
        gpus.append(gpu)
        return executable.bind(built.parameters)

    model._compile = compile
    return gpus


TOLERANCE = {"f32": 1e-5, "bf16": 2e-2}


@pytest.mark.parametrize(
    ("arch", "dtype"),
    [("sm_90a", "bf16"), pytest.param("sm_80", "f32", marks=pytest.mark.slow)],
)
def test_prefill(arch, dtype):
    check_prefill(arch, dtype, np.array([[1, 5, 200]]))


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_prefill_of_a_batch(arch, dtype):
    check_prefill(arch, dtype, np.array([[1, 5, 9, 200], [4, 4, 7, 8]]))


def check_prefill(arch, dtype, ids):
    expected = rlx.load_model(CHECKPOINT, dtype=dtype).logits(ids).astype(np.float32)
    model = rlx.load_model(CHECKPOINT, dtype=dtype)
    gpus = on_simulated_gpu(model, arch=arch)
    found = model.logits(ids).astype(np.float32)
    assert np.abs(found - expected).max() <= TOLERANCE[dtype] * np.abs(expected).max()
    assert any("attention" in name for gpu in gpus for name in gpu.launched)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["olmo", "gemma4_text", "glm", "qwen3_moe"])
def test_bf16(kind, tmp_path):
    """As close to f32 as Transformers in bf16 is, or 2e-2; see `test_architectures.test_bf16`."""
    made = architectures.make(kind, (architectures.FAST | architectures.SLOW)[kind], "bfloat16")
    loaded = architectures.load(made, tmp_path)
    loaded.reference.config._experts_implementation = "eager"
    on_simulated_gpu(loaded.model, arch="sm_90a")
    logits, taps = loaded.model.taps(architectures.IDS, architectures.MASK)
    found = [logits, *(array for pair in taps for array in pair)]
    live = architectures.MASK.astype(bool)
    for ours, theirs, exact in zip(
        found,
        architectures.reference(loaded.reference),
        architectures.reference(loaded.exact),
        strict=True,
    ):
        own, limit = (
            architectures.distance(
                array[live].astype(np.float32), exact[live], by_row=kind == "qwen3_moe"
            )
            for array in (ours, theirs)
        )
        assert own <= max(2e-2, 1.1 * limit)


@pytest.mark.slow
def test_generation():
    ids = np.array([[1, 5]])
    expected = rlx.load_model(CHECKPOINT).generate(ids, max_new_tokens=2)
    model = rlx.load_model(CHECKPOINT)
    gpus = on_simulated_gpu(model)
    assert (np.asarray(model.generate(ids, max_new_tokens=2)) == np.asarray(expected)).all()
    assert any("kv_append" in name for gpu in gpus for name in gpu.launched)


def test_a_cache_stays_on_the_gpu():
    model, reference = (rlx.load_model(CHECKPOINT, dtype="bf16") for _ in range(2))
    on_simulated_gpu(model)
    cache, expected = (m.new_cache(1, 4) for m in (model, reference))
    assert all(isinstance(array, DeviceArray) for array in cache.arrays.values())
    for tokens in ([[1, 5]], [[200]]):
        found, wanted = (
            m.decode(np.array(tokens), c).astype(np.float32)
            for m, c in ((model, cache), (reference, expected))
        )
        assert np.abs(found - wanted).max() <= TOLERANCE["bf16"] * np.abs(wanted).max()
    with pytest.raises(ValueError, match="capacity of the cache"):
        model.decode(np.array([[1, 2]]), cache)


def test_windows_move_on_the_gpu():
    gpu = SimulatedGpu(None)

    def zeros(shape, dtype):
        array = DeviceArray(Memory(gpu, int(np.prod(shape)) * 4, 0), "f32", shape)
        array.write(np.zeros(shape, dtype))
        return array

    layers = [LayerSpec("k", "v", 2, 2, window=3)]
    cache = KvCache(layers, 1, 100, np.float32, chunk=2, zeros=zeros)
    rows = np.arange(10, dtype=np.float32).reshape(1, 5, 2)
    cache.arrays["k"].write(rows)
    cache.advance(np.array([4]))
    cache.make_room(2)
    assert cache.rows(3).tolist() == [2]
    assert (cache.arrays["k"].numpy()[:, :2] == rows[:, 2:4]).all()


@pytest.mark.slow
def test_quantized_weights():
    model = rlx.load_model(CHECKPOINT)
    ids = np.array([[1, 5]])
    expected = rlx.compile(model.built, quantize="int8{group=16}", cache=False)(ids)
    executable, _ = program(model.built, quantize="int8{group=16}")
    found = executable.bind(model.built.parameters)(ids)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_experts_that_no_row_uses_are_left_alone():
    stage = MoeStage("router", moe.EXPERTS, 2)
    flow = ModelFlow("f").input("x", ["B", "S", moe.HIDDEN]).stage(stage)
    weights = {name: array.copy() for name, array in moe.WEIGHTS.items()}
    expected = moe.run(stage, moe.X[:1, :1], **weights)
    executable, gpu = program(flow, weights=weights)
    found = executable.bind(weights)(moe.X[:1, :1])
    moe.close(found, expected)
    # Of four experts two are used; the launches are there for all.
    assert len(set(gpu.launched)) < len(gpu.launched) / 2
    weights["gate"][:] = np.nan
    used = np.isnan(moe.run(stage, moe.X[:1, :1], **weights)).any()
    assert np.isnan(executable.bind(weights)(moe.X[:1, :1])).any() == used


def test_the_plan_of_a_model_is_small_and_its_memory_shared():
    model = rlx.load_model(CHECKPOINT)
    executable, _ = program(model.built)
    plan = executable.program.plan
    assert len({step.kernel for step in plan.steps}) < len(plan.steps)
    executable.bind(model.built.parameters)
    executable(np.array([[1, 2, 3]]))
    (layout,) = executable._layouts.values()
    sizes = [layout.values[buffer.size] for buffer in plan.buffers]
    assert layout.workspace < sum(sizes) / 3
