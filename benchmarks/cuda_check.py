"""One script for a machine with a card, without network: what the native lanes do on CUDA.

    python benchmarks/cuda_check.py --output cuda.json             # needs pip install ".[cuda,export]" and PyTorch with CUDA
    python benchmarks/cuda_check.py --only law_1,stream            # what needs pip install ".[cuda]" alone
    python benchmarks/cuda_check.py --device cpu --size tiny       # the same way without a card

Parts, each with what it took; one that fails is written down with its error, one for which no time is left is "not run":

    provider      loads, copies to the card and back
    law_1         requests through the engine and the sequential loop, as `python -m interleave_rt.prove`; keeps the proof
    invariance    every batched graph of the pack, by shape: bits of a row alone and beside others
    copies        copies between host and card inside one run of every batched graph, as ONNX Runtime's profile counts them
    token         Qwen3-VL of random weights: a token, native over the compiled PyTorch lane
    denoising     FLUX.2-klein of random weights: a denoising step, likewise
    stream        the arms of `interleave-rt bench`, single-stream, whose results must be equal, too

The pack's proof of batch invariance was made on the CPU: where only batching differs, the proof that is kept covers
`batching=False`. Exits with 1 where results differ, a declared invariance does not hold or a part fails, with 2 where the
provider cannot be used.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from frame import Said, finish, parser_of, say
from lossless import draw_cases

from interleave_rt import InterleaveError, Options, Pack, load_pack
from interleave_rt.backends.proof import proving
from interleave_rt.measure.arms import ARMS, pack_target
from interleave_rt.measure.environment import describe_environment
from interleave_rt.measure.load import Load, world_requests
from interleave_rt.measure.runner import BenchConfig, measure
from interleave_rt.pack.manifest import GeneratorRole, VlmRole
from interleave_rt.prove import prove, providers_of

PARTS = ("law_1", "invariance", "copies", "token", "denoising", "stream")
SIZES = {"tiny": ("tiny-vl", "tiny-klein"), "real": ("qwen3-vl-2b", "klein-4b")}
# As the native runtime opens it: without these, other arithmetic would be measured.
OF_PROVIDERS = {"CUDAExecutionProvider": {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}}
PAST = 128  # tokens before the one that is timed
PRECISIONS = ("bf16", "int8")  # of the native decoder's matrices


class Checks:
    """Does one part after the other until the time is spent, and keeps what is known so far."""

    def __init__(self, seconds: float, output: Path | None) -> None:
        self.found: dict[str, Any] = {}
        self._end, self._output = time.monotonic() + seconds, output

    def part(self, name: str, work: Callable[[], Any]) -> None:
        """One part; whatever goes wrong is its result."""
        start = time.monotonic()
        if start > self._end:
            self.found[name] = "not run: no time left"
        else:
            try:
                self.found[name] = {"found": work()}
            except Exception as error:
                told = (
                    error.message
                    if isinstance(error, InterleaveError)
                    else f"{type(error).__name__}: {error}"
                )
                self.found[name] = {"error": told[:2000]}
            self.found[name]["seconds"] = round(time.monotonic() - start, 1)
        say(f"{name}: {json.dumps(self.found[name])[:300]}")
        if self._output:
            self._output.write_text(json.dumps(self.found, indent=2) + "\n", encoding="utf-8")


def session_on(path: Path, providers: tuple[str, ...], profile: str = "") -> Any:
    """A session with the options of the native runtime; `profile`: what the files of its profile begin with."""
    from interleave_rt.export.proof.sessions import session_options

    options = session_options()
    import onnxruntime

    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    chosen = [(name, OF_PROVIDERS.get(name, {})) for name in providers]
    return onnxruntime.InferenceSession(str(path), options, providers=chosen)


def opened(providers: tuple[str, ...]) -> str:
    """Opens the provider with a small graph and moves an array there and back."""
    import onnxruntime

    values = np.arange(8, dtype=np.float32)
    kind = "cpu" if providers[0].startswith("CPU") else "cuda"
    back = onnxruntime.OrtValue.ortvalue_from_numpy(values, kind, 0).numpy()
    if not np.array_equal(back, values):
        raise RuntimeError("an array that went to the card came back changed")
    pack = load_pack()
    graph = pack.path / pack.manifest.roles.generator.parts["text_encoder"].file
    session = onnxruntime.InferenceSession(str(graph), providers=list(providers))
    if session.get_providers()[0] != providers[0]:
        raise RuntimeError(f"{providers[0]} was asked for, {session.get_providers()[0]} was opened")
    return f"onnxruntime {onnxruntime.__version__}"


def feeds_of(pack: Pack) -> Iterator[tuple[str, Path, bool, str, list[Mapping[str, Any]]]]:
    """Of every batched graph: name, file, whether it is declared invariant, the shape, and one feed a row."""
    from interleave_rt.export.proof.invariance import random_row
    from interleave_rt.export.proof.sessions import DecoderRunner, open_session

    rng = np.random.default_rng(1)
    for name in ("planner", "critic", "generator"):
        role = getattr(pack.manifest.roles, name)
        if isinstance(role, VlmRole):
            part, told = role.parts["decoder"], role.architecture
            runner = DecoderRunner(open_session(pack.path / part.file), 1, role.cache_length)
            for tokens in sorted({1, 2, role.prefill_chunk // 2, role.prefill_chunk}):
                rows = [
                    random_row(rng, runner, tokens, told.vocab, told.image_token_id).part(0, tokens)
                    for _ in range(role.slots)
                ]
                feeds = [runner.feed(row) for row in rows]
                yield (
                    f"{name}/decoder",
                    pack.path / part.file,
                    part.batch_invariant,
                    f"{tokens} tokens",
                    feeds,
                )
        elif isinstance(role, GeneratorRole):
            from interleave_rt.export.families.flux2 import denoising, places

            part, length = role.parts["transformer"], role.max_sequence_length
            for rows, columns in ((2, 3), (6, 6)):
                feeds = [denoising(role, rng, 1, length, places(0, rows, columns)) for _ in range(role.slots)]
                shape = f"{rows} x {columns} tokens"
                yield f"{name}/transformer", pack.path / part.file, part.batch_invariant, shape, feeds


def joined(feeds: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows as one batch; the batch is the second axis of positions and deepstack, and ids of places have none."""
    axes = {"position_ids": 1, "deepstack": 1}
    shared = ("img_ids", "txt_ids")
    return {
        name: value
        if name in shared
        else np.concatenate([feed[name] for feed in feeds], axis=axes.get(name, 0))
        for name, value in feeds[0].items()
    }


