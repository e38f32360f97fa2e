"""Motion of assets where the answer is known, and the benchmarks that ask for it: rules, resuming, figures, guidance on motion."""

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

from orbit4d.cameras import Cameras, Orbit
from orbit4d.clip import OrbitalClip
from orbit4d.diffusion.guidance import guide
from orbit4d.errors import InputError
from orbit4d.evaluate.metrics import motion_magnitude
from orbit4d.evaluate.motion import asset_motion, smoothed, spearman
from orbit4d.splat.gaussians import Gaussians, Gaussians4D
from orbit4d.splat.trajectories import Trajectories

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import motion_control
from motion_pages import CASE, plot, sheet, summary
from prompts import choose_prompts, moving, prompts_by_kind
from rows import Rows

FRAMES, SIZE, RADIUS = 12, 64, 0.3


class Along:
    """A deformation that moves all Gaussians, or those of a mask, along z by `path(time)`."""

    kind = "along"

    def __init__(self, path: Any, mask: torch.Tensor | None = None) -> None:
        self.path, self.mask = path, mask

    def config(self) -> dict:
        return {}

    def state_dict(self) -> dict:
        return {}

    def __call__(self, gaussians: Gaussians, time: float | torch.Tensor) -> Gaussians:
        means = gaussians.means.clone()
        moved = slice(None) if self.mask is None else self.mask
        means[moved, 2] += self.path(float(time))
        return replace(gaussians, means=means)


