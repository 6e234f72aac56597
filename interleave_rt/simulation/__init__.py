"""The scheduler in virtual time: what it would do on machines that one does not have.

    from interleave_rt.simulation import Load, Times, preset, simulate

`model` says how long calls take, `machine` what they run on, `workload` what is asked for, `run` runs the arms over
it, `presets` and `calibration` fill these in, `measure` makes a calibration on a real engine.
"""

from __future__ import annotations

from .calibration import Calibration, load_calibration
from .machine import Lane, Machine
from .measure import Calibrator, measure_calibration
from .model import Latency, Times
from .presets import PRESETS, preset
from .run import ARMS, Load, simulate
from .workload import Tasks

__all__ = [
    "ARMS",
    "PRESETS",
    "Calibration",
    "Calibrator",
    "Lane",
    "Latency",
    "Load",
    "Machine",
    "Tasks",
    "Times",
    "load_calibration",
    "measure_calibration",
    "preset",
    "simulate",
]
