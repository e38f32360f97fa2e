"""The toybox: valid files, real motion, seeded variety."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from orbit4d.assets.gltf import load_glb
from orbit4d.assets.toybox import KINDS, make_toy, write_toybox
from orbit4d.assets.toybox_motions import MOTIONS
from orbit4d.errors import InputError

DARK = [(0.02, 0.02, 0.025)]
GLOW = [(0.1, 0.75, 0.9), (0.95, 0.75, 0.1), (0.9, 0.12, 0.1)]
"""Linear colours of the toys' eyes."""


def _has_color(colors: np.ndarray, wanted: list[tuple[float, float, float]]) -> np.ndarray:
    return np.abs(colors[:, None] - np.array(wanted)).max(axis=2).min(axis=1) < 1e-3


def _document(data: bytes) -> tuple[dict, bytes]:
    magic, version, total = struct.unpack_from("<4sII", data)
    assert (magic, version, total) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON" and size % 4 == 0
    rest, bin_kind = struct.unpack_from("<I4s", data, 20 + size)
    assert bin_kind == b"BIN\0" and 28 + size + rest == total
    return json.loads(data[20 : 20 + size]), data[28 + size :]


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_valid_gltf(kind):
    document, binary = _document(make_toy(3, kind=kind).glb)
    for view in document["bufferViews"]:
        assert view["byteOffset"] % 4 == 0 and view["byteOffset"] + view["byteLength"] <= len(binary)

    def read(index: int) -> np.ndarray:
        accessor = document["accessors"][index]
        dtype = {5126: np.float32, 5121: np.uint8, 5123: np.uint16}[accessor["componentType"]]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor["type"]]
        offset = document["bufferViews"][accessor["bufferView"]]["byteOffset"]
        return np.frombuffer(binary, dtype, accessor["count"] * width, offset).reshape(-1, width)

    primitive = document["meshes"][0]["primitives"][0]
    attributes = {k: read(v) for k, v in primitive["attributes"].items()}
    position = document["accessors"][primitive["attributes"]["POSITION"]]
    np.testing.assert_allclose(attributes["POSITION"].min(0), position["min"], rtol=1e-6)
    np.testing.assert_allclose(attributes["WEIGHTS_0"].sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(attributes["NORMAL"], axis=1), 1, atol=1e-4)
    assert attributes["JOINTS_0"].max() < len(document["skins"][0]["joints"])
    assert read(primitive["indices"]).max() < len(attributes["POSITION"])
    for channel in document["animations"][0]["channels"]:
        values = read(document["animations"][0]["samplers"][channel["sampler"]]["output"])
        if channel["target"]["path"] == "rotation":
            np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-5)
            assert abs(values[0] @ values[-1]) > 1 - 1e-5  # a seamless loop
        else:
            np.testing.assert_allclose(values[0], values[-1], atol=1e-5)


@pytest.mark.parametrize(("kind", "motion"), [(k, m) for k in KINDS for m in MOTIONS[k]])
def test_every_motion_moves_and_loops(kind, motion, tmp_path):
    path = tmp_path / "toy.glb"
    path.write_bytes(make_toy(11, kind=kind, motion=motion).glb)
    asset = load_glb(path)
    poses = [np.concatenate(asset.pose(0, t).positions) for t in (0.0, 0.2, 0.45, 1.0)]
    size = float(np.ptp(poses[0], axis=0).max())
    assert max(np.linalg.norm(p - poses[0], axis=1).max() for p in poses[1:3]) > 0.05 * size
    np.testing.assert_allclose(poses[3], poses[0], atol=1e-3)
    # It stands upright in the z-up world and faces the camera at azimuth 0 (-y): its two eyes are in front.
    assert np.ptp(poses[0], axis=0)[2] > 0.2 * size
    colors = np.concatenate([p.colors for p in asset.primitives])[:, :3]
    eyes = poses[0][_has_color(colors, GLOW if kind == "robot" else DARK) & (np.abs(poses[0][:, 0]) > 0.02)]
    eyes = eyes[eyes[:, 2] < eyes[:, 2].min() + 0.15]  # a robot's antenna glows too
    assert (eyes[:, 0] > 0).any() and (eyes[:, 0] < 0).any()
    assert eyes[:, 1].max() < poses[0][:, 1].mean() - 0.1 * np.ptp(poses[0][:, 1])


def test_same_seed_same_bytes_other_seed_other_toy():
    assert make_toy(5).glb == make_toy(5).glb
    toys = [make_toy(s, kind="robot", motion="walk") for s in range(12)]
    assert len({t.glb for t in toys}) == 12
    assert len({t.caption for t in toys}) >= 8


def test_captions_name_the_kind():
    words = {
        "quadruped": ("quadruped", "animal"),
        "bird": ("bird",),
        "fish": ("fish",),
        "humanoid": ("person", "doll"),
        "robot": ("robot",),
    }
    for kind in KINDS:
        for seed in range(6):
            assert any(w in make_toy(seed, kind=kind).caption for w in words[kind])


def test_toybox_resumes_and_covers_everything(tmp_path):
    paths = write_toybox(tmp_path / "box", count=25, seed=4, progress=False)
    manifest = json.loads((tmp_path / "box" / "manifest.json").read_text())["toys"]
    assert {(e["kind"], e["motion"]) for e in manifest} == {(k, m) for k in KINDS for m in MOTIONS[k]}
    kept = paths[3].stat().st_mtime_ns
    paths[5].unlink()
    again = write_toybox(tmp_path / "box", count=26, seed=4, progress=False)
    assert again[3].stat().st_mtime_ns == kept and again[5].is_file() and len(again) == 26
    assert not [p for p in (tmp_path / "box").iterdir() if p.name.startswith(".")]
    changed = write_toybox(tmp_path / "box", count=5, seed=9, progress=False)
    assert changed[3].stat().st_mtime_ns != kept


def test_bad_requests_are_one_clear_line(tmp_path):
    for call in (
        lambda: write_toybox(tmp_path, count=0),
        lambda: write_toybox(tmp_path / "new", count=1, seed=-1),
        lambda: make_toy(-1),
        lambda: make_toy(0, kind="dragon"),
        lambda: make_toy(0, kind="fish", motion="walk"),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="folder"):
        write_toybox(tmp_path / "file", count=1)
