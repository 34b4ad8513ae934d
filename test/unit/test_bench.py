"""The benchmark itself: exact answers, statistics, tables, and one tiny row from end to end."""

import importlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import rlx
from bench import measure, sweep
from bench.__main__ import main
from bench.cases import CASES, Attention, Block, Glu, LayerNorm, Matmul, RmsNorm, Rope, select
from bench.cases.model import GEMMA, LLAMA, Geometry
from bench.cases.model_reference import last_logits
from bench.client import Client, PeerError
from bench.cpu import Plan, start
from bench.machine import describe, pick_cores
from bench.measure import Row, Timing, measure_case, ratio, relative_error
from bench.peers import PEERS
from bench.peers.base import Peer
from bench.peers.ours import as_stored, module_text
from bench.report import Run, markdown, milliseconds, table, to_json, write, write_section
from bench.roofline import Roofline, fma_text, stream_text
from bench.startup import Startup, measure_startup
from bench.targets import compare, goal

TINY = Matmul("T", "tiny", 5, 8, 3)
ROOFLINE = Roofline(1e11, 1e10, 2e10)


# -- cases -----------------------------------------------------------------------------------------

SMALL = [
    Attention("a", "", 4, 2, 16, 9, 9),
    Attention("w", "", 4, 1, 16, 7, 11, window=3, softcap=5.0, batch=2),
    Attention("d", "", 2, 2, 16, 1, 13),
    Block("b", "", 24, 4, 2, 16, 6),
    TINY,
    RmsNorm("n", "", 4, 24),
    LayerNorm("l", "", 4, 24),
    Glu("g", "", 4, 24),
    Rope("r", "", 5, 256),
]


@pytest.mark.parametrize(
    ("case", "dtype"),
    [*((case, "f32") for case in SMALL), (SMALL[0], "bf16"), (TINY, "bf16")],
    ids=lambda value: getattr(value, "name", value),
)
def test_what_rlx_compiles_is_what_the_reference_says(case, dtype):
    rows = np.arange(case.rows())
    for problem, expected in case.reference(rows).items():
        if problem == "rope" and 1 < case.queries < case.keys:
            continue  # would have to turn by positions
        compiled = rlx.compile(module_text(case, dtype, problem), "cpu{kernels=none}", cache=False)
        arrays = {name: as_stored(name, a, dtype) for name, a in case.inputs().items()}
        compiled.bind({name: arrays[name] for name in case.parameters()})
        result = compiled(*(arrays[spec.name] for spec in compiled.inputs))
        actual = result.reshape(case.rows(), -1).astype(np.float64)
        assert relative_error(actual, expected) < (1e-5 if dtype == "f32" else 3e-2)


