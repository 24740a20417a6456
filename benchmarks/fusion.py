"Scoreboard on posters with overviews and metadata, and on book covers with titles: everything, on grouped folds"
import argparse, os, time
from pathlib import Path

import numpy as np, pandas as pd

from genre_fastai.runs import atomic_path, empty_cache, environment, start_run
from genre_fastai.items import genre_matrix, genre_vocab
from genre_fastai.data.readers import read_table
from genre_fastai.data.clean import clean_items
from genre_fastai.data.split import fold_items, split_items
from genre_fastai.data.genres import roll_up_genres
from genre_fastai.evaluate.metrics import (calibration_error, format_scores, genre_report, genre_scores,
                                           paired_bootstrap, score_table)
from genre_fastai.learn.blocks import poster_block
from genre_fastai.learn.learner import genre_learner
from genre_fastai.fine_tune import learner_probabilities
from genre_fastai.predict.classifier import GenreClassifier, PRESETS

META = ['released', 'runtime', 'rated', 'language', 'country', 'director', 'actors']


def films(data):
    "Films with an overview, and genres with 20 films or more; the genres come from a table of their own"
    folder = data/'posters'
    labels = read_table(folder/'genres_onehot.csv', id_col='Id', genre_col='Genre', image_dir=folder/'images',
                        text_cols=[], meta_cols=[])
    facts = read_table(folder/'movies.csv', id_col='imdb_id', text_cols=['overview'], genre_cols=[],
                       image_dir=folder/'images')
    genres = labels.drop_duplicates('item_id').set_index('item_id').genres.reindex(facts.item_id)
    items = facts.assign(genres=[g if isinstance(g, list) else [] for g in genres])
    how = dict(text_cols=['title', 'text'], meta_cols=META)
    return clean_items(items, needs='text', min_count=20, copies='keep'), how


def books(data):
    "Book covers with titles, at the top level of their shelves, with 80 books or more"
    folder = data/'book_covers'
    items = read_table(folder/'books.csv', id_col='ID_number', image_col='ID_number', image_dir=folder/'images',
                       genre_col='genres', text_cols=['title'])
    items = roll_up_genres(items)
    return clean_items(items, needs='text', min_count=80, min_words=1, copies='keep', blank='keep'), {'text_cols': None}


SETS = {'posters': films, 'book_covers': books}


def with_thresholds(p, thresholds):
    "Probabilities moved so that every genre's threshold lies at .5"
    logit = lambda q: np.log(np.clip(q, 1e-6, 1 - 1e-6)/(1 - np.clip(q, 1e-6, 1 - 1e-6)))
    return 1/(1 + np.exp(logit(np.asarray(thresholds)) - logit(p)))


def over_folds(items, preset, how, seed):
    "Name -> (n, n_genres) probabilities of rows left out of the fit; with thresholds at .5; a table of the folds"
    found, cut, told = {}, {}, []
    for fold in sorted(items.fold.unique()):
        test, start = (items.fold == fold).to_numpy(), time.time()
        clf = GenreClassifier(preset, seed=seed, **how).fit(items.assign(split=np.where(test, 'test', 'train')))
        for name, p in clf.ablate(items[test].assign(split=None)).items():
            found.setdefault(name, np.zeros((len(items), len(clf.classes_))))[test] = p
            cut.setdefault(name, np.zeros((len(items), len(clf.classes_))))[test] = with_thresholds(p, clf.thresholds_)
        told.append(pd.json_normalize(clf.choices(), sep=': ').assign(seconds=round(time.time() - start)))
    return found, cut, pd.concat(told, ignore_index=True)


def shuffled(items, seed):
    order = np.random.default_rng(seed).permutation(len(items))
    return items.assign(genres=items.genres.to_numpy()[order])


def table(y, found, cut, groups):
    f1 = score_table(y, cut, True, metrics=['micro_f1', 'macro_f1'], groups=groups)
    board = format_scores(score_table(y, found, True, metrics=['map'], groups=groups).drop(columns='n').join(f1))
    board['calibration error'] = [round(calibration_error(y, p, True), 3) for p in found.values()]
    return board


def staged(items, seed):
    "Pictures alone by the presets' body, trained in stages: (n_test, n_genres) for the first fold, and seconds"
    rest = split_items(items[items.fold != 0], valid=.1, test=0, seed=seed) # a tenth says which epoch was the best
    items = items.assign(split=rest.split.reindex(items.index).fillna('test'))
    learn = genre_learner(poster_block(items).dataloaders(items, bs=32), PRESETS['fast']['bodies'][0], seed=seed)
    start = time.time()
    with learn.no_bar(): learn.fine_tune_stages()
    return learner_probabilities(learn, items)['test'], time.time() - start


def beside_staged(items, chosen, seed, y, groups):
    p, seconds = staged(items, seed)
    first = (items.fold == 0).to_numpy()
    lines = [f'Pictures alone on the first fold, mAP: the body trained in stages '
             f'{genre_scores(y[first], p, True)["map"]:.3f} after {seconds:.0f} s']
    for preset, found in chosen.items():
        ours = found['pictures alone'][first]
        gain = paired_bootstrap('map', y[first], ours, p, True, groups=groups[first])
        lines.append(f'{preset} {genre_scores(y[first], ours, True)["map"]:.3f}, which is {gain} more')
    return '; '.join(lines) + '.'


