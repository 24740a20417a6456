"Edge cases of the synthetic world: exact odds, repeatability, faults, and what users get wrong"
import colorsys, io, itertools, math

import imagehash, numpy as np, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from genre_fastai.runs import rng_for
from genre_fastai.items import ItemsError, genre_matrix, is_multilabel, is_synthetic, load_items, make_items, save_items
from genre_fastai.data.clean import clean_items
from genre_fastai.data.genres import add_parents, merge_genres, roll_up_genres, to_single_label
from genre_fastai.data.split import fold_items, sample_items, split_items
from genre_fastai.datasets.covers import TRAITS
from genre_fastai.datasets.synthetic import (SyntheticItem, SyntheticWorld, _CHOICES, _FILLER, _TOPICS, best_possible,
                                             synthetic_items, synthetic_metadata,
                                             synthetic_genres, read_items, trait_odds, write_sentence)

FAULTS = dict(damaged=.15, blank=.05, duplicates=.25)

def files(folder): return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob('*.jpg'))}

@pytest.mark.parametrize('n_genres', [2, 10, 30])
def test_odds_are_probabilities_and_every_choice_is_a_level(n_genres):
    for trait in TRAITS:
        odds = trait_odds(trait, n_genres)
        assert np.allclose(odds.sum(axis=1), 1) and (odds >= 0).all().all()
        assert list(odds.index) == synthetic_genres(n_genres) == sorted(synthetic_genres(n_genres))
        assert list(odds.columns) == TRAITS[trait]

def test_genres_differ_in_what_they_like():
    assert len(set(_CHOICES.values())) == len(_CHOICES)
    for trait in TRAITS: assert (trait_odds(trait, 30, clarity=0).nunique(axis=1) == 1).all()

def test_no_two_topics_share_a_phrase():
    texts = [*_TOPICS.values(), _FILLER]
    phrases = [phrase for text in texts for part in text.split('/') for phrase in part.split('|')]
    assert len(phrases) == len(set(phrases))

@settings(max_examples=25, deadline=None)
@given(n_genres=st.integers(2, 6), multilabel=st.booleans(), noise=st.floats(0, 1), imbalance=st.floats(0, 2),
       seed=st.integers(0, 10**6))
def test_posterior_equals_enumeration(n_genres, multilabel, noise, imbalance, seed):
    world = SyntheticWorld(n_genres=n_genres, multilabel=multilabel, label_noise=noise, imbalance=imbalance, seed=seed)
    assert math.isclose(world.prior.sum(), 1)
    item = SyntheticItem(world, 0)
    weights = []
    for members, prior in zip(world.sets, world.prior):
        genres = [g for g, m in zip(world.vocab, members) if m]
        weight = prior
        for trait, level in item.shown:
            weight *= np.mean([trait_odds(trait, n_genres, world.clarity).loc[g, level] for g in genres])
        rows = [world.vocab.index(g) for g in genres]
        for _, topic in item.told: weight *= world.odds['topic'][rows].mean(0)[world.vocab.index(topic)]
        weights.append(weight)
    expected = np.array(weights)/sum(weights)
    assert np.allclose(world.posterior(item.shown + item.told), expected)
    by_label = np.zeros(n_genres)
    for members, p in zip(world.sets, expected):   # label noise, written out: every exchange is equally likely
        inside, outside = np.flatnonzero(members == 1), np.flatnonzero(members == 0)
        by_label[inside] += p*(1 - noise)
        for out, new in itertools.product(inside, outside):
            labels = [g for g in inside if g != out] + [new]
            by_label[labels] += p*noise/len(inside)/len(outside)
    assert np.allclose(expected @ world.labels_given_sets(), by_label)

@pytest.mark.parametrize('kwargs', [dict(), dict(multilabel=True), dict(imbalance=1.),
                                    dict(n_genres=30, label_noise=.3), dict(duplicates=.5, conflicts=.5)])
def test_probabilities_are_calibrated(tmp_path, kwargs):
    items = synthetic_items(tmp_path/'w', 1200, images=False, **kwargs)
    p, y = np.array(items.p_genres.tolist()), genre_matrix(items, synthetic_genres(kwargs.get('n_genres', 10)))
    assert is_multilabel(items) == kwargs.get('multilabel', False)
    off = (y.sum(0) - p.sum(0))/np.sqrt((p*(1 - p)).sum(0))
    assert np.abs(off).max() < 5 and np.sqrt((off**2).mean()) < 2.5
    for low in np.arange(0, 1, .2):
        inside = (p >= low) & (p < low + .2)
        if inside.sum() > 100: assert abs(p[inside].mean() - y[inside].mean()) < 4*math.sqrt(.25/inside.sum()) + .02

