"""The data pipeline killed at random moments: `python tests/train/data_storm.py [--prompts 200] [--kills 20] [--seed 0]`.

The sets of the shapes world are made three times: undisturbed, with the teacher in this process; with the teacher behind a
socket in another process, which fails, writes garbage, is slow, is killed and comes back, while the pipeline itself is
killed; and with faults that last. The first two must give the same sets and no key twice, the third must count what it lost.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

RECIPE = """
name = "storm"
licence = "Apache-2.0"
world = "shapes"
seed = {seed}
[teacher]
model = "shapes-oracle"
url = "{url}"
concurrency = 4
retries = {retries}
backoff_s = 0.2
tries = 4
give_up_after = 1000000
[prompts]
count = {prompts}
words = 150
near = 1.0
[ask]
folder = "shapes"
repeat = true
[select]
rl_variance = 11.0
[[generators]]
name = "strong"
spec = "{strong}"
[[generators]]
name = "weak"
spec = "{weak}"
"""
MODULE = [sys.executable, "-P", "-m"]


class Teacher:
    """The oracle in a process of its own, on a port that it keeps."""

    def __init__(self, faults: dict[str, float]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._faults = [f"--{name}={share}" for name, share in faults.items()]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.start()

    def start(self) -> None:
        """Returns when it listens."""
        command = [*MODULE, "interleave_rt.train.data.serve", f"--port={self.port}", *self._faults]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == self.url

    def kill(self) -> None:
        """Without a word to whoever it answers."""
        self._process.kill()
        self._process.communicate()


class Pipeline:
    """`interleave-rt train data run` of one recipe in one folder."""

    def __init__(self, folder: Path, **values: Any) -> None:
        folder.mkdir(parents=True)
        self._recipe = folder / "recipe.toml"
        self._recipe.write_text(RECIPE.format(**values), encoding="utf-8")
        self.out = folder / "out"

    def start(self) -> subprocess.Popen[str]:
        """Begins, or goes on where it was."""
        command = [*MODULE, "interleave_rt", "train", "data", "run", "--json"]
        return subprocess.Popen(
            [*command, "--recipe", str(self._recipe), "--out", str(self.out)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def result(self) -> dict[str, Any]:
        """What it prints at its end."""
        process = self.start()
        said, _ = process.communicate()
        assert process.returncode == 0, f"{self.out}: exit code {process.returncode}"
        found: dict[str, Any] = json.loads(said)
        return found

    def killed(self, after_s: float) -> bool:
        """Kills it so long after its start; whether it was still at work."""
        process = self.start()
        try:
            process.communicate(timeout=after_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return True
        assert process.returncode == 0, f"exit code {process.returncode}"
        return False

    def keys(self) -> dict[str, Counter[str]]:
        """How often every key stands in each journal."""
        lines = {log.name: log.read_text(encoding="utf-8").splitlines() for log in self.out.glob("*.log")}
        return {
            name: Counter(json.loads(line.partition(" ")[2])["key"] for line in found)
            for name, found in lines.items()
        }


def lost(counts: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """What every stage did not keep, by reason; fails where items went without a word."""
    for stage, found in counts.items():
        assert found["in"] == sum(number for reason, number in found.items() if reason != "in"), (
            stage,
            found,
        )
    without = {"in", "kept"}
    return {
        stage: {reason: number for reason, number in found.items() if reason not in without and number}
        for stage, found in counts.items()
    }


def main() -> None:
    """Prints one JSON object; fails where a rule is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20, help="of the pipeline")
    parser.add_argument(
        "--restarts", type=int, default=4, help="of the teacher, among the kills of the pipeline"
    )
    parser.add_argument("--strong", default="pack", help="spec of the first generator")
    parser.add_argument("--weak", default="drawn,success=0.6", help="spec of the second")
    parser.add_argument("--out", type=Path, help="folder that is kept")
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    print(f"seed {told.seed}", file=sys.stderr)
    rng = random.Random(told.seed)
    folder = told.out or Path(tempfile.mkdtemp(prefix="data-storm-"))
    values = {"seed": 1, "prompts": told.prompts, "strong": told.strong, "weak": told.weak, "retries": 8}

    begun = time.monotonic()
    undisturbed = Pipeline(folder / "undisturbed", url="", **values).result()
    took = time.monotonic() - begun
    print(f"undisturbed: {took:.0f} s", file=sys.stderr)

    teacher = Teacher({"error": 0.05, "garbage": 0.05, "slow": 0.05})
    stormy = Pipeline(folder / "stormy", url=teacher.url, **values)
    falls = set(rng.sample(range(told.kills), min(told.restarts, told.kills)))
    kills = 0
    for number in range(told.kills):
        # Short ones strike the first stages again and again, long ones get further.
        if number in falls:
            process = stormy.start()
            time.sleep(rng.uniform(0, 2 * took / told.kills))
            teacher.kill()
            time.sleep(rng.uniform(0, 1))
            teacher.start()
            time.sleep(rng.uniform(0, 1))
            kills += process.poll() is None
            process.kill()
            process.communicate()
        else:
            kills += stormy.killed(rng.uniform(0, 2.5 * took / told.kills) + rng.uniform(0, 1))
        print(f"kill {number + 1}: {sum(map(len, stormy.keys().values()))} keys", file=sys.stderr)
    disturbed = stormy.result()
    teacher.kill()
    twice = {name: key for name, found in stormy.keys().items() for key, times in found.items() if times > 1}

    lasting = Teacher({"lasting": 0.05})
    values["retries"] = 0
    left = Pipeline(folder / "lasting", url=lasting.url, **values).result()
    lasting.kill()
    print(
        json.dumps(
            {
                "prompts": told.prompts,
                "sets": {name: about["items"] for name, about in undisturbed["sets"].items()},
                "killed while at work": kills,
                "teacher restarted": len(falls),
                "same sets": disturbed["hash"] == undisturbed["hash"],
                "keys twice": twice,
                "lost to lasting faults": lost(left["counts"]),
                "undisturbed_s": round(took, 1),
            },
            indent=1,
        )
    )
    assert disturbed["hash"] == undisturbed["hash"], "the sets differ"
    assert not twice, "a key stands twice"


if __name__ == "__main__":
    main()
