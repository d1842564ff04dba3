"""Optimizers by gin name: construction, parameters without weight decay, rejected settings."""

import inspect
import subprocess
import sys

import gin
import pytest
import torch
from torch import nn

from ke_t5.errors import UserError
from ke_t5.train import optimizers, schedules
from ke_t5.train.optimizer_config import get_optimizer
from ke_t5.train.optimizers import parameter_groups
from ke_t5.train.schedules import get_scheduler, set_learning_rate

TORCH_NAMES = "AdamW Adam RAdam NAdam Adamax SGD Adagrad RMSprop Adadelta".split()
TRAIN_DEFAULT = """
get_optimizer.optimizer_cls=@AdamW
AdamW.lr=1e-3
AdamW.betas=(0.9, 0.999)
AdamW.eps=1e-06
AdamW.weight_decay=1e-2
"""


@pytest.fixture(autouse=True)
def clear_gin():
    gin.clear_config()
    yield
    gin.clear_config()


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.norm = nn.LayerNorm((2, 2))
        self.relative_attention_bias = nn.Embedding(3, 2)
        self.head = nn.Linear(4, 2)
        self.tied = nn.Linear(4, 5, bias=False)
        self.tied.weight = self.embedding.weight


def step_once(model, optimizer):
    model.embedding.weight.sum().backward()
    model.head(torch.ones(1, 4)).sum().backward()
    optimizer.step()


def test_shipped_bindings_reach_torch():
    gin.parse_config(TRAIN_DEFAULT)
    optimizer = get_optimizer()(Toy())
    assert type(optimizer) is torch.optim.AdamW
    group = optimizer.param_groups[0]
    assert (group["lr"], group["betas"], group["eps"]) == (1e-3, (0.9, 0.999), 1e-6)
    assert [g["weight_decay"] for g in optimizer.param_groups] == [1e-2, 0.0]


def test_module_needs_no_torch():
    code = "import sys, ke_t5.train.optimizer_config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_default_is_fused_adamw():
    optimizer = get_optimizer()(Toy())
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.param_groups[0]["lr"] == 5e-5
    assert optimizer.param_groups[0]["fused"] is True


@pytest.mark.parametrize("binding", ["AdamW.fused=False", "AdamW.foreach=True"])
def test_fused_gives_way_to_the_user(binding):
    gin.parse_config(binding)
    assert not get_optimizer()(Toy()).param_groups[0]["fused"]


@pytest.mark.parametrize("name", [*TORCH_NAMES, "Adafactor"])
def test_every_optimizer_steps(name):
    gin.parse_config(f"get_optimizer.optimizer_cls=@{name}")
    model = Toy()
    before = model.head.weight.detach().clone()
    optimizer = get_optimizer()(model)
    assert type(optimizer).__name__ == name
    step_once(model, optimizer)
    assert not torch.equal(before, model.head.weight)


@pytest.mark.parametrize("name", TORCH_NAMES)
def test_parameters_are_torchs(name):
    ours = set(inspect.signature(getattr(optimizers, name)).parameters)
    theirs = set(inspect.signature(getattr(torch.optim, name)).parameters)
    assert theirs - ours == {"maximize", "capturable", "differentiable"} & theirs
    assert ours <= theirs


def test_adafactor_default_is_the_fine_tuning_setting():
    gin.parse_config("get_optimizer.optimizer_cls=@Adafactor")
    group = get_optimizer(default_learning_rate=5e-5)(Toy()).param_groups[0]
    assert (group["lr"], group["relative_step"], group["scale_parameter"]) == (1e-3, False, False)


def test_adafactor_can_time_itself():
    gin.parse_config("get_optimizer.optimizer_cls=@Adafactor\nAdafactor.relative_step=True")
    model = Toy()
    optimizer = get_optimizer()(model)
    set_learning_rate(optimizer, 1.0)
    step_once(model, optimizer)
    assert optimizer.param_groups[0]["lr"] is None


def test_adafactor_that_times_itself_refuses_a_rate_and_a_schedule():
    gin.parse_config("get_optimizer.optimizer_cls=@Adafactor\nAdafactor.relative_step=True")
    with pytest.raises(UserError, match="optimizer Adafactor: Cannot combine manual `lr`"):
        get_optimizer(learning_rate=1e-3)(Toy())
    with pytest.raises(UserError, match="--schedule: Adafactor.relative_step=True sets its own"):
        set_learning_rate(get_optimizer()(Toy()), 0.5)


def test_groups_spare_norms_biases_and_vectors_and_count_tied_once():
    model = Toy()
    decayed, spared = parameter_groups(model)
    assert [id(p) for p in decayed["params"]] == [
        id(model.embedding.weight),
        id(model.head.weight),
    ]
    assert [id(p) for p in spared["params"]] == [
        id(model.norm.weight),
        id(model.norm.bias),
        id(model.relative_attention_bias.weight),
        id(model.head.bias),
    ]
    assert spared["weight_decay"] == 0.0


def test_groups_spare_t5_norms_by_name():
    class T5LayerNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

    (only,) = parameter_groups(T5LayerNorm())
    assert only["weight_decay"] == 0.0


