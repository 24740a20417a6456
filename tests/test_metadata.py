"Metadata: every kind of cell has its place, what cannot help is left out with its reason, leaks are named"
import datetime, decimal
import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from sklearn.preprocessing import SplineTransformer, normalize

from genre_fastai.classical.baselines import genre_targets
from genre_fastai.state import from_state, state_of
from genre_fastai.items import ItemsError, genre_matrix, is_synthetic, make_items
from genre_fastai.datasets.synthetic import synthetic_metadata
from genre_fastai.classical.metadata import (MetadataRidge, MetadataTable, NameColumn, NumberColumn, has_metadata,
                                             metadata_columns, suspect_columns)
from genre_fastai.datasets.synthetic import synthetic_items

VOCAB = ['Crime', 'Fantasy', 'War']


def films(n=300, seed=0, several=False):
    rng = np.random.default_rng(seed)
    genres = [sorted(rng.choice(VOCAB, 1 + several*(k % 2), replace=False).tolist()) for k in range(n)]
    return synthetic_metadata(make_items(item_id=[f'f{k}' for k in range(n)], genres=genres), seed=seed)


@pytest.mark.parametrize('cells, taken', [
    ([90, 100.5, None, 90]*5, 'numbers'), (['90', '95', '', '90']*5, 'numbers'),
    (['3 May 1990', '1991-02-03', None, '4 Jun 1992']*5, 'years'),
    (['Ann Bo, Cy Di', 'Cy Di', None, 'Ann Bo']*5, 'names'), ([['a', 'b'], [], ['a'], ['b']]*5, 'names'),
    ([True, False, True, None]*5, 'names'),
    ([f'page {k}' for k in range(20)], 'left out'), ([None]*20, 'left out'), (['UK']*20, 'left out'),
    ([object(), object()]*10, 'left out')])
def test_what_a_column_is_taken_as(cells, taken):
    table = MetadataTable().fit(pd.DataFrame({'c': pd.Series(cells, dtype=object), 'sure': [1, 2]*10}))
    row = table.describe().loc['c']
    assert row['taken as'] == taken and (row.why != '') == (taken == 'left out')


def test_rows_have_length_one_at_most_and_missing_cells_are_silent():
    frame = pd.DataFrame({'year': [1990., 1995, np.nan, 2000],
                          'who': pd.Series(['Ann; Bo', None, None, 'Bo; Cy'], dtype=object)})
    x = MetadataTable().fit(frame).transform(frame)
    lengths = np.sqrt(x.multiply(x).sum(1)).A1 if hasattr(x.multiply(x).sum(1),
                                                          'A1') else np.sqrt(np.asarray(x.multiply(x).sum(1))).ravel()
    assert np.allclose(lengths, [1, np.sqrt(.5), 0, 1]) and x.dtype == np.float32
    assert has_metadata(frame).tolist() == [True, True, False, True]


def test_unknown_names_missing_columns_and_numbers_out_of_range_are_harmless():
    train = films()
    ridge = MetadataRidge().fit(train[metadata_columns(train)], genre_targets(train, VOCAB, False))
    odd = pd.DataFrame({'director': ['Nobody Known', None], 'runtime': [1e9, 'long'], 'cast': [['Ada Abel'], ''],
                        'other': [1, 2]})
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
    coef = np.linalg.solve(x[rest] @ x[rest].T + .3*np.eye(59), (y - ridge.class_prior_)[rest])
    assert np.allclose(ridge.oof_scores_[7], ridge.class_prior_ + x[7] @ x[rest].T @ coef, atol=1e-4)


def test_shuffled_genres_fall_to_chance():
    items, test = films(400), films(200, seed=1)
    def accuracy(y):
        return (MetadataRidge().fit(items[metadata_columns(items)], y).predict(test[metadata_columns(items)])
                == genre_targets(test, VOCAB, False)).mean()
    y = genre_targets(items, VOCAB, False)
    broken = np.mean([accuracy(np.random.default_rng(seed).permutation(y)) for seed in range(3)])
    assert broken < .45 < .55 < accuracy(y)


