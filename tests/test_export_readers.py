"""Exports read back by other programs: Python readers always, Node programs and fourdgs where they are installed."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import export_readers as readers

from orbit4d.errors import InputError
from orbit4d.export.by_suffix import export_scene
from orbit4d.export.glb import write_glb
from orbit4d.splat.gaussians import Gaussians4D

FRAMES = 5


@pytest.fixture(scope="module")
def scene() -> Gaussians4D:
    return readers.example_scene(count=300, frames=FRAMES)


@pytest.fixture
def tools() -> Path:
    found = readers.node_tools()
    if found is None:
        pytest.skip("set ORBIT4D_NODE_TOOLS to a folder with npm's @playcanvas/splat-transform and gltf-validator")
    return found


def test_ply_sequence_by_plyfile(scene, tmp_path: Path) -> None:
    rows = readers.check_ply(scene, tmp_path, FRAMES, None)
    assert rows["files"] == FRAMES and set(rows["plyfile"]) >= {"position", "f_dc", "f_rest"}
    assert max(rows["plyfile"].values()) < 1e-3


def test_glb_by_its_container_and_the_schema(scene, tmp_path: Path) -> None:
    """The facts of the extension's text: names, types, ranges, required properties."""
    rows = readers.check_glb(scene, tmp_path, None)
    assert max(rows["own reader of the container"].values()) < 1e-3
    document, read = readers.read_glb(tmp_path / "a.glb")
    primitive = document["meshes"][0]["primitives"][0]
    assert document["extensionsUsed"] == [readers.EXTENSION] and "extensionsRequired" not in document
    assert primitive["mode"] == 0 and document["asset"]["extras"] == {"time": 0.5}
    extension = primitive["extensions"][readers.EXTENSION]
    assert extension["kernel"] == "ellipse" and extension["colorSpace"] == "srgb_rec709_display"
    kinds = {name: document["accessors"][i] for name, i in primitive["attributes"].items()}
    prefix = f"{readers.EXTENSION}:"
    assert {kinds[prefix + n]["type"] for n in ("SCALE", "SH_DEGREE_0_COEF_0")} == {"VEC3"}
    assert kinds[prefix + "ROTATION"]["type"] == "VEC4" and kinds[prefix + "OPACITY"]["type"] == "SCALAR"
    assert all(a["componentType"] == 5126 for n, a in kinds.items() if n.startswith(prefix))
    coefficients = [f"{prefix}SH_DEGREE_{d}_COEF_{i}" for d in range(4) for i in range(2 * d + 1)]
    assert [n for n in kinds if ":SH_" in n] == coefficients
    np.testing.assert_allclose(kinds["POSITION"]["min"], read["POSITION"].min(0))
    np.testing.assert_allclose(kinds["POSITION"]["max"], read["POSITION"].max(0))
    np.testing.assert_allclose(np.linalg.norm(read[prefix + "ROTATION"], axis=1), 1, atol=1e-6)
    assert (read[prefix + "SCALE"] >= 0).all() and read[prefix + "OPACITY"].min() >= 0
    assert read[prefix + "OPACITY"].max() <= 1
    # The fallback: linear colour of the diffuse part, opacity in alpha.
    srgb = np.clip(0.5 + 0.28209479 * read[prefix + "SH_DEGREE_0_COEF_0"], 0, 1)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(read["COLOR_0"][:, :3], linear, atol=1e-4)
    np.testing.assert_allclose(read["COLOR_0"][:, 3], read[prefix + "OPACITY"][:, 0], atol=1e-4)
    for view, accessor in zip(document["bufferViews"], document["accessors"], strict=True):
        assert view["byteOffset"] % 4 == 0 and accessor["count"] == 300
    assert document["buffers"][0]["byteLength"] % 4 == 0


def test_glb_stands_upright(scene, tmp_path: Path) -> None:
    """Our +z is glTF's +y, our front (-y) faces +z, as the convention for models has it."""
    g = scene.at(0.0)
    path = write_glb(g, tmp_path / "a.glb")
    _, read = readers.read_glb(path)
    expected = torch.stack([g.means[:, 0], g.means[:, 2], -g.means[:, 1]], dim=1)
    np.testing.assert_allclose(read["POSITION"], expected, atol=1e-6)


