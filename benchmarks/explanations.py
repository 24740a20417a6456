"""Do explanations point at what decides? Badges on synthetic covers, decisive sentences in synthetic synopses

Shows how often the strongest point of a map lies on the badge that alone tells the genre, and how often the strongest
sentence is the one that tells it; beside untrained networks, a decoy and chance. Does not show how good explanations
are on covers that people drew, where nobody knows what decides."""
import tempfile, warnings
from pathlib import Path

import numpy as np, pandas as pd

from benchmarks.harness import arguments, Record, run
from genre_fastai.runs import empty_cache
from genre_fastai.datasets.synthetic import synthetic_items
from genre_fastai.data.split import split_items
from genre_fastai.encoders.weights import WeightsError
from genre_fastai.encoders.text import tiny_text_encoder
from genre_fastai.learn.blocks import cover_block, fused_block, synopsis_block
from genre_fastai.learn.learner import genre_learner, predict_items
from genre_fastai.explain.cam import grad_cam, pointing_game
from genre_fastai.explain.text import text_weights
from genre_fastai.predict.classifier import GenreClassifier

NETWORKS = { # name: arch, weights, side in pixels, epochs, learning rate
    'small CNN': ('small_cnn', None, 96, 20, 3e-3),
    'residual network': ('test_resnet', 'random', 96, 12, 3e-3),
    'MobileNetV2, pretrained': ('mobilenetv2_100', None, 128, 5, 2e-3),
    'fused with texts': ('test_resnet', 'random', 96, 12, 3e-3)}
TEXTS = {'words': 300, 'words and vectors': 300, 'windows from scratch': 2000} # name: synopses a seed


def covers(folder, seed, n):
    """Only a coloured badge tells the genre; a grey one stands beside it, and a synopsis that says nothing

    Eight genres: a network may know one by elimination, and then nothing on its covers speaks for it; of four that is
    a quarter of all covers."""
    items = synthetic_items(folder/f'covers{seed}', n=n, seed=seed, n_genres=8, size=(96, 144), clarity=0.,
                            label_noise=0.,
                       mark=True, decoy=True, synopsis_sentences=4, telling_sentences=0)
    return split_items(items, valid=.1, test=.2, seed=0)


def loaders(name, items, size, folder):
    if 'fused' not in name: return cover_block(items, size=size, augment=False).dataloaders(items, bs=16)
    encoder = tiny_text_encoder(folder/'encoder', items.text)
    return fused_block(items, size=size, augment=False, encoder=encoder, max_length=64,
                       stride=8).dataloaders(items, bs=16)


def trained(learn, epochs, rate):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, rate)
    return learn


def accuracy(p, items, vocab): return np.mean([vocab[j] == genres[0] for j, genres in zip(p.argmax(1), items.genres)])


def pointing(name, seed, folder, n):
    arch, weights, size, epochs, rate = NETWORKS[name]
    items = covers(folder, seed, n)
    test = items[items.split == 'test'].reset_index(drop=True)
    dls = loaders(name, items, size, folder)
    if 'fused' in name: weights = (weights, 'random')
    def learner(): return genre_learner(dls, arch, weights=weights, seed=seed)
    def hits(learn, **kwargs): return pointing_game(grad_cam(learn, test, **kwargs), test)['hits']
    untrained = hits(learner())
    learn = trained(learner(), epochs, rate)
    cams, row = grad_cam(learn, test), dict(network=name, seed=seed, n=len(test))
    found = pointing_game(cams, test)
    of_genre = test.groupby(test.genres.str[0]).indices
    by_genre = {g: pointing_game(cams[rows], test.iloc[rows])['hits'] for g, rows in of_genre.items()}
    return row | {'accuracy': accuracy(predict_items(learn, test), test, learn.dls.vocab), 'hits': found['hits'],
                  'fewest hits': f'{min(by_genre.values()):.3f} ({min(by_genre, key=by_genre.get)})',
                  'on the decoy': pointing_game(cams, test, 'decoy_box')['hits'], 'untrained': untrained,
                  "paper's Grad-CAM, last maps": hits(learn, layer='last', places=False),
                  'random point': found['random']}


def synopses(folder, seed, n):
    "One sentence of forty tells the genre; sixty synopses are tested"
    items = synthetic_items(folder/f'texts{seed}-{n}', n=n, seed=seed, n_genres=4, images=False, clarity=1.,
                            label_noise=0.,
                       synopsis_sentences=40, telling_sentences=1)
    return split_items(items, valid=.1, test=60/n, seed=0)


def sentences(name, seed, folder, n):
    items = synopses(folder, seed, n or TEXTS[name])
    test = items[items.split == 'test'].reset_index(drop=True)
    if name == 'windows from scratch':
        encoder = tiny_text_encoder(folder/f'reader{seed}', items.text)
        dls = synopsis_block(items, encoder, max_length=64, stride=8).dataloaders(items, bs=16)
        model = trained(genre_learner(dls, weights='random', pooling='attention', seed=seed), 20, 3e-3)
        p, vocab = predict_items(model, test), model.dls.vocab
    else:
        model = GenreClassifier(text_encoder='words' if name == 'words' else None).fit(items)
        p, vocab = model.predict_proba(test), model.classes_
    found = [text_weights(model, test[i:i+1]).weight.to_numpy() for i in range(len(test))]
    right = [weights.argmax() in told for weights, told in zip(found, test.told_at)]
    return dict(model=name, seed=seed, n=len(test), accuracy=accuracy(p, test, vocab), decisive=np.mean(right),
                random=1/len(found[0]))


def told(row): return ', '.join(f'{k} {v:.3f}' if isinstance(v, float) else f'{k} {v}' for k, v in row.items())


def main():
    parser = arguments(__doc__, 'explanations', only=[*NETWORKS, *TEXTS], seeds=True)
    parser.add_argument('--seeds', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--n', type=int, default=900, help='covers a seed; a fifth of them are tested')
    parser.add_argument('--n-texts', type=int, help='synopses a seed instead of those of each model')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    record = Record(args, 'Explanations')
    with tempfile.TemporaryDirectory() as folder, empty_cache():
        for heading, what, known, n in (('Where on a cover', pointing, NETWORKS, args.n),
                                        ('Which sentence', sentences, TEXTS, args.n_texts)):
            rows = []
            for name in (name for name in args.only if name in known):
                try:
                    for seed in args.seeds:
                        rows.append(what(name, seed, Path(folder), n))
                        record.write(told(rows[-1]))
                except WeightsError as e: record.write(f'{name}: left out. {e}')
            if rows: record.write(f'## {heading}', pd.DataFrame(rows).round(3))


if __name__ == '__main__': run(main)
