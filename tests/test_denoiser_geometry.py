"""Geometry inside the denoiser: cameras recovered from rays, attention that sees only relative poses, the lifted volume."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from orbit4d.cameras import Cameras, Orbit, look_at_origin
from orbit4d.diffusion import layers
from orbit4d.diffusion.denoiser import Conditions, Denoiser, token_rays
from orbit4d.diffusion.geometry import camera_frames, ray_frames
from orbit4d.diffusion.lift import Lift

TINY: dict[str, Any] = {
    "latent_channels": 4,
    "latent_size": 8,
    "spatial_width": 32,
    "temporal_width": 16,
    "depth": 2,
    "spatial_heads": 2,
    "temporal_heads": 2,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "camera": {"relative": "camera"},
    "camera, no rays": {"relative": "camera", "rays": False},
    "ray": {"relative": "ray"},
    "ray, no rays": {"relative": "ray", "rays": False},
    "lift": {"lift": 6, "lift_blocks": (1,)},
}


def tiny(**changes: Any) -> Denoiser:
    """A small denoiser whose zero-initialised layers are randomised, so that nothing is trivially constant."""
    torch.manual_seed(0)
    settings: dict[str, Any] = TINY | changes
    model = Denoiser(**settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def tilted(frames: int = 5) -> Cameras:
    """Cameras of different azimuths, elevations and distances."""
    azimuth, elevation = torch.linspace(10, 300, frames), torch.linspace(-20, 50, frames)
    pose = look_at_origin(azimuth, elevation, torch.linspace(1.6, 2.4, frames))
    orbit = Orbit(frames=frames).cameras(64)
    return replace(orbit, camera_to_world=pose)


def conditions(cameras: Cameras, **changes) -> Conditions:
    torch.manual_seed(1)
    f = len(cameras)
    base = Conditions(
        plucker=token_rays(cameras, 4)[None].expand(2, -1, -1, -1, -1),
        times=torch.linspace(0, 1, f)[None].expand(2, -1),
        text=torch.randn(2, 3, 384),
        text_mask=torch.tensor([[True, True, False]] * 2),
        motion=torch.zeros(2),
    )
    return replace(base, **changes)


def moved(cameras: Cameras) -> Cameras:
    """The same cameras after the whole world was turned and shifted."""
    torch.manual_seed(3)
    rotation = torch.linalg.qr(torch.randn(3, 3)).Q
    motion = torch.eye(4)
    motion[:3, :3] = rotation * rotation.det()
    motion[:3, 3] = torch.tensor([0.3, -0.5, 0.2])
    return replace(cameras, camera_to_world=motion @ cameras.camera_to_world)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    return torch.randn(2, 5, 4, 8, 8), torch.full((2, 5), 0.6)


def test_cameras_come_back_from_their_rays():
    cameras = moved(tilted())
    pose, focal = camera_frames(token_rays(cameras, 8))
    torch.testing.assert_close(pose, cameras.world_to_camera, rtol=1e-4, atol=1e-4)
    expected = 2 * cameras.intrinsics[:, [0, 1], [0, 1]] / 64
    torch.testing.assert_close(focal, expected, rtol=1e-4, atol=1e-4)


def test_ray_frames_look_along_their_rays():
    cameras = tilted()
    rays = token_rays(cameras, 4)
    frames = ray_frames(rays, cameras.world_to_camera)
    rotation = frames[..., :3, :3]
    torch.testing.assert_close(
        rotation @ rotation.transpose(-1, -2), torch.eye(3).expand_as(rotation), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(rotation[..., 2, :], rays[..., :3], rtol=0, atol=1e-5)
    centre = frames[..., :3, :3] @ cameras.positions[:, None, None, :, None] + frames[..., :3, 3:]
    assert centre.abs().max() < 1e-5


@pytest.mark.parametrize("relative", ["camera", "ray"])
def test_without_rays_only_relative_poses_matter(batch, relative):
    """Turning and moving the whole world changes nothing; moving one camera does."""
    model, (x, t) = tiny(relative=relative, rays=False), batch
    cameras = tilted()
    out = model(x, t, conditions(cameras))
    torch.testing.assert_close(model(x, t, conditions(moved(cameras))), out, rtol=1e-3, atol=1e-3)
    pose = cameras.camera_to_world.clone()
    pose[1] = moved(cameras).camera_to_world[1]
    assert (model(x, t, conditions(replace(cameras, camera_to_world=pose))) - out).abs().max() > 1e-2


def test_with_rays_the_world_matters(batch):
    model, (x, t) = tiny(relative="camera"), batch
    assert (model(x, t, conditions(tilted())) - model(x, t, conditions(moved(tilted())))).abs().max() > 1e-2


@pytest.mark.parametrize("variant", VARIANTS)
def test_spatial_stream_never_reads_the_temporal_one(batch, variant):
    model, (x, t) = tiny(**VARIANTS[variant]), batch
    z_s, z_t, *_ = model.streams(x, t, conditions(tilted()))
    temporal = list(model.temporal.parameters()) + list(model.motion.parameters())
    gradients = torch.autograd.grad(z_s.square().sum(), temporal, allow_unused=True, retain_graph=True)
    assert all(g is None for g in gradients)
    assert z_t is not None
    spatial = torch.autograd.grad(z_t.square().sum(), list(model.spatial.blocks.parameters()), allow_unused=True)
    assert any(g is not None and g.abs().sum() > 0 for g in spatial)


@pytest.mark.parametrize("variant", VARIANTS)
def test_static_mode_ignores_time_and_motion(batch, variant):
    model, (x, t) = tiny(**VARIANTS[variant]), batch
    closed, cameras = torch.ones(2, dtype=torch.bool), tilted()
    a = model(x, t, conditions(cameras, static_mode=closed))
    other = {"times": torch.rand(2, 5), "motion": torch.tensor([2.0, -1.0])}
    assert torch.equal(a, model(x, t, conditions(cameras, static_mode=closed, **other)))
    assert (a - model(x, t, conditions(cameras))).abs().max() > 1e-3


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_gets_a_gradient(batch, variant):
    model, (x, t) = tiny(**VARIANTS[variant]), batch
    static = {"static_latents": torch.randn_like(x), "motion": torch.tensor([0.5, -0.5])}
    model(x, t, conditions(tilted(), **static)).square().mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_frames_are_a_set(batch, variant):
    model, (x, t) = tiny(**VARIANTS[variant]), batch
    order = torch.tensor([4, 2, 0, 1, 3])
    c = conditions(tilted())
    shuffled = model(x[:, order], t[:, order], replace(c, plucker=c.plucker[:, order], times=c.times[:, order]))
    torch.testing.assert_close(shuffled, model(x, t, c)[:, order], rtol=1e-3, atol=1e-4)


def test_grid_masks_hold_in_the_volume():
    """On a 2 x 2 grid the spatial stream sees only frames of its own time, through the volume too."""
    model = tiny(**VARIANTS["lift"])
    ids = {"view_ids": torch.tensor([[0, 1, 0, 1]] * 2), "time_ids": torch.tensor([[0, 0, 1, 1]] * 2)}
    c = conditions(tilted(4), **ids)
    x, t = torch.randn(2, 4, 4, 8, 8), torch.full((2, 4), 0.5)
    changed = x.clone()
    changed[:, 2:] += 1
    before, after = model.streams(x, t, c)[0], model.streams(changed, t, c)[0]
    torch.testing.assert_close(before[:, :2], after[:, :2])
    assert (before[:, 2:] - after[:, 2:]).abs().max() > 1e-3


def test_volume_is_where_the_cameras_see_it():
    """Voxels project to the pixels that `Cameras.project` names, and samples lie on the rays inside the cube's reach."""
    cameras, lift = tilted(3), Lift(8, channels=2, side=4, samples=6)
    rays = token_rays(cameras, 4)[None]
    pixels, samples = lift.points(rays)
    axis = (torch.arange(4) + 0.5) / 2 - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    expected, _ = cameras.project(lift.extent * torch.stack([x, y, z], dim=-1).flatten(0, 2))
    torch.testing.assert_close(pixels[0], expected / 32 - 1, rtol=1e-3, atol=1e-3)
    points = samples[0] * lift.extent
    d, moment = rays[0].flatten(1, 2).split(3, dim=-1)
    on_ray = torch.cross(points, d[:, :, None].expand_as(points), dim=-1)
    torch.testing.assert_close(on_ray, moment[:, :, None].expand_as(points), rtol=1e-3, atol=1e-4)


