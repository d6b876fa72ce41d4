"""CLIP-ReID's first stage as a file: the learned words of each identity, tied to the CLIP that they were learned on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from resight.clip.model import Clip
from resight.clip.prompts import IdentityPrompts
from resight.clip.tokenizer import PLACEHOLDER, count_tokens, encode, tokenize
from resight.encoder import fingerprint_of
from resight.engine import Machine
from resight.errors import CheckpointError, ConfigError
from resight.runs import write_json

FORMAT = 1


@dataclasses.dataclass(frozen=True, slots=True)
class LearnedWords:
    """prompts: the vectors [N, M, W]; identities: the original ones, in their order; template: an X for each word."""

    prompts: IdentityPrompts
    identities: tuple[str, ...]
    template: str

    @classmethod
    def fresh(cls, clip: Clip, identities: Sequence[str], *, noun: str, n_words: int, seed: int) -> LearnedWords:
        """Words from N(0, 0.02²). Raises ConfigError when the sentence is too long, or the noun holds an X."""
        assert clip.text is not None
        template, longest = f"A photo of a {' '.join('X' * n_words)} {noun.strip()}.", clip.text.config.context_length
        if PLACEHOLDER in encode(noun):
            raise ConfigError(f"--noun {noun!r}: holds the word X, which stands for a learned word. Choose another.")
        if count_tokens(template) > longest:
            raise ConfigError(
                f"--noun, --n-words: {template!r} takes {count_tokens(template)} tokens, this CLIP reads {longest}. "
                "Choose a shorter noun or fewer words."
            )
        return cls(_prompts(clip, len(identities), template, seed=seed), tuple(identities), template)

    def texts_of(self, labels: Tensor, clip: Clip, machine: Machine) -> Tensor:
        """Text features [U, O] of the identities of labels [U], not normalised."""
        assert clip.text is not None
        with machine.autocast():
            features: Tensor = self.prompts(labels, clip.text)
        return features.to(torch.promote_types(features.dtype, torch.float32))

    @torch.no_grad()
    def features(self, clip: Clip, machine: Machine) -> Tensor:
        """Text features [N, O] of all identities, not normalised, on the machine's device."""
        clip.to(machine.device)
        self.prompts.to(machine.device)
        labels = torch.arange(len(self.identities), device=machine.device)
        return torch.cat([self.texts_of(part, clip, machine) for part in labels.split(64)])

    def save(self, folder: Path, clip: Clip) -> None:
        """Writes `prompts.safetensors` and `prompts.json`. Raises CheckpointError when the disk refuses."""
        assert clip.text is not None
        part = folder / "prompts.safetensors.part"
        try:
            folder.mkdir(exist_ok=True)
            safetensors.torch.save_file({"vectors": self.prompts.vectors.detach().cpu().contiguous()}, part)
            part.replace(folder / "prompts.safetensors")
        except (OSError, safetensors.SafetensorError) as error:
            raise CheckpointError(f"{folder}: the words cannot be written ({error}).") from error
        about = {
            "format": FORMAT,
            "template": self.template,
            "clip": fingerprint_of(clip.text),
            "identities": self.identities,
        }
        write_json(folder / "prompts.json", about)

    @classmethod
    def load(cls, folder: Path, clip: Clip, identities: Sequence[str]) -> LearnedWords:
        """The words in a run's `stage1` folder, in the order of identities.

        Raises CheckpointError when the files are damaged, and ConfigError when they were learned on another CLIP or
        lack an identity.
        """
        assert clip.text is not None
        own = fingerprint_of(clip.text)
        try:
            about = json.loads((folder / "prompts.json").read_text(encoding="utf-8"))
            vectors = safetensors.torch.load_file(folder / "prompts.safetensors")["vectors"]
            template, known, learned_on = str(about["template"]), list(about["identities"]), about["clip"]
            if about["format"] != FORMAT:
                raise ValueError(f"format {about['format']}, this version reads {FORMAT}")
            prompts = _prompts(clip, len(identities), template, seed=0)
            expected = (len(known), *prompts.vectors.shape[1:])
            if learned_on == own and vectors.shape != expected:
                raise ValueError(f"vectors {list(vectors.shape)} in place of {list(expected)}")
        except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
            raise CheckpointError(
                f"--stage1 {folder}: holds no learned words ({' '.join(str(error).split())}). "
                "Name the stage1 folder of a run."
            ) from error
        if learned_on != own:
            raise ConfigError(
                f"--stage1 {folder}: its words were learned with another text tower ({learned_on}). Start from the "
                "CLIP that they were learned on."
            )
        places = {identity: place for place, identity in enumerate(known)}
        missing = [identity for identity in identities if identity not in places]
        if missing:
            raise ConfigError(
                f"--stage1 {folder}: has no words for {len(missing)} of the identities ({', '.join(missing[:3])} …). "
                "Learn them on the same data."
            )
        with torch.no_grad():
            prompts.vectors.copy_(vectors[[places[identity] for identity in identities]])
        return cls(prompts, tuple(identities), template)


def _prompts(clip: Clip, n_identities: int, template: str, *, seed: int) -> IdentityPrompts:
    assert clip.text is not None
    config = clip.text.config
    tokens = tokenize([template], context_length=config.context_length)[0].tolist()
    return IdentityPrompts(n_identities, tokens, placeholder=PLACEHOLDER, width=config.width, seed=seed)
