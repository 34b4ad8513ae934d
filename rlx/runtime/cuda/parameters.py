"""Parameters of kernels in the form that the driver reads them."""

import ctypes
import struct
from collections.abc import Sequence

__all__ = ["Packed", "number"]

_FORMATS = {
    "index": "<q",
    "i64": "<q",
    "i32": "<i",
    "i16": "<h",
    "i8": "<b",
    "i1": "<?",
    "f64": "<d",
    "f32": "<f",
    "f16": "<e",
}


def number(dtype: str, value: float) -> bytes:
    """A number as a kernel is passed it."""
    if dtype == "bf16":
        (bits,) = struct.unpack("<I", struct.pack("<f", value))
        rounded = bits + 0x7FFF + (bits >> 16 & 1)
        return struct.pack("<H", rounded >> 16) if value == value else b"\xc0\x7f"
    return struct.pack(_FORMATS[dtype], value)


class Packed:
    """Values of parameters, and pointers to each of them.

    Attributes:
        values: the bytes of each.
        address: of the list of pointers.
    """

    def __init__(self, values: Sequence[bytes]):
        self.values = tuple(values)
        # The host's copy of a TMA descriptor must be aligned to 64 bytes, too.
        offsets, size = [], 0
        for value in values:
            align = 64 if len(value) > 8 else 8
            size = -(-size // align) * align
            offsets.append(size)
            size += len(value)
        self._memory = ctypes.create_string_buffer(size + 64)
        start = -(-ctypes.addressof(self._memory) // 64) * 64
        for offset, value in zip(offsets, values, strict=True):
            ctypes.memmove(start + offset, value, len(value))
        self._pointers = (ctypes.c_void_p * max(len(offsets), 1))(
            *(start + offset for offset in offsets)
        )
        self.address = ctypes.addressof(self._pointers)
