"""`orbit4d train`, from toys to weights that a pipeline loads; stopping and going on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from orbit4d.cameras import Orbit
from orbit4d.diffusion import train as line
from orbit4d.diffusion.pipeline import Orbit4DPipeline
from orbit4d.errors import InputError


def brief() -> line.Preset:
    preset = line.tiny()
    return replace(
        preset,
        toys=2,
        autoencoder=replace(preset.autoencoder, steps=8, batch=2, save_every=4),
        denoiser=replace(preset.denoiser, steps=4, batch=2, save_every=2),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of the tiny preset, made brief."""
    out = tmp_path_factory.mktemp("train") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(line.PRESETS, "tiny", brief)
        try:
            line.train("tiny", out=out)
        except InputError as error:
            if "no OpenGL" not in str(error):
                raise
            pytest.skip(str(error))
    return out


def test_the_whole_line_ends_in_weights_that_load(run):
    assert len(list((run / "clips").glob("*.npz"))) == len(list((run / "latents").glob("*.safetensors"))) == 2
    pipe = Orbit4DPipeline.from_pretrained(run / "weights")
    clip = pipe(prompt="a fish swimming", steps=2, orbit=Orbit(frames=3), progress=False)
    assert clip.rgb.shape == (3, 3, 128, 128) and torch.isfinite(clip.rgb).all()
    assert pipe.motion["training"]["step"] == 4 and pipe.motion["autoencoder_training"]["step"] == 8


def test_a_stage_goes_on_with_more_steps(run, monkeypatch):
    monkeypatch.setitem(line.PRESETS, "tiny", brief)
    with pytest.raises(InputError, match="holds a checkpoint"):
        line.train("tiny", out=run, stage="denoiser", resume=False)
    line.train("tiny", out=run, stage="denoiser", steps=6)
    assert Orbit4DPipeline.from_pretrained(run / "weights").motion["training"]["step"] == 6


def test_bad_settings_are_one_line(tmp_path):
    with pytest.raises(InputError, match="small, tiny"):
        line.train("huge", out=tmp_path)
    with pytest.raises(InputError, match="--data"):
        line.train("small", out=tmp_path)
    with pytest.raises(InputError, match="--steps"):
        line.train("tiny", out=tmp_path, steps=5)
    with pytest.raises(InputError, match="missing"):
        line.collect_weights(tmp_path)
