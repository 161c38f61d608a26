"""Models: each on every data set it suits, and refused with a sentence on the others."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from small_files import prepared, skip_checksums, write_all
from torch import nn

from optrun.components import registry
from optrun.components.choice import Choice
from optrun.components.data import Data, Dataset, Examples, fetch, prepare
from optrun.errors import UsageError

OWN = [name for name in registry.models.names() if registry.models.find(name).origin == "optrun"]
SUITED = {
    "table": {"linear", "mlp"},
    "images": {"linear", "mlp", "cnn"},
    "array": {"linear", "mlp"},
    "passages": {"embedding_bag"},
    "characters": {"transformer"},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("files"))


def build(name: str, data: Data, **settings: object) -> nn.Module:
    return registry.models.find(name).load()(data, **settings)


def pictures(channels: int = 3, size: int = 32, num_classes: int = 3, n: int = 20) -> Data:
    """Random images with labels, in memory."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(n, channels, size, size, generator=generator)
    labels = torch.arange(n) % num_classes
    return prepare(Dataset("classification", Examples(images, labels), num_classes=num_classes), name="pictures")


@pytest.mark.parametrize("dataset", registry.datasets.names())
@pytest.mark.parametrize("name", OWN)
def test_every_model_on_every_data_set(name: str, dataset: str, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_checksums(monkeypatch)
    data = prepared(dataset, files)
    if name not in SUITED[data.kind]:
        with pytest.raises(UsageError, match=rf"{name} does not suit {dataset}, .*; models that do: ") as refused:
            build(name, data)
        assert all(each in str(refused.value) for each in SUITED[data.kind])
        return
    model = build(name, data)
    inputs, targets = fetch(data.train, torch.arange(4))
    outputs = model(inputs)
    loss = (
        nn.functional.mse_loss(outputs, targets)
        if data.task == "regression"
        else nn.CrossEntropyLoss()(outputs, targets)
    )
    loss.backward()
    positions = tuple(data.input_shape) if data.task == "language_model" else ()
    assert outputs.shape == (4, data.num_outputs, *positions)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("name", OWN)
def test_weights_are_drawn_from_the_global_stream(name: str, files: Path) -> None:
    dataset = {"transformer": "text", "embedding_bag": "pydocs_topics"}.get(name, "digits")
    data = prepared(dataset, files)
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        weights.append(nn.utils.parameters_to_vector(build(name, data).parameters()))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


class TestLinearAndMlp:
    def test_linear_is_one_layer(self, files: Path) -> None:
        model = build("linear", prepared("wine", files))
        assert [tuple(p.shape) for p in model.parameters()] == [(3, 13), (3,)]
        assert sum(p.numel() for p in build("linear", prepared("wine", files), bias=False).parameters()) == 39

    def test_mlp_layers(self, files: Path) -> None:
        model = build(
            "mlp", prepared("digits", files), hidden=[20, 10], activation="tanh", dropout=0.1, batch_norm=True
        )
        kinds = [type(layer).__name__ for layer in model]
        assert kinds == ["Flatten", *["Linear", "BatchNorm1d", "Tanh", "Dropout"] * 2, "Linear"]
        assert [layer.out_features for layer in model if isinstance(layer, nn.Linear)] == [20, 10, 10]

    def test_mlp_equals_the_textbook(self, files: Path) -> None:
        torch.manual_seed(5)
        model = build("mlp", prepared("digits", files), hidden=[20])
        torch.manual_seed(5)
        textbook = nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10))
        inputs = torch.rand(3, 1, 8, 8)
        assert torch.equal(model(inputs), textbook(inputs))

    @pytest.mark.parametrize("name", ["ReLU", "gelu", "SiLU", "LeakyReLU", "PReLU", "Identity"])
    def test_activations(self, name: str, files: Path) -> None:
        model = build("mlp", prepared("iris", files), activation=name)
        assert type(model[2]).__name__.lower() == name.lower()

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"activation": "Relux"}, "activation: there is no 'Relux' among CELU"),
            ({"activation": "GLU"}, "there is no 'GLU'"),
            ({"dropout": 1.0}, "dropout is 1.0; it must be at least 0 and below 1"),
            ({"hidden": [0]}, "hidden is 0; it must be at least 1"),
        ],
    )
    def test_refused(self, settings: dict, message: str, files: Path) -> None:
        with pytest.raises(UsageError, match=message):
            build("mlp", prepared("iris", files), **settings)

    def test_one_size_for_both_parts(self, files: Path) -> None:
        transforms = {"train": [Choice("RandomCrop", {"size": 6})]}
        dataset = registry.datasets.find("digits").load()()
        data = prepare(dataset, name="digits", transforms=transforms)
        with pytest.raises(
            UsageError, match="mlp needs one image size, and the transforms give 1×6×6 for train and 1×8×8"
        ):
            build("mlp", data)


