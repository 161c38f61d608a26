from __future__ import annotations

import functools
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optrun.components import functions
from optrun.components.registry import functions as registry
from optrun.errors import UsageError

EXAMPLES: dict[str, dict[str, Any]] = {
    "constant": {"value": 0.95},
    "exponential": {"gamma": 0.9},
    "inverse_sqrt": {"warmup": 4},
    "linear_warmup": {"warmup": 4},
    "polynomial": {"total": 10, "power": 2.0, "warmup": 4},
    "trapezoid": {"warmup": 4, "total": 10, "decay": 3},
    "warmup_cosine": {"warmup": 4, "total": 10, "floor": 0.1},
}
WARMING = [name for name, settings in EXAMPLES.items() if "warmup" in settings]
ROOT_2 = math.sqrt(2)


def partial(name: str, **settings: Any) -> functools.partial[float]:
    return functools.partial(getattr(functions, name), **settings)


def optimizer(lr: float = 1.0) -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)


def test_every_function_has_an_example_and_is_registered() -> None:
    assert sorted(EXAMPLES) == functions.__all__ == registry.names()


def test_importing_them_does_not_import_torch() -> None:
    code = "import sys, optrun.components.functions; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", functions.__all__)
def test_the_summary_is_a_sentence_for_the_user(name: str) -> None:
    summary = registry.find(name).summary
    assert summary.endswith(".")
    assert len(summary) < 160


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("constant", {"value": 0.5}, [0.5, 0.5]),
        ("exponential", {"gamma": 0.5}, [1, 0.5, 0.25]),
        ("linear_warmup", {"warmup": 4}, [0.25, 0.5, 0.75, 1, 1, 1]),
        ("inverse_sqrt", {"warmup": 2}, [0.5, 1, math.sqrt(2 / 3), math.sqrt(2 / 4)]),
        ("inverse_sqrt", {}, [1, math.sqrt(1 / 2), math.sqrt(1 / 3)]),
        ("warmup_cosine", {"warmup": 2, "total": 6}, [0.5, 1, 1, (2 + ROOT_2) / 4, 0.5, (2 - ROOT_2) / 4, 0, 0]),
        ("warmup_cosine", {"warmup": 0, "total": 2, "floor": 0.2}, [1, 0.6, 0.2, 0.2]),
        ("trapezoid", {"warmup": 2, "total": 6, "decay": 2}, [0.5, 1, 1, 1, 1, 0.5, 0, 0]),
        ("trapezoid", {"warmup": 0, "total": 4, "decay": 4, "shape": "sqrt"}, [1, 0.5, 1 - 0.5**0.5, 1 - 0.75**0.5]),
        ("trapezoid", {"warmup": 1, "total": 3, "decay": 2, "floor": 0.5}, [1, 1, 0.75, 0.5, 0.5]),
        ("trapezoid", {"warmup": 0, "total": 2, "decay": 0}, [1, 1, 1]),
        ("polynomial", {"total": 4}, [1, 0.75, 0.5, 0.25, 0, 0]),
        ("polynomial", {"total": 4, "power": 2.0, "warmup": 2, "floor": 0.1}, [0.5, 1, 1, 0.325, 0.1]),
    ],
)  # fmt: skip
def test_values(name: str, settings: dict, expected: list[float]) -> None:
    assert [partial(name, **settings)(step) for step in range(len(expected))] == pytest.approx(expected)


def test_inverse_sqrt_is_vaswani_equation_3_over_its_peak() -> None:
    def rate(t: int, width: int = 512, warmup: int = 40) -> float:
        return width**-0.5 * min(t**-0.5, t * warmup**-1.5)

    for step in range(200):
        assert functions.inverse_sqrt(step, warmup=40) == pytest.approx(rate(step + 1) / rate(40))


def test_warmup_cosine_without_warmup_is_torchs_cosine_annealing() -> None:
    ours, torchs = optimizer(), optimizer()
    ours_schedule = torch.optim.lr_scheduler.LambdaLR(ours, partial("warmup_cosine", warmup=0, total=10, floor=0.05))
    torchs_schedule = torch.optim.lr_scheduler.CosineAnnealingLR(torchs, T_max=10, eta_min=0.05)
    for _ in range(10):
        assert ours_schedule.get_last_lr() == pytest.approx(torchs_schedule.get_last_lr())
        for each in (ours, ours_schedule, torchs, torchs_schedule):
            each.step()


