"""Generate assets as a user would, open every page in headless Chromium, and lay out what it shows.

    python benchmarks/generate.py --out benchmarks/results/generate.json --pictures out/generate

Cases: three prompts, an image (out of the model's vocabulary), a static GLB (a family that the model has not seen) and a
static GLB of the vocabulary with a prompt. Each is one run of `orbit4d generate` in a process of its own, so that
seconds and peak memory are those of the command. Sheets: the page at eight times from azimuth 0, then from eight azimuths
at time 0.5.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from shared import DATA, save_sheet, write_report

CASES = {
    "fox": ["--prompt", "a fox running"],
    "robot": ["--prompt", "a robot dancing"],
    "clownfish": ["--prompt", "a clownfish swimming"],
    "catstatue": ["--image", str(DATA / "inputs" / "catstatue_rgba.png")],
    "static_unseen": ["--static", str(DATA / "assets" / "q_animals_ShibaInu.glb"), "--prompt", "a fox running"],
    "static_cow": ["--static", str(DATA / "assets" / "q_animals_Cow.glb"), "--prompt", "a cow walking"],
}
SIDE = 160
VIEWS = [(t / 7, 0.0) for t in range(8)] + [(0.5, 45.0 * i) for i in range(8)]


@dataclass(kw_only=True)
class Arguments:
    out: Path | None = None
    """JSON report; printed only when left out."""
    pictures: Path = Path("out/generate")
    """Folder for the assets (one folder a case) and the sheets."""
    weights: Path | None = None
    """Another model; the built-in one when left out."""
    cases: tuple[str, ...] = tuple(CASES)
    options: tuple[str, ...] = ()
    """More options of `orbit4d generate`, for every case."""


def main(arguments: Arguments) -> None:
    results = []
    for name in arguments.cases:
        folder = arguments.pictures / name
        command = [sys.executable, "-m", "orbit4d", "generate", *CASES[name], *arguments.options, "--out", str(folder)]
        if arguments.weights:
            command += ["--weights", str(arguments.weights)]
        started = time.monotonic()
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        seconds = time.monotonic() - started
        report = json.loads((folder / "report.json").read_text())
        page = folder / "scene.html"
        entry = {
            "case": name,
            "arguments": [a.replace(str(DATA), "DATA") for a in CASES[name]],
            "seconds_wall": round(seconds, 1),
            "seconds": report["seconds"],
            "peak_memory_mib": report["peak_memory_mib"],
            "page_mib": round(page.stat().st_size / 2**20, 2),
            "scores": report["scores"],
            "weights_hash": report["weights_hash"],
            "caption": report["caption"],
        }
        frames = open_page(page)
        if frames is not None:
            entry["page"] = {
                "covered": round(float((frames.min(1).values < 0.95).float().mean()), 4),
                "changes_with_time": round(float((frames[0] - frames[4]).abs().mean()), 4),
                "changes_with_view": round(float((frames[8] - frames[10]).abs().mean()), 4),
            }
            rows = [torch.cat(list(frames[:8]), dim=-1), torch.cat(list(frames[8:]), dim=-1)]
            save_sheet(rows, arguments.pictures / f"{name}.png")
        print(entry, flush=True)
        results.append(entry)
    write_report(arguments.out, {"benchmark": "generate, as a user runs it", "cases": results})


def open_page(page: Path) -> torch.Tensor | None:
    """(16, 3, SIDE, SIDE) pixels of the page at VIEWS; None without Chromium."""
    chromium = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if chromium is None:
        return None
    script = f"""<script>
    const views = {json.dumps(VIEWS)}, wait = setInterval(() => {{
      if (!window.orbit4d) return;
      clearInterval(wait);
      const out = views.map(([t, a]) => {{ orbit4d.setTime(t); orbit4d.setCamera(a, 0); return orbit4d.snapshot({SIDE}); }});
      document.body.insertAdjacentHTML("beforeend", "<pre id=shots>" + out.join(" ") + "</pre>");
    }}, 50);</script>"""
    flags = (
        "--headless=new --no-sandbox --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader --no-first-run"
    )
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "page.html"
        copy.write_text(page.read_text().replace("</body>", script + "</body>"))
        quiet = "--disable-background-networking --disable-component-update --disable-sync --virtual-time-budget=20000"
        command = [chromium, *flags.split(), *quiet.split(), f"--user-data-dir={temporary}/profile", "--dump-dom"]
        dom = subprocess.run(
            [*command, copy.as_uri()], capture_output=True, text=True, env={**os.environ, "HOME": temporary}
        ).stdout
    found = re.search(r'<pre id="shots">([^<]+)</pre>', dom)
    if found is None:
        raise SystemExit(f"{page}: the page reported nothing")
    images = [np.frombuffer(base64.b64decode(text), np.uint8) for text in found.group(1).split()]
    pixels = np.stack([image.reshape(SIDE, SIDE, 4)[::-1] for image in images])
    rgba = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).float() / 255
    return rgba[:, :3] + 1 - rgba[:, 3:]  # premultiplied, on white


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
