"Readers: odd folders, odd tables, every label form, any bytes, and the real tables where they are to hand"
import gzip, json, os, re
from collections import Counter
from pathlib import Path

import numpy as np, pandas as pd, pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from genre_fastai.items import (ItemsError, check_items, genre_vocab, is_multilabel, is_synthetic, load_items,
                                make_items, save_items)
from genre_fastai.data.cells import guess_label_form, guess_separator, parse_genres, parse_label
from genre_fastai.data.readers import find_images, list_files, mend_counts, read_folder, read_table
from genre_fastai.data.tables import mend_text, read_raw

quiet = pytest.mark.filterwarnings('ignore::UserWarning')
calm = settings(max_examples=60, deadline=None,
                suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def touch(folder, *names):
    for name in names: write(folder/name, b'x')
    return folder


def one_line(error): return '\n' not in str(error.value)


# Folders

def test_folder_keeps_every_file(tmp_path):
    touch(tmp_path, 'War/a.jpg', 'War/a.txt', 'War/Thumbs.db', 'Pop/x/y/b.JPG', 'Pop/noending', 'loose.png',
          '.hidden/a.jpg', 'War/.b.jpg')
    items = check_items(read_folder(tmp_path))
    assert items.item_id.tolist() == ['Pop/noending', 'Pop/x/y/b.JPG', 'War/Thumbs.db', 'War/a.jpg', 'War/a.txt',
                                      'loose.png']
    assert items.genres.tolist() == [['Pop'], ['Pop'], ['War'], ['War'], ['War'], []]
    assert all(Path(p).is_file() for p in items.image)
    assert items.split.isna().all() and items.mended.isna().all()


def test_folder_with_splits(tmp_path):
    items = read_folder(touch(tmp_path, 'train/War/a.jpg', 'train/Pop/b.jpg', 'val/War/c.jpg', 'test/Pop/d.jpg',
                              'test/e.jpg'))
    assert items.set_index('item_id').split.to_dict() == {'train/War/a.jpg': 'train', 'train/Pop/b.jpg': 'train',
                                                          'val/War/c.jpg': 'valid',
                                                          'test/Pop/d.jpg': 'test', 'test/e.jpg': 'test'}
    assert items.set_index('item_id').genres['test/e.jpg'] == []
    assert genre_vocab(items) == ['Pop', 'War']


@pytest.mark.parametrize('files, message', [
    ([], 'holds no files'), (['.hidden'], 'holds no files'), (['a.jpg', 'b.jpg'], 'no sub-folders'),
    (['War/a.jpg', 'War/b.jpg'], "only one genre, 'War'")])
def test_folder_mistakes(tmp_path, files, message):
    with pytest.raises(ItemsError, match=message) as error: read_folder(touch(tmp_path, *files))
    assert one_line(error)


def test_folder_not_there(tmp_path):
    touch(tmp_path, 'covers/War/a.jpg')
    with pytest.raises(ItemsError, match="Did you mean 'covers'"): read_folder(tmp_path/'cover')
    with pytest.raises(ItemsError, match='read_table'): read_folder(tmp_path/'covers/War/a.jpg')
    with pytest.raises(ItemsError, match='does not exist'): read_folder(tmp_path/'no'/'such'/'folder')


def test_folder_links_and_circles(tmp_path):
    touch(tmp_path, 'else/a.jpg', 'covers/War/b.jpg')
    (tmp_path/'covers/Pop').symlink_to(tmp_path/'else')
    (tmp_path/'covers/War/again').symlink_to(tmp_path/'covers')
    assert genre_vocab(read_folder(tmp_path/'covers')) == ['Pop', 'War']
    assert sorted(list_files(tmp_path/'covers')) == ['Pop/a.jpg', 'War/b.jpg']


def test_folder_warns_of_empty_genres(tmp_path):
    touch(tmp_path, 'War/a.jpg', 'Pop/b.jpg')
    (tmp_path/'Jazz').mkdir()
    with pytest.warns(UserWarning, match="hold no files: 'Jazz'"): read_folder(tmp_path)


def test_folder_with_a_name_that_is_not_utf8(tmp_path):
    touch(tmp_path, 'War/a.jpg', 'Pop/b.jpg')
    try: (tmp_path/'Pop'/os.fsdecode(b'caf\xe9.jpg')).write_bytes(b'x')
    except OSError: pytest.skip('this file system takes UTF-8 names only')
    items = check_items(read_folder(tmp_path))
    assert mend_counts(items).tolist() == [1] and len(items) == 3
    save_items(items, tmp_path/'items.parquet')


# Labels

@pytest.mark.parametrize('values, form', [
    (['Drama', 'War', None], 'string'), (['Biographies & Memoirs', 'Sci-Fi & Fantasy'], 'string'),
    (['Drama|War', 'War'], 'delimited'),
    (['Drama; War'], 'delimited'), (['Drama, War', 'War'], 'delimited'),
    (['Mystery, Thriller & Suspense', 'Travel'], 'string'),
    (['Sci-Fi/Fantasy', 'Drama'], 'string'), (['Sci-Fi/Fantasy', 'Sci-Fi', 'Fantasy'], 'delimited'),
    (["['Drama']", '[]'], 'list'), (["['Drama']", 'nan'], 'list'),
    ([['Drama'], []], 'list'), ([np.nan, ['Drama']], 'list'), (["[u'Drama']"], 'list'), (["('Drama', 'War')"], 'list'),
    (["[{'id': 1, 'name': 'Drama'}]"], 'dicts'), ([[{'name': 'Drama'}]], 'dicts'), (['{"/m/1": "Drama"}'], 'dicts'),
    (['Fiction > Crime'], 'paths'),
    (['Fiction>Crime', 'Art'], 'paths'), ([], 'string'), ([None, ''], 'string')])
def test_guessed_forms(values, form): assert guess_label_form(values) == form


@pytest.mark.parametrize('value, form, sep, names', [
    (' Drama ', 'string', None, ['Drama']), ('Drama||War|Drama|', 'delimited', '|', ['Drama', 'War']),
    ('A > B|C', 'paths', '|', ['A > B', 'C']),
    ("['A > B', 'C']", 'list', None, ['A > B', 'C']), ("['Drama', None, '', 'N/A']", 'list', None, ['Drama']),
    ('["Drama", null]', 'list', None, ['Drama']),
    ("['Drama' 'War']", 'list', None, ['Drama', 'War']), ("['Drama'\n 'War']", 'list', None, ['Drama', 'War']),
    ("['Rock \\'n\\' Roll']", 'list', None, ["Rock 'n' Roll"]),
    ("[{u'id': 1, u'name': u'Com\\xe9die'}]", 'dicts', None, ['Comédie']),
    ('{"id": 1, "name": "Drama"}', 'dicts', None, ['Drama']),
    ({'a': 'Drama', 'b': 'War'}, 'dicts', None, ['Drama', 'War']), ('Drama', 'list', None, ['Drama']),
    (None, 'list', None, []), (np.nan, 'string', None, []),
    ('none', 'list', None, []), (['War', 'War'], 'string', None, ['War']), (28.0, 'string', None, ['28'])])
def test_one_cell(value, form, sep, names): assert parse_label(value, form, sep) == names


@pytest.mark.parametrize('cell', ["['Drama'", "['Drama', 'Wa]", '[[1, 2], [3]]', "[{'id': 3}]", '[' + '-'*20_000 + '1]',
                                  '['*50_000 + ']'*50_000,
                                  '["' + 'x'*200_000 + '"]', "[__import__('os')]", "[open('x')]",
                                  '[1,' + ','.join('9'*10 for _ in range(2)) + 'x]'])
def test_cells_that_cannot_be_read(cell, tmp_path):
    if cell.endswith(']') or cell.endswith('}'):
        with pytest.raises(ItemsError, match='cannot be read') as error: parse_label(cell, 'list')
        assert one_line(error) and len(str(error.value)) < 500
    table = pd.DataFrame({'id': ['a', 'b', 'c'], 'text': 'x', 'genres': [cell, "['Drama']", "['War']"]})
    table.to_csv(tmp_path/'t.csv', index=False)
    items = read_table(tmp_path/'t.csv')
    assert len(items) == 3 and items.genres[1:].tolist() == [['Drama'], ['War']]
    if len(cell) < 100_000: assert items.mended.notna().tolist() == [True, False, False]


def test_separator_asks_for_evidence():
    names = [f'Genre {chr(65 + i)}' for i in range(26)]
    assert guess_separator(names + ['A long; odd name']) is None
    assert guess_separator(names + ['Genre A;Genre B']) == ';'
    assert guess_separator(['Crafts &amp; Hobbies', 'Arts &#38; Film']) is None


names_of_genres = st.text(alphabet='abcXYZé& \'"-\\.()', min_size=1, max_size=12).map(str.strip).filter(
    lambda g: re.search('[a-zA-Z]', g) and mend_text(g)[0] == g and guess_label_form([g]) == 'string'
    and parse_label(g, 'string') == [g] and not g.startswith('('))       # '(A; B)' is taken for a tuple
genre_tables = st.lists(names_of_genres, min_size=1, max_size=6, unique=True).flatmap(
    lambda vocab: st.lists(st.lists(st.sampled_from(vocab), max_size=4, unique=True), min_size=1, max_size=9))
FORMS = {'python': str, 'json': json.dumps, 'python 2': lambda gs: '[' + ', '.join(f'u{g!r}' for g in gs) + ']',
         'tuple': str,
         'dicts': lambda gs: str([{'id': i, 'name': g} for i, g in enumerate(gs)]),
         'json dicts': lambda gs: json.dumps([{'id': 1, 'name': g} for g in gs]),
         'ids': lambda gs: json.dumps({f'/m/{i}': g for i, g in enumerate(gs)}), '|': '|'.join, ';': ';'.join,
         'padded': lambda gs: ' | '.join(gs) + '|'}


@quiet
@calm
@given(truth=genre_tables, form=st.sampled_from(sorted(FORMS)),
       suffix=st.sampled_from(['.csv', '.tsv', '.json', '.jsonl', '.parquet', '.csv.gz']))
def test_any_genres_in_any_form_read_back(truth, form, suffix, tmp_path):
    path = tmp_path/f'table{suffix}'
    table = pd.DataFrame({'id': [f'i{i}' for i in range(len(truth))], 'text': 'some text',
                          'genres': [FORMS[form](gs) for gs in truth]})
    if '.csv' in suffix or '.tsv' in suffix: table.to_csv(path, index=False, sep='\t' if suffix == '.tsv' else ',')
    elif suffix == '.parquet': table.to_parquet(path)
    else: table.to_json(path, orient='records', lines=suffix == '.jsonl')
    try: items = read_table(path)
    except ItemsError as e:
        assert 'no genres to learn from' in str(e)
        return
    # where no cell of a bar-separated column holds a bar, the form is 'string', and the lists are the same
    assert items.genres.tolist() == truth
    assert items.item_id.tolist() == table.id.tolist()


@quiet
@calm
@given(truth=genre_tables)
def test_one_hot_reads_back(truth, tmp_path):
    vocab = sorted({g for gs in truth for g in gs})
    if not vocab: return
    table = pd.DataFrame([[int(g in gs) for g in vocab] for gs in truth],
                         columns=[f' {g}' for g in vocab]).assign(text='x')
    table.to_csv(tmp_path/'t.csv', index=False)
    items = read_table(tmp_path/'t.csv', genre_cols=vocab)
    assert items.genres.tolist() == [[g for g in vocab if g in gs] for gs in truth]


def test_one_hot_spellings(tmp_path):
    path = write(tmp_path/'t.csv', 'id,War,Pop,N/A,Short,year\na,1,0,0,0,1990\nb,yes,no,1,0,1991\nc,1.0,TRUE,0,,1992\n')
    with pytest.warns(UserWarning, match="no item and give no genre: 'Short'"):
        items = read_table(path, genre_cols=['War', 'Pop', 'N/A', 'Short'])
    assert items.genres.tolist() == [['War'], ['War'], ['War', 'Pop']]
    assert items.mended.isna().tolist() == [True, False, True]
    with pytest.raises(ItemsError, match="'year' should hold ones and zeros, but has '1990'") as error:
        read_table(path, genre_cols=['War', 'year'])
    assert one_line(error)


def test_one_hot_is_found_and_announced(tmp_path):
    path = write(tmp_path/'t.csv', 'id,overview,War,Pop,Rap\na,x,1,0,0\nb,y,0,1,0\nc,z,0,1,1\n')
    with pytest.warns(UserWarning, match="3 columns of ones and zeros are taken as genres: 'War', 'Pop', 'Rap'"):
        items = read_table(path)
    assert items.genres.tolist() == [['War'], ['Pop'], ['Pop', 'Rap']]


def test_na_labels(tmp_path):
    items = read_table(write(tmp_path/'t.csv',
                             'id,genre,text\na,N/A,x\nb,Unknown,x\nc,,x\nd,War,x\ne,-,x\nf,Pop,N/A\n'))
    assert items.genres.tolist() == [[], [], [], ['War'], [], ['Pop']]
    assert items.mended.notna().tolist() == [True, True, False, False, True, True]
    assert items.text.isna().tolist() == [False]*5 + [True]


@pytest.mark.parametrize('column, message', [
    ([str(i % 7) for i in range(30)], "holds numbers.*Did you mean genre_col='category'"),
    ([f'{i/7:.3f}' for i in range(30)], 'holds numbers'),
    ([f'Title no. {i}' for i in range(30)], "30 different names in 30.*Did you mean genre_col='category'")])
def test_labels_that_are_no_genres(tmp_path, column, message):
    table = pd.DataFrame({'id': range(30), 'label_id': column, 'category': ['War', 'Pop', 'Jazz']*10,
                          'text': [f'Text {i}' for i in range(30)]})
    table.to_csv(tmp_path/'t.csv', index=False)
    with pytest.raises(ItemsError, match=message) as error: read_table(tmp_path/'t.csv', genre_col='label_id')
    assert one_line(error)
    assert read_table(tmp_path/'t.csv', genre_col='label_id', label_form='string').genres.map(len).eq(1).all()


def test_label_form_overrules(tmp_path):
    path = write(tmp_path/'t.csv', 'id,genre,text\na,Drama|War,x\nb,War,x\n')
    assert read_table(path, label_form='string').genres.tolist() == [['Drama|War'], ['War']]
    comma = write(tmp_path/'c.csv', 'id,genre,text\na,"Drama, War",x\nb,Pop,x\n')
    assert read_table(comma).genres.tolist() == [['Drama, War'], ['Pop']]
    assert read_table(comma, label_form='delimited').genres.tolist() == [['Drama', 'War'], ['Pop']]
    assert read_table(path, label_sep='r').genres[0] == ['D', 'ama|Wa']
    with pytest.raises(ItemsError, match="Did you mean 'onehot'"): read_table(path, label_form='one-hot')
    with pytest.raises(ItemsError, match='ones and zeros'): read_table(path, label_form='onehot')


def test_parse_genres(): assert parse_genres(' a |b||a', '|') == ['a', 'b']


# Tables

@pytest.mark.parametrize('text, message', [
    ('', 'is empty'), ('a,b\n1,2\n', "image_col, text_cols or genre_col. Columns are 'a', 'b'"),
    ('plot,summary,genre\nx,y,War\n', 'could all be meant')])
@quiet
def test_table_mistakes(tmp_path, text, message):
    with pytest.raises(ItemsError, match=message) as error: read_table(write(tmp_path/'t.csv', text))
    assert one_line(error)


@pytest.mark.parametrize('kwargs, message', [
    ({'genre_col': 'genere'},
     "genre_col: no column 'genere'. Did you mean 'genre'. Columns are 'id', 'genre', 'text', 'year'"),
    ({'text_cols': ['text', 'txet']}, "text_cols: no column 'txet'"),
    ({'genre_cols': ['War']}, 'genre_cols: no column'), ({'id_col': 'ID'}, "Did you mean 'id'"),
    ({'image_col': 'poster'}, 'image_col: no column'), ({'meta_cols': ['yera']}, "Did you mean 'year'"),
    ({'image_dir': 'nowhere'}, 'image_dir .* does not exist'),
    ({'image_col': 'text'}, 'no picture found in .*by column .text., e.g. .x.'),
    ({'genre_col': 'genre', 'genre_cols': ['year']}, 'were both given')])
def test_column_mistakes(tmp_path, kwargs, message):
    path = write(tmp_path/'t.csv', 'id,genre,text,year\na,War,x,1990\nb,Pop,y,1991\n')
    if 'image_dir' in kwargs: kwargs = {'image_dir': tmp_path/'nowhere'}
    with pytest.raises(ItemsError, match=message) as error: read_table(path, **kwargs)
    assert one_line(error)


def test_repeated_and_missing_ids(tmp_path):
    items = check_items(read_table(write(tmp_path/'t.csv',
                                         'id,genre,text\na,War,x\na,Pop,x\na#2,Pop,x\n,War,x\na,War,x\n')))
    assert items.item_id.tolist() == ['a', 'a#3', 'a#2', 'row3', 'a#4']
    assert mend_counts(items).to_dict() == {'id repeated, numbered': 2, 'no id, numbered': 1}


def test_metadata(tmp_path):
    text = ('id,genre,overview,year,isbn,tags,image,split,mended,note\n'
            'a,War,x,1990,0123,"[1, 2]",,early,old,\nb,Pop,y,1991.5,4567,[],,late,,new\n')
    items = read_table(write(tmp_path/'t.csv', text))
    assert items.year.tolist() == [1990, 1991.5] and items.isbn.tolist() == ['0123', '4567']
    assert {'image_in_file', 'split_in_file', 'mended_in_file'} <= set(items) and items.mended.isna().all()
    assert items.note.isna().tolist() == [True, False]
    few = read_table(tmp_path/'t.csv', meta_cols=['year', 'overview'])
    assert list(few.columns[5:]) == ['year', 'overview', 'mended']
    save_items(items, tmp_path/'items.parquet')


def test_mixed_json_can_be_saved(tmp_path):
    rows = [{'id': 1, 'genres': ['War'], 'text': 'x', 'a': 1, 'b': {'c': 1}, 'd': [1, 'x'], 'e': True, 'f': 10**30},
            {'id': 2, 'genres': None, 'text': 3, 'a': 'x', 'd': None, 'e': False}, 7]
    items = read_table(write(tmp_path/'t.json', json.dumps(rows)))
    assert items.item_id.tolist() == ['1', '2', 'row2'] and items.genres.tolist() == [['War'], [], []]
    assert items.mended[2] == 'not a record: left empty; no id, numbered'
    save_items(items, tmp_path/'items.parquet')


def test_items_survive_their_own_file(tmp_path):
    items = read_table(write(tmp_path/'t.csv', 'id,genre,text,year\na,War|Pop,x,1990\nb,Pop,,1991\n'))
    items['split'] = ['train', None]
    save_items(items.drop(columns='mended'), tmp_path/'items.parquet')
    items.drop(columns='mended').to_csv(tmp_path/'items.csv', index=False)
    for name in ['items.parquet', 'items.csv']:
        again = read_table(tmp_path/name)
        assert again.genres.tolist() == items.genres.tolist() and again.item_id.tolist() == ['a', 'b']
        assert again.split.isna().tolist() == [False, True] and again.year.tolist() == [1990, 1991]


def test_parquet_types(tmp_path):
    table = pd.DataFrame({'id': [1., 2., None], 'genres': pd.Series(['War', 'Pop', 'War'], dtype='category'),
                          'text': ['x', None, 'z'],
                          'day': pd.to_datetime(['2000-01-01', None, '2001-01-01']),
                          'n': pd.array([1, None, 3], dtype='Int64'), 'raw': [b'x', b'y', None]})
    table.to_parquet(tmp_path/'t.parquet')
    items = check_items(read_table(tmp_path/'t.parquet'))
    assert items.item_id.tolist() == ['1', '2', 'row2'] and items.genres.tolist() == [['War'], ['Pop'], ['War']]
    save_items(items, tmp_path/'items.parquet')


def test_half_characters_can_be_stored(tmp_path):
    items = read_table(write(tmp_path/'t.json', '[{"id": "a", "text": "x\\ud800y", "genre": "War"}]'))
    assert mend_counts(items).to_dict() == {'broken characters replaced': 1}
    save_items(items, tmp_path/'items.parquet')


@quiet
@settings(parent=calm, max_examples=250)
@given(data=st.one_of(st.binary(max_size=300),
                      st.text(alphabet='id,genre"\n\r;|\t\\{}[]:\'a1\0é ', max_size=200).map(str.encode),
                      st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.integers(),
                                   lambda x: (st.lists(x, max_size=4)
                                              | st.dictionaries(st.text(max_size=4), x, max_size=4)), max_leaves=20)
                      .map(lambda x: json.dumps(x).encode())),
       suffix=st.sampled_from(['.csv', '.tsv', '.txt', '.json', '.jsonl', '.parquet', '.csv.gz', '.json.gz']),
       pack=st.booleans(),
       header=st.sampled_from([b'', b'id,genre,text\n', b'genres\n', b'PAR1', b'[{"genre": "War", "id": "1"}, ',
                               b'\xff\xfe']))
