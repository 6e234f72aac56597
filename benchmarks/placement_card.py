"""A generator and a critic at their published sizes, random weights, on a card with a cap on its memory.

    python benchmarks/placement_card.py --max-memory 12GB

First with everything kept and no cap, then with PyTorch kept to `--max-memory` (`set_per_process_memory_fraction`) in the
arrangement that it chooses. Exits with 1 where that does not finish, gives other pictures or verdicts, exceeds the cap, or
where all weights could have stayed. `--device cpu` with tiny models tries the command itself.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from typing import Any

import torch
from frame import finish

from interleave_rt.backends.torch.sharing import stays_of
from interleave_rt.measure.environment import describe_environment
from interleave_rt.placement import CONTEXT, MODELS, Demand, Part, arrange, bytes_of
from interleave_rt.request import Options
from interleave_rt.synthetic.roles import MadeGenerator, MadeModel, MadeVlm, Script, made_pictures

UNKNOWN = 1e8  # bytes of the largest step of a model that `placement.MODELS` does not have


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generator", default="klein-4b")
    parser.add_argument("--critic", default="qwen3-vl-2b")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--max-memory", default="12GB")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    device, most = arguments.device, bytes_of(arguments.max_memory)
    on_card = torch.device(device).type == "cuda"
    generator = MadeGenerator(arguments.generator, device)
    model = MadeModel(arguments.critic, device)
    critic = MadeVlm(model, "critic", Script())
    kept = rounds(generator, critic, arguments.rounds, device)
    demands = [demand_of_generator(generator), demand_of_vlm(model)]
    chosen = arrange(demands, None, most - (CONTEXT if on_card else 0))
    if chosen is None:
        return finish({"said": f"nothing fits {arguments.max_memory}"}, holds=False)
    stays = stays_of(device, demands, chosen)
    generator.settle(stays["generator"])
    critic.settle(stays["critic"])
    if on_card:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(
            (most - CONTEXT) / torch.cuda.get_device_properties(device).total_memory, device
        )
    document: dict[str, Any] = {"chosen": chosen.why, "everything_kept": kept}
    try:
        document["in_turns"] = capped = rounds(generator, critic, arguments.rounds, device)
    except torch.OutOfMemoryError as error:
        return finish({**document, "said": str(error)}, holds=False)
    document["equal"] = capped["answers"] == kept["answers"]
    holds = document["equal"]
    if on_card:
        document["all_at_once"] = all_at_once(stays)
        peak = float(capped["peak_gb"]) * 1e9 + CONTEXT
        document["predicted_over_measured"] = round(chosen.peak / (peak - CONTEXT), 3)
        holds = holds and peak <= most and document["all_at_once"] != "fit"
    document["environment"] = describe_environment(gpu=on_card)
    return finish(document, holds=holds)


def rounds(generator: MadeGenerator, critic: MadeVlm, count: int, device: str) -> dict[str, Any]:
    """Pictures and verdicts in turns: their hash, seconds of each, and the peak of what PyTorch holds of the card."""
    if on_card := torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    source = made_pictures(int(generator.raw["side"]), 1)[0]
    seconds: dict[str, list[float]] = {"generate": [], "judge": []}
    answers = hashlib.sha256()
    for number in range(count):
        begun = time.perf_counter()
        made = generator.generate("request 0, picture 0", source, number, Options())
        seconds["generate"].append(round(time.perf_counter() - begun, 3))
        begun = time.perf_counter()
        verdict = critic.judge(source, made, "request 0, picture 0", "request 0, picture 0", 0, 0)
        seconds["judge"].append(round(time.perf_counter() - begun, 3))
        answers.update(made.tobytes() + repr(verdict).encode())
    peak = {"peak_gb": round(torch.cuda.max_memory_reserved(device) / 1e9, 3)} if on_card else {}
    return {"seconds": seconds, "answers": answers.hexdigest(), **peak}


def demand_of_generator(made: MadeGenerator) -> Demand:
    """Weights as they are, and the step that the placement table has."""
    side = int(made.raw["side"])
    known = MODELS.get(made.name)
    step = known.workspace(2 * (side // 16) ** 2 + 512, side * side) if known else UNKNOWN
    sizes = [float(sum(held(module) for module in part)) for part in made.parts()]
    parts = [Part(size, workspace=UNKNOWN if number == 0 else step) for number, size in enumerate(sizes)]
    return Demand(("generator",), tuple(parts))


def demand_of_vlm(made: MadeModel) -> Demand:
    """As of a generator."""
    known = MODELS.get(made.name)
    told = (known.state(3 * 4096), known.workspace(4096, 0)) if known else (UNKNOWN, UNKNOWN)
    return Demand(("critic",), (Part(float(held(made.model)), *told),))


def held(module: Any) -> int:
    """Bytes of a module's weights."""
    found = {id(one): one for one in (*module.parameters(), *module.buffers())}
    return sum(one.nbytes for one in found.values())


def all_at_once(stays: Any) -> str:
    """Whether the cap would have let all weights stay."""
    try:
        for party in {id(stay.party): stay.party for stay in stays.values() if stay.party}.values():
            for weights in party.weights:
                weights.bring()
    except torch.OutOfMemoryError:
        return "does not fit"
    return "fit"


if __name__ == "__main__":
    sys.exit(main())
