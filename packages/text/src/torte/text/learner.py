"""Learners of text: language models that generate, classifiers on their encoders."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torte.data.categories import get_c
from torte.dispatch import delegates, serializable
from torte.learner import CrossEntropyLossFlat, Learner, rnn_cbs
from torte.learner.callback_set import as_callbacks
from torte.text.models.building import architecture, get_language_model, get_text_classifier
from torte.text.pretrained import (
    LanguageWeights,
    exported_weights,
    published_weights,
    read_weights,
    read_words,
)
from torte.text.rules import PAD, UNK

__all__ = [
    "LMLearner",
    "TextLearner",
    "language_model_learner",
    "match_embeds",
    "text_classifier_learner",
]


def match_embeds(
    weights: Mapping[str, Tensor], old_vocab: Sequence[str], new_vocab: Sequence[str]
) -> dict[str, Tensor]:
    """Return a language model's weights for another vocabulary.

    Words that both know keep their vectors; new ones get the mean of all old vectors.

    Args:
        weights: State of a language model.
        old_vocab: Its words.
        new_vocab: The words that it shall have.
    """
    matched = dict(weights)
    places = {word: place for place, word in enumerate(old_vocab)}
    rows = torch.tensor([places.get(word, -1) for word in new_vocab])
    for name in weights:
        if weights[name].shape[:1] == (len(old_vocab),):
            old = weights[name]
            new = old[rows.clamp(min=0)].clone()
            new[rows < 0] = old.mean(dim=0)
            matched[name] = new
    return matched


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

    def _vocab(self) -> list[str]:
        return _words(self.dls)

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
        state = {name: value.contiguous() for name, value in _untied(self._encoder()).items()}
        beside = path.with_name(f".{path.name}")
        save_file(state, beside, metadata={"words": json.dumps(self._vocab())})
        beside.replace(path)
        return path

    def load_encoder(self, file: str | Path) -> "TextLearner":
        """Read an encoder's weights, and freeze all but the head.

        Words that the encoder does not know get the mean of those it knows.

        Args:
            file: What `save_encoder` was given.

        Raises:
            FileNotFoundError: There is no such file.
        """
        from safetensors import safe_open

        path = self._encoder_path(file)
        if not path.is_file():
            raise FileNotFoundError(f"there is no encoder at {path}: write one with save_encoder")
        with safe_open(path, framework="pt") as opened:
            words = json.loads((opened.metadata() or {})["words"])
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        matched = match_embeds(weights, words, self._vocab())
        encoder: Any = self._encoder()
        encoder.load_state_dict(matched, strict=False)
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
        weights = match_embeds(known.weights, known.words, self._vocab())
        if "encoder.weight" in model.state_dict():
            weights = {n.removeprefix("0."): v for n, v in weights.items() if n.startswith("0.")}
        try:
            missing = model.load_state_dict(weights, strict=False)
        except RuntimeError as error:
            error.add_note(f"{known.source} was trained with other sizes: give the same config")
            raise
        tied = {"0.encoder_dp.emb.weight", "encoder_dp.emb.weight", "1.decoder.weight"}
        lacking = set(missing.missing_keys) - tied
        if lacking or set(missing.unexpected_keys) - tied:
            raise RuntimeError(
                f"{known.source} has other weights than the model: it lacks {sorted(lacking)}, "
                f"and has {sorted(missing.unexpected_keys)} besides"
            )
        self.freeze()
        return self

    def _encoder_path(self, file: str | Path) -> Path:
        return (self.path / self.model_dir / file).with_suffix(".safetensors")


def _untied(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's state with each tensor once."""
    seen: set[int] = set()
    state: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        if value.data_ptr() not in seen or not value.numel():
            seen.add(value.data_ptr())
            state[name] = value
    return state


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
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> str:
        """Return a text with words that the model goes on with.

        Args:
            text: The beginning.
            n_words: How many words to add.
            no_unk: Whether `xxunk` is never chosen.
            temperature: Below 1 the likely words become likelier still; above 1 less so.
            min_p: Words less likely than this are never chosen.
            top_k: Only so many of the likeliest words are chosen from.
            top_p: Only the likeliest words whose probabilities add up to this.
            seed: Of the choice; by default drawn from torch's generator.
            **kwargs: Not used.
        """
        vocab, tokenize = self._vocab(), self.dls.train.dataset.tls[0].tfms
        model: Any = self.model
        was_training, device = model.training, next(model.parameters()).device
        generator = torch.Generator()
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        numbers = tokenize(text)[None].to(device).as_subclass(Tensor)
        banned = [vocab.index(word) for word in ([PAD, UNK] if no_unk else [PAD]) if word in vocab]
        added: list[str] = []
        model.eval()
        model.reset()
        try:
            for _ in range(n_words):
                scores = model(numbers)[0][0, -1].float().cpu()
                scores[banned] = -math.inf
                chosen = _chosen(scores / temperature, min_p, top_k, top_p, generator)
                added.append(vocab[chosen])
                numbers = torch.tensor([[chosen]], device=device)
        finally:
            model.reset()
            model.train(was_training)
        return " ".join([text, *added])


def _chosen(
    scores: Tensor,
    min_p: float | None,
    top_k: int | None,
    top_p: float | None,
    generator: torch.Generator,
) -> int:
    """Draw a word by its probability, of those that are not left out."""
    chances = scores.softmax(dim=0)
    if top_k is not None:
        kept = chances.topk(min(top_k, len(chances))).indices
        chances = torch.zeros_like(chances).index_copy(0, kept, chances[kept])
    if top_p is not None:
        ordered, order = chances.sort(descending=True)
        # A word stays while those before it have not reached the sum yet, so one always does.
        outside = order[ordered.cumsum(0) - ordered >= top_p]
        chances[outside] = 0.0
    if min_p is not None and bool((chances >= min_p).any()):
        chances[chances < min_p] = 0.0
    return int(torch.multinomial(chances, 1, generator=generator))


def _found_weights(
    pretrained: bool | str | Path, arch: str, backwards: bool
) -> LanguageWeights | None:
    """Return what a model shall begin with, if anything."""
    if pretrained is True:
        return published_weights(arch, backwards)
    return None if pretrained is False else exported_weights(pretrained)


def _words(dls: Any) -> list[str]:
    """Return the words of the texts; a classifier's vocabularies are words and classes."""
    vocab = dls.vocab
    is_pair = len(vocab) == 2 and not isinstance(vocab[0], str)
    return list(vocab[0] if is_pair else vocab)


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
    model = get_language_model(name, len(_words(dls)), dict(config or {}), drop_mult)
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
    words = _words(dls)
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
