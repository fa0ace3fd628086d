from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmsearch.cli.query import _apart
from mmsearch.engine import SearchEngine
from mmsearch.types import Hit, Modality
from tests.cli.conftest import ODD_NAME, Invoke, noise

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
    "start_char",
    "end_char",
    "page",
    "matched",
    "retrieval_score",
    "others",
    "key",
    "metadata",
    "duplicates",
    "group",
]


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_hits_are_json_lines_in_the_form_that_scripts_rely_on(invoke: Invoke, library: Path) -> None:
    result = invoke("query", "a dog", "-k", 5, "--all", "--library", library, "--json")
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
    result = invoke("query", "--library", library, "2:dog", "-", "a leash", "-k", 2, "+", "beach", "--json", "--all")
    assert len(rows(result.stdout)) == 2


def test_terms_that_begin_with_a_minus_are_told_from_options() -> None:
    assert _apart(["dog", "- leash", "-k", "3"]) == ["dog", " - leash", "-k", "3"]
    assert _apart(["dog", "-", "leash", "--json", "-k3"]) == ["dog", "-", "leash", "--json", "-k3"]
    assert _apart(["-type:video", '-"red car"', "-(type:video)"]) == [" -type:video", ' -"red car"', " -(type:video)"]
    assert _apart(["a-b", "-"]) == ["a-b", "-"]
    assert _apart(["dog", "--", "- leash"]) == ["dog", "--", "- leash"]


def test_diversity_has_a_strength_or_none() -> None:
    assert _apart(["--diverse", "0.5", "dog"]) == ["--diverse", "0.5", "dog"]
    assert _apart(["--diverse", "dog"]) == ["--diverse", "auto", "dog"]
    assert _apart(["dog", "--diverse"]) == ["dog", "--diverse", "auto"]


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
    result = invoke("query", "x", "-k", 100, "--all", "--library", library, option)
    end = b"\n" if option == "--paths" else b"\0"
    assert result.stdout_bytes.count(os.fsencode(photos) + b"/" + ODD_NAME + end) == 1
    if option == "--print0":
        assert sorted(result.stdout_bytes.split(b"\0")[:-1]) == sorted(
            os.fsencode(path) for path in photos.iterdir() if path.name != "broken.jpg"
        )


def test_odd_names_are_escaped_in_json_and_in_the_table(invoke: Invoke, library: Path) -> None:
    found = rows(invoke("query", "x", "-k", 100, "--all", "--library", library, "--json").stdout)
    assert any(os.fsencode(str(row["path"])).endswith(ODD_NAME) for row in found)
    table = invoke("query", "x", "-k", 100, "--all", "--library", library).stdout
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


@pytest.mark.parametrize("relevance", [0.05, 0.6])
def test_a_table_without_a_good_match_says_so(
    invoke: Invoke, library: Path, monkeypatch: pytest.MonkeyPatch, relevance: float
) -> None:
    found = SearchEngine.search
    monkeypatch.setattr(
        SearchEngine,
        "search",
        lambda *asked, **options: [replace(hit, relevance=relevance) for hit in found(*asked, **options)],
    )
    table = invoke("query", "sea", "--all", "--library", library)
    assert table.exit_code == 0
    assert table.stderr == ("There is no good match; these come nearest.\n" if relevance < 0.1 else "")


@pytest.mark.parametrize("k", [0, -3])
def test_k_below_one_is_wrong_usage(invoke: Invoke, library: Path, k: int) -> None:
    result = invoke("query", "dog", "-k", k, "--library", library)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"mmsearch: -k must be at least 1, not {k}.\n")


def test_types_filter_and_none_left_is_no_match(invoke: Invoke, library: Path) -> None:
    assert len(rows(invoke("query", "x", "--type", "image", "--all", "--library", library, "--json").stdout)) == 10
    assert invoke("query", "x", "--type", "image, text", "--library", library).exit_code == 0
    result = invoke("query", "x", "--type", "audio", "--library", library)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("No match.\n")


@pytest.mark.parametrize("types", ["picture", "image,sound", ""])
def test_a_type_that_does_not_exist_is_wrong_usage(invoke: Invoke, library: Path, types: str) -> None:
    result = invoke("query", "x", "--type", types, "--library", library)
    assert result.exit_code == 2
    assert all(name in result.stderr for name in ("audio", "image", "text", "video"))


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


