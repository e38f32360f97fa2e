"""Colours that go together, and the patterns painted with them: on vertices, or as small textures."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

COLORS = {
    "red": "d8403a", "orange": "f08a30", "yellow": "f6c83f", "lime": "a4cf3c", "green": "4f9e4a", "mint": "8fd9b6",
    "teal": "1f9a93", "turquoise": "4cc7c9", "sky blue": "7cbcf0", "blue": "3b6fd4", "navy": "27396e",
    "purple": "7a4bb0", "lavender": "b7a1e6", "pink": "f292b4", "magenta": "cf3f8f", "maroon": "80303a",
    "brown": "8a5a36", "tan": "c9a06a", "cream": "f3e6c4", "white": "efefec", "grey": "8d939b", "black": "35353b",
    "gold": "e0ac32", "silver": "b9c0c8",
}  # fmt: skip
"""Names as captions use them, sRGB."""
HARMONIES = {
    "red": ("cream", "navy", "yellow", "white", "black", "sky blue"),
    "orange": ("cream", "white", "navy", "brown", "teal", "yellow"),
    "yellow": ("navy", "orange", "white", "grey", "purple", "teal"),
    "lime": ("green", "white", "purple", "navy", "yellow"),
    "green": ("cream", "yellow", "brown", "lime", "white", "orange"),
    "mint": ("pink", "white", "teal", "cream", "purple"),
    "teal": ("cream", "orange", "white", "mint", "pink"),
    "turquoise": ("white", "pink", "navy", "yellow", "cream"),
    "sky blue": ("white", "navy", "yellow", "pink", "cream"),
    "blue": ("white", "yellow", "orange", "sky blue", "cream"),
    "navy": ("gold", "white", "red", "sky blue", "pink"),
    "purple": ("lavender", "yellow", "mint", "white", "pink"),
    "lavender": ("purple", "white", "mint", "yellow", "cream"),
    "pink": ("white", "magenta", "mint", "cream", "maroon", "turquoise"),
    "magenta": ("yellow", "white", "turquoise", "navy", "pink"),
    "maroon": ("cream", "gold", "pink", "tan"),
    "brown": ("cream", "tan", "orange", "white", "mint"),
    "tan": ("brown", "white", "teal", "maroon", "cream"),
    "cream": ("brown", "red", "teal", "navy", "orange", "green"),
    "white": ("black", "red", "blue", "pink", "grey", "green"),
    "grey": ("white", "yellow", "pink", "black", "turquoise"),
    "black": ("white", "gold", "red", "turquoise", "yellow"),
}
"""Each main colour's partners: far enough in lightness or hue for a pattern to be seen, chosen by eye."""
PATTERNS = ("plain", "striped", "spotted", "two-tone", "gradient", "checkered", "patchy")
_NEUTRALS = ("white", "cream", "yellow", "red", "black", "gold", "turquoise")
_TEXTURE = 96


def srgb(name: str) -> np.ndarray:
    return np.array([int(COLORS[name][i : i + 2], 16) for i in (0, 2, 4)]) / 255


def to_linear(color: np.ndarray) -> np.ndarray:
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)


def to_srgb(color: np.ndarray) -> np.ndarray:
    return np.where(color <= 0.0031308, color * 12.92, 1.055 * np.maximum(color, 0) ** (1 / 2.4) - 0.055)


@dataclass(kw_only=True)
class Look:
    """A toy's colours and pattern. `names`: role -> colour name; `textured`: the pattern is an image, not vertex colours."""

    names: dict[str, str]
    pattern: str
    textured: bool
    scale: float
    seeds: np.ndarray
    shade: np.ndarray

    def linear(self, color: str) -> np.ndarray:
        """Linear RGB (3,) of a role or of a colour's name; the roles carry the toy's own slight shade."""
        if color in self.names:
            return np.clip(to_linear(srgb(self.names[color])) * self.shade, 0, 1)
        return to_linear(srgb(color))

    def mask(self, points: np.ndarray, down: np.ndarray, along: np.ndarray, around: np.ndarray, *, soft: float):
        """How much of the second colour (n,) shows.

        points (n, 3) in units of the toy's size; `down` (n,) -normal_y; `along` (n,) distance along the part; `around` (n,)
        turns in [0, 1]. `soft`: width of the edges.
        """
        s = self.scale
        match self.pattern:
            case "striped":
                value = np.sin(2 * np.pi * along * 4.2 * s + 1) - 0.1
                return _edge(value, soft * 26 * s)
            case "spotted":
                return _spots(points * 5.0 * s, self.seeds, soft * 5.0 * s)
            case "two-tone":
                return _edge(down - 0.15, soft * 6)
            case "gradient":
                low, high = along.min(), along.max()
                x = np.clip((along - low) / max(high - low, 1e-6), 0, 1)
                return x * x * (3 - 2 * x)
            case "checkered":
                turns = max(2, round(5 * s))
                value = np.sin(2 * np.pi * along * 3.6 * s) * np.sin(2 * np.pi * around * turns)
                return _edge(value, soft * 22 * s)
            case "patchy":
                value = sum(
                    np.sin(points @ w * 5.5 * s + f) for w, f in zip(self.seeds[:4, :3], self.seeds[:4, 3], strict=True)
                )
                return _edge(np.asarray(value) - 0.7, soft * 12 * s)
        return np.zeros(len(points))


def _edge(value: np.ndarray, width: float) -> np.ndarray:
    x = np.clip(value / max(width, 1e-6) + 0.5, 0, 1)
    return x * x * (3 - 2 * x)


