"""Numbers: arithmetic, comparisons, conversions, bits."""

from collections.abc import Callable

import numpy as np

from rlx.testing.ptx.text import TYPES, Instruction, Kernel, members
from rlx.testing.ptx.warp import Lanes, Source, Step, Warp, handles, source

__all__: list[str] = []

_WIDE = np.float64

Operation = Callable[..., np.ndarray]


def _exact(operation: Operation) -> Operation:
    """In f64, and rounded once; approximations are exact here."""
    return lambda *values: operation(*(v.astype(_WIDE) for v in values)).astype(values[0].dtype)


_FLOATS: dict[str, Operation] = {
    "abs": np.abs,
    "add": np.add,
    "copysign": lambda sign, value: np.copysign(value, sign),
    "div": _exact(np.divide),
    "ex2": _exact(np.exp2),
    "fma": _exact(lambda a, b, c: a * b + c),
    "max": np.fmax,
    "min": np.fmin,
    "mul": np.multiply,
    "neg": np.negative,
    "rcp": _exact(np.reciprocal),
    "sqrt": _exact(np.sqrt),
    "sub": np.subtract,
}


def _quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rounded towards zero; lanes that do not take part may divide by anything."""
    b = np.where(b == 0, np.ones_like(b), b)
    if a.dtype.kind == "u":
        return a // b
    return (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)


def _high(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The upper half of products."""
    bits = 8 * a.dtype.itemsize
    return np.array([int(x) * int(y) >> bits for x, y in zip(a, b, strict=True)], a.dtype)


_INTEGERS: dict[str, Operation] = {
    "abs": np.abs,
    "add": np.add,
    "div": _quotient,
    "mad": lambda a, b, c: a * b + c,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "neg": np.negative,
    "rem": lambda a, b: a - b * _quotient(a, b),
    "sub": np.subtract,
}


def _is_float(type_: str) -> bool:
    return type_ == "bf16" or type_[0] == "f"


def _sources(kernel: Kernel, instruction: Instruction, type_: str) -> list[Source]:
    return [source(kernel, text, type_) for text in instruction.operands[1:]]


def _assign(instruction: Instruction, sources: list[Source], operation: Operation) -> Step:
    target = instruction.operands[0]

    def run(warp: Warp, lanes: Lanes) -> None:
        with np.errstate(all="ignore"):
            warp.write(target, lanes, operation(*(read(warp) for read in sources)))

    return run


@handles(*{*_FLOATS, *_INTEGERS})
def _arithmetic(kernel: Kernel, instruction: Instruction) -> Step:
    name, type_, words = instruction.words[0], instruction.type, instruction.words
    sources = _sources(kernel, instruction, type_)
    if _is_float(type_):
        operation = _FLOATS[name]
        if "NaN" in words:
            operation = {"max": np.maximum, "min": np.minimum}[name]
    elif "wide" in words:
        wide = TYPES[f"{type_[0]}{2 * int(type_[1:])}"]
        if name != "mul":
            raise NotImplementedError(f"PTX: {instruction.text}")
        return _assign(instruction, sources, lambda a, b: a.astype(wide) * b.astype(wide))
    elif "hi" in words and name == "mul":
        operation = _high
    elif "hi" in words or "sat" in words:
        raise NotImplementedError(f"PTX: {instruction.text}")
    else:
        operation = _INTEGERS[name]
    dtype = TYPES[type_]
    return _assign(instruction, sources, lambda *values: operation(*values).astype(dtype))


# -- bits ------------------------------------------------------------------------------------------

_LOGIC: dict[str, Operation] = {
    "and": np.bitwise_and,
    "not": np.bitwise_not,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}


@handles(*_LOGIC)
def _logic(kernel: Kernel, instruction: Instruction) -> Step:
    operation = _LOGIC[instruction.words[0]]
    if instruction.type != "pred":
        return _assign(instruction, _sources(kernel, instruction, instruction.type), operation)
    target, *operands = instruction.operands

    def run(warp: Warp, lanes: Lanes) -> None:
        warp.tell(target, lanes, operation(*(_predicate(warp, text) for text in operands)))

    return run


def _predicate(warp: Warp, text: str) -> np.ndarray:
    return warp.predicates[text] if text.startswith("%") else np.full(32, int(text) != 0)


@handles("shl", "shr")
def _shift(kernel: Kernel, instruction: Instruction) -> Step:
    value = source(kernel, instruction.operands[1], instruction.type)
    count = source(kernel, instruction.operands[2], "u32")
    left, most = instruction.words[0] == "shl", 8 * TYPES[instruction.type].itemsize - 1

    def shift(x: np.ndarray, by: np.ndarray) -> np.ndarray:
        inside = np.minimum(by, most).astype(x.dtype)
        shifted = np.left_shift(x, inside) if left else np.right_shift(x, inside)
        # A sign fills up everything, as a shift by one bit less does.
        return np.where((by > most) & (left | (x >= 0)), np.zeros_like(x), shifted)

    return _assign(instruction, [value, count], shift)


