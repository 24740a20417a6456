"Text baselines: estimators on texts for one genre and several, honest on shuffled labels"
import warnings

import numpy as np, pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from genre_fastai.classical.baselines import RareSafeFolds, genre_proba, genre_targets
from genre_fastai.baseline_knn import out_of_fold, score_models
from genre_fastai.runs import DiskCache
from genre_fastai.items import ItemsError, genre_matrix, genre_vocab, make_items
from genre_fastai.data.clean import clean_items
from genre_fastai.data.split import fold_items, split_items
from genre_fastai.datasets.synthetic import synthetic_items
from genre_fastai.classical.text_baselines import BagOfWordsNet, BlendClassifier, GenreRatios, fit_text_baselines, text_models
from genre_fastai.classical.text_ridge import TextRidge, text_array, tfidf

GENRES = {'Art': 'paint brush colour easel museum', 'Pop': 'song stage band chorus guitar',
          'War': 'tank front soldier trench siege'}
COMMON = 'a the of one day she he goes home and then nothing more'.split()


class Letters:
    "Stands for a sentence encoder: a window a text, how often each letter stands in it"
    name, n_out = 'letters', 26
    def prepare(self, texts): return [[text] for text in texts]
    def encode(self, windows):
        return np.array([[text.count(chr(97 + i)) for i in range(26)] for text in windows], np.float32)


def some_texts(n, multilabel=False, seed=0):
    "Texts of common words and some of their genres', and their labels"
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, (n, 3)) if multilabel else np.eye(3, dtype=int)[rng.integers(0, 3, n)]
    words = [w.split() for w in GENRES.values()]
    texts = [' '.join([*rng.choice(COMMON, 8), *(w for j in np.flatnonzero(row) for w in rng.choice(words[j], 2))])
             for row in y]
    return np.array(texts, dtype=object), y if multilabel else np.array(list(GENRES))[y.argmax(1)]

def all_models(multilabel, folder):
    return text_models(multilabel, encoder=Letters(), cache=DiskCache(folder/'v.sqlite'))

NAMES = [*text_models(), *(f'{m} on sentences' for m in ('knn', 'logistic', 'sgd', 'svm', 'forest')), 'blend',
         'ridge on all']

def world(folder, **kwargs):
    items = synthetic_items(folder, n=240, n_genres=4, images=False, synopsis_sentences=8, telling_sentences=4, seed=3,
                            **kwargs)
    return split_items(clean_items(items, needs='text')[0], valid=.15, test=.3, seed=0)

@pytest.fixture(scope='module')
def single(tmp_path_factory): return world(tmp_path_factory.mktemp('w')/'single')

@pytest.fixture(scope='module')
def several(tmp_path_factory): return world(tmp_path_factory.mktemp('w')/'several', multilabel=True)


def test_names_are_those_tried_here(tmp_path):
    assert list(all_models(False, tmp_path)) == list(all_models(True, tmp_path)) == NAMES


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('multilabel', [False, True])
def test_every_model_is_a_scikit_learn_estimator(name, multilabel, tmp_path):
    texts, y = some_texts(90, multilabel)
    model = all_models(multilabel, tmp_path)[name]
    scores = cross_val_score(clone(model), texts, y, cv=3)
    assert np.isfinite(scores).all()
    learns_from_few = not name.startswith(('net', 'knn')) and 'sentences' not in name and name not in ('chance', 'majority')
    if learns_from_few: assert scores.mean() > (.5 if multilabel else .75)      # chance: .125, .333
    p = genre_proba(clone(model).fit(texts, y), texts, list(GENRES))
    assert p.shape == (90, 3) and np.isfinite(p).all() and (p >= 0).all() and (p <= 1 + 1e-9).all()
    if not multilabel: assert np.allclose(p.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('multilabel', [False, True])
def test_rare_genres_break_no_model(name, multilabel, tmp_path):
    texts, y = some_texts(60, multilabel)
    if multilabel:
        y[:, 2] = 0         # a genre that no training item has
        y[3, 1:] = 1, 0
        y[:3, 1] = y[4:, 1] = 0         # and one that one item has
    else: y = np.where(y == 'War', 'Pop', y); y[0] = 'War'
    model = all_models(multilabel, tmp_path)[name]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)        # scikit-learn says that a genre is in no item
        p = genre_proba(model.fit(texts, y), texts, list(GENRES))
    assert p.shape == (60, 3) and np.isfinite(p).all()
    if multilabel and name != 'chance': assert p[:, 2].max() < (.5 if name.startswith('net') else .1)


