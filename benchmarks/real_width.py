"""Decoder and denoiser at the widths of real models beside other runtimes, with the same random weights.

    npm install --prefix PEERS node-llama-cpp && pip install gguf onnxruntime-genai
    python benchmarks/real_width.py decoder --steps-program BUILD/tests/cpp/models/decoder_steps --llama PEERS --work DIR
    python benchmarks/real_width.py denoiser --work DIR

`decoder`: 319 M parameters (Qwen3, hidden 1024, 16 layers, vocabulary 32,768), built once under --work for every arm.
A round gives each arm the same prompt, which is timed to its first token, and then lets them step in turns, greedily:

  fp32, int8   our export (`export planner`) in the lane's decoder, its prompts in chunks of 256
  genai        onnxruntime-genai's Generator over the graph of its own model builder, float32
  llama        llama.cpp over a GGUF file in Q8_0

`denoiser`: one step of a FLUX.2-klein-shaped transformer of 159 M parameters at 256 x 256 with one reference and 512
text tokens: our exported graph in ONNX Runtime (`onnx`), and PyTorch in float32 and bfloat16.

Prints medians over the rounds and their ratios; without --llama or onnxruntime-genai that arm is left out. With
`--threads 1 2` everything is done for each number of threads.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np

SEED = 20261128
VOCAB, HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, INNER = 32_768, 1024, 16, 16, 8, 128, 3072
CACHE, CHUNK = 1024, 256
THETA, EPSILON = 1e6, 1e-6
TEXT, SIDE = 512, 16  # tokens of the words, and of a side of each picture

Times = dict[str, list[float]]


# ---- models ------------------------------------------------------------------------------------------------------


def build_decoder(work: Path, *, genai: bool, llama: bool) -> None:
    """Weights and every arm's model of them; what is there already is left."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    source = work / "qwen3"
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=HEAD_DIM,
        max_position_embeddings=CACHE,
        rms_norm_eps=EPSILON,
        rope_parameters={"rope_type": "default", "rope_theta": THETA},
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
    )
    if not source.is_dir():
        torch.manual_seed(SEED)
        torch.set_default_dtype(torch.bfloat16)
        model = Qwen3ForCausalLM(config)
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.data.normal_(std=weight.shape[1] ** -0.5)
        model.save_pretrained(source)
        torch.set_default_dtype(torch.float32)
        _save_words(source)
    for precision in ("fp32", "int8"):
        if not (work / precision).is_dir():
            _export(source, work / precision, precision)
    if genai and not (work / "genai").is_dir():
        command = [
            sys.executable,
            "-m",
            "onnxruntime_genai.models.builder",
            "-i",
            source,
            "-o",
            work / "genai",
        ]
        command += ["-p", "fp32", "-e", "cpu", "-c", work / "cache"]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
    if llama and not (work / "q8_0.gguf").is_file():
        _write_gguf(source, work / "q8_0.gguf")


def _save_words(folder: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({f"t{i}": i for i in range(VOCAB)}, unk_token="t0"))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder)


def _export(source: Path, out: Path, precision: Any) -> None:
    """The written decoder of the same weights, as the language model of a Qwen3-VL."""
    from interleave_rt.export.checkpoint import Checkpoint
    from interleave_rt.export.families.qwen3_vl_written import write_decoder
    from transformers import Qwen3VLConfig

    checkpoint = Checkpoint.open(source)
    tensors = {
        name.replace("model.", "model.language_model.", 1): tensor
        for name, tensor in checkpoint.tensors.items()
    }
    text = dict(checkpoint.config) | {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": THETA,
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
        }
    }
    config = Qwen3VLConfig(
        text_config={name: value for name, value in text.items() if name != "model_type"},
        vision_config={"deepstack_visual_indexes": [0]},
        tie_word_embeddings=False,
        image_token_id=3,
    )
    out.mkdir()
    write_decoder(
        replace(checkpoint, tensors=tensors),
        config,
        out / "decoder.onnx",
        precision=precision,
        cache_length=CACHE,
    )


