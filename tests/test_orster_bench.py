"""The experiment: intervals over assets and seeds, paired differences, protocols apart, recipes that are what they say, one run
of all scripts at a tiny size, and the pages made of it."""

# pyright: reportMissingImports=false

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from sample_fixtures import disc_sample, write_folder

from orbit4d.data.plan import RenderPlan
from orbit4d.diffusion.autoencoder import RGBAAutoencoder
from orbit4d.diffusion.train_autoencoder import encode_training_set
from orbit4d.diffusion.training import save_half
from orbit4d.errors import InputError

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import orster_tables

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
FOLDER = BENCHMARKS / "orster"


def script(name: str):
    """A script of the experiment under a name of its own: other benchmarks have a table.py, too."""
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location(f"orster_{name}", FOLDER / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(FOLDER))


def row(name: str, seed: int, values: dict[str, float], **more) -> dict:
    scored = {asset: {"foreground_psnr": v, "row_loss": {"0.9": v / 10}} for asset, v in values.items()}
    return {
        "row": name,
        "assets": 25,
        "seed": seed,
        "steps": 10,
        "budget": "steps",
        "transfer": {},
        "assets_scored": scored,
        "frechet": {"frames": 1.0, "motion": 2.0},
        "train_seconds": 1.0,
    } | more


def test_gains_are_paired_by_asset_and_seed():
    table = script("table")
    hard = {"a": 10.0, "b": 20.0, "c": 30.0}
    rows = [row("none", s, {k: v + s for k, v in hard.items()}) for s in (0, 1, 2)]
    rows += [row("orster", s, {k: v + s + 0.5 for k, v in hard.items()}) for s in (0, 1, 2)]
    entry = table.table(rows, {})["orster"]
    gain = entry["gain"]["foreground dB"]
    assert gain["mean"] == gain["low"] == gain["high"] == 0.5, (
        "assets differ by far more, but the gain is always the same"
    )
    spread = entry["figures"]["foreground dB"]
    assert spread["mean"] == pytest.approx(21.5) and spread["low"] < 17 < 26 < spread["high"]
    assert entry["gain"]["row 0.9"]["mean"] == -0.05, "lower is better"


def test_forgetting_is_against_the_teacher():
    table = script("table")
    teacher = row("teacher-spatial", 7, {"a": 1.0, "b": 2.0})
    rows = [row("none", 0, {"a": 1.5, "b": 2.5})]
    found = table.table(rows, {"teacher-spatial": teacher})["none"]["forgetting"]["spatial"]
    assert found["mean"] == 0.05 and found["assets"] == 2


def test_figures_that_are_missing_stay_missing():
    table = script("table")
    rows = [row("none", 0, {"a": 1.0})]
    rows[0]["assets_scored"]["a"]["foreground_psnr"] = None
    assert table.table(rows, {})["none"]["figures"]["foreground dB"]["mean"] is None


def test_every_row_of_the_experiment_differs_as_it_says():
    recipes = script("recipes")
    assert set(recipes.ROWS) == {
        "none", "mixture", "pointwise", "no-orthogonality", "no-distributions", "orster", "init", "init-orster",
    }  # fmt: skip
    plain, models = recipes.network, {}
    for name, r in recipes.ROWS.items():
        torch.manual_seed(0)
        models[name] = plain() if r.priors is None else recipes.with_priors(plain, (1,), **r.priors)
    first = dict(models["none"].named_parameters())
    for name, model in models.items():
        own = dict(model.named_parameters())
        assert all(torch.equal(p, own[n]) for n, p in first.items()), f"{name}: other first weights"
    assert recipes.ROWS["pointwise"].transfer == {"decorrelation_weight": 0.0}
    shared = models["no-orthogonality"].prior_blocks["1"]
    assert shared.shared and shared.spatial.gate.shape == shared.temporal.gate.shape
    assert models["pointwise"].prior_blocks["1"].spatial.gate is None


def test_the_mixture_draws_from_the_wide_sets():
    recipes = script("recipes")

    class Stop(Exception):
        pass

    seen = {}

    def task(data, config, model, **_):
        seen["share"] = config.wide_share
        raise Stop

    recipes.DenoiserTask = task
    for name, share in (("none", 0.0), ("mixture", recipes.WIDE_SHARE)):
        with pytest.raises(Stop):
            recipes.make_task(name, recipes.DenoiserConfig(), None, work=Path(), out=Path(), transfer={})
        assert seen["share"] == share


