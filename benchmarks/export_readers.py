"""Every export, read back by programs that are not ours: how far what they read is from the scene.

    npm install --prefix TOOLS @playcanvas/splat-transform gltf-validator
    pip install 'orbit4d[exports]'
    ORBIT4D_NODE_TOOLS=TOOLS python benchmarks/export_readers.py [--scene IN] [--out benchmarks/results/export_readers.json]

Without --scene: 2,000 Gaussians with spherical harmonics of degree 3 that turn and drift. Figures are the largest deviation
over all Gaussians (positions and scales in world units, log scales where so named). What is not installed is left out and named.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plyfile import PlyData
from shared import write_report
from torch.nn import functional

from orbit4d.clip import load_clip
from orbit4d.export.by_suffix import export_scene
from orbit4d.export.video import ALPHA_SUFFIXES, turntable
from orbit4d.imports.ply import read_ply
from orbit4d.imports.scenes import load_gaussians
from orbit4d.imports.splat import LAYOUT, read_splat
from orbit4d.splat.gaussians import Gaussians, Gaussians4D
from orbit4d.splat.keyframes import Keyframes
from orbit4d.splat.turning import turned, world_from

EXTENSION = "KHR_gaussian_splatting"
VALIDATE = """
const fs = require('fs'), validator = require('gltf-validator');
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])), {maxIssues: 0}).then(
    (report) => console.log(JSON.stringify({version: validator.version(), messages: report.issues.messages,
        vertices: report.info.totalVertexCount})));
"""


def node_tools() -> Path | None:
    """The folder with node_modules that $ORBIT4D_NODE_TOOLS names."""
    folder = os.environ.get("ORBIT4D_NODE_TOOLS")
    return Path(folder) if folder and (Path(folder) / "node_modules").is_dir() else None


def example_scene(count: int = 2000, frames: int = 5) -> Gaussians4D:
    generator = torch.Generator().manual_seed(3)
    degree = torch.tensor([1.0] + [0.3] * 3 + [0.2] * 5 + [0.1] * 7)
    still = Gaussians(
        means=torch.randn(count, 3, generator=generator) * torch.tensor([0.1, 0.15, 0.25]),
        quats=functional.normalize(torch.randn(count, 4, generator=generator), dim=-1),
        log_scales=-4 + 0.5 * torch.randn(count, 3, generator=generator),
        logit_opacities=2 * torch.randn(count, generator=generator),
        sh=torch.randn(count, 16, 3, generator=generator) * degree[:, None],
    )
    sets = []
    for i in range(frames):
        angle = 0.4 * i / (frames - 1)
        c, s = math.cos(angle), math.sin(angle)
        moved = turned(still, torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]]))
        moved.means = moved.means + torch.tensor([0.1, 0.0, 0.05]) * i / (frames - 1)
        sets.append(moved)
    return Gaussians4D(canonical=sets[0], deformation=Keyframes.of(sets).requires_grad_(False))


def read_glb(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """JSON and float attributes of the one primitive of a .glb, by a reader of twenty lines."""
    data = path.read_bytes()
    magic, container, length = struct.unpack_from("<4sII", data)
    assert (magic, container, length) == (b"glTF", 2, len(data)), "GLB header"
    size, kind = struct.unpack_from("<I4s", data, 12)
    document, chunk = json.loads(data[20 : 20 + size]), 20 + size
    assert kind == b"JSON" and data[chunk + 4 : chunk + 8] == b"BIN\0", "GLB chunks"
    types = {5126: "<f4", 5123: "<u2", 5121: "u1"}
    widths = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
    out = {}
    for name, index in document["meshes"][0]["primitives"][0]["attributes"].items():
        accessor = document["accessors"][index]
        view = document["bufferViews"][accessor["bufferView"]]
        kind, width = np.dtype(types[accessor["componentType"]]), widths[accessor["type"]]
        start = chunk + 8 + view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        values = np.frombuffer(data, kind, accessor["count"] * width, start).reshape(-1, width).astype(np.float64)
        out[name] = values / np.iinfo(kind).max if accessor.get("normalized") else values
    return document, out


def splat_transform(tools: Path, source: Path, out: Path, *actions: str) -> Path:
    """Convert with @playcanvas/splat-transform, after its `actions`."""
    program = tools / "node_modules/@playcanvas/splat-transform/bin/cli.mjs"
    subprocess.run(
        ["node", str(program), "-q", "-w", str(source), *actions, str(out)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return out


def validate_gltf(tools: Path, path: Path) -> dict[str, Any]:
    """Khronos' report on a .glb: as it is, and on a copy whose attributes carry names that every validator accepts.

    Validators that do not know the extension refuse its attribute names, `KHR_gaussian_splatting:ROTATION` and so on, in the
    files of every program; the copy calls them `_ROTATION`, and lets the rest of the file be checked.
    """
    document, _ = read_glb(path)
    primitive = document["meshes"][0]["primitives"][0]
    primitive["attributes"] = {k.replace(f"{EXTENSION}:", "_"): v for k, v in primitive["attributes"].items()}
    data = path.read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + size :]
    copy = path.with_name("renamed.glb")
    head = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON")
    copy.write_bytes(head + text + rest)
    reports = [
        json.loads(subprocess.run(
            ["node", "-e", VALIDATE, str(file)], cwd=tools, check=True, capture_output=True, text=True, timeout=300
        ).stdout)
        for file in (path, copy)
    ]  # fmt: skip
    return {
        "version": reports[0]["version"],
        "vertices": reports[0]["vertices"],
        **{
            name: dict(Counter(f"{'EWIH'[m['severity']]} {m['code']}" for m in report["messages"]))
            for name, report in zip(("as_written", "with_plain_attribute_names"), reports, strict=True)
        },
    }


def _far(a: Any, b: Any) -> float:
    return float(f"{np.abs(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)).max():.3g}")


def _turn(a: Any, b: Any) -> float:
    """Largest angle in degrees between unit quaternions (sign free)."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    chord = np.minimum(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)).max()
    return float(f"{math.degrees(4 * math.asin(min(1.0, chord / 2))):.3g}")