def test_glb_that_is_not_finite_is_refused(scene, tmp_path: Path) -> None:
    g = scene.at(0.0)
    g.log_scales = g.log_scales.clone()
    g.log_scales[3, 0] = 200.0  # its exponential is infinite
    with pytest.raises(InputError, match="scale holds values that are not finite"):
        write_glb(g, tmp_path / "a.glb")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("suffix", "alpha", "colour"),
    [(".webp", 0.01, 0.05), (".gif", 0.0, 0.05), (".webm", 0.03, 0.08), (".mov", 0.01, 0.02)],
)
def test_transparent_videos(scene, tmp_path: Path, suffix: str, alpha: float, colour: float) -> None:
    rows = readers.check_videos(scene, tmp_path, FRAMES, 64, suffixes=(suffix,))
    assert rows[suffix]["frames"] == FRAMES
    assert rows[suffix]["alpha_mean_error"] <= alpha and rows[suffix]["colour_mean_error_inside"] <= colour


def test_mp4_has_no_alpha(scene, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.mp4 holds no transparency") as caught:
        export_scene(scene, tmp_path / "a.mp4", frames=4, size=32, transparent=True)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_frames_and_cameras_come_back(scene, tmp_path: Path) -> None:
    rows = readers.check_frames(scene, tmp_path, FRAMES, 48)
    assert rows["alpha"] <= 0.51 / 255 and max(v for k, v in rows.items() if k != "alpha") < 1e-5
    export_scene(scene, tmp_path / "frames" / "transforms.json", frames=3, size=32)  # an earlier one is replaced
    (tmp_path / "frames" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"thesis\.txt"):
        export_scene(scene, tmp_path / "frames" / "transforms.json", frames=3, size=32)


def test_4dgs_without_its_package_says_what_to_install(scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fourdgs", None)
    with pytest.raises(InputError, match=r"orbit4d\[exports\]"):
        export_scene(scene, tmp_path / "deep" / "a.4dgs", frames=FRAMES)
    assert not list(tmp_path.iterdir())


def test_4dgs_by_its_own_validator_and_readers(scene, tmp_path: Path) -> None:
    if importlib.util.find_spec("fourdgs") is None:
        pytest.skip("needs the package fourdgs (extra 'exports')")
    rows = readers.check_4dgs(scene, tmp_path, FRAMES)
    assert rows["validator"] == {"ok": True, "findings": []} and rows["temporal_model"] == "keyframe-delta"
    for name, degrees in (("at a keyframe", 0.5), ("between keyframes", 5.0)):
        row = rows[name]
        assert row["streamed and indexed agree"] and row["position"] < 2e-3 and row["rotation_deg"] < degrees
        assert row["log_scale"] < 0.01 and row["opacity"] < 0.005 and row["mean_colour"] < 0.005


def test_ply_and_glb_by_splat_transform(scene, tmp_path: Path, tools: Path) -> None:
    rows = readers.check_ply(scene, tmp_path, FRAMES, tools)
    assert max(rows["splat-transform"].values()) < 1e-3
    rows = readers.check_glb(scene, tmp_path, tools)
    for up in ("y-down", "z"):
        row = rows[f"splat-transform's GLB of our PLY, up {up}"]
        assert row.pop("same extension object") and max(row.values()) < 1e-3
    assert max(rows["our reader on splat-transform's GLB"].values()) < 1e-3


def test_splat_as_splat_transform_reads_it(scene, tmp_path: Path, tools: Path) -> None:
    """It takes a rotation's byte b as 2 b / 255 - 1, the first players as (b - 128) / 128: half a step apart."""
    row = readers.check_splat_import(scene, tmp_path, tools)
    assert row.pop("rotation_deg") < 1 and max(row.values()) < 1e-4


def test_glb_by_khronos_validator(scene, tmp_path: Path, tools: Path) -> None:
    """No error but the names of the extension's attributes, which a validator from before the extension cannot know."""
    rows = readers.check_glb(scene, tmp_path, tools)["gltf-validator"]
    assert rows["vertices"] == 300
    known = {"I UNSUPPORTED_EXTENSION", "E MESH_PRIMITIVE_INVALID_ATTRIBUTE"}
    assert set(rows["as_written"]) <= known and set(rows["with_plain_attribute_names"]) <= known - {
        "E MESH_PRIMITIVE_INVALID_ATTRIBUTE"
    }


def test_node_tools_are_found_by_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ORBIT4D_NODE_TOOLS", raising=False)
    assert readers.node_tools() is None
    monkeypatch.setitem(os.environ, "ORBIT4D_NODE_TOOLS", str(tmp_path))
    assert readers.node_tools() is None
    (tmp_path / "node_modules").mkdir()
    assert readers.node_tools() == tmp_path
