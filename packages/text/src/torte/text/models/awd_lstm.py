"""AWD-LSTM: a stack of LSTMs with dropout everywhere it helps.

Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", 2017,
https://arxiv.org/abs/1708.02182; its use for transfer learning: Howard and Ruder, "Universal
Language Model Fine-tuning for Text Classification", 2018, https://arxiv.org/abs/1801.06146.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from torte.text.models.dropout import EmbeddingDropout, RNNDropout, WeightDroppedLSTM
from torte.text.models.qrnn import QRNN

__all__ = [
    "AWD_LSTM",
    "awd_lstm_clas_config",
    "awd_lstm_clas_split",
    "awd_lstm_lm_config",
    "awd_lstm_lm_split",
    "awd_qrnn_clas_config",
    "awd_qrnn_lm_config",
]

State = Tensor | tuple[Tensor, ...]
"""Of a layer: an LSTM's state and cell, or a QRNN's state; each (directions, batch, size)."""

awd_lstm_lm_config: dict[str, Any] = {
    "emb_sz": 400,
    "n_hid": 1152,
    "n_layers": 3,
    "pad_token": 1,
    "bidir": False,
    "qrnn": False,
    "output_p": 0.1,
    "hidden_p": 0.15,
    "input_p": 0.25,
    "embed_p": 0.02,
    "weight_p": 0.2,
    "tie_weights": True,
    "out_bias": True,
}
"""Sizes and dropouts of the language model, as published with its weights."""

awd_lstm_clas_config: dict[str, Any] = {
    "emb_sz": 400,
    "n_hid": 1152,
    "n_layers": 3,
    "pad_token": 1,
    "bidir": False,
    "qrnn": False,
    "output_p": 0.4,
    "hidden_p": 0.3,
    "input_p": 0.4,
    "embed_p": 0.05,
    "weight_p": 0.5,
}
"""Sizes and dropouts of the classifier."""

awd_qrnn_lm_config: dict[str, Any] = {
    **awd_lstm_lm_config,
    "n_hid": 1552,
    "n_layers": 4,
    "qrnn": True,
}
"""Sizes and dropouts of the language model of QRNNs (Merity et al. 2018, arXiv:1803.08240)."""

awd_qrnn_clas_config: dict[str, Any] = {
    **awd_lstm_clas_config,
    "n_hid": 1552,
    "n_layers": 4,
    "qrnn": True,
}
"""Sizes and dropouts of the classifier of QRNNs."""


class AWD_LSTM(nn.Module):  # noqa: N801 - the paper's name
    """An embedding and a stack of LSTMs (or QRNNs) that keeps its state from one call to the next.

    Shape:
        Word numbers of (batch, steps) in; (batch, steps, emb_sz) out, since the last layer gives
        vectors of the embedding's size so that a decoder can share its weights.

    Args:
        vocab_sz: Number of words.
        emb_sz: Size of the embedding.
        n_hid: Size of the state of every layer but the last.
        n_layers: Number of LSTMs.
        pad_token: Number of the padding word, whose vector stays zero; None for none.
        hidden_p: Dropout between layers.
        input_p: Dropout on the embedded words.
        embed_p: Dropout of whole words.
        weight_p: Dropout on recurrent weights.
        bidir: Whether each layer reads both ways.
        qrnn: Whether the layers are `QRNN`s instead of LSTMs: less to compute, nearly as good.
    """

    initrange = 0.1

    def __init__(
        self,
        vocab_sz: int,
        emb_sz: int,
        n_hid: int,
        n_layers: int,
        pad_token: int | None = 1,
        hidden_p: float = 0.2,
        input_p: float = 0.6,
        embed_p: float = 0.1,
        weight_p: float = 0.5,
        bidir: bool = False,
        qrnn: bool = False,
    ) -> None:
        super().__init__()
        self.emb_sz, self.n_hid, self.n_layers, self.pad_token = emb_sz, n_hid, n_layers, pad_token
        self.n_dir = 2 if bidir else 1
        self.encoder = nn.Embedding(vocab_sz, emb_sz, padding_idx=pad_token)
        with torch.no_grad():
            self.encoder.weight.uniform_(-self.initrange, self.initrange)
            if pad_token is not None:
                self.encoder.weight[pad_token].zero_()
        self.encoder_dp = EmbeddingDropout(self.encoder, embed_p)
        sizes = [emb_sz, *[n_hid] * (n_layers - 1), emb_sz]
        pairs = [(before, after // self.n_dir) for before, after in pairwise(sizes)]
        self.rnns = nn.ModuleList(
            _qrnn(*pair, weight_p, bidir, is_first=layer == 0)
            if qrnn
            else WeightDroppedLSTM(*pair, weight_p=weight_p, bidirectional=bidir)
            for layer, pair in enumerate(pairs)
        )
        self.input_dp = RNNDropout(input_p)
        self.hidden_dps = nn.ModuleList(RNNDropout(hidden_p) for _ in range(n_layers))
        self.hidden: list[State] = []

    def forward(self, inp: Tensor, from_embeds: bool = False) -> Tensor:
        """Read on from where the last call ended.

        Args:
            inp: Word numbers of (batch, steps), or vectors with `from_embeds`.
            from_embeds: Whether `inp` holds vectors of (batch, steps, emb_sz) already.
        """
        if self.hidden and _parts(self.hidden[0])[0].shape[1] != inp.shape[0]:
            self.reset()
        output = self.input_dp(inp if from_embeds else self.encoder_dp(inp))
        states: list[State] = []
        for layer, (rnn, dropout) in enumerate(zip(self.rnns, self.hidden_dps, strict=True)):
            output, state = rnn(output, self.hidden[layer] if self.hidden else None)
            states.append(_changed(state, Tensor.detach))
            if layer != self.n_layers - 1:
                output = dropout(output)
        self.hidden = states
        return output

    def reset(self) -> None:
        """Forget the state: the next call begins with zeros."""
        self.hidden = []
        for rnn in self.rnns:
            if isinstance(rnn, QRNN):
                rnn.reset()

    def forget(self, rows: Tensor) -> None:
        """Forget the state of some rows.

        Args:
            rows: True for rows that begin with zeros at the next call: (batch,).
        """
        kept = (~rows)[None, :, None]
        self.hidden = [_changed(state, lambda part: part * kept) for state in self.hidden]
        for rnn in self.rnns:
            if isinstance(rnn, QRNN):
                rnn.forget(rows)


def _qrnn(n_in: int, n_out: int, weight_p: float, bidir: bool, is_first: bool) -> QRNN:
    """Make a layer of QRNN; the first one sees the step before as well."""
    return QRNN(
        n_in,
        n_out,
        bidirectional=bidir,
        save_prev_x=is_first and not bidir,
        window=2 if is_first else 1,
        weight_p=weight_p,
    )


def _parts(state: State) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def _changed(state: State, change: Callable[[Tensor], Tensor]) -> State:
    """Return a layer's state with each of its tensors changed."""
    return tuple(map(change, state)) if isinstance(state, tuple) else change(state)


def awd_lstm_lm_split(model: Any) -> list[nn.Module]:
    """Split a language model into parameter groups: each LSTM, then embedding and decoder."""
    encoder = model[0]
    layers = zip(encoder.rnns, encoder.hidden_dps, strict=True)
    return [*(nn.Sequential(*pair) for pair in layers), nn.Sequential(
        encoder.encoder, encoder.encoder_dp, model[1]
    )]  # fmt: skip


def awd_lstm_clas_split(model: Any) -> list[nn.Module]:
    """Split a classifier into parameter groups: embedding, each LSTM, head."""
    encoder = model[0].module
    layers = zip(encoder.rnns, encoder.hidden_dps, strict=True)
    return [
        nn.Sequential(encoder.encoder, encoder.encoder_dp),
        *(nn.Sequential(*pair) for pair in layers),
        model[1],
    ]
