"The recipe: planted faults are found by name, healthy learners get no alarm, and a learner never notices that it was checked"
import math, random, warnings

import matplotlib, matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, torch
from fastai.vision.all import (BCEWithLogitsLossFlat, Callback, CrossEntropyLossFlat, CSVLogger, Learner,
                               SaveModelCallback, ShowGraphCallback)
from torch import nn

from benchmarks.faults import FAULTS, KINDS, judge, made_learner, planted
from genre_fastai.learn.blocks import cover_block
from genre_fastai.diagnose.activations import Diagnostics
from genre_fastai.diagnose.collapse import CollapseAlarm, CollapseWarning
from genre_fastai.learn.learner import EpochSeed, WeightAverage, genre_learner
from genre_fastai.learn.models import SmallCNN
from genre_fastai.learn.learner import AsymmetricLoss
from genre_fastai.data.split import split_items
from genre_fastai.diagnose.probe import first_batch, plot_verdict, some_batches, train_targets, untouched
from genre_fastai.diagnose.data_checks import check_loss, check_start, init_bias, loss_at_zero, show_input
from genre_fastai.diagnose.checks import check_dynamics, check_layers, check_norms, check_learning_rate, learning_rate_trials
from genre_fastai.diagnose.recipe import CHECKS, check_recipe, collapse_causes, run_checks
from genre_fastai.datasets.synthetic import synthetic_items

matplotlib.use('Agg')


def test_only_learners_are_checked():
    with pytest.raises(ValueError, match='a dict is no learner to check'): check_recipe({})

def test_a_rate_at_which_nothing_is_learnt_is_bad(folder):
    learn = made_learner('image', folder)
    for rate in (0., -1e-3):
        found = check_learning_rate(learn, lr=rate)
        assert found.verdict == 'fail' and 'nothing can be learnt' in found.told and 'above 0' in found.advice
    with pytest.raises(ValueError, match='no check to run'): check_recipe(learn, only=[])

@pytest.fixture(scope='module')
def folder(tmp_path_factory): return tmp_path_factory.mktemp('faults')

@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close('all')

@pytest.fixture(scope='module')
def items(tmp_path_factory):
    return split_items(synthetic_items(tmp_path_factory.mktemp('w')/'w', n=150, n_genres=4, seed=5), valid=.2, test=.2)

@pytest.fixture
def learn(items): return genre_learner(cover_block(items, size=64).dataloaders(items, bs=16))


@pytest.mark.parametrize('name, kind', [(name, kind) for name, (_, _, kinds) in FAULTS.items() for kind in kinds])
def test_a_planted_fault_is_found_by_its_check(name, kind, folder):
    check = FAULTS[name][1]
    found = judge(planted(name, kind, folder, seed=1), [check])[check]
    assert found.verdict == 'fail' and found.told and found.advice, found


def test_a_head_that_starts_at_zero_cuts_nothing(learn):
    "In the first step it lets no gradient through; in the second it does"
    with torch.no_grad():
        for p in learn.model.head[-1].parameters(): p.zero_()
    found = judge(learn, ['gradients', 'step'])
    assert found['gradients'].verdict == found['step'].verdict == 'pass'
    for p in learn.model.body.parameters(): p.requires_grad_(False)
    frozen = judge(learn, ['gradients'])['gradients']
    assert frozen.verdict != 'fail' and "frozen: 'body'" in frozen.told.replace('[', '').replace(']', '')


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('world', ['first', 'second'])
def test_healthy_learners_get_no_alarm(kind, world, folder):
    found = judge(made_learner(kind, folder, world, seed=1))
    assert not [v for v in found.values() if v.verdict == 'fail']
    assert [v.check for v in found.values() if v.verdict == 'skipped'] == ['batch norm']


def state_of(learn):
    model = {k: v.clone() for k, v in learn.model.state_dict().items()}
    return model, [m.training for m in learn.model.modules()], [p.requires_grad
                                                                for p in learn.model.parameters()], list(learn.cbs)


def same(a, b): return all(torch.equal(x, y) for x, y in zip(a[0].values(), b[0].values())) and a[1:] == b[1:]


def test_a_learner_does_not_notice_its_checks(items):
    "Before training, between two fits, and in what comes after: all as without them"
    ends = []
    for checked in (False, True):
        learn = genre_learner(cover_block(items, size=64).dataloaders(items, bs=16), cbs=CollapseAlarm())
        def look():
            if not checked: return
            before, opt = state_of(learn), learn.opt
            assert set(check_recipe(learn).verdict) <= {'pass', 'warn', 'skipped'}
            assert same(before, state_of(learn)) and learn.opt is opt and all(p.grad is None
                                                                              for p in learn.model.parameters())
        torch.manual_seed(0)
        with learn.no_bar(), learn.no_logging():
            look()
            learn.fit(1)
            look()
            learn.fit(1)
        ends.append((state_of(learn), torch.rand(1), learn.recorder.values))
    assert same(ends[0][0][:1] + ends[0][0][1:3], ends[1][0][:1] + ends[1][0][1:3])
    assert ends[0][1:2] == ends[1][1:2] and np.allclose(ends[0][2], ends[1][2])


