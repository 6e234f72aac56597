"""What people say about a given picture: what is to be done with it, and questions."""

from __future__ import annotations

import random
from dataclasses import replace

from interleave_rt.worlds.shapes.scene import COLOURS, PATTERNS, POSITIONS, SHAPES, Scene, Thing, Transition

from .clauses import random_clauses
from .grammar import RELATIONS, article, descriptions, neighbour
from .phrases import EDIT_WORDS, ITS, NAMES, ON_A_PICTURE, PLACES, RELATION_WORDS, dressed
from .plans import Request, answer, operations, plan_steps, split_of
from .wishes import Edit, changed, clauses_in_full, random_item, thing_words


def about_a_picture(rng: random.Random) -> Request:
    """What is to be done with a given picture, in the words of people."""
    while True:
        given = random_clauses(rng, rng.randint(1, 4), edits=True)[-1].transition.after
        made = _on_a_picture(rng, given) if given.occupied else None
        if made is None:
            continue
        words, steps = made
        if rng.random() < 0.25:
            spoken_of = steps[0].cell if len(steps) == 1 and steps[0].touched else None
            if spoken_of is not None and steps[0].to is not None:
                spoken_of = steps[0].to
            now = steps[-1].after
            more = _on_a_picture(rng, now, spoken_of) if now.occupied else None
            if more is None:
                continue
            words += rng.choice((" and ", ", then ", " and then ", ". Then ", ", and ")) + more[0]
            steps += more[1]
        asks = words.split()[0] not in _SAYS
        words = rng.choice(ON_A_PICTURE if asks else ("{x}", "{x}", "{x} please", "now {x}")).format(x=words)
        text = f"{words} <image>" if rng.random() < 0.15 else f"<image> {words}"
        clauses = clauses_in_full(steps)
        scenes = tuple(step.after for step in steps)
        split = split_of(operations(steps, (given,)))
        return Request(
            dressed(rng, text).replace("<IMAGE>", "<image>"),
            "guidance",
            "spoken",
            (given,),
            plan_steps(clauses, False),
            scenes,
            split,
        )


_SAYS = ("the", "it", "everything", "what", "I'm", "there", "only", "with", "a", "an", "one")
"""First words of what is no command: "can you" cannot stand before them."""


def _seen(rng: random.Random, scene: Scene, cell: int, before: int | None) -> str | None:
    """How a thing on a picture may be called; `before` is the cell that was spoken of last."""
    names = descriptions(scene, cell)
    ways = [f"the {name}" for name in names]
    if len(scene.occupied) == 1 or cell == before:
        ways += ["it", "it"]
    elif before is not None and {before, cell} >= set(scene.occupied):
        ways += ["the other one", "the other one"]
    same = [i for i in scene.occupied if scene.at(i).colour == scene.at(cell).colour]
    if len(same) == 1:
        ways.append(f"the {COLOURS[scene.at(cell).colour]} one")
    ways.append(f"the {rng.choice(('one', 'one', 'thing', 'shape'))} {rng.choice(PLACES[cell][:2])}")
    return rng.choice(ways)


def _on_a_picture(
    rng: random.Random, scene: Scene, before: int | None = None
) -> tuple[str, list[Transition]] | None:
    cell = rng.choice(scene.occupied)
    thing = scene.at(cell)
    kind = rng.choice((*EDIT_WORDS, "add", "add", "add", "all", "few"))
    called, colour = _seen(rng, scene, cell, before), rng.randrange(len(COLOURS))
    try:
        if kind == "all":
            return _all_of_them(rng, scene, thing.shape, colour)
        if kind == "few":
            return _all_but_one(rng, scene, cell) if rng.random() < 0.6 else _swapped_colours(rng, scene)
        if kind == "add":
            return _added(rng, scene, cell, called)
        edit = {
            "colour": colour,
            "ground": colour,
            "move": rng.choice(scene.empty),
            "shape": (thing.shape + 1 + rng.randrange(len(SHAPES) - 1)) % len(SHAPES),
            "size": 1 - thing.size,
            "pattern": rng.randrange(1, 3),
        }.get(kind, 0)
        if kind == "pattern" and edit == thing.pattern:
            return None
        value = {
            "colour": COLOURS[colour],
            "ground": COLOURS[colour],
            "shape": article(SHAPES[edit % len(SHAPES)]),
            "size": rng.choice(("bigger", "larger", "big") if edit else ("smaller", "small", "tiny")),
            "pattern": PATTERNS[edit % 3],
        }.get(kind, "")
        said = EDIT_WORDS[kind]
        if kind == "shape" and rng.random() < 0.4:
            value = article(f"{COLOURS[colour]} {SHAPES[edit]}")
            kind, edit = "thing", edit * len(COLOURS) + colour
        place = rng.choice(PLACES[edit][:3]) if kind == "move" else ""
        words = rng.choice(said).format(r=called, v=value, p=place, a=article(value or "it"))
        if kind == "ground" and rng.random() < 0.1:
            words = f"what if the background is {value}?"
        step = changed(scene, Edit(kind, 0, edit), [cell])
    except ValueError:
        return None
    return None if step.before == step.after else (words, [step])


