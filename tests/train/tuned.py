"""What a tuned model's folder holds, to be compared."""

import csv

import torch
from safetensors.torch import load_file


def weights(folder):
    return load_file(folder / "model.safetensors")


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def curve(folder, *left_out):
    """The lines without what no two runs have in common."""
    with (folder / "record" / "curve.csv").open(newline="") as file:
        return [
            {name: value for name, value in line.items() if name not in ("seconds", *left_out)}
            for line in csv.DictReader(file)
        ]
