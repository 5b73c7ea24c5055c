"""Keys and draws: against a plain SplitMix64 in Python, and against each other."""

import random
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torte.data import seeding
from torte.data.seeding import (
    GlobalSeeds,
    current_keys,
    current_random,
    draw_for,
    drawing,
    drawing_batch,
    fresh_seed,
    mix,
    next_stream,
    repeated_keys,
    sample_key,
    sample_keys,
    seed_globals,
    set_seed,
    uniform,
)

integers = st.integers(min_value=-(2**70), max_value=2**70)
MASK = 2**64 - 1


def splitmix(state):
    """Reference: one step of SplitMix64, state in, output out."""
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_mix_is_splitmix_of_published_outputs():
    # The first output of SplitMix64 seeded with 0 and with 1234567 (its reference implementation).
    assert splitmix(0) == 0xE220A8397B1DCDAF
    assert splitmix(1234567) == 6457827717110365317
    assert mix(0) == 0xE220A8397B1DCDAF >> 1
    assert mix(1234567) == 6457827717110365317 >> 1


@given(st.lists(integers, min_size=1, max_size=5))
def test_mix_is_in_range_and_repeats(values):
    key = mix(*values)
    assert 0 <= key < 2**63
    assert key == mix(*values)


@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_mix_tells_places_apart(first, second):
    assert mix(first, second) != mix(second, first) or first == second
    assert mix(first) != mix(first, 0)


@given(st.integers(0, 2**40), st.integers(0, 10**6), st.lists(st.integers(0, 2**62), max_size=20))
def test_array_of_keys_is_the_keys(seed, epoch, indices):
    keys = sample_keys(seed, epoch, np.array(indices, dtype=np.int64))
    assert keys.dtype == np.int64
    assert keys.tolist() == [sample_key(seed, epoch, index) for index in indices]


def test_keys_of_a_million_samples_are_distinct():
    keys = sample_keys(3, 1, np.arange(1_000_000))
    assert len(np.unique(keys)) == 1_000_000


def test_repeated_samples_get_other_keys():
    keys = sample_keys(0, 0, np.array([5, 5, 5, 9]))
    again = repeated_keys(keys, np.array([0, 1, 2, 0]))
    assert again[0] == keys[0]
    assert again[3] == keys[3]
    assert len(set(again.tolist())) == 4
    assert (again >= 0).all()
    assert repeated_keys(keys, np.zeros(4, dtype=np.int32)) is keys


def test_draws_of_an_item_come_from_its_key_alone():
    with drawing(17):
        first = [current_random().random() for _ in range(3)]
    random.random()
    with drawing(17):
        again = [current_random().random() for _ in range(3)]
    assert first == again == [random.Random(17).random(), *first[1:]]
    with drawing(18):
        assert current_random().random() != first[0]


def test_drawing_puts_back_what_was_in_force_also_after_an_error():
    with drawing(1):
        inside = current_random()
        with pytest.raises(KeyError, match="x"), drawing(2):
            raise KeyError("x", current_random().random())
        assert current_random() is inside
    with drawing(1), drawing(None):
        torch.manual_seed(0)
        assert current_random().random() == random.Random(_first_draw(0)).random()


def _first_draw(seed):
    torch.manual_seed(seed)
    drawn = fresh_seed()
    torch.manual_seed(seed)
    return drawn


def test_draw_for_is_drawing_without_a_context():
    draw_for(17)
    try:
        assert current_random().random() == random.Random(17).random()
    finally:
        draw_for(None)


def test_each_thread_draws_for_its_own_item():
    seen = {}

    def work(key):
        with drawing(key):
            barrier.wait()
            seen[key] = current_random().random()

    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=work, args=(key,)) for key in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {key: random.Random(key).random() for key in range(4)}


def test_outside_of_a_loader_torchs_seed_rules():
    torch.manual_seed(5)
    item, keys = current_random().random(), current_keys(3)
    torch.manual_seed(5)
    assert current_random().random() == item
    assert torch.equal(current_keys(3), keys)
    assert not torch.equal(current_keys(3), keys)


