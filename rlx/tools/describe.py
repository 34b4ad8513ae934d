"""Answers of `rlx-opt` about itself: help, versions, passes, dialects."""

import contextlib
import inspect
import io
import re
import textwrap
from collections.abc import Iterable

import rlx
from rlx import host, options, registry, upstream
from rlx.host import ir
from rlx.tools.arguments import Arguments, help_lines
from rlx.tools.files import write_output

__all__ = ["answer", "asked"]


def asked(args: Arguments) -> bool:
    """Whether the arguments ask for an answer rather than for work."""
    return any((args.help, args.version, args.list_passes, args.show_dialects, args.emit_irdl))


def answer(args: Arguments) -> None:
    """Writes the answer."""
    if args.help:
        text = _help()
    elif args.version:
        text = _version()
    elif args.list_passes:
        text = _passes()
    elif args.show_dialects:
        text = _dialects()
    else:
        from rlx.dialects.irdl import irdl_text

        text = irdl_text()
    write_output(args.output, (text.rstrip("\n") + "\n").encode())


def _help() -> str:
    width = 48
    lines = [
        "OVERVIEW: rlx-opt runs passes on MLIR, as mlir-opt does",
        "USAGE: rlx-opt [options] [input file, - for stdin]",
        "",
        "OPTIONS, with one dash or two:",
    ]
    for spelling, doc in help_lines():
        lines += _entry(f"  {spelling}", doc, width)
    lines += ["", _passes(width)]
    return "\n".join(lines)


def _passes(width: int = 48) -> str:
    lines = ['PASSES, which as flags run in the order given (--pass or --pass="a=1 b=2"):']
    for name in registry.pass_names():
        lines += _described(name, registry.pass_class(name), width)
    lines += ["", "PIPELINES:"]
    for name in registry.pipeline_names():
        lines += _described(name, registry.pipeline_class(name), width)
    lines += ["", f"PASSES AND PIPELINES OF {host.version()} (mlir.llvm.org/docs/Passes):"]
    lines += [f"  --{name}" for name in upstream.names()]
    return "\n".join(lines)


def _described(name: str, cls: type, width: int) -> Iterable[str]:
    yield from _entry(f"  --{name}", summary(cls), width)
    for key, type_, default, doc in options.describe(cls):
        about = f"{doc} ({type_}, default {default})" if default else f"{doc} ({type_})"
        yield from _entry(f"      {key}=", about, width)


def _entry(left: str, right: str, width: int) -> list[str]:
    rows = textwrap.wrap(right, 100 - width, break_on_hyphens=False) or [""]
    head = left.ljust(width) if len(left) < width else left + "\n" + " " * width
    return [head + rows[0], *(" " * width + row for row in rows[1:])]


def summary(cls: type) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].split())


def _version() -> str:
    return f"rlx {rlx.__version__}\nhost {host.version()} ({host.PREFIX})\n{_llvm()}\n"


def _llvm() -> str:
    """The producer that the host writes into bytecode, such as ``MLIR23.1.4``."""
    with ir.Context(), ir.Location.unknown():
        stream = io.BytesIO()
        ir.Module.create().operation.write_bytecode(stream)
    found = re.search(rb"MLIR([0-9][\w.]*)", stream.getvalue()[:64])
    return f"LLVM {found[1].decode()}" if found else "LLVM of unknown version"


def _dialects() -> str:
    from rlx.dialects import docs

    with ir.Context() as context:
        names = ["rlx"]
        for name in upstream.dialects():
            with contextlib.suppress(ValueError):
                context.get_dialect_descriptor(name)
                names.append(name)
    return f"Available Dialects: {', '.join(sorted(names))}\n\n{docs.markdown()}"
