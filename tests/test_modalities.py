"Modalities: one of your own, bundles of 0.5.0, and what is refused"
import json, subprocess, sys, warnings, zipfile
from pathlib import Path

import numpy as np, pandas as pd, pytest
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB

from genre_fastai import items as items_module
from genre_fastai.data.split import split_items
from genre_fastai.datasets.synthetic import synthetic_items, synthetic_metadata
from genre_fastai.items import ItemsError, genre_matrix
from genre_fastai.predict.bundle import BundleError, load_bundle
from genre_fastai.predict.classifier import GenreClassifier
from genre_fastai.predict.modalities import MODALITIES, Modality, modality, predict_batch
from genre_fastai.state import STATES

old = Path(__file__).parent/'data'/'bundles_0.5.0.zip'


class TitleLength(Modality):
    "How many letters the title has: a modality that the library knows nothing of"
    name, what, columns = 'title length', 'title lengths', ['title']
    def __init__(self, model=None): self.model = model

    def read(self, items): return items.title.str.len().to_numpy(float)[:, None]

    def fit(self, items, y, groups=None):
        x = self.read(items)
        self.model = GaussianNB().fit(x, y)
        self.classes_, self.oof = self.model.classes_, cross_val_predict(GaussianNB(), x, y, cv=3,
                                                                         method='predict_proba')
        return self

    def predict_proba(self, items): return self.model.predict_proba(self.read(items))
    def oof_proba(self): return self.oof
    def to_state(self):
        return {'classes': self.classes_.tolist()}, {k: getattr(self.model, k)
                                                     for k in ('theta_', 'var_', 'class_prior_')}

    @classmethod
    def from_state(cls, facts, arrays):
        self = cls(GaussianNB())
        for name, value in arrays.items(): setattr(self.model, name, value)
        self.classes_ = self.model.classes_ = np.array(facts['classes'])
        return self


@pytest.fixture
def registered():
    yield modality(TitleLength)
    MODALITIES.pop('title length'), STATES.pop('title length modality')

@pytest.fixture(scope='module')
def films(tmp_path_factory):
    films = synthetic_items(tmp_path_factory.mktemp('films')/'films', n=240, n_genres=3, seed=3)
    rng, genres = np.random.default_rng(0), films.genres.str[0]
    lengths = genres.map({g: 10 + 12*i for i, g in enumerate(sorted(set(genres)))}) + rng.integers(-4, 5, len(films))
    return split_items(films.assign(title=['x'*n for n in lengths]), valid=.1, test=.3, seed=0)


def test_a_modality_of_your_own_is_one_like_the_others(films, registered, tmp_path):
    how = dict(encoder='colours', text_encoder='words')
    without = GenreClassifier(**how, modalities=['image', 'text']).fit(films)
    clf = GenreClassifier(**how).fit(films)
    assert [m.name for m in clf.modalities_] == ['image', 'text',
                                                 'title length'] and clf.score(films) > without.score(films)
    assert {'title lengths alone', 'this classifier'} < set(clf.leaderboard(films).index)
    assert 'without title lengths' in clf.contributions(films).index
    test = films[films.split == 'test']
    p = clf.predict_proba(test)
    again = GenreClassifier.load(clf.save(tmp_path/'m'))
    assert np.allclose(again.predict_proba(test), p, atol=1e-6)
    bundle = load_bundle(tmp_path/'m')
    assert np.allclose(predict_batch(bundle, test.image, test.text, title=test.title), p, atol=1e-6)
    assert clf.predict(title='x'*10) == again.predict(title='x'*10)
    only = GenreClassifier(modalities=TitleLength()).fit(films)
    assert [m.name for m in only.modalities_] == ['title length'] and only.score(films) > .6

def test_a_bundle_of_a_class_that_is_not_there_says_which(films, tmp_path):
    modality(TitleLength)
    GenreClassifier(modalities='title length').fit(films).save(tmp_path/'m')
    MODALITIES.pop('title length'), STATES.pop('title length modality')
    with pytest.raises(BundleError,
                       match="written by genre_fastai .*knows the kind 'title length modality'.*the module that registers it"):
        load_bundle(tmp_path/'m')

@pytest.mark.parametrize('lacks', ['name', 'fit', 'oof_proba', 'to_state'])
def test_a_modality_without_a_member_is_told_which(lacks):
    members = {k: v for k, v in vars(TitleLength).items() if k not in (lacks, '__dict__', '__weakref__')}
    with pytest.raises(TypeError, match=f'Half is no modality: it has no {lacks}'):
        modality(type('Half', (Modality,), members))


