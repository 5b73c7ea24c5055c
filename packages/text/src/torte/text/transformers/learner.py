"""`transformers_learner`: any model of Hugging Face in the Learner."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from torte.data.categories import get_c
from torte.dispatch import serializable
from torte.learner import CrossEntropyLossFlat, Learner
from torte.learner.state import rng_restored
from torte.text.transformers.batching import Task, TransformersDL
from torte.text.transformers.models import transformers_model, transformers_split
from torte.text.transformers.tokenizing import TransformersTokenizer

__all__ = ["TransformersLearner", "transformers_learner"]


@serializable("torte.text.TransformersLearner")
class TransformersLearner(Learner):
    """A Learner of a model of `transformers`; made by `transformers_learner`.

    Args:
        dls: Loaders, of `TransformersDataLoaders` or of anything that yields dicts.
        model: The model.
        splitter: Its parameter groups; by default embeddings, each layer, head.
        **kwargs: For `Learner`.
    """

    def __init__(
        self,
        dls: Any,
        model: nn.Module,
        splitter: Callable[[nn.Module], Any] = transformers_split,
        **kwargs: Any,
    ) -> None:
        super().__init__(dls, model, splitter=splitter, **kwargs)

    @property
    def task(self) -> Task:
        """What the loaders' batches are for."""
        loader = self._pipeline_loader()
        return loader.padding.task if isinstance(loader, TransformersDL) else Task.SEQUENCE

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the loaders' texts.

        Raises:
            AttributeError: The loaders are not those of `TransformersDataLoaders`.
        """
        return self._numbers().tokenizer

    def _numbers(self) -> TransformersTokenizer:
        dataset = getattr(self._pipeline_loader(), "dataset", None)
        for pipeline in getattr(dataset, "tls", ()):
            for step in pipeline.tfms.fs:
                if isinstance(step, TransformersTokenizer):
                    return step
        raise AttributeError("the loaders have no tokenizer: make them by TransformersDataLoaders")

    def _label_entry(self) -> dict[str, Any]:
        """The targets as the model wants them for its own loss."""
        if hasattr(self.batch, "keys"):
            return super()._label_entry()
        # A causal model shifts targets itself: these are a step ahead already, the last is ignored.
        return {"labels": self.y.roll(1, dims=1) if self.task == Task.CAUSAL else self.y}

    def get_preds(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, ds_idx: int = 1, dl: Any = None, **kwargs: Any
    ) -> tuple[Any, ...]:
        """Return predictions and targets; see `Learner.get_preds`.

        Those of tokens have the length of the longest text, where targets of padding are -100.
        """
        dl = self._loader_to_look_at(ds_idx, dl)
        if isinstance(dl, TransformersDL) and dl.padding.task != Task.SEQUENCE:
            dl = dl.of_one_length()
        return super().get_preds(ds_idx, dl, **kwargs)

    def predict(self, item: Any, *args: Any, **kwargs: Any) -> Any:
        """Return what the model makes of one item.

        Args:
            item: A text; for token classification a list of words, or a text that is split at
                white space.
            *args: See `Learner.predict`, or for a causal model `generate`.
            **kwargs: Likewise.

        Returns:
            For a classifier `(label, its number, probabilities)`; of tokens `(labels, their
            numbers, probabilities)`, one for each word that `max_length` leaves; for a causal
            language model the text going on.
        """
        if self.task == Task.CAUSAL:
            return self.generate(item, *args, **kwargs)
        if self.task == Task.TOKEN:
            return self._predict_words(item.split() if isinstance(item, str) else item)
        return super().predict(item, *args, **kwargs)

    def _predict_words(self, item: Any) -> tuple[list[Any], Tensor, Tensor]:
        dl = self._one_item_loader(item, None)
        words = dl.dataset[0][0].words
        firsts = [n for n, word in enumerate(words) if word >= 0 and word not in words[:n]]
        with self.alone():
            chances = self.get_preds(dl=dl)[0][0]
        offset = chances.shape[0] - len(words) if dl.padding.pad_first else 0
        chances = chances[[first + offset for first in firsts]]
        numbers = chances.argmax(dim=-1)
        vocab = self.dls.vocab
        return [vocab[number] for number in numbers.tolist()], numbers, chances

    def generate(
        self, text: str, max_new_tokens: int = 20, seed: int | None = None, **kwargs: Any
    ) -> str:
        """Return a text with tokens that a causal language model goes on with.

        Args:
            text: The beginning.
            max_new_tokens: How many tokens to add at most.
            seed: Of the choice, where `do_sample=True` makes one; by default torch's generator
                goes on from where it is, and is put back.
            **kwargs: For the model's own `generate`: `do_sample`, `temperature`, `top_k`, `top_p`,
                `num_beams`, …
        """
        model: Any = self.model
        tokens = self.tokenizer(text, return_tensors="pt", add_special_tokens=True)
        device = next(model.parameters()).device
        modes = {module: module.training for module in model.modules()}
        kwargs.setdefault("pad_token_id", self._numbers().pad_idx)
        kwargs.setdefault("use_cache", True)
        try:
            with rng_restored(), torch.no_grad():
                if seed is not None:
                    torch.manual_seed(seed)
                found = model.eval().generate(
                    input_ids=tokens["input_ids"].to(device),
                    attention_mask=tokens["attention_mask"].to(device),
                    max_new_tokens=max_new_tokens,
                    **kwargs,
                )
        finally:
            for module, mode in modes.items():
                module.training = mode
        return self.tokenizer.decode(found[0].tolist(), skip_special_tokens=True)


def transformers_learner(
    dls: Any,
    model: Any,
    metrics: Any = None,
    *,
    task: Task | str | None = None,
    own_loss: bool = False,
    layers_in_group: int = 1,
    **kwargs: Any,
) -> TransformersLearner:
    """Make a learner of a model of Hugging Face.

    The loss is torte's for the data (cross-entropy for classes and next tokens, where -100 is
    ignored), unless loaders yield dicts with labels of their own or `own_loss` is set; predictions
    are then scores, since only the model knows what they mean.

    Args:
        dls: Loaders, of `TransformersDataLoaders` or of anything that yields dicts.
        model: A name on the hub, a folder, a configuration or a model; see `transformers_model`.
        metrics: See `Learner`; `token_accuracy` and `TokenF1Score` know -100.
        task: What the model is for; by default what the loaders are for.
        own_loss: Whether the model computes the loss.
        layers_in_group: See `transformers_split`; for `freeze_to` and rates by group.
        **kwargs: For `Learner`.
    """
    loader = dls.loaders[-1] if hasattr(dls, "loaders") else None
    is_ours = isinstance(loader, TransformersDL)
    task = Task(task) if task else loader.padding.task if is_ours else Task.SEQUENCE
    made = transformers_model(
        model,
        task,
        n_out=None if task == Task.CAUSAL or not is_ours else get_c(dls),
        labels=_labels(dls) if is_ours else None,
        pad_idx=loader.padding.pad_idx if is_ours else None,
    )
    if task == Task.CAUSAL and is_ours:
        kwargs.setdefault("loss_func", CrossEntropyLossFlat())
    kwargs.setdefault(
        "splitter", functools.partial(transformers_split, layers_in_group=layers_in_group)
    )
    learn = TransformersLearner(dls, made, metrics=metrics, **kwargs)
    if own_loss:
        learn.loss_func = None
    return learn


def _labels(dls: Any) -> Sequence[Any] | None:
    """Return the names of the classes, if there are any."""
    vocab = getattr(dls, "vocab", None)
    if not vocab:
        return None
    return list(vocab) if isinstance(vocab[0], str | int) else list(vocab[-1])
