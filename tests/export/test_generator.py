"""`export generator`: packs from diffusers folders in the layout of the published ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flux2_checkpoints as klein
import numpy as np
import pytest
import torch
from exporting import LAW_1, changed, check_live, close, law_1_requests, rewrite, traced_once
from interleave_rt.export import generator
from interleave_rt.export.families import flux2, flux2_written
from interleave_rt.export.generator import GeneratorSettings, export_generator
from interleave_rt.export.pipeline import Pipeline
from interleave_rt.export.place import new_pack
from interleave_rt.export.proof.checks import picture
from interleave_rt.export.proof.sessions import open_session
from PIL import Image

from interleave_rt import Options, Request, _core, load_pack
from interleave_rt.backends.native import generator_config
from interleave_rt.backends.ort import load_runtime
from interleave_rt.cli import main
from interleave_rt.config import EngineConfig
from interleave_rt.errors import BadPackError
from interleave_rt.pack import choose_pack
from interleave_rt.pack.chat import ChatEncoder
from interleave_rt.pack.tokens import TextEncoder
from interleave_rt.roles.reference import run_reference
from interleave_rt.runtimes import PlainRoles, open_backend

ERROR = 2e-4
TAPS = (9, 18, 27)
TOKEN = 8  # pixels of a side
SIDES = 96, 64
WORDS = 64  # that are read of a prompt, of 512
PROMPT = "a red star over 3 hills"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return klein.save(tmp_path_factory.mktemp("published") / "klein")


@pytest.fixture(scope="module")
def library(source: Path) -> Any:
    torch.set_num_threads(1)
    return klein.load(source)


@pytest.fixture(scope="module")
def export(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Any], Any]]:
    """Exports in a precision."""
    asked: list[int] = []

    def place(out: Path, data: int) -> Any:
        asked.append(data)
        return new_pack(out, data)

    def make(precision: Any) -> Any:
        """By the library, and proved; of int4 by the command, without proof."""
        out = tmp_path_factory.mktemp(precision) / "pack"
        if precision == "int4" and "int4" not in LAW_1:
            words = ["export", "generator", source, "--out", out, "--precision", precision, "--no-proof"]
            assert main([*map(str, words), "--steps", "3"]) == 0
        else:
            proved, _ = export_generator(source, out, GeneratorSettings(precision=precision, slots=2))
            assert all(check.passed for check in proved), proved
        taken = sum(file.stat().st_size for file in out.rglob("*.data"))
        assert 0.95 * asked[-1] < taken < 1.06 * asked[-1]  # page borders
        return load_pack(out)

    with traced_once(3), pytest.MonkeyPatch.context() as patched:
        patched.setattr(generator, "new_pack", place)
        yield make


@pytest.fixture(scope="module")
def exported(export: Any) -> Any:
    return export("bf16")


@pytest.fixture(scope="module")
def short(exported: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Reads fewer words, to draw faster."""
    return changed(exported, tmp_path_factory.mktemp("short") / "pack", max_sequence_length=WORDS)


