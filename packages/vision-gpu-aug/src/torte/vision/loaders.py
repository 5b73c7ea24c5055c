"""Loaders for the common layouts of image collections, in one call each.

Every method makes a `DataBlock` and hands it to `from_dblock`; where none fits, write the
`DataBlock` yourself: it is the same few lines.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial, update_wrapper
from pathlib import Path
from typing import Any, Self

from torte.data import (
    CategoryBlock,
    ColReader,
    ColSplitter,
    DataBlock,
    DataLoaders,
    GrandparentSplitter,
    MultiCategoryBlock,
    PILImage,
    RandomSplitter,
    RegexLabeller,
    RegressionBlock,
    get_image_files,
    parent_label,
)
from torte.vision.blocks import ImageBlock, MaskBlock

__all__ = ["ImageDataLoaders", "SegmentationDataLoaders"]

FilePath = str | os.PathLike[str]
Label = Callable[[Any], Any]


class ImageDataLoaders(DataLoaders):
    """Training and validation loaders of labelled images.

    All methods take `bs` (batch size), `val_bs`, `shuffle` (of the training images), `device`,
    `num_workers` and whatever else the loaders take as further arguments.
    """

    @classmethod
    def from_folder(
        cls,
        path: FilePath,
        train: str = "train",
        valid: str = "valid",
        valid_pct: float | None = None,
        seed: int | None = None,
        vocab: Iterable[Any] | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: type[PILImage] = PILImage,
        **kwargs: Any,
    ) -> Self:
        """Images in folders that are named for their class.

        Args:
            path: A folder that holds `train/<class>/…` and `valid/<class>/…`; or, with
                `valid_pct`, folders named for the classes anywhere below it.
            train: Name of the folder with the training images.
            valid: Name of the folder with the validation images.
            valid_pct: Share of the images to validate on, drawn at random in place of folders.
            seed: For that draw.
            vocab: The classes, numbered in sorted order; by default those in the training set.
            item_tfms: Transforms on images, on the CPU.
            batch_tfms: Transforms on batches, on the device.
            img_cls: `PILImage`, or `PILImageBW` for one channel.
            **kwargs: For `from_dblock`.

        Raises:
            FileNotFoundError: If there is no such folder.
            ValueError: If it holds no images, none for training, or those of one class alone.
        """
        if valid_pct is None:
            splitter = GrandparentSplitter(train_name=train, valid_name=valid)
            # Wrapped, so that messages call it by its name.
            in_both = partial(get_image_files, folders=[train, valid])
            get_items: Label = update_wrapper(in_both, get_image_files)
        else:
            splitter = RandomSplitter(valid_pct, seed=seed)
            get_items = get_image_files
        block = DataBlock(
            blocks=(ImageBlock(img_cls), CategoryBlock(vocab=vocab)),
            get_items=get_items,
            splitter=splitter,
            get_y=parent_label,
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        return cls.from_dblock(block, path, path=Path(path), **kwargs)

    @classmethod
    def from_path_func(
        cls,
        path: FilePath,
        fnames: Iterable[FilePath],
        label_func: Label,
        valid_pct: float = 0.2,
        seed: int | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: type[PILImage] = PILImage,
        **kwargs: Any,
    ) -> Self:
        """Image files whose label a function finds from the whole path.

        Args:
            path: Where the learner keeps its files.
            fnames: The image files.
            label_func: From a path to a label.
            valid_pct: Share of the images to validate on, drawn at random.
            seed: For that draw.
            item_tfms: Transforms on images, on the CPU.
            batch_tfms: Transforms on batches, on the device.
            img_cls: `PILImage`, or `PILImageBW` for one channel.
            **kwargs: For `from_dblock`.
        """
        block = DataBlock(
            blocks=(ImageBlock(img_cls), CategoryBlock),
            splitter=RandomSplitter(valid_pct, seed=seed),
            get_y=label_func,
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        return cls.from_dblock(block, list(fnames), path=Path(path), **kwargs)

    @classmethod
    def from_name_func(
        cls, path: FilePath, fnames: Iterable[FilePath], label_func: Label, **kwargs: Any
    ) -> Self:
        """Image files whose label a function finds from the file's name alone.

        Args:
            path: Where the learner keeps its files.
            fnames: The image files.
            label_func: From a name (a string without folders) to a label.
            **kwargs: For `from_path_func`.
        """

        def label_of_name(fn: FilePath) -> Any:
            return label_func(Path(fn).name)

        return cls.from_path_func(path, fnames, label_of_name, **kwargs)

    @classmethod
    def from_path_re(
        cls, path: FilePath, fnames: Iterable[FilePath], pat: str, **kwargs: Any
    ) -> Self:
        """Image files whose label is the first group of a pattern in their path.

        Args:
            path: Where the learner keeps its files.
            fnames: The image files.
            pat: A regular expression with one group; the path has `/` between its parts.
            **kwargs: For `from_path_func`.
        """
        return cls.from_path_func(path, fnames, RegexLabeller(pat), **kwargs)

    @classmethod
    def from_name_re(
        cls, path: FilePath, fnames: Iterable[FilePath], pat: str, **kwargs: Any
    ) -> Self:
        """Image files whose label is the first group of a pattern in their name.

        Args:
            path: Where the learner keeps its files.
            fnames: The image files.
            pat: A regular expression with one group.
            **kwargs: For `from_path_func`.
        """
        return cls.from_name_func(path, fnames, RegexLabeller(pat), **kwargs)

    @classmethod
    def from_df(
        cls,
        df: Any,
        path: FilePath = ".",
        valid_pct: float = 0.2,
        seed: int | None = None,
        fn_col: int | str = 0,
        folder: FilePath | None = None,
        suff: str = "",
        label_col: int | str | Sequence[int | str] = 1,
        label_delim: str | None = None,
        y_block: Any = None,
        valid_col: int | str | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: type[PILImage] = PILImage,
        **kwargs: Any,
    ) -> Self:
        """Images and labels from a frame.

        Args:
            df: A frame with a column of file names and one or more of labels.
            path: Folder that the names are relative to, and where the learner keeps its files.
            valid_pct: Share of the rows to validate on, drawn at random.
            seed: For that draw.
            fn_col: Column of file names, by name or number.
            folder: Folder below `path` that holds the images.
            suff: Put behind each name, as ".jpg".
            label_col: Column of labels, or several.
            label_delim: Separates several labels in one column.
            y_block: Kind of target; by default several categories where there is a delimiter or
                more than one column, else one category.
            valid_col: Column that says whether a row is for validation, in place of `valid_pct`.
            item_tfms: Transforms on images, on the CPU.
            batch_tfms: Transforms on batches, on the device.
            img_cls: `PILImage`, or `PILImageBW` for one channel.
            **kwargs: For `from_dblock`.
        """
        root = Path(path) if folder is None else Path(path) / folder
        several = label_delim is not None or _is_several(label_col)
        if y_block is None:
            y_block = MultiCategoryBlock if several else CategoryBlock
        splitter = RandomSplitter(valid_pct, seed=seed)
        block = DataBlock(
            blocks=(ImageBlock(img_cls), y_block),
            get_x=ColReader(fn_col, pref=f"{root}{os.sep}", suff=suff),
            get_y=ColReader(label_col, label_delim=label_delim),
            splitter=splitter if valid_col is None else ColSplitter(valid_col),
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        return cls.from_dblock(block, df, path=Path(path), **kwargs)

    @classmethod
    def from_csv(
        cls,
        path: FilePath,
        csv_fname: FilePath = "labels.csv",
        header: Any = "infer",
        delimiter: str | None = None,
        quoting: int = 0,
        **kwargs: Any,
    ) -> Self:
        """Images and labels from a CSV file below `path`.

        Args:
            path: Folder of the CSV file and of the images.
            csv_fname: Name of the file in it.
            header: As for `pandas.read_csv`.
            delimiter: As for `pandas.read_csv`.
            quoting: As for `pandas.read_csv`.
            **kwargs: For `from_df`.

        Raises:
            FileNotFoundError: If there is no such file.
        """
        import pandas as pd

        file = Path(path) / csv_fname
        if not file.is_file():
            raise FileNotFoundError(f"no file of labels at {str(file)!r}")
        df = pd.read_csv(file, header=header, sep=delimiter or ",", quoting=quoting)
        return cls.from_df(df, path=Path(path), **kwargs)

    @classmethod
    def from_lists(
        cls,
        path: FilePath,
        fnames: Iterable[FilePath],
        labels: Iterable[Any],
        valid_pct: float = 0.2,
        seed: int | None = None,
        y_block: Any = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: type[PILImage] = PILImage,
        **kwargs: Any,
    ) -> Self:
        """Image files and a label for each.

        Args:
            path: Where the learner keeps its files.
            fnames: The image files.
            labels: As many labels.
            valid_pct: Share of the images to validate on, drawn at random.
            seed: For that draw.
            y_block: Kind of target; by default numbers with a fraction are to be predicted, lists
                are several categories, anything else is one category.
            item_tfms: Transforms on images, on the CPU.
            batch_tfms: Transforms on batches, on the device.
            img_cls: `PILImage`, or `PILImageBW` for one channel.
            **kwargs: For `from_dblock`.

        Raises:
            ValueError: If there are more or fewer labels than files.
        """
        files, targets = list(fnames), list(labels)
        if len(files) != len(targets):
            raise ValueError(f"{len(files)} file names, but {len(targets)} labels")
        if y_block is None and targets:
            y_block = _block_for(targets[0])
        block = DataBlock.from_columns(
            blocks=(ImageBlock(img_cls), y_block or CategoryBlock),
            splitter=RandomSplitter(valid_pct, seed=seed),
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        return cls.from_dblock(block, (files, targets), path=Path(path), **kwargs)


class SegmentationDataLoaders(DataLoaders):
    """Training and validation loaders of images with masks."""

    @classmethod
    def from_label_func(
        cls,
        path: FilePath,
        fnames: Iterable[FilePath],
        label_func: Label,
        valid_pct: float = 0.2,
        seed: int | None = None,
        codes: Sequence[str] | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: type[PILImage] = PILImage,
        **kwargs: Any,
    ) -> Self:
        """Image files whose mask's file a function finds.

        Args:
            path: Where the learner keeps its files.
            fnames: The image files.
            label_func: From the path of an image to that of its mask.
            valid_pct: Share of the images to validate on, drawn at random.
            seed: For that draw.
            codes: What the class numbers in the masks mean, in order.
            item_tfms: Transforms on images and masks together, on the CPU.
            batch_tfms: Transforms on batches, on the device.
            img_cls: `PILImage`, or `PILImageBW` for one channel.
            **kwargs: For `from_dblock`.
        """
        block = DataBlock(
            blocks=(ImageBlock(img_cls), MaskBlock(codes=codes)),
            splitter=RandomSplitter(valid_pct, seed=seed),
            get_y=label_func,
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        return cls.from_dblock(block, list(fnames), path=Path(path), **kwargs)


def _is_several(columns: Any) -> bool:
    return not isinstance(columns, str | int) and len(columns) > 1


def _block_for(label: Any) -> Any:
    """The block for a first label of this kind."""
    if isinstance(label, float):
        return RegressionBlock
    return MultiCategoryBlock if isinstance(label, list | tuple | set) else CategoryBlock
