"""What a model knows beyond the captions that it learned from: open vocabulary, and sentences as people type them.

    python benchmarks/model_quality.py --data ../shared/data
    python benchmarks/model_quality.py --data ../shared/data --model ./my-model/model --backbone efficientnet-lite2.pth

Retrieval on Flickr8k dev, with the captions as they are, in capitals, and as people type them (slips of the fingers,
words left out or in another order, one phrase alone; `mmsearch.training.augmentation.sentence_view`). Zero-shot
classification of Caltech-101's and of the flowers' pictures, none of which training has seen. With --backbone, the
thousand class names of ImageNet over photos without labels (ADE20K's scenes, and all the others): how often the model
puts first, or among the first five, the class that the backbone's own classifier is sure of (at least one half).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from record import record

from mmsearch import load_encoder
from mmsearch.evaluation import PROMPTS, evaluate_classes, read_captions, read_classes
from mmsearch.media.image import read_image
from mmsearch.training.augmentation import sentence_view
from mmsearch.training.classes import class_names, fill_prompt
from mmsearch.training.evaluate import caption_metrics

SURE = 0.5
BATCH = 64


def images_of(encoder, paths: list[Path]) -> NDArray[np.float32]:
    rows = []
    for start in range(0, len(paths), BATCH):
        chosen = paths[start : start + BATCH]
        rows.append(
            encoder.encode_images(
                [encoder.prepare_image(read_image(path, target_side=encoder.image_size).image) for path in chosen]
            )
        )
    return np.concatenate(rows)


def retrieval(encoder, data: Path) -> tuple[dict[str, object], NDArray[np.float32], list[Path]]:
    dev = read_captions(data / "flickr8k/dev/captions.csv", data / "flickr8k/dev/images")
    images = images_of(encoder, list(dev.images))
    ways = {
        "as_written": list(dev.captions),
        "in_capitals": [caption.upper() for caption in dev.captions],
        "as_typed": [sentence_view(caption, 1, (0, i)) for i, caption in enumerate(dev.captions)],
    }
    found: dict[str, object] = {}
    for name, captions in ways.items():
        there, back = caption_metrics(images, encoder.encode_texts(captions), np.asarray(dev.owners))
        found[name] = {
            "text_to_image": [round(there.recall_at_1, 4), round(there.recall_at_10, 4)],
            "image_to_text": [round(back.recall_at_1, 4), round(back.recall_at_10, 4)],
        }
    return found, images, list(dev.images)


def thousand_names(encoder, backbone: Path, paths: list[Path], images: NDArray[np.float32]) -> dict[str, object]:
    """Agreement with the backbone's own classifier on photos where that is sure."""
    import torch

    from mmsearch.training.backbone import load_backbone
    from mmsearch.training.datasets import read_photo

    network, weight, bias = load_backbone(backbone, "tf_efficientnet_lite2", 260)
    said = []
    with torch.inference_mode():
        for start in range(0, len(paths), BATCH):
            photos = [np.asarray(read_photo(p, 260).resize((260, 260))) for p in paths[start : start + BATCH]]
            last = network(torch.from_numpy(np.stack(photos)))[:, : network.width]
            said.append(torch.softmax(last @ weight.T + bias, 1).numpy())
    probabilities = np.concatenate(said)
    sure = probabilities.max(1) >= SURE
    sentences = [fill_prompt(prompt, name) for name in class_names() for prompt in PROMPTS]
    names = encoder.encode_texts(sentences).reshape(1000, len(PROMPTS), -1).mean(1)
    names /= np.linalg.norm(names, axis=1, keepdims=True)
    order = np.argsort(-(images[sure] @ names.T), axis=1)[:, :5]
    right = order == probabilities[sure].argmax(1)[:, None]
    return {
        "photos": int(sure.sum()),
        "classes_seen": len(np.unique(probabilities[sure].argmax(1))),
        "first": round(float(right[:, 0].mean()), 3),
        "in_first_five": round(float(right.any(1).mean()), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--backbone", type=Path, help="ImageNet weights of EfficientNet-lite2 (.pth)")
    parser.add_argument("--dry", action="store_true", help="keep no results")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.model)
    figures: dict[str, object] = {"model": "mini" if arguments.model == "mini" else "another"}
    found, images, paths = retrieval(encoder, arguments.data)
    figures["flickr8k_dev_recall_at_1_10"] = found
    for name in ("caltech101", "flowers"):
        report = evaluate_classes(encoder, read_classes(arguments.data / name))
        figures[name] = {key: round(value, 3) for key, value in report.metrics.to_dict().items() if key != "ci"}
    if arguments.backbone is not None:
        scenes = sorted((arguments.data / "scenes").rglob("*.jpg"))
        others = [path for name in ("caltech101", "flowers") for path in read_classes(arguments.data / name).items]
        more = images_of(encoder, scenes + others)
        everything = paths + scenes + others
        figures["thousand_names"] = thousand_names(
            encoder, arguments.backbone, everything, np.concatenate([images, more])
        )
    record("model_quality", figures, keep=not arguments.dry)


if __name__ == "__main__":
    main()
