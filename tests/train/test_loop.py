"""The one training loop, on a model that is trained in no time."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from interleave_rt.train import checkpoint, loop  # noqa: E402
from interleave_rt.train.optim import Ema, Optimizers  # noqa: E402

from interleave_rt import files  # noqa: E402


class _Line(loop.Part):
    name = "line"
    schedule = loop.Schedule(iterations=5, every=2, warmup=1, hold=0.5, log_every=1)

    def __init__(self, out: Path, clock: list[float] | None = None) -> None:
        super().__init__(out, 3, 0)
        self._clock = clock
        self.module = torch.nn.Linear(4, 4)
        self.optimizers = Optimizers([self.module], lambda _, weight: weight.ndim == 2)
        self.calls: list[str] = []

    def begin(self) -> None:
        self.ema = Ema(self.module)

    def loss(self, iteration, iterations):
        self.calls.append(str(iteration))
        if self._clock is not None:
            self._clock[0] += 1.0
        x = torch.randn(2, 4) * self.rng.random()
        loss = (self.module(x) - x).square().mean()
        return loss, loss

    def measure(self):
        self.calls.append("measure")
        return {"size": self.module.weight.norm().item()}

    def save(self) -> None:
        self.calls.append("save")

    def finish(self) -> None:
        self.calls.append("finish")
        torch.save(self.module.state_dict(), self.out / "weights.pt")


def test_a_run_measures_and_saves_at_every_checkpoint_and_at_the_end(tmp_path: Path) -> None:
    part = _Line(tmp_path)
    found = loop.train(part)
    calls = "0 1 measure save 2 3 measure save 4 finish measure"
    assert part.calls == calls.split()
    rows = (tmp_path / "record" / "curve.csv").read_text().splitlines()
    assert rows[0] == "iteration,seconds,loss,size"
    assert [row.split(",")[0] for row in rows[1:]] == ["1", "2", "3", "4", "5"]
    assert float(rows[-1].split(",")[-1]) == pytest.approx(found["size"], rel=1e-4)
    averaged, now = part.ema.model.weight, part.module.weight
    assert not torch.equal(averaged, now)


def test_a_run_that_is_out_of_time_goes_on_as_if_it_had_not_stopped(tmp_path: Path, monkeypatch) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    loop.train(_Line(whole))
    clock = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    part = _Line(broken, clock)
    loop.train(part, minutes=3 / 60)
    assert [call for call in part.calls if call.isdigit()] == ["0", "1", "2"]
    assert torch.load(broken / "state.pt", weights_only=False)["iteration"] == 3
    part = _Line(broken, clock)
    loop.train(part, resume=True)
    assert [call for call in part.calls if call.isdigit()] == ["3", "4"]
    one, other = (torch.load(out / "weights.pt") for out in (whole, broken))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_rate_that_falls_with_the_time_is_at_its_floor_when_the_time_is_over(
    tmp_path: Path, monkeypatch
) -> None:
    clock, rates = [0.0], []
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    part = _Line(tmp_path, clock)
    step = part.optimizers.step
    monkeypatch.setattr(
        part.optimizers, "step", lambda loss, rate, clip: (rates.append(rate), step(loss, rate, clip))
    )
    loop.train(part, iterations=10**6, every=10**6, minutes=20 / 60, anneal=True)
    assert len(rates) == 20
    assert rates[:10] == [1.0] * 10  # held for half of it
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(part.schedule.floor)
    assert "finish" in part.calls


def test_the_file_that_completes_a_model_is_replaced_last(tmp_path: Path, monkeypatch) -> None:
    class Pipeline:
        def save_pretrained(self, folder: Path) -> None:
            for name in ("model_index.json", "vae/config.json", "weights"):
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text("new")

    def noted(path: Path, data: bytes) -> None:
        written.append(path.relative_to(tmp_path).as_posix())
        complete.append((tmp_path / "model_index.json").exists())
        path.write_bytes(data)

    (tmp_path / "record").mkdir()
    (tmp_path / "record" / "curve.csv").write_text("kept")
    (tmp_path / "model_index.json").write_text("old")
    written: list[str] = []
    complete: list[bool] = []
    monkeypatch.setattr(files, "write_file", noted)
    checkpoint.save_model(Pipeline(), tmp_path, "model_index.json")
    assert sorted(written[:2]) == ["vae/config.json", "weights"]
    assert (written[2:], any(complete)) == (["model_index.json"], False)
    assert (tmp_path / "record" / "curve.csv").read_text() == "kept"
