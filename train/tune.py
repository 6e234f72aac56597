"""What SFT and GRPO share: arguments of TRL's trainers, the run with its record and checkpoints."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from safetensors import SafetensorError
from transformers import PrinterCallback, TrainerCallback

from interleave_rt.backends.torch.checkpoint import content_hash
from interleave_rt.errors import BackendFailedError, BadRequestError
from interleave_rt.files import check_folder, read_json
from interleave_rt.pack.manifest import hash_file

from .models import base_folder, freeze_vision, load_model, processor_of, save_tuned
from .recipe import TuneRecipe
from .record import FOLDER, Record

__all__ = ["Tuning", "trainer_settings"]

log = logging.getLogger(__name__)

_CHECKPOINTS = "checkpoints"
_DONE = "trainer_state.json"
_MAY_CHANGE = (
    "name",
    "base",
    "data",
    "steps",
    "epochs",
    "save_every",
    "at_once",
    "overlap",
    "memo",
    "budget",
    "price",
)
"""Of a recipe, where a run goes on; base and data may lie elsewhere: what is in them is compared."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


class Tuning:
    """One run in its folder: the base, where to go on from, and what is kept of it.

    Args:
        recipe: What is done.
        out: The folder: weights, `record/`, `checkpoints/`.
        resume: Go on from the last whole checkpoint.

    Raises:
        BadRequestError: The folder or the base cannot be used, or there are other processes than are wanted.
    """

    def __init__(self, recipe: TuneRecipe, out: Path, *, resume: bool) -> None:
        self.recipe, self.out = recipe, check_folder(out)
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        if recipe.processes and recipe.processes != self.world:
            raise BadRequestError(
                f"[train] the recipe wants {recipe.processes} processes, here are {self.world}",
                hint="start it with torchrun --nproc_per_node or accelerate launch, or change `processes`",
            )
        self.rank = int(os.environ.get("RANK", "0"))
        self.data = recipe.folder / recipe.data
        self.base = base_folder(recipe, out, self.world)
        if self.base.resolve() == out.resolve():
            raise BadRequestError(f"[train] {out} is the base itself", hint="choose another folder for --out")
        self.checkpoint = _last_checkpoint(out / _CHECKPOINTS)
        self.start = 0 if self.checkpoint is None else _updates(self.checkpoint)
        if self.checkpoint is not None and not resume:
            raise BadRequestError(
                f"[train] {out} holds a run already",
                hint="--resume goes on with it; or choose another folder",
            )
        self.hashes = _hashes(self.data, self.base)
        if self.checkpoint is not None:
            self._check_same()
        datasets.disable_progress_bars()
        transformers.utils.logging.disable_progress_bar()
        self.processor = processor_of(self.base)

    def model(self) -> Any:
        """The base, with what must not move frozen. Once the trainer's arguments are there: where weights are shared out
        among processes, the library then loads them once.
        """
        model = load_model(self.base)
        if self.recipe.freeze_vision:
            freeze_vision(model)
        return model

    def _check_same(self) -> None:
        """A run goes on with what it was begun with."""
        begun = read_json(self.out / FOLDER / "config.json", what="train")["arguments"]
        others = [name.partition(" ")[0] for name, found in self.hashes.items() if begun.get(name) != found]
        before, now = begun["recipe"], self.recipe.model_dump(mode="json")
        others += [name for name in sorted(before.keys() | now) if _fixed(before, name) != _fixed(now, name)]
        if others:
            raise BadRequestError(
                f"[train] {self.out} was begun with another {others[0]}",
                hint="take what it was begun with, or choose another folder",
            )

    def passes(self, batch: int) -> int:
        """Passes of a process that make an update of `batch` rows."""
        at_once = self.recipe.per_device * self.world
        if batch % at_once:
            raise BadRequestError(
                f"[train] a batch of {batch} cannot be shared among {self.world} processes of {self.recipe.per_device}",
                hint="batch must be a multiple of per_device times the processes",
            )
        return batch // at_once

    def run(
        self,
        make: Callable[[], Any],
        told: Mapping[str, Any],
        names: Mapping[str, str],
        *,
        zero_is_wrong: bool = False,
    ) -> dict[str, float]:
        """Trains, and saves; returns the last figures of the curve.

        Args:
            make: Of the trainer, TRL's: it looks at the first item already.
            told: What the record says beside the recipe.
            names: Of the trainer's figures that are kept, and what they are called in the curve.
            zero_is_wrong: A loss of 0 ends the run.

        Raises:
            BadRequestError: Nothing can be written any more, or a picture is damaged.
            BackendFailedError: The loss is 0 or no number.
        """
        with self._errors_named():
            trainer = make()
        if trainer.accelerator.num_processes != self.world:
            raise BadRequestError(
                f"[train] {self.world} processes were started, the trainer sees {trainer.accelerator.num_processes}",
                hint="on a CPU: torchrun --nproc_per_node, not accelerate launch",
            )
        keep = _Keep(self, told, names, zero_is_wrong=zero_is_wrong)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(keep)
        try:
            with self._errors_named():
                trainer.train(resume_from_checkpoint=self.checkpoint)
                self._save(trainer)
        finally:
            keep.close()
        return keep.last

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, SafetensorError) as error:
            if isinstance(error, OSError) and error.errno is None:  # of Pillow: no error of the system
                raise BadRequestError(f"[data] a picture of {self.data} cannot be read: {error}") from None
            if not _no_room(error):
                raise
            raise BadRequestError(
                f"[save] {self.out} cannot be written: {error}",
                hint="make room, then run again with --resume: the last whole checkpoint is kept",
            ) from None

    def _save(self, trainer: Any) -> None:
        state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
        model = trainer.accelerator.unwrap_model(trainer.model)
        if self.rank:
            return
        if self.recipe.lora is not None:
            model.save_pretrained(self.out / "adapter", state_dict=state)
            model = model.merge_and_unload()
            state = model.state_dict()
        save_tuned(model, state, self.base, self.out)


