"""Models that share a device: predicted, refused, in turns; whatever moves, not a bit changes."""

from __future__ import annotations

import gc
import json
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from interleave_rt import BadRequestError, Engine, LimitExceededError, Options
from interleave_rt.backends.torch import Opened, TorchGenerator, TorchRoles, TorchVlm, share
from interleave_rt.backends.torch.footprint import Work, demand_of
from interleave_rt.backends.torch.residency import Party, Seat, Weights
from interleave_rt.errors import CancelledError
from interleave_rt.placement import HEAP, RESIDENCIES, peak

SMALL = Work(side=64, prompt=256, answer=40, pictures=2)
MOVING = [name for name in RESIDENCIES if name != "keep"]


def models(vlm: Path, generator: Path, **changes: Any) -> dict[str, Opened]:
    told = {"device": "cpu", **changes}
    answers = {**told, "constrained": "off", "max_new_tokens": 40}
    return {
        "planner": Opened(vlm, answers),
        "critic": Opened(vlm, answers),
        "generator": Opened(generator, {**told, "settings": {"width": 64, "height": 64}}),
    }


def opened(found: Mapping[str, Opened], **how: Any) -> tuple[TorchVlm, TorchGenerator, Any]:
    sharing = share(found, **how)
    stays = sharing.stays
    critic = TorchVlm(found["critic"].directory, "critic", **found["critic"].options, stay=stays["critic"])
    generator = TorchGenerator(
        found["generator"].directory, **found["generator"].options, stay=stays["generator"]
    )
    return critic, generator, sharing


def answers(critic: TorchVlm, generator: TorchGenerator) -> list[Any]:
    source = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    found: list[Any] = []
    for seed in (1, 2):
        made = generator.generate("a red circle", source if seed == 2 else None, seed, Options())
        found += [made.tobytes(), critic.judge(source, made, "a red circle", "a circle", seed, seed - 1)]
    return found


@pytest.fixture(scope="module")
def kept(vlm: Path, klein: Path) -> list[Any]:
    return answers(*opened(models(vlm, klein))[:2])


@pytest.mark.parametrize("residency", MOVING)
def test_what_moves_gives_the_bits_of_what_stays(
    vlm: Path, klein: Path, kept: list[Any], residency: str
) -> None:
    critic, generator, sharing = opened(models(vlm, klein), residency=residency)
    assert answers(critic, generator) == kept
    parties = {id(stay.party): stay.party for stay in sharing.stays.values() if stay.party}
    moved = [one for party in parties.values() for one in party.weights]
    assert moved
    assert all(one.brought for one in moved)
    if residency in ("swap", "parts", "encoder", "stream"):
        assert sum(one.here for one in moved) <= 1
    if residency == "stream":
        assert all(
            one.untyped_storage().nbytes() < 64
            for one in critic._loaded.model.model.language_model.parameters()
        )


