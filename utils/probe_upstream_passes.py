"""Writes rlx/upstream_passes.json: the passes of an MLIR host, as far as it tells about them.

    RLX_MLIR=mlir python utils/probe_upstream_passes.py

The Python bindings list neither passes nor their options. But names lie as strings in the host's
libraries, and the pipeline parser says of each whether it is a pass, so all are tried. The result
serves suggestions, `--list-passes` and dump headers, and says which names stand for pipelines:
those abort the process when they are nested in the wrong op.

Every question that could end the process is asked in a child. Passes of the other host are kept.
"""

import importlib
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from rlx import host
from rlx.host import ir, passmanager

TABLE = Path(__file__).resolve().parents[1] / "rlx" / "upstream_passes.json"


def words() -> set[str]:
    """Everything in the host's libraries that is spelled like a name."""
    folder = Path(importlib.import_module(f"{host.PREFIX}.ir").__file__).parent / "_mlir_libs"
    found = set()
    for library in folder.glob("*.so*"):
        for match in re.finditer(rb"[a-z0-9][a-z0-9_-]{0,80}\x00", library.read_bytes()):
            found.add(match[0][:-1].decode())
    return found


def accepted(pipeline: str) -> bool:
    try:
        passmanager.PassManager.parse(pipeline)
    except ValueError:
        return False
    return True


def is_dialect(name: str) -> bool:
    try:
        ir.Context.current.get_dialect_descriptor(name)
    except ValueError:
        return False
    return True


def in_child(question: Callable[[], str], with_stderr: bool = False) -> str:
    """What ``question`` returns or raises; what it wrote to stderr goes first or nowhere."""
    answer, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(write if with_stderr else os.open(os.devnull, os.O_WRONLY), 2)
        try:
            text = question()
        except (ValueError, ir.MLIRError) as error:
            text = str(error)
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(answer, errors="replace") as stream:
        text = stream.read()
    os.waitpid(pid, 0)
    return text


def printed(name: str) -> str:
    return str(passmanager.PassManager.parse(f"any({name})"))


def nested(name: str) -> str:
    passmanager.PassManager.parse(f"rlx.probe({name})")
    return ""


def dumped(name: str) -> str:
    """Runs the pass on an empty module; the dump's header names the class."""
    module = ir.Module.create(ir.Location.unknown())
    manager = passmanager.PassManager.parse(f"any({name})")
    module.context.enable_multithreading(False)
    manager.enable_ir_printing(print_before_all=True, print_after_all=False)
    manager.run(module.operation)
    return ""


def option_names(text: str, name: str, candidates: set[str]) -> str:
    """Options out of ``any(name{a=1 b={c=2}  d=})``.

    Lists that are empty print as a second blank, and pipelines print as what they stand for: for
    these every candidate is tried.
    """
    body = re.sub(r"\{[^{}]*\}", "", text.partition("{")[2].rpartition("}")[0])
    found = set(re.findall(r"([\w-]+)=", body)) if is_pass(text, name) else set()
    hidden = "  " in f" {body} " or text == f"any({name}{{}})"
    if hidden or not is_pass(text, name):
        found |= {word for word in candidates if accepted(f"any({name}{{{word}=}})")}
    return " ".join(found)


def is_pass(text: str, name: str) -> bool:
    return text.startswith((f"any({name}{{", f"any({name})"))


def describe(name: str, candidates: set[str]) -> dict:
    text = in_child(lambda: printed(name))
    restriction = re.search(r"restricted to '([\w.]+)'", in_child(lambda: nested(name), True))
    options = in_child(lambda: option_names(text, name, candidates))
    common = {
        "anchor": restriction[1] if restriction else None,
        "options": sorted(set(options.split())),
    }
    if not is_pass(text, name):
        return {"pipeline": True, **common}
    seen = in_child(lambda: nested(name), True) + in_child(lambda: dumped(name), True)
    class_name = re.search(r"(?:IR Dump Before |pass ')(\w+)", seen)
    on_module = restriction or "unsupported operation" not in seen
    entry = {"class": class_name[1] if class_name else "", **common}
    return entry if on_module else {**entry, "on_module": False}


def main() -> None:
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    with ir.Context():
        candidates = words()
        # The linker merges a string with the end of another, so ends are names as well.
        names = {word[i:] for word in candidates for i in range(len(word) - 1)}
        passes = sorted(name for name in names if accepted(f"any({name})"))
        found = {name: describe(name, candidates) for name in passes}
        dialects = sorted(name for name in names if is_dialect(name))
    table[host.PREFIX] = {"version": host.version(), "dialects": dialects, "passes": found}
    lines = []
    for prefix, entry in sorted(table.items()):
        rows = [f"   {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(entry["passes"].items())]
        head = [f"  {json.dumps(k)}: {json.dumps(entry[k])},\n" for k in ("version", "dialects")]
        lines.append(
            f" {json.dumps(prefix)}: {{\n"
            + "".join(head)
            + '  "passes": {\n'
            + ",\n".join(rows)
            + "\n  }\n }"
        )
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{TABLE}: {len(found)} passes of {host.version()}", file=sys.stderr)


if __name__ == "__main__":
    main()
