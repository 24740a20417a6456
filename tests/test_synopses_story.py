"The story of long synopses in small: windows beat the first tokens, class weights find the smallest genre"
import pytest, torch

from genre_fastai.items import genre_matrix, genre_vocab
from genre_fastai.learn.learner import genre_learner, predict_items
from genre_fastai.evaluate.metrics import genre_report, genre_scores
from genre_fastai.data.split import split_items
from genre_fastai.data.genres import merge_genres
from genre_fastai.datasets.synthetic import synthetic_items
from genre_fastai.learn.blocks import synopsis_block
from genre_fastai.encoders.text import tiny_text_encoder


@pytest.fixture(scope='module')
def items(tmp_path_factory):
    "Three genres, 67/21/12 %, 40 sentences a text, one of which says anything"
    world = dict(n=300, n_genres=6, imbalance=1.2, images=False, synopsis_sentences=40, telling_sentences=1,
                 label_noise=.02, seed=1)
    made = synthetic_items(tmp_path_factory.mktemp('w')/'w', **world)
    return split_items(merge_genres(made, {'Thriller': 'Crime', 'Adventure': 'Fantasy', 'Drama': 'Romance'}), valid=.15,
                       test=.3, seed=1)

@pytest.fixture(scope='module')
def scored(items, tmp_path_factory):
    "Name -> (scores, report a genre) on the test rows"
    train, test, vocab = items[items.split == 'train'], items[items.split == 'test'], genre_vocab(items)
    encoder = tiny_text_encoder(tmp_path_factory.mktemp('e')/'e', train.text, 1200, width=64, n_layers=1)
    y, found = genre_matrix(test, vocab), {}
    torch.set_num_threads(1)
    def fit(name, weigh_genres, **reading):
        dls = synopsis_block(items, encoder, **reading).dataloaders(items, bs=16)
        learn = genre_learner(dls, pooling='attention', weigh_genres=weigh_genres)
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(6, 3e-3)   # too short for the smallest genre without weights
        p = predict_items(learn, test)
        found[name] = genre_scores(y, p, multilabel=False), genre_report(y, p, vocab, multilabel=False)
    fit('first tokens, weighed', True, max_length=160, stride=0, max_windows=1)
    for name, weigh in (('plain', False), ('weighed', True)):
        fit(f'windows, {name}', weigh, max_length=32, stride=8, max_windows=None)
    return found

@pytest.mark.filterwarnings('ignore:.*texts have more than 1 windows')
def test_windows_read_what_the_first_tokens_do_not_hold(scored):
    windows, first = (scored[name][0]['accuracy'] for name in ('windows, weighed', 'first tokens, weighed'))
    assert windows > first + .15


@pytest.mark.filterwarnings('ignore:.*texts have more than 1 windows')
def test_class_weights_find_the_smallest_genre(scored):
    (plain, plain_report), (weighed, weighed_report) = scored['windows, plain'], scored['windows, weighed']
    assert weighed_report.recall['Romance'] >= plain_report.recall['Romance'] + .1
    assert weighed['macro_f1'] >= plain['macro_f1']
