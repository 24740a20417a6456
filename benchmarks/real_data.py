"The real sets that benchmarks score: where they lie, what is in which column, and the weights beside them"
import os

from genre_fastai.data.clean import clean_items
from genre_fastai.data.genres import roll_up_genres
from genre_fastai.data.readers import read_folder, read_table

ARCH = 'mobilenetv2_100'
META = ['released', 'runtime', 'rated', 'language', 'country', 'director', 'actors']
HEADERLESS = ('adult backdrop_path belongs_to_collection budget genres homepage id imdb_id original_language '
              'original_title overview popularity poster_path production_companies production_countries release_date '
              'revenue runtime spoken_languages status tagline title video vote_average vote_count').split()
BOOK30 = ['index', 'file', 'address', 'title', 'author', 'category_id', 'category']
FILM_TEXTS = ['title', 'tagline', 'overview']
SYNOPSES = { # Files in synopses/, with what `read_table` cannot guess
    'imdb_four_genre_plots': dict(id_col='movie_id', text_cols=['description'], genre_col='genre'),
    'tmdb_5000_movies': dict(id_col='id', text_cols=FILM_TEXTS, genre_col='genres'),
    'book30-listing-test': dict(id_col='index', text_cols=['title'], genre_col='category', names=BOOK30),
    'tmdb_movies_3700_headerless': dict(id_col='id', text_cols=FILM_TEXTS, genre_col='genres', names=HEADERLESS),
    'books_all_dirty': dict(id_col='universal_product_code', text_cols=['product_description'], genre_col='category')}


def need(data, name):
    "`data/name`, which must be there"
    if not (data/name).exists():
        raise FileNotFoundError(f'no {name} in {str(data)!r}. Name the folder that holds it: --data <folder>, '
                                'or of make: DATA=<folder>')
    return data/name


def body_weights(data): return data/'weights'/f'{ARCH}.safetensors'


def use_weights(data):
    "Presets find the weights that lie beside the data"
    if (data/'weights').is_dir(): os.environ.setdefault('GENRE_FASTAI_WEIGHTS', str(data/'weights'))


def album_covers(data):
    "Covers of one genre each, a folder a genre"
    return read_folder(need(data, 'album_covers'))


def book_covers(data):
    "Book covers with titles, at the top level of their shelves"
    folder = need(data, 'book_covers')
    items = read_table(folder/'books.csv', id_col='ID_number', image_col='ID_number', image_dir=folder/'images',
                       genre_col='genres', text_cols=['title'])
    return roll_up_genres(items)


def posters(data, **kwargs):
    "Film posters with their genres"
    folder = need(data, 'posters')
    return read_table(folder/'genres_onehot.csv', id_col='Id', genre_col='Genre', image_dir=folder/'images', **kwargs)


def film_facts(data, **kwargs):
    "Films with overviews and metadata"
    folder = need(data, 'posters')
    return read_table(folder/'movies.csv', id_col='imdb_id', text_cols=['overview'], image_dir=folder/'images',
                      **kwargs)


def films(data):
    "Films with posters, overviews, metadata, and genres from a table of their own"
    labels, facts = posters(data, text_cols=[], meta_cols=[]), film_facts(data, genre_cols=[])
    genres = labels.drop_duplicates('item_id').set_index('item_id').genres.reindex(facts.item_id)
    return facts.assign(genres=[g if isinstance(g, list) else [] for g in genres])


def synopses(data, name, **kwargs):
    "Texts of one file in synopses/, see `SYNOPSES`"
    return read_table(need(data, f'synopses/{name}.csv'), **SYNOPSES[name] | kwargs)


def tmdb_films(data, **kwargs):
    "Films with a text, and genres with 20 films or more"
    return clean_items(synopses(data, 'tmdb_5000_movies', **kwargs), needs='text', min_count=20)[0]
