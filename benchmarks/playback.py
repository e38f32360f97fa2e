"""How our page plays in headless Chromium with software GL, beside viser4d's stand-alone export and Spark, on one scene.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/playback.py --npm FOLDER --out benchmarks/results/playback.json

The others are no dependencies: viser4d is measured where `import viser4d` works, Spark where `--npm` names a folder in which
`npm install three @sparkjsdev/spark esbuild` was run. Each player gets one HTML file from disk, a fresh browser, the same
window and 24 states of the same Gaussians; a scene is made to have 5k, 20k or 100k of them by leaving some out or by
splitting them. Ours moves continuously; the other two show one of 24 states at a time, at 12 a second.

    first_frame_s   from opening the file to the first draw call that covers the splats; what it draws appears later, by the
                    time of one such frame at least
    frames_per_s    animation frames with such a draw call, over `seconds` of playing
    cpu_ms_a_frame  processor time of all processes of the browser over these frames: the steadier figure on a shared machine
    memory_mb       proportional memory of all processes of the browser then, less that of an empty page

Draw calls are counted by wrapping WebGL2 in every page alike. Software GL on a shared machine: compare columns, not days.
"""

from __future__ import annotations

import base64
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tyro
from compact import Arguments as Construction
from compact import construct
from npm_bundle import bundled
from shared import write_report

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # the tests' browser
from chromium import CHROMIUM, Chromium

from orbit4d.export.html import write_html
from orbit4d.splat.gaussians import Gaussians, Gaussians4D
from orbit4d.splat.hexplane import quaternion_matrix

FRAMES = 24
STATES_PER_SECOND = 12
WINDOW = (800, 600)
COUNT = """{
  const draws = window.draws = { first: null, frames: 0, stamp: -1 };
  const seen = (vertices) => {
    if (vertices < 4 * LEAST) return;
    if (draws.first === null) draws.first = performance.now();
    if (document.timeline.currentTime !== draws.stamp) { draws.stamp = document.timeline.currentTime; draws.frames++; }
  };
  for (const [name, vertices, instances] of [["drawArraysInstanced", 2, 3], ["drawElementsInstanced", 1, 4]]) {
    const call = WebGL2RenderingContext.prototype[name];
    WebGL2RenderingContext.prototype[name] = function (...a) { seen(a[vertices] * a[instances]); return call.apply(this, a); };
  }
}"""
SPARK = """
import * as THREE from "three";
import { SparkRenderer, SplatMesh } from "@sparkjsdev/spark";
const renderer = new THREE.WebGLRenderer({ antialias: false });
renderer.setSize(innerWidth, innerHeight);
renderer.setClearColor(0xffffff);
document.body.append(renderer.domElement);
const scene = new THREE.Scene(), camera = new THREE.PerspectiveCamera(39.6, innerWidth / innerHeight, 0.05, 100);
camera.up.set(0, 0, 1);
camera.position.set(0, -2, 0);
camera.lookAt(0, 0, 0);
scene.add(new SparkRenderer({ renderer }));
const bytes = (id) => Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
const meshes = [];
for (let i = 0; i < FRAMES; i++) {
  const mesh = new SplatMesh({ fileBytes: bytes("frame" + i), fileName: "frame.splat" });
  await mesh.initialized;
  mesh.visible = i === 0;
  scene.add(mesh);
  meshes.push(mesh);
}
renderer.setAnimationLoop((now) => {
  const shown = Math.floor(now / 1000 * RATE) % FRAMES;
  meshes.forEach((mesh, i) => { mesh.visible = i === shown; });
  renderer.render(scene, camera);
});
"""


@dataclass(kw_only=True)
class Arguments:
    out: Path | None = None
    """JSON report; printed only when left out."""
    scene: Path | None = None
    """As in compact.py."""
    npm: Path | None = None
    """Folder whose node_modules hold three, @sparkjsdev/spark and esbuild."""
    counts: tuple[int, ...] = (5_000, 20_000, 100_000)
    seconds: float = 10.0
    keep: Path | None = None
    """Folder that receives a screenshot of each player."""


