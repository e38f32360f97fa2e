"""The node tree, scenes and skins of a glTF file, validated so that posing cannot fail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .gltf_container import GAUSSIANS, Container
from .gltf_mesh import Meshes, Primitive
from .gltf_text import plain, word

MAX_NODES = 50_000
MAX_JOINTS = 200_000
"""Of all skins together."""


@dataclass(kw_only=True)
class Node:
    """A node: its parent (-1 for roots) and local transform; rotation is xyzw as in glTF; `matrix` (4, 4) replaces it."""

    name: str
    parent: int
    translation: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray
    matrix: np.ndarray | None


@dataclass(kw_only=True)
class Skin:
    """Joint nodes (j,) and inverse bind matrices (j, 4, 4)."""

    joints: np.ndarray
    inverse: np.ndarray


@dataclass(kw_only=True)
class Scene:
    """What a file draws. `order` lists every node, parents before children; `record` is the scene's own, if it has any."""

    primitives: list[Primitive]
    nodes: list[Node]
    order: list[int]
    skins: list[Skin]
    record: dict | None
    names: list[str]


def read_scene(file: Container, wanted: int | str | None) -> Scene:
    """One scene: by number, by name, or the file's default. Raises InputError for damaged files, for scenes that are not
    there and for those without triangles."""
    nodes = _nodes(file)
    roots = [i for i, node in enumerate(nodes) if node.parent < 0]
    order = _depth_first(file, nodes, roots)
    if len(order) != len(nodes):
        raise InputError(f"{file.path}: its node tree has a cycle; export the file again")
    names = [plain(record.get("name", i)) for i, record in enumerate(_records(file, "scenes"))]
    record = _choose(file, names, wanted)
    drawn = order if record is None else _depth_first(file, nodes, record.get("nodes", []))
    skins = _skins(file, len(nodes))
    meshes = Meshes(file, [len(skin.joints) for skin in skins])
    primitives: list[Primitive] = []
    for i in _visible(file, nodes, drawn):
        node = file.record("nodes", i)
        if "mesh" not in node:
            continue
        extensions = node.get("extensions", {})
        if "EXT_mesh_gpu_instancing" in extensions:
            first = len(nodes)
            nodes += _instances(file, i, node, extensions["EXT_mesh_gpu_instancing"]["attributes"], len(nodes))
            order += range(first, len(nodes))
            for instance in range(first, len(nodes)):
                primitives += meshes.draw(instance, node, instance=True)
        else:
            primitives += meshes.draw(i, node)
    _refuse_gaussians(file, drawn, alone=not primitives)
    if not primitives:
        others = f"; {_listing(names)}" if len(names) > 1 else ""
        raise InputError(
            f"{file.path}: holds no triangles in this scene (points and lines are not drawn); expected a mesh{others}"
        )
    return Scene(primitives=primitives, nodes=nodes, order=order, skins=skins, record=record, names=names)


def _refuse_gaussians(file: Container, drawn: list[int], *, alone: bool) -> None:
    """Raises InputError where the scene holds Gaussians that may not be left out: nothing else, or the file requires them."""
    if not alone and GAUSSIANS not in file.required:
        return  # coloured points for whoever does not know the extension, and points are not drawn
    meshes = [file.record("meshes", node["mesh"]) for i in drawn if "mesh" in (node := file.record("nodes", i))]
    if any(GAUSSIANS in p.get("extensions", {}) for mesh in meshes for p in mesh["primitives"]):
        raise InputError(
            f"{file.path}: holds Gaussians ({GAUSSIANS}){'' if alone else ' beside its mesh'}, expected a mesh alone; to look "
            "at them use `orbit4d export IN.glb OUT.html`, to set them in motion `orbit4d generate --static IN.glb`"
        )


def _records(file: Container, kind: str) -> list[dict]:
    """All entries of a list of the document."""
    return [file.record(kind, i) for i in range(len(file.json.get(kind, [])))]


def _listing(names: list[str]) -> str:
    return "its scenes: " + word(", ".join(f"{i}={name}" for i, name in enumerate(names)))


def _choose(file: Container, names: list[str], wanted: int | str | None) -> dict | None:
    """The record of a scene; None where the file has no scenes and none is asked for: then everything is drawn."""
    if wanted is None:
        return file.record("scenes", file.json.get("scene", 0)) if names else None
    if isinstance(wanted, str):
        for same in (str.__eq__, lambda a, b: a.lower() == b.lower()):
            found = [i for i, name in enumerate(names) if same(name, wanted)]
            if found:
                return file.record("scenes", found[0])
        wanted = int(wanted) if wanted.isdecimal() else wanted
    if isinstance(wanted, int) and 0 <= wanted < len(names):
        return file.record("scenes", wanted)
    raise InputError(
        f"{file.path}: has no scene {word(wanted)!r}; "
        + (_listing(names) if names else "it has none, leave the argument out")
    )


