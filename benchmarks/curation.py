"""What curation keeps of a rendered folder, and why it drops the rest.

    python benchmarks/data_engine.py --render-dir out/data_engine
    python benchmarks/curation.py --folder out/data_engine --out benchmarks/results/curation.json

The report with its contact sheets lies in out/data_engine/curation/report.html.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tyro
from shared import write_report

from orbit4d.data.curate import curate_folder
from orbit4d.data.curation import CurationRules


@dataclass(kw_only=True)
class Arguments:
    folder: Path
    """What `orbit4d data render` or data_engine.py wrote."""
    out: Path | None = None
    """JSON report; printed only when left out."""
    workers: int | None = None


def main(arguments: Arguments) -> None:
    rules = CurationRules()
    started = time.perf_counter()
    summary = curate_folder(arguments.folder, rules=rules, workers=arguments.workers)
    measured_in = time.perf_counter() - started
    started = time.perf_counter()
    curate_folder(arguments.folder, rules=rules, report=False, progress=False)
    again = time.perf_counter() - started
    lines = [json.loads(line) for line in (arguments.folder / "curation.jsonl").read_text().splitlines()]
    dropped = [line for line in lines if line["decision"] == "dropped"]
    to_the_letter = CurationRules(static_peak=False)
    published = curate_folder(arguments.folder, rules=to_the_letter, report=False, progress=False)
    curate_folder(arguments.folder, rules=rules, report=False, progress=False)  # leave the default's decisions there
    names = ("ssim_quarter", "ssim_half", "ssim_peak", "coverage_min", "border_max", "motion_magnitude")
    measures = {name: [line["measures"][name] for line in lines if name in line["measures"]] for name in names}
    write_report(
        arguments.out,
        {
            "benchmark": "curation of every animation of every asset",
            "rules": asdict(rules),
            "total": summary.total,
            "kept": summary.kept,
            "by_rule": summary.by_rule,
            "by_rule_as_published": published.by_rule,
            "kept_by_kind": dict(sorted(Counter(str(line["kind"]) for line in lines if line not in dropped).items())),
            "quantiles_0_5_50_95_100": {
                name: [round(float(q), 5) for q in np.quantile(values, (0, 0.05, 0.5, 0.95, 1))]
                for name, values in measures.items()
            },
            "seconds_measuring_and_reporting": round(measured_in, 1),
            "seconds_deciding_again": round(again, 1),
            "dropped": [
                f"{line['input']} {line['animation_name']}: {line['rule']}: {line['reason']}" for line in dropped
            ],
        },
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