@pytest.mark.parametrize('several', [False, True])
def test_leaks_are_named_and_honest_columns_are_not(several):
    items = films(several=several)
    assert suspect_columns(items).empty
    leaking = items.assign(tag=[g[0].lower() for g in items.genres], is_war=[int('War' in g) for g in items.genres])
    found = suspect_columns(leaking)
    assert set(found[found.column
                     == 'is_war'].genre) == {'War'} and 'tag' in set(found.column) and (found['average precision'] > .95).all()


def test_nothing_usable_is_one_line():
    with pytest.raises(ItemsError, match="no column of metadata can be used. 'c': the same value in every row"):
        MetadataTable().fit(pd.DataFrame({'c': ['x']*9}))
    assert suspect_columns(films(8)).empty


def column_of(cells):
    "The cells in a frame of one column, as they are"
    made = np.empty(len(cells), object)
    made[:] = cells
    return pd.DataFrame({'c': pd.Series(made, dtype=object)})


def taken_as(cells): return MetadataTable().fit(column_of(cells)).describe().loc['c']


def names_of(cells): return sorted(MetadataTable().fit(column_of(cells)).columns_['c'].counter.vocabulary_)


def test_few_numbers_and_equal_ones():
    column = NumberColumn().fit(pd.Series([1, 1, 1, 2]))
    assert column.knots.tolist() == sorted(set(column.knots)) and column.transform([1, 2, None]).shape[0] == 3
    with pytest.raises(ItemsError, match='no two different numbers'): NumberColumn().fit([90, '90 min', 90.])


def test_numbers_are_linear_splines_on_quantiles():
    numbers = np.random.default_rng(0).normal(size=(200, 1))
    spline = SplineTransformer(10, degree=1, knots='quantile', extrapolation='constant').fit(numbers)
    new = np.linspace(-5, 5, 50)[:, None]
    assert np.allclose(NumberColumn().fit(numbers[:, 0]).transform(new[:, 0]).toarray(),
                       normalize(spline.transform(new)), atol=1e-6)


@pytest.mark.parametrize('cells', [
    ["['Ann Bo', 'Cy Di']", "['Cy Di']", "['Ann Bo']"], ['["Ann Bo", "Cy Di"]', '["Cy Di"]', '["Ann Bo"]'],
    ["[u'Ann Bo', u'Cy Di']", "[u'Cy Di']", "[u'Ann Bo']"], ["['Ann Bo' 'Cy Di']", "['Cy Di']", "['Ann Bo']"],
    ['[{"id": 1, "name": "Ann Bo"}, {"id": 2, "name": "Cy Di"}]', '[{"id": 2, "name": "Cy Di"}]',
     '[{"id": 1, "name": "Ann Bo"}]'],
    ['{"/m/1": "Ann Bo", "/m/2": "Cy Di"}', '{"/m/2": "Cy Di"}', '{"/m/1": "Ann Bo"}'],
    [{'name': 'Ann Bo'}, {'name': 'Cy Di'}, 'cy di'], [['Ann Bo', 'N/A', None, pd.NA, 'Cy Di'], ['Cy Di'], ['Ann  Bo']],
    [frozenset({'Ann Bo', 'Cy Di'}), {'Cy Di'}, ('Ann Bo',)],
    [np.array(['Ann Bo', 'Cy Di']), np.array(['Cy Di']), np.array(['Ann Bo'])]])
def test_lists_in_every_spelling_are_names(cells):
    assert names_of(cells*5) == ['ann bo', 'cy di']


def test_last_name_first_is_one_name_and_lists_are_not():
    people = [f'{last}, {first}' for last in ('King', 'Grey', 'Le Guin', 'Moss')
              for first in ('Stephen', 'Mary', 'J. K.')]
    assert names_of(people*2) == sorted(p.casefold() for p in people)
    assert names_of(['UK, USA', 'USA', 'USA, France', 'UK', 'France, UK']*4) == ['france', 'uk', 'usa']
    assert names_of(['King, Stephen; Straub, Peter', 'King, Stephen', 'Straub, Peter']*4) == ['king, stephen',
                                                                                              'straub, peter']


