"""What a recipe would learn and what it takes, seen on a model without weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers

from interleave_rt.errors import BadRequestError
from interleave_rt.files import read_json
from interleave_rt.synthetic.catalogue import entry

from .models import base_folder, check_vision, freeze_vision, lora_config
from .recipe import GrpoRecipe, TuneRecipe

__all__ = ["config_of", "dry_run"]


def config_of(recipe: TuneRecipe, given: str) -> Mapping[str, Any]:
    """The configuration of a recipe's base, or of a layout that is known by name (such as `qwen3-vl-8b`).

    Raises:
        BadRequestError: There is none.
    """
    if given:
        config: Mapping[str, Any] = entry(given)["config"]
        return config
    with TemporaryDirectory() as scratch:  # for a base that comes along
        told: Mapping[str, Any] = read_json(
            base_folder(recipe, Path(scratch)) / "config.json",
            what="train",
            error=BadRequestError,
            hint="make the base first, as the recipe says, or give --config qwen3-vl-8b",
        )
    return told


def dry_run(recipe: TuneRecipe, config: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """What would be learned and what it takes, on a model without weights.

    Args:
        recipe: Whose choices are looked at.
        config: Of a Qwen3-VL.
        say: Told the lines.

    Returns:
        Numbers of parameters by group, names of what is frozen, bytes of a process.
    """
    with torch.device("meta"):
        model = transformers.Qwen3VLForConditionalGeneration(transformers.Qwen3VLConfig(**config))
    check_vision(model)
    if recipe.freeze_vision:
        freeze_vision(model)
    if recipe.lora is not None:
        from peft import get_peft_model

        model = get_peft_model(model, lora_config(recipe.lora))
    decayed = set(transformers.Trainer.get_decay_parameter_names(None, model))  # it looks at the model alone
    sizes = {"decayed": 0, "not decayed": 0, "frozen": 0}
    frozen: set[str] = set()
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            sizes["frozen"] += weight.numel()
            frozen.add(name)
        else:
            sizes["decayed" if name in decayed else "not decayed"] += weight.numel()
    learned = sizes["decayed"] + sizes["not decayed"]
    processes = max(1, recipe.processes)
    # float32 weights, gradients and Adam's two moments of what is learned; frozen weights.
    bytes_ = 16 * learned + 4 * sizes["frozen"]
    if isinstance(recipe, GrpoRecipe) and recipe.kl and recipe.lora is None:
        bytes_ += 4 * (learned + sizes["frozen"])  # the base once more, which is diverged from
    shared = recipe.lora is None  # launch/fsdp-8.yaml; for a LoRA launch/ddp-8.yaml, where each has all of it
    if shared:
        bytes_ //= processes
    told = {"parameters": sizes, "frozen": sorted(frozen), "processes": processes, "bytes": bytes_}
    say(f"parameters: {', '.join(f'{name} {count:,}' for name, count in sizes.items())}")
    who = "that share it out" if shared else "with a whole model each"
    say(f"memory of each of {processes} processes {who}, without activations: {bytes_ / 2**30:.1f} GiB")
    say("nothing was loaded and nothing run: this is what the configuration says")
    return told
