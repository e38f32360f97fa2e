"""Cameras: golden projections, round trips between conventions, and the cameras of a real render."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from orbit4d.cameras import WORLD_FROM_GLTF, Cameras, Orbit, intrinsics_from_fov, look_at_origin
from orbit4d.clip import load_clip

ELK_FOV = 2 * math.degrees(math.atan(18 / 50))
"""Blender's default camera: 50 mm lens, 36 mm sensor."""

# Antler tips of the elk at the static clip's time, found by carving the silhouettes of the other 23 views (not 6)
# on a 4 mm grid: the outermost points to the two sides, and the highest ones, which stand before the head.
ELK_TIPS = ((-0.006, -0.478, 0.344), (-0.026, 0.478, 0.348), (0.2967, -0.2293, 0.4807), (0.2956, 0.2276, 0.4816))


@st.composite
def rigid_transforms(draw: st.DrawFn, dtype: torch.dtype = torch.float64) -> Tensor:
    """(*b, 4, 4) with random batch shape, rotation and translation."""
    batch = draw(st.lists(st.integers(1, 3), min_size=0, max_size=3))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(*batch, 3, 3, generator=generator, dtype=dtype))
    q = q * torch.diagonal(r, dim1=-2, dim2=-1).sign()[..., None, :]
    q = q * torch.linalg.det(q)[..., None, None]
    out = torch.zeros(*batch, 4, 4, dtype=dtype)
    out[..., :3, :3] = q
    out[..., :3, 3] = 5 * torch.randn(*batch, 3, generator=generator, dtype=dtype)
    out[..., 3, 3] = 1
    return out


def _cameras(c2w: Tensor) -> Cameras:
    k = intrinsics_from_fov(40, 64, 48).to(c2w).expand(*c2w.shape[:-2], 3, 3)
    return Cameras(camera_to_world=c2w, intrinsics=k, width=64, height=48)


@given(rigid_transforms())
def test_opengl_round_trip_is_the_identity(c2w: Tensor) -> None:
    k = intrinsics_from_fov(40, 64, 48).to(c2w).expand(*c2w.shape[:-2], 3, 3)
    there = Cameras.from_opengl(c2w, k, width=64, height=48)
    assert torch.equal(there.to_opengl(), c2w)
    again = Cameras.from_opengl(there.to_opengl(), k, width=64, height=48)
    assert torch.equal(again.camera_to_world, there.camera_to_world)
    # The flip negates the y and z axes and keeps the camera where it is.
    assert torch.equal(there.camera_to_world[..., :3, 1:3], -c2w[..., :3, 1:3])
    assert torch.equal(there.positions, c2w[..., :3, 3])


@given(rigid_transforms())
def test_world_to_camera_is_the_inverse(c2w: Tensor) -> None:
    cameras = _cameras(c2w)
    identity = torch.eye(4, dtype=c2w.dtype).expand_as(c2w)
    torch.testing.assert_close(cameras.world_to_camera @ c2w, identity, atol=1e-12, rtol=0)
    torch.testing.assert_close(c2w @ cameras.world_to_camera, identity, atol=1e-12, rtol=0)
    inverse = _cameras(cameras.world_to_camera)
    torch.testing.assert_close(inverse.world_to_camera, c2w, atol=1e-12, rtol=0)


@given(rigid_transforms(), st.integers(0, 2**31))
def test_change_of_world_moves_points_and_cameras_alike(c2w: Tensor, seed: int) -> None:
    """project(g p; g C) == project(p; C) for every rigid g: here the glTF to world rotation."""
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed), dtype=c2w.dtype)
    g = WORLD_FROM_GLTF.to(c2w)
    pixels, depth = _cameras(c2w).project(points.expand(*c2w.shape[:-2], 5, 3))
    moved, moved_depth = _cameras(g @ c2w).project((points @ g[:3, :3].T).expand(*c2w.shape[:-2], 5, 3))
    torch.testing.assert_close(moved_depth, depth, atol=1e-9, rtol=1e-9)
    seen = depth.abs() > 1e-2
    torch.testing.assert_close(moved[seen], pixels[seen], atol=1e-5, rtol=1e-6)


