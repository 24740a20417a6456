"Where weights come from, and what is refused"
import pytest, timm, torch
from safetensors.torch import save_file

from genre_fastai.encoders import image, weights
from genre_fastai.encoders.weights import BODIES, WeightsError, body_config, default_body, resolve_weights
from genre_fastai.encoders.image import body_network, describe_bodies, load_body

families = ['test_resnet', 'test_efficientnet', 'test_convnext', 'test_byobnet', 'test_mambaout', 'test_nfnet',
            'test_vit', 'test_vit2', 'test_vit3', 'test_vit4',
            'test_coatnet', 'test_maxvit'] # convolutions; transformers with each kind of pooling; both


@pytest.fixture
def folder(tmp_path, monkeypatch):
    "A weights folder with one tiny network, named by the environment"
    torch.manual_seed(0)
    save_file(timm.create_model('test_resnet', num_classes=3).state_dict(), tmp_path/'test_resnet.safetensors',
              metadata={'mean': '0.1,0.2,0.3', 'size': '48'})
    monkeypatch.setenv('GENRE_FASTAI_WEIGHTS', str(tmp_path))
    return tmp_path


def test_folder_comes_before_the_hub(folder, monkeypatch):
    monkeypatch.setattr(weights, '_hub_file', lambda repo: pytest.fail('the hub was asked'))
    found = resolve_weights('test_resnet')
    assert (found.source, found.mean, found.size) == ('folder', (.1, .2, .3), 48)


def test_path_comes_before_the_folder(folder, tmp_path):
    other = tmp_path/'other.safetensors'
    save_file(timm.create_model('test_resnet', num_classes=3).state_dict(), other)
    assert resolve_weights('test_resnet', other).source == 'file'
    assert resolve_weights('test_resnet', other).digest != resolve_weights('test_resnet').digest


def test_hub_comes_last_and_is_loaded_like_a_file(folder, monkeypatch):
    monkeypatch.delenv('GENRE_FASTAI_WEIGHTS')
    monkeypatch.setattr(weights, '_hub_file', lambda repo: (str(folder/'test_resnet.safetensors'), None))
    body = load_body('test_resnet')
    assert body.weights.source == 'hub' and body(torch.rand(1, 3, 48, 48)).shape == (1, body.n_out)


def test_nothing_found_lists_what_was_tried(tmp_path, monkeypatch):
    monkeypatch.setenv('GENRE_FASTAI_WEIGHTS', str(tmp_path))
    monkeypatch.setattr(weights, '_hub_file', lambda repo: (None, 'cannot be reached'))
    with pytest.raises(WeightsError) as e: load_body('resnet18')
    message = str(e.value)
    for part in ('has no resnet18.safetensors', 'timm/resnet18', 'cannot be reached', "encoder='colours'",
                 "weights='random'"): assert part in message
    assert '\n' not in message


def test_offline_switch_is_respected(monkeypatch):
    monkeypatch.setattr(weights.constants, 'HF_HUB_OFFLINE', True)
    path, why = weights._hub_file('timm/no_such_repository')
    assert path is None and 'HF_HUB_OFFLINE' in why


@pytest.mark.parametrize('name', ['resnet81', 'convnext_tini', 'Mobilenetv2_100'])
def test_unknown_body_gets_the_nearest_names(name):
    with pytest.raises(WeightsError, match='Nearest names'): body_config(name)


def test_weights_of_another_network_are_refused(folder):
    for arch in ('test_vit', 'test_efficientnet', 'resnet18'):
        with pytest.raises(WeightsError, match='do not fit'): load_body(arch, folder/'test_resnet.safetensors')


def test_incomplete_weights_are_refused(folder):
    state = timm.create_model('test_resnet', num_classes=3).state_dict()
    del state['layer1.0.conv1.weight']
    save_file(state, folder/'part.safetensors')
    with pytest.raises(WeightsError, match='layer1.0.conv1.weight'): load_body('test_resnet', folder/'part.safetensors')


def test_damaged_file_is_refused(folder):
    (folder/'damaged.safetensors').write_bytes((folder/'test_resnet.safetensors').read_bytes()[:1000])
    with pytest.raises(WeightsError, match='not a readable safetensors'):
        load_body('test_resnet', folder/'damaged.safetensors')


@pytest.mark.parametrize('name', ['resnet50.tv_in1', 'mobilenetv2_100.'])
def test_unknown_tag_gets_those_there_are(name):
    with pytest.raises(WeightsError, match=f'It has .{name.split(".")[0]}[.]') as e: body_config(name)
    assert '\n' not in str(e.value)


def promised_width(body, depths):
    if depths == 'last': return body.n_out
    stages = [stage['num_chs'] for stage in body.model.feature_info]
    return body.n_out + body.model.num_features + 3*sum(image._five(stages))


@pytest.mark.parametrize('arch', families)
@pytest.mark.parametrize('depths', ['last', 'all'])
def test_every_family_gives_vectors(arch, depths):
    body = load_body(arch, 'random').eval()
    size = body.weights.size
    with torch.no_grad(): v = body.vectors(torch.rand(2, 3, size, size), depths)
    assert v.shape == (2, promised_width(body, depths)) and torch.isfinite(v).all()


@pytest.mark.parametrize('arch', ['test_resnet', 'test_convnext', 'test_byobnet'])
def test_a_last_map_of_one_place_has_no_spread_but_no_gap_either(arch):
    body = load_body(arch, 'random').eval()
    with torch.no_grad(): assert torch.isfinite(body.vectors(torch.rand(2, 3, 32, 32), 'all')).all()


