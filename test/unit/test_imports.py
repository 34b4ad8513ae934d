"""The direction of imports: every room imports only the rooms below it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BINDINGS = {"mlir", "torch_mlir"}

FOUNDATION = {"host", "options", "registry", "diagnostics", "dtypes"}
ROOMS = {
    # room: what it may import, itself aside
    "host": set(),
    "options": {"host"},
    "dtypes": {"host"},
    "diagnostics": {"host"},
    "registry": {"host", "options"},
    "dialects": FOUNDATION,
    "passes": {*FOUNDATION, "dialects"},
    "pipeline_text": {"options"},
    "upstream": {"host", "options"},
    "pipeline": {*FOUNDATION, "passes", "pipeline_text", "upstream"},
    "instruments": {*FOUNDATION, "passes", "pipeline"},
    "schedules": {*FOUNDATION, "dialects", "passes"},
    "targets": {*FOUNDATION, "dialects", "passes", "schedules", "pipeline", "runtime"},
    "flow": {*FOUNDATION, "dialects", "runtime"},
    "runtime": {"host", "dtypes"},
    "steps": set(),
    "source": {*FOUNDATION, "steps"},
    "signature": {*FOUNDATION, "passes", "runtime"},
    "lowering": {
        *FOUNDATION,
        "dialects",
        "passes",
        "pipeline",
        "runtime",
        "signature",
        "source",
        "steps",
        "targets",
    },
    "compiler": {
        *FOUNDATION,
        "fingerprint",
        "lowering",
        "pipeline",
        "runtime",
        "source",
        "steps",
        "targets",
    },
    "encoder": {*FOUNDATION, "flow", "runtime", "compiler"},
    "models": {*FOUNDATION, "flow", "runtime", "compiler", "encoder"},
    "text": {"models"},
    "fingerprint": {"host", "registry"},
    "testing": {*FOUNDATION, "runtime"},
    "tools": None,  # everything
}


def python_files() -> list[Path]:
    found = [
        *ROOT.glob("rlx/**/*.py"),
        *ROOT.glob("dialects/**/*.py"),
        *ROOT.glob("passes/**/*.py"),
    ]
    return sorted(path for path in found if not path.is_symlink())


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "rlx" else parts[0]


def imported(path: Path) -> list[str]:
    """Absolute names of imported modules; ``from a import b`` counts as a and a.b."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def violations(path: Path) -> list[str]:
    room = room_of(path)
    allowed = ROOMS[room] if room != "__init__" else None
    found = []
    for name in imported(path):
        head, *rest = name.split(".")
        if head in BINDINGS and room != "host":
            found.append(f"{name}: only rlx/host.py imports bindings")
        if head in ("dialects", "passes"):
            found.append(f"{name}: spelled rlx.{name}")
        if head == "rlx" and rest and allowed is not None:
            target = rest[0]
            if target in ROOMS and target != room and target not in allowed:
                found.append(f"{name}: {room} may not import {target}")
    return found


@pytest.mark.parametrize("path", python_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    assert not violations(path)


def test_every_room_is_known() -> None:
    assert {room_of(path) for path in python_files()} <= {*ROOMS, "__init__"}


def test_the_check_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = tmp_path / "rlx" / "runtime" / "bad.py"
    bad.parent.mkdir(parents=True)
    bad.write_text("import torch_mlir.ir\nimport passes.cse\nfrom rlx import compiler\n")
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert len(violations(bad)) == 3
