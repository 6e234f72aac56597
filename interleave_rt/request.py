"""What callers ask for: the request and its options, checked when they are made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from .checks import exact_seed, one_of, switch, whole, with_seed_text
from .errors import BadRequestError
from .shown import counted

if TYPE_CHECKING:
    from os import PathLike

    import numpy as np
    import numpy.typing as npt
    from PIL import Image as PilImage

    Pixels = npt.NDArray[np.uint8]
    ImageSource = str | PathLike[str] | bytes | PilImage.Image | Pixels

IMAGE_MARK = "<image>"
_ANY_MARK = re.compile(IMAGE_MARK, re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Request:
    """A text, with pictures to go on from where there are any.

    Args:
        text: What to make. `<image>`, in letters of either case, marks where a picture stands; without marks the
            pictures come first.
        images: Paths, encoded bytes, Pillow images or uint8 arrays [height, width, 3]; one of these is a list of one.

    Example:
        >>> Request("Draw a snowman step by step").mode
        'narrative'
    """

    text: str
    images: Sequence[ImageSource] = ()

    def __post_init__(self) -> None:
        text = self.text
        if not isinstance(text, str) or not text.strip():
            raise BadRequestError(
                "[Request] the text is empty", hint='say what to draw, e.g. "Draw a snowman"'
            )
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise BadRequestError(
                "[Request] the text holds half of a character (a lone surrogate)",
                hint="pass text that can be written as UTF-8",
            )
        one = isinstance(self.images, str | bytes | bytearray | memoryview) or not isinstance(
            self.images, Iterable
        )
        one = one or getattr(self.images, "ndim", 4) != 4  # an array; one of four dimensions is a batch
        object.__setattr__(self, "images", (self.images,) if one else tuple(self.images))
        text = _ANY_MARK.sub(IMAGE_MARK, text)
        object.__setattr__(self, "text", text)
        marks = text.count(IMAGE_MARK)
        if marks not in (0, len(self.images)):
            raise BadRequestError(
                f"[Request] the text has {counted(marks, IMAGE_MARK + ' mark')} "
                f"for {counted(len(self.images), 'image')}",
                hint=f"write one {IMAGE_MARK} for each image, or none at all",
            )

    @property
    def mode(self) -> Literal["narrative", "guidance"]:
        """How the planner is asked: `guidance` goes on from pictures, `narrative` starts without any."""
        return "guidance" if self.images else "narrative"

    @property
    def marked_text(self) -> str:
        """The text with one `<image>` mark for each picture."""
        if self.images and IMAGE_MARK not in self.text:
            return f"{IMAGE_MARK} " * len(self.images) + self.text
        return self.text


@dataclass(frozen=True, slots=True)
class Optimizations:
    """What makes a request quicker, switch by switch; none of them changes a result, only its time.

    `Options.speculation` and `EngineConfig.batching` are switches of the same kind.

    Args:
        stream_plan: A step starts when the planner has closed it, not when the whole plan is written.
        early_verdict: A verdict counts when its true or false is known; an accepted answer ends there.
        skip_last_judge: The last attempt, which is final anyhow, is not judged.
        encode_text_ahead: Prompts are encoded while their turn is still to come.
        cache_vision: The critic keeps the features of pictures that it has seen.
    """

    stream_plan: bool = True
    early_verdict: bool = True
    skip_last_judge: bool = True
    encode_text_ahead: bool = True
    cache_vision: bool = True


class OptionChanges(TypedDict, total=False):
    """The fields of `Options`, as keywords of `Engine.run` and the like."""

    seed: int
    t_max: int
    max_steps: int
    keep: Literal["last", "best"]
    judge_last: bool
    speculation: str
    seeds: Literal["counter", "reference"]
    width: int
    height: int
    denoising_steps: int
    deadline_s: float | None
    optimizations: Optimizations


@dataclass(frozen=True, slots=True)
class Options:
    """How a request is run.

    Args:
        seed: The whole result is a function of the request, the pack and this number, 0 to 2**64 - 1.
        t_max: Generations of a step at most, 1 to 10; the last one is final, whatever it looks like.
        max_steps: Steps of the plan that are read, 1 to 25.
        keep: After `t_max` refusals keep the `last` image, or the one with the `best` p(success).
        judge_last: Judge the `t_max`-th image too (`keep="best"` implies it).
        speculation: `off`, `auto`, or `depth=K`, K from 1 to 25: how far work runs ahead of verdicts.
        seeds: `counter`, or `reference` for the image seeds of the official demo.
        width: Of the images, 0 to 4096 pixels; 0 is the pack's default. A pack has a range of its own, and sides must be
            multiples of its `multiple_of`.
        height: As `width`.
        denoising_steps: 0 to 100; 0 is the pack's default.
        deadline_s: The request ends with what it has after so many seconds, over 0 and under a million.
        optimizations: Switches for measurements.

    Example:
        >>> Options(seed=7, speculation="depth=2").speculation
        'depth=2'
    """

    seed: int = 0
    t_max: int = 5
    max_steps: int = 25
    keep: Literal["last", "best"] = "last"
    judge_last: bool = False
    speculation: str = "auto"
    seeds: Literal["counter", "reference"] = "counter"
    width: int = 0
    height: int = 0
    denoising_steps: int = 0
    deadline_s: float | None = None
    optimizations: Optimizations = field(default_factory=Optimizations)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("seed", 0, 2**64 - 1),
            ("t_max", 1, 10),
            ("max_steps", 1, 25),
            ("width", 0, 4096),
            ("height", 0, 4096),
            ("denoising_steps", 0, 100),
        ):
            object.__setattr__(self, name, whole(f"[Options] {name}", getattr(self, name), low, high))
        switch("[Options] judge_last", self.judge_last)
        one_of("[Options] keep", self.keep, ("last", "best"))
        one_of("[Options] seeds", self.seeds, ("counter", "reference"))
        self.speculation_depth()
        limit = self.deadline_s
        if limit is not None and not (isinstance(limit, int | float) and 0 < limit < 1e6):
            raise BadRequestError(f"[Options] deadline_s is {limit!r}: give seconds above 0")

    @classmethod
    def of(cls, options: Options | None = None, **changes: Any) -> Options:
        """`options` (or the defaults) with some fields changed; an unknown name is a `BadRequestError`."""
        if not isinstance(options, cls | None):
            raise BadRequestError(
                f"[Options] options is a {type(options).__name__}",
                hint="give Options(...), or its fields as keywords",
            )
        usual = options or cls()
        values = {name: getattr(usual, name) for name in cls.__dataclass_fields__}
        unknown = sorted(set(changes) - set(values))
        if unknown:
            raise BadRequestError(
                f"[Options] there is no option {unknown[0]!r}", hint="options are " + ", ".join(values)
            )
        return cls(**{**values, **changes})

    def as_dict(self) -> dict[str, Any]:
        """The options as plain data; the optimizations are called `devices` there."""
        raw = {**with_seed_text(self.seed), **asdict(self)}
        # Pictures always pass raw between the roles: the key stays for readers of older results.
        raw["devices"] = {**raw.pop("optimizations"), "raw_images": True}
        return raw

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Options:
        """The options again; unknown names are left out."""
        told = exact_seed(raw)
        values = {name: told[name] for name in cls.__dataclass_fields__ if name in told}
        switches = raw.get("devices", {})
        if not isinstance(switches, Mapping):
            raise BadRequestError(f"[Options] devices is {switches!r}: give an object")
        known = {name: switches[name] for name in Optimizations.__dataclass_fields__ if name in switches}
        return cls(**{**values, "optimizations": Optimizations(**known)})

    def for_core(self) -> dict[str, Any]:
        """The options under the core's names."""
        raw = asdict(self)
        mode, depth = self.speculation_depth()
        timeout_s = raw.pop("deadline_s") or 0.0
        return {
            **raw.pop("optimizations"),
            **raw,
            "speculation": mode,
            "depth": depth,
            "timeout_s": timeout_s,
        }

    def speculation_depth(self) -> tuple[Literal["off", "depth", "auto"], int]:
        """The mode and the depth that `speculation` stands for."""
        text = str(self.speculation)
        if text in ("off", "auto"):
            return ("off", 0) if text == "off" else ("auto", 1)
        head, _, depth = text.partition("=")
        if head == "depth" and depth.isdecimal() and len(depth) < 3 and 1 <= int(depth) <= 25:
            return "depth", int(depth)
        raise BadRequestError(
            f"[Options] speculation is {text!r}", hint="it is off, auto, or depth=K with K from 1 to 25"
        )

    def judges_attempt(self, attempt: int) -> bool:
        """Whether the critic's verdict on the `attempt`-th image of a step is part of the result."""
        return attempt < self.t_max or self.judge_last or self.keep == "best"
