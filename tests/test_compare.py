"Compare: true memory, kills in the middle, nothing run twice, nothing taken for another"
import multiprocessing, os, re, signal, sys, threading, time
from pathlib import Path
from types import SimpleNamespace

import numpy as np, pandas as pd, pytest, torch
from matplotlib.text import Text
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

import jobs
from genre_fastai.learn.blocks import cover_block
from genre_fastai.runs import RunError, locked
from genre_fastai.train.checkpoints import load_checkpoint, save_checkpoint
from genre_fastai.predict.compare import (BaselineModel, LearnerModel, _fingerprint, compare, count_parameters,
                                          format_comparison,
                                  measure_model, peak_memory, plot_compare)
from genre_fastai.runs import cache_folder, start_run
from genre_fastai.items import ItemsError, genre_vocab, make_items, save_items
from genre_fastai.encoders.image import ColourEncoder
from genre_fastai.predict.classifier import GenreClassifier
from genre_fastai.evaluate.metrics import genre_scores
from genre_fastai.data.split import split_items
from genre_fastai.datasets.synthetic import synthetic_items

MEASURED = ['fit_s', 'train_per_s', 'test_per_s', 'latency_ms', 'memory_mb', 'idle_mb']


def texts_of(items): return [text or '' for text in items.text]

def words(model=None, **kwargs):
    return BaselineModel(make_pipeline(TfidfVectorizer(), model or LogisticRegression()), read=texts_of, **kwargs)

CANDIDATES = [BaselineModel('svm', ColourEncoder()), LearnerModel(cover_block, block_args={'size': 32, 'augment': False}),
              GenreClassifier(encoder=['colours', ColourEncoder()]), words(seed=4)]

def unmeasured(table): return table.drop(columns=[*MEASURED, 'gpu_mb'])


@pytest.fixture(scope='module')
def items(tmp_path_factory):
    made = synthetic_items(tmp_path_factory.mktemp('w')/'w', n=90, n_genres=3, images=False, seed=2)
    return split_items(made, valid=.2, test=.3)

@pytest.fixture(scope='module')
def several(tmp_path_factory):
    world = dict(n_genres=4, images=False, multilabel=True, seed=2)
    return split_items(synthetic_items(tmp_path_factory.mktemp('w')/'w', n=90, **world), valid=.2, test=.3)

@pytest.fixture(scope='module')
def covers(tmp_path_factory):
    return split_items(synthetic_items(tmp_path_factory.mktemp('w')/'w', n=60, n_genres=3, size=(48, 72)), valid=.2,
                       test=.3)

def is_running(pid):
    try: os.kill(pid, 0)
    except ProcessLookupError: return False
    state = Path(f'/proc/{pid}/stat')
    return not state.exists() or state.read_text().rsplit(') ', 1)[1][0] != 'Z'

def ends_soon(pid):
    until = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < until: time.sleep(.05)
    return not is_running(pid)

def notes(place):
    "What `Guess` has written: memory, seed and process of each fit"
    path = place/'notes'
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

@pytest.fixture(scope='module')
def killed(items, tmp_path_factory):
    "A comparison of two models, killed while the second was fitted, and what it left; then the call that ends it"
    place = tmp_path_factory.mktemp('killed')
    save_items(items, place/'items.parquet')
    job = multiprocessing.get_context('spawn').Process(target=jobs.compare_guesses,
                                                       args=(place/'items.parquet', place, CANDIDATES))
    job.start()
    while job.is_alive() and len(notes(place)) < 2: time.sleep(.02)
    os.kill(job.pid, signal.SIGKILL)
    job.join()
    left = SimpleNamespace(place=place, model_ended=ends_soon(int(notes(place)[1][2])),
                           files=sorted(p.name for p in (place/'killed').iterdir()))
    (place/'go').touch()
    ballast = np.ones(75_000_000)
    left.table = compare(items, jobs.guesses(place), seeds=[3], folder=place/'killed')
    left.caller_mb = peak_memory() if len(ballast) else 0
    return left

@pytest.fixture
def ran(monkeypatch):
    "Measure in this process, which is quicker; the list says what was run"
    pairs = []
    def run(path, model, items, seed):
        pairs.append((getattr(model, 'megabytes', None), seed))
        if getattr(model, 'error', None): return f'KeyError: {model.error}'
        probabilities, facts = measure_model(model, items, seed)
        save_checkpoint(path, {k: torch.tensor(p) for k, p in probabilities.items()}, facts)
    monkeypatch.setattr('genre_fastai.predict.compare._run_pair', run)
    return pairs