@pytest.fixture(scope='module')
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp('old')
    with zipfile.ZipFile(old) as packed: packed.extractall(folder)
    return folder

@pytest.mark.parametrize('name', ['colours and words', 'words and metadata', 'small cnn', 'text network'])
def test_bundles_of_0_5_0_predict_as_they_did(unpacked, name, tmp_path):
    expected = json.loads((unpacked/'expected.json').read_text())[name]
    rows = pd.read_csv(unpacked/'items.csv')
    rows = items_module.make_items(rows.item_id, [str(unpacked/f) for f in rows.image], rows.text, rows.genre,
                                   year=rows.year,
                                   director=rows.director)
    if 'and' in name:
        rows.loc[0, 'text'], rows.loc[1, 'image'] = None, None
    clf = GenreClassifier.load(unpacked/name)
    assert clf.classes_.tolist() == expected['classes']
    assert np.abs(clf.predict_proba(rows) - expected['p']).max() < 1e-6
    again = GenreClassifier.load(clf.save(tmp_path/'again'))        # a loaded model is saved as a fitted one is
    assert np.abs(again.predict_proba(rows) - expected['p']).max() < 1e-6
    assert json.loads((tmp_path/'again'/'config.json').read_text())['format'] == 6


def test_labels_may_be_passed_apart(films):
    how = dict(encoder='colours', modalities='image')
    train, test = films[films.split == 'train'], films[films.split == 'test']
    inside = GenreClassifier(**how).fit(train.assign(split=None))
    names, lists, matrix = train.genres.str[0].to_numpy(str), list(train.genres), genre_matrix(train)
    for y in (names, lists, matrix, pd.DataFrame(matrix, columns=sorted(set(names)))):
        apart = GenreClassifier(**how).fit(train.assign(genres=[['Nonsense']]*len(train)) if y is not matrix else train,
                                           y)
        assert np.array_equal(apart.predict_proba(test), inside.predict_proba(test))
    poisoned = films.assign(split='test')
    assert len(GenreClassifier(**how).fit(poisoned, films.genres.str[0].tolist()).oof_) == len(films), 'split is not looked at'
    truth = test.genres.str[0].tolist()
    assert inside.score(test.assign(genres=[['Nonsense']]*len(test)), truth) == inside.score(test.assign(split=None))
    with pytest.raises(ValueError, match='y has 2 labels for'): inside.score(test, truth[:2])
    with pytest.raises(ValueError, match="genres that were not fitted: 'Opera'"):
        inside.score(test, ['Opera']*len(test))
    with pytest.raises(ValueError, match='y is a matrix of shape'): inside.score(test, np.ones((len(test), 7)))
    with pytest.raises(ValueError, match='which are no names of genres'):
        GenreClassifier(**how).fit(train, np.arange(len(train)))

def test_shuffled_labels_fall_to_chance(films):
    from sklearn.model_selection import permutation_test_score
    few = films[::2]
    score, shuffled, p = permutation_test_score(GenreClassifier(encoder='colours', modalities='image'), few,
                                                few.genres.str[0].to_numpy(str),
                                                cv=3, n_permutations=5, random_state=0)
    assert score > max(shuffled) and abs(np.mean(shuffled) - 1/3) < .1


def test_a_table_is_checked_once_on_its_way_through_fit(films, monkeypatch):
    made, calls = synthetic_metadata(films), []
    honest = items_module.check_items
    def counted(*args, **kwargs):
        calls.append(1)
        return honest(*args, **kwargs)
    for name, module in list(sys.modules.items()):
        if name.startswith('genre_fastai') and getattr(module, 'check_items', None) is honest:
            monkeypatch.setattr(module, 'check_items', counted)
    GenreClassifier(encoder='colours', text_encoder='words', meta_cols=['director', 'runtime']).fit(made)
    assert len(calls) == 1


def test_predicting_needs_no_fastai():
    code = ("import sys, time; start = time.time(); import genre_fastai.predict.bundle; took = time.time() - start\n"
            "assert not [m for m in sys.modules if m.split('.')[0] == 'fastai'] and took < 2.5, took\n"
            "import genre_fastai.predict.modalities; assert not [m for m in sys.modules if m.split('.')[0] == 'fastai']")
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True)