def by_genre(y, p, items):
    "Every genre's scores; the averages with intervals that draw the items of a group together"
    return format_scores(genre_report(y, p, genre_vocab(items), True, groups=items.group.to_numpy()))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', required=True, type=Path, help='folder with posters/ and book_covers/')
    parser.add_argument('--out', type=Path, default=Path('runs/fusion'))
    parser.add_argument('--overwrite', action='store_true')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--only', nargs='+', choices=list(SETS), default=list(SETS), help='one of the sets')
    parser.add_argument('--presets', nargs='+', choices=list(PRESETS), default=['fast', 'medium'],
                        help="'best' is 'medium' again where none of its bodies is found")
    parser.add_argument('--train', action='store_true', help='train the body in stages, too; some minutes a set')
    return parser


def main():
    args = arguments().parse_args()
    if (args.data/'weights').is_dir(): os.environ.setdefault('GENRE_FASTAI_WEIGHTS', str(args.data/'weights'))
    out, lines = start_run(args.out, overwrite=args.overwrite, data=args.data.name, seed=args.seed), []

    def write(text):
        lines.append(text)
        print(f'\n{text}', flush=True)
        with atomic_path(out/'fusion.md') as path: path.write_text('\n\n'.join(lines) + '\n', encoding='utf-8')

    versions = ', '.join(f'{k} {v}' for k, v in environment().items())
    write(f'# Everything together\n\nSeed {args.seed}. {versions}.')
    for name in args.only:
        start = time.time()
        (items, report), how = SETS[name](args.data)
        read = time.time() - start
        items = fold_items(items, k=5, seed=args.seed)
        y, groups = genre_matrix(items), items.group.to_numpy()
        write(f'## {name}\n\n```\n{report}\n```\n\n{len(items)} items, {y.shape[1]} genres, 5 grouped folds.')
        one = items.assign(split=np.where(items.fold == 0, 'test', 'train'))
        start = time.time()
        with empty_cache(): GenreClassifier('fast', seed=args.seed, **how).fit(one)
        write(f"'fast' with nothing remembered: {time.time() - start:.0f} s, and {read:.0f} s to read and clean.")
        cuts, chosen = {}, {}
        for preset in args.presets:
            found, cut, told = over_folds(items, preset, how, args.seed)
            chosen[preset] = found
            rows = {f'{preset}: {k}': v for k, v in found.items()}
            cuts |= {f'{preset}: {k}': v for k, v in cut.items()}
            board = table(y, rows, {k: cuts[k] for k in rows}, groups).reset_index()
            write(f'{board.to_markdown(index=False, disable_numparse=True)}\n\n'
                  'Chosen by left-out predictions inside the training part of each fold, and seconds with what was '
                  f'remembered:\n\n{told.T.to_markdown()}')
        for better, worse in zip(args.presets[1:], args.presets):
            gain = paired_bootstrap('map', y, chosen[better]['everything'], chosen[worse]['everything'], True,
                                    groups=groups)
            write(f'mAP of {better} minus {worse}: {gain}')
        write(removal(items, chosen[args.presets[0]], args.presets[0], how, args.seed, y, groups))
        if args.train: write(beside_staged(items, chosen, args.seed, y, groups))
        prior = np.tile(y.mean(0), (len(y), 1))
        broken = shuffled(items, args.seed)
        p_broken = over_folds(broken, 'fast', how, args.seed)[0]['everything']
        write(f'Prior only: mAP {genre_scores(y, prior, True)["map"]:.3f}, '
              f'calibration error {calibration_error(y, prior, True):.3f}. '
              f"'fast' on shuffled genres: mAP {genre_scores(genre_matrix(broken), p_broken, True)['map']:.3f}.")
        detail = by_genre(y, cuts[f'{args.presets[0]}: everything'], items).reset_index()
        write('Genre by genre:\n\n' + detail.to_markdown(index=False, disable_numparse=True))
    write('What this does not show: other sources of posters and books. That these forms are on offer is owed to '
          'trials on these sets, too; which is taken, and all numbers in it, is chosen inside the training folds.')


def removal(items, found, preset, how, seed, y, groups):
    "Each kind of input taken away at prediction, against a model that never had it"
    kinds, rows = {'pictures': 'image', 'texts': 'text', 'metadata': 'meta'}, []
    present = [k for k in kinds if f'{k} alone' in found]
    for gone in present:
        left = [kinds[k] for k in present if k != gone]
        less = how | {'reads': left, 'meta_cols': how.get('meta_cols') if 'meta' in left else None}
        own = over_folds(items, preset, less, seed)[0]['everything']
        taken = found[f'without {gone}' if len(present) > 2 else f'{next(k for k in present if k != gone)} alone']
        rows.append({'without': gone, 'taken away at prediction': genre_scores(y, taken, True)['map'],
                     'never had it': genre_scores(y, own, True)['map'],
                     'difference': paired_bootstrap('map', y, taken, own, True, groups=groups)})
    return f'Preset {preset!r}, mAP:\n\n' + pd.DataFrame(rows).round(3).to_markdown(index=False)


if __name__ == '__main__':
    try: main()
    except (ValueError, OSError) as e: raise SystemExit(f'{type(e).__name__}: {e}')
