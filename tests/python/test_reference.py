"""Each rule of the sequential program, on roles that are plain functions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from interleave_rt import BackendFailedError, Options, Request, Verdict
from interleave_rt.roles.reference import run_reference
from interleave_rt.wire import PlanStep, WrittenPlan

YES = Verdict(True, 0.9)


@dataclass
class Roles:
    """Pictures are strings that say how they were made; every call is written down."""

    plans: list = field(default_factory=list)  # answers of the planner, by retry
    verdicts: dict = field(default_factory=dict)  # (step, attempt) -> answers by retry
    given: list = field(default_factory=list)  # input pictures
    references: int = 1
    calls: list = field(default_factory=list)
    step: int = -1

    def plan(self, request, max_steps, seed, retry):
        self.calls.append(("plan", seed, retry))
        return self.plans[retry]

    def generate(self, prompt, source, seed, options):
        self.calls.append(("generate", prompt, source, seed))
        return f"{prompt}<{source}>{seed}"

    def judge(self, before, after, original_prompt, prompt, seed, retry):
        self.calls.append(("judge", before, after, original_prompt, prompt, seed, retry))
        _, step, attempt, _ = seed
        answers = self.verdicts.get((step, attempt), [YES])
        return answers[min(retry, len(answers) - 1)]

    def inputs(self, request):
        return self.given

    def hash_of(self, picture):
        return sum(map(ord, str(picture)))

    def seed_of(self, options, kind, step, attempt, retry):
        return (kind, step, attempt, retry)


def no(p=0.1, refined=None):
    return Verdict(False, p, refined)


def plan(*prompts):
    steps = (PlanStep(i + 1, f"s{i}", f"do {i}", prompt) for i, prompt in enumerate(prompts))
    return WrittenPlan(tuple(steps))


def run(roles, **options):
    return run_reference(Request("q"), Options(**options), roles)


def kinds(roles):
    return [call[0] for call in roles.calls]


def test_accepted_steps_chain_their_images():
    roles = Roles([plan("a", "b")])
    result = run(roles)
    assert kinds(roles) == ["plan", "generate", "judge", "generate", "judge"]
    first = roles.calls[1]
    assert first == ("generate", "a", None, ("generate", 0, 1, 0))
    assert roles.calls[3][2] == "a<None>" + str(("generate", 0, 1, 0))
    assert roles.calls[2][1] is None  # before the first step there is no picture: the critic sees white
    assert [step["accepted"] for step in result["steps"]] == [True, True]
    assert [step["outcome"] for step in result["steps"]] == ["accepted", "accepted"]
    assert result["steps"][0]["attempts"][0]["seed"] == ("generate", 0, 1, 0)


def test_the_first_step_starts_from_the_last_input_picture():
    roles = Roles([plan("a")], given=["drawing", "photo"])
    run(roles)
    assert roles.calls[1][2] == "photo"
    assert roles.calls[2][1] == "photo"


def test_a_generator_of_several_references_gets_the_last_pictures_of_the_story():
    roles = Roles([plan("a", None, "b", "c")], given=["drawing", "photo"], references=3)
    run(roles)
    a, b, c = (call for call in roles.calls if call[0] == "generate")
    assert a[2] == ["drawing", "photo"]
    assert b[2][:2] == ["drawing", "photo"] and b[2][2].startswith("a<")
    assert c[2][0] == "photo" and c[2][2].startswith("b<")
    judged = [call[1] for call in roles.calls if call[0] == "judge"]
    assert judged == ["photo", b[2][2], c[2][2]]  # the critic compares with the picture before


def test_every_retry_starts_again_from_the_previous_step():
    roles = Roles([plan("a", "b")], {(1, 1): [no(refined="b2")], (1, 2): [no(refined="b3")]})
    result = run(roles)
    made = [call for call in roles.calls if call[0] == "generate"]
    assert [call[1] for call in made] == ["a", "b", "b2", "b3"]
    assert len({call[2] for call in made[1:]}) == 1
    judged = [call for call in roles.calls if call[0] == "judge"]
    assert [call[3:5] for call in judged] == [("a", "a"), ("b", "b"), ("b", "b2"), ("b", "b3")]
    assert [a["prompt"] for a in result["steps"][1]["attempts"]] == ["b", "b2", "b3"]


def test_a_refusal_without_a_readable_prompt_keeps_the_used_one():
    roles = Roles([plan("a")], {(0, 1): [no(refined="r")], (0, 2): [no()], (0, 3): [YES]})
    result = run(roles)
    assert [a["prompt"] for a in result["steps"][0]["attempts"]] == ["a", "r", "r"]
    assert result["steps"][0]["attempts"][1]["verdict"]["refined"] is None


def test_the_last_attempt_is_not_judged():
    always = {(0, t): [no(refined=f"r{t}")] for t in range(1, 4)}
    roles = Roles([plan("a")], always)
    result = run(roles, t_max=3)
    step = result["steps"][0]
    assert kinds(roles) == ["plan", "generate", "judge", "generate", "judge", "generate"]
    assert (step["accepted"], step["outcome"]) == (None, "never_accepted")
    assert step["attempts"][2]["verdict"] is None


def test_the_last_attempt_is_judged_on_demand():
    always = {(0, t): [no(refined=f"r{t}")] for t in range(1, 4)}
    roles = Roles([plan("a", "b")], always)
    result = run(roles, t_max=3, judge_last=True)
    assert (result["steps"][0]["accepted"], result["steps"][0]["outcome"]) == (False, "never_accepted")
    assert len(result["steps"][0]["attempts"]) == 3
    source_of_b = [call for call in roles.calls if call[0] == "generate"][3][2]
    assert source_of_b.startswith("r2<")  # the last image, whatever its score


@pytest.mark.parametrize(
    ("scores", "best"), [((0.1, 0.4, 0.2), 1), ((0.3, 0.1, 0.3), 2), ((0.5, 0.4, 0.2), 0)]
)
def test_keep_best_takes_the_highest_score_and_of_equals_the_latest(scores, best):
    verdicts = {(0, t + 1): [no(p, f"r{t + 1}")] for t, p in enumerate(scores)}
    roles = Roles([plan("a", "b")], verdicts)
    result = run(roles, t_max=3, keep="best")
    source_of_b = [call for call in roles.calls if call[0] == "generate"][3][2]
    assert source_of_b.startswith(("a<", "r1<", "r2<")[best])
    assert result["steps"][0]["accepted"] is False


def test_keep_best_changes_nothing_when_one_was_accepted():
    roles = Roles([plan("a", "b")], {(0, 1): [no(0.45, "r1")], (0, 2): [Verdict(True, 0.4)]})
    result = run(roles, t_max=2, keep="best")
    assert result["steps"][0]["accepted"] is True
    assert [c for c in roles.calls if c[0] == "generate"][2][2].startswith("r1<")


def test_an_unreadable_verdict_is_asked_for_once_more():
    roles = Roles([plan("a")], {(0, 1): [None, no(refined="r")], (0, 2): [None, YES]})
    result = run(roles)
    seeds = [call[5] for call in roles.calls if call[0] == "judge"]
    assert seeds == [("judge", 0, 1, 0), ("judge", 0, 1, 1), ("judge", 0, 2, 0), ("judge", 0, 2, 1)]
    assert result["steps"][0]["accepted"] is True


def test_a_verdict_that_stays_unreadable_makes_its_attempt_final():
    roles = Roles([plan("a", "b")], {(0, 1): [None, None]})
    result = run(roles, keep="best")
    step = result["steps"][0]
    assert (step["accepted"], len(step["attempts"]), step["attempts"][0]["verdict"]) == (None, 1, None)
    assert [step["outcome"] for step in result["steps"]] == ["not_judged", "accepted"]


def test_an_unreadable_plan_is_asked_for_once_more_and_then_is_a_failure():
    roles = Roles([WrittenPlan(()), plan("a")])
    assert len(run(roles)["steps"]) == 1
    assert roles.calls[:2] == [("plan", ("plan", 0, 0, 0), 0), ("plan", ("plan", 0, 0, 1), 1)]
    with pytest.raises(BackendFailedError, match="twice"):
        run(Roles([WrittenPlan((), truncated=True), WrittenPlan((), truncated=True, violated=True)]))


def test_of_a_violated_plan_the_steps_stand_and_the_second_reading_goes_on():
    broken = replace(plan("a", "b"), truncated=True, violated=True)
    shifted = [replace(step, step_number=step.step_number + 3) for step in plan("x", "y", "c", "d").steps]

    def made(second):
        result = run(Roles([broken, second]))
        steps = [(step["step"]["step_number"], step["step"]["prompt"]) for step in result["steps"]]
        return steps, result["plan_truncated"]

    stands = [(1, "a"), (2, "b")]
    assert made(WrittenPlan(tuple(shifted))) == ([*stands, (3, "c"), (4, "d")], False)
    assert made(replace(broken, steps=tuple(shifted[:3]))) == ([*stands, (3, "c")], True)
    assert made(plan("x", "y")) == (stands, False)  # the second reading says that these are all
    assert made(plan("x")) == (stands, True)
    assert made(WrittenPlan(())) == (stands, True)
    roles = Roles([replace(broken, violated=False)])  # merely out of tokens
    assert (len(run(roles)["steps"]), kinds(roles).count("plan")) == (2, 1)


def test_a_text_only_step_makes_no_call_and_leaves_the_source():
    roles = Roles([plan("a", None, "c")])
    result = run(roles)
    assert result["steps"][1]["attempts"] == []
    assert (result["steps"][1]["accepted"], result["steps"][1]["outcome"]) == (None, "text")
    made = [call for call in roles.calls if call[0] == "generate"]
    assert made[1][2].startswith("a<")


def test_a_truncated_plan_says_so():
    assert run(Roles([replace(plan("a"), truncated=True)]))["plan_truncated"] is True
