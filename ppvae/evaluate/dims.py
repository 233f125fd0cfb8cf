"""Names of ArviZ's dimensions, by what a variable is."""

from __future__ import annotations

from ppvae.data.columns import kind_of
from ppvae.evaluate.draws import Draws

__all__ = ["event_dims", "latent_dims"]

OBSERVED_DIMS = {1: ("feature",), 2: ("channel", "position"), 3: ("channel", "row", "column")}


def event_dims(name: str, rank: int) -> tuple[str, ...]:
    """The dimensions of one datum of an observed site or a column.

    Arguments:
        name: Of the site or the column.
        rank: Of one datum.
    """
    if rank == 1 and kind_of(name).dims:
        return kind_of(name).dims
    if rank == 0:
        return ()
    return OBSERVED_DIMS.get(rank, tuple(f"{name}_{i}" for i in range(rank)))


def latent_dims(name: str, rank: int, draws: Draws) -> tuple[str, ...]:
    """The dimensions of one draw of a latent site.

    Arguments:
        name: Of the site.
        rank: Of one draw.
        draws: The draws, which say what is a direction or a rotation.
    """
    if name in draws.rotations:
        return (f"{name}_row", f"{name}_column")
    if name in draws.directions:
        return ("direction",)
    return {0: (), 1: ("latent",)}.get(rank, tuple(f"{name}_{i}" for i in range(rank)))
