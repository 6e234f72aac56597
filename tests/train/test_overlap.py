"""Pictures that are made while answers are written, and the times of an update's parts."""

import csv
import threading

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
pytest.importorskip("peft")
pytest.importorskip("datasets")

from interleave_rt.train import grpo  # noqa: E402
from interleave_rt.train.data.oracle import DrawnGenerator, Oracle  # noqa: E402
from interleave_rt.train.grpo import train_grpo  # noqa: E402
from interleave_rt.train.regenerate import Regenerator  # noqa: E402
from interleave_rt.train.times import Clock  # noqa: E402
from small_recipes import grpo_recipe  # noqa: E402
from tuned import curve, equal, weights  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
torch.set_num_threads(1)
_WAIT_S = 120.0  # for another thread; only a test that fails waits so long


def times(folder):
    with (folder / "record" / "times.csv").open(newline="") as file:
        return [{name: float(value) for name, value in line.items()} for line in csv.DictReader(file)]


def test_no_bit_depends_on_overlap_and_memo(place, tmp_path):
    more = {"at_once": 2, "temperature": 1.0}
    train_grpo(grpo_recipe(place, **more), tmp_path / "both")
    train_grpo(grpo_recipe(place, overlap=False, memo=False, **more), tmp_path / "neither")
    assert equal(weights(tmp_path / "both"), weights(tmp_path / "neither"))
    assert curve(tmp_path / "both", "memo") == curve(tmp_path / "neither", "memo")
    known = [[float(line["memo"]) for line in curve(tmp_path / name)] for name in ("both", "neither")]
    assert max(known[0]) > 0
    assert known[1] == [0, 0]
    # what a run was begun without, it may go on with
    (tmp_path / "neither" / "model.safetensors").unlink()
    train_grpo(grpo_recipe(place, steps=3, **more), tmp_path / "neither", resume=True)
    assert [line["iteration"] for line in times(tmp_path / "neither")] == [1, 2, 3]


class Slow(DrawnGenerator):
    """Its first picture is not there before the reference's probabilities are computed."""

    def __init__(self):
        super().__init__()
        self.begun, self.let_go = threading.Event(), threading.Event()

    def generate(self, *given):
        self.begun.set()
        assert self.let_go.wait(_WAIT_S)
        return super().generate(*given)


@pytest.mark.parametrize("overlap", [True, False])
def test_pictures_are_made_while_answers_are_written_and_the_reference_is_computed(
    place, tmp_path, monkeypatch, overlap
):
    slow, seen = Slow(), []
    put, look = grpo._Listener.put, grpo._Trainer._get_per_token_logps_and_entropies
    turn = grpo._Trainer._generate_single_turn

    def heard(self, value):
        put(self, value)
        if begun and not seen:
            assert slow.begun.wait(_WAIT_S)
            seen.append(("answers still written", len(self._open)))

    def written(self, *given, **more):
        made = turn(self, *given, **more)
        seen.append(("all are written", slow.begun.is_set()))
        return made

    def looked(self, *given, **more):
        if self._scoring:
            seen.append(("reference", slow.begun.is_set()))
            slow.let_go.set()  # from now on pictures get ready
        return look(self, *given, **more)

    recipe = grpo_recipe(place, steps=1, overlap=overlap)
    begun, made = [], Regenerator(recipe, tmp_path / "replies.log", generator=slow, chat=Oracle())
    begin = made.begin
    monkeypatch.setattr(made, "begin", lambda wanted: (begin(wanted), begun.append(wanted)))
    monkeypatch.setattr(grpo._Listener, "put", heard)
    monkeypatch.setattr(grpo._Trainer, "_generate_single_turn", written)
    monkeypatch.setattr(grpo._Trainer, "_get_per_token_logps_and_entropies", looked)
    train_grpo(recipe, tmp_path / "out", regenerator=made)
    if not overlap:
        assert seen == [("all are written", False), ("reference", False)]
        return
    (what, still), *rest = seen
    assert what == "answers still written"
    assert still > 0
    assert rest == [("all are written", True), ("reference", True)]


def test_the_parts_of_an_update_add_up(place, tmp_path, caplog):
    with caplog.at_level("INFO"):
        train_grpo(grpo_recipe(place), tmp_path)
    assert len(times(tmp_path)) == 2
    for line in times(tmp_path):
        parts = [line[name] for name in ("generate", "reference", "wait", "update", "other")]
        assert sum(parts) == pytest.approx(line["seconds"], abs=1e-3)
        assert min(parts) >= 0
        assert min(line["regenerate"], line["score"], line["update"], line["generate"]) > 0
    assert "an update took" in caplog.text


def test_answers_are_told_when_they_end():
    told = []
    listener = grpo._Listener([1, 2], lambda place, tokens: told.append((place, tokens)))
    listener.put(torch.zeros(3, 5))
    for tokens in ([5, 1, 7], [6, 0, 2], [8, 0, 0]):
        listener.put(torch.tensor(tokens))
    assert told == [(1, [1]), (2, [7, 2])]
    listener.end()
    assert told[2:] == [(0, [5, 6, 8])]


def test_threads_at_one_part_count_once():
    now = [0.0]
    clock = Clock(lambda: now[0])
    with clock.part("a"):
        now[0] = 1.0
        with clock.part("a"), clock.part("b"):
            now[0] = 3.0
        now[0] = 4.0
        assert clock.take() == {"a": 4.0, "b": 2.0}
        now[0] = 5.0
    with pytest.raises(ValueError, match="x"), clock.part("c"):
        raise ValueError("x")
    assert clock.take() == {"a": 1.0, "c": 0.0}
    assert clock.take() == {}
