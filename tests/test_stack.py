"Stacking: better than a mean, calibrated, silent parts cost nothing, nothing is seen twice"
import numpy as np, pytest
from scipy.special import expit, logit, softmax

from genre_fastai.evaluate.metrics import calibration_error, genre_scores
from genre_fastai.classical.stack import ProbabilityStack

SHARES = np.array([.5, .3, .1, .04])


def case(n, seed, strengths=(1.5, .8), several=True):
    rng = np.random.default_rng(seed)
    if several: y = (rng.random((n, 4)) < SHARES).astype(int)
    else: y = np.eye(4, dtype=int)[rng.choice(4, n, p=SHARES/SHARES.sum())]
    base = np.log(SHARES/(1 - SHARES))
    z = [base + s**2*(y - .5) + s*rng.normal(size=y.shape) for s in strengths]
    return y, np.stack([expit(v) if several else softmax(v, 1) for v in z])


@pytest.mark.parametrize('several', [True, False])
def test_better_than_the_mean_and_calibrated(several):
    y, found = case(1500, 0, several=several)
    y_new, found_new = case(1500, 1, several=several)
    p = ProbabilityStack(several).fit(found, y).predict_proba(found_new)
    loss = lambda q: genre_scores(y_new, q, several)['log_loss']
    assert loss(p) < loss(found_new.mean(0)) - .005 and calibration_error(y_new, p, several) < .04


def test_a_silent_model_leaves_the_stack_of_the_others():
    y, found = case(600, 0, (1.5, .8, 1.))
    stack = ProbabilityStack().fit(found, y)
    for set_ in ((0, 1), (2,)):
        hidden = np.full_like(found, np.nan)
        hidden[list(set_)] = found[list(set_)]
        assert np.allclose(stack.predict_proba(hidden),
                           ProbabilityStack().fit(found[list(set_)], y).predict_proba(found[list(set_)]), atol=1e-4)


def test_noise_gets_no_say():
    y, found = case(1500, 0)
    found[1] = np.random.default_rng(2).permutation(found[1])
    weights = ProbabilityStack().fit(found, y).weights_[-1]
    assert abs(weights[1]).max() < .15 < .6 < weights[0].min()


def test_rare_sets_fall_back_to_the_mean_of_evidence():
    y, found = case(200, 0)
    found[0, ::2], found[1, 1::2] = np.nan, np.nan                      # never both
    stack, new = ProbabilityStack().fit(found, y), case(5, 1)[1]
    alone, both = ([stack.sets_.index(s) for s in sets] for sets in ([(0,), (1,)], [(0, 1)]))
    evidence = logit(new) - logit(y.mean(0))
    said = [stack.offsets_[k] + stack.weights_[k, m]*evidence[m] for m, k in enumerate(alone)]
    assert np.allclose(stack.predict_proba(new), expit(np.mean(said, 0)))
    assert np.allclose(stack.offsets_[both], stack.offsets_[alone].mean(0)) and stack.weights_[both].min() > .1


def test_left_out_predictions_do_not_see_their_row():
    y, found = case(300, 0)
    flipped = y.copy()
    flipped[17] = 1 - flipped[17]
    a, b = (ProbabilityStack(shrinkages=(100.,)).fit(found, labels).oof_proba() for labels in (y, flipped))
    assert np.array_equal(a[17], b[17]) and not np.array_equal(a, b)
    assert np.array_equal(a, ProbabilityStack(shrinkages=(100.,)).fit(found, y).oof_proba())


@pytest.mark.parametrize('several', [True, False])
def test_the_shrinkage_with_the_least_loss_on_left_out_rows_is_taken(several):
    y, found = case(400, 0, several=several)
    for of_model, guessed in ((found[0], slice(0, 2)), (found[1], slice(2, 4))):    # each knows two genres alone
        of_model[:, guessed] = np.random.default_rng(3).permutation(of_model[:, guessed])
    if not several: found /= found.sum(2, keepdims=True)
    alone = {s: ProbabilityStack(several, shrinkages=(s,)).fit(found, y) for s in (1., 1000.)}
    loss = {s: genre_scores(y, stack.oof_proba(), several)['log_loss'] for s, stack in alone.items()}
    chosen = ProbabilityStack(several, shrinkages=(1000., 1.)).fit(found, y)
    assert chosen.shrinkage_[-1] == min(loss, key=loss.get) == 1. and abs(loss[1.] - loss[1000.]) > .001
    assert np.array_equal(chosen.weights_[-1], alone[1.].weights_[-1])
    assert np.array_equal(chosen.oof_proba(), alone[1.].oof_proba())


