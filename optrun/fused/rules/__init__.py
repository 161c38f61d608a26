"""The rules: what a function of torch is for a whole stack. docs/fused.md derives why each is exact.

- `queries` what a tensor is: shape, type
- `elements` functions of each element
- `shapes` other views of the same numbers
- `layers` linear, convolution, normalisation, embedding, attention, pooling
- `losses` the mean loss of each member
- `chances` dropout, each member from its own stream of random numbers
"""

from optrun.fused.rules import chances, elements, layers, losses, queries, shapes

__all__ = ["chances", "elements", "layers", "losses", "queries", "shapes"]
