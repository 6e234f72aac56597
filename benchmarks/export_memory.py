"""What an export of a large checkpoint takes: memory, time, bytes; and what its pack takes to load.

    python benchmarks/export_memory.py FOLDER --gb 3

makes a Qwen3-VL checkpoint of random bfloat16 weights in shards under FOLDER (once), exports it in every precision
without its proof, and loads each pack, every one of these in a process of its own. `ideal`: bytes of the matrices as
they are stored, scales included, without names, graphs and tokenizer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

PRECISIONS = ("bf16", "fp8", "int8", "int4")
MB = 1e6


def configuration(gigabytes: float) -> Any:
    """As wide as the 2B model; its layers are as many as it takes."""
    from transformers import Qwen3VLConfig

    layers = max(2, round((gigabytes * 1e9 / 2 - 311e6 - 181e6) / 50.3e6))
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
    import torch
    from transformers import Qwen3VLForConditionalGeneration

    from interleave_rt.pack import EMBEDDED

    torch.set_default_dtype(torch.bfloat16)
    model = Qwen3VLForConditionalGeneration(configuration(gigabytes))
    model.save_pretrained(folder, max_shard_size="500MB")
    for name in ("tokenizer.json", "chat_template.jinja"):
        (folder / name).write_bytes((EMBEDDED / "tokenizer" / name).read_bytes())
    size = {"shortest_edge": 65_536, "longest_edge": 16_777_216}
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": size}))


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
    from interleave_rt.export.place import data_bytes
    from interleave_rt.export.role import RoleSettings, export_role

    before, start = memory("VmHWM"), time.perf_counter()
    settings = RoleSettings(precision=precision, cache_length=512, cache_bytes=1, prove=False)
    export_role("planner", source, out, settings)
    took = time.perf_counter() - start
    checkpoint = Checkpoint.open(source)
    parts = qwen3_vl_written.weights(qwen3_vl_written.configuration(checkpoint), checkpoint)
    stored_as = partial(qwen3_vl_written.stored_as, precision=precision)
    ideal = sum(data_bytes(part, stored_as) for part in parts.values())
    size = sum(file.stat().st_size for file in out.rglob("*.data"))
    return {
        "seconds": round(took, 1),
        "libraries_mb": round(before),
        "peak_mb": round(memory("VmHWM")),
        "files_mb": round(size / MB),
        "over_ideal": round(size / ideal, 4),
        "checkpoint_mb": round(sum(file.stat().st_size for file in source.glob("*.safetensors")) / MB),
    }


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
    model = _core.NativeVlm(vlm_config(pack, pack.manifest.roles.planner, EngineConfig()))
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
