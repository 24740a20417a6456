"GenreClassifier and bundles with texts: honest, complete, and right where something is missing"
import json, subprocess, sys

import numpy as np, pandas as pd, pytest

from genre_fastai.predict.bundle import BundleError, load_bundle
from genre_fastai.predict.modalities import predict_batch
from genre_fastai.items import ItemsError, genre_matrix, genre_vocab, make_items
from genre_fastai.encoders.text import SentenceEncoder
from genre_fastai.predict.classifier import GenreClassifier
from genre_fastai.data.images import ImageError
from genre_fastai.datasets.synthetic import synthetic_metadata
from genre_fastai.evaluate.metrics import genre_scores
from genre_fastai.data.clean import clean_items
from genre_fastai.data.split import split_items
from genre_fastai.datasets.synthetic import synthetic_items
from genre_fastai.encoders.text import tiny_text_encoder

WORDS = dict(encoder='colours', text_encoder='words')


def world(folder, **kwargs):
    items, _ = clean_items(synthetic_items(folder, n=240, n_genres=3, clarity=.8, seed=5, **kwargs), needs='any')
    return split_items(items, valid=.1, test=.3, seed=0)

@pytest.fixture(scope='module')
def texts(tmp_path_factory): return world(tmp_path_factory.mktemp('w')/'texts', images=False)

@pytest.fixture(scope='module')
def several(tmp_path_factory): return world(tmp_path_factory.mktemp('w')/'several', images=False, multilabel=True)

@pytest.fixture(scope='module')
def both(tmp_path_factory): return world(tmp_path_factory.mktemp('w')/'both')

@pytest.fixture(scope='module')
def fitted(both): return GenreClassifier(**WORDS).fit(both)

def test_rows(items): return items[items.split == 'test']
test_rows.__test__ = False


def test_texts_alone_single_and_multi(texts, several):
    for items, floor in ((texts, .6), (several, .7)):
        clf = GenreClassifier(text_encoder='words').fit(items)
        assert [m.name for m in clf.modalities_] == ['text']
        assert clf.score(items) > floor
        board = clf.leaderboard(items)
        assert {'chance', 'majority', 'knn on words', 'logistic on both', 'this classifier'} == set(board.index)
        assert len(clf.predict(text='A detective looks at the safe.', top=2)) == 2
        assert len(clf.report(items))


def test_shuffled_genres_fall_to_chance(texts):
    train, accuracies = (texts.split == 'train').to_numpy(), []
    for seed in range(3):
        genres = texts.genres.to_numpy().copy()
        genres[train] = genres[train][np.random.default_rng(seed).permutation(train.sum())]
        accuracies.append(GenreClassifier(text_encoder='words').fit(texts.assign(genres=list(genres))).score(texts))
    assert np.mean(accuracies) < .5 < GenreClassifier(text_encoder='words').fit(texts).score(texts)


def test_test_labels_never_reach_the_model(both, fitted):
    poisoned = both.copy()
    for i in poisoned.index[poisoned.split == 'test']: poisoned.at[i, 'genres'] = list(fitted.classes_[:1])
    other = GenreClassifier(**WORDS).fit(poisoned)
    assert np.array_equal(other.stack_.weights_, fitted.stack_.weights_) and other.oof_.equals(fitted.oof_)
    assert np.array_equal(other.predict_proba(test_rows(both)), fitted.predict_proba(test_rows(both)))


def test_two_parts_are_better_than_either(both, fitted):
    assert [m.name for m in fitted.modalities_] == ['image', 'text']
    assert (fitted.stack_.weights_[-1].mean(1) > 0).all()
    train = both[both.split == 'train']
    y = genre_matrix(train, list(fitted.classes_))
    loss = lambda p: -np.log(p[y > 0]).mean()
    alone = [GenreClassifier(encoder='colours', modalities='image').fit(both),
             GenreClassifier(text_encoder='words').fit(both.assign(image=None))]
    assert loss(fitted.oof_proba(train)) < min(loss(clf.oof_proba(train)) for clf in alone) - .01
    assert fitted.score(both) > max(clf.score(both) for clf in alone) - .06         # 70 rows: one standard error
    assert {'pictures alone', 'texts alone'} < set(fitted.leaderboard(both).index)


