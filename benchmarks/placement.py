"""Memory as it was predicted from configuration files, against what a process really takes; and roles under a hard cap.

    python benchmarks/placement.py

Every row is a process of its own. Random models of the real architectures, saved as those are downloaded, are opened and
called; the growth of the peak of resident memory, over what the libraries take once a tiny model of the same kind has
been through them, is compared with `footprint.demand_of`. The rows with a cap (on data, by the kernel) give the process
no more memory than was predicted and a margin: taking turns it must end with the same bits as without a cap, and with
everything kept it must fail. Exits with 1 where a prediction is off by more than a tenth, or a cap does not do that.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import multiprocessing
import resource
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from frame import held, parser_of, say

from interleave_rt import Options
from interleave_rt.backends.torch.footprint import Work
from interleave_rt.backends.torch.sharing import Opened, share
from interleave_rt.placement import HEAP, Residency

PROCESSES = multiprocessing.get_context("forkserver")  # of one that has the libraries, and has not used them
TOLERANCE = 0.1
MARGIN = 1.1  # of a cap over what was predicted: threads' stacks, fragments, the libraries' own buffers


@dataclass(frozen=True)
class Case:
    """What one process does.

    Args:
        name: In the document.
        models: By role, the kind of the model, its type, and arguments of its saver.
        side: Of pictures, in pixels.
        answer: Tokens of an answer.
        residency: How the models share the CPU.
    """

    name: str
    models: dict[str, tuple[str, str, dict[str, Any]]]
    side: int
    answer: int = 32
    residency: Residency = "keep"

    def work(self) -> Work:
        """For the prediction."""
        return Work(side=self.side, prompt=512, answer=self.answer, pictures=2)


def vlm(dtype: str, role: str = "critic", **sizes: Any) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """A planner or a critic."""
    return {role: ("vlm", dtype, sizes)}


def generator(kind: str, dtype: str, **sizes: Any) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """A generator."""
    return {"generator": (kind, dtype, sizes)}


SMALL = {"width": 512, "layers": 10}
TRIO = {**vlm("float32", **SMALL), **vlm("float32", "planner", **SMALL), **generator("klein", "float32")}
CASES = (
    Case("critic, float32, short answer", vlm("float32"), 256, answer=32),
    Case(
        "critic, float32, long answer, large pictures", vlm("float32", width=512, layers=16), 640, answer=1024
    ),
    Case("critic, bfloat16", vlm("bfloat16", width=1024, layers=12), 384, answer=32),
    Case("klein, float32", generator("klein", "float32"), 256),
    Case("klein, bfloat16, large picture", generator("klein", "bfloat16", width=1024, text=(1024, 8)), 512),
    Case("qwen-image-edit, float32", generator("qwen-edit", "float32", width=768, text=(768, 8)), 256),
    Case("three roles, everything kept", TRIO, 256),
    Case("three roles that take turns", TRIO, 256, residency="swap"),
    Case("three roles and a text encoder that take turns", TRIO, 256, residency="parts"),
)
CAPPED: tuple[Residency, ...] = ("swap", "stream")


def main() -> int:
    parser = parser_of(__doc__, pack=False)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of rows, from 0")
    arguments = parser.parse_args()
    PROCESSES.set_forkserver_preload(
        ["checkpoints", "interleave_rt.backends.torch", "transformers.models.qwen3_vl"]
    )
    rows: list[dict[str, Any]] = []
    chosen = [case for n, case in enumerate(CASES) if arguments.only is None or n in arguments.only]
    with tempfile.TemporaryDirectory() as folder:
        saved = Saved(Path(folder))
        for case in chosen:
            rows.append(predicted_against_measured(case, saved))
            say(rows[-1])
        if arguments.only is None or len(CASES) in arguments.only:
            for row in under_a_cap(saved):
                rows.append(row)
                say(row)
    return held(rows, arguments.seed)


class Saved:
    """Checkpoints on disk, each made once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._made = folder, dict[str, Path]()

    def directory(self, kind: str, dtype: str, sizes: dict[str, Any]) -> Path:
        """Where a model lies."""
        key = json.dumps([kind, dtype, sizes])
        if key not in self._made:
            import checkpoints

            self._made[key] = checkpoints.SAVERS[kind](self._folder / str(len(self._made)), dtype, **sizes)
        return self._made[key]


def options_of(case: Case, saved: Saved) -> dict[str, dict[str, Any]]:
    """Arguments of the roles of a case."""
    found: dict[str, dict[str, Any]] = {}
    for role, (kind, dtype, sizes) in case.models.items():
        told = {"directory": str(saved.directory(kind, dtype, sizes)), "device": "cpu", "dtype": dtype}
        if kind == "vlm":
            told |= {"constrained": "off", "max_new_tokens": case.answer}
        else:
            told["settings"] = {"width": case.side, "height": case.side}
        found[role] = told
    return found


def predicted_against_measured(case: Case, saved: Saved) -> dict[str, Any]:
    """One row."""
    options = options_of(case, saved)
    predicted = peak_of(options, case)
    done = child({"case": asdict(case), "options": options})
    measured = done["grown"]
    return {
        "what": case.name,
        "predicted_mb": round(predicted / 1e6, 1),
        "measured_mb": round(measured / 1e6, 1),
        "ratio": round(predicted / measured, 3),
        "holds": abs(predicted / measured - 1) <= TOLERANCE,
    }


def peak_of(options: dict[str, dict[str, Any]], case: Case) -> float:
    """What is predicted for the CPU."""
    return float(share_of(options, case).arrangements["cpu"].peak) + HEAP