def _table_difference(table: Callable[[str], Any], g: Gaussians) -> dict[str, float]:
    """Against a reader of columns in the 3DGS convention."""
    rest = g.sh[:, 1:].transpose(1, 2).reshape(len(g), -1)

    def columns(first: str, count: int) -> np.ndarray:
        return np.stack([table(f"{first}_{i}") for i in range(count)], axis=1)

    return {
        "position": _far(np.stack([table(k) for k in "xyz"], axis=1), g.means),
        "log_scale": _far(columns("scale", 3), g.log_scales),
        "logit_opacity": _far(table("opacity"), g.logit_opacities),
        "rotation_deg": _turn(columns("rot", 4), functional.normalize(g.quats, dim=-1)),
        "f_dc": _far(columns("f_dc", 3), g.sh[:, 0]),
        **({"f_rest": _far(columns("f_rest", rest.shape[1]), rest)} if rest.shape[1] else {}),
    }


def check_ply(scene: Gaussians4D, folder: Path, frames: int, tools: Path | None) -> dict[str, Any]:
    export_scene(scene, folder / "ply", frames=frames)
    rows: dict[str, Any] = {"files": frames, "bytes": sum(f.stat().st_size for f in (folder / "ply").iterdir())}
    middle = frames // 2
    file, g = folder / "ply" / f"frame_{middle:03d}.ply", scene.at(middle / (frames - 1)).detach()
    vertex = PlyData.read(str(file))["vertex"]
    rows["plyfile"] = _table_difference(lambda key: np.asarray(vertex[key]), g)
    if tools:
        with open(splat_transform(tools, file, folder / "ply.csv"), newline="") as handle:
            names, *values = csv.reader(handle)
        table = dict(zip(names, np.array(values, dtype=np.float64).T, strict=True))
        rows["splat-transform"] = _table_difference(lambda key: table[key], g)
    return rows


