"""Diffusion4D's protocol end to end on small scenes: what is compared, what is said of what is not, taking up, bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from test_metrics_clip import save_tiny_clip
from test_metrics_fvd import save_tiny_videomae

from orbit4d.cameras import Orbit
from orbit4d.clip import OrbitalClip, load_clip, save_clip
from orbit4d.errors import InputError
from orbit4d.evaluate import diffusion4d
from orbit4d.evaluate.clip_score import load_clip_scorer
from orbit4d.evaluate.diffusion4d import METRICS, format_benchmark, run_benchmark
from orbit4d.evaluate.diffusion4d_cases import ViewPlan, true_views
from orbit4d.evaluate.evaluate import evaluate_scene, render_scene
from orbit4d.evaluate.fvd import load_video_features, sample_distance
from orbit4d.evaluate.lpips import LPIPS, load_lpips
from orbit4d.splat.gaussians import SH_C0, Gaussians, Gaussians4D
from orbit4d.splat.io import load_scene, save_scene
from orbit4d.splat.trajectories import Trajectories

SIZE = 48


def blobs(height: float = 0.3, *, tint: float = 0.0) -> Gaussians4D:
    """Six coloured Gaussians, `tint` darker, that rise by `height` and can be saved."""
    colours = (torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]]) - tint).clamp(0, 1)
    canonical = Gaussians(
        means=0.3 * torch.cat([torch.eye(3), -torch.eye(3)]),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(6, 1),
        log_scales=torch.full((6, 3), -2.3),
        logit_opacities=torch.full((6,), 4.0),
        sh=((colours - 0.5) / SH_C0)[:, None],
    )
    deformation = Trajectories(count=6, knots=2)
    deformation.shifts.data[:, 1, 2] = height
    return Gaussians4D(canonical=canonical, deformation=deformation.requires_grad_(False))


def filmed(scene: Gaussians4D, *, frames: int = 6, front: bool = False, size: int = SIZE) -> OrbitalClip:
    """The scene's own orbit or front clip; on white it is the render on white."""
    orbit = Orbit(frames=frames)
    cameras = orbit.cameras(size)[[0] * frames] if front else orbit.cameras(size)
    white, alpha = render_scene(scene, cameras, orbit.times)
    rgb = ((white - (1 - alpha)) / alpha.clamp_min(1e-4)).clamp(0, 1)
    return OrbitalClip(rgb=rgb, alpha=alpha, cameras=cameras, times=orbit.times)


def save_truth(scene: Gaussians4D, folder: Path, *, frames: int = 6) -> Path:
    save_clip(filmed(scene, frames=frames), folder / "orbit")
    save_clip(filmed(scene, frames=frames - 1, front=True), folder / "front")
    return folder


