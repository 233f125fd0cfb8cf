"""``trvae``: a VAE that finds angle and shift of each image, apart from what it shows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ppvae.data import posed_digits
from ppvae.zoo.entry import Entry
from ppvae.zoo.options import option
from ppvae.zoo.rvae import ENTRY as RVAE
from ppvae.zoo.rvae import RVAEOptions

__all__ = ["ENTRY", "TRVAEOptions"]


@dataclass(frozen=True)
class TRVAEOptions(RVAEOptions):
    """Options of ``trvae``; with ``--rotation 0``, shifts alone, of spectra too."""

    translation: float = option(0.1, "width of the shifts, half image sides; 0 none")


ENTRY: Entry = replace(
    RVAE,
    name="trvae",
    summary="VAE that finds angle and shift of each image apart from its content",
    options=TRVAEOptions,
    default_data=posed_digits,
)
