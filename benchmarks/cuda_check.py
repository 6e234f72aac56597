"""One script for a machine with a card, without network: what the native lanes do on CUDA.

    python benchmarks/cuda_check.py --output cuda.json             # needs pip install ".[cuda,export]" and PyTorch with CUDA
    python benchmarks/cuda_check.py --only law_1,stream            # what needs pip install ".[cuda]" alone
    python benchmarks/cuda_check.py --device cpu --size tiny       # the same way without a card

Parts, each with what it took; one that fails is written down with its error, one for which no time is left is "not run":

    provider      loads, copies to the card and back
    copies        copies between host and card inside one run of every batched graph, as ONNX Runtime's profile counts them
    invariance    every batched graph of the pack, by shape: bits of a row alone and beside others
    law_1         requests through the engine and the sequential loop, as `python -m interleave_rt.prove`; keeps the proof
    token         Qwen3-VL of random weights: a token, native over the compiled PyTorch lane
    denoising     FLUX.2-klein of random weights: a denoising step from a picture, likewise
    stream        the arms of `interleave-rt bench`, single-stream, whose results must be equal, too

Models of random weights have a quarter of their layers (`--layers all`: all), for the time that their graphs take to
write; widths, vocabulary and lengths are the published ones. `law_1` and `stream` take as many requests as two thirds of
the time that is left allow, at most `--requests`.

The pack's proof of batch invariance was made on the CPU: where only batching differs, the proof that is kept covers
`batching=False`. Exits with 1 where results differ, a declared invariance does not hold or a part fails, with 2 where the
provider cannot be used.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import traceback
from collections import Counter
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

PARTS = ("copies", "invariance", "law_1", "token", "denoising", "stream")  # the quick and sure ones first
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

    def left(self) -> float:
        """Seconds until no part begins any more."""
        return max(0.0, self._end - time.monotonic())

    def part(self, name: str, work: Callable[[], Any]) -> None:
        """One part; whatever goes wrong is its result. Rows of one that yields them are kept one by one."""
        start = time.monotonic()
        if start > self._end:
            self.found[name] = "not run: no time left"
            self._save(name)
            return
        made: dict[str, Any] = {}
        self.found[name] = made
        try:
            found = work()
            if isinstance(found, Iterator):
                made["found"] = []
                for row in found:
                    made["found"].append(row)
                    made["seconds"] = round(time.monotonic() - start, 1)
                    say(f"{name}: {json.dumps(row)}")
                    self._save(name, quiet=True)
            else:
                made["found"] = found
        except Exception as error:
            own = isinstance(error, InterleaveError)
            made["error"] = (error.message if own else f"{type(error).__name__}: {error}")[:2000]
            say(traceback.format_exc())
        made["seconds"] = round(time.monotonic() - start, 1)
        self._save(name)

    def _save(self, name: str, *, quiet: bool = False) -> None:
        if not quiet:
            say(f"{name}: {json.dumps(self.found[name])[:1500]}")
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

    pack = load_pack()
    graph = pack.path / pack.manifest.roles.generator.parts["text_encoder"].file
    session = onnxruntime.InferenceSession(str(graph), providers=list(providers))
    if session.get_providers()[0] != providers[0]:
        raise RuntimeError(f"{providers[0]} was asked for, {session.get_providers()[0]} was opened")
    values = np.arange(8, dtype=np.float32)
    kind = "cpu" if providers[0].startswith("CPU") else "cuda"
    back = onnxruntime.OrtValue.ortvalue_from_numpy(values, kind, 0).numpy()
    if not np.array_equal(back, values):
        raise RuntimeError("an array that went to the card came back changed")
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


def invariance(pack: Pack, providers: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Bits of rows in batches of every size against the same rows alone."""
    sessions: dict[Path, Any] = {}
    for name, path, declared, shape, feeds in feeds_of(pack):
        if path not in sessions:
            sessions[path] = session_on(path, providers)
        session = sessions[path]
        alone = [session.run(None, feed)[0][0] for feed in feeds]
        for batch in range(2, len(feeds) + 1):
            together = session.run(None, joined(feeds[:batch]))[0]
            gaps = [float(np.abs(one - other).max()) for one, other in zip(together, alone, strict=False)]
            equal = sum(bool(np.array_equal(one, other)) for one, other in zip(together, alone, strict=False))
            yield {
                "part": name,
                "shape": shape,
                "batch": batch,
                "equal": equal,
                "largest": max(gaps),
                "declared": declared,
                "holds": equal == batch or not declared,
            }


