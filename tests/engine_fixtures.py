"""What the engine's tests share: small assets with several animations, faults on demand, and what of a run must be equal."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pool_tasks import hog, hold_the_lock

from orbit4d.assets.gltf import Asset
from orbit4d.assets.toybox import make_toy
from orbit4d.data.drawing import Drawer, Drawing
from orbit4d.data.isolate import Emit
from orbit4d.data.jobs import Job, Settings, render_source
from orbit4d.data.manifest import read_manifest
from orbit4d.data.plan import RenderPlan

PLAN = RenderPlan(frames=3, size=16, supersample=1)


def edit_glb(data: bytes, change: Callable[[dict], None]) -> bytes:
    """The GLB with its JSON changed in place."""
    size = struct.unpack_from("<I", data, 12)[0]
    document = json.loads(data[20 : 20 + size])
    change(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + size :]
    return struct.pack("<4sIIII", b"glTF", 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest


def several(names: list[str], *, seed: int = 0) -> bytes:
    """A toy whose one animation is there under each of these names."""

    def change(document: dict) -> None:
        animation = document["animations"][0]
        document["animations"] = [copy.deepcopy(animation) | {"name": name} for name in names]

    return edit_glb(make_toy(seed).glb, change)


def still(*, seed: int = 0) -> bytes:
    """A toy without animations."""
    return edit_glb(make_toy(seed).glb, lambda document: document.pop("animations"))


def instant(*, seed: int = 0) -> bytes:
    """A toy whose animation has one key: it lasts no time."""

    def change(document: dict) -> None:
        accessors = document["accessors"]
        animation = document["animations"][0]
        animation["samplers"], animation["channels"] = animation["samplers"][:1], animation["channels"][:1]
        animation["channels"][0]["sampler"] = 0
        for end in ("input", "output"):
            accessor = {k: v for k, v in accessors[animation["samplers"][0][end]].items() if k not in ("min", "max")}
            accessors.append(accessor | {"count": 1})
            animation["samplers"][0][end] = len(accessors) - 1

    return edit_glb(make_toy(seed).glb, change)


def samples_of(folder: Path) -> dict[str, str]:
    """File name -> SHA-256 of everything in `samples`, hidden files too."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((folder / "samples").iterdir())}


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The manifest without what may differ between equal runs."""
    return [{k: v for k, v in record.items() if k != "seconds"} for record in read_manifest(folder)]


class FaultyDrawer(Drawer):
    """Goes wrong at animations of certain names."""

    def draw(self, asset: Asset, animation: int, *, seed: int) -> Drawing:
        match asset.animations[animation].name:
            case "hang":
                time.sleep(1000)
            case "hold":
                hold_the_lock()
            case "crash":
                os.kill(os.getpid(), 11)
            case "exit":
                os._exit(3)
            case "killed":
                os.kill(os.getpid(), 9)
            case "killed once":
                once = Path(os.environ["ORBIT4D_TEST_ONCE"])
                if not once.exists():
                    once.touch()
                    os.kill(os.getpid(), 9)
            case "hog":
                hog()
            case "leak":
                raise MemoryError
            case "full":  # the system refuses to write what is larger
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
            case "bug":
                raise ZeroDivisionError("some\nbug")
        return super().draw(asset, animation, seed=seed)


def start_faulty(settings: Settings) -> Callable[[Job, Emit], None]:
    drawer = FaultyDrawer(settings.plan)

    def handle(job: Job, emit: Emit) -> None:
        render_source(job, settings, drawer=drawer, report=emit)

    return handle


def start_restless(settings: Settings) -> Callable[[Job, Emit], None]:
    """A worker that dies after an animation, between two, as often as its file says."""
    drawer = Drawer(settings.plan)

    def handle(job: Job, emit: Emit) -> None:
        def report(body: dict[str, Any]) -> None:
            emit(body)
            left = Path(os.environ["ORBIT4D_TEST_ONCE"])
            if "record" in body and left.read_text():
                left.write_text(left.read_text()[1:])
                os._exit(3)

        render_source(job, settings, drawer=drawer, report=report)

    return handle


def wait_until(true: Callable[[], object], *, seconds: float = 120) -> None:
    """Come back when it is; fail where it never is."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not so after {seconds:g} s"
        time.sleep(0.01)


def workers_of(pid: int) -> list[int]:
    """Living worker processes whose environment says that process `pid` started them, or its descendants."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"isolate import serve" in (entry / "cmdline").read_bytes():
                mark = f"ORBIT4D_TEST_RUN={pid}".encode()
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
                if mark in (entry / "environ").read_bytes().split(b"\0") and state != "Z":
                    found.append(int(entry.name))
        except OSError:
            continue
    return found
