"""The right words of every role: rendered prompts and the answers that the models learn."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from interleave_rt.worlds.shapes.scene import (
    CELLS,
    COLOURS,
    PATTERNS,
    POSITIONS,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    Transition,
    other_colour,
    random_thing,
)

from .files import template
from .grammar import anchor, article, explicit, parse, style_of
from .places import STYLES, at
from .plans import Groups, Mode, Request

IMAGE_TOKENS = 9
"""Merged vision tokens of a 96x96 picture (patch 16, merge 2): one a cell."""

_IMAGE = "<|vision_start|>" + "<|image_pad|>" * IMAGE_TOKENS + "<|vision_end|>"


def chat(content: str) -> str:
    """One user message and the opening of the answer; every `<image>` becomes its vision tokens."""
    return f"<|im_start|>user\n{content.replace('<image>', _IMAGE)}<|im_end|>\n<|im_start|>assistant\n"


def generator_prompt(prompt: str) -> str:
    """What the text encoder of the generator reads."""
    return chat(prompt)


def planner_prompt(text: str, mode: Mode) -> str:
    """What the planner reads."""
    return chat(template(f"{mode}.txt").replace("{text_input}", text))


def critic_prompt(original: str, rewritten: str) -> str:
    """What the critic reads: the plan's prompt, the prompt that was used, the two pictures."""
    text = template("critic.txt").replace("{original_instruction}", original)
    return chat(text.replace("{rewritten_prompt}", rewritten))


def plan_answer(request: Request) -> str:
    """The planner's right answer: what it thinks of, and the plan.

    That is the names of the steps, or all that the last of the given pictures shows, cell by cell; what is asked about,
    or will change, is counted on the way. To name what stands at a place, or how many there are, is easy for a small
    model once it has written that down, and so is to tell of each thing whether it is meant.
    """
    plan = [
        {
            "step_number": request.first_number + i,
            "step_name": step.step_name,
            "instruction": step.instruction,
            "prompt": step.prompt,
            "auxiliary_text": step.auxiliary_text,
        }
        for i, step in enumerate(request.steps)
    ]
    if request.images:
        thought = _survey(
            request.images[-1], request.looked or _will_change(request.images[-1], request.scenes)
        )
    else:
        thought = ", ".join(step.step_name for step in request.steps)
    return f"<think>{thought}</think><answer>{json.dumps({'execution_plan': plan})}</answer>"


class Verdict:
    """The critic's right answer about one attempt, as text and as labels."""

    __slots__ = ("accepted", "refined", "text")

    def __init__(self, accepted: bool, refined: str, thought: str) -> None:
        self.accepted = accepted
        self.refined = refined
        answer = json.dumps({"previous_step_success": accepted, "refine_prompt": refined})
        self.text = f"<think>{thought}</think><answer>{answer}</answer>"


def _sight(scene: Scene, cells: tuple[int, ...]) -> str:
    """What is at these cells, and the background, in words."""
    parts = []
    for cell in cells:
        thing = scene.cells[cell]
        parts.append(f"{'nothing' if thing is None else article(thing.name)} {at(cell)}")
    return ", ".join([*parts, f"on {COLOURS[scene.background]}"])


def _will_change(scene: Scene, after: Sequence[Scene]) -> Groups:
    """The cells of a scene in which something else is to be seen after one of the steps."""
    return ([i for i in range(CELLS) if any(then.cells[i] != scene.cells[i] for then in after)],)


def _survey(scene: Scene, asked: Groups) -> str:
    """What is in every cell, in reading order, and the background; "a1", "a2", "b1" count those of `asked`."""
    counted = {
        cell: f" {letter}{number}"
        for letter, cells in zip("abcdefghi", asked, strict=False)
        for number, cell in enumerate(sorted(cells), 1)
    }
    parts = [
        f"{POSITIONS[cell]}: {'nothing' if thing is None else thing.name}{counted.get(cell, '')}"
        for cell, thing in enumerate(scene.cells)
    ]
    return ", ".join([*parts, f"on {COLOURS[scene.background]}"])


def _where(before: Scene | None, prompt: str) -> str:
    """Where the thing is that the prompt names a place by: what is expected follows from it in one step, not in two."""
    cell = None if before is None else anchor(before, prompt)
    if before is None or cell is None:
        return ""
    return f"the {before.at(cell).name} {at(cell)}; "


def rewrite(step: Transition, used: str, rng: random.Random) -> str:
    """How the teacher would say a step that has failed: in full, with the place named in a style drawn at random.

    It does not know which styles the generator understands best, only that the one that was `used` has failed. Who
    learns from it words at random as well, so there is something to find out from rewards.
    """
    failed = style_of(step, used)
    return explicit(step, rng.choice([style for style in range(len(STYLES)) if style != failed]))


