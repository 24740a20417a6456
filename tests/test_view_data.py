"Looking at data: tables and plots for tables of every shape"
import os
from functools import partial
from pathlib import Path

import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np, pandas as pd, pytest
from PIL import Image

from genre_fastai.items import ItemsError, make_items
from genre_fastai.data.images import scan_images
from genre_fastai.datasets.synthetic import read_items
from genre_fastai.data.show import show_items
from genre_fastai.view_data import (describe_items, plot_cooccurrence, plot_genre_counts, plot_image_sizes,
                                    plot_text_lengths, show_oddities)

PLOTS = [plot_genre_counts, plot_cooccurrence, plot_image_sizes, plot_text_lengths]


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    monkeypatch.setenv('GENRE_FASTAI_CACHE', str(tmp_path/'cache'))
    yield
    plt.close('all')


@pytest.fixture
def covers(tmp_path):
    "A folder with two genres: good, equal, blank, cut and empty pictures"
    rng = np.random.default_rng(0)
    for genre in ['Pop', 'Rock']: (tmp_path/'covers'/genre).mkdir(parents=True)
    def save(name, image, **options): image.save(tmp_path/'covers'/name, **options)
    for i in range(4): save(f'Pop/{i}.jpg', Image.fromarray(rng.integers(0, 255, (30 + i, 20, 3), dtype='uint8')))
    save('Rock/5.png', Image.fromarray(rng.integers(0, 255, (30, 20), dtype='uint8')))
    save('Rock/blank.jpg', Image.new('RGB', (20, 30), 'white'))
    good = (tmp_path/'covers'/'Pop'/'0.jpg').read_bytes()
    (tmp_path/'covers'/'Rock'/'copy.jpg').write_bytes(good)
    (tmp_path/'covers'/'Rock'/'cut.jpg').write_bytes(good[:400])
    (tmp_path/'covers'/'Rock'/'empty.jpg').touch()
    return tmp_path/'covers'


def table_of(covers):
    paths = sorted(covers.rglob('*.*'))
    return make_items(image=[str(p) for p in paths], genres=[p.parent.name for p in paths])


def test_facts_about_pictures(covers):
    items = table_of(covers)
    about = describe_items(items).value
    assert about['items', 'rows'] == 9 and about['items', 'with text'] == 0
    assert 'texts' not in about.index.get_level_values(0)
    assert about['genres', 'task'] == 'single-label' and about['genres', 'genres'] == 2
    assert about['genres', 'most frequent'] == 'Rock (5)' and about['genres', 'rarest'] == 'Pop (4)'
    assert about['pictures', 'readable'] == 7
    assert about['pictures', 'problems'] in ('truncated 1, empty file 1', 'empty file 1, truncated 1')
    assert about['pictures', 'oddities'] == 'grey 1' and about['pictures', 'blank'] == 1
    assert (about['pictures', 'groups of equal files'], about['pictures', '... with different genres']) == (1, 1)
    assert about['pictures', 'formats'] == 'JPEG 6, PNG 1' # the cut one ends within its header
    assert about['pictures', 'height (min / median / max)'] == '30 / 30 / 33'


def test_facts_about_texts_and_genres():
    items = make_items(text=['one two three', 'four', None, 'four', ''],
                       genres=[['War', 'Drama'], ['War'], [], ['Drama'], ['News']],
                       mended=['double encoding; id repeated', None, None, 'id repeated', None])
    about = describe_items(items).value
    assert about['genres', 'task'] == 'multi-label' and about['genres', 'items without genre'] == 1
    assert about['genres', 'genres an item, mean'] == 1.25 and about['genres', 'genres with fewer than 10 items'] == 3
    assert about['texts', 'words, quartiles'] == '1 / 1 / 2' and about['texts', 'words, mean'] == 1.2
    assert about['texts', 'words, longest'] == '3 (0)' and about['texts', 'characters, longest'] == '13 (0)'
    assert about['texts', 'words, standard deviation'] == pytest.approx(np.std([3, 1, 1, 0], ddof=1), abs=.05)
    assert (about['texts', 'groups of equal texts'], about['texts', '... with different genres']) == (1, 1)
    assert about['items', 'mended while reading'] == 'id repeated 2, double encoding 1'
    assert about['items', 'with neither'] == 1 and about['pictures', 'readable'] == 0


