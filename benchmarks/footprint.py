"""What the runtime costs before it has done anything: import, load, memory, size.

    python benchmarks/footprint.py --runs 5 --wheel dist/interleave_rt-*.whl

Each figure is the median over fresh processes. Prints one JSON object.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from frame import finish, parser_of

# Runs in a process of its own: what another part has imported would hide what this one costs.
PROBE = """
import json, resource, sys, time
start = time.perf_counter()
import interleave_rt
imported = time.perf_counter()
engine = interleave_rt.Engine.load(sys.argv[1] or None)
loaded = time.perf_counter()
rss = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
after_load = rss()
text = (
    "Begin with a green square at the bottom right on a brown background, add a small black ring over the green "
    "square, move the green square left of the ring, add an orange circle beneath the small black ring and then "
    "make the large green square red."
)
result = engine.run(text, seed=7, max_steps=5)
first = time.perf_counter()
engine.run(text, seed=8, max_steps=5)
second = time.perf_counter()
engine.close()
print(json.dumps({
    "import_s": imported - start,
    "load_s": loaded - imported,
    "first_run_s": first - loaded,
    "second_run_s": second - first,
    "cpu_s": time.process_time(),
    "steps": len(result.steps),
    "rss_after_load_mib": after_load,
    "peak_rss_mib": rss(),
}))
"""


def measure(pack: str) -> dict[str, float]:
    """One fresh process."""
    done = subprocess.run([sys.executable, "-c", PROBE, pack], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> int:
    parser = parser_of(__doc__, seed=None, pack=False)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--pack", default="", help="default: the embedded one")
    parser.add_argument("--wheel", type=Path)
    arguments = parser.parse_args()
    runs = [measure(arguments.pack) for _ in range(arguments.runs)]
    summary: dict[str, Any] = {"runs": len(runs)}
    for name in runs[0]:
        summary[name] = round(statistics.median(run[name] for run in runs), 4)
    if arguments.wheel:
        summary["wheel_mib"] = round(arguments.wheel.stat().st_size / 2**20, 3)
    return finish(summary)


if __name__ == "__main__":
    sys.exit(main())