@pytest.fixture
def mixed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Hit]:
    """Hits of all kinds, found by a search whatever was asked for: these tests look at what becomes of them."""
    for name in ("clip.mp4", "bark.ogg", "note.md", "dog.jpg"):
        (tmp_path / name).write_bytes(b"content")
    facts: dict[str, Any] = {"score": 0.5, "relevance": 0.6, "stage": "fused", "segment_id": 1}
    clip: dict[str, Any] = facts | {
        "rank": 1, "item_id": 1, "modality": Modality.VIDEO, "path": tmp_path / "clip.mp4",
    }  # fmt: skip
    others = (
        Hit(**clip | {"segment_id": 8, "start_ms": 40_000, "matched": Modality.VIDEO}),
        Hit(**clip | {"segment_id": 9, "start_ms": 5000, "end_ms": 10_000, "matched": Modality.AUDIO}),
    )
    hits = [
        Hit(**clip, start_ms=12_500, matched=Modality.VIDEO, others=others),
        Hit(**facts, rank=2, item_id=2, modality=Modality.AUDIO, path=tmp_path / "bark.ogg", start_ms=0, end_ms=2000),
        Hit(**facts, rank=3, item_id=3, modality=Modality.TEXT, path=tmp_path / "note.md", text="A dog barked."),
        Hit(**facts, rank=4, item_id=4, modality=Modality.IMAGE, path=tmp_path / "dog.jpg"),
    ]
    monkeypatch.setattr(SearchEngine, "search", lambda *_, **__: hits)
    return hits