def _added(
    rng: random.Random, scene: Scene, cell: int, called: str | None
) -> tuple[str, list[Transition]] | None:
    """One more thing, at a place or beside another one; perhaps one like that.

    Raises:
        ValueError: It has the colour of the background.
    """
    item = replace(random_item(rng), colour=rng.randrange(len(COLOURS)))
    new = Thing(item.shape, item.colour or 0, 1 if item.size is None else item.size, item.pattern)
    words = thing_words(rng, item)
    relation = rng.choice(list(RELATIONS))
    where = neighbour(cell, relation)
    if where is not None and scene.cells[where] is None and rng.random() < 0.4:
        place = f"{rng.choice(RELATION_WORDS[relation])} {called}"
        if rng.random() < 0.3:
            new = scene.at(cell)
            words = (
                rng.choice(("another", "a second", "one more"))
                + f" {COLOURS[new.colour]} {SHAPES[new.shape]}"
            )
            if sum(one is not None and one[:2] == new[:2] for one in scene.cells) > 1:
                return None
            place = rng.choice(ITS[relation])
    else:
        where = rng.choice(scene.empty)
        place = rng.choice(PLACES[where])
    form = rng.choice(("add {x}", "add {x}", "put {x}", "draw {x}", "place {x}", "{x}", "I'm missing {x}", "it needs {x}",
                       "there should be {x}", "it lacks {x}", "give it {x}"))  # fmt: skip
    return form.format(x=f"{words} {place}"), [Transition.add(scene, new, where)]


def _all_but_one(rng: random.Random, scene: Scene, cell: int) -> tuple[str, list[Transition]] | None:
    """Everything goes but one thing, in reading order."""
    names = descriptions(scene, cell)
    if not names or not 1 < len(scene.occupied) < 5:
        return None
    steps: list[Transition] = []
    for other in scene.occupied:
        if other != cell:
            steps.append(Transition.remove(steps[-1].after if steps else scene, other))
    form = rng.choice(("remove everything but {x}", "delete all but {x}", "only {x} should stay", "keep only {x}",
                       "take everything away except {x}", "remove all other things than {x}"))  # fmt: skip
    return form.format(x=f"the {names[0]}"), steps


def _swapped_colours(rng: random.Random, scene: Scene) -> tuple[str, list[Transition]] | None:
    """Two things change their colours."""
    if len(scene.occupied) != 2:
        return None
    first, second = scene.occupied
    colours = scene.at(first).colour, scene.at(second).colour
    if colours[0] == colours[1]:
        return None
    step = Transition.recolour(scene, first, colours[1])
    form = rng.choice(
        ("swap the colours", "exchange their colours", "swap the two colours", "switch the colours")
    )
    return form, [step, Transition.recolour(step.after, second, colours[0])]


