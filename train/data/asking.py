"""What the teacher is asked, and how its replies are read: four tasks, each a template and a reader."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interleave_rt.request import IMAGE_MARK, Request
from interleave_rt.roles.answers import read_plan, read_verdict
from interleave_rt.roles.prompts import Message, Prompts, critic_pictures, planner_pictures
from interleave_rt.wire import Verdict, WrittenPlan

if TYPE_CHECKING:
    from interleave_rt.request import Pixels

__all__ = [
    "Content",
    "expand",
    "judge",
    "plan",
    "read_edit",
    "read_quality",
    "read_words",
    "score_edit",
    "score_quality",
]

Content = list["str | Pixels"]
"""One message: texts, and pictures (uint8 [height, width, 3]) where they stand."""

PROMPTS = Path(__file__).parent / "prompts"
OWN = Prompts.default()
_MOST_WORDS = 200


def template(name: str) -> str:
    """The text of `prompts/NAME.txt`."""
    return (PROMPTS / f"{name}.txt").read_text(encoding="utf-8").removesuffix("\n")


def _filled(name: str, pictures: Sequence[Pixels], **values: str) -> Content:
    slots = "|".join(re.escape("{" + slot + "}") for slot in values)
    made: Content = []
    left = list(pictures)
    for place, piece in enumerate(template(name).split(IMAGE_MARK)):
        if place:
            made.append(left.pop(0))
        text = re.sub(slots, lambda found: values[found[0][1:-1]], piece) if slots else piece
        if text:
            made.append(text)
    return made


def _content(messages: Sequence[Message], pictures: Sequence[Pixels]) -> Content:
    return [
        piece if isinstance(piece, str) else pictures[piece] for one in messages for piece in one["content"]
    ]


def expand(
    domain: str, subcategory: str, bank: str, known: Sequence[str], count: int, round_: int
) -> Content:
    """Asks for words."""
    told = "; ".join(known) or "none yet"
    return _filled(
        "expand",
        [],
        domain=domain,
        subcategory=subcategory,
        bank=bank,
        known=told,
        count=str(count),
        round=str(round_),
    )


def plan(request: Request) -> Content:
    """Asks for a plan, as any planner is asked."""
    return _content(OWN.plan(request), planner_pictures(request))


def judge(before: Pixels | None, after: Pixels, original_prompt: str, prompt: str) -> Content:
    """Asks for a verdict, as any critic is asked."""
    return _content(OWN.judge(original_prompt, prompt), critic_pictures(before, after))


def score_edit(before: Pixels | None, after: Pixels, instruction: str) -> Content:
    """Asks how well a wish was carried out."""
    return _filled("score_edit", critic_pictures(before, after), instruction=instruction)


def score_quality(after: Pixels) -> Content:
    """Asks how good a picture is."""
    return _filled("score_quality", [after])


def _json(text: str) -> Mapping[str, Any]:
    """The object in a reply, from its first brace to its last; empty where there is none."""
    body = text[text.find("{") : text.rfind("}") + 1]
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_words(text: str) -> list[str] | None:
    """Words of a reply; None where there are none."""
    words = _json(text).get("words")
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        return None
    return [word.strip() for word in words if word.strip()][:_MOST_WORDS] or None


def _numbers(text: str, *names: str) -> tuple[float, ...] | None:
    """Numbers from 0 to 10; None where one is missing, of another kind or out of range: nothing is guessed."""
    found = _json(text)
    values = [found.get(name) for name in names]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return None
    numbers = tuple(float(value) for value in values if value is not None)
    return numbers if all(0 <= number <= 10 for number in numbers) else None


def read_edit(text: str) -> tuple[float, ...] | None:
    """Edit success and over-editing of a reply; None: unreadable."""
    return _numbers(text, "edit_success", "over_editing")


def read_quality(text: str) -> tuple[float, ...] | None:
    """Naturalness and artefacts of a reply; None: unreadable."""
    return _numbers(text, "naturalness", "artefacts")


def read_planned(text: str, mode: str, max_steps: int) -> WrittenPlan | None:
    """The plan of a reply; None: unreadable, which one that breaks off is, too."""
    found = read_plan(text.encode("utf-8", "replace"), mode, max_steps)
    return None if found.violated or found.truncated or not found.steps else found


def read_judged(text: str) -> Verdict | None:
    """The verdict of a reply; None: unreadable, which a refusal without a refined prompt is, too."""
    verdict = read_verdict(text.encode("utf-8", "replace"))
    if verdict is None or (not verdict.accepted and not verdict.refined):
        return None
    return verdict


def thoughts(text: str) -> str:
    """What a reply holds between `<think>` and `</think>`."""
    found = re.search(r"<think>(.*?)</think>", text, re.DOTALL)
    return found[1].strip() if found else ""
