"""A headless Chromium driven over its DevTools pipe: no packages, no ports."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CHROMIUM = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Software drawing, and nothing that asks the network."""
MAX_SECONDS = 120.0
"""After which a page or the browser counts as stuck, however loaded the machine."""


class Chromium:
    """One browser with one page. `requests` lists every URL that the page asked for, `console` what it complained about."""

    def __init__(self, folder: Path, *flags: str) -> None:
        assert CHROMIUM is not None
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()

        def place() -> None:  # the browser reads from descriptor 3 and writes to 4
            os.dup2(to_browser, 13)
            os.dup2(from_browser, 14)
            os.dup2(13, 3)
            os.dup2(14, 4)

        driven = ("--hide-scrollbars", "--remote-debugging-pipe")
        command = [CHROMIUM, *FLAGS, *driven, *flags, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        self.process = subprocess.Popen(
            command,
            preexec_fn=place,
            close_fds=False,
            env={**os.environ, "HOME": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._count, self._session = b"", 0, None
        self.requests: list[str] = []
        self.console: list[str] = []
        target = next(t for t in self("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self._session = self("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **parameters: Any) -> dict:
        """Send one command, and its result."""
        self._count += 1
        message: dict = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == message["id"]:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def open(self, page: Path, *, first: str = "", wait: str = "window.orbit4d") -> None:
        """Load `page`; `first` is a script that runs before any of its own. Returns when `wait` is truthy."""
        self.requests.clear()
        self.console.clear()
        script = self("Page.addScriptToEvaluateOnNewDocument", source=first)["identifier"]
        self("Page.navigate", url=page.as_uri())
        self.until(f"location.href === {json.dumps(page.as_uri())} && document.readyState === 'complete' && ({wait})")
        self("Page.removeScriptToEvaluateOnNewDocument", identifier=script)

    def js(self, expression: str) -> Any:
        """The value of `expression` in the page; promises are waited for."""
        result = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]["exception"].get("description")
        return result["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until `expression` is truthy; a page that never gets there fails the test."""
        end = time.monotonic() + MAX_SECONDS
        while not (value := self.js(f"Boolean({expression})")):
            assert time.monotonic() < end, (
                f"never happened: {expression}; the page says: {self.js('document.body.innerText')}"
            )
            time.sleep(0.05)
        return value

    def settle(self, frames: int = 3) -> None:
        """Wait for a few animation frames."""
        step = "await new Promise((done) => requestAnimationFrame(done));"
        self.js(f"(async () => {{ {step * frames} }})()")

    def key(self, key: str, *, shift: bool = False) -> None:
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            code = {" ": "Space"}.get(key, key)
            self("Input.dispatchKeyEvent", type=kind, key=key, code=code, modifiers=8 if shift else 0, **text)
        self.settle()

    def mouse(self, *points: tuple[float, float], shift: bool = False) -> None:
        """Press at the first point, drag over the others, release at the last."""
        base = {"button": "left", "modifiers": 8 if shift else 0, "clickCount": 1}
        steps = [("mousePressed", points[0]), *(("mouseMoved", p) for p in points[1:]), ("mouseReleased", points[-1])]
        for kind, (x, y) in steps:
            self("Input.dispatchMouseEvent", type=kind, x=x, y=y, buttons=int(kind != "mouseReleased"), **base)
        self.settle()

    def wheel(self, x: float, y: float, delta: float) -> None:
        self("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=delta)
        self.settle()

    def touch(self, *steps: list[tuple[float, float]]) -> None:
        """Fingers down at the first list of points, moved over the others, lifted."""
        for i, points in enumerate(steps):
            listed = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)]
            self("Input.dispatchTouchEvent", type="touchMove" if i else "touchStart", touchPoints=listed)
        self("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self.settle()

    def center(self, selector: str) -> tuple[float, float]:
        box = self.js(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
                      f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())")  # fmt: skip
        return box[0], box[1]

    def click(self, selector: str) -> None:
        self.mouse(self.center(selector))

    def emulate(self, *, scheme: str = "light", motion: str = "no-preference") -> None:
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        self("Emulation.setEmulatedMedia", features=features)

    def size(self, width: int, height: int, *, ratio: float = 1, mobile: bool = False) -> None:
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=ratio, mobile=mobile)
        self("Emulation.setTouchEmulationEnabled", enabled=mobile, maxTouchPoints=2)

    def screenshot(self, path: Path | None = None) -> np.ndarray:
        """What is on the screen, (h, w, 3) in [0, 1]."""
        data = base64.b64decode(self("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            path.write_bytes(data)
        return np.asarray(Image.open(BytesIO(data)).convert("RGB")) / 255

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._write)
        os.close(self._read)

    def _next(self) -> dict:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], MAX_SECONDS)
            data = os.read(self._read, 1 << 20) if ready else b""
            assert data, "the browser went away or says nothing"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            case "Log.entryAdded":
                self.console.append(message["params"]["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.console.append(message["params"]["exceptionDetails"]["text"])
        return message
