"""Models of Hugging Face, small and with random weights, in the Learner."""

import json

import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, processors, trainers
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torte.data import DataLoaders, URLs, untar_data
from torte.learner import Perplexity, accuracy, load_learner
from torte.text import (
    TokenF1Score,
    TransformersDataLoaders,
    token_accuracy,
    transformers_learner,
    transformers_model,
    transformers_split,
)

transformers = pytest.importorskip("transformers")

BERT_LIKE = {
    "vocab_size": 400,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 80,
}
DISTIL = {"vocab_size": 400, "dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 48}
GPT2 = {"vocab_size": 400, "n_embd": 32, "n_layer": 3, "n_head": 2, "n_positions": 80}


def config_of(kind):
    """A small configuration of one of five families."""
    return {
        "bert": lambda: transformers.BertConfig(**BERT_LIKE),
        "roberta": lambda: transformers.RobertaConfig(**BERT_LIKE, pad_token_id=0),
        "distilbert": lambda: transformers.DistilBertConfig(**DISTIL),
        "gpt2": lambda: transformers.GPT2Config(**GPT2),
        "llama": lambda: transformers.LlamaConfig(**BERT_LIKE, num_key_value_heads=1),
    }[kind]()


FAMILIES = ("bert", "roberta", "distilbert", "gpt2", "llama")


@pytest.fixture(scope="module")
def reviews(tmp_path_factory) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORTE_HOME", str(tmp_path_factory.mktemp("home")))
        frame = pd.read_csv(untar_data(URLs.REVIEWS_SAMPLE) / "reviews.csv")
    frame = frame.dropna(subset=["text"])[:200].reset_index(drop=True)
    about = frame["text"].str.lower().str.contains("dress").map({True: "dress", False: "other"})
    return frame.assign(about=about)


@pytest.fixture(scope="module")
def tokenizer(reviews):
    """A WordPiece tokenizer with BERT's frame, trained on the texts."""
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special)
    backend.train_from_iterator(reviews["text"], trainer)
    frame = [("[CLS]", 2), ("[SEP]", 3)]
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, frame)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        eos_token="[SEP]",
        model_max_length=60,
    )


@pytest.fixture
def classes(reviews, tokenizer):
    return TransformersDataLoaders.from_df(
        reviews, tokenizer, text_col="text", label_col="about", bs=16, seed=1
    )


@pytest.fixture
def language(reviews, tokenizer):
    return TransformersDataLoaders.from_df(
        reviews, tokenizer, "causal", text_col="text", bs=16, seed=1
    )


@pytest.fixture
def words(reviews, tokenizer):
    """Words whose label is whether they begin with a vowel."""
    lists = reviews["text"].str.split().str[:20]
    labels = lists.map(lambda ws: ["vowel" if w[0].lower() in "aeiou" else "none" for w in ws])
    frame = pd.DataFrame({"words": lists, "labels": labels})
    return TransformersDataLoaders.from_df(
        frame, tokenizer, "token", text_col="words", label_col="labels", bs=16, seed=1
    )


def trained(dls, config, epochs=1, lr=3e-3, **kwargs):
    torch.manual_seed(0)
    learn = transformers_learner(dls, config, **kwargs)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(epochs, lr)
    return learn


