"""Neuroglancer in a headless Chromium: what it shows, as a picture."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from typing import Any

from ddgm.core.errors import DdgmError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SOFTWARE_GL = (  # WebGL without a graphics card
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)
QUIET = ("--headless=new", "--no-first-run", "--disable-dev-shm-usage", "--mute-audio")
PATIENCE = 120.0  # seconds for a picture


class BrowserError(DdgmError):
    """No picture: there is no browser, or it does not come to an end."""


def find_browser() -> str | None:
    """The path of a Chromium on this machine, if there is one."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def headless(profile: str) -> list[str]:
    """Flags for a Chromium without a window that keeps what it knows in a folder."""
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # its sandbox refuses root
    return [*QUIET, *root, f"--user-data-dir={profile}"]


@contextmanager
def browsing(url: str) -> Iterator[None]:
    """Keep a page open in a headless Chromium while the context lasts.

    Raises:
        BrowserError: there is none.
    """
    browser = find_browser()
    if browser is None:
        raise BrowserError(
            "--screenshot: needs Chromium or Chrome, which this machine lacks; install one "
            "(Debian's package is `chromium`), or look in a browser of your own with --no-browser"
        )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [browser, *headless(profile), *SOFTWARE_GL, url],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def picture(viewer: Any, size: tuple[int, int]) -> Any:
    """Take a picture of what a Neuroglancer viewer shows, once all that is visible is loaded.

    Args:
        viewer: whose page is open in a browser.
        size: width and height in pixels.

    Returns:
        Neuroglancer's screenshot: `image` is a PNG, `image_pixels` an array (height, width, 4).

    Raises:
        BrowserError: it is not loaded after two minutes.
    """
    with viewer.config_state.txn() as config:
        config.show_ui_controls = False
        config.show_panel_borders = False
        config.viewer_size = size
    while True:
        shots: Queue[Any] = Queue()
        viewer.async_screenshot(shots.put)
        try:
            shot = shots.get(timeout=PATIENCE).screenshot
        except Empty:
            raise BrowserError(
                f"--screenshot: not all was loaded in {PATIENCE:g} s; look at the page itself with "
                "--no-browser, which shows what it waits for"
            ) from None
        if (shot.width, shot.height) == size:  # the first may come before the size is applied
            return shot
