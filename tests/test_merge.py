"Edge cases of merge: spellings, ties, columns of two forms, decisions; properties; tables of known truth"
import os, time
from pathlib import Path

import numpy as np, pandas as pd, pytest
from hypothesis import assume, given, settings, strategies as st

from genre_fastai.runs import rng_for
from genre_fastai.items import ItemsError, check_items, is_synthetic, load_items, load_report, make_items, save_items
from genre_fastai.data.cells import years_in
from genre_fastai.data.merge import merge_sources, review_matches, settle_pairs, title_key
from genre_fastai.datasets.synthetic import synthetic_sources
from genre_fastai.data.clean import clean_items
from genre_fastai.data.readers import read_table

MATCHED = ['accepted', 'exact', 'normalised', 'fuzzy']


def table(prefix, titles, years=None, **columns):
    if years is not None: columns['year'] = years
    return make_items(item_id=[f'{prefix}{i}' for i in range(len(titles))], title=titles, **columns)

def verdicts(report):
    return {(p.item_id, p.other_id): p.verdict for p in report.pairs.itertuples()}

def matches(report): return {pair: v for pair, v in verdicts(report).items() if v in MATCHED}


@pytest.mark.parametrize('spellings', [
    ('The Wild Meadow', 'WILD MEADOW', 'Wild Meadow, The', ' the  wild-meadow! ', 'A Wild Meadow'),
    ('Émile & Zoë', 'Emile and Zoe', 'EMILE + ZOË'), ("The Baker's Son", 'The Bakers Son', 'Baker’s Son'),
    ('Storm III', 'Storm 3', 'Storm: Three'), ('S.O.S. Island', 'SOS Island'), ('Øresund', 'Oresund'), ('Æon', 'AEON'),
    ('Straße', 'STRASSE'), ('ﬁre', 'fire'), ('ガーデン', 'ガーデン'), (300, '300', 300.)])
def test_spellings_of_one_title(spellings): assert len({title_key(s) for s in spellings}) == 1


@pytest.mark.parametrize('titles', [
    ('Storm 2', 'Storm 3'), ('X', '10'), ('I, Lamp', '1 Lamp'), ('The', 'A'), ('?!', '!?'), ('हिन्दी', 'हन्दी'),
    ('Salt', 'Malt'),
    ('🎈', '🎉'), ('שלום', 'שלוש')])
def test_different_titles(titles): assert len({title_key(t) for t in titles}) == len(titles)


@pytest.mark.parametrize('nothing', [None, float('nan'), pd.NA, '', ' \n'])
def test_key_of_nothing(nothing): assert title_key(nothing) is None


@given(st.text(max_size=30))
def test_key_is_there_and_stays(s):
    key = title_key(s)
    assert (key is None) == (not s.strip())
    if key: assert title_key(s.upper()) == title_key(s.upper().lower()) and key == key.strip()


@pytest.mark.parametrize('value, year', [
    (1999, 1999), ('1999', 1999), (1999.0, 1999), ('15 Apr 1983', 1983), ('April 15, 1983', 1983),
    ('2009-12-10T00:00:00Z', 2009),
    ('2005–2013', 2005), ('(1983)', 1983), (pd.Timestamp('2009-12-10'), 2009), ('-44', -44), ('inf', None),
    ('c. 1850', None),
    ('12/10/09', None), ('1984 Revisited', None), ('', None), (None, None), (True, None)])
def test_years(value, year):
    found = years_in([value])
    assert found.isna()[0] if year is None else found[0] == year


def reference_settle(pairs, margin):
    "Sure pairs by the definition, one at a time"
    pairs, sure = list(pairs), []
    while True:
        won = [p for p in pairs
               if all(p[2] - q[2] > margin for q in pairs if q is not p and (q[0] == p[0] or q[1] == p[1]))]
        if not won: return sure
        sure.append(won[0])
        pairs = [q for q in pairs if q[0] != won[0][0] and q[1] != won[0][1]]


@given(st.dictionaries(st.tuples(st.integers(0, 6), st.integers(0, 6)), st.integers(0, 5), max_size=20),
       st.integers(0, 2))