class TestCnn:
    def test_sizes(self) -> None:
        model = build("cnn", pictures(channels=1, size=9), channels=[4, 5, 6], batch_norm=True, dropout=0.5)
        assert model(torch.rand(2, 1, 9, 9)).shape == (2, 3)
        assert model[-1].in_features == 6

    def test_images_too_small(self, files: Path) -> None:
        with pytest.raises(UsageError, match="channels: images of 8×8 cannot be halved 4 times"):
            build("cnn", prepared("digits", files), channels=[4, 4, 4, 4])


class TestTransformer:
    def test_sees_nothing_of_what_comes_after(self, files: Path) -> None:
        data = prepared("text", files)
        model = build("transformer", data, dim=16, heads=2, dropout=0.2).eval()
        ids = data.train.inputs[:1]
        changed = ids.clone()
        changed[0, 9:] = (ids[0, 9:] + 1) % data.num_classes
        before, after = model(ids), model(changed)
        assert torch.equal(before[..., :9], after[..., :9])
        assert not torch.allclose(before[..., 9:], after[..., 9:])

    def test_equal_to_torchs_own_layers(self, files: Path) -> None:
        """One block against nn.TransformerEncoderLayer with the same weights."""
        data = prepared("text", files)
        block = build("transformer", data, dim=16, depth=1, heads=2).blocks[0]
        theirs = nn.TransformerEncoderLayer(16, 2, 64, 0.0, "gelu", norm_first=True, batch_first=True)
        ours = {
            "self_attn.in_proj_weight": block.attention.qkv.weight,
            "self_attn.in_proj_bias": block.attention.qkv.bias,
            "self_attn.out_proj.weight": block.attention.out[0].weight,
            "self_attn.out_proj.bias": block.attention.out[0].bias,
            "linear1.weight": block.mlp[0].weight,
            "linear1.bias": block.mlp[0].bias,
            "linear2.weight": block.mlp[2].weight,
            "linear2.bias": block.mlp[2].bias,
            "norm1.weight": block.attention_norm.weight,
            "norm1.bias": block.attention_norm.bias,
            "norm2.weight": block.mlp_norm.weight,
            "norm2.bias": block.mlp_norm.bias,
        }
        theirs.load_state_dict(ours)
        x = torch.randn(3, 7, 16)
        mask = nn.Transformer.generate_square_subsequent_mask(7)
        assert torch.allclose(block(x), theirs(x, src_mask=mask, is_causal=True), atol=1e-6)

    def test_learns_to_continue(self, files: Path) -> None:
        data = prepared("text", files)
        torch.manual_seed(0)
        model = build("transformer", data, dim=32, depth=1, heads=2)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for _ in range(60):
            optimizer.zero_grad()
            nn.CrossEntropyLoss()(model(data.train.inputs), data.train.targets).backward()
            optimizer.step()
        loss = nn.CrossEntropyLoss()(model(data.val.inputs), data.val.targets).item()
        assert loss < 0.25 * math.log(data.num_classes)

    def test_heads_must_divide(self, files: Path) -> None:
        with pytest.raises(UsageError, match="transformer: dim 10 is no multiple of heads 4"):
            build("transformer", prepared("text", files), dim=10)


class TestEmbeddingBag:
    def test_padding_does_not_count(self, files: Path) -> None:
        model = build("embedding_bag", prepared("pydocs_topics", files))
        ids = torch.tensor([[5, 6, 7]])
        assert torch.allclose(model(ids), model(torch.tensor([[5, 6, 7, 0, 0]])), atol=1e-6)

    def test_sparse_gradients(self, files: Path) -> None:
        data = prepared("pydocs_topics", files)
        gradients = []
        for sparse in (False, True):
            torch.manual_seed(0)
            model = build("embedding_bag", data, sparse=sparse)
            nn.CrossEntropyLoss()(model(data.train.inputs[:8]), data.train.targets[:8]).backward()
            gradients.append(model.embedding.weight.grad)
        assert gradients[1].is_sparse
        assert torch.allclose(gradients[0], gradients[1].to_dense(), atol=1e-7)
