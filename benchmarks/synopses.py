"Scoreboard on real synopses: read, clean, split, score, and how long it takes; writes a table as markdown and JSON"
import argparse, time
from pathlib import Path

import numpy as np, pandas as pd

from genre_fastai.runs import atomic_path, empty_cache, environment, start_run
from genre_fastai.items import genre_matrix, genre_vocab, is_multilabel
from genre_fastai.data.readers import read_table
from genre_fastai.data.clean import clean_items
from genre_fastai.data.split import fold_items, split_items
from genre_fastai.evaluate.metrics import format_scores, genre_scores, paired_bootstrap, score_table
from genre_fastai.encoders.text import SentenceEncoder
from genre_fastai.baseline_knn import out_of_fold, score_models
from genre_fastai.classical.text_ridge import text_array
from genre_fastai.classical.text_baselines import fit_text_baselines, text_models
from genre_fastai.predict.classifier import GenreClassifier

HEADERLESS = ('adult backdrop_path belongs_to_collection budget genres homepage id imdb_id original_language original_title overview '
              'popularity poster_path production_companies production_countries release_date revenue runtime spoken_languages status '
              'tagline title video vote_average vote_count').split()
SETS = {  # name: file, how it is read, how it is cleaned, folds (or one split of 70/10/20)
    'imdb_four_genre_plots': (dict(id_col='movie_id', text_cols=['description'], genre_col='genre'), {}, 5),
    'tmdb_5000_movies': (dict(id_col='id', text_cols=['title', 'tagline', 'overview'], genre_col='genres'), dict(min_count=20), None),
    'book30-listing-test': (dict(id_col='index', text_cols=['title'], genre_col='category', names=(
        'index', 'file', 'address', 'title', 'author', 'category_id', 'category')), dict(min_words=1), 5),
    'tmdb_movies_3700_headerless': (dict(id_col='id', text_cols=['title', 'tagline', 'overview'], genre_col='genres',
                                         names=HEADERLESS), dict(min_count=20), None),
    'books_all_dirty': (dict(id_col='universal_product_code', text_cols=['product_description'], genre_col='category'),
                        dict(min_count=20), 5)}
MODELS = ('logistic on words', 'logistic on both', 'logistic on sentences', 'blend')


def read(data, name):
    how, switches, folds = SETS[name]
    raw = read_table(data/'synopses'/f'{name}.csv', **how)
    items, report = clean_items(raw, needs='text', **switches)
    return items, report, folds


def classifier_folds(items, fit):
    "Out-of-fold probabilities of a `GenreClassifier`: (n, n_genres)"
    p = np.zeros((len(items), len(genre_vocab(items))))
    for fold in sorted(items.fold.unique()):
        test = items.fold == fold
        p[test] = fit(items.assign(split=np.where(test, 'test', 'train'))).predict_proba(items[test].assign(split=None))
    return p


def fast(items, seed=0): return GenreClassifier('fast', seed=seed, reads='text').fit(items)


def shuffled(items, seed):
    "Train rows with their genres dealt out anew"
    train = (items.split != 'test').to_numpy() if items.split.notna().any() else np.ones(len(items), bool)
    genres = items.genres.to_numpy().copy()
    genres[train] = genres[train][np.random.default_rng(seed).permutation(train.sum())]
    return items.assign(genres=pd.Series(list(genres), index=items.index, dtype=object))


def folds_board(items, k, seed, encoder):
    items = fold_items(items, k=k, seed=seed)
    texts, y, multilabel = text_array(items), genre_matrix(items), is_multilabel(items)
    named = text_models(multilabel, seed, encoder)
    p = {name: out_of_fold(items, texts, named[name]) for name in ('chance', 'majority', *MODELS)}
    p["preset 'fast'"] = classifier_folds(items, fast)
    broken = shuffled(items, seed)
    y_broken, p_broken = genre_matrix(broken), classifier_folds(broken, fast)
    groups = items.group.to_numpy()
    metric = 'map' if multilabel else 'accuracy'
    gain = paired_bootstrap(metric, y, p["preset 'fast'"], p['logistic on words'], multilabel, groups=groups)
    note = (f"{metric} of 'fast' minus logistic on words: {gain}; 'fast' on shuffled genres: "
            f'{genre_scores(y_broken, p_broken, multilabel)[metric]:.3f}')
    return score_table(y, p, multilabel, groups=groups), note


def split_board(items, seed, encoder):
    items = split_items(items, valid=.1, test=.2, seed=seed)
    probabilities = fit_text_baselines(items, MODELS, encoder, seed)
    start = time.time()
    with empty_cache(): clf = fast(items)
    seconds = time.time() - start
    probabilities["preset 'fast'"] = {s: clf.predict_proba(items[items.split == s]) for s in ('valid', 'test')}
    test = items[items.split == 'test']
    y, p = genre_matrix(test, list(clf.classes_)), probabilities["preset 'fast'"]['test']
    own = genre_scores(y, p, True, clf.thresholds_)
    broken = fast(shuffled(items, seed)).score(items)
    note = (f"'fast' in {seconds:.0f} s with nothing remembered; with its own thresholds (from left-out and valid rows) micro-F1 "
            f'{own["micro_f1"]:.3f}, macro-F1 {own["macro_f1"]:.3f}; mAP on shuffled genres {broken:.3f}')
    return score_models(items, probabilities, groups=test.group.to_numpy()), note


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', required=True, help='folder with synopses/')
    parser.add_argument('--out', type=Path, default=Path('runs/synopses'))
    parser.add_argument('--overwrite', action='store_true')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--only', nargs='+', choices=list(SETS), default=list(SETS), help='some of the sets')
    args = parser.parse_args()
    data = Path(args.data)
    if not (data/'synopses').is_dir(): raise SystemExit(f'no synopses/ in {args.data!r}. Name the folder that holds it: make bench DATA=<folder>')
    out, encoder = start_run(args.out, overwrite=args.overwrite, data=data.name, seed=args.seed), SentenceEncoder(depths='upper')
    lines = [f'# Synopses\n\nSeed {args.seed}. ' + ', '.join(f'{k} {v}' for k, v in environment().items()) + '.']

    def write(text):
        lines.append(text)
        print(f'\n{text}', flush=True)
        with atomic_path(out/'synopses.md') as path: path.write_text('\n\n'.join(lines) + '\n', encoding='utf-8')

    for name in args.only:
        if not (data/'synopses'/f'{name}.csv').is_file():
            write(f'## {name}\n\nNot there.')
            continue
        items, report, k = read(data, name)
        report.frame.to_csv(out/f'{name}.report.csv', index=False)
        write(f'## {name}\n\n```\n{report}\n```\n\nLeft: {len(items)} items, {len(genre_vocab(items))} genres.')
        if k:
            one_split, start = split_items(items, valid=.1, test=.2, seed=args.seed), time.time()
            with empty_cache(): fast(one_split)
            write(f"'fast' on one split in {time.time() - start:.0f} s with nothing remembered.")
        board, note = folds_board(items, k, args.seed, encoder) if k else split_board(items, args.seed, encoder)
        protocol = f'{k} grouped folds, every row tested once' if k else 'one split of 70/10/20'
        write(f'{format_scores(board).reset_index().to_markdown(index=False, disable_numparse=True)}\n\n{protocol}. {note}.')
    write('What this does not show: texts of other sources; the form of the preset was chosen on other folds of these sets.')


if __name__ == '__main__':
    try: main()
    except (ValueError, OSError) as e: raise SystemExit(f'{type(e).__name__}: {e}')
