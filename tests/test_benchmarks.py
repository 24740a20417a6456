"Benchmarks: nothing of test is fitted, what was fitted is said, and a kill loses nothing that was finished"
import importlib, json, pkgutil, sys
from argparse import Namespace

import numpy as np, pandas as pd, pytest
from PIL import Image

import benchmarks
from benchmarks.harness import arguments, over_folds, Record, run, shuffled_genres
from genre_fastai.datasets.published import read_benchmark
from genre_fastai.items import genre_matrix, genre_vocab, make_items
from genre_fastai.predict.classifier import GenreClassifier

def load(name): return importlib.import_module(f'benchmarks.{name}')


@pytest.fixture
def synopses(tmp_path):
    "200 train rows, 40 valid and 80 test in the form of MPST; 30 tags stand in one train row and one test row each"
    words, rng = {'cult': 'robe chant moon altar', 'violence': 'gun fist blood knife'}, np.random.default_rng(0)
    tags = [list(words)[i % 2] for i in range(320)]
    table = pd.DataFrame({
        'imdb_id': [f'tt{i}' for i in range(320)], 'title': 'A title',
        'split': ['train']*200 + ['val']*40 + ['test']*80,
        'plot_synopsis': [' '.join(rng.choice(words[t].split(), 12)) + f' number {i}.' for i, t in enumerate(tags)],
        'tags': [f'{t}, rare {i % 240}' if i % 240 < 30 else t for i, t in enumerate(tags)]})
    table.to_csv(tmp_path/'mpst_full_data.csv', index=False)
    return tmp_path


def test_genres_that_sampling_loses_are_not_asked_for(synopses, monkeypatch, capsys):
    script = load('published')
    monkeypatch.setattr(script, 'MAX_FIT_ROWS', 60)
    published = read_benchmark('mpst', synopses)
    items, note = script.fit_and_test(published, seed=0)
    train, test = items[items.split == 'train'], items[items.split == 'test']
    assert len(train) == 60 and note == 'fitted on 60 of 240 train and valid rows'
    assert set(genre_vocab(test)) <= set(genre_vocab(train)) and len(test) == 80
    assert not set(train.item_id) & set(published.item_id[published.split == 'test'])
    said, lost = capsys.readouterr().out, 32 - len(genre_vocab(train))
    assert lost > 0 and f'{lost} genres are in none of the rows drawn' in said
    assert f'{lost} test rows have genres' in said
    assert GenreClassifier(text_encoder='words', modalities='text').fit(items).predict_proba(test).shape == (80, 32 - lost)


def test_without_sampling_all_is_fitted(synopses, capsys):
    items, note = load('published').fit_and_test(read_benchmark('mpst', synopses), seed=0)
    assert note == 'fitted on 240 of 240 train and valid rows' and not capsys.readouterr().out
    assert items.split.value_counts().to_dict() == {'train': 240, 'test': 80} and len(genre_vocab(items)) == 32


def test_the_note_stands_beside_our_score(tmp_path, monkeypatch, capsys):
    row = '"{0}","{0}.png","http://covers.example/{0}.png","Title {0}","A. Writer","{1}","{2}"\n'.format
    for part, ids in {'train': range(60), 'test': range(60, 80)}.items():
        text = ''.join(row(f'b{i}', i % 2, ['Law', 'Travel'][i % 2]) for i in ids)
        (tmp_path/f'book30-listing-{part}.csv').write_text(text)
        for i in ids: Image.effect_noise((32, 48), 20 + 100*(i % 2)).save(tmp_path/f'b{i}.png')
    script = load('published')
    monkeypatch.setattr(script, 'MAX_FIT_ROWS', 40)
    given = ['bookcover30', str(tmp_path), '--encoder', 'colours', '--modalities', 'image', '--out', str(tmp_path/'out')]
    monkeypatch.setattr(sys, 'argv', ['published.py', *given])
    script.main()
    own, = [line for line in capsys.readouterr().out.splitlines() if line.startswith('| genre_fastai')]
    assert 'ours; 20 items, the official test part has 5,700; fitted on 40 of 60 train and valid rows' in own