def test_same_arguments_same_bytes_and_each_item_alone(tmp_path):
    a, b = (synthetic_items(tmp_path/name, n, seed=3, **FAULTS) for name, n in [('a', 60), ('b', 40)])
    drop = ['image']
    assert a.drop(columns=drop).iloc[:40].to_dict('records') == b.drop(columns=drop).to_dict('records')
    left, right = files(tmp_path/'a'), files(tmp_path/'b')
    assert set(right) <= set(left) and all(left[k] == right[k] for k in right)
    other = synthetic_items(tmp_path/'c', 40, seed=4, **FAULTS)
    assert other.title.tolist() != b.title.tolist()

def test_pictures_and_texts_do_not_depend_on_each_other(tmp_path):
    both = synthetic_items(tmp_path/'a', 20)
    assert synthetic_items(tmp_path/'b', 20, synopsis_sentences=0).genres.tolist() == both.genres.tolist()
    assert synthetic_items(tmp_path/'c', 20, images=False).text.tolist() == both.text.tolist()
    assert synthetic_items(tmp_path/'d', 20, mark=True).shown.map(lambda s: s[:5]).tolist() == both.shown.tolist()

def test_second_call_reads_and_an_unfinished_world_is_finished(tmp_path):
    items = synthetic_items(tmp_path/'w', 15)
    path = tmp_path/'w'/'items.parquet'
    before = files(tmp_path/'w')
    for p in itertools.islice((tmp_path/'w').rglob('*.jpg'), 5): p.write_bytes(b'broken')
    assert synthetic_items(tmp_path/'w', 15).to_dict('records') == items.to_dict('records')
    path.unlink()                                    # as after a kill: the table is what is written last
    assert synthetic_items(tmp_path/'w', 15).to_dict('records') == items.to_dict('records')
    assert files(tmp_path/'w') == before
    assert not list((tmp_path/'w').rglob('*.tmp'))

def test_a_folder_that_moves_keeps_working(tmp_path):
    synthetic_items(tmp_path/'w', 5)
    (tmp_path/'w').rename(tmp_path/'elsewhere')
    assert all(Image.open(p).size for p in synthetic_items(tmp_path/'elsewhere', 5).image)

def test_faults_are_what_planted_says(tmp_path):
    items = synthetic_items(tmp_path/'w', 250, **FAULTS)
    path, row = dict(zip(items.item_id, items.image)), items.set_index('item_id')
    kinds = items.planted.dropna().str.replace(' of .*', '', regex=True)
    assert set(kinds) == {'truncated', 'empty file', 'not a picture', 'PNG named .jpg', 'blank', 'exact copy',
                          'near copy'}
    for item_id, planted in zip(items.item_id, items.planted):
        data = open(path[item_id], 'rb').read()
        if planted == 'empty file': assert data == b''
        elif planted == 'not a picture':
            with pytest.raises(OSError): Image.open(io.BytesIO(data))
        elif planted == 'truncated':
            with pytest.raises(OSError, match='truncated'): Image.open(io.BytesIO(data)).load()
        else:
            picture = Image.open(io.BytesIO(data))
            picture.load()
            assert picture.format == ('PNG' if planted == 'PNG named .jpg' else 'JPEG')
            assert (np.asarray(picture).std(axis=(0, 1)).max() < 2) == (planted == 'blank')
        if isinstance(planted, str) and ' copy of ' in planted:
            kind, source = planted.split(' copy of ')
            original = open(path[source], 'rb').read()
            assert (data == original) == (kind == 'exact')
            assert not isinstance(row.planted[source], str)
            if kind == 'near':
                hashes = [imagehash.phash(Image.open(io.BytesIO(d))) for d in (data, original)]
                assert hashes[0] - hashes[1] <= 10
            else: assert row.text[item_id] == row.text[source]

@pytest.mark.parametrize('conflicts', [0., .25, 1.])
def test_conflicts_are_their_share(tmp_path, conflicts):
    items = synthetic_items(tmp_path/'w', 1500, images=False, duplicates=.4, conflicts=conflicts, label_noise=0.)
    genres, copies = dict(zip(items.item_id, items.genres)), items[items.planted.notna()]
    other = np.mean([genres[i] != genres[p.split(' of ')[1]] for i, p in zip(copies.item_id, copies.planted)])
    assert abs(other - conflicts) <= 4*math.sqrt(conflicts*(1 - conflicts)/len(copies))

