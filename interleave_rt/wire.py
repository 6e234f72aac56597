"""The one schema of what crosses a border: between C++ and Python, between processes, and into result.json.

Every value is a frozen dataclass with `as_dict` and `from_dict`. The dict form is JSON: `from_dict` ignores names that it
does not know (newer writers may add some), names the field that is missing or of another type, and
`from_dict(value.as_dict())` gives the value back.

Pictures never lie in a dict. `image` is the name under which one travels beside it, None where there is none:
`as_dict(name_of)` chooses the names (the image hash, unless told otherwise), `from_dict(raw, pictures)` takes the pictures
by these names; one that is not among them is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from typing_extensions import Self

from .checks import exact_seed, with_seed_text
from .errors import BadRequestError

if TYPE_CHECKING:
    from PIL import Image as PilImage

    from .request import Pixels

Outcome = Literal["finished", "declined", "failed", "cancelled", "deadline"]
StepOutcome = Literal["accepted", "never_accepted", "not_judged", "text"]
Pictures = Mapping[str, "Pixels"]
NO_PICTURES: Pictures = MappingProxyType({})
_HASH = re.compile(r"[0-9a-fA-F]{1,16}", re.ASCII)
NameOf = Callable[["Attempt"], str]


class Value:
    """Mixin of dataclasses: fields are plain values, other values, tuples of them, or pixels.

    `_names` are the fields that dicts call differently; an event's dict begins with its `kind`.
    """

    __slots__ = ()
    _names: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def as_dict(self, name_of: NameOf | None = None) -> dict[str, Any]:
        """The value as plain data; `name_of` chooses the names of pictures."""
        cls: Any = type(self)
        kind = {"kind": cls.kind} if hasattr(cls, "kind") else {}
        plain = {self._names.get(name, name): _plain(getattr(self, name), name_of) for name in _fields(cls)}
        return kind | plain

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], pictures: Pictures = NO_PICTURES) -> Self:
        """The value again; a missing or mistyped field is a `BadRequestError`."""
        return cls(**read_fields(cls, raw, pictures))


def read_fields(cls: Any, raw: Mapping[str, Any], pictures: Pictures) -> dict[str, Any]:
    """The fields of a dataclass that its dict has; those without a default must be there."""
    values: dict[str, Any] = {}
    of = getattr(cls, "kind", cls.__name__)
    if not isinstance(raw, Mapping):
        raise BadRequestError(f"[wire] {of} is {raw!r}: give an object")
    for name, (hint, required) in _fields(cls).items():
        key = getattr(cls, "_names", {}).get(name, name)
        if name == "pixels":
            image = part(raw, "image", str | None, of)
            values[name] = pictures.get(image) if image else None
        elif key in raw or required:
            values[name] = _read(raw, key, hint, of, pictures)
    return values


def part(raw: Mapping[str, Any], key: str, hint: Any, of: str) -> Any:
    """`raw[key]`, which must be there and of the type `hint`; `of` is whose field it is, for the error."""
    if not isinstance(raw, Mapping) or key not in raw:
        raise BadRequestError(f"[wire] {of} has no field {key!r}")
    if not _fits(raw[key], hint):
        wanted = getattr(hint, "__name__", None) or str(hint)
        raise BadRequestError(f"[wire] {of}.{key} is {raw[key]!r}: give {wanted}")
    return raw[key]


def _read(raw: Mapping[str, Any], key: str, hint: Any, of: str, pictures: Pictures) -> Any:
    """`part`, where values and tuples of values are dicts and lists of dicts."""
    value, told = _told(hint)
    found = part(raw, key, told, of)
    if value is None or found is None:
        return found
    if told is Sequence:
        return tuple(value.from_dict(one, pictures) for one in found)
    return value.from_dict(found, pictures)


@cache
def _told(hint: Any) -> tuple[type[Value] | None, Any]:
    """The value of which a field holds one or a tuple, and the type of what its dict holds instead."""
    for kind in (hint, *get_args(hint)):
        if isinstance(kind, type) and issubclass(kind, Value):
            one = Mapping if hint is kind else Mapping | None
            return kind, Sequence if get_origin(hint) is tuple else one
    return None, hint


def _plain(value: Any, name_of: NameOf | None) -> Any:
    if isinstance(value, Value):
        return value.as_dict(name_of)
    return [_plain(one, name_of) for one in value] if isinstance(value, tuple) else value


@cache
def _fields(cls: Any) -> dict[str, tuple[Any, bool]]:
    hints = get_type_hints(cls, localns={"Pixels": Any})
    return {
        each.name: (hints[each.name], each.default is MISSING and each.default_factory is MISSING)
        for each in fields(cls)
    }


def _fits(value: Any, hint: Any) -> bool:
    kinds, said = _kinds(hint)
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or value in said


@cache
def _kinds(hint: Any) -> tuple[tuple[type, ...], tuple[Any, ...]]:
    """The types that a field may have, and the values of a literal."""
    if get_origin(hint) is Literal:
        return (), get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        found = [_kinds(one) for one in get_args(hint)]
        return tuple(kind for kinds, _ in found for kind in kinds), sum((said for _, said in found), ())
    kind = NoneType if hint is None else get_origin(hint) or hint
    return (int, float) if kind is float else (kind,), ()


@dataclass(frozen=True, slots=True)
class PlanStep(Value):
    """One step as the planner wrote it; a step without a prompt is text only.

    `step_number` is the planner's own number: from 1 in a narrative, any first number where it goes on from pictures.
    """

    step_number: int
    step_name: str
    instruction: str | None = None
    prompt: str | None = None
    auxiliary_text: str | None = None

    @property
    def text(self) -> str:
        """What is shown for the step: `auxiliary_text` unless it is empty or "None", else `instruction`."""
        auxiliary = (self.auxiliary_text or "").strip()
        return (self.instruction or "").strip() if auxiliary in ("", "None") else auxiliary


@dataclass(frozen=True, slots=True)
class WrittenPlan(Value):
    """A planner's answer, as far as it could be read.

    Args:
        steps: In order; none: it is unreadable.
        truncated: The plan went on after them.
        violated: It is not that tokens ran out: what followed cannot be read, and the planner is asked once more.
    """

    steps: tuple[PlanStep, ...]
    truncated: bool = False
    violated: bool = False


@dataclass(frozen=True, slots=True)
class Verdict(Value):
    """What the critic said of one image.

    `p_success` is the critic's own probability of "true", 0 to 1; `refined` is the prompt for the next attempt, None
    where the image was accepted or no prompt could be read.
    """

    _names: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"accepted": "previous_step_success", "refined": "refine_prompt"}
    )

    accepted: bool
    p_success: float
    refined: str | None = None
    reasoning: str = ""

    def canonical(self) -> dict[str, Any]:
        """The part that speculation, batching and timing may never change."""
        said: dict[str, Any] = {"accepted": self.accepted, "p_success": self.p_success}
        return said if self.accepted else {**said, "refined": self.refined}


def step_outcome(accepted: bool | None, verdicts: Sequence[Verdict | None]) -> StepOutcome:
    """What became of a step: see `Step.outcome`.

    Args:
        accepted: The verdict on its final image.
        verdicts: On its attempts; none for a text-only step.

    Example:
        >>> step_outcome(None, [Verdict(False, 0.1), None])
        'never_accepted'
    """
    if not verdicts:
        return "text"
    if accepted:
        return "accepted"
    return "not_judged" if all(verdict is None for verdict in verdicts) else "never_accepted"


class _Pictured:
    """Mixin: a Pillow view of `pixels`, made when somebody asks."""

    __slots__ = ()

    @property
    def image(self) -> PilImage.Image | None:
        """The picture as a Pillow image; None where there is none."""
        pixels: Pixels | None = getattr(self, "pixels")  # noqa: B009
        if pixels is None:
            return None
        from PIL import Image

        return Image.fromarray(pixels)


@dataclass(frozen=True, slots=True, eq=False)
class Attempt(_Pictured, Value):
    """One generation of a step.

    Args:
        number: Within its step, from 1.
        prompt: What it was generated from: the planner's, or the last refined one.
        seed: Of the generation.
        image_hash: 64 bits over width, height and bytes of the pixels, as `interleave_rt._core.hash_pixels`.
        pixels: uint8 [height, width, 3], RGB, read-only; it outlives the engine.
        verdict: None where it was not judged (or not readably).
        refused_unreadable: Refused, and the refined prompt could not be read: the prompt was kept.
        prompt_cut: The prompt is longer than the generator's encoder: its end was not read.
    """

    number: int
    prompt: str
    seed: int
    image_hash: int
    pixels: Pixels | None = field(default=None, repr=False)
    verdict: Verdict | None = None
    refused_unreadable: bool = False
    prompt_cut: bool = False

    def canonical(self) -> dict[str, Any]:
        """The part that speculation, batching and timing may never change."""
        return {
            "prompt": self.prompt,
            "seed": self.seed,
            "image": f"{self.image_hash:016x}",
            "verdict": self.verdict.canonical() if self.verdict else None,
        }

    def as_dict(self, name_of: NameOf | None = None) -> dict[str, Any]:
        """The attempt as plain data."""
        return {
            "number": self.number,
            "prompt": self.prompt,
            **with_seed_text(self.seed),
            "image": None if self.pixels is None else (name_of or picture_name)(self),
            "image_hash": picture_name(self),
            "verdict": self.verdict.as_dict() if self.verdict else None,
            "refused_unreadable": self.refused_unreadable,
            "prompt_cut": self.prompt_cut,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], pictures: Pictures = NO_PICTURES) -> Self:
        """The attempt again."""
        text = part(raw, "image_hash", str, "Attempt")
        if not _HASH.fullmatch(text):
            raise BadRequestError(f"[wire] Attempt.image_hash is {text!r}: give 16 hex digits")
        number = int(text, 16)
        return cls(**read_fields(cls, {**exact_seed(raw), "image_hash": number}, pictures))


def picture_name(attempt: Attempt) -> str:
    """The image hash as 16 hex digits: what a picture is called where nobody chooses another name."""
    return f"{attempt.image_hash:016x}"


@dataclass(frozen=True, slots=True, eq=False)
class Step(_Pictured, Value):
    """A committed step: its text, its final image, and how it came about.

    Args:
        plan: As the planner wrote it.
        attempts: In order; none for a text-only step.
        pixels: Of the final image, uint8 [height, width, 3], RGB, read-only; None for a text-only step.
        accepted: The verdict on the final image; None: it was not judged (`outcome` says what the others were).
    """

    plan: PlanStep
    attempts: tuple[Attempt, ...] = ()
    pixels: Pixels | None = field(default=None, repr=False)
    accepted: bool | None = None

    @property
    def step_number(self) -> int:
        """The number that the planner gave it."""
        return self.plan.step_number

    @property
    def text(self) -> str:
        """What is shown with the image."""
        return self.plan.text

    @property
    def outcome(self) -> StepOutcome:
        """`accepted`; `never_accepted`: every try that was judged was refused; `not_judged`: none was; `text`: no image."""
        return step_outcome(self.accepted, [attempt.verdict for attempt in self.attempts])

    def canonical(self) -> dict[str, Any]:
        """The part that speculation, batching and timing may never change."""
        return {
            "step": self.plan.as_dict(),
            "attempts": [attempt.canonical() for attempt in self.attempts],
            "accepted": self.accepted,
            "outcome": self.outcome,
        }

    def as_dict(self, name_of: NameOf | None = None) -> dict[str, Any]:
        """The step as plain data; `image` is the name of the final attempt's picture."""
        attempts = [attempt.as_dict(name_of) for attempt in self.attempts]
        made = zip(self.attempts, attempts, strict=True)
        finals = [raw["image"] for attempt, raw in made if attempt.pixels is self.pixels]
        return {
            "step_number": self.step_number,
            "step_name": self.plan.step_name,
            "text": self.text,
            "image": finals[-1] if finals and self.pixels is not None else None,
            "accepted": self.accepted,
            "outcome": self.outcome,
            "attempts": attempts,
            "plan": self.plan.as_dict(),
        }


