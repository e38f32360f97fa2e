"""The curation report's figures as inline SVG: histograms with their thresholds, and the SSIM plane with its regions.

Colours are the page's CSS classes, so that figures follow its light or dark theme; nothing here needs a plotting package.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 420, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 38, 36
PLANE_WIDTH, PLANE_HEIGHT = 870, 452
BINS = 40
MAX_POINTS = 4000

Point = tuple[float, float]


@dataclass(kw_only=True, frozen=True)
class Threshold:
    """A line across a histogram; `label` says what happens beyond it."""

    value: float
    label: str


def histogram(
    kept: Sequence[float],
    dropped: Sequence[float],
    *,
    title: str,
    axis: str,
    low: float,
    high: float,
    log: bool = False,
    thresholds: Sequence[Threshold] = (),
) -> str:
    """An SVG of two stacked histograms over [low, high] (decades with `log`); values beyond an end count in its last bin."""
    place = (
        (lambda v: math.log10(max(v, low) / low) / math.log10(high / low))
        if log
        else (lambda v: (v - low) / (high - low))
    )
    counts = [[0] * BINS, [0] * BINS]
    for row, values in zip(counts, (kept, dropped), strict=True):
        for value in values:
            row[min(max(int(place(value) * BINS), 0), BINS - 1)] += 1
    most = max(1, *(k + d for k, d in zip(*counts, strict=True)))
    plot_w, plot_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    x = lambda v: LEFT + min(max(place(v), 0), 1) * plot_w  # noqa: E731
    y = lambda n: TOP + plot_h * (1 - n / most)  # noqa: E731
    parts = [_grid_y(most, y)]
    for i, (k, d) in enumerate(zip(*counts, strict=True)):
        left, wide = LEFT + i * plot_w / BINS + 0.5, plot_w / BINS - 1
        for name, base, n in (("kept", 0, k), ("dropped", k, d)):
            if n:
                parts.append(_rect(name, left, y(base + n), wide, y(base) - y(base + n)))
    ticks = _decades(low, high) if log else [low + (high - low) * i / 4 for i in range(5)]
    parts += [_text(x(t), HEIGHT - BOTTOM + 15, _plain(t), anchor="middle") for t in ticks]
    parts.append(f'<path class="axis" d="M{LEFT} {TOP + plot_h}H{WIDTH - RIGHT}"/>')
    for t in thresholds:
        at = x(t.value)
        end, shift = ("end", -4) if at > 0.42 * WIDTH else ("start", 4)
        parts.append(f'<path class="limit" d="M{at:.1f} {TOP - 14}V{TOP + plot_h}"/>')
        parts.append(_text(at + shift, TOP - 6, t.label, anchor=end, kind="limit-text"))
    parts.append(_text(LEFT + plot_w / 2, HEIGHT - 4, axis, anchor="middle"))
    spoken = f"{title}: {len(kept)} kept and {len(dropped)} dropped. " + " ".join(
        f"{t.label} {t.value:g}." for t in thresholds
    )
    return _svg(parts, title=title, spoken=spoken, width=WIDTH, height=HEIGHT)


def ssim_plane(
    kept: Sequence[Point], dropped: Sequence[Point], elsewhere: Sequence[Point], *, static: float, violent: float
) -> str:
    """An SVG of SSIM at 1/2 over SSIM at 1/4, with the regions that the static and the violent rule drop.

    `dropped` by one of these two rules; `elsewhere` were dropped by another, whatever their SSIM.
    """
    low = min([0.2, violent, *(min(p) for p in (*kept, *dropped, *elsewhere))])
    low = max(-1.0, math.floor(low * 10) / 10)
    plot_w, plot_h = PLANE_WIDTH - LEFT - RIGHT - 16, PLANE_HEIGHT - TOP - BOTTOM
    x = lambda v: LEFT + 16 + (v - low) / (1 - low) * plot_w  # noqa: E731
    y = lambda v: TOP + (1 - v) / (1 - low) * plot_h  # noqa: E731
    parts = [
        _rect("region", x(static), y(1), x(1) - x(static), y(static) - y(1)),
        f'<path class="region" d="M{x(low):.1f} {y(1):.1f}H{x(violent):.1f}V{y(violent):.1f}H{x(1):.1f}V{y(low):.1f}'
        f'H{x(low):.1f}Z"/>',
    ]
    for t in [low + i * 0.2 for i in range(int((1 - low) / 0.2 + 1e-6) + 1)]:
        parts.append(f'<path class="grid" d="M{x(low):.1f} {y(t):.1f}H{x(1):.1f}M{x(t):.1f} {y(low):.1f}V{y(1):.1f}"/>')
        parts.append(_text(x(t), y(low) + 15, f"{t:.1f}", anchor="middle"))
        parts.append(_text(x(low) - 6, y(t) + 4, f"{t:.1f}", anchor="end"))
    for name, points in (("elsewhere", elsewhere), ("kept", kept), ("dropped", dropped)):
        step = max(1, math.ceil(len(points) / MAX_POINTS))
        parts += [f'<circle class="{name}" cx="{x(a):.1f}" cy="{y(b):.1f}" r="3.5"/>' for a, b in points[::step]]
    parts.append(_text(x(low) + 8, y(1) + 16, f"violent: either below {violent:g}", anchor="start", kind="limit-text"))
    parts.append(_text(x(1), y(1) - 6, f"static: both above {static:g}", anchor="end", kind="limit-text"))
    parts.append(
        _text(x((1 + low) / 2), y(low) + 31, "SSIM of the front view at 1/4 against its start", anchor="middle")
    )
    middle = y((1 + low) / 2)
    parts.append(
        f'<text transform="rotate(-90 12 {middle:.0f})" x="12" y="{middle:.0f}" text-anchor="middle">SSIM at 1/2</text>'
    )
    spoken = (
        f"Each animation by its two SSIMs: {len(kept)} kept, {len(dropped)} dropped as static or violent, "
        f"{len(elsewhere)} dropped by another rule."
    )
    return _svg(parts, title="SSIM at 1/4 and at 1/2", spoken=spoken, width=PLANE_WIDTH, height=PLANE_HEIGHT)


def bar(parts: Sequence[tuple[str, int, str]]) -> str:
    """One horizontal bar of (label, count, CSS class) parts that fills its width."""
    total, left, out = max(1, sum(n for _, n, _ in parts)), 0.0, []
    for label, n, name in parts:
        width = 1000 * n / total
        out.append(f"<g><title>{html.escape(label)}: {n}</title>{_rect(name, left, 0, max(width - 1.5, 0.5), 26)}</g>")
        left += width
    spoken = ", ".join(f"{label} {n}" for label, n, _ in parts)
    return (
        f'<svg class="bar" viewBox="0 0 1000 26" preserveAspectRatio="none" role="img" aria-label="{html.escape(spoken)}">'
        + "".join(out)
        + "</svg>"
    )


def _svg(parts: Sequence[str], *, title: str, spoken: str, width: int, height: int) -> str:
    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(spoken)}">'
    return f'{head}<text class="title" x="{LEFT}" y="13">{html.escape(title)}</text>{"".join(parts)}</svg>'


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _text(x: float, y: float, text: str, *, anchor: str, kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _grid_y(most: int, y: Callable[[float], float]) -> str:
    step = max(1, math.ceil(most / 4))
    lines = [f'<path class="grid" d="M{LEFT} {y(n):.1f}H{WIDTH - RIGHT}"/>' for n in range(step, most + 1, step)]
    return "".join(lines) + "".join(_text(LEFT - 6, y(n) + 4, str(n), anchor="end") for n in range(0, most + 1, step))


def _plain(value: float) -> str:
    """0.00001, not 1e-05."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _decades(low: float, high: float) -> list[float]:
    return [10.0**e for e in range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)]
