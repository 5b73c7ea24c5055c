"""Each rule does what its name says, and none chokes on what real text brings."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torte.text import (
    apply_rules,
    fix_html,
    lowercase,
    replace_all_caps,
    replace_maj,
    replace_rep,
    replace_space,
    replace_wrep,
    rm_useless_spaces,
    spec_add_spaces,
)
from torte.text.rules import DEFAULT_RULES

# Mathematics' own letters, whose capitals have no small form.
BOLD, SMALL = "\U0001d401\U0001d40e", "\U0001d428\U0001d425"


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        (spec_add_spaces, "#torte", " # torte"),
        (spec_add_spaces, "a/b\\c", "a / b \\ c"),
        (rm_useless_spaces, "a  b   c", "a b c"),
        (replace_rep, "aa", "aa"),
        (replace_rep, "aaaa", " xxrep 4 a "),
        (replace_rep, "so!!!", "so xxrep 3 ! "),
        (replace_wrep, "ah ah", "ah ah"),
        (replace_wrep, "ah ah ah", " xxwrep 3 ah "),
        (replace_wrep, "ah ah   ah  ah", " xxwrep 4 ah "),
        (replace_wrep, "ah ah ah ah ", " xxwrep 4 ah "),
        (replace_wrep, "ah ah ah ah.", " xxwrep 4 ah ."),
        (replace_wrep, "ah ah ahi", "ah ah ahi"),
        (fix_html, "#39;bli#146;", "'bli'"),
        (fix_html, "Sarah amp; Duck...", "Sarah & Duck …"),
        (fix_html, "a nbsp; #36;", "a   $"),
        (fix_html, '\\" <unk>', '" xxunk'),
        (fix_html, "quot;  @.@  @-@ ", "' .-"),
        (fix_html, "a @-@ @.@ b", "a @-@.b"),
        (fix_html, "<br />text\\n", "\ntext\n"),
        (replace_all_caps, "I'M SHOUTING", "xxup i'm xxup shouting"),
        (replace_all_caps, "I'm speaking normally", "I'm speaking normally"),
        (replace_all_caps, "I am speaking normally", "i am speaking normally"),
        (replace_all_caps, "ÜBER ALLES", "xxup über xxup alles"),
        (replace_all_caps, f"{BOLD} CAPS", f"{BOLD} xxup caps"),
        (replace_maj, f"{BOLD[0]}{SMALL} Caps", f"{BOLD[0]}{SMALL} xxmaj caps"),
        (replace_maj, "Jeremy Howard", "xxmaj jeremy xxmaj howard"),
        (replace_maj, "Éric", "xxmaj éric"),
        (replace_maj, "I don't think there is any maj here", "i don't think there is any maj here"),
        (lowercase, " Hello ", "xxbos hello"),
        (replace_space, "a b", "a▁b"),
        (replace_maj, "你好 世界", "你好 世界"),
    ],
)
def test_a_rule_turns_text_into(rule, text, expected) -> None:
    assert rule(text) == expected


def test_the_rules_in_a_row() -> None:
    text = "WOW!!!! The the film is gooood<br />10/10"
    expected = "xxbos xxup wow xxrep 4 ! xxmaj the the film is g xxrep 4 o d\n10 / 10"
    assert apply_rules(text, DEFAULT_RULES) == expected


def test_a_beginning_and_an_end_are_marked_when_asked() -> None:
    assert lowercase("A b", add_bos=False, add_eos=True) == "a b xxeos"


def test_a_rule_that_gives_no_text_is_named() -> None:
    def count(text):
        return len(text)

    with pytest.raises(TypeError, match="the rule count returned 2: a rule gives text for text"):
        apply_rules("ab", [count])


@given(st.text(max_size=200))
def test_any_text_goes_through_all_rules(text) -> None:
    result = apply_rules(text, DEFAULT_RULES)
    assert result.startswith("xxbos")
    assert "    " not in result


def test_a_line_of_megabytes_takes_no_quadratic_time() -> None:
    for text in ("a" * 2_000_000, "ab" * 1_000_000, "A" * 1_000_000, "ab " * 500_000):
        assert apply_rules(text, DEFAULT_RULES)


def test_the_default_rules_and_tokens_are_lists_that_users_change(monkeypatch) -> None:
    from torte.text.all import Numericalize, WhitespaceTokenizer, defaults, tokenize1

    def shout(text):
        return f"{text} !"

    assert defaults.text_proc_rules == list(DEFAULT_RULES)
    monkeypatch.setattr(defaults, "text_proc_rules", [*defaults.text_proc_rules, shout])
    assert tokenize1("A hat", WhitespaceTokenizer()) == ["xxbos", "a", "hat", "!"]
    with_end = [*DEFAULT_RULES[:-1], partial(lowercase, add_eos=True)]
    monkeypatch.setattr(defaults, "text_proc_rules", with_end)
    assert tokenize1("A hat", WhitespaceTokenizer()) == ["xxbos", "a", "hat", "xxeos"]
    monkeypatch.setattr(defaults, "text_postproc_rules", [str.upper])
    assert tokenize1("hat", WhitespaceTokenizer(), rules=[]) == ["HAT"]
    monkeypatch.setattr(defaults, "text_spec_tok", ["xxunk", "xxpad", "xxown"])
    numericalize = Numericalize(min_freq=1)
    numericalize.setup([["hat"]])
    assert numericalize.vocab[:4] == ["xxunk", "xxpad", "xxown", "hat"]
    with pytest.raises(AttributeError, match="no default 'text_rules'"):
        _ = defaults.text_rules