@dataclass(frozen=True, slots=True)
class Span(Value):
    """One call of a role in the trace; times in microseconds since the request was submitted.

    Args:
        lane: Name of the lane that ran it.
        role: `planner`, `generator` or `critic`.
        kind: `plan`, `generate` or `judge`.
        step: Index in the plan, from 0.
        attempt: Within the step, from 1; 0 for a plan.
        retry: 0, or 1 after an answer that could not be read.
        speculative: It was started ahead of a verdict.
        queued_us: The scheduler decided to start it.
        started_us: It was handed to its lane.
        ended_us: Its lane was done with it; of one that still runs, when the trace was read.
        outcome: `done`, `failed`, `cancelled`, or `running` where its lane has not ended it yet.
        used: Its answer is part of the result.
        cancel_us: It was given up; its lane ends it at the next chance.
        answer: What a model wrote, its first 64 KiB; of all calls of a request 2 MiB are kept.
        stop: Why it wrote no further token: `end_of_text`, `length`, `cache_full`, `non_finite`, `grammar`, `early` (the
            reader knew enough), `cancelled`, or `none` where nobody said.
    """

    lane: str
    role: str
    kind: str
    step: int
    attempt: int
    retry: int
    speculative: bool
    queued_us: int
    started_us: int
    ended_us: int
    outcome: str
    used: bool
    cancel_us: int | None = None
    answer: str = ""
    stop: str = "none"


