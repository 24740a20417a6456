"Pictures and synopses together: what is missing, every verb of a Learner, stages, odd rows"
import random

import matplotlib.pyplot as plt, numpy as np, pytest, torch
from fastai.vision.all import Flip, TensorImage
from hypothesis import given, strategies as st

from genre_fastai.learn.blocks import check_readable, cover_block, poster_block
from genre_fastai.runs import RunError
from genre_fastai.train.checkpoints import RunRecord
from genre_fastai.items import ItemsError
from genre_fastai.train.stages import head_learner, plan_stages
from genre_fastai.fine_tune import learner_probabilities
from genre_fastai.learn.learner import class_weights, genre_learner, input_column, predict_items
from genre_fastai.learn.models import FusedHead, GatedUnit, fused_net, lower_top_head
from genre_fastai.data.split import split_items
from genre_fastai.datasets.synthetic import synthetic_items
from genre_fastai.learn.blocks import TensorPresent, TensorWindows, fused_block, present_in, text_reader
from genre_fastai.encoders.text import tiny_text_encoder

def with_holes(items):
    "Every fifth row without a picture, another fifth without a text"
    items = items.astype({'image': object, 'text': object})
    items.loc[items.index % 5 == 0, 'image'] = None
    items.loc[items.index % 5 == 1, 'text'] = None
    return items

@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    world = dict(n=90, n_genres=3, kind='poster', synopsis_sentences=6, telling_sentences=4, seed=2)
    return split_items(synthetic_items(tmp_path_factory.mktemp('w')/'w', **world), valid=.2, test=.2)

@pytest.fixture(scope='module')
def items(whole): return with_holes(whole)

@pytest.fixture(scope='module')
def several(tmp_path_factory):
    world = dict(n=90, n_genres=3, kind='poster', multilabel=True, seed=2)
    return with_holes(split_items(synthetic_items(tmp_path_factory.mktemp('w')/'w', **world), valid=.2, test=.2))

@pytest.fixture(scope='module')
def encoder(whole, tmp_path_factory): return tiny_text_encoder(tmp_path_factory.mktemp('e')/'encoder', whole.text)

@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('GENRE_FASTAI_CACHE', str(tmp_path/'cache'))
    yield
    plt.close('all')

@pytest.fixture
def loaders(encoder):
    def made(items, bs=8, **kwargs):
        block = fused_block(items, **{'encoder': encoder, 'size': 64, 'max_length': 48, 'stride': 8, **kwargs})
        return block.dataloaders(items, bs=bs, num_workers=0)
    return made


# Posters

def test_a_poster_block_is_a_cover_block_that_mirrors(whole):
    flips = {}
    for name, block in {'cover': cover_block(whole, size=32), 'poster': poster_block(whole, size=32),
                        'still': poster_block(whole, size=32, mirror=False),
                        'plain': poster_block(whole, size=32, augment=False)}.items():
        dls = block.dataloaders(whole, bs=8, num_workers=0)
        flips[name] = any(isinstance(t, Flip) for t in dls.train.after_batch.fs)
        if name != 'plain': assert dls.valid.one_batch()[0].shape == (8, 3, 32, 32)
    assert flips == {'cover': False, 'poster': True, 'still': False, 'plain': False}


# The block

def test_each_input_says_what_the_row_says(items, several, loaders):
    for rows in (items, several):
        dls = loaders(rows, augment=False)
        order = dls.valid.get_idxs()
        for k, (pictures, windows, present, genres) in enumerate(dls.valid):
            of_batch = dls.valid.items.iloc[order[8*k:8*k+8]]
            assert (type(pictures), type(windows), type(present)) == (TensorImage, TensorWindows, TensorPresent)
            assert torch.equal(present_in(of_batch), present.as_subclass(torch.Tensor))
            assert present.tolist() == of_batch[['image', 'text']].notna().to_numpy().tolist()
            assert (pictures.flatten(1).amax(1) > 0).tolist() == present[:, 0].tolist()
            words = [text_reader(dls).windows([t or ''])[0] for t in of_batch.text]
            assert [sum(w >= 0 for w in x.flatten()).item() for x in windows] == [int((w >= 0).sum()) for w in words]
            assert [list(dls.vocab[i] for i in y.nonzero().flatten()) if y.ndim else [dls.vocab[y]]
                    for y in genres] == [
                sorted(g) for g in of_batch.genres]


