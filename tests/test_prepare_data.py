"Edge cases of prepare_data: every row accounted for, no group crosses, the same split in any order"
import os, re, sys, warnings
from pathlib import Path

import matplotlib
matplotlib.use('agg')
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from genre_fastai.runs import rng_for
from genre_fastai.items import (SPLITS, ItemsError, check_items, genre_counts, genre_matrix, genre_vocab, load_items,
                                load_report,
                                make_items, save_items)
from genre_fastai.data.images import scan_images
from genre_fastai.data.duplicates import duplicate_groups, find_duplicates, text_duplicates
from genre_fastai.data.clean import clean_items
from genre_fastai.data.split import check_split, fold_items, sample_items, split_items
from genre_fastai.prepare_data import plot_split, quarantine_items
from genre_fastai.view_data import describe_items, plot_text_lengths
from genre_fastai.data.genres import merge_genres, roll_up_genres, to_single_label
from genre_fastai.data.readers import read_folder, read_table
from genre_fastai.datasets.synthetic import synthetic_items
from genre_fastai.data.texts import suggest_merges


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('GENRE_FASTAI_CACHE', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(scope='module')
def world(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp('world')
    return synthetic_items(folder, n=250, n_genres=6, damaged=.08, blank=.04, duplicates=.15, seed=1)


def synthetic_table(n, n_genres, seed, multi=True, n_series=None):
    "Items without pictures: texts of their own, genres of falling frequency, series of a few items"
    rng = rng_for(seed, 'table')
    odds = 1/np.arange(1, n_genres + 1)
    names = [f'genre {j:02d}' for j in range(n_genres)]
    def drawn():
        size = rng.integers(1, min(4, n_genres + 1)) if multi else 1
        return [names[j] for j in rng.choice(n_genres, size=size, replace=False, p=odds/odds.sum())]
    genres = [drawn() for _ in range(n)]
    series = [f's{rng.integers(n_series or n)}' for _ in range(n)]
    return make_items(text=[f'text number {i}' for i in range(n)], genres=genres, series=series)


def is_accounted_for(items, clean, report):
    dropped, kept = set(report.frame.query('action == "dropped"').item_id), set(clean.item_id)
    are_counted = len(items) == len(clean) + report.n_dropped == report.n_in
    return are_counted and not dropped & kept and dropped | kept == set(items.item_id)


# cleaning

def test_made_world_is_cleaned_of_all_that_was_planted(world):
    clean, report = clean_items(world, needs='image')
    assert is_accounted_for(world, clean, report)
    planted = world.set_index('item_id').planted.dropna()
    reasons = report.frame.query('action == "dropped"').groupby('item_id').reason.agg('; '.join)
    for fault in ('truncated', 'empty file', 'not a picture'):
        broken = planted.index[planted == fault]
        assert len(broken) and reasons[broken].eq(f'unreadable picture: {fault}').all()
    assert reasons[planted.index[planted == 'blank']].eq('blank picture').all()
    copies = planted.index[planted.str.startswith('exact copy')]
    assert reasons[copies].isin(['exact copy', 'copies in different genres']).all()
    assert not clean.planted.fillna('').isin(['truncated', 'blank']).any()
    assert clean.index.tolist() == list(range(len(clean)))


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_every_row_is_accounted_for_whatever_the_switches(world, data):
    switches = {'needs': ['any', 'image', 'text', 'both'], 'no_genre': ['drop', 'keep'], 'unreadable': ['drop', 'keep'],
                'blank': ['drop', 'keep'], 'copies': ['first', 'keep'],
                'conflicts': ['auto', 'drop', 'first', 'union', 'keep'], 'copy_of': ['both', 'image', 'text'],
                'near': ['keep', 'first'], 'texts': ['clean', 'keep'], 'min_words': [None, 1, 60],
                'min_count': [1, 2, 20]}
    rows = data.draw(st.lists(st.integers(0, len(world) - 1), min_size=2, max_size=40, unique=True))
    items = world.iloc[rows].copy()
    untold = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    items['text'] = items.text.mask(pd.Series(untold, index=items.index), None)
    items['genres'] = [data.draw(st.sampled_from([g, g, [], ['A'], ['A', 'B']])) for g in items.genres]
    before = items.copy(deep=True)
    chosen = {name: data.draw(st.sampled_from(choices), label=name) for name, choices in switches.items()}
    try: clean, report = clean_items(items, **chosen)
    except ItemsError as e: assert 'no item is left' in str(e) or 'empty in all' in str(e)
    else: assert is_accounted_for(items, clean, report)
    pd.testing.assert_frame_equal(items, before)


def test_switches_keep_what_they_say(world):
    off = dict(no_genre='keep', unreadable='keep', blank='keep', copies='keep', conflicts='keep', min_count=1)
    clean, report = clean_items(world, **off)
    assert len(clean) == len(world) and not report.n_dropped
    def drops(**kwargs):
        report = clean_items(world, needs='image', **{**off, **kwargs})[1]
        return set(report.frame.query('action == "dropped"').reason)
    assert drops(blank='drop') == {'blank picture'}
    assert all(r.startswith('unreadable picture') for r in drops(unreadable='drop'))
    assert drops(copies='first') == {'exact copy'}
    assert drops(conflicts='drop') == {'copies in different genres'}
    assert drops(near='first') == {'near copy of a picture'}
    assert drops(min_count=40) == {'only genres with fewer than 40 items'}


def test_text_saves_an_item_without_a_picture(world):
    clean, report = clean_items(world, copies='keep', conflicts='keep')
    changed = report.frame.query('action == "changed"')
    assert changed.reason.str.startswith('picture taken away').all() and len(changed) and not report.n_dropped
    assert clean.set_index('item_id').image[changed.item_id].isna().all()
    both, report = clean_items(world, needs='both', copies='keep', conflicts='keep')
    assert report.n_dropped == len(changed)
    assert len(clean_items(world, needs='text', copies='keep', conflicts='keep')[0]) == len(world)


def test_a_row_may_have_two_reasons_and_counts_once(tmp_path, cache):
    Image.new('RGB', (60, 60), 'white').save(tmp_path/'white.png')
    items = make_items(item_id=['a', 'b', 'c'], image=[tmp_path/'white.png', None, tmp_path/'gone.jpg'],
                       text=[None, 'One', None], genres=[None, 'War', 'War'])
    clean, report = clean_items(items, min_count=1)
    reasons = report.frame.groupby('item_id').reason.agg(list).to_dict()
    assert reasons == {'a': ['blank picture', 'no genre'], 'c': ['unreadable picture: missing file']}
    assert is_accounted_for(items, clean, report)
    file = quarantine_items(items, report, tmp_path/'q')
    assert pd.read_csv(file).reason.tolist() == ['blank picture; no genre', 'unreadable picture: missing file']


def test_conflicting_copies():
    items = make_items(item_id=list('abcdef'), text=['One', 'one', 'one', 'Two', 'two', 'Three'],
                       genres=[['A'], ['B'], ['A'], ['B'], ['B'], ['A']])
    ids = lambda **kwargs: ''.join(clean_items(items, min_count=1, **kwargs)[0].item_id)
    assert ids() == 'df'
    assert ids(conflicts='first') == 'adf'
    assert ids(conflicts='keep') == 'abcdf'
    assert ids(copies='keep') == 'def'
    assert ids(conflicts='keep', copies='keep') == 'abcdef'
    union, report = clean_items(items, min_count=1, conflicts='union')
    assert union.genres.tolist() == [['A', 'B'], ['B'], ['A']]
    assert report.frame.query('action == "changed"').item_id.tolist() == ['a']
    several = items.assign(genres=[['A', 'C'], ['B'], ['A'], ['B'], ['B'], ['A']])
    union = clean_items(several, min_count=1)[0]                           # auto: some items have several genres
    assert union.genres.tolist() == [['A', 'C', 'B'], ['B'], ['A']]


def test_same_picture_other_text_is_no_copy_but_noted(world):
    picture = world.image[world.planted.isna()].iloc[0]
    items = make_items(image=[picture]*3, text=['One', 'Two', 'one!'], genres=['A', 'B', 'A'])
    clean, report = clean_items(items, min_count=1)
    assert clean.text.tolist() == ['One', 'Two']
    assert report.frame.query('action == "noted"').reason.unique().tolist() == ['same picture as another item']
    assert clean_items(items, min_count=1, copy_of='image', conflicts='first')[0].text.tolist() == ['One']
    assert clean_items(items, min_count=1, copy_of='text')[0].text.tolist() == ['One', 'Two']


def test_mends_are_noted_and_odd_indexes_survive():
    items = make_items(item_id=['a', 'b'], text=['x', 'y'], genres=['A', 'A'], mended=['one; two', None])
    items = items.set_index(pd.Index([5, 5]))
    clean, report = clean_items(items)
    assert report.frame.reason.tolist() == ['mended when read: one', 'mended when read: two']
    assert report.frame.action.eq('noted').all()
    assert len(clean) == 2


def test_clean_twice_changes_nothing_more(world):
    clean, _ = clean_items(world, needs='image')
    again, report = clean_items(clean, needs='image')
    assert not len(report.frame.query('action != "noted"'))
    pd.testing.assert_frame_equal(again, clean)


def test_table_without_genres_can_be_cleaned_to_predict():
    items = make_items(text=['One', 'one', 'Two'])
    clean, report = clean_items(items, no_genre='keep')
    assert clean.text.tolist() == ['One', 'Two']
    with pytest.raises(ItemsError, match="column 'genres' is empty in all 3 rows"): clean_items(items)


PLOT = 'A retired detective returns to the island where her sister was last seen, and nobody there wants to talk.'


def entries(report): return report.frame.groupby(['action', 'reason']).item_id.agg(''.join).to_dict()


def test_texts_are_mended_and_counted():
    items = make_items(item_id=list('abcdefg'), text=[
        f'<p>{PLOT}</p>', PLOT.replace('nobody', 'the cafÃ©'), f'{PLOT[:50]}... {PLOT[:-9]} about it.', 'Two men',
        '\u200b ',
        '\x89PNG\r\x1a\x00\x00\x01\x02\x03 IHDR', None], genres=['War']*7)
    clean, report = clean_items(items, needs='text')
    assert is_accounted_for(items, clean, report)
    assert clean.text.tolist() == [PLOT, PLOT.replace('nobody', 'the café'), PLOT[:-9] + ' about it.']
    assert entries(report) == {
        ('changed', 'text: markup removed'): 'a', ('changed', 'text: blanks normalised'): 'a',
        ('changed', 'text: double encoding mended'): 'b', ('changed', 'text: repeated preview removed'): 'c',
        ('dropped', 'text of fewer than 3 words'): 'd', ('dropped', 'text without a word'): 'e',
        ('dropped', 'binary data in place of a text'): 'f', ('dropped', 'no text'): 'g',
        ('noted', 'near copy of a text'): 'ac'}
    assert clean_items(items, needs='text', min_words=2)[0].item_id.tolist() == list('abcd')
    kept, report = clean_items(items, texts='keep', no_genre='keep')
    assert kept.text.tolist()[:6] == items.text.tolist()[:6] and not (report.frame.action == 'changed').any()


def test_a_picture_saves_an_item_without_a_text(world):
    pictures = world.image[world.planted.isna()].tolist()[:3]
    items = make_items(item_id=list('abc'), image=pictures, text=['...', '\x01\x02\x03\x04\x05', 'Emma'],
                       genres=['War']*3)
    clean, report = clean_items(items)
    assert clean.text.isna().tolist() == [True, True, False] and clean.image.tolist() == pictures
    assert entries(report) == {('changed', 'text taken away: text without a word'): 'a',
                               ('changed', 'text taken away: binary data in place of a text'): 'b'}
    assert clean_items(items, needs='both', min_words=1, min_count=1)[0].item_id.tolist() == ['c']


@pytest.mark.parametrize('text', ['😀 👩🏽‍🚀 three words here', 'سلام عليكم يا \u200fصديقي', 'שלום \u202bעולם\u202c טוב',
                                  '猫は三匹', 'AT&T, R&B & more'])
def test_sound_texts_of_every_script_stay(text):
    clean, report = clean_items(make_items(text=[text, PLOT], genres=['War']*2), needs='text')
    assert clean.text.tolist() == [text, PLOT] and not len(report.frame)


def test_mixed_encodings_and_bytes_become_one():
    texts = ['the old café of the town', b'the new caf\xe9 of a town', 'our own cafÃ© in a town',
             b'my last caf\xc3\xa9 in the town']
    clean, report = clean_items(make_items(text=texts, genres=['War']*4), needs='text')
    assert clean.text.str.contains('café').all() and report.frame.item_id.tolist() == ['2', '1']


def test_a_text_of_10_megabytes_is_cut_and_says_so():
    texts = [' '.join(f'word{i}' for i in range(10**6)), 'Two robots learn to dance in the rain.']
    items = make_items(item_id=['long', 'short'], text=texts, genres=['War']*2)
    clean, report = clean_items(items, needs='text')
    assert entries(report)['changed', 'text: cut to 100,000 characters'] == 'long'
    assert len(items.text[0]) > 10**7 and 99_990 < len(clean.text[0]) <= 100_000
    assert len(clean_items(items, needs='text', max_chars=60)[0].text[0]) <= 60


def test_genres_are_trimmed_and_spellings_offered():
    items = make_items(item_id=list('abcd'), text=['One', 'Two', 'Three', 'Four'],
                       genres=[['Sci-Fi', ' Sci-Fi'], ['Sci-Fi'], ['sci-fi'], ['War ', 'Sci  Fi']])
    clean, report = clean_items(items, min_count=1)
    assert clean.genres.tolist() == [['Sci-Fi'], ['Sci-Fi'], ['sci-fi'], ['War', 'Sci Fi']]
    changed, noted = (report.frame[report.frame.action == a] for a in ('changed', 'noted'))
    assert changed.item_id.tolist() == ['a', 'd']
    assert changed.reason.unique().tolist() == ['blanks in the name of a genre mended']
    assert noted.item_id.tolist() == ['c', 'd']
    assert noted.detail.tolist() == ["'sci-fi' is perhaps 'Sci-Fi'", "'Sci Fi' is perhaps 'Sci-Fi'"]
    joined = merge_genres(items, suggest_merges(items)['into'].to_dict())
    assert 'merge_genres' in noted.reason.iloc[0]
    assert not len(clean_items(joined, min_count=1)[1].frame.query('action == "noted"'))


def test_names_that_say_nothing_are_noted():
    items = make_items(item_id=list('abcd'), text=['One', 'Two', 'Three', 'Four'],
                       genres=[['Default'], ['War', 'OTHER '], ['War'], ['Others at Sea']])
    clean, report = clean_items(items, min_count=1)
    noted = report.frame[report.frame.action == 'noted']
    assert len(clean) == 4 and noted.item_id.tolist() == ['a', 'b']
    offer = noted.reason.iloc[0]
    assert "merge_genres(items, {'Default': None, 'OTHER': None})" in offer
    merged = merge_genres(clean, {'Default': None, 'OTHER': None})
    assert genre_counts(merged).to_dict() == {'War': 2, 'Others at Sea': 1}


@pytest.mark.parametrize('genre, kept', [
    ('N/A', None), ('unknown', None), ('-', None), ('Default', None), ('TBA', None), ('Fiction > N/A', 'Fiction'),
    ('Fiction > Other > Crime', 'Fiction > Crime'), ('Misc > General', None), ('General Fiction', 'General Fiction'),
    ('Unknown Pleasures', 'Unknown Pleasures'), ('A > B', 'A > B')])
def test_what_a_name_tells(genre, kept):
    items = make_items(item_id=['x', 'y'], text=['One', 'Two'], genres=[[genre], ['War']])
    noted = clean_items(items, min_count=1)[1].frame.query('action == "noted"')
    if kept == genre: assert not len(noted)
    else:
        assert noted.item_id.tolist() == ['x'] and f'merge_genres(items, {{{genre!r}: {kept!r}}})' in noted.reason[0]
        assert ('1 items have no other' in noted.reason[0]) == (kept is None)


def test_a_folder_called_unknown_is_asked_about(tmp_path, cache):
    for i, name in enumerate(['War', 'Pop', 'unknown', 'unknown']):
        (tmp_path/name).mkdir(exist_ok=True)
        Image.effect_noise((64, 64), 90 + i).save(tmp_path/name/f'{i}.png')
    clean, report = clean_items(read_folder(tmp_path), min_count=1)
    reason = report.frame.query('action == "noted"').reason.unique().tolist()
    assert reason == ["genre that is perhaps none; merge_genres(items, {'unknown': None}) would take it away (2 items "
                      "have no other)"]
    assert len(clean) == 4


def test_rows_without_a_genre_after_merging_are_named_and_then_dropped_with_a_reason():
    items = make_items(item_id=list('abcd'), text=['One', 'Two', 'Three', 'Four'],
                       genres=[['Default'], ['War', 'Default'], ['Short'], ['War']])
    with pytest.warns(UserWarning, match="1 of 4 items are left without a genre: 'a'.*clean_items") as caught:
        merged = merge_genres(items, {'Default': None})
    assert len(caught) == 1 and caught[0].filename == __file__ and len(merged) == 4
    with pytest.warns(UserWarning, match="2 of 4 .*: 'a', 'c'"):
        merged = merge_genres(items, {'Default': None}, min_count=2)
    clean, report = clean_items(merged, min_count=1)
    assert is_accounted_for(merged, clean, report)
    assert report.frame.query('reason == "no genre"').item_id.tolist() == ['a', 'c']
    assert len(clean_items(merged, min_count=1, no_genre='keep')[0]) == 4
    with pytest.raises(ItemsError, match="genres is empty in 2 of 4 rows: 'a', 'c'"): split_items(merged)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        merge_genres(merged, {'War': 'Peace'})              # what had no genre before is no news
        assert roll_up_genres(make_items(genres=[['> Crime'], ['War > ']])).genres.tolist() == [['Crime'], ['War']]


def test_blanks_make_no_second_genre():
    items = make_items(text=['One day', 'one day!', 'Two'], genres=[['War', ' War'], ['Pop'], ['Pop']])
    # single-label: copies in conflict are dropped
    assert clean_items(items, min_count=1)[0].text.tolist() == ['Two']


BAD = {'ok1': (PLOT, 'War'), 'ok2': ('Two robots who were built to fight learn to dance in the rain.', 'Pop'),
       'empty': ('', 'War'),
       'blank': (' \u3000\u200b', 'War'), 'long': ('word '*2_100_000, 'Pop'), 'binary': (bytes(range(256))*9, 'War'),
       'emoji': ('😀 👩🏽\u200d🚀 meets her double at home', 'Sci-Fi'), 'rtl': ('كان ياما كان في قديم الزمان', 'sci-fi'),
       'he': ('\u202bשלום עולם טוב מאוד\u202c', ' Sci-Fi '), 'twice': ('The cafÃ© opens at dawn', 'sci-fi'),
       'cp1252': ('The last café closes at dusk'.encode('cp1252'), 'War')}


@pytest.mark.parametrize('kind', ['made', 'csv', 'parquet'])
def test_bad_texts_from_reading_to_splitting(tmp_path, kind):
    table = pd.DataFrame([(i, text if isinstance(text, bytes) else text.encode(), genre)
                          for i, (text, genre) in BAD.items()],
                         columns=['id', 'text', 'genre'])
    if kind == 'made':
        items = make_items(item_id=list(BAD), text=[t for t, _ in BAD.values()], genres=[g for _, g in BAD.values()])
    elif kind == 'parquet':
        table.to_parquet(tmp_path/'bad.parquet')
        items = read_table(tmp_path/'bad.parquet')
    else:
        rows = [','.join([i, '"%s"', genre]).encode() % text.replace(b'"', b'""')
                for i, text, genre in table.itertuples(index=False)]
        (tmp_path/'bad.csv').write_bytes(b'\n'.join([b'id,text,genre', *rows]))
        items = read_table(tmp_path/'bad.csv')
    clean, report = clean_items(items, needs='text')
    assert is_accounted_for(items, clean, report) and len(str(report).splitlines()) <= 16
    reasons = report.frame.groupby('item_id').reason.agg('; '.join)
    assert 'no text' in reasons['empty'] or 'without a word' in reasons['empty']
    assert 'without a word' in reasons['blank'] and 'binary data' in reasons['binary']
    assert 'cut to 100,000' in reasons['long'] and 'merge_genres could join' in reasons['rtl']
    text = clean.set_index('item_id').text
    assert text[['emoji', 'rtl', 'he']].tolist() == [BAD[i][0] for i in ['emoji', 'rtl', 'he']]
    assert (text['twice'], text['cp1252']) == ('The café opens at dawn', 'The last café closes at dusk')
    assert len(text) == 8 and genre_counts(clean).to_dict() == {'Pop': 2, 'Sci-Fi': 2, 'War': 2, 'sci-fi': 2}
    check_split(split_items(clean, test=.4, valid=.1))


def test_ids_in_place_of_texts(world):
    ids = make_items(text=[f'tt{i:07d}' for i in range(9)], genres=['War']*9)
    with pytest.raises(ItemsError, match="column 'text': all 9 values.*That is an id.*text_cols.*texts='keep'"):
        clean_items(ids, needs='text')
    clean, report = clean_items(ids)
    assert len(clean) == 9 and entries(report) == {('noted', 'text looks like an id'): '012345678'}
    assert len(clean_items(ids, needs='text', texts='keep')[0]) == 9


def test_near_texts_never_cross_a_split():
    texts = [f'{PLOT} Number {i}.' if i < 40 else f'{i} {rng_for(0, i).integers(0, 10**9, 12)}' for i in range(200)]
    items = make_items(text=texts, genres=[['A'], ['B']]*100)
    split = split_items(clean_items(items, needs='text')[0], seed=3)
    assert split.group[:40].nunique() == 1 and split.split[:40].nunique() == 1 and split.group.nunique() == 161
    assert fold_items(items).fold[:40].nunique() == 1
    assert split_items(items, near=False).split[:40].nunique() > 1
    other = 'test' if split.split[1] != 'test' else 'train'
    crossing = split.drop(columns='group').assign(split=split.split.where(split.index > 0, other))
    with pytest.raises(ItemsError, match='1 of 161 groups of copies cross'): check_split(crossing)


def test_near_first_keeps_one_of_each_group(world):
    texts = [PLOT, PLOT + ' Not even her mother.', 'Two robots learn to dance in the rain.']
    items = make_items(item_id=list('abc'), text=texts, genres=['War']*3)
    clean, report = clean_items(items, near='first')
    assert clean.item_id.tolist() == ['a', 'c'] and entries(report) == {('dropped', 'near copy of a text'): 'b'}


def test_clean_errors():
    items = make_items(text=['One', 'Two'], genres=['A', 'B'])
    with pytest.raises(ValueError, match="needs is 'picture'"): clean_items(items, needs='picture')
    with pytest.raises(ValueError, match="Did you mean 'first'"): clean_items(items, copies='frist')
    with pytest.raises(ItemsError, match='no item is left of 2'): clean_items(items)
    with pytest.raises(ItemsError, match='columns'): clean_items(pd.DataFrame({'a': [1]}))


def test_saved_with_report(world, tmp_path):
    clean, report = clean_items(world)
    path = save_items(split_items(clean), tmp_path/'a'/'covers.parquet', report)
    assert load_items(path).split.tolist() == split_items(clean).split.tolist()
    assert str(load_report(path)) == str(report) and load_report(path).n_in == len(world)


def test_quarantine(world, tmp_path):
    clean, report = clean_items(world, needs='image')
    file = quarantine_items(world, report, tmp_path/'q', copy_pictures=True)
    back = read_table(file, id_col='item_id', image_col='image', text_cols=['text'], genre_col='genres')
    assert sorted(back.item_id) == sorted(set(world.item_id) - set(clean.item_id))
    assert sum(1 for p in (tmp_path/'q').rglob('*') if p.is_file()) == 1 + report.n_dropped
    with pytest.raises(FileExistsError, match='there already'): quarantine_items(world, report, tmp_path/'q')
    with pytest.raises(ItemsError, match='items that are not in the table'):
        quarantine_items(clean, report, tmp_path/'other')
    assert not (tmp_path/'other').exists()
    kept, nothing = clean_items(clean, needs='image')
    assert not len(pd.read_csv(quarantine_items(clean, nothing, tmp_path/'none')))


# splitting

tables = st.builds(synthetic_table, n=st.integers(30, 150), n_genres=st.integers(2, 8), seed=st.integers(0, 10**6),
                   multi=st.booleans(), n_series=st.integers(20, 120))


def dealable(items):
    "Without the genres that are in fewer than two series"
    n = items.explode('genres').groupby('genres').series.nunique()
    items = merge_genres(items, {g: None for g in n.index[n < 2]})
    return items[items.genres.map(len) > 0]


@settings(deadline=None, max_examples=60)
@given(tables, st.integers(0, 3), st.sampled_from([(.1, .2), (.2, .2), (0, .3), (.3, .5)]))
def test_no_group_crosses_in_any_order_and_all_genres_are_in_train(items, seed, shares):
    items = dealable(items)
    choices = dict(valid=shares[0], test=shares[1], seed=seed, group_col='series')
    try: split = split_items(items, **choices)
    except ItemsError as e:
        assert 'fewer than 2' in str(e) or 'the one genre' in str(e) or 'got none' in str(e)
        return
    assert (split.groupby('series').split.nunique() == 1).all() and (split.groupby('group').split.nunique() == 1).all()
    assert (check_split(split).train > 0).all()
    shuffled = split_items(items.sample(frac=1, random_state=seed), **choices)
    assert shuffled.split.sort_index().tolist() == split.split.sort_index().tolist()
    largest = split.group.value_counts().max()
    for name, share in zip(SPLITS, [1 - sum(shares), *shares]):
        assert abs((split.split == name).sum() - share*len(split)) <= 2*largest + 2


@settings(deadline=None, max_examples=40)
@given(tables, st.integers(2, 6), st.integers(0, 3))
def test_folds(items, k, seed):
    items = dealable(items)
    try: folds = fold_items(items, k=k, seed=seed, group_col='series')
    except (ItemsError, ValueError) as e:
        assert any(words in str(e) for words in ('fewer than 2', 'the one genre', 'got none', 'k is'))
        return
    assert set(folds.fold) == set(range(k)) and (folds.groupby('series').fold.nunique() == 1).all()
    for fold in range(k): # every genre can be learnt in every fold
        assert set(folds.genres[folds.fold != fold].explode()) == set(items.genres.explode())


def test_single_genres_are_stratified_to_the_item():
    items = synthetic_table(1000, 5, seed=0, multi=False)
    table = check_split(split_items(items))
    n = table.sum(axis=1)
    assert (table.sub(np.outer(n, [.7, .1, .2])).abs() < 1).all().all()
    assert table.sum().tolist() == [700, 100, 200]
    folds = fold_items(items).explode('genres').value_counts(['genres', 'fold']).unstack()
    assert (folds.max(axis=1) - folds.min(axis=1)).max() <= 1


def test_no_worse_than_a_library_that_knows_no_groups():
    iterstrat = pytest.importorskip('iterstrat.ml_stratifiers')
    ours, theirs = [], []
    for seed in range(3):
        items = synthetic_table(1500, 25, seed=seed)
        y = genre_matrix(items)
        fold = np.zeros(len(items), dtype=int)
        stratified = iterstrat.MultilabelStratifiedKFold(5, shuffle=True, random_state=seed)
        for f, (_, rows) in enumerate(stratified.split(y, y)): fold[rows] = f
        def deviation(fold): return np.mean([np.abs(y[fold == f].sum(0) - y.sum(0)/5).mean() for f in range(5)])
        ours.append(deviation(fold_items(items, k=5, seed=seed).fold.to_numpy()))
        theirs.append(deviation(fold))
    assert np.mean(ours) <= 1.25*np.mean(theirs) < .5      # items a genre and fold: half an item is what rounding costs


def test_seed_changes_the_split_and_index_is_kept():
    items = synthetic_table(200, 4, seed=0).set_index(pd.Index(np.arange(200)*3))
    a, b = split_items(items, seed=0), split_items(items, seed=1)
    assert a.split.tolist() != b.split.tolist() and a.index.tolist() == items.index.tolist()
    assert items.split.isna().all() and 'group' not in items
    assert a.split.tolist() == split_items(a, seed=0).split.tolist()     # an older split plays no part


def test_split_is_the_same_everywhere():
    items = make_items(text=[f'text {i}' for i in range(12)], genres=[['A'], ['B']]*6)
    split = split_items(items, valid=.2, test=.3, seed=0)
    parts = ''.join({'train': 'r', 'valid': 'v', 'test': 't'}[s] for s in split.split)
    assert parts == 'vrtvrtrrrrtt'                                         # a change here changes every user's split


@pytest.mark.parametrize('n', [6, 8, 10, 12])
def test_small_folders_have_all_parts(n):
    items = make_items(text=[f'text {i}' for i in range(n)], genres=[['A'], ['B']]*(n//2))
    split = split_items(items)
    assert split.split.value_counts().reindex(SPLITS).min() >= 1
    assert (check_split(split).train > 0).all()


def test_shares_of_nothing():
    items = synthetic_table(100, 3, seed=0)
    assert set(split_items(items, valid=0).split) == {'train', 'test'}
    assert set(split_items(items, test=0).split) == {'train', 'valid'}


def test_split_errors():
    items = synthetic_table(40, 3, seed=0)
    for valid, test in [(0, 0), (.5, .5), (-.1, .2), (1, .1), (.1, float('nan'))]:
        with pytest.raises(ValueError, match='for train; use shares'): split_items(items, valid=valid, test=test)
    message = ("1 of 2 genres have fewer than 2 items: ['B']. "
               "Merge or drop them first, e.g. merge_genres(items, min_count=2).")
    with pytest.raises(ItemsError, match=re.escape(message)):
        split_items(make_items(text=['One', 'Two', 'Three'], genres=['A', 'A', 'B']))
    with pytest.raises(ItemsError, match=r"1 of 2 genres have fewer than 2 groups of copies: \['B'\]"):
        split_items(make_items(text=['One', 'Two', 'Three', 'three'], genres=['A', 'A', 'B', 'B']))
    with pytest.raises(ItemsError, match="all 3 items carry the one genre 'A'"):
        split_items(make_items(text=list('xyz'), genres=['A']*3))
    with pytest.raises(ItemsError, match='genres is empty in 1 of 3 rows'):
        split_items(make_items(text=list('xyz'), genres=['A', 'B', None]))
    two_groups = make_items(text=list('wxyz'), genres=[['A', 'B']]*4, series=['s', 's', 't', 't'])
    with pytest.raises(ItemsError, match='got none of 4 items in 2 groups'): split_items(two_groups, group_col='series')
    with pytest.raises(ValueError, match='k is 50; use 2 to 40'): fold_items(items, k=50)
    with pytest.raises(ValueError, match='k is 1'): fold_items(items, k=1)


def test_check_split(world):
    split = split_items(clean_items(world)[0])
    check_split(split)
    copies = split[split.group.duplicated(keep=False)]
    assert len(copies)
    leaky = split.copy()
    leaky.loc[copies.index[0], 'split'] = next(s for s in SPLITS if s != split.split[copies.index[0]])
    for table in (leaky, leaky.drop(columns='group')):
        with pytest.raises(ItemsError, match='1 of .* groups of copies cross the split'): check_split(table)
    partly = split.copy()
    partly.loc[copies.index[0], 'split'] = None     # a row on no side leaks nothing
    check_split(partly)
    with pytest.raises(ItemsError, match="column 'split' is empty"): check_split(world)
    with pytest.raises(ItemsError, match="have no item in train: \\['B'\\]"):
        check_split(make_items(text=list('xy'), genres=['A', 'B'], split=['train', 'test']))


def test_plot_split_with_thirty_genres():
    ax = plot_split(split_items(dealable(synthetic_table(900, 30, seed=0))))
    ax.figure.canvas.draw()
    boxes = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert len(boxes) == 30 and all(lower.y1 <= upper.y0 + 1 for lower, upper in zip(boxes, boxes[1:]))
    assert ax.get_title() and ax.get_xlabel() and ax.get_ylabel()
    assert plot_split(split_items(synthetic_table(60, 3, seed=0)), ax=ax) is ax
    plt.close('all')


# samples and genres

@settings(deadline=None, max_examples=40)
@given(tables, st.floats(.01, 1), st.integers(0, 3))
def test_samples(items, share, seed):
    n = max(1, int(share*len(items)))
    sample = sample_items(items, n, seed=seed)
    assert len(sample) == n and sample.index.is_monotonic_increasing and sample.item_id.is_unique
    assert sample_items(items[::-1], n, seed=seed).sort_index().item_id.tolist() == sample.item_id.tolist()
    if items.genres.map(len).max() == 1:
        share = genre_counts(items)*n/len(items)
        assert (genre_counts(sample).reindex(share.index, fill_value=0) - share).abs().max() < 2


@pytest.mark.parametrize('n, shares', [(30, [16, 6, 8]), (60, [33, 12, 15]), (399, [219, 80, 100]),
                                       (400, [220, 80, 100]), (1, [1, 0, 0])])
def test_a_sample_of_a_split_keeps_its_shares_in_any_order(n, shares):
    items = make_items(text=[f't{i}' for i in range(400)], genres=[[f'G{i % 6}'] for i in range(400)],
                       split=['train']*220 + ['valid']*80 + ['test']*100)
    sample = sample_items(items, n)
    assert [sample.split.eq(s).sum() for s in ('train', 'valid', 'test')] == shares
    for part, rows in sample.groupby('split'): assert genre_counts(rows).max() - len(rows)/6 < 2, part
    assert sample_items(items[::-1], n)[::-1].item_id.tolist() == sample.item_id.tolist()


@settings(deadline=None, max_examples=60)
@given(tables, st.floats(.01, 1), st.integers(0, 3), st.randoms(use_true_random=False))
def test_a_sample_of_a_split_keeps_the_genres_of_train(items, share, seed, random):
    parts = [random.choice(['train', 'valid', 'test', None]) for _ in range(len(items))]
    items = items.assign(split=pd.Series(parts, index=items.index, dtype=object))
    n = max(1, int(share*len(items)))
    sample, train = sample_items(items, n, seed), items[items.split == 'train']
    assert len(sample) == n and sample.index.is_monotonic_increasing
    sizes, taken = items.split.fillna('none').value_counts(), sample.split.fillna('none').value_counts()
    assert (taken.reindex(sizes.index, fill_value=0) - sizes*n/len(items)).abs().max() < 1
    kept, genres = sample[sample.split == 'train'], genre_vocab(train)
    assert len(genre_vocab(kept)) >= min(len(kept), len(genres))
    assert sample_items(items[::-1], n, seed).sort_index().item_id.tolist() == sample.item_id.tolist()


def test_a_sample_without_a_split_is_what_it_has_always_been():
    items = make_items(text=[f't{i}' for i in range(12)], genres=[['A'], ['B'], ['A', 'C']]*4)
    assert sample_items(items, 4, seed=1).item_id.tolist() == ['2', '3', '7', '9']


def test_a_tight_sample_of_train_keeps_every_genre():
    genres = [['Common']]*90 + [[f'Rare {i}'] for i in range(10)]
    items = make_items(text=[f't{i}' for i in range(100)], genres=genres, split=['train']*100)
    assert genre_vocab(sample_items(items, 11)) == genre_vocab(items)
    assert genre_vocab(sample_items(items, 2))[0] == 'Common'   # where it cannot be, the most frequent


def test_sample_of_items_without_genres_and_errors():
    items = make_items(text=list('abc'), genres=[['A'], [], []])
    assert len(sample_items(items, 2)) == 2 and len(sample_items(items, 3)) == 3
    for n in (0, 4):
        with pytest.raises(ValueError, match='use 1 to 3'): sample_items(items, n)


def test_merge_genres():
    items = make_items(text=list('abcd'), genres=[['A', 'B'], ['B', 'C'], ['C'], []])
    assert merge_genres(items, {'A': 'X', 'B': 'X'}).genres.tolist() == [['X'], ['X', 'C'], ['C'], []]
    assert merge_genres(items, {'A': 'B', 'B': 'A'}).genres.tolist() == [['B', 'A'], ['A', 'C'], ['C'], []]
    assert merge_genres(items, min_count=2).genres.tolist() == [['B'], ['B', 'C'], ['C'], []]
    assert merge_genres(items, {'A': None}, min_count=3, other='O').genres.tolist() == [['O'], ['O'], ['O'], []]
    assert merge_genres(items).genres.tolist() == items.genres.tolist()
    with pytest.raises(ItemsError, match=r"mapping names 1 genres that no item has: \['a'\]. Did you mean 'A'"):
        merge_genres(items, {'a': 'X'})


def test_roll_up_genres():
    items = make_items(text=list('ab'), genres=[['A > B > C', 'A', 'D>E'], []])
    assert roll_up_genres(items).genres.tolist() == [['A', 'D'], []]
    assert roll_up_genres(items, level=2).genres.tolist() == [['A > B', 'A', 'D > E'], []]
    assert roll_up_genres(make_items(text=['a'], genres=['A/B']), sep='/').genres.tolist() == [['A']]
    with pytest.raises(ValueError, match='level is 0'): roll_up_genres(items, level=0)


def test_to_single_label():
    items = make_items(text=list('abcd'), genres=[['A', 'B'], ['B'], ['C', 'A'], []], stars=[1., None, 5., 2.])
    assert to_single_label(items).genres.tolist() == [['A'], ['B'], ['A'], []]   # A and B are equally frequent: by name
    assert to_single_label(items, 'first').genres.tolist() == [['A'], ['B'], ['C'], []]
    assert to_single_label(items, 'rated', 'stars').genres.tolist() == [['A'], ['B'], ['C'], []]
    halves = items.assign(split=['test', 'test', 'train', None])   # A and C are as frequent in train; B is not there
    assert to_single_label(halves).genres.tolist() == [['A'], ['B'], ['A'], []]
    swapped = halves.assign(genres=[['B', 'C'], ['C'], ['C', 'A'], []])   # C is more frequent, but not in train
    assert to_single_label(swapped).genres.tolist() == [['C'], ['C'], ['A'], []]
    single = to_single_label(swapped.assign(stars=[9., 9, 1, 1]), 'rated', 'stars')
    assert single.genres.tolist() == [['C'], ['C'], ['A'], []]
    with pytest.raises(ItemsError, match='needs rating_col'): to_single_label(items, 'rated')
    with pytest.raises(ItemsError, match='needs rating_col.*Did you mean'): to_single_label(items, 'rated', 'star')
    with pytest.raises(ValueError, match="how is 'best'"): to_single_label(items, 'best')


# real collections

@pytest.fixture
def real(cache):
    folder = os.environ.get('GENRE_FASTAI_REAL_DATA')
    if not folder: pytest.skip('GENRE_FASTAI_REAL_DATA names no folder of real data')
    return Path(folder)


def test_album_covers(real):
    items = read_folder(real/'album_covers')
    clean, report = clean_items(items)
    dropped = report.frame.query('action == "dropped"')
    conflicts = dropped[dropped.reason == 'copies in different genres']
    assert conflicts.detail.str.extract('copy of (.*), genres')[0].nunique() == 45
    assert is_accounted_for(items, clean, report) and 1890 <= len(clean) <= 1905
    check_split(split_items(clean))


def test_book_covers(real):
    items = read_table(real/'book_covers'/'books.csv', image_dir=real/'book_covers'/'images', text_cols=[])
    clean, report = clean_items(items)
    counts = report.frame.groupby('reason').item_id.nunique()
    assert counts['no genre'] == 205 and counts['blank picture'] == 26
    assert is_accounted_for(items, clean, report)
    shelves, _ = clean_items(merge_genres(roll_up_genres(clean), min_count=10))
    assert 30 <= len(check_split(split_items(shelves))) <= 120


NAMES = ('adult backdrop_path belongs_to_collection budget genres homepage id imdb_id original_language '
         'original_title overview popularity poster_path production_companies production_countries release_date '
         'revenue runtime spoken_languages status '
         'tagline title video vote_average vote_count').split()


@pytest.mark.parametrize('name, n_in, options', [
    ('tmdb_5000_movies', 4803, {}), ('imdb_four_genre_plots', 1000, {}),
    ('tmdb_movies_3700_headerless', 3700, {'names': NAMES}), ('books_all_dirty', 1000, {})])
def test_synopses(real, name, n_in, options):
    items = read_table(real/'synopses'/f'{name}.csv', **options)
    clean, report = clean_items(items, needs='text', min_count=5)
    assert len(items) == n_in and is_accounted_for(items, clean, report) and len(clean) > .9*n_in
    split = split_items(clean)
    check_split(split)
    assert split.groupby('group').split.nunique().max() == 1
    check_split(fold_items(clean).assign(split='train'))


def test_a_table_is_checked_once_by_each_function(monkeypatch, tmp_path):
    items, calls = synthetic_items(tmp_path, 60, duplicates=.2), []
    def counted(table, *args, **kwargs):
        calls.append(len(table))
        return check_items(table, *args, **kwargs)
    for name, module in list(sys.modules.items()):
        if name.startswith('genre_fastai.') and hasattr(module, 'check_items'):
            monkeypatch.setattr(module, 'check_items', counted)
    clean, _ = clean_items(items)
    assert calls == [60]
    for act in (split_items, fold_items, describe_items, plot_text_lengths, find_duplicates, scan_images,
                duplicate_groups,
                text_duplicates):
        calls.clear()
        act(clean)
        assert calls == [len(clean)]
    split = split_items(clean)
    calls.clear()
    check_split(split.drop(columns='group'))
    assert calls == [len(clean)]
