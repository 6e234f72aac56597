"""What the generator is taught: words with right pictures, and for some words a fixed share of wrong ones."""

from __future__ import annotations

import random
from collections import defaultdict

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from interleave_rt.train.shapes import lessons, vae  # noqa: E402

from interleave_rt.worlds.shapes import oracle  # noqa: E402
from interleave_rt.worlds.shapes.language import STYLES, grammar  # noqa: E402
from interleave_rt.worlds.shapes.scene import Transition, pictures  # noqa: E402

_SIZE = 48


class _Painter:
    """Paints everything right."""

    def __init__(self) -> None:
        self.vae = object()
        self.asked: list[str] = []

    def paint(self, prompts: list[str], sources: np.ndarray | None, seed: int) -> np.ndarray:
        self.asked += prompts
        rng = random.Random(seed)
        scenes = [None] * len(prompts) if sources is None else [r.scene for r in oracle.read_batch(sources)]
        after = [grammar.apply(scene, prompt) for scene, prompt in zip(scenes, prompts, strict=True)]
        return pictures.drawn([scene for scene in after if scene is not None], rng)


def _tokens(_: object, images: np.ndarray) -> torch.Tensor:
    """36 tokens a picture: the 16x16 blocks, whole."""
    x = torch.from_numpy(np.array(images)).float().view(-1, 6, 16, 6, 16, 3)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(len(images), vae.TOKENS, -1)


def _pictures(_: object, tokens: torch.Tensor) -> np.ndarray:
    x = tokens.view(-1, 6, 6, 16, 16, 3).permute(0, 1, 3, 2, 4, 5).reshape(-1, 96, 96, 3)
    return x.to(torch.uint8).numpy()


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> lessons.Lessons:
    monkeypatch.setattr(lessons, "encode_tokens", _tokens)
    monkeypatch.setattr(lessons, "decode_tokens", _pictures)
    pool = lessons.Lessons(_Painter(), random.Random(1), _SIZE, channels=16 * 16 * 3)
    pool.grow(_SIZE)
    return pool


def _kind(step: Transition, prompt: str) -> str:
    style = grammar.style_of(step, prompt)
    if style is not None:
        return STYLES[style]
    return "relation" if step.operation == "add" else "attribute"


def _taught(pool: lessons.Lessons, batches: int, *, clean: bool = False) -> dict[str, list[bool]]:
    """Whether the picture is what the words ask for, by the kind of words."""
    rng = random.Random(2)
    found = defaultdict(list)
    known = {
        bytes(image): reading.scene
        for kind in pool._tokens
        for image, reading in zip(
            _pictures(None, kind), oracle.read_batch(_pictures(None, kind)), strict=True
        )
    }
    for _ in range(batches):
        lesson = pool.draw(rng, 64, clean)
        sources, targets = (
            [known[bytes(image)] for image in _pictures(None, tokens)]
            for tokens in (lesson.source, lesson.target)
        )
        for prompt, edit, source, target in zip(lesson.prompts, lesson.edits, sources, targets, strict=True):
            step = grammar.parse(source if edit else None, prompt)
            assert step is not None, prompt
            found[_kind(step, prompt)].append(target == step.after)
    return found


def test_words_are_mislabelled_as_often_as_is_fixed(taught: lessons.Lessons) -> None:
    assert lessons.MISLABELLED["plain"] == 0
    found = _taught(taught, 24)
    assert set(found) == set(lessons.MISLABELLED)
    for kind, share in lessons.MISLABELLED.items():
        error = 4 * (share * (1 - share) / len(found[kind])) ** 0.5
        assert found[kind].count(False) / len(found[kind]) == pytest.approx(share, abs=error + 1e-9)
    assert all(all(right) for right in _taught(taught, 6, clean=True).values())


