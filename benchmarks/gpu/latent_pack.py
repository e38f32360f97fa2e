"""Cached latents and text states in a few megabytes, for a machine that only gets what fits through a narrow door.

    q = round((x - background) / step)       one grid for all, the background (the median image) exact
    static frames   q, or its difference to the static frames of the clip before it, whichever is smaller
    other frames    q minus q of the same view's static frame

    pack.json       clips, captions, cameras, recipe         part-NNN.xz   symbols of a few clips
    tensors.pt      background, cameras, text basis          text.xz       symbols of the text states

Symbols are bytes whose upper half is the magnitude's class, channels innermost: LZMA's literal coder sees what the channel before
was like. Text states are rotated to their principal axes, where most of 384 coefficients round to nothing. Reading needs torch,
numpy and the standard library.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orbit4d.data.latent_set import LatentClip
from orbit4d.diffusion.batches import LatentSet
from orbit4d.diffusion.text import MAX_TOKENS
from orbit4d.errors import InputError

VERSION = 1
CLASSES = (0, 1, 2, 3, 4, 6, 8, 12, 19, 27, 35, 43, 51, 59, 67, 75, 83)
"""Least magnitude of each of the 16 classes, 16 symbols each at most; the last is one past the largest that there is."""
LARGEST = CLASSES[-1] - 1
CLIPS_A_PART = 18
SAME_STILL = 0.1
"""Static frames that differ by less than this share of their own size show the same moment: less of the same motion."""
MAX_PART = 2**28
"""Bytes that a part may hold when decoded: far above what is written."""
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 3, "lp": 0, "pb": 0}]


def _symbols() -> np.ndarray:
    """The byte of each value from -LARGEST to LARGEST."""
    table = np.zeros(2 * LARGEST + 1, np.uint8)
    for k in range(16):
        values = [v for m in range(CLASSES[k], CLASSES[k + 1]) for v in sorted({m, -m})]
        for slot, value in enumerate(values):
            table[value + LARGEST] = 16 * k + slot
    return table


SYMBOL_OF = _symbols()
VALUE_OF = np.zeros(256, np.int16)
VALUE_OF[SYMBOL_OF] = np.arange(-LARGEST, LARGEST + 1)


def chosen_pairs(clip: LatentClip, *, extra: int) -> list[int]:
    """Rows of a clip that are kept besides its static frames: the main orbit and `extra` more pairs, evenly over the rest."""
    views, count = len(clip.meta["camera_to_world"]), len(clip.meta["times"])
    static_time = int(clip.meta.get("static_time", 0))
    row = {pair: i for i, pair in enumerate(clip.pairs)}
    main = {(i % views, i) if (i % views, i) in row else (i, i) for i in range(count)}
    static = {(v, static_time) for v in range(views)}
    rest = [i for pair, i in row.items() if pair not in main and pair not in static]
    picked = [rest[int(k)] for k in np.linspace(0, len(rest) - 1, min(extra, len(rest))).round()] if extra else []
    return [row[pair] for pair in sorted(main - static)] + picked


class _Grid:
    """Latents (n, c, h, w) <-> integers on one grid."""

    def __init__(self, background: Tensor, step: float) -> None:
        self.background, self.step = background.float(), step

    def integers(self, latents: Tensor) -> np.ndarray:
        return torch.round((latents.float() - self.background) / self.step).to(torch.int16).numpy()

    def latents(self, integers: np.ndarray) -> Tensor:
        return (torch.from_numpy(integers).float() * self.step + self.background).half()


def _encode(differences: np.ndarray) -> tuple[bytes, np.ndarray]:
    """(n, c, h, w) differences -> bytes, channels innermost, and the differences that these stand for."""
    limited = differences.clip(-LARGEST, LARGEST)
    return np.ascontiguousarray(SYMBOL_OF[limited + LARGEST].transpose(0, 2, 3, 1)).tobytes(), limited


class _Writer:
    """Integers of clips, one after the other, as the reader will have them."""

    def __init__(self, grid: _Grid) -> None:
        self.grid, self.data, self.still = grid, bytearray(), None
        self.error, self.count = 0.0, 0

    def add(self, clip: LatentClip, *, extra: int, extra_damped: int) -> tuple[list[int], bool]:
        """Append a clip. Returns the rows kept besides its static frames, and whether these were written as differences to
        those of the clip before."""
        views, static_time = len(clip.meta["camera_to_world"]), int(clip.meta.get("static_time", 0))
        where = {pair: i for i, pair in enumerate(clip.pairs)}
        original = clip.latents[[where[v, static_time] for v in range(views)]]
        wanted, base, follows = self.grid.integers(original), np.zeros(1, np.int16), False
        if self.still is not None and self.still.shape == wanted.shape:
            share = np.abs(wanted - self.still).sum() / max(np.abs(wanted).sum(), 1)
            follows, extra = bool(share < 0.9), extra_damped if share < SAME_STILL else extra
            base = self.still if follows else base
        rows = chosen_pairs(clip, extra=extra)
        data, difference = _encode(wanted - base)
        self.data += data
        self.still = (base + difference).astype(np.int16)
        self._measure(original, self.still)
        seen = self.still[[clip.pairs[row][0] for row in rows]]
        data, difference = _encode(self.grid.integers(clip.latents[rows]) - seen)
        self.data += data
        self._measure(clip.latents[rows], seen + difference)
        return rows, follows

    def _measure(self, original: Tensor, integers: np.ndarray) -> None:
        self.error += float((original.float() - self.grid.latents(integers).float()).square().sum())
        self.count += original.numel()


def write_pack(
    folder: Path,
    clips: Sequence[LatentClip],
    *,
    states: dict[str, Tensor],
    recipe: dict[str, Any],
    step: float = 0.2,
    extra: int = 0,
    extra_damped: int = 0,
    text_step: float = 0.15,
) -> dict[str, float]:
    """Write `clips` and the text states (l, 384) of their captions to an empty folder; `recipe` goes into pack.json as it is.

    Of clips whose static frames are those of the clip before (the same animation with less amplitude) `extra_damped` pairs are
    kept besides the main orbit, of others `extra`. Returns bytes, latents and RMS errors.
    """
    some = torch.cat([clip.latents[::16] for clip in clips])
    grid = _Grid(some[:: max(1, len(some) // 2000)].float().median(0).values.half(), step)
    records, cameras, parts, kept, writers = [], {}, 0, 0, []
    tensors: dict[str, Tensor] = {"background": grid.background.half()}
    names = {caption: i for i, caption in enumerate(sorted(states))}
    for start in range(0, len(clips), CLIPS_A_PART):
        writer = _Writer(grid)
        for clip in clips[start : start + CLIPS_A_PART]:
            rows, follows = writer.add(clip, extra=extra, extra_damped=extra_damped)
            poses, intrinsics = clip.meta["camera_to_world"], clip.meta["intrinsics"]
            name = cameras.setdefault(poses.numpy().tobytes() + intrinsics.numpy().tobytes(), str(len(cameras)))
            tensors |= {f"camera_to_world.{name}": poses, f"intrinsics.{name}": intrinsics}
            wanted = ("kind", "motion_magnitude", "damped", "width", "height", "times", "static_time")
            records.append(
                {k: clip.meta[k] for k in wanted if k in clip.meta}
                | {"key": clip.key, "captions": [names[c] for c in clip.captions], "cameras": name}
                | {"pairs": [clip.pairs[row] for row in rows], "follows": follows}
            )
            kept += len(rows) + len(poses)
        (folder / f"part-{parts:03}.xz").write_bytes(lzma.compress(bytes(writer.data), filters=_FILTERS))
        writers.append(writer)
        parts += 1
    text_error = _write_text(folder / "text.xz", list(names), states, tensors, step=text_step)
    torch.save(tensors, folder / "tensors.pt")
    head = {"version": VERSION, "step": step, "text_step": text_step, "captions": list(names), "recipe": recipe}
    head |= {"lengths": [len(states[c]) for c in names], "parts": parts, "clips": records}
    (folder / "pack.json").write_text(json.dumps(head, separators=(",", ":")))
    rms = (sum(w.error for w in writers) / sum(w.count for w in writers)) ** 0.5
    size = sum(file.stat().st_size for file in folder.iterdir())
    return {"bytes": size, "latents": kept, "rms": rms, "text_rms": text_error}


def _write_text(
    file: Path, captions: list[str], states: dict[str, Tensor], tensors: dict[str, Tensor], *, step: float
) -> float:
    """Write all states, rotated to their principal axes; the axes go to `tensors`. Returns the RMS error."""
    everything = torch.cat([states[c].float() for c in captions])
    mean = everything.mean(0).half().float()
    axes = torch.linalg.eigh((everything - mean).T @ (everything - mean))[1].flip(1).half().float()
    integers = torch.round((everything - mean) @ axes / step).clamp(-127, 127).to(torch.int8)
    file.write_bytes(lzma.compress(integers.T.contiguous().numpy().tobytes(), preset=4))
    tensors |= {"text_mean": mean.half(), "text_axes": axes.half()}
    return float((integers.float() * step @ axes.T + mean - everything).square().mean().sqrt())


class TextTable:
    """Text states by caption, in place of the text encoder; on `device` after `to`."""

    def __init__(self, captions: Sequence[str], states: Sequence[Tensor]) -> None:
        """states: (l, d) each, at most 24 tokens."""
        self.ids = {"": 0} | {caption: i + 1 for i, caption in enumerate(captions)}
        self.table = torch.zeros(len(states) + 1, MAX_TOKENS, states[0].shape[-1], dtype=torch.half)
        self.mask = torch.zeros(len(states) + 1, MAX_TOKENS, dtype=torch.bool)
        for i, state in enumerate(states):
            self.table[i + 1, : len(state)], self.mask[i + 1, : len(state)] = state.half(), True

    def to(self, device: torch.device) -> None:
        self.table, self.mask = self.table.to(device), self.mask.to(device)

    def __call__(self, prompts: list[str], *, pad_to: int = MAX_TOKENS) -> tuple[Tensor, Tensor]:
        """As `encode_text`, always padded to 24 tokens. Raises KeyError for a caption that was not packed."""
        del pad_to
        which = torch.tensor([self.ids[p] for p in prompts], device=self.table.device)
        return self.table[which].float(), self.mask[which]


def read_pack(folder: Path, *, workers: int = 1) -> tuple[LatentSet, dict[str, Any]]:
    """The set to train on, its captions encoded by a `TextTable`, and pack.json. Raises InputError when it is no pack."""
    try:
        head = json.loads((folder / "pack.json").read_text())
        tensors = torch.load(folder / "tensors.pt", weights_only=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: expected a pack of latents ({error}); write one with benchmarks/gpu/pack_latents.py"
        ) from error
    if head["version"] != VERSION:
        raise InputError(f"{folder}: a pack of version {head['version']}, expected {VERSION}; pack the latents again")
    grid = _Grid(tensors["background"], head["step"])

    def part(index: int) -> list[LatentClip]:
        records = head["clips"][index * CLIPS_A_PART : (index + 1) * CLIPS_A_PART]
        return _read_part(folder / f"part-{index:03}.xz", records, grid, tensors, head["captions"])

    with ThreadPoolExecutor(max(workers, 1)) as pool:  # lzma and numpy let go of the interpreter
        clips = [clip for found in pool.map(part, range(head["parts"])) for clip in found]
    return LatentSet(clips, encode=_read_text(folder / "text.xz", head, tensors)), head


def _decompressed(file: Path) -> bytes:
    try:
        return lzma.LZMADecompressor(memlimit=2**28).decompress(file.read_bytes(), max_length=MAX_PART)
    except (OSError, lzma.LZMAError) as error:
        raise InputError(f"{file}: damaged or missing ({error}); pack the latents again") from error


def _read_part(
    file: Path, records: list[dict], grid: _Grid, tensors: dict[str, Tensor], captions: list[str]
) -> list[LatentClip]:
    c, h, w = grid.background.shape
    symbols = np.frombuffer(_decompressed(file), np.uint8).reshape(-1, h, w, c)
    clips, place, still = [], 0, np.zeros(1, np.int16)

    def following(count: int) -> np.ndarray:
        nonlocal place
        place += count
        return VALUE_OF[symbols[place - count : place]].transpose(0, 3, 1, 2)

    for record in records:
        poses, pairs = tensors[f"camera_to_world.{record['cameras']}"], [(int(v), int(j)) for v, j in record["pairs"]]
        difference = following(len(poses))
        still = still + difference if record["follows"] else difference
        others = still[[v for v, _ in pairs]] + following(len(pairs))
        static_time = int(record.get("static_time", 0))
        meta = {**record, "captions": [captions[i] for i in record["captions"]], "camera_to_world": poses}
        meta["intrinsics"] = tensors[f"intrinsics.{record['cameras']}"]
        every = [(v, static_time) for v in range(len(poses))] + pairs
        latents = grid.latents(np.ascontiguousarray(np.concatenate([still, others])))
        clips.append(LatentClip(key=record["key"], meta=meta, pairs=every, latents=latents))
    return clips


def _read_text(file: Path, head: dict[str, Any], tensors: dict[str, Tensor]) -> TextTable:
    axes, mean = tensors["text_axes"].float(), tensors["text_mean"].float()
    integers = np.frombuffer(_decompressed(file), np.int8).reshape(len(axes), -1)
    states = torch.from_numpy(integers.copy()).T.float() * head["text_step"] @ axes.T + mean
    return TextTable(head["captions"], states.split(head["lengths"]))


Encoder = Callable[[str], Tensor]


def text_states(clips: Sequence[LatentClip], encode: Encoder) -> dict[str, Tensor]:
    """(l, d) states of every distinct caption."""
    return {caption: encode(caption) for caption in sorted({c for clip in clips for c in clip.captions})}