def test_frozen_parameters_are_left_out():
    model = Toy()
    model.embedding.weight.requires_grad_(False)
    shapes = [p.shape for group in get_optimizer()(model).param_groups for p in group["params"]]
    assert (5, 4) not in shapes and (2, 4) in shapes


def test_nothing_to_train_is_refused():
    with pytest.raises(UserError, match="Toy: no parameter is trainable"):
        get_optimizer()(Toy().requires_grad_(False))


@pytest.mark.parametrize(
    ("binding", "rates", "expected"),
    [
        ("", {}, 5e-5),
        ("", {"default_learning_rate": 3e-4}, 3e-4),
        ("AdamW.lr=1e-2", {"default_learning_rate": 3e-4}, 1e-2),
        ("AdamW.lr=1e-2", {"learning_rate": 7e-5, "default_learning_rate": 3e-4}, 7e-5),
        ("get_optimizer.optimizer_cls=@SGD", {"default_learning_rate": 3e-4}, 1e-2),
    ],
)
def test_flag_beats_gin_beats_task(binding, rates, expected):
    gin.parse_config(binding)
    assert get_optimizer(**rates)(Toy()).param_groups[0]["lr"] == expected


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        (
            "get_optimizer.optimizer_cls='AdamW'",
            "'AdamW' is not an optimizer; write its name with an",
        ),
        ("get_optimizer.optimizer_cls=@AdamW()", "is a call of the optimizer; write"),
        ("AdamW.lr=-1.0", "error: optimizer AdamW: Invalid learning rate: -1.0; fix its"),
        ("AdamW.betas=3", "error: optimizer AdamW: "),
    ],
)
def test_bad_settings_are_one_line(binding, message):
    gin.parse_config(binding)
    with pytest.raises(UserError) as caught:
        get_optimizer()(Toy())
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_parameter_is_refused_by_gin():
    with pytest.raises(ValueError, match="doesn't have a parameter named 'learning_rte'"):
        gin.parse_config("AdamW.learning_rte=1")


def test_users_own_optimizer_is_taken():
    class UsersOwn(torch.optim.SGD):
        pass

    registered = gin.external_configurable(UsersOwn, module="tests.users_own")
    gin.parse_config("get_optimizer.optimizer_cls=@UsersOwn\nUsersOwn.lr=0.25")
    optimizer = get_optimizer()(Toy())
    assert isinstance(optimizer, UsersOwn) and registered
    assert optimizer.param_groups[0]["lr"] == 0.25


def factors(name, total_steps):
    schedule = get_scheduler(name, total_steps)
    return [schedule(step) for step in range(total_steps + 1)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear", [0.5, 1, 1, 0.75, 0.5, 0.25, 0]),
        ("cosine", [0.5, 1, 1, 0.853553, 0.5, 0.146447, 0]),
        ("constant", [1] * 7),
        ("constant_with_warmup", [0.5, 1, 1, 1, 1, 1, 1]),
        ("inverse_sqrt", [0.5, 1, 1, 0.816497, 0.707107, 0.632456, 0.577350]),
    ],
)
def test_schedule_by_hand(name, expected):
    gin.parse_config("get_scheduler.warmup_steps=2")
    assert factors(name, 6) == pytest.approx(expected, abs=1e-6)


def test_warmup_is_a_tenth_rounded_up():
    assert factors("linear", 11)[:3] == [0.5, 1.0, 1.0]


def test_min_ratio_is_the_floor_but_not_of_the_warmup():
    gin.parse_config("get_scheduler.warmup_steps=4\nget_scheduler.min_ratio=0.5")
    assert factors("linear", 8) == [0.25, 0.5, 0.75, 1, 1, 0.875, 0.75, 0.625, 0.5]


def test_inverse_sqrt_without_warmup_has_the_time_scale_of_t5():
    gin.parse_config("get_scheduler.warmup_ratio=0.0")
    schedule = get_scheduler("inverse_sqrt", 100)
    assert schedule(0) == 1 and schedule(30_000) == 0.5


@pytest.mark.parametrize("name", schedules.SCHEDULES.names())
def test_schedules_stay_in_range_beyond_the_end(name):
    schedule = get_scheduler(name, 3)
    assert all(0 <= schedule(step) <= 1 for step in range(50))


def test_unknown_schedule_names_the_near_ones():
    with pytest.raises(UserError) as caught:
        get_scheduler("liner", 10)
    assert str(caught.value).startswith(
        "error: --schedule 'liner': unknown schedule; did you mean 'linear'"
    )


def test_bad_schedule_settings_are_told_at_once():
    gin.parse_config("get_scheduler.warmup_ratio=3\nget_scheduler.warmup_steps=-1")
    with pytest.raises(
        UserError, match="warmup_ratio: is 3; give .*warmup_steps: is -1; give at least 0"
    ):
        get_scheduler("linear", 10)


def test_set_learning_rate_does_not_compound():
    optimizer = get_optimizer(learning_rate=2.0)(Toy())
    for _ in range(3):
        set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 1.0]
    assert [group["initial_lr"] for group in optimizer.param_groups] == [2.0, 2.0]