def test_every_row_of_texts_is_in_one_heap():
    plot = 'A retired detective returns to the island.'
    items = make_items(item_id=list('abcdefgh'),
                       text=[plot, f'<p>{plot.upper()}</p>', None, ' ', '\x01\x02\x03\x04 x', 'Unknown',
                             'No genre &amp; a plot', 'A &amp; B went home'],
                       genres=['War', 'Pop', 'War', 'War', 'War', 'War', None, 'Pop']).set_index(pd.Index([7]*8))
    texts = describe_items(items).value['texts']
    found = {k: texts[k] for k in ('rows', 'incomplete', 'repeated', 'left')}
    assert found == {'rows': 8, 'incomplete': 4, 'repeated': 1, 'left': 3}
    assert [texts[f'... {k}'] for k in ('no text', 'binary data, or no word in it', 'no genre')] == [1, 2, 1]
    assert (texts['... to be cleaned'], texts['kinds of mends']) == (1, 'HTML entities replaced 1')
    assert texts['... of fewer than 3 words'] == 1 and texts['... with different genres'] == 1
    assert texts['characters, longest'] == '49 (b)'


def test_half_characters_and_long_texts_are_measured_and_drawn():
    items = make_items(item_id=list('abc'), text=['half \ud83d a caf\udce9', 'word '*2_100_000, '😀 سلام'],
                       genres=['War', 'War', 'Pop $ $'])
    texts = describe_items(items).value['texts']
    assert texts['words, longest'] == '2,100,000 (b)' and 'cut to 100,000 characters 1' in texts['kinds of mends']
    assert plot_text_lengths(items, by_genre=True).get_xscale() == 'log' and plot_text_lengths(items).patches
    show_items(items)
    plt.gcf().canvas.draw()


def test_genres_that_are_named_and_ids_for_texts():
    items = make_items(text=['A war story', 'Two wars', 'A song', 'A war song', None],
                       genres=['War', 'War', 'War', 'Pop', 'Pop'])
    named = describe_items(items).value['texts that name their genre']
    assert named.to_dict() == {'War': '2 of 3 (67%), of other texts 100.0%', 'Pop': '0 of 1 (0%), of other texts 0.0%'}
    assert 'texts that name their genre' not in describe_items(items[4:]).value
    ids = make_items(text=[f'tt{i:07d}' for i in range(9)], genres=['War']*9)
    assert 'name another column with text_cols' in describe_items(ids).value['texts', 'an id?']
    many = make_items(text=[f'A genre {i}' for i in range(60)], genres=[f'genre {i}' for i in range(60)])
    assert len(describe_items(many).value['texts that name their genre']) == 20


@pytest.mark.parametrize('items', [
    pytest.param(make_items(text=['a b', 'c'], genres=['War', 'Pop']), id='no pictures'),
    pytest.param(make_items(image=['gone.jpg', None], genres=['War', 'Pop']), id='no readable picture'),
    pytest.param(make_items(text=['a b', None], genres=[[], []]), id='no genres'),
    pytest.param(make_items(item_id=['x']), id='nothing'),
    pytest.param(make_items(text=['$5 and $6 \\frac'], genres=[['A$AP', '$x_$', '^{']]), id='like a formula'),
    pytest.param(make_items(text=['', ' '], genres=[['War', 'Pop'], ['War']]), id='empty text')])
def test_nothing_crashes_on_what_is_missing(items, capsys):
    assert len(describe_items(items))
    for plot in [*PLOTS, partial(plot_text_lengths, by_genre=True)]:
        ax = plot(items)
        assert ax.get_title()
        ax.figure.canvas.draw()
    show_items(items)
    plt.gcf().canvas.draw()
    odd = show_oddities(items)
    assert list(odd.columns) == ['item_id', 'genres', 'image', 'why']
    if items.image.isna().all(): assert 'has a picture' in capsys.readouterr().out
    else: assert odd.why.tolist() == ['missing file', 'no picture']


