"Published sets by name: tiny made ones of exactly the published form, whole and damaged"
import json

import pandas as pd, pytest
from PIL import Image

from genre_fastai.datasets.published import (BENCHMARKS, MM_IMDB_GENRES, _Place, beside_published, published_scores,
                                     read_benchmark)
from genre_fastai.items import ItemsError, SPLITS, check_items, load_items, save_items
from genre_fastai.evaluate.metrics import Interval, score_table
from genre_fastai.data.clean import clean_items
from genre_fastai.data.split import split_items


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path

def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (20, 30), (90, 60, 30)).save(path)

def row(asin, title, number, category, author='A. Writer'):
    return f'"{asin}","{asin}.jpg","http://covers.example/{asin}.jpg","{title}","{author}","{number}","{category}"\n'


@pytest.fixture
def books(tmp_path):
    train = [row('000A', 'Knots, and how to tie them', 26, 'Sports & Outdoors').encode(),
             row('000B', 'Crème brûlée', 7, 'Cookbooks, Food & Wine').encode('cp1252'),
             row('000C', 'Cafés of the south', 29, 'Travel').encode()]
    write(tmp_path/'Task1'/'book30-listing-train.csv', b''.join(train))
    write(tmp_path/'Task1'/'book30-listing-test.csv', row('111A', 'Law in a day', 14, 'Law', author=''))
    for name in ('000A', '000B', '000C', '111A'): picture(tmp_path/'covers'/'224x224'/f'{name}.jpg')
    return tmp_path


@pytest.fixture
def films(tmp_path):
    split = {'train': ['0000010', '0000011'], 'dev': ['0000012'], 'test': ['0000013']}
    genres = {'0000010': ['Drama'], '0000011': ['Comedy', 'News'], '0000012': ['Film-Noir', 'War'], '0000013': ['News']}
    for i, names in genres.items():
        film = {'title': f'Title {i}', 'year': 1950, 'genres': names,
                'plot': ['Short.', 'The long plot of it.', 'Mid one.'],
                'director': [{'name': 'D'}]}
        write(tmp_path/'mmimdb'/'dataset'/f'{i}.json', json.dumps(film))
        picture(tmp_path/'mmimdb'/'dataset'/f'{i}.jpeg')
    write(tmp_path/'mmimdb'/'split.json', json.dumps(split))
    return tmp_path


# Each set

def test_bookcover30(books):
    items = check_items(read_benchmark('bookcover30', books))
    assert items.item_id.tolist() == ['000A', '000B', '000C', '111A']
    assert items.split.tolist() == ['train']*3 + ['test']
    assert items.text.tolist() == ['Knots, and how to tie them', 'Crème brûlée', 'Cafés of the south', 'Law in a day']
    assert items.genres.tolist() == [['Sports & Outdoors'], ['Cookbooks, Food & Wine'], ['Travel'], ['Law']]
    assert items.image.str.endswith('.jpg').all()
    assert items.mended.tolist() == [None, 'not UTF-8, read as cp1252', None, None]
    assert 'category_id' not in items, 'the number of the category gives it away'
    save_items(items, books/'items.parquet')
    assert load_items(books/'items.parquet').genres.tolist() == items.genres.tolist()


def test_bookcover30_without_covers_is_titles_and_one_warning(books):
    (books/'empty').mkdir()
    with pytest.warns(UserWarning,
                      match="4 of 4 pictures of 'bookcover30' not found in '.*empty'.*'000A.jpg'") as caught:
        items = read_benchmark('bookcover30', books, image_dir=books/'empty')
    assert len(caught) == 1 and caught[0].filename == __file__
    assert items.image.isna().all() and items.text.notna().all() and 'picture not found' not in set(items.mended)


def test_some_covers_missing_are_noted_on_their_rows(books):
    (books/'covers'/'224x224'/'000B.jpg').unlink()
    with pytest.warns(UserWarning, match="1 of 4 pictures"): items = read_benchmark('bookcover30', books)
    assert items.image.isna().tolist() == [False, True, False, False]
    assert items.mended[1] == 'not UTF-8, read as cp1252; picture not found'


