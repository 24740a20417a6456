"Kernel ridge, bundles and the estimator: exact, honest, safe"
import itertools, json, subprocess, sys, warnings

import numpy as np, pytest
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.metrics import log_loss

from genre_fastai.encoders.weights import WeightsError
from genre_fastai.encoders.image import load_body
from genre_fastai.predict.bundle import BundleError, load_bundle
from genre_fastai.predict.modalities import predict_batch
from genre_fastai.items import ItemsError, genre_matrix
from genre_fastai.encoders.image import BodyEncoder, make_encoder
from genre_fastai.predict.modalities import PRESETS, preset_encoders
from genre_fastai.predict.classifier import GenreClassifier
from genre_fastai.classical.ridge import KernelRidgeClassifier
from genre_fastai.data.clean import clean_items
from genre_fastai.data.split import split_items
from genre_fastai.datasets.synthetic import synthetic_items


def world(folder, **kwargs):
    items, _ = clean_items(synthetic_items(folder, n=200, n_genres=3, synopsis_sentences=0, seed=5, **kwargs),
                           needs='image')
    return split_items(items, valid=.1, test=.25, seed=0)

@pytest.fixture(scope='module')
def single(tmp_path_factory): return world(tmp_path_factory.mktemp('w')/'single')

@pytest.fixture(scope='module')
def several(tmp_path_factory): return world(tmp_path_factory.mktemp('w')/'several', multilabel=True)

@pytest.fixture(scope='module')
def fitted(single): return GenreClassifier(encoder='colours').fit(single)


def test_a_column_that_never_varied_says_nothing(tmp_path):
    x, y = make_classification(80, 6, n_informative=4, random_state=0)
    still, moved = (np.column_stack([x, np.full(80, value)]).astype('float32') for value in (.3, .9))
    model = KernelRidgeClassifier().fit(still[:60], y[:60])
    assert np.allclose(model.similarity(still[:60]).diagonal(), 1, atol=1e-3)
    assert np.allclose(model.predict_proba(moved[60:]), model.predict_proba(still[60:]))

def test_pictures_that_differ_where_the_fitted_ones_did_not_are_still_like_some(single, tmp_path):
    few = single[single.split == 'train'][:30].assign(split=None)
    model, others = GenreClassifier(encoder='colours').fit(few), single[single.split == 'test']
    assert np.isinf(model.modalities_[0].ridge_.std_).any() and (model.similarity(others, few).max(1) > .01).all()
    model.save(tmp_path/'few')
    again = GenreClassifier.load(tmp_path/'few')
    assert np.allclose(again.predict_proba(others), model.predict_proba(others), atol=1e-6)

def test_ridge_matches_scikit_learn():
    from sklearn.kernel_ridge import KernelRidge
    x, y = make_classification(80, 6, n_informative=4, random_state=0)
    ours = KernelRidgeClassifier(alphas=(.5,), length_scales=(1.,)).fit(x[:60], y[:60])
    z = ((x - x[:60].mean(0))/x[:60].std(0)).astype('float32')
    theirs = KernelRidge(alpha=.5, kernel='rbf',
                         gamma=1/(4*x.shape[1])).fit(z[:60], (y[:60] == 1) - (y[:60] == 1).mean())
    assert np.allclose(ours.decision_function(x[60:])[:, 1], theirs.predict(z[60:]) + (y[:60] == 1).mean(), atol=1e-4)


def test_one_block_for_each_part():
    x, y = make_classification(90, 8, n_informative=5, random_state=1)
    noise = np.random.default_rng(0).normal(size=(90, 300))
    both = np.concatenate([x, noise], 1)
    def left_out(*feature_groups):
        m = KernelRidgeClassifier(feature_groups=feature_groups or None).fit(both, y)
        return (m.oof_proba().argmax(1) == y).mean()
    assert left_out([(0, 8), (8, 308)]) > left_out(), 'a block of its own keeps few good columns from drowning'
    with pytest.raises(ValueError, match='columns 4 to 309 are not there'): left_out([(4, 309)])


