"""`rlx generate` and `rlx.generate`: text, options, and one clear error for everything wrong."""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

import rlx
from rlx.text import TextError, TextGenerator, _Pieces
from rlx.tools import rlx_generate, rlx_main

TINY = Path(__file__).resolve().parents[2] / "examples" / "tiny-gemma3"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        shutil.copy(TINY / name, tmp_path)
    return tmp_path


def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(TINY / "tokenizer.json"))


def greedy(prompt: str, count: int) -> str:
    ids = np.array([tokenizer().encode(prompt).ids])
    new = rlx.load_model(TINY).generate(ids, count)[0, ids.shape[1] :]
    return tokenizer().decode(new.tolist(), skip_special_tokens=True)


# -- the tokenizer of the example ------------------------------------------------------------------


@pytest.mark.parametrize("text", ["hello there", "naïve café", "日本語 🎉", "a\n\tb  c", ""])
def test_every_text_has_tokens(text: str) -> None:
    encoded = tokenizer().encode(text)
    assert encoded.ids[0] == 2 and max(encoded.ids) < 256
    assert tokenizer().decode(encoded.ids) == text


# -- pieces ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["plain", "naïve café", "日本語 🎉 end", "🎉"])
def test_pieces_are_whole_characters(text: str) -> None:
    pieces = _Pieces(tokenizer())
    found = [pieces.add(token) for token in tokenizer().encode(text).ids] + [pieces.rest()]
    assert "".join(found) == text
    assert not any("\ufffd" in piece for piece in found)


def test_bytes_that_are_no_characters_come_out_all_the_same() -> None:
    byte = tokenizer().token_to_id("¢")  # 0xA2, never first in a character
    pieces = _Pieces(tokenizer())
    found = "".join(pieces.add(byte) for _ in range(9)) + pieces.rest()
    assert found == tokenizer().decode([byte] * 9) == "\ufffd" * 9


class Words:
    """A tokenizer that drops the blank in front, as those of Llama do."""

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return "".join(f" w{i}" for i in ids).removeprefix(" ")


def test_blanks_between_words_stay() -> None:
    pieces = _Pieces(Words())
    assert [pieces.add(i) for i in range(3)] == ["w0", " w1", " w2"]
    assert pieces.rest() == ""


# -- from Python -----------------------------------------------------------------------------------


def test_generate() -> None:
    pieces: list[str] = []
    text = rlx.generate(TINY, "hello", 12, callback=pieces.append)
    assert text == "".join(pieces) == greedy("hello", 12)
    assert text != rlx.generate(TINY, "goodbye", 12)
    sampled = [rlx.generate(TINY, "hello", 12, temperature=1.5, seed=seed) for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]


def test_timing() -> None:
    generator = TextGenerator.load(TINY)
    list(generator.stream("hello", 5))
    timing = generator.timing
    assert (timing.prompt_tokens, timing.new_tokens) == (4, 5)
    assert timing.prefill_seconds > 0 and timing.decode_seconds > 0
    assert re.fullmatch(
        r"prefill: 4 tokens in \d+\.\d{3} s \(\d+\.\d tokens/s\), "
        r"decode: 4 tokens in \d+\.\d{3} s \(\d+\.\d tokens/s\)",
        str(timing),
    )
    list(generator.stream("hello", 1))
    assert "decode" not in str(generator.timing)


def test_progress() -> None:
    steps: list[str] = []
    TextGenerator.load(TINY, progress=steps.append)
    assert steps[0] == "load" and "bind" in steps


