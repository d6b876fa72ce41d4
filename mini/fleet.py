"""The vehicles there are: for each kind its solids, its wheels and what it may carry, in metres as in bodies."""

from __future__ import annotations

from typing import Final

import numpy as np
from pen import RGB, scaled
from solids import Paints, Solid, Vehicle

_Outline = tuple[tuple[float, float], ...]

# fmt: off
_CARS: Final[dict[str, tuple[_Outline, tuple[str, ...], float]]] = {
    "sedan": (
        ((2.2, 0.25), (2.3, 0.45), (2.15, 0.78), (1.0, 0.95), (0.3, 1.42), (-0.9, 1.42), (-1.5, 1.0), (-2.2, 0.98),
         (-2.28, 0.55), (-2.2, 0.25)),
        ("bumper", "front", "bonnet", "glass", "roof", "glass", "boot", "rear", "bumper"),
        4.5,
    ),
    "hatchback": (
        ((1.8, 0.25), (1.9, 0.45), (1.75, 0.8), (0.95, 0.98), (0.3, 1.46), (-1.2, 1.44), (-1.7, 1.0), (-1.85, 0.5),
         (-1.75, 0.25)),
        ("bumper", "front", "bonnet", "glass", "roof", "glass", "rear", "bumper"),
        3.7,
    ),
    "estate": (
        ((2.2, 0.25), (2.3, 0.45), (2.15, 0.78), (1.0, 0.95), (0.3, 1.44), (-1.85, 1.42), (-2.2, 1.0), (-2.3, 0.5),
         (-2.2, 0.25)),
        ("bumper", "front", "bonnet", "glass", "roof", "glass", "rear", "bumper"),
        4.5,
    ),
    "suv": (
        ((2.15, 0.35), (2.25, 0.6), (2.15, 1.02), (1.05, 1.15), (0.5, 1.76), (-1.8, 1.74), (-2.1, 1.2), (-2.2, 0.6),
         (-2.1, 0.35)),
        ("bumper", "front", "bonnet", "glass", "roof", "glass", "rear", "bumper"),
        4.4,
    ),
    "pickup": (
        ((2.4, 0.4), (2.5, 0.6), (2.4, 1.05), (1.3, 1.15), (0.8, 1.75), (-0.4, 1.75), (-0.6, 1.1), (-2.5, 1.1),
         (-2.55, 0.6), (-2.5, 0.4)),
        ("bumper", "front", "bonnet", "glass", "roof", "glass", "bed", "rear", "bumper"),
        5.0,
    ),
    "van": (
        ((2.3, 0.3), (2.4, 0.5), (2.3, 1.0), (1.8, 1.2), (1.2, 1.95), (-2.2, 2.0), (-2.35, 0.5), (-2.3, 0.3)),
        ("bumper", "front", "bonnet", "glass", "roof", "rear", "bumper"),
        4.7,
    ),
    "minibus": (
        ((2.3, 0.3), (2.4, 0.5), (2.3, 1.0), (1.9, 1.15), (1.3, 1.95), (-2.2, 1.97), (-2.3, 1.1), (-2.35, 0.5),
         (-2.3, 0.3)),
        ("bumper", "front", "bonnet", "glass", "roof", "glass", "rear", "bumper"),
        4.7,
    ),
    "bus": (
        ((5.4, 0.35), (5.5, 1.1), (5.35, 2.7), (5.1, 2.95), (-5.3, 2.95), (-5.45, 2.2), (-5.4, 0.35)),
        ("front", "glass", "bumper", "roof", "glass", "rear"),
        10.8,
    ),
}
# fmt: on
"""Profile from the front's foot to the rear's, what lies between its corners, and its length."""

_SLIM: Final = {"sedan": 0.74, "hatchback": 0.76, "estate": 0.78, "suv": 0.82, "pickup": 0.82}
"""How wide a roof is, as a share of the belt; 0.93 for the others."""

