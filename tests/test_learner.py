"Blocks, models, learner and training: fastai's own lines work, the same numbers twice"
import os, subprocess, sys, tempfile

import numpy as np, pytest, torch
from fastai.vision.all import ClassificationInterpretation, CrossEntropyLossFlat, vision_learner

from genre_fastai.learn.blocks import cover_block, fit_rows
from genre_fastai.items import ItemsError, genre_matrix, make_items
from genre_fastai.train.stages import plot_curves
from genre_fastai.fine_tune import learner_probabilities
from genre_fastai.learn.learner import class_weights, genre_learner, has_several, predict_items
from genre_fastai.evaluate.metrics import genre_report
from genre_fastai.evaluate.plots import plot_confusion
from genre_fastai.encoders.image import mixed_dtype
from genre_fastai.learn.models import GenreNet, SmallCNN, lower_top_head, genre_net
from genre_fastai.data.split import split_items
from genre_fastai.datasets.synthetic import synthetic_items


@pytest.fixture(scope='module')
def single(tmp_path_factory):
    return split_items(synthetic_items(tmp_path_factory.mktemp('w')/'single', n=90, n_genres=3, seed=2), valid=.2,
                       test=.2)

@pytest.fixture(scope='module')
def several(tmp_path_factory):
    return split_items(synthetic_items(tmp_path_factory.mktemp('w')/'several', n=90, n_genres=3, multilabel=True,
                                       seed=2), valid=.2, test=.2)

def loaders(items, **kwargs): return cover_block(items, size=64, **kwargs).dataloaders(items, bs=16, num_workers=0)

def quiet(learn, epochs=1, lr=1e-3):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, lr)
    return learn


def test_test_rows_never_reach_the_learner(single):
    rows = fit_rows(single)
    assert set(rows.split) == {'train', 'valid'} and not set(rows.item_id) & set(single.item_id[single.split == 'test'])
    dls = loaders(single)
    assert dls.train.n + dls.valid.n == len(rows)


def test_without_split_or_picture_the_next_step_is_named(single):
    with pytest.raises(ItemsError, match='split_items'):
        cover_block(single, size=64).dataloaders(single.assign(split=None))
    rows = single.assign(image=[None, *single.image[1:]], split=['train', *single.split[1:]])
    with pytest.raises(ItemsError, match='clean_items.* drops such rows'): cover_block(rows, size=64).dataloaders(rows)


def test_a_genre_that_train_lacks_is_named(single):
    first = single.index[single.split == 'valid'][0]
    rows = single.copy()
    rows.at[first, 'genres'] = ['Opera']
    with pytest.raises(ItemsError, match=r"\['Opera'\] are in valid but not in train"): loaders(rows)


def test_pictures_are_never_mirrored(single):
    from fastai.vision.augment import Flip
    assert not [t for t in loaders(single).train.after_batch.fs if isinstance(t, Flip) and t.p > 0]


@pytest.mark.parametrize('arch', ['small_cnn', 'test_resnet', 'test_vit', 'test_efficientnet', 'test_convnext'])
def test_every_kind_of_model_trains_and_predicts(arch, single):
    dls = cover_block(single, size=160 if arch == 'test_vit' else 64).dataloaders(single, bs=16, num_workers=0)
    learn = quiet(genre_learner(dls, arch, weights='random'))
    p = predict_items(learn, single)
    assert p.shape == (len(single), 3) and np.allclose(p.sum(1), 1, atol=1e-4) and p.dtype == np.float32


def test_several_genres(several):
    learn = quiet(genre_learner(loaders(several)))
    p = learner_probabilities(learn, several)
    assert set(p) == {'valid', 'test'} and ((p['test'] > 0) & (p['test'] < 1)).all()
    assert learn.recorder.metric_names[3] == 'mAP' and 0 <= learn.recorder.values[-1][2] <= 1


def test_training_twice_gives_the_same_numbers(single):
    runs = [quiet(genre_learner(loaders(single), seed=3), 2) for _ in range(2)]
    a, b = (r.model.state_dict() for r in runs)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert runs[0].recorder.values == runs[1].recorder.values


def test_freezing_leaves_the_head(single):
    learn = genre_learner(loaders(single), 'test_resnet', weights='random')
    learn.freeze()
    assert all(p.requires_grad for p in learn.model.head.parameters())
    assert not learn.model.body.model.conv1[0].weight.requires_grad