def test_settled_pairs_are_those_of_the_definition(quality, margin):
    pairs = pd.DataFrame([(i, j, q) for (i, j), q in quality.items()], columns=['i', 'j', 'quality'])
    sure, left = settle_pairs(pairs, margin)
    expected = reference_settle([(i, j, q) for (i, j), q in quality.items()], margin)
    assert sorted(map(tuple, sure.values)) == sorted(expected)
    assert not set(sure.i) & set(left.i) and not set(sure.j) & set(left.j)


titles = st.sampled_from(['Silent River', 'The Silent River', 'silent river', 'Silent Rivers', 'Silent Rivre',
                          'Silent River 2',
                          'Silent River III', 'Golden Compass', 'Golden Compas', 'Storm', 'Strom', '', None])
rows = st.lists(st.tuples(titles, st.sampled_from([1990, 1991, 1992, 2000, None]),
                          st.sampled_from(['film', 'show', None])),
                min_size=1, max_size=9)

def of_rows(prefix, rows):
    title, year, kind = zip(*rows)
    return table(prefix, list(title), year, kind=kind, genres=['War']*len(rows))


@settings(max_examples=20)
@given(rows, rows, st.randoms(), st.booleans())
def test_properties_of_a_merge(rows_a, rows_b, random, with_kind):
    for k in range(3): assume(all(any(r[k] for r in rows) for rows in (rows_a, rows_b)))
    if with_kind: assume({r[2] for r in rows_a} & {r[2] for r in rows_b} - {None})
    a, b = of_rows('a', rows_a), of_rows('b', rows_b)
    how = dict(on=['title', 'year'], kind='kind' if with_kind else None)
    items, report = merge_sources(a, b, **how)
    found = matches(report)

    check_items(items)
    assert len({i for i, _ in found}) == len({j for _, j in found}) == len(found)      # nothing twice
    assert len(items) == len(a) + len(b) - len(found) == report.n_in == report.n_out   # no row lost
    assert set(items.item_id) == set(a.item_id) | (set(b.item_id) - {j for _, j in found})
    assert set(items.other_id.dropna()) == set(b.item_id)
    assert set(report.frame.item_id) == set(items.item_id)                             # each is spoken of

    _, mirrored = merge_sources(b, a, **how)
    assert {(i, j): v for (j, i), v in matches(mirrored).items()} == found             # symmetric
    shuffled = [t.iloc[random.sample(range(len(t)), len(t))] for t in (a, b)]
    assert verdicts(merge_sources(*shuffled, **how)[1]) == verdicts(report)            # in any order

    for i, j in [(i, j) for i in range(len(a)) for j in range(len(b))]:
        if rows_a[i][:2] != rows_b[j][:2] or not all(rows_a[i]) or not all(rows_b[j]): continue
        alone = [sum(r[:2] == rows_a[i][:2] for r in rows) == 1 for rows in (rows_a, rows_b)]
        if all(alone) and (not with_kind or rows_a[i][2] == rows_b[j][2]):
            assert found[f'a{i}', f'b{j}'] == 'exact'                                  # exact before fuzzy
    for (i, j), verdict in found.items():
        ra, rb = rows_a[int(i[1:])], rows_b[int(j[1:])]
        if ra[1] and rb[1]: assert abs(ra[1] - rb[1]) <= 1
        if with_kind and ra[2] and rb[2]: assert ra[2] == rb[2]


def score(report, truth):
    found = report.pairs[report.pairs.verdict.isin(MATCHED)]
    right = len(found.merge(truth, on=['item_id', 'other_id']))
    return right/len(found), right/len(truth)


@pytest.mark.parametrize('seed', range(6))
def test_known_truth(seed):
    a, b, truth = synthetic_sources(1000, seed=seed)
    precision, recall = score(merge_sources(a, b, on=['title', 'year'], kind='kind')[1], truth)
    assert precision >= .99 and recall >= .95


def test_known_truth_under_other_names():
    a, b, truth = synthetic_sources(500, seed=7)
    other = b.rename(columns={'title': 'name', 'year': 'release_year', 'kind': 'sort'})
    on, kind = {'title': 'name', 'year': 'release_year'}, {'kind': 'sort'}
    items, report = merge_sources(a, other, on=on, kind=kind)
    same, _ = merge_sources(a, b, on=['title', 'year'], kind='kind')
    pd.testing.assert_frame_equal(items, same)


