"""Several processes that train together, each on its shard."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from tests.peers import distributed

ROOT = Path(__file__).parents[2]


def test_two_processes_come_to_what_one_does_on_both_shards(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outs = [tmp_path / f"{rank}.pt" for rank in range(distributed.WORLD)]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "tests.peers.distributed"]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(port), str(out)],
            env={**os.environ, "PYTHONPATH": path, "RAGMASK_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, out in enumerate(outs)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors

    model, optimizer = distributed.made()
    for pair in zip(*map(distributed.batches, range(distributed.WORLD)), strict=True):
        optimizer.zero_grad()
        loss = sum(distributed.loss_of(model, batch) for batch in pair) / distributed.WORLD
        loss.backward()
        optimizer.step()
    states = [torch.load(out, weights_only=True) for out in outs]
    begun, _ = distributed.made()
    for name, weight in model.state_dict().items():
        assert not torch.equal(weight, begun.state_dict()[name])
        for state in states:
            torch.testing.assert_close(state[name], weight, rtol=1e-10, atol=1e-12)
