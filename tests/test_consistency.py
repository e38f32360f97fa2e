"""Consistency figures where the answer is known: exact motion costs nothing, and each artefact is seen by its own figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import draw_ball, sphere_clip

from orbit4d.cameras import Cameras, Orbit
from orbit4d.clip import OrbitalClip
from orbit4d.errors import InputError
from orbit4d.evaluate.consistency import (
    SurfaceMotion,
    _held_out,
    scene_drift,
    scene_motion,
    scene_time_consistency,
    still_drift,
    still_pixels,
    view_consistency,
    warp_error,
)
from orbit4d.evaluate.evaluate import render_scene
from orbit4d.splat.gaussians import Gaussians, Gaussians4D
from orbit4d.splat.trajectories import Trajectories


def ball(
    *, frames: int = 8, size: int = 96, front: bool = False, rise: float = 0.2
) -> tuple[OrbitalClip, SurfaceMotion]:
    """The rising ball of conftest, whose colours move with it, with its depth and scene flow from the formula."""
    orbit = Orbit(frames=frames)
    cameras = orbit.cameras(size)[[0] * frames] if front else orbit.cameras(size)
    radius, heights = 0.45, orbit.times * rise
    rgb, alpha = draw_ball(cameras, heights, radius=radius)
    clip = OrbitalClip(rgb=rgb, alpha=alpha, cameras=cameras, times=orbit.times)
    directions, origins = cameras.rays(size, size)
    centres = torch.zeros(frames, 1, 1, 3)
    centres[..., 2] = heights[:, None, None]
    b = (directions * (origins - centres)).sum(-1)
    inside = (b.square() - (origins - centres).square().sum(-1) + radius**2).clamp_min(0)
    along = (directions * cameras.camera_to_world[:, None, None, :3, 2]).sum(-1)
    depth = ((-b - inside.sqrt()) * along)[:, None] * alpha
    flow = torch.zeros(frames, 3, size, size)
    flow[:-1, 2] = (heights[1:] - heights[:-1])[:, None, None]
    return clip, SurfaceMotion(depth=depth, flow=flow * alpha, cameras=cameras)


@pytest.mark.parametrize("front", [True, False])
def test_a_surface_that_carries_its_colours_has_no_warp_error(front: bool) -> None:
    """With a still camera and with one that circles: the flow holds the object's motion, the cameras their own."""
    clip, motion = ball(front=front)
    error = warp_error(clip.on_background(), clip.alpha, motion)
    assert error["mean_absolute"] is not None and error["unwarped"] is not None and error["covered"] is not None
    assert error["mean_absolute"] < 0.003
    assert error["unwarped"] > 5 * error["mean_absolute"]
    assert error["covered"] > (0.8 if front else 0.3)


def test_what_is_seen_to_move_wrongly_is_an_error() -> None:
    clip, motion = ball(front=True)
    truth = warp_error(clip.on_background(), clip.alpha, motion)["mean_absolute"]
    still = replace(motion, flow=torch.zeros_like(motion.flow))
    wrong = warp_error(clip.on_background(), clip.alpha, still)["mean_absolute"]
    flicker = clip.on_background() + 0.1 * (torch.arange(8) % 2)[:, None, None, None]
    flickering = warp_error(flicker, clip.alpha, motion)["mean_absolute"]
    assert truth is not None and wrong is not None and flickering is not None
    assert wrong > 4 * truth
    assert flickering == pytest.approx(0.1, abs=0.01)


