"""Named drawings ("a snowman"): parts in drawing order, with a few choices each."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

from .grammar import natural
from .transitions import Transition
from .world import COLOURS, POSITIONS, Thing

__all__ = ["COMPOSITES", "Composite", "Part", "variants"]


@dataclass(frozen=True, slots=True)
class Part:
    """One step of a drawing: its name, the thing (with `{choice}` placeholders) and the place."""

    name: str
    thing: str
    place: str


@dataclass(frozen=True, slots=True)
class Composite:
    """A drawing with a background and choices; the first value of every choice is the default."""

    name: str
    grounds: tuple[str, ...]
    choices: dict[str, tuple[str, ...]]
    parts: tuple[Part, ...]

    def steps(self, ground: str, values: dict[str, str]) -> list[tuple[str, str, Transition]] | None:
        """(part name, prompt, transition) of every step; None where a part could not be seen."""
        found: list[tuple[str, str, Transition]] = []
        background = COLOURS.index(ground)
        for part in self.parts:
            thing = Thing.named(*part.thing.format(**values).split())
            cell = POSITIONS.index(part.place)
            if thing.colour == background:
                return None
            if found:
                step = Transition.add(found[-1][2].after, thing, cell)
                found.append((part.name, natural(step, found[-1][2].cell), step))
            else:
                step = Transition.draw(background, thing, cell)
                found.append((part.name, natural(step), step))
        return found


def _composite(name: str, grounds: str, parts: str, **choices: str) -> Composite:
    rows = [[word.strip() for word in row.split("|")] for row in parts.split(";")]
    return Composite(
        name,
        tuple(grounds.split()),
        {key: tuple(values.split()) for key, values in choices.items()},
        tuple(Part(*row) for row in rows),
    )


_TABLE = (
    _composite(
        "snowman",
        "blue black green red orange brown",
        "body|large white circle|bottom; head|small white circle|center; hat|small {hat} square|top",
        hat="black red blue yellow green orange brown",
    ),
    _composite(
        "traffic light",
        "white black blue brown orange",
        "red light|large red circle|top; yellow light|large yellow circle|center; green light|large green circle|bottom",
    ),
    _composite(
        "tree",
        "blue white yellow orange black",
        "trunk|small brown square|bottom; crown|large {crown} triangle|center",
        crown="green orange red yellow",
    ),
    _composite(
        "christmas tree",
        "white blue black red",
        "trunk|small brown square|bottom; tree|large green triangle|center; star|large {star} star|top; "
        "left ball|small {balls} circle|left; right ball|small {balls} circle|right",
        star="yellow orange",
        balls="red blue white orange",
    ),
    _composite(
        "flower",
        "white blue black green",
        "heart|small {heart} circle|center; top petal|large {petals} circle|top; left petal|large {petals} circle|left; "
        "right petal|large {petals} circle|right; stem|small green diamond|bottom",
        petals="red blue orange white yellow",
        heart="yellow brown black",
    ),
    _composite(
        "face",
        "yellow white orange brown green",
        "nose|small {nose} triangle|center; left eye|small {eyes} circle|top left; "
        "right eye|small {eyes} circle|top right; mouth|large red ring|bottom",
        eyes="black blue green brown",
        nose="orange red black white",
    ),
    _composite(
        "flag",
        "red blue green white black",
        "big star|large {star} star|center; left star|small {star} star|left; right star|small {star} star|right",
        star="yellow white red blue orange",
    ),
    _composite(
        "house",
        "blue white yellow black green",
        "wall|large {wall} square|bottom; roof|large {roof} triangle|center; sun|small yellow circle|top right",
        wall="red white orange yellow",
        roof="brown black red blue",
    ),
    _composite(
        "landscape",
        "blue white orange black",
        "hill|large {hills} triangle|bottom; left hill|small {hills} triangle|bottom left; "
        "right hill|small {hills} triangle|bottom right; sun|large {sun} circle|top",
        hills="green brown white",
        sun="yellow orange red",
    ),
    _composite(
        "lollipop",
        "white blue yellow black green",
        "stick|small {stick} square|bottom; candy|large {candy} circle|center",
        candy="red orange green blue yellow brown",
        stick="brown white black",
    ),
    _composite(
        "candle",
        "black blue brown green red",
        "wax|large {wax} square|bottom; flame|small {flame} diamond|center",
        wax="white red yellow blue green",
        flame="yellow orange red",
    ),
    _composite(
        "mushroom",
        "green blue white yellow black",
        "stalk|small {stalk} square|bottom; cap|large {cap} triangle|center",
        cap="red brown orange white",
        stalk="white yellow brown",
    ),
    _composite(
        "robot",
        "white yellow orange green black",
        "body|large {body} square|center; head|small {body} square|top; left arm|small {arms} circle|left; "
        "right arm|small {arms} circle|right; wheel|large {wheel} ring|bottom",
        body="blue red brown white",
        arms="black red orange blue",
        wheel="black red",
    ),
    _composite(
        "rocket",
        "black blue white",
        "body|large {body} square|center; nose|large {nose} triangle|top; flame|large {flame} diamond|bottom",
        body="white red green blue",
        nose="red yellow blue",
        flame="orange yellow",
    ),
    _composite(
        "sundae",
        "blue white green black",
        "cup|large {cup} square|bottom; scoop|large {scoop} circle|center; cherry|small red circle|top",
        cup="brown white yellow",
        scoop="white brown yellow orange",
    ),
    _composite(
        "gift",
        "white blue green black yellow",
        "box|large {box} square|center; bow|small {bow} star|top",
        box="red blue green orange white",
        bow="yellow red white blue",
    ),
    _composite(
        "butterfly",
        "green white blue yellow",
        "body|small {body} square|center; left wing|large {wings} diamond|left; right wing|large {wings} diamond|right",
        wings="orange red blue yellow white",
        body="black brown",
    ),
    _composite(
        "fish",
        "blue green white black",
        "body|large {body} diamond|center; tail|small {body} triangle|right; bubble|small {bubble} ring|top left",
        body="orange red yellow",
        bubble="white black",
    ),
    _composite(
        "night sky",
        "black blue",
        "moon|large {moon} ring|top right; first star|small {stars} star|top left; "
        "second star|large {stars} star|center; third star|small {stars} star|bottom right",
        moon="white yellow orange",
        stars="yellow white orange",
    ),
)

COMPOSITES = {composite.name: composite for composite in _TABLE}
"""By name. "a snowman" and the like are made of these."""


@functools.cache
def variants(name: str) -> tuple[tuple[str, dict[str, str]], ...]:
    """Every (background, choices) of a composite that can be drawn; the defaults come first."""
    composite = COMPOSITES[name]
    found = []
    for ground in composite.grounds:
        for values in itertools.product(*composite.choices.values()):
            chosen = dict(zip(composite.choices, values, strict=True))
            if composite.steps(ground, chosen) is not None:
                found.append((ground, chosen))
    return tuple(found)