def test_any_bytes_give_items_or_an_items_error(data, suffix, pack, header, tmp_path):
    path = tmp_path/f'table{suffix}'
    path.write_bytes(gzip.compress(header + data) if pack and suffix.endswith('.gz') else header + data)
    for form in ['auto', 'string', 'onehot', 'list']:
        try: items = check_items(read_table(path, label_form=form))
        except ItemsError as e:
            assert '\n' not in str(e) and len(str(e)) < 6000
            continue
        save_items(items, tmp_path/'items.parquet')
        assert load_items(tmp_path/'items.parquet').genres.tolist() == items.genres.tolist()


@quiet
@settings(parent=calm, max_examples=60)
@given(cut=st.integers(0, 3000), flip=st.integers(0, 3000), byte=st.integers(0, 255))
def test_damaged_parquet(cut, flip, byte, tmp_path):
    pd.DataFrame({'id': list('abc'), 'genres': [['War'], [], ['Pop']], 'text': 'x'}).to_parquet(tmp_path/'t.parquet')
    data = bytearray((tmp_path/'t.parquet').read_bytes())
    data[flip % len(data)] = byte
    if cut % 2: data = data[:cut]
    (tmp_path/'t.parquet').write_bytes(data)
    try: read_table(tmp_path/'t.parquet')
    except ItemsError as e: assert '\n' not in str(e)


