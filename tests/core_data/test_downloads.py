"""Fetching and unpacking data sets: over real connections that break, in several processes."""

import hashlib
import io
import json
import os
import random
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from support.web_server import serving
from torte.data.downloads import download_data, untar_data
from torte.data.extraction import ArchiveError, ExtractionLimits
from torte.data.transfers import ChecksumError, DownloadError, OfflineError
from torte.data.urls import URLs, known_check


def tar_of(files, folder="things"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


NOISE = random.Random(0).randbytes(300_000)
ARCHIVE = tar_of({"noise.bin": NOISE, "a.txt": b"a"})
DIGEST = hashlib.sha256(ARCHIVE).hexdigest()
QUICK = {"progress": False, "pause": 0.001, "timeout": 5.0}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty data folder of its own for every test here."""
    monkeypatch.setenv("TORTE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TORTE_MIRROR", raising=False)
    return tmp_path / "home"


def visible(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def assert_nothing_half_done(home):
    for folder in (home / "data", home / "archive"):
        if folder.exists():
            assert visible(folder) == []


def test_a_data_set_is_fetched_once_and_unpacked(home):
    with serving({"/d/things.tgz": ARCHIVE}) as site:
        url = f"{site.url}/d/things.tgz"
        path = untar_data(url, **QUICK)
        assert path == home / "data/things"
        assert (path / "noise.bin").read_bytes() == NOISE
        assert untar_data(url, **QUICK) == path
        assert len(site.requests) == 1
        assert visible(home / "archive") == ["things.tgz"]
        untar_data(url, force_download=True, **QUICK)
        assert len(site.requests) == 2


def test_folders_can_be_chosen(tmp_path):
    with serving({"/things.tgz": ARCHIVE}) as site:
        url = f"{site.url}/things.tgz"
        assert untar_data(url, base=tmp_path / "b", **QUICK) == tmp_path / "b/data/things"
        path = untar_data(url, archive=tmp_path / "a", data=tmp_path / "d", **QUICK)
        assert path == tmp_path / "d/things"
        assert (tmp_path / "a/things.tgz").is_file()


def test_progress_is_told_in_bytes():
    seen = []
    with serving({"/things.tgz": ARCHIVE}) as site:
        options = {**QUICK, "progress": lambda done, total: seen.append((done, total))}
        untar_data(f"{site.url}/things.tgz", **options)
    assert seen[-1] == (len(ARCHIVE), len(ARCHIVE))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_is_one_line_that_is_kept_up_to_date(monkeypatch):
    terminal, log = Terminal(), io.StringIO()
    with serving({"/things.tgz": ARCHIVE}) as site:
        for stream in (terminal, log, None):
            monkeypatch.setattr(sys, "stderr", stream)
            download_data(f"{site.url}/things.tgz", force_download=True)
    assert terminal.getvalue().startswith("\rthings.tgz: ")
    assert terminal.getvalue().endswith("0.3 of 0.3 MB (100%)\n")
    assert terminal.getvalue().count("\n") == 1
    assert log.getvalue() == ""


def test_names_with_dots_keep_their_stem(home):
    with serving({"/v1.2-data.tar.gz": ARCHIVE, "/plain.v2": ARCHIVE}) as site:
        assert untar_data(f"{site.url}/v1.2-data.tar.gz", **QUICK) == home / "data/v1.2-data"
        assert untar_data(f"{site.url}/plain.v2?x=1", **QUICK) == home / "data/plain"


def test_a_cut_transfer_goes_on_where_it_stopped():
    with serving({"/things.tgz": ARCHIVE}, cuts=[3 * 32768, 32768 + 100]) as site:
        path = untar_data(f"{site.url}/things.tgz", sha256=DIGEST, **QUICK)
        assert (path / "noise.bin").read_bytes() == NOISE
        asked = [wanted for _, wanted in site.requests]
        assert asked == [None, "bytes=98304-", "bytes=131072-"]


def test_a_transfer_goes_on_in_a_later_call(home):
    with serving({"/things.tgz": ARCHIVE}, cuts=[98304, 0]) as site:
        url = f"{site.url}/things.tgz"
        with pytest.raises(OfflineError, match="could not fetch"):
            untar_data(url, **{**QUICK, "attempts": 1})
        assert (home / "archive/things.tgz.part").stat().st_size == 98304
        assert not (home / "data/things").exists()
        site.cuts.clear()
        assert (untar_data(url, **QUICK) / "noise.bin").read_bytes() == NOISE
        assert site.requests[-1][1] == "bytes=98304-"
        assert visible(home / "archive") == ["things.tgz"]


def test_a_file_that_changed_meanwhile_is_fetched_from_the_start():
    with serving({"/things.tgz": b"0" * 200_000}, cuts=[100_000]) as site:
        url = f"{site.url}/things.tgz"
        with pytest.raises(OfflineError):
            untar_data(url, **{**QUICK, "attempts": 1})
        site.files["/things.tgz"], site.etag = ARCHIVE, '"two"'
        assert (untar_data(url, **QUICK) / "noise.bin").read_bytes() == NOISE


@pytest.mark.parametrize(
    "behaviour",
    [
        {"ranges": False},
        {"etag": None},
        {"etag": 'W/"weak"'},
        {"etag": None, "last_modified": "Wed, 21 Oct 2015 07:28:00 GMT"},
        {"wrong_range": True},
    ],
    ids=lambda behaviour: next(iter(behaviour)),
)
def test_servers_that_cannot_resume_properly(behaviour):
    with serving({"/things.tgz": ARCHIVE}, cuts=[100_000], **behaviour) as site:
        path = untar_data(f"{site.url}/things.tgz", **QUICK)
        assert (path / "noise.bin").read_bytes() == NOISE


def test_a_part_that_is_whole_already(home):
    with serving({"/things.tgz": ARCHIVE}) as site:
        (home / "archive").mkdir(parents=True)
        (home / "archive/things.tgz.part").write_bytes(ARCHIVE)
        path = untar_data(f"{site.url}/things.tgz", sha256=DIGEST, **QUICK)
        assert (path / "a.txt").read_bytes() == b"a"


def test_a_slow_server_is_waited_for_as_long_as_bytes_come():
    with serving({"/things.tgz": ARCHIVE}, pause=0.01) as site:
        path = untar_data(f"{site.url}/things.tgz", **{**QUICK, "timeout": 2.0})
        assert (path / "a.txt").read_bytes() == b"a"


def test_a_silent_server_is_given_up(home):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/things.tgz"
        with pytest.raises(OfflineError, match="could not fetch"):
            untar_data(url, progress=False, timeout=0.1, attempts=2, pause=0.001)
    assert_nothing_half_done(home)


def test_temporary_failures_are_tried_again_and_final_ones_are_not(home):
    with serving({"/things.tgz": ARCHIVE}, statuses=[503, 500, 200]) as site:
        untar_data(f"{site.url}/things.tgz", **QUICK)
        assert len(site.requests) == 3
        with pytest.raises(DownloadError, match=r"none\.tgz: the server answered 404"):
            untar_data(f"{site.url}/none.tgz", **QUICK)
        assert len(site.requests) == 4


def test_offline_says_what_to_do(home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}/things.tgz"
    with pytest.raises(OfflineError) as caught:
        untar_data(url, **{**QUICK, "attempts": 2})
    text = str(caught.value)
    for advice in (
        url,
        str(home / "archive/things.tgz"),
        "TORTE_MIRROR",
        "file:",
        "FASHION_SAMPLE",
    ):
        assert advice in text
    # Its first advice works.
    (home / "archive/things.tgz").write_bytes(ARCHIVE)
    assert (untar_data(url, **QUICK) / "a.txt").read_bytes() == b"a"


def test_a_wrong_digest_or_size_is_refused_and_leaves_nothing(home):
    with serving({"/things.tgz": ARCHIVE}) as site:
        url = f"{site.url}/things.tgz"
        with pytest.raises(ChecksumError, match=f"does not have the SHA-256 digest {'0' * 64}"):
            untar_data(url, sha256="0" * 64, **QUICK)
        assert_nothing_half_done(home)
        with pytest.raises(ChecksumError, match=rf"{len(ARCHIVE)} bytes, but 5 were expected"):
            untar_data(url, size=5, **QUICK)
        assert_nothing_half_done(home)
        untar_data(url, sha256=DIGEST.upper(), size=len(ARCHIVE), **QUICK)


def test_a_wrong_archive_that_lies_there_is_fetched_anew(home):
    (home / "archive").mkdir(parents=True)
    (home / "archive/things.tgz").write_bytes(b"rubbish")
    with serving({"/things.tgz": ARCHIVE}) as site:
        path = untar_data(f"{site.url}/things.tgz", sha256=DIGEST, **QUICK)
        assert (path / "a.txt").read_bytes() == b"a"


def test_an_unknown_length_works():
    with serving({"/things.tgz": ARCHIVE}, declared_length=False) as site:
        path = untar_data(f"{site.url}/things.tgz", sha256=DIGEST, **QUICK)
        assert (path / "noise.bin").read_bytes() == NOISE


def test_hostile_and_damaged_archives_leave_no_data(home):
    escape = tar_of({"../../../evil.txt": b"x"})
    with serving({"/e.tgz": escape, "/cut.tgz": ARCHIVE[:9000], "/page.tgz": b"<html>"}) as site:
        for name, message in (("e", "leaves the folder"), ("cut", "damaged"), ("page", "neither")):
            with pytest.raises(ArchiveError, match=message):
                untar_data(f"{site.url}/{name}.tgz", **QUICK)
    assert visible(home / "data") == []
    assert not list(home.rglob("evil.txt"))


def test_limits_are_passed_on(home):
    with serving({"/things.tgz": ARCHIVE}) as site, pytest.raises(ArchiveError, match="unpacks to"):
        untar_data(f"{site.url}/things.tgz", limits=ExtractionLimits(max_bytes=1000), **QUICK)


def test_a_failed_forced_download_keeps_what_was_there(home):
    with serving({"/things.tgz": ARCHIVE}) as site:
        url = f"{site.url}/things.tgz"
        path = untar_data(url, **QUICK)
        site.statuses = [404]
        with pytest.raises(DownloadError, match="404"):
            untar_data(url, force_download=True, **QUICK)
        assert (path / "noise.bin").read_bytes() == NOISE
        assert (home / "archive/things.tgz").read_bytes() == ARCHIVE


def test_file_addresses_and_paths(tmp_path, home):
    archive = tmp_path / "with space.tar.gz"
    archive.write_bytes(ARCHIVE)
    assert untar_data(archive.as_uri(), **QUICK) == home / "data/with space"
    assert (untar_data(archive, **QUICK) / "a.txt").read_bytes() == b"a"
    with pytest.raises(DownloadError, match=r"there is no file '.*none\.tgz'"):
        untar_data((tmp_path / "none.tgz").as_uri(), **QUICK)


def test_a_mirror_is_asked_first(tmp_path, monkeypatch):
    with serving({"/fast-ai-x/things.tgz": ARCHIVE}) as mirror:
        monkeypatch.setenv("TORTE_MIRROR", mirror.url)
        path = untar_data("https://unreachable.invalid/fast-ai-x/things.tgz", **QUICK)
        assert (path / "a.txt").read_bytes() == b"a"
        assert mirror.requests == [("/fast-ai-x/things.tgz", None)]


def test_a_mirror_may_be_a_folder_and_need_not_have_everything(tmp_path, monkeypatch):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/one.tgz").write_bytes(ARCHIVE)
    monkeypatch.setenv("TORTE_MIRROR", str(tmp_path / "mirror"))
    assert untar_data("https://unreachable.invalid/a/b/one.tgz", **QUICK).name == "one"
    with serving({"/a/two.tgz": ARCHIVE}) as site:
        assert untar_data(f"{site.url}/a/two.tgz", **QUICK).name == "two"
        monkeypatch.setenv("TORTE_MIRROR", f"{site.url}/nothing")
        with pytest.raises(DownloadError, match="404") as caught:
            untar_data(f"{site.url}/a/three.tgz", **QUICK)
        assert any("The mirror failed first" in note for note in caught.value.__notes__)


def test_two_addresses_of_one_name_do_not_share_a_folder():
    other = tar_of({"b.txt": b"b"})
    with serving({"/x/things.tgz": ARCHIVE, "/y/things.tgz": other}) as site:
        one = untar_data(f"{site.url}/x/things.tgz", **QUICK)
        two = untar_data(f"{site.url}/y/things.tgz", **QUICK)
        assert one != two
        assert (one / "a.txt").exists()
        assert (two / "b.txt").exists()
        assert untar_data(f"{site.url}/y/things.tgz", **QUICK) == two


def test_a_folder_put_there_by_hand_is_taken(home):
    (home / "data/mnist_tiny").mkdir(parents=True)
    assert untar_data(URLs.MNIST_TINY) == home / "data/mnist_tiny"


def test_a_new_version_of_a_known_file_replaces_the_old_folder():
    with serving({"/things.tgz": ARCHIVE}) as site:
        url = f"{site.url}/things.tgz"
        untar_data(url, sha256=DIGEST, **QUICK)
        site.files["/things.tgz"], site.etag = tar_of({"b.txt": b"b"}), '"two"'
        digest = hashlib.sha256(site.files["/things.tgz"]).hexdigest()
        path = untar_data(url, sha256=digest, **QUICK)
        assert visible(path) == ["b.txt"]


def test_download_data_does_not_unpack(home, tmp_path):
    with serving({"/weights.bin": NOISE}) as site:
        url = f"{site.url}/weights.bin"
        assert download_data(url, **QUICK) == home / "archive/weights.bin"
        assert download_data(url, c_key="model", **QUICK).read_bytes() == NOISE
        chosen = download_data(url, tmp_path / "w.bin", **QUICK)
        assert chosen == tmp_path / "w.bin"
        download_data(url, chosen, **QUICK)
        assert len(site.requests) == 3


@pytest.mark.parametrize("url", ["https://example.invalid/", "https://example.invalid/a/.."])
def test_addresses_without_a_file_name(url):
    with pytest.raises(ValueError, match="does not end in a file name"):
        untar_data(url)


WORKER = """
import sys
from torte.data.downloads import untar_data
path = untar_data(sys.argv[1], progress=False)
assert (path / "noise.bin").stat().st_size == 300_000
print(path)
"""


def test_several_processes_at_once_fetch_once(home):
    with serving({"/things.tgz": ARCHIVE}, pause=0.02) as site:
        command = [sys.executable, "-c", WORKER, f"{site.url}/things.tgz"]
        workers = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        results = [worker.communicate(timeout=120) for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0, 0], results
        assert {out.strip() for out, _ in results} == {str(home / "data/things")}
        assert len(site.requests) == 1


def test_a_killed_process_leaves_a_transfer_that_the_next_one_ends(home):
    with serving({"/things.tgz": ARCHIVE}, pause=0.05) as site:
        url = f"{site.url}/things.tgz"
        part = home / "archive/things.tgz.part"
        worker = subprocess.Popen([sys.executable, "-c", WORKER, url], stderr=subprocess.DEVNULL)
        while worker.poll() is None and not (part.exists() and part.stat().st_size):
            time.sleep(0.002)
        worker.kill()
        worker.wait()
        held = part.stat().st_size
        site.pause = 0.0
        assert (untar_data(url, **QUICK) / "noise.bin").read_bytes() == NOISE
        assert site.requests[-1][1] == f"bytes={held}-"


def test_a_process_killed_while_it_unpacks_leaves_nothing_for_long(home, tmp_path):
    archive = tmp_path / "things.tgz"
    archive.write_bytes(tar_of({"noise.bin": NOISE, **{f"{i}.bin": NOISE for i in range(60)}}))
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, archive.as_uri()], stdout=subprocess.DEVNULL
    )
    data = home / "data"
    while worker.poll() is None and not (data.exists() and list(data.glob(".things.*"))):
        time.sleep(0.001)
    worker.kill()
    worker.wait()
    other = data / ".things.v2.abcdefgh.unpacking"
    other.mkdir(parents=True)
    path = untar_data(archive.as_uri(), **QUICK)
    assert len(visible(path)) == 61
    # What another data set's process is unpacking stays.
    assert sorted(p.name for p in data.glob(".things.*")) == [other.name]


def test_samples_in_the_package(home, monkeypatch):
    monkeypatch.setenv("TORTE_MIRROR", "http://127.0.0.1:9/never-asked")
    path = untar_data(URLs.FASHION_SAMPLE)
    classes = sorted(folder.name for folder in (path / "train").iterdir())
    assert classes == [
        "ankle-boot",
        "bag",
        "coat",
        "dress",
        "pullover",
        "sandal",
        "shirt",
        "sneaker",
        "t-shirt",
        "trouser",
    ]
    for part, count in (("train", 120), ("valid", 40)):
        for name in classes:
            assert len(list((path / part / name).glob("*.png"))) == count
    assert "The MIT License" in (path / "LICENSE.txt").read_text()


@pytest.mark.parametrize(
    ("url", "file", "rows", "column"),
    [
        (URLs.ADULT_TINY, "adult.csv", 8000, "salary"),
        (URLs.REVIEWS_SAMPLE, "reviews.csv", 5000, "text"),
    ],
)
def test_tables_in_the_package(url, file, rows, column):
    import pandas as pd

    frame = pd.read_csv(untar_data(url) / file)
    assert len(frame) == rows
    assert frame[column].notna().all()


def test_samples_are_small_and_on_record():
    folder = Path(__file__).parents[2] / "packages/core-data/src/torte/data/samples"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert len(manifest) == 3
    for name, entry in manifest.items():
        content = (folder / name).read_bytes()
        assert len(content) == entry["size"] < 2_000_000
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        assert (folder / name.replace(".tar.gz", ".LICENSE.txt")).is_file()
        check = known_check(f"package:torte.data/samples/{name}")
        assert (check.size, check.sha256) == (entry["size"], entry["sha256"])


def test_a_damaged_sample_is_noticed(home, tmp_path, monkeypatch):
    package = tmp_path / "broken_package_for_tests"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "things.tgz").write_bytes(ARCHIVE[:-1] + b"?")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ChecksumError, match="does not have the SHA-256"):
        untar_data("package:broken_package_for_tests/things.tgz", sha256=DIGEST, **QUICK)
    assert_nothing_half_done(home)
    with pytest.raises(DownloadError, match="there is no file"):
        untar_data("package:broken_package_for_tests/none.tgz", **QUICK)


def test_an_interrupted_extraction_leaves_nothing(home, monkeypatch):
    real_replace = os.chmod

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with serving({"/things.tgz": ARCHIVE}) as site:
        monkeypatch.setattr(Path, "chmod", interrupt)
        with pytest.raises(KeyboardInterrupt):
            untar_data(f"{site.url}/things.tgz", **QUICK)
        monkeypatch.undo()
        assert real_replace is os.chmod
    assert [p.name for p in (home / "data").iterdir() if p.name != ".locks"] == []
