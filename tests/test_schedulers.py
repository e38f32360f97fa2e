"""Schedulers: every one, with every prediction, follows the path it says, and its settings survive the disk."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from orbit4d.diffusion.paths import path_coefficients, split
from orbit4d.diffusion.schedulers import NAMES, Schedule, load_scheduler, make_scheduler
from orbit4d.errors import InputError

PREDICTIONS = ("flow", "v", "x0")


def _output(prediction: str, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """What a network that knows x0 and eps answers at level t: the definitions, written out."""
    if prediction == "flow":
        return eps - x0
    if prediction == "x0":
        return x0
    return math.cos(math.pi / 2 * t) * eps - math.sin(math.pi / 2 * t) * x0


def _check_oracle(schedule: Schedule, prediction: str, x0: Tensor, eps: Tensor, *, atol: float) -> None:
    """From eps to x0, the network's every input being the path's own mixture for the level told."""
    x = eps
    for i, t in enumerate(schedule.levels):
        given = schedule.network_input(x, i)
        a, s = path_coefficients(prediction, t)
        torch.testing.assert_close(given, a * x0 + s * eps, atol=atol, rtol=0)
        x = schedule.step(_output(prediction, x0, eps, t), i, x)
    torch.testing.assert_close(x, x0, atol=atol, rtol=0)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_an_oracle_is_recovered_and_asked_on_its_path(name: str, prediction: str, steps: int) -> None:
    """From pure noise to x0 exactly, and at every evaluation the input is the path's own mixture for the level told."""
    generator = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(2, 3, 4, 4, generator=generator) for _ in range(2))
    schedule = Schedule(make_scheduler(name), prediction=prediction).set_timesteps(steps)
    assert len(schedule.levels) == (2 * steps - 1 if name == "heun" else steps)
    assert float(schedule.levels[0]) == pytest.approx(1, abs=2e-6)
    _check_oracle(schedule, prediction, x0, eps, atol=2e-4)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [7, 12, 60, 61, 150, 400, 600])
