"""Cutting the object out of an image: alpha, mask, uniform background, and images where it cannot be told."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import sphere_clip
from PIL import Image
from splat_fixtures import changed_glb
from torch import Tensor

from orbit4d.assets.gltf_container import GAUSSIANS
from orbit4d.clip import with_foreground
from orbit4d.conditions import MARGIN, centred, check_conditions, is_gaussians, load_condition_image
from orbit4d.errors import InputError
from orbit4d.export.glb import write_glb
from orbit4d.export.ply import write_ply
from orbit4d.foreground import cut_out
from orbit4d.imports.ply import read_ply
from orbit4d.imports.splat import LAYOUT
from orbit4d.pipeline import load_static
from orbit4d.splat.gaussians import SH_C0, Gaussians, Gaussians4D
from orbit4d.splat.io import save_scene
from orbit4d.splat.turning import turned, world_from


def _disc(*, height: int = 90, width: int = 120, centre: tuple[float, float] = (40, 70), radius: float = 25) -> Tensor:
    """(1, h, w) mask of a disc with a soft edge of one pixel."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    distance = ((y - centre[0]) ** 2 + (x - centre[1]) ** 2).sqrt()
    return (radius + 0.5 - distance).clamp(0, 1)[None]


def _save(image: Tensor, path: Path) -> Path:
    array = (image * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(array).save(path)
    return path


def _picture(background: tuple[float, float, float], colour: tuple[float, float, float] = (0.8, 0.2, 0.1)) -> Tensor:
    mask = _disc()
    return mask * torch.tensor(colour)[:, None, None] + (1 - mask) * torch.tensor(background)[:, None, None]


def _check_disc(rgba: Tensor, colour: tuple[float, float, float]) -> None:
    """A centred disc that fills the frame less the margins, of one colour up to its very edge."""
    size = rgba.shape[-1]
    rows, columns = (rgba[3] > 0.5).any(dim=1).nonzero(), (rgba[3] > 0.5).any(dim=0).nonzero()
    extents = [float(r[0]) / size for r in (rows, columns)] + [1 - float(r[-1] + 1) / size for r in (rows, columns)]
    assert extents == pytest.approx([MARGIN] * 4, abs=0.03)
    area = float((rgba[3] > 0.5).float().mean())
    assert area == pytest.approx(torch.pi / 4 * (1 - 2 * MARGIN) ** 2, rel=0.06)
    inside = rgba[:3, rgba[3] > 0.4]
    expected = torch.tensor(colour)[:, None].expand_as(inside)
    torch.testing.assert_close(inside, expected, atol=0.08, rtol=0)


@pytest.mark.parametrize("background", [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.2, 0.7, 0.3)])
def test_uniform_background_is_removed(tmp_path: Path, background: tuple[float, float, float]) -> None:
    path = _save(_picture(background), tmp_path / "disc.png")
    _check_disc(load_condition_image(path, size=96), (0.8, 0.2, 0.1))


def test_own_alpha_wins_over_the_background(tmp_path: Path) -> None:
    noise = torch.rand(3, 90, 120, generator=torch.Generator().manual_seed(0))
    mask = _disc()
    colour = mask.gt(0) * torch.tensor([0.8, 0.2, 0.1])[:, None, None] + mask.le(0) * noise
    path = _save(torch.cat([colour, mask]), tmp_path / "disc.png")
    _check_disc(load_condition_image(path, size=96), (0.8, 0.2, 0.1))


def test_mask(tmp_path: Path) -> None:
    noise = torch.rand(3, 90, 120, generator=torch.Generator().manual_seed(0))
    mask = _disc().round()
    image = _save(mask * torch.tensor([0.8, 0.2, 0.1])[:, None, None] + (1 - mask) * noise, tmp_path / "noisy.png")
    with pytest.raises(InputError, match="--mask"):
        load_condition_image(image)
    black_and_white = _save(mask.expand(3, -1, -1), tmp_path / "mask.png")
    _check_disc(load_condition_image(image, mask=black_and_white, size=96), (0.8, 0.2, 0.1))


def test_holes_of_the_backgrounds_colour_stay() -> None:
    image = _picture((1.0, 1.0, 1.0))
    image[:, 35:45, 65:75] = 1.0  # a white belly
    cut = cut_out(image)
    assert cut is not None
    assert (cut[3, 35:45, 65:75] == 1).all()


def test_specks_do_not_count() -> None:
    image = _picture((1.0, 1.0, 1.0))
    image[:, 5:7, 5:7] = 0.0
    cut = cut_out(image)
    assert cut is not None
    assert float(cut[3, :10, :10].max()) == 0


def test_nothing_to_cut_out() -> None:
    assert cut_out(torch.full((3, 64, 64), 0.7)) is None
    gradient = torch.linspace(0, 1, 64).expand(3, 64, 64)
    assert cut_out(gradient) is None


