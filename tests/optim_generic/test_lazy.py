"""Lazy rows: what occurs steps as plain references say, and the rest is not even read."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torte import optim
from torte.optim.lazy import acts_by_row


def table_of(rows, size=3, sparse=True, dtype=torch.float64, seed=0):
    table = nn.Embedding(rows, size, sparse=sparse, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    table.weight.data = torch.randn(rows, size, generator=generator, dtype=torch.float64).to(dtype)
    return table


def batches(rows, n=25, size=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, rows, (size,), generator=generator) for _ in range(n)]


def train(table, opt, rows, start=0):
    for number, batch in enumerate(rows, start):
        (table(batch).sin() * (1 + number % 3)).pow(2).sum().backward()
        opt.step()
        opt.zero_grad()
    return table.weight.detach()


def test_adam_is_pytorchs_sparse_adam() -> None:
    table, other = table_of(20), table_of(20)
    own = optim.lazy(optim.Adam)(table.parameters(), lr=0.02, wd=0.0, sqr_mom=0.98, eps=1e-40)
    theirs = torch.optim.SparseAdam(other.parameters(), lr=0.02, betas=(0.9, 0.98), eps=1e-40)
    rows = batches(20)
    torch.testing.assert_close(train(table, own, rows), train(other, theirs, rows), rtol=1e-12,
                               atol=0)  # fmt: skip


def test_averages_and_decay_wait_while_a_row_does_not_occur() -> None:
    """A row at a time in NumPy: only the step count goes on without it."""
    table = table_of(9)
    opt = optim.lazy(optim.Adam)(table.parameters(), lr=0.05, wd=0.3, mom=0.8, sqr_mom=0.9, eps=0.1)
    weight = table.weight.detach().numpy().copy()
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    rows = batches(9, n=15, size=4)
    for step, batch in enumerate(rows, 1):
        scale = 1 + (step - 1) % 3
        gradients = {}
        for row in batch.tolist():
            own = scale**2 * 2 * np.sin(weight[row]) * np.cos(weight[row])
            gradients[row] = gradients.get(row, 0) + own
        for row, gradient in gradients.items():
            first[row] = 0.8 * first[row] + 0.2 * gradient
            second[row] = 0.9 * second[row] + 0.1 * gradient**2
            weight[row] *= 1 - 0.05 * 0.3
            root = np.sqrt(second[row] / (1 - 0.9**step)) + 0.1
            weight[row] -= 0.05 * first[row] / (1 - 0.8**step) / root
    np.testing.assert_allclose(train(table, opt, rows), weight, rtol=1e-10)
    np.testing.assert_allclose(opt.state[table.weight]["grad_avg"], first, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_rowwise_adagrad_is_the_published_rule(sparse, dtype) -> None:
    table = table_of(12, size=4, sparse=sparse, dtype=dtype)
    opt = optim.RowwiseAdagrad(table.parameters(), lr=0.1, eps=0.01)
    weight, sums = table.weight.detach().double().numpy().copy(), np.zeros((12, 1))
    rows = batches(12, n=6)
    for number, batch in enumerate(rows):
        gradient = np.zeros_like(weight)
        np.add.at(gradient, batch.numpy(), 2 * (1 + number % 3) ** 2 * (np.sin(weight) * np.cos(
            weight))[batch.numpy()])  # fmt: skip
        sums += (gradient**2).mean(axis=1, keepdims=True)
        weight -= 0.1 * gradient / (np.sqrt(sums) + 0.01)
    close = {"rtol": 1e-10} if dtype is torch.float64 else {"rtol": 0.1, "atol": 0.1}
    np.testing.assert_allclose(train(table, opt, rows).double(), weight, **close)
    assert opt.state[table.weight]["row_sqr_sum"].shape == (12, 1)


@pytest.mark.parametrize(
    "make",
    [optim.SGD, optim.Adam, optim.RMSProp, optim.Lion, optim.RAdam, optim.QHAdam],
    ids=lambda make: make.__name__,
)
def test_rows_that_always_occur_step_as_a_parameter_of_their_own(make) -> None:
    large, small = table_of(30), table_of(4, sparse=False)
    chosen = torch.tensor([3, 29, 0, 17])
    large.weight.data[chosen] = small.weight.data
    before = large.weight.detach().clone()
    settings = {"lr": 0.03, "mom": 0.9, "wd": 0.1}
    every = [torch.arange(4)] * 8
    expected = train(small, make(small.parameters(), **settings), every)
    opt = optim.lazy(make)(large.parameters(), **settings)
    found = train(large, opt, [chosen] * 8)
    torch.testing.assert_close(found[chosen], expected, rtol=1e-12, atol=1e-14)
    others = torch.ones(30, dtype=torch.bool)
    others[chosen] = False
    assert torch.equal(found[others], before[others])
    for value in opt.state[large.weight].values():
        if isinstance(value, torch.Tensor):
            assert not value[others].any()


class NewMemory(TorchDispatchMode):
    """Counts the elements of new tensors that operations make."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if (
            isinstance(result, torch.Tensor)
            and not result.is_sparse
            and not self.shares(result, args)
        ):
            self.elements += result.numel()
        return result

    @staticmethod
    def shares(result, args):
        tensors = [a for a in args if isinstance(a, torch.Tensor) and not a.is_sparse]
        place = result.untyped_storage().data_ptr()
        return any(each.untyped_storage().data_ptr() == place for each in tensors)


