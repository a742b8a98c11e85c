"""`gateway.core.page`: pages for people, out of texts of others."""

import pytest

from gateway.core.page import Page, Section, html, markdown

EVIL = [
    "<script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "a | b",
    "`code` **bold** ~~gone~~",
    "two\nlines\n# heading",
    "![x](https://example.org/x.png)",
    "\\| out",
    "@everybody",
]


def page(text: str) -> Page:
    section = Section(text, (text,), ("one", "two"), ((text, "end"),))
    return Page(text, (text,), (section, Section("empty", columns=("a",), empty=text)))


@pytest.mark.parametrize("text", EVIL)
def test_no_text_becomes_anything_but_text_in_markdown(text: str) -> None:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    found = parser.render(markdown(page(text)))
    for tag in ("<script", "<a ", "<img", "<strong", "<code", "<s>", "<em"):
        assert tag not in found
    assert (found.count("<h1>"), found.count("<h2>"), found.count("<td>")) == (1, 2, 2)
    assert found.count("<td>end</td>") == 1


@pytest.mark.parametrize("text", EVIL)
def test_no_text_becomes_anything_but_text_in_html(text: str) -> None:
    found = html(page(text), {text: 'x" onerror="y'})
    assert "<script" not in found
    assert 'onerror="' not in found
    assert found.count("<img") == 1
    assert "<td>end</td>" in found


@pytest.mark.parametrize("text", ["# a", "- a", "+ a", "=== a"])
def test_a_line_that_looks_like_a_heading_or_a_list_is_a_line(text: str) -> None:
    assert f"\n\\{text}\n" in markdown(Page("t", (text,), ()))


def test_a_table_without_rows_says_so() -> None:
    assert "| a |" not in markdown(page("text"))
    assert markdown(Page("t", (), (Section("s", columns=("a",)),))).endswith("## s\n\nNothing.\n")
