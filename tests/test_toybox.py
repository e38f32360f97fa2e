"""The toybox: valid files, motion that loops, toys that hold together and stand on the ground, seeded variety."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from orbit4d.assets.gltf import Asset, load_glb
from orbit4d.assets.toybox import KINDS, MOTIONS, VERSION, make_toy, write_toybox
from orbit4d.assets.toybox.captions import words
from orbit4d.assets.toybox.clay import Clay
from orbit4d.assets.toybox.paint import HARMONIES, draw_look
from orbit4d.assets.toybox.toys import Toy
from orbit4d.errors import InputError

PAIRS = [(kind, motion) for kind, motions in MOTIONS.items() for motion in motions]
ON_THE_GROUND = (
    "quadruped", "bird", "humanoid", "robot", "dinosaur", "spider", "snake", "car", "truck", "flower", "tree", "machine",
    "chest", "lamp",
)  # fmt: skip


@pytest.fixture(scope="module")
def toys() -> dict[tuple[str, str], Toy]:
    """One toy of every kind and motion."""
    return {(k, m): make_toy(i, kind=k, motion=m) for i, (k, m) in enumerate(PAIRS)}


def _load(toy: Toy, folder: Path) -> Asset:
    path = folder / "toy.glb"
    path.write_bytes(toy.glb)
    return load_glb(path)


def _document(data: bytes) -> tuple[dict, bytes]:
    magic, version, total = struct.unpack_from("<4sII", data)
    assert (magic, version, total) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON" and size % 4 == 0
    rest, bin_kind = struct.unpack_from("<I4s", data, 20 + size)
    assert bin_kind == b"BIN\0" and 28 + size + rest == total
    return json.loads(data[20 : 20 + size]), data[28 + size :]


def _sculptures(seed: int = 0) -> list[tuple[str, str, Clay]]:
    out = []
    for kind, made in KINDS.items():
        for sort in made.sorts:
            rng = np.random.default_rng([seed, len(out)])
            out.append((kind, sort, made.build(rng, draw_look(rng), sort)))
    return out


@pytest.fixture(scope="module")
def sculptures() -> list[tuple[str, str, Clay]]:
    return _sculptures()


def test_there_is_enough_to_choose_from():
    assert len(KINDS) >= 14 and len({m for motions in MOTIONS.values() for m in motions}) >= 20
    assert all(len(motions) >= 10 and len(set(motions)) == len(motions) for motions in MOTIONS.values())


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_valid_gltf(kind):
    toy = make_toy(3, kind=kind)
    document, binary = _document(toy.glb)
    for view in document["bufferViews"]:
        assert view["byteOffset"] % 4 == 0 and view["byteOffset"] + view["byteLength"] <= len(binary)

    def read(index: int) -> np.ndarray:
        accessor = document["accessors"][index]
        dtype = {5126: np.float32, 5121: np.uint8, 5123: np.uint16, 5125: np.uint32}[accessor["componentType"]]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor["type"]]
        offset = document["bufferViews"][accessor["bufferView"]]["byteOffset"]
        return np.frombuffer(binary, dtype, accessor["count"] * width, offset).reshape(-1, width)

    triangles = 0
    for primitive in (p for mesh in document["meshes"] for p in mesh["primitives"]):
        attributes = {k: read(v) for k, v in primitive["attributes"].items()}
        position = document["accessors"][primitive["attributes"]["POSITION"]]
        np.testing.assert_allclose(attributes["POSITION"].min(0), position["min"], rtol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(attributes["NORMAL"], axis=1), 1, atol=1e-4)
        if "WEIGHTS_0" in attributes:
            assert (attributes["WEIGHTS_0"].sum(1, dtype=int) == 255).all()
            assert attributes["JOINTS_0"].max() < len(document["skins"][0]["joints"])
        indices = read(primitive["indices"])
        assert indices.max() < len(attributes["POSITION"])
        assert ("COLOR_0" in attributes) != ("TEXCOORD_0" in attributes)
        triangles += len(indices) // 3
    assert triangles == toy.triangles and 2000 <= triangles <= 16000
    for channel in document["animations"][0]["channels"]:
        sampler = document["animations"][0]["samplers"][channel["sampler"]]
        values, keys = read(sampler["output"]), len(read(sampler["input"]))
        if channel["target"]["path"] == "rotation":
            np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-5)
            assert (values[1:] * values[:-1]).sum(1).min() > 0.8  # dense enough to interpolate linearly
        assert len(values) % keys == 0


def test_every_motion_of_every_kind_loads_loops_and_moves(toys, tmp_path):
    for (kind, motion), toy in toys.items():
        asset = _load(toy, tmp_path)
        seconds = asset.animations[0].duration
        assert 0.59 < seconds < 2.01
        for p in asset.primitives:
            if p.weights is not None:
                np.testing.assert_allclose(p.weights.sum(1), 1, atol=1e-5)
        poses = [np.concatenate(asset.pose(0, t * seconds).positions) for t in (0.0, 0.2, 0.45, 1.0)]
        assert all(np.isfinite(p).all() for p in poses)
        size = float(np.ptp(poses[0], axis=0).max())
        moved = max(np.linalg.norm(p - poses[0], axis=1).max() for p in poses[1:3])
        assert moved > (0.008 if motion == "idle" else 0.03) * size, (kind, motion, moved / size)
        assert np.abs(poses[3] - poses[0]).max() < 2e-3 * size, (kind, motion)


def test_every_mechanism_of_gltf_is_used(toys):
    seen = set()
    for toy in toys.values():
        document, _ = _document(toy.glb)
        paths = {c["target"]["path"] for c in document["animations"][0]["channels"]}
        seen |= paths | {"texture" for _ in document.get("images", [])} | {"skin" for _ in document.get("skins", [])}
        rigid = {i for i, node in enumerate(document["nodes"]) if "mesh" in node and "skin" not in node}
        seen |= {"node" for c in document["animations"][0]["channels"] if c["target"]["node"] in rigid}
        weights = [p for mesh in document["meshes"] for p in mesh["primitives"] if "targets" in p]
        seen |= {"morph" for _ in weights}
    assert seen >= {"rotation", "translation", "scale", "weights", "texture", "skin", "node", "morph"}


def test_limbs_bend_smoothly(sculptures):
    """Every kind with limbs has rows that two or more joints share, with no more than four joints a vertex."""
    for kind, sort, clay in sculptures:
        shared = [p for p in clay.parts if sum((w > 0.05) & (w < 0.95) for _, w in p.weights).max(initial=0) > 0]
        if kind in ("quadruped", "bird", "fish", "humanoid", "dinosaur", "octopus", "flower"):
            assert shared, (kind, sort)
        for p in clay.parts:
            np.testing.assert_allclose(sum(w for _, w in p.weights), 1, atol=1e-9)


def test_no_part_floats(sculptures):
    """The boxes of a toy's parts hang together."""
    for kind, sort, clay in [*sculptures, *_sculptures(1)]:
        low = np.array([p.grid.min((0, 1)) for p in clay.parts]) - 0.005
        high = np.array([p.grid.max((0, 1)) for p in clay.parts]) + 0.005
        touching = (low[:, None] < high[None]).all(2) & (high[:, None] > low[None]).all(2)
        reached = np.zeros(len(low), bool)
        reached[0] = True
        for _ in range(len(low)):
            reached = reached | touching[reached].any(0)
        assert reached.all(), (kind, sort, [clay.parts[i].weights[0][0] for i in np.flatnonzero(~reached)])