def test_form_is_chosen_by_out_of_fold_log_loss_alone():
    x, y = make_classification(240, 8, n_informative=6, random_state=1)
    both = np.concatenate([x, np.random.default_rng(0).normal(size=(240, 300))], 1).astype('float32')
    feature_groups, one = [[(0, 8), (8, 308)], [(8, 308)], [(0, 8)]], dict(alphas=(.1, 1.), length_scales=(.1, .35, 1.))
    def error(*form):
        alpha, width, kernel, view = form
        m = KernelRidgeClassifier((alpha,), (width,), (kernel,), [view]).fit(both[:160], y[:160])
        return log_loss(y[:160], m.oof_proba())
    for kernels in (('gaussian', 'exponential'), ('exponential', 'gaussian')):
        forms = list(itertools.product(one['alphas'], one['length_scales'], kernels))
        best = {i: min(forms, key=lambda form: error(*form, feature_groups[i])) for i in (0, 2)}
        m = KernelRidgeClassifier(kernels=kernels, feature_groups=feature_groups, **one).fit(both[:160], y[:160])
        assert m.feature_groups_ == [(0, 8)] and (m.alpha_, m.length_scale_,
                                                  m.kernel_) == best[2] and m.x_.shape == (160, 8)
        again = KernelRidgeClassifier((m.alpha_,), (m.length_scale_,), (m.kernel_,)).fit(x[:160].astype('float32'),
                                                                                         y[:160])
        assert np.allclose(again.predict_proba(both[160:, :8]), m.predict_proba(both[160:]))
    assert best[0] != best[2], 'another view wants another form'


def test_columns_in_the_middle():
    x, y = make_classification(200, 12, n_informative=6, random_state=1, shuffle=False)
    order = np.random.default_rng(0).permutation(200)                       # columns are not shuffled, rows are
    x, y = x.astype('float32')[order][:, [6, 7, 0, 1, 2, 8, 3, 4, 5, 9, 10, 11]], y[order]
    apart = KernelRidgeClassifier((.3,), (.7,), feature_groups=[[(2, 5), (6, 9)]]).fit(x[:150], y[:150])
    beside = KernelRidgeClassifier((.3,), (.7,), feature_groups=[[(0, 3), (3, 6)]]).fit(x[:150, [2, 3, 4, 6, 7, 8]],
                                                                                        y[:150])
    assert apart.x_.shape == (150, 6) and apart.score(x[150:], y[150:]) > .7
    assert np.allclose(apart.predict_proba(x[150:]), beside.predict_proba(x[150:, [2, 3, 4, 6, 7, 8]]))
    with pytest.raises(ValueError, match='alpha -0.9 is too small'): KernelRidgeClassifier((-.9,)).fit(x, y)
    assert np.allclose(apart.similarity(x[150:], x[:150]), apart.similarity(x[150:]))
    assert np.allclose(np.diag(apart.similarity(x, x)), 1, atol=1e-5) and apart.similarity(x[:3], x[:7]).shape == (3, 7)
    with pytest.raises(ValueError, match='x has 3 columns; this model was fitted on 12'): apart.similarity(x, x[:, :3])


def test_the_last_layer_of_several_sizes_is_saved_and_read(single, tmp_path, monkeypatch):
    body = load_body('test_resnet', 'random')
    three = [BodyEncoder(body, 'all', size) for size in (32, 64, 96)]
    monkeypatch.setattr('genre_fastai.predict.modalities.preset_encoders', lambda preset: three)
    def two_sizes(preset, encoders, vectors, choose):
        d = vectors[0].shape[1]
        return KernelRidgeClassifier(feature_groups=[[(0, body.n_out), (d, d + body.n_out)]])
    monkeypatch.setattr('genre_fastai.predict.modalities.picture_ridge', two_sizes)
    clf, test = GenreClassifier('medium').fit(single), single[single.split == 'test']
    again = GenreClassifier.load(clf.save(tmp_path/'model'))
    assert [e.size for e in again.modalities_[0].encoders_] == [32, 64] and again.selected_params_ == clf.selected_params_
    assert clf.selected_params_['pictures']['columns'] == again.modalities_[0].ridge_.x_.shape[1] == 2*body.n_out
    assert np.allclose(again.predict_proba(test), clf.predict_proba(test), atol=1e-6)


