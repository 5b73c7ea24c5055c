"""Results take on the semantic type of what they were made from."""

import collections
import datetime
import enum
from typing import NamedTuple

import pytest
from torte.dispatch import DispatchError, cast, retain_type, retain_types


class Metres(float):
    """A number that means something."""


class Feet(float):
    """Another one."""


class Text(str):
    """A string that carries attributes."""


class Image:
    def __init__(self, pixels):
        self.pixels = pixels


class Photo(Image):
    pass


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value=None):
        self.value = getattr(value, "value", value)


class Wider(Slotted):
    __slots__ = ("more",)


class Array:
    """Stands for a tensor: its library casts it."""

    def __init__(self, data):
        self.data = data

    def as_subclass(self, cls):
        made = object.__new__(cls)
        made.data = self.data
        return made


class Mask(Array):
    pass


class Hooked(int):
    @classmethod
    def __torte_cast__(cls, value):
        made = cls(value)
        made.was_cast = True
        return made


class Meta(Array):
    def set_meta(self, other):
        self.codes = [*other.codes, "kept"]


class Pair(tuple):
    __slots__ = ()


class XY(NamedTuple):
    x: object
    y: object


class Colour(enum.IntEnum):
    RED = 1


def test_a_plain_result_takes_the_type_of_the_input():
    assert type(retain_type(2.0, Metres(1))) is Metres
    assert type(retain_type("a", Text("b"))) is Text
    assert type(retain_type((1, 2), Pair((3, 4)))) is Pair
    assert retain_type((1, 2), XY(3, 4)) == XY(1, 2)


def test_another_type_is_left_alone():
    feet = Feet(1)
    assert retain_type(feet, Metres(1)) is feet
    assert retain_type("text", Metres(1)) == "text"
    assert type(retain_type(1, Metres(1))) is int
    assert retain_type(None, Metres(1)) is None
    assert retain_type(3) == 3


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (2, True),
        (2, Colour.RED),
        (datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1)),
        ({}, collections.defaultdict(list)),
        (object(), Metres(1)),
    ],
)
def test_built_in_classes_and_enumerations_are_no_semantic_types(new, old):
    assert retain_type(new, old) is new


def test_an_explicit_type_wins_and_nonetype_keeps_the_result():
    assert type(retain_type(2.0, Metres(1), Feet)) is Feet
    assert type(retain_type(2.0, Metres(1), type(None))) is float
    assert type(retain_type("2", None, int)) is int
    metres = Metres(2)
    assert retain_type(metres, 1.0, float) is metres


def test_libraries_cast_their_own_objects():
    mask = retain_type(Array([1]), Mask([0]))
    assert type(mask) is Mask
    assert mask.data == [1]
    assert retain_type(3, Hooked(1)).was_cast


def test_plain_classes_are_reassigned_and_other_layouts_constructed():
    image = Image([1])
    photo = retain_type(image, Photo([0]))
    assert photo is image
    assert type(photo) is Photo
    wider = retain_type(Slotted(3), Wider(0))
    assert type(wider) is Wider
    assert wider.value == 3


def test_attributes_come_along_without_overwriting():
    old = Text("old")
    old.language, old.score = "en", 1
    new = retain_type("new", old)
    assert (new.language, new.score) == ("en", 1)
    mask, old_mask = Array([1]), Mask([0])
    old_mask.codes = ["a"]
    result = retain_type(mask, old_mask)
    assert result.codes == ["a"]
    assert result.data == [1]
    meta = Meta([0])
    meta.codes = ["a"]
    assert retain_type(Array([1]), meta).codes == ["a", "kept"]


def test_a_class_that_does_not_take_the_value_says_what_to_do():
    with pytest.raises(DispatchError, match=r"cannot be turned into int.*__torte_cast__"):
        cast("text", int)


def test_numpy_arrays_and_torch_tensors_take_part():
    np = pytest.importorskip("numpy")
    torch = pytest.importorskip("torch")

    class Signal(np.ndarray):
        pass

    class Volume(torch.Tensor):
        pass

    signal = np.arange(3).view(Signal)
    kept = retain_type(np.zeros(3), signal)
    assert type(kept) is Signal
    assert kept.shape == (3,)
    volume = torch.ones(2).as_subclass(Volume)
    volume.spacing = 0.5
    kept = retain_type(torch.zeros(2), volume)
    assert type(kept) is Volume
    assert kept.spacing == 0.5
    assert kept.tolist() == [0, 0]
    assert cast(torch.tensor(2.0), float) == 2.0
    assert type(cast(torch.tensor(2.0), float)) is float


def test_tuples_keep_class_and_element_types():
    assert retain_types((1.0, "a"), XY(Metres(2), "b")) == XY(1.0, "a")
    assert type(retain_types((1.0, "a"), XY(Metres(2), "b")).x) is Metres
    nested = retain_types((1.0, (2.0, 3)), (Metres(1), Pair((Metres(2), 3))))
    assert type(nested[0]) is Metres
    assert type(nested[1]) is Pair
    assert type(nested[1][0]) is Metres
    assert type(retain_types((1, 2, 3), Pair((1, 2)))) is Pair
    assert retain_types((1, 2, 3), XY(1, 2)) == (1, 2, 3)