def _nodes(file: Container) -> list[Node]:
    count = len(file.json.get("nodes", []))
    if count > MAX_NODES:
        raise InputError(f"{file.path}: {count} nodes, at most {MAX_NODES} are read; merge them")
    records = _records(file, "nodes")
    parents = [-1] * count
    for i, record in enumerate(records):
        for child in record.get("children", []):
            file.record("nodes", child)
            parents[child] = i
    return [_node(file, record, parent) for record, parent in zip(records, parents, strict=True)]


def _node(file: Container, record: dict, parent: int) -> Node:
    def numbers(key: str, default: tuple[float, ...]) -> np.ndarray:
        value = np.array(record.get(key, default), dtype=float)
        if value.shape != (len(default),) or not np.isfinite(value).all():
            raise InputError(
                f"{file.path}: a node's {key} needs {len(default)} finite numbers, got {word(record[key])}; export it again"
            )
        return value

    identity = tuple(np.eye(4).ravel())
    return Node(
        name=plain(record.get("name", "")),
        parent=parent,
        translation=numbers("translation", (0, 0, 0)),
        rotation=numbers("rotation", (0, 0, 0, 1)),
        scale=numbers("scale", (1, 1, 1)),
        matrix=numbers("matrix", identity).reshape(4, 4).T if "matrix" in record else None,
    )


def _depth_first(file: Container, nodes: list[Node], roots: list[int]) -> list[int]:
    """Nodes from `roots` down, parents first. Joints may lie outside the scene that is drawn."""
    order: list[int] = []
    seen: set[int] = set()
    stack = list(reversed(roots))
    while stack:
        i = stack.pop()
        children = file.record("nodes", i).get("children", [])
        if i in seen or len(set(children)) != len(children) or any(nodes[c].parent != i for c in children):
            raise InputError(f"{file.path}: node {i} has two parents or is its own ancestor; export the file again")
        seen.add(i)
        order.append(i)
        stack.extend(reversed(children))
    return order


def _visible(file: Container, nodes: list[Node], drawn: list[int]) -> list[int]:
    """Without what KHR_node_visibility hides, children included; whether that is animated is not looked at."""
    hidden: set[int] = set()
    for i in drawn:
        own = file.record("nodes", i).get("extensions", {}).get("KHR_node_visibility", {}).get("visible", True)
        if own is False or nodes[i].parent in hidden:
            hidden.add(i)
    return [i for i in drawn if i not in hidden]


def _instances(file: Container, parent: int, record: dict, attributes: dict, first: int) -> list[Node]:
    """A child node for every instance of EXT_mesh_gpu_instancing."""
    if "skin" in record or not attributes:
        raise InputError(f"{file.path}: node {parent} instances a skinned mesh or has no instances; export it again")
    columns = {}
    for key, width in (("TRANSLATION", 3), ("ROTATION", 4), ("SCALE", 3)):
        if key in attributes:
            columns[key] = file.accessor(attributes[key], width=width).astype(float)
    count = len(next(iter(columns.values()), ()))
    if any(len(column) != count for column in columns.values()) or first + count > MAX_NODES:
        raise InputError(
            f"{file.path}: the {count} instances of node {parent} must agree in number and be at most {MAX_NODES}; merge them"
        )
    default = {"TRANSLATION": np.zeros(3), "ROTATION": np.array([0.0, 0, 0, 1]), "SCALE": np.ones(3)}
    name = plain(record.get("name", ""))
    return [
        Node(
            name=name,
            parent=parent,
            translation=columns["TRANSLATION"][k] if "TRANSLATION" in columns else default["TRANSLATION"],
            rotation=columns["ROTATION"][k] if "ROTATION" in columns else default["ROTATION"],
            scale=columns["SCALE"][k] if "SCALE" in columns else default["SCALE"],
            matrix=None,
        )
        for k in range(count)
    ]


def _skins(file: Container, nodes: int) -> list[Skin]:
    records = _records(file, "skins")
    total = sum(len(record["joints"]) for record in records)
    if total > MAX_JOINTS:
        raise InputError(f"{file.path}: its skins name {total} joints, at most {MAX_JOINTS} are read; merge them")
    return [_skin(file, record, nodes) for record in records]


def _skin(file: Container, record: dict, nodes: int) -> Skin:
    joints = np.array(record["joints"])
    whole = np.issubdtype(joints.dtype, np.integer)
    if not whole or joints.ndim != 1 or not len(joints) or joints.max() >= nodes or joints.min() < 0:
        raise InputError(f"{file.path}: a skin names joints that do not exist; export the file again")
    inverse = np.tile(np.eye(4), (len(joints), 1, 1))
    if "inverseBindMatrices" in record:
        inverse = file.accessor(record["inverseBindMatrices"], width=16).reshape(-1, 4, 4).transpose(0, 2, 1)
        if len(inverse) < len(joints):
            raise InputError(f"{file.path}: a skin of {len(joints)} joints has {len(inverse)} inverse bind matrices")
    file.spend(128 * len(joints), "skins")
    return Skin(joints=joints.astype(np.int64), inverse=inverse[: len(joints)].astype(float))