def test_five_thousand_rows_take_seconds():
    a, b, _ = synthetic_sources(6250, seed=1)
    for on in (['title', 'year'], 'title'):
        start = time.perf_counter()
        merge_sources(a, b, on=on)
        assert time.perf_counter() - start < 30


def test_made_sources_repeat():
    for x, y in zip(synthetic_sources(50, seed=3), synthetic_sources(50, seed=3)): pd.testing.assert_frame_equal(x, y)
    assert synthetic_sources(50, seed=3)[0].title.tolist() != synthetic_sources(50, seed=4)[0].title.tolist()


def test_numbers_are_no_slips():
    a = table('a', ['The Long Way Home Part II', 'Season of Storms 1'], [2000, 2001])
    b = table('b', ['The Long Way Home Part III', 'Season of Storms 2'], [2000, 2001])
    _, report = merge_sources(a, b, on=['title', 'year'])
    assert set(verdicts(report).values()) == {'apart'}


def test_slips_need_a_witness():
    a = table('a', ['Perfect Stranger'], [2007], by=['Ann Ox'])
    b = table('b', ['Perfect Strangers'], [2007], by=['Anne Ox'])
    assert verdicts(merge_sources(a, b, on='title')[1]) == {('a0', 'b0'): 'likely'}
    assert verdicts(merge_sources(a, b, on=['title', 'year'])[1]) == {('a0', 'b0'): 'fuzzy'}
    assert verdicts(merge_sources(a, b, on=['title', 'by'])[1]) == {('a0', 'b0'): 'fuzzy'}
    assert verdicts(merge_sources(a, b, on=['title', 'year'], cutoff=None)[1]) == {}
    stranger = b.assign(by='Bo Elk')
    assert verdicts(merge_sources(a, stranger, on=['title', 'by'])[1]) == {('a0', 'b0'): 'apart'}
    a = table('a', ['Perfect Stranger', 'Salt'], [None, 1990])
    b = table('b', ['Perfect Strangers', 'Salt'], [2007, 1990])
    assert verdicts(merge_sources(a, b, on=['title', 'year'])[1])['a0', 'b0'] == 'likely'


def test_same_title_other_person():
    a = table('a', ['Salt', 'Salt'], by=['Ann Ox', 'Bo Elk'])
    b = table('b', ['SALT', 'Salt'], by=['bo elk', 'Ann Ox'])
    assert verdicts(merge_sources(a, b, on=['title', 'by'])[1]) == {('a0', 'b1'): 'exact', ('a1', 'b0'): 'normalised'}


@pytest.mark.parametrize('tolerance, year, matched',
                         [(0, 2001, False), (1, 2001, True), (1, 2002, False), (3, 2003, True)])
def test_year_tolerance(tolerance, year, matched):
    a, b = table('a', ['Silent River', 'Salt'], [2000, 1990]), table('b', ['Silent River', 'Salt'], [year, 1990])
    found = verdicts(merge_sources(a, b, on=['title', 'year'], year_tolerance=tolerance)[1])
    assert found['a0', 'b0'] == ('normalised' if matched else 'apart') and found['a1', 'b1'] == 'exact'


def test_nearest_year_leads_and_ties_are_left():
    a = table('a', ['Salt'], [2000])
    report = merge_sources(a, table('b', ['salt']*2, [2001, 2000]), on=['title', 'year'])[1]
    assert matches(report) == {('a0', 'b1'): 'normalised'}
    items, report = merge_sources(a, table('b', ['salt']*2, [2001, 1999]), on=['title', 'year'])
    assert set(verdicts(report).values()) == {'ambiguous'} and len(items) == 3
    noted = report.frame[report.frame.reason.str.startswith('several')]
    assert sorted(noted.item_id) == ['a0', 'b0', 'b1'] and "'b0', 'b1' of b" in noted.detail.tolist()


def test_a_known_year_leads_over_an_unknown_one():
    a, b = table('a', ['Salt', 'Rain'], [2000, 1990]), table('b', ['salt', 'salt', 'Rain'], [None, 2001, 1990])
    assert matches(merge_sources(a, b, on=['title', 'year'])[1]) == {('a1', 'b2'): 'exact', ('a0', 'b1'): 'normalised'}


