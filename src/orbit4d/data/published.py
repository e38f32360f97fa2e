"""Published renderings as samples: Diffusion4D's folders, D-NeRF's, and any folder with a transforms file.

Their cameras lie on no grid of ours. Equal cameras become one view, equal times one time, and every frame is the pair of
the two; which pairs are an orbit, a static orbit and a front clip is said in the sample's metadata, where the folder tells.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from ..cameras import Cameras
from ..clip import OrbitalClip, load_clip, with_foreground
from ..clip_files import frame_records, load_diffusion4d, load_frames, read_json, resolve_frame
from ..errors import InputError
from ..files import atomic_path, file_sha256, parse_json
from .clip_sample import sample_from_clips
from .manifest import Line, Manifest, Record, cannot_write, make_record
from .sample import MAX_SIDE, Sample, save_sample

MAX_OBJECTS = 10**6
_TRANSFORMS = ("transforms_train.json", "transforms.json")
_SOURCES = re.compile(r"(multi|front).*\.(png|json)|transforms(_train|_multi|_multi_static|_front)?\.json")
"""The files beside each other that a sample is made of; what transforms files name comes to them."""


@dataclass(kw_only=True, frozen=True)
class ImportSummary:
    """What `import_published` did: folders found, samples made now, made before, not readable; frames of those made now."""

    inputs: int
    imported: int
    reused: int
    failed: int
    frames: int


def samples_from_diffusion4d(root: str | Path, *, size: int | None = None) -> Iterator[Sample]:
    """A sample of each folder at or below `root` that holds Diffusion4D's files: `multi_frame*.png` (the orbit), and where
    they are there `multi_static_frame*.png` and `front_frame*.png`; cameras in `multi*.json` or `transforms_*.json`.

    `size`: side in pixels to scale to; None keeps theirs. Raises InputError where there is none, and for a damaged one.
    """
    for folder in _found(root, "multi_frame0.png"):
        yield _sample(folder, Path(root), record=_record(folder, Path(root)), size=size)


def samples_from_dnerf(root: str | Path, *, size: int | None = None) -> Iterator[Sample]:
    """A sample of each folder at or below `root` that holds `transforms_train.json` or `transforms.json`: all of its frames,
    each camera a view. D-NeRF's validation and test frames are not read: they are for evaluation.

    Raises InputError where there is none, and for a damaged one.
    """
    for folder in _found(root, *_TRANSFORMS):
        record = _record(folder, Path(root))
        yield sample_from_clips(record["key"], _transforms_clips(folder), record=record, size=size)


def import_published(
    root: str | Path, *, out: str | Path, size: int | None = None, progress: bool = True
) -> ImportSummary:
    """Make a rendered folder (samples, manifest.jsonl) of published folders of either kind, to curate, shard or train on.

    Folders that cannot be read become failed lines of the manifest. Samples that are there of the same files are kept, as is
    what was imported from elsewhere; a run that was stopped goes on. `out`/import.json holds the size and the roots.
    Raises InputError when `root` holds nothing of either kind; when `out` was rendered, imported with another size, is being
    written by another run, or holds other objects of the same names.
    """
    root, out = Path(root), Path(out)
    if size is not None and not 8 <= size <= MAX_SIDE:
        raise InputError(f"--size: expected 8 to {MAX_SIDE} pixels, got {size}")
    folders = _found(root, "multi_frame0.png", *_TRANSFORMS)
    new, reused, failed, frames = 0, 0, 0, 0
    with Manifest(out, None) as manifest:
        _check_import(manifest, folders, root=root, size=size)
        for file in (out / "samples").glob(".*.tar"):  # what a killed run was writing
            file.unlink()
        for folder in tqdm(folders, desc="import", unit="object", disable=not progress):
            base = _record(folder, root)
            if any(_holds(line, base, out) for line in manifest.lines(base["input"])):
                reused += 1
                continue
            record = _import_one(folder, base, root=root, out=out, size=size)
            manifest.append(record)
            new, failed = new + (record["status"] == "rendered"), failed + (record["status"] == "failed")
            frames += record["frames"]
        manifest.rewrite()
    return ImportSummary(inputs=len(folders), imported=new, reused=reused, failed=failed, frames=frames)


def _import_one(folder: Path, base: Record, *, root: Path, out: Path, size: int | None) -> Record:
    """The manifest line of one folder, its sample written; whatever is wrong with it becomes the line's reason."""
    file = out / "samples" / f"{base['key']}.tar"
    try:
        sample = _sample(folder, root, record=base, size=size)
    except MemoryError:
        raise
    except Exception as error:  # of the folders of others, one that nobody foresaw must not end the import of the rest
        file.unlink(missing_ok=True)  # of what the folder held before
        known = isinstance(error, InputError | OSError)
        text = " ".join(str(error).split()).replace(f"{root}{os.sep}", "")[:400]
        reason = text if known else f"{base['input']}: {type(error).__name__}: {text}"
        return base | {"cause": "unreadable" if known else "error", "reason": reason}
    try:
        save_sample(sample, file)
    except OSError as error:  # no fault of the folder's
        raise InputError(cannot_write(out, error)) from error
    return sample.meta["record"] | {"sha256": file_sha256(file), "bytes": file.stat().st_size, "seconds": 0.0}


