"""A few iterations of every part, from nothing to a saved trio that loads and runs."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from interleave_rt.train import loop  # noqa: E402
from interleave_rt.train.shapes import (  # noqa: E402
    attempts,
    critic,
    evaluate,
    generator,
    planner,
    tokenizer,
    vae,
    vision,
    vlm,
)
from interleave_rt.train.shapes.cli import PARTS, train_parts  # noqa: E402
from interleave_rt.train.shapes.models import (  # noqa: E402
    TokenIds,
    build_text_encoder,
    build_transformer,
    build_vlm,
    deepened,
)
from transformers import Qwen3VLForConditionalGeneration  # noqa: E402

from interleave_rt.errors import BadRequestError  # noqa: E402
from interleave_rt.worlds.shapes import oracle  # noqa: E402
from interleave_rt.worlds.shapes.language import plan_answer  # noqa: E402
from interleave_rt.worlds.shapes.requests import collect, continuing, narrative, outside_request, question  # noqa: E402
from interleave_rt.worlds.shapes.scene import SIDE  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
torch.set_num_threads(1)  # several threads wait for each other on a busy machine


def _train(out: Path) -> Path:
    words = {"tokenizer_dir": out / "tokenizer"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "_LIMIT", 40)  # answers of models that have learned nothing never end
        tokenizer.train_tokenizer(out / "tokenizer", texts=400)
        loop.train(vision.Vision(out / "vision", batch=4, **words), iterations=2)
        loop.train(vae.Vae(out / "vae", batch=2, tests=8), iterations=2)
        painting = generator.Painting(
            out / "generator", vae_dir=out / "vae", batch=4, lessons=32, tests=4, **words
        )
        loop.train(painting, iterations=5)
        cache = out / "attempts.pkl"
        attempts.make_attempts(cache, generator_dir=out / "generator", rounds=1, width=4)
        reader = critic.Reader(out / "base", vision=out / "vision", batch=4, tests=2, **words)
        loop.train(reader, iterations=2, every=2)
        judge = critic.Critic(
            out / "critic", start_from=out / "base", attempts=cache, batch=4, tests=2, **words
        )
        loop.train(judge, iterations=2, every=2)
        plans = planner.Planner(out / "planner", start_from=out / "base", batch=2, tests=2, **words)
        loop.train(plans, iterations=2, every=2)
    return out


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _train(tmp_path_factory.mktemp("trio"))


def test_the_same_run_gives_the_same_weights(trio: Path, tmp_path: Path) -> None:
    again = _train(tmp_path)
    names = sorted(path.relative_to(trio) for path in trio.rglob("*.safetensors"))
    assert {str(name.parts[0]) for name in names} == {"vae", "generator", "base", "critic", "planner"}
    for name in (*names, Path("attempts.pkl"), Path("tokenizer/tokenizer.json")):
        assert (trio / name).read_bytes() == (again / name).read_bytes(), name


def test_the_saved_trio_paints_by_its_seed_and_its_loop_runs(
    trio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("vae", "transformer", "text_encoder", "scheduler", "tokenizer"):
        assert (trio / "generator" / part).is_dir()
    studio = generator.load_generator(trio / "generator")
    words = ["draw a small red star at the top on a blue background"]
    first, same, other = (studio.paint(words, None, seed) for seed in (1, 1, 2))
    assert first.shape == studio.paint(["remove the star"], first, 1).shape == (1, SIDE, SIDE, 3)
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    tokens = vae.encode_tokens(studio.vae, first)
    assert tokens.shape == (1, vae.TOKENS, 4 * vae.LATENT_CHANNELS)
    assert vae.decode_tokens(studio.vae, tokens).shape == first.shape
    answer = evaluate.TorchRoles._answer  # answers of models that have learned nothing never end
    monkeypatch.setattr(evaluate.TorchRoles, "_answer", lambda *asked: answer(*asked[:-1], 40))
    figures = evaluate.evaluate(trio, count=2)
    assert set(figures) == {"T_max 1", "T_max 5"}
    assert all("plans" in found for found in figures.values())


def test_weights_are_half_precision_values_and_the_tower_is_the_one_that_was_taught(trio: Path) -> None:
    taught = torch.load(trio / "vision" / "vision.pt", weights_only=True)
    studio = generator.load_generator(trio / "generator")
    models = [Qwen3VLForConditionalGeneration.from_pretrained(trio / name) for name in ("critic", "planner")]
    for model in (*models, studio.vae, studio.model.transformer, studio.model.text_encoder):
        for weight in model.parameters():
            assert torch.equal(weight, weight.half().float())
    for model in models:
        for key, weight in model.model.visual.state_dict().items():
            assert torch.equal(weight, taught[key].half().float())


def test_the_cache_holds_judged_attempts(trio: Path) -> None:
    found = attempts.load_attempts(trio / "attempts.pkl")
    assert found
    assert all(attempt.image.dtype == np.uint8 for attempt in found)
    for attempt in found[:5]:
        reading = oracle.read(attempt.image)
        assert (reading.scene, reading.clean) == (attempt.seen, attempt.clean)
        # Nobody could see whether a nearer one is right.
        assert abs(reading.worst_rmse - oracle.TOLERANCE) > 0.0199


def test_parts_go_on_from_saved_weights(trio: Path, tmp_path: Path) -> None:
    words = {"tokenizer_dir": trio / "tokenizer"}
    painting = generator.Painting(tmp_path, vae_dir=trio / "vae", start_from=trio / "generator", **words)
    judge = critic.Critic(tmp_path, start_from=trio / "critic", tests=2, **words)
    saved = generator.load_generator(trio / "generator").model
    pairs = [
        (painting.module.generator, saved),
        (judge.module.model, Qwen3VLForConditionalGeneration.from_pretrained(trio / "critic")),
    ]
    for ours, theirs in pairs:
        wanted = theirs.state_dict()
        assert all(torch.equal(weight, wanted[name]) for name, weight in ours.state_dict().items())
    assert not any(weight.requires_grad for weight in judge.module.model.model.visual.parameters())


def test_a_refusal_weighs_no_more_than_a_plan_and_an_answer_in_words_more(trio: Path) -> None:
    encoder = planner.PlanEncoder(tokenizer.load_tokenizer(trio / "tokenizer"))
    heaviest = [
        max(encoder.full(collect(make, "train", 1, "weights")[0], random.Random(1)).weights)
        for make in (narrative, outside_request, question)
    ]
    assert heaviest[0] == heaviest[1] < heaviest[2]


def test_words_are_cut_to_learn_from_and_stay_the_same_text(trio: Path) -> None:
    words = tokenizer.load_tokenizer(trio / "tokenizer")
    encoder = planner.PlanEncoder(words)
    requests = collect(narrative, "train", 60, "cut") + collect(continuing, "train", 20, "cut")
    in_pieces = 0
    for i, request in enumerate(requests):
        whole, again = (encoder.full(request, random.Random(i)) for _ in range(2))
        cut = encoder.full(request, random.Random(i), cut=True)
        assert whole.ids == again.ids
        assert words.decode(cut.ids) == words.decode(whole.ids)
        learned = [token for token, weight in zip(cut.ids, cut.weights, strict=True) if weight]
        assert learned == [token for token, weight in zip(whole.ids, whole.weights, strict=True) if weight]
        in_pieces += cut.ids != whole.ids
    assert 5 < in_pieces < 40  # three in ten, where there are words to cut


def test_a_part_leaves_its_record_and_goes_on_from_its_state(tmp_path: Path) -> None:
    out = tmp_path / "vae"
    for iterations, resume in ((4, False), (6, True)):
        loop.train(vae.Vae(out, batch=2, tests=4, seed=3), iterations=iterations, every=2, resume=resume)
        assert torch.load(out / "state.pt", weights_only=False)["iteration"] == iterations
    with (out / "record" / "curve.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["iteration"] for line in lines] == ["2", "4", "6"]
    assert list(lines[0]) == ["iteration", "seconds", "loss", "rmse", "exact"]
    arguments = json.loads((out / "record" / "config.json").read_text())["arguments"]
    budget = {"iterations": 6, "every": 2, "minutes": None, "anneal": False, "resume": True}
    assert arguments == {"out": str(out), "batch": 2, "tests": 4, "seed": 3, **budget}
    assert json.loads((out / "config.json").read_text())["_class_name"] == "AutoencoderKLFlux2"


class _Killed(Exception):
    pass


@pytest.mark.parametrize("name", ["vision", "vae", "generator", "critic", "planner"])
def test_a_part_that_was_killed_and_resumed_equals_one_that_was_not(
    trio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(planner, "_LIMIT", 40)
    words = {"tokenizer_dir": trio / "tokenizer"}

    def part(out: Path) -> loop.Part:
        made = {
            "vision": lambda: vision.Vision(out, batch=4, **words),
            "vae": lambda: vae.Vae(out, batch=2, tests=2),
            "generator": lambda: generator.Painting(
                out, vae_dir=trio / "vae", batch=4, lessons=32, tests=2, **words
            ),
            "critic": lambda: critic.Critic(
                out, vision=trio / "vision", attempts=trio / "attempts.pkl", batch=4, tests=2, **words
            ),
            "planner": lambda: planner.Planner(out, start_from=trio / "critic", batch=2, tests=2, **words),
        }
        return made[name]()

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    loop.train(part(whole), iterations=4, every=2)
    killed = part(broken)
    lose = killed.loss

    def loss(iteration: int, iterations: int) -> Any:
        if iteration == 3:  # one after the checkpoint, which is lost
            raise _Killed
        return lose(iteration, iterations)

    monkeypatch.setattr(killed, "loss", loss)
    with pytest.raises(_Killed):
        loop.train(killed, iterations=4, every=2)
    loop.train(part(broken), iterations=4, every=2, resume=True)
    files = sorted(path.relative_to(whole) for path in whole.rglob("*.safetensors")) or [Path("vision.pt")]
    for file in files:
        assert (whole / file).read_bytes() == (broken / file).read_bytes(), file


def test_an_average_lies_between_two_models_of_one_shape(trio: Path, tmp_path: Path) -> None:
    ends = [Qwen3VLForConditionalGeneration.from_pretrained(trio / name) for name in ("base", "critic")]
    vlm.average(trio / "base", trio / "critic", 0.25, tmp_path / "mean")
    mean = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path / "mean").state_dict()
    one, other = (model.state_dict() for model in ends)
    moved = 0
    for name, value in mean.items():
        wanted = torch.lerp(one[name], other[name], 0.25)
        assert torch.equal(value, wanted.half().float()), name
        moved += not torch.equal(one[name], other[name])
    assert moved > 0
    with pytest.raises(BadRequestError, match="different shapes"):  # the planner is deeper
        vlm.average(trio / "critic", trio / "planner", 0.5, tmp_path / "none")
    with pytest.raises(BadRequestError, match="--share is 2"):
        vlm.average(trio / "base", trio / "critic", 2.0, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_part_without_its_inputs_does_not_begin(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    with pytest.raises(BadRequestError, match="critic needs .*base") as caught:
        train_parts("critic", tmp_path)
    assert "--part base" in str(caught.value.hint)
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer"]


def test_a_state_that_cannot_be_gone_on_from_is_refused(tmp_path: Path) -> None:
    torch.save({"iteration": 3}, tmp_path / "state.pt")
    with pytest.raises(ValueError, match="earlier version"):
        loop.train(vae.Vae(tmp_path, batch=2, tests=2), iterations=4, resume=True)


def test_the_teachers_plan_is_right_and_another_ones_is_not() -> None:
    groups = [
        collect(make, "validation", 20, "1") for make in (narrative, continuing, question, outside_request)
    ]
    for group in groups:
        for request, other in zip(group, group[1:], strict=False):
            assert planner.plan_is_right(request, plan_answer(request))
            if request.kind != "outside" and other.plan_key != request.plan_key:
                plan = plan_answer(other)
                same_answer = not request.scenes and other.steps == request.steps
                assert same_answer or not planner.plan_is_right(request, plan)
    (outside,), (inside,) = (collect(make, "validation", 1, "1") for make in (outside_request, narrative))
    assert not planner.plan_is_right(outside, plan_answer(inside))
    assert not planner.plan_is_right(outside, "")


def test_the_planner_is_measured_on_requests_that_it_never_trains_on() -> None:
    held = planner.held_out("validation", 5, seed=1)
    assert set(held) == {"narrative", "continuing", "question", "outside"}
    assert {request.split for group in held.values() for request in group} == {"validation"}


def test_a_part_says_what_it_has_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert PARTS[0] == "tokenizer"
    train_parts("tokenizer", tmp_path)
    assert json.loads(capsys.readouterr().out)["tokenizer"]["tokens"] == 1200


def test_the_trio_fits_its_pack() -> None:
    ids = TokenIds(1200, 1189, 1191, 1192, 1193, 1194, 1195)
    parts = [
        vae.build_vae(),
        build_text_encoder(ids),
        build_transformer(vae.LATENT_CHANNELS),
        deepened(build_vlm(ids), planner.LAYERS),
        build_vlm(ids),
    ]
    total = sum(sum(weight.numel() for weight in part.parameters()) for part in parts)
    assert total <= 7_800_000  # two bytes each in a pack of 16 MB


@pytest.mark.parametrize("layers", [4, 5, 6, 8, 9])
def test_a_deepened_model_answers_as_before_and_learns_in_all_its_layers(layers: int) -> None:
    torch.manual_seed(0)
    model = build_vlm(TokenIds(1200, 1189, 1191, 1192, 1193, 1194, 1195))
    ids = torch.randint(1000, (2, 20))
    before = model(ids).logits
    language = deepened(model, layers).model.language_model
    assert len(language.layers) == model.config.text_config.num_hidden_layers == layers
    after = model(ids)
    assert torch.equal(after.logits, before)
    assert len(after.past_key_values) == layers
    after.logits.square().mean().backward()
    assert all(layer.self_attn.o_proj.weight.grad.abs().max() > 0 for layer in language.layers)
    assert len(deepened(model, 3).model.language_model.layers) == layers
