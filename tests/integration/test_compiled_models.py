"""Models that torte makes are one graph for PyTorch's compiler, training and evaluating."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torte.collab import EmbeddingDotBias
from torte.learner import ResBlock
from torte.tabular import TabularModel
from torte.text import AWD_LSTM, awd_lstm_lm_config, get_language_model
from torte.vision.models import DynamicUnet, XResNet, create_body

CODES = torch.tensor([[1, 2], [0, 1], [2, 0], [1, 1]])
NUMBERS = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
WORDS = torch.randint(2, 30, (3, 6), generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def small(**kwargs: Any) -> XResNet:
    """Two stages of one block are as many graphs as eighteen layers would be."""
    return XResNet(partial(ResBlock, reduction=4), 1, [1, 1], n_out=5, **kwargs)


def unet() -> nn.Module:
    return DynamicUnet(create_body(small(), pretrained=False), 2, (64, 64))


def language_model(**kwargs: Any) -> nn.Module:
    sizes = {"emb_sz": 8, "n_hid": 12, "n_layers": 2, **kwargs}
    return get_language_model(AWD_LSTM, 30, {**awd_lstm_lm_config, **sizes})


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...]]] = {
    "XResNet": (lambda: small(sa=True, act_cls=nn.Mish), (IMAGES,)),
    "DynamicUnet": (unet, (IMAGES,)),
    "TabularModel": (lambda: TabularModel([(3, 2), (3, 2)], 3, 2, [8, 4]), (CODES, NUMBERS)),
    "AWD_LSTM": (language_model, (WORDS,)),
    "AWD_LSTM, both ways": (lambda: AWD_LSTM(30, 8, 12, 2, bidir=True), (WORDS,)),
    "AWD_QRNN": (lambda: language_model(qrnn=True), (WORDS,)),
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
        if hasattr(model, "reset"):
            model.reset()  # a text goes on where the last call ended
        torch.testing.assert_close(found, leaves(model(*inputs)))
