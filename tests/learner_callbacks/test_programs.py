"""Models of arbitrary code, exported as programs."""

import json
import random

import pytest
import torch
from safetensors.torch import save_file
from support.files import altered
from torch import nn
from torte.learner import ExportError, FileFormatError, Learner, load_learner
from torte.learner.programs.operators import UnknownOperatorError, operator_named
from torte.learner.programs.program import Program, program_description
from torte.learner.programs.tracing import TraceError, trace


class Pictures(nn.Module):
    def __init__(self, classes=4):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, classes),
        )  # fmt: skip
        self.register_buffer("scale", torch.linspace(1, 2, classes))

    def forward(self, x):
        return self.body(x) * self.scale + torch.arange(4.0)


class Sentences(nn.Module):
    """Attention, a recurrent layer, nested results, and code that knows the batch's size."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(10, 16)
        self.attention = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.recurrent = nn.LSTM(16, 8, batch_first=True)

    def forward(self, x):
        hidden, _ = self.recurrent(self.attention(self.words(x)))
        with torch.no_grad():
            mean = hidden.mean(1)
        places = torch.arange(x.shape[1], device=x.device)[None].expand(x.shape[0], -1)
        return {"mean": mean.relu_() + float("inf") * 0.0, "rest": (hidden, [places, None])}


def sample_of(model, rows=5):
    if isinstance(model, Pictures):
        return torch.randn(rows, 3, 12, 12)
    return torch.randint(0, 10, (rows, 7))


@pytest.mark.parametrize("make", [Pictures, Sentences])
def test_a_program_gives_the_models_results_for_any_batch(make):
    torch.manual_seed(0)
    model = make()
    model(sample_of(model))  # batch-norm statistics that are not those of a new model
    assert model.training
    program = trace(model, (sample_of(model, 2),))
    assert model.training
    text = json.dumps(program_description(program))
    again = Program(json.loads(text), dict(program.state_dict()))
    model.eval()
    for rows in (1, 2, 9):
        x = sample_of(model, rows)
        torch.testing.assert_close(again(x), model(x), equal_nan=True)
    weights = {name for name, _ in again.named_parameters()}
    assert weights == {name for name, _ in model.named_parameters()}


def plain_learner(tmp_path, model=None):
    torch.manual_seed(0)
    batches = [(torch.randn(3, 3, 12, 12), torch.tensor([0, 1, 2])) for _ in range(2)]
    learn = Learner((batches, batches), model or Pictures(), path=tmp_path,
                    loss_func=nn.CrossEntropyLoss())  # fmt: skip
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    return learn


def test_a_learner_of_any_model_comes_back(tmp_path):
    learn = plain_learner(tmp_path)
    path = learn.export("program.safetensors")
    loaded = load_learner(path)
    assert isinstance(loaded.model, Program)
    item = torch.randn(3, 12, 12)
    for mine, other in zip(learn.predict(item), loaded.predict(item), strict=True):
        torch.testing.assert_close(mine, other)
    # and once more, from what was loaded
    again = load_learner(loaded.export("again.safetensors"))
    torch.testing.assert_close(again.predict(item), loaded.predict(item))


def test_other_sizes_are_refused_by_a_program():
    program = trace(Pictures(), (torch.randn(2, 3, 12, 12),))
    with pytest.raises(ValueError, match=r"shape \['batch', 3, 12, 12\], not .* \[2, 3, 14, 14\]"):
        program(torch.randn(2, 3, 14, 14))
    with pytest.raises(ValueError, match="float64 of"):
        program(torch.randn(2, 3, 12, 12, dtype=torch.float64))
    with pytest.raises(ValueError, match="traced with other arguments"):
        program(torch.randn(2, 3, 12, 12), torch.ones(2))
    with pytest.raises(ValueError, match="traced with other arguments"):
        program(0)


# -- what has no program ------------------------------------------------------------------------


class Depends(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count += 1
        return x * 2


class Draws(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


class Counted(nn.Module):
    def forward(self, x):
        return x.sum(0, keepdim=True).expand(len(x), -1)


class OneRow(nn.Module):
    def forward(self, x):
        return x if x.shape[0] == 1 else x * 2


class Odd(nn.Module):
    def forward(self, x):
        return x, object()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Depends(), "cannot follow .* depends on the values"),
        (Counts(), "changes 'count' when it predicts"),
        (Draws(), r"uses aten.rand_like.default, which no program may \(File .*test_programs"),
        (Counted(), r"cannot follow Counted .*size"),
        (OneRow(), "other results for a batch of 1"),
        (Odd(), "a object among the model's"),
    ],
)
def test_what_has_no_program_is_refused_with_the_reason(tmp_path, model, message):
    with pytest.raises(TraceError, match=message):
        trace(model, (torch.randn(2, 3),))


def test_the_refusal_of_an_export_says_what_to_do(tmp_path):
    batches = [(torch.randn(2, 3), torch.randn(2, 3))]
    learn = Learner((batches, batches), Draws(), loss_func=nn.MSELoss(), path=tmp_path)
    with pytest.raises(ExportError, match=r"Draws was not made by .*rand_like.*@model_builder"):
        learn.export()
    assert not list(tmp_path.iterdir())


# -- hostile programs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["aten.from_file.default", "aten.save.default", "aten.set_.default", "aten.add_.Tensor",
     "aten.__class__", "aten.add.__init__", "aten.rand.default", "os.system", "torch.load",
     "prims.device_put.default", "higher_order.cond", "operator.pow", "", None, ["a"], 3,
     "aten.add.Tensor.__call__", "aten.add.out"],
)  # fmt: skip
def test_operations_that_no_program_may_use(name):
    with pytest.raises(UnknownOperatorError, match="is none that a program may use"):
        operator_named(name)


def program_of(content):
    return content["model"]["program"]


def giant(content, tensors):
    step = ["aten.full.default", [[10**6, 10**6], 1.0], {}]
    program_of(content)["steps"].append(step)


def numbers(content, tensors):
    program = program_of(content)
    known = len(program["inputs"]) + len(program["tensors"]) + len(program["steps"])
    program["steps"].append(["operator.add", [2**62, 2**62], {}])
    for n in range(100):
        value = {"$value": known + n}
        program["steps"].append(["operator.mul", [value, value], {}])


@pytest.mark.parametrize(
    "change",
    [
        giant,
        numbers,
        lambda content, tensors: program_of(content).pop("steps"),
        lambda content, tensors: program_of(content)["tensors"].append("more"),
        lambda content, tensors: program_of(content).update(returns={"$value": 10**6}),
        lambda content, tensors: program_of(content).update(returns={"$value": -1}),
        lambda content, tensors: program_of(content).update(inputs=[]),
        lambda content, tensors: program_of(content)["inputs"][0].update(shape=[None, 2**40]),
        lambda content, tensors: program_of(content)["inputs"][0].update(dtype="load"),
        lambda content, tensors: program_of(content)["steps"][0].__setitem__(0, "os.system"),
        lambda content, tensors: program_of(content)["steps"].append(
            ["operator.mul", [[0], 10**9], {}]
        ),
        lambda content, tensors: tensors.popitem(),
        lambda content, tensors: (
            program_of(content)["tensors"].append("../evil"),
            content["weights"].update({"../evil": content["weights"]["scale"]}),
        ),
        lambda content, tensors: tensors.update({"weights.scale": torch.ones(7)}),
    ],
)
def test_forged_programs_raise_cleanly(tmp_path, change):
    path = plain_learner(tmp_path).export()
    with pytest.raises((FileFormatError, UnknownOperatorError)):
        load_learner(altered(path, change))


def _forbidden(*args, **kwargs):
    raise AssertionError(f"a loaded file made this called: {args}")


def test_a_thousand_damaged_programs_raise_cleanly_or_predict(tmp_path, monkeypatch):
    content = plain_learner(tmp_path).export().read_bytes()
    for dangerous in ("os.system", "subprocess.Popen", "builtins.eval", "builtins.exec"):
        monkeypatch.setattr(dangerous, _forbidden)
    monkeypatch.setattr("pickle.Unpickler", _forbidden)
    header = 8 + int.from_bytes(content[:8], "little")
    generator, target = random.Random(0), tmp_path / "damaged.safetensors"
    refused = 0
    for _ in range(1000):
        data = bytearray(content)
        # Bytes are replaced, so that the file stays readable and its JSON is what is tried.
        for _ in range(generator.choice([1, 1, 2, 4])):
            at = generator.randrange(8, header)
            data[at] = generator.choice(b'0123456789[]{},:"_.aeflnrstu')
        target.write_bytes(data)
        try:
            learn = load_learner(target)
        except (ValueError, OSError):
            refused += 1
            continue
        try:
            learn.predict(torch.ones(3, 12, 12))
        except (ValueError, RuntimeError, TypeError, IndexError):
            refused += 1
    assert refused > 300


@pytest.mark.parametrize("beginning", [b"\x80\x04cos\nsystem\n.", b"PK\x03\x04", b"\xff" * 64,
                                       (2**40).to_bytes(8, "little") + b"{}", b""])  # fmt: skip
def test_other_formats_are_refused(tmp_path, beginning):
    (tmp_path / "hostile").write_bytes(beginning)
    with pytest.raises(FileFormatError, match="no whole safetensors file"):
        load_learner(tmp_path / "hostile")


def test_safetensors_of_others_are_refused(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(FileFormatError, match="torte did not write it"):
        load_learner(tmp_path / "other.safetensors")