@pytest.mark.parametrize('multilabel', [False, True])
def test_a_picture_without_content_leaves_the_prior_or_the_text(tmp_path, multilabel):
    items = synthetic_items(tmp_path/'w', 80, damaged=.3, blank=.3, imbalance=.7, multilabel=multilabel)
    world = SyntheticWorld(imbalance=.7, multilabel=multilabel)
    prior = world.prior @ world.labels_given_sets()
    nothing = items.planted.isin(['blank', 'truncated', 'empty file', 'not a picture'])
    assert nothing.sum() > 20
    assert np.allclose(np.array(items.p_genres_image[nothing].tolist()), prior)
    assert items.p_genres[nothing].tolist() == items.p_genres_text[nothing].tolist()
    assert not np.allclose(np.array(items.p_genres_image[~nothing].tolist()), prior)

def test_folders_are_genres_where_an_item_has_one(tmp_path):
    items = synthetic_items(tmp_path/'one', 20, n_genres=3)
    assert all(p.split('/')[-2] == g[0] for p, g in zip(items.image.str.replace('\\', '/'), items.genres))
    several = synthetic_items(tmp_path/'several', 20, multilabel=True)
    assert {p.parent for p in (tmp_path/'several').rglob('*.jpg')} == {tmp_path/'several'} and len(several) == 20

def test_marks_are_small_inside_and_tell_the_genre(tmp_path):
    items = synthetic_items(tmp_path/'w', 40, mark=True, decoy=True, label_noise=0., synopsis_sentences=0,
                            duplicates=.3,
                       n_genres=30, kind='poster')
    clean = items[~items.planted.fillna('').str.contains('copy')]
    assert np.allclose([max(p) for p in clean.p_genres], 1)
    hues = {}
    for item in items.itertuples():
        width, height = Image.open(item.image).size
        for x0, y0, x1, y1 in (item.mark_box, item.decoy_box):
            assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height and (x1 - x0)*(y1 - y0) <= .04*width*height
        rgb = np.asarray(Image.open(item.image).convert('RGB'))
        def ground(box):
            inside = rgb[box[1]:box[3], box[0]:box[2]].reshape(-1, 3)
            return colorsys.rgb_to_hsv(*np.median(inside[inside.max(1) > 100], 0)/255)      # without the black cells
        assert ground(item.decoy_box)[1] < .15 < .6 < ground(item.mark_box)[1]              # grey, and in colour
        hues.setdefault(item.true_genres[0], []).append(ground(item.mark_box)[0])
        gaps = np.abs(np.subtract(item.mark_box, item.decoy_box)[:2])
        assert gaps.max() >= item.mark_box[2] - item.mark_box[0]                    # they do not overlap
    wanted = {genre: i/30 for i, genre in enumerate(synthetic_genres(30))}
    gaps = [abs(hue - wanted[genre]) for genre, of_genre in hues.items() for hue in of_genre]
    assert max(min(gap, 1 - gap) for gap in gaps) < .03

def test_a_decoy_tells_nothing_and_moves_nothing(tmp_path):
    alone, beside = (synthetic_items(tmp_path/str(decoy), 20, mark=True, decoy=decoy, duplicates=.2)
                     for decoy in (0, 1))
    assert alone.p_genres.tolist() == beside.p_genres.tolist() and alone.mark_box.tolist() == beside.mark_box.tolist()
    assert alone.decoy_box.isna().all() and beside.decoy_box.notna().all()

@pytest.mark.parametrize('place', ['any', 'start', 'end'])
def test_telling_sentences_stand_where_they_should(place):
    world = SyntheticWorld(synopsis_sentences=200, telling_sentences=5, telling_at=place, images=False)
    told = [phrase for text in _TOPICS.values() for phrase in text.lower().split('/')[1].split('|')]
    def tells(sentence): return any(phrase in sentence.lower() for phrase in told)
    item = SyntheticItem(world, 0)
    sentences = item.text().split('. ')
    where = [j for j, sentence in enumerate(sentences) if tells(sentence)]
    assert len(item.told) == 5 and item.told_at == where
    if place == 'start': assert where == [0, 1, 2, 3, 4]
    if place == 'end': assert where[0] >= len(sentences) - 5

def test_best_possible_for_several_genres_is_where_f1_peaks(tmp_path):
    items = synthetic_items(tmp_path/'w', 600, multilabel=True, images=False)
    scores, p, y = best_possible(items), np.array(items.p_genres.tolist()), genre_matrix(items, synthetic_genres())
    assert abs(scores['micro_f1_expected'] - scores['micro_f1_here']) < .04 and 0 < scores['mAP_here'] <= 1
    f1 = {t: 2*(p*(p >= t)).sum()/((p >= t).sum() + p.sum()) for t in np.linspace(.05, .95, 91)}
    assert max(f1.values()) <= scores['micro_f1_expected'] + 1e-9
    assert abs(scores['threshold'] - scores['micro_f1_expected']/2) < .02    # Lipton et al. 2014: half the best F1
    more = best_possible(items, by='image')
    assert more['micro_f1_expected'] < scores['micro_f1_expected'] and len(y) == more['n']

