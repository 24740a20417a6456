"Training in stages: resumes after kills, keeps the best, says what is wrong in one line"
import multiprocessing, os, random, signal, subprocess, sys, time
from functools import partial

import numpy as np, pandas as pd, pytest, torch
from fastai.vision.all import SGD, Callback, resnet18, vision_learner
from safetensors.torch import save_file

import jobs
from genre_fastai.learn.blocks import cover_block
from genre_fastai.predict.bundle import load_bundle
from genre_fastai.predict.modalities import predict_batch
from genre_fastai.encoders.image import load_body
from genre_fastai.runs import RunError, locked
from genre_fastai.train.checkpoints import RunRecord, load_checkpoint
from genre_fastai.items import ItemsError, save_items
from genre_fastai.predict.classifier import GenreClassifier
from genre_fastai.train.stages import Stage, describe_plan, describe_training, dry_run, plan_stages, plot_curves
from genre_fastai.fine_tune import save_learner
from genre_fastai.learn.learner import ProgressiveSize, genre_learner, predict_items
from genre_fastai.data.split import split_items
from genre_fastai.datasets.synthetic import synthetic_items


@pytest.fixture(scope='module')
def items(tmp_path_factory):
    return split_items(synthetic_items(tmp_path_factory.mktemp('w')/'w', n=120, n_genres=3, seed=2), valid=.2, test=.2)

@pytest.fixture(scope='module')
def several(tmp_path_factory):
    return split_items(synthetic_items(tmp_path_factory.mktemp('w')/'w', n=120, n_genres=4, multilabel=True, seed=2),
                       valid=.2, test=.2)

@pytest.fixture(scope='module')
def processes():
    "Processes that start with everything imported"
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['jobs'])
    return context

@pytest.fixture(scope='module')
def uninterrupted(items, processes, tmp_path_factory):
    place = tmp_path_factory.mktemp('runs')
    save_items(items, place/'items.parquet')
    job = processes.Process(target=jobs.train_in_stages, args=(place/'items.parquet', place/'whole'))
    job.start()
    job.join()
    assert job.exitcode == 0
    return place

def outcome(folder):
    curves = pd.read_csv(folder/'curves.csv').drop(columns='seconds')
    return curves, load_checkpoint(*folder.glob('best-*.safetensors'))[0]

def assert_same(a, b):
    pd.testing.assert_frame_equal(a[0], b[0])
    assert set(a[1]) == set(b[1]) and all(torch.equal(a[1][k], b[1][k]) for k in a[1])


def test_three_kills_change_nothing(uninterrupted, processes):
    place = uninterrupted
    rng, rows, folder = random.Random(5), [], place/'killed'
    job = partial(processes.Process, target=jobs.train_in_stages, args=(place/'items.parquet', folder))
    for kill in range(3):
        process = job()
        process.start()
        known = len(rows and pd.read_csv(folder/'curves.csv'))
        while process.is_alive() and not ((folder/'curves.csv').exists()
                                          and len(pd.read_csv(folder/'curves.csv')) > known): time.sleep(.02)
        time.sleep(rng.random()*2*pd.read_csv(folder/'curves.csv').seconds.iloc[-1])
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -9
        rows.append(len(pd.read_csv(folder/'curves.csv')))
    assert rows == sorted(set(rows)) and rows[-1] < 13  # each call went on, none was done
    last = job()
    last.start()
    last.join()
    assert last.exitcode == 0
    assert_same(outcome(folder), outcome(place/'whole'))


def test_a_disk_that_fills_in_the_middle(uninterrupted, processes):
    place = uninterrupted
    for full_after in (2, None):
        job = processes.Process(target=jobs.train_in_stages, args=(place/'items.parquet', place/'full', full_after))
        job.start()
        job.join()
        assert (job.exitcode == 0) == (full_after is None)
        if full_after: assert 'Free some disk space and make the same call again' in (place/'full.error').read_text()
    assert_same(outcome(place/'full'), outcome(place/'whole'))