def test_untouched_also_where_it_fails(learn):
    before = state_of(learn)
    class Fails(Callback):
        def after_step(self): raise RuntimeError('in the middle')
    with pytest.raises(RuntimeError, match='in the middle'), untouched(learn): learn.fit(1, cbs=Fails())
    assert same(before, state_of(learn)) and learn.opt is None


class Fails(nn.Module):
    def forward(self, x): raise RuntimeError('in the middle')

@pytest.mark.parametrize('check', [check_norms, check_layers, check_dynamics])
def test_checks_that_fail_in_the_network_leave_no_hook(check, learn):
    learn.model.head.append(Fails())
    with pytest.raises(RuntimeError, match='in the middle'): check(learn)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in learn.model.modules())


def test_who_only_watches_stays_aside(learn, tmp_path):
    "Ours and yours by a property, fastai's own as well; who changes a training is there"
    class Counts(Callback):
        def __init__(self): self.n = 0
        def after_batch(self): self.n += 1
    class Watches(Counts): watches = True
    class KeepsBest(SaveModelCallback): pass
    own = [Counts(), Watches(), Diagnostics(every=1), CollapseAlarm(), WeightAverage(learn.model)]
    with learn.added_cbs([*own, CSVLogger(tmp_path/'log.csv'), ShowGraphCallback(), KeepsBest(fname='kept')]):
        before = list(learn.cbs)
        with untouched(learn):
            there = {cb.name for cb in learn.cbs}
            learn.fit(1)
        assert learn.cbs == before
    assert own[0].n == len(learn.dls.train) + len(learn.dls.valid) and own[1].n == 0 and not len(own[2].batches)
    assert not there & {'watches', 'diagnostics', 'collapse_alarm', 'weight_average', 'recorder', 'csv_logger',
                        'show_graph',
                        'keeps_best'}
    assert {'counts', 'train_eval', 'epoch_seed'} <= there and not list(tmp_path.iterdir())


@pytest.mark.parametrize('n', [2, 7])
def test_losses_at_equal_logits(n):
    "By hand"
    y = torch.arange(6) % n
    several = nn.functional.one_hot(y, n).float()
    weight = torch.rand(n) + .5
    assert loss_at_zero(CrossEntropyLossFlat(weight=weight), y, n) == pytest.approx(math.log(n))
    assert loss_at_zero(BCEWithLogitsLossFlat(), several, n) == pytest.approx(math.log(2))
    by_hand = (several*weight + 1 - several).mean()*math.log(2)
    assert loss_at_zero(BCEWithLogitsLossFlat(pos_weight=weight), several, n) == pytest.approx(by_hand.item())
    assert math.isnan(loss_at_zero(AsymmetricLoss(), several, n))


@pytest.mark.parametrize('wrong, told', [
    (lambda z, y: nn.functional.cross_entropy(z, y, reduction='sum'), '2.00 times'),
    (lambda z, y: nn.functional.nll_loss(nn.functional.log_softmax(z, 0), y), 'together alike to 0.'),
    (lambda z, y: nn.functional.cross_entropy(z, y, reduction='none'), 'not one number')])
def test_losses_that_are_no_mean_over_items(learn, wrong, told):
    assert check_loss(learn).verdict == 'pass'
    learn.loss_func = lambda z, y: wrong(z.as_subclass(torch.Tensor), y.as_subclass(torch.Tensor))
    found = check_loss(learn)
    assert found.verdict == 'fail' and told in found.told


def test_smoothed_labels_are_healthy(items):
    learn = genre_learner(cover_block(items, size=64).dataloaders(items, bs=16), label_smoothing=.1)
    found = {v.check: v for v in run_checks(learn, ['loss', 'initial loss', 'overfit'])}
    assert not [v for v in found.values() if v.verdict == 'fail'] and 0 < found['overfit'].figure <= 1.01


def test_what_is_no_number_is_not_good(learn):
    with torch.no_grad(): next(learn.model.parameters()).fill_(torch.nan)
    found = {v.check: v for v in run_checks(learn)}
    assert {found[name].verdict for name in ('evaluation', 'leak', 'initial loss', 'learning rate',
                                             'overfit')} == {'fail'}


def test_random_numbers_go_on_as_if_nothing_had_been_checked(items):
    "Also of a learner that does not seed itself"
    learn = Learner(cover_block(items, size=64).dataloaders(items, bs=16), SmallCNN(4),
                    loss_func=CrossEntropyLossFlat())
    def state():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate(), learn.dls.train.rng.getstate()
    before = state()
    table = check_recipe(learn, ['seed', 'labels', 'input', 'augmentation', 'step', 'learning rate', 'dynamics'])
    assert state() == before and table.verdict['seed'] == 'warn'


