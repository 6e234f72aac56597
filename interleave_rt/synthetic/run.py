"""The parts of `bench --synthetic`, one after the other; each has a file, and one that is complete is not run again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from interleave_rt.backends.torch.checkpoint import need
from interleave_rt.errors import BadRequestError
from interleave_rt.measure.arms import ARMS, Arm
from interleave_rt.measure.environment import describe_environment

from . import limits
from .beside import beside_figures, best_of
from .catalogue import entry
from .clock import free, peak_bytes, watch_memory
from .loop import loop_figures
from .parts import Report, device_figures, generator_figures, make_ready, vlm_figures
from .roles import MadeGenerator, MadeModel, Script

__all__ = ["Synthetic", "run_synthetic"]

FORMAT = "interleave-rt.synthetic/1"
PRECISIONS = ("bf16", "fp8")


@dataclass(frozen=True, slots=True)
class Synthetic:
    """What is measured.

    Args:
        names: Of configurations (`catalogue`).
        device: As PyTorch writes it; None: the first card, else the CPU.
        precisions: `bf16`, `fp8`.
        arms: Of the loop.
        requests: Of the loop, at the most.
        loop_seconds: No request of the loop is begun after that.
        side_seconds: Each measurement of two models side by side.
        script: What planner and critic write.
        folder: Where the parts' files lie; None: nothing is kept.
        only: Parts whose names contain one of these; none: all.
        compile: Whether the overlap and the loop run compiled.
    """

    names: Sequence[str]
    device: str | None = None
    precisions: Sequence[str] = ("bf16",)
    arms: Sequence[Arm] = ()
    requests: int = 4
    loop_seconds: float = 90.0
    side_seconds: float = 3.0
    script: Script = field(default_factory=Script)
    folder: Path | None = None
    only: Sequence[str] = ()
    compile: bool = True

    def __post_init__(self) -> None:
        unknown = sorted(set(self.precisions) - set(PRECISIONS))
        if unknown or not self.precisions:
            raise BadRequestError(
                f"--precision is {','.join(self.precisions)!r}", hint="bf16, fp8 or bf16,fp8"
            )


def run_synthetic(asked: Synthetic, say: Callable[[str], None]) -> dict[str, Any]:
    """Runs what is not yet there, and returns all parts.

    Args:
        asked: What is measured.
        say: Hears a line a part.

    Raises:
        BadRequestError: No part is left, or there is no such device.
    """
    return _Run(asked, say).run()


class _Run:
    def __init__(self, asked: Synthetic, say: Callable[[str], None]) -> None:
        self._asked, self._say = asked, say
        self._device = asked.device or ("cuda" if torch.cuda.is_available() else "cpu")
        if self._device.startswith("cuda"):
            if not torch.cuda.is_available():
                raise BadRequestError("[synthetic] PyTorch sees no CUDA device", hint="give --device cpu")
            self._device = f"cuda:{torch.device(self._device).index or 0}"
            torch.cuda.set_device(self._device)
        self._card = torch.cuda.get_device_name(self._device) if self._device != "cpu" else None
        self._open: dict[tuple[str, str], Any] = {}
        self._parts: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        wanted = self._wanted()
        if not wanted:
            raise BadRequestError(
                "[synthetic] no part is left", hint="--only names parts of one of the models"
            )
        if self._asked.folder is not None:
            self._asked.folder.mkdir(parents=True, exist_ok=True)
        for name, work in wanted.items():
            kept = self._kept(name)
            if kept is None or not kept.get("complete"):
                kept = self._run_part(name, work)
            else:
                self._say(f"{name}: already there")
            self._parts[name] = kept
        return {
            "format": FORMAT,
            "card": self._card,
            "device": self._device,
            "environment": self._environment(),
            "parts": self._parts,
        }

    def _wanted(self) -> dict[str, Callable[[Report], None]]:
        names, asked = self._asked.names, self._asked
        generators = [name for name in names if entry(name)["kind"] == "generator"]
        vlms = [name for name in names if entry(name)["kind"] == "vlm"]
        found: dict[str, Callable[[Report], None]] = {"device": device_figures}
        for precision in asked.precisions:
            for name in names:
                found[f"{name}-{precision}"] = lambda r, n=name, p=precision: self._part_of(r, n, p)  # type: ignore[misc]
        if generators and vlms:
            pair = generators[0], vlms[0], asked.precisions[0]
            ending = "-".join(pair)
            found[f"overlap-{ending}"] = lambda report: self._overlap_part(report, *pair)
            usual = [arm.name for arm in asked.arms] == list(ARMS)
            arms = "" if usual else "-" + "+".join(arm.name for arm in asked.arms)
            found[f"loop-{ending}{arms}"] = lambda report: self._loop_part(report, f"overlap-{ending}", *pair)
        return {
            name: work
            for name, work in found.items()
            if not asked.only or any(one in name for one in asked.only)
        }

    def _part_of(self, report: Report, name: str, precision: str) -> None:
        self._keep({(name, precision)})
        made = self._made(report, name, precision)
        watch_memory(self._device)
        (generator_figures if isinstance(made, MadeGenerator) else vlm_figures)(report, made)

    def _overlap_part(self, report: Report, generator: str, vlm: str, precision: str) -> None:
        self._keep({(generator, precision), (vlm, precision)})
        pair = self._made(report, generator, precision), self._made(report, vlm, precision)
        beside_figures(report, *pair, compiled=self._asked.compile, seconds=self._asked.side_seconds)

    def _loop_part(self, report: Report, overlap: str, generator: str, vlm: str, precision: str) -> None:
        self._keep({(generator, precision), (vlm, precision)})
        pair = self._made(report, generator, precision), self._made(report, vlm, precision)
        if self._asked.compile:
            make_ready(pair[0])
        asked = self._asked
        loop_figures(
            report,
            *pair,
            arms=list(asked.arms),
            script=replace(asked.script, **entry(vlm).get("script", {})),
            requests=asked.requests,
            seconds=asked.loop_seconds,
            slowdown=best_of(self._parts.get(overlap) or self._kept(overlap) or {}),
        )
        if (peak := peak_bytes(self._device)) is not None:
            report.set(peak_gb=round(peak / 1e9, 3))

    def _made(self, report: Report, name: str, precision: str) -> Any:
        key = name, precision
        if key not in self._open:
            began = time.perf_counter()
            if entry(name)["kind"] == "generator":
                self._open[key] = MadeGenerator(name, self._device, precision)
            else:
                self._open[key] = MadeModel(name, self._device, precision, compile=self._asked.compile)
            report.set(**{f"{name} made in s": round(time.perf_counter() - began, 1)})
        return self._open[key]

    def _keep(self, keys: set[tuple[str, str]]) -> None:
        """Lets go of all other models."""
        for key in set(self._open) - keys:
            del self._open[key]
        free(self._device)

    def _run_part(self, name: str, work: Callable[[Report], None]) -> dict[str, Any]:
        self._say(f"{name} ..")
        began = time.perf_counter()

        def save(found: Mapping[str, Any], *, complete: bool = False) -> None:
            found = {**found, "seconds": round(time.perf_counter() - began, 1), "complete": complete}
            self._parts[name] = found
            if self._asked.folder is not None:
                file = self._asked.folder / f"{name}.json"
                partial = file.with_suffix(".part")
                told = {"format": FORMAT, "card": self._card, "environment": self._environment(), **found}
                partial.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
                partial.replace(file)

        report = Report(save, limits.card_of(self._card) if self._card else None, self._device)
        watch_memory(self._device)
        report.attempt(name, lambda: work(report))
        save(report.found, complete=name not in report.found.get("errors", {}))
        self._say(f"{name}: {self._parts[name]['seconds']} s")
        made: dict[str, Any] = self._parts[name]
        return made

    def _kept(self, name: str) -> dict[str, Any] | None:
        if self._asked.folder is None or not (file := self._asked.folder / f"{name}.json").is_file():
            return None
        try:
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            return None
        return found if found.get("card") == self._card else None

    def _environment(self) -> dict[str, Any]:
        diffusers, transformers = need("diffusers", "transformers")
        return {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "diffusers": diffusers.__version__,
            "python": describe_environment(gpu=False)["python"],
        }
