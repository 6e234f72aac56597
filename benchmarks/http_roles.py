"""Speculation over HTTP roles against arithmetic: a made-up server whose calls take 200 ms each.

    python benchmarks/http_roles.py --requests 20

Planner, generator and critic are on one server, in another process; a plan has 5 steps, of which the first closes after
50 ms, and a verdict's boolean comes after 133 ms. What is compared is said in closed_form.py; a call that is given up
costs one poll of the client here, not a denoising step. Prints one JSON object; exits with 1 where the speculative arm
takes more than 1.05 times the closed form, or a result differs between arms.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from closed_form import AT_MOST, Times, compared
from frame import held, parser_of, say

from interleave_rt import Engine
from interleave_rt.backends.mixed import MixedBackend
from interleave_rt.backends.openai import OpenAiGenerator, OpenAiVlm
from interleave_rt.backends.outside import ROLES, OutsideBackend
from interleave_rt.config import EngineConfig
from interleave_rt.measure.arms import Target
from interleave_rt.roles.base import SharedRules

TIMES = Times(generate=200, quantum=10, judge=200, verdict=133, plan=200, first_step=50)


class HttpRoles(SharedRules):
    """The roles of one server."""

    def __init__(self, url: str) -> None:
        vlm, generator = OpenAiVlm(url, "made-up"), OpenAiGenerator(url, "made-up")
        self.plan, self.judge, self.generate = vlm.plan, vlm.judge, generator.generate
        self.counters = lambda: {"vlm": vlm.counters(), "generator": generator.counters()}


def http_target(roles: HttpRoles) -> Target:
    """A lane for each role; they do not slow each other and have no cores to share."""

    def load(config: EngineConfig) -> Engine:
        lanes = [
            OutsideBackend(roles, serves=(role,), device=role, lossless="replay", name="http")
            for role in ROLES
        ]
        return Engine(MixedBackend(lanes), config)

    return Target("http", 0, load)


@contextmanager
def server_of(p: float, seed: int) -> Iterator[str]:
    """A made-up server in a process of its own: it must not share the engine's interpreter lock."""
    times = {
        name: str(getattr(TIMES, name)) for name in ("plan", "first_step", "generate", "judge", "verdict")
    }
    options = [f"--{name.replace('_', '-')}-ms={value}" for name, value in times.items()]
    command = [sys.executable, Path(__file__).with_name("made_up_server.py"), *options]
    command += ["--steps=5", f"--accept-prob={p}", f"--seed={seed}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def main() -> int:
    parser = parser_of(__doc__, requests=20, pack=False)
    parser.add_argument("--accept-prob", default="1,0.8,0.6")
    arguments = parser.parse_args()
    rows = []
    for p in map(float, arguments.accept_prob.split(",")):
        with server_of(p, arguments.seed) as url:
            roles = HttpRoles(url)
            row = compared(http_target(roles), arguments.requests, arguments.seed, TIMES, warmup=2)
        row["holds"] = row["of_closed_form"] <= AT_MOST and row["equal"]
        rows.append({"accept_prob": p, **row, "calls": roles.counters()})
        say(rows[-1])
    return held(rows, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
