"""How general vision-language models are asked to plan and to judge: chat messages, and schemas of the answers.

The prompts are files: ours (`roles/templates`), or a folder of the user's, such as those that a checkpoint was trained
with. The answers are read by `interleave_rt.roles.answers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
from PIL import Image

from interleave_rt.errors import BadPackError
from interleave_rt.files import read_text
from interleave_rt.pack.images import load_image
from interleave_rt.pack.templates import Part, Templates, TextPart
from interleave_rt.request import Request

if TYPE_CHECKING:
    from os import PathLike

    from interleave_rt.request import Pixels

__all__ = ["ANSWER_SCHEMAS", "Message", "Prompts", "critic_pictures", "planner_pictures"]

NAMES = ("narrative", "guidance", "critic")
_OWN = Path(__file__).parent / "templates"
_CROWD, _CROWD_PIXELS = 5, 384 * 384  # so many pictures are shrunk to so many pixels each


class Message(TypedDict):
    """One message of a chat: texts, and numbers of pictures where one stands (from 0)."""

    role: Literal["user"]
    content: list[str | int]


@dataclass(frozen=True, slots=True)
class Prompts:
    """What planner and critic are asked, whatever model or server they are.

    Args:
        templates: All three of them.

    Example:
        >>> from interleave_rt.request import Request
        >>> (message,) = Prompts.default().plan(Request("Draw a snowman"))
        >>> message["role"], "Draw a snowman" in message["content"][0]
        ('user', True)
    """

    templates: Templates

    @classmethod
    def default(cls) -> Prompts:
        """Our own, for models that were not trained for these roles; they ask for JSON."""
        return cls.from_folder(_OWN)

    @classmethod
    def from_folder(cls, folder: str | PathLike[str]) -> Prompts:
        """Prompts of a folder with `narrative.txt`, `guidance.txt` and `critic.txt`; of a missing file, ours.

        The planner's two hold `{text_input}` once; the critic's holds `{original_instruction}` and `{rewritten_prompt}`,
        and `<image>` twice or not at all (both pictures then come first). All else is taken literally, but for one line
        end at the end of a file.

        Raises:
            BadPackError: The folder has none of the files or another one, a file cannot be read, or lacks its placeholder.
        """
        path = Path(folder)
        found = {file.stem for file in path.glob("*.txt")}
        unknown = sorted(found - set(NAMES))
        if unknown or not found:
            wrong = f"{path / unknown[0]}.txt is no prompt" if unknown else f"there are no prompts in {path}"
            known = ", ".join(f"{name}.txt" for name in NAMES)
            raise BadPackError(
                f"[Prompts] {wrong}", hint=f"give {known}, or some of them; ours replace the others"
            )
        texts = {name: _read((path if name in found else _OWN) / f"{name}.txt") for name in NAMES}
        for name, text in texts.items():
            try:
                Templates(**{name: text})
            except BadPackError as error:
                said = error.message.removeprefix("[Templates] ")
                raise BadPackError(f"[Prompts] {path / name}.txt: {said}", hint=error.hint) from None
        return cls(Templates(**texts))

    def plan(self, request: Request) -> list[Message]:
        """The planner's chat; picture `i` of it is picture `i` of `planner_pictures(request)`."""
        parts = self.templates.render_plan(request.mode, request.marked_text, len(request.images))
        return [_message(parts)]

    def judge(self, original_prompt: str, prompt: str) -> list[Message]:
        """The critic's chat; its pictures are those of `critic_pictures`.

        Args:
            original_prompt: What the planner wrote for the step.
            prompt: What the picture was generated from: the original, or the last refined one.
        """
        return [_message(self.templates.render_critic(original_prompt, prompt))]


def planner_pictures(request: Request) -> list[Pixels]:
    """The request's pictures, uint8 [height, width, 3]; five or more are shrunk to 384 x 384 pixels' area each."""
    pictures = [load_image(source) for source in request.images]
    if len(pictures) < _CROWD:
        return pictures
    return [_within(picture, _CROWD_PIXELS) for picture in pictures]


def critic_pictures(before: Pixels | None, after: Pixels) -> list[Pixels]:
    """What the critic sees: the picture before (white where there is none) and the one after."""
    return [np.full_like(after, 255) if before is None else before, after]


def _within(picture: Pixels, pixels: int) -> Pixels:
    height, width = picture.shape[:2]
    scale = (pixels / (height * width)) ** 0.5
    if scale >= 1:
        return picture
    size = max(1, int(width * scale)), max(1, int(height * scale))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def _message(parts: Sequence[Part]) -> Message:
    content: list[str | int] = []
    pictures = 0
    for part in parts:
        if isinstance(part, TextPart):
            content.append(part.text)
        else:
            content.append(pictures)
            pictures += 1
    return {"role": "user", "content": content}


def _read(path: Path) -> str:
    return read_text(path, what="Prompts", error=BadPackError).removesuffix("\n")


def _object(**properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _plan(prompt: Mapping[str, Any], instruction: Mapping[str, Any]) -> dict[str, Any]:
    step = _object(
        step_number={"type": "integer"},
        step_name={"type": "string"},
        instruction=instruction,
        prompt=prompt,
        auxiliary_text=_TEXT_OR_NULL,
    )
    return _object(execution_plan={"type": "array", "items": step})


_TEXT: Mapping[str, Any] = {"type": "string"}
_TEXT_OR_NULL: Mapping[str, Any] = {"anyOf": [{"type": "string"}, {"type": "null"}]}

# JSON schemas of what stands inside <answer>, in the subset that servers with constrained decoding agree on: an object
# on top, every property required, none besides, no bounds. In-process decoding has closer ones (`pack.grammar`).
ANSWER_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "narrative": _plan(_TEXT, _TEXT),
    "guidance": _plan(_TEXT_OR_NULL, _TEXT_OR_NULL),
    "critic": _object(previous_step_success={"type": "boolean"}, refine_prompt=_TEXT_OR_NULL),
}
