"Every experiment by one call: at tiny size, from random and from given weights, interrupted, with wrong input"
import warnings

import numpy as np, pandas as pd, pytest, torch
from fastai.vision.all import Callback, Learner
from safetensors.torch import save_file

from genre_fastai.learn.blocks import poster_block
from genre_fastai.encoders.image import load_body
from genre_fastai.predict.bundle import load_bundle
from genre_fastai.predict.modalities import predict_batch
from genre_fastai.items import ItemsError, genre_matrix, genre_vocab, is_multilabel, make_items
from benchmarks.poster_study import EXPERIMENTS, experiment_items, run_experiment
from genre_fastai.train.stages import OPTIMISERS, Stage, nadam, plan_stages
from genre_fastai.fine_tune import learner_probabilities, save_learner
from genre_fastai.learn.learner import genre_learner
from genre_fastai.datasets.synthetic import synthetic_metadata
from genre_fastai.evaluate.metrics import format_scores, genre_scores
from genre_fastai.learn.models import HEADS, genre_net, lower_top_head
from genre_fastai.data.split import split_items
from genre_fastai.datasets.synthetic import synthetic_items
from genre_fastai.classical.text_baselines import fit_text_baselines

tiny = dict(size=64, epochs=1, bs=16)
body = dict(arch='test_efficientnet', weights='random')


@pytest.fixture(scope='module')
def items(tmp_path_factory):
    made = synthetic_items(tmp_path_factory.mktemp('w')/'w', n=100, n_genres=5, multilabel=True, seed=2)
    return synthetic_metadata(split_items(made, valid=.2, test=.2))

@pytest.fixture(scope='module')
def given(tmp_path_factory):
    "A file of weights, as a pretrained body would come"
    path = tmp_path_factory.mktemp('weights')/'test_efficientnet.safetensors'
    save_file(load_body('test_efficientnet', 'random', seed=5).model.state_dict(), path)
    return dict(arch='test_efficientnet', weights=path)

def arguments(name, chosen):
    "What a tiny run needs: the small network is what it is"
    more = dict(text_encoder='words') if name == 'everything' else {}
    return tiny | more | ({} if EXPERIMENTS[name].arch == 'small_cnn' else chosen)


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_each_runs_and_judges_itself(name, items, tmp_path, capsys):
    result = run_experiment(name, items, tmp_path/'run', **arguments(name, body))
    test = result.items[result.items.split == 'test']
    vocab = genre_vocab(result.items)
    for p in result.probabilities.values():
        assert p['test'].shape == (len(test), len(vocab)) and ((p['test'] >= 0) & (p['test'] <= 1)).all()
    assert list(result.report.index[:len(vocab)]) == vocab and set(result.scores.n) == {len(test)}
    assert is_multilabel(result.items) == (EXPERIMENTS[name].labels == 'all') == (result.thresholds is not None)
    assert (result.curves is not None) == (EXPERIMENTS[name].kind == 'network')
    said = 'No overfitting' if EXPERIMENTS[name].kind == 'network' else 'no curves'   # one epoch a stage
    assert said in result.said
    assert name in (tmp_path/'run'/'experiment.html').read_text()
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith(f'{name}: ')
    assert 'together' in rest[0] if EXPERIMENTS[name].kind == 'network' else ' s, as far as a trial' in first


@pytest.mark.parametrize('name, stages', [('inception v3', ['head', 'top']), ('vgg16 + fully connected', ['head']),
                                          ('vgg16 + conv block', ['new head'])])
def test_given_weights_are_kept_below_the_stages(name, stages, items, given, tmp_path):
    result = run_experiment(name, items, tmp_path, **arguments(name, given))
    assert list(result.curves.stage) == stages
    lower = lower_top_head(result.model.model)[0]
    untouched = load_body(**given).model.state_dict()
    trained = result.model.model.body.model.state_dict()
    changed = [k for k in untouched if not torch.equal(untouched[k], trained[k]) and 'num_batches' not in k]
    assert len(lower) and (len(changed) > 0) == ('top' in stages)


