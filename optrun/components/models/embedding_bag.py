"""Text classification by the mean of word embeddings."""

from __future__ import annotations

from torch import Tensor, nn

from optrun.components import layers
from optrun.components.data import Data
from optrun.components.suits import require

__all__ = ["embedding_bag"]


def embedding_bag(data: Data, *, dim: int = 64, dropout: float = 0.0, sparse: bool = False) -> nn.Module:
    """The mean of a passage's word embeddings, then one linear layer.

    int64 [B, L] → [B, num_classes]; padding (id 0) does not count. `sparse` gives the embedding sparse gradients, for
    SparseAdam, SGD and Adagrad. Raises UsageError for anything but passages of text. After fastText (Joulin et al.,
    2016, arXiv:1607.01759).
    """
    require(data, "embedding_bag", "passages")
    layers.at_least_one(dim=dim)
    assert data.vocabulary is not None
    return EmbeddingBagClassifier(len(data.vocabulary), dim, data.num_outputs, dropout, sparse)


class EmbeddingBagClassifier(nn.Module):
    """See `embedding_bag`."""

    def __init__(self, words: int, dim: int, num_classes: int, dropout: float, sparse: bool) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(words, dim, mode="mean", padding_idx=0, sparse=sparse)
        self.head = nn.Sequential(*layers.dropout(dropout), nn.Linear(dim, num_classes))

    def forward(self, ids: Tensor) -> Tensor:  # [B, L] → [B, C]
        return self.head(self.embedding(ids))
