"""Weights by name, from an archive in the layout of the published ones, and from exported files."""

import io
import os
import pickle
import tarfile

import pandas as pd
import pytest
import torch
from support.web_server import serving
from torte.data import URLs, untar_data
from torte.data.transfers import OfflineError
from torte.learner import accuracy, load_learner
from torte.text import (
    AWD_LSTM,
    TextDataLoaders,
    WhitespaceTokenizer,
    language_model_learner,
    text_classifier_learner,
)
from torte.text.pretrained import published_weights, read_weights

SMALL = {"emb_sz": 16, "n_hid": 24, "n_layers": 2}
PATHS = {False: "/fast-ai-modelzoo/wt103-fwd.tgz", True: "/fast-ai-modelzoo/wt103-bwd.tgz"}


class RunsCode:
    """What a hostile file does when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture(scope="module")
def reviews(tmp_path_factory) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORTE_HOME", str(tmp_path_factory.mktemp("home")))
        frame = pd.read_csv(untar_data(URLs.REVIEWS_SAMPLE) / "reviews.csv")
    return frame.dropna(subset=["text"])[:120].reset_index(drop=True)


def assert_equal_but_fillers(model, state, vocab, prefix=""):
    """Two models agree; the words that fill a vocabulary up (`xxfake`) mean nothing."""
    real = torch.tensor([word != "xxfake" for word in vocab])
    for name, value in model.state_dict().items():
        expected = state[prefix + name]
        if len(value) == len(vocab):
            value, expected = value[real], expected[real]
        torch.testing.assert_close(value, expected, msg=name)


def loaders(reviews, **kwargs):
    tok = {"tok": WhitespaceTokenizer()}
    return TextDataLoaders.from_df(reviews, text_col="text", tok_kwargs=tok, seed=1, **kwargs)


@pytest.fixture(scope="module")
def language(reviews):
    return loaders(reviews, is_lm=True, bs=8, seq_len=20)


@pytest.fixture(scope="module")
def source(language, tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("source")
    learn = language_model_learner(language, AWD_LSTM, config=SMALL, path=path)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-2)
    return learn


def published_names(state):
    """The names that the published files have: LSTMs wrapped, weights before dropout beside."""
    found = {}
    for name, value in state.items():
        where, last = name.rsplit(".", 1)
        if last == "weight_hh_l0":
            found[f"{name}_raw"] = value
            found[f"{where}.module.{last}"] = torch.zeros_like(value)
        else:
            found[f"{where}.module.{last}" if ".rnns." in name else name] = value
    return found


def archive(folder, weights, words, protocol=2, zipped=True):
    """A .tgz of a folder with a .pth and a .pkl."""
    held = io.BytesIO()
    torch.save(weights, held, _use_new_zipfile_serialization=zipped)
    name = folder.removesuffix(".tgz").rpartition("/")[2]
    short = "lstm_" + name[-3:]
    files = {f"{short}.pth": held.getvalue(), f"{short}_itos.pkl": pickle.dumps(words, protocol)}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for file, content in files.items():
            entry = tarfile.TarInfo(f"{name}/{file}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def mirror(monkeypatch, tmp_path):
    """A server that has what the test puts into it, and nothing else to ask."""
    monkeypatch.setenv("TORTE_HOME", str(tmp_path / "home"))
    with serving({}) as site:
        monkeypatch.setenv("TORTE_MIRROR", site.url)
        yield site


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(("protocol", "zipped"), [(2, False), (3, True), (4, True)])
def test_published_weights_by_name(
    mirror, source, language, reviews, backwards, protocol, zipped
) -> None:
    words = list(language.vocab)[::-1]
    state = source.model.state_dict()
    turned = {k: v.flip(0) if len(v) == len(words) else v for k, v in state.items()}
    path = PATHS[backwards]
    mirror.files[path] = archive(path, published_names(turned), words, protocol, zipped)
    learn = language_model_learner(
        language, AWD_LSTM, config=SMALL, pretrained=True, backwards=backwards
    )
    assert_equal_but_fillers(learn.model, state, language.vocab)
    assert not learn.model[0].rnns[0].weight_hh_l0.requires_grad
    dls = loaders(reviews, label_col="recommended", text_vocab=language.vocab, bs=16)
    classifier = text_classifier_learner(
        dls, AWD_LSTM, config=SMALL, pretrained=True, backwards=backwards, metrics=accuracy
    )
    assert_equal_but_fillers(classifier.model[0].module, state, language.vocab, "0.")
    assert not classifier.model[0].module.encoder.weight.requires_grad
    assert len({asked for asked, _ in mirror.requests if asked == path}) == 1


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_hostile_vocabulary_is_refused_by_name(mirror, source, language, tmp_path, protocol):
    evil = ["a", RunsCode(f"touch {tmp_path / 'ran'}")]
    path = PATHS[False]
    mirror.files[path] = archive(path, source.model.state_dict(), evil, protocol)
    with pytest.raises(ValueError, match=r"a list of words, but the file has a posix\.system"):
        language_model_learner(language, AWD_LSTM, config=SMALL, pretrained=True)
    assert not (tmp_path / "ran").exists()


def test_hostile_weights_are_refused_by_name(tmp_path) -> None:
    torch.save({"0.encoder.weight": RunsCode(f"touch {tmp_path / 'ran'}")}, tmp_path / "evil.pth")
    with pytest.raises(pickle.UnpicklingError, match=r"posix\.system"):
        read_weights(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_without_a_network_the_error_says_what_to_do(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("TORTE_HOME", str(tmp_path))
    monkeypatch.setattr(URLs, "WT103_FWD", "http://127.0.0.1:9/wt103-fwd.tgz")
    monkeypatch.setattr("torte.text.pretrained._PUBLISHED", {("AWD_LSTM", False): URLs.WT103_FWD})
    with pytest.raises(OfflineError) as caught:
        published_weights("AWD_LSTM")
    assert any("pretrained=path" in note for note in caught.value.__notes__)
    with pytest.raises(KeyError, match="no published weights for AWD_QRNN"):
        published_weights("AWD_QRNN")


def test_an_exported_language_model_is_what_others_begin_with(source, language, reviews, tmp_path):
    file = source.export(tmp_path / "language.safetensors")
    learn = language_model_learner(language, AWD_LSTM, pretrained=file)
    assert_equal_but_fillers(learn.model, source.model.state_dict(), language.vocab)
    other = list(language.vocab)[:40]
    dls = loaders(reviews, label_col="recommended", text_vocab=other, bs=16)
    classifier = text_classifier_learner(dls, AWD_LSTM, pretrained=file)
    weight = classifier.model[0].module.encoder.weight
    torch.testing.assert_close(weight[9:40], source.model[0].encoder.weight[9:40])
    with pytest.raises(RuntimeError, match=r"other sizes: 0\.rnns"):
        language_model_learner(language, AWD_LSTM, {**SMALL, "n_hid": 30}, pretrained=file)
    exported = classifier.export(tmp_path / "classifier.safetensors")
    with pytest.raises(ValueError, match="no language model"):
        language_model_learner(language, AWD_LSTM, pretrained=exported)


def test_a_backward_model_from_the_language_model_to_the_classifier(reviews, tmp_path) -> None:
    torch.manual_seed(1)
    dls = loaders(reviews, is_lm=True, bs=8, seq_len=20, backwards=True)
    rows, targets = (part.tolist() for part in dls.valid.one_batch())
    assert [row[1:] for row in rows] == [row[:-1] for row in targets]
    learn = language_model_learner(dls, AWD_LSTM, config=SMALL, backwards=True, path=tmp_path)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-2)
    learn.save_encoder("backward")
    dls = loaders(reviews, label_col="recommended", text_vocab=dls.vocab, bs=16, backwards=True)
    assert dls.valid.dataset[0][0].tolist()[-1] == list(dls.vocab[0]).index("xxbos")
    classifier = text_classifier_learner(dls, AWD_LSTM, config=SMALL, backwards=True, path=tmp_path)
    classifier.load_encoder("backward")
    with classifier.no_bar(), classifier.no_logging():
        classifier.fit(1, 1e-2)
        classifier.freeze_to(-2)
        classifier.fit(1, slice(1e-4, 1e-2))
    assert len(classifier.opt.hypers) == 4
    text = "I love this dress"
    again = classifier.export("backward.safetensors")
    torch.testing.assert_close(load_learner(again).predict(text)[2], classifier.predict(text)[2])
