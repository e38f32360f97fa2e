"""How the runs do: what is running, how far it is, what it looks like by now, and the way to stop it."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from .queue import Job, Queue
from .result_panel import heading, line, problem
from .splats import WORDS, SplatView

if TYPE_CHECKING:
    from viser import ViserServer

STAGES = {
    "conditions": ("reading the conditions", 0, 2),
    "load_model": ("loading the model", 2, 8),
    "sample": ("denoising", 8, 45),
    "construct": ("constructing in 4D", 45, 92),
    "write": ("writing the files", 92, 97),
    "score": ("scoring", 97, 100),
}
"""Stage -> its words, and the per cent at which it begins and ends."""


class ProgressPanel:
    """Builds its elements in the current container; `queue` is given with `attach`."""

    def __init__(self, server: ViserServer, view: SplatView) -> None:
        gui = server.gui
        self._view = view
        self.live = True
        """Whether the 3D view shows the construction."""
        self._lock = threading.Lock()
        self._queue: Queue | None = None
        self._status = gui.add_html(line("Ready."))
        self._bar = gui.add_progress_bar(0, animated=True, visible=False)
        self._picture = gui.add_image(np.full((8, 8, 3), 255, np.uint8), label="So far", visible=False, format="jpeg")
        self._cancel = gui.add_button("Cancel", color="red", visible=False, hint="Stop this run; nothing of it is kept")
        self._drop = gui.add_button("Cancel those waiting", visible=False)
        self._cancel.on_click(self._on_cancel)
        self._drop.on_click(self._on_drop)
        self._warnings: tuple[str, ...] = ()
        self._where = ""

    def attach(self, queue: Queue) -> None:
        self._queue = queue

    def started(self, job: Job) -> None:
        with self._lock:
            self._warnings, self._where = (), "starting"
            self._bar.value, self._bar.visible, self._cancel.visible = 0, True, True
            self._show(job)

    def ended(self, job: Job) -> None:
        """The job that was shown has ended; not for one that never `started`."""
        with self._lock:
            self._bar.visible = self._cancel.visible = self._picture.visible = False
            notes = "".join(line(w) for w in job.warnings)
            match job.state:
                case "failed":
                    self._status.content = heading(job.wish.title, "failed") + problem(job.message) + notes
                case "cancelled":
                    self._status.content = heading(job.wish.title, "cancelled; nothing of it is kept")
                case _:
                    self._status.content = heading(job.wish.title, "done") + notes
            self._show_waiting()

    def message(self, job: Job, header: dict[str, Any], body: bytes) -> None:
        """A message of the worker."""
        with self._lock:
            match header.get("kind"):
                case "stage":
                    words, start, _ = STAGES.get(str(header["stage"]), (str(header["stage"]), 0, 0))
                    self._where, self._bar.value = words, max(start, self._bar.value)
                case "warning":
                    self._warnings = job.warnings
                case "sampled":
                    still = " of the static orbit" if header["frozen"] else ""
                    self._step(header, "sample", still)
                    self._look(body)
                case "fitted":
                    self._step(header, "construct", "")
                    size = int(header["picture"])
                    self._look(body[:size])
                    if self.live:
                        self._view.show(np.frombuffer(body[size:], np.uint32).reshape(-1, WORDS))
                case _:
                    return
            self._show(job)

    def refresh(self) -> None:
        """The queue's length has changed."""
        with self._lock:
            self._show_waiting()
            job = self._queue.current if self._queue else None
            if job is not None and job.state == "running":
                self._show(job)

    def _step(self, header: dict[str, Any], stage: str, what: str) -> None:
        words, start, end = STAGES[stage]
        self._where = f"{words}{what}, step {header['step']} of {header['steps']}"
        share = header["step"] / max(1, header["steps"])
        half = 0.5 * (end - start) if stage == "sample" else end - start
        begin = start + half * bool(header.get("frozen"))
        self._bar.value = round(begin + half * share, 1)

    def _look(self, jpeg: bytes) -> None:
        from PIL import Image

        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            self._picture.image = np.asarray(image.convert("RGB"))
        self._picture.visible = True

    def _show(self, job: Job) -> None:
        waiting = len(self._queue.waiting) if self._queue else 0
        more = f" · {waiting} waiting" if waiting else ""
        self._status.content = heading(job.wish.title, self._where + more) + "".join(line(w) for w in self._warnings)
        self._drop.visible = waiting > 0

    def _show_waiting(self) -> None:
        self._drop.visible = bool(self._queue and self._queue.waiting)

    def _on_cancel(self, _: Any) -> None:
        if self._queue is not None:
            self._queue.cancel()

    def _on_drop(self, _: Any) -> None:
        if self._queue is not None:
            self._queue.cancel_waiting()
            self.refresh()
