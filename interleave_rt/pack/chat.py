"""Messages to token ids: one tokenizer and its chat template, both files of the pack.

Control tokens (end of turn, image marks, ...) come from the chat template alone. Whatever a user or a model writes is
encoded as plain text: a request that spells `<|im_end|>` gets the tokens of those ten characters.
"""

from __future__ import annotations

import ctypes
import json
import re
import threading
from collections.abc import Callable, Sequence, Sized
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from interleave_rt.errors import BackendFailedError, BadPackError, BadRequestError
from interleave_rt.files import read_text

from .templates import ImagePart, Part, TextPart

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from tokenizers import Tokenizer

Ids = npt.NDArray[np.int64]

_MAX_SHAPES = 256
"""Message shapes (which parts, in which order) whose rendered template is kept."""

_RENDER_S = 10.0
"""Seconds that a template may take for one message: some thousand times what any needs."""

_MAX_MADE = 1 << 20
"""Letters, items or bits of a number that one product, power or `%` in a template may make."""

_FIELDS = re.compile(r"%%|%(?:\([^)]*\))?[-+ #0]*(\*|\d*)\.?(\*|\d*)")
"""The fields of a format as `%` reads it: width and precision."""


class EncodedPrompt(NamedTuple):
    """A generator's prompt, padded on the right; `truncated` where the text was longer."""

    ids: Ids
    mask: Ids
    truncated: bool


@dataclass(frozen=True, slots=True)
class _Hole:
    """Where text `index` of a message stands in the rendered template."""

    index: int


