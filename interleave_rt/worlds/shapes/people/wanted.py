"""What is right for a sentence, in the notation of the files in `data`.

    wanted  = option || option ...          any of them is right
    option  = [on COLOUR:] stage; stage ... [where RELATION LABEL LABEL, ...]
    stage   = operation                     one step
            | {operation, operation}        one step each, in any order
            | ...                           any number of steps, left to the plan
    option  = says WORD|WORD, WORD [, ...]  an answer in words that has all of these and nothing that contradicts them
            | decline                       it is said that this cannot be shown

    operation   means
    a=small red|blue star@top left|corner   a new thing; label and place may be missing, as any word may
    a b=star, or 2 star                     two of them, one a step
    a:blue, a:large star                    the thing `a` changes; with another shape, what is not said is free
    a@top row                               it moves
    a@top + a:red                           both in one step
    -a                                      it goes away
    ground blue                             another background
    house(roof=green, no sun, @left)        a named drawing, part by part in any order; `@any` column, `steps=2` of
                                            its parts, or more than it has; a part's label is its name (left_eye)

What is not said of a new thing is free, but its pattern is plain. Relations are those of `matching.RELATIONS`; they are
about where and what things were when they came. A given picture: ``blue: a=large red circle@center, small white star@top``.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from interleave_rt.worlds.shapes.language import COMPOSITES
from interleave_rt.worlds.shapes.scene import CELLS, COLOURS, PATTERNS, POSITIONS, SHAPES, SIZES, Scene, Thing

from .matching import (
    RELATIONS,
    Choice,
    Do,
    Model,
    Pattern,
    Relation,
    Stage,
    follows,
    instance,
    possible,
    shows,
)
from .words import says

__all__ = ["Case", "Wanted", "pictures_of", "wanted_of"]

_NAMES = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "pattern": PATTERNS}
_CLASS = {word: (name, index) for name, words in _NAMES.items() for index, word in enumerate(words)}
_PLACES: dict[str, tuple[int, ...]] = {name: (cell,) for cell, name in enumerate(POSITIONS)} | {
    "any": tuple(range(CELLS)),
    "corner": (0, 2, 6, 8),
    "top row": (0, 1, 2),
    "middle row": (3, 4, 5),
    "bottom row": (6, 7, 8),
    "left column": (0, 3, 6),
    "middle column": (1, 4, 7),
    "right column": (2, 5, 8),
}
_COLUMNS = ("left", "center", "right")
_DRAWING = re.compile(rf"({'|'.join(sorted(COMPOSITES, key=len, reverse=True))})(?:\((.*)\))?")
Ways = tuple[tuple[Do, ...], ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One option with its pictures: what it starts from, what is done, and what must hold."""

    start: Pattern
    program: tuple[Stage, ...]
    relations: tuple[Relation, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is right: any of `cases`, an answer with the words of any of `answers`, or (`decline`) a refusal."""

    cases: tuple[Case, ...]
    answers: tuple[tuple[str, ...], ...] = ()
    decline: bool = False

    def follows(self, scenes: Sequence[Scene]) -> bool:
        """Whether these are right as the scenes after every step."""
        return any(follows(case.start, case.program, case.relations, scenes) for case in self.cases)

    def shows(self, scene: Scene) -> bool:
        """Whether this is right as the last scene, whatever led to it."""
        return any(shows(case.start, case.program, case.relations, scene) for case in self.cases)

    def said(self, question: str, text: str) -> bool:
        """Whether this is right as an answer in words."""
        return any(says(answer, question, text) for answer in self.answers)

    def instances(self, rng: random.Random) -> Iterator[tuple[Scene, ...]]:
        """Right scenes of every option, chosen at random."""
        for case in self.cases:
            yield instance(case.start, case.program, case.relations, rng)


def _indices(text: str) -> dict[str, tuple[int, ...]]:
    """The values of every attribute that the words of a thing name."""
    found: dict[str, tuple[int, ...]] = {}
    for word in text.split():
        if word == "thing":
            continue
        names, values = zip(*(_CLASS[one] for one in word.split("|")), strict=True)
        found[names[0]] = values
        if len(set(names)) > 1:
            raise ValueError(f"{word!r} mixes {set(names)}")
    return found


def _cells(place: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(cell for name in place.split("|") for cell in _PLACES[name]))


def _model(words: str, place: str) -> Model:
    said = _indices(words)
    free = {name: tuple(range(len(names))) for name, names in _NAMES.items()} | {"pattern": (0,)}
    look = {name: Choice(said.get(name, free[name])) for name in _NAMES}
    return Model(**look, cell=Choice(_cells(place or "any")))


@dataclass(slots=True)
class _Reader:
    """Reads one option; `first` has every thing by label as it was when it came."""

    first: dict[str, Model] = field(default_factory=dict)

    def new(self, label: str, model: Model) -> str:
        """The label of a new thing; a free one where it has none, or one that is taken."""
        chosen = label or "thing"
        for number in itertools.count(2):
            if chosen not in self.first and (label or number > 2):
                break
            chosen = f"{label or 'thing'} {number}"
        self.first[chosen] = model
        return chosen

    def operation(self, text: str) -> list[Ways]:
        """The ways of what a text stands for: one operation, or one for every thing that it names."""
        drawing = _DRAWING.fullmatch(text)
        if drawing:
            return self.drawing(drawing[1], drawing[2] or "")
        parts = [self.change(part) for part in text.split(" + ")]
        if all(parts):
            ways = [way for way in parts if way]
            if len(ways) == 1:
                return [ways[0]]
            together = [way[0][0] for way in ways]
            return [((functools.partial(_both, together),),)]
        labels, _, what = text.rpartition("=")
        words, _, place = what.partition("@")
        count = re.match(r"(\d+) ", words)
        many = int(count[1]) if count else 1
        if many > CELLS:
            raise ValueError(f"there is no room for {many} things")
        names = labels.split() or [""] * many
        words = words[count.end() :] if count else words
        found: list[Ways] = []
        for name in names:
            model = _model(words, place)
            found.append(((functools.partial(_put, self.new(name, model), model),),))
        return found

    def change(self, text: str) -> Ways | None:
        """The ways of a change of what is there; None for anything else."""
        if text.startswith("ground "):
            return ((functools.partial(_ground, Choice(_indices(text[7:])["colour"])),),)
        if text.startswith("-"):
            return ((functools.partial(_drop, self.known(text[1:])),),)
        found = re.match(r"(\w+)([:@]?)(.*)", text)
        if found is None:
            raise ValueError(f"{text!r} names nothing")
        label, mark, what = found.groups()
        if label not in self.first or not mark:
            return None
        if mark == "@":
            return ((functools.partial(_move, label, Choice(_cells(what))),),)
        look = _choices(_indices(what))
        do = functools.partial(_alter, label, look)
        if [*look] == ["colour"]:
            return ((do,),)
        # what takes more than paint may also be taken away and put there anew
        return ((do,), (functools.partial(_drop, label), functools.partial(_again, label, look)))

    def known(self, label: str) -> str:
        if label not in self.first:
            raise ValueError(f"nothing is called {label!r}")
        return label

    def drawing(self, name: str, text: str) -> list[Ways]:
        composite = COMPOSITES[name]
        given = [one.strip() for one in text.split(",") if one.strip()]
        without = {one[3:] for one in given if one.startswith("no ")}
        shift = next((_COLUMNS.index(one[1:]) - 1 for one in given if one.startswith("@")), 0)
        said = {key: words for key, _, words in (one.partition("=") for one in given) if words}
        unknown = (without | said.keys()) - {part.name for part in composite.parts} - composite.choices.keys()
        if unknown:
            raise ValueError(f"{name} has no {unknown}")
        choices: dict[str, tuple[str, Choice]] = {}
        for key, values in composite.choices.items():
            kind = _CLASS[values[0]][0]
            usual = tuple(_CLASS[value][1] for value in values)
            choices[key] = kind, Choice(_indices(said.get(key, "")).get(kind, usual))
        found: list[Ways] = []
        for part in composite.parts:
            if part.name in without:
                continue
            look = {"pattern": Choice((0,))}
            for word in part.thing.split():
                kind, choice = choices[word[1:-1]] if word.startswith("{") else _single(word)
                look[kind] = choice
            for kind, asked in _indices(said.get(part.name, "")).items():
                if choices.get(part.name, ("",))[0] != kind:
                    look[kind] = Choice(asked)
            model = Model(**look, cell=Choice((_PLACES[part.place][0] + shift,)))
            label = self.new(part.name.replace(" ", "_"), model)
            found.append(((functools.partial(_put, label, model),),))
        return found


def _single(word: str) -> tuple[str, Choice]:
    kind, index = _CLASS[word]
    return kind, Choice((index,))


def _with(pattern: Pattern, label: str, model: Model) -> Pattern:
    return replace(pattern, things={**pattern.things, label: model}, named=pattern.named | {label})


def _put(label: str, model: Model, pattern: Pattern) -> Pattern:
    return _with(pattern, label, model)


def _drop(label: str, pattern: Pattern) -> Pattern:
    things = dict(pattern.things)
    return replace(pattern, gone={**pattern.gone, label: things.pop(label)}, things=things)


def _move(label: str, cell: Choice, pattern: Pattern) -> Pattern:
    return _with(pattern, label, replace(pattern.things[label], cell=cell))


def _ground(colour: Choice, pattern: Pattern) -> Pattern:
    return replace(pattern, ground=colour)


def _both(dos: Sequence[Do], pattern: Pattern) -> Pattern:
    for do in dos:
        pattern = do(pattern)
    return pattern


def _alter(label: str, look: dict[str, Choice], pattern: Pattern) -> Pattern:
    return _with(pattern, label, replace(pattern.things[label], **look))


def _again(label: str, look: dict[str, Choice], pattern: Pattern) -> Pattern:
    return _with(pattern, label, replace(pattern.gone[label], **look))


def _choices(said: dict[str, tuple[int, ...]]) -> dict[str, Choice]:
    """What changes of a thing; with another shape also what is not said."""
    if "shape" in said:
        said = {"colour": tuple(range(len(COLOURS))), "size": (0, 1), "pattern": (0,), **said}
    return {kind: Choice(values) for kind, values in said.items()}


def _options(text: str) -> list[str]:
    """The same with every `@any` and every `steps=` spelt out."""
    match = re.search(r"([a-z ]+)\(([^()]*(?:@any|steps=(\d+))[^()]*)\)", text)
    if match is None:
        return [text]
    name, given = match[1].strip(), match[2]
    lead = match[1][: len(match[1]) - len(match[1].lstrip())]
    if "@any" in given:
        spelt = [f"{name}({given.replace('@any', f'@{column}')})" for column in _COLUMNS]
    else:
        parts = [part.name for part in COMPOSITES[name].parts]
        steps = int(match[3])
        others = ", ".join(one for one in given.split(", ") if not one.startswith("steps="))
        if steps > len(parts):
            spelt = [f"{{{name}({others}), {steps - len(parts)} thing}}"]
        else:
            spelt = [
                f"{name}({', '.join(filter(None, [others, *(f'no {part}' for part in gone)]))})"
                for gone in itertools.combinations(parts, len(parts) - steps)
            ]
    return [
        option
        for one in spelt
        for option in _options(text[: match.start()] + lead + one + text[match.end() :])
    ]


def _case(text: str, start: Pattern) -> Case:
    ground, colon, rest = text.partition(": ") if text.startswith("on ") else ("", "", text)
    if colon:
        start = replace(start, ground=Choice(_indices(ground[3:])["colour"]))
    body, _, related = rest.partition(" where ")
    reader = _Reader(dict(start.things))
    program: list[Stage] = []
    for stage in (one.strip() for one in body.split(";")):
        if stage == "...":
            program.append(Stage())
            continue
        braced = stage.startswith("{")
        texts = re.split(r", (?![^(]*\))", stage[1:-1]) if braced else [stage]
        ways = [way for one in texts for way in reader.operation(one)]
        any_order = braced or _DRAWING.fullmatch(stage)
        program += [Stage(tuple(ways))] if any_order else [Stage((way,)) for way in ways]
    relations = []
    for one in filter(None, (one.strip() for one in related.split(","))):
        name, *labels = one.split()
        things = [reader.first[reader.known(label)] for label in labels]
        about = [thing.colour if name in ("alike", "differ") else thing.cell for thing in things]
        relations.append(Relation(tuple(about), RELATIONS[name]))
    return Case(start, tuple(program), tuple(relations))


def pictures_of(text: str) -> tuple[tuple[Scene, ...], dict[str, int]]:
    """The scenes of the given pictures, and the cells of the labelled things of the last one."""
    scenes: list[Scene] = []
    labels: dict[str, int] = {}
    for picture in filter(None, text.split(" / ")):
        ground, _, things = picture.partition(": ")
        scene, labels = Scene(COLOURS.index(ground)), {}
        for one in filter(None, things.split(", ")):
            label, _, what = one.rpartition("=")
            name, _, place = what.partition("@")
            cell = POSITIONS.index(place)
            scene = scene.put(cell, Thing.named(name))
            if label:
                labels[label] = cell
        scenes.append(scene)
    return tuple(scenes), labels


def _given(scene: Scene, labels: dict[str, int]) -> Pattern:
    names = {cell: label for label, cell in labels.items()}
    things = {}
    for cell in scene.occupied:
        look = {name: Choice((value,)) for name, value in zip(_NAMES, scene.at(cell), strict=True)}
        things[names.get(cell, f"given {cell}")] = Model(**look, cell=Choice((cell,)))
    return Pattern(Choice((scene.background,)), things)


def wanted_of(text: str, pictures: str = "") -> Wanted:
    """What the notation says.

    Raises:
        ValueError: It says nothing.
    """
    scenes, labels = pictures_of(pictures)
    start = _given(scenes[-1], labels) if scenes else Pattern()
    cases: list[Case] = []
    answers: list[tuple[str, ...]] = []
    decline = False
    for option in text.split(" || "):
        try:
            if option == "decline":
                decline = True
            elif option.startswith("says "):
                answers.append(tuple(option[5:].split(", ")))
            else:
                made = [_case(one, start) for one in _options(option)]
                # of all columns that two drawings may have, some are the same
                cases += [one for one in made if possible(one.start, one.program, one.relations)]
        except (KeyError, ValueError) as error:
            raise ValueError(f"[people] {option!r} is not in the notation: {error}") from error
    return Wanted(tuple(cases), tuple(answers), decline)