def test_what_is_missing_is_left_to_the_other_part(both, fitted):
    rows = test_rows(both).head(6).copy()
    rows.loc[rows.index[:2], 'image'] = None
    rows.loc[rows.index[2:4], 'text'] = None
    p, image, text = (GenreClassifier.predict_proba(fitted, r)
                      for r in (rows, rows[2:].assign(text=None), rows[:2].assign(image=None)))
    assert np.allclose(p[:2], text[:2], atol=1e-6) and np.allclose(p[2:4], image[:2], atol=1e-6)
    assert not np.allclose(p[4:], image[2:], atol=1e-3) and np.allclose(p.sum(1), 1, atol=1e-5)
    rows.loc[rows.index[0], 'text'] = None
    with pytest.raises(ValueError, match=f'1 of 6 rows hold nothing that this model reads: .*{rows.item_id.iloc[0]}'):
        fitted.predict_proba(rows)


def test_rows_may_lack_either_in_fit(both):
    holes = both.copy()
    train = holes.index[holes.split == 'train']
    holes.loc[train[::3], 'image'] = None
    holes.loc[train[1::3], 'text'] = None
    clf = GenreClassifier(**WORDS).fit(holes)
    rows = holes[holes.split == 'train']
    assert clf.oof_proba(rows).shape == (len(rows), 3) and clf.score(holes) > .5
    assert 'knn on pixels' in clf.leaderboard(holes).index
    holes.loc[train[0], 'text'] = None
    with pytest.raises(ItemsError, match='1 of .* rows have neither picture nor text.*Drop them first'):
        GenreClassifier(**WORDS).fit(holes)


def test_columns_are_joined_and_shown_alone(texts):
    halves = texts.text.str.split('. ', regex=False)
    items = texts.assign(title=halves.map(lambda h: h[0]), plot=halves.map(lambda h: '. '.join(h[1:])))
    items.loc[items.index[5], 'title'] = None
    clf = GenreClassifier(text_encoder='words', text_cols=['title', 'plot']).fit(items)
    board = clf.leaderboard(items)
    assert {'title alone', 'plot alone', 'this classifier'} < set(board.index)
    assert np.allclose(clf.predict_proba(items.assign(text='nothing')), clf.predict_proba(items))
    with pytest.raises(ItemsError, match="no column 'titel'.*Did you mean 'title'"):
        GenreClassifier(text_encoder='words', text_cols=['titel']).fit(items)


def test_save_load_in_a_process_without_fastai(both, fitted, tmp_path):
    tiny = SentenceEncoder(tiny_text_encoder(tmp_path/'tiny', both.text), 'upper', max_length=32, stride=8)
    sentences = GenreClassifier(encoder='colours', text_encoder=tiny).fit(both)
    assert sentences.modalities_[1].ridge_.vector_weight_ > 0
    rows = test_rows(both).head(8)
    for name, clf in (('words', fitted), ('sentences', sentences)):
        folder = clf.save(tmp_path/name)
        code = ('import sys, json; from genre_fastai.predict.bundle import load_bundle;'
                'from genre_fastai.predict.modalities import predict_batch; images, texts = json.loads(sys.argv[2]);'
                'p = predict_batch(load_bundle(sys.argv[1]), images, texts); assert "fastai.learner" not in sys.modules;'
                'print(json.dumps(p.tolist()))')
        given = json.dumps([list(rows.image), list(rows.text)])
        done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, folder, given], capture_output=True,
                              text=True)
        assert done.returncode == 0, done.stderr
        assert np.allclose(json.loads(done.stdout), clf.predict_proba(rows), atol=1e-6)
        again = GenreClassifier.load(folder)
        assert np.allclose(again.predict_proba(rows), clf.predict_proba(rows),
                           atol=1e-6) and again.score(both) == clf.score(both)
        assert again.predict(image=rows.image.iloc[0], text=rows.text.iloc[0]) == clf.predict(rows.head(1))[0]
        assert set(again.leaderboard(both).index) == set(clf.leaderboard(both).index)
        with pytest.raises(ItemsError, match='were seen in fit'): again.score(both.assign(split=None))


