"""`--import` this file for images of 28×28 pixels that need no download: the digits of scikit-learn, enlarged."""

import torch
from torch.nn import functional as F

import optrun
from optrun.components.data import Dataset, Examples
from optrun.components.datasets.bundled import digits


@optrun.datasets.register
def digits28() -> Dataset:
    """1,797 grey images of handwritten digits, enlarged from 8×8 to 28×28 pixels (bilinear), 10 classes."""
    small = digits().train
    assert isinstance(small, Examples)
    images = F.interpolate(small.inputs, size=28, mode="bilinear")
    return Dataset("classification", Examples(images.to(torch.float32), small.targets), num_classes=10)
