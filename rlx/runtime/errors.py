"""What can go wrong at run time."""

__all__ = ["ArgumentError", "ExecutionError", "LoadError"]


class ArgumentError(TypeError, ValueError):
    """An argument does not fit the compiled function: names it, what was expected and found."""


class ExecutionError(RuntimeError):
    """A check inside the compiled code failed; the call has no results."""


class LoadError(RuntimeError):
    """Compiled code cannot be loaded into this process."""
