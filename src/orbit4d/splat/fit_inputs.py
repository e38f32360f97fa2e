"""Where a construction may start from: one moment of the object seen from several sides, if the clips show one."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..cameras import Cameras
from ..clip import ONE_MOMENT, OrbitalClip, join_clips, moment_of
from .hull import viewed_cube

SPREAD_DEG = 30.0
"""Views at least so far apart, seen from the object, tell different things about its shape."""
FEWEST_VIEWS = 6
"""Spread views from which one moment is known well enough to fit it first; fewer only mislead."""
NARROW_DEG = 90.0
"""A warning is given when all cameras together see the object from less than this of azimuth."""
_LOG = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Start:
    """What a construction starts from.

    Attributes:
        anchor: the time of the moment that is shown from several sides; None where there is none.
        views: the frames to carve the hull from: the static clip, or all that move.
        still: (f,) bool, which frames of all clips together (the static one last) show that moment.
    """

    anchor: float | None
    views: OrbitalClip
    still: Tensor


def find_start(clips: list[OrbitalClip], static_clip: OrbitalClip | None, *, size: int) -> Start:
    """The static clip, if there is one; else the moment that most cameras of all `clips` together see; else no moment.

    `size` is the larger side of the frames in `Start.views` where they come from several clips.
    Raises InputError when time passes in `static_clip`.
    """
    times = torch.cat([clip.times for clip in clips])
    if static_clip is not None:
        anchor = moment_of(static_clip, argument="static_clip")
        still = torch.arange(len(times) + len(static_clip)) >= len(times)
        return Start(anchor=anchor, views=static_clip, still=still)
    views = clips[0] if len(clips) == 1 else join_clips([clip.resized(size) for clip in clips])
    _warn_of_narrow_views(views.cameras)
    anchor = _best_moment(views)
    if anchor is None:
        return Start(anchor=None, views=views, still=torch.zeros(len(times), dtype=torch.bool))
    still = (times - anchor).abs() <= ONE_MOMENT
    return Start(anchor=anchor, views=views, still=still)


def _best_moment(clip: OrbitalClip) -> float | None:
    """The time with the most views, of those whose views are spread; of equals the one nearest the middle of all."""
    directions, rounded = _directions(clip.cameras), (clip.times / ONE_MOMENT).round()
    moments = rounded.unique()
    seen = torch.stack([rounded == moment for moment in moments])
    spread = torch.tensor([_spread_views(directions[mask]) >= FEWEST_VIEWS for mask in seen])
    if not spread.any():
        return None
    views = seen.sum(dim=1) * spread
    best = (views == views.max()).nonzero()[:, 0]
    middle = (len(moments) - 1) / 2
    chosen = seen[min(best.tolist(), key=lambda i: abs(i - middle))]
    return float(clip.times[chosen].median())


def _directions(cameras: Cameras) -> Tensor:
    """(t, 3) unit vectors from what the cameras look at to each of them."""
    center, _ = viewed_cube(cameras)
    return functional.normalize(cameras.positions - center, dim=-1)


def _spread_views(directions: Tensor) -> int:
    """How many of (n, 3) unit `directions` are SPREAD_DEG apart from each other, taken greedily in their order."""
    near = directions @ directions.T > torch.tensor(SPREAD_DEG).deg2rad().cos()
    chosen: list[int] = []
    for i in range(len(directions)):
        if not near[i, chosen].any():
            chosen.append(i)
    return len(chosen)


def _warn_of_narrow_views(cameras: Cameras) -> None:
    directions = _directions(cameras)
    azimuths = torch.atan2(directions[:, 1], directions[:, 0]).rad2deg().sort().values
    gaps = torch.cat([azimuths.diff(), azimuths[:1] + 360 - azimuths[-1:]])
    span = 360 - float(gaps.max())
    if span < NARROW_DEG:
        _LOG.warning(
            "clips: the cameras see the object from %.0f of 360 degrees of azimuth; what they do not see stays flat or "
            "missing: add views from other sides, or a static orbit (--static-clip)",
            span,
        )
