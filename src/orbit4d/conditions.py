"""Conditions from the user's files: the object of an image or a video, cut out of its background and centred."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from .cameras import Cameras, Orbit
from .clip import OrbitalClip, load_clip
from .errors import InputError
from .foreground import cut_out, cut_out_all, without_specks
from .images import limited, load_rgba
from .videos import Video, is_picture, limited_bytes, read_video, thinned

if TYPE_CHECKING:
    from .splat.gaussians import Gaussians

WORKING_SIDE = 512
"""Images are cut out at this size at most: enough for conditions of a few hundred pixels."""
MARGIN = 0.17
"""Empty share of the frame on each side of the object: the mean of the training clips' first frames."""
VIDEO_MARGIN = 0.135
"""The same for the box of all of a video's frames: the mean of the training clips' front views, at any azimuth."""
MAX_VIDEO_FRAMES = 5
"""Reference frames of a video: training shows two to five clean frames of one view, never more."""
FLOATING = 3.0
"""Gaussians this many times farther from the middle than 95 % of them do not count for how large the object is."""
VISIBLE = 0.1
"""Alpha above which a pixel counts for the object's bounding box."""


def load_condition_image(path: str | Path, *, mask: str | Path | None = None, size: int = 256) -> Tensor:
    """Read an image and return its object as (4, size, size) straight RGBA in [0, 1], centred (see `MARGIN`).

    The foreground is, in this order: `mask` (an image of the same size, white or opaque where the object is), the
    image's own alpha channel, or what differs from a uniform background found along the border.
    Raises InputError when the file cannot be read or the foreground cannot be told; the latter message names --mask.
    """
    rgba = load_rgba(path)
    if mask is not None:
        rgba = limited(torch.cat([rgba[:3], _load_mask(mask, rgba)]), side=WORKING_SIDE)
        if not bool((rgba[3] > VISIBLE).any()):
            raise InputError(f"--mask: {mask} marks only scattered pixels; expected one white area on the object")
    else:
        rgba = limited(rgba, side=WORKING_SIDE)
        if not _has_useful_alpha(rgba[3]):
            if float(rgba[3].max()) < 0.5:
                raise InputError(f"{path}: the image is transparent everywhere; expected an object, check the file")
            cut = cut_out(rgba[:3])
            if cut is None:
                raise InputError(
                    f"{path}: cannot tell the object from its background (no alpha channel, no uniform background); "
                    "pass --mask with a black and white image of the same size, or an RGBA image"
                )
            rgba = cut
    return centred(rgba, size=size)


def centred(rgba: Tensor, *, size: int, margin: float = MARGIN) -> Tensor:
    """(4, size, size): the object of straight (4, h, w) `rgba`, bounding box centred, side (1 - 2 margin) size.

    Some alpha must exceed VISIBLE.
    """
    if not bool((rgba[3] > VISIBLE).any()):
        raise ValueError(f"rgba must have some alpha above {VISIBLE}, got at most {float(rgba[3].max())}")
    return cropped(rgba[None], box_of(rgba[3]), size=size, margin=margin)[0]


