"""One run in a process of its own: `python -m orbit4d.studio.worker`, a wish on stdin, messages on stdout.

A process, because then the page stays alive while Python computes, a cancel is certain, memory comes back, and a file that
crashes a decoder takes nothing else with it. A message is two lengths (little-endian uint32), JSON, and bytes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..splat.gaussians import Gaussians4D

MAX_HEADER = 2**20
MAX_BODY = 2**30
LOOK_EVERY = 0.7
"""Seconds between two looks at the construction; a look costs about a tenth of one."""
VIEWS = 4
SIDE = 224


def send(stream: IO[bytes], header: dict[str, Any], body: bytes = b"") -> None:
    text = json.dumps(header).encode()
    stream.write(struct.pack("<II", len(text), len(body)) + text + body)
    stream.flush()


def receive(stream: IO[bytes]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Messages until the stream ends, in the middle of one or not."""
    while len(lengths := stream.read(8)) == 8:
        header, body = struct.unpack("<II", lengths)
        if header > MAX_HEADER or body > MAX_BODY:
            return
        text, content = stream.read(header), stream.read(body)
        if len(text) < header or len(content) < body:
            return
        yield json.loads(text), content


class Reporter:
    """The `Watcher` of a run: turns what it is shown into messages."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self._next_look, self._moment = 0.0, 0.0

    def stage(self, name: str) -> None:
        send(self.stream, {"kind": "stage", "stage": name})

    def warning(self, text: str) -> None:
        send(self.stream, {"kind": "warning", "text": text})

    def sampled(self, step: int, steps: int, pictures: Callable[[int], Tensor], *, frozen: bool) -> None:
        rgba = pictures(VIEWS)
        white = rgba[:, :3] * rgba[:, 3:] + 1 - rgba[:, 3:]
        strip = _jpeg(_bytes(white.permute(2, 0, 3, 1).flatten(1, 2)))
        send(self.stream, {"kind": "sampled", "step": step, "steps": steps, "frozen": frozen}, strip)

    def fitted(self, step: int, steps: int, scene: Callable[[], Gaussians4D]) -> None:
        now = time.monotonic()
        if now < self._next_look and step < steps:
            return
        self._look(step, steps, scene())
        self._next_look = time.monotonic() + LOOK_EVERY

    def _look(self, step: int, steps: int, scene: Gaussians4D) -> None:
        """A rendered view, and the Gaussians for the 3D view, at a time that goes round from look to look."""
        import torch

        from ..export.home import home_view
        from ..splat.rasterize import render
        from .splats import pack_splats

        self._moment = (self._moment + 1 / 12) % 1.0
        with torch.no_grad():
            gaussians = scene.at(self._moment)
            cameras, _ = home_view(scene).orbit(VIEWS + 1, SIDE)
            drawn = render(gaussians, cameras[:2], background=1.0).rgb.clamp(0, 1)
        picture = _jpeg(_bytes(drawn.permute(2, 0, 3, 1).flatten(1, 2)))
        header = {"kind": "fitted", "step": step, "steps": steps, "time": self._moment, "picture": len(picture)}
        send(self.stream, header, picture + pack_splats(gaussians).tobytes())


def main() -> int:
    """Do what stdin asks for; the exit code says no more than the last message."""
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints, prints elsewhere
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C in the terminal is the studio's
    with contextlib.suppress(OSError, AttributeError):
        os.nice(5)
    request, _ = next(receive(os.fdopen(os.dup(0), "rb", buffering=0)))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from ..errors import InputError
    from ..pipeline import generate
    from .wishes import Wish

    try:
        wish = Wish.of(request["wish"])
        generate(out=request["out"], progress=False, watch=Reporter(stream), **wish.as_dict())
        send(stream, {"kind": "done"})
    except InputError as error:
        send(stream, {"kind": "error", "text": " ".join(str(error).split())})
        return 2
    except OSError as error:
        send(stream, {"kind": "error", "text": f"{error.filename or 'the run'}: {error.strerror or error}"})
        return 2
    except MemoryError:
        send(stream, {"kind": "error", "text": "not enough memory; take a smaller size, or fewer orbits"})
        return 2
    return 0


def _stop(*_: object) -> None:
    raise SystemExit(143)  # unwinds through whatever must be cleaned up


def _end_with_parent() -> None:
    """The studio's end of the pipe closes with the studio, however that ends."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _bytes(image: Tensor) -> np.ndarray:
    """(h, w, 3) in [0, 1] -> uint8."""
    return (image * 255).round().byte().cpu().numpy()


def _jpeg(image: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=88)
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main())