DAY = datetime.date(1990, 5, 3)

@pytest.mark.parametrize('make', [
    lambda y: DAY.replace(year=y), lambda y: datetime.datetime(y, 5, 3), lambda y: pd.Timestamp(y, 5, 3, tz='UTC'),
    lambda y: np.datetime64(f'{y}-05-03'), lambda y: pd.Period(f'{y}Q2'), lambda y: f'{y}-05-03T10:00:00Z'])
def test_dates_are_years(make):
    cells = [make(1980 + k % 20) for k in range(40)] + [None, pd.NaT]
    table = MetadataTable().fit(column_of(cells))
    assert table.describe().loc['c', 'taken as'] == 'years' and table.columns_['c'].knots[[0, -1]].tolist() == [1980, 1999]
    assert (table.transform(column_of(['3 May 1985'])) != table.transform(column_of([make(1985)]))).nnz == 0


@pytest.mark.parametrize('dtype, taken', [('datetime64[ns]', 'years'), ('category', 'years'), ('period[D]', 'years')])
def test_dates_by_dtype(dtype, taken):
    cells = pd.Series(pd.date_range('1980-01-01', periods=40, freq='200D')).astype(dtype)
    assert MetadataTable().fit(pd.DataFrame({'c': cells})).describe().loc['c', 'taken as'] == taken


@pytest.mark.parametrize('cells, dtype, taken', [
    (['a', 'b', None]*9, 'category', 'names'), ([1, 2, None]*9, 'category', 'numbers'),
    ([1, 2, None]*9, 'Int64', 'numbers'),
    ([True, None, False]*9, 'boolean', 'names'), (['a', None, 'b']*9, 'string', 'names'),
    (['a', pd.NA, 'b']*9, object, 'names')])
def test_dtypes_of_pandas(cells, dtype, taken):
    frame = pd.DataFrame({'c': pd.Series(cells, dtype=dtype)})
    table = MetadataTable().fit(frame)
    assert table.describe().loc['c', 'taken as'] == taken and table.columns_['c'].unread == 0
    assert has_metadata(frame).tolist() == frame.c.notna().tolist() == (table.transform(frame).getnnz(1) > 0).tolist()


def test_what_stands_for_nothing_is_missing():
    nothing = ['N/A', ' ', 'unknown', '-', '', None, np.nan, pd.NaT, [], [''], ['n/a'], '[]', np.array([]), {}]
    assert not has_metadata(column_of(nothing)).any()
    assert names_of(['PG', 'n/a', 'R', 'N/A']*5) == ['pg', 'r']
    row = taken_as([str(80 + k) for k in range(80)] + ['N/A']*20)
    assert (row['taken as'], row.unread) == ('numbers', 0)
    for cells in ([['']]*9 + [' '], ['none|unknown', 'unknown|none']*9):
        with pytest.raises(ItemsError, match="'c': empty"): MetadataTable().fit(column_of(cells))
    assert has_metadata(pd.DataFrame(index=range(3))).tolist() == [False]*3


@pytest.mark.parametrize('cells, numbers', [
    (['95 min', '100 mins', '90 Min.', '1,200 minutes'], [95, 100, 90, 1200]),
    (['1,200', '900', '12,345,678'], [1200, 900, 12345678]),
    (['$10', '$ 2,000.50', '5 USD', '€7'], [10, 2000.5, 5, 7]), (['300 pages', '12 p.', '9 pp.'], [300, 12, 9]),
    ([decimal.Decimal('1.5'), np.float32(2), np.int8(3)], [1.5, 2, 3])])
def test_units_and_thousands(cells, numbers):
    assert taken_as(cells*3)['taken as'] == 'numbers'
    assert NumberColumn().numbers(column_of(cells).c).tolist() == numbers


