"Pictures and synopses together: what is missing, every verb of a Learner, stages, odd rows"
import random

import matplotlib.pyplot as plt, numpy as np, pytest, torch
from fastai.vision.all import Flip, TensorImage

from genre_fastai.blocks import check_readable, cover_block, poster_block
from genre_fastai.core import ItemsError
from genre_fastai.prepare_data import split_items
from genre_fastai.synth import made_items
from genre_fastai.text_blocks import TensorPresent, TensorWindows, fused_block, present_in, text_reader
from genre_fastai.text_bodies import tiny_text_encoder

def with_holes(items):
    "Every fifth row without a picture, another fifth without a text"
    items = items.astype({'image': object, 'text': object})
    items.loc[items.index % 5 == 0, 'image'] = None
    items.loc[items.index % 5 == 1, 'text'] = None
    return items

@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    world = dict(n=90, n_genres=3, kind='poster', synopsis_sentences=6, telling_sentences=4, seed=2)
    return split_items(made_items(tmp_path_factory.mktemp('w')/'w', **world), valid=.2, test=.2)

@pytest.fixture(scope='module')
def items(whole): return with_holes(whole)

@pytest.fixture(scope='module')
def several(tmp_path_factory):
    world = dict(n=90, n_genres=3, kind='poster', multilabel=True, seed=2)
    return with_holes(split_items(made_items(tmp_path_factory.mktemp('w')/'w', **world), valid=.2, test=.2))

@pytest.fixture(scope='module')
def encoder(whole, tmp_path_factory): return tiny_text_encoder(tmp_path_factory.mktemp('e')/'encoder', whole.text)

@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('GENRE_FASTAI_CACHE', str(tmp_path/'cache'))
    yield
    plt.close('all')

@pytest.fixture
def loaders(encoder):
    def made(items, bs=8, **kwargs):
        block = fused_block(items, encoder=encoder, **{'size': 64, 'max_length': 48, 'stride': 8, **kwargs})
        return block.dataloaders(items, bs=bs, num_workers=0)
    return made


# Posters

def test_a_poster_block_is_a_cover_block_that_mirrors(whole):
    flips = {}
    for name, block in {'cover': cover_block(whole, size=32), 'poster': poster_block(whole, size=32),
                        'still': poster_block(whole, size=32, mirror=False), 'plain': poster_block(whole, size=32, vary=False)}.items():
        dls = block.dataloaders(whole, bs=8, num_workers=0)
        flips[name] = any(isinstance(t, Flip) for t in dls.train.after_batch.fs)
        if name != 'plain': assert dls.valid.one_batch()[0].shape == (8, 3, 32, 32)
    assert flips == {'cover': False, 'poster': True, 'still': False, 'plain': False}


# The block

def test_each_input_says_what_the_row_says(items, several, loaders):
    for rows in (items, several):
        dls = loaders(rows, vary=False)
        order = dls.valid.get_idxs()
        for k, (pictures, windows, present, genres) in enumerate(dls.valid):
            of_batch = dls.valid.items.iloc[order[8*k:8*k+8]]
            assert (type(pictures), type(windows), type(present)) == (TensorImage, TensorWindows, TensorPresent)
            assert torch.equal(present_in(of_batch), present.as_subclass(torch.Tensor))
            assert present.tolist() == of_batch[['image', 'text']].notna().to_numpy().tolist()
            assert (pictures.flatten(1).amax(1) > 0).tolist() == present[:, 0].tolist()
            words = [text_reader(dls).windows([t or ''])[0] for t in of_batch.text]
            assert [sum(w >= 0 for w in x.flatten()).item() for x in windows] == [int((w >= 0).sum()) for w in words]
            assert [list(dls.vocab[i] for i in y.nonzero().flatten()) if y.ndim else [dls.vocab[y]] for y in genres] == [
                sorted(g) for g in of_batch.genres]


def test_like_lengths_go_together_in_training(items, loaders):
    dl = loaders(items, bs=4).train
    dl.pool = 8
    dl.rng = random.Random(0)
    order = dl.get_idxs()
    assert sorted(order) == list(range(len(dl.dataset)))
    spread = np.mean([np.ptp([dl.res[i] for i in order[j:j+4]]) for j in range(0, len(order)//4*4, 4)])
    assert spread < .7*np.mean([np.ptp(dl.res[j:j+4]) for j in range(0, len(dl.res)//4*4, 4)])


@pytest.mark.parametrize('holes', [dict(image=None), dict(text=None), dict(text=' \n'), dict(image=float('nan')), dict(image=None, text=None)])
def test_further_rows_may_lack_anything(holes, whole, loaders):
    rows = whole.head(3).assign(**holes)
    pictures, windows, present = loaders(whole).test_dl(rows).one_batch()
    assert pictures.shape == (3, 3, 64, 64) and len(windows) == 3 and present.all(0).tolist() == ['image' not in holes, 'text' not in holes]
    if 'image' in holes: assert pictures.unique().tolist() == [0.]


def test_rows_with_neither_are_named(items, loaders):
    bare = items.copy()
    at = bare.index[bare.split == 'train'][0]
    bare.loc[at, ['image', 'text']] = None
    with pytest.raises(ItemsError, match=rf"no image and no text in 1 of \d+ rows: '{bare.item_id[at]}'. clean_items drops"): loaders(bare)
    assert check_readable(items, ('image', 'text')) is items
    at = bare.index[bare.split == 'test'][0]
    kept = items.copy()
    kept.loc[at, ['image', 'text']] = None       # a test row is not looked at
    assert loaders(kept).train.n
    with pytest.raises(ItemsError, match='split_items'): loaders(items.assign(split=None))


def test_shown_with_words(items, several, loaders):
    for rows in (items, several):
        dls = loaders(rows)
        dls.show_batch(max_n=6)
        titles = [ax.get_title() for ax in plt.gcf().axes if ax.get_title()]
        words = ' '.join(t.get_text() for ax in plt.gcf().axes for t in ax.texts)
        assert len(titles) == 6 and all(set(t.split(', ')) <= set(dls.vocab) for t in titles) and ' the ' in words
        dls.valid.show_batch(max_n=4)
    plt.close('all')
    dls.test_dl(items.assign(image=None, text=None)).show_batch(max_n=2)
    assert [t.get_text() for ax in plt.gcf().axes for t in ax.texts] == ['no picture', 'no text']*2
