"""Serve an exported learner over HTTP, with a page on which one uploads a picture.

    uv run examples/serve_http.py                      # trains a small learner first
    uv run examples/serve_http.py --learner FILE       # serves that file of learn.export
    uv run examples/serve_http.py --quick              # one request to itself, then it ends

The standard library alone does the serving: `GET /` is the page, `POST /predict` takes the bytes of
a picture and answers `{"label": ..., "probabilities": {...}}`, `GET /health` says that it is there.
Uploads are limited in bytes and pixels, errors are JSON, and a learner's file runs no code. The
default learner (xresnet18 on the 10 kinds of garment in the sample of Fashion-MNIST, 1 epoch) is
there to try the service with, not to be right.
"""

import argparse
import io
import json
import threading
import urllib.request
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from torte.vision.all import (
    ImageDataLoaders,
    Learner,
    PILImage,
    Resize,
    URLs,
    accuracy,
    get_image_files,
    load_learner,
    untar_data,
    vision_learner,
    xresnet18,
)

MAX_BYTES = 5 * 2**20
MAX_PIXELS = 25_000_000
SECONDS = 20

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>What is it?</title>
<style>
body { font: 18px system-ui, sans-serif; max-width: 32rem; margin: 3rem auto; padding: 0 1rem }
img { max-width: 12rem; display: block; margin: 1rem 0; image-rendering: pixelated }
meter { width: 12rem } td { padding: .1rem .8rem .1rem 0 } .error { color: #b00020 }
</style>
<h1>What is it?</h1>
<label>A picture: <input type="file" accept="image/*"></label>
<img alt="" hidden><div id="answer" role="status"></div>
<script>
const input = document.querySelector("input"), img = document.querySelector("img")
const answer = document.querySelector("#answer")
input.onchange = async () => {
  const file = input.files[0]
  if (!file) return
  img.src = URL.createObjectURL(file); img.hidden = false
  answer.className = ""; answer.textContent = "..."
  try {
    const reply = await fetch("predict", {method: "POST", body: file})
    const said = await reply.json()
    if (!reply.ok) throw new Error(said.error)
    const heading = document.createElement("h2"), table = document.createElement("table")
    heading.textContent = said.label
    for (const [name, p] of Object.entries(said.probabilities).slice(0, 5)) {
      const row = table.insertRow(), meter = document.createElement("meter")
      meter.value = p
      row.insertCell().textContent = name
      row.insertCell().append(meter)
      row.insertCell().textContent = (100 * p).toFixed(1) + " %"
    }
    answer.replaceChildren(heading, table)
  } catch (error) { answer.className = "error"; answer.textContent = error.message }
}
</script></html>
"""


class RequestError(Exception):
    """The client's mistake, with the status to answer."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def opened(data: bytes) -> PILImage:
    """Returns a picture of bytes that come from anybody."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise RequestError(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MAX_PIXELS} pixels"
                )
            return PILImage.create(picture.convert("RGB"))
    except RequestError:
        raise
    except Exception as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, "this is no picture that can be read") from error


def predicted(learn: Learner, data: bytes) -> dict[str, Any]:
    """Returns the answer for the bytes of a picture, the likeliest label first."""
    label, _, probabilities = learn.predict(opened(data))
    ranked = sorted(
        zip(learn.dls.vocab, probabilities.tolist(), strict=True), key=lambda pair: -pair[1]
    )
    return {"label": str(label), "probabilities": {str(name): p for name, p in ranked}}


class Handler(BaseHTTPRequestHandler):
    """Answers requests."""

    server: "LearnerServer"  # type: ignore[assignment]
    timeout = SECONDS

    def do_GET(self) -> None:
        """The page, or whether the service is there."""
        if self.path == "/":
            self.answer(HTTPStatus.OK, PAGE.encode(), "text/html; charset=utf-8")
        elif self.path == "/health":
            self.answer_json(HTTPStatus.OK, {"status": "ok"})
        else:
            self.answer_json(HTTPStatus.NOT_FOUND, {"error": f"there is no {self.path}"})

    def do_POST(self) -> None:
        """A prediction."""
        try:
            data = self.body()
            with self.server.one_at_a_time:
                reply = predicted(self.server.learn, data)
        except RequestError as error:
            self.close_connection = True  # what was not read must not count as a request
            self.answer_json(error.status, {"error": str(error)})
        except Exception:
            self.log_error("the prediction failed")
            self.answer_json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "the prediction failed"})
            raise
        else:
            self.answer_json(HTTPStatus.OK, reply)

    def body(self) -> bytes:
        """The uploaded bytes, as far as they are allowed."""
        if self.path != "/predict":
            raise RequestError(HTTPStatus.NOT_FOUND, f"there is no {self.path}")
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            raise RequestError(HTTPStatus.LENGTH_REQUIRED, "the length must be given")
        if int(length) > MAX_BYTES:
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MAX_BYTES} bytes")
        return self.rfile.read(int(length))

    def answer_json(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        """Sends JSON."""
        self.answer(status, json.dumps(content).encode(), "application/json")

    def answer(self, status: HTTPStatus, data: bytes, kind: str) -> None:
        """Sends bytes."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Writes a line of the log."""
        print(f"{self.address_string()} {format % args}")


class LearnerServer(ThreadingHTTPServer):
    """Serves a learner on loopback; port 0 takes a free one."""

    daemon_threads = True

    def __init__(self, learn: Learner, port: int, host: str = "127.0.0.1") -> None:
        super().__init__((host, port), Handler)
        self.learn = learn
        self.one_at_a_time = threading.Lock()  # a Learner is for one thread


def trained(outputs: Path, quick: bool) -> Path:
    """Returns the file of a learner trained on the sample of garments."""
    torch.manual_seed(20)
    path = untar_data(URLs.FASHION_SAMPLE)
    dls = ImageDataLoaders.from_folder(path, item_tfms=Resize(32), bs=64, seed=20, num_workers=0)
    learn = vision_learner(dls, xresnet18, pretrained=False, metrics=accuracy, path=outputs)
    if not quick:
        learn.fit_one_cycle(1, 5e-3)
    return learn.export("garments.safetensors")


def ask_itself(server: LearnerServer) -> None:
    """Sends the server a picture over loopback and prints the answer."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    picture = get_image_files(untar_data(URLs.FASHION_SAMPLE) / "valid")[0]
    url = f"http://127.0.0.1:{server.server_address[1]}/predict"
    with urllib.request.urlopen(url, data=picture.read_bytes(), timeout=60) as reply:
        print(picture.parent.name, "predicted as", json.load(reply)["label"])
    server.shutdown()


def main(learner: Path | None, port: int, outputs: Path, quick: bool) -> None:
    """Trains if need be, loads, serves."""
    outputs.mkdir(parents=True, exist_ok=True)
    learn = load_learner(trained(outputs, quick) if learner is None else learner)
    with LearnerServer(learn, 0 if quick else port) as server:
        print(f"serving at http://127.0.0.1:{server.server_address[1]}/", flush=True)
        if quick:
            ask_itself(server)
        else:
            server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve a learner over HTTP.")
    parser.add_argument("--learner", type=Path, help="file of learn.export; trains one if missing")
    parser.add_argument("--port", type=int, default=8000, help="where to listen, on loopback")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="where files go")
    parser.add_argument("--quick", action="store_true", help="ask itself once and end")
    main(**vars(parser.parse_args()))
