"""The stand-alone page in headless Chromium, judged by its pixels."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from orbit4d.cameras import Orbit
from orbit4d.export.html import write_html
from orbit4d.splat.gaussians import Gaussians, Gaussians4D
from orbit4d.splat.rasterize import render

CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page cannot be opened")
SIDE = 160


class Slide:
    """Everything moves by 0.4 along +x over time; the second half also rises."""

    kind = "test"

    def config(self) -> dict:
        return {}

    def state_dict(self) -> dict:
        return {}

    def __call__(self, g: Gaussians, time: float | torch.Tensor) -> Gaussians:
        t = float(time)
        shift = torch.zeros_like(g.means)
        shift[:, 0] = 0.4 * t - 0.2
        shift[len(g) // 2 :, 2] = 0.3 * t
        return Gaussians(
            means=g.means + shift, quats=g.quats, log_scales=g.log_scales, logit_opacities=g.logit_opacities, sh=g.sh
        )


@pytest.fixture(scope="module")
def scene() -> Gaussians4D:
    """An asymmetric toy: a red block, a green tail to its right, a blue hat; no mirror image equals it."""
    generator = torch.Generator().manual_seed(0)
    n = 400
    means = 0.18 * torch.randn(3 * n, 3, generator=generator).clamp(-1.5, 1.5)
    means[n : 2 * n] = means[n : 2 * n] * torch.tensor([0.6, 0.3, 0.3]) + torch.tensor([0.4, 0.0, -0.1])
    means[2 * n :] = means[2 * n :] * torch.tensor([0.4, 0.4, 0.5]) + torch.tensor([-0.1, -0.1, 0.4])
    colors = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.1, 0.2, 0.9]]).repeat_interleave(n, 0)
    canonical = Gaussians(
        means=means,
        quats=torch.randn(3 * n, 4, generator=generator),
        log_scales=torch.log(torch.tensor([0.05, 0.02, 0.03])).expand(3 * n, 3).clone(),
        logit_opacities=torch.full((3 * n,), 1.5),
        sh=((colors - 0.5) / 0.28209479177387814)[:, None],
    )
    return Gaussians4D(canonical=canonical, deformation=Slide())


# Time, azimuth, elevation, radius; the last two times lie between keyframes.
SHOTS = [
    (0.0, 0, 0, 2.0),
    (1.0, 0, 0, 2.0),
    (0.5, 90, 0, 2.0),
    (0.25, 200, 25, 2.4),
    (0.3, 45, -20, 2.0),
    (0.9, 0, 0, 2.0),
]


@pytest.fixture(scope="module")
def shots(scene, tmp_path_factory) -> list[np.ndarray]:
    """The page's own pixels for SHOTS, (SIDE, SIDE, 3) in [0, 1], top row first."""
    folder = tmp_path_factory.mktemp("page")
    page = write_html(scene, folder / "scene.html", frames=9, title="toy <b>&")
    script = """<script>
    const shots = SHOTS, wait = setInterval(() => {
      if (!window.orbit4d) return;
      clearInterval(wait);
      const look = (t, a, e, r) => { orbit4d.setTime(t); orbit4d.setCamera(a, e, r, [0, 0, 0]); };
      const out = shots.map((shot) => { look(...shot); return orbit4d.snapshot(SIDE); });
      document.body.insertAdjacentHTML("beforeend", "<pre id=shots>" + out.join(" ") + "</pre>");
    }, 50);</script>"""
    script = script.replace("SHOTS", str([list(s) for s in SHOTS])).replace("SIDE", str(SIDE))
    images = [np.frombuffer(base64.b64decode(text), np.uint8) for text in probe(page, script).split()]
    return [image.reshape(SIDE, SIDE, 4)[::-1, :, :3] / 255 for image in images]


def probe(page: Path, script: str, *, first: str = "", flags: tuple[str, ...] = ()) -> str:
    """What `script` left in <pre id=shots> of `page`; `first` runs before the player."""
    text = page.read_text().replace("<body>", f"<body><script>{first}</script>").replace("</body>", script + "</body>")
    copy = page.with_name("probe.html")
    copy.write_text(text)
    dom = open_page(copy, page.parent, flags=flags)
    found = re.search(r'<pre id="shots">([^<]+)</pre>', dom)
    assert found, f"the page reported nothing; its message: {re.findall(r'id=.message.[^>]*>([^<]*)', dom)}"
    return found.group(1)


