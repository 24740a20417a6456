"Scores against scikit-learn and closed forms; intervals against simulation; odd inputs"
import time

import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sk

from genre_fastai.items import genre_matrix, make_items
from genre_fastai.evaluate.metrics import (METRICS, Interval, Scored, _average_precision, wilson_interval,
                                           bootstrap_interval,
                                           calibration_error, chance_probabilities, check_scores, confusion,
                                           format_scores, genre_report, genre_scores, most_confused, paired_bootstrap,
                                           pick_genres, prior_probabilities, score_table, tune_thresholds)
from genre_fastai.evaluate.plots import plot_calibration, plot_confusion


def single(n, n_genres, seed=0):
    "Truth drawn from the probabilities themselves: calibrated, and the best possible model"
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(n_genres, .4), n)
    genre = (p.cumsum(1) < rng.random((n, 1))).sum(1).clip(max=n_genres - 1)
    return np.eye(n_genres, dtype=np.uint8)[genre], p


def multi(n, n_genres, seed=0, digits=None):
    rng = np.random.default_rng(seed)
    p = rng.beta(.5, 1.5, (n, n_genres))
    y = (rng.random(p.shape) < p).astype(np.uint8)
    return y, p if digits is None else p.round(digits)


# Scores

@pytest.mark.parametrize('n_genres', [2, 5, 30])
def test_single_label_scores_are_those_of_scikit_learn(n_genres):
    y, p = single(300, n_genres)
    genre, top = y.argmax(1), p.argmax(1)
    found = genre_scores(y, p, False)
    present = np.unique(genre)
    expected = {'accuracy': sk.accuracy_score(genre, top), 'log_loss': sk.log_loss(genre, p, labels=range(n_genres)),
                'brier': ((y - p)**2).sum(1).mean(), 'micro_f1': sk.f1_score(genre, top, average='micro'),
                'macro_f1': sk.f1_score(genre, top, average='macro', labels=present, zero_division=0),
                'weighted_f1': sk.f1_score(genre, top, average='weighted', zero_division=0),
                'map': sk.average_precision_score(y[:, present], p[:, present], average='macro')}
    if n_genres > 3: expected['top3'] = sk.top_k_accuracy_score(genre, p, k=3, labels=range(n_genres))
    for name, value in expected.items(): assert found[name] == pytest.approx(value, abs=1e-9), name
    assert found['micro_f1'] == pytest.approx(found['accuracy'])


@pytest.mark.parametrize('digits', [None, 1])
def test_multi_label_scores_are_those_of_scikit_learn(digits):
    y, p = multi(400, 6, digits=digits)
    picks = pick_genres(p, True, .4)
    found = genre_scores(y, p, True, .4)
    assert found['accuracy'] == pytest.approx(sk.accuracy_score(y, picks))
    for average in ('macro', 'micro', 'weighted'):
        assert found[f'{average}_f1'] == pytest.approx(sk.f1_score(y, picks, average=average, zero_division=0))
    assert found['map'] == pytest.approx(sk.average_precision_score(y, p, average='macro'))
    clipped = np.clip(p, 1e-7, 1 - 1e-7)
    losses = [sk.log_loss(y[:, j], clipped[:, j], labels=[0, 1]) for j in range(6)]
    assert found['log_loss'] == pytest.approx(np.mean(losses))
    assert found['brier'] == pytest.approx(np.mean([sk.brier_score_loss(y[:, j], p[:, j]) for j in range(6)]))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_weighted_average_precision_is_that_of_scikit_learn(data):
    n = data.draw(st.integers(1, 25))
    y = data.draw(arrays(np.uint8, n, elements=st.integers(0, 1)))
    y[data.draw(st.integers(0, n - 1))] = 1
    p = data.draw(arrays(np.float64, n, elements=st.integers(0, 5)))/5              # with many ties
    w = data.draw(arrays(np.int64, (n, 3), elements=st.integers(0, 3))).astype(float)
    for column, value in zip(w.T, _average_precision(y, p, w)):
        if (column*y).sum() == 0: assert np.isnan(value)
        else: assert value == pytest.approx(sk.average_precision_score(y, p, sample_weight=column))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(list(METRICS)), st.booleans())
