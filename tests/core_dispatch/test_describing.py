"""Objects as JSON: names, configuration, state, and what stands in the way."""

import enum
import functools
import json
import math
import operator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torte.dispatch import (
    DisplayedTransform,
    ItemTransform,
    L,
    Pipeline,
    StateError,
    Transform,
    UndescribableError,
    UnknownNameError,
    describe,
    noop,
    rebuild,
    registered_name,
    serializable,
    store_attr,
    typedispatch,
    undescribable,
)


@serializable("test.Vocabulary")
class Vocabulary(Transform):
    """Learns its vocabulary; the default config and a state of its own."""

    def __init__(self, sort=True, *, unknown="?"):
        self.sort, self._unknown = sort, unknown
        self.vocab = None

    def setups(self, items):
        self.vocab = sorted(set(items)) if self.sort else list(dict.fromkeys(items))

    def encodes(self, x: str) -> None:
        return self.vocab.index(x)

    def decodes(self, x: int) -> str:
        return self.vocab[x]

    def state(self):
        return {"vocab": self.vocab}


@serializable
class Stored(DisplayedTransform):
    def __init__(self, size, *more, method="crop"):
        store_attr("size, method")
        self.more = more


@serializable
class Ordered:
    def __init__(self, a, /, b, c, *rest, d=0):
        store_attr("a, b, c, d")
        self.rest = rest


@serializable
class Below(Stored):
    def __init__(self, extra, **kwargs):
        super().__init__(**kwargs)
        self.extra = extra


@serializable
class Inner(ItemTransform):
    def __init__(self, steps, by_name=None):
        self.steps, self.by_name = steps, by_name


@serializable
class Forgetful(Transform):
    def __init__(self, size):
        self.area = size * size


@serializable
class Colour(enum.Enum):
    RED = "r"


@serializable
def plus_one(x: int):
    return x + 1


@serializable
@typedispatch
def table(x: int):
    return x * 10


@serializable
class Image:
    def __init__(self, path):
        self.path = path

    @classmethod
    def open(cls, path):
        return cls(path)


def unregistered(x):
    return x


def through_json(obj):
    return rebuild(json.loads(json.dumps(describe(obj))))


def test_names_are_stable():
    assert registered_name(Vocabulary) == "test.Vocabulary"
    assert registered_name(plus_one) == f"{__name__}.plus_one"
    assert registered_name(Pipeline) == "torte.dispatch.Pipeline"
    assert registered_name(noop) == "torte.dispatch.noop"
    assert registered_name(str.upper) == "builtins.str.upper"
    assert registered_name(unregistered) is None


def test_a_description_says_name_config_and_state():
    vocabulary = Vocabulary(sort=False)
    vocabulary.setup(["b", "a"])
    description = describe(vocabulary)
    assert description == {
        "name": "test.Vocabulary",
        "config": {"sort": False, "unknown": "?"},
        "state": {"vocab": ["b", "a"]},
    }
    again = through_json(vocabulary)
    assert type(again) is Vocabulary
    assert again("a") == 1


def test_functions_and_classes():
    assert describe(plus_one) == {"name": f"{__name__}.plus_one", "config": None, "state": {}}
    for target in (plus_one, table, Image, str.upper, int, noop):
        assert through_json(target) is target


def test_arguments_by_position_by_base_class_and_stored():
    again = through_json(Stored(3, 4, 5, method="pad"))
    assert (again.size, again.more, again.method) == (3, (4, 5), "pad")
    again = through_json(Below(extra=1, size=2))
    assert (again.extra, again.size, again.method) == (1, 2, "crop")


def test_a_whole_pipeline():
    vocabulary = Vocabulary()
    pipe = Pipeline(
        [
            Transform(str.upper),
            vocabulary,
            Transform(plus_one, order=2),
            Inner([plus_one, Vocabulary()], {"t": Transform(table)}),
        ],
        split_idx=1,
    )
    pipe.setup(["b", "a"])
    again = through_json(pipe)
    assert again.name == pipe.name
    assert again.split_idx == 1
    assert again("a") == pipe("a") == 1
    assert again.vocab == ["A", "B"]
    inner = again[Inner]
    assert inner.steps[0] is plus_one
    assert inner.by_name["t"](3) == 30


def test_attributes_set_after_construction_come_along():
    stored = Stored(1)
    stored.split_idx, stored.order = 0, 42
    again = through_json(stored)
    assert (again.split_idx, again.order) == (0, 42)
    assert "attributes" not in describe(Stored(1))
    assert through_json(Transform(plus_one, order=3, split_idx=1)).order == 3


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([plus_one, Image, str.upper, Colour.RED, Image.open])
    | st.builds(Path, st.text("ab/", min_size=1))
    | st.builds(range, st.integers(-9, 9), st.integers(-9, 9)),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.lists(inner).map(lambda items: L(items))
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(st.integers() | st.tuples(st.text()), inner)
        | st.sets(st.integers() | st.text())
        | st.frozensets(st.integers())
        | st.builds(slice, st.integers(), st.integers())
    ),
    max_leaves=15,
)


def same(one, other):
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@given(json_like)
def test_any_configuration_survives_json(value):
    again = through_json(Inner(value))
    assert same(again.steps, value)
    text = json.dumps(describe(Inner(value)), allow_nan=False)
    assert json.loads(text) == describe(rebuild(json.loads(text)))


def test_partials_getters_and_class_methods():
    again = through_json(functools.partial(plus_one, 3))
    assert again() == 4
    assert through_json(operator.itemgetter(1))("ab") == "b"
    assert through_json(operator.itemgetter(1, 0))("ab") == ("b", "a")
    assert through_json(operator.attrgetter("real"))(3) == 3
    assert through_json(Image.open)("p").path == "p"