@pytest.mark.parametrize('name', ['svm on both', 'blend', 'ridge on all', 'sgd on words'])
def test_two_genres_and_a_genre_that_train_lacks(name, tmp_path):
    texts, y = some_texts(60)
    keep = y != 'Pop'
    p = genre_proba(all_models(False, tmp_path)[name].fit(texts[keep], y[keep]), texts, list(GENRES))
    assert np.allclose(p.sum(1), 1, atol=1e-5) and (p[:, 1] == 0).all()
    assert (np.array(list(GENRES))[p[keep].argmax(1)] == y[keep]).mean() > .9


def test_missing_texts_and_odd_ones():
    items = make_items(text=['The spy', None, 'Zoë’s café'], genres=['War', 'Pop', 'Art'])
    assert text_array(items).tolist() == ['The spy', '', 'Zoë’s café'] == text_array(items.text).tolist()
    assert text_array([]).shape == (0,)
    x = tfidf('both').fit(text_array(items)).transform(['', '\x00', 'zoe S CAFE', '🍰 كعكة'])
    assert x.dtype == np.float32 and np.isfinite(x.data).all() and x[[0]].nnz == 0 and x[[2]].nnz > 5
    with pytest.raises(ValueError, match="'sentences'; use one of"): tfidf('sentences')


def test_ratios_are_those_of_the_paper():
    x = np.array([[2, 0, 1], [1, 0, 0], [0, 3, 1]])
    made = GenreRatios().fit(sparse.csr_array(x.astype('float32')), np.array([1, 1, 0]))
    p, q = np.array([4, 1, 2]), np.array([1, 4, 2])
    assert np.allclose(made.ratio_, np.log(p/p.sum()) - np.log(q/q.sum()), atol=1e-6)
    assert np.allclose(made.transform(sparse.csr_array(x.astype('float32'))).toarray(), x*made.ratio_, atol=1e-6)


def test_folds_keep_rare_genres_in_training():
    y = np.array(['a']*9 + ['b']*6 + ['c']*2)
    tested = []
    for fit, rest in RareSafeFolds().split(None, y):
        assert set(y[fit]) == set('abc') and not set(fit) & set(rest) - {15, 16}
        tested += rest.tolist()
    assert sorted(tested) == list(range(17))


def test_the_net_stops_without_a_warning(recwarn):
    texts, y = some_texts(40)
    make_pipeline(tfidf('words'), BagOfWordsNet(8, max_iter=2, random_state=0)).fit(texts, y)
    assert not [w for w in recwarn if 'Convergence' in w.category.__name__]


def test_blend_is_the_weighted_mean(tmp_path):
    texts, y = some_texts(60)
    named = all_models(False, tmp_path)
    a, b = named['logistic on words'], named['logistic on sentences']
    pa, pb = (clone(m).fit(texts, y).predict_proba(texts) for m in (a, b))
    blend = BlendClassifier([a, b], weights=[3, 1]).fit(texts, y)
    assert np.allclose(blend.predict_proba(texts), .75*pa + .25*pb)
    assert (blend.predict(texts) == y).mean() > .9 and not hasattr(a, 'classes_')


@pytest.mark.parametrize('multilabel', [False, True])
@pytest.mark.parametrize('share', [0, .3, 1])
def test_ridge_predicts_left_out_texts_as_if_fitted_without_them(multilabel, share, tmp_path):
    texts, y = some_texts(40, multilabel)
    cache = DiskCache(tmp_path/'v.sqlite')
    whole = TextRidge(Letters() if share else None, cache, vector_weights=(share,), alphas=(.3,)).fit(texts, y)
    counts = tfidf('both').fit_transform(texts)
    kernel = (1 - share)*(counts @ counts.T).toarray()/2
    if share: kernel += share*whole._of_vectors(whole.x_, 1.)
    targets, rest = y if multilabel else (y[:, None] == whole.classes_), np.arange(40) != 7
    coef = np.linalg.solve(kernel[rest][:, rest] + .3*np.eye(39), (targets - whole.class_prior_)[rest])
    assert np.allclose(whole.oof_scores_[7], whole.class_prior_ + kernel[7, rest] @ coef, atol=1e-4)
    assert np.allclose(whole.decision_function(texts), whole.class_prior_ + kernel @ whole.coef_,
                       atol=1e-4)     # weights of words
    assert whole.oof_proba().shape == (40, 3)


def test_ridge_takes_what_has_the_least_left_out_loss(tmp_path):
    texts, y = some_texts(80)
    cache = DiskCache(tmp_path/'v.sqlite')
    losses = {}
    for share in (.2, .6):
        for alpha in (.01, .1, 1., 10.):
            fitted = TextRidge(Letters(), cache, (share,), (alpha,)).fit(texts, y)
            p = fitted.oof_proba()
            losses[share, alpha] = -np.log(p[y[:, None] == fitted.classes_]).mean()
    fitted = TextRidge(Letters(), cache, (.2, .6), (10., .01, 1., .1)).fit(texts, y)
    assert (fitted.vector_weight_, fitted.alpha_) == min(losses, key=losses.get)


