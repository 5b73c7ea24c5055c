"""Addresses of public data sets and of the samples inside the package, by name.

The fast.ai collection (https://course.fast.ai/datasets, hosted by the AWS Public Dataset Program)
keeps its names, so `untar_data(URLs.PETS)` means what it always meant. Three small samples need no
network, because they ship with `torte.data`:

* `URLs.FASHION_SAMPLE`: 1,600 Fashion-MNIST images as PNG files in class folders under `train`
  and `valid` (MIT).
* `URLs.ADULT_TINY`: `adult.csv`, 8,000 rows of the Adult census table (CC BY 4.0).
* `URLs.REVIEWS_SAMPLE`: `reviews.csv`, 5,000 clothing reviews (CC0).
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from torte.data.config import torte_path

__all__ = ["PACKAGE_SCHEME", "FileCheck", "URLs", "archive_stem", "known_check"]

PACKAGE_SCHEME: Final = "package:"
"""Scheme of files inside an installed package: `package:torte.data/samples/x.tar.gz`."""

_S3 = "https://s3.amazonaws.com/fast-ai-"
_SAMPLE = f"{_S3}sample/"
_IMAGE = f"{_S3}imageclas/"
_LOCALIZATION = f"{_S3}imagelocal/"
_NLP = f"{_S3}nlp/"
_COCO = f"{_S3}coco/"
_MODEL = f"{_S3}modelzoo/"
_AUDIO = "https://public-datasets.fra1.digitaloceanspaces.com/"
_PACKAGE = f"{PACKAGE_SCHEME}torte.data/samples/"


class URLs:
    """Data set addresses as constants; hand one to `untar_data`."""

    S3: Final = _S3
    S3_IMAGE: Final = _IMAGE
    S3_IMAGELOC: Final = _LOCALIZATION
    S3_NLP: Final = _NLP
    S3_COCO: Final = _COCO
    S3_MODEL: Final = _MODEL
    S3_AUDI: Final = _AUDIO

    # Inside the package: no network needed.
    FASHION_SAMPLE: Final = f"{_PACKAGE}fashion_sample.tar.gz"
    ADULT_TINY: Final = f"{_PACKAGE}adult_tiny.tar.gz"
    REVIEWS_SAMPLE: Final = f"{_PACKAGE}reviews_sample.tar.gz"

    # Small samples.
    ADULT_SAMPLE: Final = f"{_SAMPLE}adult_sample.tgz"
    BIWI_SAMPLE: Final = f"{_SAMPLE}biwi_sample.tgz"
    CIFAR: Final = f"{_SAMPLE}cifar10.tgz"
    COCO_SAMPLE: Final = f"{_COCO}coco_sample.tgz"
    COCO_TINY: Final = f"{_COCO}coco_tiny.tgz"
    HUMAN_NUMBERS: Final = f"{_SAMPLE}human_numbers.tgz"
    IMDB_SAMPLE: Final = f"{_SAMPLE}imdb_sample.tgz"
    ML_SAMPLE: Final = f"{_SAMPLE}movie_lens_sample.tgz"
    ML_100k: Final = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
    MNIST_SAMPLE: Final = f"{_SAMPLE}mnist_sample.tgz"
    MNIST_TINY: Final = f"{_SAMPLE}mnist_tiny.tgz"
    MNIST_VAR_SIZE_TINY: Final = f"{_IMAGE}mnist_var_size_tiny.tgz"
    PLANET_SAMPLE: Final = f"{_SAMPLE}planet_sample.tgz"
    PLANET_TINY: Final = f"{_SAMPLE}planet_tiny.tgz"
    CAMVID_TINY: Final = f"{_SAMPLE}camvid_tiny.tgz"
    DOGS: Final = f"{_SAMPLE}dogscats.tgz"

    # Image classification.
    CALTECH_101: Final = f"{_IMAGE}caltech_101.tgz"
    CARS: Final = f"{_IMAGE}stanford-cars.tgz"
    CIFAR_100: Final = f"{_IMAGE}cifar100.tgz"
    CUB_200_2011: Final = f"{_IMAGE}CUB_200_2011.tgz"
    FLOWERS: Final = f"{_IMAGE}oxford-102-flowers.tgz"
    FOOD: Final = f"{_IMAGE}food-101.tgz"
    IMAGENETTE: Final = f"{_IMAGE}imagenette2.tgz"
    IMAGENETTE_160: Final = f"{_IMAGE}imagenette2-160.tgz"
    IMAGENETTE_320: Final = f"{_IMAGE}imagenette2-320.tgz"
    IMAGEWOOF: Final = f"{_IMAGE}imagewoof2.tgz"
    IMAGEWOOF_160: Final = f"{_IMAGE}imagewoof2-160.tgz"
    IMAGEWOOF_320: Final = f"{_IMAGE}imagewoof2-320.tgz"
    MNIST: Final = f"{_IMAGE}mnist_png.tgz"
    PETS: Final = f"{_IMAGE}oxford-iiit-pet.tgz"

    # Image localization.
    BIWI_HEAD_POSE: Final = f"{_LOCALIZATION}biwi_head_pose.tgz"
    CAMVID: Final = f"{_LOCALIZATION}camvid.tgz"
    LSUN_BEDROOMS: Final = f"{_IMAGE}bedroom.tgz"
    PASCAL_2007: Final = f"{_LOCALIZATION}pascal_2007.tgz"
    PASCAL_2012: Final = f"{_LOCALIZATION}pascal_2012.tgz"
    SIIM_SMALL: Final = f"{_LOCALIZATION}siim_small.tgz"
    TCGA_SMALL: Final = f"{_LOCALIZATION}tcga_small.tgz"

    # Natural language.
    AG_NEWS: Final = f"{_NLP}ag_news_csv.tgz"
    AMAZON_REVIEWS: Final = f"{_NLP}amazon_review_full_csv.tgz"
    AMAZON_REVIEWS_POLARITY: Final = f"{_NLP}amazon_review_polarity_csv.tgz"
    DBPEDIA: Final = f"{_NLP}dbpedia_csv.tgz"
    IMDB: Final = f"{_NLP}imdb.tgz"
    MT_ENG_FRA: Final = f"{_NLP}giga-fren.tgz"
    SOGOU_NEWS: Final = f"{_NLP}sogou_news_csv.tgz"
    WIKITEXT: Final = f"{_NLP}wikitext-103.tgz"
    WIKITEXT_TINY: Final = f"{_NLP}wikitext-2.tgz"
    YAHOO_ANSWERS: Final = f"{_NLP}yahoo_answers_csv.tgz"
    YELP_REVIEWS: Final = f"{_NLP}yelp_review_full_csv.tgz"
    YELP_REVIEWS_POLARITY: Final = f"{_NLP}yelp_review_polarity_csv.tgz"

    # Audio.
    MACAQUES: Final = f"{_AUDIO}macaques.zip"
    ZEBRA_FINCH: Final = f"{_AUDIO}zebra_finch.zip"

    # Pretrained language models.
    OPENAI_TRANSFORMER: Final = f"{_MODEL}transformer.tgz"
    WT103_BWD: Final = f"{_MODEL}wt103-bwd.tgz"
    WT103_FWD: Final = f"{_MODEL}wt103-fwd.tgz"

    @staticmethod
    def path(url: str, c_key: str = "archive") -> Path:
        """Where `url`'s archive (`c_key="archive"`) or extracted folder (`"data"`) belongs.

        Args:
            url: Any address, of this class or not.
            c_key: A folder of the configuration: `archive`, `data`, `model` or `storage`.
        """
        name = url.rstrip("/").rpartition("/")[2]
        return torte_path(c_key) / (name if c_key == "archive" else archive_stem(name))


_ENDINGS = (
    *(".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"),
    *(".tgz", ".tbz2", ".tbz", ".txz", ".tar", ".zip"),
)


def archive_stem(name: str) -> str:
    """A file's name without the ending of an archive: `mnist_tiny.tar.gz` gives `mnist_tiny`."""
    for ending in _ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return Path(name).stem


@dataclass(frozen=True)
class FileCheck:
    """What is known about a file before it is fetched."""

    size: int | None = None
    """Size in bytes."""
    sha256: str | None = None
    """SHA-256 digest in hexadecimal."""


@cache
def _sample_checks() -> dict[str, FileCheck]:
    manifest = resources.files("torte.data").joinpath("samples/manifest.json")
    entries = json.loads(manifest.read_text(encoding="utf-8"))
    return {_PACKAGE + n: FileCheck(e["size"], e["sha256"]) for n, e in entries.items()}


def known_check(url: str) -> FileCheck:
    """Size and SHA-256 that are on record for `url`; an empty `FileCheck` if there are none.

    The samples inside the package are on record. The fast.ai archives carry no published digest:
    for those pass `size=` and `sha256=` to `untar_data` where it matters.
    """
    return _sample_checks().get(url, FileCheck())
