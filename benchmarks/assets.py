"""Render real animated assets, construct each from its orbit, score it on views that were not used.

    python benchmarks/assets.py --out benchmarks/results/assets.json --pictures out/assets

Input: the moving orbit (24 frames: each moment seen from one side only), with and without the static orbit at time 0.
Test: `front` (one camera at azimuth 52 degrees, all times) and `opposite` (the orbit started from behind: every moment
seen from the side that the input did not show). Sheets: truth above, construction below.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import tyro
from shared import DATA, row, save_sheet, scene_row, score, write_report

from orbit4d.data.render import render_clip
from orbit4d.splat.fit import FitConfig, fit

ASSETS = {
    "quadruped": ("khronos_Fox.glb", "Run"),
    "fish": ("q_cute_fish_ZebraClownFish.glb", None),
    "robot": ("raylib_robot.glb", "Dance"),
    "humanoid": ("kaykit_Barbarian.glb", "Running_A"),
    "monster": ("q_platformer_game_Enemy.glb", None),
}
"""Kind -> file and animation (None: the first)."""

SHOWN = list(range(0, 24, 3))


@dataclass(kw_only=True)
class Arguments:
    out: Path | None = None
    """JSON report; printed only when left out."""
    pictures: Path | None = None
    """Folder for a comparison sheet an asset."""
    size: int = 256
    """Side of the frames in pixels."""
    steps: int | None = None
    """Optimisation steps; the default for the size when left out."""


def main(arguments: Arguments) -> None:
    results = []
    for kind, (name, animation) in ASSETS.items():
        clips = {
            "orbit": {"trajectory": "orbit"},
            "static": {"trajectory": "static"},
            "front": {"trajectory": "front", "azimuth": 52.0},
            "opposite": {"trajectory": "orbit", "azimuth": 180.0},
        }
        path = DATA / "assets" / name
        c = {k: render_clip(path, size=arguments.size, animation=animation, **v) for k, v in clips.items()}
        entry: dict = {"kind": kind, "asset": name, "animation": c["orbit"].caption}
        sheet = [row(c["front"].on_background(), SHOWN)]
        for way in ("orbit + static orbit", "orbit only"):
            still = c["static"] if "static" in way else None
            cpu_started = time.process_time()
            result = fit(
                c["orbit"],
                static_clip=still,
                config=FitConfig.for_size(arguments.size, arguments.steps),
                progress=False,
            )
            cpu_seconds = round(time.process_time() - cpu_started, 1)
            tests = {view: score(result.scene, c[view]) for view in ("orbit", "front", "opposite")}
            entry[way] = {"seconds": round(result.seconds, 1), "cpu_seconds": cpu_seconds, **tests}
            sheet.append(scene_row(result.scene, c["front"], SHOWN))
            print(kind, way, entry[way], flush=True)
        if arguments.pictures is not None:
            save_sheet(sheet, arguments.pictures / f"{kind}.png")
        results.append(entry)
    write_report(
        arguments.out,
        {
            "benchmark": "real assets: moving orbit (and static orbit) -> views not used",
            "size": arguments.size,
            "mean": {
                way: {
                    view: {
                        m: round(sum(r[way][view][m] for r in results) / len(results), 3)
                        for m in ("whole_psnr", "foreground_psnr", "ssim")
                    }
                    for view in ("orbit", "front", "opposite")
                }
                for way in ("orbit + static orbit", "orbit only")
            },
            "assets": results,
        },
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
