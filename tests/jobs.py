"What tests run in processes of their own, so that these can be killed"
import os, sys, time
from pathlib import Path

import numpy as np, torch
from sklearn.base import BaseEstimator, ClassifierMixin

from genre_fastai.learn.blocks import cover_block
from genre_fastai.runs import RunError
from genre_fastai.predict.compare import _fingerprint, compare
from genre_fastai.runs import rng_for
from genre_fastai.items import genre_vocab, load_items
from genre_fastai.train.stages import fine_tune_stages  # noqa: F401, puts the method on Learner
from genre_fastai.learn.learner import genre_learner


def small_learner(items, arch='test_resnet', seed=1, size=64, **kwargs):
    dls = cover_block(items, size=size).dataloaders(items, bs=16, num_workers=0)
    return genre_learner(dls, arch, weights='random', seed=seed, **kwargs)


def train_in_stages(items_path, folder, full_after=None):
    """Head, top, all, with every switch that has a state

    With `full_after`, the disk takes no file of 100 kB after that many epochs."""
    import resource  # not on Windows
    from fastai.callback.core import Callback

    class FillDisk(Callback):
        order = 60
        def after_epoch(self):
            if self.epoch == full_after: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))

    torch.set_num_threads(1)
    learn = small_learner(load_items(items_path), cbs=[] if full_after is None else [FillDisk()])
    try: learn.fine_tune_stages(folder, head_epochs=3, top_epochs=2, all_epochs=8, average=.9, mixup=.2, patience=9)
    except RunError as e:
        Path(f'{folder}.error').write_text(str(e))
        sys.exit(1)


class Guess(ClassifierMixin, BaseEstimator):
    "A candidate that knows nothing and notes each fit; if it is told so, it takes memory, waits for a file, or fails"
    def __init__(self, notes=None, megabytes=0, wait_for=None, error=None, seed=0):
        self.notes, self.megabytes, self.wait_for, self.error, self.seed = notes, megabytes, wait_for, error, seed

    def fit(self, items, y=None):
        if self.notes:
            with open(self.notes, 'a') as f: f.write(f'{self.megabytes} {self.seed} {os.getpid()}\n')
        held = np.ones(self.megabytes*125_000)
        end = time.monotonic() + 120     # no test may hang for ever
        while self.wait_for and not Path(self.wait_for).exists() and time.monotonic() < end: time.sleep(.02)
        if self.error: raise KeyError(self.error)
        assert set(items.split) <= {'train', 'valid'} and len(held) == self.megabytes*125_000
        self.classes_ = np.array(genre_vocab(items))
        return self

    def predict_proba(self, items):
        return np.stack([rng_for(self.seed, i).dirichlet(np.ones(len(self.classes_))) for i in items.item_id])


def guesses(place): return {'large': Guess(place/'notes', 200), 'small': Guess(place/'notes', wait_for=place/'go')}


def compare_guesses(items_path, place, candidates):
    "Says first how other candidates are known, so that this can be compared with another process"
    (place/'fingerprints').write_text(repr([_fingerprint('', c) for c in candidates]))
    compare(load_items(items_path), guesses(place), seeds=[3], folder=place/'killed')
