"""Archives: good ones unpack completely, hostile and damaged ones leave nothing behind."""

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torte.data.extraction import ArchiveError, ExtractionLimits, extract_archive, is_archive


def member(name, content=b"x", kind=tarfile.REGTYPE, link="", mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, content


def make_tar(path, *members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content) if info.size else None)
    return path


def make_zip(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def zip_entry(name, mode):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def everything_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def area(tmp_path):
    """A folder in which only the archive and a bystander lie; the latter must never change."""
    (tmp_path / "bystander.txt").write_text("untouched")
    return tmp_path


def assert_refused(area, archive, message, **kwargs):
    before = everything_below(area)
    with pytest.raises(ArchiveError, match=message) as caught:
        extract_archive(archive, area / "out", **kwargs)
    assert str(archive) in str(caught.value)
    assert everything_below(area) == before
    assert (area / "bystander.txt").read_text() == "untouched"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tars_of_one_folder_become_that_folder(area, mode):
    archive = make_tar(
        area / "a.tar",
        member("data/one.txt", b"one"),
        member("data/sub/run", b"two", mode=0o4777),
        member("data/empty", b"", tarfile.DIRTYPE),
        mode=mode,
    )
    assert is_archive(archive)
    out = extract_archive(archive, area / "out")
    assert everything_below(out) == ["empty", "one.txt", "sub", "sub/run"]
    assert (out / "one.txt").read_bytes() == b"one"
    # Setuid is dropped, executability kept.
    assert stat.S_IMODE((out / "sub/run").stat().st_mode) == 0o755
    assert stat.S_IMODE((out / "one.txt").stat().st_mode) == 0o644
    assert everything_below(area) == ["a.tar", "bystander.txt", "out"] + [
        f"out/{name}" for name in everything_below(out)
    ]


def test_zips_and_archives_of_several_entries(area):
    archive = make_zip(area / "a.zip", [("x/1.txt", "1"), ("y.txt", "2"), ("__MACOSX/z", "3")])
    out = extract_archive(archive, area / "out")
    assert everything_below(out) == ["__MACOSX", "__MACOSX/z", "x", "x/1.txt", "y.txt"]


def test_an_existing_folder_is_replaced_only_by_a_complete_one(area):
    (area / "out").mkdir()
    (area / "out/old.txt").write_text("old")
    with pytest.raises(ArchiveError, match="leaves the folder"):
        extract_archive(make_tar(area / "bad.tgz", member("../x")), area / "out")
    assert everything_below(area / "out") == ["old.txt"]
    extract_archive(make_tar(area / "good.tgz", member("d/new.txt")), area / "out")
    assert everything_below(area / "out") == ["new.txt"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../bystander.txt", "leaves the folder through '..'"),
        ("a/../../bystander.txt", "leaves the folder through '..'"),
        ("/tmp/absolute.txt", "absolute path"),
        ("a\\..\\..\\b", "backslash"),
        ("C:/windows.txt", "names a drive"),
    ],
)
def test_paths_that_escape_are_refused(area, name, message):
    assert_refused(area, make_tar(area / "a.tgz", member("ok"), member(name)), message)
    if "\\" not in name:  # zipfile itself turns backslashes round on some systems
        assert_refused(area, make_zip(area / "a.zip", [("ok", "1"), (name, "2")]), message)


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../bystander.txt", "sub/../../bystander.txt", "..\\x"]
)
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_out_are_refused(area, target, kind):
    archive = make_tar(area / "a.tgz", member("d/ok"), member("d/link", kind=kind, link=target))
    assert_refused(area, archive, "member 'd/link'|link to")


def test_writing_through_a_link_is_refused(area):
    archive = make_tar(
        area / "a.tgz",
        member("d/way", kind=tarfile.SYMTYPE, link="../.."),
        member("d/way/bystander.txt", b"overwritten"),
    )
    assert_refused(area, archive, "'d/way'")


def test_chains_of_links_that_lead_out_are_refused(area):
    archive = make_tar(
        area / "a.tgz",
        member("d/e/f/ok"),
        member("d/up", kind=tarfile.SYMTYPE, link="e/f"),
        # Lexically d/up/../../.. is inside; through the link it is not.
        member("d/e/f/out", kind=tarfile.SYMTYPE, link="../../../d/up/../../../../bystander.txt"),
    )
    assert_refused(area, archive, "outside")


def test_links_inside_work(area):
    archive = make_tar(
        area / "a.tgz",
        member("d/real.txt", b"content"),
        member("d/soft", kind=tarfile.SYMTYPE, link="real.txt"),
        member("d/sub/soft", kind=tarfile.SYMTYPE, link="../real.txt"),
        member("d/hard", kind=tarfile.LNKTYPE, link="d/real.txt"),
    )
    out = extract_archive(archive, area / "out")
    for name in ("soft", "sub/soft", "hard"):
        assert (out / name).read_bytes() == b"content"
    assert (out / "soft").readlink() == Path("real.txt")


