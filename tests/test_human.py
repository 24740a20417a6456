"A person's guesses: kept at once, gone on with, scored beside a model"
import json

import numpy as np, pytest

from genre_fastai.items import ItemsError
from genre_fastai.evaluate.human import HumanBaseline
from genre_fastai.data.split import split_items
from genre_fastai.datasets.synthetic import synthetic_items


@pytest.fixture(scope='module')
def items(tmp_path_factory):
    return split_items(synthetic_items(tmp_path_factory.mktemp('w')/'w', n=150, n_genres=4, seed=5), valid=.2, test=.2)


def test_guesses_are_kept_and_scored(items, tmp_path):
    path = tmp_path/'guesses.json'
    you = HumanBaseline(items, n=6, path=path)
    assert set(you.rows.split) == {'test'}
    with pytest.raises(ValueError, match='nothing has been guessed'): you.scores()
    with pytest.raises(ValueError, match='no genre .Westrn.'): you.guess('Westrn')
    with pytest.raises(ValueError, match='one genre here'): you.guess(you.vocab[:2])
    with pytest.raises(ValueError, match='no genre'): you.guess([])
    for i in range(4):
        you.guess(you.rows.genres.iloc[i] if i < 3 else next(g for g in you.vocab if g != you.rows.genres.iloc[3][0]))
    again = HumanBaseline(items, n=6, path=path)
    assert again.guesses == you.guesses and len(again.left) == 2 and json.loads(path.read_text()) == you.guesses
    table = again.scores(lambda rows: np.tile(np.eye(4)[0], (len(rows), 1)))
    assert list(table.index) == ['you', 'model'] and table.accuracy['you'].startswith('.750')
    for _ in range(2): again.guess(again.vocab[0])
    with pytest.raises(ValueError, match='every item has been guessed'): again.guess(again.vocab[0])
    with pytest.raises(ValueError, match='guesses for other items'): HumanBaseline(items, n=2, seed=9, path=path)
    path.write_text('{')
    with pytest.raises(ValueError, match='holds no guesses'): HumanBaseline(items, n=6, path=path)
    with pytest.raises(ItemsError, match="no row has split 'test'"): HumanBaseline(items[items.split != 'test'])
    with pytest.raises(ValueError, match='n is 0; give a whole number'): HumanBaseline(items, n=0)
    with pytest.raises(ValueError, match='a ndarray is no function from items'): again.scores(np.eye(4))


def test_the_widget_takes_a_guess(items):
    pytest.importorskip('ipywidgets')
    you = HumanBaseline(items, n=3)
    said, picture, text, buttons = you.widget().children
    assert picture.value[:4] == b'\x89PNG' and text.value
    buttons.children[1].click()
    assert list(you.guesses.values()) == [[you.vocab[1]]] and '1 of 3' in said.value
    for _ in range(2): buttons.children[0].click()
    assert not you.left and buttons.children[0].disabled
