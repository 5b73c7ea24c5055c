"""`examples/serve_http.py` over loopback: its page in a real browser, its limits and errors."""

import http.client
import importlib.util
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.browsers import chromium, photograph
from support.layers import ROOT
from torte.data import URLs, get_image_files, untar_data
from torte.learner import load_learner


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("serve_http", ROOT / "examples/serve_http.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def learner(example: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with torch.random.fork_rng():
        return load_learner(example.trained(tmp_path_factory.mktemp("served"), quick=True))


@pytest.fixture(scope="module")
def port(example: Any, learner: Any) -> Iterator[int]:
    with example.LearnerServer(learner, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def picture() -> Path:
    return get_image_files(untar_data(URLs.FASHION_SAMPLE) / "valid")[0]


def asked(port: int, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, **kwargs)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


def test_predictions_are_the_learners(port: int, learner: Any, picture: Path) -> None:
    status, said = asked(port, "POST", "/predict", body=picture.read_bytes())
    label, number, probabilities = learner.predict(picture)
    assert (status, said["label"]) == (200, label)
    assert said["probabilities"][label] == pytest.approx(float(probabilities[number]), abs=1e-5)
    assert set(said["probabilities"]) == set(learner.dls.vocab)


@pytest.mark.parametrize(
    ("method", "path", "request_parts", "status", "message"),
    [
        ("POST", "/predict", {"body": b"no picture"}, 400, "no picture that can be read"),
        ("POST", "/predict", {"body": b""}, 400, "no picture that can be read"),
        ("POST", "/predict", {"headers": {"Content-Length": "99999999"}}, 413, "bytes"),
        ("POST", "/predict", {"headers": {"Content-Length": "-1"}}, 411, "length"),
        ("POST", "/elsewhere", {"body": b"x"}, 404, "there is no /elsewhere"),
        ("GET", "/../etc/passwd", {}, 404, "there is no"),
    ],
)
def test_mistakes_are_answered_in_json(
    port: int, method: str, path: str, request_parts: dict[str, Any], status: int, message: str
) -> None:
    found, said = asked(port, method, path, **request_parts)
    assert found == status
    assert message in said["error"]
    assert asked(port, "GET", "/health") == (200, {"status": "ok"})


def test_pictures_of_too_many_pixels_are_refused(port: int, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("1", (6000, 5000)).save(tmp_path / "bomb.png")
    status, said = asked(port, "POST", "/predict", body=(tmp_path / "bomb.png").read_bytes())
    assert (status, "pixels" in said["error"]) == (413, True)


def test_one_uploads_a_picture_and_sees_the_prediction(
    port: int, learner: Any, picture: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 420, "height": 640})
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/")
        page.set_input_files("input", picture)
        page.wait_for_selector("#answer h2")
        assert page.inner_text("#answer h2") == learner.predict(picture)[0]
        assert page.locator("#answer tr").count() == 5
        photograph(page, "serve_http.png")
        page.set_input_files("input", tmp_path / "broken.png")
        page.wait_for_selector("#answer.error")
        assert "no picture that can be read" in page.inner_text("#answer")
        assert not complaints
