"""Pipeline text to a run: MLIR's grammar over upstream passes, rlx passes and named pipelines.

    builtin.module(rlx-fuse-gqa,func.func(canonicalize,cse{}),rlx-cpu{threads=2})

The Python bindings cannot register Python passes by name, so the text is parsed here. Every pass
runs on its own, on each op that the nesting selects: an upstream one through a host pass manager.
That gives every pass its own verification, timing and dump, through :class:`Instrumentation`.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from rlx import options, registry, upstream
from rlx.diagnostics import CompileError, Diagnostic, Diagnostics, PassFailure, capture, emit
from rlx.host import interrupts_wait, ir, passmanager
from rlx.pipeline_text import Element, PipelineError, parse_elements

__all__ = [
    "Instrumentation",
    "Leaf",
    "PipelineError",
    "known_names",
    "parse_pipeline",
    "pipeline_text",
    "run_leaves",
    "run_pipeline",
]


@dataclass(frozen=True)
class Leaf:
    """One pass of a resolved pipeline.

    Attributes:
        anchors: ops to nest into, outermost first, such as ``("builtin.module", "func.func")``.
        name: the pass argument.
        options: option text without braces.
        instance: the rlx pass, or None for an upstream one.
    """

    anchors: tuple[str, ...]
    name: str
    options: str = ""
    instance: Any = None

    @property
    def element(self) -> str:
        """The pass with its options, without the nesting."""
        return self.name + (f"{{{self.options}}}" if self.options else "")

    @property
    def text(self) -> str:
        """The leaf as pipeline text of its own."""
        return _nest(self.anchors, self.element)

    @property
    def class_name(self) -> str:
        """The class that implements the pass, as dumps and timings name it."""
        return type(self.instance).__name__ if self.instance else upstream.class_name(self.name)


@dataclass
class Instrumentation:
    """Callbacks around every run of a pass: dumps, timing and the like hook in here.

    Attributes:
        before, after, failed: called with the leaf and the op that it runs on.
        verify_each: whether the op is verified after every pass.
        remarks: whether remarks of rlx passes are wanted.
        listener: called with every diagnostic as it comes.
    """

    before: list[Callable[[Leaf, ir.Operation], None]] = field(default_factory=list)
    after: list[Callable[[Leaf, ir.Operation], None]] = field(default_factory=list)
    failed: list[Callable[[Leaf, ir.Operation], None]] = field(default_factory=list)
    verify_each: bool = True
    remarks: bool = True
    listener: Callable[[Diagnostic], None] | None = None


def _nest(anchors: Iterable[str], body: str) -> str:
    for anchor in reversed(tuple(anchors)):
        body = f"{anchor}({body})"
    return body


# -- text to leaves ----------------------------------------------------------------------------


def parse_pipeline(text: str, root: str = "builtin.module", implicit: bool = False) -> list[Leaf]:
    """The passes that ``text`` stands for, named pipelines expanded.

    Args:
        text: ``builtin.module(...)``, ``any(...)``, or the inside of it.
        root: name of the op that the pipeline will run on.
        implicit: whether a pass that runs on another op than the one it stands in is nested, as
            for passes given as flags; an error otherwise.

    Raises:
        PipelineError: bad syntax, an unknown name or option, or a bad nesting.
    """
    elements = parse_elements(text)
    for element in elements:
        if element.children is None or element.name not in (root, "any", "builtin.module"):
            continue
        if len(elements) > 1 and element.name == root:
            raise PipelineError(
                f"'{root}(...)' must enclose the whole pipeline", text, element.offset
            )
        if element.name == "builtin.module" != root:
            raise PipelineError(
                f"the pipeline is for 'builtin.module', but runs on '{root}'", text, element.offset
            )
    if (
        len(elements) == 1
        and elements[0].children is not None
        and elements[0].name in (root, "any")
    ):
        elements = elements[0].children
    return list(_Resolver(text, implicit).leaves(elements, (root,)))


@dataclass(frozen=True)
class _Resolver:
    """Turns elements into leaves.

    Attributes:
        text: what the offsets of elements refer to.
        within: names of the pipelines that are being expanded, outermost first.
    """

    text: str
    implicit: bool
    within: tuple[str, ...] = ()

    def fail(self, message: str, offset: int) -> PipelineError:
        return PipelineError(message, self.text, offset)

    def leaves(self, elements: tuple[Element, ...], anchors: tuple[str, ...]) -> Iterator[Leaf]:
        for element in elements:
            if element.children is not None:
                self.check_anchor(element)
                yield from self.leaves(element.children, (*anchors, element.name))
            elif (pipeline := registry.pipeline_class(element.name)) is not None:
                yield from self.expand(element, pipeline, anchors)
            else:
                yield self.leaf(element, anchors)

    def check_anchor(self, element: Element) -> None:
        """Raises when ``name(...)`` is not about an op."""
        name = element.name
        if name == "any" or upstream.is_op(name):
            return
        if name in known_names():
            raise self.fail(
                f"'{name}' is a pass, not an op: its options go into braces, '{name}{{...}}'",
                element.offset,
            )
        near = difflib.get_close_matches(name, ["func.func", "builtin.module", "gpu.module"], 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise self.fail(f"unknown op '{name}'{hint}", element.offset)

    def expand(self, element: Element, cls: Any, anchors: tuple[str, ...]) -> Iterator[Leaf]:
        if element.name in self.within:
            raise self.fail(f"pipeline '{element.name}' contains itself", element.offset)
        text = self.instance(element, cls).text()
        inner = _Resolver(text, self.implicit, (*self.within, element.name))
        try:
            yield from inner.leaves(parse_elements(text), anchors)
        except PipelineError as error:
            message = f"in pipeline '{element.name}' ({text}): {error.message}"
            raise self.fail(message, element.offset) from error

    def instance(self, element: Element, cls: Any) -> Any:
        try:
            return options.parse(cls, element.options or "", element.name)
        except options.OptionError as error:
            offset = element.options_offset if element.options is not None else element.offset
            raise self.fail(str(error), offset + error.offset) from None

    def leaf(self, element: Element, anchors: tuple[str, ...]) -> Leaf:
        name = element.name
        cls = registry.pass_class(name)
        if cls is not None:
            instance = self.instance(element, cls)
            leaf = Leaf(anchors, name, options.render(instance)[1:-1], instance)
            return self.nested(leaf, element, cls.anchor)
        text = (element.options or "").rstrip()
        blanks = len(text) - len(text.lstrip())
        try:
            found = upstream.resolve(name, text[blanks:])
        except upstream.UnknownPass:
            raise self.unknown(element) from None
        except options.OptionError as error:
            offset = element.options_offset + blanks + error.offset
            raise self.fail(str(error), offset) from None
        anchor = found.anchor
        if anchor is None and not found.on_module and anchors[-1] == "builtin.module":
            anchor = "func.func"
        return self.nested(Leaf(anchors, name, text[blanks:]), element, anchor)

    def nested(self, leaf: Leaf, element: Element, anchor: str | None) -> Leaf:
        """``leaf`` where it may run: a bad nesting would end the process."""
        here = leaf.anchors[-1]
        if anchor is None or here in (anchor, "any"):
            return leaf
        if self.implicit:
            return Leaf((*leaf.anchors, anchor), leaf.name, leaf.options, leaf.instance)
        raise self.fail(
            f"pass '{leaf.name}' runs on '{anchor}', but is nested in '{here}'"
            + (f"; write '{anchor}({leaf.name})'" if here == "builtin.module" else ""),
            element.offset,
        )

    def unknown(self, element: Element) -> PipelineError:
        near = difflib.get_close_matches(element.name, known_names(), 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        if upstream.is_op(element.name):
            hint = f"; an op encloses passes, '{element.name}(...)'"
        return self.fail(f"unknown pass '{element.name}'{hint}", element.offset)


def known_names() -> list[str]:
    """Names of all passes and pipelines, rlx's first."""
    return [*registry.pass_names(), *registry.pipeline_names(), *upstream.names()]


