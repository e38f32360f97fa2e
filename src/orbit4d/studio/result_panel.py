"""The right-hand panel: the timeline of the scene that is shown, and its downloads."""

from __future__ import annotations

import html
import logging
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..imports.scenes import load_gaussians
from ..splat.gaussians import Gaussians4D
from .exports import FORMATS, Format, exported, scene_bytes, zipped
from .splats import Playback, SplatView
from .wishes import slug

if TYPE_CHECKING:
    from viser import ViserServer

_LOG = logging.getLogger(__name__)
NOTHING = "Nothing here yet. Make something, or open a run of the gallery."


class ResultPanel:
    """Shows a scene file, or a scene that is still being made (then without downloads)."""

    def __init__(self, server: ViserServer, view: SplatView) -> None:
        self._gui = server.gui
        self._scene: Path | None = None
        self._name = "scene"
        self._exporting = threading.Lock()
        self.playback = Playback(view, on_time=self._show_time, watched=lambda: bool(server.get_clients()))
        panel = server.gui.add_panel()
        self.container = panel.add_tab("Result")
        with self.container:
            self._title = self._gui.add_html(line(NOTHING))
            self._build_timeline()
            self._build_downloads()
        panel.dock_right()
        panel.set_width(300)
        self._enable(False)

    def open(self, scene: Path, *, title: str, details: str = "", folder: Path | None = None) -> None:
        """Show a scene (what `load_gaussians` reads) from its first moment. `folder`: what may be downloaded whole.

        Raises InputError if unreadable.
        """
        loaded = load_gaussians(scene)
        self._scene, self._folder, self._name = scene, folder, slug(title)
        self._title.content = heading(title, details or f"{len(loaded.canonical)} Gaussians")
        self._everything.visible = folder is not None
        self._enable(True)
        self._play.disabled = self._time.disabled = loaded.deformation is None  # every moment is the same
        self._start(loaded)

    def clear(self) -> None:
        """Show nothing."""
        self._scene = None
        self._title.content = line(NOTHING)
        self._enable(False)
        self.playback.load(None)

    @property
    def scene(self) -> Path | None:
        """The file that is shown."""
        return self._scene

    def _start(self, scene: Gaussians4D) -> None:
        self.playback.load(scene)
        self._set_playing(self.playback.playing)

    def _build_timeline(self) -> None:
        gui = self._gui
        self._play = gui.add_button("Play", hint="Play or pause")
        self._time = gui.add_slider("Time", min=0.0, max=1.0, step=0.01, initial_value=0.0)
        speed = gui.add_slider("Speed", min=0.1, max=3.0, step=0.1, initial_value=1.0)
        self._home = gui.add_button("Reset camera", hint="Look at the scene from its front")

        @self._play.on_click
        def _(_: Any) -> None:
            self._set_playing(not self.playback.playing)

        @self._time.on_update
        def _(event: Any) -> None:
            if event.client is not None:  # a person's hand, not the playback
                self._set_playing(False)
                self.playback.seek(number(event.target.value, 0.0))

        @speed.on_update
        def _(_: Any) -> None:
            self.playback.speed = min(max(number(speed.value, 1.0), 0.1), 3.0)

        @self._home.on_click
        def _(_: Any) -> None:
            self.playback.look_home()

    def _build_downloads(self) -> None:
        gui = self._gui
        self._buttons: list[Any] = []
        with gui.add_folder("Download"):
            self._frames = gui.add_slider("Frames", min=2, max=96, step=1, initial_value=24)
            self._size = gui.add_slider("Video side", min=64, max=1024, step=64, initial_value=256)
            for form in FORMATS:
                button = gui.add_button(form.label, hint=form.hint)
                button.on_click(lambda event, form=form: self._send(event.client, form))
                self._buttons.append(button)
            scene = gui.add_button("Scene file", hint="A .safetensors, exact: what orbit4d itself reads")
            scene.on_click(lambda event: self._send(event.client, "scene"))
            self._everything = gui.add_button("Everything (.zip)", hint="The run's whole folder", visible=False)
            self._everything.on_click(lambda event: self._send(event.client, "everything"))
            self._buttons += [scene, self._everything]
            self._note = gui.add_html("")

    def _send(self, client: Any, what: Format | str) -> None:
        """Write the file and hand it to the browser that asked. One at a time; what goes wrong is one line."""
        scene, folder, name = self._scene, self._folder if self._scene else None, self._name
        if client is None or scene is None:
            return
        if not self._exporting.acquire(blocking=False):
            self._note.content = line("another file is being written; try again when it is done")
            return
        try:
            self._note.content = line("writing …")
            if isinstance(what, Format):
                frames, size = int(number(self._frames.value, 24)), int(number(self._size.value, 256))
                file, content = exported(scene, what, name=name, frames=frames, size=size)
            elif what == "everything" and folder is not None:
                file, content = f"{name}.zip", zipped(folder)
            else:
                file, content = scene_bytes(scene, name=name)
            client.send_file_download(file, content, save_immediately=True)
            self._note.content = line(f"{file}, {len(content) / 2**20:.1f} MiB")
        except (InputError, OSError) as error:
            self._note.content = problem(str(error))
        except Exception as error:  # "writing …" must not stay, whatever happens
            _LOG.exception("%s cannot be written", name)
            self._note.content = problem(
                f"this cannot be written ({type(error).__name__}); the studio's terminal says more"
            )
        finally:
            self._exporting.release()

    def _set_playing(self, on: bool) -> None:
        self.playback.play(on)
        self._play.label = "Pause" if on else "Play"

    def _show_time(self, moment: float) -> None:
        self._time.value = round(moment, 2)

    def _enable(self, on: bool) -> None:
        for handle in (self._play, self._time, self._home, *self._buttons):
            handle.disabled = not on


def number(value: object, default: float) -> float:
    """What a slider holds; a client may have sent anything."""
    if isinstance(value, int | float) and abs(value) <= sys.float_info.max:  # false for nan; integers may be larger
        return float(value)
    return default


def line(text: str) -> str:
    """Text as HTML, whatever is in it."""
    return (
        f'<div style="padding:0.3em 1em;font-size:0.85em;opacity:0.85;overflow-wrap:anywhere">{html.escape(text)}</div>'
    )


def heading(title: str, details: str) -> str:
    return (
        f'<div style="padding:0.4em 1em;overflow-wrap:anywhere"><b>{html.escape(title)}</b>'
        f'<br><span style="font-size:0.8em;opacity:0.75">{html.escape(details)}</span></div>'
    )


def problem(text: str) -> str:
    """One line on what went wrong."""
    text = html.escape(" ".join(text.split()))
    return (
        f'<div role="alert" style="padding:0.3em 1em;font-size:0.85em;color:#d33;overflow-wrap:anywhere">{text}</div>'
    )
