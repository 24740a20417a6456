"Synopses through fastai: windows, batches of like length, every verb of a Learner, stages with resume, odd texts"
import random, warnings

import numpy as np, pytest, torch
from fastai.vision.all import ClassificationInterpretation, Learner, CrossEntropyLossFlat

from genre_fastai.learn import blocks
from genre_fastai.runs import RunError
from genre_fastai.train.checkpoints import RunRecord
from genre_fastai.runs import DiskCache, cache_folder
from genre_fastai.items import ItemsError
from genre_fastai.train.stages import head_learner, plan_stages
from genre_fastai.fine_tune import learner_probabilities
from genre_fastai.learn.learner import class_weights, genre_learner, input_column, predict_items
from genre_fastai.encoders.image import mixed_dtype
from genre_fastai.learn.models import POOLINGS, WindowHead, lower_top_head
from genre_fastai.data.split import split_items
from genre_fastai.datasets.synthetic import synthetic_items
from genre_fastai.learn.blocks import TensorWindows, synopsis_block, text_reader
from genre_fastai.encoders.text import tiny_text_encoder
from genre_fastai.data.texts import MAX_CHARS


@pytest.fixture(scope='module')
def items(tmp_path_factory):
    world = dict(n=90, n_genres=3, images=False, synopsis_sentences=6, telling_sentences=4, seed=2)
    items = split_items(synthetic_items(tmp_path_factory.mktemp('w')/'w', **world), valid=.2, test=.2)
    longer = [' '.join([text]*(1 + i % 4)) for i, text in enumerate(items.text)]
    return items.assign(text=longer)

@pytest.fixture(scope='module')
def several(tmp_path_factory):
    world = dict(n=90, n_genres=3, images=False, multilabel=True, seed=2)
    return split_items(synthetic_items(tmp_path_factory.mktemp('w')/'w', **world), valid=.2, test=.2)

@pytest.fixture(scope='module')
def encoder(items, tmp_path_factory): return tiny_text_encoder(tmp_path_factory.mktemp('e')/'encoder', items.text)

@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch): monkeypatch.setenv('GENRE_FASTAI_CACHE', str(tmp_path/'cache'))


@pytest.fixture
def loaders(encoder):
    def made(items, bs=8, **kwargs):
        return synopsis_block(items, encoder, **{'max_length': 48, 'stride': 8, **kwargs}).dataloaders(items, bs=bs)
    return made

def quiet(learn, epochs=1, lr=3e-3):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, lr)
    return learn


# The block

def test_batches_hold_whole_items(items, loaders):
    dls = loaders(items, max_windows=None)
    reader = text_reader(dls)
    for xb, yb in dls.train:
        assert isinstance(xb, TensorWindows) and xb.ndim == 3 and len(xb) == len(yb) == 8
        assert (xb[:, 0] >= 0).any(1).all() and (xb >= 0).any(2).any(0).all() and (xb >= 0).any(1).any(0).all()  # nothing to spare
    row = dls.valid.items.iloc[dls.valid.get_idxs()[0]]
    first = dls.valid.one_batch()[0][0]
    ids = [[i for i in w if i >= 0] for w in first.tolist() if max(w) >= 0]
    assert ids == [[i for i in w if i >= 0] for w in reader.windows([row.text])[0].tolist()]


