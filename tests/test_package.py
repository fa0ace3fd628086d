"""What the package promises about itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mmsearch

REPOSITORY = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "open_clip", "faiss", "sqlalchemy", "onnxruntime", "numpy", "PIL", "rich", "transformers")


def loaded_by(code: str) -> set[str]:
    probe = f"import sys\n{code}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_mmsearch_loads_nothing_heavy() -> None:
    assert not loaded_by("import mmsearch, mmsearch.cli") & set(HEAVY)


def test_every_public_name_resolves_and_the_list_is_sorted() -> None:
    assert mmsearch.__all__ == sorted(mmsearch.__all__)
    for name in mmsearch.__all__:
        assert getattr(mmsearch, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mmsearch.nothing  # noqa: B018


def modules() -> list[Path]:
    return [path for package in ("mmsearch", "indexer") for path in sorted((REPOSITORY / package).rglob("*.py"))]


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_a_module_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), f"{path} has no docstring"


def test_the_changelog_has_an_entry_for_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == mmsearch.__version__


def test_the_built_in_weights_stay_small() -> None:
    weights = [path for path in (REPOSITORY / "mmsearch" / "models").rglob("*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in weights) <= 60_000_000
    assert not [path for path in weights if path.suffix in {".pkl", ".pt", ".pth", ".bin"}]


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    assert len(readme.splitlines()) <= 200
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", readme):
        assert (REPOSITORY / target).exists(), target


def test_the_python_example_of_the_readme_prints_what_it_says(tmp_path: Path) -> None:
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    example = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", readme, re.DOTALL)
    assert example is not None
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    done = subprocess.run([sys.executable, "-c", example[1]], cwd=tmp_path, capture_output=True, text=True, check=True)
    # The last digit of a relevance may differ between processors.
    assert re.sub(r"\d+%", "%", done.stdout) == re.sub(r"\d+%", "%", example[2])


def test_the_light_requirements_are_those_of_the_package_without_the_heavy_ones() -> None:
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    full = {re.split(r"[;\s]", line)[0] for line in project["dependencies"]}
    light = {
        line.strip()
        for line in (REPOSITORY / "requirements-light.txt").read_text("utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    }
    heavy = ("torch", "torchvision", "open_clip_torch", "faiss-gpu", "onnx", "onnxscript")
    assert full - light == {line for line in full if re.split(r"[><=]", line)[0] in heavy}
    assert light <= full
