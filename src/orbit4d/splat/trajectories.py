"""A path of its own for every Gaussian: the plainest deformation, kept to measure the others against."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .gaussians import Gaussians, Moved
from .hexplane import (
    PointMotion,
    check_whole,
    held_knots,
    one_time,
    quaternion_exp,
    quaternion_matrix,
    quaternion_multiply,
)


class Trajectories(nn.Module):
    """A `Deformation`: translations and rotations of `count` Gaussians at `knots` times, linear between them.

    Args:
        periodic: the motion repeats: time 1 is time 0 again. anchor_time: time at which nothing is displaced.
    """

    kind = "trajectories"

    def __init__(
        self, *, count: int, knots: int = 24, periodic: bool = False, anchor_time: float | None = None
    ) -> None:
        super().__init__()
        check_whole("count", count, least=1)
        check_whole("knots", knots, least=2)
        if anchor_time is not None and not 0 <= anchor_time <= 1:
            raise ValueError(f"anchor_time must lie in [0, 1], got {anchor_time!r}")
        self.knots, self.periodic, self.anchor_time = knots, periodic, anchor_time
        self.shifts = nn.Parameter(torch.zeros(count, knots, 3))
        self.turns = nn.Parameter(torch.zeros(count, knots, 3))

    def config(self) -> dict:
        """The constructor's arguments as JSON-ready values."""
        return {
            "count": len(self.shifts),
            "knots": self.knots,
            "periodic": self.periodic,
            "anchor_time": self.anchor_time,
        }

    def displacements(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Translations and rotation vectors, (v, n, 3) each, at `times` (v,)."""
        times = times.to(self.shifts)
        if self.anchor_time is not None:
            times = torch.cat([times, times.new_tensor([self.anchor_time])])
        at = times.clamp(0, 1) * (self.knots if self.periodic else self.knots - 1)
        lower = at.detach().floor().long().clamp(0, self.knots - (1 if self.periodic else 2))
        share = (at - lower)[:, None, None]
        upper = (lower + 1) % self.knots
        shift, turn = (
            torch.lerp(x[:, lower].transpose(0, 1), x[:, upper].transpose(0, 1), share)
            for x in (self.shifts, self.turns)
        )
        return (shift, turn) if self.anchor_time is None else (shift[:-1] - shift[-1:], turn[:-1] - turn[-1:])

    def motion(self, points: Tensor, times: Tensor) -> PointMotion:
        """How the Gaussians at canonical `points` (n, 3) move at `times` (v,)."""
        shift, turn = self.displacements(times)
        quats = quaternion_exp(turn)
        return PointMotion(positions=points + shift, quats=quats, rotations=quaternion_matrix(quats))

    def deform_batch(self, gaussians: Gaussians, times: Tensor, *, motion: PointMotion | None = None) -> Moved:
        """The Gaussians, as many as there are trajectories, at `times` (v,) in [0, 1]."""
        motion = self.motion(gaussians.means, times) if motion is None else motion
        quats = quaternion_multiply(motion.quats, functional.normalize(gaussians.quats, dim=-1))
        scales = gaussians.log_scales.expand_as(motion.positions)
        return Moved(**{**vars(gaussians), "means": motion.positions, "quats": quats, "log_scales": scales})

    @torch.no_grad()
    def hold_outside(self, middle: float, reach: float) -> None:
        """As `STHexPlane.hold_outside`: displacements further than `reach` from the time `middle` stay as they are there."""
        outside, source = held_knots(self.knots, middle, reach, periodic=self.periodic)
        for path in (self.shifts, self.turns):
            path[:, outside] = path[:, source]

    def __call__(self, gaussians: Gaussians, time: float | Tensor) -> Gaussians:
        """The Gaussians at `time`, a scalar in [0, 1]."""
        return super().__call__(gaussians, time)

    def forward(self, gaussians: Gaussians, time: float | Tensor) -> Gaussians:
        return self.deform_batch(gaussians, one_time(gaussians, time)).at(0)
