"""What a run starts from beside its prompt: the uploaded file, its mask, and how it stands."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .result_panel import line, number, problem
from .runs import Runs
from .wishes import GUESS_WORDS, shown_name

if TYPE_CHECKING:
    from viser import ViserServer

SOURCES = {"the prompt alone": None, "an image": "image", "a video": "video", "a 3D asset": "static"}
BUTTONS = {
    "image": ("Upload image", "image/*"),
    "video": ("Upload video", "video/*,image/gif,image/webp,image/png,image/apng"),
    "static": ("Upload .glb, .ply or .splat", "*/*"),
}
"""What the upload button says and offers for each condition."""
UPS = {"as the file says": None, "z": "z", "y": "y", "y-down": "y-down"}
EMPTY = np.full((8, 8, 3), 255, np.uint8)


class SourcePanel:
    """Builds its elements in the current container; `changed` is told when another source is chosen.

    Uploads are kept in `runs` while they are chosen, and as long as a run needs them. Whoever reads `arguments` and hands
    them on holds `lock` meanwhile: another browser may upload another file.
    """

    def __init__(self, server: ViserServer, *, runs: Runs, changed: Callable[[], None]) -> None:
        self._runs, self._changed = runs, changed
        self._files: dict[str, Path] = {}
        self._masks: dict[str, Path] = {}
        self.lock = threading.RLock()
        gui = server.gui
        self._source = gui.add_dropdown("Make from", tuple(SOURCES))
        self._file = gui.add_folder("File", visible=False)  # upload buttons cannot be hidden themselves
        with self._file:
            self._upload = gui.add_upload_button("Upload")
            self._note = gui.add_html("")
            self._picture = gui.add_image(EMPTY, label="What the model is shown", visible=False)
            self._up = gui.add_dropdown("Up axis", tuple(UPS), visible=False, hint="Captures are mostly y-down")
        self._foreground = gui.add_folder("Foreground and view", visible=False, expand_by_default=False)
        with self._foreground:
            mask = gui.add_upload_button(
                "Upload mask", hint="Black and white, as large as the image or video; white on the object"
            )
            self._mask_note = gui.add_html("")
            self._drop = gui.add_button("Remove mask", visible=False)
            self._caption = gui.add_checkbox(
                GUESS_WORDS, True, hint="Without a prompt, the model is told in words what the image looks like"
            )
            self._azimuth = gui.add_slider(
                "Taken from", min=-180, max=180, step=5, initial_value=0, hint="Degrees around the object; 0: its front"
            )
        self._upload.on_upload(lambda event: self._on_upload(event.target.value, self.kind))
        mask.on_upload(lambda event: self._on_upload(event.target.value, "mask"))
        self._drop.on_click(lambda _: self._on_drop())
        self._source.on_update(lambda _: self._on_source())

    @property
    def kind(self) -> str | None:
        """The condition that is chosen: "image", "video", "static", or None for the prompt alone."""
        return SOURCES.get(str(self._source.value))

    @property
    def inputs(self) -> set[str]:
        """Names of the files that are chosen, also for sources that are not shown."""
        with self.lock:
            return {path.name for path in (*self._files.values(), *self._masks.values())}

    def arguments(self) -> dict[str, Any]:
        """Arguments of a `Wish`. Raises InputError where the file is missing."""
        kind = self.kind
        if kind is None:
            return {}
        with self.lock:
            if kind not in self._files:
                what = {"image": "an image", "video": "a video"}.get(kind, "an asset")
                raise InputError(f"upload {what} first")
            given: dict[str, Any] = {kind: str(self._files[kind])}
            if kind in self._masks:
                given["mask"] = str(self._masks[kind])
        if kind == "image":
            given["caption"] = bool(self._caption.value)
        azimuth = number(self._azimuth.value, 0.0)
        if kind == "static" and self._up.visible:
            given["static_up"] = UPS.get(str(self._up.value))
        elif kind != "static" and azimuth:
            given["azimuth"] = azimuth
        return given

    def _on_source(self) -> None:
        if self.kind is not None:
            self._upload.label, self._upload.mime_type = BUTTONS[self.kind]
        self._show()
        self._changed()

    def _on_upload(self, upload: Any, kind: str | None) -> None:
        source = self.kind
        if kind is None or source is None:
            return
        trouble = ""
        with self.lock:
            try:
                path = self._runs.keep_input(upload.name, upload.content, kind=kind)
            except (InputError, OSError) as error:
                trouble = str(error)
            else:
                if kind == "mask":
                    self._masks[source] = path
                else:
                    self._files[kind] = path
                    self._masks.pop(kind, None)  # it was the other file's
        self._show(trouble)
        self._runs.prune()

    def _on_drop(self) -> None:
        with self.lock:
            self._masks.pop(self.kind or "", None)
        self._show()
        self._runs.prune()

    def _show(self, trouble: str = "") -> None:
        """Say which files count; of an image, show what is cut out of it, or why nothing can be. What cannot be read goes."""
        with self.lock:
            kind = self.kind or ""
            self._picture.visible = False
            looked = self._look_at_image() if kind == "image" else ""
            trouble = trouble or looked
            path, mask = self._files.get(kind), self._masks.get(kind)
            size = "" if path is None else f"{shown_name(path)}, {max(path.stat().st_size, 103) / 2**10:.1f} KiB"
            self._note.content = (line(size) if path else "" if trouble else line("no file yet")) + (
                problem(self._runs.told(trouble)) if trouble else ""
            )
            self._file.visible = bool(kind)
            self._up.visible = kind == "static" and path is not None and path.suffix != ".glb"
            self._foreground.visible = kind in ("image", "video") and path is not None
            self._caption.visible = kind == "image"
            self._drop.visible = mask is not None
            self._mask_note.content = line(f"{shown_name(mask)} marks the object") if mask is not None else ""

    def _look_at_image(self) -> str:
        """Show the image as the model will see it; what is wrong with it."""
        from ..conditions import load_condition_image
        from ..images import load_rgba

        path, mask = self._files.get("image"), self._masks.get("image")
        if path is None:
            return ""
        trouble = ""
        try:
            load_rgba(path)
        except InputError as error:
            del self._files["image"]
            return str(error)
        if mask is not None:
            try:
                rgba = load_condition_image(path, mask=mask)
            except InputError as error:
                del self._masks["image"]
                trouble, mask = str(error), None
        if mask is None:
            try:
                rgba = load_condition_image(path)
            except InputError as error:
                return trouble or str(error)
        white = rgba[:3] * rgba[3:] + 1 - rgba[3:]
        self._picture.image = (white.permute(1, 2, 0) * 255).round().byte().numpy()
        self._picture.visible = True
        return trouble