def test_former_names_warn_and_work(films):
    with pytest.warns(DeprecationWarning, match='make_items is now genre_fastai.items.make_items'):
        from genre_fastai.core import make_items
    assert make_items is items_module.make_items
    with pytest.warns(DeprecationWarning, match='GenreClassifier.predict_left_out is now oof_proba'):
        clf = GenreClassifier(encoder='colours', modalities='image').fit(films)
        assert np.array_equal(clf.predict_left_out(films[films.split == 'train']),
                              clf.oof_proba(films[films.split == 'train']))
    with pytest.warns(DeprecationWarning, match=r'reads=...\) is now'):
        GenreClassifier(encoder='colours', reads='image').fit(films)
    with pytest.raises(AttributeError, match='no_such_thing'): clf.no_such_thing
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with pytest.raises(ImportError): from genre_fastai.sources import no_such_reader
    with pytest.raises(ItemsError, match='no metadata to read'): GenreClassifier(modalities='meta').fit(films)


@pytest.mark.parametrize('meta_cols', [None, ['director', 'runtime']])
def test_a_fused_network_is_saved_loaded_and_served(films, tmp_path, meta_cols):
    from genre_fastai.encoders.text import tiny_text_encoder
    from genre_fastai.fine_tune import save_learner
    from genre_fastai.learn.blocks import fused_block
    from genre_fastai.learn.learner import genre_learner, predict_items
    items = synthetic_metadata(films).astype({'image': object, 'text': object})
    items.loc[items.index[::5], 'image'] = None
    items.loc[items.index[1::5], 'text'] = None
    encoder = tiny_text_encoder(tmp_path/'tiny', items.text.dropna())
    block = fused_block(items, size=64, encoder=encoder, max_length=32, stride=8, meta_cols=meta_cols)
    learn = genre_learner(block.dataloaders(items, bs=16, num_workers=0), 'test_resnet', weights=('random', None))
    learn.model.fast = False
    with learn.no_bar(): learn.fine_tune_stages(head_epochs=2, top_epochs=1, all_epochs=1, lr=3e-3)
    rows = items[items.split == 'test']
    expected = predict_items(learn, rows)
    folder = save_learner(learn, tmp_path/'m')
    given = json.dumps([[None if pd.isna(v) else v for v in rows[c]] for c in ('image', 'text', 'director', 'runtime')])
    code = ('import sys, json; from genre_fastai.predict.bundle import load_bundle;'
            'from genre_fastai.predict.modalities import predict_batch; images, texts, people, minutes = json.loads(sys.argv[2]);'
            f'more = dict(director=people, runtime=minutes) if {bool(meta_cols)} else {{}};'
            'p = predict_batch(load_bundle(sys.argv[1]), images, texts, **more); assert "fastai" not in sys.modules;'
            'print(json.dumps(p.tolist()))')
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, folder, given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert np.abs(np.array(json.loads(done.stdout)) - expected).max() < 1e-5
    clf = GenreClassifier.load(folder)
    assert np.abs(clf.predict_proba(rows) - expected).max() < 1e-5 and len(clf.predict(rows)) == len(rows)
    if meta_cols:
        bare = clf.predict_proba(rows.assign(director=None, runtime=None))
        assert np.abs(bare - expected).max() > 1e-4, 'metadata is read'
    damaged = bytearray((folder/'model.safetensors').read_bytes())
    damaged[len(damaged)//2] ^= 1
    (folder/'model.safetensors').write_bytes(damaged)
    with pytest.raises(BundleError, match='SHA-256'): load_bundle(folder)


def test_a_page_defines_a_stored_class_anew_and_does_not_replace_it():
    from genre_fastai.classical.calibration import TemperatureScaling
    from genre_fastai.state import STATES, StateError, state_of, stateful
    again = type('TemperatureScaling', (TemperatureScaling,), {'__module__': '__main__'})
    assert stateful('temperature')(again) is again and STATES['temperature'] is TemperatureScaling
    assert state_of(again(2.)) == ({'kind': 'temperature', 'temperature': 2.}, {})
    with pytest.raises(StateError, match="'temperature' is taken by .*TemperatureScaling"):
        stateful('temperature')(type('Other', (), {}))
    with pytest.raises(StateError, match='a Other cannot be stored'): state_of(type('Other', (TemperatureScaling,), {})(1.))


def test_columns_are_given_by_their_own_names(films):
    films = synthetic_metadata(films)
    clf = GenreClassifier(encoder='colours', text_encoder='words', meta_cols=['director', 'runtime']).fit(films)
    row = films[films.split == 'test'].iloc[0]
    named = dict(text=row.text, director=row.director, runtime=row.runtime)
    assert clf.predict(**named) == clf.predict(text=row.text, meta={'director': row.director, 'runtime': row.runtime})
    with pytest.raises(ValueError, match="not fitted on 'directer'. Did you mean 'director'"): clf.predict(directer='Ada')
    with pytest.raises(ValueError, match=r'modalities=\[\] names nothing'): GenreClassifier(modalities=[]).fit(films)