def save_asset(scene: Gaussians4D, folder: Path, *, prompt: str | None = None) -> Path:
    """What `generate` leaves, as far as the benchmark reads it."""
    save_scene(scene, folder / "scene.safetensors")
    report = {"program": "orbit4d", "verb": "generate", "seed": 7, "weights_hash": "ab", "settings": {"prompt": prompt}}
    (folder / "report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Tiny CLIP and VideoMAE, and LPIPS with random weights, as files."""
    root = tmp_path_factory.mktemp("networks")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = LPIPS("alex").state_dict()
    names = {k: k if "features" in k else f"lin{k[-1]}.model.1.weight" for k in state}
    tensors = {names[k]: v if "features" in k else v[None, :, None, None].contiguous() for k, v in state.items()}
    save_file(tensors, root / "lpips.safetensors")
    clip, video = save_tiny_clip(root / "clip"), save_tiny_videomae(root / "video")
    return {"clip": clip, "lpips": root / "lpips.safetensors", "fvd": video}


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[list[Path], list[Path]]:
    """Three cases and their truths, the generated ones a little darker and slower."""
    made = [save_asset(blobs(h / 2, tint=0.1), tmp_path / f"made{h}") for h in (0.1, 0.2, 0.3)]
    return made, [save_truth(blobs(h), tmp_path / f"truth{h}") for h in (0.1, 0.2, 0.3)]


def test_every_metric_is_what_it_says(pairs: tuple[list[Path], list[Path]], networks: dict[str, Any]) -> None:
    """Each figure against the metric computed directly from renders."""
    made, truths = pairs
    report = run_benchmark(made, against=truths, progress=False, **networks)
    assert report["not_measured"] == {}
    assert report["samples"] | {"cases_with": 0} == {
        "cases": 3,
        "orbit_frames": 18,
        "front_frames": 15,
        "cases_with": 0,
    }
    scorer, lpips, video = (
        load_clip_scorer(networks["clip"]),
        load_lpips(networks["lpips"]),
        load_video_features(networks["fvd"]),
    )
    features: list[list[torch.Tensor]] = [[], []]
    for case, scene_folder, truth in zip(report["cases"], made, truths, strict=True):
        scene = load_scene(scene_folder / "scene.safetensors")
        orbit, front = load_clip(truth / "orbit"), load_clip(truth / "front")
        direct = evaluate_scene(scene, orbit)["mean"]
        for metric in ("psnr", "ssim", "foreground_psnr"):
            assert case["scores"][metric] == pytest.approx(direct[metric], abs=1e-4)
            assert case["front"][metric] == pytest.approx(evaluate_scene(scene, front)["mean"][metric], abs=1e-4)
        shown, shown_front = (render_scene(scene, c.cameras, c.times)[0] for c in (orbit, front))
        white, white_front = orbit.on_background(), front.on_background()
        assert case["scores"]["lpips"] == pytest.approx(float(lpips.score(shown, white).mean()), abs=1e-4)
        assert case["scores"]["clip_o"] == pytest.approx(float(scorer.image_image(shown, white).mean()), abs=1e-4)
        front_similarity = float(scorer.image_image(shown_front, white_front).mean())
        assert case["scores"]["clip_f"] == pytest.approx(front_similarity, abs=1e-4)
        for side, frames in zip(features, (shown, white), strict=True):
            side.append(video.features(frames))
        assert case["made_with"]["seed"] == 7
    expected = sample_distance(torch.stack(features[0]), torch.stack(features[1]))
    assert report["mean"]["fvd"] == pytest.approx(expected, abs=1e-4)
    assert report["front_mean"]["fvd"] is not None
    assert "3 videos in 16 dimensions" in report["notes"][0]
    assert "not the standard I3D" in report["networks"]["fvd"]
    for metric in METRICS[:-1]:
        mean = sum(c["scores"][metric] for c in report["cases"]) / 3
        assert report["mean"][metric] == pytest.approx(mean, abs=1e-4)
    assert {"versions", "hardware", "settings"} <= report.keys()
    json.dumps(report, allow_nan=False)


def test_without_weights_figures_are_null_with_words(pairs: tuple[list[Path], list[Path]]) -> None:
    report = run_benchmark(pairs[0], against=pairs[1], progress=False)
    for metric, option in (("clip_f", "--clip"), ("clip_o", "--clip"), ("lpips", "--lpips"), ("fvd", "--fvd")):
        assert report["mean"][metric] is None
        assert report["not_measured"][metric].startswith(f"not measured: no weights (pass {option} ")
        assert all(case["scores"].get(metric) is None for case in report["cases"])
    assert report["mean"]["psnr"] > 10
    assert "clip_f: not measured: no weights (pass --clip NAME_OR_DIR)" in format_benchmark(report)


def test_better_is_better_and_perfect_is_not_a_number(tmp_path: Path) -> None:
    truth = save_truth(blobs(0.3), tmp_path / "truth")
    near, far = save_asset(blobs(0.25), tmp_path / "near"), save_asset(blobs(-0.3, tint=0.4), tmp_path / "far")
    report = run_benchmark([near, far], against=[truth, truth], progress=False)
    good, bad = (case["scores"] for case in report["cases"])
    assert good["psnr"] > bad["psnr"] + 3
    assert good["ssim"] > bad["ssim"]
    perfect = run_benchmark([truth], against=[truth], progress=False)
    assert perfect["mean"]["psnr"] is None
    assert "identical frames" in perfect["not_measured"]["psnr"]
    assert perfect["mean"]["ssim"] == pytest.approx(1)


def test_the_frame_that_the_condition_shows_can_be_left_out(tmp_path: Path) -> None:
    truth = save_truth(blobs(0.3), tmp_path / "truth")
    still = filmed(blobs(0.3))
    cheat = replace(still, rgb=still.rgb.roll(1, 0), alpha=still.alpha.roll(1, 0))
    cheat.rgb[0], cheat.alpha[0] = still.rgb[0], still.alpha[0]
    save_clip(cheat, tmp_path / "made")
    options: dict[str, Any] = {"against": [truth], "progress": False}
    whole = run_benchmark([tmp_path / "made"], **options)["mean"]["ssim"]
    rest = run_benchmark([tmp_path / "made"], skip_input_view=True, **options)
    assert rest["mean"]["ssim"] == pytest.approx((whole * 6 - 1) / 5, abs=1e-4)
    assert rest["samples"]["orbit_frames"] == 5


def test_clips_are_scored_without_a_scene(tmp_path: Path, networks: dict[str, Any]) -> None:
    """A sampled orbit before construction, at half the size: no front view, and it says so."""
    truth = save_truth(blobs(0.3), tmp_path / "truth")
    save_clip(filmed(blobs(0.3, tint=0.1)).resized(SIZE // 2), tmp_path / "made")
    report = run_benchmark([tmp_path / "made"], against=[truth], progress=False, clip=networks["clip"])
    assert report["mean"]["psnr"] > 15
    assert report["mean"]["clip_o"] is not None
    assert report["not_measured"]["clip_f"] == "not measured: no case has the front view"
    assert report["cases"][0]["resolution"] == [SIZE, SIZE]


def test_one_video_has_no_frechet_distance(tmp_path: Path, networks: dict[str, Any]) -> None:
    truth = save_truth(blobs(0.3), tmp_path / "truth")
    report = run_benchmark(
        [save_asset(blobs(), tmp_path / "made")], against=[truth], fvd=networks["fvd"], progress=False
    )
    assert report["mean"]["fvd"] is None
    assert "needs 2 videos, got 1" in report["not_measured"]["fvd"]


def test_text_is_scored_by_clip_alone(tmp_path: Path, networks: dict[str, Any]) -> None:
    made = [save_asset(blobs(h), tmp_path / f"m{h}", prompt="a red ball") for h in (0.1, 0.3)]
    plan = ViewPlan(views=4, front_frames=3, size=32)
    options: dict[str, Any] = {"condition": "text", "plan": plan, "progress": False, "clip": networks["clip"]}
    report = run_benchmark(made, **options)
    scorer = load_clip_scorer(networks["clip"])
    orbit = Orbit(frames=4)
    shown, _ = render_scene(blobs(0.3), orbit.cameras(32), orbit.times)
    expected = float(scorer.image_text(shown, "a red ball").mean())
    assert report["cases"][1]["scores"]["clip_o"] == pytest.approx(expected, abs=1e-4)
    assert report["cases"][1]["prompt"] == "a red ball"
    assert report["samples"]["orbit_frames"] == 8
    assert report["samples"]["front_frames"] == 6
    assert report["not_measured"]["psnr"] == "not measured: a text has no true frames"
    other = run_benchmark(made, prompts=["a cat", "a dog"], **options)
    assert other["mean"]["clip_o"] != report["mean"]["clip_o"]


def test_an_asset_is_the_truth_too(tmp_path: Path) -> None:
    """Its own orbit and front view, rendered here, against clips rendered beforehand."""
    from orbit4d.assets.toybox import make_toy
    from orbit4d.data.render import render_clip

    asset = tmp_path / "toy.glb"
    asset.write_bytes(make_toy(0).glb)
    plan = ViewPlan(views=5, front_frames=4, size=64)
    for name, frames in (("orbit", 5), ("front", 4)):
        save_clip(render_clip(asset, trajectory=name, frames=frames, size=64), tmp_path / "made" / name)  # type: ignore[arg-type]
    report = run_benchmark([tmp_path / "made"], against=[asset], plan=plan, progress=False)
    assert report["mean"]["ssim"] == pytest.approx(1, abs=1e-3)
    assert report["samples"]["orbit_frames"] == 5
    assert true_views(asset, plan)["orbit"].times[-1] == 1


def test_diffusion4ds_own_renders_are_a_truth(elk_dir: Path, tmp_path: Path) -> None:
    views = true_views(elk_dir, ViewPlan())
    assert {name: len(clip) for name, clip in views.items()} == {"orbit": 24, "front": 24}
    save_clip(load_clip(elk_dir / "transforms_multi_static.json")[:24], tmp_path / "still")
    still = load_clip(tmp_path / "still")
    save_clip(replace(still, times=views["orbit"].times), tmp_path / "made")
    report = run_benchmark([tmp_path / "made"], against=[elk_dir], progress=False)
    assert 10 < report["mean"]["foreground_psnr"] < report["mean"]["psnr"] < 30


def test_a_run_is_taken_up(
    pairs: tuple[list[Path], list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, networks: dict[str, Any]
) -> None:
    made, truths = pairs
    scored: list[str] = []
    score = diffusion4d._score_case

    def counting(case, *arguments, **options) -> dict:
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(case.name)
        return score(case, *arguments, **options)

    out = tmp_path / "out"
    options: dict[str, Any] = {"against": truths, "out": out, "progress": False, "fvd": networks["fvd"]}
    monkeypatch.setattr(diffusion4d, "_score_case", counting)
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(made, **options)
    assert not (out / "report.json").exists()
    monkeypatch.setattr(diffusion4d, "_score_case", score)
    elsewhere: dict[str, Any] = options | {"out": None}
    fresh = run_benchmark(made, **elsewhere)
    scored.clear()
    monkeypatch.setattr(diffusion4d, "_score_case", counting)
    resumed = run_benchmark(made, **options)
    assert scored == ["made0.3"]
    assert resumed == fresh
    assert json.loads((out / "report.json").read_text()) == resumed
    assert (out / "table.txt").read_text().startswith("case")
    # What changed is scored again: a scene, a truth, a setting, a damaged record.
    scored.clear()
    save_scene(blobs(0.5), made[0] / "scene.safetensors")
    (out / "cases" / "made0.2.json").write_text("{")
    again = run_benchmark(made, **options)
    assert scored == ["made0.1", "made0.2"]
    assert again["cases"][0]["scores"] != resumed["cases"][0]["scores"]
    scored.clear()
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(made, skip_input_view=True, **options)


def test_folders_of_cases_pair_by_name(tmp_path: Path) -> None:
    for h in (0.1, 0.2):
        save_asset(blobs(h, tint=0.1), tmp_path / "made" / f"h{h}")
        save_truth(blobs(h), tmp_path / "truth" / f"h{h}")
    report = run_benchmark([tmp_path / "made"], against=[tmp_path / "truth"], progress=False)
    assert [Path(c["truth"]).name for c in report["cases"]] == ["h0.1", "h0.2"]
    save_asset(blobs(), tmp_path / "made" / "more")
    with pytest.raises(InputError, match=r"has no more, more\.glb or more\.json"):
        run_benchmark([tmp_path / "made"], against=[tmp_path / "truth"], progress=False)


def test_bad_input_is_one_line(tmp_path: Path, networks: dict[str, Any]) -> None:
    made, truth = save_asset(blobs(), tmp_path / "made"), save_truth(blobs(), tmp_path / "truth")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    late = filmed(blobs())
    save_clip(replace(late, times=late.times.flip(0)), tmp_path / "late")
    save_clip(filmed(blobs(), frames=5), tmp_path / "short")
    save_clip(filmed(blobs(), front=True), tmp_path / "elsewhere" / "orbit")
    save_clip(filmed(blobs(), size=24), tmp_path / "tiny")
    wrong: list[tuple[list[Path], dict[str, Any], str]] = [
        ([], {}, "nothing to score"),
        ([tmp_path / "none"], {}, "no such file or folder"),
        ([tmp_path / "empty"], {}, "no scene and no clip"),
        ([made], {}, "expected one truth for each of 1 cases"),
        ([made, made], {"against": [truth]}, "one truth for each of 2 cases, in their order, got 1"),
        ([made], {"against": [truth], "prompts": ["a"]}, "--condition text only"),
        ([made], {"against": [truth], "condition": "text"}, "a text has no true frames"),
        ([made], {"condition": "text"}, "no report.json beside it tells its prompt"),
        ([made], {"condition": "text", "prompts": ["a", "b"]}, "--prompts: expected one for each of 1"),
        ([made], {"against": [truth], "condition": "video"}, "expected image or text"),
        ([made], {"against": [truth], "clip": tmp_path / "nowhere"}, "--clip: .*nothing there"),
        ([made], {"against": [truth], "out": tmp_path / "full"}, "thesis.tex"),
        ([made], {"condition": "text", "prompts": ["a"], "skip_input_view": True}, "--skip-input-view"),
        ([tmp_path / "late"], {"against": [truth]}, "times are"),
        ([tmp_path / "short"], {"against": [truth]}, "has 5 frames, the truth 6"),
        ([tmp_path / "made"], {"against": [tmp_path / "tiny"]}, "expected 2 or more of 32 or more"),
        ([tmp_path / "elsewhere"], {"against": [truth]}, "cameras stand"),
    ]
    for generated, options, words in wrong:
        with pytest.raises(InputError, match=words) as caught:
            run_benchmark(generated, progress=False, **options)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="--views: expected 2 to 1024"):
        ViewPlan(views=1)


def test_raw_diffusion4d_folders_have_a_front_view(tmp_path: Path) -> None:
    """`multi_frame*.png`, `multi*.json` and `front_frame*.png`, numbered without zeros; not under a raised orbit."""
    clip, front = filmed(blobs(), frames=12), filmed(blobs(), frames=12, front=True)
    for name, shown in (("multi_frame", clip), ("front_frame", front)):
        save_clip(shown, tmp_path / name)
    folder = tmp_path / "raw"
    folder.mkdir()
    for i, pose in enumerate(clip.cameras.to_opengl()):
        for name in ("multi_frame", "front_frame"):
            (tmp_path / name / f"frame_{i:03d}.png").rename(folder / f"{name}{i}.png")
        (folder / f"multi{i}.json").write_text(json.dumps({"transform_matrix": pose.tolist()}))
    views = true_views(folder, ViewPlan())
    assert list(views) == ["orbit", "front"]
    torch.testing.assert_close(views["front"].on_background(), front.on_background(), atol=0.02, rtol=0)
    torch.testing.assert_close(views["front"].cameras.camera_to_world, front.cameras.camera_to_world)
    raised = Orbit(frames=12, elevation_deg=20).cameras(SIZE).to_opengl()
    for i, pose in enumerate(raised):
        (folder / f"multi{i}.json").write_text(json.dumps({"transform_matrix": pose.tolist()}))
    assert list(true_views(folder, ViewPlan())) == ["orbit"]