def share_of(options: dict[str, dict[str, Any]], case: Case) -> Any:
    """How the models of a case share the CPU."""
    models = {
        role: Opened(Path(told["directory"]), {k: v for k, v in told.items() if k != "directory"})
        for role, told in options.items()
    }
    return share(models, residency=case.residency, max_memory="1TB", work=case.work())


def under_a_cap(saved: Saved) -> Sequence[dict[str, Any]]:
    """Each way of taking turns under a cap of its own prediction; with everything kept under the largest of them."""
    rows = []
    free = {"case": asdict(Case("", TRIO, 256)), "options": options_of(Case("", TRIO, 256), saved)}
    expected = child(free)["answers"]
    largest = 0.0
    for residency in CAPPED:
        case = Case(f"three roles under a cap, {residency}", TRIO, 256, residency=residency)
        sharing = share_of(free["options"], case)
        whole = [sum(part.weights for part in demand.parts) for demand in sharing.demands["cpu"]]
        # On the CPU a model is read whole once, when it is opened.
        cap = (max(sharing.arrangements["cpu"].peak, *whole) + HEAP) * MARGIN
        largest = max(largest, cap)
        done = child({**free, "case": asdict(case), "cap": cap})
        rows.append(
            {
                "what": case.name,
                "cap_mb": round(cap / 1e6, 1),
                "measured_mb": round(done.get("grown", 0) / 1e6, 1),
                "said": done.get("error", "finished, the same bits as without a cap"),
                "holds": done.get("answers") == expected,
            }
        )
    done = child({**free, "cap": largest})
    rows.append(
        {
            "what": "three roles under the largest of these caps, everything kept",
            "cap_mb": round(largest / 1e6, 1),
            "said": done.get("error", "finished"),
            "holds": "error" in done,
        }
    )
    return rows


def child(told: dict[str, Any]) -> dict[str, Any]:
    """`work_in_child` in a process of its own; whatever ends it is its answer."""
    mine, theirs = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=answer, args=(theirs, told))
    process.start()
    theirs.close()
    try:
        found: dict[str, Any] = mine.recv()
    except EOFError:
        found = {"error": "it was ended by the system"}
    process.join()
    return found


def answer(pipe: Any, told: dict[str, Any]) -> None:
    """In the new process."""
    try:
        found = work_in_child(told)
    except (Exception, MemoryError) as error:
        found = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    pipe.send(found)


def work_in_child(told: dict[str, Any]) -> dict[str, Any]:
    """Opens the models of a case and calls each twice, in turns; bytes that the peak has grown by."""
    import torch

    from interleave_rt.backends.torch import TorchGenerator, TorchVlm

    torch.set_num_threads(1)
    case = Case(**{**told["case"], "models": {}})
    options = told["options"]
    with tempfile.TemporaryDirectory() as folder:
        warm_up(Path(folder), told["case"]["models"], case.residency)
    tidy()
    base = now("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if cap := told.get("cap"):
        limit = now("VmData") + int(cap)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    stays = share_of(options, case).stays
    opened: dict[str, Any] = {}
    for role, model in options.items():
        rest = {**model, "stay": stays[role]}
        directory = rest.pop("directory")
        opened[role] = (
            TorchGenerator(directory, **rest) if role == "generator" else TorchVlm(directory, role, **rest)
        )
    answers = hashlib.sha256()
    for answer in calls(opened, case.side):
        answers.update(np.ascontiguousarray(answer).tobytes())
    return {"grown": now("VmHWM") - base, "answers": answers.hexdigest()}


def calls(opened: dict[str, Any], side: int, rounds: int = 2) -> Any:
    """Every role in turns; pictures of made-up pixels, so that each model works alone."""
    from interleave_rt import Request

    pixels = np.random.default_rng(3).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    for number in range(rounds):
        if "planner" in opened:
            yield np.frombuffer(
                repr(opened["planner"].plan(Request("a red circle"), 4, 1, number)).encode(), np.uint8
            )
        if "generator" in opened:
            yield opened["generator"].generate("a red circle", pixels[0], number, Options())
        if "critic" in opened:
            verdict = opened["critic"].judge(pixels[0], pixels[1], "a red circle", "a circle", 1, number)
            yield np.frombuffer(repr(verdict).encode(), np.uint8)


def warm_up(folder: Path, models: dict[str, Any], residency: Residency) -> None:
    """Sends something tiny of each kind through the libraries: what they keep is not of the models.

    In the residency of the case, as some of them are loaded for parts that take turns alone.
    """
    import checkpoints

    from interleave_rt.backends.torch import TorchGenerator, TorchVlm

    for kind, dtype, _ in {(kind, dtype, "") for kind, dtype, _ in models.values()}:
        place = folder / f"{kind}-{dtype}"
        tiny = {"width": 128, "layers": 4} if kind == "vlm" else {"width": 128, "text": (128, 4)}
        checkpoints.SAVERS[kind](place, dtype, **tiny)
        role = "critic" if kind == "vlm" else "generator"
        model: dict[str, Any] = {"device": "cpu", "dtype": dtype}
        model["stay"] = share({role: Opened(place, model)}, residency=residency, max_memory="1TB").stays[role]
        if kind == "vlm":
            opened = {role: TorchVlm(place, role, constrained="off", max_new_tokens=4, **model)}
        else:
            opened = {role: TorchGenerator(place, settings={"width": 64, "height": 64}, **model)}
        for _ in calls(opened, 64, rounds=1):
            pass


def tidy() -> None:
    """Gives free memory back to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def now(name: str) -> int:
    """Bytes of the process that the system tells of."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise RuntimeError(name)


if __name__ == "__main__":
    sys.exit(main())
