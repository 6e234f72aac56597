"""`export generator`: packs from Qwen-Image-Edit folders in the layout of the published ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qwen_edit_checkpoints as edit
import torch
from exporting import LAW_1, changed, check_live, close, law_1_requests, rewrite, traced_once
from interleave_rt.export.families import qwen_image_graphs, qwen_image_written
from interleave_rt.export.generator import GeneratorSettings, export_generator
from interleave_rt.export.pipeline import Pipeline
from interleave_rt.export.proof.checks import picture
from interleave_rt.export.proof.sessions import open_session
from PIL import Image

from interleave_rt import Options, Request, _core, load_pack
from interleave_rt.backends.native import generator_config
from interleave_rt.backends.ort import load_runtime
from interleave_rt.backends.torch.processors import tell_pictures
from interleave_rt.config import EngineConfig
from interleave_rt.errors import BadPackError, BadRequestError
from interleave_rt.pack import choose_pack
from interleave_rt.pack.tokens import TextEncoder
from interleave_rt.roles.reference import run_reference
from interleave_rt.runtimes import PlainRoles, open_backend

ERROR = 2e-4
TOKEN = 8  # pixels of a side
SIDES = 96, 64
STEPS = 3
PROMPT = "make the hat red, and\n the sky dark"
AREAS = {"seen_area": edit.SEEN, "encoded_area": edit.ENCODED}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return edit.save(tmp_path_factory.mktemp("published") / "edit")


@pytest.fixture(scope="module")
def library(source: Path) -> Iterator[Any]:
    """The pipeline, with pictures of the tests' areas, and with the positions that its text encoder was made for."""
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as module

    torch.set_num_threads(1)
    loaded = edit.load(source)
    tell_pictures(loaded)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "CONDITION_IMAGE_SIZE", edit.SEEN)
        patched.setattr(module, "VAE_IMAGE_SIZE", edit.ENCODED)
        yield loaded


@pytest.fixture(scope="module")
def export(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Any], Any]]:
    """Exports in a precision."""

    def make(precision: Any) -> Any:
        out = tmp_path_factory.mktemp(precision) / "pack"
        settings = GeneratorSettings(precision=precision, slots=2, references=3)
        proved, _ = export_generator(source, out, settings)
        assert all(check.passed for check in proved), proved
        return load_pack(out)

    with traced_once(4):
        yield make


@pytest.fixture(scope="module")
def exported(export: Any) -> Any:
    return export("bf16")


def with_small_pictures(pack: Any, out: Path) -> Any:
    return changed(
        pack,
        out,
        image={"width": 64, "height": 64, "multiple_of": TOKEN, "min": 32, "max": 128},
        conditioning=pack.manifest.roles.generator.conditioning.model_dump() | AREAS,
    )


