"""Two machines with their own addresses: one is cut off, then both reconnect and continue.

A machine is a network namespace here, which needs root and Debian's iproute2.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest
from support.processes import ROOT
from support.recipe_runs import run_folder, state_files

ADDRESSES = {"ke_a": "10.77.0.1", "ke_b": "10.77.0.2"}
WORDS = (
    "--task", "klue_tc", "--sample", "--batch_size", "8", "--train_split", "train[:640]",
    "--valid_split", "validation[:31]", "--epochs", "3", "--print_freq", "5", "--save_every", "5",
    "--stall_timeout", "15",
)  # fmt: skip
PATIENCE = 600  # seconds

pytestmark = [
    pytest.mark.full,  # takes minutes
    pytest.mark.skipif(
        shutil.which("ip") is None or os.geteuid() != 0, reason="needs root and iproute2"
    ),
]


def ip(*words: str, namespace: str | None = None) -> None:
    inside = ["-n", namespace] if namespace else []
    subprocess.run(["ip", *inside, *words], check=True, capture_output=True, text=True)


@pytest.fixture
def machines():
    """Two connected namespaces: name -> address."""
    for name in ADDRESSES:
        ip("netns", "add", name)
    try:
        ends = [word for name in ADDRESSES for word in (f"v{name}", "netns", name)]
        ip("link", "add", *ends[:3], "type", "veth", "peer", "name", *ends[3:])
        for name, address in ADDRESSES.items():
            ip("addr", "add", f"{address}/24", "dev", f"v{name}", namespace=name)
            for device in ("lo", f"v{name}"):
                ip("link", "set", device, "up", namespace=name)
        yield ADDRESSES
    finally:
        for name in ADDRESSES:
            ip("netns", "del", name)


def launch(name, machines, folder, cache):
    """torchrun on a machine, started as by a user."""
    is_host = name == next(iter(machines))
    command = [
        "ip", "netns", "exec", name, sys.executable, "-m", "torch.distributed.run", "--nnodes=2",
        "--nproc_per_node=1", "--rdzv_backend=c10d", "--rdzv_endpoint=10.77.0.1:29500",
        f"--rdzv_conf=is_host={int(is_host)}", f"--local_addr={machines[name]}",
        "--rdzv_id=one", "--max-restarts=3", "train_ddp.py", *WORDS,
        "--output_dir", str(folder / "output"),
        "--hf_cache_dir", str(cache),
    ]  # fmt: skip
    variables = {"GLOO_SOCKET_IFNAME": f"v{name}", "OMP_NUM_THREADS": "1"}
    with (folder / f"{name}.log").open("w") as log:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=log, env={**os.environ, **variables}
        )


def train(folder, machines, cache, *, is_cut):
    """Runs both machines to the end of the training; returns the log of the first."""
    folder.mkdir()
    launches = [launch(name, machines, folder, cache) for name in machines]
    log = folder / "ke_a.log"
    try:
        if is_cut:
            wait_for("step 20/", log, launches)
            ip("link", "set", "vke_b", "down", namespace="ke_b")
            wait_for("has stalled", log, launches)
            ip("link", "set", "vke_b", "up", namespace="ke_b")
        codes = [process.wait(PATIENCE) for process in launches]
    finally:
        for process in launches:
            process.kill()
    assert codes == [0, 0], log.read_text()[-3000:]
    return log.read_text()


def wait_for(text, log, launches):
    end = time.monotonic() + PATIENCE
    while text not in log.read_text():
        assert time.monotonic() < end, log.read_text()[-3000:]
        assert all(process.poll() is None for process in launches), log.read_text()[-3000:]
        time.sleep(0.2)


def test_a_machine_that_is_cut_off_comes_back(machines, cache_dir, tmp_path):
    whole = train(tmp_path / "whole", machines, cache_dir, is_cut=False)
    cut = train(tmp_path / "cut", machines, cache_dir, is_cut=True)
    assert "resumed from" not in whole
    assert "process 1 on" in cut and "has stalled" in cut and "resumed from" in cut
    folders = [tmp_path / name / "output" for name in ("whole", "cut")]
    assert state_files(folders[0]) == state_files(folders[1])
    assert run_folder(folders[1]).is_dir()
    assert "torchrun --nnodes=2 --nproc_per_node=1 --rdzv_backend=c10d" in cut  # the next commands
