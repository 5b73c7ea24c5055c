"""The table of layers against counts by hand, and that looking changes nothing."""

import pytest
import torch
from support.learners import assert_same, everything, line_batches, line_learner
from torch import nn
from torte.learner.layers import ConvLayer, NormType, PoolFlatten, ResBlock, SelfAttention
from torte.learner.model_summary import layer_info, module_summary, summarize_model


def test_shapes_parameters_and_multiply_adds_are_counted():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, groups=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        PoolFlatten(),
        nn.Linear(8, 5),
    )
    model[0].requires_grad_(False)
    table = summarize_model(model, torch.randn(2, 3, 10, 10))
    found = [(r.kind, r.output_shape, r.params, r.trainable, r.multiply_adds) for r in table.layers]
    assert found == [
        ("Conv2d", (2, 8, 10, 10), 224, 0, 2 * 800 * 27),
        ("BatchNorm2d", (2, 8, 10, 10), 16, 16, 0),
        ("ReLU", (2, 8, 10, 10), 0, 0, 0),
        ("Conv2d", (2, 8, 8, 8), 80, 80, 2 * 512 * 9),
        ("AdaptiveAvgPool2d", (2, 8, 1, 1), 0, 0, 0),
        ("Flatten", (2, 8), 0, 0, 0),
        ("Linear", (2, 5), 45, 45, 2 * 40),
    ]
    assert (table.total_params, table.total_trainable) == (365, 141)
    assert table.total_multiply_adds == 2 * (800 * 27 + 512 * 9 + 40)


def test_the_printed_table_has_everything():
    text = str(summarize_model(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.zeros(2, 3)))
    assert "Sequential (input shape: 2 x 3)" in text
    assert "0 (Linear)" in text
    assert "2 x 4" in text
    assert "Total params: 16" in text
    assert "Total multiply-adds by sample: 12" in text
    assert len({len(line) for line in text.splitlines()[1:5]}) == 1


def test_notebooks_get_an_html_table():
    model = nn.Sequential(nn.Linear(3, 4))
    shown = summarize_model(model, torch.zeros(2, 3))._repr_html_()
    assert shown.count("<tr>") == 2
    assert "<td>0 (Linear)</td>" in shown


def test_normalised_layers_are_one_row_and_all_parameters_are_there():
    model = nn.Sequential(
        ResBlock(1, 3, 8, norm_type=NormType.Weight, reduction=4),
        SelfAttention(8),
        ConvLayer(8, 4, norm_type=NormType.Spectral),
    )
    table = summarize_model(model, torch.randn(1, 3, 8, 8))
    total = sum(p.numel() for p in model.parameters())
    assert sum(row.params for row in table.layers) == table.total_params == total
    assert {"Conv2d", "SelfAttention"} <= {row.kind for row in table.layers}
    assert not [row for row in table.layers if "Parametri" in row.kind]


def test_functions_between_layers_count_in_the_total():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.project = nn.Linear(4, 4)

        def forward(self, x):
            y = self.project(x)
            return (y @ y.mT).softmax(-1) @ y

    table = summarize_model(Attention(), torch.randn(1, 6, 4))
    assert table.layers[0].multiply_adds == 6 * 16
    assert table.total_multiply_adds == 6 * 16 + 2 * 6 * 6 * 4


def test_shared_layers_are_counted_once_and_unused_ones_are_told():
    shared, unused = nn.Linear(4, 4), nn.Linear(4, 9)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = shared, shared, unused

        def forward(self, x):
            return self.b(self.a(x))

    table = summarize_model(Twice(), torch.randn(3, 4))
    assert [(row.name, row.calls, row.params) for row in table.layers] == [
        ("a", 2, 20),
        ("c", 0, 45),
    ]
    assert table.layers[0].multiply_adds == 2 * 3 * 16
    assert "not called" in str(table)


def test_tied_weights_are_counted_once():
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10, bias=False))
    model[1].weight = model[0].weight
    table = summarize_model(model, torch.zeros(2, 3, dtype=torch.long))
    assert [row.params for row in table.layers] == [40, 0]
    assert table.total_params == 40


def test_recurrent_and_attention_layers_are_counted():
    lstm = summarize_model(nn.LSTM(4, 8, num_layers=2), torch.randn(5, 3, 4))
    assert lstm.total_multiply_adds == 15 * 4 * 8 * (4 + 8 + 8 + 8)
    attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    table = summarize_model(attention, torch.randn(1, 5, 8))
    assert table.layers[0].kind == "MultiheadAttention"
    assert table.layers[0].multiply_adds == 5 * 8 * 24 + 2 * 25 * 8 + 5 * 64
    assert sum(row.params for row in table.layers) == table.total_params
    assert torch.backends.mha.get_fastpath_enabled()


def test_structures_go_in_and_out():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, both):
            return {"sum": self.layer(both[0]) + both[1]}

    table = summarize_model(Pair(), (torch.randn(2, 3), torch.randn(2, 3)))
    assert table.input_shape == [(2, 3), (2, 3)]


def test_a_learners_summary_changes_nothing():
    model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1))
    learn = line_learner(model=model)
    learn.fit(1)
    before = everything(learn)
    text = str(learn.summary())
    assert_same(before, everything(learn))
    assert "8 x 1" in text
    assert "Optimizer: Adam" in text
    assert "Loss function: mse_loss" in text
    assert "Model unfrozen" in text
    assert "TrainEvalCallback" in text


def test_a_failing_summary_changes_nothing():
    class Fails(nn.Linear):
        def forward(self, x):
            torch.rand(1)
            raise RuntimeError("boom")

    learn = line_learner(model=nn.Sequential(nn.Linear(1, 1), Fails(1, 1)))
    before = everything(learn)
    with pytest.raises(RuntimeError, match="boom"):
        learn.summary()
    assert_same(before, everything(learn))
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in learn.model.modules())


def test_a_summary_can_come_first_then_a_fit():
    learn = line_learner()
    learn.summary()
    other = line_learner()
    learn.fit(1)
    other.fit(1)
    assert learn.recorder.raw_losses == other.recorder.raw_losses


def test_dict_batches_reach_the_model_as_keywords():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self, x):
            return self.layer(x)

    batches = [{"x": x, "labels": y} for x, y in line_batches(2)]
    learn = line_learner(model=Named(), dls=(batches, batches))
    assert learn.summary().layers[0].output_shape == (8, 1)


def test_layer_info_tells_where_the_shape_stays():
    learn = line_learner(model=nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 1)))
    info = layer_info(learn, torch.zeros(8, 1))
    assert info == [
        ("Linear", 8, True, (8, 4), False),
        ("ReLU", 0, False, (8, 4), True),
        ("Linear", 5, True, (8, 1), False),
    ]
    assert module_summary(learn, torch.zeros(8, 1)).batch_size == 8
