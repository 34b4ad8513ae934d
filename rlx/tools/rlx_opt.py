"""`rlx-opt`: runs passes on IR, as mlir-opt does."""

import argparse
import re
import sys
from pathlib import Path

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="rlx-opt", allow_abbrev=False)
    parser.add_argument("input", nargs="?", default="-")
    parser.add_argument("-o", default="-")
    parser.add_argument("--pass-pipeline", "-pass-pipeline", default="")
    parser.add_argument("--split-input-file", "-split-input-file", action="store_true")
    parser.add_argument("--verify-diagnostics", "-verify-diagnostics", action="store_true")
    parser.add_argument(
        "--allow-unregistered-dialect", "-allow-unregistered-dialect", action="store_true"
    )
    parser.add_argument("--mlir-print-op-generic", "-mlir-print-op-generic", action="store_true")
    parser.add_argument("--mlir-print-debuginfo", "-mlir-print-debuginfo", action="store_true")
    parser.add_argument("--rlx-remarks", "-rlx-remarks", action="store_true")
    args, rest = parser.parse_known_args(argv)
    passes = []
    for word in rest:
        match = re.fullmatch(r"--?([\w-]+)(?:=(.*))?", word, re.DOTALL)
        if match is None:
            parser.error(f"unknown argument '{word}'")
        passes.append(match[1] + (f"{{{match[2]}}}" if match[2] else ""))
    args.pipeline = args.pass_pipeline or ",".join(passes)

    name = "<stdin>" if args.input == "-" else args.input
    try:
        source = sys.stdin.read() if args.input == "-" else Path(args.input).read_text()
    except (OSError, UnicodeDecodeError) as error:
        print(f"error: cannot open input file '{name}': {error}", file=sys.stderr)
        return 1
    from rlx.pipeline import PipelineError

    outputs, good = [], True
    line = 1
    chunks = (
        re.split(r"^// -----.*$", source, flags=re.MULTILINE) if args.split_input_file else [source]
    )
    for chunk in chunks:
        try:
            ok, output = _process(chunk, line, name, args)
        except PipelineError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        good &= ok
        outputs.append(output)
        line += chunk.count("\n")
    if good and not args.verify_diagnostics:
        text = "// -----\n".join(outputs)
        if args.o == "-":
            sys.stdout.write(text)
        else:
            Path(args.o).write_text(text)
    return 0 if good else 1


def _process(chunk: str, line: int, name: str, args: argparse.Namespace) -> tuple[bool, str]:
    from rlx.diagnostics import CompileError, capture
    from rlx.dialects import load_dialects
    from rlx.host import ir
    from rlx.pipeline import Instrumentation, run_pipeline
    from rlx.tools import verify_diagnostics

    output = ""
    with ir.Context() as context, capture(context) as reported:
        context.allow_unregistered_dialects = args.allow_unregistered_dialect
        load_dialects(context)
        try:
            module = ir.Module.parse("\n" * (line - 1) + chunk, context)
            found = run_pipeline(module, args.pipeline, Instrumentation(remarks=args.rlx_remarks))
            reported.entries += [e for e in found.entries if e not in reported.entries]
            output = module.operation.get_asm(
                print_generic_op_form=args.mlir_print_op_generic,
                enable_debug_info=args.mlir_print_debuginfo,
            )
        except ir.MLIRError as error:
            reported.add_mlir_error(error)
        except CompileError as error:
            reported.entries += [e for e in error.diagnostics if e not in reported.entries]
    if not output.endswith("\n"):
        output += "\n"
    if args.verify_diagnostics:
        wrong = verify_diagnostics.check(
            verify_diagnostics.expectations(chunk, line), reported.entries
        )
        for place, message in wrong:
            print(
                ":".join(map(str, (name, *(place or ())))) + f": error: {message}", file=sys.stderr
            )
        return not wrong, output
    for entry in reported.entries:
        print(str(entry).replace("-:", f"{name}:", 1), file=sys.stderr)
    return not reported.errors, output


if __name__ == "__main__":
    sys.exit(main())