def _fixed(recipe: Mapping[str, Any], name: str) -> Any:
    """What a run must go on with: of a scorer, its model alone."""
    if name in _MAY_CHANGE:
        return None
    return recipe.get(name) if name != "scorer" else recipe.get(name, {}).get("model")


def _hashes(data: Path, base: Path) -> dict[str, str]:
    try:
        return {"data sha256": hash_file(data), "base sha256": content_hash(base)}
    except OSError as error:
        raise BadRequestError(
            f"[train] the set or the base cannot be read: {error}",
            hint="`data` of the recipe is a trl_*.jsonl of train data, `base` a directory in Hugging Face layout",
        ) from None


def _last_checkpoint(folder: Path) -> str | None:
    """The last one that was written to its end."""
    whole = [one for one in folder.glob("checkpoint-*") if _whole(one / _DONE)]
    return str(max(whole, key=_updates)) if whole else None


def _updates(checkpoint: Path | str) -> int:
    return int(Path(checkpoint).name.rpartition("-")[2])


def _whole(state: Path) -> bool:
    try:
        json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _no_room(error: BaseException) -> bool:
    """Libraries written in C++ and Rust tell it in words alone."""
    words = ("PytorchStreamWriter", "unexpected pos", *(os.strerror(number) for number in _NO_ROOM))
    return getattr(error, "errno", None) in _NO_ROOM or any(word in str(error) for word in words)


def trainer_settings(tuning: Tuning) -> dict[str, Any]:
    """The arguments that trainers of TRL have in common."""
    recipe = tuning.recipe
    return {
        "output_dir": str(tuning.out / _CHECKPOINTS),
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "per_device_train_batch_size": recipe.per_device,
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.steps or -1,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": recipe.warmup,  # below 1: a share
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.clip,
        "bf16": recipe.precision == "bfloat16",
        "gradient_checkpointing": recipe.checkpoint_activations,
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "save_strategy": "steps",
        "save_steps": recipe.save_every,
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # else a loss that is no number is logged as an ordinary one
        "report_to": "none",
        "disable_tqdm": True,
    }


class _Keep(TrainerCallback):  # type: ignore[misc]
    """Keeps the curve and the configuration, and ends a run that does not learn."""

    def __init__(
        self, tuning: Tuning, told: Mapping[str, Any], names: Mapping[str, str], *, zero_is_wrong: bool
    ) -> None:
        self._names, self._zero_is_wrong, self.last = names, zero_is_wrong, dict[str, float]()
        config = {
            "recipe": tuning.recipe.model_dump(mode="json"),
            "processes": tuning.world,
            "base": str(tuning.base),
            **tuning.hashes,
            **told,
        }
        self._record = None if tuning.rank else Record(tuning.out, config, tuning.start)

    def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
        """As transformers calls it."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss) or (self._zero_is_wrong and loss == 0.0):
            raise BackendFailedError(
                f"[train] the loss of update {state.global_step} is {loss}",
                hint="0: no token is learned from; no number: lower learning_rate. The last checkpoint is kept",
            )
        self.last = {
            name: float(logs[found]) for found, name in self._names.items() if logs.get(found) is not None
        }
        if self._record is not None:
            self._record.log(state.global_step, **self.last)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in self.last.items())
            log.info("update %d of %d: %s", state.global_step, state.max_steps, shown)

    def close(self) -> None:
        """Draws the curve."""
        if self._record is not None:
            self._record.close()
