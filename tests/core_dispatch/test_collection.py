"""L: construction, indexing, and the methods its users know."""

import copy
import json
import operator
import pickle
import random
from itertools import islice
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torte.dispatch import L


def test_the_papers_example():
    pairs = [(1, -3), (2, 5), (3, -7), (4, 1)]
    assert L(pairs).itemgot(1).map(abs).filter(lambda o: o > 4).sum() == 12


@pytest.mark.parametrize(
    ("made", "items"),
    [
        (L(), []),
        (L(None), []),
        (L(3), [3]),
        (L("abc"), ["abc"]),
        (L(b"abc"), [b"abc"]),
        (L([1, 2]), [1, 2]),
        (L((1, 2)), [1, 2]),
        (L(1, 2, 3), [1, 2, 3]),
        (L([1], [2]), [[1], [2]]),
        (L(range(3)), [0, 1, 2]),
        (L(n for n in (1, 2)), [1, 2]),
        (L({"a": 1}), [{"a": 1}]),
        (L({1}), [1]),
        (L("ab", use_list=True), ["a", "b"]),
        (L(1, match=[1, 2, 3]), [1, 1, 1]),
        (L([1, 2], match="ab"), [1, 2]),
        (L(L(1, 2)), [1, 2]),
    ],
)
def test_construction(made, items):
    assert isinstance(made, list)
    assert list(made) == items


def test_a_match_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="2 items cannot match 3"):
        L([1, 2], match=[1, 2, 3])


def test_arrays_are_single_items_unless_their_items_are_asked_for():
    np = pytest.importorskip("numpy")
    array = np.arange(3)
    assert len(L(array)) == 1
    assert L(array, use_list=True) == [0, 1, 2]
    assert L(array, use_list=None) == [0, 1, 2]
    assert L("ab", use_list=None) == ["ab"]


def test_frames_are_single_items():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1, 2]})
    assert L(frame)[0] is frame
    assert len(L(frame["a"])) == 1
    assert L(frame["a"], use_list=True) == [1, 2]


# -- indexing ------------------------------------------------------------------------------------


@given(st.lists(st.integers()), st.data())
def test_indices_pick_what_a_plain_list_would(items, data):
    made = L(items)
    where = data.draw(st.slices(len(items)))
    assert made[where] == items[where]
    mask = data.draw(st.lists(st.booleans(), min_size=len(items), max_size=len(items)))
    assert made[mask] == [item for item, keep in zip(items, mask, strict=True) if keep]
    if items:
        places = data.draw(st.lists(st.integers(-len(items), len(items) - 1)))
        assert made[places] == [items[place] for place in places]
        assert made[tuple(places)] == [items[place] for place in places]
        for place in places:
            assert made[place] == items[place]


def test_numpy_arrays_and_tensors_index():
    np = pytest.importorskip("numpy")
    torch = pytest.importorskip("torch")
    letters = L("a", "b", "c")
    for library in (np.array, torch.tensor):
        assert letters[library([2, 0, -1])] == ["c", "a", "c"]
        assert letters[library([True, False, True])] == ["a", "c"]
        assert letters[library(1)] == "b"
    assert letters[np.int64(2)] == "c"
    assert letters[[np.bool_(True), np.bool_(False), np.bool_(False)]] == ["a"]
    assert letters[[torch.tensor(1), np.int32(0)]] == ["b", "a"]


def test_impossible_indices_are_errors():
    letters = L("a", "b")
    with pytest.raises(IndexError, match="mask of 1 booleans cannot index 2 items"):
        letters[[True]]
    with pytest.raises(IndexError, match="index 5 is out of range for 2 items"):
        letters[[0, 5]]
    with pytest.raises(IndexError, match="out of range"):
        letters[2]
    with pytest.raises(TypeError, match="cannot index with 'a'"):
        letters["a"]


def test_setting_one_several_and_slices():
    items = L(range(5))
    items[0] = 10
    items[1, 2] = 20, 30
    items[[False, False, False, True, True]] = 0
    assert items == [10, 20, 30, 0, 0]
    items[3:] = [7]
    assert items == [10, 20, 30, 7]


def test_items_and_attributes_of_the_items():
    assert L([("a", (1, 2)), ("b", (3, 4))]).itemgot(1, 0) == [1, 3]
    things = L(SimpleNamespace(n=1, deep=SimpleNamespace(x=5)), SimpleNamespace(n=2))
    assert things.attrgot("n") == [1, 2]
    assert things.attrgot("deep.x", 0) == [5, 0]
    assert L({"a": 1}, {}).attrgot("a", 9) == [1, 9]
    things.setattrs("n", 3)
    assert things.attrgot("n") == [3, 3]


