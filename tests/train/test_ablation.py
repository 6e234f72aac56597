"""The ablation: its statistics, the pairing of arms, and two rows from sets to page; what is killed goes on to the same."""

import csv
import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
pytest.importorskip("peft")
pytest.importorskip("datasets")

from interleave_rt.train.ablation import fixed, made, planned, rows  # noqa: E402
from interleave_rt.train.ablation.cells import Cell, Cells  # noqa: E402
from interleave_rt.train.ablation.claims import CLAIMS, Claim, look  # noqa: E402
from interleave_rt.train.ablation.rows import ROWS, Arms, Settings  # noqa: E402
from interleave_rt.train.ablation.run import ablate  # noqa: E402
from interleave_rt.train.ablation.statistics import difference, estimate, value_of  # noqa: E402
from interleave_rt.train.data.oracle import DrawnGenerator  # noqa: E402

from interleave_rt.cli import main  # noqa: E402
from interleave_rt.errors import BadRequestError  # noqa: E402
from interleave_rt.pack import load_pack  # noqa: E402
from interleave_rt.roles.native import NativeRoles  # noqa: E402
from interleave_rt.wire import Verdict  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def shares(hits):
    """A tally of one case a request."""
    hits = np.asarray(hits, np.float64)
    return np.stack([hits, np.ones_like(hits)])[None]


def arms(rng, gain=0.0, seeds=3, requests=300, spread=1.5):
    """Two arms over the same requests, some of which are hard for both."""
    hard = rng.normal(0, spread, requests)
    made = []
    for more in (gain, 0.0):
        p = 1 / (1 + np.exp(-(hard + more)))
        made.append([shares(rng.random(requests) < p) for _ in range(seeds)])
    return made


def test_a_tally_is_a_share_or_a_balanced_accuracy():
    assert value_of(shares([1, 0, 0, 1])) == 0.5
    both = np.array([[[1, 0], [1, 3]], [[3, 3], [4, 4]]], np.float64)
    assert value_of(both) == pytest.approx((1 / 4 + 6 / 8) / 2)
    assert value_of(np.zeros((1, 2, 4))) is None
    assert estimate([np.zeros((1, 2, 4))]).value is None


def test_an_interval_is_about_its_value_and_does_not_know_the_order_of_requests():
    rng = np.random.default_rng(1)
    for _ in range(20):
        (tallies, _) = arms(rng, seeds=rng.integers(1, 5), requests=int(rng.integers(20, 200)))
        found = estimate(tallies)
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.value == pytest.approx(np.mean([value_of(one) for one in tallies]))
        assert found.cases == sum(int(one[:, 1].sum()) for one in tallies)
        turned = estimate([one[..., ::-1] for one in tallies[::-1]])
        assert turned.value == pytest.approx(found.value)
        assert turned.high - turned.low == pytest.approx(found.high - found.low, rel=0.25, abs=0.02)


def test_pairs_narrow_a_difference_and_equal_arms_have_none():
    rng = np.random.default_rng(2)
    more, less = arms(rng, gain=0.7, spread=3.0)
    paired = difference(more, less)
    order = rng.permutation(300)
    apart = difference(more, [one[..., order] for one in less])
    assert paired.value == pytest.approx(apart.value)
    assert paired.high - paired.low < 0.8 * (apart.high - apart.low)
    assert difference(more, more)[:3] == (0, 0, 0)
    turned = difference(less, more)
    assert (turned.value, turned.low, turned.high) == pytest.approx(
        (-paired.value, -paired.high, -paired.low)
    )
    with pytest.raises(ValueError, match="pairs are wanted"):
        difference(more, less[:1])


def test_an_interval_covers_what_is_true_as_often_as_it_says():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(60):
        more, less = arms(rng, requests=80, seeds=2)
        found = difference(more, less)
        hits += found.low <= 0 <= found.high
    assert hits >= 52  # of 60 at 95 %: less has a chance of 1 in 100


