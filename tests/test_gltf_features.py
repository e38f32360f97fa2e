"""What files in the wild use beyond one mesh and one animation: scenes, instances, materials, several joint sets, metadata."""

from __future__ import annotations

import json

import numpy as np
import pytest
from gltf_builder import CUBE, CUBE_FACES, Glb, parse, png, world

from orbit4d.assets.gltf import load_glb
from orbit4d.assets.toybox import make_toy
from orbit4d.errors import InputError


def two_scenes() -> Glb:
    g = Glb().cube()
    g.document["nodes"] = [{"mesh": 0}, {"mesh": 0, "translation": [5, 0, 0], "name": "far"}]
    g.document["scenes"] = [{"nodes": [0], "name": "Near"}, {"nodes": [1], "name": "Far"}]
    g.document["scene"] = 1
    return g


@pytest.mark.parametrize(("scene", "x"), [(None, 5), (0, 0), ("Near", 0), ("near", 0), ("0", 0), (1, 5), ("Far", 5)])
def test_a_scene_is_chosen_by_number_or_name(tmp_path, scene, x):
    asset = load_glb(two_scenes().save(tmp_path / "a.glb"), scene=scene)
    np.testing.assert_allclose(asset.pose(None, 0).positions[0], world(CUBE + np.float32([x, 0, 0])), atol=1e-6)
    assert asset.scenes == ["Near", "Far"]


@pytest.mark.parametrize("scene", [2, -1, "Middle", "7"])
def test_an_absent_scene_is_refused_with_the_list(tmp_path, scene):
    with pytest.raises(InputError, match=r"no scene .*its scenes: 0=Near, 1=Far"):
        load_glb(two_scenes().save(tmp_path / "a.glb"), scene=scene)
    g = Glb().cube()
    del g.document["scenes"], g.document["scene"]
    assert load_glb(g.save(tmp_path / "none.glb")).scenes == []
    with pytest.raises(InputError, match="it has none"):
        load_glb(tmp_path / "none.glb", scene=0)


def test_an_empty_default_scene_names_the_others(tmp_path):
    g = two_scenes()
    g.document["scenes"][1]["nodes"] = []
    with pytest.raises(InputError, match=r"no triangles in this scene.*0=Near"):
        load_glb(g.save(tmp_path / "a.glb"))


def test_joints_may_lie_outside_the_scene_and_have_no_animation(tmp_path):
    g = Glb().cube().skin()
    g.document["nodes"][1]["translation"] = [0, 2, 0]
    g.document["skins"][0]["skeleton"] = 1
    g.document["scenes"] = [{"nodes": [0]}]
    posed = load_glb(g.save(tmp_path / "a.glb")).pose(None, 0).positions[0]
    np.testing.assert_allclose(posed, world(CUBE + np.float32([0, 2, 0])), atol=1e-6)


def test_a_vertex_may_follow_eight_joints(tmp_path):
    """Two sets of four: with equal weights every vertex moves by the mean of the joints' offsets."""
    g = Glb().cube()
    g.document["nodes"] = [{"mesh": 0, "skin": 0}] + [{"translation": [i, 0, 0]} for i in range(8)]
    g.document["skins"] = [{"joints": list(range(1, 9))}]
    for k in range(2):
        joints = np.tile(np.arange(4 * k, 4 * k + 4, dtype=np.uint16), (8, 1))
        g.primitive["attributes"] |= {
            f"JOINTS_{k}": g.accessor(joints, "VEC4"),
            f"WEIGHTS_{k}": g.accessor(np.full((8, 4), 32, np.uint8), "VEC4", normalized=True),
        }
    posed = load_glb(g.save(tmp_path / "a.glb")).pose(None, 0).positions[0]
    np.testing.assert_allclose(posed, world(CUBE + np.float32([3.5, 0, 0])), atol=1e-5)


