"""python -m ke_t5.sample DIR: writes the releases and tiny models of the sample, for inspection."""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

from ke_t5.errors import Exit, UserError, exit_code_of
from ke_t5.programs import TRAIN, command
from ke_t5.sample import sample_model_dir, write_releases
from ke_t5.sample.cache import CHECKSUMS

MODELS = ("t5", "roberta", "bert", "electra")


def _write(folder: Path) -> None:
    """Writes everything into a folder, or nothing.

    Raises:
        UserError: a file with other content exists, such as that of a real release.
    """
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary)
        write_releases(made / "data")
        _write_models(made / "models")
        for file in sorted(path for path in made.rglob("*") if path.is_file()):
            target = folder / file.relative_to(made)
            if target.exists() and not filecmp.cmp(file, target, shallow=False):
                what = "it exists, and is not the sample's"
                raise UserError(what, str(target), "name a new folder", Exit.DATA)
        shutil.copytree(made, folder, dirs_exist_ok=True)


def _write_models(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as cache:
        for model in MODELS:
            built = sample_model_dir(Path(cache), model)
            without_sums = shutil.ignore_patterns(CHECKSUMS)
            shutil.copytree(built, folder / model, ignore=without_sums, dirs_exist_ok=True)


def _listing(folder: Path) -> list[str]:
    """A line for each folder with files: the path and the file names."""
    folders = sorted({path.parent for path in folder.rglob("*") if path.is_file()})
    return [
        f"{place.relative_to(folder)}: {', '.join(sorted(p.name for p in place.iterdir()))}"
        for place in folders
    ]


def main(arguments: list[str] | None = None) -> int:
    """Writes DIR/data and DIR/models, prints the files, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ke_t5.sample", description=__doc__)
    parser.add_argument("folder", metavar="DIR", type=Path)
    folder = parser.parse_args(arguments).folder
    if code := exit_code_of(_write, folder):
        return code
    lines = [f"{folder}:", *(f"  {line}" for line in _listing(folder))]
    lines += [
        f"to train on it:  {command(TRAIN)} --task klue_tc --from_scratch true"
        f" --hf_data_dir {folder / 'data'} --pre_trained_model {folder / 'models' / 'bert'}"
        " --model_name transformers:BertForSequenceClassification"
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
