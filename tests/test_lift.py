from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from splat_fixtures import front_view, moving_orbit, object_at, static_orbit
from test_fit import CONFIG, foreground_psnr
from torch import Tensor

from orbit4d.clip import OrbitalClip, SpatioTemporalFeatures
from orbit4d.errors import InputError
from orbit4d.splat.fit import LossWeights, fit
from orbit4d.splat.fit_frames import gather_features
from orbit4d.splat.hexplane import PointFeatures, STHexPlane
from orbit4d.splat.io import load_scene, save_scene
from orbit4d.splat.lift import lift_features
from orbit4d.splat.rasterize import render_batch

SHORT = replace(CONFIG, steps=250, lift_every=10, weights=LossWeights(rigidity=0.01))


def painted(clip: OrbitalClip, time: int, colors: Tensor) -> Tensor:
    """(1, 3, h, w) a map of what each pixel of a frame shows, and zeros where it shows nothing."""
    g = object_at(float(clip.times[time]))
    drawn = render_batch(
        means=g.means,
        quats=g.quats,
        log_scales=g.log_scales,
        logit_opacities=g.logit_opacities,
        colors=colors,
        cameras=clip.cameras[time : time + 1],
    )
    return drawn.rgb / drawn.alpha.clamp_min(1e-3)


def true_features(clip: OrbitalClip) -> SpatioTemporalFeatures:
    """z_s: where the surface that a pixel shows is at time 0. z_t: how far it has moved since."""
    rest, frames = object_at(0.0).means, range(len(clip))
    flow = [painted(clip, i, object_at(float(clip.times[i])).means - rest) for i in frames]
    return SpatioTemporalFeatures(
        z_s=torch.cat([painted(clip, i, rest) for i in frames]),
        z_t=torch.cat(flow),
        cameras=clip.cameras,
        times=clip.times,
    )


@pytest.fixture(scope="module")
def moving() -> OrbitalClip:
    return moving_orbit()


def test_points_get_the_features_of_the_surface_they_ride_on(moving):
    """Points on the arm are followed to where they are: their z_t is their true displacement at every moment."""
    arm = object_at(0.0).means[500:]
    points = torch.cat([arm[::10], object_at(0.0).means[:500:25]])
    positions = torch.stack([torch.cat([o.means[500::10], o.means[:500:25]]) for o in map(object_at, moving.times)])
    depth = torch.cat([painted_depth(moving, i) for i in range(len(moving))])
    lifted = lift_features(true_features(moving), canonical=points, positions=positions, depth=depth, tolerance=0.08)
    assert isinstance(lifted, PointFeatures) and torch.equal(lifted.times, moving.times)
    assert (lifted.z_s - points).norm(dim=-1).median() < 0.05
    moved = positions - positions[:1]
    assert (lifted.z_t - moved).norm(dim=-1).median() < 0.02
    assert (lifted.z_t[-1, :25] - moved[-1, :25]).norm(dim=-1).median() < 0.2 * moved[-1, :25].norm(dim=-1).median()
    still = lift_features(
        true_features(moving),
        canonical=points,
        positions=positions[:1].expand_as(positions),
        depth=depth,
        tolerance=0.08,
    )
    worse = (still.z_t[-1, :25] - moved[-1, :25]).norm(dim=-1).median()
    assert worse > 0.3 * moved[-1, :25].norm(dim=-1).median(), "read at the undeformed place, they would be wrong"


def painted_depth(clip: OrbitalClip, time: int) -> Tensor:
    g = object_at(float(clip.times[time]))
    drawn = render_batch(
        means=g.means,
        quats=g.quats,
        log_scales=g.log_scales,
        logit_opacities=g.logit_opacities,
        colors=g.base_colors,
        cameras=clip.cameras[time : time + 1],
    )
    return drawn.depth * (drawn.alpha > 0.5)