class ChatEncoder:
    """One tokenizer with its chat template.

    The template is rendered once for every shape of message, with holes for the texts. So only the tokenizer works
    on a request's path, and no text can pass for a control token. Ids equal those of `transformers` for the rendered
    message, wherever the texts spell no control token. Safe for use by several threads.

    Args:
        tokenizer_json: `tokenizer.json` of a byte-level BPE.
        chat_template: Jinja template as in `transformers`; None: prompts are encoded as they are.
        image_token: What the template writes for an image, once each; the core expands it.

    Raises:
        BadPackError: A file cannot be read, or the template does not end, or changes the texts that it is given.
    """

    def __init__(
        self,
        tokenizer_json: Path,
        chat_template: Path | None,
        *,
        image_token: str = "<|image_pad|>",  # noqa: S107  (no password)
    ) -> None:
        self._path = chat_template
        self.tokenizer = _load_tokenizer(tokenizer_json)
        self._special = _special(self.tokenizer, tokenizer_json)
        self.image_token_id = self._special.get(image_token)
        marks = sorted(self._special, key=len, reverse=True)
        self._pieces = re.compile("|".join([f"({_hole(r'[0-9]+')})", *map(re.escape, marks)]))
        self._template = None if chat_template is None else _compile(chat_template)
        self._shapes: dict[str, tuple[int | str | _Hole, ...]] = {}
        if self._template is not None:
            self._refuse_changed_text()

    def encode_messages(self, parts: Sequence[Part]) -> Ids:
        """Ids [n] of one user message and the opening of the answer; one image token for each image."""
        shape = "".join("i" if isinstance(part, ImagePart) else "t" for part in parts)
        texts = [part.text for part in parts if isinstance(part, TextPart)]
        return np.array(self._encode(shape, texts), dtype=np.int64)

    def encode_prompt(
        self, text: str, max_length: int, pad_token_id: int | None = None, *, picture: bool = False
    ) -> EncodedPrompt:
        """A generator's prompt as a user message without thinking, cut or padded to `max_length`.

        Args:
            text: The prompt.
            max_length: Tokens of the text encoder's input.
            pad_token_id: None: the tokenizer's `<|endoftext|>`.
            picture: Behind a picture: one image token stands for it.
        """
        if pad_token_id is None:
            pad_token_id = self._special.get("<|endoftext|>")
            if pad_token_id is None:
                raise BadPackError(
                    "[ChatEncoder] the tokenizer has no <|endoftext|>",
                    hint="name a pad_token_id in the manifest",
                )
        found = self._encode("it" if picture else "s", [text])
        used = min(len(found), max_length)
        ids = np.full(max_length, pad_token_id, dtype=np.int64)
        mask = np.zeros(max_length, dtype=np.int64)
        ids[:used], mask[:used] = found[:used], 1
        return EncodedPrompt(ids, mask, len(found) > max_length)

    def between_pictures(self, count: int) -> list[list[int]]:
        """What a message has between one picture and the next, of the first `count` of them."""
        whole = self._encode("i" * count + "t", [""])
        marks = [place for place, token in enumerate(whole) if token == self.image_token_id]
        return [whole[first + 1 : second] for first, second in pairwise(marks)]

    def _encode(self, shape: str, texts: Sequence[str]) -> list[int]:
        ids: list[int] = []
        run: list[str] = []  # plain text up to the next control token; the tokenizer must see it whole
        for item in self._shape(shape):
            if isinstance(item, int):
                ids += self._plain("".join(run))
                ids.append(item)
                run.clear()
            else:
                run.append(texts[item.index] if isinstance(item, _Hole) else item)
        return ids + self._plain("".join(run))

    def _plain(self, text: str) -> list[int]:
        if not text:
            return []
        try:
            return list(self.tokenizer.encode(text, add_special_tokens=False).ids)
        except (TypeError, UnicodeError) as error:
            raise BadRequestError(
                f"[ChatEncoder] a text cannot be encoded: {error}",
                hint="give valid Unicode, without lone surrogates",
            ) from None

    def _shape(self, shape: str) -> tuple[int | str | _Hole, ...]:
        """The template rendered for a shape: "t" and "i" for a list of parts, "s" for one string."""
        known = self._shapes.get(shape)
        if known is not None:
            return known
        holes = [_hole(str(index)) for index in range(len(shape) - shape.count("i"))]
        made = self._split(self._render(shape, holes))
        found = [item.index for item in made if isinstance(item, _Hole)]
        images = sum(item == self.image_token_id for item in made if isinstance(item, int))
        if found != list(range(len(holes))) or images != shape.count("i"):
            raise BadPackError(
                f"[ChatEncoder] {self._path} renders {len(found)} of {len(holes)} texts and {images} of "
                f"{shape.count('i')} images of a message",
                hint="use a template that writes every part of a message once, in order",
            )
        if len(self._shapes) >= _MAX_SHAPES:
            self._shapes.clear()
        self._shapes[shape] = made
        return made

    def _split(self, rendered: str) -> tuple[int | str | _Hole, ...]:
        items: list[int | str | _Hole] = []
        end = 0
        for match in self._pieces.finditer(rendered):
            if match.start() > end:
                items.append(rendered[end : match.start()])
            hole = match.group(1)
            items.append(_Hole(int(hole[1:-1])) if hole else self._special[match.group()])
            end = match.end()
        if end < len(rendered):
            items.append(rendered[end:])
        return tuple(items)

    def _render(self, shape: str, texts: Sequence[str]) -> str:
        if self._template is None:
            if shape == "s":
                return texts[0]
            raise BadPackError(
                "[ChatEncoder] the role has no chat template", hint="name a chat_template file"
            )
        rest = iter(texts)
        parts = [{"type": "image"} if kind == "i" else {"type": "text", "text": next(rest)} for kind in shape]
        messages = [{"role": "user", "content": texts[0] if shape == "s" else parts}]
        thinking = {"enable_thinking": False} if shape == "s" else {}
        known = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": True}
        template = self._template
        try:
            return _soon(lambda: str(template.render(known | thinking)))
        except MemoryError as error:
            raise BackendFailedError(
                f"[ChatEncoder] {self._path} cannot be rendered: {str(error) or 'out of memory'}",
                hint="end other programs, or raise this process's limits (ulimit -u, ulimit -v)",
            ) from None
        except Exception as error:  # noqa: BLE001  (a template may raise anything)
            raise BadPackError(
                f"[ChatEncoder] {self._path} cannot be rendered: {type(error).__name__}: {error}",
                hint="use a template for messages of text and images",
            ) from None

    def _refuse_changed_text(self) -> None:
        """Holes are filled after rendering, so a template that trims or escapes texts would be disobeyed."""
        probe = " \n<b> & 'probe'\t\n "
        shapes = ("t", "s") if self.image_token_id is None else ("it", "s")
        for shape in shapes:
            whole = self._render(shape, [probe])
            hole = _hole("0")
            if whole != self._render(shape, [hole]).replace(hole, probe):
                raise BadPackError(
                    f"[ChatEncoder] {self._path} changes the texts that it is given",
                    hint="use a template that copies the content of a message, white space included",
                )


