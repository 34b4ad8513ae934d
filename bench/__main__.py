"""``python -m bench cpu [--cases A1,M1024] [--seconds 2] [--core 0]``"""

import argparse

from bench import cpu

parser = argparse.ArgumentParser(prog="python -m bench", description=cpu.__doc__)
parser.add_argument("what", choices=["cpu"])
parser.add_argument("--cases", help="comma-separated names; all by default")
parser.add_argument("--dtypes", default="f32,bf16")
parser.add_argument("--seconds", type=float, default=2.0, help="for each row")
parser.add_argument("--core", type=int, help="core to run on; the last one by default")
parser.add_argument("--target", default="cpu", help="target of rlx, such as cpu{kernels=avx2}")
cpu.main(parser.parse_args())
