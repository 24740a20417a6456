"Overlap of genres: measured against chance"
import numpy as np, pytest
import matplotlib.pyplot as plt

from genre_fastai.evaluate.overlap import cluster_scores, genre_overlap, reduced
from genre_fastai.clustering import describe_overlap, plot_genre_map, plot_genre_tree, plot_overlap
from genre_fastai.items import ItemsError, make_items


def planted(n=60, seed=0):
    "Three genres; Crime and Thriller share a cloud, Romance has its own"
    rng = np.random.default_rng(seed)
    genres = np.repeat(['Crime', 'Thriller', 'Romance'], n)
    x = rng.normal(size=(3*n, 5)).astype('float32')
    x[genres == 'Romance'] += 6
    return x, make_items(genres=list(genres))


def test_planted_overlap_is_found():
    x, items = planted()
    table = genre_overlap(x, items, n_shuffles=50)
    pair = table[(table.genre == 'Crime') & (table.other == 'Thriller')].iloc[0]
    apart = table[(table.genre == 'Crime') & (table.other == 'Romance')].iloc[0]
    assert pair.ratio > 1.3 and pair.beyond_chance
    assert apart.ratio < .1 and not apart.beyond_chance
    assert 'Crime and Thriller' in describe_overlap(table)


def test_no_structure_no_overlap():
    _, items = planted()
    x = np.random.default_rng(1).normal(size=(len(items), 5))
    table = genre_overlap(x, items, n_shuffles=100)
    assert (abs(table.ratio - 1) < .25).all() and table.beyond_chance.sum() <= 2
    assert abs(cluster_scores(x, items).adjusted_mutual_info) < .03


def test_clusters_of_planted_groups():
    x, items = planted()
    scores = cluster_scores(x, items, n_clusters=2)
    assert scores.purity > .6 > scores.purity_by_chance + .1
    assert scores.adjusted_mutual_info > .4


def test_several_genres_an_item():
    x, items = planted()
    items['genres'] = [[*g, 'Drama'] if i % 2 else g for i, g in enumerate(items.genres)]
    assert {'Drama'} < set(genre_overlap(x, items, n_shuffles=20).genre)


def test_same_seed_same_table():
    x, items = planted()
    assert genre_overlap(x, items, n_shuffles=20).equals(genre_overlap(x, items, n_shuffles=20))


def test_thirty_genres_are_drawn_with_readable_labels():
    rng = np.random.default_rng(0)
    names = [f'A rather long genre name {i}' for i in range(30)]
    items = make_items(genres=[names[i % 30] for i in range(300)])
    table = genre_overlap(rng.normal(size=(300, 8)), items, n_shuffles=10)
    for ax in (plot_overlap(table), plot_genre_tree(table), plot_genre_map(rng.normal(size=(300, 8)), items)):
        assert ax.get_title() and ax.get_xlabel() and ax.get_ylabel()
    plt.close('all')


def test_wrong_input_is_named():
    x, items = planted()
    with pytest.raises(ValueError, match='vectors for'): genre_overlap(x[:5], items)
    with pytest.raises(ItemsError, match='only one genre'): genre_overlap(x[:60], items.iloc[:60])
    with pytest.raises(ItemsError, match='no genre'): cluster_scores(x, items.assign(genres=[[]]*len(items)))
    assert reduced(x, 50).shape == (len(x), 5)
