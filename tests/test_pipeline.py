"""`generate` and `reconstruct` as functions: what reaches the model, what reaches the construction, what is written.

The diffusion model is replaced by a double that records its conditions and returns a ball: what is tested here is
the line between the stages; tests/test_cli.py runs the same with the built-in weights.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import sphere_clip
from PIL import Image

from orbit4d import pipeline
from orbit4d.clip import OrbitalClip, load_clip, save_clip
from orbit4d.diffusion.captioner import Caption
from orbit4d.errors import InputError
from orbit4d.outputs import output_folder
from orbit4d.pipeline import generate, load_static, reconstruct
from orbit4d.studio.runs import OPTIONS


class Double:
    """Stands in for `Orbit4DPipeline`: records every call and returns a ball that rises, or one that stands."""

    weights_hash = "double"
    captioner_hash = "seer"

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.seen: Caption | None = None

    def caption(self, image: Any) -> Caption | None:
        assert image.shape[0] == 4
        return self.seen

    def __call__(self, **conditions: Any) -> OrbitalClip:
        self.calls.append(conditions)
        clip = sphere_clip(frames=12, size=128, moving=not conditions["static"])
        if conditions["static"]:
            clip.times = torch.zeros(12)
        clip.caption = conditions["prompt"]
        return clip

    def asked_magnitude(self, motion: float) -> float:
        return 0.05 * motion**2

    def condition_warnings(self, **told: Any) -> list[str]:
        return ["several frames"] if told["references"] is not None else []

    def vocabulary_warning(self, prompt: str | None) -> str | None:
        return f"{prompt!r} is strange" if prompt == "a zeppelin" else None


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Double:
    double = Double()
    monkeypatch.setattr("orbit4d.diffusion.pipeline.Orbit4DPipeline.from_pretrained", lambda name=None: double)
    return double


def _quick(out: Path, **arguments: Any) -> dict:
    return generate(out=out, size=64, fit_steps=8, progress=False, **arguments)


def test_the_asset_is_given_the_motion_that_was_asked_for(model: Double, tmp_path: Path) -> None:
    told = _quick(tmp_path / "told", prompt="a ball", motion=0.1)["matched_motion"]
    assert told["asked"] == pytest.approx(0.0005)
    assert (told["gain"] < 1) == (told["constructed"] > told["asked"])
    still = _quick(tmp_path / "still", prompt="a ball", motion=0.0)
    assert (still["matched_motion"]["gain"], still["scores"]["motion_magnitude"]) == (0, 0)
    assert _quick(tmp_path / "unsaid", prompt="a ball")["matched_motion"] is None
    assert _quick(tmp_path / "as_is", prompt="a ball", motion=0.1, match_motion=False)["matched_motion"] is None
    wild = _quick(tmp_path / "wild", prompt="a ball", motion=1.0)
    assert wild["matched_motion"]["gain"] == 1.5
    assert "the model moves this less" in wild["warnings"][0]


def test_what_is_not_said_of_the_motion_is_what_training_assets_have(model: Double, tmp_path: Path) -> None:
    _quick(tmp_path / "ball", prompt="a ball", steps=2)
    assert [call["motion"] for call in model.calls] == ["usual", None]


def test_a_prompt_samples_the_moving_and_the_frozen_orbit(model: Double, tmp_path: Path) -> None:
    report = _quick(tmp_path / "ball", prompt="a ball", motion=0.7, seed=3, steps=5, guidance_scale=2.0)
    moving, frozen = model.calls
    assert (moving["prompt"], moving["motion"], moving["static"]) == ("a ball", 0.7, False)
    assert (frozen["prompt"], frozen["motion"], frozen["static"]) == ("a ball", None, True)
    assert moving["seed"] == frozen["seed"] == 3 and moving["steps"] == 5 and moving["guidance_scale"] == 2.0
    assert report["resolution"] == [64, 64] and report["frames"] == 12 and report["weights_hash"] == "double"
    assert report["seconds"].keys() == {
        "conditions",
        "load_model",
        "sample",
        "construct",
        "match_motion",
        "write",
        "score",
    }
    assert report["scores"]["motion_magnitude"] >= 0
    written = json.loads((tmp_path / "ball" / "report.json").read_text())
    assert written == {"program": "orbit4d", **json.loads(json.dumps(report))}
    assert written["settings"]["prompt"] == "a ball" and "out" not in written["settings"]
    saved = load_clip(tmp_path / "ball" / "clip")
    assert saved.rgb.shape[-2:] == (64, 64) and saved.caption == "a ball"


def test_the_frozen_orbit_is_optional(model: Double, tmp_path: Path) -> None:
    _quick(tmp_path / "ball", prompt="a ball", sample_static=False)
    assert [call["static"] for call in model.calls] == [False]


def test_an_image_arrives_cut_out_and_centred(model: Double, tmp_path: Path) -> None:
    image = Image.new("RGB", (80, 60), "white")
    image.paste((200, 30, 30), (10, 10, 30, 50))
    image.save(tmp_path / "brick.png")
    _quick(tmp_path / "out", image=tmp_path / "brick.png", prompt="a brick")
    reference = model.calls[0]["image"]
    assert reference.shape[0] == 4 and reference.shape[1] == reference.shape[2]
    columns = (reference[3] > 0.5).any(dim=0).nonzero().flatten()
    assert float(columns.float().mean() + 0.5) == pytest.approx(reference.shape[2] / 2, abs=1.5)
    assert model.calls[0]["prompt"] == "a brick"


def test_a_video_arrives_as_reference_frames(model: Double, tmp_path: Path) -> None:
    filmed = sphere_clip(frames=10, size=48)
    filmed.cameras = filmed.cameras[[0] * 10]
    video = save_clip(filmed, tmp_path / "front")
    _quick(tmp_path / "out", video=video, prompt="a ball rising", motion=0.4, azimuth=30.0, scheduler="euler")
    moving, frozen = model.calls
    shown = moving["references"]
    assert len(shown) == 5 and shown.rgb.shape[-2:] == (128, 128) and float(shown.times[-1]) == 1
    torch.testing.assert_close(shown.cameras.positions[0], torch.tensor([1.0, -(3**0.5), 0]), atol=1e-4, rtol=0)
    assert (moving["motion"], moving["image"], moving["scheduler"]) == (0.4, None, "euler")
    assert frozen["references"] is shown and frozen["static"]


def test_an_image_without_words_is_given_those_of_the_captioner(
    model: Double, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = Image.new("RGB", (80, 60), "white")
    image.paste((200, 30, 30), (10, 10, 30, 50))
    image.save(tmp_path / "brick.png")
    given: dict[str, Any] = {"image": tmp_path / "brick.png"}
    assert _quick(tmp_path / "nothing", **given)["caption"] is None
    assert model.calls[-1]["prompt"] is None

    model.seen = Caption(text="a brick falling", kind="a brick", motion="falling", kind_share=0.9, motion_share=0.6)
    report = _quick(tmp_path / "seen", **given)
    assert (report["caption"]["text"], report["settings"]["prompt"]) == ("a brick falling", None)
    assert load_clip(tmp_path / "seen" / "clip").caption is None and report["caption"]["captioner"] == "seer"
    assert {call["prompt"] for call in model.calls[-2:]} == {"a brick falling"}, "the moving and the static orbit"
    assert not any(call["caption"] for call in model.calls), "the model is not to look again"
    told = capsys.readouterr().err
    assert "brick.png looks like 'a brick falling', and" in told
    assert next(iter(OPTIONS)) in told, "the studio has words of its own for that option"

    model.seen = replace(model.seen, motion_share=0.3)
    _quick(tmp_path / "guessed", **given)
    assert "brick.png looks like 'a brick falling' (the motion is a guess), and" in capsys.readouterr().err

    assert _quick(tmp_path / "own", prompt="a stone", **given)["caption"] is None
    assert model.calls[-1]["prompt"] == "a stone"
    assert _quick(tmp_path / "off", caption=False, **given)["caption"] is None
    assert model.calls[-1]["prompt"] is None


def test_where_an_image_was_taken_from_reaches_the_model(model: Double, tmp_path: Path) -> None:
    image = Image.new("RGB", (80, 60), "white")
    image.paste((200, 30, 30), (10, 10, 30, 50))
    image.save(tmp_path / "brick.png")
    _quick(tmp_path / "out", image=tmp_path / "brick.png", azimuth=-90.0, orbits=2, shared_frames=4)
    call = model.calls[0]
    assert (call["azimuth"], call["orbits"], call["shared_frames"]) == (-90.0, 2, 4)


def test_a_static_clip_is_a_condition_and_starts_the_construction(
    model: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orbit = sphere_clip(frames=12, size=96, moving=False)
    orbit.times = torch.full((12,), 0.25)
    still = save_clip(orbit, tmp_path / "still")
    seen: dict[str, Any] = {}
    construct = pipeline._construct

    def spy(clip: OrbitalClip, static_clip: OrbitalClip | None, **rest: Any) -> Any:
        seen["static"] = static_clip
        return construct(clip, static_clip, **rest)

    monkeypatch.setattr(pipeline, "_construct", spy)
    _quick(tmp_path / "out", static=still, prompt="a ball bouncing")
    assert len(model.calls) == 1, "the given static orbit stands for a sampled one"
    condition = model.calls[0]["static_clip"]
    assert len(condition) == 12 and float(condition.times.max()) == 0
    assert seen["static"].rgb.shape[-2:] == (64, 64)


def test_the_same_seed_gives_the_same_scene_and_leaves_the_callers_randomness(model: Double, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        _quick(tmp_path / name, prompt="a ball", seed=seed)
    assert torch.equal(torch.rand(3), expected)
    a, b, c = ((tmp_path / name / "scene.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_reconstruct_takes_clips_and_paths(tmp_path: Path) -> None:
    clip = sphere_clip(frames=12, size=48)
    report = reconstruct(clip, out=tmp_path / "a", steps=8, size=32, progress=False)
    assert report["settings"]["clip"] == "OrbitalClip" and report["resolution"] == [32, 32]
    path = save_clip(clip, tmp_path / "clip")
    assert reconstruct(path, out=tmp_path / "b", steps=8, progress=False)["resolution"] == [48, 48]


def test_reconstruct_from_frames_on_white(tmp_path: Path) -> None:
    """Frames without alpha: the uniform background is removed, and the saved clip has an alpha channel."""
    clip = sphere_clip(frames=8, size=48)
    clip.rgb, clip.alpha = clip.on_background(1.0), torch.ones_like(clip.alpha)
    reconstruct(clip, out=tmp_path / "out", steps=4, progress=False)
    assert 0.05 < float(load_clip(tmp_path / "out" / "clip").alpha.mean()) < 0.6


def test_load_static_freezes_one_moment_and_refuses_motion(tmp_path: Path) -> None:
    clip = sphere_clip(frames=6)
    with pytest.raises(InputError, match=r"--static: .*clip runs from time 0 to 1"):
        load_static(save_clip(clip, tmp_path / "clip"))
    clip.times = torch.full((6,), 0.4)
    assert float(load_static(save_clip(clip, tmp_path / "clip")).times.abs().max()) == 0
    document = json.loads((tmp_path / "clip" / "transforms.json").read_text())
    for frame in document["frames"]:
        del frame["time"]
    (tmp_path / "clip" / "transforms.json").write_text(json.dumps(document))
    assert float(load_static(tmp_path / "clip").times.abs().max()) == 0, "no times: one moment, as in NeRF files"


def test_nothing_is_sampled_when_the_output_cannot_be_written(model: Double, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(InputError):
            _quick(out, prompt="a ball")
    assert model.calls == []


def test_output_folder_keeps_what_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"program": "another"}')
    with pytest.raises(InputError, match="not empty"), output_folder(tmp_path):
        pass
    (tmp_path / "report.json").write_text('{"program": "orbit4d"}')
    with output_folder(tmp_path) as folder:
        (folder / "new").write_text("")
    assert [p.name for p in tmp_path.iterdir()] == ["new"]


def test_output_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), output_folder(tmp_path / "deep" / "er" / "out") as folder:
        (folder / "half").write_text("")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_strange_prompt_is_noted(model: Double, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = generate(prompt="a zeppelin", out=tmp_path / "out", fit_steps=20, size=64, progress=False)
    assert report["warnings"] == ["'a zeppelin' is strange"]
    assert capsys.readouterr().err == "orbit4d: note: 'a zeppelin' is strange\n"