def main(arguments: Arguments) -> None:
    scene, _ = construct(Construction(scene=arguments.scene))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in arguments.counts:
            sized = resized(scene, count)
            for player, write in players(arguments).items():
                page = folder / f"{player}.html"
                if isinstance(write, str):
                    rows.append({"gaussians": count, "player": player, "error": write})
                else:
                    write(sized, page)
                    rows.append({"gaussians": count, "player": player} | measure(page, count, arguments, folder))
                    page.unlink()
                print(rows[-1], flush=True)
    report = {
        "frames": FRAMES,
        "window": WINDOW,
        "seconds": arguments.seconds,
        "players": player_versions(arguments.npm),
    }
    write_report(arguments.out, report | {"rows": rows})


def player_versions(npm: Path | None) -> dict[str, str | None]:
    """What was measured in what; None for what is not there."""

    def of_package(name: str) -> str | None:
        file = npm / "node_modules" / name / "package.json" if npm is not None else None
        return json.loads(file.read_text())["version"] if file is not None and file.is_file() else None

    viser4d = importlib.metadata.version("viser4d") if importlib.util.find_spec("viser4d") else None
    chromium = subprocess.run([str(CHROMIUM), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    packages = {name: of_package(name) for name in ("@sparkjsdev/spark", "three")}
    return {"chromium": chromium, "viser4d": viser4d} | packages


def players(arguments: Arguments) -> dict[str, Callable[[Gaussians4D, Path], object] | str]:
    """What writes each player's page, or why it is not measured."""
    missing = "not measured: the package viser4d is not installed"
    viser4d = write_viser4d if importlib.util.find_spec("viser4d") else missing
    spark: Callable[[Gaussians4D, Path], object] | str = "not measured: no folder with its packages was given (--npm)"
    if arguments.npm is not None:
        script = SPARK.replace("FRAMES", str(FRAMES)).replace("RATE", str(STATES_PER_SECOND))
        script = bundled(script, arguments.npm)

        spark = partial(write_spark, script=script)
    return {"orbit4d": write_html, "viser4d": viser4d, "spark": spark}


def resized(scene: Gaussians4D, count: int) -> Gaussians4D:
    """The scene with `count` Gaussians: some left out, or each split into smaller ones beside each other."""
    g, generator = scene.canonical, torch.Generator().manual_seed(0)
    index = torch.randperm(len(g), generator=generator).repeat(-(-count // len(g)))[:count]
    shares = max(1.0, count / len(g))
    picked = g[index]
    local = torch.randn(count, 3, generator=generator) * picked.log_scales.exp() * (0.5 if shares > 1 else 0.0)
    quats = torch.nn.functional.normalize(picked.quats, dim=-1)
    means = picked.means + (quaternion_matrix(quats) @ local[..., None])[..., 0]
    split = Gaussians(**vars(picked) | {"means": means, "log_scales": picked.log_scales - np.log(shares) / 3})
    return Gaussians4D(canonical=split, deformation=scene.deformation)


def measure(page: Path, count: int, arguments: Arguments, folder: Path) -> dict:
    """One player's numbers in a browser of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as profile:
        browser = Chromium(Path(profile))
        try:
            browser.size(*WINDOW)
            browser.emulate()
            empty = memory(browser.process.pid)
            browser.open(page, first=COUNT.replace("LEAST", str(count // 2)), wait="window.draws.first !== null")
            first = browser.js("draws.first") / 1000
            # viser4d waits to be started; its button says so.
            browser.js("document.querySelector('[aria-label=\"Play\" i]')?.click()")
            browser.settle()
            pid, drawn, started = browser.process.pid, browser.js("draws.frames"), time.perf_counter()
            worked = processor_seconds(pid)
            time.sleep(arguments.seconds)
            worked = processor_seconds(pid) - worked
            drawn, passed = browser.js("draws.frames") - drawn, time.perf_counter() - started
            row = {
                "first_frame_s": round(first, 2),
                "frames_per_s": round(drawn / passed, 1),
                "cpu_ms_a_frame": round(1000 * worked / drawn) if drawn else None,
                "memory_mb": round((memory(browser.process.pid) - empty) / 1e6),
                "file_mb": round(page.stat().st_size / 1e6, 2),
            }
            if arguments.keep is not None:
                arguments.keep.mkdir(parents=True, exist_ok=True)
                browser.screenshot(arguments.keep / f"{page.stem}_{count}.png")
            return row
        except AssertionError as error:
            return {"error": " ".join(str(error).split())[:200]}
        finally:
            browser.close()


def family(root: int) -> set[int]:
    """A process and all its descendants (Linux)."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := status(int(folder.name))):
            parents[int(folder.name)] = int(fields[1])
    found, grown = {root}, True
    while grown:
        grown = bool(more := {p for p, parent in parents.items() if parent in found} - found)
        found |= more
    return found


def status(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; none where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def processor_seconds(root: int) -> float:
    """User and system time that a process and its descendants have taken."""
    ticks = sum(int(fields[11]) + int(fields[12]) for pid in family(root) if (fields := status(pid)))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(root: int) -> int:
    """Proportional set size in bytes of a process and its descendants."""
    total = 0
    for pid in family(root):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
    return total


def write_viser4d(scene: Gaussians4D, page: Path) -> None:
    """viser4d's own export of 24 recorded states."""
    import viser4d  # type: ignore[import-not-found]

    server = viser4d.Viser4dServer(num_steps=FRAMES, fps=STATES_PER_SECOND, loop=True, host="127.0.0.1", port=0)
    try:
        server.initial_camera.position = (0.0, -2.0, 0.0)
        server.initial_camera.look_at = (0.0, 0.0, 0.0)
        server.initial_camera.fov = float(np.radians(39.6))
        for i, g in enumerate(scene.sampled(torch.linspace(0, 1, FRAMES))):
            turn = quaternion_matrix(torch.nn.functional.normalize(g.quats, dim=-1)) * g.log_scales.exp()[:, None]
            with server.at(i) as timeline:
                timeline.scene.add_gaussian_splats(
                    "/splats",
                    centers=g.means.numpy(),
                    covariances=(turn @ turn.mT).numpy(),
                    rgbs=g.base_colors.clamp(0, 1).numpy(),
                    opacities=g.logit_opacities.sigmoid()[:, None].numpy(),
                )
        page.write_text(server.as_html())
    finally:
        server.stop()


def write_spark(scene: Gaussians4D, page: Path, *, script: str) -> None:
    """A page with one .splat file for each of 24 states."""
    parts = ["<!doctype html><meta charset='utf-8'><style>body { margin: 0 }</style><body>"]
    for i, g in enumerate(scene.sampled(torch.linspace(0, 1, FRAMES))):
        data = base64.b64encode(splat_file(g)).decode("ascii")
        parts.append(f"<script type='text/plain' id='frame{i}'>{data}</script>")
    page.write_text("".join([*parts, "<script type='module'>", script, "</script>"]))


def splat_file(g: Gaussians) -> bytes:
    """The 32 bytes a Gaussian of the .splat format: position, linear scale, rgba, quaternion wxyz."""
    record = np.dtype([("place", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("quat", "u1", 4)])
    table = np.empty(len(g), record)
    rgba = torch.cat([g.base_colors.clamp(0, 1), g.logit_opacities.sigmoid()[:, None]], dim=1)
    quats = torch.nn.functional.normalize(g.quats, dim=-1)
    table["place"], table["scale"] = g.means.numpy(), g.log_scales.exp().numpy()
    table["rgba"] = (rgba * 255).round().numpy()
    table["quat"] = (quats * 128 + 128).round().clamp(0, 255).numpy()
    return table.tobytes()


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
