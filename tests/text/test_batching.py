"""Padding, length-sorted batches, and rows of a language model."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torte.data import Datasets
from torte.text import (
    LMDataLoader,
    Pad_Chunk,
    Pad_Input,
    PadChunk,
    PadInput,
    SortedDL,
    TensorText,
    pad_chunk,
    pad_input,
    pad_input_chunk,
)


def text(*numbers):
    return torch.tensor(numbers, dtype=torch.int64).as_subclass(TensorText)


def test_pad_input_fills_up_on_either_side() -> None:
    samples = [(text(1, 2, 3), 0), (text(7), 1)]
    padded = pad_input(samples, pad_idx=9)
    assert [sample[0].tolist() for sample in padded] == [[1, 2, 3], [7, 9, 9]]
    first = pad_input(samples, pad_idx=9, pad_first=True)
    assert [sample[0].tolist() for sample in first] == [[1, 2, 3], [9, 9, 7]]
    turned = pad_input(samples, pad_idx=9, backwards=True)
    assert [sample[0].tolist() for sample in turned] == [[3, 2, 1], [7, 9, 9]]
    both = pad_input([(text(1), text(1, 2)), (text(3, 4), text(5))], pad_fields=[0, 1], pad_idx=0)
    assert [[part.tolist() for part in sample] for sample in both] == [
        [[1, 0], [1, 2]],
        [[3, 4], [5, 0]],
    ]


@given(st.integers(0, 30), st.integers(1, 9), st.integers(0, 40), st.booleans())
def test_pad_chunk_lets_texts_begin_at_a_chunk(length, seq_len, extra, first) -> None:
    numbers = torch.arange(2, 2 + length)
    padded = pad_chunk(numbers, pad_idx=1, pad_first=first, seq_len=seq_len, pad_len=length + extra)
    assert len(padded) == length + extra
    assert padded[padded != 1].tolist() == numbers.tolist()
    if first and length:
        assert int((padded != 1).nonzero()[0]) % seq_len == 0


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=6),
    st.integers(1, 9),
    st.booleans(),
)
def test_batches_are_padded_as_each_text_alone(lengths, seq_len, first) -> None:
    texts = [torch.arange(2, 2 + length).as_subclass(TensorText) for length in lengths]
    samples = [(each, place) for place, each in enumerate(texts)]
    longest = max(lengths)
    chunked = PadChunk(1, first, seq_len)(samples)
    assert [sample[1] for sample in chunked] == list(range(len(lengths)))
    for (row, _), each in zip(chunked, texts, strict=True):
        assert type(row) is TensorText
        assert torch.equal(row, pad_chunk(each, 1, first, seq_len, longest))
    reference = torch.nn.utils.rnn.pad_sequence(
        [torch.arange(2, 2 + length) for length in lengths],
        batch_first=True,
        padding_value=1,
        padding_side="left" if first else "right",
    )
    padded = pad_input(samples, pad_first=first)
    assert torch.equal(torch.stack([row for row, _ in padded]), reference)


def texts_dataset(lengths):
    return Datasets(
        list(range(len(lengths))),
        [[lambda n: torch.full((lengths[n],), n).as_subclass(TensorText)], [lambda n: n]],
        splits=[list(range(len(lengths))), []],
    )


def test_texts_come_longest_first_without_shuffling() -> None:
    lengths = [3, 9, 1, 7, 5, 2]
    loader = SortedDL(texts_dataset(lengths).train, bs=2, before_batch=PadChunk(seq_len=4))
    shapes = [tuple(batch[0].shape) for batch in loader]
    assert shapes == [(2, 9), (2, 5), (2, 2)]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=70), st.integers(1, 8), st.integers(0, 99))
def test_a_shuffled_pass_has_every_text_once_and_the_longest_first(lengths, bs, seed) -> None:
    dataset = texts_dataset(lengths).train
    loader = SortedDL(
        dataset, bs=bs, shuffle=True, seed=seed, before_batch=PadChunk(seq_len=4), num_workers=0
    )
    batches = list(loader)
    assert sorted(n for batch in batches for n in batch[1].tolist()) == list(range(len(lengths)))
    full = [batch[0].shape[1] for batch in batches if len(batch[1]) == bs]
    assert not full or full[0] == max(full)
    if len(lengths) >= bs:
        assert batches[0][0].shape[1] == max(lengths)


def corpus(lengths):
    ends = np.cumsum([0, *lengths]).tolist()
    parts = [torch.arange(start, end) for start, end in pairwise(ends)]
    return [(part.as_subclass(TensorText),) for part in parts]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 25), min_size=1, max_size=12), st.integers(1, 5), st.integers(1, 9))
def test_rows_go_on_from_batch_to_batch(lengths, bs, seq_len) -> None:
    total = sum(lengths)
    if total <= bs:
        with pytest.raises(ValueError, match=f"{total} tokens are too few for bs={bs}"):
            LMDataLoader(corpus(lengths), bs=bs, seq_len=seq_len)
        return
    loader = LMDataLoader(corpus(lengths), bs=bs, seq_len=seq_len)
    batches = list(loader)
    assert len(batches) == len(loader)
    inputs = torch.cat([batch[0] for batch in batches], dim=1)
    targets = torch.cat([batch[1] for batch in batches], dim=1)
    length = (total - 1) // bs
    expected = torch.arange(bs * length).view(bs, length)
    assert torch.equal(inputs.as_subclass(torch.Tensor), expected)
    assert torch.equal(targets.as_subclass(torch.Tensor), expected + 1)


def test_texts_are_joined_in_a_new_order_each_pass() -> None:
    loader = LMDataLoader(corpus([10] * 20), bs=2, seq_len=11, shuffle=True, seed=5)
    first, second = (torch.cat([batch[0] for batch in loader], dim=1) for _ in range(2))
    assert not torch.equal(first, second)
    again = LMDataLoader(corpus([10] * 20), bs=2, seq_len=11, shuffle=True, seed=5)
    assert torch.equal(torch.cat([batch[0] for batch in again], dim=1), first)


def test_pad_input_chunk_does_what_its_transform_does() -> None:
    padded = pad_input_chunk([(text(1, 2, 3, 4, 5), 0), (text(6), 1)], pad_idx=0, seq_len=2)
    assert [sample[0].tolist() for sample in padded] == [[1, 2, 3, 4, 5], [0, 0, 0, 0, 6]]
    assert [sample[1] for sample in padded] == [0, 1]
    assert (Pad_Chunk, Pad_Input) == (PadChunk, PadInput)


def test_a_sorted_loader_takes_the_steps_that_data_blocks_pass() -> None:
    loader = SortedDL([(text(1, 2),), (text(3, 4),)], bs=2, seq_len=72)
    assert loader.one_batch()[0].shape == (2, 2)


def test_processes_share_the_rows_of_a_language_model():
    def make():
        return LMDataLoader(corpus([10] * 20), bs=4, seq_len=11, shuffle=True, seed=5)

    shares = [list(make().share(rank, 3)) for rank in range(3)]
    for (x, y), *parts in zip(make(), *shares, strict=True):
        assert torch.equal(x, torch.cat([share.batch[0] for share in parts]))
        assert torch.equal(y, torch.cat([share.batch[1] for share in parts]))
