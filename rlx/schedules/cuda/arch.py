"""What a kernel needs to know about the architecture."""

from dataclasses import dataclass

__all__ = ["ARCHS", "Arch"]


@dataclass(frozen=True)
class Arch:
    """A GPU architecture that code is made for.

    Attributes:
        name: as ``ptxas -arch`` takes it.
        number: 10 * major + minor of the compute capability.
        shared: bytes of shared memory that a block can have, wherever the code runs.
        wgmma: whether it has warpgroup matrix instructions and TMA.
    """

    name: str
    number: int
    shared: int
    wgmma: bool = False


_LEAST_SHARED = 99 * 1024
"""What GPUs for graphics and workstations have, those that are newer, too."""

ARCHS = {
    arch.name: arch
    for arch in (
        Arch("sm_80", 80, _LEAST_SHARED),
        Arch("sm_86", 86, _LEAST_SHARED),
        Arch("sm_89", 89, _LEAST_SHARED),
        Arch("sm_90", 90, _LEAST_SHARED),
        Arch("sm_90a", 90, 227 * 1024, wgmma=True),
    )
}
"""Architectures by name. Code for sm_80 runs on everything newer, too."""