def invariance(pack: Pack, providers: tuple[str, ...]) -> list[dict[str, Any]]:
    """Bits of rows in batches of every size against the same rows alone."""
    rows, sessions = [], {}
    for name, path, declared, shape, feeds in feeds_of(pack):
        if path not in sessions:
            sessions[path] = session_on(path, providers)
        session = sessions[path]
        alone = [session.run(None, feed)[0][0] for feed in feeds]
        for batch in range(2, len(feeds) + 1):
            together = session.run(None, joined(feeds[:batch]))[0]
            gaps = [float(np.abs(one - other).max()) for one, other in zip(together, alone, strict=False)]
            equal = sum(bool(np.array_equal(one, other)) for one, other in zip(together, alone, strict=False))
            rows.append(
                {
                    "part": name,
                    "shape": shape,
                    "batch": batch,
                    "equal": equal,
                    "largest": max(gaps),
                    "declared": declared,
                    "holds": equal == batch or not declared,
                }
            )
    return rows


def copies(pack: Pack, providers: tuple[str, ...], folder: Path) -> dict[str, dict[str, int]]:
    """Copies between host and card that ONNX Runtime put into every batched graph, and nodes that run on the CPU, in one run."""
    counted = {}
    for name, path, _, _, feeds in feeds_of(pack):
        if name in counted:
            continue
        session = session_on(path, providers, str(folder / "profile"))
        session.run(None, feeds[0])
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        kernels = [event["args"] for event in events if event.get("name", "").endswith("_kernel_time")]
        counted[name] = {
            "nodes": len(kernels),
            "copies": sum(told["op_name"].startswith("Memcpy") for told in kernels),
            "on_the_cpu": sum(told.get("provider", "").startswith("CPU") for told in kernels),
        }
    return counted


