"""Word pieces, against the tokenizers package."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordPiece as Model
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing

from mmsearch.encoders.mini import MODELS
from mmsearch.encoders.wordpiece import WordPiece

VOCABULARY = MODELS / "mini_vocabulary.txt"


@pytest.fixture(scope="module")
def oracle() -> Tokenizer:
    pieces = VOCABULARY.read_text(encoding="utf-8").splitlines()
    ids = {piece: place for place, piece in enumerate(pieces)}
    tokenizer = Tokenizer(Model(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return tokenizer


@pytest.fixture(scope="module")
def pieces() -> WordPiece:
    return WordPiece(VOCABULARY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a dog on the beach",
        "Café-Crème, naïve!",
        "unbelievably hyperphotorealistic",
        "東京 tower",
        "emoji 🐶 dog",
        "tabs\tand\nnewlines\r",
        "don't; e.g. 3.5%",
        "x" * 101,
        "zero\u200bwidth and \x00 nothing",
        "ＦＵＬＬ　ｗｉｄｔｈ",
        "Straße İstanbul ﬁne",
    ],
)
def test_ids_are_those_of_the_tokenizers_package(text: str, oracle: Tokenizer, pieces: WordPiece) -> None:
    assert pieces.encode(text, 512) == oracle.encode(text).ids


# The package and Python know different versions of Unicode; what both know lies here.
LETTERS = st.characters(categories=["L", "N", "P", "S", "Z", "Mn", "Cc", "Cf"], max_codepoint=0x52F)
OTHERS = st.sampled_from("‘’“”—…·東京漢字。、🐶ﬁ\u200b\u200d\u3000")


@given(st.text(st.one_of(LETTERS, OTHERS), max_size=60))
def test_ids_are_those_of_the_tokenizers_package_for_any_text(oracle: Tokenizer, pieces: WordPiece, text: str) -> None:
    assert pieces.encode(text, 512) == oracle.encode(text).ids


def test_a_long_text_is_cut_at_the_limit_and_still_ends_with_its_mark(pieces: WordPiece) -> None:
    short, long = pieces.encode("dog " * 100, 16), pieces.encode("dog " * 1_000_000, 16)
    assert short == long
    assert len(short) == 16
    assert short[-1] == pieces.encode("", 16)[-1]


def test_lone_surrogates_are_passed_over(pieces: WordPiece) -> None:
    assert pieces.encode("a \udcff dog", 16) == pieces.encode("a dog", 16)
