"""Against Hugging Face's Trainer on synopses: the same encoder fine-tuned at several rates, and preset 'fast'

Shows scores and seconds on the same rows; finished rates are kept in the run's folder, and not run again. Does not show
the Trainer with other settings than its defaults, nor texts of other sources."""
import json, tempfile, time

import numpy as np, pandas as pd, torch

from benchmarks import real_data
from benchmarks.harness import arguments, Record, run
from genre_fastai.runs import atomic_path, empty_cache, stable_hash
from genre_fastai.items import genre_matrix, genre_vocab
from genre_fastai.data.split import split_items
from genre_fastai.evaluate.metrics import paired_bootstrap
from genre_fastai.encoders.weights import sentence_folder
from genre_fastai.baseline_knn import score_models
from genre_fastai.predict.classifier import GenreClassifier

OURS = "preset 'fast'"


def trainer(items, rate, bf16, max_steps):
    "The Trainer with its defaults but for the rate: batches of 8, linear decay, AdamW; texts cut to 256 tokens"
    from transformers import (AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer,
                              TrainingArguments)
    folder, vocab = sentence_folder(), genre_vocab(items)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    def rows(split):
        part = items[items.split == split]
        return [dict(tokenizer(text, truncation=True, max_length=256), labels=y)
                for text, y in zip(part.text, genre_matrix(part, vocab).astype(float).tolist())]
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(vocab),
                                                               problem_type='multi_label_classification')
    with tempfile.TemporaryDirectory() as place:
        settings = TrainingArguments(place, learning_rate=rate, num_train_epochs=3, save_strategy='no', report_to=[],
                                     seed=0, bf16=bf16, max_steps=max_steps, disable_tqdm=True,
                                     use_cpu=not torch.cuda.is_available())
        made = Trainer(model, settings, train_dataset=rows('train'), data_collator=DataCollatorWithPadding(tokenizer))
        start = time.perf_counter()
        made.train()
        seconds = time.perf_counter() - start
        p = {split: 1/(1 + np.exp(-made.predict(rows(split)).predictions)) for split in ('valid', 'test')}
    return p, seconds, made.state.global_step


def kept(path, make):
    "What `make()` gives, kept at `path`: probabilities by split, seconds, steps"
    if not path.is_file():
        p, seconds, steps = make()
        told = json.dumps([{k: v.tolist() for k, v in p.items()}, seconds, steps])
        with atomic_path(path) as place: place.write_text(told)
    p, seconds, steps = json.loads(path.read_text())
    return {k: np.array(v) for k, v in p.items()}, seconds, steps


def fast(items):
    "Preset 'fast' with nothing remembered, sentence vectors included"
    with empty_cache():
        start = time.perf_counter()
        clf = GenreClassifier('fast', modalities='text').fit(items)
        seconds = time.perf_counter() - start
        p = {split: clf.predict_proba(items[items.split == split]) for split in ('valid', 'test')}
    return p, seconds


def main():
    parser = arguments(__doc__, 'peers', 'folder with synopses/', seeds=True)
    parser.add_argument('--rates', type=float, nargs='+', default=[5e-5, 1e-4, 2e-4])
    parser.add_argument('--bf16', action='store_true', help='the Trainer in bfloat16, which is not its default')
    parser.add_argument('--max-steps', type=int, default=-1, help='stop so early, to time a step')
    parser.set_defaults(overwrite=True) # finished rates are not run again
    args = parser.parse_args()
    record = Record(args, 'Peers', threads=torch.get_num_threads())
    items = split_items(real_data.tmdb_films(args.data), valid=.1, test=.2, seed=0)
    rows = stable_hash(*(f'{r.text} {r.genres} {r.split}' for r in items.itertuples()))
    probabilities, seconds, steps = {}, {}, {}
    probabilities[OURS], seconds[OURS] = fast(items)
    record.write(f'{OURS}: {seconds[OURS]:.0f} s')
    for rate in args.rates:
        name = f'Trainer at {rate:g}' + ', bfloat16'*args.bf16
        if args.max_steps > 0: name += f', {args.max_steps} steps'
        found = kept(record.folder/f'{name}-{rows:016x}.json', lambda: trainer(items, rate, args.bf16, args.max_steps))
        probabilities[name], seconds[name], steps[name] = found
        record.write(f'{name}: {seconds[name]:.0f} s, {steps[name]} steps')
    test = items[items.split == 'test']
    y, groups = genre_matrix(test, genre_vocab(items)), test.group.to_numpy()
    board = score_models(items, probabilities, groups=groups)
    board['seconds'], board['steps'] = pd.Series(seconds).round(0), pd.Series(steps, dtype=object)
    best = max((n for n in probabilities if n != OURS), key=lambda n: board['map'][n]) # in the peer's favour
    pair = probabilities[OURS]['test'], probabilities[best]['test']
    record.write(board, f'mAP of {OURS} minus that of the rate which is best on the test rows: '
                 f'{paired_bootstrap("map", y, *pair, True, groups=groups)}; time {seconds[best]/seconds[OURS]:.1f} '
                 f'times as long for the Trainer. {torch.get_num_threads()} threads.')


if __name__ == '__main__':
    try: run(main)
    except ImportError as e: raise SystemExit(f"{e}. The Trainer needs accelerate: pip install 'genre_fastai[peers]'.")