def test_files_of_weights_do_not_stay_mapped(klein: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(klein, tmp_path / "klein")
    found = {"generator": Opened(mine, {"device": "cpu"})}
    generator = TorchGenerator(mine, device="cpu", stay=share(found, residency="swap").stays["generator"])
    gc.collect()
    assert str(mine) not in Path("/proc/self/maps").read_text()
    made = generator.generate("a red circle", None, 1, Options())
    assert np.array_equal(
        made, TorchGenerator(klein, device="cpu").generate("a red circle", None, 1, Options())
    )


def test_a_text_encoder_that_sees_pictures_moves_too(vlm: Path, qwen_edit: Path, small_sources: None) -> None:
    found = models(vlm, qwen_edit)
    expected = answers(*opened(found)[:2])
    for residency in ("parts", "stream"):
        assert answers(*opened(found, residency=residency)[:2]) == expected


def test_law_1_holds_in_turns_and_nothing_thrashes(embedded: TorchRoles) -> None:
    folders = {
        "planner": embedded.planner._loaded.directory,
        "critic": embedded.critic._loaded.directory,
        "generator": embedded.generator.directory,
    }
    answers = ",max_new_tokens=255,constrained=off"
    specs = {
        role: f"torch:{folder},device=cpu" + (answers if role != "generator" else "")
        for role, folder in folders.items()
    }
    told = {**specs, "prompts": folders["planner"].parent / "prompts"}
    asked = Options(seed=3, t_max=2, max_steps=2, width=96, height=96, speculation="off")
    with Engine.load(**told) as engine:
        expected = engine.run("Draw a snowman step by step", options=asked).canonical()
    with Engine.load(**told, residency="swap") as engine:
        for speculation in ("auto", "depth=3"):
            options = replace(asked, speculation=speculation)
            handles = [engine.submit("Draw a snowman step by step", options=options) for _ in range(2)]
            for handle in handles:
                result = handle.finished(120).result
                assert result.canonical() == expected
                assert result.pack["memory of cpu"].startswith("swap: ")
            if speculation == "auto":  # nothing is begun ahead that would only wait
                assert engine.counters()["generator"]["speculated"] == 0
        moved = {one.serves[0]: one.roles._stay.party.weights[0].brought for one in engine.backend.backends}
        started = engine.counters()
        assert all(1 <= moved[role] <= started[role]["started"] for role in ("generator", "critic"))


def test_parties_take_turns_in_the_order_of_asking_and_all_of_one_together() -> None:
    seat, one, other = Seat(), Party("one"), Party("other")
    order: list[str] = []
    hold = threading.Event()

    def work(party: Party, name: str) -> None:
        with seat.take(party, lambda: False):
            order.append(name)
            if name == "first":
                hold.wait(10)

    names = [(one, "first"), (other, "a"), (one, "b"), (other, "c")]
    threads = []
    for party, name in names:
        threads.append(threading.Thread(target=work, args=(party, name)))
        threads[-1].start()
        until = time.monotonic() + 5
        while len(seat._queue) + len(order) < len(threads) and time.monotonic() < until:
            time.sleep(0.001)
    assert order == ["first"]  # "b" is of its party, and yet waits behind those who asked before
    with pytest.raises(CancelledError), seat.take(other, lambda: True):
        pass
    hold.set()
    for thread in threads:
        thread.join(10)
    assert sorted(order[1:3]) == ["a", "c"]
    assert order[3] == "b"


class CountingCard:
    """PyTorch with a card that is host memory; what is copied to it is counted."""

    def __init__(self, torch: Any) -> None:
        self._torch, self.copied = torch, 0
        nothing = lambda *_: None  # noqa: E731
        stream = SimpleNamespace(synchronize=nothing)
        self.cuda = SimpleNamespace(synchronize=nothing, empty_cache=nothing, current_stream=lambda _: stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._torch, name)

    def empty(self, size: int, *, dtype: Any, device: Any = None, pin_memory: bool = False) -> Any:
        assert pin_memory == (device is None)
        self.copied += 0 if device is None else size
        return self._torch.empty(size, dtype=dtype)


def test_weights_of_a_card_rest_in_host_memory_and_are_copied_one_way() -> None:
    import torch

    card = CountingCard(torch)
    left: list[int] = []
    layer = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8)).eval()
    given = torch.randn(3, 8)
    expected = layer(given)
    tensors = [*layer.parameters(), *layer.buffers()]
    weights = Weights(card, tensors, SimpleNamespace(type="cuda"), lambda: left.append(1))
    resting = layer[0].weight.data_ptr()
    for _ in range(2):
        weights.bring()
        weights.bring()
        assert layer[0].weight.data_ptr() != resting
        assert torch.equal(layer(given), expected)
        weights.put_away()
        assert layer[0].weight.data_ptr() == resting
    assert (weights.brought, len(left), card.copied) == (2, 2, 2 * weights.bytes)


def test_max_memory_chooses_the_quickest_way_that_keeps_to_it(vlm: Path, klein: Path) -> None:
    found = models(vlm, klein)
    whole = share(found, work=SMALL)
    assert (whole.arrangements["cpu"].residency, whole.overlaps) == ("keep", True)
    demands = whole.demands["cpu"]
    assert {demand.roles for demand in demands} == {("planner", "critic"), ("generator",)}
    sizes = {name: peak(demands, name) for name in ("keep", "encoder", "swap", "parts")}
    for name, size in sizes.items():
        chosen = share(found, max_memory=int(size + HEAP) + 1, work=SMALL).arrangements["cpu"]
        assert chosen.peak <= size + 1
        assert RESIDENCIES.index(chosen.residency) <= RESIDENCIES.index(name)
        assert f"{chosen.residency}: " in chosen.why
    assert not share(found, max_memory=int(sizes["swap"] + HEAP) + 1, work=SMALL).overlaps


REFUSED: list[tuple[dict[str, Any], type, str, str]] = [
    ({"max_memory": "33MB"}, LimitExceededError, "however they take turns; 1 MB may be used", "at least"),
    ({"max_memory": "much"}, BadRequestError, "'much' is no size", "write 12GB"),
    ({"residency": "fly"}, BadRequestError, "'fly'", "keep or release"),
]


@pytest.mark.parametrize(("how", "kind", "said", "hint"), REFUSED)
def test_refusals(vlm: Path, klein: Path, how: dict[str, Any], kind: type, said: str, hint: str) -> None:
    with pytest.raises(kind, match=said) as caught:
        share(models(vlm, klein), work=SMALL, **how)
    assert hint in caught.value.hint