def test_a_similarity_must_lead_clearly():
    a = table('a', ['The Cartographer of Lisbon'], [2000])
    two = ['Cartographer of Lisbone', 'Cartographre of Lisbon']           # 97.8 and 95.5
    report = merge_sources(a, table('b', two, [2000, 2000]), on=['title', 'year'])[1]
    assert set(verdicts(report).values()) == {'ambiguous'}
    assert matches(merge_sources(a, table('b', two, [2000, 2001]), on=['title', 'year'])[1]) == {('a0', 'b0'): 'fuzzy'}


def test_rows_without_a_title_match_nothing():
    a, b = table('a', [None, '', 'Salt'], [2000]*3), table('b', [None, ' ', 'Salt'], [2000]*3)
    items, report = merge_sources(a, b, on=['title', 'year'])
    assert matches(report) == {('a2', 'b2'): 'exact'} and len(items) == 5


def test_values_are_filled_kept_and_recorded():
    a = make_items(item_id=['x'], title=['Salt'], text=[' '], genres=[['War']], rating=[None], runtime=[90.],
                   cast=[['Ann', 'Bo']], note=['old'])
    b = make_items(item_id=['y'], title=['Salt'], text=['A cook runs.'], genres=[['Drama', 'War']], rating=[7.5],
                   runtime=[95], image=['y.jpg'],
                   cast=[['Bo', 'Ann']], note=['new'], tagline=['More'])
    items, report = merge_sources(a, b, on='title')
    row = items.iloc[0]
    found = row[['text', 'image', 'rating', 'runtime', 'note', 'tagline']].tolist()
    assert found == ['A cook runs.', 'y.jpg', 7.5, 90, 'old', 'More']
    assert row.genres == ['War', 'Drama'] and row.matched_by == 'exact' and row.other_id == 'y'
    assert report.conflicts.values.tolist() == [['x', 'y', 'runtime', 90., 95], ['x', 'y', 'note', 'old', 'new']]
    reasons = report.frame.set_index('reason').detail.to_dict()
    assert reasons['text filled from b'] == "'A cook runs.'" and reasons['rating filled from b'] == '7.5'
    assert reasons['image filled from b'] == "'y.jpg'" and reasons['columns that only b has'] == 'tagline'
    assert reasons['genres of b added'] == 'Drama' and reasons['conflict in note, a kept'] == "'old', not 'new'"
    first, report = merge_sources(a, b, on='title', genres='first')
    assert first.genres[0] == ['War'] and 'genres' in report.conflicts.column.tolist()
    empty, _ = merge_sources(a.assign(genres=[[]]), b, on='title', genres='first')
    assert empty.genres[0] == ['Drama', 'War']


def test_dates_of_one_year_are_no_conflict():
    a = table('a', ['Salt', 'Rain'], ['15 Apr 1983', '1 May 2001'])
    b = table('b', ['Salt', 'rain'], ['1983-06-01', '2002'])
    _, report = merge_sources(a, b, on=['title', 'year'])
    assert report.pairs.differs.tolist() == ['', 'title, year']
    assert report.conflicts[['column', 'a', 'b']].values.tolist() == [['title', 'Rain', 'rain'],
                                                                      ['year', '1 May 2001', '2002']]


def test_apart_names_the_nearest_only():
    a, b = table('a', ['Salt'], [1950]), table('b', ['Salt']*3, [1980, 1970, 2000])
    assert verdicts(merge_sources(a, b, on=['title', 'year'])[1]) == {('a0', 'b1'): 'apart'}
    assert verdicts(merge_sources(a, table('b', ['Salt']*2, [1940, 1960]), on=['title', 'year'])[1]) == {}


def test_columns_of_two_forms_are_kept_apart():
    a = table('a', ['Salt', 'Rain'], [1990, 1991], runtime=[90, 91], score=['high', 'low'])
    b = table('b', ['Salt', 'Snow'], ['3 May 1990', '1 June 2001'], runtime=['90 min', '80 min'], score=[3, 4])
    items, report = merge_sources(a, b, on=['title', 'year'])
    assert items.year.tolist() == [1990, 1991, 2001]
    assert items.year_b.fillna('').tolist() == ['3 May 1990', '', '1 June 2001']
    assert items.runtime.fillna(0).tolist() == [90, 91, 0]
    assert items.runtime_b.fillna('').tolist() == ['90 min', '', '80 min']
    assert items.score.fillna('').tolist() == ['high', 'low', ''] and items.score_b.fillna(0).tolist() == [3, 0, 4]
    assert not len(report.conflicts)
    assert 'runtime has another form in b, kept beside it as runtime_b' in report.frame.reason.tolist()


