"""What a compact 4D asset loses and weighs, bound by bound, beside a PLY sequence and .4dgs files of the same scene.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/compact.py --out benchmarks/results/compact.json

The scene is a construction of 20,000 Gaussians from renders of the Khronos fox, running (a few minutes; `--scene` keeps it,
or takes another). Scores are means over a view that the construction has not seen, 24 frames of which most lie between the
file's knots. `loss_db` is against the renders: PSNR of the exact model minus PSNR of the decoded file; `same_db` is the PSNR
of the decoded file against the exact model. The PLY sequence has one file a frame, 24 frames. `.4dgs` needs the package
`fourdgs` and holds the same 24 moments: states (one keyframe and deltas) that positions leave on straight lines, each towards
the next. Rotations, scales, colours and opacities change only from state to state, so only the error of the positions is given, at
the states and half-way between them.
"""

from __future__ import annotations

import gzip
import tempfile
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from shared import DATA, write_report

from orbit4d.clip import OrbitalClip
from orbit4d.data.render import render_clip
from orbit4d.evaluate.metrics import psnr
from orbit4d.export.compact import FRAMES, CompactScene, decode, encode
from orbit4d.export.html import write_html
from orbit4d.export.ply import write_ply
from orbit4d.files import atomic_path
from orbit4d.splat.fit import FitConfig, fit
from orbit4d.splat.gaussians import Gaussians, Gaussians4D
from orbit4d.splat.io import load_scene, save_scene
from orbit4d.splat.rasterize import render


@dataclass(kw_only=True)
class Arguments:
    out: Path | None = None
    """JSON report; printed only when left out. The plot goes beside it."""
    scene: Path | None = None
    """Scene file to measure; made and kept there when it does not exist."""
    asset: Path = DATA / "assets" / "khronos_Fox.glb"
    animation: str = "Run"
    gaussians: int = 20_000
    steps: int = 600
    size: int = 256
    bounds: tuple[float, ...] = (8e-3, 4e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4)


def main(arguments: Arguments) -> None:
    scene, truth = construct(arguments)
    exact = images(scene, truth)
    ply = FRAMES * ply_bytes(scene)
    reference = score(exact, truth.on_background(1.0))
    print(f"{len(scene.canonical)} Gaussians, exact model {reference:.2f} dB, PLY sequence {ply} bytes", flush=True)
    rows = []
    for bound in arguments.bounds:
        started = time.perf_counter()
        data = encode(scene, bound=bound)
        seconds = time.perf_counter() - started
        compact = decode(data)
        seen = images(compact, truth)
        rows.append(
            {
                "bound": bound,
                "bytes": len(data),
                "bytes_unpacked": len(gzip.decompress(data)),
                "bytes_per_gaussian": round(len(data) / len(compact), 1),
                "times_smaller_than_ply": round(ply / len(data), 1),
                "rank": compact.weights.shape[1],
                "loss_db": round(reference - score(seen, truth.on_background(1.0)), 3),
                "same_db": round(score(seen, exact), 2),
                "position_error_of_bound": round(
                    compact.extras["errors"]["position"] / compact.extras["bounds"]["position"], 2
                ),
                "encode_seconds": round(seconds, 1),
            }
        )
        print(rows[-1], flush=True)
    report = {
        "gaussians": len(scene.canonical),
        "frames": FRAMES,
        "exact_psnr": round(reference, 2),
        "ply_sequence_bytes": ply,
        "page_bytes": page_bytes(scene),
        "compact": rows,
        "fourdgs": fourdgs_rows(scene),
    }
    write_report(arguments.out, report)
    if arguments.out is not None:
        plot(report, arguments.out.with_suffix(".png"))


def construct(arguments: Arguments) -> tuple[Gaussians4D, OrbitalClip]:
    """The scene, and a view of the asset that its construction has not seen."""

    def clip(
        trajectory: Literal["orbit", "static", "front"], azimuth: float = 0.0, elevation: float = 0.0
    ) -> OrbitalClip:
        return render_clip(
            arguments.asset,
            trajectory=trajectory,
            animation=arguments.animation,
            size=arguments.size,
            azimuth=azimuth,
            elevation=elevation,
        )

    truth = clip("front", azimuth=52, elevation=10)
    if arguments.scene is not None and arguments.scene.exists():
        return load_scene(arguments.scene), truth
    config = replace(FitConfig.for_size(arguments.size), gaussians=arguments.gaussians, steps=arguments.steps)
    scene = fit(clip("orbit"), static_clip=clip("static"), config=config).scene
    if arguments.scene is not None:
        save_scene(scene, arguments.scene)
    return scene, truth


