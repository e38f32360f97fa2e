"""Which rendered animations are worth training on: measures of a sample, and rules over the measures.

Diffusion4D's rules compare the front clip at 0 with itself at 1/4 and 1/2 of its length by SSIM: nearly the same both times
is no motion, too different either time is no continuous motion. A clip may hold several loops of a short animation, though, and
a gallop that is back at its start at 1/2 is no statue: the front frame that differs most is asked as well. Further rules find
objects that leave the frame, are hardly there, or came out in one flat colour.

Measuring reads frames and is slow; deciding reads numbers and is instant, so other thresholds cost nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from ..ssim import ssim
from .plan import Pair
from .sample import Sample, on_white
from .selection import front_view, has_diagonal, has_static_orbit, measured_motion, sample_orbits

SIDE = 256
"""SSIM is taken at this size, whatever was rendered: Diffusion4D's thresholds belong to it."""
COVERED = 0.5
"""Alpha above which a pixel is the object's."""
FRONT_MEASURES = ("ssim_quarter", "ssim_half", "ssim_peak", "front_step_max")
FRAME_MEASURES = ("coverage_mean", "coverage_min", "coverage_max", "border_max", "colour_spread")
"""Those that every sample has. Front measures need a front clip; `motion_magnitude` is stored, or needs a static orbit."""
MEASURES = (*FRONT_MEASURES, *FRAME_MEASURES, "motion_magnitude")
MEASURES_VERSION = 2
"""Raised whenever a measure changes its meaning, so that stored ones are taken again."""


@dataclass(kw_only=True, frozen=True)
class CurationRules:
    """The thresholds, each of a share or an SSIM in [0, 1]. Equality never drops.

    Attributes:
        static_ssim: dropped as ``static`` when both SSIMs of the front clip are above it.
        static_peak: whether the front frame that differs most from the start must be above it too. False is Diffusion4D's
            rule to the letter, which also drops animations of two or four loops.
        violent_ssim: dropped as ``violent`` when either is below it.
        border: dropped as ``leaves-frame`` when more than this share of a frame's outermost pixels is covered.
        empty: dropped as ``nearly-empty`` when less than this share of a frame is covered.
        flat: dropped as ``one-colour`` when the object's colours spread less than this (standard deviation).
        duplicates: whether an animation with exactly the frames of an earlier kept one is dropped.
    """

    static_ssim: float = 0.95
    static_peak: bool = True
    violent_ssim: float = 0.4
    border: float = 0.01
    empty: float = 0.002
    flat: float = 0.01
    duplicates: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("duplicates", "static_peak"):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise InputError(f"--{field.name.replace('_', '-')}: expected a number from 0 to 1, got {value!r}")
        if self.violent_ssim >= self.static_ssim:
            raise InputError(
                f"--violent-ssim: expected less than --static-ssim {self.static_ssim:g}, got {self.violent_ssim:g}; "
                "together they would drop everything"
            )


@dataclass(kw_only=True, frozen=True)
class Decision:
    """kept, or dropped by a named rule for a reason that quotes the measured value and the threshold."""

    kept: bool
    rule: str | None = None
    reason: str | None = None


def measure(sample: Sample) -> dict[str, float]:
    """What the rules look at, and what helps people to choose thresholds. Pixels count as covered above alpha 0.5.

    ``ssim_quarter``, ``ssim_half``: of the front clip (all times of view 0, or of `front_view` if the metadata name one) at
    the times nearest to 1/4 and 1/2 against time 0, composited on white and, unless rendered so, resized to 256 x 256 by area.
    ``ssim_peak``: the same of the front frame with the largest mean squared difference from time 0.
    ``coverage_mean``, ``coverage_min``, ``coverage_max``: share of covered pixels over the orbital frames.
    ``border_max``: the largest share of an orbital frame's outermost ring of pixels that is covered.
    ``colour_spread``: standard deviation of the object's colours over the orbital frames' covered pixels, in [0, 1]; the
    largest of the three channels'.
    ``front_step_max``: the largest mean squared difference of consecutive front frames on white: a jump or a flicker
    stands out against the motion magnitude.
    ``motion_magnitude``: m of docs/conventions.md; as stored, else of the first orbit against the static orbit.

    What cannot be measured is left out, and rules that look at it do not speak: without a front clip, as D-NeRF's samples
    are, neither its SSIMs nor the static and the violent rule; without a static orbit no motion magnitude. Where there is
    no orbit, all frames count as orbital. Raises InputError for a sample with a damaged or missing frame.
    """
    orbital = sorted({pair for orbit in _orbits(sample) for pair in orbit})
    coverage, border, total, squares, count = [], [], np.zeros(3), np.zeros(3), 0
    for pair in orbital:
        rgba = sample.rgba(pair)
        covered = rgba[..., 3] > COVERED * 255
        coverage.append(float(covered.mean()))
        border.append(float(np.concatenate([covered[0], covered[-1], covered[1:-1, 0], covered[1:-1, -1]]).mean()))
        colours = rgba[covered][:, :3].astype(np.float64) / 255
        total, squares, count = total + colours.sum(0), squares + (colours**2).sum(0), count + len(colours)
    spread = np.sqrt(np.maximum(squares / max(count, 1) - (total / max(count, 1)) ** 2, 0))
    return _front_measures(sample) | {
        "coverage_mean": float(np.mean(coverage)),
        "coverage_min": min(coverage),
        "coverage_max": max(coverage),
        "border_max": max(border),
        "colour_spread": float(spread.max()),
        **_motion_measure(sample),
    }


