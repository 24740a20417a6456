"""Scoreboard on real covers: read, clean, split, score

Shows accuracy or mAP of simple models and of both presets on grouped folds, beside a simpler method on the same folds,
and beside plain fastai's fine_tune. Does not show scores on covers from other sources; that these forms are on offer is
owed to trials on these sets, too."""
import time

import numpy as np, pandas as pd, torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from benchmarks import real_data
from benchmarks.harness import arguments, Record, run, shuffled_genres
from benchmarks.real_data import ARCH, body_weights
from genre_fastai.items import genre_matrix, genre_vocab, is_multilabel
from genre_fastai.view_data import describe_items
from genre_fastai.data.duplicates import find_duplicates
from genre_fastai.data.clean import clean_items
from genre_fastai.data.split import fold_items, split_items
from genre_fastai.evaluate.metrics import bootstrap_interval, genre_scores, paired_bootstrap, score_table
from genre_fastai.encoders.image import BodyEncoder, embed_items, load_body
from genre_fastai.classical.baselines import baseline_models
from genre_fastai.baseline_knn import fit_baselines, out_of_fold, score_models
from genre_fastai.learn.blocks import cover_block
from genre_fastai.learn.learner import genre_learner
from genre_fastai.fine_tune import learner_probabilities
from genre_fastai.predict.modalities import picture_ridge, preset_encoders

SETS = { # Name: reader, and how its items are cleaned
    'album_covers': (real_data.album_covers, {}),
    'book_covers': (real_data.book_covers, {'min_count': 80, 'copies': 'keep', 'blank': 'keep'})}

def encoders_of(data):
    "Encoders by name: colours always, the body at its last layer and at all depths where its weights are there"
    if not body_weights(data).is_file(): return {'colours': 'colours'}
    body = load_body(ARCH, body_weights(data))
    return {'colours': 'colours', f'{ARCH}, last': BodyEncoder(body, 'last'), f'{ARCH}, all': BodyEncoder(body, 'all')}


def folds_board(items, encoders, models, seed):
    "Every row tested once: grouped, stratified folds"
    items = fold_items(items, k=5, seed=seed)
    p = {name: out_of_fold(items, np.zeros((len(items), 1)), name, seed) for name in ('chance', 'majority')}
    p['knn on pixels'] = out_of_fold(items, 'pixels', 'knn on pixels', seed)
    for name, encoder in encoders.items():
        x = embed_items(items, encoder)
        for model in models: p[f'{model} on {name}'] = out_of_fold(items, x, model, seed)
    return score_table(genre_matrix(items), p, is_multilabel(items), groups=items.group.to_numpy())


class ThreeDepths(BodyEncoder):
    "Average and maximum of three depths of a body, in float32: the vectors of the simpler method"
    def __init__(self, body):
        super().__init__(body, fast=False)
        self.name += '-three'

    @torch.inference_mode()
    def encode(self, batch):
        x = self.body.normalize(torch.from_numpy(batch).to(self.device).float()/255)
        final, maps = self.body.model.forward_intermediates(x)
        pooled = [f(m) for m in (*maps[-3:-1], final) for f in (lambda m: m.mean((2, 3)), lambda m: m.amax((2, 3)))]
        return torch.cat(pooled, 1).cpu().numpy()


def floor_model(multilabel):
    "RBF SVM on 256 principal components for one genre an item, logistic regression for several; untuned"
    if multilabel: return baseline_models(multilabel)['logistic']
    return make_pipeline(StandardScaler(), PCA(256, random_state=0), CalibratedClassifierCV(SVC(), ensemble=False))


def seeds_board(items, data, seeds=(0, 1, 2)):
    "Both presets against a simpler method on the same folds; sizes, depths, kernel, width and strength chosen in fit"
    body = load_body(ARCH, body_weights(data))
    multilabel, y = is_multilabel(items), genre_matrix(items)
    metric = 'map' if multilabel else 'accuracy'
    encoders = preset_encoders('medium', body)
    vectors = [embed_items(items, e) for e in encoders]
    x, floor_x, rows = np.concatenate(vectors, 1), embed_items(items, ThreeDepths(body)), []
    quick, ridge = picture_ridge('fast', encoders[:1], vectors[:1]), picture_ridge('medium', encoders, vectors)
    for seed in seeds:
        folds = fold_items(items, k=5, seed=seed)
        groups = folds.group.to_numpy()
        floor = out_of_fold(folds, floor_x, floor_model(multilabel), seed)
        ours, fast = out_of_fold(folds, x, ridge, seed), out_of_fold(folds, vectors[0], quick, seed)
        broken = out_of_fold(shuffled_genres(folds, np.random.RandomState(seed)), x, ridge, seed)
        def interval(p): return bootstrap_interval(metric, y, p, multilabel, groups=groups)
        rows.append({'seed': seed, "floor's method": interval(floor), "preset 'fast'": interval(fast),
                     "preset 'medium'": interval(ours),
                     "'medium' minus floor's": paired_bootstrap(metric, y, ours, floor, multilabel, groups=groups),
                     "'medium' on shuffled genres": genre_scores(y, broken, multilabel)[metric]})
    return pd.DataFrame(rows).set_index('seed')


