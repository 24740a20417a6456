"Explanations: places stay where they are in every kind of network, weights are differences, similarity finds the same badge"
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, timm, torch
from fastai.vision.all import Learner, accuracy, vision_learner
from hypothesis import given, strategies as st
from torch import nn

from genre_fastai.learn.blocks import cover_block
from genre_fastai.items import ItemsError
from genre_fastai.predict.classifier import GenreClassifier
from genre_fastai.predict.modalities import ImageModality, TextModality
from genre_fastai.explain.cam import _MapLayers, grad_cam, ideal_pictures, pointing_game, show_cams, show_filters
from genre_fastai.explain.text import UNITS, highlight_text, split_sentences, text_weights, window_weights
from genre_fastai.explain.neighbours import nearest_items
from genre_fastai.learn.learner import genre_learner, predict_items
from genre_fastai.learn.models import POOLINGS
from genre_fastai.data.split import split_items
from genre_fastai.datasets.synthetic import synthetic_items
from genre_fastai.learn.blocks import fused_block, synopsis_block
from genre_fastai.encoders.text import tiny_text_encoder
from genre_fastai.classical.text_ridge import TextRidge

@pytest.fixture(scope='module')
def items(tmp_path_factory):
    found = synthetic_items(tmp_path_factory.mktemp('w')/'both', 60, n_genres=3, size=(64, 96), mark=True, decoy=True,
                            synopsis_sentences=12)
    return split_items(found, valid=.2, test=.3, seed=0)

@pytest.fixture(scope='module')
def encoder(items, tmp_path_factory): return tiny_text_encoder(tmp_path_factory.mktemp('e')/'e', items.text)

@pytest.fixture(scope='module')
def covers(items): return genre_learner(cover_block(items, size=64, augment=False).dataloaders(items, bs=8))

@pytest.fixture(scope='module')
def reader(items, encoder):
    return genre_learner(synopsis_block(items, encoder, max_length=48, stride=8).dataloaders(items, bs=8),
                         weights='random', pooling='attention')

@pytest.fixture(scope='module')
def fused(items, encoder):
    dls = fused_block(items, size=64, encoder=encoder, augment=False, max_length=48, stride=8).dataloaders(items, bs=8)
    return genre_learner(dls, 'test_resnet', weights='random')

@pytest.fixture(scope='module')
def test(items): return items[items.split == 'test'].reset_index(drop=True)

class Told:
    "Says Crime the surer, the more sentences hold the word"
    classes_ = np.array(['Comedy', 'Crime'])
    def predict_proba(self, items):
        p = np.array([.5 + .1*str(text).count('thief') for text in items.text])
        return np.stack([1 - p, p], 1)

def one(text, **columns):
    return pd.DataFrame({'item_id': ['a'], 'image': [None], 'text': [text], 'genres': [['Crime']], 'split': [None],
                         **{k: [v] for k, v in columns.items()}})


# Pictures

SMALL = timm.list_models('test_*')

