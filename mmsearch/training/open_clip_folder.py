"""Trained towers of an open_clip model in, a folder that open_clip and mmsearch load out."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.encoders.open_clip_loading import quiet
from mmsearch.errors import StorageError, UsageError

if TYPE_CHECKING:
    from mmsearch.training.open_clip_towers import OpenClipDual

__all__ = ["NO_BIAS", "save_open_clip"]

NO_BIAS = -10.0
"""Where the bias of the sigmoid loss begins (Zhai et al. 2023, arXiv 2303.15343) for a model that has none."""
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


def save_open_clip(dual: OpenClipDual, folder: Path) -> None:
    """Write a model as a folder ``<folder>``, for the id ``open_clip/local-dir:<folder>`` and for open_clip itself.

    The folder appears whole or not at all; one that holds such a model already is replaced.

    Raises:
        UsageError: There is something else in that place.
        StorageError: The disk is full or not writable.
    """
    from safetensors.torch import save_file

    folder = Path(os.path.realpath(folder.expanduser()))
    if folder.exists() and not (folder / CONFIG).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} holds something that is no model.", hint="Choose another folder.")
    config = json.loads(json.dumps(dual.config))
    if dual.has_bias:
        config.setdefault("init_logit_bias", NO_BIAS)  # open_clip makes a bias only where it is told of one
    part, old = (folder.with_name(f".{folder.name}.{kind}-{os.urandom(4).hex()}") for kind in ("new", "old"))
    try:
        part.mkdir(parents=True)
        if (save := getattr(dual.texts.tokenizer, "save_pretrained", None)) is not None:
            with quiet():
                save(str(part))
            # open_clip takes the tokenizer from the folder wherever any is named.
            config.setdefault("text_cfg", {}).setdefault("hf_tokenizer_name", folder.name)
        save_file(dual.open_clip_state(), str(part / WEIGHTS), metadata={"format": "pt"})
        values = {"model_cfg": config, "preprocess_cfg": dual.preprocess}
        (part / CONFIG).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        for file in part.rglob("*"):
            if file.is_file():
                with file.open("rb+") as stream:
                    os.fsync(stream.fileno())
        if folder.exists():
            folder.rename(old)
        try:
            part.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"The model cannot be written to {folder}: {reason}.", hint="Choose another folder."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
