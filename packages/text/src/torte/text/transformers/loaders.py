"""`TransformersBlock` and `TransformersDataLoaders`: texts for Hugging Face's models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torte.data import ColReader, ColSplitter, DataBlock, DataLoaders, RandomSplitter
from torte.data.blocks import TransformBlock
from torte.text.loaders import label_block
from torte.text.reading import TextReader
from torte.text.transformers.batching import PadTokens, Task, TokenCategorize, TransformersDL
from torte.text.transformers.tokenizing import TransformersTokenizer, WordsReader

__all__ = ["TokenCategoryBlock", "TransformersBlock", "TransformersDataLoaders"]


class TransformersBlock(TransformBlock):
    """Texts, as input of a model of Hugging Face.

    Args:
        tokenizer: The model's tokenizer, or its name or folder.
        task: `"sequence"` (a target a text), `"token"` (a class a word; items are lists of words)
            or `"causal"` (a language model).
        max_length: Longer texts are cut; see `TransformersTokenizer`.
        reader: From items to texts, where they are not texts themselves.
    """

    def __init__(
        self,
        tokenizer: Any,
        task: Task | str = Task.SEQUENCE,
        max_length: int | None = None,
        reader: Any = None,
    ) -> None:
        numbers = TransformersTokenizer(tokenizer, max_length)
        pad_first = numbers.tokenizer.padding_side == "left"
        pad = PadTokens(numbers.pad_idx, task, pad_first=pad_first)
        super().__init__(
            [step for step in (reader, numbers) if step is not None],
            dl_type=TransformersDL,
            dls_kwargs={"before_batch": pad, "n_inp": 1},
        )


def TokenCategoryBlock(  # noqa: N802 - a block by name
    vocab: Sequence[str] | None = None,
) -> TransformBlock:
    """For targets that are lists of labels, one a word; see `TokenCategorize`.

    Args:
        vocab: The labels, if they are known; otherwise those of the training split are used.
    """
    return TransformBlock(type_tfms=TokenCategorize(vocab=vocab))


class TransformersDataLoaders(DataLoaders):
    """Loaders of texts for a model of Hugging Face, with its own tokenizer."""

    @classmethod
    def from_df(
        cls,
        df: Any,
        tokenizer: Any,
        task: Task | str = Task.SEQUENCE,
        path: str | Path = ".",
        valid_pct: float = 0.2,
        seed: int | None = None,
        text_col: int | str = 0,
        label_col: int | str | Sequence[int | str] = 1,
        label_delim: str | None = None,
        y_block: Any = None,
        valid_col: int | str | None = None,
        max_length: int | None = None,
        **kwargs: Any,
    ) -> DataLoaders:
        """Make loaders from a pandas frame.

        Batches are `({"input_ids": …, "attention_mask": …}, targets)`: int64 of (batch, steps), and
        targets of (batch,), or for the tasks `"token"` and `"causal"` of (batch, steps), where -100
        is ignored.

        Args:
            df: The frame.
            tokenizer: The model's tokenizer, or its name or folder.
            task: See `TransformersBlock`. For `"token"` both columns hold lists, of words and of
                labels; for `"causal"` no labels are needed.
            path: Where models and results are kept.
            valid_pct: Share of the rows to validate on, chosen at random.
            seed: For the choice.
            text_col: The column of texts, by name or position.
            label_col: The column of labels; several make several targets.
            label_delim: What separates labels in one column.
            y_block: What the labels are; by default one class, or several with `label_delim`.
            valid_col: A column that is true where a row is for validation.
            max_length: Longer texts are cut; see `TransformersTokenizer`.
            **kwargs: For `DataBlock.dataloaders`.
        """
        task = Task(task)
        column = df.columns[text_col] if isinstance(text_col, int) else text_col
        reader = WordsReader(column) if task == Task.TOKEN else TextReader(column)
        blocks: list[Any] = [TransformersBlock(tokenizer, task, max_length, reader)]
        if task == Task.TOKEN:
            blocks.append(y_block or TokenCategoryBlock())
        elif task == Task.SEQUENCE:
            blocks.append(label_block(label_col, label_delim, y_block))
        block = DataBlock(
            blocks=blocks,
            get_y=None if task == Task.CAUSAL else ColReader(label_col, label_delim=label_delim),
            splitter=RandomSplitter(valid_pct, seed=seed)
            if valid_col is None
            else ColSplitter(valid_col),
        )
        return cls.from_dblock(block, df, path=path, **kwargs)
