"""The oracle of the shapes world as a teacher: it reads what it is asked, and answers as text.

It finds words (whole requests of the world), plans exactly those, judges and scores by reading the pictures back into
scenes. A request in other words it cannot plan: it then answers with nothing that can be read.
"""

from __future__ import annotations

import functools
import json
import operator
import random
import re
import threading
from typing import TYPE_CHECKING

import numpy as np

from interleave_rt.roles.prompts import Prompts
from interleave_rt.worlds.shapes.language import (
    Request,
    corrupt,
    explicit,
    judge,
    narrative,
    parse,
    plan_answer,
)
from interleave_rt.worlds.shapes.language.places import STYLES
from interleave_rt.worlds.shapes.oracle import Reading, read
from interleave_rt.worlds.shapes.people import is_kept_out
from interleave_rt.worlds.shapes.scene import CELLS, Scene, Thing, random_layout, render

from . import asking
from .asking import Content
from .journal import key_of, picture_name
from .taxonomy import SLOT, load_world
from .teacher import Reply

if TYPE_CHECKING:
    from interleave_rt.request import Options, Pixels

__all__ = ["DrawnGenerator", "Oracle"]

_KINDS = {
    "named drawings": "composite",
    "drawings side by side": "pair",
    "picture stories": "story",
    "described scenes": "wish",
}
_FULL_SCALE = 0.25  # error of the worst cell, in 0..1, at which quality is 0


class Oracle:
    """Answers as a chat does; safe for threads, the same answer to the same question."""

    def __init__(self) -> None:
        own = Prompts.default().templates
        told = {
            "expand": asking.template("expand"),
            "edit": asking.template("score_edit"),
            "quality": asking.template("score_quality"),
            "plan": own.narrative or "",
            "judge": own.critic or "",
        }
        self._forms = {name: _form(text) for name, text in told.items()}
        self._frames = [
            _form(template)
            for domain in load_world("shapes")
            for template in domain.templates
            if template != "{request}"
        ]
        self._wishes = _Wishes()

    def chat(self, content: Content, seed: int = 0, retry: int = 0) -> Reply:  # noqa: ARG002 - it never differs
        """The reply; tokens are words."""
        text = "".join(piece for piece in content if isinstance(piece, str))
        pictures = [piece for piece in content if not isinstance(piece, str)]
        said = "I do not know what is wanted."
        for name, form in self._forms.items():
            if found := form.fullmatch(text):
                said = getattr(self, f"_{name}")(found.groupdict(), pictures)
                break
        return Reply(said, len(text.split()) + 9 * len(pictures), len(said.split()))

    def check(self) -> None:
        """It is there."""

    def close(self) -> None:
        """Nothing to end."""

    def _expand(self, told: dict[str, str], _: list[Pixels]) -> str:
        kind = _KINDS.get(told["subcategory"])
        if kind is None:
            return "I know no words for this."
        first, count = int(told["round"]) * int(told["count"]), int(told["count"])
        return json.dumps({"words": [self._wishes.number(kind, first + i).text for i in range(count)]})

    def _plan(self, told: dict[str, str], _: list[Pixels]) -> str:
        text = told["text_input"]
        inner = [*(found["request"] for frame in self._frames if (found := frame.fullmatch(text))), text]
        for wish in inner:
            if (request := self._wishes.find(wish)) is not None:
                return plan_answer(request)
        return "This is none of the requests that I know."

    def _judge(self, told: dict[str, str], pictures: list[Pixels]) -> str:
        original, used = told["original_instruction"], told["rewritten_prompt"]
        before, seen = _before(pictures[0]), _seen(pictures[1])
        found = judge(before, seen.scene, seen.clean, original, used)
        wanted = parse(before, original)
        if found is None or wanted is None:
            return _verdict("the first picture does not show what the wish is about", False, used)
        thought = asking.thoughts(found.text)
        if found.accepted:
            return _verdict(thought, True, used)
        # Which style of words the generator takes best, nobody has told it: one of them, by chance.
        rng = random.Random(key_of("rewrite", original, used, *map(picture_name, pictures)))
        ways = [words for style in range(len(STYLES)) if (words := explicit(wanted, style)) != used]
        return _verdict(thought, False, rng.choice(ways))

    def _edit(self, told: dict[str, str], pictures: list[Pixels]) -> str:
        before, seen = _before(pictures[0]), _seen(pictures[1])
        wanted = parse(before, told["instruction"])
        if wanted is None:
            return json.dumps(
                {"reasoning": "the wish means nothing here", "edit_success": 0, "over_editing": 10}
            )
        target, scene = wanted.after, seen.scene
        done = [_likeness(target.cells[i], scene.cells[i]) for i in wanted.touched]
        rest = [target.cells[i] == scene.cells[i] for i in range(CELLS) if i not in wanted.touched]
        rest.append(target.background == scene.background)
        scores = {"edit_success": 10 * sum(done) / len(done), "over_editing": 10 * sum(rest) / len(rest)}
        return json.dumps({"reasoning": f"{sum(rest)} of {len(rest)} others are as they were", **scores})

    def _quality(self, _: dict[str, str], pictures: list[Pixels]) -> str:
        value = round(10 * max(0.0, 1 - _seen(pictures[0]).worst_rmse / _FULL_SCALE), 2)
        return json.dumps({"reasoning": "by the worst cell", "naturalness": value, "artefacts": value})