# Pictures

def test_pictures_by_any_name(tmp_path):
    touch(tmp_path/'img', 'tt1.jpg', 'TT2.PNG', 'sub/tt3.jpeg', 'tt4.jpg', 'tt4.txt', 'tt5.jpg', 'tt5.png', '58821.jpg',
          'a/same.jpg', 'b/same.jpg', 'no.ending.jpg', '._tt1.jpg')
    values = ['tt1', 'tt2.jpg', 'tt3', 'tt4', 'tt5', '58821.0', 58821.0, 'same', 'b/same.jpg', 'img/tt1.jpg',
              '/tt1.jpg', 'C:\\x\\tt1.jpg', 'no.ending', '', None, 'N/A', 'zz', str(tmp_path/'img/tt1.jpg')]
    paths, notes = find_images(values, tmp_path/'img')
    assert [p and Path(p).relative_to(tmp_path/'img').as_posix() for p in paths] == [
        'tt1.jpg', 'TT2.PNG', 'sub/tt3.jpeg', 'tt4.jpg', 'tt5.jpg', '58821.jpg', '58821.jpg', None, 'b/same.jpg',
        'tt1.jpg', 'tt1.jpg', 'tt1.jpg', 'no.ending.jpg', None, None, None, None, 'tt1.jpg']
    assert {v: n for v, n in zip(values, notes) if n} == {'tt5': 'several pictures fit, first taken',
                                                          'same': 'several pictures fit, none taken',
                                                          'zz': 'picture not found'}


