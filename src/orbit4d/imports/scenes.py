"""Any file or folder of Gaussians as a scene: what is there decides."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from ..assets.gltf_container import Container
from ..errors import InputError
from ..splat.gaussians import Gaussians, Gaussians4D
from ..splat.io import load_scene
from ..splat.keyframes import Keyframes
from ..splat.turning import Up
from .checked import MAX_DISTANCE, MAX_GAUSSIANS, open_bytes
from .compact import decode
from .glb import read_glb
from .ply import read_ply
from .splat import read_splat

SCENE_FILE = "scene.safetensors"
MAX_FRAMES = 1024
MAX_VALUES = 2**29
"""Numbers of a whole sequence (2 GiB)."""
STATIC_SUFFIXES = (".ply", ".splat")
GLTF_SUFFIXES = (".glb", ".gltf")
COMPACT = ".glb.gz"


def load_gaussians(path: str | Path, *, up: Up | None = None) -> Gaussians4D:
    """The scene of a file or folder, in world axes.

    One of: a scene of ours (`scene.safetensors`, or the folder that holds it), a compact 4D asset (`.glb.gz`, or that `.glb`
    unpacked), a 3DGS `.ply`, a `.splat`, a `.glb` or `.gltf` with KHR_gaussian_splatting, a folder of one `.ply` a time (times
    spread evenly over [0, 1] in the order of the numbers in their names).
    `up`: the axis that points up in the file; None is what the file says, else z. Scenes of ours are z up, glTF is y up.
    Raises InputError, one line, for anything else.
    """
    path = Path(path)
    if path.is_dir() and not (path / SCENE_FILE).is_file():
        return read_sequence(path, up=up)
    suffix = path.suffix.lower()
    if suffix in STATIC_SUFFIXES and not path.is_dir():
        read = read_ply if suffix == ".ply" else read_splat
        return Gaussians4D(canonical=read(path, up=up))
    packed = path.name.lower().endswith(COMPACT)
    if (packed or suffix in GLTF_SUFFIXES) and not path.is_dir():
        if up not in (None, "y"):
            raise InputError(f"{path}: glTF is y up by its rules, got {up}; leave the option out")
        return read_compact(path) if packed or _is_compact(path) else Gaussians4D(canonical=read_glb(path))
    file = scene_file(path)
    if file.suffix.lower() != ".safetensors" and file.is_file():
        raise InputError(
            f"{path}: expected scene.safetensors, .ply, .splat, .glb, .glb.gz, or a folder of one .ply a time, got "
            f"{file.suffix or 'a file without suffix'!r}"
        )
    scene = load_scene(file)
    if up not in (None, "z"):
        raise InputError(f"{path}: scenes of orbit4d are z up, got {up}; leave the option out")
    return scene


def scene_file(path: str | Path) -> Path:
    """The scene file that `path` names: itself, or scene.safetensors in the folder that it is."""
    path = Path(path)
    return path / SCENE_FILE if path.is_dir() else path


def read_sequence(folder: str | Path, *, up: Up | None = None) -> Gaussians4D:
    """A folder of 3DGS PLY files, one a time, in which the i-th Gaussian is the same one at every time.

    Such are our own exports and those of other programs that move Gaussians; linear motion is assumed between the files.
    Raises InputError for fewer than two files, and for files with different numbers of Gaussians.
    """
    folder = Path(folder)
    files = sorted((f for f in folder.iterdir() if f.suffix.lower() == ".ply"), key=_order)
    if not 2 <= len(files) <= MAX_FRAMES:
        raise InputError(
            f"{folder}: holds {len(files)} .ply files and no scene.safetensors; expected a scene, or 2 to {MAX_FRAMES} "
            ".ply files, one a time"
        )
    frames: list[Gaussians] = []
    for file in files:
        frame = read_ply(file, up=up)
        if frames and (len(frame) != len(frames[0]) or frame.sh.shape != frames[0].sh.shape):
            raise InputError(
                f"{folder}: {file.name} holds {_size(frame)}, {files[0].name} {_size(frames[0])}; a sequence needs the same "
                "Gaussians in the same order at every time; import the files one by one"
            )
        if len(frame) > MAX_GAUSSIANS // 2 or len(files) * sum(v.numel() for v in vars(frame).values()) > MAX_VALUES:
            raise InputError(f"{folder}: {len(files)} files of {_size(frame)} do not fit in memory; take fewer of them")
        frames.append(frame)
    deformation = Keyframes.of(frames).requires_grad_(False)
    return Gaussians4D(canonical=frames[0], deformation=deformation)


def read_compact(path: str | Path) -> Gaussians4D:
    """A compact 4D asset (docs/format.md), moving as it does: its states at as many equal times as it has
    knots (ours lie there), linear between them.

    Raises InputError for anything else, and for motions that do not fit in memory.
    """
    path = Path(path)
    compact = decode(open_bytes(path, kind="a compact 4D asset").tobytes(), source=str(path))
    knots = len(compact.times)
    if knots * sum(v.numel() for v in vars(compact.first).values()) > MAX_VALUES:
        raise InputError(
            f"{path}: {knots} knots of {_size(compact.first)} do not fit in memory; write it with fewer `--frames`"
        )
    frames = [compact.at(time) for time in torch.linspace(0, 1, knots).tolist()]
    for g in frames:
        if (
            not all(bool(torch.isfinite(v).all()) for v in vars(g).values())
            or float(g.means.abs().max()) > MAX_DISTANCE
        ):
            raise InputError(f"{path}: has values that are not finite or beyond {MAX_DISTANCE:g}; write it again")
    if knots < 2:
        return Gaussians4D(canonical=frames[0])
    return Gaussians4D(canonical=frames[0], deformation=Keyframes.of(frames).requires_grad_(False))


def _is_compact(path: Path) -> bool:
    """Whether a .glb is a compact 4D asset without gzip. Raises InputError for a .gltf that is one: its motion would be lost."""
    meshes = Container(path).json.get("meshes")
    extras = [m.get("extras") for m in meshes if isinstance(m, dict)] if isinstance(meshes, list) else []
    found = any(isinstance(e, dict) and "orbit4d" in e for e in extras)
    if found and path.suffix.lower() != ".glb":
        raise InputError(f"{path}: a compact 4D asset is read as .glb or .glb.gz, got .gltf; give the .glb")
    return found


def _size(g: Gaussians) -> str:
    return f"{len(g)} Gaussians of degree {int(g.sh.shape[1] ** 0.5) - 1}"


def _order(file: Path) -> tuple[int, str]:
    """Files by the last number in their names: frame_2 stands before frame_10."""
    numbers = re.findall(r"\d+", file.stem)
    return (int(numbers[-1][:18]) if numbers else -1, file.name)