def box_of(alpha: Tensor) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) in pixels of what exceeds VISIBLE in (h, w) `alpha`, which must be something."""
    rows = (alpha > VISIBLE).any(dim=1).nonzero().flatten()
    columns = (alpha > VISIBLE).any(dim=0).nonzero().flatten()
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def cropped(rgba: Tensor, box: tuple[int, int, int, int], *, size: int, margin: float) -> Tensor:
    """(n, 4, size, size): straight (n, 4, h, w) `rgba`, the box centred, its larger side (1 - 2 margin) size."""
    top, bottom, left, right = box
    side = max(bottom - top, right - left) / (1 - 2 * margin)
    # Output pixel centres -> normalised input coordinates of grid_sample (align_corners=False: edges at -1 and 1).
    offsets = ((torch.arange(size) + 0.5) / size - 0.5) * side
    x = ((left + right) / 2 + offsets) / rgba.shape[3] * 2 - 1
    y = ((top + bottom) / 2 + offsets) / rgba.shape[2] * 2 - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).expand(len(rgba), size, size, 2)
    premultiplied = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], dim=1)
    if side > 2 * size:  # bilinear sampling of a much larger image would alias
        smaller = [max(1, round(s * size / side)) for s in rgba.shape[2:]]
        premultiplied = functional.interpolate(premultiplied, size=smaller, mode="area")
    out = functional.grid_sample(premultiplied, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    colour, alpha = out[:, :3], out[:, 3:]
    return torch.cat([(colour / alpha.clamp_min(1e-4)).clamp(0, 1) * (alpha > 1e-4), alpha.clamp(0, 1)], dim=1)


def load_condition_video(
    path: str | Path,
    *,
    mask: str | Path | None = None,
    frames: int = MAX_VIDEO_FRAMES,
    azimuth: float | None = None,
    size: int = 128,
) -> OrbitalClip:
    """Read a video of the object, filmed by a camera that stands still, as `frames` reference frames, evenly in time.

    Args:
        path: a video, an animation, a folder of pictures (`videos.read_video`), or a clip of one camera. Its whole length is
            the time from 0 to 1.
        mask: the foreground: one picture for all frames, or a video or folder with as many frames. Else the frames' own
            alpha, or what differs from one uniform background.
        frames: how many, 2 to MAX_VIDEO_FRAMES.
        azimuth: degrees around the object from its front to the camera; None is the clip's own camera, or 0.

    Returns: a clip of (size, size) frames. One crop is common to all: the box of the whole motion is centred and leaves
    `VIDEO_MARGIN`, as in training, so that the object neither swims nor changes its size.
    Raises InputError when a file cannot be read, is too long, or the foreground cannot be told.
    """
    if not 2 <= frames <= MAX_VIDEO_FRAMES:
        raise InputError(f"--video: expected 2 to {MAX_VIDEO_FRAMES} reference frames, got {frames}")
    path = Path(path)
    video, camera_azimuth = (
        _read_clip(path, masked=mask is not None and not is_picture(Path(mask)))
        if _is_clip(path)
        else (read_video(path), 0.0)
    )
    rgba = _with_foreground(video, path, mask)
    covered = rgba[:, 3].amax(dim=0)
    if not bool((covered > VISIBLE).any()):
        raise InputError(f"--video: {path} shows no object; expected one, cut out or on a uniform background")
    wanted = torch.linspace(0, 1, frames)
    picked = sorted({int((video.times - t).abs().argmin()) for t in wanted})
    rgba = cropped(rgba[picked], box_of(covered), size=size, margin=VIDEO_MARGIN)
    turn = camera_azimuth if azimuth is None else azimuth
    camera = Orbit(azimuth_start_deg=turn).cameras(size)[[0] * len(picked)]
    return OrbitalClip(rgb=rgba[:, :3], alpha=rgba[:, 3:], cameras=camera, times=video.times[picked])


def is_gaussians(path: Path) -> bool:
    """Whether `path` names Gaussians rather than a clip: a `.ply`, a `.splat`, or a scene of ours."""
    scene = path / "scene.safetensors"
    return path.suffix.lower() in (".ply", ".splat", ".safetensors") or (not _is_clip(path) and scene.is_file())


def load_condition_gaussians(path: str | Path, *, up: str | None = None, size: int = 128) -> OrbitalClip:
    """A static orbit of Gaussians: of a `.ply`, a `.splat`, or a scene of ours at time 0.

    They are placed as a rendered asset is: the sphere around what is visible, without the few Gaussians far off that
    captures have, is centred and fills the frame of the standard orbit (24 views of `size` pixels).
    `up`: the axis that points up in the file; None is what it says, else z. Raises InputError for bad files.
    """
    from .imports.scenes import load_gaussians
    from .splat.rasterize import render
    from .splat.turning import check_up

    scene = load_gaussians(path, up=None if up is None else check_up(up, argument="--static-up"))
    with torch.no_grad():
        gaussians = _placed(scene.at(0.0).detach(), source=str(path))
        cameras = Orbit().cameras(size)
        seen = render(gaussians, cameras)
    if not bool((seen.alpha > 0.5).any()):
        raise InputError(f"--static: {path} shows no object: its Gaussians are all but transparent; check the file")
    rgb, alpha = seen.rgb / seen.alpha.clamp_min(1e-4), seen.alpha.clamp(0, 1)
    times = torch.zeros(len(cameras))
    return OrbitalClip(rgb=rgb.clamp(0, 1) * (alpha > 1e-4), alpha=alpha, cameras=cameras, times=times)


def _placed(gaussians: Gaussians, *, source: str) -> Gaussians:
    """Moved and scaled so that what is visible fills the standard orbit's frame as training assets do."""
    from .data.placement import FRAME_RADIUS

    seen = gaussians.logit_opacities.sigmoid() > VISIBLE
    if not bool(seen.any()):
        raise InputError(f"--static: {source} shows no object: its Gaussians are all but transparent; check the file")
    points, reach = gaussians.means[seen], 2 * gaussians.log_scales[seen].amax(dim=1).exp()
    centre = points.median(dim=0).values
    distance = (points - centre).norm(dim=-1) + reach
    near = distance <= FLOATING * distance.kthvalue(max(1, round(0.95 * len(points)))).values
    centre = (points[near].amin(dim=0) + points[near].amax(dim=0)) / 2
    radius = float(((points - centre).norm(dim=-1) + reach)[near].max())
    scale = FRAME_RADIUS / max(radius, 1e-9)
    means = (gaussians.means - centre) * scale
    if not bool(torch.isfinite(means).all()):
        raise InputError(f"--static: {source} spans nothing that can be shown (radius {radius:.3g}); check the file")
    return replace(gaussians, means=means, log_scales=gaussians.log_scales + math.log(scale))