_MARKS: Final[dict[str, dict[str, float]]] = {
    "sedan": {"taxi sign": 0.08, "stripe": 0.12, "dark roof": 0.1, "bonnet stripes": 0.06, "logo": 0.05},
    "hatchback": {"stripe": 0.12, "dark roof": 0.2, "bonnet stripes": 0.12, "logo": 0.1, "two-tone": 0.05},
    "estate": {"rack": 0.5, "stripe": 0.12, "taxi sign": 0.05, "logo": 0.08},
    "suv": {"rack": 0.5, "two-tone": 0.2, "dark roof": 0.2, "stripe": 0.08},
    "pickup": {"two-tone": 0.25, "stripe": 0.2, "bonnet stripes": 0.1, "logo": 0.1},
    "van": {"lettering": 0.45, "logo": 0.35, "stripe": 0.3, "rack": 0.3, "two-tone": 0.1},
    "minibus": {"stripe": 0.4, "two-tone": 0.3, "lettering": 0.2, "taxi sign": 0.1},
    "lorry": {"lettering": 0.5, "logo": 0.4, "stripe": 0.3},
    "bus": {"stripe": 0.5, "two-tone": 0.5, "lettering": 0.3},
    "motorbike": {"stripe": 0.3},
}
"""What a kind may carry, and how often it does."""


def build(kind: str, paints: Paints, rng: np.random.Generator) -> Vehicle:
    """A vehicle of a kind, of its own proportions and with marks of its own."""
    marks = {mark for mark, share in _MARKS[kind].items() if rng.random() < share}
    long, tall = float(rng.uniform(0.92, 1.1)), float(rng.uniform(0.94, 1.07))
    if kind == "lorry":
        solids, wheels, width = _lorry(paints, marks, long, tall, rng)
    elif kind == "motorbike":
        solids, wheels, width = _motorbike(paints, marks)
    else:
        solids, wheels, width = _car(kind, paints, long, tall, rng)
    return Vehicle(kind, solids, wheels, width, paints, frozenset(marks), int(rng.integers(2**31)))


_Parts = tuple[tuple[Solid, ...], tuple[tuple[float, float], ...], float]


def _car(kind: str, paints: Paints, long: float, tall: float, rng: np.random.Generator) -> _Parts:
    outline, parts, length = _CARS[kind]
    half = 1.2 if kind == "bus" else 0.95 if kind in ("van", "minibus") else 0.88
    belt, top = _belt(outline, parts), max(z for _, z in outline)
    shift = rng.normal(0, 0.03, (len(outline), 2))
    shift[[0, -1], 1] = 0
    profile = []
    for (x, z), (dx, dz) in zip(outline, shift.tolist(), strict=True):
        slim = _SLIM.get(kind, 0.93)
        share = 1 - (1 - slim) * max(0.0, (z - belt) / (top - belt))
        profile.append((x * long + dx, z * tall + dz, half * share))
    radius = float(rng.uniform(0.3, 0.36)) * (1.35 if kind == "bus" else 1.15 if kind in ("suv", "pickup") else 1.0)
    axles = (0.31, -0.27) if kind != "bus" else (0.3, -0.25)
    wheels = tuple((axle * length * long, radius) for axle in axles)
    windows = _windows(kind, profile, parts, rng)
    return (Solid(tuple(profile), parts, paints.body, windows),), wheels, 2 * half


def _belt(outline: _Outline, parts: tuple[str, ...]) -> float:
    """The height where glass begins."""
    panes = [k for k, part in enumerate(parts) if part == "glass"]
    return min(outline[panes[0]][1], outline[panes[0] + 1][1])


def _windows(
    kind: str, profile: list[tuple[float, float, float]], parts: tuple[str, ...], rng: np.random.Generator
) -> tuple[_Outline, ...]:
    """Panes between the windscreen and the rear, cut at the pillars."""
    screen = parts.index("glass")
    roof = parts.index("roof")
    (x0, z0, _), (x1, z1, _) = profile[screen], profile[roof]
    (x3, z3, _) = profile[roof + 1]
    x4 = profile[roof + 2][0] if kind in ("sedan", "hatchback", "pickup") else x3 - 0.05
    if kind == "bus":
        x0, z0, x4 = x1 - 0.05, 0.46 * z1, x3 + 0.1
    low, high = z0 + 0.02, min(z1, z3) - (0.35 if kind == "bus" else 0.12)
    start, end = x0 - 0.25, x4 + (0.3 if kind != "bus" else 0.1)
    if kind == "van":
        end = start - float(rng.uniform(0.9, 1.2))
    n = {
        "bus": int(rng.integers(5, 9)),
        "van": 1,
        "pickup": int(rng.integers(1, 3)),
        "hatchback": int(rng.integers(1, 3)),
    }
    count = n.get(kind, 3 if kind in ("estate", "minibus", "suv") else 2)
    edges = np.linspace(start, end, count + 1).tolist()
    lean = (x0 - x1) * 0.85 if kind != "bus" else 0.0
    back = (x3 - x4) * 0.8 if kind != "van" else 0.0
    panes = []
    for k in range(count):
        left, right = edges[k], edges[k + 1] + 0.07
        upper = (left - (lean if k == 0 else 0), right + (back if k == count - 1 else 0))
        if upper[0] > upper[1] + 0.1:
            panes.append(((left, low), (upper[0], high), (upper[1], high), (right, low)))
    return tuple(panes)