def _sparse(height: int, width: int) -> Tensor:
    mask = torch.zeros(3, height, width)
    mask[:, ::32, ::32] = 1
    return mask


@pytest.mark.parametrize(
    "values",
    [torch.ones(3, 750, 1000), torch.zeros(3, 1500, 2000), torch.ones(3, 1500, 2000), _sparse(1500, 2000)],
    ids=["small", "black", "white", "sparse"],
)
def test_useless_masks_are_refused(tmp_path: Path, values: Tensor) -> None:
    """The last marks 0.1 % of the pixels, all of which vanish when the image is made smaller."""
    image = _save(torch.full((3, 1500, 2000), 0.3), tmp_path / "image.png")
    with pytest.raises(InputError, match="--mask") as caught:
        load_condition_image(image, mask=_save(values, tmp_path / "mask.png"))
    assert "mask.png" in str(caught.value) and "\n" not in str(caught.value)


def test_transparent_image_is_refused(tmp_path: Path) -> None:
    path = _save(torch.zeros(4, 64, 64), tmp_path / "nothing.png")
    with pytest.raises(InputError, match="transparent everywhere"):
        load_condition_image(path)


@pytest.mark.parametrize("size", [16, 64, 256])
def test_centred_at_any_size(size: int) -> None:
    mask = _disc(height=400, width=500, centre=(150, 300), radius=120)
    rgba = torch.cat([mask * torch.tensor([0.8, 0.2, 0.1])[:, None, None], mask])
    rgba[:3] = torch.tensor([0.8, 0.2, 0.1])[:, None, None] * (mask > 0)
    out = centred(rgba, size=size)
    assert out.shape == (4, size, size)
    weights = out[3] / out[3].sum()
    position = (torch.arange(size) + 0.5) / size
    assert float((weights.sum(dim=0) * position).sum()) == pytest.approx(0.5, abs=0.01)
    assert float((weights.sum(dim=1) * position).sum()) == pytest.approx(0.5, abs=0.01)
    if size >= 64:
        _check_disc(out, (0.8, 0.2, 0.1))


def test_object_at_the_image_border(tmp_path: Path) -> None:
    mask = _disc(centre=(90, 70), radius=30)  # half of it is cut off below
    path = _save(mask * torch.tensor([0.8, 0.2, 0.1])[:, None, None] + (1 - mask), tmp_path / "half.png")
    out = load_condition_image(path, size=64)
    assert float((out[3] > 0.5).float().mean()) > 0.6 * (1 - 2 * MARGIN) ** 2 / 2


def test_clip_without_alpha_gets_one() -> None:
    clip = sphere_clip(frames=4, size=48)
    flat = type(clip)(
        rgb=clip.on_background(1.0), alpha=torch.ones_like(clip.alpha), cameras=clip.cameras, times=clip.times
    )
    cut = with_foreground(flat)
    agreement = ((cut.alpha > 0.5) == (clip.alpha > 0.5)).float().mean()
    assert float(agreement) > 0.99
    assert with_foreground(clip) is clip
    flat.rgb = torch.rand(flat.rgb.shape, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="no alpha channel and no uniform background"):
        with_foreground(flat)


def test_frames_with_alpha_keep_theirs_beside_an_opaque_one() -> None:
    clip = sphere_clip(frames=4, size=48)
    mixed = replace(clip, rgb=clip.rgb.clone(), alpha=clip.alpha * 0.9, depth=torch.ones_like(clip.alpha))
    mixed.rgb[2], mixed.alpha[2] = clip.on_background(1.0)[2], 1.0
    cut = with_foreground(mixed)
    for i in (0, 1, 3):
        assert torch.equal(cut.alpha[i], mixed.alpha[i]) and torch.equal(cut.rgb[i], mixed.rgb[i])
    assert float(((cut.alpha[2] > 0.5) == (clip.alpha[2] > 0.5)).float().mean()) > 0.98
    assert cut.depth is not None and torch.equal(cut.depth > 0, cut.alpha > 0)
    assert float(mixed.alpha[2].min()) == 1, "the clip that was passed is as it was"


def test_cat_statue(data_dir: Path, tmp_path: Path) -> None:
    """A real picture: its alpha, and the same object pasted on white and saved as JPEG, give the same silhouette."""
    path = data_dir / "inputs" / "catstatue_rgba.png"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    ours = load_condition_image(path, size=128)
    with Image.open(path) as image:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        white.alpha_composite(image.convert("RGBA"))
    white.convert("RGB").save(tmp_path / "cat.jpg", quality=85)
    keyed = load_condition_image(tmp_path / "cat.jpg", size=128)
    a, b = ours[3] > 0.5, keyed[3] > 0.5
    assert float((a & b).sum() / (a | b).sum()) > 0.93


