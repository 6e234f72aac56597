"""How many random cases a test draws: what every run can afford, IRT_DRAWS times as many before a release."""

import os


def draws(count: int) -> int:
    """`count`, times IRT_DRAWS where it is set."""
    return count * int(os.environ.get("IRT_DRAWS", "1"))
