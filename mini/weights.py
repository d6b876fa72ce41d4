"""The towers of resight-mini: drawn before training, and packed after it, both in OpenCLIP's form.

    python mini/weights.py start KIND FOLDER             untrained towers, from seed 0
    python mini/weights.py pack KIND ENCODER FOLDER      a trained encoder's towers, float16

KIND is vit or resnet. FOLDER gets open_clip_model.safetensors and open_clip_config.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from resight.clip.image import ResNetConfig, ViTConfig
from resight.clip.model import Clip, ClipConfig, to_openai
from resight.clip.text import TextConfig
from resight.encoder import Encoder

SIZE, OUTPUT, SEED = (128, 64), 128, 0
TEXT = TextConfig(width=64, depth=4, heads=4, output=OUTPUT, activation="quick_gelu")
"""CLIP's vocabulary alone takes 6 MiB in float16 at this width."""
IMAGE: dict[str, ViTConfig | ResNetConfig] = {
    "vit": ViTConfig(SIZE, patch=16, stride=16, width=192, depth=6, heads=3, output=OUTPUT, activation="quick_gelu"),
    "resnet": ResNetConfig(SIZE, blocks=(2, 2, 2, 2), width=16, heads=8, output=OUTPUT),
}
LARGEST = 12
"""MiB of a file in the repository and the wheel."""


def settings(kind: str) -> dict[str, Any]:
    """What open_clip_config.json says of the towers."""
    image = IMAGE[kind]
    vision: dict[str, Any] = {"image_size": list(SIZE), "width": image.width}
    if isinstance(image, ViTConfig):
        vision |= {"layers": image.depth, "patch_size": image.patch, "head_width": image.width // image.heads}
    else:
        vision |= {"layers": list(image.blocks), "head_width": 32 * image.width // image.heads}
    text = {"context_length": TEXT.context_length, "vocab_size": TEXT.vocabulary}
    text |= {"width": TEXT.width, "heads": TEXT.heads, "layers": TEXT.depth}
    return {
        "model_cfg": {"embed_dim": OUTPUT, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"},
    }


def stored(clip: Clip, dtype: torch.dtype) -> bytes:
    """A safetensors file under OpenAI's names; whole numbers stay what they are."""
    tensors = to_openai(clip.state_dict())
    return safetensors.torch.save(
        {name: tensor.to(dtype if tensor.is_floating_point() else tensor.dtype) for name, tensor in tensors.items()}
    )


def write(kind: str, data: bytes, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_model.safetensors").write_bytes(data)
    (folder / "open_clip_config.json").write_text(json.dumps(settings(kind), indent=2) + "\n", encoding="utf-8")


def main(words: list[str]) -> None:
    match words:
        case ["start", ("vit" | "resnet") as kind, folder]:
            clip = Clip(ClipConfig(IMAGE[kind], TEXT))
            clip.initialise(SEED)
            write(kind, stored(clip, torch.float32), Path(folder))
        case ["pack", ("vit" | "resnet") as kind, encoder, folder]:
            data = stored(Encoder.load(encoder, device="cpu").clip, torch.float16)
            size = len(data) / 2**20
            if size > LARGEST:
                sys.exit(f"{encoder}: {size:.2f} MiB, more than {LARGEST}. Make the towers smaller.")
            write(kind, data, Path(folder))
            print(f"{folder}: {size:.2f} MiB")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
