"""The image-to-4D benchmark: its baselines find what was planted, its scores leave the given frame out, its cases are unseen."""

# pyright: reportMissingImports=false

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import draw_ball
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from orbit4d.cameras import Orbit
from orbit4d.clip import OrbitalClip
from orbit4d.data.latent_set import open_latents
from orbit4d.data.plan import RenderPlan
from orbit4d.diffusion.autoencoder import RGBAAutoencoder, premultiply
from orbit4d.errors import InputError
from orbit4d.evaluate.nearest import TrainingOrbits, half_way_azimuth

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import image_to_4d

PLAN = RenderPlan(frames=8, size=64, orbits=2, outputs=())


def ball(rise: float, radius: float, *, azimuth: float = 0.0) -> OrbitalClip:
    """An orbit around a ball of direction colours that rises."""
    orbit = Orbit(frames=PLAN.frames, azimuth_start_deg=azimuth)
    rgb, alpha = draw_ball(orbit.cameras(PLAN.size), rise * orbit.times, radius=radius)
    return OrbitalClip(rgb=rgb, alpha=alpha, cameras=orbit.cameras(PLAN.size), times=orbit.times)


def store_of(folder: Path, autoencoder: RGBAAutoencoder, balls: dict[str, tuple[float, float]]):
    """Latents of balls, KEY: (rise, radius), on the plan's grid."""
    folder.mkdir()
    cameras, times = PLAN.cameras(), torch.tensor(PLAN.times())
    for key, (rise, radius) in balls.items():
        pairs = PLAN.pairs()
        views, moments = [i for i, _ in pairs], times[[j for _, j in pairs]]
        rgb, alpha = draw_ball(cameras[views], rise * moments, radius=radius)
        with torch.no_grad():
            latents = autoencoder.encode(premultiply(rgb, alpha)).half()
        tensors = {
            "latents": latents,
            "pairs": torch.tensor(pairs, dtype=torch.int32),
            "camera_to_world": cameras.camera_to_world.contiguous(),
            "intrinsics": cameras.intrinsics.contiguous(),
            "times": times,
        }
        clip = {"key": key, "captions": [f"a ball {key}"], "kind": "a ball", "width": 64, "height": 64}
        save_file(tensors, folder / f"{key}.safetensors", metadata={"clip": json.dumps(clip), "autoencoder": "tiny"})
    return open_latents(folder)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> TrainingOrbits:
    torch.manual_seed(0)
    autoencoder = RGBAAutoencoder(detail_channels=2, widths=(4, 4, 4)).eval()
    with torch.no_grad():  # as if trained: what it decodes is the averaged picture
        autoencoder.decoder[-2].weight.zero_(), autoencoder.decoder[-2].bias.zero_()
    autoencoder.latent_mean += 0.3
    autoencoder.latent_std *= 0.5
    balls = {"still": (0.0, 0.35), "rising": (0.4, 0.35), "sinking": (-0.4, 0.35), "large": (0.4, 0.6)}
    return TrainingOrbits(store_of(tmp_path_factory.mktemp("l") / "latents", autoencoder, balls), autoencoder, frames=8)


def test_the_nearest_orbit_is_found(training: TrainingOrbits) -> None:
    assert len(training.orbits) == 4 * PLAN.orbits
    start = PLAN.orbit(1)[0][0]
    for azimuth, expected in ((0.0, 0), (360 * start / PLAN.views, start)):
        clip = ball(-0.38, 0.36, azimuth=azimuth)
        found = training.by_orbit(clip)
        assert (found.key, found.start, found.kind, found.caption) == ("sinking", expected, "a ball", "a ball sinking")
        assert found.frames.shape == (8, 4, 64, 64)
    large = ball(0.0, 0.58)
    found = training.by_image(large.rgb[0], large.alpha[0])
    assert (found.key, found.start) == ("large", 0)
    assert found.frames.shape == (8, 4, 64, 64)