def single_stream(pack: Pack, providers: tuple[str, ...], requests: int, seed: int) -> dict[str, Any]:
    """What `interleave-rt bench` says of its three arms."""
    cases = world_requests(requests, seed, Options())
    config = BenchConfig(Load(seed=seed), list(ARMS.values()))
    with proving(providers):
        found = measure(config, pack_target(pack, providers), cases, Said())
    made = found.document({})
    return {key: made[key] for key in ("arms", "speedup", "lossless")}


def bound(session: Any, feed: Mapping[str, Any], kind: str) -> Callable[[], Any]:
    """A run whose inputs and outputs lie on the device; caches are updated in place."""
    import onnxruntime

    binding = session.io_binding()
    for name, value in feed.items():
        there = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value), kind, 0)
        binding.bind_ortvalue_input(name, there)
        if name.startswith("past_") and name != "past_len":
            binding.bind_ortvalue_output(name.replace("past_", "present_"), there)
    for output in session.get_outputs():
        if not output.name.startswith("present_"):
            binding.bind_output(output.name, kind)
    return lambda: session.run_with_iobinding(binding)


def token(model: str, device: str, providers: tuple[str, ...], folder: Path) -> list[dict[str, Any]]:
    """A token of the native decoder, by precision, over one of the compiled PyTorch lane."""
    from interleave_rt.export.checkpoint import Checkpoint
    from interleave_rt.export.families import qwen3_vl_written as family
    from interleave_rt.export.proof.sessions import DecoderRunner

    from interleave_rt.backends.torch.step import Step
    from interleave_rt.synthetic.clock import free, timed
    from interleave_rt.synthetic.roles import MadeModel, compiler

    made = MadeModel(model, device)
    step = Step(made.model, 2 * PAST, backend=compiler(device))
    torch_ms = timed(lambda: step(1, PAST, float(PAST)), device)
    made.model.save_pretrained(folder)
    made = step = None
    free(device)
    checkpoint = Checkpoint.open(folder)
    config = family.configuration(checkpoint)
    rows = []
    for precision in PRECISIONS:
        path = folder / f"{precision}.onnx"
        family.write_decoder(checkpoint, config, path, precision=precision, cache_length=2 * PAST)
        session = session_on(path, providers)
        runner = DecoderRunner(session, 1, 2 * PAST)
        feed = runner.feed(runner.text(np.array([1])))
        feed |= {"past_len": np.array([PAST]), "position_ids": np.full((3, 1, 1), PAST)}
        ms = timed(bound(session, feed, torch_kind(device)), device)
        rows.append(ratio("token", precision, ms, torch_ms))
        del session, runner
    return rows


def denoising_step(model: str, device: str, providers: tuple[str, ...], folder: Path) -> list[dict[str, Any]]:
    """A denoising step from a picture, likewise; the arithmetic of the native one is float32."""
    import torch
    from interleave_rt.export.checkpoint import Checkpoint
    from interleave_rt.export.families.flux2 import drawing_specs, generator_trace
    from interleave_rt.export.hollow import export_hollow, fill_hollow

    from interleave_rt.synthetic.clock import free, timed
    from interleave_rt.synthetic.parts import Seen, make_ready, seen_step
    from interleave_rt.synthetic.roles import MadeGenerator, made_pictures

    made = MadeGenerator(model, device)
    picture = made_pictures(int(made.raw["side"]), 1)[0]
    make_ready(made)
    work = seen_step(made, picture)
    torch_ms = timed(work, device)
    spy = Seen(made.pipeline.transformer)
    work()
    spy.close()
    told = {name: value.float().cpu().numpy() for name, value in spy.told.items() if hasattr(value, "cpu")}
    transformer, vae = made.pipeline.transformer, made.pipeline.vae.float().cpu()
    transformer = getattr(transformer, "_orig_mod", transformer)
    transformer.save_pretrained(folder)
    config = dict(transformer.config)
    kind = type(transformer)
    del made, transformer, work, spy
    free(device)
    with torch.device("meta"):
        hollow = kind.from_config(config).eval()
    names = {f"model.{name}": name for name, _ in hollow.named_parameters()}
    fill_hollow(hollow)
    path = folder / "transformer.onnx"
    with generator_trace():
        spec = drawing_specs(hollow, vae)["transformer"]
        export_hollow(spec, path, Checkpoint.open(folder), names, lambda _: "bf16")
    session = session_on(path, providers)
    feed = {}
    for value in session.get_inputs():
        given = told[value.name]
        feed[value.name] = given[0] if given.ndim > len(value.shape) else given
        if "int64" in value.type:
            feed[value.name] = feed[value.name].astype(np.int64)
    return [
        ratio(
            "denoising step", "bf16 stored", timed(bound(session, feed, torch_kind(device)), device), torch_ms
        )
    ]


