"""The studio in headless Chromium, used as a person would: from the prompt to the download, and again after a restart."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from splat_fixtures import moving_orbit, object_at
from studio_browser import CHROMIUM, Browser, browser, wait_for

from orbit4d.cameras import Cameras
from orbit4d.export.glb import write_glb
from orbit4d.export.ply import write_ply
from orbit4d.imports.splat import LAYOUT
from orbit4d.pipeline import load_static, reconstruct
from orbit4d.splat.io import load_scene
from orbit4d.splat.rasterize import render

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the studio cannot be opened")
pytest.importorskip("viser", reason="viser is not installed: pip install 'orbit4d[studio]'")

from orbit4d.studio.app import Address, Studio, open_viewer  # noqa: E402
from orbit4d.studio.runs import INPUTS  # noqa: E402

SIDE = 180
"""Pixels of the middle of the 3D view that are compared."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def _inked(page: Browser) -> float:
    """Share of the pixels between the panels that are not background; below viser's note about slow machines."""
    image = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    left, _, width, _ = _canvas(page)
    return float((image[200:, int(left) + 10 : int(left + width) - 10].min(axis=-1) < 200).mean())


def _canvas(page: Browser) -> list[float]:
    """Left, top, width and height of the 3D view."""
    script = (
        "(({x, y, width, height}) => [x, y, width, height])(document.querySelector('canvas').getBoundingClientRect())"
    )
    return page.run(script)


def _small(page: Browser, *, steps: int, fit_steps: int) -> None:
    """Settings that make a run short."""
    page.set("Denoising steps", str(steps))
    page.set("Fit steps", str(fit_steps))


