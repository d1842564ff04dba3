"""A user's module that injects the fault in the variable FAULT once: "KIND PLACE RANK"."""

from __future__ import annotations

from pathlib import Path

PLACES = {
    "data": ("ke_t5.recipes.train", "load_training_data"),
    "model": ("ke_t5.recipes.modelling", "build_model"),
    "training": ("ke_t5.train.loop", "_backward"),
    "backward": ("ke_t5.train.loop", "loss_of"),
    "saving": ("ke_t5.checkpoint.checkpointer", "Checkpointer.save"),
    "validating": ("ke_t5.pipe.prediction", "EvaluationHelper.predict_with_loss"),
    "exporting": ("ke_t5.recipes.modelling", "export_best"),
}
NAME = "injected_fault"
MODULE = """
import ctypes, importlib, os, signal, time
from pathlib import Path

from ke_t5 import heartbeat

KIND, PLACE, RANK = os.environ.get("FAULT", "none none 0").split()


def strike():
    if os.environ.get("RANK", "0") == RANK and not Path("struck").exists():
        Path("struck").touch()
        if KIND == "raise":
            raise RuntimeError("injected")
        if KIND == "exit":
            os._exit(9)
        if KIND in ("kill", "suspend"):
            time.sleep(2.5)  # so that the others know its phase
            os.kill(os.getpid(), signal.SIGKILL if KIND == "kill" else signal.SIGSTOP)
        if KIND == "sleep":
            time.sleep(1000)
        if KIND == "spin":
            while True:
                pass
        if KIND == "hold":
            time.sleep(2.5)
        if KIND in ("block", "hold"):  # in C, without or with the interpreter's lock
            (ctypes.CDLL if KIND == "block" else ctypes.PyDLL)(None).sleep(1000)
        if KIND == "pause":
            time.sleep(2 if PLACE in ("training", "saving") else 60)


def after_strike(function, count=[0]):
    def wrapped(*arguments, **options):
        count[0] += 1
        is_due = count[0] >= 2 or PLACE not in ("training", "backward")
        if PLACE == "backward":  # losses are computed before training, too
            is_due = heartbeat._Pulse.phase == "training"
        if is_due and PLACE != "backward":
            strike()
        result = function(*arguments, **options)
        return struck_in_backward(result) if is_due and PLACE == "backward" else result
    return wrapped


def struck_in_backward(loss):
    import torch

    class Strike(torch.autograd.Function):
        @staticmethod
        def forward(ctx, loss):
            return loss.clone()

        @staticmethod
        def backward(ctx, gradient):
            strike()
            return gradient

    return Strike.apply(loss)


if PLACE in PLACES:
    module, name = PLACES[PLACE]
    owner = importlib.import_module(module)
    *outer, name = name.split(".")
    for part in outer:
        owner = getattr(owner, part)
    setattr(owner, name, after_strike(getattr(owner, name)))
"""


def write_module(folder: Path) -> tuple[str, str]:
    """Puts the module into a folder; returns the flag that imports it."""
    text = MODULE.replace("KIND,", f"PLACES = {PLACES!r}\nKIND,", 1)
    (folder / f"{NAME}.py").write_text(text, encoding="utf-8")
    return "--module_import", NAME
