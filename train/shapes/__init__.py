"""Training in the closed *shapes* world; the world itself, which needs no torch, is `interleave_rt.worlds.shapes`."""