def test_a_kill_leaves_whole_results_only(killed):
    assert killed.model_ended, 'the process of the model outlived its caller'
    assert [re.sub('[0-9a-f]{16}', '*', name) for name in killed.files] == [
        '.lock', 'large-3-*.log', 'large-3-*.safetensors', 'run.json', 'small-3-*.log']


def test_what_was_finished_before_a_kill_is_not_run_again(killed, items, ran):
    assert [n[:2] for n in notes(killed.place)[:3]] == [['200', '3'], ['0', '3'], ['0', '3']]
    whole = compare(items, jobs.guesses(killed.place), seeds=[3])
    pd.testing.assert_frame_equal(unmeasured(killed.table), unmeasured(whole))


def test_candidates_are_known_again_by_another_process(killed):
    assert (killed.place/'fingerprints').read_text() == repr([_fingerprint('', c) for c in CANDIDATES])
    assert len({repr(_fingerprint('', c)) for c in CANDIDATES}) == len(CANDIDATES)


def test_memory_is_that_of_one_model_alone(killed):
    needed = killed.table.memory_mb - killed.table.idle_mb
    assert 190 < needed['large'] < 260 and needed['small'] < 60
    assert killed.table.idle_mb['small'] < killed.caller_mb - 400  # what the caller holds is not counted


def test_a_model_that_fails_is_a_row(items, killed):
    folder, done = killed.place/'killed', len(notes(killed.place))
    models = jobs.guesses(killed.place) | {'broken': jobs.Guess(error='no\nsuch thing')}
    with pytest.warns(UserWarning, match="1 of 3 models failed: broken, seed 3: KeyError") as said:
        table = compare(items, models, [3], folder)
    assert '\n' not in str(said[0].message)
    assert len(notes(killed.place)) == done  # the others were not run again
    assert 'KeyError' in table.error['broken'] and table.error[['large', 'small']].isna().all()
    assert np.isnan(table.accuracy['broken'])
    assert 'Traceback' in next(folder.glob('broken-3-*.log')).read_text()
    shown = format_comparison(table)
    assert shown.loc['broken', 'seeds'] == 0 and shown.loc['large', 'error'] == ''
    assert shown.loc['broken', 'memory, MB'] == '–'
    assert {t.get_text() for t in plot_compare(table).texts} == {'large', 'small'}


def test_a_process_that_is_killed_from_outside_is_a_row(items, monkeypatch, tmp_path):
    class Killed(jobs.Guess):
        def fit(self, items, y=None): os.kill(os.getpid(), signal.SIGKILL)
    # as if a notebook had defined it: it travels as it is
    Killed.__module__, Killed.__qualname__ = '__main__', 'Killed'
    monkeypatch.setattr(sys.modules['__main__'], 'Killed', Killed, raising=False)
    with pytest.raises(RunError, match='ended with code -9, killed from outside'):
        compare(items, {'a': Killed()}, [0], tmp_path/'run')


@pytest.fixture
def interruptible():
    "Ctrl-C works, even where this process was started in the background and is told to ignore it"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_the_model_too(items, tmp_path, interruptible):
    def interrupt():
        while not notes(tmp_path): time.sleep(.02)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        compare(items, {'a': jobs.Guess(tmp_path/'notes', wait_for=tmp_path/'never')}, [0], tmp_path/'run')
    assert not is_running(int(notes(tmp_path)[0][2])) and not list((tmp_path/'run').glob('*.safetensors'))


def test_only_what_is_missing_is_run(items, ran, tmp_path):
    models = {'a': jobs.Guess(), 'b': jobs.Guess(megabytes=1)}
    first = compare(items, models, [0, 1], tmp_path/'run')
    assert ran == [(0, 0), (1, 0), (0, 1), (1, 1)] and first.seeds.tolist() == [2, 2]
    pd.testing.assert_frame_equal(compare(items, models, [0, 1], tmp_path/'run'), first)
    compare(items, {'a': jobs.Guess(), 'c': jobs.Guess(megabytes=2)}, [1, 2], tmp_path/'run')
    assert ran[4:] == [(2, 1), (0, 2), (2, 2)]
    next((tmp_path/'run').glob('a-1-*.safetensors')).write_bytes(b'half')
    compare(items, models, [0, 1], tmp_path/'run')
    assert ran[7:] == [(0, 1)]
    compare(items, {'a': jobs.Guess(seed=5).fit(items[items.split == 'train'])}, [0], tmp_path/'run')
    assert len(ran) == 9  # seed=5 is another candidate; that it was fitted before does not matter:
    compare(items, {'a': jobs.Guess(seed=5)}, [0], tmp_path/'run')
    assert len(ran) == 9


