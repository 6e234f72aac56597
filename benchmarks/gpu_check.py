"""One command for a machine with a card: law 1 and single-stream latency with an execution provider.

    python benchmarks/gpu_check.py                    # CUDA; needs pip install ".[cuda]"
    python benchmarks/gpu_check.py --provider cpu     # the same checks without a card

Installs nothing. Says which card there is; runs the sequential reference loop and three arms of the engine on the same
provider and compares their canonical results, with batching and without, and keeps the proof that loading asks for
(`python -m interleave_rt.prove` does this much, with the pack's own examples); then the arms of `interleave-rt bench`,
single-stream, whose results must be equal, too. The pack's proof of batch invariance was made on the CPU: where only
batching differs, the proof covers `batching=False`. Prints one JSON object. Exits with 1 where results differ or
nothing was compared, with 2 where the provider is missing or something fails.
"""

from __future__ import annotations

import sys
from typing import Any

from frame import Said, finish, parser_of
from lossless import draw_cases

from interleave_rt import InterleaveError, Options, Pack, load_pack
from interleave_rt.backends.proof import PROVIDERS, proving
from interleave_rt.measure.arms import ARMS, pack_target
from interleave_rt.measure.environment import describe_environment
from interleave_rt.measure.load import Load, world_requests
from interleave_rt.measure.runner import BenchConfig, measure
from interleave_rt.prove import prove, providers_of


def single_stream(pack: Pack, providers: tuple[str, ...], requests: int, seed: int) -> dict[str, Any]:
    """What `interleave-rt bench` says of its three arms."""
    cases = world_requests(requests, seed, Options())
    found = measure(
        BenchConfig(Load(seed=seed), list(ARMS.values())), pack_target(pack, providers), cases, Said()
    )
    made = found.document(describe_environment(gpu=True))
    return {key: made[key] for key in ("arms", "speedup", "lossless", "environment")}


def main() -> int:
    parser = parser_of(__doc__, requests=20, output=True)
    parser.add_argument("--provider", choices=PROVIDERS, default="cuda")
    arguments = parser.parse_args()
    if arguments.requests < 1:
        parser.error("--requests: at least 1 is wanted")
    try:
        providers = providers_of(arguments.provider)
        cards = describe_environment(gpu=True)["gpu"]
        print(f"card: {', '.join(cards) or 'none'}; provider: {providers[0]}", file=sys.stderr)
        pack = load_pack(arguments.pack)
        cases = [(case.request, case.options) for case in draw_cases(arguments.requests, arguments.seed)]
        law, proof = prove(pack, providers, cases, Said().say)
        with proving(providers):
            stream = single_stream(pack, providers, arguments.requests, arguments.seed)
    except InterleaveError as error:
        print(f"error: {error.message}\n{error.hint or ''}", file=sys.stderr)
        return 2
    document = {
        "provider": providers[0],
        "cards": cards,
        "law_1": law,
        "proof": proof and str(proof),
        "bench": stream,
    }
    holds = all(0 < row["requests"] == row["equal"] for row in [*law, stream["lossless"]])
    return finish(document, holds=holds, output=arguments.output)


if __name__ == "__main__":
    sys.exit(main())
