"""Nine ways to a film's genres, each one call: from a small network from scratch to everything together

Shows what each reaches on the same films, with early stopping on valid rows and scores on test rows. Does not show what
larger bodies, more films or more epochs would reach."""

import time, warnings
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt, numpy as np, pandas as pd

from benchmarks import real_data
from benchmarks.harness import arguments, Record, run
from genre_fastai.items import (check_items, genre_counts, genre_matrix, genre_vocab, is_multilabel, ItemsError,
                                nearest, some)
from genre_fastai.data.clean import clean_items
from genre_fastai.data.split import sample_items, split_items
from genre_fastai.data.genres import to_single_label
from genre_fastai.evaluate.metrics import (format_scores, genre_report, genre_scores, prior_probabilities,
                                           tune_thresholds)
from genre_fastai.encoders.image import BodyEncoder, load_body
from genre_fastai.evaluate.report import Page
from genre_fastai.baseline_knn import fit_baselines, score_models
from genre_fastai.classical.text_baselines import fit_text_baselines
from genre_fastai.classical.metadata import has_metadata, metadata_columns
from genre_fastai.learn.blocks import poster_block
from genre_fastai.learn.learner import genre_learner
from genre_fastai.train.stages import describe_training, plot_curves, Stage
from genre_fastai.fine_tune import learner_probabilities
from genre_fastai.predict.classifier import GenreClassifier


class Experiment(NamedTuple):
    "One way to genres"
    about: str # In a sentence
    kind: str = 'network' # 'network' of pictures, 'vectors' of pictures, 'words', or 'classifier'
    arch: str = None # A network for pictures, unless you name another
    head: str = 'linear' # On its body, one of `HEADS`
    size: int = 224 # Side of pictures in pixels
    labels: str = 'all' # 'all' genres of an item, 'one', or one of the 'four' most frequent
    stages: tuple = () # Of a network
    models: tuple = () # Simple models, see `baseline_models` and `text_models`
    reads: tuple = None # Of a classifier; None: what there is

_SMALLEST = {'inception_v3': 75, 'vgg16': 32, 'vgg19': 32} # Side in pixels below which nothing is left of a picture
_HEAD, _MAPS = Stage('head', 30, 1e-3, -1, 'rmsprop'), Stage('new head', 30, 1e-3, -1, 'rmsprop')
_SCRATCH = Stage('nadam', 30, 1e-3, 0, 'nadam'), Stage('sgd', 30, 1e-4, 0, 'sgd', steady=True)

EXPERIMENTS = {
    'small cnn': Experiment('Four convolutions and two fully connected layers from scratch, rare genres weighed: Nadam '
                            'with early stopping, then small steady steps.', arch='small_cnn', stages=_SCRATCH),
    'inception v3': Experiment(
        "A pretrained body and one genre a film: a new head with RMSProp, then the body's top two blocks.",
        arch='inception_v3', size=299, labels='one', stages=(_HEAD, Stage('top', 30, 1e-4, -2, 'sgd', steady=True))),
    'vgg16 + fully connected': Experiment(
        'Two fully connected layers on a frozen VGG16, one of the four most frequent genres a film.',
        arch='vgg16', head='fully connected', labels='four', stages=(_HEAD,)),
    'vgg16 + conv block': Experiment(
        'A convolution on the maps of a frozen VGG16, one of the four most frequent genres a film.',
        arch='vgg16', head='conv', labels='four', stages=(_MAPS,)),
    'small net': Experiment(
        'The small network from scratch, one of the four most frequent genres a film.',
        arch='small_cnn', labels='four', stages=_SCRATCH[:1]),
    'svm on deep vectors': Experiment(
        'Support vectors on what a frozen body sees.', 'vectors', arch='vgg16', models=('svm',)),
    'text': Experiment(
        'Overview, cast and crew as counted words: linear models, a forest, and a network of one hidden layer.',
        'words', models=('sgd on words', 'svm on words', 'forest on words', 'net on words')),
    'metadata': Experiment('Year, runtime, names: ridge on the other columns.', 'classifier', reads=('meta',)),
    'everything': Experiment(
        'Posters, texts and metadata, each by its own model, and their probabilities joined.', 'classifier')}


