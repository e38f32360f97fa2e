"""Depth, normals and scene flow against what is known of rigidly moving shapes."""

from __future__ import annotations

import numpy as np
import pytest
from render_fixtures import STILL, asset, ball, material, sheet

from orbit4d.assets.gltf import load_glb
from orbit4d.assets.toybox import make_toy
from orbit4d.cameras import Orbit
from orbit4d.data.flow import back_project, optical_flow
from orbit4d.data.render import Renderer, iter_grid, render_clip
from orbit4d.errors import InputError

SIZE = 96
ALL = ("depth", "normals", "flow")
CAMERAS = Orbit(frames=9, elevation_deg=15).cameras(SIZE)
LEVEL = Orbit(frames=9).cameras(SIZE)


def draw(thing, pairs, *, times=(0.0, 0.25, 1.0), cameras=CAMERAS, animation=0, **options):
    options = {"size": SIZE, "placement": STILL, "outputs": ALL} | options
    drawn = iter_grid(thing, cameras=cameras, times=times, pairs=pairs, animation=animation, **options)
    return [frame for _, frame in sorted(drawn, key=lambda item: item[0])]


@pytest.mark.parametrize("supersample", [1, 2, 3])
def test_a_ball_has_its_depth_and_normals(supersample):
    (frame,) = draw(asset(ball(0.5)), [(2, 0)], times=[0.0], animation=None, supersample=supersample)
    inside = frame.rgba[..., 3] == 255
    points = back_project(frame.depth, CAMERAS[2])
    radii = np.linalg.norm(points[inside], axis=-1)
    # At the rim one pixel spans a steep slope.
    assert np.abs(np.median(radii) - 0.5) < 1e-3
    assert np.quantile(np.abs(radii - 0.5), 0.95) < 6e-3
    np.testing.assert_allclose(np.linalg.norm(frame.normals[inside], axis=-1), 1, atol=1e-3)
    expected = points[inside] / radii[:, None]
    assert np.quantile(np.abs(frame.normals[inside] - expected).max(-1), 0.95) < 0.03
    empty = frame.depth == 0
    assert empty.any() and (frame.normals[empty] == 0).all() and (frame.flow[empty] == 0).all()
    assert (frame.rgba[empty][:, 3] == 0).all() and (frame.rgba[~empty][:, 3] > 0).all()