# -- methods -------------------------------------------------------------------------------------


def test_map_takes_functions_format_strings_and_anything_indexable():
    assert L(1, 2).map(operator.neg) == [-1, -2]
    assert L(1, 2).map(pow, 3) == [3, 9]  # arguments come before the item
    assert L(1, 2).map(range, 5) == [range(5, 1), range(5, 2)]
    assert L(1, 2).map(pow, exp=3) == [1, 8]
    assert L("1", "11").map(int, base=2) == [1, 3]
    assert L(1, 2).map("#{}#") == ["#1#", "#2#"]
    assert L(0, 1, 1).map(["a", "b"]) == ["a", "b", "b"]
    assert L("x").map({"x": 1}) == [1]
    assert type(L(1).map(str)) is L


def test_map_relatives():
    assert L(1, 2).map_dict(str) == {1: "1", 2: "2"}
    assert L(1, 2).map_dict() == {1: 1, 2: 2}
    assert L([1, 2], [3, 4]).starmap(pow) == [1, 81]
    assert L([1, 2], [3, 4]).map_zip(operator.mul) == [3, 8]
    assert L([1, 2], [3, 4]).map_zip(lambda a, b, c: a * b + c, 1) == [4, 6]
    assert L(1, 2).map_zipwith(operator.mul, [10, 20]) == [10, 40]
    assert L(0, 3, 4).map_first(lambda o: o * 2) == 6
    assert L(0, 0).map_first() is None
    assert L(1, 2, 3).map_filter(lambda o: o - 2) == [-1, 1]


def test_choosing():
    assert L(0, 1, 2).filter() == [1, 2]
    assert L(1, 2, 3).filter(lambda o: o > 1, negate=True) == [1]
    assert L(1, 2, 3).filter(lambda o: o > 1, True) == [1]
    assert L(1, 2, 3).filter(lambda o, least: o > least, least=1) == [2, 3]
    assert L(1, 2, 3).argwhere(lambda o: o > 1, True) == [0]
    assert L(3, 1, 3).argwhere(lambda o: o == 3) == [0, 2]
    assert L(3, 1, 3).argfirst(lambda o: o != 3) == 1
    assert L(3).argfirst(lambda o: o != 3) is None
    assert L(3, 1).argfirst(lambda o: o == 3, True) == 1
    assert L(3, 1, 3).unique() == [3, 1]
    assert L(3, 1, 3).unique(sort=True, start=0) == [0, 1, 3]
    assert L(3, 1, 3).unique(bidir=True) == ([3, 1], {3: 0, 1: 1})
    assert L("a", "b").val2idx() == {"a": 0, "b": 1}
    assert L(1, 2, 3).groupby(lambda o: o % 2) == {1: [1, 3], 0: [2]}
    assert L([("a", 1), ("b", 2), ("a", 3)]).groupby(0, 1) == {"a": [1, 3], "b": [2]}


def test_ordering():
    assert L(3, 1, 2).sorted() == [1, 2, 3]
    assert L(3, 1, 2).sorted(reverse=True) == [3, 2, 1]
    assert L("bb", "a").sorted(len) == ["a", "bb"]
    assert L([(1, "b"), (2, "a")]).sorted(1) == [(2, "a"), (1, "b")]
    things = L(SimpleNamespace(n=2), SimpleNamespace(n=1))
    assert things.sorted("n").attrgot("n") == [1, 2]
    assert L(1, 3, 2).sorted(cmp=lambda a, b: b - a) == [3, 2, 1]
    items = L(range(20))
    assert items.shuffle(random.Random(0)) == items.shuffle(random.Random(0))
    assert items.shuffle().sorted() == items


def test_combining():
    assert L("a", "b").enumerate() == [(0, "a"), (1, "b")]
    assert L("a", "b").renumerate() == [("a", 0), ("b", 1)]
    assert L([1, 2], "ab").zip() == [(1, "a"), (2, "b")]
    assert L([1, 2, 3], "ab").zip(cycled=True) == [(1, "a"), (2, "b"), (3, "a")]
    assert L(1, 2).zipwith("ab", [3, 4]) == [(1, "a", 3), (2, "b", 4)]
    assert L([1, 2], [3], 4).concat() == [1, 2, 3, 4]
    assert list(islice(L(1, 2).cycle(), 3)) == [1, 2, 1]
    assert L(1, 2, 3).reduce(operator.sub) == -4
    assert L(1, 2, 3).reduce(operator.sub, 10) == 4
    assert (L(2, 3).sum(), L().sum(), L(2, 3).product(), L().product()) == (5, 0, 6, 1)


