"""The gallery: a folder of runs, each a normal output folder of `orbit4d generate`. What is not one is not shown."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..files import atomic_path, parse_json
from .wishes import GUESS_WORDS, kept_name, shown_name, slug

_LOG = logging.getLogger(__name__)
INPUTS = ".inputs"
"""Where uploads are kept, beside the runs: a run's report names the file it was made from."""
MAX_REPORT = 16 * 2**20
MAX_RUNS = 2000
MAX_ID = 80
OPTIONS = {
    "nothing with --no-caption": f"switch “{GUESS_WORDS}” off",
    "--prompt": "a prompt",
    "--mask": "a mask",
    "--static-up": "the up axis",
}
"""What the page says for options of the command line; others lose their dashes."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run: its folder and what its report says. `inputs`: names of the uploads that it was made from."""

    folder: Path
    title: str
    made: str
    figures: str
    inputs: frozenset[str]

    @property
    def id(self) -> str:
        return self.folder.name


class Runs:
    """The runs in a folder, newest first by name."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError when the folder cannot be made or written."""
        self.folder = folder.absolute()
        self._deleting = threading.Lock()
        self.in_use: Callable[[], set[str]] = set
        """Names of the inputs that are chosen, or that runs to come need."""
        try:
            (self.folder / INPUTS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--runs: {folder}: cannot be made ({error.strerror}); choose another folder") from error
        if not os.access(self.folder, os.W_OK):
            raise InputError(f"--runs: {folder}: cannot be written; choose another folder")

    def all(self) -> list[Run]:
        """Every finished run, newest first; reads each report."""
        entries = sorted((e for e in os.scandir(self.folder) if _is_plain(e)), key=lambda e: e.name, reverse=True)
        found = (_read(self.folder / e.name) for e in entries[:MAX_RUNS])
        return [run for run in found if run is not None]

    def get(self, run_id: str) -> Run | None:
        """The finished run of that name."""
        if not run_id or len(run_id) > MAX_ID or run_id.startswith(".") or Path(run_id).name != run_id:
            return None
        return _read(self.folder / run_id)

    def new_folder(self, title: str, *, taken: Collection[Path] = ()) -> Path:
        """A path, where nothing is yet, for a run that is asked for now; none of `taken`, which are other runs' to be."""
        stem = f"{datetime.now():%Y%m%d-%H%M%S}-{slug(title)}"
        names = [stem, *(f"{stem}-{i}" for i in range(2, 100))]
        return next(p for name in names if (p := self.folder / name) not in taken and not p.exists())

    def keep_input(self, name: str, content: bytes, *, kind: str) -> Path:
        """Write an upload under a name of our own. Raises InputError for what `kind` does not take."""
        path = self.folder / INPUTS / kept_name(name, content, kind)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        return path

    def delete(self, run: Run) -> None:
        """Remove a run's folder, and then the inputs that no run needs. A run that is gone already is fine: so it shall be."""
        if run.folder.parent != self.folder:
            return
        # One at a time: of two, each could stop at what the other has removed, and leave the rest.
        with self._deleting, contextlib.suppress(FileNotFoundError):
            shutil.rmtree(run.folder)
        self.prune()

    def prune(self) -> None:
        """Remove uploads that are not in use, and that no finished run was made from; where that cannot be, they stay."""
        try:
            # In this order: what is uploaded meanwhile is not listed, and a run that ends meanwhile has its report by then.
            files, used = list((self.folder / INPUTS).iterdir()), self.in_use()
            used = used.union(*(run.inputs for run in self.all()))
            for file in files:
                if file.name not in used and file.is_file():
                    file.unlink(missing_ok=True)
        except OSError as error:  # somebody tidies up by hand, or the disk is away: no reason to end what called
            _LOG.warning("uploads cannot be tidied up: %s", error)

    def told(self, text: str) -> str:
        """A message of the command line for the page, where our paths and its options mean nothing."""
        for folder in {self.folder, self.folder.resolve()}:
            text = text.replace(f"{folder / INPUTS}{os.sep}", "")
        text = re.sub(r"(?<![\w-])[0-9a-f]{16}-", "", text)
        for option, words in OPTIONS.items():
            text = text.replace(option, words)
        return re.sub(r"(?<!\S)--(?=[a-z])", "", text)

    def sweep(self, folder: Path) -> None:
        """Remove what a killed run left beside its folder."""
        for left in self.folder.glob(f".{folder.name}.*"):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def thumbnail(run: Run, *, views: int = 4, side: int = 96) -> np.ndarray:
    """(side, views x side, 3) uint8: frames of the run's clip, evenly spaced, on white; white where they cannot be read."""
    from ..images import limited, load_rgba

    sheet = np.full((side, views * side, 3), 255, np.uint8)
    frames = sorted((run.folder / "clip").glob("frame_*.png"))[:1000]
    if not frames:
        return sheet
    for i, index in enumerate(np.linspace(0, len(frames) - 1, views + 1).round().astype(int)[:views]):
        try:
            rgba = limited(load_rgba(frames[index]), side=side)
        except InputError:
            continue
        rgb = rgba[:3] * rgba[3:] + 1 - rgba[3:]
        height, width = rgb.shape[1:]
        sheet[:height, i * side : i * side + width] = (rgb.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return sheet


def _is_plain(entry: os.DirEntry) -> bool:
    return not entry.name.startswith(".") and len(entry.name) <= MAX_ID and entry.is_dir(follow_symlinks=False)


def _report(folder: Path) -> dict:
    """The folder's report, {} where there is none that orbit4d wrote."""
    file = folder / "report.json"
    try:
        if not file.is_file() or file.stat().st_size > MAX_REPORT:
            return {}
        report = parse_json(file.read_bytes(), source=file)
    except (OSError, InputError):
        return {}
    return report if isinstance(report, dict) and report.get("program") == "orbit4d" else {}


def _inputs(settings: dict) -> frozenset[str]:
    return frozenset(Path(v).name for v in settings.values() if isinstance(v, str) and f"{INPUTS}{os.sep}" in v)


def _read(folder: Path) -> Run | None:
    report = _report(folder)
    try:
        if not report or not (folder / "scene.safetensors").is_file():
            return None
        made = datetime.fromtimestamp((folder / "report.json").stat().st_mtime)
    except OSError:  # deleted since its report was read
        return None
    settings = report.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    named = [settings.get(k) for k in ("prompt", "image", "video", "static", "clip")]
    first = next((n for n in named if isinstance(n, str) and n), folder.name)
    title = first if first == settings.get("prompt") else shown_name(first)
    return Run(
        folder=folder,
        title=title[:120],
        made=f"{made:%Y-%m-%d %H:%M}",
        figures=_figures(report, settings),
        inputs=_inputs(settings),
    )


def _figures(report: dict, settings: dict) -> str:
    parts = []
    if isinstance(count := report.get("gaussians"), int):
        parts.append(f"{count} Gaussians")
    if isinstance(total := report.get("seconds_total"), int | float):
        parts.append(f"{total:.0f} s")
    if isinstance(seed := settings.get("seed"), int):
        parts.append(f"seed {seed}")
    if isinstance(motion := settings.get("motion"), int | float):
        parts.append(f"motion {motion:g}")
    return " · ".join(parts)
