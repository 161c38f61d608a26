"""torchvision's classification models, fitted to the data: classes, channels and, for small images, the stem."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from optrun.components.data import Data
from optrun.components.suits import describe, require
from optrun.components.torchvision_import import import_torchvision
from optrun.errors import UsageError

__all__ = ["build"]

_STEM_POOLS = {
    "DenseNet": "features.pool0",
    "EfficientNet": None,
    "MNASNet": None,
    "MobileNetV2": None,
    "MobileNetV3": None,
    "RegNet": None,
    "ResNet": "maxpool",
    "ShuffleNetV2": "maxpool",
}
"""The families whose first convolution halves the image, and the pool right after it that halves it again."""


def build(
    name: str, data: Data, *, small_images: bool = False, weights: str | None = None, **settings: Any
) -> nn.Module:
    """`torchvision.models.<name>(num_classes=…, **settings)` for images of any number of channels.

    [B, C, H, W] → [B, num_classes]. With `small_images` the first convolution becomes 3×3 with stride 1 and the pool
    after it goes, as He et al. (2015, arXiv:1512.03385, section 4.2) do for CIFAR-10. Where neither is needed the
    model and its initial weights are torchvision's own. Raises UsageError when the model cannot take such images.
    """
    sized = {"vit": "image_size", "maxvit": "input_size"}.get(name.partition("_")[0])
    require(data, name, "images", fixed_size=sized is not None)
    if data.task != "classification":
        raise UsageError(f"{name} is a classifier, and {data.name} is a {data.task}; take cnn")
    if weights is not None:
        raise UsageError(f"weights: {name} starts from random weights here; remove weights: {weights}")
    channels, height, width = data.input_shape
    if sized:
        settings[sized] = height if sized == "image_size" else (height, width)
    if name in ("googlenet", "inception_v3"):
        settings |= {"aux_logits": False, "init_weights": True}  # one output; the initialisation without a warning
    try:
        function = getattr(import_torchvision().models, name)
        model = function(weights=None, num_classes=data.num_outputs, **settings)
    except (TypeError, ValueError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"{name} for {describe(data)}: {error}") from error
    if small_images:
        _drop_stem_pool(model, name)
    if small_images or channels != 3:
        _replace_first_convolution(model, channels, small_images)
    can_shrink_less = type(model).__name__ in _STEM_POOLS and not small_images
    _try(model, name, data, ", or set small_images: true" if can_shrink_less else "")
    return model


def _drop_stem_pool(model: nn.Module, name: str) -> None:
    family = type(model).__name__
    if family not in _STEM_POOLS:
        raise UsageError(f"small_images: {name} has no stem to replace; these families have: {', '.join(_STEM_POOLS)}")
    pool = _STEM_POOLS[family]
    if pool:
        model.set_submodule(pool, nn.Identity())


def _replace_first_convolution(model: nn.Module, channels: int, small_images: bool) -> None:
    """By one for `channels` channels, and of 3×3 with stride 1 if `small_images`; PyTorch initialises it."""
    place, old = next((place, m) for place, m in model.named_modules() if isinstance(m, nn.Conv2d))
    shape: dict[str, Any] = {"kernel_size": old.kernel_size, "stride": old.stride, "padding": old.padding}
    if small_images:
        shape = {"kernel_size": 3, "stride": 1, "padding": 1}
    model.set_submodule(place, nn.Conv2d(channels, old.out_channels, bias=old.bias is not None, **shape))


def _try(model: nn.Module, name: str, data: Data, else_try: str) -> None:
    """Send one blank image of each size through, since only that tells whether the images are large enough."""
    model.eval()
    for shape in dict.fromkeys([data.input_shape, data.eval_shape]):
        try:
            with torch.no_grad():
                model(torch.zeros(1, *shape))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise UsageError(
                f"{name} cannot take {describe(data)}: {error}; add a Resize to the transforms{else_try}"
            ) from error
    model.train()
