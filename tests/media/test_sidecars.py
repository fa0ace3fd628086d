from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsearch.errors import MediaError
from mmsearch.media.descriptions import embedded_descriptions, xmp_descriptions
from mmsearch.media.sidecars import MAX_CAPTIONS, sidecar_captions, sidecar_files
from tests.media.pictures import encoded, exif, scene

pytest.importorskip("defusedxml")
RDF = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" {}>'
    "{}</rdf:Description></rdf:RDF></x:xmpmeta>"
)
XMP = RDF.format(
    'photoshop:Headline="Summer by the sea"',
    '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">A dog at the beach &amp; its ball</rdf:li>'
    "</rdf:Alt></dc:description>"
    "<dc:subject><rdf:Bag><rdf:li>dog</rdf:li><rdf:li>beach</rdf:li><rdf:li>dog</rdf:li></rdf:Bag></dc:subject>"
    "<dc:creator><rdf:Seq><rdf:li>Ann</rdf:li></rdf:Seq></dc:creator>",
).encode()


def _photo(folder: Path, name: str = "photo.jpg", kind: str = "JPEG", **options: Any) -> Path:
    path = folder / name
    path.write_bytes(encoded(scene(), kind, **options))
    return path


def _captions(photo: Path) -> list[tuple[str, str, str]]:
    found = sidecar_captions(photo)
    assert found.failures == ()
    return [(caption.text, caption.kind, caption.origin) for caption in found.captions]


def iptc(*records: tuple[int, bytes]) -> bytes:
    """The Photoshop segment of a JPEG with IPTC records of number and value."""
    data = b"".join(b"\x1c\2" + bytes([number]) + len(value).to_bytes(2, "big") + value for number, value in records)
    block = b"8BIM\x04\x04\0\0" + len(data).to_bytes(4, "big") + data + b"\0" * (len(data) % 2)
    body = b"Photoshop 3.0\0" + block
    return b"\xff\xed" + (len(body) + 2).to_bytes(2, "big") + body


def test_a_photo_alone_has_no_captions(tmp_path: Path) -> None:
    assert _captions(_photo(tmp_path)) == []


def test_texts_beside_a_photo_are_its_captions(tmp_path: Path) -> None:
    photo = _photo(tmp_path)
    (tmp_path / "photo.txt").write_text("A dog\nat the beach.\n")
    (tmp_path / "photo.jpg.txt").write_bytes("Café am Meer".encode("cp1252"))
    (tmp_path / "other.txt").write_text("A cat.")
    assert _captions(photo) == [("A dog at the beach.", "caption", "text"), ("Café am Meer", "caption", "text")]


def test_a_long_text_beside_a_photo_is_a_document_of_its_own(tmp_path: Path) -> None:
    photo = _photo(tmp_path)
    (tmp_path / "photo.txt").write_text("A dog at the beach. " * 1000)
    assert _captions(photo) == []


def test_the_table_of_a_folder_is_read_by_the_names_of_its_photos(tmp_path: Path) -> None:
    photo = _photo(tmp_path)
    table = tmp_path / "captions.csv"
    table.write_text(
        'image,caption,by\nphoto.jpg,"A dog, running",Ann\nphoto,no,Ann\nsub/photo.jpg,A ball,Bob\nb.jpg,no,\n'
    )
    assert _captions(photo) == [("A dog, running", "caption", "table"), ("A ball", "caption", "table")]
    table.write_text("image;caption\nphoto;by its stem\n")
    assert _captions(photo) == [("by its stem", "caption", "table")]


def test_xmp_beside_and_inside_a_photo_gives_titles_descriptions_and_keywords(tmp_path: Path) -> None:
    expected = [
        ("Summer by the sea", "title", "xmp"),
        ("A dog at the beach & its ball", "description", "xmp"),
        ("dog, beach", "keywords", "xmp"),
    ]
    photo = _photo(tmp_path)
    (tmp_path / "photo.xmp").write_bytes(XMP)
    assert _captions(photo) == expected
    (tmp_path / "photo.jpg.xmp").write_bytes(XMP)
    assert _captions(photo) == expected
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        options: dict[str, Any] = {"xmp": XMP}
        if kind == "PNG":
            from PIL.PngImagePlugin import PngInfo

            information = PngInfo()
            information.add_itxt("XML:com.adobe.xmp", XMP.decode())
            options = {"pnginfo": information}
        elif kind == "TIFF":
            options = {"tiffinfo": {700: XMP}}
        assert _captions(_photo(tmp_path, f"inside.{kind.lower()}", kind, **options)) == expected


