"""Any open_clip model in, towers to fine-tune out, and back: trained towers in, a folder that open_clip loads out.

A tower may be locked, as in LiT (Zhai et al. 2022, arXiv 2111.07991): what is locked keeps its weights and its
batch-norm statistics. Of a tower that is locked as a whole the embeddings are computed once and kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmsearch.encoders import full_id
from mmsearch.encoders.open_clip_loading import LoadedModel, load_model, model_config, quiet
from mmsearch.encoders.open_clip_source import FAMILY, OpenClipSource
from mmsearch.encoders.text_export import is_simple, text_layers
from mmsearch.errors import UnknownEncoderError, UsageError
from mmsearch.training.open_clip_folder import NO_BIAS, save_open_clip
from mmsearch.training.open_clip_locks import TEXT_PARTS, image_groups, lock_tower, settle, text_groups
from mmsearch.training.towers import DualEncoder, ImageTower, TextTower

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from mmsearch.encoders.image_transform import ImageTransform

__all__ = ["Lock", "OpenClipDual", "OpenClipImageTower", "OpenClipTextTower", "load_open_clip_towers", "save_open_clip"]

Lock = Literal["none", "image", "text", "both"]
_AT_ONCE = 64  # pictures or texts that a locked tower embeds at once


class OpenClipImageTower(ImageTower):
    """The image tower of an open_clip model.

    Args:
        visual: open_clip's image tower.
        transform: How its pictures are resized, and their mean and deviation.
        name: Of the model, for the key.
        locked: Whether none of it learns.
    """

    def __init__(self, visual: nn.Module, transform: ImageTransform, name: str, dim: int, *, locked: bool) -> None:
        super().__init__()
        self.dim = dim
        self.side = max(transform.height, transform.width)
        self.cached = locked
        self.visual = visual
        self._transform = transform
        deviation = torch.tensor(transform.std, dtype=torch.float32) * 255
        self.register_buffer("_scale", 1 / deviation, persistent=False)
        self.register_buffer("_shift", -torch.tensor(transform.mean) * 255 / deviation, persistent=False)
        self.key = _key("image", name, visual, transform.to_config(), locked)

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """One RGB picture of any size -> (height, width, 3) uint8, as the encoder prepares it."""
        return self._transform(image)

    def frozen(self, batch: NDArray[Any]) -> NDArray[Any]:
        """(n, height, width, 3) -> embeddings (n, dim) float32 where all is locked, else the pictures as they are."""
        if not self.cached:
            return batch
        with torch.no_grad():
            parts = [
                self._embed(torch.from_numpy(np.ascontiguousarray(batch[start : start + _AT_ONCE]))).cpu().numpy()
                for start in range(0, len(batch), _AT_ONCE)
            ]
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)

    def forward(self, features: Tensor) -> Tensor:
        """What `frozen` gave -> (n, dim), rows L2-normalised."""
        if self.cached:
            return functional.normalize(features.to(_device(self)).float(), dim=-1)
        return self._embed(features)

    def _embed(self, pixels: Tensor) -> Tensor:
        scale: Any = self._scale
        shift: Any = self._shift
        pictures = torch.addcmul(shift, pixels.to(scale.device, non_blocking=True).float(), scale)
        output = self.visual(pictures.permute(0, 3, 1, 2))  # (n, h, w, 3) -> (n, 3, h, w), channels last in memory
        output = output[0] if isinstance(output, tuple) else output  # CoCa returns its tokens as well
        return functional.normalize(output.float(), dim=-1)

    def train(self, mode: bool = True) -> OpenClipImageTower:
        """Choose the mode of what learns; what is locked stays as it is used, and so do batch-norm statistics."""
        super().train(mode)
        settle(self.visual)
        return self


class OpenClipTextTower(TextTower):
    """The text tower of an open_clip model.

    Args:
        model: An open_clip model without its image tower.
        tokenizer: open_clip's.
        name: Of the model, for the key.
        locked: Whether none of it learns.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, name: str, dim: int, *, locked: bool) -> None:
        super().__init__()
        self.dim = dim
        self.cached = locked
        self.model = model
        self.tokenizer = tokenizer
        self.context_length = int(tokenizer.context_length)
        self._pad = int(tokenizer([""])[0, -1])
        # A causal tower need not read the padding, which is most of what open_clip would have it read.
        layers, self._trimmed = text_layers(model, simple=is_simple(tokenizer))
        self._layers = [layers]  # in a list, for its parameters are those of the model
        self.key = _key("text", name, model, {"context_length": self.context_length}, locked)

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each sentence, cut at the tower's context length, without what pads them."""
        if not texts:
            return []
        rows: list[list[int]] = self.tokenizer(list(texts)).tolist()
        for row in rows:
            while row and row[-1] == self._pad:
                row.pop()
        return rows

    def frozen(self, tokens: Sequence[Sequence[int]]) -> NDArray[Any]:
        """Token ids of n sentences -> embeddings (n, dim) float32."""
        order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        embeddings = np.empty((len(tokens), self.dim), np.float32)
        with torch.no_grad():
            for start in range(0, len(order), _AT_ONCE):
                chosen = order[start : start + _AT_ONCE]
                embeddings[chosen] = self._embed([tokens[row] for row in chosen]).cpu().numpy()
        return embeddings

    def forward(self, features: Tensor | Sequence[Sequence[int]]) -> Tensor:
        """What `frozen` gave where all is locked, else token ids -> (n, dim), rows L2-normalised."""
        if isinstance(features, Tensor):
            return functional.normalize(features.to(_device(self)).float(), dim=-1)
        return self._embed(features)

    def _embed(self, rows: Sequence[Sequence[int]]) -> Tensor:
        length = max(map(len, rows), default=0) if self._trimmed else self.context_length
        tokens = np.full((len(rows), length), self._pad, np.int64)
        for into, row in zip(tokens, rows, strict=True):
            into[: len(row)] = row
        embeddings: Tensor = self._layers[0](torch.from_numpy(tokens).to(_device(self)))
        return functional.normalize(embeddings.float(), dim=-1)

    def train(self, mode: bool = True) -> OpenClipTextTower:
        """Choose the mode of what learns; what is locked stays as it is used."""
        super().train(mode)
        settle(self.model)
        return self