def test_a_finished_run_is_read_not_repeated(items, tmp_path):
    learn = jobs.small_learner(items, 'small_cnn')
    curves = learn.fine_tune_stages(tmp_path/'run', all_epochs=2)
    best = f'best-{curves.index[curves.kept][0]}.safetensors'
    written = (tmp_path/'run'/best).stat().st_mtime_ns
    again = jobs.small_learner(items, 'small_cnn')
    pd.testing.assert_frame_equal(again.fine_tune_stages(tmp_path/'run', all_epochs=2), curves)
    assert (tmp_path/'run'/best).stat().st_mtime_ns == written
    assert np.array_equal(predict_items(again, items), predict_items(learn, items))
    assert {p.name for p in (tmp_path/'run').iterdir()} == {'.lock', 'run.json', 'curves.csv', 'last.safetensors', best,
                                                            'report.html'}
    assert 'overfitting' in (tmp_path/'run'/'report.html').read_text().lower()


def test_another_run_is_not_overwritten(items, tmp_path):
    jobs.small_learner(items, 'small_cnn').fine_tune_stages(tmp_path, all_epochs=1)
    with pytest.raises(RunError, match='holds a run with other seed. Name another folder, or pass overwrite=True'):
        jobs.small_learner(items, 'small_cnn', seed=4).fine_tune_stages(tmp_path, all_epochs=1)
    curves = jobs.small_learner(items, 'small_cnn', seed=4).fine_tune_stages(tmp_path, all_epochs=2, overwrite=True)
    assert len(curves) == 2


def test_a_folder_in_use_is_refused(items, tmp_path):
    with locked(tmp_path), pytest.raises(RunError, match='in use by another run'):
        jobs.small_learner(items, 'small_cnn').fine_tune_stages(tmp_path, all_epochs=1)


def test_the_weights_that_are_kept_have_the_best_score(items):
    learn = jobs.small_learner(items)
    curves = learn.fine_tune_stages(head_epochs=4, top_epochs=2, all_epochs=2)
    assert curves.stage.tolist() == ['head']*4 + ['top']*2 + ['all']*2 and curves.kept.sum() == 1
    kept = curves[curves.kept].iloc[0]
    assert kept.accuracy == curves.accuracy.max() and learn.validate()[1] == pytest.approx(kept.accuracy,
                                                                                           abs=.05)  # the head's vectors are not bfloat16's last bit
    assert all(p.requires_grad for p in learn.model.parameters())


def test_a_stage_ends_when_the_score_no_longer_improves(items):
    curves = jobs.small_learner(items, 'small_cnn').fine_tune_stages(all_epochs=9, lr=1e-9, patience=2)
    assert len(curves) == curves.index[curves.kept][0] + 3


def test_the_head_stage_leaves_the_body_as_it_was(items):
    learn = jobs.small_learner(items)
    before = {k: v.clone() for k, v in learn.model.body.state_dict().items()}
    head = learn.model.head[-1].weight.detach().clone()
    learn.fine_tune_stages(head_epochs=3, top_epochs=0, all_epochs=0)
    assert all(torch.equal(v, before[k]) for k, v in learn.model.body.state_dict().items())
    assert not torch.equal(learn.model.head[-1].weight, head)


def test_several_genres_and_a_chosen_score(several):
    curves = jobs.small_learner(several).fine_tune_stages(head_epochs=2, top_epochs=1, all_epochs=0,
                                                          monitor='valid_loss')
    assert curves.valid_loss[curves.kept].item() == curves.valid_loss.min() and 'mAP' in curves


@pytest.mark.parametrize('switch', [dict(average=.9), dict(mixup=.3), dict(sizes=(32, 48))])
def test_each_switch_changes_the_weights_and_trains(items, switch):
    plain, switched = (jobs.small_learner(items, 'small_cnn') for _ in range(2))
    plain.fine_tune_stages(all_epochs=3, monitor='valid_loss')
    curves = switched.fine_tune_stages(all_epochs=3, monitor='valid_loss', **switch)
    assert len(curves) == 3 and np.isfinite(curves.valid_loss).all()
    assert not torch.equal(plain.model.head[-1].weight, switched.model.head[-1].weight)


def test_label_smoothing_raises_the_least_possible_loss(items):
    sure = torch.tensor([[30., 0., 0.]])
    plain, smooth = (jobs.small_learner(items, 'small_cnn', label_smoothing=e,
                                        weigh_genres=False).loss_func(sure, torch.tensor([0]))
                     for e in (0., .1))
    assert plain < 1e-6 and smooth == pytest.approx(.1*2/3*30, rel=1e-3)


