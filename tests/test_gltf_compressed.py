"""Draco and meshopt files, made by the libraries' own encoders, pose as their plain originals do."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from gltf_builder import Glb, draco_compressed, meshopt_compressed, pack, parse

from orbit4d.assets.gltf import load_glb
from orbit4d.assets.toybox import make_toy
from orbit4d.errors import InputError


def _save(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _compare(tmp_path: Path, data: bytes, compressed: bytes, *, atol: float) -> None:
    plain, other = load_glb(_save(tmp_path / "plain.glb", data)), load_glb(_save(tmp_path / "small.glb", compressed))
    assert [a.name for a in plain.animations] == [a.name for a in other.animations]
    for seconds in (0.0, 0.37, 1.0):
        for v, w in zip(plain.pose(0, seconds).positions, other.pose(0, seconds).positions, strict=True):
            np.testing.assert_allclose(v, w, atol=atol)
    for p, q in zip(plain.primitives, other.primitives, strict=True):
        np.testing.assert_array_equal(_rotated(p.indices), _rotated(q.indices))
        np.testing.assert_allclose(p.colors, q.colors, atol=1e-3)


def _rotated(indices: np.ndarray) -> np.ndarray:
    """Triangles with their smallest vertex first: the codecs may start a triangle at another corner."""
    triangles = indices.reshape(-1, 3)
    first = triangles.argmin(1)[:, None]
    return np.take_along_axis(triangles, (first + np.arange(3)) % 3, 1)


@pytest.mark.parametrize(("filters", "atol"), [(False, 1e-6), (True, 2e-3)])
def test_meshopt_views_decode_to_the_original(tmp_path, filters, atol):
    pytest.importorskip("meshopt", reason="meshopt is not installed (orbit4d[compressed])")
    data = make_toy(3, kind="quadruped", motion="walk").glb
    compressed = meshopt_compressed(data, filters=filters)
    assert parse(compressed)[0]["extensionsRequired"] == ["EXT_meshopt_compression"]
    _compare(tmp_path, data, compressed, atol=atol)


def test_draco_primitives_decode_to_the_original(tmp_path):
    pytest.importorskip("DracoPy", reason="DracoPy is not installed (orbit4d[compressed])")
    data = make_toy(5, kind="robot", motion="wave").glb
    _compare(tmp_path, data, draco_compressed(data), atol=2e-4)


@pytest.mark.parametrize(("library", "compress"), [("DracoPy", draco_compressed), ("meshopt", meshopt_compressed)])
def test_a_missing_decoder_is_named_and_a_fallback_is_read(tmp_path, monkeypatch, library, compress):
    pytest.importorskip(library, reason=f"{library}, which makes the file, is not installed (orbit4d[compressed])")
    data = make_toy(5, kind="robot", motion="wave").glb
    required, optional = compress(data), compress(data, fallback=True)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=r"pip install orbit4d\[compressed\]") as caught:
        load_glb(_save(tmp_path / "small.glb", required))
    assert "\n" not in str(caught.value)
    _compare(tmp_path, data, optional, atol=1e-6)


@pytest.mark.parametrize("library", ["DracoPy", "meshopt"])
def test_a_missing_decoder_is_named_without_making_a_file(tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    g = Glb().cube()
    if library == "DracoPy":
        g.primitive["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {"POSITION": 0}}}
        g.document["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    else:
        record = {"buffer": 0, "byteLength": 8, "byteStride": 12, "count": 8, "mode": "ATTRIBUTES"}
        g.document["bufferViews"][0]["extensions"] = {"KHR_meshopt_compression": record}
        g.document["extensionsRequired"] = ["KHR_meshopt_compression"]
    with pytest.raises(InputError, match=r"pip install orbit4d\[compressed\]"):
        load_glb(g.save(tmp_path / "a.glb"))


@pytest.mark.parametrize(("library", "compress"), [("DracoPy", draco_compressed), ("meshopt", meshopt_compressed)])
def test_damaged_payloads_are_one_clear_line(tmp_path, library, compress):
    """Cut short, with lies about counts and strides, and with a payload of another kind."""
    pytest.importorskip(library, reason=f"{library} is not installed (orbit4d[compressed])")
    sound = compress(make_toy(1, kind="fish").glb)

    def refused(change) -> str:
        document, binary = parse(sound)
        with pytest.raises(InputError, match=r"bad\.glb") as caught:
            load_glb(_save(tmp_path / "bad.glb", pack(document, change(document, binary) or binary)))
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
        return str(caught.value)

    if library == "DracoPy":

        def record(document):
            return document["bufferViews"][
                document["meshes"][0]["primitives"][0]["extensions"]["KHR_draco_mesh_compression"]["bufferView"]
            ]

        def count(document, binary):
            document["accessors"][document["meshes"][0]["primitives"][0]["indices"]]["count"] = 3_000_000

        def cut(document, binary):
            record(document)["byteLength"] //= 2

        def foreign(document, binary):
            start = record(document)["byteOffset"]
            return binary[:start] + b"PK\x03\x04" + binary[start + 4 :]

        assert "faces" in refused(count)
        assert "damaged" in refused(cut)
        assert "expected a Draco 2.2" in refused(foreign)
    else:

        def first(document):
            return next(v for v in document["bufferViews"] if "extensions" in v)["extensions"][
                "EXT_meshopt_compression"
            ]

        for key, value in (
            ("count", 2**40),
            ("byteStride", 7),
            ("mode", "SIDEWAYS"),
            ("filter", "QUATERNION"),
            ("byteLength", 9),
            ("byteOffset", 10**9),
        ):
            refused(lambda document, _, key=key, value=value: first(document).__setitem__(key, value))