def test_pictures_of_a_table(tmp_path):
    touch(tmp_path, 'img/a.jpg', 'img/b.png')
    path = write(tmp_path/'t.csv', 'id,poster,genre\na,img/a.jpg,War\nb,img/b.png,Pop\nc,img/c.png,Pop\n')
    for kwargs in [{}, {'image_col': 'poster'}, {'image_dir': tmp_path/'img'},
                   {'image_dir': tmp_path/'img', 'image_col': 'id'}]:
        with pytest.warns(UserWarning, match="1 of 3 pictures not found in .*'.*c") as caught:
            items = read_table(path, **kwargs)
        assert len(caught) == 1 and '\n' not in str(caught[0].message)
        assert [p and Path(p).name for p in items.image.where(items.image.notna(), None)] == ['a.jpg', 'b.png', None]
        assert items.mended.notna().tolist() == [False, False, True]
    # posters are addresses of a web site here, and the ids name the files
    by_id = read_table(write(tmp_path/'u.csv', 'id,poster,genre\na,/xx.jpg,War\nb,/yy.jpg,Pop\n'),
                       image_dir=tmp_path/'img')
    assert by_id.image.notna().all() and 'poster' in by_id
    with pytest.raises(ItemsError, match='no picture found in .*zz') as error:
        read_table(write(tmp_path/'v.csv', 'id,genre\nzz,War\nyy,Pop\n'), image_dir=tmp_path/'img')
    assert one_line(error)
    with pytest.raises(ItemsError, match='no picture found in .*any column'):
        read_table(write(tmp_path/'w.csv', 'x,genre\nzz,War\n'), image_dir=tmp_path/'img')