def test_hidden_points_do_not_count() -> None:
    """A near plate passes over a far wall: the wall's pixels that it hides in the next frame are left out."""
    size, depths = 32, torch.full((2, 1, 32, 32), 3.0)
    cameras = Orbit(frames=2).cameras(size)[[0, 0]]
    frames = torch.full((2, 3, size, size), 0.2)
    depths[0, :, :, 4:10], depths[1, :, :, 16:22] = 1.0, 1.0
    frames[0, :, :, 4:10], frames[1, :, :, 16:22] = 0.9, 0.9
    flow = torch.zeros(2, 3, size, size)
    flow[0, 0, :, 4:10] = 12 / float(cameras.intrinsics[0, 0, 0])  # 12 pixels to the right at depth 1
    motion = SurfaceMotion(depth=depths, flow=flow, cameras=cameras)
    error = warp_error(frames, torch.ones(2, 1, size, size), motion)
    assert error["mean_absolute"] == pytest.approx(0, abs=1e-4)
    assert error["covered"] == pytest.approx((32 - 6) / 32, abs=0.04)


def test_nothing_followed_is_no_figure() -> None:
    clip, motion = ball(front=True)
    away = replace(motion, flow=motion.flow + 50)
    assert warp_error(clip.on_background(), clip.alpha, away) == {
        "mean_absolute": None,
        "psnr": None,
        "unwarped": None,
        "covered": 0.0,
    }


def test_a_scenes_own_motion() -> None:
    """Gaussians that rise by a known height: their flow is that height's share, and their renders follow it."""
    scene, orbit = cloud(0.3), Orbit(frames=7)
    cameras = orbit.cameras(64)[[0] * 7]
    motion = scene_motion(scene, cameras, orbit.times)
    seen = motion.depth[0, 0] > 0
    assert seen.float().mean() > 0.02
    expected = torch.tensor([0, 0, 0.3 / 6])[:, None].expand(3, int(seen.sum()))
    torch.testing.assert_close(motion.flow[0][:, seen], expected, atol=1e-4, rtol=1e-3)
    assert motion.flow[-1].abs().max() == 0
    error = scene_time_consistency(scene, cameras, orbit.times)
    assert error["mean_absolute"] < 0.03
    assert error["unwarped"] > 3 * error["mean_absolute"]


