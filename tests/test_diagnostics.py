"The collapse alarm: it rings for a collapse in the first epoch, and for nothing else; training never notices it"
import copy, math, pickle, warnings
from types import SimpleNamespace

import matplotlib, matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, torch
from fastai.vision.all import (SGD, BCEWithLogitsLossFlat, Callback, CrossEntropyLossFlat, DataLoaders, Learner, MixUp,
                               resnet18, vision_learner)
from torch import nn

from genre_fastai.learn.blocks import cover_block
from genre_fastai.diagnose.activations import (Diagnostics, LayerWatch, layer_hooks, plot_dynamics, plot_histograms,
                                               plot_layers, prediction_churn)
from genre_fastai.diagnose.collapse import CollapseAlarm, CollapseWarning, plot_predicted_shares
from genre_fastai.learn.learner import EpochSeed, genre_learner
from genre_fastai.data.split import split_items
from genre_fastai.datasets.synthetic import synthetic_items

matplotlib.use('Agg')
worlds = {'balanced': dict(n_genres=4), 'two thirds': dict(n_genres=3, imbalance=1.9),
          'several': dict(n_genres=5, multilabel=True, imbalance=.8)}


def test_what_is_no_learner_and_no_number_of_batches_is_refused():
    with pytest.raises(ValueError, match=r'a int is no learner. Write Diagnostics\(learn, every=10\)'): Diagnostics(5)
    with pytest.raises(ValueError, match='every is 0'): Diagnostics(every=0)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp('worlds')
    return {name: split_items(synthetic_items(folder/name, n=150, seed=5, size=(80, 100), **kwargs), valid=.2, test=.1)
            for name, kwargs in worlds.items()}

def loaders(items, bs=16, size=64):
    return cover_block(items, size=size, augment=False).dataloaders(items, bs=bs, num_workers=0)

def fit(learn, epochs=1, lr=1e-3, method='fit'):
    "Fit without bars; the collapse warnings"
    with warnings.catch_warnings(record=True) as caught, learn.no_bar(), learn.no_logging():
        warnings.simplefilter('always')
        getattr(learn, method)(epochs, lr)
    return [str(w.message) for w in caught if issubclass(w.category, CollapseWarning)]

def plain_net(n_out, widths=(16, 32, 64, 64)):
    "No normalisation: dies of a high rate, and starts slowly at a low one"
    layers = []
    for n_in, n in zip((3, *widths), widths): layers += [nn.Conv2d(n_in, n, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4*widths[-1], 64), nn.ReLU(),
                         nn.Linear(64, n_out))

def plain_learner(dls, *cbs, seed=0, loss_func=None):
    torch.manual_seed(seed)
    net = plain_net(len(dls.vocab))
    return Learner(dls, net, loss_func=loss_func or CrossEntropyLossFlat(), cbs=[EpochSeed(seed), *cbs])


def test_vgg19_at_a_rate_too_high_is_found_in_its_first_epoch(made):
    rows = made['balanced']
    rows = rows[rows.split != 'test'].groupby('split').head(24).reset_index(drop=True)
    learn = genre_learner(loaders(rows, bs=8, size=32), 'vgg19', weights='random', cbs=[CollapseAlarm(stop=True)])
    found = fit(learn, 3, .1)
    assert len(found) == 1 and 'in epoch 1' in found[0] and 'First thing to try: a lower learning rate. It went up to 0.1' in found[0]
    assert learn.epoch == 0


@pytest.mark.parametrize('name, arch, rate', [
    ('balanced', 'plain', .1), ('several', 'plain', .3), ('two thirds', 'plain', .3),
    ('balanced', 'test_convnext', 1.)])
def test_collapse_is_found_in_the_first_epoch(name, arch, rate, made):
    dls, alarm = loaders(made[name]), CollapseAlarm()
    loss = BCEWithLogitsLossFlat() if name == 'several' else CrossEntropyLossFlat()
    learn = plain_learner(dls, alarm, loss_func=loss) if arch == 'plain' else genre_learner(dls, arch, 'random',
                                                                                            cbs=[alarm])
    found = fit(learn, 2, rate)
    assert len(found) == 1 and found[0] == alarm.message    # once a fit, though the second epoch is no better
    assert found[0].startswith('Collapse in epoch 1')
    assert sorted(set(alarm.figures.epoch)) == [1, 2]        # warned only: the fit went on


