"""Gaussians from other programs' files: round trips, conventions, and files that must be refused in one line."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement
from splat_fixtures import changed_glb

from orbit4d.assets.gltf import load_glb
from orbit4d.assets.gltf_container import GAUSSIANS, Container
from orbit4d.cli import main
from orbit4d.errors import InputError
from orbit4d.export.by_suffix import export_scene
from orbit4d.export.compact import decode, write_compact
from orbit4d.export.glb import write_glb
from orbit4d.export.ply import write_ply, write_ply_sequence
from orbit4d.imports import checked, scenes
from orbit4d.imports import compact as compact_reader
from orbit4d.imports.glb import has_gaussians, read_glb
from orbit4d.imports.ply import read_ply
from orbit4d.imports.scenes import load_gaussians, read_sequence
from orbit4d.imports.splat import LAYOUT, read_splat
from orbit4d.splat.gaussians import Gaussians, Gaussians4D
from orbit4d.splat.hexplane import quaternion_matrix
from orbit4d.splat.io import load_scene, save_scene
from orbit4d.splat.keyframes import FIELDS, Keyframes
from orbit4d.splat.spherical_harmonics import evaluate_sh
from orbit4d.splat.turning import UPS, turned, world_from

ROUND_TRIPS = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def gaussians(draw: st.DrawFn) -> Gaussians:
    """1 to 40 of any degree, with the extremes that files hold."""
    n, k = draw(st.integers(1, 40)), draw(st.sampled_from([1, 4, 9, 16]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    spread = draw(st.sampled_from([1e-3, 1.0, 1e4]))
    quats = torch.randn(n, 4, generator=generator)
    return Gaussians(
        means=spread * torch.randn(n, 3, generator=generator),
        quats=torch.nn.functional.normalize(quats, dim=-1),
        log_scales=draw(st.sampled_from([-12.0, -4.0, 3.0])) + torch.randn(n, 3, generator=generator),
        logit_opacities=draw(st.sampled_from([0.1, 4.0])) * torch.randn(n, generator=generator),
        sh=torch.randn(n, k, 3, generator=generator),
    )


def one_line(error: pytest.ExceptionInfo[InputError], *words: str) -> None:
    message = str(error.value)
    assert "\n" not in message and all(word in message for word in words), message


def covariances(g: Gaussians) -> torch.Tensor:
    frame = (
        quaternion_matrix(torch.nn.functional.normalize(g.quats.double(), dim=-1))
        * g.log_scales.double().exp()[:, None]
    )
    return frame @ frame.transpose(1, 2)


# --- 3DGS PLY


@ROUND_TRIPS
@given(g=gaussians(), up=st.sampled_from(UPS))
def test_ply_round_trip(g: Gaussians, up, tmp_path: Path) -> None:
    """The file says which axis is up, so that what is read is what was written, whatever the file's axes."""
    back = read_ply(write_ply(g, tmp_path / "a.ply", up=up))
    assert vars(back).keys() == vars(g).keys()
    torch.testing.assert_close(back.means, g.means)
    torch.testing.assert_close(back.log_scales, g.log_scales)
    torch.testing.assert_close(back.logit_opacities, g.logit_opacities)
    torch.testing.assert_close(back.sh, g.sh, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        covariances(back), covariances(g), rtol=1e-4, atol=1e-5 * float(covariances(g).abs().max())
    )


def as_table(g: Gaussians, kind: str) -> np.ndarray:
    rest = g.sh[:, 1:].transpose(1, 2).reshape(len(g), -1)
    columns = {"x": g.means[:, 0], "y": g.means[:, 1], "z": g.means[:, 2], "opacity": g.logit_opacities}
    columns |= {f"f_dc_{i}": g.sh[:, 0, i] for i in range(3)} | {f"f_rest_{i}": v for i, v in enumerate(rest.T)}
    columns |= {f"scale_{i}": v for i, v in enumerate(g.log_scales.T)} | {
        f"rot_{i}": v for i, v in enumerate(g.quats.T)
    }
    table = np.empty(len(g), dtype=[(name, kind) for name in columns])
    for name, values in columns.items():
        table[name] = values.numpy()
    return table


