from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resight.clip.image import ModifiedResNet, ResNetConfig, VisionTransformer, ViTConfig, resize_positions

VIT_B16 = ViTConfig((256, 128), patch=16, stride=16, width=768, depth=12, heads=12, output=512, activation="quick_gelu")
RN50 = ResNetConfig((256, 128), (3, 4, 6, 3), width=64, heads=32, output=1024)
VIT = ViTConfig((12, 8), patch=4, stride=4, width=16, depth=3, heads=4, output=6, activation="quick_gelu")
RESNET = ResNetConfig((64, 32), (1, 2, 1, 1), width=4, heads=2, output=6)


def vit(config: ViTConfig = VIT) -> VisionTransformer:
    torch.manual_seed(0)
    tower = VisionTransformer(config).double()
    for parameter in tower.parameters():
        nn.init.normal_(parameter, mean=0.05, std=0.3)
    return tower


def resnet(config: ResNetConfig = RESNET) -> ModifiedResNet:
    torch.manual_seed(0)
    tower = ModifiedResNet(config).double()
    for parameter in tower.parameters():
        nn.init.normal_(parameter, mean=0.1, std=0.2)
    return tower.eval()


def pictures(config: ViTConfig | ResNetConfig = VIT, n: int = 3) -> Tensor:
    return torch.randn(n, 3, *config.image_size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_sizes() -> None:
    with torch.device("meta"):
        assert n_parameters(VisionTransformer(VIT_B16)) == 86_140_416
        assert n_parameters(VisionTransformer(replace(VIT_B16, stride=12))) == 86_203_392
        assert n_parameters(VisionTransformer(replace(VIT_B16, image_size=(384, 128)))) == 86_189_568
        assert n_parameters(ModifiedResNet(RN50)) == 38_478_688


@pytest.mark.parametrize(
    ("size", "stride", "grid"),
    [((256, 128), 16, (16, 8)), ((256, 128), 12, (21, 10)), ((256, 256), 16, (16, 16)), ((256, 256), 12, (21, 21))],
)
def test_grids_of_the_vision_transformer(size: tuple[int, int], stride: int, grid: tuple[int, int]) -> None:
    assert replace(VIT_B16, image_size=size, stride=stride).grid == grid


@pytest.mark.parametrize("size", [(256, 128), (64, 32), (63, 33), (95, 47), (49, 70)])
@pytest.mark.parametrize("last_stride", [1, 2])
def test_grid_of_the_resnet_is_that_of_its_feature_map(size: tuple[int, int], last_stride: int) -> None:
    config = replace(RESNET, image_size=size, last_stride=last_stride)
    tower = resnet(config)
    shapes = []
    tower.layer4.register_forward_hook(lambda *arguments: shapes.append(tuple(arguments[2].shape[2:])))
    taps = tower(pictures(config, n=1))
    assert shapes == [config.grid]
    assert tuple(tap.shape[1] for tap in taps) == config.tap_widths == (64, 128, 6)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"activation": "gelu", "heads": 1},
        {"stride": 3},
        {"depth": 1},
        {"image_size": (8, 20), "patch": 8, "stride": 2},
    ],
)
def test_the_class_token_alone_equals_the_first_of_all_tokens(changes: dict[str, object]) -> None:
    config = replace(VIT, **changes)
    tower, images, side, prompts = (
        vit(config),
        pictures(config),
        torch.randn(3, 16).double(),
        torch.randn(2, 16).double(),
    )
    taps, tokens = tower(images, side=side, prompts=prompts), tower.tokens(images, side=side, prompts=prompts)
    assert tokens.shape == (3, 1 + 2 + config.grid[0] * config.grid[1], 6)
    torch.testing.assert_close(taps.projected, tokens[:, 0], atol=1e-10, rtol=1e-10)
    assert tuple(tap.shape[1] for tap in taps) == config.tap_widths


