"""Rendered folders made on the spot: textured discs that move as told, and their manifests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbit4d.data.plan import Pair, RenderPlan
from orbit4d.data.sample import Sample, encode_frame, save_sample

PLAN = RenderPlan(frames=9, size=48, outputs=())
Draw = Callable[[Pair], np.ndarray]


@dataclass
class Drawn:
    rgba: np.ndarray
    depth: np.ndarray | None = None
    normals: np.ndarray | None = None
    flow: np.ndarray | None = None


def disc(
    *, radius: float = 0.18, step: float = 0.0, offset: float = 0.0, flat: bool = False, size: int = PLAN.size
) -> Draw:
    """A striped disc of this radius whose centre moves to the right by `step` from time 0 to 1; in frame widths."""
    y, x = np.mgrid[:size, :size] / size + 0.5 / size - 0.5

    def draw(pair: Pair) -> np.ndarray:
        centre = offset + step * pair[1] / (PLAN.frames - 1)
        inside = (x - centre) ** 2 + y**2 < radius**2
        stripes = np.full_like(x, 90) if flat else 120 + 100 * np.sin(40 * (x - centre) + pair[0])
        rgba = np.stack([stripes, 0.5 * stripes, np.full_like(x, 60), inside * 255], axis=-1)
        return rgba.astype(np.uint8)

    return draw


def make_sample(draw: Draw, *, key: str = "disc", plan: RenderPlan = PLAN, **meta: Any) -> Sample:
    members: dict[str, bytes] = {}
    for pair in plan.pairs():
        members |= encode_frame(Drawn(draw(pair)), pair, depth_max=4.0)
    cameras = plan.cameras()
    told = {
        "captions": ["a disc"],
        "kind": "disc",
        "times": plan.times(),
        "pairs": [list(p) for p in plan.pairs()],
        "orbits": [[list(p) for p in plan.orbit(k)] for k in range(plan.orbits)],
        "camera_to_world": cameras.camera_to_world.tolist(),
        "intrinsics": cameras.intrinsics.tolist(),
        "width": plan.size,
        "height": plan.size,
    }
    return Sample(key=key, meta=told | meta, members=members)


def rendered(folder: Path, sample: Sample, **changed: Any) -> dict[str, Any]:
    """Save a sample where rendering would, and return its manifest record."""
    path = folder / "samples" / f"{sample.key}.tar"
    save_sample(sample, path)
    data = path.read_bytes()
    record = {
        "input": f"{sample.key}.glb",
        "animation": 0,
        "animation_name": "Move",
        "key": sample.key,
        "status": "rendered",
        "reason": None,
        "cause": None,
        "sample": f"samples/{sample.key}.tar",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "frames": len(sample.pairs),
        "seconds": 0.5,
        "captions": sample.captions,
        "kind": "disc",
        "motion_magnitude": 0.01,
    }
    return record | changed


def failed(name: str, *, cause: str, reason: str) -> dict[str, Any]:
    return {
        "input": name,
        "animation": None,
        "animation_name": None,
        "key": name.replace("/", "_").replace(".", "_"),
        "status": "failed",
        "reason": reason,
        "cause": cause,
        "sample": None,
        "sha256": None,
        "bytes": 0,
        "frames": 0,
        "seconds": 0.1,
        "captions": [],
        "kind": None,
        "motion_magnitude": None,
    }


def write_manifest(folder: Path, records: list[dict[str, Any]], *, torn: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records) + torn)


def curation_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "curation.jsonl").read_text().splitlines()]
