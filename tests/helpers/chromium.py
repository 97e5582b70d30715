"""Measures a page in headless Chromium."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

MEASURE = Path(__file__).with_name("measure.js").read_text()
POLICY = re.compile(r"default-src 'none'; ")
DARK, LIGHT = 0, 1


def chromium():
    """The program that CHROMIUM names, which must exist; without CHROMIUM, an installed one, or None."""
    if named := os.environ.get("CHROMIUM"):
        assert shutil.which(named), f"CHROMIUM={named} is not installed"
        return named
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def measured(page, folder, width=1200, scheme=LIGHT):
    """Runs measure.js in a copy of the page, whose policy allows that one script, and returns what it found.

    The copy is in a frame, because no window is narrower than 500 pixels.
    """
    scripted = POLICY.sub("default-src 'none'; script-src 'unsafe-inline'; ", page)
    scripted = scripted.replace("<head>", f"<head><script>{MEASURE}</script>", 1)
    frame = f'<iframe style="border: 0; width: {width}px; height: 900px" srcdoc="{html.escape(scripted)}"></iframe>'
    file = folder / "frame.html"
    file.write_text(f'<!doctype html><html style="color-scheme: light dark"><body>{frame}</body></html>')
    command = [chromium(), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--blink-settings=preferredColorScheme={scheme}"]
    command += ["--dump-dom", file.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return json.loads(html.unescape(re.search(r'data-measured="([^"]*)"', dom)[1]))
