"""`rlx-opt` as a process: streams, files, crashes. What its flags do is tested in test/Driver."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlx.passes import docs
from rlx.tools import arguments
from rlx.tools import rlx_opt as tool
from rlx.tools.arguments import UsageError, parse_arguments

ROOT = Path(__file__).resolve().parents[2]
GOOD = "func.func @f() {\n  return\n}\n"
BAD = "func.func @f() {\n  nothing\n}\n"

PASSES = '''
import os
import signal
import time
from dataclasses import dataclass

from rlx.options import option
from rlx.passes.base import Pass, PassFailure


def register(registry):
    registry.add_pass("test-trouble", "trouble:Trouble")


@dataclass(frozen=True)
class Trouble(Pass):
    """Brings the process into trouble."""

    name = "test-trouble"
    kind: str = option("abort", "which")

    def run(self, op):
        if self.kind == "abort":
            os.abort()
        if self.kind == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.kind == "exit":
            raise SystemExit(7)
        if self.kind == "raise":
            raise RuntimeError("out of luck")
        if self.kind == "sleep":
            with open("started", "w") as file:
                file.write(str(os.getpid()))
            time.sleep(60)
        if self.kind == "recurse":
            self.run(op)
        if self.kind == "print":
            print("printed by a pass")
'''


@pytest.fixture
def trouble(tmp_path_factory):
    """The environment in which the pass `test-trouble` exists."""
    folder = tmp_path_factory.mktemp("trouble")
    (folder / "trouble.py").write_text(PASSES)
    info = folder / "trouble-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: trouble\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rlx.plugins]\ntrouble = trouble:register\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


# -- crashes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), [("abort", "SIGABRT"), ("segfault", "SIGSEGV")])
def test_a_crash_is_an_error(trouble, rlx_opt, tmp_path, kind, name):
    (tmp_path / "in.mlir").write_text(GOOD)
    flags = [f"--test-trouble=kind={kind}", "--mlir-pass-pipeline-crash-reproducer=again.mlir"]
    done = rlx_opt("in.mlir", "--cse", *flags, "-o", "out.mlir", env=trouble)
    assert done.returncode == 1
    assert not done.stdout
    pipeline = f"builtin.module(cse,test-trouble{{kind={kind}}})".replace("{kind=abort}", "")
    assert done.stderr.splitlines() == [
        f"in.mlir: error: crashed ({name}) while running pass 'test-trouble'",
        "note: a reproducer is in again.mlir",
        f"note: to reproduce: rlx-opt in.mlir '--pass-pipeline={pipeline}'",
    ]
    assert f'pipeline: "{pipeline}"' in (tmp_path / "again.mlir").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.mlir", "in.mlir"]


def test_input_that_overflows_the_parser_is_an_error(rlx_opt):
    done = rlx_opt("-", input="module attributes {a.b = " + "[" * 1_000_000)
    assert done.returncode == 1
    assert done.stderr == "<stdin>: error: crashed (SIGSEGV) while parsing the input\n"


def test_deep_nesting_is_no_problem(rlx_opt):
    depth = 2000
    done = rlx_opt("-", "--mlir-print-op-generic", input="module {\n" * depth + "}\n" * depth)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("builtin.module") == depth


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("raise", "error: pass 'test-trouble' raised RuntimeError: out of luck"),
        ("recurse", "error: pass 'test-trouble' raised RecursionError: maximum recursion"),
        ("exit", "error: pass 'test-trouble' raised SystemExit: 7"),
    ],
)
def test_exceptions_of_passes_are_errors(trouble, rlx_opt, kind, message):
    done = rlx_opt("-", f"--test-trouble=kind={kind}", input=GOOD, env=trouble)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "note: pass 'test-trouble' failed; to reproduce: rlx-opt - " in done.stderr


def test_tracebacks_on_request(trouble, rlx_opt):
    flags = ["--test-trouble=kind=raise", "--rlx-traceback"]
    done = rlx_opt("-", *flags, input=GOOD, env=trouble)
    assert 'raise RuntimeError("out of luck")' in done.stderr


def test_the_child_ends_with_its_parent(trouble, tmp_path):
    """Whoever kills a tool that takes too long wants it to end, pipes and all."""
    process = start(["-", "--test-trouble=kind=sleep"], tmp_path, trouble)
    process.stdin.close()
    child = wait_for(tmp_path / "started")
    process.kill()
    assert process.stdout.read() == b""  # returns when nobody holds the pipe any more
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(child, 0)
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 130)]
)
def test_signals_end_both(trouble, tmp_path, number, code):
    process = start(["-", "--test-trouble=kind=sleep"], tmp_path, trouble)
    process.stdin.close()
    wait_for(tmp_path / "started")
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.terminate()
    assert process.wait(timeout=20) == code
    assert b"Traceback" not in process.stderr.read()


def start(words, folder, environment):
    return subprocess.Popen(
        [sys.executable, "-m", "rlx.tools.rlx_opt", *words],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell that starts the tests in the background has this ignored, and so would we.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(path):
    for _ in range(400):
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.05)
    raise TimeoutError(path)


# -- streams and files ---------------------------------------------------------------------------


def test_stdin_is_the_default_input(rlx_opt):
    assert rlx_opt(input=GOOD).stdout == rlx_opt("-", input=GOOD).stdout
    assert "func.func @f()" in rlx_opt(input=GOOD).stdout


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", None),
        (b"\n\n", None),
        (b"// \xff\xfe\nmodule {}", None),
        (b"\x7fELF\x02\x01", "<stdin>:1:1: error: unexpected character"),
        (b"module {", "<stdin>:1:7: error: expected operation name in quotes"),
        (b'"a\xff.b"() : () -> ()', "<stdin>:1:7: error: operation being parsed with an unregi"),
        (b"\xff", "<stdin>:1:1: error: unexpected character"),
        (b"ML\xefR", "<stdin>:0:0: error: attempting to parse a byte at the end"),
        (b"ML\xefR" + bytes(range(256)), "<stdin>:0:0: error: bytecode version"),
        (b"module {\r\n  nothing\r\n}", "<stdin>:2:3: error: custom op 'nothing' is unknown"),
        (b"module {}\n}", "<stdin>:1:10: error: expected operation name in quotes"),
    ],
)
def test_any_bytes_are_an_input(rlx_opt, data, message):
    done = rlx_opt("-", "--cse", input=data)
    if message is None:
        assert (done.returncode, done.stdout, done.stderr) == (0, "module {\n}\n", "")
    else:
        assert done.returncode == 1
        assert done.stderr.startswith(message)


def test_text_without_a_module_around_it_is_utf8(rlx_opt):
    done = rlx_opt("-", "--no-implicit-module", input=b"\xff")
    message = "rlx-opt: error: with --no-implicit-module the input must be UTF-8\n"
    assert (done.returncode, done.stderr) == (1, message)


def test_patterns_of_diagnostics_that_are_none(rlx_opt):
    done = rlx_opt("-", "--verify-diagnostics", input="// expected-error-re {{ {{(}} }}\n")
    assert done.returncode == 1
    assert done.stderr.startswith("rlx-opt: error: bad pattern in expected-...-re: ")
    assert len(done.stderr.splitlines()) == 1


def test_input_from_a_pipe_with_a_name(tmp_path):
    """As a shell's `<(...)`: it can be read once only."""
    os.mkfifo(tmp_path / "pipe")
    process = start(["pipe"], tmp_path, {})
    (tmp_path / "pipe").write_text(GOOD)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")
    assert b"func.func @f()" in out