def test_an_id_in_both_listings_is_numbered(books):
    write(books/'Task1'/'book30-listing-test.csv', row('000A', 'Knots again', 26, 'Sports & Outdoors'))
    items = check_items(read_benchmark('bookcover30', books))
    assert items.item_id.tolist()[-1] == '000A#2' and items.mended.iloc[-1] == 'id repeated, numbered'
    assert items.image.notna().all()


def test_valid_comes_out_of_train_as_the_docstring_says(books):
    lines = [row(f'{i:04d}', f'Title number {i}', i % 2, 'AB'[i % 2]) for i in range(40)]
    write(books/'Task1'/'book30-listing-train.csv', ''.join(lines))
    with pytest.warns(UserWarning): items = read_benchmark('bookcover30', books)
    own = split_items(items[items.split == 'train'], valid=.1, test=0)
    items.loc[own.index, 'split'] = own.split
    assert items.split.value_counts().to_dict() == {'train': 36, 'valid': 4, 'test': 1}
    assert items.split.iloc[-1] == 'test'


def test_mm_imdb(films):
    items = check_items(read_benchmark('mm-imdb', films))
    assert items.item_id.tolist() == ['0000010', '0000011', '0000012', '0000013']
    assert items.split.tolist() == ['train', 'train', 'valid', 'test']
    assert items.genres.tolist() == [['Drama'], ['Comedy'], ['Film-Noir', 'War'], []]
    assert set(items.text) == {'The long plot of it.'}
    assert items.image.str.endswith('.jpeg').all()
    left_out = 'genre outside the 23 of the paper left out'
    assert items.mended.tolist() == [None, left_out, None, left_out]
    _, report = clean_items(items, needs='any', copies='keep', min_count=1, blank='keep')
    assert report.frame.query('action == "dropped"').item_id.tolist() == ['0000013']


def test_mm_imdb_keeps_a_row_for_a_lost_film(films):
    dataset = films/'mmimdb'/'dataset'
    (dataset/'0000010.json').unlink()
    write(dataset/'0000011.json', '{"title": ')
    (dataset/'0000012.jpeg').unlink()
    write(dataset/'0000099.json', '{}')
    with pytest.warns(UserWarning) as caught: items = read_benchmark('mm-imdb', films)
    said = '\n'.join(str(w.message) for w in caught)
    assert "2 of 4 films of split.json have no sound JSON" in said and "'0000010.json', '0000011.json'" in said
    assert "1 films" in said and "'0000099'" in said and "1 of 4 pictures" in said
    assert len(check_items(items)) == 4
    assert items.mended.tolist()[:3] == ['no JSON file', 'JSON could not be read', 'picture not found']
    assert items.genres.tolist()[:2] == [[], []] and items.image.isna().tolist() == [False, False, True, False]


@pytest.mark.parametrize('text, message', [
    ('[', 'is no JSON'), ('[]', 'found list'), ('{"train": [], "test": []}', "found 'train', 'test'"),
    ('{"train": [], "dev": [], "test": []}', "should hold lists of ids"), ('{}', 'found nothing'),
    ('{"train": ["1"], "dev": [], "test": []}', "none of 1 films is in")])
def test_mm_imdb_with_a_bad_split(films, text, message):
    write(films/'mmimdb'/'split.json', text)
    with pytest.raises(ItemsError, match=message) as error: read_benchmark('mm-imdb', films)
    assert '\n' not in str(error.value)


def test_odd_film_records(films):
    dataset = films/'mmimdb'/'dataset'
    write(dataset/'0000010.json', '{"title": "No plot", "plot": [], "genres": null}')
    write(dataset/'0000011.json', '{"plot": "One string.", "genres": "War"}')
    write(dataset/'0000012.json', '{"plot": [null, "Kept."], "genres": []}')
    items = check_items(read_benchmark('mm-imdb', films))
    assert items.text.isna().tolist() == [True, False, False, False]
    assert items.text.tolist()[1:3] == ['One string.', 'Kept.']
    assert items.genres.tolist()[:2] == [[], ['War']]


