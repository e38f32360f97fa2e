"""One offline HTML file that plays a 4D asset: our WebGL2 player with the asset inside it.

The player is built from web/ and committed as viewer/player.html. The asset is a compact 4D scene (compact.py) in base64; a
small picture of its first moment stands in until it is unpacked.
"""

from __future__ import annotations

import base64
import html
import re
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image

from ..files import atomic_path
from ..splat.gaussians import Gaussians4D
from ..splat.rasterize import render
from .compact import BOUND, decode, encode
from .home import home_view

POSTER_SIDE = 320


def write_html(
    scene: Gaussians4D,
    path: str | Path,
    *,
    frames: int = 24,
    title: str = "orbit4d",
    loop: bool = True,
    bound: float = BOUND,
) -> Path:
    """Write the stand-alone page. It needs no network and opens from disk in any browser with WebGL2.

    `frames`, `loop` and `bound` are those of `compact.encode`. Raises InputError as it does.
    """
    data = encode(scene, bound=bound, frames=frames, loop=loop)
    template = (files("orbit4d") / "viewer" / "player.html").read_text(encoding="utf-8")
    values = {
        "title": html.escape(title),
        "poster": base64.b64encode(_poster(scene, data)).decode("ascii"),
        "asset": base64.b64encode(data).decode("ascii"),
    }
    # One pass: a title that reads "{{asset}}" stays a title.
    page = re.sub(r"\{\{(title|poster|asset)\}\}", lambda found: values[found.group(1)], template)
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _poster(scene: Gaussians4D, data: bytes) -> bytes:
    """A WebP of the decoded asset at time 0 as the page shows it first, transparent around the object."""
    cameras, _ = home_view(scene).orbit(2, POSTER_SIDE)
    drawn = render(decode(data).at(0.0), cameras[:1])
    alpha = drawn.alpha[0]
    rgba = torch.cat([drawn.rgb[0] / alpha.clamp_min(1e-4), alpha]).clamp(0, 1)
    pixels = (rgba.permute(1, 2, 0) * 255).round().byte().numpy()
    file = BytesIO()
    Image.fromarray(pixels, "RGBA").save(file, "WEBP", quality=70)
    return file.getvalue()