def test_from_prompt_to_download_and_after_a_restart(page: Browser, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with Studio(runs, Address(port=0, token=True)) as studio:
        page.open(studio.url)
        page.until_text("Ready.")
        assert page.run("location.href").endswith("/") and "token" not in page.run("document.cookie")
        assert _inked(page) < 0.001

        # A strange word is told before anything is computed
        page.set("Prompt", "a zeppelin humming")
        page.until_text("nearest in meaning")
        page.set("Prompt", "a fox <b>running</b>")
        page.until("!document.body.innerText.includes('nearest in meaning')", "the warning stays")

        # A run, followed to its end
        page.click("Settings")
        _small(page, steps=1, fit_steps=12)
        page.choose("Frame size", "64")
        page.toggle("Sample a static orbit, too")
        wait_for(lambda: studio.create.wish().size == 64, lambda: "the size was not taken")
        wait_for(lambda: not studio.create.wish().sample_static, lambda: "the box was not unticked")
        wish = studio.create.wish()
        assert (wish.steps, wish.fit_steps, wish.sample_static, wish.motion) == (1, 12, False, None)
        page.click("Generate")
        page.until_text("So far")
        assert page.run("[...document.images].some((i) => i.naturalWidth > 4 * 100)")  # frames side by side
        page.until_text("Pause")
        assert "a fox <b>running</b>" in page.run("document.body.innerText")  # as text

        # The timeline
        playback = studio.result.playback
        moment = playback.time
        wait_for(lambda: playback.time != moment, lambda: "it does not play")
        page.click("Pause")
        page.until_text("Play")
        assert not playback.playing

        def set_to_half() -> bool:  # again where the last moment before the pause arrived after it
            page.set("Time", "0.5")
            return abs(playback.time - 0.5) < 0.01

        wait_for(set_to_half, lambda: f"the time is {playback.time}")
        wait_for(lambda: _inked(page) > 0.005, lambda: "the 3D view shows nothing")

        # Downloads
        page.click("Web page")
        file = _downloaded(page, "*.html")
        assert "window" in file.read_text() and "a-fox" in file.name

        # Another run, cancelled
        _small(page, steps=100, fit_steps=12)
        page.click("Generate")
        page.click("Cancel")
        page.until_text("cancelled")
        assert studio.queue.current is None and not [p for p in runs.glob(".*") if p.is_dir() and p.name != ".inputs"]

        # What is no image is one line
        bad = tmp_path / "bad.png"
        bad.write_bytes(b"not a picture")
        page.choose("Make from", "an image")
        page.until_text("Upload image")
        page.choose_file(0, bad)
        page.until_text("cannot be read as an image")
        assert len(studio.runs.all()) == 1

    with Studio(runs, Address(port=0)) as studio:
        page.open(studio.url)
        page.click("Gallery")
        page.until_text("1 run in")
        page.click("Open")
        page.click("Pause")
        wait_for(lambda: _inked(page) > 0.005, lambda: "the 3D view shows nothing")
    assert not page.errors


def test_uploads(page: Browser, tmp_path: Path) -> None:
    """Image, mask, video and assets, the good and the bad: what is wrong is one line, and nothing of it stays."""
    files = _files(tmp_path)
    with Studio(tmp_path / "runs", Address(port=0), max_upload_mib=1) as studio:

        def kept() -> set[str]:
            return {path.name[17:] for path in (studio.runs.folder / INPUTS).iterdir()}

        def upload(name: str, *, says: str, keeps: set[str], index: int = 0) -> None:
            page.choose_file(index, files[name])
            page.until_text(says)
            wait_for(lambda: kept() == keeps, lambda: f"{name}: {kept()} are kept")

        page.open(studio.url)
        page.until_text("Ready.")
        page.choose("Make from", "an image")
        page.until_text("no file yet")
        upload("plain.png", says="plain.png, ", keeps={"plain.png"})
        page.until_text("What the model is shown")
        upload("busy.png", says="cannot tell the object from its background", keeps={"busy.png"})
        page.click("Foreground and view")
        upload("mask.png", says="mask.png marks the object", keeps={"busy.png", "mask.png"}, index=1)
        assert "cannot tell" not in page.run("document.body.innerText")
        upload("small.png", says="mask: small.png is 128 x 50, the image is 128 x 96", keeps={"busy.png"}, index=1)
        upload("mask.png", says="mask.png marks the object", keeps={"busy.png", "mask.png"}, index=1)
        assert studio.create.wish().caption
        page.toggle("Guess its words")
        wait_for(lambda: not studio.create.wish().caption, lambda: "the words are still guessed")
        page.click("Remove mask")
        wait_for(lambda: kept() == {"busy.png"}, lambda: f"{kept()} are kept")
        upload("large.png", says="larger than 1 MiB", keeps={"busy.png"})
        page.click("Upload image")  # waits until it is not disabled; a headless page opens no dialogue
        upload("text.txt", says="got '.txt'", keeps={"busy.png"})
        upload("bad.png", says="bad.png: cannot be read as an image", keeps=set())
        page.until("!document.body.innerText.includes('Foreground and view')", "the mask can still be given")

        def is_refused() -> bool:  # again where the panel still moved under the mouse
            page.click("Generate")
            return "upload an image first" in page.run("document.body.innerText")

        wait_for(is_refused, lambda: "a run without a file is not refused")

        page.choose("Make from", "a 3D asset")
        upload("bad.glb", says="bad.glb: does not begin as a .glb file does", keeps=set())
        for name in ("ball.glb", "ball.splat", "ball.ply"):
            upload(name, says=f"{name}, ", keeps={name})
            assert len(load_static(studio.create.wish().static or "")) == 24, name
        page.choose("Up axis", "y-down")
        wait_for(lambda: studio.create.wish().static_up == "y-down", lambda: "the axis was not taken")

        page.choose("Make from", "a video")
        upload("bad.mp4", says="bad.mp4, ", keeps={"bad.mp4", "ball.ply"})
        page.click("Generate")
        page.until_text("video: bad.mp4: cannot be read as a video")
        assert str(INPUTS) not in page.run("document.body.innerText")
        upload("busy.mp4", says="busy.mp4, ", keeps={"busy.mp4", "ball.ply"})
        upload("mask.png", says="mask.png marks the object", keeps={"busy.mp4", "mask.png", "ball.ply"}, index=1)
        page.click("Settings")
        _small(page, steps=1, fit_steps=4)
        page.choose("Frame size", "64")
        page.toggle("Sample a static orbit, too")
        wait_for(lambda: not studio.create.wish().sample_static, lambda: "the box was not unticked")
        page.click("Generate")
        page.until_text("Pause")
        assert [run.title for run in studio.runs.all()] == ["busy.mp4"]
        assert not [f for f in studio.runs.folder.glob(".*") if f.is_dir() and f.name != INPUTS]
    assert not page.errors


def _files(folder: Path) -> dict[str, Path]:
    """What is uploaded, by name: an object on white and on noise, its mask, videos, assets, and what is none of these."""
    import imageio.v3 as iio

    y, x = np.mgrid[:96, :128]
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    disc = (x - 50) ** 2 + (y - 48) ** 2 < 400
    plain, busy = (np.where(disc[..., None], np.uint8([200, 60, 30]), b) for b in (np.full_like(noise, 255), noise))
    pictures = {"plain": plain, "busy": busy, "mask": np.uint8(disc * 255), "small": np.uint8(disc[:50] * 255)}
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / f"{name}.png")
    iio.imwrite(folder / "busy.mp4", np.stack([np.roll(busy, k, axis=1) for k in range(4)]), fps=4)
    ball = object_at(0.5)
    write_ply(ball, folder / "ball.ply")
    table = np.zeros(len(ball), LAYOUT)
    table["position"], table["scale"], table["rgba"] = ball.means.numpy(), ball.log_scales.exp().numpy(), 255
    table["rotation"] = 255, 128, 128, 128
    (folder / "ball.splat").write_bytes(table.tobytes())
    write_glb(ball, folder / "ball.glb")
    (folder / "large.png").write_bytes(bytes(2**20 + 1))
    for name in ("bad.png", "bad.glb", "bad.mp4", "text.txt"):
        (folder / name).write_bytes(b"nothing of the kind")
    return {file.name: file for file in folder.iterdir() if file.is_file()}


