"""The machine code of kernels made of AMX and AVX512-BF16, as LLVM writes it for such a machine.

Nothing here runs: see `test_amx.py` for what the kernels compute.
"""

import re

import ml_dtypes
import numpy as np
import pytest

import rlx
from bench.roofline import tiles_text
from rlx import targets
from rlx.compiler import lower
from rlx.host import ir, llvm
from rlx.schedules.cpu.isa import ISAS
from rlx.targets.llvm_text import for_older_llvm

MATMUL = """
func.func @main(%x: tensor<{m}x2048xbf16>, %w: tensor<512x2048xbf16> {{{attributes}}})
    -> tensor<{m}x512xbf16> {{
  %y = "rlx.matmul"(%x, %w) {{transpose_weight = true}}
      : (tensor<{m}x2048xbf16>, tensor<512x2048xbf16>) -> tensor<{m}x512xbf16>
  return %y : tensor<{m}x512xbf16>
}}
"""

ATTENTION = """
func.func @main(%q: tensor<1x?x1024xbf16>, %k: tensor<1x?x256xbf16>, %v: tensor<1x?x256xbf16>)
    -> tensor<1x?x1024xbf16> {
  %o = "rlx.attention"(%q, %k, %v) {
      num_heads = 8 : i64, num_kv_heads = 2 : i64, head_dim = 128 : i64, causal = true,
      operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}
      : (tensor<1x?x1024xbf16>, tensor<1x?x256xbf16>, tensor<1x?x256xbf16>)
      -> tensor<1x?x1024xbf16>
  return %o : tensor<1x?x1024xbf16>
}
"""


@pytest.fixture
def sapphire_rapids(monkeypatch):
    """A function from source and target to assembly."""
    import llvmlite.binding as backend

    features = ISAS["amx"].features | {"avx512dq", "avx512cd", "avx", "avx2", "f16c"}
    monkeypatch.setattr("rlx.targets.cpu.host_features", lambda: features)
    monkeypatch.setattr("rlx.targets.tiles.permitted", lambda: True)
    backend.initialize_all_targets()
    backend.initialize_all_asmprinters()
    triple = backend.Target.from_triple("x86_64-unknown-linux-gnu")

    def assembly(source, target="cpu{threads=1}", cpu="sapphirerapids"):
        module = str(lower(source, "llvm", target))
        with ir.Context(), ir.Location.unknown():
            text = llvm.translate_module_to_llvmir(ir.Module.parse(module).operation)
        code = backend.parse_assembly(for_older_llvm(text))
        machine = triple.create_target_machine(cpu=cpu, opt=3, reloc="pic", codemodel="default")
        options = backend.create_pipeline_tuning_options(speed_level=3)
        builder = backend.create_pass_builder(machine, options)
        builder.getModulePassManager().run(code, builder)
        return machine.emit_assembly(code)

    return assembly


def loops(assembly, instruction):
    """Innermost loops, as lists of lines, that contain an instruction."""
    lines = [line.strip() for line in assembly.splitlines()]
    lines = [line for line in lines if line and not line.startswith(".p2align")]
    labels = {line[:-1]: n for n, line in enumerate(lines) if line.endswith(":")}
    found = []
    for n, line in enumerate(lines):
        jump = re.fullmatch(r"j\w+\s+(\.\w+)", line)
        if jump and labels.get(jump[1], n) < n:
            body = lines[labels[jump[1]] + 1 : n + 1]
            inner = any(line.endswith(":") for line in body)
            if not inner and any(line.startswith(instruction) for line in body):
                found.append(body)
    return found


def count(lines, instruction):
    return sum(line.startswith(instruction) for line in lines)


def on_stack(lines, instruction):
    return [line for line in lines if line.strip().startswith(instruction) and "%rsp" in line]


def test_matmul(sapphire_rapids):
    assembly = sapphire_rapids(MATMUL.format(m=1000, attributes='rlx.param, rlx.name = "w"'))
    inner = loops(assembly, "tdpbf16ps")
    assert len(inner) >= 4
    for loop in inner:
        # Four products for four tiles, and nothing else that takes part in computing.
        assert count(loop, "tdpbf16ps") == count(loop, "tileloadd") >= 8
        assert not count(loop, "tilestored")
        assert not any("mm" in line for line in loop if not line.startswith("t"))
        assert len(loop) < 5 * count(loop, "tdpbf16ps")
    lines = assembly.splitlines()
    assert not on_stack(lines, "tile")
    assert "ldtilecfg" in assembly
    assert "tilerelease" in assembly
    assert "vcvtneps2bf16" in assembly
    # The panel after the next is fetched, and the system is asked for tiles.
    assert assembly.count("prefetcht0") >= 32
    assert re.search(r"(call|jmp)q?\s+syscall", assembly)