def test_a_preset_looks_only_at_the_sizes_that_it_chose(single, monkeypatch):
    class Sized:
        "Noise"
        def __init__(self, name): self.name = name
        def prepare(self, image):
            return np.random.default_rng(np.asarray(image).sum()).normal(size=40).astype('float32')
        def encode(self, batch): return batch
    encoders = [make_encoder('colours'), Sized('noise1'), Sized('noise2')]
    monkeypatch.setattr('genre_fastai.predict.modalities.preset_encoders', lambda preset: encoders)
    clf = GenreClassifier('medium').fit(single)
    assert [e.name for e in clf.modalities_[0].encoders_] == ['colours1'] and clf.selected_params_['pictures']['encoders'] == 1
    asked = GenreClassifier('medium', encoder=encoders).fit(single)
    assert len(asked.modalities_[0].encoders_) == 3, 'what was asked for is looked at'
    test = single[single.split == 'test']
    colours = GenreClassifier('medium', encoder='colours').fit(single)
    assert np.allclose(colours.predict_proba(test), clf.predict_proba(test))


def test_left_out_predictions_fall_to_chance_on_shuffled_labels():
    x, y = make_classification(300, 10, n_informative=6, random_state=2)
    shuffled = np.random.default_rng(0).permutation(y)
    m = KernelRidgeClassifier().fit(x, shuffled)
    assert abs((m.oof_proba().argmax(1) == shuffled).mean() - .5) < .1


def test_test_labels_never_reach_the_model(several):
    poisoned = several.copy()
    for i in poisoned.index[poisoned.split == 'test']: poisoned.at[i, 'genres'] = ['Crime']
    a, b = (GenreClassifier(encoder='colours').fit(i) for i in (several, poisoned))
    test = several[several.split == 'test']
    assert np.array_equal(a.predict_proba(test), b.predict_proba(test)) and np.array_equal(a.thresholds_, b.thresholds_)


def test_scores_use_test_rows_and_refuse_seen_ones(single, fitted):
    test = single[single.split == 'test']
    p, y = fitted.predict_proba(test), genre_matrix(test, list(fitted.classes_))
    assert fitted.score(single) == (p.argmax(1) == y.argmax(1)).mean()
    with pytest.raises(ItemsError, match='were seen in fit.*allow_seen=True'): fitted.report(single.assign(split=None))
    assert len(fitted.report(single.assign(split=None), allow_seen=True)) > 3


def test_every_row_gets_a_genre(several):
    clf = GenreClassifier(encoder='colours').fit(several)
    clf.thresholds_ = np.ones(len(clf.classes_))
    assert all(len(genres) == 1 for genres in clf.predict(several))
    assert all(len(genres) == 2 for genres in clf.predict(several, top=2))


def test_save_load_in_a_process_without_fastai(single, fitted, tmp_path):
    body = GenreClassifier(encoder=BodyEncoder(load_body('test_resnet', 'random'), 'all', 64, flip=True)).fit(single)
    for name, clf in (('colours', fitted), ('body', body)):
        folder = clf.save(tmp_path/name)
        test = single[single.split == 'test']
        code = ('import sys, json; from genre_fastai.predict.bundle import load_bundle; from genre_fastai.predict.modalities import predict_batch;'
                'p = predict_batch(load_bundle(sys.argv[1]), json.loads(sys.argv[2])); assert "fastai.learner" not in sys.modules;'
                'print(json.dumps(p.tolist()))')
        done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, folder, json.dumps(list(test.image))],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert np.allclose(json.loads(done.stdout), clf.predict_proba(test), atol=1e-6)
    assert sorted(p.name for p in folder.iterdir()) == ['README.md', 'config.json', 'model.safetensors']


def test_a_body_at_several_sizes_is_stored_once(single, tmp_path):
    body = load_body('test_resnet', 'random')
    one, two = (GenreClassifier(encoder=[BodyEncoder(body, 'all', size) for size in sizes]).fit(single)
                for sizes in ((32,), (32, (32, 48))))
    test = single[single.split == 'test']
    assert np.allclose(GenreClassifier.load(two.save(tmp_path/'two')).predict_proba(test), two.predict_proba(test),
                       atol=1e-6)
    with safe_open(tmp_path/'two'/'model.safetensors',
                   'np') as stored, safe_open(one.save(tmp_path/'one')/'model.safetensors', 'np') as alone:
        assert set(stored.keys()) == set(alone.keys())


