"What a model gets wrong: the rows, the pairs, and the labels that are suspected"
import math, sys
from configparser import ConfigParser
from pathlib import Path

import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest

from genre_fastai.classical.baselines import genre_targets
from genre_fastai.items import ItemsError, genre_matrix, genre_vocab, make_items
from genre_fastai.evaluate.mistakes import (confused_items, show_confused, show_top_losses, suspect_labels, top_losses)
from genre_fastai.datasets.synthetic import synthetic_items
from genre_fastai.classical.text_ridge import TextRidge, text_array

vocab = ['Comedy', 'Drama', 'Horror']
one = make_items(text=['a', None, 'c', 'd'], genres=['Comedy', 'Drama', 'Horror', 'Horror'])
p_one = np.array([[.8, .1, .1], [.5, .25, .25], [.7, .2, .1], [.1, .1, .8]])
several = make_items(genres=[['Comedy', 'Drama'], ['Drama'], ['Horror'], ['Comedy', 'Drama']])
p_several = np.array([[.9, .8, .1], [.2, .4, .7], [.6, .9, .1], [.2, .3, .1]])


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close('all')


def titles(): return [ax.get_title().replace('\n', ' ').replace('\xa0', ' ') for ax in plt.gcf().axes if ax.get_title()]

def rows_in_figure(): return [part.get_suptitle() for part in plt.gcf().subfigs]


def test_losses_are_log_losses_in_nats():
    table = top_losses(one, p_one, vocab)
    assert list(table.item_id) == ['2', '1', '0', '3']
    assert table.loss.tolist() == pytest.approx([math.log(10), math.log(4), -math.log(.8), -math.log(.8)])
    assert table.predicted.tolist() == [['Comedy'], ['Comedy'], ['Comedy'], ['Horror']]
    assert table.p_true.tolist() == [.1, .25, .8, .8]
    assert 'loss' not in one                                              # the items given are left alone
    half = top_losses(several, np.full((4, 3), .5), vocab)
    assert half.loss.tolist() == pytest.approx([3*math.log(2)]*4)         # a coin for each of three genres
    assert list(half.item_id) == ['0', '1', '2', '3']                     # of equals, the order of the table


def test_several_genres_are_those_over_the_threshold():
    table = top_losses(several, p_several, vocab).set_index('item_id')
    assert table.predicted.to_dict() == {'0': ['Comedy', 'Drama'], '1': ['Horror'], '2': ['Comedy', 'Drama'],
                                         '3': ['Drama']}
    assert table.p_true.to_dict() == {'0': .8, '1': .4, '2': .1, '3': .2}
    low = top_losses(several, p_several, vocab, thresholds=.25).set_index('item_id')
    assert low.predicted['1'] == ['Drama', 'Horror']
    as_several = top_losses(one, p_one*.9, vocab, multilabel=True)        # rows that do not sum to 1 are several genres
    assert as_several.loss.iloc[0] == pytest.approx(-math.log(.09) - math.log(1 - .63) - math.log(1 - .18))


def test_classes_of_a_model_serve_as_vocab():
    classes = np.array(vocab)
    assert type(top_losses(one, p_one, classes).predicted.iloc[0][0]) is str
    assert confused_items(one, p_one, classes).equals(confused_items(one, p_one, vocab))
    with pytest.raises(ValueError, match=r"There are 'Comedy', 'Drama', 'Horror'\.$"):
        show_confused(one, p_one, classes, 'Music')
    show_top_losses(one, pd.DataFrame(p_one, columns=vocab), classes, n=1)
    assert titles() == ['Horror, said Comedy .70']


@pytest.mark.parametrize('n, expected', [(1, 1), (3, 3), (4, 4), (99, 4)])
def test_n_is_at_most_the_table(n, expected): assert len(top_losses(one, p_one, vocab, n=n)) == expected