def _spots(points: np.ndarray, seeds: np.ndarray, soft: float) -> np.ndarray:
    """One round spot in each cell of a jittered grid."""
    cell = np.floor(points)
    best = np.full(len(points), 9.0)
    for offset in np.ndindex(3, 3, 3):
        c = cell + np.array(offset) - 1
        hashed = np.sin(c @ seeds[4:7, :3].T * 12.9 + seeds[4:7, 3]) * 43.7
        jitter = 0.5 + 0.28 * np.sin(hashed * 6.283)
        best = np.minimum(best, ((points - c - jitter) ** 2).sum(1))
    return _edge(0.36 - np.sqrt(best), soft)


def draw_look(rng: np.random.Generator, *, mains: tuple[str, ...] = (), patterns: tuple[str, ...] = PATTERNS) -> Look:
    """Draw colours that go together; `mains`: colours that suit the thing, taken in about half of the cases."""
    known = [m for m in mains if m in HARMONIES]
    natural = bool(rng.random() < 0.55)
    pool = known if known and natural else list(HARMONIES)
    main = pool[rng.integers(len(pool))]
    partners = HARMONIES[main]
    second = partners[rng.integers(len(partners))]
    rest = [c for c in (*partners, *_NEUTRALS) if c not in (main, second)]
    accent = rest[rng.integers(len(rest))]
    seeds = rng.normal(size=(8, 4))
    seeds[:, :3] /= np.linalg.norm(seeds[:, :3], axis=1, keepdims=True)
    return Look(
        names={"main": main, "second": second, "accent": accent},
        pattern=patterns[rng.integers(len(patterns))],
        textured=bool(rng.random() < 0.6),
        scale=float(rng.uniform(0.75, 1.2)),
        seeds=seeds,
        shade=rng.uniform(0.92, 1.06, 3) * rng.uniform(0.92, 1.05),
    )


def vertex_colors(look: Look, color: np.ndarray, grid: np.ndarray, normals: np.ndarray, *, unit: float) -> np.ndarray:
    """Linear colours (rows, columns, 3) of a painted part; edges are as wide as a vertex, so that they stay clean."""
    rows, columns = grid.shape[:2]
    points, down, along, around = _coordinates(grid, normals, unit)
    step = float(np.median(np.linalg.norm(np.diff(grid, axis=0), axis=2))) / unit
    mask = look.mask(points, down, along, around, soft=max(step, 0.01) * 0.5).reshape(rows, columns, 1)
    mask = mask * (np.abs(color - look.linear("main")).max(2, keepdims=True) < 1e-9)  # rings of other colours keep them
    return color * (1 - mask) + look.linear("second") * mask


def texture(look: Look, colors: list[np.ndarray], grids: list[tuple[np.ndarray, np.ndarray]], *, unit: float) -> bytes:
    """A PNG with one band for each (grid, normals) with a seam column: band k holds v in [k, k + 1] / len(grids)."""
    bands = []
    for color, (grid, normals) in zip(colors, grids, strict=True):
        # Half a texel beyond the edge on each side would be clamped; texel centres span the grid exactly.
        u = np.clip((np.arange(_TEXTURE) + 0.5) / _TEXTURE, 0, 1) * (grid.shape[1] - 1)
        v = (np.arange(_TEXTURE) - 1) / (_TEXTURE - 3)
        rows = np.clip(v, 0, 1) * (len(grid) - 1)
        fine, bent = _bilinear(grid, rows, u), _bilinear(normals, rows, u)
        points, down, along, around = _coordinates(fine, bent, unit)
        step = float(np.median(np.linalg.norm(np.diff(fine, axis=1), axis=2))) / unit
        mask = look.mask(points, down, along, around, soft=max(step, 0.004)).reshape(_TEXTURE, _TEXTURE, 1)
        bands.append(to_srgb(color * (1 - mask) + look.linear("second") * mask))
    return encode_png(np.concatenate(bands))


def texture_uvs(rows: int, columns: int, band: int, bands: int) -> np.ndarray:
    """(rows, columns, 2) for a grid with a seam column; a texel of margin keeps bands apart."""
    u = np.linspace(0.5 / _TEXTURE, 1 - 0.5 / _TEXTURE, columns)
    v = (1.5 + np.linspace(0, 1, rows) * (_TEXTURE - 3)) / _TEXTURE
    return np.stack(np.broadcast_arrays(u[None], ((band + v) / bands)[:, None]), -1)


def encode_png(image: np.ndarray) -> bytes:
    """(h, w, 3) sRGB in [0, 1]."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _coordinates(grid: np.ndarray, normals: np.ndarray, unit: float) -> tuple[np.ndarray, ...]:
    rows, columns = grid.shape[:2]
    line = grid.mean(1)
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))] / unit
    around = np.linspace(0, 1, columns, endpoint=False)
    return (
        grid.reshape(-1, 3) / unit,
        -normals[..., 1].ravel(),
        np.repeat(length, columns),
        np.tile(around, rows),
    )


def _bilinear(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    i, j = np.minimum(rows.astype(int), len(values) - 2), np.minimum(columns.astype(int), values.shape[1] - 2)
    a, b = (rows - i)[:, None, None], (columns - j)[None, :, None]
    top = values[i][:, j] * (1 - b) + values[i][:, j + 1] * b
    return top * (1 - a) + (values[i + 1][:, j] * (1 - b) + values[i + 1][:, j + 1] * b) * a