def test_vision_transformer_equals_pytorchs_encoder() -> None:
    tower = vit(replace(VIT, activation="gelu"))
    layer = nn.TransformerEncoderLayer(16, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True, dtype=torch.float64)
    renamed = {
        "attn.": "self_attn.",
        "ln_1": "norm1",
        "ln_2": "norm2",
        "mlp.c_fc": "linear1",
        "mlp.c_proj": "linear2",
    }
    images = pictures()
    x = F.conv2d(images, tower.conv1.weight, stride=4).flatten(2).mT
    x = torch.cat([tower.class_embedding.expand(3, 1, -1), x], 1) + tower.positional_embedding
    x = tower.ln_pre(x)
    for block in tower.transformer.resblocks:
        penultimate = x[:, 0]
        state = block.state_dict()
        for old, new in renamed.items():
            state = {name.replace(old, new): tensor for name, tensor in state.items()}
        layer.load_state_dict(state)
        x = layer(x)
    taps = tower(images)
    torch.testing.assert_close(taps.penultimate, penultimate, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(taps.last, tower.ln_post(x[:, 0]), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(taps.projected, taps.last @ tower.proj, atol=1e-10, rtol=1e-10)


def test_side_vectors_move_the_class_token_of_their_picture() -> None:
    tower, images, side = vit(), pictures(), torch.randn(3, 16).double()
    found = tower(images, side=side)
    assert torch.equal(tower(images, side=0 * side).last, tower(images).last)
    for row in range(3):
        moved = vit()
        moved.class_embedding.data += side[row]
        torch.testing.assert_close(found.last[row], moved(images).last[row], atol=1e-10, rtol=1e-10)


def test_prompts_in_the_image_sequence() -> None:
    tower, images, prompts = vit(), pictures(), torch.randn(3, 16).double()
    plain, prompted = tower(images), tower(images, prompts=prompts)
    assert torch.equal(tower(images, prompts=prompts[:0]).projected, plain.projected)
    assert (prompted.projected - plain.projected).abs().max() > 0.01
    torch.testing.assert_close(tower(images, prompts=prompts.flip(0)).last, prompted.last, atol=1e-10, rtol=1e-10)
    assert torch.equal(tower(images, prompts=prompts[None]).last, prompted.last)
    # Prompts pass ln_pre: a prompt's scale and offset are lost there.
    torch.testing.assert_close(tower(images, prompts=1000 * prompts + 5).last, prompted.last, atol=1e-4, rtol=1e-4)
    # Prompts that are a picture's patches with their positions turn into what the patches turn into.
    patches = tower.conv1(images[:1]).flatten(2).mT[0] + tower.positional_embedding[1:]
    as_prompts, as_patches = tower.tokens(images[:1], prompts=patches)[0, 1:].chunk(2)
    torch.testing.assert_close(as_prompts, as_patches, atol=1e-10, rtol=1e-10)


def test_deep_prompts_act_in_every_block_they_are_given_for() -> None:
    tower, images = vit(), pictures()
    prompts = torch.randn(3, 2, 16, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(tower(images, prompts=prompts).projected.square().sum(), prompts)
    assert (gradient.abs().amax((1, 2)) > 1e-6).all()


def test_resnet_queries_of_all_tokens_give_the_same_first_one() -> None:
    tower, images = resnet(), pictures(RESNET)
    maps: list[Tensor] = []
    tower.layer4.register_forward_hook(lambda *arguments: maps.append(arguments[2]))
    taps = tower(images)
    pool = tower.attnpool
    tokens = maps[0].flatten(2).permute(2, 0, 1)
    tokens = torch.cat([tokens.mean(0, keepdim=True), tokens]) + pool.positional_embedding[:, None]
    everything, _ = F.multi_head_attention_forward(
        tokens, tokens, tokens, 128, 2, None,
        torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]), None, None, False, 0.0,
        pool.c_proj.weight, pool.c_proj.bias, use_separate_proj_weight=True, q_proj_weight=pool.q_proj.weight,
        k_proj_weight=pool.k_proj.weight, v_proj_weight=pool.v_proj.weight, need_weights=False,
    )  # fmt: skip
    torch.testing.assert_close(taps.projected, everything[0], atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(taps.last, maps[0].mean((2, 3)), atol=1e-10, rtol=1e-10)


def test_resnet_in_training_mode_follows_its_batch() -> None:
    tower, images = resnet().train(), pictures(RESNET)
    before = {name: buffer.clone() for name, buffer in tower.named_buffers()}
    taps = tower(images)
    assert all(not torch.equal(buffer, before[name]) for name, buffer in tower.named_buffers())
    assert not torch.equal(taps.last, tower.eval()(images).last)


@pytest.mark.parametrize("given", ["side", "prompts"])
def test_resnet_refuses_what_needs_a_sequence(given: str) -> None:
    with pytest.raises(ValueError, match="a ResNet tower takes neither side vectors nor prompts"):
        resnet()(pictures(RESNET), **{given: torch.zeros(3, 16)})


def test_pictures_of_another_size_are_refused_even_with_as_many_patches() -> None:
    for tower, config in ((vit(), VIT), (resnet(), RESNET)):
        height, width = config.image_size
        message = rf"pictures of \({width}, {height}\) .* built for \({height}, {width}\)"
        with pytest.raises(ValueError, match=message):
            tower(torch.zeros(1, 3, width, height))


def test_configurations_that_cannot_be_built_are_refused() -> None:
    with pytest.raises(ValueError, match="a stride of 5 is not between 1 and the patch size, 4"):
        replace(VIT, stride=5)
    with pytest.raises(ValueError, match="a stride of 0 is not"):
        replace(VIT, stride=0)
    with pytest.raises(ValueError, match=r"pictures of \(8, 3\) .* smaller than a patch of 4"):
        replace(VIT, image_size=(8, 3))
    with pytest.raises(ValueError, match=r"pictures of \(64, 14\) .* too small for this ResNet"):
        replace(RESNET, image_size=(64, 14))
    with pytest.raises(ValueError, match="3 heads do not divide a width of 128"):
        replace(RESNET, heads=3)


@pytest.mark.parametrize("recompute", [False, True])
def test_autocast_trains_near_float32(recompute: bool) -> None:
    torch.manual_seed(0)
    tower = VisionTransformer(replace(VIT, width=32, activation="gelu"))
    tower.transformer.recompute = recompute
    images = pictures().float()
    expected = tower(images)
    with torch.autocast("cpu", torch.bfloat16):
        taps = tower(images)
    for found, exact in zip(taps, expected, strict=True):
        assert (found.float() - exact).norm() < 0.02 * exact.norm()
    sum(tap.float().square().sum() for tap in taps).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in tower.parameters())


def test_autocast_of_the_resnet() -> None:
    tower, images = resnet().float(), pictures(RESNET).float()
    expected = tower(images)
    with torch.autocast("cpu", torch.bfloat16):
        taps = tower(images)
    for found, exact in zip(taps, expected, strict=True):
        assert (found.float() - exact).norm() < 0.05 * exact.norm()


def test_the_vision_transformer_compiles_to_one_graph() -> None:
    tower, images, prompts = vit(), pictures(), torch.randn(2, 2, 16).double()
    compiled = torch.compile(tower, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images, prompts=prompts).last, tower(images, prompts=prompts).last)


