"Vectors: cached, resumed, in the order of the rows"
import numpy as np, pytest
from PIL import Image

from genre_fastai import embed
from genre_fastai.core import DiskCache, ItemsError
from genre_fastai.embed import BodyEncoder, ColourEncoder, colour_descriptors, embed_items, make_encoder
from genre_fastai.bodies import load_body
from genre_fastai.synth import made_items


@pytest.fixture(scope='module')
def items(tmp_path_factory): return made_items(tmp_path_factory.mktemp('world')/'covers', n=50, n_genres=3, seed=1)


def test_a_call_that_was_cut_goes_on_where_it_stopped(items, tmp_path):
    class Failing(ColourEncoder):
        done = 0
        def encode(self, batch):
            Failing.done += 1
            if Failing.done == 4: raise KeyboardInterrupt
            return batch
    cache = DiskCache(tmp_path/'v.sqlite')
    with pytest.raises(KeyboardInterrupt): embed_items(items, Failing(), cache, bs=8)
    assert len(cache) == 24
    calls = []
    class Counting(ColourEncoder):
        def encode(self, batch): calls.append(len(batch)); return batch
    x = embed_items(items, Counting(), cache, bs=8)
    assert sum(calls) == len({r for r in items.image}) - 24
    assert np.array_equal(x, embed_items(items, 'colours', DiskCache(tmp_path/'other.sqlite')))


def test_copies_of_a_picture_are_encoded_once(items, tmp_path):
    twice = items.assign(image=items.image.iloc[0])
    cache = DiskCache(tmp_path/'v.sqlite')
    x = embed_items(twice, 'colours', cache)
    assert len(cache) == 1 and (x == x[0]).all()


def test_depth_size_and_weights_are_part_of_the_key():
    bodies = [load_body('test_resnet', 'random', seed=s) for s in (0, 1)]
    names = {BodyEncoder(b, d, s).name for b in bodies for d in ('last', 'all') for s in (32, 64)}
    assert len(names) == 8


def test_missing_pictures_are_named(items):
    with pytest.raises(ItemsError, match='image is empty in 1 of 50'): embed_items(items.assign(image=[None, *items.image[1:]]), 'colours')


@pytest.mark.parametrize('size', [(1, 1), (3, 500), (400, 2)])
def test_descriptors_of_any_shape_are_finite(size):
    v = colour_descriptors(Image.new('RGB', size, (200, 30, 40)))
    assert v.shape == (332,) and np.isfinite(v).all()


def test_descriptors_tell_colours_and_directions_apart():
    flat = {c: colour_descriptors(Image.new('RGB', (60, 90), c)) for c in ('red', 'blue')}
    assert np.linalg.norm(flat['red'] - flat['blue']) > 1
    stripes = np.zeros((96, 96, 3), 'uint8'); stripes[::8] = 255
    level, upright = (colour_descriptors(Image.fromarray(s)) for s in (stripes, stripes.transpose(1, 0, 2).copy()))
    assert np.linalg.norm(level - upright) > 1
