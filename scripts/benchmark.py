"A published set, with its official split, by `GenreClassifier`: our score among the published ones"
import argparse, os
from pathlib import Path

import pandas as pd

from genre_fastai.all import *
from genre_fastai.estimator import MAX_FIT_ROWS


def fit_and_test(items, seed):
    "Train and test rows: the official ones, or one split of 80/20; of train as many as can be fitted. Nothing is taken from test"
    if items.split.isna().all(): items = split_items(clean_items(items, needs='any', near='keep')[0], valid=0, test=.2, seed=seed)
    known = items[items.genres.map(len) > 0]
    test, train = known[known.split == 'test'], known[known.split.isin(['train', 'valid'])]
    vocab = set(genre_vocab(train))
    new = test.genres.map(lambda genres: bool(set(genres) - vocab)).sum()
    if new: print(f'{new} test rows have genres that train lacks: these labels are left out, and rows that have no other.')
    test = test.assign(genres=[[g for g in genres if g in vocab] for genres in test.genres])
    test = test[test.genres.map(len) > 0]
    if len(train) > MAX_FIT_ROWS:
        print(f'{len(train):,} rows to train; {MAX_FIT_ROWS:,} of them are fitted, drawn with seed {seed}.')
        train = sample_items(train.assign(split=None), MAX_FIT_ROWS, seed=seed)
    return pd.concat([train.assign(split='train'), test], ignore_index=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('name', choices=list(BENCHMARKS))
    parser.add_argument('folder', type=Path, help='where you unpacked it')
    parser.add_argument('--image-dir', type=Path, help='folder of the pictures, if they lie elsewhere')
    parser.add_argument('--preset', choices=list(PRESETS), default='fast')
    parser.add_argument('--encoder', help="of pictures, e.g. colours; none: the preset's body")
    parser.add_argument('--reads', nargs='+', choices=['image', 'text'], help='leave the other aside')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    items = fit_and_test(read_benchmark(args.name, args.folder, args.image_dir), args.seed)
    clf = GenreClassifier(args.preset, args.seed, args.encoder, reads=args.reads).fit(items)
    test = items[items.split == 'test']
    y, p, metrics = genre_matrix(test, list(clf.classes_)), clf.predict_proba(test), list(published_scores(args.name).metric.unique())
    known = [m for m in metrics if m in METRICS] or [('map' if clf.multilabel_ else 'accuracy'), 'macro_f1']
    ours = score_table(y, {f"genre_fastai, preset '{args.preset}'": p}, clf.multilabel_, clf.thresholds_, metrics=known)
    print(beside_published(args.name, ours).to_markdown(disable_numparse=True))
    print(f'\n{len(test):,} test rows, {len(clf.classes_)} genres, seed {args.seed}. What this does not show: how much of the difference is due to '
          'what each model was trained on before.')


if __name__ == '__main__':
    try: main()
    except (ValueError, OSError) as e: raise SystemExit(f'{type(e).__name__}: {e}')