def test_best_possible_on_some_rows_and_without_noise(tmp_path):
    items = synthetic_items(tmp_path/'w', 50, label_noise=0., clarity=1., images=False, telling_sentences=6)
    assert best_possible(items[:10])['n'] == 10
    assert best_possible(items)['top3_expected'] > .95

@pytest.mark.parametrize('kwargs,message', [
    (dict(n_genres=1), 'has 2 to 30 genres'), (dict(n_genres=31), 'has 2 to 30 genres'),
    (dict(kind='album'), "use one of ['cover', 'poster']"), (dict(label_noise=1.5), 'between 0 and 1'),
    (dict(damaged=.5, blank=.3, duplicates=.3), 'at most .9'), (dict(images=False, synopsis_sentences=0), 'neither'),
    (dict(images=False, blank=.1), 'set images=True'), (dict(decoy=True), 'set mark=True'),
    (dict(telling_sentences=9), 'do not fit into 6'),
    (dict(size=(20, 20)), '48 pixels'), (dict(n=0), 'at least one item')])
def test_wrong_arguments(tmp_path, kwargs, message):
    with pytest.raises(ItemsError) as error: synthetic_items(tmp_path/'w', **{'n': 3, **kwargs})
    assert message in str(error.value) and '\n' not in str(error.value)
    assert not (tmp_path/'w').exists()

def test_wrong_folders_and_names(tmp_path):
    (tmp_path/'mine').mkdir()
    (tmp_path/'mine'/'thesis.txt').write_text('do not touch')
    with pytest.raises(ItemsError, match='thesis.txt'): synthetic_items(tmp_path/'mine', 3)
    with pytest.raises(ItemsError, match='is a file'): synthetic_items(tmp_path/'mine'/'thesis.txt', 3)
    assert [p.name for p in (tmp_path/'mine').iterdir()] == ['thesis.txt']
    synthetic_items(tmp_path/'w', 3)
    with pytest.raises(ItemsError, match="'n': 3"): synthetic_items(tmp_path/'w', 4)
    with pytest.raises(ItemsError, match="Did you mean 'palette'"): trait_odds('pallete')
    with pytest.raises(ItemsError, match="Did you mean 'Crime'"): write_sentence(rng_for(0), 'Crimes')
    with pytest.raises(TypeError): synthetic_items(tmp_path/'x', 3, colour='red')

def test_best_possible_wants_made_items_as_they_were(tmp_path):
    items = synthetic_items(tmp_path/'w', 10, images=False)
    with pytest.raises(ItemsError, match="'both'"): best_possible(items, by='pixels')
    with pytest.raises(ItemsError, match="'Memoir'"): best_possible(items.assign(genres=[['Memoir']]*10))
    with pytest.raises(ItemsError, match='p_genres_image'):
        best_possible(items.drop(columns='p_genres_image'), by='image')


@pytest.mark.parametrize('act', [
    lambda t: clean_items(t)[0], split_items, fold_items, lambda t: sample_items(t, 20),
    lambda t: merge_genres(t, {'War': None}),
    roll_up_genres, to_single_label, add_parents, synthetic_metadata,
    lambda t: synthetic_metadata(split_items(clean_items(t)[0]))],
    ids='clean split fold sample merge roll_up single parents metadata all'.split())
@pytest.mark.filterwarnings('ignore:.*left without a genre')
def test_synthetic_items_stay_synthetic_and_others_do_not_become_it(act, tmp_path):
    items = synthetic_items(tmp_path, 120, images=False, n_genres=4)
    items['genres'] = items.genres.map(lambda gs: ['War' if g == items.genres[0][0] else g for g in gs])
    own = make_items(**{name: items[name].tolist() for name in ('item_id', 'text', 'genres', 'p_genres')})
    assert is_synthetic(act(items)) and not is_synthetic(act(own))
    assert is_synthetic(load_items(save_items(act(items), tmp_path/'again.parquet')))


def test_the_world_that_is_read_is_synthetic(tmp_path, monkeypatch):
    monkeypatch.setenv('GENRE_FASTAI_CACHE', str(tmp_path))
    assert is_synthetic(read_items(n=4, images=False)) and is_synthetic(read_items(n=4, images=False))
    (tmp_path/'own.csv').write_text('text,genre\na,War\nb,Pop\n')
    assert not is_synthetic(read_items(tmp_path/'own.csv'))
