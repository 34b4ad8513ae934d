"""A target whose code uses another number of threads."""

from dataclasses import fields, replace

from rlx.targets.base import Target, TargetError

__all__ = ["threaded"]


def threaded(target: Target, threads: int | None) -> Target:
    """``target`` with another number of threads; as it is where that is None.

    Raises:
        TargetError: the target has no such option.
    """
    if threads is None:
        return target
    if "threads" not in {field.name for field in fields(target)}:
        raise TargetError(f"target '{target.name}' has no option 'threads'")
    if not isinstance(threads, int) or isinstance(threads, bool):
        raise TargetError(f"threads: expected an integer, but found {threads!r}")
    return replace(target, threads=threads)  # type: ignore[call-arg]
