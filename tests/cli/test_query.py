from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from mmsearch.cli.query import _apart
from tests.cli.conftest import ODD_NAME, Invoke

KEYS = [
    "rank",
    "path",
    "modality",
    "score",
    "relevance",
    "stage",
    "start_ms",
    "end_ms",
    "text",
    "item_id",
    "segment_id",
]


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_hits_are_json_lines_in_the_form_that_scripts_rely_on(invoke: Invoke, library: Path) -> None:
    result = invoke("query", "a dog", "-k", 5, "--library", library, "--json")
    assert result.exit_code == 0
    found = rows(result.stdout)
    assert [list(row) for row in found] == [KEYS] * 5
    assert [row["rank"] for row in found] == [1, 2, 3, 4, 5]
    assert all(os.path.isabs(str(row["path"])) and row["modality"] == "image" for row in found)
    assert all(row["stage"] == "vector" and row["text"] is None for row in found)
    assert result.stderr == ""


def test_a_picture_finds_itself(invoke: Invoke, library: Path, photos: Path) -> None:
    result = invoke("query", photos / "03.png", "-k", 1, "--library", library, "--json")
    (row,) = rows(result.stdout)
    assert row["path"] == str(photos / "03.png")
    assert row["score"] == pytest.approx(1.0, abs=1e-3)


def test_terms_are_joined_and_pushed_away(invoke: Invoke, library: Path, photos: Path) -> None:
    result = invoke("query", "dog", "+", photos / "03.png", "-", "leash", "--library", library, "--json")
    assert {row["stage"] for row in rows(result.stdout)} == {"fused"}
    quoted = invoke("query", "dog", f"+ {photos / '03.png'}", "- leash", "--library", library, "--json")
    assert quoted.exit_code == 0


def test_options_may_stand_anywhere_and_a_minus_is_never_one(invoke: Invoke, library: Path) -> None:
    result = invoke("query", "--library", library, "2:dog", "-", "a leash", "-k", 2, "+", "beach", "--json")
    assert len(rows(result.stdout)) == 2


def test_a_minus_in_quotes_is_the_same_as_one_that_stands_alone() -> None:
    assert _apart(["dog", "- leash", "-k", "3"]) == ["dog", "-", "leash", "-k", "3"]
    assert _apart(["dog", "-", "leash", "--json", "-k3"]) == ["dog", "-", "leash", "--json", "-k3"]
    assert _apart(["a-b", "-"]) == ["a-b", "-"]
    assert _apart(["dog", "--", "- leash"]) == ["dog", "--", "- leash"]


def test_after_two_dashes_everything_is_a_term(invoke: Invoke, library: Path) -> None:
    result = invoke("query", "--library", library, "--json", "-k", 1, "--", "-leash")
    assert result.exit_code == 0


def test_words_come_from_standard_input(invoke: Invoke, library: Path) -> None:
    asked = invoke("query", "a red dog", "--library", library, "--json").stdout
    assert invoke("query", "-", "--library", library, "--json", stdin=b"a red\ndog\n").stdout == asked


def test_a_picture_comes_from_standard_input(invoke: Invoke, library: Path, photos: Path) -> None:
    result = invoke("query", "-", "-k", 1, "--library", library, "--json", stdin=(photos / "05.png").read_bytes())
    assert rows(result.stdout)[0]["path"] == str(photos / "05.png")
    both = invoke("query", "dog", "+", "-", "--library", library, stdin=(photos / "05.png").read_bytes())
    assert both.exit_code == 0


@pytest.mark.parametrize("stdin", [b"", b"  \n", b"\x89PNG\r\n\x1a\nbroken\xff"])
def test_standard_input_that_is_no_query_is_wrong_usage(invoke: Invoke, library: Path, stdin: bytes) -> None:
    result = invoke("query", "-", "--library", library, stdin=stdin)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("mmsearch: ")


@pytest.mark.parametrize("option", ["--paths", "--print0"])
def test_paths_are_written_as_the_file_system_has_them(
    invoke: Invoke, library: Path, photos: Path, option: str
) -> None:
    result = invoke("query", "x", "-k", 100, "--library", library, option)
    end = b"\n" if option == "--paths" else b"\0"
    assert result.stdout_bytes.count(os.fsencode(photos) + b"/" + ODD_NAME + end) == 1
    if option == "--print0":
        assert sorted(result.stdout_bytes.split(b"\0")[:-1]) == sorted(
            os.fsencode(path) for path in photos.iterdir() if path.name != "broken.jpg"
        )


def test_odd_names_are_escaped_in_json_and_in_the_table(invoke: Invoke, library: Path) -> None:
    found = rows(invoke("query", "x", "-k", 100, "--library", library, "--json").stdout)
    assert any(os.fsencode(str(row["path"])).endswith(ODD_NAME) for row in found)
    table = invoke("query", "x", "-k", 100, "--library", library).stdout
    assert "odd \\xff\\n\\x1b[31m name.png" in table
    assert len(table.splitlines()) == 12


