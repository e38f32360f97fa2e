"""Folders as the data engine writes them, from synthetic samples: shared by the tests of shards, datasets and training."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbit4d.data.plan import RenderPlan
from orbit4d.data.sample import Sample, encode_frame, save_sample
from orbit4d.data.selection import measured_motion


@dataclass
class _Frame:
    rgba: np.ndarray
    depth: np.ndarray | None
    normals: np.ndarray | None = None
    flow: np.ndarray | None = None


def disc_sample(plan: RenderPlan, *, key: str, radius: float = 6, green: int = 200, kind: str = "disc") -> Sample:
    """A disc that moves with time and whose red tells the view, its blue the time."""
    size, frames = plan.size, {}
    yy, xx = np.mgrid[:size, :size] + 0.5
    for view, time in plan.pairs():
        rgba = np.zeros((size, size, 4), np.uint8)
        centre = size * (0.3 + 0.4 * time / (plan.frames - 1))
        inside = (xx - centre) ** 2 + (yy - size / 2) ** 2 < radius**2
        rgba[inside] = (10 * view, green, 10 * time, 255)
        frames[view, time] = _Frame(rgba, np.where(inside, 2.0, 0).astype("f4") if "depth" in plan.outputs else None)
    cameras, members = plan.cameras(), {}
    for pair, frame in frames.items():
        members |= encode_frame(frame, pair, depth_max=4.0)
    meta = {
        "captions": [f"a {kind} moving", f"a {kind}"],
        "kind": kind,
        "times": plan.times(),
        "pairs": [list(p) for p in plan.pairs()],
        "orbits": [[list(p) for p in plan.orbit(k)] for k in range(plan.orbits)],
        "camera_to_world": cameras.camera_to_world.tolist(),
        "intrinsics": cameras.intrinsics.tolist(),
        "width": size,
        "height": size,
        "depth_max": 4.0,
    }
    sample = Sample(key=key, meta=meta, members=members)
    sample.meta["motion_magnitude"] = measured_motion(sample)
    return sample


def write_folder(folder: Path, samples: list[Sample], *, plan: RenderPlan, dropped: int = 0) -> Path:
    """A rendered and curated folder; the last `dropped` samples are not kept, and one more input has failed."""
    (folder / "samples").mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(plan.to_json()))
    manifest, curation = [], []
    for number, sample in enumerate(samples):
        file = folder / "samples" / f"{sample.key}.tar"
        save_sample(sample, file)
        common = {
            "key": sample.key,
            "input": f"{sample.key}.glb",
            "animation": 0,
            "sample": f"samples/{sample.key}.tar",
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "captions": sample.captions,
            "kind": sample.meta["kind"],
            "motion_magnitude": sample.meta["motion_magnitude"],
        }
        manifest.append(common | {"status": "rendered", "bytes": file.stat().st_size})
        curation.append(common | {"decision": "dropped" if number >= len(samples) - dropped else "kept"})
    failed = {"key": "broken", "input": "broken.glb", "animation": None, "sample": None, "captions": [], "kind": None}
    manifest.append(failed | {"status": "failed", "reason": "unreadable", "sha256": None, "motion_magnitude": None})
    curation.append(failed | {"decision": "dropped", "sha256": None, "motion_magnitude": None})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in manifest))
    (folder / "curation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in curation))
    return folder


def disc_folder(folder: Path, *, count: int = 7, dropped: int = 0, plan: RenderPlan | None = None) -> Path:
    plan = plan or RenderPlan(frames=5, size=16, orbits=2, rows=2, columns=2)
    samples = [disc_sample(plan, key=f"disc_{i}__000", radius=3 + i / 4, green=20 * i) for i in range(count)]
    return write_folder(folder, samples, plan=plan, dropped=dropped)
