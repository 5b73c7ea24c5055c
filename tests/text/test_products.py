"""The decoder's large products, against plain ones in float64."""

import pytest
import torch
from torch.nn import functional as F
from torte.text.models import products
from torte.text.models.products import large_linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(6, 5, 12), (30, 12)])
def test_values_and_gradients(shape, bias, monkeypatch):
    monkeypatch.setattr(products, "_LARGE", 0)
    torch.manual_seed(0)
    x, weight = torch.randn(shape, requires_grad=True), torch.randn(40, 12, requires_grad=True)
    offset = torch.randn(40, requires_grad=True) if bias else None
    inputs = [each for each in (x, weight, offset) if each is not None]
    exact = [each.detach().double().requires_grad_() for each in inputs]
    found, wanted = large_linear(x, weight, offset), F.linear(*exact)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    grad = torch.randn_like(found)
    mine = torch.autograd.grad(found, inputs, grad)
    theirs = torch.autograd.grad(wanted, exact, grad.double())
    for one, other in zip(mine, theirs, strict=True):
        assert one.is_contiguous()
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:TF32")  # of `flags`, on processors that are not Intel's
def test_only_what_it_is_for(monkeypatch):
    def fail(*args):
        raise AssertionError("not for oneDNN")

    monkeypatch.setattr(products._OneDNNLinear, "apply", fail)
    small = torch.randn(3, 4)
    large_linear(small, torch.randn(5, 4))
    monkeypatch.setattr(products, "_LARGE", 0)
    large_linear(small.double(), torch.randn(5, 4).double())
    with torch.autocast("cpu", torch.bfloat16):
        assert large_linear(small, torch.randn(5, 4)).dtype == torch.bfloat16
    with torch.backends.mkldnn.flags(enabled=False):
        large_linear(small, torch.randn(5, 4))
    with pytest.raises(AssertionError):
        large_linear(small, torch.randn(5, 4))


def test_weights_that_are_not_trained_get_no_gradient(monkeypatch):
    monkeypatch.setattr(products, "_LARGE", 0)
    x, weight = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4)
    large_linear(x, weight).sum().backward()
    torch.testing.assert_close(x.grad, weight.sum(0).expand(3, 4))