def _all_of_them(
    rng: random.Random, scene: Scene, shape: int, colour: int
) -> tuple[str, list[Transition]] | None:
    """Every thing of a shape gets a colour or goes, in reading order.

    Raises:
        ValueError: The colour is that of the background.
    """
    cells = [i for i in scene.occupied if scene.at(i).shape == shape and scene.at(i).colour != colour]
    if len(cells) < 2 or any(scene.at(i).shape == shape and i not in cells for i in scene.occupied):
        return None
    goes = rng.random() < 0.4 and len(cells) < len(scene.occupied)
    steps: list[Transition] = []
    for cell in cells:
        now = steps[-1].after if steps else scene
        steps.append(Transition.remove(now, cell) if goes else Transition.recolour(now, cell, colour))
    every = rng.choice((f"all {SHAPES[shape]}s", f"all the {SHAPES[shape]}s", f"every {SHAPES[shape]}"))
    if len(cells) == 2 and rng.random() < 0.3:
        every = f"both {SHAPES[shape]}s"
    if goes:
        return f"{rng.choice(('remove', 'delete', 'take away'))} {every}", steps
    return f"{rng.choice(('make', 'paint', 'turn', 'colour'))} {every} {COLOURS[colour]}", steps


def asked(rng: random.Random) -> Request:
    """A question about a picture in the words of people, answered in few."""
    clauses = random_clauses(rng, rng.randint(1, 4), edits=True)
    if len(clauses) > 1 and rng.random() < 0.05:
        return _what_has_changed(rng, clauses[-1].transition)
    scene = clauses[-1].transition.after
    said = None
    while said is None:
        said = rng.choice(_QUESTIONS)(rng, scene)
    text, reply = said
    text = f"{text} <image>" if rng.random() < 0.1 else f"<image> {text}"
    return answer(dressed(rng, text).replace("<IMAGE>", "<image>"), "question", (scene,), reply)


_Asked = tuple[str, str] | None


def _shape_to_ask_for(rng: random.Random, scene: Scene) -> tuple[int, list[int]]:
    """A shape, more often one that is there, and the cells that hold it."""
    shape = rng.randrange(len(SHAPES))
    if scene.occupied and rng.random() < 0.6:
        shape = scene.at(rng.choice(scene.occupied)).shape
    return shape, [i for i in scene.occupied if scene.at(i).shape == shape]


def _is_there(rng: random.Random, scene: Scene) -> _Asked:
    shape, cells = _shape_to_ask_for(rng, scene)
    form = rng.choice(("Is there {a}?", "is there {a} in {n}", "do you see {a}?", "Does {n} have {a}?",
                       "Can you see {a} in {n}?", "{a}?", "is {a} in it?"))  # fmt: skip
    return form.format(a=article(SHAPES[shape]), n=rng.choice(NAMES)), "Yes." if cells else "No."


def _how_many(rng: random.Random, scene: Scene) -> _Asked:
    if rng.random() < 0.25:
        form = rng.choice(("how many things are there", "How many shapes do you see?", "how many objects are in {n}?",
                           "count the things"))  # fmt: skip
        return form.format(n=rng.choice(NAMES)), f"{len(scene.occupied)}."
    shape, cells = _shape_to_ask_for(rng, scene)
    form = rng.choice(("How many {s}s are there?", "how many {s}s", "count the {s}s", "How many {s}s do you see in {n}?",
                       "number of {s}s?", "how many {s}s can you see"))  # fmt: skip
    return form.format(s=SHAPES[shape], n=rng.choice(NAMES)), f"{len(cells)}."


def _where_is(rng: random.Random, scene: Scene) -> _Asked:
    shape, cells = _shape_to_ask_for(rng, scene)
    if len(cells) != 1:
        return None
    form = rng.choice(("Where is the {s}?", "where's the {s}", "where is the {s} in {n}?", "where do you see the {s}",
                       "in which place is the {s}?"))  # fmt: skip
    return form.format(s=SHAPES[shape], n=rng.choice(NAMES)), f"At the {POSITIONS[cells[0]]}."


def _which_colour(rng: random.Random, scene: Scene) -> _Asked:
    if rng.random() < 0.25:
        form = rng.choice(("which colour is the background", "What color is the background?", "the background colour?",
                           "which colour does the background have?", "what's the colour behind it?"))  # fmt: skip
        return form, f"{COLOURS[scene.background].capitalize()}."
    if not scene.occupied:
        return None
    cell = rng.choice(scene.occupied)
    alone = sum(scene.at(i).shape == scene.at(cell).shape for i in scene.occupied) == 1
    called = f"the {SHAPES[scene.at(cell).shape]}"
    if not alone or rng.random() < 0.3:
        called = f"the {rng.choice(('thing', 'shape', 'one'))} {rng.choice(PLACES[cell][:2])}"
    elif len(scene.occupied) == 1 and rng.random() < 0.4:
        called = "it"
    form = rng.choice(("what color is {t}", "What is the colour of {t}?", "which colour has {t}", "which color is {t}?",
                       "Tell me the colour of {t}.", "what colour does {t} have?"))  # fmt: skip
    return form.format(t=called), f"{COLOURS[scene.at(cell).colour].capitalize()}."


