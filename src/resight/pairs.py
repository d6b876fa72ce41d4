"""Pictures and captions in training: every caption with its picture, and both towers on batches of such pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resight.clip.image import VisionTransformer
from resight.clip.relations import RelationReasoning, mask_tokens
from resight.clip.text import cut_to_longest
from resight.clip.tokenizer import END, count_tokens, tokenize
from resight.data.samplers import (
    identity_batches,
    one_per_identity_batches,
    one_row_of_each,
    random_batches,
    remaining_rows,
)
from resight.encoder import Encoder
from resight.engine import Engine, Machine
from resight.errors import ConfigError, DataError
from resight.losses.identity import identity_loss
from resight.pictures import PictureBatch
from resight.trainset import TrainSet
from resight.types import Record

LARGEST_SCALE = math.log(100)
"""CLIP's bound on its logit scale (Radford et al. 2021, arXiv 2103.00020 §2.5), so that training stays stable."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Every caption of the train records, each with its picture.

    records: N, each the picture's with that caption alone. labels: int64 [N] of the pictures, as in `TrainSet`: an
    unknown identity has a label of its own. pictures: int64 [N], the picture's place in the TrainSet. tokens: int64
    [N, L]. notes: a line each.
    """

    records: tuple[Record, ...]
    labels: NDArray[np.int64]
    pictures: NDArray[np.int64]
    tokens: Tensor
    notes: tuple[str, ...]

    @classmethod
    def of(cls, data: TrainSet, context_length: int, *, noise: float = 0.0, seed: int = 0) -> Pairs:
        """The pairs of data; a caption of more than context_length tokens is cut, and a note says so.

        noise: share of the captions that change places among themselves, while identities stay with the pictures (Qin
        et al. 2024, "RDE", arXiv 2308.09911 §4). Drawn from seed; two captions of one picture may change places too.
        """
        pictures = np.repeat(np.arange(len(data.records)), [len(record.captions) for record in data.records])
        captions = [caption for record in data.records for caption in record.captions]
        notes = []
        moved = _moved(len(captions), noise, seed)
        if len(moved):
            taken = [captions[row] for row in np.roll(moved, 1)]
            for row, caption in zip(moved, taken, strict=True):
                captions[row] = caption
            n_wrong = np.count_nonzero(pictures[moved] != pictures[np.roll(moved, 1)])
            notes.append(f"--noise: {n_wrong:,} of {len(captions):,} captions stand with another's picture.")
        tokens = tokenize(captions, context_length=context_length)
        full = (tokens[:, -1] == END).nonzero().flatten().tolist()
        if n_cut := sum(count_tokens(captions[row]) > context_length for row in full):
            notes.append(
                f"{n_cut:,} of {len(captions):,} captions are longer than {context_length} tokens and are cut."
            )
        return cls(
            tuple(
                replace(data.records[picture], captions=(caption,))
                for picture, caption in zip(pictures, captions, strict=True)
            ),
            data.labels[pictures],
            pictures,
            tokens,
            tuple(notes),
        )


def _moved(n: int, noise: float, seed: int) -> NDArray[np.int64]:
    """Random rows of n, which change places in a circle; none where there is but one to move."""
    count = round(noise * n)
    rows = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2,))).permutation(n)  # not a sampler's draws
    return rows[: count if count > 1 else 0]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which pairs make a batch."""

    sampler: Literal["random", "identity", "distinct"] = "random"
    """random: every caption once an epoch (IRRA). identity: n_images pairs of an identity side by side. distinct: no
    identity twice in a batch, and one caption of a picture an epoch, so that no other caption is true of a picture."""
    batch_size: int = 64
    """Pairs of a picture and a caption a step (IRRA: 64)."""
    n_images: int = 4
    """With sampler identity, pairs of each identity in a batch (IRRA's code: 4)."""
    caption_drop: float = 0.0
    """Probability with which each caption is left out of an epoch, as is then a remainder that fills no batch, whose
    size would change from epoch to epoch (the papers have none: 0)."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "n_images"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least 1.")
        if self.sampler != "random" and self.batch_size < 2 * self._of_each:
            least = f"With --sampler {self.sampler} at least {2 * self._of_each}"
            raise ConfigError(f"--batch-size {self.batch_size}: does not hold two identities. {least}.")
        if not 0 <= self.caption_drop < 1:
            raise ConfigError(f"--caption-drop {self.caption_drop}: 0 or more, and less than 1.")

    def check(self, pairs: Pairs, *, seed: int, epochs: int) -> None:
        """Raises DataError when one of the epochs has too few identities for a batch."""
        if self.sampler == "random":
            return
        numbers = range(1, epochs + 1 if self.caption_drop else 2)  # all alike where no caption is left out
        n = min(len(np.unique(pairs.labels[self._rows(pairs, seed, number)])) for number in numbers)
        wanted = self.batch_size // self._of_each
        if n < wanted:
            left = " with a caption that --caption-drop leaves" if self.caption_drop else ""
            advice = f"Choose at most --batch-size {n * self._of_each}" if n > 1 else "Choose --sampler random"
            raise DataError(f"The training set has {n} identities{left}, but a batch takes {wanted}. {advice}.")

    def plan(self, pairs: Pairs, *, seed: int, epoch: int) -> list[NDArray[np.int64]]:
        """The batches of an epoch, as rows of pairs; drawn from (seed, epoch)."""
        rows = self._rows(pairs, seed, epoch)
        if self.sampler == "distinct":
            rows = rows[one_row_of_each(pairs.pictures[rows], seed=seed, epoch=epoch)]
            plan = one_per_identity_batches(pairs.labels[rows], batch_size=self.batch_size, seed=seed, epoch=epoch)
        elif self.sampler == "identity":
            p, k = self.batch_size // self.n_images, self.n_images
            plan = identity_batches(pairs.labels[rows], n_identities=p, n_images=k, seed=seed, epoch=epoch)
        else:
            partial = self.caption_drop > 0 and len(rows) > self.batch_size
            plan = random_batches(len(rows), batch_size=self.batch_size, seed=seed, epoch=epoch, drop_last=partial)
        return [rows[places] for places in plan]

    @property
    def _of_each(self) -> int:
        """Pairs of an identity in a batch that is made of identities."""
        return self.n_images if self.sampler == "identity" else 1

    def _rows(self, pairs: Pairs, seed: int, epoch: int) -> NDArray[np.int64]:
        return remaining_rows(len(pairs.records), drop=self.caption_drop, seed=seed, epoch=epoch)


@dataclass(frozen=True, slots=True)
class SeenPair:
    """What both towers make of a whole batch: images [B, O] and texts [B, O], not normalised; identities [B]."""

    images: Tensor
    texts: Tensor
    identities: Tensor


class PairTower(nn.Module):
    """Both towers in training on whole batches of pairs, and one classifier of identities for pictures and texts.

    n_identities: how many of the labels, from 0, are known identities; 0: no classifier. It is linear, with a bias, on
    projected features as they are, its weights drawn from N(0, 0.001²) by the engine's seed (Jiang and Ye 2023, "IRRA",
    arXiv 2303.12501, in its code). Which parameters learn is left as it is.
    """

    def __init__(self, encoder: Encoder, pairs: Pairs, *, n_identities: int, machine: Machine, engine: Engine) -> None:
        super().__init__()
        assert encoder.clip.text is not None
        self.encoder, self.pairs, self.n_identities = encoder, pairs, n_identities
        self.classifier = None
        if n_identities:
            self.classifier = _classifier(encoder.clip.config.image.output, n_identities, seed=engine.seed + 3)
        self.labels = torch.from_numpy(pairs.labels).to(machine.device)
        self.to(machine.device)
        self.whole = (
            machine.spread(lambda images: (encoder.taps(images).projected,), engine, module=encoder.clip.image),
            machine.spread(lambda tokens: (encoder.read(tokens),), engine, module=encoder.clip.text),
        )

    def see(self, batch: PictureBatch, images: Tensor | None = None) -> SeenPair:
        """Both sides of the whole batch, of which each process computes its share.

        images [B, O]: the pictures' side of the whole batch, where it has been computed already.
        """
        if images is None:
            (images,) = self.whole[0](len(batch.rows), batch.images)
        tokens = cut_to_longest(self.pairs.tokens[batch.rows])  # of the whole batch, so that parts are cut alike
        (texts,) = self.whole[1](len(batch.rows), tokens[batch.share].to(self.labels.device))
        return SeenPair(images, texts, self.labels[batch.rows.to(self.labels.device)])

    def scale(self, temperature: float | None) -> float | Tensor:
        """What cosines are multiplied by: 1 / temperature; None: CLIP's own scale, brought back to 100 if it learns."""
        if temperature is not None:
            return 1 / temperature
        own = self.encoder.clip.logit_scale
        assert own is not None
        if own.requires_grad:
            with torch.no_grad():
                own.clamp_(max=LARGEST_SCALE)
        return own.exp()

    def identity_loss(self, seen: SeenPair) -> Tensor:
        """Mean of the cross-entropies of pictures and of texts, over the pairs whose identity is known: a scalar.

        0 where none of the batch is.
        """
        assert self.classifier is not None
        known = seen.identities < self.n_identities
        if not known.any():
            return 0 * (seen.images.sum() + seen.texts.sum())
        losses = [
            identity_loss(self.classifier(side[known]), seen.identities[known], smoothing=0.0)
            for side in (seen.images, seen.texts)
        ]
        return torch.stack(losses).mean()


