"""A trained model of each form, exported and tested on first use."""

from __future__ import annotations

import json

from support.recipe_runs import run_folder, test, train

NUM_ROWS = 12
LONGEST = ("--gin_param", "EvaluationHelper.model_kwargs={'max_new_tokens': 6, 'num_beams': 2}")
# Name -> flags: a model of each form.
MODELS = {
    "klue_tc": (),
    "klue_sts": (),
    "klue_ner": (),
    "characters": ("--task", "klue_ner", "--model_name", "T5EncoderForCharacterTagging"),
    "klue_mrc": (),
    "klue_dp": (),
    "klue_re_tk_idx": (),
    "klue_tc_gen": ("--gin_param", "get_dataset.sequence_length={'inputs': 24}"),
    "klue_dst_gen": LONGEST,
}
PACE = ("--max_steps", 2, "--epochs", 1, "--train_split", "train[:16]")


class Models:
    """The runs, each created on first use."""

    def __init__(self, folder, cache, data):
        self.folder, self.cache, self.data = folder, cache, data

    def run(self, name):
        """The folder of a run, which is trained and exported on first use."""
        output = self.folder / name
        words = ("--task", name, "--sample", "--batch_size", 8, *MODELS[name])
        if not output.exists():
            valid = ("--valid_split", "validation[:8]", "--hf_path", "default")
            train(*words, *PACE, *valid, output=output, cache=self.cache)
        return run_folder(output)

    def export(self, name):
        """Its exported folder."""
        return self.run(name) / "hf"

    def tested(self, name):
        """The predictions of `test_ddp.py` for the first rows: the lines of `predictions.jsonl`."""
        run = self.run(name)
        words = ("--task", name, "--sample", "--batch_size", 8, *MODELS[name])
        test(
            *words, "--hf_path", run / "hf", "--test_split", f"validation[:{NUM_ROWS}]",
            output=run.parent.parent, cache=self.cache,
        )  # fmt: skip
        (file,) = run.glob("eval/*__*/predictions.jsonl")
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]

    def rows(self, task):
        """The first rows of a task, with their labels."""
        from ke_t5.pipe import Folders

        dataset = task.source.rows("validation", Folders(self.data, self.cache)).dataset
        return [dataset[i] for i in range(NUM_ROWS)]
