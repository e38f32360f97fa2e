"""The experiment's arithmetic: intervals over assets and seeds, paired gains, recipes that are what they say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "orster"


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
    assert "orster" in table.markdown({"assets": 25, "steps": 10, "budget": "steps", "rows": {"orster": entry}})


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
