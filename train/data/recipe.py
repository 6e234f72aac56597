"""What a run is to make, and of what: a TOML file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from interleave_rt.errors import BadRequestError
from interleave_rt.files import read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "PRESETS",
    "Amount",
    "Any0",
    "Budget",
    "Estimate",
    "GeneratorChoice",
    "Part",
    "Price",
    "Recipe",
    "Selection",
    "Share",
    "Some",
    "Targets",
    "TeacherChoice",
    "load_recipe",
    "read_recipe",
    "tomllib",
]

PRESETS = Path(__file__).parent / "recipes"

Share = Annotated[float, Field(ge=0, le=1)]
Score = Annotated[float, Field(ge=0, le=10)]
Some = Annotated[int, Field(ge=1)]
Any0 = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TeacherChoice(Part):
    """Who plans, judges, scores and finds words.

    Args:
        model: The server's name of it; a part of every key, as its answers depend on it.
        url: Of an OpenAI-compatible server; empty: the oracle of the shapes world, in this process.
        key_env: The environment variable that holds the key.
        key_file: The file that holds it.
        concurrency: Calls at once.
        tries: Times that a question is asked until its answer can be read.
        give_up_after: Calls in a row that fail before the run stops.
        timeout_s: Of one try of a call.
        retries: Further tries of a call that may pass.
        backoff_s: Pause before the first of them.
        max_tokens: Of an answer.
    """

    model: str
    url: str = ""
    key_env: str | None = None
    key_file: str | None = None
    concurrency: Some = 4
    tries: Some = 3
    give_up_after: Some = 10
    timeout_s: float = 300.0
    retries: Any0 = 4
    backoff_s: Amount = 0.5
    max_tokens: Some = 4096


class GeneratorChoice(Part):
    """One of the generators.

    Args:
        name: In the card.
        spec: `pack` (the embedded one), `native:FOLDER`, `torch:FOLDER`, `openai:URL#MODEL`, or `drawn,success=0.6` (the
            shapes world's own drawings, with mistakes).
        share: Of the trajectories, relative to the other generators'.
        denoising_steps: 0: its default.
        about: What the card says of it, such as the iteration of a checkpoint.
    """

    name: str
    spec: str
    share: Annotated[float, Field(gt=0)] = 1.0
    denoising_steps: Any0 = 0
    about: str = ""


class PromptChoice(Part):
    """How many prompts, of which domains.

    Args:
        count: Prompts that are kept at most.
        domains: Names of the taxonomy's domains; none: all.
        words: Words that the teacher is asked for at once.
        rounds: Times that it is asked, for each sub-category and bank.
        near: Prompts whose sets of words overlap by this share (of their union) count as the same.
        exclude: Files of texts or JSON lines (`text`, `id`) that must not be met: the test sets of benchmarks.
    """

    count: Some
    domains: tuple[str, ...] = ()
    words: Some = 20
    rounds: Any0 = 1
    near: Share = 0.9
    exclude: tuple[str, ...] = ()


class TrajectoryChoice(Part):
    """How the engine runs them; see `Options`.

    Args:
        generations: Of one trajectory at most; it ends with what it has.
        speculation: `off` by default: generations that are thrown away may cost money.
    """

    t_max: Annotated[int, Field(ge=1, le=10)] = 5
    max_steps: Annotated[int, Field(ge=1, le=25)] = 25
    generations: Some = 15
    speculation: str = "off"
    width: Any0 = 0
    height: Any0 = 0


class Selection(Part):
    """Thresholds of `select`, in points of the overall score (0 to 10).

    Args:
        fall: A step is dropped whose scores fall by more than this from the first attempt to the last.
        degrade: ... or whose last attempt is so far below its best.
        low: ... or none of whose attempts reaches this.
        rl_variance: Variance of a step's scores from which it is for RL; below it is for SFT.
        sft_per_rl: Steps for SFT to one for RL; the surplus of either is dropped.
        balance: Largest share of either verdict among the items of the SFT set.
    """

    fall: Amount = 1.0
    degrade: Amount = 1.5
    low: Score = 4.0
    rl_variance: Amount = 2.5
    sft_per_rl: Annotated[float, Field(gt=0)] = 2.0
    balance: Annotated[float, Field(ge=0.5, le=1)] = 0.5


class Targets(Part):
    """Items of the three sets at most; 0: all that there are."""

    planner: Any0 = 0
    critic_sft: Any0 = 0
    critic_rl: Any0 = 0


class Imported(Part):
    """An interleaved set of somebody else's: JSON lines, see `imported.read_imported`."""

    path: str
    name: str
    licence: str


class SetPrompts(Part):
    """How the sets ask what the models are to answer.

    Args:
        folder: As of `Prompts.from_folder`; empty: our own, `shapes`: those of the embedded trio.
        first_empty: Of a step's first attempt the critic is not told the prompt that was used, as in the official sets; by
            default it is told the wish, as the engine does.
        repeat: An accepted attempt's `refine_prompt` repeats the prompt that was used, as the official sets do; else null.
    """

    folder: str = ""
    repeat: bool = False
    first_empty: bool = False


class Price(Part):
    """In one currency, of a million tokens and of one picture."""

    input: Amount = 0.0
    output: Amount = 0.0
    picture: Amount = 0.0


class Budget(Part):
    """Where the run stops, between two items; 0: no limit."""

    calls: Any0 = 0
    tokens: Any0 = 0
    money: Amount = 0.0

    def share(self, processes: int) -> Budget:
        """What each of so many processes may spend. A limit stays one: of calls and tokens each has one at least."""
        calls, tokens = (limit and max(1, limit // processes) for limit in (self.calls, self.tokens))
        return Budget(calls=calls, tokens=tokens, money=self.money / processes)


class Estimate(Part):
    """What a dry run reckons with."""

    steps: Amount = 4.0
    attempts: Amount = 1.6
    input_tokens: Amount = 3000.0
    output_tokens: Amount = 600.0
    call_s: Amount = 8.0
    picture_s: Amount = 4.0
    pictures_at_once: Amount = 8.0
    kept_steps: Share = 0.7


class Recipe(Part):
    """A whole run; `seed` and the models determine its sets."""

    name: str
    licence: str
    teacher: TeacherChoice
    generators: tuple[GeneratorChoice, ...]
    prompts: PromptChoice
    world: str = "general"
    seed: Any0 = 0
    trajectories: TrajectoryChoice = TrajectoryChoice()
    select: Selection = Selection()
    targets: Targets = Targets()
    imports: tuple[Imported, ...] = ()
    ask: SetPrompts = SetPrompts()
    prices: dict[str, Price] = {}
    budget: Budget = Budget()
    estimate: Estimate = Estimate()
    folder: Annotated[Path, Field(exclude=True)] = Path()

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        names = [one.name for one in self.generators]
        if not names or len(set(names)) != len(names):
            raise ValueError("generators need names, each another one")
        return self


_Made = TypeVar("_Made", bound=BaseModel)


def load_recipe(given: str) -> Recipe:
    """Reads a file, or one of the recipes that come along (`shapes`, `paper`); see `read_recipe`."""
    return read_recipe(Recipe, PRESETS, given)


def read_recipe(kind: type[_Made], presets: Path, given: str) -> _Made:
    """Reads a recipe of a kind: a file, or one of those that come along, by its name.

    What it names by relative paths lies beside the file (`folder`); for a recipe that comes along, in the working folder.

    Raises:
        BadRequestError: It cannot be read, or a field is wrong; the message names it.
    """
    own = presets / f"{given}.toml"
    path = own if own.exists() and not Path(given).is_file() else Path(given)
    folder = Path.cwd() if path == own else path.resolve().parent
    text = read_text(
        path,
        what="recipe",
        hint="name a TOML file, or " + " or ".join(sorted(one.stem for one in presets.glob("*.toml"))),
    )
    try:
        raw: dict[str, Any] = tomllib.loads(text)
        return kind(**{**raw, "folder": folder})
    except tomllib.TOMLDecodeError as error:
        raise BadRequestError(f"[recipe] {path} is no TOML: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the recipe"
        raise BadRequestError(
            f"[recipe] {path}: {where}: {first['msg']}", hint="see train/README.md"
        ) from None