def test_titles_that_were_read_as_numbers():
    a, b = table('a', ['1917', 'Salt'], [2019, 2000]), table('b', [1917, 300], [2019, 2007])
    items, report = merge_sources(a, b, on=['title', 'year'])
    assert matches(report) == {('a0', 'b0'): 'exact'} and items.title.tolist() == ['1917', 'Salt', '300']
    assert matches(merge_sources(b, b, on=['title', 'year'])[1]) == {('b0', 'b0'): 'exact', ('b1', 'b1'): 'exact'}


def test_names_that_stand_for_other_things_in_the_other_table():
    a = table('a', ['Salt'], original=['Sal'])
    b = make_items(item_id=['b0'], title=['Sal'], original=['Salt'])
    items, _ = merge_sources(a, b, on={'title': 'original', 'original': 'title'})
    assert items.loc[0, ['title', 'original', 'matched_by']].tolist() == ['Salt', 'Sal', 'exact']
    items, _ = merge_sources(a[['item_id', 'image', 'text', 'genres', 'split', 'title']], b, on={'title': 'original'})
    assert items.loc[0, ['title', 'title_b', 'matched_by']].tolist() == ['Salt', 'Sal', 'exact']


def test_match_by_an_id_or_a_text():
    a, b = table('a', ['Salt'], imdb=['tt0085549']), make_items(item_id=['tt0085549', 'tt0085548'], text=['Salt', 'x'])
    items, _ = merge_sources(a, b, on={'imdb': 'item_id'})
    assert items.other_id.tolist() == ['tt0085549', 'tt0085548'] and items.imdb[0] == 'tt0085549'
    items, _ = merge_sources(a, b, on={'title': 'text'})
    assert items.matched_by[0] == 'exact' and items.text[0] == 'Salt'


def test_ids_in_both_tables():
    a, b = table('', ['Salt', 'Rain']), table('', ['Rain', 'Snow', 'Fog'])
    items, report = merge_sources(a, b, on='title')
    assert items.item_id.tolist() == ['0', '1', '1#2', '2']
    assert items.other_id.fillna('').tolist() == ['', '0', '1', '2']
    assert report.frame[report.frame.reason == 'id of b stands in a too, numbered'].item_id.tolist() == ['1#2']


def test_three_tables_one_after_another():
    a, b, c = table('a', ['Salt', 'Rain']), table('b', ['salt', 'Snow']), table('c', ['Snow', 'Salt'])
    ab, _ = merge_sources(a, b, on='title')
    abc, _ = merge_sources(ab, c, on='title')
    ids = abc[['item_id', 'other_id', 'other_id#2']].fillna('').values.tolist()
    assert ids == [['a0', 'b0', 'c1'], ['a1', '', ''], ['b1', 'b1', 'c0']]
    assert abc['matched_by#2'].fillna('').tolist() == ['exact', '', 'exact']


@pytest.mark.parametrize('how, ids, dropped',
                         [('outer', ['a0', 'a1', 'b1'], 0), ('left', ['a0', 'a1'], 1), ('inner', ['a0'], 2)])
def test_how(how, ids, dropped):
    items, report = merge_sources(table('a', ['Salt', 'Rain']), table('b', ['Salt', 'Snow']), on='title', how=how)
    assert items.item_id.tolist() == ids and report.n_dropped == dropped and report.n_out == len(items)
    assert set(report.frame.item_id) == {'a0', 'a1', 'b1'}


def test_nothing_in_common():
    items, report = merge_sources(table('a', ['Salt'], [2000]), table('b', ['Rain'], [1990]), on=['title', 'year'],
                                  how='left')
    assert items.item_id.tolist() == ['a0'] and not len(report.pairs) and not len(review_matches(report))
    assert '0 rows of a and b matched.' in str(report)