def test_a_sure_mistake_has_a_finite_loss():
    loss = top_losses(one, np.eye(3)[[2, 2, 2, 2]], vocab).loss
    assert loss.iloc[0] == pytest.approx(-math.log(1e-6)) and loss.iloc[-1] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize('function', [top_losses, show_top_losses, confused_items, show_confused, suspect_labels])
def test_what_does_not_fit_is_said_in_one_line(function):
    if function is suspect_labels: pytest.importorskip('cleanlab')
    nan = np.where(p_one == .25, np.nan, p_one)
    cases = [
        ((one, p_one[:3], vocab), ValueError, r'p has shape \(3, 3\) and y \(4, 3\).*Predict the same items'),
        ((one, p_one[:, :2], vocab), ValueError, r'p has shape \(4, 2\)'),
        ((one, p_one[0], vocab), ValueError, r'p has shape \(3,\)'),
        ((one, nan, vocab), ValueError, 'p is NaN or infinite in 1 of 4 rows: 1'),
        ((one, p_one + 1, vocab), ValueError, 'p lies outside 0 to 1'),
        ((one, p_one/2, vocab), ValueError, 'p does not sum to 1 in 4 of 4 rows'),
        ((one, p_one[:, :2], vocab[:2]), ItemsError, "genres that vocab does not name: 'Horror'"),
        ((one.head(0), p_one[:0], vocab), ItemsError, 'no rows'),
        ((one.assign(genres=[['Drama'], [], ['Horror'], []]), p_one, vocab), ItemsError,
         "genres is empty in 2 of 4 rows: '1', '3'"),
        ((p_one, p_one, vocab), ItemsError, 'an items table is a pandas DataFrame')]
    for args, error, message in cases:
        with pytest.raises(error, match=message) as caught: function(*args)
        assert '\n' not in str(caught.value)
    with pytest.raises(ValueError, match='not exactly one genre in 2 of 4 rows'):
        function(several, p_one, vocab, multilabel=False)
    if function is not confused_items:
        with pytest.raises(ValueError, match='n is 0; give a whole number'): function(one, p_one, vocab, n=0)


def test_pairs_that_occur():
    pairs = confused_items(one, p_one, vocab)
    assert pairs.values.tolist() == [['Drama', 'Comedy', 1, 1.], ['Horror', 'Comedy', 1, .5]]
    right = confused_items(one, np.eye(3)[[0, 1, 2, 2]], vocab)
    assert len(right) == 0 and list(right) == ['true', 'predicted', 'n', 'share']
    pairs = confused_items(several, p_several, vocab)
    # item 1: Drama missed, Horror said; item 2: Horror missed, Comedy and Drama said; item 3: only missed, no pair
    assert sorted(pairs[['true', 'predicted', 'n']].values.tolist()) == [
        ['Drama', 'Horror', 1], ['Horror', 'Comedy', 1], ['Horror', 'Drama', 1]]
    assert pairs.set_index('true').share['Drama'] == pytest.approx(1/3) and (pairs.n > 0).all()


def test_titles_say_what_is_and_what_was_said():
    show_top_losses(one, p_one, vocab)
    assert titles() == ['Horror, said Comedy .70', 'Drama, said Comedy .50', 'Comedy, rightly .80',
                        'Horror, rightly .80']
    show_top_losses(several, p_several, vocab, n_columns=2)
    assert titles() == ['Horror, said Drama .90', 'Comedy, not said .20', 'Drama, said Horror .70',
                        'Drama, rightly .80']
    show_top_losses(several.head(1), np.array([[.9, .8, .75]]), vocab)
    assert titles() == ['Drama, also said Horror .75']
    show_top_losses(one, p_one, vocab, n=1)
    assert titles() == ['Horror, said Comedy .70']


