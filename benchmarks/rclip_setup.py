"""rclip 4.0.8 -> an environment in which it runs offline, with a model of the same architecture as its own.

rclip asks for Python 3.12 and downloads ONNX files at its first run. Here it gets an environment of its own (its wheel
runs on Python 3.11 as well), and in the place of those files two exports of open_clip's ViT-B-32-256, the architecture
it uses, with seeded random weights: the cost is the real one, the results mean nothing. The same weights are saved as
an open_clip checkpoint for mmsearch. The exports are float32, the precision that rclip's runtime computes fastest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

from record import work_folder

__all__ = ["ARCHITECTURE", "RCLIP_VERSION", "Rclip", "prepare", "prepared"]

RCLIP_VERSION = "4.0.8"
ARCHITECTURE = "ViT-B-32-256"
SEED = 0
# What rclip declares, less its terminal interface and with the NumPy and Pillow that Python 3.11 can have.
REQUIREMENTS = (
    "ftfy>=6.3.1,<7",
    "huggingface-hub>=1.9.0,<2",
    "numpy>=2.0",
    "onnxruntime>=1.24.4,<2",
    "pillow>=12.0.0,<14",
    "rawpy>=0.26.1,<0.27",
    "regex",
    "requests~=2.32",
    "tqdm>=4.65.0,<5",
)
MODEL_FOLDER = "ViT-B-32-256-datacomp_s34b_b86k"
VOCABULARY = "tokenizer/bpe_simple_vocab_16e6.txt.gz"
# rclip wants these beside its models and would download them otherwise.
LEGAL_FILES = ("LICENSE", "OPENAI-CLIP-MIT.txt", "README.md", "THIRD_PARTY_NOTICES.md")


@dataclass(frozen=True, slots=True)
class Rclip:
    """Where the prepared parts lie.

    Attributes:
        program: rclip's console script.
        models: What belongs into a data folder of rclip.
        checkpoint: The same weights for open_clip.
    """

    program: Path
    models: Path
    checkpoint: Path

    @property
    def model_id(self) -> str:
        """The name under which mmsearch loads the same weights."""
        return f"open_clip/{ARCHITECTURE}/{self.checkpoint}"

    def data_folder(self, folder: Path) -> dict[str, str]:
        """Make an empty data folder for rclip, with the models in their place; returns its environment variables."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for part in self.models.iterdir():
            (folder / part.name).symlink_to(part)
        return {"RCLIP_DATADIR": os.fspath(folder), "HF_HUB_OFFLINE": "1"}


def prepared() -> Rclip:
    """The prepared parts.

    Raises:
        SystemExit: They are not there yet.
    """
    found = _parts()
    if not (found.program.exists() and found.checkpoint.exists() and (found.models / MODEL_FOLDER).exists()):
        sys.exit("rclip is not prepared; run: python benchmarks/rclip_comparison.py --prepare")
    return found


def prepare() -> Rclip:
    """Install rclip and export the model; what is there already stays."""
    parts = _parts()
    if not parts.program.exists():
        _install(parts.program.parent.parent)
    if not (parts.models / MODEL_FOLDER / "textual.onnx").exists():
        _export(parts)
    return parts


def _parts() -> Rclip:
    folder = work_folder() / "rclip"
    return Rclip(folder / "venv" / "bin" / "rclip", folder / "models", folder / f"{ARCHITECTURE}-seed{SEED}.pt")


def _install(environment: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *REQUIREMENTS], check=True)
    subprocess.run([*pip, "--ignore-requires-python", "--no-deps", f"rclip=={RCLIP_VERSION}"], check=True)


def _export(parts: Rclip) -> None:
    import open_clip
    import torch

    class Tower(torch.nn.Module):
        """One method of the model as a module of its own, which is what the exporter takes."""

        def __init__(self, model: torch.nn.Module, method: str) -> None:
            super().__init__()
            self.model = model
            self.method = method

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return getattr(self.model, self.method)(batch)

    torch.manual_seed(SEED)
    model = open_clip.create_model(ARCHITECTURE, pretrained=None).eval()
    target = parts.models / MODEL_FOLDER
    target.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), parts.checkpoint)
    texts = open_clip.get_tokenizer(ARCHITECTURE)(["a dog on the beach", "a cat"])
    images = torch.randn(2, 3, 256, 256)
    torch.backends.mha.set_fastpath_enabled(False)
    for name, method, example in (("visual", "encode_image", images), ("textual", "encode_text", texts)):
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                Tower(model, method),
                (example,),
                target / f"{name}.onnx",
                input_names=["input"],
                output_names=["output"],
                dynamic_axes={"input": {0: "n"}, "output": {0: "n"}},
                opset_version=17,
                dynamo=False,
            )
    vocabulary = parts.models / VOCABULARY
    vocabulary.parent.mkdir(exist_ok=True)
    shutil.copyfile(Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz", vocabulary)
    for name in LEGAL_FILES:
        (parts.models / name).touch()
