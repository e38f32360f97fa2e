"""The light that assets are drawn in: a sky, a ground, two lamps far away and, on request, a soft environment around.

All directions are in the world frame (z up) and point towards the light; colours are linear RGB. A surface of linear
colour c with unit normal n shows, before it is clamped to [0, 1] and stored as sRGB,

    c * (mix(ground, sky, (1 + n_z) / 2) + key max(0, n . key_direction) + fill max(0, n . fill_direction) + E(n))

where E is the harmonic environment. Emission is added after that; unlit materials show c.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from ..errors import InputError

Color = tuple[float, float, float]
_MEAN_LIGHT = 0.68
"""The default look's light averaged over all directions: (0.34 + 0.62) / 2 + (0.62 + 0.18) / 4."""


@dataclass(frozen=True, kw_only=True)
class Lighting:
    """One light setting. `Lighting()` is the look that the built-in weights were trained on; keep it as it is.

    Attributes:
        sky, ground: light from straight above and straight below, blended linearly in n_z.
        key_direction, fill_direction: towards the two lamps, of any length but 0, world frame.
        key, fill: their colour times intensity.
        harmonics: () or nine RGB coefficients of a second-order environment, for the polynomials
            1, y, z, x, xy, yz, 3 z^2 - 1, xz, x^2 - y^2 of the normal. The sum of all light is clamped at 0 from below.
    """

    sky: Color = (0.62, 0.62, 0.62)
    ground: Color = (0.34, 0.34, 0.34)
    key_direction: Color = (-0.45, -0.65, 0.75)
    key: Color = (0.62, 0.62, 0.62)
    fill_direction: Color = (0.8, 0.35, 0.25)
    fill: Color = (0.18, 0.18, 0.18)
    harmonics: tuple[Color, ...] = ()

    def __post_init__(self) -> None:
        if len(self.harmonics) not in (0, 9):
            raise InputError(f"lighting: expected 0 or 9 harmonics, got {len(self.harmonics)}")
        for field in fields(self):
            value = getattr(self, field.name)
            for triple in value if field.name == "harmonics" else [value]:
                if len(triple) != 3 or not all(math.isfinite(x) and abs(x) < 1e3 for x in triple):
                    raise InputError(f"lighting: {field.name} needs 3 finite numbers, got {str(triple)[:60]}")
        for name in ("key_direction", "fill_direction"):
            if math.hypot(*getattr(self, name)) < 1e-6:
                raise InputError(f"lighting: {name} is 0, expected a direction")
        for name in ("sky", "ground", "key", "fill"):
            if min(getattr(self, name)) < 0:
                raise InputError(f"lighting: {name} is negative: {getattr(self, name)}; light only adds")

    @classmethod
    def random(cls, seed: int) -> Lighting:
        """A pleasant setting of this seed (any integer from 0): lamps around the object, tints from warm to cool, some contrast.

        The mean light over all directions stays near the default's, so that objects are neither dark nor burnt out.
        """
        if seed < 0:
            raise InputError(f"lighting: expected a seed from 0, got {seed}")
        rng = np.random.default_rng([1, seed])
        warmth = rng.uniform(-1, 1)  # the key's; sky and fill lean the other way, as shade does
        azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(15, 75))
        opposite = azimuth + np.pi + rng.uniform(-0.9, 0.9)
        contrast = rng.uniform(0.2, 1)
        key = _tint(warmth, 0.35) * (0.35 + 0.75 * contrast)
        fill = _tint(-0.7 * warmth + rng.normal(0, 0.3), 0.4) * rng.uniform(0.05, 0.35)
        sky = _tint(-0.5 * warmth + rng.normal(0, 0.3), 0.3) * (0.75 - 0.4 * contrast)
        ground = _tint(rng.normal(0.2, 0.5), 0.35) * rng.uniform(0.25, 0.75) * sky.mean()
        harmonics = np.zeros((9, 3))
        harmonics[1:4] = rng.normal(0, 0.07, (3, 1)) + rng.normal(0, 0.02, (3, 3))
        harmonics[4:] = rng.normal(0, 0.03, (5, 1)) + rng.normal(0, 0.01, (5, 3))
        mean = ((sky + ground) / 2 + (key + fill) / 4).mean()
        gain = _MEAN_LIGHT * rng.uniform(0.85, 1.15) / mean
        return cls(
            sky=_triple(sky * gain),
            ground=_triple(ground * gain),
            key_direction=_direction(azimuth, elevation),
            key=_triple(key * gain),
            fill_direction=_direction(opposite, np.radians(rng.uniform(-15, 45))),
            fill=_triple(fill * gain),
            harmonics=tuple(_triple(c * gain) for c in harmonics),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers for JSON; `from_dict` gives back an equal setting."""
        return {name: _lists(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, record: object) -> Lighting:
        """From `to_dict`'s form; what is left out is as in `Lighting()`. Raises InputError for anything else."""
        names = [field.name for field in fields(cls)]
        if not isinstance(record, dict) or not set(record) <= set(names):
            raise InputError(f"lighting: expected an object with any of {', '.join(names)}, got {str(record)[:80]}")
        try:
            values: dict[str, Any] = {
                name: tuple(_triple(c) for c in value) if name == "harmonics" else _triple(value)
                for name, value in record.items()
            }
        except (TypeError, ValueError) as error:
            raise InputError(f"lighting: expected triples of numbers ({str(error)[:80]})") from error
        return cls(**values)


def _triple(values: Any) -> Color:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _lists(value: tuple) -> list:
    return [list(v) if isinstance(v, tuple) else v for v in value]


def _tint(warmth: float, strength: float) -> np.ndarray:
    """(3,) a colour of mean 1 between blue-ish (-1) and orange (1)."""
    color = 1 + strength * float(np.clip(warmth, -1, 1)) * np.array([1.0, 0.1, -1.1])
    return color / color.mean()


def _direction(azimuth: float, elevation: float) -> Color:
    """Azimuth from +x towards +y."""
    return _triple(
        (np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)),
    )