def test_the_bias_that_says_the_shares(items):
    rare = items[~((items.genres.str[0] == items.genres.str[0].iloc[0]) & (items.index % 4 > 0))].reset_index(drop=True)
    for weigh in (True, False):
        learn = genre_learner(cover_block(rare, size=64).dataloaders(rare, bs=16), weigh_genres=weigh)
        before, saved = check_start(learn).figure, init_bias(learn)
        if weigh: assert abs(saved) < 1e-3      # weighted, equal answers are the best constant ones
        else:
            y = train_targets(learn)
            shares = torch.bincount(y)/len(y)
            assert saved == pytest.approx(math.log(4) + (shares*shares.log()).sum().item(), abs=1e-3)
            assert check_start(learn).figure < before


def test_rates_are_told_apart(learn):
    table = learning_rate_trials(learn)
    assert list(table.index) == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2]) and table.end[1e-3] < table.end[1e-6]
    found = check_learning_rate(learn, lr=5.)
    assert found.verdict == 'fail' and 'Try 0.0' in found.advice and plot_verdict(found).get_xscale() == 'log'
    assert check_learning_rate(learn, lr=slice(1e-5, 1e-3)).verdict != 'fail'


def test_checks_that_cannot_be_run_say_why(learn):
    learn.model.head = nn.Identity()
    table = check_recipe(learn, ['labels', 'step', 'overfit'])
    assert list(table.index) == ['labels', 'step',
                                 'overfit'] and table.verdict['overfit'] == 'skipped' and table.found['overfit']
    with pytest.raises(ValueError, match="no check 'lose'. Did you mean 'loss'"): check_recipe(learn, 'lose')
    with pytest.raises(ValueError, match='has no curves'): plot_verdict(CHECKS['seed'](genre_learner(learn.dls)))


def test_the_page_shows_everything(learn, tmp_path):
    table = check_recipe(learn, ['loss', 'learning rate', 'overfit'], page=tmp_path/'recipe.html')
    page = (tmp_path/'recipe.html').read_text()
    assert all(name in page
               for name in table.index) and page.count('<img') + page.count('<svg') >= 3 and '3 checks, nothing to mend' in page


def collapsed(learn, lr, causes=collapse_causes):
    with warnings.catch_warnings(record=True) as caught, learn.no_bar(), learn.no_logging():
        warnings.simplefilter('always')
        learn.fit(2, lr, cbs=CollapseAlarm(stop=True, causes=causes))
    return [str(w.message) for w in caught if issubclass(w.category, CollapseWarning)]


def plain_learner(items):
    "No normalisation: dies of a high rate"
    dls, layers = cover_block(items, size=64).dataloaders(items, bs=8), []
    for n_in, n in zip((3, 16, 32, 64), (16, 32, 64, 64)):
        layers += [nn.Conv2d(n_in, n, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    torch.manual_seed(0)
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, 64), nn.ReLU(),
                        nn.Linear(64, len(dls.vocab)))
    return Learner(dls, net, loss_func=CrossEntropyLossFlat(), cbs=EpochSeed(0))


def test_the_alarm_names_the_rate(items):
    learn = plain_learner(items)
    message, = collapsed(learn, .1)
    assert 'Found to blame: learning rate: at 0.1 the loss goes from' in message and 'Try 0.0' in message and learn.epoch == 0
    advised = float(message.split('Try ')[1].split(';')[0])
    again = plain_learner(items)
    assert not collapsed(again, advised)
    with again.no_bar(), again.no_logging(): again.fit(6, advised)
    assert again.validate()[0] < .95*math.log(4)


def test_the_alarm_names_what_else_is_wrong(items):
    learn = plain_learner(items)
    FAULTS['labels shuffled'][0](learn)
    with torch.no_grad(): learn.model[-1].weight.mul_(3000)
    message, = collapsed(learn, .1)
    assert all(f'{cause}: ' in message for cause in ('labels', 'initial loss', 'learning rate'))


def test_an_alarm_whose_tests_fail_still_rings(items):
    message, = collapsed(plain_learner(items), .1, lambda *args: [][0])
    assert 'First thing to try: a lower learning rate' in message and 'IndexError' in message


def test_an_alarm_without_causes_tests_none(items):
    "It keeps no copy of the weights, and gives the general advice, though the recipe is imported"
    learn = plain_learner(items)
    message, = collapsed(learn, .1, causes=None)
    assert message.endswith('or let learn.lr_find() suggest one. Build the learner anew first.')
    alarm, kept = CollapseAlarm(), []
    class Peek(Callback):
        def after_batch(self): kept.append(alarm._weights)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-6, cbs=[alarm, Peek()])
    assert kept and set(kept) == {None}


def test_causes_are_given_what_they_need(items):
    "The learner, its weights before the fit, a rate a group, and the loss that was minimised"
    learn, asked = plain_learner(items), []
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    collapsed(learn, .1, lambda *args: asked.append(args) or [])
    (asked_of, weights, rates, loss_func), = asked
    assert asked_of is learn and loss_func is learn.loss_func and list(rates) == pytest.approx([.1])
    assert all(torch.equal(v, weights[k]) for k, v in before.items())