def test_the_mean_and_the_spread_are_those_of_the_seeds(items, ran, tmp_path):
    table = compare(items, {'a': jobs.Guess(), 'linear': words()}, [0, 1, 2], tmp_path/'run',
                    metrics=['log_loss', 'accuracy'])
    pairs = pd.read_csv(tmp_path/'run'/'pairs.csv').set_index(['model', 'seed'])
    of_a = pairs.log_loss['a']
    assert of_a.nunique() == 3 and table.log_loss['a'] == pytest.approx(of_a.mean())
    assert table.sd['a'] == pytest.approx(of_a.std())
    assert table.sd['linear'] == pytest.approx(0) and table.columns[0] == 'log_loss' and table.accuracy['linear'] > .5
    assert (table.log_loss_low <= table.log_loss).all() and (table.log_loss <= table.log_loss_high).all()
    pd.testing.assert_frame_equal(unmeasured(compare(items, {'a': jobs.Guess(), 'linear': words()}, [0, 1, 2],
                                                     metrics=['log_loss', 'accuracy'])),
                                  unmeasured(table))


def test_another_table_or_run_in_the_folder_is_refused(items, ran, tmp_path):
    models = {'a': jobs.Guess()}
    compare(items, models, [0], tmp_path/'run')
    for column, value in (('text', 'another'), ('split', 'test'), ('genres', ['Drama'])):
        other = items.copy()
        other.at[other.index[0], column] = value
        with pytest.raises(RunError, match='another table of items'): compare(other, models, [0], tmp_path/'run')
    compare(other, models, [0], tmp_path/'run', overwrite=True)
    assert len(list((tmp_path/'run').glob('*.safetensors'))) == 1 and len(ran) == 2
    start_run(tmp_path/'training', arch='small_cnn')
    with pytest.raises(RunError, match='a run of another kind'): compare(items, models, [0], tmp_path/'training')
    with locked(tmp_path/'run'):
        with pytest.raises(RunError, match='in use by another run'): compare(items, models, [0], tmp_path/'run')


@pytest.mark.parametrize('models, message', [
    ({}, 'no models to compare'), ({'a': jobs.Guess}, 'it is a class'),
    ({'a': 'knn'}, 'lacks'), ({'a': BaselineModel(read=lambda items: 0)}, 'not lambda')])
def test_what_is_no_candidate_is_refused(items, ran, tmp_path, models, message):
    with pytest.raises(ValueError, match=message): compare(items, models, [0], tmp_path/'run')


def test_bad_calls_are_refused_before_any_run(items, ran):
    with pytest.raises(ValueError, match="no metric 'acc'"): compare(items, {'a': jobs.Guess()}, metrics=['acc'])
    with pytest.raises(ValueError, match='no seeds'): compare(items, {'a': jobs.Guess()}, [])
    with pytest.raises(ItemsError, match="no row has split 'test'"):
        compare(items[items.split != 'test'], {'a': jobs.Guess()})
    with pytest.raises(ItemsError, match='Set it first'): compare(items.assign(split=None), {'a': jobs.Guess()})
    assert ran == []


def test_all_fail(items, ran, tmp_path):
    with pytest.raises(RunError, match='1 of 1 models failed.*KeyError: gone'):
        compare(items, {'a': jobs.Guess(error='gone')}, [0], tmp_path/'run')


def test_several_genres_have_thresholds_from_valid_rows(several, ran, tmp_path):
    table = compare(several, {'linear': words(OneVsRestClassifier(LogisticRegression()))}, [0], tmp_path/'run')
    probabilities, _ = load_checkpoint(next((tmp_path/'run').glob('*.safetensors')))
    assert set(probabilities) == {'test', 'valid'} and list(table.columns[:3]) == ['map', 'map_low', 'map_high']
    assert table.loc['linear', 'map'] > .5 and table.macro_f1['linear'] > .5


class Odd(jobs.Guess):
    def fit(self, items, y=None):
        self.classes_ = np.array(genre_vocab(items)[::-1][:2])  # another order, and one genre less
        return self
    def predict_proba(self, items): return np.tile([.7, .3], (len(items), 1))


def test_columns_are_put_in_order_by_name(items):
    probabilities, _ = measure_model(Odd(), items)
    assert (probabilities['test'] == [0, .3, .7]).all()