def test_mpst(tmp_path):
    table = pd.DataFrame({
        'imdb_id': ['tt1', 'tt2', 'tt3'], 'title': ['One', 'Two', 'Three'],
        'plot_synopsis': ['He said "no", and\nleft.', 'She stays, and waits.', 'They go.'],
        'tags': ['cult, violence', 'romantic', 'murder, cult, violence'], 'split': ['train', 'val', 'test'],
        'synopsis_source': ['imdb', 'wikipedia', 'imdb']})
    table.to_csv(tmp_path/'mpst_full_data.csv', index=False)
    items = check_items(read_benchmark('mpst', tmp_path))
    assert items.genres.tolist() == [['cult', 'violence'], ['romantic'], ['murder', 'cult', 'violence']]
    assert items.split.tolist() == ['train', 'valid', 'test']
    assert items.text.tolist() == table.plot_synopsis.tolist() and items.title.tolist() == ['One', 'Two', 'Three']


def test_cmu_movies(tmp_path):
    def line(i, title, genres):
        return f'{i}\t/m/0{i}\t{title}\t1999\t\t90.0\t{{"/m/1": "English Language"}}\t{{}}\t{json.dumps(genres)}\n'
    write(tmp_path/'MovieSummaries'/'movie.metadata.tsv',
          line(7, '"Harbour" Lights', {'/m/a': 'Drama', '/m/b': 'Film noir'})
          + line(8, 'No plot', {'/m/c': 'Comedy'}) + line(9, 'No genre', {}))
    write(tmp_path/'MovieSummaries'/'plot_summaries.txt',
          '9\t"Why?" she asks; and, again, why?\n7\tA pilot, an engine\n12\tNobody knows this film | or does\n')
    items = check_items(read_benchmark('cmu-movies', tmp_path))
    assert items.item_id.tolist() == ['7', '8', '9', '12']
    assert items.genres.tolist() == [['Drama', 'Film noir'], ['Comedy'], [], []]
    assert items.text.fillna('').tolist() == ['A pilot, an engine', '', '"Why?" she asks; and, again, why?',
                                              'Nobody knows this film | or does']
    assert 'no line in movie.metadata.tsv' in items.mended[3] and items.split.isna().all()
    assert items.title[0] == '"Harbour" Lights'
    save_items(items, tmp_path/'items.parquet')


def test_cmu_tables_are_unquoted_and_a_mend_is_said_once(tmp_path):
    line = '{0}\t/m/0{0}\t{1}\t1999\t\t90.0\t{{}}\t{{}}\t{{"/m/a": "Drama"}}\n'.format
    write(tmp_path/'movie.metadata.tsv',
          (line(1, '"Heroes"') + line(2, '5" of rain')).encode() + line(3, 'Café').encode('cp1252'))
    write(tmp_path/'plot_summaries.txt',
          '1\t"It was spoken."\n2\t"She goes.\n'.encode() + '3\tThe café.\n'.encode('cp1252'))
    items = check_items(read_benchmark('cmu-movies', tmp_path))
    assert items.title.tolist() == ['"Heroes"', '5" of rain', 'Café']
    assert items.text.tolist() == ['"It was spoken."', '"She goes.', 'The café.']
    assert items.mended.tolist() == [None, None, 'not UTF-8, read as cp1252'] and items.genres.tolist() == [['Drama']]*3
    write(tmp_path/'booksummaries.txt', '620\t/m/0hhy\t"A Farm"\tG. O.\t1945\t{"/m/06nbt": "Satire"}\t"Whole."\n')
    book = read_benchmark('cmu-books', tmp_path).iloc[0]
    assert (book.title, book.text, book.genres, book.mended) == ('"A Farm"', '"Whole."', ['Satire'], None)


