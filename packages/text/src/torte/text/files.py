"""Whole frames, CSV files and folders of texts to tokens, written in text form.

A pipeline needs none of this, it tokenizes by itself; these are for looking at tokens, for changing
them and for handing them on. Tokens are joined by spaces, of which they hold none.
"""

import json
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torte.data.sources import get_files, get_text_files
from torte.learner.files import written
from torte.text.parallel import parallel_tokenize, tokenize_texts, workers_for
from torte.text.reading import TextReader
from torte.text.rules import Rule
from torte.text.tokenizers import TextTokenizer

__all__ = [
    "load_tokenized_csv",
    "tokenize_csv",
    "tokenize_df",
    "tokenize_files",
    "tokenize_folder",
]

COUNTER, LENGTHS = "counter.json", "lengths.json"


def tokenize_df(
    df: Any,
    text_cols: str | int | Sequence[str | int],
    n_workers: int | None = None,
    rules: Sequence[Rule] | None = None,
    mark_fields: bool | None = None,
    tok: TextTokenizer | None = None,
    tok_text_col: str = "text",
) -> tuple[Any, Counter[str]]:
    """Tokenize texts in a pandas frame.

    Args:
        df: The frame, which stays as it is.
        text_cols: The columns that hold text; several are joined.
        n_workers: How many processes; see `parallel_tokenize`.
        rules: Rules for texts; torte's by default.
        mark_fields: Whether columns are marked; by default if there are several.
        tok: The tokenizer; spaCy's for English by default.
        tok_text_col: Name of the column for tokens.

    Returns:
        A frame with the other columns, one of lists of tokens and one of their number
        (`<tok_text_col>_length`), and how often each token occurs.

    Raises:
        TypeError: A row holds something else than text; the message names it.
    """
    names = _names(df, text_cols)
    reader = TextReader(names, mark_fields=mark_fields)
    tokens = tokenize_texts(list(reader.texts_of_frame(df)), n_workers, rules, tok)
    made = df.drop(columns=names)
    made[tok_text_col] = list(tokens)
    made[f"{tok_text_col}_length"] = [len(each) for each in tokens]
    return made, _counted(tokens)


def _names(df: Any, columns: str | int | Sequence[str | int]) -> list[Any]:
    """Return the names of columns that are given by name or by place."""
    given = [columns] if isinstance(columns, str | int) else columns
    return [df.columns[each] if isinstance(each, int) else each for each in given]


def _counted(texts: Iterable[list[str]]) -> Counter[str]:
    counter: Counter[str] = Counter()
    for tokens in texts:
        counter.update(tokens)
    return counter


def tokenize_csv(
    fname: str | Path,
    text_cols: str | int | Sequence[str | int],
    outname: str | Path | None = None,
    n_workers: int | None = None,
    rules: Sequence[Rule] | None = None,
    mark_fields: bool | None = None,
    tok: TextTokenizer | None = None,
    header: Any = "infer",
    chunksize: int = 50000,
) -> Path:
    """Tokenize texts in a CSV file, into another one that `load_tokenized_csv` reads.

    How often each token occurs is written beside, as JSON. Both files are in place when they are
    whole.

    Args:
        fname: The file.
        text_cols: See `tokenize_df`.
        outname: The file to write; by default `<name>_tok.csv` beside.
        n_workers: See `tokenize_df`.
        rules: See `tokenize_df`.
        mark_fields: See `tokenize_df`.
        tok: See `tokenize_df`.
        header: As for `pandas.read_csv`.
        chunksize: How many rows to hold at a time.

    Returns:
        The file. Empty fields are taken for empty texts.
    """
    import pandas as pd

    source = Path(fname)
    target = source.with_name(f"{source.stem}_tok.csv") if outname is None else Path(outname)
    counter: Counter[str] = Counter()
    names = _names(pd.read_csv(source, header=header, nrows=1), text_cols)
    kinds = dict.fromkeys(names, str)
    with (
        written(target) as beside,
        pd.read_csv(source, header=header, chunksize=chunksize, dtype=kinds) as parts,
    ):
        for number, part in enumerate(parts):
            part[names] = part[names].fillna("")  # an empty field of a file is an empty text
            made, counts = tokenize_df(part, names, n_workers, rules, mark_fields, tok)
            made["text"] = made["text"].str.join(" ")
            is_first = number == 0
            made.to_csv(beside, mode="w" if is_first else "a", header=is_first, index=False)
            counter.update(counts)
        _write_json(target.with_suffix(".json"), counter)
    return target


