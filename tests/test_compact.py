"""The compact 4D asset: what it promises about errors and size, and what it does with files that nobody vouches for."""

from __future__ import annotations

import gzip
import json
import struct

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from test_page import Slide, toy

from orbit4d.assets.glb_writer import pack_glb
from orbit4d.cameras import Orbit
from orbit4d.errors import InputError
from orbit4d.export.compact import decode, encode, write_compact
from orbit4d.export.compact_tracks import fit_basis, slopes
from orbit4d.export.html import write_html
from orbit4d.imports.compact import MAX_RANK, hermite
from orbit4d.imports.glb_accessors import COMPONENTS, read_glb
from orbit4d.splat.deform import ControlNodes
from orbit4d.splat.gaussians import Gaussians, Gaussians4D
from orbit4d.splat.rasterize import render

FRAMES = 9


@pytest.fixture(scope="module")
def lively() -> Gaussians4D:
    return toy(lively=True)


@pytest.mark.parametrize("bound", [1e-3, 1e-4])
def test_every_attribute_stays_within_its_bound_at_every_knot(lively, bound):
    compact = decode(encode(lively, bound=bound, frames=FRAMES))
    bounds, errors = compact.extras["bounds"], compact.extras["errors"]
    assert set(compact.deltas) == {"position", "turn", "log_scale", "color", "opacity"}
    assert all(0 < errors[name] <= bounds[name] for name in bounds)
    # Which stored Gaussian is which: neighbours at time 0 within the rounding of the static part.
    truth0 = lively.at(0.0)
    match = torch.cdist(compact.at(0.0).means, truth0.means).argmin(1)
    assert len(match.unique()) == len(truth0)
    grid = 2e-4 * compact.extras["extent"]
    for time in torch.linspace(0, 1, 2 * FRAMES - 1).tolist():
        g, truth = compact.at(time), lively.at(time)[match]
        assert float((g.means - truth.means).norm(dim=-1).max()) <= bounds["position"] + grid
        opacity = (g.logit_opacities.sigmoid() - truth.logit_opacities.sigmoid()).abs().max()
        assert float(opacity) <= bounds["opacity"] + 1 / 255
        assert float((g.log_scales - truth.log_scales).norm(dim=-1).max()) <= bounds["log_scale"] + 0.02
        cosine = (g.quats * torch.nn.functional.normalize(truth.quats, dim=-1)).sum(-1).abs()
        assert float(cosine.min()) > 0.9995
        assert float((g.base_colors - truth.base_colors).abs().max()) <= bounds["color"] + 3 / 255


def test_it_looks_like_the_exact_model_between_knots_too(lively):
    # All of the toy moves as one, so that all is off by the same, up to the bound: half of the usual one is asked for.
    compact = decode(encode(lively, frames=FRAMES, bound=1e-3))
    for i, time in enumerate(torch.rand(5, generator=torch.Generator().manual_seed(1)).tolist()):
        camera = Orbit(frames=2, azimuth_start_deg=70.0 * i, elevation_deg=10).cameras(128)[:1]
        a, b = (render(s.at(time), camera, background=1.0).rgb for s in (compact, lively))
        assert float(-10 * (a - b).square().mean().log10()) > 50


def test_a_tighter_bound_costs_more_and_errs_less():
    scene = swaying()
    loose, tight = (encode(scene, bound=b, frames=24) for b in (4e-3, 2e-4))
    assert len(loose) < len(tight)
    assert decode(tight).extras["errors"]["position"] < decode(loose).extras["errors"]["position"]