@pytest.mark.parametrize("make", [optim.lazy(optim.Adam), optim.RowwiseAdagrad])
def test_a_step_costs_as_much_whatever_the_size_of_the_table(make) -> None:
    costs = []
    for rows in (100, 100_000):
        table = table_of(rows, dtype=torch.float32)
        opt = make(table.parameters(), lr=0.1)
        train(table, opt, batches(100, n=2))
        table(batches(100, n=3)[-1]).sum().backward()
        with NewMemory() as made:
            opt.step()
        costs.append(made.elements)
    assert costs[0] == costs[1] < 1000


def test_an_interrupted_training_goes_on_bit_for_bit() -> None:
    rows = batches(20)
    for make in (optim.lazy(optim.Adam), optim.RowwiseAdagrad):
        table = table_of(20)
        whole = train(table, make(table.parameters(), lr=0.1), rows)
        first = table_of(20)
        opt = make(first.parameters(), lr=0.1)
        train(first, opt, rows[:10])
        second = table_of(20, seed=5)
        second.load_state_dict(first.state_dict())
        again = make(second.parameters(), lr=0.1)
        again.load_state_dict(copy.deepcopy(opt.state_dict()))
        assert torch.equal(train(second, again, rows[10:], start=10), whole)


def test_dense_parameters_beside_a_table_step_as_always() -> None:
    def model_of(sparse):
        torch.manual_seed(3)
        return nn.Sequential(nn.Embedding(8, 4, sparse=sparse), nn.Linear(4, 2))

    results = []
    for sparse, make in ((True, optim.lazy(optim.Adam)), (False, optim.Adam)):
        model = model_of(sparse)
        opt = make(model.parameters(), lr=0.05)
        for _ in range(4):
            model(torch.arange(8)).square().sum().backward()
            opt.step()
            opt.zero_grad()
        results.append([parameter.detach() for parameter in model.parameters()])
    torch.testing.assert_close(*results)


def test_a_batch_without_rows_changes_nothing_but_the_step() -> None:
    table = table_of(5)
    before = table.weight.detach().clone()
    opt = optim.lazy(optim.Adam)(table.parameters(), lr=0.1)
    train(table, opt, [torch.empty(0, dtype=torch.int64)])
    assert torch.equal(table.weight, before)
    assert opt.state[table.weight]["step"] == 1


def test_the_users_gradient_stays_as_it_is() -> None:
    table = table_of(5)
    opt = optim.lazy(optim.Adam)(table.parameters(), lr=0.1, decouple_wd=False)
    table(torch.tensor([1, 1, 3])).sum().backward()
    before = table.weight.grad.to_dense().clone()
    opt.step()
    assert torch.equal(table.weight.grad.to_dense(), before)


def test_more_rules_keep_an_optimizer_lazy() -> None:
    table = table_of(5)
    opt = optim.lazy(optim.Adam)(table.parameters(), lr=0.1)
    assert opt.extended(after=[optim.sgd_step]).lazy_rows
    assert copy.deepcopy(opt).lazy_rows


@pytest.mark.parametrize("make", [optim.Lamb, optim.Larc, optim.Muon], ids=lambda f: f.__name__)
def test_rules_that_look_at_whole_parameters_are_refused(make) -> None:
    table = table_of(5)
    before = table.weight.detach().clone()
    opt = optim.lazy(make)(table.parameters(), lr=0.1)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(optim.EngineError, match="do not treat every row for itself"):
        opt.step()
    assert torch.equal(table.weight, before)


def test_what_is_no_optimizer_of_rules_is_refused() -> None:
    with pytest.raises(optim.EngineError, match="lazy rows need an optimizer of stats"):
        optim.lazy(torch.optim.SGD)(table_of(3).parameters(), lr=0.1)


def test_rules_are_tried_on_rows_alone() -> None:
    def centred(p, lr):
        p.sub_(lr * (p.grad - p.grad.mean(dim=0)))

    rules = optim.Optimizer(table_of(3).parameters(), steppers=centred, lr=0.1).rules
    assert not acts_by_row(rules, {"lr": 0.1})
    rules = optim.RowwiseAdagrad(table_of(3).parameters(), lr=0.1).rules
    assert acts_by_row(rules, {"lr": 0.1, "eps": 0.1, "wd": 0.1})
