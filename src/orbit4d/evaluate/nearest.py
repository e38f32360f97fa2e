"""The training clips that are nearest to a picture or to a whole orbit: what a model that only remembers would show.

A generated clip that is no nearer to the truth than the nearest training clip may have been remembered. Clips are compared
by the first four channels of their latents, which are premultiplied RGBA averaged over 8 x 8 pixels, on white; the best few
are then decoded and compared pixel by pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..cameras import Orbit
from ..clip import OrbitalClip
from ..data.latent_set import LatentStore
from ..errors import InputError
from .recognition_data import orbit_rows

SHORTLIST = 8
"""So many candidates are decoded."""


@dataclass(kw_only=True)
class Found:
    """A training orbit: its clip's key, kind and first caption, its start view, and its decoded frames (t, 4, h, w), straight."""

    key: str
    kind: str | None
    caption: str
    start: int
    frames: Tensor


class TrainingOrbits:
    """All whole orbits of a latent set, to be searched.

    Args: store and the autoencoder that made it; `frames` of an orbit: clips with another number are left out, and damped
    ones, of which the whole motion is there as well.
    Raises InputError where no orbit is left.
    """

    def __init__(self, store: LatentStore, autoencoder: Any, *, frames: int = 24) -> None:
        self.store, self.autoencoder = store, autoencoder
        self.orbits: list[tuple[int, int, list[int]]] = []
        parts = []
        for number in range(len(store)):
            clip = store[number]
            if clip.meta.get("damped") or len(clip.meta["times"]) != frames:
                continue
            white = self._coarse(clip.latents)
            for start, rows in orbit_rows(clip.pairs, frames).items():
                self.orbits.append((number, start, rows))
                parts.append(white[rows].half())
        if not parts:
            raise InputError(
                f"{store.source}: has no whole orbit of {frames} frames; expected the latents of a training set"
            )
        self.coarse = torch.stack(parts)
        """(n, frames, 3, s, s) fp16 on white."""

    def _coarse(self, latents: Tensor) -> Tensor:
        """(t, 3, s, s) averaged colours on white, from the four latent channels that hold them."""
        std, mean = (b[:4, None, None] for b in (self.autoencoder.latent_std, self.autoencoder.latent_mean))
        raw = latents[:, :4].float() * std + mean
        return raw[:, :3] + 1 - raw[:, 3:]

    def by_image(self, rgb: Tensor, alpha: Tensor) -> Found:
        """The orbit whose first frame is nearest to a picture: rgb (3, h, w), alpha (1, h, w), straight."""
        target = (rgb * alpha + 1 - alpha)[None]
        return self._search(target, self.coarse[:, :1], count=1)

    def by_orbit(self, clip: OrbitalClip) -> Found:
        """The orbit that is nearest to `clip` frame by frame, its first frame left out: no baseline could choose better."""
        return self._search(clip.on_background()[1:], self.coarse[:, 1:], count=len(clip))

    @torch.inference_mode()
    def _search(self, target: Tensor, candidates: Tensor, *, count: int) -> Found:
        side = candidates.shape[-1]
        small = functional.interpolate(target, size=(side, side), mode="area")
        errors = torch.stack([(c.float() - small).square().mean() for c in candidates])
        shortlist = []
        for number in errors.argsort()[:SHORTLIST].tolist():
            found = self.decoded(number, frames=count)
            shown = found.frames if count == 1 else found.frames[1:]
            white = shown[:, :3] * shown[:, 3:] + 1 - shown[:, 3:]
            shortlist.append((float((white - target).square().mean()), number, found))
        _, number, found = min(shortlist, key=lambda entry: entry[0])
        return found if count > 1 else self.decoded(number)

    @torch.inference_mode()
    def decoded(self, number: int, *, frames: int | None = None) -> Found:
        """Orbit `number` of `orbits`; its first `frames` frames, None: all."""
        from ..diffusion.autoencoder import decode_straight

        clip_number, start, rows = self.orbits[number]
        clip = self.store[clip_number]
        latents = clip.latents[rows[:frames]].float()
        parts = [torch.cat(decode_straight(self.autoencoder, part), dim=1) for part in latents.split(4)]
        return Found(
            key=clip.key,
            kind=clip.meta.get("kind"),
            caption=clip.captions[0] if clip.captions else "",
            start=start,
            frames=torch.cat(parts),
        )


def half_way_azimuth(step: int, *, frames: int = 24) -> float:
    """Degrees: half way between the training views `step` and `step` + 1 of an orbit, so that no frame of an orbit that
    starts there is seen from a trained view.
    """
    azimuths = Orbit(frames=frames).azimuths_deg
    return float(azimuths[step] + azimuths[step + 1]) / 2