def test_cmu_books(tmp_path):
    write(tmp_path/'booksummaries'/'booksummaries.txt',
          '620\t/m/0hhy\tA Farm\tG. O.\t1945\t{"/m/016lj8": "Roman \\u00e0 clef", "/m/06nbt": "Satire"}'
          '\t Old Major, a boar, speaks.\n'
          '843\t/m/0k36\tA Clock\tA. B.\t1962\t\t Alex, a teenager, "rests".\n')
    items = check_items(read_benchmark('cmu-books', tmp_path))
    assert items.genres.tolist() == [['Roman à clef', 'Satire'], []]
    assert items.text.tolist() == ['Old Major, a boar, speaks.', 'Alex, a teenager, "rests".']
    assert items.author.tolist() == ['G. O.', 'A. B.']


def posters(folder, images):
    write(folder/'train.csv',
          'Id,Genre,Comedy,Drama,N/A,War\ntt1,"[\'Drama\', \'War\']",0,1,0,1\ntt2,[\'Comedy\'],0,0,0,1\n'
          'tt2,[\'Drama\'],0,1,0,0\ntt3,[\'N/A\'],0,0,1,0\n')
    write(folder/'movies.csv', 'Title,Year\nOne,1990\n')
    for name in ('tt1', 'tt2', 'tt3'): picture(folder/images/f'{name}.jpg')
    return folder


@pytest.mark.parametrize('images', ['Images', 'images'])
def test_posters(tmp_path, images):
    items = check_items(read_benchmark('posters', posters(tmp_path, images)))
    assert items.item_id.tolist() == ['tt1', 'tt2', 'tt2#2', 'tt3']
    assert items.genres.tolist() == [['Drama', 'War'], ['Comedy'], ['Drama'], []]
    assert [p.rsplit('/', 1)[-1] for p in items.image] == ['tt1.jpg', 'tt2.jpg', 'tt2.jpg', 'tt3.jpg']
    assert not {'Comedy', 'Drama', 'N/A', 'War'} & set(items), 'one-hot columns give the genre away'
    assert items.mended.tolist() == [None, 'one-hot columns differ from Genre', 'id repeated, numbered',
                                     "genre such as 'N/A' left out"]


def test_posters_with_a_comma_in_a_column_name(tmp_path):
    write(posters(tmp_path, 'Images')/'train.csv',
          '"Id","Genre","Crime, true","Say ""War"""\ntt1,"[\'Crime, true\']",1,0\n'
          'tt2,"[\'Say ""War""\']",0,1\n')
    items = read_benchmark('posters', tmp_path)
    assert not {'Crime, true', 'Say "War"'} & set(items), 'one-hot columns give the genre away'
    assert items.mended.tolist() == [None, None] and items.genres.tolist() == [['Crime, true'], ['Say "War"']]


def test_posters_table_must_be_one(tmp_path):
    write(tmp_path/'movies.csv', 'Title,Year\nOne,1990\n')
    with pytest.raises(ItemsError, match="0 of 1 in .* have them: 'movies.csv'"): read_benchmark('posters', tmp_path)
    posters(tmp_path/'a', 'Images')
    posters(tmp_path/'b', 'Images')
    with pytest.raises(ItemsError, match="2 of 5 .*'a/train.csv', 'b/train.csv'"): read_benchmark('posters', tmp_path)


# What is missing

def test_unknown_names(tmp_path):
    for call in (lambda name: read_benchmark(name, tmp_path), published_scores,
                 lambda name: beside_published(name, {})):
        with pytest.raises(ItemsError, match="Did you mean 'mm-imdb'?.*There are 'bookcover30'"): call('mmimdb')
    with pytest.raises(ItemsError, match='does not exist'): read_benchmark('mpst', tmp_path/'nowhere')


