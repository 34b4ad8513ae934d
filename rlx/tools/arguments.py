"""The command line of `rlx-opt`: mlir-opt's flags, spelled with one dash or two, in any order.

Every flag is a field of :class:`Arguments`; parsing and `--help` both come from there. What is no
flag is a pass.
"""

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Arguments", "UsageError", "flag_names", "help_lines", "parse_arguments"]

SPLIT_MARKER = "// -----"


class UsageError(Exception):
    """The command line is wrong."""


def _flag(default: Any, doc: str, value: str = "", alone: Any = None, name: str = "") -> Any:
    """A flag.

    Args:
        default: when the flag is absent.
        doc: its line in the help.
        value: what to call the value in the help; "" for a switch.
        alone: the value of a flag without one, where that is allowed.
        name: the spelling, when it is not that of the field.
    """
    return field(
        default=default, metadata={"doc": doc, "value": value, "alone": alone, "name": name}
    )


@dataclass
class Arguments:
    """What was asked for."""

    input: str = "-"
    passes: list[tuple[str, str]] = field(default_factory=list)

    output: str = _flag("-", "where the result goes, - for stdout", "FILE", name="o")
    pass_pipeline: str | None = _flag(None, "the passes to run, as pipeline text", "TEXT")
    split_input_file: str | None = _flag(
        None,
        f"process the parts of the input between marker lines ({SPLIT_MARKER}) one by one",
        "MARKER",
        SPLIT_MARKER,
    )
    output_split_marker: str = _flag(SPLIT_MARKER, "line between the parts of the output", "LINE")
    verify_diagnostics: str | None = _flag(
        None,
        "check what is reported against the expected-error, -warning, -remark and -note "
        "{{...}} comments of the input: all, or only-expected to allow others",
        "all|only-expected",
        "all",
    )
    verify_each: bool = _flag(True, "verify the IR after every pass (on)")
    allow_unregistered_dialect: bool = _flag(False, "accept ops of unknown dialects")
    no_implicit_module: bool = _flag(False, "take the single top-level op as it is")
    irdl_file: str = _flag("", "IRDL file with dialects to load first", "FILE")
    emit_bytecode: bool = _flag(False, "write MLIR bytecode instead of text")
    emit_bytecode_version: int | None = _flag(None, "version of the bytecode", "N")
    rlx_remarks: bool = _flag(False, "report why rlx passes did or did not apply")
    rlx_traceback: bool = _flag(False, "show the Python traceback of an internal error")

    mlir_print_ir_before: tuple[str, ...] = _flag((), "print the IR before these passes", "PASS,..")
    mlir_print_ir_before_all: bool = _flag(False, "print the IR before every pass")
    mlir_print_ir_after: tuple[str, ...] = _flag((), "print the IR after these passes", "PASS,..")
    mlir_print_ir_after_all: bool = _flag(False, "print the IR after every pass")
    mlir_print_ir_after_change: bool = _flag(
        False, "print the IR after a pass only when it changed the IR"
    )
    mlir_print_ir_after_failure: bool = _flag(
        False, "print the IR after a pass only when it failed"
    )
    mlir_print_ir_module_scope: bool = _flag(False, "print the whole module, not only the function")
    mlir_print_debuginfo: bool = _flag(False, "print locations")
    mlir_pretty_debuginfo: bool = _flag(False, "print locations in a form for humans")
    mlir_print_op_generic: bool = _flag(False, "print ops in the generic form")
    mlir_print_local_scope: bool = _flag(False, "print without aliases")
    mlir_print_skip_regions: bool = _flag(False, "print ops without their regions")
    mlir_print_assume_verified: bool = _flag(False, "do not verify before printing")
    mlir_use_nameloc_as_prefix: bool = _flag(False, "name values after their locations")
    mlir_elide_elementsattrs_if_larger: int | None = _flag(
        None, "leave out dense attributes of more elements", "N"
    )
    mlir_elide_resource_strings_if_larger: int | None = _flag(
        None, "leave out resources of more characters", "N"
    )
    mlir_timing: bool = _flag(False, "report the time of every pass")
    mlir_disable_threading: bool = _flag(False, "run in one thread")
    mlir_disable_diagnostic_notes: bool = _flag(False, "report without notes")
    mlir_print_op_on_diagnostic: bool = _flag(True, "note the op that a report is about (on)")
    mlir_pass_pipeline_crash_reproducer: str = _flag(
        "", "when a pass fails or crashes, write the input and the pipeline there", "FILE"
    )
    mlir_pass_pipeline_local_reproducer: bool = _flag(
        False, "reduce the reproducer to the pass that failed and the IR before it"
    )
    mlir_generate_reproducer: str = _flag("", "write a reproducer in any case", "FILE")
    run_reproducer: bool = _flag(False, "run the pipeline that the input, a reproducer, holds")

    dump_pass_pipeline: bool = _flag(False, "print the pipeline that will run")
    list_passes: bool = _flag(False, "list passes and pipelines, and exit")
    show_dialects: bool = _flag(False, "list dialects and describe the rlx dialect, and exit")
    emit_irdl: bool = _flag(False, "print the rlx dialect as IRDL, and exit")
    help: bool = _flag(False, "print this, and exit")
    version: bool = _flag(False, "print versions, and exit")