def test_normals_face_the_camera_on_both_sides_of_a_sheet():
    front, back = draw(asset(sheet(0.0)), [(0, 0), (4, 0)], times=[0.0], animation=None, cameras=LEVEL)
    np.testing.assert_allclose(front.normals[SIZE // 2, SIZE // 2], [0, -1, 0], atol=1e-3)
    np.testing.assert_allclose(back.normals[SIZE // 2, SIZE // 2], [0, 1, 0], atol=1e-3)


def test_flow_is_the_displacement_of_a_moved_and_turned_ball():
    move, turn = np.array([0.3, -0.1, 0.2]), 0.8
    thing = asset(ball(0.4), move=move, turn=turn)
    first, second, last = draw(thing, [(1, 0), (1, 1), (1, 2)], times=[0.0, 0.25, 1.0])
    for frame, start, span in ((first, 0.0, 0.25), (second, 0.25, 0.75)):
        covered = frame.depth > 0
        points = back_project(frame.depth, CAMERAS[1])
        angle = turn * span
        rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        local = points - start * move
        expected = local @ rotation.T + (start + span) * move - points
        error = np.abs(frame.flow - expected).max(-1)[covered]
        assert np.quantile(error, 0.95) < 4e-3 and error.max() < 0.06
        assert np.linalg.norm(frame.flow[covered], axis=-1).min() > 0.02
    assert (last.flow == 0).all() and (last.depth > 0).any()


def test_depth_and_flow_lead_to_the_surface_seen_next():
    """A skinned toy: most points that stay in sight lie, after their flow, on the next frame's depth."""
    toy = load_glb_of(make_toy(5, kind="quadruped", motion="walk"))
    now, after = draw(
        toy, [(1, 0), (1, 1)], times=[0.1, 0.15], placement=None, size=192, cameras=CAMERAS.resized(192, 192)
    )
    camera = CAMERAS.resized(192, 192)[1]
    motion = optical_flow(now.depth, now.flow, camera=camera)
    solid = now.rgba[..., 3] == 255
    v, u = np.nonzero(solid)
    moved = back_project(now.depth, camera)[v, u] + now.flow[v, u]
    c2w = camera.camera_to_world.double().numpy()
    z = ((moved - c2w[:3, 3]) @ c2w[:3, :3])[:, 2]
    columns = np.floor(u + 0.5 + motion[v, u, 0]).astype(int)
    rows = np.floor(v + 0.5 + motion[v, u, 1]).astype(int)
    there = after.depth[rows, columns]
    assert (np.abs(there - z) < 0.02).mean() > 0.93
    still = now.depth[v, u]
    assert np.abs(motion[v, u]).max() > 2 and np.abs(still - z).max() > 0.02
    without = (np.abs(after.depth[v, u] - still) < 0.02).mean()
    assert without < (np.abs(there - z) < 0.02).mean()


def test_next_times_are_the_callers_choice():
    thing = asset(ball(0.3), move=[0.4, 0, 0])
    frames = draw(thing, [(0, 0), (0, 1), (0, 2)], times=[0.0, 0.5, 1.0], next_times=[1.0, 0.5, 0.25])
    for frame, x in zip(frames, (0.4, 0.0, -0.3), strict=True):
        np.testing.assert_allclose(
            frame.flow[frame.depth > 0], np.tile([x, 0, 0], ((frame.depth > 0).sum(), 1)), atol=1e-5
        )


def test_a_still_asset_has_no_flow():
    toy = load_glb_of(make_toy(1))
    clip = render_clip(toy, trajectory="static", frames=3, size=48, outputs=("flow", "normals"))
    assert clip.depth.max() > 0
    assert (clip.flow == 0).all()
    assert clip.normals.shape == clip.flow.shape == (3, 3, 48, 48)
    assert render_clip(toy, frames=3, size=48).flow is None


def test_optical_flow_of_a_still_point_is_the_parallax():
    (frame,) = draw(asset(ball(0.5)), [(0, 0)], times=[0.0], animation=None)
    covered = frame.depth > 0
    np.testing.assert_allclose(optical_flow(frame.depth, frame.flow, camera=CAMERAS[0])[covered], 0, atol=1e-4)
    motion = optical_flow(frame.depth, frame.flow, camera=CAMERAS[0], to=CAMERAS[1])
    from torch import from_numpy

    points = back_project(frame.depth, CAMERAS[0])[covered]
    pixels, _ = CAMERAS[1].project(from_numpy(points).float())
    v, u = np.nonzero(covered)
    np.testing.assert_allclose(motion[covered] + np.c_[u, v] + 0.5, pixels.numpy(), atol=2e-2)
    assert (motion[~covered] == 0).all()
    with pytest.raises(InputError, match="one camera"):
        optical_flow(frame.depth, frame.flow, camera=CAMERAS)
    with pytest.raises(InputError, match="does not fit"):
        back_project(frame.depth[1:], CAMERAS[0])


def test_edges_mix_neither_background_nor_what_lies_behind():
    """A small sheet at distance 1.5 before a large one at 2.3: every depth is one of the two, every flow is one of the two."""
    thing = asset(sheet(-0.5, half=0.197), sheet(0.3, half=0.4744, node=1), move=[0.0, 0.0, 0.1])
    (frame,) = draw(thing, [(0, 0)], times=[0.0, 1.0], cameras=LEVEL)
    depths = frame.depth[frame.depth > 0]
    assert ((np.abs(depths - 1.5) < 1e-3) | (np.abs(depths - 2.3) < 1e-3)).all()
    near = np.abs(frame.depth - 1.5) < 1e-3
    assert near.sum() > 100 and (depths > 2).sum() > 100
    np.testing.assert_allclose(frame.flow[near], np.tile([0, 0, 0.1], (near.sum(), 1)), atol=1e-6)
    assert (frame.flow[~near] == 0).all()
    partly = (frame.rgba[..., 3] > 0) & (frame.rgba[..., 3] < 255)
    assert partly.any() and (frame.depth[partly] > 2).all()


def test_blended_surfaces_are_seen_where_nothing_solid_is_behind():
    """A half-transparent sheet at 1.5 before a solid one at 2 that covers its middle only."""
    glass = material((0, 0, 1, 0.5), alpha_mode="BLEND")
    thing = asset(sheet(-0.5, half=0.3, look=glass), sheet(0.0, half=0.15, node=1), move=[0.2, 0, 0])
    (frame,) = draw(thing, [(0, 0)], times=[0.0, 1.0], cameras=LEVEL)
    middle, beside = (SIZE // 2, SIZE // 2), (SIZE // 2, SIZE // 2 + 20)
    assert frame.depth[middle] == pytest.approx(2.0, abs=1e-3) and frame.flow[middle] == pytest.approx([0, 0, 0])
    assert frame.depth[beside] == pytest.approx(1.5, abs=1e-3)
    assert frame.flow[beside] == pytest.approx([0.2, 0, 0], abs=1e-5)
    assert frame.normals[beside] == pytest.approx([0, -1, 0], abs=1e-3)
    assert frame.rgba[beside][3] == 128 and frame.rgba[middle][3] == 255
    faint = material((0, 0, 1, 0.02), alpha_mode="BLEND")
    (frame,) = draw(asset(sheet(-0.5, look=faint)), [(0, 0)], times=[0.0], animation=None, cameras=LEVEL)
    assert (frame.depth == 0).all() and frame.rgba[middle][3] == 5


def load_glb_of(toy):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "toy.glb"
        path.write_bytes(toy.glb)
        return load_glb(path)


def test_masked_textures_cut_depth_too():
    picture = np.full((2, 2, 4), 255, np.uint8)
    picture[0, :, 3] = 0  # the upper half
    look = material(texture=picture, alpha_mode="MASK", nearest=True, wrap=(False, False), unlit=True)
    (frame,) = draw(asset(sheet(0.0, look=look)), [(0, 0)], times=[0.0], animation=None, cameras=LEVEL)
    assert frame.depth[SIZE // 2 - 10, SIZE // 2] == 0 and frame.depth[SIZE // 2 + 10, SIZE // 2] > 0
    with Renderer(size=SIZE) as renderer:
        assert renderer.info