def test_the_whole_is_compared_with_every_ablation():
    """What it gains over one and loses to another are reported alike; seeds that only one of both has do not count."""
    table = script("table")
    values = {"a": 10.0, "b": 20.0}
    rows = [row("orster", s, values) for s in (0, 1, 2)]
    for name, by in (("none", -1.0), ("pointwise", 1.0), ("no-orthogonality", 0.0), ("mixture", -2.0)):
        rows += [row(name, s, {k: v + by for k, v in values.items()}) for s in (0, 1)]
    found = table.differences(rows)
    assert list(found) == ["orster"]
    assert list(found["orster"]) == ["none", "pointwise", "no-orthogonality", "mixture"]
    means = {other: entry["foreground dB"]["mean"] for other, entry in found["orster"].items()}
    assert means == {"none": 1.0, "pointwise": -1.0, "no-orthogonality": 0.0, "mixture": 2.0}
    assert found["orster"]["pointwise"]["foreground dB"]["high"] == -1.0
    assert found["orster"]["none"]["foreground dB"]["seeds"] == 2


def test_frechet_distances_have_an_interval_where_assets_were_resampled():
    comparison = script("comparison")
    more = {"frechet_resampled": {"frames": [2.0, 3.0, 4.0], "motion": [2.0] * 3}}
    plain = [row("none", s, {"a": 1.0, "b": 2.0}, **more) for s in (0, 1)]
    better = [
        row("orster", s, {"a": 1.0, "b": 2.0}, frechet={"frames": 0.5, "motion": 2.0})
        | {"frechet_resampled": {"frames": [1.5, 2.5, 3.5], "motion": [2.0] * 3}}
        for s in (0, 1)
    ]
    own = comparison.frechet_interval(plain, "frames")
    assert own["mean"] == 1.0 and own["low"] < 1.0 < own["high"], (
        "the spread is about the whole one, not about larger ones"
    )
    gain = comparison.frechet_interval(better, "frames", plain)
    assert gain["mean"] == gain["low"] == gain["high"] == 0.5, "the same assets for both: always better by as much"
    old = comparison.frechet_interval([row("orster", 0, {"a": 1.0})], "frames", plain)
    assert old["low"] is None and "without" in old["why"]


def test_resampled_frechet_distances_are_of_the_same_assets():
    answers = script("answers")
    generator = torch.Generator().manual_seed(0)
    true = [torch.randn(6, 3, generator=generator) + i for i in range(4)]
    whole, draws = answers.frechet(true, true, draws=5)
    assert whole == 0 and draws == [0] * 5
    made = [t + 1 for t in true]
    assert answers.frechet(true, made, draws=5) == answers.frechet(true, made, draws=5)
    assert answers.frechet(true, made, draws=5)[0] == pytest.approx(3, abs=1e-3), "means three apart by 1 each"


@pytest.mark.parametrize("name", ["batch", "held", "trained_on"])
def test_rows_of_different_protocols_stand_in_different_tables(name):
    comparison = script("comparison")
    protocol = {"batch": 4, "held": "a", "trained_on": "b"}
    rows = [row("none", 0, {"a": 1.0}, protocol=protocol)]
    rows += [row("orster", 0, {"a": 2.0}, protocol=protocol | {name: "other"}), row("orster", 0, {"a": 3.0})]
    rows += [row("orster", 0, {"a": 3.0}, steps=20, protocol=protocol)]
    found = list(comparison.groups(rows))
    assert [len(chosen) for _, chosen in found] == [1] * 4
    assert len({json.dumps(settings) for settings, _ in found}) == 4


def test_what_no_table_can_hold_is_refused():
    comparison = script("comparison")
    one = row("orster", 0, {"a": 1.0}, teachers={"spatial": "x"})
    for other, said in (
        (row("orster", 0, {"a": 2.0}), "twice"),
        (row("init", 0, {"a": 2.0}, teachers={"spatial": "y"}), "teachers"),
        (row("none", 0, {"a": 2.0}, trained_steps=9), "9"),
    ):
        with pytest.raises(InputError, match=said):
            list(comparison.groups([one, other]))
    teacher = row("teacher-spatial", 0, {"a": 1.0}, teacher="x")
    assert comparison.teachers_of([teacher, teacher | {"teacher": "y"}], [one]) == {"teacher-spatial": teacher}
    with pytest.raises(InputError, match="twice"):
        comparison.teachers_of([teacher, teacher], [one])


