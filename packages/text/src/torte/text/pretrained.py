"""Weights of language models from files, those of the WikiText-103 model for ULMFiT among them."""

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from torte.data import URLs, untar_data
from torte.data.transfers import DownloadError

__all__ = ["LanguageWeights", "exported_weights", "published_weights", "read_weights", "read_words"]

_PUBLISHED = {("AWD_LSTM", False): URLs.WT103_FWD, ("AWD_LSTM", True): URLs.WT103_BWD}

_WRAPPED = re.compile(r"(\.rnns\.\d+\.)module\.")


class _ListUnpickler(pickle.Unpickler):
    """Reads lists and strings, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> NoReturn:
        """Refuse classes and functions."""
        raise ValueError(f"a vocabulary is a list of words, but the file has a {module}.{name}")


def _found(path: Path, endings: tuple[str, ...]) -> Path:
    """Return the file of this name, with the first of the endings that there is."""
    candidates = [path, *(path.with_name(path.name + ending) for ending in endings)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"there is no file {path}, with or without {' or '.join(endings)}")


def read_words(path: str | Path) -> list[str]:
    """Return a vocabulary: a list of words in a JSON file, or in a pickle of nothing else.

    Args:
        path: The file, with or without its ending `.json` or `.pkl`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds something else than a list of words.
    """
    path = _found(Path(path), (".json", ".pkl"))
    if path.suffix == ".json":
        words = json.loads(path.read_text(encoding="utf-8"))
    else:
        with path.open("rb") as opened:
            words = _ListUnpickler(opened).load()
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{path} does not hold a list of words")
    return words


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Return a language model's weights by the names that torte's models have for them.

    Models whose recurrent layers are wrapped (`rnns.0.module.…`) and keep the weights before
    dropout beside (`rnns.0.weight_hh_l0_raw`) are understood too.

    Args:
        path: A safetensors or PyTorch file, with or without its ending.

    Raises:
        FileNotFoundError: There is no such file.
    """
    path = _found(Path(path), (".safetensors", ".pth"))
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return _renamed(load_file(path))
    stored: Any = torch.load(path, map_location="cpu", weights_only=True)
    return _renamed(stored.get("model", stored))


def _renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take wrappers out of names; what dropout was applied to wins over what it left."""
    renamed = {_WRAPPED.sub(r"\1", name): value for name, value in weights.items()}
    raw = {name.removesuffix("_raw"): v for name, v in renamed.items() if name.endswith("_raw")}
    return {name: v for name, v in renamed.items() if not name.endswith("_raw")} | raw


class LanguageWeights(NamedTuple):
    """What a language model has learned.

    Attributes:
        weights: Its state.
        words: Its vocabulary.
        config: The entries of its configuration that are not the architecture's defaults, where
            they are known.
        source: Where it comes from, for messages.
    """

    weights: Mapping[str, Tensor]
    words: list[str]
    config: Mapping[str, Any] | None
    source: str


def published_weights(arch: str, backwards: bool = False) -> LanguageWeights:
    """Fetch the language model that ULMFiT's authors trained on WikiText-103.

    The archive (`URLs.WT103_FWD`, `URLs.WT103_BWD`) holds a PyTorch file and a pickle; neither is
    executed: tensors are read by `torch.load(weights_only=True)`, words by an unpickler that knows
    nothing but lists and strings.

    Args:
        arch: Name of the architecture.
        backwards: Whether to fetch the model that reads from the end.

    Raises:
        KeyError: None was published for this architecture.
        OfflineError: There is no network; a note says what to do.
        ValueError: The archive does not hold one of each file, or the pickle holds something else
            than words.
    """
    url = _PUBLISHED.get((arch, backwards))
    if url is None:
        raise KeyError(
            f"there are no published weights for {arch}: give pretrained=path with a language "
            "model that torte exported, or pretrained=False"
        )
    try:
        folder = untar_data(url, c_key="model")
    except DownloadError as error:
        error.add_note(
            "Without a network begin with a model of your own: train one with "
            "language_model_learner, learn.export it, and give pretrained=path of that file."
        )
        raise
    return LanguageWeights(
        read_weights(_only(folder, "*.pth")), read_words(_only(folder, "*.pkl")), None, url
    )


def _only(folder: Path, pattern: str) -> Path:
    """Return the one file of this kind in a folder."""
    found = sorted(folder.rglob(pattern))
    if len(found) != 1:
        names = [file.name for file in found]
        raise ValueError(f"one {pattern} was expected in {folder}, there are {names}")
    return found[0]


def exported_weights(path: str | Path) -> LanguageWeights:
    """Read the weights and words of a language model from a file that `Learner.export` wrote.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds no language model with words.
    """
    from torte.learner import load_learner, model_recipe

    learn = load_learner(path)
    recipe = model_recipe(learn.model)
    vocab = getattr(learn.dls, "vocab", None)
    if not recipe["name"].endswith(".get_language_model") or not vocab:
        raise ValueError(
            f"{path} holds a {type(learn.model).__name__} by {recipe['name']}, no language model "
            "of torte: give a file that language_model_learner(...).export wrote"
        )
    config = recipe["config"]["config"]
    return LanguageWeights(learn.model.state_dict(), list(vocab), config, str(path))
