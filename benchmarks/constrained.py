"""Constrained decoding by command: what it guarantees, and what it costs.

    python benchmarks/constrained.py --answers 10000
    python benchmarks/constrained.py --cost 160

`--answers N`: planner and critic of the embedded pack each give N/2 answers, sampled at temperature 1, with and without
the constraint, on the same questions and seeds; counts those that the engine's own readers cannot read. Prints one JSON
object; exits with 1 where a constrained answer was unreadable.

`--cost N`: N greedy answers of each role, alone and eight at once, asked of one model with and without the constraint in
turns, three times A B B A. The answers are the same tokens, so the difference is the constraint's; it is set against a
step of the decoder alone, without the reading of the prompt. The quickest turn of each side counts; medians over the rounds.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from frame import finish, parser_of

from interleave_rt import _core, load_pack
from interleave_rt.backends.constrain import find_constraint
from interleave_rt.backends.native import NativeBackend, vlm_config
from interleave_rt.backends.ort import load_runtime
from interleave_rt.config import EngineConfig
from interleave_rt.pack.manifest import VlmRole
from interleave_rt.pack.templates import mode_for
from interleave_rt.worlds.shapes.requests import sample
from interleave_rt.worlds.shapes.scene import WHITE, drawn_story

Pixels = npt.NDArray[np.uint8]
Question = tuple[Any, list[Pixels], int, int]
SLOTS = 8
TURNS = 3  # of A B B A; the quickest of each side counts, for others' work only ever adds time


class Trio:
    """Questions for planner and critic, and models that answer them."""

    def __init__(self) -> None:
        load_runtime()
        self.pack = load_pack()
        self.texts = NativeBackend(self.pack).texts

    def model(
        self, role: str, constrained: str, *, temperature: float, slots: int, max_new_tokens: int = 0
    ) -> _core.NativeVlm:
        """A role's model; `constrained` as in `EngineConfig`."""
        spec: VlmRole = getattr(self.pack.manifest.roles, role)
        config = vlm_config(self.pack, spec, EngineConfig(threads=1, constrained=constrained))
        config["temperature"] = temperature
        config["max_new_tokens"] = max_new_tokens or config["max_new_tokens"]
        return _core.NativeVlm(config, slots)

    def plans(self, seed: int) -> Iterator[Question]:
        """Requests of the shapes world, one in five with pictures."""
        rng = random.Random(f"plans/{seed}")
        while True:
            mode = "guidance" if rng.random() < 0.2 else "narrative"
            for one in sample("test", 32, rng.randrange(2**31), mode):
                images = list(drawn_story(one.images, rng))
                text = one.text
                ids = self.texts.plan(mode_for(len(images)), text, len(images))
                yield ids, images, rng.randrange(2**63), 0

    def verdicts(self, seed: int) -> Iterator[Question]:
        """Steps of plans, judged on the right picture or on that of another step."""
        rng = random.Random(f"verdicts/{seed}")
        while True:
            for one in sample("test", 32, rng.randrange(2**31), "narrative"):
                pictures = list(drawn_story(one.scenes, rng))
                before = WHITE
                for step, picture in zip(one.steps, pictures, strict=True):
                    after = picture if rng.random() < 0.5 else rng.choice(pictures)
                    if step.prompt is not None:
                        ids = self.texts.judge(step.prompt, step.prompt)
                        yield ids, [before, after], rng.randrange(2**63), 0
                    before = picture


def read_plan(question: Question, text: bytes) -> tuple[bool, bool]:
    """Whether the plan can be read at all, and in full."""
    scanner = _core.PlanScanner(25, 0 if question[1] else 1)
    scanner.feed(text)
    plan = scanner.finish()
    return bool(plan["steps"]), bool(plan["steps"]) and not plan["truncated"]


def read_verdict(_question: Question, text: bytes) -> tuple[bool, bool]:
    """Whether there is a boolean, and a refined prompt where it is false."""
    scanner = _core.VerdictScanner()
    scanner.feed(text)
    verdict = scanner.finish()
    if verdict is None:
        return False, False
    return True, verdict["previous_step_success"] or verdict["refine_prompt"] is not None


ROLES = {"planner": (Trio.plans, read_plan), "critic": (Trio.verdicts, read_verdict)}


