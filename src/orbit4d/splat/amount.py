"""The amount of a finished asset's motion: the same paths, wider or narrower, so that it moves as much as was asked for.

Displacements and turns of a deformation are linear in its last layer, so with a gain g there

    x(t) = x(t_0) + g d(x, t),    R(t) = exp(g r(x, t))

where t_0 is the deformation's anchor, the moment that the canonical Gaussians are. g = 0 stands still, g = 1 is the motion as it
was constructed; far above 1 limbs overshoot.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from .deform import ControlNodes
from .gaussians import Gaussians4D
from .hexplane import STHexPlane
from .trajectories import Trajectories

LARGEST_GAIN = 1.5
ROUNDS = 4


@dataclass(kw_only=True, frozen=True)
class MatchedMotion:
    """`asked`: m wanted. `constructed`, `reached`: m of the asset before and after. `gain`: what its motion was multiplied by."""

    asked: float
    constructed: float
    reached: float
    gain: float


def amplified(scene: Gaussians4D, gain: float) -> Gaussians4D:
    """A copy of `scene` whose motion is `gain` >= 0 times as wide around its anchor.

    Raises ValueError for a negative gain, and where the motion has no anchor (`can_be_amplified`).
    """
    if not gain >= 0:
        raise ValueError(f"gain must be 0 or more, got {gain}")
    if scene.deformation is None:
        return scene
    if not can_be_amplified(scene):
        raise ValueError("the motion has no anchor: no moment that others are displaced from")
    deformation = copy.deepcopy(scene.deformation)
    with torch.no_grad():
        match deformation:
            case Trajectories():
                deformation.shifts.mul_(gain)
                deformation.turns.mul_(gain)
            case ControlNodes():
                for field in (deformation.field, deformation.residual):
                    _widen(field, gain)
            case STHexPlane():
                _widen(deformation, gain)
    return Gaussians4D(canonical=scene.canonical, deformation=deformation)


def can_be_amplified(scene: Gaussians4D) -> bool:
    """Whether the motion is a displacement from one moment: not of imported keyframes, nor where construction had no anchor."""
    match scene.deformation:
        case ControlNodes():
            return scene.deformation.field.anchor_time is not None
        case STHexPlane() | Trajectories():
            return scene.deformation.anchor_time is not None
        case _:
            return False


@torch.no_grad()
def match_motion(
    scene: Gaussians4D, asked: float, *, magnitude: Callable[[Gaussians4D], float], largest_gain: float = LARGEST_GAIN
) -> tuple[Gaussians4D, MatchedMotion]:
    """`scene` with the gain in [0, `largest_gain`] that brings its motion magnitude closest to `asked`, and what was found.

    `magnitude` measures m of a scene (`evaluate.motion.scene_magnitude`). It grows about as the square of the gain; a few secant
    steps in logarithms find it. Raises ValueError where the motion has no anchor.
    """
    constructed = magnitude(scene)
    gain, reached = 1.0, constructed
    if asked <= 0 or constructed <= 0:
        gain, reached = (0.0, 0.0) if asked <= 0 else (1.0, constructed)
    else:
        for _ in range(ROUNDS):
            wanted = min(gain * (asked / reached) ** 0.5, largest_gain)
            if abs(wanted - gain) < 0.01 * gain:
                break
            gain, reached = wanted, max(magnitude(amplified(scene, wanted)), 1e-12)
    matched = amplified(scene, gain) if gain != 1 else scene
    return matched, MatchedMotion(asked=asked, constructed=constructed, reached=reached, gain=gain)


def _widen(field: STHexPlane | None, gain: float) -> None:
    for head in () if field is None else field.heads.values():
        assert isinstance(head, nn.Linear)
        head.weight.mul_(gain)
