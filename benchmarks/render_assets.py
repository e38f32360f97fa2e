"""Render every asset of a folder and lay them out on one sheet: four orbit frames an asset, time running with the view.

    python benchmarks/render_assets.py --sheet out/assets.png --out benchmarks/results/render_assets.json

An asset that cannot be rendered is listed with its reason; the others go on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from shared import DATA, row, save_sheet, write_report
from tqdm import tqdm

from orbit4d.assets.gltf import load_glb
from orbit4d.data.render import Renderer, render_clip
from orbit4d.errors import InputError


@dataclass(kw_only=True)
class Arguments:
    data: Path = DATA / "assets"
    """Folder with .glb files."""
    out: Path | None = None
    """JSON report; printed only when left out."""
    sheet: Path | None = None
    size: int = 96
    frames: int = 24


def main(arguments: Arguments) -> None:
    files = sorted(arguments.data.glob("*.glb"))
    shown = [round(i * (arguments.frames - 1) / 4) for i in range(4)]
    assets, failed, pictures = [], [], []
    with Renderer(size=arguments.size) as renderer:
        for file in tqdm(files, unit="asset"):
            started = time.perf_counter()
            try:
                asset = load_glb(file)
                loaded = time.perf_counter()
                clip = render_clip(asset, frames=arguments.frames, size=arguments.size, renderer=renderer)
            except InputError as error:
                failed.append({"asset": file.name, "reason": str(error)})
                continue
            moved = (clip.on_background()[shown[2]] - clip.on_background()[0]).abs().mean()
            assets.append(
                {
                    "asset": file.name,
                    "animations": len(asset.animations),
                    "triangles": sum(len(p.indices) // 3 for p in asset.primitives),
                    "seconds_load": round(loaded - started, 3),
                    "frames_per_second": round(arguments.frames / (time.perf_counter() - loaded), 1),
                    "coverage": round(float((clip.alpha > 0.5).float().mean()), 4),
                    "smallest_coverage": round(float((clip.alpha > 0.5).float().mean((1, 2, 3)).min()), 4),
                    "difference_after_half_an_orbit": round(float(moved), 4),
                }
            )
            pictures.append(row(clip.on_background(), shown))
    if arguments.sheet is not None:
        columns = 4
        blank = torch.ones_like(pictures[0])
        pictures += [blank] * (-len(pictures) % columns)
        save_sheet(
            [torch.cat(pictures[i : i + columns], dim=-1) for i in range(0, len(pictures), columns)], arguments.sheet
        )
    write_report(
        arguments.out,
        {
            "benchmark": "rendering every asset, first animation, orbit, 2x2 supersampled, with depth",
            "size": arguments.size,
            "frames": arguments.frames,
            "rendered": len(assets),
            "failed": failed,
            "mean_frames_per_second": round(sum(a["frames_per_second"] for a in assets) / len(assets), 1),
            "assets": assets,
        },
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
