"The items table, reports and the cache: odd input, kills, many hands at once"
import multiprocessing, os, signal, sqlite3, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor

import numpy as np, pandas as pd, pytest
from hypothesis import given, strategies as st

from genre_fastai.runs import (CacheError, DiskCache, atomic_path, cache_folder, clear_cache, describe_cache,
                               empty_cache, rng_for, start_run)
from genre_fastai.items import (ItemsError, Report, check_items, genre_counts, genre_matrix, genre_vocab, load_items,
                                load_report, make_items, save_items)

names = st.text(st.characters(exclude_categories=['Cs', 'Cc']), min_size=1, max_size=8).filter(lambda s: s.strip())


@given(st.lists(st.lists(names, unique=True, max_size=4), min_size=1, max_size=12))
def test_matrix_and_vocabulary_say_the_same_as_the_lists(genres):
    items = make_items(genres=genres)
    y, vocab = genre_matrix(items), genre_vocab(items)
    assert [sorted(np.array(vocab, dtype=object)[row.astype(bool)].tolist())
            for row in y] == [sorted(g) for g in genres]
    assert genre_counts(items).sum() == y.sum()


def test_items_and_report_survive_parquet(tmp_path):
    items = make_items(image=['a.jpg', None], text=[None, 'x'], genres=[['A', 'B'], []], split=['train', None],
                       numbers=[[1., 2.], [3.]], year=[1, None])
    report = Report(3).add(['x'], 'dropped', 'why', 'what').add(['0'], 'noted', 'a mend')
    again = load_items(save_items(items, tmp_path/'deep'/'items.parquet', report))
    assert again.genres.tolist() == items.genres.tolist() and again.numbers.tolist() == items.numbers.tolist()
    assert type(again.numbers[0][0]) is float
    assert again[['image', 'text', 'split']].isna().equals(items[['image', 'text', 'split']].isna())
    assert str(load_report(tmp_path/'deep'/'items.parquet')) == str(report)


@pytest.mark.parametrize('change, message', [
    (dict(item_id=[1, 2]), 'not a filled string'), (dict(item_id=['a', 'a']), 'repeated'),
    (dict(genres=[['A'], 'B']), 'not a list of names'),
    (dict(genres=[['A'], [' ']]), 'not a list of names'), (dict(genres=[['A', 'A'], []]), 'listed twice'),
    (dict(split=['train', 'dev']), 'split is unknown')])
def test_what_is_wrong_is_said_in_one_line(change, message):
    with pytest.raises(ItemsError, match=message) as e: check_items(make_items(genres=['A', 'B']).assign(**change))
    assert '\n' not in str(e.value) and 'of 2 rows' in str(e.value)


def test_not_a_table_no_rows_missing_columns():
    with pytest.raises(ItemsError, match='not list'): check_items([1])
    with pytest.raises(ItemsError, match='no rows'): check_items(make_items())
    with pytest.raises(ItemsError, match=r"columns \['genres'\] are missing"):
        check_items(make_items(genres=['A']).drop(columns='genres'))
    with pytest.raises(ItemsError, match='differ in length'): make_items(genres=['A'], text=['x', 'y'])


def test_nothing_half_written_is_left(tmp_path):
    with pytest.raises(RuntimeError):
        with atomic_path(tmp_path/'f') as path:
            path.write_text('half')
            raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_not_overwritten_by_accident(tmp_path):
    start_run(tmp_path, seed=1)
    with pytest.raises(FileExistsError, match='already holds a run'): start_run(tmp_path)
    assert start_run(tmp_path, overwrite=True, seed=2) == tmp_path


def test_random_numbers_depend_on_names_alone():
    rng_for(0, 'a').random(5)
    assert rng_for(0, 'b').random() == rng_for(0, 'b').random() != rng_for(1, 'b').random()


def put(path, worker):
    cache = DiskCache(path)
    for i in range(20): cache.put_many({f'{worker}-{i}': bytes([worker])*100})


def test_many_threads_and_processes_open_one_cache_at_once(tmp_path):
    with ThreadPoolExecutor(8) as pool: list(pool.map(lambda w: put(tmp_path/'threads.sqlite', w), range(8)))
    assert len(DiskCache(tmp_path/'threads.sqlite')) == 160
    context = multiprocessing.get_context('spawn')
    workers = [context.Process(target=put, args=(tmp_path/'processes.sqlite', w)) for w in range(4)]
    for w in workers: w.start()
    for w in workers: w.join()
    assert len(DiskCache(tmp_path/'processes.sqlite')) == 80