def test_a_weight_is_a_repetition(seed, name, multilabel):
    rng = np.random.default_rng(seed)
    y, p = (multi if multilabel else single)(12, 4, seed)
    if not y.any(): y[0, 0] = 1
    w = rng.integers(0, 3, 12)
    repeated = np.repeat(np.arange(12), w)
    if not len(repeated) or not y[repeated].any(): return
    s = Scored(y, p, pick_genres(p, multilabel), multilabel)
    value = METRICS[name].function(s, w[:, None].astype(float))[0]
    assert value == pytest.approx(genre_scores(y[repeated], p[repeated], multilabel)[name])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_row_and_genre_order_do_not_matter(seed, multilabel):
    y, p = (multi if multilabel else single)(30, 5, seed)
    if not y.any(): y[0, 0] = 1
    rng = np.random.default_rng(seed)
    rows, genres = rng.permutation(30), rng.permutation(5)
    before, after = genre_scores(y, p, multilabel), genre_scores(y[rows][:, genres], p[rows][:, genres], multilabel)
    assert before == pytest.approx(after)
    assert all(0 <= v <= 1 + 1e-12 for k, v in before.items() if k not in ('log_loss', 'brier'))


def test_perfect_is_one_and_all_wrong_is_nought():
    for make, multilabel in ((single, False), (multi, True)):
        y, _ = make(50, 5)
        y[y.sum(1) == 0, 0] = 1
        perfect = genre_scores(y, y.astype(float), multilabel)
        assert all(perfect[k] == 1 for k in ('accuracy', 'top3', 'macro_f1', 'micro_f1', 'weighted_f1', 'map')), perfect
        assert perfect['log_loss'] < 1e-6 and perfect['brier'] == 0
    y, _ = single(50, 5)
    wrong = genre_scores(y, np.roll(y, 1, axis=1).astype(float), False)
    assert wrong['accuracy'] == wrong['macro_f1'] == 0
    assert wrong['log_loss'] == pytest.approx(-np.log(1e-7))


def test_chance_and_prior_score_what_theory_says():
    y, _ = single(40_000, 7)
    chance = genre_scores(y, chance_probabilities(len(y), 7, False), False)
    assert chance['accuracy'] == pytest.approx(1/7, abs=.006)
    assert chance['top3'] == pytest.approx(3/7, abs=.01)
    assert chance['log_loss'] == pytest.approx(np.log(7), abs=1e-3)
    assert chance['brier'] == pytest.approx(6/7, abs=1e-3)
    prior = genre_scores(y, prior_probabilities(y, len(y)), False)
    assert prior['accuracy'] == pytest.approx(y.mean(0).max())
    assert prior['map'] == pytest.approx(1/7)                                      # constant scores: each genre's share
    y, _ = multi(40_000, 5)
    assert genre_scores(y, prior_probabilities(y, len(y)), True)['map'] == pytest.approx(y.mean(0).mean())
    chance = genre_scores(y, chance_probabilities(len(y), 5, True), True)
    assert chance['map'] == pytest.approx(y.mean(0).mean(), abs=.01)
    assert pick_genres(chance_probabilities(4000, 5, True), True).mean() == pytest.approx(.5, abs=.02)
    assert np.array_equal(chance_probabilities(9, 3, False, seed=4), chance_probabilities(9, 3, False, seed=4))


def test_genres_that_no_item_carries_are_left_out_of_macro_averages():
    y, p = np.eye(4, dtype=np.uint8)[[0, 0, 1]], np.eye(4)[[0, 0, 2]]
    scores = genre_scores(y, p, False)
    assert scores['macro_f1'] == pytest.approx((1 + 0)/2)
    report = genre_report(y, p, list('abcd'), False)
    assert np.isnan(report.f1['c']) and np.isnan(report.precision['b']) and np.isnan(report.recall['d'])
    assert report.f1['macro average'] == pytest.approx(.5)