def test_pictures_of_both(capsys):
    show_confused(one, p_one, vocab)
    assert rows_in_figure() == ['Drama, rightly said: 0 of 0', 'Drama, taken for Comedy: 1 of 1',
                                'Comedy, rightly said: 1 of 1']
    assert titles() == ['Comedy .50', 'Comedy .80']
    show_confused(one, p_one, vocab, true='Horror')
    assert rows_in_figure()[:2] == ['Horror, rightly said: 1 of 1', 'Horror, taken for Comedy: 1 of 1']
    show_confused(one, p_one, vocab, predicted='Comedy', n=1)
    assert rows_in_figure()[1] == 'Drama, taken for Comedy: 1 of 1'
    show_confused(several, p_several, vocab, 'Horror', 'Drama')
    assert rows_in_figure() == ['Horror, rightly said: 0 of 0', 'Horror, taken for Drama: 1 of 1',
                                'Drama, rightly said: 2 of 2']
    assert capsys.readouterr().out == ''


def test_a_pair_that_never_occurs_or_is_unknown(capsys):
    show_confused(one, p_one, vocab, 'Comedy', 'Horror')                  # named: drawn, with an empty row
    assert rows_in_figure()[1] == 'Comedy, taken for Horror: 0 of 0'
    show_confused(one, np.eye(3)[[0, 0, 0, 0]], vocab, 'Drama', 'Horror') # Horror is never said, no picture at all
    assert rows_in_figure()[2] == 'Horror, rightly said: 0 of 0'
    plt.close('all')
    show_confused(one, p_one, vocab, true='Comedy')                       # always said rightly
    show_confused(one, np.eye(3)[[0, 1, 2, 2]], vocab)
    assert capsys.readouterr().out.count('No such mistake in 4 items.') == 2 and not plt.get_fignums()
    with pytest.raises(ValueError, match="no genre 'Horor'. Did you mean 'Horror'?"):
        show_confused(one, p_one, vocab, 'Horor')
    with pytest.raises(ValueError, match="no genre 'comedy'. Did you mean 'Comedy'?"):
        show_confused(one, p_one, vocab, None, 'comedy')
    with pytest.raises(ValueError, match="both 'Drama'. Name two genres"):
        show_confused(one, p_one, vocab, 'Drama', 'Drama')


def test_the_same_seed_shows_the_same_items():
    items = make_items(text=[f'text {i}' for i in range(40)], genres=['Comedy', 'Drama']*20)
    p = np.tile([.6, .4], (40, 1))
    def shown(seed):
        show_confused(items, p, ['Comedy', 'Drama'], n=3, seed=seed)
        return [t.get_text() for ax in plt.gcf().axes for t in ax.texts]
    assert shown(0) == shown(0) != shown(1)


@pytest.fixture(scope='module', params=[False, True], ids=['one genre', 'several'])
def noisy(request, tmp_path_factory):
    "Made synopses, out-of-fold probabilities, and which labels are wrong"
    items = synthetic_items(tmp_path_factory.mktemp('w')/'w', n=400, n_genres=5, label_noise=.1,
                            multilabel=request.param,
                       images=False, telling_sentences=5, seed=1)
    genres = genre_vocab(items)
    model = TextRidge().fit(text_array(items), genre_targets(items, genres, request.param))
    return items, model.oof_proba(), genres, (items.genres != items.true_genres)


def test_suspects_are_wrong_more_often_than_chance(noisy):
    pytest.importorskip('cleanlab')
    items, p, genres, wrong = noisy
    suspects = suspect_labels(items, p, genres)
    assert wrong[suspects.index].mean() > 1.5*wrong.mean() and wrong[suspects.index].sum() > .8*wrong.sum()
    assert wrong[suspects.index[:20]].mean() > 4*wrong.mean()             # the worst first
    assert suspects.quality.is_monotonic_increasing and suspects.quality.between(0, 1).all()
    assert (suspects.suggested != suspects.genres).all() and suspects.suggested.map(len).min() == 1
    assert list(suspect_labels(items, p, genres, n=7).item_id) == list(suspects.item_id[:7])
    assert 'quality' not in items


