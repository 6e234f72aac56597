"""What an export of a large checkpoint takes: memory, time, bytes; and what its pack takes to load.

    python benchmarks/export_memory.py FOLDER --gb 3

makes a Qwen3-VL checkpoint of random bfloat16 weights in shards under FOLDER (once), exports it in every precision
without its proof, and loads each pack, every one of these in a process of its own. `ideal`: bytes of the matrices as
they are stored, scales included, without names, graphs and tokenizer. `--step exports --precision bf16,int8` exports
in one process, one after another: `before_mb` is then what it held before each. `steps`: the planner's decoder alone in
ONNX Runtime, a chunk of 64 tokens and a token; `folded` false: weights stay as they are stored and are cast in every run.
`--check` exports and loads alone and exits with 1 where a bound does not hold: 2 GiB and two of the largest tensor for an
export, 2 % over the ideal for its files, 15 % and 1 GiB over the files for a load of int8 or int4, 2 s for a second look.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

PRECISIONS = ("bf16", "fp8", "int8", "int4")
MB = 1e6


def configuration(gigabytes: float) -> Any:
    """As wide as the 2B model, below 1.2 GB a quarter of that; its layers are as many as it takes."""
    from transformers import Qwen3VLConfig

    narrow, depth = (4, 3) if gigabytes < 1.2 else (1, 6)
    hidden = 2048 // narrow
    rest = gigabytes * 1e9 / 2 - 151_936 * hidden - 181e6 / narrow**2
    return Qwen3VLConfig(
        text_config={
            "vocab_size": 151_936,
            "hidden_size": hidden,
            "intermediate_size": 3 * hidden,
            "num_hidden_layers": max(2, round(rest / (50.3e6 / narrow**2))),
            "num_attention_heads": 16 // narrow,
            "num_key_value_heads": 8 // narrow,
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
            "depth": depth,
            "hidden_size": 1024 // narrow,
            "intermediate_size": 4096 // narrow,
            "num_heads": 16 // narrow,
            "out_hidden_size": hidden,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": list(range(depth // 3 - 1, depth, depth // 3)),
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
    model.save_pretrained(folder, max_shard_size="500MB" if gigabytes > 1 else "100MB")
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
    """One export, in this process, whose mark of the most memory is set back first."""
    from interleave_rt.export.checkpoint import Checkpoint
    from interleave_rt.export.families import qwen3_vl_written
    from interleave_rt.export.place import data_bytes
    from interleave_rt.export.role import RoleSettings, export_role

    Path("/proc/self/clear_refs").write_text("5")
    before, start = memory("VmRSS"), time.perf_counter()
    settings = RoleSettings(precision=precision, cache_length=512, cache_bytes=1, prove=False)
    export_role("planner", source, out, settings)
    took = time.perf_counter() - start
    checkpoint = Checkpoint.open(source)
    parts = qwen3_vl_written.weights(qwen3_vl_written.configuration(checkpoint), checkpoint)
    stored_as = partial(qwen3_vl_written.stored_as, precision=precision)
    ideal = sum(data_bytes(part, stored_as) for part in parts.values())
    size = sum(file.stat().st_size for file in out.rglob("*.data"))
    largest = max(prod(shape) for part in parts.values() for shape in part.values())
    return {
        "seconds": round(took, 1),
        "before_mb": round(before),
        "peak_mb": round(memory("VmHWM")),
        "largest_mb": round(2 * largest / MB),  # tensor of the checkpoint
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
    again = time.perf_counter()
    load_pack(out)
    return {
        "hashing_s": round(checked - start, 1),
        "hashing_again_s": round(time.perf_counter() - again, 2),
        "sessions_s": round(ready - checked, 1),
        "peak_mb": round(memory("VmHWM")),
        "over_files": round(memory("VmHWM") / (size / MB), 2),
    }


def steps(out: Path, *, folded: bool) -> dict[str, Any]:
    """Memory and time of the decoder alone, on one thread: casts of weights folded at load, or made in every run."""
    import numpy as np
    import onnxruntime
    from interleave_rt.export.proof.sessions import DecoderRunner, session_options

    options = session_options()
    if not folded:
        options.add_session_config_entry("optimization.disable_specified_optimizers", "ConstantFolding")
    start = time.perf_counter()
    session = onnxruntime.InferenceSession(
        str(out / "planner" / "decoder.onnx"), options, providers=["CPUExecutionProvider"]
    )
    opened, held = time.perf_counter() - start, memory("VmRSS")
    runner = DecoderRunner(session, 1, int(session.get_inputs()[-1].shape[2]))
    ids = np.arange(2, 66)

    def milliseconds(at: int, count: int) -> float:
        row = runner.text(ids[:count], np.tile(np.arange(at, at + count), (3, 1)))
        start = time.perf_counter()
        runner.step({0: row}, count)
        return 1e3 * (time.perf_counter() - start)

    prompts = [milliseconds(64 * at, 64) for at in range(3)]
    tokens = [milliseconds(192 + at, 1) for at in range(7)]
    return {
        "folded": folded,
        "open_s": round(opened, 1),
        "open_mb": round(held),
        "peak_mb": round(memory("VmHWM")),
        "64_tokens_ms": round(statistics.median(prompts)),
        "token_ms": round(statistics.median(tokens)),
    }


def broken(found: dict[str, Any]) -> list[str]:
    """What does not hold of an export or a load."""
    gib = 2**30 / MB
    if "export" in found:
        bounds = {"peak_mb": 2 * gib + 2 * found["largest_mb"], "over_ideal": 1.02}
    else:
        files = found["peak_mb"] / found["over_files"]
        bounds = {"hashing_again_s": 2.0}
        if found["load"] in ("int8", "int4"):
            bounds["peak_mb"] = 1.15 * files + gib
    return [
        f"{name} is {found[name]}, over {bound:.4g}" for name, bound in bounds.items() if found[name] > bound
    ]


def told(found: dict[str, Any], *, check: bool) -> int:
    """Prints what was found; 1 where a bound does not hold that is to be checked."""
    wrong = broken(found) if check else []
    print(json.dumps(found | ({"broken": wrong} if wrong else {})), flush=True)
    return int(bool(wrong))


def main() -> int:
    """Every step in a process of its own; one JSON object a line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gb", type=float, default=3.0)
    parser.add_argument(
        "--step", choices=("make", "exports", "load", "steps", "unfolded"), help=argparse.SUPPRESS
    )
    parser.add_argument("--check", action="store_true", help="exports and loads alone, against their bounds")
    parser.add_argument("--precision", default=",".join(PRECISIONS), help="default: %(default)s")
    given = parser.parse_args()
    precisions = given.precision.split(",")
    source, out = given.folder / "checkpoint", given.folder / f"pack-{precisions[0]}"
    if given.step == "make":
        make(source, given.gb)
    elif given.step == "exports":
        rows = [{"export": one, **export(source, given.folder / f"pack-{one}", one)} for one in precisions]
        return max(told(row, check=given.check) for row in rows)
    elif given.step == "load":
        return told({"load": given.precision, **load(out)}, check=given.check)
    elif given.step in ("steps", "unfolded"):
        found = steps(out, folded=given.step == "steps")
        print(json.dumps({"steps": given.precision, **found}))
    else:
        todo = [] if source.is_dir() else [("make", precisions[0])]
        for precision in precisions:
            todo += [(step, precision) for step in ("exports", "load")]
            if not given.check:
                todo += [("steps", precision)]
                todo += [("unfolded", precision)] if precision in ("bf16", "fp8") else []
        code = 0
        for step, precision in todo:
            again = ["--gb", str(given.gb), "--step", step, "--precision", precision]
            again += ["--check"] if given.check else []
            code |= subprocess.run(
                [sys.executable, "-P", __file__, str(given.folder), *again], check=False
            ).returncode
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
