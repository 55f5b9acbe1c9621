"""The nets of the zoo: how each is built, without downloads, and what it is fed.

torchvision: the 85 of Torch-Pruning's torchvision example, and the video nets.
timm: one small member per family. transformers: built from configurations.
"""

import dataclasses
from typing import Any, Callable

import torch
from torch import nn


@dataclasses.dataclass(frozen=True)
class Net:
    """`build()` gives (module, example inputs, input names, dynamic axes by input); `reduced` says what is not the full net."""

    name: str
    family: str
    build: Callable[[], tuple[nn.Module, tuple[Any, ...], list[str], dict[str, dict[int, str]]]]
    reduced: str = ""
    # "script" is torch's TorchScript-based exporter, "dynamo" the one on torch.export; the first that works is taken.
    exporters: tuple[str, ...] = ("script", "dynamo")
    opset: int = 17


class Wrapped(nn.Module):
    """A net whose inputs and outputs are plain tensors."""

    def __init__(self, net: nn.Module, call: Callable[..., Any]):
        super().__init__()
        self.net = net
        self.call = call

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.call(self.net, *inputs)


BATCH = {0: "N"}


def image(net: nn.Module, side: int = 224, batch: bool = True, channels: int = 3):
    return net, (torch.randn(2 if batch else 1, channels, side, side),), ["x"], ({"x": BATCH} if batch else {})


# --- torchvision ---------------------------------------------------------------------------------------------------------

CLASSIFICATION = (
    "alexnet vit_b_16 vit_b_32 vit_l_16 vit_l_32 vit_h_14 convnext_tiny convnext_small convnext_base convnext_large "
    "densenet121 densenet169 densenet201 densenet161 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 "
    "efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_v2_s efficientnet_v2_m efficientnet_v2_l "
    "googlenet inception_v3 mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small "
    "regnet_y_400mf regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf regnet_y_16gf regnet_y_32gf regnet_y_128gf "
    "resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d wide_resnet50_2 wide_resnet101_2 "
    "squeezenet1_0 squeezenet1_1 vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg13_bn vgg16_bn vgg19_bn "
    "swin_t swin_s swin_b shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0"
).split()
SEGMENTATION = "fcn_resnet50 fcn_resnet101 deeplabv3_resnet50 deeplabv3_resnet101 deeplabv3_mobilenet_v3_large lraspp_mobilenet_v3_large".split()
DETECTION = (
    "ssdlite320_mobilenet_v3_large ssd300_vgg16 fasterrcnn_resnet50_fpn fasterrcnn_resnet50_fpn_v2 "
    "fasterrcnn_mobilenet_v3_large_320_fpn fasterrcnn_mobilenet_v3_large_fpn fcos_resnet50_fpn keypointrcnn_resnet50_fpn "
    "maskrcnn_resnet50_fpn_v2 retinanet_resnet50_fpn_v2"
).split()
VIDEO = "r3d_18 mc3_18 r2plus1d_18 s3d mvit_v1_b mvit_v2_s swin3d_t".split()
# Not of Torch-Pruning's 85: further families of torchvision.
MORE = "regnet_x_400mf maxvit_t swin_v2_t".split()

# Nets that need their full image; the others are given a small one, which is enough for every equation.
FULL_SIZE = {"alexnet": 224, "inception_v3": 299, "maxvit_t": 224, "googlenet": 224}


def classifier(name: str):
    import torchvision

    side = FULL_SIZE.get(name, 224 if name.startswith(("vit", "swin", "vgg")) else 128)
    options = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return image(torchvision.models.get_model(name, weights=None, **options), side)


def segmenter(name: str):
    import torchvision

    options = {} if name.startswith("lraspp") else {"aux_loss": None}
    net = torchvision.models.get_model(name, weights=None, weights_backbone=None, **options)
    return image(Wrapped(net, lambda n, x: n(x)["out"]), 128)


