"""Models that torte makes are one graph for PyTorch's compiler, training and evaluating.

The recurrent ones are not here: PyTorch's own LSTM breaks the graph.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torte.collab import EmbeddingDotBias
from torte.learner import ResBlock
from torte.tabular import TabularModel
from torte.vision.models import DynamicUnet, XResNet, create_body

CODES = torch.tensor([[1, 2], [0, 1], [2, 0], [1, 1]])
NUMBERS = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def small(**kwargs: Any) -> XResNet:
    """Two stages of one block are as many graphs as eighteen layers would be."""
    return XResNet(partial(ResBlock, reduction=4), 1, [1, 1], n_out=5, **kwargs)


def unet() -> nn.Module:
    return DynamicUnet(create_body(small(), pretrained=False), 2, (64, 64))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...]]] = {
    "XResNet": (lambda: small(sa=True, act_cls=nn.Mish), (IMAGES,)),
    "DynamicUnet": (unet, (IMAGES,)),
    "TabularModel": (lambda: TabularModel([(3, 2), (3, 2)], 3, 2, [8, 4]), (CODES, NUMBERS)),
    "EmbeddingDotBias": (lambda: EmbeddingDotBias(4, 5, 6, (0, 5)), (CODES,)),
}


def leaves(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [leaf for part in value for leaf in leaves(part)]


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluating"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_one_graph(name: str, training: bool) -> None:
    make, inputs = MODELS[name]
    torch.manual_seed(0)
    model = make().train(training)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    found = leaves(compiled(*inputs))
    if not training:
        torch.testing.assert_close(found, leaves(model(*inputs)))