def test_matmul_packs_in_registers(sapphire_rapids):
    assembly = sapphire_rapids(MATMUL.format(m=1000, attributes=""))
    pack = assembly.split("rlx_pack_pairs_nk:")[1].split(".Lfunc_end")[0]
    assert not [line for line in pack.splitlines() if "%zmm" in line and "%rsp" in line]
    # Squares of 16 pairs: 64 shuffles with their pattern in the instruction.
    lines = [line.strip() for line in pack.splitlines()]
    assert count(lines, "vpunpck") == count(lines, "vshuf") == 2 * 32
    assert not count(lines, "vperm")


def test_few_rows(sapphire_rapids):
    assembly = sapphire_rapids(MATMUL.format(m=1, attributes='rlx.param, rlx.name = "w"'))
    assert "tdpbf16ps" not in assembly
    (inner,) = (loop for loop in loops(assembly, "vdpbf16ps") if count(loop, "prefetch"))
    # Four panels and four pairs: one instruction for each line of the weight.
    assert count(inner, "vdpbf16ps") == 16
    assert count(inner, "prefetcht0") == 16
    assert not any("vfmadd" in line or "vpslld" in line for line in inner)
    assert "vcvtneps2bf16" in assembly


def test_matmul_without_tiles(sapphire_rapids):
    source = MATMUL.format(m=1000, attributes='rlx.param, rlx.name = "w"')
    assembly = sapphire_rapids(source, "cpu{kernels=avx512_bf16 threads=1}", "znver4")
    assert "tdpbf16ps" not in assembly
    micro = assembly.split("rlx_matmul_avx512_bf16_micro:")[1].split(".Lfunc_end")[0]
    assert not [line for line in micro.splitlines() if "%zmm" in line and "%rsp" in line]
    (inner,) = loops(micro, "vdpbf16ps")
    # 24 sums for four vectors of the weight and six pairs of the input, maybe several times.
    times = count(inner, "vdpbf16ps") // 24
    assert count(inner, "vdpbf16ps") == 24 * times
    assert count(inner, "vmovups") == 4 * times
    assert len(inner) <= 24 * times + 4 * times + 6 * times + 8


def test_attention(sapphire_rapids):
    assembly = sapphire_rapids(ATTENTION)
    lines = [line.strip() for line in assembly.splitlines()]
    assert not on_stack(lines, "tile")
    scores, sums = (
        assembly.split(f"rlx_attention_amx_{name}.0:")[1].split(".Lfunc_end")[0]
        for name in ("score", "add_values")
    )
    # Four tiles of dims: sixteen products without a loop.
    (inner,) = loops(scores, "tdpbf16ps")
    assert count(inner, "tdpbf16ps") == count(inner, "tileloadd") == 16
    for loop in loops(sums, "tdpbf16ps"):
        assert count(loop, "tdpbf16ps") == count(loop, "tileloadd") >= 4
        assert not count(loop, "tilestored")
    softmax = assembly.split("rlx_attention_amx_softmax.0:")[1].split(".Lfunc_end")[0]
    weigh = max(loops(softmax, "vscalefps"), key=len)
    assert count(weigh, "vcvtneps2bf16") == count(weigh, "vscalefps") >= 2
    # 2^x and a sum.
    assert len(weigh) <= 16 * count(weigh, "vscalefps")
    # Values that are not finite are found while they are copied.
    assert "vdpbf16ps" in assembly


@pytest.mark.parametrize("target", ["cpu", "cpu{kernels=amx}"])
def test_the_best_kernels_are_chosen(sapphire_rapids, target):
    assert 'rlx.kernel = "amx"' in str(lower(ATTENTION, "linalg", target))


