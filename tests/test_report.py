"The page is one safe file whatever is put into it"
import base64
import datetime
import io
from html.parser import HTMLParser

import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from genre_fastai.items import Report
from genre_fastai.evaluate.report import Page, format_cell

VOID = {'meta', 'img'}


class Reader(HTMLParser):
    "Checks that tags close in order; collects tags, attributes, and the text of each cell"
    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.cells, self.style = [], [], [], [], ''
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, k, v) for k, v in attributes]
        if tag not in VOID: self.open.append(tag)
        if tag in ('td', 'th'): self.cells.append('')

    def handle_endtag(self, tag): assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ('td', 'th'): self.cells[-1] += data


def read(page, **facts): return Reader(page.to_html(**facts))


def cells(page): return [(dict.fromkeys(c.split(' ')) if c else {}, t) for c, t in _cells(page.parts[-1])]


def _cells(part):
    for piece in part.split('<td')[1:]:
        head, _, rest = piece.partition('>')
        yield (head.split('"')[1] if '"' in head else ''), rest.split('<')[0]


nasty = st.text(alphabet=st.sampled_from('<>&"\'/ =-aé語\u202e\x00{}$%'), min_size=1, max_size=20)


@settings(max_examples=80, deadline=None)
@given(text=nasty)
def test_no_text_becomes_a_tag(text):
    plain, odd = Page('x', 'x'), Page(text, text)
    for page, s in ((plain, 'x'), (odd, text)):
        page.add_heading(s).add_text(f'{s}x').add_print(s).add_table(pd.DataFrame({s: [s, [s]]}, index=[s, 'b']), s)
    a, b = read(plain, data='x'), read(odd, data=text)
    assert a.tags == b.tags
    assert [t[:2] for t in a.attributes] == [t[:2] for t in b.attributes]


def test_half_a_character_is_written_all_the_same(tmp_path):
    page = Page('a\ud800').add_heading('\udfff').add_text('\ud800').add_print('\ud800')
    assert 'a&#55296;' in page.save(tmp_path/'page.html').read_text(encoding='utf-8')


def test_nothing_is_fetched():
    figure, ax = plt.subplots()
    page = read(Page('a').add_heading('b').add_figure(ax, 'c').add_table(pd.DataFrame({'a': [1]})))
    plt.close(figure)
    assert not {'script', 'link', 'iframe', 'object', 'base', 'form'} & set(page.tags)
    for tag, name, value in page.attributes:
        if name in ('src', 'href'): assert value.startswith(('data:image/png;base64,', '#')), value
    text = Page('a').to_html()
    assert '@import' not in text and 'url(' not in text and '://' not in text
    assert "default-src 'none'" in text


def test_a_picture_comes_back_as_it_was_and_the_figure_stays_open():
    figure, ax = plt.subplots(figsize=(3, 2))
    ax.plot([1, 2])
    for thing in (figure, ax):
        part = Page('a').add_figure(thing, 'A "line"', dpi=96).parts[0]
        image = Image.open(io.BytesIO(base64.b64decode(part.split('base64,')[1].split('"')[0])))
        assert f'width="{image.width}" height="{image.height}"' in part
        assert 'alt="A &quot;line&quot;"' in part
    assert plt.fignum_exists(figure.number)
    sharp = Page('a').add_figure(figure, dpi=192).parts[0]
    assert int(sharp.split('width="')[1].split('"')[0]) == pytest.approx(image.width, abs=4)
    plt.close(figure)


def test_numbers_stand_right_and_texts_left():
    table = pd.DataFrame({'n': [1, 20], 'x': [.5, None], 'score': ['.412 [.380, .440]', '–'],
                          'share': ['3 %', '40 %'], 'name': ['a', '2'], 'empty': [None, None]})
    page = Page('a').add_table(table)
    kinds = [set(k) for k, _ in cells(page)][:6]
    assert kinds == [{'num'}]*4 + [set()]*2
    assert [t for _, t in cells(page)][:6] == ['1', '0.500', '.412 [.380, .440]', '3 %', 'a', '–']


def test_the_best_is_marked():
    table = pd.DataFrame({'acc': ['.3 [.2, .4]', '.9 [.8, 1.0]', '.5 [.4, .6]', '.5 [.4, .6]'],
                          'loss': [2, .1, np.nan, 1.]}, index=['chance', 'best possible', 'a', 'b'])
    page = Page('a').add_table(table, best={'acc': 'max', 'loss': 'min'}, unranked=['best possible'])
    marked = [t for k, t in cells(page) if 'best' in k]
    assert marked == ['.5 [.4, .6]', '.5 [.4, .6]', '1.000']
    assert not [1 for k, _ in cells(Page('a').add_table(table)) if 'best' in k]
    words = Page('a').add_table(pd.DataFrame({'x': ['a', 'b']}), best={'x': 'max'})
    assert not [1 for k, _ in cells(words) if 'best' in k]