def _downloaded(page: Browser, pattern: str) -> Path:
    found = wait_for(
        lambda: [f for f in page.downloads.glob(pattern) if f.stat().st_size],
        lambda: f"no {pattern} arrives; the page says: {page.run('document.body.innerText')}",
    )
    return found[0]


def test_the_viewer_draws_what_the_rasteriser_draws(page: Browser, tmp_path: Path) -> None:
    """Mirrored, turned, time-shifted or wrongly scaled splats would fail: the object is asymmetric and moves."""
    reconstruct(moving_orbit(size=64, frames=8), out=tmp_path / "arm", steps=60, progress=False)
    scene = load_scene(tmp_path / "arm" / "scene.safetensors")
    with open_viewer(tmp_path / "arm", Address(port=0)) as viewer:
        page.open(viewer.url)
        page.until_text("Pause")
        page.click("Pause")
        client = wait_for(lambda: next(iter(viewer.server.get_clients().values()), None), lambda: "nobody looks")
        viewer.result.playback.seek(1.0)
        wait_for(lambda: _inked(page) > 0.002, lambda: "the 3D view shows nothing")
        camera = client.camera
        left, top, width, height = _canvas(page)
        pose = torch.eye(4)
        pose[:3, :3] = torch.from_numpy(_matrix(camera.wxyz)).float()
        pose[:3, 3] = torch.from_numpy(np.asarray(camera.position)).float()
        focal = height / 2 / np.tan(camera.fov / 2)
        seen = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), dtype=np.float32) / 255
    middle = slice(int(top + height / 2) - SIDE // 2, None), slice(int(left + width / 2) - SIDE // 2, None)
    seen = seen[middle][:SIDE, :SIDE]
    intrinsics = torch.tensor([[focal, 0, SIDE / 2], [0, focal, SIDE / 2], [0, 0, 1]], dtype=torch.float32)
    cameras = Cameras(camera_to_world=pose[None], intrinsics=intrinsics[None], width=SIDE, height=SIDE)
    drawn, other = (render(scene.at(t), cameras, background=1.0).rgb[0].permute(1, 2, 0).numpy() for t in (1.0, 0.0))
    score = _psnr(seen, drawn)
    assert score > 24, f"{score:.1f} dB"
    assert score > _psnr(seen, other) + 2 and score > _psnr(seen, drawn[:, ::-1]) + 2


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(a - b).mean()))


def _matrix(wxyz: np.ndarray) -> np.ndarray:
    import viser.transforms

    return viser.transforms.SO3(np.asarray(wxyz, np.float64)).as_matrix()
