"""Learners of text: language models that generate, classifiers on their encoders."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torte.data.categories import get_c
from torte.dispatch import delegates, serializable
from torte.learner import CrossEntropyLossFlat, Learner, rnn_cbs
from torte.learner.callback_set import as_callbacks
from torte.text.generation import Choice, decode_spec_tokens, generate, joined_pieces
from torte.text.models.building import architecture, get_language_model, get_text_classifier
from torte.text.pretrained import (
    LanguageWeights,
    exported_weights,
    published_weights,
    read_weights,
    read_words,
)
from torte.text.rules import PAD
from torte.text.vocabulary import words_of
from torte.text.weights import check_weights, match_embeds, untied

__all__ = ["LMLearner", "TextLearner", "language_model_learner", "text_classifier_learner"]


@serializable("torte.text.TextLearner")
class TextLearner(Learner):
    """A learner of texts whose encoder can be kept and given to another one.

    Args:
        dls: Loaders of texts.
        model: A model of an encoder and a head that returns its scores and the encoder's outputs.
        alpha: Weight of the penalty on activations.
        beta: Weight of the penalty on their changes from step to step.
        moms: Momentum at the beginning, in the middle and at the end of a cycle, which recurrent
            models want lower.
        cbs: Callbacks besides those of a recurrent model.
        **kwargs: For `Learner`.
    """

    def __init__(
        self,
        dls: Any,
        model: nn.Module,
        alpha: float = 2.0,
        beta: float = 1.0,
        moms: tuple[float, float, float] = (0.8, 0.7, 0.8),
        cbs: Any = None,
        **kwargs: Any,
    ) -> None:
        callbacks = [*rnn_cbs(alpha, beta), *as_callbacks(cbs)]
        super().__init__(dls, model, moms=moms, cbs=callbacks, **kwargs)

    def _encoder(self) -> nn.Module:
        """Return the encoder, out of what reads whole documents with it."""
        model: Any = self.model
        encoder = model[0]
        return getattr(encoder, "module", encoder)

    def save_encoder(self, file: str | Path) -> Path:
        """Write the encoder's weights, with the words that they are for.

        Args:
            file: Name of the file in the models' folder, without its ending.

        Returns:
            The path.
        """
        from safetensors.torch import save_file

        path = self._encoder_path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Tied and repeated tensors are written once: safetensors refuses to write them twice.
        state = {name: value.contiguous() for name, value in untied(self._encoder()).items()}
        beside = path.with_name(f".{path.name}")
        save_file(state, beside, metadata={"words": json.dumps(words_of(self.dls))})
        beside.replace(path)
        return path

    def load_encoder(self, file: str | Path) -> "TextLearner":
        """Read an encoder's weights, and freeze all but the head.

        Words that the encoder does not know get the mean of those it knows.

        Args:
            file: What `save_encoder` was given.

        Raises:
            FileNotFoundError: There is no such file.
            RuntimeError: It holds another encoder's weights; the learner is as it was.
        """
        from safetensors import safe_open

        path = self._encoder_path(file)
        if not path.is_file():
            raise FileNotFoundError(f"there is no encoder at {path}: write one with save_encoder")
        with safe_open(path, framework="pt") as opened:
            words = json.loads((opened.metadata() or {})["words"])
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        matched = match_embeds(weights, words, words_of(self.dls))
        encoder: Any = self._encoder()
        check_weights(matched, encoder, path)
        encoder.load_state_dict(matched, strict=False)  # tied weights come under one name only
        encoder.reset()
        self.freeze()
        return self

    def load_pretrained(
        self, wgts_fname: str | Path, vocab_fname: str | Path, model: nn.Module | None = None
    ) -> "TextLearner":
        """Read a language model's weights for another vocabulary, and freeze all but the head.

        Args:
            wgts_fname: Its weights, a safetensors or PyTorch file.
            vocab_fname: Its words, a list in a JSON file or in a pickle.
            model: What gets the weights; by default the learner's model.

        Raises:
            FileNotFoundError: One of the files is missing.
            RuntimeError: The weights are another architecture's.
        """
        known = LanguageWeights(
            read_weights(wgts_fname), read_words(vocab_fname), None, str(wgts_fname)
        )
        return self.take_weights(known, self.model if model is None else model)

    def take_weights(self, known: LanguageWeights, model: nn.Module) -> "TextLearner":
        """Give a model what a language model has learned, and freeze all but the head.

        Args:
            known: Weights and words.
            model: The learner's model, or an encoder, which takes the encoder's weights alone.

        Raises:
            RuntimeError: The weights are another architecture's, or of other sizes.
        """
        weights = match_embeds(known.weights, known.words, words_of(self.dls))
        if "encoder.weight" in model.state_dict():
            weights = {n.removeprefix("0."): v for n, v in weights.items() if n.startswith("0.")}
        check_weights(weights, model, known.source)
        model.load_state_dict(weights, strict=False)
        self.freeze()
        return self

    def _encoder_path(self, file: str | Path) -> Path:
        return (self.path / self.model_dir / file).with_suffix(".safetensors")


@serializable("torte.text.LMLearner")
class LMLearner(TextLearner):
    """A learner of a language model, which generates text."""

    @torch.no_grad()
    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        text: str,
        n_words: int = 1,
        no_unk: bool = True,
        temperature: float = 1.0,
        min_p: float | None = None,
        no_bar: bool = False,
        decoder: Callable[[Sequence[str]], Sequence[str]] = decode_spec_tokens,
        only_last_word: bool = False,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> str:
        """Return a text with words that the model goes on with.

        Special tokens other than `xxmaj` and `xxup`, which say how the next word is written, are
        never chosen: they stand for nothing that could be read.

        Args:
            text: The beginning.
            n_words: How many tokens to add, besides those two.
            no_unk: Whether `xxunk` is never chosen either.
            temperature: Below 1 the likely words become likelier still, above 1 less so; 0 for the
                likeliest word each time.
            min_p: Words less likely than this are never chosen.
            no_bar: Accepted for compatibility: there is no bar.
            decoder: Turns the tokens that were added into words.
            only_last_word: Whether to go on from the last token of the text alone.
            top_k: Only so many of the likeliest words are chosen from.
            top_p: Only the likeliest words whose probabilities add up to this.
            seed: Of the choice; by default another one each time.

        Raises:
            ValueError: The temperature is negative, or the text has no token to go on from.
        """
        model: Any = self.model
        numbers = self.dls.train.dataset.tls[0].tfms(text).as_subclass(Tensor)
        choose = Choice(temperature, min_p, top_k, top_p, seed)
        was_training = model.training
        model.eval()
        model.reset()
        try:
            added = generate(
                model,
                numbers[-1:] if only_last_word else numbers,
                words_of(self.dls),
                choose,
                n_words,
                no_unk,
            )
        finally:
            model.reset()
            model.train(was_training)
        return " ".join([text, *decoder(joined_pieces(added))])


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
        learn.take_weights(known, learn._encoder())
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
