"Edge cases of dedupe: odd pictures and texts, groups in any order, real collections"
import os
from pathlib import Path

import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageDraw, ImageEnhance

from genre_fastai.runs import rng_for
from genre_fastai.items import ItemsError, make_items
from genre_fastai.data.duplicates import duplicate_groups, find_duplicates, near_hashes, show_duplicates
from genre_fastai.data.images import open_image, scan_images
from genre_fastai.data.readers import read_folder
from genre_fastai.data.texts import text_key
from genre_fastai.datasets.synthetic import synthetic_items


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch): monkeypatch.setenv('GENRE_FASTAI_CACHE', str(tmp_path/'cache'))


@pytest.fixture(scope='module')
def world(tmp_path_factory): return synthetic_items(tmp_path_factory.mktemp('world'), n=60, seed=3)


def hex_hashes(numbers): return [f'{int(h):016x}' for h in numbers]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(0, 14), st.integers(0, 60))
def test_near_hashes_misses_none(seed, distance, n):
    rng = rng_for(seed)
    numbers = rng.integers(0, 2**64, n, dtype=np.uint64)
    for i in range(n//2): # neighbours at all distances
        flips = sum(1 << int(b) for b in rng.choice(64, rng.integers(0, 20), replace=False))
        numbers[n - 1 - i] = numbers[i] ^ np.uint64(flips)
    distances = np.bitwise_count(numbers[:, None] ^ numbers[None])
    expected = np.argwhere(np.triu(distances <= distance, 1))
    assert near_hashes(hex_hashes(numbers), distance).tolist() == expected.tolist()


def test_near_hashes_of_nothing_and_of_equals():
    assert near_hashes([]).shape == (0, 2)
    assert near_hashes(['00ff00ff00ff00ff']).shape == (0, 2)
    assert near_hashes(['00ff00ff00ff00ff']*3).tolist() == [[0, 1], [0, 2], [1, 2]]
    assert near_hashes(['ffffffffffffffff', '7fffffffffffffff', '0000000000000000']).tolist() == [[0, 1]]
    with pytest.raises(ValueError, match='use 0 to 16'): near_hashes([], max_distance=40)


@pytest.mark.parametrize('text, key', [
    (None, None), (float('nan'), None), (pd.NA, None), ('', None), (' \n', None), ('?!', None), ('_', None),
    ('STRASSE', 'strasse'), ('Straße', 'strasse'), ('a_b', 'a b'), ('Ⅷ', 'viii'), ('日本 語', '日本 語'), ("it's", 'it s')])
def test_text_key(text, key): assert text_key(text) == key


def saved(folder, name, picture, **kwargs):
    path = folder/name
    picture.save(path, **kwargs)
    return str(path)


def test_near_copies_of_many_kinds_are_found_and_others_are_not(world, tmp_path):
    cover = open_image(world.image[0])
    variants = [saved(tmp_path, 'same.jpg', cover),
                saved(tmp_path, 'hard.jpg', cover, quality=25),
                saved(tmp_path, 'as.png', cover),
                saved(tmp_path, 'small.jpg', cover.resize((cover.width//2, cover.height//2))),
                saved(tmp_path, 'grey.jpg', cover.convert('L')),
                saved(tmp_path, 'pale.jpg', ImageEnhance.Contrast(cover).enhance(.7)),
                saved(tmp_path, 'dark.jpg', ImageEnhance.Brightness(cover).enhance(.8))]
    items = make_items(image=[*variants, *world.image[1:30]])
    found = find_duplicates(items)
    assert found.kind.unique().tolist() == ['near picture']
    assert found.group.nunique() == 1
    assert found.item_id.tolist() == [str(i) for i in range(len(variants))]


def test_blank_and_unreadable_pictures_are_no_copies(tmp_path):
    white = [saved(tmp_path, f'white{i}.png', Image.new('RGB', (60, 90), 'white')) for i in range(3)]
    for i in range(2): (tmp_path/f'empty{i}.jpg').write_bytes(b'')
    for i in range(2): (tmp_path/f'text{i}.jpg').write_bytes(b'404 not found, and so on')
    broken = [str(tmp_path/f'{kind}{i}.jpg') for kind in ('empty', 'text') for i in range(2)]
    paths = [*white, *broken, None, None, *[str(tmp_path/'gone.jpg')]*2]
    items = make_items(image=paths)
    assert not len(find_duplicates(items))
    assert duplicate_groups(items).is_unique


def test_pictures_with_little_in_them_do_not_chain(tmp_path):
    paths = []
    for i in range(20): # a dot on white: one composition, many places
        picture = Image.new('RGB', (200, 300), 'white')
        x, y = (int(v) for v in rng_for(0, i).integers(10, 180, 2))
        ImageDraw.Draw(picture).ellipse((x, y, x + 60, y + 60), fill=(30, 5*i, 200 - 5*i))
        paths.append(saved(tmp_path, f'{i}.png', picture))
    assert duplicate_groups(make_items(image=paths)).value_counts().max() <= 4


def test_kinds_conflicts_and_groups(world):
    a, b = world.image[0], world.image[1]
    items = make_items(item_id=['z', 'y', 'x', 'w', 'v'], image=[a, a, b, None, None],
                       text=[None, 'One', 'one!', 'Two', 'two'],
                       genres=[['War', 'Pop'], ['Pop', 'War'], ['War'], ['Art'], []])
    found = find_duplicates(items).set_index(['kind', 'item_id'])
    assert found.group.to_dict() == {
        ('exact picture', 'z'): 'y', ('exact picture', 'y'): 'y', ('same text', 'y'): 'x', ('same text', 'x'): 'x',
        ('same text', 'w'): 'v', ('same text', 'v'): 'v'}
    assert found.conflict.groupby('kind').any().to_dict() == {'exact picture': False, 'same text': True}
    assert not found.conflict[('same text', 'v')] # no genre is no other genre
    assert duplicate_groups(items).tolist() == ['x', 'x', 'x', 'v', 'v']


def test_near_group_of_exact_copies_only_is_not_listed_twice(world):
    items = make_items(image=[world.image[0]]*3)
    assert find_duplicates(items).kind.unique().tolist() == ['exact picture']


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(['One', 'one', 'Two', '', None]), st.sampled_from(['s', 't', None])),
                min_size=1, max_size=25), st.randoms())
def test_groups_are_the_components_in_any_order(rows, random):
    items = make_items(text=[t for t, _ in rows], series=[s for _, s in rows], genres=['War']*len(rows))
    group = duplicate_groups(items, group_col='series')
    def linked(a, b):
        keys = zip((text_key(rows[a][0]), rows[a][1]), (text_key(rows[b][0]), rows[b][1]))
        return any(of_a is not None and of_a == of_b for of_a, of_b in keys)
    reach = {i: {i} for i in range(len(rows))}
    for _ in rows:
        for i in reach: reach[i] |= {k for j in reach[i] for k in range(len(rows)) if linked(j, k)}
    assert group.tolist() == [min(str(j) for j in reach[i]) for i in range(len(rows))]
    shuffled = items.sample(frac=1, random_state=random.randrange(1000))
    assert duplicate_groups(shuffled, group_col='series').sort_index().tolist() == group.tolist()


PLOT = 'A retired detective returns to the island where her sister was last seen, and nobody there wants to talk.'


def test_near_texts_have_groups_of_their_own_kind():
    items = make_items(item_id=list('edcba'), text=[PLOT, PLOT + ' Not even her mother.', PLOT.upper(), 'A lone wolf.',
                                                    None],
                       genres=['War', 'Pop', 'War', 'War', 'Pop'])
    found = find_duplicates(items)
    assert found.groupby('kind', sort=False).item_id.agg(list).to_dict() == {'same text': ['e', 'c'],
                                                                             'near text': ['e', 'd', 'c']}
    assert found.groupby('kind').conflict.all().to_dict() == {'near text': True, 'same text': False}
    assert duplicate_groups(items).tolist() == ['c', 'c', 'c', 'b', 'a']
    assert duplicate_groups(items, near=False).tolist() == ['c', 'd', 'c', 'b', 'a']
    assert duplicate_groups(items, min_similarity=1).tolist() == ['c', 'd', 'c', 'b', 'a']
    same = find_duplicates(items[items.item_id.isin(['e', 'c'])])
    assert same.kind.unique().tolist() == ['same text']            # equal texts are no near copies besides
    show_duplicates(items)


def test_near_texts_are_shown_from_where_they_part():
    long = ' '.join(f'word{i}' for i in range(60))
    items = make_items(item_id=list('abc'), text=[long + ' A happy end.', long + ' A sad end.', long.upper()
                                                  + ' A sad end.'], genres=['War']*3)
    show_duplicates(items[:2])
    near = [ax.texts[0].get_text() for ax in plt.gcf().axes]
    assert all(text.startswith('… word5') for text in near) and 'happy' in near[0] and 'sad' in near[1]
    show_duplicates(items[1:], n=1)
    assert [ax.texts[0].get_text()[:5].lower() for ax in plt.gcf().axes] == ['word0']*2     # they part at once
    show_duplicates(make_items(text=['Half \ud83d a character', 'half a \ud83d character']))
    plt.gcf().canvas.draw()


def test_pictures_and_texts_chain_into_one_group(world, tmp_path):
    cover, other = open_image(world.image[0]), open_image(world.image[1])
    paths = [saved(tmp_path, 'a.png', cover), saved(tmp_path, 'b.jpg', cover, quality=30),
             saved(tmp_path, 'c.png', other)]
    items = make_items(image=[*paths, None], text=[None, PLOT, 'Nobody there.', 'And so ' + PLOT])
    assert find_duplicates(items).kind.tolist() == ['near picture']*2 + ['near text']*2
    assert duplicate_groups(items).tolist() == ['0', '0', '2', '0']


def test_index_of_items_is_kept():
    items = make_items(text=['a', 'A', 'b'], genres=['War']*3).set_index(pd.Index([7, 7, 9]))
    group = duplicate_groups(items)
    assert group.index.tolist() == [7, 7, 9] and group.tolist() == ['0', '0', '2']


def test_input_is_not_changed(world):
    before = world.copy(deep=True)
    duplicate_groups(world)
    find_duplicates(world)
    pd.testing.assert_frame_equal(world, before)


def test_errors(world):
    items = make_items(text=['a', 'b'], genres=['War', 'Pop'])
    with pytest.raises(ItemsError, match="no column 'artist'"): duplicate_groups(items, group_col='artist')
    with pytest.raises(ItemsError, match='nothing to show'): show_duplicates(items)
    with pytest.raises(ItemsError, match='scan lacks 59 of 60 items'):
        find_duplicates(world, scan=scan_images(world[:1]))
    none = find_duplicates(make_items(genres=['War']))
    assert none.columns.tolist() == ['kind', 'group', 'item_id', 'genres', 'conflict']


def test_picture_that_vanished_after_the_scan(world, tmp_path):
    cover = open_image(world.image[0])
    items = make_items(image=[saved(tmp_path, 'a.jpg', cover), saved(tmp_path, 'b.png', cover)])
    scan = scan_images(items)
    Path(items.image[0]).unlink()
    assert not len(find_duplicates(items, scan=scan))


def test_texts_and_pictures_are_shown(world):
    show_duplicates(make_items(text=['Cost: $5 and $6', 'cost 5 and 6'], genres=['War', 'Pop']))
    show_duplicates(make_items(image=[world.image[0]]*6), max_copies=2)


@pytest.fixture
def real():
    folder = os.environ.get('GENRE_FASTAI_REAL_DATA')
    if not folder: pytest.skip('GENRE_FASTAI_REAL_DATA names no folder of real data')
    return Path(folder)


def test_album_covers_conflicting_copies(real):
    items = read_folder(real/'album_covers')
    found = find_duplicates(items)
    exact = found[found.kind == 'exact picture']
    assert exact[exact.conflict].group.nunique() == 45
    assert 35 <= found[found.kind == 'near picture'].group.nunique() <= 50
    assert duplicate_groups(items).value_counts().max() <= 6


def test_posters_have_no_near_copies(real):
    paths = sorted((real/'posters'/'images').glob('*.jpg'))
    assert not len(find_duplicates(make_items(image=paths)))
