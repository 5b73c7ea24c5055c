"""Models of text: AWD-LSTM, a decoder to words, a classifier of documents."""

from torte.text.models.awd_lstm import (
    AWD_LSTM,
    awd_lstm_clas_config,
    awd_lstm_clas_split,
    awd_lstm_lm_config,
    awd_lstm_lm_split,
    awd_qrnn_clas_config,
    awd_qrnn_lm_config,
)
from torte.text.models.building import get_language_model, get_text_classifier
from torte.text.models.dropout import (
    EmbeddingDropout,
    RNNDropout,
    WeightDropout,
    WeightDroppedLSTM,
    dropout_mask,
)
from torte.text.models.heads import (
    LinearDecoder,
    PoolingLinearClassifier,
    SentenceEncoder,
    SequentialRNN,
    masked_concat_pool,
)
from torte.text.models.qrnn import QRNN, QRNNLayer, forget_mult

__all__ = [
    "AWD_LSTM",
    "QRNN",
    "EmbeddingDropout",
    "LinearDecoder",
    "PoolingLinearClassifier",
    "QRNNLayer",
    "RNNDropout",
    "SentenceEncoder",
    "SequentialRNN",
    "WeightDropout",
    "WeightDroppedLSTM",
    "awd_lstm_clas_config",
    "awd_lstm_clas_split",
    "awd_lstm_lm_config",
    "awd_lstm_lm_split",
    "awd_qrnn_clas_config",
    "awd_qrnn_lm_config",
    "dropout_mask",
    "forget_mult",
    "get_language_model",
    "get_text_classifier",
    "masked_concat_pool",
]