class MaskedReader(nn.Module):
    """What tells masked words from their sentence and its picture, on whole batches of pairs; see `RelationReasoning`.

    Raises ConfigError when the image tower is a ResNet, which has no tokens to look at.
    """

    def __init__(self, encoder: Encoder, pairs: Pairs, *, machine: Machine, engine: Engine) -> None:
        super().__init__()
        image, text = encoder.clip.image, encoder.clip.text
        assert text is not None
        if not isinstance(image, VisionTransformer):
            raise ConfigError("--mlm: looks at the tokens of a vision transformer; a ResNet has none. Leave it out.")
        self.pairs, self.device = pairs, machine.device
        relations = RelationReasoning(text.config.output, text.config.vocabulary, seed=engine.seed + 4)
        relations.cross_blocks.recompute = engine.recompute
        self.relations = relations.to(machine.device)

        def read(images: Tensor, masked: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
            tokens = image.tokens(images)
            return tokens[:, 0], relations.losses(text.tokens(masked), tokens, answers)

        self.whole = machine.spread(read, engine, module=image)

    def see(self, batch: PictureBatch, seed: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The projected features [B, O] of the pictures, and the mean cross-entropy of the masked words: a scalar.

        seed: whole numbers from 0 that decide which words of the whole batch are masked.
        """
        masked, answers = mask_tokens(self.pairs.tokens[batch.rows], seed)
        own = (tensor[batch.share].to(self.device) for tensor in (masked, answers))
        images, losses = self.whole(len(batch.rows), batch.images, *own)
        return images, losses.sum() / (answers > 0).sum()


def _classifier(width: int, n_identities: int, *, seed: int) -> nn.Linear:
    classifier = nn.Linear(width, n_identities)
    with torch.no_grad():
        classifier.weight.normal_(0, 0.001, generator=torch.Generator().manual_seed(seed))
        classifier.bias.zero_()
    return classifier
