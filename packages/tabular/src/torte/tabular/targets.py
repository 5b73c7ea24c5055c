"""The target columns of a table, and how they become numbers and come back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import torch
from torch import Tensor

from torte.data.blocks import CategoryBlock, MultiCategoryBlock, RegressionBlock, TransformBlock
from torte.data.categories import Categorize, EncodedMultiCategorize
from torte.data.tensors import TensorCategory, TensorMultiCategory, TensorRegression
from torte.dispatch import serializable
from torte.tabular.column_store import ColumnStore

__all__ = ["Target"]


@serializable("torte.tabular.Target")
class Target:
    """The target columns: one or several categories, one-hot columns, or numbers.

    Args:
        names: The columns.
        block: `CategoryBlock`, `RegressionBlock` or `MultiCategoryBlock(encoded=True)`, made or to
            be made; by default numbers where every column is numeric, any number of labels at once
            where several columns are all true or false, categories otherwise.
    """

    def __init__(
        self,
        names: Sequence[str],
        block: TransformBlock | Callable[[], TransformBlock] | None = None,
    ) -> None:
        self.names = list(names)
        self.block = block() if callable(block) else block
        self.encoders: list[Categorize] = []
        self.encoded: EncodedMultiCategorize | None = None

    def fit(self, store: ColumnStore, labels: Mapping[str, Sequence[Any]] | None = None) -> None:
        """Learn the vocabularies from the training rows.

        Args:
            store: The training rows, or some of them.
            labels: The labels of each target, if `store` may lack some.
        """
        if self.block is None:
            self.block = self._block_for([store.kind(name) for name in self.names])
        tfms = list(self.block.type_tfms)
        self.encoded = next((t for t in tfms if isinstance(t, EncodedMultiCategorize)), None)
        given = next((t for t in tfms if isinstance(t, Categorize)), None)
        self.encoders = []
        if given is None or self.encoded is not None:
            return
        for place, name in enumerate(self.names):
            encoder = given if place == 0 else Categorize(sort=given.sort, add_na=given.add_na)
            encoder.setup(store.coded(name).used() if labels is None else labels[name])
            self.encoders.append(encoder)

    def _block_for(self, kinds: Sequence[Any]) -> TransformBlock:
        """Return what the types of the columns say that they are."""
        if all(kind.is_numeric() for kind in kinds):
            return RegressionBlock()
        if len(kinds) > 1 and all(kind == nw.Boolean for kind in kinds):
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

    def encode(self, store: ColumnStore) -> ColumnStore:
        """Return the columns with numbers in those of the targets.

        Raises:
            ValueError: A label is missing, or neither true nor false where several may hold.
            UnknownLabelError: A label is not in the vocabulary.
        """
        if not self.encoders:
            return store.with_columns({name: self._numbers(store, name) for name in self.names})
        pairs = zip(self.names, self.encoders, strict=True)
        return store.with_columns({name: _codes(store, name, each) for name, each in pairs})

    def _numbers(self, store: ColumnStore, name: str) -> np.ndarray:
        """Return a column of numbers, or of labels that hold (1) or do not (0), as float32."""
        values = store.numbers(name).astype(np.float32)
        if self.encoded is not None and (wrong := np.flatnonzero(~np.isin(values, (0, 1)))).size:
            row = int(wrong[0])
            raise ValueError(
                f"target {name!r} holds {values[row]} in row {store.label(row)!r}: a label is true "
                "or false"
            )
        if (missing := np.flatnonzero(np.isnan(values))).size:
            raise ValueError(
                f"target {name!r} has no value in {len(missing)} of {len(values)} rows, first in "
                f"row {store.label(int(missing[0]))!r}: drop them, as df.dropna(subset=[{name!r}]) "
                "does"
            )
        return values

    def decode(self, store: ColumnStore) -> ColumnStore:
        """Return the columns with labels in those of the targets."""
        decoded: dict[str, Any] = {}
        if self.encoded is not None:
            decoded = {name: store.numbers(name) > 0.5 for name in self.names}
        for name, encoder in zip(self.names, self.encoders, strict=False):
            vocab = encoder.vocab or ()
            decoded[name] = [vocab[int(code)] for code in store.array(name).tolist()]
        return store.with_columns(decoded)

    def tensor(self, store: ColumnStore) -> Tensor:
        """Return the encoded columns as a tensor: (rows,) for one target, else (rows, targets)."""
        table = np.empty((len(store), len(self.names)), np.int64 if self.encoders else np.float32)
        for place, name in enumerate(self.names):
            table[:, place] = store.array(name)
        values = torch.from_numpy(table)
        # One class is a vector; one number keeps its column, as a model's output has it.
        return values[:, 0] if self.encoders and len(self.names) == 1 else values

    @property
    def type(self) -> type[Tensor]:
        """The semantic type of `tensor`."""
        if self.encoded is not None:
            return TensorMultiCategory
        return TensorCategory if self.encoders else TensorRegression


def _codes(store: ColumnStore, name: str, encoder: Categorize) -> np.ndarray:
    """Return the numbers of a column of labels, int64."""
    found = store.coded(name)
    if not encoder.add_na and (missing := np.flatnonzero(found.codes < 0)).size:
        row = store.label(int(missing[0]))
        raise ValueError(f"target {name!r} has no value in row {row!r}: drop such rows")
    # Values that no row here has need not be known.
    used = set(found.used())
    table = [int(encoder(value)) if value in used else 0 for value in found.values]
    return found.mapped(np.array([*table, 0], dtype=np.int64))