def _glb_difference(document: dict, read: dict[str, np.ndarray], other: Path) -> dict[str, Any]:
    theirs, values = read_glb(other)
    harmonics = sorted(name for name in read if ":SH_" in name)
    out: dict[str, Any] = {"same extension object": _extension(theirs) == _extension(document)}
    out["rotation_deg"] = _turn(values[f"{EXTENSION}:ROTATION"], read[f"{EXTENSION}:ROTATION"])
    for name in ("POSITION", f"{EXTENSION}:SCALE", f"{EXTENSION}:OPACITY"):
        out[name.removeprefix(f"{EXTENSION}:").lower()] = _far(values[name], read[name])
    out["spherical_harmonics"] = max(_far(values[name], read[name]) for name in harmonics)
    return out


def check_glb(scene: Gaussians4D, folder: Path, tools: Path | None) -> dict[str, Any]:
    path = export_scene(scene, folder / "a.glb", time=0.5)
    g = turned(scene.at(0.5).detach(), world_from("y").T)
    document, read = read_glb(path)
    rows: dict[str, Any] = {"bytes": path.stat().st_size, "extension": _extension(document)}
    harmonics = np.stack([v for k, v in read.items() if ":SH_" in k], axis=1)
    quats = functional.normalize(g.quats, dim=-1)[:, [1, 2, 3, 0]]
    rows["own reader of the container"] = {
        "position": _far(read["POSITION"], g.means),
        "scale": _far(read[f"{EXTENSION}:SCALE"], g.log_scales.exp()),
        "opacity": _far(read[f"{EXTENSION}:OPACITY"][:, 0], g.logit_opacities.sigmoid()),
        "rotation_deg": _turn(read[f"{EXTENSION}:ROTATION"], quats),
        "spherical_harmonics": _far(harmonics, g.sh),
    }
    if tools:
        rows["gltf-validator"] = validate_gltf(tools, path)
        # The same moment as a PLY, made into a GLB by another program: both conversions must meet. It takes PLY files as y
        # down; a z-up one is turned upright by it, with a rotation of the harmonics of its own.
        upright = ["-r", "0,0,180", "-r", "-90,0,0"]
        for up, actions in (("y-down", []), ("z", upright)):
            source = export_scene(scene, folder / "b.ply", time=0.5, up=up)
            other = splat_transform(tools, source, folder / "b.glb", *actions)
            rows[f"splat-transform's GLB of our PLY, up {up}"] = _glb_difference(document, read, other)
        mine, truth = load_gaussians(other).canonical, scene.at(0.5).detach()
        rows["our reader on splat-transform's GLB"] = {
            "position": _far(mine.means, truth.means),
            "rotation_deg": _turn(mine.quats, functional.normalize(truth.quats, dim=-1)),
            "scale": _far(mine.log_scales.exp(), truth.log_scales.exp()),
            "opacity": _far(mine.logit_opacities.sigmoid(), truth.logit_opacities.sigmoid()),
            "spherical_harmonics": _far(mine.sh, truth.sh),
        }
        rows["gltf-validator on splat-transform's GLB"] = validate_gltf(tools, other)["as_written"]
    if _installed("fourdgs"):
        from fourdgs import from_gltf

        found = from_gltf(str(path)).gaussians
        rows["fourdgs.from_gltf"] = {
            "position": _far(found.positions, g.means),
            "scale": _far(found.scales, g.log_scales.exp()),
            "rotation_deg": _turn(found.rotations, quats),
            "opacity": _far(found.colors[:, 3], g.logit_opacities.sigmoid()),
            "degree": found.sh_degree,
        }
    return rows


