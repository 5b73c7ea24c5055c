"""Models of Hugging Face in the Learner: classifiers of texts and words, language models.

Needs the extra `transformers`, which is imported where it is used.
"""

from torte.text.transformers.batching import (
    PadTokens,
    TensorTokenCategory,
    TokenCategorize,
    TransformersDL,
)
from torte.text.transformers.learner import TransformersLearner, transformers_learner
from torte.text.transformers.loaders import (
    TokenCategoryBlock,
    TransformersBlock,
    TransformersDataLoaders,
)
from torte.text.transformers.metrics import TokenF1Score, token_accuracy
from torte.text.transformers.models import transformers_model, transformers_split
from torte.text.transformers.tokenizing import TransformersTokenizer

__all__ = [
    "PadTokens",
    "TensorTokenCategory",
    "TokenCategorize",
    "TokenCategoryBlock",
    "TokenF1Score",
    "TransformersBlock",
    "TransformersDL",
    "TransformersDataLoaders",
    "TransformersLearner",
    "TransformersTokenizer",
    "token_accuracy",
    "transformers_learner",
    "transformers_model",
    "transformers_split",
]
