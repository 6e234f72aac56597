"""Episodes: things that show up somewhere and what becomes of them, one after the other, by day and by night."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from interleave_rt.worlds.shapes.scene import CELLS, COLOURS, SHAPES, Transition, other_colour

from .grammar import article
from .phrases import NUMBERS, PLACES, dressed
from .plans import MOST_STEPS, Request
from .tales import in_sentences, looks_of, plain_item
from .wishes import Edit, Item, Talk, clauses_in_full, on_ground, spoken_request, steps_of

_LEAD = ("",) * 18 + ( "Story: ", "a story: ", "Tell me a story. ", "draw this: ", "please draw: ", "Picture this: ",
         "a little story for kids: ", "Show me this: ", "can you draw this story? ", "in pictures please: ")  # fmt: skip
_END = ("", "", "", "", "", ".", ".", ".", ". The end.", ". thats all", ", please", ". Thanks!")
_TO = ("to the top left", "to the top", "to the top right", "to the left", "to the middle", "to the right",
       "to the bottom left", "to the bottom", "to the bottom right")  # fmt: skip
_BLUE, _BLACK = COLOURS.index("blue"), COLOURS.index("black")
_DARK = ("night falls", "night comes", "it is night", "the night comes", "it gets dark and the sky turns black", "at night the sky is black",
         "it becomes night", "the sky goes black", "in the night the background is black")  # fmt: skip
_LIGHT = ("day breaks", "the day comes", "it is day", "in the morning the sky is blue", "it gets light and the sky turns blue",
          "it becomes day", "the sky goes blue", "by day the background is blue", "the morning comes and the sky turns blue")  # fmt: skip
_PAST = {"turns": "turned", "becomes": "became", "goes": "went", "gets": "got", "grows": "grew", "shrinks": "shrank", "moves": "moved",
         "jumps": "jumped", "flies": "flew", "hops": "hopped", "slides": "slid", "disappears": "disappeared", "is": "was",
         "vanishes": "vanished", "leaves": "left", "fades": "faded", "comes": "came", "returns": "returned", "appears": "appeared",
         "changes": "changed", "shows": "showed", "pops": "popped", "starts": "started", "sits": "sat", "stands": "stood",
         "arrives": "arrived", "swells": "swelled", "lands": "landed", "joins": "joined"}  # fmt: skip
_GOES = (
    "disappears",
    "is gone",
    "goes away",
    "vanishes",
    "leaves",
    "flies away",
    "fades away",
    "goes out of the picture",
)
_COMES = ("appears", "shows up", "pops up", "comes out", "turns up", "sits", "stands", "arrives", "lands")


def _tense(past: bool, verb: str) -> str:
    """What a thing does, now or then: "turns red", "turned red"."""
    first, space, rest = verb.partition(" ")
    return _PAST[first] + space + rest if past else verb


def _change(rng: random.Random, talk: Talk, number: int, now: Item, used: set[str]) -> str | None:
    """One more thing that happens to an item, in words without a subject; `now` is what it looks like by then."""
    kind = rng.choice([one for one in ("colour", "colour", "size", "move", "shape") if one not in used])
    used.add(kind)
    if kind == "colour":
        colour = other_colour(rng, *[c for c in (now.colour, talk.ground) if c is not None])
        talk.edits.append(Edit("colour", number, colour))
        now.colour = colour
        return rng.choice(
            ("turns {v}", "turns {v}", "becomes {v}", "goes {v}", "changes to {v}", "gets {v}")
        ).format(v=COLOURS[colour])
    if kind == "size":
        if now.pattern:
            return None
        if now.size is None:
            now.size = talk.items[number].size = rng.randrange(2)
        now.size = 1 - now.size
        talk.edits.append(Edit("size", number, now.size))
        return rng.choice(
            ("grows", "gets bigger", "gets big", "becomes large", "swells up", "grows big")
            if now.size
            else ("shrinks", "gets smaller", "gets small", "becomes small", "becomes tiny", "gets tiny")
        )
    if kind == "move":
        cell = rng.randrange(CELLS)
        if now.cell is None or cell == now.cell:
            return None
        now.cell = cell
        talk.edits.append(Edit("move", number, cell))
        return f"{rng.choice(('moves', 'moves', 'goes', 'jumps', 'flies', 'hops', 'slides'))} {_TO[cell]}"
    shape = rng.choice([one for one in range(len(SHAPES)) if one != now.shape])
    now.shape = shape
    talk.edits.append(Edit("shape", number, shape))
    return rng.choice(("turns into {x}", "becomes {x}", "changes into {x}")).format(x=article(SHAPES[shape]))


def _life(rng: random.Random, talk: Talk) -> str | None:
    """It shows up somewhere, one to three things happen to it, perhaps it goes, perhaps it comes back."""
    item = plain_item(rng, sized=rng.random() < 0.25)
    if rng.random() < 0.12:
        item.pattern, item.size = rng.choice((1, 2)), None
    if rng.random() < 0.75:
        item.cell = rng.randrange(CELLS)
    talk.items = [item]
    if rng.random() < 0.25:
        talk.ground = other_colour(rng, item.colour or 0)
    now, used = replace(item), set[str]()
    says: list[str] = []
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2))):
        said = _change(rng, talk, 0, now, used)
        if said is None:
            return None
        says.append(said)
    if used and "size" in used and rng.random() < 0.2 and says[-1] in ("grows", "shrinks"):
        talk.edits.append(Edit("size", 0, 1 - (now.size or 0)))
        says.append("shrinks again" if says[-1] == "grows" else "grows again")
    if not says or rng.random() < 0.5:
        talk.edits.append(Edit("remove", 0))
        says.append(rng.choice(_GOES))
        if rng.random() < 0.4:
            colour = now.colour or 0
            words = rng.choice(("comes back", "returns", "is back again", "appears again"))
            if rng.random() < 0.4:
                colour = other_colour(rng, colour)
                words = rng.choice(("comes back in {v}", "returns and is {v} this time", "comes back, but {v}")).format(v=COLOURS[colour])  # fmt: skip
            talk.edits.append(Edit("back", 0, colour))
            says.append(words)
    past = rng.random() < 0.25
    says = [_tense(past, said) for said in says]
    looks = (["striped", "dotted"][item.pattern - 1] + " " if item.pattern else "") + looks_of(item)
    thing, name = article(looks), SHAPES[item.shape]
    where = "" if item.cell is None else " " + rng.choice(PLACES[item.cell])
    ground = "" if talk.ground is None else on_ground(rng, talk.ground)
    kind = rng.random()
    if kind < 0.25:  # one sentence, one subject
        says = [_tense(past, rng.choice(_COMES)) + where, *says]
        says[0] += ground
        last = rng.choice((" and then ", ", then ", " and finally ", " and "))
        return f"{thing} {rng.choice(('', '', 'that '))}{', '.join(says[:-1])}{last}{says[-1]}"
    if kind < 0.35 and not where:
        return f"{thing}{ground} that {rng.choice((', then ', ' and then ')).join(says)}"
    first = rng.choice((f"{thing} {_tense(past, rng.choice(_COMES))}{where}", f"there {_tense(past, 'is')} {thing}{where}",
                        f"{thing}{where}", f"{looks}{where}", f"it {_tense(past, 'starts')} with {thing}{where}"))  # fmt: skip
    parts = [first + ground]
    for said in says:
        by_name = rng.random() < 0.3 and "shape" not in used
        parts.append(f"{f'the {name}' if by_name else 'it'} {said}")
    return in_sentences(rng, parts)


def _company(rng: random.Random, talk: Talk) -> str | None:
    """Another one comes to its side, and one of them leaves or changes."""
    one, other = plain_item(rng), replace(plain_item(rng), late=True)
    same = rng.random() < 0.5
    other.shape = one.shape if same else (one.shape + rng.randrange(1, len(SHAPES))) % len(SHAPES)
    if other.colour == one.colour:
        return None
    one.cell = rng.choice((4, 4, 4, 7, 3, 5, 1))
    relation, words = rng.choice((("above", "above it"), ("above", "on top of it"), ("below", "under it"), ("left of", "to its left"),
                                  ("right of", "to its right"), ("right of", "next to it"), ("left of", "left of it"),
                                  ("right of", "on its right"), ("left of", "on its left")))  # fmt: skip
    other.beside = relation, 0
    talk.items, talk.edits = [one, other], [Edit("add", 1)]
    past = rng.random() < 0.25
    names = (f"{COLOURS[one.colour or 0]} one", f"{COLOURS[other.colour or 0]} one") if same else (
        SHAPES[one.shape], SHAPES[other.shape])  # fmt: skip
    parts = [f"{article(looks_of(one))} {_tense(past, rng.choice(_COMES))} {rng.choice(PLACES[one.cell])}",
             f"{article(looks_of(other))} {_tense(past, rng.choice(('appears', 'shows up', 'joins it', 'comes', 'lands', 'pops up')))} {words}"
             .replace("joined it", "joined").replace("joins it", "appears")]  # fmt: skip
    if relation in ("left of", "right of") and rng.random() < 0.3:
        side = relation.split()[0]
        parts[1] = f"{article(looks_of(other))} {_tense(past, 'joins it')} on the {side}"
    if not past and rng.random() < 0.2:
        if rng.random() < 0.5:
            talk.edits += [Edit("remove", 0), Edit("remove", 1)]
            parts.append(
                rng.choice(("both disappear", "both go away", "they both leave", "both of them vanish"))
            )
        else:
            colour = other_colour(rng, one.colour or 0, other.colour or 0)
            talk.edits += [Edit("colour", 0, colour), Edit("colour", 1, colour)]
            parts.append(
                rng.choice(("both turn {v}", "they both become {v}", "both of them get {v}")).format(
                    v=COLOURS[colour]
                )
            )
        return in_sentences(rng, parts)
    both = list(range(2))
    rng.shuffle(both)
    for number in both[: rng.choice((1, 1, 2))]:
        if rng.random() < 0.55:
            talk.edits.append(Edit("remove", number))
            said = rng.choice(_GOES)
        else:
            colour = other_colour(rng, one.colour or 0, other.colour or 0)
            talk.edits.append(Edit("colour", number, colour))
            said = f"{rng.choice(('turns', 'becomes', 'gets', 'goes'))} {COLOURS[colour]}"
        parts.append(f"the {names[number]} {_tense(past, said)}")
    return in_sentences(rng, parts)


_WAYS = (
    ((3, 4, 5), ("from left to right", "left to right", "from the left to the right")),
    ((5, 4, 3), ("from right to left", "right to left")),
    ((1, 4, 7), ("from top to bottom", "top to bottom", "from the top down")),
    ((7, 4, 1), ("from bottom to top", "from the bottom up", "bottom to top")),
    ((0, 1, 2), ("at the top from left to right", "along the top, left to right")),
    ((6, 7, 8), ("at the bottom from left to right", "along the bottom, left to right")),
)


def _one_by_one(rng: random.Random, talk: Talk) -> str | None:
    """Lights or things that come one after the other in a told direction; perhaps all or one go again."""
    noun, shape = rng.choice((*[("light", 0)] * 4, *((name, i) for i, name in enumerate(SHAPES))))
    cells, ways = rng.choice(_WAYS)
    alike = rng.random() < 0.35
    colours = [rng.randrange(len(COLOURS))] * 3 if alike else rng.sample(range(len(COLOURS)), 3)
    talk.items = [
        Item(shape, colour, cell=cell, late=i > 0)
        for i, (colour, cell) in enumerate(zip(colours, cells, strict=True))
    ]
    talk.edits = [Edit("add", 1), Edit("add", 2)]
    words = [COLOURS[colour] for colour in colours]
    verb = rng.choice(("go on", "light up", "are switched on", "come on") if "light" in noun else
                      ("appear", "show up", "pop up", "come", "come out", "arrive"))  # fmt: skip
    after = rng.choice(("one after another", "one after the other", "one by one"))
    count, way = rng.choice(("three", "three", "3")), rng.choice(ways)
    ground = ""
    if rng.random() < 0.4:
        talk.ground = rng.choice((_BLACK, _BLACK, rng.randrange(len(COLOURS))))
        ground = on_ground(rng, talk.ground)
    listed = rng.choice((", ".join(words), f"{words[0]}, {words[1]} and {words[2]}", ", then ".join(words)))
    if alike:
        text = rng.choice((f"{count} {words[0]} {noun}s {verb} {after}, {way}{ground}", f"{count} {words[0]} {noun}s {verb} {after} {way}{ground}",
                           f"{count} {words[0]} {noun}s{ground} {verb} {way}, {after}"))  # fmt: skip
    else:
        text = rng.choice((f"{count} {noun}s {verb} {after}, {way}{ground}: {listed}", f"{count} {noun}s {verb} {way}{ground}: {listed}",
                           f"{count} {noun}s{ground} {verb} {after}, {listed}, {way}",
                           f"{after} a {words[0]}, a {words[1]} and a {words[2]} {noun} {verb}, {way}{ground}"))  # fmt: skip
        text = text.replace("a orange", "an orange")
    if rng.random() < 0.4:
        off = ("go out", "go off") if "light" in noun else ("disappear", "go away", "leave")
        if not alike and rng.random() < 0.6:
            number = rng.randrange(3)
            talk.edits.append(Edit("remove", number))
            be = rng.choice(
                ("goes out", "goes off") if "light" in noun else ("disappears", "goes away", "leaves")
            )
            return f"{text}. Then the {words[number]} one {be}"
        talk.edits += [Edit("remove", i) for i in range(3)]
        text += rng.choice((". Then they {o} in the same order", ". Then all of them {o}, the first one first", ". After that they {o} again, one by one, in the same order")).format(o=rng.choice(off))  # fmt: skip
    return text


def _count(rng: random.Random, talk: Talk) -> str | None:
    """First one, then two, then three; or fewer and fewer."""
    shape, colour = rng.randrange(len(SHAPES)), rng.randrange(len(COLOURS))
    most = rng.choice((2, 3, 3))
    name = f"{COLOURS[colour]} {SHAPES[shape]}"
    down = rng.random() < 0.5
    talk.items = [Item(shape, colour, late=not down and i > 0) for i in range(most)]
    ground = ""
    if rng.random() < 0.3:
        talk.ground = other_colour(rng, colour)
        ground = on_ground(rng, talk.ground)
        if ground.startswith(","):
            ground = ""
            talk.ground = None
    numbers = list(range(most, 0, -1)) if down else list(range(1, most + 1))
    if down and rng.random() < 0.5:
        numbers.append(0)
    talk.edits = [
        Edit("remove" if down else "add", i)
        for i in (reversed(range(numbers[-1], most)) if down else range(1, most))
    ]
    said = ["none" if n == 0 else NUMBERS[n] if rng.random() < 0.8 else str(n) for n in numbers]
    start = f"{said[0]} {name}{'s' if numbers[0] > 1 else ''}{ground}"
    then = rng.choice((", then ", " and then ", ", after that "))
    only = "only " if down and rng.random() < 0.4 else ""
    rest = "".join(f"{then}{only if one != 'none' else ''}{one}" for one in said[1:])
    return rng.choice(("", "", "first ", "First ")) + start + rest


def _at_places(rng: random.Random, talk: Talk) -> str | None:
    """Alike things that come one after the other, each to its own place."""
    colour, shape = rng.randrange(len(COLOURS)), rng.randrange(len(SHAPES))
    cells = rng.sample(range(CELLS), rng.choice((2, 3, 3, 4)))
    talk.items = [Item(shape, colour, cell=cell, late=i > 0) for i, cell in enumerate(cells)]
    talk.edits = [Edit("add", i) for i in range(1, len(cells))]
    things = f"{COLOURS[colour]} {SHAPES[shape]}s"
    places = [rng.choice(PLACES[cell]) for cell in cells]
    verb = rng.choice(("appear", "show up", "pop up", "come", "fall from the sky", "arrive one by one"))
    ones = [f"{rng.choice(('then one', 'one', 'another one'))} {place}" for place in places[1:]]
    listed = ", ".join([f"one {places[0]}", *ones])
    if rng.random() < 0.3:
        listed = ", then ".join((f"first {places[0]}", *places[1:]))
    if rng.random() < 0.4:
        thing = article(things[:-1])
        comes = rng.choice(("appears", "shows up", "pops up", "comes out"))
        rest = rng.choice((". Then another one {p}", ", then one more {p}", ", and then another one {p}"))
        return f"{thing} {comes} {places[0]}" + "".join(rest.format(p=place) for place in places[1:])
    count = rng.choice(("", "", f"{NUMBERS[len(cells)]} "))
    return f"{count}{things} {verb}: {listed}"


def _becomes(rng: random.Random, talk: Talk) -> str | None:
    """It turns into other things, one after the other."""
    item = plain_item(rng)
    item.size = None
    others = rng.sample([i for i in range(len(SHAPES)) if i != item.shape], rng.choice((1, 2, 2)))
    if rng.random() < 0.4:
        item.cell = rng.randrange(CELLS)
    talk.items = [item]
    coloured = rng.random() < 0.3
    names, colour = [], item.colour or 0
    for other in others:
        if coloured:
            colour = other_colour(rng, colour)
            talk.edits.append(Edit("thing", 0, other * len(COLOURS) + colour))
            names.append(article(f"{COLOURS[colour]} {SHAPES[other]}"))
        else:
            talk.edits.append(Edit("shape", 0, other))
            names.append(article(SHAPES[other]))
    where = "" if item.cell is None else " " + rng.choice(PLACES[item.cell])
    thing = f"{article(looks_of(item))}{where}"
    verb = rng.choice(("turns into", "becomes", "changes into", "transforms into"))
    row = rng.choice((" and then ", ", then ", ", then into " if "into" in verb else ", then ")).join(names)
    return rng.choice((f"{thing} {verb} {row}", f"{thing} that {verb} {row}", f"magic: {thing} {verb} {row}",
                       f"there is {thing}. It {verb} {row}", f"{thing}. Suddenly it {verb} {row}"))  # fmt: skip


def _sky(rng: random.Random, talk: Talk) -> str | None:
    """Night and day around a thing or two that come and go with them."""
    dark = rng.random() < 0.5
    talk.ground = _BLACK if dark else _BLUE
    yellow = COLOURS.index("yellow")
    name, item = rng.choice(
        (
            ("star", Item(SHAPES.index("star"), yellow)),
            ("sun", Item(0, yellow)),
            ("", plain_item(rng)),
            ("", plain_item(rng)),
        )
    )
    item = replace(item, size=None)
    if item.colour in (_BLACK, _BLUE):
        return None
    looks = f"{COLOURS[yellow]} {name}" if name else looks_of(item)
    item.cell = rng.choice((None, *range(CELLS)))
    where = "" if item.cell is None else " " + rng.choice(PLACES[item.cell])
    talk.items = [item]
    lead = rng.choice(("it is night", "it's night", "at night", "night", "in the night", "black sky") if dark else
                       ("it is day", "it's day", "by day", "a blue sky", "daytime", "blue sky"))  # fmt: skip
    parts = [f"{lead}{rng.choice((': ', ', '))}{article(looks)} {rng.choice(_COMES[:5])}{where}"]
    it = f"the {name or SHAPES[item.shape]}"
    if rng.random() < 0.3:
        other = replace(plain_item(rng), late=True, shape=(item.shape + rng.randrange(1, 8)) % 8)
        if other.colour in (_BLACK, _BLUE, item.colour):
            return None
        talk.items.append(other)
        talk.edits.append(Edit("add", 1))
        parts.append(f"{article(looks_of(other))} {rng.choice(_COMES[:3])}")
    talk.edits.append(Edit("ground", 0, _BLUE if dark else _BLACK))
    turn = rng.choice(_LIGHT if dark else _DARK)
    kind = rng.random()
    if kind < 0.4:
        talk.edits.append(Edit("remove", 0))
        gone = f"{it} {rng.choice(_GOES[:4])}"
        parts += [f"{turn} and {gone}"] if " and " not in turn and rng.random() < 0.4 else [turn, gone]
    elif kind < 0.6:
        talk.edits.append(Edit("ground", 0, talk.ground))
        parts += [turn, rng.choice(_DARK if dark else _LIGHT)]
    else:
        parts.append(turn)
    return in_sentences(rng, parts)


def _journey(rng: random.Random, talk: Talk) -> str | None:
    """It goes from place to place, and something happens where it ends."""
    item = plain_item(rng, sized=rng.random() < 0.25)
    path, way = rng.choice((((1, 7), "falls from the top to the bottom"), ((1, 4, 7), "falls from the top over the middle to the bottom"),
                            ((7, 1), "rises from the bottom to the top"), ((3, 5), "moves from left to right"), ((5, 3), "moves from right to left"),
                            ((3, 4, 5), "moves from the left to the middle and then to the right"), ((0, 8), "falls from the top left to the bottom right"),
                            ((6, 2), "flies from the bottom left to the top right"), ((7, 4, 1), "climbs from the bottom over the middle to the top")))  # fmt: skip
    item.cell = path[0]
    talk.items = [item]
    talk.edits = [Edit("move", 0, cell) for cell in path[1:]]
    colour = other_colour(rng, item.colour or 0)
    kind = rng.choice(("colour", "colour", "remove", "remove", "size"))
    if kind == "size":
        item.size = rng.randrange(2) if item.size is None else item.size
        end = rng.choice(("grows", "gets bigger") if not item.size else ("shrinks", "gets smaller"))
        talk.edits.append(Edit("size", 0, 1 - item.size))
    elif kind == "colour":
        end = f"{rng.choice(('turns', 'becomes'))} {COLOURS[colour]}"
        talk.edits.append(Edit("colour", 0, colour))
    else:
        end = rng.choice(("disappears", "vanishes", "is gone"))
        talk.edits.append(Edit("remove", 0))
    link = rng.choice((" and there it {e}", ". There it {e}", " and {e} there", " and then {e}", ", where it {e}", ". When it is there, it {e}",
                       ", then it {e}", ". Then it {e}"))  # fmt: skip
    that = rng.choice(("", "", "", "that "))
    return f"{article(looks_of(item))} {that}{way}{link.format(e=end)}"


def _eats(rng: random.Random, talk: Talk) -> str | None:
    """One of two eats the other, and perhaps grows or changes its colour."""
    one, other = plain_item(rng), plain_item(rng)
    if one.colour == other.colour:
        return None
    one.size = rng.choice((None, 0, 1))
    same = rng.random() < 0.5
    other.shape = one.shape if same else (one.shape + rng.randrange(1, len(SHAPES))) % len(SHAPES)
    talk.items, talk.edits = [one, other], [Edit("remove", 1)]
    eater, eaten = (f"the {COLOURS[one.colour or 0]} one", f"the {COLOURS[other.colour or 0]} one") if same else (
        f"the {SHAPES[one.shape]}", f"the {SHAPES[other.shape]}")  # fmt: skip
    first = rng.choice(("{a} and {b}", "there are {a} and {b}", "{a} meets {b}", "{a}, next to it {b}"))
    if first.startswith("{a}, next"):
        other.beside = "right of", 0
        one.cell = 4
    parts = [
        first.format(a=article(looks_of(one)), b=article(looks_of(other))),
        f"{eater} {rng.choice(('eats', 'eats up', 'swallows'))} {eaten}",
    ]
    kind = rng.random()
    if kind < 0.3 and one.size == 0:
        talk.edits.append(Edit("size", 0, 1))
        parts.append(rng.choice((f"{eater} grows", "it grows", "it gets big")))
    elif kind < 0.5:
        colour = other_colour(rng, one.colour or 0)
        talk.edits.append(Edit("colour", 0, colour))
        parts.append(f"{rng.choice((eater, 'it'))} {rng.choice(('turns', 'becomes'))} {COLOURS[colour]}")
    return in_sentences(rng, parts)


def _beats(rng: random.Random, talk: Talk) -> str | None:
    """It is small and large by turns, or there and gone by turns."""
    item = plain_item(rng)
    talk.items = [item]
    times = rng.choice((2, 2, 3))
    if rng.random() < 0.2:
        item.shape = SHAPES.index("heart")
    ground = ""
    if rng.random() < 0.2:
        talk.ground = other_colour(rng, item.colour or 0)
        ground = f" on {COLOURS[talk.ground]}"
    if rng.random() < 0.5:
        item.size = rng.randrange(2)
        talk.edits = [Edit("size", 0, item.size ^ (i % 2)) for i in range(1, times + 1)]
        big = rng.choice(("big", "large"))
        words = [("small", big)[item.size ^ (i % 2)] for i in range(times + 1)]
        verb = rng.choice(("beats", "pulses", "throbs", "changes its size", "grows and shrinks"))
        name = f"{COLOURS[item.colour or 0]} {SHAPES[item.shape]}"
        return f"{article(name)}{ground} {verb}: {rng.choice((', ', ', then ')).join(words)}"
    talk.edits = [Edit("remove" if i % 2 else "back", 0, item.colour or 0) for i in range(1, times + 1)]
    light = item.shape == 0 and rng.random() < 0.7
    name = f"{COLOURS[item.colour or 0]} {'light' if light else SHAPES[item.shape]}"
    there, gone = (
        ("on", "off") if light else rng.choice((("there", "gone"), ("there", "not there"), ("here", "gone")))
    )
    words = [gone if i % 2 else there for i in range(times + 1)]
    again = rng.random() < 0.3
    row = ", ".join(words[:2] + [f"{word} again" if again else word for word in words[2:]])
    return f"{article(name)}{ground} {rng.choice(('blinks', 'flashes', 'comes and goes' if not light else 'goes on and off'))}: {row}"


def _backdrop(rng: random.Random, talk: Talk) -> str | None:
    """A thing or two before a background that goes through colours."""
    item = plain_item(rng, sized=rng.random() < 0.3)
    grounds = rng.sample([i for i in range(len(COLOURS)) if i != item.colour], rng.choice((2, 2, 3)))
    if rng.random() < 0.15:
        grounds = [*grounds[:2], grounds[0]]
    if rng.random() < 0.5:
        item.cell = rng.randrange(CELLS)
    talk.items, talk.ground = [item], grounds[0]
    talk.edits = [Edit("ground", 0, ground) for ground in grounds[1:]]
    words = [COLOURS[ground] for ground in grounds]
    thing = article(looks_of(item)) + ("" if item.cell is None else " " + rng.choice(PLACES[item.cell]))
    what = rng.choice(("background", "background", "sky"))
    row = rng.choice((" to ", " and then to ", ", then to ")).join(words[1:])
    becomes = rng.choice((" and then ", ", then ")).join(words[1:])
    back = " again" if len(words) == 3 and words[0] == words[2] else ""
    return rng.choice((f"{thing}, the {what} goes from {words[0]} to {row}{back}", f"{thing} while the {what} changes from {words[0]} to {row}{back}",
                       f"{thing} on a {what} that turns from {words[0]} to {row}{back}".replace("on a sky that", "in a sky that"),
                       f"{thing}. The {what} is {words[0]}, then it becomes {becomes}{back}", f"{thing} with a {what} that is first {words[0]}, then {becomes}{back}",
                       f"{thing} on {words[0]}, then on {', then on '.join(words[1:])}{back}", f"{thing} on {article(words[0])} background. Make it {becomes}{back}".replace("Make it", f"Then the {what} becomes"),
                       f"{thing}. {what.capitalize()}: {', then '.join(words)}{back}"))  # fmt: skip


_KINDS: dict[Callable[[random.Random, Talk], str | None], int] = {
    _life: 8, _company: 4, _one_by_one: 4, _at_places: 3, _count: 2, _becomes: 2, _sky: 4, _journey: 3, _eats: 2, _beats: 2, _backdrop: 3,
}  # fmt: skip


def episode(rng: random.Random) -> Request:
    """A few events of things that come, change and go."""
    (make,) = rng.choices(tuple(_KINDS), tuple(_KINDS.values()))
    while True:
        talk = Talk()
        text = make(rng, talk)
        steps = steps_of(talk) if text else None
        if text is None or steps is None or not 2 <= len(steps) <= MOST_STEPS:
            continue
        return _asked(rng, text, steps)


def _asked(rng: random.Random, text: str, steps: Sequence[Transition]) -> Request:
    lead = rng.choice(_LEAD)
    if (not lead or lead[-2] in ".?") and rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    return spoken_request(dressed(rng, lead + text + rng.choice(_END)), steps, clauses_in_full(steps))
