"""`audited.py LOG HOSTILE ALLOWED script words`: runs a script of ours under an audit hook.

What a hostile file could make it do goes to LOG, a line each: running code of the folder HOSTILE,
starting a program, connecting, unpickling something that acts, writing outside ALLOWED (folders
with colons between them). Questions are answered with "y".
"""

from __future__ import annotations

import io
import os
import runpy
import sys

LOG, HOSTILE, ALLOWED = sys.argv[1], sys.argv[2], sys.argv[3].split(":")
ACTING = {"os", "posix", "subprocess", "builtins", "runpy", "shutil", "sys", "evil", "importlib"}
STARTING = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn")
CHANGING = (
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate",
    "shutil.rmtree", "shutil.copyfile", "shutil.move",
)  # fmt: skip
SYSTEM = ("/dev/", "/proc/", "/sys/", "pipe:", "socket:")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def is_outside(path: object) -> bool:
    """Whether a path is one that the program must not write to."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        return False
    full = os.path.realpath(os.fsdecode(path))
    places = tuple(f"{folder}/" for folder in ALLOWED)
    return full != LOG and not f"{full}/".startswith((*places, *SYSTEM))


def fault_of(event: str, arguments: tuple) -> str | None:
    """Why an event of the interpreter is forbidden; None if it is allowed."""
    if event == "exec" or event == "compile":
        thing = arguments[0] if event == "exec" else arguments[1]
        file = getattr(thing, "co_filename", thing)
        is_file = isinstance(file, str) and os.path.isabs(file)
        if is_file and os.path.realpath(file).startswith(HOSTILE):
            return file
    elif event == "pickle.find_class":
        if str(arguments[0]).partition(".")[0] in ACTING:
            return ".".join(map(str, arguments))
    elif event == "subprocess.Popen":
        if os.path.basename(os.fsdecode(arguments[0])) != "git":  # for run.json
            return str(arguments[0])
    elif event.startswith(STARTING):
        return str(arguments[:1])
    elif event == "socket.connect":
        if isinstance(arguments[1], tuple) and arguments[1][0] != "127.0.0.1":
            return str(arguments[1])
    elif event == "open":
        path, mode, flags = arguments
        writes = (mode and set(mode) & set("wax+")) or (flags or 0) & WRITING
        if writes and is_outside(path):
            return str(path)
    elif event in CHANGING:
        outside = [path for path in arguments[:2] if is_outside(path)]
        return str(outside[0]) if outside else None
    return None


def hook(event: str, arguments: tuple) -> None:
    """Logs forbidden events."""
    if fault := fault_of(event, arguments):
        line = f"{event} {fault}\n".encode()
        descriptor = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, line)
        os.close(descriptor)


def main() -> None:
    """Runs the script in this process."""
    sys.argv = sys.argv[4:]
    sys.stdin = io.StringIO("y\n" * 100)
    sys.dont_write_bytecode = True
    sys.addaudithook(hook)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