def test_no_orbits_is_an_error(training: TrainingOrbits) -> None:
    with pytest.raises(InputError, match="has no whole orbit of 24 frames"):
        TrainingOrbits(training.store, training.autoencoder)


def test_damped_orbits_are_not_searched(training: TrainingOrbits, tmp_path: Path) -> None:
    store = store_of(tmp_path / "latents", training.autoencoder, {"rising": (0.4, 0.35), "rising-d1": (0.1, 0.35)})
    assert len(TrainingOrbits(store, training.autoencoder, frames=8).orbits) == 2 * PLAN.orbits
    file = tmp_path / "latents" / "rising-d1.safetensors"
    with safe_open(file, framework="pt") as handle:
        metadata = handle.metadata()
    clip = json.loads(metadata["clip"]) | {"damped": 1}
    save_file(load_file(file), file, metadata=metadata | {"clip": json.dumps(clip)})
    searched = TrainingOrbits(store, training.autoencoder, frames=8)
    assert {store[number].key for number, *_ in searched.orbits} == {"rising"}


@pytest.mark.parametrize("as_front", [False, True])
def test_the_model_is_told_where_the_image_was_taken(
    training: TrainingOrbits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_front: bool
) -> None:
    """The image's camera is the true orbit's first, and the orbit begins there; called a front view, both are at azimuth 0."""
    azimuth = half_way_azimuth(7)
    orbit = Orbit(azimuth_start_deg=azimuth)
    rgb, alpha = draw_ball(orbit.cameras(128), 0.3 * orbit.times, radius=0.4)
    truth = OrbitalClip(rgb=rgb, alpha=alpha, cameras=orbit.cameras(128), times=orbit.times)
    monkeypatch.setattr("orbit4d.data.render.render_clip", lambda *_, azimuth, **__: truth)
    told: list[dict] = []

    class Pipe:
        autoencoder = training.autoencoder

        def caption(self, image: torch.Tensor) -> Any:
            return SimpleNamespace(text="a ball rising")

        def __call__(self, **given: Any) -> OrbitalClip:
            told.append(given)
            return truth

    found = SimpleNamespace(frames=torch.cat([rgb, alpha], dim=1), key="k", start=0, caption="")
    searched: Any = SimpleNamespace(by_image=lambda *_: found, by_orbit=lambda _: found)
    case = image_to_4d.Case(split="azimuth", file="a.glb", animation=0, animation_name="Walk", azimuth=azimuth)
    arguments = image_to_4d.Arguments(latents=tmp_path, folder=tmp_path, as_front=as_front)
    result = image_to_4d.run_case(case, 0, pipe=Pipe(), training=searched, arguments=arguments)
    assert result["scores"]["generated"]["alpha_iou"] == 1
    (given,) = told
    assert given["prompt"] == result["said"] == "a ball rising"
    assert (
        image_to_4d.run_case(case, 0, pipe=Pipe(), training=searched, arguments=replace(arguments, caption=False))[
            "said"
        ]
        is None
    )
    assert told.pop()["prompt"] is None
    torch.testing.assert_close(given["image"], torch.cat([rgb[0], alpha[0]]))
    expected = Orbit().cameras(128)[0:1] if as_front else truth.cameras[0:1]
    image_camera = Orbit(azimuth_start_deg=given.get("azimuth", 0.0)).cameras(128)[0:1]
    torch.testing.assert_close(image_camera.camera_to_world, expected.camera_to_world)
    torch.testing.assert_close(given["orbit"].cameras(128)[0:1].camera_to_world, expected.camera_to_world)