@pytest.mark.parametrize('kwargs, message', [
    (dict(monitor='acuracy'), r"this learner has \['accuracy', 'valid_loss'\]"),
    (dict(all_epochs=0), 'no stage has an epoch')])
def test_a_wrong_argument_is_named(items, kwargs, message):
    with pytest.raises(ValueError, match=message): jobs.small_learner(items, 'small_cnn').fine_tune_stages(**kwargs)


def test_smaller_sizes_first_is_not_for_pretrained_bodies(items, tmp_path):
    body = load_body('test_resnet', 'random')
    save_file(body.model.state_dict(), tmp_path/'body.safetensors')
    dls = cover_block(items, size=64).dataloaders(items, bs=16, num_workers=0)
    learn = genre_learner(dls, 'test_resnet', weights=tmp_path/'body.safetensors')
    with pytest.raises(ValueError, match='sizes is for training from scratch'): learn.fine_tune_stages(sizes=(32,))
    assert [s.name for s in plan_stages(learn.model)] == ['head', 'top', 'all']


@pytest.mark.parametrize('kind', ['single', 'several'])
@pytest.mark.filterwarnings('ignore')
def test_a_training_that_goes_to_pieces_says_so(items, several, kind, tmp_path):
    rows = items if kind == 'single' else several
    learn = jobs.small_learner(rows, 'small_cnn', opt_func=SGD)
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    with pytest.raises(RunError, match='Try a tenth of the learning rate'):
        learn.fine_tune_stages(tmp_path, all_epochs=2, lr=1e30)
    assert all(torch.equal(v, before[k]) for k, v in learn.model.state_dict().items())


def test_an_interrupted_call_can_be_made_again_on_the_same_learner(items, tmp_path):
    class Interrupt(Callback):
        def before_epoch(self):
            if self.armed and self.epoch == 2: raise KeyboardInterrupt
    cb = Interrupt()
    cb.armed = False
    whole = jobs.small_learner(items, 'small_cnn')
    expected = whole.fine_tune_stages(all_epochs=3, mixup=.2, monitor='valid_loss')
    learn = jobs.small_learner(items, 'small_cnn', cbs=[cb])
    cb.armed = True
    with pytest.raises(KeyboardInterrupt):
        learn.fine_tune_stages(tmp_path, all_epochs=3, mixup=.2, monitor='valid_loss')
    cb.armed = False
    curves = learn.fine_tune_stages(tmp_path, all_epochs=3, mixup=.2, monitor='valid_loss')
    pd.testing.assert_frame_equal(curves.drop(columns='seconds'), expected.drop(columns='seconds'))
    assert np.array_equal(predict_items(learn, items), predict_items(whole, items))


def test_a_kill_between_best_and_last_changes_nothing(items, tmp_path, monkeypatch):
    whole = jobs.small_learner(items)
    settings = dict(head_epochs=2, top_epochs=2, all_epochs=2, monitor='valid_loss')
    whole.fine_tune_stages(**settings)
    written, real = [], RunRecord.write
    def stopped(self, *args):
        written.append(1)
        if len(written) == 3: raise KeyboardInterrupt  # the first epoch of the second stage
        real(self, *args)
    monkeypatch.setattr(RunRecord, 'write', stopped)
    with pytest.raises(KeyboardInterrupt): jobs.small_learner(items).fine_tune_stages(tmp_path, **settings)
    again = jobs.small_learner(items)
    again.fine_tune_stages(tmp_path, **settings)
    assert np.array_equal(predict_items(again, items), predict_items(whole, items))


def test_other_settings_are_another_run(items, tmp_path):
    jobs.small_learner(items, 'small_cnn').fine_tune_stages(tmp_path, all_epochs=1)
    for other in (dict(weigh_genres=False), dict(wd=.3), dict(opt_func=SGD)):
        with pytest.raises(RunError, match='holds a run with other (loss|wd|optimiser)'):
            jobs.small_learner(items, 'small_cnn', **other).fine_tune_stages(tmp_path, all_epochs=1)


