"""How long things take on real pictures: plain fastai against ours, and from raw files to a saved model

Shows seconds and items a second on one machine, with scores beside them. Does not show times on other machines, and how
scores change with more epochs."""
import os, statistics, tempfile, time
from contextlib import nullcontext
from pathlib import Path

import pandas as pd, torch
from fastai.vision.all import DataBlock, ImageBlock, MultiCategoryBlock, Normalize, Resize, vision_learner

from benchmarks import real_data
from benchmarks.harness import arguments, Record, run
from benchmarks.real_data import ARCH
from genre_fastai.runs import empty_cache
from genre_fastai.items import genre_matrix, genre_vocab
from genre_fastai.data.clean import clean_items
from genre_fastai.data.split import sample_items, split_items
from genre_fastai.evaluate.metrics import genre_scores
from genre_fastai.encoders.image import mixed_dtype, load_body
from genre_fastai.learn.blocks import cover_block, fit_rows, split_rows
from genre_fastai.learn.learner import genre_learner, predict_items
from genre_fastai.diagnose.activations import Diagnostics
from genre_fastai.predict.classifier import GenreClassifier


def plain_learner(items, weights):
    "fastai as its book teaches it, on the same body: Resize(224), fastai's own head, float32"
    body = load_body(ARCH, weights)
    block = DataBlock(blocks=(ImageBlock, MultiCategoryBlock(vocab=genre_vocab(items))), get_items=fit_rows,
                      splitter=split_rows, get_x=lambda row: row.image, get_y=lambda row: row.genres,
                      item_tfms=Resize(224), batch_tfms=Normalize.from_stats(body.weights.mean, body.weights.std))
    learn = vision_learner(block.dataloaders(items), ARCH, pretrained=False, pad_type=body.weights.padding)
    model = learn.model[0].model
    model.load_state_dict({k: v for k, v in body.model.state_dict().items() if k in model.state_dict()})
    learn.freeze()
    return learn


def own_learner(items, weights, augment=True):
    return genre_learner(cover_block(items, augment=augment).dataloaders(items), ARCH, weights=weights)


def mean_ap(learn, items):
    test = items[items.split == 'test']
    p = predict_items(learn, test)
    return genre_scores(genre_matrix(test, list(learn.dls.vocab)), p, multilabel=True)['map']


def seconds(function):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def head_against_fine_tune(items, weights):
    "fine_tune(1) of plain fastai, and our head stage with nothing remembered, on the same rows"
    plain, own = plain_learner(items, weights), own_learner(items, weights)
    with plain.no_bar(), plain.no_logging(), empty_cache():
        own_time, _ = seconds(lambda: own.fine_tune_stages(top_epochs=0, all_epochs=0))
        plain_time, _ = seconds(lambda: plain.fine_tune(1))
    scores = [mean_ap(plain, items), mean_ap(own, items)]
    names, times = ['plain fastai, fine_tune(1)', 'head stage, nothing remembered'], [plain_time, own_time]
    return [dict(what=n, seconds=t, mAP=s, times_faster=plain_time/t) for n, t, s in zip(names, times, scores)]


def whole_network(items, weights, rounds=3, n=400):
    "Items a second in training epochs of the whole network, in turns"
    part = sample_items(items[items.split == 'train'], n, seed=0).assign(split='train')
    part = pd.concat([part, items[items.split == 'valid'].head(1)], ignore_index=True)
    learners = [plain_learner(part, weights), own_learner(part, weights, augment=False), own_learner(part, weights),
                own_learner(part, weights)]
    watched, rates = learners[-1], [[] for _ in learners]
    for _ in range(rounds):
        for learn, rate in zip(learners, rates):
            learn.unfreeze()
            watch = Diagnostics(learn) if learn is watched else nullcontext()
            with watch, learn.no_bar(), learn.no_logging():
                rate.append(learn.dls.train.n/seconds(lambda: learn.fit(1))[0])
    names = ['plain fastai, epoch of the whole network', 'ours, pictures not augmented either',
             'ours, pictures augmented',
             'the same, with Diagnostics']
    per_second = [statistics.median(rate) for rate in rates]
    return [dict(what=n, per_second=r, times_faster=r/per_second[0]) for n, r in zip(names, per_second)]


def raw_to_bundle(data, weights, seed):
    "Album covers: read, clean, split, fit, save; then a second fit with what is remembered"
    os.environ['GENRE_FASTAI_WEIGHTS'] = str(weights.parent)
    with empty_cache(), tempfile.TemporaryDirectory() as out:
        def whole():
            items = split_items(clean_items(real_data.album_covers(data), needs='image')[0], seed=seed)
            model = GenreClassifier(preset='fast', seed=seed).fit(items)
            model.save(Path(out)/'model')
            return items
        first, items = seconds(whole)
        second, _ = seconds(lambda: GenreClassifier(preset='fast', seed=seed).fit(items))
    return [dict(what=f"preset 'fast', {len(items):,} covers, raw files to saved model", seconds=first),
            dict(what="preset 'fast', second fit", seconds=second)]


def main():
    args = arguments(__doc__, 'speed', 'folder with posters/, album_covers/ and weights/').parse_args()
    weights = real_data.need(args.data, f'weights/{ARCH}.safetensors')
    real_data.need(args.data, 'posters')
    record = Record(args, 'Speed', model=ARCH, threads=torch.get_num_threads())
    def write(rows): record.write(pd.DataFrame(rows).round(3))
    write(raw_to_bundle(args.data, weights, args.seed))
    items = clean_items(real_data.posters(args.data), needs='image', copy_of='image', min_count=20)[0]
    items = split_items(items, valid=.1, test=.2, seed=args.seed)
    write(head_against_fine_tune(items, weights))
    write(whole_network(items, weights))
    record.write(f'{len(items):,} posters, 70/10/20, '
                 f'{str(mixed_dtype() or torch.float32).removeprefix("torch.")} in ours, float32 in plain fastai. '
                 'What this does not show: times on other machines, and how scores change with more epochs.')


if __name__ == '__main__': run(main)
