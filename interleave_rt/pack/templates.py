"""What the models are asked: prompt templates are files of the pack, filled in literally.

Values are put in once and never looked at again: braces, placeholders and `<image>` marks inside a value stay text,
except for the marks that a caller writes to say where the input pictures stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from interleave_rt.errors import BadPackError, BadRequestError
from interleave_rt.files import read_text
from interleave_rt.request import IMAGE_MARK
from interleave_rt.shown import counted

Mode = Literal["narrative", "guidance"]

_TEXT_INPUT = "{text_input}"
_ORIGINAL = "{original_instruction}"
_REWRITTEN = "{rewritten_prompt}"
# The official demos cut this phrase out of every request; models were trained without it.
_STRIPPED = " both visually and textually"


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text of a message; never holds a control token, whatever it spells."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """The place of the next picture in a message."""


Part = TextPart | ImagePart


@dataclass(frozen=True, slots=True)
class Templates:
    """The prompt templates of a pack; a pack without a role leaves that role's out.

    Args:
        narrative: Asks the planner for pictures from a text; holds `{text_input}` once.
        guidance: Asks it to go on from pictures; holds `{text_input}` once.
        critic: Holds `{original_instruction}` and `{rewritten_prompt}`, and two `<image>` marks (before and after)
            or none (both pictures come first).

    Example:
        >>> templates = Templates(narrative="Plan: {text_input}")
        >>> templates.render_plan("narrative", "a {cat}", 0)
        [TextPart(text='Plan: a {cat}')]
    """

    narrative: str | None = None
    guidance: str | None = None
    critic: str | None = None

    def __post_init__(self) -> None:
        for name, template in (("narrative", self.narrative), ("guidance", self.guidance)):
            if template is not None and template.count(_TEXT_INPUT) != 1:
                raise BadPackError(
                    f"[Templates] the {name} template holds {_TEXT_INPUT} {template.count(_TEXT_INPUT)} times",
                    hint=f"write {_TEXT_INPUT} once, where the request belongs",
                )
        if self.narrative is not None and IMAGE_MARK in self.narrative:
            raise BadPackError(
                f"[Templates] the narrative template holds {IMAGE_MARK}, but that mode has no pictures",
                hint=f"take {IMAGE_MARK} out of it",
            )
        if self.critic is not None:
            _check_critic(self.critic)

    @classmethod
    def load(cls, files: Mapping[str, Path]) -> Templates:
        """Reads the templates named in `files` (keys: narrative, guidance, critic) as UTF-8, byte for byte."""
        unknown = sorted(set(files) - set(cls.__dataclass_fields__))
        if unknown:
            raise BadPackError(
                f"[Templates] there is no template {unknown[0]!r}",
                hint="templates are " + ", ".join(cls.__dataclass_fields__),
            )
        return cls(**{name: _read(path) for name, path in files.items()})

    def render_plan(self, mode: Mode, text: str, image_count: int) -> list[Part]:
        """The planner's message.

        In guidance mode the `<image>` marks of template and text are the places of the pictures; where the text has
        none, its pictures come first. In narrative mode the text is text throughout.

        Raises:
            BadRequestError: Marks and images do not match.
            BadPackError: The pack has no such template.
        """
        template = self._present(mode)
        text = text.replace(_STRIPPED, "")
        marked: list[Part] = [TextPart(text)]
        if mode == "guidance":
            left = image_count - template.count(IMAGE_MARK)
            if IMAGE_MARK not in text:
                text = f"{IMAGE_MARK} " * left + text
            marked = list(_split(text))
        elif image_count:
            raise BadRequestError(
                f"[render_plan] narrative mode takes no images: {image_count} came along",
                hint="ask in guidance mode, which goes on from images",
            )
        head, tail = template.split(_TEXT_INPUT)
        parts = _merged([*_split(head), *marked, *_split(tail)])
        marks = sum(isinstance(part, ImagePart) for part in parts)
        if marks != image_count:
            raise BadRequestError(
                f"[render_plan] the text has {counted(text.count(IMAGE_MARK), IMAGE_MARK + ' mark')} "
                f"(with the template's: {marks}) for {counted(image_count, 'image')}",
                hint=f"write one {IMAGE_MARK} for each image, or none at all",
            )
        return parts

    def render_critic(self, original: str, used: str) -> list[Part]:
        """The critic's message: the pictures before and after, the plan's prompt and the prompt that was used."""
        template = self._present("critic")
        if IMAGE_MARK not in template:
            template = IMAGE_MARK * 2 + template
        values: dict[str, Part] = {
            _ORIGINAL: TextPart(original),
            _REWRITTEN: TextPart(used),
            IMAGE_MARK: ImagePart(),
        }
        pieces = re.split("|".join(f"({re.escape(mark)})" for mark in values), template)
        return _merged(values.get(piece, TextPart(piece)) for piece in pieces if piece)

    def _present(self, name: Literal["narrative", "guidance", "critic"]) -> str:
        template: str | None = getattr(self, name)
        if template is None:
            raise BadPackError(
                f"[Templates] the pack has no {name} template", hint=f"name a file under templates.{name}"
            )
        return template


def mode_for(image_count: int) -> Mode:
    """How the planner is asked: `guidance` goes on from pictures, `narrative` starts without any."""
    return "guidance" if image_count else "narrative"


def _split(text: str) -> Iterator[Part]:
    for place, piece in enumerate(text.split(IMAGE_MARK)):
        if place:
            yield ImagePart()
        yield TextPart(piece)


def _merged(parts: Iterable[Part]) -> list[Part]:
    """Neighbouring texts as one, empty ones left out: a tokenizer must see the text as a whole."""
    out: list[Part] = []
    for part in parts:
        if isinstance(part, TextPart) and out and isinstance(out[-1], TextPart):
            out[-1] = TextPart(out[-1].text + part.text)
        elif part != TextPart(""):
            out.append(part)
    return out


def _check_critic(template: str) -> None:
    for mark in (_ORIGINAL, _REWRITTEN):
        if mark not in template:
            raise BadPackError(
                f"[Templates] the critic template has no {mark}",
                hint=f"write {mark} where that prompt belongs",
            )
    if template.count(IMAGE_MARK) not in (0, 2):
        raise BadPackError(
            f"[Templates] the critic template holds {IMAGE_MARK} {template.count(IMAGE_MARK)} times",
            hint="write it twice (before, after), or leave it out: the pictures then come first",
        )


def _read(path: Path) -> str:
    return read_text(path, what="Templates", error=BadPackError, hint="export the pack again")
