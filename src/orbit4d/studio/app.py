"""The studio and the viewer: their parts put together."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import InputError
from ..export.home import Home
from ..files import lock_folder
from .create_panel import CreatePanel
from .gallery_panel import GalleryPanel
from .guard import Guard, is_loopback
from .progress_panel import ProgressPanel
from .queue import Job, Queue
from .result_panel import ResultPanel
from .runs import Run, Runs
from .server import start_server
from .splats import SplatView
from .wishes import Wish

DEFAULT_PORT = 4040
MAX_UPLOAD_MIB = 64
LOG = ".worker.log"
MAX_LOG = 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a server listens and who may come in."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    allow_remote: bool = False
    token: bool = False

    def guard(self) -> Guard:
        """Raises InputError for an address that others can reach, unless that is said to be meant."""
        if not 0 <= self.port <= 65535:
            raise InputError(f"--port: expected 0 to 65535, got {self.port}")
        local = is_loopback(self.host)
        if not local and not self.allow_remote:
            raise InputError(
                f"--host {self.host}: others could reach the studio there; add --allow-remote if that is meant "
                "(a token will be asked for), or leave --host out and come through an SSH tunnel"
            )
        return Guard.make(local=local, with_token=self.token or not local)


class Viewer:
    """A server that shows one scene. `url` is the link to open; close it when done."""

    def __init__(self, address: Address, *, label: str, max_upload: int = 1) -> None:
        guard = address.guard()
        self.server = start_server(
            host=address.host, port=address.port, label=label, guard=guard, max_upload=max_upload
        )
        self.url = _link(address.host, self.server.get_port(), guard.token)
        self.server.gui.main_panel.dock_left()
        self.server.gui.main_panel.set_width(340)
        self.view = SplatView(self.server)
        self.view.look(Home())
        self.result = ResultPanel(self.server, self.view)

    def add_look(self) -> None:
        """The switch between light and dark, at the end of the current container."""
        gui = self.server.gui
        dark = gui.add_checkbox("Dark", False, hint="Dark page and background", order=1e9)
        dark.on_update(
            lambda _: gui.configure_theme(dark_mode=bool(dark.value), show_logo=False, show_share_button=False)
        )

    def close(self) -> None:
        self.result.playback.close()
        self.server.stop()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_viewer(scene: str | Path, address: Address | None = None) -> Viewer:
    """A running viewer of whatever `imports.scenes.load_gaussians` reads. Raises InputError."""
    path = Path(scene)
    if not path.exists():
        raise InputError(
            f"{scene}: does not exist; expected a scene (.safetensors), its folder, or Gaussians of another program"
        )
    viewer = Viewer(address or Address(), label="orbit4d")
    try:
        viewer.result.open(path, title=path.resolve().name if path.is_dir() else path.stem)
    except BaseException:
        viewer.close()
        raise
    viewer.add_look()
    return viewer


class Studio(Viewer):
    """The studio on a folder of runs. Raises InputError when the folder or the address cannot be used."""

    def __init__(
        self,
        runs: str | Path,
        address: Address | None = None,
        *,
        weights: str | Path | None = None,
        max_upload_mib: int = MAX_UPLOAD_MIB,
    ) -> None:
        from ..diffusion.hub import load_vocabulary

        if not 1 <= max_upload_mib <= 1024:
            raise InputError(f"--max-upload-mib: expected 1 to 1024, got {max_upload_mib}")
        self.runs = Runs(Path(runs))
        vocabulary = load_vocabulary(weights)
        self._lock: IO[str] = lock_folder(self.runs.folder, option="--runs")
        try:
            super().__init__(address or Address(), label="orbit4d studio", max_upload=max_upload_mib * 2**20)
        except BaseException:
            self._lock.close()
            raise
        self.runs.prune()
        log = self.runs.folder / LOG
        if log.is_file() and log.stat().st_size > MAX_LOG:
            log.unlink()
        gui = self.server.gui
        with self.result.container, gui.add_folder("Run", order=-1):
            self.progress = ProgressPanel(self.server, self.view)
        self.queue = Queue(self.runs, self._on_message, log=log)
        self.progress.attach(self.queue)
        tabs = gui.add_tab_group()
        with tabs.add_tab("Create"):
            self.create = CreatePanel(
                self.server,
                runs=self.runs,
                submit=self.submit,
                vocabulary=vocabulary,
                weights=None if weights is None else str(weights),
            )
        self.gallery = GalleryPanel(
            self.server, tabs.add_tab("Gallery"), self.runs, open_run=self.open_run, deleted=self._on_deleted
        )
        self.runs.in_use = self._in_use
        self.add_look()

    def submit(self, wish: Wish) -> Job:
        """Queue a run. Raises InputError when the queue is full."""
        job = self.queue.submit(wish)
        self.progress.refresh()
        return job

    def open_run(self, run: Run) -> None:
        """Show a run of the gallery; what goes wrong is told to all who look."""
        self.progress.live = False
        try:
            file = run.folder / "scene.safetensors"
            self.result.open(file, title=run.title, details=f"{run.made} · {run.figures}", folder=run.folder)
        except InputError as error:
            self._notify("This run cannot be shown", str(error))

    def close(self) -> None:
        self.queue.close()
        super().close()
        self._lock.close()

    def _on_message(self, job: Job, header: dict[str, Any], body: bytes) -> None:
        if header.get("kind") != "state":
            if header.get("kind") == "fitted" and self.progress.live and self.result.scene is not None:
                self.result.clear()  # the 3D view is the new scene's from here on, until somebody opens another run
            self.progress.message(job, header, body)
        elif job.state == "running":
            self.progress.live = True
            self.progress.started(job)
        else:
            self._ended(job)

    def _in_use(self) -> set[str]:
        """Names of the uploads that are chosen, or that runs to come need."""
        # In this order: between the two, a chosen file may be handed to the queue and another one chosen in its place. Read
        # the other way round, it would be seen in neither.
        chosen = self.create.inputs
        return chosen | self.queue.inputs

    def _ended(self, job: Job) -> None:
        if not job.ran:  # what the page shows is another job's
            self.progress.refresh()
            self.runs.prune()
            return
        self.progress.ended(job)
        if job.state == "done":
            self.gallery.refresh(page=0)
            run = self.runs.get(job.out.name)
            if run is not None and self.progress.live:
                self.open_run(run)
        elif self.result.scene is None:
            self.result.clear()
        self.runs.prune()

    def _on_deleted(self, run: Run) -> None:
        if self.result.scene is not None and self.result.scene.parent == run.folder:
            self.result.clear()

    def _notify(self, title: str, text: str) -> None:
        for client in self.server.get_clients().values():
            client.add_notification(title=title, body=" ".join(text.split()), color="red", auto_close_seconds=10)


def serve(viewer: Viewer, *, open_browser: bool = False) -> None:
    """Print the link and stay until interrupted."""
    with viewer:
        print(f"orbit4d: open {viewer.url}   (Ctrl+C ends it)", flush=True)
        if "token=" in viewer.url:
            print("orbit4d: whoever has this link can use it; it ends with this command", file=sys.stderr)
        if open_browser:
            import webbrowser

            webbrowser.open(viewer.url)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("orbit4d: ending", file=sys.stderr)


def _link(host: str, port: int, token: str | None) -> str:
    import socket

    name = host
    if host in ("0.0.0.0", "::", ""):
        name = socket.gethostname()
    elif ":" in host:
        name = f"[{host.strip('[]')}]"
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")