def plain_board(items, data, size, seed, epochs=1):
    "One split: plain fastai's fine_tune on the body, beside the simple models on the same rows"
    items = split_items(items, valid=.1, test=.2, seed=seed)
    encoders = list(encoders_of(data).values())
    probabilities = fit_baselines(items, encoders=['pixels', encoders[-1]], models=('knn', 'logistic'), seed=seed)
    weights = body_weights(data)
    dls = cover_block(items, size=size).dataloaders(items, bs=32)
    weights = weights if weights.is_file() else 'random'
    learn = genre_learner(dls, ARCH, weights=weights, weigh_genres=False, seed=seed)
    start = time.time()
    with learn.no_bar(): learn.fine_tune(epochs)
    seconds = time.time() - start
    probabilities[f'{ARCH}, fine_tune({epochs})'] = learner_probabilities(learn, items)
    return score_models(items, probabilities, groups=items[items.split == 'test'].group.to_numpy()), seconds


def score_set(name, data, record, seed, training):
    "Read, clean and score one of `SETS`"
    read, switches = SETS[name]
    raw = read(data)
    duplicates = find_duplicates(raw)
    exact = duplicates[duplicates.kind == 'exact picture']
    items, report = clean_items(raw, needs='image', copy_of='image', **switches)
    report.frame.to_csv(record.folder/f'{name}.report.csv', index=False)
    record.write(f'## {name}: data', f'```\n{report}\n```', f'Exact copies: {exact.group.nunique()} groups, '
                 f'{exact[exact.conflict].group.nunique()} of them in different genres. '
                 f'Left: {len(items)} items, {len(genre_vocab(items))} genres.')
    start, several = time.time(), is_multilabel(items)
    board = folds_board(items, encoders_of(data), ('knn', 'logistic') if several else ('knn', 'logistic', 'svm'), seed)
    record.write(f'## {name}: 5 grouped folds', f'n = {len(items)}, every row tested once, fitted in '
                 f'{time.time() - start:.0f} s. What this does not show: scores on covers from other sources.', board)
    if body_weights(data).is_file():
        start = time.time()
        board = seeds_board(items, data).astype(str)
        record.write(f"## {name}: presets against the floor's method",
                     f'{"mAP" if several else "accuracy"} of {len(items)} rows with 95 % intervals, 5 grouped folds of '
                     f'each seed, {time.time() - start:.0f} s. Sizes, depths, kernel, width and strength are chosen '
                     'inside the training folds. What this does not show: that these forms are on offer is owed to '
                     'trials on these sets, too.', board)
    if training:
        board, seconds = plain_board(items, data, 224, seed)
        record.write(f'## {name}: one split, plain fine_tune',
                     f'70/10/20, {seconds:.0f} s for fine_tune(1) at 224 pixels.', board)


def viewed_tables(data):
    "Path and items of each table that is there"
    readers = {'posters/genres_onehot.csv': (real_data.posters, {}), 'posters/movies.csv': (real_data.film_facts, {})}
    for name in real_data.SYNOPSES:
        texts = dict(text_cols=['overview']) if name.startswith('tmdb') else {}
        readers[f'synopses/{name}.csv'] = real_data.synopses, dict(name=name) | texts
    for path, (read, kwargs) in readers.items():
        if (data/path).is_file(): yield path, read(data, **kwargs)


def main():
    parser = arguments(__doc__, 'bench', 'folder with album_covers/, book_covers/ and perhaps weights/', SETS)
    parser.add_argument('--skip-training', action='store_true', help='without fine_tune, which takes most of the time')
    args = parser.parse_args()
    real_data.need(args.data, 'album_covers')
    record = Record(args, 'Scoreboard', model=ARCH)
    for name in args.only: score_set(name, args.data, record, args.seed, not args.skip_training)
    for path, items in viewed_tables(args.data):
        record.write(f'## {path}: read', f'```\n{describe_items(items).to_string()}\n```')


if __name__ == '__main__': run(main)
