"""More or less of the same motion: poses on the way from the pose at time 0."""

from __future__ import annotations

import numpy as np
import pytest

from orbit4d.assets.amplitude import _scaled, with_amplitude
from orbit4d.assets.gltf import load_glb
from orbit4d.assets.gltf_animation import Animation, Channels, sample
from orbit4d.assets.toybox import write_toybox
from orbit4d.data.plan import RenderPlan
from orbit4d.errors import InputError


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys")
    write_toybox(folder, count=4, seed=5)
    return [load_glb(file) for file in sorted(folder.glob("*.glb"))]


def _travel(asset, seconds: float) -> float:
    start, now = (np.concatenate(asset.pose(0, s).positions) for s in (0.0, seconds))
    return float(np.linalg.norm(now - start, axis=1).mean())


def test_less_motion_is_less_and_none_is_none(toys):
    for asset in toys:
        moments = np.linspace(0, asset.animations[0].duration, 7)[1:-1]
        moved = [sum(_travel(with_amplitude(asset, a), s) for s in moments) for a in (0.0, 0.3, 0.6, 1.0)]
        assert moved[0] < 1e-6 and moved == sorted(moved), asset.name
        assert 0.15 * moved[3] < moved[1] < 0.5 * moved[3]


def test_the_pose_at_time_0_stays_and_1_changes_nothing(toys):
    for asset in toys:
        first = np.concatenate(asset.pose(0, 0).positions)
        np.testing.assert_allclose(np.concatenate(with_amplitude(asset, 0.4).pose(0, 0).positions), first, atol=1e-6)
        assert with_amplitude(asset, 1.0) is asset


def test_rotations_go_along_the_arc_and_splines_keep_their_shape():
    half = np.array([[0, 0, 0, 1.0], [0, 0, np.sin(np.pi / 4), np.cos(np.pi / 4)]])[:, None]  # 0 and 90 degrees about z
    times = np.array([0.0, 1.0])
    turn = Channels(path="rotation", nodes=np.array([0]), times=times, values=half, interpolation="LINEAR")
    spline = np.arange(2 * 3 * 1 * 3, dtype=float).reshape(2, 3, 1, 3)
    move = Channels(path="translation", nodes=np.array([0]), times=times, values=spline, interpolation="CUBICSPLINE")

    class Holder:
        animations = (Animation(name="a", channels=[turn, move], start=0.0, duration=1.0),)

    scaled = _scaled(Holder.animations[0], 0.5)
    before = [value for _, value in sample(Holder.animations[0], 0.37)]
    (_, quaternion), (_, position) = sample(scaled, 1.0)
    np.testing.assert_allclose(quaternion[0], [0, 0, np.sin(np.pi / 8), np.cos(np.pi / 8)], atol=1e-9)
    (_, _), (_, position) = sample(scaled, 0.37)
    np.testing.assert_allclose(position, spline[0, 1] + 0.5 * (before[1] - spline[0, 1]), atol=1e-9)


def test_a_full_turn_is_damped_all_the_way():
    angles = np.radians(np.linspace(0, 360, 9))
    keys = np.stack([np.zeros(9), np.zeros(9), np.sin(angles / 2), np.cos(angles / 2)], axis=-1)
    keys[5:] *= -1  # files hold the short way round between neighbours
    turn = Channels(
        path="rotation", nodes=np.array([0]), times=np.arange(9.0), values=keys[:, None], interpolation="LINEAR"
    )
    less = _scaled(Animation(name="spin", channels=[turn], start=0.0, duration=8.0), 0.45)
    found = [value[0] for t in range(9) for _, value in sample(less, float(t))]
    degrees = [np.degrees(2 * np.arctan2(q[2], q[3])) % 360 for q in found]
    np.testing.assert_allclose(degrees, np.linspace(0, 162, 9), atol=1e-6)


def test_a_plan_of_the_authored_motion_keeps_its_digest_and_old_plans_are_read():
    plain = RenderPlan()
    assert "amplitude" not in plain.to_json() and RenderPlan.from_json(plain.to_json(), source="x") == plain
    half = RenderPlan(amplitude=0.5)
    assert half.digest() != plain.digest() and RenderPlan.from_json(half.to_json(), source="x") == half
    with pytest.raises(InputError, match="--amplitude"):
        RenderPlan(amplitude=3)


def test_rendered_motion_shrinks_and_the_static_orbit_stays(toys):
    from orbit4d.data.drawing import Drawer

    frames = {}
    for amplitude in (1.0, 0.4):
        plan = RenderPlan(size=48, frames=8, outputs=(), amplitude=amplitude)
        try:
            with Drawer(plan) as drawer:
                frames[amplitude] = {
                    pair: frame.rgba.astype(float) for pair, frame in drawer.draw(toys[0], 0, seed=0).frames
                }
        except InputError as error:
            if "no OpenGL" not in str(error):
                raise
            pytest.skip(str(error))
    still = [(i, 0) for i in range(7)]
    for pair in still:
        np.testing.assert_allclose(frames[0.4][pair], frames[1.0][pair], atol=1)

    def magnitude(drawn) -> float:
        return float(np.mean([(drawn[j % 7, j] - drawn[j % 7, 0]) ** 2 for j in range(8)]))

    assert magnitude(frames[0.4]) < 0.85 * magnitude(frames[1.0])
