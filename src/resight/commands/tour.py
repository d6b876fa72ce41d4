"""`resight demo` and `resight doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resight.commands.arguments import print_json


@dataclass(frozen=True, slots=True)
class DemoCommand:
    """Draw made-up people, fine-tune by CLIP-ReID, evaluate before and after, and make a gallery: minutes on a CPU.

    It may be interrupted: the same command goes on where it was.
    """

    out: Path = Path("demo-output")
    """Folder to leave the pictures, the run and the report in; new, empty, or an interrupted tour's."""
    identities: int = 200
    """How many people to draw; half of them are for training."""
    epochs: int = 12
    """Epochs of fine-tuning."""
    init: str = "resight-mini-rn"
    """What to start from: anything `resight train` takes, such as resight-mini."""
    device: str = "auto"
    """auto, cpu, or a PyTorch device."""
    seed: int = 0
    """Of the drawn people, of random weights and of the intervals."""


def demo(arguments: DemoCommand) -> int:
    from rich.console import Console

    from resight.demo import demo as tour

    tour(
        arguments.out,
        n_identities=arguments.identities,
        seed=arguments.seed,
        epochs=arguments.epochs,
        init=arguments.init,
        device=arguments.device,
        console=Console(),
    )
    return 0


@dataclass(frozen=True, slots=True)
class DoctorCommand:
    """Describe this machine and installation; paste the output into a bug report.

    The exit status is 1 when a library that resight needs is missing.
    """

    json: bool = False
    """Print as JSON."""


def doctor(arguments: DoctorCommand) -> int:
    from resight.environment import describe

    found = describe()
    if arguments.json:
        print_json(found)
    else:
        for name, value in found.items():
            print(f"{name.replace('_', ' ')}: {_plain(value)}")
    missing = [name for name, version in found["libraries"].items() if version is None]
    return 1 if missing else 0


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "not installed" if value is None else str(value)