def copies(pack: Pack, providers: tuple[str, ...], folder: Path) -> Iterator[dict[str, Any]]:
    """Of every batched graph what `census_of` counts."""
    seen = set()
    for name, path, _, _, feeds in feeds_of(pack):
        if name in seen:
            continue
        seen.add(name)
        session = session_on(path, providers, str(folder / "profile"))
        session.run(None, feeds[0])
        yield {"part": name, **census_of(session)}


def census_of(session: Any) -> dict[str, Any]:
    """Of a session that was profiled: its kernels, the copies between host and card among them, and those on the CPU."""
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = [event["args"] for event in events if event.get("name", "").endswith("_kernel_time")]
    names = [told.get("op_name", "?") for told in kernels if told.get("provider", "").startswith("CPU")]
    return {
        "nodes": len(kernels),
        "copies": sum(told.get("op_name", "").startswith("Memcpy") for told in kernels),
        "on_the_cpu": len(names),
        "of_these": dict(Counter(names).most_common(12)),
    }


def fitting(
    pack: Pack, providers: tuple[str, ...], cases: list[Any], runs: float, seconds: float
) -> list[Any]:
    """As many of these requests as can be run so often in this time, by what one takes in the sequential loop."""
    from interleave_rt.roles.native import NativeRoles
    from interleave_rt.roles.reference import run_reference

    with proving(providers):
        roles = NativeRoles(pack, providers=providers)
        for case in cases[:2]:  # the first one pays for what is made once
            start = time.monotonic()
            run_reference(case.request, case.options, roles)
            took = time.monotonic() - start
    count = max(1, min(len(cases), int(seconds / (runs * took))))
    say(f"a request takes {took:.2f} s in the sequential loop: {count} of {len(cases)} are run")
    return cases[:count]


def single_stream(
    pack: Pack, providers: tuple[str, ...], requests: int, seed: int, seconds: float
) -> dict[str, Any]:
    """What `interleave-rt bench` says of its three arms."""
    cases = fitting(pack, providers, world_requests(requests, seed, Options()), 4.5, seconds)
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


