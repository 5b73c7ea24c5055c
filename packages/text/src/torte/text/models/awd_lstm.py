"""AWD-LSTM: a stack of LSTMs with dropout everywhere it helps.

Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", 2017,
https://arxiv.org/abs/1708.02182; its use for transfer learning: Howard and Ruder, "Universal
Language Model Fine-tuning for Text Classification", 2018, https://arxiv.org/abs/1801.06146.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from torte.text.models.dropout import EmbeddingDropout, RNNDropout, WeightDroppedLSTM

__all__ = [
    "AWD_LSTM",
    "awd_lstm_clas_config",
    "awd_lstm_clas_split",
    "awd_lstm_lm_config",
    "awd_lstm_lm_split",
]

State = list[tuple[Tensor, Tensor]]

awd_lstm_lm_config: dict[str, Any] = {
    "emb_sz": 400,
    "n_hid": 1152,
    "n_layers": 3,
    "pad_token": 1,
    "bidir": False,
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
    "output_p": 0.4,
    "hidden_p": 0.3,
    "input_p": 0.4,
    "embed_p": 0.05,
    "weight_p": 0.5,
}
"""Sizes and dropouts of the classifier."""


class AWD_LSTM(nn.Module):  # noqa: N801 - the paper's name
    """An embedding and a stack of LSTMs that keeps its state from one call to the next.

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
        self.rnns = nn.ModuleList(
            WeightDroppedLSTM(
                before, after // self.n_dir, weight_p=weight_p, bidirectional=self.n_dir == 2
            )
            for before, after in pairwise(sizes)
        )
        self.input_dp = RNNDropout(input_p)
        self.hidden_dps = nn.ModuleList(RNNDropout(hidden_p) for _ in range(n_layers))
        self.hidden: State = []

    def forward(self, inp: Tensor, from_embeds: bool = False) -> Tensor:
        """Read on from where the last call ended.

        Args:
            inp: Word numbers of (batch, steps), or vectors with `from_embeds`.
            from_embeds: Whether `inp` holds vectors of (batch, steps, emb_sz) already.
        """
        if self.hidden and self.hidden[0][0].shape[1] != inp.shape[0]:
            self.reset()
        output = self.input_dp(inp if from_embeds else self.encoder_dp(inp))
        states: State = []
        for layer, (rnn, dropout) in enumerate(zip(self.rnns, self.hidden_dps, strict=True)):
            output, (state, cell) = rnn(output, self.hidden[layer] if self.hidden else None)
            states.append((state.detach(), cell.detach()))
            if layer != self.n_layers - 1:
                output = dropout(output)
        self.hidden = states
        return output

    def reset(self) -> None:
        """Forget the state: the next call begins with zeros."""
        self.hidden = []

    def forget(self, rows: Tensor) -> None:
        """Forget the state of some rows.

        Args:
            rows: True for rows that begin with zeros at the next call: (batch,).
        """
        kept = (~rows)[None, :, None]
        self.hidden = [(state * kept, cell * kept) for state, cell in self.hidden]


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
