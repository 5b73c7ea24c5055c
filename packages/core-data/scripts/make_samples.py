# ruff: noqa: INP001 - a script, not a package
"""Make the three small real samples that ship inside torte.data.

usage: python packages/core-data/scripts/make_samples.py SOURCE [DESTINATION]

SOURCE is a folder holding
  fashion-mnist/{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz   Fashion-MNIST, MIT licence
  adult.parquet                                                   UCI Adult census, CC BY 4.0
  reviews.parquet                                                 clothing reviews, CC0
DESTINATION is the package's `samples` folder unless told. The same sources always give the same
bytes: nothing is drawn at random and every time stamp is zero. Needs numpy, pillow and polars.
"""

import gzip
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

SAMPLES = Path(__file__).resolve().parents[1] / "src/torte/data/samples"
FASHION_CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle-boot",
)
TRAIN_PER_CLASS, VALID_PER_CLASS = 120, 40
TABLE_ROWS, REVIEW_ROWS = 8000, 5000
MAX_BYTES = 2_000_000

FASHION_LICENCE = """\
Fashion-MNIST, https://github.com/zalandoresearch/fashion-mnist
A balanced subset, converted to PNG: the first 120 training and the first 40 test images a class.

The MIT License (MIT)

Copyright (c) 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT
OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
ADULT_LICENCE = f"""\
Adult (Census Income), Barry Becker and Ronny Kohavi, UCI Machine Learning Repository, 1996,
https://doi.org/10.24432/C5XW20
Licensed under the Creative Commons Attribution 4.0 International licence (CC BY 4.0),
https://creativecommons.org/licenses/by/4.0/
Changes made: {TABLE_ROWS} rows taken at even distances, columns renamed to the names that UCI and
fast.ai use, and missing values ("?") left empty.
"""
REVIEWS_LICENCE = f"""\
Women's E-Commerce Clothing Reviews, Nick Brooks, Kaggle, 2018
Dedicated to the public domain under CC0 1.0 Universal,
https://creativecommons.org/publicdomain/zero/1.0/
Changes made: {REVIEW_ROWS} reviews with a text taken at even distances, columns renamed, every
fifth row marked as validation.
"""
ADULT_COLUMNS = {
    "age": "age",
    "workclass": "workclass",
    "fnlwgt": "fnlwgt",
    "education": "education",
    "educational-num": "education-num",
    "marital-status": "marital-status",
    "occupation": "occupation",
    "relationship": "relationship",
    "race": "race",
    "gender": "sex",
    "capital-gain": "capital-gain",
    "capital-loss": "capital-loss",
    "hours-per-week": "hours-per-week",
    "native-country": "native-country",
    "income": "salary",
}
REVIEW_COLUMNS = {
    "Title": "title",
    "Review Text": "text",
    "Rating": "rating",
    "Recommended IND": "recommended",
    "Age": "age",
    "Department Name": "department",
    "Class Name": "class",
}


def read_idx(path: Path) -> np.ndarray:
    """The array in one gzipped IDX file (big-endian sizes, unsigned bytes)."""
    content = gzip.decompress(path.read_bytes())
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, offset=4).astype(int)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def png_bytes(pixels: np.ndarray) -> bytes:
    """One grey image as the smallest PNG that Pillow makes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def fashion_files(source: Path) -> dict[str, bytes]:
    """`train/<class>/NNNN.png` and `valid/<class>/NNNN.png`, the same number of each class."""
    files = {}
    wanted = (("train", "train", TRAIN_PER_CLASS), ("t10k", "valid", VALID_PER_CLASS))
    for prefix, folder, count in wanted:
        images = read_idx(source / "fashion-mnist" / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(source / "fashion-mnist" / f"{prefix}-labels-idx1-ubyte.gz")
        for label, name in enumerate(FASHION_CLASSES):
            for index in np.flatnonzero(labels == label)[:count]:
                files[f"{folder}/{name}/{index:05}.png"] = png_bytes(images[index])
    return files


def evenly(frame: pl.DataFrame, rows: int) -> pl.DataFrame:
    """`rows` rows of the frame at even distances, in its order."""
    return frame[np.linspace(0, len(frame) - 1, rows).round().astype(int)]


def adult_files(source: Path) -> dict[str, bytes]:
    """`adult.csv`: the census table with fast.ai's column names."""
    frame = pl.read_parquet(source / "adult.parquet").rename(ADULT_COLUMNS)
    frame = evenly(frame.with_columns(pl.col(pl.String).replace("?", None)), TABLE_ROWS)
    return {"adult.csv": frame.write_csv().encode()}


def review_files(source: Path) -> dict[str, bytes]:
    """`reviews.csv`: texts with their rating, department and a validation mark."""
    frame = pl.read_parquet(source / "reviews.parquet").filter(
        pl.col("Review Text").is_not_null() & pl.col("Department Name").is_not_null()
    )
    frame = evenly(frame, REVIEW_ROWS).select(pl.col(a).alias(b) for a, b in REVIEW_COLUMNS.items())
    is_valid = pl.int_range(pl.len()) % 5 == 4
    return {"reviews.csv": frame.with_columns(is_valid.alias("is_valid")).write_csv().encode()}


def pack(name: str, files: dict[str, bytes], licence: str) -> bytes:
    """A gzipped tar of the files under the folder `name`, with the same bytes every time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, content in sorted({**files, "LICENSE.txt": licence.encode()}.items()):
            member = tarfile.TarInfo(f"{name}/{path}")
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), compresslevel=9, mtime=0)


def main(source: Path, destination: Path) -> None:
    """Write the archives, their licences and `manifest.json` (size and sha256 of each archive)."""
    destination.mkdir(parents=True, exist_ok=True)
    samples = {
        "fashion_sample": (fashion_files(source), FASHION_LICENCE, "MIT"),
        "adult_tiny": (adult_files(source), ADULT_LICENCE, "CC-BY-4.0"),
        "reviews_sample": (review_files(source), REVIEWS_LICENCE, "CC0-1.0"),
    }
    manifest = {}
    for name, (files, licence, licence_id) in samples.items():
        content = pack(name, files, licence)
        if len(content) > MAX_BYTES:
            raise SystemExit(f"{name}: {len(content)} bytes, more than {MAX_BYTES}")
        (destination / f"{name}.tar.gz").write_bytes(content)
        (destination / f"{name}.LICENSE.txt").write_text(licence, encoding="utf-8")
        manifest[f"{name}.tar.gz"] = {
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "licence": licence_id,
        }
    text = json.dumps(manifest, indent=2) + "\n"
    (destination / "manifest.json").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3}:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else SAMPLES)
