"""Sample photographs and sounds -> the notes, sounds and videos of data/mixed, of the same content every time.

The plain notes of data/mixed/notes are written by hand; this adds the Word document and the PDF, takes the sounds as
they are from Debian's tuxpaint-stamps-default, and makes videos of the photographs: slow pans and zooms, hard cuts
between them, one with a sound track and one with subtitles beside it. Only photographs in the public domain or under
CC0 are used in them, so that one of them may be combined with the sounds, which are under the GPL.

    python benchmarks/mixed_samples.py --stamps ../shared/data/stamps
"""

from __future__ import annotations

import argparse
import shutil
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from xml.sax.saxutils import escape

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from record import REPOSITORY

SEED = 20260901
SIZE = (320, 240)
FRAMES_A_SECOND = 15
SOUND_RATE = 44_100
# How much larger than the frame the picture is at most, which leaves room to move in.
ZOOM = 1.3

SOUNDS = {
    "dog": "animals__mammals__dogs__dog",
    "blackcat": "seasonal__halloween__blackcat",
    "rooster": "animals__birds__rooster",
    "crow": "animals__birds__crow",
    "owl": "animals__birds__owl",
    "horse": "animals__mammals__equines__horse",
    "sheep": "animals__mammals__bovines__sheep",
    "cow_white": "animals__mammals__bovines__cow_white",
    "drum_tomtom_floor": "hobbies__music__percussion__drum_tomtom_floor",
    "violin": "hobbies__music__string__violin",
    "lightningbolt": "naturalforces__lightningbolt",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """A part of a video.

    Attributes:
        photo: Name of a sample photograph.
        seconds: How long it is shown.
        sound: Name of a sound that is heard in it again and again.
        words: What its subtitle says.
    """

    photo: str
    seconds: int
    sound: str | None = None
    words: str | None = None


VIDEOS = {
    "farm.mp4": (
        Scene("shepherd", 4, sound="dog"),
        Scene("horses", 5, sound="horse"),
        Scene("chickens", 4, sound="rooster"),
        Scene("sheep", 4, sound="sheep"),
    ),
    "cities.mp4": (
        Scene("colosseum", 4, words="In Rome we began with the old arena, where the gladiators fought."),
        Scene("eiffel-tower", 5, words="Then the night train to Paris. We climbed all seven hundred steps."),
        Scene("pyramid", 4, words="And in winter, the desert: nobody there but us and the wind."),
        Scene("coffee", 3, words="Back home, the first good breakfast for weeks."),
    ),
    "wildlife.mp4": (
        Scene("owl", 3),
        Scene("giraffes", 4),
        Scene("polar-bear", 3),
        Scene("kingfisher", 3),
        Scene("crab", 3),
    ),
}

SAFARI = (
    ("Title", "Report on the school trip to the safari park"),
    (
        "Normal",
        "Class 4b, 21 June. Twenty-three children, three teachers and two parents took part. The bus left at eight and "
        "was back at a quarter to six.",
    ),
    ("Heading1", "What we saw"),
    (
        "Normal",
        "The children had looked forward to the giraffes most of all. Two of them stood among the trees close to the "
        "fence and ate leaves from the highest branches; the guide told us that their tongues are half a metre long.",
    ),
    (
        "Normal",
        "The polar bear was asleep until one o'clock. When it was fed it came into the water, and the whole class "
        "pressed against the glass.",
    ),
    ("Heading1", "What went wrong"),
    ("Normal", "Two lunch boxes were left on the bus, and a goat ate the worksheet of one pupil. Nobody was hurt."),
)

GARDEN = (
    (
        "The gardener's year",
        "",
        "Page one: spring",
        "",
        "March. Prune the roses before the buds open. Sow tomatoes on the",
        "window sill, two seeds to a pot.",
        "",
        "April. The dandelions flower now. Leave a corner of the lawn",
        "unmown for the bees, they find little else this early.",
    ),
    (
        "Page two: summer",
        "",
        "June. Tie the dahlias to stakes before the first storm. Cut the",
        "faded flowers every other day, and they go on until the frost.",
        "",
        "August. Water in the evening, not at noon. Pick the beans while",
        "they are small.",
    ),
    (
        "Page three: autumn and winter",
        "",
        "October. Dig up the dahlia tubers, let them dry, and keep them in",
        "the cellar in a box of sand.",
        "",
        "December. Sharpen the shears, oil the spade, and read seed",
        "catalogues by the stove. Feed the birds when there is snow.",
    ),
)


def main() -> None:
    """Make what is missing or has changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stamps", type=Path, default=REPOSITORY.parent / "shared" / "data" / "stamps")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "data" / "mixed")
    options = parser.parse_args()
    for folder in ("notes", "sounds", "videos"):
        (options.out / folder).mkdir(parents=True, exist_ok=True)
    write_word(options.out / "notes" / "safari-trip.docx")
    write_pdf(options.out / "notes" / "garden.pdf")
    for name, source in SOUNDS.items():
        shutil.copyfile(options.stamps / "sound" / f"{source}.ogg", options.out / "sounds" / f"{name}.ogg")
    rng = np.random.default_rng(SEED)
    for name, scenes in VIDEOS.items():
        path = options.out / "videos" / name
        write_video(path, scenes, options.out / "sounds", rng)
        if any(scene.words for scene in scenes):
            path.with_suffix(".srt").write_text(subtitles(scenes), encoding="utf-8")
        print(f"{path.name}: {path.stat().st_size:,} bytes")


def write_video(path: Path, scenes: tuple[Scene, ...], sounds: Path, rng: np.random.Generator) -> None:
    """Show the scenes one after the other, with their sounds if they have any."""
    with av.open(str(path), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}) as container:
        # One thread, so that the encoder's choices do not depend on how busy the machine is.
        options = {"crf": "26", "preset": "slow", "x264-params": "threads=1:lookahead-threads=1:non-deterministic=0"}
        stream = container.add_stream("libx264", rate=FRAMES_A_SECOND, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = 4 * FRAMES_A_SECOND
        stream.codec_context.time_base = Fraction(1, FRAMES_A_SECOND)
        heard = container.add_stream("aac", rate=SOUND_RATE, layout="mono") if any(s.sound for s in scenes) else None
        if heard is not None:
            heard.bit_rate = 64_000
            track = sound_track(scenes, sounds)
            for first in range(0, len(track), 1024):
                part = av.AudioFrame.from_ndarray(track[None, first : first + 1024], format="fltp", layout="mono")
                part.sample_rate, part.pts = SOUND_RATE, first
                container.mux(heard.encode(part))
            container.mux(heard.encode(None))
        number = 0
        for scene in scenes:
            for image in moving(REPOSITORY / "data" / "samples" / f"{scene.photo}.jpg", scene.seconds, rng):
                frame = av.VideoFrame.from_image(image).reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, FRAMES_A_SECOND)
                container.mux(stream.encode(frame))
                number += 1
        container.mux(stream.encode(None))


def moving(photo: Path, seconds: int, rng: np.random.Generator) -> list[Image.Image]:
    """Frames of a camera that moves and zooms slowly from one part of the photograph to another."""
    with Image.open(photo) as opened:
        image = opened.convert("RGB")
    aspect = SIZE[0] / SIZE[1]
    widest = min(image.width, image.height * aspect)
    zoom = rng.permutation([1.0, 1 / ZOOM])
    places = rng.uniform(0.0, 1.0, (2, 2))  # of the part in what is left over, from the upper left
    count = seconds * FRAMES_A_SECOND
    frames = []
    for at in np.linspace(0.0, 1.0, count):
        smooth = at * at * (3 - 2 * at)
        width = widest * (zoom[0] + smooth * (zoom[1] - zoom[0]))
        height = width / aspect
        across, down = places[0] + smooth * (places[1] - places[0])
        left, top = across * (image.width - width), down * (image.height - height)
        box = (left, top, min(left + width, image.width), min(top + height, image.height))
        frames.append(image.resize(SIZE, Image.Resampling.LANCZOS, box=box))
    return frames


def sound_track(scenes: tuple[Scene, ...], sounds: Path) -> NDArray[np.float32]:
    """(n,) samples at `SOUND_RATE`: in each scene its sound, as often as it fits with pauses between."""
    track = np.zeros(sum(scene.seconds for scene in scenes) * SOUND_RATE, dtype=np.float32)
    begin = 0
    for scene in scenes:
        end = begin + scene.seconds * SOUND_RATE
        if scene.sound is not None:
            sound = samples_of(sounds / f"{scene.sound}.ogg")
            at = begin + SOUND_RATE // 4
            while at + len(sound) <= end:
                track[at : at + len(sound)] = sound
                at += len(sound) + SOUND_RATE // 2
        begin = end
    return track


def samples_of(path: Path) -> NDArray[np.float32]:
    """(n,) mono samples at `SOUND_RATE`, the loudest of them at 0.8."""
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=SOUND_RATE)
    with av.open(str(path)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    samples = np.concatenate([part.to_ndarray()[0] for part in [*frames, *resampler.resample(None)]])
    return (samples * (0.8 / np.abs(samples).max())).astype(np.float32)


def subtitles(scenes: tuple[Scene, ...]) -> str:
    """The words of the scenes in the form of SubRip, each from half a second after its cut to half before the next."""
    parts, begin = [], 0
    for number, scene in enumerate(scenes, 1):
        end = begin + scene.seconds
        parts.append(f"{number}\n00:00:{begin:02},500 --> 00:00:{end - 1:02},500\n{scene.words}\n")
        begin = end
    return "\n".join(parts)


def write_word(path: Path) -> None:
    """A Word document with a title, headings and paragraphs, as small as Word opens it."""
    main_space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    relations = "http://schemas.openxmlformats.org/package/2006/relationships"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    kinds = "application/vnd.openxmlformats-officedocument.wordprocessingml"
    head = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    body = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr><w:r><w:t>{escape(text)}</w:t></w:r></w:p>'
        for style, text in SAFARI
    )
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{name}"><w:name w:val="{shown}"/></w:style>'
        for name, shown in (("Normal", "Normal"), ("Title", "Title"), ("Heading1", "heading 1"))
    )
    files = {
        "[Content_Types].xml": f'{head}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/word/document.xml" ContentType="{kinds}.document.main+xml"/>'
        f'<Override PartName="/word/styles.xml" ContentType="{kinds}.styles+xml"/></Types>',
        "_rels/.rels": f'{head}<Relationships xmlns="{relations}"><Relationship Id="rId1" '
        f'Type="{office}/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/_rels/document.xml.rels": f'{head}<Relationships xmlns="{relations}"><Relationship Id="rId1" '
        f'Type="{office}/styles" Target="styles.xml"/></Relationships>',
        "word/document.xml": f'{head}<w:document xmlns:w="{main_space}"><w:body>{body}</w:body></w:document>',
        "word/styles.xml": f'{head}<w:styles xmlns:w="{main_space}">{styles}</w:styles>',
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in files.items():
            package.writestr(zipfile.ZipInfo(name, (2026, 9, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)


def write_pdf(path: Path) -> None:
    """A PDF of one page for each part of `GARDEN`, set in Helvetica."""
    count = len(GARDEN)
    pages = [3 + 2 * number for number in range(count)]
    font = 3 + 2 * count
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {count} /Kids [{' '.join(f'{page} 0 R' for page in pages)}] >>",
    ]
    for page, lines in zip(pages, GARDEN, strict=True):
        shown = "\n".join(f"({line}) Tj T*" for line in lines)
        content = f"BT /F1 12 Tf 16 TL 72 770 Td\n{shown}\nET"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {page + 1} 0 R "
            f"/Resources << /Font << /F1 {font} 0 R >> >> >>",
            f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        ]
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    text, places = "%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(text))
        text += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    start = len(text)
    text += f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"
    path.write_bytes(f"{text}startxref\n{start}\n%%EOF\n".encode("ascii"))


if __name__ == "__main__":
    main()