def pipeline_text(leaves: Iterable[Leaf], root: str = "builtin.module") -> str:
    """Pipeline text for ``leaves``, with its outermost op."""
    parts = []
    for anchors, group in groupby(leaves, key=lambda leaf: leaf.anchors[1:]):
        parts.append(_nest(anchors, ",".join(leaf.element for leaf in group)))
    return f"{root}({','.join(parts)})"


# -- running -----------------------------------------------------------------------------------


def run_pipeline(
    module: ir.Module | ir.Operation,
    text: str,
    instrumentation: Instrumentation | None = None,
) -> Diagnostics:
    """Runs pipeline text on a module, in place, in the module's own context.

    Args:
        module: the module, or another op that the text's outermost anchor names.
        text: the pipeline.
        instrumentation: callbacks around every pass.

    Returns:
        The warnings and remarks that were reported.

    Raises:
        PipelineError: the text is wrong; nothing ran.
        CompileError: a pass failed or left invalid IR.
    """
    root = module.operation
    with root.context:
        leaves = parse_pipeline(text, root.name)
    return run_leaves(root, leaves, instrumentation)


def run_leaves(
    root: ir.Operation, leaves: Iterable[Leaf], instrumentation: Instrumentation | None = None
) -> Diagnostics:
    """Like :func:`run_pipeline`, for a pipeline that is already parsed."""
    hooks = instrumentation or Instrumentation()
    with root.context, capture(root.context, hooks.remarks, hooks.listener) as found:
        for leaf in leaves:
            targets, run = _prepare(leaf, root)
            for op in targets:
                for before in hooks.before:
                    before(leaf, op)
                cause = _run(leaf, run, op, found, hooks.verify_each)
                if found.errors:
                    for failed in hooks.failed:
                        failed(leaf, op)
                    message = f"pass '{leaf.name}' failed"
                    raise CompileError(message, tuple(found.entries)) from cause
                for after in hooks.after:
                    after(leaf, op)
    return found


