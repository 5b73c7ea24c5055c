"""The names of public data sets."""

from urllib.parse import urlsplit

import pytest
from torte.data.config import torte_path
from torte.data.urls import FileCheck, URLs, known_check

ADDRESSES = {name: url for name, url in vars(URLs).items() if name.isupper() or name == "ML_100k"}
SETS = {name: url for name, url in ADDRESSES.items() if not name.startswith("S3")}

# The names that the documentation of the fast.ai collection lists.
# fmt: off
EXPECTED = {
    "ADULT_SAMPLE", "BIWI_SAMPLE", "CIFAR", "COCO_SAMPLE", "COCO_TINY", "HUMAN_NUMBERS", "IMDB",
    "IMDB_SAMPLE", "ML_SAMPLE", "ML_100k", "MNIST_SAMPLE", "MNIST_TINY", "MNIST_VAR_SIZE_TINY",
    "PLANET_SAMPLE", "PLANET_TINY", "IMAGENETTE", "IMAGENETTE_160", "IMAGENETTE_320",
    "IMAGEWOOF", "IMAGEWOOF_160", "IMAGEWOOF_320", "DOGS", "CALTECH_101", "CARS", "CIFAR_100",
    "CUB_200_2011", "FLOWERS", "FOOD", "MNIST", "PETS", "AG_NEWS", "AMAZON_REVIEWS",
    "AMAZON_REVIEWS_POLARITY", "DBPEDIA", "MT_ENG_FRA", "SOGOU_NEWS", "WIKITEXT",
    "WIKITEXT_TINY", "YAHOO_ANSWERS", "YELP_REVIEWS", "YELP_REVIEWS_POLARITY", "BIWI_HEAD_POSE",
    "CAMVID", "CAMVID_TINY", "LSUN_BEDROOMS", "PASCAL_2007", "PASCAL_2012", "MACAQUES",
    "ZEBRA_FINCH", "SIIM_SMALL", "OPENAI_TRANSFORMER", "WT103_FWD", "WT103_BWD",
}
# fmt: on


def test_every_documented_name_is_there():
    assert set(SETS) >= EXPECTED


@pytest.mark.parametrize("name", SETS)
def test_addresses_are_well_formed_archives(name):
    url = urlsplit(SETS[name])
    assert url.scheme in {"https", "package"}
    assert url.path.endswith((".tgz", ".tar.gz", ".zip"))


def test_no_two_names_share_an_address():
    assert len(set(SETS.values())) == len(SETS)


def test_where_a_data_set_belongs():
    assert URLs.path(URLs.PETS) == torte_path("archive") / "oxford-iiit-pet.tgz"
    assert URLs.path(URLs.PETS, "data") == torte_path("data") / "oxford-iiit-pet"


def test_what_is_on_record():
    assert known_check(URLs.PETS) == FileCheck(None, None)
    assert known_check(URLs.FASHION_SAMPLE).size > 500_000
    assert len(known_check(URLs.FASHION_SAMPLE).sha256) == 64
