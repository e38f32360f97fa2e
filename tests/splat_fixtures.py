"""A synthetic moving object with known truth: coloured ellipsoids of small Gaussians, drawn by our own rasteriser."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from orbit4d.assets.glb_writer import pack_glb
from orbit4d.cameras import Cameras, Orbit
from orbit4d.clip import OrbitalClip
from orbit4d.splat.gaussians import SH_C0, Gaussians
from orbit4d.splat.rasterize import render

BODY_RADIUS = 0.22
ARM_LENGTH = 0.3


def object_at(time: float) -> Gaussians:
    """A ball and an arm that swings about the y axis by 50 degrees while time goes from 0 to 1."""
    generator = torch.Generator().manual_seed(7)
    direction = torch.nn.functional.normalize(torch.randn(500, 3, generator=generator), dim=-1)
    body = BODY_RADIUS * direction
    along = torch.rand(250, 1, generator=generator)
    around = torch.nn.functional.normalize(torch.randn(250, 2, generator=generator), dim=-1) * 0.05
    arm = torch.cat([0.18 + ARM_LENGTH * along, around], dim=1)
    angle = math.radians(50) * (time - 0.0)
    c, s = math.cos(angle), math.sin(angle)
    arm = arm @ torch.tensor([[c, 0, -s], [0, 1, 0], [s, 0, c]]).T
    stripes = (direction[:, 2:] > 0).float()
    body_color = stripes * torch.tensor([0.9, 0.2, 0.1]) + (1 - stripes) * torch.tensor([0.1, 0.3, 0.9])
    bands = (along * 4 % 2 > 1).float()
    arm_color = bands * torch.tensor([0.95, 0.8, 0.1]) + (1 - bands) * torch.tensor([0.1, 0.6, 0.2])
    means, colors = torch.cat([body, arm]), torch.cat([body_color, arm_color])
    n = len(means)
    return Gaussians(
        means=means,
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        log_scales=torch.full((n, 3), math.log(0.022)),
        logit_opacities=torch.full((n,), 3.0),
        sh=((colors - 0.5) / SH_C0)[:, None],
    )


def clip_of(cameras: Cameras, times: Tensor) -> OrbitalClip:
    """What `cameras` see of the object at `times`."""
    drawn = [render(object_at(float(t)), cameras[i : i + 1]) for i, t in enumerate(times)]
    rgb, alpha = torch.cat([d.rgb for d in drawn]), torch.cat([d.alpha for d in drawn])
    return OrbitalClip(
        rgb=(rgb / alpha.clamp_min(1e-4)).clamp(0, 1), alpha=alpha.clamp(0, 1), cameras=cameras, times=times
    )


def moving_orbit(size: int = 64, frames: int = 16) -> OrbitalClip:
    orbit = Orbit(frames=frames)
    return clip_of(orbit.cameras(size), orbit.times)


def static_orbit(size: int = 64, frames: int = 16) -> OrbitalClip:
    orbit = Orbit(frames=frames)
    return clip_of(orbit.cameras(size), torch.zeros(frames))


def front_view(size: int = 64, frames: int = 16) -> OrbitalClip:
    """A camera that stays at azimuth 0, where the swing of the arm is seen from the side."""
    orbit = Orbit(frames=frames)
    return clip_of(orbit.cameras(size)[torch.zeros(frames, dtype=torch.long)], orbit.times)


def computed_with(isa: str, expression: str, folder: Path) -> dict[str, Tensor]:
    """What `expression`, a dict of tensors, is in a process of its own whose core uses `isa`: the core chooses only once.

    The expression sees the names of the test modules. Skips where the processor has no such instructions.
    """
    script = (
        "import sys, torch; sys.path.insert(0, sys.argv[1]); from test_rasterize import *; from test_hexplane import *\n"
        f"torch.save({{'name': instruction_set(), 'result': {expression}}}, sys.argv[2])"
    )
    path = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-c", script, str(Path(__file__).parent), str(folder / "out.pt")]
    subprocess.run(command, check=True, env={**os.environ, "ORBIT4D_ISA": isa, "PYTHONPATH": path})
    out = torch.load(folder / "out.pt", weights_only=True)
    if out["name"] != isa:
        pytest.skip(f"this processor has no {isa}")
    return out["result"]


def changed_glb(source: Path, out: Path, change: Callable[[dict], object]) -> Path:
    """The file with its JSON changed by `change`, a function of the document."""
    data = source.read_bytes()
    size = int.from_bytes(data[12:16], "little")
    document = json.loads(data[20 : 20 + size])
    change(document)
    out.write_bytes(pack_glb(document, data[28 + size :]))
    return out
