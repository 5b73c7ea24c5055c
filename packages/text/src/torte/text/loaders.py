"""`TextDataLoaders`: loaders of texts in one call."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torte.data import (
    CategoryBlock,
    ColReader,
    ColSplitter,
    DataBlock,
    DataLoaders,
    GrandparentSplitter,
    MultiCategoryBlock,
    RandomSplitter,
    RegressionBlock,
    get_text_files,
    parent_label,
)
from torte.text.blocks import TextBlock
from torte.text.reading import TextReader
from torte.text.tokenizer import Tokenizer

__all__ = ["TextDataLoaders"]


class TextDataLoaders(DataLoaders):
    """Loaders of texts for a classifier or a language model."""

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        train: str = "train",
        valid: str = "valid",
        valid_pct: float | None = None,
        seed: int | None = None,
        vocab: Sequence[str] | None = None,
        text_vocab: Sequence[str] | None = None,
        is_lm: bool = False,
        seq_len: int = 72,
        tok_kwargs: dict[str, Any] | None = None,
        tok_tfm: Any = None,
        backwards: bool = False,
        splitter: Any = None,
        **kwargs: Any,
    ) -> DataLoaders:
        """Make loaders from text files in a folder for each class.

        Args:
            path: The folder.
            train: Name of the folder of the training files in it.
            valid: Name of the folder of the validation files in it.
            valid_pct: Share of the files to validate on, chosen at random instead.
            seed: For the choice.
            vocab: The classes.
            text_vocab: The tokens in the order of their numbers.
            is_lm: Whether to make batches for a language model.
            seq_len: Steps that a model reads at once.
            tok_kwargs: For `Tokenizer`.
            tok_tfm: The tokenizer, where it is made already; see `TextBlock`.
            backwards: Whether texts are read from the end.
            splitter: From files to those to train and to validate on; by default by folder.
            **kwargs: For `DataBlock.dataloaders`.
        """
        splitter = splitter or (
            GrandparentSplitter(train_name=train, valid_name=valid)
            if valid_pct is None
            else RandomSplitter(valid_pct, seed=seed)
        )
        if not Path(path).is_dir():
            raise FileNotFoundError(f"there is no folder {str(path)!r} with texts")
        tokenizer = tok_tfm or Tokenizer(**(tok_kwargs or {}))
        text = TextBlock(
            tokenizer, text_vocab, is_lm, seq_len, reader=TextReader(), backwards=backwards
        )
        blocks = [text] if is_lm else [text, CategoryBlock(vocab=vocab)]
        folders = [train, valid] if valid_pct is None else None
        block = DataBlock(
            blocks=blocks,
            get_items=lambda source: get_text_files(source, folders=folders),
            splitter=splitter,
            get_y=None if is_lm else parent_label,
        )
        return cls.from_dblock(block, path, path=path, **kwargs)

    @classmethod
    def from_df(
        cls,
        df: Any,
        path: str | Path = ".",
        valid_pct: float = 0.2,
        seed: int | None = None,
        text_col: int | str | Sequence[int | str] = 0,
        label_col: int | str | Sequence[int | str] = 1,
        label_delim: str | None = None,
        y_block: Any = None,
        text_vocab: Sequence[str] | None = None,
        is_lm: bool = False,
        valid_col: int | str | None = None,
        seq_len: int = 72,
        tok_kwargs: dict[str, Any] | None = None,
        tok_tfm: Any = None,
        backwards: bool = False,
        tok_text_col: str = "text",
        **kwargs: Any,
    ) -> DataLoaders:
        """Make loaders from a pandas frame.

        Args:
            df: The frame.
            path: Where models and results are kept.
            valid_pct: Share of the rows to validate on, chosen at random.
            seed: For the choice.
            text_col: The column of texts, by name or position; several are joined and marked.
            label_col: The column of labels; several make several targets or labels.
            label_delim: What separates labels in one column.
            y_block: What the labels are; by default one class, or several with `label_delim`.
            text_vocab: The tokens in the order of their numbers.
            is_lm: Whether to make batches for a language model.
            valid_col: A column that is true where a row is for validation.
            seq_len: Steps that a model reads at once.
            tok_kwargs: For `Tokenizer`.
            tok_tfm: The tokenizer, where it is made already; see `TextBlock`.
            backwards: Whether texts are read from the end.
            tok_text_col: Accepted for compatibility: tokens are not put into the frame.
            **kwargs: For `DataBlock.dataloaders`.
        """
        text_columns = [text_col] if isinstance(text_col, int | str) else list(text_col)
        names = [df.columns[col] if isinstance(col, int) else col for col in text_columns]
        tokenizer = tok_tfm or Tokenizer(**(tok_kwargs or {}))
        text = TextBlock(
            tokenizer, text_vocab, is_lm, seq_len, reader=TextReader(names), backwards=backwards
        )
        blocks: list[Any] = [text]
        if not is_lm:
            blocks.append(label_block(label_col, label_delim, y_block))
        block = DataBlock(
            blocks=blocks,
            get_y=None if is_lm else ColReader(label_col, label_delim=label_delim),
            splitter=RandomSplitter(valid_pct, seed=seed)
            if valid_col is None
            else ColSplitter(valid_col),
        )
        return cls.from_dblock(block, df, path=path, **kwargs)

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        csv_fname: str | Path = "labels.csv",
        header: Any = "infer",
        delimiter: str | None = None,
        **kwargs: Any,
    ) -> DataLoaders:
        """Make loaders from a CSV file; see `from_df`.

        Args:
            path: The folder that it is in.
            csv_fname: Its name.
            header: As for `pandas.read_csv`.
            delimiter: What separates its columns.
            **kwargs: For `from_df`.
        """
        import pandas as pd

        frame = pd.read_csv(Path(path) / csv_fname, header=header, sep=delimiter or ",")
        return cls.from_df(frame, path=path, **kwargs)


def label_block(label_col: Any, label_delim: str | None, y_block: Any) -> Any:
    """Return the block of the labels."""
    if y_block is not None:
        return y_block
    columns = [label_col] if isinstance(label_col, int | str) else list(label_col)
    if len(columns) > 1:
        return RegressionBlock(n_out=len(columns))
    return MultiCategoryBlock() if label_delim is not None else CategoryBlock()