def shortened(name: str, share: int) -> dict[str, Any]:
    """The configuration of a published shape, with one of `share` layers."""
    from interleave_rt.synthetic.catalogue import entry

    raw = json.loads(json.dumps(entry(name)))
    for key in ("num_layers", "num_single_layers"):
        if key in raw.get("transformer", {}):
            raw["transformer"][key] = max(1, raw["transformer"][key] // share)
    if raw["kind"] == "vlm":
        text, vision = raw["config"]["text_config"], raw["config"]["vision_config"]
        least = len(vision["deepstack_visual_indexes"])  # each is added to a layer of its own
        text["num_hidden_layers"] = max(least, text["num_hidden_layers"] // share)
        vision["depth"] = 1  # no picture is looked at here
    return raw


def token(
    model: str, device: str, providers: tuple[str, ...], folder: Path, share: int
) -> Iterator[dict[str, Any]]:
    """A token of the native decoder, by precision, over one of the compiled PyTorch lane.

    ONNX Runtime's attention over a cache knows no float32 on a card: it runs on the host, and the caches are copied. So
    the same graph is measured with its attention in float16 as well.
    """
    import torch
    import transformers
    from interleave_rt.export.checkpoint import Checkpoint
    from interleave_rt.export.families import qwen3_vl_written as family

    from interleave_rt.backends.torch.step import Step
    from interleave_rt.synthetic.clock import free, timed
    from interleave_rt.synthetic.roles import compiler
    from interleave_rt.synthetic.weights import random_model

    raw = shortened(model, share)
    config = getattr(transformers, raw["config_class"])(**raw["config"])
    made = random_model(lambda: getattr(transformers, raw["class"])(config), device, torch.bfloat16)
    layers = raw["config"]["text_config"]["num_hidden_layers"]
    begun = time.monotonic()
    step = Step(made, 2 * PAST, backend=compiler(device))
    torch_ms = timed(lambda: step(1, PAST, float(PAST)), device)
    yield {
        "what": "token",
        "precision": "PyTorch, bf16",
        "layers": layers,
        "ms": round(torch_ms, 3),
        "ready_s": round(time.monotonic() - begun, 1),
    }
    made.save_pretrained(folder)
    made = step = None
    free(device)
    checkpoint = Checkpoint.open(folder)
    config = family.configuration(checkpoint)
    for precision in PRECISIONS:
        begun = time.monotonic()
        path = folder / f"{precision}.onnx"
        family.write_decoder(checkpoint, config, path, precision=precision, cache_length=2 * PAST)
        written = time.monotonic() - begun
        for attention in ("float32", "float16"):
            graph = path if attention == "float32" else half_attention(path)
            try:
                found = one_token(graph, device, providers, attention)
            except Exception as error:
                say(traceback.format_exc())
                yield {
                    "what": "token",
                    "precision": precision,
                    "attention": attention,
                    "error": str(error)[:500],
                }
                continue
            told = ratio("token", precision, found.pop("ms"), torch_ms)
            yield {**told, "attention": attention, "written_s": round(written, 1), **found}


def one_token(path: Path, device: str, providers: tuple[str, ...], attention: str) -> dict[str, Any]:
    """Milliseconds of a token behind `PAST` others, seconds that the graph took to open, and a census of its nodes."""
    from interleave_rt.export.proof.sessions import DecoderRunner

    from interleave_rt.synthetic.clock import timed

    begun = time.monotonic()
    session = session_on(path, providers, str(path.with_suffix("")))
    opened_s = time.monotonic() - begun
    runner = DecoderRunner(session, 1, 2 * PAST)
    feed = runner.feed(runner.text(np.array([1])))
    feed |= {"past_len": np.array([PAST]), "position_ids": np.full((3, 1, 1), PAST)}
    rng = np.random.default_rng(1)
    for name, value in feed.items():
        if name.startswith(("past_k.", "past_v.")):
            feed[name] = rng.standard_normal(value.shape).astype(attention)
    work = bound(session, feed, torch_kind(device))
    ms = timed(work, device)
    return {"ms": ms, "opened_s": round(opened_s, 1), **per_run(census_of(session))}


def per_run(census: Mapping[str, Any]) -> dict[str, Any]:
    """A census whose operators are of several runs, as shares of the nodes."""
    nodes = max(1, census["nodes"])
    return {
        "share_copies": round(census["copies"] / nodes, 4),
        "share_on_the_cpu": round(census["on_the_cpu"] / nodes, 4),
        "of_these": census["of_these"],
    }


def half_attention(path: Path) -> Path:
    """The same decoder with attention and caches in float16, over the same weights."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    graph, half, single = model.graph, onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    nodes = []
    for node in graph.node:
        if node.op_type != "GroupQueryAttention":
            nodes.append(node)
            continue
        for place in range(3):
            name = f"{node.input[place]}.half.{node.output[0]}"
            nodes.append(onnx.helper.make_node("Cast", [node.input[place]], [name], to=half))
            node.input[place] = name
        whole, node.output[0] = node.output[0], f"{node.output[0]}.half"
        nodes += [node, onnx.helper.make_node("Cast", [node.output[0]], [whole], to=single)]
    del graph.node[:]
    graph.node.extend(nodes)
    for value in (*graph.input, *graph.output):
        if value.name.startswith(("past_k.", "past_v.", "present_")):
            value.type.tensor_type.elem_type = half
    made = path.with_name(f"{path.stem}-half.onnx")
    onnx.save(model, made)
    return made


def denoising_step(
    model: str, device: str, providers: tuple[str, ...], folder: Path, share: int
) -> Iterator[dict[str, Any]]:
    """A denoising step from a picture, likewise; the arithmetic of the native one is float32."""
    import diffusers
    import torch
    from interleave_rt.export.checkpoint import Checkpoint
    from interleave_rt.export.families.flux2 import (
        drawing_specs,
        generator_trace,
        places,
        token_pixels,
        words,
    )
    from interleave_rt.export.hollow import export_hollow, fill_hollow

    from interleave_rt.synthetic.clock import free, timed
    from interleave_rt.synthetic.roles import compiler
    from interleave_rt.synthetic.weights import random_model

    raw = shortened(model, share)
    kind, config = getattr(diffusers, raw["transformer_class"]), raw["transformer"]
    layers = config["num_layers"] + config["num_single_layers"]
    vae = getattr(diffusers, raw["vae_class"])(**raw["vae"]).eval()
    rng, side = np.random.default_rng(1), int(raw["side"]) // token_pixels(vae)
    where = np.concatenate(
        [places(0, side, side), places(10, side, side)]
    )  # a picture, and one that is drawn from
    feed: dict[str, Any] = {
        "hidden_states": rng.standard_normal((1, len(where), config["in_channels"]), dtype=np.float32),
        "encoder_hidden_states": rng.standard_normal(
            (1, raw["text"], config["joint_attention_dim"]), dtype=np.float32
        ),
        "timestep": np.array([0.5], np.float32),
        "img_ids": where,
        "txt_ids": words(raw["text"]),
    }
    transformer = random_model(lambda: kind(**config), device, torch.bfloat16)
    told = {name: torch.from_numpy(value).to(device) for name, value in feed.items()}
    told = {name: value.bfloat16() if value.is_floating_point() else value for name, value in told.items()}

    def work() -> Any:
        with torch.no_grad():
            return transformer(**told, guidance=None, return_dict=False)[0]

    begun, times = time.monotonic(), {}
    for backend in ("native", "_native_cudnn") if torch_kind(device) == "cuda" else ():
        try:
            transformer.set_attention_backend(backend)
            times[backend] = timed(work, device, seconds=0.5)
        except Exception as error:
            say(f"attention {backend}: {type(error).__name__}: {error}"[:500])
    if times:
        transformer.set_attention_backend(min(times, key=lambda name: times[name]))
    transformer.compile_repeated_blocks(fullgraph=True, dynamic=False, backend=compiler(device))
    torch_ms = timed(work, device)
    yield {
        "what": "denoising step",
        "precision": "PyTorch, bf16",
        "layers": layers,
        "tokens": len(where) + raw["text"],
        "ms": round(torch_ms, 3),
        "eager_ms": {name: round(ms, 3) for name, ms in times.items()},
        "ready_s": round(time.monotonic() - begun, 1),
    }
    begun = time.monotonic()
    transformer.save_pretrained(folder)
    transformer = told = None
    free(device)
    with torch.device("meta"):
        hollow = kind(**config).eval()
    names = {f"model.{name}": name for name, _ in hollow.named_parameters()}
    fill_hollow(hollow)
    path = folder / "transformer.onnx"
    with generator_trace():
        spec = drawing_specs(hollow, vae)["transformer"]
        export_hollow(spec, path, Checkpoint.open(folder), names, lambda _: "bf16")
    written = time.monotonic() - begun
    say(f"denoising: written in {written:.1f} s")
    begun = time.monotonic()
    session = session_on(path, providers, str(folder / "profile"))
    opened_s = time.monotonic() - begun
    ms = timed(bound(session, feed, torch_kind(device)), device)
    yield {
        **ratio("denoising step", "bf16 stored", ms, torch_ms),
        "written_s": round(written, 1),
        "opened_s": round(opened_s, 1),
        **per_run(census_of(session)),
    }


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
    parser.add_argument("--layers", choices=("quarter", "all"), default="quarter", help="of these models")
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
    except Exception:
        say(traceback.format_exc())
        return 2
    checks.part("provider", lambda: said)

    def law() -> dict[str, Any]:
        drawn = fitting(
            pack, providers, draw_cases(arguments.requests, arguments.seed), 8.0, checks.left() * 2 / 3
        )
        cases = [(case.request, case.options) for case in drawn]
        rows, proof = prove(pack, providers, cases, Said().say)
        return {"declared": pack.manifest.lossless, "rows": rows, "proof": proof and str(proof)}

    vlm, klein = SIZES[arguments.size]
    share = 4 if arguments.layers == "quarter" else 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: dict[str, Callable[[], Any]] = {
            "law_1": law,
            "invariance": lambda: invariance(pack, providers),
            "copies": lambda: copies(pack, providers, folder),
            "token": lambda: token(vlm, device, providers, folder / "vlm", share),
            "denoising": lambda: denoising_step(klein, device, providers, folder / "klein", share),
            "stream": lambda: single_stream(
                pack, providers, arguments.requests, arguments.seed, checks.left() * 2 / 3
            ),
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
