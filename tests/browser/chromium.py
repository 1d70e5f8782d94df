"""The browser of the tests: an installed Chromium, without a window, that reaches nothing but this machine."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = (
    "no Chromium is installed, and the pages are tested in one. Install it, for example: sudo apt-get install chromium"
)


def find_chromium() -> str:
    """Its path. Root on Debian gets one installed; anybody else is told what to type."""
    if found := _installed():
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("tests: installing chromium", flush=True)
        subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=subprocess.DEVNULL)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        )
        if found := _installed():
            return found
    raise RuntimeError(MISSING)


def _installed() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextlib.contextmanager
def running_chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(),
            # Root has no sandbox of Chromium's; a small /dev/shm (containers) would crash its pages.
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb"],
        )
        try:
            yield browser
        finally:
            browser.close()
