"""Made-up planners, generators and critics for tests of the evaluation."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace

from interleave_rt.errors import BackendFailedError
from interleave_rt.types import Attempt, PlanStep, Result, Step, Verdict
from interleave_rt.worlds.shapes import oracle, requests
from interleave_rt.worlds.shapes.evaluation.models import Plan
from interleave_rt.worlds.shapes.evaluation.samples import Material, Planned
from interleave_rt.worlds.shapes.language import parse, refusal, teacher
from interleave_rt.worlds.shapes.scene import EMPTY, arranged, render


def right_plan(wish: requests.Request) -> Plan:
    answer = json.loads(teacher.plan_answer(wish).partition("<answer>")[2].partition("</answer>")[0])
    return Plan(tuple(PlanStep(**step) for step in answer["execution_plan"]))


def words(*said: str, number: int = 1) -> Plan:
    return Plan(tuple(PlanStep(number + i, "answer", None, None, text) for i, text in enumerate(said)))


class Told(Material):
    """Material whose planner is right but for every tenth request."""

    def plan(self, wishes, title):
        def answered(number, wish):
            if wish.kind == "outside":
                return words(refusal("any")) if number % 10 else words("Blue.")
            return right_plan(wish) if number % 10 else words("I cannot draw that.", number=wish.first_number)

        return [Planned(w, self._drawn(w), answered(i, w)) for i, w in enumerate(wishes)]


class Made:
    """A generator that is right with full plain prompts, and a critic that knows; requests are planned right."""

    def __init__(self) -> None:
        self.rng = random.Random(5)
        self.wishes = {}

    def plan(self, asked, seed):
        raise AssertionError("plans are told by the material of these tests")

    def paint(self, prompt, source, seed, denoising_steps=0):
        reading = None if source is None else oracle.read(source)
        step = parse(None if reading is None else reading.scene, prompt)
        if self.rng.random() < 0.02:
            raise BackendFailedError("the generator has failed")
        assert step is not None
        explicit = " at the " in prompt or " to the " in prompt
        scene = step.after
        if denoising_steps == 1 or self.rng.random() > (0.99 if explicit else 0.6):
            scene = teacher.corrupt(step, self.rng)
        layout = EMPTY if reading is None else reading.layout
        return render(scene, arranged(step.before, layout, scene, self.rng))

    def run_all(self, cases, look):
        for index, (request, options) in enumerate(cases):
            if index % 9 == 8:
                yield look(index, BackendFailedError("the planner has failed"))
                continue
            yield look(index, self.run(self.wishes[request.text], options))

    def run(self, wish, options):
        steps, source = [], None
        for planned in right_plan(wish).steps:
            tries, prompt = [], planned.prompt
            before = None if source is None else oracle.read(source).scene
            step = parse(before, planned.prompt)
            if step is None:
                break
            for number in range(1, options.t_max + 1):
                try:
                    picture = self.paint(prompt, source, 0)
                except BackendFailedError:
                    continue
                right = oracle.matches(picture, step.after)
                verdict = None
                if options.judges_attempt(number):
                    verdict = Verdict(
                        right, 0.9 if right else 0.1, None if right else teacher.rewrite(step, prompt)
                    )
                tries.append(Attempt(number, prompt, 0, 0, picture, verdict))
                if verdict is None or verdict.accepted:
                    break
                prompt = verdict.refined
            if not tries:
                break
            source = tries[-1].pixels
            accepted = None if verdict is None else verdict.accepted
            steps.append(Step(planned, tuple(tries), source, accepted))
        return Result(wish.text, options, tuple(steps), "finished", plan=right_plan(wish).steps)


class MadeMaterial(Told):
    def __init__(self, models, settings, progress=None):
        super().__init__(models or Made(), settings, progress)

    def outcomes(self, t_max, keep, count):
        self.models.wishes |= {wish.text: wish for wish in self.wishes("narrative", count)}
        return super().outcomes(t_max, keep, count)


def made_pack(tmp_path: Path, size: tuple[int, int] = (96, 96)) -> SimpleNamespace:
    (tmp_path / "weights").write_bytes(b"x" * 2_000_000)
    info = {
        "name": "made",
        "version": "1",
        "description": "",
        "license": "",
        "source": "",
        "lossless": "bitwise",
    }
    return SimpleNamespace(
        name="made", path=tmp_path, image_size=size, info=lambda: info | {"path": str(tmp_path)}
    )
