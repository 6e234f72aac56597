"""What the scheduler brings, measured twice: on an engine (`bench`) and in virtual time (`simulate`).

    from interleave_rt.measure import ARMS, BenchConfig, Load, PackTarget, measure, world_requests
    from interleave_rt.measure import Machine, Tasks, Times, preset, simulate

One declaration of the load (`load`), the arms (`arms`), the records (`record`) and the document (`document`) serves
both: the same seed gives the same arrivals, and every figure is computed by the same code. `runner` puts `requests` on
engines; `virtual_time` puts `tasks` on a `machine` of made-up calls, which `presets` or a `calibration` fill in.
"""

from __future__ import annotations

from .arms import ARMS, Arm, PackTarget, ScriptedTarget, Threads, parse_arms
from .calibrate import Calibrator, measure_calibration
from .calibration import Calibration, load_calibration
from .environment import describe_environment
from .load import Load, arrivals_us
from .machine import Lane, Machine
from .presets import PRESETS, preset
from .record import ROLES, CallRecord, RequestRecord, Turn
from .requests import SampleRequest, numbered_requests, read_trace, world_requests
from .runner import BenchConfig, Measurement, Progress, measure
from .simulation import SimulationConfig
from .tasks import Latency, Tasks, Times, draw_tasks
from .virtual_time import simulate

__all__ = [
    "ARMS",
    "PRESETS",
    "ROLES",
    "Arm",
    "BenchConfig",
    "Calibration",
    "Calibrator",
    "CallRecord",
    "Lane",
    "Latency",
    "Load",
    "Machine",
    "Measurement",
    "PackTarget",
    "Progress",
    "RequestRecord",
    "SampleRequest",
    "ScriptedTarget",
    "SimulationConfig",
    "Tasks",
    "Threads",
    "Times",
    "Turn",
    "arrivals_us",
    "describe_environment",
    "draw_tasks",
    "load_calibration",
    "measure",
    "measure_calibration",
    "numbered_requests",
    "parse_arms",
    "preset",
    "read_trace",
    "simulate",
    "world_requests",
]