def test_gpu_instances_are_drawn_one_by_one(tmp_path):
    g = Glb().cube()
    shifts = np.float32([[0, 0, 0], [4, 0, 0], [0, 8, 0]])
    turns = np.float32([[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]])
    sizes = np.float32([[1, 1, 1], [2, 2, 2], [1, 1, 1]])
    names = {"TRANSLATION": (shifts, "VEC3"), "ROTATION": (turns, "VEC4"), "SCALE": (sizes, "VEC3")}
    attributes = {name: g.accessor(array, kind) for name, (array, kind) in names.items()}
    g.document["nodes"] = [
        {"mesh": 0, "translation": [0, 0, 1], "extensions": {"EXT_mesh_gpu_instancing": {"attributes": attributes}}}
    ]
    g.document["extensionsRequired"] = ["EXT_mesh_gpu_instancing"]
    posed = load_glb(g.save(tmp_path / "a.glb")).pose(None, 0).positions
    assert len(posed) == 3
    for points, shift, size in zip(posed, shifts, sizes, strict=True):
        np.testing.assert_allclose(points, world(CUBE * size + shift + np.float32([0, 0, 1])), atol=1e-6)


def test_hidden_nodes_are_not_drawn_nor_are_their_children(tmp_path):
    g = Glb().cube()
    hidden = {"extensions": {"KHR_node_visibility": {"visible": False}}}
    g.document["nodes"] = [{"mesh": 0, "name": "seen"}, {"children": [2], **hidden}, {"mesh": 0, "name": "unseen"}]
    g.document["scenes"] = [{"nodes": [0, 1]}]
    assert [p.name for p in load_glb(g.save(tmp_path / "a.glb")).primitives] == ["seen"]


@pytest.mark.parametrize(
    ("dtype", "width", "normalized"),
    [("uint8", 3, True), ("uint16", 4, True), ("float32", 3, False), ("uint8", 4, False)],
)
def test_vertex_colours_of_every_type(tmp_path, dtype, width, normalized):
    """Some exporters forget `normalized`; integers mean [0, 1] all the same, and floats are clamped to it."""
    full = {"uint8": 255, "uint16": 65535, "float32": 1}[dtype]
    colours = np.zeros((8, width), dtype)
    colours[:, 0] = full
    colours[0, 1] = full * (3 if dtype == "float32" else 1)
    g = Glb().cube()
    g.primitive["attributes"]["COLOR_0"] = g.accessor(colours, f"VEC{width}", normalized=normalized)
    read = load_glb(g.save(tmp_path / "a.glb")).primitives[0].colors
    np.testing.assert_allclose(read[0], [1, 1, 0, 0 if width == 4 else 1], atol=1e-6)
    np.testing.assert_allclose(read[1], [1, 0, 0, 0 if width == 4 else 1], atol=1e-6)


def test_materials_carry_emission_sides_and_transparency(tmp_path):
    g = Glb().cube().picture(png(4, 4))
    g.document["materials"] = [
        {
            "doubleSided": True,
            "alphaMode": "MASK",
            "alphaCutoff": 0.25,
            "emissiveFactor": [1, 0.5, 0],
            "emissiveTexture": {"index": 0, "extensions": {"KHR_texture_transform": {"scale": [2, 3]}}},
            "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": 4}},
        }
    ]
    material = load_glb(g.save(tmp_path / "a.glb")).primitives[0].material
    assert material.double_sided and material.alpha_mode == "MASK" and material.alpha_cutoff == 0.25
    np.testing.assert_allclose(material.emissive, [4, 2, 0])
    assert material.texture is None and material.emissive_texture is not None
    np.testing.assert_array_equal(material.emissive_texture[0, 0], [255, 0, 0, 255])
    np.testing.assert_allclose(material.uv_transform, np.diag([2, 3, 1]))
    g.document["materials"] = [{}]
    plain = load_glb(g.save(tmp_path / "a.glb")).primitives[0].material
    assert not plain.double_sided and not plain.emissive.any() and plain.emissive_texture is None


