"Metadata: every kind of cell has its place, what cannot help is left out with its reason, leaks are named"
import numpy as np, pandas as pd, pytest

from genre_fastai.baseline_knn import genre_targets
from genre_fastai.core import ItemsError, genre_matrix, make_items
from genre_fastai.metadata import (MetadataRidge, MetadataTable, NumberColumn, has_metadata, made_metadata,
                                   metadata_columns, suspect_columns)

VOCAB = ['Crime', 'Fantasy', 'War']


def films(n=300, seed=0, several=False):
    rng = np.random.default_rng(seed)
    genres = [sorted(rng.choice(VOCAB, 1 + several*(k % 2), replace=False).tolist()) for k in range(n)]
    return made_metadata(make_items(item_id=[f'f{k}' for k in range(n)], genres=genres), seed=seed)


@pytest.mark.parametrize('cells, taken', [
    ([90, 100.5, None, 90]*5, 'numbers'), (['90', '95', '', '90']*5, 'numbers'), (['3 May 1990', '1991-02-03', None, '4 Jun 1992']*5, 'years'),
    (['Ann Bo, Cy Di', 'Cy Di', None, 'Ann Bo']*5, 'names'), ([['a', 'b'], [], ['a'], ['b']]*5, 'names'), ([True, False, True, None]*5, 'names'),
    ([f'page {k}' for k in range(20)], 'left out'), ([None]*20, 'left out'), (['UK']*20, 'left out'), ([{'a': 1}, {'b': 2}]*10, 'left out')])
def test_what_a_column_is_taken_as(cells, taken):
    table = MetadataTable().fit(pd.DataFrame({'c': pd.Series(cells, dtype=object), 'sure': [1, 2]*10}))
    row = table.describe().loc['c']
    assert row['taken as'] == taken and (row.why != '') == (taken == 'left out')


def test_rows_have_length_one_at_most_and_missing_cells_are_silent():
    frame = pd.DataFrame({'year': [1990., 1995, np.nan, 2000], 'who': pd.Series(['Ann; Bo', None, None, 'Bo; Cy'], dtype=object)})
    x = MetadataTable().fit(frame).transform(frame)
    lengths = np.sqrt(x.multiply(x).sum(1)).A1 if hasattr(x.multiply(x).sum(1), 'A1') else np.sqrt(np.asarray(x.multiply(x).sum(1))).ravel()
    assert np.allclose(lengths, [1, np.sqrt(.5), 0, 1]) and x.dtype == np.float32
    assert has_metadata(frame).tolist() == [True, True, False, True]


def test_unknown_names_missing_columns_and_numbers_out_of_range_are_harmless():
    train = films()
    ridge = MetadataRidge().fit(train[metadata_columns(train)], genre_targets(train, VOCAB, False))
    odd = pd.DataFrame({'director': ['Nobody Known', None], 'runtime': [1e9, 'long'], 'cast': [['Ada Abel'], ''], 'other': [1, 2]})
    p = ridge.predict_proba(odd)
    assert p.shape == (2, 3) and np.allclose(p.sum(1), 1) and np.isfinite(p).all()
    prior = ridge.predict_proba(pd.DataFrame(index=range(1)))
    assert np.allclose(p[1], prior[0], atol=1e-6)       # nothing readable: what is known without looking


def test_left_out_predictions_are_those_of_a_ridge_without_the_row():
    items = films(60)
    frame, y = items[metadata_columns(items)], genre_matrix(items)
    ridge = MetadataRidge(alphas=(.3,)).fit(frame, y)
    x = ridge.table_.transform(frame).toarray()
    rest = np.arange(60) != 7
    coef = np.linalg.solve(x[rest] @ x[rest].T + .3*np.eye(59), (y - ridge.prior_)[rest])
    assert np.allclose(ridge.left_out_[7], ridge.prior_ + x[7] @ x[rest].T @ coef, atol=1e-4)


def test_shuffled_genres_fall_to_chance():
    items, test = films(400), films(200, seed=1)
    def accuracy(y): return (MetadataRidge().fit(items[metadata_columns(items)], y).predict(test[metadata_columns(items)]) == genre_targets(test, VOCAB, False)).mean()
    y = genre_targets(items, VOCAB, False)
    broken = np.mean([accuracy(np.random.default_rng(seed).permutation(y)) for seed in range(3)])
    assert broken < .45 < .55 < accuracy(y)


@pytest.mark.parametrize('several', [False, True])
def test_leaks_are_named_and_honest_columns_are_not(several):
    items = films(several=several)
    assert suspect_columns(items).empty
    leaking = items.assign(tag=[g[0].lower() for g in items.genres], is_war=[int('War' in g) for g in items.genres])
    found = suspect_columns(leaking)
    assert set(found[found.column == 'is_war'].genre) == {'War'} and 'tag' in set(found.column) and (found['average precision'] > .95).all()


def test_nothing_usable_is_one_line():
    with pytest.raises(ItemsError, match="no column of metadata can be used. 'c': the same value in every row"): MetadataTable().fit(pd.DataFrame({'c': ['x']*9}))
    assert suspect_columns(films(8)).empty


def test_marks_of_few_numbers():
    column = NumberColumn().fit(pd.Series([1, 1, 1, 2]))
    assert column.marks.tolist() == sorted(set(column.marks)) and column.transform(pd.Series([1, 2, None])).shape[0] == 3
