"""Trains a model on a Korean task: `python train_ddp.py --help`."""

from ke_t5.cli import train

if __name__ == "__main__":
    train()
