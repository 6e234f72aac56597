"""How long the census of kernels takes at the widths of a large decoder; its weights need not exist.

    python benchmarks/census.py [--precision bf16|int8|int4] [--layers 36] [--chunk 256]

The graph is that of `interleave-rt export planner` for Qwen3-VL-8B's numbers. Prints what was compared and the time.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

SHAPE = {
    "vocab_size": 151_936,
    "hidden_size": 4096,
    "intermediate_size": 12_288,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 8192,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 5e6,
        "mrope_section": [24, 20, 20],
        "mrope_interleaved": True,
    },
}


class Weightless:
    """A checkpoint whose vectors are ones and whose matrices hold nothing; the census reads none of these."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self.tensors = {name: SimpleNamespace(shape=shape) for name, shape in shapes.items()}

    def need(self, name: str, *_: int) -> Any:
        return self.tensors[name]

    def read(self, name: str) -> Any:
        return np.ones(self.tensors[name].shape, np.float32)

    def pieces(self, _: str) -> Any:
        return iter(())


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", default="int4", choices=("bf16", "int8", "int4"))
    parser.add_argument("--layers", type=int, default=36)
    parser.add_argument("--chunk", type=int, default=256)
    parser.add_argument("--slots", type=int, default=8)
    arguments = parser.parse_args()
    from interleave_rt.export.families.qwen3_vl_written import TextShape, write_decoder
    from interleave_rt.export.proof.written import written_census
    from transformers import Qwen3VLConfig

    config = Qwen3VLConfig(
        text_config={**SHAPE, "num_hidden_layers": arguments.layers},
        vision_config={"deepstack_visual_indexes": [8, 16, 24]},
        tie_word_embeddings=False,
        image_token_id=151_655,
    )
    head = Weightless({"lm_head.weight": (0, 0)})
    checkpoint: Any = Weightless(TextShape.read(config, head).all_weights())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "8b" / "decoder.onnx"
        path.parent.mkdir()
        write_decoder(checkpoint, config, path, precision=arguments.precision, cache_length=8192)
        began, cpu = time.monotonic(), time.process_time()
        found = written_census(path, slots=arguments.slots, chunk=arguments.chunk)
        taken = {
            "seconds": round(time.monotonic() - began, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        }
    print(json.dumps({**vars(arguments), **taken, **found.as_dict()}, indent=1))


if __name__ == "__main__":
    main()
