"""`Sample`: the rendered frames of one animation, as one tar file that is also a sample of a WebDataset shard.

    KEY.json                  key, captions, cameras, times, pairs and all that is known of the animation
    KEY.v03t11.rgba.png       view 3 at time 11: 8 bit, straight alpha
    KEY.v03t11.depth.png      16 bit: camera-z = code / 65535 * depth_max, 0 where nothing is
    KEY.v03t11.normals.npz    float16 (h, w, 3), world frame
    KEY.v03t11.flow.npz       float16 (h, w, 3), world units until the next time

Members stay encoded until a frame is asked for, so that a reader pays only for the frames it uses.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import torch
from PIL import Image

from ..cameras import Cameras
from ..clip import OrbitalClip
from ..errors import InputError
from ..files import atomic_path, parse_json
from .plan import Pair

MAX_MEMBER = 64 * 2**20
MAX_MEMBERS = 4 * 120 * 120
MAX_SAMPLE = 4 * 2**30
MAX_SIDE = 4096
_BLOCK = 512
"""Of tar: a header, and what members are padded to."""
KEY = re.compile(r"[A-Za-z0-9_-]{1,72}")
"""What names a sample; with the longest member's suffix it still fits a tar header."""


class RenderedFrame(Protocol):
    """What the renderer yields for a pair: arrays of one (h, w); `data.render.Frame` is one."""

    rgba: np.ndarray
    depth: np.ndarray | None
    normals: np.ndarray | None
    flow: np.ndarray | None


@dataclass(kw_only=True)
class Sample:
    """One animation's frames and metadata.

    Attributes:
        key: names it among all samples; letters, digits, - and _.
        meta: at least `captions` (list), `times` (T), `pairs` [[view, time], ...], `camera_to_world` (V, 4, 4) OpenCV,
            `intrinsics` (V, 3, 3), `width`, `height`, and `depth_max` where there is depth.
        members: encoded frames by their name without the key, e.g. ``v03t11.rgba.png``.
    """

    key: str
    meta: dict[str, Any]
    members: dict[str, bytes]

    @property
    def pairs(self) -> list[Pair]:
        return [(int(i), int(j)) for i, j in self.meta["pairs"]]

    @property
    def captions(self) -> list[str]:
        return list(self.meta["captions"])

    def cameras(self, views: Sequence[int]) -> Cameras:
        """The cameras of these views, in this order."""
        return Cameras(
            camera_to_world=torch.tensor(self.meta["camera_to_world"], dtype=torch.float32)[list(views)],
            intrinsics=torch.tensor(self.meta["intrinsics"], dtype=torch.float32)[list(views)],
            width=int(self.meta["width"]),
            height=int(self.meta["height"]),
        )

    def rgba(self, pair: Pair) -> np.ndarray:
        """(h, w, 4) uint8, straight alpha. Raises InputError where the pair was not rendered or is damaged."""
        return self._image(_name(pair, "rgba.png"), mode="RGBA")

    def depth(self, pair: Pair) -> np.ndarray:
        """(h, w) float32 camera-z in world units, 0 where nothing is."""
        code = self._image(_name(pair, "depth.png"), mode="I;16")
        if "depth_max" not in self.meta:
            raise InputError(f"{self.key}: its metadata lack depth_max, the unit of its depth; render it again")
        return code.astype(np.float32) * np.float32(self.meta["depth_max"] / 65535)

    def normals(self, pair: Pair) -> np.ndarray:
        """(h, w, 3) float32 unit normals in the world frame, 0 where nothing is."""
        return self._array(_name(pair, "normals.npz"))

    def flow(self, pair: Pair) -> np.ndarray:
        """(h, w, 3) float32 scene flow: the surface point's way in world units until the next time."""
        return self._array(_name(pair, "flow.npz"))

    def clip(self, pairs: Sequence[Pair], *, depth: bool = False, caption: str | None = None) -> OrbitalClip:
        """These pairs, in this order, as a clip."""
        rgba = torch.from_numpy(np.stack([self.rgba(p) for p in pairs])).permute(0, 3, 1, 2).float() / 255
        times = self.meta["times"]
        return OrbitalClip(
            rgb=rgba[:, :3],
            alpha=rgba[:, 3:],
            cameras=self.cameras([i for i, _ in pairs]),
            times=torch.tensor([times[j] for _, j in pairs], dtype=torch.float32),
            depth=torch.from_numpy(np.stack([self.depth(p) for p in pairs]))[:, None] if depth else None,
            caption=caption or (self.captions[0] if self.captions else None),
            motion_magnitude=self.meta.get("motion_magnitude"),
        )

    def _bytes(self, name: str) -> bytes:
        if name not in self.members:
            raise InputError(f"{self.key}: holds no {name}; it was not rendered, see `pairs` and --outputs")
        return self.members[name]

    def _image(self, name: str, *, mode: str) -> np.ndarray:
        height, width = int(self.meta["height"]), int(self.meta["width"])
        try:
            with Image.open(io.BytesIO(self._bytes(name)), formats=("PNG",)) as picture:
                if picture.size != (width, height) or picture.mode != mode:
                    raise InputError(
                        f"{self.key}.{name}: expected {width} x {height} {mode}, got {picture.size} {picture.mode}"
                    )
                return np.array(picture)
        except InputError:
            raise
        except Exception as error:  # decoders of damaged files raise what they like, bombs included
            reason = " ".join(str(error).split())[:80]
            raise InputError(f"{self.key}.{name}: a damaged PNG ({reason}); render it again") from error

    def _array(self, name: str) -> np.ndarray:
        shape = (int(self.meta["height"]), int(self.meta["width"]), 3)
        return _unpack(self._bytes(name), shape, source=f"{self.key}.{name}")