def swaying() -> Gaussians4D:
    """4,000 Gaussians carried by control nodes whose field is random: smooth motion that no low rank holds exactly."""
    torch.manual_seed(5)
    g = Gaussians(
        means=torch.randn(4000, 3) * 0.2,
        quats=torch.randn(4000, 4),
        log_scales=torch.randn(4000, 3) * 0.3 - 4,
        logit_opacities=torch.randn(4000) + 2,
        sh=torch.randn(4000, 1, 3),
    )
    field = {"spatial_resolutions": (8,), "temporal_resolutions": (12,), "channels": 8, "hidden": 16}
    nodes = ControlNodes(nodes=torch.randn(40, 3) * 0.2, field=field)
    with torch.no_grad():
        for name, value in nodes.field.named_parameters():
            value.add_(torch.randn_like(value) * (0.02 if "head" in name or value.ndim == 1 else 0.2))
    return Gaussians4D(canonical=g, deformation=nodes.requires_grad_(False))


def test_smaller_than_its_ply_sequence():
    scene = swaying()
    moved = max(float((scene.at(t).means - scene.at(0.0).means).norm(dim=-1).max()) for t in (0.3, 0.6, 1.0))
    assert moved > 0.02, "the scene must move for its size to mean anything"
    ply = 24 * 17 * 4 * len(scene.canonical)
    assert len(encode(scene, frames=24)) * 15 < ply


def test_the_same_scene_gives_the_same_bytes(lively):
    assert encode(lively, frames=5) == encode(lively, frames=5)


def test_a_scene_at_rest_has_no_motion():
    compact = decode(encode(Gaussians4D(canonical=toy().canonical)))
    assert not compact.deltas and compact.weights.shape == (1, 0)
    assert torch.equal(compact.at(0.0).means, compact.at(0.7).means)


def test_what_is_invisible_at_first_is_kept_and_what_never_shows_is_not(lively):
    class Appearing:
        kind = "test"

        def config(self) -> dict:
            return {}

        def state_dict(self) -> dict:
            return {}

        def __call__(self, g: Gaussians, time) -> Gaussians:
            shown = torch.arange(len(g)) < 100
            logits = torch.where(shown, 16 * float(time) - 12, torch.tensor(-20.0))
            return Gaussians(**vars(g) | {"logit_opacities": logits})

    compact = decode(encode(Gaussians4D(canonical=lively.canonical, deformation=Appearing()), frames=24))
    assert len(compact) == 100
    assert float(compact.at(0.0).logit_opacities.sigmoid().max()) < 0.02
    assert float(compact.at(1.0).logit_opacities.sigmoid().min()) > 0.95


def test_a_loop_has_no_seam():
    times = torch.linspace(0, 1, 9)
    weights = torch.stack([(6.2831853 * times).sin(), (6.2831853 * times).cos()], dim=1)
    tangents = slopes(times, weights, periodic=True)
    assert torch.allclose(tangents[0], tangents[-1])
    between = torch.tensor(0.31)
    expected = torch.stack([(6.2831853 * between).sin(), (6.2831853 * between).cos()])
    assert torch.allclose(hermite(times, weights, tangents, 0.31), expected, atol=0.02)


@given(
    st.integers(2, 12),
    st.integers(1, 40),
    st.floats(2e-3, 0.5),
    st.sampled_from([0.0, 1.0, 1e3]),
    st.integers(0, 2**31),
)
@example(knots=5, n=3, bound=1e-2, outlier=1e3, seed=0)
def test_a_basis_holds_any_bound(knots, n, bound, outlier, seed):
    """Even noise, which no low rank describes, and one Gaussian that moves far more than 16 bits of steps can say."""
    generator = torch.Generator().manual_seed(seed)
    changes = {"position": torch.randn(knots, n, 3, generator=generator).cumsum(0)}
    changes["position"][:, 0] += torch.linspace(0, outlier, knots)[:, None]
    changes["position"] -= changes["position"][:1].clone()
    bound = max(bound, 1e-5 * outlier)  # beyond that float32 itself is the limit
    basis = fit_basis(changes, {"position": bound})
    assert basis.errors["position"] <= bound * 1.0001
    if basis.coefficients:
        decoded = torch.einsum("kr,rnc->knc", basis.weights, basis.coefficients["position"].float())
        assert float((decoded - changes["position"]).norm(dim=-1).max()) <= bound * 1.01


