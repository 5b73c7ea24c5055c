"""Classify reviews with a model of Hugging Face in the Learner.

    uv run examples/transformers_classifier.py [--model NAME_OR_FOLDER]

Needs the extra: `pip install 'torte-text[transformers]'`. Without `--model` nothing is downloaded:
a WordPiece tokenizer is trained on the 5,000 reviews that come with torte, and a DistilBERT of two
small layers begins with random weights. With it, tokenizer and weights of a model are loaded, and
the layers are unfrozen gradually. Whether the garment is recommended is what it learns.

What the small model reached after five passes (two minutes on one busy core): accuracy 0.880, macro
F1 0.790 on 1,000 held-out reviews; after three it had 0.892 and 0.811, then it learned by heart.
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torte.text.all import (
    F1Score,
    TransformersDataLoaders,
    URLs,
    accuracy,
    load_learner,
    transformers_learner,
    untar_data,
)


def trained_tokenizer(texts: Any) -> Any:
    """Train a WordPiece tokenizer with BERT's special tokens."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=4000, special_tokens=special, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    frame = [("[CLS]", 2), ("[SEP]", 3)]
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, frame)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, sep_token="[SEP]", model_max_length=128, **names
    )


def small_model() -> Any:
    """Describe a DistilBERT that trains on one core."""
    import transformers

    return transformers.DistilBertConfig(
        vocab_size=4000, dim=96, n_layers=2, n_heads=4, hidden_dim=192, max_position_embeddings=128
    )


def unfreeze_gradually(learn: Any, epochs: int) -> None:
    """Train the head, then the last layer too, then all at rates that fall from layer to layer."""
    learn.freeze()
    learn.fit_one_cycle(1, 1e-3)
    learn.freeze_to(-2)
    learn.fit_one_cycle(1, slice(1e-4, 5e-4))
    learn.unfreeze()
    learn.fit_one_cycle(epochs, slice(1e-6, 5e-5))


def main(model: str | None, epochs: int, quick: bool, outputs: Path) -> None:
    """Trains, exports, loads back, predicts."""
    torch.manual_seed(1)
    frame = pd.read_csv(untar_data(URLs.REVIEWS_SAMPLE) / "reviews.csv").dropna(subset=["text"])
    if quick:
        frame, epochs = frame[:300], 1
    dls = TransformersDataLoaders.from_df(
        frame,
        model or trained_tokenizer(frame["text"]),
        path=outputs,
        text_col="text",
        label_col="recommended",
        max_length=128,
        bs=32,
        seed=1,
    )
    metrics = [accuracy, F1Score(average="macro")]
    learn = transformers_learner(dls, model or small_model(), metrics=metrics)
    if model is None:
        learn.fit_one_cycle(epochs, 2e-3)
    else:
        unfreeze_gradually(learn, epochs)
    again = load_learner(learn.export("reviews.safetensors"))
    for text in ("It fits, and I wear it every day.", "Thin, badly cut, and I sent it back."):
        label, number, chances = again.predict(text)
        print(f"{text!r}: recommended {label}, probability {chances[number]:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A model of Hugging Face on reviews.")
    parser.add_argument("--model", help="a model on the hub, or the folder of one")
    parser.add_argument("--epochs", type=int, default=5, help="passes over the reviews")
    parser.add_argument("--quick", action="store_true", help="few reviews, one pass")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="where files go")
    main(**vars(parser.parse_args()))
