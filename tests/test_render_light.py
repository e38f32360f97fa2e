"""Light, emission, transparency and culling: what colours come out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from render_fixtures import STILL, asset, ball, material, sheet

from orbit4d.cameras import Orbit
from orbit4d.data.flow import back_project
from orbit4d.data.lighting import Lighting
from orbit4d.data.render import Renderer, iter_grid
from orbit4d.errors import InputError

SIZE = 64
CAMERAS = Orbit(frames=9).cameras(SIZE)
MIDDLE = (SIZE // 2, SIZE // 2)


def draw(thing, view=0, **options):
    options = {"size": SIZE, "placement": STILL, "cameras": CAMERAS} | options
    ((_, frame),) = iter_grid(thing, times=[0.0], pairs=[(view, 0)], animation=None, **options)
    return frame


def srgb(linear):
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def shaded(normals, color, light: Lighting):
    """The formula of `orbit4d.data.lighting`, in NumPy."""
    x, y, z = np.moveaxis(normals, -1, 0)
    sky = (0.5 + 0.5 * z)[..., None]
    out = (1 - sky) * np.array(light.ground) + sky * np.array(light.sky)
    for direction, lamp in ((light.key_direction, light.key), (light.fill_direction, light.fill)):
        unit = np.array(direction) / np.linalg.norm(direction)
        out = out + np.maximum(normals @ unit, 0)[..., None] * np.array(lamp)
    if light.harmonics:
        basis = np.stack([np.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], -1)
        out = np.maximum(out + basis @ np.array(light.harmonics), 0)
    return srgb(out * np.array(color))


@pytest.mark.parametrize("light", [Lighting(), *(Lighting.random(seed) for seed in range(4))], ids=range(5))
def test_pixels_follow_the_formula(light):
    """On a ball, where the normal is the direction from the centre."""
    color = (0.8, 0.4, 0.1)
    for view in (0, 3):
        frame = draw(
            asset(ball(0.5, look=material((*color, 1)))), view, lighting=light, outputs=("depth",), supersample=1
        )
        points = back_project(frame.depth, CAMERAS[view])
        seen = frame.depth > 0
        normals = points / np.linalg.norm(points, axis=-1, keepdims=True)
        outward = CAMERAS.positions[view].numpy() / 2.0
        seen &= np.nan_to_num(normals @ outward) > 0.35  # towards the rim a pixel spans many normals
        expected = shaded(normals[seen], color, light)
        error = np.abs(frame.rgba[seen][:, :3] - expected)
        assert seen.sum() > 300 and error.max() < 3 and error.mean() < 0.6


def test_the_default_look_stays():
    """The numbers that the built-in weights were trained on: a white sheet that faces azimuth 0, n = (0, -1, 0)."""
    lamp = 0.65 / np.sqrt(0.45**2 + 0.65**2 + 0.75**2)  # of the key; the fill is behind
    expected = srgb(0.5 * (0.34 + 0.62) * 0.5 + 0.62 * lamp * 0.5)
    frame = draw(asset(sheet(0.0, look=material((0.5, 0.5, 0.5, 1)))))
    np.testing.assert_allclose(frame.rgba[MIDDLE][:3], expected, atol=1)
    same = draw(asset(sheet(0.0, look=material((0.5, 0.5, 0.5, 1)))), lighting=Lighting())
    np.testing.assert_array_equal(same.rgba, frame.rgba)


def test_random_light_is_seeded_varied_and_neither_dark_nor_burnt_out():
    lights = [Lighting.random(seed) for seed in range(200)]
    assert lights[7] == Lighting.random(7) and len(set(lights)) == 200
    directions = np.random.default_rng(0).normal(size=(500, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    shown = np.array([shaded(directions, (0.5, 0.5, 0.5), light) for light in lights])
    default = shaded(directions, (0.5, 0.5, 0.5), Lighting())
    means = shown.mean((1, 2))
    assert (np.abs(means / default.mean() - 1) < 0.25).all() and means.std() > 2
    assert (shown > 254.5).mean() < 0.02 and (shown.mean(-1) < 40).mean() < 0.01
    assert shown.std(axis=1).mean() > 0.5 * default.std(axis=0).mean()
    keys = np.array([light.key_direction for light in lights])
    assert (np.abs(keys.mean(0)[:2]) < 0.15).all() and (keys[:, 2] > 0.2).all()


def test_lighting_passes_through_json():
    for light in (Lighting(), Lighting.random(3)):
        assert Lighting.from_dict(json.loads(json.dumps(light.to_dict()))) == light
    assert Lighting.from_dict({"key": [1, 0, 0]}) == Lighting(key=(1.0, 0.0, 0.0))


@pytest.mark.parametrize(
    "record",
    [[], {"moon": [1, 1, 1]}, {"key": [1, 1]}, {"key": "red"}, {"sky": [-1, 0, 0]}, {"sky": [float("nan"), 0, 0]},
     {"key_direction": [0, 0, 0]}, {"harmonics": [[1, 1, 1]]}, {"key": None}, {"harmonics": 3}],
)  # fmt: skip
def test_bad_lighting_is_one_line(record):
    with pytest.raises(InputError) as caught:
        Lighting.from_dict(record)
    assert "\n" not in str(caught.value) and "lighting" in str(caught.value)
    with pytest.raises(InputError):
        Lighting.random(-1)


def test_emission_comes_after_light_and_only_where_it_should():
    dark = Lighting(sky=(0, 0, 0), ground=(0, 0, 0), key=(0, 0, 0), fill=(0, 0, 0))
    glow = np.array([0.5, 0.0, 0.1], np.float32)
    frame = draw(asset(sheet(0, look=material(emissive=glow))), lighting=dark)
    np.testing.assert_allclose(frame.rgba[MIDDLE][:3], srgb(glow), atol=1)
    lit = draw(asset(sheet(0, look=material((0.2, 0.2, 0.2, 1), emissive=glow))))
    plain = draw(asset(sheet(0, look=material((0.2, 0.2, 0.2, 1)))))
    assert lit.rgba[MIDDLE][0] > plain.rgba[MIDDLE][0] + 60 and lit.rgba[MIDDLE][1] == plain.rgba[MIDDLE][1]
    picture = np.zeros((2, 2, 4), np.uint8)
    picture[:, 0] = (255, 255, 255, 255)  # the left half glows
    look = material(emissive=np.ones(3, np.float32), emissive_texture=picture, nearest=True, wrap=(False, False))
    frame = draw(asset(sheet(0, look=look)), lighting=dark)
    assert frame.rgba[32, 32 - 8][:3].min() == 255 and frame.rgba[32, 32 + 8][:3].max() == 0
    textured = material(
        emissive=np.ones(3, np.float32), emissive_texture=picture, texture=picture[:, ::-1].copy(), nearest=True
    )
    assert draw(asset(sheet(0, look=textured)), lighting=dark).rgba[32, 24][:3].min() == 255


def test_unlit_materials_take_no_light_and_no_emission():
    look = material((0.3, 0.6, 0.1, 1), unlit=True, emissive=np.ones(3, np.float32))
    for light in (None, Lighting.random(1)):
        frame = draw(asset(sheet(0, look=look)), lighting=light)
        np.testing.assert_allclose(frame.rgba[MIDDLE][:3], srgb(np.array([0.3, 0.6, 0.1])), atol=1)


def test_blended_sheets_are_drawn_from_back_to_front_in_every_view():
    """Red at the front, blue at the back: from behind it is the other way round, whatever their order in the file."""
    red = material((1, 0, 0, 0.5), alpha_mode="BLEND", unlit=True)
    blue = material((0, 0, 1, 0.5), alpha_mode="BLEND", unlit=True)
    for order in (1, -1):
        parts = [sheet(-0.2, look=red), sheet(0.2, look=blue)][::order]
        front, back = (draw(asset(*parts), view).rgba[MIDDLE] for view in (0, 4))
        assert front[0] > front[2] + 30 and back[2] > back[0] + 30
        assert abs(int(front[3]) - 191) <= 2 and abs(int(back[3]) - 191) <= 2


def test_colour_factors_merge_but_states_do_not():
    """Parts that differ only in colour are one draw, and each keeps its colour."""
    colors = [(1, 0, 0, 1), (0, 1, 0, 1), (0, 0, 1, 1)]
    parts = [ball(0.1, look=material(c, unlit=True)) for c in colors]
    for part, x in zip(parts, (-0.4, 0.0, 0.4), strict=True):
        part.positions[:, 0] += x
    with Renderer(size=SIZE) as renderer:
        frame = draw(asset(*parts), renderer=renderer)
        assert len(renderer._loaded.opaque) == 1
        for x, color in ((-0.4, colors[0]), (0.0, colors[1]), (0.4, colors[2])):
            column = int(SIZE / 2 + x / 2 * float(CAMERAS.intrinsics[0, 0, 0]))
            np.testing.assert_array_equal(frame.rgba[SIZE // 2, column], 255 * np.array(color))
        parts[1].material.alpha_mode = "MASK"
        draw(asset(*parts), renderer=renderer)
        assert len(renderer._loaded.opaque) == 3


def test_culling_is_on_request_and_minds_winding_and_mirrors():
    def covered(thing, view, cull):
        with Renderer(size=SIZE, cull=cull) as renderer:
            return draw(thing, view, renderer=renderer).rgba[MIDDLE][3] == 255

    mirror = np.diag([-1.0, 1, 1, 1])
    both = material(double_sided=True)
    for view, facing in ((0, True), (4, False)):
        assert covered(asset(sheet(0)), view, False)
        assert covered(asset(sheet(0)), view, True) == facing
        assert covered(asset(sheet(0, turned=True)), view, True) == (not facing)
        assert covered(asset(sheet(0), matrices=[mirror]), view, True) == facing
        assert covered(asset(sheet(0, look=both)), view, True)
