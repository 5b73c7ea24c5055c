"""Texts in tables: each cut after so many words, with an ellipsis where it goes on."""

from collections.abc import Sequence
from typing import Any

from torte.data.display import show_batch, show_results
from torte.data.titles import TitledStr
from torte.text.vocabulary import TensorText

__all__: list[str] = []


def _truncated(sample: Any, trunc_at: int | None) -> Any:
    """Return a sample whose texts have at most `trunc_at` words (all with None)."""
    if trunc_at is None or not isinstance(sample, tuple):
        return sample
    return tuple(_cut(part, trunc_at) if isinstance(part, TitledStr) else part for part in sample)


def _cut(text: TitledStr, trunc_at: int) -> TitledStr:
    short = text.truncate(trunc_at)
    return short if short == text else TitledStr(f"{short} …")


@show_batch.register
def _(
    x: TensorText,
    y: Any,
    samples: Sequence[Any],
    ctxs: Any = None,
    max_n: int = 10,
    trunc_at: int | None = 150,
    **kwargs: Any,
) -> Any:
    """Texts in a table, each cut after `trunc_at` words."""
    shown = [_truncated(sample, trunc_at) for sample in samples[:max_n]]
    return show_batch(None, None, shown, ctxs=ctxs, max_n=max_n, **kwargs)


@show_results.register
def _(
    x: TensorText,
    y: Any,
    samples: Sequence[Any],
    outs: Sequence[Any],
    ctxs: Any = None,
    max_n: int = 10,
    trunc_at: int | None = 150,
    **kwargs: Any,
) -> Any:
    """Texts in a table with what a model made of them, each cut after `trunc_at` words."""
    shown = [_truncated(sample, trunc_at) for sample in samples[:max_n]]
    results = [_truncated(out, trunc_at) for out in outs[:max_n]]
    return show_results(None, None, shown, results, ctxs=ctxs, max_n=max_n, **kwargs)
