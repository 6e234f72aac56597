"""Closed worlds in which everything that a pack draws and says can be judged; no torch."""
