"""A language model on real reviews, its encoder in a classifier, and what both say."""

import json
import pickle
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import torch
from torte.data import URLs, untar_data
from torte.learner import accuracy, load_learner
from torte.text import (
    AWD_LSTM,
    TextDataLoaders,
    Tokenizer,
    WhitespaceTokenizer,
    decode_spec_tokens,
    language_model_learner,
    match_embeds,
    text_classifier_learner,
)

SMALL = {"emb_sz": 16, "n_hid": 24, "n_layers": 2}


@pytest.fixture(scope="module")
def reviews(tmp_path_factory) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORTE_HOME", str(tmp_path_factory.mktemp("home")))
        path = untar_data(URLs.REVIEWS_SAMPLE)
        frame = pd.read_csv(next(path.rglob("*.csv")))
    frame = frame.dropna(subset=["text"])[:240].reset_index(drop=True)
    about = frame["text"].str.lower().str.contains("dress").map({True: "dress", False: "other"})
    return frame.assign(about=about)


@pytest.fixture(scope="module")
def language(reviews):
    return TextDataLoaders.from_df(
        reviews, text_col="text", is_lm=True, bs=8, seq_len=20, seed=1, shuffle=True
    )


@pytest.fixture(scope="module")
def trained(language, tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("models")
    learn = language_model_learner(language, AWD_LSTM, config=SMALL, drop_mult=0.1, path=path)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(2, 2e-2)
    return learn


def test_the_language_model_learns(trained, language) -> None:
    torch.manual_seed(1)
    fresh = language_model_learner(language, AWD_LSTM, config=SMALL, drop_mult=0.1)
    assert trained.validate()[0] < fresh.validate()[0] - 1.0


def test_it_goes_on_with_a_text_the_same_way_for_the_same_seed(trained) -> None:
    before = {name: value.clone() for name, value in trained.model.state_dict().items()}
    text = trained.predict("I love this", 12, seed=3)
    assert text == trained.predict("I love this", 12, seed=3)
    added = text.removeprefix("I love this ").split(" ")
    assert len(added) == 12
    assert "xxunk" not in added
    assert "xxpad" not in added
    greedy = {trained.predict("I love", 3, top_k=1, seed=seed) for seed in range(4)}
    assert len(greedy) == 1
    assert greedy == {trained.predict("I love", 3, top_p=1e-6, seed=9)}
    assert all(
        torch.equal(before[name], value) for name, value in trained.model.state_dict().items()
    )


def test_generated_text_is_written_out_without_special_tokens(trained) -> None:
    for seed in range(8):
        text = trained.predict("I love", 30, seed=seed, temperature=2.0)
        assert not [word for word in text.split() if word.startswith("xx")]
    raw = trained.predict("I love", 30, seed=1, temperature=2.0, decoder=list).split()
    marks = {"xxmaj", "xxup"}
    assert sum(word not in marks for word in raw[2:]) == 30
    assert not any(second in marks for first, second in pairwise(raw) if first in marks)


def test_a_temperature_of_zero_takes_the_likeliest_word(trained) -> None:
    greedy = {trained.predict("I love", 6, temperature=0, seed=seed) for seed in range(4)}
    assert greedy == {trained.predict("I love", 6, top_k=1)}
    with pytest.raises(ValueError, match="temperature=-1 must be 0"):
        trained.predict("I love", temperature=-1)
    with pytest.raises(ValueError, match="top_k=0 must be 1"):
        trained.predict("I love", top_k=0)
    with pytest.raises(ValueError, match=r"top_p=0.0 must be above 0"):
        trained.predict("I love", top_p=0.0)
    last = {
        trained.predict(t, 4, temperature=0, only_last_word=True)[6:] for t in ("I love", "a love")
    }
    assert len(last) == 1


def test_special_tokens_are_decoded_to_what_they_stand_for() -> None:
    tokens = "xxbos xxmaj it is xxup great xxrep 3 ! xxwrep 2 so xxmaj xxup a xxrep b xxrep"
    said = "xxbos It is GREAT !!! so so A b xxrep"
    assert decode_spec_tokens(tokens.split()) == said.split()


def test_an_encoder_of_another_size_is_refused_and_nothing_changes(trained, reviews) -> None:
    trained.save_encoder("encoder")
    dls = TextDataLoaders.from_df(
        reviews, text_col="text", label_col="about", text_vocab=trained.dls.vocab, bs=16
    )
    for config, message in (
        (SMALL | {"n_hid": 20}, r"other sizes: rnns.0.* is \(96, 16\), not \(80, 16\)"),
        (SMALL | {"n_layers": 3}, r"it lacks \['rnns.2"),
    ):
        learn = text_classifier_learner(dls, AWD_LSTM, config=config, path=trained.path)
        before = {name: value.clone() for name, value in learn.model.state_dict().items()}
        with pytest.raises(RuntimeError, match=message):
            learn.load_encoder("encoder")
        after = learn.model.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert all(p.requires_grad for p in learn.model.parameters())


def test_a_csv_file_is_read_without_a_warning(reviews, tmp_path) -> None:
    reviews[["text", "about"]].to_csv(tmp_path / "labels.csv", index=False)
    dls = TextDataLoaders.from_csv(tmp_path, text_col="text", label_col="about", bs=8)
    assert list(dls.vocab[1]) == ["dress", "other"]
    reviews[["text", "about"]].to_csv(tmp_path / "tabs.csv", index=False, sep="\t")
    dls = TextDataLoaders.from_csv(tmp_path, "tabs.csv", delimiter="\t", bs=8)
    assert len(dls.train_ds) + len(dls.valid_ds) == len(reviews)


def test_long_texts_are_cut_in_tables_and_say_so(reviews, trained, capsys) -> None:
    dls = TextDataLoaders.from_df(reviews, text_col="text", label_col="about", bs=16, seed=1)
    dls.show_batch(max_n=3, trunc_at=5)
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 4
    for row in rows[1:]:
        _, *words, dots, _ = row.split()
        assert (len(words), dots, words[0]) == (5, "…", "xxbos")
    learn = text_classifier_learner(dls, AWD_LSTM, config=SMALL)
    learn.show_results(max_n=2, trunc_at=5)
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["text", "category", "prediction"]
    assert all(len(row.split()) == 1 + 5 + 1 + 2 for row in rows)
    trained.show_results(max_n=1, trunc_at=3)
    assert capsys.readouterr().out.count("…") == 3
    dls.show_batch(max_n=1, trunc_at=None)
    whole = capsys.readouterr().out.splitlines()[1].split()
    assert len(whole) == 2 + int((dls.one_batch()[0][0] != 1).sum())


def test_an_encoder_moves_to_a_classifier_with_another_vocabulary(trained, reviews) -> None:
    trained.save_encoder("encoder")
    vocab = list(trained.dls.vocab)
    other = [*vocab[:9], "brandnew", *reversed(vocab[9:60])]
    dls = TextDataLoaders.from_df(
        reviews, text_col="text", label_col="about", text_vocab=other, bs=16, seed=1
    )
    learn = text_classifier_learner(dls, AWD_LSTM, config=SMALL, path=trained.path)
    learn.load_encoder("encoder")
    source = trained.model[0].encoder.weight
    target = learn.model[0].module.encoder.weight
    assert torch.equal(target[10], source[vocab.index(other[10])])
    torch.testing.assert_close(target[9], source.mean(dim=0))
    assert not any(p.requires_grad for p in learn.model[0].module.encoder.parameters())
    assert all(p.requires_grad for p in learn.model[1].parameters())
    with pytest.raises(FileNotFoundError, match=r"no encoder at .*nothing"):
        learn.load_encoder("nothing")


def test_a_classifier_learns_and_comes_back_from_its_file(reviews, tmp_path) -> None:
    torch.manual_seed(0)
    dls = TextDataLoaders.from_df(
        reviews, text_col="text", label_col="about", bs=16, seed=1, path=tmp_path
    )
    learn = text_classifier_learner(dls, AWD_LSTM, config=SMALL, drop_mult=0.1, metrics=accuracy)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(5, 2e-2)
    share = reviews["about"].value_counts(normalize=True).max()
    assert learn.validate()[1] > share + 0.05
    label, number, chances = learn.predict("I bought this dress, a lovely dress")
    assert label == "dress"
    assert dls.vocab[1][int(number)] == label
    again = load_learner(learn.export("reviews.torte"))
    torch.testing.assert_close(again.predict("I bought this dress, a lovely dress")[2], chances)


def test_predictions_come_in_the_order_of_the_data(reviews) -> None:
    dls = TextDataLoaders.from_df(reviews, text_col="text", label_col="about", bs=16, seed=1)
    learn = text_classifier_learner(dls, AWD_LSTM, config=SMALL)
    together, targets = learn.get_preds()
    dataset = dls.valid.dataset
    assert targets.tolist() == [int(dataset[n][1]) for n in range(len(dataset))]
    one_by_one = learn.get_preds(dl=dls.valid.new(bs=1))[0]
    torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=1e-5)