def test_current_keys_in_a_batch():
    keys = torch.tensor([7, 8, 9])
    with drawing_batch(keys):
        assert current_keys(3) is keys
        assert current_keys(3, "cpu") is keys
        spread = current_keys(7)
        assert spread[:3].tolist() == [7, 8, 9]
        assert len(set(spread.tolist())) == 7
        assert current_keys(2).tolist() == [7, 8]
        assert current_keys(0).shape == (0,)
        with drawing_batch(keys + 1):
            assert current_keys(3).tolist() == [8, 9, 10]
        assert current_keys(3) is keys


def test_streams_count_up_within_a_batch():
    assert next_stream() == next_stream() == 0
    with drawing_batch(torch.arange(2)):
        assert [next_stream(), next_stream()] == [0, 1]
        with drawing_batch(torch.arange(2)):
            assert next_stream() == 0
        assert next_stream() == 2


@given(
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=6),
    st.integers(1, 5),
    st.integers(0, 2**40),
)
def test_uniform_is_splitmix_of_the_key(keys, count, stream):
    gamma = 0x9E3779B97F4A7C15
    expected = [
        [
            (splitmix(((splitmix((key + gamma * stream) & MASK)) + gamma * step) & MASK) >> 40)
            / 2**24
            for key in keys
        ]
        for step in range(count)
    ]
    drawn = uniform(torch.tensor(keys), count, stream)
    assert drawn.dtype == torch.float32
    assert drawn.tolist() == expected


def test_integers_are_the_same_bits_to_their_end():
    keys = torch.from_numpy(sample_keys(3, 1, np.arange(500)))
    drawn = seeding.integers(keys, 4, stream=2)
    assert (drawn.shape, drawn.dtype) == ((4, 500), torch.int64)
    assert drawn.min() >= 0
    assert torch.equal((drawn >> 39).float() * 2.0**-24, uniform(keys, 4, stream=2))
    ones = torch.stack([(drawn >> bit) & 1 for bit in range(63)]).double().mean(dim=(1, 2))
    assert (ones - 0.5).abs().max() < 0.06  # 2,000 numbers: five standard deviations


def test_uniform_is_uniform_and_independent():
    keys = torch.from_numpy(sample_keys(0, 0, np.arange(20_000)))
    drawn = torch.cat([uniform(keys, 3), uniform(keys, 3, stream=1)]).double()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert torch.allclose(drawn.mean(1), torch.full((6,), 0.5).double(), atol=0.01)
    assert torch.allclose(drawn.var(1), torch.full((6,), 1 / 12).double(), atol=0.003)
    off_diagonal = torch.corrcoef(drawn) - torch.eye(6)
    assert off_diagonal.abs().max() < 0.03
    counts = torch.histc(drawn[0].float(), 20, 0, 1)
    assert ((counts - 1000) ** 2 / 1000).sum() < 45  # chi-square, 19 degrees: p = 0.0007


def test_a_samples_draws_do_not_depend_on_its_batch():
    keys = torch.from_numpy(sample_keys(4, 2, np.arange(10)))
    assert torch.equal(uniform(keys, 4)[:, 3:5], uniform(keys[3:5], 4))


def _global_draws():
    return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002 - they count too


def _global_states():
    numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002
    return random.getstate(), numpy_state, torch.get_rng_state().tolist()


def test_global_seeds_are_put_back():
    before = _global_states()
    with GlobalSeeds():
        seed_globals(5)
        first = _global_draws()
        with GlobalSeeds():
            seed_globals(6)
            assert _global_draws() != first
        seed_globals(5)
        assert _global_draws() == first
    assert _global_states() == before


def test_global_seeds_are_put_back_after_an_error():
    before = _global_states()
    with pytest.raises(ZeroDivisionError), GlobalSeeds():
        seed_globals(1 // 0)
    assert _global_states() == before


def test_fresh_seeds_differ_and_follow_torch():
    torch.manual_seed(1)
    seeds = [fresh_seed() for _ in range(10)]
    torch.manual_seed(1)
    assert seeds == [fresh_seed() for _ in range(10)]
    assert len(set(seeds)) == 10
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_set_seed_repeats_every_global_generator():
    def drawn():
        set_seed(2**40 + 7)
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002

    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    try:
        assert drawn() == drawn()
        set_seed(1, reproducible=True)
        assert torch.backends.cudnn.deterministic
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before
