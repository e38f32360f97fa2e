"""Pictures of finished cases, kept beside their rows, and the labelled sheets that are made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from orbit4d.files import atomic_path, json_digest

SIDE = 96
LABEL = 20


def strip_path(folder: Path, case: dict[str, Any]) -> Path:
    """The picture of one case: `case` holds nothing but what tells it from others."""
    return folder / "strips" / f"{json_digest(case)}.png"


def save_strip(frames: Tensor, path: Path) -> None:
    """Frames (t, 3, h, w) in [0, 1], small, side by side."""
    small = functional.interpolate(frames, size=(SIDE, SIDE), mode="area")
    array = (torch.cat(list(small), dim=-1).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        Image.fromarray(array).save(temporary, format="png")


def save_sheet(columns: list[tuple[str, list[tuple[str, Path]]]], path: Path) -> None:
    """Columns (title, [(label, strip)]), each strip under its label; strips that are missing stay empty. Nothing for no strips."""
    sizes = [Image.open(strip).size for _, column in columns for _, strip in column if strip.is_file()]
    if not sizes:
        return
    width, height = max(w for w, _ in sizes) + 16, max(h for _, h in sizes) + LABEL
    tallest = max(len(column) for _, column in columns)
    canvas = Image.new("RGB", (width * len(columns), LABEL + height * tallest), "white")
    draw = ImageDraw.Draw(canvas)
    for x, (title, column) in enumerate(columns):
        draw.text((x * width + 8, 4), title, fill="black")
        for y, (label, strip) in enumerate(column):
            draw.text((x * width + 8, LABEL + y * height + 4), label, fill="#555555")
            if strip.is_file():
                canvas.paste(Image.open(strip).convert("RGB"), (x * width + 8, LABEL + y * height + LABEL))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        canvas.save(temporary, format="png")
