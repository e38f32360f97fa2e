"""What a step of each row costs against one of no transfer, measured in turns so that the machine's load falls on all alike.

    python benchmarks/orster/step_cost.py --work out/orster
    python benchmarks/orster/step_cost.py --work out/orster --networks experiment      # 0.4 M parameters only

Of the experiment's network and of preset xs, with batches and frames as each is trained with. The teachers are of the student's
size and have random weights: what they compute costs the same. Written to --out, and to WORK/step_costs.json, which
`experiment.py --budget wall` reads.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from recipes import ROWS, block_of, make_task, network, training_set
from shared_paths import add_benchmarks

add_benchmarks()
from shared import write_report  # noqa: E402

from orbit4d.diffusion.batches import LatentSet  # noqa: E402
from orbit4d.diffusion.denoiser import Denoiser  # noqa: E402
from orbit4d.diffusion.presets import xs  # noqa: E402
from orbit4d.diffusion.training import EMA, Optimizers, save_half  # noqa: E402
from orbit4d.transfer.own_teacher import RECORD, OwnTeacher  # noqa: E402
from orbit4d.transfer.teacher import PRIORS, Prior, Teacher  # noqa: E402

Network = Literal["experiment", "xs"]
BATCHES: dict[Network, int] = {"experiment": 4, "xs": 8}


@dataclass(kw_only=True)
class Arguments:
    work: Path = Path("out/orster")
    out: Path = Path("benchmarks/results/orster_costs.json")
    networks: tuple[Network, ...] = ("experiment", "xs")
    assets: int = 25
    rounds: int = 5
    steps: int = 4
    """Of each row a round."""
    rows: tuple[str, ...] = tuple(ROWS)
    """`none` must be one of them."""
    threads: int = 1


def main(a: Arguments) -> None:
    torch.set_num_threads(a.threads)
    sets = {
        wide: training_set(a.work, replace(ROWS["none"], wide=wide), a.assets)
        for wide in {ROWS[n].wide for n in a.rows}
    }
    report: dict[str, Any] = {
        "what": "processor seconds of a training step, median; relative to no transfer",
        "threads": a.threads,
        "assets": a.assets,
        "data": {("wide" if wide else "four"): data.identity for wide, data in sets.items()},
        "teachers": "random weights",
        "networks": {name: measured(name, a, sets) for name in a.networks},
    }
    for file in (a.out, a.work / "step_costs.json"):
        write_report(file, report)


def measured(name: Network, a: Arguments, sets: dict[bool, LatentSet]) -> dict[str, Any]:
    """Seconds of every row with one network, each against those of `none`."""
    make: Callable[[], Denoiser] = network if name == "experiment" else xs().make_denoiser
    with tempfile.TemporaryDirectory() as scratch:
        given = random_teachers(make, Path(scratch))
        benches = {
            n: Bench(n, sets[ROWS[n].wide], Path(scratch) / n, make=make, given=given, batch=BATCHES[name])
            for n in a.rows
        }
        seconds: dict[str, list[float]] = {n: [] for n in benches}
        for bench in benches.values():
            bench.step()
        for _ in range(a.rounds):
            for n, bench in benches.items():
                seconds[n] += [bench.step() for _ in range(a.steps)]
    each = {n: statistics.median(values) for n, values in seconds.items()}
    plain = benches["none"].task
    return {
        "parameters": sum(p.numel() for p in plain.model.parameters()),
        "batch": plain.config.batch,
        "frames": plain.config.frames,
        "steps": a.rounds * a.steps,
        "seconds": {n: round(value, 4) for n, value in each.items()},
        "range": {n: [round(min(values), 4), round(max(values), 4)] for n, values in seconds.items()},
        "relative": {n: round(value / each["none"], 4) for n, value in each.items()},
    }


def random_teachers(make: Callable[[], Denoiser], folder: Path) -> dict[Prior, Teacher]:
    """A teacher of each kind, of the student's size."""
    found: dict[Prior, Teacher] = {}
    for seed, prior in enumerate(PRIORS):
        torch.manual_seed(seed)
        model, where = make(), folder / "teachers" / prior
        for p in model.parameters():  # what starts at zero would have no features that vary
            torch.nn.init.normal_(p, std=0.05) if not p.any() else None
        save_half(model, model.state_dict(), where / "denoiser")
        record = {"prior": prior, "licence": "apache-2.0", "autoencoder": "", "log_m_mean": 0.0, "log_m_std": 1.0}
        (where / RECORD).write_text(json.dumps(record))
        found[prior] = OwnTeacher(where, prior=prior, block=block_of(make))
    return found


class Bench:
    """A row, ready to step."""

    def __init__(
        self,
        name: str,
        data: LatentSet,
        out: Path,
        *,
        make: Callable[[], Denoiser],
        given: dict[Prior, Teacher],
        batch: int,
    ) -> None:
        config = replace(xs().denoiser, batch=batch, precision="fp32")
        torch.manual_seed(0)
        self.task = make_task(name, config, data, work=Path(), out=out, transfer={}, make=make, given=given)
        self.model = self.task.model.train()
        self.ema, self.optimizers = EMA(self.model, 0.99), Optimizers(self.model, lr=1e-5, muon=True)
        self.generator = torch.Generator().manual_seed(0)

    def step(self) -> float:
        """Seconds of processor time: others that use the machine do not count."""
        started = time.process_time()
        batch = self.task.draw(self.generator, slice(None))
        loss, _ = self.task.loss(self.model, batch, torch.float32)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizers.step(1.0)
        self.ema.update(self.model)
        return time.process_time() - started


if __name__ == "__main__":
    main(tyro.cli(Arguments))