@handles("bfe")
def _bits(kernel: Kernel, instruction: Instruction) -> Step:
    if instruction.type[0] != "u":
        raise NotImplementedError(f"PTX: {instruction.text}")
    value = source(kernel, instruction.operands[1], instruction.type)
    first, count = (source(kernel, text, "u32") for text in instruction.operands[2:])

    def extract(x: np.ndarray, at: np.ndarray, size: np.ndarray) -> np.ndarray:
        at, size = at.astype(x.dtype), size.astype(x.dtype)
        one = np.ones_like(x)
        return (x >> at) & ((one << size) - one)

    return _assign(instruction, [value, first, count], extract)


# -- comparisons -----------------------------------------------------------------------------------

_COMPARISONS: dict[str, Operation] = {
    "eq": np.equal,
    "ge": np.greater_equal,
    "gt": np.greater,
    "le": np.less_equal,
    "lt": np.less,
    "ne": np.not_equal,
}
_TESTS: dict[str, Operation] = {
    "nan": lambda a, b: np.isnan(a) | np.isnan(b),
    "num": lambda a, b: ~(np.isnan(a) | np.isnan(b)),
}


@handles("setp")
def _compare(kernel: Kernel, instruction: Instruction) -> Step:
    target, *operands = instruction.operands
    if len(operands) != 2 or len(instruction.words) != 3:
        raise NotImplementedError(f"PTX: {instruction.text}")
    name, type_ = instruction.words[1], instruction.type
    is_float = _is_float(type_)
    unordered = is_float and name.endswith("u") and name != "nu"
    operation = _TESTS.get(name) or _COMPARISONS[name[:2]]
    a, b = (source(kernel, text, type_) for text in operands)

    def run(warp: Warp, lanes: Lanes) -> None:
        x, y = a(warp), b(warp)
        if not is_float:
            warp.tell(target, lanes, operation(x, y))
            return
        x, y = x.astype(_WIDE), y.astype(_WIDE)
        nan = _TESTS["nan"](x, y)
        found = operation(x, y)
        if name not in _TESTS:
            found = found | nan if unordered else found & ~nan
        warp.tell(target, lanes, found)

    return run


@handles("selp")
def _select(kernel: Kernel, instruction: Instruction) -> Step:
    target, first, second, predicate = instruction.operands
    bits = f"b{8 * TYPES[instruction.type].itemsize}"
    a, b = (source(kernel, text, bits) for text in (first, second))

    def run(warp: Warp, lanes: Lanes) -> None:
        warp.write(target, lanes, np.where(warp.predicates[predicate], a(warp), b(warp)))

    return run


# -- moves and conversions -------------------------------------------------------------------------


@handles("mov", "cvta")
def _move(kernel: Kernel, instruction: Instruction) -> Step:
    target, value = instruction.operands
    if instruction.type == "pred":
        return lambda warp, lanes: warp.tell(target, lanes, _predicate(warp, value))
    size = TYPES[instruction.type].itemsize
    if value.startswith("{"):
        parts = members(value.strip("{}"))
        reads = [source(kernel, part, f"b{8 * size // len(parts)}") for part in parts]

        def pack(*found: np.ndarray) -> np.ndarray:
            return np.stack(found, axis=1).view(f"u{size}")[:, 0]

        return _assign(instruction, reads, pack)
    read = source(kernel, value, f"b{8 * size}")
    if not target.startswith("{"):
        return _assign(instruction, [read], lambda found: found)
    parts = members(target.strip("{}"))

    def unpack(warp: Warp, lanes: Lanes) -> None:
        pieces = read(warp).copy().view(f"u{size // len(parts)}").reshape(32, -1)
        for number, part in enumerate(parts):
            warp.write(part, lanes, pieces[:, number])

    return unpack


@handles("cvt")
def _convert(kernel: Kernel, instruction: Instruction) -> Step:
    *_, to, from_ = instruction.words
    sources = _sources(kernel, instruction, from_)
    if to.endswith("x2"):
        element = TYPES[to[:-2]]

        def pair(high: np.ndarray, low: np.ndarray) -> np.ndarray:
            return np.stack([low.astype(element), high.astype(element)], axis=1).view("u4")[:, 0]

        return _assign(instruction, sources, pair)
    dtype = TYPES[to]
    if _is_float(to) or not _is_float(from_):
        return _assign(instruction, sources, lambda x: x.astype(dtype))
    round_ = np.trunc if "rzi" in instruction.words else np.rint
    limits = np.iinfo(dtype)

    def to_integer(x: np.ndarray) -> np.ndarray:
        whole = np.clip(round_(np.nan_to_num(x.astype(_WIDE), nan=0.0)), limits.min, limits.max)
        return whole.astype(dtype)

    return _assign(instruction, sources, to_integer)
