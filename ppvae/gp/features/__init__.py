r"""Kernels as feature maps, :math:`k(a, b) = r(a)^\top r(b)`: one per file, named as its class."""

from ppvae.gp.features.column import Column
from ppvae.gp.features.exact_features import ExactFeatures
from ppvae.gp.features.feature_map import (
    FeatureMap,
    finite,
    fixed_number,
    kronecker_rows,
    single,
    unit_rows,
)
from ppvae.gp.features.fourier_features import FourierFeatures, angular_kernel
from ppvae.gp.features.free_form_features import FreeFormFeatures
from ppvae.gp.features.hilbert_features import HilbertFeatures, spectral_density
from ppvae.gp.features.inducing_features import InducingFeatures
from ppvae.gp.features.lookup import Lookup
from ppvae.gp.features.network_features import NetworkFeatures
from ppvae.gp.features.object_table import ObjectTable
from ppvae.gp.features.product_features import ProductFeatures
from ppvae.gp.features.random_features import RandomFeatures
from ppvae.gp.features.sum_features import SumFeatures

__all__ = [
    "Column",
    "ExactFeatures",
    "FeatureMap",
    "FourierFeatures",
    "FreeFormFeatures",
    "HilbertFeatures",
    "InducingFeatures",
    "Lookup",
    "NetworkFeatures",
    "ObjectTable",
    "ProductFeatures",
    "RandomFeatures",
    "SumFeatures",
    "angular_kernel",
    "finite",
    "fixed_number",
    "kronecker_rows",
    "single",
    "spectral_density",
    "unit_rows",
]