def test_cells_that_cannot_be_read_are_counted():
    assert taken_as([*range(95), 'long', 'longer', np.inf, 10**400, object()])[['taken as',
                                                                                'unread']].tolist() == ['numbers', 5]
    assert taken_as(['a', 'b']*10 + [datetime.timedelta(1)])[['taken as', 'unread']].tolist() == ['names', 1]
    for cells in ([np.inf, 10**400]*9, [[['a']], [['b']]]*9, [pd.Timedelta(1), pd.Timedelta(2)]*9):
        with pytest.raises(ItemsError, match="'c': holds .* Leave meta_cols away, or name other columns."):
            MetadataTable().fit(column_of(cells))


def test_lone_surrogates_are_harmless():
    assert names_of(['a\ud800b', 'c', '["\\ud800d"]']*5) == ['?d', 'a?b', 'c']


@pytest.mark.parametrize('frame, match', [
    (pd.DataFrame([[1, 'a'], [2, 'b']], columns=['c', 'c']), "strings, each once; found 'c'"),
    (pd.DataFrame({3: [1, 2]}), 'found 3'),
    ({'c': [1, 2]}, 'not dict'), (pd.DataFrame(index=range(3)), 'There is none. Leave meta_cols away')])
def test_frames_that_are_none(frame, match):
    with pytest.raises(ItemsError, match=match): MetadataTable().fit(frame)


def test_zero_rows_and_other_columns_of_any_name():
    table = MetadataTable().fit(pd.DataFrame({'who': ['a', 'b']*5, 'n': [1, 2]*5}))
    assert table.transform(pd.DataFrame({'who': [], 'n': []})).shape == (0, 4) == table.transform(pd.DataFrame()).shape
    other = pd.DataFrame([['a', 1, 2]], columns=['who', 7, 7])
    assert table.transform(other).nnz == 1 and table.readable(other).tolist() == [True]
    with pytest.raises(ItemsError, match='each once'):
        table.transform(pd.DataFrame([['a', 'b']], columns=['who', 'who']))


ODD = st.one_of(
    st.none(), st.text(max_size=9), st.floats(), st.integers(), st.booleans(), st.dates(),
    st.decimals().filter(lambda d: not d.is_snan()), st.binary(max_size=3),
    st.complex_numbers(), st.timedeltas(), st.lists(st.one_of(st.none(), st.text(max_size=3), st.integers(),
                                                              st.lists(st.integers()))),
    st.dictionaries(st.text(max_size=2), st.text(max_size=2)), st.frozensets(st.text(max_size=2)),
    st.sampled_from(['95 min', '[1, [2]]', '["a"', "{'name': {'x': 1}}", '(', '1e999', 'a, b', 'b, a', pd.NA, pd.NaT,
                     np.array(['a', 'b']),
                     np.array([[1.]]), np.array(5), np.datetime64('1990'), pd.Interval(0, 1), np.timedelta64(1, 'D'),
                     np.float16(2), '\ud800', '2\x001', [np.array([1, 2])]]))

@settings(max_examples=150, deadline=None)
@given(st.lists(ODD, min_size=1, max_size=12), st.lists(ODD, max_size=4))
def test_any_cells_are_read_or_refused_in_one_line(cells, new):
    table = MetadataTable().fit(column_of(cells*2).assign(sure=[0] + [1]*(2*len(cells) - 1)))
    x = table.transform(column_of(new).assign(sure=[1]*len(new)))
    assert x.shape[0] == len(new) == len(table.readable(column_of(new))) and np.isfinite(x.data).all()
    assert 'c' in table.columns_ or '\n' not in table.left_out_['c']