def judge(
    before: Scene | None,
    seen: Scene,
    clean: bool,
    original: str,
    rewritten: str,
    rng: random.Random | None = None,
) -> Verdict | None:
    """The right verdict about a picture that shows `seen`; None where `original` means nothing on `before`.

    `rng` draws the style of a rewrite; without it equal questions get equal words.
    """
    wanted = parse(before, original)
    if wanted is None:
        return None
    target, cells = wanted.after, wanted.touched
    same = clean and all(seen.cells[i] == target.cells[i] for i in range(CELLS) if i not in cells)
    rest = "the rest is the same" if same else "the rest has changed"
    thought = (
        f"{_where(before, original)}expected {_sight(target, cells)}; seen {_sight(seen, cells)}; {rest}"
    )
    accepted = clean and seen == target
    rng = rng or random.Random(f"{original}/{rewritten}/{seen.describe()}")
    return Verdict(accepted, rewritten if accepted else rewrite(wanted, rewritten, rng), thought)


def _changed(rng: random.Random, thing: Thing, background: int) -> Thing:
    """The thing with one attribute changed."""
    kind = rng.randrange(4 if thing.size else 3)
    if kind == 0:
        return thing._replace(shape=rng.choice([s for s in range(len(SHAPES)) if s != thing.shape]))
    if kind == 1:
        return thing._replace(colour=other_colour(rng, thing.colour, background))
    if kind == 2:
        return thing._replace(size=len(SIZES) - 1 - thing.size, pattern=0)
    return thing._replace(pattern=rng.choice([p for p in range(len(PATTERNS)) if p != thing.pattern]))


_KINDS = ("nothing", "attribute", "attribute", "place", "place", "other", "extra", "background", "half")


def corrupt(step: Transition, rng: random.Random) -> Scene:
    """A picture's scene as a generator might get this step wrong; never the right one."""
    while True:
        wrong = _corrupt_once(step, rng, rng.choice(_KINDS))
        if wrong is not None and wrong != step.after:
            return wrong


def misunderstood(step: Transition) -> Scene:
    """What the generator's lessons show where they are wrong about this step: always the same mistake.

    Small things are left out, large ones come out small or stand in the next free place; a colour is the next one;
    what should go stays; what should move is copied.
    """
    after, cell = step.after, step.cell
    if step.before is None:
        return (
            Scene(after.background) if not after.at(cell).size else after.put(cell, _smaller(after.at(cell)))
        )
    if step.operation == "add":
        thing = after.at(cell)
        if not thing.size:
            return step.before
        free = [i for i in (*range(cell + 1, CELLS), *range(cell)) if step.before.cells[i] is None]
        return step.before.put(free[0], thing) if free else after.put(cell, _smaller(thing))
    if step.operation == "recolour":
        thing, old = after.at(cell), step.before.at(cell)
        order = [(thing.colour + i) % len(COLOURS) for i in range(1, len(COLOURS))]
        colour = next(c for c in order if c not in (after.background, old.colour))
        return after.put(cell, thing._replace(colour=colour))
    if step.to is not None:
        return after.put(cell, after.at(step.to))
    return step.before  # also what should be another thing, or on another background


def _smaller(thing: Thing) -> Thing:
    return thing._replace(size=0, pattern=0)


def _corrupt_once(step: Transition, rng: random.Random, kind: str) -> Scene | None:
    after, focus = step.after, step.to if step.to is not None else step.cell
    ground = after.background
    others = [i for i in after.occupied if i not in step.touched]
    if kind == "nothing":
        return step.before or Scene(ground)
    if step.operation == "ground" and kind in ("attribute", "place"):
        return None
    if kind == "attribute":
        thing = after.cells[focus]
        if thing is None:  # a removal: what should be gone is still there, perhaps changed
            assert step.before is not None
            return after.put(focus, _changed(rng, step.before.at(focus), ground))
        return after.put(focus, _changed(rng, thing, ground))
    if kind == "place":
        thing = after.cells[focus]
        if step.operation in ("remove", "recolour") and step.before is not None:
            if not others:
                return None
            victim = rng.choice(others)  # the right edit of the wrong thing
            if step.operation == "remove":
                return step.before.put(victim, None)
            return step.before.put(victim, step.before.at(victim)._replace(colour=after.at(focus).colour))
        return None if thing is None else after.put(focus, None).put(rng.choice(after.empty), thing)
    if kind == "other":
        if not others:
            return None
        victim = rng.choice(others)
        return after.put(victim, None if rng.random() < 0.4 else _changed(rng, after.at(victim), ground))
    if kind == "extra":
        return after.put(rng.choice(after.empty), random_thing(rng, ground)) if after.empty else None
    if kind == "background":
        ground = rng.randrange(len(COLOURS))
        return (
            None if any(after.at(i).colour == ground for i in after.occupied) else Scene(ground, after.cells)
        )
    if step.operation == "move" and step.before is not None:  # copied instead of moved, or only taken away
        return after.put(step.cell, after.at(focus)) if rng.random() < 0.5 else after.put(focus, None)
    return None