class OpenClipDual(DualEncoder):
    """Both towers of an open_clip model; made by `load_open_clip_towers`.

    Attributes:
        id: Of the model that it began as.
        config: open_clip's ``model_cfg`` of it.
        preprocess: open_clip's ``preprocess_cfg`` of it.
    """

    images: OpenClipImageTower
    texts: OpenClipTextTower

    def __init__(
        self,
        images: OpenClipImageTower,
        texts: OpenClipTextTower,
        *,
        id: str,
        config: Mapping[str, Any],
        preprocess: Mapping[str, Any],
        scale: float,
        bias: float | None,
    ) -> None:
        super().__init__(images, texts, scale, NO_BIAS if bias is None else bias)
        self.MAX_SCALE = max(DualEncoder.MAX_SCALE, scale)  # the sigmoid loss of SigLIP knows no bound
        self.id, self.config, self.preprocess = id, dict(config), dict(preprocess)
        self._had_bias = bias is not None

    def checkpoint_gradients(self, enable: bool = True) -> None:
        """Compute activations twice instead of keeping them, in those towers that learn and offer it."""
        text: Any = self.texts.model
        with quiet():
            if not self.images.cached:
                visual: Any = self.images.visual
                visual.set_grad_checkpointing(enable)
            if self.texts.cached:
                return
            if hasattr(text, "text"):
                text.text.set_grad_checkpointing(enable)
            else:
                text.transformer.grad_checkpointing = enable

    def open_clip_state(self) -> dict[str, Tensor]:
        """The weights as open_clip names them, in float32 on the processor."""
        scale: list[tuple[str, Tensor]] = [("logit_scale", self.log_scale)]
        if self.has_bias:
            scale.append(("logit_bias", self.bias))
        shape = [1] if self.config.get("nonscalar_logit_scale") else []
        visual = ((f"visual.{name}", value) for name, value in self.images.visual.state_dict().items())
        state: dict[str, Tensor] = {}
        for name, value in chain(visual, self.texts.model.state_dict().items()):
            value = value.detach().cpu()
            state[name] = (value.float() if value.is_floating_point() else value).contiguous().clone()
        return state | {name: value.detach().cpu().float().reshape(shape).clone() for name, value in scale}

    @property
    def has_bias(self) -> bool:
        """Whether the bias means something: the model came with one, or it has learned one."""
        return self._had_bias or float(self.bias.detach()) != NO_BIAS


