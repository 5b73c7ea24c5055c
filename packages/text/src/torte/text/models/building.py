"""Whole models from an architecture and a configuration."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from torte.learner import model_builder
from torte.text.models.awd_lstm import (
    AWD_LSTM,
    awd_lstm_clas_config,
    awd_lstm_clas_split,
    awd_lstm_lm_config,
    awd_lstm_lm_split,
    awd_qrnn_clas_config,
    awd_qrnn_lm_config,
)
from torte.text.models.heads import (
    LinearDecoder,
    PoolingLinearClassifier,
    SentenceEncoder,
    SequentialRNN,
)

__all__ = ["Architecture", "architecture", "get_language_model", "get_text_classifier"]


class Architecture(NamedTuple):
    """What is known of an encoder.

    Attributes:
        encoder: The encoder's class.
        hidden: Name of the configuration entry with the size of its vectors.
        lm_config: Defaults of language models.
        lm_split: Parameter groups of language models.
        clas_config: Defaults of classifiers.
        clas_split: Parameter groups of classifiers.
    """

    encoder: type[nn.Module]
    hidden: str
    lm_config: Mapping[str, Any]
    lm_split: Any
    clas_config: Mapping[str, Any]
    clas_split: Any


ARCHITECTURES = {
    "AWD_LSTM": Architecture(
        AWD_LSTM,
        "emb_sz",
        awd_lstm_lm_config,
        awd_lstm_lm_split,
        awd_lstm_clas_config,
        awd_lstm_clas_split,
    ),
    "AWD_QRNN": Architecture(
        AWD_LSTM,
        "emb_sz",
        awd_qrnn_lm_config,
        awd_lstm_lm_split,
        awd_qrnn_clas_config,
        awd_lstm_clas_split,
    ),
}


def architecture(arch: type[nn.Module] | str) -> Architecture:
    """Return what is known of an encoder, given by class or name.

    Raises:
        KeyError: It is not known.
    """
    name = arch if isinstance(arch, str) else arch.__name__
    if name not in ARCHITECTURES:
        raise KeyError(f"no text architecture {name!r}: there are {sorted(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def _configured(
    defaults: Mapping[str, Any], config: Mapping[str, Any] | None, drop_mult: float
) -> dict[str, Any]:
    """Return a configuration with its dropouts multiplied.

    Raises:
        ValueError: It has entries that the architecture does not know.
    """
    strangers = sorted(set(config or {}) - set(defaults))
    if strangers:
        raise ValueError(f"unknown entries {strangers} in config: there are {sorted(defaults)}")
    settings = {**defaults, **(config or {})}
    return {
        name: value * drop_mult if name.endswith("_p") else value
        for name, value in settings.items()
    }


@model_builder
def get_language_model(
    arch: str, vocab_sz: int, config: Mapping[str, Any] | None = None, drop_mult: float = 1.0
) -> SequentialRNN:
    """Make a language model: an encoder and a decoder to words.

    Args:
        arch: Name of the encoder: `AWD_LSTM` or `AWD_QRNN`.
        vocab_sz: Number of words.
        config: Entries that differ from the encoder's defaults.
        drop_mult: By which all dropouts are multiplied.
    """
    known = architecture(arch)
    settings = _configured(known.lm_config, config, drop_mult)
    tied, output_p = settings.pop("tie_weights"), settings.pop("output_p")
    bias = settings.pop("out_bias")
    encoder: Any = known.encoder(vocab_sz, **settings)
    decoder = LinearDecoder(
        vocab_sz,
        settings[known.hidden],
        output_p,
        tie_encoder=encoder.encoder if tied else None,
        bias=bias,
    )
    return SequentialRNN(encoder, decoder)


@model_builder
def get_text_classifier(
    arch: str,
    vocab_sz: int,
    n_class: int,
    seq_len: int = 72,
    config: Mapping[str, Any] | None = None,
    drop_mult: float = 1.0,
    lin_ftrs: Sequence[int] | None = None,
    ps: Sequence[float] | None = None,
    pad_idx: int = 1,
    max_len: int | None = 72 * 20,
    y_range: tuple[float, float] | None = None,
) -> SequentialRNN:
    """Make a classifier of documents: an encoder that reads in chunks, pooling, linear layers.

    Args:
        arch: Name of the encoder: `AWD_LSTM` or `AWD_QRNN`.
        vocab_sz: Number of words.
        n_class: Number of classes.
        seq_len: Steps in a chunk.
        config: Entries that differ from the encoder's defaults.
        drop_mult: By which all dropouts are multiplied.
        lin_ftrs: Sizes of the hidden linear layers; by default [50].
        ps: Their dropouts; by default 0.1 each.
        pad_idx: Number of the padding word.
        max_len: How many of a document's last steps are trained on; None for all.
        y_range: Range of the outputs.
    """
    known = architecture(arch)
    settings = _configured(known.clas_config, config, drop_mult)
    output_p = settings.pop("output_p")
    hidden = list(lin_ftrs or [50])
    dropouts = list(ps) if ps is not None else [0.1] * len(hidden)
    sizes = [settings[known.hidden] * 3, *hidden, n_class]
    encoder = SentenceEncoder(seq_len, known.encoder(vocab_sz, **settings), pad_idx, max_len)
    head = PoolingLinearClassifier(sizes, [output_p, *dropouts], seq_len, y_range=y_range)
    return SequentialRNN(encoder, head)
