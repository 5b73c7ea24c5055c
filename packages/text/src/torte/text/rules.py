"""Rules that prepare text for a tokenizer, and the special tokens that they leave in it.

A rule is a function from text to text. The default rules keep what matters about the form of a text
while they shrink its vocabulary: `WOW` becomes `xxup wow`, `soooo` becomes `s xxrep 4 o`, so that a
model sees one word `wow` and one word `so`, and is still told how they were written. They follow
ULMFiT (Howard and Ruder, 2018, https://arxiv.org/abs/1801.06146).

    fix_html → replace_rep → replace_wrep → spec_add_spaces → rm_useless_spaces
             → replace_all_caps → replace_maj → lowercase → (tokenizer) → replace_space
"""

import html
import re
from collections.abc import Callable, Iterable, Sequence

from torte.dispatch import serializable

__all__ = [
    "BOS",
    "DEFAULT_POST_RULES",
    "DEFAULT_RULES",
    "EOS",
    "FLD",
    "PAD",
    "SPECIAL_TOKENS",
    "TK_MAJ",
    "TK_REP",
    "TK_UP",
    "TK_WREP",
    "UNK",
    "Rule",
    "apply_rules",
    "fix_html",
    "lowercase",
    "replace_all_caps",
    "replace_maj",
    "replace_rep",
    "replace_space",
    "replace_wrep",
    "rm_useless_spaces",
    "spec_add_spaces",
]

Rule = Callable[[str], str]

UNK, PAD, BOS, EOS, FLD = "xxunk", "xxpad", "xxbos", "xxeos", "xxfld"
TK_REP, TK_WREP, TK_UP, TK_MAJ = "xxrep", "xxwrep", "xxup", "xxmaj"

# The order is part of every stored vocabulary: unknown is 0 and padding is 1.
SPECIAL_TOKENS = (UNK, PAD, BOS, EOS, FLD, TK_REP, TK_WREP, TK_UP, TK_MAJ)

_SPECIAL_CHARACTERS = re.compile(r"([/#\\])")
_SPACES = re.compile(r" {2,}")
_REPEATED_CHARACTER = re.compile(r"(\S)\1{2,}")
# A word three times or more with nothing but spaces between. The possessive `++` keeps a line
# without spaces, however long, from being tried again from each of its ends.
_REPEATED_WORD = re.compile(r"(?<!\S)(\w++)(?:\s+\1(?!\w)){2,}\s*")
# Words that may begin with a capital: a letter of any script that is no small ASCII letter.
_MAYBE_CAPITAL = re.compile(r"(?<!\S)[^\W\d_a-z]\S*")
_LINE_BREAK = re.compile(r"<br\s*/?>")
# What is left of HTML entities and of WikiText's markup once other tools have cut their ampersands.
_LEFTOVERS = {
    "#39;": "'",
    "amp;": "&",
    "#146;": "'",
    "nbsp;": " ",
    "#36;": "$",
    "\\n": "\n",
    "quot;": "'",
    '\\"': '"',
    "<unk>": UNK,
    "...": " …",
}
_LEFTOVER = re.compile("|".join(re.escape(key) for key in _LEFTOVERS))


@serializable("torte.text.fix_html")
def fix_html(text: str) -> str:
    """Put right what HTML and dataset dumps leave behind: entities, line breaks, WikiText marks."""
    if "<" in text:
        text = _LINE_BREAK.sub("\n", text)
    text = _LEFTOVER.sub(lambda found: _LEFTOVERS[found[0]], text)
    # One after the other: the space between two marks belongs to the first one to be replaced.
    return html.unescape(text.replace(" @.@ ", ".").replace(" @-@ ", "-"))


@serializable("torte.text.replace_rep")
def replace_rep(text: str) -> str:
    """Replace a character repeated three times or more: `cccc` becomes `xxrep 4 c`."""
    return _REPEATED_CHARACTER.sub(lambda found: f" {TK_REP} {len(found[0])} {found[1]} ", text)


@serializable("torte.text.replace_wrep")
def replace_wrep(text: str) -> str:
    """Replace a word repeated three times or more: `ha ha ha` becomes `xxwrep 3 ha`."""
    return _REPEATED_WORD.sub(lambda found: f" {TK_WREP} {len(found[0].split())} {found[1]} ", text)


@serializable("torte.text.spec_add_spaces")
def spec_add_spaces(text: str) -> str:
    r"""Put spaces around `/`, `#` and `\`."""
    return _SPECIAL_CHARACTERS.sub(r" \1 ", text)


@serializable("torte.text.rm_useless_spaces")
def rm_useless_spaces(text: str) -> str:
    """Make one space of several."""
    return _SPACES.sub(" ", text) if "  " in text else text


def _in_lower_case(word: str, token: str) -> str:
    """Return a word in lower case, marked where it has several letters.

    Capitals that have no small form, as the bold ones of mathematics, stay as they are.
    """
    lower = word.lower()
    return f"{token} {lower}" if len(word) > 1 and lower != word else lower


@serializable("torte.text.replace_all_caps")
def replace_all_caps(text: str) -> str:
    """Put words written in capitals in lower case, behind `xxup` where they have several letters.

    Capitals of every script count, and a word may hold digits and signs: `I'M` becomes `xxup i'm`.
    """

    def replaced(found: re.Match[str]) -> str:
        word = found[0]
        is_capital = word[0].isupper() and word == word.upper()
        return _in_lower_case(word, TK_UP) if is_capital else word

    return _MAYBE_CAPITAL.sub(replaced, text)


@serializable("torte.text.replace_maj")
def replace_maj(text: str) -> str:
    """Put words with only their first letter a capital in lower case, behind `xxmaj`.

    A word of one letter, such as `I`, is put in lower case without a mark.
    """

    def replaced(found: re.Match[str]) -> str:
        word = found[0]
        rest = word[1:]
        is_capitalized = word[0].isupper() and rest == rest.lower()
        return _in_lower_case(word, TK_MAJ) if is_capitalized else word

    return _MAYBE_CAPITAL.sub(replaced, text)


@serializable("torte.text.lowercase")
def lowercase(text: str, add_bos: bool = True, add_eos: bool = False) -> str:
    """Put the text in lower case, with the tokens for its beginning and, if asked, its end."""
    text = text.lower().strip()
    return f"{BOS + ' ' if add_bos else ''}{text}{' ' + EOS if add_eos else ''}"


@serializable("torte.text.replace_space")
def replace_space(token: str) -> str:
    """Write the spaces inside a token as `▁`, so that tokens can be joined and split by spaces."""
    return token.replace(" ", "▁")


DEFAULT_RULES: tuple[Rule, ...] = (
    fix_html,
    replace_rep,
    replace_wrep,
    spec_add_spaces,
    rm_useless_spaces,
    replace_all_caps,
    replace_maj,
    lowercase,
)
DEFAULT_POST_RULES: tuple[Rule, ...] = (replace_space,)


def apply_rules(text: str, rules: Sequence[Rule] | Iterable[Rule]) -> str:
    """Run text through rules, first to last.

    Raises:
        TypeError: A rule returned something that is no text; the message names the rule.
    """
    for rule in rules:
        result = rule(text)
        if not isinstance(result, str):
            name = getattr(rule, "__name__", repr(rule))
            raise TypeError(f"the rule {name} returned {result!r}: a rule gives text for text")
        text = result
    return text
