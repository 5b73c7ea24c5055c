"""TfmdDL: pipelines over items and batches, decoding, types put back, attributes read through."""

from collections import UserDict

import pytest
import torch
from support.data_items import CountsUp
from torch import Tensor
from torte.data.loader import DataLoader
from torte.data.sampling import PartialDL, WeightedDL
from torte.data.tensors import Category, TensorBase, TensorCategory, TensorImage, TensorMask, plain
from torte.data.tfmd_loader import TfmdDL, batch_to_samples
from torte.dispatch import L, Pipeline, Transform


class Negate(Transform):
    def encodes(self, x: TensorImage):
        return -x

    def decodes(self, x: TensorImage):
        return -x


class Scale(Transform):
    """Learns its factor from the first batch of the loader it is set up with."""

    order = 99
    parameters = ("factor",)

    def __init__(self):
        super().__init__()
        self.factor = None

    def setups(self, items: DataLoader):
        self.factor = items.one_batch()[0].abs().max()

    def encodes(self, x: TensorImage):
        return x / self.factor

    def decodes(self, x: TensorImage):
        return x * self.factor


class OnlyTraining(Transform):
    split_idx = 0

    def encodes(self, x: TensorImage):
        return x + 100


class Numbered:
    """Image n is full of n; its label is n modulo three; labels decode to letters."""

    n_inp = 1
    vocab = ("a", "b", "c")

    def __init__(self, count=20, split_idx=None):
        self.count, self.split_idx = count, split_idx

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return TensorImage(torch.full((1, 2, 2), float(index))), TensorCategory(
            torch.tensor(index % 3)
        )

    def decode(self, sample, full=True):
        return sample[0], Category(self.vocab[int(sample[1])])


def loader(dataset=None, **arguments):
    dataset = Numbered() if dataset is None else dataset
    return TfmdDL(dataset, **{"bs": 4, "num_workers": 0, **arguments})


def test_defaults():
    made = TfmdDL(Numbered())
    assert made.bs == 64
    assert made.num_workers == 0
    assert not made.shuffle
    for name in ("after_item", "before_batch", "after_batch"):
        assert type(getattr(made, name)) is Pipeline