def count_answers(trio: Trio, answers: int, seed: int, temperature: float) -> dict[str, Any]:
    """Unreadable answers of each role, with and without the constraint."""
    report: dict[str, Any] = {}
    for role, (questions, read) in ROLES.items():
        for setting in ("on", "off"):
            began = time.monotonic()
            model = trio.model(role, setting, temperature=temperature, slots=SLOTS)
            row = {"answers": 0, "unreadable": 0, "in_part": 0, "not_ended": 0}
            source = questions(trio, seed)
            examples: list[str] = []
            while row["answers"] < answers // 2:
                batch = list(islice(source, min(64, answers // 2 - row["answers"])))
                for question, answer in zip(batch, model.answers(batch), strict=True):
                    readable, whole = read(question, answer.text)
                    row["answers"] += 1
                    row["unreadable"] += not readable
                    row["in_part"] += readable and not whole
                    row["not_ended"] += answer.stop != "end_of_text"
                    if not readable and len(examples) < 3:
                        examples.append(answer.text.decode("utf-8", "replace"))
            counters = model.counters()
            row["corrected_tokens"] = counters["corrected_tokens"]
            row["tokens"] = counters["tokens"]
            report.setdefault(role, {})[setting] = {
                **row,
                "seconds": round(time.monotonic() - began, 1),
                "unreadable_examples": examples,
            }
            print(role, setting, report[role][setting], file=sys.stderr, flush=True)
    return report


def measure_cost(trio: Trio, answers: int, seed: int) -> dict[str, Any]:
    """Microseconds of a step with and without the constraint, greedy, alone and eight at once."""
    report: dict[str, Any] = {}
    for role, (questions, _read) in ROLES.items():
        asked = list(islice(questions(trio, seed), answers))
        for slots in (1, SLOTS):
            model = trio.model(role, "on", temperature=0.0, slots=slots)
            reader = trio.model(role, "off", temperature=0.0, slots=slots, max_new_tokens=1)
            found: dict[str, list[float]] = {"cost": [], "step": []}
            rounds = [asked[i : i + slots] for i in range(0, len(asked) - slots + 1, slots)]
            for batch in [rounds[0], *rounds]:  # the first one is for warming up
                times: dict[str, list[float]] = {"on": [], "off": [], "prompt": []}
                tokens: dict[str, list[list[int]]] = {}
                steps = 0
                for setting in ("on", "off", "prompt", "prompt", "off", "on") * TURNS:
                    asks = reader if setting == "prompt" else model
                    model.constrain(setting == "on")
                    before = asks.counters()["steps"]
                    began = time.thread_time()
                    given = asks.answers(batch)
                    times[setting].append(1e6 * (time.thread_time() - began))
                    if asks is model:
                        steps = asks.counters()["steps"] - before
                        tokens[setting] = [list(answer.tokens) for answer in given]
                if tokens["on"] == tokens["off"]:  # an answer that had to be corrected is another answer
                    on, off, prompt = (min(times[setting]) for setting in ("on", "off", "prompt"))
                    found["cost"].append((on - off) / steps)
                    found["step"].append((off - prompt) / steps)
            cost, step = (statistics.median(values[1:]) for values in found.values())
            report.setdefault(role, {})[f"batch_{slots}"] = {
                "rounds": len(found["cost"]) - 1,
                "step_us": round(step, 1),
                "cost_us": round(cost, 2),
                "ratio": round(1 + cost / step, 4),
            }
            print(role, slots, report[role][f"batch_{slots}"], file=sys.stderr, flush=True)
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what the arguments ask for."""
    parser = parser_of(__doc__, seed=20261121, pack=False)
    parser.add_argument("--answers", type=int, default=0, help="answers in all, half of each role")
    parser.add_argument("--cost", type=int, default=0, help="answers of each role whose time is compared")
    parser.add_argument("--temperature", type=float, default=1.0)
    chosen = parser.parse_args(arguments)
    if chosen.cost and chosen.cost < 4 * SLOTS:
        parser.error(f"--cost is {chosen.cost}: at least {4 * SLOTS} answers are wanted")
    report: dict[str, Any] = {"constraint": str(find_constraint("on")), "seed": chosen.seed}
    trio = Trio()
    if chosen.answers:
        report["temperature"] = chosen.temperature
        report["sampled"] = count_answers(trio, chosen.answers, chosen.seed, chosen.temperature)
    if chosen.cost:
        report["cost"] = measure_cost(trio, chosen.cost, chosen.seed)
    return finish(
        report, holds=not any(role["on"]["unreadable"] for role in report.get("sampled", {}).values())
    )


if __name__ == "__main__":
    sys.exit(main())
