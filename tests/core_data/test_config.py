"""Where torte keeps its files: environment variables over the file over the defaults."""

from pathlib import Path

import platformdirs
import pytest
from torte.data.config import torte_cfg, torte_path


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    """No settings but those of the test, and a home that belongs to it."""
    for name in ("TORTE_HOME", "TORTE_CONFIG", "TORTE_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_defaults_are_the_platforms():
    config = torte_cfg()
    assert config.home == platformdirs.user_data_path("torte")
    assert config.data == config.home / "data"
    assert config.archive == config.home / "archive"
    assert config.model == config.home / "models"
    assert (config.mirror, config.file) == (None, None)


def test_the_environment_names_the_home_and_the_mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("TORTE_HOME", str(tmp_path / "here"))
    monkeypatch.setenv("TORTE_MIRROR", "https://mirror.local")
    assert torte_cfg().data == tmp_path / "here/data"
    assert torte_cfg().mirror == "https://mirror.local"
    monkeypatch.setenv("TORTE_HOME", "~/there")
    assert torte_cfg().home == tmp_path / "there"


def test_a_file_sets_folders_and_mirror(tmp_path, monkeypatch):
    file = tmp_path / "torte.toml"
    file.write_text(
        'home = "~/base"\ndata = "sets"\nmodel = "/abs/models"\nmirror = "/mnt/mirror"\n'
    )
    monkeypatch.setenv("TORTE_CONFIG", str(file))
    config = torte_cfg()
    assert config.file == file
    assert config.data == tmp_path / "base/sets"
    assert config.archive == tmp_path / "base/archive"
    assert config.model == Path("/abs/models")
    assert config.mirror == "/mnt/mirror"
    monkeypatch.setenv("TORTE_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("TORTE_MIRROR", "/mnt/other")
    assert torte_cfg().data == tmp_path / "other/sets"
    assert torte_cfg().mirror == "/mnt/other"


def test_files_in_their_usual_places(tmp_path, monkeypatch):
    usual = platformdirs.user_config_path("torte") / "config.toml"
    usual.parent.mkdir(parents=True)
    usual.write_text('data = "from-usual"\n')
    assert torte_cfg().data.name == "from-usual"
    monkeypatch.setenv("TORTE_HOME", str(tmp_path / "home"))
    assert torte_cfg().data.name == "data"
    (tmp_path / "home").mkdir()
    (tmp_path / "home/config.toml").write_text('data = "from-home"\n')
    assert torte_cfg().data == tmp_path / "home/from-home"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("data = ", ValueError, r"torte\.toml' is not valid TOML"),
        ('folder = "x"', ValueError, "unknown setting 'folder'; known are"),
        ("data = 3", TypeError, "'data' must be a string, not 3"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path, monkeypatch, text, error, message):
    file = tmp_path / "torte.toml"
    file.write_text(text)
    monkeypatch.setenv("TORTE_CONFIG", str(file))
    with pytest.raises(error, match=message):
        torte_cfg()


def test_a_named_file_must_exist(monkeypatch):
    monkeypatch.setenv("TORTE_CONFIG", "/nowhere/torte.toml")
    with pytest.raises(FileNotFoundError, match=r"TORTE_CONFIG names '/nowhere/torte\.toml'"):
        torte_cfg()


def test_folders_are_made_on_use(tmp_path, monkeypatch):
    monkeypatch.setenv("TORTE_HOME", str(tmp_path / "home"))
    torte_cfg()
    assert not (tmp_path / "home").exists()
    assert torte_path("model").is_dir()
    with pytest.raises(ValueError, match=r"unknown folder 'models'; torte keeps \['archive'"):
        torte_path("models")
