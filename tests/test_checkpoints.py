"Checkpoints: what is read is what was written; locks; damaged files"
import subprocess, sys

import pytest, torch
from fastai.vision.all import Adam, SGD

from genre_fastai.runs import RunError, locked
from genre_fastai.train.checkpoints import (RunRecord, load_checkpoint, optimiser_state, restore_optimiser,
                                            save_checkpoint)


@pytest.mark.parametrize('make', [Adam, SGD])
def test_an_optimiser_goes_on_as_if_nothing_had_happened(make):
    def steps(parameters, opt, n):
        for _ in range(n):
            sum((p**3).sum() for p in parameters).backward()
            opt.step()
            opt.zero_grad()
    torch.manual_seed(0)
    first = [torch.randn(4, 3, requires_grad=True), torch.randn(2, requires_grad=True)]
    opt = make([first[:1], first[1:]], lr=.01, mom=.9)
    steps(first, opt, 3)
    tensors, facts = optimiser_state(opt)
    second = [p.detach().clone().requires_grad_() for p in first]
    resumed = make([second[:1], second[1:]], lr=.5, mom=.1)
    restore_optimiser(resumed, {k: v.clone() for k, v in tensors.items()}, facts)
    for parameters, o in ((first, opt), (second, resumed)): steps(parameters, o, 2)
    assert all(torch.equal(a, b) for a, b in zip(first, second))


def test_tensors_and_facts_come_back(tmp_path):
    tensors = {'a': torch.arange(6.).view(2, 3), 'n': torch.tensor(3), 'b': torch.ones(2, 2, dtype=torch.bfloat16)}
    save_checkpoint(tmp_path/'x.safetensors', tensors, {'genres': ['Sci-Fi', 'Ж'], 'best': None})
    found, facts = load_checkpoint(tmp_path/'x.safetensors')
    assert facts == {'genres': ['Sci-Fi', 'Ж'], 'best': None} and set(found) == set(tensors)
    assert all(torch.equal(found[k], v) and found[k].dtype == v.dtype for k, v in tensors.items())


@pytest.mark.parametrize('content', [b'', b'nothing', b'\x80\x04pickle', (10**12).to_bytes(8, 'little')])
def test_a_foreign_file_is_refused(tmp_path, content):
    (tmp_path/'x.safetensors').write_bytes(content)
    with pytest.raises(RunError, match='not a readable checkpoint'): load_checkpoint(tmp_path/'x.safetensors')


def test_a_disk_that_refuses_leaves_the_old_file(tmp_path):
    path = save_checkpoint(tmp_path/'x.safetensors', {'a': torch.zeros(3)}, {'epoch': 1})
    code = ('import resource, sys, torch; from genre_fastai.train.checkpoints import save_checkpoint\n'
            'resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n'
            'save_checkpoint(sys.argv[1], {"a": torch.zeros(100_000)}, {"epoch": 2})')
    done = subprocess.run([sys.executable, '-c', code, path], capture_output=True, text=True)
    assert 'RunError' in done.stderr and 'Free some disk space' in done.stderr
    assert load_checkpoint(path)[1] == {'epoch': 1} and [p.name for p in tmp_path.iterdir()] == ['x.safetensors']


def test_a_killed_run_leaves_no_lock(tmp_path):
    code = ('import os, signal, sys; from genre_fastai.runs import locked\n'
            'with locked(sys.argv[1]): os.kill(os.getpid(), signal.SIGKILL)')
    assert subprocess.run([sys.executable, '-c', code, tmp_path/'run']).returncode == -9
    with locked(tmp_path/'run'): pass


@pytest.mark.parametrize('monitor, scores, kept', [('accuracy', [.5, .7, .6], 1), ('valid_loss', [.5, .7, .6], 0),
                                                   ('accuracy', [float('nan'), .2, float('nan')], 1),
                                                   ('error_rate', [.5, .7, .1], 2)])
def test_the_best_epoch_is_kept(tmp_path, monitor, scores, kept):
    record = RunRecord(tmp_path, monitor, patience=5)
    for epoch, score in enumerate(scores, 1):
        record.enter({'stage': 'all', 'epoch': epoch, monitor: score}, 0, {'w': torch.tensor(epoch)})
    assert record.state['kept'] == kept and record.best_weights()['w'] == kept + 1
    assert record.curves.kept.tolist() == [i == kept for i in range(len(scores))]


def test_a_training_without_any_finite_score_says_so(tmp_path):
    record = RunRecord(tmp_path, 'accuracy', patience=5)
    record.enter({'stage': 'all', 'epoch': 1, 'accuracy': float('nan')}, 0, {'w': torch.zeros(1)})
    with pytest.raises(RunError, match='no epoch had a finite accuracy'): record.best_weights()
