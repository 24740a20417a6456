"Tables as they stand: any bytes, quotes and commas, every format"
import csv, io, json

import pandas as pd, pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from genre_fastai.items import ItemsError
from genre_fastai.data.tables import (align_fields, column_profile, is_number, mend_text, number_repeats, read_raw,
                                 split_records)

calm = settings(max_examples=60, deadline=None,
                suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def one_line(error): return '\n' not in str(error.value)


# Characters

@pytest.mark.parametrize('data, text, kinds', [
    ('café'.encode('cp1252'), 'café', ['not UTF-8, read as cp1252']),
    ('“é”'.encode('cp1252'), '“é”', ['not UTF-8, read as cp1252']),
    ('café'.encode().decode('cp1252').encode(), 'café', ['double encoding mended']),
    (b'a\0b', 'ab', ['NUL characters removed']),
    (b'\x81', '\x81', ['not UTF-8, read as cp1252']), ('東京 – naïve'.encode(), '東京 – naïve', []),
    ('été\n'.encode() + 'été'.encode('cp1252'), 'été\nété', ['not UTF-8, read as cp1252'])])
def test_characters(data, text, kinds): assert mend_text(data.decode('utf-8', 'surrogateescape')) == (text, kinds)


@calm
@given(st.text())
def test_mending_gives_text_that_can_be_stored(s):
    mended, kinds = mend_text(s)
    mended.encode()
    assert '\0' not in mended and bool(kinds) == (mended != s)


def test_each_bad_line_is_counted_once_in_its_record(tmp_path):
    rows = [b'id,title,genre']
    for i in range(50): rows.append(f'{i},café {i},{"War" if i % 2 else "Pop"}'.encode('utf-8' if i % 5 else 'cp1252'))
    rows.insert(11, 'x,"two\nlines é"'.encode('cp1252') + b',War')
    frame, notes = read_raw(write(tmp_path/'t.csv', b'\xef\xbb\xbf' + b'\r\n'.join(rows)))
    assert len(frame) == 51 and sum(notes, []) == ['not UTF-8, read as cp1252']*11
    assert frame[frame.id == 'x'].title.item() == 'two\nlines é'
    assert frame.title[0] == 'café 0' and frame.id[0] == '0'


def test_utf16(tmp_path):
    frame, _ = read_raw(write(tmp_path/'t.tsv', 'id\ttitle\tgenre\r\na\tcafé\tWar\r\n'.encode('utf-16')))
    assert frame.values.tolist() == [['a', 'café', 'War']]


# Records

@calm
@given(rows=st.lists(st.tuples(st.text(max_size=8), st.text(alphabet='a,"\n\r é;|', max_size=12), st.text(max_size=8)),
                     min_size=1, max_size=8),
       dialect=st.sampled_from([('\n', csv.QUOTE_ALL), ('\r\n', csv.QUOTE_ALL), ('\r\n', csv.QUOTE_MINIMAL)]))
def test_every_written_record_is_read(rows, dialect, tmp_path):
    rows = [tuple(v.replace(',', ', ') for v in row) for row in rows]      # prose: no line is a record by itself
    file = io.StringIO(newline='')
    writer = csv.writer(file, lineterminator=dialect[0], quoting=dialect[1])
    writer.writerow(['id', 'title', 'genre'])
    writer.writerows(rows)
    (tmp_path/'t.csv').write_bytes(file.getvalue().encode('utf-8', 'surrogatepass'))
    frame, notes = read_raw(tmp_path/'t.csv')
    assert frame.shape == (len(rows), 3)
    back = [tuple(r) for r in frame.itertuples(index=False)]
    def kept(v): return mend_text(v.encode('utf-8', 'surrogatepass').decode('utf-8', 'surrogateescape'))[0]
    assert back == [tuple(map(kept, row)) for row in rows]
    assert not any('quotes' in n or 'fields' in n for note in notes for n in note)


def test_open_quotes_cost_one_line():
    lines = [f'{i},title {i},War' for i in range(20)]
    lines[7] = '7,"title 7,War'
    lines[15] = '15,"He said "no" to it",War'
    records, notes = split_records('\n'.join(lines))
    assert len(records) == 20 and [r[0] for r in records] == [str(i) for i in range(20)]
    assert [i for i, n in enumerate(notes) if n] == [7, 15]
    assert records[15][1] == 'He said "no" to it'


def test_an_open_quote_that_closes_in_a_later_record():
    records, notes = split_records('id,title,genre\n1,"Emma,War\n2,Jaws,War\n3,It",War\n4,Ran,War')
    assert [r[0] for r in records] == ['id', '1', '2', '3', '4']
    assert [bool(n) for n in notes] == [False, True, False, False, False]


def test_quotes_may_be_characters_like_any_other(tmp_path):
    text = '1\t"Heroes"\tWar\n2\t5" of rain\tWar\n3\tWhy?\tWhy not?\t"War"\n'
    assert split_records(text, '\t', quotes=False) == ([line.split('\t') for line in text.splitlines()], [[], [], []])
    frame, notes = read_raw(write(tmp_path/'t.tsv', text.encode()), ['id', 'title', 'genre'], quotes=False)
    assert frame.title[:2].tolist() == ['"Heroes"', '5" of rain'] and frame.genre[2] == '"War"'
    assert notes == [[], [], ['too many fields, joined']]


def test_backslash_quotes(): assert split_records('1,"say \\"hi\\", then",War')[0] == [['1', 'say "hi", then', 'War']]


def test_too_many_and_too_few_fields(tmp_path):
    text = 'id,title,genre,year\n' + ''.join(f'{i},A title of words,War,19{i:02}\n' for i in range(10, 30))
    text += '30,Me, Myself and You,Pop,1999\n31,Short row\n'
    text += '32,A title of words,Pop,1998,,,\n33,1,000 words of mine,War,1997\n'
    frame, notes = read_raw(write(tmp_path/'t.csv', text))
    assert len(frame) == 24
    assert frame.title.tolist()[-4:] == ['Me, Myself and You', 'Short row', 'A title of words', '1,000 words of mine']
    assert frame.genre.tolist()[-4:] == ['Pop', None, 'Pop', 'War']
    assert notes[-4:] == [['too many fields, joined'], ['too few fields, filled up'], [], ['too many fields, joined']]


@calm
@given(st.lists(st.text(alphabet='ab1 "', max_size=5), min_size=4, max_size=30))
def test_aligned_fields_lose_nothing(fields):
    profile = column_profile([['a title', '1990', 'War'], ['another one', '1991', 'Pop']])
    aligned = align_fields(fields, profile)
    assert len(aligned) == 3 and ','.join(aligned) == ','.join(fields)


def test_hopeless_rows_are_quick():
    profile = column_profile([['a title', 'a long text of many words', 'War']]*3)
    aligned = align_fields(['x']*50_000, profile)
    assert len(aligned) == 3 and aligned[0] == aligned[2] == 'x' and aligned[1].count(',') == 50_000 - 3


def test_names_for_files_without_a_header(tmp_path):
    path = write(tmp_path/'t.csv', 'a,War,x\nb,Pop,y\n')
    assert read_raw(path, names=['id', 'genre', 'text'])[0].id.tolist() == ['a', 'b']
    for wrong in (['id', 'genre'], ['id', 'genre', 'text', 'more']):
        with pytest.raises(ItemsError, match='3 fields in most rows') as error: read_raw(path, names=wrong)
        assert one_line(error)
    with_header = write(tmp_path/'h.csv', 'id,genre,text\na,War,x\n')
    assert len(read_raw(with_header, names=['id', 'genre', 'text'])[0]) == 1


def test_odd_headers(tmp_path):
    frame, _ = read_raw(write(tmp_path/'t.csv', ',title,title,\n0,a,b,\n'))
    assert list(frame.columns) == ['column_0', 'title', 'title#2']
    frame, _ = read_raw(write(tmp_path/'s.csv', 'sep;genre;text\na;War;x,y,z\n'))
    assert frame.values.tolist() == [['a', 'War', 'x,y,z']]


# Files

@pytest.mark.parametrize('name, text, message', [
    ('t.csv', '', 'is empty'), ('t.csv', ' \n\n', 'is empty'), ('t.csv', 'id,genre\n', 'no rows'),
    ('t.json', '[]', 'no JSON records'), ('t.json', '[1, 2]', 'no JSON records'),
    ('t.json', 'nonsense', 'no JSON records'),
    ('t.json', '{"genre": ["a", "b"], "id": ["c"]}', 'differ in length'),
    ('t.parquet', 'nonsense', 'cannot be read as Parquet'), ('t.csv.gz', 'nonsense', 'cannot be read'),
    ('t.xlsx', 'x', 'unknown ending')])
def test_files_that_are_no_tables(tmp_path, name, text, message):
    with pytest.raises(ItemsError, match=message) as error: read_raw(write(tmp_path/name, text))
    assert one_line(error)


def test_table_not_there(tmp_path):
    write(tmp_path/'films.csv', 'x')
    with pytest.raises(ItemsError, match="Did you mean 'films.csv'"): read_raw(tmp_path/'film.csv')
    with pytest.raises(ItemsError, match='read_folder'): read_raw(tmp_path)


@pytest.mark.parametrize('data', [
    [{'id': 'a', 'genre': 'War', 'text': 'x'}, {'id': 'b', 'genre': 'Pop', 'text': 'y'}],
    {'id': ['a', 'b'], 'genre': ['War', 'Pop'], 'text': ['x', 'y']},
    {'id': {'0': 'a', '1': 'b'}, 'genre': {'0': 'War', '1': 'Pop'}, 'text': {'0': 'x', '1': 'y'}},
    {'a': {'genre': 'War', 'text': 'x'}, 'b': {'genre': 'Pop', 'text': 'y'}},
    {'page': 1, 'results': [{'id': 'a', 'genre': 'War', 'text': 'x'}, {'id': 'b', 'genre': 'Pop', 'text': 'y'}]}])
def test_json_shapes(tmp_path, data):
    frame, notes = read_raw(write(tmp_path/'t.json', json.dumps(data)))
    assert frame[['id', 'genre', 'text']].values.tolist() == [['a', 'War', 'x'], ['b', 'Pop', 'y']]
    assert notes == [[], []]


@calm
@given(st.lists(st.sampled_from(['a', 'b', 'a#2', 'a#2#2', 'b#3', '']), max_size=12))
def test_numbered_names_are_all_different(names):
    numbered, changed = number_repeats(names)
    assert len(set(numbered)) == len(names) and changed == [a != b for a, b in zip(names, numbered)]
    assert changed.count(False) == len(set(names))


@pytest.mark.parametrize('s, yes', [
    ('0', True), ('-1.50', True), ('+3', True), ('1e-3', True), ('9'*15, True), ('9'*16, False), ('0123', False),
    ('1,000', False), ('.5', False), ('', False), (' 1', False), ('nan', False), ('1_000', False)])
def test_numbers(s, yes): assert is_number(s) is yes