def test_errors_are_true_where_a_bound_cannot_be_held():
    """Noise of a higher rank than files may have."""
    changes = {"position": torch.randn(90, 200, 3, generator=torch.Generator().manual_seed(0)) * 100}
    changes["position"][0] = 0
    basis = fit_basis(changes, {"position": 1e-2})
    assert basis.weights.shape[1] <= MAX_RANK
    decoded = torch.einsum("kr,rnc->knc", basis.weights, basis.coefficients["position"].float())
    error = float((decoded - changes["position"]).norm(dim=-1).max())
    assert basis.errors["position"] == pytest.approx(error, rel=1e-3) and error > 1


def test_one_gaussian_that_moves_far():
    scene = toy()

    class Leaving(Slide):
        def __call__(self, g: Gaussians, time) -> Gaussians:
            moved = super().__call__(g, time)
            moved.means[7, 0] += 1000 * float(time)
            return moved

    scene = Gaussians4D(canonical=scene.canonical, deformation=Leaving())
    compact = decode(encode(scene, frames=5))
    assert compact.extras["errors"]["position"] <= compact.extras["bounds"]["position"]
    assert float((compact.at(1.0).means - compact.at(0.0).means)[:, 0].max()) == pytest.approx(1000.4, abs=0.01)


@pytest.mark.parametrize("far", [1e3, 1e5])
@pytest.mark.parametrize("what", ["position", "scale"])
def test_one_far_or_huge_gaussian_coarsens_nothing(far, what):
    scene = toy()
    if what == "position":
        scene.canonical.means[5] = torch.tensor([far, 0.0, -far])
    else:
        scene.canonical.log_scales[5] = float(np.log(far))
    compact, truth = decode(encode(scene, frames=5)), scene.at(0.0)
    bound = compact.extras["bounds"]["position"]
    assert bound < 0.01 and compact.extras["errors"]["position"] <= bound
    seen = compact.at(0.0)
    distance = torch.cdist(truth.means.double(), seen.means.double())
    match = distance.argmin(1)
    assert len(match.unique()) == len(truth)
    assert float((truth.means - seen.means[match]).norm(dim=-1).max()) <= bound
    assert float((truth.log_scales - seen.log_scales[match]).abs().max()) < 0.02


def test_errors_count_the_static_part_too():
    """What a decoded scene at rest is off by is what its file says."""
    scene = Gaussians4D(canonical=toy().canonical)
    compact = decode(encode(scene, bound=1e-4))
    error = float(torch.cdist(compact.at(0.0).means.double(), scene.canonical.means.double()).amin(1).max())
    assert 0 < compact.extras["errors"]["position"] == pytest.approx(error, rel=0.05)


def test_a_tight_bound_that_16_bits_cannot_hold():
    scene = Gaussians4D(canonical=toy().canonical)
    compact = decode(encode(scene, bound=1e-5))
    assert compact.extras["errors"]["position"] <= compact.extras["bounds"]["position"]


@pytest.mark.parametrize(
    ("argument", "message"), [({"frames": 1}, "--frames"), ({"bound": 0.0}, "bound"), ({"bound": 1.0}, "bound")]
)
def test_arguments_out_of_range(lively, argument, message):
    with pytest.raises(InputError, match=message):
        encode(lively, **argument)


def test_scenes_that_cannot_be_shown():
    scene = toy()
    scene.canonical.logit_opacities.fill_(-20)
    with pytest.raises(InputError, match="visible"):
        encode(scene)
    scene.canonical.means[3, 1] = float("nan")
    with pytest.raises(InputError, match="not finite at keyframe 0"):
        encode(scene)


