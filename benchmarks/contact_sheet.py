"""What the model makes of prompts that nobody picked: 48 prompts by a seeded rule, times the seeds, on one labelled picture.

    python benchmarks/contact_sheet.py --out benchmarks/results/contact_sheet.json [--weights DIR]

The prompts are drawn from the model's own captions (`prompts.choose_prompts`): kinds in turn, motions as varied as they can be.
Every one is shown, with all of its seeds, sampled as `orbit4d generate` samples by default (its amount of motion included). A tile
is one orbit at four of its frames, under its prompt and seed. The picture is a WebP beside the report, below 1.5 MB.

A sampled orbit is a line of WORK/rows.jsonl and a strip of pictures beside it, and is not sampled again.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from PIL import Image, ImageDraw
from prompts import choose_prompts, prompts_by_kind
from rows import Rows
from shared import write_report
from strips import LABEL, SIDE, save_strip, strip_path

from orbit4d.diffusion.pipeline import DEFAULT_STEPS, Orbit4DPipeline
from orbit4d.errors import InputError
from orbit4d.files import atomic_path

CASE = ("weights", "prompt", "seed", "steps", "shown")
"""What tells one tile from another."""
SHOWN = (0, 6, 12, 18)
"""Frames of a tile: time and view change together."""
MOST_BYTES = 1_500_000
QUALITIES = (90, 80, 70, 60, 50, 40)


@dataclass(kw_only=True)
class Arguments:
    out: Path | None = None
    """JSON report; printed only when left out. The picture is beside it, or in WORK."""
    work: Path = Path("out/contact_sheet")
    """Folder of rows.jsonl and the strips; an interrupted run is taken up from it."""
    weights: Path | None = None
    """Another model; the built-in one when left out."""
    prompts: tuple[str, ...] = ()
    """Instead of the chosen ones."""
    count: int = 48
    """How many prompts are chosen, and the seed of the rule."""
    choice_seed: int = 0
    seeds: tuple[int, ...] = (0, 1)
    steps: int = DEFAULT_STEPS
    """Sampling steps."""
    columns: int = 4
    """Tiles side by side."""


def main(arguments: Arguments) -> None:
    pipe = Orbit4DPipeline.from_pretrained(arguments.weights)
    prompts = list(arguments.prompts) or choose_prompts(
        prompts_by_kind(pipe.motion), count=arguments.count, seed=arguments.choice_seed
    )
    rows = Rows(arguments.work / "rows.jsonl", key=CASE)
    common = {
        "weights": pipe.weights_hash,
        "steps": arguments.steps,
        "shown": list(SHOWN),
    }
    cases = [common | {"prompt": prompt, "seed": seed} for prompt in prompts for seed in arguments.seeds]
    for case in cases:
        if case not in rows or not strip_path(arguments.work, case).is_file():
            rows.add(case | draw_tile(pipe, case, arguments.work))
    picture = (arguments.out or arguments.work / "report.json").with_suffix(".webp")
    tiles = [(f"{c['prompt']}, seed {c['seed']}", strip_path(arguments.work, c)) for c in cases]
    save_webp(sheet(tiles, columns=arguments.columns), picture)
    report = {
        "benchmark": "prompts, uncurated",
        **common,
        "choice_seed": None if arguments.prompts else arguments.choice_seed,
        "prompts": prompts,
        "seeds": list(arguments.seeds),
        "picture": picture.name,
        "frames": rows[cases[0]]["frames"],
        "tiles": [{name: rows[case][name] for name in ("prompt", "seed", "seconds")} for case in cases],
    }
    write_report(arguments.out, report)


def draw_tile(pipe: Orbit4DPipeline, case: dict[str, Any], work: Path) -> dict[str, Any]:
    """Sample one orbit and keep its strip."""
    started = time.monotonic()
    clip = pipe(prompt=case["prompt"], seed=case["seed"], steps=case["steps"], progress=False)
    shown = [min(i, len(clip) - 1) for i in case["shown"]]
    save_strip(clip.on_background()[shown], strip_path(work, case))
    return {"frames": len(clip), "seconds": round(time.monotonic() - started, 1)}


def sheet(tiles: list[tuple[str, Path]], *, columns: int) -> Image.Image:
    """Strips, each under its label, `columns` side by side, row by row."""
    width, height = len(SHOWN) * SIDE + 16, SIDE + LABEL
    canvas = Image.new("RGB", (width * min(columns, len(tiles)), height * -(-len(tiles) // columns)), "white")
    draw = ImageDraw.Draw(canvas)
    for number, (label, strip) in enumerate(tiles):
        x, y = number % columns * width + 8, number // columns * height
        draw.text((x, y + 4), label, fill="black")
        with Image.open(strip) as picture:
            canvas.paste(picture.convert("RGB"), (x, y + LABEL))
    return canvas


def save_webp(picture: Image.Image, path: Path) -> None:
    """In the best quality that stays below MOST_BYTES. Raises InputError where none does."""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, format="webp", quality=quality, method=6)
        if buffer.tell() < MOST_BYTES:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_bytes(buffer.getvalue())
            return
    raise InputError(
        f"{path}: larger than {MOST_BYTES:,} bytes in any quality; take fewer prompts (--count) or --seeds"
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