healthy = [('small_cnn', 'balanced', 16, 'fit', 2, 1e-3), ('small_cnn', 'two thirds', 32, 'fit_one_cycle', 1, 3e-3),
           ('small_cnn', 'several', 16, 'fit', 2, 1e-4), ('test_resnet', 'two thirds', 16, 'fit', 1, 1e-3),
           ('test_resnet', 'balanced', 16, 'frozen', 2, 1e-3), ('test_resnet', 'several', 32, 'fit', 2, 1e-3),
           ('test_convnext', 'two thirds', 8, 'frozen', 1, 1e-3),
           ('test_convnext', 'several', 16, 'fit_one_cycle', 2, 3e-3),
           ('test_efficientnet', 'balanced', 32, 'fit', 1, 1e-3),
           ('test_efficientnet', 'several', 16, 'frozen', 1, 1e-2),
           ('test_vit', 'balanced', 16, 'fit_one_cycle', 1, 1e-3), ('plain', 'two thirds', 16, 'fit', 2, 1e-4),
           ('plain', 'balanced', 1, 'fit', 1, 1e-4), ('resnet18', 'balanced', 32, 'frozen', 1, 1e-3)]

@pytest.mark.parametrize('arch, name, bs, method, epochs, rate', healthy)
def test_healthy_runs_raise_no_alarm(arch, name, bs, method, epochs, rate, made):
    rows, alarm = made[name], CollapseAlarm()
    dls = loaders(rows, bs, 160 if arch == 'test_vit' else 64)
    if arch == 'plain': learn = plain_learner(dls, alarm)
    elif arch == 'resnet18': learn = vision_learner(dls, resnet18, pretrained=False, cbs=alarm)
    else: learn = genre_learner(dls, arch, 'random', seed=bs, cbs=[alarm])
    if method == 'frozen': learn.freeze()
    assert fit(learn, epochs, rate, 'fit' if method == 'frozen' else method) == []
    assert alarm.message is None and list(alarm.figures['rows']) == ['train', 'valid']*epochs


def test_a_second_fit_is_watched_and_warned_of_anew(made):
    learn = plain_learner(loaders(made['balanced']), CollapseAlarm())
    assert len(fit(learn, 1, .1)) == 1
    learn.model.load_state_dict(plain_learner(learn.dls).model.state_dict())
    learn.create_opt()
    assert fit(learn, 1, 1e-4) == [] and learn.collapse_alarm.message is None


