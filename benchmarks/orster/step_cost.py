"""What a step of each row costs against one of no transfer, measured in turns so that the machine's load falls on all alike.

python benchmarks/orster/step_cost.py --work out/orster --assets 25 --rounds 5
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from recipes import ROWS, make_task, training_set
from shared_paths import add_benchmarks

add_benchmarks()
from shared import write_report  # noqa: E402

from orbit4d.diffusion.batches import LatentSet  # noqa: E402
from orbit4d.diffusion.presets import xs  # noqa: E402
from orbit4d.diffusion.training import EMA, Optimizers  # noqa: E402


@dataclass(kw_only=True)
class Arguments:
    work: Path = Path("out/orster")
    assets: int = 25
    rounds: int = 5
    steps: int = 4
    """Of each row a round."""
    batch: int = 4
    rows: tuple[str, ...] = tuple(ROWS)
    threads: int = 1


class Bench:
    """A row, ready to step."""

    def __init__(self, name: str, a: Arguments, data: LatentSet, out: Path) -> None:
        config = replace(xs().denoiser, batch=a.batch, precision="fp32")
        torch.manual_seed(0)
        self.task = make_task(name, config, data, work=a.work, out=out, transfer={})
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


def main(a: Arguments) -> None:
    torch.set_num_threads(a.threads)
    with tempfile.TemporaryDirectory() as scratch:
        sets = {wide: training_set(a.work, replace(ROWS["none"], wide=wide), a.assets) for wide in (False, True)}
        benches = {n: Bench(n, a, sets[ROWS[n].wide], Path(scratch) / n) for n in a.rows}
        seconds: dict[str, list[float]] = {name: [] for name in benches}
        for bench in benches.values():
            bench.step()
        for _ in range(a.rounds):
            for name, bench in benches.items():
                seconds[name] += [bench.step() for _ in range(a.steps)]
    each = {name: statistics.median(values) for name, values in seconds.items()}
    report: dict[str, Any] = {
        "what": "processor seconds of a training step, median; relative to no transfer",
        "batch": a.batch,
        "threads": a.threads,
        "rounds": a.rounds * a.steps,
        "seconds": {name: round(value, 4) for name, value in each.items()},
        "relative": {name: round(value / each["none"], 4) for name, value in each.items()},
        "processes": os.cpu_count(),
    }
    write_report(a.work / "step_costs.json", report)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
