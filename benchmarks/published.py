"""A published set, with its official split, by `GenreClassifier`: our score among the published ones

Shows the score on the official test rows beside those of papers, with their sources. Does not show how much of the
difference is due to what each model was trained on before."""
from pathlib import Path

import pandas as pd

from benchmarks.harness import arguments, Record, run
from genre_fastai.items import genre_matrix, genre_vocab, some
from genre_fastai.datasets.published import BENCHMARKS, beside_published, published_scores, read_benchmark
from genre_fastai.data.clean import clean_items
from genre_fastai.data.split import sample_items, split_items
from genre_fastai.evaluate.metrics import METRICS, score_table
from genre_fastai.predict.modalities import PRESETS
from genre_fastai.predict.classifier import GenreClassifier, MAX_FIT_ROWS


def fit_and_test(items, seed):
    """Train and test rows, and a note on how many are fitted; nothing is taken from test

    The rows are the official ones, or one split of 80/20; of train and valid as many as can be fitted."""
    if items.split.isna().all():
        items = split_items(clean_items(items, needs='any', near='keep')[0], valid=0, test=.2, seed=seed)
    known = items[items.genres.map(len) > 0]
    test, train = known[known.split == 'test'], known[known.split.isin(['train', 'valid'])]
    fitted = sample_items(train.assign(split=None), MAX_FIT_ROWS, seed=seed) if len(train) > MAX_FIT_ROWS else train
    note = f'fitted on {len(fitted):,} of {len(train):,} train and valid rows'
    vocab = genre_vocab(fitted)
    lost = [g for g in genre_vocab(train) if g not in vocab]
    if len(fitted) < len(train): print(f'{note}, drawn with seed {seed}.')
    if lost: print(f'{len(lost)} genres are in none of the rows drawn, and are not learned: {some(lost)}.')
    new = test.genres.map(lambda genres: not set(genres) <= set(vocab)).sum()
    if new:
        print(f'{new} test rows have genres that no fitted row has: '
              'these labels are left out, and rows that have no other.')
    test = test.assign(genres=[[g for g in genres if g in vocab] for genres in test.genres])
    return pd.concat([fitted.assign(split='train'), test[test.genres.map(len) > 0]], ignore_index=True), note


def main():
    parser = arguments(__doc__, 'published')
    parser.add_argument('name', choices=list(BENCHMARKS))
    parser.add_argument('folder', type=Path, help='where you unpacked it')
    parser.add_argument('--image-dir', type=Path, help='folder of the pictures, if they lie elsewhere')
    parser.add_argument('--preset', choices=list(PRESETS), default='fast')
    parser.add_argument('--encoder', help="of pictures, e.g. colours; none: the preset's body")
    parser.add_argument('--modalities', nargs='+', choices=['image', 'text'], help='leave the other aside')
    args = parser.parse_args()
    args.out = args.out/args.name
    record = Record(args, args.name, preset=args.preset)
    items, note = fit_and_test(read_benchmark(args.name, args.folder, args.image_dir), args.seed)
    clf = GenreClassifier(args.preset, args.seed, args.encoder, modalities=args.modalities).fit(items)
    test, metrics = items[items.split == 'test'], list(published_scores(args.name).metric.unique())
    y, p = genre_matrix(test, list(clf.classes_)), clf.predict_proba(test)
    known = [m for m in metrics if m in METRICS] or [('map' if clf.multilabel_ else 'accuracy'), 'macro_f1']
    inputs = ' and '.join(m.what for m in clf.modalities_)
    name = f"genre_fastai, preset '{args.preset}' on {inputs}" + (f' by {args.encoder}' if args.encoder else '')
    ours = score_table(y, {name: p}, clf.multilabel_, clf.thresholds_, metrics=known)
    record.write(beside_published(args.name, ours, note), f'{len(test):,} test rows, {len(clf.classes_)} genres. '
                 'What this does not show: how much of the difference is due to what each model was trained on before.')


if __name__ == '__main__': run(main)
