"Scoreboard on real posters with overviews and metadata, and on book covers with titles: everything together, on grouped folds"
import argparse, time, warnings
from pathlib import Path

import numpy as np, pandas as pd

from genre_fastai.all import *

META = ['released', 'runtime', 'rated', 'language', 'country', 'director', 'actors']


def films(data):
    "Films with an overview, and genres with 20 films or more; the genres come from a table of their own"
    folder = data/'posters'
    labels = read_table(folder/'genres_onehot.csv', id_col='Id', genre_col='Genre', image_dir=folder/'images', text_cols=[], meta_cols=[])
    facts = read_table(folder/'movies.csv', id_col='imdb_id', text_cols=['overview'], genre_cols=[], image_dir=folder/'images')
    genres = labels.drop_duplicates('item_id').set_index('item_id').genres.reindex(facts.item_id)
    items = facts.assign(genres=[g if isinstance(g, list) else [] for g in genres])
    return clean_items(items, needs='text', min_count=20, copies='keep'), dict(text_cols=['title', 'text'], meta_cols=META)


def books(data):
    "Book covers with titles, at the top level of their shelves, with 80 books or more"
    folder = data/'book_covers'
    items = read_table(folder/'books.csv', id_col='ID_number', image_col='ID_number', image_dir=folder/'images', genre_col='genres',
                       text_cols=['title'])
    return clean_items(roll_up_genres(items), needs='text', min_count=80, min_words=1, copies='keep', blank='keep'), dict(text_cols=None)


SETS = {'posters': films, 'book_covers': books}


def fold_parts(items, preset, how, seed):
    "What each subset of inputs reaches on grouped folds: name -> (n, n_genres) probabilities; and picks by tuned thresholds"
    found, picks, seconds = {}, {}, []
    for fold in sorted(items.fold.unique()):
        test = (items.fold == fold).to_numpy()
        start = time.time()
        clf = GenreClassifier(preset, seed=seed, **how).fit(items.assign(split=np.where(test, 'test', 'train')))
        seconds.append(time.time() - start)
        for name, p in clf.ablate(items[test].assign(split=None)).items():
            found.setdefault(name, np.zeros((len(items), len(clf.classes_))))[test] = p
            picks.setdefault(name, np.zeros((len(items), len(clf.classes_)), int))[test] = pick_genres(p, True, clf.thresholds_)
    return found, picks, seconds
