"""The paths that a user names -> the parts of roots to look through, none of them twice."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmsearch.errors import UsageError

__all__ = ["Target", "plan_targets", "prefix_of"]


@dataclass(frozen=True, slots=True)
class Target:
    """A part of a root that a run looks through; what it deletes lies in there.

    Attributes:
        root: Absolute path of the root, without symbolic links.
        below: Path relative to the root of the folder or file to look at; empty for all of it.
        named: The user named it or something in it; otherwise it is a known root inside of what was named.
    """

    root: Path
    below: str = ""
    named: bool = field(default=True, compare=False)

    @property
    def absolute(self) -> Path:
        """Where to look."""
        return self.root / self.below


def prefix_of(below: str) -> str:
    """What the paths of all files in a folder begin with."""
    return f"{below}/" if below else ""


def plan_targets(paths: Sequence[Path], roots: Iterable[Path] = ()) -> list[Target]:
    """Normalise paths to roots.

    A path inside a root is a part of that root, of the innermost one where roots lie in each other. Any other folder
    becomes a root; a file that is named itself makes a root of its folder. Symbolic links are resolved first, so that
    a folder is one root under all its names. A known root inside a named folder stays a root of its own, which keeps
    its files when it is a disk that is not mounted, and is looked through as well.

    Args:
        paths: Folders and files.
        roots: The roots that the library has.

    Raises:
        UsageError: A path is not there, and no root contains it.
    """
    known = {Path(os.path.realpath(root)) for root in roots}
    named = {Path(os.path.realpath(path)): path for path in reversed(paths)}
    all_roots = set(known)
    targets: set[Target] = set()
    # Parents come before their children, so that ./a takes ./a/b in whatever order the two were named.
    for real in sorted(named, key=lambda path: (len(path.parts), path)):
        inside = _innermost(real, all_roots)
        if inside is None:
            inside = _new_root(real, named[real])
            all_roots.add(inside)
        targets.add(_target(inside, real))
    for target in list(targets):
        inner = (root for root in known if root != target.root and root.is_relative_to(target.absolute))
        targets.update(Target(root, named=False) for root in inner)
    return sorted(_without_covered(targets), key=lambda target: (target.root, target.below))


def _innermost(path: Path, roots: Iterable[Path]) -> Path | None:
    containing = [root for root in roots if path.is_relative_to(root)]
    return max(containing, key=lambda root: len(root.parts), default=None)


def _new_root(real: Path, named: Path) -> Path:
    try:
        mode = os.stat(real).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            f"{named} does not exist.", hint="Name a folder or a file that is there: mmsearch index ./photos"
        ) from error
    except OSError as error:
        raise UsageError(f"{named} cannot be read ({error.strerror}).", hint="Check its permissions.") from error
    return real if stat.S_ISDIR(mode) else real.parent


def _target(root: Path, real: Path) -> Target:
    return Target(root, "" if real == root else real.relative_to(root).as_posix())


def _without_covered(targets: set[Target]) -> list[Target]:
    def covered(target: Target) -> bool:
        return any(
            other.root == target.root
            and other.below != target.below
            and (target.below + "/").startswith(prefix_of(other.below))
            for other in targets
        )

    return [target for target in targets if not covered(target)]
