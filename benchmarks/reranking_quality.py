"""What reranking gains: recall by the size of the shortlist, and captions against their own distortions.

    python benchmarks/reranking_quality.py --data ../shared/data
    python benchmarks/reranking_quality.py --data ../shared/data --reranker my-reranker/reranker.safetensors

Every caption of Flickr8k's dev set asks for its photo among 1,000, and every photo for one of its five captions among
5,000. Then a seeded script makes sentences of nearly the same words out of the captions (nouns or adjectives swapped,
a colour or a number changed): how often is the caption preferred to the sentence, beside its photo? By the reranker, by
the dual encoder, and by the reranker beside the mean of all other photos, which tells how much of it could be had from
the language alone.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from record import record

from mmsearch.encoders import load_encoder
from mmsearch.evaluation.datasets import read_captions
from mmsearch.evaluation.embedding import EmbeddedCaptions, embed_captions
from mmsearch.evaluation.reranking import reranked_rankings
from mmsearch.rerank import load_reranker
from mmsearch.rerank.fusion import FusionReranker
from mmsearch.training.distortions import distortions
from mmsearch.training.evaluate import retrieval_figures
from mmsearch.training.ranking import Ranking, caption_rankings

SIZES = (10, 20, 50, 100, 200)
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds flickr8k/dev")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--reranker")
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--dry", action="store_true", help="keep no results")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.model)
    reranker = load_reranker(arguments.reranker, encoder)
    assert isinstance(reranker, FusionReranker), "there is no reranker of ours for this model"
    dev = arguments.data / "flickr8k" / "dev"
    embedded = embed_captions(encoder, read_captions(dev / "captions.csv", dev / "images"), reranker=reranker)
    rows = caption_rankings(embedded.image_embeddings, embedded.caption_embeddings, embedded.owners)
    table = {"without": _figures(rows)}
    print("without", table["without"], flush=True)
    for size in arguments.sizes:
        table[str(size)] = _figures(reranked_rankings(encoder.id, embedded, reranker, size))
        print(size, table[str(size)], flush=True)
    record(
        "reranking_quality",
        {
            "model": encoder.id,
            "reranker": reranker.id,
            "photos": len(embedded.images),
            "captions": len(embedded.captions),
            "by_shortlist": table,
            "preferred_to_distortions": _preferred(encoder, reranker, embedded),
        },
        keep=not arguments.dry,
    )


def _figures(rankings: tuple[Ranking, Ranking]) -> dict[str, float]:
    there, back = (retrieval_figures(ranking).to_dict() for ranking in rankings)
    return {
        f"{name} {key}": round(found[key], 4)
        for name, found in (("t2i", there), ("i2t", back))
        for key in ("recall@1", "recall@5", "recall@10", "mrr")
    }


def _preferred(encoder: Any, reranker: FusionReranker, embedded: EmbeddedCaptions) -> dict[str, dict[str, float]]:
    """Share of the distorted sentences that are put after their caption, by kind and for all."""
    rng = random.Random(SEED)
    assert embedded.tokens is not None
    kinds: list[str] = []
    owners: list[int] = []
    pairs: list[tuple[str, str]] = []
    for caption, owner in zip(embedded.captions, embedded.owners.tolist(), strict=True):
        for kind, sentence in distortions(caption, rng).items():
            kinds.append(kind)
            owners.append(owner)
            pairs.append((caption, sentence))
    right, wrong = (encoder.encode_texts([pair[at] for pair in pairs]) for at in (0, 1))
    photos = embedded.image_embeddings[owners]
    by_dual = (photos * right).sum(axis=1) > (photos * wrong).sum(axis=1)
    # Of a place where there is nothing in particular: the mean of all photos' tokens.
    nothing = np.rint(embedded.tokens.mean(axis=0, dtype=np.float64)).astype(np.int8)[None]
    by_fusion, by_language = [], []
    for owner, pair in zip(owners, pairs, strict=True):
        seen, blind = reranker.logits(np.concatenate([embedded.tokens[owner][None], nothing]), pair).T
        by_fusion.append(seen[0] > seen[1])
        by_language.append(blind[0] > blind[1])
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for kind in [*sorted(set(kinds)), "all"]:
        own = np.array([kind in ("all", other) for other in kinds])
        found[kind] = {
            "sentences": int(own.sum()),
            "fusion": round(float(np.array(by_fusion)[own].mean()), 3),
            "dual": round(float(by_dual[own].mean()), 3),
            "language_alone": round(float(np.array(by_language)[own].mean()), 3),
        }
    return dict(found)


if __name__ == "__main__":
    main()