def detector(name: str):
    """One image, as the exporter of torchvision wants it; thresholds of 0 so that random weights detect something."""
    import torchvision

    options: dict[str, Any] = {"weights": None, "weights_backbone": None}
    side = 320 if "320" in name else 300 if "300" in name else 224
    if "rcnn" in name:
        options |= {"trainable_backbone_layers": 5 if "resnet" in name else 6}
        options |= {"box_score_thresh": 0.0, "box_detections_per_img": 20, "rpn_pre_nms_top_n_test": 100, "rpn_post_nms_top_n_test": 50}
    else:
        options |= {"score_thresh": 0.0, "detections_per_img": 20, "topk_candidates": 50}
    if "ssd" not in name and "320" not in name:
        options |= {"min_size": 224, "max_size": 320}
    net = torchvision.models.get_model(name, **options)

    def call(n: nn.Module, x: torch.Tensor):
        found = n([x[0]])[0]
        return tuple(found[key] for key in ("boxes", "scores", "labels", "masks", "keypoints") if key in found)

    return Wrapped(net, call), (torch.randn(1, 3, side, side),), ["x"], {}


def raft(name: str):
    import torchvision

    net = torchvision.models.get_model(name, weights=None)
    a, b = torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128)
    return Wrapped(net, lambda n, x, y: n(x, y, num_flow_updates=2)[-1]), (a, b), ["x", "y"], {}


def video(name: str):
    import torchvision

    frames, side = (16, 224) if name.startswith("mvit") else (14, 224) if name == "s3d" else (8, 64)
    net = torchvision.models.get_model(name, weights=None)
    return net, (torch.randn(1, 3, frames, side, side),), ["x"], {}


# --- timm ----------------------------------------------------------------------------------------------------------------

TIMM = (
    "convnextv2_atto efficientnetv2_rw_t regnetz_005 eca_nfnet_l0 coatnet_nano_rw_224 maxvit_tiny_tf_224 "
    "swinv2_tiny_window8_256 deit3_small_patch16_224 beit_base_patch16_224 mixer_s16_224 poolformer_s12 edgenext_xx_small "
    "mobilevit_xxs mobilevitv2_050 ghostnet_100 hrnet_w18_small dla34 res2net50_26w_4s seresnet18 ecaresnet26t volo_d1_224 "
    "xcit_nano_12_p16_224 repvgg_a0 resnest14d halonet26t botnet26t_256 lambda_resnet26t fastvit_t8 mobilenetv4_conv_small "
    "hiera_tiny_224 focalnet_tiny_srf gcvit_xxtiny davit_tiny crossvit_9_240 coat_lite_tiny sequencer2d_s cait_xxs24_224 "
    "twins_svt_small pvt_v2_b0 levit_128s gmlp_ti16_224 convit_tiny tnt_s_patch16_224 nest_tiny inception_next_atto "
    "cspdarknet53 ese_vovnet19b_dw skresnet18 resmlp_12_224 convmixer_768_32 visformer_tiny efficientformer_l1 tiny_vit_5m_224 "
    "cs3darknet_focus_s repghostnet_050 starnet_s1 tresnet_m efficientvit_b0 efficientvit_m0 mambaout_femto rdnet_tiny"
).split()


def timm_net(name: str):
    import timm

    net = timm.create_model(name, pretrained=False)
    return image(net, net.default_cfg["input_size"][-1])


# --- transformers --------------------------------------------------------------------------------------------------------


def ids(vocabulary: int, length: int = 16):
    return torch.randint(0, min(vocabulary, 8), (2, length))


TEXT = {0: "N", 1: "L"}


def text(net: nn.Module, vocabulary: int, pick: Callable[[Any], Any], mask: bool = True):
    """input_ids, and attention_mask, with dynamic batch and length."""
    if not mask:
        return Wrapped(net, lambda n, i: pick(n(input_ids=i, **NO_CACHE))), (ids(vocabulary),), ["input_ids"], {"input_ids": TEXT}
    call = lambda n, i, m: pick(n(input_ids=i, attention_mask=m, **NO_CACHE))
    inputs = (ids(vocabulary), torch.ones(2, 16, dtype=torch.long))
    return Wrapped(net, call), inputs, ["input_ids", "attention_mask"], {"input_ids": TEXT, "attention_mask": TEXT}


NO_CACHE: dict[str, Any] = {}
SMALL = dict(num_hidden_layers=4)


def last(out: Any):
    return out.last_hidden_state


def logits(out: Any):
    return out.logits


def no_cache(build: Callable[[], nn.Module], vocabulary: int, mask: bool = True):
    net = build()
    net.config.use_cache = False
    return text(net, vocabulary, logits, mask)