def test_the_table_is_plain_where_it_is_not_a_terminal(invoke: Invoke, library: Path) -> None:
    result = invoke("query", "a dog", "-k", 3, "--library", library, env={"TERM": "xterm-kitty", "NO_COLOR": ""})
    assert "\x1b" not in result.stdout
    assert len(result.stdout.splitlines()) == 3


def test_a_file_that_is_gone_is_marked(invoke: Invoke, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "gone.png")
    library = tmp_path / "lib"
    invoke("index", tmp_path / "gone.png", "--library", library, "--model", "hashing")
    (tmp_path / "gone.png").unlink()
    result = invoke("query", "x", "--library", library)
    assert result.exit_code == 0
    assert "missing" in result.stdout


def test_a_table_without_a_good_match_says_so(invoke: Invoke, library: Path) -> None:
    said = {}
    for words in ("wolf", "zebra", "sea", "tree"):  # arbitrary, since the hashing encoder knows no animals
        (row,) = rows(invoke("query", words, "-k", 1, "--library", library, "--json").stdout)
        table = invoke("query", words, "--library", library)
        assert table.exit_code == 0
        assert table.stderr in ("", "There is no good match; these come nearest.\n")
        said[bool(table.stderr)] = bool(table.stderr) == (float(str(row["relevance"])) < 0.1)
    assert said == {False: True, True: True}


@pytest.mark.parametrize("k", [0, -3])
def test_k_below_one_is_wrong_usage(invoke: Invoke, library: Path, k: int) -> None:
    result = invoke("query", "dog", "-k", k, "--library", library)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"mmsearch: -k must be at least 1, not {k}.\n")


def test_types_filter_and_none_left_is_no_match(invoke: Invoke, library: Path) -> None:
    assert len(rows(invoke("query", "x", "--type", "image", "--library", library, "--json").stdout)) == 10
    assert invoke("query", "x", "--type", "image, text", "--library", library).exit_code == 0
    result = invoke("query", "x", "--type", "audio", "--library", library)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("No match.\n")


@pytest.mark.parametrize("types", ["picture", "image,sound", ""])
def test_a_type_that_does_not_exist_is_wrong_usage(invoke: Invoke, library: Path, types: str) -> None:
    result = invoke("query", "x", "--type", types, "--library", library)
    assert result.exit_code == 2
    assert "audio, image, text, video" in result.stderr


@pytest.mark.parametrize("flags", [("--json", "--paths"), ("--paths", "--print0"), ("--json", "--paths", "--print0")])
def test_only_one_form_of_output_can_be_asked_for(invoke: Invoke, library: Path, flags: tuple[str, ...]) -> None:
    result = invoke("query", "x", "--library", library, *flags)
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_reranker_that_does_not_exist_is_told(invoke: Invoke, library: Path) -> None:
    result = invoke("query", "x", "--rerank", "--library", library)
    assert result.exit_code == 2
    assert "no reranker for the model hashing" in result.stderr
    assert invoke("query", "x", "--no-rerank", "--library", library).exit_code == 0


def test_a_library_that_is_not_there_is_told_with_the_command_that_makes_one(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("query", "x", "--library", tmp_path / "nowhere")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "There is no library at" in result.stderr and "mmsearch index" in result.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_model_that_is_not_the_librarys_is_told_with_both_names(invoke: Invoke, library: Path) -> None:
    result = invoke("query", "x", "--library", library, "--model", "mini")
    assert result.exit_code == 1
    assert "hashing" in result.stderr and "mini" in result.stderr


def test_a_model_that_does_not_exist_is_wrong_usage(invoke: Invoke, library: Path) -> None:
    result = invoke("query", "x", "--library", library, "--model", "no-such-model")
    assert result.exit_code == 2
    assert "no-such-model" in result.stderr and "mmsearch models list" in result.stderr


@pytest.mark.parametrize("term", ["./nowhere.jpg", "nowhere.jpg", "https://example.org/cat.jpg"])
def test_a_picture_that_is_not_there_is_told(invoke: Invoke, library: Path, term: str) -> None:
    result = invoke("query", term, "--library", library)
    assert (result.exit_code, result.stdout) == (2, "")
    assert term in result.stderr


def test_a_picture_that_cannot_be_read_is_told(invoke: Invoke, library: Path, photos: Path) -> None:
    result = invoke("query", photos / "broken.jpg", "--library", library)
    assert result.exit_code == 2
    assert "broken.jpg" in result.stderr


def test_a_picture_larger_than_any_in_the_library_can_be_asked_for(invoke: Invoke, library: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (900, 500), "teal").save(buffer, "JPEG")
    result = invoke("query", "-", "-k", 1, "--library", library, "--json", stdin=buffer.getvalue())
    assert os.fsencode(str(rows(result.stdout)[0]["path"])).endswith(ODD_NAME)