def test_output_is_written_whole_or_not_at_all(rlx_opt, tmp_path):
    out = tmp_path / "out.mlir"
    out.write_text("before")
    out.chmod(0o640)
    (tmp_path / "bad.mlir").write_text(BAD)
    assert rlx_opt("bad.mlir", "-o", "out.mlir").returncode == 1
    assert out.read_text() == "before"
    (tmp_path / "good.mlir").write_text(GOOD)
    assert rlx_opt("good.mlir", "-o", "out.mlir").returncode == 0
    assert "func.func @f()" in out.read_text()
    assert stat.S_IMODE(out.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.mlir", "good.mlir", "out.mlir"]


def test_output_over_its_own_input_and_through_a_link(rlx_opt, tmp_path):
    (tmp_path / "in.mlir").write_text(GOOD)
    (tmp_path / "link.mlir").symlink_to("in.mlir")
    assert rlx_opt("in.mlir", "-o", "link.mlir").returncode == 0
    assert (tmp_path / "link.mlir").is_symlink()
    assert (tmp_path / "in.mlir").read_text().startswith("module {")


def test_output_to_a_device(rlx_opt):
    assert rlx_opt("-", "-o", os.devnull, input=GOOD).returncode == 0
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    full = rlx_opt("-", "-o", "/dev/full", input=GOOD)
    assert full.returncode == 1
    assert full.stderr == (
        "rlx-opt: error: cannot write output file '/dev/full': No space left on device\n"
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_early(tmp_path, unbuffered):
    (tmp_path / "long.mlir").write_text(
        "\n".join(f"func.func @f{number}() {{ return }}" for number in range(20000))
    )
    process = start(["long.mlir"], tmp_path, {"PYTHONUNBUFFERED": unbuffered})
    process.stdin.close()
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=30) == 1


def test_streams_that_are_closed(tmp_path):
    (tmp_path / "in.mlir").write_text(GOOD)
    command = f"'{sys.executable}' -m rlx.tools.rlx_opt"
    for words, code in [("in.mlir >&-", 1), ("in.mlir 2>&- >/dev/null", 0), ("- <&-", 1)]:
        done = subprocess.run(
            f"{command} {words}",
            shell=True,
            cwd=tmp_path,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=30,
        )
        assert done.returncode == code
        assert b"Traceback" not in done.stderr


def test_what_passes_print_comes_before_the_result(trouble, rlx_opt):
    done = rlx_opt("-", "--test-trouble=kind=print", input=GOOD, env=trouble)
    assert done.stdout.startswith("printed by a pass\nmodule {")


def test_several_parts_do_not_fit_into_one_bytecode_file(rlx_opt):
    done = rlx_opt("-", "-split-input-file", "-emit-bytecode", input=f"{GOOD}// -----\n{GOOD}")
    assert done.returncode == 1
    assert done.stderr.startswith("rlx-opt: error: bytecode of 2 parts cannot go into one output")


def test_in_process(capfd):
    """Embedders and notebooks call it where output is not the process's own."""
    assert tool.main(["--version"]) == 0
    assert capfd.readouterr().out.startswith("rlx ")
    assert tool.main(["no/such/file"]) == 1
    assert "cannot open input file 'no/such/file'" in capfd.readouterr().err


# -- the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["-o", "x"], "output", "x"),
        (["--o=x"], "output", "x"),
        (["-split-input-file"], "split_input_file", "// -----"),
        (["--split-input-file=%%"], "split_input_file", "%%"),
        (["-verify-each=false"], "verify_each", False),
        (["--verify-each"], "verify_each", True),
        (["--verify-each=0", "--verify-each=1"], "verify_each", True),
        (["-mlir-print-ir-after=a,b", "--mlir-print-ir-after", "c"], "mlir_print_ir_after",
         ("a", "b", "c")),
        (["--emit-bytecode-version", "3"], "emit_bytecode_version", 3),
        (["--", "-odd-name"], "input", "-odd-name"),
        (["-", "--cse"], "input", "-"),
        (["a", "-x", "--y=1", "-z=p=1 q=2", "--w={a=1}"], "passes",
         [("x", ""), ("y", "1"), ("z", "p=1 q=2"), ("w", "a=1")]),
    ],
)  # fmt: skip
def test_arguments(words, field, value):
    assert getattr(parse_arguments(words), field) == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "b"], "one input file expected, but got 2: a b"),
        (["-o"], "argument '-o' requires a value"),
        (["--o=a", "-o", "b"], "argument '--o' may be given only once"),
        (["--help=maybe"], "argument '--help' takes true or false, but got 'maybe'"),
        (["---x"], "unknown command line argument '---x'"),
        (["--=x"], "unknown command line argument '--=x'"),
        (["--emit-bytecode-version=-1"], "takes a number, but got '-1'"),
    ],
)
def test_wrong_arguments(words, message):
    with pytest.raises(UsageError) as caught:
        parse_arguments(words)
    assert message in str(caught.value)


def test_every_flag_is_documented():
    shown = tool_help()
    for spelling, doc in arguments.help_lines():
        assert spelling in shown and doc.split()[0] in shown


def tool_help():
    done = subprocess.run(
        [sys.executable, "-m", "rlx.tools.rlx_opt", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    return done.stdout


def test_docs_are_current():
    page = (ROOT / "docs" / "Passes.md").read_text()
    assert page == docs.markdown(), "run: python -m rlx.passes.docs > docs/Passes.md"