def decide(measures: Mapping[str, float], rules: CurationRules) -> Decision:
    """The first rule that the measures break, from the most to the least basic; kept where they break none.

    Without the front clip's measures the static and the violent rule are left out.
    """
    m = measures
    if not all(math.isfinite(value) for value in m.values()):
        return Decision(kept=False, rule="unreadable", reason="a measure is not a finite number; render it again")
    if m["coverage_min"] < rules.empty:
        reason = (
            f"hardly anything is seen: in one orbital frame {_percent(m['coverage_min'])} of the pixels are covered, "
            f"below {_percent(rules.empty)}"
        )
        return Decision(kept=False, rule="nearly-empty", reason=reason)
    if m["border_max"] > rules.border:
        reason = (
            f"leaves the frame: in one orbital frame {_percent(m['border_max'])} of the border pixels are covered, "
            f"above {_percent(rules.border)}"
        )
        return Decision(kept=False, rule="leaves-frame", reason=reason)
    if m["colour_spread"] < rules.flat:
        reason = f"is drawn in one flat colour: its colours spread by {m['colour_spread']:.4f}, below {rules.flat:g}"
        return Decision(kept=False, rule="one-colour", reason=reason)
    if "ssim_quarter" not in m:
        return Decision(kept=True)
    q, h = m["ssim_quarter"], m["ssim_half"]
    both = f"SSIM {q:.3f} at 1/4 and {h:.3f} at 1/2"
    peak = m["ssim_peak"] if rules.static_peak else 1.0
    if min(q, h, peak) > rules.static_ssim:
        reason = f"front view hardly changes: {both}, both above {rules.static_ssim:g}"
        return Decision(kept=False, rule="static", reason=reason)
    if min(q, h) < rules.violent_ssim:
        which = "both" if max(q, h) < rules.violent_ssim else "one"
        reason = f"front view changes too abruptly: {both}, {which} below {rules.violent_ssim:g}"
        return Decision(kept=False, rule="violent", reason=reason)
    return Decision(kept=True)


def frames_digest(sample: Sample) -> str:
    """32 hexadecimal digits that are equal for two samples exactly when all their RGBA frames are (as encoded)."""
    whole = hashlib.sha256()
    for name in sorted(sample.members):
        if name.endswith(".rgba.png"):
            whole.update(f"{name} {len(sample.members[name])}\n".encode())
            whole.update(sample.members[name])
    return whole.hexdigest()[:32]


def quantiles(values: Sequence[float | None]) -> list[float | None]:
    """The rank of each value among all, 0 the smallest and 1 the largest, ties sharing their mean; None stays None."""
    known = np.sort(np.array([v for v in values if v is not None], dtype=np.float64))
    if len(known) == 1:
        return [None if v is None else 0.5 for v in values]
    out: list[float | None] = []
    for value in values:
        if value is None:
            out.append(None)
            continue
        below, upto = np.searchsorted(known, value, "left"), np.searchsorted(known, value, "right")
        out.append(float((below + upto - 1) / 2 / (len(known) - 1)))
    return out


def orbit_pairs(sample: Sample) -> list[Pair]:
    """The pairs of the sample's first orbit, in the order of time; of one that has none, as imports may, all of its pairs."""
    return _orbits(sample)[0]


def _orbits(sample: Sample) -> list[list[Pair]]:
    if sample.meta.get("orbits") or has_diagonal(sample):
        return sample_orbits(sample)
    return [sorted(sample.pairs, key=lambda pair: (sample.meta["times"][pair[1]], pair))]


def _front_clip(sample: Sample) -> list[Pair]:
    """The front clip's pairs in the order of time: of the camera that the metadata name, else of view 0 if it saw every time.

    Empty where there is none that starts at time 0 and has three frames: a start, and two others to compare it with.
    """
    times, stated = sample.meta["times"], "front_view" in sample.meta
    view = front_view(sample)
    pairs = sorted((p for p in sample.pairs if p[0] == view), key=lambda pair: times[pair[1]])
    whole = stated or len(pairs) == len(times)
    return pairs if whole and len(pairs) >= 3 and times[pairs[0][1]] == 0 else []


def _front_measures(sample: Sample) -> dict[str, float]:
    front = _front_clip(sample)
    if not front:
        return {}
    times = [sample.meta["times"][j] for _, j in front]
    frames = [on_white(sample.rgba(pair)) for pair in front]
    # Of two times equally near the later one is taken: of 24 frames 6 and 12, as Diffusion4D counts.
    nearest = [min(range(len(front)), key=lambda i: (round(abs(times[i] - t), 9), -i)) for t in (0.25, 0.5)]
    peak = int(np.argmax([np.square(frame - frames[0]).mean() for frame in frames]))
    start, *others = (_resized(frames[i]) for i in (0, *nearest, peak))
    values = ssim(start.expand(3, -1, -1, -1), torch.cat(others)).tolist()
    steps = [float(np.square(b - a).mean()) for a, b in pairwise(frames)]
    return dict(zip(FRONT_MEASURES, (*values, max(steps)), strict=True))


def _resized(frame: np.ndarray) -> Tensor:
    """(1, 3, 256, 256) of a frame (h, w, 3)."""
    image = torch.from_numpy(frame).permute(2, 0, 1)[None]
    return image if image.shape[-2:] == (SIDE, SIDE) else functional.interpolate(image, size=(SIDE, SIDE), mode="area")


def _motion_measure(sample: Sample) -> dict[str, float]:
    stored = sample.meta.get("motion_magnitude")
    if isinstance(stored, int | float):
        return {"motion_magnitude": float(stored)}
    return {"motion_magnitude": measured_motion(sample)} if has_static_orbit(sample) else {}


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"