def _lorry(paints: Paints, marks: set[str], long: float, tall: float, rng: np.random.Generator) -> _Parts:
    """A cab, and behind it a box or a tank."""
    top, half = 2.4 * tall, 1.15
    cab = ((3.0, 0.4), (3.1, 1.3), (2.85, top - 0.1), (2.6, top), (1.3, top), (1.3, 0.4))
    x = 2.75
    pane = ((x, 1.35), (x - 0.1, top - 0.45), (x - 0.85, top - 0.45), (x - 0.85, 1.35))
    profile = tuple((x, z, half) for x, z in cab)
    front = Solid(profile, ("front", "glass", "roof", "roof", "back"), paints.body, (pane,), marked=False)
    end, floor = -3.2 * long, 0.75
    box_top = float(rng.uniform(2.5, 3.3))
    if rng.random() < 0.2:
        marks.add("tank")
        box_top, inset = 2.5, 0.4
    else:
        marks.add("cargo")
        inset = 0.0
    load = (
        (1.15, floor),
        (1.15, box_top - inset),
        (1.05 - inset, box_top),
        (end + inset, box_top),
        (end, box_top - inset),
        (end, floor),
    )
    wide = tuple((x, z, half * (1.03 if z < box_top else 1.03 - inset)) for x, z in load)
    back = Solid(wide, ("back", "back", "roof", "back", "rear"), paints.cargo)
    low = ((1.2, 0.5), (1.2, floor), (end, floor), (end, 0.5))
    frame = Solid(tuple((x, z, 0.8) for x, z in low), ("back", "back", "back"), (40, 40, 42), marked=False)
    radius = float(rng.uniform(0.45, 0.52))
    axles = [2.2, end + 0.9, *([end + 2.1] if rng.random() < 0.4 else [])]
    return (front, frame, back), tuple((axle, radius) for axle in axles), 2 * half


def _motorbike(paints: Paints, marks: set[str]) -> _Parts:
    """Wheels as thin solids, the machine between them, and a rider upon it."""
    marks.add("rider")

    def solid(outline: _Outline, half: float, parts: tuple[str, ...], fill: RGB) -> Solid:
        return Solid(tuple((x, z, half) for x, z in outline), parts, fill, marked=fill == paints.body)

    machine = ((0.75, 0.45), (0.8, 0.95), (0.1, 0.9), (-0.75, 0.85), (-0.6, 0.4))
    rider = ((0.25, 0.8), (0.3, 1.25), (0.15, 1.45), (-0.15, 1.45), (-0.35, 0.8))
    head = ((0.32, 1.45), (0.34, 1.65), (0.2, 1.76), (0.02, 1.68), (0.02, 1.45))
    leg = ((0.35, 0.35), (0.3, 0.9), (-0.2, 0.9), (0.1, 0.35))
    solids = (
        solid(((1.05, 0.02), (1.05, 0.6), (0.45, 0.6), (0.45, 0.02)), 0.06, ("back",) * 3, (30, 30, 32)),
        solid(((-0.4, 0.02), (-0.4, 0.6), (-1.0, 0.6), (-1.0, 0.02)), 0.07, ("back",) * 3, (30, 30, 32)),
        solid(machine, 0.18, ("front", "back", "back", "rear"), paints.body),
        solid(leg, 0.22, ("back",) * 3, scaled(paints.rider, 0.7)),
        solid(rider, 0.24, ("back",) * 4, paints.rider),
        solid(head, 0.13, ("glass", "back", "back", "back"), paints.mark),
    )
    return solids, ((0.75, 0.31), (-0.7, 0.31)), 0.2
