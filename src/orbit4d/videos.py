"""Reading the short videos that users bring: what is decoded is bounded, and a long one is thinned while it is read."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from .errors import InputError
from .images import MAX_SIDE, limited, load_rgba

DEMUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".webm": "webm", ".mkv": "matroska", ".avi": "avi"}
"""Suffix -> the one format that ffmpeg may take the file for: by itself it would open playlists, which name other files."""
ANIMATIONS = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}
STILLS = (".png", ".jpg", ".jpeg", ".webp")
SIDE = 256
"""Frames are read at this size at most."""
KEPT = 48
"""Frames that are kept at most, and half as many at least, of videos that have them."""
MAX_FRAMES = 3600
MAX_BYTES = 512 * 2**20


@dataclass(kw_only=True)
class Video:
    """Frames rgba (n, 4, h, w) straight alpha in [0, 1] (1 where the file has none), n >= 2, at times (n,) from 0 to 1.

    `indices` (n,) are their numbers among the `total` frames of the file.
    """

    rgba: Tensor
    times: Tensor
    indices: list[int]
    total: int


def read_video(path: str | Path, *, argument: str = "--video") -> Video:
    """Read an .mp4, .mov, .webm, .mkv, .avi, .gif, animated .webp or .png, or a folder of pictures, in order of their names.

    Raises InputError, naming the file and `argument`, for what is absent, damaged, too long, too large or a single picture.
    """
    path = Path(path)
    if path.is_dir():
        frames = _of_folder(path, argument)
    elif not path.is_file():
        raise InputError(f"{argument}: {path}: no such file or folder; expected a video or a folder of pictures")
    elif path.stat().st_size > MAX_BYTES:
        raise InputError(f"{argument}: {path} is larger than {MAX_BYTES / 2**20:.0f} MiB; cut it, or make it smaller")
    elif path.suffix.lower() in DEMUXERS:
        frames = _of_ffmpeg(path, argument)
    elif path.suffix.lower() in ANIMATIONS:
        frames = _of_animation(path, argument)
    else:
        kinds = ", ".join([*DEMUXERS, *ANIMATIONS])
        raise InputError(
            f"{argument}: {path}: expected {kinds} or a folder of pictures, got {path.suffix or 'no suffix'!r}"
        )
    return thinned(frames, path, argument)


def is_picture(path: Path) -> bool:
    """Whether the file is one picture, of a kind that STILLS names: .webp and .png may move as well."""
    if not path.is_file() or path.suffix.lower() not in STILLS:
        return False
    try:
        with Image.open(path, formats=["PNG", "JPEG", "WEBP"]) as image:
            return getattr(image, "n_frames", 1) == 1
    except Exception:  # a damaged file: whoever reads it says what is wrong
        return True


def thinned(frames: Iterable[tuple[float, Tensor]], path: Path, argument: str) -> Video:
    """Every 1st, 2nd, 4th... of frames (seconds, (4, h, w) bytes), so that at most KEPT remain, and the last one.

    Which are kept depends on their number alone: of a video and its mask the same.
    """
    kept: list[tuple[int, float, Tensor]] = []
    stride, last = 1, None
    for i, (second, rgba) in enumerate(frames):
        if i >= MAX_FRAMES:
            raise InputError(f"{argument}: {path} has more than {MAX_FRAMES} frames; cut it to the motion that counts")
        if last is not None and rgba.shape != last[2].shape:
            raise InputError(f"{argument}: {path}: frame {i} has another shape than frame 0; all must have one size")
        last = (i, second, rgba)
        if i % stride == 0:
            kept.append(last)
            if len(kept) > KEPT:
                kept, stride = kept[::2], 2 * stride
    if last is None or last[0] == 0:
        raise InputError(
            f"{argument}: {path} holds {0 if last is None else 1} frame, expected 2 or more; pass a picture as --image"
        )
    if kept[-1][0] != last[0]:
        kept.append(last)
    seconds = torch.tensor([second for _, second, _ in kept], dtype=torch.float64)
    span = float(seconds[-1] - seconds[0])
    times = (seconds - seconds[0]) / span if span > 0 else torch.linspace(0, 1, len(kept))
    return Video(
        rgba=torch.stack([rgba for *_, rgba in kept]).float() / 255,
        times=times.float(),
        indices=[i for i, *_ in kept],
        total=last[0] + 1,
    )


def _of_ffmpeg(path: Path, argument: str) -> Iterator[tuple[float, Tensor]]:
    import imageio_ffmpeg

    logging.getLogger("imageio_ffmpeg").setLevel(logging.ERROR)  # it warns of the smaller size that we ask for
    source = ["-protocol_whitelist", "file", "-f", DEMUXERS[path.suffix.lower()]]
    fit = f"scale='min({SIDE},iw)':'min({SIDE},ih)':force_original_aspect_ratio=decrease:flags=area"
    try:
        with closing(
            imageio_ffmpeg.read_frames(
                str(path.resolve()), pix_fmt="rgba", bits_per_pixel=32, input_params=source, output_params=["-vf", fit]
            )
        ) as reader:
            meta = next(reader)
            width, height = meta["size"]
            fps, seconds = float(meta["fps"] or 0) or 1.0, float(meta["duration"] or 0)
            if max(meta["source_size"]) > MAX_SIDE or seconds * fps > 2 * MAX_FRAMES:
                raise InputError(
                    f"{argument}: {path} is {meta['source_size'][0]} x {meta['source_size'][1]} pixels, {seconds:.0f} s; "
                    f"at most {MAX_SIDE} a side and {MAX_FRAMES} frames are read; cut it, or make it smaller"
                )
            for i, raw in enumerate(reader):
                pixels = np.frombuffer(raw, np.uint8).reshape(height, width, 4)
                yield i / fps, torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    except InputError:
        raise
    except (OSError, RuntimeError, StopIteration, KeyError, ValueError, AssertionError, IndexError) as error:
        reason = (str(error).split("\n")[-1].strip() or type(error).__name__)[:160]  # FFmpeg's last line says most
        raise InputError(f"{argument}: {path}: cannot be read as a video ({reason})") from error


def _of_animation(path: Path, argument: str) -> Iterator[tuple[float, Tensor]]:
    try:
        with Image.open(path, formats=[ANIMATIONS[path.suffix.lower()]]) as image:
            count = getattr(image, "n_frames", 1)
            if max(image.size) > MAX_SIDE or count > MAX_FRAMES:
                raise InputError(
                    f"{argument}: {path} is {image.size[0]} x {image.size[1]} pixels, {count} frames; "
                    f"at most {MAX_SIDE} a side and {MAX_FRAMES} frames are read; cut it, or make it smaller"
                )
            second = 0.0
            for frame in ImageSequence.Iterator(image):
                pixels = torch.from_numpy(np.asarray(frame.convert("RGBA")).copy()).permute(2, 0, 1)
                yield second, limited_bytes(pixels)
                second += max(float(frame.info.get("duration", 0) or 0), 1.0) / 1000
    except InputError:
        raise
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise InputError(f"{argument}: {path}: cannot be read as an animation ({str(error)[:120]})") from error


def _of_folder(path: Path, argument: str) -> Iterator[tuple[float, Tensor]]:
    files = sorted((p for p in path.iterdir() if p.suffix.lower() in STILLS and p.is_file()), key=_natural)
    if not files:
        raise InputError(f"{argument}: {path} holds no pictures ({', '.join(STILLS)}); expected a video's frames")
    if len(files) > MAX_FRAMES:
        raise InputError(f"{argument}: {path} holds {len(files)} pictures, at most {MAX_FRAMES} are read; cut it")
    shape = None
    for i, file in enumerate(files):
        rgba = load_rgba(file)
        if rgba.shape != (shape := shape or rgba.shape):
            raise InputError(
                f"{argument}: {file} is {rgba.shape[2]} x {rgba.shape[1]}, the first picture {shape[2]} x {shape[1]}; "
                "all must have one size"
            )
        yield float(i), limited_bytes((rgba * 255).round().byte())


def _natural(path: Path) -> list[tuple[int, str]]:
    """frame_2 before frame_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d{1,18})", path.name.lower())]


def limited_bytes(rgba: Tensor) -> Tensor:
    """(4, h, w) bytes at most SIDE a side; see `images.limited`."""
    if max(rgba.shape[1:]) <= SIDE:
        return rgba
    return (limited(rgba.float() / 255, side=SIDE) * 255).round().byte()
