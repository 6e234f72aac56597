"""A few iterations of every part, from nothing to a saved trio that loads and runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from interleave_rt.train.shapes import (  # noqa: E402
    attempts,
    critic,
    evaluate,
    generator,
    oracle,
    planner,
    pool,
    tokenizer,
    vae,
)
from interleave_rt.train.shapes.cli import main  # noqa: E402
from interleave_rt.train.shapes.models import TokenIds, build_text_encoder, build_transformer, build_vlm  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
torch.set_num_threads(1)  # several threads wait for each other on a busy machine


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("trio")
    tokenizer.train_tokenizer(out / "tokenizer", texts=400)
    vae.train_vae(out / "vae", iterations=2, batch=4, tests=16)
    generator.train_generator(
        out / "generator",
        vae_dir=out / "vae",
        tokenizer_dir=out / "tokenizer",
        iterations=3,
        batch=4,
        pool_size=32,
        tests=8,
    )
    attempts.make_pool(out / "pool.pkl", generator_dir=out / "generator", rounds=1, width=8)
    critic.train_critic(
        out / "critic", tokenizer_dir=out / "tokenizer", pool=out / "pool.pkl", iterations=2, batch=4, tests=4
    )
    planner.train_planner(
        out / "planner",
        tokenizer_dir=out / "tokenizer",
        start_from=out / "critic",
        iterations=2,
        batch=2,
        tests=2,
    )
    return out


def test_the_saved_trio_runs(trio: Path) -> None:
    for part in ("vae", "transformer", "text_encoder", "scheduler", "tokenizer"):
        assert (trio / "generator" / part).is_dir()
    studio = generator.load_generator(trio / "generator")
    image = studio.paint(["draw a small red star at the top on a blue background"], None, seed=1)
    again = studio.paint(["remove the star"], image, seed=1)
    assert image.shape == again.shape == (1, 48, 48, 3)
    oracle.read_batch(np.concatenate([image, again]))


def test_weights_are_half_precision_values(trio: Path) -> None:
    from transformers import Qwen3VLForConditionalGeneration

    studio = generator.load_generator(trio / "generator")
    models = [Qwen3VLForConditionalGeneration.from_pretrained(trio / name) for name in ("critic", "planner")]
    for model in (*models, studio.vae, studio.model.transformer, studio.model.text_encoder):
        for weight in model.parameters():
            assert torch.equal(weight, weight.half().float())


def test_the_pool_holds_judged_attempts(trio: Path) -> None:
    found = pool.load_pool(trio / "pool.pkl")
    assert found and all(attempt.image.dtype == np.uint8 for attempt in found)
    for attempt in found[:5]:
        reading = oracle.read(attempt.image)
        assert (reading.scene, reading.clean) == (attempt.seen, attempt.clean)


def test_the_loop_runs_in_torch(trio: Path) -> None:
    figures = evaluate.evaluate(trio, count=2)
    assert set(figures) == {"plans", "T_max 1", "T_max 5"}


def test_resume_goes_on(trio: Path) -> None:
    vae.train_vae(trio / "again", iterations=2, batch=4, tests=16, every=2)
    assert (trio / "again" / "state.pt").exists()
    vae.train_vae(trio / "again", iterations=3, batch=4, tests=16, resume=True)


def test_command_line_trains_the_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shapes", "--part", "tokenizer", "--out", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["tokenizer"]["tokens"] == 1000


def test_the_trio_fits_its_pack() -> None:
    ids = TokenIds(1000, 989, 991, 992, 993, 994, 995)
    parts = [
        vae.build_vae(),
        build_text_encoder(ids),
        build_transformer(vae.LATENT_CHANNELS),
        build_vlm(ids),
        build_vlm(ids),
    ]
    total = sum(sum(weight.numel() for weight in part.parameters()) for part in parts)
    assert total <= 7_300_000
