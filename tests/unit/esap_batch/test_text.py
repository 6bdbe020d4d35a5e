"""Text that can be stored anywhere."""

from __future__ import annotations

import pytest

from esap_batch.text import is_printable


@pytest.mark.parametrize("text", ["", "a b", "a\n\tb\r", "é漢", "C:\\boot\\u0000"])
def test_text_of_any_script_with_line_breaks_is_printable(text: str) -> None:
    assert is_printable(text)


@pytest.mark.parametrize("text", ["\x00", "\x1b[31m", "\x7f", "\x85", "\ud800"])
def test_control_characters_and_half_pairs_are_not(text: str) -> None:
    assert not is_printable(text)