def test_a_new_volume_changes_nothing(batch):
    """Zero-initialised: the model with a volume starts as the model without."""
    torch.manual_seed(0)
    model, (x, t) = Denoiser(**(TINY | VARIANTS["lift"])).eval(), batch
    with torch.no_grad():
        model.spatial.head.weight.normal_()
    out = model(x, t, conditions(tilted()))
    assert out.abs().max() > 0.1
    model.lifts.clear()
    assert torch.equal(model(x, t, conditions(tilted())), out)


@pytest.mark.parametrize("variant", VARIANTS)
def test_half_precision_keeps_the_geometry(batch, variant):
    """Under bf16 autocast only the network rounds: the result stays within a few per cent of the full one."""
    model, (x, t) = tiny(**VARIANTS[variant]), batch
    c = conditions(tilted())
    with torch.no_grad():
        full = model(x, t, c)
        with torch.autocast("cpu", torch.bfloat16):
            half = model(x, t, c).float()
    assert (half - full).square().mean().sqrt() < 0.05 * full.square().mean().sqrt()


def test_variants_save_and_load(tmp_path, batch):
    x, t = batch
    model = tiny(relative="ray", rays=False, lift=6, lift_blocks=(1,))
    model.save_pretrained(tmp_path / "denoiser")
    again = Denoiser.from_pretrained(tmp_path / "denoiser").eval()
    assert torch.equal(model(x, t, conditions(tilted())), again(x, t, conditions(tilted())))


def test_unknown_encoding_is_refused():
    with pytest.raises(ValueError, match="relative"):
        Denoiser(**TINY, relative="epipolar")


@pytest.mark.parametrize("keys", ["all", "some", "of each query"])
def test_both_ways_of_attending_in_bf16_agree(keys: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    n, heads, length, context, width = 3, 2, 64, 70, 24
    q, k, v = (torch.randn(n, heads, m, width) for m in (length, context, context))
    shape = {"all": None, "some": (n, 1, 1, context), "of each query": (n, 1, length, context)}[keys]
    mask = None if shape is None else torch.rand(shape) < 0.5
    exact = layers._attend(q, k, v, mask)  # fp32 takes the fused kernel
    found = {}
    for tiles in (False, True):
        monkeypatch.setattr(layers, "TILES", tiles)
        found[tiles] = layers._attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask)
        assert found[tiles].dtype == torch.bfloat16
        torch.testing.assert_close(found[tiles].float(), exact, atol=0.03, rtol=0.03)
    assert not torch.equal(found[False], found[True])  # two kernels did run
    learned = v.bfloat16().requires_grad_()
    monkeypatch.setattr(layers, "TILES", True)
    assert torch.equal(
        layers._attend(q.bfloat16(), k.bfloat16(), learned, mask), found[False]
    )  # with a way back: plain
    with torch.no_grad():
        assert torch.equal(layers._attend(q.bfloat16(), k.bfloat16(), learned, mask), found[True])