def test_probabilities_that_say_nothing_find_nothing(noisy):
    pytest.importorskip('cleanlab')
    items, p, genres, wrong = noisy
    order = np.random.default_rng(0).permutation(len(items))
    suspects = suspect_labels(items, p[order], genres)                    # each row's probabilities are another row's
    assert wrong[suspects.index].mean() < 1.5*wrong.mean()
    assert wrong[suspects.index[:40]].mean() < 3*wrong.mean()


def test_rows_may_stand_in_any_order_under_any_index(noisy):
    pytest.importorskip('cleanlab')
    items, p, genres, _ = noisy
    order = np.random.default_rng(1).permutation(len(items))
    again = suspect_labels(items.iloc[order].set_index(pd.Index([7]*len(items))), p[order], genres)
    columns = ['quality', 'suggested']
    once, again = (table.set_index('item_id')[columns].sort_index()
                   for table in (suspect_labels(items, p, genres), again))
    assert len(once) and again.index.equals(once.index)
    assert np.allclose(again.quality, once.quality) and again.suggested.tolist() == once.suggested.tolist()


def test_columns_that_bear_names_are_taken_by_name(noisy):
    items, p, genres, _ = noisy
    turned = pd.DataFrame(p, columns=genres)[genres[::-1]]
    pd.testing.assert_frame_equal(top_losses(items, turned, genres), top_losses(items, p, genres))
    show_top_losses(items, turned, iter(genres), n=4)
    by_name = titles()
    plt.close('all')
    show_top_losses(items, p, genres, n=4)
    assert by_name == titles() and len(by_name) == 4


def test_a_model_that_agrees_suspects_nothing():
    pytest.importorskip('cleanlab')
    for items in (one, several):
        suspects = suspect_labels(items, genre_matrix(items, vocab).astype(float), vocab)
        assert len(suspects) == 0 and {'quality', 'suggested'} <= set(suspects)


def test_genres_that_none_or_all_carry():
    pytest.importorskip('cleanlab')
    rng = np.random.default_rng(0)
    drama = rng.random(80) < .5
    told = np.where(drama[:, None], [.1, .9, .2], [.8, .1, .1]) + rng.random((80, 3))/20
    items = make_items(genres=[['Drama'] if d else ['Comedy'] for d in ~drama[:4]]
                       + [['Drama'] if d else ['Comedy'] for d in drama[4:]])
    single = suspect_labels(items, told/told.sum(1, keepdims=True), vocab)  # Horror is carried by none
    assert set(single.item_id) == set('0123')
    films = items.assign(genres=items.genres.map(lambda gs: ['Horror', *gs]))
    both = suspect_labels(films, told, vocab, thresholds=.5)                # Horror is carried by all
    assert set(both.item_id) == set('0123')
    with pytest.raises(ItemsError, match="all 4 items carry the same: 'Horror'"):
        suspect_labels(one.assign(genres=[['Horror']]*4), p_one, vocab)


def test_without_cleanlab_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cleanlab', None)
    with pytest.raises(ImportError, match=r"needs cleanlab. Install it: pip install 'genre_fastai\[labels\]'\.$"):
        suspect_labels(one, p_one, vocab)
    assert len(top_losses(one, p_one, vocab)) == 4                        # the rest needs it not


def test_the_extra_is_declared():
    settings = ConfigParser(delimiters=['='])
    settings.read(Path(__file__).resolve().parent.parent/'settings.ini')
    assert 'cleanlab' in settings['DEFAULT']['extra_labels'] and 'cleanlab' in settings['DEFAULT']['extra_dev']


def test_an_item_without_picture_and_text_is_shown():
    show_top_losses(one, p_one, vocab)
    assert 'no picture, no text' in ' '.join(t.get_text().replace('\n', ' ') for ax in plt.gcf().axes for t in ax.texts)