@pytest.mark.parametrize('arch', ['test_vit', 'test_vit2'])
def test_the_maximum_leaves_the_class_token_out(arch):
    body = load_body(arch, 'random').eval()
    with torch.no_grad():
        x = torch.rand(2, 3, 160, 160)
        places = body.model.forward_features(body.normalize(x))[:, 1:]
        assert torch.allclose(body.vectors(x, 'all')[:, body.n_out:2*body.n_out], places.amax(1), atol=1e-5)


@pytest.mark.parametrize('arch', families)
def test_weights_as_timm_stores_them_are_read(arch, tmp_path):
    torch.manual_seed(0)
    whole = timm.create_model(arch).eval()                                    # with a classifier, like the files on the hub
    save_file(whole.state_dict(), tmp_path/'w.safetensors')
    body = load_body(arch, tmp_path/'w.safetensors').eval()
    x = torch.rand(2, 3, body.weights.size, body.weights.size)
    with torch.no_grad():
        assert torch.allclose(body(x), whole.forward_head(whole.forward_features(x), pre_logits=True), atol=1e-5)


@pytest.mark.parametrize('arch', ['test_vit', 'test_vit3'])
def test_weights_of_one_size_are_read_for_another(arch, tmp_path):
    torch.manual_seed(0)
    whole = timm.create_model(arch).eval()
    save_file(whole.state_dict(), tmp_path/'w.safetensors')
    body = load_body(arch, tmp_path/'w.safetensors', size=96).eval()
    whole.set_input_size(img_size=(96, 96))
    x = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.allclose(body(x), whole.forward_head(whole.forward_features(x), pre_logits=True), atol=1e-5)
    assert body.weights.size == 96


@pytest.mark.parametrize('shape', [(64, 64), (160, 96), (161, 160)])
@pytest.mark.parametrize('depths', ['last', 'all'])
def test_pictures_of_another_size_are_refused_where_the_network_has_one(shape, depths):
    with pytest.raises(ValueError, match=r'160 x 160 pixels.*load_body') as e:
        load_body('test_vit3', 'random').vectors(torch.rand(1, 3, *shape), depths)
    assert f'these have {shape[1]} x {shape[0]}.' in str(e.value) and '\n' not in str(e.value)


@pytest.mark.parametrize('arch', ['test_resnet', 'test_convnext', 'test_vit'])
def test_other_networks_take_any_size(arch):
    with torch.no_grad():
        assert load_body(arch, 'random').eval().vectors(torch.rand(1, 3, 64, 96), 'all').isfinite().all()


@pytest.mark.parametrize('name', BODIES.index)
def test_every_body_of_the_table_can_be_built(name):
    config, found = body_config(name), resolve_weights(name, 'random')
    assert name == f'{config["architecture"]}.{config["tag"]}' and config['hf_hub_id'] == f'timm/{name}'
    assert found.size == BODIES.loc[name, 'size']
    with torch.device('meta'): body = image.Body(body_network(found), found)
    x = torch.empty(2, 3, found.size, found.size, device='meta')                      # shapes alone, no numbers
    for depths in ('last', 'all'): assert body.vectors(x, depths).shape == (2, promised_width(body, depths))


def test_the_table_says_the_sizes_of_timm_but_for_one_family():
    theirs = {name: timm.get_pretrained_cfg(name).input_size[-1] for name in BODIES.index}
    assert {name for name in BODIES.index if BODIES.loc[name, 'size'] != theirs[name]} == {n for n in BODIES.index
                                                                                           if 'dinov2' in n}
    assert body_config('vit_small_patch14_dinov2')['input_size'] == (3, 224, 224), 'without the tag it is the same body'


def test_defaults_are_in_the_table_and_of_their_budget():
    budgets = ['tiny', 'small', 'medium', 'large']
    assert list(BODIES.budget.unique()) == budgets and BODIES.index.is_unique
    assert [BODIES.loc[default_body(b), 'budget'] for b in budgets] == budgets
    for wrong in ('huge', None, ['tiny']):
        with pytest.raises(ValueError, match="'tiny', 'small', 'medium', 'large'"): default_body(wrong)


def test_bodies_are_described_without_building_them(monkeypatch):
    monkeypatch.setattr(image, 'load_body', lambda *args, **kwargs: pytest.fail('a body was built'))
    table = describe_bodies(measure=False)
    assert list(table.body) == list(BODIES.index) and 'ms a picture' not in table and table.notna().all(axis=None)
    sizes = table.groupby('budget', sort=False)['million parameters'].median()
    assert list(sizes.index) == ['tiny', 'small', 'medium', 'large'] and sizes.is_monotonic_increasing


def test_any_body_can_be_described_and_measured():
    state = torch.get_rng_state()
    table = describe_bodies(['test_resnet', 'test_vit']).set_index('body')
    assert torch.equal(state, torch.get_rng_state()), 'the global generator was touched'
    assert (table['ms a picture'] > 0).all() and table['budget'].isna().all()
    assert describe_bodies(['mobilenetv2_100'],
                           measure=False).budget[0] == 'small', 'without the tag it is the same body'
    with pytest.raises(WeightsError, match='Nearest names'): describe_bodies(['resnet81'])


def test_random_weights_depend_on_the_seed_alone():
    torch.manual_seed(5)
    a = load_body('test_resnet', 'random', seed=1).state_dict()
    state = torch.get_rng_state()
    b = load_body('test_resnet', 'random', seed=1).state_dict()
    assert torch.equal(state, torch.get_rng_state()), 'the global generator was touched'
    assert all(torch.equal(a[k], b[k]) for k in a)