def test_every_epoch_has_other_batches_of_like_length(items, loaders):
    dl = loaders(items, bs=4, max_windows=None).train
    dl.pool = 4
    orders = []
    for seed in (0, 0, 1):
        dl.rng = random.Random(seed)
        orders.append(dl.get_idxs())
    assert orders[0] == orders[1] != orders[2] and all(sorted(o) == list(range(len(dl.dataset))) for o in orders)
    spread = np.mean([np.ptp([dl.res[i] for i in orders[0][j:j+4]]) for j in range(0, len(dl.dataset)//4*4, 4)])
    assert spread < .5*np.mean([np.ptp(dl.res[j:j+4]) for j in range(0, len(dl.res)//4*4, 4)])
    assert {frozenset(o[-(len(o) % 4):])
            for o in orders} != {frozenset(orders[0][-(len(orders[0]) % 4):])} or len(orders[0]) % 4 == 0


def test_validation_is_read_longest_first_and_given_back_in_order(items, loaders):
    learn = genre_learner(loaders(items))
    rows = items[items.split == 'test']
    p = predict_items(learn, rows)
    one_by_one = np.concatenate([predict_items(learn, rows.iloc[i:i+1]) for i in range(6)])
    assert np.allclose(p[:6], one_by_one, atol=.02) and p.std(0).max() > 0
    assert np.allclose(predict_items(learn, rows[::-1])[::-1], p, atol=1e-5)


def test_the_same_errors_as_for_pictures(items, loaders):
    with pytest.raises(ItemsError, match='split_items'): loaders(items.assign(split=None))
    with pytest.raises(ItemsError, match="no row has split 'valid'"): loaders(items[items.split == 'train'])
    rows = items.assign(text=[None, *items.text[1:]], split=['train', *items.split[1:]])
    with pytest.raises(ItemsError, match='clean_items.* drops such rows'): loaders(rows)
    rows = items.copy()
    rows.at[items.index[items.split == 'valid'][0], 'genres'] = ['Opera']
    with pytest.raises(ItemsError, match=r"\['Opera'\] are in valid but not in train"): loaders(rows)
    with pytest.raises(ItemsError, match="column 'text' is empty"): loaders(items.assign(text=None))


def test_shown_as_words(items, several, loaders, monkeypatch):
    tables = []
    monkeypatch.setattr(blocks, 'display_df', tables.append)
    for rows in (items, several):
        dls = loaders(rows)
        dls.show_batch(max_n=2)
        x, y = dls.decode_batch(dls.one_batch(), max_n=1)[0]
        assert 'the' in x and set([y] if isinstance(y, str) else y) <= set(dls.vocab)
        genre_learner(dls).show_results(max_n=2)
    assert ['predicted' in table for table in tables] == [False, True]*2 and all(len(table) == 2 for table in tables)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('text', ['', '   ', '\n', '😀😀 🎬', 'قصة قصيرة عن الحب', 'א' * 300, 'half \ud83d', '\0',
                                  'x'*5000])
def test_odd_texts(text, items, loaders):
    rows = items.astype({'text': object})
    at = [items.index[items.split == s][0] for s in ('train', 'valid', 'test')]
    rows.loc[at, 'text'] = text
    learn = quiet(genre_learner(loaders(rows, max_windows=None)))
    assert np.isfinite(predict_items(learn, rows.loc[at])).all()


def test_a_text_of_ten_megabytes(items, loaders):
    rows = items.copy()
    rows.loc[items.index[items.split == 'train'][0], 'text'] = 'a sleepless caretaker '*450_000
    with pytest.warns(UserWarning, match=f'more than {MAX_CHARS:,} characters and are cut'):
        loaders(rows, max_windows=None)
    with pytest.warns(UserWarning, match=r'\d+ of .* texts have more than 9 windows'):
        dls = loaders(rows, max_windows=9)
    assert max(len(x) for x, _ in dls.train_ds) == 9


def test_further_items_may_lack_a_text(items, loaders):
    dls = loaders(items)
    dl = dls.test_dl(items.assign(text=None).head(3))
    assert next(iter(dl))[0].shape[:2] == (3, 1)


def test_unknown_encoder(items):
    with pytest.raises(ValueError, match="no text encoder 'no-such'.*Give a folder"): synopsis_block(items, 'no-such')


# The learner

@pytest.mark.parametrize('pooling', POOLINGS)
def test_every_pooling_learns(pooling, items, loaders):
    learn = genre_learner(loaders(items), pooling=pooling)
    before = learn.validate()[0]
    assert quiet(learn, 6, 1e-2).validate()[0] < .9*before


def test_padding_and_neighbours_change_nothing(items, loaders):
    learn = genre_learner(loaders(items))
    model = learn.model.eval()
    model.fast = False
    xb = learn.dls.valid.one_batch()[0]
    wider = torch.full((len(xb), xb.shape[1] + 2, xb.shape[2] + 3), -1)
    wider[:, :xb.shape[1], :xb.shape[2]] = xb.as_subclass(torch.Tensor)
    with torch.inference_mode():
        assert (model(xb) - model(wider)).abs().max() < 1e-5
        assert (model(xb)[:2] - model(xb[:2])).abs().max() < 1e-5


def test_verbs_of_fastai(several, loaders):
    learn = genre_learner(loaders(several))
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(1)
        learn.lr_find(num_it=5, suggest_funcs=(), show_plot=False)
        preds, targets = learn.get_preds()
    assert preds.shape == targets.shape and learn.metrics[0].name == 'mAP'
    assert set(learner_probabilities(learn, several)) == {'valid', 'test'}


def test_interpretation(items, loaders):
    learn = quiet(genre_learner(loaders(items)))
    with learn.no_bar(): found = ClassificationInterpretation.from_learner(learn)
    assert found.confusion_matrix().sum() == (items.split == 'valid').sum()


def test_plain_fastai_learner_takes_block_and_network(items, loaders):
    dls = loaders(items)
    model = genre_learner(dls).model
    learn = Learner(dls, model, loss_func=CrossEntropyLossFlat(), splitter=lower_top_head)
    with learn.no_bar(), learn.no_logging(): learn.fine_tune(1)


def test_weights_of_genres_are_automatic(items, loaders):
    dls = loaders(items)
    assert torch.equal(genre_learner(dls).loss_func.func.weight.cpu(), class_weights(dls))
    assert genre_learner(dls, weigh_genres=False).loss_func.func.weight is None
    assert input_column(dls) == 'text' and not [t for t in dls.train.after_batch.fs if type(t).__name__ == 'Normalize']


def test_twice_the_same_numbers(items, loaders):
    a, b, c = (quiet(genre_learner(loaders(items), pooling='attention', seed=s), 2).model.state_dict()
               for s in (3, 3, 4))
    assert all(torch.equal(a[k], b[k]) for k in a) and not all(torch.equal(a[k], c[k]) for k in a)


def test_frozen_layers_stand_still_and_drop_nothing(items, loaders):
    learn = genre_learner(loaders(items))
    before = {k: v.clone() for k, v in learn.model.body.state_dict().items()}
    learn.freeze()
    learn.model.train()
    xb = learn.dls.valid.one_batch()[0].as_subclass(torch.Tensor)[:, 0]
    assert torch.equal(learn.model.body.read(xb), learn.model.body.read(xb)) and learn.model.head.training
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert all(torch.equal(v, before[k]) for k, v in learn.model.body.state_dict().items())
    learn.unfreeze()
    learn.model.train()
    assert not torch.equal(learn.model.body.read(xb), learn.model.body.read(xb))


def test_groups_cover_every_parameter_once(items, loaders):
    model = genre_learner(loaders(items), pooling='attention').model
    groups = lower_top_head(model)
    assert sorted(map(id, sum(groups, []))) == sorted(map(id, model.parameters())) and all(groups)


def test_inner_precision_is_what_it_says(items, loaders):
    learn, seen = genre_learner(loaders(items)), []
    learn.model.eval()
    dense = learn.model.body.model.encoder.layer[0].output.dense
    hook = dense.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    logits = [learn.model(learn.dls.valid.one_batch()[0]) for learn.model.fast in (True, False)]
    hook.remove()
    assert seen == [mixed_dtype('cpu') or torch.float32, torch.float32] and {x.dtype for x in logits} == {torch.float32}
    assert (logits[0] - logits[1]).abs().max() < .1


def test_wrong_calls_name_the_next_step(items, loaders, tmp_path):
    dls = loaders(items)
    with pytest.raises(ValueError, match='hold texts. Leave arch away'): genre_learner(dls, 'small_cnn')
    other = tiny_text_encoder(tmp_path/'other', ['entirely different words for another tokenizer'])
    with pytest.raises(ValueError, match='reads other tokens. Make new ones'): genre_learner(dls, other)
    with pytest.raises(ValueError, match='pooling is .median.; use one of'): genre_learner(dls, pooling='median')
    learn = genre_learner(dls)
    with pytest.raises(ValueError, match='tta augments pictures, not texts'): predict_items(learn, items, tta=2)
    with pytest.raises(ValueError, match='mixup and sizes are for pictures'): learn.fine_tune_stages(mixup=.2)
    with pytest.raises(ItemsError, match="text is empty in 1 of"):
        predict_items(learn, items.assign(text=[None, *items.text[1:]]))


def test_windows_longer_than_the_encoder_reads(items, tmp_path):
    short = tiny_text_encoder(tmp_path/'short', items.text, longest=40)
    dls = synopsis_block(items, short, max_length=64, stride=8).dataloaders(items, bs=8)
    with pytest.raises(ValueError, match='reads 40 at most'): genre_learner(dls)


@pytest.mark.parametrize('pooling', POOLINGS)
def test_shares_of_windows_make_the_pooled_vector(pooling):
    vectors, counts = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([4, 2, 1])
    head = WindowHead(6, None, pooling)
    shares = head.shares(vectors, counts)
    assert torch.allclose(shares.sum(1), torch.ones(3)) and shares[1, 2:].eq(0).all() and shares[2, 0] == 1
    if pooling != 'max': assert torch.allclose((shares[..., None]*vectors).sum(1), head(vectors, counts), atol=1e-6)
    if pooling == 'mean': assert torch.allclose(shares[0], torch.full((4,), .25))
    if pooling == 'max': assert shares[0, 0] == (vectors[0].argmax(0) == 0).float().mean()


# Stages

@pytest.mark.parametrize('pooling', POOLINGS)
def test_the_head_learns_on_what_the_model_would_give_it(pooling, items, loaders):
    learn = genre_learner(loaders(items), pooling=pooling)
    learn.model.fast = False
    small = head_learner(learn)
    with small.no_bar(), small.no_logging(): mine, targets = small.get_preds()
    with torch.inference_mode():
        theirs = predict_items(learn, learn.dls.valid.items)
    assert np.allclose(mine.numpy(), theirs, atol=1e-5) and len(targets) == len(theirs)


def test_vectors_are_remembered_until_the_body_changes(items, loaders, monkeypatch):
    learn = genre_learner(loaders(items))
    head_learner(learn)
    read = type(learn.model.body).read
    monkeypatch.setattr(type(learn.model.body), 'read', lambda self, ids: pytest.fail('read again'))
    head_learner(learn)
    monkeypatch.setattr(type(learn.model.body), 'read', read)
    n = len(DiskCache(cache_folder()/'vectors.sqlite'))
    with torch.no_grad(): next(learn.model.body.parameters()).add_(1.)
    head_learner(learn)
    assert len(DiskCache(cache_folder()/'vectors.sqlite')) == 2*n


@pytest.mark.parametrize('pooling', POOLINGS)
def test_remembered_vectors_predict_as_the_model_does(pooling, items, several, loaders, monkeypatch):
    for rows in (items, several):
        learn = genre_learner(loaders(rows), pooling=pooling)
        learn.model.fast = False
        theirs = learner_probabilities(learn, rows)
        mine = learner_probabilities(learn, rows, remember=True)
        assert all(np.allclose(mine[s], theirs[s], atol=1e-5) and mine[s].shape == theirs[s].shape
                   for s in ('valid', 'test'))
        with monkeypatch.context() as m:
            m.setattr(type(learn.model.body), 'read', lambda self, ids: pytest.fail('read again'))
            again = learner_probabilities(learn, rows, remember=True)
        assert np.array_equal(again['test'], mine['test'])


def test_texts_that_are_cut_are_spoken_of_once(items, loaders):
    with pytest.warns(UserWarning, match='of 72 texts have more than 1 windows'): dls = loaders(items, max_windows=1)
    learn = genre_learner(dls)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        predict_items(learn, items[items.split == 'test'])
    assert sum('1 of 1 texts have more than 1 windows' in str(w.message) for w in seen) == 1


STAGES = dict(head_epochs=2, top_epochs=2, all_epochs=2, patience=9)

@pytest.mark.parametrize('stop_after', [1, 3, 5])
def test_a_stopped_run_goes_on_to_the_same_end(stop_after, items, loaders, tmp_path, monkeypatch):
    whole = genre_learner(loaders(items), pooling='attention')
    with whole.no_bar(): curves = whole.fine_tune_stages(tmp_path/'whole', **STAGES)
    assert list(curves.stage) == ['head', 'head', 'top', 'top', 'all', 'all']

    write, done = RunRecord.write, []
    def stops(self, *args):
        write(self, *args)
        done.append(1)
        if len(done) == stop_after: raise KeyboardInterrupt
    learn = genre_learner(loaders(items), pooling='attention')
    monkeypatch.setattr(RunRecord, 'write', stops)
    try:
        with learn.no_bar(): learn.fine_tune_stages(tmp_path/'stopped', **STAGES)
    except KeyboardInterrupt: pass
    assert len(done) == stop_after
    monkeypatch.setattr(RunRecord, 'write', write)
    learn = genre_learner(loaders(items), pooling='attention')
    with learn.no_bar(): again = learn.fine_tune_stages(tmp_path/'stopped', **STAGES)
    assert again.drop(columns='seconds').equals(curves.drop(columns='seconds'))
    a, b = whole.model.state_dict(), learn.model.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    other = genre_learner(loaders(items), pooling='max')
    with pytest.raises(RunError, match='other size'), other.no_bar():
        other.fine_tune_stages(tmp_path/'stopped', **STAGES)


def test_a_head_on_vectors_trains_without_a_warning_of_fastai(items, loaders):
    learn = genre_learner(loaders(items))
    with warnings.catch_warnings(), learn.no_bar():
        warnings.filterwarnings('error', message='You are shadowing')
        learn.fine_tune_stages(head_epochs=1, top_epochs=0, all_epochs=0)


def test_pretrained_body_has_three_stages(items, loaders):
    assert [s.name for s in plan_stages(genre_learner(loaders(items)).model)] == ['head', 'top', 'all']
    assert [s.name for s in plan_stages(genre_learner(loaders(items), weights='random').model)] == ['all']