def test_ddim_steps_to_the_levels_that_it_asks_at(prediction: str, steps: int) -> None:
    """Of steps that do not divide 1000 the stock class's timesteps are not those that it steps to; of 61 it makes 62."""
    generator = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(3, 4, 4, generator=generator) for _ in range(2))
    schedule = Schedule(make_scheduler("ddim"), prediction=prediction).set_timesteps(steps)
    assert len(schedule.levels) == steps and float(schedule.levels[0]) == pytest.approx(1, abs=2e-6)
    _check_oracle(schedule, prediction, x0, eps, atol=5e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_gaussian_is_sampled_with_its_variance(name: str) -> None:
    """Data N(0, c^2): the best denoiser is linear, and the exact flow maps eps to c eps; the solvers must agree with it."""
    c = 0.5
    eps = torch.randn(4, 1024, generator=torch.Generator().manual_seed(1))
    for prediction in PREDICTIONS:
        schedule = Schedule(make_scheduler(name), prediction=prediction).set_timesteps(
            200 if name in ("euler", "ddim") else 40
        )
        x = eps
        for i, t in enumerate(schedule.levels):
            given = schedule.network_input(x, i)
            a, s = (float(v) for v in path_coefficients(prediction, t))
            best = a * c**2 / (a**2 * c**2 + s**2) * given
            x = schedule.step(_output(prediction, best, (given - a * best) / s, t), i, x)
        assert float(x.std() / eps.std()) == pytest.approx(c, rel=0.03), prediction
        assert float((x - c * eps).abs().max()) < 0.12


def test_higher_order_means_fewer_steps() -> None:
    """On the Gaussian of the test above, the multistep solvers at 10 steps are closer to the truth than euler is."""
    c, eps = 0.5, torch.ones(1, 2, dtype=torch.float64)

    def error(name: str, steps: int) -> float:
        schedule = Schedule(make_scheduler(name), prediction="flow").set_timesteps(steps)
        x = eps
        for i, t in enumerate(schedule.levels.double()):
            best = (1 - t) * c**2 / ((1 - t) ** 2 * c**2 + t**2) * x
            x = schedule.step((x - best) / t, i, x).double()
        return float((x - c).abs().max())

    assert error("dpm++", 10) < error("euler", 10) and error("unipc", 10) < error("euler", 10)
    assert error("heun", 20) < error("euler", 40)
    assert error("euler", 100) < error("euler", 10) / 5


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_split_inverts_the_definitions(prediction: str) -> None:
    x0, eps = torch.randn(2, 5, generator=torch.Generator().manual_seed(2))
    for t in torch.tensor([0.05, 0.5, 1.0]):
        a, s = path_coefficients(prediction, t)
        found = split(prediction, _output(prediction, x0, eps, t), a * x0 + s * eps, t)
        torch.testing.assert_close(torch.stack(found), torch.stack([x0, eps]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_settings_survive_the_disk(name: str, tmp_path: Path) -> None:
    make_scheduler(name, shift=3.0).save_pretrained(tmp_path)
    loaded = load_scheduler(tmp_path)
    for prediction in PREDICTIONS:
        a, b = (Schedule(s, prediction=prediction).set_timesteps(7) for s in (loaded, make_scheduler(name, shift=3.0)))
        torch.testing.assert_close(a.levels, b.levels)
    assert name == "ddim" or not torch.allclose(
        a.levels, Schedule(make_scheduler(name, shift=1.0), prediction="x0").set_timesteps(7).levels
    )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"_class_name": "os.system"}, "os.system"),
        ({"prediction_type": "epsilon"}, "prediction_type"),
        ({"use_flow_sigmas": False}, "use_flow_sigmas"),
        ({"flow_shift": float("nan")}, "flow_shift|settings"),
        ({"flow_shift": "wide"}, "settings"),
        ({"flow_shift": -2}, "flow_shift"),
        ({"flow_shift": True}, "flow_shift"),
        ({"thresholding": True}, "thresholding"),
        ({"solver_order": 10**9}, "solver_order"),
        ({"prediction_typ": "epsilon"}, "prediction_typ"),
    ],
)
def test_settings_that_are_not_ours_are_refused(tmp_path: Path, change: dict, match: str) -> None:
    make_scheduler("dpm++").save_pretrained(tmp_path)
    file = tmp_path / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=match) as caught:
        load_scheduler(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_settings_that_are_left_out_never_become_other_ones(name: str, tmp_path: Path) -> None:
    """A file without a setting would mean the class's own default: it is refused, unless that is what we would write."""
    make_scheduler(name).save_pretrained(tmp_path)
    file = tmp_path / "scheduler_config.json"
    written = json.loads(file.read_text())
    steps = Schedule(make_scheduler(name), prediction="flow").set_timesteps(5)
    refused = set()
    for key in written.keys() - {"_class_name"}:
        file.write_text(json.dumps({k: v for k, v in written.items() if k != key}))
        try:
            scheduler = load_scheduler(tmp_path)
        except InputError as error:
            assert key in str(error) and "\n" not in str(error)
            refused.add(key)
            continue
        assert scheduler.config == make_scheduler(name).config
        torch.testing.assert_close(Schedule(scheduler, prediction="flow").set_timesteps(5).levels, steps.levels)
    expected = {
        "euler": {"shift", "use_dynamic_shifting"},
        "heun": {"shift"},
        "dpm++": {"flow_shift", "prediction_type", "use_flow_sigmas", "algorithm_type"},
        "unipc": {"flow_shift", "prediction_type", "use_flow_sigmas", "predict_x0"},
        "ddim": {"trained_betas", "prediction_type", "timestep_spacing", "clip_sample"},
    }
    assert expected[name] <= refused


@pytest.mark.parametrize(("name", "change"), [("euler", {"shift": -2}), ("ddim", {"trained_betas": None})])
def test_levels_that_are_not_ours_are_refused(name: str, change: dict, tmp_path: Path) -> None:
    make_scheduler(name).save_pretrained(tmp_path)
    file = tmp_path / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=next(iter(change))):
        load_scheduler(tmp_path)


def test_unknown_names_and_counts() -> None:
    with pytest.raises(InputError, match=r"--scheduler.*euler"):
        make_scheduler("magic")
    with pytest.raises(InputError, match="--steps"):
        Schedule(make_scheduler("euler"), prediction="flow").set_timesteps(0)