def _upright_ball(up: str, path: Path, *, scale: float = 7.0, offset: float = 30.0) -> Path:
    """A ball far from the origin with a red cap at its top, and a few Gaussians far away, in a file whose `up` is up."""
    generator = torch.Generator().manual_seed(4)
    points = torch.nn.functional.normalize(torch.randn(2000, 3, generator=generator), dim=-1)
    red = (points[:, 2:] > 0.5).float()
    colour = red * torch.tensor([1.0, 0.1, 0.1]) + (1 - red) * torch.tensor([0.1, 0.2, 1.0])
    means = scale * points + offset
    means[:4] += 40 * scale  # floaters
    g = Gaussians(
        means=means,
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(2000, 1),
        log_scales=torch.full((2000, 3), math.log(0.06 * scale)),
        logit_opacities=torch.full((2000,), 4.0),
        sh=((colour - 0.5) / SH_C0)[:, None],
    )
    if path.suffix == ".ply":
        return write_ply(g, path, up=up)  # type: ignore[arg-type]
    if path.suffix == ".splat":
        table = np.zeros(2000, LAYOUT)
        g = turned(g, world_from(up).T)  # type: ignore[arg-type]
        table["position"], table["scale"] = g.means.numpy(), g.log_scales.exp().numpy()
        table["rgba"][:, :3], table["rgba"][:, 3] = (colour * 255).numpy(), 250
        table["rotation"] = (torch.nn.functional.normalize(g.quats, dim=-1) * 127 + 128).numpy()
        path.write_bytes(table.tobytes())
        return path
    if path.suffix != ".glb":
        return save_scene(Gaussians4D(canonical=g), path)
    write_glb(g, path)
    if path.stem == "required":  # as programs write that offer no points instead
        changed_glb(path, path, lambda document: document.update(extensionsRequired=[GAUSSIANS]))
    return path


@pytest.mark.parametrize(
    ("name", "up", "told"),
    [
        ("a.ply", "y-down", None),
        ("a.ply", "z", None),
        ("a.splat", "y", "y"),
        ("scene.safetensors", "z", None),
        ("a.glb", "z", None),
        ("required.glb", "z", None),
    ],
)
def test_gaussians_are_a_static_condition(tmp_path: Path, name: str, up: str, told: str | None) -> None:
    """Placed as training assets are, whatever their units and origin: centred, filling the frame, upright."""
    path = _upright_ball(up, tmp_path / name)
    assert is_gaussians(path) or path.suffix == ".glb"
    clip = load_static(path.parent if name == "scene.safetensors" else path, up=told)
    assert len(clip) == 24 and clip.rgb.shape[-1] == 128 and bool((clip.times == 0).all())
    covered = (clip.alpha[:, 0] > 0.5).float()
    rows, columns = covered.mean(dim=(0, 2)), covered.mean(dim=(0, 1))
    for share in (rows, columns):
        inside = (share > 0).nonzero().flatten()
        assert 2 <= int(inside[0]) <= 14 and 113 <= int(inside[-1]) <= 125  # nearly fills it, never leaves it
        centre = float((share * torch.arange(128)).sum() / share.sum())
        assert centre == pytest.approx(63.5, abs=2)
    top, middle = clip.rgb[:, :, 20:26, 60:68].mean(dim=(0, 2, 3)), clip.rgb[:, :, 80:90, 60:68].mean(dim=(0, 2, 3))
    assert top[0] > 0.7 > 0.4 > top[2] and middle[2] > 0.7 > 0.4 > middle[0]


def test_gaussians_that_show_nothing(tmp_path: Path) -> None:
    g = read_ply(_upright_ball("z", tmp_path / "a.ply"))
    g.logit_opacities -= 30
    with pytest.raises(InputError, match="all but transparent") as caught:
        load_static(write_ply(g, tmp_path / "a.ply"))
    assert "a.ply" in str(caught.value) and "\n" not in str(caught.value)


def test_the_axis_of_a_static_condition_needs_gaussians(tmp_path: Path) -> None:
    told = {"prompt": None, "image": None, "video": None, "mask": None, "motion": None, "azimuth": None}
    with pytest.raises(InputError, match="--static-up"):
        check_conditions(**{**told, "prompt": "a fox"}, static=None, static_up="y")
    with pytest.raises(InputError, match="--static-up"):
        check_conditions(**told, static=tmp_path / "statue.glb", static_up="y")
    check_conditions(**told, static=tmp_path / "statue.splat", static_up="y")
    with pytest.raises(InputError, match="--static-up: expected the axis"):
        load_static(_upright_ball("z", tmp_path / "a.ply"), up="x")
