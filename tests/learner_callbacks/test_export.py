import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from support.files import altered
from torch import nn
from torte.data import (
    Categorize,
    CategoryBlock,
    DataBlock,
    DataLoader,
    DataLoaders,
    Datasets,
    TransformBlock,
)
from torte.dispatch import DispatchError, Transform, UnknownNameError, serializable
from torte.learner import (
    Callback,
    CrossEntropyLossFlat,
    ExportError,
    FileFormatError,
    Learner,
    ModelRecipeError,
    build_model,
    load_learner,
    model_builder,
    model_recipe,
)

ANIMALS = ["ant", "bear", "cat", "dolphin", "elephant", "fox", "goat", "horse"]


@model_builder("tests.word_model")
def word_model(classes, hidden=8, act="relu"):
    acts = {"relu": nn.ReLU, "mish": nn.Mish}
    return nn.Sequential(nn.Linear(4, hidden), acts[act](), nn.Linear(hidden, classes))


@model_builder("tests.WordNet")
class WordNet(nn.Module):
    def __init__(self, classes, *sizes, **options):
        super().__init__()
        self.classes, self.options = classes, options
        widths = [4, *sizes, classes]
        self.layers = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths)))

    def forward(self, x):
        return self.layers(x)


@serializable("tests.LetterCounts")
class LetterCounts(Transform):
    def encodes(self, word: str):
        return torch.tensor([float(word.count(letter)) for letter in "aeio"])


def kind(word):
    return "long" if len(word) > 3 else "short"


def word_loaders(labeller=kind):
    datasets = Datasets(ANIMALS, [[LetterCounts()], [labeller, Categorize()]],
                        splits=[list(range(6)), [6, 7]])  # fmt: skip
    return datasets.dataloaders(bs=2, device="cpu")


def word_learner(tmp_path, model=None, **kwargs):
    torch.manual_seed(0)
    dls = word_loaders()
    learn = Learner(dls, model or word_model(2), path=tmp_path, **kwargs)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    return learn


@pytest.mark.parametrize("make", [lambda: word_model(2, act="mish"), lambda: WordNet(2, 5, 6, x=1)])
def test_a_loaded_learner_predicts_as_the_exported_one(tmp_path, make):
    learn = word_learner(tmp_path, make())
    path = learn.export()
    assert path == tmp_path / "export.safetensors"
    loaded = load_learner(path)
    assert list(loaded.dls.vocab) == list(learn.dls.vocab) == ["long", "short"]
    for word in ("zebra", "yak"):
        one, other = learn.predict(word), loaded.predict(word)
        assert one[0] == other[0]
        assert one[0] in ("long", "short")
        assert one[1] == other[1]
        assert torch.equal(one[2], other[2])
        assert one[2].sum().item() == pytest.approx(1)
    words = ["owl", "panda", "quail"]
    ours = learn.get_preds(dl=learn.dls.test_dl(words), with_decoded=True)
    theirs = loaded.get_preds(dl=loaded.dls.test_dl(words), with_decoded=True)
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[2], theirs[2])
    assert not loaded.model.training


def test_loss_taken_from_the_data(tmp_path):
    learn = word_learner(tmp_path)
    assert type(learn.loss_func).__name__ == "CrossEntropyLossFlat"
    assert type(load_learner(learn.export()).loss_func) is type(learn.loss_func)


def test_exporting_changes_nothing(tmp_path):
    from support.learners import assert_same, everything

    learn = word_learner(tmp_path)
    before = everything(learn)
    learn.export()
    assert_same(before, everything(learn))


