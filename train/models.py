"""The model that is tuned: opened from a directory, with what must not move frozen, and saved as one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors import safe_open
from torch import nn

from interleave_rt.backends.torch.checkpoint import weight_files
from interleave_rt.backends.torch.families import SETTINGS_FILE
from interleave_rt.backends.torch.processors import load_processor
from interleave_rt.errors import BadPackError, BadRequestError

from .checkpoint import save_model

if TYPE_CHECKING:
    from .recipe import LoraChoice, TuneRecipe

__all__ = ["base_folder", "freeze_vision", "load_model", "lora_config", "processor_of", "save_tuned"]

_SHAPES = ("shapes:critic", "shapes:planner")
_LAYERS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""The linear layers of the language model alone: the vision tower has layers of other names, and some of the same."""


def base_folder(recipe: TuneRecipe, out: Path, processes: int = 1) -> Path:
    """The directory of a recipe's base; the embedded pack's models are written into `out` for it.

    Raises:
        BadRequestError: Several processes would write it.
    """
    if recipe.base not in _SHAPES:
        return recipe.folder / recipe.base
    if processes > 1:
        raise BadRequestError(
            f"[train] {recipe.base} would be written by {processes} processes at once",
            hint="write it once: python -m interleave_rt.train shapes-base --out runs/base; then base = "
            f'"runs/base/{recipe.base.partition(":")[2]}"',
        )
    from interleave_rt.pack import load_pack

    from .shapes.from_pack import write_checkpoints

    folder, role = out / "base", recipe.base.partition(":")[2]
    if not (folder / "generator" / SETTINGS_FILE).exists():  # what is written last
        write_checkpoints(load_pack(), folder)
    return folder / role


def load_model(folder: Path) -> Any:
    """The model of a directory, float32.

    Raises:
        BadRequestError: It cannot be loaded, or is no Qwen3-VL.
    """
    try:
        model = transformers.AutoModelForImageTextToText.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError) as error:
        raise BadRequestError(
            f"[train] the base {folder} cannot be loaded: {error}",
            hint="`base` of the recipe is a Qwen3-VL directory in Hugging Face layout",
        ) from None
    check_vision(model)
    return model


def processor_of(folder: Path) -> Any:
    """The processor of a directory.

    Raises:
        BadRequestError: It has none.
    """
    try:
        return load_processor(folder)
    except BadPackError as error:
        raise BadRequestError(f"[train] {error.message}", hint=error.hint) from None


def check_vision(model: nn.Module) -> None:
    """Raises `BadRequestError` for a model that keeps its vision tower elsewhere than Qwen3-VL does."""
    if not hasattr(getattr(model, "model", None), "visual"):
        raise BadRequestError(
            f"[train] a {type(model).__name__} has no vision tower at model.visual",
            hint="tuning is for Qwen3-VL and models that are laid out as it is",
        )


def freeze_vision(model: Any) -> None:
    """Vision tower and projectors (the mergers in it) are not learned."""
    model.model.visual.requires_grad_(False)


def lora_config(choice: LoraChoice | None) -> Any:
    """The configuration of an adapter; None where all weights are learned."""
    if choice is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=choice.rank, lora_alpha=choice.alpha, lora_dropout=choice.dropout, target_modules=_LAYERS
    )


def save_tuned(model: Any, state: dict[str, Any], base: Path, out: Path) -> None:
    """The tuned weights as a directory in `out`, in the precision of the base, with its tokenizer and processor."""
    dtype = _dtype_of(base)
    out.mkdir(parents=True, exist_ok=True)
    for file in base.iterdir():
        if file.suffix in (".json", ".jinja", ".txt") and not file.name.startswith(("config.", "model.")):
            shutil.copy(file, out / file.name)
    save_model(_Saved(model, {name: value.to(dtype) for name, value in state.items()}, dtype), out)


def _dtype_of(base: Path) -> torch.dtype:
    """Of the weights themselves: configurations say it in several places, or nowhere."""
    with safe_open(weight_files(base)[0], "pt") as file:
        found: torch.dtype = file.get_slice(next(iter(file.keys())))[:0].dtype
    return found


class _Saved:
    """A model whose weights are written in another precision than it was tuned in."""

    def __init__(self, model: Any, state: dict[str, Any], dtype: torch.dtype) -> None:
        self._model, self._state, self._dtype = model, state, dtype

    def save_pretrained(self, directory: Path) -> None:
        self._model.save_pretrained(directory, state_dict=self._state)
        # The library writes the precision of the model, not that of the weights it was given.
        config = directory / "config.json"
        told = json.loads(config.read_text(encoding="utf-8"))
        told["dtype"] = str(self._dtype).removeprefix("torch.")
        config.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
