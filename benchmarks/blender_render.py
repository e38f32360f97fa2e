"""Run by Blender's Python (the `bpy` package), not by ours: the triangles that Blender shows of glTF files at given times.

    python blender_render.py JOB.json

JOB.json: {"fps": 1000, "cases": [{"file": ..., "animation": name or null, "seconds": [...], "out": FILE.npz}, ...]}. Each
.npz holds one array (m, 3, 3) a time, world coordinates with z up, or the reason why there is none.
"""

import json
import sys
from pathlib import Path

import bpy
import numpy as np


def main(job: dict) -> None:
    for case in job["cases"]:
        arrays = {}
        try:
            _import(case["file"], job["fps"])
            _play(case["animation"], case["number"])
            for k, seconds in enumerate(case["seconds"]):
                frame = seconds * job["fps"]
                bpy.context.scene.frame_set(int(frame), subframe=frame - int(frame))
                arrays[f"t{k}"] = _triangles()
        except Exception as error:  # one file must not end the others
            arrays = {"error": np.array(f"{type(error).__name__}: {error}")}
        np.savez(case["out"], **arrays)
        print("case", Path(case["file"]).name, {k: v.shape for k, v in arrays.items()}, flush=True)


def _import(file: str, fps: int) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.render.fps = fps  # the importer turns seconds into frames with it
    bpy.context.scene.render.fps_base = 1.0
    # Bones as in the file; without the shapes that the importer draws for them.
    bpy.ops.import_scene.gltf(filepath=file, bone_heuristic="BLENDER", disable_bone_shape=True)


def _play(animation: str | None, number: int | None) -> None:
    """Only this animation, on every object and shape key that has it, in absolute time."""
    owners = [o for o in (*bpy.data.objects, *bpy.data.shape_keys) if o.animation_data is not None]
    names = {t.name for o in owners for t in o.animation_data.nla_tracks}
    if animation not in names:  # the importer gives names to those that have none
        animation = next(
            (n for n in (f"Animation_{number}", f"Anim_{number}", f"Animation{number}") if n in names), animation
        )
    if animation is not None and animation not in names:
        raise ValueError(f"no animation {animation!r} among {sorted(names)[:20]}")
    for owner in owners:
        data = owner.animation_data
        strips = [s for t in data.nla_tracks if t.name == animation for s in t.strips]
        data.use_nla = False
        data.action = None
        if strips:
            data.action = strips[0].action
            data.action_slot = strips[0].action_slot


def _triangles() -> np.ndarray:
    """(m, 3, 3) of everything visible, modifiers and instances applied."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    found = []
    for instance in depsgraph.object_instances:
        shown = instance.object
        if (
            shown.type != "MESH"
            or not instance.show_self
            or shown.original.hide_render
            or shown.name.startswith("Icosphere")
        ):
            continue
        mesh = shown.to_mesh()
        mesh.calc_loop_triangles()
        vertices = np.empty(len(mesh.vertices) * 3, np.float32)
        mesh.vertices.foreach_get("co", vertices)
        corners = np.empty(len(mesh.loop_triangles) * 3, np.int32)
        mesh.loop_triangles.foreach_get("vertices", corners)
        matrix = np.array(instance.matrix_world)
        world = vertices.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
        found.append(world[corners].reshape(-1, 3, 3).astype(np.float32))
        shown.to_mesh_clear()
    return np.concatenate(found) if found else np.zeros((0, 3, 3), np.float32)


if __name__ == "__main__":
    print("versions", json.dumps({"bpy": bpy.app.version_string, "numpy": np.__version__}), flush=True)
    main(json.loads(Path(sys.argv[1]).read_text()))
