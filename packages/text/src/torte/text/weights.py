"""A language model's weights for another model: matched word by word, and checked before use."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["check_weights", "match_embeds", "untied"]

# Weights with a row for each word: embeddings, and the layer that scores words.
_BY_WORD = re.compile(r"(?:.*\.)?(?:encoder|encoder_dp\.emb|decoder)\.(?:weight|bias)")


def match_embeds(
    weights: Mapping[str, Tensor], old_vocab: Sequence[str], new_vocab: Sequence[str]
) -> dict[str, Tensor]:
    """Return a language model's weights for another vocabulary.

    Words that both know keep their rows of the embedding and of the decoder (`encoder.weight`,
    `encoder_dp.emb.weight`, `decoder.weight`, `decoder.bias`, wherever in the model they are); new
    ones get the mean of all old rows.

    Args:
        weights: State of a language model or of an encoder.
        old_vocab: Its words.
        new_vocab: The words that it shall have.

    Raises:
        ValueError: One of these weights has not a row for each old word.
    """
    matched = dict(weights)
    places = {word: place for place, word in enumerate(old_vocab)}
    rows = torch.tensor([places.get(word, -1) for word in new_vocab], dtype=torch.int64)
    for name, old in weights.items():
        if _BY_WORD.fullmatch(name):
            if len(old) != len(old_vocab):
                raise ValueError(
                    f"{name} has {len(old)} rows, but the vocabulary has {len(old_vocab)} words: "
                    "these weights and these words do not belong together"
                )
            new = old[rows.clamp(min=0)].clone()
            new[rows < 0] = old.mean(dim=0)
            matched[name] = new
    return matched


def untied(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's state with each tensor once."""
    seen: set[int] = set()
    state: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        if value.data_ptr() not in seen or not value.numel():
            seen.add(value.data_ptr())
            state[name] = value
    return state


def check_weights(weights: Mapping[str, Tensor], module: nn.Module, source: Any) -> None:
    """See that weights fit a module, before any of them is loaded; tied ones may come once.

    Args:
        weights: By their names in the module.
        module: What they are for.
        source: Where they come from, for the message.

    Raises:
        RuntimeError: Some are missing, too many, or of another shape; the message names them.
    """
    own = module.state_dict()
    present = {own[name].data_ptr() for name in weights if name in own}
    lacking = sorted(n for n, v in untied(module).items() if v.data_ptr() not in present)
    besides = sorted(set(weights) - set(own))
    if lacking or besides:
        raise RuntimeError(
            f"{source} has other weights than the model: it lacks {lacking}, and has {besides} "
            "besides"
        )
    shapes = [
        f"{name} is {tuple(value.shape)}, not {tuple(own[name].shape)}"
        for name, value in weights.items()
        if value.shape != own[name].shape
    ]
    if shapes:
        raise RuntimeError(
            f"{source} was trained with other sizes: {'; '.join(shapes)}. Give the same config"
        )