_SHORT = {"h": "help"}


def _flags() -> dict[str, dataclasses.Field]:
    flags = [f for f in dataclasses.fields(Arguments) if f.metadata]
    return {f.metadata["name"] or f.name.replace("_", "-"): f for f in flags}


def flag_names() -> list[str]:
    return list(_flags())


def help_lines() -> list[tuple[str, str]]:
    """(spelling, description) of every flag."""
    lines = []
    for name, f in _flags().items():
        value = f.metadata["value"]
        if value:
            value = f"[={value}]" if f.metadata["alone"] is not None else f"={value}"
        lines.append((f"--{name}{value}", f.metadata["doc"]))
    return lines


def parse_arguments(argv: list[str]) -> Arguments:
    """The command line without the program's name.

    Raises:
        UsageError: it is wrong; the message says how.
    """
    found = Arguments()
    flags = _flags()
    inputs: list[str] = []
    given: set[str] = set()
    words = iter(argv)
    for word in words:
        if word == "--":
            inputs += words
            break
        if word == "-" or not word.startswith("-"):
            inputs.append(word)
            continue
        match = re.fullmatch(r"--?([A-Za-z0-9][\w.-]*)(?:=(.*))?", word, re.DOTALL)
        if match is None:
            raise UsageError(f"unknown command line argument '{word}'")
        name, value = match[1], match[2]
        name = _SHORT.get(name, name)
        if name not in flags:
            found.passes.append((name, _option_text(value)))
            continue
        flag = flags[name]
        if flag.metadata["value"] and value is None and flag.metadata["alone"] is None:
            value = next(words, None)
            if value is None:
                raise UsageError(f"argument '{word}' requires a value")
        if name in given and flag.type in (str, str | None, int | None):
            raise UsageError(f"argument '--{name}' may be given only once")
        given.add(name)
        setattr(found, flag.name, _value(name, flag, value, getattr(found, flag.name)))
    if len(inputs) > 1:
        raise UsageError(f"one input file expected, but got {len(inputs)}: {' '.join(inputs)}")
    found.input = inputs[0] if inputs else "-"
    if found.passes and found.pass_pipeline is not None:
        raise UsageError(
            "'--pass-pipeline' cannot be combined with passes given as flags, "
            f"but got '--{found.passes[0][0]}'"
        )
    return found


def _option_text(value: str | None) -> str:
    """Options of a pass given as a flag: ``--pass=a=1``, ``--pass="a=1 b=2"``, ``--pass={a=1}``."""
    text = (value or "").strip()
    return text[1:-1] if text.startswith("{") and text.endswith("}") else text


def _value(name: str, flag: dataclasses.Field, value: str | None, before: Any) -> Any:
    if flag.type is bool:
        switch = {None: True, "": True, "true": True, "1": True, "false": False, "0": False}
        if value is None or value.lower() in switch:
            return switch[value.lower() if value is not None else None]
        raise UsageError(f"argument '--{name}' takes true or false, but got '{value}'")
    if value is None:
        return flag.metadata["alone"]
    if flag.type == int | None:
        if not re.fullmatch(r"[0-9]{1,9}", value):
            raise UsageError(f"argument '--{name}' takes a number, but got '{value}'")
        return int(value)
    if flag.type == tuple[str, ...]:
        return (*before, *filter(None, value.split(",")))
    choices = flag.metadata["value"].split("|")
    if len(choices) > 1 and value not in choices:
        raise UsageError(f"argument '--{name}' takes {' or '.join(choices)}, but got '{value}'")
    return value