def transformer(name: str):
    import transformers as t

    if name == "bert":
        return text(t.BertModel(t.BertConfig(**SMALL)), 8, lambda o: (o.last_hidden_state, o.pooler_output))
    if name == "bert_mlm":
        return text(t.BertForMaskedLM(t.BertConfig(num_hidden_layers=2)), 8, logits)
    if name == "distilbert":
        return text(t.DistilBertModel(t.DistilBertConfig(n_layers=4)), 8, last)
    if name == "roberta":
        return text(t.RobertaModel(t.RobertaConfig(num_hidden_layers=4, max_position_embeddings=514)), 8, last)
    if name == "albert":
        return text(t.AlbertModel(t.AlbertConfig(hidden_size=768, num_attention_heads=12, intermediate_size=3072, num_hidden_layers=4)), 8, last)
    if name == "electra":
        return text(t.ElectraModel(t.ElectraConfig(num_hidden_layers=4)), 8, last)
    if name == "deberta_v2":
        config = t.DebertaV2Config(num_hidden_layers=2, hidden_size=384, num_attention_heads=6, intermediate_size=1536, vocab_size=8000,
                                   relative_attention=True, position_buckets=32, pos_att_type=["p2c", "c2p"], max_relative_positions=64)
        return text(t.DebertaV2Model(config), 8, last)
    if name == "gpt2":
        return no_cache(lambda: t.GPT2LMHeadModel(t.GPT2Config(n_layer=4)), 8)
    if name == "llama":
        config = t.LlamaConfig(hidden_size=512, intermediate_size=1376, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=4, vocab_size=8000)
        return no_cache(lambda: t.LlamaForCausalLM(config), 8)
    if name == "qwen2":
        config = t.Qwen2Config(hidden_size=512, intermediate_size=1376, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=2, vocab_size=8000)
        return no_cache(lambda: t.Qwen2ForCausalLM(config), 8)
    if name == "gemma":
        config = t.GemmaConfig(hidden_size=512, intermediate_size=1376, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=1, head_dim=64, vocab_size=8000)
        return no_cache(lambda: t.GemmaForCausalLM(config), 8)
    if name == "phi":
        config = t.PhiConfig(hidden_size=512, intermediate_size=2048, num_hidden_layers=2, num_attention_heads=8, vocab_size=8000)
        return no_cache(lambda: t.PhiForCausalLM(config), 8)
    if name == "t5_encoder":
        return text(t.T5EncoderModel(t.T5Config(num_layers=4, vocab_size=8000)), 8, last)
    if name in ("t5", "bart"):
        if name == "t5":
            net = t.T5ForConditionalGeneration(t.T5Config(num_layers=3, num_decoder_layers=3, vocab_size=8000))
        else:
            net = t.BartForConditionalGeneration(t.BartConfig(encoder_layers=2, decoder_layers=2, vocab_size=8000))
        net.config.use_cache = False
        call = lambda n, i, d: n(input_ids=i, decoder_input_ids=d, use_cache=False).logits
        axes = {"input_ids": TEXT, "decoder_input_ids": {0: "N", 1: "M"}}
        return Wrapped(net, call), (ids(8), ids(8, 12)), ["input_ids", "decoder_input_ids"], axes
    if name == "whisper_tiny":
        config = t.WhisperConfig(d_model=384, encoder_layers=4, decoder_layers=4, encoder_attention_heads=6, decoder_attention_heads=6,
                                 encoder_ffn_dim=1536, decoder_ffn_dim=1536)
        net = t.WhisperForConditionalGeneration(config)
        call = lambda n, x, d: n(input_features=x, decoder_input_ids=d, use_cache=False).logits
        inputs = (torch.randn(1, 80, 3000), ids(8, 12)[:1])
        return Wrapped(net, call), inputs, ["input_features", "decoder_input_ids"], {"decoder_input_ids": {1: "M"}}
    if name == "vit":
        net = t.ViTModel(t.ViTConfig(num_hidden_layers=4))
        return image(Wrapped(net, lambda n, x: last(n(pixel_values=x))), 224)
    if name == "swin":
        net = t.SwinForImageClassification(t.SwinConfig(depths=[2, 2, 2, 2]))
        return image(Wrapped(net, lambda n, x: logits(n(pixel_values=x))), 224)
    if name == "segformer":
        net = t.SegformerForSemanticSegmentation(t.SegformerConfig())
        return image(Wrapped(net, lambda n, x: logits(n(pixel_values=x))), 128)
    if name == "clip":
        vision = dict(num_hidden_layers=3, hidden_size=384, num_attention_heads=6, intermediate_size=1536, image_size=128, patch_size=16)
        words = dict(num_hidden_layers=3, vocab_size=8000, eos_token_id=2)
        net = t.CLIPModel(t.CLIPConfig(vision_config=vision, text_config=words))
        call = lambda n, i, x: n(input_ids=i, pixel_values=x).logits_per_image
        return Wrapped(net, call), (ids(8), torch.randn(2, 3, 128, 128)), ["input_ids", "x"], {"input_ids": TEXT, "x": {0: "N"}}
    if name == "detr":
        config = t.DetrConfig(use_timm_backbone=False, use_pretrained_backbone=False, encoder_layers=3, decoder_layers=3, num_queries=20,
                              backbone_config=t.ResNetConfig(out_features=["stage4"]))
        net = t.DetrForObjectDetection(config)
        return image(Wrapped(net, lambda n, x: (n(pixel_values=x).logits, n(pixel_values=x).pred_boxes)), 128, batch=False)
    if name == "wav2vec2":
        net = t.Wav2Vec2Model(t.Wav2Vec2Config(num_hidden_layers=3))
        return Wrapped(net, lambda n, x: last(n(input_values=x))), (torch.randn(1, 8000),), ["x"], {}
    if name == "mobilebert":
        return text(t.MobileBertModel(t.MobileBertConfig(num_hidden_layers=4)), 8, last)
    if name == "convbert":
        return text(t.ConvBertModel(t.ConvBertConfig(num_hidden_layers=2)), 8, last)
    raise KeyError(name)