def _check_import(manifest: Manifest, folders: Sequence[Path], *, root: Path, size: int | None) -> None:
    """Write what `out` is imported with, or compare it with what is there. Raises InputError where they do not go together."""
    out, path, roots = manifest.folder, manifest.folder / "import.json", []
    if path.is_file():
        stated = parse_json(path.read_bytes(), source=path)
        roots = stated.get("roots") if isinstance(stated, dict) else None
        if not isinstance(roots, list) or not all(isinstance(r, str) for r in roots) or "size" not in stated:
            raise InputError(f"{path}: expected `size` and `roots`; import into another --out")
        if stated["size"] != size:
            old, now = (f"--size {s}" if s else "the pictures' own size" for s in (stated["size"], size))
            raise InputError(f"{out}: was imported with {old}, now {now}; use it again or another --out")
    elif manifest.path.stat().st_size:
        raise InputError(f"{manifest.path}: is of no import (no import.json beside it); import into another --out")
    here = str(root.resolve())
    for folder in folders:
        name = _input(folder, root)
        if not manifest.lines(name):
            continue
        for other in (Path(r) for r in roots if r != here):
            there = other / name if (other / name).is_dir() or other.name != name else other
            if there.is_dir() and there.resolve() != folder.resolve():
                raise InputError(
                    f"{folder}: {out} holds another object {name!r}, of {there}; import into another --out, or a folder "
                    "above both"
                )
    if here not in roots:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps({"size": size, "roots": [*roots, here]}) + "\n")


def _holds(line: Line, base: Record, out: Path) -> bool:
    """Whether a line is of the same files, and its sample there."""
    file = out / "samples" / f"{base['key']}.tar"
    same = line.status == "rendered" and line.input_sha256 == base["input_sha256"] is not None
    return same and file.is_file() and file.stat().st_size == line.bytes


def _source_digest(folder: Path) -> str | None:
    """SHA-256 of the names and contents of all files that a sample of this folder is made of; None if one cannot be read."""
    whole = hashlib.sha256()
    try:
        files = {file for file in folder.iterdir() if file.is_file() and _SOURCES.fullmatch(file.name)}
        for file in [file for file in files if file.suffix == ".json" and file.name.startswith("transforms")]:
            for frame in frame_records(read_json(file), file):
                names = [frame.get("file_path"), frame.get("depth_file_path")]
                files |= {resolve_frame(folder, name, file) for name in names if name}
        for file in sorted(files):
            whole.update(f"{file.name} {file_sha256(file)}\n".encode("utf-8", "surrogateescape"))
    except (InputError, OSError):
        return None  # reading it will say what is wrong
    return whole.hexdigest()


