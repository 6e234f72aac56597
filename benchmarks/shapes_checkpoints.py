"""The embedded models as checkpoints in Hugging Face layout: what roles in PyTorch are measured with.

    python benchmarks/shapes_checkpoints.py models
    interleave-rt bench --planner torch:models/planner,process=own --generator torch:models/generator,process=own \
        --critic torch:models/critic,process=own --prompts models/prompts --num-requests 6
"""

from __future__ import annotations

from pathlib import Path

from frame import parser_of
from interleave_rt.train.shapes.from_pack import write_checkpoints

from interleave_rt import load_pack


def main() -> None:
    parser = parser_of(__doc__, seed=None)
    parser.add_argument("out", type=Path, help="folder")
    arguments = parser.parse_args()
    write_checkpoints(load_pack(arguments.pack), arguments.out)


if __name__ == "__main__":
    main()
