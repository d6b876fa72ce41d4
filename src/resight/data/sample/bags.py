"""What a figure carries."""

from __future__ import annotations

import math
from collections.abc import Callable

from resight.data.sample.canvas import Canvas, mixed
from resight.data.sample.figure import Figure
from resight.data.sample.people import rgb

_BLACK = (0, 0, 0)


def bag_steps(figure: Figure) -> list[tuple[float, Callable[[Figure, Canvas], None]]]:
    """The parts of a bag that hangs on the body, each with how near to the camera it is, in body heights."""
    if figure.person.bag == "backpack":
        return [(-0.5 if figure.facing > 0.25 else 0.11, _backpack), (0.005, _backpack_straps)]
    if figure.person.bag == "shoulder bag":
        return [(0.01, _strap), (-0.13 * figure.person.bag_side * figure.rightward, _shoulder_bag)]
    return []


def paint_handbag(figure: Figure, canvas: Canvas, hand: complex) -> None:
    unit, half, fill = figure.unit, figure.across(0.034, 0.068), rgb(figure.person, "bag_colour")
    top, bottom = hand + 0.055j * unit, hand + 0.140j * unit
    handle = [top - 0.6 * half, hand + 0.004j * unit, top + 0.6 * half]
    canvas.line(handle, 0.012 * unit, mixed(fill, _BLACK, 0.3))
    canvas.ribbon([top, bottom], [0.85 * half, half], fill, ends="flat")
    canvas.crease([top - half, top + half], 0.012 * unit, 1.3)


def _backpack(figure: Figure, canvas: Canvas) -> None:
    wide, unit = figure.wide**0.5, figure.unit
    levels = ((0.815, 0.060, 0.030), (0.79, 0.084, 0.048), (0.66, 0.092, 0.062), (0.57, 0.088, 0.060))
    spine = [figure.at(0, y, -0.068 * figure.wide - b) for y, _, b in levels]
    canvas.ribbon(spine, [figure.across(a * wide, b) for _, a, b in levels], rgb(figure.person, "bag_colour"))
    if figure.facing < -0.2:
        pocket = ((-0.062, 0.67), (0.062, 0.67), (0.062, 0.585), (-0.062, 0.585), (-0.062, 0.67))
        canvas.crease([figure.at(x * wide, y, -0.18) for x, y in pocket], 0.012 * unit, 0.55)
        canvas.crease([figure.at(x * wide, 0.765, -0.16) for x in (-0.06, 0.06)], 0.010 * unit, 1.5)


def _backpack_straps(figure: Figure, canvas: Canvas) -> None:
    fill = mixed(rgb(figure.person, "bag_colour"), _BLACK, 0.15)
    for sign in (-1, 1):
        if figure.facing > 0.2 or sign * figure.rightward < -0.3:
            line = [(sign * angle, y) for angle, y in ((0.62, 0.835), (0.52, 0.77), (0.75, 0.69), (1.4, 0.62))]
            canvas.line(figure.torso_line(line, over=1.06), 0.027 * figure.unit, fill)


def _strap(figure: Figure, canvas: Canvas) -> None:
    """From the shoulder opposite to the bag across the chest, or across the back."""
    side = figure.person.bag_side
    middle, sweep = (0.0, side) if figure.facing > 0 else (math.pi, -side)
    line = [(middle + sweep * angle, y) for angle, y in ((-0.75, 0.83), (-0.2, 0.74), (0.5, 0.63), (1.1, 0.55))]
    fill = mixed(rgb(figure.person, "bag_colour"), _BLACK, 0.2)
    canvas.line(figure.torso_line(line, over=1.04), 0.02 * figure.unit, fill)


def _shoulder_bag(figure: Figure, canvas: Canvas) -> None:
    half, x = figure.across(0.036, 0.085), figure.person.bag_side * 0.125 * figure.wide
    top, bottom = figure.at(x, 0.555, 0.0), figure.at(x, 0.445, 0.0)
    canvas.ribbon([top, bottom], [half, 1.04 * half], rgb(figure.person, "bag_colour"), ends="flat")
    flap = top + 0.045j * figure.unit
    canvas.crease([flap - half, flap + half], 0.012 * figure.unit, 0.6)