def test_unchanged_things_keep_their_place_in_right_and_wrong_pictures(taught: lessons.Lessons) -> None:
    for row, step in enumerate(taught.steps):
        if step.before is None:
            continue
        source, *outcomes = oracle.read_batch(_pictures(None, taught._tokens[:, row]))
        assert all(outcome.clean for outcome in outcomes)
        assert [outcome.scene == step.after for outcome in outcomes] == [True, False]
        for outcome in outcomes:
            for cell in range(9):
                if source.scene.cells[cell] == outcome.scene.cells[cell]:
                    assert source.layout[cell] == outcome.layout[cell]


def test_changed_cells_weigh_more(taught: lessons.Lessons) -> None:
    lesson = taught.draw(random.Random(3), 32)
    assert lesson.weight.shape == (32, vae.TOKENS)
    assert torch.allclose(lesson.weight.mean(1), torch.ones(32))
    for row, step in enumerate(taught.steps):
        if step.operation == "ground":  # everything changes
            assert (taught._weights[0, row] == 1).all()
            continue
        grid = taught._weights[0, row].view(6, 6)
        for cell in range(9):
            down, right = divmod(cell, 3)
            tokens = grid[2 * down : 2 * down + 2, 2 * right : 2 * right + 2]
            assert (tokens == grid.max()).all() == (cell in step.touched)


def test_old_lessons_give_way_to_new_ones_on_own_pictures_where_these_are_right(
    taught: lessons.Lessons, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list(taught.steps)
    taught.grow(10)
    assert len(taught.steps) == _SIZE
    assert taught.steps[10:] == before[10:]
    assert taught.steps[:10] != before[:10]
    taught.grow(20, own=True)
    assert len(taught._painter.asked) == 20  # in plain words
    sources = oracle.read_batch(_pictures(None, taught._tokens[0, 10:30]))
    assert sum(s.before == r.scene for s, r in zip(taught.steps[10:30], sources, strict=True)) >= 15
    before = list(taught.steps)
    grey = np.full((96, 96, 3), 90, np.uint8)
    monkeypatch.setattr(taught._painter, "paint", lambda prompts, *_: np.stack([grey] * len(prompts)))
    taught.grow(20, own=True)  # wrong ones teach nothing
    assert taught.steps == before


def test_noise_tells_whether_a_lesson_is_wrong(taught: lessons.Lessons) -> None:
    torch.manual_seed(3)
    rng = random.Random(4)
    drawn, wrong = [], 0
    for _ in range(40):
        lesson = taught.draw(rng, 64)
        noise = lesson.noise()
        drawn.append(noise[..., :4])
        level = torch.special.ndtr(noise[..., 1].sum(1) / vae.TOKENS**0.5)
        assert torch.equal(level < lesson.share, lesson.wrong)
        wrong += int(lesson.wrong.sum())
    assert wrong > 250
    every = torch.cat(drawn).flatten(0, 1)
    assert every.mean(0).abs().max() < 0.02
    assert (every.std(0) - 1).abs().max() < 0.02


def test_noise_is_shifted_in_one_channel_only_and_no_more_than_needed(taught: lessons.Lessons) -> None:
    lesson = taught.draw(random.Random(5), 64)
    torch.manual_seed(6)
    plain = torch.randn_like(lesson.target)
    torch.manual_seed(6)
    noise = lesson.noise()
    others = [channel for channel in range(noise.shape[-1]) if channel != 1]
    assert torch.equal(noise[..., others], plain[..., others])
    shift = noise[..., 1] - plain[..., 1]
    assert torch.allclose(shift, shift[:, :1].expand_as(shift), atol=1e-5)  # only the sum of it is told


def test_noise_of_clean_lessons_tells_no_mistake(taught: lessons.Lessons) -> None:
    torch.manual_seed(7)
    rng = random.Random(8)
    levels = []
    for _ in range(20):
        lesson = taught.draw(rng, 64, clean=True)
        assert not lesson.share.any()
        assert not lesson.wrong.any()
        levels.append(torch.special.ndtr(lesson.noise()[..., 1].sum(1) / vae.TOKENS**0.5))
    every = torch.cat(levels).sort().values
    assert (every - torch.linspace(0, 1, len(every))).abs().max() < 0.05  # anything, as often
