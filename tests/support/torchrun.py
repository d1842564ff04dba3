"""torchrun as a script, which a process of the warm server can run."""

from torch.distributed.run import main

if __name__ == "__main__":
    main()
