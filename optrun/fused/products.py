"""The matrix products of K members: `bias + a @ b` for a [K, M, I] and b [K, I, N].

Of several ways the fastest is taken that gives the bits of torch's product of one member (`agreement`): torch's product
of batches; numpy's, whose OpenBLAS uses AVX-512 on processors of AMD where torch's MKL does not; and one product after
the other.
"""

from __future__ import annotations

import numpy
import torch
from torch import Tensor

from optrun.fused.agreement import best_way, signature
from optrun.fused.tensor import members
from optrun.training.tape import opaque, takes_out

__all__ = ["QUIETLY", "product", "sum_of_rows"]

QUIETLY = numpy.errstate(all="ignore")
"""numpy warns of members that diverge; torch does not."""


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """`a @ b`, or with a bias [K, N] what `torch.addmm(bias, a, b)` is for each member."""
    given = (a, b, bias)
    key = ("product", signature(a), signature(b), bias is None)
    return opaque(best_way(key, (_batched, _by_numpy, _by_numpy_in_rows, _one_by_one), given), *given)[0]


def _batched(a: Tensor, b: Tensor, bias: Tensor | None) -> tuple[Tensor]:
    return (torch.bmm(a, b) if bias is None else torch.baddbmm(bias.unsqueeze(1), a, b),)


@takes_out
@QUIETLY
def _by_numpy(a: Tensor, b: Tensor, bias: Tensor | None, out: Tensor | None = None) -> tuple[Tensor]:
    result = torch.empty(len(a), a.shape[1], b.shape[2], dtype=a.dtype) if out is None else out
    numpy.matmul(a.numpy(), b.numpy(), out=result.numpy())
    return (result if bias is None else result.add_(bias.unsqueeze(1)),)


@takes_out
@QUIETLY
def _by_numpy_in_rows(a: Tensor, b: Tensor, bias: Tensor | None, out: Tensor | None = None) -> tuple[Tensor]:
    """The kernel for matrices that lie in memory row by row, after copying those that do not."""
    result = torch.empty(len(a), a.shape[1], b.shape[2], dtype=a.dtype) if out is None else out
    numpy.matmul(*(numpy.ascontiguousarray(each.numpy()) for each in (a, b)), out=result.numpy())
    return (result if bias is None else result.add_(bias.unsqueeze(1)),)


def _one_by_one(a: Tensor, b: Tensor, bias: Tensor | None) -> tuple[Tensor]:
    if bias is None:
        return (torch.stack([torch.mm(one, other) for one, other in zip(members(a), members(b))]),)
    each = zip(members(bias), members(a), members(b))
    return (torch.stack([torch.addmm(shift, one, other) for shift, one, other in each]),)


def sum_of_rows(x: Tensor) -> Tensor:
    """[K, M, N] → [K, N], as `sum(0)` of each member."""
    return best_way(("sum of rows", signature(x)), (_summed, _summed_one_by_one), (x,))(x)[0]


def _summed(x: Tensor) -> tuple[Tensor]:
    return (x.sum(1),)


def _summed_one_by_one(x: Tensor) -> tuple[Tensor]:
    return (torch.stack([each.sum(0) for each in members(x)]),)