def ball(path: Any, *, mask: Any = None) -> Gaussians4D:
    """A ball of small Gaussians on a sphere, coloured by direction as conftest's ball is."""
    directions = torch.nn.functional.normalize(torch.randn(3000, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    canonical = Gaussians(
        means=RADIUS * directions,
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(3000, 1),
        log_scales=torch.full((3000, 3), -4.2),
        logit_opacities=torch.full((3000,), 4.0),
        sh=(directions * 0.4 / 0.28209479)[:, None],
    )
    chosen = None if mask is None else mask(directions)
    return Gaussians4D(canonical=canonical, deformation=Along(path, chosen))  # type: ignore[arg-type]


def orbit() -> tuple[Cameras, torch.Tensor]:
    return Orbit(frames=FRAMES).cameras(SIZE), Orbit(frames=FRAMES).times


def alternating(time: float, height: float) -> float:
    """Up and down every other frame: what no motion does."""
    return height * (round(time * (FRAMES - 1)) % 2)


def test_a_moving_ball_has_the_m_of_its_formula() -> None:
    """The ball as Gaussians, and the same ball drawn by ray intersection: one m, and smoothing hardly changes it."""
    cameras, times = orbit()
    found = asset_motion(ball(lambda t: 0.25 * t), cameras, times)
    drawn = [draw_ball(cameras, times * height, radius=RADIUS) for height in (0.25, 0.0)]
    on_white = [rgb * alpha + 1 - alpha for rgb, alpha in drawn]
    assert found["m"] == pytest.approx(float(motion_magnitude(*on_white)), rel=0.2)
    assert found["m_smoothed"] == pytest.approx(found["m"], rel=0.15)


def test_m_grows_with_the_motion() -> None:
    cameras, times = orbit()
    heights = [0.0, 0.05, 0.1, 0.2, 0.4]
    found = [asset_motion(ball(lambda t, h=h: h * t), cameras, times)["m"] for h in heights]
    assert found[0] == 0
    assert spearman(heights, found) == pytest.approx(1)


def test_flicker_is_not_counted_as_motion() -> None:
    """A ball that jitters has as much m as one that rises, but no m once its paths are smoothed; its still parts flicker."""
    cameras, times = orbit()
    jitter = asset_motion(ball(lambda t: alternating(t, 0.1)), cameras, times)
    rise = asset_motion(ball(lambda t: 0.1 * t), cameras, times)
    assert jitter["m"] > rise["m"]
    assert jitter["m_smoothed"] < 0.1 * jitter["m"]
    assert rise["m_smoothed"] > 0.85 * rise["m"]


def test_colours_that_blink_are_not_motion() -> None:
    class Blinking(Along):
        def __call__(self, gaussians, time):
            return replace(gaussians, sh=gaussians.sh - alternating(float(time), 0.5))

    cameras, times = orbit()
    scene = replace(ball(lambda t: 0.0), deformation=Blinking(None))
    found = asset_motion(scene, cameras, times)
    assert found["m"] > 1e-3
    assert found["m_smoothed"] < 0.1 * found["m"]
    assert found["still"]["of_object"] > 0.9
    assert found["still"]["flicker"] > 0.05


def test_still_parts_are_those_that_stand_still() -> None:
    """Half of the ball swings out and back, the other half stands: it has no drift until it jitters by less than a pixel's half."""
    cameras, times = orbit()

    def upper(directions: torch.Tensor) -> torch.Tensor:
        return directions[:, 2] > 0.2

    moving_half = asset_motion(ball(lambda t: 0.3 * t, mask=upper), cameras, times)
    assert 0.2 < moving_half["still"]["of_object"] < 0.8
    assert moving_half["still"]["drift"] < 0.003
    frozen = asset_motion(ball(lambda t: 0.0), cameras, times)
    assert frozen["still"] == {"drift": 0.0, "flicker": 0.0, "of_object": 1.0}
    assert frozen["m"] == frozen["m_smoothed"] == 0
    whole = asset_motion(ball(lambda t: 0.3 * t), cameras, times)
    assert whole["still"] == {"drift": None, "flicker": None, "of_object": 0.0}


def test_smoothing_averages_rotations_across_their_two_signs() -> None:
    start = ball(lambda t: 0.0).at(0.0)[:1]
    flipped = [replace(start, quats=start.quats * sign) for sign in (1, -1, 1)]
    for moment in smoothed(flipped):
        torch.testing.assert_close(moment.quats, start.quats)


def test_rank_correlation() -> None:
    assert spearman([0, 1, 2, 3], [5, 6, 9, 100]) == pytest.approx(1)
    assert spearman([0, 1, 2, 3], [4, 3, 2, 1]) == pytest.approx(-1)
    assert spearman([0, 1, 2], [1, 1, 1]) == 0
    assert spearman([0, 1, 2, 3], [0, 2, 1, 3]) == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    assert spearman([1, 1, 2], [1, 2, 2]) == pytest.approx(0.5)  # ranks .5 .5 2 and 0 1.5 1.5
    for bad in ([1.0], [1.0, float("nan")], [1, 2, 3]):
        with pytest.raises(ValueError, match="finite"):
            spearman(bad, [1, 2][: len(bad)])


def test_asset_motion_refuses_what_is_no_orbit() -> None:
    cameras, times = orbit()
    with pytest.raises(ValueError, match="ascend"):
        asset_motion(ball(lambda t: t), cameras, torch.zeros(FRAMES))
    with pytest.raises(ValueError, match="ascend"):
        asset_motion(ball(lambda t: t), cameras[:4], times)


# --- the benchmark around it


class MonotonePipeline:
    """A pipeline whose balls rise by exactly what is asked for."""

    weights_hash = "monotone"

    def __init__(self) -> None:
        self.motion = {"log_m_mean": 0.0, "log_m_std": 1.0, "prompts": {"a ball": ["a ball rising", "a ball dancing"]}}
        self.calls = 0

    def asked_magnitude(self, level: float) -> float:
        """Less than the ball rises."""
        return 0.001 * level

    def __call__(self, *, motion: float | None = None, static: bool = False, **_: Any) -> OrbitalClip:
        self.calls += 1
        cameras, times = Orbit(frames=FRAMES).cameras(32), Orbit(frames=FRAMES).times
        times = times * (not static)
        rgb, alpha = draw_ball(cameras, times * 0.4 * (motion or 0), radius=RADIUS)
        return OrbitalClip(rgb=rgb, alpha=alpha, cameras=cameras, times=times)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """No construction: the asset is the ball that moves as the clip's ball does."""

    def construct(clip: OrbitalClip, static: OrbitalClip | None, **_: Any) -> Gaussians4D:
        top = [float((a[0].amax(dim=1) > 0.5).nonzero()[0, 0]) for a in clip.alpha]
        height = (top[0] - top[-1]) / float(clip.cameras.intrinsics[0, 0, 0]) * 2
        scene = ball(lambda t: 0.0)
        path = Trajectories(count=len(scene.canonical), knots=2, anchor_time=0.0).requires_grad_(False)
        path.shifts[:, 1, 2] = height
        return Gaussians4D(canonical=scene.canonical, deformation=path)

    monkeypatch.setattr(motion_control, "construct", construct)


def arguments(work: Path, **changes: Any) -> motion_control.Arguments:
    return motion_control.Arguments(work=work, out=work / "report.json", count=2, levels=4, **changes)


def test_a_monotone_pipeline_has_correlation_one_and_is_resumed(
    tmp_path: Path, exact: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = MonotonePipeline()
    monkeypatch.setattr(motion_control, "Orbit4DPipeline", SimpleNamespace(from_pretrained=lambda _: pipe))
    motion_control.main(arguments(tmp_path))
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["prompts"] == 2
    assert report["spearman"]["m"]["mean"] == 1
    assert report["spearman"]["m_smoothed"]["mean"] == 1
    assert report["spearman"]["matched_m"]["mean"] == 1
    assert report["m_at_0_of_median"] == 0
    assert report["floor_of_median"] == 0
    assert [line["matched_m"] for line in report["by_level"]] == pytest.approx(
        [0, 0.001 / 3, 0.002 / 3, 0.001], rel=0.05
    )
    assert report["gain"] < 1
    assert (tmp_path / "report.png").stat().st_size > 1000
    assert (tmp_path / "report_sheet.png").stat().st_size > 1000
    assert pipe.calls == 2 * (1 + 4)

    assert report["spearman_above_0"]["matched_m_elsewhere"]["mean"] == 1
    assert report["at_limit"] == 0 and report["matched_of_target"] == pytest.approx(1, abs=0.5)
    over_0 = [line["clip_m_over_0"] for line in report["by_level"]]
    assert over_0[0] == 0 and over_0 == sorted(over_0)

    # Nothing is left to do; with the last line gone, one static orbit, one level and the clip of level 0 are.
    motion_control.main(arguments(tmp_path))
    assert pipe.calls == 10
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    (tmp_path / "rows.jsonl").write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:40])
    motion_control.main(arguments(tmp_path))
    assert pipe.calls == 13
    assert json.loads((tmp_path / "report.json").read_text())["spearman"] == report["spearman"]

    # Other settings are other cases, in the same folder.
    motion_control.main(arguments(tmp_path, fit_steps=300))
    assert pipe.calls == 23
    assert json.loads((tmp_path / "report.json").read_text())["prompts"] == 2


def test_a_pipeline_that_ignores_motion_has_none(tmp_path: Path) -> None:
    rows = [row(level, m=0.01) for level in (0.0, 0.5, 1.0)]
    found = summary(rows)
    assert found["spearman"]["m"]["mean"] == 0
    assert found["m_at_0_of_median"] == 1
    plot(rows, tmp_path / "plot.png")
    sheet(rows, tmp_path, tmp_path / "sheet.png")  # no strips were kept: nothing is drawn
    assert not (tmp_path / "sheet.png").exists()


def row(level: float | str, *, m: float) -> dict:
    still = {"drift": 0.0, "flicker": 0.0, "of_object": 1.0}
    values = dict.fromkeys(CASE, 0) | {"prompt": "a ball rising", "level": level}
    return values | {
        "clip_m": m,
        "clip_m_over_0": m,
        "target_m": m,
        "asset": {"m": m, "m_smoothed": m, "still": still},
        "matched": {"m": m, "m_smoothed": m, "m_elsewhere": m, "still": still, "gain": 1.0},
        "seconds": {"sample": 1.0, "construct": 1.0},
    }


def test_rows_are_taken_up(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.jsonl", key=("a", "b"))
    rows.add({"a": 1, "b": "x", "value": 3})
    assert {"a": 1, "b": "x"} in rows
    assert {"a": 1, "b": "y"} not in rows
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"a": 2, "b"')  # killed while writing
    again = Rows(tmp_path / "rows.jsonl", key=("a", "b"))
    assert again.all() == [{"a": 1, "b": "x", "value": 3}]
    again.add({"a": 2, "b": "x", "value": 4})
    assert len(Rows(tmp_path / "rows.jsonl", key=("a", "b")).all()) == 2
    (tmp_path / "rows.jsonl").write_text("not json\n")
    with pytest.raises(InputError, match=r"rows\.jsonl:1"):
        Rows(tmp_path / "rows.jsonl", key=("a",))


def test_the_choice_of_prompts() -> None:
    """Seeded, with motion only, every kind before any twice, motions as varied as they can be, no toys."""
    by_kind = {
        "a fox": ["a fox running", "a fox standing", "a fox eating"],
        "a wolf": ["a wolf running", "a wolf standing"],
        "a bat": ["a bat", "a bat flying"],
        "toy bird": ["a toy bird flapping"],
    }
    chosen = choose_prompts(by_kind, count=4, seed=0)
    assert chosen == choose_prompts(by_kind, count=4, seed=0)
    assert sorted(chosen) == ["a bat flying", "a fox eating", "a fox running", "a wolf running"]
    assert {c.rsplit(" ", 1)[0] for c in chosen[:3]} == {"a fox", "a wolf", "a bat"}
    assert len({tuple(choose_prompts(by_kind, count=4, seed=s)) for s in range(8)}) > 1
    with pytest.raises(InputError, match="at most 4"):
        choose_prompts(by_kind, count=5, seed=0)
    assert moving("a fox", "a fox standing up") is None  # by its first word
    assert moving("a fox", "a foxglove swaying") is None
    assert prompts_by_kind({"prompts": by_kind}) == by_kind


# --- guidance on motion alone


def test_guidance_on_motion_adds_its_term() -> None:
    e, null, frozen, motionless = torch.randn(4, 2, 3).unbind()
    scales: dict[str, Any] = {"guidance_scale": 2.0, "guidance_3d": 0.5}
    found = guide(e, null, frozen, **scales, guidance_motion=1.5, motionless=motionless)
    torch.testing.assert_close(found, e + (e - null) + 0.5 * (e - frozen) + 1.5 * (e - motionless))
    torch.testing.assert_close(guide(e, null, frozen, **scales), e + (e - null) + 0.5 * (e - frozen))
    with pytest.raises(ValueError, match="motionless"):
        guide(e, null, frozen, **scales, guidance_motion=1.0)


def test_the_benches_measure_the_pipelines_own_guidance_on_motion(tmp_path: Path, exact: None) -> None:
    """`--guidance-motion` and the weights of variants reach the pipeline's argument at every level."""
    import motion_knobs

    told: list[tuple[float | None, float]] = []

    class Spy(MonotonePipeline):
        denoiser = torch.nn.Identity()  # what a stretched scale hooks onto

        def __call__(self, *, motion: float | None = None, guidance_motion: float = 0.0, **given: Any) -> OrbitalClip:
            told.append((motion, guidance_motion))
            return super().__call__(motion=motion, **given)

    pipe: Any = Spy()
    settings = dict.fromkeys(CASE, 0) | {"seed": 0, "steps": 2, "fit_steps": 2, "guidance_motion": 3.0}
    settings = {name: settings[name] for name in CASE if name not in ("prompt", "level")}
    rows = Rows(tmp_path / "rows.jsonl", key=CASE)
    motion_control.run_prompt(pipe, "a ball rising", [0.0, 1.0], settings, rows, pictures=tmp_path)
    assert told == [(None, 0.0), (0.0, 3.0), (1.0, 3.0)]
    told.clear()
    case = {"prompt": "a ball rising", "seed": 0, "steps": 2}
    for name in ("default", "on motion 6", "stretch 1.5, on motion 3"):
        motion_knobs.sample(pipe, motion_knobs.VARIANTS[name], level=0.5, case=case)
    assert told == [(0.5, 0.0), (0.5, 6.0), (0.5, 3.0)]


def test_seeds_of_a_prompt_are_one_case() -> None:
    """The interval is over prompts: more seeds of the same two are no more prompts."""
    rows = []
    for prompt, sign in (("a", 1), ("b", -1)):
        for seed in range(6):
            rows += [row(level, m=0.02 + sign * level / 100) | {"prompt": prompt, "seed": seed} for level in (0.0, 1.0)]
    found = summary(rows)
    assert found["prompts"] == 2
    assert found["spearman"]["m"] == {"mean": 0.0, "interval_95": [None, None], "least": -1.0}, (
        "two prompts tell no interval"
    )


def test_the_knob_study_puts_things_back(tmp_path: Path) -> None:
    """A stretched scale reaches the network within, and only within."""
    from motion_knobs import stretched, table

    from orbit4d.diffusion.denoiser import Conditions

    class Network(torch.nn.Module):
        def forward(self, x, levels, c):
            return x if c.motion is None else x + c.motion

    x, network = torch.zeros(1, 1), Network()
    asked = Conditions(plucker=x, times=x, motion=torch.tensor([2.0]))
    with stretched(SimpleNamespace(denoiser=network), 1.5):  # type: ignore[arg-type]
        assert float(network(x, x, asked)) == 3
        assert float(network(x, x, replace(asked, motion=None))) == 0
    assert float(network(x, x, asked)) == 2
    rows = [
        {"variant": v, "prompt": p, "level": level, "m": 0.01 * (1 + level * (v == "good")), "target_m": 0.01 + level}
        for v in ("good", "deaf")
        for p in ("a", "b")
        for level in (0.0, 0.5, 1.0)
    ]
    good, deaf = table(rows)
    assert (good["spearman"], deaf["spearman"]) == (1, 0)
    assert good["log_m_spread"] == pytest.approx(0.693)
    assert deaf["log_m_spread"] == 0
