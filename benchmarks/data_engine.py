"""The data engine's throughput over a folder of animated assets, and why what fails fails.

    python benchmarks/data_engine.py --render-dir out/data_engine --out benchmarks/results/data_engine.json
    python benchmarks/data_engine.py --toys 50 --ray local --render-dir out/toys

A run that was stopped goes on: the report then sums the runs that ended. Samples stay in --render-dir.
"""

from __future__ import annotations

import json
import resource
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import tyro
from shared import DATA, write_report

from orbit4d.assets.toybox import write_toybox
from orbit4d.data.engine import available_cpus, render_assets
from orbit4d.data.manifest import read_manifest
from orbit4d.data.plan import RenderPlan
from orbit4d.files import atomic_path


@dataclass(kw_only=True)
class Arguments:
    render_dir: Path
    """Folder for the samples and the manifest."""
    data: Path = DATA / "assets"
    """Folder with animated assets."""
    toys: int = 0
    """Generate so many toys and render those instead."""
    out: Path | None = None
    """JSON report; printed only when left out."""
    workers: int | None = None
    timeout: float = 120.0
    memory_gib: float = 4.0
    ray: str | None = None
    animations: Literal["all", "first"] = "all"
    plan: RenderPlan = field(default_factory=RenderPlan)


def main(arguments: Arguments) -> None:
    data = arguments.data
    if arguments.toys:
        data = arguments.render_dir.with_name(arguments.render_dir.name + "-toys")
        write_toybox(data, count=arguments.toys)
    workers = arguments.workers or available_cpus()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    summary = render_assets(
        [data],
        out=arguments.render_dir,
        plan=arguments.plan,
        animations=arguments.animations,
        workers=workers,
        timeout=arguments.timeout,
        memory_gib=arguments.memory_gib,
        ray=arguments.ray,
    )
    print(summary)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    runs = earlier(arguments.render_dir / "runs.json")
    if summary.rendered or not runs:
        run = {"rendered": summary.rendered, "frames": summary.frames, "seconds": summary.seconds}
        runs.append(run | {"cpu_seconds": None if arguments.ray else round(cpu, 1)})
        with atomic_path(arguments.render_dir / "runs.json") as temporary:
            temporary.write_text(json.dumps(runs))
    lines = list(read_manifest(arguments.render_dir))
    seconds, frames, rendered = (sum(run[name] for run in runs) for name in ("seconds", "frames", "rendered"))
    all_timed = all(run.get("cpu_seconds") for run in runs)  # not those of Ray, whose workers are not our children
    done = [line for line in lines if line["status"] == "rendered"]
    failed = [line for line in lines if line["status"] == "failed"]
    alone = sorted(line["seconds"] for line in done if line["seconds"])
    for cause, count in Counter(line["cause"] for line in failed).most_common():
        print(f"  {cause}: {count}")
        for line in [line for line in failed if line["cause"] == cause][:10]:
            print(f"    {line['reason']}")
    write_report(
        arguments.out,
        {
            "benchmark": "data engine: every animation of every asset to a sample",
            "plan": asdict(arguments.plan),
            "frames_a_sample": len(arguments.plan.pairs()),
            "workers": workers,
            "ray": arguments.ray,
            "assets": summary.inputs,
            "animations": sum(line["animation"] is not None for line in lines),
            "assets_without_any": sum(line["animation"] is None for line in lines),
            "rendered": len(done),
            "causes_of_failure": dict(Counter(line["cause"] for line in failed)),
            "failed": [{key: line[key] for key in ("input", "animation", "cause", "reason")} for line in failed],
            "megabytes": round(sum(line["bytes"] for line in done) / 1e6, 1),
            "runs": runs,
            "frames_per_cpu_second": round(frames / sum(run["cpu_seconds"] for run in runs), 1) if all_timed else None,
            "frames_per_second": round(frames / max(seconds, 1e-9), 1),
            "animations_per_hour": round(rendered / max(seconds, 1e-9) * 3600),
            "seconds_an_animation": {
                name: round(alone[min(len(alone) - 1, int(share * len(alone)))], 2) if alone else None
                for name, share in (("median", 0.5), ("nine_of_ten", 0.9), ("slowest", 1.0))
            },
        },
    )


def earlier(path: Path) -> list[dict]:
    """The runs into this folder that ended."""
    return json.loads(path.read_text()) if path.is_file() else []


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
