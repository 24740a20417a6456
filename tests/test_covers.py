"Edge cases of drawing: every level at odd sizes, repeatability, masks and boxes within bounds, odd words"
import numpy as np, pytest
from hypothesis import given, settings, strategies as st

from genre_fastai.runs import rng_for
from genre_fastai.datasets.covers import TRAITS, _layout, _motif, _texture, draw_cover

USUAL = {name: levels[0] for name, levels in TRAITS.items()}

def pixels(seed=0, **kwargs): return np.asarray(draw_cover(rng_for(seed), **{**USUAL, **kwargs}))

@pytest.mark.parametrize('trait', list(TRAITS))
def test_every_level_can_be_drawn(trait):
    words = dict(title='A Very Long Title for a Book', author='A. Novak')
    for level in TRAITS[trait]:
        for kind, size in [('cover', (48, 72)), ('poster', (160, 240)), ('cover', (700, 560))]:
            picture = draw_cover(rng_for(0, level), **{**USUAL, trait: level}, **words, size=size, kind=kind)
            assert picture.mode == 'RGB' and abs(picture.width/size[0] - 1) < .13 and np.asarray(picture).std() > 3

@pytest.mark.parametrize('trait', list(TRAITS))
def test_every_level_looks_different(trait):
    drawn = [pixels(**{trait: level}, title='The Long Road').tobytes() for level in TRAITS[trait]]
    assert len(set(drawn)) == len(drawn)

def test_same_generator_same_picture():
    assert np.array_equal(pixels(3, title='One', author='A. Novak'), pixels(3, title='One', author='A. Novak'))
    assert not np.array_equal(pixels(3, size=(60, 90))[:50, :50], pixels(4, size=(60, 90))[:50, :50])

@pytest.mark.parametrize('size', [(48, 48), (160, 240), (300, 90)])
def test_a_poster_is_as_large_as_a_cover_and_ends_in_dark_credits(size):
    cover, poster = (pixels(kind=kind, size=size) for kind in ('cover', 'poster'))
    assert cover.shape == poster.shape
    assert poster[-1, 0].max() < 20

@settings(deadline=None, max_examples=40)
@given(st.sampled_from(TRAITS['layout']), st.integers(0, 10**6))
def test_boxes_lie_on_the_page(layout, seed):
    bars, title, _, room, line = _layout(rng_for(seed), layout)
    for x0, y0, x1, y1 in [*bars, title, room, line]:
        assert x0 < x1 and y0 < y1
        assert min(x0, y0) > -1e-9 and max(x1, y1) < 1 + 1e-9

@settings(deadline=None, max_examples=40)
@given(st.sampled_from(TRAITS['texture']), st.integers(0, 10**6), st.integers(40, 90), st.integers(40, 90))
def test_textures_are_shares(texture, seed, width, height):
    field = _texture(rng_for(seed), texture, width, height)
    assert field.shape == (height, width) and field.min() >= 0 and field.max() <= 1

def test_motifs_are_silhouettes_that_differ_and_a_rim_goes_around_them():
    seen = set()
    for name in TRAITS['motif']:
        rim, inside = (np.asarray(mask) for mask in _motif(name))
        assert inside.shape == (256, 256) and .02 < (inside > 127).mean() < .6
        assert (rim > 127).mean() > (inside > 127).mean()
        seen.add(inside.tobytes())
    assert len(seen) == len(TRAITS['motif'])

@pytest.mark.parametrize('layout', TRAITS['layout'])
@pytest.mark.parametrize('title', ['', 'I', 'Donaudampfschifffahrtsgesellschaft', 'one two three four five six seven'])
def test_odd_titles_fit_somehow(layout, title):
    assert pixels(layout=layout, title=title, author='Ångström Šćepanović').std() > 3
