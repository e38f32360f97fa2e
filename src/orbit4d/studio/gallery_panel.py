"""The "Gallery" tab: past runs, a page at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .result_panel import heading, line
from .runs import Run, Runs, thumbnail

if TYPE_CHECKING:
    from viser import ViserServer

PAGE = 6


class GalleryPanel:
    """Fills `container`, a tab. `open_run` shows a run; `deleted` is told of one that is gone."""

    def __init__(
        self,
        server: ViserServer,
        container: Any,
        runs: Runs,
        *,
        open_run: Callable[[Run], None],
        deleted: Callable[[Run], None],
    ) -> None:
        self._gui, self._container, self._runs = server.gui, container, runs
        self._open, self._deleted = open_run, deleted
        self._page, self._cells = 0, []
        self._lock = threading.Lock()
        with container:
            self._count = self._gui.add_html("")
            self._turn = self._gui.add_button_group("Pages", ("Newer", "Older"))
            refresh = self._gui.add_button("Refresh", hint="Look at the folder again", order=1e9)
        self._turn.on_click(self._on_turn)
        refresh.on_click(lambda _: self.refresh())
        self.refresh()

    def refresh(self, *, page: int | None = None) -> None:
        """Show the folder as it is now."""
        with self._lock:
            runs = self._runs.all()
            last = max(0, (len(runs) - 1) // PAGE)
            self._page = min(max(self._page if page is None else page, 0), last)
            shown = runs[self._page * PAGE : (self._page + 1) * PAGE]
            for cell in self._cells:
                cell.remove()
            self._turn.visible = last > 0
            self._count.content = line(self._summary(len(runs), last))
            with self._container:
                self._cells = [self._cell(run) for run in shown]

    def _summary(self, count: int, last: int) -> str:
        if not count:
            return f"No runs yet in {self._runs.folder}."
        pages = f", page {self._page + 1} of {last + 1}" if last else ""
        return f"{count} run{'s' * (count > 1)} in {self._runs.folder}{pages}"

    def _cell(self, run: Run) -> Any:
        folder = self._gui.add_folder(run.title[:40])
        with folder:
            self._gui.add_image(thumbnail(run), format="jpeg")
            self._gui.add_html(heading(run.title, f"{run.made} · {run.figures}"))
            actions = self._gui.add_button_group("Run", ("Open", "Delete"))

        @actions.on_click
        def _(event: Any) -> None:
            if event.target.value == "Open":
                self._open(run)
            elif event.client is not None:
                self._ask_to_delete(event.client, run)

        return folder

    def _ask_to_delete(self, client: Any, run: Run) -> None:
        modal = client.gui.add_modal("Delete this run?")
        with modal:
            client.gui.add_html(heading(run.title, str(run.folder)))
            yes = client.gui.add_button("Delete", color="red")
            no = client.gui.add_button("Keep it")

        @yes.on_click
        def _(_: Any) -> None:
            modal.close()
            self._runs.delete(run)
            self._deleted(run)
            self.refresh()

        no.on_click(lambda _: modal.close())

    def _on_turn(self, event: Any) -> None:
        self.refresh(page=self._page + (1 if event.target.value == "Older" else -1))
