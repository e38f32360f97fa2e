"""One row of the experiment: train it, score it on held-out assets, write one JSON line.

    python benchmarks/orster/experiment.py --work out/orster --row teacher-spatial --steps 3000
    python benchmarks/orster/experiment.py --work out/orster --row orster --assets 25 --seed 0

A killed run goes on from its checkpoint; a finished one is a line of WORK/rows.jsonl and is not run again. `--budget wall` gives
a row as many steps as cost what `--steps` of the row `none` cost, by WORK/step_costs.json (step_cost.py). What a row was trained
and scored with is part of it (`protocol`): table.py puts rows of different protocols in different tables.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from answers import SCORING, evaluate, forgetting
from recipes import PRIORS, ROWS, TEACHERS, clips, make_task, network, training_set
from shared_paths import add_benchmarks

add_benchmarks()
from rows import Rows  # noqa: E402
from shared import save_sheet  # noqa: E402

from orbit4d.data.sample_set import open_samples  # noqa: E402
from orbit4d.diffusion.autoencoder import RGBAAutoencoder  # noqa: E402
from orbit4d.diffusion.batches import LatentSet  # noqa: E402
from orbit4d.diffusion.denoiser import Denoiser  # noqa: E402
from orbit4d.diffusion.hub import BUILT_IN  # noqa: E402
from orbit4d.diffusion.presets import xs  # noqa: E402
from orbit4d.diffusion.train_denoiser import DenoiserConfig, DenoiserTask  # noqa: E402
from orbit4d.diffusion.trainer import fit  # noqa: E402
from orbit4d.errors import InputError  # noqa: E402
from orbit4d.files import digest, json_digest, parse_json  # noqa: E402
from orbit4d.report import hardware, versions  # noqa: E402
from orbit4d.transfer.orster import TransferConfig  # noqa: E402
from orbit4d.transfer.own_teacher import OwnTeacher  # noqa: E402
from orbit4d.transfer.train import collect_teacher  # noqa: E402
from orbit4d.transfer.whitening import BOUND  # noqa: E402

CASE = ("row", "assets", "seed", "steps", "budget", "transfer", "protocol")
MOMENTS = 6
RowName = Literal[
    "none", "mixture", "pointwise", "no-orthogonality", "no-distributions", "orster", "init", "init-orster",
    "teacher-spatial", "teacher-temporal",
]  # fmt: skip


@dataclass(kw_only=True)
class Arguments:
    row: RowName
    work: Path = Path("out/orster")
    assets: int = 25
    """Of the 4D set; teachers have the whole of theirs."""
    seed: int = 0
    steps: int = 1000
    budget: Literal["steps", "wall"] = "steps"
    batch: int = 4
    frames: int = 7
    save_every: int = 100
    autoencoder: Path = BUILT_IN / "autoencoder"
    sampling_steps: int = 12
    consistency: int = 4
    """Held-out assets whose sample is constructed, for the consistency figures."""
    construction: int = 200
    """Steps of each construction."""
    transfer: dict[str, float] = field(default_factory=dict)
    """Over the defaults of `TransferConfig`, for pilots; part of the case."""
    threads: int = 1


def main(a: Arguments) -> None:
    torch.set_num_threads(a.threads)
    rows = Rows(a.work / "rows.jsonl", key=CASE)
    case, config, held = planned(a)
    if case in rows:
        print(f"{a.row}: finished already")
        return
    found = train_teacher_row(a, config, held) if a.row in TEACHERS else train_row(a, case, config, held)
    rows.add(case | {"trained_steps": config.steps} | found | {"hardware": hardware(), "versions": versions()})


def planned(a: Arguments) -> tuple[dict[str, Any], DenoiserConfig, LatentSet]:
    """What tells this row from others, how it is trained, and the held-out assets."""
    config = replace(
        xs().denoiser,
        steps=a.steps if a.budget == "steps" else matched_steps(a),
        batch=a.batch,
        frames=a.frames,
        seed=a.seed,
        save_every=a.save_every,
        precision="fp32",
    )
    held = LatentSet(clips(a.work, "held"))
    of_teacher = a.row in TEACHERS
    trained = LatentSet(clips(a.work, "static")) if of_teacher else training_set(a.work, ROWS["none"], a.assets)
    case: dict[str, Any] = {"row": a.row, "assets": 0 if of_teacher else a.assets, "seed": a.seed, "steps": a.steps}
    case |= {"budget": a.budget, "transfer": a.transfer, "protocol": protocol(a, config, trained=trained, held=held)}
    return case, config, held


def protocol(a: Arguments, config: DenoiserConfig, *, trained: LatentSet, held: LatentSet) -> dict[str, Any]:
    """What two rows must share for their figures to be compared: settings of training and scoring, and the data. Steps, seeds and
    the number of assets are said apart. A student's `trained_on` is the 4D set, which `mixture` sees besides the others."""
    return {
        "scoring": SCORING,
        "batch": config.batch,
        "frames": config.frames,
        "precision": config.precision,
        "learning_rate": config.lr,
        "network": sum(p.numel() for p in network().parameters()),
        "sampling_steps": a.sampling_steps,
        "consistency": a.consistency,
        "construction": a.construction,
        "autoencoder": digest(sorted(a.autoencoder.glob("*.safetensors"))),
        "transfer": asdict(TransferConfig()) | {"bound": BOUND},
        "trained_on": trained.identity,
        "held": held.identity,
    }