def test_what_stands_touches_the_ground(sculptures):
    for kind, sort, clay in sculptures:
        lowest = min(p.grid[..., 1].min() for p in clay.parts)
        assert lowest > -0.02, (kind, sort)
        if kind in ON_THE_GROUND:
            assert lowest < 0.02, (kind, sort)
        for wheel in clay.limbs.get("wheel", []) if kind in ("car", "truck") else ():
            parts = [p for p in clay.parts if p.weights[0][0] == wheel.joints[0]]
            assert abs(min(p.grid[..., 1].min() for p in parts)) < 0.01, (kind, sort)


@pytest.mark.parametrize("kind", ["quadruped", "bird", "humanoid", "robot", "dinosaur"])
def test_walking_feet_stay_on_the_ground(kind, tmp_path):
    for seed in range(3):
        asset = _load(make_toy(seed, kind=kind, motion="walk"), tmp_path)
        seconds = asset.animations[0].duration
        poses = [np.concatenate(asset.pose(0, t * seconds).positions) for t in np.linspace(0, 1, 9)]
        lowest = np.array([p[:, 2].min() for p in poses])
        assert np.abs(lowest).max() < 0.07 * np.ptp(poses[0][:, 2]), (seed, lowest)


def test_same_seed_same_bytes_other_seed_other_toy():
    assert make_toy(5).glb == make_toy(5).glb
    toys = [make_toy(s, kind="robot", motion="walk") for s in range(12)]
    assert len({t.glb for t in toys}) == 12
    assert len({c for t in toys for c in t.captions}) >= 60


