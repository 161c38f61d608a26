"""What a config may be, told in three forms that have to agree: the JSON Schema, the YAML written back, the hash."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
import yaml
from cases import GOOD, Case, good_configs
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from optrun.components.registry import KINDS, Component
from optrun.config.document import parse
from optrun.config.loading import validate
from optrun.config.overrides import apply
from optrun.config.schema import json_schema, sweep_json_schema
from optrun.config.spec import OUTSIDE_THE_HASH, Spec
from optrun.config.sweep import load_sweep
from optrun.config.sweep.keys import SweepKeys
from optrun.config.sweep.reading import field_types
from optrun.config.types import setting_type
from optrun.config.writing import to_yaml
from optrun.errors import ConfigError

HERE = Path(__file__).parent
COMPONENTS = [registry.find(name) for registry in KINDS.values() for name in registry.names()]
SCHEMA = json_schema()
SWEEP_SCHEMA = sweep_json_schema()
SWEEPS = sorted((HERE.parent / "configs" / "sweeps").glob("*.yaml"))


def spec_of(text: str, *overrides: str) -> Spec:
    return validate(apply(parse(text, "config.yaml"), overrides), folder=HERE, stem="config")


def as_json(data: Any) -> Any:
    """Tuples as lists; an infinity stays one."""
    return json.loads(json.dumps(data))


# JSON Schema ----------------------------------------------------------------------------------------------------------


def test_it_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA, allow_nan=False)) == SCHEMA


@pytest.mark.parametrize("text", good_configs().values(), ids=good_configs().keys())
def test_it_accepts_every_good_config(text: str) -> None:
    Draft202012Validator(SCHEMA).validate(as_json(spec_of(text).resolved()))
    if "sgd" not in text and "nadam" not in text:  # an editor wants names as torch spells them
        Draft202012Validator(SCHEMA).validate(parse(text, "config.yaml").data)


@pytest.mark.parametrize(
    "changes",
    [
        "~ epochs\n",
        "~ model\n",
        "steps: 100\n",
        "epochs: 0\n",
        "epochs: null\n",
        "epochs: ten\n",
        "sede: 1\n",
        "seed: -1\n",
        "name: runs/first\n",
        "device: gpu\n",
        "precision: float16\n",
        "metrics: accuracy\n",
        "metrics: [acuracy]\n",
        "clip_norm: 0\n",
        "eval_every: {epochs: 2}\n",
        "early_stop: {metric: val/accuracy}\n",
        "early_stop: {patience: 2, mode: up}\n",
        "tags: [1]\n",
        "compile: on\n",
        "compile: fast\n",
        "memory_format: NHWC\n",
        "dataset: digits2\n",
        "dataset: {name: digits}\n",
        "dataset: {name: digits, batch_size: 64, val_fraction: 1.5}\n",
        "dataset: {name: digits, batch_size: 64, transforms: {test: []}}\n",
        "dataset: {name: digits, batch_size: 64, transforms: [{name: RandomCrop}]}\n",
        "model: {name: mlp, hidden: 64}\n",
        "model: {name: mlp, layers: [64]}\n",
        "optimizer: {lr: 0.1}\n",
        "optimizer: {name: SDG, lr: 0.1}\n",
        "optimizer: {name: SGD, momentun: 0.9}\n",
        "optimizer: {name: SGD, lr: fast}\n",
        "optimizer: {name: Adam, betas: [0.9]}\n",
        "optimizer: {name: Adam, betas: [0.9, 0.99, 0.999]}\n",
        "optimizer: {name: SGD, param_groups: [{lr: 0.1}]}\n",
        "optimizer: {name: SGD, param_groups: [{match: bias, lrr: 0.1}]}\n",
        "optimizer: {name: Muon, fallback: {name: AdamW, lrr: 0.1}}\n",
        "scheduler: {name: StepLR}\n",
        "scheduler: {name: StepLR, step_size: 0.5}\n",
        "scheduler: {name: StepLR, step_size: 2, gamma: run}\n",
        "scheduler: {name: CyclicLR, base_lr: 0.1, max_lr: 1, mode: sawtooth}\n",
        "scheduler: {name: SequentialLR, milestones: [1], schedulers: [{name: LinerLR}]}\n",
        "scheduler: {name: LambdaLR, lr_lambda: {name: inverse_sqrt, warm_up: 3}}\n",
        "scheduler: {name: LambdaLR, lr_lambda: 0.95}\n",
    ],
)
def test_it_refuses_what_optrun_refuses(changes: str) -> None:
    text = Case("", changes).config()
    with pytest.raises(ConfigError):
        spec_of(text)
    assert not Draft202012Validator(SCHEMA).is_valid(parse(text, "config.yaml").data)


def test_every_key_is_described() -> None:
    assert list(SCHEMA["properties"]) == list(Spec.model_fields)
    models = [definition for name, definition in SCHEMA["$defs"].items() if name not in KINDS]
    for key, described in [item for model in [SCHEMA, *models] for item in model["properties"].items()]:
        assert described["description"].endswith((".", "…")), key


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: f"{component.kind}-{component.name}")
def test_every_component_is_described(component: Component) -> None:
    assert component.summary
    (described,) = [
        each
        for each in SCHEMA["$defs"][component.kind]["anyOf"]
        if each.get("properties", {}).get("name") == {"const": component.name}
    ]
    assert described["description"] == component.summary
    assert {"name", *component.signature.names()} <= described["properties"].keys()
    required = {p.name for p in component.signature.settings if p.required} | {"name", "batch_size"}
    assert required >= set(described["required"])


# JSON Schema of sweeps ------------------------------------------------------------------------------------------------


def changed_sweep(changes: str) -> str:
    return Case("", changes, of_sweep=True).config()


def test_that_of_sweeps_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(SWEEP_SCHEMA)
    assert json.loads(json.dumps(SWEEP_SCHEMA, allow_nan=False)) == SWEEP_SCHEMA


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_it_accepts_every_sweep_of_ours(path: Path) -> None:
    Draft202012Validator(SWEEP_SCHEMA).validate(parse(path.read_text(encoding="utf-8"), path.name).data)
    Draft202012Validator(SWEEP_SCHEMA).validate(as_json(load_sweep(path).resolved()))


GOOD_SWEEPS = [
    "",
    "~ grid\n",
    "~ seeds\n",
    "seeds: [0, 3, 7]\n",
    "seeds: null\ngrid: null\nobjective: null\nprune: null\nsearch: null\n",
    f"base: {json.dumps({k: v for k, v in parse(GOOD, 'digits.yaml').data.items() if k != 'optimizer'})}\n"
    "grid: {optimizer: [SGD, {name: Adam, lr: 0.1}]}\n",
    "grid: {}\n",
    "grid: [{optimizer: [SGD], optimizer.lr: [1, 2.5]}, {scheduler: [null, LinearLR], clip_norm: [null, 1]}]\n",
    "grid: {epochs: [1, 2], model.hidden: [[64], [64, 64]], metrics: [[accuracy], [accuracy, f1]]}\n",
    "prune: {min_epochs: 1}\nnotes: a\ntags: [a]\n",
    "~ grid\nsearch: {sampler: tpe, trials: 5, space: {optimizer.lr: {log: [0.1, 1]}, epochs: {int: [1, 3]}}}\n",
    "~ grid\nsearch: {sampler: random, trials: 5, seed: 1, batch: 2, space: {clip_norm: {choice: [null, 1]}}}\n",
]


@pytest.mark.parametrize("changes", GOOD_SWEEPS)
def test_it_accepts_good_sweeps(changes: str, tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text(GOOD)
    (tmp_path / "sweep.yaml").write_text(changed_sweep(changes))
    Draft202012Validator(SWEEP_SCHEMA).validate(parse(changed_sweep(changes), "sweep.yaml").data)
    Draft202012Validator(SWEEP_SCHEMA).validate(as_json(load_sweep(tmp_path / "sweep.yaml").resolved()))


@pytest.mark.parametrize(
    "changes",
    [
        "~ base\n",
        "base: 3\n",
        "base: {epochz: 3}\n",
        "gird: {}\n",
        "epochs: 3\n",
        "seed: 3\n",
        "name: a/b\n",
        "seeds: 0\n",
        "seeds: x\n",
        "seeds: []\n",
        "seeds: [1, 1]\n",
        "seeds: [-1]\n",
        "grid: 3\n",
        "grid: []\n",
        "grid: {optimizer.lr: 0.1}\n",
        "grid: {optimizer.lr: []}\n",
        "grid: {optimiser.lr: [0.1]}\n",
        "grid: {optimizer: [SDG]}\n",
        "grid: {clip_norm: [0]}\n",
        "grid: {scheduler: [{name: StepLR}]}\n",
        "objective: val/accuracy\n",
        "objective: {mode: max}\n",
        "objective: {metric: val/accuracy, mode: up}\n",
        "prune: {eta: 3}\n",
        "prune: {min_epochs: 0}\n",
        "prune: {min_epochs: 1, eta: 1}\n",
        "tags: a\n",
        "search: {sampler: random, trials: 5, space: {optimizer.lr: {log: [0.1, 1]}}}\n",
        "~ grid\nsearch: {}\n",
        "~ grid\nsearch: {sampler: rnd, trials: 5, space: {optimizer.lr: {log: [0.1, 1]}}}\n",
        "~ grid\nsearch: {sampler: random, trials: 0, space: {optimizer.lr: {log: [0.1, 1]}}}\n",
        "~ grid\nsearch: {sampler: random, trials: 5, space: {}}\n",
        "~ grid\nsearch: {sampler: random, trials: 5, space: {optimizer.lr: [0.1, 1]}}\n",
        "~ grid\nsearch: {sampler: random, trials: 5, space: {optimizer.lr: {log: [0.1]}}}\n",
        "~ grid\nsearch: {sampler: random, trials: 5, space: {epochs: {int: [1, 2.5]}}}\n",
        "~ grid\nsearch: {sampler: random, trials: 5, space: {epochs: {choice: []}}}\n",
    ],
)
def test_it_refuses_sweeps_that_optrun_refuses(changes: str, tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text(GOOD)
    (tmp_path / "sweep.yaml").write_text(changed_sweep(changes))
    with pytest.raises(ConfigError):
        load_sweep(tmp_path / "sweep.yaml")
    assert not Draft202012Validator(SWEEP_SCHEMA).is_valid(parse(changed_sweep(changes), "sweep.yaml").data)


def test_every_key_of_a_sweep_is_described() -> None:
    properties = SWEEP_SCHEMA["properties"]
    assert list(properties) == list(field_types(SweepKeys))
    inside = [properties[key]["anyOf"][0]["properties"] for key in ("search", "objective", "prune")]
    for key, described in [item for each in [properties, *inside] for item in each.items()]:
        assert described["description"].endswith((".", "…]}.")), key


# config.yaml ----------------------------------------------------------------------------------------------------------


def assert_reads_back(spec: Spec) -> None:
    """What is written is read back as the same spec, by optrun and, as to its values, by any YAML parser."""
    text = to_yaml(spec.resolved())
    again = spec_of(text)
    assert again.resolved() == spec.resolved()
    assert again.config_hash() == spec.config_hash()
    assert to_yaml(again.resolved()) == text
    assert yaml.safe_load(text) == parse(text, "config.yaml").data == as_json(spec.resolved())


@pytest.mark.parametrize("text", good_configs().values(), ids=good_configs().keys())
def test_good_configs_read_back(text: str) -> None:
    assert_reads_back(spec_of(text))


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values that a setting of this type may have."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return values(arguments[0])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is Union:
        return st.one_of(*map(values, arguments))
    if origin is tuple:
        return st.tuples(*map(values, arguments)).map(list)
    if origin is list:
        return st.lists(values(arguments[0]), max_size=3)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(-(2**63) + 1, 2**63 - 1),
        float: st.floats(allow_nan=False, allow_infinity=False),
        str: words,
        type(None): st.none(),
    }
    return plain[kind]


words = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\ufffe\uffff\u2028\u2029"))
MODELS_AND_OPTIMIZERS = [c for c in COMPONENTS if c.origin in ("optrun", "torch.optim") and c.kind != "datasets"]


@st.composite
def components(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """A model or an optimizer, and values of the right types for some of its settings."""
    component = draw(st.sampled_from([c for c in MODELS_AND_OPTIMIZERS if c.kind == kind]))
    kinds = {parameter.name: setting_type(parameter) for parameter in component.signature.settings}
    chosen = draw(st.sets(st.sampled_from(sorted(kinds)))) if kinds else set()
    given = {key: draw(values(kinds[key])) for key in sorted(chosen) if kinds[key] is not Any}
    return {"name": component.name, **given}


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """Configs of any values that are of the right types."""
    optimizer = draw(components("optimizers").filter(lambda choice: choice["name"] != "SparseAdam"))
    optional = {
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True),
        "seed": st.integers(0, 2**63 - 1),
        "notes": words,
        "tags": st.lists(words, max_size=3),
        "clip_norm": st.floats(min_value=0, exclude_min=True, allow_nan=False) | st.none(),
        "accumulate": st.integers(1, 2**40),
        "eval_every": st.integers(1, 10**6) | st.fixed_dictionaries({"steps": st.integers(1, 10**6)}),
        "target": st.fixed_dictionaries(
            {"metric": st.just("val/loss"), "value": st.floats(allow_nan=False, allow_infinity=False)}
        ),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(optional))))
    return {
        draw(st.sampled_from(["epochs", "steps"])): draw(st.integers(1, 2**40)),
        "dataset": {"name": "digits", "batch_size": draw(st.integers(1, 2**40))},
        "model": draw(components("models").filter(lambda choice: not choice.get("sparse"))),
        "loss": "cross_entropy",
        "optimizer": optimizer,
        **{key: draw(optional[key]) for key in sorted(chosen)},
    }


@given(configs())
@settings(max_examples=150, deadline=None)
def test_any_config_reads_back(config: dict[str, Any]) -> None:
    text = json.dumps(config).replace("Infinity", ".inf")
    spec = spec_of(text)
    assert_reads_back(spec)
    assert spec_of(text).config_hash() == spec.config_hash()
    Draft202012Validator(SCHEMA).validate(as_json(spec.resolved()))


# config_hash ----------------------------------------------------------------------------------------------------------

MEANS_THE_SAME = [
    ("optimizer: SGD", "optimizer: {name: sgd}"),
    ("optimizer: {name: SGD, lr: 0.1}", "optimizer: {lr: 1e-1, name: SGD, momentum: 0, nesterov: false, fused: null}"),
    ("optimizer: {name: Adam, lr: 1}", "optimizer: {name: Adam, lr: 1.0, betas: [0.9, 0.999]}"),
    (
        "optimizer: {name: Muon, fallback: AdamW}",
        "optimizer: {name: Muon, ns_steps: 5, fallback: {name: AdamW, amsgrad: false}}",
    ),
    ("scheduler: null", "~ scheduler"),
    ("scheduler: CosineAnnealingLR", "scheduler: {name: cosineannealinglr, eta_min: 0}"),
    (
        "scheduler: {name: SequentialLR, milestones: [1], schedulers: [LinearLR, {name: StepLR, step_size: 1}]}",
        "scheduler: {name: SequentialLR, milestones: [1], schedulers: [{name: LinearLR, end_factor: 1}, "
        "{name: StepLR, gamma: 0.1, step_size: 1}]}",
    ),
    (
        "scheduler: {name: LambdaLR, lr_lambda: inverse_sqrt}",
        "scheduler: {name: LambdaLR, lr_lambda: {name: inverse_sqrt, warmup: 0}}",
    ),
    (
        "scheduler: {name: LambdaLR, lr_lambda: [inverse_sqrt]}",
        "scheduler: {name: LambdaLR, lr_lambda: [{name: inverse_sqrt, warmup: 0}]}",
    ),
    ("model: mlp", "model: {name: MLP, hidden: [64], dropout: 0}"),
    ("loss: cross_entropy", "loss: {name: Cross_Entropy, label_smoothing: 0, reduction: mean}"),
    ("metrics: [f1]", "metrics: [{name: F1, average: macro}]"),
    ("dataset: {name: digits, batch_size: 8}", "dataset: {name: Digits, batch_size: 8, split_seed: 0, transforms: []}"),
    (
        "dataset: {name: digits, batch_size: 8, transforms: [{name: Normalize, mean: [0], std: [1]}]}",
        "dataset: {name: digits, batch_size: 8, transforms: [{name: normalize, mean: [0.0], std: [1.0]}]}",
    ),
    (
        "dataset: {name: digits, batch_size: 8, transforms: {train: [{name: RandomHorizontalFlip}]}}",
        "dataset: {name: digits, batch_size: 8, transforms: {train: [{name: RandomHorizontalFlip, p: 0.5}]}}",
    ),
    ("seed: 0", "~ seed"),
    ("eval_every: 1", "eval_every: 1\nearly_stop: null"),
]


@pytest.mark.parametrize(("one", "other"), MEANS_THE_SAME)
def test_what_means_the_same_has_the_same_hash(one: str, other: str) -> None:
    hashes = {spec_of(Case("", f"{changes}\n").config()).config_hash() for changes in (one, other)}
    assert len(hashes) == 1


MATTERS = [
    "seed=1", "precision=fp64", "epochs=4", "steps=69", "clip_norm=2", "clip_norm=null", "clip_norm=.inf",
    "clip_value=1", "accumulate=2", "eval_every=2", "eval_every={steps: 2}", "early_stop={patience: 2}",
    "early_stop={patience: 3}", "target={metric: val/loss, value: 1}", "threads=1", "threads=2", "compile=true",
    "deterministic=false", "dataset.batch_size=32", "dataset.split_seed=1", "dataset.val_fraction=0.3",
    "dataset.test_fraction=0.1", "dataset.transforms=[{name: Identity}]", "dataset.name=wine", "model.hidden=[33]",
    "model.hidden=[32,32]", "model.dropout=0.1", "model=linear", "loss=mse", "loss.label_smoothing=0.1", "metrics=[]",
    "metrics=[f1]", "metrics=[accuracy,f1]", "metrics=[f1,accuracy]", "metrics=[{name: f1, average: micro}]",
    "optimizer.lr=0.06", "optimizer.momentum=0", "optimizer.nesterov=true", "optimizer.name=RMSprop",
    "optimizer.param_groups=[{match: bias, lr: 0.05}]", "optimizer.param_groups=[{match: norm, lr: 0.05}]",
    "optimizer={name: Muon, fallback: AdamW}", "optimizer={name: Muon, fallback: SGD}", "scheduler=null",
    "scheduler.step_size=1", "scheduler.gamma=0.5", "scheduler.interval=step", "scheduler=ConstantLR",
]  # fmt: skip


def test_each_setting_that_matters_gives_another_hash() -> None:
    hashes = [spec_of(GOOD).config_hash(), *(spec_of(GOOD, change).config_hash() for change in MATTERS)]
    assert len(set(hashes)) == len(hashes)


def test_names_and_what_is_only_watched_do_not_change_the_hash() -> None:
    watched = {
        "name": "other",
        "notes": "first try",
        "tags": "[a]",
        "device": "cpu",
        "distributed": "fsdp",
        "log_every": "3",
        "checkpoint_every": "{steps: 3}",
        "keep_checkpoints": "none",
    }
    assert watched.keys() == OUTSIDE_THE_HASH
    for key, value in watched.items():
        assert spec_of(GOOD, f"{key}={value}").config_hash() == spec_of(GOOD).config_hash(), key


def test_infinity_is_a_number_of_its_own() -> None:
    assert spec_of(GOOD, "clip_norm=.inf").resolved()["clip_norm"] == math.inf
    assert "clip_norm: .inf\n" in to_yaml(spec_of(GOOD, "clip_norm=.inf").resolved())
