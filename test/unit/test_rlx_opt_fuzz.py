"""`rlx-opt` on damaged inputs and pipelines: always an exit code of 0 or 1, never a traceback.

Cases come from a seed, so a failure is found again: its number is in the message.
"""

import random
import re
from pathlib import Path

import pytest

from rlx import registry, upstream

ROOT = Path(__file__).resolve().parents[2]

# Passes that write files or wait for tools are no subject here.
EXCLUDED = {"gpu-module-to-binary", "view-op-graph", "print-ir", "snapshot-op-locations"}

FLAGS = [
    "--split-input-file",
    "--verify-diagnostics",
    "--allow-unregistered-dialect",
    "--mlir-print-ir-after-all",
    "--mlir-print-ir-after-change",
    "--mlir-print-op-generic",
    "--mlir-print-debuginfo",
    "--mlir-timing",
    "--verify-each=0",
    "--rlx-remarks",
    "--dump-pass-pipeline",
    "--no-implicit-module",
    "--emit-bytecode",
    "--run-reproducer",
]

_WORDS = """
i1 i64 f32 f16 bf16 index none unit true () -1 0 1 -0.0 9223372036854775807 0x7FF0000000000000
tensor<4xf32> tensor<*xf32> tensor<?x0xf16> memref<2xf32> vector<4xf32> loc(unknown) dense<1.0>
array<i32:1,1> "half" " { } ( ) < > ^bb0 %0 %x @f
"""
WORDS = [*_WORDS.split(), "\\", "\0", "\u00e9", "\ud800"]


def seeds() -> list[str]:
    """Parts of the lit tests, which use every op and every pass."""
    found = []
    for path in sorted((ROOT / "test").rglob("*.mlir")):
        parts = re.split(r"^// -----.*$", path.read_text(), flags=re.MULTILINE)
        found += [part for part in parts if "func" in part and len(part) < 6000]
    return found


def damage(rng: random.Random, text: str, others: list[str]) -> str:
    """``text`` with one to four things wrong."""
    for _ in range(rng.randint(1, 4)):
        tokens = re.findall(r"\w+|\s+|[^\w\s]", text)
        if not tokens:
            return text
        at, end = sorted((rng.randrange(len(tokens)), rng.randrange(len(tokens))))
        end = min(end, at + 12)
        kind = rng.randrange(7)
        if kind == 0:
            tokens[at:end] = []
        elif kind == 1:
            tokens[at:at] = tokens[at:end]
        elif kind == 2:
            tokens[at], tokens[end] = tokens[end], tokens[at]
        elif kind == 3:
            tokens[at] = rng.choice(WORDS)
        elif kind == 4:
            numbers = [i for i, token in enumerate(tokens) if token.isdigit()]
            if numbers:
                tokens[rng.choice(numbers)] = rng.choice(
                    ["0", "1", "3", "-1", "65536", "2147483648"]
                )
        elif kind == 5:
            other = rng.choice(others)
            start = rng.randrange(len(other) or 1)
            tokens[at:at] = [other[start : start + rng.randint(1, 200)]]
        else:
            types = [i for i, token in enumerate(tokens) if re.fullmatch(r"x?[bf]+\d+|i\d+", token)]
            if types:
                tokens[rng.choice(types)] = rng.choice(
                    ["f64", "bf16", "f16", "i32", "index", "xf16"]
                )
        text = "".join(tokens)
    return text


def pipeline(rng: random.Random, depth: int = 0) -> str:
    ours = [*registry.pass_names(), *registry.pipeline_names()]
    theirs = [name for name in upstream.names() if name not in EXCLUDED]
    elements = []
    for _ in range(rng.randint(1, 3)):
        if depth < 3 and rng.random() < 0.25:
            anchor = rng.choice(["func.func", "builtin.module", "any", "gpu.module"])
            elements.append(f"{anchor}({pipeline(rng, depth + 1)})")
            continue
        name = rng.choice(ours if rng.random() < 0.6 else theirs)
        options = upstream.option_names(name)
        if options and rng.random() < 0.3:
            value = rng.choice(["", "=0", "=1", "=true", "=x", "=4,4", "=-1", "={cse}", '="a b"'])
            name += f"{{{rng.choice(options)}{value}}}"
        elements.append(name)
    return ",".join(elements)


def check(rlx_opt, number: int, texts: list[str]) -> None:
    rng = random.Random(number)
    text = rng.choice(texts)
    if rng.random() < 0.8:
        text = damage(rng, text, texts)
    passes = pipeline(rng)
    if rng.random() < 0.2:
        passes = damage(rng, passes, [passes]).replace("\0", "")
    flags = rng.sample(FLAGS, rng.randint(0, 3))
    words = [*flags, "--pass-pipeline=" + passes.encode(errors="replace").decode()]
    done = rlx_opt("-", *words, input=text.encode(errors="surrogatepass"))
    about = f"case {number}: {words}\n{text}\n=== stderr\n{done.stderr}"
    assert done.returncode in (0, 1), about
    assert "Traceback" not in done.stderr, about
    assert "internal error" not in done.stderr, about
    # A pass of rlx says what it cannot do; it does not stumble over it.
    assert not re.search(r"pass '[\w-]+' raised", done.stderr), about
    # The host may crash, in its parser or in a pass, which is reported; rlx must not be the cause.
    crash = re.search(r"crashed \((\w+)\) while (.*)", done.stderr)
    if crash is not None:
        assert done.returncode == 1
        culprit = re.search(r"running pass '([\w-]+)'", crash[2])
        if culprit is not None:
            assert culprit[1] not in registry.pass_names(), about
        else:
            without = text.replace('"rlx.', '"other.').encode(errors="surrogatepass")
            again = rlx_opt("-", *flags, "--allow-unregistered-dialect", input=without)
            assert crash[0] in again.stderr, about
    assert done.returncode == 0 or done.stderr, about


def test_damaged_inputs(rlx_opt):
    texts = seeds()
    for number in range(60):
        check(rlx_opt, number, texts)


@pytest.mark.slow
def test_many_damaged_inputs(rlx_opt):
    texts = seeds()
    failures = []
    for number in range(1000, 4000):
        try:
            check(rlx_opt, number, texts)
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, f"{len(failures)} failures, the first: {failures[0]}"