def test_presets_take_the_bodies_that_have_weights(tmp_path, monkeypatch):
    monkeypatch.setenv('GENRE_FASTAI_WEIGHTS', str(tmp_path))
    monkeypatch.setitem(PRESETS, 'medium', PRESETS['medium'] | dict(bodies=['test_resnet'], sizes=(32, (32, 48))))
    monkeypatch.setitem(PRESETS, 'best', PRESETS['best'] | dict(bodies=['test_vit', 'test_convnext', 'test_byobnet']))
    with pytest.warns(UserWarning, match="'best' goes on with the body of 'medium'"), pytest.raises(WeightsError,
                                                                                                    match='test_resnet'):
        preset_encoders('best')
    def store(arch): save_file(load_body(arch, 'random').model.state_dict(), tmp_path/f'{arch}.safetensors')
    store('test_resnet')
    with pytest.warns(UserWarning, match="the body of 'medium': 3 of its 3 bodies have no weights here; .*test_vit"):
        found = preset_encoders('best')
    assert [(e.body.weights.arch, e.size) for e in found] == [('test_resnet', 32), ('test_resnet', (32, 48))]
    store('test_vit'), store('test_convnext')
    with pytest.warns(UserWarning, match="goes on with 'test_vit', 'test_convnext': 1 of its 3 bodies"):
        found = preset_encoders('best')
    assert [e.body.weights.arch for e in found] == ['test_vit', 'test_convnext'] and all(e.flip for e in found)
    store('test_byobnet')
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        assert len(preset_encoders('best')) == 3


@pytest.mark.parametrize('place', [.05, .5, .99])
def test_one_flipped_bit_is_refused(fitted, tmp_path, place):
    file = fitted.save(tmp_path/'m')/'model.safetensors'
    data = bytearray(file.read_bytes())
    data[int(len(data)*place)] ^= 4
    file.write_bytes(data)
    with pytest.raises(BundleError, match='SHA-256'): load_bundle(tmp_path/'m')


def test_foreign_new_and_missing_bundles_are_refused(fitted, tmp_path):
    config = fitted.save(tmp_path/'m')/'config.json'
    facts = json.loads(config.read_text())
    for content, message in [('{"format": 99, "vocab": []}', 'format 99'), ('{}', 'not the config'), ('{', 'damaged')]:
        config.write_text(content)
        with pytest.raises(BundleError, match=message): load_bundle(tmp_path/'m')
    config.write_text(json.dumps(facts))
    (tmp_path/'m'/'model.safetensors').unlink()
    with pytest.raises(BundleError, match='is missing'): load_bundle(tmp_path/'m')
    with pytest.raises(BundleError, match='no bundle in'): GenreClassifier.load(tmp_path/'nothing')


def test_nothing_is_replaced_by_accident(fitted, tmp_path):
    fitted.save(tmp_path/'m')
    with pytest.raises(FileExistsError, match='overwrite=True'): fitted.save(tmp_path/'m')
    fitted.save(tmp_path/'m', overwrite=True)
    (tmp_path/'mine').mkdir()
    (tmp_path/'mine'/'thesis.txt').write_text('years of work')
    with pytest.raises(FileExistsError): fitted.save(tmp_path/'mine', overwrite=True)
    assert (tmp_path/'mine'/'thesis.txt').exists() and not list(tmp_path.glob('.*.tmp'))


def test_made_data_is_named_in_the_card(fitted, tmp_path):
    assert 'SYNTHETIC DATA' in (fitted.save(tmp_path/'m')/'README.md').read_text()


def test_wrong_input_is_named(single, fitted):
    with pytest.raises(ValueError, match='preset is'): GenreClassifier(preset='quick').fit(single)
    with pytest.raises(ItemsError, match='only one genre'):
        GenreClassifier(encoder='colours').fit(single[single.genres.map(lambda g: g == single.genres[0])])
    with pytest.raises(ValueError, match='image='): fitted.predict()
    rows = single.copy()
    rows.at[rows.index[rows.split == 'test'][0], 'genres'] = ['Opera']
    with pytest.raises(ItemsError, match="not in train: 'Opera'"): GenreClassifier(encoder='colours').fit(rows)
    assert clone(fitted).get_params() == fitted.get_params()


def test_predict_batch_is_safe_in_threads(fitted, single, tmp_path):
    from concurrent.futures import ThreadPoolExecutor
    bundle = load_bundle(fitted.save(tmp_path/'m'))
    images = list(single.image[:12])
    expected = predict_batch(bundle, images)
    with ThreadPoolExecutor(4) as pool: results = list(pool.map(lambda _: predict_batch(bundle, images), range(8)))
    assert all(np.array_equal(r, expected) for r in results)
    assert predict_batch(bundle, []).shape == (0, 3)
