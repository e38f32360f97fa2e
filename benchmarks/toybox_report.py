"""How varied the toybox is, how fast toys are made, and how many curation would drop.

python benchmarks/toybox_report.py --work DIR [--count 336] [--size 128] [--image docs/images/toybox.webp]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from shared import write_report

from orbit4d.assets.toybox import KINDS, MOTIONS, VERSION, make_toy, write_toybox
from orbit4d.data.render import Renderer
from orbit4d.data.toybox_report import ToyFrames, describe, measure, read_manifest, render_toy, save_sheet
from orbit4d.evaluate.metrics import ssim

TOO_STILL, TOO_WILD = 0.95, 0.4
"""Diffusion4D's thresholds on SSIM of the front view at 0 against 1/4 and 1/2."""


def curation(frames: list[ToyFrames]) -> dict:
    """What share would be dropped as too still or too wild, and which kinds and motions those are."""
    still, wild = [], []
    for f in frames:
        front = torch.from_numpy(f.front).permute(0, 3, 1, 2)
        a, b = (float(ssim(front[:1], front[k : k + 1])) for k in (1, 2))
        name = f"{f.record['kind']} {f.record['motion']}"
        if min(a, b) > TOO_STILL:
            still.append(name)
        elif min(a, b) < TOO_WILD:
            wild.append(name)
    return {
        "too_still": round(len(still) / len(frames), 4),
        "too_wild": round(len(wild) / len(frames), 4),
        "still": sorted(still),
        "wild": sorted(wild),
    }


def speed(count: int = 60) -> dict:
    """Core-seconds and bytes a toy, in this process."""
    started, sizes = time.process_time(), []
    for i in range(count):
        kind = list(KINDS)[i % len(KINDS)]
        sizes.append(len(make_toy(10_000 + i, kind=kind).glb))
    seconds = (time.process_time() - started) / count
    return {"core_seconds_a_toy": round(seconds, 4), "median_kilobytes": round(float(np.median(sizes)) / 1000, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=len(KINDS) * max(len(m) for m in MOTIONS.values()))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "toybox_report.json")
    parser.add_argument("--image", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    write_toybox(options.work / "toys", count=options.count, progress=False)
    wall = time.monotonic() - started
    records, frames = read_manifest(options.work / "toys"), []
    with Renderer(size=options.size) as renderer:
        for record in records:
            frames.append(render_toy(options.work / "toys", record, renderer))
            if len(frames) % 42 == 0:
                print(f"{len(frames)} of {len(records)} rendered, {time.monotonic() - started:.0f} s", flush=True)
    save_sheet([f.tile for f in frames[:200]], options.work / "random.png", columns=20)
    if options.image:
        shown = [f.tile[4:-4:1, 4:-4:1] for f in frames[: 7 * len(KINDS)]]
        save_sheet(shown, options.image, columns=len(KINDS), quality=60)
    report = {
        "version": VERSION,
        "motions_of_each_kind": {kind: list(motions) for kind, motions in MOTIONS.items()},
        "speed": speed() | {"written": options.count, "wall_seconds": round(wall, 1)},
        "manifest": describe(records),
        "rendered": measure(frames),
        "curation": curation(frames),
    }
    write_report(options.out, report)


if __name__ == "__main__":
    main()
