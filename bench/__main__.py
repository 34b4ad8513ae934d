"""``python -m bench cpu``, ``python -m bench sweep`` and ``python -m bench cuda``."""

import argparse
import sys
import tempfile
from pathlib import Path

from bench import cpu, cuda, sweep
from bench.cases import select
from bench.measure import OURS
from bench.peers import PEERS


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    table = commands.add_parser("cpu", help=cpu.__doc__)
    random = commands.add_parser("sweep", help=sweep.__doc__)
    for command in (table, random):
        add = command.add_argument
        add("--threads", type=int, default=1, help="as many cores are used (default: 1)")
        add("--dtypes", default="f32,bf16,int8", help="comma-separated (default: all)")
        add("--seconds", type=float, default=0.1, help="length of a turn (default: 0.1)")
        add("--rounds", type=int, default=11, help="turns of each tool (default: 11)")
        add("--python", default=sys.executable, help="interpreter that has the other tools")
        add("--peers", help=f"comma-separated (default: all): {', '.join(PEERS)}")
    table.add_argument("--rows", help="comma-separated names or patterns, such as A1,B*")
    table.add_argument("--quick", action="store_true", help="three short turns, nothing written")
    table.add_argument("--output", type=Path, default=cpu.RESULTS, help="folder for the results")
    table.add_argument("--readme", type=Path, help="file whose section on speed is replaced")
    random.add_argument("--seed", type=int, default=0)
    random.add_argument("--kinds", default=",".join(sweep.KINDS), help="comma-separated")
    random.add_argument("--count", type=int, default=6, help="shapes per kind (default: 6)")
    gpu = commands.add_parser("cuda", help=cuda.__doc__)
    gpu.add_argument("--pack", type=Path, metavar="DIR", help="compile, and write a folder")
    gpu.add_argument("--check", action="store_true", help="check and time what --pack writes")
    gpu.add_argument("--quick", action="store_true", help="check only, no times")
    gpu.add_argument(
        "--arch", default="sm_80,sm_90a", help="comma-separated (default: sm_80,sm_90a)"
    )
    options = parser.parse_args(arguments)
    if options.command == "cuda":
        try:
            sys.exit(_cuda(options))
        except ValueError as error:
            parser.error(str(error))
    try:
        plan = _plan(options)
        if options.command == "cpu":
            cpu.run(plan)
        else:
            print(sweep.run(plan, options.kinds.split(","), options.seed, options.count))
    except ValueError as error:
        parser.error(str(error))


def _cuda(options: argparse.Namespace) -> int:
    from bench.cuda import run
    from bench.cuda.pack import pack

    if not options.pack and not options.check:
        raise ValueError("cuda: expected --pack DIR, --check, or both")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.pack or Path(temporary, "rlx-cuda")
        size = pack(folder, options.arch.split(","))
        print(f"{folder}: {size / 2**20:.1f} MiB")
        if not options.check:
            return 0
        return run.main(["--quick"] if options.quick else [], folder)


def _plan(options: argparse.Namespace) -> cpu.Plan:
    peers = [name for name in PEERS if name != OURS]
    if options.peers is not None:
        peers = [name for name in options.peers.split(",") if name]
        if unknown := set(peers) - set(PEERS):
            raise ValueError(f"unknown peers: {', '.join(sorted(unknown))}")
    quick = options.command == "cpu" and options.quick
    writes = options.command == "cpu" and not quick
    return cpu.Plan(
        cases=select(options.rows) if options.command == "cpu" else (),
        dtypes=options.dtypes.split(","),
        peers=peers,
        threads=options.threads,
        seconds=min(options.seconds, 0.03) if quick else options.seconds,
        rounds=min(options.rounds, 3) if quick else options.rounds,
        python=options.python,
        output=options.output if writes else None,
        readme=options.readme if writes else None,
    )


if __name__ == "__main__":
    main()
