"""The id of a model in, its encoder out; one table says which families there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from mmsearch.errors import UnknownEncoderError

if TYPE_CHECKING:
    from mmsearch.protocols import Encoder

__all__ = ["full_id", "load_encoder"]

_Notify = Callable[[str], None] | None


def load_encoder(
    id: str,
    *,
    device: str | None = None,
    precision: str | None = None,
    offline: bool = False,
    notify: _Notify = None,
) -> Encoder:
    """Make the encoder of an id; loads nothing heavy, its towers load when they are first used.

    The ids are::

        mini                                        the built-in model
        mini/<folder>                               a model of one's own in the same format, as training exports it
        open_clip/<architecture>/<tag>              published weights, as open_clip lists them
        open_clip/<architecture>/<checkpoint file>  one's own weights of a known architecture
        open_clip/hf-hub:<organisation>/<name>      a repository on the Hugging Face hub
        open_clip/local-dir:<folder>                such a repository on this disk, with its open_clip_config.json
        clap/<organisation>/<name>                  a CLAP model on the Hugging Face hub, for sounds and texts
        clap/local-dir:<folder>                     such a model on this disk, as transformers saves it

    What follows ``<architecture>/`` is a file if it has a slash, begins with ``.`` or ``~`` or ends as checkpoints do
    (``.pt``, ``.pth``, ``.bin``, ``.ckpt``, ``.npz``, ``.safetensors``). ``local-dir:`` may be left out before a path
    that begins with ``/``, ``./``, ``../`` or ``~``, and of such a path to the folder of a model all that goes before
    it; ``hf-hub:`` may stand before the organisation of a CLAP model. Capitals in architectures do not count, hyphens
    and underscores in tags are the same, ``-quickgelu`` before a tag may be left out, and paths become absolute: the
    encoder's own id is one spelling for all of them. That of a ``mini/`` folder ends with ``@`` and eight digits of its
    weights' hash: trained again, it is another model.

    Args:
        id: As above.
        device: ``cpu``, ``cuda``, ``cuda:<number>`` or ``mps``; the best one here when None or ``auto``.
        precision: ``fp32``, ``bf16`` or ``fp16`` for the image tower of open_clip or the audio tower of CLAP; the
            fastest that serves when None or ``auto``.
        offline: Never fetch weights, as do ``$MMSEARCH_OFFLINE`` and ``$HF_HUB_OFFLINE``. Where they are on this
            machine the network is never touched in any case.
        notify: Called with a sentence before something that takes long, such as fetching weights.

    Raises:
        UnknownEncoderError: There is no such model.
        UsageError: There is no such device or precision.
    """
    from mmsearch.encoders.precision import check_device

    id = full_id(id)
    family = _FAMILIES.get(id.partition("/")[0])
    if family is None:
        raise _unknown(id)
    device = check_device(None if device == "auto" else device)
    return family(id, device, None if precision == "auto" else precision, offline, notify)


def _mini(id: str, device: str | None, precision: str | None, offline: bool, notify: _Notify) -> Encoder:
    from mmsearch.encoders.mini import MiniEncoder

    if id == "mini":
        return MiniEncoder(device=device, precision=precision)
    from mmsearch.encoders.mini_source import MiniSource

    return MiniEncoder(device=device, precision=precision, source=MiniSource.parse(id))


def _open_clip(id: str, device: str | None, precision: str | None, offline: bool, notify: _Notify) -> Encoder:
    from mmsearch.encoders.open_clip import OpenClipEncoder
    from mmsearch.encoders.open_clip_source import OpenClipSource
    from mmsearch.encoders.precision import check_precision

    source = OpenClipSource.parse(id)
    return OpenClipEncoder(source, device=device, precision=check_precision(precision), offline=offline, notify=notify)


def _clap(id: str, device: str | None, precision: str | None, offline: bool, notify: _Notify) -> Encoder:
    from mmsearch.encoders.clap import ClapEncoder
    from mmsearch.encoders.clap_source import ClapSource
    from mmsearch.encoders.precision import check_precision

    source = ClapSource.parse(id)
    return ClapEncoder(source, device=device, precision=check_precision(precision), offline=offline, notify=notify)


def _hashing(id: str, device: str | None, precision: str | None, offline: bool, notify: _Notify) -> Encoder:
    if id != "hashing" or os.environ.get("MMSEARCH_TEST_ENCODERS", "") in ("", "0"):
        raise _unknown(id)
    from mmsearch.encoders.hashing import HashingEncoder

    return HashingEncoder()


_FAMILIES: dict[str, Callable[[str, str | None, str | None, bool, _Notify], Encoder]] = {
    "mini": _mini,
    "open_clip": _open_clip,
    "clap": _clap,
    "hashing": _hashing,
}


def full_id(id: str) -> str:
    """The id of the model in a folder, for a bare path to it; any other id as it is.

    Raises:
        UnknownEncoderError: It is a path, and no model lies there.
    """
    if not (id in (".", "..") or id.startswith(("/", "./", "../", "~")) or os.path.isabs(id)):
        return id
    from mmsearch.encoders.clap_source import is_clap
    from mmsearch.encoders.model_folder import MINI_FILES, resolved

    place = resolved(id)
    if os.path.isfile(place / "open_clip_config.json"):
        return f"open_clip/local-dir:{place}"
    if any(os.path.isfile(place / name) for name in MINI_FILES):
        return f"mini/{place}"
    if is_clap(place):
        return f"clap/local-dir:{place}"
    hint = f"Write open_clip/<architecture>/{place}, or see" if os.path.isfile(place) else "See"
    raise UnknownEncoderError(f"There is no model {id!r}.", hint=f"{hint} what there is: mmsearch models list")


def _unknown(id: str) -> UnknownEncoderError:
    """The error for an id outside every family, with what was probably meant."""
    import difflib

    from mmsearch.encoders.open_clip_source import FAMILY, known_tags
    from mmsearch.encoders.reranker_source import is_reranker

    if is_reranker(id):
        hint = f"It may be a reranker; those read what a model has found: mmsearch query --reranker {id}"
        return UnknownEncoderError(f"There is no encoder {id!r}.", hint=hint)
    tagged = [f"{model}/{tag}" for model, tags in known_tags().items() for tag in tags]
    matches = [f"{FAMILY}/{name}" for name in difflib.get_close_matches(id, tagged, n=3, cutoff=0.6)]
    matches = difflib.get_close_matches(id, ["mini"], cutoff=0.6) or matches
    meant = f"Did you mean {' or '.join(matches)}? " if matches else ""
    if "\x00" not in id and os.path.isdir(id):
        meant = f"For the model in that folder write ./{id}. "
    return UnknownEncoderError(f"There is no model {id!r}.", hint=f"{meant}See what there is: mmsearch models list")