def test_batches_are_what_the_librarys_own_padding_makes(classes, tokenizer, reviews) -> None:
    inputs, targets = classes.valid.one_batch()
    assert set(inputs) == {"input_ids", "attention_mask"}
    order = [int(n) for n in classes.valid.get_idxs()][: len(targets)]
    texts = [reviews["text"][classes.valid.dataset.items.index[n]] for n in order]
    expected = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    assert torch.equal(inputs["input_ids"].as_subclass(torch.Tensor), expected["input_ids"])
    assert torch.equal(inputs["attention_mask"], expected["attention_mask"])
    assert [classes.vocab[n] for n in targets.tolist()] == [
        reviews["about"][classes.valid.dataset.items.index[n]] for n in order
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_classifier_trains_and_comes_back_from_its_file(family, classes, tmp_path) -> None:
    learn = trained(classes, config_of(family), metrics=accuracy, path=tmp_path)
    text = "I bought this dress, a lovely dress"
    label, number, chances = learn.predict(text)
    assert label == classes.vocab[int(number)]
    assert learn.model.config.id2label == {0: "dress", 1: "other"}
    again = load_learner(learn.export("model.safetensors"))
    assert type(again.model) is type(learn.model)
    torch.testing.assert_close(again.predict(text)[2], chances)
    assert again.predict(text)[0] == label


def test_it_learns_its_texts_and_predicts_in_the_order_of_the_data(classes, reviews) -> None:
    learn = trained(classes, config_of("distilbert"), epochs=16, lr=3e-3, metrics=accuracy)
    share = reviews["about"].value_counts(normalize=True).max()
    assert learn.validate(ds_idx=0)[1] > share + 0.12
    together, targets = learn.get_preds()
    dataset = classes.valid.dataset
    assert targets.tolist() == [int(dataset[n][1]) for n in range(len(dataset))]
    one_by_one = learn.get_preds(dl=classes.valid.new(bs=1))[0]
    torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_groups_are_embeddings_layers_and_head(family, classes, language) -> None:
    for dls in (classes,) if family == "distilbert" else (classes, language):
        learn = transformers_learner(dls, config_of(family))
        groups = transformers_split(learn.model)
        names = {id(p): name for name, p in learn.model.named_parameters()}
        found = [[names[id(p)] for p in group] for group in groups]
        assert sorted(name for group in found for name in group) == sorted(names.values())
        first = [group for group in found if all(".0." in name for name in group)]
        assert any("embed" in name or "wte" in name for name in found[0])
        assert first == [found[1]]
        assert len(transformers_split(learn.model, 2)) == len(groups) - 1


def test_rates_by_group_and_unfreezing_layer_by_layer(classes) -> None:
    learn = transformers_learner(classes, config_of("bert"))
    groups = transformers_split(learn.model)
    before = [[p.detach().clone() for p in group] for group in groups]

    def changed():
        return [
            any(not torch.equal(p, q) for p, q in zip(new, old, strict=True))
            for new, old in zip(groups, before, strict=True)
        ]

    with learn.no_bar(), learn.no_logging():
        learn.freeze()
        learn.fit(1, 1e-3)
        assert changed() == [False, False, False, False, True]
        learn.freeze_to(-2)
        learn.fit(1, slice(1e-4, 1e-3))
        assert changed() == [False, False, False, True, True]
        learn.unfreeze()
        learn.fit(1, slice(1e-5, 1e-3))
    assert changed() == [True] * 5
    rates = [group["lr"] for group in learn.opt.hypers]
    assert rates[0] == pytest.approx(1e-5)
    assert rates == sorted(rates)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_language_model_trains_and_goes_on_with_a_text(family, language, tmp_path) -> None:
    metrics = [token_accuracy, Perplexity()]
    learn = trained(language, config_of(family), epochs=2, metrics=metrics, path=tmp_path)
    assert learn.validate()[0] < 5.7
    modes = [module.training for module in learn.model.modules()]
    text = learn.generate("I love this", 8)
    assert text.startswith("I love this")
    assert text == learn.predict("I love this", 8)
    sampled = [learn.generate("I love", 8, seed=s, do_sample=True) for s in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]
    assert modes == [module.training for module in learn.model.modules()]
    again = load_learner(learn.export("language.safetensors"))
    assert again.generate("I love this", 8) == text


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_loss_of_a_language_model_is_the_models_own(family, language) -> None:
    torch.manual_seed(0)
    learn = transformers_learner(language, config_of(family))
    own = transformers_learner(language, learn.model, own_loss=True)
    batch = [language.valid.one_batch()]
    assert own.loss_func is None
    assert own.validate(dl=batch)[0] == pytest.approx(learn.validate(dl=batch)[0], rel=1e-6)
    inputs, _ = batch[0]
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    expected = learn.model.eval()(**inputs, labels=labels).loss.item()
    assert learn.validate(dl=batch)[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_words_are_classified(family, words, tmp_path) -> None:
    metrics = [token_accuracy, TokenF1Score()]
    learn = trained(words, config_of(family), epochs=4, metrics=metrics, path=tmp_path)
    loss, share, score = learn.validate()
    scores, targets = learn.get_preds()
    counted = targets >= 0
    right, guessed = targets[counted], scores.argmax(-1)[counted]
    assert share == pytest.approx((right == guessed).double().mean().item())
    assert score == pytest.approx(f1_score(right, guessed, average="macro"))
    nll = F.nll_loss(scores[counted].log(), right)
    assert loss == pytest.approx(nll.item(), rel=0.02)  # the mean of batches' means by tokens
    assert share > 0.8
    labels, numbers, chances = learn.predict("an orange dress is unbelievably unattractive")
    assert len(labels) == len(numbers) == 6
    assert chances.shape == (6, 2)
    again = load_learner(learn.export("words.safetensors"))
    assert again.predict("an orange dress is unbelievably unattractive")[0] == labels


def test_labels_stand_at_the_first_piece_of_each_word(words, tokenizer) -> None:
    inputs, targets = words.valid.one_batch()
    row = words.valid.dataset[int(next(iter(words.valid.get_idxs())))]
    found = tokenizer(
        [words.valid.dataset.items.iloc[int(next(iter(words.valid.get_idxs())))]["words"]],
        is_split_into_words=True,
    ).word_ids()
    pieces = targets[0].tolist()[: len(found)]
    firsts = [n for n, word in enumerate(found) if word is not None and word not in found[:n]]
    assert [pieces[n] for n in firsts] == row[1].tolist()
    assert {pieces[n] for n in range(len(found)) if n not in firsts} == {-100}
    assert set(targets[inputs["attention_mask"] == 0].tolist()) <= {-100}


def test_loaders_of_dicts_train_on_the_models_own_loss(reviews, tokenizer) -> None:
    rows = [
        {**tokenizer(text, truncation=True), "labels": int(label == "dress")}
        for text, label in zip(reviews["text"], reviews["about"], strict=True)
    ]
    collate = transformers.DataCollatorWithPadding(tokenizer)
    loaders = [DataLoader(part, 16, collate_fn=collate) for part in (rows[:160], rows[160:])]
    learn = trained(DataLoaders(*loaders), config_of("bert"), epochs=2, metrics=accuracy)
    assert learn.validate()[0] < 0.75


def test_weights_of_a_folder_are_loaded_and_its_code_never_runs(classes, tmp_path) -> None:
    source = transformers.BertForSequenceClassification(config_of("bert"))
    source.save_pretrained(tmp_path / "model")
    learn = transformers_learner(classes, tmp_path / "model")
    name = "bert.encoder.layer.1.output.dense.weight"
    assert torch.equal(learn.model.state_dict()[name], source.state_dict()[name])
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "config.json").write_text(
        json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}})
    )
    (tmp_path / "evil" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match=r"trust_remote_code|evil"):
        transformers_learner(classes, tmp_path / "evil")
    assert not (tmp_path / "ran").exists()


