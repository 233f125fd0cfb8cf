"""Agreement of classes learned without labels with known classes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ppvae.evaluate.scores import clustering_accuracy, expect_vectors
from ppvae.expected import REAL_ROWS, expect
from ppvae.programs.batches import on_one_device

__all__ = ["ClusterScores", "cluster_scores"]


@dataclass(frozen=True)
class ClusterScores:
    """Scores of a clustering: 1 is perfect, and the ARI of random classes is about 0.

    Attributes:
        accuracy: Share of data in the right class, after Hungarian matching of the classes.
        ari: Adjusted Rand index.
        nmi: Mutual information divided by the mean of both entropies.
    """

    accuracy: float
    ari: float
    nmi: float


@on_one_device
def cluster_scores(found: Tensor, true: Tensor) -> ClusterScores:
    """Agreement of learned classes (N) with known ones (N), invariant to their numbering.

    Data of unknown class (-1) are left out.

    Arguments:
        found: Learned classes, with shape (N).
        true: Known classes, with shape (N); -1 where unknown.

    Raises:
        ArgumentError: If a shape is another, lengths differ, or fewer than two
            data have a known class.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    expect(REAL_ROWS, found=found, true=true)
    expect_vectors("cluster_scores", "classes", found, true)
    found, true = found[true >= 0].cpu(), true[true >= 0].cpu()
    return ClusterScores(
        accuracy=clustering_accuracy(found, true),
        ari=float(adjusted_rand_score(true.numpy(), found.numpy())),
        nmi=float(normalized_mutual_info_score(true.numpy(), found.numpy())),
    )