def test_what_does_not_fit_is_told_what_would(
    vlm: Path, klein: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from interleave_rt.backends.torch import sharing

    found = models(vlm, klein, dtype="float32")
    demands = share(found, work=SMALL).demands["cpu"]
    enough = (peak(demands, "keep") + peak(demands, "parts")) / 2
    monkeypatch.setattr(sharing, "free_bytes", lambda _: int(enough))
    with pytest.raises(LimitExceededError, match="residency keep; .* may be used") as caught:
        share(found, work=SMALL)
    assert caught.value.hint.startswith("what would fit: residency ")
    assert "dtype=bfloat16 (keep, " in caught.value.hint
    compiled = {**found, "critic": Opened(vlm, {**found["critic"].options, "compile": True})}
    with pytest.raises(BadRequestError, match="critic is compiled"):
        share(compiled, residency="swap", work=SMALL)


def test_a_demand_is_read_from_configuration_alone(vlm: Path, klein: Path) -> None:
    for folder, roles in ((vlm, ("critic",)), (klein, ("generator",))):
        full, half = (demand_of(folder, dtype, "cpu", roles, SMALL) for dtype in ("float32", "bfloat16"))
        sizes = [sum(part.weights for part in demand.parts) for demand in (full, half)]
        assert sizes[0] == pytest.approx(2 * sizes[1], rel=1e-4)
        assert all(0 < part.layer <= part.layers <= part.weights or not part.layers for part in full.parts)
    longer = demand_of(vlm, "float32", "cpu", ("critic",), Work(side=64, prompt=256, answer=1040, pictures=2))
    demand = demand_of(vlm, "float32", "cpu", ("critic",), SMALL)
    text = json.loads((vlm / "config.json").read_text())["text_config"]
    token = 2 * 4 * text["num_hidden_layers"] * text["num_key_value_heads"] * text["head_dim"]
    assert longer.parts[0].state - demand.parts[0].state == 1000 * token


def held(*modules: Any) -> int:
    """Bytes of parameters and buffers."""
    found = {id(one): one for module in modules for one in (*module.parameters(), *module.buffers())}
    return sum(one.nbytes for one in found.values())


@pytest.mark.parametrize("family", ["vlm", "klein", "qwen_edit"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_predicted_weights_are_those_that_are_loaded(
    request: pytest.FixtureRequest, family: str, dtype: str
) -> None:
    folder = request.getfixturevalue(family)
    role = "critic" if family == "vlm" else "generator"
    parts = demand_of(folder, dtype, "cpu", (role,), SMALL).parts
    if family == "vlm":
        loaded = [
            held(TorchVlm(folder, "critic", device="cpu", dtype=dtype, constrained="off")._loaded.model)
        ]
    else:
        loaded = [held(*part) for part in TorchGenerator(folder, device="cpu", dtype=dtype).parts()]
    assert [part.weights for part in parts] == pytest.approx(loaded, rel=0.01)


def test_predicted_keys_and_values_are_those_that_are_kept(vlm: Path) -> None:
    critic = TorchVlm(vlm, "critic", device="cpu", constrained="off", max_new_tokens=40)
    picture = np.zeros((48, 48, 3), np.uint8)
    critic.judge(picture, picture + 1, "a", "b", 0, 0)
    prefixes = list(critic._loaded.decoder._prefixes._kept.values())
    kept = sum(layer.keys.nbytes + layer.values.nbytes for cache in prefixes for layer in cache.layers)
    lengths = [cache.layers[0].keys.shape[2] for cache in prefixes]
    assert len(lengths) == 2
    one, two = (
        demand_of(vlm, "float32", "cpu", ("critic",), Work(side=48, prompt=256, answer=answer, pictures=0))
        for answer in (0, sum(lengths))
    )
    assert two.parts[0].state - one.parts[0].state == kept


@pytest.mark.parametrize("residency", ["swap", "parts"])
def test_no_more_weights_are_there_at_once_than_predicted(
    vlm: Path, klein: Path, monkeypatch: pytest.MonkeyPatch, residency: str
) -> None:
    seen: list[int] = []
    bring = Weights.bring

    def counted(weights: Weights) -> None:
        bring(weights)
        seen.append(sum(one.bytes for party in parties for one in party.weights if one.here))

    critic, generator, sharing = opened(models(vlm, klein), residency=residency, work=SMALL)
    parties = {stay.party for stay in sharing.stays.values() if stay.party}
    monkeypatch.setattr(Weights, "bring", counted)
    answers(critic, generator)
    parts = [part.weights for demand in sharing.demands["cpu"] for part in demand.parts]
    whole = [sum(part.weights for part in demand.parts) for demand in sharing.demands["cpu"]]
    assert max(seen) <= 1.05 * max(parts if residency == "parts" else whole) + (1 << 16)
