"""Makers of learners of text: language models, and classifiers on their encoders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from torte.data.categories import get_c
from torte.dispatch import delegates
from torte.learner import CrossEntropyLossFlat, Learner
from torte.text.learner import LMLearner, TextLearner
from torte.text.models.building import architecture, get_language_model, get_text_classifier
from torte.text.pretrained import LanguageWeights, exported_weights, published_weights
from torte.text.rules import PAD
from torte.text.vocabulary import words_of

__all__ = ["language_model_learner", "text_classifier_learner"]


def _found_weights(
    pretrained: bool | str | Path, arch: str, backwards: bool
) -> LanguageWeights | None:
    """Return what a model shall begin with, if anything."""
    if pretrained is True:
        return published_weights(arch, backwards)
    return None if pretrained is False else exported_weights(pretrained)


@delegates(Learner.__init__)
def language_model_learner(
    dls: Any,
    arch: type[nn.Module] | str,
    config: Mapping[str, Any] | None = None,
    drop_mult: float = 1.0,
    alpha: float = 2.0,
    beta: float = 1.0,
    backwards: bool = False,
    pretrained: bool | str | Path = False,
    pretrained_fnames: Sequence[str | Path] | None = None,
    **kwargs: Any,
) -> LMLearner:
    """Make a learner of a language model.

    Args:
        dls: Loaders for a language model.
        arch: The encoder, by class or name: `AWD_LSTM`, `AWD_QRNN`.
        config: Entries that differ from the encoder's defaults.
        drop_mult: By which all dropouts are multiplied.
        alpha: Weight of the penalty on activations.
        beta: Weight of the penalty on their changes from step to step.
        backwards: Whether `dls` turn texts round; it matters to the choice of weights alone.
        pretrained: What to begin with: True for the weights published for ULMFiT, trained on
            WikiText-103 (forward or, with `backwards`, from the end), which are downloaded; or the
            file of a language model that `export` wrote, whose `config` is taken where none is
            given. By default weights are random, unlike fastai's.
        pretrained_fnames: Names in the models' folder (or paths) of weights and of their words
            instead; see `TextLearner.load_pretrained`. Enough by themselves.
        **kwargs: For `Learner`.

    Raises:
        OfflineError: The published weights cannot be downloaded; a note says what to do.
        RuntimeError: The weights are another architecture's, or of other sizes.
    """
    name = arch if isinstance(arch, str) else arch.__name__
    known = _found_weights(False if pretrained_fnames else pretrained, name, backwards)
    if config is None and known is not None:
        config = known.config
    model = get_language_model(name, len(words_of(dls)), dict(config or {}), drop_mult)
    kwargs.setdefault("splitter", _parameters_by(architecture(arch).lm_split))
    kwargs.setdefault("loss_func", CrossEntropyLossFlat())
    learn = LMLearner(dls, model, alpha=alpha, beta=beta, **kwargs)
    if pretrained_fnames is not None:
        weights, words = (learn.path / learn.model_dir / name for name in pretrained_fnames)
        learn.load_pretrained(weights, words)
    elif known is not None:
        learn.take_weights(known, learn.model)
    return learn


@delegates(Learner.__init__)
def text_classifier_learner(
    dls: Any,
    arch: type[nn.Module] | str,
    seq_len: int = 72,
    config: Mapping[str, Any] | None = None,
    drop_mult: float = 0.5,
    n_out: int | None = None,
    lin_ftrs: Sequence[int] | None = None,
    ps: Sequence[float] | None = None,
    max_len: int | None = 72 * 20,
    y_range: tuple[float, float] | None = None,
    alpha: float = 2.0,
    beta: float = 1.0,
    backwards: bool = False,
    pretrained: bool | str | Path = False,
    **kwargs: Any,
) -> TextLearner:
    """Make a learner of a classifier of documents.

    Args:
        dls: Loaders of texts and labels.
        arch: The encoder, by class or name: `AWD_LSTM`, `AWD_QRNN`.
        seq_len: Steps in a chunk.
        config: Entries that differ from the encoder's defaults.
        drop_mult: By which all dropouts are multiplied.
        n_out: Number of outputs; by default what the labels ask for.
        lin_ftrs: Sizes of the hidden linear layers; by default [50].
        ps: Their dropouts; by default 0.1 each.
        max_len: How many of a document's last steps are trained on; None for all.
        y_range: Range of the outputs.
        alpha: Weight of the penalty on activations.
        beta: Weight of the penalty on their changes from step to step.
        backwards: Whether `dls` turn texts round; it matters to the choice of weights alone.
        pretrained: What its encoder begins with; see `language_model_learner`. The weights of a
            language model that was tuned to the documents come by `load_encoder`.
        **kwargs: For `Learner`.

    Raises:
        OfflineError: The published weights cannot be downloaded; a note says what to do.
        RuntimeError: The weights are another architecture's, or of other sizes.
    """
    name = arch if isinstance(arch, str) else arch.__name__
    known = _found_weights(pretrained, name, backwards)
    if config is None and known is not None and known.config is not None:
        config = {k: v for k, v in known.config.items() if k not in ("tie_weights", "out_bias")}
    words = words_of(dls)
    model = get_text_classifier(
        name,
        len(words),
        get_c(dls) if n_out is None else n_out,
        seq_len=seq_len,
        config=dict(config or {}),
        drop_mult=drop_mult,
        lin_ftrs=lin_ftrs,
        ps=ps,
        pad_idx=words.index(PAD),
        max_len=max_len,
        y_range=y_range,
    )
    kwargs.setdefault("splitter", _parameters_by(architecture(arch).clas_split))
    learn = TextLearner(dls, model, alpha=alpha, beta=beta, **kwargs)
    if known is not None:
        learn.take_weights(known, learn.encoder)
    return learn


def _parameters_by(split: Any) -> Any:
    """Return a splitter into parameters out of one into modules; shared ones go to the last."""

    def groups(model: nn.Module) -> list[list[nn.Parameter]]:
        seen: set[int] = set()
        found: list[list[nn.Parameter]] = []
        for part in split(model):
            own = [p for p in part.parameters() if id(p) not in seen]
            seen.update(map(id, own))
            found.append(own)
        return found

    return groups