def check_splat_import(scene: Gaussians4D, folder: Path, tools: Path) -> dict[str, float]:
    """A `.splat` as splat-transform reads it (it makes a PLY of it) against our reader."""
    g = scene.at(0.0).detach()
    table = np.zeros(len(g), LAYOUT)
    table["position"], table["scale"] = g.means.numpy(), g.log_scales.exp().numpy()
    table["rgba"][:, :3] = (g.base_colors.clamp(0, 1) * 255).round().numpy()
    table["rgba"][:, 3] = (g.logit_opacities.sigmoid() * 255).round().numpy()
    table["rotation"] = (functional.normalize(g.quats, dim=-1) * 128 + 128).round().clamp(0, 255).numpy()
    path = folder / "a.splat"
    path.write_bytes(table.tobytes())
    ours, theirs = read_splat(path), read_ply(splat_transform(tools, path, folder / "from_splat.ply"))
    return {
        "position": _far(ours.means, theirs.means),
        "log_scale": _far(ours.log_scales, theirs.log_scales),
        "opacity": _far(ours.logit_opacities.sigmoid(), theirs.logit_opacities.sigmoid()),
        "rotation_deg": _turn(ours.quats, theirs.quats),
        "colour": _far(ours.base_colors, theirs.base_colors),
    }


def check_4dgs(scene: Gaussians4D, folder: Path, frames: int) -> dict[str, Any]:
    from fourdgs.keyframe_delta_file import decode_indexed, decode_streamed, render_at
    from fourdgs.validate import validate

    path = export_scene(scene, folder / "a.4dgs", frames=frames)
    data = path.read_bytes()
    report, streamed, (indexed, _) = validate(data), decode_streamed(data), decode_indexed(data)
    rows: dict[str, Any] = {
        "bytes": len(data),
        "validator": {"ok": report.ok, "findings": [str(f) for f in report.findings]},
        "temporal_model": streamed.header.temporal_model,
    }
    keep = torch.stack([g.logit_opacities.sigmoid() for g in scene.sampled(torch.linspace(0, 1, frames))])
    keep = keep.amax(dim=0) > 1 / 255
    for name, time in (("at a keyframe", 2 / (frames - 1)), ("between keyframes", 2.5 / (frames - 1))):
        state = render_at(streamed, time * streamed.header.duration_sec)
        again = render_at(indexed, time * streamed.header.duration_sec)
        g = turned(scene.at(time).detach(), world_from("y").T)[keep]
        rows[name] = {
            "streamed and indexed agree": all(np.array_equal(state[k], again[k]) for k in state),
            "position": _far(state["centers"], g.means),
            "log_scale": _far(np.log(state["scales"]), g.log_scales),
            "rotation_deg": _turn(state["rotations"], functional.normalize(g.quats, dim=-1)[:, [1, 2, 3, 0]]),
            "mean_colour": _far(state["rgb"], g.base_colors.clamp(0, 1)),
            "opacity": _far(state["opacity"], g.logit_opacities.sigmoid()),
        }
    return rows


def read_rgba(path: Path) -> np.ndarray:
    """(t, h, w, 4) uint8 of a video with alpha, by FFmpeg."""
    import imageio_ffmpeg

    # FFmpeg's own VP9 decoder leaves alpha out.
    decoder = ["-vcodec", "libvpx-vp9"] if path.suffix == ".webm" else []
    frames = imageio_ffmpeg.read_frames(str(path), pix_fmt="rgba", bits_per_pixel=32, input_params=decoder)
    width, height = next(frames)["size"]
    return np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 4) for frame in frames])