def _only(items, genres):
    "Items with no other genres than these; rows with none of them go"
    kept = items.genres.map(lambda gs: [g for g in gs if g in genres])
    return items.assign(genres=kept)[kept.map(len) > 0]


def _check_parts(items):
    if empty := [split for split in ('train', 'valid', 'test') if not (items.split == split).any()]:
        raise ItemsError(f'no row of {len(items)} has split {some(empty)}. '
                         'Make all three, split_items(items), or take more items.')


def experiment_items(
    name:str, # A key of `EXPERIMENTS`
    items:pd.DataFrame, # Items with genres and a split
    n_items:int=None, # How many to keep, with the same split and mix of genres; None: all
    single:str='dominant', # Where an item has one genre: 'dominant' or 'first', see `to_single_label`
    seed:int=0, # For the sample
)->pd.DataFrame: # Items with the genres that the experiment knows
    "The rows and labels of an experiment; warns of genres that train lacks, raises `ItemsError` where a split is empty"
    if name not in EXPERIMENTS:
        raise ValueError(f'no experiment {name!r}.{nearest(name, EXPERIMENTS)} There are {list(EXPERIMENTS)}.')
    labels = EXPERIMENTS[name].labels
    check_items(items, needs=('genres', 'split'))
    _check_parts(items)
    if labels == 'four': items = _only(items, set(genre_counts(items[items.split == 'train']).index[:4]))
    if labels != 'all': items = to_single_label(items, single)
    if n_items: items = sample_items(items, n_items, seed)
    items = items[items.split.isin(['train', 'valid', 'test'])].reset_index(drop=True)
    known = set(genre_vocab(items[items.split == 'train']))
    if known and (unseen := sorted(set(genre_vocab(items)) - known)):
        warnings.warn(f'{len(unseen)} genres have no item in train and are left out: {some(unseen)}. '
                      'Take more items, or merge rare genres first: merge_genres(items, min_count=20).', stacklevel=3)
        items = _only(items, known).reset_index(drop=True)
    _check_parts(items)
    return items


class ExperimentResult(NamedTuple):
    "What came of an experiment"
    items: pd.DataFrame # Rows with the genres that it knew
    model: object # The learner or the classifier; None for simple models
    probabilities: dict # Name -> {'valid', 'test'}: (n, n_genres)
    scores: pd.DataFrame # One row a model, on the test rows
    report: pd.DataFrame # Genre by genre on the test rows, of the model that is best on the valid rows
    thresholds: np.ndarray # Of that model: a classifier's own, else from valid rows; None for one genre an item
    curves: pd.DataFrame # One row an epoch; None where nothing is trained in epochs
    said: str # On the training: which weights were kept, over-training


def _words(cell):
    if isinstance(cell, (list, tuple, set, np.ndarray)): return ', '.join(filter(None, map(_words, cell)))
    return '' if pd.isna(cell) else str(cell)


def _with_text(items, columns):
    "Items whose text is that of `columns`"
    if columns is None: return items
    columns = [columns] if isinstance(columns, str) else list(columns)
    if unknown := [c for c in columns if c not in items]:
        raise ItemsError(f'no column {some(unknown)}.{nearest(unknown[0], items.columns)} Name columns of the items.')
    text = items[columns].map(_words).agg('\n'.join, axis=1).str.strip()
    return items.assign(text=text.where(text != '', None).astype(object))


def _with_metadata(items, columns):
    "Items that have a filled cell in these columns"
    names = metadata_columns(items) if columns == 'all' else [columns] if isinstance(columns, str) else list(columns)
    if not set(names) <= set(items): return items  # the classifier says which is missing
    there = has_metadata(items[names])
    if not there.all():
        warnings.warn(f'{(~there).sum()} items have no metadata and are left out: {some(items.item_id[~there])}.',
                      stacklevel=3)
    return items[there].reset_index(drop=True)


def _run_network(e, items, folder, arch, weights, size, epochs, bs, seed):
    dls = poster_block(items, size=size).dataloaders(items, bs=bs)
    learn = genre_learner(dls, arch, weights=weights, head=e.head, seed=seed)
    stages = [s._replace(epochs=epochs or s.epochs) for s in e.stages]
    if weights == 'random':  # nothing there is worth keeping as it is
        stages = [s._replace(name=s.optimiser, first_group=0) for s in stages]
    curves = learn.fine_tune_stages(folder, stages=stages, monitor='valid_loss')
    return learn, {arch: learner_probabilities(learn, items)}, curves


