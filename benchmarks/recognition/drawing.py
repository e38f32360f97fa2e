"""Pictures of the recognition benchmark: confusion matrices and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

CELL, MARGIN = 14, 190
LINE = 12


def confusion_picture(pairs: Sequence[tuple[str, str]], path: Path, *, title: str) -> None:
    """Rows: what it was. Columns: what was told, as a share of the row; right answers are green, others red."""
    names = sorted({name for pair in pairs for name in pair})
    number = {name: i for i, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)))
    for true, told in pairs:
        counts[number[true], number[told]] += 1
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = MARGIN + CELL * len(names)
    picture = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(picture)
    for i, name in enumerate(names):
        draw.text((MARGIN - 4, MARGIN + CELL * i + 1), name, fill="black", anchor="ra", font_size=11)
        label = Image.new("RGB", (MARGIN - 8, CELL), "white")
        ImageDraw.Draw(label).text((2, 1), name, fill="black", font_size=11)
        picture.paste(label.rotate(90, expand=True), (MARGIN + CELL * i, 4))
        for j in range(len(names)):
            share = float(shares[i, j])
            strength = round(255 * (1 - share))
            colour = (strength, 200 + (55 * strength) // 255, strength) if i == j else (255, strength, strength)
            x, y = MARGIN + CELL * j, MARGIN + CELL * i
            draw.rectangle([x, y, x + CELL - 1, y + CELL - 1], fill=colour, outline=(230, 230, 230))
    draw.text((6, 6), f"{title}\nrows: true\ncolumns: told\n{len(pairs)} clips", fill="black", font_size=12)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def contact_sheet(rows: Sequence[tuple[str, Tensor]], path: Path, *, shown: int = 8) -> None:
    """One row a clip: (its caption, (t, 4, s, s) uint8 straight RGBA), `shown` frames of it, on white."""
    pictures = []
    for text, frames in rows:
        chosen = torch.linspace(0, len(frames) - 1, shown).round().long()
        rgba = frames[chosen].float() / 255
        white = rgba[:, :3] * rgba[:, 3:] + 1 - rgba[:, 3:]
        array = (torch.cat(list(white), dim=-1) * 255).round().byte().permute(1, 2, 0).numpy()
        picture = Image.new("RGB", (array.shape[1], array.shape[0] + LINE), "white")
        picture.paste(Image.fromarray(array), (0, LINE))
        ImageDraw.Draw(picture).text((2, 0), text, fill="black", font_size=10)
        pictures.append(np.array(picture))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(pictures)).save(path)
