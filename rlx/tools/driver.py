"""What `rlx-opt` does with its input: parse, run the pipeline, verify, print."""

import contextlib
import difflib
import io
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from rlx import instruments, options, registry, upstream
from rlx.diagnostics import CompileError, Diagnostic, capture
from rlx.dialects import load_dialects
from rlx.dialects.source import parse
from rlx.host import ir, irdl
from rlx.passes.base import parent_of
from rlx.pipeline import (
    Instrumentation,
    Leaf,
    PipelineError,
    known_names,
    parse_pipeline,
    pipeline_text,
    run_leaves,
)
from rlx.tools import verify_diagnostics
from rlx.tools.arguments import Arguments, UsageError, flag_names
from rlx.tools.files import is_regular, read_input, unfinished, write_output
from rlx.tools.render import render
from rlx.tools.supervisor import Phase

__all__ = ["run"]

_BYTECODE = b"ML\xefR"
_MODULE = "builtin.module"
_OF_REPRODUCER = "ignoring unknown external resources for 'mlir_reproducer'"


def run(args: Arguments, phase: Phase) -> int:
    """Runs `rlx-opt` and returns its exit code.

    Raises:
        FileError: an input cannot be read or an output cannot be written.
        UsageError: the arguments contradict the input.
    """
    try:
        return _run(args, phase)
    except PipelineError as error:
        _report(_pipeline_error(error))
        return 1


def _run(args: Arguments, phase: Phase) -> int:
    timing = instruments.Timing()
    phase.set("reading the input")
    source = read_input(args.input)
    phase.set("parsing the pipeline")
    _check_dumps(args)
    if args.run_reproducer:
        args = _reproduced(args, source)
    # Without the module around it, only the input tells what the pipeline runs on.
    leaves = None if args.no_implicit_module else _leaves(args, _MODULE)
    if args.dump_pass_pipeline and leaves is not None:
        _report(f"Pass Manager with {len(leaves)} passes:\n{pipeline_text(leaves)}\n")
    good, outputs = True, []
    for text, line in _chunks(args, source):
        part = _Part(args, phase, timing, source, text, line, leaves)
        good &= part.process()
        outputs += part.output
    if args.emit_bytecode and len(outputs) > 1:
        raise UsageError(f"bytecode of {len(outputs)} parts cannot go into one output")
    phase.set("writing the output")
    with timing.phase("Output"):
        marker = f"{args.output_split_marker}\n".encode() if args.output_split_marker else b""
        # A file is written when all went well, stdout gets what there is.
        if good or (args.output == "-" and outputs):
            write_output(args.output, marker.join(outputs))
    if args.mlir_timing:
        _report(timing.report().rstrip())
    return 0 if good else 1


