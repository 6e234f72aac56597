"""Signals at random moments, in small: `signal_storm.py` does more of it."""

from __future__ import annotations

from signal_storm import storm


def test_signals_at_random_moments_end_cleanly_and_lose_nothing():
    storm(20, seed=7)
