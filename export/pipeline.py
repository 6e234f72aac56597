"""A generator in the layout of diffusers: `model_index.json` and a folder for every component."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from interleave_rt.errors import BadPackError, BadRequestError

from .checkpoint import Checkpoint, said

__all__ = ["Pipeline", "default", "hollow"]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The folder of a pipeline.

    Args:
        directory: The folder.
        index: What `model_index.json` says.
    """

    directory: Path
    index: Mapping[str, Any]

    @classmethod
    def open(cls, directory: Path) -> Pipeline:
        """Reads the index alone.

        Raises:
            BadRequestError: There is no such folder.
            BadPackError: It is no pipeline.
        """
        if not directory.is_dir():
            raise BadRequestError(
                f"[export] {directory} is not a directory", hint="give the folder of a diffusers pipeline"
            )
        index = said(directory / "model_index.json")
        if "_class_name" not in index:
            raise BadPackError(
                f"[export] {directory} has no model_index.json that names a pipeline",
                hint="give the folder of a generator in the layout of diffusers",
            )
        return cls(directory, index)

    @property
    def kind(self) -> str:
        """The pipeline's class."""
        return str(self.index["_class_name"])

    def component(self, name: str, kind: str) -> Checkpoint:
        """A component with weights.

        Args:
            name: Of its folder.
            kind: The class that it must be of.

        Raises:
            BadPackError: It is of another class, or as of `Checkpoint.open`.
        """
        named = self.index.get(name)
        found = named[-1] if isinstance(named, list) and named else None
        if found != kind:
            raise BadPackError(
                f"[export] the {name} of {self.directory} is {found}; {self.kind} has {kind} here",
                hint="copy the checkpoint again",
            )
        return Checkpoint.open(self.directory / name)

    def flow_schedule(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the scheduler's file says; and of that what a manifest says: its kind, its end, its shift if it is fixed.

        Raises:
            BadPackError: There is no such file, or the native runtime has no such schedule.
        """
        file = "scheduler/scheduler_config.json"
        told = said(self.directory / file)
        if not told:
            raise BadPackError(
                f"[export] {self.directory} has no {file}", hint="copy it from the checkpoint too"
            )
        needed = {
            "_class_name": "FlowMatchEulerDiscreteScheduler",
            "num_train_timesteps": 1000,
            "time_shift_type": "exponential",
        } | dict.fromkeys(
            (
                *("use_flow_sigmas", "use_karras_sigmas", "use_exponential_sigmas"),
                *("use_beta_sigmas", "invert_sigmas", "stochastic_sampling"),
            )
        )
        for name, value in needed.items():
            found = told.get(name, value) or None
            if found != value:
                raise BadPackError(
                    f"[export] the scheduler of {self.directory} has {name} {found}, the native runtime {value}",
                    hint="run this checkpoint on PyTorch: --generator torch:FOLDER",
                )
        schedule: dict[str, Any] = {"kind": "flow_match_euler"}
        if not told.get("use_dynamic_shifting", False):
            schedule |= {"shift": "fixed", "value": told.get("shift", 1.0)}
        if ends := told.get("shift_terminal"):
            schedule["terminal"] = ends
        return told, schedule


def hollow(pipeline: Pipeline, name: str, kind: Any) -> tuple[Any, Checkpoint]:
    """A component of diffusers without weights, and the checkpoint that has them.

    Raises:
        BadPackError: As of `Pipeline.component`, or its configuration is not understood.
    """
    checkpoint = pipeline.component(name, kind.__name__)
    with checkpoint.understood(), torch.device("meta"):
        made = kind.from_config(dict(checkpoint.config)).eval()
    return made, checkpoint


def default(function: Callable[..., Any], name: str) -> Any:
    """What a pipeline does where it is not told: nothing of it stands in the checkpoint."""
    return inspect.signature(function).parameters[name].default
