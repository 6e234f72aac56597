"""Made-up planners, generators and critics for tests of the evaluation."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace

from interleave_rt.errors import BackendFailedError
from interleave_rt.roles.base import SharedRules
from interleave_rt.wire import PlanStep, Verdict
from interleave_rt.worlds.shapes import oracle, requests
from interleave_rt.worlds.shapes.evaluation.outcomes import run_roles
from interleave_rt.worlds.shapes.evaluation.samples import Planned, Samples
from interleave_rt.worlds.shapes.evaluation.wording import Plan
from interleave_rt.worlds.shapes.language import parse, refusal, teacher
from interleave_rt.worlds.shapes.scene import EMPTY, arranged, render


def right_plan(task: requests.Request) -> Plan:
    answer = json.loads(teacher.plan_answer(task).partition("<answer>")[2].partition("</answer>")[0])
    return Plan(tuple(PlanStep(**step) for step in answer["execution_plan"]))


def words(*said: str, number: int = 1) -> Plan:
    return Plan(tuple(PlanStep(number + i, "answer", None, None, text) for i, text in enumerate(said)))


class Made(SharedRules):
    """A generator that is right with full plain prompts, and a critic that knows; known requests are planned right."""

    def __init__(self, failing: float = 0.02) -> None:
        self._failing = failing
        self.tasks = {}

    def plan(self, request, max_steps, seed, retry):
        plan = right_plan(self.tasks[request.text])
        return plan.steps, plan.truncated

    def generate(self, prompt, source, seed, options):
        reading = None if source is None else oracle.read(source)
        step = parse(None if reading is None else reading.scene, prompt)
        rng = random.Random(f"{prompt}/{seed}/{options.denoising_steps}")  # engines call from several threads
        if step is None or rng.random() < self._failing:
            raise BackendFailedError("the generator has failed")
        explicit = " at the " in prompt or " to the " in prompt
        scene = step.after
        if options.denoising_steps == 1 or rng.random() > (0.99 if explicit else 0.6):
            scene = teacher.corrupt(step, rng)
        layout = EMPTY if reading is None else reading.layout
        return render(scene, arranged(step.before, layout, scene, rng))

    def judge(self, before, after, original_prompt, prompt, seed, retry):
        step = parse(None if before is None else oracle.read(before).scene, original_prompt)
        if oracle.matches(after, step.after):
            return Verdict(True, 0.9)
        return Verdict(False, 0.1, teacher.rewrite(step, prompt))

    def run(self, request, *, options):
        """As an engine; every ninth request fails."""
        if list(self.tasks).index(request.text) % 9 == 8:
            raise BackendFailedError("the planner has failed")
        return run_roles(request, options, self)


class MadeSamples(Samples):
    """Samples whose planner is right but for every tenth request."""

    def __init__(self, settings, progress=None):
        self.runs = Made(failing=0.0)
        super().__init__(Made(), lambda: self.runs, settings, progress)

    def plan(self, tasks, title):
        def answered(number, task):
            if task.kind == "outside":
                return words(refusal("any")) if number % 10 else words("Blue.")
            return right_plan(task) if number % 10 else words("I cannot draw that.", number=task.first_number)

        return [Planned(task, self._drawn(task), answered(i, task)) for i, task in enumerate(tasks)]

    def outcomes(self, t_max, keep, count):
        self.runs.tasks |= {task.text: task for task in self.tasks("narrative", count)}
        return super().outcomes(t_max, keep, count)


def made_pack(tmp_path: Path, size: tuple[int, int] = (96, 96)) -> SimpleNamespace:
    (tmp_path / "weights").write_bytes(b"x" * 2_000_000)
    names = ("version", "description", "license", "source", "lossless")
    info = {"name": "made", **dict.fromkeys(names, "1")}
    return SimpleNamespace(
        name="made", path=tmp_path, image_size=size, info=lambda: info | {"path": str(tmp_path)}
    )
