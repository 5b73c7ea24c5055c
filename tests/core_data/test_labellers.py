"""Labels from paths."""

import pickle
import re
from pathlib import Path, PureWindowsPath

import pytest
from torte.data.labellers import RegexLabeller, parent_label, using_attr
from torte.dispatch import describe, rebuild


def test_parent_label():
    assert parent_label(Path("pets/dog/1.png")) == "dog"
    assert parent_label("pets/dog/1.png") == "dog"


def test_regex_labeller_searches_anywhere_or_matches_from_the_start():
    anywhere = RegexLabeller(r"([^/]+)_\d+\.jpg$")
    assert anywhere(Path("images/great_pyrenees_173.jpg")) == "great_pyrenees"
    assert anywhere("images/great_pyrenees_173.jpg") == "great_pyrenees"
    assert anywhere(PureWindowsPath(r"images\beagle_1.jpg").as_posix()) == "beagle"
    from_start = RegexLabeller(re.compile("(.*)/"), match=True)
    assert from_start("dog/1.jpg") == "dog"
    with pytest.raises(ValueError, match=r"the pattern '\(b\)' finds no label in 'ab'"):
        RegexLabeller("(b)", match=True)("ab")


def test_patterns_that_cannot_work_are_refused_at_once():
    with pytest.raises(ValueError, match=r"the pattern 'abc' has no group"):
        RegexLabeller("abc")
    with pytest.raises(ValueError, match=r"'\(' is no regular expression"):
        RegexLabeller("(")


def test_labellers_pickle_and_describe():
    labeller = RegexLabeller(r"(\w)\d")
    for copy in (pickle.loads(pickle.dumps(labeller)), rebuild(describe(labeller))):
        assert copy("x1") == "x"
    assert rebuild(describe(parent_label)) is parent_label


def test_a_labeller_may_look_at_one_attribute():
    labeller = using_attr(RegexLabeller(r"^(.+)_\d+\.jpg$"), "name")
    assert labeller(Path("images/great_pyrenees_173.jpg")) == "great_pyrenees"
    for copy in (pickle.loads(pickle.dumps(labeller)), rebuild(describe(labeller))):
        assert copy(Path("x/beagle_1.jpg")) == "beagle"
    assert repr(using_attr(str, "name")) == "using_attr(<class 'str'>, 'name')"
