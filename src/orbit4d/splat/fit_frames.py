"""The training frames of a construction: every clip at one size, cropped to the object, ready to be drawn at random."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from ..cameras import Cameras
from ..clip import OrbitalClip, SpatioTemporalFeatures
from ..errors import InputError
from .lift import check_features, standardized

CROP_MARGIN = 8
"""Pixels of empty background kept around the object, so that Gaussians that leave it are still seen and punished."""
CROP_MULTIPLE = 16
LOOP_OVERLAP = 0.97
LOOP_DIFFERENCE = 0.04
"""Silhouettes' intersection over union, and relative colour error, of a loop's first and last frame."""


@dataclass(kw_only=True)
class Frames:
    """f frames: premultiplied rgb (f, 3, h, w), alpha (f, 1, h, w), cameras, times (f,) and the clip each came from (f,)."""

    premultiplied: Tensor
    alpha: Tensor
    cameras: Cameras
    times: Tensor
    clip: Tensor

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, index: Tensor) -> Frames:
        return Frames(
            premultiplied=self.premultiplied[index],
            alpha=self.alpha[index],
            cameras=self.cameras[index],
            times=self.times[index],
            clip=self.clip[index],
        )

    def to(self, device: torch.device) -> Frames:
        """The same on `device`."""
        return Frames(**{name: value.to(device) for name, value in vars(self).items()})

    def halved(self) -> Frames:
        """The same frames at half the size; a last odd row or column is dropped."""
        width, height = self.cameras.width // 2, self.cameras.height // 2
        cameras = replace(self.cameras, width=2 * width, height=2 * height).resized(width, height)
        return replace(
            self,
            premultiplied=functional.avg_pool2d(self.premultiplied, 2),
            alpha=functional.avg_pool2d(self.alpha, 2),
            cameras=cameras,
        )


def check_clips(clips: list[OrbitalClip]) -> None:
    """Raise InputError for clips that cannot be constructed from."""
    if not clips:
        raise InputError("clips: expected at least one clip, got none")
    for i, clip in enumerate(clips):
        for name in ("rgb", "alpha", "times"):
            if not torch.isfinite(getattr(clip, name)).all():
                raise InputError(f"clip {i}: {name} holds NaN or infinity; render or generate it again")
        if float(clip.times.min()) < 0 or float(clip.times.max()) > 1:
            raise InputError(
                f"clip {i}: times must lie in [0, 1], got {float(clip.times.min())}..{float(clip.times.max())}"
            )


def gather_frames(clips: list[OrbitalClip], *, size: int) -> Frames:
    """All frames of `clips` at `size` pixels on the larger side, cropped to what all silhouettes together cover."""
    clips = [clip.resized(size) for clip in clips]
    shapes = {tuple(clip.rgb.shape[-2:]) for clip in clips}
    if len(shapes) > 1:
        raise InputError(f"clips: all clips must have one aspect ratio, got sizes {sorted(shapes)}")
    cameras = Cameras(
        camera_to_world=torch.cat([clip.cameras.camera_to_world for clip in clips]),
        intrinsics=torch.cat([clip.cameras.intrinsics for clip in clips]),
        width=clips[0].cameras.width,
        height=clips[0].cameras.height,
    )
    frames = Frames(
        premultiplied=torch.cat([clip.rgb * clip.alpha for clip in clips]),
        alpha=torch.cat([clip.alpha for clip in clips]),
        cameras=cameras,
        times=torch.cat([clip.times for clip in clips]).float(),
        clip=torch.cat([torch.full((len(clip),), i) for i, clip in enumerate(clips)]),
    )
    return _cropped(frames)


def gather_features(clips: list[OrbitalClip]) -> SpatioTemporalFeatures | None:
    """The diffusion features of all clips that have them, standardised a channel; None where none has."""
    parts = [clip.features for clip in clips if clip.features is not None]
    if not parts:
        return None
    for part in parts:
        check_features(part)
    shapes = {(tuple(p.z_s.shape[1:]), tuple(p.z_t.shape[1:])) for p in parts}
    if len(shapes) > 1:
        raise InputError(f"features: all clips' maps must have one shape, got {sorted(shapes)}")
    first = parts[0].cameras
    return SpatioTemporalFeatures(
        z_s=standardized(torch.cat([p.z_s for p in parts]).float()),
        z_t=standardized(torch.cat([p.z_t for p in parts]).float()),
        cameras=Cameras(
            camera_to_world=torch.cat([p.cameras.camera_to_world for p in parts]),
            intrinsics=torch.cat([p.cameras.resized(first.width, first.height).intrinsics for p in parts]),
            width=first.width,
            height=first.height,
        ),
        times=torch.cat([p.times for p in parts]).float(),
    )


def loops(frames: Frames) -> bool:
    """True where every camera that sees both time 0 and time 1 sees the same, and there is such a camera.

    Frames may differ by light (one gain a clip) and by antialiasing, not by shape.
    """
    first, last = (frames.times < 1e-4).nonzero()[:, 0], (frames.times > 1 - 1e-4).nonzero()[:, 0]
    found = False
    for i in first.tolist():
        for j in last.tolist():
            poses = frames.cameras.camera_to_world[[i, j]]
            if float((poses[0] - poses[1]).abs().max()) > 1e-3:
                continue
            a, b = frames.alpha[i] > 0.5, frames.alpha[j] > 0.5
            both = (a & b).float()
            if float(both.sum()) < LOOP_OVERLAP * float((a | b).float().sum()):
                return False
            one, other = frames.premultiplied[i] * both, frames.premultiplied[j] * both
            gain = float((one * other).sum() / other.square().sum().clamp_min(1e-6))
            error = float((one - gain * other).abs().sum() / one.abs().sum().clamp_min(1e-6))
            if error > LOOP_DIFFERENCE:
                return False
            found = True
    return found


def _cropped(frames: Frames) -> Frames:
    """One common crop: rendering and losses cost by the pixel, and most of an orbit's pixels are empty."""
    covered = frames.alpha.amax(dim=(0, 1)) > 0
    rows, columns = covered.any(dim=1).nonzero()[:, 0], covered.any(dim=0).nonzero()[:, 0]
    if len(rows) == 0:
        raise InputError("clips: alpha is empty in every frame; the object must be cut out of its background")
    top, bottom = _span(int(rows[0]), int(rows[-1]) + 1, frames.cameras.height)
    left, right = _span(int(columns[0]), int(columns[-1]) + 1, frames.cameras.width)
    intrinsics = frames.cameras.intrinsics.clone()
    intrinsics[:, 0, 2] -= left
    intrinsics[:, 1, 2] -= top
    return replace(
        frames,
        premultiplied=frames.premultiplied[..., top:bottom, left:right].contiguous(),
        alpha=frames.alpha[..., top:bottom, left:right].contiguous(),
        cameras=Cameras(
            camera_to_world=frames.cameras.camera_to_world,
            intrinsics=intrinsics,
            width=right - left,
            height=bottom - top,
        ),
    )


def _span(first: int, last: int, limit: int) -> tuple[int, int]:
    """[first, last) with a margin, grown to a multiple of the rasteriser's tile where the image allows."""
    first, last = max(first - CROP_MARGIN, 0), min(last + CROP_MARGIN, limit)
    length = min(-(-(last - first) // CROP_MULTIPLE) * CROP_MULTIPLE, limit)
    first = min(max(first - (length - (last - first)) // 2, 0), limit - length)
    return first, first + length
