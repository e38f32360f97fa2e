"""The benchmarks of guidance, of the oracle ladder and of consistency: their figures, and the sections made of them."""

# pyright: reportMissingImports=false

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import sphere_clip

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import control_tables
import guidance
import oracle_ladder
import orbits
import tables
from motion_calibration import summary as calibrated
from motion_pages import CASE as MOTION_CASE
from motion_pages import summary
from strips import save_sheet, save_strip, strip_path

from orbit4d.errors import InputError

PAGES = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))


def guided(variant: str, seed: int, psnr: float | None, *, mode: str = "image", warp: float | None = 0.02) -> dict:
    against = None if psnr is None else {"foreground_psnr": psnr, "ssim": 0.8, "whole_psnr": 20.0}
    return {
        "mode": mode,
        "variant": variant,
        "prompt": "a fox running",
        "seed": seed,
        "against_truth": against,
        "view": {"held_out_foreground_psnr": 10.0, "fitted_foreground_psnr": 12.0, "gap": 2.0},
        "time": {"mean_absolute": warp, "unwarped": warp and 0.04},
        "sharpness": 0.7,
        "asset": {"m": 0.02 if variant == "truth" else 0.01},
    }


def test_gains_of_guidance_are_paired() -> None:
    """Each variant is compared with no guidance of the same clip, mode and seed; a figure that is missing counts nowhere."""
    rows = [guided("truth", 0, None, mode="truth")]
    rows += [guided("none", seed, 10.0 + 5 * seed) for seed in (0, 1)]
    rows += [guided("plain 2", seed, 11.0 + 5 * seed, warp=None) for seed in (0, 1)]
    entries = guidance.table(rows, guidance.Arguments(variants=("none", "plain 2"), modes=("image",)))
    truth, none, plain = entries
    assert (truth["variant"], truth["samples"], truth["foreground_psnr"]) == ("truth", 1, None)
    assert none["foreground_psnr"] == 12.5
    assert none["over_none"] == {}
    assert plain["over_none"]["foreground_psnr"] == {"mean": 1.0, "interval_95": [None, None]}  # of a single clip
    assert "warp_error" not in plain["over_none"]
    assert plain["m_of_truth"] == 0.5
    report = {"table": entries, "clips": 1, "seeds": [0, 1], "steps": 20}
    text = control_tables.guidance(report, {})
    assert "| image + prompt | plain 2 | 2 | 13.5 | 0.8 | 10 | 2 | - | - | 0.5 | 0.7 |" in text
    assert "| image + prompt | none | 2 | 12.5 | 0.8 | 10 | 2 | - | - |" in text, "a mean is of clips that all have"
    assert "| image + prompt | plain 2 | 1.000 |" in text


def test_seeds_of_a_clip_do_not_narrow_the_interval_of_a_gain() -> None:
    """Six clips, one of which gains 7 and the others 1 at each of many seeds: the mean may be as low as theirs."""
    rows = []
    for number, gain in enumerate((1.0, 1.0, 1.0, 1.0, 1.0, 7.0)):
        prompt = f"clip {number}"
        for seed in range(8):
            rows += [guided(v, seed, 10.0 + g) | {"prompt": prompt} for v, g in (("none", 0.0), ("plain 2", gain))]
    entries = guidance.table(rows, guidance.Arguments(variants=("none", "plain 2"), modes=("image",)))
    found = next(e for e in entries if e["variant"] == "plain 2")["over_none"]
    assert found["foreground_psnr"] == {"mean": 2.0, "interval_95": [1.0, 4.0]}


