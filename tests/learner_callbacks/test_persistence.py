import json
import os
import stat

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.learners import line_learner
from torch import nn
from torte.learner import FileFormatError, StateTypeError, load_model, save_model
from torte.learner.files import written
from torte.learner.packing import pack, read_file, unpack, write_file
from torte.optim import SGD, Adam

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.lists(st.integers(-9, 9), max_size=3).map(torch.tensor),
)
nested = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=5), inner, max_size=3),
        st.dictionaries(st.integers(), inner, max_size=3),
    ),
    max_leaves=8,
)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and all(map(same, one, other)) and len(one) == len(other)
    return type(one) is type(other) and one == other


@given(nested)
def test_packing_and_unpacking_gives_the_same(value):
    tensors = {}
    packed = json.loads(json.dumps(pack(value, tensors, "")))
    assert same(unpack(packed, tensors), value)


@given(nested)
@settings(max_examples=25, deadline=None)
def test_files_give_the_same(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("packed") / "file.safetensors"
    write_file(path, "test", {"value": value})
    assert same(read_file(path, "test"), {"value": value})


def test_what_cannot_be_saved_is_named_and_nothing_is_written(tmp_path):
    with pytest.raises(StateTypeError, match=r"\.a\.1 is a object; only tensors"):
        write_file(tmp_path / "x.safetensors", "test", {"a": [1, object()]})
    assert list(tmp_path.iterdir()) == []


def test_shared_and_strided_tensors(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    content = {"whole": base, "again": base, "part": base[1], "turned": base.T}
    path = write_file(tmp_path / "x.safetensors", "test", content)
    assert same(read_file(path, "test"), content)


def test_other_kinds_of_file_are_refused(tmp_path):
    path = write_file(tmp_path / "x.safetensors", "one", {})
    with pytest.raises(FileFormatError, match="holds a 'one', not a 'other'"):
        read_file(path, "other")
    save_file({"a": torch.ones(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(FileFormatError, match="torte did not write it"):
        read_file(tmp_path / "plain.safetensors", "one")
    torch.save({"a": 1}, tmp_path / "pickle.pth")
    with pytest.raises(FileFormatError, match="torte reads no pickles"):
        read_file(tmp_path / "pickle.pth", "one")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_file(tmp_path / "nothing", "one")
    text = json.dumps({"torte": 99, "kind": "one", "content": {}})
    save_file({}, tmp_path / "new.safetensors", metadata={"torte": text})
    with pytest.raises(FileFormatError, match="has format 99; this torte reads formats up to 1"):
        read_file(tmp_path / "new.safetensors", "one")
    for text in ("[" * 100_000, "{}", "not json", '{"torte": 1, "kind": "one"}'):
        save_file({}, tmp_path / "bad.safetensors", metadata={"torte": text})
        with pytest.raises(FileFormatError, match=r"description in .* is damaged"):
            read_file(tmp_path / "bad.safetensors", "one")


# -- writing ------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail():
        with written(path) as beside:
            beside.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_written_files_have_ordinary_permissions(tmp_path):
    mask = os.umask(0o022)
    try:
        with written(tmp_path / "file") as beside:
            beside.write_text("new")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


# -- save and load ------------------------------------------------------------------------------


def trained(opt_func=Adam, seed=0, **kwargs):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    learn = line_learner(model=model, opt_func=opt_func, **kwargs)
    learn.fit(1)
    return learn


@pytest.mark.parametrize("opt_func", [Adam, SGD, torch.optim.AdamW])
def test_a_loaded_learner_goes_on_as_the_saved_one(tmp_path, opt_func):
    learn, other = trained(opt_func, path=tmp_path), trained(opt_func, 1, path=tmp_path)
    path = learn.save("first")
    assert path == tmp_path / "models" / "first.safetensors"
    other.load("first")
    for each in (learn, other):
        each.fit(1)
    assert learn.recorder.raw_losses == other.recorder.raw_losses
    assert same(dict(learn.model.state_dict()), dict(other.model.state_dict()))


def test_weights_alone(tmp_path):
    learn, other = trained(path=tmp_path), trained(seed=1, path=tmp_path)
    learn.save("weights", with_opt=False)
    state = other.opt.state_dict()
    assert other.load("weights") is other
    assert same(other.opt.state_dict(), state)
    assert same(dict(learn.model.state_dict()), dict(other.model.state_dict()))


def test_a_fresh_learner_makes_the_optimizer_that_it_loads(tmp_path):
    learn = trained(path=tmp_path)
    learn.save("all")
    fresh = line_learner(model=nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)),
                         path=tmp_path)  # fmt: skip
    fresh.load("all")
    assert same(fresh.opt.state_dict(), learn.opt.state_dict())


def test_the_file_is_plain_safetensors(tmp_path):
    learn = trained(path=tmp_path)
    tensors = load_file(learn.save("x"))
    assert torch.equal(tensors["model.0.weight"], learn.model[0].weight)
    with safe_open(tmp_path / "models/x.safetensors", "pt") as file:
        assert json.loads(file.metadata()["torte"])["kind"] == "weights"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(1, 5), nn.BatchNorm1d(5), nn.Linear(5, 1)), r"\(5, 1\) here"),
        (nn.Sequential(nn.Linear(1, 4)), "unknown '1.bias'"),
        (nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1), nn.PReLU()),
         "missing '3.weight'"),
    ],
)  # fmt: skip
def test_weights_of_another_model_are_refused_and_change_nothing(tmp_path, model, message):
    learn = trained(path=tmp_path)
    learn.save("x")
    other = line_learner(model=model, path=tmp_path)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(FileFormatError, match=f"do not fit Sequential: .*{message}"):
        other.load("x")
    assert same(before, dict(model.state_dict()))


def test_loading_part_of_a_model(tmp_path):
    learn = trained(path=tmp_path)
    learn.save("x", with_opt=False)
    other = nn.Sequential(nn.Linear(1, 4), nn.ReLU())
    load_model(tmp_path / "models/x.safetensors", other, strict=False)
    assert torch.equal(other[0].weight, learn.model[0].weight)


def test_an_optimizer_that_does_not_fit_leaves_the_weights_alone(tmp_path):
    path = tmp_path / "x.safetensors"
    one, two = nn.Linear(1, 1), nn.Linear(1, 1)
    saved = SGD([("w", one.weight), ("b", one.bias)], lr=0.1, mom=0.9)
    save_model(path, one, saved)
    before = {k: v.clone() for k, v in two.state_dict().items()}
    with pytest.raises(Exception, match=r".") as caught:
        load_model(path, two, Adam([("other", two.weight)], lr=0.1))
    assert "with_opt=False" in caught.value.__notes__[-1]
    assert same(before, dict(two.state_dict()))


def test_compiled_models_are_saved_under_their_own_names(tmp_path):
    learn = trained(path=tmp_path)
    plain = load_file(learn.save("plain", with_opt=False))
    learn.model = torch.compile(learn.model, backend="eager")
    compiled = load_file(learn.save("compiled", with_opt=False))
    assert plain.keys() == compiled.keys()
    learn.load("plain", with_opt=False)


def test_tied_weights(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    path = save_model(tmp_path / "tied.safetensors", model)
    other = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    other[1].weight = other[0].weight
    load_model(path, other)
    assert torch.equal(other[1].weight, model[0].weight)
    assert other[1].weight is other[0].weight
