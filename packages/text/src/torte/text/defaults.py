"""The rules and special tokens that hold where none are given, as lists that users may change.

They are fields of `torte.learner.defaults`: `text_proc_rules`, `text_postproc_rules` and
`text_spec_tok`. What is changed there holds for tokenizers and vocabularies made afterwards.
"""

from torte.learner.defaults import defaults
from torte.text.rules import DEFAULT_POST_RULES, DEFAULT_RULES, SPECIAL_TOKENS, Rule

__all__ = ["default_post_rules", "default_rules", "default_special_tokens"]

vars(defaults).update(
    text_proc_rules=list(DEFAULT_RULES),
    text_postproc_rules=list(DEFAULT_POST_RULES),
    text_spec_tok=list(SPECIAL_TOKENS),
)


def default_rules() -> list[Rule]:
    """Return the rules for texts."""
    return defaults.text_proc_rules


def default_post_rules() -> list[Rule]:
    """Return the rules for tokens."""
    return defaults.text_postproc_rules


def default_special_tokens() -> list[str]:
    """Return the tokens that come first in a vocabulary."""
    return defaults.text_spec_tok