def test_bodies_get_pictures_scaled_as_their_weights_want(single):
    dls = loaders(single, augment=False)
    raw = dls.one_batch()[0]
    learn = genre_learner(dls, 'test_resnet', weights='random')
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (learn.model.body.weights.mean,
                                                            learn.model.body.weights.std))
    scaled = learn.dls.valid.one_batch()[0]
    plain = (next(iter(dls.valid))[0]*std + mean).as_subclass(torch.Tensor)
    assert 0 <= plain.min() and plain.max() <= 1 and scaled.min() < 0 <= raw.min()


def test_weights_come_from_train_alone(single):
    rows = single.copy()
    mask = rows.split == 'valid'
    rows.loc[mask, 'genres'] = rows.loc[mask, 'genres'].map(lambda g: [rows.genres[0][0]])
    assert torch.equal(class_weights(loaders(single)), class_weights(loaders(rows)))


def test_fastai_verbs(single):
    learn = quiet(genre_learner(loaders(single)))
    with learn.no_bar(): preds, targets = learn.tta(n=2)
    assert preds.shape == (len(targets), 3)
    found = ClassificationInterpretation.from_learner(learn)
    assert found.confusion_matrix().sum() == len(targets) and isinstance(found.most_confused(), list)
    axes = plot_curves(learn)
    assert [a.get_title() for a in axes] == ['Loss', 'Metrics on validation rows']


def test_several_genres_are_for_our_own_confusion(several):
    "The lines of the README; fastai's table has yes and no in the places of the first two genres, and no third"
    learn = genre_learner(loaders(several))
    p = learner_probabilities(learn, several)['test']
    y = genre_matrix(several[several.split == 'test'], learn.dls.vocab)
    assert len(plot_confusion(y, p, learn.dls.vocab, True).texts) > 0
    assert genre_report(y, p, learn.dls.vocab, True, n_boot=20).support[:3].tolist() == y.sum(0).tolist()
    with learn.no_bar(): theirs = ClassificationInterpretation.from_learner(learn).confusion_matrix()
    assert theirs[:2, :2].sum() == 3*learn.dls.valid.n and not theirs[2].any()


def test_plain_fastai_learner_takes_our_loaders(single):
    from fastai.vision.all import resnet18
    learn = vision_learner(cover_block(single, size=32).dataloaders(single, bs=16, num_workers=0), resnet18,
                           pretrained=False)
    with learn.no_bar(), learn.no_logging(): learn.fine_tune(1)
    assert len(learner_probabilities(learn, single)['test']) == (single.split == 'test').sum()


def test_inner_precision_is_what_it_says(single):
    seen = []
    cnn = SmallCNN(3)
    hook = cnn.body[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    logits = cnn(torch.rand(2, 3, 64, 64))
    hook.remove()
    assert seen == [mixed_dtype('cpu') or torch.float32] and logits.dtype == torch.float32
    cnn.fast = False
    hook = cnn.body[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    cnn(torch.rand(2, 3, 64, 64))
    assert seen[-1] == torch.float32


def test_unfitted_learner_has_no_curves(single):
    with pytest.raises(ValueError, match='not been fitted'): plot_curves(genre_learner(loaders(single)))


def test_own_loss_and_metrics_are_kept(single):
    loss = CrossEntropyLossFlat(label_smoothing=.1)
    learn = genre_learner(loaders(single), loss_func=loss, metrics=[])
    assert learn.loss_func is loss and len(learn.metrics) == 0


def test_splitter_covers_every_parameter():
    for net in (SmallCNN(4), genre_net('test_resnet', 4, 'random')):
        assert sum(len(g) for g in lower_top_head(net)) == len(list(net.parameters()))
    assert isinstance(genre_net('test_resnet', 4, 'random'), GenreNet)


def test_what_lies_in_the_temporary_folder_hides_no_package(single, tmp_path, monkeypatch):
    "A script there imports the package, not a folder that a learner has made"
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    learn = genre_learner(loaders(single))
    learn.save('now')
    made = [p for p in tmp_path.iterdir() if p.is_dir()]
    assert learn.model_dir in made and not any(p.name.isidentifier() for p in made)
    (tmp_path/'script.py').write_text('from genre_fastai import __version__')
    subprocess.run([sys.executable, 'script.py'], cwd=tmp_path, check=True, env=os.environ)


def test_loaders_say_whether_an_item_has_several_genres(single, several):
    for items, multilabel in ((single, False), (several, True)):
        dls = loaders(items)
        assert dls.multilabel == has_several(dls) == multilabel
        del dls.multilabel                                         # as of loaders that another block has made
        assert has_several(dls) == multilabel


def test_to_ask_for_several_genres_opens_no_picture(several, monkeypatch):
    dls = loaders(several)
    monkeypatch.setattr(type(dls.train_ds), '__getitem__', lambda *_: pytest.fail('an item was read'))
    assert has_several(dls)