@settings(max_examples=25)
@given(st.floats(-720, 720), st.floats(-85, 85), st.floats(0.5, 10))
def test_rays_and_projection_agree(azimuth: float, elevation: float, radius: float) -> None:
    c2w = look_at_origin(torch.tensor([azimuth]), torch.tensor([elevation]), torch.tensor([radius])).double()
    torch.testing.assert_close(c2w[:, :3, :3] @ c2w[:, :3, :3].mT, torch.eye(3).double()[None], atol=1e-6, rtol=0)
    assert float(torch.linalg.det(c2w[0, :3, :3])) == pytest.approx(1, abs=1e-6)
    cameras = _cameras(c2w)
    centre, depth = cameras.project(torch.zeros(1, 1, 3, dtype=torch.float64))
    torch.testing.assert_close(centre[0, 0], torch.tensor([32.0, 24.0]).double(), atol=1e-3, rtol=0)
    assert float(depth) == pytest.approx(radius, rel=1e-5)
    directions, origins = cameras.rays(48, 64)
    pixels, depth = cameras.project((origins + 1.7 * directions).reshape(1, -1, 3))
    assert (depth > 0).all()
    torch.testing.assert_close(pixels[0, 0], torch.tensor([0.5, 0.5]).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(pixels[0, 64 * 10 + 7], torch.tensor([7.5, 10.5]).double(), atol=1e-3, rtol=0)


def test_golden_projections() -> None:
    """By hand: at azimuth 0 the camera stands at (0, -2, 0), +x is right, +z is up; at 90 degrees at (2, 0, 0)."""
    orbit = Orbit(frames=5, fov_deg=90)
    cameras = orbit.cameras(100)
    expected = torch.tensor([[0.0, -2, 0], [2, 0, 0], [0, 2, 0], [-2, 0, 0], [0, -2, 0]])
    torch.testing.assert_close(cameras.positions, expected, atol=1e-6, rtol=0)
    points = torch.tensor([[0.5, 0, 0], [0, 0, 0.5], [0, -1.0, 0.5]])
    pixels, depth = cameras[0:1].project(points[None])  # focal length 50 pixels
    torch.testing.assert_close(pixels[0], torch.tensor([[62.5, 50.0], [50.0, 37.5], [50.0, 25.0]]))
    torch.testing.assert_close(depth[0], torch.tensor([2.0, 2.0, 1.0]))
    pixels, depth = cameras[1:2].project(points[None])  # from +x: +y is right
    torch.testing.assert_close(pixels[0, 0], torch.tensor([50.0, 50.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(pixels[0, 2], torch.tensor([25.0, 37.5]), atol=1e-4, rtol=0)
    torch.testing.assert_close(depth[0], torch.tensor([1.5, 2.0, 2.0]), atol=1e-5, rtol=0)


def test_gltf_axes() -> None:
    """glTF's up (y) is the world's up (z), and what faces glTF's front (+z) faces the camera at azimuth 0 (-y)."""
    left, up, front = WORLD_FROM_GLTF[:3, 0], WORLD_FROM_GLTF[:3, 1], WORLD_FROM_GLTF[:3, 2]
    assert up.tolist() == [0, 0, 1]
    assert front.tolist() == [0, -1, 0]
    assert left.tolist() == [1, 0, 0]


def test_orbit_ends_where_it_starts() -> None:
    orbit = Orbit(azimuth_start_deg=30, elevation_deg=20)
    cameras = orbit.cameras((96, 64))
    assert (cameras.width, cameras.height) == (96, 64)
    torch.testing.assert_close(cameras.camera_to_world[0], cameras.camera_to_world[-1], atol=1e-5, rtol=0)
    assert orbit.times[0] == 0 and orbit.times[-1] == 1
    assert float(cameras.positions.norm(dim=1).max()) == pytest.approx(2, abs=1e-5)
    assert (cameras.positions[:, 2] > 0).all()


def test_resized_cameras_see_the_same() -> None:
    cameras = Orbit(frames=3).cameras(128)
    points = torch.randn(3, 7, 3, generator=torch.Generator().manual_seed(0)) * 0.3
    pixels, _ = cameras.project(points)
    smaller, _ = cameras.resized(64, 32).project(points)
    torch.testing.assert_close(smaller, pixels * torch.tensor([0.5, 0.25]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("bad", [{"frames": 1}, {"elevation_deg": 90.0}])
def test_impossible_orbits_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Orbit(**bad)


def test_elk_cameras_are_an_orbit(elk_dir: Path) -> None:
    orbit = Orbit(fov_deg=ELK_FOV)
    ours = orbit.cameras(256)
    for name in ("multi", "multi_static"):
        clip = load_clip(elk_dir / f"transforms_{name}.json")
        torch.testing.assert_close(clip.cameras.camera_to_world, ours.camera_to_world, atol=1e-5, rtol=0)
        torch.testing.assert_close(clip.cameras.intrinsics, ours.intrinsics, atol=0.05, rtol=0)
    multi = load_clip(elk_dir)
    torch.testing.assert_close(multi.times, orbit.times, atol=1e-5, rtol=0)
    front = load_clip(elk_dir / "transforms_front.json")
    torch.testing.assert_close(
        front.cameras.camera_to_world, ours.camera_to_world[:1].expand(24, 4, 4), atol=1e-5, rtol=0
    )


def test_known_points_fall_on_the_elk_in_frame_6(elk_dir: Path) -> None:
    """Four antler tips project onto the edge of frame 6's silhouette, two of them onto its outermost columns."""
    clip = load_clip(elk_dir / "transforms_multi_static.json")
    mask = clip.alpha[6, 0] > 0.5
    cameras = Orbit(fov_deg=ELK_FOV).cameras(256)
    pixels = cameras[6:7].project(torch.tensor([ELK_TIPS]))[0][0]
    assert [_distance_to_edge(mask, pixel) for pixel in pixels] == pytest.approx([0] * 4, abs=1.5)
    columns = mask.any(dim=0).nonzero().flatten()
    for pixel, column in ((pixels[0], columns[0]), (pixels[1], columns[-1])):
        row = mask[:, column].nonzero().float().mean() + 0.5
        assert float((pixel - torch.stack([column + 0.5, row])).norm()) < 2
    # The test can fail: neighbouring views, and the view that a mirrored azimuth would give, are pixels away.
    for other in (5, 7, 17):
        pixels = cameras[other : other + 1].project(torch.tensor([ELK_TIPS]))[0][0]
        assert max(_distance_to_edge(mask, pixel) for pixel in pixels) > 4


def _distance_to_edge(mask: Tensor, pixel: Tensor) -> float:
    """Distance in pixels from a point to the nearest pixel of `mask` that has a neighbour outside it."""
    inner = -torch.nn.functional.max_pool2d(-mask.float()[None], 3, stride=1, padding=1)[0] > 0
    edge = (mask & ~inner).nonzero().flip(1) + 0.5
    return float((edge - pixel).norm(dim=1).min())