# Real tables

REAL = os.environ.get('GENRE_FASTAI_REAL_DATA')
real = pytest.mark.skipif(not REAL, reason='GENRE_FASTAI_REAL_DATA does not name the folder of real data')


def facts(items):
    return len(items), len(genre_vocab(items)), is_multilabel(items), int(items.genres.map(len).eq(0).sum())


@real
def test_real_album_covers():
    items = check_items(read_folder(Path(REAL)/'album_covers'))
    assert facts(items) == (2000, 5, False, 0)
    genres = ['Country', 'Electronic', 'HipHop', 'Pop', 'Rock']
    assert Counter(g[0] for g in items.genres) == dict.fromkeys(genres, 400)


@real
def test_real_book_covers():
    folder = Path(REAL)/'book_covers'
    for kwargs in [{'image_col': 'ID_number', 'text_cols': ['title']}, {}]:
        items = check_items(read_table(folder/'books.csv', image_dir=folder/'images', **kwargs))
        assert facts(items) == (2200, 644, True, 205) and items.image.notna().all()
    assert items.genres.explode().str.contains(' > ').any()


@real
def test_real_posters():
    folder = Path(REAL)/'posters'
    with pytest.warns(UserWarning, match='no genres are read'):
        movies = check_items(read_table(folder/'movies.csv', image_dir=folder/'images'))
    assert facts(movies) == (2000, 0, False, 2000) and movies.text.isna().sum() == 150 and movies.image.notna().all()
    columns = list(read_raw(folder/'genres_onehot.csv')[0].columns[2:])
    with pytest.warns(UserWarning, match="2 genre columns have no item and give no genre: 'N/A', 'Reality-TV'"):
        onehot = check_items(read_table(folder/'genres_onehot.csv', image_dir=folder/'images', genre_cols=columns))
    assert facts(onehot) == (2005, 23, True, 0) and mend_counts(onehot).to_dict() == {'id repeated, numbered': 5}
    lists = read_table(folder/'genres_onehot.csv', genre_col='Genre')
    assert [set(a) for a in lists.genres] == [set(b) for b in onehot.genres]