@dataclass(frozen=True, slots=True)
class Decision(Value):
    """Why a call was, or was not, started ahead of a verdict; at most one entry until the reason changes.

    Args:
        at_us: Microseconds since the request was submitted.
        role: Of the call: `generator` or `critic`.
        step: Of the call, from 0.
        attempt: Of the call, from 1.
        started: The answer.
        reason: One of the names under `decisions` in `Engine.counters()`.
        p: Probability that the call will be asked for.
        gain_us: Expected; 0 where it was not asked for.
        depth: How many unverified verdicts were allowed.
        beyond: Unverified verdicts before the call.
        undisturbed: Probability that no committed call wants the slot meanwhile.
        others: Other requests, running and queued.
        critic_slowdown: As in `EngineConfig`; None: not known yet, as of the following.
        generator_rate: As in `EngineConfig`.
        verdict_us: Time of a verdict on a critic that is undisturbed.
        generate_us: Time of an image on a generator that is undisturbed.
    """

    at_us: int
    role: str
    step: int
    attempt: int
    started: bool
    reason: str
    p: float
    gain_us: float
    depth: int
    beyond: int
    undisturbed: float
    others: int
    critic_slowdown: float | None
    generator_rate: float | None
    verdict_us: float | None
    generate_us: float | None


@dataclass(frozen=True, slots=True)
class Timings(Value):
    """Seconds since the request was submitted; None: it did not come to that.

    The `busy` times are sums over the calls of a role, discarded ones included: calls that ran at once count each, so a
    sum may be longer than the request.
    """

    total_s: float
    first_step_s: float | None = None
    first_image_s: float | None = None
    planner_busy_s: float = 0.0
    generator_busy_s: float = 0.0
    critic_busy_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Speculation(Value):
    """What running ahead of the critic was good for: calls that were started so, and the seconds that were wasted."""

    _names: ClassVar[Mapping[str, str]] = MappingProxyType({"wasted": "discarded", "wasted_s": "discarded_s"})

    setting: str
    started: int = 0
    used: int = 0
    wasted: int = 0
    wasted_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PlanStepEvent(Value):
    """Step `index` of the plan is known; indices count from 0."""

    kind: ClassVar[str] = "plan_step"
    index: int
    step: PlanStep


@dataclass(frozen=True, slots=True)
class AttemptImageEvent(Value):
    """An image of step `index` (from 0) was made; it is not judged yet."""

    kind: ClassVar[str] = "attempt_image"
    index: int
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class VerdictEvent(Value):
    """The critic has spoken of attempt `attempt` (from 1) of step `index` (from 0)."""

    kind: ClassVar[str] = "verdict"
    index: int
    attempt: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class StepCommittedEvent(Value):
    """Step `index` (from 0) is final."""

    kind: ClassVar[str] = "step_committed"
    index: int
    step: Step