def test_inputs_are_the_same_every_time_and_fit_bf16():
    first, second = (SMALL[3].inputs() for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
        if name not in ("cos", "sin"):
            assert not (array.view(np.uint32) & 0xFFFF).any()


def test_pairs_count_what_is_visible():
    for case in SMALL[:3]:
        assert case.pairs() == case.visible().sum()
    assert SMALL[0].flops() == 4 * 4 * 16 * 45


def test_rows_by_name():
    assert [case.name for case in select("A1,B*")] == ["A1", "B1", "B2"]
    assert select(None) == list(CASES)
    with pytest.raises(ValueError, match="no row is named 'Z9'; known: A1, A2"):
        select("A1,Z9")
    assert len({case.name for case in CASES}) == len(CASES)


def small(geometry: Geometry) -> Geometry:
    fields = {"vocab_size": 50, "hidden_size": 24, "intermediate_size": 40, "head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    extra = {"sliding_window": 4, "query_pre_attn_scalar": 16}
    extra = {name: value for name, value in extra.items() if name in geometry.fields}
    return replace(geometry, name="small", fields=geometry.fields | fields | heads | extra)


@pytest.mark.parametrize("geometry", [LLAMA, GEMMA], ids=lambda geometry: geometry.name)
def test_models_are_those_of_transformers(geometry, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("RLX_BENCH_DIR", str(tmp_path))
    tiny = replace(small(geometry), name=f"small {geometry.name}")
    model = AutoModelForCausalLM.from_pretrained(tiny.checkpoint(), dtype=torch.float64).eval()
    ids = np.random.default_rng(0).integers(0, 50, 9)
    with torch.no_grad():
        expected = model(torch.from_numpy(ids[None])).logits[0, -1].numpy()
    assert relative_error(last_logits(tiny, ids), expected) < 1e-6


# -- statistics ------------------------------------------------------------------------------------


def test_ratio_is_of_turns_next_to_each_other():
    own, peer = Timing("rlx", "rlx"), Timing("torch", "torch")
    own.rounds, peer.rounds = [1.0, 10.0, 2.0], [2.0, 20.0, 8.0]
    assert ratio(own, peer) == 2.0
    peer.rounds = [3.0]
    assert ratio(own, peer) == 3.0


def test_errors_that_are_no_number_are_infinite():
    exact = np.array([[3.0, 4.0]])
    assert relative_error(exact, exact) == 0
    assert relative_error(exact + np.array([0, 1]), exact) == pytest.approx(1 / np.sqrt(12.5))
    assert relative_error(np.full((1, 2), np.nan), exact) == np.inf
    assert relative_error(np.zeros((1, 3)), exact) == np.inf


class Fake:
    """A tool whose variants take as long as it is told, and may be wrong."""

    def __init__(self, name, times, off=0.0, ready=1.0):
        self.name, self.times, self.off, self.ready = name, times, off, ready
        self.turns = dict.fromkeys(times, 0)

    def ask(self, method, *arguments):
        if method == "variants":
            return list(self.times)
        name = arguments[0]
        if self.times[name] is None:
            raise PeerError("does not work")
        if method == "prepare":
            exact = TINY.reference(arguments[1])["matmul"]
            return self.ready, self.times[name], "", exact + self.off
        self.turns[name] += 1
        return [self.times[name]] * 3


def timings(row):
    return {timing.name: timing for timing in row.timings}


def test_every_tool_has_as_many_turns_unless_it_is_far_behind():
    own = Fake("rlx", {"rlx": 9.0})
    peer = Fake("torch", {"fast": 1.0, "close": 1.25, "near": 1.9, "behind": 3.0, "far": 5.0})
    row = measure_case(TINY, "f32", [own, peer], rounds=5)
    assert own.turns == {"rlx": 5}
    assert peer.turns == {"fast": 5, "close": 5, "near": 3, "behind": 1, "far": 0}
    assert timings(row)["far"].rounds == [5.0]
    assert row.best_peer().name == "fast"
    (found,) = compare(row)
    assert found.ratio == pytest.approx(1 / 9)


def test_what_takes_long_has_three_turns():
    own = Fake("rlx", {"rlx": 9.0})
    measure_case(TINY, "f32", [own], rounds=5, longest=0.0)
    assert own.turns == {"rlx": 3}


def test_what_fails_or_is_wrong_gets_no_turn():
    broken = Fake("jax", {"broken": None, "fine": 1.0})
    wrong = Fake("torch", {"wrong": 0.5}, off=1.0)
    row = measure_case(TINY, "f32", [Fake("rlx", {"rlx": 2.0}), broken, wrong])
    assert timings(row)["broken"].failure == "does not work"
    assert "wrong by" in timings(row)["wrong"].failure
    assert wrong.turns == {"wrong": 0}
    assert row.best_peer().name == "fine"
    wrong_ours = measure_case(TINY, "f32", [Fake("rlx", {"rlx": 2.0}, off=1.0)])
    assert compare(wrong_ours)[0].ratio is None


def test_patience_ends_with_the_first_slow_start():
    slow = Fake("torch.compile", {"first": 1.0, "second": 0.1}, ready=61.0)
    row = measure_case(TINY, "f32", [Fake("rlx", {"rlx": 1.0}), slow], patience=60.0)
    assert "second" not in timings(row)


def test_a_tool_without_hope_gets_no_second_chance():
    slow = Fake("openvino", {"first": 9.0, "second": 0.1})
    near = Fake("jax", {"first": 7.0, "second": 0.1})
    row = measure_case(TINY, "f32", [Fake("torch", {"torch": 1.0}), slow])
    assert "second" not in timings(row)
    row = measure_case(TINY, "f32", [Fake("torch", {"torch": 1.0}), near])
    assert timings(row)["second"].rounds == [0.1] * 11


def test_what_was_left_alone_is_not_the_best_peer():
    early, steady = Timing("jax", "early"), Timing("torch", "steady")
    early.rounds, steady.rounds = [1.4], [1.0, 2.0, 2.0]
    assert Row(TINY, "f32", [early, steady]).best_peer() is steady


def test_rope_is_compared_with_peers_that_leave_it_out():
    case = select("A1")[0]
    row = Row(case, "f32", [])
    for tool, problem, seconds in (
        ("rlx", "rope", 2.0),
        ("rlx", "bare", 1.5),
        ("torch", "bare", 3.0),
        ("torch", "rope", 2.5),
    ):
        row.timings.append(Timing(tool, f"{tool} {problem}", problem, [seconds]))
    fused, bare = compare(row)
    assert (fused.own.problem, fused.peer.problem, fused.ratio) == ("rope", "rope", 1.25)
    assert (bare.peer.problem, bare.ratio) == ("bare", 2.0)
    assert fused.counts and not bare.counts
    assert goal(case, "f32") == (1.3, 1.6)
    assert goal(TINY, "f32") is goal(TINY, "f32", 2) is None
    assert goal(case, "f32", threads=2) == pytest.approx((1.105, 1.36))


# -- tables ----------------------------------------------------------------------------------------


def test_table():
    assert table(["a", "b"], [["1", "2"]]).splitlines() == [
        "| a | b |",
        "| --- | ---: |",
        "| 1 | 2 |",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.1234, "123 ms"), (0.01234, "12.3 ms"), (0.00123, "1.23 ms"), (0.0000123, "0.012 ms")],
)
def test_milliseconds(seconds, text):
    assert milliseconds(seconds) == text


def rows():
    first = Row(TINY, "f32", [Timing("rlx", "rlx", "matmul", [1e-3, 2e-3])])
    first.timings.append(Timing("torch", "torch linear", "matmul", [3e-3, 4e-3], error=1e-6))
    first.timings.append(Timing("jax", "jax", failure="no | such\nthing"))
    return [first, Row(TINY, "bf16", [Timing("rlx", "rlx", failure="wrong")])]


def run():
    return Run(rows(), describe([3]), ROOFLINE, Startup(0.1, 0.5, 0.025))


def test_files(tmp_path):
    text = markdown(run())
    assert "| T | tiny | f32 | 1.50 ms |" in text
    assert "torch linear | 3.50 ms | **2.50** |" in text
    assert "no / such thing" in text
    assert "ready from the cache on disk in 25 ms" in text
    assert all(line.count("|") in (0, 8, 13) for line in text.splitlines())
    data = json.loads(json.dumps(to_json(run())))
    assert data["rows"][0]["timings"][1]["rounds"] == [3e-3, 4e-3]
    assert data["roofline"]["flops"] == 1e11
    assert data["startup"]["cold"] == 0.5
    names = {path.name for path in write(tmp_path, run())}
    assert {"cpu-1-thread.md", "cpu-1-thread.json"} <= names
    assert {path.name for path in tmp_path.iterdir()} == names


def test_section_of_the_readme(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("before\n<!-- benchmark: begin -->\nold\n<!-- benchmark: end -->\nafter\n")
    for _ in range(2):
        write_section(path, run())
    lines = path.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    expected = "| T | tiny | f32 | 1.50 ms | torch linear | 3.50 ms | **2.50** |"
    assert [line for line in lines if line.startswith("| T")] == [expected]
    assert "old" not in lines
    path.write_text("no marks")
    with pytest.raises(ValueError, match="expected '<!-- benchmark: begin -->'"):
        write_section(path, run())


# -- the machine -----------------------------------------------------------------------------------


def test_kernels_of_the_roofline_compute_what_they_should():
    x = np.array([1.0, -2.0] * 4, np.float32)
    fma = rlx.compile(fma_text(8), cache=False)
    # Each chain goes to the fixed point of a = a / 2 + x.
    np.testing.assert_allclose(fma(60, x), 12 * 2 * x, rtol=1e-6)
    np.testing.assert_allclose(fma(1, x), sum((x + i) / 2 + x for i in range(12)), rtol=1e-6)
    stream = rlx.compile(stream_text(8), cache=False)
    data = np.random.default_rng(0).random(64 * 5, np.float32)
    np.testing.assert_allclose(stream(data), data.reshape(-1, 8).sum(0), rtol=1e-5)


def test_the_highest_of_two_measurements_counts():
    assert ROOFLINE.highest(Roofline(9e10, 3e10, 1e10)) == Roofline(1e11, 3e10, 2e10)
    assert replace(ROOFLINE, tiles=1.0).highest(replace(ROOFLINE, tiles=2.0)).tiles == 2.0


def test_cores():
    assert len(pick_cores(1)) == 1
    with pytest.raises(ValueError, match="threads, but got 1000"):
        pick_cores(1000)


# -- processes -------------------------------------------------------------------------------------


def test_a_tiny_row_from_end_to_end():
    cores = pick_cores(1)
    tools = [Client("rlx", cores), Client("torch", cores)]
    try:
        row = measure_case(TINY, "f32", tools, seconds=0.01, rounds=2)
        assert [timing.failure for timing in row.timings] == ["", ""]
        assert [len(timing.rounds) for timing in row.timings] == [2, 2]
        assert all(0 < timing.error < 1e-6 for timing in row.timings)
        assert compare(row)[0].ratio > 0
        assert set(tools[0].versions) == {"rlx"}
        with pytest.raises(PeerError, match="KeyError"):
            tools[1].ask("prepare", "nope", np.array([0]))
        assert tools[1].ask("variants", TINY, "f32") == ["torch linear"]
    finally:
        for tool in tools:
            tool.close()
    with pytest.raises(PeerError, match="torch has ended"):
        tools[1].ask("variants", TINY, "f32")


def test_tools_are_held_to_an_instruction_set(capsys):
    plan = Plan([TINY], ["f32"], ["torch", "openvino"], rounds=1, output=None, isa="avx2")
    tools = start(plan, pick_cores(1))
    try:
        assert [tool.name for tool in tools] == ["rlx", "torch"]
        assert "avx2)" in tools[0].versions["rlx"]
        row = measure_case(TINY, "f32", tools, seconds=0.01, rounds=1)
        assert [timing.failure for timing in row.timings] == ["", ""]
    finally:
        for tool in tools:
            tool.close()
    assert "openvino: cannot be held to avx2" in capsys.readouterr().err
    assert describe([0], "avx2").processor == f"{describe([0]).processor} with avx2 only"


def test_startup():
    found = measure_startup(module_text(TINY, "f32"), pick_cores(1), runs=1)
    assert min(found.imports, found.cold, found.second) > 0


def test_every_tool_has_a_module():
    for name, target in PEERS.items():
        module, _, attribute = target.partition(":")
        cls = getattr(importlib.import_module(module), attribute)
        assert cls.name == name
        assert issubclass(cls, Peer)
        # The same tool without what it needs says so.
        lacking = type("Lacking", (cls,), {"modules": ("no_such_module",)})
        assert lacking.missing()


def test_a_tool_that_is_not_there(monkeypatch):
    monkeypatch.delenv("RLX_BENCH_LLAMA", raising=False)
    started = []

    def start(*arguments, make=subprocess.Popen, **options):
        started.append(make(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(PeerError, match="RLX_BENCH_LLAMA is not set"):
        Client("llama.cpp", pick_cores(1))
    assert started[0].returncode is not None  # nothing is left of it
    with pytest.raises(PeerError, match="has ended"):
        Client("torch", pick_cores(1), "/bin/false")
    with pytest.raises(PeerError, match="cannot run /no/python: No such file"):
        Client("torch", pick_cores(1), "/no/python")


def test_without_rlx_there_is_no_benchmark(monkeypatch, capsys):
    monkeypatch.setenv("RLX_MLIR", "nothing")
    assert main(["sweep", "--peers", "", "--kinds", "norm", "--count", "1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m bench: error: HostError: RLX_MLIR")


_ABANDON = """
import os
from bench.client import Client
print(Client("rlx", sorted(os.sched_getaffinity(0))[:1])._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def test_no_process_is_left_behind():
    done = subprocess.run([sys.executable, "-c", _ABANDON], stdout=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL
    stat = Path("/proc", done.stdout.strip(), "stat")
    end = time.monotonic() + 10
    # A zombie has ended; somebody else has to notice.
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_report_of_a_sweep():
    def found(kind, shape, ratio):
        own, peer = Timing("rlx", "rlx", rounds=[0.01]), Timing("jax", "JAX", rounds=[ratio / 100])
        return sweep.Found(kind, "f32", shape, ratio, own, peer)

    shapes = [found("norm", "3 x 4", 2.0), found("norm", "5 x 6", 0.5)]
    quantiles, worst = sweep.report([*shapes, found("decode", "7 x 8", 1.0)]).split("\n\n")
    assert quantiles.splitlines()[2:] == [
        "| norm | f32 | 2 | 0.50 | 0.88 | 1.25 | 2.00 |",
        "| decode | f32 | 1 | 1.00 | 1.00 | 1.00 | 1.00 |",
    ]
    assert worst.splitlines()[2:] == [
        "| 0.50 | norm | f32 | 5 x 6 | 10.0 ms | JAX | 5.00 ms |",
        "| 1.00 | decode | f32 | 7 x 8 | 10.0 ms | JAX | 10.0 ms |",
        "| 2.00 | norm | f32 | 3 x 4 | 10.0 ms | JAX | 20.0 ms |",
    ]
    assert len(sweep.report([found("norm", "", float(n)) for n in range(20)]).splitlines()) == 16


def test_shapes_are_drawn_by_the_seed():
    for kind in sweep.KINDS:
        first, second, other = (sweep.draw(kind, np.random.default_rng(n)) for n in (1, 1, 2))
        assert first == second != other
        assert first.flops() >= 0 and first.rows() >= 1
    with pytest.raises(ValueError, match="unknown kind 'no'"):
        sweep.draw("no", np.random.default_rng(0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cpu", "--rows", "Z"], "no row is named 'Z'"),
        (["cpu", "--peers", "numpy"], "unknown peers: numpy"),
        (["sweep", "--kinds", "x"], "unknown kind 'x'"),
        (["sweep", "--peers", "rlx"], "unknown peers: rlx; known: torch, "),
        (["cpu", "--dtypes", "f32,f64"], "unknown dtypes: f64; known: f32, bf16, int8"),
        (["sweep", "--isa", "sse"], "unknown instruction set: sse; known: avx512, avx2"),
        (["cpu", "--rounds", "0"], "expected at least one round, but got 0"),
        (["cpu", "--rows", "A1", "--threads", "0"], "threads, but got 0"),
        (["cpu", "--output", "/dev/null"], "File exists: '/dev/null'"),
        (["cpu", "--output", "{tmp}", "--readme", "/dev/null"], "benchmark: end -->' in /dev/null"),
        (["cpu", "--output", "{tmp}", "--readme", "/no/file"], "No such file or directory"),
        (["cuda"], "expected --pack DIR, --check, or both"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys, tmp_path):
    assert main([word.replace("{tmp}", str(tmp_path)) for word in arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("python -m bench: error: ") and message in line


def test_quick_is_short_and_writes_nothing(monkeypatch):
    plans = []
    monkeypatch.setattr("bench.cpu.run", plans.append)
    main(["cpu", "--quick", "--rows", "A1", "--peers", "torch", "--python", sys.executable])
    (plan,) = plans
    assert plan.output is None and plan.rounds == 3 and plan.seconds == 0.03
    assert plan.peers == ["torch"]


def test_tolerances_are_known_for_every_dtype():
    dtypes = {dtype for case in CASES for dtype in case.dtypes}
    assert dtypes == set(measure.TOLERANCE) == set(measure.MODEL_TOLERANCE)