def test_predict_with_input(tmp_path):
    learn = word_learner(tmp_path)
    inputs, target, decoded, _ = learn.predict("zebra", with_input=True)
    assert torch.equal(torch.as_tensor(inputs), torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert target == learn.dls.vocab[int(decoded)]


def test_another_process_can_load_it(tmp_path):
    from torte.learner.layers import LinBnDrop

    learn = word_learner(tmp_path)
    path = learn.export()
    script = f"""
import sys
from itertools import pairwise
sys.path[:0] = {[p for p in sys.path if p]!r}
from torte.dispatch import UnknownNameError
from torte.learner import load_learner
try:
    load_learner({str(path)!r})
except UnknownNameError as error:
    print(error)
"""
    assert LinBnDrop
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "no model builder is registered as 'tests.word_model'" in done.stdout


@model_builder("tests.filled_model")
def filled_model(classes):
    """Every filling for which PyTorch would import its compiler on the meta device."""
    first, second = nn.Embedding(5, 4), nn.Linear(4, classes)
    nn.init.kaiming_normal_(tensor=second.weight)
    nn.init.normal_(tensor=second.bias)
    with torch.no_grad():
        for fill in ("log_normal_", "exponential_", "cauchy_"):
            getattr(second.weight, fill)()
        second.weight.geometric_(0.5)
    return nn.Sequential(first, nn.Flatten(), second)


EXPORTING = """
import sys, torch
sys.path[:0] = {path!r}
sys.path.append({here!r})
from test_export import filled_model
from torte.data import DataLoader, DataLoaders
from torte.learner import CrossEntropyLossFlat, Learner, load_learner
data = [(torch.tensor([n % 5]), torch.tensor(n % 2)) for n in range(8)]
loader = DataLoader(data, bs=4)
dls = DataLoaders(loader, loader)
learn = Learner(dls, filled_model(2), CrossEntropyLossFlat(), path={folder!r})
learn.fit(1)
again = load_learner(learn.export())
print(torch.equal(again.predict(data[0][0])[2], learn.predict(data[0][0])[2]))
print("torch._dynamo" in sys.modules)
"""


def test_exporting_and_loading_import_no_compiler(tmp_path):
    fields = {"path": [p for p in sys.path if p], "folder": str(tmp_path)}
    script = EXPORTING.format(here=str(Path(__file__).parent), **fields)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-2:] == ["True", "False"]


def test_labellers_do_not_hinder(tmp_path):
    block = DataBlock(
        blocks=(TransformBlock(type_tfms=LetterCounts()), CategoryBlock()),
        get_y=lambda word: kind(word),
        splitter=lambda items: (list(range(6)), [6, 7]),
    )
    dls = block.dataloaders(ANIMALS, bs=2, device="cpu")
    learn = Learner(dls, word_model(2), path=tmp_path)
    loaded = load_learner(learn.export())
    assert loaded.predict("zebra")[0] in ("long", "short")


# -- what cannot be exported --------------------------------------------------------------------


def test_arguments_that_are_no_json_are_named(tmp_path):
    model = WordNet(2, 5, act=nn.ReLU())
    assert model(torch.ones(1, 4)).shape == (1, 2)
    with pytest.raises(ModelRecipeError, match=r"argument act=ReLU\(\) of .*'tests.WordNet'"):
        model_recipe(model)


def test_a_model_changed_after_it_was_built_is_refused(tmp_path):
    learn = word_learner(tmp_path)
    learn.model[2] = nn.Linear(8, 3)
    with pytest.raises(ExportError, match=r"another structure .* \(at '2.bias'\)"):
        learn.export()


def test_a_transform_without_name_is_named(tmp_path):
    class Own(Transform):
        def encodes(self, word: str):
            return torch.ones(4)

    datasets = Datasets(ANIMALS, [[Own()], [kind, Categorize()]], splits=[[0, 1, 2, 3], [4, 5]])
    learn = Learner(datasets.dataloaders(bs=2, device="cpu"), word_model(2), path=tmp_path)
    with pytest.raises(ExportError, match="Own"):
        learn.export()


def test_a_loss_without_name_is_named(tmp_path):
    class OwnLoss(nn.CrossEntropyLoss):
        def decodes(self, x):
            return x.argmax(-1)

    learn = word_learner(tmp_path, loss_func=OwnLoss())
    with pytest.raises(ExportError, match=r"loss cannot be exported: .*OwnLoss.*@serializable"):
        learn.export()


def test_a_loss_without_decodes_is_not_needed(tmp_path):
    learn = word_learner(tmp_path, loss_func=nn.CrossEntropyLoss())
    loaded = load_learner(learn.export())
    assert loaded.predict("yak")[2].shape == (2,)


def test_callbacks_that_take_part_in_predictions_are_warned_of(tmp_path):
    learn = word_learner(tmp_path)

    class Doubles(Callback):
        def after_pred(self):
            self.learn.pred = self.pred * 2

    learn.add_cb(Doubles)
    with pytest.warns(UserWarning, match="callback Doubles takes part in predictions"):
        learn.export()


# -- builders -----------------------------------------------------------------------------------


def test_recipes():
    assert model_recipe(word_model(3)) == {
        "name": "tests.word_model",
        "config": {"classes": 3, "hidden": 8, "act": "relu"},
    }
    again = build_model(model_recipe(WordNet(2, 5, 6, extra=[1])))
    assert [layer.out_features for layer in again.layers] == [5, 6, 2]
    assert again.options == {"extra": [1]}


def test_subclasses_are_models_of_their_own():
    class Wider(WordNet):
        pass

    with pytest.raises(ModelRecipeError, match="Wider was not made by a registered builder"):
        model_recipe(Wider(2))


