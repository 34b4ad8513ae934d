"""`rlx generate`: a prompt and a checkpoint to text."""

import argparse
import sys
from typing import NoReturn

from rlx.tools.command import add_target, execute
from rlx.tools.progress import Progress

__all__ = ["main"]

_EPILOG = """
examples:
  rlx generate examples/tiny-gemma3 "hello" -n 16
  rlx generate model.gguf "Once upon a time" --quantize int8 --temperature 0.8 --seed 1

The text goes to stdout; how fast it was goes to stderr. Chat templates are not applied.
"""


class _Parser(argparse.ArgumentParser):
    """Reports wrong arguments as everything else is reported."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: error: {message}", file=sys.stderr)
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="rlx generate",
        description="Continues a text with a language model.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("model", metavar="MODEL_DIR|FILE.gguf", help="a checkpoint in Hugging Face layout, or GGUF")
    add("prompt", help="the text to continue; - reads it from stdin")
    add("-n", "--max-new-tokens", type=int, default=64, metavar="N", help="at most (default 64)")
    add("--temperature", type=float, default=0.0, help="0 takes the likeliest token (default)")
    add("--top-p", type=float, default=1.0, help="sample from the likeliest tokens of this weight")
    add("--top-k", type=int, default=0, help="sample from this many likeliest tokens; 0 for all")
    add("--seed", type=int, help="makes samples repeatable")
    add("--dtype", metavar="f32|bf16|f16", help="what to compute in (default: as stored)")
    add("--quantize", metavar="int8", help="store weights as int8, or int8{group=64}")
    add("--capacity", type=int, metavar="N", help="most tokens of prompt and continuation together")
    add("--tokenizer", metavar="FILE", help="default: tokenizer.json beside the weights")
    add_target(parser, "cpu{opt-level=2}")
    return parser


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    args = _parser().parse_args(argv)
    return execute("rlx generate", lambda progress: _generate(args, progress))


def _generate(args: argparse.Namespace, progress: Progress) -> int:
    from rlx.text import TextGenerator

    generator = TextGenerator.load(
        args.model,
        tokenizer=args.tokenizer,
        progress=progress,
        target=args.target,
        dtype=args.dtype,
        quantize=args.quantize,
        threads=args.threads,
        capacity=args.capacity,
    )
    progress("read the prompt")
    pieces = generator.stream(
        sys.stdin.read() if args.prompt == "-" else args.prompt,
        args.max_new_tokens,
        temperature=args.temperature,
        top_p=args.top_p,
        top_k=args.top_k,
        seed=args.seed,
    )
    progress.done()
    for piece in pieces:
        print(piece, end="", flush=True)
    print(flush=True)
    print(generator.timing, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
