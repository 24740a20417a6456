"What tests run in processes of their own, so that these can be killed"
import sys
from pathlib import Path

import torch

from genre_fastai.blocks import cover_block
from genre_fastai.checkpoints import RunError
from genre_fastai.core import load_items
from genre_fastai.fine_tune import fine_tune_stages  # noqa: F401, puts the method on Learner
from genre_fastai.learner import genre_learner


def small_learner(items, arch='test_resnet', seed=1, size=64, **kwargs):
    dls = cover_block(items, size=size).dataloaders(items, bs=16, num_workers=0)
    return genre_learner(dls, arch, weights='random', seed=seed, **kwargs)


def train_in_stages(items_path, folder, full_after=None):
    "Head, top, all, with every switch that has a state; with `full_after`, the disk takes no file of 100 kB after that many epochs"
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