@real
def test_real_synopses():
    folder = Path(REAL)/'synopses'
    plots = check_items(read_table(folder/'imdb_four_genre_plots.csv'))
    assert facts(plots) == (1000, 4, False, 0) and mend_counts(plots).to_dict() == {'double encoding mended': 95}
    tmdb = check_items(read_table(folder/'tmdb_5000_movies.csv'))
    assert facts(tmdb) == (4803, 20, True, 28) and tmdb.text.isna().sum() == 4
    names = ('adult backdrop_path belongs_to_collection budget genres homepage id imdb_id original_language '
             'original_title overview popularity poster_path production_companies production_countries release_date '
             'revenue runtime spoken_languages status tagline title video vote_average vote_count').split()
    headerless = check_items(read_table(folder/'tmdb_movies_3700_headerless.csv', names=names))
    assert facts(headerless) == (3700, 19, True, 15) and headerless.text.isna().sum() == 29


@real
def test_real_book_listing():
    names = ['index', 'file name', 'image address', 'title', 'author', 'category id', 'category']
    path = Path(REAL)/'synopses'/'book30-listing-test.csv'
    items = check_items(read_table(path, names=names, id_col='index', text_cols=['title', 'author']))
    assert facts(items) == (5700, 30, False, 0) and set(Counter(items.genres.map(tuple)).values()) == {190}
    assert mend_counts(items)['not UTF-8, read as cp1252'] == 19
    with pytest.raises(ItemsError, match="holds numbers.*Did you mean genre_col='category'"):
        read_table(path, names=names, text_cols='title', genre_col='category id')
    with pytest.raises(ItemsError, match="Did you mean genre_col='category'"):
        read_table(path, names=names, text_cols='title', genre_col='title')