def test_few_rows_choose_nothing_and_shrink_most():
    y, found = case(36, 0)
    found[0][:, :2] = np.random.default_rng(3).permutation(found[0][:, :2])
    assert ProbabilityStack().fit(found, y).shrinkage_[-1] == 1000          # no part has enough rows to learn from
    assert ProbabilityStack().fit(*case(400, 0)[::-1], groups=np.zeros(400)).shrinkage_ == [1000.]*3
    silent = case(400, 1)
    silent[1][1, 3:], silent[0][:3] = np.nan, 0                             # read three rows, all without a genre
    assert ProbabilityStack().fit(silent[1], silent[0]).shrinkage_[1:] == [1000., 1000.]


def test_odd_probabilities_and_silence():
    y, found = case(100, 0)
    found[0, :3] = [[0, 1, 0, 1]]*3
    stack = ProbabilityStack().fit(found, y)
    assert np.isfinite(stack.predict_proba(found)).all()
    found[:, 4] = np.nan
    with pytest.raises(ValueError, match='1 of 100 rows hold nothing that this model reads: 4'):
        stack.predict_proba(found)


def test_a_model_that_could_read_few_rows_is_not_trusted_beside_others():
    y, found = case(400, 0)
    y_new, found_new = case(400, 1)
    found[1, 12:] = np.nan
    stack = ProbabilityStack().fit(found, y)
    alone = np.where(np.array([True, False])[:, None, None], found_new, np.nan)
    assert np.allclose(stack.predict_proba(found_new), stack.predict_proba(alone))
    alone = found_new[:, :50]*np.array([np.nan, 1])[:, None, None]
    timid = stack.predict_proba(alone)       # what it alone says is shrunk
    assert abs(timid - y.mean(0)).mean() < abs(found_new[1, :50] - y.mean(0)).mean()


@pytest.mark.parametrize('several', [True, False])
def test_a_genre_that_a_model_never_met_is_left_to_the_others(several):
    y, found = case(1200, 0, several=several)
    y_new, found_new = case(1200, 1, several=several)
    found[1, y[:, 2] > 0] = np.nan
    p = ProbabilityStack(several).fit(found, y).predict_proba(found_new)
    assert abs(p[:, 2].mean() - y_new[:, 2].mean()) < .04
    alone = found_new*np.array([np.nan, 1])[:, None, None]
    assert ProbabilityStack(several).fit(found, y).predict_proba(alone)[:, 2].mean() > .02


def test_groups_stay_together_in_left_out_predictions():
    y, found = case(200, 0)
    twice = np.r_[0:200, 0:200]
    flipped = y.copy()
    flipped[17] = 1 - flipped[17]
    a, b = (ProbabilityStack(shrinkages=(100.,)).fit(found[:, twice], labels[twice], groups=twice).oof_proba()
            for labels in (y, flipped))
    assert np.array_equal(a[[17, 217]], b[[17, 217]])


@pytest.mark.parametrize('bad, message', [(lambda p: p*100, 'no probability'),
                                          (lambda p: p[:, :5], 'Pass the same rows'), (lambda p: p[0], 'of shape'),
                                          (lambda p: np.where(p > .5, np.inf, p), 'no probability')])
def test_odd_input_is_one_line(bad, message):
    y, found = case(60, 0)
    with pytest.raises(ValueError, match=message): ProbabilityStack().fit(bad(found), y)
    with pytest.raises(ValueError, match='were fitted'): ProbabilityStack().fit(found, y).predict_proba(found[:1])
    assert np.isfinite(ProbabilityStack().fit(found[:, :3], y[:3]).oof_proba()).all()