def check_videos(
    scene: Gaussians4D, folder: Path, frames: int, size: int, *, suffixes: tuple[str, ...] = ALPHA_SUFFIXES
) -> dict[str, Any]:
    from PIL import Image, ImageSequence

    clip = turntable(scene, frames=frames, size=size)
    rows: dict[str, Any] = {}
    for suffix in suffixes:
        path = export_scene(scene, folder / f"a{suffix}", frames=frames, size=size, transparent=True)
        if suffix in (".webp", ".gif"):
            with Image.open(path) as animation:
                read = np.stack([np.asarray(f.convert("RGBA")) for f in ImageSequence.Iterator(animation)])
        else:
            read = read_rgba(path)
        alpha = clip.alpha[:, 0].numpy()
        target = np.where(alpha < 0.5, 0.0, 1.0) if suffix == ".gif" else alpha
        got = read[..., 3] / 255
        inside = alpha > 0.9
        rows[suffix] = {
            "bytes": path.stat().st_size,
            "frames": len(read),
            "alpha_mean_error": float(f"{np.abs(got - target).mean():.3g}"),
            "colour_mean_error_inside": float(
                f"{np.abs(read[..., :3] / 255 - clip.rgb.permute(0, 2, 3, 1).numpy())[inside].mean():.3g}"
            ),
        }
    return rows


def check_mp4(scene: Gaussians4D, folder: Path, frames: int, size: int) -> dict[str, Any]:
    import imageio.v3 as iio

    path = export_scene(scene, folder / "a.mp4", frames=frames, size=size)
    read = iio.imread(path, plugin="FFMPEG")
    white = turntable(scene, frames=frames, size=size).on_background(1.0).permute(0, 2, 3, 1).numpy()
    error = float(f"{np.abs(read / 255 - white).mean():.3g}")
    return {"bytes": path.stat().st_size, "frames": len(read), "mean_error_on_white": error}


def check_frames(scene: Gaussians4D, folder: Path, frames: int, size: int) -> dict[str, Any]:
    export_scene(scene, folder / "frames" / "transforms.json", frames=frames, size=size)
    clip, truth = load_clip(folder / "frames"), turntable(scene, frames=frames, size=size)
    return {
        "camera_to_world": _far(clip.cameras.camera_to_world, truth.cameras.camera_to_world),
        "intrinsics": _far(clip.cameras.intrinsics, truth.cameras.intrinsics),
        "times": _far(clip.times, truth.times),
        "alpha": _far(clip.alpha, truth.alpha),
        "depth": _far(clip.depth, truth.depth),
    }


def _extension(document: dict) -> dict:
    return document["meshes"][0]["primitives"][0]["extensions"][EXTENSION]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _node_versions(tools: Path | None) -> dict[str, str]:
    names = ("@playcanvas/splat-transform", "gltf-validator") if tools else ()
    return {n: json.loads((tools / "node_modules" / n / "package.json").read_text())["version"] for n in names if tools}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", type=Path)
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/export_readers.json"))
    options = parser.parse_args()
    scene = load_gaussians(options.scene) if options.scene else example_scene()
    tools, fourdgs = node_tools(), _installed("fourdgs")
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        folder = Path(name)
        report = {
            "scene": options.scene.name if options.scene else "example_scene()",
            "gaussians": len(scene.canonical),
            "frames": options.frames,
            "readers": {"plyfile": _installed("plyfile"), "fourdgs": fourdgs, **_node_versions(tools)},
            "not_installed": [n for n, found in (("node tools", tools), ("fourdgs", fourdgs)) if not found],
            "ply_sequence": check_ply(scene, folder, options.frames, tools),
            "glb": check_glb(scene, folder, tools),
            "transparent_videos": check_videos(scene, folder, options.frames, options.size),
            "mp4": check_mp4(scene, folder, options.frames, options.size),
            "transforms_json": check_frames(scene, folder, options.frames, options.size),
        }
        if tools:
            report["splat_import, splat-transform against ours"] = check_splat_import(scene, folder, tools)
        if fourdgs:
            report["4dgs"] = check_4dgs(scene, folder, options.frames)
    write_report(options.out, report)


if __name__ == "__main__":
    main()