def test_frame_0_counts_in_no_rung(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`clip` of a rung whose frame 0 alone is right is that of one with no frame right."""
    truth = sphere_clip(frames=4)
    wrong = replace(truth, rgb=1 - truth.rgb, alpha=truth.alpha.clone(), depth=None)
    first = replace(wrong, rgb=torch.cat([truth.rgb[:1], wrong.rgb[1:]]))
    monkeypatch.setattr(oracle_ladder, "fit", lambda *_, **__: SimpleNamespace(scene=None))
    monkeypatch.setattr(oracle_ladder, "render_scene", lambda *_: (truth.on_background(), None))
    monkeypatch.setattr(oracle_ladder, "score", lambda *_: {})
    monkeypatch.setattr(oracle_ladder, "asset_motion", lambda *_: {})
    monkeypatch.setattr(oracle_ladder, "SHOWN", [0])
    known: Any = SimpleNamespace(
        asset="a.glb",
        animation="Walk",
        prompt="a ball",
        orbit=lambda azimuth=0.0: truth,
        front=lambda azimuth: truth,
        static=lambda: truth,
        orbits=lambda count: truth,
    )
    found = []
    for sampled in (wrong, first):
        pipe: Any = lambda sampled=sampled, **_: sampled  # noqa: E731
        case = oracle_ladder.case_of(known, "sampled, image + prompt", 1, oracle_ladder.Arguments(), "one")
        found.append(oracle_ladder.run(oracle_ladder.Subject(known, pipe, {}), case, tmp_path)["clip"])
    assert found[0] == found[1]


def test_a_case_of_orbits_is_known_by_all_its_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Other steps are not answered with what was measured before; the same are, and the truth is of no model."""
    from rows import Rows

    clip, calls = sphere_clip(frames=4), []
    monkeypatch.setattr(orbits, "renders", lambda *_, **__: clip)
    monkeypatch.setattr(orbits, "figures", lambda *_: {"view": {}, "novel": {}})

    def sampled(**given: Any) -> Any:
        calls.append(given["steps"])
        return clip

    pipe: Any = sampled
    rows = Rows(tmp_path / "rows.jsonl", key=orbits.CASE)

    def measured(mode: str, weights: str = "one", **changes: Any) -> dict:
        arguments = orbits.Arguments(work=tmp_path, **changes)
        case = orbits.case_of("a ball", 2, mode, 0, weights=weights, arguments=arguments)
        return orbits.measure(pipe, case, rows, work=tmp_path)

    for steps, fit_steps in ((5, 10), (9, 10), (9, 20), (9, 20), (5, 10)):
        found = measured("together", steps=steps, fit_steps=fit_steps)
        assert (found["steps"], found["fit_steps"]) == (steps, fit_steps)
    assert calls == [5, 9, 9]
    measured("together", weights="two", steps=5, fit_steps=10)
    assert calls == [5, 9, 9, 5]
    assert measured("truth", steps=5) == measured("truth", weights="two", steps=9)
    assert len(rows.all()) == 5 and len(calls) == 4


def test_every_named_variant_of_guidance_is_distinct() -> None:
    assert len(set(guidance.VARIANTS.values())) == len(guidance.VARIANTS)
    assert guidance.VARIANTS["none"] == (1.0, 0.0)


def test_the_ladder_hands_each_rung_its_own_conditions() -> None:
    """What a source is sampled from, and that true orbits are joined as the pipeline joins its own."""
    calls: list[dict[str, Any]] = []

    class Pipeline:
        def __call__(self, **given: Any) -> str:
            calls.append(given)
            return "sampled"

    clip = sphere_clip(frames=4)
    known: Any = SimpleNamespace(
        prompt="a ball", orbit=lambda azimuth=0.0: clip, static=lambda: clip, orbits=lambda count: [clip] * count
    )
    subject = oracle_ladder.Subject(known, Pipeline(), {"seed": 3})  # type: ignore[arg-type]
    assert subject.orbits("ground truth", 4) == [clip] * 4
    assert subject.static("sampled, static 3D + prompt") is clip
    subject.orbits("sampled, image + prompt", 2)
    subject.orbits("sampled, static 3D + prompt", 1)
    subject.orbits("sampled, prompt", 1)
    assert [set(c) - {"seed", "progress", "orbits"} for c in calls] == [
        {"prompt", "image"},
        {"prompt", "static_clip"},
        {"prompt"},
    ]
    assert calls[0]["orbits"] == 2
    assert calls[0]["image"].shape == (4, 32, 32)
    subject.static("sampled, prompt")
    subject.static("sampled, prompt")
    assert len(calls) == 4  # a static orbit is sampled once
    assert calls[-1]["static"] is True


def test_rungs_of_the_truth_do_not_depend_on_the_model() -> None:
    known: Any = SimpleNamespace(asset="a.glb", animation="Walk")
    arguments = oracle_ladder.Arguments()
    cases = [
        [oracle_ladder.case_of(known, source, 2, arguments, weights) for weights in ("one", "two")]
        for source in oracle_ladder.SOURCES
    ]
    assert [a == b for a, b in cases] == [True, False, False, False, False]
    other = oracle_ladder.case_of(known, "autoencoder round trip", 2, oracle_ladder.Arguments(steps=5), "one")
    assert other == cases[1][0]


def test_the_ladders_section_reads_old_and_new_reports() -> None:
    scores = {"whole_psnr": 20.0, "foreground_psnr": 12.0, "ssim": 0.9}
    rung = {"clip": None, "front": scores, "between": scores, "motion": {"m": 0.01}, "true_m": 0.02}
    assets = [
        {"asset": "a.glb", "animation": "Walk", "prompt": "a fox walking", "rungs": {"ground truth, 1 orbit": rung}}
    ]
    new = {"views": ["front", "between"], "assets": assets, "mean": oracle_ladder.mean_of(assets)}
    text = tables.ladder(new, {})
    assert "| ground truth, 1 orbit | the truth | 20.00 / 12.00 / 0.900 | 20.00 / 12.00 / 0.900 | 0.5 |" in text
    assert "tracked" not in text
    old_rung = {"clip": None, "front": scores, "opposite": scores}
    old = tables.ladder({"assets": [assets[0] | {"rungs": {"ground truth": old_rung}}]}, {})
    assert "*opposite*" in old
    assert "tracked" in old


def test_the_section_on_motion_control() -> None:
    still = {"drift": 0.01, "flicker": 0.002, "of_object": 0.25}
    rows = []
    for level, m in (("floor", 0.001), (0.0, 0.002), (0.5, 0.01), (1.0, 0.03)):
        given = dict.fromkeys(MOTION_CASE, 0) | {"prompt": "a fox running", "level": level}
        found = {"m": m, "m_smoothed": 0.9 * m, "still": still}
        rows.append(
            given
            | {
                "clip_m": m,
                "clip_m_over_0": m,
                "target_m": m,
                "asset": found,
                "matched": found | {"gain": 1.2, "m_elsewhere": m / 2},
                "seconds": {"sample": 9.0, "construct": 8.0},
            }
        )
    settings = {"steps": 20, "fit_steps": 200, "guidance_scale": 2.0, "guidance_3d": 0.5, "guidance_motion": 0.0}
    report = {"settings": settings, "levels": [0, 0.5, 1]} | summary(rows)
    assert report["m_at_0_of_median"] == pytest.approx(0.2)
    assert report["floor_of_median"] == pytest.approx(0.1)
    assert report["seconds_an_asset"] == 17
    text = control_tables.motion_control(report, {})
    assert (report["matched_of_target"], report["gain"], report["at_limit"]) == (0.5, 1.2, 0)
    assert "| m of the network's own asset | 1.000 | 1.00 | 1.000 |" in text
    assert "| m of the matched asset | 1.000 | 1.00 |" in text
    assert "20.0 %" in text
    assert "guidance 2, 3D-aware 0.5, on motion 0" in text


def test_sheets(tmp_path: Path) -> None:
    """Strips are named by their case, missing ones stay white, and no strips at all are no sheet."""
    from PIL import Image

    here, other = (strip_path(tmp_path, {"prompt": "a", "level": level}) for level in (0, 1))
    assert here != other == strip_path(tmp_path, {"level": 1, "prompt": "a"})
    save_sheet([("a", [("first", here)])], tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
    save_strip(torch.zeros(3, 3, 128, 128), here)
    save_sheet([("a", [("first", here), ("second", other)])], tmp_path / "sheet.png")
    sheet = Image.open(tmp_path / "sheet.png").convert("L")
    assert sheet.width > 3 * 96
    assert sheet.getpixel((sheet.width // 2, 70)) == 0
    assert sheet.getpixel((sheet.width // 2, sheet.height - 50)) == 255


def test_places_in_a_page_are_filled_and_filled_again() -> None:
    """From reports that are there; without one, a place says that nothing was measured, and other text stays."""
    page = "Before.\n\n<!-- figures: motion_knobs -->\nold\n<!-- end -->\n\nBetween.\n\n"
    page += "<!-- figures: motion_calibration -->\nold\n<!-- end -->\n"
    over = {"mean": 0.5, "interval_95": [0.1, 0.9]}
    entry = {"variant": "on motion 3", "prompts": 6, "spearman": 0.9, "interval_95": [0.8, 0.95]}
    reports = {"motion_knobs": {"table": [entry | {"log_m_spread": 1.2, "asked": 4.0, "spread_over_default": over}]}}
    filled = tables.with_headlines(page, reports)
    assert "| on motion 3 | 6 | 0.90 (0.80 to 0.95) | 1.20 | 0.50 (0.10 to 0.90) | 4.00 |" in filled
    assert filled.count(tables.NOT_MEASURED) == 1
    assert "old" not in filled
    assert filled.startswith("Before.")
    assert "\n\nBetween.\n\n" in filled
    assert tables.with_headlines(filled, reports) == filled
    by_steps = [{"steps": 200, "clips": 8, "spearman": 1.0, "ratio_to_truth": [0.4, 0.8, 0.9]}]
    assert "200 steps: Spearman with the true m 1.00, m / true m 0.80" in tables.with_headlines(
        filled, reports | {"motion_calibration": {"by_steps": by_steps}}
    )


def test_places_are_whole_lines_of_known_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty place takes nothing of the next; an unknown one and a page without places stay; one without an end is refused."""
    empty = "<!-- figures: guidance -->\n<!-- end -->\n\nText.\n\n<!-- figures: features -->\nold\n<!-- end -->"
    assert tables.with_headlines(empty, {}) == empty.replace("-->\n<!--", "-->\nold\n<!--").replace(
        "old", tables.NOT_MEASURED
    )
    page = tmp_path / "a.md"
    page.write_bytes(b"No place,\r\n `<!-- figures: guidance -->` in a line.\r\n")
    before = page.read_bytes(), page.stat().st_mtime_ns
    tables.fill(page, {})
    assert (page.read_bytes(), page.stat().st_mtime_ns) == before
    page.write_text(unknown := "<!-- figures: nonsense -->\nkept\n<!-- end -->\n")
    tables.fill(page, {})
    assert page.read_text() == unknown
    assert "'nonsense'" in capsys.readouterr().out
    page.write_text(empty.replace("<!-- end -->", "", 1))
    with pytest.raises(InputError, match=r"a\.md: .*2 places, 1 whole"):
        tables.fill(page, {})


def test_every_place_of_the_pages_has_figures_to_fill_it() -> None:
    names = [name for path in PAGES for name in tables.PLACE.findall(path.read_text())]
    assert set(names) <= set(tables.HEADLINES)
    assert {"motion_control", "motion_calibration", "motion_knobs", "guidance", "oracle_ladder"} <= set(names)
    for path in PAGES:
        tables.with_headlines(path.read_text(), {})  # all places are whole


def test_the_calibration_compares_with_the_truth_and_with_the_longest_constructions() -> None:
    """Three clips; short constructions swap two of them, long ones lose half of each motion but no rank."""
    rows = []
    for steps, factors in ((100, (0.5, 0.2, 0.5)), (800, (0.5, 0.5, 0.5))):
        for name, m, factor in zip("abc", (0.01, 0.02, 0.04), factors, strict=True):
            case = {"asset": name, "animation": "Walk", "steps": steps, "floor": False, "seconds": 1.0}
            rows.append(case | {"true_m": m, "m": factor * m})
    rows.append(rows[-1] | {"floor": True, "m": 1e-5})
    short, long = calibrated(rows)["by_steps"]
    assert (short["spearman"], long["spearman"]) == (0.5, 1)
    assert (short["spearman_with_longest"], long["spearman_with_longest"]) == (0.5, 1)
    assert short["ratio_to_truth"] == [0.2, 0.5, 0.5]
    assert (short["floor_m"], long["floor_m"]) == ([], [1e-5, 1e-5, 1e-5])