def test_seeds_that_differ_widen_an_interval():
    rng = np.random.default_rng(4)
    same = [shares(rng.random(400) < 0.6) for _ in range(5)]
    apart = [shares(rng.random(400) < p) for p in (0.4, 0.5, 0.6, 0.7, 0.8)]
    narrow, wide = estimate(same), estimate(apart)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_a_claim_is_reproduced_or_not_or_undecided():
    rng = np.random.default_rng(5)
    more, less = arms(rng, gain=1.0, requests=600)
    tallies = {
        "a": dict(enumerate([{"x": one} for one in more])),
        "b": dict(enumerate([{"x": one} for one in less])),
    }
    claim = Claim("a > b", "", ("a", "x"), ("b", "x"))
    turned = claim._replace(more=claim.less, less=claim.more)
    assert look(claim, tallies).outcome == "reproduced"
    assert look(turned, tallies).outcome == "not reproduced"
    assert look(claim._replace(margin=look(claim, tallies).difference.value), tallies).outcome == "undecided"
    assert look(claim._replace(same=True), tallies).outcome == "not reproduced"
    assert look(claim._replace(same=True, less=claim.more, margin=0.01), tallies).outcome == "reproduced"
    assert look(claim._replace(less=("c", "x")), tallies) is None
    tallies["b"][0]["x"] = tallies["b"][1]["x"] = tallies["b"][2]["x"] = np.zeros((1, 2, 600))
    assert look(claim, tallies).outcome == "nothing to compare"
    for one in CLAIMS.values():
        assert one.more[0] in ROWS
        assert one.less[0] in ROWS


