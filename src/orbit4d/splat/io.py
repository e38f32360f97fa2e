"""`Gaussians4D` as one safetensors file: exact round trip, no code in the file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import InputError
from ..files import atomic_path, parse_json
from .deform import ControlNodes
from .gaussians import Deformation, Gaussians, Gaussians4D
from .hexplane import STHexPlane
from .keyframes import Keyframes
from .trajectories import Trajectories

FORMAT = "orbit4d.scene"
VERSION = 1
MAX_FILE_BYTES = 4 * 2**30
MAX_HEADER_JSON = 2**20
MAX_GAUSSIANS = 20_000_000
MAX_SIZE = 4096
"""Largest number that a deformation's config may hold: planes of more cells, wider layers or more nodes are refused."""
MAX_NUMBERS = {"count": MAX_GAUSSIANS, "center": 1e6, "half_extent": 1e6}
"""Entries of the config that may hold larger numbers."""
DEFORMATIONS: dict[str, type[STHexPlane] | type[ControlNodes] | type[Trajectories] | type[Keyframes]] = {
    STHexPlane.kind: STHexPlane,
    ControlNodes.kind: ControlNodes,
    Trajectories.kind: Trajectories,
    Keyframes.kind: Keyframes,
}
CANONICAL = ("means", "quats", "log_scales", "logit_opacities", "sh")


def save_scene(scene: Gaussians4D, path: str | Path, *, metadata: dict | None = None) -> Path:
    """Write `scene` to `path` (.safetensors), atomically; `metadata` is any JSON-ready dict.

    Tensors: `canonical.*` and `deformation.*`, float32. The header's `orbit4d` entry is JSON: format, version, the
    deformation's kind and config, metadata. Raises InputError for another suffix or an unwritable folder.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: expected a name that ends in .safetensors, got {path.suffix or 'no suffix'}")
    tensors = {f"canonical.{name}": getattr(scene.canonical, name) for name in CANONICAL}
    deformation = scene.deformation
    header: dict = {"format": FORMAT, "version": VERSION, "deformation": None, "metadata": metadata or {}}
    if deformation is not None:
        if deformation.kind not in DEFORMATIONS:
            raise InputError(
                f"scene: deformation kind {deformation.kind!r} cannot be saved; known: {sorted(DEFORMATIONS)}"
            )
        header["deformation"] = {"kind": deformation.kind, "config": deformation.config()}
        tensors |= {f"deformation.{name}": value for name, value in deformation.state_dict().items()}
    tensors = {name: value.detach().float().cpu().contiguous().clone() for name, value in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"orbit4d": json.dumps(header)})
    return path


def load_metadata(path: str | Path) -> dict:
    """The `metadata` that `save_scene` was given. Raises InputError for files that are not orbit4d scenes."""
    return _read_header(Path(path))["metadata"]


def load_scene(path: str | Path) -> Gaussians4D:
    """Read a scene written by `save_scene`, on the CPU. Raises InputError for damaged or foreign files."""
    path = Path(path)
    header = _read_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: the tensors cannot be read ({error}); the file is damaged, write it again"
        ) from error
    for name, value in tensors.items():
        if value.dtype != torch.float32 or not torch.isfinite(value).all():
            raise InputError(f"{path}: tensor {name} must be finite float32, got {value.dtype}; the file is damaged")
    missing = [name for name in CANONICAL if f"canonical.{name}" not in tensors]
    if missing:
        raise InputError(f"{path}: canonical Gaussians lack {', '.join(missing)}; the file is damaged, write it again")
    try:
        canonical = Gaussians(**{name: tensors[f"canonical.{name}"] for name in CANONICAL})
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: {error}; the file is damaged, write it again") from error
    if not 1 <= len(canonical) <= MAX_GAUSSIANS:
        raise InputError(f"{path}: {len(canonical)} Gaussians, expected 1 to {MAX_GAUSSIANS}; write the file again")
    state = {name.removeprefix("deformation."): t for name, t in tensors.items() if name.startswith("deformation.")}
    scene = Gaussians4D(canonical=canonical, deformation=_deformation(header["deformation"], state, path))
    _check_moves(scene, path)
    return scene


def _deformation(entry: object, state: dict[str, Tensor], path: Path) -> Deformation | None:
    if entry is None:
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        raise InputError(f"{path}: 'deformation' in the header must hold 'kind' and 'config'; the file is damaged")
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in DEFORMATIONS:
        raise InputError(
            f"{path}: deformation kind {kind!r} is unknown here (known: {', '.join(sorted(DEFORMATIONS))}); "
            "the file comes from a newer orbit4d, update it"
        )
    _check_bounded(entry["config"], path)
    try:
        # On the meta device nothing is allocated until the state dict has been checked against the config.
        with torch.device("meta"):
            module = DEFORMATIONS[kind](**entry["config"])
        expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise InputError(f"{path}: the config of its {kind} deformation is not valid ({error})") from error
    got = {name: tuple(value.shape) for name, value in state.items()}
    if expected != got:
        wrong = sorted(set(expected.items()) ^ set(got.items()))[0]
        raise InputError(f"{path}: deformation tensors do not fit their config (at {wrong[0]}); the file is damaged")
    module = DEFORMATIONS[kind](**entry["config"])
    module.load_state_dict(state)
    assert isinstance(module, nn.Module)
    return module.requires_grad_(False)


def _check_moves(scene: Gaussians4D, path: Path) -> None:
    """A scene that loads must also play: a config may be valid and still ask for what no file holds (features)."""
    try:
        moved = scene.at(0.5)
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: its deformation cannot be evaluated ({reason}); write the file again") from error
    if not all(torch.isfinite(value).all() for value in (moved.means, moved.quats, moved.log_scales)):
        raise InputError(f"{path}: its deformation gives values that are not finite; write the file again")


def _check_bounded(value: object, path: Path, depth: int = 0, largest: float = MAX_SIZE) -> None:
    if isinstance(value, dict | list):
        if depth > 4 or len(value) > 64:
            raise InputError(f"{path}: the deformation's config is too large; the file is damaged")
        for name, item in value.items() if isinstance(value, dict) else zip([""] * len(value), value, strict=True):
            _check_bounded(item, path, depth + 1, MAX_NUMBERS.get(name, largest))
    elif isinstance(value, int | float) and not (math.isfinite(value) and abs(value) <= largest):
        raise InputError(f"{path}: the deformation's config holds {value}, at most {largest:.0f} is read")


def _read_header(path: Path) -> dict:
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a scene (.safetensors) written by orbit4d")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"{path}: larger than {MAX_FILE_BYTES // 2**30} GiB; expected a scene written by orbit4d")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("orbit4d")
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read as safetensors ({error}); damaged, or not an orbit4d scene"
        ) from error
    if text is None or len(text) > MAX_HEADER_JSON:
        raise InputError(f"{path}: a safetensors file, but not a scene: its header has no readable 'orbit4d' entry")
    header = parse_json(text, source=f"{path}, header entry 'orbit4d'")
    if not isinstance(header, dict) or header.get("format") != FORMAT or not isinstance(header.get("metadata"), dict):
        raise InputError(f"{path}: its header does not describe an orbit4d scene; pass a file that orbit4d wrote")
    if header.get("version") != VERSION:
        raise InputError(
            f"{path}: scene format version {header.get('version')!r}, this orbit4d reads {VERSION}; update it"
        )
    header.setdefault("deformation", None)
    return header
