"""Which model takes which data, said in a sentence when they do not go together."""

from __future__ import annotations

import math

from optrun.components.data import Data, Kind
from optrun.errors import UsageError

__all__ = ["describe", "features", "require"]

_MODELS_FOR: dict[Kind, str] = {
    "table": "linear or mlp",
    "images": "linear, mlp, cnn or a torchvision model such as resnet18",
    "array": "linear or mlp",
    "passages": "embedding_bag",
    "characters": "transformer",
}


def require(data: Data, model: str, *kinds: Kind, fixed_size: bool = True) -> None:
    """Raises UsageError unless `model` takes data of this kind; with `fixed_size`, also when only the training part
    is cropped to another size."""
    if data.kind not in kinds:
        raise UsageError(f"{model} does not suit {describe(data)}; models that do: {_MODELS_FOR[data.kind]}")
    if fixed_size and data.input_shape != data.eval_shape:
        raise UsageError(
            f"{model} needs one image size, and the transforms give {_times(data.input_shape)} for train and "
            f"{_times(data.eval_shape)} for val; give both the same size"
        )


def features(data: Data) -> int:
    """Numbers in one flattened example."""
    return math.prod(data.input_shape)


def describe(data: Data) -> str:
    """Name and nature of the data: `wine, a table of 13 columns`."""
    nature = {
        "table": f"a table of {features(data)} columns",
        "images": f"images of {_times(data.input_shape)}",
        "array": f"arrays of {_times(data.input_shape)}",
        "passages": "passages of text to classify",
        "characters": "text to continue character by character",
    }
    return f"{data.name}, {nature[data.kind]}"


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
