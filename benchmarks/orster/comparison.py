"""Which finished rows may be compared, and the arithmetic of it: intervals over assets and seeds, paired differences.

Intervals: 95 %, by resampling assets and seeds, both with replacement; differences are paired asset by asset and seed by seed, and
positive where the row is better. Rows of different protocols (experiment.py) are never compared, nor students of different
teachers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from recipes import ROWS, TEACHERS

from orbit4d.errors import InputError
from orbit4d.files import parse_json

DRAWS = 4000
Values = dict[int, dict[str, float]]
"""seed -> asset -> figure."""


def read_rows(file: Path) -> list[dict]:
    if not file.is_file():
        raise InputError(f"{file}: no finished row; run experiment.py first")
    if file.suffix == ".json":
        return parse_json(file.read_bytes(), source=file)["rows"]
    return [json.loads(line) for line in file.read_text().splitlines()]


def groups(rows: list[dict]) -> Iterator[tuple[dict[str, Any], list[dict]]]:
    """Students that may stand in one table, by what they share; older rows did not record their protocol and stand apart."""
    found: dict[str, list[dict]] = {}
    for row in rows:
        if row["row"] in ROWS:
            found.setdefault(json.dumps(shared_settings(row), sort_keys=True), []).append(row)
    for _, chosen in sorted(found.items()):
        check_one_protocol(chosen)
        yield shared_settings(chosen[0]), chosen


def shared_settings(row: dict) -> dict[str, Any]:
    return {name: row[name] for name in ("assets", "steps", "budget")} | {"protocol": row.get("protocol")}


def check_one_protocol(rows: list[dict]) -> None:
    """Raises InputError for what no table can hold: a row twice, other teachers, or other numbers of steps."""
    where = f"{rows[0]['assets']} assets, {rows[0]['steps']} steps ({rows[0]['budget']})"
    twice = [case for case, count in Counter((label(r), r["seed"]) for r in rows).items() if count > 1]
    if twice:
        raise InputError(f"{where}: {twice[0][0]} of seed {twice[0][1]} is there twice; keep one line")
    taught = {json.dumps(r["teachers"], sort_keys=True) for r in rows if r.get("teachers")}
    if len(taught) > 1:
        raise InputError(
            f"{where}: students of {len(taught)} pairs of teachers; run them again with the teachers that are there"
        )
    for name in {label(r) for r in rows}:
        trained = {r.get("trained_steps", r["steps"]) for r in rows if label(r) == name}
        if len(trained) > 1 or (rows[0]["budget"] == "steps" and trained != {rows[0]["steps"]}):
            raise InputError(
                f"{where}: {name} was trained for {sorted(trained)} steps; expected one number for all seeds"
            )


def label(row: dict) -> str:
    """A row's name, with the weights of a pilot."""
    return ", ".join([row["row"], *(f"{name} {value:g}" for name, value in sorted(row["transfer"].items()))])


def teachers_of(rows: list[dict], students: list[dict]) -> dict[str, dict]:
    """The teachers' own figures on the held-out assets of `students`; those that taught them, where that is known."""
    held = (students[0].get("protocol") or {}).get("held")
    taught = next((r["teachers"] for r in students if r.get("teachers")), {})
    found: dict[str, dict] = {}
    for row in rows:
        prior = TEACHERS.get(row["row"])
        if prior is None or (row.get("protocol") or {}).get("held") != held:
            continue
        if prior in taught and row.get("teacher") != taught[prior]:
            continue
        if row["row"] in found:
            raise InputError(
                f"{row['row']}: is there twice for the same held-out assets; keep the line of the teacher in use"
            )
        found[row["row"]] = row
    return found


def at(record: Any, path: str) -> float | None:
    """A number in nested dictionaries; None where it is not there."""
    for key in path.split("/"):
        if not isinstance(record, dict) or key not in record:
            return None
        record = record[key]
    return float(record) if isinstance(record, int | float) else None


