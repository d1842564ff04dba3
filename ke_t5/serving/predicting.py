"""`ke-t5 predict` from top to bottom: reads rows, predicts them in windows, writes the result."""

from __future__ import annotations

import logging
import sys
import time
from argparse import Namespace
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ke_t5.config.gin_config import import_modules
from ke_t5.errors import Exit, UserError, counted
from ke_t5.files import remove_leftovers, write_atomically
from ke_t5.readers.streams import place_of
from ke_t5.readers.table_files import STDIN, STDIN_NAME, check_options, read_table, table_format
from ke_t5.recipes.folders import check_can_write
from ke_t5.recipes.prepare import set_up_logging
from ke_t5.serving.loading import load_predictor
from ke_t5.serving.predictor import at_place
from ke_t5.serving.rows import from_texts
from ke_t5.serving.tables import check_suffix, columns_for, lines_of

if TYPE_CHECKING:
    from ke_t5.serving.predictor import Predictor

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]
# A row with its place, its columns, and the content of its prediction or an error.
Answer = tuple[str, Row, Mapping[str, Any] | None, str | None]
REPORT_SECONDS = 10.0
MOST_FAULTS = 5  # errors that are logged one by one
MOST_LABELS = 50  # labels that get a column each


def main(flags: Namespace) -> None:
    """Predicts the rows that the flags name, and logs the speed."""
    set_up_logging(debug=flags.debug)
    output = None if flags.output is None else Path(flags.output)
    if output is not None:
        check_output(output, flags.input)
    if flags.input not in (None, STDIN):
        table_format(Path(flags.input))  # a missing file is reported before the model is loaded
    files = [flags.input or STDIN]
    check_options(files, prefix="--", encoding=flags.encoding, sheet=flags.sheet)
    logger.info("loading PyTorch and the model")  # seconds pass until the next line
    predictor = predictor_of(flags)
    logger.info("%s: predicting on %s", predictor.task.name, predictor.device)
    predicting = Predicting(predictor, flags, output)
    if output is None:
        predicting.print_lines()
    else:
        write_atomically(output, predicting.lines(), is_durable=True)
    predicting.finish()


def predictor_of(flags: Namespace) -> Predictor:
    """The model that the flags of `commands.trained_model` name; imports the user's modules."""
    import_modules(flags.module_import)
    return load_predictor(
        flags.hf_path or flags.run,
        task=flags.task,
        model_name=flags.model_name,
        resume=flags.resume,
        device=flags.device,
        batch_size=flags.batch_size,
        precision=flags.precision,
        flag="--hf_path" if flags.hf_path else "--run",
    )


def log_lost(predictor: Predictor) -> None:
    """Logs what the preparation of all rows so far has lost, a line each."""
    for what, count in predictor.lost.items():
        logger.warning("%s: %d", what, count)


def check_output(output: Path, source: str | None) -> None:
    """Raises UserError for a file that cannot be written, or that is the input `source`; removes
    leftovers of killed processes."""
    check_suffix(output)
    if source not in (None, STDIN) and output.exists() and output.samefile(source):
        what, fix = "it is the file of --input, which would be overwritten", "name another file"
        raise UserError(what, f"--output {output}", fix)
    check_can_write(output.parent, where=f"--output {output}")
    remove_leftovers(output.parent, output.name)


