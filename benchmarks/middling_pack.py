"""A pack that answers as the embedded one does and computes many times as long: for schedules on few cores.

    python benchmarks/middling_pack.py OUT [--width 4096] [--slots 2]
    interleave-rt bench --pack OUT --num-requests 24

The feed-forward layers of planner, critic and denoiser are made `--width` wide: the new columns have random weights,
and what they make is multiplied by 0. So plans, verdicts and pictures stay those of the embedded pack, while a call
is work of some milliseconds, of which a second core can take its half. Exit code 1 when a check of the export fails.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from interleave_rt.export.cli import export_shapes
from interleave_rt.export.proof.checks import all_passed
from interleave_rt.export.recipe import shapes_recipe
from interleave_rt.train.shapes.from_pack import load_torch_pack, write_checkpoints
from rich.console import Console
from torch import Tensor

from interleave_rt import load_pack


def widened(model: Any, config: Any) -> Any:
    """The model with the feed-forward width of `config`."""
    wide = type(model)(config) if hasattr(model, "generation_config") else type(model).from_config(config)
    held = model.state_dict()
    made = {name: _widened(held[name], value) for name, value in wide.state_dict().items()}
    wide.load_state_dict(made)
    if hasattr(model, "generation_config"):
        wide.generation_config = model.generation_config
    return wide.eval()


def _widened(held: Tensor, fresh: Tensor) -> Tensor:
    if held.shape == fresh.shape:
        return held
    if held.shape[0] == fresh.shape[0]:  # reads the wide layer
        made = torch.zeros_like(fresh)
        made[:, : held.shape[1]] = held
        return made
    made = fresh.half().float()  # as the pack stores it
    more = fresh.shape[0] - held.shape[0]
    for start, stop, at in _parts(held, more):
        made[at : at + stop - start] = held[start:stop]
    return made


def _parts(held: Tensor, more: int) -> list[tuple[int, int, int]]:
    """Rows of a matrix that makes the wide layer, and where they come to lie."""
    rows, width = held.shape
    if rows == 3 * width:  # gate or value of a language model
        return [(0, rows, 0)]
    half = {6 * width: 3 * width, 9 * width: 6 * width}[rows]  # gate and value; behind query, key and value
    return [(0, half, 0), (half, rows, half + more // 2)]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--width", type=int, default=4096, help="of the feed-forward layers; the embedded pack: 384"
    )
    parser.add_argument("--slots", type=int, default=2, help="sequences, and pictures, at once")
    arguments = parser.parse_args()
    pack = load_pack()
    torch.manual_seed(1)
    models = load_torch_pack(pack)
    vlms = []
    for model in (models.planner, models.critic):
        model.config.text_config.intermediate_size = arguments.width
        vlms.append(widened(model, model.config))
    pipeline = models.pipeline
    inner = pipeline.transformer.config.attention_head_dim * pipeline.transformer.config.num_attention_heads
    config = {**pipeline.transformer.config, "mlp_ratio": arguments.width / inner}
    pipeline.register_modules(transformer=widened(pipeline.transformer, config))
    recipe = shapes_recipe("middling")
    roles = {name: replace(role, slots=arguments.slots) for name, role in recipe.roles.items()}
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoints(pack, Path(folder), replace(models, planner=vlms[0], critic=vlms[1]))
        checks, _ = export_shapes(
            Path(folder), arguments.out, recipe=replace(recipe, roles=roles), console=Console()
        )
    return 0 if all_passed(checks) else 1


if __name__ == "__main__":
    raise SystemExit(main())
