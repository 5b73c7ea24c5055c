"""Several pipelines over one collection."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torte.data.categories import Categorize, MultiCategorize, OneHotEncode
from torte.data.datasets import Datasets, decode_at, show_at, test_set
from torte.data.getters import ColReader, ItemGetter
from torte.data.images import PILImage
from torte.data.numeric import RegressionSetup, ToTensor
from torte.data.splitters import RandomSplitter
from torte.data.tensors import TensorCategory
from torte.data.tfmd_lists import TfmdLists
from torte.data.tfmd_loader import TfmdDL
from torte.dispatch import L, Transform


class Neg(Transform):
    def encodes(self, x: int):
        return -x

    def decodes(self, x: int):
        return -x


def simple(**kwargs):
    return Datasets([1, 2, 3, 4], [[Neg()], [str, Categorize()]], **kwargs)


def test_an_item_is_a_tuple_of_what_each_pipeline_makes():
    dsets = simple()
    assert dsets[1] == (-2, TensorCategory(1))
    assert type(dsets[1]) is tuple
    assert dsets[[0, 3]] == [(-1, 0), (-4, 3)]
    assert isinstance(dsets[:2], L)
    assert list(dsets)[2][0] == -3
    assert len(dsets) == 4
    assert decode_at(dsets, 2) == (3, "3")


@given(labels=st.lists(st.text(max_size=3), min_size=2, max_size=20), seed=st.integers(0, 9))
def test_decoding_gives_back_what_went_in(labels, seed):
    items = list(enumerate(labels))
    dsets = Datasets(
        items,
        [[ItemGetter(0), Neg()], [ItemGetter(1), Categorize(vocab=labels)]],
        splits=RandomSplitter(0.3, seed)(items),
    )
    for part in (dsets, dsets.train, dsets.valid):
        assert [part.decode(part[i]) for i in range(len(part))] == list(part.items)


def test_inputs_and_targets():
    assert simple().n_inp == 1
    assert Datasets([1], [[Neg()]]).n_inp == 1
    assert Datasets([1], [[Neg()]] * 3).n_inp == 2
    assert simple(n_inp=2).n_inp == 2
    with pytest.raises(ValueError, match="n_inp=3, but there are 2 parts"):
        simple(n_inp=3)
    with pytest.raises(ValueError, match="Datasets needs items, or tls"):
        Datasets(tfms=[None])
    with pytest.raises(ValueError, match="needs at least one pipeline"):
        Datasets([1], [])


def test_attributes_are_read_through():
    assert simple().vocab == ["1", "2", "3", "4"]
    assert simple().c == 4
    two = Datasets(["a", "b"], [None, Categorize(), Categorize(["x", "a", "b"])])
    assert two.vocab == [["a", "b"], ["a", "b", "x"]]
    with pytest.raises(
        AttributeError, match="neither Datasets nor a transform in it has 'nothing'"
    ):
        two.nothing
    assert "vocab" in dir(two)


def test_subsets_share_transforms_and_splits_are_arrays():
    dsets = simple(splits=[[0, 2], [1, 3]])
    assert dsets.n_subsets == 2
    assert all(isinstance(split, np.ndarray) and split.dtype == np.int64 for split in dsets.splits)
    assert dsets.vocab == ["1", "3"]
    assert dsets.train.tls[1].tfms is dsets.tls[1].tfms
    assert dsets.valid.items == [2, 4]
    assert dsets.train.subset(0).items == [1, 3]
    assert (dsets.train.split_idx, dsets.valid.split_idx) == (0, 1)
    assert dsets.train[1] == (-3, 1)


def test_the_subset_can_be_set_for_a_while():
    dsets = Datasets([1], [[Transform(lambda x: x + 1, split_idx=0)], [str]])
    valid = Datasets(tls=[tl.new([1], split_idx=1) for tl in dsets.tls])
    assert valid[0] == (1, "1")
    with valid.set_split_idx(0) as changed:
        assert changed is valid
        assert valid[0] == (2, "1")
    assert valid[0] == (1, "1")
    with pytest.raises(KeyError), valid.set_split_idx(0):
        raise KeyError
    assert valid.split_idx == 1


def test_parts_may_have_sources_of_their_own():
    tls = [TfmdLists([1, 2], Neg()), TfmdLists(["a", "b"], None)]
    dsets = Datasets(tls=tls)
    assert list(dsets) == [(-1, "a"), (-2, "b")]


def test_the_item_is_read_once_for_all_parts():
    class Counting:
        reads = 0

        def __len__(self):
            return 3

        def __getitem__(self, index):
            type(self).reads += 1
            return index

    dsets = Datasets(Counting(), [[Neg()], [str], [float]], do_setup=False, splits=[[0, 1], [2]])
    Counting.reads = 0
    assert dsets.train[1] == (-1, "1", 1.0)
    assert Counting.reads == 1


def test_errors_name_the_item():
    dsets = Datasets(["1", "x"], [[int], [float]], do_setup=False, splits=[[0], [1]])
    for failing in (lambda: dsets[1], lambda: dsets.valid[0], lambda: dsets.tls[0][1]):
        with pytest.raises(ValueError, match="invalid literal") as caught:
            failing()
        assert any(
            note.startswith("with item") and "'x'" in note for note in caught.value.__notes__
        )


def test_decoding_inputs_alone_and_too_many_parts():
    dsets = simple()
    assert dsets.decode((-3,)) == (3,)
    with pytest.raises(ValueError, match="an item of 3 parts for 2 pipelines"):
        dsets.decode((1, 2, 3))


def test_showing_passes_the_context_on():
    import matplotlib.pyplot as plt

    dsets = Datasets(
        ["dog", "cat"], [[lambda o: PILImage.create(np.zeros((3, 3, 3), np.uint8))], [Categorize()]]
    )
    _, axes = plt.subplots()
    assert show_at(dsets, 0, ctx=axes) is axes
    assert axes.get_title() == "dog"
    assert len(axes.images) == 1


def test_loaders_of_each_subset():
    items = list(range(10))
    dsets = Datasets(
        items,
        [[lambda x: torch.tensor(float(x))], [str, Categorize(map(str, items))]],
        splits=[list(range(7)), [7, 8, 9]],
    )
    dls = dsets.dataloaders(bs=3, num_workers=0)
    assert [type(dl) for dl in dls.loaders] == [TfmdDL, TfmdDL]
    assert [len(x) for x, _ in dls.train] == [3, 3]  # shuffled: the short last batch is dropped
    assert [x.tolist() for x, _ in dls.valid] == [[7, 8, 9]]
    assert dls.vocab == dsets.vocab
    ordered = dsets.dataloaders(bs=3, shuffle_train=False, val_bs=2, num_workers=0)
    assert [x.tolist() for x, _ in ordered.train] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [len(x) for x, _ in ordered.valid] == [2, 1]
    few = dsets.dataloaders(bs=2, n=4, shuffle=False, num_workers=0)
    assert [x.tolist() for x, _ in few.train] == [[0, 1], [2, 3]]
    assert len(list(few.valid)) == 2
    own = dsets.dataloaders(bs=3, num_workers=0, dl_kwargs=[{}, {"bs": 1}])
    assert [dl.bs for dl in own.loaders] == [3, 1]
    with pytest.raises(ValueError, match="dl_kwargs has 1 entries for 2 subsets"):
        dsets.dataloaders(dl_kwargs=[{}])


def test_a_training_set_smaller_than_a_batch_is_not_dropped():
    dsets = Datasets([1, 2, 3], [[Neg()]], splits=[[0, 1], [2]])
    assert [len(x) for (x,) in dsets.dataloaders(bs=8, num_workers=0).train] == [2]
    assert list(dsets.dataloaders(bs=8, drop_last=True, num_workers=0).train) == []


def test_loaders_of_a_single_list_and_without_validation_items():
    tl = TfmdLists([1, 2, 3, 4], Neg())
    dls = tl.dataloaders(bs=2, shuffle=False, num_workers=0)
    assert [batch.tolist() for batch in dls.train] == [[-1, -2], [-3, -4]]
    assert list(dls.valid) == []
    assert dls.n_inp == 1


def test_loaders_use_the_datas_own_class():
    class Own(TfmdDL):
        pass

    dls = simple(dl_type=Own, splits=[[0, 1], [2, 3]], train_setup=False).dataloaders(num_workers=0)
    assert {type(dl) for dl in dls.loaders} == {Own}


# -- test sets -------------------------------------------------------------------------------------


def frame_of_images(folder, count=3):
    for number in range(count):
        pixels = np.full((4, 4, 3), number, np.uint8)
        PILImage.create(pixels).save(folder / f"{number}.png")
    return pd.DataFrame({"file": [f"{n}.png" for n in range(count)], "label": ["a", "b", "a"]})


def test_test_sets_have_inputs_and_labels_on_request(tmp_path):
    frame = frame_of_images(tmp_path)
    dsets = Datasets(
        frame,
        [
            [ColReader("file", pref=tmp_path), PILImage.create, ToTensor()],
            [ColReader("label"), Categorize()],
        ],
        splits=[[0, 1], [2]],
    )
    unlabelled = test_set(dsets, frame)
    assert len(unlabelled[2]) == 1
    assert unlabelled.split_idx == 1
    assert int(unlabelled[2][0].max()) == 2
    labelled = test_set(dsets, frame, with_labels=True)
    assert labelled[1][1] == 1
    assert labelled.n_inp == 1
    opened = [PILImage.create(tmp_path / "1.png")]
    for items in (opened, [tmp_path / "1.png"], [str(tmp_path / "1.png")], [np.asarray(opened[0])]):
        assert int(test_set(dsets, items)[0][0].max()) == 1
    assert int(test_set(dsets, opened, rm_tfms=2)[0][0].max()) == 1
    # What was made for a test leaves the original as it was.
    assert len(dsets.tls[0].tfms) == 3
    assert len(test_set(dsets, [])) == 0


def test_test_sets_of_lists_and_of_other_things():
    tl = TfmdLists([1, 2], Neg())
    assert list(test_set(tl, [5])) == [-5]
    with pytest.raises(TypeError, match="needs Datasets or TfmdLists, not list"):
        test_set([1], [2])


def test_multi_label_and_regression_pipelines():
    frame = pd.DataFrame({"tags": ["x y", "y", ""], "n": [1, 2, 3]})
    dsets = Datasets(
        frame,
        [
            [ColReader("n")],
            [ColReader("tags", label_delim=" "), MultiCategorize(), OneHotEncode()],
            [ColReader("n"), RegressionSetup()],
        ],
        n_inp=1,
    )
    assert dsets[0][1].tolist() == [1, 1]
    assert dsets[2][1].tolist() == [0, 0]
    assert dsets.decode(dsets[0])[1] == ["x", "y"]
    assert dsets[2][2] == 3.0
    assert dsets.c == [2, 1]


def test_datasets_pickle():
    dsets = Datasets([Path("x/1"), Path("y/2")], [[str]])
    again = pickle.loads(pickle.dumps(dsets))
    assert list(again) == [("x/1",), ("y/2",)]


def test_it_prints_itself():
    assert repr(simple()) == (
        "Datasets: (4 items) [1, 2, 3, ...]\ntfms - [[Neg], [str, Categorize]]"
    )


MEMORY = """
import multiprocessing, sys
from pathlib import Path
import numpy as np
from torte.data.datasets import Datasets

def private():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))

def read(dsets, queue):
    sizes = []
    for epoch in range(3):
        for item in dsets.train:
            pass
        sizes.append(private())
    queue.put(sizes)

if __name__ == "__main__":
    count = 200_000
    paths = [Path(f"/data/class_{i % 100}/image_{i}.jpg") for i in range(count)]
    splits = [np.random.default_rng(0).permutation(count)[:190_000], np.arange(190_000, count)]
    dsets = Datasets(paths, [[str]], splits=splits)
    del paths
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    worker = context.Process(target=read, args=(dsets, queue))
    worker.start()
    first, *_, last = queue.get(timeout=200)
    worker.join()
    print(first, last)
    assert last - first < 4096, (first, last)  # kB; a list of paths would cost 40 MB
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads Linux's /proc")
def test_the_memory_of_a_forked_worker_stays_flat_over_epochs(tmp_path):
    script = tmp_path / "memory.py"
    script.write_text(MEMORY)
    result = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
