"""The parts of a training: optimizers, schedules, logs and the loop."""
