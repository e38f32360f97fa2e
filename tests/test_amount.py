"""The amount of a finished asset's motion: wider, narrower, none, and what was asked for."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from splat_fixtures import object_at

from orbit4d.cameras import Orbit
from orbit4d.evaluate.motion import scene_magnitude
from orbit4d.splat.amount import LARGEST_GAIN, amplified, can_be_amplified, match_motion
from orbit4d.splat.deform import ControlNodes
from orbit4d.splat.gaussians import Gaussians4D
from orbit4d.splat.hexplane import STHexPlane
from orbit4d.splat.io import load_scene, save_scene
from orbit4d.splat.keyframes import Keyframes
from orbit4d.splat.trajectories import Trajectories

ANCHOR = 0.0


def moving(kind: str, *, anchor: float | None = ANCHOR) -> Gaussians4D:
    """The fixtures' ball and arm with random motion of a few hundredths of a unit."""
    canonical = object_at(0.0)
    torch.manual_seed(3)
    deformation: ControlNodes | STHexPlane | Trajectories
    match kind:
        case "trajectories":
            deformation = Trajectories(count=len(canonical), knots=5, anchor_time=anchor)
            torch.nn.init.normal_(deformation.shifts, std=0.03)
            torch.nn.init.normal_(deformation.turns, std=0.1)
        case "hexplane":
            deformation = STHexPlane(predict_opacity=True, anchor_time=anchor)
            agitate(deformation)
        case _:
            field = {"anchor_time": anchor}
            deformation = ControlNodes(
                nodes=canonical.means[::50], field=field, residual=field | {"predict_color": True}
            )
            agitate(deformation.field)
            agitate(deformation.residual)
    return Gaussians4D(canonical=canonical, deformation=deformation.requires_grad_(False))


def agitate(field: STHexPlane | None) -> None:
    assert field is not None
    for plane in field.temporal:
        torch.nn.init.normal_(plane, mean=1.0, std=0.5)
    for head in field.heads.values():
        torch.nn.init.normal_(head.weight, std=0.05)


KINDS = ("nodes", "hexplane", "trajectories")


@pytest.mark.parametrize("kind", KINDS)
def test_a_gain_widens_the_motion_around_the_anchor(kind: str, tmp_path: Path) -> None:
    scene = moving(kind)
    start, end = scene.at(ANCHOR), scene.at(0.7)
    way = end.means - start.means
    assert float(way.norm(dim=1).median()) > 0.005
    torch.testing.assert_close(amplified(scene, 1.0).at(0.7).means, end.means)
    torch.testing.assert_close(amplified(scene, 0.0).at(0.7).means, start.means)
    half = amplified(scene, 0.5)
    torch.testing.assert_close(half.at(ANCHOR).means, start.means)
    moved = half.at(0.7).means - start.means
    # Exactly half, but for what the nodes' turns bend.
    assert float((moved - 0.5 * way).norm()) < (0.1 if kind == "nodes" else 1e-4) * float(way.norm())
    torch.testing.assert_close(scene.at(0.7).means, end.means)  # the scene itself is as it was
    read = load_scene(save_scene(half, tmp_path / "half.safetensors"))
    torch.testing.assert_close(read.at(0.7).means, half.at(0.7).means)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.04, 0.3, 1.8])
def test_the_asset_moves_as_much_as_was_asked_for(kind: str, share: float) -> None:
    scene, orbit = moving(kind), Orbit(frames=12)
    magnitude = partial(scene_magnitude, cameras=orbit.cameras(64), times=orbit.times)
    _, before = match_motion(scene, 1.0, magnitude=magnitude)
    matched, found = match_motion(scene, share * before.constructed, magnitude=magnitude)
    _, again = match_motion(matched, found.asked, magnitude=magnitude)
    assert again.constructed == pytest.approx(found.asked, rel=0.05)
    assert again.constructed == pytest.approx(found.reached, rel=1e-4)
    assert (found.gain < 1) == (share < 1)


def test_no_more_than_the_largest_gain_and_nothing_at_all() -> None:
    scene, orbit = moving("nodes"), Orbit(frames=12)
    magnitude = partial(scene_magnitude, cameras=orbit.cameras(64), times=orbit.times)
    wild, found = match_motion(scene, 1.0, magnitude=magnitude)
    assert found.gain == LARGEST_GAIN
    assert found.constructed < found.reached < found.asked
    torch.testing.assert_close(wild.at(0.7).means, amplified(scene, LARGEST_GAIN).at(0.7).means)
    still, found = match_motion(scene, 0.0, magnitude=magnitude)
    assert (found.gain, found.reached) == (0, 0)
    torch.testing.assert_close(still.at(0.7).means, scene.at(0.0).means)
    # What stands still cannot be widened, however much is asked for.
    _, found = match_motion(still, 0.1, magnitude=magnitude)
    assert (found.gain, found.reached) == (1, 0)


def test_what_has_no_anchor_is_left_alone() -> None:
    scene = moving("hexplane", anchor=None)
    assert not can_be_amplified(scene)
    with pytest.raises(ValueError, match="no anchor"):
        amplified(scene, 0.5)
    with pytest.raises(ValueError, match="0 or more"):
        amplified(moving("nodes"), -1.0)
    assert not can_be_amplified(Gaussians4D(canonical=scene.canonical))
    assert amplified(Gaussians4D(canonical=scene.canonical), 0.5).deformation is None
    assert not issubclass(Keyframes, ControlNodes | STHexPlane | Trajectories)