def test_bytes_do_not_depend_on_the_process():
    code = (
        "import hashlib; from orbit4d.assets.toybox import make_toy; "
        "print(hashlib.sha256(b''.join(make_toy(s).glb for s in range(8))).hexdigest())"
    )
    here = hashlib.sha256(b"".join(make_toy(s).glb for s in range(8))).hexdigest()
    for hash_seed in ("1", "77"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        assert done.stdout.strip() == here


def test_captions_are_true_and_distinct(toys):
    table = words()
    for (kind, motion), toy in toys.items():
        facts = toy.attributes
        names = table["kinds"][facts["sort"]]
        verbs = [v for k, v in table["special"].items() if k in (f"{facts['sort']} {motion}", f"{kind} {motion}")]
        verbs = verbs[0] if verbs else table["motions"][motion]
        assert len(toy.captions) >= 4 and len(set(toy.captions)) == len(toy.captions) and toy.caption in toy.captions
        for caption in toy.captions:
            assert any(n in caption for n in names), caption
            assert any(v.replace("its ", "") in caption.replace("its ", "").replace("their ", "") for v in verbs), (
                caption
            )
            assert not re.search(r"[{}]|  |\ba [aeiou]|\ban [^aeiou]|toy toy", caption), caption
            colors = {c for c in HARMONIES if re.search(rf"\b{c}\b", caption.split(" with ")[0])}
            named = {w for c in (facts["colors"]["main"], facts["colors"]["second"]) for w in (c, c.split()[-1])}
            assert colors <= named, caption
            slow, fast = (any(w in caption for m in table["manners"] if s in m for w in table["manners"][m] if w)
                          for s in ("slow", "fast"))  # fmt: skip
            assert facts["speed"] == "slow" or not slow, caption
            assert facts["speed"] == "fast" or not fast or "fast" in names, caption
        document, _ = _document(toy.glb)
        extras = document["asset"]["extras"]
        assert extras["caption"] == toy.caption and extras["kind"] == kind and extras["motion"] == motion
        assert extras["version"] == VERSION and extras["colors"] == facts["colors"]


def test_toybox_resumes_covers_everything_and_ignores_the_number_of_processes(tmp_path):
    box = tmp_path / "box"
    paths = write_toybox(box, count=44, seed=4, progress=False, workers=2)
    manifest = json.loads((box / "manifest.json").read_text())["toys"]
    assert [e["kind"] for e in manifest] == [list(KINDS)[i % len(KINDS)] for i in range(44)]
    assert len({(e["kind"], e["motion"]) for e in manifest}) == 44
    for entry, path in zip(manifest[:6], paths, strict=False):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
        toy = make_toy(entry["seed"], kind=entry["kind"], motion=entry["motion"])
        assert toy.glb == path.read_bytes() and toy.captions == entry["captions"]
    kept = paths[3].stat().st_mtime_ns
    paths[5].unlink()
    paths[7].write_bytes(paths[8].read_bytes())
    again = write_toybox(box, count=45, seed=4, progress=False, workers=0)
    assert again[3].stat().st_mtime_ns == kept and again[5].is_file() and len(again) == 45
    assert hashlib.sha256(again[7].read_bytes()).hexdigest() == manifest[7]["sha256"]
    assert not [p for p in box.iterdir() if p.name.startswith(".")]
    write_toybox(box, count=5, seed=4, progress=False)
    assert len(json.loads((box / "manifest.json").read_text())["toys"]) == 45, "toys beyond --count are still toys"
    with pytest.raises(InputError, match="another --seed"):
        write_toybox(box, count=5, seed=9, progress=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "cat.glb").write_bytes(paths[0].read_bytes())
    with pytest.raises(InputError, match="no toys of ours"):
        write_toybox(tmp_path / "mine", count=1, progress=False)


def test_bad_requests_are_one_clear_line(tmp_path):
    for call in (
        lambda: write_toybox(tmp_path, count=0),
        lambda: write_toybox(tmp_path, count=1, workers=-1),
        lambda: write_toybox(tmp_path / "new", count=1, seed=-1),
        lambda: make_toy(-1),
        lambda: make_toy(0, kind="gorgon"),
        lambda: make_toy(0, kind="fish", motion="walk"),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="folder"):
        write_toybox(tmp_path / "file", count=1)
    (tmp_path / "manifest.json").write_text('{"toys": 3}')
    with pytest.raises(InputError, match="manifest"):
        write_toybox(tmp_path, count=1)
