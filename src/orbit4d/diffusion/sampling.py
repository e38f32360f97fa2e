"""Sampling a set of (view, time) pairs: what is asked for, what the network is told of it, and the guided steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm import tqdm

from ..cameras import Cameras, Orbit
from ..clip import OrbitalClip
from .autoencoder import RGBAAutoencoder, premultiply
from .denoiser import Conditions, Denoiser, token_rays
from .guidance import Guidance, guide
from .machine import chosen_dtype, moved
from .paths import clean_part
from .schedulers import Schedule
from .text import encode_text

SIZE = 128
OnStep = Callable[[int, int, Tensor], None]
"""Called after each step with its number (from 1), how many there are, and the clean latents (f, c, h, w) as estimated by it."""


@dataclass(kw_only=True)
class References:
    """Clean frames that the network is shown: latents (k, c, h, w), their k cameras, and times (k,)."""

    latents: Tensor
    cameras: Cameras
    times: Tensor

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, index: slice | list[int]) -> References:
        return References(latents=self.latents[index], cameras=self.cameras[index], times=self.times[index])

    def __add__(self, other: References | None) -> References:
        if other is None:
            return self
        return References(
            latents=torch.cat([self.latents, other.latents]),
            cameras=joined(self.cameras, other.cameras),
            times=torch.cat([self.times, other.times]),
        )

    def of_one_moment(self) -> References:
        """Those of the earliest time: what a network with its temporal gate closed can make sense of."""
        first = self.times.min()
        return self[(self.times <= first + 1e-4).nonzero()[:, 0].tolist()]


@dataclass(kw_only=True)
class Branch:
    """One question to the network: the conditions of the reference frames and of the frames to sample, in this order."""

    conditions: Conditions
    references: References | None


def encode_references(autoencoder: RGBAAutoencoder, clip: OrbitalClip) -> References:
    """The frames of `clip`, square and of any size, as references."""
    clip = clip.resized(SIZE)
    return References(
        latents=autoencoder.encode(premultiply(clip.rgb, clip.alpha)),
        cameras=clip.cameras.resized(SIZE, SIZE),
        times=clip.times,
    )


def make_branch(
    denoiser: Denoiser,
    cameras: Cameras,
    times: Tensor,
    *,
    prompt: str | None = None,
    motion: Tensor | None = None,
    references: References | None = None,
    still: Callable[[Cameras], Tensor] | None = None,
    static: bool = False,
) -> Branch:
    """The question for frames at these cameras and times (f,).

    `still` gives latents (f', c, h, w) of a static 3D condition for any f' cameras. `motion` is (1,) standardised log m.
    `static` closes the temporal gate: without motion, all times 0, and of the references only those of one moment.
    """
    if static:
        times, motion = torch.zeros_like(times), None
        references = None if references is None else references.of_one_moment()
    shown = 0
    if references is not None:
        shown, cameras = len(references), joined(references.cameras, cameras)
        times = torch.cat([torch.zeros(shown) if static else references.times, times])
    text, mask = encode_text([prompt or ""])
    conditions = Conditions(
        plucker=token_rays(cameras, denoiser.grid)[None],
        times=times[None],
        text=text,
        text_mask=mask,
        motion=motion,
        static_latents=None if still is None else still(cameras)[None],
        reference=(torch.arange(len(times)) < shown)[None],
        static_mode=torch.tensor([static]),
    )
    return Branch(conditions=conditions, references=references)


def predict(denoiser: Denoiser, x: Tensor, t: float, branch: Branch) -> Tensor:
    """The network's output (1, f, c, h, w) for frames x at one noise level; references ride along clean and are dropped.

    The network may be on another device than x: what it is told is taken there, and the output back.
    """
    levels = torch.full((1, x.shape[1]), t)
    given, shown = x, 0
    if branch.references is not None:
        shown = len(branch.references)
        given = torch.cat([branch.references.latents[None], x], dim=1)
        levels = torch.cat([torch.zeros(1, shown), levels], dim=1)
    device = denoiser.device
    dtype = chosen_dtype("auto", device)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        output = denoiser(given.to(device), levels.to(device), moved(branch.conditions, device))
    output = output.float().to(x.device)
    return output[:, shown:]


def sample(
    denoiser: Denoiser,
    schedule: Schedule,
    noise: Tensor,
    *,
    conditional: Branch,
    null: Branch,
    frozen: Branch | None,
    motionless: Branch | None = None,
    guidance: Guidance,
    progress: bool = False,
    on_step: OnStep | None = None,
) -> Tensor:
    """Clean latents (1, f, c, h, w) from `noise` of that shape, along a planned `schedule`.

    `frozen` is the conditional question with the temporal gate closed, `motionless` the one without a motion magnitude; None
    leaves their terms out. `on_step` sees every step; see `OnStep`.
    """
    x, correction = noise, None
    for i, level in enumerate(tqdm(schedule.levels, desc="sample", disable=not progress, unit="step")):
        t, given = float(level), schedule.network_input(x, i)
        e = predict(denoiser, given, t, conditional)
        if guidance.active(t):
            if correction is None or i % guidance.every == 0:
                # A branch that is left out stands for itself: its term is 0.
                asked = (
                    (null, guidance.scale != 1),
                    (frozen, guidance.weight_3d),
                    (motionless, guidance.weight_motion),
                )
                e_null, e_3d, e_motionless = (
                    predict(denoiser, given, t, branch) if branch is not None and weight else e
                    for branch, weight in asked
                )
                guided = guide(
                    e,
                    e_null,
                    e_3d,
                    guidance_scale=guidance.scale,
                    guidance_3d=guidance.weight_3d,
                    guidance_motion=guidance.weight_motion,
                    motionless=e_motionless,
                )
                correction = guided - e
            e = e + correction
        x = schedule.step(e, i, x)
        if on_step is not None:
            on_step(i + 1, len(schedule.levels), clean_part(schedule.prediction, e, given, t)[0])
    return x


def phase_shifted(orbit: Orbit, count: int) -> tuple[Cameras, Tensor]:
    """Cameras and times of `count` orbits, one after the other, of which the k-th starts 360 k / count degrees later."""
    paths = [replace(orbit, azimuth_start_deg=orbit.azimuth_start_deg + 360 * k / count) for k in range(count)]
    return joined(*(path.cameras(SIZE) for path in paths)), orbit.times.repeat(count)


def view_time_grid(orbit: Orbit, views: int, times: int) -> tuple[Cameras, Tensor]:
    """Cameras and times of all pairs of `views` directions, evenly around, and `times` moments in [0, 1]; times run first."""
    path = replace(orbit, frames=views + 1).cameras(SIZE)[:-1]
    rows = torch.arange(views).repeat_interleave(times)
    moments = torch.linspace(0, 1, times) if times > 1 else torch.zeros(1)
    return path[rows], moments.repeat(views)


def joined(*cameras: Cameras) -> Cameras:
    """All cameras, which are for one image size, in one batch."""
    return replace(
        cameras[0],
        camera_to_world=torch.cat([c.camera_to_world for c in cameras]),
        intrinsics=torch.cat([c.intrinsics for c in cameras]),
    )
