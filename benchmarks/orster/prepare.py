"""The data of the experiment: generated assets, rendered and encoded, in sets that share no asset.

    python benchmarks/orster/prepare.py --work out/orster

WORK/four/    4D: orbits, rows and columns of every asset; the first 25 or 100 (by key) are trained on
WORK/wide/    one row and one column of many more assets: a static set is their rows, a video set their columns
WORK/held/    assets that nothing is trained on
WORK/latents/NAME/ the same, encoded by the autoencoder that teachers and students share

Each set has seeds of its own, so the assets differ in shape, pattern and motion; kinds appear in all. Goes on where it stopped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from shared_paths import add_benchmarks

add_benchmarks()
from shared import write_report  # noqa: E402

from orbit4d.data.engine import render_assets  # noqa: E402
from orbit4d.data.plan import RenderPlan  # noqa: E402
from orbit4d.data.sample_set import open_samples  # noqa: E402
from orbit4d.data.training_set import toys, write_curation  # noqa: E402
from orbit4d.diffusion.hub import BUILT_IN  # noqa: E402
from orbit4d.diffusion.train_autoencoder import encode_training_set  # noqa: E402

PLANS = {
    "four": RenderPlan(size=128, orbits=4, rows=6, columns=6, outputs=()),
    "wide": RenderPlan(size=128, orbits=1, rows=1, columns=1, outputs=()),
    "held": RenderPlan(size=128, orbits=1, rows=3, columns=3, outputs=()),
}
SEEDS = {"four": 1_000, "wide": 2_000, "held": 4_000}


@dataclass(kw_only=True)
class Arguments:
    work: Path = Path("out/orster")
    assets: int = 104
    """Of the 4D set: curation leaves some out."""
    wide: int = 820
    """Of the static set and of the video set."""
    held: int = 26
    autoencoder: Path = BUILT_IN / "autoencoder"
    workers: int | None = None


def main(a: Arguments) -> None:
    counts = {"four": a.assets, "held": a.held, "wide": a.wide}
    sizes = {}
    for name, count in counts.items():
        folder, plan, started = a.work / name, PLANS[name], time.monotonic()
        chosen = toys(a.work / "toys" / name, count, seed=SEEDS[name])
        only = {file: [animation] for file, animation in chosen}
        render_assets([a.work / "toys" / name], out=folder, plan=plan, only=only, workers=a.workers)
        write_curation(folder, chosen)
        rendered = time.monotonic()
        encode_training_set(folder, a.autoencoder, a.work / "latents" / name)
        sizes[name] = {
            "assets": len(open_samples(folder)),
            "frames_each": len(plan.pairs()),
            "render_seconds": round(rendered - started, 1),
            "encode_seconds": round(time.monotonic() - rendered, 1),
        }
    write_report(a.work / "data.json", {"sets": sizes, "plans": {n: p.to_json() for n, p in PLANS.items()}})


if __name__ == "__main__":
    main(tyro.cli(Arguments))
