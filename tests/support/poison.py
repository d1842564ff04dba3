"""A training with a non-finite value in it: `poison.py PLACE VALUE RANK STEP words...`.

PLACE is "loss", "gradient" or "weights"; RANK is the process that gets it, "all" for each.
"""

from __future__ import annotations

import os
import runpy
import sys

place, value, rank, step, *words = sys.argv[1:]
sys.argv = ["train_ddp.py", *words]
value = float(value)


def is_due(state):
    """Whether this is the update, counted from 1, and the process."""
    return state.step + 1 == int(step) and rank in ("all", os.environ.get("RANK", "0"))


def poison_loop():
    """Puts the value into the loop of this process."""
    import torch

    from ke_t5.train import loop

    backward, update = loop._backward, loop._update

    def poisoned_backward(state, *arguments, **options):
        if place == "loss" and is_due(state):
            honest = loop.loss_of
            loop.loss_of = lambda output: honest(output) + value
            try:
                return backward(state, *arguments, **options)
            finally:
                loop.loss_of = honest
        if place == "gradient" and is_due(state):
            parameter = max(state.module.parameters(), key=torch.numel)
            hook = parameter.register_hook(lambda gradient: gradient + value)
            try:
                return backward(state, *arguments, **options)
            finally:
                hook.remove()
        return backward(state, *arguments, **options)

    def poisoned_update(state, *arguments, **options):
        lr = update(state, *arguments, **options)
        if place == "weights" and is_due(state):
            with torch.no_grad():
                max(state.module.parameters(), key=torch.numel).view(-1)[-1] = value
        return lr

    loop._backward, loop._update = poisoned_backward, poisoned_update


poison_loop()
runpy.run_path(os.path.join(os.getcwd(), "train_ddp.py"), run_name="__main__")