def test_decisions(tmp_path):
    a = table('a', ['Salt', 'Rain', 'Embers'], [2000, 2000, 2003])
    b = table('b', ['Salt', 'salt', 'Wet', 'Ember'], [2001, 2001, 2000, 2014])
    _, report = merge_sources(a, b, on=['title', 'year'])
    review = review_matches(report)
    assert review.verdict.tolist() == ['ambiguous', 'ambiguous']
    review['decision'] = ['', ' Refuse ']
    review.to_csv(tmp_path/'review.csv', index=False)
    decided = pd.read_csv(tmp_path/'review.csv', dtype=str)
    by_hand = pd.DataFrame({'item_id': ['a1', 'a2'], 'other_id': ['b2', 'b3'], 'decision': ['accept', 'accept']})
    items, report = merge_sources(a, b, on=['title', 'year'], decisions=pd.concat([decided, by_hand]))
    assert verdicts(report) == {('a1', 'b2'): 'accepted', ('a2', 'b3'): 'accepted', ('a0', 'b1'): 'refused',
                                ('a0', 'b0'): 'normalised'}
    assert items.matched_by.fillna('').tolist() == ['normalised', 'accepted', 'accepted', '']
    assert 'match refused by decision' in report.frame.reason.tolist()
    assert review_matches(report).verdict.tolist() == ['normalised']


@pytest.mark.parametrize('rows, message', [
    ([('a0', 'b9', 'accept')], "b has no other_id 'b9'.*dtype=str"),
    ([('a0', 'b0', 'maybe')], "'maybe'. Write 'accept'"),
    ([('a0', 'b0', 'accept'), ('a0', 'b1', 'accept')], 'one decision a row'),
    ([('a0', 'b0', 'accept'), ('a1', 'b0', 'accept')], 'one decision a row'),
    ([('a0', 'b0', 'accept'), ('a0', 'b0', 'refuse')], 'one decision a row')])
def test_decisions_that_cannot_be(rows, message):
    decisions = pd.DataFrame(rows, columns=['item_id', 'other_id', 'decision'])
    with pytest.raises(ItemsError, match=message):
        merge_sources(table('a', ['Salt', 'Rain']), table('b', ['Fog', 'Snow']), on='title', decisions=decisions)
    with pytest.raises(ItemsError, match="no column 'other_id'.*review_matches"):
        merge_sources(table('a', ['Salt']), table('b', ['Fog']), on='title',
                      decisions=decisions[['item_id', 'decision']])


a = table('a', ['Salt', 'Rain'], [2000, 2001], kind=['film', 'show'])
b = table('b', ['Salt', 'Fog'], [2000, 2003], kind=['film', 'film'])

@pytest.mark.parametrize('change, message', [
    (dict(on='titel'), "no column 'titel' in a. Did you mean 'title'"),
    (dict(on={'title': 'nam'}), "no column 'nam' in b"), (dict(on=[]), 'names no column'),
    (dict(on='genres'), 'holds lists'), (dict(on='text'), 'empty in all 2 rows of a'),
    (dict(on='title', how='full'), "how is 'full'.*'outer'"),
    (dict(on='title', genres='both'), "genres is 'both'"), (dict(on='title', cutoff=0), 'cutoff is 0'),
    (dict(on='title', cutoff=101), 'cutoff is 101'),
    (dict(on='title', year_tolerance=-1), 'year_tolerance is -1'),
    (dict(on='title', kind='knd'), "Did you mean 'kind'"),
    (dict(on='title', kind=['kind', 'year']), 'kind names 2 columns')])
def test_mistakes_get_one_clear_line(change, message):
    with pytest.raises(ItemsError, match=message) as e: merge_sources(a, b, **change)
    assert '\n' not in str(e.value)


@pytest.mark.parametrize('x, y, message', [
    (a, pd.concat([b, b]), 'table b: item_id is repeated'), (a[:0], b, 'table a: the items table has no rows'),
    (list('ab'), b, 'table a: .* not list'),
    (a, b.assign(year=['12/10/99', '1/1/03']), "numbers or years in one table, but '12/10/99', '1/1/03' in b"),
    (a, b.assign(year=None), "column 'year' is empty in all 2 rows of b"),
    (a, b.assign(kind='movie'), "a has 'film', 'show', b has 'movie'. Use the same words")])
def test_tables_that_cannot_be_merged(x, y, message):
    with pytest.raises(ItemsError, match=message): merge_sources(x, y, on=['title', 'year'], kind='kind')


