"""How soon a cancelled call lets go of its lane, beside the quantum that it may take at most.

    python benchmarks/cancel.py --cancels 300

Requests on a pack are cancelled at random moments; half of them speculate. A sample is a call that was cancelled
while it ran: from when the scheduler gave it up until the lane reports its end, on the engine's clock. The quantum is measured in the same run: of the generator a
denoising step (a call's time over its steps; encoders and decoder, which cannot be interrupted either, are in
it), of planner and critic a token (an answer's time over its tokens, at batch 1). Prints one JSON object.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from typing import Any

from frame import finish, parser_of, percentile

from interleave_rt import Engine, Options, _core, load_pack
from interleave_rt.backends.native import NativeBackend
from interleave_rt.config import EngineConfig

TEXTS = (
    "Draw a snowman step by step",
    "Draw a house with a red roof, then a green tree beside it, then a yellow sun",
    "Put a blue square in the middle, add a small ring over it and make the square red",
)
ENDS = {"plan": "planner", "generate": "generator", "judge": "critic"}


def submit(engine: Engine, number: int) -> int:
    """A request by its id; the handle of the engine would read its events."""
    options = Options(seed=number, speculation="depth=1" if number % 2 else "off")
    request = {**options.for_core(), "text": TEXTS[number % len(TEXTS)]}
    return engine._core.submit(request)  # noqa: SLF001 - a measurement looks inside


def read_to_end(core: _core.Engine, request: int) -> list[dict[str, Any]]:
    """Reads a request to its end and waits until its calls have ended, too."""
    while True:
        event = core.next_event(request, 100)
        if event is not None and event["kind"] == "finished":
            break
    while any(span["ended_us"] is None for span in core.trace(request)["spans"]):
        time.sleep(0.001)
    spans = core.trace(request)["spans"]
    core.forget(request)
    return spans


def one_token_us(engine: Engine, runs: int) -> float:
    """Median time of a token: an answer of the planner at batch 1, prompt included, over its tokens."""
    backend = engine.backend
    assert isinstance(backend, NativeBackend)
    role = backend.pack.manifest.roles.planner
    assert role is not None
    from interleave_rt.backends.native import vlm_config

    planner = _core.NativeVlm(vlm_config(backend.pack, role, engine.config))
    each = []
    for number in range(runs):
        ids = backend.texts.plan("narrative", TEXTS[number % len(TEXTS)], 0)
        begin = time.perf_counter()
        answer = planner.answer(ids, [], number, 0)
        each.append((time.perf_counter() - begin) * 1e6 / max(1, len(answer.tokens)))
    return statistics.median(each)


def main() -> int:
    """Entry point."""
    parser = parser_of(__doc__, seed=7)
    parser.add_argument("--cancels", type=int, default=300, help="requests to cancel")
    parser.add_argument("--threads", type=int, help="CPU threads in all")
    args = parser.parse_args()
    chance = random.Random(args.seed)
    latencies: dict[str, list[float]] = {role: [] for role in ENDS.values()}
    with Engine(NativeBackend(load_pack(args.pack)), EngineConfig(threads=args.threads)) as engine:
        core = engine._core  # noqa: SLF001
        # Undisturbed: how long a request takes, and a denoising step.
        steps: list[float] = []
        whole: list[float] = []
        for number in range(6):
            begin = time.perf_counter()
            spans = read_to_end(core, submit(engine, 2 * number))  # without speculation
            whole.append(time.perf_counter() - begin)
            made = [span for span in spans if span["kind"] == "generate" and span["outcome"] == "done"]
            steps += [
                ((span["ended_us"] or 0) - span["started_us"]) / denoising_steps(engine) for span in made
            ]
        token = one_token_us(engine, 6)
        longest = statistics.median(whole)
        for number in range(args.cancels):
            request = submit(engine, number)
            time.sleep(chance.uniform(0.0, longest))
            core.cancel(request)
            for span in read_to_end(core, request):
                given_up, ended = span["cancel_us"], span["ended_us"]
                if span["outcome"] == "cancelled" and given_up and ended and span["started_us"] <= given_up:
                    latencies[ENDS[span["kind"]]].append(ended - given_up)
    quantum = {"planner": token, "generator": statistics.median(steps), "critic": token}
    report: dict[str, Any] = {
        "seed": args.seed,
        "cancels": args.cancels,
        "request_ms": round(longest * 1e3, 1),
    }
    for role, values in latencies.items():
        if not values:
            continue
        report[role] = {
            "calls": len(values),
            "quantum_us": round(quantum[role], 1),
            "p50_us": round(percentile(values, 0.5), 1),
            "p99_us": round(percentile(values, 0.99), 1),
            "max_us": round(max(values), 1),
            "p50_quanta": round(percentile(values, 0.5) / quantum[role], 2),
            "p99_quanta": round(percentile(values, 0.99) / quantum[role], 2),
        }
    return finish(report)


def denoising_steps(engine: Engine) -> int:
    """The pack's own."""
    backend = engine.backend
    assert isinstance(backend, NativeBackend)
    role = backend.pack.manifest.roles.generator
    assert role is not None
    return role.scheduler.num_inference_steps


if __name__ == "__main__":
    sys.exit(main())