def test_without_permission(sapphire_rapids, monkeypatch):
    monkeypatch.setattr("rlx.targets.tiles.permitted", lambda: False)
    with pytest.warns(RuntimeWarning, match="does not let this process use the tiles of AMX"):
        chosen = targets.get("cpu").stages()
    assert any("isa=avx512_bf16" in stage.pipeline for stage in chosen)
    with pytest.raises(targets.TargetError, match="kernels=amx: the system does not let"):
        targets.get("cpu{kernels=amx}").stages()


def test_permission_is_asked_for_once():
    """By the process and by the code: where there are no tiles, that does no harm."""
    x = np.ones((20, 64), ml_dtypes.bfloat16)
    w = np.ones((32, 64), ml_dtypes.bfloat16)
    source = MATMUL.format(m=20, attributes="").replace("512", "32").replace("2048", "64")
    function = rlx.compile(source, "cpu{kernels=amx simulate=true}", cache=False)
    for _ in range(2):
        assert (function(x, w).astype(np.float32) == 64).all()


def test_missing_instructions(monkeypatch):
    monkeypatch.setattr("rlx.targets.cpu.host_features", lambda: ISAS["avx512"].features)
    message = "kernels=amx: this machine has no amx-bf16, amx-tile, avx512bf16"
    with pytest.raises(targets.TargetError, match=message):
        targets.get("cpu{kernels=amx}").stages()
    assert any("isa=avx512}" in stage.pipeline for stage in targets.get("cpu").stages())


def test_products_in_registers(sapphire_rapids):
    """What the peak of tiles is measured with."""
    found = loops(sapphire_rapids(tiles_text(), "cpu{kernels=none}"), "tdpbf16ps")
    assert found
    for inner in found:
        assert not count(inner, "tileloadd")
        assert count(inner, "tdpbf16ps") >= 4
    function = rlx.compile(tiles_text(), "cpu{kernels=none simulate=true}", cache=False)
    ones = np.ones((2, 16, 32), ml_dtypes.bfloat16)
    assert (function(3, ones, ones) == 3 * 32).all()


def test_attention_of_many_rows(sapphire_rapids):
    """Products from registers; powers and quotients in few instructions; memory is asked early."""
    source = ATTENTION.replace("bf16", "f32").replace("causal", "softcap = 30.0 : f64, causal")
    assembly = sapphire_rapids(source, "cpu{threads=1 kernels=avx512}")
    name = re.search(r"^rlx_attention_score\S*:$", assembly, re.MULTILINE)[0]
    score = assembly.split(f"\n{name}")[1].split(".Lfunc_end")[0]
    assert score.count("prefetch") == 4
    inner = loops(score, "vfmadd")
    assert {count(loop, "vfmadd") for loop in inner} == {2 * 8, 2 * 16}
    for loop in inner:
        assert not on_stack(loop, "v") and not count(loop, "prefetch")
    weights = loops(assembly, "vscalefps")
    assert weights and not any(count(loop, "vdivps") for loop in weights)
    (bound,) = {count(loop, "vrcp14ps") for loop in loops(assembly, "vrcp14ps")}
    assert bound == 1 and not re.search("vdivps.*zmm", assembly)


@pytest.mark.parametrize(
    ("kernels", "beyond"),
    [("avx2", r"[yx]mm(1[6-9]|2\d|3[01])\b|zmm|%k[1-7]"), ("avx512", "vcvtneps2bf16|tile|dpbf16")],
)
def test_a_forced_set_holds_for_all_code(sapphire_rapids, kernels, beyond):
    """Kernels, and plain code beside them, which LLVM makes vectors of."""
    source = """
func.func @main(%a: tensor<100x512xbf16>, %b: tensor<512x512xbf16>, %c: tensor<?xbf16>)
    -> (tensor<100x512xbf16>, tensor<?xbf16>) {
  %0 = "rlx.matmul"(%a, %b) {transpose_weight = true}
      : (tensor<100x512xbf16>, tensor<512x512xbf16>) -> tensor<100x512xbf16>
  %1 = math.exp %c : tensor<?xbf16>
  return %0, %1 : tensor<100x512xbf16>, tensor<?xbf16>
}"""
    for threads in (1, 2):
        forced, best = (
            sapphire_rapids(source, f"cpu{{kernels={name} threads={threads}}}")
            for name in (kernels, "host")
        )
        assert not re.search(beyond, forced)
        assert re.search(beyond, best)
        assert re.search(r"vfmadd.*ymm" if kernels == "avx2" else r"vfmadd.*zmm", forced)