def test_averages_over_genres_are_resampled_by_group():
    rng = np.random.default_rng(0)
    once = make_items(genres=[[g] for g in rng.choice(['A', 'B'], 30)])
    items = pd.concat([once]*10, ignore_index=True).assign(group=list(range(30))*10)
    y = genre_matrix(items)
    p = np.tile(np.where(rng.random((30, 1)) < .3, 1 - y[:30], y[:30]), (10, 1)).astype(float)
    alone, together = (load('fusion').by_genre(y, p, items.assign(group=g)) for g in (range(300), items.group))
    def width(table):
        return np.ptp([float(x) for x in table.loc['macro average'].f1.split('[')[1].rstrip(']').split(', ')])
    assert width(together) > 2*width(alone)


def test_fusion_scores_the_presets_that_need_no_larger_weights():
    assert load('fusion').parser().parse_args(['--data', 'x']).presets == ['fast', 'medium']


@pytest.mark.parametrize('name', [m.name for m in pkgutil.iter_modules(benchmarks.__path__)])
def test_each_says_what_it_shows_and_what_not(name, capsys, monkeypatch):
    module = load(name)
    if not hasattr(module, 'main'): return
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', '--help'])
    with pytest.raises(SystemExit) as e: module.main()
    said = capsys.readouterr().out
    assert e.value.code == 0 and 'Shows' in said and 'Does not show' in ' '.join(said.split()) and '--out' in said


def test_shuffled_labels_leave_the_test_rows_alone():
    items = make_items(genres=[[g] for g in 'ABCDEFGHIJ'], split=['train']*6 + ['test']*4)
    for draws in (np.random.default_rng(0), np.random.RandomState(0)):
        broken = shuffled_genres(items, draws)
        assert broken.genres[6:].tolist() == items.genres[6:].tolist()
        assert broken.genres[:6].tolist() != items.genres[:6].tolist()
        assert sorted(broken.genres[:6]) == sorted(items.genres[:6])
    alike = shuffled_genres(items.assign(split=None), np.random.RandomState(3))
    assert alike.genres.tolist() == items.genres.sample(frac=1, random_state=3).tolist()


def test_every_row_is_predicted_by_a_fit_without_it():
    items = make_items(genres=[['A'], ['B']]*5).assign(fold=[0, 1, 2, 3, 4]*2)
    def predict(marked, rows):
        fitted = marked[marked.split == 'train']
        assert not set(fitted.item_id) & set(rows.item_id) and len(fitted) + len(rows) == 10 and rows.split.isna().all()
        return {'fold': np.repeat(rows.fold.to_numpy()[:, None], 2, 1)}
    assert np.array_equal(over_folds(items, predict)['fold'], np.repeat(items.fold.to_numpy()[:, None], 2, 1))


def test_a_kill_loses_no_finished_section(tmp_path, capsys):
    args = Namespace(out=tmp_path/'run', overwrite=False, seed=3)
    record = Record(args, 'Some figures', model='tiny')
    table = pd.DataFrame({'accuracy': [.5], 'accuracy_low': [.4], 'accuracy_high': [.6], 'n': [7]}, index=['knn'])
    record.write('## Covers', table.rename_axis('model'), 'Seven rows.')
    page, kept = (tmp_path/'run'/f'tables.{kind}' for kind in ('md', 'json'))
    assert page.read_text() == capsys.readouterr().out.strip().replace('\n\n\n', '\n\n') + '\n'
    assert page.read_text().startswith('# Some figures\n\nSeed 3, model tiny, machine ')
    assert '| knn     | .500 [.400, .600] | 7   |' in page.read_text()
    told = json.loads(kept.read_text())
    assert told['facts'] == {'seed': 3, 'model': 'tiny'} and told['environment']['python']
    assert told['tables'] == [{'heading': 'Covers', 'rows': [
        {'model': 'knn', 'accuracy': .5, 'accuracy_low': .4, 'accuracy_high': .6, 'n': 7}]}]
    with pytest.raises(SystemExit, match='FileExistsError: .* already holds a run of .*--overwrite'):
        run(lambda: Record(args, 'Again'))


def test_shared_arguments():
    parser = arguments('What it shows', 'x', data='a folder', only=['a', 'b'])
    args = parser.parse_args(['--data', 'here', '--only', 'b'])
    assert (str(args.data), str(args.out), args.only, args.seed, args.overwrite) == ('here', 'runs/x', ['b'], 0, False)