@pytest.mark.parametrize('last, said', [(1.5, "Overfitting (over-training) in stage 'nadam': after epoch 1"),
                                        (1.01, 'No overfitting')])
def test_over_training_is_said(last, said, items, tmp_path, monkeypatch):
    real = Learner.fine_tune_stages
    monkeypatch.setattr(Learner, 'fine_tune_stages', lambda *args, **kwargs: real(*args, **kwargs).assign(
        train_loss=[3., 2.], valid_loss=[1., last]))   # as if it had gone so
    result = run_experiment('small net', items, tmp_path, **tiny | dict(epochs=2))
    assert said in result.said and ('No overfitting' in result.said) == (last < 1.02)
    assert said.split(' in ')[0] in (tmp_path/'experiment.html').read_text()


@pytest.mark.parametrize('name', ['metadata', 'everything'])
def test_a_classifier_is_judged_as_it_judges_itself(name, items, tmp_path):
    more = dict(arch='colours', text_encoder='words') if name == 'everything' else {}
    result = run_experiment(name, items, tmp_path, **more)
    clf, y = result.model, genre_matrix(test := result.items[result.items.split == 'test'], genre_vocab(result.items))
    assert np.array_equal(result.thresholds, clf.thresholds_)
    assert clf.report(result.items).equals(format_scores(result.report))
    expected = genre_scores(y, clf.predict_proba(test), True, clf.thresholds_)
    assert result.scores.macro_f1['classifier'] == expected['macro_f1']
    assert clf.score(result.items) == result.scores['map']['classifier']


def test_a_trial_keeps_the_split_and_its_warnings_to_itself(tmp_path, capsys):
    genres = [[['A', 'B', 'C'][i % 3]] for i in range(400)]
    rows = make_items(text=[f'{gs[0]} {i} words of a film' for i, gs in enumerate(genres)], genres=genres,
                      split=['train']*220 + ['valid']*80 + ['test']*100)
    for n, counts in [(30, [16, 6, 8]), (60, [33, 12, 15])]:
        assert experiment_items('text', rows, n).split.value_counts()[['train', 'valid', 'test']].tolist() == counts
    leaky = rows.assign(year=[1900 + 10*'ABC'.index(gs[0]) for gs in genres])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        run_experiment('metadata', leaky, tmp_path, meta_cols=['year'])
    said = [str(w.message) for w in seen]
    assert len(said) == len(set(said)) and sum('year' in s for s in said) == 1
    assert ' s, as far as a trial' in capsys.readouterr().out


def test_a_trial_that_fails_says_so(items, tmp_path, capsys, monkeypatch):
    real = fit_text_baselines
    def few_fail(rows, *args, **kwargs):
        if len(rows) < len(items): raise ValueError('too few words.\nNo further words.')
        return real(rows, *args, **kwargs)
    monkeypatch.setattr('benchmarks.poster_study.fit_text_baselines', few_fail)
    run_experiment('text', items, tmp_path)
    first = capsys.readouterr().out.splitlines()[0]
    assert first.endswith('No time estimate: a trial on 60 items failed, too few words.')


@pytest.mark.parametrize('name', ['small net', 'inception v3'])
def test_labels_of_test_rows_choose_no_genres(name, items):
    "Neither the four most frequent, nor the dominant one"
    rare, test = items.genres.explode().value_counts().index[-1], items[items.split == 'test']
    more = [test.assign(item_id=f'{i} ' + test.item_id, genres=[[rare] for _ in test.index]) for i in range(5)]
    odd = pd.concat([items, *more], ignore_index=True)
    assert odd.genres.explode().value_counts().index[0] == rare
    a, b = (experiment_items(name, rows).query('split == "train"') for rows in (items, odd))
    assert a.genres.tolist() == b.genres.tolist()


class Stop(Callback):
    "Ctrl-C after some epochs"
    def __init__(self, after): self.left = after
    def before_epoch(self):
        if not self.left: raise KeyboardInterrupt
        self.left -= 1