TRANSFORMERS = {
    "bert": "4 of 12 layers", "bert_mlm": "2 of 12 layers", "distilbert": "4 of 6 layers", "roberta": "4 of 12 layers",
    "albert": "4 of 12 layers", "electra": "4 of 12 layers", "deberta_v2": "2 layers, width 384", "gpt2": "4 of 12 layers",
    "llama": "4 layers, width 512", "qwen2": "4 layers, width 512", "gemma": "2 layers, width 512", "phi": "2 layers, width 512",
    "t5_encoder": "4 of 6 layers, 8,000 words", "t5": "3 + 3 of 6 + 6 layers, 8,000 words", "bart": "2 + 2 of 12 + 12 layers, 8,000 words",
    "whisper_tiny": "", "vit": "4 of 12 layers", "swin": "", "segformer": "", "clip": "3 + 3 layers", "detr": "3 + 3 layers",
    "wav2vec2": "3 of 12 layers", "mobilebert": "4 of 24 layers", "convbert": "2 of 12 layers",
}

# Nets whose other export is in the zoo too: the two exporters write one net in different operators.
BOTH = (
    "torchvision/resnet50 torchvision/densenet121 torchvision/swin_t torchvision/vit_b_16 torchvision/convnext_tiny "
    "torchvision/efficientnet_b0 torchvision/mobilenet_v3_small torchvision/shufflenet_v2_x1_0 torchvision/deeplabv3_resnet50 "
    "torchvision/r3d_18 torchvision/regnet_y_400mf torchvision/googlenet timm/swinv2_tiny_window8_256 timm/volo_d1_224 timm/xcit_nano_12_p16_224 "
    "timm/coatnet_nano_rw_224 timm/mixer_s16_224 timm/halonet26t timm/sequencer2d_s transformers/bert transformers/gpt2 transformers/llama "
    "transformers/t5_encoder transformers/vit transformers/whisper_tiny"
).split()


def nets() -> list[Net]:
    def of(library: str, names, build, **options) -> list[Net]:
        return [Net(f"{library}/{n}", library, lambda n=n: build(n), **options) for n in names]

    every = [
        *of("torchvision", CLASSIFICATION, classifier),
        *of("torchvision", SEGMENTATION, segmenter),
        *of("torchvision", DETECTION, detector, exporters=("script",)),
        *of("torchvision", ["raft_large"], raft),
        *of("torchvision-more", VIDEO, video),
        *of("torchvision-more", MORE, classifier),
        *of("torchvision-more", ["raft_small"], raft),
        *of("timm", TIMM, timm_net),
        *[Net(f"transformers/{n}", "transformers", lambda n=n: transformer(n), reduced, opset=18 if n == "whisper_tiny" else 17) for n, reduced in TRANSFORMERS.items()],
    ]
    other = [
        dataclasses.replace(net, name=f"{net.name}@dynamo", exporters=("dynamo",))
        for net in every
        if net.name in BOTH or net.name.replace("-more", "") in BOTH
    ]
    return [*every, *other]