def open_page(page: Path, folder: Path, *, flags: tuple[str, ...] = ()) -> str:
    """The DOM after the page has run, in a fresh headless Chromium without any network."""
    command = [
        str(CHROMIUM),
        "--headless=new",
        "--no-sandbox",
        "--use-gl=angle",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=20000",
        "--window-size=400,400",
        *flags,
        "--dump-dom",
        page.as_uri(),
    ]
    environment = {**os.environ, "HOME": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment).stdout


def test_not_blank(shots):
    for image in shots:
        assert 0.02 < (image.min(-1) < 0.9).mean() < 0.6


def test_changes_with_time_and_viewpoint(shots):
    assert np.abs(shots[0] - shots[1]).mean() > 0.01
    assert np.abs(shots[0] - shots[2]).mean() > 0.01


def test_agrees_with_the_rasteriser(scene, shots):
    """Mirrored, upside-down or time-reversed playback would fail: the toy is asymmetric and moves."""
    for image, (t, azimuth, elevation, radius) in zip(shots, SHOTS, strict=True):
        orbit = Orbit(frames=2, azimuth_start_deg=azimuth, elevation_deg=elevation, radius=radius)
        expected = render(scene.at(t), orbit.cameras(SIDE)[:1], background=1.0).rgb[0].permute(1, 2, 0).numpy()
        psnr = -10 * np.log10(((image - expected) ** 2).mean())
        assert psnr > 27, f"time {t}, azimuth {azimuth}: {psnr:.1f} dB"


# Reports after the page has come to rest: draws in a further while, and how many pixels are not background.
AT_REST = """<script>
const wait = setInterval(() => {
  if (!window.orbit4d) return;
  clearInterval(wait);
  orbit4d.pause();
  setTimeout(() => { const before = draws; setTimeout(() => {
    const gl = document.getElementById("view").getContext("webgl2"), w = gl.drawingBufferWidth, h = gl.drawingBufferHeight;
    const p = new Uint8Array(4 * w * h);
    gl.readPixels(0, 0, w, h, gl.RGBA, gl.UNSIGNED_BYTE, p);
    let inked = 0;
    for (let i = 0; i < p.length; i += 4) inked += Math.min(p[i], p[i + 1], p[i + 2]) < 200;
    document.body.insertAdjacentHTML("beforeend", `<pre id=shots>${draws - before} ${inked / (w * h)}</pre>`);
  }, 2000); }, 2000);
}, 50);</script>"""
COUNT_DRAWS = """let draws = 0; const P = WebGL2RenderingContext.prototype, D = P.drawArraysInstanced;
P.drawArraysInstanced = function (...a) { draws++; return D.apply(this, a); };"""
WORKERS = {
    "works": "",
    "refused": "window.Worker = function () { throw new Error('refused'); };",
    "dies": "const B = Blob; window.Blob = function (parts, o) { return new B(o ? ['throw 1'] : parts, o); };",
}


@pytest.mark.parametrize("worker", WORKERS)
def test_at_rest_it_shows_the_asset_and_does_no_work(scene, tmp_path, worker):
    page = write_html(scene, tmp_path / "scene.html", frames=3)
    flags = ("--force-prefers-reduced-motion",)
    draws, inked = probe(page, AT_REST, first=COUNT_DRAWS + WORKERS[worker], flags=flags).split()
    assert int(draws) == 0
    assert float(inked) > 0.05


def test_title_is_only_text(scene, tmp_path):
    text = write_html(scene, tmp_path / "scene.html", frames=3, title="{{data}} {{header}}").read_text()
    assert "<title>{{data}} {{header}}</title>" in text


def test_page_is_self_contained(scene, tmp_path):
    text = write_html(scene, tmp_path / "scene.html", frames=3, title="</title><script>alert(1)</script>").read_text()
    assert not re.search(r"""(?:src|href)\s*=|https?://|@import|fetch\(""", text)
    assert "<script>alert" not in text