def test_a_kill_loses_nothing_that_was_put(tmp_path):
    code = ('import sys; from genre_fastai.runs import DiskCache; c = DiskCache(sys.argv[1])\n'
            'for i in range(100000): c.put_many({str(i): b"x"*1000}); print(i, flush=True)')
    process = subprocess.Popen([sys.executable, '-c', code, tmp_path/'c.sqlite'], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if int(line) >= 50: break
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = DiskCache(tmp_path/'c.sqlite').get_many([str(i) for i in range(51)])
    assert len(found) == 51 and set(found.values()) == {b'x'*1000}


def test_longest_unused_go_first(tmp_path):
    cache = DiskCache(tmp_path/'c.sqlite', max_bytes=1000)
    for i in range(30):
        cache.put_many({str(i): bytes(100)})
        cache.get_many(['0'])
        time.sleep(.002)
    assert cache.n_bytes <= 1000 and cache.get_many(['0', '29']) == {'0': bytes(100), '29': bytes(100)}


def test_unusable_cache_is_named(tmp_path):
    (tmp_path/'file').write_text('x')
    with pytest.raises(CacheError, match='GENRE_FASTAI_CACHE'): DiskCache(tmp_path/'file'/'c.sqlite')
    (tmp_path/'c.sqlite').write_bytes(b'no database'*100)
    with pytest.raises(CacheError, match='delete the file'): len(DiskCache(tmp_path/'c.sqlite'))


def put_then_forget(path):
    "Size of the file when all is in it, and after nine tenths were forgotten"
    cache = DiskCache(path)
    cache.put_many({str(i): bytes(10_000) for i in range(1000)})
    with cache._connection() as connection: connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    before, cache.max_bytes = path.stat().st_size, 1_000_000
    cache.put_many({'one more': bytes(10_000)})
    assert cache.n_bytes <= 1_000_000 and len(cache.get_many(['one more'])) == 1
    return before, path.stat().st_size


def test_a_cache_that_forgets_gives_its_space_back(tmp_path):
    before, after = put_then_forget(tmp_path/'new.sqlite')
    assert before > 10_000_000 and after < 1_500_000


def test_a_cache_of_an_older_version_gives_its_space_back_too(tmp_path):
    with sqlite3.connect(tmp_path/'old.sqlite') as old:
        old.execute('PRAGMA journal_mode=WAL')
        old.execute('CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB, used REAL)')
        old.execute('INSERT INTO entries VALUES (?, ?, ?)', ('kept', b'x', 4e9))
    old.close()
    before, after = put_then_forget(tmp_path/'old.sqlite')
    assert before > 10_000_000 and after < 1_500_000
    assert DiskCache(tmp_path/'old.sqlite').get_many(['kept']) == {'kept': b'x'}
    with sqlite3.connect(tmp_path/'old.sqlite') as old: assert old.execute('PRAGMA auto_vacuum').fetchone() == (2,)
    old.close()


def test_caches_are_described_and_cleared_and_nothing_else_is_touched(tmp_path):
    assert describe_cache(tmp_path/'none').empty and clear_cache(tmp_path/'none') == 0
    DiskCache(tmp_path/'a.sqlite', max_bytes=5_000_000).put_many({'x': bytes(3_000_000), 'y': b''})
    with sqlite3.connect(tmp_path/'foreign.sqlite') as foreign: foreign.execute('CREATE TABLE films (title)')
    foreign.close()
    (tmp_path/'notes.txt').write_text('mine')
    kept = {name: (tmp_path/name).read_bytes() for name in ('foreign.sqlite', 'notes.txt')}
    table = describe_cache(tmp_path)
    assert table.index.tolist() == ['a.sqlite'] and table.entries.tolist() == [2] and table.bound.tolist() == [5]
    assert clear_cache(tmp_path) > 2 and describe_cache(tmp_path).entries.tolist() == [0]
    assert describe_cache(tmp_path).MB.sum() < .1 and {name: (tmp_path/name).read_bytes() for name in kept} == kept
    (tmp_path/'damaged.sqlite').write_bytes(b'no database'*100)
    with pytest.raises(CacheError, match='damaged.sqlite.*Delete the file'): describe_cache(tmp_path)


def test_the_cache_folder_is_what_it_was_after_an_error(tmp_path, monkeypatch):
    for before in (None, str(tmp_path)):
        if before: monkeypatch.setenv('GENRE_FASTAI_CACHE', before)
        else: monkeypatch.delenv('GENRE_FASTAI_CACHE', raising=False)
        with pytest.raises(RuntimeError), empty_cache():
            inside = cache_folder()
            with ThreadPoolExecutor(1) as pool: assert pool.submit(cache_folder).result() == inside
            raise RuntimeError
        assert os.environ.get('GENRE_FASTAI_CACHE') == before and not inside.exists()


@pytest.mark.parametrize('given', [
    [['A', 'B'], ['C']], [('A', 'B'), ('C',)], [{'B', 'A'}, {'C'}], [frozenset('BA'), 'C'],
    [np.array(['A', 'B']), np.array('C')], [['A', 'B'], np.str_('C')]])
def test_genres_in_any_form_are_lists(given):
    items = check_items(make_items(genres=given))
    assert items.genres.tolist() == [['A', 'B'], ['C']] and all(type(g) is list for g in items.genres)


def test_missing_genres_are_empty_lists_and_what_are_no_genres_is_said():
    assert make_items(genres=[None, np.nan, pd.NA, 'A', set()]).genres.tolist() == [[], [], [], ['A'], []]
    with pytest.raises(ItemsError, match="not a list of names in 1 of 2 rows: '1'"):
        check_items(make_items(genres=['A', 5]))


def test_check_items_is_strict_about_what_a_table_holds():
    items = make_items(genres=['A', 'B'])
    for genres in [('A',), {'A'}, frozenset('A'), np.array(['A'])]:
        with pytest.raises(ItemsError, match='not a list of names'):
            check_items(items.assign(genres=pd.Series([genres, ['B']])))