def test_plots_draw_on_the_axes_they_are_given(covers):
    items = table_of(covers).assign(text='a b c')
    for plot in PLOTS:
        _, ax = plt.subplots()
        n = len(plt.get_fignums())
        assert plot(items, ax=ax) is ax and len(plt.get_fignums()) == n
        assert ax.get_title()


def overlaps(labels, renderer):
    boxes = [label.get_window_extent(renderer) for label in labels if label.get_text()]
    return any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_30_long_names_are_readable():
    names = [f'Historical and Contemporary Fiction of the Nineteenth Century, part {i}' for i in range(30)]
    rng = np.random.default_rng(0)
    items = make_items(genres=[list(rng.choice(names, 2, replace=False)) for _ in range(600)])
    for plot in (plot_genre_counts, plot_cooccurrence):
        ax = plot(items)
        ax.figure.canvas.draw()
        renderer = ax.figure.canvas.get_renderer()
        labels = [t.get_text() for t in ax.get_yticklabels()]
        assert len(set(labels)) == 30                                      # the ends, where the names differ, are kept
        assert not overlaps(ax.get_yticklabels(), renderer)
        for label in ax.get_yticklabels():
            assert ax.figure.bbox.padded(1).containsx(label.get_window_extent(renderer).x0)
    assert not overlaps(ax.get_xticklabels(), renderer)


def test_many_genres_show_the_most_frequent_and_say_so():
    items = make_items(genres=[[f'g{j}' for j in range(i % 90 + 1)] for i in range(180)])
    ax = plot_genre_counts(items)
    assert len(ax.patches) == 40 and '40 most frequent of 90' in ax.get_title()
    assert plot_cooccurrence(items, max_genres=7).images[0].get_array().shape == (7, 7)


def test_cooccurrence_is_a_share_of_the_row():
    items = make_items(genres=[['A', 'B']]*3 + [['A']]*1 + [['B', 'C']]*2)
    share = plot_cooccurrence(items).images[0].get_array().filled(np.nan)
    names = ['B', 'A', 'C']                                                  # 5, 4 and 2 items
    assert share[names.index('A'), names.index('B')] == 3/4
    assert share[names.index('B'), names.index('A')] == 3/5
    assert share[names.index('C'), names.index('B')] == 1
    assert np.isnan(np.diag(share)).all()


def test_histogram_counts_every_text():
    for lengths in ([1, 1, 2, 3], list(range(500)), [1]*50 + [20_000], [0, 0, 5], [7]):
        ax = plot_text_lengths(make_items(text=['w '*n for n in lengths]))
        assert sum(bar.get_height() for bar in ax.patches) == len(lengths)


def test_a_box_for_each_genre():
    items = make_items(text=['w '*n for n in [1, 2, 3, 90, 5]] + [None],
                       genres=[['A'], ['A', 'B'], ['B'], ['B'], [], ['C']])
    ax = plot_text_lengths(items, by_genre=True)
    assert [label.get_text() for label in ax.get_yticklabels()] == ['B (3)', 'A (2)']
    assert ax.get_xscale() == 'log' and [line.get_xdata().tolist() for line in ax.lines][-1] == [90, 2]
    names = [f'Historical and Contemporary Fiction of the Nineteenth Century, part {i}' for i in range(35)]
    ax = plot_text_lengths(make_items(text=['w w']*70, genres=names*2), by_genre=True)
    ax.figure.canvas.draw()
    assert len(ax.get_yticklabels()) == 30 and '30 most frequent of 35' in ax.get_title()
    assert not overlaps(ax.get_yticklabels(), ax.figure.canvas.get_renderer())


