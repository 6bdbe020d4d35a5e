from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from access import pages


def test_a_form_is_known_again_until_it_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = pages.form_mark("alice")
    assert pages.shown_to(mark) == "alice"
    assert [pages.shown_to(wrong) for wrong in ("", "x", f"{mark}x", mark[::-1])] == [None] * 4
    monkeypatch.setattr(pages, "FORM_S", -1)
    assert pages.shown_to(mark) is None


def test_what_is_shown_is_no_markup_and_nothing_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<p>{{ text | twice }}</p>")
    template = pages.templates(tmp_path, {"twice": lambda text: text * 2}).get_template("a.html")
    assert template.render(text="<b>") == "<p>&lt;b&gt;&lt;b&gt;</p>"
    with pytest.raises(UndefinedError):
        template.render()
