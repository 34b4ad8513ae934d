"""Malformed ops: each gives exactly one diagnostic of ours; never a Python exception or an abort.

The samples run in a process of their own (this file as a script), since an abort would take pytest
down with it. Every sample that verifies must also lower.
"""

import random
import re
import subprocess
import sys

import pytest

TYPES = [
    *("f32", "index", "i1", "none", "vector<4xf32>", "memref<4xf32>", "tuple<f32>"),
    *("tensor<*xf32>", "tensor<f32>", "tensor<bf16>", "tensor<0xf32>", "tensor<4xf32>"),
    *("tensor<?xf32>", "tensor<1xf32>", "tensor<3xi64>", "tensor<1xi32>", "tensor<?xi64>"),
    *("tensor<2xi1>", "tensor<4xindex>", "tensor<4xui32>", "tensor<4xi8>", "tensor<4xf8E5M2>"),
    *("tensor<4x4xcomplex<f32>>", 'tensor<4x4xf32, "layout">', "tensor<4xvector<4xf32>>"),
    *("tensor<2x3xf64>", "tensor<2x0x4xf32>", "tensor<?x?xf32>", "tensor<?x?x?xf32>"),
    *("tensor<?x?x?xbf16>", "tensor<1x512x1024xf32>", "tensor<1x512x1024xbf16>"),
    *("tensor<1x1x1x1x1x1xf32>", "tensor<9223372036854775807xf32>"),
    "tensor<9223372036854775807x9223372036854775807x9223372036854775807xf32>",
]

ATTRIBUTES = [
    *("0 : i64", "1 : i64", "2 : i64", "3 : i64", "-1 : i64", "-2 : i64", "64 : i64", "256 : i64"),
    *("9223372036854775807 : i64", "-9223372036854775808 : i64", "-9223372036854775807 : i64"),
    *(
        "1 : i32",
        "1 : index",
        "1 : ui64",
        "1 : si64",
        "1 : i128",
        "1 : i0",
        "true",
        "false",
        "unit",
    ),
    *("0.0 : f64", "-0.0 : f64", "1.0 : f64", "-1.0 : f64", "1.0 : f32", "1.0 : bf16", "1.0 : f80"),
    *("1.0 : f8E5M2", "1.0 : f128", "1.0e308 : f64", "4.9e-324 : f64"),
    *("0x7FF0000000000000 : f64", "0xFFF0000000000000 : f64", "0x7FF8000000000000 : f64"),
    *('""', '"half"', '"silu"', '"Silu"', '"\\00\\FF"', "[]", "{}", "f32", "@symbol"),
    *("array<i32: 1, 1>", "array<i64: 1>", "array<i32>", "dense<1> : tensor<2xi64>"),
    *("affine_map<(d0) -> (d0)>", "array<i32: 1, 1, 1, 1, 1>", "array<i32: 1, 1, 1, -1, 1>"),
    *("array<i32: 2147483647, 2147483647, 2, 1, 1>", "array<i32: 1, 1, 1, 0, 0>"),
]

NAMES = ["axes", "Axis", "operandSegmentSizes", "resultSegmentSizes", "name", "value", "my.own"]


def split(text):
    """Splits at commas outside of brackets."""
    parts, depth = [""], 0
    for char in text.replace("->", "\0"):
        depth += (char in "<[({") - (char in ">])}")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [part.replace("\0", "->").strip() for part in parts if part.strip()]


class Sample:
    """The parts of one op in generic form."""

    def __init__(self, cls):
        pattern = r'"(.*?)"\((.*?)\)\s*(?:\{(.*?)\})?\s*:\s*\((.*?)\)\s*-> (.*)'
        name, _, attributes, operands, result = re.search(pattern, cls.EXAMPLE, re.S).groups()
        self.name, self.operands, self.results = name, split(operands), [result.strip()]
        self.attributes = dict(re.split(r"\s*=\s*", a, maxsplit=1) for a in split(attributes or ""))
        self.known = [*cls.ATTRS, *NAMES]
        self.region = self.successor = False

    def mutate(self, pick):
        kind = pick.randrange(10)
        if kind <= 2:
            self.attributes[pick.choice(self.known)] = pick.choice(ATTRIBUTES)
        elif kind == 3 and self.attributes:
            del self.attributes[pick.choice(list(self.attributes))]
        elif kind <= 5 and self.operands:
            self.operands[pick.randrange(len(self.operands))] = pick.choice(TYPES)
        elif kind == 6:
            types = self.results if pick.random() < 0.5 or not self.operands else self.operands
            if types:
                at = pick.randrange(len(types))
                sizes = ["0", "1", "7", "?", "4611686018427387904"]
                types[at] = re.sub(
                    r"(?<=[<x])(\d+|\?)(?=x)", lambda _: pick.choice(sizes), types[at]
                )
        elif kind == 7:
            self.operands = pick.choice(
                [self.operands[1:], self.operands[:-1], [*self.operands, *self.operands[:1]], []]
            )
        elif kind == 8:
            self.results = pick.choice([[], self.results * 2, [pick.choice(TYPES)]])
        elif pick.random() < 0.3:
            self.region = True
        elif pick.random() < 0.3:
            self.successor = True

    def text(self):
        arguments = ", ".join(f"%a{i}: {type}" for i, type in enumerate(self.operands))
        values = ", ".join(f"%a{i}" for i in range(len(self.operands)))
        attributes = ", ".join(
            name if value == "unit" else f"{name} = {value}"
            for name, value in self.attributes.items()
        )
        count = len(self.results)
        results = f"%r:{count} = " if count else ""
        op = (
            f'{results}"{self.name}"({values}){" [^end]" if self.successor else ""}'
            f"{' ({})' if self.region else ''} {{{attributes}}} : "
            f"({', '.join(self.operands)}) -> ({', '.join(self.results)})"
        )
        tail = "^end:\n return" if self.successor else "return"
        return f"func.func @main({arguments}) {{\n {op}\n {tail}\n}}"


def judge(text, context):
    """What is wrong with how the sample is treated, or None."""
    import rlx
    from rlx.diagnostics import capture
    from rlx.host import ir

    with capture(context) as found:
        try:
            module = ir.Module.parse(text, context)
        except ir.MLIRError as error:
            found.add_mlir_error(error)
            messages = [entry.message for entry in found.errors]
            if len(messages) == 1 and "failed to verify" not in messages[0]:
                return None
            return f"expected one diagnostic, but got {messages}"
    rlx.run_pipeline(module, "convert-rlx-to-linalg")
    return "an op is left" if re.search(r'"rlx\.\w+"\(', str(module)) else None


def samples(seed, count):
    from rlx.dialects.docs import own_ops

    pick = random.Random(seed)
    for _ in range(count):
        for cls in own_ops():
            sample = Sample(cls)
            for _ in range(pick.choice([0, 1, 1, 1, 2, 3])):
                sample.mutate(pick)
            yield sample


def main(seed, count):
    import rlx
    from rlx.host import ir

    with ir.Context() as context:
        rlx.load_dialects(context)
        for sample in samples(seed, count):
            text = sample.text()
            print(f"\0{text}", flush=True)
            try:
                problem = judge(text, context)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            if problem:
                sys.exit(problem)
    print("\0done")


def fuzz(seed, count):
    done = subprocess.run(
        [sys.executable, __file__, str(seed), str(count)],
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.rpartition("\0")[2]
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}\nlast sample:\n{last}"
    assert last == "done\n"


def test_mutants_give_one_diagnostic():
    fuzz(seed=1, count=150)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_many_mutants_give_one_diagnostic(seed):
    fuzz(seed, count=5000)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