class Predicting:
    """One pass over the rows.

    Args:
        output: the file to write; None: JSON lines on standard output.
    """

    def __init__(self, predictor: Predictor, flags: Namespace, output: Path | None) -> None:
        self.predictor, self.flags, self.output = predictor, flags, output
        self.num_rows = self.num_faults = 0
        self._started = self._shown = time.monotonic()
        is_one = bool(flags.text)
        # With `disable=None` tqdm shows the bar on a terminal only.
        self._bar = tqdm(
            desc="predict", unit=" rows", disable=True if is_one else None, dynamic_ncols=True
        )

    def lines(self) -> Iterator[str]:
        """Yields the line of each row; for CSV and TSV, the first one with the header."""
        suffix = ".jsonl" if self.output is None else self.output.suffix.lower()
        labels = self.predictor.task.labels or ()
        has_probabilities = self.predictor.kind in ("label", "labels")
        labels = labels if has_probabilities and len(labels) <= MOST_LABELS else ()
        has_errors = self.flags.on_error == "skip"
        return lines_of(self.answers(), suffix, labels=labels, has_errors=has_errors)

    def print_lines(self) -> None:
        """Writes the lines to standard output until its reader closes it."""
        for line in self.lines():
            sys.stdout.write(line)
            if self._is_window_over():
                sys.stdout.flush()
            if getattr(sys.stdout, "is_gone", False):
                break
        sys.stdout.flush()

    def _is_window_over(self) -> bool:
        return self.num_rows % self.predictor.window == 0

    def answers(self) -> Iterator[Answer]:
        """Yields each row with its prediction; with `--on_error skip`, errors instead of raising.

        Raises:
            UserError: a row cannot be predicted, with its file and line.
        """
        waiting: deque[tuple[str, Row]] = deque()
        predictions = self.predictor(self._inputs(waiting), keep_errors=True)
        for prediction in predictions:
            where, row = waiting.popleft()
            self.num_rows += 1
            self._show()
            if prediction.error is None:
                yield where, row, prediction.content, None
                continue
            fault = at_place(prediction.error, where)
            if self.flags.on_error == "stop":
                raise fault
            self.num_faults += 1
            if self.num_faults <= MOST_FAULTS:
                logger.warning("%s: %s", where, prediction.error.what)
            yield where, row, None, prediction.error.what
        if self.num_rows == 0:  # raised before the output is replaced
            name = self.flags.input or STDIN_NAME
            raise UserError("contains no rows", name, "write rows into it", Exit.DATA)

    def _inputs(self, waiting: deque[tuple[str, Row]]) -> Iterator[Row]:
        """Yields the task's columns of each row, and appends the row to `waiting`."""
        task, flags = self.predictor.task, self.flags
        if flags.text:
            for number, text in enumerate(flags.text):
                row = from_texts(task, [text, *flags.text_pair[number : number + 1]])
                waiting.append(("--text", row))
                yield row
            return
        name = STDIN_NAME if flags.input in (None, STDIN) else flags.input
        mapping: dict[str, str] = {}
        for line, row in self._table():
            if not mapping:
                mapping = columns_for(
                    task, list(row), where=name,
                    text=flags.text_column, text_pair=flags.text_pair_column,
                    choices=flags.choice_columns,
                )  # fmt: skip
            waiting.append((place_of(name, line), row))
            yield {column: row[own] if own in row else None for column, own in mapping.items()}

    def _table(self) -> Iterable[tuple[int, Row]]:
        flags = self.flags
        return read_table(flags.input or STDIN, encoding=flags.encoding, sheet=flags.sheet)

    def _show(self) -> None:
        """Advances the progress bar; without a terminal, logs a line from time to time."""
        self._bar.update()
        now = time.monotonic()
        if self._bar.disable and now - self._shown > REPORT_SECONDS:
            self._shown = now
            rate = self.num_rows / (now - self._started)
            logger.info("%s, %.1f a second", counted(self.num_rows, "row"), rate)

    def finish(self) -> None:
        """Logs what was lost of the rows, how many were predicted, the speed, and the output."""
        self._bar.close()
        log_lost(self.predictor)
        seconds = max(time.monotonic() - self._started, 1e-9)
        faults = f", {self.num_faults} of them without a prediction" if self.num_faults else ""
        where = f" in {self.output}" if self.output else ""
        logger.info(
            "%s%s in %.1f s (%.1f a second)%s",
            counted(self.num_rows, "row"), faults, seconds, self.num_rows / seconds, where,
        )  # fmt: skip