def test_readable_sees_used_columns_only_also_after_the_bundle():
    frame = pd.DataFrame({'who': ['Ann; Bo', 'Bo', 'Ann', 'Ann']*5, 'n': [1, 2, 3, 4]*5, 'same': ['UK']*20})
    ridge = MetadataRidge().fit(frame, np.array(['War', 'Crime', 'War', 'War']*5))
    again = from_state(*state_of(ridge))
    new = pd.DataFrame({'who': ['Ann', 'N/A', None, 'Nobody'], 'same': ['UK']*4, 'n': [None, None, '3 min', None]})
    for model in (ridge, again): assert model.table_.readable(new).tolist() == [True, False, True, True]
    assert np.allclose(ridge.predict_proba(new), again.predict_proba(new), atol=1e-6)
    assert again.table_.describe()['taken as'].tolist() == ['names', 'numbers']
    assert again.table_.readable(pd.DataFrame({'same': ['UK']})).tolist() == [False]


def test_columns_of_the_made_world_are_the_users_own_elsewhere():
    own = ['shown', 'told', 'planted', 'other_id']
    items = films(20)[['item_id', 'image', 'text', 'genres',
                       'split']].assign(**dict.fromkeys([*own, 'group', 'fold', 'mended'], 'x'))
    assert metadata_columns(items) == own
    assert metadata_columns(items.assign(matched_by='title')) == own[:3]
    assert metadata_columns(items.assign(p_genres=.5)) == [*own, 'p_genres'] and not is_synthetic(items.assign(p_genres=.5))
    items.attrs['synthetic'] = True
    assert metadata_columns(items.assign(p_genres=.5)) == metadata_columns(items[::2]) == ['other_id']
    assert all(name in metadata_columns.__doc__ for name in ('group', 'fold', 'mended', 'matched_by', 'other_id'))


def test_leaks_of_frequent_genres_are_named_and_noise_is_not():
    rng = np.random.default_rng(0)
    often = rng.random(300) < .85
    items = make_items(genres=[['Drama'] if d else ['War'] for d in often], flag=often.astype(int),
                       noise=rng.integers(2, size=300))
    found = suspect_columns(items)
    assert set(found.column) == {'flag'} and set(found.genre) == {'Drama', 'War'} and found.share.max() > .75


def test_whole_numbers_that_stand_for_genres_are_named():
    genre = np.random.default_rng(0).permutation(np.repeat(range(30), 12))
    items = make_items(genres=[[f'Genre {k}'] for k in genre], category_id=(genre*7) % 30, code=[str(k) for k in genre])
    found = suspect_columns(items)
    assert found.groupby('column').genre.nunique().to_dict() == {'category_id': 30, 'code': 30}


def test_copies_stay_in_one_fold():
    genre = np.random.default_rng(0).integers(3, size=60)
    items = make_items(genres=[[VOCAB[k]] for k in np.repeat(genre, 5)],
                       series=[f's{k}' for k in range(60) for _ in range(5)])
    assert set(suspect_columns(items).column) == {'series'}
    grouped = items.assign(group=[None, None, *items.series[2:]])
    assert suspect_columns(grouped).empty and suspect_columns(items.assign(group='one')).empty


def test_suspect_columns_takes_names_that_are_there():
    items = films(60).assign(tag=lambda t: [g[0] for g in t.genres])
    with pytest.raises(ItemsError, match="no column 'tags'. Did you mean 'tag'?"): suspect_columns(items, ['tags'])
    assert set(suspect_columns(items, 'tag').column) == {'tag'}
    twice = pd.concat([items, items[['tag']]], axis=1)
    with pytest.raises(ItemsError, match='each once'): suspect_columns(twice, ['tag'])


def test_columns_of_names_and_numbers_by_themselves():
    column = NameColumn(',').fit(['a, b', None, 'B', 12.0])
    assert sorted(column.counter.vocabulary_) == ['12', 'a', 'b'] and column.transform(['B,nobody']).nnz == 1


def test_the_truth_of_a_made_world_is_no_metadata(tmp_path):
    "Whatever a world plants: a column that names it would give the genre away"
    items = synthetic_items(tmp_path/'w', 12, mark=True, decoy=True, duplicates=.2, size=(48, 72))
    assert metadata_columns(items) == ['title']
