"""PCL-CLIP without labels: clusters of the pictures take the place of identities, anew every epoch. arXiv 2310.17218.

Every epoch begins with the features of all pictures, DBSCAN on their Jaccard distances, and a memory of the clusters'
means; outliers are left out of it. A step holds pictures against the memory, by one of three losses: `cc`, cluster
contrast (arXiv 2103.11568); `cap`, camera-aware proxies, where a cluster is one mean a camera (arXiv 2012.10674);
`o2cap`, which also takes as positives what is alike now (arXiv 2201.05820). No identity of a train picture is read.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.cluster import ClusterConfig, Summary, cluster, summary
from resight.data.augment import Augment
from resight.data.index import read, relabel
from resight.data.samplers import camera_diverse_batches, class_uniform_batches, identity_batches
from resight.encoder import Encoder
from resight.engine import Engine, Machine
from resight.errors import CheckpointError, ConfigError, DataError
from resight.losses.memory import memory_contrast, update_memory
from resight.losses.proxies import intra_camera_contrast, offline_association, online_association
from resight.optim import Descent
from resight.partition import Partition
from resight.pictures import PictureBatch, Pictures
from resight.progress import Progress
from resight.recipes.published import PERSON
from resight.runs import Run, write_json
from resight.starting import Start, open_start, training_preprocess
from resight.towers import PictureTower
from resight.training import Epoch, Stage, fit
from resight.trainset import TrainSet, train_set
from resight.types import Record
from resight.validation import validation_scores

NAME = "pcl-unsupervised"
LEARNS_FROM = "pictures"

DESCENT = Descent(
    epochs=50,
    optimizer="sgd",
    rate=3.5e-4,
    weight_decay=5e-4,
    bias_rate_factor=1.0,
    warmup_factor=0.01,
    milestones=(20, 40),
    stepped="after",
)
"""How the code of PCL-CLIP's author trained a ViT without labels before (TMGF)."""


