"""torchvision: its models as it has them, found without importing it, and its import beside any torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from optrun.components import registry
from optrun.components.data import Data, Dataset, Examples, prepare
from optrun.components.torchvision_catalog import model_definitions
from optrun.components.torchvision_import import import_torchvision
from optrun.errors import UsageError


def build(name: str, data: Data, **settings: object) -> nn.Module:
    return registry.models.find(name).load()(data, **settings)


def pictures(channels: int = 3, size: int = 32, num_classes: int = 3, n: int = 20) -> Data:
    """Random images with labels, in memory."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(n, channels, size, size, generator=generator)
    labels = torch.arange(n) % num_classes
    return prepare(Dataset("classification", Examples(images, labels), num_classes=num_classes), name="pictures")


def one_of_a_kind() -> list[str]:
    """One model for each module and set of settings; RegNet cannot be built without memory."""
    kinds = {(each.module, str(each.signature())): name for name, each in reversed(model_definitions().items())}
    return sorted(name for name in kinds.values() if not name.startswith("regnet"))


class TestTorchvision:
    def test_names_are_those_torchvision_lists(self) -> None:
        vision = import_torchvision()
        assert list(model_definitions()) == sorted(model_definitions(), key=lambda n: model_definitions()[n].module)
        assert sorted(model_definitions()) == sorted(vision.models.list_models(module=vision.models))

    @pytest.mark.parametrize("name", one_of_a_kind())
    def test_settings_are_what_the_function_takes(self, name: str) -> None:
        """Built without memory, with every setting spelled out at its default: nothing is refused, nothing changes."""
        component = registry.models.find(name)
        settings = {
            p.name: p.default for p in component.signature.settings if p.name not in ("small_images", "weights")
        }
        function = getattr(import_torchvision().models, name)
        plain = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        with torch.device("meta"):
            spelled, default = function(**settings, **plain), function(**plain)
        assert [tuple(p.shape) for p in spelled.parameters()] == [tuple(p.shape) for p in default.parameters()]
        assert str(spelled) == str(default)

    def test_settings_that_a_function_sets_itself_are_not_offered(self) -> None:
        names = {name: registry.models.find(name).signature.names() for name in model_definitions()}
        own = ["small_images", "weights"]
        assert names["alexnet"] == ["dropout", *own]
        assert names["resnext50_32x4d"] == ["zero_init_residual", "replace_stride_with_dilation", *own]
        assert "stochastic_depth_prob" not in names["swin_t"]
        assert all("num_classes" not in each for each in names.values())

    def test_defaults_are_those_of_the_function(self) -> None:
        defaults = {p.name: p.default for p in registry.models.find("efficientnet_b4").signature.settings}
        assert defaults["dropout"] == 0.4  # its class has no default

    def test_the_model_is_torchvisions_own(self) -> None:
        data = pictures()
        torch.manual_seed(3)
        ours = build("resnet18", data, zero_init_residual=True)
        torch.manual_seed(3)
        theirs = import_torchvision().models.resnet18(num_classes=3, zero_init_residual=True)
        assert all(
            torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
        )
        assert ours.training

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize(
        "name",
        ["resnet18", "densenet121", "efficientnet_b0", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small",
         "regnet_x_400mf", "shufflenet_v2_x0_5"],
    )  # fmt: skip
    def test_small_images(self, name: str, channels: int) -> None:
        data = pictures(channels, size=32)
        small, plain = build(name, data, small_images=True), build(name, data)
        first = next(layer for layer in small.modules() if isinstance(layer, nn.Conv2d))
        assert (first.in_channels, first.kernel_size, first.stride, first.padding) == (channels, (3, 3), (1, 1), (1, 1))
        before = next(layer for layer in plain.modules() if isinstance(layer, nn.Conv2d))
        assert before.in_channels == channels
        assert sum(isinstance(m, nn.MaxPool2d) for m in small.modules()) == 0
        assert [p.shape for p in small.parameters()][1:] == [p.shape for p in plain.parameters()][1:]

    def test_small_resnet_keeps_the_resolution_of_the_first_stage(self) -> None:
        model = build("resnet18", pictures(), small_images=True)
        seen = []
        model.layer1.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape)))
        outputs = model(torch.rand(2, 3, 32, 32))
        assert outputs.shape == (2, 3)
        assert seen == [(2, 64, 32, 32)]
        outputs.sum().backward()
        assert all(p.grad is not None for p in model.parameters())

    def test_vit_takes_the_size_of_the_images(self) -> None:
        model = build("vit_b_32", pictures(size=64))
        assert model.image_size == 64

    @pytest.mark.parametrize(
        ("name", "size", "settings", "message"),
        [
            (
                "resnet18",
                32,
                {"weights": "DEFAULT"},
                "weights: resnet18 starts from random weights here; remove weights",
            ),
            (
                "squeezenet1_1",
                64,
                {"small_images": True},
                "squeezenet1_1 has no stem to replace; these families have: D",
            ),
            ("alexnet", 32, {}, "alexnet cannot take pictures, images of 3×32×32: .*; add a Resize to the transforms$"),
            (
                "resnet18",
                32,
                {"groups": 2},
                "resnet18 for pictures, images of 3×32×32: BasicBlock only supports groups=1",
            ),
            ("vit_b_16", 20, {}, "vit_b_16 for pictures, images of 3×20×20: .*indivisible"),
        ],
    )
    def test_refused(self, name: str, size: int, settings: dict, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            build(name, pictures(size=size), **settings)

    @pytest.mark.parametrize("dataset", ["wine", "pydocs", "pydocs_topics"])
    def test_not_for_other_data(self, dataset: str) -> None:
        data = prepare(registry.datasets.find(dataset).load()(), name=dataset)
        with pytest.raises(UsageError, match=f"resnet18 does not suit {dataset}"):
            build("resnet18", data)

    def test_not_for_regression(self) -> None:
        images = Examples(torch.rand(9, 3, 32, 32), torch.rand(9, 1))
        data = prepare(Dataset("regression", images), name="ages")
        with pytest.raises(UsageError, match="resnet18 is a classifier, and ages is a regression; take cnn"):
            build("resnet18", data)


class TestImportingTorchvision:
    """In processes of their own, since an import happens once."""

    def run(self, code: str) -> str:
        result = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def test_whole_also_after_a_failed_import(self) -> None:
        code = (
            "import contextlib, sys, torch\n"
            "with contextlib.suppress(RuntimeError): import torchvision\n"
            "from optrun.components.torchvision_import import import_torchvision\n"
            "whole = import_torchvision()\n"
            "import torchvision; from torchvision.transforms import v2\n"
            "assert whole is torchvision is import_torchvision()\n"
            "assert sys.modules['torchvision.ops'] is whole.ops\n"
            "print(whole.models.resnet18(num_classes=2).eval()(torch.zeros(1, 3, 32, 32)).shape[1])"
        )
        assert self.run(code) == "2"

    def test_where_the_operators_exist(self) -> None:
        """Nothing is declared twice: where the extension has not defined the operators, somebody else has."""
        code = (
            "import torch\n"
            "try: import torchvision\n"
            "except RuntimeError:\n"
            "    library = torch.library.Library('torchvision', 'DEF')\n"
            "    for name in ('nms', 'qnms'): library.define(name + '(Tensor a, Tensor b, float c) -> Tensor')\n"
            "from optrun.components import torchvision_import as t; t.import_torchvision(); print(len(t._declared))"
        )
        assert self.run(code) == "0"

    def test_without_torchvision(self) -> None:
        code = (
            "import sys; sys.modules['torchvision'] = None\n"
            "from optrun.components.torchvision_import import import_torchvision\n"
            "try: import_torchvision()\n"
            "except Exception as error: print(type(error).__name__, error)"
        )
        assert self.run(code) == "UsageError this needs torchvision; pip install torchvision"

    def test_names_cost_no_import(self) -> None:
        code = (
            "import sys; from optrun.components.torchvision_catalog import *; "
            "every = [*model_definitions().values(), *transform_definitions().values()]; "
            "[(each.signature(), each.doc()) for each in every]; "
            "print([name for name in ('torch', 'torchvision', 'numpy') if name in sys.modules])"
        )
        assert self.run(code) == "[]"
