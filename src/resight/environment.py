"""The machine and the installed libraries: what runs where, and what a bug report needs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from resight.errors import ConfigError

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bf16", "fp16"]

CORE = (
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "pillow",
    "matplotlib",
    "pyarrow",
    "safetensors",
    "huggingface_hub",
    "tokenizers",
    "ftfy",
    "tyro",
    "rich",
)
EXTRAS = {
    "serve": ("fastapi", "uvicorn", "python-multipart", "prometheus-client"),
    "milvus": ("pymilvus",),
    "export": ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf"),
    "track": ("tensorboard",),
}


def choose_device(name: str = "auto") -> torch.device:
    """The device to compute on; "auto" is the GPU where PyTorch sees one, else the processor.

    Raises ConfigError when the named device does not exist here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"--device {name}: not usable here ({str(error).splitlines()[0]}). "
            "Use auto, cpu, or what `resight doctor` lists."
        ) from error
    return device


@contextmanager
def autocast(device: torch.device, precision: Precision) -> Iterator[None]:
    """A context in which matrix products run in `precision`; sums, norms and losses stay float32.

    float32 means it: PyTorch lets convolutions on a GPU round to TF32 unless told otherwise.
    """
    import torch

    dtype = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    with (
        torch.autocast(device.type, dtype=dtype, enabled=precision != "float32"),
        exact(device) if precision == "float32" else nullcontext(),
    ):
        yield


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """A context in which float32 means it, backward passes included."""
    import torch

    with nullcontext() if device.type == "cpu" else torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@contextmanager
def tiny_as_zero(device: torch.device) -> Iterator[None]:
    """A context in which a processor takes numbers below 1e-38 for 0, as the squares that Adam keeps of small gradients
    are: it crawls through them else.

    This holds for the calling thread, and for threads begun in the context as long as they live. So enter it before
    anything is computed: PyTorch's own threads, once begun, keep what they began with.
    """
    import torch

    already = bool((torch.full((1,), 1e-38) * 1e-3 == 0).item())
    if device.type != "cpu" or already:
        yield
        return
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def keep_freed_memory() -> bool:
    """Has this process keep the memory that it frees, for as long as it lives; whether the C library can do that.

    glibc gives large blocks back at once, and the system clears every page of the next one: on a processor that took a
    third of a training step's time.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library, or Windows
        return False
    trim_threshold, mmap_threshold, mmap_max, largest = -1, -3, -4, 2**31 - 1  # names and numbers of glibc's malloc.h
    # before 2.35 the threshold has a limit, and no mapped blocks at all do the same
    in_heap = mallopt(mmap_threshold, largest) or mallopt(mmap_max, 0)
    return bool(in_heap and mallopt(trim_threshold, largest))


def best_precision(device: torch.device) -> Precision:
    """What towers train in fastest here: bf16 where the hardware multiplies in it, fp16 on older GPUs, else float32."""
    import torch

    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    return "bf16" if device.type == "cpu" and "amx_bf16" in _bf16_flags() else "float32"


def peak_memory_gib(device: torch.device) -> float:
    """The most memory this process had on the device so far; of a processor, its resident memory."""
    import resource
    import sys

    import torch

    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, but bytes on a Mac
    return float(peak) / (2**30 if sys.platform == "darwin" else 2**20)


def precision_note(device: torch.device, precision: Precision) -> str | None:
    """What to tell a user who asked for a precision that this device only imitates; None when it is its own."""
    if precision == "float32" or device.type != "cpu" or (precision == "bf16" and _bf16_flags()):
        return None
    return f"this processor has no {precision} instructions, so --precision {precision} will be slower than float32"


def default_cache() -> Path:
    """The folder that RESIGHT_CACHE names, else `resight` in the user's cache folder (XDG_CACHE_HOME or ~/.cache)."""
    if named := os.environ.get("RESIGHT_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "resight"


def describe() -> dict[str, Any]:
    """Versions, processor, memory, accelerators, folders and installed extras, as plain JSON values.

    Works without any of the libraries, so that it can tell what is missing.
    """
    from resight import __version__

    return {
        "resight": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": _memory(),
        "bf16_in_hardware": _bf16_flags(),
        **_torch(),
        "libraries": {name: _version(name) for name in CORE},
        "extras": {extra: {name: _version(name) for name in names} for extra, names in EXTRAS.items()},
        "free_disk_gib": round(shutil.disk_usage(Path.home()).free / 2**30, 1),
        "picture_cache": str(default_cache()),
    }


def _torch() -> dict[str, Any]:
    """What PyTorch sees; nothing where it cannot be imported."""
    try:
        import torch
    except ImportError:
        return {"threads": None, "accelerators": []}
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {"threads": torch.get_num_threads(), "accelerators": names}


def _memory() -> float | None:
    """GiB of main memory; None where the system does not tell, as Windows."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpuinfo(field: str) -> str:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return ""
    lines = (line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    return next((value.strip() for name, value in lines if name.strip() == field), "")


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _bf16_flags() -> list[str]:
    """Which of the processor's instruction sets multiply in bfloat16; empty when none, or not known."""
    return sorted({"amx_bf16", "avx512_bf16"} & set(_cpuinfo("flags").split()))