def _picture_encoder(arch, weights, size, seed):
    return BodyEncoder(load_body(arch, weights, seed), size=size) if arch not in (None, 'colours') else arch


def _run_vectors(e, items, encoder, seed):
    found = fit_baselines(items, [encoder], e.models, seed)
    return {name.split(' on ')[0]: p for name, p in found.items()}


def _run_classifier(e, items, encoder, text_encoder, text_cols, meta_cols, seed):
    if e.reads == ('meta',): encoder = text_encoder = None
    clf = GenreClassifier(seed=seed, encoder=encoder, text_encoder=text_encoder, modalities=e.reads and list(e.reads),
                          text_cols=text_cols, meta_cols=meta_cols).fit(items)
    return clf, {'classifier': {s: clf.predict_proba(items[items.split == s]) for s in ('valid', 'test')}}


def _estimate(run, items, seed, n=60):
    "A sentence: what `run` would take if its time grew with the number of items"
    few = sample_items(items, min(n, len(items)), seed)
    few = _only(few, set(genre_vocab(few[few.split == 'train'])))
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # the run itself gives them, of all items
            run(few)
    except ValueError as e:  # if all items have the same fault, the run says so
        return f'No time estimate: a trial on {len(few)} items failed, {next(iter(str(e).splitlines()), "")}'
    seconds = (time.perf_counter() - start)*len(items)/len(few)
    return f'About {max(seconds, 1):,.0f} s, as far as a trial on a few of them can say.'


def _describe(name, items):
    n = items.split.value_counts()
    return (f'{name}: {EXPERIMENTS[name].about} {n.train:,} items to learn from, {n.valid:,} to choose by, '
            f'{n.test:,} to judge on, {len(genre_vocab(items))} genres.')


def _judge(name, items, model, probabilities, curves):
    vocab, multilabel = genre_vocab(items), is_multilabel(items)
    y = {s: genre_matrix(items[items.split == s], vocab) for s in ('train', 'valid', 'test')}
    metric = 'map' if multilabel else 'accuracy'
    majority = {s: prior_probabilities(y['train'], len(y[s])) for s in ('valid', 'test')}
    probabilities = {'majority': majority} | probabilities
    thresholds = {'classifier': model.thresholds_} if isinstance(model, GenreClassifier) else {}
    if multilabel:
        thresholds = {m: tune_thresholds(y['valid'], p['valid']) for m, p in probabilities.items()} | thresholds
    scores = score_models(items, probabilities, thresholds=thresholds, metrics=[metric, 'macro_f1', 'weighted_f1'])
    own = {m: p for m, p in probabilities.items() if m not in ('chance', 'majority')}
    best = max(own, key=lambda m: genre_scores(y['valid'], own[m]['valid'], multilabel)[metric])
    report = genre_report(y['test'], own[best]['test'], vocab, multilabel, thresholds.get(best))
    if curves is not None: said = describe_training(curves)
    else: said = 'Fitted without epochs: no curves from which over-training could be read.'
    if len(own) > 1: said += f' Best on valid rows: {best}.'
    return ExperimentResult(items, model, probabilities, scores, report, thresholds.get(best), curves, said)


def _write_page(result, name, plan, folder, seed):
    page = Page(f'Experiment: {name}', result.said).add_print(plan)
    if result.curves is not None:
        axes = plot_curves(result.curves)
        page.add_figure(axes[0], caption='Loss and scores, epoch by epoch; a ring marks the weights that were kept')
        plt.close(axes[0].figure)
    page.add_table(format_scores(result.scores), 'Scores on the test rows, with 95 % intervals')
    page.add_table(format_scores(result.report), 'Genre by genre, on the test rows')
    page.save(folder/'experiment.html', seed=seed)