def test_the_same_warning_is_shown_twice_in_one_process(made):
    learns = [plain_learner(loaders(made['balanced']), CollapseAlarm(stop=True)) for _ in range(2)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('default')   # Python's own rule: once a place and text
        for learn in learns:
            with learn.no_bar(), learn.no_logging(): learn.fit(1, .1)
    texts = [str(w.message) for w in caught if w.category is CollapseWarning]
    assert len(texts) == 2 and texts[0] == texts[1]


def test_stopping_leaves_the_model_as_it_is(made):
    stopped, warned = (plain_learner(loaders(made['balanced']), CollapseAlarm(stop=stop)) for stop in (True, False))
    fit(stopped, 3, .1)
    fit(warned, 1, .1)
    assert stopped.epoch == 0
    pairs = zip(stopped.model.parameters(), warned.model.parameters())
    assert all(torch.equal(a, b) for a, b in pairs)


class Spoilt(nn.Module):
    "Gives `value` for the first item, in training or in validation alone"
    def __init__(self, n_out, value, in_training):
        super().__init__()
        self.net, self.value, self.in_training = plain_net(n_out), value, in_training
    def forward(self, x):
        spoil = torch.zeros(len(x), 1)
        if self.training == self.in_training: spoil[0] = self.value
        return self.net(x) + spoil

@pytest.mark.parametrize('value', [math.nan, math.inf])
@pytest.mark.parametrize('in_training', [True, False])
def test_what_is_not_a_number_is_named(value, in_training, made):
    dls, alarm = loaders(made['balanced']), CollapseAlarm(stop=True)
    learn = Learner(dls, Spoilt(4, value, in_training), loss_func=CrossEntropyLossFlat(), cbs=alarm)
    before = copy.deepcopy(learn.model.state_dict())
    found = fit(learn, 2, 1e-4)
    rows = 'train' if in_training else 'valid'
    assert len(found) == 1 and f'{rows} rows, batch 1: the loss is not a number' in found[0]
    assert alarm.figures['rows'].iloc[-1] == rows and not np.isfinite(alarm.figures.loss.iloc[-1])
    assert all(v.isfinite().all() for v in learn.model.state_dict().values())
    if in_training:
        assert all(torch.equal(v, before[k]) for k, v in learn.model.state_dict().items())   # no step was taken


def test_predictions_that_are_no_numbers_are_named_though_the_loss_is_one(made):
    def blind_loss(pred, target): return nn.functional.cross_entropy(pred.nan_to_num(0.), target)
    learn = Learner(loaders(made['balanced']), Spoilt(4, math.nan, True), loss_func=blind_loss, cbs=CollapseAlarm())
    found = fit(learn, 1, 1e-4)
    assert len(found) == 1 and 'predictions are not numbers' in found[0]


def test_training_is_the_same_bit_for_bit_and_nothing_is_left_behind(made):
    dls = loaders(made['balanced'])
    learns = [genre_learner(dls, 'test_resnet', 'random', cbs=cbs) for cbs in ([], [CollapseAlarm()])]
    names = [set(vars(m)) for m in learns[0].model.modules()]
    for learn in learns: fit(learn, 1, 1e-3)
    plain, watched = (learn.model for learn in learns)
    assert all(torch.equal(v, watched.state_dict()[k]) for k, v in plain.state_dict().items())
    assert [set(vars(m)) for m in watched.modules()] == names
    hooks = ('_forward_hooks', '_forward_pre_hooks', '_backward_hooks', '_backward_pre_hooks')
    assert not any(getattr(m, name) for m in watched.modules() for name in hooks)
    assert not any(p._backward_hooks for p in watched.parameters())
    twin = copy.deepcopy(watched)
    assert pickle.loads(pickle.dumps(twin)).state_dict().keys() == plain.state_dict().keys()


def test_no_forward_pass_is_added(made):
    counts = []
    for cbs in ([], [CollapseAlarm()]):
        learn, seen = plain_learner(loaders(made['balanced']), *cbs), []
        handle = learn.model.register_forward_hook(lambda *args: seen.append(1))
        fit(learn, 1, 1e-4)
        handle.remove()
        counts.append(len(seen))
    assert counts[0] == counts[1] == len(learn.dls.train) + len(learn.dls.valid)


def test_lr_find_validating_and_predicting_are_not_judged(made):
    learn = plain_learner(loaders(made['balanced']), CollapseAlarm(stop=True))
    fit(learn, 1, 1e-4)
    figures = learn.collapse_alarm.figures
    with warnings.catch_warnings(), learn.no_bar(), learn.no_logging():
        warnings.simplefilter('error', CollapseWarning)
        learn.lr_find(start_lr=1e-3, end_lr=1e3, num_it=15, suggest_funcs=(), show_plot=False)
        for p in learn.model.parameters(): p.data.fill_(math.nan)
        learn.validate()
        learn.get_preds()
    assert learn.collapse_alarm.figures.equals(figures) and learn.collapse_alarm.message is None


def test_an_interrupted_fit_does_not_haunt_the_next(made):
    class Interrupt(Callback):
        def before_batch(self): raise KeyboardInterrupt
    learn = plain_learner(loaders(made['balanced']), CollapseAlarm())
    with pytest.raises(KeyboardInterrupt), learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-4, cbs=Interrupt())
    learn.remove_cbs([cb for cb in learn.cbs if isinstance(cb, Interrupt)])
    with learn.no_bar(): learn.validate()
    assert learn.collapse_alarm.figures.empty
    assert fit(learn, 1, 1e-4) == [] and len(learn.collapse_alarm.figures) == 2