def _has_the_colour(rng: random.Random, scene: Scene) -> _Asked:
    shape, cells = _shape_to_ask_for(rng, scene)
    if len(cells) != 1:
        return None
    colour = scene.at(cells[0]).colour
    asked_for = colour if rng.random() < 0.5 else rng.randrange(len(COLOURS))
    called = "it" if len(scene.occupied) == 1 and rng.random() < 0.4 else f"the {SHAPES[shape]}"
    reply = "Yes." if colour == asked_for else f"No, it is {COLOURS[colour]}."
    return rng.choice((f"Is {called} {COLOURS[asked_for]}?", f"is {called} {COLOURS[asked_for]}")), reply


def _what_stands(rng: random.Random, scene: Scene) -> _Asked:
    cell = (
        rng.choice(scene.occupied) if scene.occupied and rng.random() < 0.9 else rng.randrange(len(POSITIONS))
    )
    form = rng.choice(
        ("what is {p}?", "which shape is {p}", "What stands {p}?", "what do you see {p}", "whats {p}")
    )
    thing = scene.cells[cell]
    return form.format(p=rng.choice(PLACES[cell])), "Nothing." if thing is None else f"A {thing.name}."


def _compared(rng: random.Random, scene: Scene) -> _Asked:
    if len(scene.occupied) < 2:
        return None
    first, second = (scene.at(i) for i in rng.sample(scene.occupied, 2))
    count = [sum(scene.at(i).shape == one.shape for i in scene.occupied) for one in (first, second)]
    one, other = SHAPES[first.shape], SHAPES[second.shape]
    if one == other:
        return None
    if rng.random() < 0.4 and count == [1, 1]:
        word = rng.choice(("bigger", "larger", "smaller"))
        bigger = first.size > second.size if word != "smaller" else first.size < second.size
        return f"Is the {one} {word} than the {other}?", "Yes." if bigger else "No."
    reply = "As many." if count[0] == count[1] else f"More {one if count[0] > count[1] else other}s."
    form = rng.choice(
        ("Are there more {a}s or {b}s?", "more {a}s or more {b}s?", "which are more, {a}s or {b}s")
    )
    return form.format(a=one, b=other), reply


def _what_is_in(rng: random.Random, scene: Scene) -> _Asked:
    form = rng.choice(("What is in {n}?", "what do you see in {n}", "what is there?", "Describe {n}.",
                       "What is to be seen in {n}?", "what does {n} show?", "tell me what is in {n}"))  # fmt: skip
    things = [article(scene.at(i).name) for i in scene.occupied]
    return form.format(n=rng.choice(NAMES)), (", ".join(things) or "nothing").capitalize() + "."


_QUESTIONS = (
    _is_there, _how_many, _how_many, _where_is, _which_colour, _which_colour, _has_the_colour, _what_stands, _compared,
    _what_is_in,
)  # fmt: skip


def _what_has_changed(rng: random.Random, step: Transition) -> Request:
    """Two pictures, and what is another on the second."""
    assert step.before is not None
    was = step.before.cells[step.cell]
    now = step.after.cells[step.cell]
    if was is None:
        assert now is not None
        reply = f"There is {article(now.name)} more."
    elif step.to is not None:
        reply = f"The {was.name} has moved to the {POSITIONS[step.to]}."
    elif now is None:
        reply = f"The {was.name} is gone."
    else:
        reply = f"The {was.name} is {COLOURS[now.colour]} now."
    form = rng.choice(("What has changed?", "what is different?", "what's new in the second picture", "find the difference",
                       "What is not the same in the two pictures?"))  # fmt: skip
    return answer(f"<image> <image> {form}", "question", (step.before, step.after), reply)