def _report(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _chunks(args: Arguments, source: bytes) -> list[tuple[bytes, int]]:
    """(text, number of its first line) of every part of the input."""
    if args.split_input_file is None or source.startswith(_BYTECODE):
        return [(source, 1)]
    marker = re.escape(args.split_input_file.encode())
    found, line = [], 1
    for part in re.split(rb"^" + marker + rb"(?!-)[^\n]*$", source, flags=re.MULTILINE):
        found.append((part, line))
        line += part.count(b"\n")
    return found


# -- the pipeline ------------------------------------------------------------------------------


def _leaves(args: Arguments, root: str) -> list[Leaf]:
    if args.pass_pipeline is not None:
        return parse_pipeline(args.pass_pipeline, root)
    for name, _ in args.passes:
        if not _exists(name):
            near = difflib.get_close_matches(name, [*flag_names(), *known_names()], 1)
            hint = f"; did you mean '--{near[0]}'?" if near else "; see 'rlx-opt --help'"
            raise UsageError(f"unknown command line argument '--{name}'{hint}")
    text = ",".join(name + (f"{{{value}}}" if value else "") for name, value in args.passes)
    return parse_pipeline(text, root, implicit=True)


def _exists(name: str) -> bool:
    """Whether ``name`` is a pass or a pipeline."""
    if name in known_names():
        return True
    try:
        upstream.resolve(name)
    except upstream.UnknownPass:
        return False
    except options.OptionError:
        return True  # it requires options
    return True


def _check_dumps(args: Arguments) -> None:
    """The passes whose IR is asked for must exist."""
    for flag in ("mlir_print_ir_before", "mlir_print_ir_after"):
        for name in getattr(args, flag):
            spelling = "--" + flag.replace("_", "-")
            if name in registry.pipeline_names():
                raise UsageError(f"{spelling}: '{name}' is a pipeline; name a pass of it")
            if not _exists(name):
                near = difflib.get_close_matches(name, known_names(), 1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise UsageError(f"{spelling}: unknown pass '{name}'{hint}")


def _pipeline_error(error: PipelineError) -> str:
    line = error.text.count("\n", 0, error.offset) + 1
    column = error.offset - error.text.rfind("\n", 0, error.offset)
    return f"<pass-pipeline>:{line}:{column}: error: {error}"


def _reproduced(args: Arguments, source: bytes) -> Arguments:
    """The arguments with the pipeline that the input asks for."""
    found = instruments.pipeline_of_reproducer(source.decode(errors="replace"))
    if found is None:
        raise UsageError("--run-reproducer: the input holds no reproducer")
    if args.passes or args.pass_pipeline is not None:
        raise UsageError("--run-reproducer takes the pipeline from the input, but passes are given")
    pipeline, verify_each, threading = found
    return replace(
        args,
        pass_pipeline=pipeline,
        verify_each=args.verify_each and verify_each,
        mlir_disable_threading=args.mlir_disable_threading or not threading,
    )


def _command(args: Arguments, leaves: list[Leaf], root: str) -> str:
    """The command that does the same again."""
    words = ["rlx-opt", args.input, f"--pass-pipeline={pipeline_text(leaves, root)}"]
    if args.split_input_file is not None:
        words.append("--split-input-file")
    if args.allow_unregistered_dialect:
        words.append("--allow-unregistered-dialect")
    if not args.verify_each:
        words.append("--verify-each=0")
    if args.no_implicit_module:
        words.append("--no-implicit-module")
    if args.irdl_file:
        words.append(f"--irdl-file={args.irdl_file}")
    return shlex.join(words)


# -- one part of the input ---------------------------------------------------------------------


@dataclass
class _Part:
    """The input, or one of its parts when it is split.

    Attributes:
        source: the whole input.
        text: this part.
        line: the number of its first line.
        output: what it became; empty when something failed.
        reported: all diagnostics.
    """

    args: Arguments
    phase: Phase
    timing: instruments.Timing
    source: bytes
    text: bytes
    line: int
    leaves: list[Leaf] | None
    output: list[bytes] = field(default_factory=list)
    reported: list[Diagnostic] = field(default_factory=list)

    @property
    def name(self) -> str:
        return "<stdin>" if self.args.input == "-" else self.args.input

    def process(self) -> bool:
        """Does all there is to do; whether it went as expected."""
        with ir.Context() as context, ir.Location.unknown():
            self.prepare(context)
            with capture(context, listener=self.report) as found:
                try:
                    done = self.transform(context)
                except ir.MLIRError as error:
                    found.add_mlir_error(error)
                    done = False
        if self.args.verify_diagnostics is not None:
            return self.verify()
        return done

    def prepare(self, context: ir.Context) -> None:
        self.phase.set("loading dialects")
        context.allow_unregistered_dialects = self.args.allow_unregistered_dialect
        if self.args.mlir_disable_threading:
            context.enable_multithreading(False)
        load_dialects(context)
        if self.args.irdl_file:
            text = read_input(self.args.irdl_file)
            try:
                irdl.load_dialects(ir.Module.parse(text))
            except ir.MLIRError as error:
                raise UsageError(f"--irdl-file={self.args.irdl_file}: {error}") from None

    def transform(self, context: ir.Context) -> bool:
        """Parses, runs the pipeline, prints. Raises MLIRError when the input does not parse."""
        self.phase.set("parsing the input")
        with self.timing.phase("Parser"):
            op = self.parse(context)
        leaves = _leaves(self.args, op.name) if self.leaves is None else self.leaves
        command = _command(self.args, leaves, op.name)
        hooks = Instrumentation(
            verify_each=self.args.verify_each,
            remarks=self.args.rlx_remarks,
            listener=self.report,
        )
        with self.reproducer(op, leaves, hooks, command):
            self.instrument(hooks)
            try:
                run_leaves(op, leaves, hooks)
            except CompileError as error:
                self.explain(error, command)
                return False
        self.phase.set("printing the result")
        with self.timing.phase("Output"):
            self.output.append(self.print(op))
        return True

    def parse(self, context: ir.Context) -> ir.Operation:
        if self.args.no_implicit_module and not self.text.startswith(_BYTECODE):
            try:
                padded = self.padding.decode() + self.text.decode()
            except UnicodeDecodeError:
                raise UsageError("with --no-implicit-module the input must be UTF-8") from None
            return ir.Operation.parse(padded, source_name=self.name).operation
        if self.args.split_input_file is None and is_regular(self.args.input):
            # Only a file that the host reads itself gives its name to locations.
            return parse(lambda c: ir.Module.parseFile(self.args.input, c), context).operation
        return parse(lambda c: ir.Module.parse(self.padding + self.text, c), context).operation

    @property
    def padding(self) -> bytes:
        """Lines that make the numbers of the others right."""
        return b"\n" * (self.line - 1)

    # -- watching ------------------------------------------------------------------------------

    def instrument(self, hooks: Instrumentation) -> None:
        args = self.args
        instruments.dump(
            hooks,
            before=args.mlir_print_ir_before,
            before_all=args.mlir_print_ir_before_all,
            after=args.mlir_print_ir_after,
            after_all=args.mlir_print_ir_after_all,
            on_change=args.mlir_print_ir_after_change,
            on_failure=args.mlir_print_ir_after_failure,
            module_scope=args.mlir_print_ir_module_scope,
            printer=lambda op: self.asm(op).decode(errors="backslashreplace"),
        )
        if args.mlir_timing:
            self.timing.watch(hooks)

    @contextlib.contextmanager
    def reproducer(
        self, op: ir.Operation, leaves: list[Leaf], hooks: Instrumentation, command: str
    ) -> Iterator[None]:
        """Keeps a reproducer ready while the pipeline runs; on failure it becomes the file."""
        args = self.args
        path = args.mlir_pass_pipeline_crash_reproducer
        beside = unfinished(path) if path else ""
        files = {"reproducer": path, "unfinished": beside} if path else {}

        def text(pipeline: str) -> bytes:
            return instruments.reproducer(
                op,
                pipeline,
                verify_each=args.verify_each,
                threading=not args.mlir_disable_threading,
            ).encode()

        def before(leaf: Leaf, _: ir.Operation) -> None:
            if path and args.mlir_pass_pipeline_local_reproducer:
                write_output(beside, text(leaf.text))
            self.phase.set(f"running pass '{leaf.name}'", command=command, **files)

        def failed(leaf: Leaf, _: ir.Operation) -> None:
            if path:
                os.replace(beside, path)
                _report(f"note: a reproducer is in {path}")

        hooks.before.append(before)
        hooks.failed.append(failed)
        if args.mlir_generate_reproducer:
            write_output(args.mlir_generate_reproducer, text(pipeline_text(leaves, op.name)))
        if path:
            write_output(beside, text(pipeline_text(leaves, op.name)))
        try:
            yield
        finally:
            self.phase.set("finishing")
            if path:
                with contextlib.suppress(OSError):
                    os.unlink(beside)

    # -- reporting -----------------------------------------------------------------------------

    def report(self, diagnostic: Diagnostic) -> None:
        args = self.args
        if diagnostic.message.startswith(_OF_REPRODUCER):
            return
        verifying = args.verify_diagnostics is not None
        notes = () if args.mlir_disable_diagnostic_notes else diagnostic.notes
        if verifying or not args.mlir_print_op_on_diagnostic:
            notes = tuple(n for n in notes if not n.message.startswith("see current operation:"))
        shown = replace(diagnostic, notes=notes)
        self.reported.append(shown)
        if not verifying:
            _report(render(shown, self.name, self.source).rstrip("\n"))

    def explain(self, error: CompileError, command: str) -> None:
        """Adds to a failure of the pipeline what helps to look into it."""
        if self.args.rlx_traceback and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        if self.args.verify_diagnostics is None:
            _report(f"note: {error.message}; to reproduce: {command}")

    def verify(self) -> bool:
        try:
            expected = verify_diagnostics.expectations(
                self.text.decode(errors="replace"), self.line
            )
        except re.error as error:
            raise UsageError(f"bad pattern in expected-...-re: {error}") from None
        only_expected = self.args.verify_diagnostics == "only-expected"
        wrong = verify_diagnostics.check(expected, self.reported, only_expected)
        for place, message in wrong:
            position = (self.name, *place) if place else None
            _report(render(Diagnostic("error", "", message, (), position), self.name, self.source))
        return not wrong

    # -- printing ------------------------------------------------------------------------------

    def asm(self, op: ir.Operation) -> bytes:
        args = self.args
        text = op.get_asm(
            binary=True,
            large_elements_limit=args.mlir_elide_elementsattrs_if_larger,
            large_resource_limit=args.mlir_elide_resource_strings_if_larger,
            enable_debug_info=args.mlir_print_debuginfo,
            pretty_debug_info=args.mlir_pretty_debuginfo,
            print_generic_op_form=args.mlir_print_op_generic,
            use_local_scope=args.mlir_print_local_scope or parent_of(op) is not None,
            use_name_loc_as_prefix=args.mlir_use_nameloc_as_prefix,
            assume_verified=args.mlir_print_assume_verified,
            skip_regions=args.mlir_print_skip_regions,
        )
        if args.mlir_print_debuginfo:
            text = text.replace(b'loc("-":', f'loc("{self.name}":'.encode())
        return text.rstrip() + b"\n"

    def print(self, op: ir.Operation) -> bytes:
        if not self.args.emit_bytecode:
            return self.asm(op)
        stream = io.BytesIO()
        op.write_bytecode(stream, self.args.emit_bytecode_version)
        return stream.getvalue()
