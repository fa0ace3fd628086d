"""Token ids go in, sentence vectors come out: the MiniLM transformer in plain torch, so that it can learn.

The network is BERT (Devlin et al., arXiv 1810.04805) as MiniLM (Wang et al., arXiv 2002.10957) shrinks it: six layers
of width 384. The mean over the tokens stands for the sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SentenceTransformer", "load_sentence_transformer"]

EPSILON = 1e-12


class Layer(nn.Module):
    """Self-attention and a feed-forward network, each followed by a sum and a layer norm."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(n, t, width) -> (n, t, width); `mask` (n, 1, 1, t) is true where a token stands."""
        n, t, width = x.shape
        qkv = self.qkv(x).view(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)  # (3, n, h, t, w/h)
        attended = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], attn_mask=mask)
        x = self.norm1(x + self.out(attended.transpose(1, 2).reshape(n, t, width)))
        y: Tensor = self.norm2(x + self.down(F.gelu(self.up(x), approximate="tanh")))
        return y


class SentenceTransformer(nn.Module):
    """Embeddings, layers, mean over the tokens."""

    def __init__(self, vocabulary: int, positions: int, width: int, heads: int, inner: int, depth: int) -> None:
        super().__init__()
        self.width = width
        self.heads = heads
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(positions, width)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.layers = nn.ModuleList(Layer(width, heads, inner) for _ in range(depth))

    def embed(self, tokens: Tensor) -> Tensor:
        """(n, t) -> (n, t, width), before the first layer."""
        x: Tensor = self.norm(self.words(tokens) + self.places.weight[: tokens.shape[1]])
        return x

    def run(self, x: Tensor, mask: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """(n, t, width) -> (n, t, width), through the layers from `start` to before `stop`."""
        for layer in self.layers[start:stop]:
            x = layer(x, mask[:, None, None, :])
        return x

    def pool(self, x: Tensor, mask: Tensor) -> Tensor:
        """(n, t, width) -> (n, width), the mean over the tokens that stand."""
        weight = mask[:, :, None].to(x.dtype)
        return (x * weight).sum(1) / weight.sum(1)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(n, t) token ids and whether they stand -> (n, width)."""
        return self.pool(self.run(self.embed(tokens), mask), mask)


def load_sentence_transformer(checkpoint: Path, heads: int = 12) -> SentenceTransformer:
    """Read a BERT-like sentence encoder from its safetensors file.

    The one token type that sentences use is added to the positions, and query, key and value become one matrix.
    """
    from safetensors.torch import load_file

    theirs = {name.removeprefix("bert."): value.float() for name, value in load_file(str(checkpoint)).items()}
    words = theirs["embeddings.word_embeddings.weight"]
    places = theirs["embeddings.position_embeddings.weight"] + theirs["embeddings.token_type_embeddings.weight"][0]
    depth = 1 + max(int(name.split(".")[2]) for name in theirs if name.startswith("encoder.layer."))
    inner = theirs["encoder.layer.0.intermediate.dense.weight"].shape[0]
    model = SentenceTransformer(words.shape[0], places.shape[0], words.shape[1], heads, inner, depth)
    state = {
        "words.weight": words,
        "places.weight": places,
        "norm.weight": theirs["embeddings.LayerNorm.weight"],
        "norm.bias": theirs["embeddings.LayerNorm.bias"],
    }
    for i in range(depth):
        state |= _layer_state(theirs, f"encoder.layer.{i}", f"layers.{i}")
    model.load_state_dict(state)
    return model.eval()


def _layer_state(theirs: Mapping[str, Tensor], source: str, target: str) -> dict[str, Tensor]:
    """Rename the weights of one layer, joining query, key and value."""
    names = {
        "out": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm2": "output.LayerNorm",
    }
    state = {}
    for kind in ("weight", "bias"):
        parts = [theirs[f"{source}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
        state[f"{target}.qkv.{kind}"] = torch.cat(parts)
        for ours, name in names.items():
            state[f"{target}.{ours}.{kind}"] = theirs[f"{source}.{name}.{kind}"]
    return state