def values_of(rows: list[dict], path: str) -> Values:
    found: Values = {}
    for row in rows:
        each = {asset: at(figures, path) for asset, figures in row["assets_scored"].items()}
        found[row["seed"]] = {asset: value for asset, value in each.items() if value is not None}
    return {seed: each for seed, each in found.items() if each}


def interval(values: Values, *, seed: int = 0) -> dict[str, float | int | None]:
    """Mean over seeds and assets, and its 95 % interval; resampled seeds and, the same for all of them, resampled assets."""
    seeds = sorted(values)
    assets = sorted(set.intersection(*(set(values[s]) for s in seeds))) if seeds else []
    if not assets:
        return {"mean": None, "low": None, "high": None, "seeds": 0, "assets": 0}
    grid = torch.tensor([[values[s][x] for x in assets] for s in seeds], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    which_seeds = torch.randint(len(seeds), (DRAWS, len(seeds)), generator=generator)
    which_assets = torch.randint(len(assets), (DRAWS, len(assets)), generator=generator)
    means = grid[which_seeds[:, :, None], which_assets[:, None, :]].mean((1, 2))
    return {"mean": round(float(grid.mean()), 4)} | _bounds(means) | {"seeds": len(seeds), "assets": len(assets)}


def gains(values: Values, base: Values, *, higher: bool) -> Values:
    """Better by how much, for the seeds and assets that both have; positive is better."""
    sign = 1 if higher else -1
    return {
        s: {x: sign * (v - base[s][x]) for x, v in each.items() if x in base[s]}
        for s, each in values.items()
        if s in base and set(each) & set(base[s])
    }


def frechet_interval(rows: list[dict], kind: str, base: list[dict] | None = None) -> dict[str, Any]:
    """Mean over seeds of a Frechet distance, or by how much it is below that of `base` (rows of the same seeds), and the 95 %
    interval. Distances of resampled assets are larger than that of all of them, so their spread is put about the mean. Rows without
    resampled distances have no interval."""
    of = {r["seed"]: r for r in rows}
    other = None if base is None else {r["seed"]: r for r in base}
    seeds = sorted(of if other is None else set(of) & set(other))
    if not seeds:
        return {"mean": None, "low": None, "high": None, "seeds": 0, "assets": 0}
    whole = torch.stack([_paired(of, other, s, lambda r: r["frechet"][kind]) for s in seeds])
    found = {"mean": round(float(whole.mean()), 4), "low": None, "high": None, "seeds": len(seeds)}
    found["assets"] = len(of[seeds[0]]["assets_scored"])
    involved = [r for side in (of, other or {}) for s, r in side.items() if s in seeds]
    if not all("frechet_resampled" in r for r in involved):
        return found | {"why": "rows without Frechet distances of resampled assets"}
    grid = torch.stack([_paired(of, other, s, lambda r: r["frechet_resampled"][kind]) for s in seeds])
    generator = torch.Generator().manual_seed(0)
    which_seeds = torch.randint(len(seeds), (DRAWS, len(seeds)), generator=generator)
    which_assets = torch.randint(grid.shape[1], (DRAWS, 1), generator=generator)
    means = grid[which_seeds, which_assets].mean(1)
    return found | _bounds(means - grid.mean() + whole.mean())


def _bounds(means: torch.Tensor) -> dict[str, float]:
    """The 95 % interval of resampled means (float64)."""
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return {"low": round(low, 4), "high": round(high, 4)}


def _paired(
    of: dict[int, dict], other: dict[int, dict] | None, seed: int, value: Callable[[dict], Any]
) -> torch.Tensor:
    """A seed's value or values; those of `other` minus them where there is another: lower is better."""
    own = torch.tensor(value(of[seed]), dtype=torch.float64)
    return own if other is None else torch.tensor(value(other[seed]), dtype=torch.float64) - own
