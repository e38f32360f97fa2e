"""Files made to do harm: every one loads and poses finitely, or is refused in one short line. Made here, byte by byte."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gltf_builder import Glb, pack, parse, png

from orbit4d.assets import gltf_container, gltf_materials, gltf_mesh
from orbit4d.assets.gltf import load_glb
from orbit4d.assets.toybox import make_toy
from orbit4d.data.render import place
from orbit4d.errors import InputError


def refusal(path: Path) -> str:
    """The message that refuses the file, which must be one short printable line that names it."""
    with pytest.raises(InputError) as caught:
        asset = load_glb(path)
        for animation in (None, *range(min(len(asset.animations), 1))):
            asset.pose(animation, 0.5)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 400 and path.stem in message
    return message


def finite(path: Path) -> None:
    """The file loads, and all that the renderer takes of it is finite."""
    asset = load_glb(path)
    animation = 0 if asset.animations else None
    for seconds in (0.0, 0.4, 1.0):
        posed = asset.pose(animation, seconds)
        assert all(np.isfinite(a).all() for a in (*posed.positions, *posed.normals))
    for p in asset.primitives:
        assert np.isfinite(p.uvs).all() and np.isfinite(p.colors).all() and np.isfinite(p.material.color).all()


def save(tmp_path: Path, content: bytes | Glb, name: str = "bad.glb") -> Path:
    path = tmp_path / name
    path.write_bytes(content.data() if isinstance(content, Glb) else content)
    return path


def test_numbers_that_are_none_in_the_buffers(tmp_path):
    """NaN counts as 0, the infinite too; what overflows when it is posed is refused."""
    for value in (math.nan, math.inf, -math.inf):
        g = Glb().cube().animate("translation", [0, value], np.full((2, 3), value), "VEC3")
        g.primitive["attributes"]["TEXCOORD_0"] = g.accessor(np.full((8, 2), value, np.float32), "VEC2")
        points = np.frombuffer(g.binary, np.float32, 24).copy()
        points[5] = value
        g.binary[: points.nbytes] = points.tobytes()
        finite(save(tmp_path, g))
    g = Glb().cube(1e30)
    assert "overflow" in refusal(save(tmp_path, g))
    g = Glb().cube(1e15).animate("scale", [0, 0.5], np.array([[1, 1, 1], [1e12] * 3]), "VEC3")
    assert "overflow" in refusal(save(tmp_path, g))


def test_enormous_tangents_and_weights(tmp_path):
    keys = np.full((6, 3), 3e38)
    g = Glb().cube().animate("translation", [0, 1], keys, "VEC3", "CUBICSPLINE")
    assert "overflow" in refusal(save(tmp_path, g))
    g = Glb().cube()
    g.primitive["targets"] = [{"POSITION": g.accessor(np.full((8, 3), 1e30, np.float32), "VEC3")}]
    g.animate("weights", [0, 1], np.full((2, 1), 1e30), "SCALAR")
    assert "overflow" in refusal(save(tmp_path, g))
    g.document["meshes"][0]["weights"] = ["many"]
    refusal(save(tmp_path, g))


def test_placing_never_divides_by_nothing(tmp_path):
    """All vertices in one point, and a box of the largest coordinates that are read."""
    with pytest.raises(InputError, match="span nothing"):
        place(load_glb(save(tmp_path, Glb().cube(0.0))), None)
    asset = load_glb(save(tmp_path, Glb().cube(9e17)))
    placed = place(asset, None).apply(asset.pose(None, 0), 0.0)
    assert np.isfinite(placed[0]).all() and np.abs(placed[0]).max() < 2


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("accessors", "count", -1),
        ("accessors", "count", 1e300),
        ("accessors", "count", 2**63),
        ("accessors", "count", "many"),
        ("accessors", "count", None),
        ("accessors", "componentType", 5127),
        ("accessors", "componentType", []),
        ("accessors", "type", "VEC9"),
        ("accessors", "byteOffset", -4),
        ("accessors", "byteOffset", float("nan")),
        ("accessors", "bufferView", "x" * 3000),
        ("accessors", "bufferView", [0]),
        ("accessors", "sparse", {"count": 10**9, "indices": {}, "values": {}}),
        ("accessors", "sparse", []),
        ("bufferViews", "byteLength", 2**40),
        ("bufferViews", "byteOffset", -1),
        ("bufferViews", "byteStride", 10**6),
        ("bufferViews", "buffer", {}),
        ("nodes", "translation", [1, 2]),
        ("nodes", "scale", [10**400] * 3),
        ("nodes", "rotation", "round"),
        ("nodes", "matrix", [[1] * 4] * 4),
        ("nodes", "children", [0]),
        ("nodes", "children", 5),
        ("nodes", "mesh", 10**30),
        ("nodes", "mesh", True),
        ("meshes", "primitives", {"a": 1}),
        ("meshes", "primitives", [[]]),
        ("scenes", "nodes", [0, 0]),
        ("scenes", "nodes", [None]),
    ],
)
def test_values_of_the_wrong_kind(tmp_path, section, key, value):
    g = Glb().cube()
    g.document[section][0][key] = value
    refusal(save(tmp_path, g))


@pytest.mark.parametrize("section", ["accessors", "bufferViews", "nodes", "meshes", "scenes", "asset", "buffers"])
@pytest.mark.parametrize("value", [None, 7, "text", [], [None], [7], {"0": {}}, [[[]]]])
def test_sections_of_the_wrong_kind(tmp_path, section, value):
    g = Glb().cube()
    g.document[section] = value
    path = save(tmp_path, g)
    if section == "scenes" and value == []:  # no scene at all: everything is drawn
        finite(path)
    else:
        refusal(path)


def test_json_that_is_too_deep_too_many_or_no_json(tmp_path, monkeypatch):
    head = b'{"asset":{"version":"2.0"},"x":'
    for text in (
        head + b"[" * 200_000 + b"]" * 200_000 + b"}",
        head + b"9" * 5000 + b"}",
        head,
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'{"asset": {"version": "\\ud800\\n\\u001b[31m2"}}',
    ):
        refusal(save(tmp_path, pack(text, b"")))
        (tmp_path / "bad.gltf").write_bytes(text)
        refusal(tmp_path / "bad.gltf")
    monkeypatch.setattr(gltf_container, "MAX_JSON_VALUES", 1000)
    assert "more than 1000 values" in refusal(save(tmp_path, pack(head + b"[" + b"[],[]," * 600 + b"0]}", b"")))


def test_names_cannot_write_to_the_terminal(tmp_path):
    g = Glb().cube()
    g.document["nodes"] = [{"mesh": 0, "name": "\x1b]0;owned\x07\r\n\u202e\ud800" + "n" * 9000, "scale": [1e200] * 3}]
    refusal(save(tmp_path, g))
    g.document["nodes"][0]["scale"] = [1, 1, 1]
    asset = load_glb(save(tmp_path, g))
    assert asset.nodes[0].name.isprintable() and len(asset.nodes[0].name) <= 200
    assert asset.primitives[0].name.isprintable()


@pytest.mark.parametrize("cycle", [1, 2, 5])
def test_node_cycles(tmp_path, cycle):
    g = Glb().cube()
    g.document["nodes"] = [{"mesh": 0, "children": [(i + 1) % cycle]} for i in range(cycle)]
    assert "ancestor" in (message := refusal(save(tmp_path, g))) or "cycle" in message


def _many_nodes(g: Glb) -> None:
    g.document["nodes"] = [{"mesh": 0}] * 60_000


def _many_draws(g: Glb) -> None:
    g.document["nodes"] = [{"mesh": 0} for _ in range(20_000)]
    g.document["scenes"] = [{"nodes": list(range(20_000))}]


def _many_primitives(g: Glb) -> None:
    g.document["meshes"][0]["primitives"] *= 20_000


def _many_targets(g: Glb) -> None:
    g.primitive["targets"] = [{}] * 100_000


def _many_channels(g: Glb) -> None:
    g.animate("translation", [0, 1], np.zeros((2, 3)), "VEC3")
    g.document["animations"][0]["channels"] *= 30_000


def _many_animations(g: Glb) -> None:
    g.animate("translation", [0, 1], np.zeros((2, 3)), "VEC3")
    g.document["animations"] *= 5_000


def _many_joints(g: Glb) -> None:
    g.document["skins"] = [{"joints": [0] * 250_000}]


def _many_instances(g: Glb) -> None:
    copies = g.accessor(np.zeros((60_000, 3), np.float32), "VEC3")
    g.document["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": copies}}}


def _endless_accessor(g: Glb) -> None:
    g.document["accessors"][0] = {"componentType": 5126, "count": 10**9, "type": "VEC3"}


def _endless_sparse(g: Glb) -> None:
    g.document["accessors"][0]["sparse"] = {
        "count": 9,
        "indices": {"bufferView": 0, "componentType": 5121},
        "values": {"bufferView": 0},
    }


def _long_animation(g: Glb) -> None:
    g.animate("translation", [0, 1e30], np.zeros((2, 3)), "VEC3")


@pytest.mark.parametrize(
    ("grow", "reason"),
    [
        (_many_nodes, "nodes"),
        (_many_draws, "meshes are drawn"),
        (_many_primitives, "meshes are drawn"),
        (_many_targets, "morph targets"),
        (_many_channels, "channels"),
        (_many_animations, "animations"),
        (_many_joints, "joints"),
        (_many_instances, "instances"),
        (_endless_accessor, "memory"),
        (_endless_sparse, "elements"),
        (_long_animation, "keyframes beyond"),
    ],
)
def test_sizes_beyond_reason(tmp_path, grow: Callable[[Glb], None], reason):
    g = Glb().cube()
    grow(g)
    assert reason in refusal(save(tmp_path, g))


def test_work_for_one_pose_is_bounded(tmp_path, monkeypatch):
    """Every array is small, and each may be named a thousand times."""
    g = Glb().cube()
    target = g.accessor(np.zeros((8, 3), np.float32), "VEC3")
    g.primitive["targets"] = [{"POSITION": target}] * 1000
    finite(save(tmp_path, g))
    monkeypatch.setattr(gltf_mesh, "MAX_WORK", 8000)
    assert "for a pose" in refusal(tmp_path / "bad.glb")


def test_too_many_meshes_are_refused_before_they_are_read(tmp_path, monkeypatch):
    """Reading a hundred thousand primitives took 14 seconds before they were counted."""
    g = Glb().cube()
    _many_primitives(g)
    monkeypatch.setattr(gltf_mesh, "_primitive", lambda *_, **__: pytest.fail("a primitive was read"))
    assert "meshes are drawn" in refusal(save(tmp_path, g))


def test_many_accessors_over_the_same_bytes_are_bounded_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(gltf_container, "MAX_DECODED", 100_000)
    g = Glb().cube()
    g.primitive["targets"] = [{"POSITION": g.primitive["attributes"]["POSITION"]}] * 2000
    assert "memory" in refusal(save(tmp_path, g))


@pytest.mark.parametrize("side", [0, 20_000, 65_535, 2**31 - 1])
def test_pictures_that_lie_about_their_size(tmp_path, side):
    refusal(save(tmp_path, Glb().cube().picture(png(8, 8, side=side))))


def test_picture_bombs_are_bounded_in_pixels(tmp_path, monkeypatch):
    """A few kilobytes of PNG, named by many images."""
    monkeypatch.setattr(gltf_materials, "MAX_PIXELS", 5 * 256 * 256)
    g = Glb().cube().picture(png(256, 256))
    g.document["images"] *= 6
    g.document["textures"] = [{"source": i} for i in range(6)]
    g.document["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": i}}} for i in range(6)]
    g.document["meshes"][0]["primitives"] = [g.primitive | {"material": i} for i in range(5)]
    finite(save(tmp_path, g))
    g.document["meshes"][0]["primitives"].append(g.primitive | {"material": 5})
    assert "pixels of textures" in refusal(save(tmp_path, g))


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a" + bytes(99), b"%!PS-Adobe-3.0 EPSF", b"\xabKTX 20\xbb\r\n\x1a\n" + bytes(80), b"\xff" * 50]
)
def test_pictures_of_other_kinds(tmp_path, data):
    refusal(save(tmp_path, Glb().cube().picture(data)))


@pytest.mark.parametrize(
    "uri",
    [
        "../secret.bin", "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:9/a.bin", "https://example.com/a.bin",
        "outside.bin", "loop.bin", "folder", "", ".", "..", "%2e%2e/secret.bin", "a%00.bin", "a\0.bin", "a" * 5000, "b/" * 3000,
        "data:;base64,@@@", "data:", "/dev/zero", "\ud800.bin", 5, None, [], {},
    ],
)  # fmt: skip
def test_links_stay_in_their_folder(tmp_path, uri):
    """Neither paths, nor escapes of them, nor symbolic links lead out, and nothing is fetched."""
    document, binary = parse(Glb().cube().data())
    folder = tmp_path / "inside"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(binary)
    (folder / "outside.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "loop.bin").symlink_to(folder / "loop.bin")
    document["buffers"][0]["uri"] = uri
    (folder / "bad.gltf").write_text(json.dumps(document))
    refusal(folder / "bad.gltf")


def test_headers_that_lie(tmp_path):
    sound = Glb().cube().data()
    (size,) = struct.unpack_from("<I", sound, 12)
    for place_, value in (
        (4, 1),
        (4, 3),
        (8, 0),
        (8, 2**32 - 1),
        (12, 0),
        (12, 2**32 - 1),
        (16, 0),
        (20 + size, 2**31),
    ):
        data = bytearray(sound)
        struct.pack_into("<I", data, place_, value)
        refusal(save(tmp_path, bytes(data)))
    for cut in (0, 3, 4, 11, 12, 19, 20, 21, 100, len(sound) - 1):
        refusal(save(tmp_path, sound[:cut]))


def test_random_json_values_never_crash(tmp_path):
    """Any value anywhere in the document gives an asset or an InputError, nothing else."""
    weird = [
        None,
        True,
        -1,
        2**70,
        1e300,
        float("nan"),
        "",
        "\ud800\n",
        [],
        {},
        [[]],
        [-1],
        {"a": 1},
        [1e38] * 3,
        0,
        5126,
    ]
    sound, binary = parse(make_toy(1, kind="fish").glb)
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(250):
        document = json.loads(json.dumps(sound))
        parent, key = document, str(rng.choice(list(document)))
        while isinstance(parent[key], dict | list) and parent[key] and rng.random() < 0.8:
            parent = parent[key]
            key = str(rng.choice(list(parent))) if isinstance(parent, dict) else int(rng.integers(len(parent)))
        parent[key] = weird[rng.integers(len(weird))]
        path = save(tmp_path, pack(document, binary))
        try:
            load_glb(path)
        except InputError:
            refusal(path)
            outcomes.add("refused")
        else:
            outcomes.add("loaded")
    assert outcomes == {"loaded", "refused"}