def check_conditions(
    *,
    prompt: str | None,
    image: str | Path | None,
    video: str | Path | None,
    mask: str | Path | None,
    static: str | Path | None,
    motion: float | None,
    azimuth: float | None,
    static_up: str | None = None,
) -> None:
    """Raises InputError, naming the options, for conditions that cannot be used or do not go together."""
    given = {"--image": image, "--video": video, "--static": static}
    shown = [name for name, value in given.items() if value is not None]
    if prompt is None and not shown:
        raise InputError("nothing to generate from: give --prompt, --image, --video or --static")
    if prompt is not None and not prompt.strip():
        raise InputError('--prompt: expected a description such as "a fox running", got an empty text')
    if len(shown) > 1:
        raise InputError(f"{' and '.join(shown)}: give one of them; each combines with --prompt and --motion")
    if mask is not None and image is None and video is None:
        raise InputError("--mask: it marks the foreground of --image or --video, which is missing")
    if static_up is not None and (static is None or not is_gaussians(Path(static))):
        raise InputError("--static-up: it says which axis points up in the Gaussians of --static (.ply or .splat)")
    if motion is not None and not 0 <= motion <= 1:
        raise InputError(f"--motion: expected a number in [0, 1], got {motion}")
    if azimuth is not None and image is None and video is None:
        raise InputError("--azimuth: it says where --image or --video was taken from, which is missing")
    if azimuth is not None and not -360 <= azimuth <= 360:
        raise InputError(f"--azimuth: expected -360 to 360 degrees, got {azimuth}")


def _is_clip(path: Path) -> bool:
    return (
        path.suffix.lower() == ".json"
        or (path / "transforms.json").is_file()
        or (path / "transforms_multi.json").is_file()
    )


