"""renderer.py - shows the newest state: a PNG file per frame, and a live page if there is a port.

It never slows the simulation down: it takes the newest whole version, and those it did not get to
are not shown. A file has its name only when it is whole.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import holdfast
import numpy as np
import png
from pipeline import SHOWN, Pipeline

SCALE = 6.0  # half of the width, in units of the simulation
COLOURS = np.array([[1.0, 0.62, 0.32], [0.40, 0.66, 1.0]])

PAGE = b"""<!doctype html><meta charset="utf-8"><title>holdfast pipeline</title>
<style>body{background:#0b0d12;color:#ccd;font:14px monospace;margin:2em}img{max-width:100%}</style>
<img id="frame" alt="the newest frame"><pre id="results"></pre>
<script>
async function look() {
  try {
    const image = await fetch("/frame.png"), text = await fetch("/results.json");
    if (image.ok) document.getElementById("frame").src = URL.createObjectURL(await image.blob());
    document.getElementById("results").textContent = await text.text();
  } catch (gone) { document.getElementById("results").textContent = "no renderer at the moment"; }
  setTimeout(look, 200);
}
look();
</script>
"""


class Canvas:
    """Bodies as points of light that fade."""

    def __init__(self, width: int, height: int) -> None:
        self.light = np.zeros((height, width, 3))

    def draw(self, position: np.ndarray) -> np.ndarray:
        """Add a state; returns the picture."""
        height, width, _ = self.light.shape
        self.light *= 0.8
        scale = width / (2 * SCALE)
        column = np.rint(position[:, 0] * scale + width / 2).astype(int)
        row = np.rint(height / 2 - position[:, 1] * scale).astype(int)
        half = len(position) // 2
        for colour, part in zip(COLOURS, (slice(0, half), slice(half, None)), strict=True):
            x, y = column[part], row[part]
            inside = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
            points = np.bincount(y[inside] * width + x[inside], minlength=width * height)
            glow = points.reshape(height, width).astype(float)
            for axis in (0, 1):
                glow = glow + 0.45 * (np.roll(glow, 1, axis) + np.roll(glow, -1, axis))
            self.light += 0.5 * glow[:, :, None] * colour
        return (255 * (1 - np.exp(-self.light))).astype(np.uint8)


def serve(pipe: Pipeline, newest: list[bytes]) -> None:
    """Answer the live page from a thread; it dies with the process, and so frees the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/":
                self.answer("text/html", PAGE)
            elif self.path.startswith("/frame.png") and newest:
                self.answer("image/png", newest[-1])
            elif self.path.startswith("/results.json"):
                found = {key.decode(): json.loads(value) for key, value in pipe.results.items()}
                self.answer("application/json", json.dumps(found, indent=1).encode())
            else:
                self.send_error(404)

        def answer(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", pipe.settings.port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()


def work(pipe: Pipeline) -> None:
    """Show the newest state until the last one is shown."""
    given = pipe.settings
    folder = Path(given.frames)
    folder.mkdir(parents=True, exist_ok=True)
    for rest in folder.glob("*.part"):  # of one that was killed while it wrote
        rest.unlink()
    newest: list[bytes] = []
    if given.port:
        serve(pipe, newest)
    canvas = Canvas(given.width, given.height)
    version = pipe.figures[SHOWN]  # versions that were shown, by this life or an earlier one
    while True:
        done = pipe.done.is_set()  # before the look: afterwards no version comes behind it
        try:
            pipe.bodies.wait(version, timeout=0.0 if done else 0.2)
            bodies, version = pipe.bodies.read()
        except holdfast.WaitTimeoutError:
            if done:
                return
            continue
        except holdfast.BusyError:  # the writer came round while this copied, again and again
            continue
        begun = time.monotonic()
        image = png.encode(canvas.draw(bodies[0]))
        newest[:] = [image]
        path = folder / f"frame-{version - 1:06d}.png"
        part = path.with_suffix(".part")
        part.write_bytes(image)
        part.replace(path)
        pipe.figures.maximum(version, SHOWN)
        time.sleep(max(0.0, 1 / given.frame_rate - (time.monotonic() - begun)))
