"Against Hugging Face's Trainer on synopses: the same encoder fine-tuned at several rates, and preset 'fast', on the same rows"
import argparse, json, tempfile, time
from pathlib import Path

import numpy as np, pandas as pd, torch

from genre_fastai.runs import atomic_path, empty_cache, stable_hash
from genre_fastai.items import genre_matrix, genre_vocab
from genre_fastai.data.readers import read_table
from genre_fastai.data.clean import clean_items
from genre_fastai.data.split import split_items
from genre_fastai.evaluate.metrics import format_scores, paired_bootstrap
from genre_fastai.encoders.weights import sentence_folder
from genre_fastai.baseline_knn import score_models
from genre_fastai.predict.classifier import GenreClassifier


def films(data):
    items = read_table(data/'synopses'/'tmdb_5000_movies.csv', id_col='id', text_cols=['title', 'tagline', 'overview'],
                       genre_col='genres')
    return split_items(clean_items(items, needs='text', min_count=20)[0], valid=.1, test=.2, seed=0)


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
        made = Trainer(model, TrainingArguments(place, learning_rate=rate, num_train_epochs=3, save_strategy='no', report_to=[],
                                                seed=0, bf16=bf16, max_steps=max_steps, disable_tqdm=True, use_cpu=not torch.cuda.is_available()),
                       train_dataset=rows('train'), data_collator=DataCollatorWithPadding(tokenizer))
        start = time.perf_counter()
        made.train()
        seconds = time.perf_counter() - start
        p = {split: 1/(1 + np.exp(-made.predict(rows(split)).predictions)) for split in ('valid', 'test')}
    return p, seconds, made.state.global_step


def fast(items):
    "Preset 'fast' with nothing remembered, sentence vectors included"
    with empty_cache():
        start = time.perf_counter()
        clf = GenreClassifier('fast', reads='text').fit(items)
        seconds = time.perf_counter() - start
        p = {split: clf.predict_proba(items[items.split == split]) for split in ('valid', 'test')}
    return p, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', type=Path, required=True, help='folder with synopses/')
    parser.add_argument('--out', type=Path, default=Path('runs/peers'), help='finished rates are kept here, and not run again')
    parser.add_argument('--rates', type=float, nargs='+', default=[5e-5, 1e-4, 2e-4])
    parser.add_argument('--bf16', action='store_true', help='the Trainer in bfloat16, which is not its default')
    parser.add_argument('--max-steps', type=int, default=-1, help='stop so early, to time a step')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    items, steps, ours = films(args.data), {}, "preset 'fast'"
    p, s = fast(items)
    probabilities, seconds, rows = {ours: p}, {ours: s}, stable_hash(*(f'{r.text} {r.genres} {r.split}' for r in items.itertuples()))
    print(f'{ours}: {s:.0f} s', flush=True)
    for rate in args.rates:
        name = f"Trainer at {rate:g}{', bfloat16' if args.bf16 else ''}{f', {args.max_steps} steps' if args.max_steps > 0 else ''}"
        kept = args.out/f'{name}-{rows:016x}.json'
        if not kept.is_file():
            p, s, n = trainer(items, rate, args.bf16, args.max_steps)
            with atomic_path(kept) as path: path.write_text(json.dumps([{k: v.tolist() for k, v in p.items()}, s, n]))
        p, seconds[name], steps[name] = json.loads(kept.read_text())
        probabilities[name] = {k: np.array(v) for k, v in p.items()}
        print(f'{name}: {seconds[name]:.0f} s, {steps[name]} steps', flush=True)
    groups = items[items.split == 'test'].group.to_numpy()
    board = score_models(items, probabilities, groups=groups)
    shown = format_scores(board)
    shown['seconds'], shown['steps'] = pd.Series(seconds).round(0), pd.Series(steps, dtype=object)
    y = genre_matrix(items[items.split == 'test'], genre_vocab(items))
    best = max((n for n in probabilities if n.startswith('Trainer')), key=lambda n: board['map'][n])  # in the peer's favour
    gain = paired_bootstrap('map', y, probabilities[ours]['test'], probabilities[best]['test'], True, groups=groups)
    lines = [shown.reset_index().to_markdown(index=False, disable_numparse=True), '',
             f"mAP of {ours} minus that of the rate which is best on the test rows: {gain}; time {seconds[best]/seconds[ours]:.1f} times as long for the Trainer. "
             f'{torch.get_num_threads()} threads.']
    with atomic_path(args.out/'peers.md') as path: path.write_text('\n'.join(lines) + '\n', encoding='utf-8')
    print('\n'.join(lines))


if __name__ == '__main__':
    try: main()
    except (ValueError, OSError) as e: raise SystemExit(f'{type(e).__name__}: {e}')
    except ImportError as e: raise SystemExit(f"{e}. The Trainer needs accelerate: pip install 'genre_fastai[peers]'.")