@pytest.mark.parametrize('weigh', [False, True])
def test_figures_are_what_they_say(weigh, made):
    dls = loaders(made['two thirds'])
    learn = genre_learner(dls, weigh_genres=weigh, cbs=[CollapseAlarm()])
    fit(learn, 1, 1e-3)
    train, valid = (row for _, row in learn.collapse_alarm.figures.iterrows())
    with learn.no_bar(), learn.removed_cbs([learn.recorder]): p, y = learn.get_preds()
    shares = torch.bincount(p.argmax(1), minlength=3)/len(p)
    assert valid.genre == dls.vocab[shares.argmax()] and valid.share == pytest.approx(shares.max().item())
    assert valid.spread == pytest.approx(p.std(0, correction=0).mean().item(), rel=1e-3)
    assert valid.loss == pytest.approx(learn.recorder.values[-1][1], rel=.02)
    labels = torch.bincount(torch.as_tensor(y), minlength=3)/len(y)
    best = torch.log(labels).expand(len(y), -1)
    if weigh: assert valid.constant_loss < learn.loss_func(best, y).item()
    else: assert valid.constant_loss == pytest.approx(learn.loss_func(best, y).item(), rel=1e-3)
    assert train.rate == valid.rate == pytest.approx(1e-3) and train.prior_entropy > 0
    assert np.allclose(learn.collapse_alarm.shares.sum(axis=1),
                       1) and len(learn.collapse_alarm.shares) == len(dls.train)


def test_mixed_labels_and_smoothing_are_measured_by_their_own_loss(made):
    loss = CrossEntropyLossFlat(label_smoothing=.2)
    alarm = CollapseAlarm()
    learn = plain_learner(loaders(made['two thirds']), MixUp(), alarm, loss_func=loss)
    assert fit(learn, 1, 1e-4) == []
    row = alarm.figures.iloc[-1]
    assert row.constant_loss > row.prior_entropy and alarm.prior.sum() == pytest.approx(1)


def tensor_loaders(n, n_out, bs=16, multilabel=False):
    torch.manual_seed(0)
    x, y = torch.rand(n, 8), torch.rand(n, n_out).round() if multilabel else torch.randint(0, n_out, (n,))
    rows = list(zip(x, y))
    return DataLoaders.from_dsets(rows, rows, bs=bs, num_workers=0, device='cpu')

def test_learners_without_a_vocabulary_are_watched_too():
    for multilabel in (False, True):
        loss = BCEWithLogitsLossFlat() if multilabel else CrossEntropyLossFlat()
        learn = Learner(tensor_loaders(64, 12, multilabel=multilabel), nn.Linear(8, 12), loss_func=loss,
                        cbs=CollapseAlarm())
        assert fit(learn, 1, 1e-3) == []
        assert learn.collapse_alarm.figures.genre.str.startswith('genre ').all()
        ax = plot_predicted_shares(learn.collapse_alarm)
        texts = [t.get_text() for t in ax.get_legend().get_texts()]
        assert len(texts) == 10 and 'other genres' in texts
        heights = [sum(c[i].get_height() for c in ax.containers) for i in range(len(ax.containers[0]))]
        assert np.allclose(heights, 1)
        matplotlib.pyplot.close(ax.figure)


def test_an_epoch_without_a_full_batch_is_no_collapse():
    learn = Learner(tensor_loaders(5, 3, bs=16), nn.Linear(8, 3), loss_func=CrossEntropyLossFlat(), cbs=CollapseAlarm())
    assert fit(learn, 1, 1e-3) == [] and learn.collapse_alarm.figures.empty


def test_other_tasks_are_told_to_leave_the_alarm_out():
    learn = Learner(tensor_loaders(32, 3), nn.Sequential(nn.Linear(8, 4), nn.Unflatten(1, (2, 2))), cbs=CollapseAlarm(),
                    loss_func=lambda pred, target: pred.sum())
    with pytest.raises(ValueError, match='one score a genre.*Leave the alarm out'): fit(learn, 1, 1e-3)


def test_plot_before_any_fit_says_what_to_do():
    with pytest.raises(ValueError, match=r'learn.fit\(1, cbs=alarm\)'): plot_predicted_shares(CollapseAlarm())


