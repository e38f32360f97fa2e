"""Shared fixtures: third-party data (skipped when absent) and small clips made on the spot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from orbit4d.cameras import Cameras, Orbit
from orbit4d.clip import OrbitalClip

# No timed assertions: a loaded machine must not fail a test.
settings.register_profile("orbit4d", deadline=None)
settings.load_profile("orbit4d")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with third-party test data: $ORBIT4D_DATA, or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("ORBIT4D_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"third-party data not found: set ORBIT4D_DATA (looked at {folder})")
    return folder


@pytest.fixture(scope="session")
def elk_dir(data_dir: Path) -> Path:
    """Diffusion4D's sample renders."""
    folder = data_dir / "elk"
    if not folder.is_dir():
        pytest.skip(f"no elk renders in {data_dir}")
    return folder


def sphere_clip(*, frames: int = 8, size: int = 32, radius: float = 0.45, moving: bool = True) -> OrbitalClip:
    """An orbit around a ball, coloured by direction, that rises by 0.2 when `moving`; drawn by ray intersection."""
    orbit = Orbit(frames=frames)
    cameras = orbit.cameras(size)
    rgb, alpha = draw_ball(cameras, orbit.times * 0.2 * moving, radius=radius)
    return OrbitalClip(rgb=rgb, alpha=alpha, cameras=cameras, times=orbit.times, caption="a ball")


def draw_ball(cameras: Cameras, heights: torch.Tensor, *, radius: float) -> tuple[torch.Tensor, torch.Tensor]:
    """rgb (t, 3, h, w) and binary alpha (t, 1, h, w) of balls at (0, 0, height), one height a camera."""
    directions, origins = cameras.rays(cameras.height, cameras.width)
    centres = torch.zeros(len(cameras), 1, 1, 3)
    centres[..., 2] = heights[:, None, None]
    offset = origins - centres
    b = (directions * offset).sum(-1)
    discriminant = b.square() - offset.square().sum(-1) + radius**2
    hit = discriminant > 0
    surface = offset + directions * (-b - discriminant.clamp_min(0).sqrt())[..., None]
    rgb = (surface / radius * 0.4 + 0.5).clamp(0, 1) * hit[..., None]
    return rgb.permute(0, 3, 1, 2), hit[:, None].float()


@pytest.fixture
def ball_clip() -> OrbitalClip:
    """A small moving clip."""
    return sphere_clip()
