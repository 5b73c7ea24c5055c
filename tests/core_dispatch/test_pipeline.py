"""Pipelines: order, set-up, running both ways, showing, fusing, reading through."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torte.dispatch import AnnotationError, ItemTransform, L, Pipeline, Transform


class Add(Transform):
    def __init__(self, by, order=0, split_idx=None):
        self.by, self.order, self.split_idx = by, order, split_idx

    def encodes(self, x: int):
        return x + self.by

    def decodes(self, x: int):
        return x - self.by


class Multiply(Add):
    def encodes(self, x: int):
        return x * self.by

    def decodes(self, x: int):
        return x // self.by


class Vocabulary(Transform):
    order = 1

    def setups(self, items):
        self.vocab = sorted(set(items))

    def encodes(self, x: str) -> None:
        return self.vocab.index(x)

    def decodes(self, x: int) -> str:
        return self.vocab[x]


def lower(x: str):
    return x.lower()


def test_steps_run_sorted_by_order_and_backwards():
    pipe = Pipeline([Multiply(2, order=5), Add(1), Add(3, order=5)])
    assert [step.order for step in pipe.fs] == [0, 5, 5]
    assert pipe(1) == (1 + 1) * 2 + 3
    assert pipe.decode(7) == 1
    assert pipe((1, "a", (2,))) == (7, "a", (9,))


@given(
    st.lists(st.tuples(st.sampled_from([Add, Multiply]), st.integers(1, 9), st.integers(0, 3))),
    st.lists(st.integers() | st.text()).map(tuple),
    st.sampled_from([None, 0, 1]),
    st.lists(st.sampled_from([None, 0, 1])),
)
def test_decode_undoes_encode(steps, x, split_idx, subsets):
    subsets = [*subsets, *[None] * len(steps)]
    pipe = Pipeline(
        [cls(by, order, s) for (cls, by, order), s in zip(steps, subsets, strict=False)]
    )
    assert pipe.decode(pipe(x, split_idx=split_idx), split_idx=split_idx) == x


def test_what_a_pipeline_is_made_of():
    assert Pipeline()(3) == 3
    assert Pipeline(None).fs == []
    assert Pipeline(lower)("A") == "a"
    assert Pipeline(Add(1))(1) == 2
    assert Pipeline([str.strip, Transform(lower), Vocabulary]).fs.map(type)[-1] is Vocabulary
    assert Pipeline(step for step in [Add(1), Add(2)])(0) == 3
    inner = Pipeline([Add(1), Add(2)])
    assert Pipeline(inner).fs == inner.fs
    assert len(Pipeline([inner, Add(3), [Add(4)]])) == 4
    with pytest.raises(AnnotationError, match="3 cannot be a transform"):
        Pipeline([3])
    for wrong in ("abc", ["abc"], [b"abc"], [{"a": 1}]):
        with pytest.raises(AnnotationError, match="cannot be a transform"):
            Pipeline(wrong)


def test_a_nested_pipeline_for_another_subset_stays_one_step():
    inner = Pipeline([Add(1, split_idx=0)], split_idx=0)
    outer = Pipeline([inner, Add(10)])
    assert outer(0) == 11
    assert outer.decode(11) == 0
    assert len(outer) == 2


def test_split_idx_of_the_pipeline_and_of_a_call():
    pipe = Pipeline([Add(1, split_idx=0), Add(10, split_idx=1), Add(100)])
    assert (pipe(0), pipe(0, split_idx=0), pipe(0, split_idx=1)) == (100, 101, 110)
    pipe.split_idx = 1
    assert (pipe(0), pipe(0, split_idx=0)) == (110, 101)
    assert pipe.decode(110) == 0


def test_each_step_is_set_up_on_what_the_ones_before_produce():
    pipe = Pipeline([Vocabulary, Transform(lower)])
    pipe.setup(["B", "a", "A"])
    assert pipe.vocab == ["a", "b"]
    assert pipe("B") == 1
    assert pipe.decode(1) == "b"


def test_set_up_sees_a_lazy_view_with_the_items_attributes():
    class Items(list):
        source = "somewhere"

        @property
        def train(self):
            return Items(self[:2])

    class Look(Transform):
        order = 2

        def setups(self, items):
            self.seen = list(items), len(items), items[0], list(items[1:]), items.source

    look = Look()
    Pipeline([Add(1), look]).setup(Items([1, 2, 3]))
    assert look.seen == ([2, 3, 4], 3, 2, [3, 4], "somewhere")
    Pipeline([Add(1), look]).setup(Items([1, 2, 3]), train_setup=True)
    assert look.seen == ([2, 3], 2, 2, [3], "somewhere")


def test_items_that_apply_the_pipeline_themselves_see_the_steps_so_far():
    class Lazy:
        def __init__(self, items, tfms):
            self.items, self.tfms = items, tfms
            tfms.setup(self)

        def __iter__(self):
            return (self.tfms(item) for item in self.items)

    pipe = Pipeline([Vocabulary, Transform(lower)])
    lazy = Lazy(["B", "a"], pipe)
    assert pipe.vocab == ["a", "b"]
    assert list(lazy) == [1, 0]


def test_a_failing_set_up_names_the_step_and_leaves_the_steps_in_place():
    class Fails(Transform):
        def setups(self, items):
            raise ValueError("no")

    pipe = Pipeline([Add(1), Fails(), Add(2)])
    with pytest.raises(ValueError, match="no") as caught:
        pipe.setup([1])
    assert caught.value.__notes__ == ["while setting up Fails, after the steps Add"]
    assert len(pipe) == 3


def test_add_sorts_and_sets_up():
    pipe = Pipeline([Transform(lower)])
    pipe.add(Vocabulary, ["B", "a"])
    assert pipe("B") == 1
    pipe.add([Add(5, order=9), Add(1, order=-1)])
    assert [step.order for step in pipe.fs] == [-1, 0, 1, 9]


def test_steps_are_found_by_place_class_and_name():
    add, vocabulary = Add(1), Vocabulary()
    pipe = Pipeline([add, vocabulary, lower])
    assert pipe[0] is add
    assert pipe[Vocabulary] is vocabulary
    assert pipe["lower"]("A") == "a"
    assert pipe[:2] == [add, pipe["lower"]]
    assert Vocabulary in pipe
    assert "lower" in pipe
    assert add in pipe
    assert ItemTransform not in pipe
    with pytest.raises(KeyError, match="Multiply"):
        pipe[Multiply]


def test_attributes_are_read_through():
    pipe = Pipeline([Add(1), Vocabulary(), Add(2)])
    pipe[Vocabulary].vocab = ["a"]
    assert pipe.vocab == ["a"]
    assert pipe.by == L(1, 2)
    assert "vocab" in dir(pipe)
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        pipe.nothing_of_the_kind
    with pytest.raises(AttributeError, match="_hidden"):
        pipe._hidden


class Title(str):
    def show(self, ctx=None, **kwargs):
        return [*(ctx or []), (str(self), kwargs)]


def test_show_decodes_until_something_can_show_itself():
    class Length(Transform):
        def encodes(self, x: str) -> None:
            return len(x)

        def decodes(self, x: int) -> Title:
            return Title("x" * x)

    class BeforeThat(Transform):
        order = -1

        def decodes(self, x: str):
            raise AssertionError("decoded too far")

    pipe = Pipeline([BeforeThat(), Length()])
    assert pipe.show(2) == [("xx", {})]
    assert pipe.show((1, 2), ctx=["first"], size=3) == [
        "first", ("x", {"size": 3}), ("xx", {"size": 3}),
    ]  # fmt: skip
    assert type(pipe.decode(2, full=False)) is Title
    assert Pipeline([Add(1)]).show(3, ctx="axes") == "axes"
    assert Pipeline([Add(1)]).show((Title("a"), 3)) == [("a", {})]


def test_errors_name_the_step_and_what_it_was_given():
    class Fails(Transform):
        def encodes(self, x: int):
            raise ValueError("no")

        def decodes(self, x: int):
            raise ValueError("neither")

    pipe = Pipeline([Add(1), Fails()])
    with pytest.raises(ValueError, match="no") as caught:
        pipe((1, "a"))
    assert caught.value.__notes__ == [
        "in the step Fails of the pipeline Add -> Fails, on a tuple of int, str"
    ]
    with pytest.raises(ValueError, match="neither") as caught:
        pipe.decode(1)
    assert caught.value.__notes__ == [
        "decoding the step Fails of the pipeline Add -> Fails, on a int"
    ]


# -- fusing --------------------------------------------------------------------------------------


class Shift(Add):
    """Two shifts are one."""

    merged = 0

    def fuse(self, following):
        if not isinstance(following, Shift):
            return None
        Shift.merged += 1
        return FusedShift([*getattr(self, "parts", [self]), following])


class FusedShift(Shift):
    def __init__(self, parts):
        self.parts = parts

    def encodes(self, x: int):
        return x + sum(part.by for part in self.parts)


def test_neighbours_fuse_and_everything_else_sees_the_steps():
    Shift.merged = 0
    steps = [Shift(1), Shift(2), Multiply(3), Shift(4), Shift(5), Shift(6)]
    pipe = Pipeline(steps)
    assert pipe(1) == (1 + 3) * 3 + 15
    assert pipe(1) == 27
    assert Shift.merged == 3
    assert pipe.fs == steps
    assert pipe.decode(27) == 1
    steps[0].by = 2
    assert pipe(1) == 30


def test_fusing_follows_the_subset_and_changes_of_the_steps():
    pipe = Pipeline([Shift(1), Shift(2, split_idx=0), Shift(4)])
    assert (pipe(0), pipe(0, split_idx=0), pipe(0, split_idx=1)) == (5, 7, 5)
    pipe.fs[1].split_idx = 1
    assert (pipe(0, split_idx=0), pipe(0, split_idx=1)) == (5, 7)
    pipe.add(Shift(8))
    assert pipe(0) == 13
    del pipe.fs[0]
    assert pipe(0) == 12


def test_pipelines_pickle_and_copy():
    pipe = Pipeline([Shift(1), Shift(2), lower])
    pipe((1, "A"))
    for again in (pickle.loads(pickle.dumps(pipe)), copy.deepcopy(pipe), copy.copy(pipe)):
        assert again((1, "A")) == (4, "a")
        assert again.decode((4, "a")) == (1, "a")


def test_it_is_shown_as_the_chain_of_its_steps():
    assert repr(Pipeline([lower, Add(1, order=1)])) == "Pipeline: lower -> Add"


def test_a_step_is_found_by_the_name_of_its_class():
    class TimesTwo(Transform):
        def encodes(self, x: int):
            return 2 * x

    step = TimesTwo()
    pipe = Pipeline([step, Add(1), Add(2)])
    assert pipe.times_two is step
    with pytest.raises(AttributeError, match="times_three"):
        _ = pipe.times_three