def test_loaders_that_scale_for_another_model_are_refused(items):
    dls = cover_block(items, size=64).dataloaders(items, bs=16, num_workers=0)
    genre_learner(dls, 'test_resnet', weights='random')
    genre_learner(dls, 'test_resnet', weights='random')  # wants the same scaling
    with pytest.raises(ValueError, match='scale pictures for another model'): genre_learner(dls, 'small_cnn')


def test_fewer_pictures_than_a_batch(items):
    dls = cover_block(items, size=64).dataloaders(items, bs=500, num_workers=0)
    with pytest.raises(ValueError, match='Pass a smaller bs'): genre_learner(dls).fine_tune_stages(all_epochs=1)


def test_label_smoothing_of_several_genres_is_refused(several):
    with pytest.raises(ValueError, match='for items of one genre'): jobs.small_learner(several, label_smoothing=.1)


def test_other_learners_are_refused(items):
    learn = vision_learner(cover_block(items, size=32).dataloaders(items, bs=16, num_workers=0), resnet18,
                           pretrained=False)
    with pytest.raises(ValueError, match='trains what genre_learner makes'): learn.fine_tune_stages()


def test_the_dry_run_finds_a_wrong_loss_and_changes_nothing(items, tmp_path):
    learn = jobs.small_learner(items, 'small_cnn')
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    assert all(s > 0 for s in dry_run(learn, tmp_path)) and not list(tmp_path.iterdir())
    assert all(torch.equal(v, before[k]) for k, v in learn.model.state_dict().items())
    learn.loss_func = lambda pred, y: pred.nothing
    with pytest.raises(AttributeError): learn.fine_tune_stages(tmp_path/'run', all_epochs=1)
    assert not (tmp_path/'run'/'last.safetensors').exists()


def test_a_disk_without_room_is_named_before_the_run(items, tmp_path, monkeypatch):
    monkeypatch.setattr('shutil.disk_usage', lambda path: type('Usage', (), {'free': 1000})())
    with pytest.raises(RunError, match='Free some disk space first'):
        jobs.small_learner(items, 'small_cnn').fine_tune_stages(tmp_path, all_epochs=1)


def test_an_idle_gpu_is_worth_a_warning(items, tmp_path, monkeypatch):
    monkeypatch.setattr('shutil.which', lambda name: '/usr/bin/nvidia-smi')
    learn = jobs.small_learner(items, 'small_cnn')
    with pytest.warns(UserWarning, match='a GPU stands idle'):
        line = describe_plan(learn, plan_stages(learn.model, all_epochs=1), tmp_path)
    assert line.startswith('cpu with') and f'{learn.dls.train.n} pictures to train' in line


def curves_of(train, valid):
    return pd.DataFrame({'stage': 'all', 'epoch': range(1, len(train) + 1), 'train_loss': train, 'valid_loss': valid,
                         'kept': [v == min(valid) for v in valid]})

def test_over_training_is_named():
    said = describe_training(curves_of([1., .7, .4], [1., .9, 1.2]))
    assert 'after epoch 2 the loss on valid rows rose from 0.900 to 1.200, while that on train fell from 0.700 to 0.400' in said
    assert 'No overfitting' in describe_training(curves_of([1., .7, .4], [1., .9, .8]))
    assert 'No overfitting' in describe_training(curves_of([1., .7, 1.4],
                                                           [1., .9, 1.8]))  # worse on both: that is something else


@pytest.mark.parametrize('last, over', [(1.019, False), (1.021, True)])
def test_the_tolerance_of_over_training_is_said(last, over):
    said = describe_training(curves_of([1., .7, .4, .3], [1., 1.005, 1.01, last]))
    if over: assert f'after epoch 1 the loss on valid rows rose from 1.000 to {last}, while that on train fell' in said
    assert over != said.endswith('No overfitting: in no stage does the loss on valid rows rise by more than 2 % while that on train falls.')


def test_curves_of_stages_are_drawn():
    curves = pd.DataFrame({'stage': ['head', 'head', 'all'], 'epoch': [1, 2, 1], 'train_loss': [3., 2, 1],
                           'valid_loss': [3., 2, 2.5],
                           'accuracy': [.1, .3, .2], 'seconds': 1., 'kept': [False, True, False]})
    axes = plot_curves(curves)
    assert [t.get_text() for t in axes[0].texts] == ['head', 'all'] and len(axes[1].lines) == 3