def test_an_exported_vision_transformer_takes_any_number_of_pictures() -> None:
    # len() of a traced tensor would fix the batch to the example's.
    batch = {"images": {0: torch.export.Dim("batch", min=1, max=64)}}
    exported = torch.export.export(vit(), (pictures(),), dynamic_shapes=batch).module()
    for found, expected in zip(exported(pictures(n=5)), vit()(pictures(n=5)), strict=True):
        torch.testing.assert_close(found, expected)


def positions(rows: int, columns: int) -> Tensor:
    return torch.cat([torch.tensor([-5.0]), torch.arange(rows * columns).float()])[:, None].expand(-1, 2)


def test_positions_for_a_taller_grid() -> None:
    resized = resize_positions(positions(14, 14), old_grid=(14, 14), new_grid=(24, 8))
    assert resized.shape == (193, 2)
    expected = [-5.0, 0.375, 2.125, 3.875, 5.625, 7.375, 9.125, 10.875, 12.625, 5.625]
    torch.testing.assert_close(resized[:10, 0], torch.tensor(expected), atol=1e-5, rtol=0)
    assert resized[1:, 1].sum().item() == pytest.approx(18_720, abs=0.01)


def test_positions_of_the_same_grid_stay_and_of_the_same_count_do_not() -> None:
    table = torch.randn(197, 5)
    assert torch.equal(resize_positions(table, old_grid=(14, 14), new_grid=(14, 14)), table)
    stretched = resize_positions(positions(14, 14), old_grid=(14, 14), new_grid=(28, 7))
    assert stretched.shape == (197, 2)
    assert (stretched - positions(14, 14))[1:].abs().max() > 1


def test_positions_come_in_float32_and_a_table_of_another_grid_is_refused() -> None:
    table = positions(4, 4).half()
    assert resize_positions(table, old_grid=(4, 4), new_grid=(2, 8)).dtype == torch.float32
    with pytest.raises(ValueError, match=r"17 position embeddings are not 1 \+ 4 \* 5"):
        resize_positions(table, old_grid=(4, 5), new_grid=(2, 8))