def test_a_text_network_is_saved_and_read(texts, tmp_path):
    from genre_fastai.fine_tune import save_learner
    from genre_fastai.learn.learner import genre_learner, predict_items
    from genre_fastai.learn.blocks import synopsis_block
    tiny = tiny_text_encoder(tmp_path/'tiny', texts.text)
    dls = synopsis_block(texts, tiny, max_length=24, stride=6, max_windows=3).dataloaders(texts, bs=16)
    learn = genre_learner(dls, pooling='attention', weights='random')
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)
    bundle = load_bundle(save_learner(learn, tmp_path/'network'))
    rows = test_rows(texts)
    assert np.allclose(predict_batch(bundle, texts=rows.text), predict_items(learn, rows), atol=1e-5)
    assert GenreClassifier.load(tmp_path/'network').predict(rows)


def test_wrong_input_is_named(texts, fitted, tmp_path):
    with pytest.raises(ValueError, match="no 'poster'"): GenreClassifier(modalities='poster').fit(texts)
    with pytest.raises(ItemsError): GenreClassifier(modalities='image').fit(texts)
    with pytest.raises(ValueError, match='image=..., text='): fitted.predict()
    bundle = load_bundle(GenreClassifier(text_encoder='words').fit(texts).save(tmp_path/'m'))
    with pytest.raises(ValueError, match="trained on texts alone, and reads no images. Pass 'text'"):
        predict_batch(bundle, images=['x.jpg'])
    with pytest.raises(ValueError, match="trained on texts. Pass lists of 'text'"): predict_batch(bundle)
    both = load_bundle(fitted.save(tmp_path/'both'))
    with pytest.raises(ValueError, match='2 images and 1 texts'): predict_batch(both, ['a', 'b'], ['c'])
    assert predict_batch(bundle, texts=[]).shape == (0, 3)


def test_blank_texts_are_missing_texts_saved_or_not(both, fitted, tmp_path):
    rows = test_rows(both).head(4).astype({'image': 'str', 'text': 'str'})
    rows['text'] = ['', '  ', *rows.text[2:]]
    rows['image'] = [*rows.image[:3], None]
    again = GenreClassifier.load(fitted.save(tmp_path/'m'))
    assert np.allclose(fitted.predict_proba(rows), again.predict_proba(rows), atol=1e-6)
    assert np.allclose(predict_batch(load_bundle(tmp_path/'m'), rows.image, rows.text), again.predict_proba(rows),
                       atol=1e-6)
    with pytest.raises(ValueError, match='Pass a list'): predict_batch(load_bundle(tmp_path/'m'), texts='murder')
    with pytest.raises(ValueError, match='Fit it anew'): again.oof_proba(rows)


def test_an_encoder_by_its_folder(texts, tmp_path):
    tiny = tiny_text_encoder(tmp_path/'tiny', texts.text, longest=64)
    clf = GenreClassifier(text_encoder=str(tiny)).fit(texts)
    assert clf.modalities_[0].ridge_.encoder.max_length == 64
    assert str(tmp_path) not in (clf.save(tmp_path/'m')/'config.json').read_text()


def test_rows_are_known_by_picture_or_text(both):
    clf = GenreClassifier(text_encoder='words', modalities='text').fit(both)
    for hidden in ({'image': None}, {'text': 'another text'}):
        with pytest.raises(ItemsError, match='were seen in fit'): clf.score(both.assign(split=None, **hidden))


def test_columns_that_hold_no_texts(texts):
    for column in (1999, [['a']]*len(texts)):
        with pytest.raises(ItemsError, match="'year' holds .* values and no texts"):
            GenreClassifier(text_encoder='words', text_cols=['text', 'year']).fit(texts.assign(year=column))
    clf = GenreClassifier(text_encoder='words', text_cols=['text', 'tag']).fit(texts.assign(tag=None))
    assert 'tag alone' in clf.leaderboard(texts.assign(tag=None)).index
    assert GenreClassifier(text_encoder='words', text_cols='text').fit(texts).score(texts) > .5
    with pytest.raises(ItemsError, match='no word of two letters'):
        GenreClassifier(text_encoder='words').fit(texts.assign(text='a'))


