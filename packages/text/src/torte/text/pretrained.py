"""Weights of language models from files, those of the WikiText-103 model for ULMFiT among them."""

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

__all__ = ["read_weights", "read_words"]

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