def test_one_genre_one_item_and_float32():
    assert genre_scores([[1]], [[1.]], False)['accuracy'] == 1
    y, p = single(200, 9)
    assert genre_scores(y, p.astype(np.float32), False) == pytest.approx(genre_scores(y, p, False), abs=1e-5)
    assert genre_scores(y.tolist(), p.tolist(), False) == genre_scores(y, p, False)
    assert genre_scores(pd.DataFrame(y), pd.DataFrame(p), False) == genre_scores(y, p, False)
    assert genre_scores(y.astype(bool), p, False) == genre_scores(y, p, False)


# Picks and thresholds

@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 6)), elements=st.floats(0, 1)), st.floats(0, 1))
def test_every_item_gets_a_genre(p, threshold):
    assert (pick_genres(p, False).sum(1) == 1).all()
    picks = pick_genres(p, True, threshold)
    assert (picks.sum(1) >= 1).all()
    over = p >= threshold
    assert (picks[over.any(1)] == over[over.any(1)]).all()
    assert (picks[~over.any(1)].sum(1) == 1).all()


def test_no_rows_no_picks():
    assert pick_genres(np.zeros((0, 3)), True).shape == (0, 3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_own_cut_reaches_the_best_f1_there_is(seed):
    y, p = multi(25, 3, seed, digits=1)
    if not y.any(): y[0, 0] = 1
    thresholds = tune_thresholds(y, p, shrink=0)
    for j in np.flatnonzero(y.any(0)):
        cuts = [t for t in np.unique(p[:, j]) if t > 0]  # a probability of nought is never picked
        best = max(sk.f1_score(y[:, j], p[:, j] >= t) for t in cuts)
        assert sk.f1_score(y[:, j], p[:, j] >= thresholds[j]) == pytest.approx(best)


def test_thresholds_raise_f1_on_new_items_also_when_probabilities_are_shifted():
    shift = np.tile([2, -2, 0], 5)
    for seed in range(3):
        (y_valid, p_valid), (y_test, p_test) = multi(200, 15, seed), multi(5000, 15, seed + 100)
        shifted = [1/(1 + (1 - p)/np.maximum(p, 1e-9)*np.exp(-shift)) for p in (p_valid, p_test)]
        tuned, own = (tune_thresholds(y_valid, shifted[0], shrink=k) for k in (20, 0))
        score = lambda t: genre_scores(y_test, shifted[1], True, t)['macro_f1']
        assert score(tuned) > score(None) + .05
        assert score(tuned) > score(own) - .002


def test_thresholds_of_genres_without_positives_and_of_constant_scores():
    y, p = multi(100, 4)
    y[:, 2] = 0
    thresholds = tune_thresholds(y, p)
    assert np.isfinite(thresholds).all() and ((thresholds > 0) & (thresholds < 1)).all()
    assert (p[:, 2] < thresholds[2]).all()
    blind = tune_thresholds(y, np.full_like(p, .25))                               # nothing to go by: call all, or none
    assert ((blind < .25) == y.any(0)).all()
    assert np.isfinite(tune_thresholds(y, y.astype(float))).all()
    assert np.isfinite(tune_thresholds(y, np.zeros_like(p))).all()
    assert np.array_equal(thresholds, tune_thresholds(y, p))
    with pytest.raises(ValueError, match='shrink'): tune_thresholds(y, p, shrink=-1)


# Intervals

def test_bootstrap_interval_of_accuracy_covers_95_of_100_times():
    rng, covered = np.random.default_rng(0), 0
    for i in range(300):
        right = rng.random(200) < .7
        y = np.eye(2, dtype=np.uint8)[right.astype(int)]
        interval = bootstrap_interval('accuracy', y, np.tile([0., 1.], (200, 1)), False, n_boot=400, seed=i)
        covered += interval.low <= .7 <= interval.high
    assert .91 <= covered/300 <= .98, covered/300


def test_intervals_of_macro_f1_and_map_cover_nearly_as_often():
    truth = genre_scores(*multi(100_000, 5, 999), True)
    covered = dict.fromkeys(('macro_f1', 'map'), 0)
    for i in range(80):
        y, p = multi(300, 5, i)
        for name in covered:
            interval = bootstrap_interval(name, y, p, True, n_boot=200, seed=i)
            covered[name] += interval.low <= truth[name] <= interval.high
    assert all(n >= 70 for n in covered.values()), covered                           # 80*.95 = 76, less chance


def test_interval_of_map_covers_with_rare_genres_where_percentiles_do_not():
    def draw(n, seed):
        rng = np.random.default_rng(seed)
        p = 1/(1 + np.exp(-np.log(np.geomspace(.4, .01, 12)) - rng.normal(size=(n, 12))*1.5))
        return (rng.random(p.shape) < p).astype(np.uint8), p
    truth = genre_scores(*draw(100_000, 999), True)['map']
    intervals = [bootstrap_interval('map', *draw(600, seed), True, n_boot=128) for seed in range(60)]
    covered = sum(i.low <= truth <= i.high for i in intervals)
    assert covered >= 49, covered                              # 57 expected of an ideal interval; percentiles: about 30


def test_wilson_interval_of_f1_covers():
    rng = np.random.default_rng(0)
    p, covered = np.array([.1, .06, .05, .79]), 0                                    # hit, false alarm, missed, neither
    truth = 2*.1/(2*.1 + .06 + .05)
    for _ in range(2000):
        hits, false, missed, _ = rng.multinomial(150, p)
        low, high = (2*j/(1 + j) for j in wilson_interval(np.array([hits]), np.array([hits + false + missed])))
        covered += low[0] <= truth <= high[0]
    assert .93 <= covered/2000 <= .97, covered/2000


def test_wilson_is_that_of_the_book_and_open_where_nothing_is_known():
    low, high = wilson_interval(np.array([0, 10, 8, 0]), np.array([10, 10, 10, 0]))
    assert high[0] == pytest.approx(.2775, abs=1e-3) and low[0] == 0                 # z**2/(n + z**2)
    assert low[1] == pytest.approx(.7225, abs=1e-3) and high[1] == pytest.approx(1)
    assert (low[2], high[2]) == pytest.approx((.4902, .9433), abs=1e-3)
    assert (low[3], high[3]) == (0, 1)


def test_bootstrap_is_deterministic_and_depends_on_the_seed():
    y, p = multi(150, 4)
    first = bootstrap_interval('map', y, p, True, n_boot=150, seed=3)
    assert first == bootstrap_interval('map', y, p, True, n_boot=150, seed=3)
    assert first != bootstrap_interval('map', y, p, True, n_boot=150, seed=4)
    assert first.low < first.value < first.high
    wide = bootstrap_interval('map', y, p, True, n_boot=150, seed=3, level=.99)
    assert wide.low <= first.low and first.high <= wide.high


@pytest.mark.parametrize('name', list(METRICS))
@pytest.mark.parametrize('multilabel', [False, True])
def test_every_metric_has_an_interval_around_its_score(name, multilabel):
    y, p = (multi if multilabel else single)(200, 4)
    interval = bootstrap_interval(name, y, p, multilabel, n_boot=100)
    assert interval.value == genre_scores(y, p, multilabel)[name]
    assert interval.low <= interval.value <= interval.high


def test_groups_widen_and_lone_items_stand_alone():
    y, p = single(150, 3)
    y3, p3, group = np.tile(y, (3, 1)), np.tile(p, (3, 1)), np.tile(np.arange(150), 3)
    width = lambda **kw: (lambda i: i.high - i.low)(bootstrap_interval('accuracy', y3, p3, False, **kw))
    assert width(groups=group) == pytest.approx(width()*np.sqrt(3), rel=.15)
    alone = bootstrap_interval('accuracy', y, p, False, groups=[None]*150)
    assert alone == bootstrap_interval('accuracy', y, p, False)
    assert alone == bootstrap_interval('accuracy', y, p, False, groups=pd.Series([f'g{i}' for i in range(150)]))
    mixed = bootstrap_interval('accuracy', y, p, False, groups=['a']*75 + [np.nan]*75)
    assert mixed.high - mixed.low > alone.high - alone.low
    with pytest.raises(ValueError, match='groups has 3 values for 150 items'):
        bootstrap_interval('accuracy', y, p, False, groups=[1, 2, 3])


def test_resamples_without_a_rare_genre_still_count():
    y, p = multi(30, 3)
    y[:, 2] = 0
    y[0, 2] = 1                                                              # in a third of resamples nobody carries it
    interval = bootstrap_interval('map', y, p, True)
    assert np.isfinite(interval).all()
    y[:], y[0, 0] = 0, 1
    assert np.isfinite(bootstrap_interval('map', y, p, True)).all()


def test_paired_difference():
    y, p = single(400, 5)
    worse = .5*p + .1
    d = paired_bootstrap('log_loss', y, worse, p, False)
    losses = [genre_scores(y, q, False)['log_loss'] for q in (worse, p)]
    assert d.low > 0 and d.value == pytest.approx(losses[0] - losses[1])
    assert paired_bootstrap('accuracy', y, p, p, False) == (0, 0, 0)
    y, p = multi(200, 4)
    a, b = .3, .6
    d = paired_bootstrap('macro_f1', y, p, p, True, thresholds=(a, b))
    assert d.value == pytest.approx(genre_scores(y, p, True, a)['macro_f1'] - genre_scores(y, p, True, b)['macro_f1'])


def test_interval_as_text():
    assert str(Interval(.4123, .38, .44)) == '.412 [.380, .440]'
    assert str(Interval(1, 1, 1)) == '1.000 [1.000, 1.000]'
    assert str(Interval(-.05, -.1, .001)) == '-.050 [-.100, .001]'
    assert str(Interval(10.5, 9., 12.)) == '10.500 [9.000, 12.000]'
    assert str(Interval(.5, np.nan, np.nan)) == '.500'


# Tables

def test_score_table_is_the_same_judge_for_all():
    y, p = multi(300, 5)
    thresholds = tune_thresholds(*multi(300, 5, 1))
    models = {'prior': prior_probabilities(y, 300), 'tuned': p, 'plain': p}
    table = score_table(y, models, True, {'tuned': thresholds}, n_boot=100)
    assert table.loc['tuned', 'macro_f1'] == genre_scores(y, p, True, thresholds)['macro_f1']
    assert table.loc['plain', 'macro_f1'] == genre_scores(y, p, True)['macro_f1']
    assert table.loc['tuned', 'map'] == table.loc['plain', 'map']
    assert (table.n == 300).all() and list(table.index) == ['prior', 'tuned', 'plain'] and table.n.dtype.kind == 'i'
    assert all(table[c].dtype.kind == 'f' for c in table.columns.drop('n'))
    text = format_scores(table.assign(seed=0))
    assert list(text.columns) == ['mAP', 'macro-F1', 'n', 'seed']
    assert text.loc['prior', 'mAP'].startswith('.')
    one = score_table(y, {'x': p}, True, metrics=['top3', 'log_loss'], n_boot=50)
    assert list(format_scores(one).columns) == ['top-3 accuracy', 'log loss', 'n']
    with pytest.raises(ValueError, match='no models'): score_table(y, {}, True)
    with pytest.raises(ValueError, match="no metric 'f1'"): score_table(y, {'a': p}, True, metrics=['f1'])


@pytest.mark.parametrize('multilabel', [False, True])
def test_genre_report_is_that_of_scikit_learn(multilabel):
    y, p = (multi if multilabel else single)(400, 6)
    vocab = list('abcdef')
    report = genre_report(y, p, vocab, multilabel, n_boot=50)
    picks = pick_genres(p, multilabel)
    expected = sk.classification_report(y, picks, target_names=vocab, output_dict=True, zero_division=0)
    columns = {'precision': 'precision', 'recall': 'recall', 'f1': 'f1-score', 'support': 'support'}
    for genre in vocab:
        for ours, theirs in columns.items():
            assert report.loc[genre, ours] == pytest.approx(expected[genre][theirs])
    for kind in ('macro', 'micro', 'weighted'):
        for ours, theirs in [('precision', 'precision'), ('recall', 'recall'), ('f1', 'f1-score')]:
            assert report.loc[f'{kind} average', ours] == pytest.approx(expected[f'{kind} avg'][theirs])
    rows = report.loc[vocab]
    for name in ('precision', 'recall', 'f1'):
        assert ((rows[f'{name}_low'] <= rows[name] + 1e-9) & (rows[name] <= rows[f'{name}_high'] + 1e-9)).all()
    assert 'macro average' in format_scores(report).index


def test_a_genre_never_found_is_not_certain_to_be_never_found():
    y = np.eye(3, dtype=np.uint8)[[0]*20 + [1]*20 + [2]*5]
    p = np.eye(3)[[0]*20 + [1]*20 + [0]*5]
    report = genre_report(y, p, list('abc'), False, n_boot=50)
    assert report.recall['c'] == 0 and .3 < report.recall_high['c'] < .6
    assert report.f1['c'] == 0 and report.f1_high['c'] > .3
    assert report.predicted['c'] == 0 and report.support['c'] == 5


def test_confusion_is_that_of_scikit_learn():
    y, p = single(300, 5)
    table = confusion(y, p, list('abcde'), False)
    assert np.array_equal(table, sk.confusion_matrix(y.argmax(1), p.argmax(1), labels=range(5)))
    y, p = multi(300, 5)
    table = confusion(y, p, list('abcde'), True, .3)
    counts = table[['tn', 'fp', 'fn', 'tp']].to_numpy().reshape(5, 2, 2)
    assert np.array_equal(counts, sk.multilabel_confusion_matrix(y, pick_genres(p, True, .3)))


def test_most_confused_pairs_are_the_largest_cells_off_the_diagonal():
    y, p = single(300, 5)
    table = confusion(y, p, list('abcde'), False)
    pairs = most_confused(y, p, list('abcde'), False, n=100)
    assert pairs['items'].sum() == 300 - np.trace(table)
    assert all(table.loc[r.true, r.picked] == r.items and r.true != r.picked for r in pairs.itertuples())
    assert pairs.share[0] == pytest.approx(pairs['items'][0]/table.loc[pairs.true[0]].sum())
    pairs = most_confused(np.eye(2, dtype=int), np.eye(2), ['a', 'b'], False)
    assert list(pairs.columns) == ['true', 'picked', 'items', 'share']
    y, p = np.array([[1, 0, 0], [1, 1, 0]]), np.array([[.1, .9, .8], [.9, .1, .8]])
    pairs = most_confused(y, p, list('abc'), True)
    assert set(zip(pairs.true, pairs.picked)) == {('a', 'b'), ('a', 'c'), ('b', 'c')}


# Calibration and pictures

def test_calibration_error():
    y, p = single(20_000, 6)
    assert calibration_error(y, p, False) < .02
    sure = np.eye(6)[p.argmax(1)]
    accuracy = genre_scores(y, sure, False)['accuracy']
    assert calibration_error(y, sure, False) == pytest.approx(1 - accuracy)          # said 1, came true that often
    y, p = multi(20_000, 4)
    assert calibration_error(y, p, True) < .02
    assert calibration_error(y, p**.3, True) > .1
    assert calibration_error(y, np.full_like(p, .9), True) == pytest.approx(abs(.9 - y.mean(0)).mean())
    rows = np.random.default_rng(0).permutation(len(y))
    assert calibration_error(y[rows], p[rows], True) == pytest.approx(calibration_error(y, p, True))
    assert calibration_error(np.ones((1, 2)), np.full((1, 2), .5), True, n_bins=50) == .5


@pytest.mark.parametrize('n_genres,multilabel', [(2, False), (30, False), (1, True), (30, True)])
def test_plots_have_title_axis_names_and_all_labels(n_genres, multilabel):
    y, p = (multi if multilabel else single)(200, n_genres)
    vocab = [f'a rather long genre {i}' for i in range(n_genres)]
    for ax in (plot_confusion(y, p, vocab, multilabel), plot_calibration(y, p, multilabel)):
        assert ax.get_title() and ax.get_xlabel() and ax.get_ylabel()
    ax = plot_confusion(y, p, vocab, multilabel)
    assert {t.get_text() for t in ax.get_yticklabels()} == set(vocab)
    given = plt.subplots()[1]
    assert plot_calibration(y, p, multilabel, ax=given) is given
    given = plt.subplots()[1]
    assert plot_confusion(y, p, vocab, multilabel, ax=given) is given
    plt.close('all')


# What is refused

@pytest.mark.parametrize('y,p,multilabel,message', [
    (np.zeros((0, 3)), np.zeros((0, 3)), False, r'y has shape \(0, 3\)'),
    (np.zeros((3, 0)), np.zeros((3, 0)), True, r'y has shape \(3, 0\)'),
    ([1, 0], [1, 0], False, r'y has shape \(2,\)'),
    (np.eye(2), np.eye(3), False, 'they must agree'),
    (np.eye(2), [[np.nan, 1], [0, 1]], False, 'NaN or infinite in 1 of 2 rows: 0'),
    (np.eye(2), [[np.inf, 1], [0, 1]], True, 'NaN or infinite in 1 of 2 rows: 0'),
    (np.eye(2)*2, np.eye(2), True, 'y is not 0 or 1 in 2 of 2 rows'),
    (np.eye(2), [[-3., 4.], [0, 1]], False, 'outside 0 to 1 in 1 of 2 rows: 0'),
    ([[1, 1], [0, 1]], np.eye(2), False, 'not exactly one genre in 1 of 2 rows: 0'),
    ([[0, 0], [0, 1]], np.eye(2), False, 'not exactly one genre'),
    (np.eye(2), [[.9, .9], [0, 1]], False, 'does not sum to 1 in 1 of 2 rows: 0'),
    (np.zeros((2, 2)), np.eye(2), True, 'y is 0 everywhere')])
def test_arrays_that_do_not_fit_are_refused_in_one_line(y, p, multilabel, message):
    with pytest.raises(ValueError, match=message) as error: genre_scores(y, p, multilabel)
    assert '\n' not in str(error.value)
    with pytest.raises(ValueError, match=message): score_table(y, {'m': p}, multilabel)


def test_other_refusals():
    y, p = multi(20, 3)
    with pytest.raises(ValueError, match='vocab names 2 genres but y has 3'): check_scores(y, p, True, ['a', 'b'])
    for function in (genre_report, confusion, most_confused, plot_confusion):
        with pytest.raises(ValueError, match='vocab names 2'): function(y, p, ['a', 'b'], True)
    for bad in ([.5, .5], np.full(3, np.nan), np.zeros((3, 3))):
        with pytest.raises(ValueError, match='thresholds have shape'): genre_scores(y, p, True, bad)
    with pytest.raises(ValueError, match='level is 95'): bootstrap_interval('map', y, p, True, level=95)
    with pytest.raises(ValueError, match='y_train has shape'): prior_probabilities(np.zeros((0, 3)), 5)


def test_from_items():
    items = make_items(genres=[['Drama', 'War'], ['Comedy'], ['Drama']])
    y = genre_matrix(items)
    assert genre_scores(y, y*.8, True)['accuracy'] == 1


def test_scores_with_few_values_are_cut_between_the_values():
    rng = np.random.default_rng(0)
    p = rng.integers(0, 6, (200, 8))/5                                               # as of five neighbours
    y = (rng.random(p.shape) < .1 + .5*p).astype(np.uint8)
    for shrink in (0, 20, 1e9):
        distance = abs(tune_thresholds(y, p, shrink) - np.arange(6)[:, None]/5).min(0)
        assert (distance > .01).all(), (shrink, distance)


def test_five_thousand_items_and_thirty_genres_take_seconds():
    y, p = multi(5000, 30)
    start = time.perf_counter()
    score_table(y, {'m': p}, True)
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize('make, multilabel', [(single, False), (multi, True)])
def test_columns_that_bear_names_are_taken_by_name(make, multilabel):
    y, p = make(60, 4)
    vocab = ['Crime', 'Drama', 'Horror', 'War']
    turned = pd.DataFrame(p, columns=vocab)[['War', 'Crime', 'Horror', 'Drama']]
    for table in (genre_report, confusion, most_confused):
        pd.testing.assert_frame_equal(table(y, turned, vocab, multilabel), table(y, p, vocab, multilabel))
        pd.testing.assert_frame_equal(table(y, pd.DataFrame(p), vocab, multilabel), table(y, p, vocab, multilabel))
        with pytest.raises(ValueError, match="the columns of p are 'War', 'Crime', 'Terror', 'Drama', and vocab is"):
            table(y, turned.rename(columns={'Horror': 'Terror'}), vocab, multilabel)
    assert not confusion(y, turned.to_numpy(), vocab, multilabel).equals(confusion(y, p, vocab, multilabel))
