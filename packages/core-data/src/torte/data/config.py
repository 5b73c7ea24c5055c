"""Where torte keeps its files, and from where it fetches them.

Settings are looked up afresh at every use, in this order:

1. environment variables: `TORTE_HOME` (the folder for everything), `TORTE_MIRROR`;
2. a TOML file: the one that `TORTE_CONFIG` names, else `$TORTE_HOME/config.toml`, else
   `config.toml` in the user's configuration folder for torte (platformdirs decides where);
3. defaults: the user's data folder for torte (platformdirs again).

The file may hold::

    home = "/data/torte"                  # everything below is relative to it
    data = "data"                         # extracted data sets
    archive = "archive"                   # downloaded files
    model = "models"                      # pretrained weights
    storage = "tmp"                       # scratch space
    mirror = "https://mirror.local/data"  # or a folder: asked before the original address
"""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "CONFIG_VARIABLE",
    "HOME_VARIABLE",
    "MIRROR_VARIABLE",
    "Config",
    "torte_cfg",
    "torte_path",
]

HOME_VARIABLE = "TORTE_HOME"
CONFIG_VARIABLE = "TORTE_CONFIG"
MIRROR_VARIABLE = "TORTE_MIRROR"

_FOLDERS = {"data": "data", "archive": "archive", "model": "models", "storage": "tmp"}


@dataclass(frozen=True)
class Config:
    """The settings in force: four folders and an optional mirror."""

    home: Path
    data: Path
    archive: Path
    model: Path
    storage: Path
    mirror: str | None = None
    file: Path | None = None
    """The configuration file that was read, if there was one."""


def _config_file() -> tuple[Path, bool]:
    """The file to read, and whether the user named it outright."""
    import platformdirs

    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named).expanduser(), True
    if home := os.environ.get(HOME_VARIABLE):
        return Path(home).expanduser() / "config.toml", False
    return platformdirs.user_config_path("torte") / "config.toml", False


def _read_settings(file: Path, required: bool) -> dict[str, str]:
    if not file.is_file():
        if required:
            raise FileNotFoundError(f"{CONFIG_VARIABLE} names {str(file)!r}, which is no file")
        return {}
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(file)!r} is not valid TOML: {error}") from error
    known = {"home", "mirror", *_FOLDERS}
    for key, value in settings.items():
        if key not in known:
            raise ValueError(f"{str(file)!r}: unknown setting {key!r}; known are {sorted(known)}")
        if not isinstance(value, str):
            raise TypeError(f"{str(file)!r}: {key!r} must be a string, not {value!r}")
    return settings


def torte_cfg() -> Config:
    """The settings in force now.

    Raises:
        FileNotFoundError: `TORTE_CONFIG` names a file that does not exist.
        ValueError: The file is no TOML or holds a setting that torte does not know.
    """
    import platformdirs

    file, required = _config_file()
    settings = _read_settings(file, required)
    home = os.environ.get(HOME_VARIABLE) or settings.get("home")
    base = Path(home).expanduser() if home else platformdirs.user_data_path("torte")
    if not base.is_absolute():
        base = Path.cwd() / base
    folders = {k: base / Path(settings.get(k, name)).expanduser() for k, name in _FOLDERS.items()}
    return Config(
        home=base,
        mirror=os.environ.get(MIRROR_VARIABLE) or settings.get("mirror"),
        file=file if settings else None,
        **folders,
    )


def torte_path(folder: str) -> Path:
    """One of the configured folders (`data`, `archive`, `model`, `storage`); made if missing.

    Raises:
        ValueError: `folder` is none of these.
    """
    if folder not in _FOLDERS:
        raise ValueError(f"unknown folder {folder!r}; torte keeps {sorted(_FOLDERS)}")
    path: Path = getattr(torte_cfg(), folder)
    path.mkdir(parents=True, exist_ok=True)
    return path
