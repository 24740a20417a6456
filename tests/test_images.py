"Pictures: every odd kind, every kind of damage, the scan and the cache of small copies"
import io, itertools, os, threading, zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np, pandas as pd, pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image, ImageDraw, ImageFile, ImageOps

from genre_fastai.data import images
from genre_fastai.runs import DiskCache
from genre_fastai.items import ItemsError, make_items
from genre_fastai.data.images import (PROBLEMS, SCAN_COLUMNS, ImageCache, ImageError, open_image, perceptual_hash,
                                 probe_image, scan_images)


def drawing(size=(60, 90), mode='RGB', seed=0):
    "Smooth colours with a disc, different for each seed"
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 255, (4, 3, 3), dtype='uint8')).resize(size, Image.Resampling.BICUBIC)
    w, h = size
    ImageDraw.Draw(image).ellipse((w//5, h//4, w//2, h//2), fill=tuple(rng.integers(0, 255, 3).tolist()))
    return image.convert(mode)


def content(image, format='JPEG', **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(width, height, depth=8, colour=2, data=b''):
    "A PNG file with a header of any size"
    def chunk(kind, body):
        return len(body).to_bytes(4, 'big') + kind + body + zlib.crc32(kind + body).to_bytes(4, 'big')
    header = width.to_bytes(4, 'big') + height.to_bytes(4, 'big') + bytes([depth, colour, 0, 0, 0])
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(data)) + chunk(b'IEND', b'')


def difference(a, b): return np.abs(np.asarray(a, 'float32') - np.asarray(b, 'float32')).mean()


def why(source, **kwargs):
    with pytest.raises(ImageError) as e: open_image(source, **kwargs)
    assert e.value.reason in PROBLEMS and '\n' not in str(e.value)
    return e.value.reason


FILES = {f: content(drawing(), f) for f in ['JPEG', 'PNG', 'GIF', 'WEBP', 'BMP', 'TIFF', 'AVIF', 'JPEG2000']}


@pytest.mark.parametrize('format', FILES)
def test_every_format_opens_and_is_probed(format):
    image = open_image(FILES[format])
    assert image.mode == 'RGB' and image.size == (60, 90)
    assert difference(image, drawing()) < 12
    found = probe_image(FILES[format])
    assert set(found) == set(SCAN_COLUMNS) - {'item_id'}
    assert (found['format'], found['problem'], found['n_frames'], found['blank']) == (format, None, 1, False)


@pytest.mark.parametrize('format', FILES)
def test_every_format_cut_anywhere_is_truncated(format):
    whole = FILES[format]
    for share in (.5, .8):
        cut = whole[:int(len(whole)*share)]
        assert why(cut) == 'truncated'
        assert probe_image(cut)['problem'] == 'truncated'


def test_truncated_is_found_at_draft_scale_too():
    whole = content(drawing((1200, 1600)))
    assert open_image(whole, size=100).size == (150, 200)
    assert why(whole[:-len(whole)//10], size=100) == 'truncated'


def test_pillows_global_switch_is_left_alone():
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16'])
def test_every_png_mode(mode):
    image = drawing(mode='RGB' if mode == 'I;16' else mode)
    if mode == 'I;16': image = Image.fromarray(np.asarray(drawing(mode='L')).astype('uint16')*257)
    opened = open_image(content(image, 'PNG'))
    assert opened.mode == 'RGB' and opened.size == (60, 90)


def test_16_bits_are_scaled_and_not_clipped():
    ramp = np.linspace(0, 65535, 256).round().astype('uint16')[None].repeat(4, 0)
    wanted = np.arange(256)[None].repeat(4, 0)
    for format in ['PNG', 'TIFF']:
        opened = np.asarray(open_image(content(Image.fromarray(ramp), format)))[..., 0]
        assert np.abs(opened.astype(int) - wanted).max() <= 1
        assert '16-bit' in probe_image(content(Image.fromarray(ramp), format))['oddities']
    dark = Image.fromarray(np.full((4, 4), 1000, 'uint16'))
    assert open_image(content(dark, 'PNG')).getpixel((0, 0)) == (4, 4, 4)    # by the depth of the file, not by its peak


def test_16_bits_a_channel_of_colour():
    row = b'\0' + np.array([65535, 32896, 0]*5, '>u2').tobytes()
    found = probe_image(png(5, 3, depth=16, data=row*3))
    assert found['problem'] is None and '16-bit' in found['oddities']
    assert open_image(png(5, 3, depth=16, data=row*3)).getpixel((4, 2)) == (255, 128, 0)


def test_floats_from_scans():
    values = np.linspace(0, 1, 100, dtype='float32').reshape(10, 10)
    values[0, 0] = np.nan
    for scale in (1, 255, 65535):
        opened = np.asarray(open_image(content(Image.fromarray(values*np.float32(scale)), 'TIFF')))
        assert opened.max() == 255 and opened.min() == 0


def test_cmyk_keeps_its_colours():
    for format in ['JPEG', 'TIFF']:
        opened = open_image(content(drawing(mode='CMYK'), format))
        assert difference(opened, drawing()) < 6
    assert 'CMYK' in probe_image(content(drawing(mode='CMYK')))['oddities']


@pytest.mark.parametrize('format', ['PNG', 'WEBP', 'GIF', 'TIFF', 'AVIF'])
def test_transparent_is_white(format):
    image = drawing(mode='RGBA')
    image.paste((0, 0, 0, 0), (0, 0, 60, 30))
    opened = open_image(content(image, format))
    assert min(opened.getpixel((30, 10))) >= 250
    assert 'has alpha' in probe_image(content(image, format))['oddities']


def test_palette_with_a_transparent_colour():
    image = Image.new('P', (20, 20), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    image.paste(0, (0, 0, 10, 10))
    opened = open_image(content(image, 'PNG', transparency=0))
    assert opened.getpixel((2, 2)) == (255, 255, 255) and opened.getpixel((15, 15)) == (200, 10, 10)
    assert set(probe_image(content(image, 'PNG', transparency=0))['oddities']) == {'palette', 'has alpha'}


@pytest.mark.parametrize('turn', range(1, 9))
@pytest.mark.parametrize('format', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
def test_every_orientation_is_upright(turn, format):
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}                    # the turn that undoes each orientation
    image = drawing((60, 90))
    stored = image if turn == 1 else image.transpose(Image.Transpose(back[turn]))
    exif = Image.Exif()
    exif[274] = turn
    source = content(stored, format, exif=exif)
    assert open_image(source).size == (60, 90)
    assert difference(open_image(source), image) < 12
    found = probe_image(source)
    assert (found['width'], found['height']) == (60, 90)
    assert ('EXIF-rotated' in found['oddities']) == (turn > 1)


def test_draft_size_of_a_rotated_picture_is_as_it_is_looked_at():
    exif = Image.Exif()
    exif[274] = 6
    source = content(drawing((1600, 800)), exif=exif)
    assert open_image(source, size=(200, 400)).size == (200, 400)
    assert open_image(source, size=(400, 200)).size == (400, 800)


def test_broken_exif_does_not_matter():
    for junk in (b'Exif\0\0', b'Exif\0\0II*\0\xff\xff\xff\xff', b'Exif\0\0MM\0*' + bytes(50)):
        opened = open_image(content(drawing(), exif=junk))
        assert opened.size == (60, 90)


@pytest.mark.filterwarnings('ignore::UserWarning')
def test_a_picture_is_turned_whatever_else_its_exif_block_holds():
    exif, raised = Image.Exif(), 0
    exif[274], exif[271], exif[282] = 6, 'Maker', 72.
    whole = exif.tobytes()
    for i, value in itertools.product(range(6, len(whole)), (0, 2, 255)):
        source = content(drawing((24, 40)), exif=whole[:i] + bytes([value]) + whole[i+1:])
        with Image.open(io.BytesIO(source)) as stored:
            try: turn = stored.getexif().get(274, 1)
            except Exception: turn = 1
            try: ImageOps.exif_transpose(stored)
            except Exception: raised += 1
        assert open_image(source).size == ((40, 24) if turn in (5, 6, 7, 8) else (24, 40))
    assert raised


@pytest.mark.parametrize('format', ['GIF', 'WEBP', 'PNG', 'AVIF'])
def test_first_frame_of_an_animation(format):
    source = content(drawing(), format, save_all=True, append_images=[drawing(seed=1), drawing(seed=2)])
    assert difference(open_image(source), drawing()) < 12
    found = probe_image(source)
    assert found['n_frames'] == 3 and 'animated' in found['oddities']


def test_pages_are_not_an_animation():
    found = probe_image(content(drawing(), 'TIFF', save_all=True, append_images=[drawing(seed=1)]))
    assert found['n_frames'] == 2 and 'several pages' in found['oddities'] and 'animated' not in found['oddities']


def test_animation_with_a_broken_later_frame_is_usable():
    whole = content(drawing(), 'GIF', save_all=True, append_images=[drawing(seed=1)])
    assert open_image(whole[:-200]).size == (60, 90)
    assert probe_image(whole[:-200])['problem'] is None


def test_names_that_lie(tmp_path):
    for name, format, wanted in [('a.jpg', 'PNG', ['PNG named .jpg']), ('b.PNG', 'JPEG', ['JPEG named .PNG']),
                                 ('c.jpeg', 'JPEG', []), ('d.jfif', 'JPEG', []), ('e', 'PNG', []),
                                 ('f.webp', 'WEBP', []), ('g.v2', 'PNG', [])]:
        (tmp_path/name).write_bytes(FILES[format])
        assert probe_image(tmp_path/name)['oddities'] == wanted
        assert open_image(tmp_path/name).size == (60, 90)


def test_what_is_no_file(tmp_path):
    (tmp_path/'empty.jpg').touch()
    (tmp_path/'text.jpg').write_text('<html>404</html>')
    for source, reason in [(None, 'no picture'), (float('nan'), 'no picture'), (pd.NA, 'no picture'),
                           (tmp_path/'no.jpg', 'missing file'), ('a\0b', 'missing file'), ('x'*5000, 'missing file'),
                           (tmp_path, 'not a picture'), (tmp_path/'text.jpg', 'not a picture'), ('', 'not a picture'),
                           (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'not a picture'),
                           (tmp_path/'empty.jpg', 'empty file'), (b'', 'empty file')]:
        assert why(source) == reason
        assert probe_image(source)['problem'] == reason


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no named pipes here')
def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path/'pipe.jpg')
    assert why(tmp_path/'pipe.jpg') == 'not a picture'


def test_bombs_are_refused_by_their_header():
    for side in (100_000, 2**31 - 1, 6400): assert why(png(side, side)) == 'over the pixel limit'
    found = probe_image(png(6400, 6400))
    assert (found['problem'], found['phash']) == ('over the pixel limit', None)
    assert (found['width'], found['height']) == (6400, 6400)
    assert why(FILES['JPEG'], max_pixels=60*90 - 1) == 'over the pixel limit'
    assert open_image(FILES['JPEG'], max_pixels=60*90).size == (60, 90)
    text = png(4, 4).replace(b'IEND', b'zTXt')                                  # damaged on purpose in the chunk's name
    assert why(text) in ('truncated', 'not a picture')


def test_message_names_file_reason_and_next_step(tmp_path):
    (tmp_path/'cut.jpg').write_bytes(FILES['JPEG'][:300])
    with pytest.raises(ImageError, match=r'cut\.jpg: truncated .*fetch it again'): open_image(tmp_path/'cut.jpg')
    with pytest.raises(ImageError, match='60 x 90 = 5,400 pixels, the limit is 100'):
        open_image(FILES['PNG'], max_pixels=100)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_give_a_picture_or_an_image_error(data):
    try: assert open_image(data, max_pixels=100_000).mode == 'RGB'
    except ImageError as e: assert e.reason in PROBLEMS
    assert probe_image(data, max_pixels=100_000)['n_bytes'] == len(data)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(FILES)),
       st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
       st.floats(0, 1), st.sampled_from([None, 20, (9, 30)]))
@pytest.mark.filterwarnings('ignore')
def test_any_damage_gives_a_picture_or_an_image_error(format, hits, share, size):
    data = bytearray(FILES[format])
    for where, value in hits: data[int(where*min(len(data) - 1, 600))] = value   # the front is where readers break
    if share < .5: data = data[:int(len(data)*2*share)]
    try: assert open_image(bytes(data), size, max_pixels=100_000).mode == 'RGB'
    except ImageError as e: assert e.reason in PROBLEMS
    assert probe_image(bytes(data), max_pixels=100_000)['problem'] in {None, *PROBLEMS}


def test_blank_is_one_colour_and_nothing_else():
    def blank(image): return probe_image(content(image, 'PNG'))['blank']
    white = Image.new('RGB', (200, 300), 'white')
    assert blank(white) and blank(Image.new('RGBA', (200, 300), (0, 0, 0, 0))) and blank(Image.new('L', (9, 9), 77))
    noise = np.random.default_rng(0).normal(100, 6, (300, 200, 3)).clip(0, 255).astype('uint8')
    assert blank(Image.fromarray(noise))                                         # cloth
    titled = white.copy()
    ImageDraw.Draw(titled).text((40, 40), 'A small title', fill='black')
    assert not blank(titled)
    assert not blank(Image.merge('RGB', [Image.linear_gradient('L')]*3))


def test_equal_looks_have_near_hashes():
    image = drawing((300, 450), seed=4)
    def bits(other): return (int(perceptual_hash(image), 16) ^ int(perceptual_hash(other), 16)).bit_count()
    assert len(perceptual_hash(image)) == 16
    assert bits(image.resize((150, 225))) <= 4 and bits(open_image(content(image, quality=30))) <= 4
    assert bits(drawing((300, 450), seed=5)) >= 12


@pytest.fixture
def folder(tmp_path):
    for i in range(12): (tmp_path/f'{i}.jpg').write_bytes(content(drawing((120, 180), seed=i)))
    (tmp_path/'cut.jpg').write_bytes(FILES['JPEG'][:400])
    return tmp_path


@pytest.fixture
def items(folder):
    names = [*(f'{i}.jpg' for i in range(12)), 'cut.jpg', 'gone.jpg', None, '3.jpg']
    made = make_items(item_id=[f'i{k}' for k in range(len(names))], image=[n and str(folder/n) for n in names],
                      genres=['War']*len(names))
    return made.set_index(pd.Index(range(100, 100 + len(made)), name='row'))


def test_scan_table(items, tmp_path):
    cache = DiskCache(tmp_path/'scans.sqlite')
    scan = scan_images(items, cache)
    assert list(scan.columns) == SCAN_COLUMNS and scan.index.equals(items.index) and scan.item_id.equals(items.item_id)
    assert scan.problem.isna().sum() == 13
    assert scan.problem.tolist()[-4:] == ['truncated', 'missing file', 'no picture', None]
    assert scan.digest.iloc[3] == scan.digest.iloc[15] and scan.digest.nunique() == 13
    assert scan.digest[scan.problem.isin(['missing file', 'no picture'])].isna().all()
    assert scan.blank.dtype == bool and scan.width.dtype == 'Int64' and scan.width.iloc[0] == 120
    assert len(cache) == 13
    pd.testing.assert_frame_equal(scan, scan_images(items, cache))
    pd.testing.assert_frame_equal(scan, scan_images(items, DiskCache(tmp_path/'other.sqlite'), n_workers=1))
    scan.oddities.iloc[0].append('x')
    assert scan_images(items, cache).oddities.iloc[0] == []


def test_scan_reads_no_picture_twice_and_notices_changes(items, folder, monkeypatch):
    cache, seen = DiskCache(folder/'scans.sqlite'), []
    honest = images.probe_image
    monkeypatch.setattr(images, 'probe_image', lambda p, m: seen.append(Path(p or '-').name) or honest(p, m))
    scan_images(items, cache)
    assert len(seen) == 15 and seen.count('3.jpg') == 1
    seen.clear()
    scan_images(items, cache)
    assert sorted(seen) == ['-', 'gone.jpg']                                 # only what is no file is looked for again
    (folder/'3.jpg').write_bytes(FILES['PNG'])
    (folder/'gone.jpg').write_bytes(FILES['WEBP'])
    seen.clear()
    again = scan_images(items, cache)
    assert sorted(seen) == ['-', '3.jpg', 'gone.jpg']
    assert again.format.iloc[3] == 'PNG' and again.format.iloc[13] == 'WEBP'


def test_scan_goes_on_after_a_kill(folder, monkeypatch):
    names = [f'n{i}.jpg' for i in range(600)]
    for n in names: (folder/n).write_bytes(FILES['JPEG'])
    items = make_items(item_id=names, image=[str(folder/n) for n in names])
    cache, honest, count = DiskCache(folder/'scans.sqlite'), images.probe_image, iter(range(10_000))
    def killed(path, limit):
        if next(count) == 550: raise KeyboardInterrupt
        return honest(path, limit)
    monkeypatch.setattr(images, 'probe_image', killed)
    with pytest.raises(KeyboardInterrupt): scan_images(items, cache, n_workers=2)
    assert len(cache) == 512
    monkeypatch.setattr(images, 'probe_image', honest)
    assert scan_images(items, cache).problem.isna().all() and len(cache) == 600


def test_scan_of_items_without_any_picture(tmp_path):
    scan = scan_images(make_items(text=['a', 'b']), DiskCache(tmp_path/'s.sqlite'))
    assert scan.problem.tolist() == ['no picture']*2 and not scan.blank.any() and scan.phash.isna().all()
    with pytest.raises(ItemsError, match='no rows'): scan_images(make_items())


def test_default_caches_stand_in_the_cache_folder(items, tmp_path, monkeypatch):
    monkeypatch.setenv('GENRE_FASTAI_CACHE', str(tmp_path/'c'))
    scan_images(items)
    ImageCache(32).fill(items)
    assert sorted(p.name for p in (tmp_path/'c').glob('*.sqlite')) == ['images.sqlite', 'scans.sqlite']


def test_small_copies(items, folder):
    small = ImageCache(60, DiskCache(folder/'images.sqlite'))
    fresh = small.load(folder/'0.jpg')
    assert (fresh.size, fresh.mode) == ((60, 90), 'RGB')
    assert difference(fresh, open_image(folder/'0.jpg').resize((60, 90), Image.Resampling.LANCZOS)) < 3
    assert difference(small.load(folder/'0.jpg'), fresh) == 0                    # the same pixels, cached or not
    assert difference(small.load(str(folder/'0.jpg')), fresh) == 0
    report = small.fill(items)
    assert len(small.cache) == 12
    reasons = report.frame[['item_id', 'reason']].values.tolist()
    assert reasons == [['i13', 'missing file'], ['i14', 'no picture'], ['i12', 'truncated']]
    assert (report.n_in, report.n_dropped) == (16, 0)
    assert ImageCache(500, small.cache).load(folder/'0.jpg').size == (120, 180)  # never enlarged
    assert ImageCache(30, small.cache).load(folder/'0.jpg').size == (30, 45)     # sizes do not mix
    (folder/'0.jpg').write_bytes(FILES['PNG'])
    assert difference(small.load(folder/'0.jpg').resize((60, 90)), drawing()) < 12
    with pytest.raises(ImageError, match='missing file'): small.load(folder/'gone.jpg')
    with pytest.raises(ItemsError, match="'image' is empty"): small.fill(make_items(text=['a']))
    assert small.fill(items[items.image.isna() | (items.item_id == 'i1')]).frame.reason.tolist() == ['no picture']


def test_thin_pictures_keep_a_pixel(tmp_path):
    (tmp_path/'thin.png').write_bytes(content(drawing((3, 900)), 'PNG'))
    assert ImageCache(1, DiskCache(tmp_path/'i.sqlite')).load(tmp_path/'thin.png').size == (1, 300)
    assert probe_image(content(Image.new('RGB', (1, 1)), 'PNG'))['blank']


def test_fill_is_resumed(items, folder, monkeypatch):
    small, made = ImageCache(60, DiskCache(folder/'images.sqlite')), []
    honest = ImageCache._small
    monkeypatch.setattr(ImageCache, '_small', lambda self, p: made.append(p) or honest(self, p))
    small.fill(items[:5])
    small.fill(items)
    assert len([p for p in made if 'gone' not in p and 'cut' not in p]) == 12


def test_cache_is_bounded(items, folder):
    one = len(ImageCache(60, DiskCache(folder/'x.sqlite'))._small(folder/'0.jpg'))
    small = ImageCache(60, DiskCache(folder/'images.sqlite', max_bytes=5*one))
    small.fill(items)
    assert small.cache.n_bytes <= 5*one
    assert small.load(folder/'0.jpg').size == (60, 90)


def test_threads_may_share_a_cache(items, folder):
    small = ImageCache(40, DiskCache(folder/'images.sqlite'))
    paths = items.image.dropna()[:12].tolist()*5
    with ThreadPoolExecutor(4) as pool: sizes = set(im.size for im in pool.map(small.load, paths))
    assert sizes == {(40, 60)} and threading.active_count() < 20


def test_real_folders():
    data = os.environ.get('GENRE_FASTAI_REAL_DATA')
    if not data: pytest.skip('set GENRE_FASTAI_REAL_DATA to the folder with the real data')
    paths = sorted(Path(data, 'book_covers', 'images').iterdir())
    scan = scan_images(make_items(item_id=[p.name for p in paths], image=paths))
    assert len(scan) == 2200 and scan.problem.isna().all()
    assert scan.blank.sum() == 26
