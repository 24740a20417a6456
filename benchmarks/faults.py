"""Faults planted into healthy trainings, and what check_recipe says of each: a table of fault by check

Shows which check finds which fault on worlds and seeds that no threshold was chosen on, and the alarms of healthy
learners. Does not show faults that nobody planted."""
import tempfile, time, warnings
from itertools import product
from pathlib import Path

import numpy as np, pandas as pd, torch
from fastai.vision.all import Normalize, TensorImage, Transform
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks import real_data
from benchmarks.harness import arguments, Record, run
from genre_fastai.runs import atomic_path
from genre_fastai.datasets.synthetic import synthetic_items
from genre_fastai.data.clean import clean_items
from genre_fastai.data.split import sample_items, split_items
from genre_fastai.encoders.text import tiny_text_encoder
from genre_fastai.learn.blocks import cover_block, fused_block, synopsis_block, TensorWindows
from genre_fastai.learn.models import last_layer
from genre_fastai.learn.learner import genre_learner, input_column
from genre_fastai.diagnose.activations import LayerWatch
from genre_fastai.diagnose.probe import some_batches
from genre_fastai.diagnose.recipe import run_checks

WORLDS = {'first': dict(kind='cover', n_genres=4), 'second': dict(kind='poster', n_genres=3, imbalance=.5)}
KINDS = ('image', 'text', 'fused')


def made_learner(kind, folder, world='first', seed=0):
    "A healthy learner on a synthetic world: a small network of the kind, nothing pretrained"
    items = synthetic_items(Path(folder)/f'{world}-{seed}', n=300, seed=seed, synopsis_sentences=6, telling_sentences=4,
                       **WORLDS[world])
    items = split_items(items, valid=.2, test=.1, seed=seed)
    if kind == 'image':
        dls = cover_block(items, size=64).dataloaders(items, bs=16)
        return genre_learner(dls, 'test_resnet', 'random', seed=seed)
    encoder = tiny_text_encoder(Path(folder)/f'{world}-{seed}-encoder', items.text)
    reads = dict(encoder=encoder, max_length=48, stride=8)
    if kind == 'text': return genre_learner(synopsis_block(items, **reads).dataloaders(items, bs=16), seed=seed)
    dls = fused_block(items, size=64, **reads).dataloaders(items, bs=16)
    return genre_learner(dls, 'test_resnet', ('random', None), seed=seed)


# What is planted

class Destroy(Transform):
    "Noise instead of pictures and texts, in training"
    order, split_idx = 200, 0
    def encodes(self, x:TensorImage): return torch.randn_like(x)
    def encodes(self, x:TensorWindows): return torch.where(x >= 0, torch.randint_like(x, 5, 100), x)

class ShiftTokens(Transform):
    "The numbers of another vocabulary"
    def encodes(self, x:TensorWindows): return torch.where(x > 0, x - 1, x)

class AlwaysDropout(nn.Dropout):
    def forward(self, x): return F.dropout(x, .5, True)

def _relabel(learn, change):
    labels = learn.dls.train_ds.tls[-1]
    labels.items = labels.items.assign(genres=change(list(labels.items.genres)))

def _before_head(learn, change): learn.model.head.register_forward_pre_hook(lambda m, args: change(args))

def _floats(args, change): return tuple(change(x) if x.is_floating_point() else x for x in args)

def _last_batches(learn, tfm):
    for dl in learn.dls.loaders: dl.after_batch.add(tfm)

def shuffled(learn):
    order = np.random.default_rng(0).permutation
    _relabel(learn, lambda genres: [genres[i] for i in order(len(genres))])

def constant(learn): _relabel(learn, lambda genres: [genres[0]]*len(genres))
def too_fast(learn): learn.lr *= 1000

def badly_scaled(learn):
    if input_column(learn.dls) == 'text': return _last_batches(learn, ShiftTokens())
    for f in {id(f): f for dl in learn.dls.loaders for f in dl.after_batch.fs if isinstance(f, Normalize)}.values():
        f.mean, f.std = torch.zeros_like(f.mean), torch.full_like(f.std, 1/255)

