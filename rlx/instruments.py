"""What can be watched while a pipeline runs: dumps of the IR, timings, reproducers.

Each adds itself to an :class:`rlx.pipeline.Instrumentation`, so the same flags work in `rlx-opt`,
`rlx-run` and :func:`rlx.compile`::

    hooks = Instrumentation()
    dump(hooks, after_all=True)
    run_pipeline(module, text, hooks)
"""

import contextlib
import hashlib
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from rlx.host import ir
from rlx.passes.base import parent_of
from rlx.pipeline import Instrumentation, Leaf

__all__ = ["Timing", "dump", "pipeline_of_reproducer", "reproducer"]

Printer = Callable[[ir.Operation], str]


def _to_stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def dump(
    hooks: Instrumentation,
    *,
    before: Collection[str] = (),
    before_all: bool = False,
    after: Collection[str] = (),
    after_all: bool = False,
    on_change: bool = False,
    on_failure: bool = False,
    module_scope: bool = False,
    printer: Printer = str,
    write: Callable[[str], None] = _to_stderr,
) -> None:
    """Writes the IR around passes, under MLIR's headers.

    Args:
        hooks: what to add to.
        before, after: names of passes.
        before_all, after_all: every pass.
        on_change: after a pass, only when it changed the IR; of every pass when ``after`` names
            none.
        on_failure: after a pass, only when it failed; likewise.
        module_scope: the whole module, where a pass runs on a function.
        printer: gives the text of an op.
        write: takes the text.
    """
    after_all = after_all or ((on_change or on_failure) and not after)
    seen: dict[str, bytes] = {}

    def show(when: str, leaf: Leaf, op: ir.Operation) -> None:
        header = f"// -----// IR Dump {when} ({leaf.name})"
        if module_scope:
            header += f" ('{op.name}' operation{_symbol(op)})"
            while (parent := parent_of(op)) is not None:
                op = parent
        write(f"{header} //----- //\n{printer(op).rstrip()}\n\n")

    def wants_after(leaf: Leaf) -> bool:
        return after_all or leaf.name in after

    def on_before(leaf: Leaf, op: ir.Operation) -> None:
        if before_all or leaf.name in before:
            show(f"Before {leaf.class_name}", leaf, op)
        if on_change and wants_after(leaf):
            seen["before"] = _fingerprint(op)

    def on_after(leaf: Leaf, op: ir.Operation) -> None:
        if not wants_after(leaf) or on_failure:
            return
        if not on_change or _fingerprint(op) != seen["before"]:
            show(f"After {leaf.class_name}", leaf, op)

    def on_failed(leaf: Leaf, op: ir.Operation) -> None:
        if wants_after(leaf):
            show(f"After {leaf.class_name} Failed", leaf, op)

    if before_all or before or on_change:
        hooks.before.append(on_before)
    if after_all or after:
        hooks.after.append(on_after)
        hooks.failed.append(on_failed)


def _symbol(op: ir.Operation) -> str:
    name = op.attributes.get("sym_name", None)
    return f": @{name.value}" if isinstance(name, ir.StringAttr) else ""


def _fingerprint(op: ir.Operation) -> bytes:
    text = op.get_asm(binary=True, enable_debug_info=True, print_generic_op_form=True)
    return hashlib.sha256(text).digest()


@dataclass
class Timing:
    """Wall time per pass and of other named phases, reported in MLIR's layout.

    Attributes:
        seconds: per phase or (nesting, pass), in order of first appearance.
    """

    seconds: dict[tuple[str, str, int], float] = field(default_factory=dict)
    _begin: float = field(default_factory=time.perf_counter)
    _started: float = 0.0
    _leaves: list[Leaf] = field(default_factory=list)

    def watch(self, hooks: Instrumentation) -> None:
        """Times the passes that run with ``hooks``. Other callbacks should be added before."""
        hooks.before.append(self._start)
        hooks.after.insert(0, self._stop)
        hooks.failed.insert(0, self._stop)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times the body as ``name``."""
        started = time.perf_counter()
        try:
            yield
        finally:
            key = ("", name, 0)
            self.seconds[key] = self.seconds.get(key, 0.0) + time.perf_counter() - started

    def _start(self, leaf: Leaf, op: ir.Operation) -> None:
        if leaf not in self._leaves[-1:]:
            self._leaves.append(leaf)
        self._started = time.perf_counter()

    def _stop(self, leaf: Leaf, op: ir.Operation) -> None:
        nesting = "(".join(leaf.anchors[1:])
        key = (nesting, leaf.class_name, len(self._leaves))
        passed = time.perf_counter() - self._started
        self.seconds[key] = self.seconds.get(key, 0.0) + passed

    def report(self) -> str:
        total = time.perf_counter() - self._begin

        def row(name: str, seconds: float) -> str:
            return f"  {seconds:8.4f} ({100 * seconds / total:5.1f}%)  {name}"

        rule = f"==={'-' * 73}==="
        lines = [rule, "... Execution time report ...".center(len(rule)).rstrip(), rule]
        lines += [f"  Total Execution Time: {total:.4f} seconds", ""]
        lines += ["  ----Wall Time----  ----Name----"]
        shown = ""
        for (nesting, name, _), seconds in self.seconds.items():
            if nesting and nesting != shown:
                inside = sum(s for (n, _, _), s in self.seconds.items() if n == nesting)
                lines.append(row(f"'{nesting}' Pipeline", inside))
            shown = nesting
            lines.append(row(("  " if nesting else "") + name, seconds))
        lines.append(row("Rest", total - sum(self.seconds.values())))
        lines.append(row("Total", total))
        return "\n".join(lines) + "\n"


def reproducer(
    op: ir.Operation, pipeline: str, *, verify_each: bool = True, threading: bool = True
) -> str:
    """The text of ``op`` with the pipeline that fails on it, as `-run-reproducer` takes it."""
    body = op.get_asm().rstrip()
    quoted = pipeline.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f"""{body}

{{-#
  external_resources: {{
    mlir_reproducer: {{
      pipeline: "{quoted}",
      disable_threading: {str(not threading).lower()},
      verify_each: {str(verify_each).lower()}
    }}
  }}
#-}}
"""


def pipeline_of_reproducer(text: str) -> tuple[str, bool, bool] | None:
    """(pipeline, verify_each, threading) out of a reproducer; None when ``text`` is none."""
    resources = text[text.rfind("{-#") :] if "{-#" in text else ""
    block = re.search(r"mlir_reproducer\s*:\s*\{(.*?)\n\s*\}", resources, re.DOTALL)
    found = block and re.search(r'pipeline\s*:\s*"((?:[^"\\]|\\.)*)"', block[1])
    if not block or not found:
        return None
    pipeline = re.sub(r"\\(.)", r"\1", found[1])
    verify = not re.search(r"verify_each\s*:\s*false", block[1])
    threads = not re.search(r"disable_threading\s*:\s*true", block[1])
    return pipeline, verify, threads
