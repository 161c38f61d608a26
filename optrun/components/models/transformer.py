"""A causal transformer over characters, after GPT-2."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from optrun.components import layers
from optrun.components.data import Data
from optrun.components.suits import require
from optrun.errors import UsageError

__all__ = ["transformer"]


def transformer(data: Data, *, dim: int = 64, depth: int = 2, heads: int = 4, dropout: float = 0.0) -> nn.Module:
    """A character language model: `depth` pre-norm blocks of `dim` channels and `heads` attention heads.

    int64 [B, T] → logits [B, V, T], the class dimension second as torch.nn.CrossEntropyLoss wants it. Positions are
    learned. Raises UsageError for anything but text to continue. After Radford et al. (2019), GPT-2.
    """
    require(data, "transformer", "characters")
    layers.at_least_one(dim=dim, depth=depth, heads=heads)
    if dim % heads:
        raise UsageError(f"transformer: dim {dim} is no multiple of heads {heads}")
    (context,) = data.input_shape
    return Transformer(data.num_outputs, context, dim, depth, heads, dropout)


class Transformer(nn.Module):
    """See `transformer`. V characters, windows of T of them, D channels."""

    def __init__(self, characters: int, context: int, dim: int, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.characters = nn.Embedding(characters, dim)
        self.positions = nn.Embedding(context, dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(dim, heads, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, characters)

    def forward(self, ids: Tensor) -> Tensor:  # [B, T] → [B, V, T]
        x = self.characters(ids) + self.positions.weight[: ids.shape[1]]  # [B, T, D]
        x = self.blocks(self.dropout(x))
        return self.head(self.norm(x)).transpose(1, 2)


class Block(nn.Module):
    """Attention to what came before, then a two-layer perceptron; both add to what they were given."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = CausalSelfAttention(dim, heads, dropout)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim), *layers.dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:  # [B, T, D] → [B, T, D]
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class CausalSelfAttention(nn.Module):
    """Multi-head scaled dot-product attention; position t sees positions 0 … t."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Sequential(nn.Linear(dim, dim), *layers.dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:  # [B, T, D] → [B, T, D]
        batch, time, dim = x.shape
        heads = self.qkv(x).view(batch, time, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind(0)  # each [B, H, T, D / H]
        p = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=p, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, time, dim))