def test_a_pickle_of_weights_is_refused_and_what_is_missing_named(classes, tmp_path) -> None:
    source = transformers.BertForSequenceClassification(config_of("bert"))
    source.config.save_pretrained(tmp_path / "old")
    torch.save(source.state_dict(), tmp_path / "old" / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors") as caught:
        transformers_model(tmp_path / "old", n_out=2)
    assert any("Without a network" in note for note in caught.value.__notes__)


def test_bfloat16_keeps_weights_and_predictions_in_float32(classes) -> None:
    learn = transformers_learner(classes, config_of("bert")).to_bf16()
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    assert learn.get_preds()[0].dtype == torch.float32
    assert next(learn.model.parameters()).dtype == torch.float32


def test_batches_and_results_are_shown_as_texts(classes, language, words, capsys) -> None:
    text = classes.valid.decode_batch(classes.valid.one_batch(), 1)[0][0]
    assert "[PAD]" not in text
    inputs, targets = language.valid.decode_batch(language.valid.one_batch(), 1)[0]
    assert inputs.startswith(targets[:20])
    for dls, config in ((classes, "bert"), (language, "gpt2"), (words, "bert")):
        dls.show_batch(max_n=2)
        transformers_learner(dls, config_of(config)).show_results(max_n=2)
    assert "vowel" in capsys.readouterr().out


def test_metrics_leave_out_what_does_not_count() -> None:
    scores = torch.tensor([[[3.0, 1], [0, 2], [5, 0]], [[0, 1], [4, 1], [2, 3]]])
    targets = torch.tensor([[0, 0, -100], [1, 0, -100]])
    assert token_accuracy(scores, targets) == pytest.approx(3 / 4)
    expected = f1_score([0, 0, 1, 0], [0, 1, 1, 0], average="macro")
    assert TokenF1Score()(scores, targets) == pytest.approx(expected)


def test_mistakes_are_named(reviews, tokenizer, words) -> None:
    bare = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(ValueError, match="no padding token"):
        TransformersDataLoaders.from_df(reviews, bare, text_col="text", label_col="about")
    short = pd.DataFrame({"words": [["a", "b"]] * 4, "labels": [["x"], ["y"]] * 2})
    with pytest.raises(ValueError, match=r"a text has 2 words or more, but 1 labels"):
        TransformersDataLoaders.from_df(
            short, tokenizer, "token", text_col="words", label_col="labels", bs=2
        ).train.one_batch()
    texts = pd.DataFrame({"words": ["a b"] * 4, "labels": [["x", "y"]] * 4})
    with pytest.raises(TypeError, match=r"column 'words' holds 'a b', not a list of words"):
        TransformersDataLoaders.from_df(texts, tokenizer, "token", bs=2)