def test_a_link_to_what_is_not_there_is_refused_for_hard_links(area):
    archive = make_tar(area / "a.tgz", member("d/hard", kind=tarfile.LNKTYPE, link="d/none"))
    assert_refused(area, archive, "not in the archive")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(area, kind):
    archive = make_tar(area / "a.tgz", member("d/device", kind=kind))
    assert_refused(area, archive, "member 'd/device' is a device or pipe")


def test_zips_with_links_devices_and_passwords(area):
    link = zip_entry("link", stat.S_IFLNK | 0o777)
    assert_refused(area, make_zip(area / "l.zip", [(link, "../bystander.txt")]), "outside")
    pipe = zip_entry("pipe", stat.S_IFIFO | 0o644)
    assert_refused(area, make_zip(area / "p.zip", [(pipe, "")]), "is a device or pipe")
    secret = make_zip(area / "s.zip", [("a", "1")])
    content = bytearray(secret.read_bytes())
    for marker in (b"PK\x03\x04", b"PK\x01\x02"):
        flags = content.index(marker) + (6 if marker == b"PK\x03\x04" else 8)
        content[flags] |= 1
    secret.write_bytes(bytes(content))
    assert_refused(area, secret, "'a' is encrypted")
    good = make_zip(area / "g.zip", [("d/real", "1"), (zip_entry("d/l", stat.S_IFLNK), "real")])
    assert (extract_archive(good, area / "out") / "l").read_text() == "1"


def test_bombs_are_stopped_by_size_ratio_and_number(area):
    limits = ExtractionLimits(free_bytes=10_000, max_ratio=10)
    zeros = bytes(200_000)
    assert_refused(
        area, make_tar(area / "b.tgz", member("z", zeros)), "unpacks to more", limits=limits
    )
    assert_refused(area, make_zip(area / "b.zip", [("z", zeros)]), "unpacks to more", limits=limits)
    many = make_tar(area / "m.tgz", *(member(f"d/{i}") for i in range(11)))
    assert_refused(area, many, "more than 10 members", limits=ExtractionLimits(max_members=10))
    linked = [member("d/f", b"y" * 5_000)]
    linked += [member(f"d/{i}", kind=tarfile.LNKTYPE, link="d/f") for i in range(10)]
    assert_refused(area, make_tar(area / "h.tgz", *linked), "unpacks to more", limits=limits)


def test_budget_grows_with_the_archive():
    limits = ExtractionLimits(max_bytes=1000, free_bytes=100, max_ratio=10)
    assert [limits.budget(size) for size in (1, 50, 5000)] == [100, 500, 1000]


def test_damage_is_reported_and_leaves_nothing(area):
    whole = make_tar(area / "w.tgz", member("d/f", os.urandom(50_000))).read_bytes()
    cut = area / "cut.tgz"
    cut.write_bytes(whole[:20_000])
    assert_refused(area, cut, "is damaged")
    flipped = bytearray(make_zip(area / "w.zip", [("f", os.urandom(5000))]).read_bytes())
    flipped[2000] ^= 0xFF
    bad = area / "bad.zip"
    bad.write_bytes(bytes(flipped))
    assert_refused(area, bad, "is damaged")
    text = area / "page.tgz"
    text.write_text("<html>not found</html>")
    assert not is_archive(text)
    assert_refused(area, text, "neither a tar nor a zip file")


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_flipped_bytes_in_compressed_tars(area, mode):
    content = bytearray(
        make_tar(area / "w.tar", member("f", os.urandom(9000)), mode=mode).read_bytes()
    )
    content[len(content) // 2] ^= 0xFF
    bad = area / "bad.tar"
    bad.write_bytes(bytes(content))
    assert_refused(area, bad, "is damaged")


def test_a_file_in_the_place_of_a_folder(area):
    assert_refused(area, make_tar(area / "a.tgz", member("d"), member("d/f")), "of one name")
    twice = make_tar(area / "b.tgz", member("d/f"), member("d/f", kind=tarfile.SYMTYPE, link="g"))
    assert_refused(area, twice, "in the place of another")


@given(name=st.text(st.sampled_from("ab./\\:~ "), min_size=1, max_size=12))
def test_no_name_gets_out(tmp_path_factory, name):
    area = tmp_path_factory.mktemp("area")
    archive = make_tar(area / "a.tar", member("d/ok"), member(name, b"evil"), mode="w")
    try:
        extract_archive(archive, area / "deep/out")
    except ArchiveError:
        assert everything_below(area) == ["a.tar", "deep"]
    else:
        outside = [p for p in everything_below(area) if not p.startswith("deep/out")]
        assert outside == ["a.tar", "deep"]
