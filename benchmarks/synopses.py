"""Scoreboard on real synopses: read, clean, split, score, and how long it takes

Shows simple models on words and on sentence vectors beside preset 'fast', the same with shuffled genres, and times with
nothing remembered. Does not show texts of other sources; the form of the preset was chosen on other folds of these
sets."""
import time

import numpy as np

from benchmarks import real_data
from benchmarks.harness import arguments, over_folds, Record, run, shuffled_genres
from genre_fastai.runs import empty_cache
from genre_fastai.items import genre_matrix, genre_vocab, is_multilabel
from genre_fastai.data.clean import clean_items
from genre_fastai.data.split import fold_items, split_items
from genre_fastai.evaluate.metrics import genre_scores, paired_bootstrap, score_table
from genre_fastai.encoders.text import SentenceEncoder
from genre_fastai.baseline_knn import out_of_fold, score_models
from genre_fastai.classical.text_ridge import text_array
from genre_fastai.classical.text_baselines import fit_text_baselines, text_models
from genre_fastai.predict.classifier import GenreClassifier

SETS = { # Name: how it is cleaned, folds (or one split of 70/10/20)
    'imdb_four_genre_plots': ({}, 5), 'tmdb_5000_movies': (dict(min_count=20), None),
    'book30-listing-test': (dict(min_words=1), 5), 'tmdb_movies_3700_headerless': (dict(min_count=20), None),
    'books_all_dirty': (dict(min_count=20), 5)}
MODELS = ('logistic on words', 'logistic on both', 'logistic on sentences', 'blend')
FAST = "preset 'fast'"


def fast(items, seed=0): return GenreClassifier('fast', seed=seed, modalities='text').fit(items)


def fast_folds(items): return over_folds(items, lambda marked, rows: {FAST: fast(marked).predict_proba(rows)})


def folds_board(items, k, seed, encoder):
    items = fold_items(items, k=k, seed=seed)
    texts, y, multilabel = text_array(items), genre_matrix(items), is_multilabel(items)
    named = text_models(multilabel, seed, encoder)
    p = {name: out_of_fold(items, texts, named[name]) for name in ('chance', 'majority', *MODELS)} | fast_folds(items)
    broken = shuffled_genres(items, np.random.default_rng(seed))
    y_broken, p_broken = genre_matrix(broken), fast_folds(broken)[FAST]
    groups = items.group.to_numpy()
    metric = 'map' if multilabel else 'accuracy'
    gain = paired_bootstrap(metric, y, p[FAST], p['logistic on words'], multilabel, groups=groups)
    note = (f"{metric} of 'fast' minus logistic on words: {gain}; 'fast' on shuffled genres: "
            f'{genre_scores(y_broken, p_broken, multilabel)[metric]:.3f}')
    return score_table(y, p, multilabel, groups=groups), note


def split_board(items, seed, encoder):
    items = split_items(items, valid=.1, test=.2, seed=seed)
    probabilities = fit_text_baselines(items, MODELS, encoder, seed)
    start = time.time()
    with empty_cache(): clf = fast(items)
    seconds = time.time() - start
    probabilities[FAST] = {s: clf.predict_proba(items[items.split == s]) for s in ('valid', 'test')}
    test = items[items.split == 'test']
    y = genre_matrix(test, list(clf.classes_))
    own = genre_scores(y, probabilities[FAST]['test'], True, clf.thresholds_)
    broken = fast(shuffled_genres(items, np.random.default_rng(seed))).score(items)
    note = (f"'fast' in {seconds:.0f} s with nothing remembered; with its own thresholds (from left-out and valid "
            f'rows) micro-F1 {own["micro_f1"]:.3f}, macro-F1 {own["macro_f1"]:.3f}; '
            f'mAP on shuffled genres {broken:.3f}')
    return score_models(items, probabilities, groups=test.group.to_numpy()), note


def main():
    args = arguments(__doc__, 'synopses', 'folder with synopses/', SETS).parse_args()
    real_data.need(args.data, 'synopses')
    record, encoder = Record(args, 'Synopses'), SentenceEncoder(depths='upper')
    for name in args.only:
        if not (args.data/'synopses'/f'{name}.csv').is_file():
            record.write(f'## {name}', 'Not there.')
            continue
        switches, k = SETS[name]
        items, report = clean_items(real_data.synopses(args.data, name), needs='text', **switches)
        report.frame.to_csv(record.folder/f'{name}.report.csv', index=False)
        record.write(f'## {name}', f'```\n{report}\n```',
                     f'Left: {len(items)} items, {len(genre_vocab(items))} genres.')
        if k:
            one_split, start = split_items(items, valid=.1, test=.2, seed=args.seed), time.time()
            with empty_cache(): fast(one_split)
            record.write(f"'fast' on one split in {time.time() - start:.0f} s with nothing remembered.")
            board, note = folds_board(items, k, args.seed, encoder)
            protocol = f'{k} grouped folds, every row tested once'
        else:
            board, note = split_board(items, args.seed, encoder)
            protocol = 'one split of 70/10/20'
        record.write(board, f'{protocol}. {note}.')
    record.write('What this does not show: texts of other sources; the form of the preset was chosen on other folds '
                 'of these sets.')


if __name__ == '__main__': run(main)