def test_pilots_have_names_of_their_own():
    table = script("table")
    rows = [row("none", 0, {"a": 1.0}), row("orster", 0, {"a": 2.0}, transfer={"nll_weight": 0.1})]
    assert list(table.table(rows, {})) == ["none", "orster, nll_weight 0.1"]
    assert table.differences(rows) == {}


def test_the_pilot_says_where_the_curve_is_flat():
    pilot = script("pilot")
    curve = {100: 2.0, 200: 1.5, 400: 1.495, 800: 1.2}
    rows = [{"steps": n, "losses": {"a": v, "b": v + 1}, "protocol": {}} for n, v in curve.items()]
    found = pilot.report(rows, assets=25, seed=0, tolerance=0.01)
    assert found["flattens_at"] == 200
    assert [e["gain"] and e["gain"]["mean"] for e in found["curve"]] == [None, 0.5, 0.005, 0.295]
    assert pilot.report(rows[:2], assets=25, seed=0, tolerance=0.01)["flattens_at"] is None
    text = orster_tables.orster_pilot(found, {})
    assert "at 200 steps" in text and "| 400 | 1.995 (1.495 to 2.495) | +0.005 (+0.005 to +0.005) |" in text


def test_the_committed_report_has_a_section():
    """With what it was made of, and as many figures called worse as have their whole interval below zero."""
    report = json.loads((BENCHMARKS / "results" / "orster.json").read_text())
    for text in (orster_tables.orster(report, {}), orster_tables.HEADLINES["orster"](report, {})):
        for table in report["tables"]:
            assert f"{table['assets']} assets in 4D, {table['steps']:,} steps" in text
            assert f"{table['repeated']['mean']:.2f} dB" in orster_tables.HEADLINES["orster"](report, {})
        worse = re.findall(r"worse: ([^;\n]*?)[;.]\s", text.replace("at .", "at "))
        differences = [d for table in report["tables"] for over in table["differences"].values() for d in over.values()]
        below = [sum(figure["high"] < 0 for figure in d.values()) for d in differences]
        assert sorted(len(names.split(", ")) for names in worse) == sorted(count for count in below if count)


def test_every_place_of_the_page_has_figures_to_fill_it():
    page = (BENCHMARKS.parent / "docs" / "orster.md").read_text()
    places = re.findall("<!-- figures: (\\w+) -->", page)
    assert sorted(places) == sorted(orster_tables.HEADLINES) and page.count("<!-- end -->") == len(places)


def test_a_richer_report_shows_worse_as_plainly_as_better():
    table = script("table")
    rows = []
    for seed in (0, 1, 2):
        for name, by in (("none", 0.0), ("pointwise", 3.0), ("orster", 1.0), ("init", 0.0), ("init-orster", 2.0)):
            rows.append(row(name, seed, {"a": 10 + by, "b": 12 + by}, protocol={"held": "h"}))
    teacher = row("teacher-spatial", 0, {"a": 9.0, "b": 9.0}, protocol={"held": "h"})
    settings = {"assets": 25, "steps": 10, "budget": "wall", "protocol": {"held": "h"}}
    report = {"tables": [settings | table.report_of(rows, {"teacher-spatial": teacher})], "rows": rows}
    text = orster_tables.orster(report, {})
    assert "older version" not in text and "One seed" not in text and "equal processor time" in text
    assert "| foreground dB | +1 (+1 to +1) | -2 (-2 to -2) |" in text
    assert "| row loss (static set) at .9 | -0.1 (-0.1 to -0.1) | +0.2 (+0.2 to +0.2) |" in text
    assert (
        "`orster` against `pointwise`, by the whole interval: better: row loss (static set) at .9; worse: foreground dB"
        in text
    )
    assert "`init-orster` better by" in text and "The teachers' own: row loss 0.9 (0.9 to 0.9)" in text
    assert "no interval: Frechet distance of frames" in text
    assert orster_tables.orster({"tables": []}, {}).count("No row is finished yet") == 1


