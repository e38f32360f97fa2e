"""Image files from users: what is read, how it is turned and scaled, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from orbit4d.errors import InputError
from orbit4d.images import load_rgba

LEFT_RED = np.zeros((4, 6, 3), np.uint8)
LEFT_RED[:, :3, 0] = 255


def test_damaged_image(tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    Image.new("RGB", (64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"broken\.png: cannot be read as an image"):
        load_rgba(path)
    with pytest.raises(InputError, match="no such file"):
        load_rgba(tmp_path / "absent.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_known_formats_are_read_whatever_their_suffix(tmp_path: Path, kind: str) -> None:
    Image.fromarray(LEFT_RED).save(tmp_path / "image.any", format=kind, quality=95)
    rgba = load_rgba(tmp_path / "image.any")
    assert rgba.shape == (4, 4, 6) and rgba.dtype == torch.float32
    assert float(rgba[3].min()) == 1
    assert float(rgba[0, :, 0].min()) > 0.85 and float(rgba[0, :, -1].max()) < 0.15


@pytest.mark.parametrize("kind", ["EPS", "BMP", "GIF", "TIFF", "PPM"])
def test_other_formats_are_refused_before_they_are_decoded(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An EPS file named .png would be handed to Ghostscript."""
    Image.fromarray(LEFT_RED).save(tmp_path / "image.png", format=kind)
    monkeypatch.setattr("PIL.EpsImagePlugin.EpsImageFile._open", lambda self: pytest.fail("opened"))
    with pytest.raises(InputError, match=r"image\.png: cannot be read as an image .* expected a PNG, JPEG or WebP"):
        load_rgba(tmp_path / "image.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_images_are_turned_upright(tmp_path: Path, kind: str) -> None:
    """Orientation 6, as phones write it: the stored rows are columns, the stored left side is the top."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(LEFT_RED).resize((24, 16)).save(tmp_path / "phone", format=kind, exif=exif.tobytes())
    rgba = load_rgba(tmp_path / "phone")
    assert rgba.shape == (4, 24, 16)
    assert float(rgba[0, 0].min()) > 0.8 and float(rgba[0, -1].max()) < 0.2


def test_sixteen_bits_of_grey_are_scaled(tmp_path: Path) -> None:
    ramp = np.array([[0, 257, 32896, 65535]], np.uint16)
    Image.fromarray(ramp).save(tmp_path / "grey.png")
    rgba = load_rgba(tmp_path / "grey.png")
    expected = torch.tensor([0, 1 / 255, 128 / 255, 1.0])
    for channel in rgba[:3, 0]:
        torch.testing.assert_close(channel, expected)
    assert float(rgba[3].min()) == 1


def test_large_images_are_refused(tmp_path: Path) -> None:
    Image.new("L", (4097, 1)).save(tmp_path / "wide.png")
    with pytest.raises(InputError, match="4097 x 1 pixels, at most 4096"):
        load_rgba(tmp_path / "wide.png")