def test_a_page_that_cannot_be_made_leaves_nothing(tmp_path):
    scene = toy()
    scene.canonical.logit_opacities.fill_(-20)
    with pytest.raises(InputError):
        write_html(scene, tmp_path / "a.html")
    assert not list(tmp_path.iterdir())


def test_files_of_both_kinds(tmp_path, lively):
    packed = write_compact(lively, tmp_path / "a.glb.gz", frames=FRAMES).read_bytes()
    plain = write_compact(lively, tmp_path / "a.glb", frames=FRAMES).read_bytes()
    assert gzip.decompress(packed) == plain and plain[:4] == b"glTF"
    assert torch.equal(decode(packed).at(0.4).means, decode(plain).at(0.4).means)
    with pytest.raises(InputError, match=r"\.glb"):
        write_compact(lively, tmp_path / "a.ply")


def test_it_is_valid_gltf_with_standard_splats(lively):
    """What the standard and KHR_gaussian_splatting ask of an accessor, for those that a validator would look at."""
    document, binary = read_glb(gzip.decompress(encode(lively, frames=FRAMES)), source="test")
    primitive = document["meshes"][0]["primitives"][0]
    assert primitive["mode"] == 0 and primitive["extensions"]["KHR_gaussian_splatting"]["kernel"] == "ellipse"
    allowed = {"ROTATION": (5126, 5120, 5122), "SCALE": (5126, 5121, 5123), "OPACITY": (5126, 5121, 5123)}
    for name, index in primitive["attributes"].items():
        accessor = document["accessors"][index]
        assert accessor["componentType"] in allowed.get(name.rpartition(":")[2], (5126, 5122))
    targets = primitive["targets"]
    assert all(set(target) <= set(primitive["attributes"]) for target in targets)
    assert len(document["meshes"][0]["weights"]) == len(targets)
    output = document["accessors"][document["animations"][0]["samplers"][0]["output"]]
    assert output["count"] == 3 * (2 * FRAMES - 1) * len(targets)
    for view in document["bufferViews"]:
        assert view["byteOffset"] % 4 == 0 and view.get("byteStride", 4) % 4 == 0
        assert view["byteOffset"] + view["byteLength"] <= len(binary)
    for accessor in document["accessors"]:
        assert accessor["componentType"] in COMPONENTS


def test_viewers_of_plain_gltf_place_and_frame_it(lively):
    """They take 1 for the largest weight, and some add the position itself where a target has none."""
    document, _ = read_glb(gzip.decompress(encode(lively, frames=FRAMES)), source="test")
    targets, accessors = document["meshes"][0]["primitives"][0]["targets"], document["accessors"]
    for target in targets:
        assert {"min", "max"} <= accessors[target["POSITION"]].keys()
        filled = [accessors[i] for i in target.values() if "bufferView" in accessors[i]]
        assert filled and all(a["normalized"] for a in filled) and len({a["componentType"] for a in filled}) == 1