def test_like_lengths_go_together_in_training(items, loaders):
    dl = loaders(items, bs=4).train
    dl.pool = 8
    dl.rng = random.Random(0)
    order = dl.get_idxs()
    assert sorted(order) == list(range(len(dl.dataset)))
    spread = np.mean([np.ptp([dl.res[i] for i in order[j:j+4]]) for j in range(0, len(order)//4*4, 4)])
    assert spread < .7*np.mean([np.ptp(dl.res[j:j+4]) for j in range(0, len(dl.res)//4*4, 4)])


@pytest.mark.parametrize('holes', [dict(image=None), dict(text=None), dict(text=' \n'), dict(image=float('nan')),
                                   dict(image=None, text=None)])
def test_further_rows_may_lack_anything(holes, whole, loaders):
    rows = whole.head(3).assign(**holes)
    pictures, windows, present = loaders(whole).test_dl(rows).one_batch()
    assert pictures.shape == (3, 3, 64, 64) and len(windows) == 3 and present.all(0).tolist() == ['image' not in holes,
                                                                                                  'text' not in holes]
    if 'image' in holes: assert pictures.unique().tolist() == [0.]


def test_rows_with_neither_are_named(items, loaders):
    bare = items.copy()
    at = bare.index[bare.split == 'train'][0]
    bare.loc[at, ['image', 'text']] = None
    with pytest.raises(ItemsError,
                       match=rf"no image and no text in 1 of \d+ rows: '{bare.item_id[at]}'. clean_items drops"): loaders(bare)
    assert check_readable(items, ('image', 'text')) is items
    at = bare.index[bare.split == 'test'][0]
    kept = items.copy()
    kept.loc[at, ['image', 'text']] = None       # a test row is not looked at
    assert loaders(kept).train.n
    with pytest.raises(ItemsError, match='split_items'): loaders(items.assign(split=None))


def test_shown_with_words(items, several, loaders):
    for rows in (items, several):
        dls = loaders(rows[rows.text.notna()].reset_index(drop=True))   # rows without text may fill a batch of their own
        dls.show_batch(max_n=6)
        titles = [ax.get_title() for ax in plt.gcf().axes if ax.get_title()]
        words = ' '.join(t.get_text() for ax in plt.gcf().axes for t in ax.texts)
        assert len(titles) == 6 and all(set(t.split(', ')) <= set(dls.vocab) for t in titles) and ' the ' in words
        dls.valid.show_batch(max_n=4)
    plt.close('all')
    dls.test_dl(items.assign(image=None, text=None)).show_batch(max_n=2)
    assert [t.get_text() for ax in plt.gcf().axes for t in ax.texts] == ['no picture', 'no text']*2


# The network

def random_inputs(n=6):
    rng = torch.Generator().manual_seed(0)
    pictures, words = torch.rand(n, 3, 64, 64, generator=rng), torch.randint(5, 60, (n, 2, 9), generator=rng)
    words[::2, 1] = -1                      # every second text has one window
    present = torch.tensor([[True, True], [False, True], [True, False]]*(n//3))
    return pictures, words, present

@pytest.fixture(scope='module')
def network(encoder):
    model = fused_net('test_resnet', encoder, 4, weights='random', pooling='attention')
    model.fast = False
    return model

def test_neighbours_and_padding_change_nothing(network):
    pictures, words, present = random_inputs()
    wider = torch.cat([words, torch.full((6, 2, 9), -1)], 1)
    with torch.inference_mode():
        network.eval()
        logits = network(pictures, words, present)
        assert torch.allclose(network(pictures, wider, present), logits, atol=1e-5)
        assert torch.allclose(torch.cat([network(*(x[i:i+1] for x in (pictures, words, present))) for i in range(6)]),
                              logits, atol=1e-5)


def test_what_is_missing_is_not_read(network):
    pictures, words, present = random_inputs()
    seen = []
    hook = network.body.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    network.eval()
    with torch.inference_mode():
        logits = network(pictures.masked_fill(~present[:, 0, None, None, None], torch.nan), words, present)
    hook.remove()
    assert logits.isfinite().all() and seen == [present[:, 0].sum()]
    for column in (0, 1):        # a batch without any picture, without any text
        absent = present.clone()
        absent[:, column] = False
        network.train()
        loss = network(pictures, words, absent).sum()
        network.zero_grad()
        loss.backward()
        assert loss.isfinite()
        assert {p.grad is None or not p.grad.any()
                for p in (network.body, network.text_body)[column].parameters()} == {True}


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_gates_add_up_to_one_over_what_is_there(n_modalities, seed):
    rng = torch.Generator().manual_seed(seed)
    unit = GatedUnit([3 + i for i in range(n_modalities)], width=5)
    vectors = [torch.randn(7, 3 + i, generator=rng) for i in range(n_modalities)]
    present = torch.rand(7, n_modalities, generator=rng) < .6
    gates = unit.gates(vectors, present)
    assert torch.allclose(gates.sum(1), torch.ones(7, 5)) and unit(vectors, present).abs().max() <= 1
    some = present.any(1)
    assert not gates[some][~present[some]].any()
    changed = [v.where(there[:, None], 99.) for v, there in zip(vectors, present.T)]
    assert torch.equal(unit(changed, present)[some], unit(vectors, present)[some])


def test_hiding_is_for_training_and_never_takes_all():
    head = FusedHead(4, 3, 2, hide=.9)
    present = torch.tensor([[True, True], [True, False], [False, True], [False, False]]*500)
    seen = head.seen(present)
    assert not (seen & ~present).any() and torch.equal(seen.any(1), present.any(1)) and torch.equal(seen[1::4],
                                                                                                    present[1::4])
    assert abs((seen[::4].sum(1) == 1).float().mean() - 2*.9*.1) < .08      # where both would be hidden, none is
    assert head.eval().seen(present) is present and FusedHead(4, 3, 2, hide=0).seen(present) is present


def test_groups_cover_every_parameter_once(network):
    lower, top, head = lower_top_head(network)
    assert sorted(map(id, [*lower, *top, *head])) == sorted(map(id, network.parameters()))
    assert {id(p) for p in head} == {id(p) for p in network.head.parameters()}
    for body in (network.body, network.text_body):
        own = {id(p) for p in body.parameters()}
        assert own & {id(p) for p in lower} and own & {id(p) for p in top}


# The learner

def quiet(learn, epochs=1, lr=3e-3):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, lr)
    return learn

def learner(dls, **kwargs): return genre_learner(dls, 'test_resnet', **{'weights': ('random', None), **kwargs})


def test_it_learns_and_predicts_whatever_is_there(items, several, loaders):
    for rows in (items, several):
        learn = learner(loaders(rows))
        before = learn.validate()[0]
        assert quiet(learn, 5, 5e-3).validate()[0] < before
        test = rows[rows.split == 'test']
        learn.model.fast = False
        p = predict_items(learn, test)
        assert p.shape == (len(test), 3) and np.isfinite(p).all()
        assert np.allclose(predict_items(learn, test[::-1])[::-1], p, atol=1e-5)
        without = predict_items(learn, test.assign(image=None)[test.text.notna()])
        had_none = test[test.text.notna()].image.isna().to_numpy()
        assert np.allclose(without[had_none], p[test.text.notna().to_numpy()][had_none], atol=1e-5)
        assert np.abs(without - p[test.text.notna().to_numpy()])[~had_none].max() > 1e-4
        assert predict_items(learn, test, tta=2).shape == p.shape
        assert set(learner_probabilities(learn, rows)) == {'valid', 'test'}
    assert input_column(learn.dls) == ('image', 'text') and learn.metrics[0].name == 'mAP'


def test_twice_the_same_numbers(items, loaders):
    a, b, c = (quiet(learner(loaders(items), seed=s), 2).model.state_dict() for s in (3, 3, 4))
    assert all(torch.equal(a[k], b[k]) for k in a) and not all(torch.equal(a[k], c[k]) for k in a)


def test_fastai_verbs(several, loaders):
    learn = learner(loaders(several), loss='asymmetric')
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(1)
        learn.lr_find(num_it=5, suggest_funcs=(), show_plot=False)
        preds, targets = learn.get_preds()
        learn.show_results(max_n=2)
    assert preds.shape == targets.shape
    assert sum('predicted: ' in ax.get_title() for ax in plt.gcf().axes) == 2


def test_pictures_are_scaled_and_weights_are_counted(items, loaders):
    dls = loaders(items, augment=False)
    raw = dls.valid.one_batch()[0]
    learn = learner(dls)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (learn.model.body.weights.mean,
                                                            learn.model.body.weights.std))
    scaled = learn.dls.valid.one_batch()[0].as_subclass(torch.Tensor).cpu()
    assert torch.allclose(scaled*std + mean, raw.as_subclass(torch.Tensor).cpu(), atol=1e-5)
    assert torch.equal(learn.loss_func.func.weight.cpu(), class_weights(dls))


def test_frozen_bodies_stand_still(items, loaders):
    learn = learner(loaders(items))
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    learn.freeze()
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    changed = {k.split('.')[0] for k, v in learn.model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {'head'}


def test_wrong_calls_name_the_next_step(items, loaders, tmp_path, encoder):
    dls = loaders(items)
    with pytest.raises(ValueError, match='hold texts. Leave arch away, or name a timm network'):
        genre_learner(dls, 'small_cnn')
    short = tiny_text_encoder(tmp_path/'short', items.text.dropna(), longest=40)
    with pytest.raises(ValueError, match=r'reads 40 at most. Make new ones: fused_block\('):
        learner(loaders(items, encoder=short))
    learn = learner(dls)
    with pytest.raises(ItemsError, match='no image and no text in 3 of 3 rows'):
        predict_items(learn, items.head(3).assign(image=None, text=None))
    with pytest.raises(ValueError, match='are for pictures alone'): learn.fine_tune_stages(mixup=.2)
    with pytest.raises(ValueError, match='remember is for texts alone'):
        learner_probabilities(learn, items, remember=True)


# Stages

def test_the_head_learns_on_what_the_model_would_give_it(several, loaders):
    learn = learner(loaders(several), pooling='attention')
    learn.model.fast = False
    small = head_learner(learn)
    with small.no_bar(), small.no_logging(): mine, _ = small.get_preds()
    assert np.allclose(mine.numpy(), predict_items(learn, learn.dls.valid.items), atol=1e-5)


def test_vectors_are_remembered(items, loaders, monkeypatch):
    learn = learner(loaders(items))
    head_learner(learn)
    for body in (learn.model.body, learn.model.text_body):
        monkeypatch.setattr(type(body), 'forward', lambda self, x: pytest.fail('read again'))
    head_learner(learn)


def test_loaders_without_any_picture_or_any_text(whole, loaders):
    for holes in (dict(image=None), dict(text=None)):
        rows = whole.assign(**holes)
        learn = learner(loaders(rows))
        with learn.no_bar(): curves = learn.fine_tune_stages(head_epochs=1, top_epochs=0, all_epochs=1)
        assert curves.valid_loss.notna().all() and np.isfinite(predict_items(learn, rows)).all()


STAGES = dict(head_epochs=2, top_epochs=2, all_epochs=2, patience=9)

@pytest.mark.parametrize('stop_after', [1, 3])
def test_a_stopped_run_goes_on_to_the_same_end(stop_after, items, loaders, tmp_path, monkeypatch):
    whole = learner(loaders(items))
    with whole.no_bar(): curves = whole.fine_tune_stages(tmp_path/'whole', **STAGES)
    assert list(curves.stage) == ['head', 'head', 'top', 'top', 'all', 'all']

    write, done = RunRecord.write, []
    def stops(self, *args):
        write(self, *args)
        done.append(1)
        if len(done) == stop_after: raise KeyboardInterrupt
    learn = learner(loaders(items))
    with monkeypatch.context() as m, learn.no_bar(), pytest.raises(KeyboardInterrupt):
        m.setattr(RunRecord, 'write', stops)
        learn.fine_tune_stages(tmp_path/'stopped', **STAGES)
        raise KeyboardInterrupt      # fastai may have taken it for an early end
    learn = learner(loaders(items))
    with learn.no_bar(): again = learn.fine_tune_stages(tmp_path/'stopped', **STAGES)
    assert again.drop(columns='seconds').equals(curves.drop(columns='seconds'))
    a, b = whole.model.state_dict(), learn.model.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    other = learner(loaders(items.assign(text=items.text.str.upper())))
    with pytest.raises(RunError, match='other rows'), other.no_bar():
        other.fine_tune_stages(tmp_path/'stopped', **STAGES)


def test_stages_are_three_where_a_body_was_pretrained(items, loaders):
    assert [s.name for s in plan_stages(learner(loaders(items)).model)] == ['head', 'top', 'all']
    assert [s.name for s in plan_stages(learner(loaders(items), weights=('random', 'random')).model)] == ['all']
