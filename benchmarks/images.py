"""`--import` this file for a data set of images of 28×28 pixels that needs no download: scikit-learn's digits, enlarged."""

import torch
from torch.nn import functional as F

import optrun
from optrun.components.data import Dataset, Examples
from optrun.components.datasets.bundled import digits


@optrun.datasets.register
def digits28() -> Dataset:
    """1,797 grey images of handwritten digits, enlarged from 8×8 to 28×28 pixels (bilinear), 10 classes."""
    small = digits().train
    images = F.interpolate(small.inputs, size=28, mode="bilinear")
    return Dataset("classification", Examples(images.to(torch.float32), small.targets), num_classes=10)
