"""A headless Chromium, driven over its debugging protocol: pages are opened, clicked, read and pictured."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from websockets.sync.client import connect

__all__ = ["Browser", "find_chromium"]

T = TypeVar("T")

_PATIENCE = 30.0  # seconds
_LOOK_EVERY = 0.2  # seconds
_SIZE = (1280, 1000)  # pixels
_FIND = """
(text => {
    const all = [...document.querySelectorAll("button, a, [role=tab], label, li, span")];
    const found = all.find(element => element.innerText?.trim() === text);
    if (!found) return null;
    found.scrollIntoView({block: "center", behavior: "instant"});
    const {x, y, width, height} = found.getBoundingClientRect();
    return {x: x + width / 2, y: y + height / 2};
})"""


def find_chromium() -> str | None:
    """The program, or None when there is none on the PATH."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


class Browser:
    """A browser with one page."""

    def __init__(self, program: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="mlip-train-browser-", ignore_cleanup_errors=True)
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ]
        options += ["--remote-debugging-port=0", f"--user-data-dir={self._profile.name}", "about:blank"]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen([program, *options], stdin=quiet, stdout=quiet, stderr=quiet)
        self._numbers = count(1)

    def __enter__(self) -> Self:
        try:
            self._page = connect(_until(self._address, "Chromium does not start"), max_size=None, proxy=None)
        except BaseException:
            self._end()
            raise
        self._resize(*_SIZE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            self._page.close()
        finally:
            self._end()

    def open(self, address: str, *texts: str) -> str:
        """Go to a page, wait until it shows all the texts, and return what it says."""
        self._resize(*_SIZE)
        self._call("Page.navigate", url="about:blank")  # or else the page before may still be read
        self._call("Page.navigate", url=address)
        return self.read(*texts)

    def read(self, *texts: str) -> str:
        """What the page says once it shows all the texts.

        Raises
        ------
        TimeoutError
            Naming what it does not show.
        """
        said = ""

        def missing() -> list[str]:
            nonlocal said
            said = self._said()
            return [text for text in texts if text not in said]

        try:
            _until(lambda: not missing(), "")
        except TimeoutError:
            raise TimeoutError(f"the page does not show {missing()}, but:\n{said}") from None
        return said

    def click(self, text: str, shows: str) -> None:
        """Click on what has this text until the page shows another one; what is still loading moves away."""
        _until(lambda: shows in self._said() or self._press(text), f"a click on {text!r} does not show {shows!r}")

    def picture(self, path: Path, height: int = _SIZE[1], settle: float = 0.0) -> None:
        """Take a picture of the page, which is made so high (pixels) first, and may settle for some seconds.

        What is drawn, such as the graph of a run, has no text that could be waited for.
        """
        self._resize(_SIZE[0], height)
        time.sleep(settle)
        image = self._call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(image))

    def _address(self) -> str | None:
        port_file = Path(self._profile.name) / "DevToolsActivePort"
        if not port_file.exists() or not (lines := port_file.read_text().splitlines()):
            return None
        pages = httpx.get(f"http://127.0.0.1:{lines[0]}/json/list", trust_env=False).json()
        return next((page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"), None)

    def _said(self) -> str:
        return str(self._evaluate("document.body?.innerText ?? ''"))

    def _press(self, text: str) -> None:
        where = self._evaluate(f"{_FIND}({json.dumps(text)})")
        if where is not None:
            for kind in ("mousePressed", "mouseReleased"):  # the second UI listens to the mouse, not for clicks
                self._call("Input.dispatchMouseEvent", type=kind, **where, button="left", clickCount=1)

    def _resize(self, width: int, height: int) -> None:
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def _evaluate(self, expression: str) -> Any:
        return self._call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._page.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._page.recv(timeout=_PATIENCE))
            if answer.get("id") == number:
                break
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._profile.cleanup()


def _until(look: Callable[[], T | None], otherwise: str) -> T:
    """Look again and again until there is something."""
    deadline = time.monotonic() + _PATIENCE
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(_LOOK_EVERY)
    return found