@ROUND_TRIPS
@given(g=gaussians(), layout=st.sampled_from(["<", ">", "text"]), kind=st.sampled_from(["f4", "f8"]))
def test_ply_of_other_writers(g: Gaussians, layout: str, kind: str, tmp_path: Path) -> None:
    """plyfile writes; columns in another order, no normals, elements beside the vertices, both byte orders, text."""
    vertex = PlyElement.describe(as_table(g, kind), "vertex")
    before = PlyElement.describe(np.ones(3, dtype=[("a", "u1"), ("b", "f8")]), "camera")
    after = PlyElement.describe(np.ones(2, dtype=[("c", "i4")]), "more")
    elements = [vertex, after] if layout == "text" else [before, vertex, after]
    path = tmp_path / "a.ply"
    PlyData(elements, text=layout == "text", byte_order="=" if layout == "text" else layout).write(str(path))
    back = read_ply(path)
    for name in FIELDS:
        torch.testing.assert_close(getattr(back, name), getattr(g, name), rtol=1e-5, atol=1e-5)


@pytest.fixture
def ball() -> Gaussians:
    generator = torch.Generator().manual_seed(2)
    n = 60
    return Gaussians(
        means=0.3 * torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1),
        quats=torch.nn.functional.normalize(torch.randn(n, 4, generator=generator), dim=-1),
        log_scales=torch.full((n, 3), -2.5),
        logit_opacities=torch.full((n,), 3.0),
        sh=torch.randn(n, 4, 3, generator=generator) * 0.3,
    )


def test_the_ends_of_the_ranges_are_kept_drawable(ball: Gaussians, tmp_path: Path) -> None:
    """Logits of opacities 0 and 1, logs of scale 0, a rotation of zero length: what converters write."""
    ball.logit_opacities[:2] = torch.tensor([torch.inf, -torch.inf])
    ball.log_scales[2, 0] = -torch.inf
    path = write_ply(ball, tmp_path / "a.ply")
    data = PlyData.read(str(path), mmap=False)
    for i in range(4):
        data["vertex"].data[f"rot_{i}"][3] = 0
    data.write(str(path))
    g = read_ply(path)
    assert all(torch.isfinite(v).all() for v in vars(g).values())
    torch.testing.assert_close(g.logit_opacities[:2].sigmoid(), torch.tensor([1.0, 0.0]), atol=1e-6, rtol=0)
    assert g.log_scales[2, 0].exp() < 1e-12 and g.quats[3].tolist() == [1, 0, 0, 0]


