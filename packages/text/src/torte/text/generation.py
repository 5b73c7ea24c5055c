"""A language model writes: the choice of words, and special tokens back to what they stand for."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from torte.text.rules import SPECIAL_TOKENS, TK_MAJ, TK_REP, TK_UP, TK_WREP, UNK
from torte.text.vocabulary import FILLER

__all__ = ["Choice", "decode_spec_tokens", "generate", "joined_pieces"]

# With it SentencePiece marks that a space came before a piece.
_SPACE = "▁"


# -- special tokens back to writing ----------------------------------------------------------------


def decode_spec_tokens(tokens: Sequence[str]) -> list[str]:
    """Return tokens written as the special ones among them say, without those.

    `xxmaj word` becomes `Word`, `xxup word` `WORD`, `xxrep 3 a` `aaa`, `xxwrep 3 ha` `ha ha ha`.
    Other special tokens stay; one of these that nothing fitting follows is left out.
    """
    return list(_decoded(iter(tokens)))


def _decoded(tokens: Iterator[str]) -> Iterator[str]:
    mark: str | None = None
    for token in tokens:
        if token in (TK_REP, TK_WREP):
            mark = None
            yield from _repeated(token, tokens)
        elif token in (TK_MAJ, TK_UP):
            mark = token
        else:
            yield _written(token, mark)
            mark = None


def _written(token: str, mark: str | None) -> str:
    if mark is None or token in SPECIAL_TOKENS:
        return token
    return token.upper() if mark == TK_UP else token[:1].upper() + token[1:]


def _repeated(mark: str, tokens: Iterator[str]) -> list[str]:
    """What a mark of repetition stands for: the number and the word come next."""
    number, word = next(tokens, ""), next(tokens, "")
    if not number.isdecimal() or not word:
        return [token for token in (number, word) if token]
    return [word * int(number)] if mark == TK_REP else [word] * int(number)


def joined_pieces(tokens: Sequence[str]) -> list[str]:
    """Return whole words where tokens are SentencePiece's pieces, else the tokens."""
    if not any(token.startswith(_SPACE) and len(token) > 1 for token in tokens):
        return list(tokens)
    return "".join(tokens).replace(_SPACE, " ").split()


# -- choosing --------------------------------------------------------------------------------------


class Choice:
    """Draws one of many by their scores.

    Args:
        temperature: By which scores are divided; 0 for the best one each time.
        min_p: What is less likely than this is left out, unless all is.
        top_k: Only so many of the likeliest are chosen from.
        top_p: Only the likeliest whose probabilities add up to this.
        seed: Of the generator; by default another one each time.

    Raises:
        ValueError: The temperature is negative, or nothing is left to choose from.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        min_p: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> None:
        if not temperature >= 0:
            raise ValueError(f"{temperature=} must be 0 (the likeliest word each time) or more")
        if top_k is not None and top_k < 1:
            raise ValueError(f"{top_k=} must be 1 or more, or None for all words")
        if top_p is not None and not top_p > 0:
            raise ValueError(f"{top_p=} must be above 0, or None for all words")
        self.temperature, self.min_p, self.top_k, self.top_p = temperature, min_p, top_k, top_p
        self.generator = torch.Generator()
        if seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(seed)

    def __call__(self, scores: Tensor) -> int:
        """Draw: scores of (choices,) on the CPU, minus infinity for those not to be had."""
        if self.temperature == 0:
            return int(scores.argmax())
        chances = self._left((scores / self.temperature).softmax(dim=0))
        return int(torch.multinomial(chances, 1, generator=self.generator))

    def _left(self, chances: Tensor) -> Tensor:
        """Return the chances with those that are left out at 0."""
        if self.top_k is not None:
            kept = chances.topk(min(self.top_k, len(chances))).indices
            chances = torch.zeros_like(chances).index_copy(0, kept, chances[kept])
        if self.top_p is not None:
            ordered, order = chances.sort(descending=True)
            # One stays while those before it have not reached the sum yet, so one always does.
            chances[order[ordered.cumsum(0) - ordered >= self.top_p]] = 0.0
        if self.min_p is not None and bool((chances >= self.min_p).any()):
            chances[chances < self.min_p] = 0.0
        return chances


def generate(
    model: nn.Module,
    numbers: Tensor,
    vocab: Sequence[str],
    choose: Callable[[Tensor], int],
    n_words: int,
    no_unk: bool = True,
) -> list[str]:
    """Return the tokens that a language model goes on with.

    Special tokens are never among them, but for `xxmaj` and `xxup` before a word: those count for
    nothing in `n_words`.

    Args:
        model: Gives scores of (1, steps, words) first; keeps its state between calls.
        numbers: The tokens to begin with: (steps,).
        vocab: The words in the order of their numbers.
        choose: Picks a word by the scores of all.
        n_words: How many to add.
        no_unk: Whether `xxunk` is left out too.

    Raises:
        ValueError: There are no tokens to begin with.
    """
    if not len(numbers):
        raise ValueError("the text has no token to go on from: give at least one word")
    device = next(model.parameters()).device
    plain = [token.removeprefix(_SPACE) for token in vocab]
    marks = {n for n, token in enumerate(plain) if token in (TK_MAJ, TK_UP)}
    special = {n for n, token in enumerate(plain) if token in (*SPECIAL_TOKENS, FILLER)}
    unknown = set() if no_unk else {n for n, token in enumerate(plain) if token == UNK}
    always, after_a_mark = list(special - marks - unknown), list(special)
    added: list[str] = []
    words, banned = 0, always
    while words < n_words:
        scores = model(numbers[None].to(device))[0][0, -1].float().cpu()
        scores[banned] = -math.inf
        chosen = choose(scores)
        added.append(vocab[chosen])
        words += chosen not in marks
        banned = after_a_mark if chosen in marks else always
        numbers = torch.tensor([chosen])
    return added