@dataclass(frozen=True, slots=True)
class Config:
    """PCL-CLIP without labels: cluster, hold pictures against the clusters, and again."""

    loss: Literal["cc", "cap", "o2cap"] = "o2cap"
    """What pictures are held against: clusters, or camera-aware proxies of them; cc where fewer than two cameras are
    known."""
    sampler: Literal["auto", "camera-diverse", "class-uniform"] = "auto"
    """Pictures of a cluster by different cameras, or every cluster (cap, o2cap: every proxy) alike. auto: the first
    with cc, the second with the others, as their codes do."""
    temperature: float = 0.07
    """What cosines with the memory are divided by (CAP, O2CAP: 0.07; cc: 0.05)."""
    memory_momentum: float = 0.2
    """Share of its old direction that a row of the memory keeps (CAP, O2CAP: 0.2; cc: 0.1)."""
    memory_update: Literal["hardest", "every"] = "every"
    """What moves a row: its picture in the batch that is least like it, or each (CAP, O2CAP, cc on MSMT17: every)."""
    association_epoch: int = 6
    """With cap: the epoch from which on clusters join their cameras' proxies (CAP's code: 6)."""
    association_weight: float = 0.5
    """With cap: weight of that term (CAP's code: 0.5)."""
    batch_size: int = 32
    """Pictures in a batch (CAP, O2CAP: 32; cc: 256)."""
    n_images: int = 4
    """K, pictures of each cluster or proxy in a batch (CAP, O2CAP: 4; cc: 16)."""
    n_batches: int = 200
    """Batches an epoch (TMGF: 200; O2CAP: 400)."""
    source: Path | None = None
    """A labelled data set, of which train pictures make half of each batch: unsupervised domain adaptation."""
    freeze_patches: bool = True
    """Leave the first convolution as it is, the patch projection of a ViT (Chen et al. 2021, arXiv 2104.02057)."""
    clustering: ClusterConfig = field(default_factory=lambda: ClusterConfig(k1=20, eps=0.5))
    descent: Descent = field(default_factory=lambda: DESCENT)
    start: Start = field(default_factory=lambda: Start(test_interpolation="bicubic"))
    augment: Augment = field(default_factory=lambda: Augment(erasing="constant"))
    engine: Engine = field(default_factory=Engine)

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"--temperature {self.temperature}: more than 0.")
        if not 0 <= self.memory_momentum <= 1:
            raise ConfigError(f"--memory-momentum {self.memory_momentum}: from 0 to 1.")
        if not 0 <= self.association_weight < math.inf:
            raise ConfigError(f"--association-weight {self.association_weight}: 0 or more.")
        for name, least in (("association_epoch", 1), ("batch_size", 2), ("n_images", 1), ("n_batches", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least {least}.")
        if self.source is not None and self.batch_size < 4 * self.n_images:
            raise ConfigError(
                f"--batch-size {self.batch_size}: with --source at least {4 * self.n_images}, two identities and two "
                f"clusters of {self.n_images} pictures."
            )


_PROXIES = {"temperature": 0.07, "memory_momentum": 0.2, "memory_update": "every", "batch_size": 32, "n_images": 4}
_PROXIES |= {"k1": 20, "eps": 0.5, "n_batches": 200, "epochs": 50, "normalisation": "half"}
_CC = {"loss": "cc", "temperature": 0.05, "memory_momentum": 0.1, "batch_size": 256, "n_images": 16}
_CC |= {"k1": 30, "n_batches": 200, "epochs": 60, "normalisation": "imagenet"}
PRESETS: dict[str, dict[str, object]] = {
    "cap": PERSON | _PROXIES | {"loss": "cap"},
    "o2cap": PERSON | _PROXIES | {"loss": "o2cap"},
    "cc-market1501": PERSON | _CC | {"memory_update": "hardest", "eps": 0.4},
    "cc-msmt17": PERSON | _CC | {"memory_update": "every", "eps": 0.7},
}
"""cap, o2cap: their codes' settings as TMGF's code trains a ViT by them; cc: a third party's with CLIP's ViT-B/16
(CLIP with ClusterContrast, Trangle12/PCL-CLIP-USL). The paper's own settings were never released."""


def train(
    init: str, data: TrainSet, config: Config, run: Run, machine: Machine, cache: Path, progress: Progress
) -> Encoder:
    """The encoder after the last epoch, or the best on validation identities."""
    engine, n = config.engine, len(data.records)
    source = None if config.source is None else _open_source(config.source, run, writes=machine.processes.writes)
    records = data.records if source is None else (*data.records, *source.records)
    union = dataclasses.replace(data, records=records)
    encoder = open_start(init, config.start, union, recipe=NAME, feature="after-neck", engine=engine, with_text=False)
    encoder.clip.image.conv1.requires_grad_(not config.freeze_patches)
    tower = PictureTower(encoder, records, machine=machine, engine=engine).train()
    partition = Partition(machine.device)
    pictures = Pictures(records, training_preprocess(encoder, config.start), config.augment, cache, engine, machine)
    cameras, loss = _cameras(data.records, () if source is None else source.records), config.loss
    if len(data.cameras) < 2 and loss != "cc":
        progress.say(
            f"note: --loss {loss} needs two cameras at least, {len(data.cameras)} is known; cc takes its place."
        )
        loss = "cc"

    def batches(epoch: int, first: int) -> Epoch[PictureBatch]:
        if not first:  # an epoch that goes on has the clusters and the memory of its checkpoint
            features = tower.embeddings(cache)
            found = cluster(features[:n].cpu().numpy(), config.clustering, device=str(machine.device))
            told = summary(found.labels, partition.labels[:n].cpu().numpy() if epoch > 1 else None)
            progress.say(f"epoch {epoch}: {told}; eps {found.eps:.3g}")
            _expect_clusters(epoch, told, found.eps)  # before the log, so that the folder of a wrong eps stays free
            # at step 1: a run that goes on from step 0 clusters again
            logged = {"eps": found.eps} | dataclasses.asdict(told)
            run.log({"stage": "train", "epoch": epoch, "step": 1, "clusters": logged})
            known = () if source is None else (source.labels + told.n_clusters,)
            labels = torch.from_numpy(np.concatenate([found.labels, *known]))
            partition.rebuild(epoch, features, labels, None if loss == "cc" else torch.from_numpy(cameras))
        return pictures.epoch(_plan(partition, cameras, n, loss, config, epoch), epoch, first)

    def step(batch: PictureBatch) -> dict[str, Tensor]:
        features = torch.cat(tower.necked(tower.taps(batch)), dim=1)
        own, memory = partition.own[batch.rows.to(partition.own.device)], partition.memory
        given, temperature = (features, own, memory, partition.proxies), config.temperature
        if loss == "cc":
            terms = {"cluster contrast": memory_contrast(features, own, memory, temperature=temperature)}
        elif loss == "cap":
            terms = {"within cameras": intra_camera_contrast(*given, temperature=temperature)}
            if partition.epoch >= config.association_epoch:
                across = offline_association(*given, temperature=temperature)
                terms["across cameras"] = config.association_weight * across
        else:
            terms = {"offline": offline_association(*given, temperature=temperature)}
            terms["online"] = online_association(*given, temperature=temperature)
        hardest = config.memory_update == "hardest"
        update_memory(memory, features, own, momentum=config.memory_momentum, hardest=hardest)
        return terms

    stage = Stage(
        name="train",
        epochs=config.descent.epochs,
        batches=batches,
        step=step,
        rate=config.descent.rate_in,
        optimizer=config.descent.optimizer_of(tower.named_parameters()),
        modules={"tower": tower, "partition": partition},
        records=records,
        towers=(tower.whole,),
        validate=partial(validation_scores, encoder, data.validation, cache),
    )
    fit(stage, run, engine, machine, progress)
    return encoder.eval()


def _plan(
    partition: Partition, cameras: NDArray[np.int64], n: int, loss: str, config: Config, epoch: int
) -> list[NDArray[np.int64]]:
    """The rows of each batch of the epoch: of the n unlabelled pictures, or of them and half a batch of a source's.

    Where few pictures are clustered, their part is smaller than asked for: as large as one pass of the sampler.
    """
    own = partition.own.cpu().numpy()
    wanted = config.batch_size if len(own) == n else config.batch_size // 2
    seeded = {"seed": config.engine.seed, "epoch": epoch, "n_batches": config.n_batches, "n_images": config.n_images}
    counts = np.bincount(own[:n][own[:n] >= 0])
    if config.sampler == "camera-diverse" or (config.sampler == "auto" and loss == "cc"):
        size = min(wanted, int(np.where(counts > 1, config.n_images, 1).sum()))
        plan = camera_diverse_batches(own[:n], cameras[:n], batch_size=size, **seeded)
    else:
        size = min(wanted, len(counts) * config.n_images)
        plan = class_uniform_batches(own[:n], batch_size=size, **seeded)
    if len(own) == n:
        return plan
    known = partition.labels[n:].cpu().numpy()
    p = min(wanted // config.n_images, len(np.unique(known)))
    return [
        np.concatenate([rows, n + more])
        for rows, more in zip(plan, identity_batches(known, n_identities=p, **seeded), strict=True)
    ]


def _expect_clusters(epoch: int, told: Summary, eps: float) -> None:
    """Raises DataError where fewer than two clusters are left, between which nothing can be told apart."""
    if told.n_clusters >= 2:
        return
    if told.share_used > 0.5:
        advice = "everything is alike: lower --eps or --k1"
    else:
        advice = "too few have enough neighbours: raise --eps or lower --min-samples"
    raise DataError(
        f"epoch {epoch}: {told} at eps {eps:.3g}. With fewer than two there is nothing to tell apart; {advice}, or "
        "start from weights that know such pictures better."
    )


def _cameras(records: Sequence[Record], source: Sequence[Record]) -> NDArray[np.int64]:
    """A number for each picture's camera; those of the source are others. All unknown ones of a set count as one."""
    numbers: list[int] = []
    for part in (records, source):
        order = relabel(record.camera for record in part)
        first = max(numbers, default=-1) + 1
        numbers += [first + (len(order) if record.camera is None else order[record.camera]) for record in part]
    return np.array(numbers, dtype=np.int64)


def _open_source(path: Path, run: Run, *, writes: bool) -> TrainSet:
    """The labelled set. Raises DataError without two identities, CheckpointError when a run began with another."""
    source, note = train_set(read(path)), run.folder / "source.json"
    if len(source.identities) < 2:
        raise DataError(f"--source {path}: has {len(source.identities)} train identity; at least 2 are needed.")
    known = {"source": str(path.absolute()), "fingerprint": source.fingerprint}
    if not run.entries() or not note.is_file():  # without entries nothing is trained yet, so that any source will do
        if writes:
            write_json(note, known)
    elif json.loads(note.read_text(encoding="utf-8"))["fingerprint"] != source.fingerprint:
        raise CheckpointError(f"--source {path}: its records are not those that the run began with. Begin a new run.")
    return source
