"""Tales: things that grow, change colour, come and go, the day and its light, drawings that lose or change their parts.

They are told sentence by sentence, in the present or the past, and every sentence is a step.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace

from interleave_rt.worlds.shapes.scene import COLOURS, SHAPES, SIZES, other_colour

from .grammar import article
from .phrases import NUMBERS, dressed, glued
from .plans import MOST_STEPS, Request
from .wishes import Edit, Item, Talk, clauses_in_full, random_item, spoken_request, steps_of

_LEAD = ("", "", "", "", "Story: ", "story: ", "A story: ", "Tell me a story: ", "a little story: ", "Tell this in pictures: ",
         "Picture story: ", "please draw this story: ", "Show this: ", "Here is a story. ")  # fmt: skip
_END = ("", "", "", "", ".", ".", ". The end.", ". The end", ". That is all.", ". The end!")
_THEN = (". Then ", ", then ", ". After that ", " and then ", ", and then ", ". ", ", ", ". Next ")
_WAYS_ACROSS = ((3, 4, 5), (5, 4, 3), (1, 4, 7), (7, 4, 1), (6, 7, 8), (8, 7, 6), (0, 1, 2), (2, 1, 0))
_WORDS = {3: "left", 5: "right", 4: "middle", 1: "top", 7: "bottom", 6: "bottom left", 8: "bottom right",
          0: "top left", 2: "top right"}  # fmt: skip


def plain_item(rng: random.Random, *, sized: bool = False) -> Item:
    """A thing without a pattern whose colour is told, and its size, where that is asked for."""
    item = replace(random_item(rng), pattern=0, size=None)
    item.colour = rng.randrange(len(COLOURS))
    if sized:
        item.size = rng.randrange(2)
    return item


def looks_of(item: Item) -> str:
    """What is told of a thing, and its name: "small red star"."""
    words = [SIZES[item.size]] if item.size is not None else []
    words += [COLOURS[item.colour]] if item.colour is not None else []
    return " ".join([*words, SHAPES[item.shape]])


def in_sentences(rng: random.Random, parts: list[str]) -> str:
    """Sentences one after the other, with one kind of joint, or full stops and a "Then" here and there."""
    joint = rng.choice(_THEN)
    text = parts[0]
    for part in parts[1:]:
        one = rng.choice((joint, ". ")) if joint == ". Then " else joint
        text += glued(one, part)
    return text


def _grows(rng: random.Random, talk: Talk) -> str:
    """It grows or shrinks, perhaps gets a friend, who grows or shrinks, too."""
    item = plain_item(rng)
    up = rng.random() < 0.7
    item.size = 0 if up else 1
    talk.items = [item]
    talk.edits = [Edit("size", 0, 1 - item.size)]
    name = SHAPES[item.shape]
    past = rng.random() < 0.3
    verb = (
        rng.choice(
            (
                ("grows", "grew"),
                ("gets big", "got big"),
                ("becomes large", "became large"),
                ("grows up", "grew up"),
            )
        )
        if up
        else rng.choice((("shrinks", "shrank"), ("gets small", "got small"), ("becomes tiny", "became tiny")))
    )[past]
    be = "was" if past else "is"
    parts = [
        rng.choice((article(looks_of(item)), f"there {be} {article(looks_of(item))}")),
        rng.choice((f"it {verb}", f"the {name} {verb}")),
    ]
    if rng.random() < 0.5:
        other = replace(plain_item(rng), late=True, size=item.size)
        if rng.random() < 0.5:
            other.shape = item.shape
        talk.items.append(other)
        talk.edits.append(Edit("add", 1))
        words = article(looks_of(other))
        come = rng.choice((f"it gets a friend, {words}", f"{words} comes", f"it meets {words}") if not past else
                          (f"it got a friend, {words}", f"{words} came", f"it met {words}"))  # fmt: skip
        parts.append(come)
        if rng.random() < 0.6:
            talk.edits.append(Edit("size", 1, 1 - item.size))
            them = "the friend" if "friend" in come else "the new one"
            parts.append(f"{them} {verb} too")
    elif rng.random() < 0.5:
        colour = other_colour(rng, item.colour or 0)
        talk.edits.append(Edit("colour", 0, colour))
        parts.append(f"it {'turned' if past else 'turns'} {COLOURS[colour]}")
    if len(parts) == 2 and not past and rng.random() < 0.5:
        return f"{article(looks_of(item))} that {verb}"
    if rng.random() < 0.35 and len(parts) > 2:
        return f"{article(name)} {verb}. " + in_sentences(
            rng, [looks_of(item), looks_of(replace(item, size=1 - item.size)), *parts[2:]]
        )
    return in_sentences(rng, parts)


def _wants(rng: random.Random, talk: Talk) -> str:
    """It wants to be another one, and becomes so in this order."""
    item = plain_item(rng)
    item.size = 0
    colour = other_colour(rng, item.colour or 0)
    talk.items = [item]
    both = [("size", 1, rng.choice(("big", "large"))), ("colour", colour, COLOURS[colour])]
    rng.shuffle(both)
    both = both[: rng.choice((1, 2, 2))]
    talk.edits = [Edit(kind, 0, value) for kind, value, _ in both]
    be = " and ".join(words for _, _, words in both)
    wants = rng.choice(
        (
            "who wants to be",
            "that wants to be",
            "that dreams of being",
            "that wanted to become",
            "that becomes",
        )
    )
    return f"{article(looks_of(item))} {wants} {be}"


_LEAVES = {"leaf": "diamond", "ball": "circle", "light": "circle", "balloon": "circle", "box": "square"}


def _colours(rng: random.Random, talk: Talk) -> str:
    """It goes through a row of colours."""
    count = rng.choice((2, 3, 3, 4))
    colours = rng.sample(range(len(COLOURS)), count)
    name = rng.choice((*SHAPES, *SHAPES, *_LEAVES))
    talk.items = [Item(SHAPES.index(_LEAVES.get(name, name)), colours[0])]
    talk.edits = [Edit("colour", 0, colour) for colour in colours[1:]]
    words = [COLOURS[colour] for colour in colours]
    row = rng.choice((" to ", ", then ", " and then ")).join(words[1:])
    then = rng.choice((", then ", " and then ")).join(words[1:])
    commas = rng.choice(
        (", ".join(words), ", ".join(words[:-1]) + f" and {words[-1]}", ", then ".join(words))
    )
    return rng.choice((
        f"{article(name)} changes its colour from {words[0]} to {row}", f"{article(name)} turns from {words[0]} to {row}",
        f"the {name} goes from {words[0]} to {row}", f"{article(name)} that changes colour: {commas}",
        f"the colours of {article(name)}: {commas}", f"{article(name)} was {words[0]}, then became {then}",
        f"{article(f'{words[0]} {name}')} turned {then}", f"{article(f'{words[0]} {name}')} slowly turns {then}",
        f"{article(name)} is first {words[0]}, then {', then '.join(words[1:])}", f"one {name}, {count} colours: {commas}",
    ))  # fmt: skip


def _friends(rng: random.Random, talk: Talk) -> str:
    """It is alone, others come, and perhaps one leaves or both change."""
    first = plain_item(rng, sized=rng.random() < 0.3)
    same = rng.random() < 0.5
    talk.items = [first]
    past = rng.random() < 0.7
    came = rng.choice(("came", "joined in", "arrived") if past else ("comes", "joins in", "arrives"))
    lonely = f"a lonely {looks_of(first)}" if first.size is None else article(looks_of(first))
    once = (
        f"once there was {lonely}",
        f"once upon a time there was {lonely}",
        f"once there was {article(looks_of(first))}",
    )
    parts = [rng.choice((*(once if past else ()), f"there was {article(looks_of(first))}, all alone" if past else f"there is {article(looks_of(first))}",
                         f"{article(looks_of(first))} {'was' if past else 'is'} alone"))]  # fmt: skip
    taken = [first.colour or 0]
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        other = replace(plain_item(rng), shape=first.shape if same else rng.randrange(len(SHAPES)), late=True)
        other.colour = other_colour(rng, *taken)
        taken.append(other.colour)
        talk.items.append(other)
        talk.edits.append(Edit("add", len(talk.items) - 1))
        words = article(f"{COLOURS[other.colour]} one" if same else looks_of(other))
        parts.append(f"{words} {came}")
    ending = rng.random()
    left = len(talk.items)
    if ending < 0.3:
        number = rng.randrange(left)
        talk.edits.append(Edit("remove", number))
        which = f"the {COLOURS[talk.items[number].colour or 0]} one"
        parts.append(
            f"{which} {rng.choice(('left', 'went home', 'went away') if past else ('leaves', 'goes home', 'goes away'))}"
        )
    elif ending < 0.45:
        colour = other_colour(rng, *taken)
        talk.edits += [Edit("colour", i, colour) for i in range(left)]
        them = "both" if left == 2 else "all of them"
        parts.append(f"{them} {'turned' if past else 'turn'} {COLOURS[colour]}")
    text = in_sentences(rng, parts)
    return (
        re.sub(r"\b([Tt]hen) (an? [a-z ]+?) (came|comes)\b", r"\1 \3 \2", text)
        if rng.random() < 0.6
        else text
    )


def _travels(rng: random.Random, talk: Talk) -> str:
    """It goes over three places, or to one of them and back."""
    item = plain_item(rng)
    path = list(rng.choice(_WAYS_ACROSS))
    if rng.random() < 0.3:
        path = [path[0], path[2], path[0]] if rng.random() < 0.5 else [path[0], path[2]]
    item.cell = path[0]
    talk.items = [item]
    talk.edits = [Edit("move", 0, cell) for cell in path[1:]]
    words = [_WORDS[cell] for cell in path]
    called, verb = article(looks_of(item)), rng.choice(("moves", "goes", "wanders", "travels"))
    if rng.random() < 0.5:
        noun, shape, verb = rng.choice((("ball", 0, "rolls"), ("hoop", SHAPES.index("ring"), "rolls"), ("balloon", 0, "flies"),
                                        ("snowflake", SHAPES.index("star"), "drifts"), ("kite", SHAPES.index("diamond"), "flies")))  # fmt: skip
        item.shape = shape
        called = f"{article(noun)} ({rng.choice((looks_of(item), article(looks_of(item))))})"
    way = " to the ".join(words[1:])
    if len(path) == 3 and path[0] != path[2]:
        way = rng.choice((f"to the {words[1]} and then to the {words[2]}", f"over the {words[1]} to the {words[2]}",
                          f"to the {words[1]}, then to the {words[2]}", f"to the {words[1]} and on to the {words[2]}"))  # fmt: skip
        if rng.random() < 0.3:
            return f"{called} {verb}: {', '.join(words[:2])}, {rng.choice(('', 'then '))}{words[2]}"
    elif len(path) == 3:
        way = rng.choice(
            (
                f"to the {words[1]} and back",
                f"to the {words[1]} and comes back",
                f"to the {words[1]} and back again",
            )
        )
    else:
        way = f"to the {words[1]}"
    return f"{called} {verb} from the {words[0]} {way}"


def _sun(rng: random.Random, talk: Talk) -> str:
    """A sun or a star, and the light of the day or the seasons behind it."""
    blue, black = COLOURS.index("blue"), COLOURS.index("black")
    sun = rng.choice((COLOURS.index("yellow"),) * 3 + (COLOURS.index("orange"), COLOURS.index("red")))
    skies = rng.choice(((blue, COLOURS.index("orange"), black), (black, blue), (blue, black), (COLOURS.index("red"), blue, black),
                        (black, COLOURS.index("orange"), blue), (blue, COLOURS.index("red"), black),
                        tuple(rng.sample(range(len(COLOURS)), rng.choice((2, 3))))))  # fmt: skip
    if sun in skies:
        return ""
    name = rng.choice(("sun", "sun", "star", "circle"))
    talk.items = [Item(SHAPES.index("star" if name == "star" else "circle"), sun)]
    talk.ground = skies[0]
    talk.edits = [Edit("ground", 0, sky) for sky in skies[1:]]
    words = [COLOURS[sky] for sky in skies]
    what = rng.choice(("the sky", "the sky", "the background"))
    turns = in_sentences(
        rng, [f"{what} {rng.choice(('turns', 'becomes', 'gets'))} {word}" for word in words[1:]]
    )
    lead = rng.choice(
        (
            "",
            "",
            "A day passes: ",
            "The evening comes: " if skies[-1] == black else "",
            "Night and day: " if black in skies else "",
            "the day goes by: ",
            "the light changes: ",
        )
    )
    first = f"{article(f'{COLOURS[sun]} {name}')} on {article(words[0])} {what.split()[1]}"
    if rng.random() < 0.2:
        return f"{lead}{first}, then the {what.split()[1]} is {' and then '.join(words[1:])}"
    return lead + first + rng.choice((", ", ", then ", ". Then ")) + turns


def _lights(rng: random.Random, talk: Talk) -> str:
    """Lights that go on and off, one after the other."""
    if rng.random() < 0.4:
        order = rng.choice(((0, 1, 2), (2, 1, 0)))
        three = [(COLOURS.index("red"), 1), (COLOURS.index("yellow"), 4), (COLOURS.index("green"), 7)]
        for number, i in enumerate(order):
            colour, cell = three[i]
            talk.items.append(Item(0, colour, cell=cell, late=number > 0))
            if number:
                talk.edits += [Edit("remove", number - 1), Edit("add", number)]
        words = [COLOURS[three[i][0]] for i in order]
        return rng.choice((
            f"a traffic light where only one light is on: {words[0]}, then {words[1]}, then {words[2]}",
            f"how a traffic light changes: only {words[0]}, only {words[1]}, only {words[2]}",
            f"traffic light: first only {words[0]} is on, then only {words[1]}, at last only {words[2]}",
            f"a traffic light shows only {words[0]}, then only {words[1]} and then only {words[2]}",
        ))  # fmt: skip
    colours = rng.sample(range(len(COLOURS)), rng.choice((2, 3)))
    talk.items = [Item(0, colour, late=i > 0) for i, colour in enumerate(colours)]
    talk.edits = [Edit("add", i) for i in range(1, len(colours))]
    on = rng.choice(("goes on", "is switched on", "lights up"))
    parts = [f"{article(f'{COLOURS[colour]} light')} {on}" for colour in colours]
    if rng.random() < 0.6:
        number = rng.randrange(len(colours))
        talk.edits.append(Edit("remove", number))
        parts.append(
            f"the {COLOURS[colours[number]]} {rng.choice(('one', 'light'))} {rng.choice(('goes off', 'goes out', 'is switched off'))}"
        )
    return in_sentences(rng, parts)


def _built(rng: random.Random, talk: Talk) -> str:
    """A thing, what comes above, beside or around it, and what goes again: told as a scene."""
    middle, other = plain_item(rng), plain_item(rng)
    other.shape = (middle.shape + rng.randrange(1, len(SHAPES))) % len(SHAPES)
    other.late = True
    talk.items = [middle, other]
    relation, words = rng.choice(
        (
            ("above", "above it"),
            ("below", "under it"),
            ("left of", "to its left"),
            ("right of", "to its right"),
        )
    )
    other.beside = relation, 0
    talk.edits = [Edit("add", 1)]
    past = rng.random() < 0.5
    a, b = SHAPES[middle.shape], SHAPES[other.shape]
    parts = [f"{article(looks_of(middle))} {'stood' if past else 'stands'} there",
             f"{article(looks_of(other))} {'appeared' if past else 'appears'} {words}"]  # fmt: skip
    number, name = rng.choice(((0, a), (1, b)))
    if rng.random() < 0.6:
        talk.edits.append(Edit("remove", number))
        parts.append(f"the {name} {'disappeared' if past else 'disappears'}")
    else:
        colour = other_colour(rng, talk.items[number].colour or 0)
        talk.edits.append(Edit("colour", number, colour))
        parts.append(f"the {name} {'turned' if past else 'turns'} {COLOURS[colour]}")
    return in_sentences(rng, parts)


_TALES: dict[Callable[[random.Random, Talk], str], int] = {
    _grows: 5, _wants: 2, _colours: 5, _friends: 5, _travels: 4, _sun: 4, _lights: 3, _built: 2,
}  # fmt: skip


def tale(rng: random.Random) -> Request:
    """A story of things."""
    (make,) = rng.choices(tuple(_TALES), tuple(_TALES.values()))
    while True:
        talk = Talk()
        text = make(rng, talk)
        steps = steps_of(talk) if text else None
        if steps is None or len(steps) > MOST_STEPS:
            continue
        return spoken_request(dressed(rng, _told(rng, text, len(steps))), steps, clauses_in_full(steps))


def _told(rng: random.Random, text: str, steps: int) -> str:
    """The text as a story: with a lead, the number of its pictures, an end."""
    lead = rng.choice(_LEAD)
    if rng.random() < 0.12:
        count = rng.choice((NUMBERS[steps], str(steps)))
        lead = rng.choice((f"story in {count} pictures: ", f"a story in {count} pictures: ", f"{count} pictures: ",
                           f"Draw a story in {count} steps: "))  # fmt: skip
    if lead == "" or lead.endswith(". "):
        text = text[0].upper() + text[1:] if rng.random() < 0.6 else text
    return lead + text + rng.choice(_END)