# -- the command -----------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str, str]:
    try:
        code = rlx_main.main(["generate", *map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_command(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run(capsys, TINY, "hello", "-n", 12)
    assert (code, out) == (0, greedy("hello", 12) + "\n")
    assert err.startswith("prefill: 4 tokens in ") and err.count("\n") == 1
    monkeypatch.setattr("sys.stdin", io.StringIO("hello"))
    assert run(capsys, TINY, "-", "-n", 12)[1] == out
    sampling = ("--temperature", 1.5, "--seed", 1, "--top-k", 50, "--top-p", 0.9)
    assert run(capsys, TINY, "hello", "-n", 12, *sampling)[1] != out
    assert run(capsys, TINY, "hello", "-n", 12, "--quantize", "int8", "--dtype", "bf16")[0] == 0


def test_the_end_of_a_text(folder: Path, capsys: pytest.CaptureFixture) -> None:
    ids = np.array([tokenizer().encode("hello").ids])
    new = rlx.load_model(TINY).generate(ids, 4, eos_token_id=())[0, 4:]
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": int(new[0])}))
    assert run(capsys, folder, "hello", "-n", 9)[2].startswith("prefill: 4 tokens")
    assert len(tokenizer().encode(run(capsys, folder, "hello", "-n", 9)[1]).ids) <= 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required"),
        ([TINY], "the following arguments are required: prompt"),
        ([TINY, "hello", "--temp", "1"], "unrecognized arguments: --temp 1"),
        ([TINY, "hello", "-n", "x"], "invalid int value: 'x'"),
        ([TINY, "hello", "-n", "0"], "expected max_new_tokens of at least 1, got 0"),
        ([TINY, "hello", "--temperature", "-1"], "temperature"),
        ([TINY, "hello", "--top-p", "2"], "top_p"),
        ([TINY, "hello", "--dtype", "int8"], "expected dtype 'f32', 'bf16' or 'f16', got 'int8'"),
        ([TINY, "hello", "--quantize", "int2"], "expected quantize 'int8'"),
        ([TINY, "hello", "--target", "gpu"], "unknown target 'gpu'"),
        ([TINY, "hello", "--capacity", "0"], "capacity of at least 1 and at most 512"),
        ([TINY, "hello", "--capacity", "9999"], "the number of positions of the model, got 9999"),
        ([TINY, "hello", "--tokenizer", "nowhere.json"], "no tokenizer: expected nowhere.json"),
        (["nowhere", "hello"], "no such configuration: nowhere/config.json"),
        (["nowhere.gguf", "hello"], "no such weight file: nowhere.gguf"),
        (
            [TINY, "hello", "-n", "10", "--capacity", "12"],
            "expected a prompt and new tokens of at most 12 together, got 4 and 10",
        ),
        (
            [TINY, "x" * 600],
            "expected a prompt and new tokens of at most 512 together, got 601 and",
        ),
    ],
)
def test_bad_input(capsys: pytest.CaptureFixture, arguments: list, message: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("rlx generate: error: ") and err.count("\n") == 1
    assert message in err


def test_tokenizers_that_do_not_fit(folder: Path, capsys: pytest.CaptureFixture) -> None:
    path = folder / "tokenizer.json"
    fields = json.loads(path.read_text())
    fields["added_tokens"] = [*fields["added_tokens"], {**fields["added_tokens"][0], "id": 300}]
    fields["added_tokens"][-1]["content"] = "<big>"
    path.write_text(json.dumps(fields))
    _, _, err = run(capsys, folder, "a<big>")
    assert "the tokenizer has id 256 for '<big>', but the model has 256 tokens" in err or (
        "the tokenizer has id 300 for '<big>', but the model has 256 tokens" in err
    )
    fields["post_processor"] = None
    path.write_text(json.dumps(fields))
    assert "expected a prompt of at least one token, got an empty one" in run(capsys, folder, "")[2]
    path.write_text("{")
    assert f"cannot read tokenizer {path}: " in run(capsys, folder, "a")[2]
    path.unlink()
    assert f"no tokenizer: expected {path}" in run(capsys, folder, "a")[2]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(TextError, match="text needs the package tokenizers: pip install"):
        rlx.generate(TINY, "hello")


def test_an_encoder_makes_no_text(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    code, _, err = run(capsys, folder, "hello")
    assert code == 1 and err.startswith("rlx generate: error: ")


# -- rlx -------------------------------------------------------------------------------------------


def test_subcommands(capsys: pytest.CaptureFixture) -> None:
    assert rlx_main.main(["--help"]) == 0
    usage = capsys.readouterr().out
    assert all(name in usage for name in ("generate", "run", "compile", "opt"))
    assert rlx_main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"rlx {rlx.__version__}\n"
    assert rlx_main.main([]) == 1
    assert capsys.readouterr().err == usage
    assert rlx_main.main(["generat"]) == 1
    error = "rlx: error: unknown command 'generat'; did you mean 'generate'?\n"
    assert capsys.readouterr().err == error
    assert rlx_main.main(["--frob"]) == 1
    assert "known: generate, run, compile, opt" in capsys.readouterr().err


def test_run_and_opt() -> None:
    command = [sys.executable, "-m", "rlx.tools.rlx_main"]
    text = "func.func @f(%x: i32) -> i32 {\n  return %x : i32\n}\n"
    options = {"capture_output": True, "text": True}
    opt = subprocess.run([*command, "opt", "-", "--canonicalize"], input=text, **options)
    assert opt.returncode == 0 and "func.func @f" in opt.stdout
    done = subprocess.run([*command, "run", "-", "--input", "a"], input=text, **options)
    assert done.returncode == 1 and "rlx-run: error: --input" in done.stderr


def test_a_reader_that_leaves() -> None:
    script = f"{sys.executable} -m rlx.tools.rlx_main generate {TINY} hello -n 200 | head -c 1"
    done = subprocess.run(script, shell=True, capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_help(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        rlx_generate.main(["--help"])
    assert stop.value.code == 0
    assert "rlx generate examples/tiny-gemma3" in capsys.readouterr().out
