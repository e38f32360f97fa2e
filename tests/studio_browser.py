"""A headless Chromium driven through its DevTools protocol, with the websocket client that viser brings."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chromium import CHROMIUM, FLAGS

PATIENCE = 180.0
"""Seconds until a condition counts as never coming true: a loaded machine is slow, not wrong."""
OPENS = 10.0
"""Seconds after which a list that was clicked and shows nothing is clicked again."""


class Browser:
    """One page."""

    def __init__(self, url: str, downloads: Path) -> None:
        from websockets.sync.client import connect

        self._socket = connect(url, max_size=2**28, ping_interval=None)  # a page that computes answers late
        self._count = 0
        self.downloads = downloads
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE))
            if message.get("method") == "Runtime.exceptionThrown":
                details = message["params"]["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description", details["text"]))
            if message.get("id") == self._count:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The JSON-ready value of an expression."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, script: str, what: str) -> Any:
        """Wait for an expression to be truthy."""
        return wait_for(
            lambda: self.run(script), lambda: f"{what}; the page says: {self.run('document.body?.innerText')}"
        )

    def until_text(self, text: str) -> None:
        self.until(f"(document.body?.innerText ?? '').includes({json.dumps(text)})", f"no {text!r}")

    def click(self, label: str) -> None:
        """Click the visible button or tab with this text, else the innermost element that says it."""
        find = f"""(() => {{
            const says = (e) => e.offsetParent && (e.innerText ?? "").trim() === {json.dumps(label)};
            const named = [...document.querySelectorAll("button, [role=tab], [role=option]")].find(says);
            return named ?? [...document.querySelectorAll("body *")].filter(says).pop();
        }})()"""
        self.until(f"{find} !== undefined && !{find}.disabled", f"nothing to click that says {label!r}")
        self._press(find)

    def set(self, label: str, text: str) -> None:
        """Replace the content of the field with this label, as a person would, and leave it."""
        field = self._field(label)
        self.run(f"(() => {{ const e = {field}; e.scrollIntoView({{block: 'center'}}); e.focus(); e.select(); }})()")
        self.call("Input.insertText", text=text)
        self.run("document.activeElement.blur()")

    def choose(self, label: str, option: str) -> None:
        """Choose an option of the list with this label; pressed again where the panel moved under the mouse and no list opened."""
        find = f"""[...document.querySelectorAll("[role=option]")]
            .find((e) => e.offsetParent && e.innerText.trim() === {json.dumps(option)})"""
        pressed = -OPENS

        def opened() -> bool:
            nonlocal pressed
            if self.run(f"{find} !== undefined"):
                return True
            if time.monotonic() - pressed > OPENS:
                self._press(self._field(label))
                pressed = time.monotonic()
            return False

        wait_for(opened, lambda: f"no option says {option!r}; the page says: {self.run('document.body?.innerText')}")
        self._press(find)

    def toggle(self, label: str) -> None:
        """Tick or untick the box with this label."""
        self._press(self._field(label))

    def _field(self, label: str) -> str:
        find = f"""(() => {{
            const named = [...document.querySelectorAll("label, span, div")]
                .find((e) => e.offsetParent !== null && e.children.length === 0 && e.innerText.trim() === {json.dumps(label)});
            for (let e = named; e; e = e.parentElement) {{
                const field = e.querySelector("input:not([type=hidden])");
                if (field) return field;
            }}
        }})()"""
        self.until(f"{find} !== undefined", f"no field is called {label!r}")
        return find

    def _press(self, find: str) -> None:
        """Move the mouse to an element that stands still, and click."""
        where = f"""(() => {{
            const e = {find};
            e.scrollIntoView({{block: "center"}});
            const {{x, y, width, height}} = e.getBoundingClientRect();
            return [x + width / 2, y + height / 2];
        }})()"""
        seen: list[list[float]] = [[]]

        def still() -> list[float] | None:
            seen.append(self.run(where))
            return seen[-1] if seen[-1] == seen[-2] else None

        box = wait_for(still, lambda: f"it does not stand still: {find}")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def choose_file(self, index: int, file: Path) -> None:
        """Give a file to the page's index-th file input."""
        root = self.call("DOM.getDocument", depth=-1)["root"]["nodeId"]
        nodes = self.call("DOM.querySelectorAll", nodeId=root, selector="input[type=file]")["nodeIds"]
        self.call("DOM.setFileInputFiles", nodeId=nodes[index], files=[str(file)])

    def screenshot(self, file: Path | None = None) -> bytes:
        """PNG of the page."""
        png = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if file is not None:
            file.write_bytes(png)
        return png

    def close(self) -> None:
        self._socket.close()


def wait_for(check: Callable[[], Any], what: Callable[[], str]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := check()):
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)
    return value


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A fresh Chromium; downloads go to `folder`/downloads."""
    import urllib.request

    profile, downloads = folder / "profile", folder / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    command = [
        str(CHROMIUM),
        *FLAGS,
        "--remote-debugging-port=0",
        "--window-size=1000,680",
        f"--user-data-dir={profile}",
        "about:blank",
    ]
    environment = {**os.environ, "HOME": str(folder)}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        port_file = profile / "DevToolsActivePort"
        port = wait_for(
            lambda: port_file.is_file() and (port_file.read_text().splitlines() or [""])[0],
            lambda: "Chromium does not start",
        )
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            pages = [p for p in json.load(answer) if p["type"] == "page"]
        page = Browser(pages[0]["webSocketDebuggerUrl"], downloads)
        page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads), eventsEnabled=False)
        try:
            yield page
        finally:
            page.close()
    finally:
        process.terminate()
        process.wait(timeout=30)