def test_one_picture_shows_all_rows_side_by_side(tmp_path):
    samples, experiment = script("samples"), script("experiment")
    pictures = torch.rand(2, 2, 12, 3, 8, 8)
    found = {}
    for name in ("none", "orster"):
        pictures[:, 1] = torch.rand(2, 12, 3, 8, 8)
        experiment.sheet(pictures, tmp_path / f"{name}.png")
        found[name] = samples.read_sheet(tmp_path / f"{name}.png")
    assert found["none"].shape == (2, 2, 3, 8, 8 * experiment.MOMENTS)
    lines = samples.side_by_side(found, shown=(1, 0))
    assert len(lines) == 6 and lines[0].shape == (3, 8, samples.MARGIN + 8 * experiment.MOMENTS)
    torch.testing.assert_close(lines[0][:, :, samples.MARGIN :][:, :, :8], pictures[1, 0, 0], atol=3e-3, rtol=0)
    assert torch.equal(lines[2][:, :, samples.MARGIN :], found["orster"][1, 1])
    with pytest.raises(InputError, match="other assets"):
        samples.side_by_side(found | {"orster": found["orster"].flip(0)}, shown=(0,))
    with pytest.raises(InputError, match="below 2"):
        samples.side_by_side(found, shown=(2,))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """WORK as prepare.py leaves it, of three discs that are all sets at once, and a small autoencoder."""
    root = tmp_path_factory.mktemp("bench")
    plan = RenderPlan(size=128, frames=8, orbits=2, rows=4, columns=4, outputs=())
    write_folder(root / "held", [disc_sample(plan, key=f"disc{i}", radius=20 + 8 * i) for i in range(3)], plan=plan)
    torch.manual_seed(0)
    autoencoder = RGBAAutoencoder(detail_channels=8, widths=(8, 8, 16))
    save_half(autoencoder, autoencoder.state_dict(), root / "autoencoder")
    encode_training_set(root / "held", root / "autoencoder", root / "latents" / "held")
    for name in ("four", "wide"):
        shutil.copytree(root / "latents" / "held", root / "latents" / name)
    return root


def test_the_scripts_run_one_after_the_other(work):
    """Teachers, rows, costs, equal processor time, pilot, report and picture, all at a tiny size."""
    experiment, step_cost, pilot = script("experiment"), script("step_cost"), script("pilot")
    tiny = {"work": work, "assets": 2, "autoencoder": work / "autoencoder"}
    once = tiny | {"batch": 4, "sampling_steps": 1, "consistency": 0}
    for prior in ("spatial", "temporal"):
        experiment.main(experiment.Arguments(row=f"teacher-{prior}", steps=2, **once))
    step_cost.main(
        step_cost.Arguments(
            work=work,
            out=work / "costs.json",
            assets=2,
            rounds=1,
            steps=1,
            rows=("none", "orster"),
            networks=("experiment",),
        )
    )
    costs = json.loads((work / "costs.json").read_text())
    assert costs["networks"]["experiment"]["relative"]["none"] == 1
    assert "| `orster` |" in orster_tables.orster_costs(costs, {}) and "0.4 M" in orster_tables.HEADLINES[
        "orster_costs"
    ](costs, {})
    for name in ("none", "orster"):
        experiment.main(experiment.Arguments(row=name, steps=1, **once))
    assert experiment.matched_steps(experiment.Arguments(row="none", steps=7, budget="wall", **once)) == 7
    with pytest.raises(InputError, match="batches of 4 x 7"):
        experiment.matched_steps(experiment.Arguments(row="none", steps=7, **(once | {"batch": 5})))
    pilot.main(pilot.Arguments(out=work / "pilot.json", steps=(1, 2), **tiny))
    assert [e["steps"] for e in json.loads((work / "pilot.json").read_text())["curve"]] == [1, 2]

    table, samples = script("table"), script("samples")
    table.main(table.Arguments(work=work, out=work / "orster.json"))
    (found,) = json.loads((work / "orster.json").read_text())["tables"]
    assert found["protocol"]["batch"] == 4 and set(found["teachers"]) == {"teacher-spatial", "teacher-temporal"}
    frames = found["differences"]["orster"]["none"]["Frechet frames"]
    assert frames["low"] <= frames["mean"] <= frames["high"]
    assert set(found["rows"]["orster"]["forgetting"]) == {"spatial", "temporal"}
    samples.main(samples.Arguments(work=work, assets=2, steps=1, out=work / "samples.png"))
    assert (work / "samples.png").is_file()