def test_scores_leave_the_given_frame_out() -> None:
    truth = ball(0.3, 0.4)
    perfect = torch.cat([truth.rgb, truth.alpha], dim=1)
    found = image_to_4d.scores(perfect, truth)
    assert (
        found["alpha_iou"] == 1 and found["ssim"] == pytest.approx(1) and found["foreground_ssim"] == pytest.approx(1)
    )
    assert found["whole_psnr"] == 60
    spoilt = perfect.clone()
    spoilt[0] = 0
    assert image_to_4d.scores(spoilt, truth) == found
    spoilt[1] = 0
    assert image_to_4d.scores(spoilt, truth)["alpha_iou"] == pytest.approx(6 / 7, abs=1e-3)
    repeated = image_to_4d.scores(perfect[:1].expand(8, -1, -1, -1), truth)
    assert repeated["foreground_psnr"] < 20 and repeated["alpha_iou"] < 0.95


def test_spans_hold_the_object_and_the_window_of_ssim() -> None:
    def span(*places: int) -> tuple[int, int]:
        seen = torch.zeros(64, dtype=torch.bool)
        seen[list(places)] = True
        found = image_to_4d._span(seen)
        return found.start, found.stop

    assert span(10, 40) == (10, 41)
    assert span(3) == (3, 14)
    assert span(60, 62) == (53, 64)
    assert span() == (0, 64)


def test_azimuths_lie_between_trained_views() -> None:
    trained = Orbit().azimuths_deg
    for step in (1, 7, 13, 18):
        azimuths = Orbit(azimuth_start_deg=half_way_azimuth(step)).azimuths_deg
        apart = (azimuths[:, None] - trained + 180) % 360 - 180
        assert float(apart.abs().min()) == pytest.approx(180 / 23, abs=1e-3)


def test_means_and_gains_are_of_cases() -> None:
    def result(file: str, seed: int, ours: float) -> dict:
        scores = {m: {"foreground_psnr": ours if m == "generated" else 10.0} for m in image_to_4d.METHODS}
        return {"split": "rig", "file": file, "animation": 0, "azimuth": 0.0, "seed": seed, "scores": scores}

    results = [result("a", 0, 11), result("a", 1, 13)] + [result(file, seed, 17) for file in "bcde" for seed in (0, 1)]
    found = image_to_4d.summary(results)["rig"]
    assert found["generated"]["foreground_psnr"]["mean"] == 16
    over = found["foreground_psnr_over_repeated"]
    assert over["mean"] == 6 and over["count"] == 5, "seeds of a case are averaged"
    assert 2 < over["low"] < 6 and over["high"] == 7


def test_cases_are_unseen(data_dir: Path, tmp_path: Path) -> None:
    from orbit4d.data.training_set import vocabulary

    chosen = vocabulary(data_dir / "assets")
    for k, (file, animation) in enumerate(chosen):  # old and new names of samples
        hashed = "_0123abcd" if k % 2 else ""
        (tmp_path / f"{Path(file).stem}{hashed}__{animation:02d}.safetensors").touch()
    store = image_to_4d.LatentStore(source=tmp_path, files=sorted(tmp_path.glob("*.safetensors")))
    cases = image_to_4d.choose_cases(
        store, data_dir / "assets", splits=("azimuth", "animation", "rig"), count=14, seed=0
    )
    by_split = {s: [c for c in cases if c.split == s] for s in ("azimuth", "animation", "rig")}
    assert [len(v) for v in by_split.values()] == [14, 14, 14]
    assert len({c.name for c in cases}) == len(cases)
    assert all((c.file, c.animation) in chosen for c in by_split["azimuth"])
    assert not any((c.file, c.animation) in chosen for c in by_split["animation"])
    held_out = vocabulary(data_dir / "assets", held_out=True)
    assert sum(c.declared for c in by_split["animation"]) == len(held_out)
    assert all((c.file, c.animation) in held_out for c in by_split["animation"] if c.declared)
    assert not {c.file for c in by_split["rig"]} & {file for file, _ in chosen}
    again = image_to_4d.choose_cases(store, data_dir / "assets", splits=("rig",), count=14, seed=0)
    assert {c.file for c in again} == {c.file for c in by_split["rig"]}