def test_specular_glossiness_stands_in_for_the_base_colour(tmp_path):
    g = Glb().cube().picture(png(4, 4))
    old = {"diffuseFactor": [0.5, 0.25, 1, 1], "diffuseTexture": {"index": 0}}
    g.document["materials"] = [{"extensions": {"KHR_materials_pbrSpecularGlossiness": old}}]
    g.document["extensionsRequired"] = ["KHR_materials_pbrSpecularGlossiness"]
    material = load_glb(g.save(tmp_path / "a.glb")).primitives[0].material
    np.testing.assert_allclose(material.color, [0.5, 0.25, 1, 1])
    assert material.texture is not None


def test_variants_show_the_default_material_and_unknown_animation_targets_are_left_out(tmp_path):
    g = Glb().cube()
    g.document["materials"] = [{"pbrMetallicRoughness": {"baseColorFactor": [c, 0, 0, 1]}} for c in (0.25, 0.75)]
    variants = {"KHR_materials_variants": {"mappings": [{"material": 0, "variants": [0]}]}}
    g.primitive.update(material=1, extensions=variants)
    g.document["extensions"] = {"KHR_materials_variants": {"variants": [{"name": "dark"}]}}
    g.animate("translation", [0, 1], np.zeros((2, 3)), "VEC3")
    pointer = {"pointer": "/materials/0/pbrMetallicRoughness/baseColorFactor"}
    target = {"path": "pointer", "extensions": {"KHR_animation_pointer": pointer}}
    g.document["animations"][0]["channels"].append({"sampler": 0, "target": target})
    g.document["extensionsRequired"] = ["KHR_materials_variants", "KHR_animation_pointer"]
    asset = load_glb(g.save(tmp_path / "a.glb"))
    assert asset.primitives[0].material.color[0] == 0.75
    assert [c.path for c in asset.animations[0].channels] == ["translation"]


def test_meshes_without_normals_are_flat_in_every_pose(tmp_path):
    """The specification asks for flat normals: each triangle's own, also while a morph target bends it."""
    g = Glb().cube()
    del g.primitive["attributes"]["NORMAL"]
    bend = np.zeros((8, 3), np.float32)
    bend[4:, 1] = 2
    g.primitive["targets"] = [{"POSITION": g.accessor(bend, "VEC3")}]
    g.animate("weights", [0, 1], np.array([[0.0], [1.0]]), "SCALAR")
    asset = load_glb(g.save(tmp_path / "a.glb"))
    for seconds in (0.0, 1.0):
        posed = asset.pose(0, seconds)
        expected = world((CUBE + seconds * bend)[CUBE_FACES])
        np.testing.assert_allclose(posed.positions[0], expected, atol=1e-6)
        corners = expected.reshape(-1, 3, 3)
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        np.testing.assert_allclose(posed.normals[0], np.repeat(normals, 3, 0), atol=1e-5)


def test_mirrored_nodes_keep_their_outside_outside(tmp_path):
    """A negative scale turns triangles inside out; their order is reversed, and normals still point away."""
    for scale in ([1, 1, 1], [-1, 1, 1], [-1, -2, -1], [1, -1, -1]):
        g = Glb().cube()
        g.document["nodes"] = [{"mesh": 0, "scale": scale}]
        asset = load_glb(g.save(tmp_path / "a.glb"))
        posed = asset.pose(None, 0)
        corners = posed.positions[0][asset.primitives[0].indices].reshape(-1, 3, 3)
        outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert ((outward * corners.mean(1)).sum(1) > 0).all() == _outward_at_rest()
        assert ((posed.normals[0] * posed.positions[0]).sum(1) > 0).all()


def _outward_at_rest() -> bool:
    """Whether the builder's cube runs counter-clockwise seen from outside."""
    corners = CUBE[CUBE_FACES].reshape(-1, 3, 3)
    return bool(
        ((np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) * corners.mean(1)).sum(1) > 0).all()
    )


