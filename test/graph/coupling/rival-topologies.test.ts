/**
 * Topologies that the tests of other pruning projects use (Torch-Pruning, OTO, qonnx, onnxsim), rebuilt as ONNX text in
 * test/fixtures/rivals, each with a line on what it is and whose test it is after. Only the structure is theirs.
 *
 * For each: how many channels are free (fewer would be over-coupling, which the oracle cannot see), what leaves with what
 * (golden file), and that any removal computes what the exact oracle computes.
 */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Coupling, findGroups } from "../../../src/graph/coupling/groups.js";
import { parse } from "../../../src/graph/parse.js";
import { findPools } from "../../../src/score/pools.js";
import { groupsText } from "../../support/groups-text.js";
import { prove, randomRemoval } from "../../support/oracle.js";

const folder = new URL("../../fixtures/rivals/", import.meta.url);

/** Channels that can leave, at least: counted by hand from the text, or what is found where that is less and a comment says so. */
const FREE: Readonly<Record<string, number>> = {
  attention_by_einsum: 12,
  attention_with_cache: 18,
  auxiliary_head: 31,
  both_directions_joined: 20,
  bottlenecks_with_groups: 64,
  boxes_of_normalised_features: 14,
  cascaded_concat: 60,
  cascading_residual_superresolution: 36,
  channels_last_between_convs: 14,
  concat_of_heights: 24,
  concat_of_two_norms: 32,
  concat_reused_three_times: 44,
  concat_split: 30,
  conv_slope_same_padding: 14,
  convs_pools_flatten: 30,
  correlation_of_two_views: 26,
  // 26 if each group of heads had dims of its own for values.
  decoder_block_rotary_gated: 22,
  denoiser_block_with_time_embedding: 58,
  dense_concat_chain: 36,
  depthwise_hourglass_four_inputs: 44,
  depthwise_separable: 18,
  depthwise_then_groups: 14,
  dilated_pyramid_pooling: 27,
  dilated_sequence_conv: 22,
  encoder_block_separate_qkv: 40,
  experts_gathered_from_a_stack: 8,
  experts_masked_by_router: 24,
  factored_video_conv: 20,
  feature_pyramid_shared_head: 26,
  // 36 if channels passed through RoiAlign.
  fully_convolutional_mask_head: 30,
  gated_feedforward: 16,
  gated_feedforward_packed: 16,
  group_norm_across_a_concat_seam: 12,
  group_norm_exported: 6,
  group_norm_node: 2,
  group_norm_of_concats: 6,
  // 17 if each group of heads had dims of its own for values.
  grouped_keys_and_values_by_expand: 13,
  groups_two_then_four: 26,
  half_instance_half_batch_norm: 8,
  heads_of_several_widths: 39,
  inputs_normalised_by_indexing: 14,
  instance_norm_and_prelu: 30,
  instance_norm_as_reshapes: 8,
  layer_aggregation: 48,
  layer_called_twice: 24,
  layer_scale_parameter: 16,
  linear_view_transposed: 15,
  low_rank_adapters: 20,
  nearest_resize_or_deconvolution: 26,
  own_layer_l2_scale: 16,
  padded_and_resized_on_the_way: 14,
  parallel_attention_and_feedforward: 36,
  parallel_kernels_and_pools: 44,
  partial_csp_bottlenecks: 42,
  patches_class_token_packed_qkv: 30,
  plain_mlp: 28,
  plain_recurrence_after_convs: 18,
  preactivation_hourglass: 32,
  quantised_depthwise: 14,
  quantised_residual: 12,
  reshape_by_computed_shape: 14,
  residual_with_projection: 28,
  scaled_multi_threshold_mlp: 16,
  shared_keys_and_values: 11,
  shifted_windows: 40,
  shuffle_unit: 24,
  single_channel_output: 16,
  small_unet: 46,
  sound_stem_and_cross_attention: 46,
  split_bottlenecks_all_joined: 42,
  split_shared_consumer: 24,
  squeeze_and_excite: 22,
  stacked_recurrence: 11,
  tied_embedding_and_head: 20,
  transposed_grouped_upsampling: 24,
  transposed_with_instance_norms: 52,
  two_inputs_three_outputs: 6,
  unrolled_loop_of_shared_layers: 28,
  unused_parameters: 13,
  weight_standardised_conv: 14,
  weights_in_constant_nodes: 14,
  wide_and_deep_concat: 13,
};

const names = readdirSync(folder)
  .filter((f) => f.endsWith(".onnxtxt"))
  .map((f) => f.slice(0, -".onnxtxt".length));

function couplingOf(name: string): Coupling {
  return findGroups(parse(readFileSync(new URL(`${name}.onnxtxt`, folder), "utf8")));
}

describe("topologies of other projects' tests", () => {
  it("have an expected number of free channels each, and are at least 60", () => {
    expect(names.sort()).toEqual(Object.keys(FREE).sort());
    expect(names.length).toBeGreaterThanOrEqual(60);
  });

  for (const name of names) {
    it(`${name}: groups and their slices are as recorded, and none is declined`, async () => {
      const coupling = couplingOf(name);
      const { pools, declined } = findPools(coupling);
      expect(declined).toEqual([]);
      const free = pools.reduce((n, p) => n + p.cells.reduce((m, cell) => m + cell.choices.length, 0), 0);
      expect(free).toBeGreaterThanOrEqual(FREE[name] as number);
      await expect(groupsText(coupling)).toMatchFileSnapshot(`../../fixtures/golden/rivals/${name}.txt`);
    });

    it(`${name}: sliced equals the oracle at half and at three quarters kept`, async () => {
      for (const [ratio, seed] of [
        [0.5, 1],
        [0.75, 2],
      ] as const) {
        const coupling = couplingOf(name);
        const removed = randomRemoval(coupling, seed, ratio);
        expect(removed.size).toBeGreaterThan(0);
        const proof = await prove(coupling, removed, { seed });
        // float32 sums of the same terms in another order (measured: at most 6e-7).
        expect(proof.maxRel).toBeLessThanOrEqual(1e-5);
        expect(proof.drift).toBeGreaterThan(0);
        expect(proof.drift).toBeLessThan(Number.POSITIVE_INFINITY);
      }
    });
  }
});
