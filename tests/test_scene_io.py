from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from splat_fixtures import object_at
from test_hexplane import disturbed, make_nodes, make_residual_nodes

from orbit4d.errors import InputError
from orbit4d.splat.gaussians import Gaussians, Gaussians4D
from orbit4d.splat.hexplane import STHexPlane
from orbit4d.splat.io import load_metadata, load_scene, save_scene
from orbit4d.splat.trajectories import Trajectories

DEFORMATIONS = {
    "none": lambda: None,
    "st_hexplane": lambda: disturbed(STHexPlane(predict_color=True)),
    "control_nodes": lambda: disturbed(make_nodes(anchor_time=0.25)[0]),
    "control_nodes with residual": lambda: disturbed(make_residual_nodes()),
    "control_nodes with features": lambda: disturbed(make_nodes(feature_channels=(3, 2))[0]),
    "trajectories": lambda: disturbed(Trajectories(count=750, periodic=True)),
}


@pytest.mark.parametrize("name", DEFORMATIONS)
def test_round_trip_is_exact(tmp_path, name):
    scene = Gaussians4D(canonical=object_at(0.0), deformation=DEFORMATIONS[name]())
    path = save_scene(scene, tmp_path / "scene.safetensors", metadata={"prompt": "a ball", "seed": 3})
    again = load_scene(path)
    assert load_metadata(path) == {"prompt": "a ball", "seed": 3}
    for time in (0.0, 0.37, 1.0):
        a, b = scene.at(time).detach(), again.at(time).detach()
        for field in ("means", "quats", "log_scales", "logit_opacities", "sh"):
            assert torch.equal(getattr(a, field), getattr(b, field)), field
    if scene.deformation is not None:
        assert again.deformation.kind == name.split()[0] and again.deformation.config() == scene.deformation.config()


def test_many_trajectories_and_a_large_world_load_again(tmp_path):
    """What may be saved may be large where it must: as many paths as Gaussians, a box in world units."""
    g = object_at(0.0)
    canonical = Gaussians(**{k: v.repeat(8, *[1] * (v.ndim - 1)) for k, v in vars(g).items()})
    for deformation in (Trajectories(count=6000), STHexPlane(center=(0.0, 5e4, 0.0), half_extent=6e4)):
        path = save_scene(Gaussians4D(canonical=canonical, deformation=deformation), tmp_path / "s.safetensors")
        assert len(load_scene(path).at(0.5)) == 6000


@pytest.fixture
def saved(tmp_path):
    scene = Gaussians4D(canonical=object_at(0.0), deformation=make_nodes()[0])
    return save_scene(scene, tmp_path / "scene.safetensors")


def rewrite(path, *, change_header=None, change_tensors=None):
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["orbit4d"])
    (change_header or (lambda h: None))(header)
    (change_tensors or (lambda t: None))(tensors)
    save_file(tensors, path, metadata={"orbit4d": json.dumps(header)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h["deformation"].update(kind="neural_soup"), "unknown here"),
        (lambda h: h["deformation"]["config"].update(nodes=39), "do not fit"),
        (lambda h: h["deformation"]["config"]["field"].update(spatial_resolutions=[10**9, 8]), "at most"),
        (lambda h: h["deformation"]["config"].update(surprise=1), "not valid"),
        (lambda h: h["deformation"]["config"].update(neighbors=-3), "neighbors"),
        (lambda h: h["deformation"]["config"].update(neighbors=0), "neighbors"),
        (lambda h: h["deformation"]["config"].update(neighbors=2.5), "neighbors"),
        (lambda h: h["deformation"]["config"].update(neighbors=True), "neighbors"),
        (lambda h: h["deformation"]["config"].update(graph_neighbors=0), "graph_neighbors"),
        (lambda h: h["deformation"]["config"]["field"].update(center=[0, 0]), "center"),
        (lambda h: h["deformation"]["config"]["field"].update(center="xyz"), "not valid"),
        (lambda h: h["deformation"]["config"]["field"].update(half_extent=1e-300), "half_extent"),
        (lambda h: h["deformation"]["config"]["field"].update(half_extent="wide"), "not valid"),
        (lambda h: h["deformation"]["config"]["field"].update(anchor_time="x"), "not valid"),
        (lambda h: h["deformation"]["config"]["field"].update(anchor_time=7), "anchor_time"),
        (lambda h: h["deformation"]["config"]["field"].update(temporal_resolutions=[4, 8.5]), "resolutions"),
        (lambda h: h["deformation"]["config"]["field"].update(hidden=10**400), "at most"),
        (lambda h: h["deformation"]["config"].update(nodes="many"), "not valid"),
        (lambda h: h.update(deformation=[]), "kind"),
        (lambda h: h.update(version=99), "version"),
        (lambda h: h.update(format="other"), "orbit4d scene"),
    ],
)
def test_wrong_headers_are_input_errors(saved, change, message):
    rewrite(saved, change_header=change)
    with pytest.raises(InputError, match=message):
        load_scene(saved)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "{"])
def test_headers_that_do_not_parse_are_input_errors(saved, text):
    save_file(load_file(saved), saved, metadata={"orbit4d": text})
    with pytest.raises(InputError, match="header") as caught:
        load_scene(saved)
    assert "\n" not in str(caught.value)


def test_a_scene_that_needs_features_is_refused_on_loading(tmp_path):
    """Its config is valid and its tensors fit, but a field on the Gaussians has no features to give."""
    scene = Gaussians4D(canonical=object_at(0.0), deformation=STHexPlane(feature_channels=(2, 0)))
    with pytest.raises(InputError, match="cannot be evaluated"):
        load_scene(save_scene(scene, tmp_path / "scene.safetensors"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("canonical.quats"), "lack quats"),
        (lambda t: t.update({"canonical.quats": torch.zeros(3, 4)}), "quats must have shape"),
        (lambda t: t["canonical.means"].fill_(torch.nan), "finite"),
        (lambda t: t.update({k: v[:0] for k, v in t.items() if "canonical" in k}), "0 Gaussians"),
        (lambda t: [t[k].fill_(3e38) for k in t if "decoder" in k or "heads" in k], "not finite"),
        (lambda t: t.update({"canonical.means": torch.zeros(750, 3, dtype=torch.int64)}), "float32"),
    ],
)
def test_damaged_tensors_are_input_errors(saved, change, message):
    rewrite(saved, change_tensors=change)
    with pytest.raises(InputError, match=message):
        load_scene(saved)


def test_foreign_truncated_and_missing_files_are_input_errors(tmp_path, saved):
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(2)}, foreign)
    (tmp_path / "text.safetensors").write_text("hello")
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) // 2])
    for path in (foreign, tmp_path / "text.safetensors", saved, tmp_path / "absent.safetensors"):
        with pytest.raises(InputError, match=path.name):
            load_scene(path)
        with pytest.raises(InputError, match=path.name):
            load_metadata(path)


def test_a_failed_write_leaves_the_old_file(saved):
    before = saved.read_bytes()
    with pytest.raises(TypeError):
        save_scene(Gaussians4D(canonical=object_at(0.0)), saved, metadata={"bad": object()})
    assert saved.read_bytes() == before
    with pytest.raises(InputError, match="safetensors"):
        save_scene(Gaussians4D(canonical=object_at(0.0)), saved.with_suffix(".ply"))