def test_a_cell_is_made_once_and_its_key_is_its_content(tmp_path):
    calls = []

    def make(name):
        def made(folder, needs):
            calls.append(name)
            assert all((need / "cell.json").exists() for need in needs)
            if name == "late" and calls.count("late") == 1:
                raise KeyboardInterrupt
            return {"x": len(needs)}

        return made

    first = Cell("data", "first", 0, {"a": 1}, make("first"))
    late = Cell("sft", "late", 1, {}, make("late"), (first,))
    cells = Cells(tmp_path)
    with pytest.raises(BadRequestError, match="another run"):
        Cells(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        cells.make(late)
    assert cells.made(late) is None
    assert cells.make(late) == {"x": 1}
    cells.close()
    again = Cells(tmp_path)
    assert again.make(late) == {"x": 1}
    assert calls == ["first", "late", "late"]
    again.close()
    assert Cell("data", "another name", 0, {"a": 1}, make("")).key == first.key
    assert Cell("data", "first", 0, {"a": 2}, make("")).key != first.key
    other = Cell("data", "first", 0, {"a": 2}, make(""))
    assert Cell("sft", "late", 1, {}, make(""), (other,)).key != late.key
    with (tmp_path / "cells.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["kind"], line["label"], line["seed"], line["x"]) for line in lines] == [
        ("data", "first", "0", "0"),
        ("sft", "late", "1", "1"),
    ]


def test_settings_are_looked_at_first(capsys):
    for told, said in (
        ({"rows": ("critic",)}, "there is no row 'critic'"),
        ({"rows": ("critic-rl", "critic-rl")}, "names a row twice"),
        ({"seeds": -1}, "--seeds is -1"),
        ({"scale": 0.0}, "--scale is 0"),
        ({"updates": float("nan")}, "--updates is nan"),
        ({"rl_updates": 11.0}, "--rl-updates is 11"),
        ({"requests": -1}, "--requests is -1"),
        ({"base": "generator"}, "--base is 'generator'"),
    ):
        with pytest.raises(BadRequestError, match=said):
            Settings(**told)
    assert main(["train", "ablation", "--rows", "horses", "--out", "nowhere"]) == 2
    assert "rows are no-planner, planner-sft" in capsys.readouterr().err
    assert Settings.rows_of("critic-rl, no-planner") == ("no-planner", "critic-rl")
    assert Settings.rows_of("") == tuple(ROWS)
    assert Settings(seeds=3).seeds_of("one-agent") == range(2)
    assert Settings(scale=2.0).length(10) == 10
    assert [Settings(requests=few, scale=0.5).sample(100) for few in (0, 20, 80)] == [50, 20, 50]
    assert Settings(scale=0.1, updates=0.5).length(10) == 5
    assert [Settings(updates=6.0, rl_updates=few).length(10, rl=True) for few in (None, 0.6)] == [60, 6]


class Critic:
    """Accepts never, sometimes or always, without words of its own; or cannot be read."""

    def __init__(self, name):
        self.name = name

    def judge(self, before, after, wish, prompt, seed, retry):
        if self.name == "silent":
            return None
        return Verdict(self.name == "yes" or (self.name == "sometimes" and seed % 3 == 0), 0.5)


def test_arms_have_the_same_first_pictures_and_equal_words_give_equal_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(fixed, "generator", lambda: DrawnGenerator(0.5))
    told = fixed.freeze(tmp_path / "items", count=6, seed=1)
    assert told["items"] >= 6
    found, lines = {}, {}
    for name in ("no", "sometimes", "yes", "silent"):
        fixed.judge_all(tmp_path / name, tmp_path / "items", Critic(name))
        found[name] = fixed.critic_tallies(tmp_path / name)
        journal = fixed.Journal(tmp_path / name / "answers.log")
        lines[name] = [tries for line in journal.lines.values() for tries in line["tries"]]
        journal.close()
    firsts = [[tries[0]["right"] for tries in of] for of in lines.values()]
    assert all(one == firsts[0] for one in firsts)
    assert np.mean(firsts[0]) == pytest.approx(told["first right"])
    assert all(len(tries) == 5 and tries[-1]["accepted"] is None for tries in lines["no"])
    for mine, longest in zip(
        lines["sometimes"], lines["no"], strict=True
    ):  # the same words, attempt by attempt
        assert [one["right"] for one in mine] == [one["right"] for one in longest[: len(mine)]]
    assert len({len(mine) for mine in lines["sometimes"]}) > 1
    values = {name: {key: value_of(one) for key, one in of.items()} for name, of in found.items()}
    assert values["yes"]["step/1"] == values["yes"]["step/5"] == values["no"]["step/1"]
    assert (values["yes"]["accepted"], values["yes"]["refused"], values["yes"]["balanced"]) == (1, 0, 0.5)
    assert (values["no"]["accepted"], values["no"]["refused"]) == (0, 1)
    assert values["yes"]["refined"] is None
    assert (values["silent"]["balanced"], values["silent"]["read"], values["no"]["read"]) == (0, 0, 1)
    for name, of in found.items():
        for most in fixed.TRIES:  # prefixes of one run
            right = [tries[:most][-1]["right"] for tries in lines[name]]
            assert value_of(of[f"step/{most}"]) == pytest.approx(np.mean(right))


def test_rows_share_cells_and_the_critic_with_head_room_is_chosen_before_rl(tmp_path, monkeypatch):
    order = []

    def stub(name):
        def make_of(*_, **__):
            def make(folder, needs):
                order.append(folder.name.partition("-")[0])
                length = len(list(tmp_path.glob("critic-*")))
                return {
                    "balanced": (0.7, 0.83, 0.9, 0.95)[min(length, 4) - 1] if name.endswith("critic") else 0.0
                }

            return make

        return make_of

    for name in ("data", "rebuilt", "form_only", "both", "tuned", "frozen"):
        monkeypatch.setattr(made, name, stub(name))
    for name in ("answers_of_critic", "answers_of_planner"):
        monkeypatch.setattr(made, name, stub(name))
    monkeypatch.setattr(made, "base", lambda *_: {})
    cells = Cells(tmp_path)
    arms = Arms(Settings(), cells, export)
    made_by = {row: [arms.arm(row, seed) for seed in (0, 1)] for row in ROWS}
    assert sorted(order) == ["critic"] * 4 + ["data", "items"] + ["sft"] * 4
    told = json.loads(next(tmp_path.glob("choice-*/cell.json")).read_text())["figures"]
    assert told["share"] == 0.25
    assert told["inside"] == 1
    critics = {row: [arm.critic for arm in of if arm.critic] for row, of in made_by.items()}
    answers = [cell.key for of in critics.values() for cell in of]
    answers += [arm.planner.key for of in made_by.values() for arm in of if arm.planner]
    assert len(set(answers)) == len(answers) == 2 * 12 + 2  # one agent has answers of both kinds
    models = {row: [cell.needs[0] for cell in of] for row, of in critics.items() if of}
    for row in ("critic-rl", "rl-no-step", "rl-no-kl"):
        assert [one.needs[0].key for one in models[row]] == [one.key for one in models["critic-sft"]]
    for row in ("small-rl", "small-no-accuracy"):
        assert [one.needs[0].key for one in models[row]] == [one.key for one in models["small-sft"]]
    recipe = {row: of[1].told["recipe"] for row, of in models.items()}
    assert {one["seed"] for one in recipe.values()} == {1}
    assert (recipe["critic-sft"]["steps"], recipe["small-sft"]["steps"], recipe["one-agent"]["steps"]) == (
        300,
        75,
        600,
    )
    changed = {row: (recipe[row]["alpha"], recipe[row]["kl"]) for row in recipe if "alpha" in recipe[row]}
    assert changed == {
        "critic-rl": (0.2, 1e-3),
        "rl-no-step": (1.0, 1e-3),
        "rl-no-kl": (0.2, 0.0),
        "small-rl": (0.2, 1e-3),
        "small-no-accuracy": (0.0, 1e-3),
    }
    cells.close()


TINY = {"scale": 0.008, "updates": 0.004}


@pytest.fixture
def cheap(monkeypatch):
    """Drawn pictures; the embedded models instead of an export."""
    monkeypatch.setattr(fixed, "generator", lambda: DrawnGenerator(0.6))
    monkeypatch.setattr(planned, "generator", lambda: DrawnGenerator(0.6))
    monkeypatch.setattr(rows, "GENERATOR", "drawn,success=0.6")

    def native(role, model, folder, export):
        export(role, model, folder / "pack")
        return NativeRoles(load_pack(), [role], threads=1)

    monkeypatch.setattr(made, "_native", native)


def export(role, model, pack):
    assert (model / "model.safetensors").is_file()
    pack.mkdir(parents=True, exist_ok=True)


def test_two_rows_from_sets_to_page_and_a_killed_run_goes_on_to_the_same(cheap, tmp_path, monkeypatch):
    settings = Settings(rows=("planner-sft", "critic-sft"), seeds=1, **TINY)
    whole = ablate(settings, tmp_path / "a", export)
    document = whole.document()
    assert document["seeds"] == {"planner-sft": [1, 1], "critic-sft": [1, 1]}
    assert "critic-rl" in document["not run"]
    assert document["rows"]["critic-sft"]["balanced"]["cases"] > 0
    assert document["rows"]["planner-sft"]["final"]["seeds"] == 1
    assert document["claims"]["rl"] is None
    page = (tmp_path / "a" / "index.html").read_text()
    assert "not run: critic-rl" in page
    assert (tmp_path / "a" / "ablation.json").is_file()

    class Killed(BaseException):
        pass

    for kind in ("base", "data"):  # a folder is a cell wherever it lies
        (cell,) = (tmp_path / "a").glob(f"{kind}-*")
        shutil.copytree(cell, tmp_path / "b" / cell.name)
    for module, name, after in ((made, "train_sft", 0), (planned, "_plan", 1), (fixed, "_verdict", 3)):
        with monkeypatch.context() as patch:
            left = [after]
            work = getattr(module, name)

            def dying(*given, left=left, work=work, **told):
                if not left[0]:
                    raise Killed
                left[0] -= 1
                return work(*given, **told)

            patch.setattr(module, name, dying)
            with pytest.raises(Killed):
                ablate(settings, tmp_path / "b", export)
    again = ablate(settings, tmp_path / "b", export).document()
    assert json.dumps(again) == json.dumps(document)
    calls = []
    monkeypatch.setattr(made, "train_sft", lambda *_: calls.append(1))
    assert ablate(settings, tmp_path / "b", export).document() == document  # nothing is made again
    assert not calls