class _Wishes:
    """The world's requests of its training split that no person wrote, by kind and number, and by their text."""

    def __init__(self) -> None:
        self._lists: dict[str, list[Request]] = {kind: [] for kind in _KINDS.values()}
        self._by_text: dict[str, Request] = {}
        self._rng = random.Random("train/data/wishes")
        self._mutex = threading.Lock()

    def number(self, kind: str, index: int) -> Request:
        """One of a kind; always the same."""
        with self._mutex:
            while len(self._lists[kind]) <= index:
                self._make()
            return self._lists[kind][index]

    def find(self, text: str, most: int = 60_000) -> Request | None:
        """The one of a text, among the first `most`."""
        with self._mutex:
            while text not in self._by_text and len(self._by_text) < most:
                self._make()
            return self._by_text.get(text)

    def _make(self) -> None:
        request = narrative(self._rng)
        new = request.split == "train" and request.text not in self._by_text
        if new and not is_kept_out(request.text):
            self._by_text[request.text] = request
            self._lists[request.kind].append(request)


def _likeness(wanted: Thing | None, seen: Thing | None) -> float:
    """How much of a thing is as it was wanted: the share of its attributes; nothing where one of the two is missing."""
    if wanted is None or seen is None:
        return float(wanted is seen)
    return float(sum(map(operator.eq, wanted, seen))) / len(wanted)


@functools.lru_cache(maxsize=512)
def _read(data: bytes, shape: tuple[int, ...]) -> Reading:
    return read(np.frombuffer(data, np.uint8).reshape(shape))


def _seen(pixels: Pixels) -> Reading:
    return _read(pixels.tobytes(), pixels.shape)


def _before(pixels: Pixels) -> Scene | None:
    return None if pixels.min() == 255 else _seen(pixels).scene


def _verdict(thought: str, accepted: bool, refined: str) -> str:
    answer = json.dumps({"previous_step_success": accepted, "refine_prompt": refined})
    return f"<think>{thought}</think><answer>{answer}</answer>"


def _form(template: str) -> re.Pattern[str]:
    """The template as a pattern whose groups are its places."""
    # `{...}` in JSON examples is no place: those hold no bare word between braces.
    pieces = SLOT.split(template.replace("<image>", ""))
    text = "".join(f"(?P<{piece}>.*)" if i % 2 else re.escape(piece) for i, piece in enumerate(pieces))
    return re.compile(text, re.DOTALL)


class DrawnGenerator:
    """Draws what a prompt asks for on what it sees, and errs in a given share of the calls: a generator for tests.

    Args:
        success: Share of the calls that are right.
    """

    references = 1

    def __init__(self, success: float = 0.6) -> None:
        self._success = success

    def generate(self, prompt: str, source: Pixels | None, seed: int, options: Options) -> Pixels:  # noqa: ARG002
        """As `Roles.generate`."""
        rng = random.Random(f"{prompt}/{seed}/{'' if source is None else picture_name(source)}")
        before = None if source is None else _seen(source).scene
        step = parse(before, prompt)
        if step is None:
            scene = before or Scene(rng.randrange(8))
        else:
            scene = step.after if rng.random() < self._success else corrupt(step, rng)
        return render(scene, random_layout(scene, rng))
