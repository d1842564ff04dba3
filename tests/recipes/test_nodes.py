"""Restarts by torchrun, and nodes that do not see what process 0 writes."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from support.recipe_runs import SMALL, run_folder, train

from ke_t5.checkpoint.settings import SCHEDULE
from ke_t5.config.run_config import ScheduleConfig
from ke_t5.distributed import Ranks
from ke_t5.errors import Exit, UserError
from ke_t5.recipes import disks
from ke_t5.recipes.folders import RunFolder
from ke_t5.recipes.resume_check import keep_warmup
from ke_t5.train.schedules import ScheduleSettings, get_scheduler

TC = ("--task", "klue_tc", *SMALL)


def test_a_restart_goes_on_with_the_run_of_its_launch_only(tmp_path, cache_dir, monkeypatch, capfd):
    train(*TC, "--max_steps", 2, output=tmp_path, cache=cache_dir)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    train(*TC, "--max_steps", 3, output=tmp_path, cache=cache_dir)
    assert "resumed from" in capfd.readouterr().err
    run = run_folder(tmp_path)
    assert [path.name for path in run.parent.iterdir()] == ["klue_tc"]
    told = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**told, "launch": "another"}))
    train(*TC, "--max_steps", 1, output=tmp_path, cache=cache_dir)
    assert "resumed from" not in capfd.readouterr().err
    assert {path.name for path in run.parent.iterdir()} == {"klue_tc", "klue_tc.1"}


class TwoNodes(Ranks):
    """Process 0 of two; the other one sees what `other_sees` says."""

    other_sees = True

    def barrier(self):
        pass

    def broadcast(self, thing):
        return thing

    def gather(self, thing):
        return [thing, self.other_sees]


def two_nodes(*, resumes=(False, False), other_sees=True):
    facts = [{"host": host, "resumes": r} for host, r in zip("ab", resumes, strict=True)]
    ranks = TwoNodes(0, 2, torch.device("cpu"), 1, facts)
    ranks.other_sees = other_sees
    return ranks


def test_the_host_that_writes_is_named(tmp_path, caplog):
    run = RunFolder(tmp_path / "run")
    with caplog.at_level("INFO", logger="ke_t5"):
        disks.check_one_disk(run, two_nodes())
        disks.check_one_disk(run, two_nodes(other_sees=False))
    shared, apart = caplog.messages
    assert shared == "process 0 on a writes results and checkpoints; all nodes see them"
    assert "written on a (process 0) only; process(es) 1 on b do not see them" in apart
    assert not (tmp_path / "run").exists()  # what fails to start leaves nothing behind


@pytest.mark.parametrize(("resumes", "who"), [((True, False), "0 on a"), ((False, True), "1 on b")])
def test_a_run_that_one_node_does_not_see_is_refused(tmp_path, resumes, who):
    run = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match=f"process {who} resumes a run that process") as caught:
        disks.check_one_disk(run, two_nodes(resumes=resumes))
    assert caught.value.exit_code == Exit.CHECKPOINT
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_one_node_does_not_see_is_refused(tmp_path):
    disks.check_seen(tmp_path, two_nodes(), where="--resume true")
    with pytest.raises(UserError, match="which process 1 on b cannot see; put") as caught:
        disks.check_seen(tmp_path, two_nodes(other_sees=False), where="--resume true")
    assert caught.value.exit_code == Exit.CHECKPOINT


def test_the_default_warm_up_stays_that_of_the_run():
    """More epochs would lengthen the default warm-up, which nobody has changed."""
    settings = ScheduleSettings(0.1, 20, 0.0)
    schedule = ScheduleConfig("constant_with_warmup", settings, has_default_warmup=True)
    config = dataclasses.make_dataclass("Config", ["schedule"])(schedule)
    state = SimpleNamespace(lr_multiplier=get_scheduler(schedule.name, 200, settings))
    assert state.lr_multiplier(4) == 0.25
    config = keep_warmup(config, state, {SCHEDULE: (0.1, 10, 0.0)}, total=200)
    assert config.schedule.settings == (0.1, 10, 0.0)
    assert state.lr_multiplier(4) == 0.5
