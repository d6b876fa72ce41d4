from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from resight.environment import (
    CORE,
    Precision,
    autocast,
    choose_device,
    default_cache,
    describe,
    precision_note,
    tiny_as_zero,
)
from resight.errors import ConfigError


def test_auto_is_the_gpu_where_there_is_one() -> None:
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--device {name}: not usable here") as raised:
        choose_device(name)
    assert "\n" not in str(raised.value)


def test_autocast_lowers_products_only_when_asked() -> None:
    a = torch.randn(4, 4)
    for precision, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        with autocast(torch.device("cpu"), precision):  # type: ignore[arg-type]
            assert (a @ a).dtype == dtype


def test_tiny_numbers_are_zero_inside_and_back_outside() -> None:
    def tiny() -> float:
        return float((torch.full((1,), 1e-38) * 1e-3).item())

    assert tiny() > 0
    for device, inside in (("cpu", True), ("meta", False)):
        with contextlib.suppress(KeyError), tiny_as_zero(torch.device(device)):
            assert (tiny() == 0) == inside
            with tiny_as_zero(torch.device(device)):
                pass
            assert (tiny() == 0) == inside  # an inner context leaves the outer one's
            raise KeyError
        assert tiny() > 0


@pytest.mark.parametrize(
    ("flags", "precision", "slow"),
    [([], "bf16", True), (["amx_bf16"], "bf16", False), (["amx_bf16"], "fp16", True), ([], "float32", False)],
)
def test_a_precision_that_is_imitated_is_told(
    monkeypatch: pytest.MonkeyPatch, flags: list[str], precision: Precision, slow: bool
) -> None:
    monkeypatch.setattr("resight.environment._bf16_flags", lambda: flags)
    note = precision_note(torch.device("cpu"), precision)
    assert (note is not None) == slow
    assert note is None or f"no {precision} instructions" in note
    assert precision_note(torch.device("cuda"), precision) is None


def test_the_description_names_every_library() -> None:
    found = describe()
    assert set(found["libraries"]) == set(CORE)
    assert all(found["libraries"].values())
    assert found["cores"] >= 1
    assert found["memory_gib"] > 0
    assert set(found["extras"]) == {"serve", "milvus", "export", "track"}


def test_default_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RESIGHT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache() == tmp_path / ".cache" / "resight"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg" / "resight"
    monkeypatch.setenv("RESIGHT_CACHE", "~/pixels")
    assert default_cache() == tmp_path / "pixels"


def test_the_description_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr("resight.environment.CORE", ("torch", "no-such-library"))
    found = describe()
    assert found["accelerators"] == []
    assert found["libraries"]["no-such-library"] is None


def test_float32_on_a_gpu_is_not_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    for device, precision, allowed in (("cuda", "float32", False), ("cuda", "bf16", True), ("cpu", "float32", True)):
        with autocast(torch.device(device), precision):  # type: ignore[arg-type]
            assert torch.backends.cudnn.allow_tf32 == allowed
    assert torch.backends.cudnn.allow_tf32


def test_freed_memory_is_kept_where_the_c_library_is_glibc() -> None:
    program = """
import resource, platform, torch
from resight.environment import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.zeros(16_000_000).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = faults()
kept = keep_freed_memory()
faults()
print(platform.libc_ver()[0], kept, usual > 4 * faults())
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    if told[0] == "glibc":
        assert told == ["glibc", "True", "True"]