def test_many_batches_make_at_most_forty_bars():
    alarm = CollapseAlarm()
    learn = Learner(tensor_loaders(400, 3, bs=4), nn.Linear(8, 3), loss_func=CrossEntropyLossFlat(), cbs=alarm)
    fit(learn, 2, 1e-3)
    assert len(alarm.shares) == 100      # of the first epoch alone
    ax = plot_predicted_shares(alarm)
    assert len(ax.containers[0]) == 34 + 1 and ax.get_xticklabels()[-1].get_text() == 'labels'
    matplotlib.pyplot.close(ax.figure)


# Diagnostics

def test_dead_units_by_any_function():
    "Shares that were planted: below for ReLU, GELU and SiLU, on both sides for tanh; in place or not"
    for act, low in ((nn.ReLU(), -50.), (nn.ReLU(inplace=True), -50.), (nn.GELU(), -50.), (nn.SiLU(inplace=True), -50.),
                     (nn.Tanh(), 50.), (nn.ReLU6(), 50.)):
        net = nn.Sequential(nn.Linear(8, 20), act, nn.Linear(20, 3))
        with torch.no_grad(): net[0].bias[:5] = low
        with LayerWatch(net) as watch: net(torch.randn(100, 8))
        row = watch.figures.set_index('layer').loc['1']
        assert row.dead == pytest.approx(.25) and (row.saturated >= .25) == (low > 0)
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_units_are_channels():
    "Of convolutions and batch norms the second axis, of linear layers the last, whatever the shape"
    net = nn.Sequential(nn.Conv2d(3, 10, 3), nn.BatchNorm2d(10), nn.ReLU())
    with torch.no_grad(): net[1].weight[:3], net[1].bias[:3] = 0., -1.
    with LayerWatch(net) as watch: net(torch.randn(2, 3, 12, 12))
    assert watch.rows['2']['dead'] == pytest.approx(.3)
    tokens = nn.Sequential(nn.Linear(6, 10), nn.ReLU())
    with torch.no_grad(): tokens[0].weight[:4], tokens[0].bias[:4] = 0., -1.
    for shape in ((5, 6), (2, 7, 6), (2, 4, 4, 6)):
        with LayerWatch(tokens) as watch: tokens(torch.randn(shape))
        assert watch.rows['1']['dead'] == pytest.approx(.4)


def test_training_never_notices_diagnostics(made):
    ends = []
    for watched in (False, True):
        learn = genre_learner(loaders(made['balanced']))
        with learn.no_bar(), learn.no_logging():
            if watched:
                with Diagnostics(learn, every=3) as d: learn.fit_one_cycle(2, 3e-3)
            else: learn.fit_one_cycle(2, 3e-3)
        ends.append(({k: v.clone() for k, v in learn.model.state_dict().items()}, torch.rand(1)))
    assert all(torch.equal(a, b) for a, b in zip(ends[0][0].values(), ends[1][0].values())) and ends[0][1] == ends[1][1]
    n = 2*len(learn.dls.train)
    assert len(d.batches) == n and set(d.layers.batch) == set(d.weights.batch) == set(range(0, n, 3))
    assert d.shares.shape == (n, 4) and np.allclose(d.shares.sum(1), 1) and d.followed.shape == (-(-n//3), 16, 4)
    assert np.allclose(d.followed.sum(2), 1, atol=1e-5) and d.batches.rate.max() == pytest.approx(3e-3)


def test_steps_are_measured(made):
    "Plain SGD: the step is the rate times the gradient"
    learn = plain_learner(loaders(made['balanced']))
    learn.opt_func = lambda params, lr: SGD(params, lr)
    with Diagnostics(learn, every=1) as d, learn.no_bar(), learn.no_logging(): learn.fit(1, .01, wd=0.)
    w = d.weights
    assert np.allclose(w['update']*w.weight, .01*w.gradient, rtol=1e-3, atol=1e-7)


def n_hooks(model): return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())

class Stumbles(nn.Module):
    "A layer that fails when it is told to"
    fails = False
    def forward(self, x):
        if self.fails: raise RuntimeError('in the middle')
        return x


def test_hooks_know_their_layers_and_go_again():
    net, seen = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), Stumbles()), []
    def before(name, layer, args): seen.append(('before', name, layer, len(args)))
    def after(name, layer, args, out): seen.append(('after', name, layer, out.shape[1]))
    with layer_hooks(dict(net.named_children()), after, before): net(torch.randn(4, 2))
    assert seen == [(when, str(i), net[i], n) for i in range(3) for when, n in (('before', 1), ('after', 3))]
    assert n_hooks(net) == 0
    for before in (None, before):
        net[2].fails = True
        with pytest.raises(RuntimeError, match='in the middle'), layer_hooks(dict(net.named_children()), after, before):
            assert n_hooks(net) == 3*(1 + bool(before))
            net(torch.randn(4, 2))
        assert n_hooks(net) == 0
    with pytest.raises(AttributeError), layer_hooks({'a layer': net[0], 'none': None}, after):
        pass     # not all can be hooked
    assert n_hooks(net) == 0


