"""The gated sum of a QRNN against its loop in float64, and encoders of QRNNs."""

import pytest
import torch
from torte.text import (
    AWD_LSTM,
    QRNN,
    QRNNLayer,
    SentenceEncoder,
    forget_mult,
    get_language_model,
    get_text_classifier,
)

SMALL = {"emb_sz": 12, "n_hid": 16, "n_layers": 2}


def by_loop(x, f, h, backward=False):
    """h_t = f_t x_t + (1 - f_t) h_(t-1), a step at a time."""
    steps = range(x.shape[1])
    found = {}
    for t in reversed(steps) if backward else steps:
        h = f[:, t] * x[:, t] + (1 - f[:, t]) * h
        found[t] = h
    return torch.stack([found[t] for t in steps], dim=1)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8, 37])
def test_the_scan_and_its_gradients_are_those_of_the_loop(steps, backward) -> None:
    generator = torch.Generator().manual_seed(steps)

    def drawn(*size):
        return torch.rand(size, generator=generator, dtype=torch.float64).requires_grad_()

    x, f, h = drawn(2, steps, 3), drawn(2, steps, 3), drawn(2, 3)
    ours = forget_mult(x, f, h, backward=backward)
    theirs = by_loop(x, f, h, backward)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    weights = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    mine = torch.autograd.grad((ours * weights).sum(), (x, f, h))
    expected = torch.autograd.grad((theirs * weights).sum(), (x, f, h))
    for one, other in zip(mine, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    turned = forget_mult(x.transpose(0, 1), f.transpose(0, 1), h, False, backward)
    torch.testing.assert_close(turned.transpose(0, 1), ours)


def test_second_derivatives_are_right() -> None:
    x = torch.rand(1, 5, 2, dtype=torch.float64, requires_grad=True)
    f = torch.rand(1, 5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(forget_mult, (x, f))


def test_gates_that_are_shut_keep_the_state() -> None:
    x, h = torch.randn(2, 50, 3), torch.randn(2, 3)
    assert torch.equal(forget_mult(x, torch.zeros_like(x), h), h[:, None].expand_as(x))
    torch.testing.assert_close(forget_mult(x, torch.ones_like(x), h), x)


def test_it_compiles_whole() -> None:
    compiled = torch.compile(forget_mult, backend="aot_eager", fullgraph=True)
    x, f = torch.rand(2, 9, 3, requires_grad=True), torch.rand(2, 9, 3)
    torch.testing.assert_close(compiled(x, f), forget_mult(x, f))
    (once,) = torch.autograd.grad(compiled(x, f).square().sum(), x)
    (again,) = torch.autograd.grad(forget_mult(x, f).square().sum(), x)
    torch.testing.assert_close(once, again)


@pytest.mark.parametrize("window", [1, 2])
def test_a_sequence_in_parts_is_the_sequence_whole(window) -> None:
    layer = QRNNLayer(4, 6, save_prev_x=True, window=window).eval()
    x = torch.randn(3, 10, 4)
    whole, last = layer(x)
    layer.reset()
    first, state = layer(x[:, :4])
    second, end = layer(x[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(end, last)


def test_both_ways_is_one_each_way() -> None:
    both = QRNN(4, 6, n_layers=1, bidirectional=True).eval()
    x = torch.randn(3, 8, 4)
    output, state = both(x)
    there, back = both.layers
    torch.testing.assert_close(output[..., :6], there(x)[0])
    alone = QRNNLayer(4, 6, window=2)
    alone.load_state_dict(back.state_dict())
    torch.testing.assert_close(output[..., 6:], alone.eval()(x.flip(1))[0].flip(1))
    assert state.shape == (2, 3, 6)
    stacked = QRNN(4, 6, n_layers=3, batch_first=False, zoneout=0.2, dropout=0.1)
    assert stacked(x.transpose(0, 1))[0].shape == (8, 3, 6)


def test_an_encoder_of_qrnns_reads_documents_in_chunks() -> None:
    encoder = AWD_LSTM(30, 12, 16, 2, qrnn=True).eval()
    words = torch.randint(2, 30, (2, 11))
    whole = encoder(words)
    encoder.reset()
    output, _ = SentenceEncoder(4, encoder)(words)
    torch.testing.assert_close(output, whole)
    padded = torch.cat([torch.ones(1, 4, dtype=torch.int64), words[:1, :7]], dim=1)
    beside, _ = SentenceEncoder(4, encoder)(torch.cat([padded, words[1:]]))
    alone, _ = SentenceEncoder(4, encoder)(words[:1, :7])
    torch.testing.assert_close(beside[:1, 4:], alone)


@pytest.mark.parametrize("bidir", [False, True])
def test_models_of_qrnns_by_name_and_by_option(bidir) -> None:
    config = {**SMALL, "bidir": bidir}
    words = torch.randint(2, 40, (2, 9))
    by_name = get_language_model("AWD_QRNN", 40, config)
    by_option = get_language_model("AWD_LSTM", 40, {**config, "qrnn": True})
    by_option.load_state_dict(by_name.state_dict())
    torch.testing.assert_close(by_option.eval()(words)[0], by_name.eval()(words)[0])
    model = get_text_classifier("AWD_QRNN", 40, 3, seq_len=4, config=config)
    model(words)[0].sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="1 or 2 steps, not 3"):
        QRNNLayer(3, window=3)
    with pytest.raises(ValueError, match="cannot have save_prev_x"):
        QRNN(3, 3, bidirectional=True, save_prev_x=True)