@real
def test_real_dirty_books():
    path = Path(REAL)/'synopses'/'books_all_dirty.csv'
    items = check_items(read_table(path))
    assert facts(items) == (1000, 50, False, 0)
    assert mend_counts(items).to_dict() == {'too many fields, joined': 988, 'double encoding mended': 562,
                                            'quotes out of balance, read as text': 53}
    tail = re.compile(r',([^,]*),(?:One|Two|Three|Four|Five),/media/\S+$')
    head = re.compile(r'(.*),([0-9a-f]{16}),[\d.]+,[\d.]+,In stock')
    lines = path.read_text(encoding='utf-8').split('\n')[1:-1]
    assert [g[0] for g in items.genres] == [tail.search(line)[1] for line in lines]
    assert items.item_id.tolist() == [head.match(line)[2] for line in lines]
    assert items.title.tolist() == [mend_text(head.match(line)[1])[0] for line in lines]


def test_a_table_that_is_there_already():
    frame = pd.DataFrame({'id': [1, 2, 3], 'overview': ['A spy', float('nan'), 'Two cooks'],
                          'genres': ['Drama|Crime', 'War', None],
                          'year': [1999, 2000.5, float('nan')]}, index=[5, 5, 7])
    items = read_table(frame, id_col='id', text_cols=['overview'])
    assert items.item_id.tolist() == ['1', '2', '3'] and items.genres.tolist() == [['Drama', 'Crime'], ['War'], []]
    assert items.text.isna().tolist() == [False, True, False] and items.year.tolist()[:2] == [1999, 2000.5]
    assert list(frame.columns) == ['id', 'overview', 'genres', 'year']
    with pytest.raises(ItemsError, match='read_table.df'): make_items(frame)