def test_targets_of_version_1_are_read(lively):
    """Whole numbers, with weights for these."""
    data = encode(lively, frames=FRAMES)
    document, binary = read_glb(gzip.decompress(data), source="test")
    accessors, targets = document["accessors"], document["meshes"][0]["primitives"][0]["targets"]
    factors = []
    for target in targets:
        filled = [accessors[i] for i in target.values() if "bufferView" in accessors[i]]
        factors.append({5120: 127, 5122: 32767}[filled[0]["componentType"]])
        for accessor in filled:
            del accessor["normalized"]
    document["meshes"][0]["extras"]["orbit4d"]["version"] = 1
    output = accessors[document["animations"][0]["samplers"][0]["output"]]
    view = document["bufferViews"][output["bufferView"]]
    binary = bytearray(binary)
    spline = np.ndarray((output["count"] // len(targets), len(targets)), "<f4", binary, view["byteOffset"])
    spline /= np.array(factors, np.float32)
    old, new = decode(pack_glb(document, bytes(binary))).at(0.4), decode(data).at(0.4)
    for name, value in vars(new).items():
        torch.testing.assert_close(getattr(old, name), value, atol=1e-5, rtol=1e-4)


def edited(data: bytes, change) -> bytes:
    """The .glb with its JSON changed by `change(document)`."""
    size = struct.unpack_from("<I", data, 12)[0]
    document = json.loads(data[20 : 20 + size])
    change(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + size :]
    return struct.pack("<IIIII", 0x46546C67, 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest


def _set(*path, value):
    def change(document):
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


HOSTILE = {
    "no node": _set("nodes", value=[]),
    "huge count": _set("accessors", 0, "count", value=10**9),
    "negative count": _set("accessors", 0, "count", value=-1),
    "count of another kind": _set("accessors", 0, "count", value=True),
    "view beyond the data": _set("bufferViews", 0, "byteOffset", value=10**9),
    "negative offset": _set("bufferViews", 0, "byteOffset", value=-4),
    "stride of zero": _set("bufferViews", 0, "byteStride", value=0),
    "unknown component": _set("accessors", 0, "componentType", value=5125),
    "text for an index": _set("meshes", 0, "primitives", 0, "attributes", "POSITION", value="0"),
    "attribute missing": _set("meshes", 0, "primitives", 0, "attributes", value={"POSITION": 0}),
    "scale not finite": _set("nodes", 0, "scale", value=[1e400] * 3),
    "scale negative": _set("nodes", 0, "scale", value=[-1.0] * 3),
    "another axis": _set("nodes", 0, "rotation", value=[0, 0, 0, 1]),
    "too many targets": _set("meshes", 0, "primitives", 0, "targets", value=[{}] * 65),
    "linear animation": _set("animations", 0, "samplers", 0, "interpolation", value="LINEAR"),
    "other version": _set("meshes", 0, "extras", "orbit4d", "version", value=3),
    "no units": _set("meshes", 0, "extras", "orbit4d", "units", value={}),
}


@pytest.fixture(scope="module")
def plain() -> bytes:
    return gzip.decompress(encode(toy(lively=True), frames=FRAMES))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_documents(plain, name):
    with pytest.raises(InputError, match="somewhere") as caught:
        decode(edited(plain, HOSTILE[name]), source="somewhere")
    assert "\n" not in str(caught.value)


@given(st.data())
def test_damaged_bytes_are_refused_or_harmless(plain, data):
    damaged = bytearray(plain)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(plain) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(damaged[: data.draw(st.integers(0, len(plain)))])).at(0.5)
    except InputError as error:
        assert "\n" not in str(error)


def test_targets_without_data_of_their_own_are_refused(plain):
    """64 targets that share one accessor would decode to many times what the file holds."""

    def change(document):
        primitive = document["meshes"][0]["primitives"][0]
        primitive["targets"] = primitive["targets"][:1] * 64

    with pytest.raises(InputError, match="64 targets in"):
        decode(edited(plain, change))


def test_cut_or_inflated_gzip(lively):
    packed = encode(lively, frames=5)
    for broken in (packed[:-20], packed[:200], b"\x1f\x8b" + packed[5:], gzip.compress(b"nothing of the kind")):
        with pytest.raises(InputError):
            decode(broken)


def test_not_finite_numbers_in_the_data(plain):
    size = struct.unpack_from("<I", plain, 12)[0]
    document = json.loads(plain[20 : 20 + size])
    index = document["meshes"][0]["primitives"][0]["attributes"]["KHR_gaussian_splatting:SH_DEGREE_0_COEF_0"]
    offset = document["bufferViews"][document["accessors"][index]["bufferView"]]["byteOffset"]
    broken = bytearray(plain)
    broken[28 + size + offset : 32 + size + offset] = np.float32(np.nan).tobytes()
    with pytest.raises(InputError, match="not finite"):
        decode(bytes(broken))