@pytest.mark.parametrize('share', [0, .3])
def test_similarity_is_what_predictions_are_made_of(share, tmp_path):
    texts, y = some_texts(24)
    ridge = TextRidge(Letters() if share else None, DiskCache(tmp_path/'v.sqlite'),
                      vector_weights=(share,)).fit(texts, y)
    again = ridge.class_prior_ + ridge.similarity(texts[:5], texts) @ ridge.coef_
    assert np.allclose(again, ridge.decision_function(texts[:5]), atol=1e-4)
    assert np.allclose(np.diag(ridge.similarity(texts, texts)), 1, atol=1e-5)

def test_ridge_reads_many_texts_part_by_part(tmp_path):
    texts, y = some_texts(30)
    seen = []
    class Counting(Letters):
        def prepare(self, texts): seen.append(len(texts)); return super().prepare(texts)
    ridge = TextRidge(Counting(), DiskCache(tmp_path/'v.sqlite')).fit(texts, y)
    seen.clear()
    many, _ = some_texts(1300, seed=1)
    p = ridge.predict_proba(many)
    assert 0 < max(seen) <= 500 and len(p) == 1300
    assert np.allclose(p[1200:], ridge.predict_proba(many[1200:]), atol=1e-5)
    assert ridge.predict_proba(many[:0]).shape == (0, 3)


def test_better_than_majority_and_shuffled_labels_are_not(single, tmp_path):
    kwargs = dict(models=('logistic on words', 'ridge on all'), encoder=Letters(), cache=DiskCache(tmp_path/'v.sqlite'))
    board = score_models(single, fit_text_baselines(single, **kwargs))
    for name in kwargs['models']: assert board.accuracy[name] > board.accuracy['majority'] + .2
    train, accuracies = (single.split == 'train').to_numpy(), []
    for seed in range(4):
        genres = single.genres.to_numpy().copy()
        genres[train] = genres[train][np.random.default_rng(seed).permutation(train.sum())]
        shuffled = single.assign(genres=list(genres))
        accuracies.append(score_models(shuffled, fit_text_baselines(shuffled, **kwargs)).accuracy['ridge on all'])
    assert np.mean(accuracies) < board.accuracy['majority'] + .1


def test_several_genres_are_scored_with_thresholds(several, tmp_path):
    names = ('svm on both', 'nb-logistic on words', 'blend', 'ridge on all')
    board = score_models(several, fit_text_baselines(several, names, Letters(), cache=DiskCache(tmp_path/'v.sqlite')))
    assert list(board.index) == ['chance', 'majority', *names]
    for name in names: assert board['map'][name] > board['map']['majority'] + .1


def test_same_seed_same_numbers(single, tmp_path):
    names = ('sgd on words', 'forest on words', 'net on words', 'svm on words', 'ridge on all')
    a, b = (fit_text_baselines(single, names, Letters(), seed=4, cache=DiskCache(tmp_path/'v.sqlite'))
            for _ in range(2))
    for name in a: assert np.array_equal(a[name]['test'], b[name]['test']), name


@pytest.mark.parametrize('kind', ['single', 'several'])
def test_out_of_fold_learns_its_words_from_the_other_folds(kind, request, tmp_path):
    items = fold_items(request.getfixturevalue(kind), k=3, seed=0)
    texts, y = text_array(items), genre_matrix(items)
    for name in ('logistic on words', 'ridge on all'):
        p = out_of_fold(items, texts, all_models(kind == 'several', tmp_path)[name])
        own = y[np.arange(len(y)), p.argmax(1)].mean()
        assert p.shape == y.shape and own > y.mean(0).max() + .1
    by_heart = np.array([f'text{i}' for i in range(len(items))], dtype=object)      # words that no other fold has
    p = out_of_fold(items, by_heart, text_models(kind == 'several')['logistic on words'])
    fold = items.fold.to_numpy()
    assert all(np.ptp(p[fold == f], axis=0).max() < 1e-6 for f in set(fold))


def test_mistakes_are_named(single):
    with pytest.raises(ValueError, match="no baseline is called .'ridge on all'"):
        fit_text_baselines(single, ('ridge on all',))
    with pytest.raises(ItemsError, match='split_items'): fit_text_baselines(single.assign(split='test'))
    assert genre_targets(single, genre_vocab(single), False).shape == (len(single),)