def _prepare(
    leaf: Leaf, root: ir.Operation
) -> tuple[list[ir.Operation], Callable[[ir.Operation], None]]:
    """The ops that ``leaf`` runs on, and how."""
    nested = leaf.anchors[1:]
    if leaf.instance is not None:
        anchor = leaf.instance.anchor
        targets = _selected([root], nested)
        return [op for op in targets if anchor in (None, op.name)], leaf.instance.run
    # Which ops `any` means is left to the host, since each pass says on what it can run.
    explicit = nested[: nested.index("any")] if "any" in nested else nested
    body = _nest(nested[len(explicit) :], leaf.element)
    outermost = explicit[-1] if explicit else root.name
    manager = passmanager.PassManager.parse(f"{outermost}({body})")
    manager.enable_verifier(False)
    return _selected([root], explicit), manager.run


def _selected(ops: list[ir.Operation], anchors: tuple[str, ...]) -> list[ir.Operation]:
    """The ops that a nesting selects: at each level the immediate children of that name."""
    for anchor in anchors:
        ops = [
            child.operation
            for parent in ops
            for region in parent.regions
            for block in region.blocks
            for child in block.operations
            if anchor == child.operation.name
            or (anchor == "any" and upstream.isolated(child.operation))
        ]
    return ops


@interrupts_wait()
def _run(
    leaf: Leaf,
    run: Callable[[ir.Operation], None],
    op: ir.Operation,
    found: Diagnostics,
    verify: bool,
) -> BaseException | None:
    """Runs one pass on one op. What goes wrong is added to ``found``; a cause is returned."""
    try:
        run(op)
        if verify and not found.errors:
            op.verify()
    except PassFailure as failure:
        emit("error", failure.where, str(failure), failure.notes)
    except ir.MLIRError as error:
        found.add_mlir_error(error, f"pass '{leaf.name}' failed without a message")
    except (Exception, SystemExit) as error:
        emit("error", op, f"pass '{leaf.name}' raised {type(error).__name__}: {error}")
        return error
    return None