def _soon(work: Callable[[], str]) -> str:
    """What `work` returns; raises `TimeoutError` where that takes over `_RENDER_S`, and ends its thread.

    Whoever waits can be interrupted.
    """
    made: Future[str] = Future()

    def run() -> None:
        try:
            made.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            made.set_exception(error)

    thread = threading.Thread(target=run, name="interleave-rt-template", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # what the system refuses; nothing of the template
        raise MemoryError(str(error)) from None
    try:
        if not wait([made], _RENDER_S).done:
            raise TimeoutError(f"it has not ended after {_RENDER_S:.0f} s")
        return made.result()
    finally:
        if not made.done():  # it may loop for ever: ended at its next step
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)
            )


def _hole(index: str) -> str:
    """Stands for a text while a template is rendered; made of noncharacters, which no template holds."""
    return f"\ufdd0{index}\ufdd1"


def _load_tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001  (tokenizers raises nothing more precise)
        raise BadPackError(
            f"[ChatEncoder] {path} is no tokenizer: {error}",
            hint="copy the checkpoint's tokenizer.json again, and export the pack again",
        ) from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    # Control tokens spelled in a text stay text.
    tokenizer.encode_special_tokens = True
    return tokenizer


def _special(tokenizer: Tokenizer, path: Path) -> dict[str, int]:
    special = {
        token.content: index for index, token in tokenizer.get_added_tokens_decoder().items() if token.special
    }
    for token in tokenizer.get_added_tokens_decoder().values():
        if token.special and (token.lstrip or token.rstrip or token.single_word):
            raise BadPackError(
                f"[ChatEncoder] control token {token.content} of {path} takes white space or whole words",
                hint="clear lstrip, rstrip and single_word of its control tokens",
            )
    return special


def _times(left: Any, right: Any) -> Any:
    size = 0  # other numbers are of one size
    if isinstance(left, int) and isinstance(right, int):
        size = left.bit_length() + right.bit_length()
    for items, times in ((left, right), (right, left)):
        if isinstance(items, Sized) and isinstance(times, int):
            size = len(items) * times
    if size > _MAX_MADE:
        raise ValueError("a product is too large")
    return left * right


def _power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > _MAX_MADE:
        raise ValueError("a power is too large")
    return left**right


def _remainder(left: Any, right: Any) -> Any:
    if isinstance(left, str):  # a format
        sizes = [size for field in _FIELDS.findall(left) for size in field if size]
        if "*" in sizes or sum(map(int, sizes)) > _MAX_MADE:
            raise ValueError("a format is too wide, or does not say how wide it is")
    return left % right


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    """Jinja as `transformers` sets it up; a template is data and runs in a sandbox."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise ValueError(message)

    # Messages are prompts, not web pages: escaping would change them.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, autoescape=False, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(
        value, **{"ensure_ascii": False, **options}
    )
    environment.globals["raise_exception"] = refuse
    # One step cannot be interrupted. Bounded here: products, powers and the widths of `%`; range() has a bound
    # already. Not bounded: what filters and methods make of an argument, such as `center`, and sums.
    environment.intercepted_binops = frozenset(["*", "**", "%"])
    environment.binop_table |= {"*": _times, "**": _power, "%": _remainder}
    return environment


def _compile(path: Path) -> Template:
    from jinja2 import TemplateSyntaxError

    text = read_text(path, what="ChatEncoder", error=BadPackError, hint="export the pack again")
    try:
        return _environment().from_string(text)
    except TemplateSyntaxError as error:
        raise BadPackError(
            f"[ChatEncoder] {path} is no chat template: {error}", hint="export the pack again"
        ) from None
