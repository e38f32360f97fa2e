"""What can be downloaded of a scene: every format of `export_scene`, the scene file, and a run's whole folder."""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..export.by_suffix import export_scene
from ..imports.scenes import scene_file
from ..splat.turning import Up

MAX_BYTES = 512 * 2**20
"""Of a download: it passes through the memory of both sides."""
SCENE = ".safetensors"
_STORED = (".png", ".mp4", ".webm", ".mov", ".webp", ".gif", ".glb", ".4dgs")


@dataclass(frozen=True, kw_only=True)
class Format:
    """A button: `label` and `hint` on it. `suffix` decides the writer; what becomes a folder is sent as a .zip.

    `up`: the axis that points up in PLY files.
    """

    label: str
    suffix: str
    hint: str
    up: Up = "z"


FORMATS = (
    Format(label="Web page", suffix=".html", hint="One file that plays offline in any browser"),
    Format(label="MP4", suffix=".mp4", hint="A turntable video"),
    Format(label="GIF", suffix=".gif", hint="A turntable animation"),
    Format(label="WebP", suffix=".webp", hint="A turntable animation, smaller than GIF"),
    Format(label="WebM", suffix=".webm", hint="A turntable video for web pages"),
    Format(label="MOV", suffix=".mov", hint="A turntable video for video editors"),
    Format(label="4DGS", suffix=".4dgs", hint="One file of moving Gaussians, for viewers that know the format"),
    Format(
        label="Compact 4D", suffix=".glb.gz", hint="What the web page holds: glTF whose morph targets are the motion"
    ),
    Format(label="GLB", suffix=".glb", hint="The first moment as glTF with KHR_gaussian_splatting"),
    Format(label="PLY", suffix=".ply", hint="The first moment as a 3DGS .ply"),
    Format(
        label="Frames and cameras", suffix="/transforms.json", hint="Pictures of an orbit with their cameras, in a .zip"
    ),
    Format(
        label="PLY sequence",
        suffix="",
        up="y-down",
        hint="One 3DGS .ply for each time, in a .zip; y points down, as SuperSplat plays them",
    ),
)


def exported(scene: Path, form: Format, *, name: str, frames: int, size: int) -> tuple[str, bytes]:
    """(file name, content) of a scene in a format. Raises InputError as `export_scene` does, and for what is too large."""
    with tempfile.TemporaryDirectory(prefix="orbit4d-export-") as folder:
        out = Path(folder) / f"{name}{form.suffix}"
        export_scene(scene, out, frames=frames, size=size, up=form.up)
        if (Path(folder) / name).is_dir():
            return f"{name}-{form.label.lower().replace(' ', '-')}.zip", zipped(Path(folder) / name)
        return out.name, _content(out)


def scene_bytes(scene: Path, *, name: str) -> tuple[str, bytes]:
    """A scene of ours: the very file, or what was read from another program's file or folder. Raises InputError as `exported`."""
    file = scene_file(scene)
    if file.suffix.lower() == SCENE and (file.is_file() or not scene.is_dir()):
        return f"{name}{SCENE}", _content(file)
    return exported(scene, Format(label="Scene file", suffix=SCENE, hint=""), name=name, frames=24, size=256)


def zipped(folder: Path) -> bytes:
    """A .zip of a folder's files; links are left out. Raises InputError when that is too much for a download."""
    files = sorted(f for f in folder.rglob("*") if f.is_file() and not f.is_symlink())
    if sum(f.stat().st_size for f in files) > MAX_BYTES:
        raise _too_large()
    with tempfile.TemporaryFile() as out:
        with zipfile.ZipFile(out, "w") as archive:
            for file in files:
                how = zipfile.ZIP_STORED if file.suffix in _STORED else zipfile.ZIP_DEFLATED
                archive.write(file, file.relative_to(folder).as_posix(), compress_type=how, compresslevel=3)
        out.seek(0)
        return out.read()


def _content(file: Path) -> bytes:
    if not file.is_file():
        raise InputError(f"{file.name}: is no longer there; open the run again")
    if file.stat().st_size > MAX_BYTES:
        raise _too_large()
    return file.read_bytes()


def _too_large() -> InputError:
    return InputError(f"this is more than {MAX_BYTES >> 20} MiB, too much for a download; use `orbit4d export`")
