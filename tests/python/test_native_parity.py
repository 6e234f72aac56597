"""The native runtime against PyTorch: on random weights, and on the embedded trio rebuilt from its own graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

for _needed in ("transformers", "diffusers", "onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(_needed)
torch = pytest.importorskip("torch")

import tiny
from interleave_rt.export.families.flux2 import padded_tokens, pipeline_image
from interleave_rt.export.families.qwen3_vl_proof import hf_generate, make_prompts
from interleave_rt.export.pack import build_roles, load_models, write_manifest
from interleave_rt.export.proof.checks import picture
from interleave_rt.export.recipe import shapes_recipe
from interleave_rt.export.weights import Weights
from interleave_rt.train.shapes.from_pack import load_torch_pack
from PIL import Image

from interleave_rt import Pack, _core, load_pack
from interleave_rt.backends.native import generator_config, vlm_config
from interleave_rt.backends.ort import load_runtime
from interleave_rt.config import EngineConfig
from interleave_rt.pack.tokens import TextEncoder

SEED = 20261121
TOKENS = 40
TIE = 1e-3  # of the two largest logits: float32 sums in another order may choose the other
P_ERROR = 1e-4
pytestmark = pytest.mark.timeout(900)


@dataclass
class Trio:
    pack: Pack
    vlms: dict[str, Any]
    pipeline: Any


@pytest.fixture(scope="module", params=["random", "embedded"])
def trio(request, pack, tmp_path_factory) -> Trio:
    """The embedded pack, and a small one of its architecture with random weights, exported without its proofs."""
    load_runtime()
    torch.set_num_threads(1)
    if request.param == "embedded":
        models = load_torch_pack(pack)
        return Trio(pack, {"planner": models.planner, "critic": models.critic}, models.pipeline)
    root = tmp_path_factory.mktemp("parity")
    weights, recipe = (
        Weights.find(tiny.write_weights(root / "weights", SEED, small=True), {}),
        shapes_recipe(),
    )
    roles, _ = build_roles(root / "pack", weights, load_models(weights, recipe), recipe, print)
    write_manifest(root / "pack", recipe, roles)
    vlms = load_models(weights, recipe)  # anew: the export has changed the others
    pipeline = vlms.pop("generator")
    pipeline.tokenizer = weights.tokenizer("planner")
    return Trio(load_pack(root / "pack"), vlms, pipeline)


def collapsed(ids: np.ndarray, image: int) -> np.ndarray:
    """One image token an image, as the native decoder gets its prompts."""
    repeated = np.zeros(len(ids), bool)
    repeated[1:] = (ids[1:] == image) & (ids[:-1] == image)
    return ids[~repeated]


@pytest.mark.slow
@pytest.mark.parametrize("role", ["planner", "critic"])
def test_greedy_tokens_and_probabilities_are_those_of_generate(trio, role):
    described = getattr(trio.pack.manifest.roles, role)
    config = vlm_config(trio.pack, described, EngineConfig(constrained="off"))
    config["max_new_tokens"] = TOKENS
    control = set(config["special_tokens"])
    verdict = trio.pack.manifest.roles.critic.verdict_tokens
    config["true_tokens"], config["false_tokens"] = list(verdict.true), list(verdict.false)
    native = _core.NativeVlm(config)
    model, tokenizer = trio.vlms[role], trio.pipeline.tokenizer
    vision = model.config.vision_config
    side = int(vision.num_position_embeddings**0.5) * vision.patch_size
    compared = ties = images = 0
    worst = 0.0
    templates = [(trio.pack.path / path).read_text() for path in described.templates.values()]
    for prompt in make_prompts(model, tokenizer, templates, SEED, side):
        tokens, logits = hf_generate(model, prompt, TOKENS)
        answer = native.answer(
            collapsed(prompt.ids, described.architecture.image_token_id), list(prompt.images), 0
        )
        ends = set(described.architecture.eos_token_ids)
        wanted = [token for token in tokens if token not in ends]
        # Ours never draws a control token: up to there both must say the same.
        cut = next((index for index, token in enumerate(wanted) if token in control), None)
        wanted, answer_tokens = wanted[:cut], answer.tokens[:cut]
        images += len(prompt.images)
        for index, (ours, theirs) in enumerate(zip(answer_tokens, wanted, strict=False)):
            row = logits[index].astype(np.float64)
            odds = np.exp(row[list(verdict.true)]).sum(), np.exp(row[list(verdict.false)]).sum()
            worst = max(worst, abs(answer.verdict_p[index] - odds[0] / sum(odds)))
            compared += 1
            if ours != theirs:
                top = np.sort(row)[-2:]
                assert top[1] - top[0] < TIE, f"token {index}: {ours}, generate says {theirs}"
                ties += 1
                break
        else:
            assert len(answer_tokens) == len(wanted)
    print(f"{role}: {compared} tokens, {images} images, {ties} ties, worst error of p {worst:.2e}")
    assert compared > TOKENS
    assert images > 0
    assert worst < P_ERROR


@pytest.mark.slow
def test_images_are_those_of_diffusers(trio):
    role = trio.pack.manifest.roles.generator
    texts = TextEncoder.of_pack(trio.pack.path, trio.pack.manifest)
    native = _core.NativeGenerator(generator_config(trio.pack, role, EngineConfig(), texts))
    rng = np.random.default_rng(SEED)
    side, tokens = role.image.width, role.image.width // role.token_pixels
    worst = 0
    for number in range(6):
        noise = np.asarray(_core.gaussian_noise(number, tokens * tokens * role.latent_channels))
        planes = noise.reshape(tokens, tokens, role.latent_channels).transpose(2, 0, 1)[None].copy()
        source = picture(rng, side, side) if number % 2 else None
        prompt = f"add a small green star at the top left {number}"
        ids, mask = padded_tokens(trio.pipeline.tokenizer, prompt, role.max_sequence_length)
        expected = pipeline_image(
            trio.pipeline,
            shapes_recipe().roles["generator"],
            prompt,
            planes,
            None if source is None else Image.fromarray(source),
        )
        made = native.generate(ids[0], mask[0], [] if source is None else [source], number)
        levels = np.abs(np.asarray(made).astype(int) - np.round(expected * 255).astype(int))
        worst = max(worst, int(levels.max()))
        assert expected.std() > 0.01
    print(f"6 images, 3 with a source: worst difference {worst} of 255")
    assert worst <= 1


@pytest.mark.parametrize("size", [(48, 31, 96, 64), (31, 48, 16, 8), (50, 90, 40, 13), (40, 40, 40, 9)])
def test_resize_is_pillows(size):
    width, height, to_width, to_height = size
    pixels = np.random.default_rng(SEED).integers(0, 256, (height, width, 3), dtype=np.uint8)
    wanted = Image.fromarray(pixels).resize((to_width, to_height), Image.Resampling.BICUBIC)
    assert np.array_equal(_core.resize_bicubic(pixels, to_width, to_height), np.asarray(wanted))


@pytest.mark.parametrize(("steps", "tokens"), [(1, 9), (4, 9), (4, 4096), (28, 4301), (50, 1024)])
def test_sigmas_are_the_schedulers(steps, tokens):
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    mu = compute_empirical_mu(tokens, steps)
    scheduler.set_timesteps(steps, sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    assert np.array_equal(_core.flow_sigmas(steps, tokens), scheduler.sigmas.numpy())


def test_noise_is_its_formula():
    mask = 2**64 - 1

    def mix(x: int) -> int:
        x = (x + 0x9E3779B97F4A7C15) & mask
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    def unit(seed: int, k: int) -> float:
        return ((mix((mix(seed) + k * 0x9E3779B97F4A7C15) & mask) >> 11) + 0.5) * 2.0**-53

    pairs = [(unit(SEED, k), 2 * np.pi * unit(SEED, k + 1)) for k in range(0, 1000, 2)]
    wanted = [
        f
        for u, a in pairs
        for f in (np.sqrt(-2 * np.log(u)) * np.cos(a), np.sqrt(-2 * np.log(u)) * np.sin(a))
    ]
    assert np.allclose(_core.gaussian_noise(SEED, 1000), np.array(wanted, np.float32), rtol=1e-6, atol=1e-7)