def _read_clip(path: Path, *, masked: bool) -> tuple[Video, float]:
    """The frames of a clip whose camera stands still, as `read_video` would give them, and that camera's azimuth in degrees.

    `masked`: another video goes with it, frame by frame.
    """
    clip = load_clip(path)
    if not _still(clip.cameras):
        raise InputError(
            f"--video: {path}: its camera moves; expected one that stands still (`orbit4d render --trajectory front`), "
            "or pass the clip to `orbit4d reconstruct`"
        )
    order = clip.times.argsort()
    times = clip.times[order]
    if len(clip) < 2 or not float(times[-1]) > float(times[0]):
        raise InputError(f"--video: {path} shows one moment; expected a video, or pass it as --static")
    if masked and not bool((clip.times.diff() >= 0).all()):
        raise InputError(
            f"--mask: the frames of {path} are not in order of time, so it cannot be told which mask belongs to which; "
            "expected one picture, or no mask for a clip with alpha"
        )
    x, y, _ = clip.cameras.positions[0].tolist()
    rgba = (torch.cat([clip.rgb, clip.alpha], dim=1) * 255).round().byte()
    frames = ((float(clip.times[i]), limited_bytes(rgba[i])) for i in order.tolist())
    return thinned(frames, path, "--video"), math.degrees(math.atan2(x, -y))


def _still(cameras: Cameras) -> bool:
    return bool((cameras.camera_to_world - cameras.camera_to_world[:1]).abs().max() < 1e-3)


def _with_foreground(video: Video, path: Path, mask: str | Path | None) -> Tensor:
    """The video's frames (n, 4, h, w) with an alpha channel that tells the object."""
    rgba = video.rgba
    if mask is not None:
        alpha = _video_mask(Path(mask), video)
        share = float((alpha > 0.5).float().mean())
        if not 0.0005 < share < 1:
            what = "the whole picture" if share == 1 else "no object"
            raise InputError(f"--mask: {mask} marks {what}; expected white (or opaque) pixels where the object is")
        return torch.cat([rgba[:, :3], alpha], dim=1)
    if _has_useful_alpha(rgba[:, 3]):
        return rgba
    if float(rgba[:, 3].max()) < 0.5:
        raise InputError(f"--video: {path} is transparent everywhere; expected an object, check the file")
    try:
        cut = cut_out_all(rgba[:, :3], source=str(path))[0]
        return torch.stack([frame * without_specks(frame[3] > 0) for frame in cut])  # what compression leaves behind
    except InputError as error:
        raise InputError(f"--video: {error}, or pass --mask with a black and white video of the same length") from error


def _video_mask(path: Path, video: Video) -> Tensor:
    """(n, 1, h, w), 1 on the object."""
    if is_picture(path):
        mask = limited(load_rgba(path), side=max(video.rgba.shape[2:]))[None].expand(len(video.rgba), -1, -1, -1)
    else:
        other = read_video(path, argument="--mask")
        if other.total != video.total:
            raise InputError(
                f"--mask: {path} has {other.total} frames, the video {video.total}; they must have as many"
            )
        mask = other.rgba
    if mask.shape[2:] != video.rgba.shape[2:]:
        sizes = [f"{m.shape[3]} x {m.shape[2]}" for m in (mask, video.rgba)]
        raise InputError(
            f"--mask: {path} is {sizes[0]} at the video's scale, the video {sizes[1]}; they must have one size"
        )
    return mask[:, 3:] if _has_useful_alpha(mask[:, 3]) else mask[:, :3].mean(dim=1, keepdim=True)


def _load_mask(path: str | Path, rgba: Tensor) -> Tensor:
    mask = load_rgba(path)
    if mask.shape != rgba.shape:
        raise InputError(
            f"--mask: {path} is {mask.shape[2]} x {mask.shape[1]}, the image is {rgba.shape[2]} x {rgba.shape[1]}; "
            "they must have one size"
        )
    alpha = mask[3:] if _has_useful_alpha(mask[3]) else mask[:3].mean(dim=0, keepdim=True)
    share = float((alpha > 0.5).float().mean())
    if not share > 0.0005:
        raise InputError(f"--mask: {path} marks no object; expected white (or opaque) pixels where the object is")
    if share == 1:
        raise InputError(f"--mask: {path} marks the whole image; expected black pixels where the background is")
    return alpha


def _has_useful_alpha(alpha: Tensor) -> bool:
    return float((alpha < 0.5).float().mean()) > 0.002 and float((alpha > 0.5).float().mean()) > 0.0005
