"""Random transforms of one's own."""

import numpy as np
import pytest
from PIL import Image, ImageOps
from torte.data import PILImage, PILMask, TfmdDL
from torte.data.seeding import current_random
from torte.dispatch import store_attr
from torte.vision import RandTransform


class Posterized(RandTransform):
    def before_call(self, b, split_idx):
        super().before_call(b, split_idx)
        self.bits = current_random().randint(1, 7)

    def encodes(self, img: PILImage):
        return PILImage.create(ImageOps.posterize(img, self.bits))


class Elsewhere(RandTransform):
    """As users of albumentations write them: no call of the base's `__init__`."""

    split_idx, order = None, 2

    def __init__(self, train, valid):
        store_attr()

    def before_call(self, b, split_idx):
        self.value = self.valid if split_idx else self.train

    def encodes(self, img: PILImage):
        return PILImage.create(np.full((2, 2, 3), self.value, dtype=np.uint8))


def picture(seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return PILImage.create(Image.fromarray(pixels))


def test_it_runs_on_the_training_subset_with_its_probability():
    transform = Posterized(p=0.5)
    image = picture()
    assert transform(image, split_idx=1) is image
    runs = [transform(image, split_idx=0) is not image for _ in range(200)]
    assert 60 < sum(runs) < 140
    assert Posterized(p=0)(image, split_idx=0) is image


def test_parts_of_a_tuple_are_changed_by_one_draw():
    image = picture()
    one, two = Posterized()((image, image), split_idx=0)
    assert np.array_equal(np.array(one), np.array(two))
    mask = PILMask.create(np.zeros((8, 8), dtype=np.uint8))
    assert Posterized()((image, mask), split_idx=0)[1] is mask


def test_a_loader_makes_the_draws_repeatable():
    def pixels(workers):
        loader = TfmdDL(
            [picture(i) for i in range(12)], bs=4, after_item=[Posterized(p=0.5), np.array],
            shuffle=True, seed=3, num_workers=workers, create_batch=np.stack,
        )  # fmt: skip
        loader.split_idx = 0
        return np.concatenate(list(loader))

    assert np.array_equal(pixels(0), pixels(2))


def test_functions_instead_of_a_subclass():
    seen = []
    transform = RandTransform(
        enc=lambda o: o + 1, nm="plus", before_call=lambda b, split_idx: seen.append((b, split_idx))
    )
    assert transform(1, split_idx=0) == 2
    assert seen == [(1, 0)]
    assert transform.name == "plus"


def test_a_subclass_need_not_call_the_constructor():
    transform = Elsewhere(7, 9)
    assert np.array(transform(picture(), split_idx=0)).max() == 7
    assert np.array(transform(picture(), split_idx=1)).max() == 9
    assert transform.name == "Elsewhere(train=7, valid=9)"


def test_no_probability():
    with pytest.raises(ValueError, match="Posterized: p=2 is no probability"):
        Posterized(p=2)