def _found(root: str | Path, *names: str) -> list[Path]:
    """The folders at or below `root` that hold one of these files, sorted."""
    root = Path(root)
    if not root.is_dir():
        raise InputError(
            f"{root}: no such folder; expected renderings by Diffusion4D or folders with a transforms file"
        )
    folders: set[Path] = set()
    for name in names:
        for file in root.rglob(name):
            folders.add(file.parent)
            if len(folders) > MAX_OBJECTS:
                raise InputError(f"{root}: holds more than {MAX_OBJECTS} objects; import its parts one by one")
    if not folders:
        raise InputError(f"{root}: expected {' or '.join(names)} in it or below, found none; check the folder")
    return sorted(folders)


def _key(folder: Path, root: Path) -> str:
    """Names a folder by its path below the root; a hash tells apart what is cut or replaced to make a file name."""
    name = _input(folder, root)
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name)
    if plain != name or len(plain) > 60:
        plain = f"{plain[:50]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"{plain}__000"


def _input(folder: Path, root: Path) -> str:
    return folder.relative_to(root).as_posix() if folder != root else folder.resolve().name or "root"


def _sample(folder: Path, root: Path, *, record: Record, size: int | None) -> Sample:
    """The sample of a folder of either kind; Diffusion4D's, where it has files of both."""
    clips = _diffusion4d_clips(folder) if (folder / "multi_frame0.png").is_file() else _transforms_clips(folder)
    return sample_from_clips(_key(folder, root), clips, record=record, size=size)


def _diffusion4d_clips(folder: Path) -> dict[str, OrbitalClip]:
    orbit = _diffusion4d_clip(folder, "multi")
    clips = {"orbit": orbit}
    for name, prefix in (("front", "front"), ("static", "multi_static")):
        if (folder / f"{prefix}_frame0.png").is_file():
            clips[name] = _diffusion4d_clip(folder, prefix, cameras=orbit.cameras)
    if "static" in clips and not (folder / "transforms_multi_static.json").is_file():
        moment = _moment(clips["static"], clips.get("front"))
        clips["static"] = replace(clips["static"], times=torch.full((len(clips["static"]),), moment))
    return clips


def _diffusion4d_clip(folder: Path, prefix: str, *, cameras: Cameras | None = None) -> OrbitalClip:
    """One of the three clips; without a transforms file static orbits have the orbit's `cameras`, front clips its first."""
    stated = folder / f"transforms_{prefix}.json"
    if stated.is_file():
        return load_clip(stated)
    if cameras is None:
        frames, cameras = load_diffusion4d(folder)
    else:
        files = sorted(folder.glob(f"{prefix}_frame*.png"), key=lambda file: int("0" + re.sub(r"\D", "", file.stem)))
        frames = load_frames(files, folder)
        if prefix != "front" and len(frames) != len(cameras):
            raise InputError(f"{folder}: {len(frames)} {prefix} frames, its orbit has {len(cameras)}; render again")
        cameras = cameras[[0] * len(frames)] if prefix == "front" else cameras
        if frames.shape[2:] != (cameras.height, cameras.width):
            raise InputError(f"{folder}: {prefix} frames and orbit frames differ in size; render again")
    times = torch.arange(len(frames)) / max(len(frames) - 1, 1)
    clip = OrbitalClip(rgb=frames[:, :3], alpha=frames[:, 3:], cameras=cameras, times=times)
    return with_foreground(clip, source=str(folder))


def _moment(static: OrbitalClip, front: OrbitalClip | None) -> float:
    """The time that a static orbit shows: of the front frame whose silhouette its first frame has.

    Diffusion4D's script means time 0, but what it rendered shows the next frame.
    """
    if front is None:
        return 0.0
    difference = (front.alpha - static.alpha[:1]).abs().mean((1, 2, 3))
    return float(front.times[int(difference.argmin())])


def _transforms_clips(folder: Path) -> dict[str, OrbitalClip]:
    return {"frames": load_clip(next(folder / name for name in _TRANSFORMS if (folder / name).is_file()))}


def _record(folder: Path, root: Path) -> Record:
    """The manifest line of a folder, as of a failed one; `import_published` and `sample_from_clips` fill it."""
    digest = _source_digest(folder)
    return make_record(
        input=_input(folder, root), key=_key(folder, root), animation=0, animations=1, input_sha256=digest
    )
