"""Sets of `train data` for TRL as data sets of it, looked through before a step is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from datasets import Dataset, Image, List
from PIL import Image as Pictures
from PIL import UnidentifiedImageError
from pydantic import BaseModel, Field, ValidationError

from interleave_rt.errors import BadRequestError
from interleave_rt.files import read_text

if TYPE_CHECKING:
    from .recipe import TuneRecipe

__all__ = ["Row", "check_lengths", "dataset_of", "read_rows"]

_MAX_SET_BYTES = 1 << 32


class _Text(BaseModel):
    type: Literal["text"]
    text: str


class _Picture(BaseModel):
    type: Literal["image"]


class _Message(BaseModel):
    role: Literal["user", "assistant", "system"]
    content: Annotated[list[_Text | _Picture], Field(min_length=1)]


class _Evaluation(BaseModel):
    semantics: Annotated[float, Field(ge=0, le=10)]
    quality: Annotated[float, Field(ge=0, le=10)]
    success: bool


class _Call(BaseModel):
    seed: Annotated[int, Field(ge=0, lt=1 << 63)]
    step: Annotated[int, Field(ge=0)]
    attempt: Annotated[int, Field(ge=1)]


class Row(BaseModel):
    """A line of a set; what is None belongs to the critic's alone."""

    prompt: Annotated[list[_Message], Field(min_length=1)]
    completion: Annotated[list[_Message], Field(min_length=1)]
    images: list[str]
    origin_prompt: str | None = None
    rewritten_prompt: str | None = None
    origin_image_path: str | None = None
    evaluation: _Evaluation | None = None
    call: _Call | None = None

    @property
    def used(self) -> tuple[str | None, ...]:
        """Of a critic's item: what its picture was asked for with, and made from."""
        return self.origin_prompt, self.rewritten_prompt, self.origin_image_path

    @property
    def answer(self) -> str:
        """The text that is learned."""
        return "".join(part.text for part in self.completion[0].content if isinstance(part, _Text))


def read_rows(path: Path, *, critic: bool = False, max_share: float = 1.0) -> list[Row]:
    """The lines of a set, whose pictures are there.

    Args:
        path: Of the JSON lines; pictures lie beside it.
        critic: Every line must have a critic's columns.
        max_share: Largest share that one verdict may have, where lines have verdicts.

    Raises:
        BadRequestError: A line is damaged, a field wrong, a picture missing, or the verdicts unbalanced.
    """
    text = read_text(path, _MAX_SET_BYTES, what="data", hint="make it with interleave-rt train data")
    if not text.strip():
        raise BadRequestError(f"[data] {path} is empty")
    rows = []
    for number, line in enumerate(text.rstrip().split("\n"), 1):  # splitlines() also cuts at U+2028 in a text
        where = f"[data] {path}, line {number}"
        try:
            row = Row.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"])) or "the line"
            raise BadRequestError(
                f"{where}: {field}: {first['msg']}", hint="it is a trl_*.jsonl of train data"
            ) from None
        places = sum(isinstance(part, _Picture) for message in row.prompt for part in message.content)
        if places != len(row.images):
            raise BadRequestError(f"{where}: {len(row.images)} pictures for {places} places")
        if not row.answer.strip():
            raise BadRequestError(f"{where}: there is no answer to learn")
        if critic and (None in (row.evaluation, *row.used) or len(row.images) != 2):
            raise BadRequestError(f"{where} is no item of a critic", hint="give trl_critic_rl.jsonl")
        rows.append(row)
    _check_pictures(path, rows)
    _check_balance(path, rows, max_share)
    return rows


def _check_pictures(path: Path, rows: Sequence[Row]) -> None:
    named = {name for row in rows for name in (*row.images, row.origin_image_path) if name is not None}
    missing = sorted(name for name in named if not (path.parent / name).is_file())
    if missing:
        raise BadRequestError(
            f"[data] {len(missing)} pictures of {path} are missing, the first is {path.parent / missing[0]}",
            hint="copy the whole folder of the set",
        )


def _check_balance(path: Path, rows: Sequence[Row], max_share: float) -> None:
    labels = [row.evaluation.success for row in rows if row.evaluation is not None]
    if not labels:
        return
    share = max(sum(labels), len(labels) - sum(labels)) / len(labels)
    if share > max_share:
        raise BadRequestError(
            f"[data] {sum(labels)} of {len(labels)} verdicts of {path} are acceptances: one verdict has more than "
            f"{100 * max_share:.0f} %, and a critic that learns from them says it always",
            hint="balance the set ([select] balance of train data), or raise max_share",
        )


def check_lengths(path: Path, rows: Sequence[Row], processor: Any, recipe: TuneRecipe, room: int = 0) -> int:
    """The longest item in tokens, pictures included.

    Args:
        path: Of the set.
        rows: Its lines.
        processor: Of the model.
        recipe: How many tokens are allowed.
        room: Tokens for an answer that is written; 0: that of the set is learned.

    Raises:
        BadRequestError: It is longer than the recipe allows, or a picture cannot be read.
    """
    images = processor.image_processor
    longest, worst = 0, 0
    sizes: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        text = processor.apply_chat_template(
            [message.model_dump() for message in (*row.prompt, *(() if room else row.completion))],
            tokenize=False,
            add_generation_prompt=bool(room),
        )
        length = len(processor.tokenizer(text, add_special_tokens=False)["input_ids"]) + room
        for name in row.images:
            if name not in sizes:
                sizes[name] = _tokens_of(path.parent / name, images)
            length += sizes[name] - 1  # one token of the text stands for the picture
        if length > longest:
            longest, worst = length, number
    if longest > recipe.max_tokens:
        raise BadRequestError(
            f"[data] {path}, line {worst}, takes {longest} tokens, more than max_tokens {recipe.max_tokens}: its answer "
            "would be cut off",
            hint="raise max_tokens, shrink the pictures, or leave the line out",
        )
    return longest


def _tokens_of(path: Path, images: Any) -> int:
    try:
        with Pictures.open(path) as picture:
            width, height = picture.size
    except (OSError, UnidentifiedImageError) as error:
        raise BadRequestError(f"[data] the picture {path} cannot be read: {error}") from None
    return int(images.get_number_of_image_patches(height, width, {})) // int(images.merge_size) ** 2


def dataset_of(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> Dataset:
    """The data set of these columns; pictures are opened when an item is drawn."""
    made = Dataset.from_list(
        [
            {
                **row.model_dump(include=set(columns)),
                "images": [str(path.parent / name) for name in row.images],
            }
            for row in rows
        ]
    )
    return made.cast_column("images", List(Image()))
