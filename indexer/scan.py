"""Targets -> the files below them that can be indexed, and those that cannot, with the reason; nothing is opened."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from fnmatch import translate
from pathlib import Path

from indexer.beside import Beside
from indexer.targets import Target, plan_targets
from mmsearch.config import LIBRARY_FOLDER
from mmsearch.media import modality_of
from mmsearch.media.files import reason_of
from mmsearch.types import Failure, Modality, ScannedFile

__all__ = ["DEFAULT_IGNORES", "IgnoreRules", "Scan", "scan"]

DEFAULT_IGNORES = (".git", "@eaDir", "node_modules", "._*")


class IgnoreRules:
    """Which names a scan passes over; a folder that matches is not entered.

    Args:
        patterns: Globs. One without a slash is compared with the name of each file and folder, one with a slash with
            the path relative to the root, one that begins with a slash with the absolute path.
        include_hidden: Look at names that begin with a dot as well.
    """

    def __init__(self, patterns: Iterable[str] = DEFAULT_IGNORES, *, include_hidden: bool = False) -> None:
        wanted = [pattern.removeprefix("./").rstrip("/") for pattern in patterns]
        self._names = _compiled([pattern for pattern in wanted if pattern and "/" not in pattern])
        self._paths = _compiled([pattern for pattern in wanted if "/" in pattern[1:] and not pattern.startswith("/")])
        self._absolute = _compiled([pattern for pattern in wanted if pattern.startswith("/")])
        self._include_hidden = include_hidden

    def match(self, root: str, path: str, name: str) -> bool:
        """Whether to pass over the file or folder `name` that lies at `path` below `root`."""
        if name.startswith(".") and (not self._include_hidden or name == LIBRARY_FOLDER):
            return True
        if self._names is not None and self._names.match(name):
            return True
        if self._paths is not None and self._paths.match(path):
            return True
        return self._absolute is not None and self._absolute.match(f"{root.rstrip('/')}/{path}") is not None


def _compiled(patterns: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(translate(pattern) for pattern in patterns)) if patterns else None


class Scan:
    """Walks one target in a fixed order: the files of a folder by name, then its folders.

    Links to files are followed. Links to folders are followed last, and only where they lead out of all roots or to a
    part that a scan of its root passes over. One that leads to a folder around itself is a failure. No folder is
    entered twice, so that loops end.

    Args:
        target: What to look through.
        rules: What to pass over below it; the target itself is looked at whatever its name.
        roots: All roots; one inside the target is left to a scan of its own.
        library: The library's folder, never entered.
        modalities: Kinds of files that are looked for.
        captions: Tell which files lie beside photos and videos that belong to them.

    Attributes:
        missing: The target is not there.
        empty: There is nothing in the target that is not passed over, as in the folder of a disk that is not mounted.
        unwanted: How many files of other kinds were passed over.
        beside: The target is a text that belongs to a photo or video beside it.
        unreadable: Paths relative to the root of folders that could not be looked into: what is known to lie in them
            must not be taken for deleted.
    """

    def __init__(
        self,
        target: Target,
        rules: IgnoreRules,
        *,
        roots: Iterable[Path] = (),
        library: Path | None = None,
        modalities: frozenset[Modality] = frozenset(Modality),
        captions: bool = True,
    ) -> None:
        self.target = target
        self.missing = False
        self.empty = True
        self.unreadable: list[str] = []
        self.unwanted: Counter[Modality] = Counter()
        self.beside = False
        self._modalities = modalities
        self._captions = captions
        self._rules = rules
        self._root = os.fspath(target.root)
        self._roots = [target.root, *(root for root in roots if root != target.root)]
        self._library = None if library is None else _identity(library)
        left_out = self._roots if target.below else self._roots[1:]
        self._entered = {_identity(root) for root in left_out} - {None}
        self._links: deque[tuple[str, str]] = deque()

    def __iter__(self) -> Iterator[ScannedFile | Failure]:
        top = os.fspath(self.target.absolute)
        try:
            status = os.stat(top)
        except (FileNotFoundError, NotADirectoryError):
            self.missing = True
        except OSError as error:
            yield self._unreadable(self.target.below, top, error)
        else:
            if stat.S_ISDIR(status.st_mode):
                yield from self._walk(top, self.target.below)
            else:
                self.empty = False
                modality = modality_of(top)
                if modality is None:
                    yield Failure(Path(top), "not a supported kind of file")
                else:
                    folder, name = os.path.split(top)
                    self.beside = modality is Modality.TEXT and self._belongs(folder, name)
                    if not self.beside:
                        yield from self._file(self.target.below, top, modality, status, Beside(folder).number(name))

    def _walk(self, top: str, below: str) -> Iterator[ScannedFile | Failure]:
        stack = [(top, below)]
        while stack or self._links:
            path, relative = stack.pop() if stack else self._links.popleft()
            try:
                if not self._enter(path):
                    continue
                with os.scandir(path) as found:
                    entries = sorted(found, key=lambda entry: entry.name)
            except OSError as error:
                yield self._unreadable(relative, path, error)
                continue
            folders: list[tuple[str, str]] = []
            visible: list[tuple[os.DirEntry[str], str]] = []
            for entry in entries:
                child = f"{relative}/{entry.name}" if relative else entry.name
                if self._rules.match(self._root, child, entry.name):
                    # Where a library lies, there is a disk: this is no mount point without one.
                    self.empty = self.empty and entry.name != LIBRARY_FOLDER
                else:
                    visible.append((entry, child))
            self.empty = self.empty and not visible
            beside = Beside(path, [entry.name for entry, _ in visible])
            claimed = beside.claimed(entry.name for entry, _ in visible if self._takes(entry.name))
            for entry, child in visible:
                name = entry.name
                if name in claimed:
                    continue
                try:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append((entry.path, child))
                    elif entry.is_symlink():
                        yield from self._link(entry.path, child)
                    elif (modality := modality_of(name)) is not None:
                        yield from self._file(child, entry.path, modality, entry.stat(), beside.number(name))
                except FileNotFoundError:
                    continue  # deleted since the folder was listed
                except OSError as error:
                    yield self._unreadable(child, entry.path, error)
            stack.extend(reversed(folders))

    def _enter(self, path: str) -> bool:
        """Whether to look into a folder: not where that was done already, nor into the library."""
        identity = _identity(path)
        if identity is None:
            return True
        if identity in self._entered or identity == self._library:
            return False
        self._entered.add(identity)
        return True

    def _link(self, path: str, relative: str) -> Iterator[ScannedFile | Failure]:
        modality = modality_of(path)
        try:
            status = os.stat(path)
        except OSError as error:
            gone = isinstance(error, (FileNotFoundError, NotADirectoryError))
            loop = error.errno == errno.ELOOP
            if modality is None or not (gone or loop):
                # It may lead to a disk that is not mounted.
                self.unreadable.append(relative)
            if modality is not None or not os.path.splitext(path)[1]:
                yield Failure(Path(path), "dangling link" if gone else "link loop" if loop else reason_of(error))
            return
        if stat.S_ISDIR(status.st_mode):
            real = Path(os.path.realpath(path))
            if Path(os.path.realpath(os.path.dirname(path))).is_relative_to(real):
                yield Failure(Path(path), "link loop")
            elif not any(self._comes_to(root, real) for root in self._roots if real.is_relative_to(root)):
                self._links.append((path, relative))
        elif modality is not None:
            folder, name = os.path.split(path)
            yield from self._file(relative, path, modality, status, Beside(folder).number(name))

    def _takes(self, name: str) -> bool:
        return modality_of(name) in self._modalities

    def _belongs(self, folder: str, name: str) -> bool:
        """Whether a text that was named itself belongs to a photo or video beside it."""
        names: list[str] = []
        with suppress(OSError):
            names = os.listdir(folder)
        return name in Beside(folder, [name]).claimed(filter(self._takes, names))

    def _comes_to(self, root: Path, real: Path) -> bool:
        """Whether a scan of the root enters a folder in it without any link."""
        names = real.relative_to(root).parts
        paths = ["/".join(names[: end + 1]) for end in range(len(names))]
        return not any(self._rules.match(os.fspath(root), path, name) for path, name in zip(paths, names, strict=True))

    def _file(
        self, relative: str, path: str, modality: Modality, status: os.stat_result, sidecars: int
    ) -> Iterator[ScannedFile | Failure]:
        if modality not in self._modalities:
            self.unwanted[modality] += 1
        elif not stat.S_ISREG(status.st_mode):
            yield Failure(Path(path), "not a regular file")
        elif status.st_size == 0:
            yield Failure(Path(path), "empty file")
        else:
            sidecars = sidecars if self._captions else 0
            yield ScannedFile(self.target.root, relative, status.st_size, status.st_mtime_ns, modality, sidecars)

    def _unreadable(self, relative: str, path: str, error: OSError) -> Failure:
        self.unreadable.append(relative)
        return Failure(Path(path), reason_of(error))


def _identity(path: str | Path) -> tuple[int, int] | None:
    """What a folder is, whatever its name; None where it is not there or the file system has no such numbers."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (status.st_dev, status.st_ino) if status.st_ino else None


def scan(
    paths: Sequence[Path], *, ignore: Sequence[str] = DEFAULT_IGNORES, include_hidden: bool = False
) -> Iterator[ScannedFile | Failure]:
    """Yield the files below some paths, each once.

    Args:
        paths: Folders and files.
        ignore: Globs of names and paths to pass over, see `IgnoreRules`.
        include_hidden: Look at names that begin with a dot as well.

    Raises:
        UsageError: A path is not there.
    """
    rules = IgnoreRules(ignore, include_hidden=include_hidden)
    for target in plan_targets(paths):
        yield from Scan(target, rules)
