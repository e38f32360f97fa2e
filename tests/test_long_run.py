"""The scripts of the long training: which clips they favour, and the snapshot that a run goes on from."""

# pyright: reportMissingImports=false

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from orbit4d.diffusion.batches import _motion_left
from orbit4d.diffusion.denoiser import Denoiser
from orbit4d.diffusion.hub import BUILT_IN
from orbit4d.errors import InputError

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "training"))

import long_run
import snapshot


def clip(key: str, caption: str, m: float, **more: Any) -> dict:
    kind = caption.split(" ", 2)[:2]
    return {"key": key, "kind": " ".join(kind), "captions": [caption], "motion_magnitude": m} | more


CLIPS = [
    clip("fox_0", "a fox walking", 0.01),
    clip("fox_1", "a fox walking", 0.02),
    clip("fox_2", "a fox dying", 0.09),
    clip("fox_3", "a fox running", 0.03),
    clip("fox_4", "a fox standing", 0.2),
    clip("fox_1-d1", "a fox walking", 0.005, damped=1),
    clip("fox_1-d2", "a fox walking", 0.0, damped=2),
    clip("fox_3-d1", "a fox running", 0.3, damped=1),
    clip("toy_0", "toy ball walking", 0.4),
]


def test_the_main_motions_of_each_character_are_favoured() -> None:
    """In their order of preference, the liveliest clip of each; with the clips that are damped ones of them, and no toys."""
    latents: Any = SimpleNamespace(clips=[dict(c) for c in CLIPS], weights=torch.ones(len(CLIPS)))
    assert long_run.main_clips(CLIPS, 2) == {"fox_1", "fox_3"}
    assert long_run.main_clips(CLIPS, 4) == {"fox_1", "fox_2", "fox_3"}
    arguments = long_run.Arguments(latents=Path("l"), out=Path("o"), main_motions=2, main_weight=5)
    long_run.weighed(latents, arguments)
    assert latents.weights.tolist() == [1, 5, 1, 5, 1, 5, 5, 5, 1]


def test_damped_clips_are_drawn_as_often_as_they_move() -> None:
    left = _motion_left(CLIPS).tolist()
    assert left[:5] == [1] * 5 and left[-1] == 1
    assert left[5] == pytest.approx(0.5)  # a quarter of m is half of the amplitude
    assert 0 < left[6] < 0.05
    assert left[7] == 1
    assert _motion_left([clip("lonely-d1", "a cow walking", 0.1, damped=1)]).tolist() == [1]


def test_a_snapshot_is_the_weights_but_for_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Denoiser.from_pretrained(BUILT_IN / "denoiser", low_cpu_mem_usage=False).float()
    base = {k: v.clone() for k, v in model.state_dict().items()}
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.temporal.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path / "denoiser")
    file = tmp_path / "snapshot.xz"
    said = snapshot.write(tmp_path / "denoiser", note="some steps", to=file)
    assert said["bytes"] == file.stat().st_size
    assert said["error"] < 0.08
    assert snapshot.read(tmp_path / "model", file=file) == "some steps"
    read = snapshot.weights_of(tmp_path / "model" / "denoiser")
    for name, value in model.state_dict().items():
        change = (value - base[name]).norm()
        assert float((read[name] - value).norm()) <= 0.1 * float(change) + 1e-3 * float(value.norm()), name
    from orbit4d.diffusion.pipeline import Orbit4DPipeline

    assert Orbit4DPipeline.from_pretrained(tmp_path / "model").vocabulary.kinds

    (tmp_path / "cut.xz").write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match="not a snapshot"):
        snapshot.read(tmp_path / "other", file=tmp_path / "cut.xz")
    monkeypatch.setattr(snapshot, "base_digest", lambda: "other weights")
    with pytest.raises(InputError, match="out of date"):
        snapshot.read(tmp_path / "other", file=file)
    assert not (tmp_path / "other").exists()