def test_strips_and_fans_are_the_same_triangles(tmp_path):
    square = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    for mode, order in ((5, [0, 1, 2, 3]), (6, [0, 1, 3, 2])):
        g = Glb()
        attributes = {"POSITION": g.accessor(square, "VEC3"), "NORMAL": g.accessor(square, "VEC3")}
        g.primitive.update(attributes=attributes, indices=g.accessor(np.uint16(order), "SCALAR"), mode=mode)
        triangles = load_glb(g.save(tmp_path / "a.glb")).primitives[0].indices.reshape(-1, 3)
        assert len(triangles) == 2
        for a, b, c in square[triangles]:
            assert np.cross(b - a, c - a)[2] > 0


def test_vertices_shared_by_many_meshes_are_kept_where_they_are_used(tmp_path):
    """Two meshes index one array of 2 x 8 vertices: each keeps its own 8."""
    g = Glb()
    points = np.concatenate([CUBE, CUBE * 3])
    attributes = {"POSITION": g.accessor(points, "VEC3"), "NORMAL": g.accessor(points, "VEC3")}
    few = np.uint16([0, 1, 3])
    halves = [few, few + 8]
    g.document["meshes"] = [
        {"primitives": [{"attributes": attributes, "indices": g.accessor(i, "SCALAR")} for i in halves]}
    ]
    posed = load_glb(g.save(tmp_path / "a.glb")).pose(None, 0).positions
    np.testing.assert_allclose(posed[0], world(CUBE[[0, 1, 3]]), atol=1e-6)
    np.testing.assert_allclose(posed[1], world(CUBE[[0, 1, 3]] * 3), atol=1e-6)


def test_metadata_is_short_plain_text(tmp_path):
    g = two_scenes()
    g.document["asset"] |= {
        "generator": "a tool",
        "copyright": "2026 \x1b[31mnobody\n\n " + "x" * 500,
        "extras": {
            "title": "Two cubes",
            "author": "someone",
            "license": "CC0",
            "seed": 7,
            "junk": {"a": []},
            "\n": "odd",
        },
        "extensions": {"KHR_xmp_json_ld": {"packet": 0}},
    }
    packet = {"dc:creator": {"@list": ["Ada"]}, "dc:description": {"@value": "cubes apart"}, "dc:title": 5.5}
    g.document["extensions"] = {"KHR_xmp_json_ld": {"packets": [packet]}}
    found = load_glb(g.save(tmp_path / "a.glb")).metadata
    assert {
        k: found[k] for k in ("title", "author", "license", "seed", "generator", "scene", "nodes", "description")
    } == {
        "title": "Two cubes",
        "author": "someone",
        "license": "CC0",
        "seed": "7",
        "generator": "a tool",
        "scene": "Far",
        "nodes": "far",
        "description": "cubes apart",
    }
    assert found["copyright"].startswith("2026 [31mnobody x") and all(
        len(v) <= 200 and (k + v).isprintable() for k, v in found.items()
    )
    assert not {"junk"} & set(found)


def test_the_toybox_says_what_it_is(tmp_path):
    toy = make_toy(2)
    (tmp_path / "a.glb").write_bytes(toy.glb)
    found = load_glb(tmp_path / "a.glb").metadata
    assert found["caption"] == toy.caption and found["kind"] == toy.kind and found["generator"] == "orbit4d toybox"


def test_a_gltf_with_its_buffer_beside_it_or_inside_it(tmp_path):
    import base64

    document, binary = parse(Glb().cube().data())
    (tmp_path / "my buffer.bin").write_bytes(binary)
    inline = "data:application/octet-stream;base64," + base64.b64encode(binary).decode()
    for uri in ("my%20buffer.bin", inline):
        document["buffers"][0]["uri"] = uri
        (tmp_path / "a.gltf").write_text(json.dumps(document))
        np.testing.assert_allclose(load_glb(tmp_path / "a.gltf").pose(None, 0).positions[0], world(CUBE), atol=1e-6)