def run_experiment(
    name:str, # A key of `EXPERIMENTS`
    items:pd.DataFrame, # Items with genres and a split, and what the experiment reads
    folder, # Where its run and its page, experiment.html, go; the same call goes on where a stopped one ended
    n_items:int=None, # How many items, with the same split and mix of genres; None: all
    size:int=None, # Side of pictures in pixels; None: as the experiment says, or where no network is named, the preset
    epochs:int=None, # Of each stage, at most; None: as the experiment says, with early stopping
    arch:str=None, # Another network for pictures; for vectors and classifiers also 'colours'; None: the experiment's
    weights=None, # Of it: a path, 'random', or None, see `load_body`
    single:str='dominant', # Where an item has one genre: 'dominant' or 'first'
    text_cols=None, # Columns that are joined and read as text; None: `text`
    meta_cols='all', # Columns of metadata
    text_encoder=None, # Of a classifier, e.g. 'words', see `GenreClassifier`
    bs:int=32, # Pictures a batch
    seed:int=0, # For whatever draws
)->ExperimentResult:
    "Say how long it will take, then run one of `EXPERIMENTS`; what a network has learnt is kept epoch by epoch"
    items = experiment_items(name, items, n_items, single, seed)
    e, folder = EXPERIMENTS[name], Path(folder)
    arch, size = arch or e.arch, size or e.size
    if size < _SMALLEST.get(arch, 0):
        raise ValueError(f'{arch} needs pictures of {_SMALLEST[arch]} pixels and more; size is {size}.')
    sees = e.kind != 'words' and e.reads != ('meta',)
    if sees and arch == 'small_cnn' != e.arch:
        raise ValueError(f'{name!r} builds on a trained network, and small_cnn starts from nothing. Leave arch away, '
                         "name a timm network, or run 'small cnn' or 'small net'.")
    if e.kind == 'network':
        print(plan := _describe(name, items), flush=True)
        result = _run_network(e, items, folder, arch, weights, size, epochs, bs, seed)
    else:
        if e.kind == 'words': items = check_items(_with_text(items, text_cols), needs='text')
        if e.reads == ('meta',): items = _with_metadata(items, meta_cols)
        encoder = _picture_encoder(arch, weights, size, seed) if sees else None
        def run(rows):
            if e.kind == 'words': return None, fit_text_baselines(rows, e.models, seed=seed)
            if e.kind == 'vectors': return None, _run_vectors(e, rows, encoder, seed)
            return _run_classifier(e, rows, encoder, text_encoder, text_cols, meta_cols, seed)
        print(plan := f'{_describe(name, items)} {_estimate(run, items, seed)}', flush=True)
        result = *run(items), None
    result = _judge(name, items, *result)
    folder.mkdir(parents=True, exist_ok=True)
    _write_page(result, name, plan, folder, seed)
    return result


def settings(name, args):
    "What `run_experiment` is given for a set of real films"
    more = dict(text=dict(text_cols=['text', 'director', 'actors']), metadata=dict(meta_cols=real_data.META),
                everything=dict(meta_cols=real_data.META)).get(name, {})
    if EXPERIMENTS[name].kind == 'network': more['n_items'] = args.n
    if EXPERIMENTS[name].arch != 'small_cnn': more['arch'] = args.arch
    return more | dict(size=args.size, epochs=args.epochs, seed=args.seed)


def main():
    parser = arguments(__doc__, 'study', 'folder with posters/ and perhaps weights/', EXPERIMENTS)
    parser.add_argument('--n', type=int, help='films that networks are trained and judged on; none: all')
    parser.add_argument('--size', type=int, help='side of pictures in pixels; none: as the experiment says')
    parser.add_argument('--epochs', type=int, help='of each stage, at most; none: as the experiment says')
    parser.add_argument('--arch', help="a network for pictures instead of the experiment's")
    args = parser.parse_args()
    real_data.use_weights(args.data)
    films, report = clean_items(real_data.films(args.data), needs='both', min_count=40)
    films = split_items(films, valid=.18, test=.1, seed=args.seed) # a tenth to test, a fifth of the rest to validate
    record = Record(args, "Nine ways to a film's genres")
    record.write(f'```\n{report}\n```')
    for name in args.only:
        result = run_experiment(name, films, record.folder/name.replace(' ', '-'), **settings(name, args))
        record.write(f'## {name}', result.said, result.scores)


if __name__ == '__main__': run(main)