def on_white(rgba: np.ndarray) -> np.ndarray:
    """(h, w, 3) float32 in [0, 1] of straight 8-bit RGBA (h, w, 4) over white."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return rgba[..., :3].astype(np.float32) / 255 * alpha + (1 - alpha)


def _name(pair: Pair, suffix: str) -> str:
    return f"v{pair[0]:02d}t{pair[1]:02d}.{suffix}"


def encode_frame(frame: RenderedFrame, pair: Pair, *, depth_max: float) -> dict[str, bytes]:
    """The members of one rendered pair; what the frame does not have is left out."""
    out = {_name(pair, "rgba.png"): _png(frame.rgba)}
    if frame.depth is not None:
        code = np.rint(np.clip(frame.depth / depth_max, 0, 1) * 65535).astype(np.uint16)
        # A surface must not become empty space by rounding.
        out[_name(pair, "depth.png")] = _png(np.where(frame.depth > 0, np.maximum(code, 1), 0).astype(np.uint16))
    for name, array in (("normals", frame.normals), ("flow", frame.flow)):
        if array is not None:
            packed = io.BytesIO()
            np.savez_compressed(packed, array.astype(np.float16))
            out[_name(pair, f"{name}.npz")] = packed.getvalue()
    return out


def _png(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, format="PNG", compress_level=1)
    return out.getvalue()


def _unpack(data: bytes, shape: tuple[int, ...], *, source: str) -> np.ndarray:
    """The float array of `shape` in an .npz of one. Its header is read first: a small file may claim any size."""
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open("arr_0.npy") as member:
            version = np.lib.format.read_magic(member)
            if version != (1, 0):  # headers of later ones may themselves be of gigabytes
                raise ValueError(f".npy version {version}")
            found, fortran, dtype = np.lib.format.read_array_header_1_0(member)
            if found != shape or fortran or dtype != np.float16:
                raise InputError(f"{source}: expected float16 {shape}, got {dtype} {str(found)[:40]}; render it again")
            body = member.read(int(np.prod(shape)) * 2)
        return np.frombuffer(body, np.float16).reshape(shape).astype(np.float32)
    except InputError:
        raise
    except Exception as error:  # zip, zlib, the .npy header's parser: of damaged files each raises its own
        reason = " ".join(str(error).split())[:80]
        raise InputError(f"{source}: a damaged .npz ({reason}); render it again") from error


def tar_members(sample: Sample) -> list[tuple[str, bytes]]:
    """(name, bytes) of a sample in the order in which every tar holds them: its JSON, then the frames by name."""
    text = json.dumps(sample.meta, sort_keys=True, separators=(",", ":")).encode()
    return [(f"{sample.key}.json", text)] + [
        (f"{sample.key}.{name}", sample.members[name]) for name in sorted(sample.members)
    ]


def add_to_tar(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Append a member without owner or date: equal samples make equal bytes."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o644
    tar.addfile(info, io.BytesIO(data))


def save_sample(sample: Sample, path: str | Path) -> None:
    """Write a sample as a tar file, which appears only when whole. Raises InputError for a key that is no file name."""
    if not KEY.fullmatch(sample.key):
        raise InputError(f"sample key: expected letters, digits, - and _ (at most 72), got {sample.key[:60]!r}")
    with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in tar_members(sample):
            add_to_tar(tar, name, data)


def load_sample(path: str | Path) -> Sample:
    """Read a sample's tar file; frames stay encoded. Raises InputError for anything missing, damaged or oversized."""
    path = Path(path)
    try:
        if not path.is_file() or path.stat().st_size > MAX_SAMPLE:
            what = f"larger than {MAX_SAMPLE >> 30} GiB" if path.is_file() else "missing"
            raise InputError(f"{path}: {what}; expected the tar file of one sample")
        with open(path, "rb") as handle:
            members = _read_tar(handle, source=str(path), whole=True, advice="render it again")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); render it again") from error
    return sample_from_members(members, source=str(path))


