"""What an export of a large checkpoint takes: memory, time, bytes; and what its pack takes to load.

    python benchmarks/export_memory.py FOLDER --gb 3

makes a Qwen3-VL checkpoint of random bfloat16 weights in shards under FOLDER (once), exports it in every precision
without its proof, and loads each pack, every one of these in a process of its own. `ideal`: bytes of the matrices as
they are stored, scales included, without names, graphs and tokenizer.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

SHARD = 500_000_000
PRECISIONS = ("bf16", "int8", "int4")
MB = 1e6


def configuration(gigabytes: float) -> Any:
    """As wide as the 2B model; its layers are as many as it takes."""
    from transformers import Qwen3VLConfig

    layers = max(2, round((gigabytes * 1e9 / 2 - 311e6 - 110e6) / 50.3e6))
    return Qwen3VLConfig(
        text_config={
            "vocab_size": 151_936,
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "num_hidden_layers": layers,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": 6,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_heads": 16,
            "out_hidden_size": 2048,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [1, 3, 5],
        },
        tie_word_embeddings=True,
        image_token_id=1194,
        eos_token_id=1191,
        pad_token_id=1189,
    )


def make(folder: Path, gigabytes: float) -> None:
    """A checkpoint with the embedded tokenizer."""
    from interleave_rt.export.checkpoint import Checkpoint
    from interleave_rt.export.families import qwen3_vl_written

    from interleave_rt.pack import EMBEDDED

    config = configuration(gigabytes)
    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    for name in ("tokenizer.json", "chat_template.jinja"):
        (folder / name).write_bytes((EMBEDDED / "tokenizer" / name).read_bytes())
    size = {"shortest_edge": 65_536, "longest_edge": 16_777_216}
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": size}))
    shapes = {}
    for part in qwen3_vl_written.weights(config, Checkpoint(folder, {}, {"lm_head.weight": None})).values():  # type: ignore[dict-item]
        shapes |= {name: shape for name, shape in part.items() if name != "lm_head.weight"}
    noise = np.random.default_rng(0).standard_normal(1 << 24).astype(np.float32) * np.float32(0.02)
    pool = (noise.view(np.uint32) >> 16).astype(np.uint16)
    groups: list[list[str]] = [[]]
    used = 0
    for name, shape in shapes.items():
        if used > SHARD:
            groups.append([])
            used = 0
        groups[-1].append(name)
        used += 2 * math.prod(shape)
    index = {}
    for number, names in enumerate(groups, 1):
        file = f"model-{number:05}-of-{len(groups):05}.safetensors"
        ends = np.cumsum([0, *(2 * math.prod(shapes[name]) for name in names)]).tolist()
        head: dict[str, Any] = {
            name: {"dtype": "BF16", "shape": shapes[name], "data_offsets": place}
            for name, place in zip(names, pairwise(ends), strict=True)
        }
        raw = json.dumps(head).encode()
        with (folder / file).open("wb") as out:
            out.write(len(raw).to_bytes(8, "little") + raw)
            for name in names:
                left = math.prod(shapes[name])
                while left:
                    out.write(pool[: min(left, len(pool))].data)
                    left -= min(left, len(pool))
                index[name] = file
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def memory(name: str) -> float:
    """MB of this process: VmHWM, the most so far, or VmRSS."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024 / MB
    return 0.0


def export(source: Path, out: Path, precision: Any) -> dict[str, Any]:
    """One export, in this process."""
    from interleave_rt.export.checkpoint import Checkpoint
    from interleave_rt.export.families import qwen3_vl_written
    from interleave_rt.export.role import RoleSettings, export_role
    from interleave_rt.export.written import head_precision, stored_bytes

    before, start = memory("VmHWM"), time.perf_counter()
    settings = RoleSettings(precision=precision, cache_length=512, cache_bytes=1, prove=False)
    export_role("planner", source, out, settings)
    took = time.perf_counter() - start
    checkpoint = Checkpoint.open(source)
    ideal = 0
    for part in qwen3_vl_written.weights(configuration_of(source), checkpoint).values():
        for name, shape in part.items():
            kind = "fp32" if len(shape) < 2 else precision
            kind = head_precision(kind) if "embed" in name or "visual" in name else kind
            ideal += stored_bytes(shape[0], math.prod(shape[1:]), kind)
    size = sum(file.stat().st_size for file in out.rglob("*.data"))
    return {
        "seconds": round(took, 1),
        "libraries_mb": round(before),
        "peak_mb": round(memory("VmHWM")),
        "files_mb": round(size / MB),
        "over_ideal": round(size / ideal, 4),
        "checkpoint_mb": round(sum(file.stat().st_size for file in source.glob("*.safetensors")) / MB),
    }


def configuration_of(source: Path) -> Any:
    """What the export reads."""
    from transformers import Qwen3VLConfig

    return Qwen3VLConfig.from_pretrained(source)


def load(out: Path) -> dict[str, Any]:
    """One load into the native runtime, in this process."""
    from interleave_rt import _core, load_pack
    from interleave_rt.backends.native import vlm_config
    from interleave_rt.backends.ort import load_runtime
    from interleave_rt.config import EngineConfig

    load_runtime()
    start = time.perf_counter()
    pack = load_pack(out)
    checked = time.perf_counter()
    model = _core.NativeVlm(vlm_config(pack, pack.manifest.roles.planner, EngineConfig()))  # type: ignore[arg-type]
    ready = time.perf_counter()
    size = sum(entry.size for entry in pack.manifest.files.values())
    del model
    return {
        "hashing_s": round(checked - start, 1),
        "sessions_s": round(ready - checked, 1),
        "peak_mb": round(memory("VmHWM")),
        "over_files": round(memory("VmHWM") / (size / MB), 2),
    }


def main() -> None:
    """Every step in a process of its own; one JSON object a line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gb", type=float, default=3.0)
    parser.add_argument("--step", choices=("make", "export", "load"), help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="", choices=("", *PRECISIONS), help="default: all of them")
    given = parser.parse_args()
    source, out = given.folder / "checkpoint", given.folder / f"pack-{given.precision}"
    if given.step == "make":
        make(source, given.gb)
    elif given.step == "export":
        print(json.dumps({"export": given.precision, **export(source, out, given.precision)}))
    elif given.step == "load":
        print(json.dumps({"load": given.precision, **load(out)}))
    else:
        steps = [] if source.is_dir() else [("make", PRECISIONS[0])]
        for precision in [given.precision] if given.precision else PRECISIONS:
            steps += [("export", precision), ("load", precision)]
        for step, precision in steps:
            again = ["--gb", str(given.gb), "--step", step, "--precision", precision]
            subprocess.run([sys.executable, "-P", __file__, str(given.folder), *again], check=True)


if __name__ == "__main__":
    main()