def test_several_columns_are_joined_and_marked(reviews) -> None:
    dls = TextDataLoaders.from_df(
        reviews.fillna("none"),
        text_col=["title", "text"],
        label_col="about",
        bs=4,
        tok_kwargs={"tok": WhitespaceTokenizer()},
    )
    texts = [dls.vocab[0][number] for number in dls.one_batch()[0][0].tolist()]
    assert "xxfld" in texts


def test_a_missing_text_is_named_with_its_row(reviews) -> None:
    broken = reviews.copy()
    broken.loc[5, "text"] = None
    with pytest.raises(TypeError, match=r"column 'text' holds .* in row 5, not text"):
        TextDataLoaders.from_df(broken, text_col="text", label_col="about")


def test_files_in_class_folders(tmp_path) -> None:
    for part in ("train", "valid"):
        for label in ("good", "bad"):
            folder = tmp_path / part / label
            folder.mkdir(parents=True)
            for number in range(6):
                (folder / f"{number}.txt").write_text(f"this is a {label} text number {number}")
    dls = TextDataLoaders.from_folder(tmp_path, bs=4)
    assert list(dls.vocab[1]) == ["bad", "good"]
    assert len(dls.train.dataset) == 12
    with pytest.raises(FileNotFoundError, match=r"no folder .*missing"):
        TextDataLoaders.from_folder(tmp_path / "missing")


