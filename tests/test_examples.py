"""The examples run, in little."""

from __future__ import annotations

import importlib.util

import pytest
from conftest import REPOSITORY

from orbit4d.errors import InputError


def example(name: str):
    spec = importlib.util.spec_from_file_location("example", REPOSITORY / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_generate(tmp_path, capsys):
    example("01_generate")(tmp_path / "out", steps=1, fit_steps=3)
    assert all((tmp_path / "out" / f"seed{i}" / "scene.html").is_file() for i in (0, 1))
    assert "construct" in capsys.readouterr().out


def test_asset_to_scored_scene_and_on(tmp_path, capsys):
    try:
        example("02_from_an_animated_asset")(tmp_path, size=48, steps=40)
    except InputError as error:
        if "no OpenGL" not in str(error):
            raise
        pytest.skip(str(error))
    assert "mean" in capsys.readouterr().out
    example("03_use_a_scene")(tmp_path / "scene" / "scene.safetensors", tmp_path / "more", size=32)
    assert (tmp_path / "more" / "frozen.mp4").stat().st_size > 0
    assert len(list((tmp_path / "more" / "ply").glob("*.ply"))) == 8
    assert "Gaussians; the median one travels" in capsys.readouterr().out