def test_iptc_inside_a_photo_is_read_in_either_encoding(tmp_path: Path) -> None:
    photo = _photo(tmp_path)
    records = iptc((5, b"Caf\xe9"), (120, "Ein Hund in Köln".encode()), (25, b"dog"), (25, b"beach"), (90, b"Paris"))
    content = photo.read_bytes()
    photo.write_bytes(content[:2] + records + content[2:])
    assert _captions(photo) == [
        ("Café", "title", "iptc"),
        ("Ein Hund in Köln", "description", "iptc"),
        ("dog, beach", "keywords", "iptc"),
    ]


def test_exif_gives_descriptions_but_not_what_cameras_write_there(tmp_path: Path) -> None:
    tags = exif(details={0x9286: b"ASCII\0\0\0A red ball"})
    tags[0x010E] = "A dog at the beach"
    tags[0x9C9E] = "Hund; Strand\0".encode("utf-16-le")
    assert _captions(_photo(tmp_path, exif=tags)) == [
        ("A dog at the beach", "description", "exif"),
        ("A red ball", "description", "exif"),
        ("Hund, Strand", "keywords", "exif"),
    ]
    tags = exif()
    tags[0x010E] = "OLYMPUS DIGITAL CAMERA         "
    assert _captions(_photo(tmp_path, exif=tags)) == []


def test_the_same_words_are_taken_once(tmp_path: Path) -> None:
    photo = _photo(tmp_path, xmp=XMP)
    (tmp_path / "photo.txt").write_text("a dog at the beach & its ball")
    assert [text for text, _, origin in _captions(photo) if "beach &" in text] == ["a dog at the beach & its ball"]


def test_captions_are_bounded(tmp_path: Path) -> None:
    photo = _photo(tmp_path)
    rows = "".join(f"photo.jpg,caption number {number} {'x' * 9000}\n" for number in range(100))
    (tmp_path / "captions.csv").write_text("image,caption\n" + rows)
    captions = sidecar_captions(photo).captions
    assert len(captions) == MAX_CAPTIONS
    assert max(len(caption.text) for caption in captions) <= 4000


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("photo.xmp", b"no xml", "damaged XML"),
        ("photo.jpg.xmp", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "XML with entities"),
        ("photo.txt", bytes(range(256)), "not text"),
        ("photo.jpg.txt", b"  \n", "no text in it"),
        ("captions.csv", b"a,b\n1,2\n", "no columns image and caption"),
        ("captions.csv", bytes(range(256)) * 20, "not text"),
    ],
)
def test_a_bad_sidecar_is_told_and_leaves_the_others(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    photo = _photo(tmp_path, xmp=XMP)
    (tmp_path / name).write_bytes(content)
    found = sidecar_captions(photo)
    assert [(failure.path, failure.reason) for failure in found.failures] == [(tmp_path / name, reason)]
    assert len(found.captions) == 3


def test_a_folder_with_the_name_of_a_sidecar_is_told(tmp_path: Path) -> None:
    photo = _photo(tmp_path)
    (tmp_path / "captions.csv").mkdir()
    assert [failure.path.name for failure in sidecar_captions(photo).failures] == ["captions.csv"]


def test_the_files_that_matter_to_a_photo_are_named() -> None:
    names = [path.name for path in sidecar_files(Path("/a/photo.jpg"))]
    assert names == ["photo.txt", "photo.jpg.txt", "captions.csv", "photo.xmp", "photo.jpg.xmp"]


def test_a_photo_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert [failure.reason for failure in sidecar_captions(tmp_path / "none.jpg").failures] == ["no such file"]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 1500))
def test_any_damage_inside_a_photo_is_passed_over(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int
) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", xmp=XMP)
    content = buffer.getvalue()
    content = content[:2] + iptc((120, b"A dog")) + content[2:]
    at %= len(content)
    path = tmp_path_factory.mktemp("photos") / "photo.jpg"
    path.write_bytes(content[:at] + junk + content[at + len(junk) :])
    for description in embedded_descriptions(path):
        description.text.encode("utf-8")


@settings(deadline=None)
@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda junk: XMP[:300] + junk + XMP[300:]))
def test_any_xmp_is_read_or_refused(packet: bytes) -> None:
    try:
        xmp_descriptions(packet)
    except MediaError as error:
        assert error.reason


def test_deeply_nested_xmp_is_read() -> None:
    deep = RDF.format("", "<dc:title>" + "<a>" * 5000 + "Deep" + "</a>" * 5000 + "</dc:title>")
    assert [found.text for found in xmp_descriptions(deep.encode())] == ["Deep"]