@pytest.mark.parametrize('name', [n for n in BENCHMARKS if n != 'posters'])
def test_a_missing_file_is_named_with_the_nearest(tmp_path, name):
    wanted = BENCHMARKS[name].files[0]
    write(tmp_path/'deep'/wanted.replace('.', '-.'), 'x')
    with pytest.raises(ItemsError) as error: read_benchmark(name, tmp_path)
    assert f'needs the file {wanted!r}' in str(error.value) and 'Did you mean' in str(error.value)
    assert '\n' not in str(error.value) and BENCHMARKS[name].source in str(error.value)


def test_the_uppermost_of_several_files_is_taken(tmp_path):
    place = _Place('mpst', tmp_path, ['old/mpst_full_data.csv', 'mpst_full_data.csv.gz'], tmp_path)
    assert place.find('mpst_full_data.csv') == tmp_path/'mpst_full_data.csv.gz'


# Published figures

@pytest.mark.parametrize('name', BENCHMARKS)
def test_every_figure_has_its_source(name):
    figures = published_scores(name)
    assert figures.value.between(0, 1).all() and figures.year.between(1990, 2030).all()
    assert (figures.source.str.len() > 5).all() and set(figures.modality) <= {'none', 'picture', 'text', 'both'}
    assert not figures.duplicated(['method', 'modality', 'metric']).any()


def test_second_hand_and_other_splits_are_marked():
    notes = published_scores('mm-imdb').set_index('method').note
    assert 'from memory' in notes['GMU'] and '.54' in notes['GMU']
    assert notes[['GMU', 'MMBT']].str.contains('second hand').all()
    assert notes.drop(['GMU', 'MMBT']).str.contains('split').all()
    assert published_scores('bookcover30').query('year < 2026').note.eq('').all()
    assert len(MM_IMDB_GENRES) == len(set(MM_IMDB_GENRES)) == 23


def test_beside_published_takes_every_form():
    y = [[1, 0], [0, 1], [1, 0], [0, 1]]*5
    table = score_table(y, {'KNN': y, 'linear': [[.4, .6]]*20}, False, metrics=['accuracy', 'macro_f1'], n_boot=20)
    both = beside_published('bookcover30', table)
    assert list(both.columns) == ['modality', 'accuracy', 'top3', 'macro_f1', 'year', 'source', 'note']
    assert both.index[-1] == 'KNN' and both.accuracy['KNN'].startswith('1.000 [') and both.top3['KNN'] == ''
    assert both.note['KNN'] == 'ours; 20 items, the official test part has 5,700'
    assert beside_published('bookcover30', table.loc['linear']).accuracy['linear'].startswith('.500 [')
    interval = Interval(.29, .27, .31)
    for score in (interval, str(interval)):
        assert beside_published('bookcover30', {'accuracy': score}).accuracy['ours'] == '.290 [.270, .310]'
    assert beside_published('bookcover30', {'top3': .4}, note='by hand').note['ours'] == 'ours; n not given; by hand'
    order = beside_published('bookcover30', {'accuracy': .29, 'n': 5700})
    assert order.index.tolist()[order.index.get_loc('ours') + 1] == 'NASNet'
    assert order.note['ours'] == 'ours; 5,700 items' and order.accuracy['ours'] == '.290'
    films = beside_published('mm-imdb', {'micro_f1': .6})
    assert films.loc['late fusion', ['macro_f1', 'micro_f1']].tolist() == ['.594', '.659']


def test_beside_published_complains():
    with pytest.raises(ValueError, match=r"are 'accuracy', 'top3'; yours are 'map'.*metrics=\['accuracy', 'top3'\]"):
        beside_published('bookcover30', {'map': .3})
    with pytest.raises(ValueError, match='not percent'): beside_published('bookcover30', {'accuracy': 41.2})
    for odd in ('high', '', None):
        with pytest.raises(ValueError, match='is no score'): beside_published('bookcover30', {'accuracy': odd})
    with pytest.warns(UserWarning, match="no published figures of 'mpst'"):
        assert beside_published('mpst', {'micro_f1': .4}).micro_f1.tolist() == ['.400']
