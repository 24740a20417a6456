"""The whole road on synthetic covers: look, clean, split, baselines, a small CNN

And how far all are from the best possible score."""
import argparse, time
from pathlib import Path

import matplotlib.pyplot as plt, numpy as np, pandas as pd
from PIL import Image

from genre_fastai.runs import start_run
from genre_fastai.items import genre_matrix, genre_vocab, save_items
from genre_fastai.data.images import ImageCache
from genre_fastai.datasets.synthetic import best_possible, synthetic_items
from genre_fastai.data.show import show_items
from genre_fastai.view_data import describe_items, plot_genre_counts
from genre_fastai.data.clean import clean_items
from genre_fastai.data.split import split_items
from genre_fastai.prepare_data import plot_split
from genre_fastai.evaluate.metrics import format_scores, genre_report, genre_scores
from genre_fastai.evaluate.plots import plot_confusion
from genre_fastai.encoders.image import embed_items
from genre_fastai.evaluate.report import Page
from genre_fastai.baseline_knn import fit_baselines, score_models
from genre_fastai.evaluate.overlap import genre_overlap
from genre_fastai.clustering import describe_overlap, plot_overlap
from genre_fastai.learn.blocks import cover_block
from genre_fastai.learn.learner import genre_learner, predict_items
from genre_fastai.train.stages import plot_curves
from genre_fastai.fine_tune import learner_probabilities


def shuffled_labels(items, seed):
    "Train rows with their genres dealt out anew: what is left to learn is nothing"
    train = (items.split == 'train').to_numpy()
    genres = items.genres.to_numpy().copy()
    genres[train] = genres[train][np.random.default_rng(seed).permutation(train.sum())]
    return items.assign(genres=pd.Series(list(genres), index=items.index, dtype=object))


def blank_copies(items, folder):
    "The same items with pictures of one colour"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(len(items)):
        paths.append(str(folder/f'{i}.png'))
        Image.new('RGB', (40, 60), (128, 128, 128)).save(paths[-1])
    return items.assign(image=paths)


