"""The target columns of a table, and how they become numbers and come back."""

from collections.abc import Mapping, Sequence
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import torch
from torch import Tensor

from torte.data.blocks import CategoryBlock, MultiCategoryBlock, RegressionBlock, TransformBlock
from torte.data.categories import Categorize, EncodedMultiCategorize
from torte.data.tensors import TensorCategory, TensorMultiCategory, TensorRegression
from torte.dispatch import serializable
from torte.tabular.frames import Frame, categories, column, numbers, with_columns

__all__ = ["Target"]


@serializable("torte.tabular.Target")
class Target:
    """The target columns: one or several categories, one-hot columns, or numbers.

    Args:
        names: The columns.
        block: `CategoryBlock`, `RegressionBlock` or `MultiCategoryBlock(encoded=True)`; by default
            numbers where every column is numeric, any number of labels at once where several
            columns are all true or false, categories otherwise.
    """

    def __init__(self, names: Sequence[str], block: TransformBlock | None = None) -> None:
        self.names = list(names)
        self.block = block
        self.encoders: list[Categorize] = []
        self.encoded: EncodedMultiCategorize | None = None

    def fit(self, frame: Frame, labels: Mapping[str, Sequence[Any]] | None = None) -> None:
        """Learn the vocabularies from the training rows.

        Args:
            frame: The training rows, or some of them.
            labels: The labels of each target, if `frame` may lack some.
        """
        columns = [column(frame, name) for name in self.names]
        if self.block is None:
            self.block = self._block_for(columns)
        tfms = list(self.block.type_tfms)
        self.encoded = next((t for t in tfms if isinstance(t, EncodedMultiCategorize)), None)
        given = next((t for t in tfms if isinstance(t, Categorize)), None)
        self.encoders = []
        if given is None or self.encoded is not None:
            return
        for place, series in enumerate(columns):
            encoder = given if place == 0 else Categorize(sort=given.sort, add_na=given.add_na)
            encoder.setup(categories(series)[1] if labels is None else labels[series.name])
            self.encoders.append(encoder)

    def _block_for(self, columns: Sequence[nw.Series[Any]]) -> TransformBlock:
        """Return what the types of the columns say that they are."""
        if all(series.dtype.is_numeric() for series in columns):
            return RegressionBlock()
        if len(columns) > 1 and all(series.dtype == nw.Boolean for series in columns):
            return MultiCategoryBlock(encoded=True, vocab=self.names)
        return CategoryBlock()

    def config(self) -> dict[str, Any]:
        """The names of the columns."""
        return {"names": self.names}

    def state(self) -> dict[str, Any]:
        """The encoders with their vocabularies."""
        return {"encoders": self.encoders, "encoded": self.encoded}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take encoders as `state` gave them."""
        self.encoders, self.encoded = list(state["encoders"]), state["encoded"]

    @property
    def vocab(self) -> Any:
        """The labels of the target, a list of them for each of several, None for numbers."""
        if self.encoded is not None:
            return self.encoded.vocab
        vocabularies = [encoder.vocab for encoder in self.encoders]
        return vocabularies[0] if len(vocabularies) == 1 else vocabularies or None

    @property
    def c(self) -> int:
        """How many outputs a model needs for one target: its labels, or its numbers."""
        return len(self.encoders[0].vocab or ()) if self.encoders else len(self.names)

    def encode(self, frame: Frame) -> Frame:
        """Return the frame with numbers in the target columns.

        Raises:
            ValueError: A label is missing, or neither true nor false where several may hold.
            UnknownLabelError: A label is not in the vocabulary.
        """
        encoded: dict[str, np.ndarray] = {}
        for place, name in enumerate(self.names):
            if not self.encoders:
                encoded[name] = self._numbers(frame, name)
                continue
            codes, values = categories(column(frame, name))
            if (codes < 0).any() and not self.encoders[place].add_na:
                row = int(np.flatnonzero(codes < 0)[0])
                raise ValueError(f"target {name!r} has no value in row {row}: drop such rows")
            table = [int(self.encoders[place](value)) for value in values]
            encoded[name] = np.array([*table, 0], dtype=np.int64)[codes]
        return with_columns(frame, encoded)

    def _numbers(self, frame: Frame, name: str) -> np.ndarray:
        """Return a column of numbers, or of labels that hold (1) or do not (0), as float32."""
        values = numbers(column(frame, name)).astype(np.float32)
        if self.encoded is not None and (wrong := np.flatnonzero(~np.isin(values, (0, 1)))).size:
            row = int(wrong[0])
            raise ValueError(
                f"target {name!r} holds {values[row]} in row {row}: a label is true or false"
            )
        if missing := int(np.isnan(values).sum()):
            raise ValueError(
                f"target {name!r} has no value in {missing} of {len(values)} rows: drop them, as "
                f"df.dropna(subset=[{name!r}]) does"
            )
        return values

    def decode(self, frame: Frame) -> Frame:
        """Return the frame with labels in the target columns."""
        decoded: dict[str, Any] = {}
        if self.encoded is not None:
            decoded = {name: numbers(frame[name]) > 0.5 for name in self.names}
        for name, encoder in zip(self.names, self.encoders, strict=False):
            vocab = encoder.vocab or ()
            decoded[name] = [vocab[int(code)] for code in frame[name].to_list()]
        return with_columns(frame, decoded)

    def tensor(self, frame: Frame) -> Tensor:
        """Return the encoded columns as a tensor: (rows,) for one target, else (rows, targets)."""
        dtype = np.int64 if self.encoders else np.float32
        table = np.empty((len(frame), len(self.names)), dtype=dtype)
        for place, name in enumerate(self.names):
            table[:, place] = frame[name].to_numpy()
        values = torch.from_numpy(table)
        # One class is a vector; one number keeps its column, as a model's output has it.
        return values[:, 0] if self.encoders and len(self.names) == 1 else values

    @property
    def type(self) -> type[Tensor]:
        """The semantic type of `tensor`."""
        if self.encoded is not None:
            return TensorMultiCategory
        return TensorCategory if self.encoders else TensorRegression
