"""LLVM IR as the MLIR host prints it, for the older LLVM that makes the code.

What differs is listed here. Float literals are the bulk: a newer LLVM prints infinities and NaNs as
words, bit patterns with a prefix, and decimals that are not exact in the type; an older one takes
hexadecimal in place of all of them.
"""

import re
import struct

import ml_dtypes
import numpy as np

__all__ = ["for_older_llvm"]

_DTYPES = {
    "half": np.dtype(np.float16),
    "bfloat": np.dtype(ml_dtypes.bfloat16),
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
}
_MANTISSA = {"half": 10, "bfloat": 7, "float": 23, "double": 52}

_TOKEN = re.compile(
    r"""
    (?P<string> "(?:[^"\\]|\\.)*" )
  | (?P<name>   [%@!\#][-\w.$]+ )
  | (?P<type>   \b(?:half|bfloat|float|double)\b )
  | (?P<bits>   \bf0x[0-9A-Fa-f]+ )
  | (?P<word>   [+-](?:inf|qnan|s?nan\(0x[0-9A-Fa-f]+\)) )
  | (?P<number> -?\b\d+\.\d+(?:e[+-]?\d+)?\b )
    """,
    re.VERBOSE,
)

_REPLACED_LINES = (
    # Attributes of intrinsics are what the LLVM that reads them says.
    (re.compile(r"^(declare .*@llvm\..*\))(?:\s+#\d+)+$"), r"\1"),
    # Dynamic shared memory is declared: defined with no elements it would be moved into a function.
    # TMA with a swizzle of 128 bytes wants it aligned to 1024.
    (
        re.compile(r"^(@__dynamic_shmem__\d+) = .*addrspace\(3\).*"),
        r"\1 = external addrspace(3) global [0 x i8], align 1024",
    ),
)

_UNTOUCHED = ("source_filename", "target ", "!", ";", "attributes ")


def for_older_llvm(text: str) -> str:
    """The same module in words that LLVM 22 reads."""
    return "\n".join(map(_line, text.splitlines())) + "\n"


def _line(line: str) -> str:
    if line.startswith(_UNTOUCHED):
        return line
    for pattern, replacement in _REPLACED_LINES:
        line = pattern.sub(replacement, line)
    type_ = ""

    def replace(match: re.Match[str]) -> str:
        nonlocal type_
        if match["type"]:
            type_ = match["type"]
        elif type_ and (match["bits"] or match["word"] or match["number"]):
            return _spell(_bits(match[0], type_), type_)
        return match[0]

    return _TOKEN.sub(replace, line)


def _bits(literal: str, type_: str) -> int:
    """The bit pattern that a literal stands for."""
    dtype, mantissa = _DTYPES[type_], _MANTISSA[type_]
    if literal.startswith("f0x"):
        return int(literal[3:], 16)
    width = 8 * dtype.itemsize
    sign = (literal[0] == "-") << (width - 1)
    infinity = ((1 << (width - 1 - mantissa)) - 1) << mantissa
    word = literal.lstrip("+-")
    if word == "inf":
        return sign | infinity
    if word == "qnan":
        return sign | infinity | 1 << (mantissa - 1)
    if payload := re.fullmatch(r"(s?)nan\(0x([0-9A-Fa-f]+)\)", word):
        quiet = 0 if payload[1] else 1 << (mantissa - 1)
        return sign | infinity | quiet | int(payload[2], 16)
    # By way of f64: what is printed is short enough for that to round once only.
    return int(np.array(float(literal)).astype(dtype).view(f"u{dtype.itemsize}"))


def _spell(bits: int, type_: str) -> str:
    if type_ == "half":
        return f"0xH{bits:04X}"
    if type_ == "bfloat":
        return f"0xR{bits:04X}"
    if type_ == "float":  # spelled as the f64 of the same value
        sign, exponent, rest = bits >> 31, bits >> 23 & 0xFF, bits & 0x7FFFFF
        if exponent == 0xFF:
            bits = sign << 63 | 0x7FF << 52 | rest << 29
        else:
            value = float(np.uint32(bits).view(np.float32))
            (bits,) = struct.unpack("<Q", struct.pack("<d", value))
    return f"0x{bits:016X}"
