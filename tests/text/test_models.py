"""AWD-LSTM against PyTorch's own LSTM, documents in chunks against documents whole."""

import pytest
import torch
from torch import nn
from torte.text import (
    AWD_LSTM,
    PoolingLinearClassifier,
    RNNDropout,
    SentenceEncoder,
    WeightDropout,
    get_language_model,
    get_text_classifier,
)
from torte.text.models import EmbeddingDropout, WeightDroppedLSTM, masked_concat_pool
from torte.text.models.awd_lstm import awd_lstm_clas_split, awd_lstm_lm_split

SMALL = {"emb_sz": 12, "n_hid": 16, "n_layers": 2}


@pytest.mark.parametrize("both_ways", [False, True])
def test_without_dropout_it_is_the_lstm_of_pytorch(both_ways) -> None:
    torch.manual_seed(0)
    dropped = WeightDroppedLSTM(6, 5, 0.0, both_ways)
    torch.manual_seed(0)
    plain = nn.LSTM(6, 5, batch_first=True, bidirectional=both_ways)
    assert list(plain.state_dict()) == list(dropped.state_dict())
    for ours, theirs in zip(dropped.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    x = torch.randn(3, 7, 6)
    for ours, theirs in zip(dropped(x), plain(x), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_recurrent_weights_are_dropped_in_training_alone() -> None:
    lstm = WeightDroppedLSTM(6, 50, weight_p=0.5)
    torch.manual_seed(3)
    weights = dict(zip(("ih", "hh"), lstm._weights()[:2], strict=True))
    assert torch.equal(weights["ih"], lstm.weight_ih_l0)
    zeros = (weights["hh"] == 0).float().mean().item()
    assert zeros == pytest.approx(0.5, abs=0.03)
    kept = weights["hh"] != 0
    torch.testing.assert_close(weights["hh"][kept], lstm.weight_hh_l0[kept] * 2)
    x = torch.randn(2, 4, 6)
    lstm.train()
    assert not torch.equal(lstm(x)[0], lstm(x)[0])
    lstm(x)[0].sum().backward()
    assert all(parameter.grad is not None for parameter in lstm.parameters())
    lstm.eval()
    assert torch.equal(lstm(x)[0], lstm(x)[0])


def test_a_sequence_has_one_mask_for_all_steps() -> None:
    dropout = RNNDropout(0.4)
    dropped = dropout(torch.ones(5, 20, 30))
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert dropout.eval()(torch.ones(1)).item() == 1.0


def test_words_are_dropped_everywhere_in_a_batch() -> None:
    embedding = nn.Embedding(20, 4)
    dropout = EmbeddingDropout(embedding, 0.5)
    words = torch.arange(20).repeat(3, 1)
    vectors = dropout(words)
    assert torch.equal(vectors[0], vectors[1])
    scale = vectors[0] / embedding.weight
    assert set(scale.detach().round().flatten().tolist()) <= {0.0, 2.0}


def test_the_state_goes_on_from_call_to_call() -> None:
    encoder = AWD_LSTM(30, 12, 16, 2).eval()
    words = torch.randint(2, 30, (3, 10))
    whole = encoder(words)
    encoder.reset()
    parts = torch.cat([encoder(words[:, :4]), encoder(words[:, 4:])], dim=1)
    torch.testing.assert_close(parts, whole)
    assert encoder(words[:2]).shape == (2, 10, 12)


@pytest.mark.parametrize("bptt", [3, 4, 100])
def test_a_document_in_chunks_is_the_document_whole(bptt) -> None:
    encoder = AWD_LSTM(30, 12, 16, 2).eval()
    words = torch.randint(2, 30, (2, 10))
    encoder.reset()
    whole = encoder(words)
    output, mask = SentenceEncoder(bptt, encoder)(words)
    torch.testing.assert_close(output, whole)
    assert not mask.any()


def test_chunks_of_padding_leave_no_trace() -> None:
    encoder = AWD_LSTM(30, 12, 16, 2).eval()
    document = torch.randint(2, 30, (1, 6))
    padded = torch.cat([torch.ones(1, 8, dtype=torch.int64), document], dim=1)
    other = torch.randint(2, 30, (1, 14))
    reader = SentenceEncoder(4, encoder)
    alone, _ = reader(document)
    beside, mask = reader(torch.cat([padded, other]))
    torch.testing.assert_close(beside[:1, 8:], alone)
    assert mask[0, :8].all()
    pooled = masked_concat_pool(beside, mask, 4)[:1]
    torch.testing.assert_close(pooled, masked_concat_pool(alone, mask[:1, 8:], 4))


def test_only_the_last_steps_keep_gradients() -> None:
    encoder = AWD_LSTM(30, 12, 16, 2)
    output, mask = SentenceEncoder(5, encoder, max_len=10)(torch.randint(2, 30, (2, 24)))
    assert output.shape[1] == mask.shape[1] == 14
    assert output.requires_grad


def test_pooling_leaves_out_padding() -> None:
    output = torch.tensor([[[1.0], [5.0], [9.0]], [[2.0], [4.0], [7.0]]])
    mask = torch.tensor([[False, False, True], [True, False, False]])
    expected = torch.tensor([[5.0, 5.0, 3.0], [7.0, 7.0, 5.5]])
    torch.testing.assert_close(masked_concat_pool(output, mask, 2), expected)
    empty = masked_concat_pool(output, torch.ones(2, 3, dtype=torch.bool), 2)
    assert torch.isfinite(empty).all()


def test_a_language_model_ties_its_decoder_and_gives_scores() -> None:
    model = get_language_model("AWD_LSTM", 40, SMALL)
    scores, raw, dropped = model(torch.randint(0, 40, (2, 5)))
    assert scores.shape == (2, 5, 40)
    assert raw.shape == dropped.shape == (2, 5, 12)
    assert model[1].decoder.weight is model[0].encoder.weight
    groups = awd_lstm_lm_split(model)
    assert len(groups) == 3
    assert {id(p) for g in groups for p in g.parameters()} == {id(p) for p in model.parameters()}


def test_a_classifier_scores_documents() -> None:
    model = get_text_classifier("AWD_LSTM", 40, 3, seq_len=4, config=SMALL, lin_ftrs=[10])
    scores, *_ = model(torch.randint(0, 40, (2, 9)))
    assert scores.shape == (2, 3)
    groups = awd_lstm_clas_split(model)
    assert {id(p) for g in groups for p in g.parameters()} == {id(p) for p in model.parameters()}


def test_mistakes_are_named() -> None:
    with pytest.raises(KeyError, match="no text architecture 'GRU'"):
        get_language_model("GRU", 40)
    with pytest.raises(ValueError, match=r"unknown entries \['hidden'\] in config"):
        get_language_model("AWD_LSTM", 40, {"hidden": 3})
    with pytest.raises(ValueError, match="1 linear layers need as many dropouts"):
        PoolingLinearClassifier([3, 2], [], 4)


def test_weights_of_any_module_are_dropped_in_training_alone() -> None:
    torch.manual_seed(0)
    lstm, words = torch.nn.LSTM(4, 6, batch_first=True), torch.randn(2, 5, 4)
    dropped = WeightDropout(lstm, 0.5)
    assert not torch.equal(dropped(words)[0], lstm(words)[0])
    dropped(words)[0].sum().backward()
    untouched = lstm.weight_hh_l0.grad == 0  # pyright: ignore[reportOptionalOperand]
    assert 0.3 < untouched.float().mean() < 0.7
    assert torch.equal(dropped.eval()(words)[0], lstm(words)[0])
    everything = WeightDropout(torch.nn.Linear(3, 2, bias=False), 1.0, ["weight"])
    assert not everything(torch.ones(1, 3)).any()
    with pytest.raises(AttributeError, match="weight_hh_l9"):
        WeightDropout(lstm, 0.5, "weight_hh_l9")