@pytest.mark.parametrize('p, message', [(np.nan, 'NaN'), (.9, 'sum to 1'), (3, 'outside 0 to 1')])
def test_probabilities_that_are_none_are_an_error(items, p, message):
    class Bad(Odd):
        def predict_proba(self, items): return np.full((len(items), 2), p)
    with pytest.raises(ValueError, match=message): measure_model(Bad(), items)


def test_every_part_begins_with_an_empty_cache(items, monkeypatch, tmp_path):
    places = []
    class Curious(jobs.Guess):
        def fit(self, items, y=None):
            places.append(cache_folder())
            return super().fit(items)
        def predict_proba(self, items):
            places.append(cache_folder())
            return super().predict_proba(items)
    monkeypatch.setenv('GENRE_FASTAI_CACHE', str(tmp_path))
    measure_model(Curious(), items, n_single=3)
    assert len(places) == 6 and len(set(places)) == 3 and cache_folder() == tmp_path
    assert not any(p.exists() for p in places)


def test_one_test_row_is_enough(items):
    few = pd.concat([items[items.split != 'test'], items[items.split == 'test'][:1]])
    assert measure_model(jobs.Guess(), few)[1]['latency_ms'] > 0


@pytest.mark.filterwarnings('ignore')  # two steps are too few
def test_seeds_reach_every_part_of_a_model(items):
    made = words(OneVsRestClassifier(MLPClassifier(2, max_iter=2)), seed=7)
    made.fit(items)
    assert made.model_.get_params()['onevsrestclassifier__estimator__random_state'] == 7
    assert BaselineModel('chance', read=lambda items: np.zeros((len(items), 1)), seed=7).fit(items).model_.seed == 7
    with pytest.raises(ValueError, match="no baseline is called 'oracle'"): BaselineModel('oracle').fit(items)


def test_a_network_gives_the_same_scores_with_the_same_seed(covers):
    network = LearnerModel(epochs=1, block_args={'size': 32})
    runs = [measure_model(network, covers, seed, n_single=1) for seed in (0, 0, 1)]
    same, again, other = (p['test'] for p, _ in runs)
    assert np.array_equal(same, again) and not np.allclose(same, other)
    assert runs[0][1]['parameters'] > 100_000


def test_stages_and_the_estimator_are_candidates(covers):
    staged = LearnerModel(arch='test_resnet', bs=16, stages=dict(head_epochs=0, top_epochs=1, all_epochs=2),
                          block_args={'size': 32}, learner_args={'weights': 'random'})
    _, facts = measure_model(staged, covers, n_single=1)
    n_train = (covers.split == 'train').sum()
    assert facts['train_per_s']*facts['fit_s'] == pytest.approx(3*n_train)  # three epochs
    p, facts = measure_model(GenreClassifier(encoder='colours', modalities='image'), covers, n_single=1)
    y = np.array([[g in gs for g in genre_vocab(covers)] for gs in covers.genres[covers.split == 'test']]).astype(int)
    assert genre_scores(y, p['test'], False)['accuracy'] > .4 and facts['parameters'] == 3*n_train


def test_parameters_are_counted_once():
    x, y = np.random.default_rng(0).normal(size=(30, 5)), np.arange(30) % 3
    assert count_parameters(OneVsRestClassifier(LogisticRegression()).fit(x, y)) == 3*(5 + 1)
    assert count_parameters(MLPClassifier(4, max_iter=500).fit(x, y)) == 5*4 + 4 + 4*3 + 3
    svm = SVC().fit(x, y)
    assert count_parameters(svm) == svm.support_vectors_.size + svm.dual_coef_.size + 3
    layer = torch.nn.Linear(3, 3)
    assert count_parameters([layer, torch.nn.Sequential(layer)]) in (12, 24)
    assert count_parameters(object()) is None


@pytest.mark.parametrize('n', [1, 3, 15])
def test_names_do_not_lie_over_each_other(n):
    same = pd.DataFrame({'accuracy': np.linspace(.7, .71, n), 'accuracy_low': .6, 'accuracy_high': .8, 'fit_s': 2.},
                        index=[f'a model with a long name {i}' for i in range(n)])
    ax = plot_compare(same)
    ax.figure.draw_without_rendering()
    boxes = [Text.get_window_extent(t) for t in ax.texts]  # without the lines
    assert len(boxes) == n and not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    tops = [t.get_position()[1] for t in ax.texts]
    assert tops == sorted(tops, reverse=True) and ax.texts[0].get_text() == same.index[-1]