@pytest.fixture(scope="module")
def quantised(export: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Likewise, of int8; its pictures start from up to three."""
    out = tmp_path_factory.mktemp("quantised") / "pack"
    return changed(export("int8"), out, max_sequence_length=WORDS, references=3)


def test_graphs_are_those_of_the_library(library: Any, exported: Any) -> None:
    specs = flux2.generator_specs(library, TAPS)
    role, rng = exported.manifest.roles.generator, np.random.default_rng(1)
    ids, mask = flux2.padded_tokens(library.tokenizer, PROMPT, role.max_sequence_length)
    grids = [flux2.places(time, 3, 4) for time in (0, 10, 20)]
    latents = rng.standard_normal((1, 4, 6, role.latent_channels), dtype=np.float32)
    feeds: dict[str, dict[str, Any]] = {
        "text_encoder": {"input_ids": ids, "attention_mask": mask},
        "transformer": flux2.denoising(role, rng, 2, role.max_sequence_length, np.concatenate(grids)),
        "vae_encoder": {"image": rng.random((1, 3, 64, 96), dtype=np.float32) * 2 - 1},
        "vae_decoder": {"latents": latents},
    }
    for part, feed in feeds.items():
        found = open_session(exported.path / f"generator/{part}.onnx").run(None, feed)[0]
        with torch.no_grad():
            wanted = specs[part].module(*(torch.from_numpy(value) for value in feed.values())).numpy()
        assert np.abs(found - wanted).max() < ERROR, part


def drawn(pack: Any, sources: list[Any], seed: int) -> Any:
    role = pack.manifest.roles.generator
    load_runtime()
    texts = TextEncoder.of_pack(pack.path, pack.manifest)
    native = _core.NativeGenerator(generator_config(pack, role, EngineConfig(), texts))
    ids, mask, _ = texts.generate(PROMPT)
    return native.generate(ids, mask, sources, seed, *SIDES)


def by_library(library: Any, sources: list[Any], seed: int, steps: int, guidance: float) -> Any:
    columns, rows = (side // TOKEN for side in SIDES)
    noise = np.asarray(_core.gaussian_noise(seed, rows * columns * 128)).reshape(1, rows, columns, 128)
    made = library(
        prompt=PROMPT,
        image=[Image.fromarray(one) for one in sources] or None,
        latents=torch.from_numpy(np.ascontiguousarray(noise.transpose(0, 3, 1, 2))),
        width=SIDES[0],
        height=SIDES[1],
        num_inference_steps=steps,
        guidance_scale=guidance,
        max_sequence_length=WORDS,
        output_type="np",
    )
    return np.round(made.images[0] * 255).astype(int)


@pytest.mark.parametrize("references", [0, 2])
def test_pictures_are_those_of_the_library(library: Any, short: Any, references: int) -> None:
    rng = np.random.default_rng(2)
    sources = [picture(rng, 64, 96), picture(rng, 70, 90)][:references]
    close(drawn(short, sources, 7), by_library(library, sources, 7, 4, 1.0))


def test_pictures_with_guidance_are_those_of_the_library(library: Any, short: Any, tmp_path: Path) -> None:
    guided = changed(
        short,
        tmp_path / "guided",
        guidance={"scale": 4.0},
        scheduler={"shift": "fixed", "value": 3.0, "num_inference_steps": 3},
    )
    dynamic = library.scheduler
    library.register_to_config(is_distilled=False)
    library.scheduler = type(dynamic).from_config(dynamic.config, use_dynamic_shifting=False)
    wanted = by_library(library, [], 7, 3, 4.0)
    library.register_to_config(is_distilled=True)
    library.scheduler = dynamic
    close(drawn(guided, [], 7), wanted)
    assert np.abs(wanted - by_library(library, [], 7, 3, 1.0)).max() > 10


def test_schedules_are_the_librarys() -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    for steps, shift, terminal in ((4, 3.0, None), (8, 1.0, 0.02), (30, 2.5, 0.1)):
        theirs = FlowMatchEulerDiscreteScheduler(shift=shift, shift_terminal=terminal)
        theirs.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps))
        found = _core.flow_sigmas(steps, 100, shift, terminal or 0.0)
        assert np.allclose(found, theirs.sigmas.numpy(), rtol=0, atol=2e-7)
    assert list(_core.flow_sigmas(1, 100, 3.0, 0.1)) == [1, 0]  # theirs divides by 0


def test_what_is_not_distilled_gets_guidance(copied: Path) -> None:
    rewrite(copied / "model_index.json", is_distilled=False)
    rewrite(copied / "scheduler/scheduler_config.json", use_dynamic_shifting=False, shift_terminal=0.02)
    told = flux2_written.describe(flux2_written.open_parts(Pipeline.open(copied)))
    assert told["guidance"] == {"scale": 4.0}
    assert told["scheduler"] == {
        "kind": "flow_match_euler",
        "shift": "fixed",
        "value": 3.0,
        "terminal": 0.02,
        "num_inference_steps": 50,
    }


def test_the_manifest_says_what_the_checkpoint_says(exported: Any) -> None:
    role = exported.manifest.roles.generator
    assert (role.max_sequence_length, role.pad_token_id, role.text_dim) == (512, 151_643, 96)
    assert (role.image.width, role.image.height, role.image.multiple_of) == (64 * TOKEN, 64 * TOKEN, TOKEN)
    assert (role.latent_channels, role.token_pixels, role.reference_time) == (128, TOKEN, 10)
    assert role.scheduler.num_inference_steps == 4
    assert role.batch_invariant
    assert {data for part in role.parts.values() for data in part.data} < set(exported.manifest.files)


def test_token_ids_are_those_of_the_pipeline(library: Any, exported: Any) -> None:
    role = exported.manifest.roles.generator
    ours = ChatEncoder(exported.path / role.tokenizer, exported.path / role.chat_template)
    rng = np.random.default_rng(7)
    letters = list('etaoinshrdlu ETAO.,!?\n"{}0123456789äß中文🙂')
    for number in range(100):
        prompt = "".join(rng.choice(letters, int(rng.integers(1, 900 if number % 10 == 0 else 120))))
        ids, mask = flux2.padded_tokens(library.tokenizer, prompt, role.max_sequence_length)
        found = ours.encode_prompt(prompt, role.max_sequence_length, role.pad_token_id)
        assert np.array_equal(found.ids, ids[0])
        assert np.array_equal(found.mask, mask[0])


def test_int8_is_close(short: Any, quantised: Any) -> None:
    first, second = (drawn(pack, [], 7).astype(float) for pack in (short, quantised))
    assert 0 < np.abs(first - second).mean() < 0.1 * first.std()


def test_the_command_writes_a_pack(export: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pack = export("int4")
    role, files = pack.manifest.roles.generator, pack.manifest.files
    size = sum(file.size for file in files.values()) / 1e6
    said = capsys.readouterr().out
    assert said == f"{pack.path}: generator, int4, {len(files)} files, {size:.1f} MB\n"
    assert {part.precision for part in role.parts.values()} == {"int4"}
    assert (role.scheduler.num_inference_steps, role.batch_invariant) == (3, False)
    assert drawn(changed(pack, pack.path.with_name("short"), max_sequence_length=WORDS), [], 7).std() > 10


@pytest.mark.parametrize("precision", LAW_1)
def test_law_1(export: Any, quantised: Any, tmp_path: Path, precision: str) -> None:
    pack = quantised
    if precision != "int8":
        pack = changed(export(precision), tmp_path / "pack", max_sequence_length=WORDS, references=3)
    mixed = choose_pack(None, planner="scripted:", critic="scripted:", generator=f"native:{pack.path}")
    size = {"width": 64, "height": 64, "denoising_steps": 2}
    asked = [
        (f"story {seed}", {"seed": seed, "t_max": 2, "max_steps": 3, **size})
        for seed in range(law_1_requests(3))
    ]
    roles = PlainRoles(open_backend(mixed))
    expected = [run_reference(Request(text), Options(**said), roles) for text, said in asked]
    assert all(len(result["steps"]) == 3 for result in expected)  # the last one starts from two pictures
    check_live(mixed, asked, expected)


def spoil_family(folder: Path) -> str:
    rewrite(folder / "model_index.json", _class_name="SanaPipeline")
    return "is a SanaPipeline; supported are Flux2KleinPipeline"


def spoil_component(folder: Path) -> str:
    rewrite(folder / "model_index.json", text_encoder=["transformers", "T5EncoderModel"])
    return "text_encoder .* is T5EncoderModel"


def spoil_shard(folder: Path) -> str:
    shard = max((folder / "transformer").glob("*.safetensors"))
    shard.unlink()
    return f"{shard.name} is missing"


def spoil_pickles(folder: Path) -> str:
    for file in (folder / "vae").glob("*.safetensors*"):
        file.unlink()
    (folder / "vae/diffusion_pytorch_model.bin").write_bytes(b"\x80")
    return "pickles"


def spoil_shape(folder: Path) -> str:
    rewrite(folder / "transformer/config.json", mlp_ratio=2.0)
    return "config.json asks for"


def spoil_width(folder: Path) -> str:
    rewrite(folder / "transformer/config.json", joint_attention_dim=64)
    return "reads 64 numbers of a word, 3 layers say 96"


def spoil_layers(folder: Path) -> str:
    rewrite(folder / "text_encoder/config.json", num_hidden_layers=20, layer_types=None)
    return "has 20 layers, the pipeline reads layer 27"


def spoil_schedule(folder: Path) -> str:
    rewrite(folder / "scheduler/scheduler_config.json", use_karras_sigmas=True)
    return "use_karras_sigmas True"


def spoil_padding(folder: Path) -> str:
    rewrite(folder / "tokenizer/tokenizer_config.json", padding_side="left")
    return "pads before a prompt"


def spoil_tokenizer(folder: Path) -> str:
    (folder / "tokenizer/tokenizer.json").unlink()
    return "has no tokenizer.json"


def spoil_damaged_tokenizer(folder: Path) -> str:
    file = folder / "tokenizer/tokenizer.json"
    half = file.read_text()[:1000]
    file.unlink()
    file.write_text(half)
    return "copied/tokenizer/tokenizer.json is no tokenizer"


def spoil_pad_token(folder: Path) -> str:
    rewrite(folder / "tokenizer/tokenizer_config.json", pad_token=None)
    return "names no token that fills a prompt up"


def spoil_terminal(folder: Path) -> str:
    rewrite(folder / "scheduler/scheduler_config.json", shift_terminal=1.5)
    return "scheduler.terminal: Input should be less than 1"


SPOILT = [
    spoil_family,
    spoil_component,
    spoil_shard,
    spoil_pickles,
    spoil_shape,
    spoil_width,
    spoil_layers,
    spoil_schedule,
    spoil_padding,
    spoil_tokenizer,
    spoil_damaged_tokenizer,
    spoil_pad_token,
    spoil_terminal,
]


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda one: one.__name__.removeprefix("spoil_"))
def test_what_cannot_be_exported_is_said_before_anything_is_written(
    copied: Path, tmp_path: Path, spoil: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = spoil(copied)
    monkeypatch.setattr(flux2_written, "write", lambda *_, **__: pytest.fail("weights were written"))
    with pytest.raises(BadPackError, match=said):
        export_generator(copied, tmp_path / "out")