@pytest.mark.parametrize('stage, on_vectors', [
    (Stage('head', 1, 1e-3, -1), True), (Stage('top', 1, 1e-3, -2), False),            # as it was before stages said it
    (Stage('head', 1, 1e-3, -1, on='items'), False), (Stage('warm up', 1, 1e-3, -1, on='vectors'), True),
    (Stage('head', 1, 1e-3, -1)._replace(name='new'), False)])
def test_what_a_stage_trains_on(stage, on_vectors): assert stage.on_vectors == on_vectors


@pytest.mark.parametrize('on', ['vectors', 'items'])
def test_a_stage_of_any_name_on_vectors_or_items(items, tmp_path, on):
    learn = jobs.small_learner(items, 'test_resnet')
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    with learn.no_bar(): curves = learn.fine_tune_stages(tmp_path/'run', stages=[Stage('warm up', 2, 1e-2, -1, on=on)])
    changed = {k.split('.')[0] for k, v in learn.model.state_dict().items() if not torch.equal(v, before[k])}
    assert curves.stage.tolist() == ['warm up']*2 and changed == {'head'}
    with pytest.raises(ValueError, match="on='covers'; use 'vectors' or 'items'"):
        learn.fine_tune_stages(stages=[Stage('warm up', 1, 1e-2, -1, on='covers')])


def test_a_network_without_a_body_has_no_head_stage(items, tmp_path):
    with pytest.raises(ValueError, match="on='vectors' trains on what a body has learnt.*Name another network"):
        jobs.small_learner(items, 'small_cnn').fine_tune_stages(tmp_path/'run', head_epochs=1, all_epochs=1)
    assert not (tmp_path/'run').exists()


def test_smaller_sizes_come_first():
    switch = ProgressiveSize(32, 48)
    sides = []
    for epoch in range(6):
        switch.learn = type('Fake', (), dict(epoch=epoch, n_epoch=6, x=torch.zeros(1, 3, 64, 64),
                                             xb=(torch.zeros(1, 3, 64, 64),)))()
        switch.before_batch()
        sides.append(switch.learn.xb[0].shape[-1])
    assert sides == [32, 32, 48, 48, 64, 64]


@pytest.mark.parametrize('arch', ['small_cnn', 'test_resnet'])
@pytest.mark.parametrize('kind', ['single', 'several'])
def test_a_network_in_a_bundle_predicts_as_in_the_learner(items, several, arch, kind, tmp_path):
    rows = items if kind == 'single' else several
    learn = jobs.small_learner(rows, arch)
    learn.fine_tune_stages(head_epochs=0, top_epochs=0, all_epochs=1)
    learn.model.fast = False
    folder, test = save_learner(learn, tmp_path/'m'), rows[rows.split == 'test']
    p = predict_batch(load_bundle(folder), list(test.image))
    assert np.allclose(p, predict_items(learn, test), atol=1e-5)
    loaded = GenreClassifier.load(folder)
    assert np.array_equal(loaded.predict_proba(test), p) and len(loaded.predict(test)) == len(test)
    assert (loaded.thresholds_ is not None) == (kind == 'several')
    with pytest.raises(ItemsError, match='were seen in fit'): loaded.score(rows.assign(split=None))
    assert list(loaded.leaderboard(rows).index) == ['chance', 'majority', 'this classifier']
    assert 'SYNTHETIC DATA' in (folder/'README.md').read_text()


def test_a_network_in_a_bundle_is_the_same_in_a_process_without_fastai(items, tmp_path):
    learn = jobs.small_learner(items)
    folder, test = save_learner(learn, tmp_path/'m'), list(items.image[:20])
    code = ('import sys, numpy; from genre_fastai.predict.bundle import load_bundle; from genre_fastai.predict.modalities import predict_batch\n'
            'numpy.save(sys.argv[2], predict_batch(load_bundle(sys.argv[1]), sys.argv[3:]))\n'
            'assert "fastai.learner" not in sys.modules')
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code, folder, tmp_path/'p.npy', *test], check=True)
    assert np.allclose(np.load(tmp_path/'p.npy'), predict_batch(load_bundle(folder), test), atol=1e-6)