def test_hidden_points_take_the_nearest_seen_ones_features(moving):
    """One frame, from the front (-y): what lies behind the ball has the features of its seen neighbours."""
    clip = moving[:1]
    points = torch.tensor([[0.0, -0.22, 0.0], [0.0, -0.2, 0.08], [0.0, 0.22, 0.09]])
    lifted = lift_features(
        true_features(clip),
        canonical=points,
        positions=points[None],
        depth=painted_depth(clip, 0),
        tolerance=0.05,
    )
    assert torch.equal(lifted.z_s[2], lifted.z_s[1]) and not torch.equal(lifted.z_s[0], lifted.z_s[1])


def test_the_field_reads_motion_from_features_that_planes_cannot_know():
    """Points jump about at random. Learned at half of the times and points, only z_t tells where the others go; and z_s
    tells which of two mingled objects a point belongs to, the one that stays or the one that jumps."""
    g = torch.Generator().manual_seed(0)
    times = torch.linspace(0, 1, 16)
    points = torch.rand(200, 3, generator=g) - 0.5
    jump, jumps = 0.2 * torch.randn(16, 1, 3, generator=g), (torch.rand(200, 1, generator=g) > 0.5).float()
    truth = jump * jumps
    noise = torch.randn(16, 200, 3, generator=g)
    errors = {}
    for name, z_t in (("true", standardized_rows(jump.expand(16, 200, 3))), ("noise", noise)):
        torch.manual_seed(0)
        field = STHexPlane(feature_channels=(1, 3), spatial_resolutions=(4,), temporal_resolutions=(16,))
        features = PointFeatures(z_s=2 * jumps - 1, z_t=z_t, times=times)
        seen = PointFeatures(z_s=features.z_s[::2], z_t=z_t[:, ::2], times=times)
        optimizer = torch.optim.Adam(field.parameters(), lr=5e-3)
        for _ in range(300):
            optimizer.zero_grad()
            (field.deltas(points[::2], times[::2], seen)["position"] - truth[::2, ::2]).square().mean().backward()
            optimizer.step()
        error = (field.deltas(points, times, features)["position"] - truth)[1::2, 1::2].square().mean().sqrt()
        errors[name] = float(error / truth[1::2, 1::2].square().mean().sqrt())
    assert errors["true"] < 0.8 and errors["noise"] > 0.95, errors


def standardized_rows(z: Tensor) -> Tensor:
    return (z - z.mean(dim=(0, 1))) / z.std(dim=(0, 1))


def test_features_do_not_hinder_a_construction(moving):
    truth, still = front_view(), static_orbit()
    scene = fit(replace(moving, features=true_features(moving)), static_clip=still, config=SHORT, progress=False).scene
    assert foreground_psnr(scene, truth) > 18


def test_features_go_with_their_clip(moving):
    clip = replace(moving, features=true_features(moving))
    assert clip.resized(32).features is clip.features
    assert torch.equal(clip[2:5].features.times, moving.times[2:5])
    with pytest.raises(InputError, match="control nodes"):
        fit(clip, config=replace(CONFIG, steps=1, deformation="hexplane"), progress=False)


def test_a_scene_with_features_is_saved_with_them(moving, tmp_path):
    config = replace(CONFIG, steps=30, gaussians=200)
    scene = fit(replace(moving, features=true_features(moving)), config=config, progress=False).scene
    assert scene.deformation.z_t.abs().sum() > 0
    again = load_scene(save_scene(scene, tmp_path / "scene.safetensors"))
    assert torch.equal(again.at(0.3).means, scene.at(0.3).means)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z_s": torch.zeros(3, 2, 8, 8)}, "z_s must be finite maps"),
        ({"z_t": torch.full((16, 2, 8, 8), torch.nan)}, "z_t must be finite maps"),
        ({"times": torch.linspace(0, 2, 16)}, "times must lie"),
    ],
)
def test_maps_that_do_not_belong_together_are_input_errors(moving, change, message):
    features = replace(true_features(moving), **change)
    with pytest.raises(InputError, match=message):
        gather_features([replace(moving, features=features)])
