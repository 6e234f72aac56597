"""Named drawings ("a snowman"): parts in drawing order, with a few choices each.

Parts that end a drawing are small and come after the large ones, so that they lean on them (see `layout`).
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

from interleave_rt.worlds.shapes.scene import COLOURS, POSITIONS, Thing, Transition

from .grammar import natural

_COLUMN = {"top": 1, "center": 4, "bottom": 7}
Step = tuple[str, str, Transition]


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

    def steps(
        self, ground: str, values: dict[str, str], *, column: int = 1, onto: Transition | None = None
    ) -> list[Step] | None:
        """(part name, prompt, transition) of every step; None where a part could not be seen or has no place.

        A drawing of one column can be moved to column 0 or 2, and be put beside what the step `onto` has left.
        """
        found: list[Step] = []
        background = COLOURS.index(ground)
        last = onto
        for part in self.parts:
            thing = Thing.named(part.thing.format(**values))
            cell = POSITIONS.index(part.place) + column - 1
            if thing.colour == background or (last is not None and last.after.cells[cell] is not None):
                return None
            if last is not None:
                step = Transition.add(last.after, thing, cell)
                prompt = natural(step, last.cell if found else None)
            else:
                step = Transition.draw(background, thing, cell)
                prompt = natural(step)
            found.append((part.name, prompt, step))
            last = step
        return found


def fits_a_column(composite: Composite) -> bool:
    """Whether all parts stand above each other, so that the drawing can be moved sideways."""
    return all(part.place in _COLUMN for part in composite.parts)


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
        "body|large white circle|bottom; head|large white circle|center; hat|small {hat} square|top",
        hat="black red blue yellow green orange brown",
    ),
    _composite(
        "traffic light",
        "white black blue brown orange",
        "red light|large red circle|top; "
        "yellow light|large yellow circle|center; "
        "green light|large green circle|bottom",
    ),
    _composite(
        "tree",
        "blue white yellow orange black",
        "crown|large {crown} triangle|center; trunk|small brown square|bottom",
        crown="green orange red yellow",
    ),
    _composite(
        "christmas tree",
        "white blue black red",
        "tree|large green triangle|center; "
        "trunk|small brown square|bottom; "
        "star|small {star} star|top; "
        "left ball|small {balls} circle|left; "
        "right ball|small {balls} circle|right",
        star="yellow orange",
        balls="red blue white orange",
    ),
    _composite(
        "flower",
        "white blue black green",
        "heart|large {heart} circle|center; "
        "top petal|small {petals} circle|top; "
        "left petal|small {petals} circle|left; "
        "right petal|small {petals} circle|right; "
        "stem|small {stem} diamond|bottom",
        petals="red blue orange white",
        heart="yellow brown",
        stem="green black",
    ),
    _composite(
        "face",
        "yellow white orange brown green",
        "nose|small {nose} triangle|center; "
        "left eye|large {eyes} circle|top left; "
        "right eye|large {eyes} circle|top right; "
        "mouth|large red bowl|bottom",
        eyes="black blue green brown",
        nose="orange red black white",
    ),
    _composite(
        "flag",
        "blue green white black red",
        "cloth|large striped {cloth} square|center; "
        "pole|small brown square|bottom; "
        "tip|small {tip} circle|top",
        cloth="red white blue yellow green",
        tip="yellow orange black",
    ),
    _composite(
        "house",
        "blue white yellow black green",
        "wall|large {wall} square|bottom; "
        "roof|large {roof} triangle|center; "
        "sun|small {sun} circle|top right",
        wall="red white orange yellow",
        roof="brown black red blue",
        sun="yellow orange",
    ),
    _composite(
        "landscape",
        "blue white orange black",
        "hill|large {hills} triangle|bottom; "
        "left hill|small {hills} triangle|bottom left; "
        "right hill|small {hills} triangle|bottom right; "
        "sun|large {sun} circle|top",
        hills="green brown white",
        sun="yellow orange red",
    ),
    _composite(
        "boat",
        "blue white black green",
        "hull|large {hull} bowl|bottom; "
        "sail|large {sail} triangle|center; "
        "pennant|small {pennant} diamond|top",
        hull="brown red black orange",
        sail="white yellow red",
        pennant="red yellow",
    ),
    _composite(
        "lollipop",
        "white blue yellow black green",
        "candy|large striped {candy} circle|center; stick|small {stick} square|bottom",
        candy="red orange green blue yellow brown",
        stick="brown white black",
    ),
    _composite(
        "candle",
        "black blue brown green red",
        "wax|large {wax} square|bottom; flame|large {flame} diamond|center; spark|small {spark} star|top",
        wax="white red yellow blue",
        flame="orange yellow",
        spark="yellow white",
    ),
    _composite(
        "mushroom",
        "green blue white yellow black",
        "cap|large dotted {cap} triangle|center; stalk|small {stalk} square|bottom",
        cap="red brown orange white",
        stalk="white yellow brown",
    ),
    _composite(
        "robot",
        "white yellow orange green black",
        "body|large {body} square|center; "
        "head|small {body} square|top; "
        "left arm|small {arms} circle|left; "
        "right arm|small {arms} circle|right; "
        "wheel|large {wheel} ring|bottom",
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
        "cup|large {cup} bowl|bottom; scoop|large {scoop} circle|center; cherry|small red circle|top",
        cup="brown white yellow",
        scoop="white brown yellow orange",
    ),
    _composite(
        "gift",
        "white blue green black yellow",
        "box|large {paper} {box} square|center; bow|small {bow} star|top",
        box="red blue green orange white",
        bow="yellow red white blue",
        paper="striped dotted",
    ),
    _composite(
        "butterfly",
        "green white blue yellow",
        "left wing|large dotted {wings} heart|left; "
        "right wing|large dotted {wings} heart|right; "
        "body|large {body} diamond|center",
        wings="orange red blue yellow white",
        body="black brown",
    ),
    _composite(
        "fish",
        "blue green white black",
        "body|large {body} diamond|center; "
        "tail|small {body} triangle|right; "
        "bubble|small {bubble} ring|top left",
        body="orange red yellow",
        bubble="white black",
    ),
    _composite(
        "night sky",
        "black blue",
        "moon|large {moon} ring|top right; "
        "first star|small {stars} star|top left; "
        "second star|large {stars} star|center; "
        "third star|small {stars} star|bottom right",
        moon="white yellow orange",
        stars="yellow white orange",
    ),
    _composite(
        "ice cream",
        "blue white green black yellow",
        "cone|large striped {cone} bowl|bottom; "
        "scoop|large {scoop} circle|center; "
        "berry|small {berry} heart|top",
        cone="brown orange",
        scoop="white brown yellow",
        berry="red blue",
    ),
    _composite(
        "balloon",
        "blue white green black",
        "balloon|large {pattern} {balloon} circle|center; basket|small {basket} square|bottom",
        balloon="red yellow orange white",
        basket="brown black",
        pattern="striped dotted",
    ),
    _composite(
        "cat",
        "white blue green yellow",
        "head|large {cat} circle|center; left ear|small {cat} triangle|top; nose|small {nose} heart|bottom",
        cat="black brown orange",
        nose="red black",
    ),
    _composite(
        "car",
        "white blue green yellow",
        "body|large {car} square|center; "
        "left wheel|small black ring|bottom left; "
        "right wheel|small black ring|bottom right",
        car="red orange brown",
    ),
    _composite(
        "lamp",
        "black blue white brown",
        "shade|large {shade} triangle|top; pole|large {pole} diamond|center; foot|small {pole} square|bottom",
        shade="yellow orange red",
        pole="white green brown black",
    ),
    _composite(
        "clown",
        "white yellow blue green",
        "head|large {head} circle|center; "
        "hat|large dotted {hat} triangle|top; "
        "bow|small {bow} diamond|bottom",
        head="orange white yellow",
        hat="red blue green",
        bow="red black blue",
    ),
    _composite(
        "cake",
        "blue green black yellow",
        "base|large {base} square|bottom; "
        "top layer|large dotted {cream} square|center; "
        "candle|small {candle} diamond|top",
        base="brown orange white",
        cream="white red yellow",
        candle="orange red",
    ),
    _composite(
        "drum",
        "white yellow blue green",
        "drum|large striped {drum} square|center; "
        "left stick|small {sticks} diamond|left; "
        "right stick|small {sticks} diamond|right",
        drum="red blue orange",
        sticks="brown black",
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
