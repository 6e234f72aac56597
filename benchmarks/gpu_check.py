"""One command for a machine with a card: law 1 and single-stream latency with an execution provider.

    python benchmarks/gpu_check.py                    # CUDA; needs pip install ".[cuda]"
    python benchmarks/gpu_check.py --provider cpu     # the same checks without a card

Installs nothing. Says which card there is; runs the sequential reference loop and three arms of the engine on the same
provider and compares their canonical results, with batching and without (the pack's proof of batch invariance was made
on the CPU: where only batching differs, use `batching=False`, or prove the graphs on the card); then the arms of
`interleave-rt bench`, single-stream, whose results must be equal, too. Prints one JSON object. Exits with 1 where
results differ or nothing was compared, with 2 where the provider is missing or something fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lossless import Arm, Case, canonical, difference, draw_cases, run_arm

from interleave_rt import BadPackError, Engine, InterleaveError, Options, Pack, load_pack
from interleave_rt.backends.ort import load_runtime
from interleave_rt.bench import ARMS, PackTarget, Plan, Progress, describe_environment, document, measure
from interleave_rt.bench.workload import world_cases
from interleave_rt.config import EngineConfig
from interleave_rt.request import Devices
from interleave_rt.roles.native import NativeRoles
from interleave_rt.roles.reference import run_reference

PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
LAW_ARMS = [
    Arm("off", "off", Devices(), batching=True),
    Arm("auto", "auto", Devices(), batching=True),
    Arm("depth=3", "depth=3", Devices(), batching=True),
]


class ProviderTarget(PackTarget):
    """The pack with every role on one provider."""

    def __init__(self, pack: Pack, providers: tuple[str, ...]) -> None:
        super().__init__(pack)
        self._providers = providers

    def open(self, config: EngineConfig) -> Engine:
        return super().open(replace(config, providers=self._providers))


class Said(Progress):
    """Lines on standard error."""

    def say(self, text: str) -> None:
        print(text, file=sys.stderr)


def providers_of(name: str) -> tuple[str, ...]:
    """The provider and the CPU behind it.

    Raises:
        BadPackError: The installed ONNX Runtime does not have it; says what to install.
    """
    version = load_runtime()  # first: it switches telemetry off
    import onnxruntime

    wanted, available = PROVIDERS[name], onnxruntime.get_available_providers()
    if wanted not in available:
        raise BadPackError(
            f"[gpu_check] ONNX Runtime {version} has no {wanted} (it has {', '.join(available)})",
            hint="pip uninstall -y onnxruntime && pip install 'interleave-rt[cuda]'   or   --provider cpu",
        )
    return tuple(dict.fromkeys((wanted, "CPUExecutionProvider")))


def law_one(pack: Pack, providers: tuple[str, ...], cases: Sequence[Case]) -> list[dict[str, Any]]:
    """The arms against the sequential loop on the same provider; one row an arm and batching."""
    roles = NativeRoles(pack, providers=providers)
    wanted = []
    for case in cases:
        try:
            wanted.append(run_reference(case.request, case.options, roles))
        except InterleaveError as error:
            wanted.append({"failed": error.code})
    rows = []
    for batching in (True, False):
        with Engine.load(pack, providers=providers, batching=batching) as engine:
            for arm in LAW_ARMS:
                found = [canonical(result) for result in run_arm(engine, arm, cases, 8 if batching else 1)]
                first = next((difference(f, w) for f, w in zip(found, wanted, strict=True) if f != w), None)
                rows.append(
                    {
                        "arm": arm.name,
                        "batching": batching,
                        "requests": len(cases),
                        "equal": sum(f == w for f, w in zip(found, wanted, strict=True)),
                        "first_difference": first,
                    }
                )
                print(json.dumps(rows[-1]), file=sys.stderr)
    return rows


def single_stream(pack: Pack, providers: tuple[str, ...], requests: int, seed: int) -> dict[str, Any]:
    """What `interleave-rt bench` says of its three arms."""
    cases = world_cases(requests, seed, Options())
    found = measure(
        Plan("single-stream", list(ARMS.values()), seed=seed), ProviderTarget(pack, providers), cases, Said()
    )
    made = document(found, describe_environment(gpu=True))
    return {key: made[key] for key in ("arms", "speedup", "lossless", "environment")}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--provider", choices=PROVIDERS, default="cuda")
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument("--pack", help="default: the embedded one")
    arguments = parser.parse_args()
    if arguments.requests < 1:
        parser.error("--requests: at least 1 is wanted")
    try:
        providers = providers_of(arguments.provider)
        cards = describe_environment(gpu=True)["gpu"]
        print(f"card: {', '.join(cards) or 'none'}; provider: {providers[0]}", file=sys.stderr)
        pack = load_pack(arguments.pack)
        law = law_one(pack, providers, draw_cases(arguments.requests, arguments.seed))
        stream = single_stream(pack, providers, arguments.requests, arguments.seed)
    except InterleaveError as error:
        print(f"error: {error.message}\n{error.hint or ''}", file=sys.stderr)
        return 2
    text = json.dumps({"provider": providers[0], "cards": cards, "law_1": law, "bench": stream}, indent=2)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")
    print(text)
    compared = [*law, stream["lossless"]]
    return 0 if all(0 < row["requests"] == row["equal"] for row in compared) else 1


if __name__ == "__main__":
    sys.exit(main())
