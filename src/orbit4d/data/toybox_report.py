"""How varied a folder of toys is: what it holds, how it is captioned, how it looks and how much it moves."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cameras import Orbit
from ..errors import InputError
from ..files import atomic_path, parse_json
from .sample import on_white

if TYPE_CHECKING:
    from .render import Renderer

ORBIT_FRAMES = 8
_COLUMNS = 16


@dataclass(kw_only=True)
class ToyFrames:
    """Renderings of one toy on white, (n, h, w, 3) in [0, 1]: `orbit` (view and time advance together), `static` (the same
    views at time 0), `front` (times 0, 1/4, 1/2); `tile` (h, w, 3) is the view from 45 degrees; `silhouette` (h, w) of `front[0]`.
    """

    record: dict[str, Any]
    orbit: np.ndarray
    static: np.ndarray
    front: np.ndarray
    tile: np.ndarray
    silhouette: np.ndarray

    @property
    def motion_magnitude(self) -> float:
        """The mean of (orbit - static)^2 over frames, pixels and channels."""
        return float(((self.orbit - self.static) ** 2).mean())


def read_manifest(folder: str | Path) -> list[dict[str, Any]]:
    """The records of a toybox. Raises InputError when there is none."""
    path = Path(folder) / "manifest.json"
    if not path.is_file():
        raise InputError(f"{path}: missing; write the toys first with `orbit4d data toybox --out {folder}`")
    document = parse_json(path.read_bytes(), source=path)
    if not isinstance(document, dict) or not isinstance(document.get("toys"), list) or not document["toys"]:
        raise InputError(f"{path}: not a toybox manifest; write the toys again")
    return document["toys"]


def render_toy(folder: str | Path, record: dict[str, Any], renderer: Renderer) -> ToyFrames:
    """Render what the report needs of one toy. Raises InputError for a damaged file."""
    import torch

    from ..assets.gltf import load_glb
    from .render import render_grid

    asset = load_glb(Path(folder) / record["file"])
    times = torch.tensor([*(i / ORBIT_FRAMES for i in range(ORBIT_FRAMES)), 0.25, 0.5])
    pairs = [(i, i) for i in range(ORBIT_FRAMES)] + [(i, 0) for i in range(1, ORBIT_FRAMES)]
    pairs += [(0, ORBIT_FRAMES), (0, ORBIT_FRAMES + 1)]
    # One view more than frames: the last view of an orbit repeats the first.
    views = Orbit(frames=ORBIT_FRAMES + 1)
    rgba = render_grid(asset, views=views, times=times, pairs=pairs, animation=0, size=renderer.size, renderer=renderer)
    white = on_white(rgba)
    n = ORBIT_FRAMES
    return ToyFrames(
        record=record,
        orbit=white[:n],
        static=np.concatenate([white[:1], white[n : 2 * n - 1]]),
        front=np.stack([white[0], white[2 * n - 1], white[2 * n]]),
        tile=white[n],
        silhouette=rgba[0, ..., 3] > 127,
    )


def describe(records: list[dict[str, Any]]) -> dict[str, Any]:
    """What the manifest tells: counts by kind, motion, sort, colour and pattern; captions; triangles; seconds of a loop."""
    captions = [c for r in records for c in r["captions"]]
    vocabulary = {w for c in captions for w in c.lower().replace(",", " ").split()}
    attributes = [r["attributes"] for r in records]
    return {
        "toys": len(records),
        "kinds": _counts(r["kind"] for r in records),
        "motions": _counts(r["motion"] for r in records),
        "kinds_x_motions": len({(r["kind"], r["motion"]) for r in records}),
        "sorts": _counts(a["sort"] for a in attributes),
        "main_colors": _counts(a["colors"]["main"] for a in attributes),
        "patterns": _counts(a["pattern"] for a in attributes),
        "textured_share": round(float(np.mean([a["textured"] for a in attributes])), 3),
        "parts": len({p for a in attributes for p in a["parts"]}),
        "captions": {
            "in_all": len(captions),
            "distinct": len(set(captions)),
            "vocabulary": len(vocabulary),
            "a_toy": round(len(captions) / len(records), 2),
        },
        "triangles": _spread([r["triangles"] for r in records]),
        "seconds": _spread([a["seconds"] for a in attributes]),
    }


def measure(frames: list[ToyFrames]) -> dict[str, Any]:
    """What the renderings tell: motion magnitude by kind and by motion, and how alike the silhouettes are."""
    return {
        "toys": len(frames),
        "motion_magnitude": _spread([f.motion_magnitude for f in frames]),
        "motion_magnitude_by_kind": _medians((f.record["kind"], f.motion_magnitude) for f in frames),
        "motion_magnitude_by_motion": _medians((f.record["motion"], f.motion_magnitude) for f in frames),
        "silhouette_iou": silhouette_overlap(frames),
    }


def silhouette_overlap(frames: list[ToyFrames]) -> dict[str, float]:
    """Mean intersection over union of front silhouettes, for pairs of one kind and of different kinds; low is diverse."""
    flat = np.stack([f.silhouette.ravel() for f in frames]).astype(np.float32)
    both = flat @ flat.T
    area = flat.sum(1)
    iou = both / np.maximum(area[:, None] + area[None] - both, 1)
    kinds = np.array([f.record["kind"] for f in frames])
    same = kinds[:, None] == kinds[None]
    apart = ~np.eye(len(frames), dtype=bool)
    return {
        name: round(float(iou[mask].mean()), 3) if mask.any() else float("nan")
        for name, mask in (("within_kinds", same & apart), ("between_kinds", ~same))
    }


def save_sheet(tiles: list[np.ndarray], path: str | Path, *, columns: int = _COLUMNS, quality: int = 82) -> None:
    """Tiles (h, w, 3) in [0, 1] side by side, as PNG or WebP by the name's ending."""
    from PIL import Image

    rows = -(-len(tiles) // columns)
    h, w = tiles[0].shape[:2]
    sheet = np.ones((rows * h, columns * w, 3), np.float32)
    for i, tile in enumerate(tiles):
        y, x = divmod(i, columns)
        sheet[y * h : (y + 1) * h, x * w : (x + 1) * w] = tile
    image = Image.fromarray(np.round(sheet * 255).astype(np.uint8))
    with atomic_path(path) as temporary:
        image.save(temporary, "WEBP" if str(path).endswith(".webp") else "PNG", quality=quality)


def report_toybox(folder: str | Path, out: str | Path, *, size: int = 128, limit: int | None = None) -> dict[str, Any]:
    """Write `out`/toybox_report.json and `out`/toybox.png for the toys in `folder` (the first `limit`); returns the report.

    Raises InputError for a folder without toys, and where nothing can be rendered.
    """
    from .render import Renderer

    records, out = read_manifest(folder), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with Renderer(size=size) as renderer:
        frames = [render_toy(folder, record, renderer) for record in records[:limit]]
    report = {"manifest": describe(records), "rendered": measure(frames)}
    save_sheet([f.tile for f in frames], out / "toybox.png")
    with atomic_path(out / "toybox_report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=1))
    return report


def _counts(values: Any) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _spread(values: list[float]) -> dict[str, float]:
    quantiles = np.quantile(values, [0, 0.05, 0.5, 0.95, 1])
    return dict(zip(("min", "p5", "median", "p95", "max"), (float(f"{q:.4g}") for q in quantiles), strict=True))


def _medians(pairs: Any) -> dict[str, float]:
    groups: dict[str, list[float]] = {}
    for name, value in pairs:
        groups.setdefault(name, []).append(value)
    return {name: float(f"{np.median(values):.3g}") for name, values in sorted(groups.items())}