def test_class_methods():
    assert L.split("a b c") == ["a", "b", "c"]
    assert L.split("a-b-c", "-", 1) == ["a", "b-c"]
    assert L.splitlines("a\nb") == ["a", "b"]
    assert L.range(3) == [0, 1, 2]
    assert L.range(1, 6, 2) == [1, 3, 5]
    assert L.range([7, 7]) == [0, 1]
    assert type(L.range(2)) is L


def test_operators():
    assert L(1) + [2] == [1, 2]  # noqa: RUF005
    assert L(1) + 2 == [1, 2]
    assert [0] + L(1) == [0, 1]  # noqa: RUF005
    assert 0 + L(1) == [0, 1]
    assert L(1, 2) * 2 == 2 * L(1, 2) == [1, 2, 1, 2]
    assert ~L(True, 0) == [False, True]
    items = L(1)
    same = items
    items += [2]
    items *= 2
    assert same == [1, 2, 1, 2]
    assert type(L(1) + L(2)) is type(L(1) * 2) is L


def test_equality():
    assert L(1, 2) == L(1, 2) == [1, 2]
    assert L(1, 2) == (1, 2)
    assert L(1, 2) != [1]
    assert L(1) != 1
    np = pytest.importorskip("numpy")
    assert L(1, 2) == np.array([1, 2])
    assert L(np.array([1, 2]), 3) == [np.array([1, 2]), 3]
    assert L(np.array([1, 2])) != [np.array([1, 3])]
    with pytest.raises(TypeError, match="unhashable"):
        hash(L())


def test_shown_copied_and_written():
    assert repr(L(1, "a")) == "(#2) [1, 'a']"
    assert repr(L(range(20))) == "(#20) [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...]"
    items = L(1, [2])
    for again in (pickle.loads(pickle.dumps(items)), copy.deepcopy(items), items.copy()):
        assert again == items
        assert type(again) is L
    assert json.dumps(items) == "[1, [2]]"


def test_subclasses_stay_what_they_are():
    class Names(L):
        pass

    assert type(Names("a", "b")[1:]) is Names
    assert type(Names("a").map(str.upper)) is Names


def test_first_and_last_of_those_that_hold():
    numbers = L(1, 2, 3)
    assert (numbers.first(), numbers.last()) == (1, 3)
    assert (L().first(), L().last()) == (None, None)
    assert numbers.first(lambda o: o > 1) == 2
    assert numbers.last(lambda o: o < 3) == 2
    assert numbers.first(lambda o: o < 2, negate=True) == 2


def test_parts_of_a_list():
    numbers = L(1, 2, 3, 1)
    assert numbers.partition(lambda o: o > 1) == ([2, 3], [1, 1])
    assert numbers.takewhile(lambda o: o < 3) == [1, 2]
    assert numbers.dropwhile(lambda o: o < 3) == [3, 1]
    assert numbers.compress([1, 0, 1, 0]) == [1, 3]
    assert numbers.pairwise() == [(1, 2), (2, 3), (3, 1)]
    assert L(1, 2, 3).batched(2) == [(1, 2), (3,)]
    assert type(numbers.takewhile(bool)) is L
    with pytest.raises(ValueError, match="n=0: a batch holds at least one item"):
        numbers.batched(0)


def test_choices_orders_and_running_totals():
    numbers = L(1, 2, 3)
    assert numbers.combinations(2) == [(1, 2), (1, 3), (2, 3)]
    assert len(numbers.permutations()) == 6
    assert numbers.permutations(1) == [(1,), (2,), (3,)]
    assert numbers.accumulate() == [1, 3, 6]
    assert numbers.accumulate(operator.mul, initial=2) == [2, 2, 4, 12]


def test_flattening():
    assert L(1, [2, (3, "ab")], {"k": [4]}).flatten() == [1, 2, 3, "ab", {"k": [4]}]
    assert L("ab", ["c"]).flatten() == ["ab", "c"]
    assert L(1, 2).flatmap(range) == [0, 0, 1]


def test_keys_take_arguments_and_ranges_compare():
    assert L(2, 1).sorted(lambda o, by: by[o], by={1: 0, 2: 5}) == [1, 2]
    assert L(1, 2) == range(1, 3)
    assert L({"a": 1}).attrgot(k="a") == [1]