@pytest.mark.parametrize('name', SMALL + ['swin_tiny_patch4_window7_224', 'mixer_s32_224', 'volo_d1_224'])
def test_places_stay_where_they_are(name):
    "What changes in a corner of the picture changes most in that corner of the maps"
    network = timm.create_model(name, num_classes=0).eval()
    size = network.pretrained_cfg['input_size'][1]
    x = torch.zeros(2, 3, size, size)
    spot = size//8
    x[1, :, size*5//8:size*5//8 + spot, size//8:size//8 + spot] = 3.
    layers = _MapLayers(network)
    with torch.no_grad(), layers.watched() as seen: network(x)
    maps = next(m for m in map(layers.laid_out, seen, seen.values()) if m.shape[2] <= size//4)
    change = (maps[1] - maps[0]).abs().sum(0)
    h, w = change.shape
    y, x = divmod(change.argmax().item(), w)
    assert h == w and abs((y + .5)/h - 11/16) <= .5/h + .13 and abs((x + .5)/w - 3/16) <= .5/w + .13

@pytest.mark.parametrize('name', SMALL)
def test_every_small_network_says_where_it_looks(name, items, test):
    dls = cover_block(items, size=timm.get_pretrained_cfg(name).input_size[1], augment=False).dataloaders(items, bs=8)
    learn = genre_learner(dls, name, weights='random')
    cams = grad_cam(learn, test[:2])
    assert cams.shape[0] == 2 and np.isfinite(cams).all() and cams.min() >= 0 and cams.max() <= 1
    assert grad_cam(learn, test[:2], layer='last', places=False).shape == cams.shape

def test_tokens_in_no_order_are_refused(items, test):
    dls = cover_block(items, size=224, augment=False).dataloaders(items, bs=4)
    with pytest.raises(ValueError, match='Hiera lie in no order'):
        grad_cam(genre_learner(dls, 'hiera_tiny_224', 'random'), test[:1])

@pytest.mark.parametrize('kind', ['covers', 'fused'])
def test_each_map_is_that_of_its_row(kind, request, test):
    "Loaders of texts give the longest first"
    learn = request.getfixturevalue(kind)
    rows = test[:6].assign(text=[('A word. '*k).strip() for k in (1, 30, 7, 90, 2, 50)])
    genres = ['Crime', 'Fantasy', 'Thriller']*2
    together = grad_cam(learn, rows, genres, layer='last')
    alone = [grad_cam(learn, rows[i:i+1], genres[i], layer='last')[0] for i in range(6)]
    assert np.allclose(together, alone, atol=1e-3)

def test_a_badge_that_tells_is_found_and_a_grey_one_is_not(tmp_path):
    rows = synthetic_items(tmp_path/'w', 500, n_genres=3, size=(64, 96), clarity=0., label_noise=0., mark=True,
                           decoy=True, synopsis_sentences=0)
    rows = split_items(rows, valid=.1, test=.2, seed=0)
    learn = genre_learner(cover_block(rows, size=64, augment=False).dataloaders(rows, bs=16))
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(10, 3e-3)
    left = rows[rows.split == 'test'].reset_index(drop=True)
    cams = grad_cam(learn, left)
    found, fooled = pointing_game(cams, left), pointing_game(cams, left, 'decoy_box')
    assert found['n'] == 100 and found['hits'] >= .8 and fooled['hits'] < .1 and found['random'] < .04

def test_grad_cam_is_the_formula_of_the_paper(covers, test):
    cams = grad_cam(covers, test[:3], genre='Fantasy', layer='14', places=False)
    model, kept = covers.model.eval(), {}
    model.fast = False
    x = covers.dls.test_dl(test[:3]).one_batch()[0].as_subclass(torch.Tensor)
    hook = model.body[14].register_forward_hook(lambda m, args, out: kept.update(a=out))
    z = model(x.requires_grad_())
    hook.remove()
    model.fast = True
    slope, = torch.autograd.grad(z[:, list(covers.dls.vocab).index('Fantasy')].sum(), kept['a'])
    by_hand = (slope.mean((2, 3), keepdim=True)*kept['a']).sum(1).relu()
    by_hand = nn.functional.interpolate(by_hand[:, None], (64, 64), mode='bilinear')[:, 0]
    assert np.allclose(cams, (by_hand/by_hand.amax((1, 2), keepdim=True).clamp(min=1e-12)).detach().cpu(), atol=1e-5)

def test_pictures_of_a_fused_network_and_a_row_a_genre(fused, covers, test):
    assert grad_cam(fused, test[:3]).shape == (3, 64, 64)
    genres = ['Crime', 'Fantasy', 'Crime']
    mixed, alone = grad_cam(covers, test[:3], genres), grad_cam(covers, test[:3], 'Crime')
    assert np.array_equal(mixed[[0, 2]], alone[[0, 2]]) and not np.array_equal(mixed[1], alone[1])

def test_names_of_layers_are_those_that_diagnostics_print(covers, fused, test):
    assert np.array_equal(grad_cam(covers, test[:2], layer='body.14'), grad_cam(covers, test[:2], layer='14'))
    assert np.array_equal(grad_cam(fused, test[:2], layer='body.model.layer2'),
                          grad_cam(fused, test[:2], layer='layer2'))

def test_one_title_for_all(covers, test):
    assert [ax.get_title() for ax in show_cams(test[:2], grad_cam(covers, test[:2]), titles='Crime',
                                               n_columns=0)] == ['Crime']*2
    plt.close('all')

def test_explaining_leaves_no_trace(covers, test):
    before = {k: v.clone() for k, v in covers.model.state_dict().items()}
    p, n = predict_items(covers, test), sum(len(m._forward_hooks) + len(m._forward_pre_hooks)
                                            for m in covers.model.modules())
    grad_cam(covers, test[:2]), ideal_pictures(covers, n_steps=2), nearest_items(covers, test[:1], test)
    with pytest.raises(ValueError): grad_cam(covers, test[:2], layer='17')
    assert all(torch.equal(v, covers.model.state_dict()[k]) for k, v in before.items())
    assert np.array_equal(predict_items(covers, test), p) and all(q.requires_grad and q.grad is None
                                                                  for q in covers.model.parameters())
    assert n == sum(len(m._forward_hooks) + len(m._forward_pre_hooks)
                    for m in covers.model.modules()) and covers.model.fast

@pytest.mark.parametrize('ask', [lambda learn, rows: grad_cam(learn, rows),
                                 lambda learn, rows: nearest_items(learn, rows[:1], rows)])
def test_explaining_that_fails_leaves_no_hook(ask, covers, test):
    class Fails(torch.nn.Module):
        def forward(self, x): raise RuntimeError('in the middle')
    covers.model.head.append(Fails())
    try:
        with pytest.raises(RuntimeError, match='in the middle'): ask(covers, test[:2])
    finally: del covers.model.head[-1]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in covers.model.modules())

def test_explaining_texts_leaves_no_trace(reader, test):
    p, state = predict_items(reader, test), {k: v.clone() for k, v in reader.model.state_dict().items()}
    text_weights(reader, test[:1]), window_weights(reader, test[:1]), nearest_items(reader, test[:1], test)
    assert np.array_equal(predict_items(reader, test), p) and reader.model.fast
    assert all(torch.equal(v, reader.model.state_dict()[k]) for k, v in state.items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in reader.model.modules())

def test_a_network_of_fastai_is_explained_too(items, test):
    dls = cover_block(items, size=64, augment=False).dataloaders(items, bs=8)
    learn = vision_learner(dls, 'test_resnet', pretrained=False, metrics=accuracy)
    assert grad_cam(learn, test[:2]).shape == (2, 64, 64) and len(show_filters(learn))

def test_a_network_of_your_own_is_explained_too(items, test):
    dls = cover_block(items, size=64, augment=False).dataloaders(items, bs=8)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(16),
                         nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    model = nn.Sequential()
    model.body, model.head = body, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    model.forward = lambda x: model.head(model.body(x.as_subclass(torch.Tensor)))
    assert grad_cam(Learner(dls, model, metrics=accuracy), test[:2]).shape == (2, 64, 64)

def test_mistakes_with_pictures_are_one_line(covers, reader, fused, test):
    for call, message in [(lambda: grad_cam(covers, test[:2], 'Crme'), "no genre 'Crme'.*'Crime'"),
                          (lambda: grad_cam(covers, test[:2], ['Crime']), '1 genres for 2 items'),
                          (lambda: grad_cam(covers, test[:2], ['Crime']*5), '5 genres for 2 items'),
                          (lambda: grad_cam(fused, test[:2], layer='global_pool'), "'global_pool' gives no maps"),
                          (lambda: text_weights(covers, test[:1]), 'reads no texts'),
                          (lambda: grad_cam(covers, test[:0]), 'no row'),
                          (lambda: grad_cam(Told(), test[:2]), 'a Told has no layers to look into'),
                          (lambda: grad_cam(covers, test[:2], layer='99'), "no layer '99'"),
                          (lambda: grad_cam(covers, test[:2], layer='17'), "no layer '17'"),
                          (lambda: grad_cam(reader, test[:2]), 'reads no pictures'),
                          (lambda: ideal_pictures(reader), 'reads pictures alone'),
                          (lambda: ideal_pictures(covers, ['Poetry']), "no genre 'Poetry'"),
                          (lambda: pointing_game(np.zeros((1, 8, 8)), test[:2]), '1 maps and 2 boxes for 2 items'),
                          (lambda: pointing_game(np.zeros((2, 8, 8)), test[:2], 'mark'), "no column 'mark'"),
                          (lambda: pointing_game(np.zeros((2, 8, 8)), test[:2], [None, None]), 'no row has a box'),
                          (lambda: show_cams(test[:2], np.zeros((3, 8, 8))), '3 maps for 2 items'),
                          (lambda: show_cams(test[:2], np.zeros((2, 8, 8)), titles=['a']), '1 titles for 2 items'),
                          (lambda: grad_cam(covers, test[:2], test.genres[:2]), "no genre \\['"),
                          (lambda: grad_cam(covers, test[:2], 0), 'no genre 0'),
                          (lambda: grad_cam(covers, test[:2], layer='nope'), "no layer 'nope' .* It has '0', '1'")]:
        with pytest.raises(ValueError, match=message) as error: call()
        assert '\n' not in str(error.value)
    with pytest.raises(ItemsError, match='image'): grad_cam(covers, test[:2].assign(image=None))

def test_the_pointing_game_by_hand(test):
    from PIL import Image
    rows, cams = test[:3], np.zeros((3, 10, 10), np.float32)
    width, height = Image.open(rows.image[0]).size
    cams[0, 2, 7] = 1.                               # at 7.5/10 of the width and 2.5/10 of the height
    box = [int(.7*width), int(.2*height), int(.8*width) + 1, int(.3*height) + 1]
    found = pointing_game(cams, rows, [box, box, None])      # the second map is empty, the third row has no box
    assert found['n'] == 2 and found['hits'] == .5 and .01 < found['random'] < .03

def test_ideal_pictures_raise_their_genre(covers):
    start, found = (ideal_pictures(covers, n_steps=n, rough=0.) for n in (1, 40))
    def odds(pictures):
        with torch.no_grad():
            return covers.model.eval()(torch.from_numpy(pictures).permute(0, 3, 1, 2).to(covers.dls.device)).softmax(1).diag()
    assert found.shape == (3, 64, 64, 3) and 0 <= found.min() and found.max() <= 1 and (odds(found) > odds(start)).all()
    assert np.array_equal(ideal_pictures(covers, ['Crime'], n_steps=3), ideal_pictures(covers, ['Crime'], n_steps=3))

def test_ideal_pictures_of_networks_that_want_scaled_pictures_and_know_several_genres(items):
    several = items.assign(genres=[[*g, 'Best'] if i % 3 else g for i, g in enumerate(items.genres)])
    dls = cover_block(several, size=64, augment=False).dataloaders(several, bs=8)
    learn = genre_learner(dls, 'test_resnet', weights='random')
    start, found = (ideal_pictures(learn, 'Best', n_steps=n, rough=0.) for n in (1, 40))
    mean, std = (torch.tensor(getattr(learn.model.body.weights, k)).view(3, 1, 1) for k in ('mean', 'std'))
    def logit(pictures):
        x = (torch.from_numpy(pictures).permute(0, 3, 1, 2) - mean)/std
        with torch.no_grad(): return learn.model.eval()(x.to(dls.device))[0, list(dls.vocab).index('Best')].item()
    assert logit(found) > logit(start)

def test_filters_are_those_of_the_first_convolution(covers, fused, reader):
    axes = show_filters(covers, n=5, n_columns=3)
    shown = [ax.images[0].get_array() for ax in axes if ax.images]
    assert len(axes) == 6 and len(shown) == 5 and all(s.shape == (3, 3, 3) and s.min() == 0 and s.max() == 1
                                                      for s in shown)
    assert show_filters(fused)[0].images[0].get_array().shape == (3, 3, 3)
    plt.close('all')
    with pytest.raises(ValueError, match='no convolution reads pictures'): show_filters(reader)


# Texts

@given(st.text(alphabet='aé .!?\n\t"…。я1', max_size=60))
def test_parts_of_a_text_are_the_text(text):
    assert ''.join(split_sentences(text)) == text
    if text.strip(): assert ''.join(UNITS['word'](text)) == text

@pytest.mark.parametrize('text,n', [('One. Two! Three?', 3), ('A title\nA line', 2), ('No mark at all', 1),
                                    ('3.5 stars. "Well," he said. ', 2),
                                    ('Раз. Два.', 2), ('\n\n- Hello there.\nYou', 2), ('一。二。', 2),
                                    ('Wait for it! ...', 1), ('一个！二个？', 2)])
def test_sentences(text, n): assert len(split_sentences(text)) == n

def test_weights_are_what_is_lost(items):
    found = text_weights(Told(), one('A thief. A farmer. Another thief! '), 'Crime')
    logit = lambda p: np.log(p/(1 - p))
    assert np.allclose(found.weight, [logit(.7) - logit(.6), 0, logit(.7) - logit(.6)])
    assert found.attrs['genre'] == 'Crime' and np.isclose(found.attrs['log_odds'], logit(.7))
    assert np.allclose(text_weights(Told(), one('A thief. A farmer.'), 'Comedy').weight, [logit(.4) - logit(.5), 0])

def test_several_text_columns_are_read_as_one():
    class Columns(Told):
        modalities_ = [ImageModality(), TextModality(['title', 'plot'])]
        def predict_proba(self, items):
            return super().predict_proba(items.assign(text=self.modalities_[1].texts(items)))
    found = text_weights(Columns(), one(None, title='The thief.', plot='She farms. He rests.'))
    assert found.part.str.strip().tolist() == ['The thief.', 'She farms.', 'He rests.'] and found.weight.idxmax() == 0

@pytest.fixture(scope='module')
def shelved(items, encoder):
    "A learner that allows several genres, whose head weighs a lot"
    several = items.assign(genres=[[*g, 'Best'] if i % 3 else g for i, g in enumerate(items.genres)])
    dls = fused_block(several, size=64, encoder=encoder, augment=False, max_length=48,
                      stride=8).dataloaders(several, bs=8)
    return genre_learner(dls, 'test_resnet', weights='random')

@pytest.mark.parametrize('kind', ['reader', 'fused', 'shelved'])
def test_learners_of_texts(kind, request, test):
    "Weights are differences of log odds, each part's own, also where an item may have several genres"
    learn, row = request.getfixturevalue(kind), test[:1]
    def odds(text):
        "Without rounding: the logits, in double precision"
        batch = learn.dls.test_dl(row.assign(text=text), num_workers=0).one_batch()[:learn.dls.n_inp]
        learn.model.eval().fast = False
        with torch.no_grad(): z = learn.model(*batch).as_subclass(torch.Tensor).double().cpu().numpy()[0]
        learn.model.fast = True
        if kind == 'shelved': return z
        return np.array([z[j] - np.log(np.exp(np.delete(z, j)).sum()) for j in range(len(z))])
    whole = odds(row.text.iloc[0])
    found, at = text_weights(learn, row), whole.argmax()
    assert len(found) == 12 and np.isclose(found.attrs['log_odds'], whole[at], atol=1e-4) and found.weight.std() > 1e-4
    without = [odds(''.join(found.part.drop(i))) for i in range(12)]
    assert np.allclose(found.weight, [whole[at] - left[at] for left in without], atol=1e-4)
    other = text_weights(learn, row, learn.dls.vocab[at - 1])
    assert np.allclose(other.weight, [whole[at - 1] - left[at - 1] for left in without], atol=1e-4)
    by_window = window_weights(learn, row)
    assert len(by_window) > 1 and np.isclose(by_window.share.sum(), 1, atol=1e-4)
    assert np.isclose(by_window.attrs['log_odds'], whole[at], atol=1e-3)

@pytest.mark.parametrize('pooling', POOLINGS)
def test_weights_of_windows_are_those_of_a_shorter_item(pooling, items, encoder, test):
    dls = synopsis_block(items, encoder, max_length=48, stride=8).dataloaders(items, bs=8)
    learn, row = genre_learner(dls, weights='random', pooling=pooling), test[:1]
    learn.model.fast, _ = False, learn.model.eval()
    found = window_weights(learn, row, 'Crime')
    ids = dls.test_dl(row).one_batch()[0].as_subclass(torch.Tensor)
    at = list(dls.vocab).index('Crime')
    def odds(x):
        with torch.no_grad(): p = learn.model(x).double().softmax(1)[0, at]
        return (p/(1 - p)).log().item()
    assert ids.shape[1] == len(found) > 2
    for i in range(len(found)):
        assert np.isclose(found.weight[i], odds(ids) - odds(torch.cat([ids[:, :i], ids[:, i+1:]], 1)), atol=1e-4)

def test_a_lone_window_has_no_weight(reader, test):
    found = window_weights(reader, test[:1].assign(text='A short one.'))
    assert len(found) == 1 and found.share[0] == 1 and np.isnan(found.weight[0])

def test_html_is_escaped_and_colours_follow_the_sign():
    found = text_weights(Told(), one('A <b>thief</b>. A farmer & co.'), 'Crime')
    page = highlight_text(found)
    assert page._repr_html_() == page and '&lt;b&gt;thief' in page and '&amp; co' in page and '<b>thief' not in page
    assert 'rgba(220,60,40,0.75)' in page and 'rgba(50,90,220,0.75)' in highlight_text(text_weights(Told(), one('A thief. A farmer.'), 'Comedy'))

def test_mistakes_with_texts_are_one_line(covers, reader, test):
    for call, message in [(lambda: text_weights(Told(), one('Only one.')), "single sentence.*unit='word'"),
                          (lambda: text_weights(Told(), one('One'), unit='word'), 'single word'),
                          (lambda: text_weights(Told(), one('He ran. She sang.'), unit='letter'), "unit is 'letter'"),
                          (lambda: text_weights(Told(), one('He ran. She sang.'), 'War'), "no genre 'War'"),
                          (lambda: text_weights(Told(), pd.concat([one('He ran. She sang.')]*2)), 'one item'),
                          (lambda: text_weights(Told(), one(' ')), 'has no text'),
                          (lambda: text_weights(Told(), one(None)), 'has no text'),
                          (lambda: window_weights(covers, test[:1]), 'reads no texts'),
                          (lambda: window_weights(Told(), test[:1]), 'no layers'),
                          (lambda: nearest_items(Told(), one('A.'), one('B.').assign(item_id='b')),
                           'a Told compares no items'),
                          (lambda: nearest_items(covers, test[:1], test[:1]), 'nothing to compare'),
                          (lambda: nearest_items(TextRidge().fit(test.text.tolist(), test.genres.str[0]), test[:1],
                                                 test), 'TextRidge compares no items'),
                          (lambda: nearest_items(covers, test[:0], test), 'no rows'),
                          (lambda: nearest_items(covers, test[:1], test, n=0), 'n is 0'),
                          (lambda: text_weights(GenreClassifier(), test[:1]), 'GenreClassifier knows no genres'),
                          (lambda: text_weights(Told(), one('He ran. She sang.'), ['War', 'Crime']),
                           '2 genres for 1 items'),
                          (lambda: highlight_text(pd.DataFrame({'part': ['a'], 'weight': [1.]})), 'no weights of parts'),
                          (lambda: highlight_text(window_weights(reader, test[:1])), 'no weights of parts')]:
        with pytest.raises(ValueError, match=message) as error: call()
        assert '\n' not in str(error.value)


# Neighbours

@pytest.mark.parametrize('kind', ['covers', 'reader', 'fused'])
def test_a_copy_is_the_nearest_of_its_original(kind, request, items):
    "Loaders of texts give the longest first; each row must get its own neighbours"
    learn, train = request.getfixturevalue(kind), items[items.split == 'train'].reset_index(drop=True)
    train['text'] = [text[:60*(1 + 7*i % 11)] for i, text in enumerate(train.text)]
    copies = train[3:9].assign(item_id=[f'copy{i}' for i in range(6)])
    found = nearest_items(learn, copies, train, n=1)
    assert found.item_id.tolist() == train.item_id[3:9].tolist() and found['of'].tolist() == copies.item_id.tolist()
    assert np.allclose(found.similarity, 1, atol=1e-3)

def test_what_has_nothing_in_common_is_no_neighbour(items, test):
    clf = GenreClassifier(encoder='colours', text_encoder='words').fit(items)
    bare = test.assign(image=None)[1:4]
    with pytest.raises(ItemsError, match='nothing to compare item'): nearest_items(clf, test[:1].assign(text=None), bare)
    mixed = pd.concat([test[4:7], bare])
    assert set(nearest_items(clf, test[:1].assign(text=None), mixed).item_id) == set(test.item_id[4:7])


def test_neighbours_are_the_nearest_and_not_the_item_itself(covers, items, test):
    train = items[items.split == 'train']
    found = nearest_items(covers, test[:1], train, n=4)
    assert len(found) == 4 and found.similarity.is_monotonic_decreasing and found.similarity.max() <= 1 + 1e-5
    assert test.item_id[0] not in set(nearest_items(covers, test[:1], items, n=60).item_id)

def test_a_classifier_names_its_neighbours_by_picture_and_text(items, test, tmp_path):
    clf = GenreClassifier(encoder='colours', text_encoder='words').fit(items)
    train = items[items.split == 'train'].reset_index(drop=True)
    found = nearest_items(clf, test[:1], train)
    alike = clf.similarity(test[:2], train)
    by_part = [m.similarity(test[:2], train) for m in clf.modalities_]
    assert np.allclose(alike, np.mean(by_part, 0)) and found.item_id.iloc[0] == train.item_id[alike[0].argmax()]
    bare = train.assign(image=None)
    assert np.allclose(clf.similarity(test[:2], bare), by_part[[m.name for m in clf.modalities_].index('text')])
    assert np.isnan(clf.similarity(test[:1].assign(text=None), bare)).all()
    clf.save(tmp_path/'m')
    assert np.allclose(GenreClassifier.load(tmp_path/'m').similarity(test[:2], train), alike, atol=1e-5)
    copy = train[:1].assign(item_id='copy')
    assert nearest_items(clf, copy, train).item_id.iloc[0] == train.item_id[0]

def test_a_classifier_says_which_sentences_count(items, test):
    clf = GenreClassifier(modalities='text', text_encoder='words').fit(items)
    found = text_weights(clf, test[:1])
    p = clf.predict_proba(test[:1])[0]
    assert found.attrs['genre'] == clf.classes_[p.argmax()] and np.isclose(found.attrs['log_odds'],
                                                                           np.log(p.max()/(1 - p.max())))