@pytest.fixture(scope="module")
def small(exported: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return with_small_pictures(exported, tmp_path_factory.mktemp("small") / "pack")


@pytest.fixture(scope="module")
def quantised(export: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return with_small_pictures(export("int8"), tmp_path_factory.mktemp("quantised") / "pack")


def pictures(count: int) -> list[Any]:
    rng = np.random.default_rng(2)
    return [picture(rng, *sides) for sides in ((64, 96), (90, 70), (50, 50))[:count]]


def test_the_manifest_says_what_the_checkpoint_says(exported: Any) -> None:
    role = exported.manifest.roles.generator
    assert (role.family, role.latent_channels, role.text_dim, role.token_pixels) == (
        "qwen_image",
        64,
        128,
        TOKEN,
    )
    assert (role.max_sequence_length, role.pad_token_id) == (1024 + 64, 151_643)
    assert role.guidance.model_dump() == {"scale": 4.0, "negative": " ", "rescale": True}
    assert role.scheduler.model_dump(exclude_none=True) == {
        "kind": "flow_match_euler",
        "shift": "linear",
        "line": ((256, 0.5), (8192, 0.9)),
        "terminal": 0.02,
        "num_inference_steps": 40,
    }
    seen = role.conditioning
    assert (seen.image_token_id, seen.skip, seen.seen_area, seen.encoded_area) == (
        151_655,
        64,
        384**2,
        1024**2,
    )
    assert (seen.vision_config.min_pixels, seen.vision_config.max_pixels) == (3136, 12_845_056)
    assert role.batch_invariant


def test_graphs_are_those_of_the_library(library: Any, exported: Any) -> None:
    role, rng = exported.manifest.roles.generator, np.random.default_rng(1)

    def found(part: str, **feed: Any) -> Any:
        return torch.from_numpy(open_session(exported.path / f"generator/{part}.onnx").run(None, feed)[0])

    def noise(*shape: int) -> Any:
        return rng.standard_normal(shape, dtype=np.float32)

    errors = {}
    with torch.no_grad():
        eyes = library.text_encoder.model.visual
        for grid in ((12, 6), (10, 14)):
            values, said = noise(grid[0] * grid[1], 3 * 2 * 14 * 14), np.array([[1, *grid]])
            wanted = eyes(torch.from_numpy(values), torch.from_numpy(said)).pooler_output
            errors[f"vision {grid}"] = found("vision", pixel_values=values, grid_thw=said) - wanted
        sides = ((4, 6), (3, 5), (5, 2))
        feed = qwen_image_graphs.denoising(role, rng, 2, 7, sides)
        wanted = library.transformer(
            hidden_states=torch.from_numpy(feed["hidden_states"]),
            encoder_hidden_states=torch.from_numpy(feed["encoder_hidden_states"]),
            timestep=torch.from_numpy(feed["timestep"]),
            img_shapes=[[(1, *side) for side in sides]] * 2,
            return_dict=False,
        )[0]
        errors["transformer"] = found("transformer", **feed) - wanted
        mean, std = (
            torch.tensor(library.vae.config[name]).view(1, -1, 1, 1, 1)
            for name in ("latents_mean", "latents_std")
        )
        image = noise(1, 3, 64, 96)
        latents = (library.vae.encode(torch.from_numpy(image).unsqueeze(2)).latent_dist.mode() - mean) / std
        packed = library._pack_latents(latents, 1, 16, *latents.shape[3:]).reshape(1, 8, 12, 64)
        errors["vae_encoder"] = found("vae_encoder", image=image) - packed
        wanted = library.vae.decode(latents * std + mean, return_dict=False)[0][:, :, 0]
        errors["vae_decoder"] = found("vae_decoder", latents=packed.numpy()) - wanted
    assert all(gap.abs().max() < ERROR for gap in errors.values()), {
        name: gap.abs().max() for name, gap in errors.items()
    }


def test_a_denoiser_without_clean_sources_is_that_of_the_library(exported: Any) -> None:
    """Of checkpoints without `zero_cond_t`, before any trace."""
    whole = edit.pipeline(zero_cond_t=False)
    sides = ((4, 6), (3, 5))
    role, rng = exported.manifest.roles.generator, np.random.default_rng(1)
    feed = {
        name: torch.from_numpy(value)
        for name, value in qwen_image_graphs.denoising(role, rng, 2, 7, sides).items()
    }
    module = qwen_image_graphs.drawing_specs(whole.transformer, whole.vae)["transformer"].module
    with torch.no_grad():
        found = module(**feed)
        wanted = whole.transformer(
            **{name: feed[name] for name in ("hidden_states", "encoder_hidden_states", "timestep")},
            img_shapes=[[(1, *side) for side in sides]] * 2,
            return_dict=False,
        )[0]
    assert (found - wanted).abs().max() < ERROR


def native(pack: Any) -> tuple[Any, TextEncoder]:
    role = pack.manifest.roles.generator
    load_runtime()
    texts = TextEncoder.of_pack(pack.path, pack.manifest)
    return _core.NativeGenerator(generator_config(pack, role, EngineConfig(), texts)), texts


@pytest.mark.parametrize("references", [0, 1, 2])
def test_pictures_are_those_of_the_library(library: Any, small: Any, references: int) -> None:
    generator, texts = native(small)
    sources = pictures(references)
    ids, mask, _ = texts.generate(PROMPT)
    found = generator.generate(ids, mask, sources, 7, *SIDES, STEPS)
    columns, rows = (side // TOKEN for side in SIDES)
    white = np.full((SIDES[1], SIDES[0], 3), 255, np.uint8)
    made = library(
        prompt=PROMPT,
        negative_prompt=" ",
        image=[Image.fromarray(one) for one in sources or [white]],
        latents=torch.from_numpy(np.array(_core.gaussian_noise(7, rows * columns * 64)).reshape(1, -1, 64)),
        width=SIDES[0],
        height=SIDES[1],
        num_inference_steps=STEPS,
        true_cfg_scale=4.0,
        output_type="np",
    )
    close(found, np.round(made.images[0] * 255).astype(int))
    others = [generator.generate(*texts.generate("a cat")[:2], sources, 7, *SIDES, STEPS)]
    if references > 1:
        others.append(generator.generate(ids, mask, sources[::-1], 7, *SIDES, STEPS))
    assert all(np.abs(found.astype(int) - other).max() > 10 for other in others)


def test_token_ids_are_those_of_the_pipeline(library: Any, exported: Any) -> None:
    texts = TextEncoder.of_pack(exported.path, exported.manifest)
    between = texts.between_pictures(3)
    rng = np.random.default_rng(7)
    letters = list('etaoinshrdlu ETAO.,!?\n"{}0123456789äß中文🙂')
    mark = exported.manifest.roles.generator.conditioning.image_token_id
    for number in range(200):
        count = 1 + number % 3
        prompt = "".join(rng.choice(letters, int(rng.integers(1, 300))))
        named = "".join(
            f"Picture {at + 1}: <|vision_start|><|image_pad|><|vision_end|>" for at in range(count)
        )
        whole = library.prompt_template_encode.format(named + prompt)
        wanted = library.processor.tokenizer(whole).input_ids
        encoded = texts.generate(prompt)
        ids = encoded.ids[: encoded.mask.sum()].tolist()
        place = ids.index(mark)
        gaps = [token for gap in between[: count - 1] for token in (*gap, mark)]
        assert [*ids[: place + 1], *gaps, *ids[place + 1 :]] == wanted
        assert not encoded.truncated


def test_sides_of_a_picture_are_those_of_its_last_source(small: Any) -> None:
    from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import calculate_dimensions

    generator, texts = native(small)
    ids, mask, _ = texts.generate("x")
    rng = np.random.default_rng(4)
    for _ in range(50):
        width, height = (int(side) for side in rng.integers(20, 120, 2))
        sources = [np.zeros((50, 50, 3), np.uint8)] * int(width < 30)
        made = generator.generate(ids, mask, [*sources, np.zeros((height, width, 3), np.uint8)], 1, 0, 0, 1)
        assert made.shape[1::-1] == calculate_dimensions(edit.ENCODED, width / height)
    wide = np.zeros((40, 90, 3), np.uint8)
    for sources, said in (([*pictures(3), wide], "takes 1 to 3"), ([wide[:1]], "too narrow")):
        with pytest.raises(_core.CoreError, match=said):
            generator.generate(ids, mask, sources, 1, 0, 0, 1)


def test_schedules_are_the_librarys() -> None:
    from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import calculate_shift

    theirs = edit.scheduler()
    for steps, tokens in ((40, 4096), (8, 100), (3, 9000)):
        mu = calculate_shift(tokens, 256, 8192, 0.5, 0.9)
        theirs.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
        found = _core.flow_sigmas(steps, tokens, 0.0, 0.02, [256, 0.5, 8192, 0.9])
        assert np.allclose(found, theirs.sigmas.numpy(), rtol=0, atol=2e-7)


def test_int8_is_close(small: Any, quantised: Any) -> None:
    found = []
    for pack in (small, quantised):
        generator, texts = native(pack)
        ids, mask, _ = texts.generate(PROMPT)
        found.append(generator.generate(ids, mask, pictures(1), 7, 64, 64, 2).astype(float))
    assert 0 < np.abs(found[0] - found[1]).mean() < 0.1 * found[0].std()


@pytest.mark.parametrize("precision", LAW_1)
def test_law_1(export: Any, quantised: Any, tmp_path: Path, precision: str) -> None:
    pack = quantised
    if precision != "int8":
        pack = with_small_pictures(export(precision), tmp_path / "pack")
    mixed = choose_pack(None, planner="scripted:", critic="scripted:", generator=f"native:{pack.path}")
    size = {"width": 32, "height": 32, "denoising_steps": 1}
    asked = [
        (f"story {seed}", {"seed": seed, "t_max": 2, "max_steps": 3, **size})
        for seed in range(law_1_requests(2))
    ]
    roles = PlainRoles(open_backend(mixed))
    expected = [run_reference(Request(text), Options(**said), roles) for text, said in asked]
    assert all(len(result["steps"]) == 3 for result in expected)
    check_live(mixed, asked, expected)


def test_what_an_elder_checkpoint_says(copied: Path) -> None:
    """2509 has no `zero_cond_t`; distilled ones have a fixed shift."""
    rewrite(copied / "transformer/config.json", zero_cond_t=False)
    rewrite(
        copied / "scheduler/scheduler_config.json", use_dynamic_shifting=False, shift=3.0, shift_terminal=None
    )
    parts = qwen_image_written.open_parts(Pipeline.open(copied))
    told = qwen_image_written.describe(parts)["scheduler"]
    assert told == {"kind": "flow_match_euler", "shift": "fixed", "value": 3.0, "num_inference_steps": 40}
    assert not parts.transformer[0].zero_cond_t


def spoil_width(folder: Path) -> str:
    rewrite(folder / "transformer/config.json", joint_attention_dim=64)
    return "reads 64 numbers of a word, the text encoder says 128"


def spoil_channels(folder: Path) -> str:
    rewrite(folder / "vae/config.json", z_dim=8)
    return "reads 64 channels, the codec packs 32"


def spoil_layers_of_pictures(folder: Path) -> str:
    rewrite(folder / "transformer/config.json", use_layer3d_rope=True)
    return "takes more than pictures, words and the time"


def spoil_processor(folder: Path) -> str:
    (folder / "processor/preprocessor_config.json").unlink()
    return "its processor says nothing of pictures"


def spoil_schedule(folder: Path) -> str:
    rewrite(folder / "scheduler/scheduler_config.json", time_shift_type="linear")
    return "time_shift_type linear"


def spoil_shard(folder: Path) -> str:
    shard = max((folder / "text_encoder").glob("*.safetensors"))
    shard.unlink()
    return f"{shard.name} is missing"


def spoil_tokenizer(folder: Path) -> str:
    (folder / "processor/tokenizer.json").unlink()
    return "has no tokenizer.json"


SPOILT = [
    spoil_width,
    spoil_channels,
    spoil_layers_of_pictures,
    spoil_processor,
    spoil_schedule,
    spoil_shard,
    spoil_tokenizer,
]


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda one: one.__name__.removeprefix("spoil_"))
def test_what_cannot_be_exported_is_said_before_anything_is_written(
    copied: Path, tmp_path: Path, spoil: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = spoil(copied)
    monkeypatch.setattr(qwen_image_written, "write", lambda *_, **__: pytest.fail("weights were written"))
    with pytest.raises((BadPackError, BadRequestError), match=said):
        export_generator(copied, tmp_path / "out")