def test_polynomial_without_warmup_is_torchs_polynomial() -> None:
    ours, torchs = optimizer(), optimizer()
    ours_schedule = torch.optim.lr_scheduler.LambdaLR(ours, partial("polynomial", total=10, power=0.9))
    torchs_schedule = torch.optim.lr_scheduler.PolynomialLR(torchs, total_iters=10, power=0.9)
    for _ in range(12):
        assert ours_schedule.get_last_lr() == pytest.approx(torchs_schedule.get_last_lr())
        for each in (ours, ours_schedule, torchs, torchs_schedule):
            each.step()


@pytest.mark.parametrize("name", functions.__all__)
@given(data=st.data(), total=st.integers(1, 10_000))
@settings(max_examples=50, deadline=None)
def test_multipliers_stay_between_0_and_1(name: str, data: st.DataObject, total: int) -> None:
    chosen = dict(EXAMPLES[name])
    if "total" in chosen:
        chosen["total"] = total
    if "warmup" in chosen:
        chosen["warmup"] = data.draw(st.integers(0, total - 1))
    if "decay" in chosen:
        chosen["decay"] = data.draw(st.integers(0, total - chosen["warmup"]))
    step = data.draw(st.integers(0, 20_000))
    value = partial(name, **chosen)(step)
    assert 0 <= value <= 1
    if "warmup" in chosen and step < chosen["warmup"]:
        assert value == (step + 1) / chosen["warmup"]


@pytest.mark.parametrize("name", WARMING)
def test_without_warmup_the_first_step_is_at_the_peak(name: str) -> None:
    settings = {**EXAMPLES[name], "warmup": 0}
    assert partial(name, **settings)(0) == 1


@pytest.mark.parametrize("name", functions.__all__)
@pytest.mark.parametrize("scheduler", ["LambdaLR", "MultiplicativeLR", "CyclicLR"])
def test_a_scheduler_takes_it_and_resumes(name: str, scheduler: str) -> None:
    def fresh() -> tuple[torch.optim.SGD, torch.optim.lr_scheduler.LRScheduler]:
        function = partial(name, **EXAMPLES[name])
        opt = optimizer()
        if scheduler == "CyclicLR":
            kind = torch.optim.lr_scheduler.CyclicLR(opt, 0.1, 1.0, step_size_up=2, scale_fn=function)
        else:
            kind = getattr(torch.optim.lr_scheduler, scheduler)(opt, function)
        return opt, kind

    opt, schedule = fresh()
    rates = []
    for step in range(8):
        if step == 3:
            resumed_opt, resumed = fresh()
            resumed_opt.load_state_dict(opt.state_dict())
            resumed.load_state_dict(schedule.state_dict())
            opt, schedule = resumed_opt, resumed
        rates.append(schedule.get_last_lr()[0])
        opt.step()
        schedule.step()
    function = partial(name, **EXAMPLES[name])
    if scheduler == "LambdaLR":
        assert rates == pytest.approx([function(step) for step in range(8)])
    elif scheduler == "MultiplicativeLR":
        assert rates == pytest.approx([math.prod(function(step) for step in range(1, t + 1)) for t in range(8)])
    else:
        assert rates[2] == pytest.approx(0.1 + 0.9 * function(1))
        assert rates[6] == pytest.approx(0.1 + 0.9 * function(2))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("constant", {"value": -1.0}, "constant has value: -1.0; a multiplier is 0 or more"),
        ("exponential", {"gamma": 1.5}, "exponential has gamma: 1.5; a decay needs one above 0 and at most 1"),
        ("linear_warmup", {"warmup": -1}, "linear_warmup has warmup: -1; it is a number of steps, 0 or more"),
        ("inverse_sqrt", {"warmup": -1}, "inverse_sqrt has warmup: -1; it is a number of steps, 0 or more"),
        ("warmup_cosine", {"total": 4}, "warmup_cosine has warmup: 4 and total: 4; no step is left to come down"),
        ("warmup_cosine", {"floor": 2.0}, "warmup_cosine has floor: 2.0; it is a share of the peak, from 0 to 1"),
        ("trapezoid", {"decay": 7}, "trapezoid has warmup: 4 and decay: 7; together they should fit into total: 10"),
        ("trapezoid", {"floor": -0.5}, "trapezoid has floor: -0.5; it is a share of the peak, from 0 to 1"),
        ("polynomial", {"total": 0}, "polynomial has warmup: 4 and total: 0; no step is left to come down"),
        ("polynomial", {"power": 0.0}, "polynomial has power: 0.0; it comes down for powers above 0"),
        ("polynomial", {"floor": 2.0}, "polynomial has floor: 2.0; it is a share of the peak, from 0 to 1"),
    ],
)
def test_settings_that_make_no_schedule(name: str, settings: dict, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        partial(name, **{**EXAMPLES[name], **settings})(0)
    assert str(caught.value) == message
