"""P3: a damaged checkpoint, export or `model/` is detected before a weight is used.

Each file is truncated, zeroed, exchanged with another one and removed, and has bits flipped. Each
damage must be detected by the functions that commands call before loading, and some damages also by
real commands.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.processes import run_script, run_script_on_ranks
from support.recipe_runs import SMALL, run_folder, train

from ke_t5.checkpoint.checkpoints import find_checkpoint
from ke_t5.checkpoint.folders import find_fault
from ke_t5.config.resume import AUTO, ResumeRequest
from ke_t5.errors import Exit, UserError
from ke_t5.lookup.hub import find_pretrained, require_weights
from ke_t5.seals import CARD, MANIFEST, check_folder

pytestmark = pytest.mark.promise("P3")

NUM_CUTS, NUM_FLIPS, NUM_QUICK_FLIPS = 20, 200, 20
TEST = ("--task", "klue_tc", "--sample", "--batch_size", "16", "--test_split", "validation[:31]")
TRAIN = ("--task", "klue_tc", *SMALL, "--epochs", "2", "--schedule")
PLACES = ("weights/step-00000008", "model", "hf")


def made(tmp_path_factory, cache_dir, seed):
    output = tmp_path_factory.mktemp(f"seed-{seed}")
    words = ("--seed", seed, "--hf_path", "default", "--save_every", 4)
    train(*TRAIN, *words, output=output, cache=cache_dir)
    return output


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache_dir):
    """The output folder of a run with two checkpoints and an export."""
    return made(tmp_path_factory, cache_dir, 1)


@pytest.fixture(scope="module")
def other(tmp_path_factory, cache_dir):
    """The output folder of another run, whose files are exchanged with those of the first."""
    return run_folder(made(tmp_path_factory, cache_dir, 2))


@pytest.fixture
def output(whole, tmp_path):
    """A copy of the output folder, to be damaged."""
    return shutil.copytree(whole, tmp_path / "output")


def fault_in(folder: Path) -> str | None:
    """The error of the checks that a command runs on a folder before loading; None for none."""
    if folder.name.startswith("step-"):
        return find_fault(folder)
    try:
        if folder.name == "model":
            check_folder(folder, where="--resume", is_sealed=True)
        else:
            require_weights(find_pretrained(folder))
    except UserError as error:
        assert error.exit_code == Exit.CHECKPOINT
        return str(error)
    return None


@contextmanager
def replaced(path: Path) -> Iterator[bytes]:
    """The content of a file, which is restored at the end."""
    content = path.read_bytes()
    try:
        yield content
    finally:
        path.write_bytes(content)


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def expect(folder: Path, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Fails unless the damage to a file is detected; for the model card, it is a warning."""
    from ke_t5 import seals

    seals._warn.cache_clear()
    caplog.clear()
    fault = fault_in(folder)
    if path.name == CARD:
        assert fault is None and f"{CARD} " in caplog.text, "not reported"
    else:
        assert fault is not None, "not detected"


