"""Scoreboard on posters with overviews and metadata, and on book covers with titles: everything, on grouped folds

Shows what each kind of input and all of them together reach with each preset, what is lost when one is taken away, and
what is left with shuffled genres. Does not show other sources of posters and books; that these forms are on offer is
owed to trials on these sets, too."""
import time

import numpy as np, pandas as pd

from benchmarks import real_data
from benchmarks.harness import arguments, over_folds, Record, run, shuffled_genres
from genre_fastai.runs import empty_cache
from genre_fastai.items import genre_matrix, genre_vocab
from genre_fastai.data.clean import clean_items
from genre_fastai.data.split import fold_items, split_items
from genre_fastai.evaluate.metrics import (calibration_error, format_scores, genre_report, genre_scores,
                                           paired_bootstrap, score_table)
from genre_fastai.learn.blocks import poster_block
from genre_fastai.learn.learner import genre_learner
from genre_fastai.fine_tune import learner_probabilities
from genre_fastai.predict.modalities import PRESETS
from genre_fastai.predict.classifier import GenreClassifier


def films(data):
    "Films with an overview, and genres with 20 films or more"
    how = dict(text_cols=['title', 'text'], meta_cols=real_data.META)
    return clean_items(real_data.films(data), needs='text', min_count=20, copies='keep'), how


def books(data):
    "Book covers with titles, and shelves with 80 books or more"
    items = real_data.book_covers(data)
    return clean_items(items, needs='text', min_count=80, min_words=1, copies='keep', blank='keep'), {'text_cols': None}


SETS = {'posters': films, 'book_covers': books}


def with_thresholds(p, thresholds):
    "Probabilities moved so that every genre's threshold lies at .5"
    logit = lambda q: np.log(np.clip(q, 1e-6, 1 - 1e-6)/(1 - np.clip(q, 1e-6, 1 - 1e-6)))
    return 1/(1 + np.exp(logit(np.asarray(thresholds)) - logit(p)))


def preset_folds(items, preset, how, seed):
    "Name -> (n, n_genres) out-of-fold probabilities; with thresholds at .5; a table of the folds"
    told = []
    def predict(marked, rows):
        start = time.time()
        clf = GenreClassifier(preset, seed=seed, **how).fit(marked)
        found = clf.ablate(rows)
        told.append(pd.json_normalize(clf.selected_params_, sep=': ').assign(seconds=round(time.time() - start)))
        return found | {('cut', name): with_thresholds(p, clf.thresholds_) for name, p in found.items()}
    both = over_folds(items, predict)
    found = {name: p for name, p in both.items() if isinstance(name, str)}
    return found, {name: both['cut', name] for name in found}, pd.concat(told, ignore_index=True)


def board(y, found, cut, groups):
    f1 = score_table(y, cut, True, metrics=['micro_f1', 'macro_f1'], groups=groups)
    table = score_table(y, found, True, metrics=['map'], groups=groups).drop(columns='n').join(f1)
    return table.assign(**{'calibration error': [round(calibration_error(y, p, True), 3) for p in found.values()]})


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


def removal(items, found, preset, how, seed, y, groups):
    "Each kind of input taken away at prediction, against a model that never had it"
    kinds, rows = {'pictures': 'image', 'texts': 'text', 'metadata': 'meta'}, []
    present = [k for k in kinds if f'{k} alone' in found]
    for gone in present:
        left = [kinds[k] for k in present if k != gone]
        less = how | {'modalities': left, 'meta_cols': how.get('meta_cols') if 'meta' in left else None}
        own = preset_folds(items, preset, less, seed)[0]['everything']
        taken = found[f'without {gone}' if len(present) > 2 else f'{next(k for k in present if k != gone)} alone']
        rows.append({'without': gone, 'taken away at prediction': genre_scores(y, taken, True)['map'],
                     'never had it': genre_scores(y, own, True)['map'],
                     'difference': paired_bootstrap('map', y, taken, own, True, groups=groups)})
    return pd.DataFrame(rows).round(3)


def by_genre(y, p, items):
    "Every genre's scores; the averages with intervals that draw the items of a group together"
    return format_scores(genre_report(y, p, genre_vocab(items), True, groups=items.group.to_numpy()))


def score_set(name, args, record):
    "All of it for one of `SETS`"
    start = time.time()
    (items, report), how = SETS[name](args.data)
    read = time.time() - start
    items = fold_items(items, k=5, seed=args.seed)
    y, groups = genre_matrix(items), items.group.to_numpy()
    record.write(f'## {name}', f'```\n{report}\n```', f'{len(items)} items, {y.shape[1]} genres, 5 grouped folds.')
    one = items.assign(split=np.where(items.fold == 0, 'test', 'train'))
    start = time.time()
    with empty_cache(): GenreClassifier('fast', seed=args.seed, **how).fit(one)
    record.write(f"'fast' with nothing remembered: {time.time() - start:.0f} s, and {read:.0f} s to read and clean.")
    cuts, chosen = {}, {}
    for preset in args.presets:
        chosen[preset], cuts[preset], told = preset_folds(items, preset, how, args.seed)
        found, cut = ({f'{preset}: {k}': p for k, p in of[preset].items()} for of in (chosen, cuts))
        record.write(board(y, found, cut, groups),
                     'Chosen by out-of-fold predictions inside the training part of each fold, and seconds with what '
                     'was remembered:', told.T.rename_axis('fold'))
    for better, worse in zip(args.presets[1:], args.presets):
        pair = chosen[better]['everything'], chosen[worse]['everything']
        record.write(f"mAP of {better} minus {worse}: {paired_bootstrap('map', y, *pair, True, groups=groups)}")
    preset = args.presets[0]
    record.write(f'Preset {preset!r}, mAP:', removal(items, chosen[preset], preset, how, args.seed, y, groups))
    if args.train: record.write(beside_staged(items, chosen, args.seed, y, groups))
    prior = np.tile(y.mean(0), (len(y), 1))
    broken = shuffled_genres(items, np.random.default_rng(args.seed))
    p_broken = preset_folds(broken, 'fast', how, args.seed)[0]['everything']
    record.write(f'Prior only: mAP {genre_scores(y, prior, True)["map"]:.3f}, '
                 f'calibration error {calibration_error(y, prior, True):.3f}. '
                 f"'fast' on shuffled genres: mAP {genre_scores(genre_matrix(broken), p_broken, True)['map']:.3f}.")
    record.write('Genre by genre:', by_genre(y, cuts[preset]['everything'], items))


def parser():
    parser = arguments(__doc__, 'fusion', 'folder with posters/ and book_covers/', SETS)
    parser.add_argument('--presets', nargs='+', choices=list(PRESETS), default=['fast', 'medium'],
                        help="'best' is 'medium' again where none of its bodies is found")
    parser.add_argument('--train', action='store_true', help='train the body in stages, too; some minutes a set')
    return parser


def main():
    args = parser().parse_args()
    real_data.use_weights(args.data)
    record = Record(args, 'Everything together')
    for name in args.only: score_set(name, args, record)
    record.write('What this does not show: other sources of posters and books. That these forms are on offer is owed '
                 'to trials on these sets, too; which is taken, and all numbers in it, is chosen inside the training '
                 'folds.')


if __name__ == '__main__': run(main)
