"""A small Korean T5 to train from scratch: free text, a vocabulary, a configuration.

    python -m benchmarks.small_t5 --hf_data_dir DATA --out OUT
    python train_ddp.py --task span_corruption_ko --train_file OUT/text --valid_file OUT/valid.txt
        --pre_trained_model OUT/model --from_scratch --gin_file ke_t5_seq2seq.gin --batch_size 16
        --gin_param "get_dataset.sequence_length={'inputs': 96, 'targets': 24}"
        --gin_param Adafactor.scale_parameter=True --learning_rate 1e-2 --schedule --warmup 100
        --epochs 1 --max_steps 7000 --hf_path OUT/t5
    python train_ddp.py --task klue_tc_gen --hf_data_dir DATA --gin_file ke_t5_seq2seq.gin
        --gin_param "get_dataset.sequence_length={'inputs': 64, 'targets': 8}" --batch_size 32
        --gin_param "EvaluationHelper.model_kwargs={'max_new_tokens': 6, 'num_beams': 1}"
        --gin_param Adafactor.scale_parameter=True --learning_rate RATE --schedule --epochs 1
        --max_steps STEPS --eval_rows 2000 --seed SEED
        --pre_trained_model OUT/t5    (or OUT/model --from_scratch)
    python train_ddp.py --task korquad_gen --hf_data_dir DATA --gin_file ke_t5_seq2seq.gin
        --train_split 'validation[:75%]' --valid_split 'validation[80%:]' --eval_rows 500
        --gin_param "get_dataset.sequence_length={'inputs': 384, 'targets': 24}" --batch_size 16
        --gin_param "EvaluationHelper.model_kwargs={'max_new_tokens': 16, 'num_beams': 1}"
        --gin_param Adafactor.scale_parameter=True --learning_rate 1e-2 --schedule --epochs 10
        --max_steps 600 --pre_trained_model OUT/t5    (or OUT/model --from_scratch)

One core of a shared machine (AVX-512 BF16, steps in bf16). Macro F1 of `klue_tc_gen` on 2,000 rows
of the validation split, seeds 42, 1 and 2; of 1e-2 and 3e-2 the rate that was better by seed 42,
the same one for both sides:

    steps, rate    pre-trained   from scratch   paired difference
    100, 3e-2      43.9 ± 5.5    27.7 ± 1.1     +16.1 ± 4.4
    400, 1e-2      64.5 ± 4.3    60.1 ± 5.0     +4.4 ± 0.8

So 16 minutes of pre-training help most where little is trained afterwards. (The texts include the
titles of `klue_tc`'s training split, without topics.) Perplexity of held-out text: 170. The rate
hardly falls within so few steps: a schedule is that of all `--epochs`.

`korquad_gen`: F1 4.1 from pre-trained and 3.9 from scratch after 600 steps of 16, exact match 0:
neither learns to read. Further rates, steps and seeds were not tried there.

An earlier pre-training, 3,200 steps over the texts in one order, gained +1.1 after 400 steps with
one seed: the noise of a segment is the same in every epoch, so that its held-out perplexity rose
after two. Hence the eight orders, in which segments begin elsewhere and get other noise.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

PIECES, SENTINELS = 8000, 100
ORDERS = 8
CONFIG = {
    "architectures": ["T5ForConditionalGeneration"],
    "model_type": "t5",
    "d_model": 256,
    "d_kv": 64,
    "d_ff": 512,
    "num_heads": 4,
    "num_layers": 2,
    "num_decoder_layers": 1,
    "feed_forward_proj": "gated-gelu",
    "dropout_rate": 0.0,
    "tie_word_embeddings": True,
    "vocab_size": PIECES + SENTINELS,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
}
TOKENIZER = {
    "tokenizer_class": "T5Tokenizer",
    "extra_ids": SENTINELS,
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
}


def texts_of(data: Path) -> Iterator[str]:
    """Passages, premises, sentences and headlines, none of them of `klue_tc`'s validation split or
    the last fifth of KorQuAD's."""
    for pattern, share in (("KorQuAD/*dev.json", 0.75), ("klue_benchmark/klue-mrc*/*dev.json", 1)):
        for file in sorted(data.glob(pattern)):
            articles = json.loads(file.read_text(encoding="utf-8"))["data"]
            for article in articles[: round(share * len(articles))]:
                yield from (paragraph["context"] for paragraph in article["paragraphs"])
    for pattern, name in (
        ("klue_benchmark/klue-nli*/*train.json", "premise"),
        ("klue_benchmark/klue-re*/*train.json", "sentence"),
        ("klue_benchmark/ynat*/*train.json", "title"),
    ):
        for file in sorted(data.glob(pattern)):
            yield from (row[name] for row in json.loads(file.read_text(encoding="utf-8")))


def _write(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")


def main() -> None:
    """Writes the texts in `ORDERS` orders to the folder `text`, a fiftieth of them to `valid.txt`
    only, and the folder `model`."""
    import sentencepiece

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hf_data_dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    flags = parser.parse_args()
    model = flags.out / "model"
    model.mkdir(parents=True, exist_ok=True)
    texts = list(dict.fromkeys(" ".join(text.split()) for text in texts_of(flags.hf_data_dir)))
    rng = random.Random(0)
    rng.shuffle(texts)
    valid, train = texts[: len(texts) // 50], texts[len(texts) // 50 :]
    _write(flags.out / "valid.txt", valid)
    for number in range(ORDERS):
        rng.shuffle(train)
        _write(flags.out / "text" / f"{number}.txt", train)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_prefix=str(model / "spiece"), vocab_size=PIECES,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, max_sentence_length=100_000, num_threads=1,
    )  # fmt: skip
    for name, content in (("config", CONFIG), ("tokenizer_config", TOKENIZER)):
        (model / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