@pytest.mark.parametrize("place", PLACES)
def test_truncated_zeroed_and_removed_files(output, place, tally, caplog):
    folder = run_folder(output) / place
    assert fault_in(folder) is None
    for path in files_of(folder):
        with replaced(path) as content:
            lengths = {len(content) * i // NUM_CUTS for i in range(NUM_CUTS)}
            for length in sorted(lengths):
                with tally.case(f"{path.name} cut to {length} bytes"):
                    path.write_bytes(content[:length])
                    expect(folder, path, caplog)
            with tally.case(f"{path.name} of zeros"):
                path.write_bytes(bytes(len(content)))
                expect(folder, path, caplog)
            with tally.case(f"{path.name} longer"):
                path.write_bytes(content + b"\n")
                expect(folder, path, caplog)
            with tally.case(f"{path.name} removed"):
                path.unlink()
                expect(folder, path, caplog)
    assert fault_in(folder) is None


@pytest.mark.parametrize("place", PLACES)
def test_exchanged_files(output, other, place, tally, caplog):
    folder = run_folder(output) / place
    files = files_of(folder)
    for path in files:
        twin = other / place / path.relative_to(folder)
        for stranger in [*(one for one in files if one != path), twin]:
            content = stranger.read_bytes()
            with replaced(path) as before:
                if content == before:
                    continue  # such as the tokenizer of two runs
                with tally.case(f"{path.name} with the content of {stranger}"):
                    path.write_bytes(content)
                    expect(folder, path, caplog)


@pytest.mark.parametrize("place", PLACES)
def test_flipped_bits(output, place, tally, caplog, is_full):
    folder = run_folder(output) / place
    draw = random.Random(place)
    for path in files_of(folder):
        size = path.stat().st_size
        with replaced(path) as content:
            for _ in range(NUM_FLIPS if is_full else NUM_QUICK_FLIPS):
                bit = draw.randrange(8 * size)
                with tally.case(f"{path.name} bit {bit}"):
                    with path.open("r+b") as file:
                        file.seek(bit // 8)
                        file.write(bytes([content[bit // 8] ^ 1 << bit % 8]))
                    expect(folder, path, caplog)
                with path.open("r+b") as file:
                    file.seek(bit // 8)
                    file.write(content[bit // 8 : bit // 8 + 1])
    assert fault_in(folder) is None


def test_auto_falls_back_to_the_older_checkpoint(output, tally, caplog):
    weights = run_folder(output) / "weights"
    older, newer = sorted(weights.glob("step-*"))
    for path in files_of(newer):
        with tally.case(path.name), replaced(path) as content:
            path.write_bytes(content[:-1])
            caplog.clear()
            assert find_checkpoint(weights, AUTO) == older, "another one"
            assert f"--resume auto skips {newer}: {path.name}" in caplog.text, "not reported"
            with pytest.raises(UserError, match="use --resume auto, or name another"):
                find_checkpoint(weights, ResumeRequest.parse(str(newer)))
    assert find_checkpoint(weights, AUTO) == newer


def test_pointers(output, tally):
    """`--resume best` is an error; `--resume auto` goes by the names of the folders."""
    weights = run_folder(output) / "weights"
    newest = max(weights.glob("step-*"))
    contents = {name: (weights / f"{name}.json").read_bytes() for name in ("best", "last")}
    for name, content in contents.items():
        other = contents["last" if name == "best" else "best"]
        flips = [content[:i] + bytes([content[i] ^ 1 << i % 8]) + content[i + 1 :]
                 for i in range(len(content))]  # fmt: skip
        cuts = [content[: len(content) * i // NUM_CUTS] for i in range(NUM_CUTS)]
        for damaged in (*flips, *cuts, bytes(len(content)), other):
            with tally.case(f"{name}.json {damaged!r}"), replaced(weights / f"{name}.json") as _:
                (weights / f"{name}.json").write_bytes(damaged)
                asked = ResumeRequest.parse("true" if name == "last" else name)
                with pytest.raises(UserError, match=f"{name}.json: the file is damaged"):
                    find_checkpoint(weights, asked)
                assert find_checkpoint(weights, AUTO) == newest


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.full
def test_commands(output, cache_dir, tally):
    """Commands end with the errors of these functions, in one line, before a weight is used."""
    folder = run_folder(output)
    places = ("--output_dir", output, "--hf_cache_dir", cache_dir)
    checkpoint = folder / PLACES[0]
    damages = [
        ("hf/model.safetensors", ("test_ddp.py", *TEST, "--hf_path", "default")),
        ("hf/tokenizer.json", ("test_ddp.py", *TEST, "--hf_path", folder / "hf")),
        (f"hf/{MANIFEST}", ("test_ddp.py", *TEST, "--hf_path", folder / "hf")),
        ("model/config.json", ("test_ddp.py", *TEST, "--resume", "best")),
        ("model/tokenizer.json", ("train_ddp.py", *TRAIN, "--resume", "auto")),
        (f"{PLACES[0]}/model.safetensors", ("test_ddp.py", *TEST, "--resume", checkpoint)),
        (f"{PLACES[0]}/optimizer.safetensors", ("train_ddp.py", *TRAIN, "--resume", checkpoint)),
        (f"{PLACES[0]}/progress.json", ("train_ddp.py", *TRAIN, "--resume", "true")),
    ]
    for name, words in damages:
        with tally.case(f"{name}: {words[0]}"), replaced(folder / name):
            flip(folder / name)
            done = run_script(*words, *places)
            last = done.stderr.strip().splitlines()[-1]
            assert done.returncode == Exit.CHECKPOINT, done.stderr
            assert last.startswith("error: ") and Path(name).name in last, last
            assert "Traceback" not in done.stderr and "loading weights" not in done.stderr
    with tally.case("train_ddp.py --resume auto goes on from the older checkpoint"):
        flip(checkpoint / "model.safetensors")
        done = run_script("train_ddp.py", *TRAIN, "--seed", "1", "--resume", "auto", *places)
        assert done.returncode == 0, done.stderr
        # The line contains only the end of a long path.
        assert "--resume auto skips " in done.stderr
        assert f"{checkpoint.name}: model.safetensors is damaged" in done.stderr
        assert find_fault(checkpoint) is None, "not written again"


@pytest.mark.full
def test_shards(tmp_path, cache_dir, tally):
    """The same for a checkpoint written in parts by two processes."""
    places = ("--output_dir", tmp_path, "--hf_cache_dir", cache_dir)
    words = ("train_ddp.py", *TRAIN, "--parallel", "fsdp", "--save_every", 2, *places)
    done = run_script_on_ranks(2, *words)
    assert [one.returncode for one in done] == [0, 0], done[0].stderr
    checkpoint = max(run_folder(tmp_path).glob("weights/step-*"))
    shards = sorted(checkpoint.glob("shard-*"))
    assert len(shards) == 2
    for shard in shards:
        with tally.case(shard.name), replaced(shard):
            flip(shard)
            done = run_script("test_ddp.py", *TEST, "--resume", checkpoint, *places)
            assert done.returncode == Exit.CHECKPOINT
            assert shard.name in done.stderr.strip().splitlines()[-1]
            done = run_script_on_ranks(2, *words, "--resume", "true")
            assert {one.returncode for one in done} == {Exit.CHECKPOINT}
            assert shard.name in "".join(one.stderr for one in done)
    with tally.case("shards, --resume auto goes on from the older checkpoint"):
        flip(shards[1])
        done = run_script_on_ranks(2, *words, "--resume", "auto")
        assert [one.returncode for one in done] == [0, 0], done[0].stderr
        assert find_fault(checkpoint) is None, "not written again"
