"""Stock diffusers schedulers behind one small protocol, for networks of any prediction.

A network lives on a *path* x_t = a(t) x0 + s(t) eps and outputs one of three things (`Denoiser.config["prediction"]`); see
`paths`. A scheduler lives on one of the two paths as well, and expects one output. Where they differ, `Schedule` translates:
at equal signal to noise a / s the two paths differ by a factor alone, and (x_t, output) determine (x0, eps) and back. Every
translation is affine in the output with coefficients that do not depend on the branch, so it commutes with guidance.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_heun_discrete import FlowMatchHeunDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from ..errors import InputError
from ..files import parse_json
from .paths import PREDICTIONS, path_coefficients, split

SchedulerName = Literal["euler", "heun", "dpm++", "unipc", "ddim"]
NAMES: tuple[str, ...] = get_args(SchedulerName)
DEFAULT = "dpm++"
SHIFT = 2.0
"""Levels are s = shift u / (1 + (shift - 1) u) for u evenly from 1 to 0: above 1, more of the steps go to high noise."""
MAX_SHIFT = 1000
TRAIN_STEPS = 1000
MAX_STEPS = 1000


@dataclass(frozen=True)
class _Kind:
    """How a scheduler class is configured. `fixed`: settings without which its steps would not mean what we take them for."""

    scheduler: type
    path: Literal["flow", "v"]
    shift: str | None
    fixed: dict[str, Any]


_MULTISTEP = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "final_sigmas_type": "zero"}
_KINDS: dict[str, _Kind] = {
    "euler": _Kind(FlowMatchEulerDiscreteScheduler, "flow", "shift", {"use_dynamic_shifting": False}),
    "heun": _Kind(FlowMatchHeunDiscreteScheduler, "flow", "shift", {}),
    "dpm++": _Kind(DPMSolverMultistepScheduler, "flow", "flow_shift", _MULTISTEP | {"algorithm_type": "dpmsolver++"}),
    "unipc": _Kind(UniPCMultistepScheduler, "flow", "flow_shift", _MULTISTEP | {"predict_x0": True}),
    "ddim": _Kind(
        DDIMScheduler,
        "v",
        None,
        {
            "prediction_type": "v_prediction",
            "timestep_spacing": "trailing",
            "clip_sample": False,
            "set_alpha_to_one": True,
            "thresholding": False,
            "num_train_timesteps": TRAIN_STEPS,
        },
    ),
}


def make_scheduler(name: str, *, shift: float = SHIFT) -> Any:
    """The stock diffusers scheduler called `name` (one of NAMES), set up for our paths; its `save_pretrained` keeps that.

    `ddim` has the variance-preserving path's own alphas, cos(pi t / 2)^2 down to exactly 0, and no shift.
    Raises InputError for other names, and for a shift that is not a positive number.
    """
    if name not in _KINDS:
        raise InputError(f"--scheduler: expected one of {', '.join(NAMES)}, got {name!r:.40}")
    if not 0 < shift < MAX_SHIFT:
        raise InputError(f"scheduler shift: expected a number above 0, got {shift}")
    kind = _KINDS[name]
    settings = dict(kind.fixed)
    if kind.shift is not None:
        settings[kind.shift] = shift
    else:
        settings["trained_betas"] = _cosine_betas()
    return kind.scheduler(**settings)


def load_scheduler(folder: Path) -> Any:
    """The scheduler of `folder`/scheduler_config.json, as `save_pretrained` of one of `make_scheduler` wrote it.

    The file chooses the class and the shift; it is checked to say what `make_scheduler` says of the rest.
    Raises InputError for other classes, and for settings that differ, are missing or are unknown.
    """
    file = folder / "scheduler_config.json"
    if file.stat().st_size > 2**20:
        raise InputError(f"{file}: larger than 1 MiB, expected a scheduler's settings; check --weights")
    config = parse_json(file.read_bytes(), source=file)
    stored = config.get("_class_name") if isinstance(config, dict) else None
    name = next((name for name, k in _KINDS.items() if k.scheduler.__name__ == stored), None)
    if name is None:
        known = ", ".join(k.scheduler.__name__ for k in _KINDS.values())
        raise InputError(f"{file}: expected a scheduler of the classes {known}, got {stored!r:.60}")
    kind = _KINDS[name]
    scheduler = make_scheduler(name, shift=_stored_shift(file, config, kind))
    # What a file leaves out, diffusers fills with the class's own defaults, which are not ours: only what is all there is meant.
    ours: dict[str, Any] = json.loads(json.dumps(dict(scheduler.config)))
    for key in (*kind.fixed, *ours, *config):
        if key.startswith("_"):
            continue
        if key not in ours:
            raise InputError(f"{file}: unknown setting {key!r:.40}; expected those that `save_pretrained` writes")
        demanded = key in kind.fixed or key == "trained_betas"
        if config.get(key, None if demanded else ours[key]) != ours[key]:
            got = "nothing" if key not in config else f"{config[key]!r:.40}"
            raise InputError(f"{file}: {key} must be {ours[key]!r:.40}, got {got}; expected settings of make_scheduler")
    return scheduler


def _stored_shift(file: Path, config: dict[str, Any], kind: _Kind) -> float:
    """The one setting that a model chooses. Raises InputError when the file lacks it or it is not a shift."""
    if kind.shift is None:
        return SHIFT
    shift = config.get(kind.shift)
    if isinstance(shift, bool) or not isinstance(shift, int | float) or not 0 < shift < MAX_SHIFT:
        raise InputError(
            f"{file}: {kind.shift} must be a number above 0 and below {MAX_SHIFT}, got {shift!r:.40}; "
            "expected settings of make_scheduler"
        )
    return float(shift)


def scheduler_name(scheduler: Any) -> str:
    """Which of NAMES a scheduler is. Raises InputError for other classes."""
    for name, kind in _KINDS.items():
        if type(scheduler) is kind.scheduler:
            return name
    raise InputError(f"scheduler: expected one of {', '.join(NAMES)}, got a {type(scheduler).__name__}")


class Schedule:
    """One sampling run: the levels the network is asked at, its inputs there, and the steps that its outputs make.

    A copy of the stock scheduler is driven, so that runs do not share state; of ddim only the settings are stock, its steps are
    made here (see `_plan_ddim`). Use, for steps i = 0, 1, ...:

        x = noise
        for i, t in enumerate(schedule.levels):
            x = schedule.step(network(schedule.network_input(x, i), t), i, x)
    """

    levels: Tensor
    """(n,) the network's noise level at each evaluation, from 1 (pure noise) downwards."""

    def __init__(self, scheduler: Any, *, prediction: str) -> None:
        if prediction not in PREDICTIONS:
            raise ValueError(f"prediction must be one of {PREDICTIONS}, got {prediction!r}")
        self.name, self.prediction = scheduler_name(scheduler), prediction
        self.path = _KINDS[self.name].path
        self.scheduler: Any = type(scheduler).from_config(scheduler.config)

    def set_timesteps(self, steps: int) -> Schedule:
        """Plan `steps` steps; heun evaluates the network 2 steps - 1 times, the others once a step. Returns self."""
        if not 1 <= steps <= MAX_STEPS:
            raise InputError(f"--steps: expected 1 to {MAX_STEPS}, got {steps}")
        a, s = _PLAN[self.name](self.scheduler, steps)
        a, s = a.double(), s.double()
        self.levels = (torch.atan2(s, a) * (2 / math.pi) if self.prediction == "v" else s / (a + s)).float()
        mine = torch.stack(path_coefficients(self.prediction, self.levels.double())).sum(dim=0)
        self._scale = (mine / (a + s)).float()
        self._native = torch.stack([a, s], dim=1).float()
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(0)  # by count: multistep schedulers round their timesteps to integers
        return self

    def network_input(self, x: Tensor, i: int) -> Tensor:
        """The sample x of evaluation i, scaled to the network's path."""
        return x if self._same_path else x * self._scale[i]

    def step(self, output: Tensor, i: int, x: Tensor) -> Tensor:
        """The next sample, after evaluation i of the network gave `output` for `network_input(x, i)`."""
        if self.name == "ddim":
            # x_s = a_s x0 + s_s eps (eta = 0), at the next level that the network is asked at, 0 at last
            x0, eps = self._split(output, i, x)
            a, s = self._native[i + 1] if i + 1 < len(self.levels) else (1.0, 0.0)
            return a * x0 + s * eps
        if self.prediction != self.path:
            x0, eps = self._split(output, i, x)
            a, s = self._native[i]
            output = eps - x0 if self.path == "flow" else a * eps - s * x0
        return self.scheduler.step(output, self.scheduler.timesteps[i], x, return_dict=False)[0]

    def _split(self, output: Tensor, i: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """x0 and eps, as evaluation i of the network says them."""
        return split(self.prediction, output, self.network_input(x, i), self.levels[i])

    @property
    def _same_path(self) -> bool:
        return (self.prediction == "v") == (self.path == "v")


def _cosine_betas() -> list[float]:
    """Betas whose running product of 1 - beta is cos(pi t / 2)^2 at t = 1 / n, 2 / n, ..., 1."""
    t = torch.arange(TRAIN_STEPS + 1, dtype=torch.float64) / TRAIN_STEPS
    alphas = torch.cos(t * (math.pi / 2)).square()
    alphas[-1] = 0.0
    return (1 - alphas[1:] / alphas[:-1]).tolist()


def _sigmas(steps: int, shift: float) -> Tensor:
    u = 1 - torch.arange(steps, dtype=torch.float64) / steps
    return (shift * u / (1 + (shift - 1) * u)).float()


def _plan_euler(scheduler: Any, steps: int) -> tuple[Tensor, Tensor]:
    # The scheduler's own spacing ends at sigma 1/1000: its last step would change nothing.
    scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
    return 1 - scheduler.sigmas[:-1], scheduler.sigmas[:-1]


def _plan_heun(scheduler: Any, steps: int) -> tuple[Tensor, Tensor]:
    scheduler.sigma_max, scheduler.sigma_min = 1.0, 1 / steps  # before its shift; as for euler
    scheduler.set_timesteps(steps)
    sigmas = scheduler.timesteps / scheduler.config.num_train_timesteps
    return 1 - sigmas, sigmas


def _plan_dpm(scheduler: Any, steps: int) -> tuple[Tensor, Tensor]:
    scheduler.set_timesteps(steps)
    sigmas = _sigmas(steps, scheduler.config.flow_shift)
    scheduler.sigmas = torch.cat([sigmas, sigmas.new_zeros(1)])  # its own begin at 0.999: not quite noise
    return 1 - sigmas, sigmas


def _plan_unipc(scheduler: Any, steps: int) -> tuple[Tensor, Tensor]:
    u = 1 - np.arange(steps) / steps
    scheduler.set_timesteps(sigmas=u)  # begins at 1 - 1e-6: its logarithms need that
    return 1 - scheduler.sigmas[:-1], scheduler.sigmas[:-1]


def _plan_ddim(_scheduler: Any, steps: int) -> tuple[Tensor, Tensor]:
    # Its own timesteps are rounded, and it steps 1000 // steps of them: to other levels than those where it asks next, unless
    # the steps divide 1000; of 61 it even makes 62.
    angle = (1 - torch.arange(steps, dtype=torch.float64) / steps) * (math.pi / 2)
    return torch.cos(angle), torch.sin(angle)


_PLAN: dict[str, Callable[[Any, int], tuple[Tensor, Tensor]]] = {
    "euler": _plan_euler,
    "heun": _plan_heun,
    "dpm++": _plan_dpm,
    "unipc": _plan_unipc,
    "ddim": _plan_ddim,
}
