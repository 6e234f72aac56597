"""Trajectories: prompts run by the engine, the teacher as planner and critic, each with one of the generators."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from typing import Any

from interleave_rt.backends import Backend
from interleave_rt.backends.mixed import MixedBackend
from interleave_rt.backends.native import NativeBackend
from interleave_rt.backends.outside import OutsideBackend
from interleave_rt.backends.record import CallStore
from interleave_rt.config import EngineConfig
from interleave_rt.engine import Engine
from interleave_rt.errors import BackendFailedError, BadRequestError, InterleaveError
from interleave_rt.pack import Pack
from interleave_rt.pack.spec import RoleSpec
from interleave_rt.request import Options
from interleave_rt.result import FinishedEvent
from interleave_rt.wire import AttemptImageEvent, PlanStepEvent, StepCommittedEvent, VerdictEvent

from . import asking
from .generators import opened
from .journal import Journal, Pictures, key_of
from .oracle import DrawnGenerator
from .recipe import GeneratorChoice, Price, Recipe
from .select import steps_of
from .teacher import Teacher, TeacherRoles, UnreadableError

__all__ = ["Item", "choose_generators", "in_parallel", "run_trajectories", "score_attempts", "score_key"]

_RECORD_BYTES = 1 << 40  # answers of paid generators are never thrown away


@dataclass(frozen=True, slots=True)
class Item:
    """One trajectory to make: a prompt with its key, and the generator that draws it."""

    key: str
    prompt: str
    text: str
    generator: GeneratorChoice


def choose_generators(recipe: Recipe, prompts: Mapping[str, str]) -> list[Item]:
    """The trajectories of prompts (texts by key): each gets a generator by chance, as often as its share says."""
    shares = [one.share for one in recipe.generators]
    items = []
    for prompt, text in prompts.items():
        chosen = random.Random(f"{recipe.seed}/{prompt}").choices(recipe.generators, shares)[0]
        drawn = chosen.model_dump(include={"spec", "denoising_steps"})
        key = key_of(
            "trajectory",
            prompt,
            recipe.teacher.model,
            drawn,
            recipe.trajectories.model_dump(exclude={"speculation"}),
        )
        items.append(Item(key, prompt, text, chosen))
    return items


def run_trajectories(
    recipe: Recipe,
    items: Sequence[Item],
    teacher: Teacher,
    journal: Journal,
    pictures: Pictures,
    say: Callable[[str], None],
) -> None:
    """Makes the trajectories that have no line yet.

    Raises:
        InterleaveError: Teacher or generator is down, the budget is spent, or nothing can be written; what was done stays.
    """
    left = [item for item in items if journal.get(item.key) is None]
    for choice in recipe.generators:
        mine = [item for item in left if item.generator.name == choice.name]
        if not mine:
            continue
        roles = TeacherRoles(teacher)
        with _engine(recipe, choice, roles, pictures) as engine:
            made = in_parallel(
                mine,
                lambda item, engine=engine, roles=roles: _run(engine, item, recipe, roles, pictures),  # type: ignore[misc]
                recipe.teacher.concurrency,
                teacher.check_budget,
            )
            price = recipe.prices.get(choice.name, Price()).picture
            failed = 0  # in a row
            for done, (item, record) in enumerate(made, 1):
                journal.add(item.key, **record)
                teacher.pictures_money += record["generations"] * price
                teacher.require(record)
                failed = failed + 1 if record["outcome"] == "failed" else 0
                if failed >= recipe.teacher.give_up_after:
                    raise BackendFailedError(
                        f"[data] {failed} trajectories of the generator {choice.name} have failed in a row: "
                        f"{record['error']}",
                        hint="look after the generator, then run again: what is there stays",
                    )
                if done % 50 == 0:
                    say(f"{choice.name}: {done} of {len(mine)}")


def in_parallel(
    items: Iterable[Any], make: Callable[[Any], Any], at_once: int, check: Callable[[], None]
) -> Iterator[tuple[Any, Any]]:
    """(item, what `make` made of it) as they are done; `check` is asked before each is begun, and may raise.

    Where something raises, what is under way is waited for and lost: its replies are kept.
    """
    waiting = iter(items)
    running: dict[Future[Any], Any] = {}
    with ThreadPoolExecutor(at_once) as pool:
        stopped: InterleaveError | None = None
        while True:
            while stopped is None and len(running) < at_once and (item := next(waiting, None)) is not None:
                try:
                    check()
                except InterleaveError as error:
                    stopped = error
                    break
                running[pool.submit(make, item)] = item
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for one in done:
                yield running.pop(one), one.result()
        if stopped is not None:
            raise stopped


def _engine(recipe: Recipe, choice: GeneratorChoice, roles: TeacherRoles, pictures: Pictures) -> Engine:
    at_once = recipe.teacher.concurrency
    planner_and_critic: Any = roles
    teacher = OutsideBackend(
        planner_and_critic,
        serves=("planner", "critic"),
        capacity=at_once,
        device="teacher",
        lossless="replay",
        longest_call_s=(recipe.teacher.timeout_s + 60) * (1 + recipe.teacher.retries) * recipe.teacher.tries,
        name="teacher",
    )
    generator = _generator(recipe, choice, pictures)
    return Engine(MixedBackend([generator, teacher]), EngineConfig(max_live=at_once, record_bytes=0))


def _generator(recipe: Recipe, choice: GeneratorChoice, pictures: Pictures) -> Backend:
    made = opened(choice.spec, recipe.folder)
    if isinstance(made, Pack):
        return NativeBackend(made, ["generator"])
    if isinstance(made, DrawnGenerator):
        drawn: Any = made
        return OutsideBackend(drawn, serves=("generator",), device="drawn", lossless="bitwise", name="drawn")
    store = CallStore(pictures.folder.parent / "generated", max_bytes=_RECORD_BYTES)
    info = made.info()
    return OutsideBackend(
        made,
        serves=("generator",),
        capacity=int(info.get("capacity", 1)),
        device=info.get("device", RoleSpec.parse(choice.spec).runtime),
        name=choice.name,
        store=store,
        longest_call_s=3600,
    )


@dataclass(slots=True)
class _Told:
    """A trajectory as its events tell it: plan, and attempts of every step so far."""

    plan: list[dict[str, Any]] = field(default_factory=list)
    steps: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    committed: list[int] = field(default_factory=list)
    generations: int = 0


def _run(
    engine: Engine, item: Item, recipe: Recipe, roles: TeacherRoles, pictures: Pictures
) -> dict[str, Any]:
    """One trajectory; what its line says beside the key."""
    how = recipe.trajectories
    seed = int(item.key[:15], 16)
    options = Options(
        seed=seed,
        t_max=how.t_max,
        max_steps=how.max_steps,
        judge_last=True,
        speculation=how.speculation,
        width=how.width,
        height=how.height,
        denoising_steps=item.generator.denoising_steps,
    )
    told, ending, error = _Told(), "finished", ""
    handle = engine.submit(item.text, options=options)
    try:
        for event in handle:
            if isinstance(event, FinishedEvent):
                error = event.error.message if event.error else ""
                ending = event.outcome
            elif not _take(event, told, pictures, how.generations):
                ending = "generations"
                break
    finally:
        handle.close()
    if ending == "generations":
        _judge_last(told, roles, pictures)
    reply = roles.plans.pop(item.text, "")
    head = {"prompt": item.prompt, "generator": item.generator.name, "generations": told.generations}
    if ending == "failed":
        return {**head, "outcome": "unreadable" if reply is None else "failed", "error": error}
    if not told.generations:
        return {**head, "outcome": "dropped", "rule": "no picture"}  # the teacher has answered in words
    return {
        **head,
        "outcome": "kept",
        "text": item.text,
        "seed": seed,
        "ending": ending,
        "reasoning": asking.thoughts(reply or ""),
        "plan": told.plan,
        "steps": [
            {"index": index, "committed": index in told.committed, "attempts": attempts}
            for index, attempts in sorted(told.steps.items())
        ],
    }


def _take(event: Any, told: _Told, pictures: Pictures, most: int) -> bool:
    """Adds an event; false where it was the last picture that is allowed."""
    if isinstance(event, PlanStepEvent):
        told.plan.append(event.step.as_dict())
    elif isinstance(event, AttemptImageEvent):
        told.generations += 1
        made = event.attempt
        assert made.pixels is not None
        attempt = {
            "prompt": made.prompt,
            "seed": made.seed,
            "picture": pictures.put(made.pixels),
            "verdict": None,
        }
        told.steps.setdefault(event.index, []).append(attempt)
        return told.generations < most
    elif isinstance(event, VerdictEvent):
        told.steps[event.index][event.attempt - 1]["verdict"] = event.verdict.as_dict()
    elif isinstance(event, StepCommittedEvent):
        told.committed.append(event.index)
        told.steps.setdefault(event.index, [])
    return True


def _judge_last(told: _Told, roles: TeacherRoles, pictures: Pictures) -> None:
    """Adds the verdict of the last picture: after its own verdict the engine would go on to the next picture."""
    *before, last = sorted(told.steps)
    attempt = told.steps[last][-1]
    shown = next((told.steps[index][-1]["picture"] for index in reversed(before) if told.steps[index]), None)
    source = None if shown is None else pictures.get(shown)
    with suppress(InterleaveError):  # it then has none, as one that cannot be read
        verdict = roles.judge(
            source, pictures.get(attempt["picture"]), told.plan[last]["prompt"], attempt["prompt"], 0, 0
        )
        attempt["verdict"] = None if verdict is None else verdict.as_dict()


def score_key(model: str, before: str | None, after: str, instruction: str) -> str:
    """The key of an attempt's score: pictures by name, and the wish."""
    return key_of("score", model, before, after, instruction)


def score_attempts(
    recipe: Recipe, lines: Iterable[Mapping[str, Any]], teacher: Teacher, journal: Journal, pictures: Pictures
) -> list[str]:
    """Scores every attempt that has no line yet; returns the keys of all."""
    wanted: dict[str, tuple[str | None, str, str]] = {}
    for step in (step for line in lines for step in steps_of("", line, lambda *_: None)):
        for attempt in step.attempts:
            key = score_key(recipe.teacher.model, step.before, attempt.picture, step.wish)
            wanted[key] = step.before, attempt.picture, step.wish

    def make(key: str) -> dict[str, Any]:
        before, after, prompt = wanted[key]
        made = pictures.get(after)
        start = None if before is None else pictures.get(before)
        try:
            score = teacher.score(start, made, prompt)
        except UnreadableError:
            return {"outcome": "unreadable"}
        except BadRequestError:
            raise
        except InterleaveError as error:
            return {"outcome": "failed", "error": error.message}
        return {"outcome": "kept", "score": list(astuple(score))}

    left = [key for key in wanted if journal.get(key) is None]
    for key, told in in_parallel(left, make, recipe.teacher.concurrency, teacher.check_budget):
        journal.add(key, **told)
        teacher.require(told)
    return list(wanted)