@pytest.fixture
def programs(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """An environment whose only programs are small scripts that write down how they were called."""

    def installed(*names: str) -> dict[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in names:
            script = folder / name
            script.write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@" >> "{tmp_path / "calls"}"\n')
            script.chmod(0o755)
        return {"PATH": str(folder), "MMSEARCH_PLAYER": ""}

    return installed


def test_hits_of_all_kinds_are_told_with_their_places(invoke: Invoke, library: Path, mixed: list[Hit]) -> None:
    lines = invoke("query", "a dog", "--library", library).stdout.splitlines()
    assert [line.split()[3] for line in lines if "%" in line] == ["video", "audio", "text", "image"]
    assert lines[0].endswith("clip.mp4  0:12") and lines[1].strip() == "also at 0:40; sound at 0:05"
    assert lines[2].endswith("bark.ogg  0:00-0:02")
    assert lines[4].strip() == "A dog barked."


def test_segments_unfold_the_other_places_of_an_item(invoke: Invoke, library: Path, mixed: list[Hit]) -> None:
    lines = invoke("query", "a dog", "--segments", "--library", library).stdout.splitlines()
    assert [line.split()[0] for line in lines if "%" in line] == ["1", "1", "1", "2", "3", "4"]
    assert [line.rpartition("clip.mp4  ")[2] for line in lines[:3]] == ["0:12", "0:40", "sound 0:05-0:10"]
    found = rows(invoke("query", "a dog", "--segments", "--json", "--library", library).stdout)
    assert [(row["rank"], row["segment_id"]) for row in found[:4]] == [(1, 1), (1, 8), (1, 9), (2, 1)]
    assert all(list(row) == KEYS and row["others"] == [] for row in found)
    folded = rows(invoke("query", "a dog", "--json", "--library", library).stdout)
    assert [len(row["others"]) for row in folded] == [2, 0, 0, 0]  # type: ignore[arg-type]


def test_paths_are_written_once_also_with_segments(invoke: Invoke, library: Path, mixed: list[Hit]) -> None:
    result = invoke("query", "a dog", "--segments", "--paths", "--library", library)
    assert result.stdout.splitlines() == [str(hit.path) for hit in mixed]


def test_the_best_hit_is_opened_at_its_second(
    invoke: Invoke, library: Path, mixed: list[Hit], programs: Any, tmp_path: Path
) -> None:
    result = invoke("query", "a dog", "--open", "--json", "--library", library, env=programs("mpv", "xdg-open", "open"))
    assert result.exit_code == 0
    assert len(rows(result.stdout)) == 4
    assert result.stderr == f"Opening {mixed[0].path}  0:12\n"
    called = (tmp_path / "calls").read_text().splitlines()
    assert called == ["mpv", "--force-window=yes", "--start=12.5", "--", str(mixed[0].path)]


def test_where_the_program_starts_at_the_beginning_the_time_to_go_to_is_told(
    invoke: Invoke, library: Path, mixed: list[Hit], programs: Any, tmp_path: Path
) -> None:
    result = invoke("query", "a dog", "--open", "--library", library, env=programs("xdg-open", "open"))
    opening, advice = result.stderr.splitlines()
    assert opening == f"Opening {mixed[0].path}  0:12"
    assert advice.endswith("open starts at the beginning; go to 0:12.")
    assert (tmp_path / "calls").read_text().splitlines()[1:] == [str(mixed[0].path)]


def test_where_nothing_opens_it_the_path_and_time_are_told_all_the_same(
    invoke: Invoke, library: Path, mixed: list[Hit], programs: Any
) -> None:
    result = invoke("query", "a dog", "--open", "--paths", "--library", library, env=programs())
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == str(mixed[0].path)
    opening, problem, hint = result.stderr.splitlines()
    assert opening.endswith("clip.mp4  0:12")
    assert problem.startswith("mmsearch: No program here could open") and "mpv" in hint


def test_a_photo_is_opened_as_the_system_does(
    invoke: Invoke, library: Path, photos: Path, programs: Any, tmp_path: Path
) -> None:
    environment = programs("mpv", "xdg-open", "open")
    result = invoke("query", photos / "03.png", "-k", 1, "--open", "--library", library, env=environment)
    assert (result.exit_code, result.stderr) == (0, f"Opening {photos / '03.png'}\n")
    assert (tmp_path / "calls").read_text().splitlines()[1:] == [str(photos / "03.png")]


def test_each_filter_is_an_option_and_stands_in_a_query(invoke: Invoke, library: Path, photos: Path) -> None:
    common = ("--all", "-k", 100, "--library", library, "--json")
    for option, value, number in (
        ("type", "image", 12),
        ("path", "0?.png", 10),
        ("in", photos.name, 12),
        ("after", "2000", 12),
        ("before", "1h", None),
        ("date", "1990", 0),
        ("camera", "canon", 0),
        ("size", ">1B", 12),
        ("width", "32", 12),
        ("height", "<10", 0),
        ("near", "48.85,2.35", 0),
        ("has", "gps", 0),
        ("duration", "<60s", 0),
        ("meta", "shop=berlin", 0),
        ("exact", "05", 1),
    ):
        flag = invoke("query", "x", f"--{option}", value, *common)
        inline = invoke("query", "x", f"{option}:{value}", *common)
        if number is None:
            assert (flag.exit_code, inline.exit_code) == (2, 2)
            continue
        assert len(rows(flag.stdout)) == len(rows(inline.stdout)) == number, option
        alone = invoke("query", f"--{option}", value, *common)
        assert len(rows(alone.stdout)) == number, option
        assert all(row["stage"] in ("filter", "text") for row in rows(alone.stdout))
        left_out = invoke("query", "x", f"-{option}:{value}", *common)
        assert len(rows(left_out.stdout)) == 12 - number, option


def test_options_and_filters_of_the_query_are_joined(invoke: Invoke, library: Path) -> None:
    common = ("--all", "-k", 100, "--library", library, "--json")
    both = invoke("query", "x", "path:0?.png", "--exact", "05", *common)
    assert [Path(str(row["path"])).name for row in rows(both.stdout)] == ["05.png"]
    assert len(rows(invoke("query", "x", "width:>10", "--width", "<40", *common).stdout)) == 12
    apart = invoke("query", "x", "width:>100", "--width", "<40", *common)
    assert apart.exit_code == 2 and "No number is both from 101 on and up to 39." in apart.stderr
    assert len(rows(invoke("query", "--path", "05.png", "--path", "06.png", *common).stdout)) == 2


def test_an_error_points_into_the_query_or_the_option(invoke: Invoke, library: Path) -> None:
    result = invoke("query", "a dog", "type:photo", "--library", library)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[:3] == [
        "mmsearch: There is no type 'photo'.",
        "  a dog type:photo",
        "             ^^^^^",
    ]
    result = invoke("query", "a dog", "--size", "large", "--library", library)
    assert result.stderr.splitlines()[1:3] == ["  --size large", "         ^^^^^"]


def test_pages_follow_one_another(invoke: Invoke, library: Path) -> None:
    def found(*arguments: object) -> list[object]:
        result = invoke("query", "x", "--all", "--library", library, "--json", *arguments)
        return [(row["rank"], row["path"]) for row in rows(result.stdout)]

    whole = found("-k", 12)
    assert len(whole) == 12
    assert [hit for page in (1, 2, 3, 4) for hit in found("-k", 5, "--page", page)] == whole
    assert found("-k", 3, "--offset", 4) == whole[4:7]
    result = invoke("query", "x", "--all", "--library", library, "--page", 9)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("No more matches.")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--page", 0),
        ("--offset", -1),
        ("--page", 2, "--offset", 10),
        ("--min-relevance", 2),
        ("--min-relevance", 0.5, "--all"),
        ("--diverse", 2),
        ("--group-by", "colour"),
    ],
)
def test_numbers_out_of_range_are_wrong_usage(invoke: Invoke, library: Path, arguments: tuple[object, ...]) -> None:
    result = invoke("query", "x", "--library", library, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("mmsearch: ")


def test_irrelevant_hits_are_left_out_unless_all_are_asked_for(invoke: Invoke, library: Path) -> None:
    every = rows(invoke("query", "sea", "--all", "-k", 100, "--library", library, "--json").stdout)
    third, fourth = (float(str(row["relevance"])) for row in every[2:4])
    assert third > fourth
    least = (third + fourth) / 2
    some = rows(invoke("query", "sea", "--min-relevance", least, "-k", 100, "--library", library, "--json").stdout)
    assert some == [row for row in every if float(str(row["relevance"])) >= least]
    none = invoke("query", "sea", "--min-relevance", 1, "--library", library)
    assert (none.exit_code, none.stdout) == (1, "")
    assert "add --all" in none.stderr


def test_hits_are_grouped_under_headings(invoke: Invoke, library: Path, photos: Path) -> None:
    common = ("query", "x", "--all", "--library", library, "--group-by", "folder")
    assert invoke(*common).stdout.splitlines()[0].endswith(photos.name)
    assert {row["group"] for row in rows(invoke(*common, "--json").stdout)} == {str(photos)}


def test_what_was_done_is_told_on_stderr(invoke: Invoke, library: Path) -> None:
    result = invoke("query", "x", "--all", "--explain", "--library", library, "--json")
    assert len(rows(result.stdout)) == 10
    assert "ms" in result.stderr


def test_near_duplicates_are_folded_and_listed(invoke: Invoke, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    noise(folder, 4)
    with Image.open(folder / "00.png") as image:
        image.resize((64, 64), Image.Resampling.NEAREST).save(folder / "larger.png")
    (folder / "copy of 01.png").write_bytes((folder / "01.png").read_bytes())
    library = tmp_path / "lib"
    invoke("index", folder, "--library", library, "--model", "hashing")
    common = ("--library", library, "--all", "--json")
    folded = rows(invoke("query", "x", *common).stdout)
    assert len(folded) == 4
    assert sorted(len(row["duplicates"]) for row in folded) == [0, 0, 1, 1]  # type: ignore[arg-type]
    assert "and 1 near-duplicate: " in invoke("query", "x", "--all", "--library", library).stdout
    assert len(rows(invoke("query", "x", "--no-fold", *common).stdout)) == 6
    groups = rows(invoke("query", "--dups", "--library", library, "--json").stdout)
    found = {frozenset(Path(item["path"]).name for item in row["items"]) for row in groups}  # type: ignore[attr-defined]
    assert found == {frozenset({"larger.png", "00.png"}), frozenset({"01.png", "copy of 01.png"})}
    shown = invoke("query", "--dups", "--library", library)
    assert shown.stdout.count(" alike, ") == 2 and "same file" in shown.stdout
    assert shown.stderr.startswith("2 groups: 2 of the items could go")
    spare = invoke("query", "--dups", "--paths", "--library", library).stdout.splitlines()
    assert len(spare) == 2 and str(folder / "larger.png") not in spare
    assert len(rows(invoke("query", "--dups", "path:0*.png", "--library", library, "--json").stdout)) == 0
    assert invoke("query", "--dups", "-k", 1, "--library", library).stdout.count(" alike, ") == 1


def test_diversity_reorders_and_loses_nothing(invoke: Invoke, library: Path) -> None:
    common = ("query", "x", "--all", "-k", 12, "--library", library, "--paths")
    plain = invoke(*common).stdout.splitlines()
    for arguments in (("--diverse",), ("--diverse", 0.9)):
        diverse = invoke(*common, *arguments).stdout.splitlines()
        assert sorted(diverse) == sorted(plain) and diverse[0] == plain[0]
