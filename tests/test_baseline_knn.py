"Simple models: usable as scikit-learn estimators, honest on shuffled labels"
import numpy as np, pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from genre_fastai.classical.baselines import RandomScores, baseline_models, genre_proba, genre_targets
from genre_fastai.baseline_knn import fit_baselines, out_of_fold, score_models
from genre_fastai.items import ItemsError, genre_matrix, genre_vocab
from genre_fastai.evaluate.metrics import genre_scores
from genre_fastai.data.clean import clean_items
from genre_fastai.data.split import fold_items, split_items
from genre_fastai.datasets.synthetic import synthetic_items


def world(folder, **kwargs):
    items, _ = clean_items(synthetic_items(folder, n=220, n_genres=4, seed=3, **kwargs), needs='image')
    return split_items(items, valid=.15, test=.3, seed=0)

@pytest.fixture(scope='module')
def single(tmp_path_factory): return world(tmp_path_factory.mktemp('w')/'single')

@pytest.fixture(scope='module')
def several(tmp_path_factory): return world(tmp_path_factory.mktemp('w')/'several', multilabel=True)


@pytest.mark.parametrize('name', list(baseline_models()))
@pytest.mark.parametrize('multilabel', [False, True])
def test_every_model_is_a_scikit_learn_estimator(name, multilabel):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 6)).astype('float32')
    y = np.array(['War', 'Pop', 'Art'])[x[:, :3].argmax(1)]
    if multilabel: y = (x[:, :3] > 0).astype('uint8')
    model = baseline_models(multilabel)[name]
    assert np.isfinite(cross_val_score(clone(model), x, y, cv=3)).all()
    p = genre_proba(model.fit(x, y), x, ['Art', 'Pop', 'War'])
    assert p.shape == (90, 3) and (p >= 0).all() and (p <= 1).all()
    if not multilabel: assert np.allclose(p.sum(1), 1)


def test_a_genre_that_train_lacks_gets_nothing():
    x = np.arange(8.)[:, None]
    p = genre_proba(baseline_models()['logistic'].fit(x, np.repeat(['Art', 'War'], 4)), x, ['Art', 'Pop', 'War'])
    assert (p[:, 1] == 0).all() and np.allclose(p.sum(1), 1)
    y = np.repeat([[1, 0, 0], [1, 0, 1]], 4, 0)
    for name in ('forest', 'knn', 'majority'):
        model = baseline_models(True)[name]
        if name == 'knn': model.set_params(n_neighbors=3)
        p = genre_proba(model.fit(x + 1, y), x + 1, ['Art', 'Pop', 'War'])
        assert (p[:, 0] == 1).all() and (p[:, 1] == 0).all()


def test_better_than_majority_and_shuffled_labels_are_not(single):
    board = score_models(single, fit_baselines(single, encoders=('colours',), models=('logistic',)))
    assert board.accuracy['logistic on colours'] > board.accuracy['majority'] + .15
    accuracies = []
    for seed in range(4):
        train = (single.split == 'train').to_numpy()
        genres = single.genres.to_numpy().copy()
        genres[train] = genres[train][np.random.default_rng(seed).permutation(train.sum())]
        shuffled = single.assign(genres=list(genres))
        fooled = score_models(shuffled, fit_baselines(shuffled, encoders=('colours',), models=('logistic',)))
        accuracies.append(fooled.accuracy['logistic on colours'])
    assert np.mean(accuracies) < board.accuracy['majority'] + .08


def test_several_genres_use_thresholds_from_valid(several):
    board = score_models(several, fit_baselines(several, models=('knn', 'logistic')))
    assert board['map']['logistic on colours'] > board['map']['majority'] + .05
    assert set(board.index) >= {'chance', 'majority', 'knn on pixels', 'knn on colours', 'logistic on colours'}


def test_thresholds_of_their_own_are_used_as_they_are(several):
    found = fit_baselines(several, encoders=('colours',), models=('knn', 'logistic'))
    n_genres = len(genre_vocab(several))
    none, tuned = np.full(n_genres, 2.), score_models(several, found,
                                                      n_boot=50)  # no item gets a genre but its likeliest
    own = score_models(several, found, thresholds={'knn on colours': none}, n_boot=50)
    test = several[several.split == 'test']
    y, p = genre_matrix(test, genre_vocab(several)), found['knn on colours']['test']
    assert own.macro_f1['knn on colours'] == genre_scores(y, p, True,
                                                          none)['macro_f1'] != tuned.macro_f1['knn on colours']
    assert own.macro_f1.drop('knn on colours').equals(tuned.macro_f1.drop('knn on colours'))
    alone = {'mine': {'test': p}}  # without valid rows nothing could be tuned
    assert score_models(several, alone, thresholds={'mine': none},
                        n_boot=50).macro_f1['mine'] == own.macro_f1['knn on colours']
    with pytest.raises(ValueError, match="thresholds are of 'knn on colour'.*Did you mean 'knn on colours'"):
        score_models(several, found, thresholds={'knn on colour': none})


def test_same_seed_same_numbers(single):
    a, b = (fit_baselines(single, models=('logistic', 'forest'), seed=4) for _ in range(2))
    for name in a: assert np.array_equal(a[name]['test'], b[name]['test']), name


def test_out_of_fold_predicts_each_row_by_a_model_that_has_not_seen_it(single):
    items = fold_items(single, k=3, seed=0)
    x = np.eye(len(items), dtype='float32')  # a model that has seen a row has memorised it
    p = out_of_fold(items, x, baseline_models()['knn'].set_params(n_neighbors=1))
    y = genre_matrix(items)
    assert (p.argmax(1) == y.argmax(1)).mean() < .6
    with pytest.raises(ItemsError, match='fold_items'): out_of_fold(single, x)


def test_chance_is_chance():
    p = RandomScores().fit(np.zeros((4, 1)), np.array(['a', 'b', 'c', 'd'])).predict_proba(np.zeros((4000, 1)))
    y = np.random.default_rng(1).integers(4, size=4000)
    assert abs((p.argmax(1) == y).mean() - .25) < .03


def test_unknown_names_are_refused(single):
    with pytest.raises(ValueError, match="no baseline is called"): fit_baselines(single, models=('random forest',))
    assert genre_targets(single, genre_vocab(single), False).shape == (len(single),)
