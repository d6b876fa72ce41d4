"""Where published CLIP weights are: aliases, repositories of the Hugging Face hub, files."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from resight.clip.pushed import repository_of
from resight.clip.transformer import Activation
from resight.errors import CheckpointError

# A repository's settings file, and the weights it describes, the preferred one first: OpenCLIP's, then transformers'.
LAYOUTS = {
    "open_clip_config.json": ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    "config.json": ("model.safetensors", "pytorch_model.bin"),
}


# Our own small CLIPs, in this package: a vision transformer and a ResNet (docs/weights.md).
OWN = {"resight-mini": "vit", "resight-mini-rn": "resnet"}


@dataclass(frozen=True, slots=True)
class Alias:
    """A published CLIP. repository: owner/name on the hub; licence: of the weights, as their makers state it."""

    name: str
    repository: str
    activation: Activation
    licence: str


@dataclass(frozen=True, slots=True)
class Found:
    """Files of one source. settings: the JSON that describes the weights; None when there is none."""

    weights: Path
    settings: Path | None
    licence: str
    activation: Activation | None


# family: (activation, licence, {architecture: repository}); as OpenCLIP's table and the repositories' cards state them
_FAMILIES: dict[str, tuple[Activation, str, dict[str, str]]] = {
    "openai": (
        "quick_gelu",
        "MIT",
        {
            "ViT-B-32": "timm/vit_base_patch32_clip_224.openai",
            "ViT-B-16": "timm/vit_base_patch16_clip_224.openai",
            "ViT-L-14": "timm/vit_large_patch14_clip_224.openai",
            "ViT-L-14-336": "timm/vit_large_patch14_clip_336.openai",
            "RN50": "timm/resnet50_clip.openai",
            "RN101": "timm/resnet101_clip.openai",
            "RN50x4": "timm/resnet50x4_clip.openai",
            "RN50x16": "timm/resnet50x16_clip.openai",
            "RN50x64": "timm/resnet50x64_clip.openai",
        },
    ),
    "laion": (
        "gelu",
        "MIT",
        {
            "ViT-B-32": "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
            "ViT-B-16": "laion/CLIP-ViT-B-16-laion2B-s34B-b88K",
            "ViT-L-14": "laion/CLIP-ViT-L-14-laion2B-s32B-b82K",
            "ViT-H-14": "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        },
    ),
    "datacomp": (
        "gelu",
        "MIT",
        {
            "ViT-B-32": "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
            "ViT-B-32-256": "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",
            "ViT-B-16": "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K",
            "ViT-L-14": "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
        },
    ),
    "metaclip": (
        "quick_gelu",
        "CC-BY-NC-4.0 (not for commercial use)",
        {
            "ViT-B-32": "timm/vit_base_patch32_clip_224.metaclip_2pt5b",
            "ViT-B-16": "timm/vit_base_patch16_clip_224.metaclip_2pt5b",
            "ViT-L-14": "timm/vit_large_patch14_clip_224.metaclip_2pt5b",
            "ViT-H-14": "timm/vit_huge_patch14_clip_224.metaclip_2pt5b",
        },
    ),
    "dfn": (
        "quick_gelu",
        "Apple AMLR (research only)",
        {
            "ViT-B-16": "apple/DFN2B-CLIP-ViT-B-16",
            "ViT-L-14": "apple/DFN2B-CLIP-ViT-L-14",
            "ViT-H-14": "apple/DFN5B-CLIP-ViT-H-14",
        },
    ),
}


def aliases() -> tuple[Alias, ...]:
    """The published CLIPs that have a short name, such as openai:ViT-B-16."""
    return tuple(
        Alias(f"{family}:{architecture}", repository, activation, licence)
        for family, (activation, licence, repositories) in _FAMILIES.items()
        for architecture, repository in repositories.items()
    )


def find(source: str) -> Found:
    """The files of resight-mini, an alias, hf-hub:owner/name, or a path; what the hub's cache lacks is downloaded.

    Raises CheckpointError when there is no such source, or the hub cannot be reached.
    """
    if source in OWN:
        folder = Path(__file__).parent / "mini" / OWN[source]
        weights, settings = (folder / name for name in _files("open_clip_config.json")[::-1])
        return Found(weights, settings, "Apache-2.0", None)
    alias = next((alias for alias in aliases() if alias.name == source), None)
    if alias is not None:
        weights, settings = _fetch(source, alias.repository)
        return Found(weights, settings, alias.licence, alias.activation)
    if source.startswith("hf-hub:"):
        repository = repository_of(source)
        weights, settings = _fetch(source, repository)
        return Found(weights, settings, f"see https://huggingface.co/{repository}", None)
    return _find_file(source)


def _find_file(source: str) -> Found:
    path = Path(source).expanduser()
    if (path / "encoder" / "encoder.json").is_file():
        raise CheckpointError(f"{source}: the folder of a run. Name {path / 'encoder'}, what it trained.")
    if path.is_dir():
        raise CheckpointError(
            f"{source}: a folder, and no encoder's. Name the checkpoint file in it (.safetensors, .pt, .pth, .bin)."
        )
    if not path.is_file():
        names = [*OWN, *(alias.name for alias in aliases())]
        close = difflib.get_close_matches(source, names, n=3, cutoff=0.5)
        guess = f" Did you mean {' or '.join(close)}?" if close else ""
        raise CheckpointError(
            f"{source}: neither a file nor a known name.{guess} Give a checkpoint file, hf-hub:owner/name, "
            f"random:WIDTHxDEPTH[/PATCH], or one of {', '.join(names)}."
        )
    # The same names as in a repository: a user without network copies both files into one folder.
    beside = (path.with_name(settings) for settings, weights in LAYOUTS.items() if path.name in weights)
    return Found(path, next((settings for settings in beside if settings.is_file()), None), "unknown", None)


def _fetch(source: str, repository: str) -> tuple[Path, Path]:
    """Weights and settings of a repository, from the cache or the hub."""
    for settings_name, weights_names in LAYOUTS.items():
        settings = _download(source, repository, settings_name)
        if settings is None:
            continue
        for name in weights_names:
            weights = _download(source, repository, name)
            if weights is not None:
                return weights, settings
    raise CheckpointError(
        f"{source}: the repository holds neither OpenCLIP's files ({', '.join(_files('open_clip_config.json'))}) nor "
        f"transformers' ({', '.join(_files('config.json'))}), so it is not a CLIP that can be read. Choose another."
    )


def _download(source: str, repository: str, name: str) -> Path | None:
    """A file of a repository; None when the repository has no such file."""
    # Imported here: half a second that a local file need not wait for.
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(hf_hub_download(repository, name))
    except LocalEntryNotFoundError as error:
        # Offline, the cache still remembers what the hub once said does not exist.
        if try_to_load_from_cache(repository, name) is _CACHED_NO_EXIST:
            return None
        raise _unreachable(source, repository, name, error) from error
    except EntryNotFoundError:
        return None
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{source}: the hub shows no repository {repository}. Check the name; one that is private, or has terms to "
            f"accept, needs `hf auth login` or HF_TOKEN."
        ) from error
    except Exception as error:  # which HTTP library raises, and what, differs between the hub's versions
        raise _unreachable(source, repository, name, error) from error


def _unreachable(source: str, repository: str, name: str, error: Exception) -> CheckpointError:
    reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    settings_name = next(settings for settings, weights in LAYOUTS.items() if name in (settings, *weights))
    weights_name = LAYOUTS[settings_name][0]
    url = f"https://huggingface.co/{repository}/resolve/main"
    return CheckpointError(
        f"{source}: {name} is not in the cache and cannot be fetched ({reason}). Where there is a network, fetch "
        f"{url}/{settings_name} and {url}/{weights_name}; put both into one folder here, and give the path of "
        f"{weights_name} instead of {source}."
    )


def _files(settings_name: str) -> tuple[str, ...]:
    return settings_name, LAYOUTS[settings_name][0]