def test_unknown_and_wrong_recipes():
    with pytest.raises(UnknownNameError, match=r"'tests.word_modle' \(there is 'tests.word_model'"):
        build_model({"name": "tests.word_modle", "config": {}})
    with pytest.raises(ModelRecipeError, match=r"'tests.word_model' failed with .*'nonsense'"):
        build_model({"name": "tests.word_model", "config": {"nonsense": 1}})
    for wrong in (None, [], {"name": "tests.word_model"}, {"name": [], "config": 3}):
        with pytest.raises(ModelRecipeError, match="no model recipe"):
            build_model(wrong)
    for name in ("os.system", "builtins.eval", "torte.learner.learner.Learner", None, ["a"]):
        with pytest.raises(UnknownNameError, match="only registered builders are ever called"):
            build_model({"name": name, "config": {}})


# -- hostile files ------------------------------------------------------------------------------

CLEAN = (FileFormatError, ModelRecipeError, DispatchError, SafetensorError, FileNotFoundError)


def set_in(content, *keys, value):
    for key in keys[:-1]:
        content = content[key]
    content[keys[-1]] = value


@pytest.mark.parametrize(
    "change",
    [
        lambda content, tensors: set_in(content, "model", "config", "classes", value=10**9),
        lambda content, tensors: set_in(content, "model", "config", "classes", value="2"),
        lambda content, tensors: set_in(content, "model", "name", value="os.system"),
        lambda content, tensors: set_in(content, "loss", "name", value="subprocess.run"),
        lambda content, tensors: set_in(content, "loss", value=3),
        lambda content, tensors: set_in(content, "loaders", value=[]),
        lambda content, tensors: set_in(content, "dtype", value="load"),
        lambda content, tensors: set_in(content, "dtype", value=None),
        lambda content, tensors: content.pop("weights"),
        lambda content, tensors: set_in(content, "weights", value={"__tensor__": "nothing"}),
        lambda content, tensors: tensors.popitem(),
        lambda content, tensors: tensors.update({"weights.0.weight": torch.ones(8, 4).long()}),
        lambda content, tensors: tensors.update({"weights.0.weight": torch.ones(9, 4)}),
    ],
)
def test_forged_files_raise_cleanly(tmp_path, change):
    path = word_learner(tmp_path).export()
    with pytest.raises(CLEAN, match=r"."):
        load_learner(altered(path, change))


def test_a_thousand_damaged_files_raise_cleanly_or_predict(tmp_path, monkeypatch):
    for dangerous in ("os.system", "subprocess.Popen", "builtins.eval", "builtins.exec"):
        module, name = dangerous.split(".")
        monkeypatch.setattr(f"{module}.{name}", _forbidden)
    monkeypatch.setattr("pickle.Unpickler", _forbidden)
    content = word_learner(tmp_path).export().read_bytes()
    generator, target = random.Random(0), tmp_path / "damaged.safetensors"
    header = 8 + int.from_bytes(content[:8], "little")
    refused = 0
    for trial in range(1000):
        data = bytearray(content)
        for _ in range(generator.choice([1, 1, 2, 8])):
            # Mostly in the header and the JSON, where damage does most.
            end = len(data) if trial % 5 == 0 else header
            at = generator.randrange(min(end, len(data)))
            action = generator.randrange(4)
            if action == 0:
                data[at] = generator.randrange(256)
            elif action == 1:
                del data[at : at + generator.randrange(1, 40)]
            elif action == 2:
                data[at:at] = generator.randbytes(generator.randrange(1, 40))
            else:
                data = data[:at]
            if not data:
                break
        target.write_bytes(data)
        try:
            load_learner(target)
        except CLEAN:
            refused += 1
    assert refused > 800


def _forbidden(*args, **kwargs):
    raise AssertionError(f"a loaded file made this called: {args}")


def test_learners_over_plain_items_come_back(tmp_path):
    x = torch.randn(8, 3)
    items = [(row, torch.tensor(place % 2)) for place, row in enumerate(x)]
    for dls in (
        DataLoaders.from_dsets(items, items[:4], bs=2),
        DataLoaders(DataLoader(items, bs=2), DataLoader(items, bs=2)),
        DataLoaders([(x, torch.zeros(8).long())], [(x, torch.zeros(8).long())]),
    ):
        learn = Learner(dls, nn.Linear(3, 2), CrossEntropyLossFlat(), path=tmp_path)
        loaded = load_learner(learn.export("plain.safetensors"))
        for one, other in zip(learn.predict(x[3]), loaded.predict(x[3]), strict=True):
            assert torch.equal(one, other)
