"Models load without fastai; losses: against their formulas, with fastai's types, in fastai's verbs"
import subprocess, sys

import numpy as np, pytest, torch
from fastai.vision.all import BCEWithLogitsLossFlat, TensorImage, TensorMultiCategory
from hypothesis import given, strategies as st

from genre_fastai.learn.blocks import cover_block
from genre_fastai.learn.learner import AsymmetricLoss, class_weights, genre_learner
from genre_fastai.data.split import split_items
from genre_fastai.datasets.synthetic import synthetic_items


@pytest.fixture(scope='module')
def several(tmp_path_factory):
    return split_items(synthetic_items(tmp_path_factory.mktemp('w')/'w', n=90, n_genres=3, multilabel=True, seed=2),
                       valid=.2, test=.2)

def loaders(items): return cover_block(items, size=64).dataloaders(items, bs=16, num_workers=0)

def by_hand(logits, y, gamma_neg, gamma_pos, margin, weights):
    "Ridnik et al. 2021, formulas 3 to 6, in float64"
    p = 1/(1 + np.exp(-logits.astype(np.float64)))
    shifted = np.maximum(p - margin, 0)
    there, absent = weights*(1 - p)**gamma_pos*-np.log(p), shifted**gamma_neg*-np.log(1 - shifted)
    return np.where(y == 1, there, absent).mean()


@pytest.mark.parametrize('module', ['encoders.weights', 'encoders.image', 'encoders.text', 'learn.models'])
def test_what_a_bundle_needs_is_there_without_fastai(module):
    code = f"import sys, genre_fastai.{module}; assert 'fastai' not in sys.modules"
    done = subprocess.run([sys.executable, '-W', 'error::FutureWarning', '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 4]), st.sampled_from([0, 1]), st.sampled_from([0, .05, .2]))
def test_asymmetric_loss_is_its_formula(seed, gamma_neg, gamma_pos, margin):
    rng = np.random.default_rng(seed)
    logits, y = rng.normal(0, 3, (5, 4)).astype(np.float32), rng.integers(0, 2, (5, 4))
    weights = rng.uniform(.5, 3, 4).astype(np.float32)
    loss = AsymmetricLoss(gamma_neg, gamma_pos, margin, pos_weight=torch.tensor(weights))
    ours = loss(torch.tensor(logits), torch.tensor(y)).item()
    assert ours == pytest.approx(by_hand(logits, y, gamma_neg, gamma_pos, margin, weights), rel=1e-4, abs=1e-6)


def test_without_asymmetry_it_is_binary_cross_entropy():
    logits, y, weights = torch.randn(6, 4), torch.randint(0, 2, (6, 4)), torch.rand(4) + .5
    assert AsymmetricLoss(0, 0, 0, weights)(logits, y).item() == pytest.approx(BCEWithLogitsLossFlat(pos_weight=weights)(logits, y).item(), rel=1e-5)


@pytest.mark.parametrize('logit', [-1e4, -80., 0., 80., 1e4])
def test_extreme_logits_keep_loss_and_slope_finite(logit):
    x = torch.full((2, 3), logit, requires_grad=True)
    loss = AsymmetricLoss()(x, torch.tensor([[0, 1, 0], [1, 1, 1]]))
    loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all()


def test_subclasses_of_tensors_do_not_quarrel():
    x, y = TensorImage(torch.randn(4, 3)), TensorMultiCategory(torch.tensor([[0., 1., 0.]]*4))
    assert AsymmetricLoss()(x, y) == AsymmetricLoss()(x.as_subclass(torch.Tensor), y.as_subclass(torch.Tensor))


def test_asymmetric_loss_in_a_learner(several):
    learn = genre_learner(loaders(several), loss='asymmetric')
    before = learn.validate()[0]
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(4, 3e-3)
        p, _, losses = learn.get_preds(with_loss=True)
        p, y, decided = learn.get_preds(with_decoded=True)
    assert learn.validate()[0] < before and learn.loss_func.reduction == 'mean'
    assert ((p > 0) & (p < 1)).all() and torch.equal(decided, p > .5) and len(losses) == len(p)
    assert torch.equal(learn.loss_func.func.pos_weight.cpu(), class_weights(learn.dls))
    assert genre_learner(learn.dls, loss='asymmetric', weigh_genres=False).loss_func.func.pos_weight is None


def test_wrong_losses_name_the_next_step(several):
    with pytest.raises(ValueError, match="loss is 'focal'; use one of"): genre_learner(loaders(several), loss='focal')
    one = several.assign(genres=[g[:1] for g in several.genres])
    with pytest.raises(ValueError, match='for several genres an item; these have one'):
        genre_learner(loaders(one), loss='asymmetric')
