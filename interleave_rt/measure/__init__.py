"""What the scheduler brings, measured twice: on an engine (`bench`) and in virtual time (`simulate`).

One declaration of the load (`load`), the arms (`arms`), the records (`record`) and the document (`document`) serves
both: the same seed gives the same arrivals, and every figure is computed by the same code. `runner` puts requests on
engines; `simulation` puts `tasks` on a `machine` of made-up calls, which a preset or a `calibration` fills in.
"""
