"""The little that the loader must know about ELF object files."""

import struct

__all__ = ["undefined_symbols"]

_SYMBOL_TABLE = 2


def undefined_symbols(object_code: bytes) -> set[str]:
    """Names that a 64-bit little-endian ELF object expects from outside.

    Raises:
        ValueError: it is no such object, or damaged.
    """
    if object_code[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF object")
    try:
        (table,) = struct.unpack_from("<Q", object_code, 40)
        size, count = struct.unpack_from("<HH", object_code, 58)
        # Per section: name, type, flags, address, offset, size, link, info, alignment, entry size.
        sections = [
            struct.unpack_from("<IIQQQQIIQQ", object_code, table + size * number)
            for number in range(count)
        ]
        found = set()
        for _, kind, _, _, start, length, link, _, _, step in sections:
            if kind != _SYMBOL_TABLE:
                continue
            names = sections[link][4]
            for at in range(start + step, start + length, step):
                name, _, _, section = struct.unpack_from("<IBBH", object_code, at)
                if section == 0:
                    begin = names + name
                    end = object_code.index(b"\0", begin)
                    found.add(object_code[begin:end].decode())
        return found
    except (struct.error, IndexError, ZeroDivisionError) as error:
        raise ValueError(f"damaged ELF object: {error}") from None
