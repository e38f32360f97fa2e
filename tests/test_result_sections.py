"""Every section and headline is made from a report that its benchmark's own code wrote, so that the two cannot drift apart.

Also the benchmarks of features and of the contact sheet by themselves.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import sphere_clip
from PIL import Image
from test_recognition import benchmark

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import captioner
import consistency
import contact_sheet
import features
import guidance
import image_to_4d
import motion_control
import motion_knobs
import motion_pages
import oracle_ladder
import orbits
import schedulers
import tables
import training_speed

from orbit4d.clip import OrbitalClip, join_clips
from orbit4d.data.render import RenderedClip
from orbit4d.diffusion.captioner import Caption
from orbit4d.errors import InputError
from orbit4d.evaluate.consistency import view_consistency
from orbit4d.evaluate.recognition import FRAMES, Classes, Recogniser, clip_thumbnails, label_of

KINDS = {"a ball": ["a ball rising", "a ball rolling"], "a cube": ["a cube spinning", "a cube"]}


def still_ball() -> OrbitalClip:
    return replace(sphere_clip(moving=False), times=torch.zeros(8))


class Pipeline:
    """Samples a ball, larger with the seed and the steps."""

    weights_hash = "fake"
    usual_motion = 0.7
    motion: dict[str, Any] = {"prompts": KINDS}  # noqa: RUF012

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, *, seed: int = 0, orbits: int = 1, static: bool = False, **given: Any) -> OrbitalClip:
        self.calls.append(given | {"seed": seed})
        clip = sphere_clip(radius=0.4 + 0.02 * seed + 0.001 * (given.get("steps") or 0))
        return still_ball() if static else join_clips([clip] * orbits)


def known_ball() -> Any:
    return SimpleNamespace(
        asset="ball.glb",
        animation="Rise",
        prompt="a ball rising",
        orbit=sphere_clip,
        static=still_ball,
    )


def short_view_consistency(*_: Any, **__: Any) -> Any:
    """The figures and the scene of one construction, whatever the clip."""
    return one_construction()


@cache
def one_construction() -> Any:
    return view_consistency(sphere_clip(), steps=2, size=32)


def rendered_ball(*_: Any, **__: Any) -> RenderedClip:
    clip = sphere_clip()
    values = {name: getattr(clip, name) for name in ("rgb", "alpha", "cameras", "times")}
    depth = clip.alpha * 2
    return RenderedClip(**values, depth=depth, flow=torch.zeros(len(clip), 3, 32, 32))


def written(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def schedulers_report(folder: Path, patch: pytest.MonkeyPatch) -> dict:
    patch.setattr(schedulers, "truth_of", lambda *_: sphere_clip())
    schedulers.main(
        schedulers.Arguments(
            out=folder / "r.json",
            work=folder,
            names=("dpm++", "heun"),
            steps=(4, 6),
            prompts=("a fox running",),
            seeds=(0,),
            frames=8,
        )
    )
    return written(folder / "r.json")


def orbits_report(folder: Path, patch: pytest.MonkeyPatch) -> dict:
    patch.setattr(orbits, "renders", lambda case, count, offset=0.0: join_clips([sphere_clip()] * count))
    patch.setattr(orbits, "view_consistency", short_view_consistency)
    orbits.main(
        orbits.Arguments(
            out=folder / "r.json",
            work=folder,
            cases=("a fox running",),
            orbits=(1, 2),
            modes=("together",),
            fit_steps=2,
        )
    )
    return written(folder / "r.json")


def training_speed_report(folder: Path, patch: pytest.MonkeyPatch) -> dict:
    def turns(*given: Any, **options: Any) -> Any:
        return SimpleNamespace(model=None)

    def fit(model: Any, task: Any, *given: Any, **options: Any) -> None:
        for clock in task.clocks.values():
            for _ in range(5):
                clock.start()
                sum(range(10**4))
                clock.stop()

    patch.setattr(training_speed, "LatentSet", lambda _: None)
    patch.setattr(training_speed, "Turns", turns)
    patch.setattr(training_speed, "fit", fit)
    training_speed.main(
        training_speed.Arguments(
            latents=folder,
            out=folder / "r.json",
            preset="tiny",
            repeats=2,
            compile=False,
            threads=torch.get_num_threads(),
        )
    )
    return written(folder / "r.json")


def consistency_report(folder: Path, patch: pytest.MonkeyPatch) -> dict:
    patch.setattr(consistency, "_pipeline", lambda _: Pipeline())
    patch.setattr(consistency, "CLIPS", [known_ball()])
    patch.setattr(consistency, "render_clip", rendered_ball)
    patch.setattr(consistency, "view_consistency", short_view_consistency)
    consistency.main(
        consistency.Arguments(
            out=folder / "r.json", work=folder, elk=False, controls=("light",), samples=1, steps=2, size=32
        )
    )
    return written(folder / "r.json")


def guidance_report(folder: Path, patch: pytest.MonkeyPatch) -> dict:
    patch.setattr(guidance, "CLIPS", [known_ball()])
    patch.setattr(guidance, "SHOWN", [0, 1])
    patch.setattr(guidance, "view_consistency", short_view_consistency)
    guidance.main(
        guidance.Arguments(
            out=folder / "r.json", work=folder, variants=("none", "plain 2"), clips=1, seeds=(0,), fit_steps=2
        )
    )
    return written(folder / "r.json")


def motion_control_report(folder: Path, patch: pytest.MonkeyPatch) -> dict:
    arguments = motion_control.Arguments()
    rows = []
    for prompt in KINDS["a ball"]:
        for level, m in (("floor", 0.001), (0.0, 0.002), (0.5, 0.01), (1.0, 0.03)):
            found = {"m": m, "m_smoothed": 0.9 * m, "still": {"drift": 0.01, "flicker": 0.002, "of_object": 0.25}}
            row = motion_control.settings_of(arguments, "fake", 0) | {"prompt": prompt, "level": level, "asset": found}
            row |= {
                "target_m": None,
                "clip_m": None,
                "clip_m_over_0": None,
                "seconds": {"sample": 9.0, "construct": 8.0},
            }
            if level != "floor":
                row |= {"target_m": m, "clip_m": m, "clip_m_over_0": m - 0.002}
                row |= {"matched": found | {"gain": 1.2, "m_elsewhere": m}}
            rows.append(row)
    settings = motion_control.settings_of(arguments, "fake", None) | {"seeds": [0]}
    return {"settings": settings, "levels": [0, 0.5, 1]} | motion_pages.summary(rows)


def captioner_report(folder: Path, patch: pytest.MonkeyPatch) -> dict:
    """One picture each of what was said rightly, in part, wrongly, and of what nothing was said."""
    captions = ("a fox running", "a fox dying", "a wolf running", None)
    said = (("a fox", "running"), ("a fox", None), ("a fox", "running"), None)
    rows = []
    for caption, words in zip(captions, said, strict=True):
        case = image_to_4d.Case(
            split="rig", file="a.glb", animation=0, animation_name="A", azimuth=0.0, caption=caption
        )
        share = {"kind_share": 0.9, "motion_share": 0.6}
        told = None if words is None else Caption(text="", kind=words[0], motion=words[1], **share)
        rows.append(captioner.judged(case, told, caption and " ".join(caption.split()[:2])))
    assert [(r["kind"], r["motion"]) for r in rows] == [
        ("right", "right"),
        ("right", "unsaid"),
        ("wrong", "right"),
        ("unsaid", "unsaid"),
    ]
    splits = {"rig": {"pictures": 4, **captioner.shares(rows)}}
    assert splits["rig"]["kind"]["right"]["mean"] == 0.5
    return {"parameters": 1000, "sure": {"kind": 0.8, "motion": 0.5}, "splits": splits}


def image_to_4d_report(folder: Path, patch: pytest.MonkeyPatch) -> dict:
    truth = sphere_clip()
    frames = torch.cat([truth.rgb, truth.alpha], dim=1)
    gains = {m: 1 - 0.2 * i for i, m in enumerate(image_to_4d.METHODS)}
    results = [
        {"split": "rig", "file": file, "animation": 0, "azimuth": 0.0, "seed": 0}
        | {"scores": {m: image_to_4d.scores(frames * gain, truth) for m, gain in gains.items()}}
        for file in "ab"
    ]
    return {"means": image_to_4d.summary(results)}


def features_report(folder: Path, patch: pytest.MonkeyPatch) -> dict:
    def run(source: Any, maps: Any, *, given: str, seed: int, a: features.Arguments) -> dict[str, Any]:
        more = {"none": 0.0, "both": 1.0}[given]
        values = {"500": 10.0 + more, "1000": 12.0 + more + 0.1 * seed, "end": 13.0 + more}
        return {"scores": {step: {"foreground_psnr": value} for step, value in values.items()}, "seconds": 1.0}

    names = ("fox running", "horse galloping", "elk", "generated: a ball rising")
    patch.setattr(features, "sources", lambda *_: dict.fromkeys(names, ball_source))
    patch.setattr(features, "features_of", lambda *_: None)
    patch.setattr(features, "run", run)
    arguments = features.Arguments(
        out=folder / "r.json", rows=folder / "rows.jsonl", given=("none", "both"), seeds=(0, 1), steps=2500
    )
    features.main(arguments)
    first = written(folder / "r.json")
    patch.setattr(features, "run", None)  # nothing is left to do
    features.main(arguments)
    assert written(folder / "r.json")["means"] == first["means"]
    return first


def ball_source() -> features.Source:
    return features.Source(moving=sphere_clip(), still=still_ball(), held=[sphere_clip()])


def contact_sheet_report(folder: Path, patch: pytest.MonkeyPatch) -> dict:
    contact_sheet.main(contact_sheet.Arguments(out=folder / "r.json", work=folder, count=3))
    return written(folder / "r.json")


def motion_knobs_report(folder: Path, patch: pytest.MonkeyPatch) -> dict:
    rows = [
        {"variant": name, "prompt": prompt, "level": level, "m": 0.01 * level + 0.001, "target_m": 0.02 * level}
        for name in ("plain", "on motion 3")
        for prompt in KINDS["a ball"]
        for level in (0.0, 0.5, 1.0)
    ]
    return {"table": motion_knobs.table(rows)}


def oracle_ladder_report(folder: Path, patch: pytest.MonkeyPatch) -> dict:
    scores = {"whole_psnr": 20.0, "foreground_psnr": 12.0, "ssim": 0.9}
    rung = {"clip": None, "front": scores, "between": scores, "motion": {"m": 0.01}, "true_m": 0.02}
    asset = {"asset": "a.glb", "animation": "Walk", "prompt": "a fox walking", "rungs": {"ground truth, 1 orbit": rung}}
    return {"views": ["front", "between"], "assets": [asset], "mean": oracle_ladder.mean_of([asset])}


def recognition_generated_report(folder: Path, patch: pytest.MonkeyPatch) -> dict:
    score = benchmark("score")
    prompts = [score.Prompt(text=t, label=label_of("a ball", [t])) for t in KINDS["a ball"]]
    frames = torch.stack([clip_thumbnails(sphere_clip(frames=FRAMES))] * 2)
    model = Recogniser(Classes.of([p.label for p in prompts]), width=4, dim=8, layers=1)
    figures, _ = score.report_of(model, {}, frames, [(p, 0) for p in prompts])
    return {"prompts": 2, "seeds": [0]} | figures


MADE = {
    "schedulers": schedulers_report,
    "orbits": orbits_report,
    "training_speed": training_speed_report,
    "consistency": consistency_report,
    "motion_control": motion_control_report,
    "guidance": guidance_report,
    "features": features_report,
    "image_to_4d": image_to_4d_report,
    "captioner": captioner_report,
    "contact_sheet": contact_sheet_report,
    "motion_knobs": motion_knobs_report,
    "oracle_ladder": oracle_ladder_report,
    "recognition_generated": recognition_generated_report,
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict]]:
    """Of every benchmark: those of MADE made now, of the others the committed one."""
    found = tables.read_reports(tables.RESULTS)
    for name, make in MADE.items():
        with pytest.MonkeyPatch.context() as patch:
            for module in (schedulers, orbits, guidance, features, contact_sheet):
                patch.setattr(module, "Orbit4DPipeline", SimpleNamespace(from_pretrained=lambda _: Pipeline()))
            found[name] = make(tmp_path_factory.mktemp(name), patch)
    yield found


def check_tables(text: str) -> None:
    """Every table has cells of one number a line, and no figure is missing without a sign."""
    width = None
    for line in text.splitlines():
        width = None if not line.startswith("|") else width or line.count("|")
        assert width is None or line.count("|") == width, line
    assert "None" not in text and "nan" not in text.split()


ELSEWHERE = {"orster_costs", "orster_pilot"}
"""Read from what their scripts write in test_orster_bench.py."""


@pytest.mark.parametrize("name", sorted({*tables.SECTIONS} - ELSEWHERE))
def test_every_section_reads_what_its_benchmark_writes(name: str, reports: dict[str, dict]) -> None:
    assert name in reports, "neither made here nor committed"
    text = tables.SECTIONS[name](reports[name], reports)
    assert text.startswith("#")
    check_tables(text)


@pytest.mark.parametrize("name", sorted({*tables.HEADLINES} - ELSEWHERE))
def test_every_headline_reads_what_its_benchmark_writes(name: str, reports: dict[str, dict]) -> None:
    place = f"<!-- figures: {name} -->\nold\n<!-- end -->"
    text = tables.with_headlines(place, reports)
    assert tables.NOT_MEASURED not in text and "old" not in text.splitlines()
    check_tables(text)
    assert tables.with_headlines(text, {}) == place.replace("old", tables.NOT_MEASURED)


def test_headlines_and_tables_of_the_model(reports: dict[str, dict]) -> None:
    """heun's odd numbers share the even columns; matched, own and clip's correlations are apart; baselines have their SSIM."""
    text = tables.SECTIONS["schedulers"](reports["schedulers"], reports)
    assert "| scheduler | 4 | 6 |" in text
    assert {c["evaluations"] for c in reports["schedulers"]["cells"] if c["scheduler"] == "heun"} == {3, 5}
    text = tables.HEADLINES["motion_control"](reports["motion_control"], reports)
    assert "| the matched asset (`generate --motion`, at this many steps) | 1.00 | 1.00 | 1.00 |" in text
    assert "| the sampled clip, against that of level 0 | 1.00 | 1.00 |  |" in text
    assert "by 1.2 in the median above level 0, at most by 1.5 (0.0 % of them came to that limit)" in text
    text = tables.SECTIONS["image_to_4d"](reports["image_to_4d"], reports)
    line = next(line for line in text.splitlines() if line.startswith("| picture, no words | rig"))
    assert "| picture, no words | rig" in text
    worded = reports["image_to_4d"] | {"captioner": "abc"}
    all_three = reports | {"image_to_4d_no_caption": reports["image_to_4d"]}
    text = tables.SECTIONS["image_to_4d"](worded, all_three)
    assert "| picture | rig" in text and "| picture, no words | rig" in text
    both = reports | {"image_to_4d_prompt": reports["image_to_4d"]}
    assert "| picture, prompt | rig" in tables.SECTIONS["image_to_4d"](reports["image_to_4d"], both)
    generated, repeated, nearest = map(float, line.split("|")[-2].split(" / "))
    assert generated > repeated > nearest
    means = reports["image_to_4d"]["means"]["rig"]
    older = {"means": {"rig": means | {"nearest": {"foreground_psnr": means["nearest"]["foreground_psnr"]}}}}
    assert " / - |" in tables.SECTIONS["image_to_4d"](older, {})


def test_features_are_compared_by_object_seed_and_steps(reports: dict[str, dict]) -> None:
    """The steps that a faster construction needs lie between those that were scored; the elk has its own mean."""
    report = reports["features"]
    assert list(report["means"]) == ["rendered", "elk", "generated"]
    both = report["means"]["rendered"]["both"]
    assert both["gain"]["end"] == {"mean": 1.0, "low": None, "high": None, "count": 2}
    assert report["means"]["elk"]["both"]["gain"]["end"]["count"] == 2  # seeds, of one object
    # 13.05 dB after 1000 steps on the seeds' mean, so 13 dB, the end of none, lies a little before.
    assert both["iterations"] == {"median": 987.8, "reached": 2, "cases": 2}
    assert report["means"]["rendered"]["none"]["iterations"]["median"] == 2500
    text = tables.SECTIONS["features"](report, reports)
    assert "| both | 11.00 | 13.05 | 14.00 | +1.00 | 988 (2 of 2) |" in text
    assert "| elk | 2,500 | 988 |" in text


def test_steps_needed() -> None:
    curve = {"500": 10.0, "1000": 12.0, "end": 11.0}
    assert features.steps_needed(curve, 11.0, total=2000) == 750
    assert features.steps_needed(curve, 12.5, total=2000) is None
    assert features.steps_needed(curve, 9.0, total=2000) == 500  # where it was first scored
    assert features.middle([500.0, None, None]) == {"median": None, "reached": 1, "cases": 3}
    assert features.middle([500.0, 700.0, None])["median"] == 700
    assert features.averaged([{"500": 1.0, "end": 3.0}, {"end": 5.0}]) == {"end": 4.0}


def test_the_contact_sheet_shows_all_that_was_drawn_and_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = Pipeline()
    monkeypatch.setattr(contact_sheet, "Orbit4DPipeline", SimpleNamespace(from_pretrained=lambda _: pipe))
    arguments = contact_sheet.Arguments(out=tmp_path / "sheet.json", work=tmp_path, count=3, columns=2)
    contact_sheet.main(arguments)
    report = written(tmp_path / "sheet.json")
    assert [(t["prompt"], t["seed"]) for t in report["tiles"]] == [(p, s) for p in report["prompts"] for s in (0, 1)]
    assert sorted(report["prompts"]) == ["a ball rising", "a ball rolling", "a cube spinning"]
    assert len(pipe.calls) == 6
    assert {c["steps"] for c in pipe.calls} == {contact_sheet.DEFAULT_STEPS}
    assert not any("motion" in c for c in pipe.calls)  # as `generate` has it
    with Image.open(tmp_path / report["picture"]) as picture:
        tile = contact_sheet.SIDE + contact_sheet.LABEL
        assert picture.size == (2 * (4 * contact_sheet.SIDE + 16), 3 * tile)
        label = picture.convert("L").crop((8, 0, 200, contact_sheet.LABEL))
        assert min(label.tobytes()) < 100  # written on white
    # A line without its strip, and a strip without its line, are made again; the rest is not.
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    contact_sheet.strip_path(tmp_path, {name: first[name] for name in contact_sheet.CASE}).unlink()
    (tmp_path / "rows.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    contact_sheet.main(arguments)
    assert len(pipe.calls) == 8
    contact_sheet.main(replace(arguments, seeds=(0,)))
    assert len(pipe.calls) == 8


def test_a_contact_sheet_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Image.effect_noise((256, 256), 90).convert("RGB")
    contact_sheet.save_webp(noise, tmp_path / "best.webp")
    best = (tmp_path / "best.webp").stat().st_size
    monkeypatch.setattr(contact_sheet, "MOST_BYTES", best)
    contact_sheet.save_webp(noise, tmp_path / "small.webp")
    assert (tmp_path / "small.webp").stat().st_size < best
    monkeypatch.setattr(contact_sheet, "MOST_BYTES", 100)
    with pytest.raises(InputError, match="larger than 100 bytes"):
        contact_sheet.save_webp(noise, tmp_path / "none.webp")
    assert not (tmp_path / "none.webp").exists()