def dead(learn):
    with LayerWatch(learn.model.eval()) as watch, torch.no_grad(): learn.model(*some_batches(learn, 1)[0][0])
    names = list(watch.figures.dropna(subset='dead').layer)
    learn.model.get_submodule(names[len(names)//2]).register_forward_pre_hook(lambda m, args: (args[0] - 100,))

def frozen_head(learn): learn.model.head.requires_grad_(False)
def wrong_axis(learn): learn.loss_func = lambda z, y: F.nll_loss(F.log_softmax(z, 0), y.as_subclass(torch.Tensor))
def mixed(learn): _before_head(learn, lambda args: _floats(args, lambda x: (x + x.roll(1, 0))/2))
def cut(learn): _before_head(learn, lambda args: _floats(args, torch.Tensor.detach))

def always_dropped(learn):
    for m in list(learn.model.head.modules()):
        for name, child in list(m.named_children()):
            if isinstance(child, nn.Dropout): setattr(m, name, AlwaysDropout())

def destroyed(learn): _last_batches(learn, Destroy())

def group_missing(learn):
    whole = learn.splitter
    learn.splitter = lambda model: whole(model)[:-1]

def loud_head(learn):
    with torch.no_grad(): last_layer(learn.model, len(learn.dls.vocab)).weight.mul_(300)

def strange_norms(learn):
    for m in learn.model.modules():
        if isinstance(m, _BatchNorm):
            m.requires_grad_(False)
            m.running_mean += 10*m.running_var.sqrt()

def unmasked(learn):
    _before_head(learn, lambda args: (args[0], torch.full_like(args[1], args[0].shape[1])))

FAULTS = { # What is planted, the check that must find it, and into what it can be planted
    'labels shuffled': (shuffled, 'labels', KINDS), 'one label for all': (constant, 'labels', KINDS),
    'learning rate × 1000': (too_fast, 'learning rate', KINDS),
    'wrong scaling, other tokens': (badly_scaled, 'input', KINDS),
    'dead layer': (dead, 'layers', KINDS), 'head frozen': (frozen_head, 'gradients', KINDS),
    'loss over the wrong axis': (wrong_axis, 'loss', KINDS), 'items of a batch mixed': (mixed, 'leak', KINDS),
    'dropout left on': (always_dropped, 'evaluation', KINDS), "body's gradients cut": (cut, 'gradients', KINDS),
    'augmentation destroys': (destroyed, 'augmentation', KINDS),
    'optimiser lacks a group': (group_missing, 'step', KINDS),
    'head shouts': (loud_head, 'initial loss', KINDS),
    'batch norms of other data': (strange_norms, 'batch norm', ('image', 'fused')),
    'padding not masked': (unmasked, 'leak', ('text',))} # in a fused network the norm after pooling undoes it


def planted(name, kind, folder, world='first', seed=0):
    "A learner with a fault in it"
    learn = made_learner(kind, folder, world, seed)
    FAULTS[name][0](learn)
    return learn

def judge(learn, only=None):
    "Check to verdict"
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return {v.check: v for v in run_checks(learn, only)}

def fault_table(kind, folder, world='first', seed=0, quick=False, say=lambda text: None):
    """A row a fault, the healthy learner first; a column a check; 'fail' where it was found

    quick: only the check that is meant for it."""
    rows, start = {'healthy': judge(made_learner(kind, folder, world, seed))}, time.perf_counter()
    for name, (_, check, kinds) in FAULTS.items():
        if kind not in kinds: continue
        rows[name] = judge(planted(name, kind, folder, world, seed), [check] if quick else None)
        found = rows[name][check]
        say(f'{kind}, {world} world, seed {seed}: {name}: {found.verdict} ({time.perf_counter() - start:.0f} s): '
            f'{found.told}')
    return pd.DataFrame({name: {check: v.verdict for check, v in found.items()} for name, found in rows.items()}).T


def real_learners(data):
    "Name and healthy learner, on real covers and real synopses, with pretrained bodies"
    covers = sample_items(clean_items(real_data.album_covers(data), needs='image')[0], 600, seed=0)
    covers = split_items(covers, seed=0)
    dls = cover_block(covers, size=128).dataloaders(covers, bs=32)
    yield 'album covers, MobileNetV2', genre_learner(dls, real_data.ARCH, real_data.body_weights(data))
    films = sample_items(real_data.tmdb_films(data, text_cols=['title', 'overview']), 1500, seed=0)
    films = split_items(films, seed=0)
    yield 'films, MiniLM', genre_learner(synopsis_block(films).dataloaders(films, bs=16))


def judge_real(data, record):
    "All checks of two healthy learners"
    for name, learn in real_learners(data):
        found = judge(learn).values()
        table = pd.DataFrame([(v.check, v.verdict, v.told) for v in found], columns=['check', 'verdict', 'found'])
        alarms = sum(v.verdict == 'fail' for v in found)
        record.write(f'## {name}', f'{alarms} alarms in {len(found)} checks', table)


def main():
    parser = arguments(__doc__, 'faults', only=KINDS, seeds=True)
    parser.add_argument('--worlds', nargs='+', choices=list(WORLDS), default=list(WORLDS))
    parser.add_argument('--seeds', type=int, nargs='+', default=[1, 2, 3])
    parser.add_argument('--quick', action='store_true', help='run only the check that is meant for a fault')
    parser.add_argument('--data', type=Path, help='real data: all checks of two healthy learners, and nothing else')
    args = parser.parse_args()
    record = Record(args, 'Faults')
    if args.data: return judge_real(args.data, record)
    tables = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, world, seed in product(args.only, args.worlds, args.seeds):
            table = tables[kind, world, seed] = fault_table(kind, folder, world, seed, args.quick, record.write)
            with atomic_path(record.folder/f'{kind}-{world}-{seed}.csv') as path: table.to_csv(path)
    every = pd.concat(tables, names=['kind', 'world', 'seed', 'fault'])
    bad = (every == 'fail').groupby(['kind', 'fault'], sort=False).sum()
    bad.insert(0, 'runs', every.groupby(['kind', 'fault'], sort=False).size())
    caught = [(every.loc[key, FAULTS[key[3]][1]] == 'fail') for key in every.index if key[3] != 'healthy']
    alarms = (every.xs('healthy', level='fault') == 'fail').any(axis=1)
    record.write('## All', bad, f'{sum(caught)} of {len(caught)} planted faults were found by the check that is meant '
                 f'for them; {alarms.sum()} of {len(alarms)} healthy learners got an alarm. '
                 f'Worlds {", ".join(args.worlds)}.')


if __name__ == '__main__': run(main)
