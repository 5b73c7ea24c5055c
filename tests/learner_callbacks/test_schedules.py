import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.learners import line_batches, line_learner
from torch import nn
from torte.learner import (
    Callback,
    ParamScheduler,
    SchedCos,
    SchedExp,
    SchedLin,
    SchedNo,
    SchedPoly,
    annealer,
    combine_scheds,
)
from torte.optim import SGD

positions = st.floats(0, 1)
values = st.floats(1e-6, 1e6)


@given(values, values, positions)
def test_formulae(start, end, pos):
    close = {"rel": 1e-9, "abs": 1e-12 * max(start, end)}
    assert SchedNo(start, end)(pos) == start
    assert SchedLin(start, end)(pos) == pytest.approx((1 - pos) * start + pos * end, **close)
    half = start + (1 + math.cos(math.pi * (1 - pos))) * (end - start) / 2
    assert SchedCos(start, end)(pos) == pytest.approx(half, **close)
    log = math.exp((1 - pos) * math.log(start) + pos * math.log(end))
    assert SchedExp(start, end)(pos) == pytest.approx(log, rel=1e-9)
    assert SchedPoly(start, end, 2)(pos) == pytest.approx(start + (end - start) * pos**2, **close)


@pytest.mark.parametrize("sched", [SchedLin, SchedCos, SchedExp])
def test_ends(sched):
    one = sched(0.1, 2.0)
    assert one(0) == pytest.approx(0.1, rel=1e-15)
    assert one(1) == pytest.approx(2.0, rel=1e-15)
    many = sched([0.1, 0.2], [2.0, 3.0])
    assert many(1).tolist() == pytest.approx([2.0, 3.0])


def test_exponential_needs_one_sign():
    with pytest.raises(ValueError, match=r"start=1, end=0|start=1 and end=0"):
        SchedExp(1, 0)


def test_annealer_decorator():
    @annealer
    def squares(start, end, pos):
        """Squares."""
        return start + (end - start) * pos**2

    assert squares(0.0, 4.0)(0.5) == 1.0
    assert squares.__doc__ == "Squares."
    assert repr(squares(0, 4)) == "Annealer(squares, start=0, end=4)"


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=5), positions)
def test_combined_runs_each_in_its_part(parts, pos):
    total = math.fsum(parts)
    pcts = [part / total for part in parts]
    combined = combine_scheds(pcts, [lambda p, i=i: (i, p) for i in range(len(pcts))])
    at, inner = combined(pos)
    begin = math.fsum(pcts[:at])
    assert -1e-9 <= inner <= 1 + 1e-9
    assert begin + inner * pcts[at] == pytest.approx(pos, abs=1e-9)


def test_combined_leaves_out_empty_parts_and_checks_fractions():
    combined = combine_scheds([0.0, 1.0], [SchedNo(5, 5), SchedLin(0, 1)])
    assert combined(0.0) == 0
    assert combined(1.0) == 1
    with pytest.raises(ValueError, match=r"add up to 1, got \[0.5, 0.4\]"):
        combine_scheds([0.5, 0.4], [SchedNo(1, 1)] * 2)
    with pytest.raises(ValueError, match="at least 0"):
        combine_scheds([-0.5, 1.5], [SchedNo(1, 1)] * 2)
    with pytest.raises(ValueError, match="1 fractions for 2 schedules"):
        combine_scheds([1.0], [SchedNo(1, 1)] * 2)


def cosine(pos, start, end):
    return start + (1 + math.cos(math.pi * (1 - pos))) * (end - start) / 2


def one_cycle(pos, pct, start, middle, end):
    if pos < pct:
        return cosine(pos / pct, start, middle)
    return cosine((pos - pct) / (1 - pct), middle, end)


def test_one_cycle_follows_the_formula_at_every_step():
    learn = line_learner(opt_func=partial(SGD, mom=0.9))
    learn.fit_one_cycle(4, 0.1)
    steps = [k / 20 for k in range(20)]
    lrs = [one_cycle(p, 0.25, 0.1 / 25, 0.1, 0.1 / 1e5) for p in steps]
    moms = [one_cycle(p, 0.25, 0.95, 0.85, 0.95) for p in steps]
    assert learn.recorder.hps["lr"] == pytest.approx(lrs, rel=1e-12)
    assert learn.recorder.hps["mom"] == pytest.approx(moms, rel=1e-12)
    assert learn.recorder.lrs == pytest.approx(lrs, rel=1e-12)