@pytest.mark.parametrize('after', [1, 3])
def test_an_interrupted_one_goes_on(after, items, tmp_path, monkeypatch):
    "In the stage of Nadam, and in that of SGD"
    settings = tiny | dict(epochs=2)
    whole = run_experiment('small cnn', items, tmp_path/'whole', **settings)
    with monkeypatch.context() as m:
        m.setattr('benchmarks.poster_study.genre_learner',
                  lambda *args, **kwargs: genre_learner(*args, cbs=[Stop(after)], **kwargs))
        with pytest.raises(KeyboardInterrupt): run_experiment('small cnn', items, tmp_path/'cut', **settings)
    assert len(pd.read_csv(tmp_path/'cut'/'curves.csv')) == after
    rest = run_experiment('small cnn', items, tmp_path/'cut', **settings)
    pd.testing.assert_frame_equal(rest.curves.drop(columns='seconds'), whole.curves.drop(columns='seconds'))
    assert np.array_equal(rest.probabilities['small_cnn']['test'], whole.probabilities['small_cnn']['test'])


def test_wrong_input_is_one_clear_line(items, tmp_path):
    def fails(match, name='text', rows=items, kind=ItemsError, **kwargs):
        with pytest.raises(kind, match=match) as e: run_experiment(name, rows, tmp_path, **tiny | kwargs)
        assert '\n' not in str(e.value)
    fails("no experiment 'vgg16 and conv block'. Did you mean 'vgg16 \\+ conv block'", 'vgg16 and conv block',
          kind=ValueError)
    fails("no column 'overviw'. Did you mean 'overview'", rows=items.assign(overview='x'), text_cols=['overviw'])
    fails("no column 'casts'. Did you mean 'cast'", 'metadata', meta_cols=['casts'])
    fails('split', rows=items.assign(split=None))
    fails("no row of .* has split 'test'", rows=items[items.split != 'test'])
    fails('text', rows=items.assign(text=None))
    fails('image', 'small cnn', rows=items.assign(image=None))
    fails("'inception v3' builds on a trained network, and small_cnn starts from nothing.*run 'small cnn'",
          'inception v3', kind=ValueError, arch='small_cnn')
    fails("no row of .* has split 'train'", 'small net', rows=items[items.split != 'train'])
    fails('inception_v3 needs pictures of 75 pixels and more; size is 64', 'inception v3', kind=ValueError)
    fails('n is 101; use 1 to 100', n_items=101, kind=ValueError)
    assert not (tmp_path/'experiment.html').exists()


def test_genres_that_train_lacks_are_named_and_left_out(items):
    odd = items.assign(genres=[[*gs, 'Rare'] if s == 'test' else gs for s, gs in zip(items.split, items.genres)])
    with pytest.warns(UserWarning, match="1 genres have no item in train and are left out: 'Rare'"):
        left = experiment_items('text', odd)
    assert left.genres.tolist() == items.genres.tolist()


def test_items_without_metadata_are_named_and_left_out(items, tmp_path):
    bare = items.copy()
    bare.loc[bare.index[:2], columns := ['director', 'cast', 'runtime', 'released']] = None
    with pytest.warns(UserWarning, match='items have no metadata and are left out'):
        result = run_experiment('metadata', bare, tmp_path, meta_cols=columns)
    assert not set(result.items.item_id) & set(bare.item_id[:2])


def test_size_is_the_users(items, tmp_path):
    result = run_experiment('metadata', items, tmp_path, n_items=60)
    assert len(result.items) == 60
    learnt = items[items.split == 'train'].genres.explode().value_counts()
    assert set(genre_vocab(experiment_items('small net', items))) == set(learnt.index[:4])
    first = experiment_items('inception v3', items, single='first')
    assert first.genres.str[0].tolist() == items.genres.str[0].tolist()