def load_tokenized_csv(fname: str | Path) -> tuple[Any, Counter[str]]:
    """Return what `tokenize_csv` wrote: the frame, with lists of tokens, and their counter."""
    import pandas as pd

    frame = pd.read_csv(fname, dtype={"text": str})
    frame["text"] = [text.split(" ") if text else [] for text in frame["text"].fillna("")]
    return frame, Counter(json.loads(Path(fname).with_suffix(".json").read_text(encoding="utf-8")))


def _write_json(path: Path, content: Any) -> None:
    with written(path) as beside:
        beside.write_text(json.dumps(content), encoding="utf-8")


def tokenize_files(
    files: Sequence[str | Path],
    path: str | Path,
    output_dir: str | Path,
    output_names: Sequence[str | Path] | None = None,
    n_workers: int | None = None,
    rules: Sequence[Rule] | None = None,
    tok: TextTokenizer | None = None,
    encoding: str = "utf-8",
    skip_if_exists: bool = False,
) -> Path:
    """Tokenize text files, each into one of the same name in another folder.

    `lengths.json` there tells how many tokens each has, `counter.json` how often each occurs. The
    folder is in place when it is whole.

    Args:
        files: The files.
        path: A folder that they are in.
        output_dir: The folder to write; one that is there is replaced.
        output_names: Other names for the files in it.
        n_workers: See `tokenize_df`.
        rules: See `tokenize_df`.
        tok: See `tokenize_df`.
        encoding: Of the files; those that are written are UTF-8.
        skip_if_exists: Leave a folder that is there as it is, and do nothing.

    Returns:
        The folder.

    Raises:
        UnicodeDecodeError: A file is not in the encoding; a note names the file.
    """
    target = Path(output_dir)
    if skip_if_exists and (target / COUNTER).is_file():
        return target
    names = [Path(file).relative_to(path) for file in files]
    names = names if output_names is None else [Path(name) for name in output_names]
    if len(names) != len(files):
        raise ValueError(f"{len(names)} output_names for {len(files)} files")
    reader = TextReader(encoding=encoding)
    texts: Iterator[str] = (reader.encodes(Path(file)) for file in files)
    characters = sum(Path(file).stat().st_size for file in files)
    tokenized = parallel_tokenize(texts, tok, rules, n_workers=workers_for(characters, n_workers))
    beside = target.with_name(f".{target.name}-{secrets.token_hex(8)}")
    counter: Counter[str] = Counter()
    lengths: dict[str, int] = {}
    try:
        beside.mkdir(parents=True)
        for name, tokens in zip(names, tokenized, strict=True):
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            (beside / name).write_bytes(" ".join(tokens).encode("utf-8", "replace"))
            counter.update(tokens)
            lengths[name.as_posix()] = len(tokens)
        _write_json(beside / LENGTHS, lengths)
        _write_json(beside / COUNTER, counter)
        if target.exists():
            shutil.rmtree(target)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def tokenize_folder(
    path: str | Path,
    extensions: Sequence[str] | None = None,
    folders: Sequence[str] | None = None,
    output_dir: str | Path | None = None,
    skip_if_exists: bool = True,
    **kwargs: Any,
) -> Path:
    """Tokenize the text files in a folder and those below it, into another folder.

    Args:
        path: The folder.
        extensions: Endings of the files; by default `.txt`.
        folders: Only files in these of its folders; by default all.
        output_dir: The folder to write; by default `<name>_tok` beside.
        skip_if_exists: Leave a folder that is there as it is, and do nothing.
        **kwargs: For `tokenize_files`: `n_workers`, `rules`, `tok`, `encoding`.

    Returns:
        The folder that was written.

    Raises:
        FileNotFoundError: There is no such folder, or no text in it.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path)!r} with texts")
    if extensions is None:
        files = get_text_files(path, folders=folders)
    else:
        files = get_files(path, extensions=extensions, folders=folders)
    if not files:
        raise FileNotFoundError(f"there are no texts in {str(path)!r}: give other extensions")
    target = path.with_name(f"{path.name}_tok") if output_dir is None else output_dir
    return tokenize_files(files, path, target, skip_if_exists=skip_if_exists, **kwargs)
