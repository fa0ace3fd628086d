"""The code on a page of the documentation, run block by block, and what it prints.

    python -m tests.api.pages docs/recommenders.md

writes what the blocks of a page print into the page.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# A block of Python, and the block of text after it that says what it prints.
BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.DOTALL)


@contextlib.contextmanager
def beside_the_data(folder: Path) -> Iterator[None]:
    """Be in a folder where ``data`` is that of the project."""
    if not (folder / "data").exists():
        (folder / "data").symlink_to(REPOSITORY / "data")
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run(page: Path) -> Iterator[tuple[re.Match[str], str]]:
    """Run the blocks of a page one after the other; each with what it printed."""
    names: dict[str, object] = {"__name__": "__page__"}
    for block in BLOCK.finditer(page.read_text("utf-8")):
        printed = io.StringIO()
        line = page.read_text("utf-8")[: block.start("code")].count("\n")
        code = compile("\n" * line + block["code"], str(page), "exec", dont_inherit=True)
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        yield block, printed.getvalue()


def rewrite(page: Path) -> None:
    """Put what the blocks print now into the page."""
    text, end, out = page.read_text("utf-8"), 0, []
    for block, printed in run(page):
        out += [text[end : block.start()], f"```python\n{block['code']}```\n"]
        if printed:
            out.append(f"\n```text\n{printed}```\n")
        end = block.end()
    page.write_text("".join([*out, text[end:]]), "utf-8")


if __name__ == "__main__":
    pages = [Path(name).resolve() for name in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder, beside_the_data(Path(folder)):
        for page in pages:
            rewrite(page)