def tar_contents(data: bytes, *, source: str) -> list[tuple[str, bytes]]:
    """(name, bytes) of the plain files in a piece of a tar archive, which ends where its last member does.

    Raises InputError, naming `source`, for what is not a whole piece of such an archive.
    """
    return _read_tar(io.BytesIO(data), source=source, whole=False, advice="copy it again, or shard again")


def _read_tar(handle: IO[bytes], *, source: str, whole: bool, advice: str) -> list[tuple[str, bytes]]:
    """(name, bytes) of the plain files of a tar archive, `whole` or a piece, in a tenth of the time that `tarfile` needs.

    Never more bytes than there are: links, sparse files and extended headers, which may claim any size, are refused.
    """
    out: list[tuple[str, bytes]] = []
    at = 0
    while header := handle.read(_BLOCK):
        if whole and not header.strip(b"\0"):
            return out
        try:
            size = int(header[124:136].rstrip(b" \0"), 8)
            checksum = int(header[148:156].rstrip(b" \0"), 8)
            name = header[:100].rstrip(b"\0").decode("ascii")
        except ValueError as error:
            raise InputError(f"{source}: a damaged tar header at {at}; {advice}") from error
        # The header's sum with its own field as spaces. Adler-32 holds a sum of bytes, modulo 65521: fast, and as telling.
        total = (zlib.adler32(header) & 0xFFFF) - 1 - sum(header[148:156]) + 8 * 32
        plain = (total - checksum) % 65521 == 0 and header[156:157] in (b"0", b"\0")
        padded = -(-size // _BLOCK) * _BLOCK
        at += _BLOCK + padded
        if not plain or not 0 <= size <= MAX_MEMBER or len(out) >= MAX_MEMBERS or at > MAX_SAMPLE:
            raise InputError(f"{source}: member {name[:60]!r} is no plain file or damaged; {advice}")
        body = handle.read(padded)
        if len(body) != padded:
            raise InputError(f"{source}: cut short in member {name[:60]!r}; {advice}")
        out.append((name, body[:size]))
    if whole:
        raise InputError(f"{source}: cut short at {at}, the end of the archive is missing; {advice}")
    return out


def sample_from_members(members: Iterable[tuple[str, bytes]], *, source: str) -> Sample:
    """Put one sample together from its tar members, as they come. Raises InputError, naming `source`, if they are not one."""
    key, meta, frames = None, None, {}
    for name, data in members:
        stem, _, rest = name.partition(".")
        if key not in (None, stem) or not KEY.fullmatch(stem):
            raise InputError(
                f"{source}: member {name[:60]!r} does not belong to sample {str(key)[:60]!r}; render it again"
            )
        key = stem
        if rest == "json":
            meta = parse_json(data, source=f"{source}:{name}")
        else:
            frames[rest] = data
    if key is None or meta is None:
        raise InputError(f"{source}: holds no sample (KEY.json is missing); render it again")
    check_meta(meta, source=f"{source}:{key}.json")
    return Sample(key=key, meta=meta, members=frames)


def check_meta(meta: Any, *, source: str) -> None:
    """Raises InputError unless `meta` is what `Sample.meta` promises, so that no reader of it needs to check again."""
    try:
        poses, intrinsics = (np.asarray(meta[k], dtype=float) for k in ("camera_to_world", "intrinsics"))
        times = np.asarray(meta["times"], dtype=float)
        pairs = np.asarray(meta["pairs"])
        good = poses.shape == (len(poses), 4, 4) and intrinsics.shape == (len(poses), 3, 3) and times.ndim == 1
        good &= all(np.isfinite(a).all() for a in (poses, intrinsics, times)) and ((times >= 0) & (times <= 1)).all()
        good &= pairs.ndim == 2 and pairs.shape[1] == 2 and np.issubdtype(pairs.dtype, np.integer)
        good &= bool((pairs >= 0).all() and (pairs < [len(poses), len(times)]).all())
        good &= all(isinstance(meta[k], int) and 1 <= meta[k] <= MAX_SIDE for k in ("width", "height"))
        good &= isinstance(meta["captions"], list) and all(isinstance(c, str) for c in meta["captions"])
        good &= "depth_max" not in meta or 0 < float(meta["depth_max"]) < 1e6
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{source}: not a sample's metadata ({type(error).__name__}: {str(error)[:60]})") from error
    if not good:
        raise InputError(
            f"{source}: not a sample's metadata: cameras, times, pairs or captions are malformed; render it again"
        )