def test_a_look_at_layers_that_fails_leaves_no_hook():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), Stumbles())
    net[2].fails = True
    with pytest.raises(RuntimeError, match='in the middle'), LayerWatch(net) as watch:
        assert n_hooks(net) == 4
        net(torch.randn(4, 2))
    assert n_hooks(net) == 0 and set(watch.rows) == {'0', '1'}


def test_no_hooks_are_left_after_an_error(made):
    learn = genre_learner(loaders(made['balanced']))
    class Fails(Callback):
        order = 90
        def after_pred(self): raise RuntimeError('in the middle')
    with pytest.raises(RuntimeError, match='in the middle'), learn.no_bar(), learn.no_logging():
        with Diagnostics(learn) as d: learn.fit(1, cbs=Fails())
    assert n_hooks(learn.model) == 0 and d not in learn.cbs
    learn.model.head.append(Stumbles())
    learn.model.head[-1].fails = True
    with pytest.raises(RuntimeError, match='in the middle'), learn.no_bar(), learn.no_logging():
        with Diagnostics(learn) as d: learn.fit(1)
    assert n_hooks(learn.model) == 0


def test_diagnostics_are_kept(made, tmp_path):
    learn = genre_learner(loaders(made['several']))
    with Diagnostics(learn, every=2, folder=tmp_path/'run') as d, learn.no_bar(), learn.no_logging(): learn.fit(1)
    again = Diagnostics.read(tmp_path/'run')
    pd.testing.assert_frame_equal(again.layers, d.layers)
    pd.testing.assert_frame_equal(again.weights, d.weights)
    pd.testing.assert_frame_equal(again.batches, d.batches)
    assert again.shares.equals(d.shares) and again.prior.equals(d.prior) and np.array_equal(again.followed, d.followed)
    assert again.ranges == d.ranges and all(np.array_equal(again.histograms[k], v) for k, v in d.histograms.items())
    for plot in (plot_layers, plot_histograms, plot_dynamics, plot_predicted_shares): plot(again)
    with pytest.raises(FileNotFoundError, match='no diagnostics in'): Diagnostics.read(tmp_path/'other')
    with pytest.raises(ValueError, match='watched no training yet'): plot_layers(Diagnostics())
    with pytest.raises(ValueError, match="no layer 'x' was watched"): plot_histograms(d, ['x'])
    with pytest.raises(ValueError, match='which learner'): Diagnostics().__enter__()


def test_prediction_churn_is_a_share():
    "0 where nothing moves, 1 where everything turns over, however many genres an item has"
    one, two = np.eye(4)[[0, 1]], np.array([[.9, .8, 0, 0], [0, 0, .7, .9]])
    for p in (one, two):
        turning = SimpleNamespace(followed=np.stack([p, p[::-1], p, p[::-1]]))
        still = SimpleNamespace(followed=np.stack([p[::-1], p, p, p]))         # what happens at first does not count
        assert prediction_churn(turning) == pytest.approx(1) and prediction_churn(still) == 0
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), (2, 6))
    halved = np.abs(p[1] - p[0]).sum(1).mean()/2                              # total variation
    assert prediction_churn(SimpleNamespace(followed=np.concatenate([p, p]))) == pytest.approx(halved)
    assert np.isnan(prediction_churn(SimpleNamespace(followed=p[:1])))
