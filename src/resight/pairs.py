"""Pictures and captions in training: every caption with its picture, and both towers on batches of such pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resight.clip.text import cut_to_longest
from resight.clip.tokenizer import END, count_tokens, tokenize
from resight.encoder import Encoder
from resight.engine import Engine, Machine
from resight.losses.identity import identity_loss
from resight.pictures import PictureBatch
from resight.trainset import TrainSet
from resight.types import Record


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

        noise: share of the captions that change places among themselves, so that none of them keeps its picture, while
        identities stay with the pictures (Qin et al. 2024, "RDE", arXiv 2308.09911 §4). Drawn from seed.
        """
        pictures = np.repeat(np.arange(len(data.records)), [len(record.captions) for record in data.records])
        captions = [caption for record in data.records for caption in record.captions]
        notes = []
        moved = _moved(len(captions), noise, seed)
        if len(moved):
            taken = [captions[row] for row in np.roll(moved, 1)]
            for row, caption in zip(moved, taken, strict=True):
                captions[row] = caption
            notes.append(f"--noise: {len(moved):,} of {len(captions):,} captions stand with another's picture.")
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

    def see(self, batch: PictureBatch) -> SeenPair:
        """Both sides of the whole batch, of which each process computes its share."""
        (images,) = self.whole[0](len(batch.rows), batch.images)
        return self.beside(images, batch)

    def beside(self, images: Tensor, batch: PictureBatch) -> SeenPair:
        """The same where images [B, O] of the whole batch have been computed already."""
        tokens = cut_to_longest(self.pairs.tokens[batch.rows])  # of the whole batch, so that parts are cut alike
        (texts,) = self.whole[1](len(batch.rows), tokens[batch.share].to(self.labels.device))
        return SeenPair(images, texts, self.labels[batch.rows.to(self.labels.device)])

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


def _classifier(width: int, n_identities: int, *, seed: int) -> nn.Linear:
    classifier = nn.Linear(width, n_identities)
    with torch.no_grad():
        classifier.weight.normal_(0, 0.001, generator=torch.Generator().manual_seed(seed))
        classifier.bias.zero_()
    return classifier