def test_valid_rows_are_checked_first(several):
    rows = several.copy()
    rows.loc[rows.index[rows.split == 'valid'][0], 'text'] = None
    with pytest.raises(ItemsError, match='text'): GenreClassifier(text_encoder='words').fit(rows)


def test_a_foreign_bundle_is_one_line(texts, tmp_path):
    folder = GenreClassifier(text_encoder='words').fit(texts).save(tmp_path/'m')
    config = json.loads((folder/'config.json').read_text())
    model = config['model']
    for change, said in (({'model': model | {'modalities': [{}]}}, 'Copy the bundle anew'),
                         ({'sha256': {}}, 'Copy the bundle anew'),
                         ({'model': {}}, 'Copy the bundle anew'),
                         ({'model': model | {'modalities': [model['modalities'][0] | {'kind': 'text modelity'}]}},
                          "knows the kind 'text modelity'. Did you mean 'text modality'")):
        (folder/'config.json').write_text(json.dumps(config | change))
        with pytest.raises(BundleError) as e: load_bundle(folder)
        assert '\n' not in str(e.value) and said in str(e.value)


def test_settings_for_what_is_not_there(texts, both):
    with pytest.raises(ItemsError, match='encoder= is for pictures'): GenreClassifier(encoder='colours').fit(texts)
    with pytest.raises(ItemsError, match='text_encoder= is for texts'):
        GenreClassifier(**WORDS, modalities='image').fit(both)
    clf = GenreClassifier(text_encoder='words').fit(texts)
    with pytest.raises(ValueError, match="not fitted on 'image'. Leave image= away"): clf.predict(image='x.jpg')
    with pytest.raises(ValueError, match='text is empty'): clf.predict(text=' ')
    with pytest.raises(ValueError, match='Give one text; for several pass items'): clf.predict(text=['a', 'b'])


def test_odd_texts_get_an_answer(texts):
    clf = GenreClassifier(text_encoder='words').fit(texts)
    odd = make_items(text=['🍰 كعكة', 'x'*200_000, '\x00\x01', '\ud800', 'ok'], genres=[['Crime']]*5)
    p = clf.predict_proba(odd)
    assert np.isfinite(p).all() and np.allclose(p.sum(1), 1, atol=1e-5)