def test_transforms_of_batches_and_back():
    made = loader(after_batch=Negate())
    x, y = made.one_batch()
    assert type(x) is TensorImage
    assert type(y) is TensorCategory
    assert x[:, 0, 0, 0].tolist() == [0, -1, -2, -3]
    back = made.decode((x, y))
    assert back[0][:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    samples = made.decode_batch((x, y), max_n=3)
    assert isinstance(samples, L)
    assert [label for _, label in samples] == ["a", "b", "c"]
    assert [image.mean().item() for image, _ in samples] == [0, 1, 2]


def test_plain_tensors_are_decoded_as_what_batches_are():
    made = loader(after_batch=Negate())
    image, label = made.decode_batch(plain(made.one_batch()))[1]
    assert type(image) is TensorImage
    assert image.mean() == 1
    assert label == "b"
    fresh = loader(after_batch=Negate())  # has not made a batch yet
    assert fresh.decode((torch.full((1, 1, 2, 2), -5.0), torch.tensor([0])))[0].mean() == 5


@pytest.mark.parametrize(
    "given", [lambda: Negate(), lambda: [Negate()], lambda: Pipeline(Negate())]
)
def test_transforms_are_given_in_any_form(given):
    assert loader(after_batch=given()).one_batch()[0].mean() == -1.5
    assert loader(after_item=given()).one_batch()[0].mean() == -1.5


def test_functions_serve_as_transforms():
    def add_one(x: TensorImage):
        return x + 1

    assert loader(after_item=add_one, after_batch=[add_one, add_one]).one_batch()[0].mean() == 4.5
    padded = loader(before_batch=lambda items: items[:2])
    assert padded.one_batch()[0].shape[0] == 2


def test_item_transforms_are_undone_too():
    made = loader(after_item=Negate())
    assert made.one_batch()[0][3].mean() == -3
    assert made.decode_batch(made.one_batch())[3][0].mean() == 3


def test_setting_up_with_the_loader_sees_the_steps_before():
    made = loader(after_batch=[Scale(), Negate()])
    assert made.after_batch.factor == 3
    assert made.one_batch()[0][:, 0, 0, 0].tolist() == pytest.approx([0, -1 / 3, -2 / 3, -1])
    assert not hasattr(made, "tfms")
    image, _ = made.decode_batch(made.one_batch())[3]
    assert image.mean().item() == pytest.approx(3)
    left = loader(after_batch=[Scale()], do_setup=False)
    assert left.after_batch[0].factor is None


def test_verbose(capsys):
    loader(after_batch=Negate(), verbose=True)
    assert capsys.readouterr().out == "Setting up after_batch: Pipeline: Negate\n"


def test_subsets_decide_which_transforms_run():
    for event in ("after_item", "after_batch"):
        train = loader(Numbered(split_idx=0), **{event: OnlyTraining()})
        assert train.one_batch()[0].min() == 100
        valid = train.new(Numbered(split_idx=1))
        assert valid.one_batch()[0].min() == 0
        assert train.new(Numbered(split_idx=0)).one_batch()[0].min() == 100
        assert train.one_batch()[0].min() == 100


def test_attributes_are_read_through():
    made = loader()
    assert made.vocab == ("a", "b", "c")
    assert made.count == 20
    with pytest.raises(AttributeError, match="nothing_like_it"):
        made.nothing_like_it
    assert "vocab" in dir(made)


def test_number_of_inputs():
    assert loader().n_inp == 1
    assert loader([(1, 2, 3)] * 4).n_inp == 2
    assert loader([1, 2, 3, 4]).n_inp == 1
    assert loader([(1,)] * 4).n_inp == 1
    assert loader([(1, 2, 3)] * 4, n_inp=1).n_inp == 1
    assert loader([(1, 2, 3)] * 4, n_inp=1).new().n_inp == 1
    assert loader([{"a": 1, "b": 2}] * 4).n_inp == 1


def test_new_keeps_transforms_without_setting_them_up_again():
    made = loader(after_batch=[Scale()], shuffle=True, seed=4)
    other = made.new(Numbered(8), bs=8, shuffle=False)
    assert other.after_batch[0] is made.after_batch[0]
    assert other.after_batch is not made.after_batch
    assert other.one_batch()[0].max() == pytest.approx(7 / float(made.after_batch.factor))
    assert (other.bs, len(other), other.seed) == (8, 1, 4)
    bare = made.new(cls=DataLoader, after_batch=None)
    assert type(bare) is DataLoader


def test_adding_transforms():
    made = loader()
    made.add_tfms([Negate()], "after_batch")
    assert made.one_batch()[0].mean() == -1.5
    made.add_tfms(Scale, "after_batch")
    assert made.after_batch.factor == 3
    with pytest.raises(ValueError, match=r"one of after_item, .*, got 'before_item'"):
        made.add_tfms(Negate(), "before_item")


def test_transforms_move_with_the_loader():
    made = loader(after_batch=[Scale()])
    made.to("meta")
    assert made.after_batch[0].factor.device.type == "meta"
    assert made.one_batch()[0].device.type == "meta"


def test_dicts():
    items = [{"image": TensorImage(torch.full((1, 2, 2), float(n))), "n": n} for n in range(4)]
    made = loader(items)
    batch = made.one_batch()
    assert type(batch["image"]) is TensorImage
    samples = made.decode_batch(plain(batch), max_n=2)
    assert [type(sample["image"]) for sample in samples] == [TensorImage] * 2
    assert [int(sample["n"]) for sample in samples] == [0, 1]
    encodings = loader([UserDict(ids=torch.ones(2)), UserDict(ids=torch.zeros(2))])
    assert isinstance(encodings.one_batch(), UserDict)
    assert encodings.one_batch()["ids"].shape == (2, 2)


def test_iterable_datasets_and_ready_made_batches():
    assert [b.tolist() for b in loader(CountsUp(5))] == [[0, 1, 2, 3], [4]]
    batches = [(TensorImage(torch.ones(2, 1, 2, 2)), torch.zeros(2))] * 3
    made = TfmdDL(batches, bs=None, num_workers=0, after_batch=Negate())
    assert len(made) == 3
    assert [x.mean().item() for x, _ in made] == [-1, -1, -1]


def test_batches_taken_apart():
    batch = (torch.arange(3), [["a", "b", "c"], TensorMask(torch.ones(3, 2), codes=[1])])
    samples = batch_to_samples(batch, max_n=2)
    assert [len(samples), int(samples[1][0]), samples[1][1][0]] == [2, 1, "b"]
    assert samples[0][1][1].codes == [1]
    assert batch_to_samples(torch.ones(3, 2), 5)[2].tolist() == [1, 1]
    assert batch_to_samples(["a", "b"], 1) == ["a"]


def test_unique_shows_one_sample_in_many_ways():
    class Jitter(Transform):
        def encodes(self, x: TensorImage):
            from torte.data.seeding import current_random

            return x + current_random().random()

    made = loader(after_item=Jitter(), shuffle=True, seed=0)
    x, y, samples = made.show_batch(unique=True, max_n=5, show=False)
    assert len(samples) == 5
    assert len({int(label) for label in y}) == 1
    assert len({image.mean().item() for image, _ in samples}) == 5
    assert type(x) is TensorImage


def test_showing_parts():
    made = loader(after_batch=Negate())
    x, y, samples = made.show_batch(show=False, max_n=2)
    assert x.mean() == 1.5
    assert type(y) is TensorCategory
    assert [label for _, label in samples] == ["a", "b"]
    batch = made.one_batch()
    parts = made.show_results(batch, torch.tensor([2, 2, 2, 2]), max_n=2, show=False)
    assert [out for (out,) in parts[3]] == ["c", "c"]
    assert [label for _, label in parts[2]] == ["a", "b"]


# -- sampling ----


def test_weights():
    weights = [0.0] * 10 + [1.0, 3.0] * 5
    made = WeightedDL(range(20), bs=2000, wgts=weights, shuffle=True, seed=1, num_workers=0)
    drawn = torch.cat([batch for _ in range(200) for batch in made])
    counts = torch.bincount(drawn, minlength=20).double()
    assert counts[:10].sum() == 0
    expected = torch.tensor(weights[10:], dtype=torch.float64) / 20 * 4000
    assert ((counts[10:] - expected) ** 2 / expected).sum() < 30  # 9 degrees: p < 0.0005
    assert [b.tolist() for b in made.new(shuffle=False)] == [list(range(20))]
    assert made.new(range(5), shuffle=True).wgts is None
    again = WeightedDL(range(20), bs=2000, wgts=weights, shuffle=True, seed=1, num_workers=0)
    assert again.one_batch().tolist() == drawn[:20].tolist()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], r"a weight for each of its 3 samples, got weights of shape \(2,\)"),
        ([1, -1, 0], "must be finite, at least 0"),
        ([0, 0, 0], "not all 0"),
        ([1, float("nan"), 0], "must be finite"),
    ],
)
def test_weights_that_make_no_sense(weights, message):
    with pytest.raises(ValueError, match=message):
        WeightedDL(range(3), wgts=weights)


def test_parts_of_the_data():
    made = PartialDL(range(100), bs=8, partial_n=20, shuffle=True, seed=0, num_workers=0)
    first, second = (torch.cat(list(made)).tolist() for _ in range(2))
    assert len(made) == 3
    assert len(set(first)) == len(set(second)) == 20
    assert first != second
    ordered = torch.cat(list(made.new(shuffle=False))).tolist()
    assert ordered == sorted(ordered)
    assert len(made.new(range(50))) == 7
    with pytest.raises(ValueError, match="partial_n must be at least 1, got 0"):
        PartialDL(range(3), partial_n=0)


def test_a_batch_that_shows_itself():
    class Shown(TensorBase):
        def show(self, ctx=None, max_n=9, **kwargs):
            seen.append((self.shape, max_n))

    seen = []
    made = loader([0] * 4, create_batch=lambda items: Shown(torch.zeros(4, 2)))
    made.show_batch(max_n=3)
    assert seen == [((4, 2), 3)]
    assert type(plain(made.one_batch())) is Tensor