def test_a_title_that_all_rows_have():
    a, b = (table(side, ['Untitled']*1500) for side in 'ab')
    with pytest.raises(ItemsError, match="most often 'untitled'"): merge_sources(a, b, on='title')


def test_odd_titles():
    odd = ['🎈 Balloon', 'שלום עולם', 'x'*1_000_000, 'NUL \0 inside', 'a\nb', '(500) $100%']
    items, report = merge_sources(table('a', odd), table('b', odd[::-1]), on='title')
    assert len(items) == len(odd) and set(matches(report).values()) == {'exact'}


def test_years_that_cannot_be_read_are_reported():
    a = table('a', [f'Made Film Number {w}' for w in 'abcdefghijkl'], [*range(1990, 2001), 'soon'])
    items, report = merge_sources(a, a, on=['title', 'year'])
    assert items.matched_by.tolist() == ['exact']*11 + ['normalised']
    assert report.frame[report.frame.reason.str.contains('no number or year')].item_id.unique().tolist() == ['a11']


def test_mends_of_both_tables_are_kept():
    items, _ = merge_sources(table('a', ['Salt', 'Rain'], mended=['x', None]),
                             table('b', ['Salt', 'Rain'], mended=['y', 'z']), on='title')
    assert items.mended.tolist() == ['x; y', 'z']


def test_input_is_not_changed_and_the_index_does_not_matter():
    a, b, _ = synthetic_sources(60, seed=2)
    a = a.set_index(pd.Index([5]*len(a)))
    before = a.copy(deep=True), b.copy(deep=True)
    items, _ = merge_sources(a, b, on=['title', 'year'])
    for x, y in zip((a, b), before): pd.testing.assert_frame_equal(x, y)
    assert items.index.tolist() == list(range(len(items)))


def test_result_is_saved_and_cleaned_like_any_items(tmp_path):
    a, b, _ = synthetic_sources(60, seed=2)
    items, report = merge_sources(a, b.assign(text='A text of its own, no. ' + b.item_id), on=['title', 'year'],
                                  kind='kind')
    save_items(items, tmp_path/'items.parquet', report)
    again, loaded = load_items(tmp_path/'items.parquet'), load_report(tmp_path/'items.parquet')
    assert again.item_id.tolist() == items.item_id.tolist() and again.genres.tolist() == items.genres.tolist()
    assert loaded.n_out == report.n_out and len(loaded.frame) == len(report.frame)
    cleaned, _ = clean_items(items)
    assert 0 < len(cleaned) <= len(items)


@pytest.mark.skipif('GENRE_FASTAI_REAL_DATA' not in os.environ,
                    reason='set GENRE_FASTAI_REAL_DATA to a folder with posters/ and synopses/')
def test_real_tables_of_known_truth():
    data = Path(os.environ['GENRE_FASTAI_REAL_DATA'])
    names = ('adult backdrop_path belongs_to_collection budget genres homepage id imdb_id original_language '
             'original_title overview popularity poster_path production_companies production_countries release_date '
             'revenue runtime spoken_languages status tagline title video '
             'vote_average vote_count').split()
    a = read_table(data/'posters'/'movies.csv', id_col='imdb_id', text_cols='overview', genre_cols=[])
    b = read_table(data/'synopses'/'tmdb_movies_3700_headerless.csv', id_col='id', text_cols='overview',
                   genre_col='genres', names=names)
    items, report = merge_sources(a, b, on={'title': 'title', 'released': 'release_date'})
    truth = a[['item_id']].merge(b.rename(columns={'item_id': 'other_id'})[['imdb_id', 'other_id']], left_on='item_id',
                                 right_on='imdb_id')
    precision, recall = score(report, truth)
    assert precision >= .99 and recall >= .97 and len(items) == report.n_in


def test_what_is_joined_with_synthetic_rows_is_synthetic():
    a, b, _ = synthetic_sources(30)
    own = table('own', ['The Quiet Harbour'])
    assert is_synthetic(a) and is_synthetic(b) and not is_synthetic(merge_sources(own, own, on='title')[0])
    for left, right in [(a, b), (a, own), (own, b)]: assert is_synthetic(merge_sources(left, right, on='title')[0])
