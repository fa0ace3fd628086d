from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.errors import MediaError
from mmsearch.media import html_text
from mmsearch.media.html_text import html_blocks
from tests.media.documents import checked, texts


def _lines(source: str) -> list[str]:
    return [block.text.removesuffix("\n\n") for block in html_blocks([source])]


def test_what_a_reader_sees_is_read_in_order_under_its_headings() -> None:
    (passage,) = checked(
        b"<!doctype html><html><head><title>My dogs</title></head><body><h1>At the <em>beach</em></h1>"
        b"<p>A dog &amp; a&nbsp;cat<br>run.</p><ul><li>one<li>two</ul></body></html>",
        "a.html",
    )
    assert passage.text == "My dogs\n\nAt the beach\n\nA dog & a cat\nrun.\n\none\n\ntwo"
    assert passage.heading == "At the beach"


@pytest.mark.parametrize(
    "hidden",
    [
        "<script>document.write('<p>no</p>')</script>",
        "<SCRIPT type=module>no</SCRIPT >",
        "<style>p { content: 'no' }</style>",
        "<nav><ul><li><a href=/>no</a></ul></nav>",
        "<div hidden>no<div>no</div>no</div>",
        "<div class='a' aria-hidden=\"true\">no</div>",
        "<div style='display: none'>no</div>",
        "<div role=navigation>no</div>",
        "<footer>no</footer>",
        "<noscript>no</noscript>",
        "<svg><title>no</title><text>no</text></svg>",
        "<template><p>no</p></template>",
        "<button>no</button><select><option>no</select>",
        "<!-- no --><!no><?no?></no>",
        "<a title='no > no'></a>",
        '<img src=data:no alt="">',
        "<ul><li hidden>no<li></ul>",
        "<textarea>no <b>no</textarea>",
    ],
)
def test_what_a_reader_does_not_see_is_left_out(hidden: str) -> None:
    assert "".join(_lines(f"<p>before</p>{hidden}<p>after")) == "beforeafter"


def test_pictures_speak_by_their_alternative_texts() -> None:
    assert _lines("<p>Look: <img src='x.jpg' alt='a red &amp; blue ball'> here</p>") == ["Look: a red & blue ball here"]


def test_cells_of_a_row_stand_side_by_side() -> None:
    assert _lines("<table><tr><th>Name<th>Age</tr><tr><td>Ann</td> <td>3</td></tr></table>") == [
        "Name | Age",
        "Ann | 3",
    ]


def test_a_sign_that_begins_no_tag_is_text() -> None:
    assert _lines("1 < 2 && 3 <= 4 &copy &bogus; &#x41;&#65; AT&T") == ["1 < 2 && 3 <= 4 © &bogus; AA AT&T"]


def test_an_empty_element_in_short_form_hides_nothing() -> None:
    assert _lines("<svg/>a<p>b") == ["a", "b"]


def test_the_encoding_that_a_document_names_is_used() -> None:
    content = '<meta charset="windows-1251"><p>Собака бежит'.encode("cp1251")
    assert texts(content, "a.html") == ["Собака бежит"]


def test_a_page_of_scripts_alone_has_no_text() -> None:
    with pytest.raises(MediaError, match="no text in it"):
        texts("<html><script>" + "var a = 1;" * 10_000 + "</script><style>p {}</style></html>", "a.html")


def test_a_document_of_enormous_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_text, "MAX_HTML_CHARACTERS", 1000)
    with pytest.raises(MediaError, match="more than"):
        _lines("<p>" * 1000)


@pytest.mark.parametrize(
    "part",
    [
        "<a ",
        "<",
        "</",
        "<!--",
        "<!",
        "<div>",
        "<b><p>",
        '<a x="',
        "<a x='>",
        "<script>",
        "<a =\"'",
        "&",
        "&#",
        "<nav>",
        "<title>",
        "= \t",
    ],
)
def test_many_damaged_marks_are_read_in_one_pass(part: str) -> None:
    blocks = list(html_blocks(["words ", part * 50_000, " more"]))
    assert blocks[0].text.startswith("words")


def test_deep_nesting_is_no_more_than_many_tags() -> None:
    assert _lines("<div>" * 20_000 + "deep" + "</div>" * 20_000) == ["deep"]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["<", ">", "'", '"', "=", "a", " ", "/", "!", "-", "&", ";", "<p>", "\n"]), max_size=60)
)
def test_every_text_between_marks_is_in_order(parts: list[str]) -> None:
    source = "".join(parts)
    assert all(text == text.strip() for text in _lines(source))