def test_weights_for_another_vocabulary() -> None:
    rows = torch.tensor([[0.0, 0], [1, 1], [2, 5]])
    # A layer that happens to have as many rows as there are words is left alone.
    weights = {"0.encoder.weight": rows, "1.decoder.bias": rows[:, 1], "other": torch.ones(3, 2)}
    matched = match_embeds(weights, ["a", "b", "c"], ["c", "new", "a"])
    assert matched["0.encoder.weight"].tolist() == [[2, 5], [1, 2], [0, 0]]
    assert matched["1.decoder.bias"].tolist() == [5, 2, 0]
    assert matched["other"] is weights["other"]
    with pytest.raises(ValueError, match=r"0.encoder.weight has 3 rows.*has 2 words"):
        match_embeds(weights, ["a", "b"], ["a"])


def wrapped_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as ULMFiT's files have them: layers wrapped, weights before dropout beside."""
    found = {}
    for name, value in state.items():
        where, last = name.rsplit(".", 1)
        if last == "weight_hh_l0":
            found[f"{name}_raw"] = value
            found[f"{where}.module.{last}"] = torch.zeros_like(value)
        else:
            found[f"{where}.module.{last}" if ".rnns." in name else name] = value
    return found


def test_a_language_model_begins_with_weights_from_files(trained, language, tmp_path) -> None:
    words = list(language.vocab)
    other = words[::-1]
    state = trained.model.state_dict()
    rows = torch.tensor([words.index(word) for word in other])
    stored = {k: v[rows] if len(v) == len(words) else v for k, v in wrapped_names(state).items()}
    (tmp_path / "models").mkdir()
    torch.save(stored, tmp_path / "models" / "wt.pth")
    (tmp_path / "models" / "wt_vocab.pkl").write_bytes(pickle.dumps(other))
    (tmp_path / "models" / "words.json").write_text(json.dumps(other))
    for vocab in ("wt_vocab", "words"):
        learn = language_model_learner(
            language,
            AWD_LSTM,
            config=SMALL,
            path=tmp_path,
            pretrained=True,
            pretrained_fnames=["wt", vocab],
        )
        for name, value in learn.model.state_dict().items():
            torch.testing.assert_close(value, state[name], msg=name)
        assert not learn.model[0].rnns[0].weight_hh_l0.requires_grad


def test_weights_that_are_not_there_or_not_right_are_named(language, tmp_path) -> None:
    learn = language_model_learner(language, AWD_LSTM, config=SMALL, pretrained=False)
    with pytest.raises(FileNotFoundError, match=r"nothing.*\.safetensors or \.pth"):
        learn.load_pretrained(tmp_path / "nothing", tmp_path / "words")
    torch.save({"0.encoder.weight": torch.zeros(2, 16)}, tmp_path / "some.pth")
    (tmp_path / "words.json").write_text('["a", "b"]')
    with pytest.raises(RuntimeError, match=r"it lacks \['0\.rnns"):
        learn.load_pretrained(tmp_path / "some", tmp_path / "words")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Path("a")))
    with pytest.raises(ValueError, match="list of words, but the file has"):
        learn.load_pretrained(tmp_path / "some", tmp_path / "evil.pkl")


def test_texts_can_be_read_from_the_end(reviews) -> None:
    def first_text(**kwargs):
        dls = TextDataLoaders.from_df(
            reviews, text_col="text", label_col="about", bs=4, seed=1, **kwargs
        )
        return dls.train_ds[0][0].tolist()

    assert first_text(backwards=True, tok_tfm=Tokenizer()) == first_text()[::-1]


def test_rows_of_a_language_model_are_shown_as_texts(language, trained, capsys) -> None:
    inputs, targets = language.train.decode_batch(language.one_batch(), max_n=2)[0]
    assert targets.split(" ")[:-1] == inputs.split(" ")[1:]
    language.show_batch(max_n=2)
    trained.show_results(max_n=2)
    assert str(inputs).split(" ")[0] in capsys.readouterr().out


def test_recurrent_models_have_a_momentum_of_their_own(trained) -> None:
    assert trained.moms == (0.8, 0.7, 0.8)
