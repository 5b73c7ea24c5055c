"""DataLoaders: any iterables held together, devices, loaders for other data."""

import matplotlib.pyplot as plt
import pytest
import torch
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset
from torte.data import (
    CategoryBlock,
    DataBlock,
    Datasets,
    default_device,
    to_cpu,
    to_device,
)
from torte.data.data_loaders import AnyLoader, DataLoaders
from torte.data.errors import LoaderError
from torte.data.loader import DataLoader
from torte.data.tensors import TensorImage
from torte.data.tfmd_loader import TfmdDL


class Vocabulary(list):
    vocab = ("a", "b")

    def new_empty(self):
        return type(self)()


@pytest.fixture
def pair():
    return DataLoaders(
        TfmdDL(Vocabulary(range(20)), bs=4, shuffle=True, num_workers=0),
        TfmdDL(Vocabulary(range(100, 110)), bs=5, num_workers=0),
        path="somewhere",
    )


def test_parts(pair):
    assert pair.train is pair[0]
    assert pair.valid is pair[1]
    assert pair.train_ds == list(range(20))
    assert pair.valid_ds == list(range(100, 110))
    assert len(pair) == 2
    assert list(pair) == [pair.train, pair.valid]
    assert pair.vocab == ("a", "b")
    assert pair.bs == 4
    assert str(pair.path) == "somewhere"
    assert pair.one_batch().shape == (4,)
    assert pair.train.epoch == 0
    with pytest.raises(AttributeError, match="no_such_thing"):
        pair.no_such_thing


def test_missing_loaders():
    with pytest.raises(LoaderError, match="takes at least one loader"):
        DataLoaders()
    single = DataLoaders(DataLoader(range(3), bs=1))
    with pytest.raises(LoaderError, match=r"no validation loader: .* one loader only"):
        single.valid
    with pytest.raises(LoaderError, match="takes iterables of batches, got 3"):
        DataLoaders(3)


def test_device(pair):
    assert pair.device == default_device()
    pair.to("meta")
    assert pair.device.type == "meta"
    assert pair.valid.one_batch().device.type == "meta"
    assert pair.cpu() is pair
    assert pair.one_batch().device.type == "cpu"
    pair.device = "meta"
    assert pair.train.device.type == "meta"
    first = DataLoader(range(4), bs=2, device="meta")
    assert DataLoaders(first, [torch.ones(2)]).valid.device.type == "meta"
    assert DataLoaders(first, device="cpu").device.type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without accelerator")
def test_no_accelerator(pair):
    assert default_device(use=False).type == "cpu"
    assert default_device(-1) == default_device()  # as an argument: whichever there is
    if not torch.backends.mps.is_available():
        with pytest.raises(RuntimeError, match="no accelerator was found"):
            pair.cuda()


def test_moving_structures():
    moved = to_device((torch.ones(1), {"a": [torch.ones(1), "text"]}), "meta")
    assert moved[0].device.type == "meta"
    assert moved[1]["a"][0].device.type == "meta"
    assert moved[1]["a"][1] == "text"
    stays = (torch.ones(1), 3)
    assert to_cpu(stays) is stays


def test_plain_lists_generators_and_torch_loaders():
    batches = [(torch.full((2, 3), float(n)), torch.tensor([n, n])) for n in range(3)]
    dls = DataLoaders(batches, iter(batches))
    assert [int(y[0]) for _, y in dls.train] == [0, 1, 2]
    assert len(dls.train) == 3
    assert dls.n_inp == 1
    assert dls.valid.one_batch()[1].tolist() == [0, 0]
    assert [int(y[0]) for _, y in dls.valid] == [0, 1, 2]
    with pytest.raises(TypeError):
        len(dls.valid)
    data = TensorDataset(torch.arange(10.0), torch.arange(10))
    dls = DataLoaders(TorchLoader(data, 4), TorchLoader(data, 5), device="meta")
    assert dls.train.bs == 4
    assert dls.train.n == 10
    assert dls.train_ds is data
    assert dls.one_batch()[0].device.type == "meta"
    assert type(dls.train) is AnyLoader
    other = dls.cpu().test_dl(TensorDataset(torch.arange(7.0), torch.arange(7)))
    assert [len(x) for x, _ in other] == [5, 2]
    with pytest.raises(LoaderError, match="a list cannot be made anew for other data"):
        DataLoaders(batches).train.new()
    with pytest.raises(ValueError, match="does not contain any batches"):
        DataLoaders([]).one_batch()


