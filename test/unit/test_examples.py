"""Examples run."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_embed():
    done = subprocess.run(
        [sys.executable, EXAMPLES / "embed.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    built, lowered = done.stdout.split("--- after rlx passes")
    assert '"rlx.attention"' in built
    assert '"rlx.attention"' not in lowered
    assert "(1, 5, 32)" in lowered