def _write_gguf(source: Path, out: Path) -> None:
    import gguf
    import torch
    from safetensors import safe_open

    writer = gguf.GGUFWriter(out, "qwen3")
    writer.add_context_length(CACHE)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_rope_freq_base(THETA)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([f"t{i}" for i in range(VOCAB)])
    writer.add_token_types([gguf.TokenType.NORMAL] * VOCAB)
    writer.add_token_merges(["t 0"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, LAYERS)
    with safe_open(source / "model.safetensors", "pt") as weights:
        for name in weights.keys():  # noqa: SIM118 (a file, no mapping)
            values = weights.get_tensor(name).to(torch.float32).numpy()
            kind = gguf.GGMLQuantizationType.Q8_0 if values.ndim > 1 else gguf.GGMLQuantizationType.F32
            place = names.get_name(name, try_suffixes=(".weight",))
            writer.add_tensor(place, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# ---- arms of the decoder -----------------------------------------------------------------------------------------


class Program:
    """A decoder in a process of its own, which steps when it is told."""

    def __init__(self, command: list[Any], *, ready: bool = False, cwd: Path | None = None) -> None:
        self._process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd
        )
        if ready and self._read() != ["ready"]:
            raise SystemExit(f"{command[0]} did not start")

    def _read(self) -> list[str]:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().split()
        if not answer:
            raise SystemExit("a decoder has ended: see its message above")
        return answer

    def _ask(self, line: str) -> list[str]:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._read()

    def begin(self, prompt: list[int]) -> tuple[float, int]:
        """Seconds to the first token, and that token."""
        line = f"begin 1 {len(prompt)} {' '.join(map(str, prompt))}"
        start = time.perf_counter()
        token = self._ask(line)[0]
        return time.perf_counter() - start, int(token)

    def step(self) -> tuple[float, int]:
        """Seconds of a step, and its token."""
        wall, _, token = self._ask("step")
        return float(wall) / 1e6, int(token)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


class Genai:
    """onnxruntime-genai in this process: a new Generator for every prompt."""

    def __init__(self, folder: Path, threads: int) -> None:
        import onnxruntime_genai as og

        path = folder / "genai_config.json"
        settings = json.loads(path.read_text())
        settings["model"]["decoder"]["session_options"] |= {
            "intra_op_num_threads": threads,
            "inter_op_num_threads": 1,
        }
        path.write_text(json.dumps(settings))
        self._model = og.Model(str(folder))
        self._generator: Any = None

    def begin(self, prompt: list[int]) -> tuple[float, int]:
        import onnxruntime_genai as og

        params = og.GeneratorParams(self._model)
        params.set_search_options(do_sample=False, max_length=CACHE, past_present_share_buffer=True)
        self._generator = og.Generator(self._model, params)
        start = time.perf_counter()
        self._generator.append_tokens(np.array([prompt], np.int32))
        _, token = self.step()
        return time.perf_counter() - start, token

    def step(self) -> tuple[float, int]:
        start = time.perf_counter()
        self._generator.generate_next_token()
        token = int(self._generator.get_next_tokens()[0])
        return time.perf_counter() - start, token

    def close(self) -> None:
        self._generator = self._model = None


def open_arms(given: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Every decoder that is there, ready."""
    import onnxruntime

    library = next(iter(sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))))
    arms: dict[str, Any] = {}
    for precision in ("fp32", "int8"):
        graph = given.work / precision / "decoder.onnx"
        arms[precision] = Program([given.steps_program, library, graph, "-", CACHE, CHUNK, threads])
    if given.genai:
        arms["genai"] = Genai(given.work / "genai", threads)
    if given.llama:
        script = Path(__file__).with_name("llama_steps.mjs").resolve()
        model = (given.work / "q8_0.gguf").resolve()
        arms["llama"] = Program(
            ["node", script, model, CACHE, CHUNK, threads], ready=True, cwd=given.llama.resolve()
        )
    return arms


def measure_decoder(given: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Prompts and steps of all arms in turns; the first round warms and is left out."""
    arms = open_arms(given, threads)
    rng = np.random.default_rng([SEED, threads])
    prompts: Times = defaultdict(list)
    steps: Times = defaultdict(list)
    tokens: dict[str, list[int]] = defaultdict(list)
    for number in range(given.rounds + 1):
        prompt = rng.integers(3, VOCAB, given.context).tolist()
        order = list(arms)[number % len(arms) :] + list(arms)[: number % len(arms)]
        for name in order:
            seconds, token = arms[name].begin(prompt)
            tokens[name].append(token)
            if number:
                prompts[name].append(seconds)
        for step in range(given.steps):
            for name in order[:: 1 if step % 2 else -1]:
                seconds, token = arms[name].step()
                tokens[name].append(token)
                if number and step > 1:
                    steps[name].append(seconds)
    for arm in arms.values():
        arm.close()
    rates = {
        name: {
            "prompt_tokens_s": round(given.context / statistics.median(prompts[name]), 1),
            "step_ms": round(1e3 * statistics.median(steps[name]), 2),
        }
        for name in arms
    }
    found: dict[str, Any] = {"threads": threads, "context": given.context, "arms": rates}

    def beside(mine: str, theirs: str) -> dict[str, float]:
        return {
            "prompt_time": round(statistics.median(prompts[mine]) / statistics.median(prompts[theirs]), 3),
            "step_time": round(statistics.median(steps[mine]) / statistics.median(steps[theirs]), 3),
            "equal_tokens": round(float(np.mean(np.equal(tokens[mine], tokens[theirs]))), 3),
        }

    for mine, theirs in (("fp32", "genai"), ("int8", "llama"), ("int8", "fp32")):
        if mine in arms and theirs in arms:
            found[f"{mine} over {theirs}"] = beside(mine, theirs)
    return found


# ---- the denoiser ------------------------------------------------------------------------------------------------


def denoiser() -> Any:
    """FLUX.2-klein's transformer, 1024 wide: 2 double and 6 single blocks, random weights of float16."""
    import torch
    from diffusers import Flux2Transformer2DModel

    torch.manual_seed(SEED)
    model = Flux2Transformer2DModel(
        patch_size=1,
        in_channels=128,
        num_layers=2,
        num_single_layers=6,
        attention_head_dim=128,
        num_attention_heads=HIDDEN // 128,
        joint_attention_dim=3 * HIDDEN,
        mlp_ratio=3.0,
        axes_dims_rope=(32, 32, 32, 32),
        guidance_embeds=False,
    ).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.half().float())
    return model


def denoiser_inputs() -> dict[str, Any]:
    """A picture and one reference, [row, column] places of both."""
    rng = np.random.default_rng(SEED)
    places = [[10 * time, row, column, 0] for time in (0, 1) for row in range(SIDE) for column in range(SIDE)]
    return {
        "hidden_states": rng.standard_normal((1, len(places), 128), np.float32),
        "encoder_hidden_states": rng.standard_normal((1, TEXT, 3 * HIDDEN), np.float32),
        "timestep": np.array([0.7], np.float32),
        "img_ids": np.array(places, np.int64),
        "txt_ids": np.array([[0, 0, 0, i] for i in range(TEXT)], np.int64),
    }


def build_denoiser(model: Any, path: Path) -> None:
    """The graph that a pack has."""
    from diffusers import AutoencoderKLFlux2
    from interleave_rt.export.families.flux2 import drawing_specs, generator_trace
    from interleave_rt.export.graph import export_graph

    vae = AutoencoderKLFlux2(
        block_out_channels=(32, 32, 32, 32), layers_per_block=1, latent_channels=32, norm_num_groups=8
    ).eval()
    with generator_trace():
        export_graph(drawing_specs(model, vae)["transformer"], path, external=True)


def measure_denoiser(given: argparse.Namespace, model: Any, threads: int) -> dict[str, Any]:
    """Steps of all arms in turns."""
    import torch
    from interleave_rt.export.proof.sessions import open_session

    torch.set_num_threads(threads)
    feed = denoiser_inputs()
    session = open_session(given.work / "denoiser" / "transformer.onnx", threads)

    def torch_step(module: Any, dtype: Any) -> Callable[[], Any]:
        given = {
            name: torch.from_numpy(value).to(torch.float32 if name.endswith("ids") else dtype)
            for name, value in feed.items()
        }

        def step() -> Any:
            with torch.inference_mode():
                return module(**given, guidance=None, return_dict=False)[0].float().numpy()

        return step

    import copy

    arms: dict[str, Callable[[], Any]] = {
        "onnx": lambda: session.run(None, feed)[0],
        "torch fp32": torch_step(model, torch.float32),
        "torch bf16": torch_step(copy.deepcopy(model).bfloat16(), torch.bfloat16),
    }
    times: Times = defaultdict(list)
    outs = {}
    for number in range(given.rounds + 1):
        for name in list(arms)[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            outs[name] = arms[name]()
            if number:
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(found) for name, found in times.items()}
    exact = outs["torch fp32"]
    return {
        "threads": threads,
        "step_ms": {name: round(1e3 * value) for name, value in medians.items()},
        "onnx over torch fp32": round(medians["onnx"] / medians["torch fp32"], 3),
        "onnx over torch bf16": round(medians["onnx"] / medians["torch bf16"], 3),
        "relative_error": {
            name: float(f"{np.linalg.norm(out - exact) / np.linalg.norm(exact):.1e}")
            for name, out in outs.items()
        },
    }


def main() -> None:
    """One JSON object for each number of threads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("decoder", "denoiser"))
    parser.add_argument("--work", type=Path, required=True, help="where models are built, or were")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--build-only", action="store_true", help="make the models and measure nothing")
    parser.add_argument("--steps-program", type=Path, help="decoder_steps, a C++ benchmark")
    parser.add_argument("--llama", type=Path, help="a folder with node-llama-cpp in its node_modules")
    parser.add_argument("--context", type=int, default=256, help="tokens of a prompt")
    parser.add_argument("--steps", type=int, default=16, help="of a round")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    given.genai = importlib.util.find_spec("onnxruntime_genai") is not None
    if given.what == "decoder":
        build_decoder(given.work, genai=given.genai, llama=given.llama is not None)
        if not given.build_only and given.steps_program is None:
            parser.error("decoder needs --steps-program")
        measure = partial(measure_decoder, given)
    else:
        model = denoiser()
        print(json.dumps({"parameters": sum(weight.numel() for weight in model.parameters())}), flush=True)
        if not (given.work / "denoiser" / "transformer.onnx").is_file():
            build_denoiser(model, given.work / "denoiser" / "transformer.onnx")
        measure = partial(measure_denoiser, given, model)
    for threads in [] if given.build_only else given.threads:
        print(json.dumps(measure(threads)), flush=True)


if __name__ == "__main__":
    main()
