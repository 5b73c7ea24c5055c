"""What a model learned of categories, for use in other models.

Guo and Berkhahn, "Entity Embeddings of Categorical Variables", 2016
(https://arxiv.org/abs/1604.06737), section IV: other methods gain from the embeddings of a network.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from torte.learner import Learner
from torte.learner.persistence import unwrapped
from torte.tabular.frames import as_frame, with_columns
from torte.tabular.inputs import CategoryEncoder
from torte.tabular.model import TabularModel

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["category_embeddings", "embed_categories", "embedded_names"]


def category_embeddings(learn: Learner) -> "dict[str, pd.DataFrame]":
    """Return the embedding of every value of each categorical column.

    Args:
        learn: A learner whose model is a `TabularModel`, `RealMLP` or `TabM`. The last two take
            columns of few values one-hot; such columns come as the model takes them.

    Returns:
        For each column, in the order of the codes, a frame whose index is the values, `#na#` for a
        missing one first and `#unknown#` for any other last, and whose columns are the dimensions,
        `<column>_0` and so on, in float32.

    Raises:
        TypeError: The model has no embedding for each column.
    """
    import pandas as pd

    classes = learn.dls.train.dataset.classes
    return {
        name: pd.DataFrame(
            vectors.numpy(),
            index=pd.Index(list(classes[name]), name=name, dtype=object),
            columns=_names(name, vectors),
        )
        for name, vectors in _vectors(learn).items()
    }


def embed_categories(learn: Learner, df: Any) -> Any:
    """Return rows with the embeddings of their categories in the categories' place.

    Values are looked up as for a prediction: by value, unknown and missing ones too. All other
    columns stay as they are.

    Args:
        learn: As for `category_embeddings`.
        df: A frame with the columns that the learner was trained on, targets or not.

    Returns:
        A frame of the same library; where `workclass` was are `workclass_0`, `workclass_1`, …

    Raises:
        KeyError: A column of training is not there.
        TypeError: The model has no embedding for each column.
    """
    codes, frame = learn.dls.test_dl(df).dataset.frame, as_frame(df)
    added = {}
    for name, vectors in _vectors(learn).items():
        if name in frame.columns:
            found = vectors.numpy()[codes[name].to_numpy()]
            added |= dict(zip(_names(name, vectors), found.T, strict=True))
    return with_columns(frame, added).select(embedded_names(learn, frame.columns)).to_native()


def embedded_names(learn: Learner, columns: Sequence[str]) -> list[str]:
    """Return the names of the columns that `embed_categories` makes of these."""
    vectors = _vectors(learn)
    names = [_names(name, vectors[name]) if name in vectors else [name] for name in columns]
    return [name for own in names for name in own]


def _names(name: str, vectors: Tensor) -> list[str]:
    """Return the names of the columns of an embedding."""
    return [f"{name}_{place}" for place in range(vectors.shape[1])]


def _vectors(learn: Learner) -> dict[str, Tensor]:
    """Return the embedding of each categorical column: (codes, dimensions)."""
    names, model = learn.dls.train.dataset.cat_names, unwrapped(learn.model)
    tables = _tables(model)
    if tables is None or len(tables) != len(names):
        raise TypeError(
            f"{type(model).__name__} has no embedding for each categorical column; TabularModel, "
            "RealMLP and TabM have"
        )
    return {name: table.detach().float().cpu() for name, table in zip(names, tables, strict=True)}


def _tables(model: nn.Module) -> list[Tensor] | None:
    """Return the embedding matrices of a model, None for a model that is not known."""
    if isinstance(model, TabularModel):
        return [table for embed in model.embeds if isinstance(table := embed.weight, Tensor)]
    encoder = getattr(model, "categories", None)
    return encoder.vectors() if isinstance(encoder, CategoryEncoder) else None