def ratio(what: str, precision: str, native: float, torch_ms: float) -> dict[str, Any]:
    return {
        "what": what,
        "precision": precision,
        "native_ms": round(native, 3),
        "pytorch_bf16_ms": round(torch_ms, 3),
        "native_over_pytorch": round(native / torch_ms, 3),
    }


def torch_kind(device: str) -> str:
    return device.partition(":")[0]


def main() -> int:
    parser = parser_of(__doc__, requests=100, output=True)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument(
        "--size", choices=tuple(SIZES), default="real", help="of the models with random weights"
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="no part begins later")
    parser.add_argument(
        "--only", metavar="PART[,PART..]", default=",".join(PARTS), help="default: %(default)s"
    )
    arguments = parser.parse_args()
    if arguments.requests < 1:
        parser.error("--requests: at least 1 is wanted")
    asked = arguments.only.split(",")
    if strange := set(asked) - set(PARTS):
        parser.error(f"--only: no part {', '.join(sorted(strange))}; there are {', '.join(PARTS)}")
    device = "cuda:0" if arguments.device == "cuda" else "cpu"
    checks = Checks(60 * arguments.minutes, arguments.output)
    try:
        providers = providers_of(arguments.device)
        pack = load_pack(arguments.pack)
        said = opened(providers)
    except InterleaveError as error:
        say(f"error: {error.message}\n{error.hint or ''}")
        return 2
    except RuntimeError as error:
        say(f"error: {error}")
        return 2
    checks.part("provider", lambda: said)

    def law() -> dict[str, Any]:
        cases = [(case.request, case.options) for case in draw_cases(arguments.requests, arguments.seed)]
        rows, proof = prove(pack, providers, cases, Said().say)
        return {"declared": pack.manifest.lossless, "rows": rows, "proof": proof and str(proof)}

    vlm, klein = SIZES[arguments.size]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: dict[str, Callable[[], Any]] = {
            "law_1": law,
            "invariance": lambda: invariance(pack, providers),
            "copies": lambda: copies(pack, providers, folder),
            "token": lambda: token(vlm, device, providers, folder / "vlm"),
            "denoising": lambda: denoising_step(klein, device, providers, folder / "klein"),
            "stream": lambda: single_stream(pack, providers, arguments.requests, arguments.seed),
        }
        for part in PARTS:
            if part in asked:
                checks.part(part, parts[part])
    found = checks.found
    environment = describe_environment(gpu=arguments.device == "cuda")
    return finish(
        {"provider": providers[0], "size": arguments.size, **found, "environment": environment},
        holds=holds(found),
        output=arguments.output,
    )


def holds(found: Mapping[str, Any]) -> bool:
    """Whether nothing failed, and what was asked of law 1, the arms and what is declared was looked at and holds."""
    looked = {name: found[name] for name in ("law_1", "stream", "invariance") if name in found}
    if any("error" in one for one in found.values()) or any(isinstance(one, str) for one in looked.values()):
        return False
    told = {name: one["found"] for name, one in looked.items()}
    compared = [*told["law_1"]["rows"]] if "law_1" in told else []
    if "stream" in told:
        compared.append(told["stream"]["lossless"])
    return all(0 < row["requests"] == row["equal"] for row in compared) and all(
        row["holds"] for row in told.get("invariance", [])
    )


if __name__ == "__main__":
    sys.exit(main())
