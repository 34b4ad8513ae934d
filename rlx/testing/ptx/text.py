"""The text of a PTX module as kernels and instructions."""

import re
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np

__all__ = ["TYPES", "Instruction", "Kernel", "members", "parse"]

TYPES: dict[str, np.dtype] = {
    name: np.dtype(kind)
    for name, kind in {
        **{f"{letter}{8 * n}": f"u{n}" for letter in "bu" for n in (1, 2, 4, 8)},
        **{f"s{8 * n}": f"i{n}" for n in (1, 2, 4, 8)},
        **{f"f{8 * n}": f"f{n}" for n in (2, 4, 8)},
        "bf16": ml_dtypes.bfloat16,
    }.items()
}
"""Types of instructions."""

_RESERVED = 1024
"""Bytes of shared memory in front of that of a block."""

_KERNEL = re.compile(r"\.visible \.entry (\S+)\((.*?)\)\s*(.*?)\{\n(.*?)\n\}\n", re.S)
_PARAMETER = re.compile(r"\.param (?:\.align \d+ )?\.(\w+)[^,]*?\s(\w+)(?:\[(\d+)\])?\s*(?:,|$)")
_SHARED = re.compile(r"\.shared \.align (\d+) \.b8 (\S+?)\[(\d+)\];")
_DECLARATION = re.compile(r"^\s*\.(shared|reg|pragma)[^;]*;", re.M)
_LABEL = re.compile(r"^(\$\w+):\s*")

# Inline assembly with labels and registers of its own, as one instruction.
_BLOCKS = (
    (
        re.compile(
            r"\{\s*\.reg \.pred\s+P1;\s*LAB_WAIT:\s*mbarrier\.try_wait\.parity\.shared\.b64 P1, "
            r"(\[\S+?\]), (\S+?), \S+?;\s*@P1 bra\.uni DONE;\s*bra\.uni\s+LAB_WAIT;\s*DONE:\s*\}"
        ),
        r"mbarrier.try_wait \1, \2;",
    ),
    (
        re.compile(
            r"\{ \.reg \.pred p; setp\.ne\.b32 p, (\S+), 0; @p mbarrier\.arrive\S* _, (\S+); \}"
        ),
        r"mbarrier.arrive \2, \1;",
    ),
    (
        re.compile(
            r"\{ \.reg \.pred p; setp\.ne\.b32 p, (\d), 0; (wgmma\.mma_async[^;]*), p, ([^;]*); \}"
        ),
        r"\2, \1, \3;",
    ),
)


@dataclass(frozen=True)
class Instruction:
    """Attributes:
    words: the opcode, in its parts.
    operands: as they are written.
    predicate: the register that tells lanes to take part; "" for all.
    negated: whether it tells them not to.
    text: the whole.
    """

    words: tuple[str, ...]
    operands: tuple[str, ...]
    predicate: str
    negated: bool
    text: str

    @property
    def type(self) -> str:
        return self.words[-1]


@dataclass
class Kernel:
    """Attributes:
    parameters: names and sizes in bytes.
    threads: the most of a block.
    shared: addresses of what lies in shared memory.
    dynamic: where dynamic shared memory begins.
    labels: numbers of the instructions that follow them.
    """

    name: str
    parameters: dict[str, int]
    threads: int
    shared: dict[str, int]
    dynamic: int
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)


def members(text: str) -> list[str]:
    """What commas separate, outside of brackets."""
    found, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            found.append(text[start:at].strip())
            start = at + 1
    return [*found, text[start:].strip()] if text.strip() else []


def parse(text: str) -> dict[str, Kernel]:
    """The kernels of a module, by name."""
    bare = re.sub(r"//[^\n]*", "", text)
    return {match[1]: _kernel(match) for match in _KERNEL.finditer(bare)}


def _kernel(match: re.Match[str]) -> Kernel:
    name, parameters, attributes, body = match.groups()
    sizes = {
        p[2]: int(p[3]) if p[3] else TYPES[p[1]].itemsize for p in _PARAMETER.finditer(parameters)
    }
    block = re.search(r"\.maxntid (\d+), (\d+), (\d+)", attributes)
    threads = int(np.prod([int(n) for n in block.groups()])) if block else 1024
    shared, end = {}, _RESERVED
    for found in _SHARED.finditer(body):
        start = -(-end // int(found[1])) * int(found[1])
        shared[found[2]], end = start, start + int(found[3])
    kernel = Kernel(name, sizes, threads, shared, -(-end // 1024) * 1024)
    for pattern, replacement in _BLOCKS:
        body = pattern.sub(replacement, body)
    for part in re.split(r";|(?<=:)\n", _DECLARATION.sub("", body)):
        statement = " ".join(part.split())
        while label := _LABEL.match(statement):
            kernel.labels[label[1]] = len(kernel.code)
            statement = statement[label.end() :]
        if statement:
            kernel.code.append(_instruction(statement))
    return kernel


def _instruction(statement: str) -> Instruction:
    guard = re.match(r"@(!?)(%p\d+) ", statement)
    rest = statement[guard.end() :] if guard else statement
    opcode, _, operands = rest.partition(" ")
    predicate, negated = (guard[2], bool(guard[1])) if guard else ("", False)
    return Instruction(
        tuple(opcode.split(".")), tuple(members(operands)), predicate, negated, statement
    )
