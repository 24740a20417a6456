"Genres within genres: parents, trees and probabilities that agree"
import numpy as np, pytest
from hypothesis import given, settings, strategies as st

from genre_fastai.predict.modalities import enforce_hierarchy
from genre_fastai.items import ItemsError, check_items, genre_matrix, genre_vocab, make_items
from genre_fastai.data.genres import add_parents, consistent_probabilities, genre_tree
from genre_fastai.data.genres import roll_up_genres

paths = st.lists(st.sampled_from('ABC'), min_size=1, max_size=4).map(' > '.join)
genres = st.lists(st.lists(paths, max_size=4, unique=True), min_size=1, max_size=6)
calm = settings(max_examples=60, deadline=None)


def added(*gs, **kwargs): return add_parents(make_items(genres=[list(gs)]), **kwargs).genres[0]


@pytest.mark.parametrize('given_genres, wanted', [
    (['A > B > C'], ['A', 'A > B', 'A > B > C']), (['A>B'], ['A', 'A > B']), (['A  >B', 'A'], ['A', 'A > B']),
    (['A > B', 'A > C'], ['A', 'A > B', 'A > C']), (['A > A'], ['A', 'A > A']), (['Sci-Fi'], ['Sci-Fi']),
    (['A > ', '> B'], ['A', 'B']), (['>'], ['>']), ([], [])])
def test_parents(given_genres, wanted): assert added(*given_genres) == wanted


def test_another_separator():
    assert added('Music/Jazz/Bop', sep='/') == ['Music', 'Music > Jazz', 'Music > Jazz > Bop']
    assert added('Music/Jazz', 'Music > Jazz', sep='/') == ['Music', 'Music > Jazz']
    assert added('R&B > Soul', sep='/') == ['R&B > Soul']
    with pytest.raises(ValueError, match="sep is ' '"): added('A B', sep=' ')


@pytest.mark.parametrize('sep', ['/', '>', ' > ', '|', ' / '])
def test_whatever_the_separator_predictions_agree(sep):
    items = add_parents(make_items(genres=[[f'Fiction{sep}Crime'], ['Fiction']]), sep=sep)
    assert add_parents(items, sep=sep).genres.tolist() == items.genres.tolist()
    assert enforce_hierarchy(np.array([[.1, .9]]), genre_vocab(items), True).tolist() == [[.9, .9]]


def test_a_tree_of_another_separator():
    items = make_items(genres=[['A/B'], ['A / B/C'], ['A'], ['R&B > Soul']])
    assert [line.split() for line in genre_tree(items, sep='/').splitlines()[1:]] == [
        ['A', '3', '1'], ['└─', 'B', '2', '1'], ['└─', 'C', '1', '1'], ['R&B', '>', 'Soul', '1', '1']]


def test_items_are_checked_and_otherwise_untouched():
    items = make_items(text=['x'], genres=[['A > B']], year=[1999])
    assert add_parents(items).drop(columns='genres').equals(items.drop(columns='genres'))
    assert items.genres[0] == ['A > B']
    with pytest.raises(ItemsError): add_parents(items.drop(columns='split'))


@calm
@given(genres)
def test_parents_are_complete_and_adding_them_again_changes_nothing(lists):
    items = make_items(genres=lists)
    every = check_items(add_parents(items))
    for before, after in zip(items.genres, every.genres):
        assert set(before) <= set(after) and bool(before) == bool(after)
        assert all(after.index(g.rsplit(' > ', 1)[0]) <= after.index(g) for g in after)
        assert len(set(after)) == len(after)
    assert add_parents(every).genres.tolist() == every.genres.tolist()
    assert [set(g) for g in roll_up_genres(every).genres] == [set(g) for g in roll_up_genres(items).genres]


@calm
@given(genres, st.integers(0, 99))
def test_probabilities_agree_with_the_tree(lists, seed):
    vocab = genre_vocab(make_items(genres=lists))
    p = np.random.default_rng(seed).random((3, len(vocab)))
    agreed = consistent_probabilities(p, vocab)
    assert (agreed >= p).all() and agreed.shape == p.shape
    for i, parent in enumerate(vocab):
        below = [j for j, g in enumerate(vocab) if g.startswith(parent + ' > ')]
        assert np.allclose(agreed[:, i], p[:, [i, *below]].max(1))
    assert (consistent_probabilities(agreed, vocab) == agreed).all()


def test_a_missing_level_does_not_hide_a_descendant():
    assert consistent_probabilities([[.1, .9, .2]], ['A', 'A > B > C', 'AB']).tolist() == [[.9, .9, .2]]


def test_picks_stay_picks():
    items = make_items(genres=[['A > B'], ['C']])
    vocab = genre_vocab(add_parents(items))
    picks = consistent_probabilities(genre_matrix(items, vocab), vocab)
    assert picks.dtype == np.uint8 and (picks == genre_matrix(add_parents(items), vocab)).all()
    assert consistent_probabilities(np.zeros((0, 3)), vocab).shape == (0, 3)


@pytest.mark.parametrize('p', [[.1, .2], [[.1]], np.zeros((2, 2, 2))])
def test_wrong_shapes(p):
    with pytest.raises(ValueError, match='but there are 2 genres'): consistent_probabilities(p, ['A', 'A > B'])


def test_tree():
    items = make_items(genres=[['A > B > C'], ['A', 'A>B'], ['D > E'], ['D > F'], ['D'], ['G'], []])
    lines = [line.split() for line in genre_tree(items).splitlines()]
    assert lines == [['items', 'named'], ['D', '3', '1'], ['├─', 'E', '1', '1'], ['└─', 'F', '1', '1'],
                     ['A', '2', '1'], ['└─', 'B', '2', '1'], ['└─', 'C', '1', '1'], ['G', '1', '1']]
    assert genre_tree(items, min_count=2).splitlines()[1:] == [
        'D           3       1', 'A           2       1', '└─ B        2       1',
        'and 4 genres with fewer than 2 items']
    assert genre_tree(items, min_count=9).splitlines()[-1] == 'and 7 genres with fewer than 9 items'
    assert genre_tree(make_items(text=['x'])) == 'no genres'


def test_an_item_counts_once_below_each_parent():
    items = make_items(genres=[['A > B', 'A > C', 'A > B > D']])
    assert genre_tree(items).splitlines()[1].split() == ['A', '1', '0']