def test_one_cycle_gives_no_momentum_to_an_optimizer_made_without():
    learn = line_learner(opt_func=SGD)
    learn.fit_one_cycle(1, 0.1)
    assert set(learn.recorder.hps) == {"lr"}
    assert learn.opt.hypers[0]["mom"] == 0


def test_one_cycle_arguments():
    learn = line_learner(opt_func=SGD)
    learn.fit_one_cycle(2, 0.2, div=10, div_final=100, pct_start=0.5, moms=(0.9, 0.8, 0.7), wd=0.3)
    steps = [k / 10 for k in range(10)]
    lrs = [one_cycle(p, 0.5, 0.02, 0.2, 0.002) for p in steps]
    moms = [one_cycle(p, 0.5, 0.9, 0.8, 0.7) for p in steps]
    assert learn.recorder.hps["lr"] == pytest.approx(lrs)
    assert learn.recorder.hps["mom"] == pytest.approx(moms)
    assert learn.opt.hypers[0]["wd"] == 0.3


def test_flat_then_cosine():
    learn = line_learner()
    learn.fit_flat_cos(4, 0.1)
    steps = [k / 20 for k in range(20)]
    lrs = [0.1 if p < 0.75 else cosine((p - 0.75) * 4, 0.1, 0.1 / 1e5) for p in steps]
    assert learn.recorder.lrs == pytest.approx(lrs)


@pytest.mark.parametrize("mult", [1, 2])
def test_warm_restarts(mult):
    learn = line_learner()
    learn.fit_sgdr(2, 1, 0.1, cycle_mult=mult)
    lengths = [5, 5 * mult]
    lrs = [cosine(k / length, 0.1, 0) for length in lengths for k in range(length)]
    assert learn.recorder.lrs == pytest.approx(lrs)
    assert learn.n_epoch == 1 + mult


def test_resumed_schedules_go_on_with_the_same_values():
    whole, part = line_learner(), line_learner()
    whole.fit_one_cycle(4, 0.1)
    part.fit_one_cycle(4, 0.1, start_epoch=2)
    assert part.recorder.lrs == whole.recorder.lrs[10:]


def two_groups(model):
    return [list(model[0].parameters()), list(model[1].parameters())]


def test_rates_by_group():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1))
    learn = line_learner(model=model, splitter=two_groups)
    seen = []
    learn.add_cb(Callback(before_step=lambda cb: seen.append([h["lr"] for h in cb.opt.hypers])))
    learn.fit_one_cycle(1, slice(1e-3, 1e-1))
    for k, rates in enumerate(seen):
        tops = (1e-3, 1e-1)
        expected = [one_cycle(k / 5, 0.25, top / 25, top, top / 1e5) for top in tops]
        assert rates == pytest.approx(expected)
    learn.fit(1, slice(1e-2))
    assert [h["lr"] for h in learn.opt.hypers] == [1e-3, 1e-2]


def test_a_users_scheduler_beside_one_cycle():
    learn = line_learner()
    learn.fit_one_cycle(1, 0.1, cbs=ParamScheduler({"wd": SchedLin(0.0, 1.0)}))
    assert learn.recorder.hps["wd"] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    assert set(learn.recorder.hps) == {"lr", "mom", "wd"}
    assert not hasattr(learn, "fit_schedule")


def test_schedule_values_may_be_arrays_and_tensors():
    learn = line_learner(opt_func=SGD)
    learn.fit(1, cbs=ParamScheduler({"lr": lambda p: np.float64(0.1), "mom": torch.tensor}))
    assert learn.recorder.hps["lr"] == [0.1] * 5
    assert learn.recorder.hps["mom"] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])


def test_schedules_do_not_depend_on_the_number_of_batches():
    few, many = line_learner(), line_learner(dls=(line_batches(10), line_batches(1)))
    few.fit_one_cycle(1, 0.1)
    many.fit_one_cycle(1, 0.1)
    assert many.recorder.lrs[::2] == pytest.approx(few.recorder.lrs)
