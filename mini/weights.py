"""The towers of resight-mini: drawn before training, and packed after it, both in OpenCLIP's form.

    python mini/weights.py start KIND FOLDER                untrained towers, from seed 0
    python mini/weights.py pack KIND ENCODER DATA FOLDER    a trained encoder's towers, float16

KIND is vit or resnet. FOLDER gets open_clip_model.safetensors and open_clip_config.json. DATA is what the encoder was
trained on: by some of its pictures and captions the features get the lengths that fine-tuning needs.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

import resight
from resight.clip.image import Bottleneck, ModifiedResNet, ResNetConfig, VisionTransformer, ViTConfig
from resight.clip.model import Clip, ClipConfig, to_openai
from resight.clip.text import TextConfig
from resight.clip.tokenizer import tokenize
from resight.data.loader import load
from resight.encoder import Encoder
from resight.types import Record

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


LAST = 0.4
"""Length of the feature before the projection, as a part of the projected one's. Fine-tuning joins both, and the first
knows least of what captions say."""


def set_lengths(encoder: Encoder, records: list[Record]) -> None:
    """Scales the features so that the product of a picture's and a text's length is the learned logit scale.

    OpenAI's are reported to be of the order of 10 long, at a scale of 100. CLIP-ReID relies on it, since it
    compares pictures and texts by plain products. Cosines, and so all that the encoder was trained for, stay.
    records: pictures with captions to measure the lengths on.
    """
    clip = encoder.clip
    assert clip.text is not None
    assert clip.logit_scale is not None
    captions = [record.captions[0] for record in records]
    with torch.inference_mode():
        batches = load(records, encoder.preprocess, batch_size=64, cache=None, workers=1)
        taps = [clip.image(encoder.preprocess.normalise(torch.from_numpy(batch.images))) for batch in batches]
        text = clip.text(tokenize(captions, context_length=clip.text.config.context_length)).norm(dim=1).mean().item()
    last, projected = (
        torch.cat([getattr(t, n) for t in taps]).norm(dim=1).mean().item() for n in ("last", "projected")
    )
    wanted = math.exp(clip.logit_scale.item() / 2)
    with torch.no_grad():
        clip.text.text_projection.mul_(wanted / text)
        _scale_image(clip.image, last=LAST * wanted / last, projected=wanted / projected)


def _scale_image(tower: VisionTransformer | ModifiedResNet, *, last: float, projected: float) -> None:
    """Multiplies both features, and nothing else that comes out."""
    if isinstance(tower, VisionTransformer):
        tower.ln_post.weight.mul_(last)
        tower.ln_post.bias.mul_(last)
        tower.proj.mul_(projected / last)
        return
    pool = tower.attnpool
    for number, block in enumerate(tower.layer4):  # what a block puts out is scaled, and what the next does with it not
        assert isinstance(block, Bottleneck)
        scaled = [block.bn3] if block.downsample is None else [block.bn3, block.downsample[1]]
        for norm in scaled:
            norm.weight.mul_(last)
            norm.bias.mul_(last)
        if number:
            block.conv1.weight.div_(last)
    pool.positional_embedding.mul_(last)
    for linear in (pool.q_proj, pool.k_proj, pool.v_proj):
        linear.weight.div_(last)
    pool.c_proj.weight.mul_(projected)
    pool.c_proj.bias.mul_(projected)


def main(words: list[str]) -> None:
    match words:
        case ["start", ("vit" | "resnet") as kind, folder]:
            clip = Clip(ClipConfig(IMAGE[kind], TEXT))
            clip.initialise(SEED)
            write(kind, stored(clip, torch.float32), Path(folder))
        case ["pack", ("vit" | "resnet") as kind, encoder, pictures, folder]:
            trained = Encoder.load(encoder, device="cpu")
            records = [record for record in resight.read_data(pictures).train if record.captions]
            set_lengths(trained, records[::60])  # of 60,000
            data = stored(trained.clip, torch.float16)
            size = len(data) / 2**20
            if size > LARGEST:
                sys.exit(f"{encoder}: {size:.2f} MiB, more than {LARGEST}. Make the towers smaller.")
            write(kind, data, Path(folder))
            print(f"{folder}: {size:.2f} MiB")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
