"""The stand-alone page in headless Chromium, judged by its pixels and by what its controls do."""

from __future__ import annotations

import base64
import gzip
import re
import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from chromium import CHROMIUM, Chromium
from PIL import Image
from splat_fixtures import changed_glb

import orbit4d
from orbit4d.cameras import Orbit
from orbit4d.export.html import write_html
from orbit4d.splat.gaussians import SH_C0, Gaussians, Gaussians4D
from orbit4d.splat.hexplane import quaternion_exp, quaternion_multiply
from orbit4d.splat.rasterize import render

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page cannot be opened")
SIDE = 160
WEB = Path(__file__).parent.parent / "web"


class Slide:
    """Everything moves by 0.4 along +x over time; the second half also rises. `lively`: all else changes, too."""

    kind = "test"

    def __init__(self, lively: bool = False) -> None:
        self.lively = lively

    def config(self) -> dict:
        return {}

    def state_dict(self) -> dict:
        return {}

    def __call__(self, g: Gaussians, time: float | torch.Tensor) -> Gaussians:
        t = float(time)
        shift = torch.zeros_like(g.means)
        shift[:, 0] = 0.4 * t - 0.2
        shift[len(g) // 2 :, 2] = 0.3 * t
        moved = Gaussians(**vars(g) | {"means": g.means + shift})
        if self.lively:
            turn = quaternion_exp(torch.tensor([[2.0 * t, 1.0 * t, 0.0]])).expand_as(g.quats)
            moved.quats = quaternion_multiply(turn, torch.nn.functional.normalize(g.quats, dim=-1))
            moved.log_scales = g.log_scales + 0.5 * t
            moved.logit_opacities = g.logit_opacities - 4 * t
            moved.sh = g.sh.clone()
            moved.sh[:, 0] += torch.tensor([0.0, 1.0, -1.0]) * t
        return moved


def toy(*, lively: bool = False, n: int = 400) -> Gaussians4D:
    """An asymmetric toy: a red block, a green tail to its right, a blue hat, `n` Gaussians each; no mirror image equals it."""
    generator = torch.Generator().manual_seed(0)
    means = 0.18 * torch.randn(3 * n, 3, generator=generator).clamp(-1.5, 1.5)
    means[n : 2 * n] = means[n : 2 * n] * torch.tensor([0.6, 0.3, 0.3]) + torch.tensor([0.4, 0.0, -0.1])
    means[2 * n :] = means[2 * n :] * torch.tensor([0.4, 0.4, 0.5]) + torch.tensor([-0.1, -0.1, 0.4])
    colors = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.1, 0.2, 0.9]]).repeat_interleave(n, 0)
    sh = ((colors - 0.5) / SH_C0)[:, None]
    if lively:
        sh = torch.cat([sh, 0.3 * torch.randn(1, 3, 3, generator=generator).expand(3 * n, 3, 3)], dim=1)
    canonical = Gaussians(
        means=means,
        quats=torch.randn(3 * n, 4, generator=generator),
        log_scales=torch.log(torch.tensor([0.05, 0.02, 0.03])).expand(3 * n, 3).clone(),
        logit_opacities=torch.full((3 * n,), 1.5),
        sh=sh,
    )
    return Gaussians4D(canonical=canonical, deformation=Slide(lively))


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    return write_html(toy(), folder / "scene.html", frames=9, title="toy <b>&")


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    browser = Chromium(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture
def browser(window) -> Chromium:
    """The module's browser as it was at first."""
    window.size(400, 400)
    window.emulate(motion="reduce")
    return window


@pytest.fixture
def player(browser, page) -> Chromium:
    """The toy's page, open and at rest."""
    browser.open(page)
    return browser


# Time, azimuth, elevation, radius; the last two times lie between knots.
SHOTS = [
    (0.0, 0, 0, 2.0),
    (1.0, 0, 0, 2.0),
    (0.5, 90, 0, 2.0),
    (0.25, 200, 25, 2.4),
    (0.3, 45, -20, 2.0),
    (0.9, 0, 0, 2.0),
]


def shoot(browser: Chromium) -> list[np.ndarray]:
    """The page's own pixels for SHOTS on white, (SIDE, SIDE, 3) in [0, 1], top row first."""
    images = []
    for time, azimuth, elevation, radius in SHOTS:
        browser.js(f"orbit4d.setTime({time}), orbit4d.setCamera({azimuth}, {elevation}, {radius}, [0, 0, 0])")
        data = np.frombuffer(base64.b64decode(browser.js(f"orbit4d.snapshot({SIDE})")), np.uint8)
        rgba = data.reshape(SIDE, SIDE, 4)[::-1] / 255
        images.append(rgba[..., :3] + 1 - rgba[..., 3:])
    return images


@needs_chromium
@pytest.mark.parametrize(("lively", "n", "far"), [(False, 400, 0), (True, 400, 0), (True, 1400, 0), (False, 400, 1e3)])
def test_agrees_with_the_rasteriser(browser, tmp_path, lively, n, far):
    """Mirrored, upside-down or time-reversed playback would fail: the toy is asymmetric and moves.

    The lively one turns, grows, fades, changes its colour and shines differently from every side. The largest fills more
    than one row of 4,096 of the textures. One Gaussian far away makes the file hold floats.
    """
    scene = toy(lively=lively, n=n)
    scene.canonical.means[5] += far
    browser.size(SIDE, SIDE)  # what is drawn on the screen between the snapshots costs time
    browser.open(write_html(scene, tmp_path / "scene.html", frames=9))
    images = shoot(browser)
    for image, (t, azimuth, elevation, radius) in zip(images, SHOTS, strict=True):
        assert 0.02 < (image.min(-1) < 0.9).mean() < 0.6
        orbit = Orbit(frames=2, azimuth_start_deg=azimuth, elevation_deg=elevation, radius=radius)
        expected = render(scene.at(t), orbit.cameras(SIDE)[:1], background=1.0).rgb[0].permute(1, 2, 0).numpy()
        psnr = -10 * np.log10(((image - expected.clip(0, 1)) ** 2).mean())
        assert psnr > 32, f"time {t}, azimuth {azimuth}: {psnr:.1f} dB"
    assert np.abs(images[0] - images[1]).mean() > 0.01 and np.abs(images[0] - images[2]).mean() > 0.01


COUNT_DRAWS = """let draws = 0; const P = WebGL2RenderingContext.prototype, D = P.drawElementsInstanced;
P.drawElementsInstanced = function (...a) { draws++; return D.apply(this, a); };"""
WORKERS = {
    "works": "",
    "refused": "window.Worker = function () { throw new Error('refused'); };",
    "dies": "const B = Blob; window.Blob = function (parts, o) { return new B(o ? ['throw 1'] : parts, o); };",
}


@needs_chromium
@pytest.mark.parametrize("worker", WORKERS)
def test_at_rest_it_shows_the_asset_and_does_no_work(browser, page, worker):
    browser.open(page, first=COUNT_DRAWS + WORKERS[worker])
    browser.key("ArrowLeft")  # asks for another order
    previous = -1
    while previous != (previous := browser.js("draws")):  # until the order has come and nothing is drawn any more
        browser.settle(20)
    assert inked(browser) > 0.02
    browser.settle(20)
    assert browser.js("draws") == previous
    browser.js("orbit4d.play()")
    browser.until(f"draws > {previous} + 2")


def inked(browser: Chromium) -> float:
    """Share of the screen that is neither white nor grey, above the controls."""
    image = browser.screenshot()[:300]
    return float(((image.max(-1) - image.min(-1)) > 0.2).mean())


def state(browser: Chromium) -> dict:
    return browser.js("orbit4d.state()")


@needs_chromium
def test_keyboard(player):
    home = state(player)
    player.key("ArrowLeft")
    player.key("ArrowUp")
    turned = state(player)
    assert turned["azimuth"] < home["azimuth"] and turned["elevation"] > home["elevation"]
    player.key("+")
    assert state(player)["radius"] < turned["radius"]
    player.key("ArrowRight", shift=True)
    assert state(player)["target"] != home["target"] and state(player)["azimuth"] == turned["azimuth"]
    player.key("r")
    assert {k: state(player)[k] for k in ("azimuth", "elevation", "radius", "target")} == {
        k: home[k] for k in ("azimuth", "elevation", "radius", "target")
    }
    player.key("End")
    assert state(player)["time"] == 1
    player.key(",")
    assert 0.8 < state(player)["time"] < 1
    player.key(" ")
    assert state(player)["playing"]
    player.key(" ")
    assert not state(player)["playing"]
    player.key("l")
    assert not state(player)["loop"]
    assert player.js("document.getElementById('loop').getAttribute('aria-pressed')") == "false"
    player.key("s")
    assert "1,200 splats" in player.js("document.getElementById('stats').textContent")


@needs_chromium
def test_mouse(player):
    home, before = state(player), player.screenshot()
    player.mouse((200, 150), (230, 150), (260, 170))
    turned = state(player)
    assert turned["azimuth"] == pytest.approx(home["azimuth"] - 24) and turned["elevation"] == pytest.approx(8)
    assert turned["target"] == home["target"]
    player.mouse((200, 150), (260, 150), shift=True)
    assert state(player)["target"] != home["target"] and state(player)["azimuth"] == turned["azimuth"]
    player.wheel(200, 150, -240)
    assert state(player)["radius"] < home["radius"]
    assert np.abs(player.screenshot() - before)[:300].mean() > 0.01
    player.click("#reset")
    player.until("orbit4d.state().azimuth === 0")


@needs_chromium
def test_touch(browser, page):
    browser.size(360, 640, mobile=True)
    browser.open(page)
    home = state(browser)
    browser.touch([(150, 200)], [(170, 200)], [(200, 200)])
    turned = state(browser)
    assert turned["azimuth"] == pytest.approx(home["azimuth"] - 20) and turned["radius"] == home["radius"]
    browser.touch([(150, 200), (200, 200)], [(140, 200), (210, 200)], [(100, 200), (250, 200)])
    assert state(browser)["radius"] < 0.5 * home["radius"]


@needs_chromium
def test_time_slider_and_speed(player):
    before = player.screenshot()
    player.click("#time")
    middle = state(player)["time"]
    assert 0.4 < middle < 0.6 and not state(player)["playing"]
    assert np.abs(player.screenshot() - before)[:300].mean() > 0.005
    player.key("ArrowRight")  # the slider has the focus: time, not the camera
    assert state(player)["time"] > middle and state(player)["azimuth"] == 0
    assert re.fullmatch(r"\d\.\d / 1\.0 s", player.js("document.getElementById('time').getAttribute('aria-valuetext')"))
    player.js("const s = document.getElementById('speed'); s.value = '0.25'; s.dispatchEvent(new Event('change'))")
    assert state(player)["speed"] == 0.25
    player.click("#play")
    player.until(f"orbit4d.state().playing && orbit4d.state().time !== {state(player)['time']}")


@needs_chromium
def test_it_starts_at_the_beginning_however_long_it_took_to_open(browser, page):
    browser.emulate()
    browser.open(page, first="window.requestAnimationFrame = (f) => { window.held = f; return 1; };")
    browser.js("held(performance.now())")
    assert state(browser)["playing"] and state(browser)["time"] == 0
    browser.js("window.from = performance.now(), held(from), held(from + 100)")
    assert 0 < state(browser)["time"] < 0.2


@needs_chromium
def test_a_snapshot_does_not_wait_for_the_worker(browser, page):
    """Its order is of what it shows, even while a worker that was asked for that order has not answered."""
    snapshot = f"orbit4d.snapshot({SIDE})"
    browser.open(page, first="window.Worker = class { postMessage() { window.asked = true; } terminate() {} };")
    browser.js("asked = false")
    expected = browser.js(snapshot)
    browser.js("orbit4d.setCamera(180, 0)")
    assert browser.js(snapshot) != expected
    browser.js("document.getElementById('reset').click()")
    browser.until("asked")
    assert browser.js(snapshot) == expected


@needs_chromium
def test_without_loop_it_stops_at_the_end(player):
    player.click("#loop")
    player.js("orbit4d.setTime(0.9), orbit4d.play()")
    player.until("!orbit4d.state().playing && orbit4d.state().time === 1")


@needs_chromium
@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_it_plays_by_itself_unless_motion_is_unwelcome(browser, page, motion):
    browser.emulate(motion=motion)
    browser.open(page)
    assert state(browser)["playing"] == (motion != "reduce")


@needs_chromium
def test_no_network(browser, page):
    browser.emulate()
    browser.open(page)
    browser.settle(10)
    assert {url.partition(":")[0] for url in browser.requests} <= {"file", "data", "blob"}
    assert sum(url.startswith("file") for url in browser.requests) == 1
    assert not browser.console
    assert browser.js("fetch('data:,x').then(() => 'allowed', () => 'refused')") == "refused"


@needs_chromium
def test_names_and_focus(player):
    nodes = player("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "slider", "combobox", "img", "image", "group")
    controls = [n for n in nodes if n.get("role", {}).get("value") in roles and not n.get("ignored")]
    assert len(controls) >= 9
    assert all(n["name"]["value"] for n in controls), [n["role"]["value"] for n in controls if not n["name"]["value"]]
    player.key("Tab")
    player.key("Tab")
    focused = "getComputedStyle(document.activeElement)"
    assert player.js("document.activeElement.id") == "play"
    assert player.js(f"{focused}.outlineStyle + {focused}.outlineWidth") == "solid3px"


@needs_chromium
def test_themes_and_backgrounds(browser, page):
    for scheme in ("light", "dark"):
        browser.emulate(scheme=scheme, motion="reduce")
        browser.open(page)
        corner = browser.screenshot()[200, 3].mean()
        assert corner > 0.95 if scheme == "light" else corner < 0.2
    for expected in (1.0, 0.0):
        browser.click("#back")
        assert browser.screenshot()[200, 3].mean() == expected
    browser.click("#back")
    assert browser.screenshot()[100:300, :20].std() > 0.05, "a checker"


@needs_chromium
@pytest.mark.parametrize("width", [320, 400, 1200])
def test_controls_fit_any_width(browser, page, width):
    browser.size(width, 600, mobile=width < 640)
    browser.open(page)
    outside = browser.js("""[...document.querySelectorAll('#bar *')].filter((e) => { const b = e.getBoundingClientRect();
        return b.width && (b.left < 0 || b.right > innerWidth || b.bottom > innerHeight); }).map((e) => e.id)""")
    assert not outside and browser.js("document.documentElement.scrollWidth") <= width


@needs_chromium
def test_says_what_is_missing_or_damaged(browser, page, tmp_path):
    message = "document.getElementById('message').textContent"
    said = f"!document.getElementById('message').hidden && {message} !== 'Loading'"
    browser.open(page, first="HTMLCanvasElement.prototype.getContext = () => null;", wait=said)
    assert "does not offer WebGL2" in browser.js(message)
    text = page.read_text()
    start = text.index('type="text/plain">') + 2000
    for i, broken in enumerate((text[:start] + "AAAA" * 9 + text[start + 36 :], text[:start] + text[start + 4000 :])):
        copy = tmp_path / f"broken{i}.html"
        copy.write_text(broken)
        browser.open(copy, wait=said)
        assert "damaged" in browser.js(message)
        assert not browser.js("document.getElementById('poster').hidden"), "the poster stays"


def _retyped(document: dict) -> None:
    """16-bit targets that call themselves unsigned."""
    for target in document["meshes"][0]["primitives"][0]["targets"]:
        for index in target.values():
            accessor = document["accessors"][index]
            accessor["componentType"] = {5120: 5121, 5122: 5123}.get(accessor["componentType"], 5126)


def _repeated(document: dict) -> None:
    """More motion than there are data."""
    primitive = document["meshes"][0]["primitives"][0]
    primitive["targets"] = primitive["targets"][:1] * 64


@needs_chromium
@pytest.mark.parametrize(("change", "words"), [(_retyped, "target type"), (_repeated, "sizes")])
def test_refuses_targets_that_it_would_misread(browser, page, tmp_path, change, words):
    text = page.read_text()
    start = text.index('type="text/plain">') + len('type="text/plain">')
    end = text.index("<", start)
    (tmp_path / "a.glb").write_bytes(gzip.decompress(base64.b64decode(text[start:end])))
    changed = changed_glb(tmp_path / "a.glb", tmp_path / "b.glb", change).read_bytes()
    copy = tmp_path / "copy.html"
    copy.write_text(text[:start] + base64.b64encode(gzip.compress(changed)).decode() + text[end:])
    message = "document.getElementById('message').textContent"
    browser.open(copy, wait=f"{message} && {message} !== 'Loading'")
    assert f"damaged ({words})" in browser.js(message)


@needs_chromium
def test_survives_a_lost_graphics_device(player):
    player.js("""const gl = document.getElementById('view').getContext('webgl2');
        window.lost = gl.getExtension('WEBGL_lose_context'); lost.loseContext()""")
    player.until("!document.getElementById('message').hidden")
    player.js("lost.restoreContext()")
    player.until("document.getElementById('message').hidden")
    player.settle()
    assert inked(player) > 0.02


@needs_chromium
def test_poster_is_what_the_page_shows_first(player, page):
    assert player.js("document.getElementById('poster').hidden")
    data = re.search(r'src="data:image/webp;base64,([^"]+)"', page.read_text())
    assert data
    with Image.open(BytesIO(base64.b64decode(data.group(1)))) as image:
        rgba = np.asarray(image.convert("RGBA").resize((SIDE, SIDE), Image.Resampling.BOX)) / 255
    poster = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    player.js("orbit4d.setTime(0)")
    data = np.frombuffer(base64.b64decode(player.js(f"orbit4d.snapshot({SIDE})")), np.uint8)
    shown = data.reshape(SIDE, SIDE, 4)[::-1] / 255
    assert np.abs(shown[..., :3] + 1 - shown[..., 3:] - poster).mean() < 0.02


def test_title_is_only_text(tmp_path):
    text = write_html(toy(), tmp_path / "scene.html", frames=3, title="{{asset}} {{poster}}").read_text()
    assert "<title>{{asset}} {{poster}}</title>" in text


def test_page_is_self_contained(tmp_path):
    text = write_html(toy(), tmp_path / "scene.html", frames=3, title="</title><script>alert(1)</script>").read_text()
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)|https?://|@import|fetch\(""", text)
    assert "<script>alert" not in text and "{{" not in text


def test_player_is_small():
    assert (Path(orbit4d.__file__).parent / "viewer" / "player.html").stat().st_size < 60_000


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node on this machine: the player cannot be built again")
@pytest.mark.skipif(
    not (WEB / "node_modules" / ".bin" / "vite").exists(), reason="run `make web` to build the player again"
)
def test_the_committed_player_is_what_its_source_builds(tmp_path):
    vite = str(WEB / "node_modules" / ".bin" / "vite")
    built = subprocess.run([vite, "build", "--outDir", str(tmp_path)], cwd=WEB, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    committed = Path(__file__).parent.parent / "src" / "orbit4d" / "viewer" / "player.html"
    assert (tmp_path / "player.html").read_bytes() == committed.read_bytes(), "run `make web` and commit the result"