def cloud(height: float = 0.3) -> Gaussians4D:
    """A solid ball of 800 Gaussians with a smooth texture, that rises by `height`."""
    directions = torch.nn.functional.normalize(torch.randn(800, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    canonical = Gaussians(
        means=0.3 * directions,
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(800, 1),
        log_scales=torch.full((800, 3), -3.2),
        logit_opacities=torch.full((800,), 4.0),
        sh=0.8 * torch.sin(6 * directions)[:, None],
    )
    deformation = Trajectories(count=800, knots=2)
    deformation.shifts.data[:, 1, 2] = height
    return Gaussians4D(canonical=canonical, deformation=deformation.requires_grad_(False))


class Blinking:
    """A deformation that moves nothing, and lets everything fade and return."""

    kind = "blinking"

    def config(self) -> dict:
        return {}

    def state_dict(self) -> dict:
        return {}

    def __call__(self, gaussians, time):
        sh = gaussians.sh.clone()
        sh[:, 0] -= 0.6 * (round(float(time) * 6) % 2)
        return replace(gaussians, sh=sh)


def test_flicker_does_not_pass_for_motion() -> None:
    """Colours that blink change as many pixels as a motion does; the warp error and the drift tell them apart."""
    orbit, canonical = Orbit(frames=7), cloud().canonical
    cameras = orbit.cameras(64)[[0] * 7]
    blinking, frozen = Gaussians4D(canonical=canonical, deformation=Blinking()), Gaussians4D(canonical=canonical)  # type: ignore[arg-type]
    moving = scene_time_consistency(cloud(0.3), cameras, orbit.times)["mean_absolute"]
    assert scene_time_consistency(blinking, cameras, orbit.times)["mean_absolute"] > 3 * moving
    drift = scene_drift(blinking, cameras, orbit.times)
    assert drift["flicker"] > 0.05
    assert drift["flicker"] > drift["drift"]  # it returns every other frame
    assert scene_drift(frozen, cameras, orbit.times) | {"pixels": 0} == {"drift": 0, "flicker": 0, "pixels": 0}


def test_drift_counts_where_the_truth_is_still() -> None:
    frames = torch.full((4, 3, 8, 8), 0.5)
    alpha = torch.zeros(4, 1, 8, 8)
    alpha[:, :, 2:6] = 1
    frames[:, :, 2:4] += torch.arange(4).view(4, 1, 1, 1) * 0.1  # these rows move
    still = still_pixels(frames, alpha)
    assert still[4:6].all()
    assert int(still.sum()) == 16
    made = frames.clone()
    made[:, :, 4:6] += torch.tensor([0, 0.1, 0.2, 0.3]).view(4, 1, 1, 1)
    assert still_drift(made, still) == {"drift": pytest.approx(0.2), "flicker": pytest.approx(0.1), "pixels": 0.25}
    assert still_drift(made, torch.zeros(8, 8, dtype=torch.bool))["drift"] is None


def test_views_of_two_objects_are_less_consistent_than_of_one() -> None:
    """Held-out views of a ball, and of a ball whose colours change from view to view."""
    clip = sphere_clip(frames=16, size=32)
    shuffled = replace(clip, rgb=torch.stack([x.roll(i, 0) for i, x in enumerate(clip.rgb)]))
    options: dict[str, Any] = {"every": 4, "steps": 60, "size": 32}
    good, scene = view_consistency(clip, **options)
    bad, _ = view_consistency(shuffled, **options)
    assert good["held_out_frames"] == 3
    assert good["fitted_frames"] == 13
    assert good["held_out_foreground_psnr"] > bad["held_out_foreground_psnr"] + 3
    held = clip[[3, 7, 11]]
    frames, _ = render_scene(scene, held.cameras, held.times)
    assert frames.shape == held.rgb.shape


def test_the_renderers_true_flow_is_the_scale(tmp_path: Path) -> None:
    """A toy rendered with depth and scene flow: following it leaves less than a third of the change."""
    from orbit4d.assets.toybox import make_toy
    from orbit4d.data.render import render_clip

    asset = tmp_path / "toy.glb"
    asset.write_bytes(make_toy(0, kind="fish", motion="swim").glb)
    clip = render_clip(asset, trajectory="front", frames=12, size=128, outputs=("flow",))
    assert clip.depth is not None and clip.flow is not None
    motion = SurfaceMotion(depth=clip.depth, flow=clip.flow, cameras=clip.cameras)
    error = warp_error(clip.on_background(), clip.alpha, motion)
    assert error["covered"] is not None and error["mean_absolute"] is not None and error["unwarped"] is not None
    assert error["covered"] > 0.7
    assert error["mean_absolute"] < error["unwarped"] / 3


def test_bad_input() -> None:
    clip = sphere_clip(frames=6)
    with pytest.raises(InputError, match="needs 8 frames"):
        view_consistency(clip)
    with pytest.raises(InputError, match="every and steps"):
        view_consistency(clip, every=1)
    _, motion = ball(frames=4, size=32)
    with pytest.raises(ValueError, match="frames and alpha"):
        warp_error(torch.zeros(3, 3, 32, 32), torch.zeros(3, 1, 32, 32), motion)
    with pytest.raises(ValueError, match="depth must have shape"):
        SurfaceMotion(depth=torch.zeros(4, 1, 8, 8), flow=motion.flow, cameras=motion.cameras)
    with pytest.raises(ValueError, match="cameras must be 4"):
        SurfaceMotion(depth=motion.depth, flow=motion.flow, cameras=motion.cameras[:2])
    with pytest.raises(ValueError, match="truth must have"):
        cameras: Cameras = Orbit(frames=3).cameras(32)
        scene_drift(cloud(), cameras, Orbit(frames=3).times, truth=clip)


def test_no_moment_is_held_out_of_all_orbits() -> None:
    one = Orbit(frames=24).times.tolist()
    assert _held_out(one, 4) == list(range(3, 23, 4))
    two = [i % 24 for i in _held_out(one * 2, 4)]
    assert len(two) > 10 and len(set(two)) == len(two)
    assert _held_out([0.0] * 24, 4) == list(range(3, 23, 4)), "a static orbit is one orbit"