def test_split_names_and_field_separator(tmp_path):
    text = 'id#genre#text#split\na#War#one, two, three#TRAIN\nb#Pop#four, five, six#dev\nc#Pop#seven#\n'
    items = read_table(write(tmp_path/'t.txt', text), sep='#')
    assert items.text.tolist() == ['one, two, three', 'four, five, six', 'seven']
    assert items.split.tolist() == ['train', 'valid', None] and 'split_in_file' not in items
    odd = pd.DataFrame({'id': ['a', 'b'], 'genre': ['War', 'Pop'], 'text': ['x', 'y'], 'split': ['val', ['list']]})
    assert 'split_in_file' in read_table(odd) and read_table(odd).split.isna().all()


@pytest.mark.parametrize('sep, cells, wanted', [
    ('/', ['Drama/War', 'War/Pop', 'N/A', 'Pop', 'n / a', 'Drama/N/A'],
     [['Drama', 'War'], ['War', 'Pop'], [], ['Pop'], [], ['Drama']]),
    ('|', ['Drama|War', 'War|N/A', '#N/A', 'Not available', 'n.a.', '--'], [['Drama', 'War'], ['War'], [], [], [], []]),
    (',', ['Drama, War', 'War, Drama', 'None', 'UNKNOWN', 'Unspecified', '?'],
     [['Drama', 'War'], ['War', 'Drama'], [], [], [], []])])
def test_no_genre_in_its_place_is_noted_and_never_cut_in_two(tmp_path, sep, cells, wanted):
    table = pd.DataFrame({'id': list('abcdef'), 'text': 'Words', 'genre': cells})
    items = read_table(write(tmp_path/'t.csv', table.to_csv(index=False)))
    assert items.genres.tolist() == wanted
    left_out = [("N/A" in (m or '')) for m in items.mended]
    assert left_out == [not w or 'N/A' in c for w, c in zip(wanted, cells)]
    assert [parse_label(c, 'delimited', sep) for c in cells] == wanted


def test_an_empty_column_of_no_genre_is_reported(tmp_path):
    text = 'id,text,N/A,War,Pop,Unknown\na,x,0,1,0,0\nb,y,0,0,0,1\nc,z,0,0,1,0\n'
    with pytest.warns(UserWarning, match="1 genre columns have no item and give no genre: 'N/A'"):
        items = read_table(write(tmp_path/'t.csv', text), genre_cols=['N/A', 'War', 'Pop', 'Unknown'])
    assert items.genres.tolist() == [['War'], [],
                                     ['Pop']] and items.mended.tolist() == [None, "genre such as 'N/A' left out", None]


@pytest.mark.parametrize('kind', [list, tuple, set, frozenset, np.array])
def test_genres_in_any_form_are_lists_and_sets_come_in_order(kind):
    names = ['War', 'Drama', 'Crime', 'Comedy', 'Western', 'Horror', 'Sport', 'Noir']
    frame = pd.DataFrame({'text': ['a', 'b', 'c'],
                          'genres': pd.Series([kind(names), kind(['Drama']), None], dtype=object)})
    expected = [sorted(names) if kind in (set, frozenset) else names, ['Drama'], []]
    items = check_items(read_table(frame))
    assert items.genres.tolist() == expected and items.mended.isna().all()
    assert [parse_label(v, 'list') for v in frame.genres] == expected
    assert guess_label_form(frame.genres) == 'list'


@pytest.mark.parametrize('ending', ['parquet', 'csv'])
def test_a_table_that_went_through_a_file_comes_back_the_same(tmp_path, ending):
    items = make_items(text=['a', 'b'], genres=[{'War', 'Drama'}, ['Drama']], year=[1999, 2004])
    items.attrs['synthetic'] = True
    if ending == 'parquet': save_items(items, tmp_path/'items.parquet')
    else: items.to_csv(tmp_path/'items.csv', index=False)
    again = read_table(tmp_path/f'items.{ending}')
    assert again[list(items)].fillna('').to_dict('list') == items.fillna('').to_dict('list')
    assert is_synthetic(again) == (ending == 'parquet') and is_synthetic(read_table(items))


def test_columns_of_a_frame_that_share_a_name_are_numbered():
    items = read_table(pd.DataFrame([['a', 'War', 1, 2], ['b', 'Pop', 3, 4]], columns=['text', 'genres', 'x', 'x']))
    assert [items[c].tolist() for c in items if c.startswith('x')] == [[1, 3], [2, 4]]