@torch.no_grad()
def images(scene: Gaussians4D | CompactScene, clip: OrbitalClip) -> torch.Tensor:
    """(t, 3, h, w) on white, at the clip's cameras and times."""
    moments = clip.times.tolist()
    return torch.cat([render(scene.at(t), clip.cameras[i : i + 1], background=1.0).rgb for i, t in enumerate(moments)])


def score(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(psnr(a.clamp(0, 1), b.clamp(0, 1)).mean())


def ply_bytes(scene: Gaussians4D) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return write_ply(scene.at(0.0), Path(folder) / "a.ply").stat().st_size


def page_bytes(scene: Gaussians4D) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return write_html(scene, Path(folder) / "a.html").stat().st_size


def fourdgs_rows(scene: Gaussians4D) -> list[dict] | str:
    """The same 24 moments in the .4dgs container, at each of its profiles, decoded by its own reader."""
    try:
        from fourdgs.keyframe_delta_file import (  # type: ignore[import-not-found]
            decode_streamed,
            render_at,
            write_sequence,
        )
        from fourdgs.keyframe_delta_writer import KeyframeDeltaOptions, Sample  # type: ignore[import-not-found]
    except ImportError:
        return "not measured: the package fourdgs is not installed"
    times, duration = torch.linspace(0, 1, FRAMES), FRAMES / 12
    sets = scene.sampled(times)
    ids, step = np.arange(len(sets[0])), duration / (FRAMES - 1)
    samples = [
        Sample(i * step, ids, fourdgs_set(now, after, start=i * step, step=step, duration=duration))
        for i, (now, after) in enumerate(pairwise(sets))
    ]
    extent = decode(encode(scene, bound=1e-2)).extras["extent"]
    rows = []
    for profile in ("coarse", "default", "fine"):
        options = KeyframeDeltaOptions(keyframe_every=FRAMES)
        data = write_sequence(samples, duration, kd=options, profile=profile, level=9)
        sequence = decode_streamed(data)
        worst = {}
        for name, moments in (("states", times[:-1]), ("between", (times[:-1] + times[1:]) / 2)):
            off = [
                render_at(sequence, float(t) * duration)["centers"] - scene.at(float(t)).means.numpy() for t in moments
            ]
            worst[name] = round(float(np.linalg.norm(off, axis=-1).max()) / extent, 6)
        rows.append({"profile": profile, "bytes": len(data), "position_error_of_extent": worst["states"]})
        rows[-1]["position_error_between"] = worst["between"]
        print(rows[-1], flush=True)
    return rows


def fourdgs_set(g: Gaussians, after: Gaussians, *, start: float, step: float, duration: float):
    """The state `g` at `start` seconds, whose positions are those of `after` a `step` later."""
    from fourdgs import GaussianSet  # type: ignore[import-not-found]

    n = len(g)
    colors = torch.cat([g.base_colors.clamp(0, 1), g.logit_opacities.sigmoid()[:, None]], dim=1)
    return GaussianSet(
        positions=g.means.numpy(),
        scales=g.log_scales.exp().numpy(),
        rotations=torch.nn.functional.normalize(g.quats, dim=-1)[:, [1, 2, 3, 0]].numpy(),
        colors=colors.numpy(),
        motions=((after.means - g.means) / step).numpy(),
        mu_t=np.full(n, start, np.float32),
        sigma_t=np.full(n, 100 * duration, np.float32),
        win_lo=np.zeros(n, np.float32),
        win_hi=np.full(n, 1.01 * duration, np.float32),
    )


def plot(report: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = report["compact"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    megabytes = [r["bytes"] / 1e6 for r in rows]
    left.plot(megabytes, [r["same_db"] for r in rows], "o-")
    left.set_ylabel("PSNR against the exact model (dB)")
    right.plot(megabytes, [r["loss_db"] for r in rows], "o-")
    right.axhline(0.5, color="grey", linestyle="--", linewidth=1)
    right.set_ylabel("PSNR lost on an unseen view (dB)")
    for axes in (left, right):
        axes.set_xlabel(f"MB, {report['gaussians']:,} Gaussians, {report['frames']} frames")
        axes.axvline(2.0, color="grey", linestyle="--", linewidth=1)
        axes.grid(alpha=0.3)
    for row, x in zip(rows, megabytes, strict=True):
        left.annotate(f"{row['bound']:g}", (x, row["same_db"]), textcoords="offset points", xytext=(5, -10), fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
