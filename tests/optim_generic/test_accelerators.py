"""What can be said about accelerators: no synchronization, on the meta device and on a GPU."""

import pytest
import torch
from support.optimizers import OPTIMIZERS
from torch import nn
from torte import optim

SHAPES = ((30, 20), (7,), (4, 3, 2, 2))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_never_ask_for_a_value_of_a_tensor(name):
    # A meta tensor has no values: `.item()`, `bool()` or a copy to the host raises.
    parameters = [nn.Parameter(torch.empty(shape, device="meta")) for shape in SHAPES]
    opt = OPTIMIZERS[name](parameters)
    for _ in range(8):
        for parameter in parameters:
            parameter.grad = torch.empty_like(parameter)
        opt.step()
    assert all(
        value.device.type == "meta"
        for state in opt.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )


def test_whole_model_statistics_ask_for_no_value_either():
    def step(p, lr, model_grad_sqr):
        p.sub_(lr * p.grad / model_grad_sqr.sqrt())

    parameters = [nn.Parameter(torch.empty(shape, device="meta")) for shape in SHAPES]
    opt = optim.Optimizer(parameters, optim.whole_model_norms, step, lr=0.1)
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)
    opt.step()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_synchronization_in_a_step_on_a_gpu(name):
    points = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        parameters = [nn.Parameter(torch.randn(shape).to(device)) for shape in SHAPES]
        gradients = [[torch.randn(s).to(device) for s in SHAPES] for _ in range(8)]
        opt = OPTIMIZERS[name](parameters)
        for row in gradients:
            for parameter, gradient in zip(parameters, row, strict=True):
                parameter.grad = gradient
            torch.cuda.set_sync_debug_mode("error")
            try:
                opt.step()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        points.append([p.detach().cpu() for p in parameters])
    tolerance = {"rtol": 1e-2, "atol": 1e-2} if name == "Muon" else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(*points, **tolerance)
