"""What can be said of a wrong result, for those who look for the reason without a GPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.cuda.references import TOLERANCE, Case, difference

__all__ = ["diagnose", "launches", "where"]

Try = Callable[[Any, list[Any]], tuple[Any, Any]]


def diagnose(
    case: Case,
    found: dict[str, tuple[Any, Any]],
    attempt: Try | None,
    subject: list[Any],
    keep: Path | None,
) -> None:
    """Prints where a result is wrong, what was launched, and how simpler arguments do.

    Args:
        case: the case.
        found: by what they are called, results and what they should be.
        attempt: makes the same of an executable and arguments; None: nothing more is tried.
        subject: the executable, other ones by name, and the arguments.
        keep: a folder for results; None: they are not kept.
    """
    tolerance = case["attrs"].get("tolerance") or TOLERANCE[case["attrs"]["dtype"]]
    executable, others, arrays = subject
    for text in launches(executable, arrays):
        print(f"    {text}")
    if attempt is not None:
        for name, other in others.items():
            _attempt(found, name, lambda o=other: attempt(o, arrays))
        for name, simple in probes(case, arrays).items():
            _attempt(found, name, lambda a=simple: attempt(executable, a))
    for name, (actual, wanted) in found.items():
        a, b = _array(actual), _array(wanted)
        print(f"    {name}: error {difference(a, b, np):.1e}; {where(a, b, tolerance)}", flush=True)
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            file = f"{case['name']} {name}".replace(",", "").replace(" ", "-")
            np.savez_compressed(keep / f"{file}.npz", actual=a, wanted=b)


def _attempt(found: dict[str, Any], name: str, run: Callable[[], Any]) -> None:
    try:
        found[name] = run()
    except Exception as error:
        print(f"    {name}: {type(error).__name__}: {error}", flush=True)


def _array(value: Any) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else value.float().cpu().numpy()


def probes(case: Case, arrays: list[Any]) -> dict[str, list[Any]]:
    """Arguments whose results tell which part of a kernel is wrong."""
    if case["kind"] == "matmul":
        a, w = arrays
        chosen, ones = a * 0, w * 0 + 1
        for row in range(len(a)):
            chosen[row, row % a.shape[1]] = 1
        return {
            "rows that choose one element each": [chosen, w],
            "a weight of ones": [a, ones],
        }
    if case["kind"] != "attention":
        return {}
    q, k, v, *rest = arrays
    chosen, dims = v * 0, case["attrs"]["head_dim"]
    for key in range(v.shape[1]):
        chosen[:, key, key % dims :: dims] = 1
    return {
        "queries of zeros, so that weights are equal": [q * 0, k, v, *rest],
        "values of ones": [q, k, v * 0 + 1, *rest],
        "values that show the weights": [q, k, chosen, *rest],
    }


def launches(executable: Any, arrays: list[Any]) -> list[str]:
    """Kernels with what they are launched with; for a model only their names."""
    from rlx.runtime.cuda.plan import arrange

    plan = executable.program.plan
    if len(plan.steps) > 20:
        return [", ".join(step.kernel for step in plan.steps)]
    values = arrange(plan, {n: tuple(a.shape) for n, a in enumerate(arrays)}, {}).values
    told = []
    for step in plan.steps:
        grid, block = (tuple(values[n] for n in sizes) for sizes in (step.grid, step.block))
        if 0 in grid:
            continue  # for other sizes
        shared = values[step.shared]
        told.append(f"{step.kernel}: grid {grid}, block {block}, {shared} bytes of shared memory")
    return told


def where(actual: np.ndarray, wanted: np.ndarray, tolerance: float) -> str:
    """Which elements are wrong."""
    error = np.abs(actual - wanted)
    scale = np.abs(wanted) + np.sqrt((wanted * wanted).mean(-1, keepdims=True)) + 1e-30
    bad = ~(error <= 5 * tolerance * scale)
    if not bad.any():
        bad = ~(error <= tolerance * scale)
    if not bad.any():
        return "no element is wrong"
    places = np.argwhere(bad)
    axes = []
    for axis, size in enumerate(bad.shape):
        at = np.unique(places[:, axis])
        axes.append(f"{len(at)} of {size} on axis {axis}, {at[0]} to {at[-1]}")
    ratio = np.where(bad, np.nan_to_num(error / scale, nan=np.inf), -1)
    worst = np.unravel_index(int(ratio.argmax()), bad.shape)

    def tell(place: tuple[int, ...]) -> str:
        index = ", ".join(map(str, place))
        return f"[{index}] {actual[place]:.6g} instead of {wanted[place]:.6g}"

    return (
        f"{len(places)} of {bad.size} elements, {int(np.isnan(actual).sum())} NaN ("
        f"{'; '.join(axes)}), first {tell(tuple(map(int, places[0])))}, "
        f"worst {tell(tuple(map(int, worst)))}"
    )
