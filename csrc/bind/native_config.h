// The configuration of native roles as Python sends it: one dict a role.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bind/fields.h"
#include "engine/image_model.h"
#include "engine/vlm_model.h"
#include "models/grammar.h"

namespace irt {

// One grammar as text (models/grammar.h says what the parts are; an empty `closing` = none).
struct GrammarText {
  std::string name;
  std::string whole;
  std::string closing;
  int reserve = 0;
};

struct BoundVlmConfig {
  VlmConfig config;
  std::vector<std::string> token_bytes;
  std::vector<std::int32_t> special_tokens;
  std::vector<GrammarText> grammars;  // none; one; or one without and one with images

  // With token table and grammars built. Throws Error(kBadPack) for a table that does not fit or a
  // grammar that cannot be compiled, Error(kBackendFailed) where llguidance is not loaded.
  [[nodiscard]] VlmConfig resolved() const;
};

template <>
struct Fields<SessionOptions> {
  using S = SessionOptions;
  static constexpr auto kRows = fields<&S::intra_op_threads, &S::providers>();
};
template <>
struct Fields<GrammarText> {
  using S = GrammarText;
  static constexpr auto kRows = fields<&S::name, &S::whole, &S::closing, &S::reserve>();
};
template <>
struct Fields<BoundVlmConfig> {
  using B = BoundVlmConfig;
  using C = VlmConfig;
  using D = DecoderConfig;
  using V = VisionConfig;
  using P = SamplingParams;
  static constexpr auto kConfig = &B::config;
  static constexpr auto kVision = &C::vision_config;
  static constexpr const char* kName = "VlmConfig";
  static constexpr auto kRows = join(
      At<kConfig>::fields<&C::decoder, &C::vision, &C::max_pixels_many, &C::many, &C::true_tokens,
                          &C::false_tokens, &C::verdict_threshold, &C::max_new_tokens,
                          &C::vision_cache, &C::session>(),
      At<kConfig, &C::decoder_config>::fields<&D::layers, &D::hidden, &D::kv_heads, &D::head_dim,
                                              &D::vocab, &D::deepstack_levels, &D::image_token_id,
                                              &D::eos_token_ids, &D::cache_length, &D::slots,
                                              &D::prefill_chunk, &D::decode_graph>(),
      At<kConfig, kVision>::fields<&V::patch_size, &V::merge_size, &V::temporal_patch_size,
                                   &V::min_pixels, &V::max_pixels>(),
      At<kConfig, &C::sampling>::fields<&P::temperature, &P::top_k, &P::top_p>(),
      fields<&B::token_bytes, &B::special_tokens, &B::grammars>(),
      std::array{row<kConfig, kVision, &V::mean>("image_mean"),
                 row<kConfig, kVision, &V::std>("image_std"),
                 Field<B>{"family", nullptr, [](B& self, nb::handle value) {
                            read_plain(value, self.config.decoder_config.family);
                            self.config.vision_config.family = self.config.decoder_config.family;
                          }}});
};
template <>
struct Fields<Part> {
  static constexpr auto kRows = fields<&Part::name, &Part::path>();
};
template <>
struct Fields<ImageModelConfig> {
  using C = ImageModelConfig;
  using G = GeneratorConfig;
  static constexpr const char* kName = "GeneratorConfig";
  static constexpr auto kRows =
      join(At<&C::generator>::fields<&G::family, &G::parts, &G::latent_channels, &G::text_dim,
                                     &G::max_sequence_length, &G::token_pixels, &G::reference_time,
                                     &G::default_width, &G::default_height, &G::default_steps,
                                     &G::max_batch>(),
           fields<&C::slots, &C::latent_cache, &C::session>());
};

}  // namespace irt
