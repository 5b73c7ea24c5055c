"""Items and batches through a DataBlock: one size, one engine, the same draws in every run."""

import numpy as np
import pytest
import torch
from PIL import Image
from torte.data.data_block import DataBlock
from torte.data.numeric import Normalize
from torte.data.splitters import RandomSplitter
from torte.data.tensors import TensorImage, TensorMask
from torte.vision.augment import Augment, aug_transforms
from torte.vision.blocks import ImageBlock, MaskBlock
from torte.vision.items import Resize


@pytest.fixture
def files(tmp_path):
    """Twelve pictures of different sizes with masks beside them."""
    random = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for number in range(12):
        height, width = random.integers(30, 60, 2)
        mask = np.zeros((height, width), np.uint8)
        mask[5 : height // 2, 5 : width // 2] = 1
        values = np.where(mask[..., None] == 1, 220, 30).astype(np.uint8).repeat(3, 2)
        Image.fromarray(values).save(tmp_path / "images" / f"{number}.png")
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
    return tmp_path


def loaders(files, seed):
    block = DataBlock(
        blocks=(ImageBlock, MaskBlock(codes=["ground", "thing"])),
        get_items=lambda path: sorted((path / "images").iterdir()),
        get_y=lambda path: path.parent.parent / "masks" / path.name,
        splitter=RandomSplitter(0.25, seed=1),
        item_tfms=Resize(32),
        batch_tfms=[*aug_transforms(p_affine=1.0), Normalize.from_stats([0.5] * 3, [0.25] * 3)],
    )
    return block.dataloaders(files, bs=3, num_workers=0, seed=seed)


def test_images_and_masks_come_augmented_in_step_and_repeatable(files):
    first, again, other = (list(loaders(files, seed)[0]) for seed in (7, 7, 8))
    assert len(first) == 3
    for (x, y), (same_x, same_y) in zip(first, again, strict=True):
        assert isinstance(x, TensorImage)
        assert isinstance(y, TensorMask)
        assert x.shape == (3, 3, 32, 32)
        assert y.shape == (3, 32, 32)
        assert y.dtype == torch.int64
        assert torch.equal(x, same_x)
        assert torch.equal(y, same_y)
        grey = (x.as_subclass(torch.Tensor) * 0.25 + 0.5).mean(1)
        bright = grey > 0.5
        agree = bright == (y.as_subclass(torch.Tensor) == 1)
        assert agree.float().mean() > 0.95
    assert not torch.equal(first[0][0], other[0][0])


def test_the_loader_runs_one_engine(files):
    dls = loaders(files, 7)
    dls[0].one_batch()
    steps = dls[0].after_batch._forward_steps(0)
    assert [type(step) for step in steps] == [Augment]
    x, _ = dls[1].one_batch()
    assert torch.equal(x, dls[1].one_batch()[0])
