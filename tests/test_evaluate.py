"""Scoring scenes: a scene against its own renders, against a wrong clip, and the files that are written."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from orbit4d.cameras import Orbit
from orbit4d.clip import OrbitalClip, load_clip, save_clip
from orbit4d.errors import InputError
from orbit4d.evaluate.evaluate import evaluate_scene, format_scores, input_scores, render_scene
from orbit4d.splat.gaussians import Gaussians, Gaussians4D


class Rise:
    """A deformation for tests: everything moves up by `height` from time 0 to 1."""

    kind = "rise"

    def __init__(self, height: float) -> None:
        self.height = height

    def config(self) -> dict:
        return {"height": self.height}

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {}

    def __call__(self, gaussians: Gaussians, time: float | torch.Tensor) -> Gaussians:
        return replace(gaussians, means=gaussians.means + torch.tensor([0.0, 0.0, self.height]) * time)


def blob_scene(height: float = 0.3) -> Gaussians4D:
    """Six coloured, opaque Gaussians around the origin that rise."""
    means = 0.3 * torch.cat([torch.eye(3), -torch.eye(3)])
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]])
    canonical = Gaussians(
        means=means,
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(6, 1),
        log_scales=torch.full((6, 3), -2.3),
        logit_opacities=torch.full((6,), 4.0),
        sh=((colours - 0.5) / 0.28209479177387814)[:, None],
    )
    return Gaussians4D(canonical=canonical, deformation=Rise(height))


def clip_of(scene: Gaussians4D, *, frames: int = 6, size: int = 48) -> OrbitalClip:
    """The scene's own orbit; colours are divided by alpha so that the clip on white is the render on white."""
    orbit = Orbit(frames=frames)
    cameras = orbit.cameras(size)
    white, alpha = render_scene(scene, cameras, orbit.times)
    rgb = ((white - (1 - alpha)) / alpha.clamp_min(1e-4)).clamp(0, 1)
    return OrbitalClip(rgb=rgb, alpha=alpha, cameras=cameras, times=orbit.times)


def test_a_scene_matches_its_own_renders(tmp_path: Path) -> None:
    """Through PNG files: what is lost is the rounding to 8 bits, and nothing in cameras, times or compositing."""
    scene = blob_scene()
    clip = load_clip(save_clip(clip_of(scene), tmp_path / "clip"))
    report = evaluate_scene(scene, clip)
    assert report["mean"]["psnr"] > 50
    assert report["mean"]["foreground_psnr"] > 45
    assert report["mean"]["ssim"] > 0.999
    assert report["samples"] == {"psnr": 6, "foreground_psnr": 6, "ssim": 6}
    assert json.loads(json.dumps(report)) == report
    assert {"torch", "python", "numpy"} <= report["versions"].keys()


def test_a_scene_that_stands_still_scores_less_as_time_passes() -> None:
    clip = clip_of(blob_scene())
    report = evaluate_scene(blob_scene(height=0.0), clip)
    scores = [f["psnr"] for f in report["frames"]]
    assert scores[0] is None or scores[0] > 60  # time 0: the same up to rounding; identical frames have no PSNR
    assert all(a > b for a, b in pairwise(scores[1:]))
    assert scores[-1] < 20


def test_the_clips_cameras_are_used() -> None:
    scene, clip = blob_scene(), clip_of(blob_scene())
    turned = replace(clip, cameras=Orbit(frames=6, azimuth_start_deg=90).cameras(48))
    assert evaluate_scene(scene, turned)["mean"]["foreground_psnr"] < 20


def test_frames_and_saved_images(tmp_path: Path) -> None:
    scene = blob_scene()
    clip = clip_of(scene)
    report = evaluate_scene(scene, clip, frames="2-4", save_frames=tmp_path / "frames")
    assert [f["frame"] for f in report["frames"]] == [2, 3, 4]
    names = sorted(p.name for p in (tmp_path / "frames").iterdir())
    assert names == [f"{kind}_{i:03d}.png" for kind in ("gt", "pred") for i in (2, 3, 4)]
    with Image.open(tmp_path / "frames" / "gt_003.png") as image:
        saved = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)
    torch.testing.assert_close(saved, clip.on_background(1.0)[3], atol=0.51 / 255, rtol=0)
    evaluate_scene(scene, clip, frames=[0], save_frames=tmp_path / "frames")
    assert sorted(p.name for p in (tmp_path / "frames").iterdir()) == ["gt_000.png", "pred_000.png"]
    assert evaluate_scene(scene, clip, frames=slice(0, 2))["samples"]["ssim"] == 2


def test_other_files_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match=r"thesis\.txt"):
        evaluate_scene(blob_scene(), clip_of(blob_scene()), save_frames=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_the_mean_leaves_out_frames_without_foreground() -> None:
    scene, clip = blob_scene(), clip_of(blob_scene())
    clip.alpha[2] = 0
    report = evaluate_scene(blob_scene(height=0.25), clip, frames="1-5")
    assert report["samples"] == {"psnr": 5, "foreground_psnr": 4, "ssim": 5}
    defined = [f["foreground_psnr"] for f in report["frames"] if f["foreground_psnr"] is not None]
    assert report["frames"][1]["foreground_psnr"] is None
    assert report["mean"]["foreground_psnr"] == pytest.approx(sum(defined) / len(defined), abs=1e-4)
    assert len(scene.canonical) == report["gaussians"]


def test_a_clip_without_alpha_has_no_foreground_score() -> None:
    """Opaque everywhere, each pixel would count as foreground and the white background would buy the score."""
    clip = clip_of(blob_scene())
    flat = replace(clip, rgb=clip.on_background(1.0), alpha=torch.ones_like(clip.alpha))
    report = evaluate_scene(blob_scene(height=0.2), flat, frames="1-3")
    assert report["mean"]["foreground_psnr"] is None and report["samples"]["foreground_psnr"] == 0
    assert [f["foreground_psnr"] for f in report["frames"]] == [None] * 3
    assert report["mean"]["psnr"] > 10
    assert '"foreground_psnr": null' in json.dumps(report)
    assert "no alpha channel" in format_scores(report).splitlines()[-1]
    assert input_scores(blob_scene(height=0.2), flat)["input_foreground_psnr"] is None
    flat.alpha[5, 0, 0, 0] = 0
    seen = evaluate_scene(blob_scene(height=0.2), flat, frames="1-3")
    assert seen["samples"]["foreground_psnr"] == 3 and seen["notes"] == [], "some frame shows that there is alpha"


def test_table_ends_with_the_mean() -> None:
    scene, clip = blob_scene(height=0.2), clip_of(blob_scene())
    report = evaluate_scene(scene, clip)
    lines = format_scores(report).splitlines()
    assert len(lines) == 1 + 6 + 1 + 1
    assert lines[-2].split() == [
        "mean",
        f"{report['mean']['psnr']:.2f}",
        f"{report['mean']['foreground_psnr']:.2f}",
        f"{report['mean']['ssim']:.3f}",
    ]
