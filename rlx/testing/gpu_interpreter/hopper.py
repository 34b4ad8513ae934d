"""What is new on Hopper: TMA, barriers in memory, and products of warp groups."""

__all__ = ["group_size"]

_APART = "nvgpu.mbarrier."


def group_size(ops: set[str], block: tuple[int, int, int]) -> int | None:
    """Threads that run in lock step; None: all. Warp groups go their own ways if they can."""
    threads = block[0] * block[1] * block[2]
    if any(name.startswith(_APART) for name in ops) and threads % 128 == 0:
        return 128
    return None