HEADER = "ply\nformat binary_little_endian 1.0\nelement vertex {n}\n{properties}end_header\n"
XYZ = "property float x\nproperty float y\nproperty float z\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["0 bytes"]),
        (b"not a ply at all", ["no PLY header"]),
        (b"ply\n" + b"comment x\n" * 20000, ["no PLY header"]),
        (b"ply\nformat ascii 1.0\nelement vertex 1\n", ["no PLY header"]),
        (HEADER.format(n=1, properties=XYZ).encode() + bytes(12), ["points or a mesh", "f_dc_0"]),
        (HEADER.format(n=10**12 - 1, properties=XYZ).encode(), ["999999999999 Gaussians"]),
        (HEADER.format(n=10**20, properties=XYZ).encode(), ["cannot be read", "element vertex"]),
        (HEADER.format(n=0, properties=XYZ).encode(), ["0 Gaussians"]),
        (HEADER.format(n=9, properties=XYZ).encode() + bytes(12), ["truncated", "9 Gaussians"]),
        (HEADER.format(n=1, properties=XYZ + "property list uchar int q\n").encode() + bytes(99), ["lists"]),
        (HEADER.format(n=1, properties=XYZ + "property float x\n").encode() + bytes(99), ["twice"]),
        (HEADER.format(n=1, properties="property uint packed_position\n").encode() + bytes(9), ["splat-transform"]),
        (HEADER.format(n=1, properties="property half x\n").encode() + bytes(9), ["property half x"]),
        (b"ply\nelement vertex 1\nproperty float x\nend_header\n" + bytes(9), ["names no known format"]),
        (b"ply\ncomment orbit4d up w\nformat ascii 1.0\nend_header\n", ["axis that points up", "'w'"]),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\nhello\n", ["not numbers"]),
        (b"ply\nformat ascii 1.0\nelement face 1\nproperty float x\nend_header\n1\n", ["without an element"]),
    ],
    ids=range(17),
)
def test_hostile_ply_is_one_line(content: bytes, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "bad.ply"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_ply(path)
    one_line(error, "bad.ply", *words)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_read_or_refused_in_one_line(data: st.DataObject, tmp_path: Path) -> None:
    """Bytes of good files replaced, cut off or repeated."""
    kind = data.draw(st.sampled_from(["a.ply", "a.splat"]))
    path = tmp_path / kind
    if kind == "a.ply":
        write_ply(data.draw(gaussians()), path)
    else:
        path.write_bytes(as_splat(data.draw(gaussians())).tobytes())
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    path.write_bytes(bytes(content))
    try:
        scene = load_gaussians(path)
    except InputError as error:
        assert "\n" not in str(error) and kind in str(error)
    else:
        assert all(torch.isfinite(v).all() for v in vars(scene.canonical).values())


# --- .splat


def as_splat(g: Gaussians) -> np.ndarray:
    table = np.zeros(len(g), LAYOUT)
    table["position"], table["scale"] = g.means.numpy(), g.log_scales.exp().numpy()
    table["rgba"][:, :3] = np.clip(np.rint(g.base_colors.numpy() * 255), 0, 255)
    table["rgba"][:, 3] = np.rint(g.logit_opacities.sigmoid().numpy() * 255)
    table["rotation"] = np.clip(np.rint(g.quats.numpy() * 128 + 128), 0, 255)
    return table


@ROUND_TRIPS
@given(g=gaussians(), up=st.sampled_from(UPS))
def test_splat_within_its_bytes(g: Gaussians, up, tmp_path: Path) -> None:
    path = tmp_path / "a.splat"
    path.write_bytes(as_splat(turned(g, world_from(up).T)).tobytes())
    assert path.stat().st_size == 32 * len(g)
    back = read_splat(path, up=up)
    torch.testing.assert_close(back.means, g.means, rtol=1e-5, atol=1e-5 * float(g.means.abs().max()))
    torch.testing.assert_close(back.log_scales, g.log_scales, rtol=1e-5, atol=1e-5)
    expected = g.base_colors.clamp(0, 1)
    torch.testing.assert_close(back.base_colors, expected, rtol=0, atol=0.5 / 255 + 1e-5)
    torch.testing.assert_close(
        back.logit_opacities.sigmoid(), g.logit_opacities.sigmoid(), rtol=0, atol=0.5 / 255 + 1e-5
    )
    assert (back.quats * g.quats).sum(-1).abs().min() > 0.9995
    assert back.sh.shape == (len(g), 1, 3)


def test_hostile_splat_is_one_line(ball: Gaussians, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bad.splat"
    table = as_splat(ball)
    path.write_bytes(table.tobytes()[:-1])
    with pytest.raises(InputError) as error:
        read_splat(path)
    one_line(error, "bad.splat", "1919 bytes", "multiple of 32")
    for field, value, words in (("scale", -1, "negative"), ("position", np.nan, "position"), ("scale", 1e30, "scale")):
        broken = table.copy()
        broken[field][7, 1] = value
        path.write_bytes(broken.tobytes())
        with pytest.raises(InputError) as error:
            read_splat(path)
        one_line(error, "bad.splat", words)
    path.write_bytes(table.tobytes())
    monkeypatch.setattr(checked, "MAX_GAUSSIANS", 59)
    with pytest.raises(InputError) as error:
        read_splat(path)
    one_line(error, "60 Gaussians", "1 to 59")
    monkeypatch.setattr(checked, "MAX_FILE", 100)
    with pytest.raises(InputError) as error:
        read_splat(path)
    one_line(error, "1920 bytes")


# --- glTF


@ROUND_TRIPS
@given(g=gaussians())
def test_glb_round_trip(g: Gaussians, tmp_path: Path) -> None:
    back = load_gaussians(write_glb(g, tmp_path / "a.glb")).canonical
    torch.testing.assert_close(back.means, g.means)
    torch.testing.assert_close(back.log_scales, g.log_scales, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(back.logit_opacities.sigmoid(), g.logit_opacities.sigmoid(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(back.sh, g.sh, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        covariances(back), covariances(g), rtol=1e-3, atol=1e-5 * float(covariances(g).abs().max())
    )


def test_glb_nodes_place_their_gaussians(ball: Gaussians, tmp_path: Path) -> None:
    """A quarter turn about glTF's y (our z), twice the size, moved up; a child moved along what was x."""
    source, half = write_glb(ball, tmp_path / "a.glb"), 0.5**0.5

    def change(document: dict) -> None:
        parent = {"rotation": [0, half, 0, half], "scale": [2, 2, 2], "translation": [0, 5, 0], "children": [1]}
        document["nodes"] = [parent, {"mesh": 0, "translation": [1, 0, 0]}]

    g = read_glb(changed_glb(source, tmp_path / "b.glb", change))
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    moved = Gaussians(**{**vars(ball), "means": ball.means + torch.tensor([1.0, 0, 0])})
    expected = turned(moved, quarter)
    torch.testing.assert_close(g.means, 2 * expected.means + torch.tensor([0, 0, 5.0]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(covariances(g), 4 * covariances(expected), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(g.sh, expected.sh, atol=1e-5, rtol=1e-5)


def _primitive(document: dict) -> dict:
    return document["meshes"][0]["primitives"][0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["nodes"][0].update(scale=[1, 2, 1]), ["stretches"]),
        (lambda d: d["nodes"][0].update(scale=[-1, 1, 1]), ["mirrors"]),
        (lambda d: d["nodes"][0].update(children=[0]), ["circle"]),
        (lambda d: d["nodes"][0].update(rotation="up"), ["not valid"]),
        (lambda d: _primitive(d)["extensions"][GAUSSIANS].update(colorSpace="lin_rec709_display"), ["colorSpace"]),
        (lambda d: _primitive(d)["extensions"][GAUSSIANS].update(kernel="box"), ["kernel", "'box'"]),
        (lambda d: _primitive(d)["attributes"].pop(f"{GAUSSIANS}:SCALE"), ["not valid", "SCALE"]),
        (lambda d: _primitive(d)["attributes"].pop(f"{GAUSSIANS}:SH_DEGREE_1_COEF_2"), ["not valid", "COEF_2"]),
        (lambda d: _primitive(d).pop("extensions"), ["found none"]),
        (lambda d: d["accessors"][1].update(count=10**9), ["1000000000 Gaussians"]),
        (lambda d: d["accessors"][0].update(count=50), ["not valid", "shape"]),
        (lambda d: _primitive(d)["attributes"].update({f"{GAUSSIANS}:OPACITY": 0}), ["accessor 0"]),
        (
            lambda d: _primitive(d)["extensions"][GAUSSIANS].update(extensions={f"{GAUSSIANS}_compression_spz_2": {}}),
            ["spz_2"],
        ),
        (lambda d: d["scenes"][0].update(nodes=[0] * 9999), ["more than 10000"]),
        (lambda d: d.update(meshes=7), ["not valid"]),
    ],
    ids=range(15),
)
def test_hostile_glb_is_one_line(change, words: list[str], ball: Gaussians, tmp_path: Path) -> None:
    source = write_glb(ball, tmp_path / "a.glb")
    with pytest.raises(InputError) as error:
        load_gaussians(changed_glb(source, tmp_path / "bad.glb", change))
    one_line(error, "bad.glb", *words)


def test_a_glb_that_draws_too_much_is_refused_before_it_is_read(
    ball: Gaussians, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node is drawn as often as it is listed: the file may be small, and what it draws large."""
    source = write_glb(ball, tmp_path / "a.glb")
    many = changed_glb(source, tmp_path / "many.glb", lambda d: d["scenes"][0].update(nodes=[0] * 20))
    assert len(read_glb(many)) == 20 * len(ball)
    monkeypatch.setattr(checked, "MAX_GAUSSIANS", 19 * len(ball))
    monkeypatch.setattr(Container, "accessor", lambda *a, **k: pytest.fail("read before it was counted"))
    with pytest.raises(InputError) as error:
        read_glb(many)
    one_line(error, "many.glb", "holds 1200 Gaussians")


def _unlist(document: dict) -> None:
    del document["extensionsUsed"]


def _no_scenes(document: dict) -> None:
    del document["scene"], document["scenes"]


def _require(document: dict) -> None:
    document["extensionsRequired"] = [GAUSSIANS]


def _beside_a_mesh(document: dict) -> None:
    document["meshes"][0]["primitives"].append({"attributes": {"POSITION": 0}})


def _without_gaussians(document: dict) -> None:
    _require(document)
    document["nodes"].append({})
    document["scenes"][0]["nodes"] = [1]


@pytest.mark.parametrize("change", [dict, _require, _unlist, _no_scenes])
def test_what_a_glb_holds_decides_not_what_it_lists(change, ball: Gaussians, tmp_path: Path) -> None:
    """As Gaussians it is read; where a mesh is expected, one line says what it is and what to do."""
    path = changed_glb(write_glb(ball, tmp_path / "a.glb"), tmp_path / "b.glb", change)
    assert has_gaussians(path)
    torch.testing.assert_close(load_gaussians(path).canonical.means, ball.means)
    with pytest.raises(InputError) as error:
        load_glb(path)
    one_line(error, "b.glb", "holds Gaussians", "expected a mesh", "orbit4d export", "--static")


def test_a_glb_of_a_mesh_and_gaussians(ball: Gaussians, tmp_path: Path) -> None:
    """Never half of it without a word: only points that the file itself calls optional are left out of a mesh."""
    both = changed_glb(write_glb(ball, tmp_path / "a.glb"), tmp_path / "b.glb", _beside_a_mesh)
    with pytest.raises(InputError) as error:
        has_gaussians(both)
    one_line(error, "b.glb", "both a mesh and Gaussians")
    assert load_glb(both).triangles == len(ball) // 3
    with pytest.raises(InputError) as error:
        load_glb(changed_glb(both, tmp_path / "c.glb", _require))
    one_line(error, "c.glb", "beside its mesh")


def test_a_glb_whose_scene_shows_no_gaussians(ball: Gaussians, tmp_path: Path) -> None:
    path = changed_glb(write_glb(ball, tmp_path / "a.glb"), tmp_path / "b.glb", _without_gaussians)
    assert not has_gaussians(path)
    for read in (load_gaussians, load_glb):
        with pytest.raises(InputError) as error:
            read(path)
        one_line(error, "b.glb", "expected")


# --- axes


@ROUND_TRIPS
@given(g=gaussians(), up=st.sampled_from(UPS), seed=st.integers(0, 1000))
def test_turning_turns_everything(g: Gaussians, up, seed: int) -> None:
    """Covariances are conjugated, and the colour seen from a turned direction is the one seen before."""
    rotation = world_from(up)
    assert torch.linalg.det(rotation) == 1
    out = turned(g, rotation)
    expected = rotation @ covariances(g) @ rotation.T
    torch.testing.assert_close(covariances(out), expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))
    directions = torch.randn(1, len(g), 3, generator=torch.Generator().manual_seed(seed))
    directions = torch.nn.functional.normalize(directions, dim=-1)
    seen = evaluate_sh(out.sh, directions @ rotation.T.float())
    torch.testing.assert_close(seen, evaluate_sh(g.sh, directions), atol=1e-4, rtol=1e-4)


def test_which_axis_is_up(ball: Gaussians) -> None:
    """+z of the world is the file's axis that points up; y and y-down keep x, or x and z, apart by half a turn about z."""
    for up, axis in (("z", [0, 0, 1]), ("y", [0, 1, 0]), ("y-down", [0, -1, 0])):
        assert (world_from(up) @ torch.tensor(axis, dtype=torch.float64)).tolist() == [0, 0, 1]
    half_turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))
    assert torch.equal(world_from("y-down"), world_from("y") @ half_turn)
    assert turned(ball, world_from("z")) is ball


# --- sequences


class Growing:
    """Everything changes over time, and turns past half a revolution."""

    kind = "test"

    def config(self) -> dict:
        return {}

    def state_dict(self) -> dict:
        return {}

    def __call__(self, g: Gaussians, time) -> Gaussians:
        t = float(time)
        angle = torch.tensor(4.0 * t)
        turn = torch.stack([(angle / 2).cos(), angle * 0, angle * 0, (angle / 2).sin()])
        return Gaussians(
            means=g.means + t,
            quats=turn.expand_as(g.quats),
            log_scales=g.log_scales + t,
            logit_opacities=g.logit_opacities - 4 * t,
            sh=g.sh * (1 - t),
        )


def test_a_sequence_is_what_was_exported(ball: Gaussians, tmp_path: Path) -> None:
    scene = Gaussians4D(canonical=ball, deformation=Growing())
    folder = write_ply_sequence(scene, tmp_path / "seq", frames=11, up="y-down")
    (folder / "frame_002.ply").rename(folder / "frame_2.ply")  # numbers order the files, not their names
    back = load_gaussians(folder)
    for t in (0.0, 0.2, 0.5, 1.0):
        expected, got = scene.at(t), back.at(t)
        for name in ("means", "log_scales", "logit_opacities", "sh"):
            torch.testing.assert_close(getattr(got, name), getattr(expected, name), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(covariances(got), covariances(expected), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(back.at(0.25).means, scene.at(0.25).means, atol=1e-4, rtol=1e-4)
    saved = load_scene(save_scene(back, tmp_path / "scene.safetensors"))
    for t in (0.0, 0.33, 1.0):
        for name in FIELDS:
            assert torch.equal(getattr(saved.at(t), name), getattr(back.at(t), name))


def test_what_does_not_change_is_stored_once(ball: Gaussians) -> None:
    moved = Gaussians(**{**vars(ball), "means": ball.means + 1})
    frames = Keyframes.of([ball, moved, ball])
    assert frames.config() == {"count": 60, "frames": 3, "coefficients": 4, "changing": ["means"]}
    assert [len(frames.state_dict()[name]) for name in FIELDS] == [3, 1, 1, 1, 1]
    batch = frames.deform_batch(ball, torch.tensor([0.0, 0.25, 0.5]))
    torch.testing.assert_close(batch.means[1], ball.means + 0.5)
    with pytest.raises(ValueError, match="tracks are of 60"):
        frames(moved[:3], 0.5)


def test_sequences_that_do_not_belong_together(ball: Gaussians, tmp_path: Path) -> None:
    for i, g in enumerate((ball, ball, ball[:50])):
        write_ply(g, tmp_path / f"frame_{i}.ply")
    with pytest.raises(InputError) as error:
        read_sequence(tmp_path)
    one_line(error, "frame_2.ply holds 50 Gaussians of degree 1", "frame_0.ply 60")
    write_ply(Gaussians(**{**vars(ball), "sh": ball.sh[:, :1]}), tmp_path / "frame_1.ply")
    with pytest.raises(InputError) as error:
        read_sequence(tmp_path)
    one_line(error, "frame_1.ply", "degree 0")
    for i in (1, 2):
        (tmp_path / f"frame_{i}.ply").unlink()
    with pytest.raises(InputError) as error:
        load_gaussians(tmp_path)
    one_line(error, "1 .ply files", "scene.safetensors")


# --- compact 4D assets


@pytest.mark.parametrize("name", ["a.glb.gz", "a.glb"])
def test_compact_assets_move_as_what_was_exported(ball: Gaussians, name: str, tmp_path: Path) -> None:
    scene = Gaussians4D(canonical=ball, deformation=Growing())
    file = write_compact(scene, tmp_path / name, frames=5, bound=1e-3)
    back, compact = load_gaussians(file), decode(file.read_bytes())
    for t in torch.linspace(0, 1, 9).tolist():
        expected, got = compact.at(t), back.at(t)
        for field in ("means", "log_scales", "logit_opacities", "sh"):
            torch.testing.assert_close(getattr(got, field), getattr(expected, field), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(covariances(got), covariances(expected), atol=1e-5, rtol=1e-4)
    moved = (back.at(1.0).means - back.at(0.0).means).mean(0)
    torch.testing.assert_close(moved, torch.ones(3), atol=0.01, rtol=0)
    half = (compact.at(0.25).means + compact.at(0.375).means) / 2
    torch.testing.assert_close(back.at(0.3125).means, half, atol=1e-4, rtol=1e-4)


def test_a_compact_asset_at_rest(ball: Gaussians, tmp_path: Path) -> None:
    back = load_gaussians(write_compact(Gaussians4D(canonical=ball), tmp_path / "a.glb.gz"))
    assert back.deformation is None and len(back.canonical) == len(ball)


def test_hostile_compact_assets_are_one_line(ball: Gaussians, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Gaussians4D(canonical=ball, deformation=Growing())
    good = write_compact(scene, tmp_path / "good.glb", frames=3)
    packed, bad = gzip.compress(good.read_bytes()), tmp_path / "bad.glb.gz"

    def refused(path: Path, *words: str, up=None) -> None:
        with pytest.raises(InputError) as error:
            load_gaussians(path, up=up)
        one_line(error, path.name, *words)

    refused(tmp_path / "absent.glb.gz", "no such file")
    for data in (b"nothing", packed[:-9], gzip.compress(b"nothing of the kind, and long enough")):
        bad.write_bytes(data)
        refused(bad)
    refused(good, "y up", up="z")
    cut = changed_glb(good, tmp_path / "cut.glb", lambda d: d.pop("animations"))
    refused(cut, "not a compact 4D scene")
    (tmp_path / "text.gltf").write_bytes(good.read_bytes())
    refused(tmp_path / "text.gltf", "give the .glb")
    bad.write_bytes(packed)
    monkeypatch.setattr(scenes, "MAX_VALUES", 1000)
    refused(bad, "do not fit in memory")
    monkeypatch.setattr(compact_reader, "MAX_BYTES", 1000)
    refused(bad, "gzip data")


# --- any of them as IN


@pytest.mark.parametrize("kind", ["a.ply", "a.splat", "a.glb", "seq", "scene.safetensors", "folder"])
def test_export_takes_them_all(ball: Gaussians, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    still = Gaussians(**{**vars(ball), "sh": ball.sh[:, :1]})
    source = tmp_path / kind
    match kind:
        case "a.ply":
            write_ply(still, source)
        case "a.splat":
            source.write_bytes(as_splat(still).tobytes())
        case "a.glb":
            write_glb(still, source)
        case "seq":
            write_ply_sequence(Gaussians4D(canonical=still), source, frames=3)
        case "folder":
            source.mkdir()
            save_scene(Gaussians4D(canonical=still), source / "scene.safetensors")
        case _:
            save_scene(Gaussians4D(canonical=still), source)
    out = tmp_path / "out.ply"
    assert main(["export", str(source), str(out), "--up", "y"]) == 0
    back = read_ply(out)
    torch.testing.assert_close(back.means, still.means, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(back.base_colors, still.base_colors.clamp(0, 1), atol=0.003, rtol=0)
    assert main(["export", str(source), str(tmp_path / "copy.safetensors")]) == 0
    assert len(load_scene(tmp_path / "copy.safetensors").canonical) == 60
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent.ply", "o.ply"], ["absent.ply", "no such file"]),
        (["a.obj", "o.ply"], ["a.obj", ".splat"]),
        (["a.ply", "o.glb", "--up", "y"], ["--up", "y up"]),
        (["a.ply", "o.glb", "--time", "2"], ["--time"]),
        (["a.ply", "o.html", "--transparent"], ["--transparent", ".webp"]),
        (["a.ply", "frames.json"], ["frames.json", "transforms.json"]),
        (["scene.safetensors", "o.ply", "--source-up", "y"], ["z up"]),
    ],
)
def test_bad_exports_are_one_line(
    arguments: list[str], words: list[str], ball: Gaussians, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ply(ball, tmp_path / "a.ply")
    save_scene(Gaussians4D(canonical=ball), tmp_path / "scene.safetensors")
    (tmp_path / "a.obj").write_text("v 0 0 0\n")
    before = sorted(tmp_path.iterdir())
    paths = [a if a.startswith("-") or i > 1 else str(tmp_path / a) for i, a in enumerate(arguments)]
    assert main(["export", *paths]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and all(word in said for word in words), said
    assert sorted(tmp_path.iterdir()) == before


def test_axes_of_the_source_can_be_told(ball: Gaussians, tmp_path: Path) -> None:
    table = PlyElement.describe(as_table(ball, "f4"), "vertex")
    PlyData([table]).write(str(tmp_path / "a.ply"))  # says nothing
    export_scene(tmp_path / "a.ply", tmp_path / "b.ply", source_up="y")
    x, y, z = ball.means.unbind(-1)
    torch.testing.assert_close(read_ply(tmp_path / "b.ply").means, torch.stack([x, -z, y], dim=1))