def test_plain_batches_are_shown():
    batches = [(TensorImage(torch.rand(4, 3, 5, 5)), torch.arange(4))]
    DataLoaders(batches).show_batch(max_n=3)
    titles = [ax.get_title() for ax in plt.gcf().axes if ax.images]
    assert titles == ["0", "1", "2"]


def test_from_datasets():
    dls = DataLoaders.from_dsets(
        list(range(10)), list(range(6)), bs=4, num_workers=0, after_batch=torch.neg
    )
    assert [loader.shuffle for loader in dls] == [True, False]
    assert [loader.drop_last for loader in dls] == [True, False]
    assert [len(loader) for loader in dls] == [2, 2]
    assert dls.valid.one_batch().tolist() == [0, -1, -2, -3]
    own = DataLoaders.from_dsets([1], [2], [3], bs=(1, 2, 3), shuffle=False, dl_type=DataLoader)
    assert [loader.bs for loader in own] == [1, 2, 3]
    assert type(own[2]) is DataLoader


def test_adding_transforms(pair):
    pair.add_tfms(torch.neg, "after_batch", loaders=1)
    assert pair.valid.one_batch().tolist() == [-100, -101, -102, -103, -104]
    assert pair.one_batch().min() >= 0
    pair.add_tfms([torch.neg], "after_batch")
    assert pair.valid.one_batch()[0] == 100
    assert pair.one_batch().max() <= 0


def test_empty_copies(pair):
    empty = pair.to("meta").new_empty()
    assert [len(loader) for loader in empty] == [0, 0]
    assert (empty.path, empty.device) == (pair.path, pair.device)
    assert empty.vocab == ("a", "b")


def test_loaders_of_other_items():
    dsets = Datasets(list(range(10)), [[lambda n: n * 10], [lambda n: -n]], splits=[[0, 1], [2, 3]])
    dls = dsets.dataloaders(bs=2, num_workers=0)
    test = dls.test_dl([5, 6, 7])
    assert [tuple(part.tolist() for part in batch) for batch in test] == [([50, 60],), ([70],)]
    labelled = dls.test_dl([5, 6, 7], with_labels=True, bs=3)
    assert [part.tolist() for part in labelled.one_batch()] == [[50, 60, 70], [-5, -6, -7]]
    assert not labelled.shuffle
    assert dls.test_dl([500], rm_type_tfms=1).one_batch()[0].tolist() == [500]


def test_from_a_block():
    block = DataBlock(blocks=(CategoryBlock, CategoryBlock), get_y=lambda word: word[0])
    dls = DataLoaders.from_dblock(
        block, ["ab", "ac", "ba", "bb"] * 5, bs=4, val_bs=2, num_workers=0
    )
    assert dls.one_batch()[0].shape == (4,)
    assert dls.valid.one_batch()[0].shape == (2,)


def test_weighted_and_partial_loaders():
    dsets = Datasets(list(range(50)), [[lambda n: n]], splits=[range(40), range(40, 50)])
    weights = [0] * 30 + [1] * 20
    dls = dsets.weighted_dataloaders(weights, bs=8, num_workers=0)
    assert min(int(batch[0].min()) for batch in dls.train) >= 30
    assert torch.cat([batch[0] for batch in dls.valid]).tolist() == list(range(40, 50))
    same = dsets.weighted_dataloaders(weights[:40], bs=8, num_workers=0)
    assert min(int(batch[0].min()) for batch in same.train) >= 30
    with pytest.raises(LoaderError, match="got 3 weights for 40 training items out of 50"):
        dsets.weighted_dataloaders([1, 2, 3])
    part = dsets.partial_dataloaders(16, bs=8, num_workers=0)
    assert [len(part.train), len(part.valid)] == [2, 2]
    block = DataBlock(splitter=lambda items: (range(40), range(40, 50)))
    assert len(block.partial_dataloaders(list(range(50)), 16, bs=8, num_workers=0).train) == 2
    heavy = block.weighted_dataloaders(list(range(50)), weights, bs=8, num_workers=0)
    assert min(int(batch[0].min()) for batch in heavy.train) >= 30
