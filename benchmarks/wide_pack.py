"""The embedded pack with wider hidden layers: more work, the same answers.

    python benchmarks/wide_pack.py --times 16 --out WIDE
    interleave-rt bench --pack WIDE

What is added to a hidden layer is multiplied by zero on its way out, so that plans, verdicts and pictures stay what they
were (but for rounding), while the graphs grow to a size at which a second thread pays. Needs the extra `[export]`; takes
some minutes, most of them for the proofs of the exporter.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interleave_rt import load_pack

Matrix = NDArray[np.float32]


def wider(name: str, value: Matrix, times: int, hidden: int, width: int) -> Matrix:
    """One matrix of a model of `width` whose hidden layers have `hidden` features, with `times` as many of them.

    Rows that read are copied: numbers as they occur in the model. Columns that write are zero.
    """
    more = (times - 1) * hidden
    if name.endswith(("gate_proj.weight", "up_proj.weight")):
        return np.tile(value, (times, 1))
    if name.endswith("linear_in.weight"):  # gate and value, one below the other
        return np.concatenate([np.tile(half, (times, 1)) for half in np.split(value, 2)])
    if name.endswith("to_qkv_mlp_proj.weight"):
        gate, up = np.split(value[3 * width :], 2)
        return np.concatenate([value[: 3 * width], np.tile(gate, (times, 1)), np.tile(up, (times, 1))])
    if name.endswith(("down_proj.weight", "linear_out.weight")) or (
        name.startswith("single") and name.endswith("to_out.weight")
    ):
        return np.pad(value, ((0, 0), (0, more)))
    return value


def widen(folder: Path, file: str, times: int) -> None:
    """Rewrites the weights and the configuration in a folder."""
    from safetensors.numpy import load_file, save_file

    described = folder / "config.json"
    config = json.loads(described.read_text())
    text = config.get("text_config", config)
    if "mlp_ratio" in text:
        width = text["num_attention_heads"] * text["attention_head_dim"]
        hidden = int(width * text["mlp_ratio"])
        text["mlp_ratio"] *= times
    else:
        width, hidden = text["hidden_size"], text["intermediate_size"]
        text["intermediate_size"] *= times
    made = {
        name: np.ascontiguousarray(wider(name, value, times, hidden, width))
        for name, value in load_file(folder / file).items()
    }
    save_file(made, folder / file, metadata={"format": "pt"})
    described.write_text(json.dumps(config, indent=2))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=16, help="as wide")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    from interleave_rt.export.cli import main as export
    from interleave_rt.train.shapes.from_pack import write_checkpoints

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_checkpoints(load_pack(), folder)
        for part in ("planner", "critic", "generator/text_encoder"):
            widen(folder / part, "model.safetensors", arguments.times)
        widen(folder / "generator/transformer", "diffusion_pytorch_model.safetensors", arguments.times)
        name = f"shapes-{arguments.times}x"
        return export(["shapes", f"--weights={folder}", f"--out={arguments.out}", f"--name={name}"])


if __name__ == "__main__":
    sys.exit(main())