def test_lists_and_gaps_are_read_as_text(items, tmp_path):
    rows = items.assign(crew=[['Ada Abel', gs[0]] for gs in items.genres], text=None,
                        overview=[None, *['a film']*(len(items) - 1)])
    result = run_experiment('text', rows, tmp_path, text_cols=['overview', 'crew'])
    found = result.scores['map']
    assert found['sgd on words'] > found['majority'] + .2   # the crew tells one genre of each film
    arrays = rows.assign(crew=[np.array(c, object) for c in rows.crew])   # as a list comes from a Parquet file
    again = run_experiment('text', arrays, tmp_path, text_cols=['overview', 'crew'])
    assert again.items.text.tolist() == result.items.text.tolist()


@pytest.mark.parametrize('arch, size, head',
                         [('inception_v3', 75, 'linear'), ('vgg16', 32, 'conv'), ('vgg19', 32, 'conv')])
def test_the_named_networks_learn_from_nothing_at_their_smallest(arch, size, head):
    torch.manual_seed(0)
    net, x, y = genre_net(arch, 3, 'random', head=head), torch.randn(4, 3, size, size), torch.tensor([0, 1, 2, 0])
    groups = lower_top_head(net)
    loss = torch.nn.functional.cross_entropy(net(x), y)
    loss.backward()
    assert loss.isfinite() and all(p.grad is not None and p.grad.isfinite().all() for group in groups for p in group)


@pytest.mark.parametrize('head', HEADS)
def test_each_head_is_stored_whole(head, items, tmp_path):
    dls = poster_block(items, size=64).dataloaders(items, bs=16)
    learn = genre_learner(dls, 'test_efficientnet', weights='random', head=head)
    learn.model.fast = False
    p = learner_probabilities(learn, items)['test']
    bundle = load_bundle(save_learner(learn, tmp_path/'m'))
    assert np.abs(predict_batch(bundle, images=items[items.split == 'test'].image) - p).max() < 1e-4


def test_heads_where_they_do_not_fit(items):
    dls = poster_block(items, size=64).dataloaders(items, bs=16)
    for head, arch, match in [('konv', 'test_efficientnet', "Did you mean 'conv'"),
                              ('conv', 'small_cnn', 'a head of its own')]:
        with pytest.raises(ValueError, match=match): genre_learner(dls, arch, weights='random', head=head)
    learn = genre_learner(dls, 'test_efficientnet', weights='random', head='conv')
    assert [s.name for s in plan_stages(learn.model, head_epochs=1, all_epochs=0)] == ['new head']
    with pytest.raises(ValueError, match='needs more than vectors'):
        learn.fine_tune_stages(stages=[Stage('head', 1, 1e-3, -1)])
    with pytest.raises(ValueError, match="no optimiser 'nadm'. Did you mean 'nadam'"):
        learn.fine_tune_stages(stages=[Stage('all', 1, 1e-3, 0, 'nadm')])


@pytest.mark.parametrize('seed', range(3))
def test_nadam_is_pytorchs(seed):
    torch.manual_seed(seed)
    start, target = torch.randn(2, 7)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    opts = nadam([ours], lr=.03), torch.optim.NAdam([theirs], lr=.03, eps=1e-7, momentum_decay=1e6)
    for _ in range(30):
        for p, opt in zip((ours, theirs), opts):
            ((p - target)**2).sum().backward()
            opt.step()
            opt.zero_grad()
    assert torch.allclose(ours, theirs, atol=1e-5) and not torch.allclose(ours, start)


def test_a_steady_stage_keeps_its_rate(items):
    seen = []
    class Rates(Callback):
        def after_batch(self):
            if self.training: seen.append((self.opt.hypers[-1]['lr'], self.opt.hypers[-1]['mom']))
    dls = poster_block(items, size=64).dataloaders(items, bs=16)
    learn = genre_learner(dls, cbs=[Rates()])
    usual = learn.opt_func
    learn.fine_tune_stages(stages=[Stage('sgd', 2, 1e-4, 0, 'sgd', steady=True)])
    assert np.allclose(seen, (1e-4, .9)) and learn.opt_func is usual
    assert set(OPTIMISERS) == {'adam', 'nadam', 'rmsprop', 'sgd'}