def test_row_names_are_shown_where_they_say_something():
    frame = pd.DataFrame({'x': [1, 2]})
    assert 'scope="row"' not in Page('a').add_table(frame).parts[0]
    assert 'scope="row"' in Page('a').add_table(frame.set_index(pd.Index(['p', 'q'], name='model'))).parts[0]
    assert 'scope="row"' in Page('a').add_table(frame, index=True).parts[0]
    assert '>model<' in Page('a').add_table(frame.set_index(pd.Index(['p', 'q'], name='model'))).parts[0]
    both = frame.set_index(pd.MultiIndex.from_tuples([('a', 1), ('a', 2)], names=['u', 'v']))
    assert '>a, 2<' in Page('a').add_table(both).parts[0] and '>u, v<' in Page('a').add_table(both).parts[0]


@pytest.mark.parametrize('table', [
    pd.DataFrame(), pd.DataFrame({'a': []}), pd.Series([1, 2], name='s'),
    pd.DataFrame([[1, 2]], columns=['same', 'same']),
    pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([('a', 'x'), ('a', 'y')])),
    pd.DataFrame({'t': [pd.Timestamp('2020-01-01'), pd.NaT], 'd': [datetime.date(2020, 1, 1), None],
                  'c': pd.Categorical(['a', None])}),
    pd.DataFrame({'o': [{'k': 1}, object], 'b': [True, None], 'arr': [np.arange(3), []], 'inf': [np.inf, -np.inf]})])
def test_odd_tables(table): assert read(Page('a').add_table(table)).tags.count('table') == 1


def test_rows_left_out_are_counted():
    page = Page('a').add_table(pd.DataFrame({'x': range(1000)}), max_rows=10, best={'x': 'max'})
    assert '990 more of 1,000 rows are not shown' in page.parts[0]
    assert page.parts[0].count('<td') == 10
    assert 'not shown' not in Page('a').add_table(pd.DataFrame({'x': range(10)}), max_rows=10).parts[0]


def test_cells():
    assert format_cell(np.float32(.5)) == '0.500' and format_cell(np.int64(3)) == '3' and format_cell(0.) == '0.000'
    assert format_cell(1e-9) == '1.00e-09' and format_cell(-1e-9) == '-1.00e-09'
    assert format_cell(12345.6789, 1) == '12345.7'
    assert format_cell(pd.NA) == format_cell(pd.NaT) == format_cell(None) == format_cell(np.nan) == '–'
    assert format_cell(np.bool_(False)) == 'no' and format_cell(['a', None, .5]) == 'a, –, 0.500'
    assert format_cell([]) == ''


def test_contents_and_foot():
    page = Page('a').add_heading('One').add_heading('Two', 3)
    text = page.to_html(seed=7, data='covers', genres=['a', 'b'])
    assert 'href="#part-1">One' in text and 'id="part-2">Two' in text and 'class="sub"' in text
    for part in ('<dt>seed</dt><dd>7</dd>', '<dt>genres</dt><dd>a, b</dd>', '<dt>python</dt>', '<dt>numpy</dt>',
                 '<dt>written</dt>'):
        assert part in text
    assert '<nav' not in Page('a').to_html()
    assert repr(page) == "Page('a', 2 headings, 2 parts)"


def test_a_report_is_printed_as_it_stands():
    report = Report(3).add(['x'], 'dropped', 'no picture')
    assert 'no picture (e.g. x)' in Page('a').add_print(report).parts[0]


def test_paragraphs():
    assert Page('a').add_text(' one\n two \n\n\n three ').parts[0].count('<p>') == 2


def test_saving_replaces_the_whole_file_or_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path/'runs'/'demo'/'report.html'
    assert Page('first').save(path) == path
    page = Page('second')
    page.parts.append(3)                                                      # cannot be joined: fails before writing
    with pytest.raises(TypeError): page.save(path)
    assert '<h1>first</h1>' in path.read_text(encoding='utf-8')
    Page('third').save(str(path))
    assert '<h1>third</h1>' in path.read_text(encoding='utf-8')
    assert [p.name for p in path.parent.iterdir()] == ['report.html']


def test_refusals_are_one_line():
    table = pd.DataFrame({'accuracy': [1]})
    for call, message in [(lambda: Page('a').add_table([[1]]), 'not list'),
                          (lambda: Page('a').add_figure('x.png'), 'not str'),
                          (lambda: Page('a').add_heading('x', 1), 'level is 1'),
                          (lambda: Page('a').add_table(table, best={'acuracy': 'max'}), "Did you mean 'accuracy'"),
                          (lambda: Page('a').add_table(table, best={'accuracy': 'most'}), "use 'max' or 'min'")]:
        with pytest.raises(ValueError, match=message) as error: call()
        assert '\n' not in str(error.value)