def load_open_clip_towers(
    id: str,
    *,
    lock: Lock = "none",
    unlocked: int = 0,
    checkpointing: bool = False,
    offline: bool = False,
    notify: Callable[[str], None] | None = None,
) -> OpenClipDual:
    """Load any open_clip model to go on training it; on the processor, in float32.

    Args:
        id: As for `mmsearch.encoders.load_encoder`.
        lock: Which towers keep their weights.
        unlocked: Of a locked tower, how many of its last groups learn all the same; its embedding, each block and its
            projection are a group each.
        checkpointing: Save memory with `OpenClipDual.checkpoint_gradients`.
        offline: Never fetch weights.
        notify: Called with a sentence before something that takes long.

    Raises:
        UnknownEncoderError: It is no open_clip model.
        UsageError: Nothing would learn, or the groups of the tower cannot be told apart.
        ExtraMissingError: open_clip, or transformers where the model needs it, is not installed.
        ModelMissingError: Its weights are not here and could not be fetched.
        EncoderError: They are not what they should be.
    """
    if lock not in ("none", "image", "text", "both"):
        raise UsageError(f"There is no lock {lock!r}.", hint="Choose none, image, text or both.")
    if unlocked < 0 or (unlocked and lock == "none"):
        raise UsageError(f"{unlocked} groups cannot be unlocked where the lock is {lock}.")
    if lock == "both" and not unlocked:
        raise UsageError("Where both towers are locked, nothing learns.", hint="Lock one of them, or unlock groups.")
    id = full_id(id)
    if not id.startswith(f"{FAMILY}/"):
        raise UnknownEncoderError(f"{id!r} is no open_clip model.", hint="See what there is: mmsearch models list")
    source = OpenClipSource.parse(id)
    loaded = load_model(source, offline=offline, notify=notify)
    dual = _taken_apart(source, loaded, lock, unlocked)
    if checkpointing:
        dual.checkpoint_gradients()
    return dual


def _taken_apart(source: OpenClipSource, loaded: LoadedModel, lock: Lock, unlocked: int) -> OpenClipDual:
    model: Any = loaded.model
    visual, scale, bias = model.visual, model.logit_scale, getattr(model, "logit_bias", None)
    with torch.no_grad():
        probe = torch.zeros(1, 3, loaded.transform.height, loaded.transform.width)
        output = visual(probe)
        dim = int((output[0] if isinstance(output, tuple) else output).shape[1])
    preprocess = {name: value for name, value in visual.preprocess_cfg.items() if name != "size"}
    for name in ("visual", "logit_scale", "logit_bias"):
        if hasattr(model, name):
            delattr(model, name)
    for name, part in model.named_children():
        if name not in TEXT_PARTS:  # CoCa's decoder
            part.requires_grad_(False)
    if lock in ("image", "both"):
        lock_tower(visual, image_groups(visual), unlocked)
    if lock in ("text", "both"):
        lock_tower(model, text_groups(model), unlocked)
    locked = [lock == tower and not unlocked for tower in ("image", "text")]
    return OpenClipDual(
        OpenClipImageTower(visual, loaded.transform, source.id, dim, locked=locked[0]),
        OpenClipTextTower(model, loaded.tokenizer, source.id, dim, locked=locked[1]),
        id=source.id,
        config=model_config(source, loaded),
        preprocess=preprocess,
        scale=float(scale.detach().exp()),
        bias=None if bias is None else float(bias.detach()),
    ).train()


def _key(tower: str, name: str, module: nn.Module, settings: Mapping[str, Any], locked: bool) -> str:
    """Of a locked tower also the hash of its weights."""
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", name)[-60:].strip("-")
    if not locked:
        return f"{tower}-{readable}-learns"
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for entry, value in module.state_dict().items():
        digest.update(entry.encode())
        digest.update(value.detach().cpu().numpy().tobytes())
    return f"{tower}-{readable}-{digest.hexdigest()[:16]}"


def _device(module: nn.Module) -> torch.device:
    return next(chain(module.parameters(), module.buffers())).device