def test_a_missing_encoder_says_how_to_go_on(texts, monkeypatch):
    from genre_fastai.encoders import weights
    from genre_fastai.encoders.weights import WeightsError
    monkeypatch.setattr(weights.importlib.util, 'find_spec', lambda name: None)
    monkeypatch.setattr(weights.constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(weights, '_hub_folder', lambda name: (None, 'not in the local cache'))
    with pytest.raises(WeightsError, match="offline.*text_encoder='words'"): GenreClassifier().fit(texts)


def test_poisoned_test_labels_leave_every_byte_of_the_bundle(tmp_path):
    films = synthetic_metadata(world(tmp_path/'films', multilabel=True))
    films.loc[films.index[::7], 'image'] = None
    poisoned, folders = films.copy(), []
    for i in poisoned.index[poisoned.split == 'test']: poisoned.at[i, 'genres'] = [genre_vocab(films)[0]]
    for name, items in (('honest', films), ('poisoned', poisoned)):
        clf = GenreClassifier(**WORDS, meta_cols=['director', 'runtime']).fit(items)
        folders.append(clf.save(tmp_path/name))
    honest, other = (load_bundle(f) for f in folders)
    assert (folders[0]/'model.safetensors').read_bytes() == (folders[1]/'model.safetensors').read_bytes()
    assert honest.thresholds == other.thresholds and honest.config['model'] == other.config['model']
    moved = films.copy()
    for i in moved.index[moved.split == 'valid']: moved.at[i, 'genres'] = [genre_vocab(films)[0]]
    assert GenreClassifier(**WORDS, meta_cols=['director',
                                               'runtime']).fit(moved).thresholds_.tolist() != honest.thresholds  # the test can fail


def test_metadata_is_read_saved_and_named(both, tmp_path):
    films = synthetic_metadata(both)
    clf = GenreClassifier(**WORDS, meta_cols='all').fit(films)
    assert [m.name for m in clf.modalities_] == ['image', 'text',
                                                 'meta'] and 'title' in clf.modalities_[-1].columns and 'true_genres' not in clf.modalities_[-1].columns
    rows = test_rows(films).head(9).copy()
    rows.loc[rows.index[:3], ['image', 'text']] = None
    rows.loc[rows.index[3:6], clf.modalities_[-1].columns] = None
    again = GenreClassifier.load(clf.save(tmp_path/'m'))
    assert np.allclose(again.predict_proba(rows), clf.predict_proba(rows), atol=1e-6)
    assert again.contributions(films).equals(clf.contributions(films)) and set(again.leaderboard(films).index) == set(clf.leaderboard(films).index)
    assert clf.predict(meta={'director': 'Ada Abel'}, top=3) == again.predict(meta={'director': 'Ada Abel'}, top=3)
    with pytest.raises(ValueError, match="no column 'directer'. Did you mean 'director'"):
        clf.predict(meta={'directer': 'Ada Abel'})
    with pytest.raises(ItemsError, match="no column 'yaer'"): GenreClassifier(**WORDS, meta_cols=['yaer']).fit(films)
    with pytest.raises(ItemsError, match='no metadata to read'): GenreClassifier(modalities='meta').fit(films)
    with pytest.raises(ItemsError, match='rows have no metadata: .* Drop them first'):
        GenreClassifier(modalities='meta', meta_cols=['director']).fit(films)
    known = films[films.director.notna()].reset_index(drop=True)
    alone = GenreClassifier(modalities='meta', meta_cols=['director', 'cast']).fit(known)
    assert alone.score(known) > .4
    with pytest.warns(UserWarning, match="column 'shelf' alone says"):
        GenreClassifier(modalities='meta',
                        meta_cols=['shelf', 'director']).fit(known.assign(shelf=[g[0][:2] for g in known.genres]))
    with pytest.raises(ValueError, match='hold nothing that this model reads'): alone.predict_proba(rows[3:6])
    with pytest.warns(UserWarning,
                      match="1 of 2 columns of metadata are not in the table, and are not read: 'director'. Did you mean 'Director'"):
        alone.predict_proba(known.head(3).rename(columns={'director': 'Director'}))
    with pytest.raises(ItemsError, match="no row has split 'test'"): alone.score(known[known.split == 'train'])
    frame = rows.assign(image=None, text=None)
    assert np.allclose(predict_batch(load_bundle(tmp_path/'m'), meta=frame[clf.modalities_[-1].columns][6:]),
                       clf.predict_proba(frame[6:]), atol=1e-6)


def test_what_is_taken_away_at_prediction(both):
    from genre_fastai.datasets.synthetic import synthetic_metadata
    films = synthetic_metadata(both)
    clf = GenreClassifier(**WORDS, meta_cols=['director', 'cast']).fit(films)
    rows = test_rows(films)
    taken = clf.ablate(rows)
    assert list(taken) == ['everything', 'without pictures', 'without texts', 'without metadata', 'pictures alone',
                           'texts alone', 'metadata alone']
    assert np.allclose(taken['without pictures'], clf.predict_proba(rows.assign(image=None)), atol=1e-6)
    never = GenreClassifier(text_encoder='words', modalities=['text', 'meta'],
                            meta_cols=['director', 'cast']).fit(films)
    assert abs(never.score(films) - (taken['without pictures'].argmax(1)
                                     == genre_matrix(rows, list(clf.classes_)).argmax(1)).mean()) <= .02
    silent = clf.ablate(rows.head(2).assign(director=None, cast=None))
    assert np.allclose(silent['metadata alone'], clf.class_prior_)


def test_copies_do_not_flatter(several):
    "Rows of one group are left out together: a set in which every row stands twice is judged as soberly as without copies"
    train = several[several.split == 'train']
    copies = train.assign(item_id=train.item_id + '#2')
    twice = pd.concat([several, copies], ignore_index=True)
    twice['group'] = twice.item_id.str.removesuffix('#2')
    once, honest, blind = (GenreClassifier(text_encoder='words').fit(rows)
                           for rows in (several, twice, twice.drop(columns='group')))
    test = test_rows(several)
    y = genre_matrix(test, list(once.classes_))
    loss = lambda clf: genre_scores(y, clf.predict_proba(test), True)['log_loss']
    left_out = lambda clf, rows: genre_scores(genre_matrix(rows, list(once.classes_)), clf.oof_proba(rows), True)['map']
    assert abs(left_out(honest, train) - left_out(once, train)) < .05 < left_out(blind, train) - left_out(once, train)
    assert loss(honest) < loss(once) + .05


def test_the_kind_of_task_is_not_read_off_the_test_rows(texts):
    odd = texts.copy()
    row = odd.index[odd.split == 'test'][0]
    odd.at[row, 'genres'] = sorted({g for gs in texts.genres for g in gs})[:2]
    with pytest.raises(ItemsError, match='1 rows have several genres, and none of those to fit'):
        GenreClassifier(text_encoder='words').fit(odd)


def test_what_few_rows_have_does_no_harm(both):
    from genre_fastai.datasets.synthetic import synthetic_metadata
    films = synthetic_metadata(both)
    seen = films.index[films.split.isin(['train', 'valid'])]
    films.loc[seen[8:], ['director', 'cast', 'runtime', 'released']] = None
    clf = GenreClassifier(**WORDS, meta_cols=['runtime', 'released']).fit(films)
    rows = test_rows(films)
    assert np.allclose(clf.predict_proba(rows), clf.ablate(rows)['without metadata'], atol=1e-6)


def test_fitted_and_loaded_agree_where_only_a_useless_column_is_filled(both, tmp_path):
    from genre_fastai.datasets.synthetic import synthetic_metadata
    films = synthetic_metadata(both).assign(url=[f'page {k}' for k in range(len(both))])
    with pytest.warns(UserWarning, match="metadata left aside: 'url': "):
        clf = GenreClassifier(**WORDS, meta_cols=['director', 'url']).fit(films)
    assert clf.modalities_[-1].columns == ['director']
    rows = test_rows(films).assign(director=None)
    again = GenreClassifier.load(clf.save(tmp_path/'m'))
    assert np.allclose(again.predict_proba(rows), clf.predict_proba(rows), atol=1e-6)
    useless = films[['url']].assign(**{c: films[c] for c in both})
    assert [m.name for m in GenreClassifier(**WORDS, meta_cols='all').fit(useless.drop(columns='title')).modalities_] == ['image', 'text']
    for column in ('genres', 'split'):
        with pytest.raises(ItemsError, match='is no metadata'): GenreClassifier(**WORDS, meta_cols=[column]).fit(films)
    with pytest.raises(ValueError, match="Did you mean 'director'"):
        predict_batch(load_bundle(tmp_path/'m'), texts=['a film'], meta=[{'directer': 'Ada Abel'}])


def test_left_out_predictions_go_by_id(both, fitted):
    train = both[both.split == 'train']
    order = np.random.default_rng(0).permutation(len(train))
    assert np.array_equal(fitted.oof_proba(train.iloc[order]), fitted.oof_proba(train)[order])
    with pytest.raises(ValueError, match='rows were not fitted'): fitted.oof_proba(test_rows(both))
    with pytest.raises(ValueError, match='top is 0'): fitted.predict(train.head(2), top=0)
    with pytest.raises(ValueError, match='top is 1.5'): fitted.predict(train.head(2), top=1.5)
    with pytest.raises(ValueError, match='meta'): fitted.predict(text='a film', meta='x')


def test_no_child_is_likelier_than_its_parent(several, tmp_path):
    from genre_fastai.data.genres import add_parents
    first = sorted({g for gs in several.genres for g in gs})[0]
    nested = several.assign(genres=[[f'Fiction > {g}' if g != first else g for g in gs] for gs in several.genres])
    nested = add_parents(nested)
    clf = GenreClassifier(text_encoder='words').fit(nested)
    rows, parent = test_rows(nested), list(clf.classes_).index('Fiction')
    children = [j for j, g in enumerate(clf.classes_) if g.startswith('Fiction > ')]
    for p in (clf.predict_proba(rows), GenreClassifier.load(clf.save(tmp_path/'m')).predict_proba(rows)):
        assert (p[:, children].max(1) <= p[:, parent] + 1e-9).all()
    assert all('Fiction' in genres for genres in clf.predict(rows) if any(g.startswith('Fiction > ') for g in genres))


def test_a_genre_that_a_part_never_met_stays_unknown_to_it_whatever_valid_rows_hold(tmp_path):
    items, _ = clean_items(synthetic_items(tmp_path/'w', n=240, n_genres=3, seed=5), needs='image')
    items = split_items(items, valid=.2, test=.2, seed=0)
    last = genre_vocab(items)[-1]
    of_last = items.genres.map(lambda gs: last in gs)
    blind = items.assign(image=items.image.where(~of_last | (items.split == 'test'), None))
    one = blind.copy()
    row = items.index[of_last & (items.split == 'valid')][0]
    one.loc[row, 'image'] = items.image[row]
    test = items[items.split == 'test'].assign(text=None, split=None)
    p = [GenreClassifier(encoder='colours', text_encoder='words').fit(given).predict_proba(test)[:, -1]
         for given in (blind, one)]
    assert p[0].mean() > .15 and np.allclose(*p, atol=.05)


def test_rows_without_a_group_stand_alone_and_the_others_keep_theirs(tmp_path):
    items, _ = clean_items(synthetic_items(tmp_path/'w', n=120, n_genres=3, multilabel=True, seed=5), needs='text')
    twice = pd.concat([items.assign(group=items.item_id),
                       items.assign(item_id=items.item_id + ' again', group=items.item_id)], ignore_index=True)
    def left_out(rows):
        clf = GenreClassifier(modalities='text', text_encoder='words').fit(rows)
        return genre_scores(genre_matrix(rows), clf.oof_proba(rows), True)['map']
    honest, nearly = left_out(twice), left_out(twice.assign(group=twice.group.where(twice.index > 0, None)))
    alone = left_out(twice.assign(group=twice.item_id))
    assert abs(nearly - honest) < .03 and alone > honest + .1


def test_the_limit_is_of_rows_to_fit(tmp_path, monkeypatch):
    items, _ = clean_items(synthetic_items(tmp_path/'w', n=120, n_genres=3, seed=5), needs='text')
    items = split_items(items, valid=.5, test=.2, seed=0)
    n = int(items.split.eq('train').sum())
    monkeypatch.setattr('genre_fastai.predict.classifier.MAX_FIT_ROWS', n)
    assert n < items.split.eq('valid').sum() and GenreClassifier(modalities='text', text_encoder='words').fit(items)
    monkeypatch.setattr('genre_fastai.predict.classifier.MAX_FIT_ROWS', n - 1)
    with pytest.raises(ItemsError, match=f'{n} rows to fit; this preset takes up to {n - 1}'):
        GenreClassifier(modalities='text', text_encoder='words').fit(items)


def test_metadata_that_cannot_be_read_is_named(both, tmp_path):
    films = synthetic_metadata(both)
    clf = GenreClassifier(**WORDS, meta_cols=['runtime', 'director']).fit(films)
    with pytest.warns(UserWarning,
                      match="'runtime' holds numbers .* none of 1 filled .*'long'"), pytest.raises(ValueError,
                                                                                                       match='nothing that this model reads was given'):
        clf.predict(meta={'runtime': 'long'})
    with pytest.raises(ValueError, match='meta has no columns; this model reads'): clf.predict(meta={})
    with pytest.raises(ValueError, match='nothing that this model reads was given'):
        clf.predict(meta={'director': None})
    with pytest.raises(ImageError, match='of type int; give a path'): clf.predict(image=5)
    with pytest.warns(UserWarning, match="metadata left aside: 'item_no': every value is its own"):
        every = GenreClassifier(**WORDS, meta_cols='all').fit(films.assign(item_no=[f'no {i}' for i in range(len(films))]))
    assert 'item_no' not in every.modalities_[-1].columns
    folder = clf.save(tmp_path/'m')
    assert len({(folder/name).stat().st_mode for name in ('README.md', 'config.json', 'model.safetensors')}) == 1
