"""What people say about a given picture: what is to be done with it, and questions."""

from __future__ import annotations

import random
from dataclasses import replace

from interleave_rt.worlds.shapes.scene import COLOURS, PATTERNS, POSITIONS, SHAPES, Scene, Thing, Transition

from .clauses import random_clauses
from .grammar import article, descriptions
from .phrases import EDIT_WORDS, NAMES, ON_A_PICTURE, PLACES, dressed
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
        words = rng.choice(ON_A_PICTURE).format(x=words)
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


def _seen(rng: random.Random, scene: Scene, cell: int) -> str | None:
    """How a thing on a picture may be called."""
    names = descriptions(scene, cell)
    ways = [f"the {name}" for name in names]
    if len(scene.occupied) == 1:
        ways += ["it", "it"]
    same = [i for i in scene.occupied if scene.at(i).colour == scene.at(cell).colour]
    if len(same) == 1:
        ways.append(f"the {COLOURS[scene.at(cell).colour]} one")
    ways.append(f"the one {rng.choice(PLACES[cell][:2])}")
    return rng.choice(ways)


def _on_a_picture(rng: random.Random, scene: Scene) -> tuple[str, list[Transition]] | None:
    cell = rng.choice(scene.occupied)
    thing = scene.at(cell)
    kind = rng.choice((*EDIT_WORDS, "add", "add", "all"))
    called, colour = _seen(rng, scene, cell), rng.randrange(len(COLOURS))
    try:
        if kind == "all":
            return _all_of_them(rng, scene, thing.shape, colour)
        if kind == "add":
            item = replace(random_item(rng), colour=colour)
            where = rng.choice(scene.empty)
            new = Thing(item.shape, colour, 1 if item.size is None else item.size, item.pattern)
            words = f"{rng.choice(('add', 'put', 'draw', 'place'))} {thing_words(rng, item)} {rng.choice(PLACES[where])}"
            return words, [Transition.add(scene, new, where)]
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
        place = rng.choice(PLACES[edit][:3]) if kind == "move" else ""
        words = rng.choice(EDIT_WORDS[kind][:4]).format(r=called, v=value, p=place)
        step = changed(scene, Edit(kind, 0, edit), [cell])
    except ValueError:
        return None
    return None if step.before == step.after else (words, [step])


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
    return (f"remove {every}" if goes else f"make {every} {COLOURS[colour]}"), steps


def asked(rng: random.Random) -> Request:
    """A question about a picture in the words of people, answered in few."""
    scene = random_clauses(rng, rng.randint(1, 4), edits=True)[-1].transition.after
    shape, colour, name = rng.randrange(len(SHAPES)), rng.randrange(len(COLOURS)), rng.choice(NAMES)
    if scene.occupied and rng.random() < 0.6:
        thing = scene.at(rng.choice(scene.occupied))
        shape, colour = thing.shape, thing.colour
    same = [i for i in scene.occupied if scene.at(i).shape == shape]
    word, kind = SHAPES[shape], rng.randrange(6)
    if kind == 0:
        text = rng.choice(
            (
                f"Is there {article(word)}?",
                f"is there {article(word)} in {name}",
                f"do you see {article(word)}?",
                f"Does {name} have {article(word)}?",
                f"Can you see {article(word)} in {name}?",
            )
        )
        reply = "Yes." if same else "No."
    elif kind == 1:
        text = rng.choice(
            (
                f"How many {word}s are there?",
                f"how many {word}s",
                f"count the {word}s",
                f"How many {word}s do you see in {name}?",
            )
        )
        reply = f"{len(same)}."
    elif kind == 2 and len(same) == 1:
        text = rng.choice((f"Where is the {word}?", f"where's the {word}", f"where is the {word} in {name}?"))
        reply = f"At the {POSITIONS[same[0]]}."
    elif kind == 3 and len(same) == 1:
        text = rng.choice(
            (
                f"what color is the {word}",
                f"What is the colour of the {word}?",
                f"which colour has the {word}",
                f"Tell me the colour of the {word}.",
            )
        )
        reply = f"{COLOURS[scene.at(same[0]).colour].capitalize()}."
    elif kind == 4 and len(same) == 1:
        text = rng.choice((f"Is the {word} {COLOURS[colour]}?", f"is the {word} {COLOURS[colour]}"))
        reply = (
            "Yes."
            if scene.at(same[0]).colour == colour
            else f"No, it is {COLOURS[scene.at(same[0]).colour]}."
        )
    else:
        text = rng.choice(
            (
                f"What is in {name}?",
                f"what do you see in {name}",
                "what is there?",
                f"Describe {name}.",
                f"What is to be seen in {name}?",
            )
        )
        things = [article(scene.at(i).name) for i in scene.occupied]
        reply = (", ".join(things) or "nothing").capitalize() + "."
    text = f"{text} <image>" if rng.random() < 0.1 else f"<image> {text}"
    return answer(text, "question", (scene,), reply)