def test_lists_and_tuples_of_transforms():
    again = through_json([Transform(plus_one), (Stored(1), 3)])
    assert again[0](1) == 2
    assert again[1][0].size == 1


def test_numbers_that_json_does_not_have():
    assert math.isnan(through_json(Stored(math.nan)).size)
    assert through_json(Stored(-math.inf)).size == -math.inf
    json.dumps(describe(Stored(math.inf)), allow_nan=False)


# -- what stands in the way ----------------------------------------------------------------------


def test_culprits_are_named_with_the_way_to_them():
    class Local(Transform):
        pass

    pipe = Pipeline([plus_one, lambda x: x, unregistered, Local(), Inner({"deep": [object()]})])
    culprits = undescribable(pipe)
    assert len(culprits) == 4
    assert culprits[0].startswith("funcs[1].enc: the lambda ")
    assert f"{__file__}:" in culprits[0]
    assert culprits[1].startswith("funcs[2].enc: the function unregistered at ")
    assert culprits[2].startswith("funcs[3]: an object of ")
    assert "Local: decorate the class with @serializable" in culprits[2]
    assert culprits[3].startswith("funcs[4].steps.deep[0]: an object of builtins.object")
    with pytest.raises(UndescribableError) as caught:
        describe(pipe)
    assert all(culprit in str(caught.value) for culprit in culprits)
    assert undescribable(Pipeline([plus_one])) == []


def test_arguments_that_are_not_kept_are_named():
    (culprit,) = undescribable([Forgetful(2)])
    assert culprit.startswith("[0]: Forgetful does not keep its arguments ['size']: store each")


def test_arrays_and_cycles_are_culprits():
    np = pytest.importorskip("numpy")
    assert "value.tolist()" in undescribable(Stored(np.float32(3)))[0]
    items = []
    items.append(items)
    assert undescribable(items) == ["[0]: a list that contains itself"]
    shared = Stored(1)
    assert undescribable([shared, shared]) == []


def test_unknown_names_are_refused_with_the_nearest_ones():
    with pytest.raises(UnknownNameError, match=r"nothing is registered as 'test.Vocab'.*did you mean test.Vocabulary"):  # fmt: skip # noqa: E501
        rebuild({"name": "test.Vocab", "config": {}, "state": {}})
    with pytest.raises(UnknownNameError, match=r"os\.system"):
        rebuild({"name": "os.system", "config": None})
    inner = {"$object": {"name": "os.system", "config": {}}}
    with pytest.raises(UnknownNameError, match=r"os\.system") as caught:
        rebuild({"name": f"{__name__}.Inner", "config": {"steps": inner}})
    assert caught.value.args


def test_what_is_no_description_is_refused():
    with pytest.raises(StateError, match=r"lacks \['config', 'name'\]"):
        rebuild({})
    with pytest.raises(StateError, match="marks nothing"):
        rebuild({"name": f"{__name__}.Inner", "config": {"steps": {"$new": 1}}})
    constructor = {"$constructor": [{"$named": f"{__name__}.Image"}, "__init__"]}
    with pytest.raises(StateError, match="no class method"):
        rebuild({"name": f"{__name__}.Inner", "config": {"steps": constructor}})
    with pytest.raises(TypeError, match="unexpected keyword") as caught:
        rebuild({"name": "test.Vocabulary", "config": {"nothing": 1}})
    assert caught.value.__notes__ == ["while rebuilding test.Vocabulary"]


def test_names_that_are_taken_or_lead_nowhere_are_refused():
    with pytest.raises(StateError, match="is taken by"):

        @serializable("test.Vocabulary")
        class Other:
            pass

    with pytest.raises(StateError, match="is local to a function"):

        @serializable
        class Local:
            pass

    with pytest.raises(StateError, match="not a named class or function"):
        serializable(lambda x: x)
    with pytest.raises(StateError, match="not a named class or function"):
        serializable("test.partial")(functools.partial(int))


def test_the_same_definition_again_replaces():
    def define():
        @serializable("test.again")
        def again(x):
            return x

        return again

    first, second = define(), define()
    assert through_json(second) is second
    assert registered_name(first) is None


def test_classes_of_others_are_given_their_config_from_outside():
    class Foreign:
        def __init__(self, x, y):
            self.point = x, y

    serializable(
        "test.Foreign",
        to_config=lambda f: {"x": f.point[0], "y": f.point[1]},
        from_config=lambda x, y: Foreign(x, y),
    )(Foreign)
    assert through_json(Foreign(1, 2)).point == (1, 2)


def test_arguments_that_can_only_be_passed_by_position():
    again = through_json(Ordered(1, 2, 3))
    assert (again.a, again.b, again.rest) == (1, 2, ())
    again = through_json(Ordered(1, 2, 3, 4, 5, d=6))
    assert (again.a, again.b, again.c, again.rest, again.d) == (1, 2, 3, (4, 5), 6)


@pytest.mark.parametrize(
    "forged",
    [
        {"$attrgetter": ["__class__.__init__.__globals__"]},
        {"$attrgetter": ["real", "a._b"]},
        {"$methodcaller": ["unlink"]},
    ],
)
def test_forged_descriptions_reach_no_further_than_an_item(forged):
    with pytest.raises(StateError, match=r"private attributes|marks nothing"):
        rebuild({"name": "value", "config": {"value": forged}})


def test_forged_attributes_are_refused():
    forged = describe(Transform(plus_one)) | {"attributes": {"_tables": 3}}
    with pytest.raises(StateError, match="may set split_idx, order, not '_tables'"):
        rebuild(forged)
