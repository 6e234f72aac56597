"""Two processes tune by a recipe, then make two updates of a sharded model, one of them also of a whole one.

    python two_processes.py RECIPE OUT

They are forked, with the variables that torchrun sets: so the libraries, which take longest, are loaded once.
Rank 0 writes OUT/sharded.json: processes, the largest difference of a weight, and which weights have moved.
"""

import copy
import json
import os
import socket
import sys
from pathlib import Path

import torch
from interleave_rt.train.models import freeze_vision, load_model, processor_of
from interleave_rt.train.recipe import load_sft
from interleave_rt.train.sets import dataset_of, read_rows
from interleave_rt.train.sft import _Collator, train_sft
from torch import distributed
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

WRAPPED = ("Qwen3VLTextDecoderLayer", "Qwen3VLVisionBlock")  # as in train/launch/fsdp-8.yaml


def learn(model, batches, share):
    """An update a batch, as SFT makes them: the loss of every token that is learned counts the same."""
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-4)
    for batch in batches:
        mine = {name: value for name, value in batch.items() if name != "labels"}
        labels = batch["labels"][:, 1:]
        logits = model(**mine, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
        (loss / share).backward()
        optimizer.step()
        optimizer.zero_grad()


def main(recipe, out):
    told = load_sft(recipe)
    train_sft(told, out)
    rank, world = distributed.get_rank(), distributed.get_world_size()
    model, processor = load_model(Path(told.base)), processor_of(Path(told.base))
    freeze_vision(model)
    path = Path(told.data)
    rows = dataset_of(path, read_rows(path), ("prompt", "completion", "images"))
    collate = _Collator(processor, completion_only_loss=True)
    tokens = 100.0  # the same divisor everywhere
    if rank == 0:
        whole = copy.deepcopy(model)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        learn(whole, [collate([rows[4 * i + j] for j in range(4)]) for i in range(2)], tokens)
    mesh = init_device_mesh("cpu", (world,))
    for module in list(model.modules()):
        if type(module).__name__ in WRAPPED:
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    # Gradients are averaged over the processes, each of which has its own rows.
    learn(model, [collate([rows[4 * i + 2 * rank + j] for j in range(2)]) for i in range(2)], tokens / world)
    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if rank == 0:
        expected = whole.state_dict()
        found = {
            "processes": world,
            "difference": max(float((state[name] - expected[name]).abs().max()) for name in state),
            "moved": sorted(name for name in state if not torch.equal(state[name], before[name])),
        }
        (out / "sharded.json").write_text(json.dumps(found))
    distributed.barrier()
    distributed.destroy_process_group()


def start(rank, port, recipe, out):
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    told = {**place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()})
    main(recipe, Path(out))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with socket.create_server(("127.0.0.1", 0)) as free:
        found = free.getsockname()[1]
    torch.multiprocessing.start_processes(start, (found, *sys.argv[1:]), nprocs=2, start_method="fork")
