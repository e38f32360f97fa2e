"""The glTF reader and the renderer, on files built here by hand, on hostile ones, and on all real assets where present."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gltf_builder import CUBE, CUBE_FACES, Glb, world
from PIL import Image

from orbit4d.assets import gltf
from orbit4d.assets.gltf import load_glb
from orbit4d.assets.toybox import make_toy
from orbit4d.cameras import WORLD_FROM_GLTF, Orbit
from orbit4d.data.render import Renderer, clip_seconds, find_animation, render_clip, render_grid
from orbit4d.errors import InputError

DATA = Path(os.environ.get("ORBIT4D_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.mark.parametrize(("interpolation", "at_half"), [("LINEAR", 2.0), ("STEP", 0.0), ("CUBICSPLINE", 2.0)])
def test_node_translation_and_interpolation(tmp_path, interpolation, at_half):
    keys = np.array([[0, 0, 0], [4, 0, 0]])
    if interpolation == "CUBICSPLINE":
        keys = np.array([[0, 0, 0], keys[0], [0, 0, 0], [0, 0, 0], keys[1], [0, 0, 0]])
    asset = load_glb(Glb().cube().animate("translation", [0, 1], keys, "VEC3", interpolation).save(tmp_path / "a.glb"))
    assert asset.animations[0].duration == 1.0
    np.testing.assert_allclose(asset.pose(0, 0.5).positions[0], world(CUBE + np.array([at_half, 0, 0])), atol=1e-6)
    np.testing.assert_allclose(asset.pose(0, 9.0).positions[0], world(CUBE + np.array([4, 0, 0])), atol=1e-6)
    np.testing.assert_allclose(asset.pose(None, 0).positions[0], world(CUBE), atol=1e-6)


def test_rotation_is_spherical(tmp_path):
    """Half of a quarter turn about y is 45 degrees, at unit speed."""
    s = np.sqrt(0.5)
    asset = load_glb(
        Glb()
        .cube()
        .animate("rotation", [0, 1], np.array([[0, 0, 0, 1], [0, s, 0, s]]), "VEC4")
        .save(tmp_path / "a.glb")
    )
    angle = np.radians(30)
    turned = CUBE @ np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
    np.testing.assert_allclose(asset.pose(0, 1 / 3).positions[0], world(turned), atol=1e-5)


def test_skin_blends_joints(tmp_path):
    g = Glb().cube()
    g.document["nodes"] = [
        {"mesh": 0, "skin": 0, "translation": [9, 9, 9]},
        {"children": [2]},
        {"translation": [0, 0, 0]},
    ]
    g.document["scenes"] = [{"nodes": [0, 1]}]
    joints = np.zeros((8, 4), np.uint8)
    joints[:, 1] = 1
    weights = np.zeros((8, 4), np.float32)
    weights[:4, 0], weights[4:, 1] = 2.0, 0.5  # not normalised
    weights[7] = np.nan
    g.primitive["attributes"] |= {"JOINTS_0": g.accessor(joints, "VEC4"), "WEIGHTS_0": g.accessor(weights, "VEC4")}
    g.document["skins"] = [{"joints": [1, 2]}]
    g.animate("translation", [0, 1], np.array([[0, 0, 0], [0, 3, 0]]), "VEC3", node=2)
    posed = load_glb(g.save(tmp_path / "a.glb")).pose(0, 1.0).positions[0]
    expected = CUBE.copy()
    expected[4:7, 1] += 3  # a skinned mesh ignores its own node; the vertex with NaN weights follows the first joint
    np.testing.assert_allclose(posed, world(expected), atol=1e-6)


def test_morph_targets_and_sparse_accessors(tmp_path):
    g = Glb().cube()
    indices, values = np.array([2, 5], np.uint16), np.array([[0, 0, 1], [0, 2, 0]], np.float32)
    sparse = {
        "count": 2,
        "indices": {"bufferView": g.view(indices.tobytes()), "componentType": 5123},
        "values": {"bufferView": g.view(values.tobytes())},
    }
    g.document["accessors"].append({"componentType": 5126, "count": 8, "type": "VEC3", "sparse": sparse})
    g.primitive["targets"] = [{"POSITION": len(g.document["accessors"]) - 1}]
    g.animate("weights", [0, 2], np.array([[0.0], [1.0]]), "SCALAR")
    expected = CUBE.copy()
    expected[2] += [0, 0, 0.5]
    expected[5] += [0, 1, 0]
    np.testing.assert_allclose(
        load_glb(g.save(tmp_path / "a.glb")).pose(0, 1.0).positions[0], world(expected), atol=1e-6
    )


def test_textures_and_quantised_attributes(tmp_path):
    g = Glb()
    g.primitive["attributes"]["POSITION"] = g.accessor((CUBE * 32767).astype(np.int16), "VEC3", normalized=True)
    g.primitive["indices"] = g.accessor(CUBE_FACES, "SCALAR")
    g.primitive["attributes"]["TEXCOORD_0"] = g.accessor(np.full((8, 2), 0.25, np.float32), "VEC2")
    picture = io.BytesIO()
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0, 0], pixels[1, 1] = (255, 0, 0), (0, 0, 255)
    Image.fromarray(pixels).save(picture, format="PNG")
    g.document |= {
        "images": [{"bufferView": g.view(picture.getvalue())}],
        "textures": [{"source": 0, "sampler": 0}],
        "samplers": [{"magFilter": 9728}],
    }
    move = {"KHR_texture_transform": {"offset": [0.5, 0.5]}}
    for offset, channel in ((None, 0), (move, 2)):
        info = {"index": 0} | ({"extensions": offset} if offset else {})
        g.document["materials"] = [
            {"pbrMetallicRoughness": {"baseColorTexture": info}, "extensions": {"KHR_materials_unlit": {}}}
        ]
        g.primitive["material"] = 0
        clip = render_clip(g.save(tmp_path / "a.glb"), trajectory="static", frames=2, size=32)
        colour = clip.rgb[0][:, clip.alpha[0, 0] > 0.9].mean(1)
        assert colour.argmax() == channel and colour[channel] > 0.95


def test_silhouette_depth_and_colour_match_the_cameras(tmp_path):
    """A red cube of side 1 (t0 fit): its projected corners bound the silhouette, its front face lies at depth 1.5."""
    g = Glb().cube(3.0)
    g.document["materials"] = [
        {"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}, "extensions": {"KHR_materials_unlit": {}}}
    ]
    g.primitive["material"] = 0
    clip = render_clip(
        g.save(tmp_path / "a.glb"), trajectory="static", frames=9, size=96, fit="t0", elevation=20, radius=2.6
    )
    corners = torch.from_numpy(CUBE) / 2
    pixels, _ = clip.cameras.project(corners)
    for i in range(9):
        rows, columns = torch.nonzero(clip.alpha[i, 0] > 0.5, as_tuple=True)
        assert abs(float(columns.min()) - float(pixels[i, :, 0].min())) < 1.6
        assert abs(float(columns.max() + 1) - float(pixels[i, :, 0].max())) < 1.6
        assert abs(float(rows.min()) - float(pixels[i, :, 1].min())) < 1.6
        assert abs(float(rows.max() + 1) - float(pixels[i, :, 1].max())) < 1.6
    level = render_clip(tmp_path / "a.glb", trajectory="static", frames=2, size=96, fit="t0")
    assert float(level.depth[0, 0, 48, 48]) == pytest.approx(1.5, abs=2e-3)
    assert float(level.depth[0, 0, 0, 0]) == 0
    torch.testing.assert_close(level.rgb[0, :, 48, 48], torch.tensor([1.0, 0, 0]), atol=0.01, rtol=0)


def test_top_is_up_and_front_faces_azimuth_zero(tmp_path):
    """glTF +y is up in the picture, glTF +x is to the right at azimuth 0, and glTF +z is nearest to that camera."""
    g = Glb().cube(0.2)
    for name, translation in (("up", [0, 2, 0]), ("right", [2, 0, 0])):
        g.document["nodes"] = [{"children": [1, 2]}, {"mesh": 0}, {"mesh": 0, "translation": translation}]
        clip = render_clip(g.save(tmp_path / f"{name}.glb"), trajectory="static", frames=2, size=64)
        rows, columns = torch.nonzero(clip.alpha[0, 0] > 0.5, as_tuple=True)
        spread = (rows.float().std(), columns.float().std())
        assert (spread[0] > 3 * spread[1]) == (name == "up")
    g.document["nodes"][2]["translation"] = [0, 0, 2]
    clip = render_clip(g.save(tmp_path / "front.glb"), trajectory="static", frames=2, size=64)
    assert float(clip.depth[0][clip.depth[0] > 0].min()) < 1.7


def test_swept_fit_keeps_the_whole_motion_in_frame():
    toy = make_toy(2, kind="quadruped", motion="jump")
    with Renderer(size=64) as renderer:
        path = _write(toy.glb)
        clip = render_clip(path, renderer=renderer, size=64)
    border = torch.cat(
        [clip.alpha[:, 0, 0], clip.alpha[:, 0, -1], clip.alpha[:, 0, :, 0], clip.alpha[:, 0, :, -1]], dim=1
    )
    assert border.max() == 0
    covered = torch.nonzero(clip.alpha[:, 0].amax(0) > 0.5)
    assert (covered.amax(0) - covered.amin(0)).max() > 38
    assert (clip.alpha[0] - clip.alpha[6]).abs().mean() > 0.005


def test_swept_fit_sees_a_short_jump_between_repetitions(tmp_path):
    """A quarter-second animation repeats; at its middle the cube is four times its size away."""
    jump = np.array([[0, 0, 0], [0, 4, 0], [0, 0, 0]])
    path = Glb().cube(0.5).animate("translation", [0, 0.0625, 0.125], jump, "VEC3").save(tmp_path / "jump.glb")
    clip = render_clip(path, size=48, frames=24)
    edges = [clip.alpha[:, 0, 0], clip.alpha[:, 0, -1], clip.alpha[:, 0, :, 0], clip.alpha[:, 0, :, -1]]
    assert torch.cat(edges, dim=1).max() == 0


def test_removed_root_motion_is_that_of_every_repetition(tmp_path):
    """Three repetitions of a walk of ten cube sizes: without the walk the cube stands still in all of them."""
    walk = np.array([[0, 0, 0], [10, 0, 0]])
    path = Glb().cube(0.5).animate("translation", [0, 0.3], walk, "VEC3").save(tmp_path / "walk.glb")
    clip = render_clip(path, size=48, frames=24, trajectory="front", root_motion="remove")
    rest = clip.alpha[0].gt(0.5)
    assert rest.float().mean() > 0.1
    assert (clip.alpha.gt(0.5) != rest).float().mean((1, 2, 3)).max() < 0.02


_FOLDER: list[Path] = []


@pytest.fixture(autouse=True)
def _folder(tmp_path):
    _FOLDER[:] = [tmp_path]


def _write(data: bytes) -> Path:
    path = _FOLDER[0] / "toy.glb"
    path.write_bytes(data)
    return path


def test_grid_equals_the_clip():
    """`render_grid` on the diagonal is the orbit, and on time 0 the static orbit, pixel for pixel."""
    asset = load_glb(_write(make_toy(4, kind="robot", motion="wave").glb))
    orbit = Orbit(frames=24)
    pairs = [(0, 0), (7, 7), (12, 0)]
    grid = render_grid(asset, views=orbit, times=orbit.times, pairs=pairs, animation=0, size=48)
    moving = render_clip(asset, trajectory="orbit", size=48)
    static = render_clip(asset, trajectory="static", size=48)
    for k, clip, i in ((0, moving, 0), (1, moving, 7), (2, static, 12)):
        rgba = torch.cat([clip.rgb[i], clip.alpha[i]]).permute(1, 2, 0)
        np.testing.assert_array_equal(grid[k], (rgba * 255).round().byte().numpy())


def test_clip_seconds():
    assert clip_seconds(2.0, 0.5) == 1.0 and clip_seconds(2.0, 1.0) == 2.0
    assert clip_seconds(0.4, 1.0) == pytest.approx(0.4) and clip_seconds(0.4, 0.5) == pytest.approx(0.0, abs=1e-9)
    assert clip_seconds(2.0, 1.0, loop="clamp") == pytest.approx(23 / 24)
    assert clip_seconds(0.4, 1.0, loop="clamp") == 0.4


def _armed(tmp_path) -> Path:
    """A skinned body whose hand joint carries two rigid meshes, a sword and an axe."""
    g = Glb().cube()
    g.primitive["attributes"]["JOINTS_0"] = g.accessor(np.zeros((8, 4), np.uint8), "VEC4")
    g.primitive["attributes"]["WEIGHTS_0"] = g.accessor(np.tile(np.float32([1, 0, 0, 0]), (8, 1)), "VEC4")
    rigid = {k: v for k, v in g.primitive["attributes"].items() if k == "POSITION"}
    g.document["meshes"].append({"primitives": [{"attributes": rigid, "indices": g.primitive["indices"]}]})
    g.document["scenes"] = [{"nodes": [0, 1]}]
    g.document["nodes"] = [
        {"name": "Body", "mesh": 0, "skin": 0},
        {"name": "hand", "children": [2, 3]},
        {"name": "Sword", "mesh": 1},
        {"name": "Axe", "mesh": 1},
    ]
    g.document["skins"] = [{"joints": [1]}]
    return g.save(tmp_path / "armed.glb")


def test_meshes_are_hidden_by_name_and_as_alternatives(tmp_path):
    path = _armed(tmp_path)

    def shown(*patterns: str) -> list[str]:
        return [p.name for p in load_glb(path, hide=patterns).primitives]

    assert shown() == ["Body", "Sword", "Axe"]
    assert shown("sw*") == ["Body", "Axe"]
    assert shown("@alternatives") == ["Body", "Sword"]
    assert shown("hand") == ["Body"], "a joint hides what hangs on it"
    with pytest.raises(InputError, match="'shield' matches no mesh; it has: Axe, Body, Sword"):
        shown("shield")
    with pytest.raises(InputError, match="hides every mesh"):
        shown("*")


def test_animations_are_found_by_name(tmp_path):
    asset = load_glb(Glb().cube().animate("translation", [0, 1], np.zeros((2, 3)), "VEC3").save(tmp_path / "a.glb"))
    assert find_animation(asset, "move") == find_animation(asset, "rig|move") == find_animation(asset, 0) == 0
    with pytest.raises(InputError, match="Move"):
        find_animation(asset, "walk")
    names = ["Robot_Walking", "Robot_WalkJump", "Robot_Wave"]
    robot = replace(asset, animations=[replace(asset.animations[0], name=n) for n in names])
    assert find_animation(robot, "wave") == 2 and find_animation(robot, "robot_walking") == 0
    with pytest.raises(InputError, match="no animation 'walk'"):
        find_animation(robot, "walk")
    still = load_glb(Glb().cube().save(tmp_path / "b.glb"))
    assert find_animation(still, None) is None
    with pytest.raises(InputError, match="no animation"):
        render_clip(still, trajectory="orbit")


def _break_range(g: Glb) -> None:
    g.document["accessors"][0]["count"] = 10**9


def _break_index(g: Glb) -> None:
    g.document["accessors"][0]["count"] = 4


def _break_cycle(g: Glb) -> None:
    g.document["nodes"] = [{"mesh": 0, "children": [1]}, {"children": [0]}]


def _break_escape(g: Glb) -> None:
    g.document["images"] = [{"uri": "../../etc/passwd"}]
    g.document["textures"] = [{"source": 0}]
    g.document["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
    g.primitive["material"] = 0


def _break_basis(g: Glb) -> None:
    g.document["extensionsRequired"] = ["KHR_texture_basisu"]


def _break_reference(g: Glb) -> None:
    g.primitive["attributes"]["POSITION"] = 77


def _break_type(g: Glb) -> None:
    g.document["nodes"] = {"not": "a list"}


def _break_target(g: Glb) -> None:
    g.animate("translation", [0, 1], np.zeros((2, 3)), "VEC3")
    g.document["animations"][0]["channels"][0]["target"]["node"] = 0.5


def _break_joint(g: Glb) -> None:
    g.document["skins"] = [{"joints": [0.5]}]


@pytest.mark.parametrize(
    "damage",
    [
        _break_target,
        _break_joint,
        _break_range,
        _break_index,
        _break_cycle,
        _break_escape,
        _break_basis,
        _break_reference,
        _break_type,
    ],
)
def test_damaged_documents_are_one_clear_line(tmp_path, damage):
    g = Glb().cube()
    damage(g)
    with pytest.raises(InputError, match=r"bad\.glb") as caught:
        load_glb(g.save(tmp_path / "bad.glb"))
    assert "\n" not in str(caught.value)


def test_nested_scales_that_overflow_are_one_clear_line(tmp_path):
    """Each scale is finite; only their product is not, and only while the animation plays."""
    g = Glb().cube()
    g.document["nodes"] = [{"children": [1]}, {"mesh": 0, "scale": [1e200] * 3}]
    with pytest.raises(InputError, match=r"big: .*overflow") as caught:
        load_glb(g.save(tmp_path / "big.glb")).pose(None, 0)
    assert "\n" not in str(caught.value)
    g.document["nodes"] = [{"children": [1]}, {"children": [2], "name": "arm"}, {"mesh": 0}]
    g.document["nodes"][2]["matrix"] = [1e200, 0, 0, 0, 0, 1e200, 0, 0, 0, 0, 1e200, 0, 0, 0, 0, 1]
    g.animate("scale", [0, 1], np.array([[1e-38] * 3, [1e38] * 3]), "VEC3", node=1)
    with pytest.raises(InputError, match=r"big: .*overflow"):
        load_glb(g.save(tmp_path / "big.glb")).pose(0, 1.0)


def test_the_change_of_world_is_that_of_the_cameras(tmp_path):
    posed = load_glb(Glb().cube().save(tmp_path / "a.glb")).pose(None, 0).positions[0]
    assert gltf.WORLD_FROM_GLTF is WORLD_FROM_GLTF
    np.testing.assert_allclose(posed, CUBE @ WORLD_FROM_GLTF[:3, :3].numpy().T, atol=1e-6)


def test_truncated_and_foreign_files_are_one_clear_line(tmp_path):
    data = Glb().cube().save(tmp_path / "good.glb").read_bytes()
    path = tmp_path / "bad.glb"
    for content in (b"", b"PK\x03\x04zip", data[:10], data[:60], data[:-8], b"glTF" + b"\xff" * 40):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.glb") as caught:
            load_glb(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        load_glb(tmp_path / "absent.glb")


def test_random_mutations_never_crash(tmp_path):
    """Any flipped byte gives an asset or an InputError, nothing else."""
    data = bytearray(make_toy(1, kind="fish").glb)
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(150):
        mutated = data.copy()
        for position in rng.integers(0, 3000, rng.integers(1, 6)):
            mutated[position] = rng.integers(256)
        (tmp_path / "m.glb").write_bytes(mutated)
        try:
            load_glb(tmp_path / "m.glb").pose(0, 0.3)
            outcomes.add("loaded")
        except InputError:
            outcomes.add("refused")
    assert outcomes == {"loaded", "refused"}


@pytest.mark.skipif(
    not (DATA / "assets").is_dir(), reason="the real assets (shared/data/assets) are not on this machine"
)
def test_all_real_assets_load_pose_and_render():
    failures = {}
    with Renderer(size=64) as renderer:
        for path in sorted((DATA / "assets").glob("*.glb")):
            try:
                asset = load_glb(path)
                grid = render_grid(
                    asset,
                    views=Orbit(elevation_deg=30),
                    times=torch.tensor([0.0, 0.4]),
                    pairs=[(0, 0), (3, 1)],
                    animation=0,
                    size=64,
                    renderer=renderer,
                )
                if (grid[..., 3] > 128).mean(axis=(1, 2)).min() < 0.003:
                    failures[path.name] = "nearly empty"
            except InputError as error:
                failures[path.name] = str(error)
    assert not failures