def matched_steps(a: Arguments) -> int:
    """As many steps as cost what `a.steps` steps of no transfer cost."""
    file = a.work / "step_costs.json"
    if not file.is_file():
        raise InputError(f"{file}: missing; run step_cost.py first")
    costs = parse_json(file.read_bytes(), source=file)["networks"]["experiment"]
    if (costs["batch"], costs["frames"]) != (a.batch, a.frames):
        measured = f"batches of {costs['batch']} x {costs['frames']} frames"
        raise InputError(
            f"{file}: was measured with {measured}, expected {a.batch} x {a.frames}; run step_cost.py again"
        )
    return max(round(a.steps / costs["relative"][a.row]), 1)


def folder_of(case: dict[str, Any]) -> str:
    """The run's folder in WORK/runs: another protocol is another run."""
    name = "-".join(str(case[k]) for k in ("row", "assets", "seed", "steps", "budget"))
    name += "".join(f"-{k}={v}" for k, v in sorted(case["transfer"].items()))
    return name + "-" + json_digest(case["protocol"])[:8]


def train_row(a: Arguments, case: dict[str, Any], config: DenoiserConfig, held: LatentSet) -> dict[str, Any]:
    row, out = ROWS[a.row], a.work / "runs" / folder_of(case)
    data = training_set(a.work, row, a.assets)
    torch.manual_seed(a.seed)
    task = make_task(a.row, config, data, work=a.work, out=out, transfer=a.transfer)
    averaged = fit(task.model, task, out, config=config)
    task.model.load_state_dict(averaged.values)
    started = time.monotonic()
    decoder = RGBAAutoencoder.from_pretrained(a.autoencoder, low_cpu_mem_usage=False).eval().float()
    found = evaluate(
        task.model.eval(),
        held,
        open_samples(a.work / "held"),
        decoder,
        steps=a.sampling_steps,
        consistency=a.consistency,
        construction=a.construction,
    )
    sheet(found.pop("pictures"), out / "samples.png")
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return found | {
        "run": out.name,
        "teachers": {p: teacher_digest(a.work, p) for p in PRIORS} if row.taught else {},
        "parameters": sum(p.numel() for p in task.model.parameters()),
        "train_seconds": log[-1]["seconds"],
        "score_seconds": round(time.monotonic() - started, 1),
        "curve": {line["step"]: {k: v for k, v in line.items() if k not in ("step", "seconds")} for line in log[::4]},
    }


def teacher_digest(work: Path, prior: str) -> str:
    return digest(sorted((work / "teachers" / prior / "teacher" / "denoiser").glob("*.safetensors")))


def sheet(pictures: torch.Tensor, path: Path) -> None:
    """(assets, 2, frames, 3, h, w): each asset's truth above its sample, MOMENTS moments; `samples.py` reads it."""
    moments = torch.linspace(0, pictures.shape[2] - 1, MOMENTS).long()
    rows = [torch.cat(list(row[moments]), dim=-1) for asset in pictures for row in asset]
    save_sheet(rows, path)


def train_teacher_row(a: Arguments, config: DenoiserConfig, held: LatentSet) -> dict[str, Any]:
    """A teacher on its own set, and what it makes of the held-out assets: what students are measured against for forgetting."""
    prior = TEACHERS[a.row]
    out = a.work / "teachers" / prior
    data = LatentSet(clips(a.work, {"spatial": "static", "temporal": "video"}[prior]))
    config = replace(config, only={"spatial": "rows", "temporal": "columns"}[prior])
    torch.manual_seed(a.seed)
    task = DenoiserTask(data, config, network(), out=out / "denoiser", autoencoder=None)
    fit(task.model, task, out / "denoiser", config=config)
    folder = collect_teacher(out, data, prior=prior, autoencoder=a.autoencoder)  # type: ignore[arg-type]
    model: Denoiser = OwnTeacher(folder, prior=prior, block=-1).denoiser  # type: ignore[arg-type]
    with torch.inference_mode():
        figures = {str(meta["key"]): forgetting(model, held, clip) for clip, meta in enumerate(held.clips)}
    log = [json.loads(line) for line in (out / "denoiser" / "log.jsonl").read_text().splitlines()]
    found = {"assets_scored": figures, "clips": len(data.clips), "train_seconds": log[-1]["seconds"]}
    return found | {"teacher": teacher_digest(a.work, prior)}


if __name__ == "__main__":
    main(tyro.cli(Arguments))