def train_cnn(items, size, epochs, seed, cache):
    dls = cover_block(items, size=size, cache=cache).dataloaders(items, bs=64, num_workers=0)
    learn = genre_learner(dls, 'small_cnn', seed=seed)
    with learn.no_bar(): learn.fit_one_cycle(epochs, 4e-3)
    return learn


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('runs/demo'))
    parser.add_argument('--overwrite', action='store_true', help='replace the report of an earlier run in that folder')
    parser.add_argument('--n', type=int, default=2000, help='covers')
    parser.add_argument('--size', type=int, default=64, help='side of the squares that the CNN sees, in pixels')
    parser.add_argument('--epochs', type=int, default=12)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    start = time.time()
    def say(text): print(f'[{time.time() - start:4.0f} s] {text}', flush=True)

    data = f'synthetic world, {args.n} covers'
    out = start_run(args.out, args.overwrite, data=data, seed=args.seed, epochs=args.epochs, size=args.size)
    page = Page('genre_fastai: the whole road on synthetic covers')
    say(f'drawing {args.n:,} covers of 10 genres, with some damaged, blank and repeated ones')
    raw = synthetic_items(out/'covers', n=args.n, n_genres=10, seed=args.seed, damaged=.01, duplicates=.02, blank=.01)
    page.add_heading('The data')
    page.add_text(f'{len(raw):,} covers that this project drew itself; seed {args.seed}. Because it knows how likely '
                  'each genre is given what it drew, it also knows the best score that any model can reach on them.')
    page.add_table(describe_items(raw), caption='What is there')
    show_items(raw, n=20)
    page.add_figure(plt.gcf(), caption='Twenty covers')
    page.add_figure(plot_genre_counts(raw), caption='Items of each genre')

    say('cleaning and splitting')
    items, report = clean_items(raw, needs='image', copy_of='image')
    items = split_items(items, valid=.1, test=.2, seed=args.seed)
    save_items(items, out/'items.parquet', report)
    print(report)
    page.add_heading('Cleaning')
    page.add_table(report.summary(),
                   caption=f'{report.n_in:,} rows in, {report.n_dropped:,} dropped, {report.n_out:,} kept')
    page.add_figure(plot_split(items), caption='Genres in train, valid and test')
    vocab, test = genre_vocab(items), items[items.split == 'test']
    y = genre_matrix(test, vocab)

    say('baselines on pixels and colours')
    probabilities = fit_baselines(items, seed=args.seed)
    say(f'small CNN, {args.epochs} epochs at {args.size} pixels')
    cache = ImageCache(args.size)
    learn = train_cnn(items, args.size, args.epochs, args.seed, cache)
    probabilities['small CNN'] = learner_probabilities(learn, items)
    probabilities['mean of small CNN and svm on colours'] = {
        s: (probabilities['small CNN'][s] + probabilities['svm on colours'][s])/2 for s in ('valid', 'test')}

    best = best_possible(test, by='image')
    board = score_models(items, probabilities)
    board.to_csv(out/'leaderboard.csv')
    page.add_heading('Leaderboard')
    print(f'\nTest rows: {len(test)}, seed {args.seed}\n{format_scores(board).to_string()}')
    valid = items[items.split == 'valid']
    on_valid = {m: genre_scores(genre_matrix(valid, vocab), p['valid'], multilabel=False)['accuracy']
                for m, p in probabilities.items()}
    name = max(on_valid, key=on_valid.get)
    top = board.accuracy[name]
    reached = (f'Best possible accuracy: {best["accuracy_expected"]:.3f} expected, {best["accuracy_here"]:.3f} on '
               f'these rows. The model that is best on the valid rows, {name}, reaches '
               f'{top/best["accuracy_expected"]:.0%} of it.')
    print(f'\n{reached}')
    page.add_table(format_scores(board), caption=f'{len(test)} test rows, seed {args.seed}. {reached}',
                   best={'accuracy': 'max', 'macro-F1': 'max'})
    page.add_text('What this table does not show: how these models do on covers that people drew. '
                  'For that, see make bench.')
    p_cnn = probabilities['small CNN']['test']
    page.add_table(format_scores(genre_report(y, p_cnn, vocab, multilabel=False)),
                   caption='The small CNN, genre by genre')
    page.add_figure(plot_confusion(y, p_cnn, vocab, multilabel=False), caption='What the small CNN takes for what')
    page.add_figure(plot_curves(learn)[0], caption='Loss and accuracy, epoch by epoch')

    say('trying to break it: shuffled labels, blank pictures')
    majority = y.mean(0).max()
    broken = shuffled_labels(items, args.seed)
    fooled = fit_baselines(broken, encoders=('colours',), models=('svm',), seed=args.seed)['svm on colours']['test']
    blank = predict_items(learn, blank_copies(test, out/'blank'))
    names = ['svm on colours, fitted on shuffled labels', 'small CNN on blank pictures', 'the commonest genre']
    right = [(p.argmax(1) == y.argmax(1)).mean() for p in (fooled, blank)]
    checks = pd.DataFrame({'accuracy': [*right, majority]}, index=names)
    print(f'\n{checks.round(3).to_string()}')
    page.add_heading('Can it be believed?')
    page.add_table(checks, caption='Without labels or without pictures nothing must be left but luck')

    say('which genres look alike')
    overlap = genre_overlap(embed_items(items, 'colours'), items)
    page.add_heading('Which genres look alike')
    page.add_text(describe_overlap(overlap))
    page.add_figure(plot_overlap(overlap), caption='Neighbours among vectors of colour and layout')
    page.save(out/'report.html', seed=args.seed, data=data,
              model=f'small CNN, {args.epochs} epochs at {args.size} pixels')
    say(f'wrote {out/"report.html"}')


if __name__ == '__main__':
    try: main()
    except (ValueError, OSError) as e: raise SystemExit(f'{type(e).__name__}: {e}')
