"""A model of your own: `optrun train configs/own_model/residual.yaml --import configs/own_model/residual.py`.

Before the `*` stands what optrun hands in, the data (`input_shape`, `num_outputs`, `task`, …); after it, what the YAML
may set. Types and defaults are read from here: a wrong setting is refused with its line, and
`optrun components models residual --import …` shows them.
"""

import math

from torch import Tensor, nn

import optrun


@optrun.models.register
def residual(data, *, width: int = 48, depth: int = 3) -> nn.Module:
    """A multilayer perceptron with `depth` residual blocks of `width` channels.

    [B, …] → [B, num_outputs]. After He et al. (2016), "Identity mappings in deep residual networks".
    """
    blocks = [Block(width) for _ in range(depth)]
    features = math.prod(data.input_shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(features, width), *blocks, nn.Linear(width, data.num_outputs))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:  # [B, width] → [B, width]
        return x + self.inside(x)
