"""Learners of text: what they keep and read of an encoder, and how a language model generates."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from torte.dispatch import serializable
from torte.learner import Learner, rnn_cbs
from torte.learner.callback_set import as_callbacks
from torte.learner.files import written
from torte.text.generation import Choice, decode_spec_tokens, generate, joined_pieces
from torte.text.pretrained import LanguageWeights, read_weights, read_words
from torte.text.vocabulary import words_of
from torte.text.weights import check_weights, match_embeds, untied

__all__ = ["LMLearner", "TextLearner"]


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

    @property
    def encoder(self) -> nn.Module:
        """The encoder, out of what reads whole documents with it."""
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
        state = {name: value.contiguous() for name, value in untied(self.encoder).items()}
        with written(path) as beside:
            save_file(state, beside, metadata={"words": json.dumps(words_of(self.dls))})
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
        encoder: Any = self.encoder
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
            TypeError: The text is no string.
            ValueError: The temperature is negative, `top_k` or `top_p` leave no word, or the text
                has no token to go on from.
        """
        if not isinstance(text, str):
            raise TypeError(f"a language model goes on with a text, not with {text!r:.80}")
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
