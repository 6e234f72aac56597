"""The language of prompts: full wordings in three styles, wordings that need the picture, and their meaning.

Explicit prompts name a thing in full and where it stands; grounded ones need the picture ("add a small blue star
left of the large red circle", "make the square blue"). `parse` gives every prompt of the language its meaning.
"""

from __future__ import annotations

import random
import re

from interleave_rt.worlds.shapes.scene import COLOURS, PATTERNS, SHAPES, SIZES, Scene, Thing, Transition

from .places import CELL_OF, STYLES, at, come_from, go_to

RELATIONS = {"above": (-1, 0), "below": (1, 0), "left of": (0, -1), "right of": (0, 1)}
"""Where the new thing stands, seen from the thing that is named: (rows down, columns right)."""


def _any(words: tuple[str, ...]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_PLACE = f"(?:the )?({_any(tuple(CELL_OF))})"
_KIND = rf"(?:({_any(PATTERNS[1:])}) )?"
_THING = rf"an? ({_any(SIZES)}) {_KIND}({_any(COLOURS)}) ({_any(SHAPES)})"
_REFERENCE = (
    rf"the (?:({_any(SIZES)}) )?{_KIND}(?:({_any(COLOURS)}) )?({_any(SHAPES)})(?: (?:at|in) {_PLACE})?"
)
_RELATION = rf"({_any(tuple(RELATIONS))}) {_REFERENCE}"
_DRAW = re.compile(rf"draw {_THING} (?:at|in) {_PLACE} on an? ({_any(COLOURS)}) background")
_ADD = re.compile(rf"add {_THING} (?:(?:at|in) {_PLACE}|{_RELATION})")
_REMOVE = re.compile(rf"remove {_REFERENCE}")
_RECOLOUR = re.compile(rf"make {_REFERENCE} ({_any(COLOURS)})")
_REPLACE = re.compile(rf"replace {_REFERENCE} with {_THING}")
_GROUND = re.compile(rf"make the background ({_any(COLOURS)})")
_MOVE = re.compile(rf"move {_REFERENCE}(?: from {_PLACE})? (?:to {_PLACE}|{_RELATION})")


def article(words: str) -> str:
    """The words with their indefinite article."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def neighbour(cell: int, relation: str) -> int | None:
    """The cell that lies `relation` the given one, or None outside the grid."""
    down, right = RELATIONS[relation]
    row, column = cell // 3 + down, cell % 3 + right
    return row * 3 + column if 0 <= row < 3 and 0 <= column < 3 else None


def _fits(thing: Thing, size: str | None, pattern: str | None, colour: str | None, shape: str) -> bool:
    return (
        SHAPES[thing.shape] == shape
        and (size is None or SIZES[thing.size] == size)
        and (pattern is None or PATTERNS[thing.pattern] == pattern)
        and (colour is None or COLOURS[thing.colour] == colour)
    )


def descriptions(scene: Scene, cell: int) -> list[str]:
    """Wordings without a place that fit this thing and no other of the scene, shortest first; the last may be full."""
    thing = scene.at(cell)
    size, colour, shape = SIZES[thing.size], COLOURS[thing.colour], SHAPES[thing.shape]
    pattern = PATTERNS[thing.pattern] if thing.pattern else None
    tries: tuple[tuple[str | None, str | None, str | None], ...] = (
        (None, None, None),
        (None, None, colour),
        (None, pattern, None),
        (size, None, None),
        (size, pattern, colour),
    )
    found = {
        " ".join([word for word in (a, b, c) if word] + [shape]): None
        for a, b, c in tries
        if sum(_fits(scene.at(i), a, b, c, shape) for i in scene.occupied) == 1
    }
    return list(found)


def relations(scene: Scene, place: int, *, without: int | None = None) -> list[tuple[str, int]]:
    """Pairs of a relation and an anchor cell that together name the cell `place`."""
    found = []
    for relation in RELATIONS:
        found += [
            (relation, anchor)
            for anchor in scene.occupied
            if anchor != without and neighbour(anchor, relation) == place
        ]
    return found


def explicit(transition: Transition, style: int = 0) -> str:
    """The wording that names everything in full, with places named in one of the `STYLES`."""
    cell = transition.cell
    place = at(cell, style)
    if transition.operation == "draw":
        ground = article(f"{COLOURS[transition.after.background]} background")
        return f"draw {article(transition.after.at(cell).name)} {place} on {ground}"
    if transition.operation == "add":
        return f"add {article(transition.after.at(cell).name)} {place}"
    assert transition.before is not None
    if transition.operation == "ground":
        return f"make the background {COLOURS[transition.after.background]}"
    name = transition.before.at(cell).name
    if transition.operation == "remove":
        return f"remove the {name} {place}"
    if transition.operation == "recolour":
        return f"make the {name} {place} {COLOURS[transition.after.at(cell).colour]}"
    if transition.operation == "replace":
        return f"replace the {name} {place} with {article(transition.after.at(cell).name)}"
    assert transition.to is not None
    return f"move the {name} {come_from(cell, style)} {go_to(transition.to, style)}"


def style_of(transition: Transition, prompt: str) -> int | None:
    """The style in which `prompt` is the explicit wording of this step, or None where it is another wording."""
    return next((style for style in range(len(STYLES)) if explicit(transition, style) == prompt), None)


def grounded_options(transition: Transition, *, shortest: bool = False) -> list[str]:
    """Every wording of this step that needs the picture (only the shortest names if so asked)."""
    before, cell = transition.before, transition.cell
    if before is None or transition.operation == "ground":
        return []

    def names(i: int) -> list[str]:
        found = descriptions(before, i)
        return found[:1] if shortest else found

    if transition.operation == "add":
        thing = article(transition.after.at(cell).name)
        return [f"add {thing} {how} the {name}" for how, i in relations(before, cell) for name in names(i)]
    if transition.operation == "remove":
        return [f"remove the {name}" for name in names(cell)]
    if transition.operation == "recolour":
        return [f"make the {name} {COLOURS[transition.after.at(cell).colour]}" for name in names(cell)]
    if transition.operation == "replace":
        thing = article(transition.after.at(cell).name)
        return [f"replace the {name} with {thing}" for name in names(cell)]
    assert transition.to is not None
    places = [go_to(transition.to)]
    places += [
        f"{how} the {name}" for how, i in relations(before, transition.to, without=cell) for name in names(i)
    ]
    return [f"move the {name} {place}" for name in names(cell) for place in places]


def grounded(transition: Transition, rng: random.Random) -> str | None:
    """A random wording that needs the picture, or None where there is none."""
    options = grounded_options(transition)
    return rng.choice(options) if options else None


def natural(transition: Transition, anchor: int | None = None) -> str:
    """How a person would say it: relative to `anchor` (the thing added last) if it is a neighbour, deterministic.

    Things are named in full as anchors and as briefly as possible otherwise; explicit where nothing else is unique.
    """
    before = transition.before
    if transition.operation == "add" and before is not None:
        pairs = sorted(relations(before, transition.cell), key=lambda pair: pair[1] != anchor)
        for relation, i in pairs:
            name = before.at(i).name
            if name in descriptions(before, i):
                return f"add {article(transition.after.at(transition.cell).name)} {relation} the {name}"
    elif before is not None:
        options = grounded_options(transition, shortest=True)
        if options:
            return options[0]
    return explicit(transition)


def _thing(size: str, pattern: str | None, colour: str, shape: str) -> Thing | None:
    """The thing with these words, or None where it does not exist (small things have no pattern)."""
    if pattern is not None and size == "small":
        return None
    return Thing.named(" ".join(word for word in (size, pattern, colour, shape) if word))


def _find(
    scene: Scene,
    size: str | None,
    pattern: str | None,
    colour: str | None,
    shape: str,
    place: str | None,
) -> int | None:
    """The one cell that fits a reference, or None where none or several do."""
    fits = [
        i
        for i in scene.occupied
        if _fits(scene.at(i), size, pattern, colour, shape) and (place is None or CELL_OF[place] == i)
    ]
    return fits[0] if len(fits) == 1 else None


def _target(
    scene: Scene, place: str | None, relation: tuple[str | None, ...], without: int | None
) -> int | None:
    """The empty cell that a place or a relation names."""
    if place is not None:
        cell: int | None = CELL_OF[place]
    else:
        how, size, pattern, colour, shape, where = relation
        assert how is not None
        assert shape is not None
        anchor = _find(scene, size, pattern, colour, shape, where)
        if anchor is None or anchor == without:
            return None
        cell = neighbour(anchor, how)
    return cell if cell is not None and scene.cells[cell] is None else None


def _normal(prompt: str) -> str:
    return " ".join(prompt.lower().split()).rstrip(".")


def anchor(scene: Scene, prompt: str) -> int | None:
    """The cell of the thing by which a prompt names a place ("left of the star"), or None where it names none so."""
    for form, first in ((_ADD, 5), (_MOVE, 7)):
        found = form.fullmatch(_normal(prompt))
        if found and found.groups()[first] is not None:
            return _find(scene, *found.groups()[first + 1 :])
    return None


def parse(scene: Scene | None, prompt: str) -> Transition | None:
    """The step that a prompt asks for on a scene, or None where it cannot be resolved."""
    text = _normal(prompt)
    found = _DRAW.fullmatch(text)
    if found:
        *words, place, ground = found.groups()
        thing = _thing(*words)
        if thing is None or COLOURS[thing.colour] == ground:
            return None
        return Transition.draw(COLOURS.index(ground), thing, CELL_OF[place])
    if scene is None:
        return None
    found = _ADD.fullmatch(text)
    if found:
        size, pattern, colour, shape, place, *relation = found.groups()
        thing = _thing(size, pattern, colour, shape)
        target = _target(scene, place, tuple(relation), None)
        if thing is None or target is None or thing.colour == scene.background:
            return None
        return Transition.add(scene, thing, target)
    found = _REMOVE.fullmatch(text)
    if found:
        cell = _find(scene, *found.groups())
        return None if cell is None else Transition.remove(scene, cell)
    found = _RECOLOUR.fullmatch(text)
    if found:
        *reference, new = found.groups()
        cell, colour_index = _find(scene, *reference), COLOURS.index(new)
        if cell is None or colour_index in (scene.background, scene.at(cell).colour):
            return None
        return Transition.recolour(scene, cell, colour_index)
    found = _REPLACE.fullmatch(text)
    if found:
        *reference, size, pattern, colour, shape = found.groups()
        cell, thing = _find(scene, *reference), _thing(size, pattern, colour, shape)
        if cell is None or thing is None or thing.colour == scene.background or thing == scene.at(cell):
            return None
        return Transition.replace(scene, cell, thing)
    found = _GROUND.fullmatch(text)
    if found:
        ground = COLOURS.index(found[1])
        seen = {scene.background, *(scene.at(i).colour for i in scene.occupied)}
        return None if ground in seen else Transition.ground(scene, ground)
    found = _MOVE.fullmatch(text)
    if found:
        size, pattern, colour, shape, where, origin, place, *relation = found.groups()
        cell = _find(scene, size, pattern, colour, shape, origin or where)
        target = None if cell is None else _target(scene, place, tuple(relation), cell)
        return None if cell is None or target is None else Transition.move(scene, cell, target)
    return None


def apply(scene: Scene | None, prompt: str) -> Scene | None:
    """The scene after a prompt; `scene=None` means that there is no source picture.

    None where the prompt cannot be resolved: unknown words, a reference that fits nothing or several things, an
    occupied target cell.
    """
    transition = parse(scene, prompt)
    return None if transition is None else transition.after