def test_show_items_with_several_pictures_a_genre(covers):
    items = table_of(covers)
    show_items(items, by_genre=True, n=3)
    assert len(plt.gcf().axes) == 6
    show_items(items, n=5)
    first = [ax.get_title() for ax in plt.gcf().axes]
    show_items(items, n=5)
    assert [ax.get_title() for ax in plt.gcf().axes] == first and len(first) == 5
    with pytest.raises(ItemsError, match='no item has a genre'): show_items(make_items(text=['a']), by_genre=True)

def test_show_items_with_titles_keeps_the_order(covers):
    items = table_of(covers)[:5]
    show_items(items, titles=range(5), n_columns=2)
    axes = plt.gcf().axes
    assert [ax.get_title() for ax in axes[:5]] == list('01234') and len(axes) == 6
    with pytest.raises(ValueError, match='3 titles for 5 items'): show_items(items, titles='abc')
    with pytest.raises(ValueError, match='5 items by genre'): show_items(items, titles='abcde', by_genre=True)


def test_oddities_are_varied_and_complete(covers):
    items = table_of(covers)
    odd = show_oddities(items, n=4)
    assert odd.why.value_counts().to_dict() == {'grey': 1, 'blank': 1, 'truncated': 1, 'empty file': 1}
    assert {ax.get_title() for ax in plt.gcf().axes if ax.get_title()} == set(odd.why)


def test_nothing_odd(covers, capsys):
    good = table_of(covers).iloc[:3]
    assert not len(show_oddities(good)) and 'Nothing odd' in capsys.readouterr().out


def test_foreign_scan_is_refused(covers):
    items = table_of(covers)
    scan = scan_images(items.iloc[:3])
    with pytest.raises(ItemsError, match='other items'): describe_items(items, scan)
    assert len(describe_items(items.iloc[:3], scan))


def test_any_index_will_do(covers):
    items = table_of(covers).sample(frac=1, random_state=0).set_index(pd.Index(list('ihgfedcba')))
    assert describe_items(items).value['pictures', '... with different genres'] == 1
    assert set(show_oddities(items).index) <= set('abcdefghi')


def test_read_items_from_folder_table_and_made_world(covers, tmp_path):
    assert len(read_items(covers)) == 9 and set(read_items(str(covers)).genres.map(tuple)) == {('Pop',), ('Rock',)}
    (tmp_path/'books.csv').write_text('id,blurb,shelf\n1,a b,War\n2,c d,Pop\n')
    assert read_items(tmp_path/'books.csv', text_cols=['blurb'], genre_col='shelf').text.tolist() == ['a b', 'c d']
    made = read_items(None, n=60, n_genres=3, damaged=.2)
    assert len(made) == 60 and made.genres.explode().nunique() == 3
    about = describe_items(made).value
    assert 60 - about['pictures', 'readable'] > 0
    assert made.equals(read_items(None, n=60, n_genres=3, damaged=.2))
    assert read_items(None, n=30, images=False).image.isna().all()
    with pytest.raises(ItemsError, match="Did you mean 'books.csv'"): read_items(tmp_path/'boks.csv')
    with pytest.raises(ItemsError, match='no folder or table'): read_items('/no/such/place')


@pytest.mark.parametrize('name, rows, no_genre, blank, equal, differing', [
    ('album_covers', 2000, 0, 1, 45, 45), ('book_covers', 2200, 205, 26, None, None)])
def test_real_data(name, rows, no_genre, blank, equal, differing):
    data = os.environ.get('GENRE_FASTAI_REAL_DATA')
    if not data: pytest.skip('set GENRE_FASTAI_REAL_DATA to the folder with the real data')
    folder = Path(data, name)
    items = read_items(folder) if name == 'album_covers' else read_items(folder/'books.csv', image_dir=folder/'images')
    about = describe_items(items).value
    assert (about['items', 'rows'], about['genres', 'items without genre']) == (rows, no_genre)
    assert (about['pictures', 'blank'], about['pictures', 'readable']) == (blank, rows)
    if equal:
        assert about['pictures', 'groups of equal files'] == equal
        assert about['pictures', '... with different genres'] == differing
